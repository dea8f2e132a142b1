/* One request to a model (synth_ask.h): its prompt from the manifest, its schema so that a text with a value can't come
 * without the slot for it, and the texts taken one by one. */
#include "agent/synth_ask.h"

#include "agent/internal.h"

#include <stdio.h>

#define MAX_CHARS 240 /* of a text */
#define TOKENS_EACH 96u
#define MISSING_EVERY 4 /* of a tool's requests, one leaves the value out */

static const char *const own_voices[] = {
    "terse: a few words, no greeting",
    "chatty, with a remark that has nothing to do with it",
    "angry and impatient",
    "formal and polite, in whole sentences",
    "someone whose first language is not English",
    "someone in a hurry, on a phone, with typing mistakes",
    "indirect: says what happened and leaves open what is wanted",
    "worried, unsure of the right words",
    "young, in small letters, with the short forms of chats",
    "old, as in a letter",
    "spoken and written down as it was said",
    "at work, matter of fact",
    "joking",
    "tired: it is not the first time that they write",
};
static const char *const forms[] = {
    "Begin each one differently.",
    "Some are questions, some are statements.",
    "Leave out the words that first come to mind for it.",
    "One or two sentences each.",
    "At most eight words each.",
    "Two or three sentences each, with a reason.",
    "Some begin in the middle, without a greeting.",
};

typedef struct plan {
    size_t label;
    bool missing;
    const char *voice, *form;
    const intent_label *l;
    uint32_t n;
} plan;

/* ---- what to ask for ---- */

static bool is_wanted(const synth_ask_options *o, size_t label) {
    bool wanted = o->n_only == 0;
    for (size_t i = 0; i < o->n_only; i++)
        wanted = wanted || o->only[i] == label;
    return wanted;
}

/* Of the wanted labels one by lot, or, every other time, the one with fewest lines: not always, as a label that no text
 * fits would keep the others waiting for ever. */
static bool choose_label(const synth *s, const intent *x, const synth_ask_options *o, rng *r, size_t *out) {
    size_t wanted[RETRIEVE_MAX_LABELS], n = 0;
    for (size_t l = 0; l < intent_n_labels(x); l++)
        if (is_wanted(o, l))
            wanted[n++] = l;
    if (n == 0)
        return false;
    size_t best = rng_below(r, (uint32_t)n);
    if (rng_below(r, 2))
        for (size_t k = 0, from = best; k < n; k++)
            if (synth_n_of(s, wanted[(from + k) % n]) < synth_n_of(s, wanted[best]))
                best = (from + k) % n;
    *out = wanted[best];
    return true;
}

static bool choose(const synth *s, const intent *x, int64_t i, const synth_ask_options *o, plan *p) {
    uint64_t key[2] = {o->seed, (uint64_t)i};
    rng r = {hash64(key, sizeof key, 0)};
    size_t best;
    if (!choose_label(s, x, o, &r, &best))
        return false;
    const char *const *voices = o->n_voices ? o->voices : own_voices;
    uint32_t n_voices = (uint32_t)(o->n_voices ? o->n_voices : ARRAY_LEN(own_voices));
    *p = (plan){.label = best, .l = intent_get_label(x, best), .n = o->per_request};
    p->voice = voices[rng_below(&r, n_voices)];
    p->form = forms[rng_below(&r, ARRAY_LEN(forms))];
    p->missing = p->l->act == ACT_TOOL && p->l->ask && synth_n_parameters(s, best) > 0 &&
                 rng_below(&r, MISSING_EVERY) == 0;
    return true;
}

/* ---- prompt ---- */

static void write_values(const synth *s, const plan *p, str *out) {
    size_t n = synth_n_parameters(s, p->label);
    for (size_t i = 0; i < n; i++) {
        synth_parameter q = synth_get_parameter(s, p->label, i);
        const char *about = json_get_string(q.schema, "description");
        if (p->missing)
            str_printf(out, "They do not say the %s: no number and nothing in its place.\n", q.name);
        else if (q.slot)
            str_printf(out, "Write {%s}, with the braces, exactly once in each text, where the person says it.\n",
                       q.name);
        else
            str_printf(out, "Each says its own %s%s%s, in the text and, the same, under \"%s\".\n", q.name,
                       about ? ": " : "", about ? about : "", q.name);
    }
}

static void write_user(const synth *s, const manifest *m, const intent *x, const plan *p, str *out) {
    const char *description = json_get_string(m->json, "description");
    str_printf(out, "An agent called %s reads messages from people. %s\n", m->name, description ? description : "");
    if (m->scope_domain)
        str_printf(out, "Its business: %s.\n", m->scope_domain);
    str_printf(out, "\nWrite %u different messages, each by another person, about this: %s.\n", p->n, p->l->about);
    if (p->l->tool)
        str_printf(out, "The agent will then do this: %s\n", p->l->tool->description);
    write_values(s, p, out);
    str_printf(out, "\nThe voice of all: %s. %s\n", p->voice, p->form);
    str_append_s(out, "They write to the agent, in the first person, and don't explain themselves to you.\n"
                      "None of the messages is about one of these:\n");
    for (size_t i = 0; i < intent_n_labels(x); i++)
        if (i != p->label)
            str_printf(out, "- %s\n", intent_get_label(x, i)->about);
}

