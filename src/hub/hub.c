/* The model store: names are small JSON files, models are blobs named by their SHA-256.
 *
 * Invariants
 * 1. A blob is complete or absent, whoever else is adding: it is an os_output until all of it is there.
 * 2. A manifest is written after its blob, and removed before it: a name never points at a missing blob of our making,
 *    whenever the power fails. (Adding and removing the same content at the same moment is the one way to part them;
 *    `muga doctor` says so, and adding again mends it.)
 * 3. Names and digests are checked before they become part of a path; nothing outside blobs/ and manifests/ is touched.
 */
#include "hub/hub.h"

#include "base/hash.h"
#include "base/mem.h"
#include "gguf/gguf.h"

#define HUB_MAX_MANIFEST ((size_t)64 << 10)
#define COPY_BYTES ((size_t)1 << 20)

muga_status hub_open(const os_files *files, const char *home, hub *out, muga_error *err) {
    *out = (hub){files, mem_copy_string(home)};
    return out->home ? MUGA_OK : error_nomem(err, "store path");
}

void hub_close(hub *h) {
    free(h->home);
    h->home = NULL;
}

/* ---- names ---- */

typedef struct hub_name {
    char name[128], tag[128];
} hub_name;

static bool valid_part(const char *p, size_t n) {
    if (n == 0 || n >= 128 || p[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= '0' && p[i] <= '9') || p[i] == '.' || p[i] == '_' ||
              p[i] == '-'))
            return false;
    return true;
}

static muga_status parse_name(const char *model, hub_name *out, muga_error *err) {
    const char *colon = strchr(model, ':'), *tag = colon ? colon + 1 : "latest";
    size_t n = colon ? (size_t)(colon - model) : strlen(model);
    if (!valid_part(model, n) || !valid_part(tag, strlen(tag)))
        return error_set(
            err, MUGA_E_USAGE,
            "'%.80s' is no model name; use [a-z0-9._-]+ with an optional :tag, or a path with '/' or ending in .gguf",
            model);
    memcpy(out->name, model, n);
    out->name[n] = 0;
    memcpy(out->tag, tag, strlen(tag) + 1);
    return MUGA_OK;
}

bool hub_is_path(const char *model) {
    size_t n = strlen(model);
    return strchr(model, '/') || (n >= 5 && !strcmp(model + n - 5, ".gguf"));
}

/* "sha256:" + 64 lower-case hex, and nothing else. */
static bool valid_digest(const char *d) {
    uint8_t bytes[SHA256_BYTES];
    return d && strlen(d) == 71 && !memcmp(d, "sha256:", 7) && strspn(d + 7, "0123456789abcdef") == 64 &&
           hex_parse(d + 7, 64, bytes);
}

static muga_status manifest_path(const hub *h, const hub_name *n, str *out, muga_error *err) {
    str_printf(out, "%s/manifests/%s/%s", h->home, n->name, n->tag);
    return str_status(out, err, "store path");
}

static muga_status blob_path(const hub *h, const char *digest, str *out, muga_error *err) {
    str_printf(out, "%s/blobs/sha256-%s", h->home, digest + 7);
    return str_status(out, err, "store path");
}

static muga_status read_manifest(const hub *h, const hub_name *n, json_t **out, os_stat *info, muga_error *err) {
    str path = STR_INIT, text = STR_INIT;
    *out = NULL;
    muga_status st = manifest_path(h, n, &path, err);
    if (!st)
        st = h->files->stat(h->files->self, str_get(&path), info, err);
    if (!st && info->type != OS_TYPE_FILE)
        st = error_set(err, MUGA_E_NOT_FOUND,
                       "no model '%.100s:%.100s' in the store; `muga list` shows those there are", n->name, n->tag);
    if (!st)
        st = os_read_file(h->files, str_get(&path), HUB_MAX_MANIFEST, &text, err);
    if (!st)
        st = json_parse(str_get(&text), text.len, "manifest", out, err);
    if (st == MUGA_E_INPUT || st == MUGA_E_LIMIT || (!st && !valid_digest(json_get_string(*out, "blob")))) {
        st = error_set(err, MUGA_E_INPUT,
                       "%.150s names no blob; remove it with `muga rm %.40s:%.20s`, add the model again",
                       str_get(&path), n->name, n->tag);
        json_decref(*out);
        *out = NULL;
    }
    str_release(&path);
    str_release(&text);
    return st;
}

