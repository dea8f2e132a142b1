/* Tokenizers of folders: pre-tokenizers are known by what they say, and vocab.json with merges.txt says what a
 * tokenizer.json would. If this fails, a converted model cuts text into other words than the folder's, or a folder that
 * could be converted is refused.
 *
 * The folder is made of the tiny model of the tree; its tokenizer is then told in other ways. */
#include "support/support.h"

#include "support/hf_folder.h"

#include "base/json.h"
#include "base/mem.h"
#include "convert/convert.h"

#include <stdio.h>
#include <unistd.h>

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define WORDS(numbers)                                                                                                 \
    "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define HANGUL "[一-龥ࠀ-一가-퟿]+"
#define WIDE "\\s?[!-/:-~！-／：-～‘-‟　-。]+"
/* clang-format off */
#define LETTERS \
    "\\s?[" \
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ" \
    "-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ" \
    "-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃" \
    "]+"
/* clang-format on */

static char dir[400], out[400], source[400];

static const os_files *files(void) {
    return &os_system()->files;
}

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "%s", scratch_path("folder"));
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    snprintf(source, sizeof source, "%s", scratch_path("source.gguf"));
    hf_folder_source(source);
    return 0;
}

static const char *in_dir(const char *name) {
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void fresh(void) {
    static const char *const own[] = {"vocab.json", "merges.txt", "added_tokens.json"};
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        (void)remove(in_dir(own[i]));
    hf_folder_write(source, dir, &(hf_folder_options){0});
    (void)remove(out);
}

static muga_status run(muga_error *err) {
    convert_options o = {.name = "tiny", .files = files()};
    convert_report report;
    return convert_folder(dir, out, &o, &report, err);
}

static str read_path(const char *path) {
    str s = STR_INIT;
    muga_error err = {0};
    assert_ok(os_read_file(files(), path, (size_t)1 << 26, &s, &err), &err);
    return s;
}

static void write_path(const char *path, const str *s) {
    muga_error err = {0};
    assert_ok(os_write_file_atomic(files(), path, str_get(s), s->len, &err), &err);
}

static json_t *read_json(const char *name) {
    muga_error err = {0};
    json_t *v = NULL;
    str text = read_path(in_dir(name));
    assert_ok(json_parse(str_get(&text), text.len, name, &v, &err), &err);
    str_release(&text);
    return v;
}

static void write_json(const char *name, const json_t *v) {
    str text = STR_INIT;
    json_write(v, &text);
    write_path(in_dir(name), &text);
    str_release(&text);
}

/* ---- pre-tokenizers ---- */

/* "@..." is a step of that type, with how it is set; another text the pattern of a "Split". */
static json_t *step_of(const char *said) {
    if (!strcmp(said, "@Punctuation") || !strcmp(said, "@Punctuation alone"))
        return json_pack("{s:s, s:s}", "type", "Punctuation", "behavior", said[12] ? "Isolated" : "Contiguous");
    if (!strncmp(said, "@Digits", 7))
        return json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", !said[7]);
    if (!strncmp(said, "@Bytes", 6))
        return json_pack("{s:s, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", said[6] != 0);
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", said, "behavior", "Isolated",
                     "invert", 0);
}

/* tokenizer.json with these steps for its own. `piece` stands in for one that the vocabulary has. */
static void set_words(const char *const *steps, bool ignore_merges, const char *piece) {
    json_t *tokenizer = read_json("tokenizer.json"), *list = json_array();
    json_t *model = json_object_get(tokenizer, "model"), *vocab = json_object_get(model, "vocab");
    for (size_t i = 0; steps[i]; i++)
        assert_int_equal(json_array_append_new(list, step_of(steps[i])), 0);
    json_object_set_new(tokenizer, "pre_tokenizer", json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list));
    json_object_set_new(model, "ignore_merges", json_boolean(ignore_merges));
    if (piece) {
        char *last = NULL;
        const char *key;
        json_t *id, *last_id = NULL;
        json_object_foreach(vocab, key, id) {
            free(last);
            last = mem_copy_string(key);
            last_id = id;
        }
        json_object_set(vocab, piece, last_id);
        json_object_del(vocab, last);
        free(last);
    }
    write_json("tokenizer.json", tokenizer);
    json_decref(tokenizer);
}

typedef struct form {
    const char *name; /* NULL: refused */
    bool ignore_merges;
    const char *piece;
    const char *steps[8];
} form;

static void check_form(const form *f) {
    muga_error err = {0};
    fresh();
    set_words(f->steps, f->ignore_merges, f->piece);
    if (!f->name) {
        assert_status(run(&err), MUGA_E_INPUT, &err, "pre-tokenizer");
        return;
    }
    gguf_file *file;
    span name;
    assert_ok(run(&err), &err);
    assert_ok(gguf_open(out, &file, &err), &err);
    assert_ok(gguf_get_string(file, "tokenizer.ggml.pre", &name, &err), &err);
    if (!span_equal_string(name, f->name))
        fail_msg("%.*s instead of %s", (int)name.n, name.p, f->name);
    gguf_close(file);
}

