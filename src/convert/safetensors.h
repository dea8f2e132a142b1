/* safetensors reader: one file, mapped and checked whole before anything is used.
 *
 *   u64 length of the header, little-endian | header: a JSON object | data
 *   header: {"__metadata__": {text: text}, "NAME": {"dtype": "F16", "shape": [rows, cols], "data_offsets": [from, to]}}
 *
 * Invariants after safetensors_open succeeds: names are unique, 1 to 255 bytes; at most 8 dimensions; each extent lies
 * inside the data and has the bytes that shape and dtype say; extents follow each other without hole or overlap to the
 * file's last byte. Limits: 64 MiB of header, 2^16 tensors. Memory is in proportion to the header. Threads: immutable
 * after open. Source: the format's description by its authors (Hugging Face, safetensors 0.4). */
#ifndef MUGA_CONVERT_SAFETENSORS_H
#define MUGA_CONVERT_SAFETENSORS_H

#include "os/os.h"
#include "tensor/tensor.h"

#define SAFETENSORS_MAX_HEADER ((uint64_t)64 << 20)
#define SAFETENSORS_MAX_TENSORS 65536u
#define SAFETENSORS_MAX_DIMS 8u

typedef struct safetensors_file safetensors_file;

typedef struct safetensors_tensor {
    const char *name;  /* owned by the file */
    const char *dtype; /* the format's name, "BF16" */
    bool readable;     /* F32, F16 or BF16: `type` is set */
    tensor_type type;
    uint32_t n_dims;
    uint64_t shape[SAFETENSORS_MAX_DIMS]; /* slowest first: [rows][cols] */
    uint64_t bytes;
    const uint8_t *data; /* into the mapping, at any alignment */
} safetensors_tensor;

MUGA_MUST_USE muga_status safetensors_open(const char *path, safetensors_file **out, muga_error *err);
/* The same over bytes in memory, borrowed until close; for tests and fuzzing. */
MUGA_MUST_USE muga_status safetensors_open_memory(const void *p, size_t n, safetensors_file **out, muga_error *err);
void safetensors_close(safetensors_file *f);

uint32_t safetensors_count(const safetensors_file *f);
const safetensors_tensor *safetensors_at(const safetensors_file *f, uint32_t i); /* ascending names */
const safetensors_tensor *safetensors_find(const safetensors_file *f, const char *name);
const os_map *safetensors_map(const safetensors_file *f); /* NULL for memory */

#endif
