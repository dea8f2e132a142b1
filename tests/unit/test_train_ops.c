/* If this fails, some operation of the tape has a wrong gradient: training would go on, and end somewhere else.
 *
 * Every operation, in double against central differences, and in float against double: the same code for both
 * (train/real.h). And the numbers may not depend on the threads. (Under the thread sanitizer test_train and
 * test_train_model run the same operations; here the differences take minutes.)
 * ctest: unthreaded */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tensor/quantise.h"

#define TRAIN_REAL 32
#include "train/real.h"
#include "train/tape.h"

#undef TRAIN_REAL
#define TRAIN_REAL 64
#include "train/real.h"
#include "train/tape.h"

#include <math.h>
#include <stdio.h>

enum { HEAD_DIM = 8, MOST = 4096 };
static const double PAIR_SCALE = 0.75;
static float norm_w[128], norm_b[128], angles_cos[64 * HEAD_DIM / 2], angles_sin[64 * HEAD_DIM / 2];
static const uint32_t taken_rows[] = {1, 2, 5};
static const uint32_t loss_row[] = {0, 2, 2, 5};
static const int32_t loss_label[] = {3, 0, 7, 40};

typedef struct train_case {
    const char *name;
    enum { OP_NORM, OP_ROPE, OP_ATTENTION, OP_LINEAR, OP_GATED, OP_RELU, OP_ADD, OP_COLUMNS, OP_ROWS, OP_LOSS } op;
    struct {
        uint32_t rows, cols;
    } in[3];
    uint32_t n_in;
    uint32_t n_head, n_head_kv, n_rot, window;
    float cap;
    bool norm, layer, pairs; /* pairs also chooses gelu */
    tensor_type type;        /* of w */
    uint32_t w_rows, n_w;
    train_segments segments;
    tensor_view w[2]; /* made by the test */
} train_case;

static const train_segment one[] = {{0, 9, 0, 0, 0}};
static const train_segment three[] = {{0, 4, 0, 0, 0}, {4, 5, 0, 0, 1}, {5, 9, 0, 0, 2}};
static const train_segment shared[] = {{0, 3, 0, 0, 0}, {3, 5, 0, 3, 0}, {5, 9, 0, 3, 0}};
#define SEGMENTS(s, groups)                                                                                            \
    { s, ARRAY_LEN(s), groups }
#define ATTENTION                                                                                                      \
    .op = OP_ATTENTION, .in = {{9, 4 * HEAD_DIM}, {9, 2 * HEAD_DIM}, {9, 2 * HEAD_DIM}}, .n_in = 3, .n_head = 4,       \
    .n_head_kv = 2
#define LINEAR .op = OP_LINEAR, .n_w = 2

