/* The checked-in model tests/data/tiny.gguf. Were this to fail, the file and the program that says what is in it would
 * have drifted apart, or GGUF writing, quantising or pre-tokenizing would have changed a byte. After a change that is
 * meant, `test_tiny --write tests/data/tiny.gguf` makes the file anew. */
#include "support/make_tiny.h"
#include "support/support.h"

#include "base/mem.h"
#include "gguf/gguf.h"
#include "model/tokenizer.h"

#include <stdio.h>

static void the_file_is_what_the_program_makes(void **state) {
    (void)state;
    muga_error err;
    str made = STR_INIT, stored = STR_INIT;
    assert_ok(make_tiny(&made, &err), &err);
    assert_true(made.len < 300 * 1024);
    assert_ok(os_read_file(&os_system()->files, source_path("tests/data/tiny.gguf"), 1 << 20, &stored, &err), &err);
    assert_int_equal(made.len, stored.len);
    assert_memory_equal(made.data, stored.data, made.len);
    str_release(&made);
    str_release(&stored);
}

static void it_loads_and_its_tokenizer_round_trips(void **state) {
    (void)state;
    static const char text[] = "<|im_start|>user\nWhere is my order A10234? caf\xC3\xA9 \xF0\x9F\x98\x80<|im_end|>\n";
    muga_error err;
    gguf_file *file;
    tokenizer *tok;
    token_list ids = TOKEN_LIST_INIT;
    str back = STR_INIT;
    assert_ok(gguf_open(source_path("tests/data/tiny.gguf"), &file, &err), &err);
    assert_ok(tokenizer_open(file, &tok, &err), &err);
    gguf_close(file);
    assert_int_equal(tokenizer_count(tok), TINY_VOCAB);
    assert_ok(tokenizer_encode(tok, text, sizeof text - 1, (tokenizer_flags){.parse_special = true}, &ids, &err), &err);
    assert_true(ids.n < sizeof text / 2); /* the merges were learned and are used */
    assert_int_equal(ids.ids[0], 1);
    assert_true(tokenizer_is_end(tok, 2));
    tokenizer_decode(tok, ids.ids, ids.n, true, &back);
    assert_string_equal(str_get(&back), text);
    str_release(&back);
    token_list_release(&ids);
    tokenizer_free(tok);
}

static int write_file(const char *path) {
    muga_error err = {0};
    str made = STR_INIT;
    muga_status st = make_tiny(&made, &err);
    if (!st)
        st = os_write_file_atomic(&os_system()->files, path, made.data, made.len, &err);
    if (st)
        (void)fprintf(stderr, "%s\n", err.message);
    str_release(&made);
    return st;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        return write_file(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_is_what_the_program_makes),
        cmocka_unit_test(it_loads_and_its_tokenizer_round_trips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
