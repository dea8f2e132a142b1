/* The local engine behind llm/: prompts, answers and scores.
 *
 * Answers are computed by the engine's scheduler, those of several callers in common steps (steps.c). Sessions last as
 * long as a request: what they computed stays in the prefix cache, each tenant's for itself, and the next prompt takes
 * from there what it has in common. So a chat goes on where it was, and agents' system prompts stay computed side by
 * side. What is reused changes no result. */
#include "llm/local.h"
#include "base/mem.h"
#include "llm/grammars.h"
#include "model/model.h"
#include "os/os.h"

#include <stdio.h>

#define DEFAULT_CONTEXT 8192u
#define MAX_WAITING 16384u /* callers, each a thread of its own: other limits come first */
#define KEPT_CONTEXTS 2u   /* so many contexts' worth of tokens stay computed that nobody uses */

static uint64_t now_us(void) {
    const os_clock *c = &os_system()->clock;
    return c->monotonic_us(c->self);
}

static const char *tenant_of(const char *tenant) {
    return tenant ? tenant : "";
}

muga_status local_session_new(const local *l, const char *tenant, engine_session **out, muga_error *err) {
    muga_status st = engine_session_new(l->engine, l->base.n_ctx, out, err);
    if (st)
        return st;
    st = engine_session_set_adapter(*out, l->adapter, l->adapter_scale, err);
    if (!st && tenant)
        st = engine_session_share(*out, tenant, err);
    if (st) {
        engine_session_free(*out);
        *out = NULL;
    }
    return st;
}

/* ---- prompts ---- */

/* The prompt and `n_more` tokens after it must fit; said before anything is computed. */
static muga_status check_room(const local *l, size_t n_prompt, uint32_t n_more, muga_error *err) {
    uint32_t n_ctx = l->base.n_ctx, n_ctx_train = engine_params(l->engine)->n_ctx_train;
    char remedy[80] = "shorten it";
    if (n_prompt + n_more <= n_ctx)
        return MUGA_OK;
    if (n_ctx < n_ctx_train)
        snprintf(remedy, sizeof remedy, "shorten it or raise the context (this model's limit is %u)", n_ctx_train);
    return error_set(err, MUGA_E_LIMIT, "the prompt has %zu tokens, %s the context of %u; %s", n_prompt,
                     n_prompt > n_ctx ? "more than" : "which leaves no room for an answer in", n_ctx, remedy);
}

/* Prompt -> ids, with room for `n_more` tokens behind them. */
static muga_status encode_prompt(local *l, const local_prompt *p, uint32_t n_more, token_list *ids, muga_error *err) {
    muga_status st = local_prompt_encode(l, p, ids, err);
    if (st)
        return st;
    if (ids->n == 0)
        return error_set(err, MUGA_E_INPUT,
                         p->messages ? "the chat template made an empty prompt of these messages"
                                     : "the prompt has no tokens, and this model asks for none before it");
    return check_room(l, ids->n, n_more, err);
}

/* ---- complete ---- */

/* What the sampler is told; its biases stand in `bias`, which the caller frees. */
typedef struct sampler_setup {
    sampler_settings set;
    sampler_bias *bias;
} sampler_setup;

static muga_status sampling_init(const local *l, const llm_request *q, sampler_setup *out, muga_error *err) {
    const llm_sampling *s = &q->sampling;
    uint32_t window = s->penalty_last_n == LLM_PENALTY_ALL ? MIN(l->base.n_ctx, SAMPLER_MAX_WINDOW) : s->penalty_last_n;
    out->bias = mem_alloc_array(q->n_logit_bias, sizeof *out->bias);
    if (!out->bias)
        return error_nomem(err, "the logit biases");
    for (size_t i = 0; i < q->n_logit_bias; i++) {
        float bias = q->logit_bias[i].bias;
        out->bias[i] = (sampler_bias){q->logit_bias[i].id, bias == -100.0f ? SAMPLER_NEVER : bias};
    }
    out->set = (sampler_settings){.temperature = s->temperature,
                                  .top_k = s->top_k,
                                  .typical_p = s->typical_p,
                                  .top_p = s->top_p,
                                  .min_p = s->min_p,
                                  .repeat_penalty = s->repeat_penalty,
                                  .presence_penalty = s->presence_penalty,
                                  .frequency_penalty = s->frequency_penalty,
                                  .penalty_last_n = window,
                                  .seed = s->seed,
                                  .choice = s->choice,
                                  .attempt = s->attempt,
                                  .bias = out->bias,
                                  .n_bias = q->n_logit_bias};
    return sampler_check(&out->set, engine_params(l->engine)->n_vocab, err);
}

