/* The local engine behind llm/: prompts, sessions that reuse what they have in common, answers and scores.
 *
 * A few sessions (slots) are kept. A prompt goes on from the slot it shares most with: that slot is cut back where
 * little is lost, else forked, so that two agents' system prompts stay computed side by side. What is reused changes no
 * result. */
#include "llm/local.h"
#include "base/mem.h"
#include "os/os.h"

#include <stdio.h>

#define WORTH_SHARING 32 /* tokens in common from which a fork pays */
#define STRETCH 128u     /* tokens of a prompt between two questions whether to go on: a step of the engine */

static uint64_t now_us(void) {
    const os_clock *c = &os_system()->clock;
    return c->monotonic_us(c->self);
}

/* ---- slots ---- */

static uint64_t tokens_held(const local *l) {
    uint64_t n = 0;
    for (size_t i = 0; i < LOCAL_SLOTS; i++)
        n += l->slots[i].session ? engine_session_count(l->slots[i].session) : 0;
    return n;
}

static void drop_slot(local_slot *s) {
    engine_session_free(s->session);
    s->session = NULL;
}

/* A free slot, or the one not used for longest; never `keep`. */
static local_slot *oldest_slot(local *l, const local_slot *keep, bool free_ones) {
    local_slot *oldest = NULL;
    for (size_t i = 0; i < LOCAL_SLOTS; i++) {
        local_slot *s = &l->slots[i];
        if (!s->session && free_ones)
            return s;
        if (s->session && s != keep && (!oldest || s->used_at < oldest->used_at))
            oldest = s;
    }
    return oldest;
}

/* All slots together hold at most two contexts' worth of tokens. */
static void make_room(local *l, uint32_t n, const local_slot *keep) {
    while (tokens_held(l) + n > 2 * (uint64_t)l->base.n_ctx) {
        local_slot *s = oldest_slot(l, keep, false);
        if (!s)
            return;
        drop_slot(s);
    }
}

muga_status local_session_new(const local *l, engine_session **out, muga_error *err) {
    muga_status st = engine_session_new(l->engine, l->base.n_ctx, out, err);
    if (st)
        return st;
    st = engine_session_set_adapter(*out, l->adapter, l->adapter_scale, err);
    if (st) {
        engine_session_free(*out);
        *out = NULL;
    }
    return st;
}

void local_put_session(local *l, engine_session *session) {
    make_room(l, engine_session_count(session), NULL);
    local_slot *s = oldest_slot(l, NULL, true);
    drop_slot(s);
    *s = (local_slot){session, ++l->tick};
}

/* A session that holds exactly the tokens it has in common with ids, all but the last at most. */
static muga_status take_session(local *l, const token_list *ids, engine_session **out, muga_error *err) {
    uint32_t n = (uint32_t)ids->n, best_common = 0;
    local_slot *best = NULL;
    for (size_t i = 0; i < LOCAL_SLOTS; i++) {
        local_slot *s = &l->slots[i];
        uint32_t common = s->session ? engine_session_common(s->session, ids->ids, n - 1) : 0;
        if (common > best_common) {
            best_common = common;
            best = s;
        }
    }
    make_room(l, n - best_common, best);
    local_slot *s = best;
    muga_status st = MUGA_OK;
    if (!best || (best_common < engine_session_count(best->session) / 2 && best_common >= WORTH_SHARING)) {
        s = oldest_slot(l, best, true);
        engine_session *fresh;
        st = best ? engine_session_fork(best->session, &fresh, err) : local_session_new(l, &fresh, err);
        if (st)
            return st;
        drop_slot(s);
        s->session = fresh;
    }
    engine_session_truncate(s->session, best_common);
    s->used_at = ++l->tick;
    *out = s->session;
    return MUGA_OK;
}

/* All of it, or in stretches where somebody may want to stop: seconds lie between a long prompt and its first token. */
static muga_status feed_ids(engine_session *s, const token_list *ids, const llm_request *q, muga_error *err) {
    uint32_t n = (uint32_t)ids->n, done = engine_session_count(s);
    muga_status st = MUGA_OK;
    for (uint32_t step = n; !st && done < n; done += step) {
        if (q && q->on_prompt) {
            if (!q->on_prompt(q->on_prompt_ctx, done, n))
                return error_set(err, MUGA_E_CANCELLED, "interrupted");
            step = STRETCH;
        }
        step = MIN(step, n - done);
        st = engine_session_feed(s, ids->ids + done, step, err);
    }
    return st;
}

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

