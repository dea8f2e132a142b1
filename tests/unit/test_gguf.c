/* The GGUF reader and writer. Were this to fail, a damaged or hostile model file could be read outside its bounds, make
 * the reader allocate without end, or be taken for a good one; or a key could come back as another value than was
 * written.
 *
 * The files here are built byte by byte, not by the writer, and every count, length, type and offset is remembered as
 * it is laid down, so that each of them can then be set to every awkward value. */
#include "support/support.h"

#include "base/mem.h"
#include "gguf/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct field {
    size_t at;
    uint8_t width; /* bytes */
} field;

typedef struct builder {
    str bytes;
    field fields[512];
    size_t n_fields;
} builder;

static void put(builder *b, uint64_t v, uint8_t width) {
    str_append(&b->bytes, &v, width);
}

static void put_field(builder *b, uint64_t v, uint8_t width) {
    assert_true(b->n_fields < ARRAY_LEN(b->fields));
    b->fields[b->n_fields++] = (field){b->bytes.len, width};
    put(b, v, width);
}

static void put_string(builder *b, const char *s) {
    put_field(b, strlen(s), 8);
    str_append_s(&b->bytes, s);
}

static void put_key(builder *b, const char *name, gguf_type type) {
    put_string(b, name);
    put_field(b, type, 4);
}

static void put_array(builder *b, const char *name, gguf_type element, uint64_t n) {
    put_key(b, name, GGUF_ARRAY);
    put_field(b, element, 4);
    put_field(b, n, 8);
}

static void put_tensor(builder *b, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                       uint64_t offset) {
    put_string(b, name);
    put_field(b, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++)
        put_field(b, dims[i], 8);
    put_field(b, type, 4);
    put_field(b, offset, 8);
}

static void pad_to(builder *b, size_t alignment) {
    while (b->bytes.len % alignment)
        str_append_c(&b->bytes, 0);
}

enum { N_KEYS = 18, N_TENSORS = 3 };

/* A key of every type, arrays of strings and numbers, and three tensors. */
static void build_good(builder *b) {
    const float pi = 3.25f;
    const double e = -2.5;
    memset(b, 0, sizeof *b);
    str_append_s(&b->bytes, "GGUF");
    put_field(b, 3, 4);
    put_field(b, N_TENSORS, 8);
    put_field(b, N_KEYS, 8);
    put_key(b, "general.architecture", GGUF_STRING);
    put_string(b, "llama");
    put_key(b, "t.u8", GGUF_U8), put(b, 200, 1);
    put_key(b, "t.i8", GGUF_I8), put(b, (uint8_t)-5, 1);
    put_key(b, "t.u16", GGUF_U16), put(b, 65000, 2);
    put_key(b, "t.i16", GGUF_I16), put(b, (uint16_t)-300, 2);
    put_key(b, "t.u32", GGUF_U32), put(b, 4000000000u, 4);
    put_key(b, "t.i32", GGUF_I32), put(b, (uint32_t)-7, 4);
    put_key(b, "t.f32", GGUF_F32), str_append(&b->bytes, &pi, 4);
    put_key(b, "t.bool", GGUF_BOOL), put(b, 1, 1);
    put_key(b, "t.u64", GGUF_U64), put(b, 1ull << 40, 8);
    put_key(b, "t.i64", GGUF_I64), put(b, (uint64_t)-9, 8);
    put_key(b, "t.f64", GGUF_F64), str_append(&b->bytes, &e, 8);
    put_array(b, "a.strings", GGUF_STRING, 3), put_string(b, "one"), put_string(b, ""), put_string(b, "three");
    put_array(b, "a.i32", GGUF_I32, 2), put(b, (uint32_t)-1, 4), put(b, 7, 4);
    put_array(b, "a.u64", GGUF_U64, 1), put(b, UINT64_MAX, 8);
    put_array(b, "a.f32", GGUF_F32, 1), str_append(&b->bytes, &pi, 4);
    put_array(b, "a.empty", GGUF_F64, 0);
    put_key(b, "general.alignment", GGUF_U32), put_field(b, 32, 4);
    put_tensor(b, "m.weight", 2, (const uint64_t[]){32, 4}, TENSOR_Q8_0, 0);
    put_tensor(b, "v.weight", 1, (const uint64_t[]){5}, TENSOR_F32, 160);
    put_tensor(b, "q.weight", 4, (const uint64_t[]){8, 1, 1, 2}, TENSOR_F16, 192);
    pad_to(b, 32);
    for (int i = 0; i < 192 + 32; i++)
        str_append_c(&b->bytes, (char)i);
}

