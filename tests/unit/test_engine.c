/* If this fails, a logit depends on something it must not depend on (batch, chunks, threads, instruction set, forks,
 * what a cache held before), the numbers of "arithmetic 1" have changed, or bad input of the engine goes unnamed.
 *
 * All of it runs on tests/data/tiny.gguf; tests/data/tiny.logits holds the digests of its logits in each mode. */
#include "support/engine_fixture.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

#define N_IDS 150 /* over three pages */

static int32_t ids[N_IDS], other_ids[N_IDS];

static int make_ids(void **state) {
    (void)state;
    rng r = {5};
    for (int i = 0; i < N_IDS; i++) {
        ids[i] = (int32_t)rng_below(&r, 400);
        other_ids[i] = (int32_t)rng_below(&r, 400);
    }
    return 0;
}

/* Rows of logits as they are computed. */
typedef struct rows {
    float *v;
    uint32_t n, n_vocab;
} rows;

static void keep(void *ctx, uint32_t pos, const float *logits) {
    rows *r = ctx;
    assert_int_equal(pos, r->n);
    r->v = mem_resize_array(r->v, (size_t)(r->n + 1) * r->n_vocab, sizeof(float));
    memcpy(r->v + (size_t)r->n++ * r->n_vocab, logits, r->n_vocab * sizeof(float));
}

/* All rows of v[0, n), the prompt given in parts of `part` tokens. */
static rows all_rows(engine *e, const int32_t *v, uint32_t n, uint32_t part) {
    rows r = {.n_vocab = engine_params(e)->n_vocab};
    engine_session *s = session_of(e, 256);
    muga_error err = {0};
    for (uint32_t at = 0; at < n; at += part) {
        engine_item it = {.session = s,
                          .ids = v + at,
                          .n = MIN(part, n - at),
                          .want = ENGINE_LOGITS_ALL,
                          .on_logits = keep,
                          .on_logits_ctx = &r};
        assert_ok(engine_step(e, &it, 1, &err), &err);
    }
    engine_session_free(s);
    return r;
}

static void assert_same_rows(const rows *a, const rows *b, const char *what) {
    assert_int_equal(a->n, b->n);
    if (memcmp(a->v, b->v, (size_t)a->n * a->n_vocab * sizeof(float)) != 0)
        fail_msg("logits differ: %s", what);
}

/* ---- what a logit may not depend on ---- */

static void logits_do_not_depend_on_chunks_threads_or_instruction_set(void **state) {
    (void)state;
    const uint32_t batches[] = {1, 3, 7, 40, 128};
    const int threads[] = {1, 2, 3, 5, 8};
    for (int mode = 0; mode < 2 * KERNEL_KV_COUNT; mode += SANITIZED_THREADS ? 3 : 1) {
        engine_options o = {.isa = KERNEL_ISA_REF, .n_threads = 1, .exact = mode & 1, .kv = (kernel_kv_type)(mode / 2)};
        engine *e = open_with(o);
        rows want = all_rows(e, ids, N_IDS, N_IDS);
        engine_free(e);
        for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++)
            for (size_t i = 0; i < ARRAY_LEN(batches); i++) {
                if (!kernel_isa_available((kernel_isa)isa))
                    continue;
                char what[96];
                o.isa = isa;
                o.n_batch = batches[i];
                o.n_threads = threads[i];
                snprintf(what, sizeof what, "mode %d, %s, batch %u, %d threads", mode, kernel_isa_name((kernel_isa)isa),
                         o.n_batch, o.n_threads);
                e = open_with(o);
                rows got = all_rows(e, ids, N_IDS, i % 2 ? 37 : N_IDS);
                assert_same_rows(&got, &want, what);
                free(got.v);
                engine_free(e);
            }
        free(want.v);
    }
}

static void sequences_in_one_batch_do_not_touch_each_other(void **state) {
    (void)state;
    engine *e = open_with((engine_options){.isa = -1, .n_threads = 2, .n_batch = 16});
    rows want[2] = {all_rows(e, ids, N_IDS, N_IDS), all_rows(e, other_ids, N_IDS, N_IDS)};
    rows got[2] = {{.n_vocab = want[0].n_vocab}, {.n_vocab = want[0].n_vocab}};
    engine_session *s[2] = {session_of(e, 256), session_of(e, 256)};
    const int32_t *v[2] = {ids, other_ids};
    uint32_t at[2] = {0, 0};
    muga_error err = {0};
    for (uint32_t step = 0; at[0] < N_IDS || at[1] < N_IDS; step++) {
        engine_item items[2];
        uint32_t n_items = 0;
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t n = MIN(N_IDS - at[i], 1 + (step * (i + 3) + i) % 11);
            if (n > 0)
                items[n_items++] = (engine_item){.session = s[i],
                                                 .ids = v[i] + at[i],
                                                 .n = n,
                                                 .want = ENGINE_LOGITS_ALL,
                                                 .on_logits = keep,
                                                 .on_logits_ctx = &got[i]};
            at[i] += n;
        }
        assert_ok(engine_step(e, items, n_items, &err), &err);
    }
    for (int i = 0; i < 2; i++) {
        assert_same_rows(&got[i], &want[i], "two sequences in one batch");
        engine_session_free(s[i]);
        free(got[i].v);
        free(want[i].v);
    }
    engine_free(e);
}

