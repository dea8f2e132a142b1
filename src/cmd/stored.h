/* What the store has set for a model, as a run of it takes it. */
#ifndef MUGA_CMD_STORED_H
#define MUGA_CMD_STORED_H

#include "cmd/cmd.h"

typedef struct cmd_stored {
    hub_model m;       /* nothing in it: a path, or a server's model */
    const char **stop; /* [n_stop], borrowed from m */
    size_t n_stop;
} cmd_stored;

/* A path has nothing set for it. Release after a failure, too. */
MUGA_MUST_USE muga_status cmd_stored_open(const char *model, cmd_stored *out, muga_error *err);
void cmd_stored_release(cmd_stored *s);
/* Its parameters, over what is there; any of the three may be NULL. E_ENV: no random seed to be had. */
MUGA_MUST_USE muga_status cmd_stored_apply(const cmd_stored *s, llm_sampling *sampling, uint32_t *n_ctx,
                                           uint32_t *max_tokens, muga_error *err);

#endif
