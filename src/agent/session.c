/* A session: who is served, what was said, what state it is in. Owns: the rows of sessions and history, their copy in
 * memory, the claim that lets one process drive it at a time, the sources of grounded values. Refuses: values against
 * session:, a state against state:, text that is not UTF-8, words after the end.
 *
 * Idea: store first, then memory. A function that returned MUGA_OK has its word on disk, with its audit record; one
 * that failed changed neither. */
#include "agent/guard.h"
#include "agent/internal.h"
#include "agent/normalise.h"

#include "base/utf8.h"

#include <stdio.h>

static muga_status system_random(void *self, void *p, size_t n, muga_error *err) {
    (void)self;
    return os_random(p, n, err);
}

agent_env agent_env_system(void) {
    const os_system_table *os = os_system();
    return (agent_env){.clock = &os->clock, .files = &os->files, .children = &os->children, .random = system_random};
}

/* ---- life ---- */

static muga_status session_alloc(const agent_env *env, store *st, const manifest *m, agent_session **out,
                                 muga_error *err) {
    agent_session *s = calloc(1, sizeof *s);
    if (!s) {
        return error_nomem(err, "a session");
    }
    s->env = *env;
    s->store = st;
    s->m = m;
    s->history = json_array();
    s->tools = mem_alloc_array(m->n_tools, sizeof(void *));
    if (!s->history || !s->tools) {
        session_close(s);
        return error_nomem(err, "a session");
    }
    *out = s;
    return MUGA_OK;
}

void session_rest(agent_session *s) {
    for (size_t i = 0; s->tools && i < s->m->n_tools; i++) {
        s->m->tools[i].kind->close(s->tools[i]);
        s->tools[i] = NULL;
    }
}

void session_close(agent_session *s) {
    if (!s) {
        return;
    }
    session_rest(s);
    free(s->tools);
    json_decref(s->values);
    json_decref(s->state);
    json_decref(s->history);
    store_claim_release(s->claim);
    free(s);
}

/* What the caller gave, with the defaults of session: filled in. */
static muga_status take_values(const manifest *m, const json_t *values, json_t **out, muga_error *err) {
    json_t *whole = values ? json_clone(values) : json_object(), *schema;
    const char *name;
    muga_status st = whole ? MUGA_OK : error_nomem(err, "a session");
    if (st == MUGA_OK && json_is_deeper(whole, AGENT_MAX_DEPTH)) {
        st = error_set(err, MUGA_E_INPUT, "session: nested deeper than %d", AGENT_MAX_DEPTH);
    }
    json_object_foreach(json_object_get(m->session_schema, "properties"), name, schema) {
        json_t *value = json_object_get(schema, "default");
        if (st == MUGA_OK && value && !json_object_get(whole, name) && json_object_set(whole, name, value) != 0) {
            st = error_set(err, MUGA_E_INPUT, "session: must be an object of values");
        }
    }
    if (st == MUGA_OK) {
        st = constrain_validate(m->session_schema, whole, NULL, err);
        if (st == MUGA_E_NEGATIVE) {
            st = error_prefix(err, MUGA_E_INPUT, "session");
        }
    }
    if (st == MUGA_OK) {
        *out = whole;
    } else {
        json_decref(whole);
    }
    return st;
}

muga_status session_check_values(const manifest *m, const json_t *values, muga_error *err) {
    json_t *whole = NULL;
    muga_status st = take_values(m, values, &whole, err);
    json_decref(whole);
    return st;
}

static muga_status audit_start(agent_session *s, const json_t *own, const json_t *info, muga_error *err) {
    char digest[SHA256_HEX], policy[SHA256_HEX];
    hex_write(s->m->digest, SHA256_BYTES, digest);
    hex_write(s->m->policy_digest, SHA256_BYTES, policy);
    json_t *payload = json_pack("{s:s, s:s, s:s, s:s, s:s, s:O, s:O}", "agent", s->m->name, "dir", s->m->dir,
                                "data_dir", s->m->data_dir, "manifest", digest, "policy", policy, "values", s->values,
                                "state", own);
    muga_status st = payload ? MUGA_OK : error_nomem(err, "a session");
    if (st == MUGA_OK && info && json_object_set(payload, "info", json_borrow(info)) != 0) {
        st = error_nomem(err, "a session");
    }
    if (st == MUGA_OK) {
        st = audit_write(&s->env, s->store, s->id, "session_start", payload, err);
    }
    json_decref(payload);
    return st;
}

