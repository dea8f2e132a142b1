/* The matrix product: the specification against reference numbers from outside, and every instruction set against the
 * specification, bit by bit. Were this to fail, an answer would depend on the machine, the batch or the thread count,
 * and no recorded decision could be replayed. */
#include "support/support.h"

#include "base/mem.h"
#include "kernel/kernel.h"
#include "weights.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

typedef enum { X_NORMAL, X_EXTREME, X_ZERO, X_TINY, X_MIXED, X_NONFINITE, X_KINDS } x_kind;

static float x_value(x_kind kind, uint64_t t, uint64_t k, rng *r) {
    float u = (float)((double)rng_next(r) / 0x1p63 - 1);
    switch (kind) {
    case X_NORMAL: return u;
    case X_EXTREME: return t % 3 == 0 ? 3.0f : t % 3 == 1 ? -3.0f : k % 2 ? 3.0f : -3.0f; /* every code is +-127 */
    case X_ZERO: return k % 2 ? 0.0f : -0.0f;
    case X_TINY: return u * (k / 32 % 3 == 0 ? 0x1p-148f : k / 32 % 3 == 1 ? 0x1p-120f : 0x1.8p-119f);
    case X_MIXED: return u * ldexpf(1, (int)(rng_below(r, 80)) - 40);
    default: return t % 2 == 0 && k == 33 ? (t % 4 == 0 ? INFINITY : NAN) : u;
    }
}

typedef struct product {
    kernel_weights w;
    uint64_t n_tok;
    float *x, *y, *expected;
    void *scratch;
    size_t x_stride, y_stride;
} product;

enum { PAD = 5 }; /* floats after each row of x and y that must not matter and must not change */

static void product_init(product *p, tensor_type type, uint64_t rows, uint64_t cols, uint64_t n_tok,
                         weights_kind w_kind, x_kind kind) {
    uint8_t *data = weights_new(type, rows, cols, w_kind, rows * 1000 + n_tok);
    assert_non_null(data);
    tensor_view view = {type, cols, rows, data};
    muga_error err;
    assert_ok(kernel_pack(&view, NULL, &p->w, &err), &err);
    free(data);
    p->n_tok = n_tok;
    p->x_stride = cols + PAD;
    p->y_stride = rows + PAD;
    p->x = mem_alloc_array(n_tok * p->x_stride, sizeof *p->x);
    p->y = mem_alloc_array(n_tok * p->y_stride, sizeof *p->y);
    p->expected = mem_alloc_array(n_tok * p->y_stride, sizeof *p->expected);
    p->scratch = mem_alloc_aligned(kernel_act_bytes(n_tok, cols) + 64, 64);
    assert_true(p->x && p->y && p->expected && p->scratch);
    rng r = {rows + 77 * n_tok + (uint64_t)kind};
    for (uint64_t t = 0; t < n_tok; t++)
        for (uint64_t k = 0; k < p->x_stride; k++)
            p->x[t * p->x_stride + k] = k < cols ? x_value(kind, t, k, &r) : NAN;
}

static void product_release(product *p) {
    kernel_weights_release(&p->w);
    free(p->x);
    free(p->y);
    free(p->expected);
    free(p->scratch);
}

static void run(product *p, kernel_isa isa, kernel_act act, os_pool *pool, bool reuse, float *y) {
    for (uint64_t i = 0; !reuse && i < p->n_tok * p->y_stride; i++)
        y[i] = -123.0f;
    kernel_matmul_args a = {.w = &p->w,
                            .x = p->x,
                            .x_stride = p->x_stride,
                            .y = y,
                            .y_stride = p->y_stride,
                            .n_tok = p->n_tok,
                            .scratch = p->scratch,
                            .reuse = reuse,
                            .act = act};
    kernel_table_get(isa)->matmul(&a, pool);
}