static const train_case cases[] = {
    {.name = "rms norm", .op = OP_NORM, .in = {{5, 24}}, .n_in = 1, .n_head = 1, .norm = true},
    {.name = "rms norm of heads, no weights", .op = OP_NORM, .in = {{5, 24}}, .n_in = 1, .n_head = 3},
    {.name = "layer norm", .op = OP_NORM, .in = {{5, 24}}, .n_in = 1, .n_head = 1, .norm = true, .layer = true},
    {.name = "layer norm of heads", .op = OP_NORM, .in = {{5, 24}}, .n_in = 1, .n_head = 2, .layer = true},
    {.name = "rope, halves", .op = OP_ROPE, .in = {{6, 24}}, .n_in = 1, .n_head = 3, .n_rot = 8},
    {.name = "rope, pairs, half of a head",
     .op = OP_ROPE,
     .in = {{6, 24}},
     .n_in = 1,
     .n_head = 3,
     .n_rot = 4,
     .pairs = true},
    {.name = "attention", ATTENTION, .segments = SEGMENTS(one, 1)},
    {.name = "attention, window", ATTENTION, .window = 3, .segments = SEGMENTS(one, 1)},
    {.name = "attention, soft cap", ATTENTION, .cap = 1.5f, .segments = SEGMENTS(one, 1)},
    {.name = "attention, packed", ATTENTION, .segments = SEGMENTS(three, 3)},
    {.name = "attention, packed, window, cap", ATTENTION, .window = 2, .cap = 2, .segments = SEGMENTS(three, 3)},
    {.name = "attention, shared prefix", ATTENTION, .segments = SEGMENTS(shared, 1)},
    {.name = "attention, shared prefix, window", ATTENTION, .window = 4, .segments = SEGMENTS(shared, 1)},
    {.name = "linear F32", LINEAR, .in = {{7, 20}}, .n_in = 1, .type = TENSOR_F32, .w_rows = 37},
    {.name = "linear F16, bias", LINEAR, .in = {{7, 20}}, .n_in = 1, .type = TENSOR_F16, .w_rows = 5, .norm = true},
    {.name = "linear Q8_0, pair",
     LINEAR,
     .in = {{7, 64}, {3, 64}, {70, 3}},
     .n_in = 3,
     .type = TENSOR_Q8_0,
     .w_rows = 70},
    {.name = "linear Q4_1, pair, bias",
     LINEAR,
     .in = {{9, 96}, {5, 96}, {33, 5}},
     .n_in = 3,
     .type = TENSOR_Q4_1,
     .w_rows = 33,
     .norm = true},
    {.name = "linear Q4_K, pair",
     LINEAR,
     .in = {{2, 512}, {2, 512}, {19, 2}},
     .n_in = 3,
     .type = TENSOR_Q4_K,
     .w_rows = 19},
    {.name = "linear Q6_K", LINEAR, .in = {{3, 768}}, .n_in = 1, .type = TENSOR_Q6_K, .w_rows = 6},
    {.name = "linear F32, long sums, pair",
     LINEAR,
     .in = {{2, 300}, {1, 300}, {290, 1}},
     .n_in = 3,
     .type = TENSOR_F32,
     .w_rows = 290},
    {.name = "gated silu", .op = OP_GATED, .in = {{4, 22}}, .n_in = 1},
    {.name = "gated gelu", .op = OP_GATED, .in = {{4, 22}}, .n_in = 1, .pairs = true},
    {.name = "squared relu", .op = OP_RELU, .in = {{4, 22}}, .n_in = 1},
    {.name = "residual", .op = OP_ADD, .in = {{4, 22}, {4, 22}}, .n_in = 2},
    {.name = "residual of the same twice", .op = OP_ADD, .in = {{4, 22}}, .n_in = 1},
    {.name = "columns", .op = OP_COLUMNS, .in = {{4, 9}}, .n_in = 1},
    {.name = "rows", .op = OP_ROWS, .in = {{6, 9}}, .n_in = 1},
    {.name = "loss", .op = OP_LOSS, .in = {{6, 32}}, .n_in = 1, .type = TENSOR_Q8_0, .w_rows = 41, .n_w = 1},
    {.name = "loss, cap",
     .op = OP_LOSS,
     .in = {{6, 32}},
     .n_in = 1,
     .type = TENSOR_F32,
     .w_rows = 41,
     .n_w = 1,
     .cap = 3},
};

#undef TRAIN_REAL
#define TRAIN_REAL 32
#include "train/real.h"

#include "support/train_case.h"

#undef TRAIN_REAL
#define TRAIN_REAL 64
#include "train/real.h"

#include "support/train_case.h"

static double random_value(rng *r) {
    return (double)rng_below(r, 1u << 20) / (1 << 19) - 1;
}

static int make_tables(void **state) {
    (void)state;
    rng r = {11};
    for (size_t i = 0; i < ARRAY_LEN(norm_w); i++) {
        norm_w[i] = (float)(1 + random_value(&r) / 2);
        norm_b[i] = (float)random_value(&r);
    }
    for (size_t i = 0; i < ARRAY_LEN(angles_cos); i++) {
        angles_cos[i] = (float)(1.1 * cos((double)i));
        angles_sin[i] = (float)(1.1 * sin((double)i));
    }
    return 0;
}

/* Rows of random values in the case's type. */
static void *make_matrix(const train_case *c, rng *r, tensor_view *out) {
    const tensor_traits *t = tensor_type_traits(c->type);
    uint32_t cols = c->in[0].cols;
    size_t row_bytes = cols / t->block_elems * t->block_bytes;
    float *row = mem_alloc_array(cols, sizeof *row);
    char *data = mem_alloc_array(c->w_rows, row_bytes);
    assert_true(row && data);
    for (uint32_t i = 0; i < c->w_rows; i++) {
        for (uint32_t k = 0; k < cols; k++)
            row[k] = (float)random_value(r);
        tensor_quantise(c->type, row, NULL, data + i * row_bytes, cols);
    }
    free(row);
    *out = (tensor_view){c->type, cols, c->w_rows, data};
    return data;
}

/* How far a lies from b, in shares of the largest of b. */
static double apart(const double *a, const double *b, uint32_t n) {
    double most = 0, largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        double d = fabs(a[i] - b[i]);
        most = d > most || d != d ? d : most;
        largest = MAX(largest, fabs(b[i]));
    }
    assert_true(largest > 0);
    return most / largest;
}