/* Uses everything that an accepted file offers, so that a sanitizer sees any read outside it. */
static void read_everything(const gguf_file *f) {
    volatile uint64_t sum = 0;
    str text = STR_INIT;
    for (uint64_t i = 0; i < gguf_key_count(f); i++) {
        gguf_type type;
        const char *name = gguf_key_name(f, i, &type);
        assert_true(strlen(name) >= 1 && strlen(name) <= 65535);
        gguf_key_write(f, i, &text);
        for (int element = GGUF_U8; element <= GGUF_F64; element++) {
            gguf_array a;
            if (gguf_get_array(f, name, (gguf_type)element, &a, NULL))
                continue;
            uint64_t at = 0, n = 0;
            span s;
            for (; gguf_array_next_string(&a, &at, &s); n++)
                for (size_t k = 0; k < s.n; k++)
                    sum += (uint8_t)s.p[k];
            assert_true(n == (a.type == GGUF_STRING ? a.n : 0));
            for (uint64_t k = 0; k < a.n; k++)
                sum += (uint64_t)gguf_array_int(&a, k) + (gguf_array_number(&a, k) > 0.0);
        }
    }
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        assert_ptr_equal(gguf_tensor_find(f, t->name), t);
        for (uint64_t k = 0; k < t->bytes; k++)
            sum += ((const uint8_t *)t->data)[k];
    }
    str_release(&text);
}

/* Opens a copy that is exactly n bytes long. */
static muga_status try_bytes(const char *p, size_t n, muga_error *err) {
    gguf_file *f;
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, p, n);
    muga_status st = gguf_open_memory(copy, n, &f, err);
    if (!st)
        read_everything(f);
    else
        assert_null(f);
    assert_true(st == MUGA_OK || st == MUGA_E_INPUT);
    gguf_close(f);
    free(copy);
    return st;
}

static void every_type_reads_back(void **state) {
    (void)state;
    builder b;
    gguf_file *f;
    muga_error err;
    build_good(&b);
    assert_ok(gguf_open_memory(b.bytes.data, b.bytes.len, &f, &err), &err);
    assert_int_equal(gguf_version(f), 3);
    assert_int_equal(gguf_key_count(f), N_KEYS);
    uint32_t u;
    uint64_t w;
    float x;
    bool flag;
    span s;
    assert_ok(gguf_get_string(f, "general.architecture", &s, &err), &err);
    assert_true(span_equal_string(s, "llama"));
    assert_ok(gguf_get_u32(f, "t.u8", &u, &err), &err);
    assert_int_equal(u, 200);
    assert_ok(gguf_get_u32(f, "t.u16", &u, &err), &err);
    assert_int_equal(u, 65000);
    assert_ok(gguf_get_u32(f, "t.u32", &u, &err), &err);
    assert_int_equal(u, 4000000000u);
    assert_ok(gguf_get_u64(f, "t.u64", &w, &err), &err);
    assert_true(w == 1ull << 40);
    assert_ok(gguf_get_f32(f, "t.f32", &x, &err), &err);
    assert_true(x == 3.25f);
    assert_ok(gguf_get_f32(f, "t.f64", &x, &err), &err);
    assert_true(x == -2.5f);
    assert_ok(gguf_get_bool(f, "t.bool", &flag, &err), &err);
    assert_true(flag);
    gguf_array a;
    uint64_t at = 0;
    assert_ok(gguf_get_array(f, "a.strings", GGUF_STRING, &a, &err), &err);
    assert_true(gguf_array_next_string(&a, &at, &s) && span_equal_string(s, "one"));
    assert_true(gguf_array_next_string(&a, &at, &s) && s.n == 0);
    assert_true(gguf_array_next_string(&a, &at, &s) && span_equal_string(s, "three"));
    assert_false(gguf_array_next_string(&a, &at, &s));
    assert_ok(gguf_get_array(f, "a.i32", GGUF_I32, &a, &err), &err);
    assert_true(a.n == 2 && gguf_array_int(&a, 0) == -1 && gguf_array_int(&a, 1) == 7 && gguf_array_int(&a, 2) == 0);
    assert_ok(gguf_get_array(f, "a.u64", GGUF_U64, &a, &err), &err);
    assert_true(gguf_array_int(&a, 0) == INT64_MAX);
    const gguf_tensor *t = gguf_tensor_find(f, "m.weight");
    assert_non_null(t);
    assert_true(t->type == TENSOR_Q8_0 && t->dims[0] == 32 && t->dims[1] == 4 && t->dims[2] == 1 && t->bytes == 136);
    assert_int_equal(((const uint8_t *)gguf_tensor_find(f, "v.weight")->data)[0], 160);
    assert_null(gguf_tensor_find(f, "absent"));
    assert_int_equal(gguf_get_u32(f, "absent", &u, &err), MUGA_E_NOT_FOUND);
    gguf_close(f);
    str_release(&b.bytes);
}

