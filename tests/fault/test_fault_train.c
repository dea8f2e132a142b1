/* Every allocation failed in turn while an adapter is trained. If this failed, a machine short of memory would crash,
 * leak, or go on with a step that was only half made: other numbers than the same run elsewhere, with nothing said. */
#include "support/train_fixture.h"

#include "support/faultmalloc.h"

static train_bed bed;

/* Two steps by different ways, a loss, the state; after an error, whether the trainer can still do the same step. */
static muga_status run(engine *e, train_options o, str *out, muga_error *err) {
    trainer *t = NULL;
    train_result r;
    double loss_of[BED_SAMPLES];
    muga_status st = train_new(engine_model(e), &o, &t, err);
    for (int i = 0; i < 2 && !st; i++)
        st = train_step(t, bed.samples, BED_SAMPLES, &r, err);
    if (!st)
        st = train_loss(t, bed.samples, BED_SAMPLES, loss_of, &r, err);
    if (st && t) { /* as it was: what failed can be done again, from the same numbers */
        muga_error again;
        muga_status later = MUGA_OK;
        while (!later && train_steps_done(t) < 2)
            later = train_step(t, bed.samples, BED_SAMPLES, &r, &again);
        assert_int_equal(later, MUGA_OK);
        str_clear(out);
        assert_int_equal(train_save(t, out, &again), MUGA_OK);
    } else if (!st) {
        st = train_save(t, out, err);
    }
    train_free(t);
    return st;
}

static void every_allocation(engine *e, train_options o, size_t least) {
    str want = STR_INIT;
    muga_error err = {0};
    assert_ok(run(e, o, &want, &err), &err);
    size_t n = 1;
    for (bool reached = true; reached; n++) {
        str got = STR_INIT;
        long live = fault_live();
        fault_fail_at(n);
        muga_status st = run(e, o, &got, &err);
        reached = fault_hit();
        fault_fail_at(0);
        if (got.len == want.len)
            assert_memory_equal(got.data, want.data, want.len);
        else if (st == MUGA_OK)
            fail_msg("allocation %zu: the state has %zu bytes, not %zu", n, got.len, want.len);
        if (st && (st != MUGA_E_NOMEM || !reached || !*err.message))
            fail_msg("allocation %zu: status %d: %s", n, st, err.message);
        str_release(&got);
        if (fault_live() != live)
            fail_msg("allocation %zu: %ld blocks leaked", n, fault_live() - live);
    }
    print_message("%zu allocations\n", n - 1);
    assert_in_range(n, least, 100000);
    str_release(&want);
}

static void training_survives_any_failed_allocation(void **state) {
    (void)state;
    engine *e = open_plain();
    train_options o = train_bed_options();
    train_bed_init(&bed, TINY_VOCAB);
    o.targets = "attn_q,ffn_down";
    o.max_tok = 24; /* several passes a step */
    every_allocation(e, o, 60);
    o.keep_bytes = UINT64_MAX;
    every_allocation(e, o, 60);
    engine_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(training_survives_any_failed_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
