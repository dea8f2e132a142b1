/* What the verbs that read a text with a model share: `perplexity`, and `quantize` when it calibrates. */
#ifndef MUGA_CMD_MEASURING_H
#define MUGA_CMD_MEASURING_H

#include "cmd/cmd.h"
#include "engine/engine.h"

/* The ids of a text file, without special tokens, with the engine's tokenizer. */
MUGA_MUST_USE muga_status cmd_read_text(const engine *e, const char *path, token_list *out, muga_error *err);
/* Shows progress (a cmd_progress) and is false once Ctrl-C was pressed. */
bool cmd_progress_go_on(void *progress, double done);
/* A model by name or path, with a progress bar. cache: with its packed file. */
MUGA_MUST_USE muga_status cmd_open_engine(const char *name, bool cache, engine_options o, engine **out,
                                          muga_error *err);

#endif