static void a_wrong_type_or_range_names_the_key(void **state) {
    (void)state;
    builder b;
    gguf_file *f;
    muga_error err;
    uint32_t u;
    uint64_t w;
    float x;
    bool flag;
    span s;
    gguf_array a;
    build_good(&b);
    assert_ok(gguf_open_memory(b.bytes.data, b.bytes.len, &f, &err), &err);
    assert_status(gguf_get_u32(f, "t.u64", &u, &err), MUGA_E_INPUT, &err, "t.u64");
    assert_status(gguf_get_u64(f, "t.i32", &w, &err), MUGA_E_INPUT, &err, "negative");
    assert_status(gguf_get_u32(f, "t.f32", &u, &err), MUGA_E_INPUT, &err, "f32");
    assert_status(gguf_get_u32(f, "t.bool", &u, &err), MUGA_E_INPUT, &err, "bool");
    assert_status(gguf_get_f32(f, "t.u8", &x, &err), MUGA_E_INPUT, &err, "t.u8");
    assert_status(gguf_get_bool(f, "t.u8", &flag, &err), MUGA_E_INPUT, &err, "t.u8");
    assert_status(gguf_get_string(f, "t.u8", &s, &err), MUGA_E_INPUT, &err, "t.u8");
    assert_status(gguf_get_array(f, "t.u8", GGUF_I32, &a, &err), MUGA_E_INPUT, &err, "t.u8");
    assert_status(gguf_get_array(f, "a.i32", GGUF_STRING, &a, &err), MUGA_E_INPUT, &err, "a.i32");
    gguf_close(f);
    str_release(&b.bytes);
}

static void readable_values(void **state) {
    (void)state;
    builder b;
    gguf_file *f;
    muga_error err;
    str text = STR_INIT;
    build_good(&b);
    assert_ok(gguf_open_memory(b.bytes.data, b.bytes.len, &f, &err), &err);
    for (uint64_t i = 0; i < gguf_key_count(f); i++) {
        gguf_key_write(f, i, &text);
        str_append_c(&text, ' ');
    }
    assert_string_equal(str_get(&text),
                        "llama 200 -5 65000 -300 4000000000 -7 3.25 true 1099511627776 -9 -2.5 [3 x string] "
                        "[2 x i32] [1 x u64] [1 x f32] [0 x f64] 32 ");
    gguf_close(f);
    str_release(&b.bytes);
    str_release(&text);
}

/* CVE-2024-39720 and its like. The last bytes of a file are data of its last tensor, so no shorter file is whole. */
static void a_file_cut_anywhere_is_refused(void **state) {
    (void)state;
    builder b;
    muga_error err;
    build_good(&b);
    assert_ok(try_bytes(b.bytes.data, b.bytes.len, &err), &err);
    for (size_t n = 0; n < b.bytes.len; n++) {
        memset(&err, 0, sizeof err);
        assert_int_equal(try_bytes(b.bytes.data, n, &err), MUGA_E_INPUT);
        assert_true(strlen(err.message) > 20);
    }
    str_release(&b.bytes);
}

