/* Keeping turns (interactions.h). Owns: reading a session's chain as turns, their outcomes, what is masked in them, and
 * bringing the session's rows up to that. Refuses: turns from before the consent, and turns whose row was dropped.
 *
 *   chain      message decision call ... approval ... answer | message ...        one turn from message to answer
 *                 |                                     |
 *   turns      content of turn 1 ----------------- its outcome, from the next turn's where it only asked
 *                 |  masked with what all turns taught
 *   rows       written where they are new or differ, with their digests in one record of the chain
 *
 * A message that a guard refused is in no turn: it was never taken in. */
#include "agent/interactions_internal.h"
#include "agent/mask.h"

#include <stdio.h>

#define DAY_MS INT64_C(86400000)

const char *const interaction_outcomes[N_OUTCOMES] = {"completed", "corrected", "escalated", "denied", "asked", "open"};

/* ---- the chain as turns ---- */

typedef struct turn {
    int64_t n_message, at_ms; /* of the message's record */
    json_t *content;          /* as it was said */
    unsigned outcome;
    bool closed, is_denied;
} turn;

typedef struct chain {
    turn *turns;
    size_t n, cap;
    int64_t n_kept;     /* turns up to this one have had their row */
    json_t *values;     /* of the session */
    json_t *calls;      /* call id -> its entry in a turn's content; borrowed by no one */
    json_t *call_turns; /* call id -> index of its turn */
} chain;

static void chain_release(chain *c) {
    for (size_t i = 0; i < c->n; i++) {
        json_decref(c->turns[i].content);
    }
    free(c->turns);
    json_decref(c->values);
    json_decref(c->calls);
    json_decref(c->call_turns);
}

static muga_status nomem(muga_error *err) {
    return error_nomem(err, "a turn");
}

static bool set(json_t *object, const char *key, json_t *value) { /* takes value */
    return json_object_set_new(object, key, value) == 0;
}

static bool append(json_t *object, const char *key, json_t *value) { /* takes value */
    json_t *list = json_object_get(object, key);
    if (!list) {
        list = json_array();
        if (json_object_set_new(object, key, list) != 0) {
            json_decref(value);
            return false;
        }
    }
    return json_array_append_new(list, value) == 0;
}

static muga_status tell_message(chain *c, int64_t n, int64_t at_ms, const json_t *payload, muga_error *err) {
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 8;
        turn *turns = realloc(c->turns, cap * sizeof *turns);
        if (!turns) {
            return nomem(err);
        }
        c->turns = turns;
        c->cap = cap;
    }
    json_t *content = json_pack("{s:O*}", "message", json_object_get(payload, "content"));
    c->turns[c->n++] = (turn){n, at_ms, content, OUTCOME_OPEN, false, false};
    return content ? MUGA_OK : nomem(err);
}

static muga_status tell_decision(turn *t, const json_t *payload, muga_error *err) {
    json_t *labels = json_object_get(payload, "decided"), *sure = json_object_get(payload, "sure"),
           *given = json_object_get(payload, "given");
    if (!json_is_array(labels)) {
        return MUGA_OK; /* of a call's arguments, which its call tells */
    }
    bool ok = json_object_set(t->content, "labels", labels) == 0 &&
              (!sure || json_object_set(t->content, "sure", sure) == 0) &&
              (!given || json_object_set(t->content, "given", given) == 0);
    return ok ? MUGA_OK : nomem(err);
}

static muga_status tell_call(chain *c, const json_t *payload, muga_error *err) {
    const char *id = json_get_string(payload, "call"), *state = json_get_string(payload, "state");
    bool ok = true;
    if (!id || !state) {
        return MUGA_OK;
    }
    if (strcmp(state, "proposed") == 0) {
        json_t *call = json_pack("{s:O*, s:O*}", "tool", json_object_get(payload, "tool"), "arguments",
                                 json_object_get(payload, "arguments"));
        ok = call && json_object_set(c->calls, id, call) == 0 &&
             set(c->call_turns, id, json_integer((json_int_t)c->n - 1)) &&
             append(c->turns[c->n - 1].content, "calls", json_incref(call));
        json_decref(call);
    }
    json_t *call = json_object_get(c->calls, id), *result = json_object_get(payload, "result");
    if (ok && call) {
        turn *t = &c->turns[json_get_int(c->call_turns, id, 0)];
        t->is_denied = t->is_denied || strcmp(state, "denied") == 0 || strcmp(state, "refused") == 0 ||
                       strcmp(state, "expired") == 0;
        ok = set(call, "outcome", json_string(state)) && (!result || json_object_set(call, "result", result) == 0);
    }
    return ok ? MUGA_OK : nomem(err);
}

