/* The safetensors reader. Were this to fail, a damaged or hostile weights file could be read outside its bounds, make
 * the reader allocate without end, or be taken for a good one.
 *
 * Files are built from text by this test, so that each number and word of a header can be set to every awkward value;
 * bytes in memory end at a page that may not be touched. */
#include "support/support.h"

#include "base/mem.h"
#include "convert/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- building ---- */

static str file_of(const char *header, size_t n_data) {
    str s = STR_INIT;
    uint64_t n = strlen(header);
    str_append(&s, &n, sizeof n);
    str_append(&s, header, (size_t)n);
    for (size_t i = 0; i < n_data; i++)
        str_append_c(&s, (char)(i + 1));
    return s;
}

/* Opened from memory whose last byte is followed by a page without rights. */
static muga_status open_bytes(const void *p, size_t n, safetensors_file **out, muga_error *err) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (n + page - 1) / page * page + page;
    uint8_t *at = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(at != MAP_FAILED);
    assert_int_equal(mprotect(at + room - page, page, PROT_NONE), 0);
    uint8_t *begin = at + room - page - n;
    memcpy(begin, p, n);
    muga_status st = safetensors_open_memory(begin, n, out, err);
    if (!st) { /* what it says is there can be touched */
        volatile unsigned sum = 0;
        for (uint32_t i = 0; i < safetensors_count(*out); i++) {
            const safetensors_tensor *t = safetensors_at(*out, i);
            sum += t->bytes ? (unsigned)t->data[0] + t->data[t->bytes - 1] : 0;
            assert_ptr_equal(safetensors_find(*out, t->name), t);
        }
        safetensors_close(*out);
    } else {
        assert_null(*out);
        assert_true(*err->message != 0);
    }
    assert_int_equal(munmap(at, room), 0);
    return st;
}

static void refuse(const char *header, size_t n_data, const char *part) {
    str s = file_of(header, n_data);
    safetensors_file *f = NULL;
    muga_error err = {0};
    muga_status st = open_bytes(s.data, s.len, &f, &err);
    if (st != MUGA_E_INPUT || !strstr(err.message, part))
        fail_msg("%s: status %d, \"%s\", expected \"%s\"", header, st, err.message, part);
    str_release(&s);
}

#define GOOD                                                                                                           \
    "{\"__metadata__\":{\"format\":\"pt\"},\"b.w\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"       \
    "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"                                                  \
    "\"e\":{\"dtype\":\"BF16\",\"shape\":[0,7],\"data_offsets\":[20,20]},"                                             \
    "\"n\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[20,28]}}"
enum { GOOD_DATA = 28 };

/* ---- tests ---- */

static void a_good_file_is_what_it_says(void **state) {
    (void)state;
    str s = file_of(GOOD, GOOD_DATA);
    safetensors_file *f = NULL;
    muga_error err = {0};
    assert_ok(safetensors_open_memory(s.data, s.len, &f, &err), &err);
    assert_int_equal(safetensors_count(f), 4);
    assert_string_equal(safetensors_at(f, 0)->name, "a");
    const safetensors_tensor *t = safetensors_find(f, "b.w");
    assert_true(t->readable && t->type == TENSOR_F16 && t->n_dims == 2 && t->shape[0] == 2 && t->shape[1] == 3);
    assert_int_equal(t->bytes, 12);
    assert_int_equal(t->data[0], 9);
    t = safetensors_find(f, "n");
    assert_true(!t->readable && t->n_dims == 0 && t->bytes == 8);
    assert_string_equal(t->dtype, "I64");
    assert_int_equal(safetensors_find(f, "e")->bytes, 0);
    assert_null(safetensors_find(f, "c"));
    assert_null(safetensors_map(f));
    safetensors_close(f);
    safetensors_close(NULL);
    str_release(&s);
}

static void a_file_is_read_from_disk(void **state) {
    (void)state;
    str s = file_of(GOOD, GOOD_DATA);
    safetensors_file *f = NULL;
    muga_error err = {0};
    const char *path = scratch_path("good.safetensors");
    assert_ok(os_write_file_atomic(&os_system()->files, path, s.data, s.len, &err), &err);
    assert_ok(safetensors_open(path, &f, &err), &err);
    assert_int_equal(safetensors_count(f), 4);
    assert_non_null(safetensors_map(f));
    safetensors_close(f);
    path = scratch_path("short.safetensors");
    assert_ok(os_write_file_atomic(&os_system()->files, path, s.data, s.len - 1, &err), &err);
    assert_status(safetensors_open(path, &f, &err), MUGA_E_INPUT, &err, "short.safetensors");
    assert_status(safetensors_open(scratch_path("none"), &f, &err), MUGA_E_NOT_FOUND, &err, "none");
    str_release(&s);
}