/* Prompt -> ids -> a session with the prompt's logits. q: the request whose answer follows, and who may stop it; NULL
 * where nothing follows. */
static muga_status feed_prompt(local *l, const local_prompt *p, const llm_request *q, token_list *ids,
                               engine_session **out, uint32_t *cached, muga_error *err) {
    muga_status st = local_prompt_encode(l, p, ids, err);
    if (st)
        return st;
    if (ids->n == 0)
        return error_set(err, MUGA_E_INPUT, "the chat template made an empty prompt of these messages");
    if ((st = check_room(l, ids->n, q ? 1 : 0, err)) || (st = take_session(l, ids, out, err)))
        return st;
    *cached = engine_session_count(*out);
    return feed_ids(*out, ids, q, err);
}

/* ---- complete ---- */

static sampler_settings sampling_of(const llm_sampling *s) {
    return (sampler_settings){.temperature = s->temperature,
                              .top_k = s->top_k,
                              .top_p = s->top_p,
                              .min_p = s->min_p,
                              .repeat_penalty = s->repeat_penalty,
                              .presence_penalty = s->presence_penalty,
                              .frequency_penalty = s->frequency_penalty,
                              .penalty_last_n = s->penalty_last_n,
                              .seed = s->seed,
                              .choice = s->choice,
                              .attempt = s->attempt};
}

/* Counts the pieces of text that go out: where a caller cancelled, replay must stop as well. */
typedef struct text_counter {
    const llm_request *q;
    uint32_t n;
} text_counter;

static bool count_text(void *ctx, const char *p, size_t n) {
    text_counter *c = ctx;
    c->n++;
    bool more = !c->q->on_text || c->q->on_text(c->q->on_text_ctx, p, n);
    return more && c->n != c->q->n_texts; /* a replay stops where the answer was cancelled */
}

