/* Adapters and merged models; values as those of make_arch.c. */
#include "support/make_adapter.h"

#include "support/make_tiny.h"

#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>

typedef struct maker {
    gguf_writer *w;
    arena a;
    rng r;
    const make_adapter_options *o;
    bool ok;
} maker;

static const make_change *change_of(const maker *m, const char *name) {
    for (const make_change *c = m->o->changes; c && c->what != MAKE_END; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

/* ---- an adapter ---- */

static void tensor(maker *m, const char *name, tensor_type type, uint64_t cols, uint64_t rows) {
    const tensor_traits *traits = tensor_type_traits(type);
    size_t n = (size_t)(cols * rows);
    float *values = name ? arena_alloc(&m->a, n * sizeof *values) : NULL;
    void *blocks = arena_alloc(&m->a, n / traits->block_elems * traits->block_bytes);
    m->ok = m->ok && values && blocks;
    if (!m->ok)
        return;
    for (size_t i = 0; i < n; i++)
        values[i] = 0.25f * make_random(&m->r);
    const make_change *c = change_of(m, name);
    if (c && c->what == MAKE_NO_TENSOR)
        return;
    if (type == TENSOR_F32)
        memcpy(blocks, values, n * sizeof *values);
    else
        traits->quantise(values, blocks, n);
    gguf_writer_add_tensor(m->w, name, type, (uint64_t[]){cols, rows}, 2, blocks);
}

static void pair(maker *m, const gguf_tensor *t, bool embedding) {
    uint32_t rank = m->o->rank;
    bool whole = rank % tensor_type_traits(m->o->type)->block_elems == 0;
    tensor_type of_rank = whole ? m->o->type : TENSOR_F32;
    const char *a = arena_printf(&m->a, "%s.lora_a", t->name), *b = arena_printf(&m->a, "%s.lora_b", t->name);
    if (embedding)
        tensor(m, a, of_rank, rank, t->dims[1]);
    else
        tensor(m, a, m->o->type, t->dims[0], rank);
    tensor(m, b, of_rank, rank, t->dims[embedding ? 0 : 1]);
}

static bool is_matrix(const gguf_tensor *t) {
    return t->n_dims == 2 &&
           (strstr(t->name, ".attn_") || strstr(t->name, ".ffn_") || !strcmp(t->name, "output.weight"));
}

static void put_keys(maker *m, const gguf_file *base) {
    span arch = {0};
    muga_error err;
    m->ok = m->ok && gguf_get_string(base, "general.architecture", &arch, &err) == MUGA_OK;
    const char *name = arena_printf(&m->a, "%.*s", (int)arch.n, arch.p);
    const make_change own[] = {{MAKE_STRING, "general.type", 0, "adapter"},
                               {MAKE_STRING, "general.architecture", 0, name},
                               {MAKE_STRING, "adapter.type", 0, "lora"},
                               {m->o->alpha < 0 ? MAKE_NO_KEY : MAKE_F32, "adapter.lora.alpha", m->o->alpha, NULL}};
    const make_change *lists[] = {own, m->o->changes};
    for (int i = 0; i < 2; i++)
        for (const make_change *c = lists[i]; c && c != own + ARRAY_LEN(own) && c->what != MAKE_END; c++) {
            if (i == 0 && change_of(m, c->name))
                continue;
            switch (c->what) {
            case MAKE_U32: gguf_writer_add_u32(m->w, c->name, (uint32_t)c->number); break;
            case MAKE_F32: gguf_writer_add_f32(m->w, c->name, (float)c->number); break;
            case MAKE_STRING: gguf_writer_add_string(m->w, c->name, c->string); break;
            case MAKE_BOOL: gguf_writer_add_bool(m->w, c->name, c->number != 0); break;
            default: break;
            }
        }
}

static void put_pairs(maker *m, const gguf_file *base) {
    for (uint64_t i = 0; i < gguf_tensor_count(base); i++) {
        const gguf_tensor *t = gguf_tensor_at(base, i);
        if (is_matrix(t) && (!m->o->only || strstr(t->name, m->o->only)))
            pair(m, t, false);
    }
    if (m->o->embedding)
        pair(m, gguf_tensor_find(base, "token_embd.weight"), true);
    for (const make_change *c = m->o->changes; c && c->what != MAKE_END; c++) {
        float *v = c->what == MAKE_TENSOR ? arena_alloc(&m->a, (size_t)c->number * sizeof *v) : NULL;
        if (v) {
            memset(v, 0, (size_t)c->number * sizeof *v);
            gguf_writer_add_tensor(m->w, c->name, TENSOR_F32, (uint64_t[]){(uint64_t)c->number}, 1, v);
        }
    }
}

static bool finish(maker *m, str *out) {
    muga_error err;
    bool ok = m->ok && gguf_writer_finish(m->w, out, &err) == MUGA_OK;
    gguf_writer_free(m->w);
    arena_release(&m->a);
    return ok;
}

bool make_adapter(const gguf_file *base, const make_adapter_options *o, str *out) {
    maker m = {.r = {o->seed}, .o = o, .ok = true};
    arena_init(&m.a, 0);
    m.w = gguf_writer_new();
    m.ok = m.w != NULL;
    if (m.ok) {
        put_keys(&m, base);
        put_pairs(&m, base);
    }
    return finish(&m, out);
}

/* ---- a merged model ---- */

static float *values_of(maker *m, const gguf_tensor *t) {
    size_t n = (size_t)(t->dims[0] * t->dims[1]);
    float *v = arena_alloc(&m->a, n * sizeof *v);
    m->ok = m->ok && v;
    if (v)
        tensor_type_traits(t->type)->dequantise(t->data, v, n);
    return v;
}

/* w [rows][cols] += scale B A */
static void add_pair(maker *m, const gguf_tensor *t, const gguf_file *adapter, double scale, float *w) {
    const gguf_tensor *a = gguf_tensor_find(adapter, arena_printf(&m->a, "%s.lora_a", t->name));
    const gguf_tensor *b = gguf_tensor_find(adapter, arena_printf(&m->a, "%s.lora_b", t->name));
    if (!a || !b || !w)
        return;
    bool embedding = strcmp(t->name, "token_embd.weight") == 0;
    uint64_t rank = b->dims[0], cols = t->dims[0];
    const float *va = values_of(m, a), *vb = values_of(m, b);
    for (uint64_t r = 0; m->ok && r < t->dims[1]; r++)
        for (uint64_t c = 0; c < cols; c++) {
            double sum = 0;
            for (uint64_t k = 0; k < rank; k++)
                sum += embedding ? (double)va[r * rank + k] * (double)vb[c * rank + k]
                                 : (double)vb[r * rank + k] * (double)va[k * cols + c];
            w[r * cols + c] = (float)((double)w[r * cols + c] + scale * sum);
        }
}

bool make_merged(const gguf_file *base, const gguf_file *adapter, double scale, str *out) {
    maker m = {.ok = true};
    arena_init(&m.a, 0);
    m.w = gguf_writer_new();
    m.ok = m.w != NULL;
    for (uint64_t i = 0; m.ok && i < gguf_key_count(base); i++)
        gguf_writer_copy_key(m.w, base, i);
    for (uint64_t i = 0; m.ok && i < gguf_tensor_count(base); i++) {
        const gguf_tensor *t = gguf_tensor_at(base, i);
        float *v = values_of(&m, t);
        if (strcmp(t->name, "token_embd.weight") == 0 && !gguf_tensor_find(base, "output.weight"))
            gguf_writer_add_tensor(m.w, "output.weight", TENSOR_F32, t->dims, t->n_dims, values_of(&m, t));
        add_pair(&m, t, adapter, scale, v);
        gguf_writer_add_tensor(m.w, t->name, TENSOR_F32, t->dims, t->n_dims, v);
    }
    return finish(&m, out);
}
