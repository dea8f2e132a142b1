/* If this fails, a model being trained isn't the model that runs, or its gradients aren't those of its loss.
 *
 * Small models of every architecture (tests/support/make_arch.c): the tape's logits beside the engine's exact ones, the
 * gradients of every pair in double against central differences and in float against double; and by no bit may it
 * matter how many threads there are, or whether activations are kept. In float with every instruction set. Samples that
 * begin alike are computed together, and must give what each gives alone. */
#include "support/make_arch.h"
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"

#include "train/wide.h"

#undef TRAIN_REAL
#define TRAIN_REAL 64
#include "train/real.h"
#include "train/tape.h"

#include <math.h>
#include <stdio.h>

enum { RANK = 3, N_SAMPLES = 4, MAX_TARGET = 512, N_MOST = 200 };

typedef struct variant {
    const char *name, *arch;
    make_change changes[3];
} variant;
#define END                                                                                                            \
    { 0 }
static const variant variants[] = {
    {"llama", "llama", {END}},
    {"llama, window", "llama", {{MAKE_U32, "attention.sliding_window", 5, NULL}, END}},
    {"llama, factors", "llama", {{MAKE_TENSOR, "rope_freqs.weight", 8, NULL}, END}},
    {"qwen2", "qwen2", {END}},
    {"qwen3", "qwen3", {END}},
    {"phi3", "phi3", {END}},
    {"phi3, long", "phi3", {{MAKE_U32, "rope.scaling.original_context_length", 20, NULL}, END}},
    {"nemotron", "nemotron", {END}},
    {"gemma2", "gemma2", {END}},
    {"gemma3", "gemma3", {END}},
    {"granite", "granite", {END}},
    {"smollm3", "smollm3", {END}},
};

/* Samples 0, 2 and 3 begin with the same n_shared ids. */
typedef struct shape {
    uint32_t n_tok[N_SAMPLES], n_shared;
} shape;
static const shape few = {{9, 24, 6, 5}, 4}, many = {{150, N_MOST, 90, 101}, 70};

/* Everything a variant's checks work on. */
typedef struct bed {
    engine *e;
    train_layout layout;
    train_plan plan;
    train_pass pass;
    double *params;
    float *narrow; /* the same values */
    int32_t ids[N_SAMPLES][N_MOST];
    uint8_t target[N_SAMPLES][N_MOST];
    train_sample samples[N_SAMPLES];
} bed;

static void open_bed(const variant *v, const shape *sh, bed *b) {
    const uint32_t *n_tok = sh->n_tok, n_shared = sh->n_shared;
    str bytes = STR_INIT;
    muga_error err = {0};
    rng r = {17};
    const char *path = scratch_path("model.gguf");
    *b = (bed){0};
    assert_true(make_arch(v->arch, v->changes, &bytes));
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    engine_options o = {.isa = -1, .n_threads = 1, .ids_only = true, .exact = true, .kv = KERNEL_KV_F32};
    assert_ok(engine_open(path, &o, &b->e, &err), &err);
    for (uint32_t s = 0; s < N_SAMPLES; s++) {
        b->samples[s] = (train_sample){b->ids[s], b->target[s], n_tok[s], s};
        for (uint32_t i = 0; i < n_tok[s]; i++) {
            b->ids[s][i] = (int32_t)rng_below(&r, MAKE_ARCH_VOCAB);
            b->target[s][i] = i > n_tok[s] / 2;
        }
    }
    /* One has a target in what is shared, and of the few one has nothing of its own but a label. */
    memcpy(b->ids[2], b->ids[0], n_shared * sizeof b->ids[0][0]);
    memcpy(b->ids[3], b->ids[0], n_shared * sizeof b->ids[0][0]);
    b->target[2][2] = 1;
    assert_ok(train_layout_init(engine_model(b->e), RANK, 6, NULL, &b->layout, &err), &err);
    assert_ok(train_plan_init(engine_model(b->e), b->samples, N_SAMPLES, 1000, &b->plan, &err), &err);
    assert_int_equal(b->plan.n_pass, 1);
    assert_int_equal(b->plan.n_row, n_tok[0] + n_tok[1] + n_tok[2] + n_tok[3] - 4 - 2 * n_shared);
    assert_ok(train_pass_init(engine_model(b->e), &b->plan, 0, &b->pass, &err), &err);
    b->params = mem_alloc_array(b->layout.n_params, sizeof *b->params);
    b->narrow = mem_alloc_array(b->layout.n_params, sizeof *b->narrow);
    for (size_t i = 0; i < b->layout.n_params; i++) {
        b->narrow[i] = (float)((double)rng_below(&r, 1u << 20) / (1 << 19) - 1) * 0.1f;
        b->params[i] = (double)b->narrow[i];
    }
}

