/* The tokenizer, on vocabularies made here and on the small model's. Were this to fail, merges would be applied in
 * another order than their ranks say, special tokens be taken for text (or text for special tokens: an injection),
 * bytes be lost, a UTF-8 character be cut in a stream, some input take quadratic time, or a damaged vocabulary pass for
 * a good one. */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "gguf/gguf.h"
#include "model/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WATCHDOG_SECONDS = 300 };

static tokenizer *open_tiny(void) {
    muga_error err;
    gguf_file *file;
    tokenizer *t;
    assert_ok(gguf_open(source_path("tests/data/tiny.gguf"), &file, &err), &err);
    assert_ok(tokenizer_open(file, &t, &err), &err);
    gguf_close(file);
    return t;
}

/* ---- vocabularies made here ---- */

typedef struct made {
    const char *kind, *pre;
    const char *tokens[32];
    int32_t types[32]; /* 0 = normal */
    const char *merges[32];
    int32_t bos, eos; /* 0 = none */
    bool add_bos, add_eos, no_types, short_types, no_merges;
} made;

static size_t count_strings(const char *const *v) {
    size_t n = 0;
    while (n < 32 && v[n])
        n++;
    return n;
}

static void add_strings(gguf_writer *w, const char *key, const char *const *v, size_t n) {
    span spans[32];
    for (size_t i = 0; i < n; i++)
        spans[i] = span_of_string(v[i]);
    gguf_writer_add_strings(w, key, spans, n);
}

static muga_status open_made(const made *m, tokenizer **out, muga_error *err) {
    gguf_writer *w = gguf_writer_new();
    gguf_file *file;
    str bytes = STR_INIT;
    int32_t types[32];
    size_t n = count_strings(m->tokens);
    assert_non_null(w);
    for (size_t i = 0; i < n; i++)
        types[i] = m->types[i] ? m->types[i] : 1;
    gguf_writer_add_string(w, "tokenizer.ggml.model", m->kind);
    if (m->pre)
        gguf_writer_add_string(w, "tokenizer.ggml.pre", m->pre);
    add_strings(w, "tokenizer.ggml.tokens", m->tokens, n);
    if (!m->no_types)
        gguf_writer_add_i32s(w, "tokenizer.ggml.token_type", types, m->short_types ? n - 1 : n);
    if (!m->no_merges)
        add_strings(w, "tokenizer.ggml.merges", m->merges, count_strings(m->merges));
    if (m->bos)
        gguf_writer_add_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)m->bos);
    if (m->eos)
        gguf_writer_add_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)m->eos);
    gguf_writer_add_bool(w, "tokenizer.ggml.add_bos_token", m->add_bos);
    gguf_writer_add_bool(w, "tokenizer.ggml.add_eos_token", m->add_eos);
    assert_ok(gguf_writer_finish(w, &bytes, err), err);
    gguf_writer_free(w);
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &file, err), err);
    muga_status st = tokenizer_open(file, out, err);
    gguf_close(file);
    str_release(&bytes); /* nothing of the file is used from here on */
    return st;
}

