/* See sessions.h. Owns: what a session's state is called from outside. Refuses: to read a session that isn't there as
 * an empty one. The rows are made into JSON by SQLite, a column a row: what is JSON in the store stays as it was
 * written. */
#include "agent/sessions.h"
#include "agent/interactions_internal.h"

#include <stdio.h>

/* ---- listing ---- */

/* Columns: entry, id, agent, state but for `running`. */
/* clang-format off */
#define SELECT_ENTRY \
    "SELECT json_object('session', s.id, 'agent', s.agent, 'outcome', s.outcome, 'created_ms', s.created_ms," \
    " 'changed_ms', max(s.created_ms, coalesce(s.ended_ms, 0)," \
    "  coalesce((SELECT max(at_ms) FROM audit a WHERE a.session = s.id AND a.kind <> 'export'), 0))," \
    " 'messages', (SELECT count(*) FROM history h WHERE h.session = s.id AND h.role = 'user')," \
    " 'calls', (SELECT count(*) FROM calls c WHERE c.session = s.id)," \
    " 'dry', json(iif(s.dry, 'true', 'false')), 'values', json(s.session_values)), s.id, s.agent," \
    " CASE WHEN s.outcome = 'erased' THEN 'erased' WHEN s.ended_ms IS NOT NULL THEN 'ended'" \
    " WHEN EXISTS(SELECT 1 FROM calls c WHERE c.session = s.id AND c.state = 'started') THEN 'interrupted'" \
    " WHEN EXISTS(SELECT 1 FROM calls c WHERE c.session = s.id AND c.state = 'in_doubt') THEN 'in_doubt'" \
    " WHEN EXISTS(SELECT 1 FROM calls c WHERE c.session = s.id AND c.state = 'held') THEN 'held'" \
    " WHEN EXISTS(SELECT 1 FROM calls c WHERE c.session = s.id AND c.state = 'approved') THEN 'approved'" \
    " WHEN (SELECT role FROM history h WHERE h.session = s.id ORDER BY n DESC LIMIT 1) <> 'assistant'" \
    "  THEN 'broken_off' ELSE 'open' END FROM sessions s"
/* clang-format on */

/* Does another process, or another part of this one, drive it? */
static bool is_driven(store *s, const char *session) {
    store_claim *claim = NULL;
    bool driven = store_claim_take(s, session, &claim, NULL) == MUGA_E_ENV;
    store_claim_release(claim);
    return driven;
}

/* The row's entry, with its state; new. */
static muga_status read_entry(store *s, store_row *r, json_t **out, muga_error *err) {
    const char *state = store_string(r, 3);
    bool over = strcmp(state, "ended") == 0 || strcmp(state, "erased") == 0;
    muga_status st = store_json(r, 0, out, err);
    if (st == MUGA_OK && !over && is_driven(s, store_string(r, 1))) {
        state = "running";
    }
    if (st == MUGA_OK && json_object_set_new(*out, "state", json_string(state)) != 0) {
        json_decref(*out);
        *out = NULL;
        st = error_nomem(err, "a session");
    }
    return st;
}

static bool is_wanted(const sessions_filter *f, const json_t *entry) {
    const char *name;
    json_t *v;
    bool wanted = (!f->agent || strcmp(f->agent, json_get_string(entry, "agent")) == 0) &&
                  (!f->state || strcmp(f->state, json_get_string(entry, "state")) == 0);
    json_object_foreach(json_borrow(f->subject), name, v) {
        wanted = wanted && data_same_value(json_object_get(json_object_get(entry, "values"), name), v);
    }
    return wanted;
}

muga_status sessions_list(store *s, const sessions_filter *f, json_t **out, muga_error *err) {
    static const sessions_filter all = {NULL};
    store_row *r = NULL;
    json_t *list = json_array();
    f = f ? f : &all;
    muga_status st = list ? MUGA_OK : error_nomem(err, "sessions");
    if (st == MUGA_OK) {
        st = store_query(s, &r, err, SELECT_ENTRY " ORDER BY s.created_ms DESC, s.id DESC", "");
    }
    for (bool has = true; st == MUGA_OK && (f->max <= 0 || (int64_t)json_array_size(list) < f->max);) {
        json_t *entry = NULL;
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = read_entry(s, r, &entry, err);
        bool is_of = true;
        if (st == MUGA_OK && f->tenant) {
            st = sessions_is_of(s, json_get_string(entry, "session"), f->tenant, &is_of, err);
        }
        if (st == MUGA_OK && is_of && is_wanted(f, entry) && json_array_append(list, entry) != 0) {
            st = error_nomem(err, "sessions");
        }
        json_decref(entry);
    }
    store_done(r);
    if (st != MUGA_OK) {
        json_decref(list);
        list = NULL;
    }
    *out = list;
    return st;
}

