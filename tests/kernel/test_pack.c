/* Packed panels hold exactly what the file's blocks say. Were this to fail, a model would compute with shuffled or
 * damaged weights, or a malformed matrix would be read past its end. */
#include "support/support.h"

#include "base/mem.h"
#include "kernel/kernel.h"
#include "kernel/panel.h"
#include "weights.h"

#include <math.h>

static kernel_weights pack(tensor_type type, uint64_t rows, uint64_t cols, const void *data, os_pool *pool) {
    tensor_view view = {type, cols, rows, data};
    kernel_weights w;
    muga_error err;
    assert_ok(kernel_pack(&view, pool, &w, &err), &err);
    return w;
}

/* Bits, but any NaN is as good as another: which one an operation gives is the processor's choice. */
static void assert_same_values(const float *got, const float *expected, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        if (!isnan(got[i]) || !isnan(expected[i]))
            assert_memory_equal(&got[i], &expected[i], sizeof *got);
}

static void a_row_read_back_has_the_codecs_bits(void **state) {
    (void)state;
    static const uint64_t rows[] = {1, 2, 15, 16, 17, 33};
    for (int i = 0; i < WEIGHTS_N_TYPE; i++)
        for (size_t n = 0; n < ARRAY_LEN(rows); n++)
            for (int kind = 0; kind < WEIGHTS_KINDS; kind++) {
                tensor_type type = weights_all[i].type;
                const tensor_traits *t = tensor_type_traits((uint32_t)type);
                uint64_t cols = t->block_elems == 1 ? 37 : 3 * t->block_elems;
                uint8_t *data = weights_new(&weights_all[i], rows[n], cols, (weights_kind)kind, n * 7 + 1);
                assert_non_null(data);
                kernel_weights w = pack(type, rows[n], cols, data, NULL);
                assert_int_equal(w.rows, rows[n]);
                assert_int_equal(w.cols, cols);
                float expected[3 * 256], got[3 * 256];
                for (uint64_t r = 0; r < rows[n]; r++) {
                    t->dequantise(data + r * (cols / t->block_elems) * t->block_bytes, expected, cols);
                    kernel_weights_row(&w, r, got);
                    assert_same_values(got, expected, cols);
                }
                kernel_weights_release(&w);
                assert_null(w.panels);
                free(data);
            }
}

/* Parts of a whole, wherever they are cut and wherever they lie: the panels of the whole. */
static void parts_are_packed_as_the_whole(void **state) {
    (void)state;
    static const uint64_t cuts[][2] = {{1, 1}, {15, 17}, {16, 32}, {5, 39}};
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        tensor_type type = weights_all[i].type;
        const tensor_traits *t = tensor_type_traits((uint32_t)type);
        const uint64_t cols = 256, rows = 50, row_bytes = cols / t->block_elems * t->block_bytes;
        uint8_t *data = weights_new(&weights_all[i], rows, cols, WEIGHTS_RANDOM, 9);
        assert_non_null(data);
        kernel_weights whole = pack(type, rows, cols, data, NULL);
        for (size_t n = 0; n < ARRAY_LEN(cuts); n++) {
            const uint64_t from[4] = {0, cuts[n][0], cuts[n][1], rows};
            tensor_view parts[3];
            uint32_t n_parts = 0;
            kernel_weights w;
            muga_error err;
            for (int k = 0; k < 3; k++)
                if (from[k] < from[k + 1]) {
                    uint64_t n_row = from[k + 1] - from[k];
                    void *copy = mem_copy_bytes(data + from[k] * row_bytes, n_row * row_bytes);
                    parts[n_parts++] = (tensor_view){type, cols, n_row, copy};
                }
            assert_ok(kernel_pack_parts(parts, n_parts, NULL, &w, &err), &err);
            assert_int_equal(w.rows, rows);
            assert_int_equal(w.bytes, whole.bytes);
            assert_memory_equal(w.panels, whole.panels, whole.bytes);
            kernel_weights_release(&w);
            while (n_parts > 0)
                free((void *)(uintptr_t)parts[--n_parts].data);
        }
        kernel_weights_release(&whole);
        free(data);
    }
}