static void cut_short_anywhere_it_is_refused(void **state) {
    (void)state;
    str s = file_of(GOOD, GOOD_DATA);
    for (size_t n = 0; n < s.len; n++) {
        safetensors_file *f = NULL;
        muga_error err = {0};
        if (open_bytes(s.data, n, &f, &err) != MUGA_E_INPUT)
            fail_msg("%zu of %zu bytes are taken for a file", n, s.len);
    }
    str_append_c(&s, 0);
    safetensors_file *f = NULL;
    muga_error err = {0};
    assert_status(open_bytes(s.data, s.len, &f, &err), MUGA_E_INPUT, &err, "belong to no tensor");
    str_release(&s);
}

static void the_length_of_the_header_may_be_anything(void **state) {
    (void)state;
    str s = file_of(GOOD, GOOD_DATA);
    uint64_t good = strlen(GOOD);
    const uint64_t lengths[] = {
        0,         1,          good - 1,       good + 1,         good + GOOD_DATA, good + GOOD_DATA + 1,
        100000000, 100000001,  1ull << 26,     (1ull << 26) + 1, UINT32_MAX,       1ull << 32,
        INT64_MAX, 1ull << 63, UINT64_MAX - 8, UINT64_MAX - 7,   UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        safetensors_file *f = NULL;
        muga_error err = {0};
        memcpy(s.data, &lengths[i], sizeof lengths[i]);
        if (open_bytes(s.data, s.len, &f, &err) != MUGA_E_INPUT)
            fail_msg("a header of %llu bytes", (unsigned long long)lengths[i]);
    }
    str_release(&s);
}

/* Every run of digits becomes each of these; one of them may by chance be what it was. */
static void every_number_may_be_anything(void **state) {
    (void)state;
    static const char *const numbers[] = {"-1",
                                          "1",
                                          "19",
                                          "21",
                                          "255",
                                          "4294967295",
                                          "4294967296",
                                          "4611686018427387904",
                                          "9223372036854775807",
                                          "9223372036854775808",
                                          "18446744073709551615",
                                          "18446744073709551616",
                                          "1e3",
                                          "0.5",
                                          "null",
                                          "\"8\"",
                                          "[]",
                                          "{}",
                                          "true",
                                          "99999999999999999999999999999999"};
    const char *good = GOOD;
    size_t n_tried = 0;
    for (const char *p = good; *p; p++) {
        bool number = *p >= '0' && *p <= '9' && (p[-1] == '[' || p[-1] == ',');
        if (!number)
            continue;
        size_t len = strspn(p, "0123456789");
        for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
            str header = STR_INIT;
            str_printf(&header, "%.*s%s%s", (int)(p - good), good, numbers[i], p + len);
            str s = file_of(str_get(&header), GOOD_DATA);
            safetensors_file *f = NULL;
            muga_error err = {0};
            bool same = strlen(numbers[i]) == len && !strncmp(numbers[i], p, len);
            /* An empty tensor's other size may be anything; its product is still nothing. */
            bool empty = strstr(str_get(&header), "[0,") != NULL && strtoull(numbers[i], NULL, 10) <= INT64_MAX &&
                         strspn(numbers[i], "0123456789") == strlen(numbers[i]) && p[len] == ']' && *p == '7';
            muga_status st = open_bytes(s.data, s.len, &f, &err);
            if (!same && !empty && st != MUGA_E_INPUT)
                fail_msg("taken for good: %s", str_get(&header));
            str_release(&header);
            str_release(&s);
            n_tried++;
        }
    }
    assert_true(n_tried > 200);
}

