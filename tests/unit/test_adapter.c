/* If this fails, an adapter computes something else than the weights it stands for, or touches a sequence that doesn't
 * have it; a mixed batch gives other bits than each sequence alone; an adapter can't be loaded or dropped while others
 * step; or a file that can't be computed rightly is run all the same.
 *
 * The reference is a model with the adapter merged into F32 weights (tests/support/make_adapter.c), for every
 * architecture that writes. `test_adapter --write tests/data/tiny-adapter.gguf` makes the adapter in the tree anew. */
#include "support/make_adapter.h"
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#define N_IDS 90 /* over two pages, and over a group of rows */
#define N_SEQ 5
#define VOCAB MAKE_ARCH_VOCAB
#define END                                                                                                            \
    { 0 }

static const char *const archs[] = {"llama",  "qwen2",  "qwen3",   "phi3",   "nemotron",
                                    "gemma2", "gemma3", "granite", "smollm3"};

static int32_t ids[N_SEQ][N_IDS];

static int make_ids(void **state) {
    (void)state;
    rng r = {11};
    for (int i = 0; i < N_SEQ; i++)
        for (int j = 0; j < N_IDS; j++)
            ids[i][j] = (int32_t)rng_below(&r, VOCAB);
    return 0;
}

/* ---- files ---- */

static const char *keep_file(const char *name, str *bytes) {
    const char *path = scratch_path(name);
    FILE *f = fopen(path, "wb"); /* hundreds of them: no wait for the disk */
    assert_non_null(f);
    assert_int_equal(fwrite(bytes->data, 1, bytes->len, f), bytes->len);
    assert_int_equal(fclose(f), 0);
    str_release(bytes);
    return path;
}

static gguf_file *open_file(const char *path) {
    muga_error err = {0};
    gguf_file *f = NULL;
    assert_ok(gguf_open(path, &f, &err), &err);
    return f;
}

static void model_file(const char *arch) {
    str bytes = STR_INIT;
    assert_true(make_arch(arch, NULL, &bytes));
    (void)keep_file("base.gguf", &bytes);
}

/* An adapter for base.gguf. */
static const char *adapter_file(const char *name, make_adapter_options o) {
    str bytes = STR_INIT;
    gguf_file *base = open_file(scratch_path("base.gguf"));
    assert_true(make_adapter(base, &o, &bytes));
    gguf_close(base);
    return keep_file(name, &bytes);
}

static engine *open_engine(const char *name, engine_options o) {
    engine *e = NULL;
    muga_error err = {0};
    o.ids_only = true;
    assert_ok(engine_open(scratch_path(name), &o, &e, &err), &err);
    return e;
}

static engine_adapter *load_adapter(engine *e, const char *name) {
    engine_adapter *a = NULL;
    muga_error err = {0};
    assert_ok(engine_adapter_load(e, scratch_path(name), &a, &err), &err);
    return a;
}

/* ---- running ---- */

typedef struct rows {
    float v[N_IDS][VOCAB];
    uint32_t n;
} rows;

static void keep(void *ctx, uint32_t pos, const float *logits) {
    rows *r = ctx;
    assert_int_equal(pos, r->n);
    memcpy(r->v[r->n++], logits, sizeof r->v[0]);
}

static engine_session *session_with(engine *e, engine_adapter *a, float scale) {
    engine_session *s = NULL;
    muga_error err = {0};
    assert_ok(engine_session_new(e, 256, &s, &err), &err);
    assert_ok(engine_session_set_adapter(s, a, scale, &err), &err);
    return s;
}

static engine_item item_of(engine_session *s, const int32_t *v, uint32_t n, rows *r) {
    return (engine_item){
        .session = s, .ids = v, .n = n, .want = ENGINE_LOGITS_ALL, .on_logits = keep, .on_logits_ctx = r};
}

