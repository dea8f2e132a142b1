/* Do the working tables say what the audit chain says? Owns: the comparison of sessions and where they come from,
 * history, calls and approvals with the payloads of the chain (versions.c has that of adapters). Refuses: a row that
 * the chain does not tell of, a row that is gone, a value that is another. Times are not compared: a record has its
 * own.
 *
 * Idea: for one session at a time, the same JSON is built twice, from the chain's records in their order and from the
 * tables; the first place where the two differ is the fault.
 *
 *   {"session": {"agent", "manifest", "policy", "values", "state", "dir", "data_dir", "outcome",
 *                "dry", "within", "requester", "tenant"},
 *    "history": [{"n", "role", "content", "call"}, ...],
 *    "calls": {id: {"n", "tool", "definition", "policy", "arguments", "state", "attempt", "reason", "result",
 *               "label"}},
 *    "approvals": {id: {"call", "attempt", "state", "expires_ms", "approver", "binding"}}}
 *
 * A member that does not apply is null. An erased session has nothing left to compare. */
#include "agent/interactions_internal.h"
#include "agent/versions.h"

#include <stdio.h>

/* json_object_set_new and its like, and false once something failed. */
typedef struct builder {
    json_t *session, *history, *calls, *approvals;
    bool ok;
} builder;

static json_t *build_new(builder *b) {
    json_t *whole = json_pack("{s:{}, s:[], s:{}, s:{}}", "session", "history", "calls", "approvals");
    *b = (builder){json_object_get(whole, "session"), json_object_get(whole, "history"),
                   json_object_get(whole, "calls"), json_object_get(whole, "approvals"), whole != NULL};
    return whole;
}

static void set(builder *b, json_t *object, const char *key, json_t *value) {
    b->ok = json_object_set_new(object, key, value) == 0 && b->ok;
}

static json_t *or_null(const json_t *v) {
    return v ? json_incref(json_borrow(v)) : json_null();
}

static void add_history(builder *b, const char *role, const json_t *content, const json_t *call) {
    json_t *entry = json_pack("{s:I, s:s, s:o, s:o}", "n", (json_int_t)json_array_size(b->history) + 1, "role", role,
                              "content", or_null(content), "call", or_null(call));
    b->ok = json_array_append_new(b->history, entry) == 0 && b->ok;
}

/* ---- what the chain tells ---- */

static const char *const origin_keys[] = {"within", "requester", "tenant"};

