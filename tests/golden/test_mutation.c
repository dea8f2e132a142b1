/* Model files with one thing wrong, made from good ones: every count, length, type, dimension, offset and
 * hyperparameter set to values that parsers have fallen over, the file cut at every byte of its header, bits turned at
 * random. Were this to fail, a file could crash the program, make it read outside the mapping, or take memory that no
 * byte of the file answers for.
 *
 * The places to change come from a walk of this test's own, which shares nothing with the reader. Each changed file
 * goes through the reader alone, in a block of exactly its size (so that the address sanitizer sees one byte too many),
 * and changes of the header through the whole engine as well: load, tokenizer, template, trie, three tokens. An error
 * is MUGA_E_INPUT with a message (or says that numbers are not finite, once running); never "out of memory". There is
 * one thread throughout.
 * ctest: unthreaded */
#include "golden.h"
#include "support/make_arch.h"

#include "base/rng.h"

#include <fcntl.h>
#include <unistd.h>

enum { WATCHDOG_SECONDS = 300 };
#define MEMORY_BAR ((uint64_t)10 << 20) /* what all changed files together may take over the good one */
#define SAMPLED_STRINGS 6               /* of each array of strings, this many lengths are changed */

/* ---- the places ---- */

typedef struct place {
    size_t at;
    uint8_t width; /* bytes */
} place;

typedef struct walk {
    const uint8_t *p;
    size_t n, at, header_bytes, n_places, cap;
    place *places;
} walk;

static uint64_t take(walk *w, uint8_t width, bool change) {
    uint64_t v = 0;
    assert_true(width <= 8 && w->n - w->at >= width);
    memcpy(&v, w->p + w->at, width);
    if (change) {
        if (w->n_places == w->cap) {
            w->cap = w->cap ? 2 * w->cap : 256;
            w->places = mem_resize_array(w->places, w->cap, sizeof *w->places);
            assert_non_null(w->places);
        }
        w->places[w->n_places++] = (place){w->at, width};
    }
    w->at += width;
    return v;
}

static void skip_bytes(walk *w, uint64_t n) {
    assert_true(n <= w->n - w->at);
    w->at += n;
}

static void walk_string(walk *w, bool change) {
    skip_bytes(w, take(w, 8, change));
}

static uint8_t width_of(uint64_t type) {
    static const uint8_t widths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    assert_true(type < ARRAY_LEN(widths));
    return widths[type];
}

static void walk_array(walk *w) {
    uint64_t element = take(w, 4, true), n = take(w, 8, true);
    for (uint64_t i = 0; i < n; i++) {
        bool sampled = i < SAMPLED_STRINGS / 2 || i + SAMPLED_STRINGS / 2 >= n;
        if (element == GGUF_STRING)
            walk_string(w, sampled);
        else
            (void)take(w, width_of(element), sampled);
    }
}

static void walk_file(walk *w) {
    w->at = 4;
    (void)take(w, 4, true);
    uint64_t n_tensors = take(w, 8, true), n_keys = take(w, 8, true);
    for (uint64_t i = 0; i < n_keys; i++) {
        walk_string(w, true);
        uint64_t type = take(w, 4, true);
        if (type == GGUF_STRING)
            walk_string(w, true);
        else if (type == GGUF_ARRAY)
            walk_array(w);
        else
            (void)take(w, width_of(type), true);
    }
    for (uint64_t i = 0; i < n_tensors; i++) {
        walk_string(w, true);
        for (uint64_t d = take(w, 4, true); d > 0; d--)
            (void)take(w, 8, true);
        (void)take(w, 4, true);
        (void)take(w, 8, true);
    }
    w->header_bytes = w->at;
}

/* ---- one changed file ---- */

typedef struct subject {
    bool ids_only; /* its tokenizer is none */
    char name[64];
    uint8_t *bytes; /* exactly n */
    size_t n;
    int fd; /* a copy of the file, which the engine opens */
    const char *path;
    size_t n_tried, n_refused;
} subject;

static muga_status expect_named(const subject *s, muga_status st, const muga_error *err) {
    if (st && (st != MUGA_E_INPUT || strlen(err->message) < 20))
        fail_msg("%s: status %d: %s", s->name, st, err->message);
    return st;
}

