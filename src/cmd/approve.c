/* muga approve: calls that wait for a person. A yes runs the call, unless the session that asked is still there to. */
#include "agent/interactions.h"
#include "cmd/cmd.h"

static void format_left(int64_t ms, char out[24]) {
    int64_t s = MAX(ms / 1000, 0);
    if (s >= 7200)
        snprintf(out, 24, "%lld h", (long long)(s / 3600));
    else if (s >= 120)
        snprintf(out, 24, "%lld min", (long long)(s / 60));
    else
        snprintf(out, 24, "%lld s", (long long)s);
}

static void write_json(const json_t *v, str *out) {
    str text = STR_INIT;
    json_write(v, &text);
    cmd_write_visible(str_get(&text), text.len, out);
    str_release(&text);
}

static void print_names(const char *before, const json_t *names, const char *after) {
    size_t i;
    json_t *name;
    printf("%s", before);
    json_array_foreach(names, i, name) {
        str text = STR_INIT;
        cmd_write_visible(json_string_value(name), json_string_length(name), &text);
        printf("%s%s", i ? ", " : "", str_get(&text));
        str_release(&text);
    }
    printf("%s", after);
}

/* Who may say yes, where the agent's manifest says so (approval_who). */
static void print_who(const json_t *who) {
    const json_t *users = json_object_get(who, "users"), *barred = json_object_get(who, "not");
    const char *problem = json_get_string(who, "problem");
    if (!who)
        return;
    printf("           yes by");
    if (json_object_get(who, "roles"))
        print_names(" ", json_object_get(who, "roles"), "");
    else
        printf(" anyone");
    if (json_array_size(users))
        print_names(": ", users, "");
    else if (json_object_get(who, "roles"))
        printf(": nobody%s%s", problem ? "; " : "", problem ? problem : "");
    if (json_array_size(barred))
        print_names("; not by ", barred, ", who began the session");
    else if (barred)
        printf("; not by who began the session, and that is not known");
    printf("\n");
}

/* One waiting call in two lines, or three: a person must see every argument whole, so there is no table to cut it. */
static void print_waiting(const json_t *e, int64_t now_ms) {
    char left[24];
    str arguments = STR_INIT, values = STR_INIT;
    format_left(json_get_int(e, "expires_ms", 0) - now_ms, left);
    write_json(json_object_get(e, "arguments"), &arguments);
    write_json(json_object_get(e, "values"), &values);
    printf("%s  %s %s  for %s\n", json_get_string(e, "approval"), json_get_string(e, "tool"), str_get(&arguments),
           str_get(&values));
    printf("           %s, session %s, %sexpires in %s\n", json_get_string(e, "agent"), json_get_string(e, "session"),
           !strcmp(json_get_string(e, "state"), "in_doubt") ? "IN DOUBT: it may already have run; yes runs it again; "
                                                            : "",
           left);
    print_who(json_object_get(e, "approvers"));
    str_release(&arguments);
    str_release(&values);
}

/* The folder the session was begun with; where that is gone, the agent of the same name. */
static muga_status load_manifest(const agent_env *env, const json_t *e, manifest **out, muga_error *err) {
    const char *dir = json_get_string(e, "dir"), *data_dir = json_get_string(e, "data_dir");
    muga_status st = manifest_load(env, dir, data_dir, out, err);
    if (st != MUGA_E_NOT_FOUND && st != MUGA_E_ENV)
        return st;
    char *found = NULL;
    if (cmd_agent_dir(json_get_string(e, "agent"), &found, NULL))
        return st;
    st = manifest_load(env, found, strcmp(dir, data_dir) ? data_dir : NULL, out, err);
    free(found);
    return st;
}

/* "approvers" in each entry whose manifest says who may approve it. One that can't be loaded now says nothing: nor
 * could its calls be approved. */
static muga_status add_approvers(const agent_env *env, store *s, json_t *list, muga_error *err) {
    manifest *m = NULL;
    const json_t *of = NULL; /* the entry that m was loaded for */
    muga_status st = MUGA_OK;
    size_t i;
    json_t *e;
    json_array_foreach(list, i, e) {
        json_t *who = NULL;
        if (!of || strcmp(json_get_string(of, "dir"), json_get_string(e, "dir")) ||
            strcmp(json_get_string(of, "data_dir"), json_get_string(e, "data_dir"))) {
            manifest_free(m);
            m = NULL;
            of = load_manifest(env, e, &m, NULL) ? NULL : e;
        }
        if (of)
            st = approval_who(env, s, m, json_get_string(e, "tool"), json_get_string(e, "session"), &who, err);
        if (!st && who && json_object_set(e, "approvers", who))
            st = error_nomem(err, "approvers");
        json_decref(who);
        if (st)
            break;
    }
    manifest_free(m);
    return st;
}