static muga_status complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err) {
    local *l = (local *)m;
    token_list ids = TOKEN_LIST_INIT;
    engine_generated made = {0};
    constrain_state *state = NULL;
    engine_session *session = NULL;
    sampler_settings sampling = sampling_of(&q->sampling);
    text_counter given = {.q = q};
    local_digest digest = {.n_vocab = engine_params(l->engine)->n_vocab};
    sha256_init(&digest.hash);
    uint64_t begin = now_us();
    muga_status st = sampler_check(&sampling, digest.n_vocab, err);
    if (!st && q->grammar)
        st = constrain_state_new(q->grammar, &state, err);
    local_prompt prompt = {q->messages, q->tools, q->prefix, q->now_ms, q->thinking};
    if (!st)
        st = feed_prompt(l, &prompt, q, &ids, &session, &out->n_prompt_cached, err);
    if (st)
        goto out;
    out->prompt_us = now_us() - begin;
    begin = now_us();
    engine_generate_args a = {.session = session,
                              .sampling = &sampling,
                              .max_tokens = q->max_tokens,
                              .stop = q->stop,
                              .n_stop = q->n_stop,
                              .constraint = state,
                              .drafts = l->drafts,
                              .show_control = q->show_control,
                              .on_text = count_text,
                              .on_text_ctx = &given,
                              .on_choice = q->want_evidence ? local_digest_row : NULL,
                              .on_choice_ctx = &digest};
    if ((st = engine_generate(&a, &made, err)))
        goto out;
    out->generate_us = now_us() - begin;
    out->n_prompt = (uint32_t)ids.n;
    out->n_generated = (uint32_t)made.ids.n;
    out->n_drafted = made.n_drafted;
    out->n_accepted = made.n_accepted;
    out->finish = made.finish == ENGINE_STOP     ? LLM_FINISH_STOP
                  : made.finish == ENGINE_LENGTH ? LLM_FINISH_LENGTH
                                                 : LLM_FINISH_CANCELLED;
    if (q->want_evidence) {
        local_evidence e = {.complete = q->asked ? q->asked : q,
                            .prompt = &ids,
                            .output = &made.ids,
                            .digest = &digest,
                            .finish = out->finish,
                            .n_texts = given.n};
        if ((st = local_evidence_new(l, &e, &out->evidence, err)))
            goto out;
    }
    out->text = made.text;
    made.text = (str){0};
out:
    engine_generated_release(&made);
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

static muga_status score(llm *m, const llm_score_request *q, llm_score_reply *out, muga_error *err) {
    local *l = (local *)m;
    token_list ids = TOKEN_LIST_INIT;
    engine_session *session = NULL;
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
    if ((st = feed_prompt(l, &prompt, NULL, &ids, &session, &out->n_prompt_cached, err)))
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
out:
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

static void local_free(llm *m) {
    local *l = (local *)m;
    for (size_t i = 0; i < LOCAL_SLOTS; i++)
        drop_slot(&l->slots[i]);
    engine_adapter_drop(l->adapter);
    engine_session_free(l->drafts.session);
    engine_free(l->draft_engine);
    engine_free(l->engine);
    pthread_mutex_destroy(&l->form_lock);
    free(l->form);
    free(l->controls);
    free(l->name);
    free(l->path);
    free(l);
}

static const llm_table local_table = {complete,       score,      count,      local_replay,
                                      local_identity, local_free, local_form, local_render};

static muga_status open_drafts(local *l, const llm_local_options *o, muga_error *err) {
    static const engine_draft_kind kinds[] = {ENGINE_DRAFTS_NGRAM, ENGINE_DRAFTS_OFF, ENGINE_DRAFTS_MODEL};
    l->drafts.kind = kinds[o->drafts];
    if (o->drafts != LLM_DRAFTS_MODEL)
        return MUGA_OK;
    engine_options eo = {
        .n_threads = o->n_threads, .isa = o->isa, .packed = o->draft_packed, .packed_source = o->draft_packed_source};
    muga_status st = engine_open(o->draft_path, &eo, &l->draft_engine, err);
    if (st)
        return st;
    if ((st = engine_draft_check(l->engine, l->draft_engine, err)))
        return error_prefix(err, st, "%s", o->draft_path);
    uint32_t n_ctx = MIN(l->base.n_ctx, engine_params(l->draft_engine)->n_ctx_train);
    return engine_session_new(l->draft_engine, n_ctx, &l->drafts.session, err);
}

muga_status llm_local_open(const char *path, const char *name, const llm_local_options *o, llm **out, muga_error *err) {
    local *l = mem_alloc_array(1, sizeof *l);
    if (!l)
        return error_nomem(err, "the model");
    if (pthread_mutex_init(&l->form_lock, NULL)) {
        free(l);
        return error_nomem(err, "the model");
    }
    l->base.table = &local_table;
    l->name = mem_copy_string(name);
    l->path = mem_copy_string(path);
    l->base.name = l->name;
    if (o->sha256)
        memcpy(l->model_sha256, o->sha256, SHA256_HEX - 1);
    muga_status st = l->name && l->path ? MUGA_OK : error_nomem(err, "the model");
    engine_options eo = {.n_threads = o->n_threads,
                         .isa = o->isa,
                         .exact = o->exact,
                         .overrides = o->overrides,
                         .n_overrides = o->n_overrides,
                         .kv = (kernel_kv_type)o->kv,
                         .packed = o->packed,
                         .packed_source = o->packed_source,
                         .on_progress = o->on_progress,
                         .on_progress_ctx = o->on_progress_ctx};
    if (!st)
        st = engine_open(path, &eo, &l->engine, err);
    if (!st)
        st = local_prompt_prepare(l, err);
    l->adapter_scale = o->adapter_scale;
    if (!st && o->adapter)
        st = engine_adapter_load(l->engine, o->adapter, &l->adapter, err);
    if (st) {
        local_free(&l->base);
        return st;
    }
    (void)engine_template_source(l->engine, &l->base.template_fallback);
    l->base.packed = engine_packed(l->engine);
    uint32_t n_ctx_train = engine_params(l->engine)->n_ctx_train;
    l->base.n_ctx = o->n_ctx ? o->n_ctx : MIN(n_ctx_train, 8192u);
    if (l->base.n_ctx > n_ctx_train) {
        local_free(&l->base);
        return error_set(err, MUGA_E_LIMIT,
                         "a context of %u tokens is more than the %u this model was trained for; ask for less",
                         o->n_ctx, n_ctx_train);
    }
    if ((st = open_drafts(l, o, err))) {
        local_free(&l->base);
        return st;
    }
    *out = &l->base;
    return MUGA_OK;
}
