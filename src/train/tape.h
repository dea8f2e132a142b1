/* Reverse mode: operations that compute at once and note how to go back.
 *
 * A template (real.h): included once for each kind of number. A tape belongs to one thread, which spreads the work over
 * a pool; every sum has one order, whatever the threads. Operations whose memory is out give NULL and set `failed`;
 * those that are given NULL give NULL, so a graph is written straight down and checked once at its end.
 *
 * Gradients are added up: a matrix may be used twice. The weights of the base have none. */
#include "model/layers.h"
#include "train/memory.h"
#include "train/pass.h"

/* A matrix in the tape's memory. */
typedef struct var {
    real *v, *g;   /* values, and the loss's gradient by them: g NULL = nobody asks for it, or not given yet */
    size_t stride; /* reals from row to row, of both */
    uint32_t rows, cols;
    bool wanted;         /* somebody asks for the gradient */
    struct var *part_of; /* columns of another; NULL = none */
    struct var *before;  /* the one made before it */
} var;

typedef struct tape {
    tape_memory *memory; /* borrowed */
    os_pool *pool;       /* borrowed; NULL = inline */
    bool recording;      /* else only values are computed, and no matrix gets a gradient */
    bool late;           /* gradients get their memory by tape_give, when the tape goes back */
    bool failed;         /* memory ran out */
    void *last;          /* the operations noted, backwards */
    var *vars;           /* what was made, backwards */
} tape;

/* A matrix of the caller's: values to be filled in, gradient zero where the tape records and it is wanted. */
var *tape_var(tape *t, uint32_t rows, uint32_t cols, bool wanted);
/* Gradients, zero, for those of the tape's vars that are wanted and have none. */
void tape_give(tape *t);
/* Go back through what was noted, once: the gradients of what came out are there, those of what went in get theirs. */
void tape_backward(tape *t);

/* Rows ids[i] of a table, times scale. The table is the base's: no gradient. */
var *tape_embedding(tape *t, const tensor_view *table, const int32_t *ids, uint32_t n, float scale);

/* Columns [from, from + n) of x, in place: not a copy. */
var *tape_columns(tape *t, var *x, uint32_t from, uint32_t n);

/* Some rows of x, each at most once. */
var *tape_rows(tape *t, var *x, const uint32_t *rows, uint32_t n);

/* Each of n_head parts of a row is normed by itself with the same weights [cols / n_head].
 * rms: x / sqrt(mean(x^2) + eps) * w; layer: (x - mean) / sqrt(variance + eps) * w + b. */
typedef struct tape_norm_args {
    const float *w, *b; /* w NULL = 1, b NULL = 0 */
    float eps;
    bool layer;
    uint32_t n_head;
} tape_norm_args;
var *tape_norm(tape *t, var *x, const tape_norm_args *a);

/* Turn the first n_rot elements of each head; cosines and sines [rows][n_rot / 2] of each row's position. */
typedef struct tape_rope_args {
    const float *cos, *sin; /* borrowed until the tape has gone back */
    uint32_t n_head, head_dim, n_rot;
    bool pairs; /* (2i, 2i + 1); else (i, i + n_rot/2) */
} tape_rope_args;
var *tape_rope(tape *t, var *x, const tape_rope_args *a);

/* Causal attention inside segments: q [rows][n_head * head_dim], k and v [rows][n_head_kv * head_dim]. */
typedef struct tape_attention_args {
    uint32_t n_head, n_head_kv, head_dim;
    float scale, softcap; /* softcap 0 = none */
    uint32_t window;      /* 0 = none */
    const train_segments *segments;
} tape_attention_args;
var *tape_attention(tape *t, var *q, var *k, var *v, const tape_attention_args *a);

/* What an adapter adds to one matrix: scale * B (A x); gradients are added to ga and gb. */
typedef struct tape_pair {
    const real *a, *b; /* [rank][cols] and [rows][rank]; a NULL = none */
    real *ga, *gb;
    uint32_t rank;
    real scale;
} tape_pair;

/* Matrices over the same input, outputs side by side: y = W x + scale B (A x) + bias. */
typedef struct tape_linear_args {
    tensor_view w[MODEL_MAX_PARTS]; /* of any type; dequantised piece by piece, forward and back */
    tape_pair pair[MODEL_MAX_PARTS];
    uint32_t n_w;
    const float *bias; /* [all outputs]; NULL = none */
} tape_linear_args;
var *tape_linear(tape *t, var *x, const tape_linear_args *a);

/* act(first half of the columns) * second half; gelu in its tanh form. */
var *tape_gated(tape *t, var *x, bool gelu);
var *tape_relu_square(tape *t, var *x);              /* max(x, 0)^2 */
var *tape_add(tape *t, var *x, var *y, float scale); /* x + scale * y */

/* Softmax cross-entropy of some rows of x against the output matrix: logits = W x, divided by logit_scale, capped.
 * The whole of it in one operation, a few rows at a time, so that the logits of all rows never stand in memory; what it
 * adds to x's gradient is `weight` times the gradient of the sum over rows. */
typedef struct tape_loss_args {
    tensor_view w; /* [n_vocab][cols] */
    float logit_scale, logit_cap;
    uint32_t n;
    const uint32_t *row;  /* [n] of x */
    const int32_t *label; /* [n] */
    real weight;
    double *loss; /* [n] out: -ln p(label) */
    real *logits; /* [n][n_vocab] out, as the softmax takes them; NULL = not wanted */
} tape_loss_args;
void tape_loss(tape *t, var *x, const tape_loss_args *a);

/* ---- a whole model ---- */
typedef struct pass_args {
    const train_layout *layout;
    const train_pass *pass;
    const real *params;  /* [layout->n_params] */
    real *grads;         /* the same, added to; NULL = only the loss is wanted */
    real weight;         /* of each target in the gradient: 1 / all targets of the step */
    uint64_t keep_bytes; /* of what layers compute stays from the way there to the way back; others compute it again */
    uint64_t *n_again;   /* rises by the number of layers that did; not used without grads */
    tape_memory *memory;
    os_pool *pool;
    double *loss; /* [n_target] out */
    real *logits; /* [n_target][n_vocab] out; NULL = not wanted */
} pass_args;
/* False: memory ran out, and grads hold nothing of use. */
bool train_pass_run(const pass_args *a);