static void rows_past_the_last_are_zero_weights(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        tensor_type type = weights_all[i].type;
        uint64_t cols = 256;
        uint8_t *data = weights_new(&weights_all[i], 3, cols, WEIGHTS_RANDOM, 5);
        assert_non_null(data);
        kernel_weights w = pack(type, 3, cols, data, NULL);
        float out[256 * PANEL_ROWS];
        panel_dequantise(type, w.panels, 0, cols, out);
        for (uint64_t k = 0; k < cols; k++)
            for (int r = 3; r < PANEL_ROWS; r++)
                assert_true(out[k * PANEL_ROWS + (uint64_t)r] == 0);
        kernel_weights_release(&w);
        free(data);
    }
}

static void threads_pack_the_same_bytes(void **state) {
    (void)state;
    muga_error err;
    os_pool *pool;
    assert_ok(os_pool_new(3, &pool, &err), &err);
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        uint64_t rows = 2001, cols = 1024;
        uint8_t *data = weights_new(&weights_all[i], rows, cols, WEIGHTS_RANDOM, 9);
        assert_non_null(data);
        kernel_weights one = pack(weights_all[i].type, rows, cols, data, NULL);
        kernel_weights many = pack(weights_all[i].type, rows, cols, data, pool);
        assert_int_equal(one.bytes, many.bytes);
        assert_int_equal((uintptr_t)one.panels % 64, 0);
        assert_memory_equal(one.panels, many.panels, panel_bytes(weights_all[i].type, cols) * (rows / 16 + 1));
        kernel_weights_release(&one);
        kernel_weights_release(&many);
        free(data);
    }
    os_pool_free(pool);
}

/* The last block ends where a guard page would begin: under ASan any read past it is caught. */
static void packing_reads_no_byte_past_the_matrix(void **state) {
    (void)state;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        const tensor_traits *t = tensor_type_traits((uint32_t)weights_all[i].type);
        uint8_t *data = weights_new(&weights_all[i], 17, t->block_elems, WEIGHTS_RANDOM, 3);
        assert_non_null(data);
        kernel_weights w = pack(weights_all[i].type, 17, t->block_elems, data, NULL);
        assert_true(w.bytes >= 32 * t->block_bytes);
        kernel_weights_release(&w);
        free(data);
    }
}

static void what_has_no_kernel_is_refused_by_name(void **state) {
    (void)state;
    static const uint8_t data[64];
    kernel_weights w;
    muga_error err;
    tensor_view v = {TENSOR_I32, 256, 1, data};
    assert_status(kernel_pack(&v, NULL, &w, &err), MUGA_E_INPUT, &err, "I32");
    assert_null(w.panels);
    v.type = (tensor_type)77;
    assert_status(kernel_pack(&v, NULL, &w, &err), MUGA_E_INPUT, &err, "77");
    v = (tensor_view){TENSOR_Q4_1, 48, 1, data};
    assert_status(kernel_pack(&v, NULL, &w, &err), MUGA_E_INPUT, &err, "48 columns");
    v = (tensor_view){TENSOR_Q6_K, 576, 1, data};
    assert_status(kernel_pack(&v, NULL, &w, &err), MUGA_E_INPUT, &err, "multiple of 256");
    v = (tensor_view){TENSOR_Q4_1, 0, 1, data};
    assert_status(kernel_pack(&v, NULL, &w, &err), MUGA_E_INPUT, &err, "positive");
    v = (tensor_view){TENSOR_Q4_1, 32, 0, data};
    assert_status(kernel_pack(&v, NULL, &w, &err), MUGA_E_INPUT, &err, "positive");
    v = (tensor_view){TENSOR_F32, UINT64_C(1) << 40, 1, data};
    assert_status(kernel_pack(&v, NULL, &w, &err), MUGA_E_INPUT, &err, "too large");
    v = (tensor_view){TENSOR_F32, UINT32_MAX, UINT64_MAX, data};
    assert_status(kernel_pack(&v, NULL, &w, &err), MUGA_E_INPUT, &err, "too large");
    v = (tensor_view){TENSOR_F32, UINT32_MAX, UINT64_C(1) << 36, data};
    assert_status(kernel_pack(&v, NULL, &w, &err), MUGA_E_INPUT, &err, "too large");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_read_back_has_the_codecs_bits),
        cmocka_unit_test(parts_are_packed_as_the_whole),
        cmocka_unit_test(rows_past_the_last_are_zero_weights),
        cmocka_unit_test(threads_pack_the_same_bytes),
        cmocka_unit_test(packing_reads_no_byte_past_the_matrix),
        cmocka_unit_test(what_has_no_kernel_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
