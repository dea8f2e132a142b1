/* What a Hugging Face model is, told in the words of GGUF: hyperparameters as keys, tensors by other names, some of
 * them in another order of rows. Private to convert/. docs/convert.md has the tables for people. */
#ifndef MUGA_CONVERT_HF_MODEL_H
#define MUGA_CONVERT_HF_MODEL_H

#include "convert/hf_dir.h"
#include "gguf/gguf.h"

/* Architectures as bits, so that a row of the table of tensors says whose it is. */
enum {
    HF_LLAMA = 1,
    HF_QWEN2 = 2,
    HF_QWEN3 = 4,
    HF_PHI3 = 8,
    HF_NEMOTRON = 16,
    HF_GEMMA2 = 32,
    HF_GEMMA3 = 64,
    HF_GRANITE = 128,
    HF_SMOLLM3 = 256,
    HF_BERT = 512
};
#define HF_GEMMA (HF_GEMMA2 | HF_GEMMA3)
#define HF_DECODERS (HF_BERT - 1)
#define HF_ROPE_PAIRS (HF_LLAMA | HF_GRANITE | HF_SMOLLM3) /* GGUF turns (2i, 2i+1), the folder (i, i + n/2) */
#define HF_NORM_PLUS_1 (HF_GEMMA | HF_NEMOTRON)            /* norms multiply by 1 + weight there, by weight here */

typedef struct hf_model hf_model;
typedef struct hf_arch {
    unsigned id;
    const char *name;          /* general.architecture */
    const char *classes[6];    /* config.json's "architectures" */
    const char *activation[3]; /* the ones its graph computes */
    void (*keys)(hf_model *m); /* hyperparameters of its own; NULL = none */
} hf_arch;

typedef struct hf_shape {
    uint32_t n_layer, n_embd, n_head, n_head_kv, head_dim, n_rot, n_ff, n_vocab, n_ctx, n_types;
} hf_shape;

/* One tensor of the result, and where it comes from. */
typedef struct hf_tensor {
    char name[64];
    uint32_t n_dims;
    uint64_t dims[4];                 /* GGUF's order: row length first */
    const safetensors_tensor *source; /* NULL: values */
    uint32_t i_shard;
    float *values;          /* [elements], owned; what the configuration says (rope factors) */
    uint32_t permute_heads; /* the rows of each of so many heads: (i, i + n/2) become (2i, 2i+1); 0 = not */
    bool plus_1;            /* 1 is added to each element */
    bool vector;            /* kept in F32 whatever the type of matrices */
} hf_tensor;

/* Being read: the first error stays in st and err, and after it every function does nothing. */
struct hf_model {
    const hf_dir *dir;
    const json_t *config; /* of the text model */
    const hf_arch *arch;
    hf_shape p;
    gguf_writer *w; /* gets keys; NULL while only the shape is read */
    hf_tensor *tensors;
    uint32_t n_tensors, cap_tensors;
    uint32_t n_left_out; /* tensors of the folder that the engine has no use for: pictures, heads for training */
    muga_status st;
    muga_error *err;
};

void hf_fail(hf_model *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Numbers of config.json. Absent or null: `otherwise`; HF_REQUIRED makes that an error. */
#define HF_REQUIRED (-1)
uint32_t hf_u32(hf_model *m, const char *key, int64_t otherwise, uint32_t min, uint32_t max);
double hf_number(hf_model *m, const char *key, double otherwise); /* finite */

/* hf_arch.c: which architecture; E_INPUT names one that isn't here. */
void hf_choose_arch(hf_model *m);
/* hf_params.c: shape and keys. hf_rope.c: positions, the tensors of factors among them. hf_tensors.c: the list. */
void hf_read_shape(hf_model *m);
void hf_write_keys(hf_model *m);
void hf_write_rope(hf_model *m);
void hf_list_tensors(hf_model *m);
void hf_model_release(hf_model *m);

/* A key "<arch>.<key>". */
void hf_put_u32(hf_model *m, const char *key, uint32_t v);
void hf_put_f32(hf_model *m, const char *key, double v);
void hf_put_string(hf_model *m, const char *key, const char *v);
/* A vector whose values the configuration says; takes `values`. */
void hf_put_vector(hf_model *m, const char *name, float *values, uint32_t n);

/* hf_tokenizer.c: all tokenizer.* keys. */
void hf_write_tokenizer(hf_model *m);

#endif
