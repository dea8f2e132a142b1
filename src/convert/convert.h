/* A Hugging Face folder as one GGUF file that the engine runs.
 *
 * Keys, tensors and vocabulary are taken over in the engine's terms (docs/convert.md); whatever would give other
 * results than the folder's model is refused by name. Matrices keep their type or get those of a mixture, tensor by
 * tensor: memory is bounded by the texts of the folder and by one tensor. `path` is whole or not there. The bytes
 * depend on the folder and the options alone. */
#ifndef MUGA_CONVERT_CONVERT_H
#define MUGA_CONVERT_CONVERT_H

#include "base/json.h"
#include "convert/mixture.h"
#include "os/os.h"

typedef struct convert_options {
    const char *type; /* "F32", or a kind of mixture.h; NULL = the embedding's type */
    const char *name; /* general.name; NULL = the folder's last name */
    /* {"config.json": PATH, "2/model.safetensors": PATH}: the files lie elsewhere, under any names, and `dir` is only
     * what errors call the folder that they would make. NULL = they are in dir; borrowed. */
    const json_t *named;
    const os_files *files;
    os_pool *pool;                               /* NULL = inline */
    bool (*on_progress)(void *ctx, double done); /* 0..1; false cancels; may be NULL */
    void *on_progress_ctx;
} convert_options;

typedef struct convert_report {
    const char *arch, *type; /* static */
    uint64_t n_params, bytes_out;
    uint32_t n_tensors, n_left_out, n_fell_back;
    uint32_t n_of_type[TENSOR_NVFP4 + 1]; /* matrices by type */
    double square_error, square_sum;      /* over what changed its type */
} convert_report;

/* E_USAGE: no such type; E_NOT_FOUND: folder or file; E_INPUT, E_NONFINITE name file, key or tensor; E_CANCELLED;
 * E_ENV a full disk. */
MUGA_MUST_USE muga_status convert_folder(const char *dir, const char *path, const convert_options *o,
                                         convert_report *report, muga_error *err);

#endif
