/* If this fails, some architecture's logits depend on what they must not depend on, or are other numbers than they
 * were; a window, long factors or a scaling does something else than it says; or a file that an architecture can't
 * compute rightly is run all the same.
 *
 * On small models made here (tests/support/make_arch.c), so none of it needs data from elsewhere; that the graphs are
 * the right ones is shown by tests/golden. Digests of the logits are in tests/data/architectures.logits; after a change
 * that is meant, `test_architectures --write tests/data/architectures.logits` makes the file anew. */
#include "support/make_arch.h"
#include "support/support.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"

#include <stdio.h>

#define N_IDS 150 /* over three pages */
#define END                                                                                                            \
    { 0 }

typedef struct variant {
    const char *name, *arch;
    uint32_t n_ctx;
    make_change changes[4];
} variant;

static const variant variants[] = {
    {"llama", "llama", 256, {END}},
    {"llama, window", "llama", 256, {{MAKE_U32, "attention.sliding_window", 20, NULL}, END}},
    {"llama, factors", "llama", 256, {{MAKE_TENSOR, "rope_freqs.weight", 8, NULL}, END}},
    {"llama, linear",
     "llama",
     256,
     {{MAKE_STRING, "rope.scaling.type", 0, "linear"}, {MAKE_F32, "rope.scaling.factor", 4, NULL}, END}},
    {"llama, yarn",
     "llama",
     256,
     {{MAKE_STRING, "rope.scaling.type", 0, "yarn"},
      {MAKE_F32, "rope.scaling.factor", 4, NULL},
      {MAKE_U32, "rope.scaling.original_context_length", 128, NULL},
      END}},
    {"qwen2", "qwen2", 256, {END}},
    {"qwen3", "qwen3", 256, {END}},
    {"phi3, short", "phi3", 128, {END}},
    {"phi3, long", "phi3", 129, {END}},
    {"nemotron", "nemotron", 256, {END}},
    {"gemma2", "gemma2", 256, {END}},
    {"gemma3", "gemma3", 256, {END}},
    {"granite", "granite", 256, {END}},
    {"smollm3", "smollm3", 256, {END}},
};

static int32_t ids[N_IDS];

static int make_ids(void **state) {
    (void)state;
    rng r = {5};
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)rng_below(&r, MAKE_ARCH_VOCAB);
    return 0;
}

/* ---- running ---- */

static const char *make(const char *arch, const make_change *changes) {
    str bytes = STR_INIT;
    muga_error err = {0};
    const char *path = scratch_path("model.gguf");
    assert_true(make_arch(arch, changes, &bytes));
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    return path;
}

static muga_status open_arch(const char *arch, const make_change *changes, engine_options o, engine **out,
                             muga_error *err) {
    o.ids_only = true;
    return engine_open(make(arch, changes), &o, out, err);
}

typedef struct rows {
    float *v;
    uint32_t n;
} rows;

static void keep(void *ctx, uint32_t pos, const float *logits) {
    rows *r = ctx;
    assert_int_equal(pos, r->n);
    r->v = mem_resize_array(r->v, (size_t)(r->n + 1) * MAKE_ARCH_VOCAB, sizeof(float));
    memcpy(r->v + (size_t)r->n++ * MAKE_ARCH_VOCAB, logits, MAKE_ARCH_VOCAB * sizeof(float));
}

/* Logits of all rows of v[0, n), the prompt given in parts of `part` tokens. */
static rows run(engine *e, uint32_t n_ctx, const int32_t *v, uint32_t n, uint32_t part) {
    rows r = {0};
    engine_session *s = NULL;
    muga_error err = {0};
    assert_ok(engine_session_new(e, n_ctx, &s, &err), &err);
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

static rows run_variant(const variant *v, engine_options o, uint32_t part) {
    engine *e = NULL;
    muga_error err = {0};
    assert_ok(open_arch(v->arch, v->changes, o, &e, &err), &err);
    rows r = run(e, v->n_ctx, ids, MIN((uint32_t)N_IDS, v->n_ctx), part);
    engine_free(e);
    return r;
}

static bool same(const rows *a, const rows *b) {
    return a->n == b->n && memcmp(a->v, b->v, (size_t)a->n * MAKE_ARCH_VOCAB * sizeof(float)) == 0;
}

/* ---- the same bits everywhere ---- */

static void logits_do_not_depend_on_chunks_threads_or_instruction_set(void **state) {
    (void)state;
    const uint32_t batches[] = {1, 7, 128};
    for (size_t k = 0; k < ARRAY_LEN(variants); k += SANITIZED_THREADS ? 5 : 1)
        for (int exact = 0; exact < 2; exact++) {
            engine_options o = {
                .isa = KERNEL_ISA_REF, .n_threads = 1, .exact = exact, .kv = exact ? KERNEL_KV_F32 : KERNEL_KV_F16};
            rows want = run_variant(&variants[k], o, N_IDS);
            for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++)
                for (size_t i = 0; i < ARRAY_LEN(batches); i++) {
                    if (!kernel_isa_available((kernel_isa)isa) || (isa == KERNEL_ISA_REF && i != 1))
                        continue;
                    o.isa = isa;
                    o.n_batch = batches[i];
                    o.n_threads = 1 + (int)i;
                    rows got = run_variant(&variants[k], o, i % 2 ? 37 : N_IDS);
                    if (!same(&got, &want))
                        fail_msg("%s on %s, batch %u: other bits", variants[k].name, kernel_isa_name((kernel_isa)isa),
                                 o.n_batch);
                    free(got.v);
                }
            free(want.v);
        }
}

