/* A tool that keeps facts about whom a session serves: remember, recall, forget. Owns: the table facts of muga.db.
 * Refuses: a subject that the session doesn't name, more facts than allowed, a fact without end.
 *
 * Whose facts they are is decided by the session's values that `subject` names, which the caller set and no model can:
 * there is no parameter by which one person's facts could be asked for in another's session. A fact carries the call
 * that wrote it and its last day, and goes with the session it came from when that is erased (audit_erase).
 *
 * The facts lie where the journal lies: a change and the note that it was made are one transaction, so after a crash
 * both are there or neither. */
#include "agent/internal.h"
#include "agent/tool_text.h"
#include "agent/zone.h"

#include "base/utf8.h"

#include <stdio.h>

#define DAYS_DEFAULT 365
#define FACTS_DEFAULT 100
#define DAY_MS INT64_C(86400000)
#define ABOUT_MAX_BYTES ((size_t)200)
#define FACT_MAX_BYTES ((size_t)4000)

typedef enum { MEMORY_REMEMBER, MEMORY_RECALL, MEMORY_FORGET } memory_op;

typedef struct tool_memory {
    const agent_env *env;
    const manifest *m;
    const manifest_tool *def;
    memory_op op;
    tool_text about, fact;
    int64_t days, max_facts;
    zone *utc; /* for the days shown */
} tool_memory;

/* What one call works on. */
typedef struct memory_call {
    const tool_memory *t;
    const tool_call *c;
    store *store;
    const char *agent;
    str subject, about, fact;
    int64_t now_ms;
} memory_call;

static bool give_up(tool_run *out, muga_status st, const muga_error *why) {
    out->final = st == MUGA_E_LIMIT || st == MUGA_E_INPUT;
    return tool_fail(out, "%s", why->message);
}

/* ---- what a call brings ---- */

/* Canonical JSON of the values by name, so that two people never share one text. */
static bool name_subject(memory_call *x, tool_run *out) {
    const json_t *names = json_object_get(json_object_get(x->t->def->json, "memory"), "subject");
    json_t *who = json_object();
    bool ok = who != NULL;
    for (size_t i = 0; ok && i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        json_t *v = json_object_get(x->c->values, name);
        if (!v || json_is_null(v)) {
            json_decref(who);
            return tool_fail(out, "the session has no %.80s, so nobody's facts can be meant", name);
        }
        ok = json_object_set(who, name, v) == 0;
    }
    if (ok) {
        json_write_canonical(who, &x->subject);
    }
    json_decref(who);
    return (ok && !x->subject.failed) || tool_fail(out, "out of memory");
}

static bool make_text(const memory_call *x, const tool_text *text, const char *what, size_t max, str *made,
                      tool_run *out) {
    for (size_t i = 0; i < text->n_parts; i++) {
        const tool_text_part *p = &text->parts[i];
        str_append(made, p->literal.p, p->literal.n);
        if (p->name && !tool_text_write_value(p, x->c, made, out)) {
            return false;
        }
    }
    if (made->failed) {
        return tool_fail(out, "out of memory");
    }
    out->final = true; /* from here on: the same again would fail the same */
    if (memchr(str_get(made), '\0', made->len) || !utf8_valid(str_get(made), made->len)) {
        return tool_fail(out, "%s holds a NUL; write text", what);
    }
    if (made->len == 0 || made->len > max) {
        return tool_fail(out, "%s has %zu bytes; give 1 to %zu", what, made->len, max);
    }
    out->final = false;
    return true;
}

/* ---- the table; inside a transaction ---- */

static muga_status drop_expired(memory_call *x, muga_error *err) {
    return store_exec(x->store, NULL, err, "DELETE FROM facts WHERE agent = ? AND subject = ? AND expires_ms <= ?",
                      "ssi", x->agent, str_get(&x->subject), x->now_ms);
}

static muga_status count_others(memory_call *x, int64_t *n, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    muga_status st = store_query(x->store, &r, err,
                                 "SELECT count(*) FROM facts WHERE agent = ? AND subject = ? AND about <> ?", "sss",
                                 x->agent, str_get(&x->subject), str_get(&x->about));
    if (st == MUGA_OK) {
        st = store_step(r, &has, err);
    }
    *n = has ? store_int(r, 0) : 0;
    store_done(r);
    return st;
}