/* What is seen of an answer while it is computed: the pieces of text that go out (where a caller cancelled, replay must
 * stop as well), the rows that choices were made from, and when the first one was. */
typedef struct watch {
    const llm_request *q;
    const tokenizer *tok;
    uint32_t n_texts;
    bool stopped; /* who gets the text wanted no more */
    local_digest digest;
    uint64_t first_us;
} watch;

static bool on_text(void *ctx, const char *p, size_t n) {
    watch *w = ctx;
    w->n_texts++;
    bool more = !w->q->on_text || w->q->on_text(w->q->on_text_ctx, p, n);
    w->stopped = !more || w->n_texts == w->q->n_texts; /* a replay stops where the answer was cancelled */
    return !w->stopped;
}

static void on_token(void *ctx, const engine_token *t) {
    const watch *w = ctx;
    llm_top top[LLM_MAX_TOP];
    for (uint32_t i = 0; i < t->n_top; i++) {
        span piece = tokenizer_piece(w->tok, t->top[i].id);
        top[i] = (llm_top){t->top[i].id, t->top[i].logprob, piece.p, piece.n};
    }
    const llm_token token = {.id = t->id,
                             .logprob = t->logprob,
                             .p = t->bytes.p,
                             .n = t->bytes.n,
                             .top = top,
                             .n_top = t->n_top,
                             .from = t->from,
                             .to = t->to};
    w->q->on_token(w->q->on_token_ctx, &token);
}

static void on_choice(void *ctx, uint32_t pos, const float *logits) {
    watch *w = ctx;
    if (!w->first_us)
        w->first_us = now_us();
    if (w->q->want_evidence)
        local_digest_row(&w->digest, pos, logits);
}

/* One answer at a time has the draft model; others look up. Guesses change no answer. */
static engine_drafts take_drafts(local *l) {
    local_shared *shared = l->shared;
    engine_drafts d = shared->drafts;
    if (!d.session)
        return d;
    pthread_mutex_lock(&shared->lock);
    if (shared->drafts_taken)
        d = (engine_drafts){.kind = ENGINE_DRAFTS_NGRAM};
    shared->drafts_taken = true;
    pthread_mutex_unlock(&shared->lock);
    return d;
}

static void give_drafts_back(local *l, const engine_drafts *d) {
    if (!d->session)
        return;
    pthread_mutex_lock(&l->shared->lock);
    l->shared->drafts_taken = false;
    pthread_mutex_unlock(&l->shared->lock);
}

static muga_status answer(local *l, const llm_request *q, const sampler_settings *sampling, const token_list *ids,
                          constrain_state *state, watch *w, local_answer *out, muga_error *err) {
    const char *tenant = tenant_of(q->tenant);
    engine_session *restored = local_take_restored(l, tenant, ids);
    sched_request r = {.generate = {.session = restored,
                                    .prompt = ids->ids,
                                    .n_prompt = (uint32_t)ids->n,
                                    .sampling = sampling,
                                    .max_tokens = q->max_tokens,
                                    .cancel_at = q->n_tokens,
                                    .stop = q->stop,
                                    .n_stop = q->n_stop,
                                    .constraint = state,
                                    .drafts = take_drafts(l),
                                    .show_control = q->show_control,
                                    .on_text = on_text,
                                    .on_text_ctx = w,
                                    .on_token = q->on_token ? on_token : NULL,
                                    .on_token_ctx = w,
                                    .n_top = q->top_logprobs,
                                    .on_choice = on_choice,
                                    .on_choice_ctx = w,
                                    .on_constraint = l->on_constraint,
                                    .on_constraint_ctx = l->on_constraint_ctx},
                       .priority = q->priority,
                       .on_prompt = q->on_prompt,
                       .on_prompt_ctx = q->on_prompt_ctx};
    if (!restored) {
        r.n_ctx = l->base.n_ctx;
        r.tenant = tenant;
        r.adapter = l->adapter;
        r.adapter_scale = l->adapter_scale;
    }
    muga_status st = local_run(l, &r, q->cancelled, out, err);
    give_drafts_back(l, &r.generate.drafts);
    local_give_back(l, restored);
    return st;
}