static void run_alone(engine *e, engine_adapter *a, float scale, const int32_t *v, rows *r) {
    muga_error err = {0};
    engine_session *s = session_with(e, a, scale);
    r->n = 0;
    engine_item it = item_of(s, v, N_IDS, r);
    assert_ok(engine_step(e, &it, 1, &err), &err);
    engine_session_free(s);
}

static bool same(const rows *a, const rows *b) {
    return a->n == b->n && memcmp(a->v, b->v, a->n * sizeof a->v[0]) == 0;
}

/* Largest difference, relative to the largest logit. */
static double difference(const rows *a, const rows *b) {
    double most = 0, size = 0;
    assert_int_equal(a->n, b->n);
    for (uint32_t i = 0; i < a->n; i++)
        for (int j = 0; j < VOCAB; j++) {
            double apart = fabs((double)a->v[i][j] - (double)b->v[i][j]), here = fabs((double)b->v[i][j]);
            most = apart > most ? apart : most; /* not fmax: gcc 12 for aarch64 fails on this loop with it */
            size = here > size ? here : size;
        }
    return most / size;
}

/* ---- what an adapter computes ---- */

static void check_merged(const char *arch, make_adapter_options o, float user, double scale) {
    static rows base, adapted, merged;
    str bytes = STR_INIT;
    model_file(arch);
    gguf_file *plain = open_file(scratch_path("base.gguf")), *adapter = open_file(adapter_file("a.gguf", o));
    assert_true(make_merged(plain, adapter, scale, &bytes));
    (void)keep_file("merged.gguf", &bytes);
    gguf_close(adapter);
    gguf_close(plain);
    engine_options exact = {.isa = -1, .exact = true, .kv = KERNEL_KV_F32};
    engine *e = open_engine("base.gguf", exact);
    engine_adapter *a = load_adapter(e, "a.gguf");
    run_alone(e, NULL, 0, ids[0], &base);
    run_alone(e, a, user, ids[0], &adapted);
    engine_adapter_drop(a);
    engine_free(e);
    e = open_engine("merged.gguf", exact);
    run_alone(e, NULL, 0, ids[0], &merged);
    engine_free(e);
    double near = difference(&adapted, &merged), far = difference(&base, &merged);
    if (!(near < 2e-4 && far > 100 * near))
        fail_msg("%s, rank %u: %.1e from the merged model, which is %.1e from the plain one", arch, o.rank, near, far);
}

static void an_adapter_computes_what_merged_weights_do(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        check_merged(archs[i], (make_adapter_options){.rank = 5, .alpha = 4, .seed = 21, .embedding = true}, 1, 0.8);
}

/* Types of A and B, ranks from 1 on, alpha 0 and none at all, the user's scale, single matrices. */
static void every_type_rank_and_scale_means_what_it_says(void **state) {
    (void)state;
    check_merged("llama", (make_adapter_options){.rank = 1, .alpha = 1, .seed = 22}, 1, 1);
    check_merged("llama", (make_adapter_options){.rank = 16, .alpha = 32, .seed = 23}, 0.25f, 0.5);
    check_merged("llama", (make_adapter_options){.rank = 4, .alpha = 0, .seed = 24}, 0.5f, 0.5);
    check_merged("llama", (make_adapter_options){.rank = 4, .alpha = -1, .seed = 24}, -0.5f, -0.5);
    const tensor_type types[] = {TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_0};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        check_merged("llama",
                     (make_adapter_options){.rank = 32, .alpha = 16, .seed = 25, .type = types[i], .embedding = true},
                     1, 0.5);
    const char *const single[] = {"attn_q", "attn_k",   "attn_v",        "attn_output", "ffn_gate",
                                  "ffn_up", "ffn_down", "output.weight", "blk.1."};
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        check_merged("llama", (make_adapter_options){.rank = 3, .alpha = 6, .seed = 26, .only = single[i]}, 1, 2);
    check_merged("phi3", (make_adapter_options){.rank = 3, .alpha = 6, .seed = 27, .only = "attn_qkv"}, 1, 2);
    check_merged("smollm3",
                 (make_adapter_options){.rank = 2, .alpha = 4, .seed = 28, .only = "none", .embedding = true}, 1, 2);
}

