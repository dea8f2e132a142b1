/* Split models and overridden keys. Were this to fail, a model in several files would be computed from the wrong
 * tensors, or from some of them; a part of another model would be taken for this one's; or a key's value on the command
 * line would not be the one the program uses. */
#include "support/support.h"

#include "base/mem.h"
#include "engine/engine.h"
#include "gguf/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define N_PARTS 3u

typedef struct damage {
    uint32_t no, count, tensors; /* added to what is right, in the second part (tensors: in the first) */
    bool twice;                  /* the last part holds the first tensor, too */
} damage;

static char path_of[N_PARTS][256];

static void write_file(const char *path, const str *bytes) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes->data, 1, bytes->len, f), bytes->len);
    assert_int_equal(fclose(f), 0);
}

static void add_tensor(gguf_writer *w, const gguf_tensor *t) {
    gguf_writer_add_tensor(w, t->name, t->type, t->dims, t->n_dims, t->data);
}

/* tests/data/tiny.gguf in three parts: its keys in the first, its tensors dealt out in turn. */
static void split(damage d) {
    muga_error err;
    gguf_file *whole;
    assert_ok(gguf_open(source_path("tests/data/tiny.gguf"), &whole, &err), &err);
    uint64_t n = gguf_tensor_count(whole);
    for (uint32_t part = 0; part < N_PARTS; part++) {
        gguf_writer *w = gguf_writer_new();
        str bytes = STR_INIT;
        assert_non_null(w);
        for (uint64_t i = 0; part == 0 && i < gguf_key_count(whole); i++)
            gguf_writer_copy_key(w, whole, i);
        gguf_writer_add_u32(w, "split.no", part + (part == 1 ? d.no : 0));
        gguf_writer_add_u32(w, "split.count", N_PARTS + (part == 1 ? d.count : 0));
        gguf_writer_add_u32(w, "split.tensors.count", (uint32_t)n + (part == 0 ? d.tensors : 0));
        for (uint64_t i = part; i < n; i += N_PARTS)
            add_tensor(w, gguf_tensor_at(whole, i));
        if (d.twice && part == N_PARTS - 1)
            add_tensor(w, gguf_tensor_at(whole, 0));
        assert_ok(gguf_writer_finish(w, &bytes, &err), &err);
        char name[64];
        snprintf(name, sizeof name, "tiny-%05u-of-%05u.gguf", part + 1, N_PARTS);
        snprintf(path_of[part], sizeof path_of[part], "%s", scratch_path(name));
        write_file(path_of[part], &bytes);
        str_release(&bytes);
        gguf_writer_free(w);
    }
    gguf_close(whole);
}

static void parts_hold_what_the_whole_holds(void **state) {
    (void)state;
    muga_error err;
    gguf_file *whole, *parts;
    split((damage){0});
    assert_ok(gguf_open(source_path("tests/data/tiny.gguf"), &whole, &err), &err);
    assert_ok(gguf_open(path_of[0], &parts, &err), &err);
    assert_int_equal(gguf_map_count(parts), N_PARTS);
    assert_int_equal(gguf_tensor_count(parts), gguf_tensor_count(whole));
    for (uint64_t i = 0; i < gguf_tensor_count(whole); i++) {
        const gguf_tensor *a = gguf_tensor_at(whole, i), *b = gguf_tensor_find(parts, a->name);
        assert_non_null(b);
        assert_int_equal(a->bytes, b->bytes);
        gguf_forget(parts, b);
        assert_memory_equal(a->data, b->data, a->bytes);
    }
    assert_ok(gguf_check_unchanged(parts, path_of[0], &err), &err);
    assert_int_equal(truncate(path_of[2], 64), 0);
    assert_status(gguf_check_unchanged(parts, path_of[0], &err), MUGA_E_ENV, &err, "");
    gguf_close(parts);
    gguf_close(whole);
}

/* Logits of a few tokens; owned by the caller. */
static float *logits_of(const char *path, const char *const *overrides, size_t n) {
    static const int32_t ids[] = {1, 20, 33, 4, 7};
    muga_error err;
    engine *e;
    engine_session *s;
    engine_options o = ENGINE_OPTIONS_DEFAULT;
    o.overrides = overrides;
    o.n_overrides = n;
    assert_ok(engine_open(path, &o, &e, &err), &err);
    assert_ok(engine_session_new(e, 64, &s, &err), &err);
    assert_ok(engine_session_feed(s, ids, ARRAY_LEN(ids), &err), &err);
    uint32_t n_vocab = engine_params(e)->n_vocab;
    float *logits = mem_alloc_array(n_vocab, sizeof *logits);
    assert_non_null(logits);
    memcpy(logits, engine_session_logits(s), n_vocab * sizeof *logits);
    engine_session_free(s);
    engine_free(e);
    return logits;
}