/* CVE-2024-23496, -21825, -21836, -23605, -21802, CVE-2025-53630, CVE-2026-27940: counts, lengths, dims and offsets. */
static void no_field_value_leads_outside(void **state) {
    (void)state;
    static const uint64_t values[] = {0,
                                      1,
                                      2,
                                      3,
                                      4,
                                      8,
                                      12,
                                      13,
                                      31,
                                      33,
                                      64,
                                      255,
                                      4096,
                                      INT32_MAX,
                                      (uint64_t)INT32_MAX + 1,
                                      UINT32_MAX - 1,
                                      UINT32_MAX,
                                      (uint64_t)UINT32_MAX + 1,
                                      1ull << 40,
                                      1ull << 60,
                                      1ull << 61,
                                      INT64_MAX,
                                      1ull << 63,
                                      UINT64_MAX - 63,
                                      UINT64_MAX - 31,
                                      UINT64_MAX - 7,
                                      UINT64_MAX - 1,
                                      UINT64_MAX};
    builder b;
    muga_error err;
    build_good(&b);
    size_t n_refused = 0, n_tried = 0;
    for (size_t i = 0; i < b.n_fields; i++) {
        field f = b.fields[i];
        uint64_t good = 0;
        memcpy(&good, b.bytes.data + f.at, f.width);
        uint64_t near[2] = {good - 1, good + 1};
        for (size_t k = 0; k < ARRAY_LEN(values) + 2; k++) {
            uint64_t v = k < ARRAY_LEN(values) ? values[k] : near[k - ARRAY_LEN(values)];
            memcpy(b.bytes.data + f.at, &v, f.width);
            n_refused += try_bytes(b.bytes.data, b.bytes.len, &err) != MUGA_OK;
            n_tried++;
        }
        memcpy(b.bytes.data + f.at, &good, f.width);
    }
    assert_true(n_tried > 2000);
    assert_true(n_refused > n_tried * 9 / 10); /* nearly every change is one that must be noticed */
    assert_ok(try_bytes(b.bytes.data, b.bytes.len, &err), &err);
    str_release(&b.bytes);
}

/* Any single byte changed: whatever comes of it, nothing outside the file is read. */
static void no_changed_byte_leads_outside(void **state) {
    (void)state;
    builder b;
    muga_error err;
    build_good(&b);
    for (size_t at = 0; at < b.bytes.len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            b.bytes.data[at] ^= (char)(1 << bit);
            (void)try_bytes(b.bytes.data, b.bytes.len, &err);
            b.bytes.data[at] ^= (char)(1 << bit);
        }
    }
    str_release(&b.bytes);
}

/* One file of one key or one tensor. */
static void begin(builder *b, uint64_t n_tensors, uint64_t n_keys) {
    memset(b, 0, sizeof *b);
    str_append_s(&b->bytes, "GGUF");
    put(b, 3, 4);
    put(b, n_tensors, 8);
    put(b, n_keys, 8);
}

static void expect_refusal(builder *b, const char *part) {
    muga_error err = {0};
    gguf_file *f;
    for (int i = 0; i < 256; i++)
        str_append_c(&b->bytes, 0);
    assert_status(gguf_open_memory(b->bytes.data, b->bytes.len, &f, &err), MUGA_E_INPUT, &err, part);
    str_release(&b->bytes);
}