/* All that an accepted file offers; of the data, the first and last byte of each tensor. */
static void read_all(const gguf_file *f) {
    volatile uint64_t sum = 0;
    str text = STR_INIT;
    for (uint64_t i = 0; i < gguf_key_count(f); i++) {
        gguf_array a;
        const char *name = gguf_key_name(f, i, NULL);
        gguf_key_write(f, i, &text);
        str_truncate(&text, 0);
        for (int element = GGUF_U8; element <= GGUF_F64; element++) {
            uint64_t at = 0;
            span one;
            if (gguf_get_array(f, name, (gguf_type)element, &a, NULL))
                continue;
            while (gguf_array_next_string(&a, &at, &one))
                sum += one.n ? (uint64_t)one.p[0] + (uint64_t)one.p[one.n - 1] : 0;
            for (uint64_t k = 0; k < a.n; k += MAX(a.n - 1, (uint64_t)1))
                sum += (uint64_t)gguf_array_int(&a, k) + (gguf_array_number(&a, k) > 0);
        }
    }
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        assert_ptr_equal(gguf_tensor_find(f, t->name), t);
        sum += ((const uint8_t *)t->data)[0] + ((const uint8_t *)t->data)[t->bytes - 1];
    }
    str_release(&text);
}

static bool try_reader(subject *s, const uint8_t *p, size_t n) {
    gguf_file *f = NULL;
    muga_error err = {0};
    muga_status st = expect_named(s, gguf_open_memory(p, n, &f, &err), &err);
    if (!st)
        read_all(f);
    gguf_close(f);
    s->n_tried++;
    s->n_refused += st != MUGA_OK;
    return st == MUGA_OK;
}

/* The text that a changed vocabulary has to cope with. */
static void use_vocabulary(const subject *s, engine *e) {
    static const char text[] = "<|im_start|>user\nWhere is A10234? \xC3\xBC \xF0\x9F\x98\x80\xFF</s>";
    const constrain_trie *trie;
    const template *t;
    token_list ids = TOKEN_LIST_INIT;
    str back = STR_INIT;
    muga_error err = {0};
    expect_named(s, engine_template(e, &t, &err), &err);
    if (!engine_trie(e, &trie, &err) &&
        !tokenizer_encode(engine_tokenizer(e), text, sizeof text - 1,
                          (tokenizer_flags){.add_special = true, .parse_special = true}, &ids, &err))
        tokenizer_decode(engine_tokenizer(e), ids.ids, ids.n, true, &back);
    str_release(&back);
    token_list_release(&ids);
}

static void try_engine(const subject *s) {
    static const int32_t ids[] = {1, 2, 3};
    engine *e = NULL;
    engine_session *session = NULL;
    muga_error err = {0};
    engine_options o = {.isa = -1, .n_threads = 1, .ids_only = s->ids_only};
    if (expect_named(s, engine_open(s->path, &o, &e, &err), &err))
        return;
    if (!s->ids_only)
        use_vocabulary(s, e);
    const token_list text = {.ids = (int32_t *)(uintptr_t)ids, .n = ARRAY_LEN(ids)};
    float vector[MAKE_ARCH_EMBD];
    muga_status st;
    if (engine_params(e)->encoder)
        st = engine_embed_dims(e) == MAKE_ARCH_EMBD ? engine_embed_ids(e, &text, 1, vector, &err) : MUGA_OK;
    else if (!(st = engine_session_new(e, 8, &session, &err)))
        st = engine_session_feed(session, ids, ARRAY_LEN(ids), &err);
    if (st != MUGA_E_NONFINITE && st != MUGA_E_LIMIT) /* LIMIT: a context_length below 8 */
        expect_named(s, st, &err);
    if (session)
        engine_session_free(session);
    engine_free(e);
}

static void write_at(const subject *s, size_t at, const void *p, size_t n) {
    assert_int_equal(pwrite(s->fd, p, n, (off_t)at), n);
}

/* The file with `n` bytes at `at` replaced, through the reader and, if it gets through, the engine. */
static void try_change(subject *s, size_t at, const void *p, size_t n) {
    uint8_t before[8];
    assert_true(n <= sizeof before && at + n <= s->n);
    memcpy(before, s->bytes + at, n);
    memcpy(s->bytes + at, p, n);
    if (try_reader(s, s->bytes, s->n)) {
        write_at(s, at, p, n);
        try_engine(s);
        write_at(s, at, before, n);
    }
    memcpy(s->bytes + at, before, n);
}

/* ---- the changes ---- */

