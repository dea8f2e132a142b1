/* Tokenizers and pre-tokenizers over any bytes. The first byte chooses the vocabulary (each pre-tokenizer of
 * byte-level BPE once, then the other kinds), the second what is asked for; the rest is text. Words together are the
 * text; ids are in range; byte-level BPE gives back every byte, the kinds that spell a space as U+2581 every byte but
 * that; a stream gives what decoding at once gives; what fails leaves the list as it was. */
#include "base/utf8.h"
#include "fuzz.h"
#include "model/pretokenize.h"
#include "model/tokenizer.h"

static const char *const pre[] = {"gpt-2",      "smollm",       "llama3",         "qwen2",      "qwen35",
                                  "seed-coder", "ufakzeka",     "gpt-4o",         "tekken",     "falcon",
                                  "default",    "deepseek-llm", "deepseek-coder", "deepseek-v3"};
static const char *const other[] = {"llama", "gemma4", "t5", "bert"};
enum { N_PRE = ARRAY_LEN(pre), N_KINDS = N_PRE + ARRAY_LEN(other), MAX_TOKENS = 512 };
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, BYTE = 6 };

/* ---- vocabularies ---- */

typedef struct made {
    str text;
    size_t begin[MAX_TOKENS + 1], n;
    int32_t types[MAX_TOKENS];
    float scores[MAX_TOKENS];
} made;

static void add(made *m, const char *piece, int32_t type) {
    fuzz_need(m->n < MAX_TOKENS);
    str_append_s(&m->text, piece);
    m->types[m->n] = type;
    m->scores[m->n] = -(float)m->n / 8;
    m->begin[++m->n] = m->text.len;
}

/* GPT-2's spelling of a byte: itself where it is printable and no blank, else U+0100 and the next free ones. */
static void add_spelled_bytes(made *m) {
    for (uint32_t b = 0, next = 0x100; b < 256; b++) {
        char piece[5] = {0};
        bool itself = (b > ' ' && b < 0x7F) || (b > 0xA0 && b != 0xAD);
        piece[utf8_encode(itself ? b : next++, piece)] = 0;
        add(m, piece, NORMAL);
    }
}

static void add_named_bytes(made *m) {
    for (uint32_t b = 0; b < 256; b++) {
        char piece[8];
        snprintf(piece, sizeof piece, "<0x%02X>", b);
        add(m, piece, BYTE);
    }
}

static void add_strings(gguf_writer *w, const char *key, const char *const *v, size_t n) {
    span spans[32];
    fuzz_need(n <= ARRAY_LEN(spans));
    for (size_t i = 0; i < n; i++)
        spans[i] = span_of_string(v[i]);
    gguf_writer_add_strings(w, key, spans, n);
}

static void make_bpe(made *m, gguf_writer *w) {
    static const char *const words[] = {"th",
                                        "the",
                                        "\xC4\xA0t",
                                        "\xC4\xA0the",
                                        "in",
                                        "ing",
                                        "\xC4\x8A\xC4\x8A",
                                        "\xC4\xA0\xC4\xA0",
                                        "12",
                                        "\xC3\xA2\xC4\xA2"};
    static const char *const merges[] = {"t h",
                                         "th e",
                                         "\xC4\xA0 t",
                                         "\xC4\xA0t he",
                                         "\xC4\xA0 the",
                                         "i n",
                                         "in g",
                                         "\xC4\x8A \xC4\x8A",
                                         "\xC4\xA0 \xC4\xA0",
                                         "1 2",
                                         "\xC3\xA2 \xC4\xA2",
                                         "h e"};
    add_spelled_bytes(m);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        add(m, words[i], NORMAL);
    add_strings(w, "tokenizer.ggml.merges", merges, ARRAY_LEN(merges));
}

