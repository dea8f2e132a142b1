/* Row codecs and 16-bit floats. Were this to fail, weights would be read as other numbers than the file holds, or files
 * we write would differ from those that others write. */
#include "support/support.h"

#include "base/hash.h"
#include "base/mem.h"
#include "os/os.h"
#include "tensor/tensor.h"
#include "weights.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

static uint32_t bits_of(float f) {
    uint32_t b;
    memcpy(&b, &f, 4);
    return b;
}

static float float_of(uint32_t b) {
    float f;
    memcpy(&f, &b, 4);
    return f;
}

/* The value of a half by its definition, not by moving bits. */
static double half_value(uint16_t h) {
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double v = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return h & 0x8000 ? -v : v;
}

static void every_half_is_read_exactly_and_comes_back(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h);
        if ((h & 0x7c00) == 0x7c00) {
            assert_true((h & 0x3ff) == 0 ? isinf(f) : isnan(f));
            assert_true((signbit(f) != 0) == (h >> 15 == 1));
            if ((h & 0x3ff) == 0)
                assert_int_equal(f32_to_f16(f), h);
            else
                assert_int_equal(f32_to_f16(f), h | 0x200);
            continue;
        }
        assert_true((double)f == half_value((uint16_t)h));
        assert_true((signbit(f) != 0) == (h >> 15 == 1));
        assert_int_equal(f32_to_f16(f), h);
    }
}

static void halfway_between_two_halves_goes_to_the_even_one(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double low = half_value((uint16_t)h), high = h + 1 == 0x7c00 ? 65536 : half_value((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2); /* exact: one bit more than a half has */
        uint32_t even = h & 1 ? h + 1 : h;
        assert_int_equal(f32_to_f16(middle), even);
        assert_int_equal(f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(f32_to_f16(-middle), even | 0x8000);
    }
    assert_int_equal(f32_to_f16(0x1p-126f), 0);
    assert_int_equal(f32_to_f16(float_of(1)), 0);
    assert_int_equal(f32_to_f16(3e38f), 0x7c00);
}

static void bf16_rounds_to_even_and_keeps_nan_and_infinity(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        bool is_nan = (h & 0x7fff) > 0x7f80;
        assert_int_equal(bits_of(bf16_to_f32((uint16_t)h)), h << 16);
        assert_int_equal(f32_to_bf16(bf16_to_f32((uint16_t)h)), is_nan ? h | 0x40 : h);
        if ((h & 0x7fff) >= 0x7f80)
            continue;
        assert_int_equal(f32_to_bf16(float_of(h << 16 | 0x8000)), h & 1 ? h + 1 : h);
        assert_int_equal(f32_to_bf16(float_of(h << 16 | 0x7fff)), h);
        assert_int_equal(f32_to_bf16(float_of(h << 16 | 0x8001)), h + 1);
    }
    assert_int_equal(f32_to_bf16(float_of(0x7f800001)), 0x7fc0);
}

