/* UTF-8. If this failed, ill-formed bytes would reach JSON, the terminal and the audit log, and a stream could show
 * half a character.
 *
 * Every sequence of up to three bytes, and every four-byte one with edge values, is compared with utf8proc, which
 * knows nothing of our table. The replacement examples are those of The Unicode Standard 15, section 3.9. */
#include "support/support.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <utf8proc.h>

static void assert_decodes_as_utf8proc(const uint8_t *bytes, size_t n) {
    utf8proc_int32_t expected = -1;
    utf8proc_ssize_t expected_len = utf8proc_iterate(bytes, (utf8proc_ssize_t)n, &expected);
    uint32_t cp = 0;
    size_t len = utf8_decode((const char *)bytes, n, &cp);
    if (len != (expected_len > 0 ? (size_t)expected_len : 0) || (len > 0 && cp != (uint32_t)expected)) {
        fail_msg("%02x %02x %02x %02x: %zu bytes, U+%04X; utf8proc says %d, U+%04X", bytes[0], bytes[1], bytes[2],
                 bytes[3], len, cp, (int)expected_len, (unsigned)expected);
    }
}

static void decoding_agrees_with_utf8proc(void **state) {
    (void)state;
    static const uint8_t edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    uint8_t b[4] = {0};
    for (uint32_t v = 0; v < 1u << 16; v++) {
        b[0] = (uint8_t)(v >> 8);
        b[1] = (uint8_t)v;
        assert_decodes_as_utf8proc(b, 1);
        assert_decodes_as_utf8proc(b, 2);
        for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
            b[2] = edges[i];
            assert_decodes_as_utf8proc(b, 3);
            for (size_t k = 0; k < ARRAY_LEN(edges); k++) {
                b[3] = edges[k];
                assert_decodes_as_utf8proc(b, 4);
            }
        }
    }
    uint32_t cp;
    assert_int_equal(utf8_decode("", 0, &cp), 0);
}

static void every_code_point_goes_both_ways(void **state) {
    (void)state;
    for (uint32_t cp = 0; cp < 0x110100; cp++) {
        char bytes[4];
        uint32_t back;
        size_t n = utf8_encode(cp, bytes);
        bool is_character = cp < 0x110000 && (cp < 0xD800 || cp > 0xDFFF);
        assert_int_equal(n > 0, is_character);
        if (n > 0) {
            assert_int_equal(utf8_decode(bytes, n, &back), n);
            assert_int_equal(back, cp);
            assert_int_equal(utf8_decode(bytes, n - 1, &back), 0);
        }
    }
    char bytes[4];
    assert_int_equal(utf8_encode(UINT32_MAX, bytes), 0);
}

static void assert_replaced(const char *in, size_t n, const char *expected) {
    str out = STR_INIT;
    utf8_append_replaced(&out, in, n);
    assert_string_equal(str_get(&out), expected);
    str_release(&out);
}

#define R "\xEF\xBF\xBD"

static void each_maximal_ill_formed_part_becomes_one_mark(void **state) {
    (void)state;
    assert_replaced("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", 9, R R R R R R R R "A");
    assert_replaced("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", 9, R R R R R R R R "A");
    assert_replaced("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", 9, R R R R R "A" R R "B");
    assert_replaced("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 9, R R R R "A");
    assert_replaced("fine \xE2\x82\xAC", 8, "fine \xE2\x82\xAC");
    assert_replaced("\xE2\x82", 2, R);
    assert_replaced("", 0, "");
}

static void incomplete_tail_is_held_back_and_only_that(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n, tail;
    } rows[] = {
        {"", 0, 0},
        {"a", 1, 0},
        {"\xE2", 1, 1},
        {"\xE2\x82", 2, 2},
        {"\xE2\x82\xAC", 3, 0},
        {"a\xF0\x9F\x98", 4, 3},
        {"\xF0\x9F\x98\x80", 4, 0},
        {"\x82\x82\x82", 3, 0}, /* no beginning: waiting would not help */
        {"\xE0\x80", 2, 0},     /* overlong already */
        {"\xED\xA0", 2, 0},     /* a surrogate already */
        {"\xF4\x90", 2, 0},     /* beyond U+10FFFF already */
        {"\xC0", 1, 0},         /* never a beginning */
        {"\xF5", 1, 0},
        {"\xC3\xA9\xC3", 3, 1},
        {"\xF0\x9F\x98\x80\x80", 5, 0}, /* one continuation too many */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(utf8_incomplete_tail(rows[i].bytes, rows[i].n), rows[i].tail);
    }
}

/* Hold back the tail at every cut of a text: what is let through is always whole characters, and nothing is lost. */
static void streaming_never_splits_a_character(void **state) {
    (void)state;
    static const char text[] = "na\xC3\xAFve \xE2\x82\xAC 10 \xF0\x9F\x98\x80\xE0\xAE\xAE\xF0\x90\x8D\x88.";
    for (size_t cut = 0; cut < sizeof text; cut++) {
        size_t tail = utf8_incomplete_tail(text, cut);
        assert_true(utf8_valid(text, cut - tail));
        assert_true(utf8_valid(text + cut - tail, sizeof text - 1 - (cut - tail)));
    }
}

static void counting_counts_ill_formed_bytes_one_each(void **state) {
    (void)state;
    assert_int_equal(utf8_count("a\xE2\x82\xAC\xF0\x9F\x98\x80", 8), 3);
    assert_int_equal(utf8_count("\xE2\x82", 2), 2);
    assert_int_equal(utf8_count("\xFF\xFE", 2), 2);
    assert_false(utf8_valid("\xE2\x82", 2));
    assert_true(utf8_valid("a\0b", 3));
    assert_true(utf8_valid("", 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_agrees_with_utf8proc),
        cmocka_unit_test(every_code_point_goes_both_ways),
        cmocka_unit_test(each_maximal_ill_formed_part_becomes_one_mark),
        cmocka_unit_test(incomplete_tail_is_held_back_and_only_that),
        cmocka_unit_test(streaming_never_splits_a_character),
        cmocka_unit_test(counting_counts_ill_formed_bytes_one_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