/* ---- what it may not depend on ---- */

/* Sequences 0 and 3 have adapter a, 1 has b, 4 has a at another scale, 2 has none. */
static engine_adapter *adapter_of(engine_adapter *const two[2], int i) {
    return i == 2 ? NULL : two[i == 1];
}
static float scale_of(int i) {
    return i == 4 ? 0.5f : 1.0f;
}

/* All sequences in common steps, each in parts of its own sizes. */
static void run_mixed(engine *e, engine_adapter *const two[2], rows r[N_SEQ]) {
    engine_session *s[N_SEQ];
    uint32_t at[N_SEQ] = {0}, left = N_SEQ;
    muga_error err = {0};
    for (int i = 0; i < N_SEQ; i++) {
        s[i] = session_with(e, adapter_of(two, i), scale_of(i));
        r[i].n = 0;
    }
    for (uint32_t step = 0; left > 0; step++) {
        engine_item items[N_SEQ];
        uint32_t n_items = 0;
        left = 0;
        for (uint32_t i = 0; i < N_SEQ; i++) {
            uint32_t n = MIN(N_IDS - at[i], step == 3 ? 40 + i : 1 + (step * (i + 3) + i) % 7);
            if (n > 0)
                items[n_items++] = item_of(s[i], ids[i] + at[i], n, &r[i]);
            at[i] += n;
            left += at[i] < N_IDS;
        }
        if (n_items > 0)
            assert_ok(engine_step(e, items, n_items, &err), &err);
    }
    for (int i = 0; i < N_SEQ; i++)
        engine_session_free(s[i]);
}

static void load_two(engine *e, engine_adapter *two[2]) {
    two[0] = load_adapter(e, "a.gguf");
    two[1] = load_adapter(e, "b.gguf");
}

static void check_mixed(const char *arch, bool exact) {
    static rows want[N_SEQ], got[N_SEQ];
    const uint32_t batches[] = {1, 7, 128};
    engine_adapter *two[2];
    model_file(arch);
    (void)adapter_file("a.gguf", (make_adapter_options){.rank = 5, .alpha = 4, .seed = 31, .embedding = true});
    (void)adapter_file("b.gguf", (make_adapter_options){.rank = 32, .alpha = 16, .seed = 32, .type = TENSOR_Q8_0});
    engine_options o = {
        .isa = KERNEL_ISA_REF, .n_threads = 1, .exact = exact, .kv = exact ? KERNEL_KV_Q8 : KERNEL_KV_F16};
    engine *e = open_engine("base.gguf", o);
    load_two(e, two);
    for (int i = 0; i < N_SEQ; i++)
        run_alone(e, adapter_of(two, i), scale_of(i), ids[i], &want[i]);
    for (int i = 0; i < 2; i++)
        engine_adapter_drop(two[i]);
    engine_free(e);
    for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++)
        for (size_t k = 0; k < ARRAY_LEN(batches); k++) {
            if (!kernel_isa_available((kernel_isa)isa) || (isa == KERNEL_ISA_REF && k != 1))
                continue;
            o.isa = isa;
            o.n_batch = batches[k];
            o.n_threads = 1 + (int)k;
            e = open_engine("base.gguf", o);
            load_two(e, two);
            run_mixed(e, two, got);
            for (int i = 0; i < N_SEQ; i++)
                if (!same(&got[i], &want[i]))
                    fail_msg("%s on %s, batch %u, sequence %d: other bits than alone", arch,
                             kernel_isa_name((kernel_isa)isa), o.n_batch, i);
            for (int i = 0; i < 2; i++)
                engine_adapter_drop(two[i]);
            engine_free(e);
        }
}

static void a_mixed_batch_gives_each_sequence_its_own_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(archs); i += SANITIZED_THREADS ? 3 : 1)
        check_mixed(archs[i], i % 2);
}

