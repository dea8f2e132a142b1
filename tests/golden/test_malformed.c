/* Broken model files, each with what must come of it. Were this to fail, a damaged or hostile file could crash the
 * program, make it read outside the file, eat memory or time, or pass for a good one.
 *
 * Work is bounded: memory by the resident set over that of loading the good file, time by a watchdog far above what a
 * load takes (the time itself is benched, not tested). */
#include "support/support.h"

#include "base/mem.h"
#include "engine/engine.h"
#include "os/os.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WATCHDOG_SECONDS = SANITIZED ? 300 : 60 };
#define MEMORY_BAR ((uint64_t)10 << 20)

static bool is_input_error(muga_status st, const muga_error *err) {
    if (st != MUGA_E_INPUT)
        return false;
    assert_int_equal(err->status, MUGA_E_INPUT);
    assert_true(strlen(err->message) > 20);
    return true;
}

/* Three tokens through the model, and the template compiled. */
static muga_status use(engine *e, muga_status *template_status, muga_error *err) {
    static const int32_t ids[] = {1, 2, 3};
    const template *t;
    engine_session *s;
    muga_error template_err = {0};
    *template_status = engine_template(e, &t, &template_err);
    assert_true(*template_status == MUGA_OK || is_input_error(*template_status, &template_err));
    muga_status st = engine_session_new(e, 8, &s, err);
    if (st)
        return st;
    st = engine_session_feed(s, ids, 3, err);
    engine_session_free(s);
    return st;
}

/* Opens the file as `expect` has it. False, with a line, when something else comes of it. */
static bool check_file(const char *path, const char *expect, bool ids_only) {
    muga_error err = {0};
    engine *e;
    engine_options o = ENGINE_OPTIONS_DEFAULT;
    o.n_threads = 1;
    o.ids_only = ids_only;
    muga_status template_status = MUGA_OK, st, used = MUGA_OK;
    (void)alarm(WATCHDOG_SECONDS);
    st = engine_open(path, &o, &e, &err);
    if (!st) {
        used = use(e, &template_status, &err);
        engine_free(e);
    }
    (void)alarm(0);
    bool refused = is_input_error(st, &err), loaded = st == MUGA_OK, computed = loaded && used == MUGA_OK;
    bool reported = loaded && used == MUGA_E_NONFINITE, good;
    if (strcmp(expect, "ok") == 0)
        good = computed && template_status == MUGA_OK;
    else if (strcmp(expect, "reject") == 0)
        good = refused;
    else if (strcmp(expect, "ok_load_error_on_use") == 0)
        good = computed && template_status == MUGA_E_INPUT;
    else if (strcmp(expect, "reject_or_finite_check") == 0)
        good = refused || computed || reported;
    else if (strcmp(expect, "no_crash_nonfinite_reported") == 0)
        good = refused || reported;
    else if (strcmp(expect, "no_crash") == 0)
        good = true;
    else
        good = refused || computed; /* reject_or_ignore, reject_or_derive, reject_or_ok_small_ctx */
    if (!good)
        print_message("%s: expected %s; load %d, use %d, template %d: %s\n", path, expect, st, used, template_status,
                      err.message);
    return good;
}

static void every_file_ends_as_the_table_says(void **state) {
    (void)state;
    str table = STR_INIT;
    muga_error err;
    size_t n = 0, n_bad = 0;
    char good[64], path[512];
    const char *folder = shared_path("golden/malformed");
    (void)snprintf(path, sizeof path, "%s/malformed.tsv", folder);
    assert_ok(os_read_file(&os_system()->files, path, 1 << 20, &table, &err), &err);
    (void)snprintf(path, sizeof path, "%s/00_good.gguf", folder);
    assert_true(check_file(path, "ok", false));
    uint64_t before = os_peak_memory_bytes();
    const char *line = strchr(str_get(&table), '\n');
    while (line && line[1]) {
        char name[64], expect[40];
        assert_int_equal(sscanf(line + 1, "%63[^\t]\t%39[^\t]", name, expect), 2);
        (void)snprintf(path, sizeof path, "%s/%s", folder, name);
        n_bad += !check_file(path, expect, false);
        if (strcmp(expect, "reject") == 0)
            n_bad += !check_file(path, expect, true);
        n++;
        line = strchr(line + 1, '\n');
    }
    uint64_t grown = os_peak_memory_bytes() - before;
    (void)snprintf(good, sizeof good, "%zu files, %zu KiB over loading the good one\n", n, (size_t)(grown >> 10));
    print_message("%s", good);
    assert_int_equal(n, 82);
    assert_int_equal(n_bad, 0);
    assert_true(SANITIZED || grown < MEMORY_BAR);
    str_release(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_file_ends_as_the_table_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
