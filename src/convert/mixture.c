/* The mixtures, as one table of exceptions. */
#include "convert/mixture.h"

#include "base/mem.h"

#include <stdio.h>
#include <strings.h>

static const mixture_kind kinds[] = {
    {"F16", 1, TENSOR_F16},      {"BF16", 32, TENSOR_BF16},     {"Q8_0", 7, TENSOR_Q8_0},
    {"Q4_0", 2, TENSOR_Q4_0},    {"Q4_1", 3, TENSOR_Q4_1},      {"Q5_0", 8, TENSOR_Q5_0},
    {"Q5_1", 9, TENSOR_Q5_1},    {"Q2_K", 10, TENSOR_Q2_K},     {"Q3_K_S", 11, TENSOR_Q3_K},
    {"Q3_K_M", 12, TENSOR_Q3_K}, {"Q3_K_L", 13, TENSOR_Q3_K},   {"Q4_K_S", 14, TENSOR_Q4_K},
    {"Q4_K_M", 15, TENSOR_Q4_K}, {"Q5_K_S", 16, TENSOR_Q5_K},   {"Q5_K_M", 17, TENSOR_Q5_K},
    {"Q6_K", 18, TENSOR_Q6_K},   {"IQ4_NL", 25, TENSOR_IQ4_NL}, {"IQ4_XS", 30, TENSOR_IQ4_XS},
    {"F32", 0, TENSOR_F32},
};

/* Where in the stack an exception holds, for layer i of n. */
typedef enum {
    ALL,
    FIRST_2,
    FIRST_4,
    FIRST_16TH,
    FIRST_8TH,
    SPREAD /* the first and the last eighth, and every third between */
} layers;

typedef enum { IF_ANY, IF_SHARED /* four query heads or more a key head */, IF_WEIGHTED, IF_PLAIN } condition;

typedef struct exception {
    const char *kind, *matrix; /* matrix: "attn_v" in "blk.7.attn_v.weight"; attn_qkv counts as that */
    layers where;
    condition when;
    tensor_type type;
} exception;

/* The first that applies counts. */
static const exception exceptions[] = {
    {"Q4_0", "ffn_down", FIRST_8TH, IF_WEIGHTED, TENSOR_Q4_1},
    {"Q5_0", "ffn_down", FIRST_8TH, IF_WEIGHTED, TENSOR_Q5_1},
    {"Q2_K", "attn_v", ALL, IF_SHARED, TENSOR_Q4_K},
    {"Q2_K", "attn_v", ALL, IF_ANY, TENSOR_Q3_K},
    {"Q2_K", "attn_output", ALL, IF_ANY, TENSOR_Q3_K},
    {"Q2_K", "ffn_down", ALL, IF_ANY, TENSOR_Q3_K},
    {"Q3_K_M", "attn_v", FIRST_2, IF_ANY, TENSOR_Q5_K},
    {"Q3_K_M", "attn_v", ALL, IF_ANY, TENSOR_Q4_K},
    {"Q3_K_M", "attn_output", ALL, IF_ANY, TENSOR_Q4_K},
    {"Q3_K_M", "ffn_down", FIRST_16TH, IF_ANY, TENSOR_Q5_K},
    {"Q3_K_M", "ffn_down", ALL, IF_ANY, TENSOR_Q4_K},
    {"Q3_K_L", "attn_v", ALL, IF_ANY, TENSOR_Q5_K},
    {"Q3_K_L", "attn_output", ALL, IF_ANY, TENSOR_Q5_K},
    {"Q3_K_L", "ffn_down", ALL, IF_ANY, TENSOR_Q5_K},
    {"Q4_K_S", "attn_v", FIRST_4, IF_ANY, TENSOR_Q5_K},
    {"Q4_K_S", "ffn_down", FIRST_8TH, IF_ANY, TENSOR_Q5_K},
    {"Q4_K_M", "attn_v", SPREAD, IF_ANY, TENSOR_Q6_K},
    {"Q4_K_M", "ffn_down", SPREAD, IF_ANY, TENSOR_Q6_K},
    {"Q5_K_M", "attn_v", SPREAD, IF_ANY, TENSOR_Q6_K},
    {"Q5_K_M", "ffn_down", SPREAD, IF_ANY, TENSOR_Q6_K},
    {"IQ4_NL", "attn_v", ALL, IF_SHARED, TENSOR_Q5_K},
    {"IQ4_NL", "ffn_down", FIRST_8TH, IF_PLAIN, TENSOR_Q5_K},
    {"IQ4_XS", "attn_v", ALL, IF_SHARED, TENSOR_Q5_K},
    {"IQ4_XS", "ffn_down", FIRST_8TH, IF_PLAIN, TENSOR_Q5_K},
};

