/* Small models of every architecture. Values come from one seeded generator and operations that IEEE 754 rounds
 * exactly, so that their logits are the same on every machine and digests of them can be checked in. */
#include "support/make_arch.h"

#include "support/make_tiny.h"

#include "base/mem.h"
#include "base/rng.h"
#include "gguf/gguf.h"
#include "tensor/tensor.h"

enum {
    EMBD = MAKE_ARCH_EMBD,
    HEADS = 4,
    HEADS_KV = 2,
    /* what an architecture has */
    QKV_BIAS = 1,
    HEAD_NORM = 2,
    POST_NORM = 4,
    LAYER_NORM = 8,
    NO_GATE = 16,
    FUSED = 32,
    UNTIED = 64,
    ENCODER = 128 /* tables of positions and token types, norms after adding, biases everywhere, no output */
};

typedef struct arch_row {
    const char *name;
    uint32_t n_layer, head_dim, n_rot, n_ff;
    unsigned has;
    make_change keys[5];
} arch_row;

static const arch_row rows[] = {
    {"bert", 2, 16, 16, 96, ENCODER | LAYER_NORM | NO_GATE, {{MAKE_BOOL, "attention.causal", 0, NULL}}},
    {"llama", 2, 16, 16, 96, UNTIED, {{0}}},
    {"qwen2", 2, 16, 16, 96, QKV_BIAS, {{0}}},
    {"qwen3", 2, 32, 32, 96, HEAD_NORM, {{0}}},
    {"phi3",
     2,
     32,
     24,
     96,
     FUSED,
     {{MAKE_U32, "rope.scaling.original_context_length", 128, NULL},
      {MAKE_F32, "rope.scaling.attn_factor", 1.125, NULL},
      {MAKE_U32, "attention.sliding_window", 262144, NULL},
      {MAKE_TENSOR, "rope_factors_short.weight", 12, NULL},
      {MAKE_TENSOR, "rope_factors_long.weight", 12, NULL}}},
    {"nemotron", 2, 16, 8, 128, LAYER_NORM | NO_GATE | UNTIED, {{0}}},
    {"gemma2",
     3,
     32,
     32,
     96,
     POST_NORM,
     {{MAKE_U32, "attention.sliding_window", 20, NULL},
      {MAKE_F32, "attn_logit_softcapping", 5, NULL},
      {MAKE_F32, "final_logit_softcapping", 8, NULL}}},
    {"gemma3",
     7,
     32,
     32,
     64,
     POST_NORM | HEAD_NORM,
     {{MAKE_U32, "attention.sliding_window", 20, NULL},
      {MAKE_F32, "rope.freq_base", 1e6, NULL},
      {MAKE_STRING, "rope.scaling.type", 0, "linear"},
      {MAKE_F32, "rope.scaling.factor", 8, NULL}}},
    {"granite",
     2,
     16,
     16,
     96,
     UNTIED,
     {{MAKE_F32, "logit_scale", 4, NULL},
      {MAKE_F32, "residual_scale", 0.25, NULL},
      {MAKE_F32, "embedding_scale", 6, NULL},
      {MAKE_F32, "attention.scale", 0.1875, NULL}}},
    {"smollm3", 4, 16, 16, 96, 0, {{0}}},
};

typedef struct maker {
    gguf_writer *w;
    arena a;
    rng r;
    const arch_row *row;
    const make_change *changes;
    bool ok;
} maker;

