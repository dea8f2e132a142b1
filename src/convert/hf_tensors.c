/* The list of tensors: each of the engine's names with the folder's name for it and its exact shape.
 *
 * What the folder has beside these is either known to be of no use (buffers that follow from the configuration, heads
 * for training, the part that sees pictures) or refused by name: left out, it would give wrong answers. */
#include "convert/hf_model.h"

#include "base/mem.h"

#include <stdio.h>

typedef enum { NONE, EMBD, Q, KV, QKV, FF, FF_TWICE, VOCAB, HEAD, CTX, TYPES } size;

enum {
    WEIGHT = 1,
    BIAS = 2,       /* must be there */
    MAYBE_BIAS = 4, /* is taken where it is there */
    NORM = 8,       /* a vector over the columns; 1 is added where the architecture's norms have it */
    PERMUTE_Q = 16,
    PERMUTE_K = 32,
    TABLE = 64, /* no matrix of a product: kept in F32 */
};

typedef struct row {
    unsigned archs;
    const char *from, *to;
    size rows, cols;
    unsigned what;
} row;

#define PLAIN (HF_DECODERS & ~HF_GEMMA)
#define SPLIT (HF_DECODERS & ~HF_PHI3)
#define GATED (SPLIT & ~HF_NEMOTRON)

static const row before[] = {
    {HF_DECODERS, "embed_tokens", "token_embd", VOCAB, EMBD, WEIGHT},
    {HF_BERT, "embeddings.word_embeddings", "token_embd", VOCAB, EMBD, WEIGHT},
    {HF_BERT, "embeddings.position_embeddings", "position_embd", CTX, EMBD, WEIGHT | TABLE},
    {HF_BERT, "embeddings.token_type_embeddings", "token_types", TYPES, EMBD, WEIGHT | TABLE},
    {HF_BERT, "embeddings.LayerNorm", "token_embd_norm", NONE, EMBD, WEIGHT | BIAS | NORM},
};

static const row layer[] = {
    {HF_DECODERS & ~HF_NEMOTRON, "input_layernorm", "attn_norm", NONE, EMBD, WEIGHT | NORM},
    {HF_NEMOTRON, "input_layernorm", "attn_norm", NONE, EMBD, WEIGHT | BIAS | NORM},
    {SPLIT, "self_attn.q_proj", "attn_q", Q, EMBD, WEIGHT | MAYBE_BIAS | PERMUTE_Q},
    {SPLIT, "self_attn.k_proj", "attn_k", KV, EMBD, WEIGHT | MAYBE_BIAS | PERMUTE_K},
    {SPLIT, "self_attn.v_proj", "attn_v", KV, EMBD, WEIGHT | MAYBE_BIAS},
    {HF_PHI3, "self_attn.qkv_proj", "attn_qkv", QKV, EMBD, WEIGHT | MAYBE_BIAS},
    {HF_QWEN3 | HF_GEMMA3, "self_attn.q_norm", "attn_q_norm", NONE, HEAD, WEIGHT | NORM},
    {HF_QWEN3 | HF_GEMMA3, "self_attn.k_norm", "attn_k_norm", NONE, HEAD, WEIGHT | NORM},
    {HF_DECODERS, "self_attn.o_proj", "attn_output", EMBD, Q, WEIGHT | MAYBE_BIAS},
    {HF_GEMMA, "post_attention_layernorm", "post_attention_norm", NONE, EMBD, WEIGHT | NORM},
    {PLAIN & ~HF_NEMOTRON, "post_attention_layernorm", "ffn_norm", NONE, EMBD, WEIGHT | NORM},
    {HF_NEMOTRON, "post_attention_layernorm", "ffn_norm", NONE, EMBD, WEIGHT | BIAS | NORM},
    {HF_GEMMA, "pre_feedforward_layernorm", "ffn_norm", NONE, EMBD, WEIGHT | NORM},
    {GATED, "mlp.gate_proj", "ffn_gate", FF, EMBD, WEIGHT | MAYBE_BIAS},
    {SPLIT, "mlp.up_proj", "ffn_up", FF, EMBD, WEIGHT | MAYBE_BIAS},
    {HF_PHI3, "mlp.gate_up_proj", "ffn_up", FF_TWICE, EMBD, WEIGHT | MAYBE_BIAS},
    {HF_DECODERS, "mlp.down_proj", "ffn_down", EMBD, FF, WEIGHT | MAYBE_BIAS},
    {HF_GEMMA, "post_feedforward_layernorm", "post_ffw_norm", NONE, EMBD, WEIGHT | NORM},
    {HF_BERT, "attention.self.query", "attn_q", Q, EMBD, WEIGHT | BIAS},
    {HF_BERT, "attention.self.key", "attn_k", KV, EMBD, WEIGHT | BIAS},
    {HF_BERT, "attention.self.value", "attn_v", KV, EMBD, WEIGHT | BIAS},
    {HF_BERT, "attention.output.dense", "attn_output", EMBD, Q, WEIGHT | BIAS},
    {HF_BERT, "attention.output.LayerNorm", "attn_output_norm", NONE, EMBD, WEIGHT | BIAS | NORM},
    {HF_BERT, "intermediate.dense", "ffn_up", FF, EMBD, WEIGHT | BIAS},
    {HF_BERT, "output.dense", "ffn_down", EMBD, FF, WEIGHT | BIAS},
    {HF_BERT, "output.LayerNorm", "layer_output_norm", NONE, EMBD, WEIGHT | BIAS | NORM},
};

