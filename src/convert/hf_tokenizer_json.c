/* tokenizer.json: the vocabulary of each kind of model, and the tokens added to it.
 *
 *   BPE over bytes                merges and a pre-tokenizer                        "gpt2"
 *   BPE with byte fallback        SentencePiece's; a piece's score is its rank      "llama"
 *   Unigram                       scores and a character map                        "t5"
 *   WordPiece                     "##" inside of words becomes U+2581 before them   "bert"
 *
 * Steps of a normaliser or pre-tokenizer that the engine's kind doesn't take are refused by name. */
#include "convert/hf_vocab.h"

#include <math.h>
#include <stdio.h>

#define SPACE "\xE2\x96\x81" /* U+2581, a space in pieces */
#define NO_MERGE (-1e6f)     /* score of what no merge makes */

static bool is_type(const json_t *v, const char *type) {
    const char *have = json_get_string(v, "type");
    return have && !strcmp(have, type);
}

static const char *text_or(const char *s, const char *otherwise) {
    return s ? s : otherwise;
}

/* ---- steps: a normaliser or pre-tokenizer is one step or a list of them ---- */

typedef void step_fn(hf_vocab *v, const json_t *step);

static void each_step(hf_vocab *v, const json_t *part, const char *list, step_fn *take) {
    if (!part || json_is_null(part) || v->m->st)
        return;
    if (!is_type(part, "Sequence")) {
        take(v, part);
        return;
    }
    const json_t *steps = json_object_get(part, list);
    for (size_t i = 0; i < json_array_size(steps) && !v->m->st; i++)
        take(v, json_array_get(steps, i));
}

static void unknown_step(hf_vocab *v, const char *part, const json_t *step) {
    hf_fail(v->m, "tokenizer.json: the %s's step \"%.60s\" is not followed by the \"%s\" tokenizer", part,
            text_or(json_get_string(step, "type"), "(no type)"), v->kind);
}

static bool is_replace(const json_t *step, const char *kind, const char *pattern, const char *content) {
    const char *p = json_get_string(json_object_get(step, "pattern"), kind), *c = json_get_string(step, "content");
    return is_type(step, "Replace") && p && c && !strcmp(p, pattern) && !strcmp(c, content);
}

static void need_nothing(hf_vocab *v, const json_t *step) {
    if (!is_type(step, "NFC")) /* text is nearly always composed; run times leave this step out */
        unknown_step(v, "normaliser", step);
}

static void llama_normaliser(hf_vocab *v, const json_t *step) {
    const char *prepend = json_get_string(step, "prepend");
    if (is_type(step, "Prepend") && prepend && !strcmp(prepend, SPACE))
        v->space_prefix = true;
    else if (!is_replace(step, "String", " ", SPACE))
        unknown_step(v, "normaliser", step);
}

static void metaspace(hf_vocab *v, const json_t *step) {
    const char *scheme = json_get_string(step, "prepend_scheme"), *mark = json_get_string(step, "replacement");
    bool prefix = scheme ? strcmp(scheme, "never") != 0 : json_get_bool(step, "add_prefix_space", true);
    if (!mark || strcmp(mark, SPACE) != 0)
        hf_fail(v->m, "tokenizer.json: \"Metaspace\" with another mark than U+2581");
    v->space_prefix = v->space_prefix || prefix;
}

static void llama_words(hf_vocab *v, const json_t *step) {
    const char *pattern = json_get_string(json_object_get(step, "pattern"), "String");
    if (is_type(step, "Metaspace"))
        metaspace(v, step);
    else if (!is_type(step, "Split") || !pattern || strcmp(pattern, " ") != 0) /* no space is left to split at */
        unknown_step(v, "pre-tokenizer", step);
}

