/* Server-sent events, as a stream of bytes comes in: the data of each event. Bounded, and the same however the bytes
 * were cut. Source: WHATWG HTML, 9.2.6 "Interpreting an event stream". */
#ifndef MUGA_NET_SSE_H
#define MUGA_NET_SSE_H

#include "base/str.h"

typedef struct sse {
    str line, data; /* of the event that is being read */
    bool has_data;  /* a data field came, even an empty one */
    bool after_cr;  /* the line ended with CR: a LF now is the same end */
    uint8_t n_mark; /* bytes of a byte order mark seen at the very start */
    muga_status (*on_data)(void *ctx, const char *p, size_t n, muga_error *err);
    void *ctx;
} sse;

/* max_event: bytes of one line and of one event's data. The data given to on_data is terminated with a NUL that isn't
 * counted. */
void sse_init(sse *s, size_t max_event, muga_status (*on_data)(void *ctx, const char *p, size_t n, muga_error *err),
              void *ctx);
void sse_release(sse *s);
/* MUGA_E_LIMIT: a line or an event is longer than max_event. What on_data returns ends the reading. An event that no
 * empty line ends is never given out. */
MUGA_MUST_USE muga_status sse_feed(sse *s, const char *p, size_t n, muga_error *err);

#endif