static muga_status insert_session(agent_session *s, const json_t *info, muga_error *err) {
    const manifest *m = s->m;
    json_t *own = session_own_state(s, s->state);
    muga_status st = own ? store_begin(s->store, err) : error_nomem(err, "a session");
    if (st != MUGA_OK) {
        json_decref(own);
        return st;
    }
    st = store_exec(
        s->store, NULL, err,
        "INSERT INTO sessions(id, agent, dir, data_dir, manifest_digest, policy_digest, created_ms, session_values,"
        " state, dry) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "ssssbbijji", s->id, m->name, m->dir, m->data_dir, m->digest, (size_t)SHA256_BYTES, m->policy_digest,
        (size_t)SHA256_BYTES, s->env.clock->now_ms(s->env.clock->self), s->values, own, (int64_t)s->dry);
    if (st == MUGA_OK) {
        st = store_exec(s->store, NULL, err,
                        "INSERT INTO session_origins(session, parent, requester, tenant) VALUES (?, ?, ?, ?)", "ssss",
                        s->id, json_get_string(info, "within"), json_get_string(info, "requester"),
                        json_get_string(info, "tenant"));
    }
    if (st == MUGA_OK) {
        st = audit_start(s, own, info, err);
    }
    store_end(s->store, &st, err);
    json_decref(own);
    return st;
}

muga_status session_new(const agent_env *env, store *store_, const manifest *m, const json_t *values,
                        const json_t *info, agent_session **out, muga_error *err) {
    char id[AGENT_ID_SIZE];
    muga_status st = id_new(env, "s-", id, err);
    *out = NULL;
    return st == MUGA_OK ? session_new_as(env, store_, m, id, values, info, out, err) : st;
}

