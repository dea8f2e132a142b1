/* muga config: what the server is told, and by whom. */
#include "cmd/config.h"

/* ---- gathering ---- */

size_t cmd_config_options(cmd_config *c, cmd_option out[CONFIG_MAX_OPTIONS]) {
    size_t n_rows, n = 0;
    const config_setting *rows = config_settings(&n_rows);
    out[n++] = (cmd_option){"--config", 0,      CMD_STRING,
                            &c->file,   "FILE", "settings (default: $MUGA_HOME/muga.yaml, if it is there)"};
    for (size_t i = 0; i < n_rows && i < CONFIG_MAX_SETTINGS; i++) {
        bool many = rows[i].kind == CONFIG_TEXTS || rows[i].kind == CONFIG_ALIASES;
        if (!rows[i].flag)
            continue;
        void *target = many ? (void *)&c->many[i] : (void *)&c->one[i];
        out[n++] = (cmd_option){rows[i].flag, 0, many ? CMD_REPEAT : CMD_STRING, target, "VALUE", rows[i].help};
    }
    out[n++] = (cmd_option){"--set", 0, CMD_REPEAT, &c->set, "KEY=VALUE", "any other setting of `muga config`"};
    out[n++] = (cmd_option)NO_CACHE_OPTION(&c->no_cache);
    return n;
}

static muga_status gather_flags(cmd_config *c, muga_error *err) {
    size_t n_rows, n = 0;
    const config_setting *rows = config_settings(&n_rows);
    size_t most = c->set.n + 1;
    for (size_t i = 0; i < n_rows; i++)
        most += c->many[i].n + 1;
    c->flags = mem_alloc_array(most, sizeof *c->flags);
    if (!c->flags)
        return error_nomem(err, "configuration");
    for (size_t i = 0; i < n_rows; i++) {
        for (size_t k = 0; k < c->many[i].n; k++)
            c->flags[n++] = (config_given){rows[i].key, c->many[i].v[k], rows[i].flag};
        if (c->one[i])
            c->flags[n++] = (config_given){rows[i].key, c->one[i], rows[i].flag};
    }
    if (c->no_cache)
        c->flags[n++] = (config_given){"models.packed", "false", "--no-cache"};
    for (size_t k = 0; k < c->set.n; k++) {
        const char *equals = strchr(c->set.v[k], '=');
        char *key = equals ? mem_copy_bytes(c->set.v[k], (size_t)(equals - c->set.v[k])) : NULL;
        if (!key)
            return equals ? error_nomem(err, "configuration")
                          : error_set(err, MUGA_E_USAGE, "--set takes KEY=VALUE, not '%.80s'", c->set.v[k]);
        c->sources.n_flags = n + 1;
        c->flags[n++] = (config_given){key, equals + 1, "--set"};
        c->n_keys++;
    }
    c->sources.flags = c->flags;
    c->sources.n_flags = n;
    return MUGA_OK;
}

muga_status cmd_config_gather(cmd_config *c, muga_error *err) {
    size_t n_rows, n = 0;
    const config_setting *rows = config_settings(&n_rows);
    char *home = NULL;
    muga_status st = c->file ? MUGA_OK : cmd_home(&home, err);
    str path = STR_INIT;
    if (home)
        str_printf(&path, "%s/muga.yaml", home);
    free(home);
    if (!st && !c->file && !(c->path = str_take(&path)))
        st = error_nomem(err, "configuration");
    if (st)
        return st;
    c->sources = (config_sources){
        .files = &os_system()->files, .file = c->file ? c->file : c->path, .must_exist = c->file != NULL};
    for (size_t i = 0; i < n_rows && i < CONFIG_MAX_SETTINGS; i++) {
        const char *value = rows[i].variable ? getenv(rows[i].variable) : NULL;
        if (value && *value)
            c->environment[n++] = (config_given){rows[i].key, value, rows[i].variable};
    }
    c->sources.environment = c->environment;
    c->sources.n_environment = n;
    return gather_flags(c, err);
}