/* The ids as text: "1 2 3". Status and message go to err. */
static muga_status encode(const tokenizer *t, const char *text, bool add, bool parse, char *out, size_t size,
                          muga_error *err) {
    token_list ids = TOKEN_LIST_INIT;
    out[0] = 0;
    tokenizer_flags flags = {.add_special = add, .parse_special = parse};
    muga_status st = tokenizer_encode(t, text, strlen(text), flags, &ids, err);
    for (size_t i = 0, at = 0; i < ids.n; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%d", i ? " " : "", ids.ids[i]);
    token_list_release(&ids);
    return st;
}

#define assert_encodes(t, text, add, parse, wanted)                                                                    \
    do {                                                                                                               \
        char ids_[256];                                                                                                \
        muga_error err_;                                                                                               \
        assert_ok(encode((t), (text), (add), (parse), ids_, sizeof ids_, &err_), &err_);                               \
        assert_string_equal(ids_, (wanted));                                                                           \
    } while (0)

static const made good = {
    .kind = "gpt2",
    .pre = "gpt-2",
    .tokens = {"<pad>",
               "<s>",
               "<|im_end|>",
               "<|im_end|>x",
               "[T]",
               "[T]]",
               "a",
               "b",
               "c",
               "ab",
               "bc",
               "abc",
               "\xC4\xA0",
               "\xC4\xA0"
               "a",
               "<",
               "|",
               "i",
               "m",
               "_",
               "e",
               "n",
               "d",
               ">",
               "[",
               "T",
               "]",
               "s"},
    .types = {3, 3, 3, 3, 4, 4},
    .merges = {"b c", "a b", "ab c", "a bc", "\xC4\xA0 a"},
    .bos = 1,
    .eos = 2,
    .add_bos = true,
    .add_eos = true,
};

static void merges_go_by_rank_then_place(void **state) {
    (void)state;
    muga_error err;
    tokenizer *t;
    assert_ok(open_made(&good, &t, &err), &err);
    assert_encodes(t, "abc", false, false, "11"); /* b c first, then a bc: the same token by another way */
    assert_encodes(t, "ab", false, false, "9");
    assert_encodes(t, "abbc", false, false, "9 10");
    assert_encodes(t, "bcbc", false, false, "10 10");
    assert_encodes(t, "ab a", false, false, "9 13");
    assert_encodes(t, "", false, false, "");
    assert_encodes(t, "a", true, false, "1 6 2");
    assert_encodes(t, "", true, false, "1 2");
    tokenizer_free(t);
}

/* A word is only one token when its merges lead there. */
static void a_token_that_merges_do_not_reach_is_not_taken(void **state) {
    (void)state;
    muga_error err;
    tokenizer *t;
    made m = {.kind = "gpt2", .pre = "gpt-2", .tokens = {"a", "b", "ab", "aab"}, .merges = {"a b"}};
    assert_ok(open_made(&m, &t, &err), &err);
    for (int i = 0; i < 3; i++) /* the answer is remembered; it must stay the same */
        assert_encodes(t, "aab", false, false, "0 2");
    tokenizer_free(t);
    m.pre = "llama-bpe"; /* this one takes whole words whatever the merges */
    m.bos = 1;
    assert_ok(open_made(&m, &t, &err), &err);
    assert_encodes(t, "aab", false, false, "3");
    tokenizer_free(t);
}

static void merges_may_pass_through_what_is_no_token(void **state) {
    (void)state;
    muga_error err;
    tokenizer *t;
    const made m = {.kind = "gpt2", .pre = "gpt-2", .tokens = {"a", "b", "c", "abc"}, .merges = {"a b", "ab c"}};
    assert_ok(open_made(&m, &t, &err), &err);
    assert_encodes(t, "abc", false, false, "3");
    assert_encodes(t, "abab", false, false, "0 1 0 1"); /* "ab" has no token: its bytes go out */
    tokenizer_free(t);
}

static void special_tokens_need_leave(void **state) {
    (void)state;
    muga_error err;
    tokenizer *t;
    assert_ok(open_made(&good, &t, &err), &err);
    assert_encodes(t, "a<|im_end|>b", false, false, "6 14 15 16 17 18 19 20 21 15 22 7");
    assert_encodes(t, "a<|im_end|>b", false, true, "6 2 7");
    assert_encodes(t, "<|im_end|>x", false, true, "3"); /* the longest that begins there */
    assert_encodes(t, "<|im_end|", false, true, "14 15 16 17 18 19 20 21 15");
    assert_encodes(t, "a[T]b[T]]", false, false, "6 4 7 5"); /* user-defined: always */
    assert_int_equal(tokenizer_find_special(t, "<|im_end|>", 10), 2);
    assert_int_equal(tokenizer_find_special(t, "[T]", 3), 4);
    assert_int_equal(tokenizer_find_special(t, "abc", 3), -1);
    assert_int_equal(tokenizer_find_special(t, "<|im_end", 8), -1);
    assert_true(tokenizer_is_control(t, 2) && !tokenizer_is_control(t, 4) && !tokenizer_is_text(t, 2) &&
                tokenizer_is_text(t, 4));
    assert_true(tokenizer_is_end(t, 2) && !tokenizer_is_end(t, 1) && !tokenizer_is_end(t, -1));
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 2);
    assert_int_equal(tokenizer_eot(t), 2);
    assert_int_equal(tokenizer_text_pieces(t)[2].n, 0);
    assert_true(span_equal_string(tokenizer_text_pieces(t)[13], " a"));
    assert_true(span_equal_string(tokenizer_piece(t, 2), "<|im_end|>"));
    assert_int_equal(tokenizer_piece(t, -1).n, 0);
    assert_int_equal(tokenizer_piece(t, 1000).n, 0);
    tokenizer_free(t);
}