static void check(train_case c) {
    static double values[MOST], weights[MOST], grads[MOST], narrow[MOST], threaded[MOST], differences[MOST];
    rng r = {7};
    void *data[2] = {0};
    os_pool *pool;
    muga_error err = {0};
    uint32_t n = 0;
    assert_ok(os_pool_new(3, &pool, &err), &err);
    for (uint32_t i = 0; i < c.n_in; i++)
        n += c.in[i].rows * c.in[i].cols;
    assert_true(n <= MOST);
    for (uint32_t i = 0; i < MOST; i++) {
        values[i] = (double)(float)random_value(&r);
        weights[i] = (double)(float)random_value(&r);
    }
    for (uint32_t i = 0; i < c.n_w; i++)
        data[i] = make_matrix(&c, &r, &c.w[i]);
    evaluate_f64(&c, NULL, values, weights, grads);
    evaluate_f64(&c, pool, values, weights, threaded);
    assert_memory_equal(grads, threaded, n * sizeof *grads);
    evaluate_f32(&c, NULL, values, weights, narrow);
    evaluate_f32(&c, pool, values, weights, threaded);
    assert_memory_equal(narrow, threaded, n * sizeof *grads);
    memcpy(differences, grads, n * sizeof *grads);
    for (uint32_t i = 0; i < n; i += SANITIZED ? 7 : 1) {
        const double step = 1e-5, at = values[i];
        values[i] = at + step;
        double above = evaluate_f64(&c, NULL, values, weights, NULL);
        values[i] = at - step;
        differences[i] = (above - evaluate_f64(&c, NULL, values, weights, NULL)) / (2 * step);
        values[i] = at;
    }
    for (uint32_t i = 0, from = 0; i < c.n_in; from += c.in[i].rows * c.in[i].cols, i++) {
        uint32_t count = c.in[i].rows * c.in[i].cols;
        double wide = apart(grads + from, differences + from, count),
               single = apart(narrow + from, grads + from, count);
        if (!(wide <= 1e-6) || !(single <= 1e-3))
            fail_msg("%s, input %u: %g from the differences, float %g from double", c.name, i, wide, single);
        print_message("%s, input %u: %.1e from the differences, float %.1e from double\n", c.name, i, wide, single);
    }
    for (size_t i = 0; i < ARRAY_LEN(data); i++)
        free(data[i]);
    os_pool_free(pool);
}

static void gradients_are_those_of_finite_differences(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check(cases[i]);
}

/* A row must see nothing of another sample: its value changes by no bit when theirs do. */
static void packed_samples_do_not_see_each_other(void **state) {
    (void)state;
    static double values[MOST], weights[MOST];
    const train_case c = {ATTENTION, .segments = SEGMENTS(three, 3)};
    rng r = {3};
    for (uint32_t i = 0; i < MOST; i++)
        values[i] = random_value(&r);
    for (uint32_t k = 0; k < 4 * HEAD_DIM; k++)
        weights[4 * 4 * HEAD_DIM + k] = 1; /* row 4, alone in its segment */
    double before = evaluate_f64(&c, NULL, values, weights, NULL);
    for (uint32_t i = 0; i < 9; i++)
        for (uint32_t k = 0; i != 4 && k < 2 * HEAD_DIM; k++) {
            values[9 * 4 * HEAD_DIM + i * 2 * HEAD_DIM + k] += 1;
            values[9 * 6 * HEAD_DIM + i * 2 * HEAD_DIM + k] += 1;
        }
    double after = evaluate_f64(&c, NULL, values, weights, NULL);
    assert_memory_equal(&before, &after, sizeof before);
}

/* Rows of a table, times a scale, as its type has them. */
static void embedding_looks_rows_up(void **state) {
    (void)state;
    const train_case c = {.in = {{1, 512}}, .type = TENSOR_Q4_K, .w_rows = 5};
    const int32_t ids[] = {4, 0, 4};
    float want[512];
    rng r = {9};
    tensor_view w;
    void *data = make_matrix(&c, &r, &w);
    tape_memory memory = {0};
    tape t = {.memory = &memory};
    var *x = tape_embedding(&t, &w, ids, 3, 0.5f);
    const tensor_traits *traits = tensor_type_traits(w.type);
    for (uint32_t i = 0; i < 3; i++) {
        traits->dequantise((const char *)data + (size_t)ids[i] * 2 * traits->block_bytes, want, 512);
        for (uint32_t k = 0; k < 512; k++)
            assert_true(x->v[i * x->stride + k] == (double)want[k] * 0.5);
    }
    tape_memory_release(&memory);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_are_those_of_finite_differences),
                                       cmocka_unit_test(packed_samples_do_not_see_each_other),
                                       cmocka_unit_test(embedding_looks_rows_up)};
    return cmocka_run_group_tests(tests, make_tables, NULL);
}
