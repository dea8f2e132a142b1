/* Tokenizers against the conformance sets: texts made to be awkward, ids and decoded bytes from the reference
 * implementations. Were this to fail, some kind of model would be fed other tokens than it was trained on.
 *
 * Vocabularies that may be redistributed lie packed beside the cases, and xz unpacks them; the others come by
 * scripts/test-vocabularies, and a set without its vocabulary is passed over by name. */
#include "support/support.h"
#include "support/token_case.h"

#include "base/json.h"
#include "base/mem.h"
#include "os/os.h"

#include <stdio.h>

#include <string.h>

static const char *format_path(char out[160], const char *format, const char *set) {
    (void)snprintf(out, 160, format, set);
    return out;
}

static tokenizer *open_packed(const char *path) {
    muga_error err;
    os_child_result unpacked;
    const char *const argv[] = {"/usr/bin/xz", "-dc", path, NULL};
    os_child_spec spec = {.argv = argv, .max_out_bytes = (size_t)64 << 20, .timeout_ms = 60000};
    const os_children *children = &os_system()->children;
    assert_ok(children->run(children->self, &spec, &unpacked, &err), &err);
    assert_true(unpacked.end == OS_CHILD_EXITED && unpacked.code == 0);
    tokenizer *t = token_case_open_memory(unpacked.out.data, unpacked.out.len);
    str_release(&unpacked.out);
    str_release(&unpacked.err_out);
    return t;
}

static tokenizer *open_unpacked(const char *set) {
    char file[160];
    const char *path = vocabulary_path(format_path(file, "ggml-vocab-%s.gguf", set));
    return path ? token_case_open(path) : NULL;
}

static bool read_text(const char *path, str *out) {
    muga_error err;
    if (path)
        assert_ok(os_read_file(&os_system()->files, path, 1 << 24, out, &err), &err);
    return path != NULL;
}

/* ---- cases.jsonl ---- */

typedef struct expectation {
    token_case c;
    bool has_decoded;
    str decoded; /* detok_hex */
} expectation;

static void take_case(const char *set, const char *line, size_t n, expectation *e) {
    muga_error err;
    json_t *v;
    assert_ok(json_parse(line, n, set, &v, &err), &err);
    *e = (expectation){.c = {.set = set,
                             .add_special = json_get_bool(v, "add_special", false),
                             .parse_special = json_get_bool(v, "parse_special", false)}};
    const json_t *text = json_object_get(v, "text"), *ids = json_object_get(v, "ids");
    const char *hex = json_get_string(v, "text_hex"), *decoded = json_get_string(v, "detok_hex");
    if (hex)
        token_case_take_hex(hex, strlen(hex), &e->c.text);
    else
        str_append(&e->c.text, json_string_value(text), json_string_length(text));
    for (size_t i = 0; i < json_array_size(ids); i++)
        assert_true(token_list_push(&e->c.ids, (int32_t)json_integer_value(json_array_get(ids, i))));
    e->has_decoded = decoded != NULL;
    if (decoded)
        token_case_take_hex(decoded, strlen(decoded), &e->decoded);
    json_decref(v);
}

/* The reference takes blanks out before punctuation when it decodes ("clean up") for some vocabularies, and the blank
 * that SentencePiece puts before a text; we give the bytes of the pieces. */
static bool is_cleaned(const char *p, size_t n, size_t *drop) {
    static const char *const tails[] = {" ?", " !", " .", " ,", " n't", " 'm", " 's", " 've", " 're"};
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        size_t k = strlen(tails[i]);
        if (n >= k && memcmp(p, tails[i], k) == 0) {
            *drop = 1;
            return true;
        }
    }
    *drop = n >= 3 && memcmp(p, " ' ", 3) == 0 ? 2 : 0; /* " ' " to "'" */
    return *drop > 0;
}

