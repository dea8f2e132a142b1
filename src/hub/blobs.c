/* Blobs: files named by their SHA-256. Owns what is under blobs/.
 * A blob is complete or absent, whoever else is adding: it is an os_output until all of it is there, and its name is
 * known when all of it was read. */
#include "hub/internal.h"

#include "base/mem.h"

#define COPY_BYTES ((size_t)1 << 20)

muga_status hub_blob_path(const hub *h, const char *digest, str *out, muga_error *err) {
    str_printf(out, "%s/blobs/sha256-%s", h->home, digest + 7);
    return str_status(out, err, "store path");
}

static muga_status no_digest(muga_error *err) {
    return error_set(err, MUGA_E_INPUT, "a digest is sha256: and 64 small hex digits, and this is none");
}

muga_status hub_blob_has(const hub *h, const char *digest, bool *has, uint64_t *bytes, muga_error *err) {
    os_stat info;
    str path = STR_INIT;
    *has = false;
    if (!hub_is_digest(digest))
        return no_digest(err);
    muga_status st = hub_blob_path(h, digest, &path, err);
    if (!st)
        st = h->files->stat(h->files->self, str_get(&path), &info, err);
    if (!st && info.type == OS_TYPE_FILE) {
        *has = true;
        if (bytes)
            *bytes = info.size;
    }
    str_release(&path);
    return st;
}

/* ---- putting ---- */

muga_status hub_put_open(const hub *h, const char *digest, uint64_t max_bytes, hub_put *out, muga_error *err) {
    str dir = STR_INIT, first = STR_INIT;
    *out = (hub_put){.h = h, .max_bytes = max_bytes};
    if (digest && !hub_is_digest(digest))
        return no_digest(err);
    if (digest)
        memcpy(out->digest, digest, HUB_DIGEST_BYTES);
    sha256_init(&out->sum);
    str_printf(&dir, "%s/blobs", h->home);
    str_printf(&first, "%s/.adding", str_get(&dir));
    muga_status st = str_status(dir.failed ? &dir : &first, err, "store path");
    if (!st)
        st = h->files->mkdirs(h->files->self, str_get(&dir), err);
    if (!st)
        st = os_output_open(h->files, str_get(&first), &out->out, err);
    str_release(&dir);
    str_release(&first);
    return st;
}

muga_status hub_put_write(hub_put *p, const void *bytes, size_t n, muga_error *err) {
    if (!u64_add(p->n_bytes, n, &p->n_bytes) || (p->max_bytes && p->n_bytes > p->max_bytes))
        return error_set(err, MUGA_E_LIMIT, "the blob is longer than the %llu bytes that one may have",
                         (unsigned long long)p->max_bytes);
    sha256_update(&p->sum, bytes, n);
    return os_output_write(&p->out, bytes, n, err);
}

static muga_status commit(hub_put *p, bool *there, muga_error *err) {
    uint8_t hash[SHA256_BYTES];
    char digest[HUB_DIGEST_BYTES] = "sha256:";
    str path = STR_INIT;
    sha256_final(&p->sum, hash);
    hex_write(hash, SHA256_BYTES, digest + 7);
    if (p->digest[0] && memcmp(p->digest, digest, HUB_DIGEST_BYTES))
        return error_set(err, MUGA_E_INPUT, "the bytes have the digest %.20s..., not %.20s...: nothing was kept",
                         digest, p->digest);
    memcpy(p->digest, digest, HUB_DIGEST_BYTES);
    muga_status st = hub_blob_has(p->h, digest, there, NULL, err);
    if (!st)
        st = hub_blob_path(p->h, digest, &path, err);
    if (!st) /* over one that is there: it may be damaged */
        st = os_output_commit_as(&p->out, str_get(&path), err);
    str_release(&path);
    return st;
}

muga_status hub_put_commit(hub_put *p, muga_error *err) {
    bool there;
    return commit(p, &there, err);
}

void hub_put_close(hub_put *p) {
    os_output_close(&p->out);
}

muga_status hub_put_bytes(const hub *h, const void *p, size_t n, char digest[HUB_DIGEST_BYTES], bool *there,
                          muga_error *err) {
    hub_put put;
    muga_status st = hub_put_open(h, NULL, 0, &put, err);
    if (!st)
        st = hub_put_write(&put, p, n, err);
    if (!st)
        st = commit(&put, there, err);
    memcpy(digest, put.digest, HUB_DIGEST_BYTES);
    hub_put_close(&put);
    return st;
}

muga_status hub_put_file(const hub *h, const char *path, char digest[HUB_DIGEST_BYTES], uint64_t *bytes, bool *there,
                         muga_error *err) {
    const os_files *f = h->files;
    os_file *in = NULL;
    hub_put put = {0};
    size_t n = 0;
    char *buffer = malloc(COPY_BYTES);
    muga_status st = buffer ? f->open(f->self, path, OS_READ, &in, err) : error_nomem(err, "copy buffer");
    if (!st)
        st = hub_put_open(h, NULL, 0, &put, err);
    while (!st && !(st = f->read(f->self, in, buffer, COPY_BYTES, &n, err)) && n > 0)
        st = hub_put_write(&put, buffer, n, err);
    if (!st)
        st = commit(&put, there, err);
    if (!st) {
        memcpy(digest, put.digest, HUB_DIGEST_BYTES);
        *bytes = put.n_bytes;
    }
    hub_put_close(&put);
    if (in)
        f->close(f->self, in);
    free(buffer);
    return st;
}
