/* muga agent lint: what is wrong with an agent, or likely to be. */
#include "agent/lint.h"
#include "cmd/cmd.h"

static void print_finding(const char *dir, const json_t *f) {
    str line = STR_INIT, shown = STR_INIT;
    const char *key = json_get_string(f, "key"), *suggestion = json_get_string(f, "suggestion");
    str_printf(&line, "%s/%s:%lld:%lld: %s: %s%s%s [%s]", dir, json_get_string(f, "file"),
               (long long)json_get_int(f, "line", 1), (long long)json_get_int(f, "column", 1),
               json_get_string(f, "level"), key, *key ? ": " : "", json_get_string(f, "message"),
               json_get_string(f, "rule"));
    cmd_write_visible(str_get(&line), line.len, &shown);
    printf("%s\n", str_get(&shown));
    if (suggestion)
        printf("    %s\n", suggestion);
    str_release(&line);
    str_release(&shown);
}

static muga_status lint_one(const char *name, bool as_json, json_t *all, size_t *n_errors, muga_error *err) {
    const agent_env env = cmd_agent_env();
    cmd_scratch scratch;
    lint_report r = {.findings = NULL};
    char *dir = NULL;
    muga_status st = cmd_agent_dir(name, &dir, err);
    if (!st)
        st = cmd_scratch_open(&scratch, "lint", err);
    if (st) {
        free(dir);
        return st;
    }
    st = lint_run(&env, dir, scratch.path, &r, err);
    cmd_scratch_close(&scratch);
    for (size_t i = 0; !st && !as_json && i < json_array_size(r.findings); i++)
        if (!json_get_string(json_array_get(r.findings, i), "allowed"))
            print_finding(dir, json_array_get(r.findings, i));
    if (!st && !as_json)
        printf("%s: %zu errors, %zu warnings, %zu notes, %zu allowed\n", name, r.n_errors, r.n_warnings, r.n_notes,
               r.n_allowed);
    if (!st && as_json &&
        json_array_append_new(all, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:O}", "agent", name, "dir", dir, "errors",
                                             (json_int_t)r.n_errors, "warnings", (json_int_t)r.n_warnings, "notes",
                                             (json_int_t)r.n_notes, "allowed", (json_int_t)r.n_allowed, "findings",
                                             r.findings)))
        st = error_nomem(err, "findings");
    *n_errors += r.n_errors;
    lint_report_release(&r);
    free(dir);
    return st;
}

int cmd_agent_lint(int argc, char **argv) {
    bool as_json = false;
    const cmd_option options[] = {
        {"--json", 0, CMD_FLAG, &as_json, NULL, "an array of agents: errors, warnings, notes, allowed, findings"}};
    cmd_positional p = {.min = 1, .max = 64};
    muga_error err = {0};
    size_t n_errors = 0;
    int code = cmd_parse("agent lint", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    json_t *all = json_array();
    muga_status st = all ? MUGA_OK : error_nomem(&err, "findings");
    for (size_t i = 0; !st && i < p.n; i++)
        st = lint_one(p.v[i], as_json, all, &n_errors, &err);
    if (!st && as_json)
        cmd_print_json(all);
    json_decref(all);
    return cmd_finish_output(st ? cmd_fail(&err) : n_errors > 0 ? 1 : 0);
}