static void sizes_of_every_type_are_the_formats(void **state) {
    (void)state;
    static const struct {
        uint32_t id;
        const char *name;
        uint32_t elems, bytes;
    } table[] = {{0, "F32", 1, 4},         {1, "F16", 1, 2},        {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
                 {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},     {8, "Q8_0", 32, 34},      {10, "Q2_K", 256, 84},
                 {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},  {13, "Q5_K", 256, 176},   {14, "Q6_K", 256, 210},
                 {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74}, {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
                 {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110}, {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136},
                 {24, "I8", 1, 1},         {25, "I16", 1, 2},       {26, "I32", 1, 4},        {27, "I64", 1, 8},
                 {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},  {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},
                 {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},   {40, "NVFP4", 64, 36}};
    size_t n_known = 0;
    for (uint32_t id = 0; id < 1000; id++)
        n_known += tensor_type_traits(id) != NULL;
    assert_int_equal(n_known, ARRAY_LEN(table));
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const tensor_traits *t = tensor_type_traits(table[i].id);
        assert_non_null(t);
        assert_string_equal(t->name, table[i].name);
        assert_int_equal(t->block_elems, table[i].elems);
        assert_int_equal(t->block_bytes, table[i].bytes);
    }
    assert_null(tensor_type_traits(UINT32_MAX));
}

/* golden/vectors/<type>.<what>, whole; released with str_release. */
static void read_vector(const tensor_traits *t, const char *what, str *out) {
    char name[64] = "golden/vectors/";
    size_t n = strlen(name);
    for (const char *c = t ? t->name : ""; *c; c++)
        name[n++] = (char)tolower((unsigned char)*c);
    snprintf(name + n, sizeof name - n, "%s%s", t ? "." : "", what);
    muga_error err;
    str_init(out, 0);
    assert_ok(os_read_file(&os_system()->files, shared_path(name), 1 << 20, out, &err), &err);
}

static void dequantises_to(const tensor_traits *t, const char *blocks, const char *values) {
    str in, expected;
    read_vector(t, blocks, &in);
    read_vector(t, values, &expected);
    size_t n = expected.len / sizeof(float);
    assert_int_equal(in.len, n / t->block_elems * t->block_bytes);
    float *out = malloc(expected.len);
    assert_non_null(out);
    t->dequantise(in.data, out, n);
    assert_memory_equal(out, expected.data, expected.len);
    free(out);
    str_release(&in);
    str_release(&expected);
}

static void dequantised_bits_are_the_formats(void **state) {
    (void)state;
    shared_path("golden/vectors/input.f32");
    int n_type = 0;
    for (uint32_t id = TENSOR_F16; id <= TENSOR_NVFP4; id++) {
        const tensor_traits *t = tensor_type_traits(id);
        if (!t || !t->dequantise)
            continue;
        dequantises_to(t, "q.bin", "dq.f32");
        if (t->block_elems > 1) /* random bits: every bit of the layout */
            dequantises_to(t, "rnd.bin", "rnd.f32");
        n_type++;
    }
    assert_int_equal(n_type, 25);
}

/* Without the reference files: what the codecs gave for these bytes when they agreed with them. */
static void dequantised_bits_are_those_of_before(void **state) {
    (void)state;
    enum { N = 1 << 16 }; /* so that every entry of every codebook is met */
    static const uint32_t known[] = {0x1949707c, 0x9ba89d6c, 0x981ee64a, 0xbe02f173, 0x37e9ae53, 0x47433b81, 0xcb8e0d65,
                                     0x88c4518e, 0x9be79a96, 0x1a15ee1a, 0x7e49e71e, 0x61f23b80, 0x0cee45bb, 0xea38fef6,
                                     0xd0b9e69d, 0xd7cf91e7, 0x6b011abe, 0x3ef8fba5, 0x00c04e90, 0x3e93a2cf, 0xc6b70215,
                                     0xe34b52cb, 0xa112574d, 0xe0f4ed9b, 0xf4128cdc, 0xebcab510};
    for (size_t i = 0; i < ARRAY_LEN(weights_all); i++) {
        const tensor_traits *t = tensor_type_traits((uint32_t)weights_all[i].type);
        uint8_t *blocks = weights_new(&weights_all[i], 1, N, WEIGHTS_RANDOM, 25), digest[SHA256_BYTES];
        float *out = malloc(N * sizeof *out);
        assert_true(blocks && out);
        t->dequantise(blocks, out, N);
        sha256_of(out, N * sizeof *out, digest);
        uint32_t head = (uint32_t)digest[0] << 24 | (uint32_t)digest[1] << 16 | (uint32_t)digest[2] << 8 | digest[3];
        if (head != known[i])
            fail_msg("%s: 0x%08x", t->name, head);
        free(out);
        free(blocks);
    }
}

static void quantised_bytes_are_the_formats(void **state) {
    (void)state;
    static const tensor_type exact[] = {TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0, TENSOR_Q4_1,
                                        TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_Q8_0};
    str in;
    read_vector(NULL, "input.f32", &in);
    size_t n = in.len / sizeof(float);
    for (size_t i = 0; i < ARRAY_LEN(exact); i++) {
        const tensor_traits *t = tensor_type_traits(exact[i]);
        str expected;
        read_vector(t, "q.bin", &expected);
        assert_int_equal(expected.len, n / t->block_elems * t->block_bytes);
        uint8_t *out = malloc(expected.len);
        assert_non_null(out);
        t->quantise((const float *)(const void *)in.data, out, n);
        assert_memory_equal(out, expected.data, expected.len);
        free(out);
        str_release(&expected);
    }
    str_release(&in);
}

/* Non-finite input is not refused here (the converter does that), but must stay within the block's codes. */
static void quantising_nonfinite_values_stays_defined(void **state) {
    (void)state;
    float in[32] = {NAN, INFINITY, -INFINITY, 1, -1};
    uint8_t out[34];
    static const tensor_type types[] = {TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_Q8_0};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        const tensor_traits *t = tensor_type_traits(types[i]);
        float back[32];
        t->quantise(in, out, 32);
        t->dequantise(out, back, 32);
        assert_false(isfinite(back[0]) && isfinite(back[1]) && isfinite(back[2]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_is_read_exactly_and_comes_back),
        cmocka_unit_test(halfway_between_two_halves_goes_to_the_even_one),
        cmocka_unit_test(bf16_rounds_to_even_and_keeps_nan_and_infinity),
        cmocka_unit_test(sizes_of_every_type_are_the_formats),
        cmocka_unit_test(dequantised_bits_are_the_formats),
        cmocka_unit_test(dequantised_bits_are_those_of_before),
        cmocka_unit_test(quantised_bytes_are_the_formats),
        cmocka_unit_test(quantising_nonfinite_values_stays_defined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
