/* What a loaded model is made of: its matrices, norms and positions, and the steps of each layer. For model/ itself and
 * for train/, which computes the same steps with gradients; everyone else has enough with model.h. */
#ifndef MUGA_MODEL_LAYERS_H
#define MUGA_MODEL_LAYERS_H

#include "model/model.h"

typedef struct model_arch model_arch;

/* ---- weights ---- */
/* One or several matrices over the same input, their outputs one behind the other in a row: what is computed together
 * waits for the threads once. Parts of the same type are packed as one matrix; each output row is computed by itself,
 * so that changes no bit. */
#define MODEL_MAX_PARTS 3
#define MODEL_LINEARS 4 /* of a layer: qkv, o, gate_up, down */
typedef struct model_linear {
    kernel_weights w[MODEL_MAX_PARTS]; /* [outputs][inputs], the first n_w */
    uint32_t n_w;
    const gguf_tensor *parts[MODEL_MAX_PARTS]; /* the matrices in the file, the first n_parts */
    uint32_t n_parts;
    float *bias;       /* [all outputs]; NULL = none */
    uint32_t i_linear; /* MODEL_LINEARS * layer + its place in the layer */
} model_linear;

typedef struct model_norm {
    float *w; /* NULL = no such norm */
    float *b; /* NULL = none; layer norms only */
} model_norm;

/* Rotary positions of one kind; most models have one, gemma3 two. */
#define MODEL_MAX_ROPES 2
#define MODEL_NO_ROPE UINT8_MAX
typedef struct model_rope {
    double *freq;         /* [n_rot / 2] */
    double *freq_long;    /* the same, of sequences whose context limit is above n_ctx_short; NULL = as the others */
    uint32_t n_ctx_short; /* positions */
    float mscale;         /* cosines and sines are multiplied by it */
} model_rope;

/* What layers are made of; an architecture fills the parts it has. */
typedef struct model_layer {
    model_norm attn_norm, attn_post_norm, ffn_norm, ffn_post_norm; /* [n_embd] */
    model_norm q_norm, k_norm;                                     /* [head_dim], of each head */
    model_linear qkv;                                              /* [(n_head + 2 n_head_kv) * head_dim][n_embd] */
    model_linear o;                                                /* [n_embd][n_head * head_dim] */
    model_linear gate_up;                                          /* [2 n_ff][n_embd]; without a gate [n_ff][n_embd] */
    model_linear down;                                             /* [n_embd][n_ff] */
    uint32_t window; /* a key is visible when pos_q - pos_k < window; 0 = every key */
    uint8_t i_rope;  /* index into the model's ropes, or MODEL_NO_ROPE */
    uint8_t kind;    /* of its pages (model.h), */
    uint32_t i_kind; /* and its place in them */
} model_layer;

struct model {
    const model_arch *arch; /* arch.h */
    const gguf_file *file;  /* borrowed */
    model_params p;
    model_rope ropes[MODEL_MAX_ROPES];
    uint32_t n_ropes;
    bool tied;                                    /* the embedding is `output` */
    const gguf_tensor *embd;                      /* in the file; read row by row when untied */
    const gguf_tensor *position_embd, *type_embd; /* added to it, of the position and of token type 0; NULL = none */
    model_norm embd_norm;                         /* [n_embd] of the sum; none in most */
    kernel_weights output;                        /* [n_vocab][n_embd]; an encoder has none */
    model_norm output_norm;                       /* [n_embd] */
    model_layer *layers;                          /* [n_layer] */
    uint32_t n_kinds;                             /* of pages, */
    uint32_t kind_layers[MODEL_MAX_KINDS];        /* the layers of each, */
    uint32_t kind_window[MODEL_MAX_KINDS];        /* and the widest window among them; 0 = one sees all */
};

/* ---- steps ---- */
/* What a layer computes, in order. x is the residual stream, xn what a block takes and gives back. */
typedef enum {
    MODEL_STEP_NORM,        /* xn = norm(x) */
    MODEL_STEP_ADD,         /* x += residual_scale * xn; normed first where there is a norm */
    MODEL_STEP_POST_NORM,   /* x = norm(x + xn), xn = x */
    MODEL_STEP_ATTENTION,   /* xn = Wo attention(rope(norm(Wq xn)), rope(norm(Wk xn)), Wv xn) */
    MODEL_STEP_GATED_SILU,  /* xn = Wdown (silu(Wgate xn) * Wup xn) */
    MODEL_STEP_GATED_GELU,  /* the same with gelu in its tanh form */
    MODEL_STEP_RELU_SQUARE, /* xn = Wdown max(Wup xn, 0)^2 */
    MODEL_STEP_GELU         /* xn = Wdown gelu(Wup xn), the exact form */
} model_step_kind;

typedef struct model_step {
    model_step_kind kind;
    const model_norm *norm; /* NULL = none */
} model_step;

/* The steps of layer i_layer, at most MODEL_MAX_STEPS: what its architecture's file does, noted rather than computed,
 * so that there's no second description of an architecture. */
#define MODEL_MAX_STEPS 16
uint32_t model_layer_steps(const model *m, uint32_t i_layer, model_step out[MODEL_MAX_STEPS]);
bool model_has_layer_norms(const model *m); /* norms take the mean away; else root mean square */
bool model_rope_pairs(const model *m);      /* rope turns elements (2i, 2i + 1); else (i, i + n_rot/2) */

#endif