/* F32 values that are bf16 in truth are packed as such; the numbers stay. */
static void values_that_fit_into_bf16_are_kept_so(void **state) {
    (void)state;
    static rows wide, narrow;
    model_file("llama");
    const char *path =
        adapter_file("a.gguf", (make_adapter_options){.rank = 8, .alpha = 8, .seed = 33, .type = TENSOR_BF16});
    gguf_file *f = open_file(path);
    gguf_writer *w = gguf_writer_new();
    float *values = NULL;
    str bytes = STR_INIT;
    muga_error err = {0};
    for (uint64_t i = 0; i < gguf_key_count(f); i++)
        gguf_writer_copy_key(w, f, i);
    size_t total = 0;
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++)
        total += (size_t)(gguf_tensor_at(f, i)->dims[0] * gguf_tensor_at(f, i)->dims[1]);
    values = mem_alloc_array(total, sizeof *values);
    for (uint64_t i = 0, at = 0; i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        size_t n = (size_t)(t->dims[0] * t->dims[1]);
        tensor_type_traits(t->type)->dequantise(t->data, values + at, n);
        gguf_writer_add_tensor(w, t->name, TENSOR_F32, t->dims, 2, values + at);
        at += n;
    }
    assert_ok(gguf_writer_finish(w, &bytes, &err), &err);
    gguf_writer_free(w);
    gguf_close(f);
    free(values);
    (void)keep_file("b.gguf", &bytes);
    engine *e = open_engine("base.gguf", (engine_options){.isa = -1});
    engine_adapter *two[2];
    load_two(e, two);
    run_alone(e, two[0], 1, ids[0], &narrow);
    run_alone(e, two[1], 1, ids[0], &wide);
    assert_true(same(&wide, &narrow));
    assert_int_equal(engine_adapter_bytes(two[0]), engine_adapter_bytes(two[1]));
    for (int i = 0; i < 2; i++)
        engine_adapter_drop(two[i]);
    engine_free(e);
}

/* ---- sessions ---- */

static void a_session_keeps_its_adapter_and_takes_none_midway(void **state) {
    (void)state;
    static rows want, got;
    muga_error err = {0};
    float scale;
    model_file("llama");
    (void)adapter_file("a.gguf", (make_adapter_options){.rank = 4, .alpha = 4, .seed = 41});
    engine *e = open_engine("base.gguf", (engine_options){.isa = -1});
    engine_adapter *a = load_adapter(e, "a.gguf");
    assert_int_equal(strlen(engine_adapter_sha256(a)), 64);
    run_alone(e, a, 0.5f, ids[0], &want);
    engine_session *s = session_with(e, a, 0.5f), *fork = NULL;
    engine_adapter_drop(a); /* the session has its own reference */
    assert_ok(engine_session_feed(s, ids[0], 30, &err), &err);
    assert_status(engine_session_set_adapter(s, NULL, 0, &err), MUGA_E_USAGE, &err, "30 tokens");
    assert_ok(engine_session_fork(s, &fork, &err), &err);
    engine_session_free(s);
    assert_ptr_equal(engine_session_adapter(fork, &scale), a);
    assert_true(scale == 0.5f);
    got.n = 30;
    memcpy(got.v, want.v, 30 * sizeof got.v[0]);
    engine_item it = item_of(fork, ids[0] + 30, N_IDS - 30, &got);
    assert_ok(engine_step(e, &it, 1, &err), &err);
    assert_true(same(&got, &want));
    /* Emptied, it may take another, or none. */
    engine_session_truncate(fork, 0);
    assert_status(engine_session_set_adapter(fork, a, INFINITY, &err), MUGA_E_USAGE, &err, "finite");
    assert_status(engine_session_set_adapter(fork, a, 3e38f, &err), MUGA_E_USAGE, &err, "finite");
    assert_ok(engine_session_set_adapter(fork, NULL, 1, &err), &err);
    assert_null(engine_session_adapter(fork, &scale));
    got.n = 0;
    it = item_of(fork, ids[0], N_IDS, &got);
    assert_ok(engine_step(e, &it, 1, &err), &err);
    run_alone(e, NULL, 0, ids[0], &want);
    assert_true(same(&got, &want));
    engine_session_free(fork);
    engine_free(e);
}