static void tell_start(builder *b, const json_t *payload) {
    static const char *const keys[] = {"agent", "manifest", "policy", "values", "state", "dir", "data_dir"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        json_t *v = json_object_get(payload, keys[i]);
        if (v) {
            set(b, b->session, keys[i], json_incref(v));
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(origin_keys); i++) {
        const json_t *v = json_object_get(json_object_get(payload, "info"), origin_keys[i]);
        set(b, b->session, origin_keys[i], or_null(json_is_string(v) ? v : NULL));
    }
    set(b, b->session, "outcome", json_null());
    set(b, b->session, "dry", json_integer(json_get_bool(json_object_get(payload, "info"), "dry", false)));
}

static json_t *find_approval(const builder *b, const char *call, int64_t attempt) {
    const char *id;
    json_t *a;
    json_object_foreach(b->approvals, id, a) {
        if (strcmp(json_get_string(a, "call"), call) == 0 && json_get_int(a, "attempt", 0) == attempt) {
            return a;
        }
    }
    return NULL;
}

static bool bind_call(const char *id, const char *session, const json_t *call, int64_t expires_ms,
                      char out[SHA256_HEX]) {
    journal_call c = {.attempt = json_get_int(call, "attempt", 0), .arguments = json_object_get(call, "arguments")};
    const char *tool = json_get_string(call, "tool"), *definition = json_get_string(call, "definition"),
               *policy = json_get_string(call, "policy");
    uint8_t binding[SHA256_BYTES];
    if (!tool || !definition || !policy || !c.arguments || strlen(definition) != 2 * SHA256_BYTES ||
        strlen(policy) != 2 * SHA256_BYTES || !hex_parse(definition, 2 * SHA256_BYTES, c.tool_digest) ||
        !hex_parse(policy, 2 * SHA256_BYTES, c.policy_digest)) {
        return false;
    }
    snprintf(c.id, sizeof c.id, "%s", id);
    snprintf(c.session, sizeof c.session, "%s", session);
    c.tool = mem_copy_string(tool);
    bool ok = c.tool && approval_bind(&c, expires_ms, binding, NULL) == MUGA_OK;
    free(c.tool);
    if (ok) {
        hex_write(binding, sizeof binding, out);
    }
    return ok;
}

/* held and in_doubt come with an approval. */
static void tell_approval(builder *b, const char *session, const char *call, const json_t *told,
                          const json_t *payload) {
    const char *id = json_get_string(payload, "approval");
    int64_t expires_ms = json_get_int(payload, "expires_ms", 0);
    char binding[SHA256_HEX];
    if (id && bind_call(call, session, told, expires_ms, binding)) {
        set(b, b->approvals, id,
            json_pack("{s:s, s:O, s:s, s:I, s:n, s:s}", "call", call, "attempt", json_object_get(told, "attempt"),
                      "state", "pending", "expires_ms", (json_int_t)expires_ms, "approver", "binding", binding));
    }
}

static void tell_call(builder *b, const char *session, const json_t *payload) {
    static const char *const always[] = {"state", "attempt", "reason", "result", "label"};
    static const char *const first[] = {"tool", "arguments", "definition", "policy"};
    const char *id = json_get_string(payload, "call"), *state = json_get_string(payload, "state");
    if (!id || !state) {
        return;
    }
    if (strcmp(state, "proposed") == 0) {
        json_t *call = json_pack("{s:I}", "n", (json_int_t)json_object_size(b->calls) + 1);
        for (size_t i = 0; i < ARRAY_LEN(first); i++) {
            set(b, call, first[i], or_null(json_object_get(payload, first[i])));
        }
        set(b, b->calls, id, call);
    }
    json_t *call = json_object_get(b->calls, id), *a = find_approval(b, id, json_get_int(payload, "attempt", 0));
    for (size_t i = 0; i < ARRAY_LEN(always); i++) {
        set(b, call, always[i], or_null(json_object_get(payload, always[i])));
    }
    if (strcmp(state, "held") == 0 || strcmp(state, "in_doubt") == 0) {
        tell_approval(b, session, id, call, payload);
    } else if (a && strcmp(state, "expired") == 0) {
        set(b, a, "state", json_string("expired"));
    } else if (a && strcmp(state, "started") == 0) {
        set(b, a, "state", json_string("used"));
    } else if (strcmp(state, "finished") == 0 || strcmp(state, "failed") == 0) {
        json_t *empty = json_string("");
        add_history(b, "tool", empty, json_object_get(payload, "call"));
        json_decref(empty);
    }
}

static void tell_decision(builder *b, const json_t *payload) {
    const char *id = json_get_string(payload, "approval"), *said = json_get_string(payload, "decision");
    json_t *a = id ? json_object_get(b->approvals, id) : NULL;
    if (a && said) {
        set(b, a, "state", json_string(strcmp(said, "yes") == 0 ? "approved" : "denied"));
        set(b, a, "approver", or_null(json_object_get(payload, "approver")));
    }
}

static void tell(builder *b, const char *session, const char *kind, const json_t *payload) {
    if (strcmp(kind, "session_start") == 0) {
        tell_start(b, payload);
    } else if (strcmp(kind, "state") == 0) {
        set(b, b->session, "state", or_null(json_object_get(payload, "state")));
    } else if (strcmp(kind, "session_end") == 0) {
        set(b, b->session, "outcome", or_null(json_object_get(payload, "outcome")));
    } else if (strcmp(kind, "message") == 0) {
        add_history(b, "user", json_object_get(payload, "content"), NULL);
    } else if (strcmp(kind, "answer") == 0) {
        add_history(b, "assistant", json_object_get(payload, "content"), NULL);
    } else if (strcmp(kind, "call") == 0) {
        tell_call(b, session, payload);
    } else if (strcmp(kind, "approval") == 0) {
        tell_decision(b, payload);
    }
}

/* *erased: a payload is missing, which the walk of the chain found to be in order. */
static muga_status read_chain(store *s, const char *session, builder *b, bool *erased, muga_error *err) {
    store_row *r;
    *erased = false;
    muga_status st = store_query(s, &r, err,
                                 "SELECT a.kind, p.payload FROM audit a LEFT JOIN audit_payload p ON p.n = a.n"
                                 " WHERE a.session = ? ORDER BY a.n",
                                 "s", session);
    for (bool has = true; st == MUGA_OK && !*erased;) {
        json_t *payload = NULL;
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        *erased = store_is_null(r, 1);
        st = store_json(r, 1, &payload, err);
        if (st == MUGA_OK && !*erased) {
            tell(b, session, store_string(r, 0), payload);
        }
        json_decref(payload);
    }
    store_done(r);
    return st == MUGA_OK && !b->ok ? error_nomem(err, "the chain") : st;
}

/* ---- what the tables say ---- */

/* Text that should be JSON, as JSON; as text where it isn't, which then differs. */
static json_t *json_column(store_row *r, int column) {
    json_t *v = NULL;
    span text = store_text(r, column);
    if (store_is_null(r, column)) {
        return json_null();
    }
    return json_parse(text.p, text.n, "", &v, NULL) == MUGA_OK ? v : json_stringn_nocheck(text.p, text.n);
}

static json_t *text_column(store_row *r, int column) {
    span text = store_text(r, column);
    return store_is_null(r, column) ? json_null() : json_stringn_nocheck(text.p, text.n);
}

/* One letter a column: t text, j JSON, i integer. The row as an object of the names. */
static json_t *row_object(builder *b, store_row *r, const char *types, const char *const *names, int from) {
    json_t *row = json_object();
    for (int i = from; types[i]; i++) {
        set(b, row, names[i],
            types[i] == 'j'   ? json_column(r, i)
            : types[i] == 't' ? text_column(r, i)
                              : json_integer(store_int(r, i)));
    }
    return row;
}

typedef struct table {
    const char *sql, *types;
    const char *names[11];
} table;

/* Rows into the session, the history, or an object by their first column. */
static muga_status read_table(store *s, const char *session, const table *t, builder *b, json_t *into,
                              muga_error *err) {
    store_row *r;
    muga_status st = store_query(s, &r, err, t->sql, "s", session);
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        const char *id = store_string(r, 0);
        if (into == b->session) {
            json_t *row = row_object(b, r, t->types, t->names, 0);
            b->ok = json_object_update(into, row) == 0 && b->ok;
            json_decref(row);
        } else if (into == b->history) {
            b->ok = json_array_append_new(into, row_object(b, r, t->types, t->names, 0)) == 0 && b->ok;
        } else {
            set(b, into, id ? id : "", row_object(b, r, t->types, t->names, 1));
        }
    }
    store_done(r);
    return st == MUGA_OK && !b->ok ? error_nomem(err, "the tables") : st;
}

