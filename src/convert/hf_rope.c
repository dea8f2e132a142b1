/* Rotary positions: "rope_theta" and "rope_scaling" (one object "rope_parameters" in newer folders) to rope.* keys and
 * the tensors of factors.
 *
 *   linear     rope.scaling.factor
 *   yarn       factor, original length, the two turns, and what cosines and sines are multiplied by
 *   llama3     rope_freqs.weight: long waves slower by the factor, short ones as they are, a slope between
 *   longrope   rope_factors_short.weight and _long.weight, rope.scaling.attn_factor
 *
 * Source: Peng et al. 2023 (YaRN), 3.4; Grattafiori et al. 2024 (Llama 3), 3.2; Ding et al. 2024 (LongRoPE). */
#include "convert/hf_model.h"

#include "base/mem.h"

#include <math.h>

#define PI 3.14159265358979323846

/* Of Gemma 3, which has a rope for layers with a window and one for the others. */
static const json_t *inner(const json_t *rope, const char *kind) {
    const json_t *v = json_object_get(rope, kind);
    return json_is_object(v) ? v : rope;
}

static double rope_number(hf_model *m, const json_t *rope, const char *key, double otherwise) {
    const json_t *v = json_object_get(rope, key);
    double d = json_number_value(v);
    if (!v || json_is_null(v))
        return otherwise;
    if (!json_is_number(v) || !isfinite(d) || !(d > 0 && d <= 1e12)) {
        hf_fail(m, "config.json: the rope's \"%s\" must be a number above 0 and at most 1e12", key);
        return otherwise;
    }
    return d;
}

static double need_rope_number(hf_model *m, const json_t *rope, const char *key) {
    double d = rope_number(m, rope, key, 0);
    if (d == 0)
        hf_fail(m, "config.json: the rope's \"%s\" is missing", key);
    return d;
}

/* The context the model was trained with before it was stretched. */
static double original_length(hf_model *m, const json_t *rope) {
    double n = hf_number(m, "original_max_position_embeddings", m->p.n_ctx);
    n = rope_number(m, rope, "original_max_position_embeddings", n);
    if (!(n >= 1 && n <= UINT32_MAX))
        hf_fail(m, "config.json: \"original_max_position_embeddings\" is %g", n);
    return n;
}

static void put_linear(hf_model *m, const json_t *rope) {
    hf_put_string(m, "rope.scaling.type", "linear");
    hf_put_f32(m, "rope.scaling.factor", need_rope_number(m, rope, "factor"));
}

static void put_yarn(hf_model *m, const json_t *rope) {
    double factor = need_rope_number(m, rope, "factor"), n = original_length(m, rope);
    double usual = factor > 1 ? 0.1 * log(factor) + 1 : 1;
    if (json_object_get(rope, "mscale") || json_object_get(rope, "mscale_all_dim"))
        hf_fail(m, "config.json: the rope's \"mscale\" is not followed by this version");
    hf_put_string(m, "rope.scaling.type", "yarn");
    hf_put_f32(m, "rope.scaling.factor", factor);
    if (!m->st)
        hf_put_u32(m, "rope.scaling.original_context_length", (uint32_t)n);
    hf_put_f32(m, "rope.scaling.yarn_beta_fast", rope_number(m, rope, "beta_fast", 32));
    hf_put_f32(m, "rope.scaling.yarn_beta_slow", rope_number(m, rope, "beta_slow", 1));
    double attn = rope_number(m, rope, "attention_factor", usual);
    if (attn != usual)
        hf_put_f32(m, "rope.scaling.yarn_attn_factor", attn / usual);
}

