/* vocab.json and merges.txt: byte-level BPE in the files of before tokenizer.json, told as a tokenizer.json.
 *
 * What those files leave out is the class's own, so only classes whose rules are fixed are taken: GPT-2's words for
 * GPT2Tokenizer, Qwen2's for Qwen2Tokenizer. Another class, or none, is refused by name: other words, other tokens. */
#include "base/mem.h"
#include "convert/hf_dir.h"

#define END_OF_TEXT "<|endoftext|>" /* a special token of both classes, where no file names another */
#define QWEN2_WORDS                                                                                                    \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"                \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static bool is_class(const char *name, const char *wanted) {
    size_t n = strlen(wanted);
    return name && !strncmp(name, wanted, n) && (!name[n] || !strcmp(name + n, "Fast"));
}

static json_t *words_of(const hf_dir *d, muga_error *err, muga_status *st) {
    const char *class = json_get_string(d->tokenizer_config, "tokenizer_class");
    json_t *words = NULL;
    if (is_class(class, "GPT2Tokenizer"))
        words = json_pack("{s:s, s:b}", "type", "ByteLevel", "add_prefix_space",
                          json_get_bool(d->tokenizer_config, "add_prefix_space", false));
    else if (is_class(class, "Qwen2Tokenizer"))
        words = json_pack("{s:s, s:[{s:s, s:{s:s}, s:s}, {s:s, s:b, s:b}]}", "type", "Sequence", "pretokenizers",
                          "type", "Split", "pattern", "Regex", QWEN2_WORDS, "behavior", "Isolated", "type", "ByteLevel",
                          "add_prefix_space", 0, "use_regex", 0);
    else
        *st = error_set(err, MUGA_E_INPUT,
                        "vocab.json and merges.txt don't say how text is cut into words, and the class \"%.60s\" in "
                        "tokenizer_config.json isn't known to; add the model's tokenizer.json",
                        class ? class : "(none)");
    if (!*st && !words)
        *st = error_nomem(err, "the pre-tokenizer");
    return words;
}

/* A line a merge, after a line with the version. */
static json_t *merges_of(const str *text) {
    const char *at = str_get(text), *end = at + text->len;
    json_t *list = json_array();
    for (bool first = true; list && at < end; first = false) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *to = newline ? newline : end;
        size_t n = (size_t)(to - at);
        n -= n > 0 && at[n - 1] == '\r';
        bool is_version = first && n >= 8 && !memcmp(at, "#version", 8);
        if (n > 0 && !is_version && json_array_append_new(list, json_stringn_nocheck(at, n)) != 0) {
            json_decref(list);
            list = NULL;
        }
        at = newline ? newline + 1 : end;
    }
    return list;
}

/* ---- added tokens ---- */

static const char *text_of(const json_t *token) {
    return json_is_string(token) ? json_string_value(token) : json_get_string(token, "content");
}

/* Calls a text special: in `added` with the id that added_tokens.json or the vocabulary gives it. */
static bool add_special(json_t *added, const json_t *vocab, const json_t *more, const char *text) {
    const json_t *id = text ? json_object_get(more, text) : NULL;
    if (text && !id)
        id = json_object_get(vocab, text);
    if (!id)
        return true;
    json_t *token = json_pack("{s:O, s:s, s:b}", "id", id, "content", text, "special", 1);
    return json_array_append_new(added, token) == 0;
}

static bool add_specials(json_t *added, const json_t *vocab, const json_t *more, const json_t *config) {
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
    const json_t *list = json_object_get(config, "additional_special_tokens");
    bool ok = true;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        ok = ok && add_special(added, vocab, more, text_of(json_object_get(config, keys[i])));
    for (size_t i = 0; i < json_array_size(list); i++)
        ok = ok && add_special(added, vocab, more, text_of(json_array_get(list, i)));
    return ok;
}

/* The plain ones first, since of two entries for an id the later counts. */
static json_t *added_of(const hf_dir *d, const json_t *vocab, const json_t *more) {
    json_t *added = json_array();
    const char *text;
    json_t *id;
    bool ok = added != NULL;
    json_object_foreach(json_borrow(more), text, id) {
        if (ok)
            ok = json_array_append_new(added, json_pack("{s:O, s:s, s:b}", "id", id, "content", text, "special", 0)) ==
                 0;
    }
    ok = ok && add_special(added, vocab, more, END_OF_TEXT) && add_specials(added, vocab, more, d->special_tokens) &&
         add_specials(added, vocab, more, d->tokenizer_config);
    if (!ok) {
        json_decref(added);
        return NULL;
    }
    return added;
}

/* GPT2Tokenizer puts its beginning-of-text token before a text where it is told to. */
static json_t *frame_of(const hf_dir *d) {
    const char *class = json_get_string(d->tokenizer_config, "tokenizer_class");
    const char *bos = text_of(json_object_get(d->tokenizer_config, "bos_token"));
    if (!is_class(class, "GPT2Tokenizer") || !json_get_bool(d->tokenizer_config, "add_bos_token", false))
        return json_null();
    return json_pack("{s:s, s:[{s:{s:s}}, {s:{s:s}}]}", "type", "TemplateProcessing", "single", "SpecialToken", "id",
                     bos ? bos : END_OF_TEXT, "Sequence", "id", "A");
}

muga_status hf_tokenizer_of_files(const hf_dir *d, json_t *vocab, const str *merges, const json_t *more, json_t **out,
                                  muga_error *err) {
    muga_status st = MUGA_OK;
    json_t *words = words_of(d, err, &st);
    json_t *list = st ? NULL : merges_of(merges), *added = st ? NULL : added_of(d, vocab, more);
    json_t *frame = st ? NULL : frame_of(d);
    *out = NULL;
    if (!st && list && added && frame) /* "O" counts each up; "o" would lose those after the one that failed */
        *out = json_pack("{s:O, s:O, s:O, s:{s:s, s:O, s:O}}", "pre_tokenizer", words, "post_processor", frame,
                         "added_tokens", added, "model", "type", "BPE", "vocab", vocab, "merges", list);
    json_decref(words);
    json_decref(frame);
    json_decref(list);
    json_decref(added);
    return st || *out ? st : error_nomem(err, "the tokenizer");
}
