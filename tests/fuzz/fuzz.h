/* What the fuzz targets share. A target is one function over any bytes; it ends the process when something that must
 * hold does not. docs/fuzzing.md says how to run one. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "base/mem.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Says what does not hold, and stops: libFuzzer and the replay driver then keep the input. */
#define fuzz_need(condition)                                                                                           \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* An error of the kind `a` or `b`, with a message. */
static inline void fuzz_need_error(muga_status st, muga_status a, muga_status b, const muga_error *err) {
    bool good = (st == a || st == b) && err->status == st && strlen(err->message) >= 8;
    if (!good)
        fprintf(stderr, "status %d, in the error %d: \"%s\"\n", (int)st, (int)err->status, err->message);
    fuzz_need(good);
}

/* Exactly n bytes, so that the address sanitizer sees one too many read; stops the run when memory is out. */
static inline void *fuzz_copy(const void *p, size_t n) {
    void *copy = malloc(MAX(n, (size_t)1));
    if (!copy)
        abort();
    if (n > 0)
        memcpy(copy, p, n);
    return copy;
}

#endif
