/* A language model: hyperparameters and packed weights from a GGUF file, and its graph.
 *
 *   model      parameters and packed weights; immutable after model_load, shared between threads
 *   model_run  the working memory of one batch at a time, sized at creation; one thread at a time
 *
 * Nothing here knows text: tokens are ids, sequences are lists of KV pages (engine/ owns them). A logit depends only on
 * the model's bytes, the ids before it, the sequence's context limit, and the run's act and kv settings; never on
 * batch, chunk, threads or instruction set (docs/arithmetic.md).
 *
 * Architectures: one file each (llama.c), listed in model.c; shared parts in params.c, positions.c, weights.c and
 * graph.c (docs/architectures.md). */
#ifndef MUGA_MODEL_H
#define MUGA_MODEL_H

#include "gguf/gguf.h"
#include "kernel/kernel.h"
#include "model/packed.h"

/* Hyperparameters, every one checked: type, range, and against the shapes of the tensors. */
/* How the rows of a text become one vector; by "<arch>.pooling_type". */
typedef enum { MODEL_POOL_NONE, MODEL_POOL_MEAN, MODEL_POOL_CLS, MODEL_POOL_LAST } model_pooling;

typedef struct model_params {
    uint32_t n_layer; /* 1..1024 */
    uint32_t n_embd;  /* width of the residual stream, at most 2^20 */
    uint32_t n_head, n_head_kv, head_dim;
    uint32_t n_rot; /* elements of each head that rope turns; even, at most head_dim */
    uint32_t n_ff;
    uint32_t n_vocab;       /* rows of the embedding = tokens of the vocabulary */
    uint32_t n_ctx_train;   /* positions the model was trained for; nothing is allocated by it */
    uint32_t window;        /* positions an attention with a window sees; 0 = none has one */
    uint32_t window_period; /* of so many layers all but the last have the window; 0 = every layer */
    model_pooling pooling;  /* NONE: this is no embedding model */
    bool encoder;           /* every position sees every other; a sequence's tokens stand in one batch; no logits */
    float norm_eps;
    float attn_scale;     /* of scores; 1 / sqrt(head_dim) unless the file says otherwise */
    float attn_cap;       /* soft cap of scores; 0 = none */
    float logit_cap;      /* soft cap of logits; 0 = none */
    float logit_scale;    /* logits are divided by it */
    float residual_scale; /* what a block adds is multiplied by it */
    float embd_scale;     /* embeddings are multiplied by it */
} model_params;

typedef struct model model;

typedef struct model_load_options {
    os_pool *pool; /* packing is spread over it; NULL = inline */
    /* Where it is mapped, panels and vectors come from there, and it must outlive the model; a file in doubt is a
     * failure. Else it gets to know what was made. May be NULL. */
    packed_file *packed;
    void (*on_progress)(void *ctx, double done); /* 0..1, from the calling thread; may be NULL */
    void *on_progress_ctx;
} model_load_options;

/* Checks and packs; touched pages of the mapping are given back as packing goes. `file` is borrowed and must outlive
 * the model (an untied embedding is read from it, row by row). Errors: MUGA_E_INPUT naming the key or tensor; E_NOMEM.
 */
MUGA_MUST_USE muga_status model_load(const gguf_file *file, const model_load_options *o, model **out, muga_error *err);
void model_free(model *m);

const model_params *model_get_params(const model *m);
const char *model_arch_name(const model *m); /* "llama" */
size_t model_weight_bytes(const model *m);   /* packed, resident; what one decode step reads */
uint64_t model_step_macs(const model *m);    /* multiply-adds of a token's matrix products, projection included */
/* Whether positions turn by the factors for long contexts where a sequence may hold n_ctx of them: keys computed with
 * them aren't those computed without. The same for every n_ctx with most models. */
bool model_context_is_long(const model *m, uint32_t n_ctx);

/* Keys and values lie in pages of 64 positions, of two kinds where some layers have a window and others see all: a page
 * of kind 0 then holds the layers that see all, one of kind 1 those with a window. Else one kind holds all layers. */
#define MODEL_MAX_KINDS 2
uint32_t model_kinds(const model *m);
size_t model_page_bytes(const model *m, kernel_kv_type kv, uint32_t kind);
/* Positions that a layer of this kind sees at most, its own included; 0 = it sees all. */
uint32_t model_window(const model *m, uint32_t kind);
/* Zero positions [from, to) of a page: slots that hold nothing must be zero bytes (kernel.h). */
void model_page_clear(const model *m, kernel_kv_type kv, uint32_t kind, void *page, uint32_t from, uint32_t to);

/* ---- adapters: LoRA (Hu et al. 2021), docs/adapters.md ----
 * Low-rank pairs A [rank][cols], B [rows][rank] for some of a model's matrices: y = W x + scale * B (A x). Immutable,
 * shared between threads, and without a pointer into the model. */