/* Pieces with U+2581 for a space: for scores, for merges, for Unigram. */
static void make_spaced(made *m) {
    static const char *const words[] = {"\xE2\x96\x81",
                                        "t",
                                        "h",
                                        "e",
                                        "i",
                                        "n",
                                        "g",
                                        "\xE2\x96\x81t",
                                        "th",
                                        "the",
                                        "\xE2\x96\x81the",
                                        "in",
                                        "ing",
                                        "\xE2\x96\x81\xE2\x96\x81",
                                        "1",
                                        "\xC3\xA9"};
    add_named_bytes(m);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        add(m, words[i], NORMAL);
}

static void make_wordpiece(made *m) {
    static const char *const words[] = {"\xE2\x96\x81the",
                                        "\xE2\x96\x81t",
                                        "\xE2\x96\x81"
                                        "e",
                                        "he",
                                        "e",
                                        "ing",
                                        "s",
                                        "\xE2\x96\x81.",
                                        "\xE2\x96\x81"
                                        "1",
                                        "2",
                                        "\xE2\x96\x81\xE4\xB8\xAD"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        add(m, words[i], NORMAL);
}

static tokenizer *make_tokenizer(uint32_t which) {
    static const char *const spaced_merges[] = {
        "t h", "th e", "\xE2\x96\x81 t", "i n", "in g", "\xE2\x96\x81 the", "\xE2\x96\x81 \xE2\x96\x81"};
    static made m; /* large for a stack */
    const char *kind = which < N_PRE ? "gpt2" : other[which - N_PRE];
    gguf_writer *w = gguf_writer_new();
    span pieces[MAX_TOKENS];
    str file = STR_INIT;
    gguf_file *f = NULL;
    tokenizer *t = NULL;
    muga_error err = {0};
    fuzz_need(w);
    str_clear(&m.text);
    m.n = 0;
    add(&m, "<unk>", UNKNOWN);
    add(&m, "<s>", CONTROL);
    add(&m, "</s>", CONTROL);
    add(&m, "<|im_end|>", CONTROL);
    add(&m, "[T]", USER_DEFINED);
    gguf_writer_add_string(w, "tokenizer.ggml.model", kind);
    if (which < N_PRE) {
        gguf_writer_add_string(w, "tokenizer.ggml.pre", pre[which]);
        make_bpe(&m, w);
    } else if (strcmp(kind, "bert") == 0) {
        make_wordpiece(&m);
    } else {
        make_spaced(&m);
        if (strcmp(kind, "gemma4") == 0)
            add_strings(w, "tokenizer.ggml.merges", spaced_merges, ARRAY_LEN(spaced_merges));
    }
    for (size_t i = 0; i < m.n; i++)
        pieces[i] = span_of(str_get(&m.text) + m.begin[i], m.begin[i + 1] - m.begin[i]);
    gguf_writer_add_strings(w, "tokenizer.ggml.tokens", pieces, m.n);
    gguf_writer_add_i32s(w, "tokenizer.ggml.token_type", m.types, m.n);
    gguf_writer_add_f32s(w, "tokenizer.ggml.scores", m.scores, m.n);
    gguf_writer_add_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_writer_add_u32(w, "tokenizer.ggml.bos_token_id", 1);
    gguf_writer_add_u32(w, "tokenizer.ggml.eos_token_id", 2);
    gguf_writer_add_bool(w, "tokenizer.ggml.add_bos_token", true);
    gguf_writer_add_bool(w, "tokenizer.ggml.add_eos_token", true);
    muga_status st = gguf_writer_finish(w, &file, &err);
    st = st ? st : gguf_open_memory(file.data, file.len, &f, &err);
    st = st ? st : tokenizer_open(f, &t, &err);
    if (st)
        fprintf(stderr, "%s: %s\n", kind, err.message);
    fuzz_need(st == MUGA_OK);
    gguf_close(f);
    gguf_writer_free(w);
    str_release(&file);
    str_release(&m.text);
    return t;
}

/* ---- what must hold ---- */

typedef struct cut {
    const char *at;
    size_t n_words;
} cut;

static bool next_word(void *ctx, const char *p, size_t n) {
    cut *c = ctx;
    fuzz_need(p == c->at && n > 0);
    c->at += n;
    c->n_words++;
    return true;
}

static void check_words(uint32_t which, const char *text, size_t n) {
    const pretokenizer *p = which < N_PRE ? pretokenize_find(pre[which], strlen(pre[which])) : NULL;
    cut c = {text, 0};
    if (!p)
        return;
    fuzz_need(pretokenize_run(p, text, n, next_word, &c) && c.at == text + n);
    fuzz_need(c.n_words <= n);
}

/* Every U+2581 as the space that it stands for. */
static void append_spaced(str *out, const char *p, size_t n) {
    for (size_t i = 0; i < n;) {
        bool space = n - i >= 3 && memcmp(p + i, "\xE2\x96\x81", 3) == 0;
        str_append_c(out, space ? ' ' : p[i]);
        i += space ? 3 : 1;
    }
}

static void need_same_text(const char *kind, const char *text, size_t n, const str *back) {
    str want = STR_INIT, got = STR_INIT;
    if (strcmp(kind, "llama") == 0)
        str_append_c(&want, ' '); /* the prefix */
    if (strcmp(kind, "gpt2") == 0) {
        str_append(&want, text, n);
        str_append(&got, str_get(back), back->len);
    } else {
        append_spaced(&want, text, n);
        append_spaced(&got, str_get(back), back->len);
    }
    fuzz_need(want.len == got.len && memcmp(str_get(&want), str_get(&got), want.len) == 0);
    str_release(&want);
    str_release(&got);
}

static void check_decoding(const tokenizer *t, const token_list *ids, str *back) {
    str streamed = STR_INIT;
    tokenizer_stream s = {.control = true};
    tokenizer_decode(t, ids->ids, ids->n, true, back);
    for (size_t i = 0; i < ids->n; i++)
        tokenizer_stream_push(&s, t, ids->ids[i], &streamed);
    tokenizer_stream_flush(&s, &streamed);
    fuzz_need(!back->failed && streamed.len == back->len);
    fuzz_need(memcmp(str_get(&streamed), str_get(back), back->len) == 0);
    str_release(&streamed);
}

/* A stretch before or after a special token has a prefix of its own, so texts with such names are left out there. */
static bool gives_back(const char *kind, tokenizer_flags flags, const char *text, size_t n) {
    bool prefixed = strcmp(kind, "llama") == 0;
    if (flags.add_special || strcmp(kind, "t5") == 0 || strcmp(kind, "bert") == 0 || (prefixed && n == 0))
        return false;
    return !prefixed || (!memchr(text, '[', n) && !memchr(text, '<', n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static tokenizer *all[N_KINDS];
    if (size < 2)
        return 0;
    uint32_t which = data[0] % N_KINDS;
    tokenizer_flags flags = {.add_special = data[1] & 1, .parse_special = data[1] & 2, .lossy = data[1] & 4};
    size_t n = size - 2;
    char *text = fuzz_copy(data + 2, n);
    token_list ids = TOKEN_LIST_INIT;
    str back = STR_INIT;
    muga_error err = {0};
    if (!all[which])
        all[which] = make_tokenizer(which);
    const tokenizer *t = all[which];
    check_words(which, text, n);
    fuzz_need(token_list_push(&ids, 7));
    muga_status st = tokenizer_encode(t, text, n, flags, &ids, &err);
    fuzz_need(st == MUGA_OK && ids.n >= 1 && ids.ids[0] == 7); /* every byte has a token, or there is an unknown one */
    ids.n--;
    memmove(ids.ids, ids.ids + 1, ids.n * sizeof ids.ids[0]);
    for (size_t i = 0; i < ids.n; i++)
        fuzz_need(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_count(t));
    check_decoding(t, &ids, &back);
    if (gives_back(tokenizer_kind(t), flags, text, n))
        need_same_text(tokenizer_kind(t), text, n, &back);
    token_list_release(&ids);
    str_release(&back);
    free(text);
    return 0;
}
