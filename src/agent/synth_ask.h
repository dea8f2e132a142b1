/* Asking a larger model for an agent's training messages: which label, in which voice and form, and what becomes of the
 * answer. The model writes texts; what they mean is decided here, before it is asked. docs/synth.md. */
#ifndef MUGA_AGENT_SYNTH_ASK_H
#define MUGA_AGENT_SYNTH_ASK_H

#include "agent/synth.h"

typedef struct synth_ask_options {
    const char *const *voices; /* [n_voices], in place of those here; NULL: these */
    size_t n_voices;
    const size_t *only; /* [n_only] labels; NULL: all */
    size_t n_only;
    uint32_t per_request; /* texts, 1 to 20 */
    float temperature;
    uint64_t seed;
    bool check; /* ask the model once more which label each text has, and drop those that it sees otherwise */
    bool (*on_wait)(void *ctx); /* false: stop. May be NULL */
    void *ctx;
} synth_ask_options;

typedef struct synth_ask_result {
    size_t n_texts;   /* came back */
    size_t n_new;     /* lines */
    size_t n_doubted; /* of the texts, by `check` */
    uint64_t n_prompt, n_generated;
    bool cancelled;
} synth_ask_result;

/* The i-th request: every other one, by lot, of the label that has fewest lines so far; the same for the same lines,
 * seed and i. on_line gets each new line, borrowed. MUGA_E_LIMIT: no valid answer came; the next request may do better.
 * MUGA_E_NOT_FOUND: no label can be written for. */
MUGA_MUST_USE muga_status synth_ask(synth *s, const manifest *m, const intent *x, llm *model, int64_t i,
                                    const synth_ask_options *o,
                                    muga_status (*on_line)(void *ctx, const json_t *line, muga_error *err), void *ctx,
                                    synth_ask_result *out, muga_error *err);

#endif