static void faults_are_named(void **state) {
    (void)state;
    builder b;
    begin(&b, 0, 2);
    put_key(&b, "twin", GGUF_U8), put(&b, 1, 1);
    put_key(&b, "twin", GGUF_U8), put(&b, 2, 1);
    expect_refusal(&b, "key \"twin\" is there twice");

    begin(&b, 2, 0);
    put_tensor(&b, "twin", 1, (const uint64_t[]){4}, TENSOR_F32, 0);
    put_tensor(&b, "twin", 1, (const uint64_t[]){4}, TENSOR_F32, 32);
    expect_refusal(&b, "tensor \"twin\" is there twice");

    begin(&b, 2, 0);
    put_tensor(&b, "low", 1, (const uint64_t[]){16}, TENSOR_F32, 0);
    put_tensor(&b, "high", 1, (const uint64_t[]){4}, TENSOR_F32, 32);
    expect_refusal(&b, "overlap");

    begin(&b, 1, 0);
    put_tensor(&b, "odd", 1, (const uint64_t[]){16}, TENSOR_Q8_0, 0);
    expect_refusal(&b, "odd");

    begin(&b, 1, 0);
    put_tensor(&b, "newer", 1, (const uint64_t[]){16}, 99, 0);
    expect_refusal(&b, "unknown type 99");

    begin(&b, 0, 1);
    put_key(&b, "flag", GGUF_BOOL), put(&b, 2, 1);
    expect_refusal(&b, "neither 0 nor 1");

    begin(&b, 0, 1);
    put_key(&b, "\xFF\xFE", GGUF_U8), put(&b, 2, 1);
    expect_refusal(&b, "not UTF-8");

    begin(&b, 0, 1);
    put(&b, 3, 8), str_append(&b.bytes, "a\0b", 3), put(&b, GGUF_U8, 4), put(&b, 2, 1);
    expect_refusal(&b, "not UTF-8");

    begin(&b, 1, 0);
    put(&b, 3, 8), str_append(&b.bytes, "a\0b", 3), put(&b, 1, 4), put(&b, 4, 8), put(&b, TENSOR_F32, 4), put(&b, 0, 8);
    expect_refusal(&b, "not UTF-8");

    char name[66];
    memset(name, 'n', sizeof name);
    name[64] = 0;
    begin(&b, 1, 0);
    put_tensor(&b, name, 1, (const uint64_t[]){4}, TENSOR_F32, 0);
    expect_refusal(&b, "tensor name of 64 bytes (1 to 63 allowed)");

    begin(&b, 1, 0);
    put_tensor(&b, "flat", 0, NULL, TENSOR_F32, 0);
    expect_refusal(&b, "\"flat\" at byte 36: 1 to 4 dimensions");

    begin(&b, 1, 0);
    put_tensor(&b, "deep", 5, (const uint64_t[]){4, 1, 1, 1, 1}, TENSOR_F32, 0);
    expect_refusal(&b, "\"deep\" at byte 36: 1 to 4 dimensions");

    for (uint32_t i = 0; i < 4; i++) {
        uint64_t dims[4] = {4, 1, 1, 1};
        dims[i] = 0;
        begin(&b, 1, 0);
        put_tensor(&b, "empty", 4, dims, TENSOR_F32, 0);
        expect_refusal(&b, "\"empty\" at byte 37: a dimension is zero");
    }

    begin(&b, 1, 0);
    put_tensor(&b, "vast", 4, (const uint64_t[]){1ull << 31, 1ull << 31, 4, 1}, TENSOR_F32, 0);
    expect_refusal(&b, "its shape overflows");

    begin(&b, 1, 0);
    put_tensor(&b, "askew", 1, (const uint64_t[]){4}, TENSOR_F32, 16);
    expect_refusal(&b, "its offset is not aligned");

    begin(&b, 0, 1);
    put_array(&b, "nested", GGUF_ARRAY, 1);
    expect_refusal(&b, "array of arrays");

    static const uint32_t alignments[] = {0, 1, 2, 4, 7, 48, 33, 65537, 131072, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(alignments); i++) {
        begin(&b, 0, 1);
        put_key(&b, "general.alignment", GGUF_U32), put(&b, alignments[i], 4);
        expect_refusal(&b, "general.alignment");
    }

    for (int version = 1; version <= 3; version++) {
        memset(&b, 0, sizeof b);
        str_append(&b.bytes, "GGUF\0\0\0", 7), str_append_c(&b.bytes, (char)version);
        expect_refusal(&b, "big-endian");
    }

    memset(&b, 0, sizeof b);
    str_append_s(&b.bytes, "GGUF"), put(&b, 1, 4);
    expect_refusal(&b, "version 1");

    memset(&b, 0, sizeof b);
    str_append_s(&b.bytes, "{\"a\": 1}");
    expect_refusal(&b, "not a GGUF file");
}

/* GGUFReader #27188: 43 bytes that claim 2^63 elements. */
static void a_short_file_with_a_huge_array_costs_nothing(void **state) {
    (void)state;
    for (uint32_t element = 0; element <= 13; element++) {
        builder b;
        muga_error err;
        begin(&b, 0, 1);
        put_array(&b, "abc", (gguf_type)element, 1ull << 63);
        assert_int_equal(b.bytes.len, 24 + 8 + 3 + 4 + 4 + 8);
        assert_int_equal(try_bytes(b.bytes.data, b.bytes.len, &err), MUGA_E_INPUT);
        str_release(&b.bytes);
    }
}

