/* The architectures: by which names a folder calls them, and what of each configuration is its own. A setting that the
 * engine's graph doesn't follow is refused here, where the folder's own words can be quoted. */
#include "convert/hf_model.h"

#include "base/mem.h"

#include <math.h>

/* "layer_types" and its older forms: which layers see a window. */
static bool is_windowed(const json_t *types, uint32_t i) {
    const char *type = json_string_value(json_array_get(types, i));
    return type && !strcmp(type, "sliding_attention");
}

/* For graphs without windows. */
static void refuse_window(hf_model *m) {
    const json_t *types = json_object_get(m->config, "layer_types");
    uint32_t window = hf_u32(m, "sliding_window", 0, 0, UINT32_MAX), n_layer = m->p.n_layer;
    uint32_t from = hf_u32(m, "max_window_layers", 0, 0, UINT32_MAX);
    bool any = !json_is_array(types) && json_get_bool(m->config, "use_sliding_window", false) && from < n_layer;
    for (uint32_t i = 0; i < n_layer; i++)
        any = any || is_windowed(types, i);
    if (any && window > 0 && window < m->p.n_ctx)
        hf_fail(m, "config.json: a window of %u positions (\"sliding_window\"), which the %s graph doesn't follow",
                window, m->arch->name);
}

/* One window for all layers. */
static void put_window(hf_model *m) {
    uint32_t window = hf_u32(m, "sliding_window", 0, 0, UINT32_MAX);
    const json_t *types = json_object_get(m->config, "layer_types");
    for (uint32_t i = 0; i < m->p.n_layer && json_is_array(types); i++)
        if (is_windowed(types, i) != is_windowed(types, 0))
            hf_fail(m,
                    "config.json: \"layer_types\" mixes layers with and without a window; the %s graph has one for "
                    "all",
                    m->arch->name);
    if (window > 0 && (!json_is_array(types) || is_windowed(types, 0)))
        hf_put_u32(m, "attention.sliding_window", window);
}

/* Every period-th layer sees all, the others a window. */
static void check_period(hf_model *m, uint32_t period) {
    const json_t *types = json_object_get(m->config, "layer_types");
    for (uint32_t i = 0; i < m->p.n_layer && json_is_array(types); i++)
        if (is_windowed(types, i) != (i % period != period - 1))
            hf_fail(m,
                    "config.json: \"layer_types\" has layer %u otherwise than the %s graph, where every %uth sees "
                    "all",
                    i, m->arch->name, period);
}

static void llama_keys(hf_model *m) {
    if (!strncmp(json_string_value(json_array_get(json_object_get(m->dir->config, "architectures"), 0)), "Mistral", 7))
        put_window(m);
}

static void granite_keys(hf_model *m) {
    hf_put_f32(m, "embedding_scale", hf_number(m, "embedding_multiplier", 1));
    hf_put_f32(m, "residual_scale", hf_number(m, "residual_multiplier", 1));
    hf_put_f32(m, "attention.scale", hf_number(m, "attention_multiplier", 1));
    hf_put_f32(m, "logit_scale", hf_number(m, "logits_scaling", 1));
}

/* 0 and 1 by layer; the graph leaves out the rope of every fourth. */
static void smollm3_keys(hf_model *m) {
    const json_t *rope = json_object_get(m->config, "no_rope_layers");
    if (!json_is_array(rope) && hf_u32(m, "no_rope_layer_interval", 4, 0, 1024) != 4)
        hf_fail(m, "config.json: \"no_rope_layer_interval\" is not 4, as the smollm3 graph has it");
    for (uint32_t i = 0; i < m->p.n_layer && json_is_array(rope); i++)
        if (json_integer_value(json_array_get(rope, i)) != (i % 4 != 3))
            hf_fail(m, "config.json: \"no_rope_layers\" has layer %u otherwise than the smollm3 graph", i);
    refuse_window(m);
}

/* Scores are divided by the square root of this number, which most models have equal to the head's size. */
static void put_attention_scale(hf_model *m) {
    double scalar = hf_number(m, "query_pre_attn_scalar", 256);
    if (scalar <= 0)
        hf_fail(m, "config.json: \"query_pre_attn_scalar\" is %g; it must be above 0", scalar);
    else if (scalar != m->p.head_dim)
        hf_put_f32(m, "attention.scale", 1 / sqrt(scalar));
}

static void gemma2_keys(hf_model *m) {
    hf_put_u32(m, "attention.sliding_window", hf_u32(m, "sliding_window", 4096, 1, UINT32_MAX));
    hf_put_f32(m, "attn_logit_softcapping", hf_number(m, "attn_logit_softcapping", 0));
    hf_put_f32(m, "final_logit_softcapping", hf_number(m, "final_logit_softcapping", 0));
    put_attention_scale(m);
    check_period(m, 2);
}

