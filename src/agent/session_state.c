/* A session's state: its own part in its row of sessions, and the part that all sessions of the agent share (members of
 * state: with scope: agent) in agent_state. Owns: both, and their copy in memory, s->state, which has them together.
 * Refuses: a state against the manifest's schema.
 *
 * Another process may change the shared part between two turns, so what is computed from it is computed and written in
 * one transaction: refresh, compute, write. A session's own writes (session_set_state) leave it alone. */
#include "agent/internal.h"

static bool is_shared(const agent_session *s, const char *name) {
    return json_object_get(s->m->shared, name) != NULL;
}

/* The members of one part. */
static json_t *part_of(const agent_session *s, const json_t *state, bool shared) {
    json_t *part = json_object(), *v;
    const char *name;
    bool ok = part != NULL;
    json_object_foreach(json_borrow(state), name, v) {
        ok = ok && (is_shared(s, name) != shared || json_object_set(part, name, v) == 0);
    }
    if (!ok) {
        json_decref(part);
        return NULL;
    }
    return part;
}

json_t *session_own_state(const agent_session *s, const json_t *state) {
    return part_of(s, state, false);
}

void session_take_state(agent_session *s, json_t *state) {
    json_t *before = s->state;
    s->state = json_incref(state);
    json_decref(before);
}

/* ---- what is shared ---- */

/* Kept values that the manifest still has a place for, over the defaults of those it has no value for. */
static muga_status merge_shared(agent_session *s, const json_t *kept, json_t *state, muga_error *err) {
    const json_t *properties = json_object_get(s->m->state_schema, "properties");
    const char *name;
    json_t *yes;
    json_object_foreach(s->m->shared, name, yes) {
        json_t *v = json_object_get(kept, name);
        muga_error why;
        muga_status st = v ? constrain_validate(json_object_get(properties, name), v, NULL, &why) : MUGA_OK;
        if (st != MUGA_OK && st != MUGA_E_NEGATIVE) {
            return error_set(err, st, "%s", why.message);
        }
        if (st != MUGA_OK) {
            return error_set(
                err, MUGA_E_INPUT,
                "state.%.60s as agent %.64s keeps it does not fit its manifest any more: %.100s; change the"
                " schema back",
                name, s->m->name, why.message);
        }
        json_t *copy = v ? json_clone(v) : json_clone(json_object_get(s->m->state_default, name));
        if (json_object_set_new(state, name, copy) != 0) {
            return error_nomem(err, "a state");
        }
    }
    return MUGA_OK;
}

muga_status session_refresh(agent_session *s, muga_error *err) {
    store_row *r;
    bool has = false;
    json_t *kept = NULL, *state = NULL;
    if (!s->m->shared || (s->dry && s->has_shared)) { /* a dry run goes on with what it would have written */
        return MUGA_OK;
    }
    muga_status st = store_query(s->store, &r, err, "SELECT state FROM agent_state WHERE agent = ?", "s", s->m->name);
    if (st == MUGA_OK) {
        st = store_step(r, &has, err);
    }
    if (st == MUGA_OK && has) {
        st = store_json(r, 0, &kept, err);
    }
    store_done(r);
    if (st == MUGA_OK) {
        state = json_clone(s->state);
        st = state ? merge_shared(s, kept, state, err) : error_nomem(err, "a state");
    }
    if (st == MUGA_OK) {
        session_take_state(s, state);
        s->has_shared = true;
    }
    json_decref(state);
    json_decref(kept);
    return st;
}

static muga_status write_shared(agent_session *s, const json_t *state, muga_error *err) {
    json_t *part = part_of(s, state, true), *before = part_of(s, s->state, true), *payload = NULL;
    muga_status st = part && before ? MUGA_OK : error_nomem(err, "a state");
    if (st == MUGA_OK && !s->dry && !json_equal(part, before)) {
        payload = json_pack("{s:s, s:s, s:O}", "agent", s->m->name, "session", s->id, "state", part);
        st = payload ? store_exec(s->store, NULL, err,
                                  "INSERT INTO agent_state(agent, state, changed_ms) VALUES (?1, ?2, ?3)"
                                  " ON CONFLICT(agent) DO UPDATE SET state = ?2, changed_ms = ?3",
                                  "sji", s->m->name, part, s->env.clock->now_ms(s->env.clock->self))
                     : error_nomem(err, "a state");
        /* Of no session: it outlives the one that changed it. */
        st = st == MUGA_OK ? audit_write(&s->env, s->store, NULL, "agent_state", payload, err) : st;
    }
    json_decref(payload);
    json_decref(before);
    json_decref(part);
    return st;
}

/* ---- what is its own ---- */