static void describe(llm_reply *out, const local_answer *a, uint32_t n_prompt) {
    out->n_prompt = n_prompt;
    out->n_prompt_cached = MIN(a->n_adopted, n_prompt); /* what was forced behind the prompt may be cached, too */
    out->n_generated = (uint32_t)a->made.ids.n;
    out->n_forced = a->made.n_forced;
    out->n_drafted = a->made.n_drafted;
    out->n_accepted = a->made.n_accepted;
    out->finish = a->made.finish == ENGINE_STOP     ? LLM_FINISH_STOP
                  : a->made.finish == ENGINE_LENGTH ? LLM_FINISH_LENGTH
                                                    : LLM_FINISH_CANCELLED;
}

static int32_t *copy_ids(const token_list *l) {
    int32_t *ids = mem_alloc_array(l->n, sizeof *ids);
    if (ids && l->n)
        memcpy(ids, l->ids, l->n * sizeof *ids);
    return ids;
}

static muga_status give_ids(llm_reply *out, const token_list *prompt, const token_list *answer, muga_error *err) {
    out->prompt_ids = copy_ids(prompt);
    out->ids = copy_ids(answer);
    out->n_ids = answer->n;
    return out->prompt_ids && out->ids ? MUGA_OK : error_nomem(err, "the ids");
}

static muga_status complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err) {
    local *l = (local *)m;
    token_list ids = TOKEN_LIST_INIT;
    local_answer a = {0};
    constrain_state *state = NULL;
    sampler_setup setup = {0};
    watch w = {.q = q, .tok = engine_tokenizer(l->engine), .digest = {.n_vocab = engine_params(l->engine)->n_vocab}};
    sha256_init(&w.digest.hash);
    uint64_t begin = now_us();
    local_prompt prompt = local_prompt_of(q);
    muga_status st = sampling_init(l, q, &setup, err);
    if (!st && q->grammar)
        st = constrain_state_new(q->grammar, &state, err);
    if (!st)
        st = encode_prompt(l, &prompt, 1, &ids, err);
    if (!st)
        st = answer(l, q, &setup.set, &ids, state, &w, &a, err);
    if (st)
        goto out;
    uint64_t end = now_us(), first = w.first_us ? w.first_us : end;
    out->prompt_us = first - begin;
    out->generate_us = end - first;
    describe(out, &a, (uint32_t)ids.n);
    if (q->want_ids && (st = give_ids(out, &ids, &a.made.ids, err)))
        goto out;
    if (q->want_evidence) {
        local_evidence e = {.complete = q->asked ? q->asked : q,
                            .prompt = &ids,
                            .output = &a.made.ids,
                            .digest = &w.digest,
                            .finish = out->finish,
                            .n_texts = w.n_texts,
                            .by_flag = !w.stopped};
        if ((st = local_evidence_new(l, &e, &out->evidence, err)))
            goto out;
    }
    out->text = a.made.text;
    a.made.text = (str){0};
    local_remember(l, tenant_of(q->tenant), &ids, &a.made.ids);
out:
    engine_generated_release(&a.made);
    free(setup.bias);
    constrain_state_free(state);
    token_list_release(&ids);
    return st;
}

/* ---- score ---- */

