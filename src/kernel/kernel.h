/* Kernels: the arithmetic of the engine, "arithmetic 1" (docs/arithmetic.md).
 *
 * ref_*.c are the specification; avx2_*.c, avx_vnni_*.c, avx512_*.c and neon_*.c give the same bits for every size,
 * thread count and batch. A table of functions is chosen once (kernel_table_get); nothing here knows a model.
 *
 * Weights are packed once into panels of 16 output rows (kernel_pack). Threads split panels (output rows), query heads
 * or tokens, never a sum. No function allocates except kernel_pack and kernel_probe_bandwidth (kernel/probe.h).
 */
#ifndef MUGA_KERNEL_H
#define MUGA_KERNEL_H

#include "base/error.h"
#include "os/os.h"
#include "tensor/tensor.h"

#define KERNEL_ARITHMETIC "arithmetic 1"
#define KERNEL_PANEL_ROWS 16
#define KERNEL_BLOCK 32    /* int8 activation block */
#define KERNEL_KV_BLOCK 64 /* positions per softmax block, and per KV page */

typedef enum {
    KERNEL_ISA_REF,
    KERNEL_ISA_AVX2,
    KERNEL_ISA_AVX_VNNI, /* AVX2 and the VEX form of vpdpbusd */
    KERNEL_ISA_AVX512,
    KERNEL_ISA_NEON,         /* every 64-bit ARM */
    KERNEL_ISA_NEON_DOTPROD, /* ARMv8.2 SDOT */
    KERNEL_ISA_NEON_I8MM,    /* ARMv8.6 USDOT */
    KERNEL_ISA_COUNT
} kernel_isa;
const char *kernel_isa_name(kernel_isa isa); /* "ref", "avx2", "avx-vnni", "avx512", "neon", "neon-dotprod", ... */
bool kernel_isa_parse(const char *name, kernel_isa *out);
bool kernel_isa_available(kernel_isa isa); /* on this processor and in this build */
kernel_isa kernel_isa_best(void);

/* ---- packed weights ---- */
/* A matrix [rows][cols] packed in panels; layouts are private to kernel/ and documented in kernel/panel.h. */
typedef struct kernel_weights {
    tensor_type type;
    uint64_t rows, cols; /* output rows, input columns (a multiple of the type's block) */
    const void *panels;  /* 64-byte aligned; rows padded up to 16 with zero weights */
    size_t bytes;
    void *owned; /* the panels' memory; NULL where they are borrowed */
} kernel_weights;

/* Rises with every change of a layout: panels kept in a file are read again only by the layout that wrote them. */
uint32_t kernel_panel_layout(void);
/* What the panels of a matrix take; MUGA_E_INPUT says why it can't be packed. */
MUGA_MUST_USE muga_status kernel_panel_bytes(tensor_type type, uint64_t rows, uint64_t cols, size_t *bytes,
                                             muga_error *err);

/* true for every float and quantised type of GGUF; false for I8 to I64 and F64. */
bool kernel_type_supported(tensor_type type);
/* Pack, panels spread over the pool. Quantised cols must be a multiple of the type's block. */
MUGA_MUST_USE muga_status kernel_pack(const tensor_view *w, os_pool *pool, kernel_weights *out, muga_error *err);
/* Several matrices of one type and as many columns, packed as one: their rows one below the other. */
MUGA_MUST_USE muga_status kernel_pack_parts(const tensor_view *parts, uint32_t n_parts, os_pool *pool,
                                            kernel_weights *out, muga_error *err);
void kernel_weights_release(kernel_weights *w);
/* Row `row` dequantised: cols f32. For embedding look-up. Same values as the type's codec. */
void kernel_weights_row(const kernel_weights *w, uint64_t row, float *out);
/* Rows [row0, row0 + rows) as a matrix of their own, borrowed; row0 a multiple of KERNEL_PANEL_ROWS. */
kernel_weights kernel_weights_rows(const kernel_weights *w, uint64_t row0, uint64_t rows);