static muga_status write_own(agent_session *s, const json_t *own, muga_error *err) {
    json_t *payload = json_pack("{s:O}", "state", own);
    muga_status st =
        payload ? store_exec(s->store, NULL, err, "UPDATE sessions SET state = ? WHERE id = ?", "js", own, s->id)
                : error_nomem(err, "a state");
    if (st == MUGA_OK) {
        st = audit_write(&s->env, s->store, s->id, "state", payload, err);
    }
    json_decref(payload);
    return st;
}

static muga_status write_own_if_changed(agent_session *s, const json_t *state, muga_error *err) {
    json_t *own = part_of(s, state, false), *before = part_of(s, s->state, false);
    muga_status st = own && before ? MUGA_OK : error_nomem(err, "a state");
    if (st == MUGA_OK && !json_equal(own, before)) {
        st = write_own(s, own, err);
    }
    json_decref(own);
    json_decref(before);
    return st;
}

static muga_status check_state(const agent_session *s, const json_t *state, muga_error *err) {
    muga_status st = constrain_validate(s->m->state_schema, state, NULL, err);
    if (st != MUGA_OK) {
        return st == MUGA_E_NEGATIVE ? error_prefix(err, MUGA_E_INPUT, "state") : st;
    }
    return json_is_deeper(state, AGENT_MAX_DEPTH)
               ? error_set(err, MUGA_E_INPUT, "state: nested deeper than %d", AGENT_MAX_DEPTH)
               : MUGA_OK;
}

muga_status session_write_state(agent_session *s, const json_t *state, muga_error *err) {
    muga_status st = check_state(s, state, err);
    st = st == MUGA_OK ? write_own_if_changed(s, state, err) : st;
    return st == MUGA_OK ? write_shared(s, state, err) : st;
}

muga_status session_set_state(agent_session *s, const json_t *state, muga_error *err) {
    muga_status st = check_state(s, state, err);
    json_t *whole = st == MUGA_OK ? json_clone(state) : NULL, *v;
    const char *name;
    bool ok = whole != NULL;
    json_object_foreach(s->m->shared, name, v) {
        ok = ok && json_object_set(whole, name, json_object_get(s->state, name)) == 0;
    }
    st = st == MUGA_OK && !ok ? error_nomem(err, "a state") : st;
    if (st == MUGA_OK && !json_equal(whole, s->state)) {
        st = store_begin(s->store, err);
        if (st == MUGA_OK) {
            st = write_own_if_changed(s, whole, err);
            store_end(s->store, &st, err);
        }
        if (st == MUGA_OK) {
            session_take_state(s, whole);
        }
    }
    json_decref(whole);
    return st;
}

/* ---- the tables against the chain ---- */

/* {agent: state} by two columns of a query, the last row of an agent counting. */
static muga_status read_states(store *s, const char *sql, json_t *out, muga_error *err) {
    store_row *r;
    muga_status st = store_query(s, &r, err, sql, "");
    for (bool has = true; st == MUGA_OK;) {
        json_t *state = NULL;
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        span agent = store_text(r, 0), text = store_text(r, 1);
        st = json_parse(text.p, text.n, "", &state, NULL);
        if (st != MUGA_OK && st != MUGA_E_NOMEM) { /* damaged: as text, which then differs */
            state = json_stringn_nocheck(text.p, text.n);
        }
        st = json_object_setn_new_nocheck(out, agent.p, agent.n, state) == 0 ? MUGA_OK : error_nomem(err, "the chain");
    }
    store_done(r);
    return st;
}

static const char *first_difference(const json_t *a, const json_t *b) {
    const char *name;
    json_t *v;
    json_object_foreach(json_borrow(a), name, v) {
        const json_t *other = json_object_get(b, name);
        if (other ? !json_equal(v, other) : !json_is_null(v)) { /* null: forgotten */
            return name;
        }
    }
    return NULL;
}

muga_status session_check_shared(store *s, muga_error *err) {
    json_t *told = json_object(), *said = json_object();
    muga_status st = told && said ? MUGA_OK : error_nomem(err, "the chain");
    if (st == MUGA_OK) {
        st = read_states(s,
                         "SELECT p.payload ->> '$.agent', p.payload -> '$.state' FROM audit a JOIN audit_payload p ON"
                         " p.n = a.n WHERE a.kind = 'agent_state' AND json_valid(p.payload) ORDER BY a.n",
                         told, err);
    }
    if (st == MUGA_OK) {
        st = read_states(s, "SELECT agent, state FROM agent_state", said, err);
    }
    if (st == MUGA_OK) {
        const char *name = first_difference(told, said);
        name = name ? name : first_difference(said, told);
        if (name) {
            st = error_set(err, MUGA_E_NEGATIVE,
                           "%s: the state that the sessions of agent %.64s share is not what the audit chain says",
                           store_path(s), name);
        }
    }
    json_decref(told);
    json_decref(said);
    return st;
}
