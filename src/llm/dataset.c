/* Training data (dataset.h): lines to samples; then which are kept aside, and in which order the others come. */
#include "llm/dataset.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "llm/local.h"

struct prompter {
    local l; /* its engine, control tokens and form of calls, and nothing else */
    const toolcall_model *form;
    toolcall_form call; /* as text */
    arena a;
    bool ready; /* the lock is there */
};

muga_status prompter_new(engine *e, prompter **out, muga_error *err) {
    prompter *p = mem_alloc_array(1, sizeof *p);
    *out = p;
    if (!p)
        return error_nomem(err, "the training data");
    p->l.engine = e;
    arena_init(&p->a, 0);
    p->ready = pthread_mutex_init(&p->l.form_lock, NULL) == 0;
    muga_status st = p->ready ? local_prompt_prepare(&p->l, err) : error_nomem(err, "the training data");
    if (!st)
        st = local_form(&p->l.base, &p->form, err);
    if (!st && p->form->family->form[0].trigger &&
        !toolcall_bind(&p->form->family->form[0], p->form->is_control, p->form->is_control_ctx, &p->a, &p->call))
        st = error_nomem(err, "the training data");
    if (st) {
        prompter_free(p);
        *out = NULL;
    }
    return st;
}

void prompter_free(prompter *p) {
    if (!p)
        return;
    if (p->ready)
        pthread_mutex_destroy(&p->l.form_lock);
    free(p->l.form);
    free(p->l.controls);
    arena_release(&p->a);
    free(p);
}

typedef struct reader {
    prompter *p;
    const dataset_options *o;
    dataset *d;
    uint64_t line;
} reader;

/* ---- one conversation ---- */

static bool is_role(const char *role) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    for (size_t i = 0; role && i < ARRAY_LEN(roles); i++)
        if (!strcmp(role, roles[i]))
            return true;
    return false;
}

static bool is_answer(const json_t *message) {
    return !strcmp(json_get_string(message, "role"), "assistant");
}

/* What a call teaches must be one that the model could be held to. */
static muga_status check_call(const json_t *call, size_t i, muga_error *err) {
    const json_t *f = json_object_get(call, "function") ? json_object_get(call, "function") : call;
    const json_t *arguments = json_object_get(f, "arguments");
    const char *name = json_get_string(f, "name");
    json_t *parsed = NULL;
    muga_error ignored;
    if (!name || !*name || strlen(name) > TOOLCALL_MAX_NAME)
        return error_set(err, MUGA_E_INPUT, "message %zu: a call without a function's name", i + 1);
    bool ok = json_is_object(arguments);
    if (json_is_string(arguments) &&
        !json_parse(json_string_value(arguments), json_string_length(arguments), "arguments", &parsed, &ignored))
        ok = json_is_object(parsed);
    json_decref(parsed);
    if (!ok)
        return error_set(err, MUGA_E_INPUT, "message %zu: the arguments of the call of \"%.60s\" are no JSON object",
                         i + 1, name);
    return MUGA_OK;
}

static muga_status check_calls(const json_t *calls, size_t i, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t k = 0; k < json_array_size(calls) && !st; k++)
        st = check_call(json_array_get(calls, k), i, err);
    return st;
}

static muga_status check_message(const json_t *m, size_t i, muga_error *err) {
    const char *role = json_get_string(m, "role");
    const json_t *content = json_object_get(m, "content");
    bool calls = json_array_size(json_object_get(m, "tool_calls")) > 0;
    if (!json_is_object(m))
        return error_set(err, MUGA_E_INPUT, "message %zu is not an object with \"role\" and \"content\"", i + 1);
    if (!role)
        return error_set(err, MUGA_E_INPUT, "message %zu has no \"role\"; give system, user, assistant or tool", i + 1);
    if (!is_role(role))
        return error_set(err, MUGA_E_INPUT, "message %zu has the role \"%.32s\"; give system, user, assistant or tool",
                         i + 1, role);
    if (!json_is_string(content) && !(calls && (!content || json_is_null(content))))
        return error_set(err, MUGA_E_INPUT, "message %zu has no text as \"content\"", i + 1);
    if (is_answer(m) && !calls && json_string_length(content) == 0)
        return error_set(err, MUGA_E_INPUT, "message %zu is an empty answer; there is nothing to learn from it", i + 1);
    return check_calls(json_object_get(m, "tool_calls"), i, err);
}