int cmd_approve_list(int argc, char **argv) {
    bool as_json = false;
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &as_json, NULL, "an array of waiting calls"}};
    cmd_positional p = {.max = 0};
    muga_error err = {0};
    agent_env env = cmd_agent_env();
    store *s = NULL;
    json_t *list = NULL, *e;
    size_t i;
    int code = cmd_parse("approve list", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_open_store(true, &s, &err);
    if (st == MUGA_E_NOT_FOUND) { /* no record yet, so nothing waits */
        list = json_array();
        st = MUGA_OK;
    } else if (!st) {
        st = approval_list(&env, s, &list, &err);
        if (!st)
            st = add_approvers(&env, s, list, &err);
    }
    if (!st && as_json) {
        cmd_print_json(list);
    } else if (!st) {
        json_array_foreach(list, i, e) print_waiting(e, env.clock->now_ms(env.clock->self));
        if (json_array_size(list) == 0)
            printf("nothing waits for approval\n");
    }
    json_decref(list);
    store_close(s);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}

/* ---- yes, no ---- */

static void print_outcome(const json_t *e, const call_result *r, bool as_json) {
    str result = STR_INIT;
    write_json(r->result, &result);
    if (as_json) {
        json_t *v = json_pack("{s:s, s:s, s:s, s:s, s:s, s:O}", "approval", json_get_string(e, "approval"), "decision",
                              "yes", "call", r->call, "session", json_get_string(e, "session"), "outcome",
                              call_outcome_name(r->outcome), "result", r->result);
        cmd_print_json(v);
        json_decref(v);
    } else {
        printf("approved; %s %s: %s\ngo on with `muga agent run %s --resume %s`\n", json_get_string(e, "tool"),
               call_outcome_name(r->outcome), str_get(&result), json_get_string(e, "agent"),
               json_get_string(e, "session"));
    }
    str_release(&result);
}

static void print_decided(const json_t *e, bool yes, bool as_json) {
    if (as_json) {
        json_t *v = json_pack("{s:s, s:s, s:s, s:s}", "approval", json_get_string(e, "approval"), "decision",
                              yes ? "yes" : "no", "call", json_get_string(e, "call"), "session",
                              json_get_string(e, "session"));
        cmd_print_json(v);
        json_decref(v);
    } else {
        printf("%s\n",
               yes ? "approved; the session that asked is running and goes on" : "denied; the call will not run");
    }
}

/* Does another process drive the session? Then it will find the yes by itself. */
static bool in_other_hands(store *s, const char *session) {
    store_claim *claim = NULL;
    bool taken = store_claim_take(s, session, &claim, NULL) == MUGA_E_ENV;
    store_claim_release(claim);
    return taken;
}

/* Run the approved call. *ran false: its session is in other hands. */
static muga_status run_approved(const agent_env *env, store *s, const manifest *m, const json_t *e, call_result *r,
                                bool *ran, muga_error *err) {
    agent_session *session = NULL;
    const char *id = json_get_string(e, "session");
    *ran = false;
    if (in_other_hands(s, id))
        return MUGA_OK;
    muga_status st = session_open(env, s, m, id, &session, err);
    if (!st)
        st = executor_resume(session, json_get_string(e, "call"), r, err);
    *ran = !st;
    session_close(session);
    return st;
}

/* What the decision makes of a turn that was kept. It stands, whatever becomes of that. */
static void update_kept(const agent_env *env, store *s, const json_t *e) {
    record_outcome kept;
    muga_error why;
    if (interactions_record(env, s, NULL, json_get_string(e, "session"), &kept, &why))
        cmd_say(why.message);
}

static int decide(const agent_env *env, store *s, const json_t *e, const char *typed, bool yes, bool as_json,
                  const char *approver) {
    muga_error err = {0};
    manifest *m = NULL;
    call_result r = {0};
    bool ran = false;
    int code = 0;
    muga_status st = yes && e ? load_manifest(env, e, &m, &err) : MUGA_OK;
    if (!st)
        st = approval_decide(env, s, m, typed, yes, approver, &err);
    if (!st && yes)
        st = run_approved(env, s, m, e, &r, &ran, &err);
    if (!st && ran) {
        print_outcome(e, &r, as_json);
        code = r.outcome == CALL_FINISHED ? 0 : r.outcome == CALL_FAILED ? 1 : 5;
    } else if (!st) {
        print_decided(e, yes, as_json);
    }
    if (!st && e)
        update_kept(env, s, e);
    call_result_release(&r);
    manifest_free(m);
    return st ? cmd_fail(&err) : cmd_finish_output(code);
}

static int approve_decide(int argc, char **argv, bool yes) {
    bool as_json = false;
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &as_json, NULL, "an object"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    agent_env env = cmd_agent_env();
    store *s = NULL;
    json_t *list = NULL;
    char approver[64];
    int code = cmd_parse(yes ? "approve yes" : "approve no", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    cmd_user_name(approver);
    muga_status st = cmd_open_store(true, &s, &err);
    if (!st)
        st = approval_list(&env, s, &list, &err);
    code = st ? cmd_fail(&err) : decide(&env, s, approval_find(list, p.v[0]), p.v[0], yes, as_json, approver);
    json_decref(list);
    store_close(s);
    return code;
}

int cmd_approve_yes(int argc, char **argv) {
    return approve_decide(argc, argv, true);
}

int cmd_approve_no(int argc, char **argv) {
    return approve_decide(argc, argv, false);
}
