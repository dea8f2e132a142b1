/* muga session: the conversations in the store. List them, read one, go on with one, hand one out, forget one. */
#include "agent/sessions.h"
#include "cmd/data.h"

#include <unistd.h>

/* ---- list ---- */

static void write_line(const json_t *v, str *out) {
    str text = STR_INIT;
    if (json_is_string(v))
        str_append(&text, json_string_value(v), json_string_length(v));
    else
        json_write(v, &text);
    cmd_write_visible(str_get(&text), text.len, out);
    str_release(&text);
}

static void print_entry(const json_t *e) {
    char when[24];
    str values = STR_INIT;
    const char *outcome = json_get_string(e, "outcome"), *state = json_get_string(e, "state");
    data_format_time(json_get_int(e, "changed_ms", 0), when);
    write_line(json_object_get(e, "values"), &values);
    bool escalated = !strcmp(state, "ended") && outcome && !strcmp(outcome, "escalate");
    printf("%s  %s  %-11s  %2lld messages, %2lld calls  %s  %s%s\n", json_get_string(e, "session"), when, state,
           (long long)json_get_int(e, "messages", 0), (long long)json_get_int(e, "calls", 0),
           json_get_string(e, "agent"), str_get(&values),
           json_get_bool(e, "dry", false) ? "  dry run"
           : escalated                    ? "  escalated"
                                          : "");
    str_release(&values);
}

static bool is_state(const char *word) {
    static const char *const states[] = {"erased", "ended",    "running",    "interrupted", "in_doubt",
                                         "held",   "approved", "broken_off", "open"};
    bool is = !word;
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        is = is || !strcmp(word, states[i]);
    return is;
}

#define SUBJECT_OPTION(values)                                                                                         \
    { "--subject", 0, CMD_REPEAT, values, "NAME=VALUE", "a person's sessions, by a session value: customer=7" }

