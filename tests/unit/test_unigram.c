/* Unigram against the sentencepiece library: five small vocabularies, made by tests/data/make_unigram.py, and the ids
 * that library gave awkward texts. Between them they have SentencePiece's usual character map (nmt_nfkc) and a small
 * one, byte fallback, unknown characters, a space before the text or none, several spaces as one or as they are, and
 * pieces over several words. Were this to fail, T5-like models would be fed other tokens than they were trained on. */
#include "support/support.h"
#include "support/token_case.h"

#include "base/mem.h"
#include "os/os.h"

#include <stdio.h>

static void read_cases(str *out) {
    muga_error err;
    const char *path = source_path("tests/data/unigram.cases");
    assert_ok(os_read_file(&os_system()->files, path, 1 << 20, out, &err), &err);
}

/* NAME, hex and ids, with tabs between; false: a comment. */
static bool take_case(const char *line, size_t n, char name[16], token_case *c) {
    const char *first = memchr(line, '\t', n), *end = line + n;
    if (line[0] == '#')
        return false;
    assert_true(first && first - line < 16);
    const char *second = memchr(first + 1, '\t', (size_t)(end - first - 1));
    assert_non_null(second);
    memcpy(name, line, (size_t)(first - line));
    name[first - line] = 0;
    token_case_take_hex(first + 1, (size_t)(second - first - 1), &c->text);
    token_case_take_ids(second + 1, (size_t)(end - second - 1), &c->ids);
    c->set = name;
    return true;
}

static void check_vocabulary(const char *wanted) {
    char path[64], name[16];
    str cases = STR_INIT;
    size_t n_cases = 0, n_wrong = 0;
    (void)snprintf(path, sizeof path, "tests/data/unigram-%s.gguf", wanted);
    tokenizer *t = token_case_open(source_path(path));
    read_cases(&cases);
    for (const char *at = cases.data, *end = at + cases.len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        token_case c = {0};
        assert_non_null(newline);
        if (take_case(at, (size_t)(newline - at), name, &c) && strcmp(name, wanted) == 0) {
            token_case_check(&c, t, &n_wrong);
            n_cases++;
        }
        token_case_release(&c);
        at = newline + 1;
    }
    str_release(&cases);
    tokenizer_free(t);
    assert_true(n_cases > 250);
    assert_int_equal(n_wrong, 0);
}

static void with_sentencepieces_character_map(void **state) {
    (void)state;
    check_vocabulary("nfkc");
}

static void with_bytes_for_unknown_characters(void **state) {
    (void)state;
    check_vocabulary("bytes");
}

static void without_a_space_before_the_text(void **state) {
    (void)state;
    check_vocabulary("bare");
}

static void with_every_space_kept(void **state) {
    (void)state;
    check_vocabulary("spaces");
}

static void with_the_text_as_it_is(void **state) {
    (void)state;
    check_vocabulary("raw");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_sentencepieces_character_map),
        cmocka_unit_test(with_bytes_for_unknown_characters),
        cmocka_unit_test(without_a_space_before_the_text),
        cmocka_unit_test(with_every_space_kept),
        cmocka_unit_test(with_the_text_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
