/* Loading a model: which architecture, its hyperparameters, its shared tensors.
 *
 * Everything that a later line multiplies, divides or allocates by is checked here first: type and range of each key,
 * then the shape of each tensor against the keys. The context length is only remembered; nothing is allocated by it. */
#include "model/arch.h"

#include <math.h>
#include <stdio.h>

static const model_arch *const archs[] = {&model_arch_llama};

static muga_status find_arch(const gguf_file *f, const model_arch **out, muga_error *err) {
    span name;
    muga_status st = gguf_get_string(f, "general.architecture", &name, err);
    if (st == MUGA_E_NOT_FOUND)
        return error_set(err, MUGA_E_INPUT, "key \"general.architecture\" is missing; this is not a language model");
    if (st)
        return st;
    str known = STR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(archs); i++) {
        if (span_equal_string(name, archs[i]->name)) {
            *out = archs[i];
            str_release(&known);
            return MUGA_OK;
        }
        str_printf(&known, "%s%s", i ? ", " : "", archs[i]->name);
    }
    st = error_set(err, MUGA_E_INPUT, "architecture \"%.*s\" is not supported; this version knows: %s",
                   (int)MIN(name.n, (size_t)40), name.p, str_get(&known));
    str_release(&known);
    return st;
}

static muga_status check_rope_scaling(const model_loader *l, const char *arch, model_params *p, muga_error *err) {
    char key[128];
    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    span type;
    muga_status st = gguf_get_string(l->file, key, &type, err);
    if (st && st != MUGA_E_NOT_FOUND)
        return st;
    p->rope_freq_scale = 1.0f;
    if (!st && span_equal_string(type, "none"))
        return MUGA_OK;
    if (!st && !span_equal_string(type, "linear"))
        return error_set(err, MUGA_E_INPUT, "key \"%s\" is \"%.*s\"; this version knows none and linear", key,
                         (int)MIN(type.n, (size_t)40), type.p);
    float factor = 1.0f;
    if ((st = model_key_f32(l, arch, "rope.scale_linear", false, 0.0f, 1e6f, &factor, err)) ||
        (st = model_key_f32(l, arch, "rope.scaling.factor", false, 0.0f, 1e6f, &factor, err)))
        return st;
    p->rope_freq_scale = 1.0f / factor;
    return MUGA_OK;
}

static muga_status check_heads(const model_loader *l, const char *arch, model_params *p, muga_error *err) {
    muga_status st;
    uint32_t value_length;
    if ((st = model_key_u32(l, arch, "attention.head_count", -1, 1, 4096, &p->n_head, err)) ||
        (st = model_key_u32(l, arch, "attention.head_count_kv", p->n_head, 1, p->n_head, &p->n_head_kv, err)))
        return st;
    if (p->n_head % p->n_head_kv != 0)
        return error_set(err, MUGA_E_INPUT, "%s: %u attention heads can't share %u key heads evenly", arch, p->n_head,
                         p->n_head_kv);
    uint32_t even_split = p->n_embd % p->n_head == 0 ? p->n_embd / p->n_head : 0;
    if ((st = model_key_u32(l, arch, "attention.key_length", even_split, 1, 1024, &p->head_dim, err)) ||
        (st = model_key_u32(l, arch, "attention.value_length", p->head_dim, 1, 1024, &value_length, err)))
        return st;
    if (value_length != p->head_dim)
        return error_set(err, MUGA_E_INPUT, "%s: keys of %u and values of %u elements; this version needs them equal",
                         arch, p->head_dim, value_length);
    if ((st = model_key_u32(l, arch, "rope.dimension_count", p->head_dim, 2, p->head_dim, &p->n_rot, err)))
        return st;
    if (p->n_rot % 2 != 0)
        return error_set(err, MUGA_E_INPUT, "%s.rope.dimension_count is %u; it must be even", arch, p->n_rot);
    return MUGA_OK;
}

