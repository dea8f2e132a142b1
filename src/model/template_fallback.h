/* Chat templates for models whose file carries none. */
#ifndef MUGA_MODEL_TEMPLATE_FALLBACK_H
#define MUGA_MODEL_TEMPLATE_FALLBACK_H

#include "gguf/gguf.h"

typedef struct template_fallback {
    const char *name;   /* "gemma" */
    const char *source; /* writes text messages; refuses, by raise_exception, what it has no form for (tool calls) */
} template_fallback;

/* The form that models of this kind were trained on: by architecture, and where families share one (llama) by the marks
 * in the vocabulary. Never NULL: "chatml" where nothing tells. */
const template_fallback *template_fallback_find(const gguf_file *file);
#endif
