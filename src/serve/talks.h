/* Private to serve/: which session a conversation is, for clients that know no sessions and send all that was said each
 * time. A digest of it, and of whose it is, stands for the conversation; what is remembered is bounded, and lost at the
 * end of the process: then a conversation begins a new session.
 *
 * Threads: all of it from any thread. */
#ifndef MUGA_SERVE_TALKS_H
#define MUGA_SERVE_TALKS_H

#include "agent/agent.h"

struct talks;
#define TALKS_MAX 4096u

MUGA_MUST_USE muga_status talks_new(struct talks **out, muga_error *err);
void talks_free(struct talks *t);

/* What was said up to message n of the list: roles and texts, in order; messages of the role system say nothing. */
void talks_digest(const char *tenant, const char *agent, const json_t *messages, size_t n, const char *answer,
                  uint8_t out[SHA256_BYTES]);
/* false: it isn't known. */
bool talks_find(struct talks *t, const uint8_t digest[SHA256_BYTES], char session[AGENT_ID_SIZE]);
/* The one that was looked for longest ago makes room. */
void talks_remember(struct talks *t, const uint8_t digest[SHA256_BYTES], const char *session);

#endif