muga_status hub_resolve(const hub *h, const char *model, char **path, muga_error *err) {
    os_stat info;
    *path = NULL;
    if (hub_is_path(model)) {
        muga_status st = h->files->stat(h->files->self, model, &info, err);
        if (st)
            return st;
        if (info.type == OS_TYPE_NONE)
            return error_set(err, MUGA_E_NOT_FOUND, "%.200s: there is no such file", model);
        if (info.type != OS_TYPE_FILE)
            return error_set(err, MUGA_E_INPUT, "%.200s is not a regular file", model);
        *path = mem_copy_string(model);
        return *path ? MUGA_OK : error_nomem(err, "path");
    }
    hub_name n;
    json_t *manifest = NULL;
    str blob = STR_INIT;
    muga_status st = parse_name(model, &n, err);
    if (!st)
        st = read_manifest(h, &n, &manifest, &info, err);
    if (!st)
        st = blob_path(h, json_get_string(manifest, "blob"), &blob, err);
    if (!st)
        st = h->files->stat(h->files->self, str_get(&blob), &info, err);
    if (!st && info.type != OS_TYPE_FILE)
        st = error_set(err, MUGA_E_NOT_FOUND, "the blob of '%.60s' is gone (%.120s); add the model again", model,
                       str_get(&blob));
    if (!st && !(*path = str_take(&blob)))
        st = error_nomem(err, "path");
    str_release(&blob);
    json_decref(manifest);
    return st;
}

const char *hub_vouched_sha256(const hub *h, const char *path) {
    static const char folder[] = "/blobs/sha256-";
    size_t n = strlen(h->home);
    if (strncmp(path, h->home, n) != 0 || strncmp(path + n, folder, sizeof folder - 1) != 0)
        return NULL;
    const char *hex = path + n + sizeof folder - 1;
    return strlen(hex) == 64 && strspn(hex, "0123456789abcdef") == 64 ? hex : NULL;
}

/* ---- listing ---- */

typedef struct lister {
    const hub *h;
    const char *name;
    json_t *out;
    muga_error *err;
} lister;

static muga_status list_tag(void *ctx, const char *tag) {
    lister *l = ctx;
    hub_name n;
    json_t *m;
    os_stat info;
    str text = STR_INIT;
    str_printf(&text, "%s:%s", l->name, tag);
    muga_status st = parse_name(str_get(&text), &n, l->err);
    str_release(&text);
    if (st)
        return MUGA_OK; /* not a name of ours: a temporary file, an editor's copy */
    st = read_manifest(l->h, &n, &m, &info, l->err);
    if (st == MUGA_E_INPUT) { /* one bad file must not hide the others */
        m = json_pack("{s:s}", "damaged", l->err->message);
        st = m ? MUGA_OK : error_nomem(l->err, "model list");
    }
    if (st)
        return st == MUGA_E_NOT_FOUND ? MUGA_OK : st;
    if (json_object_set_new(m, "name", json_string(n.name)) || json_object_set_new(m, "tag", json_string(n.tag)) ||
        json_object_set_new(m, "modified_ms", json_integer(info.mtime_ns / 1000000)) || json_array_append(l->out, m))
        st = error_nomem(l->err, "model list");
    json_decref(m);
    return st;
}

static muga_status list_name(void *ctx, const char *name) {
    lister *l = ctx;
    os_stat info;
    str dir = STR_INIT;
    if (!valid_part(name, strlen(name)))
        return MUGA_OK;
    l->name = name;
    str_printf(&dir, "%s/manifests/%s", l->h->home, name);
    muga_status st = str_status(&dir, l->err, "store path");
    if (!st)
        st = l->h->files->stat(l->h->files->self, str_get(&dir), &info, l->err);
    if (!st && info.type == OS_TYPE_DIR)
        st = l->h->files->list(l->h->files->self, str_get(&dir), list_tag, l, l->err);
    str_release(&dir);
    return st;
}

/* A store that isn't there is empty, unless it could never be there: a file stands where a folder of its path would. */
static muga_status check_home(const hub *h, muga_error *err) {
    os_stat info = {.type = OS_TYPE_NONE};
    char *path = mem_copy_string(h->home);
    muga_status st = path ? MUGA_OK : error_nomem(err, "store path");
    for (size_t n = path ? strlen(path) : 0; !st && n > 0 && info.type == OS_TYPE_NONE;) {
        path[n] = 0;
        st = h->files->stat(h->files->self, path, &info, err);
        while (n > 0 && path[--n] != '/') {}
    }
    if (!st && info.type != OS_TYPE_DIR && info.type != OS_TYPE_NONE)
        st = error_set(err, MUGA_E_ENV, "the store %.90s can't be: %.90s is not a folder; move it, or set MUGA_HOME",
                       h->home, path);
    free(path);
    return st;
}