/* Counts, lengths, types, dims, offsets, and the values of keys. */
static void change_places(subject *s, const walk *w) {
    static const uint64_t values[] = {0,
                                      1,
                                      2,
                                      3,
                                      13,
                                      64,
                                      127,
                                      INT32_MAX,
                                      1u << 31,
                                      UINT32_MAX,
                                      1ull << 32,
                                      1ull << 61,
                                      INT64_MAX,
                                      1ull << 63,
                                      UINT64_MAX - 31,
                                      UINT64_MAX - 1,
                                      UINT64_MAX};
    for (size_t i = 0; i < w->n_places; i++) {
        place f = w->places[i];
        uint64_t good = 0, top = f.width == 8 ? UINT64_MAX : (1ull << 8 * f.width) - 1;
        memcpy(&good, s->bytes + f.at, f.width);
        const uint64_t near[] = {good - 1, good + 1, good * 2, top, top - 1, top / 2, top / 2 + 1};
        for (size_t k = 0; k < ARRAY_LEN(values) + ARRAY_LEN(near); k++) {
            uint64_t v = k < ARRAY_LEN(values) ? values[k] : near[k - ARRAY_LEN(values)];
            if ((v & top) != good && (v == (v & top) || k >= ARRAY_LEN(values)))
                try_change(s, f.at, &v, f.width);
        }
    }
}

static void cut_everywhere(subject *s, const walk *w) {
    for (size_t n = 0; n <= w->header_bytes; n++) {
        uint8_t *cut = malloc(MAX(n, (size_t)1));
        assert_non_null(cut);
        memcpy(cut, s->bytes, n);
        if (try_reader(s, cut, n))
            fail_msg("%s: %zu bytes of it pass for a file", s->name, n);
        free(cut);
    }
}

static void turn_bits(subject *s, const walk *w, uint64_t seed) {
    rng r = {seed};
    for (int i = 0; i < (SANITIZED ? 500 : 4000); i++) {
        size_t at = (size_t)rng_below(&r, i % 4 ? w->header_bytes : s->n); /* weights, too */
        uint8_t changed = s->bytes[at] ^ (uint8_t)(1u << rng_below(&r, 8));
        try_change(s, at, &changed, 1);
    }
}

static void torment(const char *name, const char *path, bool ids_only) {
    subject s = {.ids_only = ids_only, .path = scratch_path("changed.gguf")};
    str bytes = STR_INIT;
    muga_error err = {0};
    snprintf(s.name, sizeof s.name, "%s", name);
    assert_ok(os_read_file(&os_system()->files, path, (size_t)64 << 20, &bytes, &err), &err);
    s.n = bytes.len;
    s.bytes = (uint8_t *)mem_copy_bytes(bytes.data, bytes.len);
    assert_non_null(s.bytes);
    s.bytes = mem_resize_array(s.bytes, s.n, 1); /* without the NUL: the block ends where the file does */
    str_release(&bytes);
    s.fd = open(s.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(s.fd >= 0);
    write_at(&s, 0, s.bytes, s.n);

    walk w = {.p = s.bytes, .n = s.n};
    walk_file(&w);
    (void)alarm(WATCHDOG_SECONDS);
    assert_true(try_reader(&s, s.bytes, s.n));
    try_engine(&s);
    uint64_t before = os_peak_memory_bytes();
    change_places(&s, &w);
    cut_everywhere(&s, &w);
    turn_bits(&s, &w, s.n);
    uint64_t grown = os_peak_memory_bytes() - before;
    (void)alarm(0);
    print_message("%s: %zu places, %zu files, %zu refused by the reader; %zu KiB over the good one\n", name, w.n_places,
                  s.n_tried, s.n_refused, (size_t)(grown >> 10));
    assert_true(s.n_refused > s.n_tried / 3 && s.n_refused < s.n_tried);
    assert_true(SANITIZED || grown < MEMORY_BAR);
    (void)close(s.fd);
    free(w.places);
    free(s.bytes);
}

static void our_own_model(void **state) {
    (void)state;
    torment("tiny", source_path("tests/data/tiny.gguf"), false);
}

static void an_encoder(void **state) {
    (void)state;
    str bytes = STR_INIT;
    muga_error err = {0};
    const char *path = scratch_path("encoder.gguf");
    assert_true(make_arch("bert", NULL, &bytes));
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    torment("bert", path, true);
}

static void models_made_by_others(void **state) {
    (void)state;
    static const char *const names[] = {"llama-smol-f16", "llama-l3-f16", "llama-q4_k_m", "gemma2-f16",
                                        "gemma3-f16",     "granite-f16",  "nemotron-f16", "phi3-f16",
                                        "qwen2-f16",      "qwen3-q4_k_m", "smollm3-f16",  "sweep-q4_0"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[96];
        snprintf(path, sizeof path, "golden/models/%s.gguf", names[i]);
        torment(names[i], shared_path(path), false);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(our_own_model), cmocka_unit_test(an_encoder),
                                       cmocka_unit_test(models_made_by_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