/* *n: the messages up to the last answer; what follows it teaches nothing. */
static muga_status check_messages(const json_t *messages, size_t *n, muga_error *err) {
    muga_status st = MUGA_OK;
    *n = 0;
    if (!json_is_array(messages))
        return error_set(err, MUGA_E_INPUT, "\"messages\" is not a list of messages");
    for (size_t i = 0; i < json_array_size(messages) && !st; i++) {
        st = check_message(json_array_get(messages, i), i, err);
        if (!st && is_answer(json_array_get(messages, i)))
            *n = i + 1;
    }
    if (!st && *n == 0)
        st = error_set(err, MUGA_E_INPUT, "no message of the assistant; there is nothing to learn from it");
    return st;
}

/* ---- rendering ---- */

typedef struct rendered {
    local_text text;
    token_list ids;
} rendered;

static muga_status render(const reader *r, local_prompt in, rendered *out, muga_error *err) {
    muga_status st = local_text_render(&r->p->l, &in, &out->text, err);
    return st ? st : local_text_encode(&r->p->l, &out->text, &out->ids, err);
}

static void rendered_release(rendered *r) {
    str_release(&r->text.text);
    token_list_release(&r->ids);
}

static bool begins(const rendered *whole, const rendered *part) {
    return whole->text.text.len >= part->text.text.len &&
           memcmp(str_get(&whole->text.text), str_get(&part->text.text), part->text.text.len) == 0;
}

static size_t common_ids(const token_list *a, const token_list *b) {
    size_t n = 0;
    while (n < a->n && n < b->n && a->ids[n] == b->ids[n])
        n++;
    return n;
}

/* Marks the answer that is message i: from where the prompt ends to the token that ends the turn. */
static muga_status mark_answer(const reader *r, const rendered *whole, const rendered *before, const rendered *with,
                               size_t i, dataset_sample *s, muga_error *err) {
    if (!begins(with, before) || !begins(whole, with))
        return error_set(err, MUGA_E_INPUT,
                         "message %zu: the model's template writes what stands %s it otherwise once it is there, so "
                         "answers can't be told from prompts; give each answer a line of its own, or another model",
                         i + 1, begins(with, before) ? "up to" : "before");
    size_t from = before->ids.n, end = common_ids(&with->ids, &whole->ids);
    if (common_ids(&before->ids, &whole->ids) < from || from == 0)
        return error_set(err, MUGA_E_INPUT,
                         "message %zu: its first token would reach into the template's text; let the answer begin "
                         "otherwise (without a blank or line end)",
                         i + 1);
    const tokenizer *t = engine_tokenizer(r->p->l.engine);
    for (size_t k = from; k < end; k++)
        if (tokenizer_is_end(t, whole->ids.ids[k]))
            end = k + 1;
    if (end <= from)
        return error_set(err, MUGA_E_INPUT, "message %zu: the model's template leaves this answer out", i + 1);
    memset(s->target + from, 1, end - from);
    return MUGA_OK;
}

static muga_status mark_answers(const reader *r, const local_prompt *in, const rendered *whole, dataset_sample *s,
                                muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < in->n_messages && !st; i++) {
        rendered before = {0}, with = {0};
        local_prompt part = *in;
        if (!is_answer(json_array_get(in->messages, i)))
            continue;
        if (i == 0)
            return error_set(err, MUGA_E_INPUT, "the first message is the assistant's; let a user's stand before it");
        part.n_messages = i;
        part.closed = false;
        st = render(r, part, &before, err);
        part.n_messages = i + 1;
        part.closed = true;
        if (!st)
            st = render(r, part, &with, err);
        if (!st)
            st = mark_answer(r, whole, &before, &with, i, s, err);
        rendered_release(&before);
        rendered_release(&with);
    }
    return st;
}