static const make_change *change_of(const maker *m, const char *name) {
    for (const make_change *c = m->changes; c && c->what != MAKE_END; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

/* ---- keys ---- */

static void write_key(maker *m, const make_change *c) {
    bool whole = strncmp(c->name, "general.", 8) == 0 || strncmp(c->name, "tokenizer.", 10) == 0;
    const char *key = whole ? c->name : arena_printf(&m->a, "%s.%s", m->row->name, c->name);
    m->ok = m->ok && key;
    if (!key)
        return;
    switch (c->what) {
    case MAKE_U32: gguf_writer_add_u32(m->w, key, (uint32_t)c->number); break;
    case MAKE_F32: gguf_writer_add_f32(m->w, key, (float)c->number); break;
    case MAKE_STRING: gguf_writer_add_string(m->w, key, c->string); break;
    case MAKE_BOOL: gguf_writer_add_bool(m->w, key, c->number != 0); break;
    default: break;
    }
}

/* The model's own key, unless a change has one of that name. */
static void put(maker *m, make_change c) {
    if (!change_of(m, c.name))
        write_key(m, &c);
}

static void put_u32(maker *m, const char *key, uint32_t v) {
    put(m, (make_change){MAKE_U32, key, v, NULL});
}

static void put_vocabulary(maker *m) {
    span tokens[MAKE_ARCH_VOCAB];
    for (int i = 0; i < MAKE_ARCH_VOCAB; i++) {
        const char *text = arena_printf(&m->a, "t%d", i);
        m->ok = m->ok && text;
        tokens[i] = span_of_string(text ? text : "");
    }
    gguf_writer_add_string(m->w, "tokenizer.ggml.model", "none");
    gguf_writer_add_strings(m->w, "tokenizer.ggml.tokens", tokens, MAKE_ARCH_VOCAB);
}

static void put_keys(maker *m) {
    const arch_row *row = m->row;
    const char *eps = row->has & LAYER_NORM ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    put(m, (make_change){MAKE_STRING, "general.architecture", 0, row->name});
    put_u32(m, "block_count", row->n_layer);
    put_u32(m, "context_length", MAKE_ARCH_CTX);
    put_u32(m, "embedding_length", EMBD);
    put_u32(m, "feed_forward_length", row->n_ff);
    put_u32(m, "attention.head_count", HEADS);
    put_u32(m, "attention.head_count_kv", row->has & ENCODER ? HEADS : HEADS_KV);
    put_u32(m, "attention.key_length", row->head_dim);
    put_u32(m, "attention.value_length", row->head_dim);
    put_u32(m, "rope.dimension_count", row->n_rot);
    put(m, (make_change){MAKE_F32, eps, 0x1p-17, NULL});
    for (size_t i = 0; i < ARRAY_LEN(row->keys); i++)
        if (row->keys[i].what != MAKE_END && row->keys[i].what != MAKE_TENSOR)
            put(m, row->keys[i]);
    for (const make_change *c = m->changes; c && c->what != MAKE_END; c++)
        write_key(m, c);
    put_vocabulary(m);
}

/* ---- tensors ---- */

static void tensor(maker *m, const char *name, tensor_type type, uint64_t cols, uint64_t n_rows, float centre,
                   float scale) {
    const tensor_traits *traits = tensor_type_traits(type);
    size_t n = (size_t)(cols * n_rows);
    float *values = name ? arena_alloc(&m->a, n * sizeof *values) : NULL;
    void *blocks = arena_alloc(&m->a, n / traits->block_elems * traits->block_bytes);
    m->ok = m->ok && values && blocks;
    if (!m->ok)
        return;
    for (size_t i = 0; i < n; i++)
        values[i] = centre + scale * make_random(&m->r);
    const make_change *c = change_of(m, name);
    if (c && c->what == MAKE_NO_TENSOR)
        return;
    if (type == TENSOR_F32)
        memcpy(blocks, values, n * sizeof *values);
    else
        traits->quantise(values, blocks, n);
    gguf_writer_add_tensor(m->w, name, type, (uint64_t[]){cols, n_rows}, n_rows == 1 ? 1 : 2, blocks);
}

/* "<stem>.weight" or, in layer i, "blk.<i>.<stem>.weight", of a type that changes with the layer. */
static void matrix(maker *m, uint32_t i, const char *stem, uint64_t cols, uint64_t n_rows, float scale) {
    static const tensor_type types[] = {TENSOR_Q8_0, TENSOR_Q4_0, TENSOR_F16};
    tensor(m, arena_printf(&m->a, "blk.%u.%s.weight", i, stem), types[i % 3], cols, n_rows, 0, scale);
}

static void bias(maker *m, uint32_t i, const char *stem, uint64_t n) {
    tensor(m, arena_printf(&m->a, "blk.%u.%s.bias", i, stem), TENSOR_F32, n, 1, 0, 0.25f);
}

static void norm(maker *m, uint32_t i, const char *stem, uint64_t n) {
    tensor(m, arena_printf(&m->a, "blk.%u.%s.weight", i, stem), TENSOR_F32, n, 1, 1, 0.125f);
    if (m->row->has & LAYER_NORM)
        bias(m, i, stem, n);
}

static void attention(maker *m, uint32_t i) {
    const arch_row *row = m->row;
    uint64_t n_q = HEADS * row->head_dim, n_kv = (row->has & ENCODER ? HEADS : HEADS_KV) * row->head_dim;
    if (row->has & FUSED) {
        matrix(m, i, "attn_qkv", EMBD, n_q + 2 * n_kv, 0.25f);
    } else {
        matrix(m, i, "attn_q", EMBD, n_q, 0.25f);
        matrix(m, i, "attn_k", EMBD, n_kv, 0.25f);
        matrix(m, i, "attn_v", EMBD, n_kv, 0.125f);
    }
    if (row->has & (QKV_BIAS | ENCODER)) {
        bias(m, i, "attn_q", n_q);
        bias(m, i, "attn_k", n_kv);
        bias(m, i, "attn_v", n_kv);
    }
    if (row->has & HEAD_NORM) {
        norm(m, i, "attn_q_norm", row->head_dim);
        norm(m, i, "attn_k_norm", row->head_dim);
    }
    matrix(m, i, "attn_output", n_q, EMBD, 0.125f);
    if (row->has & ENCODER)
        bias(m, i, "attn_output", EMBD);
}

static void feed_forward(maker *m, uint32_t i) {
    unsigned has = m->row->has;
    uint64_t n_ff = m->row->n_ff;
    if (!(has & (FUSED | NO_GATE)))
        matrix(m, i, "ffn_gate", EMBD, n_ff, 0.125f);
    matrix(m, i, "ffn_up", EMBD, has & FUSED ? 2 * n_ff : n_ff, 0.125f);
    matrix(m, i, "ffn_down", n_ff, EMBD, 0.125f);
    if (has & ENCODER) {
        bias(m, i, "ffn_up", n_ff);
        bias(m, i, "ffn_down", EMBD);
    }
}

static void layer(maker *m, uint32_t i) {
    unsigned has = m->row->has;
    if (!(has & ENCODER))
        norm(m, i, "attn_norm", EMBD);
    attention(m, i);
    norm(m, i, has & ENCODER ? "attn_output_norm" : "ffn_norm", EMBD);
    feed_forward(m, i);
    if (has & ENCODER)
        norm(m, i, "layer_output_norm", EMBD);
    if (has & POST_NORM) {
        norm(m, i, "post_attention_norm", EMBD);
        norm(m, i, "post_ffw_norm", EMBD);
    }
}

static void factors(maker *m, const make_change *c) {
    size_t n = (size_t)c->number;
    float *v = arena_alloc(&m->a, n * sizeof *v);
    m->ok = m->ok && v;
    for (size_t i = 0; v && i < n; i++)
        v[i] = 1.0f + (float)rng_below(&m->r, 4096) * (3.0f / 4096.0f);
    if (v)
        gguf_writer_add_tensor(m->w, c->name, TENSOR_F32, (uint64_t[]){n}, 1, v);
}

static void put_tensors(maker *m) {
    const arch_row *row = m->row;
    tensor(m, "token_embd.weight", TENSOR_Q8_0, EMBD, MAKE_ARCH_VOCAB, 0, 0.5f);
    for (uint32_t i = 0; i < row->n_layer; i++)
        layer(m, i);
    if (row->has & ENCODER) {
        tensor(m, "position_embd.weight", TENSOR_F32, EMBD, MAKE_ARCH_CTX, 0, 0.25f);
        tensor(m, "token_types.weight", TENSOR_F32, EMBD, 2, 0, 0.25f);
    }
    const char *shared = row->has & ENCODER ? "token_embd_norm" : "output_norm";
    tensor(m, arena_printf(&m->a, "%s.weight", shared), TENSOR_F32, EMBD, 1, 1, 0.125f);
    if (row->has & LAYER_NORM)
        tensor(m, arena_printf(&m->a, "%s.bias", shared), TENSOR_F32, EMBD, 1, 0, 0.25f);
    if (row->has & UNTIED)
        tensor(m, "output.weight", TENSOR_Q8_0, EMBD, MAKE_ARCH_VOCAB, 0, 0.25f);
    for (size_t i = 0; i < ARRAY_LEN(row->keys); i++)
        if (row->keys[i].what == MAKE_TENSOR && !change_of(m, row->keys[i].name))
            factors(m, &row->keys[i]);
    for (const make_change *c = m->changes; c && c->what != MAKE_END; c++)
        if (c->what == MAKE_TENSOR)
            factors(m, c);
}

bool make_arch(const char *arch, const make_change *changes, str *out) {
    maker m = {.r = {20260915}, .changes = changes, .ok = true};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, arch) == 0)
            m.row = &rows[i];
    if (!m.row)
        return false;
    arena_init(&m.a, 0);
    m.w = gguf_writer_new();
    m.ok = m.w != NULL;
    if (m.ok) {
        put_keys(&m);
        put_tensors(&m);
    }
    muga_error err;
    m.ok = m.ok && gguf_writer_finish(m.w, out, &err) == MUGA_OK;
    gguf_writer_free(m.w);
    arena_release(&m.a);
    return m.ok;
}
