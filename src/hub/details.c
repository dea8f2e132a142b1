/* What a model's file says of it, without running it. */
#include "hub/internal.h"

#include "base/mem.h"
#include "convert/mixture.h"

#include <stdio.h>

/* general.file_type of mixtures that muga doesn't write; their numbers are llama.cpp's (llama.h, llama_ftype). */
static const struct {
    uint32_t file_type;
    const char *name;
} other_types[] = {{19, "IQ2_XXS"}, {20, "IQ2_XS"}, {21, "Q2_K_S"}, {22, "IQ3_XS"}, {23, "IQ3_XXS"},
                   {24, "IQ1_S"},   {26, "IQ3_S"},  {27, "IQ3_M"},  {28, "IQ2_S"},  {29, "IQ2_M"},
                   {31, "IQ1_M"},   {36, "TQ1_0"},  {37, "TQ2_0"},  {38, "MXFP4"}};

static const char *name_of_type(uint32_t file_type) {
    for (size_t i = 0; mixture_at(i); i++)
        if (mixture_at(i)->file_type == file_type)
            return mixture_at(i)->name;
    for (size_t i = 0; i < ARRAY_LEN(other_types); i++)
        if (other_types[i].file_type == file_type)
            return other_types[i].name;
    return NULL;
}

/* The type that most of the bytes have. */
static const char *commonest_type(const gguf_file *f) {
    uint64_t bytes[TENSOR_NVFP4 + 1] = {0};
    size_t most = 0;
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        bytes[t->type] += t->bytes;
    }
    for (size_t i = 1; i < ARRAY_LEN(bytes); i++)
        most = bytes[i] > bytes[most] ? i : most;
    return bytes[most] ? tensor_type_traits((uint32_t)most)->name : "unknown";
}

/* As Ollama writes it: 134.52M, 7.6B. */
static void format_count(uint64_t n, char out[16]) {
    double v = (double)n;
    if (n >= 1000000000)
        snprintf(out, 16, n % 1000000000 ? "%.1fB" : "%.0fB", v / 1e9);
    else if (n >= 1000000)
        snprintf(out, 16, n % 1000000 ? "%.2fM" : "%.0fM", v / 1e6);
    else if (n >= 1000)
        snprintf(out, 16, n % 1000 ? "%.2fK" : "%.0fK", v / 1e3);
    else
        snprintf(out, 16, "%llu", (unsigned long long)n);
}

void hub_details_of(const gguf_file *f, hub_details *out) {
    span arch;
    uint32_t file_type;
    char key[128];
    muga_error ignored;
    *out = (hub_details){.family = "unknown"};
    if (!gguf_get_string(f, "general.architecture", &arch, &ignored) && arch.n < sizeof out->family)
        snprintf(out->family, sizeof out->family, "%.*s", (int)arch.n, arch.p);
    const char *level = gguf_get_u32(f, "general.file_type", &file_type, &ignored) ? NULL : name_of_type(file_type);
    snprintf(out->quantization_level, sizeof out->quantization_level, "%s", level ? level : commonest_type(f));
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        out->n_params += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    format_count(out->n_params, out->parameter_size);
    snprintf(key, sizeof key, "%s.context_length", out->family);
    if (gguf_get_u32(f, key, &out->n_ctx_train, &ignored))
        out->n_ctx_train = 0;
}

json_t *hub_details_write(const hub_details *d) {
    return json_pack("{s:s, s:s, s:I, s:I}", "family", d->family, "quantization_level", d->quantization_level, "params",
                     (json_int_t)d->n_params, "context_length", (json_int_t)d->n_ctx_train);
}

bool hub_details_read(const json_t *v, hub_details *out) {
    const char *family = json_get_string(v, "family"), *level = json_get_string(v, "quantization_level");
    int64_t params = json_get_int(v, "params", -1), n_ctx = json_get_int(v, "context_length", -1);
    *out = (hub_details){.family = ""};
    if (!family || !level || params < 0 || n_ctx < 0 || n_ctx > UINT32_MAX || strlen(family) >= sizeof out->family ||
        strlen(level) >= sizeof out->quantization_level)
        return false;
    strcpy(out->family, family);
    strcpy(out->quantization_level, level);
    out->n_params = (uint64_t)params;
    out->n_ctx_train = (uint32_t)n_ctx;
    format_count(out->n_params, out->parameter_size);
    return true;
}