/* One thread's part: its own sessions, forks and scores over the shared engine. */
typedef struct worker {
    engine_session *base;
    const int32_t *v;
    float *logits; /* [n_vocab] of v[0, N_IDS) */
    muga_status st;
} worker;

static void *work(void *ctx) {
    worker *w = ctx;
    engine *e = engine_session_engine(w->base);
    for (int i = 0; i < 4 && !w->st; i++) {
        engine_session *s = NULL;
        muga_error err;
        w->st = engine_session_fork(w->base, &s, &err);
        for (uint32_t at = 0; at < N_IDS && !w->st; at += 10)
            w->st = engine_session_feed(s, w->v + at, MIN(10u, N_IDS - at), &err);
        if (!w->st)
            memcpy(w->logits, engine_session_logits(s), engine_params(e)->n_vocab * sizeof(float));
        engine_session_free(s);
    }
    return NULL;
}

static void threads_share_an_engine_and_its_pages(void **state) {
    (void)state;
    engine *e = open_with((engine_options){.isa = -1, .n_threads = 2});
    engine_session *base = session_of(e, 512);
    size_t row = engine_params(e)->n_vocab * sizeof(float);
    feed(base, ids, 70); /* both threads go on in its second page */
    worker w[2] = {{.base = base, .v = ids}, {.base = base, .v = other_ids}};
    worker alone[2] = {w[0], w[1]};
    pthread_t t[2];
    for (int i = 0; i < 2; i++) {
        alone[i].logits = malloc(row);
        w[i].logits = malloc(row);
        work(&alone[i]);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(w[i].st, MUGA_OK);
        assert_int_equal(alone[i].st, MUGA_OK);
        assert_memory_equal(w[i].logits, alone[i].logits, row);
        free(w[i].logits);
        free(alone[i].logits);
    }
    engine_session_free(base);
    engine_free(e);
}

static void forks_share_and_part(void **state) {
    (void)state;
    engine *e = open_plain();
    uint32_t row = engine_params(e)->n_vocab * (uint32_t)sizeof(float);
    const uint32_t cuts[] = {1, 63, 64, 65, 100, 128};
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        uint32_t cut = cuts[i];
        muga_error err = {0};
        engine_session *a = session_of(e, 256), *b, *c, *plain = session_of(e, 256);
        feed(a, ids, cut);
        assert_ok(engine_session_fork(a, &b, &err), &err);
        assert_memory_equal(engine_session_logits(a), engine_session_logits(b), row);
        feed(a, other_ids, 5); /* writes where b will write */
        assert_ok(engine_session_fork(a, &c, &err), &err);
        engine_session_free(a);
        feed(b, ids + cut, N_IDS - cut);
        feed(plain, ids, N_IDS);
        assert_memory_equal(engine_session_logits(b), engine_session_logits(plain), row);
        engine_session_truncate(c, cut); /* what lies behind the cut must not be seen again */
        assert_null(engine_session_logits(c));
        feed(c, ids + cut, N_IDS - cut);
        assert_memory_equal(engine_session_logits(c), engine_session_logits(plain), row);
        assert_int_equal(engine_session_common(c, ids, N_IDS), N_IDS);
        assert_int_equal(engine_session_common(c, other_ids, N_IDS), ids[0] == other_ids[0]);
        engine_session_free(b);
        engine_session_free(c);
        engine_session_free(plain);
    }
    engine_free(e);
}

