/* If this fails, a model mapped from its packed file computes other bits than one that was just packed, for one of the
 * reference models: types, architectures and kinds of embedding that the small model doesn't have. */
#include "golden.h"

#include "base/rng.h"

#include <unistd.h>

#define N_IDS 20

static golden_rows compute(const char *path, const char *packed, const char *n_ctx, const char *expected) {
    int32_t ids[N_IDS];
    engine *e = NULL;
    engine_session *s = NULL;
    muga_error err = {0};
    engine_options o = {.isa = -1, .n_threads = 2, .ids_only = true, .packed = packed, .packed_source = path};
    rng r = {5};
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)rng_below(&r, 256); /* no reference vocabulary is smaller */
    assert_ok(engine_open(path, &o, &e, &err), &err);
    if (strncmp(engine_packed(e), expected, strlen(expected)) != 0)
        fail_msg("%s: expected \"%s\": %s", path, expected, engine_packed(e));
    golden_rows rows = {.n_vocab = engine_params(e)->n_vocab};
    assert_ok(engine_session_new(e, (uint32_t)strtoul(n_ctx, NULL, 10), &s, &err), &err);
    engine_item it = {.session = s,
                      .ids = ids,
                      .n = N_IDS,
                      .want = ENGINE_LOGITS_ALL,
                      .on_logits = golden_keep,
                      .on_logits_ctx = &rows};
    assert_ok(engine_step(e, &it, 1, &err), &err);
    engine_session_free(s);
    engine_free(e);
    return rows;
}

static void a_mapped_model_computes_the_bits_of_a_packed_one(void **state) {
    (void)state;
    golden_table deviation = golden_table_read("golden/deviation.tsv");
    golden_case c;
    size_t n = 0;
    for (; golden_case_at(&deviation, n, &c); n++) {
        char file[128], path[512], packed[512];
        snprintf(file, sizeof file, "golden/models/%s.gguf", c.model);
        snprintf(path, sizeof path, "%s", shared_path(file));
        snprintf(packed, sizeof packed, "%s", scratch_path("packed"));
        (void)unlink(packed);
        golden_rows rows[3] = {compute(path, NULL, c.n_ctx, ""), compute(path, packed, c.n_ctx, "packed now and kept"),
                               compute(path, packed, c.n_ctx, "mapped from")};
        for (int i = 1; i < 3; i++) {
            assert_int_equal(rows[i].n, rows[0].n);
            if (memcmp(rows[i].v, rows[0].v, rows[0].n * rows[0].n_vocab * sizeof(float)) != 0)
                fail_msg("%s: other bits %s", c.model, i == 1 ? "when the file is written" : "from the file");
        }
        for (int i = 0; i < 3; i++)
            free(rows[i].v);
    }
    assert_true(n >= 20);
    golden_table_free(&deviation);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_mapped_model_computes_the_bits_of_a_packed_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