static muga_status remember(memory_call *x, json_t **result, muga_error *err) {
    int64_t n = 0, until_ms = x->now_ms + x->t->days * DAY_MS;
    muga_status st = drop_expired(x, err);
    if (st == MUGA_OK) {
        st = count_others(x, &n, err);
    }
    if (st == MUGA_OK && n >= x->t->max_facts) {
        return error_set(err, MUGA_E_LIMIT, "%lld facts are kept already (memory.max_facts); forget one first",
                         (long long)n);
    }
    if (st == MUGA_OK) {
        st = store_exec(x->store, NULL, err,
                        "INSERT INTO facts(agent, subject, about, fact, session, call, at_ms, expires_ms)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(agent, subject, about) DO UPDATE SET"
                        " fact = excluded.fact, session = excluded.session, call = excluded.call,"
                        " at_ms = excluded.at_ms, expires_ms = excluded.expires_ms",
                        "ssssssii", x->agent, str_get(&x->subject), str_get(&x->about), str_get(&x->fact),
                        x->c->session->id, x->c->id, x->now_ms, until_ms);
    }
    if (st == MUGA_OK) {
        *result = json_pack("{s:b}", "remembered", 1);
    }
    return st;
}

static muga_status forget(memory_call *x, json_t **result, muga_error *err) {
    int64_t n = 0;
    muga_status st = drop_expired(x, err);
    if (st == MUGA_OK) {
        st = store_exec(x->store, &n, err, "DELETE FROM facts WHERE agent = ? AND subject = ? AND about = ?", "sss",
                        x->agent, str_get(&x->subject), str_get(&x->about));
    }
    if (st == MUGA_OK) {
        *result = json_pack("{s:I}", "forgotten", (json_int_t)n);
    }
    return st;
}

static void write_day(const tool_memory *t, int64_t ms, str *out) {
    zone_time day = zone_local(t->utc, ms / 1000);
    str_printf(out, "%04d-%02d-%02d", day.year, day.month, day.day);
}

static muga_status add_fact(const tool_memory *t, store_row *r, json_t *list, muga_error *err) {
    str since = STR_INIT, until = STR_INIT;
    write_day(t, store_int(r, 3), &since);
    write_day(t, store_int(r, 4), &until);
    json_t *entry = since.failed || until.failed ? NULL
                                                 : json_pack("{s:s, s:s, s:s, s:s, s:s}", "about", store_string(r, 0),
                                                             "fact", store_string(r, 1), "source", store_string(r, 2),
                                                             "since", str_get(&since), "until", str_get(&until));
    str_release(&since);
    str_release(&until);
    return entry && json_array_append_new(list, entry) == 0 ? MUGA_OK : error_nomem(err, "facts");
}

static muga_status recall(memory_call *x, json_t **result, muga_error *err) {
    store_row *r = NULL;
    json_t *list = json_array();
    const char *about = x->t->about.n_parts > 0 ? str_get(&x->about) : NULL;
    muga_status st =
        list ? store_query(x->store, &r, err,
                           "SELECT about, fact, call, at_ms, expires_ms FROM facts WHERE agent = ?1 AND"
                           " subject = ?2 AND expires_ms > ?3 AND (?4 IS NULL OR about = ?4) ORDER BY about",
                           "ssis", x->agent, str_get(&x->subject), x->now_ms, about)
             : error_nomem(err, "facts");
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = add_fact(x->t, r, list, err);
    }
    store_done(r);
    if (st == MUGA_OK) {
        *result = json_pack("{s:O}", "facts", list);
    }
    json_decref(list);
    return st;
}

/* ---- running ---- */

static bool in_transaction(memory_call *x, tool_run *out) {
    json_t *result = NULL;
    muga_error why;
    bool writes = x->t->op != MEMORY_RECALL;
    muga_status st = writes ? store_begin(x->store, &why) : store_begin_read(x->store, &why);
    if (st == MUGA_OK) {
        st = x->t->op == MEMORY_REMEMBER ? remember(x, &result, &why)
             : x->t->op == MEMORY_FORGET ? forget(x, &result, &why)
                                         : recall(x, &result, &why);
        if (st == MUGA_OK && !result) {
            st = error_nomem(&why, "a result");
        }
        st = st == MUGA_OK && writes ? tool_prepare(x->c, result, &why) : st;
        store_end(x->store, &st, &why);
    }
    if (st != MUGA_OK) {
        json_decref(result);
        return give_up(out, st, &why);
    }
    return tool_give(out, x->t->def, result);
}

static void run_call(void *tool, const tool_call *c, tool_run *out) {
    const tool_memory *t = tool;
    memory_call x = {.t = t,
                     .c = c,
                     .store = c->session->store,
                     .agent = t->m->name,
                     .now_ms = t->env->clock->now_ms(t->env->clock->self)};
    bool ok = name_subject(&x, out);
    if (ok && t->about.n_parts > 0) {
        ok = make_text(&x, &t->about, "about", ABOUT_MAX_BYTES, &x.about, out);
    }
    if (ok && t->op == MEMORY_REMEMBER) {
        ok = make_text(&x, &t->fact, "the fact", FACT_MAX_BYTES, &x.fact, out);
    }
    if (ok) {
        in_transaction(&x, out);
    }
    str_release(&x.subject);
    str_release(&x.about);
    str_release(&x.fact);
}