/* The two texts, ours from byte i on, but for the blanks that cleaning up takes. */
static bool same_but_blanks(const str *ours, size_t i, const str *theirs) {
    size_t k = 0, drop;
    const char *p = str_get(ours), *q = str_get(theirs);
    while (i < ours->len) {
        if (k < theirs->len && p[i] == q[k]) {
            i++;
            k++;
        } else if (p[i] == ' ' && (is_cleaned(p + i, ours->len - i, &drop) || (k > 0 && q[k - 1] == '\''))) {
            i++;
        } else {
            return false;
        }
    }
    return k == theirs->len;
}

static void check_decoded(const expectation *e, const tokenizer *t, size_t *n_wrong) {
    str out = STR_INIT;
    tokenizer_decode(t, e->c.ids.ids, e->c.ids.n, true, &out);
    bool prefixed = out.len && out.data[0] == ' ';
    if (!same_but_blanks(&out, 0, &e->decoded) && !(prefixed && same_but_blanks(&out, 1, &e->decoded))) {
        if (++*n_wrong <= 3)
            print_message("%s: decoded \"%s\", expected \"%s\"\n", e->c.set, str_get(&out), str_get(&e->decoded));
    }
    str_release(&out);
}

static void check_cases(const char *set, const tokenizer *t) {
    str lines = STR_INIT;
    char file[160];
    size_t n = 0, n_decoded = 0, n_wrong = 0;
    (void)read_text(shared_path(format_path(file, "conformance/tokenizers/%s/cases.jsonl", set)), &lines);
    for (const char *p = str_get(&lines), *end; (end = strchr(p, '\n')); p = end + 1, n++) {
        expectation e;
        take_case(set, p, (size_t)(end - p), &e);
        token_case_check(&e.c, t, &n_wrong);
        if (e.has_decoded) {
            check_decoded(&e, t, &n_wrong);
            n_decoded++;
        }
        token_case_release(&e.c);
        str_release(&e.decoded);
    }
    print_message("%s: %zu cases, %zu decoded, %zu wrong\n", set, n, n_decoded, n_wrong);
    assert_true(n > 200 && n_decoded > 100);
    assert_int_equal(n_wrong, 0);
    str_release(&lines);
}

/* ---- .inp and .out: texts between marks, ids a line ---- */

static void check_listed(const char *set, const tokenizer *t, const char *inp, const char *out) {
    static const char mark[] = "\n__ggml_vocab_test__\n";
    str texts = STR_INIT, ids = STR_INIT;
    size_t n = 0, n_wrong = 0;
    if (!read_text(inp, &texts) || !read_text(out, &ids))
        return;
    const char *p = str_get(&texts), *line = str_get(&ids);
    for (bool more = true; more; n++) {
        const char *end = strstr(p, mark), *line_end = strchr(line, '\n');
        more = end != NULL;
        token_case c = {.set = set};
        str_append(&c.text, p, end ? (size_t)(end - p) : strlen(p));
        size_t n_line = line_end ? (size_t)(line_end - line) : strlen(line);
        while (n_line > 0 && *line == ' ') {
            line++;
            n_line--;
        }
        token_case_take_ids(line, n_line, &c.ids);
        token_case_check(&c, t, &n_wrong);
        token_case_release(&c);
        p = end ? end + sizeof mark - 1 : p;
        line = line_end ? line_end + 1 : line + n_line;
    }
    print_message("%s: %zu listed texts, %zu wrong\n", set, n, n_wrong);
    assert_true(n > 40);
    assert_int_equal(n_wrong, 0);
    str_release(&texts);
    str_release(&ids);
}

/* ---- work ---- */

/* One thing over and over, and things that share long beginnings: what a careless encoder takes the square of. */
static const char *const runs[] = {
    "a",   " ",  "\n",        "\r\n",      "\t",   "7",   "!",    "\xF0\x9F\x91\x8D", "中",      "ab", "Aa", "'s",
    " \n", " A", "e\xCC\x81", "<|im_star", "\x01", "abc", "0123", "\xE2\x96\x81",     "\xC2\xA0"};