/* Version 2 has the same layout as 3; tensors may lie in another order than they are listed, with gaps between. */
static void version_2_and_tensors_out_of_order_are_read(void **state) {
    (void)state;
    builder b;
    muga_error err;
    gguf_file *f;
    begin(&b, 3, 0);
    b.bytes.data[4] = 2;
    put_tensor(&b, "last", 1, (const uint64_t[]){3}, TENSOR_F32, 128);
    put_tensor(&b, "first", 1, (const uint64_t[]){8}, TENSOR_F32, 0);
    put_tensor(&b, "middle", 1, (const uint64_t[]){1}, TENSOR_F32, 64);
    pad_to(&b, 32);
    for (int i = 0; i < 128 + 12; i++)
        str_append_c(&b.bytes, (char)i);
    assert_ok(gguf_open_memory(b.bytes.data, b.bytes.len, &f, &err), &err);
    assert_int_equal(gguf_version(f), 2);
    assert_int_equal(*(const uint8_t *)gguf_tensor_find(f, "last")->data, 128);
    assert_int_equal(*(const uint8_t *)gguf_tensor_find(f, "middle")->data, 64);
    assert_int_equal(*(const uint8_t *)gguf_tensor_find(f, "first")->data, 0);
    gguf_close(f);
    assert_int_equal(try_bytes(b.bytes.data, b.bytes.len - 1, &err), MUGA_E_INPUT);
    str_release(&b.bytes);
}

/* Pages of data that may not even be read: opening a file costs its header, however large its tensors are. */
static void opening_does_not_touch_tensor_data(void **state) {
    (void)state;
    builder b;
    muga_error err;
    gguf_file *f;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t data_bytes = (uint64_t)1 << 30;
    begin(&b, 2, 1);
    put_key(&b, "general.alignment", GGUF_U32), put(&b, (uint32_t)page, 4);
    put_tensor(&b, "half", 2, (const uint64_t[]){1 << 16, data_bytes >> 19}, TENSOR_F32, 0);
    put_tensor(&b, "other", 2, (const uint64_t[]){1 << 16, data_bytes >> 19}, TENSOR_F32, data_bytes / 2);
    assert_true(b.bytes.len < page);
    uint8_t *p = mmap(NULL, page + data_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p, page, PROT_READ | PROT_WRITE), 0);
    memcpy(p, b.bytes.data, b.bytes.len);
    assert_ok(gguf_open_memory(p, page + data_bytes, &f, &err), &err);
    assert_ptr_equal(gguf_tensor_find(f, "other")->data, p + page + data_bytes / 2);
    gguf_close(f);
    assert_int_equal(munmap(p, page + data_bytes), 0);
    str_release(&b.bytes);
}

/* A file with holes: lengths of 2^31 bytes and more that are really there, and strings without end that cost no byte.
 */
static const char *sparse_file(const builder *b, uint64_t bytes) {
    const char *path = scratch_path("sparse.gguf");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(b->bytes.data, 1, b->bytes.len, f), b->bytes.len);
    assert_int_equal(fflush(f), 0);
    assert_int_equal(ftruncate(fileno(f), (off_t)bytes), 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void lengths_past_31_bits_are_whole(void **state) {
    (void)state;
    const uint64_t n = ((uint64_t)1 << 31) + 5;
    builder b;
    muga_error err;
    gguf_file *f;
    span s;
    gguf_array a;
    begin(&b, 0, 1);
    put_key(&b, "long", GGUF_STRING), put(&b, n, 8);
    assert_ok(gguf_open(sparse_file(&b, b.bytes.len + n), &f, &err), &err);
    assert_ok(gguf_get_string(f, "long", &s, &err), &err);
    assert_int_equal(s.n, n);
    assert_int_equal(s.p[n - 1], 0);
    gguf_close(f);
    assert_status(gguf_open(sparse_file(&b, b.bytes.len + n - 1), &f, &err), MUGA_E_INPUT, &err, "long");
    str_release(&b.bytes);
    begin(&b, 0, 1);
    put_array(&b, "wide", GGUF_U8, n);
    assert_ok(gguf_open(sparse_file(&b, b.bytes.len + n), &f, &err), &err);
    assert_ok(gguf_get_array(f, "wide", GGUF_U8, &a, &err), &err);
    assert_true(a.n == n && gguf_array_int(&a, n - 1) == 0);
    gguf_close(f);
    str_release(&b.bytes);
    begin(&b, 0, 1);
    put_array(&b, "words", GGUF_STRING, (uint64_t)1 << 31);
    assert_status(gguf_open(sparse_file(&b, b.bytes.len + ((uint64_t)1 << 34)), &f, &err), MUGA_E_INPUT, &err,
                  "more than 256 MiB");
    str_release(&b.bytes);
}

/* The bytes belong to whoever can write the file. After open, lengths of strings may be others than those checked. */
static void strings_changed_after_open_lead_nowhere(void **state) {
    (void)state;
    static const uint64_t values[] = {0, 1, 2, 9, 1000, INT32_MAX, INT64_MAX, UINT64_MAX - 8, UINT64_MAX};
    builder b;
    muga_error err;
    gguf_file *f;
    gguf_array a;
    begin(&b, 0, 1);
    put_array(&b, "a", GGUF_STRING, 3), put_string(&b, "one"), put_string(&b, ""), put_string(&b, "three");
    char *bytes = mem_copy_bytes(b.bytes.data, b.bytes.len);
    assert_ok(gguf_open_memory(bytes, b.bytes.len, &f, &err), &err);
    assert_ok(gguf_get_array(f, "a", GGUF_STRING, &a, &err), &err);
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < ARRAY_LEN(values); k++) {
            const field *length = &b.fields[b.n_fields - 3 + i];
            memcpy(bytes + length->at, &values[k], 8);
            uint64_t at = 0;
            for (span s; gguf_array_next_string(&a, &at, &s);)
                assert_true((const uint8_t *)s.p >= a.data && s.n <= a.bytes &&
                            (const uint8_t *)s.p + s.n <= a.data + a.bytes);
            memcpy(bytes + length->at, b.bytes.data + length->at, 8);
        }
    gguf_close(f);
    free(bytes);
    str_release(&b.bytes);
}