static int base64_value(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static void take_charsmap(hf_vocab *v, const char *text) {
    size_t n = strlen(text), w = 0;
    uint8_t *out = arena_alloc(&v->texts, n + 1);
    uint32_t bits = 0, n_bits = 0;
    if (!out) {
        v->m->st = error_nomem(v->m->err, "the character map");
        return;
    }
    for (size_t i = 0; i < n && text[i] != '='; i++) {
        int value = base64_value(text[i]);
        if (value < 0) {
            hf_fail(v->m, "tokenizer.json: \"precompiled_charsmap\" is no base64; fetch it again");
            return;
        }
        bits = bits << 6 | (uint32_t)value;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            out[w++] = (uint8_t)(bits >> n_bits);
        }
    }
    v->charsmap = out;
    v->n_charsmap = w;
}

static void unigram_normaliser(hf_vocab *v, const json_t *step) {
    const char *map = json_get_string(step, "precompiled_charsmap");
    if (is_type(step, "Precompiled") && map)
        take_charsmap(v, map);
    else if (is_replace(step, "Regex", " {2,}", " ") || is_replace(step, "Regex", " {2,}", SPACE))
        v->merge_spaces = true;
    else
        unknown_step(v, "normaliser", step);
}

static void unigram_words(hf_vocab *v, const json_t *step) {
    if (is_type(step, "Metaspace"))
        metaspace(v, step);
    else if (is_type(step, "WhitespaceSplit"))
        v->merge_spaces = true;
    else
        unknown_step(v, "pre-tokenizer", step);
}

static void bert_normaliser(hf_vocab *v, const json_t *step) {
    if (!is_type(step, "BertNormalizer")) {
        unknown_step(v, "normaliser", step);
        return;
    }
    if (!json_get_bool(step, "clean_text", true) || !json_get_bool(step, "handle_chinese_chars", true))
        hf_fail(v->m, "tokenizer.json: \"clean_text\" or \"handle_chinese_chars\" is false, which isn't followed");
    v->lowercase = json_get_bool(step, "lowercase", true);
    v->strip_accents = json_get_bool(step, "strip_accents", v->lowercase);
    v->has_lowercase = true;
}

static void bert_words(hf_vocab *v, const json_t *step) {
    if (!is_type(step, "BertPreTokenizer"))
        unknown_step(v, "pre-tokenizer", step);
}

/* ---- pieces ---- */

static bool is_byte_piece(const char *p) {
    return strlen(p) == 6 && !strncmp(p, "<0x", 3) && p[5] == '>';
}

static void bad_merge(hf_vocab *v, size_t i) {
    hf_fail(v->m, "tokenizer.json: merge %zu isn't two pieces of the vocabulary; fetch it again", i);
}

/* "a b" or ["a", "b"], as the one; NULL after an error. */
static const char *merge_text(hf_vocab *v, const json_t *merge, size_t i) {
    const char *text = json_string_value(merge);
    const char *a = json_string_value(json_array_get(merge, 0)), *b = json_string_value(json_array_get(merge, 1));
    if (!text && a && b && json_array_size(merge) == 2) {
        text = arena_printf(&v->texts, "%s %s", a, b);
        if (!text)
            v->m->st = error_nomem(v->m->err, "the merges");
    }
    const char *space = text ? strchr(text, ' ') : NULL;
    if (v->m->st)
        return NULL;
    if (!space || space == text || !space[1] || strchr(space + 1, ' ')) {
        bad_merge(v, i);
        return NULL;
    }
    return text;
}

/* The id of what a merge makes, or -1. */
static int64_t merged_id(hf_vocab *v, const json_t *vocab, const char *merge) {
    const char *space = strchr(merge, ' ');
    char *joined = arena_printf(&v->texts, "%.*s%s", (int)(space - merge), merge, space + 1);
    const json_t *id = joined ? json_object_get(vocab, joined) : NULL;
    return json_is_integer(id) ? json_integer_value(id) : -1;
}

static void take_merges(hf_vocab *v, const json_t *merges) {
    size_t n = json_array_size(merges);
    v->merges = mem_alloc_array(n, sizeof *v->merges);
    if (!v->merges && !v->m->st)
        v->m->st = error_nomem(v->m->err, "the merges");
    for (size_t i = 0; i < n && !v->m->st; i++) {
        const char *text = merge_text(v, json_array_get(merges, i), i);
        if (text)
            v->merges[v->n_merges++] = span_of_string(text);
    }
}