static const row after[] = {
    {HF_DECODERS & ~HF_NEMOTRON, "norm", "output_norm", NONE, EMBD, WEIGHT | NORM},
    {HF_NEMOTRON, "norm", "output_norm", NONE, EMBD, WEIGHT | BIAS | NORM},
};
static const row head = {HF_DECODERS, "lm_head", "output", VOCAB, EMBD, WEIGHT};

/* What stands before the names of an architecture, the first of them under which the embedding is found. */
static const char *const decoder_prefixes[] = {"model.", "", "language_model.model.", "model.language_model."};
static const char *const bert_prefixes[] = {"", "bert."};
static const char *const head_prefixes[] = {"", "language_model."};

/* Beginnings and ends of names that are left out. */
static const char *const useless_ends[] = {".rotary_emb.inv_freq", "embeddings.position_ids"};
static const char *const useless_bert[] = {"pooler.", "bert.pooler.", "cls.", "classifier.", "dropout."};
static const char *const useless_gemma3[] = {"vision_tower.", "multi_modal_projector.", "model.vision_tower.",
                                             "model.multi_modal_projector."};

/* ---- one tensor ---- */

typedef struct hf_name {
    char text[256];
} hf_name;

/* A walk over the tables: what the folder's tensors were used for. */
typedef struct listing {
    hf_model *m;
    bool *used; /* [n_weights] */
    const char *prefix;
} listing;

static uint64_t extent(const hf_shape *p, size s) {
    uint64_t q = (uint64_t)p->n_head * p->head_dim, kv = (uint64_t)p->n_head_kv * p->head_dim;
    switch (s) {
    case EMBD: return p->n_embd;
    case Q: return q;
    case KV: return kv;
    case QKV: return q + 2 * kv;
    case FF: return p->n_ff;
    case FF_TWICE: return 2 * (uint64_t)p->n_ff;
    case VOCAB: return p->n_vocab;
    case HEAD: return p->head_dim;
    case CTX: return p->n_ctx;
    case TYPES: return p->n_types;
    case NONE: break;
    }
    return 0;
}

static hf_tensor *add_tensor(hf_model *m) {
    if (m->n_tensors == m->cap_tensors) {
        uint32_t cap = m->cap_tensors ? 2 * m->cap_tensors : 64;
        hf_tensor *more = mem_resize_array(m->tensors, cap, sizeof *more);
        if (!more) {
            m->st = error_nomem(m->err, "the list of tensors");
            return NULL;
        }
        m->tensors = more;
        m->cap_tensors = cap;
    }
    hf_tensor *t = &m->tensors[m->n_tensors++];
    *t = (hf_tensor){.dims = {1, 1, 1, 1}};
    return t;
}

void hf_put_vector(hf_model *m, const char *name, float *values, uint32_t n) {
    if (!m->st && !values)
        m->st = error_nomem(m->err, name);
    hf_tensor *t = m->st ? NULL : add_tensor(m);
    if (!t) {
        free(values);
        return;
    }
    snprintf(t->name, sizeof t->name, "%s", name);
    t->n_dims = 1;
    t->dims[0] = n;
    t->values = values;
    t->vector = true;
}

