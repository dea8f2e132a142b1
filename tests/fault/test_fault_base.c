/* Every allocation failed in turn under base and os. If this failed, a machine short of memory would crash or leak
 * instead of saying what did not fit; and the harness that tests everything above could not be trusted. */
#include "support/support.h"

#include "support/faultmalloc.h"

#include "base/json.h"
#include "base/mem.h"
#include "os/os.h"

#include <stdio.h>

typedef muga_status action(muga_error *err);

/* Run `act` with its nth allocation failing, n = 1, 2, ... until none is reached any more. Each failed run must say
 * out of memory, and nothing may stay allocated. `need` is the least number of failures that proves something. */
static void fail_each_in_turn(action *act, size_t need, bool keep_failing) {
    muga_error err;
    assert_ok(act(&err), &err); /* first-use allocations of the libraries are not leaks */
    size_t n = 1;
    for (bool reached = true; reached; n++) {
        long live = fault_live();
        if (keep_failing) {
            fault_fail_from(n);
        } else {
            fault_fail_at(n);
        }
        err = (muga_error){0};
        muga_status st = act(&err);
        reached = fault_hit();
        fault_fail_at(0);
        if (st == MUGA_OK && reached) {
            continue; /* glibc's qsort and printf do without; then the result must be right, which act checks */
        }
        assert_int_equal(st, reached ? MUGA_E_NOMEM : MUGA_OK);
        assert_true(!reached || strlen(err.message) > 0);
        assert_int_equal(fault_live(), live);
        assert_in_range(n, 1, 100000);
    }
    assert_true(n > need);
}

static muga_status parse_write_digest(muga_error *err) {
    static const char text[] = "{\"b\": [1, 2.5, \"x\\u0000y\", {\"k\": null}], \"a\": {\"z\": true, \"y\": \"text\"}}";
    json_t *v = NULL;
    uint8_t digest[32];
    str out = STR_INIT;
    muga_status st = json_parse(text, strlen(text), "text", &v, err);
    if (st == MUGA_OK) {
        json_write_canonical(v, &out);
        st = str_status(&out, err, "text");
    }
    if (st == MUGA_OK) {
        assert_string_equal(str_get(&out),
                            "{\"a\":{\"y\":\"text\",\"z\":true},\"b\":[1,2.5,\"x\\u0000y\",{\"k\":null}]}");
        st = json_digest(v, digest, err);
    }
    if (st == MUGA_OK) {
        json_t *copy = json_clone(v);
        st = copy ? MUGA_OK : error_nomem(err, "the copy");
        assert_true(!copy || json_equal(copy, v));
        json_decref(copy);
    }
    json_decref(v);
    str_release(&out);
    return st;
}

static muga_status list_names(void *ctx, const char *name) {
    str_append_s(ctx, name);
    return MUGA_OK;
}

static char folder[200], file[250];

static muga_status write_read_list(muga_error *err) {
    const os_files *f = &os_system()->files;
    str text = STR_INIT;
    muga_status st = f->mkdirs(f->self, folder, err);
    if (st == MUGA_OK) {
        st = os_write_file_atomic(f, file, "content", 7, err);
    }
    if (st == MUGA_OK) {
        st = os_read_file(f, file, 100, &text, err);
    }
    if (st == MUGA_OK) {
        st = f->list(f->self, folder, list_names, &text, err);
    }
    if (st == MUGA_OK) {
        st = str_status(&text, err, "names");
    }
    if (st == MUGA_OK) {
        assert_string_equal(str_get(&text), "contentfile");
    }
    str_release(&text);
    return st;
}

static muga_status run_a_child(muga_error *err) {
    const char *const argv[] = {"/bin/sh", "-c", "head -c 50000 /dev/zero; echo x >&2", NULL};
    os_child_spec spec = {.argv = argv, .max_out_bytes = 100000, .timeout_ms = 60000};
    os_child_result r;
    muga_status st = os_system()->children.run(NULL, &spec, &r, err);
    assert_true(st != MUGA_OK || (r.code == 0 && r.out.len == 50000 && r.err_out.len == 2));
    str_release(&r.out);
    str_release(&r.err_out);
    return st;
}

static muga_status fill_an_arena(muga_error *err) {
    arena a;
    arena_init(&a, 0);
    muga_status st = MUGA_OK;
    for (int i = 0; i < 50 && st == MUGA_OK; i++) {
        if (!arena_alloc(&a, (size_t)i * 100) || !arena_printf(&a, "%d", i)) {
            st = error_nomem(err, "the arena");
        }
    }
    arena_release(&a);
    return st;
}

static muga_status make_a_pool(muga_error *err) {
    os_pool *p;
    muga_status st = os_pool_new(1, &p, err);
    if (st == MUGA_OK) {
        os_pool_free(p);
    }
    return st;
}

static void json_survives(void **state) {
    (void)state;
    fail_each_in_turn(parse_write_digest, 20, false);
    fail_each_in_turn(parse_write_digest, 20, true);
}

static void files_survive(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", scratch_path("fault"));
    snprintf(file, sizeof file, "%s/file", folder);
    fail_each_in_turn(write_read_list, 8, false);
    fail_each_in_turn(write_read_list, 8, true);
}

static void children_survive(void **state) {
    (void)state;
    fail_each_in_turn(run_a_child, 2, false);
}

static void arena_and_pool_survive(void **state) {
    (void)state;
    fail_each_in_turn(fill_an_arena, 4, false);
    fail_each_in_turn(make_a_pool, 1, false);
}

static void the_harness_counts_and_fails(void **state) {
    (void)state;
    long live = fault_live();
    fault_fail_at(2);
    void *a = malloc(10), *b = malloc(10), *c = calloc(1, 10);
    assert_int_equal(fault_count(), 3);
    assert_true(fault_hit());
    fault_fail_at(0);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    assert_int_equal(fault_live(), live + 2);
    free(a);
    free(c);
    assert_int_equal(fault_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_harness_counts_and_fails),
        cmocka_unit_test(json_survives),
        cmocka_unit_test(files_survive),
        cmocka_unit_test(children_survive),
        cmocka_unit_test(arena_and_pool_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
