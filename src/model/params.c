/* Hyperparameters: reading a key with its type and range, and those that more than one architecture has.
 *
 * Everything that a later line multiplies, divides or allocates by is checked here first. An optional key that would
 * change the results is either followed by the architecture or refused by its name; nothing is passed over. */
#include "model/arch.h"

#include <math.h>
#include <stdio.h>

void loader_fail(model_loader *l, const char *fmt, ...) {
    if (l->st)
        return;
    char message[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    l->st = error_set(l->err, MUGA_E_INPUT, "%s", message);
}

bool loader_failed_nomem(model_loader *l, const void *p, const char *what) {
    if (!p && !l->st)
        l->st = error_nomem(l->err, what);
    return !p;
}

/* ---- one key ---- */
typedef struct key_name {
    char text[128];
} key_name;

static key_name name_of(const model_loader *l, const char *key) {
    key_name n;
    snprintf(n.text, sizeof n.text, "%s.%s", l->m->arch->name, key);
    return n;
}

void key_u32(model_loader *l, const char *key, int64_t otherwise, uint32_t min, uint32_t max, uint32_t *out) {
    if (l->st)
        return;
    key_name name = name_of(l, key);
    uint32_t v = (uint32_t)otherwise;
    muga_status st = gguf_get_u32(l->file, name.text, &v, l->err);
    if (st == MUGA_E_NOT_FOUND && otherwise == KEY_REQUIRED)
        loader_fail(l, "key \"%s\" is missing; the file is incomplete", name.text);
    else if (st && st != MUGA_E_NOT_FOUND)
        l->st = st;
    else if (v < min || v > max)
        loader_fail(l, "key \"%s\" is %u; it must be from %u to %u", name.text, v, min, max);
    else
        *out = v;
}

bool key_f32(model_loader *l, const char *key, key_range range, float max, float *out) {
    if (l->st)
        return false;
    key_name name = name_of(l, key);
    float v = 0;
    muga_status st = gguf_get_f32(l->file, name.text, &v, l->err);
    if (st == MUGA_E_NOT_FOUND) {
        if (range == KEY_REQUIRED_ABOVE_0)
            loader_fail(l, "key \"%s\" is missing; the file is incomplete", name.text);
        return false;
    }
    if (st)
        l->st = st;
    else if (!isfinite(v) || v < 0 || (v == 0 && range != KEY_FROM_0) || v > max)
        loader_fail(l, "key \"%s\" is %g; it must be %s 0 and at most %g", name.text, (double)v,
                    range == KEY_FROM_0 ? "at least" : "above", (double)max);
    else
        *out = v;
    return l->st == MUGA_OK;
}

void key_bool(model_loader *l, const char *key, bool *out) {
    key_name name = name_of(l, key);
    muga_status st = l->st ? MUGA_OK : gguf_get_bool(l->file, name.text, out, l->err);
    if (st && st != MUGA_E_NOT_FOUND)
        l->st = st;
}

/* ---- keys that change results ---- */

/* A number that an architecture follows or refuses; 0 means the same as absent. */
static void effect(model_loader *l, unsigned bit, const char *key, float *out) {
    float v = 0;
    if (!key_f32(l, key, KEY_FROM_0, 1e6f, &v) || v == 0)
        return;
    if (!(l->m->arch->keys & bit))
        loader_fail(l, "key \"%s.%s\" is %g, which this version's %s graph doesn't follow", l->m->arch->name, key,
                    (double)v, l->m->arch->name);
    *out = v;
}

static void refuse_flag(model_loader *l, const char *key, bool wanted) {
    bool v = wanted;
    key_bool(l, key, &v);
    if (v != wanted)
        loader_fail(l, "key \"%s.%s\" is %s, which this version doesn't support", l->m->arch->name, key,
                    v ? "true" : "false");
}

static void read_effects(model_loader *l) {
    model_params *p = &l->m->p;
    float none = 0;
    p->attn_scale = 1.0f / sqrtf((float)p->head_dim);
    p->embd_scale = p->residual_scale = p->logit_scale = 1.0f;
    effect(l, MODEL_KEY_ATTN_SCALE, "attention.scale", &p->attn_scale);
    effect(l, MODEL_KEY_ATTN_CAP, "attn_logit_softcapping", &p->attn_cap);
    effect(l, MODEL_KEY_LOGIT_CAP, "final_logit_softcapping", &p->logit_cap);
    effect(l, MODEL_KEY_LOGIT_SCALE, "logit_scale", &p->logit_scale);
    effect(l, MODEL_KEY_RESIDUAL_SCALE, "residual_scale", &p->residual_scale);
    effect(l, MODEL_KEY_EMBD_SCALE, "embedding_scale", &p->embd_scale);
    effect(l, 0, "attention.clamp_kqv", &none);
    effect(l, 0, "attention.max_alibi_bias", &none);
    effect(l, 0, "rope.scaling.yarn_log_multiplier", &none);
    refuse_flag(l, "use_parallel_residual", false);
    refuse_flag(l, "attention.causal", !l->m->arch->encoder);
    key_u32(l, "attention.sliding_window", 0, 0, UINT32_MAX, &p->window);
    bool narrow = p->window > 0 && p->window < p->n_ctx_train;
    if (narrow && !(l->m->arch->keys & MODEL_KEY_WINDOW))
        loader_fail(l, "key \"%s.attention.sliding_window\" is %u, which this version's %s graph doesn't follow",
                    l->m->arch->name, p->window, l->m->arch->name);
    uint32_t experts = 0;
    key_u32(l, "expert_count", 0, 0, UINT32_MAX, &experts);
    if (experts > 0)
        loader_fail(l, "key \"%s.expert_count\" is %u; mixtures of experts are not supported", l->m->arch->name,
                    experts);
}

/* ---- shapes ---- */

static void read_heads(model_loader *l) {
    model_params *p = &l->m->p;
    const char *arch = l->m->arch->name;
    uint32_t value_length = 0;
    key_u32(l, "attention.head_count", KEY_REQUIRED, 1, 4096, &p->n_head);
    key_u32(l, "attention.head_count_kv", p->n_head, 1, p->n_head, &p->n_head_kv);
    if (l->st)
        return;
    if (p->n_head % p->n_head_kv != 0)
        loader_fail(l, "%s.attention.head_count is %u, which %s.attention.head_count_kv %u doesn't divide", arch,
                    p->n_head, arch, p->n_head_kv);
    uint32_t even_split = p->n_embd % p->n_head == 0 ? p->n_embd / p->n_head : 0;
    key_u32(l, "attention.key_length", even_split, 1, 1024, &p->head_dim);
    key_u32(l, "attention.value_length", p->head_dim, 1, 1024, &value_length);
    if (value_length != p->head_dim)
        loader_fail(l, "%s.attention.value_length is %u and key_length %u; this version needs them equal", arch,
                    value_length, p->head_dim);
    key_u32(l, "rope.dimension_count", p->head_dim, 2, p->head_dim, &p->n_rot);
    if (p->n_rot % 2 != 0)
        loader_fail(l, "key \"%s.rope.dimension_count\" is %u; it must be even", arch, p->n_rot);
}

void params_read(model_loader *l) {
    model_params *p = &l->m->p;
    key_u32(l, "block_count", KEY_REQUIRED, 1, 1024, &p->n_layer);
    key_u32(l, "embedding_length", KEY_REQUIRED, 1, 1u << 20, &p->n_embd);
    key_u32(l, "feed_forward_length", KEY_REQUIRED, 1, 1u << 22, &p->n_ff);
    key_u32(l, "context_length", KEY_REQUIRED, 1, UINT32_MAX, &p->n_ctx_train);
    const char *eps = l->m->arch->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    key_f32(l, eps, KEY_REQUIRED_ABOVE_0, 1.0f, &p->norm_eps);
    uint32_t pooling = 0;
    p->encoder = l->m->arch->encoder;
    key_u32(l, "pooling_type", p->encoder ? MODEL_POOL_MEAN : MODEL_POOL_NONE, 0, MODEL_POOL_LAST, &pooling);
    p->pooling = (model_pooling)pooling;
    read_heads(l);
    if (!l->st)
        read_effects(l);
}