/* ---- matrix product ---- */
typedef enum { KERNEL_ACT_INT8, KERNEL_ACT_F32 } kernel_act; /* F32 = --exact; plain types always use F32 */

/* Quantised activations of a batch: per row and block of 32: int8 codes -127..127, one f32 scale, the sum of codes.
 * The layout (tiles) is private to kernel/; memory from kernel_act_bytes. */
size_t kernel_act_bytes(uint64_t n_tok, uint64_t cols);

/* y[t][r] = dot(W[r], x[t]) for t in [0, n_tok), r in [0, rows).
 * x        [n_tok][cols] f32, row-major, stride x_stride floats
 * scratch  kernel_act_bytes(n_tok, cols) bytes, 64-byte aligned, for KERNEL_ACT_INT8: x is quantised here once.
 *          With reuse true the codes already in scratch (same x) are used: q, k, v share one quantisation.
 *          NULL will do for KERNEL_ACT_F32 and for F32, F16 and BF16 weights.
 * y        [n_tok][rows] f32, stride y_stride floats; must not alias x */
typedef struct kernel_matmul_args {
    const kernel_weights *w;
    const float *x;
    size_t x_stride;
    float *y;
    size_t y_stride;
    uint64_t n_tok;
    void *scratch;
    bool reuse;
    kernel_act act;
    const kernel_weights *next; /* the product after this one, where known: threads that wait fetch its weights */
} kernel_matmul_args;

/* ---- attention ---- */
/* How keys and values are kept: a setting that results depend on. Q8: an int8 code an element, and a scale for each
 * block of 32 elements of one key or value of one head, which is quantised by itself. */
typedef enum { KERNEL_KV_F16, KERNEL_KV_F32, KERNEL_KV_Q8, KERNEL_KV_COUNT } kernel_kv_type;
const char *kernel_kv_name(kernel_kv_type type); /* "f16", "f32", "q8" */
bool kernel_kv_parse(const char *name, kernel_kv_type *out);
/* One page holds KERNEL_KV_BLOCK positions of one layer:
 *   K: [n_head_kv][head_dim][64 positions]   lanes are positions: each score is one fma chain over ascending d
 *   V: [n_head_kv][64 positions][head_dim]   lanes are d: each output is one fma chain over ascending position
 * elements f32, f16 or int8; with int8 each head's are followed by its scales, [blocks of 32 d][64 positions] bf16, in
 * K and V alike. Unwritten slots must be zero bytes. */
size_t kernel_kv_page_bytes(kernel_kv_type type, uint32_t n_head_kv, uint32_t head_dim); /* K and V of one layer */
/* Zero the slots of positions [from, to) of one layer's part of a page. */
void kernel_kv_clear(kernel_kv_type type, uint32_t n_head_kv, uint32_t head_dim, void *layer, uint32_t from,
                     uint32_t to);

typedef struct kernel_kv { /* one sequence, one layer */
    void *const *pages;    /* pages[i] holds positions 64 i .. 64 i + 63; each page_stride bytes into its block */
    size_t layer_offset;   /* added to each page pointer: where this layer's K begins */
} kernel_kv;

typedef struct kernel_attn_args {
    kernel_kv_type type;
    uint32_t n_head, n_head_kv, head_dim;
    float scale;           /* dimensionless, usually 1/sqrt(head_dim) */
    float softcap;         /* 0 = none; scores become softcap * tanh(score / softcap) */
    uint32_t window;       /* 0 = none; key visible when pos_q - pos_k < window */
    uint64_t n_tok;        /* query rows, each with its own sequence and position */
    const kernel_kv *kv;   /* [n_seq] */
    const uint32_t *i_seq; /* [n_tok] index into kv */
    const uint32_t *pos;   /* [n_tok]; keys 0..pos are visible */
    const float *q;        /* [n_tok][n_head * head_dim], q_stride floats from row to row */
    size_t q_stride;
    float *out; /* as q; must not alias it */
    size_t out_stride;
} kernel_attn_args;