static muga_status encode_labels(const local *l, const llm_score_request *q, token_list *labels, muga_error *err) {
    const tokenizer *t = engine_tokenizer(l->engine);
    int32_t end = tokenizer_eot(t) >= 0 ? tokenizer_eot(t) : tokenizer_eos(t);
    if (q->with_end && end < 0)
        return error_set(err, MUGA_E_INPUT, "this model's vocabulary has no end-of-turn token to score");
    for (size_t i = 0; i < q->n_labels; i++) {
        muga_status st = tokenizer_encode(t, q->labels[i], strlen(q->labels[i]), (tokenizer_flags){0}, &labels[i], err);
        if (!st && q->with_end && !token_list_push(&labels[i], end))
            st = error_nomem(err, "a label");
        if (st)
            return st;
    }
    return MUGA_OK;
}

/* A session that holds the prompt and its logits; *restored: it is the one that was restored. */
static muga_status feed_prompt(local *l, const char *tenant, const token_list *ids, engine_session **out,
                               bool *restored, uint32_t *cached, muga_error *err) {
    uint32_t n = (uint32_t)ids->n;
    *out = local_take_restored(l, tenant, ids);
    *restored = *out != NULL;
    muga_status st = *restored ? MUGA_OK : local_session_new(l, tenant, out, err);
    if (st)
        return st;
    engine_session_truncate(*out, engine_session_common(*out, ids->ids, n - 1));
    (void)engine_session_adopt(*out, ids->ids, n);
    *cached = engine_session_count(*out);
    return engine_session_feed(*out, ids->ids + *cached, n - *cached, err);
}

static muga_status score(llm *m, const llm_score_request *q, llm_score_reply *out, muga_error *err) {
    local *l = (local *)m;
    token_list ids = TOKEN_LIST_INIT;
    engine_session *session = NULL;
    bool restored = false;
    local_digest digest = {.n_vocab = engine_params(l->engine)->n_vocab};
    sha256_init(&digest.hash);
    uint64_t begin = now_us();
    token_list *labels = mem_alloc_array(q->n_labels, sizeof *labels);
    out->logprob = mem_alloc_array(q->n_labels, sizeof *out->logprob);
    out->n_tokens = mem_alloc_array(q->n_labels, sizeof *out->n_tokens);
    muga_status st = labels && out->logprob && out->n_tokens ? MUGA_OK : error_nomem(err, "the labels");
    if (st || (st = encode_labels(l, q, labels, err)))
        goto out;
    local_prompt prompt = {.messages = q->messages, .tools = q->tools, .prefix = q->prefix, .now_ms = q->now_ms};
    if ((st = encode_prompt(l, &prompt, 0, &ids, err)) ||
        (st = feed_prompt(l, tenant_of(q->tenant), &ids, &session, &restored, &out->n_prompt_cached, err)))
        goto out;
    engine_score_args a = {.session = session,
                           .continuations = labels,
                           .n = (uint32_t)q->n_labels,
                           .on_choice = q->want_evidence ? local_digest_row : NULL,
                           .on_choice_ctx = &digest};
    if ((st = engine_score(&a, out->logprob, err)))
        goto out;
    for (size_t i = 0; i < q->n_labels; i++)
        out->n_tokens[i] = (uint32_t)labels[i].n;
    out->n_prompt = (uint32_t)ids.n;
    if (q->want_evidence) {
        local_evidence e = {.score = q, .prompt = &ids, .output = labels, .logprob = out->logprob, .digest = &digest};
        st = local_evidence_new(l, &e, &out->evidence, err);
    }
    out->total_us = now_us() - begin;
    if (!st)
        local_remember(l, tenant_of(q->tenant), &ids, NULL);
out:
    if (restored)
        local_give_back(l, session);
    else
        engine_session_free(session);
    for (size_t i = 0; labels && i < q->n_labels; i++)
        token_list_release(&labels[i]);
    free(labels);
    token_list_release(&ids);
    return st;
}

static muga_status count(llm *m, const json_t *messages, const json_t *tools, uint32_t *n_tok, muga_error *err) {
    token_list ids = TOKEN_LIST_INIT;
    local_prompt prompt = {.messages = messages, .tools = tools};
    muga_status st = local_prompt_encode((local *)m, &prompt, &ids, err);
    *n_tok = (uint32_t)ids.n;
    token_list_release(&ids);
    return st;
}

/* ---- life ---- */