/* Shapes follow from the configuration alone, so that is named. */
static bool has_shape(hf_model *m, const safetensors_tensor *s, uint64_t rows, uint64_t cols) {
    char have[96] = "a single number";
    uint32_t n_dims = rows ? 2 : 1;
    if (s->n_dims == n_dims && s->shape[n_dims - 1] == cols && (!rows || s->shape[0] == rows))
        return true;
    for (uint32_t i = 0, n = 0; i < s->n_dims && n < sizeof have; i++)
        n += (uint32_t)snprintf(have + n, sizeof have - n, "%s%llu", i ? " x " : "", (unsigned long long)s->shape[i]);
    if (rows)
        hf_fail(m, "tensor \"%.90s\" is %s, not %llu x %llu as config.json has it", s->name, have,
                (unsigned long long)rows, (unsigned long long)cols);
    else
        hf_fail(m, "tensor \"%.90s\" is %s, not %llu as config.json has it", s->name, have, (unsigned long long)cols);
    return false;
}

static int64_t find_named(const listing *l, const char *prefix, const char *stem, const char *ending, hf_name *name) {
    snprintf(name->text, sizeof name->text, "%s%s.%s", prefix, stem, ending);
    return hf_dir_find(l->m->dir, name->text);
}

/* Older encoders call a norm's weight "gamma" and its bias "beta". */
static int64_t find_source(const listing *l, const char *prefix, const row *r, const char *ending, hf_name *name) {
    int64_t at = find_named(l, prefix, r->from, ending, name);
    if (at >= 0 || !(r->what & NORM))
        return at;
    hf_name old;
    return find_named(l, prefix, r->from, !strcmp(ending, "bias") ? "beta" : "gamma", &old);
}

static void take(listing *l, const char *prefix, const char *to_prefix, const row *r, bool bias, bool optional) {
    hf_model *m = l->m;
    hf_name name;
    const char *ending = bias ? "bias" : "weight";
    if (m->st)
        return;
    int64_t at = find_source(l, prefix, r, ending, &name);
    if (at < 0) {
        if (!optional)
            hf_fail(m, "tensor \"%.120s\" is missing; the folder is incomplete or config.json is another model's",
                    name.text);
        return;
    }
    const safetensors_tensor *s = m->dir->weights[at].t;
    bool vector = bias || r->rows == NONE;
    uint64_t rows = vector ? 0 : extent(&m->p, r->rows);
    uint64_t cols = extent(&m->p, bias && r->rows != NONE ? r->rows : r->cols);
    if (!has_shape(m, s, rows, cols))
        return;
    if (!s->readable) {
        hf_fail(m, "tensor \"%.90s\" has dtype %s; this version reads F32, F16 and BF16", s->name, s->dtype);
        return;
    }
    hf_tensor *t = add_tensor(m);
    if (!t)
        return;
    l->used[at] = true;
    snprintf(t->name, sizeof t->name, "%s%s.%s", to_prefix, r->to, ending);
    t->n_dims = vector ? 1 : 2;
    t->dims[0] = cols;
    t->dims[1] = vector ? 1 : rows;
    t->source = s;
    t->i_shard = m->dir->weights[at].i_shard;
    t->vector = vector || (r->what & TABLE);
    t->plus_1 = (r->what & NORM) && !bias && (m->arch->id & HF_NORM_PLUS_1);
    if (m->arch->id & HF_ROPE_PAIRS)
        t->permute_heads = r->what & PERMUTE_Q ? m->p.n_head : r->what & PERMUTE_K ? m->p.n_head_kv : 0;
}

static void take_row(listing *l, const char *prefix, const char *to_prefix, const row *r) {
    if (!(r->archs & l->m->arch->id) || (r->rows == TYPES && l->m->p.n_types == 0))
        return;
    take(l, prefix, to_prefix, r, false, false);
    if (r->what & (BIAS | MAYBE_BIAS))
        take(l, prefix, to_prefix, r, true, r->what & MAYBE_BIAS);
}

/* ---- all of them ---- */

