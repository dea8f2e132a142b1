/* The remote model's table: a request becomes a body, the body an answer (remote_ask.c), the answer a reply once it is
 * valid (remote_check.c), or the next attempt. Owns the copies of address, model and key. */
#include "llm/remote.h"

#include "llm/answer.h"
#include "llm/constrained.h"
#include "llm/remote_internal.h"
#include "net/url.h"

#include <stdio.h>

#define CONNECT_MS 10000u
#define IDLE_MS 120000u
#define TOTAL_MS 600000u
#define RETRIES 4u
#define ATTEMPTS 3u
#define MAX_ATTEMPTS 32u
#define MAX_ANSWER ((size_t)16 << 20)
#define MAX_KEY 4096u
#define CONTEXT 131072u /* nobody tells; what a larger model has */

/* ---- one answer ---- */

typedef struct asking {
    remote *r;
    const llm_request *q;
    toolcall_tools tools;
    bool live;
    uint64_t begun_us, until_us;
    llm_reply *out;
} asking;

static uint64_t now_us(const remote *r) {
    return r->o.clock->monotonic_us(r->o.clock->self);
}

static uint32_t add_u32(uint32_t a, uint64_t b) {
    return (uint32_t)MIN(a + b, (uint64_t)UINT32_MAX);
}

static void count_answer(asking *k, const remote_answer *a, const str *body) {
    llm_remote_usage *u = &k->r->usage;
    uint64_t n_text = a->content.len + a->reasoning.len, n_prompt = a->n_prompt, n_generated = a->n_generated;
    for (size_t i = 0; i < a->n_calls; i++)
        n_text += a->calls[i].arguments.len;
    if (!a->has_usage) {
        u->n_uncounted++;
        n_prompt = body->len / 4;
        n_generated = n_text / 4;
    }
    u->n_prompt += n_prompt;
    u->n_generated += n_generated;
    k->out->n_prompt = (uint32_t)MIN(n_prompt, (uint64_t)UINT32_MAX);
    k->out->n_prompt_cached = a->n_prompt_cached;
    k->out->n_generated = add_u32(k->out->n_generated, n_generated);
}

/* Events and text of an answer that was held back. */
static bool give_out(const llm_request *q, const llm_reply *r) {
    bool split = answer_is_split(q);
    if (!split || !q->on_event)
        return r->text.len == 0 || !q->on_text || q->on_text(q->on_text_ctx, r->text.data, r->text.len);
    llm_event e = {.kind = LLM_EVENT_REASONING, .p = str_get(&r->reasoning), .n = r->reasoning.len};
    bool more = e.n == 0 || q->on_event(q->on_event_ctx, &e);
    e = (llm_event){.kind = LLM_EVENT_CONTENT, .p = str_get(&r->text), .n = r->text.len};
    more = more && (e.n == 0 || q->on_event(q->on_event_ctx, &e));
    for (size_t i = 0; i < r->n_calls && more; i++) {
        const llm_call *c = &r->calls[i];
        e = (llm_event){.kind = LLM_EVENT_CALL_BEGIN, .call = (uint32_t)i, .id = c->id, .name = c->name};
        more = q->on_event(q->on_event_ctx, &e);
        e.kind = LLM_EVENT_ARGUMENTS;
        e.p = c->arguments;
        e.n = strlen(c->arguments);
        more = more && q->on_event(q->on_event_ctx, &e);
        e = (llm_event){.kind = LLM_EVENT_CALL_END, .call = (uint32_t)i, .id = c->id, .name = c->name};
        more = more && q->on_event(q->on_event_ctx, &e);
    }
    return more;
}

static llm_finish finish_of(const remote_answer *a, const llm_reply *r) {
    return r->n_calls > 0                     ? LLM_FINISH_TOOL_CALLS
           : strcmp(a->finish, "length") == 0 ? LLM_FINISH_LENGTH
                                              : LLM_FINISH_STOP;
}

/* What was computed can't be proven, only said: by whom, of what. */
static muga_status add_evidence(asking *k, const json_t *body, const remote_answer *a, muga_error *err) {
    llm_reply *out = k->out;
    if (!k->q->want_evidence)
        return MUGA_OK;
    out->evidence = json_pack("{s:s, s:s, s:s, s:O, s:s%, s:I, s:s, s:{s:I, s:I}}", "kind", "remote", "url", k->r->url,
                              "model", k->r->model, "request", body, "answer", str_get(&out->text), out->text.len,
                              "calls", (json_int_t)out->n_calls, "finish", a->finish, "usage", "prompt",
                              (json_int_t)out->n_prompt, "generated", (json_int_t)out->n_generated);
    return out->evidence ? MUGA_OK : error_nomem(err, "the evidence");
}