/* The digests are ours: they change only with the name of the arithmetic. */
static void the_numbers_of_the_arithmetic_are_unchanged(void **state) {
    (void)state;
    str text = STR_INIT;
    muga_error err = {0};
    assert_string_equal(KERNEL_ARITHMETIC, "arithmetic 1");
    assert_ok(os_read_file(&os_system()->files, source_path("tests/data/tiny.logits"), 4096, &text, &err), &err);
    for (int mode = 0; mode < 2 * KERNEL_KV_COUNT; mode++)
        for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
            if (!kernel_isa_available((kernel_isa)isa))
                continue;
            engine *e = open_with(
                (engine_options){.isa = isa, .n_threads = 2, .exact = mode & 1, .kv = (kernel_kv_type)(mode / 2)});
            rows r = all_rows(e, ids, N_IDS, N_IDS);
            uint8_t digest[SHA256_BYTES];
            char hex[SHA256_HEX], line[128];
            sha256_of(r.v, (size_t)r.n * r.n_vocab * sizeof(float), digest);
            hex_write(digest, sizeof digest, hex);
            snprintf(line, sizeof line, "%s %s %s\n", mode & 1 ? "f32" : "int8",
                     kernel_kv_name((kernel_kv_type)(mode / 2)), hex);
            if (!strstr(str_get(&text), line))
                fail_msg("%s: not in tests/data/tiny.logits: %s", kernel_isa_name((kernel_isa)isa), line);
            free(r.v);
            engine_free(e);
        }
    str_release(&text);
}

/* ---- limits and bad input ---- */

typedef struct seen {
    uint64_t *rows; /* [tensor count] */
    const gguf_file *file;
} seen;

static void on_input(void *ctx, const char *tensor, const float *x, size_t x_stride, uint32_t n_tok, uint32_t cols) {
    seen *s = ctx;
    uint64_t i = 0;
    while (strcmp(gguf_tensor_at(s->file, i)->name, tensor) != 0)
        assert_true(++i < gguf_tensor_count(s->file));
    assert_int_equal(cols, gguf_tensor_at(s->file, i)->dims[0]);
    assert_true(x_stride >= cols);
    for (uint32_t t = 0; t < n_tok; t++)
        for (uint32_t c = 0; c < cols; c++)
            assert_true(isfinite(x[t * x_stride + c]));
    s->rows[i] += n_tok;
}

/* Calibration weighs each matrix by these inputs: one left out would be quantised as if nothing flowed through it. */
static void the_input_of_every_product_can_be_watched(void **state) {
    (void)state;
    seen s = {0};
    engine *e = open_with((engine_options){.isa = -1, .n_threads = 2, .on_input = on_input, .on_input_ctx = &s});
    s.file = engine_file(e);
    s.rows = mem_alloc_array(gguf_tensor_count(s.file), sizeof *s.rows);
    assert_non_null(s.rows);
    engine_session *session = session_of(e, 256);
    engine_item it = {.session = session, .ids = ids, .n = N_IDS, .want = ENGINE_LOGITS_ALL};
    muga_error err = {0};
    assert_ok(engine_step(e, &it, 1, &err), &err);
    for (uint64_t i = 0; i < gguf_tensor_count(s.file); i++) {
        const gguf_tensor *t = gguf_tensor_at(s.file, i);
        bool is_product = t->n_dims == 2 && strcmp(t->name, "token_embd.weight") != 0; /* untied */
        assert_int_equal(s.rows[i], is_product ? N_IDS : 0);
    }
    engine_session_free(session);
    engine_free(e);
    free(s.rows);
}

static void limits_name_both_numbers_and_change_nothing(void **state) {
    (void)state;
    engine *e = open_plain();
    muga_error err = {0};
    engine_session *s = session_of(e, 70), *none = NULL;
    assert_status(engine_session_new(e, 1u << 30, &none, &err), MUGA_E_LIMIT, &err, "2048");
    feed(s, ids, 60);
    assert_status(engine_session_feed(s, ids, 11, &err), MUGA_E_LIMIT, &err, "71");
    assert_status(engine_session_feed(s, ids, UINT32_MAX, &err), MUGA_E_LIMIT, &err, "70");
    const int32_t bad[] = {3, -1}, beyond[] = {416};
    assert_status(engine_session_feed(s, bad, 2, &err), MUGA_E_INPUT, &err, "position 61");
    assert_status(engine_session_feed(s, beyond, 1, &err), MUGA_E_INPUT, &err, "416");
    assert_status(engine_session_feed(s, ids, 0, &err), MUGA_E_USAGE, &err, "no tokens");
    assert_int_equal(engine_session_count(s), 60);
    assert_non_null(engine_session_logits(s));
    feed(s, ids, 10);
    engine_session_free(s);
    engine_free(e);
}

static void an_absent_instruction_set_is_named(void **state) {
    (void)state;
    engine *e = NULL;
    muga_error err = {0};
    for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++)
        if (!kernel_isa_available((kernel_isa)isa)) {
            engine_options o = {.isa = isa};
            assert_status(engine_open(source_path("tests/data/tiny.gguf"), &o, &e, &err), MUGA_E_ENV, &err,
                          kernel_isa_name((kernel_isa)isa));
        }
}