static void find_prefix(listing *l) {
    bool bert = l->m->arch->id == HF_BERT;
    const char *const *list = bert ? bert_prefixes : decoder_prefixes;
    size_t n = bert ? ARRAY_LEN(bert_prefixes) : ARRAY_LEN(decoder_prefixes);
    const char *stem = bert ? "embeddings.word_embeddings" : "embed_tokens";
    hf_name name;
    l->prefix = list[0];
    for (size_t i = n; i-- > 0;)
        if (find_named(l, list[i], stem, "weight", &name) >= 0)
            l->prefix = list[i];
}

/* The output matrix, unless the embedding serves for both: then a copy of it may lie in the folder, and is passed
 * over as the model's own code does. */
static void take_head(listing *l) {
    hf_model *m = l->m;
    const json_t *tied = json_object_get(m->config, "tie_word_embeddings");
    tied = tied ? tied : json_object_get(m->dir->config, "tie_word_embeddings");
    const char *prefix = head_prefixes[0];
    int64_t at = -1;
    hf_name name;
    for (size_t i = 0; i < ARRAY_LEN(head_prefixes) && at < 0; i++) {
        prefix = head_prefixes[i];
        at = find_named(l, prefix, head.from, "weight", &name);
    }
    bool no_head = !strstr(m->arch->classes[0], "ForCausalLM"), untied = json_is_false(tied);
    const char *class_name = json_string_value(json_array_get(json_object_get(m->dir->config, "architectures"), 0));
    no_head = no_head || !strstr(class_name, "For"); /* "Qwen3Model" and the like end before the vocabulary */
    if (at >= 0 && json_is_true(tied))
        l->used[at] = true;
    else if (at >= 0 || (untied && !no_head))
        take(l, at >= 0 ? prefix : "", "", &head, false, false);
}

static bool begins_with(const char *s, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strncmp(s, list[i], strlen(list[i])))
            return true;
    return false;
}

static bool is_useless(const hf_model *m, const char *name) {
    size_t n = strlen(name);
    for (size_t i = 0; i < ARRAY_LEN(useless_ends); i++) {
        size_t n_end = strlen(useless_ends[i]);
        if (n >= n_end && !strcmp(name + n - n_end, useless_ends[i]))
            return true;
    }
    if (m->arch->id == HF_BERT)
        return begins_with(name, useless_bert, ARRAY_LEN(useless_bert));
    return m->arch->id == HF_GEMMA3 && begins_with(name, useless_gemma3, ARRAY_LEN(useless_gemma3));
}

static void check_rest(listing *l) {
    hf_model *m = l->m;
    for (uint32_t i = 0; i < m->dir->n_weights && !m->st; i++) {
        const char *name = m->dir->weights[i].t->name;
        if (l->used[i])
            continue;
        if (!is_useless(m, name))
            hf_fail(m,
                    "tensor \"%.110s\" is not part of a %s model as this version knows it; without it results would be "
                    "wrong",
                    name, m->arch->name);
        m->n_left_out++;
    }
}

void hf_list_tensors(hf_model *m) {
    listing l = {.m = m};
    hf_name from, to;
    if (m->st)
        return;
    l.used = mem_alloc_array(m->dir->n_weights, sizeof *l.used);
    if (!l.used) {
        m->st = error_nomem(m->err, "the list of tensors");
        return;
    }
    find_prefix(&l);
    for (size_t i = 0; i < ARRAY_LEN(before); i++)
        take_row(&l, l.prefix, "", &before[i]);
    for (uint32_t k = 0; k < m->p.n_layer && !m->st; k++) {
        bool bert = m->arch->id == HF_BERT;
        snprintf(from.text, sizeof from.text, "%s%s.%u.", l.prefix, bert ? "encoder.layer" : "layers", k);
        snprintf(to.text, sizeof to.text, "blk.%u.", k);
        for (size_t i = 0; i < ARRAY_LEN(layer); i++)
            take_row(&l, from.text, to.text, &layer[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(after); i++)
        take_row(&l, l.prefix, "", &after[i]);
    if (m->arch->id != HF_BERT && !m->st)
        take_head(&l);
    check_rest(&l);
    free(l.used);
}

void hf_model_release(hf_model *m) {
    for (uint32_t i = 0; i < m->n_tensors; i++)
        free(m->tensors[i].values);
    free(m->tensors);
    m->tensors = NULL;
    m->n_tensors = m->cap_tensors = 0;
}
