/* Asking until a whole answer came. One exchange ends in one of four ways:
 *
 *   a whole answer                        done
 *   408, 425, 429, 5xx; no connection;    asked again after a wait, while there are retries and time, and no text has
 *   cut; silent; an error in the stream   gone out: the server's Retry-After, or 0.5 s doubled each time, at most 30 s,
 *                                         less up to half of it by lot, so that many clients don't come back at once
 *   another status, a redirect, TLS,      an error: the next answer would be the same
 *   too much, not of this API
 *   a callback says stop                  cancelled
 */
#include "base/rng.h"
#include "llm/remote_internal.h"
#include "net/sse.h"

#include <stdio.h>

#define MAX_ERROR_BODY ((size_t)16 << 10)
#define MAX_HEADER ((size_t)64 << 10)
#define FIRST_WAIT_MS 500
#define LONGEST_WAIT_MS 30000
#define LONGEST_SERVER_WAIT_MS 120000 /* a server that asks for more is told of, not waited for */
#define AFTER_DONE_US 300000          /* for a stream's last bytes, so that the connection can be used again */

typedef struct exchange {
    remote *r;
    remote_ask *ask;
    sse events;
    str body; /* of what is no stream */
    bool is_stream;
    uint64_t done_us; /* when [DONE] came, or 0 */
    muga_status st;
    muga_error err;
} exchange;

static uint64_t now_us(const remote *r) {
    return r->o.clock->monotonic_us(r->o.clock->self);
}

/* ---- what comes in ---- */

static muga_status on_data(void *ctx, const char *p, size_t n, muga_error *err) {
    exchange *x = ctx;
    return remote_answer_event(&x->ask->answer, p, n, err);
}

/* Text of the answer, where it may go out at once. */
static bool on_text(void *ctx, bool is_reasoning, const char *p, size_t n) {
    remote_ask *a = ctx;
    const llm_request *q = a->q;
    bool split = q->split || q->tool_choice != LLM_TOOLS_SHOWN, more = true;
    if (!a->live)
        return true;
    if (split && q->on_event) {
        llm_event e = {.kind = is_reasoning ? LLM_EVENT_REASONING : LLM_EVENT_CONTENT, .p = p, .n = n};
        more = q->on_event(q->on_event_ctx, &e);
    } else if (!is_reasoning && q->on_text) {
        more = q->on_text(q->on_text_ctx, p, n);
    } else {
        return true;
    }
    a->told = true;
    return more;
}

static bool on_body(void *ctx, const http_reply *reply, const char *p, size_t n) {
    exchange *x = ctx;
    if (reply->status / 100 != 2) {
        str_append(&x->body, p, MIN(n, MAX_ERROR_BODY - MIN(x->body.len, MAX_ERROR_BODY)));
        return x->body.len < MAX_ERROR_BODY;
    }
    x->is_stream = strcmp(reply->content_type, "text/event-stream") == 0;
    if (x->is_stream) {
        x->st = sse_feed(&x->events, p, n, &x->err);
    } else {
        str_append(&x->body, p, n);
        x->st = str_status(&x->body, &x->err, "the server's answer");
    }
    if (x->ask->answer.done && !x->done_us)
        x->done_us = now_us(x->r);
    return !x->st && !x->ask->answer.stopped && !x->ask->answer.failed;
}

/* Nobody waits for the answer any more. */
static bool is_unwanted(const llm_request *q) {
    return llm_is_cancelled(q) || (q->on_prompt && !q->on_prompt(q->on_prompt_ctx, 0, 0));
}

static bool on_wait(void *ctx) {
    exchange *x = ctx;
    if (x->done_us)
        return now_us(x->r) - x->done_us < AFTER_DONE_US;
    if (is_unwanted(x->ask->q))
        x->ask->cancelled = true;
    return !x->ask->cancelled;
}

/* ---- one exchange ---- */

typedef enum { ASKED_DONE, ASKED_AGAIN, ASKED_FAILED } asked;

