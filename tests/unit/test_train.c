/* If this fails, training doesn't learn, learns other numbers on other threads or after a restart, or goes on from what
 * it should have refused: a spoiled model, a damaged state, a sample without an answer. */
#include "support/make_arch.h"
#include "support/train_fixture.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>

static train_bed bed;

static trainer *trainer_of(engine *e, train_options o) {
    trainer *t = NULL;
    muga_error err = {0};
    assert_ok(train_new(engine_model(e), &o, &t, &err), &err);
    return t;
}

static train_result steps(trainer *t, uint32_t n) {
    train_result r = {0};
    muga_error err = {0};
    for (uint32_t i = 0; i < n; i++)
        assert_ok(train_step(t, bed.samples, BED_SAMPLES, &r, &err), &err);
    return r;
}

static str saved(const trainer *t) {
    str s = STR_INIT;
    muga_error err = {0};
    assert_ok(train_save(t, &s, &err), &err);
    assert_int_equal(s.len, train_state_bytes(t));
    return s;
}

static void assert_same_state(const trainer *a, const trainer *b) {
    str x = saved(a), y = saved(b);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    str_release(&x);
    str_release(&y);
}

static void samples_are_learned_by_heart(void **state) {
    (void)state;
    engine *e = open_plain();
    trainer *t = trainer_of(e, train_bed_options());
    muga_error err = {0};
    train_result before, after;
    double loss_of[BED_SAMPLES], sum = 0, n_target = 0;
    assert_ok(train_loss(t, bed.samples, BED_SAMPLES, NULL, &before, &err), &err);
    train_result first = steps(t, 1);
    assert_true(first.loss == before.loss);
    assert_int_equal(first.n_target, before.n_target);
    assert_true(first.grad_norm > 0);
    steps(t, 59);
    assert_ok(train_loss(t, bed.samples, BED_SAMPLES, loss_of, &after, &err), &err);
    print_message("loss %.3f before, %.5f after %llu steps\n", before.loss, after.loss,
                  (unsigned long long)train_steps_done(t));
    assert_true(before.loss > 4 && after.loss < 0.05);
    for (uint32_t i = 0; i < BED_SAMPLES; i++) {
        uint32_t n = bed.samples[i].n - bed.samples[i].n / 2 - 1;
        sum += loss_of[i] * n;
        n_target += n;
    }
    assert_true(fabs(sum / n_target - after.loss) < 1e-9);
    train_free(t);
    engine_free(e);
}

static void bits_depend_on_nothing_they_should_not(void **state) {
    (void)state;
    engine *e = open_plain();
    train_options o = train_bed_options();
    trainer *plain = trainer_of(e, o);
    steps(plain, 5);
    for (int n_thread = 2; n_thread <= 3; n_thread++) {
        muga_error err = {0};
        assert_ok(os_pool_new(n_thread, &o.pool, &err), &err);
        o.keep_bytes = n_thread == 3 ? 0 : 300000; /* nothing, or some layers */
        trainer *t = trainer_of(e, o);
        steps(t, 5);
        assert_same_state(plain, t);
        train_free(t);
        os_pool_free(o.pool);
    }
    train_free(plain);
    engine_free(e);
}

