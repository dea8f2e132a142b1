/* Hyperparameters: config.json to keys, each with its range. What is absent has the default of the model's own code
 * where files really leave it out, and is an error elsewhere. */
#include "convert/hf_model.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>

void hf_fail(hf_model *m, const char *format, ...) {
    char message[256];
    va_list args;
    if (m->st)
        return;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    m->st = error_set(m->err, MUGA_E_INPUT, "%s", message);
}

static const json_t *value_of(const hf_model *m, const char *key) {
    const json_t *v = json_object_get(m->config, key);
    return json_is_null(v) ? NULL : v;
}

uint32_t hf_u32(hf_model *m, const char *key, int64_t otherwise, uint32_t min, uint32_t max) {
    const json_t *v = value_of(m, key);
    if (m->st)
        return min;
    if (!v && otherwise == HF_REQUIRED) {
        hf_fail(m, "config.json: \"%s\" is missing", key);
        return min;
    }
    if (!v)
        return (uint32_t)otherwise;
    json_int_t i = json_integer_value(v);
    if (!json_is_integer(v) || i < (json_int_t)min || i > (json_int_t)max) {
        hf_fail(m, "config.json: \"%s\" must be a whole number from %u to %u", key, min, max);
        return min;
    }
    return (uint32_t)i;
}

double hf_number(hf_model *m, const char *key, double otherwise) {
    const json_t *v = value_of(m, key);
    if (m->st || !v)
        return otherwise;
    double d = json_number_value(v);
    if (!json_is_number(v) || !isfinite(d) || fabs(d) > 1e12) {
        hf_fail(m, "config.json: \"%s\" must be a number of at most 1e12", key);
        return otherwise;
    }
    return d;
}

/* ---- writing ---- */

typedef struct key_name {
    char text[128];
} key_name;

static key_name name_of(const hf_model *m, const char *key) {
    key_name n;
    snprintf(n.text, sizeof n.text, "%s.%s", m->arch->name, key);
    return n;
}

void hf_put_u32(hf_model *m, const char *key, uint32_t v) {
    if (!m->st)
        gguf_writer_add_u32(m->w, name_of(m, key).text, v);
}

void hf_put_f32(hf_model *m, const char *key, double v) {
    if (!m->st)
        gguf_writer_add_f32(m->w, name_of(m, key).text, (float)v);
}

void hf_put_string(hf_model *m, const char *key, const char *v) {
    if (!m->st)
        gguf_writer_add_string(m->w, name_of(m, key).text, v);
}

/* ---- shape ---- */

/* Defaults of Gemma 3's text part, whose files say only what differs. */
enum { GEMMA3_HEADS = 8, GEMMA3_HEADS_KV = 4, GEMMA3_HEAD_DIM = 256, GEMMA3_CTX = 131072, GEMMA3_VOCAB = 262208 };

static double partial_rotary(hf_model *m) {
    const json_t *rope = value_of(m, "rope_parameters"), *v = json_object_get(rope, "partial_rotary_factor");
    double part = json_is_number(v) ? json_number_value(v) : hf_number(m, "partial_rotary_factor", 1);
    bool allowed = m->arch->id & (HF_PHI3 | HF_NEMOTRON);
    if (!(part > 0 && part <= 1))
        hf_fail(m, "config.json: \"partial_rotary_factor\" is %g; it must be above 0 and at most 1", part);
    else if (part != 1 && !allowed)
        hf_fail(m, "config.json: \"partial_rotary_factor\" is %g, which the %s graph doesn't follow", part,
                m->arch->name);
    return part;
}

