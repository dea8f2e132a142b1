/* The matrix product: the specification against reference numbers from outside, and every instruction set against the
 * specification, bit by bit. Were this to fail, an answer would depend on the machine, the batch or the thread count,
 * and no recorded decision could be replayed. */
#include "support/support.h"

#include "base/mem.h"
#include "kernel/kernel.h"
#include "product.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

static void compare_sizes(const weights_type *w, kernel_act act) {
    for (uint64_t rows = 1; rows <= 50; rows += rows < 18 ? 1 : 5)
        for (uint64_t n_tok = 1; n_tok <= 40; n_tok += n_tok < 14 ? 1 : 13) {
            product p;
            product_init(&p, w, rows, few_columns(w->type), n_tok, WEIGHTS_RANDOM, X_NORMAL);
            same_as_ref(&p, act, NULL);
            product_release(&p);
        }
}

static void every_size_has_refs_bits(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        if (kernel_type_supported(weights_all[i].type))
            compare_sizes(&weights_all[i], KERNEL_ACT_INT8);
}

static void every_size_has_refs_bits_with_float_activations(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        if (kernel_type_supported(weights_all[i].type))
            compare_sizes(&weights_all[i], KERNEL_ACT_F32);
}

/* Extremes saturate instructions that would saturate; random numbers never do. */
static void every_kind_of_value_has_refs_bits(void **state) {
    (void)state;
    static const uint64_t n_tok[] = {1, 2, 13, 25};
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        if (kernel_type_supported(weights_all[i].type))
            for (int w = 0; w < WEIGHTS_KINDS; w++)
                for (int x = 0; x < X_KINDS; x++)
                    for (size_t n = 0; n < ARRAY_LEN(n_tok); n++) {
                        product p;
                        product_init(&p, &weights_all[i], 19, many_columns(weights_all[i].type), n_tok[n],
                                     (weights_kind)w, (x_kind)x);
                        same_as_ref(&p, KERNEL_ACT_INT8, NULL);
                        if (w == WEIGHTS_RANDOM)
                            same_as_ref(&p, KERNEL_ACT_F32, NULL);
                        product_release(&p);
                    }
}

/* A token's result is the same alone and in any company. */
static void a_batch_does_not_change_a_bit(void **state) {
    (void)state;
    for (int isa = KERNEL_ISA_REF; isa < KERNEL_ISA_COUNT; isa++) {
        if (!kernel_isa_available((kernel_isa)isa))
            continue;
        for (int i = 0; i < WEIGHTS_N_TYPE; i++)
            if (kernel_type_supported(weights_all[i].type)) {
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
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        if (kernel_type_supported(weights_all[i].type)) {
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

static void nonfinite_weights_surface(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        if (kernel_type_supported(weights_all[i].type)) {
            tensor_type type = weights_all[i].type;
            uint64_t cols = 256;
            uint8_t *data = weights_new(&weights_all[i], 2, cols, WEIGHTS_RANDOM, 4);
            assert_non_null(data);
            static const uint8_t infinity_f32[4] = {0, 0, 0x80, 0x7f}, nan_f16[2] = {1, 0x7c},
                                 nan_bf16[2] = {0x81, 0x7f};
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
    for (int i = 1; i < WEIGHTS_N_TYPE; i++)
        if (kernel_type_supported(weights_all[i].type)) {
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
        cmocka_unit_test(every_size_has_refs_bits),
        cmocka_unit_test(every_size_has_refs_bits_with_float_activations),
        cmocka_unit_test(every_kind_of_value_has_refs_bits),
        cmocka_unit_test(a_batch_does_not_change_a_bit),
        cmocka_unit_test(nonfinite_activations_surface),
        cmocka_unit_test(nonfinite_weights_surface),
        cmocka_unit_test(instruction_sets_are_chosen_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
