/* The packed file: what loading makes of a model, kept beside it, so that the next start maps instead of packing. It
 * holds the panels of every matrix, the small vectors and the tokenizer's tables, in the order in which loading asks
 * for them (docs/packed.md has the format).
 *
 * Nothing depends on it: a file that is missing, of another version, of another source or out of shape is as good as
 * none, and everything is made from the model and written again. Its head is checked whole at open (digest, bounds,
 * order), each item against what loading needs; the content's digest by packed_check alone, since reading all of it is
 * what a start saves.
 *
 * Life cycle: packed_new -> packed_map, perhaps -> packed_find and packed_add, in loading's order -> packed_write,
 * perhaps -> packed_free, after everything that borrows from it. One thread. */
#ifndef MUGA_MODEL_PACKED_H
#define MUGA_MODEL_PACKED_H

#include "gguf/gguf.h"
#include "kernel/kernel.h"

typedef struct packed_file packed_file;

typedef enum { PACKED_MATRIX, PACKED_VECTOR, PACKED_TABLE, PACKED_KINDS } packed_kind;
#define PACKED_NAME_BYTES 64 /* with the final NUL */

/* One stretch of bytes and what they are: items are the same when all but data is. */
typedef struct packed_item {
    char name[PACKED_NAME_BYTES]; /* of a tensor (of a product's first), or of a table */
    packed_kind kind;
    uint32_t type;       /* tensor_type; of tables: bytes of an element */
    uint32_t n_parts;    /* matrices packed as one; 1 otherwise */
    uint64_t rows, cols; /* of tables: 1 and the elements */
    const void *data;    /* 64-byte aligned where it comes from a file */
    uint64_t bytes;
} packed_item;

/* For the model `file`, borrowed until packed_write. MUGA_E_NOMEM. */
MUGA_MUST_USE muga_status packed_new(const gguf_file *file, packed_file **out, muga_error *err);
void packed_free(packed_file *p);

/* Use the file at `path`. What is against it: MUGA_E_NOT_FOUND, E_INPUT, E_ENV, and p is as it was. */
MUGA_MUST_USE muga_status packed_map(packed_file *p, const char *path, muga_error *err);
bool packed_is_mapped(const packed_file *p);
/* The next item of a mapped file, which must be this one: data is set, borrowed from p; of a table cols and bytes, too.
 * Else false, and the file is in doubt: nothing more is found, and what was found is not to be used. */
bool packed_find(packed_file *p, packed_item *item);
bool packed_in_doubt(const packed_file *p);
void packed_doubt(packed_file *p); /* what was found is not what it should be */
/* An item made here; data is borrowed until packed_write, a vector's is copied. Without memory for it packed_write will
 * fail. */
void packed_add(packed_file *p, const packed_item *item);

/* All items to `path`, whose folder is made where it is missing: whole or not at all (os_output). source: where the
 * model is, for packed_source; at most 4096 bytes. */
MUGA_MUST_USE muga_status packed_write(const packed_file *p, const os_files *files, const char *path,
                                       const char *source, muga_error *err);

/* ---- for keeping house ---- */
/* MUGA_E_INPUT where head or content are not what they were when it was written, or the version is not this one's. */
MUGA_MUST_USE muga_status packed_check(const char *path, muga_error *err);
/* Is it of a model that is still at the place it names, as it was then? MUGA_E_NOT_FOUND says what is not. */
MUGA_MUST_USE muga_status packed_check_source(const os_files *files, const char *path, muga_error *err);
#endif
