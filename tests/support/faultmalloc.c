/* malloc and its kin, in front of glibc's own (__libc_*), which the dynamic linker then uses for every library too.
 * Idea: count, fail when told, else pass on. realloc of a block is one allocation; a free is never failed. */
#include "support/faultmalloc.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *p);

static _Atomic size_t n_asked, n_bytes, fail_at;
static _Atomic bool keep_failing, hit;
static _Atomic long n_live;

static void arm(size_t n, bool keep) {
    atomic_store(&fail_at, 0);
    atomic_store(&n_asked, 0);
    atomic_store(&n_bytes, 0);
    atomic_store(&hit, false);
    atomic_store(&keep_failing, keep);
    atomic_store(&fail_at, n);
}

void fault_fail_at(size_t n) {
    arm(n, false);
}

void fault_fail_from(size_t n) {
    arm(n, true);
}

size_t fault_count(void) {
    return atomic_load(&n_asked);
}

size_t fault_bytes(void) {
    return atomic_load(&n_bytes);
}

bool fault_hit(void) {
    return atomic_load(&hit);
}

long fault_live(void) {
    return atomic_load(&n_live);
}

static bool must_fail(size_t bytes) {
    atomic_fetch_add(&n_bytes, bytes);
    size_t i = atomic_fetch_add(&n_asked, 1) + 1;
    size_t at = atomic_load(&fail_at);
    if (at == 0 || i < at || (i > at && !atomic_load(&keep_failing))) {
        return false;
    }
    atomic_store(&hit, true);
    errno = ENOMEM;
    return true;
}

static void *counted(void *p) {
    if (p) {
        atomic_fetch_add(&n_live, 1);
    }
    return p;
}

/* The libraries must find these, also in a program built with hidden symbols. */
#pragma GCC visibility push(default)

void *malloc(size_t n) {
    return must_fail(n) ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t size) {
    return must_fail(n * size) ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n) {
    if (must_fail(n)) {
        return NULL;
    }
    void *q = __libc_realloc(p, n);
    if (!p) {
        counted(q);
    } else if (!q && n == 0) {
        atomic_fetch_sub(&n_live, 1);
    }
    return q;
}

void *memalign(size_t alignment, size_t n) {
    return must_fail(n) ? NULL : counted(__libc_memalign(alignment, n));
}

void *aligned_alloc(size_t alignment, size_t n) {
    return memalign(alignment, n);
}

int posix_memalign(void **out, size_t alignment, size_t n) {
    void *p = memalign(alignment, n);
    if (!p) {
        return ENOMEM;
    }
    *out = p;
    return 0;
}

void free(void *p) {
    if (p) {
        atomic_fetch_sub(&n_live, 1);
    }
    __libc_free(p);
}

#pragma GCC visibility pop
