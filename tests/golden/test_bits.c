/* If this fails, a logit of a model made by others depends on the instruction set, the number of threads, how a prompt
 * is cut into steps and batches, or whether its pages are shared: a decision made on one machine could not be replayed
 * on another.
 *
 * The small model of unit/test_engine.c has few tensor types and one architecture; here each reference model is
 * computed in both arithmetics, and every row of a prompt longer than a page, or than what a window keeps, must come
 * out in the bits that the specification (`ref`, one thread, one piece, from which nothing is let go) gives.
 *
 * ctest: slow (under sanitizers unit/test_engine and unit/test_architectures run instead) */
#include "golden.h"

#include "base/rng.h"

#define N_IDS 70       /* into the second page */
#define N_WINDOWED 250 /* of models with a window: past where it lets pages go */

typedef struct way {
    int n_threads;
    uint32_t n_batch, part; /* rows of a batch; tokens of a step */
    bool fork;              /* half of the prompt is computed in a session that is then forked and goes another way */
} way;

static void step(engine_session *s, const int32_t *ids, uint32_t n, golden_rows *rows) {
    muga_error err = {0};
    engine_item it = {
        .session = s, .ids = ids, .n = n, .want = ENGINE_LOGITS_ALL, .on_logits = golden_keep, .on_logits_ctx = rows};
    assert_ok(engine_step(engine_session_engine(s), &it, 1, &err), &err);
}

/* All rows, computed in one of the ways. */
static golden_rows compute(const char *path, engine_options o, const way *w, uint32_t n_ctx, const int32_t *ids,
                           uint32_t n) {
    engine *e = NULL;
    engine_session *s = NULL, *fork = NULL;
    muga_error err = {0};
    o.n_threads = w->n_threads;
    o.n_batch = w->n_batch;
    assert_ok(engine_open(path, &o, &e, &err), &err);
    golden_rows rows = {.n_vocab = engine_params(e)->n_vocab};
    assert_ok(engine_session_new(e, n_ctx, &s, &err), &err);
    for (uint32_t at = 0; at < n; at += w->part) {
        if (w->fork && !fork && at >= n / 2) {
            assert_ok(engine_session_fork(s, &fork, &err), &err);
            assert_ok(engine_session_feed(s, ids, 9, &err), &err);
            engine_session_free(s);
            s = fork;
        }
        step(s, ids + at, MIN(w->part, n - at), &rows);
    }
    engine_session_free(s);
    engine_free(e);
    return rows;
}

static uint32_t length_for(const char *path, uint32_t n_ctx) {
    engine_options o = {.isa = -1, .n_threads = 1, .ids_only = true};
    engine *e = NULL;
    muga_error err = {0};
    assert_ok(engine_open(path, &o, &e, &err), &err);
    uint32_t window = engine_params(e)->window;
    engine_free(e);
    return window > 0 && n_ctx >= N_WINDOWED ? N_WINDOWED : N_IDS;
}

static void check_model(const char *model_name, uint32_t n_ctx) {
    static const way plain = {1, N_WINDOWED, N_WINDOWED, false};
    static const way ways[] = {
        {1, 1, N_WINDOWED, false}, {2, 33, N_WINDOWED, true}, {3, 0, 7, true}, {5, 16, 31, false}};
    char file[128], path[512];
    int32_t ids[N_WINDOWED];
    snprintf(file, sizeof file, "golden/models/%s.gguf", model_name);
    snprintf(path, sizeof path, "%s", shared_path(file));
    rng r = {3};
    uint32_t n = length_for(path, n_ctx);
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)rng_below(&r, 256); /* no reference vocabulary is smaller */
    for (int exact = 0; exact < 2; exact++) {
        engine_options o = {
            .isa = KERNEL_ISA_REF, .exact = exact, .kv = exact ? KERNEL_KV_F32 : KERNEL_KV_F16, .ids_only = true};
        golden_rows want = compute(path, o, &plain, n_ctx, ids, n);
        for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
            o.isa = isa;
            for (size_t i = 0; i < ARRAY_LEN(ways) && kernel_isa_available((kernel_isa)isa); i++) {
                golden_rows got = compute(path, o, &ways[i], n_ctx, ids, n);
                assert_int_equal(got.n, want.n);
                if (memcmp(got.v, want.v, want.n * want.n_vocab * sizeof(float)) != 0)
                    fail_msg("%s, %s, %s: %d threads, batches of %u, steps of %u give other bits", model_name,
                             exact ? "float" : "int8", kernel_isa_name((kernel_isa)isa), ways[i].n_threads,
                             ways[i].n_batch, ways[i].part);
                free(got.v);
            }
        }
        free(want.v);
    }
}

static void every_way_of_computing_gives_the_same_bits(void **state) {
    (void)state;
    golden_table deviation = golden_table_read("golden/deviation.tsv");
    golden_case c;
    size_t n = 0;
    for (; golden_case_at(&deviation, n, &c); n++)
        check_model(c.model, (uint32_t)strtoul(c.n_ctx, NULL, 10));
    assert_true(n >= 20);
    golden_table_free(&deviation);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_way_of_computing_gives_the_same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
