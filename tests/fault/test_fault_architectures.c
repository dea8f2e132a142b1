/* Every allocation failed in turn while a model of each architecture loads and computes. If this failed, a machine
 * short of memory would crash, leak, or compute with a part of a model missing: another answer with nothing said. */
#include "support/make_arch.h"
#include "support/support.h"

#include "support/faultmalloc.h"

#include "base/mem.h"
#include "engine/engine.h"

#include <stdio.h>

static const char *const archs[] = {"bert",     "gemma2", "gemma3", "granite", "llama",
                                    "nemotron", "phi3",   "qwen2",  "qwen3",   "smollm3"};
static const int32_t ids[] = {5, 17, 3};

enum { N_OUT = 256 };

/* Load, three tokens (or a vector of them), free. The results go to out. */
static muga_status run(const char *path, float out[N_OUT], muga_error *err) {
    engine *e = NULL;
    engine_session *s = NULL;
    engine_options o = {.isa = -1, .n_threads = 1, .ids_only = true};
    const token_list text = {.ids = (int32_t *)(uintptr_t)ids, .n = ARRAY_LEN(ids)};
    memset(out, 0, N_OUT * sizeof *out);
    muga_status st = engine_open(path, &o, &e, err);
    if (!st && engine_params(e)->encoder) {
        st = engine_embed_ids(e, &text, 1, out, err);
    } else if (!st) {
        st = engine_session_new(e, 64, &s, err);
        if (!st)
            st = engine_session_feed(s, ids, ARRAY_LEN(ids), err);
        if (!st)
            memcpy(out, engine_session_logits(s), MAKE_ARCH_VOCAB * sizeof *out);
    }
    if (s)
        engine_session_free(s);
    engine_free(e);
    return st;
}

static void loading_and_computing_survive_any_failed_allocation(void **state) {
    (void)state;
    const char *path = scratch_path("model.gguf");
    for (size_t i = 0; i < ARRAY_LEN(archs); i++) {
        str bytes = STR_INIT;
        muga_error err = {0};
        float want[N_OUT], got[N_OUT];
        assert_true(make_arch(archs[i], NULL, &bytes));
        assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
        str_release(&bytes);
        assert_ok(run(path, want, &err), &err);
        size_t n = 1;
        for (bool reached = true; reached; n++) {
            long live = fault_live();
            fault_fail_at(n);
            muga_status st = run(path, got, &err);
            reached = fault_hit();
            fault_fail_at(0);
            if (fault_live() != live)
                fail_msg("%s, allocation %zu: %ld blocks leaked", archs[i], n, fault_live() - live);
            if (st == MUGA_OK)
                assert_memory_equal(got, want, sizeof got);
            else if (st != MUGA_E_NOMEM || !reached || !*err.message)
                fail_msg("%s, allocation %zu: status %d: %s", archs[i], n, st, err.message);
        }
        print_message("%s: %zu allocations\n", archs[i], n - 1);
        assert_in_range(n, 40, 100000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(loading_and_computing_survive_any_failed_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
