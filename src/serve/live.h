/* Private to serve/: calls from their beginning to their end, and their turn among others. */
#ifndef MUGA_SERVE_LIVE_H
#define MUGA_SERVE_LIVE_H

#include "serve/routes.h"

struct live; /* all calls of a server */

MUGA_MUST_USE muga_status live_new(struct serve *s, struct live **out, muga_error *err);
void live_free(struct live *l); /* no call is left */

/* A request whose body is there: it is answered now, soon, or refused; x and key are the call's. false: memory; they
 * are still the caller's. In the server's thread. */
bool live_begin(struct live *l, exchange *x, const server_request *q, const routes_match *m, const struct key *key);
/* The client has left. In the server's thread, as the server says it. */
void live_gone(struct live *l, exchange *x);
/* Once a second: memory is looked at anew. */
void live_tick(struct live *l);
/* From now on what would generate is refused, what waits for its turn, too. */
void live_drain(struct live *l);
/* All that is being answered is cancelled: a stream ends with its family's last event. */
void live_cancel(struct live *l);
/* From live_cancel on true: for what goes on when its client leaves, and ends with the server. Lives as long as l. */
const atomic_bool *live_is_ending(const struct live *l);

typedef struct live_counts {
    uint32_t n_running, n_waiting;
    uint64_t n_429, n_503;
} live_counts;
live_counts live_get_counts(struct live *l);

#endif