muga_status session_new_as(const agent_env *env, store *store_, const manifest *m, const char *id, const json_t *values,
                           const json_t *info, agent_session **out, muga_error *err) {
    *out = NULL;
    agent_session *s = NULL;
    muga_status st = session_alloc(env, store_, m, &s, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = take_values(m, values, &s->values, err);
    s->dry = json_get_bool(info, "dry", false);
    if (st == MUGA_OK) {
        s->state = json_clone(m->state_default);
        snprintf(s->id, sizeof s->id, "%s", id);
        st = s->state ? MUGA_OK : error_nomem(err, "a session");
    }
    if (st == MUGA_OK) {
        st = session_refresh(s, err);
    }
    if (st == MUGA_OK) {
        st = store_claim_take(store_, s->id, &s->claim, err);
    }
    if (st == MUGA_OK) {
        st = insert_session(s, info, err);
    }
    if (st != MUGA_OK) {
        session_close(s);
        return st;
    }
    *out = s;
    return MUGA_OK;
}

/* ---- going on ---- */

/* The row of a session of this agent, at its columns session_values, state, ended, dry. *r: store_done, always. */
static muga_status find_session(store *st_, const manifest *m, const char *id, store_row **r, muga_error *err) {
    bool has = false;
    muga_status st = store_query(st_, r, err,
                                 "SELECT session_values, state, ended_ms IS NOT NULL, dry, agent FROM sessions WHERE"
                                 " id = ?",
                                 "s", id);
    if (st == MUGA_OK) {
        st = store_step(*r, &has, err);
    }
    if (st == MUGA_OK && !has) {
        return error_set(err, MUGA_E_NOT_FOUND, "session %.40s: not there; `muga session list` shows those there are",
                         id);
    }
    if (st == MUGA_OK && strcmp(store_string(*r, 4), m->name) != 0) {
        return error_set(err, MUGA_E_INPUT, "session %.40s belongs to agent %.80s, not to %.80s", id,
                         store_string(*r, 4), m->name);
    }
    return st;
}

muga_status session_check_id(store *store_, const manifest *m, const char *id, bool *dry, muga_error *err) {
    store_row *r = NULL;
    muga_status st = find_session(store_, m, id, &r, err);
    *dry = st == MUGA_OK && store_int(r, 3);
    store_done(r);
    return st;
}

static muga_status read_session(agent_session *s, muga_error *err) {
    store_row *r = NULL;
    muga_status st = find_session(s->store, s->m, s->id, &r, err);
    if (st == MUGA_OK) {
        st = store_json(r, 0, &s->values, err);
    }
    if (st == MUGA_OK) {
        st = store_json(r, 1, &s->state, err);
    }
    if (st == MUGA_OK) {
        s->ended = store_int(r, 2);
        s->dry = store_int(r, 3);
    }
    store_done(r);
    return st == MUGA_OK ? session_refresh(s, err) : st;
}

muga_status session_remember_message(agent_session *s, const char *role, const char *text, size_t n, muga_error *err) {
    json_t *content = json_stringn(text, n);
    json_t *entry = content ? json_pack("{s:s, s:o}", "role", role, "content", content) : NULL;
    return entry && json_array_append_new(s->history, entry) == 0 ? MUGA_OK : error_nomem(err, "a message");
}

static muga_status recall_row(agent_session *s, store_row *r, muga_error *err) {
    const char *role = store_string(r, 0), *call = store_string(r, 2);
    if (strcmp(role, "tool") != 0) {
        span text = store_text(r, 1);
        if (strcmp(role, "user") == 0) {
            s->n_calls_in_turn = 0;
        }
        return session_remember_message(s, role, text.p, text.n, err);
    }
    journal_call c;
    muga_status st = journal_read(s->store, call ? call : "", &c, err);
    if (st == MUGA_OK) {
        s->n_calls_in_turn++;
        st = session_remember_call(s, &c, NULL, err);
    }
    journal_call_release(&c);
    return st;
}

static muga_status read_history(agent_session *s, muga_error *err) {
    store_row *r;
    muga_status st = store_query(s->store, &r, err,
                                 "SELECT role, content, call FROM history WHERE session = ? ORDER BY n", "s", s->id);
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = recall_row(s, r, err);
    }
    store_done(r);
    return st;
}

muga_status session_open(const agent_env *env, store *store_, const manifest *m, const char *id, agent_session **out,
                         muga_error *err) {
    *out = NULL;
    agent_session *s = NULL;
    muga_status st = session_alloc(env, store_, m, &s, err);
    if (st != MUGA_OK) {
        return st;
    }
    snprintf(s->id, sizeof s->id, "%s", id);
    st = store_claim_take(store_, s->id, &s->claim, err);
    if (st == MUGA_OK) {
        st = read_session(s, err);
    }
    if (st == MUGA_OK) {
        st = read_history(s, err);
    }
    if (st == MUGA_OK) {
        st = executor_recover(s, err);
    }
    if (st != MUGA_OK) {
        session_close(s);
        return st;
    }
    *out = s;
    return MUGA_OK;
}

/* ---- reading ---- */

const char *session_id(const agent_session *s) {
    return s->id;
}

bool session_is_dry(const agent_session *s) {
    return s->dry;
}

bool session_ended(const agent_session *s) {
    return s->ended;
}

const json_t *session_values(const agent_session *s) {
    return s->values;
}

const json_t *session_state(const agent_session *s) {
    return s->state;
}

const json_t *session_history(const agent_session *s) {
    return s->history;
}

/* ---- writing ---- */

muga_status session_store_row(agent_session *s, const char *role, const char *content, size_t n, const char *call,
                              muga_error *err) {
    return store_exec(
        s->store, NULL, err,
        "INSERT INTO history(session, n, role, content, call, at_ms) VALUES (?1, (SELECT coalesce(max(n), 0) + 1"
        " FROM history WHERE session = ?1), ?2, ?3, ?4, ?5)",
        "sstsi", s->id, role, content, n, call, s->env.clock->now_ms(s->env.clock->self));
}

