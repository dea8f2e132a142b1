/* A GGUF file with its matrices in another type.
 *
 * Matrices get the types of a mixture; one that has its type already is copied. Vectors are kept, in F32. Keys are
 * copied byte for byte but for general.file_type and general.quantization_version; a model in parts becomes one file.
 * The file is written piece by piece: memory is bounded by a few MB whatever the model, and `path` is whole or not
 * there (os_output). The bytes depend on the input and the options alone, not on threads. */
#ifndef MUGA_CONVERT_QUANTISE_FILE_H
#define MUGA_CONVERT_QUANTISE_FILE_H

#include "convert/importance.h"
#include "convert/merge.h"
#include "convert/mixture.h"
#include "os/os.h"

typedef struct quantise_options {
    const mixture_kind *kind;
    bool pure;                    /* every matrix gets the kind's base type */
    const importance *importance; /* weights of the errors; NULL = all the same */
    merge *merge;                 /* an adapter of `in` that is folded in; NULL = none */
    const os_files *files;
    os_pool *pool;                               /* NULL = inline */
    bool (*on_progress)(void *ctx, double done); /* 0..1; false cancels; may be NULL */
    void *on_progress_ctx;
} quantise_options;

typedef struct quantise_report {
    uint64_t n_params, bytes_in, bytes_out; /* elements of all tensors; whole files */
    uint32_t n_copied, n_quantised, n_fell_back, n_unweighted;
    uint32_t n_of_type[TENSOR_NVFP4 + 1]; /* matrices by type, as written */
    tensor_type coarsest;                 /* the input's matrices: fewest bits of those quantised anew; F32 = none */
    double square_error, square_sum;      /* over the matrices quantised anew */
} quantise_report;

/* Can it be quantised, and from what: the part of the report that is known without writing. E_INPUT names a tensor of a
 * type that can't be read. */
MUGA_MUST_USE muga_status quantise_plan(const gguf_file *in, const quantise_options *o, quantise_report *report,
                                        muga_error *err);
/* E_INPUT or E_NONFINITE name tensor, row and column; E_CANCELLED; E_ENV a full disk. */
MUGA_MUST_USE muga_status quantise_file(const gguf_file *in, const char *path, const quantise_options *o,
                                        quantise_report *report, muga_error *err);

#endif
