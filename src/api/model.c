/* muga.h: models and chats, over llm/. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "api/internal.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "kernel/kernel.h"
#include "muga.h"
#include "os/os.h"

#include <errno.h>

#ifndef MUGA_VERSION
#define MUGA_VERSION "0.1.0"
#endif

struct muga_chat {
    muga_model *model;
    json_t *messages, *schema;
    llm_sampling sampling;
    uint32_t max_tokens;
    bool was_cut;
    str answer;
    int (*on_text)(void *ctx, const char *text, size_t n);
    void *on_text_ctx;
};

const char *muga_version(void) {
    return MUGA_VERSION;
}

/* m, whose llm was opened with this status, becomes *out, or goes. */
static muga_status finish_model(muga_model *m, muga_status st, muga_model **out, muga_error *err) {
    if (!st && pthread_mutex_init(&m->lock, NULL)) {
        llm_free(m->llm);
        st = error_nomem(err, "model lock");
    }
    if (st)
        free(m);
    else
        *out = m;
    return st;
}

muga_status muga_model_open(const char *path, const muga_model_options *options, muga_model **out, muga_error *err) {
    muga_model_options o = options ? *options : (muga_model_options){0};
    *out = NULL;
    if (o.n_threads > 1024)
        return error_set(err, MUGA_E_USAGE, "n_threads is %u; at most 1024", o.n_threads);
    kernel_kv_type kv = KERNEL_KV_F16;
    if (o.kv && !kernel_kv_parse(o.kv, &kv))
        return error_set(err, MUGA_E_USAGE, "kv is f16, f32 or q8, not \"%.40s\"", o.kv);
    muga_model *m = calloc(1, sizeof *m);
    char *source = o.packed ? realpath(path, NULL) : NULL;
    if (!m || (o.packed && !source && errno == ENOMEM)) {
        free(m);
        return error_nomem(err, "model");
    }
    llm_local_options local = {.n_ctx = o.n_ctx,
                               .n_threads = (int)o.n_threads,
                               .isa = -1,
                               .exact = o.exact != 0,
                               .kv = (int)kv,
                               .adapter = o.adapter,
                               .adapter_scale = o.adapter_scale != 0 ? o.adapter_scale : 1,
                               .any_base = o.any_base != 0,
                               .packed = source ? o.packed : NULL, /* a path that leads nowhere fails by its name */
                               .packed_source = source,
                               .on_progress = o.on_progress,
                               .on_progress_ctx = o.on_progress_ctx};
    muga_status st = llm_local_open(path, path, &local, &m->llm, err);
    free(source);
    return finish_model(m, st, out, err);
}

muga_status muga_model_adapt(muga_model *m, const char *adapter, float scale, muga_model **out, muga_error *err) {
    *out = NULL;
    muga_model *made = calloc(1, sizeof *made);
    if (!made)
        return error_nomem(err, "model");
    muga_status st = llm_local_adapt(m->llm, adapter, scale != 0 ? scale : 1, &made->llm, err);
    return finish_model(made, st, out, err);
}

void muga_model_free(muga_model *m) {
    if (!m)
        return;
    llm_free(m->llm);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

uint32_t muga_model_ctx(const muga_model *m) {
    return m->llm->n_ctx;
}

/* ---- chat ---- */

static muga_status add_message(json_t *messages, const char *role, const char *text, muga_error *err) {
    if (!utf8_valid(text, strlen(text)))
        return error_set(err, MUGA_E_INPUT, "%s message: not valid UTF-8; convert it first", role);
    json_t *m = json_pack("{s:s, s:s}", "role", role, "content", text);
    return m && !json_array_append_new(messages, m) ? MUGA_OK : error_nomem(err, "message");
}

/* A schema that can't be enforced is refused now, not at the first question. */
static muga_status parse_schema(const char *text, json_t **out, muga_error *err) {
    constrain_grammar *g = NULL;
    muga_status st = json_parse(text, strlen(text), "schema", out, err);
    if (!st)
        st = constrain_compile_schema(*out, &(constrain_options){0}, &g, err);
    constrain_grammar_free(g);
    return st;
}

muga_status muga_chat_new(muga_model *m, const muga_chat_options *options, muga_chat **out, muga_error *err) {
    muga_chat_options o = options ? *options : (muga_chat_options){0};
    *out = NULL;
    muga_chat *c = calloc(1, sizeof *c);
    if (!c)
        return error_nomem(err, "chat");
    c->model = m;
    c->max_tokens = o.max_tokens;
    c->sampling = LLM_SAMPLING_GREEDY;
    c->sampling.temperature = o.temperature;
    c->sampling.top_k = o.top_k;
    c->sampling.min_p = o.min_p;
    c->sampling.seed = o.seed;
    if (o.top_p > 0)
        c->sampling.top_p = o.top_p;
    c->messages = json_array();
    muga_status st = c->messages ? MUGA_OK : error_nomem(err, "chat");
    if (!st && o.system)
        st = add_message(c->messages, "system", o.system, err);
    if (!st && o.schema)
        st = parse_schema(o.schema, &c->schema, err);
    if (st)
        muga_chat_free(c);
    else
        *out = c;
    return st;
}

void muga_chat_free(muga_chat *c) {
    if (!c)
        return;
    json_decref(c->messages);
    json_decref(c->schema);
    str_release(&c->answer);
    free(c);
}

static bool pass_text(void *ctx, const char *p, size_t n) {
    muga_chat *c = ctx;
    return !c->on_text || c->on_text(c->on_text_ctx, p, n) != 0;
}

muga_status muga_chat_ask(muga_chat *c, const char *question, int (*on_text)(void *ctx, const char *text, size_t n),
                          void *ctx, const char **answer, muga_error *err) {
    size_t before = json_array_size(c->messages);
    llm_reply reply = {0};
    llm_request q = {.messages = c->messages,
                     .schema = c->schema,
                     .sampling = c->sampling,
                     .max_tokens = c->max_tokens,
                     .on_text = pass_text,
                     .on_text_ctx = c,
                     .now_ms = os_system()->clock.now_ms(os_system()->clock.self)};
    c->on_text = on_text;
    c->on_text_ctx = ctx;
    if (answer)
        *answer = NULL;
    muga_status st = add_message(c->messages, "user", question, err);
    if (!st) {
        pthread_mutex_lock(&c->model->lock);
        st = llm_complete(c->model->llm, &q, &reply, err);
        pthread_mutex_unlock(&c->model->lock);
    }
    if (!st && reply.finish == LLM_FINISH_CANCELLED)
        st = error_set(err, MUGA_E_CANCELLED, "the answer was stopped: on_text returned 0");
    if (!st)
        st = add_message(c->messages, "assistant", str_get(&reply.text), err);
    if (!st) {
        str_clear(&c->answer);
        str_append(&c->answer, str_get(&reply.text), reply.text.len);
        st = str_status(&c->answer, err, "answer");
    }
    c->was_cut = !st && reply.finish == LLM_FINISH_LENGTH;
    while (st && json_array_size(c->messages) > before)
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
    if (!st && answer)
        *answer = str_get(&c->answer);
    llm_reply_release(&reply);
    return st;
}

int muga_chat_was_cut(const muga_chat *c) {
    return c->was_cut;
}