static void parts_compute_what_the_whole_computes(void **state) {
    (void)state;
    split((damage){0});
    float *whole = logits_of(source_path("tests/data/tiny.gguf"), NULL, 0), *parts = logits_of(path_of[0], NULL, 0);
    assert_memory_equal(whole, parts, 256 * sizeof *whole);
    const char *base[] = {"llama.rope.freq_base=50"};
    float *other = logits_of(path_of[0], base, 1);
    assert_memory_not_equal(whole, other, 256 * sizeof *whole);
    free(whole);
    free(parts);
    free(other);
}

static void refuse(damage d, uint32_t part, muga_status status, const char *says) {
    muga_error err;
    gguf_file *f;
    split(d);
    assert_status(gguf_open(path_of[part], &f, &err), status, &err, says);
    assert_null(f);
}

static void parts_that_do_not_belong_together_are_refused(void **state) {
    (void)state;
    refuse((damage){0}, 1, MUGA_E_INPUT, "name the first");
    refuse((damage){.no = 1}, 0, MUGA_E_INPUT, "says that it is part 3 of 3");
    refuse((damage){.count = 7}, 0, MUGA_E_INPUT, "says that it is part 2 of 10");
    refuse((damage){.tensors = 1}, 0, MUGA_E_INPUT, "belong to the model");
    refuse((damage){.twice = true, .tensors = 1}, 0, MUGA_E_INPUT, "is there twice");
    muga_error err;
    gguf_file *f;
    split((damage){0});
    assert_int_equal(unlink(path_of[2]), 0);
    assert_status(gguf_open(path_of[0], &f, &err), MUGA_E_NOT_FOUND, &err, "part 3 of 3");
    split((damage){0});
    const char *renamed = scratch_path("renamed.gguf");
    assert_int_equal(rename(path_of[0], renamed), 0);
    assert_status(gguf_open(renamed, &f, &err), MUGA_E_INPUT, &err, "name the first");
}

static void overrides_stand_in_the_place_of_keys(void **state) {
    (void)state;
    muga_error err;
    gguf_file *f;
    const char *good[] = {
        "llama.context_length=77",          "general.name=A = B", "mine.new=int:-5", "mine.on=bool:true",
        "llama.rope.freq_base=float:1.5e4", "mine.text=str:"};
    assert_ok(gguf_open_overridden(source_path("tests/data/tiny.gguf"), good, ARRAY_LEN(good), &f, &err), &err);
    uint32_t u;
    float r;
    bool on;
    span text;
    assert_ok(gguf_get_u32(f, "llama.context_length", &u, &err), &err);
    assert_int_equal(u, 77);
    assert_ok(gguf_get_string(f, "general.name", &text, &err), &err);
    assert_int_equal(text.n, 5);
    assert_memory_equal(text.p, "A = B", 5);
    assert_ok(gguf_get_bool(f, "mine.on", &on, &err), &err);
    assert_true(on);
    assert_ok(gguf_get_f32(f, "llama.rope.freq_base", &r, &err), &err);
    assert_true(r == 1.5e4f);
    assert_ok(gguf_get_string(f, "mine.text", &text, &err), &err);
    assert_int_equal(text.n, 0);
    assert_status(gguf_get_u32(f, "mine.new", &u, &err), MUGA_E_INPUT, &err, "negative");
    gguf_close(f);
}

static void overrides_that_can_not_be_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "KEY=VALUE"},
        {"=1", "KEY=VALUE"},
        {"llama.context_length", "KEY=VALUE"},
        {"llama.context_length=", "not an integer"},
        {"llama.context_length=-1", "out of the key's range"},
        {"llama.context_length=4294967296", "out of the key's range"},
        {"llama.context_length=1e3", "not an integer"},
        {"llama.context_length=str:7", "another type"},
        {"llama.rope.freq_base=1e39", "not a number"},
        {"llama.rope.freq_base=nan", "not a number"},
        {"nobody.has.this=1", "no such key"},
        {"tokenizer.ggml.tokens=str:a", "array"},
        {"mine=bool:1", "true or false"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        muga_error err;
        gguf_file *f;
        assert_status(gguf_open_overridden(source_path("tests/data/tiny.gguf"), &cases[i].text, 1, &f, &err),
                      MUGA_E_USAGE, &err, cases[i].says);
        assert_null(f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_hold_what_the_whole_holds),
        cmocka_unit_test(parts_compute_what_the_whole_computes),
        cmocka_unit_test(parts_that_do_not_belong_together_are_refused),
        cmocka_unit_test(overrides_stand_in_the_place_of_keys),
        cmocka_unit_test(overrides_that_can_not_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