/* SentencePiece merges by the score of what comes of it, so the merges of one piece must lie together in the list. */
static void score_by_rank(hf_vocab *v, const json_t *vocab, const json_t *merges) {
    int64_t last = -1;
    float rank = 0;
    v->scores = mem_alloc_array(v->n, sizeof *v->scores);
    if (!v->scores && !v->m->st)
        v->m->st = error_nomem(v->m->err, "the vocabulary's scores");
    for (uint32_t i = 0; i < v->n && !v->m->st; i++)
        v->scores[i] = NO_MERGE;
    for (size_t i = 0; i < json_array_size(merges) && !v->m->st; i++) {
        const char *text = merge_text(v, json_array_get(merges, i), i);
        int64_t id = text ? merged_id(v, vocab, text) : -1;
        if (v->m->st)
            return;
        if (id < 0 || id >= v->n) {
            bad_merge(v, i);
        } else if (id != last && v->scores[id] > NO_MERGE) {
            hf_fail(v->m, "tokenizer.json: the order of merge %zu can't be told by scores; add tokenizer.model", i);
        } else if (id != last) {
            v->scores[id] = -rank++;
            last = id;
        }
    }
}

static void refuse_set(hf_vocab *v, const json_t *model, const char *key) {
    const char *text = json_get_string(model, key);
    if (text && *text)
        hf_fail(v->m, "tokenizer.json: \"%s\" is set, which the \"%s\" tokenizer doesn't follow", key, v->kind);
}

static void take_vocab(hf_vocab *v, const json_t *vocab, bool bytes) {
    const char *text;
    json_t *id;
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        hf_fail(v->m, "tokenizer.json: the model's \"vocab\" is missing or empty");
    json_object_foreach(json_borrow(vocab), text, id) {
        if (v->m->st)
            return;
        if (!json_is_integer(id))
            hf_fail(v->m, "tokenizer.json: the id of \"%.60s\" is no whole number", text);
        else
            hf_vocab_set(v, json_integer_value(id), text, strlen(text),
                         bytes && is_byte_piece(text) ? HF_BYTE : HF_NORMAL);
    }
}

static void mark_unknown(hf_vocab *v, const json_t *vocab, const char *unknown) {
    const json_t *id = unknown ? json_object_get(vocab, unknown) : NULL;
    if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < v->n && !v->m->st)
        v->types[json_integer_value(id)] = HF_UNKNOWN;
}

static void read_bpe(hf_vocab *v, const json_t *tokenizer, const json_t *model) {
    const json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    bool from_pieces = hf_is_sentencepiece(tokenizer);
    v->kind = from_pieces ? "llama" : "gpt2";
    refuse_set(v, model, "continuing_subword_prefix");
    refuse_set(v, model, "end_of_word_suffix");
    take_vocab(v, vocab, from_pieces);
    if (from_pieces) {
        v->has_space_prefix = true;
        each_step(v, json_object_get(tokenizer, "normalizer"), "normalizers", llama_normaliser);
        each_step(v, json_object_get(tokenizer, "pre_tokenizer"), "pretokenizers", llama_words);
        score_by_rank(v, vocab, merges);
        mark_unknown(v, vocab, json_get_string(model, "unk_token"));
    } else {
        each_step(v, json_object_get(tokenizer, "normalizer"), "normalizers", need_nothing);
        if (!v->m->st)
            v->pre = hf_find_pretokenizer(v->m, json_object_get(tokenizer, "pre_tokenizer"), vocab,
                                          json_get_bool(model, "ignore_merges", false));
        take_merges(v, merges);
    }
}