static void pretokenizers_are_known_by_what_they_say(void **state) {
    (void)state;
    static const form forms[] = {
        {"gpt-2", false, NULL, {"@Bytes regex"}},
        {"falcon", false, NULL, {"@Punctuation", "@Bytes regex", "@Digits together", "[0-9][0-9][0-9]"}},
        {"falcon", false, "Ġ1", {"@Punctuation", "@Bytes regex", "[0-9][0-9][0-9]"}},
        {"deepseek-llm", false, NULL, {"[\r\n]", LETTERS, WIDE, "\\s+$", HANGUL, "@Digits together", "@Bytes"}},
        {"deepseek-llm", false, NULL, {"[\r\n]", LETTERS, WIDE, "\\s+$", HANGUL, "@Digits", "@Bytes"}},
        {"deepseek-llm", false, "12", {"[\r\n]", LETTERS, WIDE, "\\s+$", HANGUL, "\\p{N}+", "@Bytes"}},
        {"ufakzeka", false, NULL, {WORDS("\\p{N}"), "@Bytes"}},
        {"laguna", false, NULL, {"[^\\n]+|[\\n]+", CONTRACTION WORDS("\\p{N}"), "@Bytes"}},
        {"minicpm5", true, NULL, {"\\p{N}{1,3}", CONTRACTION WORDS("\\p{N}+"), "@Bytes"}},
        {"bailingmoe",
         false,
         NULL,
         {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|"
          "\\s+(?!\\S)|\\s+",
          "@Bytes"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        check_form(&forms[i]);
}

/* Where the engine leaves a step out that would change something for this vocabulary, and forms that aren't any. */
static void others_are_refused(void **state) {
    (void)state;
    static const form forms[] = {
        {NULL, false, "xĠ1", {"@Punctuation", "@Bytes regex", "@Digits together", "[0-9][0-9][0-9]"}},
        {NULL, false, "12", {"[\r\n]", LETTERS, WIDE, "\\s+$", HANGUL, "@Digits", "@Bytes"}},
        {NULL, false, NULL, {"@Punctuation alone", "@Bytes regex", "[0-9][0-9][0-9]"}},
        {NULL,
         false,
         NULL,
         {"@Punctuation", GPT2, "[0-9][0-9][0-9]", "@Bytes"}}, /* digits before bytes: not the same */
        {NULL, false, NULL, {"@Bytes regex", "@Bytes"}},
        {NULL, false, NULL, {"@Bytes", "\\p{N}"}},
        {NULL, false, NULL, {WORDS("\\p{N}")}},
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        check_form(&forms[i]);
}

/* ---- vocab.json and merges.txt ---- */

static void vocab_and_merges_are_a_tokenizer(void **state) {
    (void)state;
    static const char *const gpt2[] = {"@Bytes regex", NULL}, *const qwen2[] = {CONTRACTION WORDS("\\p{N}"), "@Bytes",
                                                                                NULL};
    for (int qwen = 0; qwen < 2; qwen++) {
        muga_error err = {0};
        fresh();
        set_words(qwen ? qwen2 : gpt2, false, NULL);
        assert_ok(run(&err), &err);
        str whole = read_path(out);
        hf_folder_split_tokenizer(dir, qwen ? "Qwen2TokenizerFast" : "GPT2Tokenizer");
        assert_ok(run(&err), &err);
        str parts = read_path(out);
        assert_int_equal(whole.len, parts.len);
        assert_memory_equal(whole.data, parts.data, whole.len);
        str_release(&whole);
        str_release(&parts);
    }
}

static void vocab_and_merges_alone_need_a_class_that_is_known(void **state) {
    (void)state;
    static const char *const classes[] = {"LlamaTokenizer", "GPT2TokenizerOther", NULL};
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        muga_error err = {0};
        fresh();
        hf_folder_split_tokenizer(dir, classes[i]);
        assert_status(run(&err), MUGA_E_INPUT, &err, classes[i] ? classes[i] : "(none)");
    }
    muga_error err = {0};
    str bad = STR_INIT;
    fresh();
    hf_folder_split_tokenizer(dir, "GPT2Tokenizer");
    str_append_s(&bad, "a b\n\xFF c\n");
    write_path(in_dir("merges.txt"), &bad);
    assert_status(run(&err), MUGA_E_INPUT, &err, "merges.txt");
    str_clear(&bad);
    str_append_s(&bad, "a b c\n");
    write_path(in_dir("merges.txt"), &bad);
    assert_status(run(&err), MUGA_E_INPUT, &err, "merge 0");
    assert_int_equal(remove(in_dir("merges.txt")), 0);
    assert_status(run(&err), MUGA_E_NOT_FOUND, &err, "merges.txt");
    str_release(&bad);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pretokenizers_are_known_by_what_they_say),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(vocab_and_merges_are_a_tokenizer),
        cmocka_unit_test(vocab_and_merges_alone_need_a_class_that_is_known),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