/* ---- the table: one per instruction set ---- */
typedef struct kernel_table {
    kernel_isa isa;
    void (*matmul)(const kernel_matmul_args *a, os_pool *pool);
    void (*attention)(const kernel_attn_args *a, os_pool *pool);
    /* Store one token's k and v rows ([n_head_kv][head_dim] f32 each) at position pos, as the type keeps them
     * (docs/arithmetic-attention.md). */
    void (*kv_store)(kernel_kv_type type, uint32_t n_head_kv, uint32_t head_dim, const kernel_kv *kv, uint32_t pos,
                     const float *k, const float *v);
    /* out = x / sqrt(mean(x^2) + eps) * w; w NULL = 1. Sum over 16 virtual lanes, fixed tree. out may alias x. */
    void (*rms_norm)(const float *x, const float *w, float eps, uint64_t n, float *out);
    void (*layer_norm)(const float *x, const float *w, const float *b, float eps, uint64_t n, float *out);
    void (*add)(const float *a, const float *b, uint64_t n, float *out); /* out may alias */
    void (*mul)(const float *a, const float *b, uint64_t n, float *out);
    void (*scale)(const float *a, float s, uint64_t n, float *out);
    void (*silu_mul)(const float *gate, const float *up, uint64_t n, float *out); /* silu(gate) * up */
    void (*gelu_mul)(const float *gate, const float *up, uint64_t n, float *out); /* tanh form */
    /* Element by element; out may be an input. */
    void (*add_scaled)(const float *a, const float *b, float s, uint64_t n, float *out); /* a + s b */
    void (*relu_square)(const float *x, uint64_t n, float *out);                         /* max(x, 0)^2 */
    void (*gelu_erf)(const float *x, uint64_t n, float *out);                            /* x Phi(x) */
    void (*softcap)(const float *x, float cap, uint64_t n, float *out);                  /* cap tanh(x / cap) */
    /* Rotate n_head heads of head_dim in place; the first n_rot elements of each. cos/sin: [n_rot/2] for this position
     * (kernel_rope_angles). pairs: true = (2i, 2i+1), false = (i, i + n_rot/2). */
    void (*rope)(float *x, uint32_t n_head, uint32_t head_dim, uint32_t n_rot, const float *cos, const float *sin,
                 bool pairs);
    /* exp(x - max) / sum over n; for samplers and scores. Fixed tree sum. */
    void (*softmax)(float *x, uint64_t n);
    /* index of the largest, ties to the lower; *finite = every value is finite */
    uint64_t (*argmax)(const float *x, uint64_t n, bool *finite);
} kernel_table;

const kernel_table *kernel_table_get(kernel_isa isa); /* NULL when not available */

/* Rotary positions: pair i of n_rot / 2 turns by pos * freq_i. */
typedef struct kernel_rope {
    float base;           /* freq_i = base^(-2i / n_rot), base above 0 */
    uint32_t n_rot;       /* even */
    float scale;          /* freq_i times scale; 1 = none */
    const float *factors; /* [n_rot / 2] freq_i divided by factor i; NULL = none */
    /* YaRN (Peng et al. 2023): pairs that turn often within n_ctx_orig keep their frequency, slow ones are scaled,
     * those between are mixed. */
    float yarn;                 /* share of it, 0..1; 0 = every pair is scaled alike */
    float beta_fast, beta_slow; /* turns within n_ctx_orig above and below which a pair is fast or slow */
    uint32_t n_ctx_orig;
} kernel_rope;
/* freq [n_rot / 2], in f64. */
void kernel_rope_frequencies(const kernel_rope *r, double *freq);
/* cos and sin of pos * freq_i, times mscale, for i < n. Own range reduction and polynomials in f64, one specification
 * for all instruction sets. */
void kernel_rope_angles(uint32_t pos, const double *freq, uint32_t n, float mscale, float *cos_out, float *sin_out);

/* The specification of the transcendental functions, for every rank that needs one (no libm but fmaf and sqrtf). */
float kernel_expf(float x);
float kernel_tanhf(float x);
double kernel_exp(double x);
double kernel_log(double x);
#endif
