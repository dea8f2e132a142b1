/* Private to model/: what an architecture's file is made of. An architecture names itself, loads the tensors of a layer
 * with the helpers of weights.c, and computes a layer with those of graph.c; docs/architectures.md shows how. */
#ifndef MUGA_MODEL_ARCH_H
#define MUGA_MODEL_ARCH_H

#include "base/mem.h"
#include "model/layers.h"

/* Number of rows projected to the vocabulary at a time: bounds the logits buffer, changes no result. */
#define MODEL_LOGIT_ROWS 8

typedef struct model_loader model_loader;

/* Optional keys that change a model's results. A file that has one its architecture doesn't follow is refused. */
enum {
    MODEL_KEY_WINDOW = 1,          /* attention.sliding_window */
    MODEL_KEY_ATTN_SCALE = 2,      /* attention.scale */
    MODEL_KEY_ATTN_CAP = 4,        /* attn_logit_softcapping */
    MODEL_KEY_LOGIT_CAP = 8,       /* final_logit_softcapping */
    MODEL_KEY_LOGIT_SCALE = 16,    /* logit_scale */
    MODEL_KEY_RESIDUAL_SCALE = 32, /* residual_scale */
    MODEL_KEY_EMBD_SCALE = 64      /* embedding_scale */
};

struct model_arch {
    const char *name; /* general.architecture; prefix of its keys */
    unsigned keys;    /* MODEL_KEY_* it follows */
    bool encoder;     /* every position sees every other; no output matrix, no logits: rows are the result */
    bool layer_norm;  /* norms take the mean away and may have a bias; else root mean square */
    bool rope_pairs;  /* rope turns elements (2i, 2i+1) of a head; else (i, i + n_rot/2) */
    /* Hyperparameters of its own, once the common ones and the first rope are there. NULL = none. */
    void (*params)(model_loader *l, model *m);
    void (*shared)(model_loader *l, model *m); /* tensors of its own outside of layers; NULL = none */
    /* The tensors of layer l->i_layer. y comes with the first rope and the file's window. */
    void (*load)(model_loader *l, model_layer *y);
    void (*layer)(model_run *r, const model_layer *y);
};
extern const model_arch model_arch_bert, model_arch_gemma2, model_arch_gemma3, model_arch_granite, model_arch_llama,
    model_arch_nemotron, model_arch_phi3, model_arch_qwen2, model_arch_qwen3, model_arch_smollm3;

/* ---- loading ----
 * The first error is kept in st and err; after it every function of a loader does nothing, so that an architecture
 * reads as a list of what it has. */