int cmd_session_list(int argc, char **argv) {
    sessions_filter f = {NULL};
    cmd_values subject = {.n = 0};
    uint32_t max = 0;
    bool as_json = false;
    const cmd_option options[] = {SUBJECT_OPTION(&subject),
                                  {"--state", 0, CMD_STRING, &f.state, "STATE",
                                   "open, broken_off, held, approved, in_doubt, interrupted, running, ended, erased"},
                                  {"--max", 'n', CMD_U32, &max, "COUNT", "the newest COUNT sessions"},
                                  {"--json", 0, CMD_FLAG, &as_json, NULL, "an array"}};
    cmd_positional p = {.max = 1};
    muga_error err = {0};
    store *s = NULL;
    json_t *list = NULL, *who = NULL, *e;
    size_t i;
    int code = cmd_parse("session list", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if (!is_state(f.state))
        return cmd_error(MUGA_E_USAGE, "--state '%.40s' is none of those in `muga help session list`", f.state);
    muga_status st = subject.n ? cmd_read_values(&subject, "--subject", &who, &err) : MUGA_OK;
    if (!st)
        st = cmd_open_store(true, &s, &err);
    f.agent = p.n ? p.v[0] : NULL;
    f.subject = who;
    f.max = max;
    if (!st)
        st = sessions_list(s, &f, &list, &err);
    if (st == MUGA_E_NOT_FOUND && !s) { /* no store yet, so no session */
        list = json_array();
        st = MUGA_OK;
    }
    if (!st && as_json) {
        cmd_print_json(list);
    } else if (!st) {
        json_array_foreach(list, i, e) print_entry(e);
        if (json_array_size(list) == 0)
            printf("no such session\n");
    }
    json_decref(list);
    json_decref(who);
    store_close(s);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}

/* ---- show ---- */

static const json_t *find_call(const json_t *whole, const char *id) {
    size_t i;
    const json_t *c;
    json_array_foreach(json_object_get(whole, "calls"), i, c) {
        if (id && !strcmp(json_get_string(c, "call"), id))
            return c;
    }
    return NULL;
}

/* A call in one or two lines: what was asked, and what became of it. */
static void print_call(const json_t *c) {
    str arguments = STR_INIT, result = STR_INIT;
    const char *reason = json_get_string(c, "reason");
    write_line(json_object_get(c, "arguments"), &arguments);
    write_line(reason ? json_object_get(c, "reason") : json_object_get(c, "result"), &result);
    printf("%-9s %s %s  (%s)\n", "call", json_get_string(c, "tool"), str_get(&arguments), json_get_string(c, "call"));
    printf("%-9s %s%s%.2000s%s\n", "", json_get_string(c, "state"), result.len ? ": " : "", str_get(&result),
           result.len > 2000 ? " ..." : "");
    str_release(&arguments);
    str_release(&result);
}

static void print_session(const json_t *whole) {
    size_t i;
    const json_t *h, *c;
    str current = STR_INIT;
    const json_t *head = json_object_get(whole, "session");
    print_entry(head);
    write_line(json_object_get(head, "current"), &current);
    printf("%-9s %s\n", "state", str_get(&current));
    str_release(&current);
    if (json_get_string(head, "within"))
        printf("%-9s %s\n", "within", json_get_string(head, "within"));
    json_array_foreach(json_object_get(head, "nested"), i, h)
        printf("%-9s %s (%s)\n", "nested", json_get_string(h, "session"), json_get_string(h, "agent"));
    printf("\n");
    json_array_foreach(json_object_get(whole, "history"), i, h) {
        str text = STR_INIT, shown = STR_INIT;
        const char *role = json_get_string(h, "role");
        const json_t *content = json_object_get(h, "content");
        c = find_call(whole, json_get_string(h, "call"));
        if (c) {
            print_call(c);
        } else {
            cmd_write_text(json_string_value(content), json_string_length(content), &shown);
            printf("%-9s %s\n", !strcmp(role, "user") ? "person" : "agent", str_get(&shown));
        }
        str_release(&text);
        str_release(&shown);
    }
    json_array_foreach(json_object_get(whole, "calls"), i, c) { /* those that never came to an end */
        const char *state = json_get_string(c, "state");
        if (strcmp(state, "finished") != 0 && strcmp(state, "failed") != 0)
            print_call(c);
    }
}

int cmd_session_show(int argc, char **argv) {
    bool as_json = false;
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &as_json, NULL, "an object: session, history, calls"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    store *s = NULL;
    json_t *whole = NULL;
    int code = cmd_parse("session show", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_open_store(true, &s, &err);
    if (!st)
        st = sessions_read(s, p.v[0], &whole, &err);
    if (!st && as_json)
        cmd_print_json(whole);
    else if (!st)
        print_session(whole);
    json_decref(whole);
    store_close(s);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}

/* ---- resume ---- */

/* `muga agent run` with the folder that the session was begun with; where that is gone, the agent of the same name. */
int cmd_session_resume(int argc, char **argv) {
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    session_place place = {NULL};
    store *s = NULL;
    os_stat info = {.type = OS_TYPE_NONE};
    const os_files *files = &os_system()->files;
    if (argc < 2 || argv[1][0] == '-') {
        int code = cmd_parse("session resume", NULL, 0, argc, argv, &p);
        return code < 0 ? 0 : code;
    }
    muga_status st = cmd_open_store(true, &s, &err);
    if (!st)
        st = session_place_get(s, argv[1], &place, &err);
    store_close(s);
    char **with = st ? NULL : mem_alloc_array((size_t)argc + 3, sizeof *with);
    if (!st && !with)
        st = error_nomem(&err, "arguments");
    if (st)
        return cmd_fail(&err);
    char run[] = "run", option[] = "--resume";
    bool there = files->stat(files->self, place.dir, &info, NULL) == MUGA_OK && info.type == OS_TYPE_DIR;
    with[0] = run;
    with[1] = there ? place.dir : place.agent;
    with[2] = option;
    for (int i = 1; i <= argc; i++) /* the session, the options, the NULL */
        with[i + 2] = argv[i];
    int code = cmd_agent_run(argc + 2, with);
    free(with);
    session_place_release(&place);
    return code;
}

/* ---- export ---- */

static muga_status write_out(const char *path, const json_t *whole, muga_error *err) {
    str text = STR_INIT;
    json_write(whole, &text);
    str_append_c(&text, '\n');
    muga_status st = str_status(&text, err, "an export");
    if (!st && path && strcmp(path, "-"))
        st = os_write_file_atomic(&os_system()->files, path, str_get(&text), text.len, err);
    else if (!st && fwrite(str_get(&text), 1, text.len, stdout) != text.len)
        st = error_set(err, MUGA_E_ENV, "standard output could not be written");
    str_release(&text);
    return st;
}

int cmd_session_export(int argc, char **argv) {
    const char *path = NULL;
    const cmd_option options[] = {
        {"--out", 'o', CMD_STRING, &path, "FILE", "where it goes; whole or not there (default: standard output)"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    const agent_env env = cmd_agent_env();
    store *s = NULL;
    json_t *whole = NULL;
    char who[64];
    int code = cmd_parse("session export", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    cmd_user_name(who);
    muga_status st = path && strcmp(path, "-") ? cmd_check_out(path, NULL, &err) : MUGA_OK;
    if (!st)
        st = cmd_open_store(true, &s, &err);
    if (!st)
        st = sessions_export(&env, s, p.v[0], who, &whole, &err);
    if (!st)
        st = write_out(path, whole, &err);
    json_decref(whole);
    store_close(s);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}

/* ---- delete ---- */

int cmd_session_delete(int argc, char **argv) {
    sessions_filter f = {NULL};
    cmd_values subject = {.n = 0};
    bool as_json = false;
    const cmd_option options[] = {SUBJECT_OPTION(&subject),
                                  {"--agent", 0, CMD_STRING, &f.agent, "NAME", "of them, those with this agent"},
                                  {"--json", 0, CMD_FLAG, &as_json, NULL, "{\"deleted\": sessions}"}};
    cmd_positional p = {.max = 1};
    muga_error err = {0};
    const agent_env env = cmd_agent_env();
    store *s = NULL;
    json_t *who = NULL;
    int64_t n = 0;
    int code = cmd_parse("session delete", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if ((p.n > 0) == (subject.n > 0) || (f.agent && p.n > 0))
        return cmd_error(MUGA_E_USAGE, "session delete: give a session, or --subject NAME=VALUE (and --agent NAME)");
    muga_status st = subject.n ? cmd_read_values(&subject, "--subject", &who, &err) : MUGA_OK;
    if (!st)
        st = cmd_open_store(true, &s, &err);
    f.subject = who;
    if (!st && p.n) {
        st = audit_erase(&env, s, p.v[0], &n, &err);
    } else if (!st) {
        st = sessions_delete_subject(&env, s, &f, &n, &err);
        if (!st && n == 0)
            st = error_set(&err, MUGA_E_NOT_FOUND, "no session has these values; `muga session list` shows them");
    }
    json_decref(who);
    store_close(s);
    if (!st || n > 0)
        printf(as_json ? "{\"deleted\":%lld}\n" : "deleted: %lld\n", (long long)n);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}