static void read_unigram(hf_vocab *v, const json_t *tokenizer, const json_t *model) {
    const json_t *vocab = json_object_get(model, "vocab");
    bool bytes = json_get_bool(model, "byte_fallback", false);
    v->kind = "t5";
    v->has_space_prefix = v->has_merge_spaces = true;
    each_step(v, json_object_get(tokenizer, "normalizer"), "normalizers", unigram_normaliser);
    each_step(v, json_object_get(tokenizer, "pre_tokenizer"), "pretokenizers", unigram_words);
    v->scores = mem_alloc_array(v->n, sizeof *v->scores);
    if (!v->scores && !v->m->st)
        v->m->st = error_nomem(v->m->err, "the vocabulary's scores");
    for (size_t i = 0; i < json_array_size(vocab) && !v->m->st; i++) {
        const json_t *piece = json_array_get(vocab, i), *score = json_array_get(piece, 1);
        const char *text = json_string_value(json_array_get(piece, 0));
        if (!text || !json_is_number(score))
            hf_fail(v->m, "tokenizer.json: piece %zu isn't a text and its score", i);
        else
            hf_vocab_set(v, (int64_t)i, text, strlen(text), bytes && is_byte_piece(text) ? HF_BYTE : HF_NORMAL);
        if (!v->m->st)
            v->scores[i] = (float)json_number_value(score);
    }
    int64_t unknown = json_get_int(model, "unk_id", -1);
    if (unknown >= 0 && unknown < v->n && !v->m->st)
        v->types[unknown] = HF_UNKNOWN;
}

static void read_wordpiece(hf_vocab *v, const json_t *tokenizer, const json_t *model) {
    const json_t *vocab = json_object_get(model, "vocab");
    const char *inside = text_or(json_get_string(model, "continuing_subword_prefix"), "##"), *text;
    json_t *id;
    v->kind = "bert";
    if (strcmp(inside, "##") != 0)
        hf_fail(v->m, "tokenizer.json: \"continuing_subword_prefix\" is \"%.20s\", not \"##\"", inside);
    each_step(v, json_object_get(tokenizer, "normalizer"), "normalizers", bert_normaliser);
    each_step(v, json_object_get(tokenizer, "pre_tokenizer"), "pretokenizers", bert_words);
    json_object_foreach(json_borrow(vocab), text, id) {
        bool word = strncmp(text, "##", 2) != 0;
        const char *piece = word ? arena_printf(&v->texts, SPACE "%s", text) : text + 2;
        if (v->m->st)
            return;
        if (!piece)
            v->m->st = error_nomem(v->m->err, "the vocabulary");
        else if (!json_is_integer(id))
            hf_fail(v->m, "tokenizer.json: the id of \"%.60s\" is no whole number", text);
        else
            hf_vocab_set(v, json_integer_value(id), piece, strlen(piece), HF_NORMAL);
    }
    mark_unknown(v, vocab, json_get_string(model, "unk_token"));
}

bool hf_is_sentencepiece(const json_t *tokenizer) {
    const json_t *model = json_object_get(tokenizer, "model");
    return json_get_bool(model, "byte_fallback", false) && !json_is_array(json_object_get(model, "vocab"));
}

static void read_model(hf_vocab *v, const json_t *tokenizer) {
    const json_t *model = json_object_get(tokenizer, "model");
    bool merges = json_is_array(json_object_get(model, "merges"));
    bool list = json_is_array(json_object_get(model, "vocab"));
    const char *type = json_get_string(model, "type");
    type = text_or(type, merges ? "BPE" : list ? "Unigram" : "WordPiece"); /* older files don't say */
    if (!strcmp(type, "BPE"))
        read_bpe(v, tokenizer, model);
    else if (!strcmp(type, "Unigram"))
        read_unigram(v, tokenizer, model);
    else if (!strcmp(type, "WordPiece"))
        read_wordpiece(v, tokenizer, model);
    else
        hf_fail(v->m, "tokenizer.json: model type \"%.40s\" is not known; there are BPE, Unigram and WordPiece", type);
}

void hf_read_tokenizer_json(hf_vocab *v, const json_t *tokenizer, bool with_model) {
    const json_t *added = json_object_get(tokenizer, "added_tokens");
    if (with_model)
        read_model(v, tokenizer);
    for (size_t i = 0; i < json_array_size(added) && !v->m->st; i++) {
        const json_t *t = json_array_get(added, i);
        const char *text = json_get_string(t, "content");
        if (!text)
            hf_fail(v->m, "tokenizer.json: added token %zu has no \"content\"", i);
        else
            hf_vocab_add(v, json_get_int(t, "id", -1), text, json_get_bool(t, "special", false));
    }
}