/* Converters leave end tokens normal; taken as text, generation would run on for ever. */
static void a_well_known_end_is_one_whatever_its_type(void **state) {
    (void)state;
    muga_error err;
    tokenizer *t;
    const made m = {.kind = "gpt2", .pre = "gpt-2", .tokens = {"a", "<|eot_id|>", "<|eom_id|>"}, .no_types = true};
    assert_ok(open_made(&m, &t, &err), &err);
    assert_true(tokenizer_is_end(t, 1) && tokenizer_is_end(t, 2) && !tokenizer_is_end(t, 0));
    assert_true(tokenizer_is_control(t, 1));
    assert_int_equal(tokenizer_eot(t), 1);
    assert_int_equal(tokenizer_eos(t), -1);
    assert_encodes(t, "a<|eot_id|>", false, true, "0 1");
    tokenizer_free(t);
}

static void a_byte_without_a_token_is_named(void **state) {
    (void)state;
    muga_error err;
    tokenizer *t;
    char ids[64];
    token_list list = TOKEN_LIST_INIT;
    assert_ok(open_made(&good, &t, &err), &err);
    assert_true(token_list_push(&list, 77));
    assert_status(tokenizer_encode(t, "ab\x04", 3, (tokenizer_flags){0}, &list, &err), MUGA_E_INPUT, &err, "0x04");
    assert_true(list.n == 1 && list.ids[0] == 77); /* what was there is there still, and nothing else */
    assert_ok(tokenizer_encode(t,
                               "a\x04"
                               "b",
                               3, (tokenizer_flags){.lossy = true}, &list, &err),
              &err);
    assert_true(list.n == 3 && list.ids[1] == 6 && list.ids[2] == 7);
    assert_status(encode(t, "abc z", false, false, ids, sizeof ids, &err), MUGA_E_INPUT, &err, "byte 4");
    token_list_release(&list);
    tokenizer_free(t);
}

static void sentencepiece_merges_by_score(void **state) {
    (void)state;
    static const char mark[] = "\xE2\x96\x81";
    muga_error err;
    tokenizer *t;
    gguf_file *file;
    str bytes = STR_INIT;
    const span tokens[] = {{"<unk>", 5},
                           {"<s>", 3},
                           {"</s>", 4},
                           {"<0xC3>", 6},
                           {"<0xFF>", 6},
                           {mark, 3},
                           {"a", 1},
                           {"b", 1},
                           {"\xE2\x96\x81"
                            "a",
                            4},
                           {"ab", 2},
                           {"\xE2\x96\x81"
                            "ab",
                            5}};
    const int32_t types[] = {2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1};
    const float scores[] = {0, 0, 0, 0, 0, -5, -6, -7, -2, -1, -3};
    gguf_writer *w = gguf_writer_new();
    assert_non_null(w);
    gguf_writer_add_string(w, "tokenizer.ggml.model", "llama");
    gguf_writer_add_strings(w, "tokenizer.ggml.tokens", tokens, ARRAY_LEN(tokens));
    gguf_writer_add_i32s(w, "tokenizer.ggml.token_type", types, ARRAY_LEN(types));
    gguf_writer_add_f32s(w, "tokenizer.ggml.scores", scores, ARRAY_LEN(scores));
    assert_ok(gguf_writer_finish(w, &bytes, &err), &err);
    gguf_writer_free(w);
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &file, &err), &err);
    assert_ok(tokenizer_open(file, &t, &err), &err);
    gguf_close(file);
    str_release(&bytes);
    assert_encodes(t, "ab", false, false, "10");
    assert_encodes(t, "ab", true, false, "1 10");
    assert_encodes(t, "a a", false, false, "8 8");
    assert_encodes(t, "aab", false, false, "8 9");
    assert_encodes(t, "a<s>a", false, true, "8 1 8"); /* the space before the text is also due after a special token */
    assert_encodes(t, "\xC3", false, false, "5 3");
    assert_encodes(t, "z", false, false, "5 0"); /* no byte for it here: unknown */
    tokenizer_free(t);
}

/* ---- Unigram ---- */

static const char *const unigram_tokens[] = {"<pad>",
                                             "</s>",
                                             "<unk>",
                                             "\xE2\x96\x81",
                                             "a",
                                             "b",
                                             "c",
                                             "ab",
                                             "bc",
                                             "abc",
                                             "\xE2\x96\x81"
                                             "a",
                                             "\xE2\x96\x81"
                                             "ab",
                                             "ca",
                                             "cab",
                                             "bca",
                                             "aa"};