static void empty_reply(llm_reply *out) {
    llm_reply before = *out;
    llm_reply_release(&before);
    *out = (llm_reply){.n_generated = before.n_generated, .n_attempts = before.n_attempts};
}

/* One attempt. E_NEGATIVE: an answer came that isn't valid. */
static muga_status attempt(asking *k, const llm_request *q, muga_error *err) {
    json_t *body = NULL;
    str text = STR_INIT;
    remote_ask ask = {.q = q, .body = &text, .live = k->live, .until_us = k->until_us};
    muga_status st = remote_request_body(k->r, q, &k->tools, &body, err);
    if (!st) {
        json_write(body, &text);
        st = str_status(&text, err, "a request");
    }
    if (!st)
        st = remote_ask_once_more(k->r, &ask, err);
    if (!st)
        count_answer(k, &ask.answer, &text);
    if (!st && ask.cancelled) {
        k->out->finish = LLM_FINISH_CANCELLED;
        if (k->live) { /* what went out is the answer so far */
            str_append(&k->out->text, str_get(&ask.answer.content), ask.answer.content.len);
            st = str_status(&k->out->text, err, "the answer");
        }
    } else if (!st) {
        st = remote_check(q, &k->tools, &ask.answer, k->out, err);
        if (st == MUGA_E_NEGATIVE && strcmp(ask.answer.finish, "length") == 0)
            error_prefix(err, st, "cut at its most tokens");
        if (!st) {
            k->out->finish = finish_of(&ask.answer, k->out);
            st = add_evidence(k, body, &ask.answer, err);
        }
        if (!st && !k->live && !give_out(k->q, k->out))
            k->out->finish = LLM_FINISH_CANCELLED;
    }
    remote_answer_release(&ask.answer);
    json_decref(body);
    str_release(&text);
    return st;
}

static muga_status attempts(asking *k, muga_error *err) {
    muga_error why = {0};
    uint32_t n = k->r->o.attempts;
    for (uint32_t i = 0; i < n; i++) {
        llm_request q = constrained_attempt(k->q, i);
        k->out->n_attempts = i + 1;
        muga_status st = attempt(k, &q, &why);
        if (st != MUGA_E_NEGATIVE)
            return st ? error_set(err, st, "%s", why.message) : MUGA_OK;
        k->r->usage.n_invalid++;
        empty_reply(k->out);
    }
    return error_set(err, MUGA_E_LIMIT, "%.60s gave no valid answer in %u attempts: %.130s", k->r->place, n,
                     why.message);
}

static muga_status complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err) {
    remote *r = (remote *)m;
    bool calls = q->tool_choice != LLM_TOOLS_SHOWN && q->tool_choice != LLM_TOOLS_NONE;
    asking k = {.r = r, .q = q, .out = out};
    k.begun_us = now_us(r);
    k.until_us = k.begun_us + (uint64_t)r->o.total_ms * 1000;
    k.live = !calls && !q->schema && q->n_stop == 0;
    muga_status st = toolcall_tools_read(q->tools, &k.tools, err);
    if (!st)
        st = attempts(&k, err);
    toolcall_tools_release(&k.tools);
    out->generate_us = now_us(r) - k.begun_us;
    if (st)
        remote_blot_key(r, err);
    return st;
}

/* ---- what it can't do, and what it is ---- */

static muga_status score(llm *m, const llm_score_request *q, llm_score_reply *out, muga_error *err) {
    (void)m;
    (void)q;
    (void)out;
    return error_set(err, MUGA_E_USAGE, "a remote model doesn't tell the probabilities of labels; use a local model");
}

static muga_status count(llm *m, const json_t *messages, const json_t *tools, uint32_t *n_tok, muga_error *err) {
    (void)m;
    str text = STR_INIT;
    json_write(messages, &text);
    if (tools)
        json_write(tools, &text);
    *n_tok = (uint32_t)(text.len / 3 + 1);
    muga_status st = str_status(&text, err, "the messages");
    str_release(&text);
    return st;
}

