/* The server's configuration. If this failed, a misspelt key would be passed over in silence, a limit would be another
 * than what the operator wrote, or a reload would change what can't be changed while it serves. */
#include "support/support.h"

#include "serve/config.h"

#include "base/mem.h"
#include "os/os.h"

#include <stdio.h>

static const char *write_file(const char *text) {
    muga_error err;
    const char *path = scratch_path("muga.yaml");
    assert_ok(os_write_file_atomic(&os_system()->files, path, text, strlen(text), &err), &err);
    return path;
}

static config_sources sources(const char *file) {
    return (config_sources){.files = &os_system()->files, .file = file, .must_exist = true};
}

static serve_config *load(const config_sources *s) {
    serve_config *c;
    muga_error err;
    assert_ok(config_load(s, &c, &err), &err);
    return c;
}

static serve_config *load_text(const char *yaml) {
    config_sources s = sources(write_file(yaml));
    return load(&s);
}

static void assert_refused(const char *yaml, const char *part) {
    serve_config *c;
    muga_error err;
    config_sources s = sources(write_file(yaml));
    assert_status(config_load(&s, &c, &err), MUGA_E_INPUT, &err, part);
    assert_null(c);
}

/* The row of a setting in config_list, as JSON text; until the next call. */
static const char *row(const serve_config *c, const char *key) {
    static str text;
    muga_error err;
    json_t *list, *one;
    size_t i;
    str_clear(&text);
    assert_ok(config_list(c, &list, &err), &err);
    json_array_foreach(list, i, one) {
        if (!strcmp(json_get_string(one, "key"), key))
            json_write(one, &text);
    }
    json_decref(list);
    return str_get(&text);
}

static void without_any_source_the_defaults_hold(void **state) {
    (void)state;
    config_sources s = {.files = &os_system()->files};
    serve_config *c = load(&s);
    server_limits d = SERVER_LIMITS_DEFAULT;
    assert_memory_equal(&c->limits, &d, sizeof d);
    assert_int_equal(c->listen.n, 1);
    assert_string_equal(c->listen.v[0], "127.0.0.1:8484");
    assert_int_equal(c->drain_ms, 30000);
    assert_int_equal(c->all.keep_alive_ms, 300000);
    assert_true(c->packed && c->metrics && !c->metrics_open && !c->log_contents);
    assert_int_equal(c->log_level, LOG_INFO);
    assert_null(c->certificate);
    assert_string_equal(row(c, "limits.body_bytes"),
                        "{\"key\":\"limits.body_bytes\",\"value\":\"32MiB\",\"source\":\"default\",\"origin\":\"\","
                        "\"restart\":true}");
    config_free(c);
}

static void a_later_source_wins_and_is_named(void **state) {
    (void)state;
    config_given env[] = {{"models.keep_alive", "1h30m", "MUGA_KEEP_ALIVE"},
                          {"listen", "0.0.0.0, unix:/run/muga.sock", "MUGA_HOST"}},
                 flags[] = {{"listen", "[::1]:9000", "--listen"},
                            {"listen", "::1", "--listen"},
                            {"models.aliases", "a=x", "--alias"},
                            {"models.aliases", "b=y:7b", "--alias"}};
    config_sources s = sources(write_file("models: {keep_alive: 10, threads: 3}\nlimits:\n  body_bytes: 1 MiB\n"));
    s.environment = env;
    s.n_environment = 2;
    serve_config *c = load(&s);
    assert_int_equal(c->all.keep_alive_ms, 5400000);
    assert_int_equal(c->all.n_threads, 3);
    assert_int_equal(c->limits.body_bytes, 1 << 20);
    assert_string_equal(c->listen.v[0], "0.0.0.0:8484");
    assert_string_equal(c->listen.v[1], "unix:/run/muga.sock");
    assert_non_null(strstr(row(c, "limits.body_bytes"), "muga.yaml:3\""));
    assert_non_null(strstr(row(c, "models.keep_alive"),
                           "\"value\":\"90m\",\"source\":\"environment\",\"origin\":\"MUGA_KEEP_ALIVE\""));
    config_free(c);
    s.flags = flags;
    s.n_flags = 4;
    c = load(&s);
    assert_int_equal(c->listen.n, 2);
    assert_string_equal(c->listen.v[0], "[::1]:9000");
    assert_string_equal(c->listen.v[1], "[::1]:8484");
    assert_string_equal(config_model_name(c, "b:latest"), "y:7b");
    assert_string_equal(config_model_name(c, "c"), "c");
    assert_null(config_model_name(c, NULL));
    config_free(c);
}