static const float unigram_scores[] = {0,      0,       0,      -2.13f, -3.71f, -4.07f, -3.93f,  -6.57f,
                                       -7.11f, -10.03f, -4.61f, -8.87f, -6.91f, -9.99f, -10.51f, -6.33f};

/* With a character map that turns "A" to "a": root, "A", and the place of its replacement, in a double array. */
static tokenizer *open_unigram(void) {
    muga_error err;
    gguf_file *file;
    tokenizer *t;
    str bytes = STR_INIT;
    span tokens[ARRAY_LEN(unigram_tokens)];
    int32_t types[ARRAY_LEN(unigram_tokens)];
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        tokens[i] = span_of_string(unigram_tokens[i]);
        types[i] = i == 2 ? 2 : i < 2 ? 3 : 1;
    }
    enum { N_NODES = 512, BASE = 256, PLACE = BASE ^ 'A' };
    uint32_t map[1 + N_NODES] = {N_NODES * sizeof(uint32_t)};
    map[1] = BASE << 10;
    map[1 + PLACE] = 1u << 10 | 1u << 8 | 'A';
    map[1 + (PLACE ^ 1)] = 1u << 31;
    char charsmap[sizeof map + 2];
    memcpy(charsmap, map, sizeof map);
    memcpy(charsmap + sizeof map, "a", 2);
    gguf_writer *w = gguf_writer_new();
    assert_non_null(w);
    gguf_writer_add_string(w, "tokenizer.ggml.model", "t5");
    gguf_writer_add_strings(w, "tokenizer.ggml.tokens", tokens, ARRAY_LEN(tokens));
    gguf_writer_add_i32s(w, "tokenizer.ggml.token_type", types, ARRAY_LEN(types));
    gguf_writer_add_f32s(w, "tokenizer.ggml.scores", unigram_scores, ARRAY_LEN(unigram_scores));
    gguf_writer_add_bytes(w, "tokenizer.ggml.precompiled_charsmap", charsmap, sizeof charsmap);
    assert_ok(gguf_writer_finish(w, &bytes, &err), &err);
    gguf_writer_free(w);
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &file, &err), &err);
    assert_ok(tokenizer_open(file, &t, &err), &err);
    gguf_close(file);
    str_release(&bytes);
    return t;
}

/* The greatest sum of scores over every way to cut the text into pieces. A space is spelled U+2581 in the pieces. */
static double best_cut(const char *text) {
    double best = *text ? -1e9 : 0.0;
    for (size_t i = 3; i < ARRAY_LEN(unigram_tokens); i++) {
        const char *piece = unigram_tokens[i];
        bool spaced = strncmp(piece, "\xE2\x96\x81", 3) == 0;
        size_t n = strlen(piece + (spaced ? 3 : 0));
        if ((spaced && text[0] != ' ') || strncmp(text + spaced, piece + (spaced ? 3 : 0), n) != 0)
            continue;
        double sum = (double)unigram_scores[i] + best_cut(text + spaced + n);
        best = MAX(best, sum);
    }
    return best;
}

static void unigram_takes_the_likeliest_cut(void **state) {
    (void)state;
    rng random = {13};
    tokenizer *t = open_unigram();
    for (int round = 0; round < 3000; round++) {
        muga_error err;
        char text[16] = " ";
        token_list ids = TOKEN_LIST_INIT;
        str back = STR_INIT;
        size_t n = 1 + rng_below(&random, 12);
        for (size_t i = 0; i < n; i++)
            text[1 + i] = "abc "[rng_below(&random, i ? 4 : 3)];
        assert_ok(tokenizer_encode(t, text + 1, n, (tokenizer_flags){0}, &ids, &err), &err);
        double sum = 0;
        for (size_t i = 0; i < ids.n; i++)
            sum += (double)unigram_scores[ids.ids[i]];
        tokenizer_decode(t, ids.ids, ids.n, false, &back);
        assert_string_equal(str_get(&back), text); /* with the space that is put before a text */
        double wanted = best_cut(text);
        if (sum < wanted - 1e-9 || sum > wanted + 1e-9)
            fail_msg("\"%s\": sum %f, best %f", text, sum, wanted);
        str_release(&back);
        token_list_release(&ids);
    }
    assert_encodes(t, "A", false, false, "10"); /* by the character map */
    assert_encodes(t, "a", true, false, "10 1");
    assert_encodes(t, "xyz", false, false, "3 2"); /* unknown neighbours are one */
    assert_encodes(t, "xay", false, false, "3 2 4 2");
    assert_encodes(t, "", false, false, "");
    assert_encodes(t, "a</s>a", false, true, "10 1 10");
    tokenizer_free(t);
}