/* ---- samples ---- */

static void sum_up(dataset *d, dataset_sample *s) {
    uint8_t bytes[SHA256_BYTES];
    sha256 all, answer;
    sha256_init(&all);
    sha256_init(&answer);
    for (uint32_t i = 0; i < s->n; i++) {
        const uint8_t b[] = {(uint8_t)s->ids[i], (uint8_t)(s->ids[i] >> 8), (uint8_t)(s->ids[i] >> 16), s->target[i]};
        sha256_update(&all, b, sizeof b);
        if (s->target[i])
            sha256_update(&answer, b, sizeof b);
        s->n_target += s->target[i];
    }
    sha256_final(&all, s->sha256);
    sha256_final(&answer, bytes);
    memcpy(&s->answer, bytes, sizeof s->answer);
    d->n_tok += s->n;
    d->n_target += s->n_target;
    d->longest = MAX(d->longest, s->n);
}

static bool push(dataset *d, const dataset_sample *s) {
    if (d->n == d->cap) {
        uint32_t cap = d->cap ? 2 * d->cap : 64;
        dataset_sample *more = mem_resize_array(d->samples, cap, sizeof more[0]);
        if (!more)
            return false;
        d->samples = more;
        d->cap = cap;
    }
    d->samples[d->n++] = *s;
    return true;
}

/* Messages that are checked, in the form that this model's template takes. */
static muga_status add_rendered(reader *r, const json_t *messages, const json_t *tools, muga_error *err) {
    local_prompt in = {.messages = messages, .tools = tools, .now_ms = r->o->now_ms, .closed = true};
    rendered whole = {0};
    dataset_sample s = {.line = r->line};
    in.n_messages = json_array_size(messages);
    muga_status st = render(r, in, &whole, err);
    if (!st && whole.ids.n > r->o->max_tok)
        st = error_set(err, MUGA_E_LIMIT,
                       "%zu tokens are more than the context of %u; shorten the conversation, or give --ctx",
                       whole.ids.n, r->o->max_tok);
    if (!st) {
        s.n = (uint32_t)whole.ids.n;
        s.target = mem_alloc_array((size_t)s.n + 1, 1);
        st = s.target ? mark_answers(r, &in, &whole, &s, err) : error_nomem(err, "the training data");
    }
    if (!st) {
        s.ids = whole.ids.ids;
        whole.ids = (token_list)TOKEN_LIST_INIT;
        sum_up(r->d, &s);
        if (!push(r->d, &s))
            st = error_nomem(err, "the training data");
    }
    rendered_release(&whole);
    if (st) {
        free(s.ids);
        free(s.target);
    }
    return st;
}

static muga_status add_sample(reader *r, const json_t *messages, const json_t *tools, muga_error *err) {
    const toolcall_model *form = r->p->form;
    toolcall_tools known = {0};
    json_t *used = NULL, *converted = NULL;
    size_t n;
    muga_status st = check_messages(messages, &n, err);
    if (!st)
        st = toolcall_tools_read(tools, &known, err);
    bool told = form->family->has[0] == NULL || !form->shows_tools; /* as answer.c decides it */
    if (!st) {
        used = json_array();
        for (size_t i = 0; used && i < n; i++)
            if (json_array_append(used, json_array_get(messages, i))) {
                json_decref(used);
                used = NULL;
            }
        st = used ? MUGA_OK : error_nomem(err, "the training data");
    }
    if (!st)
        st = toolcall_messages(form, r->p->call.trigger ? &r->p->call : NULL, told ? &known : NULL, false, used,
                               &converted, err);
    if (!st)
        st = add_rendered(r, converted, known.n > 0 && !told ? known.shown : NULL, err);
    toolcall_tools_release(&known);
    json_decref(used);
    json_decref(converted);
    return st;
}