static void same_as_ref(product *p, kernel_act act, os_pool *pool) {
    run(p, KERNEL_ISA_REF, act, NULL, false, p->expected);
    for (int isa = KERNEL_ISA_REF; isa < KERNEL_ISA_COUNT; isa++) {
        if (!kernel_isa_available((kernel_isa)isa))
            continue;
        run(p, (kernel_isa)isa, act, pool, false, p->y);
        assert_memory_equal(p->y, p->expected, p->n_tok * p->y_stride * sizeof *p->y);
        memset(p->y, 0x55, p->n_tok * p->y_stride * sizeof *p->y); /* again with the codes that are there */
        for (uint64_t t = 0; t < p->n_tok; t++)
            for (uint64_t i = p->w.rows; i < p->y_stride; i++)
                p->y[t * p->y_stride + i] = -123.0f;
        run(p, (kernel_isa)isa, act, pool, true, p->y);
        assert_memory_equal(p->y, p->expected, p->n_tok * p->y_stride * sizeof *p->y);
    }
}

/* Columns: one block, and more than a stretch of the loops (1024). */
static uint64_t few_columns(tensor_type type) {
    uint32_t block = tensor_type_traits((uint32_t)type)->block_elems;
    return block == 1 ? 43 : block == 32 ? 96 : 256;
}
static uint64_t many_columns(tensor_type type) {
    uint32_t block = tensor_type_traits((uint32_t)type)->block_elems;
    return block == 1 ? 300 : block == 32 ? 1024 + 96 : 1024 + 256;
}

static void compare_sizes(tensor_type type, kernel_act act) {
    for (uint64_t rows = 1; rows <= 50; rows += rows < 18 ? 1 : 5)
        for (uint64_t n_tok = 1; n_tok <= 40; n_tok += n_tok < 14 ? 1 : 13) {
            product p;
            product_init(&p, type, rows, few_columns(type), n_tok, WEIGHTS_RANDOM, X_NORMAL);
            same_as_ref(&p, act, NULL);
            product_release(&p);
        }
}

static void every_size_has_refs_bits(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        compare_sizes(weights_types[i], KERNEL_ACT_INT8);
}

static void every_size_has_refs_bits_with_float_activations(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        compare_sizes(weights_types[i], KERNEL_ACT_F32);
}

/* Extremes saturate instructions that would saturate; random numbers never do. */
static void every_kind_of_value_has_refs_bits(void **state) {
    (void)state;
    static const uint64_t n_tok[] = {1, 2, 13, 25};
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        for (int w = 0; w < WEIGHTS_KINDS; w++)
            for (int x = 0; x < X_KINDS; x++)
                for (size_t n = 0; n < ARRAY_LEN(n_tok); n++) {
                    product p;
                    product_init(&p, weights_types[i], 19, many_columns(weights_types[i]), n_tok[n], (weights_kind)w,
                                 (x_kind)x);
                    same_as_ref(&p, KERNEL_ACT_INT8, NULL);
                    if (w == WEIGHTS_RANDOM)
                        same_as_ref(&p, KERNEL_ACT_F32, NULL);
                    product_release(&p);
                }
}

static void threads_do_not_change_a_bit(void **state) {
    (void)state;
    muga_error err;
    for (int n_thread = 2; n_thread <= 4; n_thread++) {
        os_pool *pool;
        assert_ok(os_pool_new(n_thread, &pool, &err), &err);
        for (int i = 0; i < WEIGHTS_N_TYPE; i++)
            for (uint64_t n_tok = 1; n_tok <= 70; n_tok += 23) {
                product p;
                product_init(&p, weights_types[i], 333, many_columns(weights_types[i]), n_tok, WEIGHTS_RANDOM,
                             X_NORMAL);
                same_as_ref(&p, KERNEL_ACT_INT8, pool);
                product_release(&p);
            }
        os_pool_free(pool);
    }
}

/* A token's result is the same alone and in any company. */
static void a_batch_does_not_change_a_bit(void **state) {
    (void)state;
    for (int isa = KERNEL_ISA_REF; isa < KERNEL_ISA_COUNT; isa++) {
        if (!kernel_isa_available((kernel_isa)isa))
            continue;
        for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
            product p;
            product_init(&p, weights_types[i], 21, many_columns(weights_types[i]), 29, WEIGHTS_RANDOM, X_MIXED);
            run(&p, (kernel_isa)isa, KERNEL_ACT_INT8, NULL, false, p.expected);
            for (uint64_t t = 0; t < p.n_tok; t++) {
                product alone = p;
                alone.n_tok = 1;
                alone.x = p.x + t * p.x_stride;
                run(&alone, (kernel_isa)isa, KERNEL_ACT_INT8, NULL, false, p.y);
                assert_memory_equal(p.y, p.expected + t * p.y_stride, p.w.rows * sizeof *p.y);
            }
            product_release(&p);
        }
    }
}

