/* The matrix product: the specification against reference numbers from outside, and every instruction set against the
 * specification, bit by bit. Were this to fail, an answer would depend on the machine, the batch or the thread count,
 * and no recorded decision could be replayed. */
#include "support/support.h"

#include "base/mem.h"
#include "kernel/kernel.h"
#include "kernel/panel.h"
#include "product.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

static void compare_size(const weights_type *w, kernel_act act, uint64_t rows, uint64_t n_tok) {
    product p;
    product_init(&p, w, rows, few_columns(w->type), n_tok, WEIGHTS_RANDOM, X_NORMAL);
    same_as_ref(&p, act, NULL);
    product_release(&p);
}

/* Rows cut panels, tokens cut tiles; what cuts both is tried with a few of the other. */
static void compare_sizes(const weights_type *w, kernel_act act) {
    static const uint64_t n_toks[] = {1, 3, 13}, rows[] = {19, 32};
    for (size_t i = 0; i < ARRAY_LEN(n_toks); i++)
        for (uint64_t n = 1; n <= 50; n += n < 18 ? 1 : 16)
            compare_size(w, act, n, n_toks[i]);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (uint64_t n_tok = 1; n_tok <= 40; n_tok += n_tok < 14 ? 1 : 13)
            compare_size(w, act, rows[i], n_tok);
}

static void every_size_has_refs_bits(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        compare_sizes(&weights_all[i], KERNEL_ACT_INT8);
}

static void every_size_has_refs_bits_with_float_activations(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        compare_sizes(&weights_all[i], KERNEL_ACT_F32);
}

/* More tiles than a product takes at once, and more columns than a stretch of them has. */
static void many_tokens_and_columns_have_refs_bits(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        product p;
        uint64_t cols = 2048 + few_columns(weights_all[i].type);
        product_init(&p, &weights_all[i], 35, cols, 157, WEIGHTS_RANDOM, X_NORMAL);
        same_as_ref(&p, KERNEL_ACT_INT8, NULL);
        product_release(&p);
    }
}

/* Extremes saturate instructions that would saturate; random numbers never do. */
static void every_kind_of_value_has_refs_bits(void **state) {
    (void)state;
    static const uint64_t n_tok[] = {1, 13};
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        for (int w = 0; w < WEIGHTS_KINDS; w++)
            for (int x = 0; x < X_KINDS; x++)
                for (size_t n = 0; n < ARRAY_LEN(n_tok); n++) {
                    product p;
                    product_init(&p, &weights_all[i], 19, many_columns(weights_all[i].type), n_tok[n], (weights_kind)w,
                                 (x_kind)x);
                    same_as_ref(&p, KERNEL_ACT_INT8, NULL);
                    if (w == WEIGHTS_RANDOM)
                        same_as_ref(&p, KERNEL_ACT_F32, NULL);
                    product_release(&p);
                }
}

/* All codes of a panel; every layout repeats itself from byte to byte. */
static void fill_codes(kernel_weights *w, panel_shape s, int code) {
    size_t head = panel_head_bytes(s), block = panel_block_bytes(s), scales = panel_scale_bytes(s);
    int n_twos = s.code_bits == 6 || s.code_bits < 4 ? 2 : 0, n_whole = s.code_bits == 8 ? 8 : s.code_bits < 4 ? 0 : 4;
    uint8_t *super = w->owned;
    for (; super < (uint8_t *)w->owned + 2 * panel_bytes(w->type, w->cols); super += head + 8 * block)
        for (uint8_t *b = super + head; b < super + head + 8 * block; b += block) {
            uint8_t *v = b + scales;
            memset(v, s.code_bits == 8 ? code : (code & 15) * 0x11, (size_t)n_whole * PANEL_VECTOR);
            v += n_whole * PANEL_VECTOR;
            memset(v, (s.code_bits == 6 ? code >> 4 : code & 3) * 0x55, (size_t)n_twos * PANEL_VECTOR);
            v += n_twos * PANEL_VECTOR;
            memset(v, code >> (s.code_bits - 1) ? 0xff : 0, (size_t)(b + block - v));
        }
}

/* Every code a type has, as every weight of a matrix: the largest sums there are, in 16 bits and in 32. */
static void no_sum_of_one_code_saturates(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        if (panel_is_plain(weights_all[i].type))
            continue;
        const panel_shape shape = panel_format_get(weights_all[i].type)->shape;
        product p;
        product_init(&p, &weights_all[i], 18, 256, 7, WEIGHTS_RANDOM, X_EXTREME);
        for (int code = 0; code < 1 << shape.code_bits; code++) {
            fill_codes(&p.w, shape, code);
            same_as_ref(&p, KERNEL_ACT_INT8, NULL);
        }
        product_release(&p);
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
            product_init(&p, &weights_all[i], 21, many_columns(weights_all[i].type), 29, WEIGHTS_RANDOM, X_MIXED);
            product_run(&p, (kernel_isa)isa, KERNEL_ACT_INT8, NULL, false, p.expected);
            for (uint64_t t = 0; t < p.n_tok; t++) {
                product alone = p;
                alone.n_tok = 1;
                alone.x = p.x + t * p.x_stride;
                product_run(&alone, (kernel_isa)isa, KERNEL_ACT_INT8, NULL, false, p.y);
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
        product_init(&p, &weights_all[i], 18, many_columns(weights_all[i].type), 8, WEIGHTS_RANDOM, X_NONFINITE);
        product_run(&p, KERNEL_ISA_REF, KERNEL_ACT_INT8, NULL, false, p.y);
        bool quantised = tensor_type_traits((uint32_t)weights_all[i].type)->block_elems > 1;
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

/* A NaN scale of a row's first block; MXFP4 and NVFP4 have none that the format counts as one. */
static void nonfinite_weights_surface(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        tensor_type type = weights_all[i].type;
        uint64_t cols = 256;
        if (type == TENSOR_MXFP4 || type == TENSOR_NVFP4)
            continue;
        uint8_t *data = weights_new(&weights_all[i], 2, cols, WEIGHTS_RANDOM, 4);
        assert_non_null(data);
        weights_put_nan(&weights_all[i], data);
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
            uint32_t bits;
            memcpy(&bits, &y[0], 4);
            assert_int_equal(bits, 0x7fc00000);
            assert_true(isfinite(y[1]));
        }
        kernel_weights_release(&w);
        free(scratch);
        free(data);
    }
}

