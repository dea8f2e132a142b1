/* Which type each tensor of a quantised model gets.
 *
 * A kind of quantised file ("Q4_K_M") is a base type and a few exceptions: the matrices on which quality depends most
 * (output, attention's values and output, the feed-forward's way down) get more bits, some in all layers, some where
 * errors weigh most, in the first and the last. The mixtures are those in common use, so a name means here what it
 * means elsewhere. docs/quantize.md has the table. */
#ifndef MUGA_CONVERT_MIXTURE_H
#define MUGA_CONVERT_MIXTURE_H

#include "gguf/gguf.h"

typedef struct mixture_kind {
    const char *name;   /* "Q4_K_M" */
    uint32_t file_type; /* general.file_type */
    tensor_type base;
} mixture_kind;

/* By name, in either case; "Q3_K", "Q4_K" and "Q5_K" mean their _M. NULL when there is no such kind. */
const mixture_kind *mixture_find(const char *name);
/* The i-th, for lists; NULL past the end. */
const mixture_kind *mixture_at(size_t i);

typedef struct mixture {
    const mixture_kind *kind;
    uint32_t n_layer;
    uint32_t n_share; /* query heads a key head; 1 where the file doesn't say */
    bool has_output;  /* the output matrix isn't the embedding */
    bool weighted;    /* errors are weighted by what calibration gathered */
    bool pure;        /* every matrix gets the base type */
} mixture;
void mixture_init(const gguf_file *file, const mixture_kind *kind, bool weighted, bool pure, mixture *out);

/* Is it a matrix of weights? Vectors, norms, routers and tables of positions are kept as they are. */
bool mixture_is_matrix(const gguf_tensor *t);
/* The type a matrix gets. Where its rows aren't whole blocks of that, one of the same size that has blocks of 32, or
 * F16: *fell_back. */
tensor_type mixture_choose(const mixture *m, const gguf_tensor *t, bool *fell_back);

#endif