static void shared_free(local_shared *s) {
    sched_free(s->sched);
    engine_session_free(s->drafts.session);
    engine_free(s->draft_engine);
    grammars_free(s->grammars);
    engine_free(s->engine);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void shared_drop(local_shared *s) {
    pthread_mutex_lock(&s->lock);
    bool is_last = --s->n_handles == 0;
    pthread_mutex_unlock(&s->lock);
    if (is_last)
        shared_free(s);
}

static void local_free(llm *m) {
    local *l = (local *)m;
    engine_session_free(l->restored);
    token_list_release(&l->last);
    free(l->last_tenant);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->identity_lock);
    pthread_mutex_destroy(&l->form_lock);
    free(l->form);
    engine_adapter_drop(l->adapter);
    if (l->shared)
        shared_drop(l->shared);
    free(l->controls);
    free(l->name);
    free(l->path);
    free(l);
}

static muga_status local_adapt(llm *m, const char *adapter, float scale, llm **out, muga_error *err);

static const llm_table local_table = {.complete = complete,
                                      .score = score,
                                      .count = count,
                                      .replay = local_replay,
                                      .identify = local_identity,
                                      .free = local_free,
                                      .form = local_form,
                                      .render = local_render,
                                      .embed = local_embed,
                                      .tokenize = local_tokenize,
                                      .detokenize = local_detokenize,
                                      .describe = local_describe,
                                      .get_counts = local_counts,
                                      .adapt = local_adapt};

static muga_status open_drafts(local_shared *s, uint32_t n_ctx, const llm_local_options *o, muga_error *err) {
    static const engine_draft_kind kinds[] = {ENGINE_DRAFTS_NGRAM, ENGINE_DRAFTS_OFF, ENGINE_DRAFTS_MODEL};
    s->drafts.kind = kinds[o->drafts];
    if (o->drafts != LLM_DRAFTS_MODEL)
        return MUGA_OK;
    engine_options eo = {
        .n_threads = o->n_threads, .isa = o->isa, .packed = o->draft_packed, .packed_source = o->draft_packed_source};
    muga_status st = engine_open(o->draft_path, &eo, &s->draft_engine, err);
    if (st)
        return st;
    if ((st = engine_draft_check(s->engine, s->draft_engine, err)))
        return error_prefix(err, st, "%s", o->draft_path);
    n_ctx = MIN(n_ctx, engine_params(s->draft_engine)->n_ctx_train);
    return engine_session_new(s->draft_engine, n_ctx, &s->drafts.session, err);
}

/* *n_ctx: the wanted context, 0 = the model's own; afterwards the one there is. */
static muga_status open_shared(const char *path, const llm_local_options *o, uint32_t *n_ctx, local_shared **out,
                               muga_error *err) {
    local_shared *s = mem_alloc_array(1, sizeof *s);
    if (!s)
        return error_nomem(err, "the model");
    pthread_mutex_init(&s->lock, NULL);
    s->n_handles = 1;
    *out = s;
    engine_options eo = {.n_threads = o->n_threads,
                         .isa = o->isa,
                         .exact = o->exact,
                         .overrides = o->overrides,
                         .n_overrides = o->n_overrides,
                         .kv = (kernel_kv_type)o->kv,
                         .cache_tokens = KEPT_CONTEXTS * (uint64_t)(*n_ctx ? *n_ctx : DEFAULT_CONTEXT),
                         .kv_bytes = o->kv_bytes,
                         .template_source = o->template_source,
                         .packed = o->packed,
                         .packed_source = o->packed_source,
                         .on_progress = o->on_progress,
                         .on_progress_ctx = o->on_progress_ctx};
    muga_status st = grammars_new(GRAMMARS_BYTES, &s->grammars, err);
    if (!st)
        st = engine_open(path, &eo, &s->engine, err);
    if (!st)
        st = sched_new(s->engine, &(sched_options){.max_waiting = MAX_WAITING, .clock = &os_system()->clock}, &s->sched,
                       err);
    if (st)
        return st;
    uint32_t n_ctx_train = engine_params(s->engine)->n_ctx_train, wanted = *n_ctx;
    *n_ctx = wanted ? wanted : MIN(n_ctx_train, DEFAULT_CONTEXT);
    if (wanted > n_ctx_train)
        return error_set(err, MUGA_E_LIMIT,
                         "a context of %u tokens is more than the %u this model was trained for; ask for less", wanted,
                         n_ctx_train);
    return open_drafts(s, *n_ctx, o, err);
}