/* Nine samples that begin with the same ten ids and two with another five: computed once a pass, for the same loss. */
static void what_samples_begin_with_is_computed_once(void **state) {
    (void)state;
    enum { N = 11, N_COMMON = 10, N_TOK = 16 };
    static int32_t ids[N][N_TOK];
    static uint8_t target[N][N_TOK];
    train_sample samples[N];
    engine *e = open_plain();
    train_options o = train_bed_options();
    trainer *t = trainer_of(e, o);
    muga_error err = {0};
    rng r = {31};
    train_work work;
    uint64_t n_target = 0;
    double sum = 0, loss_of[N];
    train_result all, one;
    for (uint32_t s = 0; s < N; s++) {
        samples[s] = (train_sample){ids[s], target[s], N_TOK, s};
        for (uint32_t i = 0; i < N_TOK; i++) {
            ids[s][i] = (int32_t)rng_below(&r, TINY_VOCAB);
            target[s][i] = i > N_COMMON + 1 && i < N_TOK - 1;
        }
        if (s % 4 != 3 || s == 7)
            memcpy(ids[s], ids[0], N_COMMON * sizeof ids[0][0]);
        ids[s][N_COMMON] = (int32_t)s;
    }
    memcpy(ids[7], ids[3], N_COMMON / 2 * sizeof ids[0][0]); /* half of it is another's */
    for (uint32_t s = 0; s < N; s++) {
        assert_ok(train_loss(t, &samples[s], 1, NULL, &one, &err), &err);
        assert_int_equal(one.n_row, N_TOK - 2); /* the last is no target, the one before it a label only */
        sum += one.loss * (double)one.n_target;
        n_target += one.n_target;
    }
    assert_ok(train_loss(t, samples, N, loss_of, &all, &err), &err);
    assert_int_equal(all.n_target, n_target);
    assert_true(fabs(all.loss - sum / (double)n_target) < 1e-6 * all.loss);
    for (uint32_t s = 0; s < N; s++) {
        assert_ok(train_loss(t, &samples[s], 1, NULL, &one, &err), &err);
        assert_true(fabs(loss_of[s] - one.loss) < 1e-5 * one.loss);
    }
    assert_ok(train_count(t, samples, N, &work, &err), &err);
    assert_int_equal(all.n_row, work.n_row);
    assert_int_equal(all.n_tok, N * N_TOK);
    assert_int_equal(work.n_row, N * (N_TOK - 2) - 8 * N_COMMON - N_COMMON / 2);
    train_free(t);
    o.max_tok = 30; /* more passes, each of which computes the beginning anew */
    t = trainer_of(e, o);
    assert_ok(train_loss(t, samples, N, NULL, &one, &err), &err);
    assert_true(one.n_row > work.n_row);
    assert_true(fabs(all.loss - one.loss) < 1e-6 * all.loss);
    train_free(t);
    engine_free(e);
}

/* Nothing is shared, so sums over rows go on where the pass before ended. */
static void passes_change_no_bit_where_nothing_is_shared(void **state) {
    (void)state;
    engine *e = open_plain();
    train_options o = train_bed_options();
    trainer *whole = trainer_of(e, o);
    o.max_tok = 21; /* a sample at a time */
    trainer *parts = trainer_of(e, o);
    train_result a = steps(whole, 5), b = steps(parts, 5);
    assert_int_equal(a.n_row, a.n_tok - BED_SAMPLES);
    assert_true(a.n_row == b.n_row && a.loss == b.loss && a.grad_norm == b.grad_norm);
    for (uint32_t i = 0; i < train_tensor_count(whole); i++) {
        train_tensor x, y;
        train_tensor_at(whole, i, &x);
        train_tensor_at(parts, i, &y);
        assert_memory_equal(x.data, y.data, (size_t)x.rows * x.cols * sizeof *x.data);
    }
    train_free(whole);
    train_free(parts);
    engine_free(e);
}

static void a_restored_run_goes_on_to_the_same_bits(void **state) {
    (void)state;
    engine *e = open_plain();
    trainer *whole = trainer_of(e, train_bed_options()), *first = trainer_of(e, train_bed_options());
    trainer *second = trainer_of(e, train_bed_options());
    muga_error err = {0};
    steps(whole, 7);
    steps(first, 4);
    str s = saved(first);
    steps(second, 1);
    assert_ok(train_restore(second, s.data, s.len, &err), &err);
    assert_int_equal(train_steps_done(second), 4);
    steps(second, 3);
    assert_same_state(whole, second);
    str_release(&s);
    train_free(whole);
    train_free(first);
    train_free(second);
    engine_free(e);
}

