/* Checked sizes, the arena, and the growable array. Every size that comes from outside passes through here. */
#ifndef MUGA_BASE_MEM_H
#define MUGA_BASE_MEM_H

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* false on overflow; *out is then untouched. */
static inline bool size_add(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline bool size_mul(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool u64_add(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline bool u64_mul(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

/* calloc/realloc with the product checked; NULL on overflow or exhaustion. n == 0 gives a valid pointer. */
void *mem_alloc_array(size_t n, size_t size);            /* zeroed */
void *mem_resize_array(void *p, size_t n, size_t size);  /* as realloc; the old block stays valid on failure */
void *mem_alloc_aligned(size_t bytes, size_t alignment); /* power of two; zeroed; release with free() */
char *mem_copy_string(const char *s);                    /* NULL on exhaustion */
char *mem_copy_bytes(const void *p, size_t n);           /* n bytes plus a terminating NUL */

/* Arena: many allocations, one free. Not thread-safe. Alignment 16. Grows by blocks up to max_bytes
 * (0 = no maximum); past it, or when malloc fails, arena_alloc gives NULL and the arena stays usable. */
typedef struct arena_block arena_block;
typedef struct arena {
    arena_block *head;
    size_t used_bytes, max_bytes;
} arena;
void arena_init(arena *a, size_t max_bytes);
void *arena_alloc(arena *a, size_t bytes);                 /* zeroed */
char *arena_copy_bytes(arena *a, const void *p, size_t n); /* plus NUL */
char *arena_copy_string(arena *a, const char *s);
char *arena_printf(arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
void arena_release(arena *a); /* frees all; the arena may be used again */

#endif
