/* A LoRA adapter folded into a model's weights: W' = W + s B A, s = scale * alpha / rank (docs/adapters.md).
 *
 * Goes into quantise_file: each matrix that the adapter changes is dequantised, summed in double, rounded once to f32
 * and written in its new type; every other tensor and every key is as quantise_file leaves it. An embedding that serves
 * as output, too, gets an output.weight of its own, as it was: an adapter of the embedding changes the look-up alone.
 *
 * Refused by name: what the engine would refuse to run (model/adapter.c has the list), and a base that isn't the one
 * the adapter names. Threads: immutable once made, but for merge_begin. */
#ifndef MUGA_CONVERT_MERGE_H
#define MUGA_CONVERT_MERGE_H

#include "gguf/gguf.h"

typedef struct merge merge;
typedef struct merge_options {
    float scale; /* as a user gives it; 1 = as trained; finite */
    const char
        *sha256; /* of the base's file (gguf_digest); NULL = not compared with the adapter's MODEL_ADAPTER_BASE_KEY */
} merge_options;

/* Checks all of the adapter against the base; both are borrowed until merge_free. E_INPUT names the key or tensor. */
MUGA_MUST_USE muga_status merge_new(const gguf_file *base, const gguf_file *adapter, const merge_options *o,
                                    merge **out, muga_error *err);
void merge_free(merge *m);

uint32_t merge_count(const merge *m);             /* matrices that change */
bool merge_has(const merge *m, const char *name); /* whether this tensor does */
const gguf_tensor *merge_output(const merge *m);  /* the tensor that the base doesn't have; NULL = none */
/* Makes a tensor of merge_has the one that merge_add adds to; its factors are kept as floats until the next. */
MUGA_MUST_USE muga_status merge_begin(merge *m, const char *name, muga_error *err);
/* values [n] of `row` from `column` on; ctx is the merge. From any thread (requantise_args.add). */
void merge_add(const void *ctx, uint64_t row, uint64_t column, float *values, uint64_t n);

#endif