static void a_damaged_or_foreign_state_is_refused(void **state) {
    (void)state;
    engine *e = open_plain();
    trainer *t = trainer_of(e, train_bed_options()), *untouched = trainer_of(e, train_bed_options());
    muga_error err = {0};
    steps(t, 1);
    str s = saved(t);
    assert_status(train_restore(untouched, s.data, s.len - 1, &err), MUGA_E_INPUT, &err, "cut short");
    assert_status(train_restore(untouched, s.data, 10, &err), MUGA_E_INPUT, &err, "no saved training run");
    s.data[s.len / 2] ^= 1;
    assert_status(train_restore(untouched, s.data, s.len, &err), MUGA_E_INPUT, &err, "checksum");
    s.data[s.len / 2] ^= 1;
    train_options o = train_bed_options();
    o.lr = 1;
    trainer *other = trainer_of(e, o);
    assert_status(train_restore(other, s.data, s.len, &err), MUGA_E_INPUT, &err, "lr 0.02");
    train_free(other);
    o = train_bed_options();
    o.max_tok = 100;
    other = trainer_of(e, o);
    assert_status(train_restore(other, s.data, s.len, &err), MUGA_E_INPUT, &err, "max_tok 2048");
    train_free(other);
    o = train_bed_options();
    o.rank = 4;
    other = trainer_of(e, o);
    assert_status(train_restore(other, s.data, s.len, &err), MUGA_E_INPUT, &err, "rank 8");
    train_free(other);
    o = train_bed_options();
    o.targets = "attn_q,attn_v";
    other = trainer_of(e, o);
    assert_status(train_restore(other, s.data, s.len, &err), MUGA_E_INPUT, &err, "other matrices");
    train_free(other);
    other = trainer_of(e, train_bed_options());
    assert_same_state(untouched, other);
    train_free(other);
    str_release(&s);
    train_free(t);
    train_free(untouched);
    engine_free(e);
}

static void only_the_named_matrices_get_a_pair(void **state) {
    (void)state;
    engine *e = open_plain();
    train_options o = train_bed_options();
    o.targets = "ffn_down,attn_v";
    trainer *t = trainer_of(e, o);
    train_tensor x;
    assert_int_equal(train_tensor_count(t), 4 * TINY_LAYERS);
    train_tensor_at(t, 0, &x);
    assert_string_equal(x.name, "blk.0.attn_v.weight.lora_a");
    assert_int_equal(x.cols, TINY_EMBD);
    assert_int_equal(x.rows, 8);
    train_tensor_at(t, 3, &x);
    assert_string_equal(x.name, "blk.0.ffn_down.weight.lora_b");
    assert_int_equal(x.cols, 8);
    assert_int_equal(x.rows, TINY_EMBD);
    train_free(t);
    engine_free(e);
}

static void wrong_options_are_named(void **state) {
    (void)state;
    engine *e = open_plain();
    struct {
        train_options o;
        const char *part;
    } cases[] = {{train_bed_options(), "rank is 0"},      {train_bed_options(), "lr is nan"},
                 {train_bed_options(), "attn_qk"},        {train_bed_options(), "n_warmup is 61"},
                 {train_bed_options(), "beta2 is 1;"},    {train_bed_options(), "max_tok is 1"},
                 {train_bed_options(), "target \"\""},    {train_bed_options(), "alpha is 0"},
                 {train_bed_options(), "rank is 100000"}, {train_bed_options(), "attn_output, ffn_gate"}};
    cases[0].o.rank = 0;
    cases[1].o.lr = NAN;
    cases[2].o.targets = "attn_q,attn_qk";
    cases[3].o.n_warmup = 61;
    cases[4].o.beta2 = 1;
    cases[5].o.max_tok = 1;
    cases[6].o.targets = "attn_q,";
    cases[7].o.alpha = 0;
    cases[8].o.rank = 100000;
    cases[9].o.targets = "output";
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        trainer *t = NULL;
        muga_error err = {0};
        assert_status(train_new(engine_model(e), &cases[i].o, &t, &err), MUGA_E_USAGE, &err, cases[i].part);
        assert_null(t);
    }
    engine_free(e);
}

