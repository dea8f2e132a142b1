/* Checked allocation and the arena. Owns: every size multiplication on its way to malloc.
 * Refuses: aborting on exhaustion; NULL goes back to the caller, who says what did not fit.
 *
 * The arena is a list of zeroed blocks, newest first; only the head has room:
 *
 *   head -> [next|used|cap| data ....used....|....cap ] -> [ full ] -> [ full ] -> NULL
 *
 * A request too large for a usual block gets a block of its own behind the head, so that the head's room is kept. */
#include "base/mem.h"

#include <stdio.h>

#define ARENA_ALIGN 16
#define ARENA_FIRST_BLOCK ((size_t)4 << 10)
#define ARENA_LARGEST_BLOCK ((size_t)1 << 20)

void *mem_alloc_array(size_t n, size_t size) {
    size_t bytes;
    if (!size_mul(n, size, &bytes)) {
        return NULL;
    }
    return calloc(1, MAX(bytes, 1));
}

void *mem_resize_array(void *p, size_t n, size_t size) {
    size_t bytes;
    if (!size_mul(n, size, &bytes)) {
        return NULL;
    }
    return realloc(p, MAX(bytes, 1));
}

void *mem_alloc_aligned(size_t bytes, size_t alignment) {
    void *p = NULL;
    bytes = MAX(bytes, 1);
    if (posix_memalign(&p, MAX(alignment, sizeof(void *)), bytes)) {
        return NULL;
    }
    memset(p, 0, bytes);
    return p;
}

char *mem_copy_bytes(const void *p, size_t n) {
    size_t bytes;
    if (!size_add(n, 1, &bytes)) {
        return NULL;
    }
    char *copy = malloc(bytes);
    if (copy) {
        if (n > 0) {
            memcpy(copy, p, n);
        }
        copy[n] = '\0';
    }
    return copy;
}

char *mem_copy_string(const char *s) {
    return mem_copy_bytes(s, strlen(s));
}

struct arena_block {
    arena_block *next;
    size_t used, cap; /* bytes of data */
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

void arena_init(arena *a, size_t max_bytes) {
    *a = (arena){NULL, 0, max_bytes};
}

static arena_block *block_new(size_t cap) {
    size_t bytes;
    if (!size_add(sizeof(arena_block), cap, &bytes)) {
        return NULL;
    }
    arena_block *b = calloc(1, bytes);
    if (b) {
        b->cap = cap;
    }
    return b;
}

/* A block with room for `bytes`, linked in; NULL when memory is out. */
static arena_block *block_for(arena *a, size_t bytes) {
    arena_block *head = a->head;
    if (head && head->cap - head->used >= bytes) {
        return head;
    }
    size_t usual = head ? MIN(2 * MAX(head->cap, ARENA_FIRST_BLOCK / 2), ARENA_LARGEST_BLOCK) : ARENA_FIRST_BLOCK;
    bool own = head && bytes > usual / 2;
    arena_block *b = block_new(MAX(own ? bytes : usual, bytes));
    if (!b) {
        return NULL;
    }
    if (own) {
        b->next = head->next;
        head->next = b;
    } else {
        b->next = head;
        a->head = b;
    }
    return b;
}

void *arena_alloc(arena *a, size_t bytes) {
    size_t rounded, total;
    if (!size_add(MAX(bytes, 1), ARENA_ALIGN - 1, &rounded)) {
        return NULL;
    }
    rounded &= ~(size_t)(ARENA_ALIGN - 1);
    if (!size_add(a->used_bytes, rounded, &total) || (a->max_bytes > 0 && total > a->max_bytes)) {
        return NULL;
    }
    arena_block *b = block_for(a, rounded);
    if (!b) {
        return NULL;
    }
    void *p = b->data + b->used;
    b->used += rounded;
    a->used_bytes = total;
    return p;
}

char *arena_copy_bytes(arena *a, const void *p, size_t n) {
    size_t bytes;
    char *copy = size_add(n, 1, &bytes) ? arena_alloc(a, bytes) : NULL;
    if (copy && n > 0) {
        memcpy(copy, p, n); /* the terminating NUL is there: blocks are zeroed */
    }
    return copy;
}

char *arena_copy_string(arena *a, const char *s) {
    return arena_copy_bytes(a, s, strlen(s));
}

char *arena_printf(arena *a, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = n >= 0 ? arena_alloc(a, (size_t)n + 1) : NULL;
    if (text) {
        vsnprintf(text, (size_t)n + 1, format, again);
    }
    va_end(again);
    va_end(args);
    return text;
}

void arena_release(arena *a) {
    arena_block *next;
    for (arena_block *b = a->head; b; b = next) {
        next = b->next;
        free(b);
    }
    a->head = NULL;
    a->used_bytes = 0;
}