static muga_status tell_approval(chain *c, const json_t *payload, muga_error *err) {
    const char *id = json_get_string(payload, "call");
    json_t *call = id ? json_object_get(c->calls, id) : NULL, *said = json_object_get(payload, "decision");
    return !call || !said || json_object_set(call, "approval", said) == 0 ? MUGA_OK : nomem(err);
}

static muga_status tell_answer(turn *t, const json_t *payload, muga_error *err) {
    static const struct {
        const char *kind;
        unsigned outcome;
    } of_kind[] = {{"answer", OUTCOME_COMPLETED},
                   {"ask", OUTCOME_ASKED},
                   {"escalate", OUTCOME_ESCALATED},
                   {"refuse", OUTCOME_DENIED}};
    const char *kind = json_get_string(payload, "kind");
    for (size_t i = 0; kind && i < ARRAY_LEN(of_kind); i++) {
        t->outcome = strcmp(kind, of_kind[i].kind) == 0 ? of_kind[i].outcome : t->outcome;
    }
    t->closed = true;
    bool ok = json_object_set(t->content, "answer", json_object_get(payload, "content")) == 0 &&
              json_object_set(t->content, "kind", json_object_get(payload, "kind")) == 0;
    return ok ? MUGA_OK : nomem(err);
}

/* Rows that were kept before: a dropped one must not come back. */
static void tell_kept(chain *c, const json_t *payload) {
    const char *use = json_get_string(payload, "use");
    const json_t *rows = json_object_get(payload, "rows");
    for (size_t i = 0; use && strcmp(use, "recorded") == 0 && i < json_array_size(rows); i++) {
        c->n_kept = MAX(c->n_kept, json_get_int(json_array_get(rows, i), "turn", 0));
    }
}

static muga_status tell(chain *c, int64_t n, int64_t at_ms, const char *kind, const json_t *payload, muga_error *err) {
    turn *open = c->n > 0 ? &c->turns[c->n - 1] : NULL;
    if (strcmp(kind, "session_start") == 0) {
        json_decref(c->values);
        c->values = json_incref(json_object_get(payload, "values"));
    } else if (strcmp(kind, "data") == 0) {
        tell_kept(c, payload);
    } else if (strcmp(kind, "message") == 0) {
        return tell_message(c, n, at_ms, payload, err);
    } else if (!open) {
        return MUGA_OK;
    } else if (strcmp(kind, "call") == 0) {
        return tell_call(c, payload, err);
    } else if (strcmp(kind, "approval") == 0) {
        return tell_approval(c, payload, err);
    } else if (open->closed) {
        return MUGA_OK; /* the answer to a message that a guard kept out */
    } else if (strcmp(kind, "decision") == 0) {
        return tell_decision(open, payload, err);
    } else if (strcmp(kind, "escalation") == 0) {
        json_t *why = json_object_get(payload, "why");
        return !why || append(open->content, "escalation", json_incref(why)) ? MUGA_OK : nomem(err);
    } else if (strcmp(kind, "answer") == 0) {
        return tell_answer(open, payload, err);
    }
    return MUGA_OK;
}