static asked fail(exchange *x, muga_status st, muga_error *err) {
    (void)st;
    *err = x->err;
    return ASKED_FAILED;
}

static asked say_status(const exchange *x, const http_reply *reply, muga_error *err) {
    int s = reply->status;
    char words[160];
    const char *place = x->r->place;
    remote_error_words(str_get(&x->body), x->body.len, words, sizeof words);
    const char *colon = *words ? ": " : "";
    if (s >= 300 && s < 400) {
        error_set(err, MUGA_E_ENV,
                  "%.80s sends elsewhere (%d, to \"%.80s\"); redirects are not followed: name that "
                  "address if you trust it",
                  place, s, reply->location);
        return ASKED_FAILED;
    }
    if (s == 408 || s == 425 || s == 429 || s >= 500) {
        error_set(err, MUGA_E_ENV, "%.80s answers %d%s%s", place, s, colon, words);
        return ASKED_AGAIN;
    }
    if (s == 401 || s == 403)
        error_set(err, MUGA_E_ENV, "%.80s refuses the key (%d)%s%s", place, s, colon, words);
    else if (s == 404)
        error_set(err, MUGA_E_NOT_FOUND, "%.80s has no such model or address (404)%s%s", place, colon, words);
    else
        error_set(err, MUGA_E_INPUT, "%.80s does not take the request (%d)%s%s", place, s, colon, words);
    return ASKED_FAILED;
}

/* What came with a status of 2xx. */
static asked judge(exchange *x, muga_error *err) {
    remote_answer *a = &x->ask->answer;
    muga_status st = x->st;
    if (!st && !x->is_stream && !a->done)
        st = remote_answer_body(a, str_get(&x->body), x->body.len, &x->err);
    if (st) {
        error_prefix(&x->err, st, "%.80s", x->r->place);
        return fail(x, st, err);
    }
    if (a->stopped) {
        x->ask->cancelled = true;
        return ASKED_DONE;
    }
    if (a->failed) {
        error_set(err, MUGA_E_ENV, "%.80s gave up in the middle: %.120s", x->r->place, a->message);
        return ASKED_AGAIN;
    }
    if (a->done || a->finish[0])
        return ASKED_DONE;
    error_set(err, MUGA_E_ENV, "%.80s ended its answer in the middle", x->r->place);
    return ASKED_AGAIN;
}

static asked judge_end(exchange *x, muga_status st, const http_reply *reply, muga_error *err) {
    if (x->ask->cancelled)
        return ASKED_DONE;
    const remote_answer *a = &x->ask->answer;
    if (reply->status / 100 == 2 && (x->st || a->done || a->finish[0] || !st))
        return judge(x, err);
    if (!st)
        return say_status(x, reply, err);
    error_prefix(err, st, "%.80s", x->r->place);
    switch (reply->end) {
    case HTTP_CONNECT:
    case HTTP_CUT:
    case HTTP_IDLE: return ASKED_AGAIN;
    default: return ASKED_FAILED;
    }
}

static uint32_t left_ms(const remote *r, const remote_ask *ask) {
    uint64_t now = now_us(r);
    return ask->until_us > now ? (uint32_t)MIN((ask->until_us - now) / 1000, (uint64_t)UINT32_MAX) : 0;
}

static asked exchange_once(remote *r, remote_ask *ask, int64_t *retry_after_ms, muga_error *err) {
    exchange x = {.r = r, .ask = ask};
    http_reply reply;
    const char *headers[] = {"Content-Type: application/json", "Accept: text/event-stream, application/json"};
    http_request q = {.url = r->url,
                      .headers = headers,
                      .n_headers = ARRAY_LEN(headers),
                      .bearer = r->key,
                      .body = str_get(ask->body),
                      .n_body = ask->body->len,
                      .connect_ms = r->o.connect_ms,
                      .idle_ms = r->o.idle_ms,
                      .total_ms = MAX(left_ms(r, ask), 1u),
                      .max_header_bytes = MAX_HEADER,
                      .max_body_bytes = r->o.max_answer_bytes,
                      .on_body = on_body,
                      .on_wait = on_wait,
                      .ctx = &x};
    remote_answer_release(&ask->answer);
    remote_answer_init(&ask->answer, r->o.max_answer_bytes);
    ask->answer.on_text = on_text;
    ask->answer.ctx = ask;
    str_init(&x.body, r->o.max_answer_bytes);
    sse_init(&x.events, r->o.max_answer_bytes, on_data, &x);
    r->usage.n_requests++;
    muga_status st = r->o.http.exchange(r->o.http.self, &q, &reply, err);
    asked how = judge_end(&x, st, &reply, err);
    *retry_after_ms = reply.retry_after_ms;
    sse_release(&x.events);
    str_release(&x.body);
    return how;
}

