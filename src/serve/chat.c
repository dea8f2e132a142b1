/* A request for text, once its body is read: what it doesn't say is looked up in the model's Modelfile, then among the
 * family's defaults; its choices are computed side by side. */
#include "serve/agents.h"
#include "serve/internal.h"
#include "serve/keys.h"
#include "serve/settings.h"

#include <pthread.h>

#define CHOICE_STACK ((size_t)1 << 20)

const char *chat_finish_name(llm_finish f) {
    static const char *const names[] = {"stop", "length", "stop", "tool_calls"};
    return names[f];
}

/* ---- what the Modelfile says ---- */

static float pick(float said, const json_t *stored, const char *name, float otherwise) {
    return isnan(said) ? (float)json_get_number(stored, name, (double)otherwise) : said;
}

static int64_t pick_int(int64_t said, const json_t *stored, const char *name, int64_t otherwise) {
    return said >= 0 ? said : json_get_int(stored, name, otherwise);
}

static bool pick_seed(chat *ch, const chat_sampling *said, const json_t *stored) {
    int64_t seed = said->seed == -1 ? json_get_int(stored, "seed", -1) : said->seed;
    uint32_t random;
    muga_error err = {0};
    if (seed == -1) {
        muga_status st = os_random(&random, sizeof random, &err);
        if (st)
            return call_fail_with(ch->c, st, &err, NULL);
        seed = random;
    }
    ch->seed = (uint64_t)seed;
    return true;
}

static bool pick_stop(chat *ch, const json_t *said, const json_t *stored) {
    const json_t *stop = said ? said : json_object_get(stored, "stop");
    size_t n = json_is_array(stop) ? json_array_size(stop) : stop && !json_is_null(stop);
    const char **list = n ? arena_alloc(&ch->c->mem, n * sizeof *list) : NULL;
    if (n && !list)
        return call_no_memory(ch->c);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_array(stop) ? json_array_get(stop, i) : stop;
        if (!json_is_string(s) || json_string_length(s) == 0 || strlen(json_string_value(s)) != json_string_length(s))
            return call_fail(ch->c, 400, "stop", "invalid_value",
                             "stop must be a text or an array of texts, none empty");
        list[i] = json_string_value(s);
    }
    ch->stop_is_stored = !said;
    ch->q.stop = list;
    ch->q.n_stop = n;
    return true;
}

static bool pick_sampling(chat *ch, const chat_sampling *said, const chat_defaults *d) {
    if (said->n_ctx > (int64_t)ch->lent.m->n_ctx)
        return call_fail(ch->c, 400, "num_ctx", "out_of_range",
                         "%lld tokens of context are more than the %u that %.64s is served with; ask for less, or "
                         "raise num_ctx in its Modelfile or the server's configuration",
                         (long long)said->n_ctx, ch->lent.m->n_ctx, ch->lent.name);
    const json_t *stored = ch->lent.stored->parameters;
    llm_sampling *s = &ch->q.sampling;
    int64_t last_n = pick_int(said->repeat_last_n, stored, "repeat_last_n", d->repeat_last_n);
    int64_t most = pick_int(said->max_tokens, stored, "num_predict", 0);
    *s = LLM_SAMPLING_GREEDY;
    s->temperature = pick(said->temperature, stored, "temperature", d->temperature);
    s->top_k = (uint32_t)pick_int(said->top_k, stored, "top_k", d->top_k);
    s->top_p = pick(said->top_p, stored, "top_p", d->top_p);
    s->min_p = pick(said->min_p, stored, "min_p", d->min_p);
    s->typical_p = pick(said->typical_p, stored, "typical_p", 1.0f);
    s->repeat_penalty = pick(said->repeat_penalty, stored, "repeat_penalty", d->repeat_penalty);
    s->presence_penalty = pick(said->presence_penalty, stored, "presence_penalty", 0.0f);
    s->frequency_penalty = pick(said->frequency_penalty, stored, "frequency_penalty", 0.0f);
    s->penalty_last_n = last_n < 0 ? LLM_PENALTY_ALL : (uint32_t)last_n;
    ch->q.max_tokens = most > 0 ? (uint32_t)MIN(most, (int64_t)UINT32_MAX) : 0;
    if (!pick_seed(ch, said, stored) || !pick_stop(ch, said->stop, stored))
        return false;
    s->seed = ch->seed;
    return true;
}

