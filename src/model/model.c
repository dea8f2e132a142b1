/* Loading a model: which architecture, its hyperparameters, its shared tensors; and what it weighs.
 *
 * Hyperparameters are checked first (params.c), then the shape of each tensor against them (weights.c). The context
 * length is only remembered; nothing is allocated by it. */
#include "model/arch.h"

#include <stdio.h>

static const model_arch *const archs[] = {
    &model_arch_bert,     &model_arch_gemma2, &model_arch_gemma3, &model_arch_granite, &model_arch_llama,
    &model_arch_nemotron, &model_arch_phi3,   &model_arch_qwen2,  &model_arch_qwen3,   &model_arch_smollm3};

static muga_status find_arch(const gguf_file *f, const model_arch **out, muga_error *err) {
    span name, type;
    muga_error ignored;
    if (!gguf_get_string(f, "general.type", &type, &ignored) && span_equal_string(type, "adapter"))
        return error_set(err, MUGA_E_INPUT,
                         "this file is an adapter, not a model; give it to the model it was made for (--adapter)");
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

/* The vocabulary's arrays have one entry for each row of the embedding; what they mean is the tokenizer's business. */
static void check_vocabulary(model_loader *l, uint32_t n_vocab) {
    static const struct {
        const char *key;
        gguf_type type;
        bool required;
    } arrays[] = {
        {"tokenizer.ggml.tokens", GGUF_STRING, true},
        {"tokenizer.ggml.token_type", GGUF_I32, false},
        {"tokenizer.ggml.scores", GGUF_F32, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(arrays) && !l->st; i++) {
        gguf_array a;
        muga_status st = gguf_get_array(l->file, arrays[i].key, arrays[i].type, &a, l->err);
        if (st == MUGA_E_NOT_FOUND && arrays[i].required)
            loader_fail(l, "key \"%s\" is missing; the file is incomplete", arrays[i].key);
        else if (st && st != MUGA_E_NOT_FOUND)
            l->st = st;
        else if (!st && a.n != n_vocab)
            loader_fail(l, "\"%s\" has %llu entries, but the embedding has %u rows", arrays[i].key,
                        (unsigned long long)a.n, n_vocab);
    }
    uint32_t stated;
    key_u32(l, "vocab_size", n_vocab, n_vocab, n_vocab, &stated);
}

static void check_embedding(model_loader *l) {
    model *m = l->m;
    m->embd = gguf_tensor_find(l->file, "token_embd.weight");
    if (!m->embd) {
        loader_fail(l, "tensor \"token_embd.weight\" is missing; the file is incomplete");
        return;
    }
    if (m->embd->dims[1] > (1u << 20))
        loader_fail(l, "tensor \"token_embd.weight\" has %llu rows; at most %u are supported",
                    (unsigned long long)m->embd->dims[1], 1u << 20);
    if (m->embd->dims[0] != m->p.n_embd || m->embd->dims[2] != 1 || m->embd->dims[3] != 1)
        loader_fail(l, "tensor \"token_embd.weight\" has rows of %llu, but %s.embedding_length is %u",
                    (unsigned long long)m->embd->dims[0], m->arch->name, m->p.n_embd);
    m->p.n_vocab = (uint32_t)m->embd->dims[1];
    check_vocabulary(l, m->p.n_vocab);
}

static void load_tensors(model_loader *l) {
    model *m = l->m;
    model_params *p = &m->p;
    m->tied = !m->arch->encoder && !weights_present(l, "output.weight");
    if (!m->tied)
        weights_rows(l, "token_embd.weight", p->n_vocab, p->n_embd, &m->embd);
    if (!m->arch->encoder) {
        weights_matrix(l, m->tied ? "token_embd" : "output", p->n_vocab, p->n_embd, &m->output);
        weights_norm(l, "output_norm", p->n_embd, &m->output_norm);
    }
    if (m->arch->shared)
        m->arch->shared(l, m);
    for (l->i_layer = 0; l->i_layer < p->n_layer && !l->st; l->i_layer++) {
        model_layer *y = &m->layers[l->i_layer];
        y->window = p->window_period > 0 && l->i_layer % p->window_period == p->window_period - 1 ? 0 : p->window;
        m->arch->load(l, y);
        model_linear *linears[MODEL_LINEARS] = {&y->qkv, &y->o, &y->gate_up, &y->down};
        for (uint32_t i = 0; i < MODEL_LINEARS; i++)
            linears[i]->i_linear = MODEL_LINEARS * l->i_layer + i;
    }
    weights_check_all_used(l);
}

/* Each layer's place in the pages. */
static void choose_kinds(model *m) {
    uint32_t n_windowed = 0;
    for (uint32_t i = 0; i < m->p.n_layer; i++)
        n_windowed += m->layers[i].window > 0 && !m->p.encoder;
    bool mixed = n_windowed > 0 && n_windowed < m->p.n_layer;
    m->n_kinds = mixed ? 2 : 1;
    for (uint32_t i = 0; i < m->p.n_layer; i++) {
        model_layer *y = &m->layers[i];
        y->kind = mixed && y->window > 0;
        y->i_kind = m->kind_layers[y->kind]++;
        if (n_windowed > 0)
            m->kind_window[y->kind] = MAX(m->kind_window[y->kind], y->window);
    }
}

static void load(model_loader *l) {
    model *m = l->m;
    l->st = find_arch(l->file, &m->arch, l->err);
    if (!l->st)
        params_read(l);
    if (!l->st)
        check_embedding(l);
    if (!l->st && !m->arch->encoder)
        positions_read(l);
    if (!l->st && m->arch->params)
        m->arch->params(l, m);
    if (l->st || loader_failed_nomem(l, m->layers = mem_alloc_array(m->p.n_layer, sizeof *m->layers), "the layers"))
        return;
    load_tensors(l);
    choose_kinds(m);
}

muga_status model_load(const gguf_file *file, const model_load_options *o, model **out, muga_error *err) {
    model_loader l = {.file = file, .o = o, .i_layer = MODEL_NO_LAYER, .err = err};
    l.m = mem_alloc_array(1, sizeof *l.m);
    l.used = mem_alloc_array(gguf_tensor_count(file), sizeof *l.used);
    if (l.m && l.used) {
        l.m->file = file;
        load(&l);
    } else {
        l.st = error_nomem(err, "the model");
    }
    free(l.used);
    if (l.st) {
        model_free(l.m);
        return l.st;
    }
    if (o->on_progress)
        o->on_progress(o->on_progress_ctx, 1.0);
    *out = l.m;
    return MUGA_OK;
}

void model_free(model *m) {
    if (!m)
        return;
    for (uint32_t i = 0; m->layers && i < m->p.n_layer; i++) {
        model_layer *y = &m->layers[i];
        model_linear *linears[] = {&y->qkv, &y->o, &y->gate_up, &y->down};
        model_norm *norms[] = {&y->attn_norm,     &y->attn_post_norm, &y->ffn_norm,
                               &y->ffn_post_norm, &y->q_norm,         &y->k_norm};
        for (size_t j = 0; j < ARRAY_LEN(linears); j++)
            weights_linear_release(linears[j]);
        for (size_t j = 0; j < ARRAY_LEN(norms); j++)
            weights_norm_release(norms[j]);
    }
    for (uint32_t i = 0; i < m->n_ropes; i++) {
        free(m->ropes[i].freq);
        free(m->ropes[i].freq_long);
    }
    kernel_weights_release(&m->output);
    weights_norm_release(&m->output_norm);
    weights_norm_release(&m->embd_norm);
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

bool model_context_is_long(const model *m, uint32_t n_ctx) {
    for (uint32_t i = 0; i < m->n_ropes; i++)
        if (m->ropes[i].freq_long && n_ctx > m->ropes[i].n_ctx_short)
            return true;
    return false;
}

uint32_t model_kinds(const model *m) {
    return m->n_kinds;
}

uint32_t model_window(const model *m, uint32_t kind) {
    return m->kind_window[kind];
}

size_t model_page_bytes(const model *m, kernel_kv_type kv, uint32_t kind) {
    return m->kind_layers[kind] * kernel_kv_page_bytes(kv, m->p.n_head_kv, m->p.head_dim);
}

void model_page_clear(const model *m, kernel_kv_type kv, uint32_t kind, void *page, uint32_t from, uint32_t to) {
    const model_params *p = &m->p;
    size_t layer = kernel_kv_page_bytes(kv, p->n_head_kv, p->head_dim);
    for (uint32_t i = 0; i < m->kind_layers[kind]; i++)
        kernel_kv_clear(kv, p->n_head_kv, p->head_dim, (uint8_t *)page + i * layer, from, to);
}
