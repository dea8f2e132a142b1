/* One tensor in another type, written piece by piece to a file.
 *
 * A batch of pieces is dequantised, checked, quantised and held against the input over the pool, then written in order:
 * memory is bounded by a few MB whatever the tensor. A tensor that has its type already is copied, unless something is
 * added to it. The bytes depend on the tensor, what is added, the type and the weights alone, not on threads.
 */
#ifndef MUGA_CONVERT_REQUANTISE_H
#define MUGA_CONVERT_REQUANTISE_H

#include "gguf/gguf.h"

typedef struct requantiser requantiser; /* the buffers; one thread at a time */
MUGA_MUST_USE muga_status requantiser_new(os_pool *pool, requantiser **out, muga_error *err); /* pool NULL = inline */
void requantiser_free(requantiser *r);

typedef struct requantise_args {
    const gguf_tensor *in; /* rows of whole blocks of `type` */
    tensor_type type;
    const float *weights; /* [row length] of the errors; NULL = all the same */
    /* Adds to n values of a row, from `column` on, before they are quantised; called from several threads. NULL =
     * nothing: then a tensor of `type` is copied. */
    void (*add)(const void *ctx, uint64_t row, uint64_t column, float *values, uint64_t n);
    const void *add_ctx;
    os_output *out;
    bool (*on_elems)(void *ctx, uint64_t n); /* n more elements are written; false cancels */
    void *on_elems_ctx;
} requantise_args;

/* Sums over the elements quantised anew; added to. */
typedef struct requantise_sums {
    double square_error, square; /* of what came back less what went in; of what went in */
} requantise_sums;

/* E_NONFINITE or E_INPUT name tensor, row and column of a value that isn't a number or is too large for the type;
 * E_CANCELLED; E_ENV a full disk. */
MUGA_MUST_USE muga_status requantise_write(requantiser *r, const requantise_args *a, requantise_sums *sums,
                                           muga_error *err);

#endif