static muga_status read_tables(store *s, const char *session, builder *b, muga_error *err) {
    static const table sessions = {
        "SELECT agent, lower(hex(manifest_digest)), lower(hex(policy_digest)), session_values, state, dir, data_dir,"
        " CASE WHEN ended_ms IS NOT NULL OR outcome IS NOT NULL THEN coalesce(outcome, '') END, dry FROM sessions"
        " WHERE id = ?",
        "tttjjttti",
        {"agent", "manifest", "policy", "values", "state", "dir", "data_dir", "outcome", "dry"}};
    static const table origins = {"SELECT parent, requester, tenant FROM session_origins WHERE session = ?",
                                  "ttt",
                                  {"within", "requester", "tenant"}};
    static const table history = {"SELECT n, role, content, call FROM history WHERE session = ? ORDER BY n",
                                  "ittt",
                                  {"n", "role", "content", "call"}};
    static const table calls = {
        "SELECT id, n, tool, lower(hex(tool_digest)), lower(hex(policy_digest)), arguments, state, attempt, reason,"
        " result, label FROM calls WHERE session = ? ORDER BY n",
        "tittt"
        "jtitjt",
        {"", "n", "tool", "definition", "policy", "arguments", "state", "attempt", "reason", "result", "label"}};
    static const table approvals = {
        "SELECT a.id, a.call, a.attempt, a.state, a.expires_ms, a.approver, lower(hex(a.binding)) FROM approvals a"
        " JOIN calls c ON c.id = a.call WHERE c.session = ? ORDER BY a.id",
        "ttititt",
        {"", "call", "attempt", "state", "expires_ms", "approver", "binding"}};
    muga_status st = read_table(s, session, &sessions, b, b->session, err);
    st = st == MUGA_OK ? read_table(s, session, &origins, b, b->session, err) : st;
    st = st == MUGA_OK ? read_table(s, session, &history, b, b->history, err) : st;
    st = st == MUGA_OK ? read_table(s, session, &calls, b, b->calls, err) : st;
    return st == MUGA_OK ? read_table(s, session, &approvals, b, b->approvals, err) : st;
}