static void every_byte_of_the_header_may_be_anything(void **state) {
    (void)state;
    str s = file_of(GOOD, GOOD_DATA);
    static const uint8_t values[] = {0,   1,    ' ', '"', '[', ']',  '{',  '}', ',',
                                     ':', '\\', '0', '9', 'a', 0x7F, 0x80, 0xFF};
    for (size_t at = 0; at < 8 + strlen(GOOD); at++)
        for (size_t i = 0; i < ARRAY_LEN(values); i++) {
            char old = s.data[at];
            safetensors_file *f = NULL;
            muga_error err = {0};
            s.data[at] = (char)values[i];
            (void)!open_bytes(s.data, s.len, &f, &err); /* either, within bounds */
            s.data[at] = old;
        }
    str_release(&s);
}

#define ONE(dtype, shape, offsets) "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void what_is_wrong_is_named(void **state) {
    (void)state;
    refuse("", 0, "the header");
    refuse("[]", 0, "no JSON object");
    refuse("7", 0, "no JSON object");
    refuse("{\"t\":7}", 0, "\"dtype\" is missing");
    refuse("{\"t\":{}}", 0, "\"dtype\" is missing");
    refuse("{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "a tensor's name has 0 bytes");
    refuse("{\"a\":1,\"a\":2}", 0, "a");
    refuse("{\"__metadata__\":[]}", 0, "\"__metadata__\"");
    refuse("{\"__metadata__\":{\"format\":1}}", 0, "\"format\" is no text");
    refuse(ONE("\"F4\"", "[2]", "[0,1]"), 1, "dtype \"F4\"");
    refuse(ONE("1", "[2]", "[0,1]"), 1, "\"dtype\" is missing");
    refuse(ONE("\"F32\"", "2", "[0,8]"), 8, "\"shape\" is missing");
    refuse(ONE("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "more than 8 dimensions");
    refuse(ONE("\"F32\"", "[2]", "[0,4,8]"), 8, "isn't two offsets");
    refuse(ONE("\"F32\"", "[2]", "{}"), 8, "isn't two offsets");
    refuse(ONE("\"F32\"", "[2]", "[8,0]"), 8, "offsets are 8 to 0");
    refuse(ONE("\"F32\"", "[2]", "[0,4]"), 4, "make 8 bytes");
    refuse(ONE("\"F32\"", "[2]", "[4,12]"), 12, "bytes before it belong to no tensor");
    refuse(ONE("\"F32\"", "[2]", "[0,8]"), 4, "ends behind the end");
    refuse(ONE("\"F32\"", "[2]", "[100,108]"), 8, "begins behind the end");
    refuse(ONE("\"F32\"", "[2]", "[0,8]"), 12, "4 bytes at the end belong to no tensor");
    refuse(ONE("\"F32\"", "[4611686018427387904,4]", "[0,0]"), 0, "larger than any file");
    refuse(ONE("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, "larger than any file");
    refuse(ONE("\"F64\"", "[4611686018427387904]", "[0,0]"), 0, "larger than any file");
    refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
           "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
           6, "overlaps");
    refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
           "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
           4, "overlaps");
    refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
           "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[5,6]}}",
           6, "bytes before it belong to no tensor");
    str name = STR_INIT;
    str_append_s(&name, "{\"");
    for (int i = 0; i < 256; i++)
        str_append_c(&name, 'x');
    str_append_s(&name, "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}");
    refuse(str_get(&name), 1, "256 bytes");
    str_release(&name);
}

static void there_are_at_most_65536_tensors(void **state) {
    (void)state;
    for (unsigned extra = 0; extra < 2; extra++) {
        str header = STR_INIT;
        for (unsigned i = 0; i < SAFETENSORS_MAX_TENSORS + extra; i++)
            str_printf(&header, "%s\"%u\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "{", i);
        str_append_c(&header, '}');
        str s = file_of(str_get(&header), 0);
        safetensors_file *f = NULL;
        muga_error err = {0};
        muga_status st = safetensors_open_memory(s.data, s.len, &f, &err);
        assert_int_equal(st, extra ? MUGA_E_LIMIT : MUGA_OK);
        safetensors_close(f);
        str_release(&header);
        str_release(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_what_it_says),      cmocka_unit_test(a_file_is_read_from_disk),
        cmocka_unit_test(cut_short_anywhere_it_is_refused), cmocka_unit_test(the_length_of_the_header_may_be_anything),
        cmocka_unit_test(every_number_may_be_anything),     cmocka_unit_test(every_byte_of_the_header_may_be_anything),
        cmocka_unit_test(what_is_wrong_is_named),           cmocka_unit_test(there_are_at_most_65536_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