static void unusable_samples_are_named(void **state) {
    (void)state;
    engine *e = open_plain();
    train_options o = train_bed_options();
    o.max_tok = BED_MOST - 1;
    trainer *t = trainer_of(e, o), *fresh = trainer_of(e, o);
    const uint8_t no_target[BED_MOST] = {1};
    const int32_t bad_ids[3] = {1, TINY_VOCAB, 2};
    muga_error err = {0};
    train_result r;
    train_sample s[2] = {bed.samples[0], bed.samples[1]};
    assert_status(train_step(t, s, 2, &r, &err), MUGA_E_INPUT, &err, "sample 102 has 20 tokens; max_tok is 19");
    s[1] = (train_sample){bed.ids[1], no_target, 5, 77};
    assert_status(train_step(t, s, 2, &r, &err), MUGA_E_INPUT, &err, "sample 77 has no target");
    s[1] = (train_sample){bad_ids, bed.target[1], 3, 78};
    assert_status(train_step(t, s, 2, &r, &err), MUGA_E_INPUT, &err, "sample 78, token 1: id 416");
    s[1].n = 1;
    assert_status(train_step(t, s, 2, &r, &err), MUGA_E_INPUT, &err, "sample 78 has 1 tokens");
    assert_status(train_step(t, s, 0, &r, &err), MUGA_E_USAGE, &err, "at least one sample");
    assert_same_state(t, fresh);
    train_free(t);
    train_free(fresh);
    engine_free(e);
}

/* A token whose embedding is not a number, in the third sample only. */
static void a_loss_that_is_no_number_names_its_sample(void **state) {
    (void)state;
    const int32_t bad = 400;
    engine *e = open_spoiled(bad, (engine_options){.isa = -1, .n_threads = 1});
    train_bed spoiled;
    train_bed_init(&spoiled, (uint32_t)bad);
    spoiled.ids[2][1] = bad;
    trainer *t = trainer_of(e, train_bed_options()), *fresh = trainer_of(e, train_bed_options());
    muga_error err = {0};
    train_result r;
    assert_status(train_step(t, spoiled.samples, BED_SAMPLES, &r, &err), MUGA_E_NONFINITE, &err, "sample 103");
    assert_same_state(t, fresh);
    spoiled.ids[2][1] = 0;
    assert_ok(train_step(t, spoiled.samples, BED_SAMPLES, &r, &err), &err);
    train_free(t);
    train_free(fresh);
    engine_free(e);
}

static void encoders_are_refused(void **state) {
    (void)state;
    str bytes = STR_INIT;
    muga_error err = {0};
    engine *e = NULL;
    trainer *t = NULL;
    const char *path = scratch_path("encoder.gguf");
    train_options o = train_bed_options();
    assert_true(make_arch("bert", NULL, &bytes));
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    engine_options eo = {.isa = -1, .n_threads = 1, .ids_only = true};
    assert_ok(engine_open(path, &eo, &e, &err), &err);
    assert_status(train_new(engine_model(e), &o, &t, &err), MUGA_E_INPUT, &err, "encoder (bert)");
    engine_free(e);
}

static int make_bed(void **state) {
    (void)state;
    train_bed_init(&bed, TINY_VOCAB);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_learned_by_heart),
        cmocka_unit_test(bits_depend_on_nothing_they_should_not),
        cmocka_unit_test(what_samples_begin_with_is_computed_once),
        cmocka_unit_test(passes_change_no_bit_where_nothing_is_shared),
        cmocka_unit_test(a_restored_run_goes_on_to_the_same_bits),
        cmocka_unit_test(a_damaged_or_foreign_state_is_refused),
        cmocka_unit_test(only_the_named_matrices_get_a_pair),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(unusable_samples_are_named),
        cmocka_unit_test(a_loss_that_is_no_number_names_its_sample),
        cmocka_unit_test(encoders_are_refused),
    };
    return cmocka_run_group_tests(tests, make_bed, NULL);
}