/* The prefix cache takes nothing over from another adapter, another scale, or none. */
static void shared_pages_stay_with_their_adapter_and_scale(void **state) {
    (void)state;
    static rows want;
    muga_error err = {0};
    model_file("llama");
    (void)adapter_file("a.gguf", (make_adapter_options){.rank = 4, .alpha = 4, .seed = 41});
    (void)adapter_file("b.gguf", (make_adapter_options){.rank = 4, .alpha = 4, .seed = 42});
    engine *e = open_engine("base.gguf", (engine_options){.isa = -1});
    engine_adapter *two[2];
    load_two(e, two);
    const struct {
        engine_adapter *a;
        float scale;
        uint32_t adopted;
    } in_turn[] = {{two[0], 1, 0},  {two[1], 1, 0},     {NULL, 0, 0},    {two[0], 0.5f, 0},
                   {two[0], 1, 64}, {two[0], 0.5f, 64}, {two[1], 1, 64}, {NULL, 0, 64}};
    for (size_t i = 0; i < ARRAY_LEN(in_turn); i++) {
        run_alone(e, in_turn[i].a, in_turn[i].scale, ids[0], &want);
        engine_session *s = session_with(e, in_turn[i].a, in_turn[i].scale);
        assert_ok(engine_session_share(s, "", &err), &err);
        assert_status(engine_session_set_adapter(s, NULL, 0, &err), MUGA_E_USAGE, &err, "shares");
        uint32_t got = engine_session_adopt(s, ids[0], N_IDS);
        assert_true(got >= in_turn[i].adopted && (in_turn[i].adopted > 0 || got == 0));
        assert_ok(engine_session_feed(s, ids[0] + got, N_IDS - got, &err), &err);
        assert_memory_equal(engine_session_logits(s), want.v[N_IDS - 1], sizeof want.v[0]);
        engine_session_free(s);
    }
    for (int i = 0; i < 2; i++)
        engine_adapter_drop(two[i]);
    engine_free(e);
}

static void an_adapter_of_another_engine_is_refused(void **state) {
    (void)state;
    muga_error err = {0};
    model_file("llama");
    (void)adapter_file("a.gguf", (make_adapter_options){.rank = 4, .alpha = 4, .seed = 41});
    engine *e = open_engine("base.gguf", (engine_options){.isa = -1});
    engine_adapter *a = load_adapter(e, "a.gguf");
    model_file("qwen3");
    engine *other = open_engine("base.gguf", (engine_options){.isa = -1});
    engine_session *s = NULL;
    assert_ok(engine_session_new(other, 64, &s, &err), &err);
    assert_status(engine_session_set_adapter(s, a, 1, &err), MUGA_E_USAGE, &err, "another engine");
    engine_session_free(s);
    engine_adapter_drop(a);
    engine_free(e);
    engine_free(other);
}

/* ---- loading and dropping while others step ---- */

typedef struct server {
    engine *e;
    engine_adapter *a; /* dropped by the main thread while it is in use */
    const rows *want;
    const int32_t *v;
    atomic_bool holds; /* the session has its reference */
    bool right;
} server;

static void *serve(void *ctx) {
    server *w = ctx;
    rows *r = calloc(1, sizeof *r);
    engine_session *s = NULL;
    muga_error err;
    w->right = r && !engine_session_new(w->e, 256, &s, &err) && !engine_session_set_adapter(s, w->a, 1, &err);
    atomic_store(&w->holds, true);
    for (uint32_t at = 0; w->right && at < N_IDS; at += 3) {
        engine_item it = item_of(s, w->v + at, 3, r);
        w->right = engine_step(w->e, &it, 1, &err) == MUGA_OK;
    }
    w->right = w->right && same(r, w->want);
    engine_session_free(s);
    free(r);
    return NULL;
}