static void what_is_wrong_is_named_with_its_place(void **state) {
    (void)state;
    static const struct {
        const char *yaml, *part;
    } cases[] = {
        {"limits:\n  bodybytes: 1\n", "muga.yaml:2:3: key limits.bodybytes: unknown key; did you mean 'body_bytes'?"},
        {"lissen: x\n", "key lissen: unknown key; did you mean 'listen'?"},
        {"limits: {connections: 0}\n", "key limits.connections: 0 is out of range; must be 1 to 1000000"},
        {"limits: {connections: -5}\n", "out of range"},
        {"limits: {connections: 1e308}\n", "limits.connections"},
        {"limits: {body_bytes: 99TiB}\n", "key limits.body_bytes: is out of range; must be 1KiB to 4GiB"},
        {"limits: {body_bytes: 3 apples}\n", "key limits.body_bytes: does not fit"},
        {"limits: {body_time: -1}\n", "key limits.body_time: -1 is out of range"},
        {"limits: {body_time: forever}\n", "key limits.body_time: does not fit"},
        {"limits: {body_time: 2h}\n", "is out of range; must be 100ms to 1h"},
        {"models: {kv: q9}\n", "'q9' is none of f16, f32, q8"},
        {"models: {options: {x: {contxt: 1}}}\n", "unknown key; did you mean 'context'?"},
        {"models: {options: {x: {context: -1}}}\n", "models.options.x.context"},
        {"models: {aliases: {a: [b]}}\n", "models.aliases.a"},
        {"log: {contents: maybe}\n", "log.contents"},
        {"listen: []\n", "listen: at least one address"},
        {"tls: {certificate: /c.pem}\n", "needs tls.key beside it"},
        {"version: 2\n", "key version"},
        {"[1]\n", "muga.yaml:1"},
        {"hosts: [\"a\\u0000b\"]\n", "control character"},
        {"a: &x 1\n", "muga.yaml:1"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_refused(cases[i].yaml, cases[i].part);
    muga_error err;
    serve_config *c;
    config_given g = {"limits.bodi_bytes", "1", "--set"};
    config_sources s = {.files = &os_system()->files, .flags = &g, .n_flags = 1};
    assert_status(config_load(&s, &c, &err), MUGA_E_USAGE, &err, "did you mean 'limits.body_bytes'?");
    g = (config_given){"models.threads", "many", "MUGA_THREADS"};
    s = (config_sources){.files = &os_system()->files, .environment = &g, .n_environment = 1};
    assert_status(config_load(&s, &c, &err), MUGA_E_INPUT, &err, "MUGA_THREADS: models.threads must be a whole number");
    s = sources(scratch_path("not-there.yaml"));
    assert_status(config_load(&s, &c, &err), MUGA_E_NOT_FOUND, &err, "no such file");
    s.must_exist = false;
    config_free(load(&s));
}

static void times_and_sizes_read_as_people_write_them(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } times[] = {{"0", 0},           {"30", 30000},     {"1.5", 1500},        {"500ms", 500},           {"2h", 7200000},
                 {"1h30m", 5400000}, {"3d", 259200000}, {"-1", POOL_FOREVER}, {"forever", POOL_FOREVER}},
      wrong[] = {{"", 0},       {"m", 0},    {"5 m", 0}, {"5w", 0}, {"-2", 0}, {"1e3", 0}, {"99999999999999999999", 0},
                 {"1.2345", 0}, {"4000d", 0}};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        config_given g = {"models.keep_alive", times[i].text, "x"};
        config_sources s = {.files = &os_system()->files, .flags = &g, .n_flags = 1};
        serve_config *c = load(&s);
        if (c->all.keep_alive_ms != times[i].ms)
            fail_msg("%s is %lld ms", times[i].text, (long long)c->all.keep_alive_ms);
        config_free(c);
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        config_given g = {"models.keep_alive", wrong[i].text, "x"};
        config_sources s = {.files = &os_system()->files, .flags = &g, .n_flags = 1};
        serve_config *c;
        muga_error err;
        if (config_load(&s, &c, &err) != MUGA_E_USAGE)
            fail_msg("keep_alive '%s' was taken", wrong[i].text);
    }
    serve_config *c =
        load_text("models: {memory: 6GiB, keep_alive: -1}\nlimits: {output_bytes: 65536, idle_time: 2.5}\n");
    assert_true(c->memory_bytes == (uint64_t)6 << 30);
    assert_true(c->all.keep_alive_ms == POOL_FOREVER);
    assert_int_equal(c->limits.output_bytes, 65536);
    assert_int_equal(c->limits.idle_ms, 2500);
    config_free(c);
}