static void close_bed(bed *b) {
    train_pass_release(&b->pass);
    train_plan_release(&b->plan);
    train_layout_release(&b->layout);
    free(b->params);
    free(b->narrow);
    engine_free(b->e);
}

/* ---- logits ---- */

typedef struct logits_check {
    const bed *b;
    const double *mine; /* [n_target][vocabulary] */
    uint32_t i_sample;
    double most, largest;
    uint32_t n_seen;
} logits_check;

static void compare_row(void *ctx, uint32_t pos, const float *logits) {
    logits_check *c = ctx;
    for (uint32_t i = 0; i < c->b->pass.n_target; i++) {
        if (c->b->pass.i_sample[i] != c->i_sample || c->b->pass.pos[i] != pos + 1)
            continue;
        c->n_seen++;
        for (uint32_t k = 0; k < MAKE_ARCH_VOCAB; k++) {
            c->most = fmax(c->most, fabs((double)logits[k] - c->mine[(size_t)i * MAKE_ARCH_VOCAB + k]));
            c->largest = fmax(c->largest, fabs((double)logits[k]));
        }
    }
}

/* With an adapter of zeroes, beside the engine; each sample alone there. */
static void check_logits(const variant *v, const bed *b) {
    static double loss[MAX_TARGET];
    double *zero = mem_alloc_array(b->layout.n_params, sizeof *zero);
    double *logits = mem_alloc_array((size_t)b->pass.n_target * MAKE_ARCH_VOCAB, sizeof *logits);
    logits_check c = {.b = b, .mine = logits};
    tape_memory memory = {0};
    muga_error err = {0};
    pass_args_f64 a = {.layout = &b->layout,
                       .pass = &b->pass,
                       .params = zero,
                       .weight = 1,
                       .memory = &memory,
                       .loss = loss,
                       .logits = logits};
    assert_in_range(b->pass.n_target, 1, MAX_TARGET);
    assert_true(train_pass_run_f64(&a));
    for (; c.i_sample < N_SAMPLES; c.i_sample++) {
        const train_sample *s = &b->samples[c.i_sample];
        engine_session *session = NULL;
        bool is_long = s->n == few.n_tok[1];
        assert_ok(engine_session_new(b->e, is_long ? 64 : 16, &session, &err), &err);
        engine_item it = {.session = session,
                          .ids = s->ids,
                          .n = s->n,
                          .want = ENGINE_LOGITS_ALL,
                          .on_logits = compare_row,
                          .on_logits_ctx = &c};
        assert_ok(engine_step(b->e, &it, 1, &err), &err);
        engine_session_free(session);
    }
    assert_int_equal(c.n_seen, b->pass.n_target);
    print_message("%s: logits %.1e of the largest from the engine's\n", v->name, c.most / c.largest);
    if (!(c.most / c.largest <= 1e-5))
        fail_msg("%s: logits are %g apart, the largest is %g", v->name, c.most, c.largest);
    tape_memory_release(&memory);
    free(zero);
    free(logits);
}

/* ---- gradients ---- */

static double loss_of_pass(const bed *b, const train_pass *pass, tape_memory *memory, double *grads) {
    static double loss[MAX_TARGET];
    uint64_t n_again = 0;
    double sum = 0;
    pass_args_f64 a = {.layout = &b->layout,
                       .pass = pass,
                       .params = b->params,
                       .grads = grads,
                       .weight = 1,
                       .n_again = &n_again,
                       .memory = memory,
                       .loss = loss};
    assert_true(train_pass_run_f64(&a));
    for (uint32_t i = 0; i < pass->n_target; i++)
        sum += loss[i];
    return sum;
}