static void digest_lines(str *out) {
    for (size_t k = 0; k < ARRAY_LEN(variants); k++)
        for (int exact = 0; exact < 2; exact++) {
            rows r = run_variant(
                &variants[k], (engine_options){.isa = -1, .exact = exact, .kv = exact ? KERNEL_KV_F32 : KERNEL_KV_F16},
                N_IDS);
            uint8_t digest[SHA256_BYTES];
            char hex[SHA256_HEX];
            sha256_of(r.v, (size_t)r.n * MAKE_ARCH_VOCAB * sizeof(float), digest);
            hex_write(digest, sizeof digest, hex);
            str_printf(out, "%s: %s %s\n", variants[k].name, exact ? "f32" : "int8", hex);
            free(r.v);
        }
}

static void the_numbers_of_every_architecture_are_unchanged(void **state) {
    (void)state;
    str stored = STR_INIT, ours = STR_INIT;
    muga_error err = {0};
    digest_lines(&ours);
    const char *path = source_path("tests/data/architectures.logits");
    assert_ok(os_read_file(&os_system()->files, path, 1 << 16, &stored, &err), &err);
    assert_string_equal(str_get(&ours), str_get(&stored));
    str_release(&stored);
    str_release(&ours);
}

static void variants_differ_from_one_another(void **state) {
    (void)state;
    rows all[ARRAY_LEN(variants)];
    for (size_t k = 0; k < ARRAY_LEN(variants); k++) {
        all[k] = run_variant(&variants[k], (engine_options){.isa = -1}, N_IDS);
        for (size_t i = 0; i < k; i++)
            if (same(&all[i], &all[k]))
                fail_msg("%s computes what %s does", variants[k].name, variants[i].name);
    }
    for (size_t k = 0; k < ARRAY_LEN(variants); k++)
        free(all[k].v);
}

/* ---- windows, factors, scalings ---- */

static engine *open_exact(const char *arch, const make_change *changes) {
    engine *e = NULL;
    muga_error err = {0};
    assert_ok(open_arch(arch, changes, (engine_options){.isa = -1, .exact = true, .kv = KERNEL_KV_F32}, &e, &err),
              &err);
    return e;
}

/* Two layers of window 8: the logits of a position hang on the 14 positions before it and no other. */
static void a_window_ends_where_it_says(void **state) {
    (void)state;
    const make_change window[] = {{MAKE_U32, "attention.sliding_window", 8, NULL}, END};
    engine *e = open_exact("llama", window);
    int32_t other[N_IDS];
    memcpy(other, ids, sizeof ids);
    other[70] = (ids[70] + 1) % MAKE_ARCH_VOCAB;
    rows a = run(e, 256, ids, N_IDS, N_IDS), b = run(e, 256, other, N_IDS, 11);
    for (uint32_t i = 0; i < N_IDS; i++) {
        size_t at = (size_t)i * MAKE_ARCH_VOCAB;
        bool equal = memcmp(a.v + at, b.v + at, MAKE_ARCH_VOCAB * sizeof(float)) == 0;
        assert_int_equal(equal, i < 70 || i > 84);
    }
    free(a.v);
    free(b.v);
    engine_free(e);
    const make_change wide[] = {{MAKE_U32, "attention.sliding_window", MAKE_ARCH_CTX, NULL}, END};
    e = open_exact("llama", wide);
    a = run(e, 256, ids, N_IDS, N_IDS);
    engine_free(e);
    e = open_exact("llama", NULL);
    b = run(e, 256, ids, N_IDS, N_IDS);
    assert_true(same(&a, &b));
    free(a.v);
    free(b.v);
    engine_free(e);
}