/* ---- the small model ---- */

static void check_round_trip(const tokenizer *t, const char *text, size_t n) {
    muga_error err;
    token_list ids = TOKEN_LIST_INIT;
    str back;
    str_init(&back, 0);
    assert_ok(tokenizer_encode(t, text, n, (tokenizer_flags){0}, &ids, &err), &err);
    tokenizer_decode(t, ids.ids, ids.n, false, &back);
    assert_int_equal(back.len, n);
    if (n)
        assert_memory_equal(back.data, text, n);
    str_release(&back);
    token_list_release(&ids);
}

static void any_bytes_come_back(void **state) {
    (void)state;
    rng random = {7};
    char text[256];
    tokenizer *t = open_tiny();
    for (int round = 0; round < 2000; round++) {
        size_t n = rng_below(&random, sizeof text);
        for (size_t i = 0; i < n; i++)
            text[i] = rng_below(&random, 3) ? (char)('a' + rng_below(&random, 26)) : (char)rng_next(&random);
        check_round_trip(t, text, n);
    }
    tokenizer_free(t);
}

/* One megabyte of one thing is one word to most pre-tokenizers: what would be quadratic does not end before the
 * watchdog. */
static void long_runs_take_no_longer_than_they_must(void **state) {
    (void)state;
    static const char *const units[] = {"a", " ",           "7",    "\n",        "the", "\xF0\x9F\x98\x80",
                                        "<", "<|im_start|", "\xFF", "o r d e r", "'"};
    enum { BYTES = 1 << 20 };
    tokenizer *t = open_tiny();
    char *text = malloc(BYTES);
    assert_non_null(text);
    for (size_t k = 0; k < ARRAY_LEN(units); k++) {
        size_t unit = strlen(units[k]), n = BYTES / unit * unit;
        for (size_t i = 0; i < n; i++)
            text[i] = units[k][i % unit];
        (void)alarm(WATCHDOG_SECONDS);
        check_round_trip(t, text, n);
        (void)alarm(0);
    }
    free(text);
    tokenizer_free(t);
}

/* Merging as it is defined, in the plainest way: scan for the best pair, merge it, again. */
static void merge_plainly(const char *const *merges, size_t n_merges, char parts[][32], size_t *n) {
    for (;;) {
        size_t best = n_merges, place = 0;
        for (size_t i = 0; i + 1 < *n; i++) {
            for (size_t k = 0; k < best; k++) {
                size_t left = strlen(parts[i]);
                if (strncmp(merges[k], parts[i], left) == 0 && merges[k][left] == ' ' &&
                    strcmp(merges[k] + left + 1, parts[i + 1]) == 0) {
                    best = k;
                    place = i;
                }
            }
        }
        if (best == n_merges)
            return;
        size_t left = strlen(parts[place]), right = strlen(parts[place + 1]);
        memmove(parts[place] + left, parts[place + 1], right + 1);
        memmove(parts[place + 1], parts[place + 2], (*n - place - 2) * sizeof parts[0]);
        --*n;
    }
}

static void merging_is_what_its_definition_says(void **state) {
    (void)state;
    static const made m = {
        .kind = "gpt2",
        .pre = "gpt-2",
        .tokens = {"a", "b", "c", "aa", "ab", "ba", "bb", "aab", "abab", "bba", "cab", "ca", "abc", "aaaa", "cc"},
        .merges = {"b a", "a a", "a b", "c ab", "b b", "aa b", "ab ab", "bb a", "ab c", "aa aa", "c c", "c a", "b ba"},
    };
    muga_error err;
    tokenizer *t;
    rng random = {11};
    assert_ok(open_made(&m, &t, &err), &err);
    for (int round = 0; round < 20000; round++) {
        char text[24] = "", parts[24][32], wanted[256] = "", got[256];
        size_t n = 1 + rng_below(&random, 22);
        for (size_t i = 0; i < n; i++) {
            text[i] = (char)('a' + rng_below(&random, 3));
            (void)snprintf(parts[i], sizeof parts[i], "%c", text[i]);
        }
        merge_plainly(m.merges, count_strings(m.merges), parts, &n);
        for (size_t i = 0, at = 0; i < n; i++) {
            size_t id = 0;
            while (strcmp(m.tokens[id], parts[i]) != 0)
                id++;
            at += (size_t)snprintf(wanted + at, sizeof wanted - at, "%s%zu", i ? " " : "", id);
        }
        assert_ok(encode(t, text, false, false, got, sizeof got, &err), &err);
        if (strcmp(got, wanted) != 0)
            fail_msg("%s: wanted %s, got %s", text, wanted, got);
    }
    tokenizer_free(t);
}

