/* Rotary positions: the scaling a file asks for, as frequencies.
 *
 *   rope.scaling.type   none | linear | yarn | longrope; absent = linear with the factor there is, or none
 *   rope_freqs.weight   divides each frequency (Llama 3)
 *   rope_factors_short/long.weight   divide them; long ones where the context limit is above the original context
 *                       length (longrope: Ding et al. 2024), however long the sequence is so far
 *   rope.scaling.attn_factor         multiplies cosines and sines; YaRN multiplies 0.1 ln(factor) + 1 to it
 *
 * Source: Peng et al. 2023 (YaRN), 3.4 for the temperature. */
#include "model/arch.h"

#include <assert.h>
#include <stdio.h>

typedef enum { SCALING_NONE, SCALING_LINEAR, SCALING_YARN, SCALING_LONGROPE } scaling;

static scaling read_type(model_loader *l) {
    static const char *const names[] = {"none", "linear", "yarn", "longrope"};
    char key[128];
    span type;
    snprintf(key, sizeof key, "%s.rope.scaling.type", l->m->arch->name);
    muga_status st = l->st ? l->st : gguf_get_string(l->file, key, &type, l->err);
    if (st == MUGA_E_NOT_FOUND)
        return SCALING_LINEAR;
    if (st) {
        l->st = st;
        return SCALING_NONE;
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (span_equal_string(type, names[i]))
            return (scaling)i;
    loader_fail(l, "key \"%s\" is \"%.*s\"; this version knows none, linear, yarn and longrope", key,
                (int)MIN(type.n, (size_t)40), type.p);
    return SCALING_NONE;
}

static void read_factors(model_loader *l, const char *name, float **out) {
    if (!l->st && weights_present(l, name))
        weights_vector(l, name, l->m->p.n_rot / 2, out);
    for (uint32_t i = 0; !l->st && *out && i < l->m->p.n_rot / 2; i++)
        if (!((*out)[i] >= 1e-6f && (*out)[i] <= 1e6f))
            loader_fail(l, "tensor \"%s\" holds %g at %u; a factor must be from 1e-6 to 1e6", name, (double)(*out)[i],
                        i);
}

static double *frequencies(model_loader *l, const kernel_rope *k) {
    double *freq = l->st ? NULL : mem_alloc_array(k->n_rot / 2, sizeof *freq);
    if (freq)
        kernel_rope_frequencies(k, freq);
    else
        loader_failed_nomem(l, freq, "the model's positions");
    return freq;
}

static void read_yarn(model_loader *l, kernel_rope *k, float factor, float *mscale) {
    float attn = 1.0f;
    k->yarn = 1.0f;
    k->beta_fast = 32.0f;
    k->beta_slow = 1.0f;
    key_f32(l, "rope.scaling.yarn_ext_factor", KEY_FROM_0, 1.0f, &k->yarn);
    key_f32(l, "rope.scaling.yarn_beta_fast", KEY_ABOVE_0, 1e4f, &k->beta_fast);
    key_f32(l, "rope.scaling.yarn_beta_slow", KEY_ABOVE_0, 1e4f, &k->beta_slow);
    key_f32(l, "rope.scaling.yarn_attn_factor", KEY_ABOVE_0, 1e3f, &attn);
    *mscale *= attn;
    if (factor > 1.0f && k->yarn > 0)
        *mscale *= (float)(0.1 * kernel_log((double)factor) + 1);
}

void positions_read(model_loader *l) {
    model_params *p = &l->m->p;
    model_rope *rope = &l->m->ropes[0];
    kernel_rope k = {.base = 10000.0f, .n_rot = p->n_rot};
    float factor = 1.0f, *freqs = NULL, *factors_short = NULL, *factors_long = NULL;
    key_f32(l, "rope.freq_base", KEY_ABOVE_0, 1e12f, &k.base);
    scaling type = read_type(l);
    key_f32(l, "rope.scale_linear", KEY_ABOVE_0, 1e6f, &factor);
    key_f32(l, "rope.scaling.factor", KEY_ABOVE_0, 1e6f, &factor);
    rope->mscale = 1.0f;
    key_f32(l, "rope.scaling.attn_factor", KEY_ABOVE_0, 1e3f, &rope->mscale);
    key_u32(l, "rope.scaling.original_context_length", p->n_ctx_train, 1, UINT32_MAX, &rope->n_ctx_short);
    read_factors(l, "rope_freqs.weight", &freqs);
    read_factors(l, "rope_factors_short.weight", &factors_short);
    read_factors(l, "rope_factors_long.weight", &factors_long);
    if (!factors_short != !factors_long || (type == SCALING_LONGROPE && !factors_short))
        loader_fail(l, "tensor \"rope_factors_%s.weight\" is missing; the file is incomplete",
                    factors_short ? "long" : "short");
    if (freqs && factors_short)
        loader_fail(l, "tensors \"rope_freqs.weight\" and \"rope_factors_short.weight\" exclude each other");
    k.scale = type == SCALING_LINEAR || type == SCALING_YARN ? 1.0f / factor : 1.0f;
    k.n_ctx_orig = rope->n_ctx_short;
    if (type == SCALING_YARN)
        read_yarn(l, &k, factor, &rope->mscale);
    k.factors = factors_short ? factors_short : freqs;
    rope->freq = frequencies(l, &k);
    if (factors_long) {
        k.factors = factors_long;
        rope->freq_long = frequencies(l, &k);
    }
    l->m->n_ropes = 1;
    free(freqs);
    free(factors_short);
    free(factors_long);
}

uint8_t positions_add(model_loader *l, float base) {
    uint32_t i = l->m->n_ropes;
    assert(i < MODEL_MAX_ROPES);
    kernel_rope k = {.base = base, .n_rot = l->m->p.n_rot, .scale = 1.0f};
    l->m->ropes[i] = (model_rope){.freq = frequencies(l, &k), .mscale = 1.0f};
    l->m->n_ropes++;
    return (uint8_t)i;
}