const mixture_kind *mixture_find(const char *name) {
    char medium[16];
    snprintf(medium, sizeof medium, "%s_M", name);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (!strcasecmp(kinds[i].name, name) || !strcasecmp(kinds[i].name, medium))
            return &kinds[i];
    return NULL;
}

const mixture_kind *mixture_at(size_t i) {
    return i < ARRAY_LEN(kinds) ? &kinds[i] : NULL;
}

static uint32_t read_count(const gguf_file *file, span arch, const char *key, uint32_t otherwise) {
    char name[128];
    uint32_t v = 0;
    snprintf(name, sizeof name, "%.*s.%s", (int)MIN(arch.n, (size_t)64), arch.p, key);
    return gguf_get_u32(file, name, &v, NULL) == MUGA_OK ? v : otherwise;
}

void mixture_init(const gguf_file *file, const mixture_kind *kind, bool weighted, bool pure, mixture *out) {
    span arch = span_of_string("");
    (void)gguf_get_string(file, "general.architecture", &arch, NULL); /* without it no layer is special */
    uint32_t n_head = read_count(file, arch, "attention.head_count", 1);
    uint32_t n_head_kv = read_count(file, arch, "attention.head_count_kv", n_head);
    *out = (mixture){.kind = kind,
                     .n_layer = read_count(file, arch, "block_count", 0),
                     .n_share = n_head_kv ? n_head / n_head_kv : 1,
                     .has_output = gguf_tensor_find(file, "output.weight") != NULL,
                     .weighted = weighted,
                     .pure = pure};
}

bool mixture_is_matrix(const gguf_tensor *t) {
    static const char *const kept[] = {"_norm.weight", "ffn_gate_inp.weight", "position_embd.weight",
                                       "token_types.weight"};
    if (t->n_dims < 2 || !string_ends_with(t->name, "weight"))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (string_ends_with(t->name, kept[i]))
            return false;
    return true;
}

static bool in_layers(layers where, uint32_t i, uint32_t n) {
    switch (where) {
    case ALL: return true;
    case FIRST_2: return i < 2;
    case FIRST_4: return i < 4;
    case FIRST_16TH: return i < n / 16;
    case FIRST_8TH: return i < n / 8;
    case SPREAD: return i < n / 8 || (uint64_t)i >= (uint64_t)n * 7 / 8 || (i - n / 8) % 3 == 2;
    }
    return false;
}

static bool holds(const mixture *m, condition when) {
    switch (when) {
    case IF_ANY: return true;
    case IF_SHARED: return m->n_share >= 4;
    case IF_WEIGHTED: return m->weighted;
    case IF_PLAIN: return !m->weighted;
    }
    return false;
}

static bool is_quantised(tensor_type type) {
    return tensor_type_traits(type)->block_elems > 1;
}

static tensor_type wanted(const mixture *m, const char *name) {
    unsigned layer;
    int n = 0;
    if (m->pure || !is_quantised(m->kind->base))
        return m->kind->base;
    if (!strcmp(name, m->has_output ? "output.weight" : "token_embd.weight"))
        return m->kind->base == TENSOR_Q8_0 ? TENSOR_Q8_0 : TENSOR_Q6_K;
    if (sscanf(name, "blk.%9u.%n", &layer, &n) != 1 || n == 0)
        return m->kind->base;
    const char *matrix = !strcmp(name + n, "attn_qkv.weight") ? "attn_v.weight" : name + n;
    for (size_t i = 0; i < ARRAY_LEN(exceptions); i++) {
        const exception *e = &exceptions[i];
        size_t len = strlen(e->matrix);
        if (!strcmp(e->kind, m->kind->name) && !strncmp(matrix, e->matrix, len) && matrix[len] == '.' &&
            in_layers(e->where, layer, m->n_layer) && holds(m, e->when))
            return e->type;
    }
    return m->kind->base;
}

/* The type of blocks of 32 nearest to one with blocks of 256. */
static tensor_type smaller_block(tensor_type type) {
    switch (type) {
    case TENSOR_Q4_K: return TENSOR_Q5_0;
    case TENSOR_Q5_K: return TENSOR_Q5_1;
    case TENSOR_Q6_K: return TENSOR_Q8_0;
    default: return TENSOR_IQ4_NL;
    }
}

tensor_type mixture_choose(const mixture *m, const gguf_tensor *t, bool *fell_back) {
    tensor_type want = wanted(m, t->name), type = want;
    if (t->dims[0] % tensor_type_traits(type)->block_elems != 0)
        type = t->dims[0] % 32 == 0 ? smaller_block(type) : TENSOR_F16;
    *fell_back = type != want;
    return type;
}