/* The Modelfile's system text, unless the request has one; its messages; the request's. New. */
static json_t *with_stored(const hub_model *m, const json_t *messages) {
    const char *first = json_get_string(json_array_get(messages, 0), "role");
    bool has_system = first && !strcmp(first, "system");
    json_t *all = json_array();
    bool whole = all != NULL;
    if (whole && m->system && m->system[0] && !has_system)
        whole = json_array_append_new(all, json_pack("{s:s, s:s}", "role", "system", "content", m->system)) == 0;
    if (whole && has_system)
        whole = json_array_append(all, json_array_get(messages, 0)) == 0;
    for (size_t i = 0; whole && i < json_array_size(m->messages); i++)
        whole = json_array_append(all, json_array_get(m->messages, i)) == 0;
    for (size_t i = has_system; whole && i < json_array_size(messages); i++)
        whole = json_array_append(all, json_array_get(messages, i)) == 0;
    if (whole)
        return all;
    json_decref(all);
    return NULL;
}

bool chat_take(call *c, const char *model, pool_lent *out) {
    muga_error err = {0};
    pool_variant v;
    model = settings_model(c->serve, model, &v);
    if (!model || !*model)
        return call_fail(c, 400, "model", "missing_required_parameter", "model is missing");
    if (!key_may_model(c->key, model))
        return call_fail(c, 403, "model", "not_allowed", "this key may not ask the model %.100s", model);
    muga_status st = pool_take(c->serve->pool, model, v.adapter ? &v : NULL, call_cancelled(c), out, &err);
    if (st == MUGA_E_NOT_FOUND && agents_is_name(model)) /* it stands in /v1/models, so clients ask it anywhere */
        return call_fail(c, 404, "model", "model_not_found",
                         "agents answer at /v1/chat/completions and /v1/agents/NAME/run, not here: %.100s", model);
    if (st == MUGA_E_NOT_FOUND)
        return call_fail(c, 404, "model", "model_not_found", "%s", err.message);
    if (st)
        return call_fail_with(c, st, &err, "model");
    c->model = arena_copy_string(&c->mem, out->name);
    c->load_us = out->load_us;
    metrics_begin(c->serve->metrics, &c->metrics, c->begin_us);
    metrics_model(&c->metrics, out->name, c->tenant);
    metrics_run(&c->metrics, call_now_us());
    return true;
}

bool chat_open(call *c, const char *model, const json_t *messages, const chat_sampling *said, const chat_defaults *d,
               chat *out) {
    *out = (chat){.c = c, .keep_alive_ms = -1};
    if (!chat_take(c, model, &out->lent))
        return false;
    const os_clock *clock = &os_system()->clock;
    out->q.tenant = c->tenant;
    out->q.cancelled = call_cancelled(c);
    out->q.priority = c->priority;
    out->q.now_ms = clock->now_ms(clock->self);
    if (!pick_sampling(out, said, d))
        return false;
    if (!messages)
        return true;
    out->messages = with_stored(out->lent.stored, messages);
    if (!out->messages)
        return call_no_memory(c);
    out->q.messages = out->messages;
    return true;
}

void chat_close(chat *ch) {
    if (ch->c)
        pool_give(ch->c->serve->pool, &ch->lent, ch->keep_alive_ms);
    json_decref(ch->messages);
    *ch = (chat){0};
}

/* ---- choices ---- */

typedef struct one_choice {
    llm *m;
    llm_request q;
    llm_reply *reply;
    muga_status status;
    muga_error err;
    pthread_t thread;
    bool started;
    bool (*on_prompt)(void *ctx, uint32_t n_done, uint32_t n_prompt); /* the route's, with its ctx */
    void *on_prompt_ctx;
    uint32_t n_read;      /* of the prompt, so far */
    metrics_request seen; /* when its tokens came */
    bool (*on_event)(void *ctx, const llm_event *e);
    bool (*on_text)(void *ctx, const char *p, size_t n);
    void *ctx;
    json_t *own[3]; /* what it reads of the request's JSON: counts of references are one thread's */
} one_choice;

static bool count_read(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    one_choice *o = ctx;
    o->n_read = n_done;
    return !o->on_prompt || o->on_prompt(o->on_prompt_ctx, n_done, n_prompt);
}