static void adapters_come_and_go_while_others_step(void **state) {
    (void)state;
    static rows want[3];
    model_file("llama");
    (void)adapter_file("a.gguf", (make_adapter_options){.rank = 4, .alpha = 4, .seed = 51, .embedding = true});
    (void)adapter_file("b.gguf", (make_adapter_options){.rank = 40, .alpha = 8, .seed = 52});
    engine *e = open_engine("base.gguf", (engine_options){.isa = -1, .n_threads = 2});
    engine_adapter *two[2];
    load_two(e, two);
    for (int i = 0; i < 3; i++)
        run_alone(e, i < 2 ? two[i] : NULL, 1, ids[i], &want[i]);
    for (int i = 0; i < 2; i++)
        engine_adapter_drop(two[i]);
    engine_free(e);
    e = open_engine("base.gguf", (engine_options){.isa = -1, .n_threads = 2});
    for (int round = 0; round < 6; round++) {
        server w[3] = {0};
        pthread_t t[3];
        for (int i = 0; i < 3; i++) {
            const char *name = i == 0 ? "a.gguf" : "b.gguf"; /* b needs more working memory than a */
            w[i] = (server){.e = e, .a = i < 2 ? load_adapter(e, name) : NULL, .want = &want[i], .v = ids[i]};
            assert_int_equal(pthread_create(&t[i], NULL, serve, &w[i]), 0);
        }
        for (int i = 0; i < 2; i++) {
            while (!atomic_load(&w[i].holds))
                sched_yield();
            engine_adapter_drop(w[i].a);
        }
        for (int i = 0; i < 3; i++) {
            pthread_join(t[i], NULL);
            assert_true(w[i].right);
        }
    }
    engine_free(e);
}

/* ---- what is refused ---- */

