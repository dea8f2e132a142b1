/* Held calls and the audit chain over HTTP. A decision is a person's: it needs a key that may give it, and carries that
 * key's name; without keys nobody is known, so nobody decides here (muga approve does). */
#include "agent/interactions.h"
#include "agent/sessions.h"
#include "serve/hosted.h"
#include "serve/keys.h"

/* ---- approvals ---- */

static bool may_decide(const call *c, const json_t *who) {
    const json_t *roles = json_object_get(who, "roles");
    size_t i;
    const json_t *role;
    if (!roles)
        return key_may_approve(c->key, NULL);
    json_array_foreach(roles, i, role) if (key_may_approve(c->key, json_string_value(role))) return true;
    return false;
}

/* The manifest that a waiting call was proposed under, as it stands now. */
static muga_status load_manifest(const call *c, const json_t *e, manifest **out, muga_error *err) {
    return manifest_load(c->serve->options->agents->env, json_get_string(e, "dir"), json_get_string(e, "data_dir"), out,
                         err);
}

/* An entry as it is shown: with who may say yes, without where things lie on this machine. */
static muga_status show(const call *c, store *s, json_t *e, muga_error *err) {
    const agent_env *env = c->serve->options->agents->env;
    manifest *m = NULL;
    json_t *who = NULL;
    muga_status st = MUGA_OK;
    if (!load_manifest(c, e, &m, NULL))
        st = approval_who(env, s, m, json_get_string(e, "tool"), json_get_string(e, "session"), &who, err);
    if (!st && who && json_object_set(e, "approvers", who) != 0)
        st = error_nomem(err, "approvals");
    json_object_del(e, "dir");
    json_object_del(e, "data_dir");
    json_decref(who);
    manifest_free(m);
    return st;
}

/* The entries of the tenant; only: the one under that id. New. */
static muga_status list_own(const call *c, store *s, const char *only, json_t **out, muga_error *err) {
    json_t *all = NULL, *own = json_array(), *e;
    size_t i;
    muga_status st = own ? approval_list(c->serve->options->agents->env, s, &all, err) : error_nomem(err, "approvals");
    const json_t *one = st || !only ? NULL : approval_find(all, only);
    json_array_foreach(all, i, e) {
        bool is = false;
        if (only && e != one)
            continue;
        st = st ? st : sessions_is_of(s, json_get_string(e, "session"), c->tenant, &is, err);
        if (st || !is)
            continue;
        st = show(c, s, e, err);
        if (!st && json_array_append(own, e) != 0)
            st = error_nomem(err, "approvals");
    }
    json_decref(all);
    if (st) {
        json_decref(own);
        own = NULL;
    }
    *out = own;
    return st;
}

static void list_approvals(call *c) {
    store *s = NULL;
    json_t *list = NULL;
    muga_error err = {0};
    if (!hosted_store(c, &s))
        return;
    muga_status st = list_own(c, s, NULL, &list, &err);
    (void)call_answer_list(c, st, &err, list);
    store_close(s);
}

static bool none_waits(call *c) {
    return call_fail(c, 404, "approval", "approval_not_found", "no approval %.40s waits", c->arg[0]);
}

static void show_approval(call *c) {
    store *s = NULL;
    json_t *list = NULL;
    muga_error err = {0};
    if (!hosted_store(c, &s))
        return;
    muga_status st = list_own(c, s, c->arg[0], &list, &err);
    if (!st && json_array_size(list) == 0)
        (void)none_waits(c);
    else
        (void)call_answer(c, st, &err, NULL, json_incref(json_array_get(list, 0)));
    json_decref(list);
    store_close(s);
}

/* The approved call runs now; where another process drives its session, that one runs it. */
static muga_status run_approved(call *c, store *s, const manifest *m, const json_t *e, call_result *r,
                                muga_error *err) {
    agent_session *session = NULL;
    muga_status st = session_open(c->serve->options->agents->env, s, m, json_get_string(e, "session"), &session, err);
    if (st == MUGA_E_ENV)
        return MUGA_OK;
    if (!st)
        st = executor_resume(session, json_get_string(e, "call"), r, err);
    session_close(session);
    return st;
}

static json_t *decided_json(const json_t *e, bool yes, const call_result *r, bool ran) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?, s:O?}", "object", "approval", "approval",
                     json_get_string(e, "approval"), "decision", yes ? "yes" : "no", "call", json_get_string(e, "call"),
                     "session", json_get_string(e, "session"), "outcome", ran ? call_outcome_name(r->outcome) : NULL,
                     "result", ran ? r->result : NULL);
}

static void decide(call *c, store *s, const json_t *e, bool yes) {
    const agent_env *env = c->serve->options->agents->env;
    muga_error err = {0}, why;
    char who[80];
    manifest *m = NULL;
    json_t *may = NULL;
    call_result r = {0};
    record_outcome kept;
    hosted_who(c, who);
    muga_status st = load_manifest(c, e, &m, &err);
    if (!st)
        st = approval_who(env, s, m, json_get_string(e, "tool"), json_get_string(e, "session"), &may, &err);
    if (!st && !may_decide(c, may))
        st = error_set(&err, MUGA_E_POLICY, "this key may not decide this call; it takes the scope approve:ROLE");
    if (!st)
        st = approval_decide(env, s, m, json_get_string(e, "approval"), yes, who, &err);
    if (!st)
        metrics_add(c->serve->metrics, METRIC_APPROVALS_DECIDED, METRIC_LABELS(yes ? "approved" : "denied"), 1);
    if (!st && yes)
        st = run_approved(c, s, m, e, &r, &err);
    if (!st && interactions_record(env, s, NULL, json_get_string(e, "session"), &kept, &why))
        serve_note(c->serve, "not_kept", &why); /* the decision stands */
    if (st)
        (void)call_fail_with(c, st, &err, NULL);
    else
        (void)call_reply(c, 200, decided_json(e, yes, &r, r.call[0] != '\0'));
    call_result_release(&r);
    json_decref(may);
    manifest_free(m);
}