/* A NaN or infinity reaches every output of its token and no output of another. */
static void nonfinite_activations_surface(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        product p;
        product_init(&p, weights_types[i], 18, many_columns(weights_types[i]), 8, WEIGHTS_RANDOM, X_NONFINITE);
        run(&p, KERNEL_ISA_REF, KERNEL_ACT_INT8, NULL, false, p.y);
        bool quantised = tensor_type_traits((uint32_t)weights_types[i])->block_elems > 1;
        for (uint64_t t = 0; t < p.n_tok; t++)
            for (uint64_t r = 0; r < p.w.rows; r++) {
                uint32_t bits;
                memcpy(&bits, &p.y[t * p.y_stride + r], 4);
                if (t % 2 == 0 && quantised)
                    assert_int_equal(bits, 0x7fc00000);
                else
                    assert_true(t % 2 == 0 || isfinite(p.y[t * p.y_stride + r]));
                if (t % 4 == 2)
                    assert_int_equal(bits, 0x7fc00000);
            }
        product_release(&p);
    }
}

static void nonfinite_weights_surface(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        tensor_type type = weights_types[i];
        uint64_t cols = 256;
        uint8_t *data = weights_new(type, 2, cols, WEIGHTS_RANDOM, 4);
        assert_non_null(data);
        static const uint8_t infinity_f32[4] = {0, 0, 0x80, 0x7f}, nan_f16[2] = {1, 0x7c}, nan_bf16[2] = {0x81, 0x7f};
        memcpy(data + (type == TENSOR_Q6_K ? 208 : 0),
               type == TENSOR_F32    ? infinity_f32
               : type == TENSOR_BF16 ? nan_bf16
                                     : nan_f16,
               type == TENSOR_F32 ? 4 : 2);
        tensor_view view = {type, cols, 2, data};
        float x[256], y[2];
        for (int k = 0; k < 256; k++)
            x[k] = 1.0f + (float)k;
        void *scratch = mem_alloc_aligned(kernel_act_bytes(1, cols), 64);
        kernel_weights w;
        muga_error err;
        assert_ok(kernel_pack(&view, NULL, &w, &err), &err);
        for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
            if (!kernel_isa_available((kernel_isa)isa))
                continue;
            kernel_matmul_args a = {
                .w = &w, .x = x, .x_stride = cols, .y = y, .y_stride = 2, .n_tok = 1, .scratch = scratch};
            kernel_table_get((kernel_isa)isa)->matmul(&a, NULL);
            assert_false(isfinite(y[0]));
            assert_true(isfinite(y[1]));
        }
        kernel_weights_release(&w);
        free(scratch);
        free(data);
    }
}

static void read_golden(const char *type, const char *what, str *out) {
    char name[64];
    int n = snprintf(name, sizeof name, "golden/vectors/%s%s", type, what);
    for (int i = 15; i < n; i++)
        name[i] = (char)tolower((unsigned char)name[i]);
    muga_error err;
    str_init(out, 0);
    assert_ok(os_read_file(&os_system()->files, shared_path(name), 1 << 20, out, &err), &err);
}