/* A copy of the model with one float of a tensor replaced. */
static const char *spoiled(const char *tensor, float value) {
    str bytes = STR_INIT;
    muga_error err = {0};
    gguf_file *f;
    assert_ok(os_read_file(&os_system()->files, source_path("tests/data/tiny.gguf"), 1 << 24, &bytes, &err), &err);
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &f, &err), &err);
    const gguf_tensor *t = gguf_tensor_find(f, tensor);
    assert_non_null(t);
    assert_int_equal(t->type, TENSOR_F32);
    memcpy(bytes.data + ((const char *)t->data - bytes.data), &value, sizeof value);
    gguf_close(f);
    const char *path = scratch_path("spoiled.gguf");
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    return path;
}

static void a_damaged_weight_is_reported_with_its_position(void **state) {
    (void)state;
    const float values[] = {NAN, INFINITY};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        engine_options o = ENGINE_OPTIONS_DEFAULT;
        engine *e = NULL;
        muga_error err = {0};
        assert_ok(engine_open(spoiled("blk.1.ffn_norm.weight", values[i]), &o, &e, &err), &err);
        engine_session *s = session_of(e, 64);
        assert_status(engine_session_feed(s, ids, 9, &err), MUGA_E_NONFINITE, &err, "position 8");
        assert_int_equal(engine_session_count(s), 0);
        engine_session_free(s);
        engine_free(e);
    }
}

/* A file that is written to while it loads: what was checked need not be what was packed. */
static void append_a_byte(void *ctx, double done) {
    FILE *f = done > 0.5 ? fopen(ctx, "a") : NULL;
    if (f) {
        assert_int_equal(fputc('x', f), 'x');
        assert_int_equal(fclose(f), 0);
    }
}

static void a_file_that_changes_while_it_loads_is_refused(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", spoiled("blk.1.ffn_norm.weight", 1.0f));
    engine_options o = {.isa = -1, .n_threads = 1, .on_progress = append_a_byte, .on_progress_ctx = path};
    engine *e = NULL;
    muga_error err = {0};
    assert_status(engine_open(path, &o, &e, &err), MUGA_E_ENV, &err, "written to");
    assert_null(e);
}

/* ---- scoring ---- */

static void scores_are_those_of_one_token_at_a_time(void **state) {
    (void)state;
    enum { N = 40 };
    engine *e = open_plain();
    uint32_t n_vocab = engine_params(e)->n_vocab;
    engine_session *s = prompted(e, "where is my order, please");
    token_list labels[N] = {0};
    double got[N];
    float *work = mem_alloc_aligned(n_vocab * sizeof *work, 64);
    muga_error err = {0};
    for (int i = 0; i < N; i++)
        for (int j = 0; j < i % 6; j++)
            assert_true(token_list_push(&labels[i], ids[(i * 7 + j) % N_IDS]));
    uint32_t before = engine_session_count(s);
    engine_score_args a = {.session = s, .continuations = labels, .n = N};
    assert_ok(engine_score(&a, got, &err), &err);
    assert_int_equal(engine_session_count(s), before);
    for (int i = 0; i < N; i++) {
        engine_session *t;
        double want = 0;
        assert_ok(engine_session_fork(s, &t, &err), &err);
        for (size_t j = 0; j < labels[i].n; j++) {
            const float *l = engine_session_logits(t);
            want += (double)l[labels[i].ids[j]] - sampler_log_partition(engine_kernels(e), l, n_vocab, work);
            feed(t, &labels[i].ids[j], 1);
        }
        assert_true(got[i] == want); /* to the bit */
        engine_session_free(t);
        token_list_release(&labels[i]);
    }
    free(work);
    engine_session_free(s);
    engine_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_do_not_depend_on_chunks_threads_or_instruction_set),
        cmocka_unit_test(sequences_in_one_batch_do_not_touch_each_other),
        cmocka_unit_test(threads_share_an_engine_and_its_pages),
        cmocka_unit_test(forks_share_and_part),
        cmocka_unit_test(the_numbers_of_the_arithmetic_are_unchanged),
        cmocka_unit_test(the_input_of_every_product_can_be_watched),
        cmocka_unit_test(limits_name_both_numbers_and_change_nothing),
        cmocka_unit_test(an_absent_instruction_set_is_named),
        cmocka_unit_test(a_damaged_weight_is_reported_with_its_position),
        cmocka_unit_test(a_file_that_changes_while_it_loads_is_refused),
        cmocka_unit_test(scores_are_those_of_one_token_at_a_time),
    };
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