#define MODEL_NO_LAYER UINT32_MAX
struct model_loader {
    const gguf_file *file;
    const model_load_options *o;
    model *m;
    uint32_t i_layer; /* names get "blk.<i>." in front; MODEL_NO_LAYER outside of layers */
    muga_status st;
    muga_error *err;
    bool *used;      /* [tensor count] */
    uint64_t i_last; /* tensor marked last */
    uint64_t done_bytes;
};
/* The printf-like message becomes the loader's error, unless it has one. */
void loader_fail(model_loader *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool loader_failed_nomem(model_loader *l, const void *p, const char *what); /* p is NULL: fails; true then */

/* Keys "<arch>.<key>". Absent: `otherwise`, or an error where it is KEY_REQUIRED. Range [min, max] inclusive. */
#define KEY_REQUIRED (-1)
void key_u32(model_loader *l, const char *key, int64_t otherwise, uint32_t min, uint32_t max, uint32_t *out);
/* Absent: *out keeps its value, or an error where required. Finite, at most max. True when present. */
typedef enum { KEY_ABOVE_0, KEY_FROM_0, KEY_REQUIRED_ABOVE_0 } key_range;
void key_bool(model_loader *l, const char *key, bool *out); /* absent: *out keeps its value */
bool key_f32(model_loader *l, const char *key, key_range range, float max, float *out);

/* Every hyperparameter that more than one architecture has (params.c), and the first rope (positions.c). */
void params_read(model_loader *l);
void positions_read(model_loader *l);
/* Another rope: the base alone, no scaling. Its index goes to the layers that use it. */
uint8_t positions_add(model_loader *l, float base);

/* Tensors, by exact shape: "<stem>.weight", in a layer "blk.<i>.<stem>.weight". Each marks its tensor as used;
 * model_load refuses a file with tensors nobody asked for. */
bool weights_present(const model_loader *l, const char *name);                   /* the whole name */
void weights_require(model_loader *l, const char *stem, const char *ending);     /* fails where it isn't there */
void weights_vector(model_loader *l, const char *name, uint32_t n, float **out); /* the whole name */
void weights_matrix(model_loader *l, const char *stem, uint32_t rows, uint32_t cols, kernel_weights *out);
/* A table read row by row from the file; rows 0 = at least one. */
void weights_rows(model_loader *l, const char *name, uint32_t rows, uint32_t cols, const gguf_tensor **out);
/* The weights and, for layer norms, the bias where there is one. */
void weights_norm(model_loader *l, const char *stem, uint32_t n, model_norm *out);
/* Matrices over the same input, outputs one behind the other, each with its bias where the file has one. */
typedef struct weights_part {
    const char *stem;
    uint32_t rows;
} weights_part;
void weights_linear(model_loader *l, const weights_part *parts, uint32_t n_parts, uint32_t cols, model_linear *out);
void weights_check_all_used(model_loader *l);
void weights_linear_release(model_linear *l);
void weights_norm_release(model_norm *n);

/* The parts most layers have: attn_q, attn_k, attn_v (or attn_qkv, the three in one) and attn_output; */
void weights_attention(model_loader *l, model_layer *y);
/* ffn_gate, ffn_up (or one ffn_up of both) and ffn_down; */
void weights_gated(model_loader *l, model_layer *y);
/* ffn_up and ffn_down, no gate. */
void weights_ungated(model_loader *l, model_layer *y);

/* ---- adapters ---- */
/* The low-rank pair of one matrix. */
typedef struct adapter_part {
    kernel_weights b; /* [rows][rank]; rows 0 = the adapter leaves the matrix alone */
    uint32_t i_inner; /* where its rank values begin in a row of A x */
    uint64_t row0;    /* its first output among those of the model_linear */
} adapter_part;

/* What an adapter has for one model_linear: the As over the same input are packed as one where types agree. */
typedef struct adapter_linear {
    kernel_weights a[MODEL_MAX_PARTS];
    uint32_t n_a;
    adapter_part parts[MODEL_MAX_PARTS];
    uint32_t n_parts;
} adapter_linear;

struct model_adapter {
    float alpha;             /* 0: the user's scale stands as it is */
    adapter_linear *linears; /* [n_linears] by i_linear; the last is the output matrix's */
    uint32_t n_linears;
    kernel_weights embd_a; /* [n_vocab][rank]: row id is A's column of that token */
    adapter_part embd;     /* B of the embedding */
    uint32_t widest_inner; /* most values of a row of A x */
    uint32_t widest_in;    /* most columns of a matrix it has a pair for */
    uint64_t widest_out;   /* most values that one step adds, of all rows and in whole pieces of outputs */
};

/* Rows an adapter is applied to at a time: bounds its working memory, changes no result. */
#define MODEL_ADAPTED_ROWS 128
/* Outputs of a matrix that are added at a time: a multiple of KERNEL_PANEL_ROWS, and again no result. */
#define MODEL_ADAPTED_OUTPUTS 128

/* ---- graph ---- */
/* Row strides are widths rounded up to 16 floats, so that every row is 64-byte aligned. */
struct model_run {
    model_run_options o;
    const model *m;
    uint32_t s_embd, s_qkv, s_att, s_ff, s_rot; /* strides, floats */
    float *x;                                   /* [max_tok][s_embd] residual stream */
    float *xn;                                  /* [max_tok][s_embd] what a block takes, and what it gives back */
    float *q, *k, *v;                           /* [max_tok][s_qkv]: each row holds q, k, v one behind the other */
    float *att;                                 /* [max_tok][s_att] */
    float *gate, *up;                           /* [max_tok][s_ff]: gate, then up */
    float *cos, *sin;                           /* [n_ropes][max_tok][s_rot] of each token's position */
    void *act, *act_att, *act_ff;               /* xn, att and gate quantised: apart, so that a thread's tokens of
                                                   each stay in the cache of its core */
    float *logits;                              /* [MODEL_LOGIT_ROWS][n_vocab rounded up to 16] */
    kernel_kv *kv;                              /* [max_seq] */
    uint32_t *pos, *i_seq, *i_tok;              /* [max_tok] of the rows still alive */
    uint32_t *last;                             /* [max_tok] the last position each sees: its own, unless an encoder */
    uint32_t n;                                 /* rows alive */
    const model_adapter **adapters;             /* [n_adapters] the different ones of the batch */
    uint32_t n_adapters;
    uint32_t *i_adapter;           /* [max_seq] index into adapters, or MODEL_NO_ADAPTER */
    float *adapted[3];             /* rows of an adapter: x gathered, A x, B (A x) */
    size_t adapted_n[3];           /* floats they have room for */
    const model_batch *batch;      /* being computed */
    bool adding;                   /* a block's output in xn waits for the next norm (graph_add) */
    const model_norm *adding_norm; /* normed by it first; NULL = not */
    model_step *steps;             /* noted here in place of being computed (model_layer_steps); NULL = computed */
    uint32_t n_steps;
};

/* adapt.c: what the adapters of a batch add. */
#define MODEL_NO_ADAPTER UINT32_MAX
void adapt_begin(model_run *r); /* which adapters the batch has */
/* y += scale B (A x) for the outputs of one model_linear; x and y are rows i_row .. i_row + n of those alive. */
typedef struct adapt_args {
    uint32_t i_linear;
    uint32_t i_row, n;
    const float *x;
    uint32_t x_stride;
    float *y;
    uint32_t y_stride;
} adapt_args;
void adapt_linear(model_run *r, const adapt_args *a);
void adapt_embedding(model_run *r); /* x += scale B A[id], right after the look-up */

/* xn = norm(x) */
void graph_norm(model_run *r, const model_norm *w);
/* x += residual_scale * xn. Done by the graph_norm that follows, in the same pass over a row. */
void graph_add(model_run *r);
/* x += residual_scale * norm(xn), likewise. */
void graph_add_normed(model_run *r, const model_norm *w);
/* x = norm(x + xn), and xn = x: for layers that norm what they have added. */
void graph_post_norm(model_run *r, const model_norm *w);
/* xn = Wo attention(rope(norm(Wq xn)), rope(norm(Wk xn)), Wv xn): norms of heads, rope and window as the layer has
 * them. Stores the keys and values. In the last layer, rows that nobody wants logits of end here. */
void graph_attention(model_run *r, const model_layer *y);
/* xn = Wdown (silu(Wgate xn) * Wup xn), and the same with gelu in its tanh form */
void graph_gated_silu(model_run *r, const model_layer *y);
void graph_gated_gelu(model_run *r, const model_layer *y);
/* xn = Wdown max(Wup xn, 0)^2, and Wdown gelu(Wup xn) with the exact gelu */
void graph_relu_square(model_run *r, const model_layer *y);
void graph_gelu(model_run *r, const model_layer *y);

/* llama.c: the layer that several architectures share. */
void llama_load(model_loader *l, model_layer *y);
void llama_layer(model_run *r, const model_layer *y);
/* gemma2.c: what gemma3 shares with it. */
void gemma2_scales(model_loader *l, uint32_t n_layer_27b);
void gemma2_load(model_loader *l, model_layer *y);
void gemma2_layer(model_run *r, const model_layer *y);

#endif