muga_status sessions_is_of(store *s, const char *session, const char *tenant, bool *is, muga_error *err) {
    store_row *r = NULL;
    *is = false;
    /* of one that another session began: whose that is */
    muga_status st = store_query(s, &r, err,
                                 "WITH RECURSIVE line(id) AS (VALUES(?1) UNION SELECT o.parent FROM session_origins o"
                                 " JOIN line ON o.session = line.id WHERE o.parent IS NOT NULL)"
                                 " SELECT 1 FROM session_origins o JOIN line ON o.session = line.id"
                                 " WHERE o.parent IS NULL AND coalesce(o.tenant, '') = ?2",
                                 "ss", session, tenant);
    if (st == MUGA_OK) {
        st = store_step(r, is, err);
    }
    store_done(r);
    return st;
}

/* ---- reading one ---- */

static const char select_details[] =
    "SELECT json_object('dir', dir, 'data_dir', data_dir, 'manifest', lower(hex(manifest_digest)), 'policy',"
    " lower(hex(policy_digest)), 'ended_ms', ended_ms, 'current', json(state), 'within', (SELECT parent FROM"
    " session_origins o WHERE o.session = s.id), 'nested', (SELECT json_group_array(json_object('session', n.id,"
    " 'agent', n.agent)) FROM session_origins o JOIN sessions n ON n.id = o.session WHERE o.parent = s.id))"
    " FROM sessions s WHERE id = ?";
static const char select_history[] =
    "SELECT CASE WHEN call IS NULL THEN json_object('n', n, 'at_ms', at_ms, 'role', role, 'content', content)"
    " ELSE json_object('n', n, 'at_ms', at_ms, 'role', role, 'call', call) END"
    " FROM history WHERE session = ? ORDER BY n";
static const char select_calls[] =
    "SELECT json_object('call', c.id, 'n', c.n, 'tool', c.tool, 'definition', lower(hex(c.tool_digest)), 'policy',"
    " lower(hex(c.policy_digest)), 'arguments', json(c.arguments), 'state', c.state, 'attempt', c.attempt, 'result',"
    " json(c.result), 'reason', c.reason, 'created_ms', c.created_ms, 'changed_ms', c.changed_ms, 'approvals',"
    " (SELECT json_group_array(json_object('approval', a.id, 'attempt', a.attempt, 'state', a.state, 'created_ms',"
    "   a.created_ms, 'expires_ms', a.expires_ms, 'decided_ms', a.decided_ms, 'approver', a.approver, 'binding',"
    "   lower(hex(a.binding)))) FROM approvals a WHERE a.call = c.id))"
    " FROM calls c WHERE c.session = ? ORDER BY c.n";
static const char select_facts[] =
    "SELECT json_object('about', about, 'fact', fact, 'call', call, 'at_ms', at_ms, 'expires_ms', expires_ms)"
    " FROM facts WHERE session = ? ORDER BY about";
static const char select_kept[] = "SELECT 1 FROM interactions WHERE session = ? LIMIT 1";

static muga_status read_rows(store *s, const char *sql, const char *session, json_t *into, muga_error *err) {
    store_row *r;
    muga_status st = store_query(s, &r, err, sql, "s", session);
    for (bool has = true; st == MUGA_OK;) {
        json_t *v = NULL;
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = store_json(r, 0, &v, err);
        if (st == MUGA_OK && json_array_append_new(into, v) != 0) {
            st = error_nomem(err, "a session");
        }
    }
    store_done(r);
    return st;
}