static void gemma3_keys(hf_model *m) {
    uint32_t period = hf_u32(m, "sliding_window_pattern", 6, 1, 1024);
    period = hf_u32(m, "_sliding_window_pattern", period, 1, 1024);
    hf_put_u32(m, "attention.sliding_window", hf_u32(m, "sliding_window", 4096, 1, UINT32_MAX));
    if (period != 6)
        hf_put_u32(m, "attention.sliding_window_pattern", period);
    if (hf_number(m, "final_logit_softcapping", 0) != 0)
        hf_put_f32(m, "final_logit_softcapping", hf_number(m, "final_logit_softcapping", 0));
    if (hf_number(m, "attn_logit_softcapping", 0) != 0)
        hf_fail(m, "config.json: \"attn_logit_softcapping\" is set, which the gemma3 graph doesn't follow");
    if (json_get_bool(m->config, "use_bidirectional_attention", false))
        hf_fail(m, "config.json: \"use_bidirectional_attention\" is set, which the gemma3 graph doesn't follow");
    put_attention_scale(m);
    check_period(m, period);
}

static void bert_keys(hf_model *m) {
    const char *positions = json_get_string(m->config, "position_embedding_type");
    if (positions && strcmp(positions, "absolute") != 0)
        hf_fail(m, "config.json: \"position_embedding_type\" is \"%.40s\"; the bert graph has \"absolute\"", positions);
    if (json_get_bool(m->config, "is_decoder", false))
        hf_fail(m, "config.json: \"is_decoder\" is set; the bert graph is an encoder's");
}

#define SILU                                                                                                           \
    { "silu", "swish" }
#define GELU_TANH                                                                                                      \
    { "gelu_pytorch_tanh", "gelu_new" }

static const hf_arch archs[] = {
    {HF_LLAMA, "llama", {"LlamaForCausalLM", "MistralForCausalLM", "LlamaModel", "MistralModel"}, SILU, llama_keys},
    {HF_QWEN2, "qwen2", {"Qwen2ForCausalLM", "Qwen2Model"}, SILU, refuse_window},
    {HF_QWEN3, "qwen3", {"Qwen3ForCausalLM", "Qwen3Model"}, SILU, refuse_window},
    {HF_PHI3, "phi3", {"Phi3ForCausalLM"}, SILU, put_window},
    {HF_NEMOTRON, "nemotron", {"NemotronForCausalLM"}, {"relu2"}, NULL},
    {HF_GEMMA2, "gemma2", {"Gemma2ForCausalLM"}, GELU_TANH, gemma2_keys},
    {HF_GEMMA3, "gemma3", {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"}, GELU_TANH, gemma3_keys},
    {HF_GRANITE, "granite", {"GraniteForCausalLM"}, SILU, granite_keys},
    {HF_SMOLLM3, "smollm3", {"SmolLM3ForCausalLM"}, SILU, smollm3_keys},
    {HF_BERT,
     "bert",
     {"BertModel", "BertForMaskedLM", "BertForPreTraining", "BertForSequenceClassification"},
     {"gelu"},
     bert_keys},
};

static const hf_arch *find_arch(const char *class_name) {
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        for (size_t k = 0; k < ARRAY_LEN(archs[i].classes) && archs[i].classes[k]; k++)
            if (!strcmp(archs[i].classes[k], class_name))
                return &archs[i];
    return NULL;
}

static void check_activation(hf_model *m) {
    const char *act = json_get_string(m->config, "hidden_activation");
    act = act ? act : json_get_string(m->config, "hidden_act");
    /* Gemma's first files say "gelu" and mean the tanh form, as their own code does. */
    if (!act || ((m->arch->id & HF_GEMMA) && !strcmp(act, "gelu")))
        return;
    for (size_t i = 0; i < ARRAY_LEN(m->arch->activation) && m->arch->activation[i]; i++)
        if (!strcmp(act, m->arch->activation[i]))
            return;
    hf_fail(m, "config.json: the activation is \"%.40s\"; the %s graph computes \"%s\"", act, m->arch->name,
            m->arch->activation[0]);
}

void hf_choose_arch(hf_model *m) {
    const json_t *config = m->dir->config, *text = json_object_get(config, "text_config");
    const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    m->config = json_is_object(text) ? text : config;
    if (!name) {
        hf_fail(m, "config.json: \"architectures\" is missing; it must name the model's class");
        return;
    }
    m->arch = find_arch(name);
    if (!m->arch)
        hf_fail(m,
                "config.json: architecture \"%.60s\" is not known; there are llama (Mistral too), qwen2, qwen3, phi3, "
                "nemotron, gemma2, gemma3, granite, smollm3 and bert",
                name);
    else if (json_object_get(config, "quantization_config") || json_object_get(m->config, "quantization_config"))
        hf_fail(m, "config.json: the weights are quantised already (\"quantization_config\"); use the original model");
    else
        check_activation(m);
}