/* {"role", "content"} twice. New; NULL: out of memory. */
static json_t *make_messages(const char *system, const str *user) {
    return user->failed ? NULL
                        : json_pack("[{s:s, s:s}, {s:s, s:s%}]", "role", "system", "content", system, "role", "user",
                                    "content", str_get(user), user->len);
}

/* ---- schema ---- */

/* Of a text: no braces, but for the one slot, where there is one. */
static json_t *text_schema(const synth *s, const plan *p) {
    char pattern[200];
    const char *slot = NULL;
    size_t n_slots = 0;
    for (size_t i = 0; i < synth_n_parameters(s, p->label) && !p->missing; i++) {
        synth_parameter q = synth_get_parameter(s, p->label, i);
        slot = q.slot ? q.name : slot;
        n_slots += q.slot;
    }
    if (n_slots > 1 || (slot && strlen(slot) > 64))
        return json_pack("{s:s, s:i, s:i}", "type", "string", "minLength", 2, "maxLength", MAX_CHARS);
    if (slot)
        snprintf(pattern, sizeof pattern, "^[^{}\n]{0,%d}\\{%s\\}[^{}\n]{0,%d}$", MAX_CHARS / 2, slot, MAX_CHARS / 2);
    else
        snprintf(pattern, sizeof pattern, "^[^{}\n]{2,%d}$", MAX_CHARS);
    return json_pack("{s:s, s:s}", "type", "string", "pattern", pattern);
}

static json_t *plain_schema(const json_t *schema) {
    json_t *o = json_clone(schema);
    (void)json_object_del(o, "from");
    (void)json_object_del(o, "fold");
    (void)json_object_del(o, "normalise");
    return o;
}

/* {"messages": [{"text", and what no slot fills}]}. New; NULL: out of memory. */
static json_t *make_schema(const synth *s, const plan *p) {
    json_t *members = json_pack("{s:o}", "text", text_schema(s, p)), *required = json_pack("[s]", "text");
    bool ok = members && required;
    for (size_t i = 0; ok && i < synth_n_parameters(s, p->label) && !p->missing; i++) {
        synth_parameter q = synth_get_parameter(s, p->label, i);
        if (!q.slot)
            ok = json_object_set_new(members, q.name, plain_schema(q.schema)) == 0 &&
                 json_array_append_new(required, json_string(q.name)) == 0;
    }
    json_t *o = ok ? json_pack("{s:s, s:{s:{s:s, s:i, s:i, s:{s:s, s:O, s:O, s:b}}}, s:[s], s:b}", "type", "object",
                               "properties", "messages", "type", "array", "minItems", (int)p->n, "maxItems", (int)p->n,
                               "items", "type", "object", "properties", members, "required", required,
                               "additionalProperties", 0, "required", "messages", "additionalProperties", 0)
                   : NULL;
    json_decref(members);
    json_decref(required);
    return o;
}

/* ---- asking ---- */

typedef struct asking {
    llm *model;
    const synth_ask_options *o;
    synth_ask_result *out;
} asking;

static bool on_prompt(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    const asking *a = ctx;
    (void)n_done;
    (void)n_prompt;
    return !a->o->on_wait || a->o->on_wait(a->o->ctx);
}

static bool on_text(void *ctx, const char *p, size_t n) {
    (void)p;
    (void)n;
    return on_prompt(ctx, 0, 0);
}

/* *value NULL where it was cancelled. */
static muga_status ask(asking *a, json_t *messages, json_t *schema, uint32_t max_tokens, uint64_t seed, json_t **value,
                       muga_error *err) {
    llm_reply reply = {0};
    llm_request q = {.messages = messages,
                     .schema = schema,
                     .max_tokens = max_tokens,
                     .sampling = LLM_SAMPLING_GREEDY,
                     .on_prompt = on_prompt,
                     .on_prompt_ctx = a,
                     .on_text = on_text,
                     .on_text_ctx = a};
    *value = NULL;
    if (!messages || !schema)
        return error_nomem(err, "a request");
    q.sampling.temperature = a->o->temperature;
    q.sampling.top_p = 0.95f;
    q.sampling.seed = seed;
    muga_status st = llm_complete(a->model, &q, &reply, err);
    a->out->n_prompt += reply.n_prompt;
    a->out->n_generated += reply.n_generated;
    if (st == MUGA_E_CANCELLED || (!st && reply.finish == LLM_FINISH_CANCELLED)) {
        a->out->cancelled = true;
        st = MUGA_OK;
    } else if (!st) {
        st = json_parse(str_get(&reply.text), reply.text.len, "the model's answer", value, err);
    }
    llm_reply_release(&reply);
    return st;
}