muga_status hub_list(const hub *h, json_t **out, muga_error *err) {
    os_stat info;
    str dir = STR_INIT;
    lister l = {.h = h, .out = json_array(), .err = err};
    *out = l.out;
    str_printf(&dir, "%s/manifests", h->home);
    muga_status st = l.out ? str_status(&dir, err, "store path") : error_nomem(err, "model list");
    if (!st)
        st = check_home(h, err);
    if (!st)
        st = h->files->stat(h->files->self, str_get(&dir), &info, err);
    if (!st && info.type == OS_TYPE_DIR)
        st = h->files->list(h->files->self, str_get(&dir), list_name, &l, err);
    str_release(&dir);
    if (st) {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}

/* ---- adding and removing ---- */

/* All of `in` to `out`; `digest` receives "sha256:..." */
static muga_status copy_bytes(const os_files *f, os_file *in, os_output *out, char digest[72], uint64_t *bytes,
                              muga_error *err) {
    sha256 sum;
    uint8_t hash[SHA256_BYTES];
    size_t n = 0;
    muga_status st = MUGA_OK;
    char *buffer = malloc(COPY_BYTES);
    if (!buffer)
        return error_nomem(err, "copy buffer");
    *bytes = 0;
    sha256_init(&sum);
    while (!st && !(st = f->read(f->self, in, buffer, COPY_BYTES, &n, err)) && n > 0) {
        sha256_update(&sum, buffer, n);
        *bytes += n;
        st = os_output_write(out, buffer, n, err);
    }
    free(buffer);
    sha256_final(&sum, hash);
    memcpy(digest, "sha256:", 7);
    hex_write(hash, SHA256_BYTES, digest + 7);
    return st;
}

/* Copy `path` to blobs/, hashing on the way: its name is known when all of it was read. */
static muga_status copy_blob(const hub *h, const char *path, char digest[72], uint64_t *bytes, muga_error *err) {
    const os_files *f = h->files;
    os_file *in = NULL;
    os_output out = {0};
    str dir = STR_INIT, first = STR_INIT, final = STR_INIT;
    str_printf(&dir, "%s/blobs", h->home);
    str_printf(&first, "%s/.adding", str_get(&dir));
    muga_status st = str_status(&first, err, "store path");
    if (!st)
        st = f->mkdirs(f->self, str_get(&dir), err);
    if (!st)
        st = f->open(f->self, path, OS_READ, &in, err);
    if (!st)
        st = os_output_open(f, str_get(&first), &out, err);
    if (!st)
        st = copy_bytes(f, in, &out, digest, bytes, err);
    if (!st)
        st = blob_path(h, digest, &final, err);
    if (!st)
        st = os_output_commit_as(&out, str_get(&final), err);
    os_output_close(&out);
    if (in)
        f->close(f->self, in);
    str_release(&dir);
    str_release(&first);
    str_release(&final);
    return st;
}

muga_status hub_add(const hub *h, const char *model, const char *path, const char *source, muga_error *err) {
    hub_name n;
    char digest[72];
    uint64_t bytes = 0;
    str text = STR_INIT, file = STR_INIT, dir = STR_INIT;
    json_t *m = NULL;
    gguf_file *g = NULL;
    muga_status st = parse_name(model, &n, err);
    if (!st)
        st = gguf_open(path, &g, err);
    gguf_close(g);
    if (!st)
        st = copy_blob(h, path, digest, &bytes, err);
    if (!st) {
        m = json_pack("{s:i, s:s, s:s, s:s, s:I, s:s}", "version", 1, "name", n.name, "tag", n.tag, "blob", digest,
                      "bytes", (json_int_t)bytes, "source", source);
        st = m ? manifest_path(h, &n, &file, err) : error_nomem(err, "manifest");
    }
    str_printf(&dir, "%s/manifests/%s", h->home, n.name);
    if (!st)
        st = str_status(&dir, err, "store path");
    if (!st)
        st = h->files->mkdirs(h->files->self, str_get(&dir), err);
    if (!st) {
        json_write(m, &text);
        str_append_c(&text, '\n');
        st = str_status(&text, err, "manifest");
    }
    if (!st)
        st = os_write_file_atomic(h->files, str_get(&file), str_get(&text), text.len, err);
    json_decref(m);
    str_release(&text);
    str_release(&file);
    str_release(&dir);
    return st;
}

static bool blob_in_use(const json_t *list, const char *blob) {
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) {
        const char *used = json_get_string(m, "blob");
        if (used && !strcmp(used, blob))
            return true;
    }
    return false;
}

muga_status hub_remove(const hub *h, const char *model, muga_error *err) {
    hub_name n;
    json_t *m = NULL, *list = NULL;
    os_stat info;
    str file = STR_INIT, blob = STR_INIT;
    if (hub_is_path(model))
        return error_set(err, MUGA_E_USAGE, "'%.120s' is a path; rm takes a name of the store", model);
    muga_status st = parse_name(model, &n, err);
    if (!st)
        st = read_manifest(h, &n, &m, &info, err);
    bool damaged = st == MUGA_E_INPUT; /* it names no blob, but can go */
    if (!st || damaged)
        st = manifest_path(h, &n, &file, err);
    if (!st && !damaged)
        st = blob_path(h, json_get_string(m, "blob"), &blob, err);
    if (!st)
        st = h->files->remove(h->files->self, str_get(&file), err);
    if (!st)
        st = hub_list(h, &list, err);
    if (!st && !damaged && !blob_in_use(list, json_get_string(m, "blob"))) {
        st = h->files->stat(h->files->self, str_get(&blob), &info, err);
        if (!st && info.type == OS_TYPE_FILE)
            st = h->files->remove(h->files->self, str_get(&blob), err);
        if (!st)
            st = hub_packed_remove(h, json_get_string(m, "blob") + 7, err);
    }
    json_decref(m);
    json_decref(list);
    str_release(&file);
    str_release(&blob);
    return st;
}