static muga_status read_session(store *s, const char *session, json_t **out, muga_error *err) {
    store_row *r;
    bool has = false;
    json_t *details = json_array();
    *out = NULL;
    muga_status st = details ? store_query(s, &r, err, SELECT_ENTRY " WHERE s.id = ?", "s", session)
                             : error_nomem(err, "a session");
    if (st != MUGA_OK) {
        json_decref(details);
        return st;
    }
    st = store_step(r, &has, err);
    if (st == MUGA_OK && !has) {
        st = error_set(err, MUGA_E_NOT_FOUND, "session %.40s: not there; `muga session list` shows those there are",
                       session);
    }
    st = st == MUGA_OK ? read_entry(s, r, out, err) : st;
    store_done(r);
    st = st == MUGA_OK ? read_rows(s, select_details, session, details, err) : st;
    if (st == MUGA_OK && json_object_update(*out, json_array_get(details, 0)) != 0) {
        st = error_nomem(err, "a session");
    }
    json_decref(details);
    if (st != MUGA_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}

static muga_status read_parts(store *s, const char *session, json_t *whole, muga_error *err) {
    json_t *head = NULL;
    muga_status st = read_session(s, session, &head, err);
    if (st == MUGA_OK && json_object_set_new(whole, "session", head) != 0) {
        st = error_nomem(err, "a session");
    }
    st = st == MUGA_OK ? read_rows(s, select_history, session, json_object_get(whole, "history"), err) : st;
    st = st == MUGA_OK ? read_rows(s, select_calls, session, json_object_get(whole, "calls"), err) : st;
    return st == MUGA_OK ? read_rows(s, select_facts, session, json_object_get(whole, "facts"), err) : st;
}

muga_status sessions_read(store *s, const char *session, json_t **out, muga_error *err) {
    json_t *whole = json_pack("{s:n, s:[], s:[], s:[]}", "session", "history", "calls", "facts");
    muga_status st = whole ? store_begin_read(s, err) : error_nomem(err, "a session");
    if (st == MUGA_OK) {
        st = read_parts(s, session, whole, err);
        store_end(s, &st, err);
    }
    if (st != MUGA_OK) {
        json_decref(whole);
        whole = NULL;
    }
    *out = whole;
    return st;
}

/* ---- exporting ---- */

static muga_status add_kept(void *ctx, const interaction *row, muga_error *err) {
    json_t *v = json_pack("{s:I, s:I, s:s, s:i, s:b, s:b, s:O, s:O?, s:s?}", "turn", (json_int_t)row->turn, "at_ms",
                          (json_int_t)row->at_ms, "outcome", row->outcome, "rating", row->rating, "masked",
                          (int)row->masked, "redacted", (int)row->redacted, "content", row->content, "correction",
                          row->correction, "note", row->note);
    return v && json_array_append_new(ctx, v) == 0 ? MUGA_OK : error_nomem(err, "a session");
}

static muga_status read_kept(const agent_env *env, store *s, const char *session, json_t *into, muga_error *err) {
    const interaction_filter f = {.session = session, .by_session = true};
    json_t *any = json_array();
    int64_t n;
    muga_status st = any ? read_rows(s, select_kept, session, any, err) : error_nomem(err, "a session");
    if (st == MUGA_OK && json_array_size(any) > 0) { /* else there is no use to tell of */
        st = interactions_read(env, s, &f, "exported_session", NULL, add_kept, into, &n, err);
    }
    json_decref(any);
    return st;
}

static muga_status tell_export(const agent_env *env, store *s, const char *session, const char *by, muga_error *err) {
    json_t *payload = json_pack("{s:s}", "by", by);
    muga_status st = payload ? store_begin(s, err) : error_nomem(err, "an export");
    if (st == MUGA_OK) {
        st = audit_write(env, s, session, "export", payload, err);
        store_end(s, &st, err);
    }
    json_decref(payload);
    return st;
}

muga_status sessions_export(const agent_env *env, store *s, const char *session, const char *by, json_t **out,
                            muga_error *err) {
    const audit_filter f = {session, 1, 0};
    json_t *whole = NULL, *kept = json_array(), *audit = NULL;
    muga_status st = sessions_read(s, session, &whole, err);
    if (st == MUGA_OK) {
        st = kept ? read_kept(env, s, session, kept, err) : error_nomem(err, "a session");
    }
    st = st == MUGA_OK ? tell_export(env, s, session, by, err) : st;
    st = st == MUGA_OK ? audit_log(s, &f, &audit, err) : st;
    if (st == MUGA_OK && (json_object_set(whole, "kept", kept) != 0 || json_object_set(whole, "audit", audit) != 0)) {
        st = error_nomem(err, "a session");
    }
    json_decref(kept);
    json_decref(audit);
    if (st != MUGA_OK) {
        json_decref(whole);
        whole = NULL;
    }
    *out = whole;
    return st;
}

/* ---- deleting ---- */

muga_status sessions_delete_subject(const agent_env *env, store *s, const sessions_filter *f, int64_t *n,
                                    muga_error *err) {
    json_t *list = NULL, *entry;
    muga_error why;
    size_t i;
    *n = 0;
    muga_status st = sessions_list(s, f, &list, err), first = MUGA_OK;
    json_array_foreach(list, i, entry) {
        if (strcmp(json_get_string(entry, "state"), "erased") == 0) {
            continue;
        }
        int64_t n_erased;
        st = audit_erase(env, s, json_get_string(entry, "session"), &n_erased, &why);
        *n += n_erased;
        if (st != MUGA_OK && first == MUGA_OK) {
            first = error_set(err, st, "%s", why.message);
        }
        if (st != MUGA_OK && st != MUGA_E_ENV) {
            break;
        }
    }
    json_decref(list);
    return first != MUGA_OK ? first : st;
}