/* A change and its note are one transaction. */
static muga_status settle_call(void *tool, const tool_call *c, const json_t *prepared, tool_settled *settled,
                               json_t **result, muga_error *err) {
    (void)tool;
    (void)c;
    (void)err;
    *result = prepared ? json_incref(json_borrow(prepared)) : NULL;
    *settled = prepared ? SETTLED_RAN : SETTLED_NOT_RUN;
    return MUGA_OK;
}

/* ---- opening ---- */

static void close_tool(void *tool) {
    tool_memory *t = tool;
    if (t) {
        tool_text_release(&t->about);
        tool_text_release(&t->fact);
        zone_free(t->utc);
        free(t);
    }
}

static muga_status check_keys(tool_setup *s, const json_t *v, memory_op op, muga_error *err) {
    const json_t *names = json_object_get(v, "subject"), *session = json_object_get(s->m->session_schema, "properties");
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (!json_object_get(session, name)) {
            return tool_fault(s, "/memory/subject", err, "'%.60s' is no value of session:", name);
        }
    }
    if ((op == MEMORY_RECALL) != (s->def->effect == EFFECT_READ)) {
        return tool_fault(s, "/effect", err,
                          op == MEMORY_RECALL ? "op: recall changes nothing; say effect: read"
                                              : "op: remember and forget change what is kept; say effect: write");
    }
    if (op != MEMORY_RECALL && !json_object_get(v, "about")) {
        return tool_fault(s, "/memory", err, "key 'about' is missing: which fact, as in about: \":topic\"");
    }
    if (op == MEMORY_REMEMBER && !json_object_get(v, "fact")) {
        return tool_fault(s, "/memory", err, "key 'fact' is missing: what to keep, as in fact: \":fact\"");
    }
    static const char *const own[][2] = {
        {"fact", "/memory/fact"}, {"days", "/memory/days"}, {"max_facts", "/memory/max_facts"}};
    for (size_t i = 0; op != MEMORY_REMEMBER && i < ARRAY_LEN(own); i++) {
        if (json_object_get(v, own[i][0])) {
            return tool_fault(s, own[i][1], err, "belongs to op: remember; remove it");
        }
    }
    return MUGA_OK;
}

static muga_status fill_tool(tool_setup *s, tool_memory *t, const json_t *v, muga_error *err) {
    const char *about = json_get_string(v, "about"), *fact = json_get_string(v, "fact");
    muga_status st = check_keys(s, v, t->op, err);
    if (st == MUGA_OK && about) {
        st = tool_text_parse(s, "/memory/about", about, &t->about, err);
    }
    if (st == MUGA_OK && fact) {
        st = tool_text_parse(s, "/memory/fact", fact, &t->fact, err);
    }
    return st == MUGA_OK ? zone_open(s->env->files, "UTC", &t->utc, err) : st;
}

static muga_status open_tool(tool_setup *s, void **out, muga_error *err) {
    const json_t *v = json_object_get(s->def->json, "memory");
    const char *op = json_get_string(v, "op");
    tool_memory *t = calloc(1, sizeof *t);
    if (!t) {
        return error_nomem(err, "a tool");
    }
    t->env = s->env;
    t->m = s->m;
    t->def = s->def;
    t->op = strcmp(op, "remember") == 0 ? MEMORY_REMEMBER : strcmp(op, "recall") == 0 ? MEMORY_RECALL : MEMORY_FORGET;
    t->days = json_get_int(v, "days", DAYS_DEFAULT);
    t->max_facts = json_get_int(v, "max_facts", FACTS_DEFAULT);
    s->untrusted = s->untrusted && t->op == MEMORY_RECALL; /* the others give no words back */
    muga_status st = fill_tool(s, t, v, err);
    if (st == MUGA_OK) {
        *out = t;
    } else {
        close_tool(t);
    }
    return st;
}

/* Laid out as in docs/schema/agent.schema.json. */
static const char memory_schema[] =
    "{\n"
    "            \"type\": \"object\", \"required\": [\"op\", \"subject\"], \"additionalProperties\": false,\n"
    "            \"properties\": {\n"
    "              \"op\": {\"enum\": [\"remember\", \"recall\", \"forget\"]},\n"
    "              \"subject\": {\"type\": \"array\", \"minItems\": 1, \"maxItems\": 16, \"items\": {\"type\": "
    "\"string\", \"minLength\": 1}, \"description\": \"the session values that say whose facts they are\"},\n"
    "              \"about\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000, \"description\": \"which "
    "fact; :name is a parameter, :session_name a session value\"},\n"
    "              \"fact\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 4000},\n"
    "              \"days\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 3650},\n"
    "              \"max_facts\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 10000}\n"
    "            }\n"
    "          }";

const tool_kind tool_kind_memory = {.keys = {{"memory", memory_schema}},
                                    .untrusted = true, /* what a person or a stranger once said */
                                    .open = open_tool,
                                    .run = run_call,
                                    .settle = settle_call,
                                    .close = close_tool};