/* What the model itself takes each text for: an array of labels' names, or NULL where it was cancelled. */
static muga_status ask_labels(asking *a, const intent *x, const json_t *texts, uint64_t seed, json_t **labels,
                              muga_error *err) {
    str user = STR_INIT;
    json_t *names = json_array(), *value = NULL;
    int n = (int)json_array_size(texts);
    str_append_s(&user, "What is each of the messages about? The labels:\n");
    for (size_t i = 0; i < intent_n_labels(x) && names; i++) {
        const intent_label *l = intent_get_label(x, i);
        str_printf(&user, "- %s: %s\n", l->name, l->about);
        (void)json_array_append_new(names, json_string(l->name));
    }
    str_append_s(&user, "\nThe messages:\n");
    for (int i = 0; i < n; i++)
        str_printf(&user, "%d. %s\n", i + 1, json_get_string(json_array_get(texts, (size_t)i), "text"));
    json_t *messages = make_messages("You sort messages. You answer in JSON.", &user);
    json_t *schema = names ? json_pack("{s:s, s:{s:{s:s, s:i, s:i, s:{s:O}}}, s:[s], s:b}", "type", "object",
                                       "properties", "labels", "type", "array", "minItems", n, "maxItems", n, "items",
                                       "enum", names, "required", "labels", "additionalProperties", 0)
                           : NULL;
    muga_status st = ask(a, messages, schema, 32u * (uint32_t)n + 64, seed, &value, err);
    *labels = json_incref(json_object_get(value, "labels"));
    json_decref(value);
    json_decref(messages);
    json_decref(schema);
    json_decref(names);
    str_release(&user);
    return st;
}

/* ---- what came ---- */

typedef struct taking {
    synth *s;
    const plan *p;
    int64_t request;
    muga_status (*on_line)(void *ctx, const json_t *line, muga_error *err);
    void *ctx;
} taking;

/* One line, without white space around it: what a person types. */
static void tidy(const char *p, size_t n, str *out) {
    bool space = false;
    for (size_t i = 0; i < n; i++) {
        bool blank = (unsigned char)p[i] <= ' ';
        if (!blank && space && out->len > 0)
            str_append_c(out, ' ');
        space = blank;
        if (!blank)
            str_append_c(out, p[i]);
    }
}

static muga_status take(const taking *t, const json_t *item, synth_ask_result *out, muga_error *err) {
    const json_t *text = json_object_get(item, "text");
    str line_text = STR_INIT;
    json_t *line = NULL;
    synth_verdict verdict;
    tidy(json_string_value(text), json_string_length(text), &line_text);
    synth_message m = {.labels = {t->p->label},
                       .n_labels = 1,
                       .voice = t->p->voice,
                       .text = str_get(&line_text),
                       .n = line_text.len,
                       .missing = t->p->missing,
                       .values = item,
                       .request = t->request};
    muga_status st = str_status(&line_text, err, "a text");
    if (!st)
        st = synth_add(t->s, &m, &line, &verdict, err);
    if (!st && line) {
        out->n_new++;
        st = t->on_line(t->ctx, line, err);
    }
    json_decref(line);
    str_release(&line_text);
    return st;
}

static muga_status take_all(const taking *t, const json_t *texts, const json_t *labels, synth_ask_result *out,
                            muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < json_array_size(texts) && !st; i++) {
        const char *seen = json_string_value(json_array_get(labels, i));
        out->n_texts++;
        if (seen && strcmp(seen, t->p->l->name) != 0)
            out->n_doubted++;
        else
            st = take(t, json_array_get(texts, i), out, err);
    }
    return st;
}

muga_status synth_ask(synth *s, const manifest *m, const intent *x, llm *model, int64_t i, const synth_ask_options *o,
                      muga_status (*on_line)(void *ctx, const json_t *line, muga_error *err), void *ctx,
                      synth_ask_result *out, muga_error *err) {
    plan p;
    str user = STR_INIT;
    json_t *value = NULL, *labels = NULL;
    asking a = {model, o, out};
    uint64_t seed = o->seed * 0x9E3779B97F4A7C15u + (uint64_t)i * 2;
    *out = (synth_ask_result){.n_new = 0};
    if (!choose(s, x, i, o, &p))
        return error_set(err, MUGA_E_NOT_FOUND, "the agent has no label to write messages for");
    write_user(s, m, x, &p, &user);
    json_t *messages =
        make_messages("You write messages as people write them, to train an agent. You answer in JSON.", &user);
    json_t *schema = make_schema(s, &p);
    muga_status st = ask(&a, messages, schema, TOKENS_EACH * p.n + 64, seed, &value, err);
    const json_t *texts = json_object_get(value, "messages");
    if (!st && value && o->check)
        st = ask_labels(&a, x, texts, seed + 1, &labels, err);
    const taking t = {s, &p, i, on_line, ctx};
    if (!st && value && (labels || !o->check))
        st = take_all(&t, texts, labels, out, err);
    json_decref(messages);
    json_decref(schema);
    json_decref(value);
    json_decref(labels);
    str_release(&user);
    return st;
}