/* The file's weights by the type's codec, [rows][cols]; free() */
static float *dequantised(const weights_type *w, const uint8_t *data, uint64_t rows, uint64_t cols) {
    float *v = mem_alloc_array(rows * cols, sizeof *v);
    assert_non_null(v);
    tensor_type_traits((uint32_t)w->type)->dequantise(data, v, rows * cols);
    return v;
}

/* Float activations: the chain of the specification over the codec's values, to the bit. */
static void float_mode_is_the_chain_over_dequantised_values(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        uint64_t rows = 19, cols = many_columns(weights_all[i].type);
        product p;
        product_init(&p, &weights_all[i], rows, cols, 3, WEIGHTS_RANDOM, X_MIXED);
        uint8_t *data = weights_new(&weights_all[i], rows, cols, WEIGHTS_RANDOM, rows * 1000 + 3);
        assert_non_null(data);
        float *v = dequantised(&weights_all[i], data, rows, cols);
        for (uint64_t t = 0; t < p.n_tok; t++)
            for (uint64_t r = 0; r < p.y_stride; r++) {
                float acc = r < rows ? 0 : -123.0f;
                for (uint64_t k = 0; r < rows && k < cols; k++)
                    acc = fmaf(v[r * cols + k], p.x[t * p.x_stride + k], acc);
                p.expected[t * p.y_stride + r] = acc;
            }
        for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++)
            if (kernel_isa_available((kernel_isa)isa)) {
                product_run(&p, (kernel_isa)isa, KERNEL_ACT_F32, NULL, false, p.y);
                assert_memory_equal(p.y, p.expected, p.n_tok * p.y_stride * sizeof *p.y);
            }
        free(v);
        free(data);
        product_release(&p);
    }
}

/* Int8 activations: the codec's values times the rounded activations, in double precision, but for the rounding of one
 * f32 chain. Nothing of this goes through a panel. */
static void int8_mode_is_the_sum_over_rounded_activations(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        uint64_t rows = 19, cols = many_columns(weights_all[i].type);
        if (tensor_type_traits((uint32_t)weights_all[i].type)->block_elems == 1)
            continue;
        product p;
        product_init(&p, &weights_all[i], rows, cols, 1, WEIGHTS_RANDOM, X_NORMAL);
        uint8_t *data = weights_new(&weights_all[i], rows, cols, WEIGHTS_RANDOM, rows * 1000 + 1);
        assert_non_null(data);
        float *v = dequantised(&weights_all[i], data, rows, cols);
        product_run(&p, KERNEL_ISA_REF, KERNEL_ACT_INT8, NULL, false, p.y);
        for (uint64_t r = 0; r < rows; r++) {
            double sum = 0, size = 0;
            for (uint64_t b = 0; b < cols; b += 32) {
                float amax = 0;
                for (uint64_t k = b; k < b + 32; k++)
                    amax = MAX(amax, fabsf(p.x[k]));
                for (uint64_t k = b; k < b + 32; k++) {
                    double x = nearbyintf(p.x[k] * (127.0f / amax)) * (double)(amax / 127.0f);
                    sum += v[r * cols + k] * x;
                    size += fabs(v[r * cols + k] * x);
                }
            }
            assert_true(fabs(p.y[r] - sum) <= 1e-5 * size);
        }
        free(v);
        free(data);
        product_release(&p);
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
        const tensor_traits *t = tensor_type_traits((uint32_t)weights_all[i].type);
        str blocks, expected, values;
        read_golden(t->name, ".q.bin", &blocks);
        read_golden(t->name, ".mv.f32", &expected);
        read_golden(t->name, ".dq.f32", &values);
        tensor_view view = {weights_all[i].type, COLS, ROWS, blocks.data};
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
        cmocka_unit_test(float_mode_is_the_chain_over_dequantised_values),
        cmocka_unit_test(int8_mode_is_the_sum_over_rounded_activations),
        cmocka_unit_test(every_size_has_refs_bits),
        cmocka_unit_test(every_size_has_refs_bits_with_float_activations),
        cmocka_unit_test(many_tokens_and_columns_have_refs_bits),
        cmocka_unit_test(every_kind_of_value_has_refs_bits),
        cmocka_unit_test(no_sum_of_one_code_saturates),
        cmocka_unit_test(a_batch_does_not_change_a_bit),
        cmocka_unit_test(nonfinite_activations_surface),
        cmocka_unit_test(nonfinite_weights_surface),
        cmocka_unit_test(instruction_sets_are_chosen_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
