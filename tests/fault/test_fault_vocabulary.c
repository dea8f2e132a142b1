/* Every allocation failed in turn while a vocabulary is opened, and while a text is encoded and decoded. Were this to
 * fail, memory running out would crash the program, leak, or give wrong ids instead of an error. */
#include "support/faultmalloc.h"
#include "support/support.h"

#include "base/mem.h"
#include "gguf/gguf.h"
#include "model/tokenizer.h"

#include <string.h>

/* Longer than any buffer's first size, with special tokens, a long word, and bytes that are no UTF-8. */
static char text[4096];

static void fill_text(void) {
    static const char unit[] = "<|im_start|>user\nWhere is order A10234? \xF0\x9F\x98\x80\xFF<|im_end|>";
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i < 2048 ? unit[i % (sizeof unit - 1)] : 'e';
}

/* One turn: open the file, open the tokenizer, encode, decode. Frees all it made. */
static muga_status turn(const char *path, str *decoded, muga_error *err) {
    gguf_file *file = NULL;
    tokenizer *t = NULL;
    token_list ids = TOKEN_LIST_INIT;
    muga_status st = gguf_open(path, &file, err);
    if (!st)
        st = tokenizer_open(file, &t, err);
    gguf_close(file);
    if (!st)
        st = tokenizer_encode(t, text, sizeof text, (tokenizer_flags){.parse_special = true}, &ids, err);
    if (!st) {
        tokenizer_decode(t, ids.ids, ids.n, true, decoded);
        st = str_status(decoded, err, "text");
    }
    token_list_release(&ids);
    tokenizer_free(t);
    return st;
}

static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    muga_error err;
    fill_text();
    const char *path = source_path("tests/data/tiny.gguf");
    for (size_t n = 1;; n++) {
        assert_true(n < 100000);
        memset(&err, 0, sizeof err);
        str decoded = STR_INIT;
        long live = fault_live();
        fault_fail_at(n);
        muga_status st = turn(path, &decoded, &err);
        bool hit = fault_hit();
        fault_fail_at(0);
        if (!hit) {
            assert_ok(st, &err);
            assert_int_equal(decoded.len, sizeof text);
            assert_memory_equal(decoded.data, text, sizeof text);
            str_release(&decoded);
            print_message("%zu allocations failed in turn\n", n - 1);
            return;
        }
        str_release(&decoded);
        assert_int_equal(st, MUGA_E_NOMEM);
        assert_true(strlen(err.message) > 10);
        assert_int_equal(fault_live(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_may_run_out_anywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