static void keys_without_tensors_are_a_whole_file(void **state) {
    (void)state;
    builder b;
    muga_error err;
    begin(&b, 0, 1);
    put_key(&b, "k", GGUF_U8), put(&b, 1, 1);
    assert_ok(try_bytes(b.bytes.data, b.bytes.len, &err), &err);
    str_release(&b.bytes);
}

static void what_is_not_a_file_is_refused(void **state) {
    (void)state;
    muga_error err;
    gguf_file *f;
    assert_status(gguf_open(scratch_path("absent.gguf"), &f, &err), MUGA_E_NOT_FOUND, &err, "absent.gguf");
    const char *folder = scratch_path("folder.gguf"), *fifo = scratch_path("fifo.gguf");
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_status(gguf_open(folder, &f, &err), MUGA_E_INPUT, &err, "folder.gguf");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_status(gguf_open(fifo, &f, &err), MUGA_E_INPUT, &err, "fifo.gguf");
    assert_status(gguf_open("/dev/zero", &f, &err), MUGA_E_INPUT, &err, "/dev/zero");
}

static void what_the_writer_writes_the_reader_reads(void **state) {
    (void)state;
    muga_error err;
    gguf_file *f;
    str bytes = STR_INIT;
    float values[64];
    for (int i = 0; i < 64; i++)
        values[i] = (float)i - 31.5f;
    const span words[] = {{"a", 1}, {"", 0}, {"two words", 9}};
    const int32_t numbers[] = {-1, 0, INT32_MAX};
    gguf_writer *w = gguf_writer_new();
    assert_non_null(w);
    gguf_writer_add_string(w, "name", "made here");
    gguf_writer_add_u32(w, "count", 7);
    gguf_writer_add_f32(w, "share", 0.5f);
    gguf_writer_add_bool(w, "flag", true);
    gguf_writer_add_strings(w, "words", words, 3);
    gguf_writer_add_i32s(w, "numbers", numbers, 3);
    gguf_writer_add_tensor(w, "odd", TENSOR_F32, (const uint64_t[]){5}, 1, values);
    gguf_writer_add_tensor(w, "even", TENSOR_F32, (const uint64_t[]){8, 8}, 2, values);
    str_append_s(&bytes, "before"); /* finish appends */
    assert_ok(gguf_writer_finish(w, &bytes, &err), &err);
    gguf_writer_free(w);
    char *copy = malloc(bytes.len - 6);
    assert_non_null(copy);
    memcpy(copy, bytes.data + 6, bytes.len - 6);
    assert_ok(gguf_open_memory(copy, bytes.len - 6, &f, &err), &err);
    span s;
    gguf_array a;
    uint64_t at = 0;
    assert_ok(gguf_get_string(f, "name", &s, &err), &err);
    assert_true(span_equal_string(s, "made here"));
    assert_ok(gguf_get_array(f, "words", GGUF_STRING, &a, &err), &err);
    for (int i = 0; i < 3; i++)
        assert_true(gguf_array_next_string(&a, &at, &s) && span_equal(s, words[i]));
    assert_ok(gguf_get_array(f, "numbers", GGUF_I32, &a, &err), &err);
    for (uint64_t i = 0; i < 3; i++)
        assert_true(gguf_array_int(&a, i) == numbers[i]);
    const gguf_tensor *t = gguf_tensor_find(f, "even");
    assert_non_null(t);
    assert_int_equal((uintptr_t)t->data % 8, 0);
    assert_memory_equal(t->data, values, sizeof values);
    gguf_close(f);
    free(copy);
    str_release(&bytes);
}