/* ---- again and again ---- */

static int64_t wait_of(remote *r, uint32_t i_retry, int64_t retry_after_ms) {
    if (retry_after_ms >= 0)
        return retry_after_ms;
    int64_t whole = MIN((int64_t)FIRST_WAIT_MS << MIN(i_retry, 10u), (int64_t)LONGEST_WAIT_MS);
    return whole - (int64_t)((double)whole / 2 * (double)rng_uniform(r->o.jitter_seed, 0, 0, r->n_drawn++));
}

/* In short stretches, so that it can be cancelled. */
static void sleep_for(const remote *r, remote_ask *ask, int64_t ms) {
    while (ms > 0 && !ask->cancelled) {
        int64_t step = MIN(ms, (int64_t)100);
        r->o.clock->sleep_ms(r->o.clock->self, step);
        ms -= step;
        ask->cancelled = is_unwanted(ask->q);
    }
}

muga_status remote_ask_once_more(remote *r, remote_ask *ask, muga_error *err) {
    for (uint32_t i = 0;; i++) {
        int64_t retry_after_ms = -1;
        muga_error why = {0};
        asked how = exchange_once(r, ask, &retry_after_ms, &why);
        if (how == ASKED_DONE)
            return MUGA_OK;
        int64_t wait = wait_of(r, i, retry_after_ms);
        if (how == ASKED_AGAIN && ask->told)
            return error_set(err, why.status, "%.200s; part of the answer was shown already", why.message);
        if (how == ASKED_AGAIN && wait > LONGEST_SERVER_WAIT_MS)
            return error_set(err, why.status, "%.180s; it asks to come back in %lld s", why.message,
                             (long long)(wait / 1000));
        if (how == ASKED_AGAIN && i == r->o.retries && i > 0)
            return error_set(err, why.status, "%.200s; asked %u times", why.message, i + 1);
        if (how == ASKED_FAILED || i == r->o.retries)
            return error_set(err, why.status, "%s", why.message);
        if (wait >= (int64_t)left_ms(r, ask))
            return error_set(err, why.status, "%.190s; no time is left to ask again", why.message);
        if (r->o.on_retry) {
            remote_blot_key(r, &why);
            r->o.on_retry(r->o.on_retry_ctx, why.message, wait);
        }
        sleep_for(r, ask, wait);
        if (ask->cancelled)
            return MUGA_OK;
        r->usage.n_retries++;
    }
}

/* ---- the key ---- */

#define BLOT_BYTES 8u

void remote_blot_key(const remote *r, muga_error *err) {
    static const char blot[] = "[key]";
    if (!r->key || !err)
        return;
    size_t n_key = strlen(r->key), least = MIN(n_key, (size_t)BLOT_BYTES);
    for (char *p = err->message; *p; p++) {
        size_t n = 0;
        for (size_t i = 0; i + least <= n_key; i++) {
            size_t k = 0;
            while (p[k] && i + k < n_key && p[k] == r->key[i + k])
                k++;
            n = MAX(n, k);
        }
        if (n < least)
            continue;
        size_t keep = MIN(n, sizeof blot - 1); /* never longer than what it stands for */
        memcpy(p, blot, keep);
        memmove(p + keep, p + n, strlen(p + n) + 1);
        p += keep - 1;
    }
}
