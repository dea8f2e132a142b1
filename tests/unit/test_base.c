/* Errors, checked memory, strings, the cursor. If these failed, every size that comes from outside could overflow,
 * and every message that tells a person what to do could be cut in the middle of a character or lost. */
#include "support/support.h"

#include "base/cursor.h"
#include "base/mem.h"

static void error_says_what_and_is_cut_at_a_character(void **state) {
    (void)state;
    muga_error err;
    assert_int_equal(error_set(&err, MUGA_E_INPUT, "%s: line %d", "a.yaml", 7), MUGA_E_INPUT);
    assert_string_equal(err.message, "a.yaml: line 7");
    assert_int_equal(err.status, MUGA_E_INPUT);

    char wide[600];
    for (size_t i = 0; i < sizeof wide - 1; i += 3) {
        memcpy(wide + i, "\xE2\x82\xAC", 3); /* the euro sign, so that 255 is the end of a character */
    }
    wide[597] = '\0';
    error_set(&err, MUGA_E_ENV, "%s", wide);
    assert_int_equal(strlen(err.message), 255);
    error_set(&err, MUGA_E_ENV, "x%s", wide); /* and now it is not */
    assert_int_equal(strlen(err.message), 253);
}

static void error_may_quote_itself_and_be_absent(void **state) {
    (void)state;
    muga_error err;
    error_set(&err, MUGA_E_INPUT, "bad");
    error_set(&err, MUGA_E_ENV, "again: %s", err.message);
    assert_string_equal(err.message, "again: bad");
    assert_int_equal(error_prefix(&err, MUGA_E_LIMIT, "%s", "file"), MUGA_E_LIMIT);
    assert_string_equal(err.message, "file: again: bad");
    char path[600];
    memset(path, 'p', sizeof path);
    memcpy(path + sizeof path - 12, "/model.gguf", 12);
    error_set(&err, MUGA_E_INPUT, "what is wrong; what to do");
    error_prefix(&err, MUGA_E_INPUT, "%s", path); /* a long place leaves room for what is wrong with it */
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(strncmp(err.message, "...ppp", 6), 0);
    assert_non_null(strstr(err.message, "/model.gguf: what is wrong; what to do"));
    error_set(&err, MUGA_E_INPUT, "%.230s", path);
    error_prefix(&err, MUGA_E_INPUT, "%s", path + 3); /* and a long message leaves room for the place */
    assert_non_null(strstr(err.message, "p/model.gguf: ppp"));
    char text[] = "a\xc3\xa9\xc3\xa9\xc3\xa9z";
    error_keep_end(text, 8); /* whole characters */
    assert_string_equal(text, "...\xc3\xa9z");
    assert_int_equal(error_set(NULL, MUGA_E_INPUT, "x"), MUGA_E_INPUT);
    assert_int_equal(error_prefix(NULL, MUGA_E_INPUT, "x"), MUGA_E_INPUT);

    error_set(&err, MUGA_E_INPUT, "open '/home/x/a.gguf': it is damaged");
    error_call_path(&err, "/home/x/a.gguf", "the file");
    assert_string_equal(err.message, "open 'the file': it is damaged");
    error_set(&err, MUGA_E_INPUT, "...me/x/a.gguf: it is damaged"); /* what error_prefix leaves of a long one */
    error_call_path(&err, "/home/x/a.gguf", "the file");
    assert_string_equal(err.message, "the file: it is damaged");
    error_call_path(&err, "/home/x/a.gguf", "other"); /* it isn't there any more */
    assert_string_equal(err.message, "the file: it is damaged");
    error_call_path(&err, "/home/x/", "other");
    assert_string_equal(err.message, "the file: it is damaged");
    error_call_path(NULL, "a", "b");
    assert_int_equal(error_nomem(NULL, "x"), MUGA_E_NOMEM);
}

static void every_status_has_a_name_of_its_own(void **state) {
    (void)state;
    for (int a = MUGA_OK; a <= MUGA_E_INTERNAL; a++) {
        assert_string_not_equal(error_status_name((muga_status)a), "unknown status");
        for (int b = MUGA_OK; b < a; b++) {
            assert_string_not_equal(error_status_name((muga_status)a), error_status_name((muga_status)b));
        }
    }
    assert_string_equal(error_status_name((muga_status)999), "unknown status");
}

static void sizes_that_overflow_are_refused(void **state) {
    (void)state;
    size_t out = 42;
    assert_false(size_add(SIZE_MAX, 1, &out));
    assert_false(size_mul(SIZE_MAX / 2 + 1, 2, &out));
    assert_null(mem_alloc_array(SIZE_MAX / 2 + 1, 2));
    assert_null(mem_resize_array(NULL, SIZE_MAX / 8 + 1, 8));
    assert_null(mem_copy_bytes("", SIZE_MAX));
    void *p = mem_alloc_array(0, 8);
    assert_non_null(p);
    p = mem_resize_array(p, 0, 8);
    assert_non_null(p);
    free(p);
}

static void aligned_memory_is_aligned_and_zero(void **state) {
    (void)state;
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        unsigned char *p = mem_alloc_aligned(333, alignment);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % alignment, 0);
        for (size_t i = 0; i < 333; i++) {
            assert_int_equal(p[i], 0);
        }
        free(p);
    }
}