static void put_llama3(hf_model *m, const json_t *rope, double base) {
    double factor = need_rope_number(m, rope, "factor"), low = need_rope_number(m, rope, "low_freq_factor"),
           high = need_rope_number(m, rope, "high_freq_factor"), n = original_length(m, rope);
    uint32_t n_freq = m->p.n_rot / 2;
    if (!m->st && high <= low)
        hf_fail(m, "config.json: the rope's \"high_freq_factor\" must be above its \"low_freq_factor\"");
    float *v = m->st ? NULL : mem_alloc_array(n_freq, sizeof *v);
    for (uint32_t i = 0; v && i < n_freq; i++) {
        double wave = 2 * PI * pow(base, 2.0 * i / m->p.n_rot); /* positions a turn */
        double smooth = (n / wave - low) / (high - low);
        v[i] = (float)(wave < n / high ? 1 : wave > n / low ? factor : 1 / ((1 - smooth) / factor + smooth));
    }
    hf_put_vector(m, "rope_freqs.weight", v, n_freq);
}

static void put_factors(hf_model *m, const json_t *rope, const char *key, const char *tensor) {
    const json_t *list = json_object_get(rope, key);
    uint32_t n = m->p.n_rot / 2;
    if (json_array_size(list) != n) {
        hf_fail(m, "config.json: the rope's \"%s\" must have %u numbers and has %zu", key, n, json_array_size(list));
        return;
    }
    float *v = m->st ? NULL : mem_alloc_array(n, sizeof *v);
    for (uint32_t i = 0; v && i < n; i++) {
        const json_t *number = json_array_get(list, i);
        v[i] = (float)json_number_value(number);
        if (!(v[i] >= 1e-6f && v[i] <= 1e6f))
            hf_fail(m, "config.json: number %u of the rope's \"%s\" must be from 1e-6 to 1e6", i, key);
    }
    hf_put_vector(m, tensor, v, n);
}

static void put_longrope(hf_model *m, const json_t *rope) {
    double n = original_length(m, rope), factor = m->p.n_ctx / n;
    double attn = factor > 1 ? sqrt(1 + log(factor) / log(n)) : 1;
    attn = rope_number(m, rope, "attention_factor", attn);
    hf_put_string(m, "rope.scaling.type", "longrope");
    if (!m->st)
        hf_put_u32(m, "rope.scaling.original_context_length", (uint32_t)n);
    hf_put_f32(m, "rope.scaling.attn_factor", attn);
    put_factors(m, rope, "long_factor", "rope_factors_long.weight");
    put_factors(m, rope, "short_factor", "rope_factors_short.weight");
}

static void put_scaling(hf_model *m, const json_t *rope, double base) {
    const char *type = json_get_string(rope, "rope_type");
    type = type ? type : json_get_string(rope, "type");
    if (!type || !strcmp(type, "default"))
        return;
    if (!strcmp(type, "linear"))
        put_linear(m, rope);
    else if (!strcmp(type, "yarn"))
        put_yarn(m, rope);
    else if (!strcmp(type, "llama3"))
        put_llama3(m, rope, base);
    else if (!strcmp(type, "longrope") || !strcmp(type, "su"))
        put_longrope(m, rope);
    else
        hf_fail(m, "config.json: rope type \"%.40s\" is not known; there are linear, yarn, llama3 and longrope", type);
}

void hf_write_rope(hf_model *m) {
    bool gemma3 = m->arch->id == HF_GEMMA3;
    const json_t *all = json_object_get(m->config, "rope_parameters");
    if (!json_is_object(all))
        all = json_object_get(m->config, "rope_scaling");
    const json_t *rope = inner(all, "full_attention"), *local = inner(all, "sliding_attention");
    double usual = gemma3 ? 1e6 : m->arch->id == HF_SMOLLM3 ? 2e6 : 1e4;
    double base = rope_number(m, rope, "rope_theta", hf_number(m, "rope_theta", usual));
    double base_local = local == all ? 1e4 : rope_number(m, local, "rope_theta", 1e4);
    base_local = hf_number(m, "rope_local_base_freq", base_local);
    if (!m->st && !(base > 0 && base_local > 0))
        hf_fail(m, "config.json: \"rope_theta\" must be above 0");
    hf_put_u32(m, "rope.dimension_count", m->p.n_rot);
    hf_put_f32(m, "rope.freq_base", base);
    if (gemma3 && base_local != 1e4)
        hf_put_f32(m, "rope.freq_base_swa", base_local);
    put_scaling(m, rope, base);
}
