/* Private to model/: what an architecture's file is made of. An architecture names itself, loads its tensors with the
 * helpers of weights.c, and computes its graph with those of graph.c. */
#ifndef MUGA_MODEL_ARCH_H
#define MUGA_MODEL_ARCH_H

#include "base/mem.h"
#include "model/model.h"

/* Number of rows projected to the vocabulary at a time: bounds the logits buffer, changes no result. */
#define MODEL_LOGIT_ROWS 8

/* ---- weights ---- */
/* One or several matrices over the same input, their outputs one behind the other in a row: what is computed together
 * waits for the threads once. Parts of the same type are packed as one matrix; each output row is computed by itself,
 * so that changes no bit. */
#define MODEL_MAX_PARTS 3
typedef struct model_linear {
    kernel_weights w[MODEL_MAX_PARTS]; /* [outputs][inputs], the first n_w */
    uint32_t n_w;
    const gguf_tensor *parts[MODEL_MAX_PARTS]; /* the matrices in the file, the first n_parts */
    uint32_t n_parts;
    float *bias; /* [all outputs]; NULL = none */
} model_linear;

typedef struct model_layer {
    float *attn_norm, *ffn_norm; /* [n_embd] */
    model_linear qkv;            /* [(n_head + 2 n_head_kv) * head_dim][n_embd] */
    model_linear o;              /* [n_embd][n_head * head_dim] */
    model_linear gate_up;        /* [2 n_ff][n_embd] */
    model_linear down;           /* [n_embd][n_ff] */
} model_layer;

typedef struct model_loader model_loader;
typedef struct model_arch {
    const char *name; /* general.architecture; prefix of its keys */
    muga_status (*load)(model_loader *l, model *m, muga_error *err);
    void (*forward)(const model *m, model_run *r, const model_batch *b);
} model_arch;
extern const model_arch model_arch_llama;

struct model {
    const model_arch *arch;
    const gguf_file *file; /* borrowed */
    model_params p;
    float attn_scale;
    bool tied;               /* the embedding is `output` */
    const gguf_tensor *embd; /* in the file; read row by row when untied */
    kernel_weights output;   /* [n_vocab][n_embd] */
    float *output_norm;      /* [n_embd] */
    float *rope_factors;     /* [n_rot / 2] divisors of the frequencies; NULL = none */
    double *rope_freq;       /* [n_rot / 2] */
    model_layer *layers;     /* [n_layer] */
};

struct model_loader {
    const gguf_file *file;
    const model_load_options *o;
    bool *used;      /* [tensor count] */
    uint64_t i_last; /* tensor marked last */
    uint64_t done_bytes;
};
/* Keys: name of the form "<arch>.<key>". `otherwise` < 0: required. Range [min, max] inclusive. */
muga_status model_key_u32(const model_loader *l, const char *arch, const char *key, int64_t otherwise, uint32_t min,
                          uint32_t max, uint32_t *out, muga_error *err);
/* *out keeps its value when the key is absent, unless required. Must be finite and in (above, max]. */
muga_status model_key_f32(const model_loader *l, const char *arch, const char *key, bool required, float above,
                          float max, float *out, muga_error *err);

/* Tensors, by exact shape. Each marks its tensor as used; model_load refuses a file with tensors nobody asked for. */
bool weights_present(const model_loader *l, const char *name);
muga_status weights_vector(model_loader *l, const char *name, uint32_t n, float **out, muga_error *err);
muga_status weights_matrix(model_loader *l, const char *name, uint32_t rows, uint32_t cols, kernel_weights *out,
                           muga_error *err);
/* The matrices "blk.<i>.<stem>.weight" and, where the file has them, "blk.<i>.<stem>.bias", outputs one behind the
 * other. */
typedef struct weights_part {
    const char *stem;
    uint32_t rows;
} weights_part;
muga_status weights_linear(model_loader *l, uint32_t i_layer, const weights_part *parts, uint32_t n_parts,
                           uint32_t cols, model_linear *out, muga_error *err);
muga_status weights_layer_vector(model_loader *l, uint32_t i_layer, const char *stem, uint32_t n, float **out,
                                 muga_error *err);
/* Mark as used without reading, where present. */
void weights_ignore(model_loader *l, const char *name);
/* MUGA_E_INPUT naming the first tensor that nothing marked. */
muga_status weights_check_all_used(const model_loader *l, const char *arch, muga_error *err);
void weights_linear_release(model_linear *l);

/* ---- graph ---- */
/* Row strides are widths rounded up to 16 floats, so that every row is 64-byte aligned. */
struct model_run {
    model_run_options o;
    const model *m;
    uint32_t s_embd, s_qkv, s_att, s_ff, s_rot; /* strides, floats */
    float *x;                                   /* [max_tok][s_embd] residual stream */
    float *xn;                                  /* [max_tok][s_embd] normalised; also what a block adds to x */
    float *q, *k, *v;                           /* [max_tok][s_qkv]: each row holds q, k, v one behind the other */
    float *att;                                 /* [max_tok][s_att] */
    float *gate, *up;                           /* [max_tok][s_ff]: gate, then up */
    float *cos, *sin;                           /* [max_tok][s_rot] of each token's position */
    void *act;                                  /* quantised activations of one group of products */
    float *logits;                              /* [MODEL_LOGIT_ROWS][n_vocab rounded up to 16] */
    kernel_kv *kv;                              /* [max_seq] */
    uint32_t *pos, *i_seq, *i_tok;              /* [max_tok] of the rows still alive (graph_keep_wanted) */
    uint32_t n;                                 /* rows alive */
};

/* Begin a batch: embeddings into x, rope tables for all positions. */
void graph_begin(model_run *r, const model_batch *b);
/* xn = rms_norm(x) * w */
void graph_norm(model_run *r, const float *w);
/* x += xn, then xn = rms_norm(x) * w */
void graph_add_norm(model_run *r, const float *w);
/* y = W x + bias over the rows alive. */
void graph_linear(model_run *r, const model_linear *l, const float *x, uint32_t x_stride, float *y, uint32_t y_stride);
/* Turn q and k, store k and v at their positions of layer i_layer. */
void graph_rope_store(model_run *r, uint32_t i_layer, bool pairs);
/* Drop the rows nobody wants logits of: after the last layer's keys are stored, only those are needed. */
void graph_keep_wanted(model_run *r, const model_batch *b);
/* att = attention of q over layer i_layer. */
void graph_attention(model_run *r, uint32_t i_layer);
/* gate = silu(gate) * up */
void graph_silu_mul(model_run *r);
/* xn of the rows alive -> logits, handed to the batch's callback. */
void graph_project(model_run *r, const model_batch *b);

#endif
