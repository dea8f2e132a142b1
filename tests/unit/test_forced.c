/* How the tokenizer itself divides text that a constraint forces. If this failed, a model would read its own answer in
 * pieces it was never trained on, or a forced stretch would be left to the mask token by token. */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/forced.h"
#include "gguf/gguf.h"

static tokenizer *open_tokenizer(const char *path) {
    gguf_file *f = NULL;
    tokenizer *t = NULL;
    muga_error err = {0};
    assert_ok(gguf_open(source_path(path), &f, &err), &err);
    assert_ok(tokenizer_open(f, &t, &err), &err);
    gguf_close(f);
    return t;
}

static token_list encode(const tokenizer *t, const char *text) {
    token_list ids = TOKEN_LIST_INIT;
    muga_error err = {0};
    assert_ok(tokenizer_encode(t, text, strlen(text), (tokenizer_flags){0}, &ids, &err), &err);
    return ids;
}

static void assert_spells(const tokenizer *t, const token_list *ids, const char *text) {
    str all = STR_INIT;
    for (size_t i = 0; i < ids->n; i++)
        str_append(&all, tokenizer_piece(t, ids->ids[i]).p, tokenizer_piece(t, ids->ids[i]).n);
    assert_string_equal(str_get(&all), text);
    str_release(&all);
}

static const char *const files[] = {"tests/data/tiny.gguf", "tests/data/unigram-spaces.gguf",
                                    "tests/data/unigram-bytes.gguf", "tests/data/unigram-nfkc.gguf"};

/* Behind the first tokens of a text, its rest is divided as in the whole. */
static void a_text_goes_on_as_its_tokenizer_divides_the_whole(void **state) {
    (void)state;
    static const char *const texts[] = {"{\"name\":\"a tree\",\"n\":12}", "the cat sat on the mat", "ab  cd\n  ef 123",
                                        "caf\xC3\xA9 caf\xC3\xA9 \xE2\x82\xAC"};
    uint32_t n_rests = 0;
    for (size_t k = 0; k < ARRAY_LEN(files); k++) {
        tokenizer *t = open_tokenizer(files[k]);
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
            muga_error err = {0};
            token_list whole = encode(t, texts[i]);
            for (size_t cut = 1; cut < whole.n; cut++) {
                token_list rest = TOKEN_LIST_INIT;
                str text = STR_INIT;
                for (size_t j = cut; j < whole.n; j++)
                    str_append(&text, tokenizer_piece(t, whole.ids[j]).p, tokenizer_piece(t, whole.ids[j]).n);
                assert_ok(forced_encode(t, whole.ids, (uint32_t)cut, span_of(text.data, text.len), &rest, &err), &err);
                if (rest.n > 0)
                    assert_spells(t, &rest, str_get(&text));
                bool same = rest.n == whole.n - cut &&
                            memcmp(rest.ids, whole.ids + cut, rest.n * sizeof *rest.ids) == 0;
                if (cut < 16 && k == 0 && !same)
                    fail_msg("%s: \"%s\" behind %zu tokens", files[k], str_get(&text), cut);
                n_rests += same;
                str_release(&text);
                token_list_release(&rest);
            }
            token_list_release(&whole);
        }
        tokenizer_free(t);
    }
    assert_true(n_rests > 60);
}

/* A vocabulary that puts a space in front of a text that stands alone spells forced text without one. */
static void no_space_is_put_in_front(void **state) {
    (void)state;
    static const char *const texts[] = {"tree", "the", "a"};
    for (size_t k = 0; k < ARRAY_LEN(files); k++) {
        tokenizer *t = open_tokenizer(files[k]);
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
            muga_error err = {0};
            token_list ids = TOKEN_LIST_INIT;
            assert_ok(forced_encode(t, NULL, 0, span_of_string(texts[i]), &ids, &err), &err);
            if (ids.n > 0)
                assert_spells(t, &ids, texts[i]);
            assert_true(ids.n > 0 || k > 0);
            token_list_release(&ids);
        }
        tokenizer_free(t);
    }
}

/* Where a token would reach back over what stands already, the text is divided by itself. */
static void what_stands_already_is_left_alone(void **state) {
    (void)state;
    tokenizer *t = open_tokenizer(files[0]);
    rng r = {5};
    for (int i = 0; i < 300; i++) {
        static const char *const words[] = {"the", "th", "e", " cat", "at", "\"", "\":", "{", "12", "\n", " ", "'s"};
        muga_error err = {0};
        token_list before = encode(t, words[rng_below(&r, ARRAY_LEN(words))]), ids = TOKEN_LIST_INIT;
        str text = STR_INIT;
        for (int k = 0; k < 3; k++)
            str_append_s(&text, words[rng_below(&r, ARRAY_LEN(words))]);
        assert_ok(forced_encode(t, before.ids, (uint32_t)before.n, span_of(text.data, text.len), &ids, &err), &err);
        assert_spells(t, &ids, str_get(&text));
        token_list_release(&ids);
        token_list_release(&before);
        str_release(&text);
    }
    tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_goes_on_as_its_tokenizer_divides_the_whole),
        cmocka_unit_test(no_space_is_put_in_front),
        cmocka_unit_test(what_stands_already_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