static void arena_gives_zeroed_aligned_separate_pieces(void **state) {
    (void)state;
    arena a;
    arena_init(&a, 0);
    unsigned char *piece[200];
    for (size_t i = 0; i < ARRAY_LEN(piece); i++) {
        size_t n = (i * 7919) % 9000; /* across block sizes, large ones among small ones */
        piece[i] = arena_alloc(&a, n);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 16, 0);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(piece[i][k], 0);
        }
        memset(piece[i], (int)i, n);
    }
    for (size_t i = 0; i < ARRAY_LEN(piece); i++) {
        for (size_t k = 0; k < (i * 7919) % 9000; k++) {
            assert_int_equal(piece[i][k], (unsigned char)i);
        }
    }
    assert_string_equal(arena_printf(&a, "%d-%s", 5, "x"), "5-x");
    assert_string_equal(arena_copy_bytes(&a, "abc", 2), "ab");
    arena_release(&a);
    assert_string_equal(arena_copy_string(&a, "again"), "again");
    arena_release(&a);
}

static void arena_stops_at_its_maximum_and_stays_usable(void **state) {
    (void)state;
    arena a;
    arena_init(&a, 100);
    assert_non_null(arena_alloc(&a, 64));
    assert_null(arena_alloc(&a, 64));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 20));
    assert_non_null(arena_alloc(&a, 32));
    assert_null(arena_alloc(&a, 16));
    arena_release(&a);
}

static void string_grows_holds_nul_and_moves_out(void **state) {
    (void)state;
    str s = STR_INIT;
    assert_string_equal(str_get(&s), "");
    for (int i = 0; i < 10000; i++) {
        str_printf(&s, "%d,", i % 10);
    }
    assert_int_equal(s.len, 20000);
    assert_int_equal(s.data[s.len], 0);
    str_truncate(&s, 3);
    str_append(&s, "\0z", 2);
    assert_memory_equal(s.data, "0,1\0z", 6);
    muga_error err;
    assert_ok(str_status(&s, &err, "text"), &err);
    char *moved = str_take(&s);
    assert_memory_equal(moved, "0,1\0z", 6);
    free(moved);
    assert_int_equal(s.len, 0);
    moved = str_take(&s);
    assert_string_equal(moved, "");
    free(moved);
}

static void string_past_its_maximum_fails_for_good(void **state) {
    (void)state;
    str s;
    str_init(&s, 10);
    str_append_s(&s, "1234567890");
    muga_error err;
    assert_ok(str_status(&s, &err, "name"), &err);
    str_append_c(&s, 'x');
    str_append_s(&s, "");
    assert_string_equal(str_get(&s), "1234567890"); /* nothing partial */
    assert_status(str_status(&s, &err, "name"), MUGA_E_LIMIT, &err, "name is longer than 10 bytes");
    assert_null(str_take(&s));
    assert_int_equal(s.max, 10); /* still the maximum after release */
    str_printf(&s, "%s", "12345678901");
    assert_true(s.failed);
    str_clear(&s);
    str_printf(&s, "%s", "1234567890");
    assert_ok(str_status(&s, &err, "name"), &err);
    str_append(&s, "x", SIZE_MAX);
    assert_status(str_status(&s, &err, "name"), MUGA_E_LIMIT, &err, "10 bytes");
    str_release(&s);
}

static void spans_compare_by_content(void **state) {
    (void)state;
    assert_true(span_equal(span_of("ab", 1), span_of("ac", 1)));
    assert_false(span_equal(span_of("ab", 2), span_of("ac", 2)));
    assert_true(span_equal(span_of(NULL, 0), span_of_string("")));
    assert_true(span_equal_string(span_of("abc", 2), "ab"));
    assert_false(span_equal_string(span_of("a\0", 2), "a"));
}

static void cursor_never_leaves_its_bytes(void **state) {
    (void)state;
    static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    cursor c = cursor_of(bytes, sizeof bytes);
    uint8_t u8 = 0;
    uint16_t u16 = 0;
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    const uint8_t *p = NULL;
    span text = {0};
    assert_true(cursor_take_u8(&c, &u8));
    assert_true(cursor_take_u16(&c, &u16));
    assert_true(cursor_take_u32(&c, &u32));
    assert_int_equal(u8, 1);
    assert_int_equal(u16, 0x0302);
    assert_int_equal(u32, 0x07060504);
    uint64_t hostile[] = {4, 1u << 31, UINT64_MAX - 6, UINT64_MAX / 2, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
        assert_false(cursor_take(&c, hostile[i], &p));
        assert_false(cursor_take_string(&c, hostile[i], &text));
        assert_int_equal(c.at, 7);
    }
    assert_false(cursor_take_u32(&c, &u32));
    assert_false(cursor_take_u64(&c, &u64));
    assert_int_equal(c.at, 7);
    assert_true(cursor_align(&c, 8));
    assert_int_equal(c.at, 8);
    assert_true(cursor_align(&c, 8));
    assert_int_equal(c.at, 8);
    assert_true(cursor_take_u8(&c, &u8));
    assert_false(cursor_align(&c, 8)); /* the next multiple lies past the end */
    assert_false(cursor_align(&c, (uint64_t)1 << 63));
    assert_int_equal(c.at, 9);
    assert_true(cursor_take_string(&c, 1, &text));
    assert_int_equal(text.p[0], 10);
    assert_true(cursor_take(&c, 0, &p));
    assert_false(cursor_take_u8(&c, &u8));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_says_what_and_is_cut_at_a_character),
        cmocka_unit_test(error_may_quote_itself_and_be_absent),
        cmocka_unit_test(every_status_has_a_name_of_its_own),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(aligned_memory_is_aligned_and_zero),
        cmocka_unit_test(arena_gives_zeroed_aligned_separate_pieces),
        cmocka_unit_test(arena_stops_at_its_maximum_and_stays_usable),
        cmocka_unit_test(string_grows_holds_nul_and_moves_out),
        cmocka_unit_test(string_past_its_maximum_fails_for_good),
        cmocka_unit_test(spans_compare_by_content),
        cmocka_unit_test(cursor_never_leaves_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