void cmd_config_release(cmd_config *c) {
    size_t n = c->sources.n_flags; /* the keys of --set are ours, and the last */
    union {
        const char *in;
        char *out;
    } u;
    for (size_t i = 0; i < c->n_keys; i++) {
        u.in = c->flags[n - 1 - i].key;
        free(u.out);
    }
    free(c->flags);
    free(c->path);
    *c = (cmd_config){0};
}

/* ---- the verb ---- */

static muga_status add_cell(json_t *texts, str *text, const json_t *value) {
    str_clear(text);
    if (json_is_string(value))
        str_append_s(text, json_string_value(value));
    else if (value && !json_is_null(value))
        json_write(value, text);
    return text->failed || json_array_append_new(texts, json_stringn(str_get(text), text->len)) ? MUGA_E_NOMEM
                                                                                                : MUGA_OK;
}

static int print_table(const json_t *list) {
    size_t n = json_array_size(list);
    const char **cells = mem_alloc_array((n + 1) * 4, sizeof *cells);
    json_t *texts = json_array();
    str text = STR_INIT;
    bool ok = cells && texts;
    static const char *const head[] = {"SETTING", "VALUE", "FROM", "HELP"};
    size_t n_rows;
    const config_setting *rows = config_settings(&n_rows);
    for (size_t k = 0; ok && k < 4; k++)
        cells[k] = head[k];
    for (size_t i = 0; ok && i < n; i++)
        ok = !add_cell(texts, &text, json_object_get(json_array_get(list, i), "value"));
    for (size_t i = 0; ok && i < n; i++) {
        const json_t *one = json_array_get(list, i);
        const char *origin = json_get_string(one, "origin"), *value = json_string_value(json_array_get(texts, i));
        cells[4 * i + 4] = json_get_string(one, "key");
        cells[4 * i + 5] = *value ? value : "-";
        cells[4 * i + 6] = *origin ? origin : "default";
        cells[4 * i + 7] = rows[i].help;
    }
    if (ok)
        cmd_print_table(cells, n + 1, 4);
    str_release(&text);
    json_decref(texts);
    free(cells);
    return ok ? 0 : cmd_error(MUGA_E_NOMEM, "out of memory for the table");
}

static int print_schema(void) {
    str text = STR_INIT;
    muga_error err;
    muga_status st = config_schema_write(&text, &err);
    if (!st)
        fwrite(text.data, 1, text.len, stdout);
    str_release(&text);
    return st ? cmd_fail(&err) : 0;
}

static int print_config(cmd_config *c, bool check, bool as_json) {
    muga_error err;
    serve_config *conf = NULL;
    json_t *list = NULL;
    muga_status st = cmd_config_gather(c, &err);
    if (!st && check) /* the file alone */
        c->sources.n_environment = 0;
    if (!st)
        st = config_load(&c->sources, &conf, &err);
    if (!st)
        st = config_list(conf, &list, &err);
    int code = st ? cmd_fail(&err) : 0;
    if (!st && as_json)
        cmd_print_json(list);
    else if (!st && check)
        printf("%s: no fault found\n", c->sources.file);
    else if (!st)
        code = print_table(list);
    json_decref(list);
    config_free(conf);
    return code;
}

int cmd_config_show(int argc, char **argv) {
    cmd_config c = {0};
    bool as_json = false;
    cmd_option options[CONFIG_MAX_OPTIONS];
    size_t n = cmd_config_options(&c, options);
    options[n++] = (cmd_option){"--json", 0, CMD_FLAG, &as_json, NULL, "as JSON"};
    cmd_positional p = {.max = 2};
    int code = cmd_parse("config", options, n, argc, argv, &p);
    if (code >= 0)
        return code;
    bool check = p.n == 2 && !strcmp(p.v[0], "check");
    if (p.n == 1 && !strcmp(p.v[0], "schema"))
        return cmd_finish_output(print_schema());
    if (p.n && !check)
        return cmd_error(MUGA_E_USAGE, "config: only `check FILE` or `schema` may follow; see `muga help config`");
    if (check)
        c.file = p.v[1];
    code = print_config(&c, check, as_json);
    cmd_config_release(&c);
    return cmd_finish_output(code);
}