/* What is remembered is what a model may read: guarded. The journal has what the tool gave. */
muga_status session_remember_call(agent_session *s, const journal_call *c, json_t *found, muga_error *err) {
    json_t *shown = NULL, *content = NULL;
    muga_status st = journal_shown(s->m, c, &shown, err);
    st = st == MUGA_OK ? guard_result(s->m->guards, shown, &content, found, err) : st;
    json_t *entry = st == MUGA_OK
                        ? json_pack("{s:s, s:s, s:s, s:O, s:s, s:O}", "role", "tool", "call", c->id, "tool", c->tool,
                                    "arguments", c->arguments, "outcome", call_state_name(c->state), "content", content)
                        : NULL;
    json_decref(content);
    json_decref(shown);
    if (st == MUGA_OK && (!entry || json_array_append_new(s->history, entry) != 0)) {
        st = error_nomem(err, "a result");
    }
    return st;
}

/* One transaction: a row of history (or none) and its audit record; memory follows. */
static muga_status add_message(agent_session *s, const char *role, const char *audit_kind, json_t *payload,
                               const char *text, size_t n, muga_error *err) {
    muga_status st = payload ? store_begin(s->store, err) : error_nomem(err, "a message");
    if (st == MUGA_OK) {
        st = session_store_row(s, role, text, n, NULL, err);
        if (st == MUGA_OK) {
            st = audit_write(&s->env, s->store, s->id, audit_kind, payload, err);
        }
        store_end(s->store, &st, err);
    }
    json_decref(payload);
    return st == MUGA_OK ? session_remember_message(s, role, text, n, err) : st;
}

muga_status session_check_text(const agent_session *s, const char *text, size_t n, muga_error *err) {
    if (s->ended) {
        return error_set(err, MUGA_E_POLICY, "session %s has ended; begin another", s->id);
    }
    if (n > AGENT_MAX_MESSAGE_BYTES) {
        return error_set(err, MUGA_E_LIMIT, "a message of %zu bytes; at most %zu are taken", n,
                         AGENT_MAX_MESSAGE_BYTES);
    }
    if (!utf8_valid(text, n) || memchr(text, '\0', n)) {
        return error_set(err, MUGA_E_INPUT, "the message is not UTF-8 text; convert it first");
    }
    return MUGA_OK;
}

muga_status session_add_user(agent_session *s, const char *text, size_t n, muga_error *err) {
    muga_status st = session_check_text(s, text, n, err);
    if (st != MUGA_OK) {
        return st;
    }
    json_t *content = json_stringn(text, n);
    json_t *payload = content ? json_pack("{s:s, s:o}", "role", "user", "content", content) : NULL;
    st = add_message(s, "user", "message", payload, text, n, err);
    if (st == MUGA_OK) {
        s->n_calls_in_turn = 0;
    }
    return st;
}

muga_status session_add_answer(agent_session *s, const char *kind, const char *text, muga_error *err) {
    muga_status st = session_check_text(s, text, strlen(text), err);
    return st == MUGA_OK ? add_message(s, "assistant", "answer", json_pack("{s:s, s:s}", "kind", kind, "content", text),
                                       text, strlen(text), err)
                         : st;
}

muga_status session_end(agent_session *s, const char *outcome, muga_error *err) {
    if (s->ended) {
        return MUGA_OK;
    }
    json_t *payload = json_pack("{s:s}", "outcome", outcome);
    muga_status st = payload ? store_begin(s->store, err) : error_nomem(err, "a session's end");
    if (st == MUGA_OK) {
        st = store_exec(s->store, NULL, err, "UPDATE sessions SET ended_ms = ?, outcome = ? WHERE id = ?", "iss",
                        s->env.clock->now_ms(s->env.clock->self), outcome, s->id);
        if (st == MUGA_OK) {
            st = audit_write(&s->env, s->store, s->id, "session_end", payload, err);
        }
        store_end(s->store, &st, err);
    }
    json_decref(payload);
    s->ended = st == MUGA_OK;
    return st;
}

