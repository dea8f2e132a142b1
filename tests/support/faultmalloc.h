/* Failing allocations on purpose. Programs of tests/fault are linked with faultmalloc.c, which stands before the C
 * library's malloc, so that any library's nth allocation can be made to fail. Not thread-safe in its arming: arm and
 * read while only one thread runs; counting itself is atomic. */
#ifndef TESTS_FAULTMALLOC_H
#define TESTS_FAULTMALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* From now on the nth allocation (1 = the next) gives NULL, once; 0 disarms. Starts the count anew. */
void fault_fail_at(size_t n);
/* The same, and every later one fails too: memory that is out stays out. */
void fault_fail_from(size_t n);
/* Allocations asked for since the last fault_fail_*. */
size_t fault_count(void);
/* And their bytes, also of what was freed since. */
size_t fault_bytes(void);
/* True when the armed allocation was reached. */
bool fault_hit(void);
/* Blocks alive now, of the whole process: equal before and after = no leak. */
long fault_live(void);

#endif
