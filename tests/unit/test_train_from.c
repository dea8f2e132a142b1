/* Training that goes on from an adapter's file. If this failed, an agent that learns on top of its expert would begin
 * from another one, or from half of it. */
#include "support/support.h"

#include "support/engine_fixture.h"
#include "support/train_fixture.h"
#include "train/adapter_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char base[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static trainer *trainer_new(const engine *e, uint32_t rank, float alpha, const char *targets, uint64_t seed) {
    trainer *t = NULL;
    muga_error err;
    train_options o = train_bed_options();
    o.rank = rank;
    o.alpha = alpha;
    o.targets = targets;
    o.seed = seed;
    assert_ok(train_new(engine_model(e), &o, &t, &err), &err);
    return t;
}

static double loss_of(trainer *t, const train_bed *b) {
    muga_error err;
    train_result r;
    assert_ok(train_loss(t, b->samples, BED_SAMPLES, NULL, &r, &err), &err);
    return r.loss;
}

/* A trainer after some steps, and its adapter as a file. */
static trainer *learn(const engine *e, const train_bed *b, const char *targets, tensor_type type, const char *path) {
    muga_error err;
    train_result r;
    trainer *t = trainer_new(e, 4, 8, targets, 5);
    for (int i = 0; i < 10; i++) {
        assert_ok(train_step(t, b->samples, BED_SAMPLES, &r, &err), &err);
    }
    assert_ok(train_adapter_write(t, "llama", base, type, &os_system()->files, path, &err), &err);
    return t;
}

static gguf_file *open_file(const char *path) {
    gguf_file *f;
    muga_error err;
    assert_ok(gguf_open(path, &f, &err), &err);
    return f;
}

static void it_goes_on_from_the_very_numbers(void **state) {
    (void)state;
    train_bed b;
    muga_error err;
    train_start start;
    train_tensor x, y;
    engine *e = open_plain();
    train_bed_init(&b, engine_params(e)->n_vocab);
    const char *path = scratch_path("a.gguf");
    trainer *t = learn(e, &b, NULL, TENSOR_F32, path);
    gguf_file *f = open_file(path);
    assert_ok(train_adapter_start(f, &start, &err), &err);
    assert_int_equal(start.rank, 4);
    assert_true(start.alpha == 8);
    trainer *u = trainer_new(e, start.rank, start.alpha, NULL, 77);
    assert_true(loss_of(u, &b) > loss_of(t, &b) + 0.1);
    assert_ok(train_adapter_read(u, f, &err), &err);
    gguf_close(f);
    for (uint32_t i = 0; i < train_tensor_count(t); i++) {
        train_tensor_at(t, i, &x);
        train_tensor_at(u, i, &y);
        assert_string_equal(x.name, y.name);
        assert_memory_equal(x.data, y.data, (size_t)x.rows * x.cols * sizeof(float));
    }
    assert_true(loss_of(u, &b) == loss_of(t, &b));
    train_result r;
    assert_ok(train_step(u, b.samples, BED_SAMPLES, &r, &err), &err);
    assert_true(loss_of(u, &b) < loss_of(t, &b));
    train_free(u);
    train_free(t);
    path = scratch_path("half.gguf");
    t = learn(e, &b, "attn_q,ffn_up", TENSOR_BF16, path);
    f = open_file(path);
    u = trainer_new(e, 4, 8, "attn_q,ffn_up", 77);
    assert_ok(train_adapter_read(u, f, &err), &err);
    assert_true(fabs(loss_of(u, &b) - loss_of(t, &b)) < 0.05);
    gguf_close(f);
    train_free(u);
    train_free(t);
    engine_free(e);
}

static void what_does_not_fit_is_refused_and_changes_nothing(void **state) {
    (void)state;
    static const struct {
        uint32_t rank;
        const char *targets, *part;
    } cases[] = {{8, "attn_q,attn_v", "not"}, {4, NULL, "not there"}, {4, "attn_q", "give --targets"}};
    train_bed b;
    muga_error err;
    train_start start;
    engine *e = open_plain();
    train_bed_init(&b, engine_params(e)->n_vocab);
    const char *path = scratch_path("two.gguf");
    train_free(learn(e, &b, "attn_q,attn_v", TENSOR_F32, path));
    gguf_file *f = open_file(path);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        trainer *t = trainer_new(e, cases[i].rank, 8, cases[i].targets, 3);
        double before = loss_of(t, &b);
        assert_status(train_adapter_read(t, f, &err), MUGA_E_INPUT, &err, cases[i].part);
        assert_true(loss_of(t, &b) == before);
        train_free(t);
    }
    gguf_close(f);
    f = open_file(source_path("tests/data/tiny.gguf"));
    assert_status(train_adapter_start(f, &start, &err), MUGA_E_INPUT, &err, "goes on from pairs");
    gguf_close(f);
    f = open_file(source_path("tests/data/tiny-adapter.gguf")); /* it has an embedding's pair, which is turned */
    assert_status(train_adapter_start(f, &start, &err), MUGA_E_INPUT, &err, "token_embd");
    gguf_close(f);
    engine_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_goes_on_from_the_very_numbers),
                                       cmocka_unit_test(what_does_not_fit_is_refused_and_changes_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