static void long_factors_belong_to_the_context_limit(void **state) {
    (void)state;
    engine *e = open_exact("phi3", NULL);
    const uint32_t limits[] = {40, 128, 129, 512};
    rows r[ARRAY_LEN(limits)];
    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        r[i] = run(e, limits[i], ids, 40, 40);
    assert_true(same(&r[0], &r[1]) && same(&r[2], &r[3]) && !same(&r[1], &r[2]));
    /* Both in one batch, and a fork keeps its limit. */
    engine_session *s[2], *fork;
    muga_error err = {0};
    for (int i = 0; i < 2; i++)
        assert_ok(engine_session_new(e, limits[1 + i], &s[i], &err), &err);
    engine_item items[2] = {{.session = s[0], .ids = ids, .n = 39}, {.session = s[1], .ids = ids, .n = 39}};
    assert_ok(engine_step(e, items, 2, &err), &err);
    assert_ok(engine_session_fork(s[1], &fork, &err), &err);
    assert_ok(engine_session_feed(s[0], ids + 39, 1, &err), &err);
    assert_ok(engine_session_feed(fork, ids + 39, 1, &err), &err);
    const float *last[2] = {r[1].v + (size_t)39 * MAKE_ARCH_VOCAB, r[2].v + (size_t)39 * MAKE_ARCH_VOCAB};
    assert_memory_equal(engine_session_logits(s[0]), last[0], MAKE_ARCH_VOCAB * sizeof(float));
    assert_memory_equal(engine_session_logits(fork), last[1], MAKE_ARCH_VOCAB * sizeof(float));
    engine_session_free(fork);
    for (int i = 0; i < 2; i++)
        engine_session_free(s[i]);
    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        free(r[i].v);
    engine_free(e);
}

static rows run_changes(const char *arch, const make_change *changes) {
    engine *e = open_exact(arch, changes);
    rows r = run(e, 256, ids, N_IDS, N_IDS);
    engine_free(e);
    return r;
}

/* Ways of saying the same thing give the same bits. */
static void scalings_mean_what_they_say(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        make_change a[5], b[5];
    } same_things[] = {
        {"llama",
         {END},
         {{MAKE_STRING, "rope.scaling.type", 0, "none"}, {MAKE_F32, "rope.scaling.factor", 4, NULL}, END}},
        {"llama",
         {{MAKE_F32, "rope.scaling.factor", 4, NULL}, END},
         {{MAKE_STRING, "rope.scaling.type", 0, "linear"}, {MAKE_F32, "rope.scale_linear", 4, NULL}, END}},
        {"llama", /* YaRN that keeps no pair, its temperature taken back */
         {{MAKE_STRING, "rope.scaling.type", 0, "linear"}, {MAKE_F32, "rope.scaling.factor", 4, NULL}, END},
         {{MAKE_STRING, "rope.scaling.type", 0, "yarn"},
          {MAKE_F32, "rope.scaling.factor", 4, NULL},
          {MAKE_F32, "rope.scaling.yarn_ext_factor", 0, NULL},
          END}},
        {"llama", /* YaRN without a factor */
         {END},
         {{MAKE_STRING, "rope.scaling.type", 0, "yarn"}, {MAKE_F32, "rope.scaling.factor", 1, NULL}, END}},
        {"granite", {{MAKE_NO_KEY, "residual_scale", 0, NULL}, END}, {{MAKE_F32, "residual_scale", 1, NULL}, END}},
        {"granite", {{MAKE_NO_KEY, "attention.scale", 0, NULL}, END}, {{MAKE_F32, "attention.scale", 0.25, NULL}, END}},
        {"gemma2",
         {{MAKE_NO_KEY, "attn_logit_softcapping", 0, NULL}, {MAKE_NO_KEY, "final_logit_softcapping", 0, NULL}, END},
         {{MAKE_F32, "attn_logit_softcapping", 50, NULL}, {MAKE_F32, "final_logit_softcapping", 30, NULL}, END}},
        {"gemma3", {END}, {{MAKE_F32, "rope.freq_base_swa", 10000, NULL}, END}},
        {"gemma3", {END}, {{MAKE_U32, "attention.sliding_window_pattern", 6, NULL}, END}},
    };
    for (size_t i = 0; i < ARRAY_LEN(same_things); i++) {
        rows a = run_changes(same_things[i].arch, same_things[i].a),
             b = run_changes(same_things[i].arch, same_things[i].b);
        if (!same(&a, &b))
            fail_msg("pair %zu (%s) differs", i, same_things[i].arch);
        free(a.v);
        free(b.v);
    }
}

