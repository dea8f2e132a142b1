/* Claims: a name is one owner's at a time. Owns: the file beside the database and the one descriptor of it that all
 * claims of a store share, so that a thousand idle sessions need no thousand descriptors. Refuses: a name that anybody
 * has, in this store, in another one of this process, in another process.
 *
 * The file is never written: only bytes of it are locked, one byte a name. Two names may share a byte with probability
 * 2^-62 a pair; then one waits for the other, which is wrong only in being careful.
 *
 * Invariants
 *  1. A byte of `first` is locked on `fd`, and the other way round.
 *  2. The kernel keeps out every other descriptor; it would let this one lock a byte twice, so the list keeps out that.
 *  3. The locks belong to the open file, not to the process: another descriptor closed doesn't drop them, and a process
 *     that dies, however it dies, drops its own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* F_OFD_SETLK */
#endif
#include "store/claims.h"

#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct claims {
    int fd;
    char *path;
    bool closed; /* the store is; the last claim frees this */
    store_claim *first;
};

struct store_claim {
    claims *of;
    int64_t at;
    store_claim *before, *next;
};

static void claims_free(claims *c) {
    if (c->fd >= 0) {
        close(c->fd);
    }
    free(c->path);
    free(c);
}

muga_status claims_open(const char *path, claims **out, muga_error *err) {
    str name = STR_INIT;
    *out = NULL;
    claims *c = calloc(1, sizeof *c);
    str_printf(&name, "%s-claims", path);
    muga_status st = c ? str_status(&name, err, "claims") : error_nomem(err, "claims");
    if (st != MUGA_OK) {
        str_release(&name);
        free(c);
        return st;
    }
    c->path = str_take(&name);
    c->fd = open(c->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (c->fd < 0) {
        st = error_set(err, MUGA_E_ENV, "%s: %s; check the right to write its folder", c->path, strerror(errno));
        claims_free(c);
        return st;
    }
    *out = c;
    return MUGA_OK;
}

void claims_close(claims *c) {
    if (!c) {
        return;
    }
    c->closed = true;
    if (!c->first) {
        claims_free(c);
    }
}

/* 0, or errno. */
static int lock_byte(const claims *c, short type, int64_t at) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1, .l_start = (off_t)at};
    return fcntl(c->fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

muga_status claims_take(claims *c, const char *name, store_claim **out, muga_error *err) {
    int64_t at = (int64_t)(hash64(name, strlen(name), 0) >> 2);
    bool taken = false;
    *out = NULL;
    for (const store_claim *k = c->first; k && !taken; k = k->next) {
        taken = k->at == at;
    }
    store_claim *k = taken ? NULL : calloc(1, sizeof *k);
    if (!taken && !k) {
        return error_nomem(err, "a claim");
    }
    int no = taken ? EAGAIN : lock_byte(c, F_WRLCK, at);
    if (no) {
        free(k);
        return no == EAGAIN || no == EACCES
                   ? error_set(err, MUGA_E_ENV, "%s: in use by another muga; wait for it or end it", name)
                   : error_set(err, MUGA_E_ENV, "%s: can't be locked (%s); keep it on a local disk", c->path,
                               strerror(no));
    }
    *k = (store_claim){c, at, NULL, c->first};
    if (c->first) {
        c->first->before = k;
    }
    c->first = k;
    *out = k;
    return MUGA_OK;
}

void store_claim_release(store_claim *k) {
    if (!k) {
        return;
    }
    claims *c = k->of;
    if (k->next) {
        k->next->before = k->before;
    }
    *(k->before ? &k->before->next : &c->first) = k->next;
    (void)lock_byte(c, F_UNLCK, k->at); /* else it is free when the file is closed */
    free(k);
    if (c->closed && !c->first) {
        claims_free(c);
    }
}