/* ---- the comparison ---- */

/* The first place where two values differ: its path into `path`, the values there into *told and *said. */
static bool differ(const json_t *a, const json_t *b, str *path, const json_t **told, const json_t **said) {
    const char *key;
    json_t *v;
    *told = a;
    *said = b;
    size_t len = path->len;
    if (json_is_object(a) && json_is_object(b)) {
        json_object_foreach(json_borrow(a), key, v) {
            str_printf(path, "%s%s", len ? "." : "", key);
            if (differ(v, json_object_get(b, key), path, told, said)) {
                return true;
            }
            str_truncate(path, len);
        }
        json_object_foreach(json_borrow(b), key, v) {
            if (!json_object_get(a, key)) {
                str_printf(path, "%s%s", len ? "." : "", key);
                *told = NULL;
                *said = v;
                return true;
            }
        }
        return false;
    }
    if (json_is_array(a) && json_is_array(b)) {
        for (size_t i = 0; i < MAX(json_array_size(a), json_array_size(b)); i++) {
            str_printf(path, "[%zu]", i + 1);
            if (differ(json_array_get(a, i), json_array_get(b, i), path, told, said)) {
                return true;
            }
            str_truncate(path, len);
        }
        return false;
    }
    return a && b ? !json_equal(json_borrow(a), json_borrow(b)) : a != b;
}

static void write_short(str *out, const json_t *v) {
    str text = STR_INIT;
    if (v) {
        json_write(v, &text);
    }
    str_printf(out, "%.60s", v ? str_get(&text) : "absent");
    str_release(&text);
}

static muga_status report_difference(store *s, const char *session, const str *path, const json_t *told,
                                     const json_t *said, muga_error *err) {
    str a = STR_INIT, b = STR_INIT;
    write_short(&a, told);
    write_short(&b, said);
    muga_status st = error_set(err, MUGA_E_NEGATIVE,
                               "%s: session %.24s: %.80s is %s in the tables, %s in the audit chain", store_path(s),
                               session, str_get(path), str_get(&b), str_get(&a));
    str_release(&a);
    str_release(&b);
    return st;
}

static muga_status check_session(store *s, const char *session, muga_error *err) {
    builder chain, tables;
    bool erased = false;
    json_t *told = build_new(&chain), *said = build_new(&tables);
    str path = STR_INIT;
    const json_t *a, *b;
    muga_status st = chain.ok && tables.ok ? read_chain(s, session, &chain, &erased, err)
                                           : error_nomem(err, "the chain");
    if (st == MUGA_OK && !erased) {
        st = read_tables(s, session, &tables, err);
    }
    if (st == MUGA_OK && !erased && !json_object_get(chain.session, "dir")) { /* records did not always tell these */
        json_object_del(tables.session, "dir");
        json_object_del(tables.session, "data_dir");
    }
    if (st == MUGA_OK && !erased && differ(told, said, &path, &a, &b)) {
        st = path.failed ? error_nomem(err, "the chain") : report_difference(s, session, &path, a, b, err);
    }
    str_release(&path);
    json_decref(told);
    json_decref(said);
    return st;
}

muga_status audit_check_tables(store *s, muga_error *err) {
    static const char every_session[] =
        "SELECT id FROM sessions UNION SELECT session FROM audit WHERE session IS NOT NULL UNION SELECT session FROM"
        " calls UNION SELECT session FROM history UNION SELECT session FROM session_origins";
    static const char stray_approval[] = "SELECT id FROM approvals WHERE call NOT IN (SELECT id FROM calls)";
    store_row *r;
    muga_status st = store_query(s, &r, err, every_session, "");
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = check_session(s, store_string(r, 0), err);
    }
    store_done(r);
    bool stray = false;
    if (st == MUGA_OK) {
        st = store_query(s, &r, err, stray_approval, "");
        st = st == MUGA_OK ? store_step(r, &stray, err) : st;
        if (st == MUGA_OK && stray) {
            st = error_set(err, MUGA_E_NEGATIVE, "%s: approval %.24s belongs to no call", store_path(s),
                           store_string(r, 0));
        }
        store_done(r);
    }
    st = st == MUGA_OK ? versions_check_tables(s, err) : st;
    st = st == MUGA_OK ? session_check_shared(s, err) : st;
    st = st == MUGA_OK ? audit_check_keys(s, err) : st;
    return st == MUGA_OK ? interactions_check_tables(s, err) : st;
}