static void files_that_would_be_computed_wrongly_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        make_change changes[3];
        const char *named;
    } cases[] = {
        {"llama", {{MAKE_NO_KEY, "general.type", 0, NULL}, END}, "\"general.type\" is missing"},
        {"llama", {{MAKE_STRING, "general.type", 0, "model"}, END}, "\"general.type\" is \"model\""},
        {"llama", {{MAKE_U32, "general.type", 1, NULL}, END}, "general.type"},
        {"llama", {{MAKE_NO_KEY, "adapter.type", 0, NULL}, END}, "\"adapter.type\" is missing"},
        {"llama", {{MAKE_STRING, "adapter.type", 0, "control_vector"}, END}, "\"control_vector\""},
        {"llama", {{MAKE_NO_KEY, "general.architecture", 0, NULL}, END}, "\"general.architecture\" is missing"},
        {"llama", {{MAKE_STRING, "general.architecture", 0, "qwen2"}, END}, "\"qwen2\", not \"llama\""},
        {"llama", {{MAKE_F32, "adapter.lora.alpha", INFINITY, NULL}, END}, "adapter.lora.alpha"},
        {"llama", {{MAKE_F32, "adapter.lora.alpha", NAN, NULL}, END}, "adapter.lora.alpha"},
        {"llama", {{MAKE_U32, "adapter.lora.alpha", 8, NULL}, END}, "adapter.lora.alpha"},
        {"llama", {{MAKE_STRING, "adapter.alora.invocation_tokens", 0, "1"}, END}, "adapter.alora.invocation_tokens"},
        {"llama",
         {{MAKE_NO_TENSOR, "blk.1.attn_q.weight.lora_a", 0, NULL}, END},
         "\"blk.1.attn_q.weight.lora_a\" is m"},
        {"llama",
         {{MAKE_NO_TENSOR, "blk.0.ffn_up.weight.lora_b", 0, NULL}, END},
         "\"blk.0.ffn_up.weight.lora_b\" is m"},
        {"llama", {{MAKE_NO_TENSOR, "output.weight.lora_b", 0, NULL}, END}, "\"output.weight.lora_b\" is missing"},
        {"llama", {{MAKE_NO_TENSOR, "token_embd.weight.lora_a", 0, NULL}, END}, "\"token_embd.weight.lora_a\" is miss"},
        {"llama",
         {{MAKE_TENSOR, "blk.2.attn_q.weight.lora_a", 64, NULL}, END},
         "\"blk.2.attn_q.weight.lora_a\": the m"},
        {"llama", {{MAKE_TENSOR, "blk.0.attn_qkv.weight.lora_a", 64, NULL}, END}, "\"blk.0.attn_qkv.weight\""},
        {"llama", {{MAKE_TENSOR, "blk.0.ffn_up_exps.weight.lora_a", 64, NULL}, END}, "\"blk.0.ffn_up_exps.weight\""},
        {"llama", {{MAKE_TENSOR, "blk.0.attn_norm.weight.lora_a", 64, NULL}, END}, "\"blk.0.attn_norm.weight\""},
        {"llama", {{MAKE_TENSOR, "blk.0.attn_norm.weight", 64, NULL}, END}, "\"blk.0.attn_norm.weight\" is neither"},
        {"llama", {{MAKE_TENSOR, "blk.0.attn_q.bias", 64, NULL}, END}, "\"blk.0.attn_q.bias\" is neither"},
        {"llama", {{MAKE_TENSOR, ".lora_a", 64, NULL}, END}, "\".lora_a\""},
        {"phi3", {{MAKE_TENSOR, "blk.0.attn_q.weight.lora_a", 64, NULL}, END}, "\"blk.0.attn_q.weight\""},
        {"phi3", {{MAKE_TENSOR, "blk.0.ffn_gate.weight.lora_b", 64, NULL}, END}, "\"blk.0.ffn_gate.weight\""},
        {"qwen2", {{MAKE_TENSOR, "output.weight.lora_a", 64, NULL}, END}, "serves as output"},
        {"llama",
         {{MAKE_NO_TENSOR, "blk.0.attn_k.weight.lora_a", 0, NULL},
          {MAKE_TENSOR, "blk.0.attn_k.weight.lora_a", 32, NULL},
          END},
         "\"blk.0.attn_k.weight.lora_a\" is 32 x 1, not 64 x 1"},
        {"llama",
         {{MAKE_NO_TENSOR, "blk.0.attn_k.weight.lora_b", 0, NULL},
          {MAKE_TENSOR, "blk.0.attn_k.weight.lora_b", 4, NULL},
          END},
         "\"blk.0.attn_k.weight.lora_b\" is 4 x 1, not 4 x 32"},
        {"llama",
         {{MAKE_NO_TENSOR, "token_embd.weight.lora_a", 0, NULL},
          {MAKE_TENSOR, "token_embd.weight.lora_a", 96, NULL},
          END},
         "\"token_embd.weight.lora_a\" is 96 x 1, not 96 x 96"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        muga_error err = {0};
        engine_adapter *a = NULL;
        model_file(cases[i].arch);
        (void)adapter_file(
            "a.gguf",
            (make_adapter_options){.rank = 4, .alpha = 4, .seed = 61, .embedding = true, .changes = cases[i].changes});
        engine *e = open_engine("base.gguf", (engine_options){.isa = -1, .n_threads = 1});
        muga_status st = engine_adapter_load(e, scratch_path("a.gguf"), &a, &err);
        if (st != MUGA_E_INPUT || !strstr(err.message, cases[i].named) || !strstr(err.message, "a.gguf"))
            fail_msg("case %zu (%s): status %d: %s", i, cases[i].named, st, err.message);
        engine_free(e);
    }
}