static double loss_of(const bed *b, tape_memory *memory, double *grads) {
    return loss_of_pass(b, &b->pass, memory, grads);
}

/* Each sample in a pass of its own: the same loss, the same gradients. */
static void check_alone(const variant *v, const bed *b, tape_memory *memory, const double *grads) {
    double *alone = mem_alloc_array(b->layout.n_params, sizeof *alone), sum = 0, largest = 0, apart = 0;
    muga_error err = {0};
    memset(alone, 0, b->layout.n_params * sizeof *alone);
    for (uint32_t s = 0; s < N_SAMPLES; s++) {
        train_plan plan;
        train_pass pass;
        assert_ok(train_plan_init(engine_model(b->e), &b->samples[s], 1, 100, &plan, &err), &err);
        assert_ok(train_pass_init(engine_model(b->e), &plan, 0, &pass, &err), &err);
        sum += loss_of_pass(b, &pass, memory, alone);
        train_pass_release(&pass);
        train_plan_release(&plan);
    }
    for (size_t i = 0; i < b->layout.n_params; i++) {
        largest = fmax(largest, fabs(grads[i]));
        apart = fmax(apart, fabs(grads[i] - alone[i]));
    }
    double shared = loss_of(b, memory, NULL);
    print_message("%s: gradients %.1e of the largest from those of each sample alone\n", v->name, apart / largest);
    if (!(apart <= 1e-12 * largest) || !(fabs(sum - shared) <= 1e-12 * sum))
        fail_msg("%s: alone, gradients are %g apart, the largest is %g; losses are %.17g and %.17g", v->name, apart,
                 largest, sum, shared);
    free(alone);
}

static void narrow_gradients(const bed *b, kernel_isa isa, os_pool *pool, uint64_t keep_bytes, float *grads) {
    static double loss[MAX_TARGET];
    uint64_t n_again = 0;
    tape_memory memory = {0};
    memset(grads, 0, b->layout.n_params * sizeof *grads);
    pass_args_f32 a = {.layout = &b->layout,
                       .pass = &b->pass,
                       .params = b->narrow,
                       .grads = grads,
                       .weight = 1,
                       .keep_bytes = keep_bytes,
                       .n_again = &n_again,
                       .memory = &memory,
                       .pool = pool,
                       .loss = loss};
    assert_true(train_pass_for(isa)(&a));
    tape_memory_release(&memory);
}

/* Along one direction in the numbers [from, from + n): the slope of the loss, and the same by the gradient. */
static void check_direction(const variant *v, bed *b, tape_memory *memory, const double *grads, size_t from, size_t n,
                            const double *direction, double scale) {
    const double step = 1e-5;
    double slope = 0, side[2];
    for (int s = 0; s < 2; s++) {
        double by = s == 0 ? step : -step;
        for (size_t i = 0; i < n; i++)
            b->params[from + i] = (double)b->narrow[from + i] + by * direction[i];
        side[s] = loss_of(b, memory, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        b->params[from + i] = (double)b->narrow[from + i];
        slope += grads[from + i] * direction[i];
    }
    double measured = (side[0] - side[1]) / (2 * step);
    if (!(fabs(slope - measured) <= 1e-6 * scale))
        fail_msg("%s, numbers from %zu: slope %.12g, measured %.12g, the largest is %g", v->name, from, slope, measured,
                 scale);
}

static void compare(const variant *v, const double *grads, const float *narrow, size_t from, size_t n) {
    double largest = 0, apart = 0;
    for (size_t i = from; i < from + n; i++) {
        largest = fmax(largest, fabs(grads[i]));
        apart = fmax(apart, fabs(grads[i] - (double)narrow[i]));
    }
    if (!(apart <= 1e-3 * largest))
        fail_msg("%s, numbers from %zu: float is %g from double, the largest is %g", v->name, from, apart, largest);
}

/* One tensor of a pair: some of its numbers each by itself, and all of them at once. */
static void check_tensor(const variant *v, bed *b, tape_memory *memory, const double *grads, size_t from, size_t n,
                         rng *r) {
    double largest = 0, length = 0, *direction = mem_alloc_array(n, sizeof *direction);
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(grads[from + i]));
    assert_true(largest > 0);
    for (int k = 0; k < 2; k++) {
        memset(direction, 0, n * sizeof *direction);
        direction[rng_below(r, (uint32_t)n)] = 1;
        check_direction(v, b, memory, grads, from, n, direction, largest);
    }
    for (size_t i = 0; i < n; i++)
        direction[i] = rng_below(r, 2) ? 1 : -1;
    for (size_t i = 0; i < n; i++)
        length += direction[i] * direction[i];
    for (size_t i = 0; i < n; i++)
        direction[i] /= sqrt(length);
    check_direction(v, b, memory, grads, from, n, direction, largest);
    free(direction);
}