typedef struct decision {
    const char *decision;
} decision;
static const field decision_fields[] = {
    {"decision", FIELD_STRING, FIELD_AT(decision, decision), 0, 8, NULL, true},
};

static void decide_approval(call *c) {
    decision w = {0};
    store *s = NULL;
    json_t *list = NULL;
    muga_error err = {0};
    if (!call_read(c, c->body, "", decision_fields, ARRAY_LEN(decision_fields), &w))
        return;
    bool yes = !strcmp(w.decision, "yes");
    if (!yes && strcmp(w.decision, "no") != 0) {
        (void)call_fail(c, 400, "decision", "invalid_value", "decision must be yes or no");
        return;
    }
    if (!c->key || !key_id(c->key)[0]) {
        (void)call_fail(c, 403, NULL, "key_needed",
                        "nobody is known here without a key: make one with the scope approve:ROLE (muga key create), "
                        "or decide with muga approve");
        return;
    }
    if (!hosted_store(c, &s))
        return;
    muga_status st = approval_list(c->serve->options->agents->env, s, &list, &err);
    const json_t *e = st ? NULL : approval_find(list, c->arg[0]);
    bool is = false;
    if (!st && e)
        st = sessions_is_of(s, json_get_string(e, "session"), c->tenant, &is, &err);
    if (st)
        (void)call_fail_with(c, st, &err, NULL);
    else if (!is)
        (void)none_waits(c);
    else
        decide(c, s, e, yes);
    json_decref(list);
    store_close(s);
}

/* ---- audit ---- */

/* A whole number behind NAME= in the query. */
static int64_t query_int(const call *c, const char *name, int64_t otherwise) {
    size_t n = strlen(name);
    for (const char *p = c->q->query; *p; p += strcspn(p, "&"), p += *p == '&')
        if (!strncmp(p, name, n) && p[n] == '=') {
            char *end;
            long long v = strtoll(p + n + 1, &end, 10);
            return end != p + n + 1 && (!*end || *end == '&') && v >= 0 ? v : otherwise;
        }
    return otherwise;
}

static const char *query_word(call *c, const char *name) {
    size_t n = strlen(name);
    for (const char *p = c->q->query; *p; p += strcspn(p, "&"), p += *p == '&')
        if (!strncmp(p, name, n) && p[n] == '=')
            return arena_copy_bytes(&c->mem, p + n + 1, strcspn(p + n + 1, "&"));
    return NULL;
}

#define AUDIT_PAGE 1000

static void read_audit(call *c) {
    store *s = NULL;
    json_t *list = NULL;
    muga_error err = {0};
    if (!hosted_store(c, &s))
        return;
    int64_t most = query_int(c, "max", 100);
    const audit_filter f = {query_word(c, "session"), query_int(c, "from", 1), MIN(MAX(most, 1), AUDIT_PAGE)};
    muga_status st = audit_log(s, &f, &list, &err);
    (void)call_answer_list(c, st, &err, list);
    store_close(s);
}

static void verify_audit(call *c) {
    store *s = NULL;
    audit_report r = {0};
    muga_error err = {0};
    const char *head = query_word(c, "head");
    if (!hosted_store(c, &s))
        return;
    muga_status st = audit_verify(s, &r, &err);
    if (!st && head)
        st = audit_check_head(s, head, &err);
    if (st && st != MUGA_E_NEGATIVE)
        (void)call_fail_with(c, st, &err, head ? "head" : NULL);
    else
        (void)call_reply(c, 200,
                         json_pack("{s:s, s:b, s:I, s:I, s:s, s:s?}", "object", "audit.report", "whole", st == MUGA_OK,
                                   "records", (json_int_t)r.n_records, "erased", (json_int_t)r.n_erased, "head", r.head,
                                   "fault", st ? err.message : NULL));
    store_close(s);
}

static const call_route routes[] = {
    {.method = "GET", .path = "/v1/approvals", .family = CALL_MUGA, .right = CALL_ANY_KEY, .run = list_approvals},
    {.method = "GET", .path = "/v1/approvals/{id}", .family = CALL_MUGA, .right = CALL_ANY_KEY, .run = show_approval},
    {.method = "POST",
     .path = "/v1/approvals/{id}",
     .family = CALL_MUGA,
     .right = CALL_ANY_KEY,
     .run = decide_approval},
    {.method = "GET", .path = "/v1/audit", .family = CALL_MUGA, .right = CALL_AUDIT, .run = read_audit},
    {.method = "GET", .path = "/v1/audit/verify", .family = CALL_MUGA, .right = CALL_AUDIT, .run = verify_audit},
};

serve_routes approvals_routes(void) {
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