/* Does a call still wait for a person, or run? */
static bool waits(const turn *t) {
    static const char *const states[] = {"held", "approved", "in_doubt", "started"};
    const json_t *calls = json_object_get(t->content, "calls");
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const char *state = json_get_string(json_array_get(calls, i), "outcome");
        for (size_t k = 0; state && k < ARRAY_LEN(states); k++) {
            if (strcmp(state, states[k]) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* A turn that only asked has the outcome of the turn its question led to. */
static void settle_outcomes(chain *c) {
    for (size_t i = c->n; i-- > 0;) {
        turn *t = &c->turns[i];
        if (t->is_denied && (t->closed || !waits(t))) {
            t->outcome = OUTCOME_DENIED;
        } else if (t->outcome == OUTCOME_ASKED && i + 1 < c->n && c->turns[i + 1].outcome != OUTCOME_OPEN) {
            t->outcome = c->turns[i + 1].outcome;
        }
    }
}

static muga_status read_chain(store *s, const char *session, chain *c, muga_error *err) {
    store_row *r = NULL;
    *c = (chain){.calls = json_object(), .call_turns = json_object()};
    muga_status st = c->calls && c->call_turns ? MUGA_OK : nomem(err);
    if (st == MUGA_OK) {
        st = store_query(s, &r, err,
                         "SELECT a.n, a.at_ms, a.kind, p.payload FROM audit a JOIN audit_payload p ON p.n = a.n WHERE"
                         " a.session = ? ORDER BY a.n",
                         "s", session);
    }
    for (bool has = true; st == MUGA_OK;) {
        json_t *payload = NULL;
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = store_json(r, 3, &payload, err);
        if (st == MUGA_OK) {
            st = tell(c, store_int(r, 0), store_int(r, 1), store_string(r, 2), payload, err);
        }
        json_decref(payload);
    }
    store_done(r);
    settle_outcomes(c);
    return st;
}

/* ---- masking ---- */

static muga_status learn_turns(mask *m, const chain *c, muga_error *err) {
    muga_status st = mask_learn_session(m, c->values, err);
    for (size_t i = 0; i < c->n; i++) {
        const json_t *calls = json_object_get(c->turns[i].content, "calls");
        for (size_t k = 0; st == MUGA_OK && k < json_array_size(calls); k++) {
            st = mask_learn(m, json_array_get(calls, k), err);
        }
    }
    return st;
}

/* What all turns taught masks each of them, whatever came first. Stored plain, they stay as they are. */
static muga_status mask_turns(const json_t *policy, chain *c, muga_error *err) {
    mask *m = NULL;
    muga_status st = mask_new(policy, &m, err);
    st = st == MUGA_OK ? learn_turns(m, c, err) : st;
    for (size_t i = 0; st == MUGA_OK && i < c->n; i++) {
        json_t *masked = NULL;
        st = mask_json(m, c->turns[i].content, &masked, err);
        if (st == MUGA_OK) {
            json_decref(c->turns[i].content);
            c->turns[i].content = masked;
        }
    }
    mask_free(m);
    return st;
}

/* ---- rows ---- */

static muga_status update_row(const agent_env *env, store *s, const turn *t, bool masked, data_row *r, json_t *told,
                              muga_error *err) {
    unsigned outcome = r->correction ? OUTCOME_CORRECTED : t->outcome;
    bool same = r->redacted || (json_equal(r->content, t->content) && r->masked == masked);
    if (same && r->outcome == outcome) {
        return MUGA_OK;
    }
    if (!same) {
        json_decref(r->content);
        r->content = json_incref(t->content);
        r->masked = masked;
    }
    r->outcome = outcome;
    return data_row_write(env, s, r, false, told, err);
}

/* Those that are there; *seen counts them. */
static muga_status update_rows(const agent_env *env, store *s, const char *session, const chain *c, bool masked,
                               json_t *told, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < MIN(c->n, (size_t)c->n_kept); i++) {
        store_row *at = NULL;
        data_row r = {.agent = NULL};
        bool has = false;
        st = store_query(s, &at, err, "SELECT " ROW_COLUMNS " FROM interactions i WHERE session = ? AND turn = ?", "si",
                         session, (int64_t)i + 1);
        st = st == MUGA_OK ? store_step(at, &has, err) : st;
        st = st == MUGA_OK && has ? data_row_read(s, at, &r, err) : st;
        store_done(at);
        if (st == MUGA_OK && has) {
            st = update_row(env, s, &c->turns[i], masked, &r, told, err);
        }
        data_row_release(&r);
    }
    return st;
}

static muga_status insert_rows(const agent_env *env, store *s, const char *agent, const char *session, const chain *c,
                               int64_t since, bool masked, json_t *told, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = (size_t)c->n_kept; st == MUGA_OK && i < c->n; i++) {
        const turn *t = &c->turns[i];
        if (t->n_message <= since) {
            continue;
        }
        data_row r = {.agent = mem_copy_string(agent),
                      .turn = (int64_t)i + 1,
                      .at_ms = t->at_ms,
                      .outcome = t->outcome,
                      .masked = masked,
                      .content = json_incref(t->content)};
        snprintf(r.session, sizeof r.session, "%s", session);
        st = r.agent ? env->random(env->random_self, r.salt, sizeof r.salt, err) : nomem(err);
        st = st == MUGA_OK ? data_row_write(env, s, &r, true, told, err) : st;
        data_row_release(&r);
    }
    return st;
}

/* Inside a transaction, with a consent that holds. */
static muga_status bring_up(const agent_env *env, store *s, const manifest *m, const char *agent, const char *session,
                            const consent_row *consent, muga_error *err) {
    const char *how = json_get_string(consent->policy, "store");
    bool masked = !how || strcmp(how, "plain") != 0;
    json_t *told = json_array();
    chain c;
    muga_status st = read_chain(s, session, &c, err);
    st = st == MUGA_OK && !told ? nomem(err) : st;
    if (st == MUGA_OK && masked) {
        st = mask_turns(consent->policy, &c, err);
    }
    if (st == MUGA_OK) {
        st = update_rows(env, s, session, &c, masked, told, err);
    }
    if (st == MUGA_OK && m) {
        st = insert_rows(env, s, agent, session, &c, consent->since, masked, told, err);
    }
    if (st == MUGA_OK && json_array_size(told) > 0) {
        st = data_audit_rows(env, s, session, "recorded", told, NULL, err);
    }
    chain_release(&c);
    json_decref(told);
    return st;
}

/* Whether or not more may be kept. Inside a transaction. */
static muga_status drop_old(const agent_env *env, store *s, const char *agent, const consent_row *consent,
                            muga_error *err) {
    int64_t n, days = json_get_int(consent->policy, "keep_days", 0);
    return data_expire_agent(env, s, agent, env->clock->now_ms(env->clock->self) - days * DAY_MS, &n, err);
}

void session_place_release(session_place *p) {
    free(p->agent);
    free(p->dir);
    free(p->data_dir);
    *p = (session_place){NULL, NULL, NULL};
}

muga_status session_place_get(store *s, const char *session, session_place *out, muga_error *err) {
    store_row *r;
    bool has = false;
    *out = (session_place){NULL, NULL, NULL};
    muga_status st = store_query(s, &r, err, "SELECT agent, dir, data_dir FROM sessions WHERE id = ?", "s", session);
    st = st == MUGA_OK ? store_step(r, &has, err) : st;
    if (st == MUGA_OK && !has) {
        st = error_set(err, MUGA_E_NOT_FOUND, "session %.24s: not there; `muga session list` shows those there are",
                       session);
    } else if (st == MUGA_OK) {
        *out = (session_place){mem_copy_string(store_string(r, 0)), mem_copy_string(store_string(r, 1)),
                               mem_copy_string(store_string(r, 2))};
        st = out->agent && out->dir && out->data_dir ? MUGA_OK : nomem(err);
    }
    store_done(r);
    if (st != MUGA_OK) {
        session_place_release(out);
    }
    return st;
}

muga_status interactions_record(const agent_env *env, store *s, const manifest *m, const char *session,
                                record_outcome *out, muga_error *err) {
    session_place place;
    consent_row consent = {CONSENT_NONE, 0, NULL};
    *out = RECORD_OFF;
    if (m && !m->data_policy) {
        return MUGA_OK;
    }
    muga_status st = session_place_get(s, session, &place, err);
    st = st == MUGA_OK ? consent_read(s, place.agent, &consent, err) : st;
    if (st == MUGA_OK && consent.state != CONSENT_NONE) { /* looked at again under the lock: it may be taken back now */
        consent_row_release(&consent);
        st = store_begin(s, err);
        if (st == MUGA_OK) {
            st = consent_read(s, place.agent, &consent, err);
            bool on = st == MUGA_OK && consent.state == CONSENT_ON;
            bool covers = on && (!m || consent_covers(&consent, m->data_policy));
            *out = covers ? RECORD_UP_TO_DATE : on ? RECORD_STALE : RECORD_OFF;
            st = covers ? bring_up(env, s, m, place.agent, session, &consent, err) : st;
            st = st == MUGA_OK ? drop_old(env, s, place.agent, &consent, err) : st;
            store_end(s, &st, err);
        }
    }
    consent_row_release(&consent);
    session_place_release(&place);
    return st;
}
