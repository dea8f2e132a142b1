/* Failing file operations on purpose. A test of tests/fault that is named test_fault_files* is linked with
 * faultfiles.c, which stands before the C library's open, read, write, fsync, fstat, stat, access, rename, linkat,
 * mkdir and mmap of files. As with allocations: arm and read while one thread runs. */
#ifndef TESTS_FAULTFILES_H
#define TESTS_FAULTFILES_H

#include <stdbool.h>
#include <stddef.h>

/* From now on the nth of those calls (1 = the next) does nothing and sets errno to `number`, once. Starts the
 * count anew. */
void faultfiles_fail_at(size_t n, int number);
/* The same, and every later one fails, too: a disk that is gone stays gone. */
void faultfiles_fail_from(size_t n, int number);
/* No call fails from now on; what was reached can still be asked. */
void faultfiles_disarm(void);
/* While on, a read or write handles one byte, however many are asked for. */
void faultfiles_dribble(bool on);
size_t faultfiles_count(void);      /* calls since the last arming */
bool faultfiles_hit(void);          /* the armed call was reached */
const char *faultfiles_which(void); /* its name: "open" */

#endif