/* Against products in double precision by another program: the int8 mode errs by the rounding of activations only. */
static void products_are_those_of_the_reference_vectors(void **state) {
    (void)state;
    enum { ROWS = 4, COLS = 512 };
    str x;
    read_golden("", "activation.f32", &x);
    void *scratch = mem_alloc_aligned(kernel_act_bytes(1, COLS), 64);
    assert_non_null(scratch);
    for (int i = 1; i < WEIGHTS_N_TYPE; i++) {
        const tensor_traits *t = tensor_type_traits((uint32_t)weights_types[i]);
        str blocks, expected, values;
        read_golden(t->name, ".q.bin", &blocks);
        read_golden(t->name, ".mv.f32", &expected);
        read_golden(t->name, ".dq.f32", &values);
        tensor_view view = {weights_types[i], COLS, ROWS, blocks.data};
        kernel_weights w;
        muga_error err;
        assert_ok(kernel_pack(&view, NULL, &w, &err), &err);
        for (int act = KERNEL_ACT_INT8; act <= KERNEL_ACT_F32; act++) {
            float y[ROWS];
            kernel_matmul_args a = {.w = &w,
                                    .x = (const float *)(const void *)x.data,
                                    .x_stride = COLS,
                                    .y = y,
                                    .y_stride = ROWS,
                                    .n_tok = 1,
                                    .scratch = scratch,
                                    .act = (kernel_act)act};
            kernel_table_get(KERNEL_ISA_REF)->matmul(&a, NULL);
            for (int r = 0; r < ROWS; r++) {
                double norm = 0, expect = ((const float *)(const void *)expected.data)[r];
                for (int k = 0; k < COLS; k++) {
                    double v = ((const float *)(const void *)values.data)[r * COLS + k] *
                               (double)((const float *)(const void *)x.data)[k];
                    norm += v * v;
                }
                double limit = sqrt(norm) * (act == KERNEL_ACT_F32 || t->block_elems == 1 ? 1e-5 : 2e-2);
                assert_true(fabs(y[r] - expect) <= limit + 1e-12);
            }
        }
        kernel_weights_release(&w);
        str_release(&blocks);
        str_release(&expected);
        str_release(&values);
    }
    free(scratch);
    str_release(&x);
}

/* A dot product worked out by hand: block of ones, d = 0.5, m = 2; activations 1..32 give d_x = 32 / 127. */
static void one_block_is_what_the_arithmetic_says(void **state) {
    (void)state;
    uint8_t block[20] = {0x00, 0x38, 0x00, 0x40}; /* f16 0.5, f16 2 */
    memset(block + 4, 0x11, 16);
    float x[32], y;
    int32_t sum = 0;
    for (int k = 0; k < 32; k++) {
        x[k] = (float)(k + 1);
        sum += (int32_t)nearbyintf(x[k] * (127.0f / 32.0f));
    }
    float d_x = 32.0f / 127.0f, expected = fmaf((float)sum, 0.5f * d_x, 0);
    expected = fmaf(2.0f, d_x * (float)sum, expected);
    tensor_view view = {TENSOR_Q4_1, 32, 1, block};
    kernel_weights w;
    muga_error err;
    assert_ok(kernel_pack(&view, NULL, &w, &err), &err);
    _Alignas(64) uint8_t scratch[64];
    assert_true(kernel_act_bytes(1, 32) <= sizeof scratch);
    kernel_matmul_args a = {.w = &w, .x = x, .x_stride = 32, .y = &y, .y_stride = 1, .n_tok = 1, .scratch = scratch};
    for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++)
        if (kernel_isa_available((kernel_isa)isa)) {
            kernel_table_get((kernel_isa)isa)->matmul(&a, NULL);
            assert_memory_equal(&y, &expected, sizeof y);
        }
    kernel_weights_release(&w);
}

static void instruction_sets_are_chosen_by_name(void **state) {
    (void)state;
    kernel_isa isa;
    for (int i = 0; i < KERNEL_ISA_COUNT; i++) {
        assert_true(kernel_isa_parse(kernel_isa_name((kernel_isa)i), &isa));
        assert_int_equal(isa, i);
        const kernel_table *t = kernel_table_get((kernel_isa)i);
        assert_true((t != NULL) == kernel_isa_available((kernel_isa)i));
        if (t)
            assert_int_equal(t->isa, i);
    }
    assert_false(kernel_isa_parse("sse2", &isa));
    assert_non_null(kernel_table_get(KERNEL_ISA_REF));
    assert_non_null(kernel_table_get(kernel_isa_best()));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_block_is_what_the_arithmetic_says),
        cmocka_unit_test(products_are_those_of_the_reference_vectors),
        cmocka_unit_test(every_size_has_refs_bits),
        cmocka_unit_test(every_size_has_refs_bits_with_float_activations),
        cmocka_unit_test(every_kind_of_value_has_refs_bits),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(a_batch_does_not_change_a_bit),
        cmocka_unit_test(nonfinite_activations_surface),
        cmocka_unit_test(nonfinite_weights_surface),
        cmocka_unit_test(instruction_sets_are_chosen_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