/* ---- sources of grounded values ---- */

/* Every string and number in a result is a text of its own: in the JSON text an escape could stand before a value and
 * hide its boundary. Depth is bounded by json_parse, which made the result. */
static muga_status collect_leaves(const json_t *v, json_t *out, muga_error *err) {
    muga_status st = MUGA_OK;
    if (json_is_string(v)) {
        return json_array_append(out, json_borrow(v)) == 0 ? MUGA_OK : error_nomem(err, "sources");
    }
    if (json_is_number(v)) {
        str text = STR_INIT;
        json_write(v, &text);
        int rc = text.failed ? -1 : json_array_append_new(out, json_stringn(str_get(&text), text.len));
        str_release(&text);
        return rc == 0 ? MUGA_OK : error_nomem(err, "sources");
    }
    const char *key;
    json_t *sub;
    json_object_foreach(json_borrow(v), key, sub) {
        st = st == MUGA_OK ? collect_leaves(sub, out, err) : st;
    }
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(v); i++) {
        st = collect_leaves(json_array_get(v, i), out, err);
    }
    return st;
}

static muga_status collect(const agent_session *s, const char *role, json_t *out, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(s->history); i++) {
        const json_t *entry = json_array_get(s->history, i);
        const char *outcome = json_get_string(entry, "outcome");
        bool wanted = strcmp(json_get_string(entry, "role"), role) == 0 &&
                      (!outcome || strcmp(outcome, "finished") == 0);
        st = wanted ? collect_leaves(json_object_get(entry, "content"), out, err) : MUGA_OK;
    }
    return st;
}

/* Other ways to write a value (normalise.h): what they mean counts as written, too. */
static muga_status collect_derived(const agent_session *s, json_t *texts, muga_error *err) {
    normaliser *n = NULL;
    muga_status st = normaliser_new(s->m, &n, err);
    size_t n_written = json_array_size(texts);
    for (size_t i = 0; st == MUGA_OK && i < n_written; i++) {
        const json_t *text = json_array_get(texts, i);
        st = normaliser_values(n, json_string_value(text), json_string_length(text), texts, err);
    }
    normaliser_free(n);
    return st;
}

/* What the person wrote: to this agent, and to those around it. What an agent around it asks of this one is a model's
 * words. */
static muga_status collect_spoken(const agent_session *s, json_t *out, muga_error *err) {
    muga_status st = s->is_asked ? MUGA_OK : collect(s, "user", out, err);
    return st == MUGA_OK && s->outer ? collect_spoken(s->outer, out, err) : st;
}

muga_status session_get_sources(const agent_session *s, session_sources *out, muga_error *err) {
    *out = (session_sources){.owner = json_array()};
    muga_status st = out->owner ? collect_spoken(s, out->owner, err) : error_nomem(err, "sources");
    if (st == MUGA_OK) {
        st = collect_derived(s, out->owner, err);
    }
    size_t n_user = json_array_size(out->owner);
    if (st == MUGA_OK) {
        st = collect(s, "tool", out->owner, err);
    }
    size_t n = json_array_size(out->owner);
    if (st == MUGA_OK) {
        out->texts = mem_alloc_array(n, sizeof(span));
        st = out->texts ? MUGA_OK : error_nomem(err, "sources");
    }
    if (st != MUGA_OK) {
        session_sources_release(out);
        return st;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(out->owner, i);
        out->texts[i] = span_of(json_string_value(text), json_string_length(text));
    }
    out->list[0] = (constrain_source){"conversation", out->texts, n_user};
    out->list[1] = (constrain_source){"tools", out->texts + n_user, n - n_user};
    return MUGA_OK;
}

void session_sources_release(session_sources *x) {
    free(x->texts);
    json_decref(x->owner);
    *x = (session_sources){.owner = NULL};
}
