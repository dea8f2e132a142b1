/* The memory of a tape (memory.h). */
#include "train/memory.h"

#include "base/mem.h"

#include <stdbool.h>

#define BLOCK_BYTES ((size_t)4 << 20)
#define ALIGNMENT 64

struct tape_block {
    tape_block *next;
    size_t size, used; /* bytes after the head, and of them in use */
    bool needed;       /* since the last reset */
};
#define HEAD_BYTES ALIGNMENT
_Static_assert(sizeof(tape_block) <= HEAD_BYTES, "what is handed out follows the head at its alignment");

void tape_memory_release(tape_memory *m) {
    for (tape_block *b = m->first, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(m->scratch);
    *m = (tape_memory){0};
}

/* Of the blocks that weren't needed since the last reset, as many bytes stay as were needed; the others are freed. */
static void give_back(tape_memory *m) {
    size_t room = BLOCK_BYTES;
    for (const tape_block *b = m->first; b; b = b->next)
        room += b->needed ? b->size : 0;
    for (tape_block **p = &m->first, *b; (b = *p);) {
        if (!b->needed && b->size > room) {
            *p = b->next;
            free(b);
            continue;
        }
        room -= b->needed ? 0 : b->size;
        p = &b->next;
    }
}

void tape_memory_reset(tape_memory *m) {
    give_back(m);
    for (tape_block *b = m->first; b; b = b->next) {
        b->used = 0;
        b->needed = false;
    }
    m->now = m->first;
}

tape_mark tape_memory_mark(const tape_memory *m) {
    return (tape_mark){m->now, m->now ? m->now->used : 0};
}

void tape_memory_rewind(tape_memory *m, tape_mark mark) {
    if (!mark.now) {
        tape_memory_reset(m);
        return;
    }
    mark.now->used = mark.used;
    for (tape_block *b = mark.now->next; b; b = b->next)
        b->used = 0;
    m->now = mark.now;
}

size_t tape_memory_used(const tape_memory *m) {
    size_t n = 0;
    for (const tape_block *b = m->first; b; b = b->next)
        n += b->used;
    return n;
}

/* n * size rounded up to the alignment, with room for a head; false on overflow. */
static bool whole_bytes(size_t n, size_t size, size_t *out) {
    size_t bytes;
    if (!size_mul(n, size, &bytes) || bytes > SIZE_MAX / 2)
        return false;
    *out = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return true;
}

void *tape_memory_get(tape_memory *m, size_t n, size_t size) {
    size_t bytes;
    if (!whole_bytes(n, size, &bytes))
        return NULL;
    tape_block *b = m->now;
    if (b && b->size - b->used < bytes && b->next && b->next->size >= bytes)
        b = b->next;
    if (!b || b->size - b->used < bytes) { /* before the next one, into which others fit */
        size_t room = MAX(bytes, BLOCK_BYTES);
        b = mem_alloc_aligned(HEAD_BYTES + room, ALIGNMENT);
        if (!b)
            return NULL;
        b->size = room;
        tape_block **at = m->now ? &m->now->next : &m->first;
        b->next = *at;
        *at = b;
    }
    m->now = b;
    b->needed = true;
    void *p = (char *)b + HEAD_BYTES + b->used;
    b->used += bytes;
    return p;
}

size_t tape_memory_bytes(const tape_memory *m) {
    size_t n = m->scratch_bytes;
    for (const tape_block *b = m->first; b; b = b->next)
        n += HEAD_BYTES + b->size;
    return n;
}

void *tape_memory_scratch(tape_memory *m, size_t n, size_t size) {
    size_t bytes;
    if (!whole_bytes(n, size, &bytes))
        return NULL;
    if (bytes > m->scratch_bytes) {
        free(m->scratch);
        m->scratch = mem_alloc_aligned(bytes, ALIGNMENT);
        m->scratch_bytes = m->scratch ? bytes : 0;
    }
    return m->scratch;
}