static void a_stream_never_cuts_a_character(void **state) {
    (void)state;
    static const char text[] =
        "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80\xF0\x9F\x91\x8D \xFF\xC3( \xE2\x82 x \xF0\x9F";
    muga_error err;
    token_list ids = TOKEN_LIST_INIT;
    str out = STR_INIT;
    tokenizer_stream stream = {0};
    tokenizer *t = open_tiny();
    assert_ok(tokenizer_encode(t, text, sizeof text - 1, (tokenizer_flags){0}, &ids, &err), &err);
    for (size_t i = 0; i < ids.n; i++) {
        tokenizer_stream_push(&stream, t, ids.ids[i], &out);
        assert_int_equal(utf8_incomplete_tail(str_get(&out), out.len), 0);
        tokenizer_stream_push(&stream, t, 1, &out); /* a control token between the bytes of a character: passed over */
    }
    assert_int_equal(stream.n_held, 2);
    tokenizer_stream_flush(&stream, &out);
    assert_int_equal(out.len, sizeof text - 1);
    assert_memory_equal(out.data, text, out.len);
    stream.control = true;
    str_clear(&out);
    tokenizer_stream_push(&stream, t, 2, &out);
    assert_string_equal(str_get(&out), "<|im_end|>");
    tokenizer_stream_push(&stream, t, -1, &out);
    tokenizer_stream_push(&stream, t, 1 << 20, &out);
    assert_string_equal(str_get(&out), "<|im_end|>");
    str_release(&out);
    token_list_release(&ids);
    tokenizer_free(t);
}

/* ---- refusals ---- */

static void expect_refusal(const made *m, const char *part) {
    muga_error err;
    tokenizer *t;
    assert_status(open_made(m, &t, &err), MUGA_E_INPUT, &err, part);
    assert_null(t);
}

static void damaged_vocabularies_are_refused_by_name(void **state) {
    (void)state;
    made m = good;
    m.kind = "rwkv";
    expect_refusal(&m, "rwkv");
    m = good;
    m.pre = "nosuch";
    expect_refusal(&m, "nosuch");
    m = good;
    m.tokens[0] = NULL;
    m.short_types = false;
    m.no_types = true;
    expect_refusal(&m, "0 tokens");
    m = good;
    m.short_types = true;
    expect_refusal(&m, "token_type");
    m = good;
    m.no_merges = true;
    expect_refusal(&m, "merges");
    m = good;
    m.bos = 27;
    expect_refusal(&m, "bos_token_id");
    m = good;
    m.bos = 0;
    expect_refusal(&m, "bos_token_id");
    static const char *const bad_merges[] = {"", " ", "a", "ab", " a", "a "};
    for (size_t i = 0; i < ARRAY_LEN(bad_merges); i++) {
        m = good;
        m.merges[2] = bad_merges[i];
        expect_refusal(&m, "element 2");
    }
    m = good;
    m.kind = "llama";
    expect_refusal(&m, "scores");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_go_by_rank_then_place),
        cmocka_unit_test(a_token_that_merges_do_not_reach_is_not_taken),
        cmocka_unit_test(merges_may_pass_through_what_is_no_token),
        cmocka_unit_test(special_tokens_need_leave),
        cmocka_unit_test(a_well_known_end_is_one_whatever_its_type),
        cmocka_unit_test(a_byte_without_a_token_is_named),
        cmocka_unit_test(sentencepiece_merges_by_score),
        cmocka_unit_test(unigram_takes_the_likeliest_cut),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(long_runs_take_no_longer_than_they_must),
        cmocka_unit_test(merging_is_what_its_definition_says),
        cmocka_unit_test(a_stream_never_cuts_a_character),
        cmocka_unit_test(damaged_vocabularies_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
