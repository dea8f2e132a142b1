/* A server that exists on paper: an http_client whose answers are listed, and a clock that only sleeping moves. */
#ifndef TESTS_HTTP_SCRIPT_H
#define TESTS_HTTP_SCRIPT_H

#include "base/mem.h"
#include "net/http.h"

#include <stdio.h>

typedef struct http_turn {
    int status;             /* 0: none came, `end` says why */
    const char *type;       /* content type; NULL: that of a stream */
    const char *body;       /* as bytes come */
    http_end end;           /* HTTP_WHOLE unless said */
    int64_t retry_after_ms; /* 0: not said */
} http_turn;

typedef struct http_script {
    const http_turn *turns; /* [n] */
    size_t n, at, piece;    /* piece: bytes given at a time; 0: all */
    str bodies;             /* what was asked, one a line */
    char bearer[64];        /* of the last request */
    int64_t slept_ms, now_ms;
    os_clock clock;
    http_client client;
} http_script;

static muga_status http_script_exchange(void *self, const http_request *q, http_reply *out, muga_error *err) {
    http_script *s = self;
    *out = (http_reply){.end = HTTP_BROKEN, .retry_after_ms = -1};
    str_append(&s->bodies, q->body, q->n_body);
    str_append_c(&s->bodies, '\n');
    snprintf(s->bearer, sizeof s->bearer, "%s", q->bearer ? q->bearer : "");
    if (s->at == s->n)
        return error_set(err, MUGA_E_INTERNAL, "the script has no answer %zu", s->at);
    const http_turn *t = &s->turns[s->at++];
    out->status = t->status;
    out->end = t->end;
    out->retry_after_ms = t->retry_after_ms ? t->retry_after_ms : -1;
    snprintf(out->content_type, sizeof out->content_type, "%s", t->type ? t->type : "text/event-stream");
    if (t->status >= 300 && t->status < 400)
        snprintf(out->location, sizeof out->location, "http://elsewhere/");
    size_t n = t->body ? strlen(t->body) : 0, step = s->piece ? s->piece : MAX(n, (size_t)1);
    if (q->on_wait && !q->on_wait(q->ctx)) {
        out->end = HTTP_CANCELLED;
        return error_set(err, MUGA_E_CANCELLED, "cancelled");
    }
    for (size_t i = 0; i < n; i += step) {
        size_t k = MIN(step, n - i);
        out->body_bytes += k;
        if (out->body_bytes > q->max_body_bytes) {
            out->end = HTTP_SIZE;
            return error_set(err, MUGA_E_LIMIT, "the body is longer than %zu bytes", q->max_body_bytes);
        }
        if (!q->on_body(q->ctx, out, t->body + i, k)) {
            out->end = HTTP_STOPPED;
            return MUGA_OK;
        }
    }
    if (t->end == HTTP_WHOLE)
        return MUGA_OK;
    return t->end == HTTP_SIZE ? error_set(err, MUGA_E_LIMIT, "too long")
                               : error_set(err, MUGA_E_ENV, "scripted failure %d", (int)t->end);
}

static int64_t http_script_now(void *self) {
    return ((http_script *)self)->now_ms;
}

static uint64_t http_script_monotonic(void *self) {
    return (uint64_t)((http_script *)self)->now_ms * 1000;
}

static void http_script_sleep(void *self, int64_t ms) {
    http_script *s = self;
    s->slept_ms += ms;
    s->now_ms += ms;
}

static inline void http_script_init(http_script *s, const http_turn *turns, size_t n) {
    *s = (http_script){.turns = turns, .n = n, .now_ms = 1000};
    s->client = (http_client){http_script_exchange, s};
    s->clock = (os_clock){http_script_now, http_script_monotonic, http_script_sleep, s};
}

/* Events of a stream. */
#define SSE(json) "data: " json "\n\n"
#define SSE_TEXT(text) SSE("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"},\"finish_reason\":null}]}")
#define SSE_FINISH(why) SSE("{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" why "\"}]}")
#define SSE_USAGE SSE("{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,\"total_tokens\":15}}")
#define SSE_DONE SSE("[DONE]")
#define SSE_ANSWER(text) SSE_TEXT(text) SSE_FINISH("stop") SSE_USAGE SSE_DONE
#define SSE_CALL(name, arguments)                                                                                      \
    SSE("{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call-7\",\"type\":\"function\","  \
        "\"function\":{\"name\":\"" name "\",\"arguments\":\"\"}}]}}]}")                                               \
    SSE("{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"" arguments  \
        "\"}}]}}]}")                                                                                                   \
    SSE_FINISH("tool_calls") SSE_USAGE SSE_DONE

#endif