/* In float with every instruction set: near the gradients in double, and the same bits whatever the threads, kept or
 * not. */
static void check_narrow(const variant *v, const bed *b, const double *grads) {
    size_t bytes = b->layout.n_params * sizeof(float);
    float *narrow = mem_alloc_array(1, bytes), *other = mem_alloc_array(1, bytes);
    muga_error err = {0};
    for (int isa = KERNEL_ISA_COUNT - 1; isa >= 0; isa--) {
        if (!kernel_isa_available(isa))
            continue;
        narrow_gradients(b, isa, NULL, 0, narrow);
        narrow_gradients(b, isa, NULL, UINT64_MAX, other);
        assert_memory_equal(narrow, other, bytes);
        for (int n_thread = 2; n_thread <= 3; n_thread++) {
            os_pool *pool;
            assert_ok(os_pool_new(n_thread, &pool, &err), &err);
            narrow_gradients(b, isa, pool, n_thread == 3 ? UINT64_MAX : 1, other);
            assert_memory_equal(narrow, other, bytes);
            os_pool_free(pool);
        }
        for (uint32_t i = 0; i < b->layout.n_places; i++) {
            const train_place *p = &b->layout.places[i];
            if (p->a == TRAIN_NO_PAIR)
                continue;
            compare(v, grads, narrow, p->a, RANK * p->w->dims[0]);
            compare(v, grads, narrow, p->b, RANK * p->w->dims[1]);
        }
    }
    free(narrow);
    free(other);
}

static double *wide_gradients(const bed *b, tape_memory *memory) {
    double *grads = mem_alloc_array(b->layout.n_params, sizeof *grads);
    memset(grads, 0, b->layout.n_params * sizeof *grads);
    loss_of(b, memory, grads);
    return grads;
}

static void check_gradients(const variant *v, bed *b) {
    tape_memory memory = {0};
    rng r = {23};
    double *grads = wide_gradients(b, &memory);
    check_alone(v, b, &memory, grads);
    check_narrow(v, b, grads);
    for (uint32_t i = 0; i < b->layout.n_places; i++) {
        const train_place *p = &b->layout.places[i];
        if (p->a == TRAIN_NO_PAIR)
            continue;
        check_tensor(v, b, &memory, grads, p->a, RANK * p->w->dims[0], &r);
        check_tensor(v, b, &memory, grads, p->b, RANK * p->w->dims[1], &r);
    }
    tape_memory_release(&memory);
    free(grads);
}

static void every_architecture_trains_as_it_runs(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(variants); i += SANITIZED_THREADS ? 4 : 1) {
        bed b;
        open_bed(&variants[i], &few, &b);
        check_logits(&variants[i], &b);
        check_gradients(&variants[i], &b);
        close_bed(&b);
    }
}

/* More rows than a tile, a chunk of lines or a chunk of keys holds. */
static void many_rows_train_as_few(void **state) {
    (void)state;
    static const variant longer[] = {
        {"llama, many", "llama", {END}},
        {"llama, many, window", "llama", {{MAKE_U32, "attention.sliding_window", 37, NULL}, END}},
        {"gemma2, many", "gemma2", {END}},
    };
    for (size_t i = 0; i < ARRAY_LEN(longer); i += SANITIZED_THREADS ? 2 : 1) {
        bed b;
        tape_memory memory = {0};
        open_bed(&longer[i], &many, &b);
        double *grads = wide_gradients(&b, &memory);
        check_alone(&longer[i], &b, &memory, grads);
        check_narrow(&longer[i], &b, grads);
        tape_memory_release(&memory);
        free(grads);
        close_bed(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_architecture_trains_as_it_runs),
                                       cmocka_unit_test(many_rows_train_as_few)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