static void damaged_values_and_other_files_are_refused(void **state) {
    (void)state;
    muga_error err = {0};
    engine_adapter *a = NULL;
    str bytes = STR_INIT;
    model_file("llama");
    const char *path = adapter_file("a.gguf", (make_adapter_options){.rank = 4, .alpha = 4, .seed = 62});
    engine *e = open_engine("base.gguf", (engine_options){.isa = -1, .n_threads = 1});
    assert_ok(os_read_file(&os_system()->files, path, 1 << 22, &bytes, &err), &err);
    gguf_file *f = NULL;
    const float infinite = INFINITY;
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &f, &err), &err);
    const gguf_tensor *t = gguf_tensor_find(f, "blk.1.ffn_down.weight.lora_b");
    memcpy(bytes.data + ((const char *)t->data - bytes.data) + t->bytes - sizeof infinite, &infinite, sizeof infinite);
    gguf_close(f);
    (void)keep_file("a.gguf", &bytes);
    assert_status(engine_adapter_load(e, path, &a, &err), MUGA_E_INPUT, &err, "\"blk.1.ffn_down.weight.lora_b\" holds");
    assert_status(engine_adapter_load(e, scratch_path("base.gguf"), &a, &err), MUGA_E_INPUT, &err, "general.type");
    assert_status(engine_adapter_load(e, scratch_path("none.gguf"), &a, &err), MUGA_E_NOT_FOUND, &err, "none.gguf");
    (void)adapter_file("a.gguf", (make_adapter_options){.rank = 4, .alpha = 4, .seed = 62, .only = "nothing"});
    assert_status(engine_adapter_load(e, path, &a, &err), MUGA_E_INPUT, &err, "no tensors");
    engine_free(e);
    model_file("bert");
    e = open_engine("base.gguf", (engine_options){.isa = -1, .n_threads = 1});
    assert_status(engine_adapter_load(e, path, &a, &err), MUGA_E_INPUT, &err, "embeddings");
    engine_free(e);
}

/* ---- the adapter in the tree ---- */

static void make_tiny_adapter(str *out) {
    gguf_file *base = open_file(source_path("tests/data/tiny.gguf"));
    make_adapter_options o = {.rank = 2, .alpha = 4, .seed = 71, .type = TENSOR_F16, .embedding = true};
    assert_true(make_adapter(base, &o, out));
    gguf_close(base);
}

static void the_adapter_in_the_tree_is_the_one_made_here(void **state) {
    (void)state;
    str stored = STR_INIT, ours = STR_INIT;
    muga_error err = {0};
    make_tiny_adapter(&ours);
    const char *path = source_path("tests/data/tiny-adapter.gguf");
    assert_ok(os_read_file(&os_system()->files, path, 1 << 20, &stored, &err), &err);
    assert_int_equal(stored.len, ours.len);
    assert_memory_equal(stored.data, ours.data, ours.len);
    str_release(&stored);
    str_release(&ours);
}

static int write_tiny_adapter(const char *path) {
    muga_error err = {0};
    str bytes = STR_INIT;
    make_tiny_adapter(&bytes);
    muga_status st = os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err);
    if (st)
        (void)fprintf(stderr, "%s\n", err.message);
    str_release(&bytes);
    return st;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        return write_tiny_adapter(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_adapter_computes_what_merged_weights_do),
        cmocka_unit_test(every_type_rank_and_scale_means_what_it_says),
        cmocka_unit_test(a_mixed_batch_gives_each_sequence_its_own_bits),
        cmocka_unit_test(values_that_fit_into_bf16_are_kept_so),
        cmocka_unit_test(a_session_keeps_its_adapter_and_takes_none_midway),
        cmocka_unit_test(shared_pages_stay_with_their_adapter_and_scale),
        cmocka_unit_test(an_adapter_of_another_engine_is_refused),
        cmocka_unit_test(adapters_come_and_go_while_others_step),
        cmocka_unit_test(files_that_would_be_computed_wrongly_are_refused_by_name),
        cmocka_unit_test(the_adapter_in_the_tree_is_the_one_made_here),
        cmocka_unit_test(damaged_values_and_other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