void hf_read_shape(hf_model *m) {
    hf_shape *p = &m->p;
    if (m->st)
        return;
    bool gemma3 = m->arch->id == HF_GEMMA3;
    p->n_layer = hf_u32(m, "num_hidden_layers", HF_REQUIRED, 1, 1024);
    p->n_embd = hf_u32(m, "hidden_size", HF_REQUIRED, 1, 1u << 20);
    p->n_ff = hf_u32(m, "intermediate_size", HF_REQUIRED, 1, 1u << 22);
    p->n_vocab = hf_u32(m, "vocab_size", gemma3 ? GEMMA3_VOCAB : HF_REQUIRED, 1, 1u << 20);
    p->n_ctx = hf_u32(m, "max_position_embeddings", gemma3 ? GEMMA3_CTX : HF_REQUIRED, 1, UINT32_MAX);
    p->n_head = hf_u32(m, "num_attention_heads", gemma3 ? GEMMA3_HEADS : HF_REQUIRED, 1, 4096);
    p->n_head_kv = hf_u32(m, "num_key_value_heads", gemma3 ? GEMMA3_HEADS_KV : p->n_head, 1, 4096);
    if (m->st)
        return;
    if (p->n_head % p->n_head_kv != 0)
        hf_fail(m, "config.json: \"num_key_value_heads\" %u doesn't divide \"num_attention_heads\" %u", p->n_head_kv,
                p->n_head);
    uint32_t even_split = p->n_embd % p->n_head == 0 ? p->n_embd / p->n_head : 0;
    p->head_dim = hf_u32(m, "head_dim", gemma3 ? GEMMA3_HEAD_DIM : (int64_t)even_split, 1, 1024);
    if (p->head_dim == 0)
        hf_fail(m, "config.json: \"num_attention_heads\" %u doesn't divide \"hidden_size\" %u", p->n_head, p->n_embd);
    p->n_rot = (uint32_t)(p->head_dim * partial_rotary(m));
    if (p->n_rot % 2 != 0 || (p->n_rot == 0 && m->arch->id != HF_BERT))
        hf_fail(m, "config.json: %u of a head's %u elements would be rotated; it must be an even number", p->n_rot,
                p->head_dim);
    p->n_types = m->arch->id == HF_BERT ? hf_u32(m, "type_vocab_size", 2, 0, 1u << 16) : 0;
}

/* ---- keys ---- */

static void put_epsilon(hf_model *m) {
    static const char *const names[] = {"rms_norm_eps", "norm_eps", "layer_norm_eps"};
    unsigned id = m->arch->id;
    const char *name = names[id == HF_NEMOTRON ? 1 : id == HF_BERT ? 2 : 0];
    double eps = hf_number(m, name, id == HF_NEMOTRON ? 1e-5 : id == HF_BERT ? 1e-12 : 1e-6);
    if (!(eps > 0 && eps <= 1))
        hf_fail(m, "config.json: \"%s\" is %g; it must be above 0 and at most 1", name, eps);
    hf_put_f32(m, id & (HF_NEMOTRON | HF_BERT) ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
               eps);
}

/* 1 mean, 2 first row, 3 last row. */
static void put_pooling(hf_model *m) {
    static const char *const modes[] = {"mean_tokens", "cls_token", "lasttoken"};
    const char *key;
    json_t *value;
    uint32_t chosen = 0;
    if (!m->dir->pooling)
        return;
    json_object_foreach(m->dir->pooling, key, value) {
        if (strncmp(key, "pooling_mode_", 13) != 0 || !json_is_true(value))
            continue;
        uint32_t k = 0;
        while (k < ARRAY_LEN(modes) && strcmp(key + 13, modes[k]) != 0)
            k++;
        if (k == ARRAY_LEN(modes) || chosen)
            hf_fail(m,
                    "the pooling's config.json: \"%.60s\"%s; this version knows mean, cls and last token, one of "
                    "them",
                    key, chosen ? " beside another" : "");
        chosen = k + 1;
    }
    if (!chosen)
        hf_fail(m, "the pooling's config.json: no \"pooling_mode_...\" is true");
    hf_put_u32(m, "pooling_type", chosen);
}

void hf_write_keys(hf_model *m) {
    const hf_shape *p = &m->p;
    hf_put_u32(m, "vocab_size", p->n_vocab);
    hf_put_u32(m, "context_length", p->n_ctx);
    hf_put_u32(m, "embedding_length", p->n_embd);
    hf_put_u32(m, "block_count", p->n_layer);
    hf_put_u32(m, "feed_forward_length", p->n_ff);
    hf_put_u32(m, "attention.head_count", p->n_head);
    if (m->st)
        return;
    put_epsilon(m);
    put_pooling(m);
    if (m->arch->id == HF_BERT) {
        if (!m->st)
            gguf_writer_add_bool(m->w, "bert.attention.causal", false);
    } else {
        hf_put_u32(m, "attention.head_count_kv", p->n_head_kv);
        hf_put_u32(m, "attention.key_length", p->head_dim);
        hf_put_u32(m, "attention.value_length", p->head_dim);
        hf_write_rope(m);
    }
    if (!m->st && m->arch->keys)
        m->arch->keys(m);
}