static void models_have_options_of_their_own(void **state) {
    (void)state;
    serve_config *c = load_text("models:\n  context: 2048\n  pinned: [small, other]\n  options:\n"
                                "    small: {kv: q8, keep_alive: 0, adapter: /a/b.gguf:0.5}\n    big: {context: 64}\n");
    assert_int_equal(c->n_models, 3);
    assert_string_equal(c->models[0].name, "small");
    assert_int_equal(c->models[0].settings.kv, 2);
    assert_int_equal(c->models[0].settings.n_ctx, 2048);
    assert_int_equal(c->models[0].settings.keep_alive_ms, 0);
    assert_true(c->models[0].settings.pinned && !c->models[1].settings.pinned && c->models[2].settings.pinned);
    assert_string_equal(c->models[0].adapter, "/a/b.gguf");
    assert_true(c->models[0].adapter_scale == 0.5f);
    assert_int_equal(c->models[1].settings.n_ctx, 64);
    assert_string_equal(c->models[2].name, "other");
    config_free(c);
}

static void a_reload_changes_what_can_be_changed(void **state) {
    (void)state;
    config_sources s = sources(write_file("hosts: [a]\nlimits: {running: 4}\nlog: {level: info}\n"));
    serve_config *now = load(&s), *next, *again;
    json_t *changes;
    muga_error err;
    write_file("hosts: [a, b]\nlimits: {running: 8}\nlog: {level: info}\n");
    assert_ok(config_reload(now, &s, &next, &changes, &err), &err);
    assert_int_equal(json_array_size(changes), 2);
    assert_string_equal(json_get_string(json_array_get(changes, 0), "key"), "hosts");
    assert_false(json_get_bool(json_array_get(changes, 0), "restart", true));
    assert_true(json_get_bool(json_array_get(changes, 1), "restart", false));
    assert_int_equal(next->hosts.n, 2);
    assert_int_equal(next->n_running, 4); /* as it was */
    json_decref(changes);
    assert_ok(config_reload(next, &s, &again, &changes, &err), &err);
    assert_int_equal(json_array_size(changes), 1); /* it still waits for the restart */
    json_decref(changes);
    config_free(again);
    write_file("hosts: 7\n");
    assert_status(config_reload(next, &s, &again, &changes, &err), MUGA_E_INPUT, &err, "hosts");
    assert_null(again);
    assert_null(changes);
    config_free(now);
    assert_string_equal(next->hosts.v[1], "b"); /* stands by itself */
    config_free(next);
}

static void the_shipped_schema_is_the_one_that_is_checked(void **state) {
    (void)state;
    str text = STR_INIT, compiled = STR_INIT;
    muga_error err;
    assert_ok(os_read_file(&os_system()->files, source_path("docs/schema/serve.schema.json"), 1 << 20, &text, &err),
              &err);
    assert_ok(config_schema_write(&compiled, &err), &err);
    assert_string_equal(str_get(&text), str_get(&compiled));
    str_release(&text);
    str_release(&compiled);
}

/* Every setting in the page for people, with its variable and its flag. */
static void the_page_names_every_setting(void **state) {
    (void)state;
    str page = STR_INIT;
    muga_error err;
    size_t n;
    const config_setting *rows = config_settings(&n);
    assert_ok(os_read_file(&os_system()->files, source_path("docs/serve-config.md"), 1 << 20, &page, &err), &err);
    for (size_t i = 0; i < n; i++) {
        char line[400];
        snprintf(line, sizeof line, "| `%s` | %s%s%s | %s%s%s | %s |", rows[i].key, rows[i].variable ? "`" : "",
                 rows[i].variable ? rows[i].variable : "", rows[i].variable ? "`" : "", rows[i].flag ? "`" : "",
                 rows[i].flag ? rows[i].flag : "", rows[i].flag ? "`" : "", rows[i].otherwise ? rows[i].otherwise : "");
        if (!strstr(str_get(&page), line))
            fail_msg("docs/serve-config.md has no row that begins: %s", line);
    }
    str_release(&page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_any_source_the_defaults_hold),
        cmocka_unit_test(a_later_source_wins_and_is_named),
        cmocka_unit_test(what_is_wrong_is_named_with_its_place),
        cmocka_unit_test(times_and_sizes_read_as_people_write_them),
        cmocka_unit_test(models_have_options_of_their_own),
        cmocka_unit_test(a_reload_changes_what_can_be_changed),
        cmocka_unit_test(the_shipped_schema_is_the_one_that_is_checked),
        cmocka_unit_test(the_page_names_every_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