static double largest_difference(const rows *a, const rows *b) {
    double most = 0;
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < (size_t)a->n * MAKE_ARCH_VOCAB; i++) {
        double d = (double)a->v[i] - (double)b->v[i];
        most = d > most ? d : -d > most ? -d : most;
    }
    return most;
}

/* Positions squeezed a million times hardly turn anything, as if there were none. */
static void granite_without_rope_has_no_positions(void **state) {
    (void)state;
    const make_change off[] = {{MAKE_BOOL, "rope.scaling.finetuned", 0, NULL}, END};
    const make_change squeezed[] = {{MAKE_F32, "rope.scaling.factor", 1e6, NULL}, END};
    rows none = run_changes("granite", off), slow = run_changes("granite", squeezed),
         full = run_changes("granite", NULL);
    double near = largest_difference(&none, &slow), far = largest_difference(&none, &full);
    if (!(near < 1e-3 && far > 1e-2))
        fail_msg("no positions: %.2e from squeezed ones, %.2e from full ones", near, far);
    free(none.v);
    free(slow.v);
    free(full.v);
}

/* ---- what is refused, and how it is named ---- */

static void files_that_would_be_computed_wrongly_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        make_change change;
        const char *named;
    } cases[] = {
        {"llama", {MAKE_STRING, "general.architecture", 0, "mixtral"}, "\"mixtral\" is not supported"},
        {"llama", {MAKE_NO_KEY, "general.architecture", 0, NULL}, "general.architecture"},
        {"llama", {MAKE_U32, "expert_count", 8, NULL}, "llama.expert_count"},
        {"qwen3", {MAKE_U32, "expert_count", 8, NULL}, "mixtures of experts"},
        {"llama", {MAKE_TENSOR, "blk.0.ffn_gate_inp.weight", 64, NULL}, "blk.0.ffn_gate_inp.weight"},
        {"llama", {MAKE_F32, "logit_scale", 2, NULL}, "llama.logit_scale"},
        {"llama", {MAKE_F32, "attn_logit_softcapping", 50, NULL}, "llama.attn_logit_softcapping"},
        {"gemma3", {MAKE_F32, "attn_logit_softcapping", 50, NULL}, "gemma3.attn_logit_softcapping"},
        {"llama", {MAKE_F32, "attention.clamp_kqv", 8, NULL}, "llama.attention.clamp_kqv"},
        {"llama", {MAKE_BOOL, "use_parallel_residual", 1, NULL}, "llama.use_parallel_residual"},
        {"llama", {MAKE_BOOL, "attention.causal", 0, NULL}, "llama.attention.causal"},
        {"qwen2", {MAKE_U32, "attention.sliding_window", 64, NULL}, "qwen2.attention.sliding_window"},
        {"llama", {MAKE_STRING, "rope.scaling.type", 0, "dynamic"}, "\"dynamic\""},
        {"llama", {MAKE_U32, "rope.scaling.type", 1, NULL}, "llama.rope.scaling.type"},
        {"llama", {MAKE_F32, "rope.scaling.factor", -1, NULL}, "llama.rope.scaling.factor"},
        {"llama", {MAKE_F32, "rope.freq_base", 0, NULL}, "llama.rope.freq_base"},
        {"llama", {MAKE_F32, "rope.scaling.attn_factor", 0, NULL}, "llama.rope.scaling.attn_factor"},
        {"llama", {MAKE_U32, "rope.dimension_count", 7, NULL}, "llama.rope.dimension_count"},
        {"llama", {MAKE_U32, "rope.dimension_count", 18, NULL}, "llama.rope.dimension_count"},
        {"llama", {MAKE_U32, "attention.head_count", 0, NULL}, "llama.attention.head_count"},
        {"llama", {MAKE_U32, "attention.head_count_kv", 3, NULL}, "llama.attention.head_count_kv"},
        {"llama", {MAKE_U32, "attention.value_length", 8, NULL}, "llama.attention.value_length"},
        {"llama", {MAKE_U32, "feed_forward_length", 97, NULL}, "feed_forward_length 97"},
        {"llama", {MAKE_U32, "embedding_length", 96, NULL}, "llama.embedding_length"},
        {"llama", {MAKE_F32, "block_count", 2, NULL}, "llama.block_count"},
        {"llama", {MAKE_NO_KEY, "attention.layer_norm_rms_epsilon", 0, NULL}, "llama.attention.layer_norm_rms_epsilon"},
        {"llama", {MAKE_TENSOR, "rope_freqs.weight", 9, NULL}, "rope_freqs.weight"},
        {"llama", {MAKE_TENSOR, "rope_factors_long.weight", 8, NULL}, "rope_factors_short.weight"},
        {"llama", {MAKE_STRING, "rope.scaling.type", 0, "longrope"}, "rope_factors_short.weight"},
        {"qwen2", {MAKE_NO_TENSOR, "blk.1.attn_k.bias", 0, NULL}, "blk.1.attn_k.bias"},
        {"qwen3", {MAKE_NO_TENSOR, "blk.1.attn_q_norm.weight", 0, NULL}, "blk.1.attn_q_norm.weight"},
        {"phi3", {MAKE_NO_TENSOR, "rope_factors_long.weight", 0, NULL}, "rope_factors_long.weight"},
        {"phi3", {MAKE_TENSOR, "rope_factors_long.weight", 16, NULL}, "rope_factors_long.weight"},
        {"nemotron", {MAKE_NO_KEY, "attention.layer_norm_epsilon", 0, NULL}, "nemotron.attention.layer_norm_epsilon"},
        {"nemotron", {MAKE_TENSOR, "blk.0.attn_norm.bias", 32, NULL}, "blk.0.attn_norm.bias"},
        {"llama", {MAKE_TENSOR, "blk.0.attn_norm.bias", 64, NULL}, "blk.0.attn_norm.bias"},
        {"gemma3", {MAKE_NO_KEY, "attention.sliding_window", 0, NULL}, "gemma3.attention.sliding_window"},
        {"gemma3", {MAKE_U32, "attention.sliding_window_pattern", 0, NULL}, "gemma3.attention.sliding_window_pattern"},
        {"gemma2", {MAKE_NO_TENSOR, "blk.2.post_ffw_norm.weight", 0, NULL}, "blk.2.post_ffw_norm.weight"},
        {"granite", {MAKE_NO_KEY, "logit_scale", 0, NULL}, "granite.logit_scale"},
        {"granite", {MAKE_F32, "logit_scale", 0, NULL}, "granite.logit_scale"},
        {"granite", {MAKE_F32, "residual_scale", -1, NULL}, "granite.residual_scale"},
        {"granite", {MAKE_U32, "rope.scaling.finetuned", 0, NULL}, "granite.rope.scaling.finetuned"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const make_change changes[] = {cases[i].change, END};
        engine *e = NULL;
        muga_error err = {0};
        muga_status st = open_arch(cases[i].arch, changes, (engine_options){.isa = -1}, &e, &err);
        if (st != MUGA_E_INPUT || !strstr(err.message, cases[i].named))
            fail_msg("%s with %s: status %d: %s", cases[i].arch, cases[i].change.name, st, err.message);
    }
}