/* Copies a file with the writer, tensors streamed behind the head. */
static void copy_file(const gguf_file *f, str *out) {
    muga_error err;
    gguf_writer *w = gguf_writer_new();
    assert_non_null(w);
    for (uint64_t i = 0; i < gguf_key_count(f); i++)
        gguf_writer_copy_key(w, f, i);
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        gguf_writer_add_tensor(w, t->name, t->type, t->dims, t->n_dims, NULL);
    }
    assert_ok(gguf_writer_head(w, out, &err), &err);
    size_t head = out->len;
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++) {
        assert_int_equal(gguf_writer_tensor_bytes(w, i), gguf_tensor_at(f, i)->bytes);
        str_append(out, gguf_tensor_at(f, i)->data, gguf_tensor_at(f, i)->bytes);
        for (uint64_t pad = gguf_writer_pad_bytes(w, i); pad > 0; pad--)
            str_append_c(out, 0);
    }
    assert_int_equal(out->len - head, gguf_writer_data_bytes(w));
    gguf_writer_free(w);
}

/* Quantising copies every key it has no business with: a value that came out changed would be a changed model. */
static void a_file_is_copied_byte_for_byte(void **state) {
    (void)state;
    muga_error err;
    for (uint64_t alignment = 8; alignment <= 128; alignment *= 4) {
        builder b;
        gguf_file *f;
        str copy = STR_INIT;
        build_good(&b);
        memset(b.bytes.data + b.bytes.len - 224 + 136, 0, 160 - 136); /* its padding isn't zero */
        memset(b.bytes.data + b.bytes.len - 224 + 180, 0, 192 - 180);
        if (alignment != 32) { /* one tensor, aligned otherwise */
            str_clear(&b.bytes);
            b.n_fields = 0;
            str_append_s(&b.bytes, "GGUF");
            put(&b, 3, 4), put(&b, 1, 8), put(&b, 2, 8);
            put_key(&b, "general.alignment", GGUF_U32), put(&b, alignment, 4);
            put_key(&b, "odd", GGUF_U8), put(&b, 1, 1);
            put_tensor(&b, "v.weight", 1, (const uint64_t[]){5}, TENSOR_F32, 0);
            pad_to(&b, alignment);
            str_append(&b.bytes, "12345678901234567890", 20);
            pad_to(&b, alignment);
        }
        assert_ok(gguf_open_memory(b.bytes.data, b.bytes.len, &f, &err), &err);
        copy_file(f, &copy);
        if (alignment == 32) { /* the last tensor of build_good isn't padded */
            assert_in_range(copy.len - b.bytes.len, 0, 31);
            copy.len = b.bytes.len;
        }
        assert_int_equal(copy.len, b.bytes.len);
        assert_memory_equal(copy.data, b.bytes.data, b.bytes.len);
        gguf_close(f);
        str_release(&copy);
        str_release(&b.bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_reads_back),
        cmocka_unit_test(a_wrong_type_or_range_names_the_key),
        cmocka_unit_test(readable_values),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(no_field_value_leads_outside),
        cmocka_unit_test(no_changed_byte_leads_outside),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(a_short_file_with_a_huge_array_costs_nothing),
        cmocka_unit_test(version_2_and_tensors_out_of_order_are_read),
        cmocka_unit_test(opening_does_not_touch_tensor_data),
        cmocka_unit_test(lengths_past_31_bits_are_whole),
        cmocka_unit_test(strings_changed_after_open_lead_nowhere),
        cmocka_unit_test(keys_without_tensors_are_a_whole_file),
        cmocka_unit_test(what_is_not_a_file_is_refused),
        cmocka_unit_test(what_the_writer_writes_the_reader_reads),
        cmocka_unit_test(a_file_is_copied_byte_for_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
