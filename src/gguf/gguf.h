/* GGUF reader, versions 2 and 3: maps the file and checks all of it before anything is used.
 *
 * Invariants after gguf_open succeeds: every key is unique, 1..65535 bytes, valid UTF-8; every tensor name is unique
 * and at most 63 bytes; 1..4 dims, none zero; row length a multiple of the type's block; offset aligned; the extent
 * lies inside the file and shares no byte with another's. Memory is in proportion to the file. Limits: 2^16 keys, 2^16
 * tensors, arrays one deep, 256 MiB in arrays of strings, alignment a power of two from 8 to 65536. Threads: immutable
 * after open. */
#ifndef MUGA_GGUF_H
#define MUGA_GGUF_H

#include "base/hash.h"
#include "base/str.h"
#include "os/os.h"
#include "tensor/tensor.h"

typedef enum gguf_type {
    GGUF_U8 = 0,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
} gguf_type;

typedef struct gguf_file gguf_file;

typedef struct gguf_tensor {
    const char *name; /* NUL-terminated, owned by the file */
    tensor_type type;
    uint32_t n_dims;
    uint64_t dims[4]; /* dims[0] = row length (fastest); unused = 1 */
    uint64_t bytes;
    const void *data; /* into the mapping */
} gguf_tensor;

/* Array value: strings are walked, numbers indexed. */
typedef struct gguf_array {
    gguf_type type;
    uint64_t n; /* elements */
    const uint8_t *data;
    uint64_t bytes; /* of all elements, lengths of strings included */
} gguf_array;

/* The first part of a split model (NAME-00001-of-00003.gguf) brings the others, which lie beside it: keys are the first
 * part's, tensors those of all. Another part alone is refused. */
MUGA_MUST_USE muga_status gguf_open(const char *path, gguf_file **out, muga_error *err);
/* The same over bytes in memory (borrowed until close; aligned to 8 if tensors are read); for tests and fuzzing. */
MUGA_MUST_USE muga_status gguf_open_memory(const void *p, size_t n, gguf_file **out, muga_error *err);
void gguf_close(gguf_file *f);

uint32_t gguf_version(const gguf_file *f);
uint64_t gguf_file_bytes(const gguf_file *f); /* all parts */
const char *gguf_path(const gguf_file *f);    /* for messages; "memory" where there is none */
/* The mappings, one a part; n 0 for memory. */
uint32_t gguf_map_count(const gguf_file *f);
const os_map *gguf_map_at(const gguf_file *f, uint32_t i);
/* MUGA_E_ENV when a part was written to or cut short since it was opened. */
MUGA_MUST_USE muga_status gguf_check_unchanged(const gguf_file *f, const char *path, muga_error *err);
/* SHA-256 of the file, the parts of a split model one behind the other; pages are given back as it is read. */
void gguf_digest(const gguf_file *f, char hex[SHA256_HEX]);
/* Give back a tensor's pages; they are read again when touched. */
void gguf_forget(const gguf_file *f, const gguf_tensor *t);

/* Put a value in a key's place, as if the file held it: "KEY=VALUE" where the file has the key, "KEY=TYPE:VALUE" (int,
 * float, bool, str) for any key. At most 64; before the file is used. MUGA_E_USAGE says what is wrong with the text. */
MUGA_MUST_USE muga_status gguf_override(gguf_file *f, const char *text, muga_error *err);
#define GGUF_MAX_OVERRIDES 64
/* gguf_open, then each override. */
MUGA_MUST_USE muga_status gguf_open_overridden(const char *path, const char *const *overrides, size_t n,
                                               gguf_file **out, muga_error *err);

/* Keys. `get` forms: MUGA_OK and *out; MUGA_E_NOT_FOUND when absent (err untouched); MUGA_E_INPUT when of another type
 * or out of range (err names the key). Integers: any integer type whose value fits. Floats: F32 or F64. */
