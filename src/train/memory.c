/* The memory of a tape (memory.h). */
#include "train/memory.h"

#include "base/mem.h"

#define BLOCK_BYTES ((size_t)4 << 20)
#define ALIGNMENT 64

struct tape_block {
    tape_block *next;
    size_t size, used; /* bytes after the head, and of them in use */
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

void tape_memory_reset(tape_memory *m) {
    for (tape_block *b = m->first; b; b = b->next)
        b->used = 0;
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
    while (m->now && m->now->size - m->now->used < bytes && m->now->next)
        m->now = m->now->next;
    if (!m->now || m->now->size - m->now->used < bytes) {
        size_t room = MAX(bytes, BLOCK_BYTES);
        tape_block *b = mem_alloc_aligned(HEAD_BYTES + room, ALIGNMENT);
        if (!b)
            return NULL;
        b->size = room;
        if (m->now)
            m->now->next = b;
        else
            m->first = b;
        m->now = b;
    }
    void *p = (char *)m->now + HEAD_BYTES + m->now->used;
    m->now->used += bytes;
    return p;
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
