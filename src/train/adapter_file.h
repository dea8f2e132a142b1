/* A trained adapter as a file, in llama.cpp's LoRA format (docs/adapters.md), with the digest of its base. */
#ifndef MUGA_TRAIN_ADAPTER_FILE_H
#define MUGA_TRAIN_ADAPTER_FILE_H

#include "train/train.h"

/* Whole or not there. base_sha256: 64 hex digits of the model's file (gguf_digest). type: of its numbers, F32, F16 or
 * BF16. The same trainer gives the same bytes. */
MUGA_MUST_USE muga_status train_adapter_write(const trainer *t, const char *architecture, const char *base_sha256,
                                              tensor_type type, const os_files *f, const char *path, muga_error *err);

/* What of an adapter's file a trainer must be made with to go on from it: its rank, and alpha (that of the rank where
 * the file has none). MUGA_E_INPUT: no adapter, or pairs of several ranks. */
typedef struct train_start {
    uint32_t rank;
    float alpha;
} train_start;
MUGA_MUST_USE muga_status train_adapter_start(const gguf_file *f, train_start *out, muga_error *err);
/* Begin from an adapter's pairs instead of from nothing: before the first step. Every pair of the trainer must be in
 * the file and no other, in F32, F16 or BF16, of the same shape; MUGA_E_INPUT names the first that isn't. */
MUGA_MUST_USE muga_status train_adapter_read(trainer *t, const gguf_file *f, muga_error *err);

#endif
