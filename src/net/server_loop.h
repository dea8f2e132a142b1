/* Private to net/: the event loop, over libevent's core, which is loaded when the first loop is made: a run that serves
 * nobody neither waits for it nor needs it. A build without its headers has no loop, and says so. */
#ifndef MUGA_NET_SERVER_LOOP_H
#define MUGA_NET_SERVER_LOOP_H

#include "base/error.h"

typedef struct loop loop;
typedef struct loop_watch loop_watch;
typedef void loop_fn(void *ctx, unsigned what);

#define LOOP_READ 1u
#define LOOP_WRITE 2u

MUGA_MUST_USE muga_status server_loop_new(loop **out, muga_error *err);
/* All of NULL: memory. A watch is added when it is made, a timer isn't set. fn may free its own watch. */
loop_watch *loop_watch_fd(loop *l, int fd, unsigned what, bool edges, loop_fn *fn, void *ctx);
loop_watch *loop_watch_signal(loop *l, int number, loop_fn *fn, void *ctx);
loop_watch *loop_watch_timer(loop *l, loop_fn *fn, void *ctx);
bool loop_timer_set(loop_watch *w, uint64_t ms); /* once, from now; replaces what was set; false: memory */
bool loop_pause(loop_watch *w, bool is_paused);  /* no calls while it is; false: memory */
void loop_poke(loop_watch *w, unsigned what);    /* calls fn soon, as if that had happened */
void loop_unwatch(loop_watch *w);                /* NULL: nothing */
bool loop_run(loop *l);                          /* until loop_stop; false: it can't wait any more */
void loop_stop(loop *l);
void server_loop_free(loop *l); /* after its watches */

#endif