static void a_damaged_factor_is_refused(void **state) {
    (void)state;
    str bytes = STR_INIT;
    muga_error err = {0};
    gguf_file *f;
    assert_true(make_arch("phi3", NULL, &bytes));
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &f, &err), &err);
    const float zero = 0;
    memcpy(bytes.data + ((const char *)gguf_tensor_find(f, "rope_factors_long.weight")->data - bytes.data), &zero,
           sizeof zero);
    gguf_close(f);
    const char *path = scratch_path("damaged.gguf");
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    engine *e = NULL;
    engine_options o = {.isa = -1, .ids_only = true};
    assert_status(engine_open(path, &o, &e, &err), MUGA_E_INPUT, &err, "rope_factors_long.weight");
    str_release(&bytes);
}

static int write_digests(const char *path) {
    muga_error err = {0};
    str lines = STR_INIT;
    (void)make_ids(NULL);
    digest_lines(&lines);
    muga_status st = os_write_file_atomic(&os_system()->files, path, lines.data, lines.len, &err);
    if (st)
        (void)fprintf(stderr, "%s\n", err.message);
    str_release(&lines);
    return st;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        return write_digests(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_do_not_depend_on_chunks_threads_or_instruction_set),
        cmocka_unit_test(the_numbers_of_every_architecture_are_unchanged),
        cmocka_unit_test(variants_differ_from_one_another),
        cmocka_unit_test(a_window_ends_where_it_says),
        cmocka_unit_test(long_factors_belong_to_the_context_limit),
        cmocka_unit_test(scalings_mean_what_they_say),
        cmocka_unit_test(granite_without_rope_has_no_positions),
        cmocka_unit_test(files_that_would_be_computed_wrongly_are_refused_by_name),
        cmocka_unit_test(a_damaged_factor_is_refused),
    };
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