/* ---- lines ---- */

static muga_status read_value(reader *r, const json_t *v, muga_error *err) {
    const json_t *messages = json_object_get(v, "messages"), *tools = json_object_get(v, "tools");
    const json_t *prompt = json_object_get(v, "prompt"), *completion = json_object_get(v, "completion");
    if (!json_is_object(v) || (!messages && !prompt))
        return error_set(err, MUGA_E_INPUT, "not an object with \"messages\", or with \"prompt\" and \"completion\"");
    if (tools && !json_is_null(tools) && !json_is_array(tools))
        return error_set(err, MUGA_E_INPUT, "\"tools\" is not a list");
    tools = json_array_size(tools) ? tools : NULL;
    if (messages)
        return add_sample(r, messages, tools, err);
    if (!json_is_string(prompt) || !json_is_string(completion))
        return error_set(err, MUGA_E_INPUT, "\"prompt\" and \"completion\" are not both texts");
    json_t *pair = json_pack("[{s:s, s:O}, {s:s, s:O}]", "role", "user", "content", prompt, "role", "assistant",
                             "content", completion);
    muga_status st = pair ? add_sample(r, pair, tools, err) : error_nomem(err, "the training data");
    json_decref(pair);
    return st;
}

static size_t first_ill_formed(const char *p, size_t n) {
    size_t at = 0, len;
    uint32_t cp;
    while (at < n && (len = utf8_decode(p + at, n - at, &cp)) > 0)
        at += len;
    return at;
}

static muga_status read_line(reader *r, const char *p, size_t n, muga_error *err) {
    json_t *v = NULL;
    size_t bad = first_ill_formed(p, n);
    if (bad < n)
        return error_set(err, MUGA_E_INPUT, "byte %zu is not UTF-8; save the file as UTF-8", bad + 1);
    if (r->d->n == DATASET_MAX_SAMPLES)
        return error_set(err, MUGA_E_LIMIT, "more than %u samples; train on a part of them", DATASET_MAX_SAMPLES);
    muga_status st = json_parse(p, n, "the line", &v, err);
    if (!st)
        st = read_value(r, v, err);
    json_decref(v);
    return st;
}

