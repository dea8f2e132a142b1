/* muga data consent, muga data export. */
#include "agent/interactions_export.h"
#include "cmd/agent.h"
#include "cmd/data.h"

/* ---- consent ---- */

static muga_status print_consents(store *s, bool as_json, muga_error *err) {
    json_t *list = NULL;
    muga_status st = s ? consent_list(s, &list, err) : MUGA_OK;
    if (!st && !list)
        list = json_array();
    if (!st && as_json) {
        cmd_print_json(list);
    } else if (!st && json_array_size(list) == 0) {
        printf("no consent was ever given; nothing is kept\n");
    }
    for (size_t i = 0; !st && !as_json && i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i), *policy = json_object_get(e, "policy");
        char since[24];
        str text = STR_INIT;
        json_write(policy, &text);
        data_format_time(json_get_int(e, "since_ms", 0), since);
        printf("%-24s %-3s since %s  %lld row%s  %s\n", json_get_string(e, "agent"), json_get_string(e, "consent"),
               since, (long long)json_get_int(e, "rows", 0), json_get_int(e, "rows", 0) == 1 ? "" : "s",
               str_get(&text));
        str_release(&text);
    }
    json_decref(list);
    return st;
}

static muga_status give(const char *name, bool raw, const char *who, bool as_json, muga_error *err) {
    agent_opened o;
    store *s = NULL;
    muga_status st = agent_open(&o, name, err);
    if (!st)
        st = cmd_open_store(false, &s, err);
    if (!st)
        st = consent_give(&o.env, s, o.m, raw, who, err);
    if (!st && as_json) {
        st = print_consents(s, true, err);
    } else if (!st) {
        str terms = STR_INIT;
        json_write(o.m->data_policy, &terms);
        printf("consent on: from now on the turns of %s are kept, on these terms:\n%s\n"
               "`muga data consent off %s` ends it\n",
               o.m->name, str_get(&terms), o.m->name);
        str_release(&terms);
    }
    store_close(s);
    agent_close(&o);
    return st;
}

/* By the agent's own name; where that is none, by the manifest of what was named. Taking back must work without one. */
static muga_status withdraw(const char *name, const char *who, bool as_json, muga_error *err) {
    const agent_env env = cmd_agent_env();
    store *s = NULL;
    int64_t n = 0;
    muga_status st = cmd_open_store(true, &s, err);
    if (!st)
        st = consent_withdraw(&env, s, name, who, &n, err);
    if (st == MUGA_E_NOT_FOUND && s) {
        agent_opened o;
        muga_error why;
        if (!agent_open(&o, name, &why))
            st = consent_withdraw(&env, s, o.m->name, who, &n, err);
        agent_close(&o);
    }
    if (!st && as_json)
        st = print_consents(s, true, err);
    else if (!st)
        printf("consent off: nothing more is kept; %lld row%s of before stay until dropped or too old\n", (long long)n,
               n == 1 ? "" : "s");
    store_close(s);
    return st;
}

int cmd_data_consent(int argc, char **argv) {
    bool raw = false, as_json = false;
    const cmd_option options[] = {
        {"--raw", 0, CMD_FLAG, &raw, NULL, "also to exports that mask nothing (learning.store: plain)"},
        {"--json", 0, CMD_FLAG, &as_json, NULL, "an array of consents"}};
    cmd_positional p = {.max = 2};
    muga_error err = {0};
    char who[64];
    store *s = NULL;
    int code = cmd_parse("data consent", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    bool on = p.n == 2 && !strcmp(p.v[0], "on"), off = p.n == 2 && !strcmp(p.v[0], "off");
    if ((p.n > 0 && !on && !off) || (raw && !on))
        return cmd_error(MUGA_E_USAGE, "data consent: give `on AGENT`, `off AGENT` or nothing; --raw goes with on");
    cmd_user_name(who);
    muga_status st;
    if (on) {
        st = give(p.v[1], raw, who, as_json, &err);
    } else if (off) {
        st = withdraw(p.v[1], who, as_json, &err);
    } else {
        st = cmd_open_store(true, &s, &err);
        st = !st || st == MUGA_E_NOT_FOUND ? print_consents(s, as_json, &err) : st;
        store_close(s);
    }
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}

/* ---- export ---- */

static muga_status write_out(const char *path, const str *text, muga_error *err) {
    if (path && strcmp(path, "-"))
        return os_write_file_atomic(&os_system()->files, path, str_get(text), text->len, err);
    if (fwrite(str_get(text), 1, text->len, stdout) != text->len)
        return error_set(err, MUGA_E_ENV, "standard output could not be written");
    return MUGA_OK;
}

static void say_report(const export_report *r, const char *path, bool as_json) {
    bool to_file = path && strcmp(path, "-");
    FILE *out = to_file ? stdout : stderr;
    if (as_json)
        fprintf(out, "{\"rows\":%lld,\"lines\":%lld,\"left_out\":%lld,\"sha256\":\"%s\"}\n", (long long)r->n_rows,
                (long long)r->n_lines, (long long)r->n_left_out, r->sha256);
    else
        fprintf(out, "exported: %lld row%s as %lld line%s, sha256 %s\n", (long long)r->n_rows,
                r->n_rows == 1 ? "" : "s", (long long)r->n_lines, r->n_lines == 1 ? "" : "s", r->sha256);
    if (!as_json && r->n_left_out)
        fprintf(out, "left out: %lld rows that say nothing in this form\n", (long long)r->n_left_out);
}

int cmd_data_export(int argc, char **argv) {
    data_choice c = {.outcomes = "completed,corrected"};
    const char *path = NULL, *form = "chat", *system = NULL;
    bool raw = false, rated_down = false, as_json = false;
    const cmd_option options[] = {
        DATA_ROW_OPTIONS(&c),
        {"--out", 'o', CMD_STRING, &path, "FILE", "where the lines go; whole or not there (default: standard output)"},
        {"--form", 0, CMD_STRING, &form, "FORM", "chat (default) or labels"},
        {"--system", 0, CMD_STRING, &system, "TEXT", "chat: what each begins with"},
        {"--rated-down", 0, CMD_FLAG, &rated_down, NULL, "also turns that were rated down and not corrected"},
        {"--raw", 0, CMD_FLAG, &raw, NULL, "as they lie, not masked; the operator's consent must say so"},
        {"--json", 0, CMD_FLAG, &as_json, NULL, "an object: rows, lines, left_out, sha256"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    interaction_filter f;
    agent_opened o = {.dir = NULL};
    store *s = NULL;
    str text = STR_INIT;
    export_report report = {.n_rows = 0};
    int code = cmd_parse("data export", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    bool labels = !strcmp(form, "labels");
    if (!labels && strcmp(form, "chat"))
        return cmd_error(MUGA_E_USAGE, "--form is chat or labels, not '%.40s'", form);
    muga_status st = data_read_choice(&c, NULL, &f, &err);
    if (!st && path && strcmp(path, "-"))
        st = cmd_check_out(path, NULL, &err);
    if (!st)
        st = agent_open(&o, p.v[0], &err);
    if (!st)
        st = cmd_open_store(true, &s, &err);
    if (!st) {
        f.raw = raw;
        f.not_rated_down = !rated_down;
        st =
            interactions_export(&o.env, s, o.m, &f, labels ? EXPORT_LABELS : EXPORT_CHAT, system, &text, &report, &err);
    }
    if (!st)
        st = write_out(path, &text, &err);
    if (!st)
        say_report(&report, path, as_json);
    str_release(&text);
    store_close(s);
    agent_close(&o);
    data_choice_release(&c);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}
