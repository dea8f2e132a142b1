/* Failing file operations on purpose. A test of tests/fault that is named test_fault_files* is linked with
 * faultfiles.c, which stands before the C library's open, openat, read, write, fsync, fstat, stat, access, rename,
 * renameat, linkat, mkdir and mmap of files. As with allocations: arm and read while one thread runs. */
#ifndef TESTS_FAULTFILES_H
#define TESTS_FAULTFILES_H

#include <stdbool.h>
#include <stddef.h>

/* One run with the nth operation failing: begin, the run, end, what the test itself checks, check. */
typedef struct faultfiles_trial {
    char what[120]; /* after end: which operation failed, and how */
    bool reached;   /* after end: there was an nth */
    size_t n_open;
    long live;
} faultfiles_trial;
/* for_good: and every later one fails, too: a disk that is gone stays gone. */
void faultfiles_begin(faultfiles_trial *t, size_t n, int number, bool for_good);
void faultfiles_end(faultfiles_trial *t);
/* Fails the test where a block leaked or a file stayed open. */
void faultfiles_check(const faultfiles_trial *t);

/* From now on the nth of those calls (1 = the next) does nothing and sets errno to `number`, once. Starts the
 * count anew. */
void faultfiles_fail_at(size_t n, int number);
/* No call fails from now on; what was reached can still be asked. */
void faultfiles_disarm(void);
/* While on, a read or write handles one byte, however many are asked for. */
void faultfiles_dribble(bool on);
size_t faultfiles_count(void);      /* calls since the last arming */
bool faultfiles_hit(void);          /* the armed call was reached */
const char *faultfiles_which(void); /* its name: "open" */

#endif