static int by_answer(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int by_digest(const void *a, const void *b) {
    return memcmp(a, b, SHA256_BYTES);
}

/* How much of it is the same. */
static muga_status count_equal(dataset *d, muga_error *err) {
    uint64_t *answers = mem_alloc_array(d->n, sizeof *answers);
    uint8_t(*digests)[SHA256_BYTES] = mem_alloc_array(d->n, sizeof *digests);
    bool ok = answers && digests;
    for (uint32_t i = 0; ok && i < d->n; i++) {
        answers[i] = d->samples[i].answer;
        memcpy(digests[i], d->samples[i].sha256, SHA256_BYTES);
    }
    if (ok) {
        qsort(answers, d->n, sizeof *answers, by_answer);
        qsort(digests, d->n, sizeof *digests, by_digest);
    }
    for (uint32_t i = 0; ok && i < d->n; i++) {
        d->n_answers += i == 0 || answers[i] != answers[i - 1];
        d->n_repeated += i > 0 && !by_digest(digests[i], digests[i - 1]);
    }
    free(answers);
    free(digests);
    return ok ? MUGA_OK : error_nomem(err, "the training data");
}

static bool is_blank(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r')
            return false;
    return true;
}

muga_status dataset_read(prompter *p, const char *text, size_t n, const char *what, const dataset_options *o,
                         dataset *out, muga_error *err) {
    reader r = {.p = p, .o = o, .d = out};
    *out = (dataset){0};
    for (size_t at = 0; at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at;
        r.line++;
        if (!is_blank(text + at, len)) {
            muga_status st = read_line(&r, text + at, len, err);
            if (st)
                return error_prefix(err, st, "%.80s, line %llu", what, (unsigned long long)r.line);
        }
        at += len + 1;
    }
    if (out->n == 0)
        return error_set(err, MUGA_E_INPUT, "%.160s holds no samples; give a JSON object a line", what);
    return count_equal(out, err);
}

void dataset_release(dataset *d) {
    for (uint32_t i = 0; i < d->n; i++) {
        free(d->samples[i].ids);
        free(d->samples[i].target);
    }
    free(d->samples);
    *d = (dataset){0};
}

void dataset_digest(const dataset *d, char hex[SHA256_HEX]) {
    uint8_t bytes[SHA256_BYTES];
    sha256 h;
    sha256_init(&h);
    for (uint32_t i = 0; i < d->n; i++)
        sha256_update(&h, d->samples[i].sha256, SHA256_BYTES);
    sha256_final(&h, bytes);
    hex_write(bytes, sizeof bytes, hex);
}

/* ---- which, and in which order ---- */

typedef struct place {
    uint64_t key;
    uint32_t i;
} place;

static int by_key(const void *a, const void *b) {
    const place *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : (x->i > y->i) - (x->i < y->i);
}

static int by_index(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Little-endian, so that a split is the same on every machine. */
static uint64_t key_of(const dataset_sample *s, uint64_t seed) {
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | s->sha256[i];
    rng r = {v ^ seed};
    return rng_next(&r);
}

muga_status dataset_split_new(const dataset *d, double share, uint64_t seed, dataset_split *out, muga_error *err) {
    *out = (dataset_split){0};
    place *places = mem_alloc_array(d->n, sizeof *places);
    out->train = mem_alloc_array(d->n, sizeof *out->train);
    out->held = mem_alloc_array(d->n, sizeof *out->held);
    if (!places || !out->train || !out->held) {
        free(places);
        dataset_split_release(out);
        return error_nomem(err, "the order of the training data");
    }
    for (uint32_t i = 0; i < d->n; i++)
        places[i] = (place){key_of(&d->samples[i], seed), i};
    qsort(places, d->n, sizeof *places, by_key);
    uint32_t n_held = MIN((uint32_t)(share * d->n + 0.5), d->n - 1);
    while (n_held > 0 && places[n_held].key == places[n_held - 1].key)
        n_held--; /* equal samples stay together */
    for (uint32_t i = 0; i < d->n; i++)
        *(i < n_held ? &out->held[out->n_held++] : &out->train[out->n_train++]) = places[i].i;
    free(places);
    qsort(out->train, out->n_train, sizeof *out->train, by_index);
    qsort(out->held, out->n_held, sizeof *out->held, by_index);
    return MUGA_OK;
}

void dataset_split_release(dataset_split *s) {
    free(s->train);
    free(s->held);
    *s = (dataset_split){0};
}

void dataset_shuffle(uint64_t seed, uint64_t epoch, uint32_t n, uint32_t group, uint32_t *order) {
    rng mix = {seed}, r = {rng_next(&mix) + epoch};
    uint32_t n_groups = n / group + (n % group > 0), to = n;
    r.state = rng_next(&r);
    for (uint32_t i = 0; i < n_groups; i++)
        order[i] = i;
    for (uint32_t i = n_groups; i > 1; i--) {
        uint32_t j = rng_below(&r, i), keep = order[i - 1];
        order[i - 1] = order[j];
        order[j] = keep;
    }
    /* Groups become their numbers from the last on: the first i of them have i numbers at least, so none is lost. */
    for (uint32_t i = n_groups; i > 0; i--) {
        uint32_t from = order[i - 1] * group, size = MIN(group, n - from);
        to -= size;
        for (uint32_t k = 0; k < size; k++)
            order[to + k] = from + k;
    }
}