static uint64_t work_of(const tokenizer *t, const char *unit, size_t n) {
    muga_error err;
    str text = STR_INIT;
    token_list ids = TOKEN_LIST_INIT;
    uint64_t work = 0;
    while (text.len + strlen(unit) <= n)
        str_append_s(&text, unit);
    tokenizer_flags flags = {.parse_special = true, .lossy = true, .work = &work};
    assert_ok(tokenizer_encode(t, str_get(&text), text.len, flags, &ids, &err), &err);
    token_list_release(&ids);
    str_release(&text);
    return work;
}

/* Counted, not timed: sixteen times the text takes at most sixteen times the steps, and the logarithm's share. */
static void check_work(const char *set, const tokenizer *t) {
    enum { SMALL = 1 << 16, LARGE = 1 << 20 };
    double most = 0, growth = 0;
    for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
        uint64_t small = work_of(t, runs[i], SMALL), large = work_of(t, runs[i], LARGE);
        most = MAX(most, (double)large / LARGE);
        growth = MAX(growth, (double)large / ((double)small + 1));
        if (large > (uint64_t)LARGE * 64 || large > 22 * (small + 1))
            print_message("%s: \"%s\" takes %llu steps for 64 KiB, %llu for 1 MiB\n", set, runs[i],
                          (unsigned long long)small, (unsigned long long)large);
    }
    print_message("%s: at most %.1f steps a byte of 1 MiB; 16 times the text, %.1f times the steps\n", set, most,
                  growth);
    assert_true(most <= 64 && growth <= 22);
}

/* ---- sets ---- */

static void check_set(void **state) {
    const char *set = *state;
    char file[160], out[160];
    bool packed = strcmp(set, "llama-bpe") != 0 && strcmp(set, "llama-spm") != 0 && strcmp(set, "refact") != 0 &&
                  strcmp(set, "deepseek-llm") != 0;
    tokenizer *t = packed ? open_packed(shared_path(format_path(file, "conformance/tokenizers/%s/vocab.gguf.xz", set)))
                          : open_unpacked(set);
    if (!t)
        skip();
    check_cases(set, t);
    check_work(set, t);
    if (strcmp(set, "smollm2") != 0) /* has none */
        check_listed(set, t, shared_path(format_path(file, "conformance/tokenizers/%s/vocab.inp", set)),
                     shared_path(format_path(out, "conformance/tokenizers/%s/vocab.out", set)));
    tokenizer_free(t);
}

/* Vocabularies that came with their own list of texts, and no set of cases. */
static void check_vocabulary(void **state) {
    const char *set = *state;
    char inp[160], out[160];
    tokenizer *t = open_unpacked(set);
    if (!t)
        skip();
    check_listed(set, t, vocabulary_path(format_path(inp, "ggml-vocab-%s.gguf.inp", set)),
                 vocabulary_path(format_path(out, "ggml-vocab-%s.gguf.out", set)));
    tokenizer_free(t);
}

#define SET(name)                                                                                                      \
    { "set " name, check_set, NULL, NULL, (void *)(uintptr_t)name }
#define VOCABULARY(name)                                                                                               \
    { "vocabulary " name, check_vocabulary, NULL, NULL, (void *)(uintptr_t)name }

int main(void) {
    const struct CMUnitTest tests[] = {SET("gpt-2"),
                                       SET("smollm2"),
                                       SET("qwen2"),
                                       SET("gemma-4"),
                                       SET("phi-3"),
                                       SET("bert-bge"),
                                       SET("llama-bpe"),
                                       SET("llama-spm"),
                                       SET("deepseek-llm"),
                                       SET("refact"),
                                       VOCABULARY("falcon"),
                                       VOCABULARY("starcoder"),
                                       VOCABULARY("mpt"),
                                       VOCABULARY("qwen35"),
                                       VOCABULARY("command-r"),
                                       VOCABULARY("deepseek-coder")};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
