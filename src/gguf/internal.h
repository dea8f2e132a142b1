/* Private to gguf/: what an open file is made of. gguf.c reads one file, parts.c adds the other parts of a split model,
 * override.c replaces the values of keys. */
#ifndef MUGA_GGUF_INTERNAL_H
#define MUGA_GGUF_INTERNAL_H

#include "base/mem.h"
#include "gguf/gguf.h"

#define MAX_SHOWN 80 /* of a path: a blob's name in the store fits */
#define DAMAGED "the file is damaged or cut short: fetch it again"

typedef struct gguf_key {
    char *name; /* in names */
    gguf_type type;
    gguf_type element;    /* of an array */
    uint64_t n;           /* elements of an array, bytes of a string */
    uint64_t bytes;       /* of all elements of an array */
    const uint8_t *value; /* first byte of scalar, text or first element; into the mapping, or names (override) */
} gguf_key;

typedef struct name_index {
    const char *name;
    uint32_t i;
} name_index;

struct gguf_file {
    os_map map;
    bool mapped;
    char *path; /* for messages: at most MAX_SHOWN bytes */
    uint32_t version;
    uint64_t alignment, data_start;
    gguf_key *keys;
    gguf_tensor *tensors;
    name_index *key_index, *tensor_index; /* sorted by name */
    uint64_t n_keys, n_tensors;
    uint64_t strings_bytes; /* of the arrays of strings walked so far */
    arena names;
    struct gguf_file *
        *parts; /* [n_parts] the second part of a split model and on; their tensors are in the table too */
    uint32_t n_parts, n_overrides;
};

gguf_key *gguf_find_key(const gguf_file *f, const char *key); /* NULL when absent */
uint32_t gguf_scalar_bytes(uint32_t type);                    /* 0 for strings, arrays and what is not defined */
/* By name; MUGA_E_INPUT naming the first that is there twice. */
muga_status gguf_sort_index(gguf_file *f, name_index *index, uint64_t n, const char *kind, muga_error *err);
/* Takes over the mapping, on failure too. */
muga_status gguf_open_map(const char *path, os_map map, bool mapped, gguf_file **out, muga_error *err);
/* The other parts of a model whose first part f is; nothing where it is whole. */
muga_status parts_open(gguf_file *f, const char *path, muga_error *err);

#endif
