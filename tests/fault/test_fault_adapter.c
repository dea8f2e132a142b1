/* Every allocation failed in turn while an adapter loads beside a serving engine. If this failed, a machine short of
 * memory would crash, leak, run with half an adapter, or take the engine down with the adapter it has no room for. */
#include "support/make_adapter.h"
#include "support/support.h"

#include "support/faultmalloc.h"

#include "base/mem.h"
#include "engine/engine.h"

#include <stdio.h>

static const int32_t ids[] = {5, 17, 3};

typedef float row[MAKE_ARCH_VOCAB];

/* Three tokens with the adapter; NULL = without. */
static muga_status compute(engine *e, engine_adapter *a, row out, muga_error *err) {
    engine_session *s = NULL;
    muga_status st = engine_session_new(e, 64, &s, err);
    if (!st)
        st = engine_session_set_adapter(s, a, 1, err);
    if (!st)
        st = engine_session_feed(s, ids, ARRAY_LEN(ids), err);
    if (!st)
        memcpy(out, engine_session_logits(s), sizeof(row));
    engine_session_free(s);
    return st;
}

/* Load with the nth allocation failing, compute, drop; then the engine still computes what it did. Whether the nth was
 * reached. */
static bool run(const char *const paths[2], size_t n, const row want[2]) {
    row got = {0};
    muga_error err = {0};
    long live = fault_live();
    engine *e = NULL;
    engine_adapter *a = NULL;
    engine_options o = {.isa = -1, .n_threads = 1, .ids_only = true};
    assert_ok(engine_open(paths[0], &o, &e, &err), &err);
    fault_fail_at(n);
    muga_status st = engine_adapter_load(e, paths[1], &a, &err);
    if (!st)
        st = compute(e, a, got, &err);
    bool reached = fault_hit();
    fault_fail_at(0);
    if (st && (st != MUGA_E_NOMEM || !reached || !*err.message))
        fail_msg("allocation %zu: status %d: %s", n, st, err.message);
    if (!st)
        assert_memory_equal(got, want[1], sizeof got);
    engine_adapter_drop(a);
    assert_ok(compute(e, NULL, got, &err), &err);
    assert_memory_equal(got, want[0], sizeof got);
    engine_free(e);
    if (fault_live() != live)
        fail_msg("allocation %zu: %ld blocks leaked", n, fault_live() - live);
    return reached;
}

/* A model and its adapter. */
static void write_files(const char *const paths[2]) {
    str bytes[2] = {STR_INIT, STR_INIT};
    muga_error err = {0};
    gguf_file *base;
    assert_true(make_arch("llama", NULL, &bytes[0]));
    assert_ok(gguf_open_memory(bytes[0].data, bytes[0].len, &base, &err), &err);
    make_adapter_options o = {.rank = 4, .alpha = 4, .seed = 81, .embedding = true};
    assert_true(make_adapter(base, &o, &bytes[1]));
    gguf_close(base);
    for (int i = 0; i < 2; i++) {
        assert_ok(os_write_file_atomic(&os_system()->files, paths[i], bytes[i].data, bytes[i].len, &err), &err);
        str_release(&bytes[i]);
    }
}

static void loading_survives_any_failed_allocation_and_so_does_the_engine(void **state) {
    (void)state;
    const char *const paths[2] = {scratch_path("model.gguf"), scratch_path("a.gguf")};
    row want[2];
    muga_error err = {0};
    engine *e = NULL;
    engine_adapter *a = NULL;
    engine_options o = {.isa = -1, .n_threads = 1, .ids_only = true};
    write_files(paths);
    assert_ok(engine_open(paths[0], &o, &e, &err), &err);
    assert_ok(compute(e, NULL, want[0], &err), &err);
    assert_ok(engine_adapter_load(e, paths[1], &a, &err), &err);
    assert_ok(compute(e, a, want[1], &err), &err);
    engine_adapter_drop(a);
    engine_free(e);
    assert_memory_not_equal(want[0], want[1], sizeof want[0]);
    size_t n = 1;
    while (run(paths, n, (const row *)want))
        n++;
    print_message("%zu allocations\n", n - 1);
    assert_in_range(n, 40, 100000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(loading_survives_any_failed_allocation_and_so_does_the_engine)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