/* Between the model and the route: when the pieces come. */
static bool see_event(void *ctx, const llm_event *e) {
    one_choice *o = ctx;
    metrics_token(&o->seen, call_now_us());
    return o->on_event(o->ctx, e);
}

static bool see_text(void *ctx, const char *p, size_t n) {
    one_choice *o = ctx;
    if (n)
        metrics_token(&o->seen, call_now_us());
    return !o->on_text || o->on_text(o->ctx, p, n);
}

static void see(one_choice *o, const call *c) {
    o->seen = c->metrics;
    o->on_event = o->q.on_event;
    o->on_text = o->q.on_text;
    o->ctx = o->q.on_text_ctx;
    if (o->q.on_event) {
        o->q.on_event = see_event;
        o->q.on_event_ctx = o;
    } else {
        o->q.on_text = see_text;
        o->q.on_text_ctx = o;
    }
}

static void *complete_one(void *arg) {
    one_choice *o = arg;
    o->status = llm_complete(o->m, &o->q, o->reply, &o->err);
    if (o->status == MUGA_E_CANCELLED) /* who leaves while a prompt is read pays for what was read */
        o->reply->n_prompt = MAX(o->reply->n_prompt, o->n_read);
    return NULL;
}

static void count(call *c, const chat_choice *choices, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        c->n_prompt = MAX(c->n_prompt, choices[i].reply.n_prompt);
        c->n_cached = i ? MIN(c->n_cached, choices[i].reply.n_prompt_cached) : choices[i].reply.n_prompt_cached;
        c->n_generated += choices[i].reply.n_generated;
    }
    c->finish = chat_finish_name(choices[0].reply.finish);
}

/* Copies of the JSON that a request points to. false: out of memory. */
static bool own_json(one_choice *o) {
    const json_t **of[] = {&o->q.messages, &o->q.tools, &o->q.schema};
    for (size_t i = 0; i < ARRAY_LEN(of); i++)
        if (*of[i] && !(*of[i] = o->own[i] = json_clone(*of[i])))
            return false;
    return true;
}

static bool prepare(chat *ch, chat_choice *choice, uint32_t i, one_choice *o) {
    *o = (one_choice){.m = ch->lent.m, .q = ch->q, .reply = &choice->reply};
    o->q.sampling.choice = i;
    o->q.on_event_ctx = o->q.on_text_ctx = o->q.on_token_ctx = choice->ctx;
    o->on_prompt = ch->q.on_prompt;
    o->on_prompt_ctx = choice->ctx;
    o->q.on_prompt = count_read;
    o->q.on_prompt_ctx = o;
    see(o, ch->c);
    if (i == 0 || own_json(o))
        return true;
    o->status = error_nomem(&o->err, "a choice");
    return false;
}

muga_status chat_complete(chat *ch, chat_choice *choices, uint32_t n, muga_error *err) {
    if (ch->stop_is_stored && (ch->q.schema || ch->q.regex || ch->q.gbnf))
        ch->q.n_stop = 0;
    one_choice all[CHAT_MAX_CHOICES];
    bool ready[CHAT_MAX_CHOICES];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, CHOICE_STACK);
    for (uint32_t i = 0; i < n; i++)
        ready[i] = prepare(ch, &choices[i], i, &all[i]);
    for (uint32_t i = 1; i < n; i++)
        all[i].started = ready[i] && pthread_create(&all[i].thread, &attr, complete_one, &all[i]) == 0;
    pthread_attr_destroy(&attr);
    (void)complete_one(&all[0]);
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < n; i++) {
        if (all[i].started)
            pthread_join(all[i].thread, NULL);
        else if (i > 0 && ready[i])
            (void)complete_one(&all[i]); /* no thread for it: one after the other */
        if (all[i].status && !st) {
            st = all[i].status;
            if (err)
                *err = all[i].err;
        }
        for (size_t k = 0; k < ARRAY_LEN(all[i].own); k++)
            json_decref(all[i].own[k]);
    }
    ch->c->metrics.token_us = all[0].seen.token_us;
    ch->c->prefill_us = choices[0].reply.prompt_us;
    ch->c->decode_us = choices[0].reply.generate_us;
    count(ch->c, choices, n);
    return st;
}