muga_status gguf_get_u32(const gguf_file *f, const char *key, uint32_t *out, muga_error *err);
muga_status gguf_get_u64(const gguf_file *f, const char *key, uint64_t *out, muga_error *err);
muga_status gguf_get_f32(const gguf_file *f, const char *key, float *out, muga_error *err);
muga_status gguf_get_bool(const gguf_file *f, const char *key, bool *out, muga_error *err);
muga_status gguf_get_string(const gguf_file *f, const char *key, span *out, muga_error *err);
muga_status gguf_get_array(const gguf_file *f, const char *key, gguf_type element, gguf_array *out, muga_error *err);

/* Walk a string array: *at starts at 0 bytes; false at the end. Whoever relies on getting a->n strings counts them: the
 * file may have been written to since it was opened. */
bool gguf_array_next_string(const gguf_array *a, uint64_t *at, span *out);
double gguf_array_number(const gguf_array *a, uint64_t i); /* numeric and bool arrays */
int64_t gguf_array_int(const gguf_array *a, uint64_t i);   /* integer and bool arrays; saturates U64 */

uint64_t gguf_key_count(const gguf_file *f);
/* i-th key in file order. For scalars and strings `text` appends a readable form; arrays give "[n x type]". */
const char *gguf_key_name(const gguf_file *f, uint64_t i, gguf_type *type);
void gguf_key_write(const gguf_file *f, uint64_t i, str *text);
/* Its value as the file encodes it, with the length of a string and the header of an array; into the mapping. */
span gguf_key_bytes(const gguf_file *f, uint64_t i);

uint64_t gguf_tensor_count(const gguf_file *f);
const gguf_tensor *gguf_tensor_at(const gguf_file *f, uint64_t i);
const gguf_tensor *gguf_tensor_find(const gguf_file *f, const char *name); /* NULL when absent */

/* ---- writer (gguf/writer.c): version 3, in memory (finish) or head first and tensors one by one (head, pad) ---- */
typedef struct gguf_writer gguf_writer;
gguf_writer *gguf_writer_new(void); /* NULL on exhaustion; adds remember failure until finish or head */
void gguf_writer_free(gguf_writer *w);
/* The i-th key of a file, byte for byte. Its "general.alignment" becomes the writer's. */
void gguf_writer_copy_key(gguf_writer *w, const gguf_file *f, uint64_t i);
void gguf_writer_add_u32(gguf_writer *w, const char *key, uint32_t v);
void gguf_writer_add_f32(gguf_writer *w, const char *key, float v);
void gguf_writer_add_bool(gguf_writer *w, const char *key, bool v);
void gguf_writer_add_string(gguf_writer *w, const char *key, const char *v);
void gguf_writer_add_strings(gguf_writer *w, const char *key, const span *v, size_t n);
void gguf_writer_add_i32s(gguf_writer *w, const char *key, const int32_t *v, size_t n);
void gguf_writer_add_bytes(gguf_writer *w, const char *key, const void *v, size_t n); /* an array of U8 */
void gguf_writer_add_f32s(gguf_writer *w, const char *key, const float *v, size_t n);
void gguf_writer_add_tensor(gguf_writer *w, const char *name, tensor_type type, const uint64_t *dims, uint32_t n_dims,
                            const void *data); /* data borrowed until finish; not read by head */
/* Appends the whole file to out. Alignment 32 unless a copied key says otherwise. */
MUGA_MUST_USE muga_status gguf_writer_finish(gguf_writer *w, str *out, muga_error *err);
/* Appends what stands before the first tensor's data. The data follows in the order of gguf_writer_add_tensor, each
 * tensor's gguf_writer_tensor_bytes followed by gguf_writer_pad_bytes of zeros. */
MUGA_MUST_USE muga_status gguf_writer_head(const gguf_writer *w, str *out, muga_error *err);
uint64_t gguf_writer_tensor_bytes(const gguf_writer *w, size_t i_tensor);
uint64_t gguf_writer_pad_bytes(const gguf_writer *w, size_t i_tensor);
uint64_t gguf_writer_data_bytes(const gguf_writer *w); /* all tensors with their padding */
#endif
