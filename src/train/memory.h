/* The memory of a tape: blocks that are handed out from front to back and reused after a reset, so that a run whose
 * steps are alike allocates no more after the first; and one buffer for the product being computed. Steps of other
 * sizes put blocks between; a reset gives back what the step before it had no use for, where that is much. */
#ifndef MUGA_TRAIN_MEMORY_H
#define MUGA_TRAIN_MEMORY_H

#include "base/error.h"

typedef struct tape_block tape_block;
typedef struct tape_memory {
    tape_block *first, *now; /* blocks up to `now` are in use */
    void *scratch;
    size_t scratch_bytes;
} tape_memory;

/* A zeroed tape_memory is an empty one. */
void tape_memory_release(tape_memory *m);
void tape_memory_reset(tape_memory *m); /* what was handed out is gone; the memory stays */
/* What was handed out after the mark is gone again. */
typedef struct tape_mark {
    tape_block *now;
    size_t used;
} tape_mark;
tape_mark tape_memory_mark(const tape_memory *m);
void tape_memory_rewind(tape_memory *m, tape_mark mark);
size_t tape_memory_used(const tape_memory *m); /* bytes */
/* n elements of `size` bytes, not zeroed, 64-byte aligned; NULL when memory is out. */
void *tape_memory_get(tape_memory *m, size_t n, size_t size);
size_t tape_memory_bytes(const tape_memory *m); /* all that it holds */
/* At least so much in one piece, until the next call. */
void *tape_memory_scratch(tape_memory *m, size_t n, size_t size);

#endif