typedef struct model_adapter model_adapter;
/* In an adapter's file: SHA-256 of the model's file that it was trained on, 64 hex digits. Adapters of
 * others don't have it. */
#define MODEL_ADAPTER_BASE_KEY "muga.base_sha256"
/* Is an adapter that names this base (of length 0: it names none) for the model whose file has this SHA-256 (64 hex
 * digits)? MUGA_E_INPUT: "was trained on the model with SHA-256 ..., this one has ..."; the caller says what was, and
 * what to do about it. */
MUGA_MUST_USE muga_status model_adapter_check_named(span base, const char *digest, muga_error *err);
/* The same, of an adapter's file. */
MUGA_MUST_USE muga_status model_adapter_check_base(const gguf_file *file, const char *digest, muga_error *err);

/* Everything in the file is checked against the model: kind, architecture, each name, each shape, that values are
 * finite and that nothing is left over. MUGA_E_INPUT names the key or tensor. The file may be closed afterwards. */
MUGA_MUST_USE muga_status model_adapter_load(const model *m, const gguf_file *file, os_pool *pool, model_adapter **out,
                                             muga_error *err);
void model_adapter_free(model_adapter *a);
/* Whether a user's scale, times alpha / rank, is a finite number. */
bool model_adapter_scale_fits(const model_adapter *a, float scale);
size_t model_adapter_bytes(const model_adapter *a); /* packed, resident */

/* ---- running ---- */
typedef struct model_run model_run;
typedef struct model_run_options {
    const kernel_table *kernels;
    os_pool *pool;  /* NULL = inline; borrowed */
    kernel_act act; /* KERNEL_ACT_F32 = exact */
    kernel_kv_type kv;
    uint32_t max_tok; /* tokens of a batch */
    uint32_t max_seq; /* sequences of a batch */
    bool no_logits;   /* no row is ever wanted: room for none */
    /* Sees the input of every matrix product, before it is computed, from the calling thread: `tensor` is the matrix's
     * name in the file, x [n_tok][cols] f32, rows x_stride floats apart, borrowed for the call. NULL = nobody. */
    void (*on_input)(void *ctx, const char *tensor, const float *x, size_t x_stride, uint32_t n_tok, uint32_t cols);
    void *on_input_ctx;
} model_run_options;
MUGA_MUST_USE muga_status model_run_new(const model *m, const model_run_options *o, model_run **out, muga_error *err);
/* Working memory for an adapter, before the first batch that uses it. What there is serves smaller ones too. */
MUGA_MUST_USE muga_status model_run_prepare(model_run *r, const model_adapter *a, muga_error *err);
void model_run_free(model_run *r);

/* The adapter of a sequence. */
typedef struct model_adapter_use {
    const model_adapter *adapter; /* NULL = none */
    float scale;                  /* as the user gives it, times the file's alpha / rank; finite */
} model_adapter_use;

/* One batch. Tokens of one sequence stand in ascending position; a sequence's earlier positions were run before or come
 * earlier in this batch. Pages up to every position exist, unwritten slots zero. */
typedef struct model_batch {
    uint32_t n_tok;        /* 1..max_tok */
    const int32_t *ids;    /* [n_tok], each in [0, n_vocab) */
    const uint32_t *pos;   /* [n_tok] absolute position in its sequence */
    const uint32_t *i_seq; /* [n_tok] index into pages */
    /* Of each kind: [n_seq] page lists, model_page_bytes each. Pages that no layer of the kind sees may be NULL. */
    void *const *const *pages[MODEL_MAX_KINDS];
    const uint32_t *n_ctx;             /* [n_seq] context limit of each: some models' positions depend on it */
    uint32_t n_seq;                    /* 1..max_seq */
    const model_adapter_use *adapters; /* [n_seq] of each; prepared for. NULL = none has one */
    const bool *wanted;                /* [n_tok] rows whose logits are computed; NULL = none */
    /* Called in ascending i_tok for each wanted row, from the calling thread. logits [n_vocab], borrowed for the call.
     */
    void (*on_logits)(void *ctx, uint32_t i_tok, const float *logits);
    void *on_logits_ctx;
    /* Where not NULL, called in its place: the row after the last norm, hidden [n_embd]; nothing is projected. */
    void (*on_hidden)(void *ctx, uint32_t i_tok, const float *hidden);
} model_batch;
/* Never fails and never allocates; results may be non-finite (the caller checks). */
void model_forward(const model *m, model_run *r, const model_batch *b);
/* The same in parts, of a batch that wants no row: what all layers begin with, then each layer in order, 0 .. n_layer -
 * 1. In between other runs may compute; b and what it points to stay as they are until the last. */
void model_forward_begin(model_run *r, const model_batch *b);
void model_forward_layer(const model *m, model_run *r, uint32_t i_layer);

#endif