static muga_status check_params(const model_loader *l, const char *arch, model_params *p, muga_error *err) {
    muga_status st;
    uint32_t experts;
    p->rope_base = 10000.0f;
    if ((st = model_key_u32(l, arch, "block_count", -1, 1, 1024, &p->n_layer, err)) ||
        (st = model_key_u32(l, arch, "embedding_length", -1, 1, 1u << 20, &p->n_embd, err)) ||
        (st = model_key_u32(l, arch, "feed_forward_length", -1, 1, 1u << 22, &p->n_ff, err)) ||
        (st = model_key_u32(l, arch, "context_length", -1, 1, UINT32_MAX, &p->n_ctx_train, err)) ||
        (st = model_key_u32(l, arch, "expert_count", 0, 0, UINT32_MAX, &experts, err)) ||
        (st = model_key_f32(l, arch, "attention.layer_norm_rms_epsilon", true, 0.0f, 1.0f, &p->norm_eps, err)) ||
        (st = model_key_f32(l, arch, "rope.freq_base", false, 0.0f, 1e12f, &p->rope_base, err)))
        return st;
    if (experts > 0)
        return error_set(err, MUGA_E_INPUT, "%s.expert_count is %u; mixtures of experts are not supported", arch,
                         experts);
    st = check_heads(l, arch, p, err);
    return st ? st : check_rope_scaling(l, arch, p, err);
}