/* A handle without what it shares. NULL: out of memory. */
static local *new_handle(const char *path, const char *name) {
    local *l = mem_alloc_array(1, sizeof *l);
    if (!l)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_init(&l->identity_lock, NULL);
    pthread_mutex_init(&l->form_lock, NULL);
    l->base.table = &local_table;
    l->name = mem_copy_string(name);
    l->path = mem_copy_string(path);
    l->base.name = l->name;
    if (l->name && l->path)
        return l;
    local_free(&l->base);
    return NULL;
}

static muga_status check_base(local *l, const char *path, muga_error *err) {
    const char *base = engine_adapter_base(l->adapter);
    if (!base[0] || l->any_base)
        return MUGA_OK;
    muga_error why;
    muga_status st = local_identify(l, err);
    if (!st && model_adapter_check_named(span_of_string(base), l->model_sha256, &why))
        st = error_set(err, why.status,
                       "%.160s %s; give that one, or --any-base where this is the same model in another type", path,
                       why.message);
    return st;
}

/* With l->shared and n_ctx in place. */
static muga_status finish_handle(local *l, const char *adapter, float scale, muga_error *err) {
    const local_shared *s = l->shared;
    l->engine = s->engine;
    l->base.grammars = s->grammars;
    l->base.packed = engine_packed(l->engine);
    (void)engine_template_source(l->engine, &l->base.template_fallback);
    l->adapter_scale = scale;
    muga_status st = local_prompt_prepare(l, err);
    if (!st && adapter)
        st = engine_adapter_load(l->engine, adapter, &l->adapter, err);
    if (!st && adapter)
        st = check_base(l, adapter, err);
    l->base.has_adapter = l->adapter != NULL;
    return st;
}

muga_status llm_local_open(const char *path, const char *name, const llm_local_options *o, llm **out, muga_error *err) {
    local *l = new_handle(path, name);
    if (!l)
        return error_nomem(err, "the model");
    l->on_constraint = o->on_constraint;
    l->on_constraint_ctx = o->on_constraint_ctx;
    if (o->sha256)
        memcpy(l->model_sha256, o->sha256, SHA256_HEX - 1);
    l->base.n_ctx = o->n_ctx;
    l->any_base = o->any_base;
    muga_status st = open_shared(path, o, &l->base.n_ctx, &l->shared, err);
    if (!st)
        st = finish_handle(l, o->adapter, o->adapter_scale, err);
    if (st)
        local_free(&l->base);
    else
        *out = &l->base;
    return st;
}

muga_status llm_local_adapt(llm *m, const char *adapter, float scale, llm **out, muga_error *err) {
    return m->table->adapt
               ? m->table->adapt(m, adapter, scale, out, err)
               : error_set(err, MUGA_E_USAGE, "an adapter needs a model that runs here, which %.80s doesn't", m->name);
}

static muga_status local_adapt(llm *m, const char *adapter, float scale, llm **out, muga_error *err) {
    local *of = (local *)m, *l = new_handle(of->path, of->name);
    if (!l)
        return error_nomem(err, "the model with its adapter");
    pthread_mutex_lock(&of->shared->lock);
    of->shared->n_handles++;
    pthread_mutex_unlock(&of->shared->lock);
    l->shared = of->shared;
    l->on_constraint = of->on_constraint;
    l->on_constraint_ctx = of->on_constraint_ctx;
    l->base.n_ctx = of->base.n_ctx;
    l->any_base = of->any_base;
    pthread_mutex_lock(&of->identity_lock);
    memcpy(l->model_sha256, of->model_sha256, SHA256_HEX);
    pthread_mutex_unlock(&of->identity_lock);
    muga_status st = finish_handle(l, adapter, scale, err);
    if (st)
        local_free(&l->base);
    else
        *out = &l->base;
    return st;
}