static muga_status replay(llm *m, const json_t *evidence, muga_error *err) {
    (void)m;
    (void)evidence;
    return error_set(err, MUGA_E_USAGE, "a remote model's answer can't be recomputed");
}

static muga_status identify(llm *m, json_t **out, muga_error *err) {
    const remote *r = (const remote *)m;
    *out = json_pack("{s:s, s:s}", "url", r->url, "model", r->model);
    return *out ? MUGA_OK : error_nomem(err, "the model's identity");
}

static void remote_free(llm *m) {
    remote *r = (remote *)m;
    if (r->key)
        explicit_bzero(r->key, strlen(r->key));
    free(r->key);
    free(r->url);
    free(r->model);
    free(r);
}

static const llm_table remote_table = {.complete = complete,
                                       .score = score,
                                       .count = count,
                                       .replay = replay,
                                       .identify = identify,
                                       .free = remote_free,
                                       .complete_split = complete};

/* ---- opening ---- */

static muga_status check_key(const char *key, const url *u, muga_error *err) {
    size_t n = key ? strnlen(key, MAX_KEY + 1) : 1;
    if (n == 0 || n > MAX_KEY)
        return error_set(err, MUGA_E_INPUT, "the key is empty or has more than %u bytes", MAX_KEY);
    for (size_t i = 0; key && i < n; i++)
        if (key[i] <= ' ' || key[i] >= 0x7F)
            return error_set(err, MUGA_E_INPUT, "the key has a blank or another byte that no key has; it is one line");
    if (key && !u->tls && !u->loopback)
        return error_set(err, MUGA_E_USAGE, "the key would cross the network in the open to %.100s; use https://",
                         u->host.p);
    return MUGA_OK;
}

/* The address to post to. */
static char *endpoint(const char *text, const url *u) {
    static const char last[] = "/chat/completions";
    size_t n = strlen(text);
    str out = STR_INIT;
    while (n > 0 && text[n - 1] == '/')
        n--;
    str_append(&out, text, n);
    bool bare = u->path.n == 0 || span_equal_string(u->path, "/");
    bool whole = n >= sizeof last - 1 && memcmp(text + n - (sizeof last - 1), last, sizeof last - 1) == 0;
    str_append_s(&out, bare ? "/v1" : "");
    str_append_s(&out, whole ? "" : last);
    char *r = str_take(&out);
    str_release(&out);
    return r;
}

static void set_defaults(llm_remote_options *o) {
    o->connect_ms = o->connect_ms ? o->connect_ms : CONNECT_MS;
    o->idle_ms = o->idle_ms ? o->idle_ms : IDLE_MS;
    o->total_ms = o->total_ms ? o->total_ms : TOTAL_MS;
    o->retries = o->retries == UINT32_MAX ? RETRIES : o->retries;
    o->attempts = MIN(o->attempts ? o->attempts : ATTEMPTS, MAX_ATTEMPTS);
    o->max_answer_bytes = o->max_answer_bytes ? o->max_answer_bytes : MAX_ANSWER;
}

muga_status llm_remote_new(const llm_remote_options *o, llm **out, muga_error *err) {
    url u;
    muga_status st = url_parse(o->url, &u, err);
    if (!st)
        st = check_key(o->key, &u, err);
    if (!st && (!o->model || !*o->model || strlen(o->model) > 256))
        st = error_set(err, MUGA_E_USAGE, "say which model the server is to use, in at most 256 bytes");
    if (st)
        return st;
    remote *r = mem_alloc_array(1, sizeof *r);
    if (!r)
        return error_nomem(err, "the remote model");
    r->url = endpoint(o->url, &u);
    r->model = mem_copy_string(o->model);
    r->key = o->key ? mem_copy_string(o->key) : NULL;
    if (!r->url || !r->model || (o->key && !r->key)) {
        remote_free(&r->base);
        return error_nomem(err, "the remote model");
    }
    r->o = *o;
    r->o.url = r->url;
    r->o.model = r->model;
    r->o.key = r->key;
    set_defaults(&r->o);
    snprintf(r->place, sizeof r->place, "%.*s:%u", (int)MIN(u.host.n, (size_t)255), u.host.p, (unsigned)u.port);
    r->base = (llm){.table = &remote_table, .name = r->model, .n_ctx = CONTEXT};
    *out = &r->base;
    return MUGA_OK;
}

llm_remote_usage llm_remote_get_usage(const llm *m) {
    return ((const remote *)m)->usage;
}
