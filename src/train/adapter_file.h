/* A trained adapter as a file, in llama.cpp's LoRA format (docs/adapters.md), with the digest of its base. */
#ifndef MUGA_TRAIN_ADAPTER_FILE_H
#define MUGA_TRAIN_ADAPTER_FILE_H

#include "train/train.h"

/* Whole or not there. base_sha256: 64 hex digits of the model's file (gguf_digest). type: of its numbers, F32, F16 or
 * BF16. The same trainer gives the same bytes. */
MUGA_MUST_USE muga_status train_adapter_write(const trainer *t, const char *architecture, const char *base_sha256,
                                              tensor_type type, const os_files *f, const char *path, muga_error *err);

#endif