/* The vocabulary's arrays have one entry for each row of the embedding; what they mean is the tokenizer's business. */
static muga_status check_vocabulary(const model_loader *l, const char *arch, uint32_t n_vocab, muga_error *err) {
    static const struct {
        const char *key;
        gguf_type type;
        bool required;
    } arrays[] = {
        {"tokenizer.ggml.tokens", GGUF_STRING, true},
        {"tokenizer.ggml.token_type", GGUF_I32, false},
        {"tokenizer.ggml.scores", GGUF_F32, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++) {
        gguf_array a;
        muga_status st = gguf_get_array(l->file, arrays[i].key, arrays[i].type, &a, err);
        if (st == MUGA_E_NOT_FOUND && !arrays[i].required)
            continue;
        if (st == MUGA_E_NOT_FOUND)
            return error_set(err, MUGA_E_INPUT, "key \"%s\" is missing; the file is incomplete", arrays[i].key);
        if (st)
            return st;
        if (a.n != n_vocab)
            return error_set(err, MUGA_E_INPUT, "\"%s\" has %llu entries, but the embedding has %u rows", arrays[i].key,
                             (unsigned long long)a.n, n_vocab);
    }
    uint32_t stated;
    return model_key_u32(l, arch, "vocab_size", n_vocab, n_vocab, n_vocab, &stated, err);
}

static muga_status load_shared(model_loader *l, model *m, muga_error *err) {
    model_params *p = &m->p;
    m->embd = gguf_tensor_find(l->file, "token_embd.weight");
    if (!m->embd)
        return error_set(err, MUGA_E_INPUT, "tensor \"token_embd.weight\" is missing; the file is incomplete");
    if (m->embd->dims[1] > (1u << 20))
        return error_set(err, MUGA_E_INPUT, "tensor \"token_embd.weight\" has %llu rows; at most %u are supported",
                         (unsigned long long)m->embd->dims[1], 1u << 20);
    p->n_vocab = (uint32_t)m->embd->dims[1];
    muga_status st = check_vocabulary(l, m->arch->name, p->n_vocab, err);
    if (st)
        return st;
    m->tied = !weights_present(l, "output.weight");
    if (!m->tied) {
        const tensor_traits *t = tensor_type_traits(m->embd->type);
        if (m->embd->dims[0] != p->n_embd || m->embd->dims[2] != 1 || m->embd->dims[3] != 1)
            return error_set(err, MUGA_E_INPUT,
                             "tensor \"token_embd.weight\" has rows of %llu, but embedding_length is %u",
                             (unsigned long long)m->embd->dims[0], p->n_embd);
        if (!t || !t->dequantise)
            return error_set(err, MUGA_E_INPUT,
                             "tensor \"token_embd.weight\" has type %s, which this version can't read",
                             t ? t->name : "unknown");
        weights_ignore(l, "token_embd.weight");
    }
    st = weights_matrix(l, m->tied ? "token_embd.weight" : "output.weight", p->n_vocab, p->n_embd, &m->output, err);
    return st ? st : weights_vector(l, "output_norm.weight", p->n_embd, &m->output_norm, err);
}

muga_status model_load(const gguf_file *file, const model_load_options *o, model **out, muga_error *err) {
    model_loader l = {.file = file, .o = o};
    model *m = mem_alloc_array(1, sizeof *m);
    l.used = mem_alloc_array(gguf_tensor_count(file), sizeof *l.used);
    muga_status st = m && l.used ? MUGA_OK : error_nomem(err, "the model");
    if (st)
        goto out;
    m->file = file;
    if ((st = find_arch(file, &m->arch, err)) || (st = check_params(&l, m->arch->name, &m->p, err)))
        goto out;
    m->attn_scale = 1.0f / sqrtf((float)m->p.head_dim);
    m->layers = mem_alloc_array(m->p.n_layer, sizeof *m->layers);
    if (!m->layers) {
        st = error_nomem(err, "the model's layers");
        goto out;
    }
    if ((st = load_shared(&l, m, err)) || (st = m->arch->load(&l, m, err)))
        goto out;
    if ((st = weights_check_all_used(&l, m->arch->name, err)))
        goto out;
    m->rope_freq = mem_alloc_array(m->p.n_rot / 2, sizeof *m->rope_freq);
    if (!m->rope_freq) {
        st = error_nomem(err, "the model's positions");
        goto out;
    }
    kernel_rope rope = {m->p.rope_base, m->p.n_rot, m->p.rope_freq_scale, m->rope_factors, 0, 0, 0, 0};
    kernel_rope_frequencies(&rope, m->rope_freq);
out:
    free(l.used);
    if (st) {
        model_free(m);
        return st;
    }
    if (o->on_progress)
        o->on_progress(o->on_progress_ctx, 1.0);
    *out = m;
    return MUGA_OK;
}

void model_free(model *m) {
    if (!m)
        return;
    for (uint32_t i = 0; m->layers && i < m->p.n_layer; i++) {
        model_layer *y = &m->layers[i];
        model_linear *linears[] = {&y->qkv, &y->o, &y->gate_up, &y->down};
        for (size_t j = 0; j < ARRAY_LEN(linears); j++)
            weights_linear_release(linears[j]);
        free(y->attn_norm);
        free(y->ffn_norm);
    }
    kernel_weights_release(&m->output);
    free(m->output_norm);
    free(m->rope_factors);
    free(m->rope_freq);
    free(m->layers);
    free(m);
}

const model_params *model_get_params(const model *m) {
    return &m->p;
}
const char *model_arch_name(const model *m) {
    return m->arch->name;
}

/* Sums over the matrices of one decode step. */
static void sum_matrices(const model *m, uint64_t *bytes, uint64_t *macs) {
    *bytes = m->output.bytes;
    *macs = m->output.rows * m->output.cols;
    for (uint32_t i = 0; i < m->p.n_layer; i++) {
        const model_layer *y = &m->layers[i];
        const model_linear *linears[] = {&y->qkv, &y->o, &y->gate_up, &y->down};
        for (size_t j = 0; j < ARRAY_LEN(linears); j++)
            for (uint32_t part = 0; part < linears[j]->n_w; part++) {
                *bytes += linears[j]->w[part].bytes;
                *macs += linears[j]->w[part].rows * linears[j]->w[part].cols;
            }
    }
}

size_t model_weight_bytes(const model *m) {
    uint64_t bytes, macs;
    sum_matrices(m, &bytes, &macs);
    return (size_t)bytes;
}

uint64_t model_step_macs(const model *m) {
    uint64_t bytes, macs;
    sum_matrices(m, &bytes, &macs);
    return macs;
}

size_t model_page_bytes(const model *m, kernel_kv_type kv) {
    return m->p.n_layer * kernel_kv_page_bytes(kv, m->p.n_head_kv, m->p.head_dim);
}

void model_page_clear_from(const model *m, kernel_kv_type kv, void *page, uint32_t from) {
    const model_params *p = &m->p;
    size_t elem = kv == KERNEL_KV_F16 ? 2 : 4, layer = kernel_kv_page_bytes(kv, p->n_head_kv, p->head_dim);
    size_t n_lane = (size_t)p->n_head_kv * p->head_dim, tail = (KERNEL_KV_BLOCK - from) * elem;
    for (uint32_t i = 0; i < p->n_layer; i++) {
        uint8_t *k = (uint8_t *)page + i * layer, *v = k + n_lane * KERNEL_KV_BLOCK * elem;
        for (size_t j = 0; j < n_lane; j++) /* K: [head][d][64 positions] */
            memset(k + (j * KERNEL_KV_BLOCK + from) * elem, 0, tail);
        for (size_t h = 0; h < p->n_head_kv; h++) /* V: [head][64 positions][d] */
            memset(v + (h * KERNEL_KV_BLOCK + from) * p->head_dim * elem, 0, tail * p->head_dim);
    }
}
