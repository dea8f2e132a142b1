/* The model store: names are small JSON files, models are blobs named by their SHA-256.
 *
 * Invariants
 * 1. A blob is complete or absent, whoever else is adding (blobs.c).
 * 2. A manifest is written after its blobs, and removed before them: a name never points at a missing blob of our
 *    making, whenever the power fails. Whether a blob is needed is asked, and a manifest that needs it written, with
 *    hub.changing held, so that threads of one process can't part them. (Two processes at the same moment can;
 *    `muga doctor` says so, and adding again mends it.)
 * 3. Names and digests are checked before they become part of a path; nothing outside blobs/ and manifests/ is touched.
 */
#include "hub/internal.h"

#include "base/mem.h"

#include <stdio.h>

muga_status hub_open(const os_files *files, const char *home, hub *out, muga_error *err) {
    *out = (hub){files, mem_copy_string(home), mem_alloc_array(1, sizeof(pthread_mutex_t))};
    if (out->home && out->changing) {
        pthread_mutex_init(out->changing, NULL);
        return MUGA_OK;
    }
    free(out->home);
    free(out->changing);
    *out = (hub){NULL, NULL, NULL};
    return error_nomem(err, "store path");
}

void hub_close(hub *h) {
    if (h->changing)
        pthread_mutex_destroy(h->changing);
    free(h->changing);
    free(h->home);
    h->changing = NULL;
    h->home = NULL;
}

static void hold(const hub *h) {
    if (h->changing)
        pthread_mutex_lock(h->changing);
}

static void let_go(const hub *h) {
    if (h->changing)
        pthread_mutex_unlock(h->changing);
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
    muga_status st = hub_name_parse(model, &n, err);
    if (!st)
        st = hub_manifest_follow(h, &n, &manifest, &info, err);
    if (!st)
        st = hub_blob_path(h, json_get_string(manifest, "blob"), &blob, err);
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

/* An alias shows what it leads to. */
static muga_status read_listed(const lister *l, const hub_name *n, json_t **out, os_stat *info) {
    os_stat of_target;
    json_t *m = NULL;
    *out = NULL;
    muga_status st = hub_manifest_read(l->h, n, &m, info, l->err);
    const char *alias = st ? NULL : json_get_string(m, "alias");
    if (!alias) {
        *out = m;
        return st;
    }
    hub_name to = *n;
    st = hub_manifest_follow(l->h, &to, out, &of_target, l->err);
    if (!st && json_object_set_new(*out, "alias", json_sprintf("%s:%s", to.name, to.tag)))
        st = error_nomem(l->err, "model list");
    json_decref(m);
    return st == MUGA_E_NOT_FOUND ? MUGA_E_INPUT : st;
}

static muga_status list_tag(void *ctx, const char *tag) {
    lister *l = ctx;
    hub_name n;
    json_t *m = NULL;
    os_stat info;
    str text = STR_INIT;
    str_printf(&text, "%s:%s", l->name, tag);
    muga_status st = hub_name_parse(str_get(&text), &n, l->err);
    str_release(&text);
    if (st)
        return MUGA_OK; /* not a name of ours: a temporary file, an editor's copy */
    st = read_listed(l, &n, &m, &info);
    if (st == MUGA_E_INPUT) { /* one bad file must not hide the others */
        json_decref(m);
        m = json_pack("{s:s}", "damaged", l->err->message);
        st = m ? MUGA_OK : error_nomem(l->err, "model list");
    }
    if (st) {
        json_decref(m);
        return st == MUGA_E_NOT_FOUND ? MUGA_OK : st;
    }
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
    if (!hub_name_is_part(name, strlen(name)))
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

/* ---- adding and copying ---- */

typedef struct search {
    const hub *h;
    const json_t *list; /* of manifests */
    const char *digest;
    muga_error *err;
} search;

static muga_status find_digest(void *ctx, const char *digest) {
    const search *s = ctx;
    return strcmp(s->digest, digest) ? MUGA_OK : MUGA_E_CANCELLED;
}

static bool is_in_use(search *s, const char *digest) {
    size_t i;
    json_t *m;
    s->digest = digest;
    json_array_foreach(s->list, i, m) {
        if (hub_manifest_digests(m, find_digest, s) == MUGA_E_CANCELLED)
            return true;
    }
    return false;
}

static muga_status drop_blob(void *ctx, const char *digest) {
    search *s = ctx;
    const os_files *f = s->h->files;
    os_stat info;
    str blob = STR_INIT;
    if (is_in_use(s, digest))
        return MUGA_OK;
    muga_status st = hub_blob_path(s->h, digest, &blob, s->err);
    if (!st)
        st = f->stat(f->self, str_get(&blob), &info, s->err);
    if (!st && info.type == OS_TYPE_FILE)
        st = f->remove(f->self, str_get(&blob), s->err);
    if (!st)
        st = hub_packed_remove(s->h, digest + 7, s->err);
    str_release(&blob);
    return st;
}

/* hub_drop_unused, with the lock held. */
static muga_status drop_unused(const hub *h, const json_t *m, muga_error *err) {
    json_t *list = NULL;
    if (!m)
        return MUGA_OK;
    muga_status st = hub_list(h, &list, err);
    search s = {h, list, NULL, err};
    if (!st)
        st = hub_manifest_digests(m, drop_blob, &s);
    json_decref(list);
    return st;
}

muga_status hub_drop_unused(const hub *h, const json_t *m, muga_error *err) {
    hold(h);
    muga_status st = drop_unused(h, m, err);
    let_go(h);
    return st;
}

static muga_status must_be_there(void *ctx, const char *digest) {
    const search *s = ctx;
    bool has;
    muga_status st = hub_blob_has(s->h, digest, &has, NULL, s->err);
    return st || has
               ? st
               : error_set(s->err, MUGA_E_NOT_FOUND, "its blob %.24s... was removed meanwhile; do it again", digest);
}

/* That blobs of what was before are still there is no failure: hub_sweep finds them. */
muga_status hub_manifest_replace(const hub *h, const hub_name *n, json_t *m, muga_error *err) {
    json_t *before = NULL;
    os_stat info;
    muga_error ignored;
    search s = {h, NULL, NULL, err};
    hold(h);
    (void)hub_manifest_read(h, n, &before, &info, &ignored);
    muga_status st = hub_manifest_digests(m, must_be_there, &s);
    if (!st)
        st = hub_manifest_write(h, n, m, err);
    if (!st)
        (void)drop_unused(h, before, &ignored);
    let_go(h);
    json_decref(before);
    return st;
}

muga_status hub_add(const hub *h, const char *model, const char *path, const char *source, muga_error *err) {
    hub_name n;
    hub_details details;
    char digest[HUB_DIGEST_BYTES];
    uint64_t bytes = 0;
    bool there;
    json_t *m = NULL;
    gguf_file *g = NULL;
    muga_status st = hub_name_parse(model, &n, err);
    if (!st)
        st = gguf_open(path, &g, err);
    if (!st && gguf_map_count(g) > 1)
        st = error_set(err, MUGA_E_INPUT,
                       "%.100s is a model in parts; `muga quantize` with the type it has makes one file of it", path);
    if (!st)
        hub_details_of(g, &details);
    gguf_close(g);
    if (!st)
        st = hub_put_file(h, path, digest, &bytes, &there, err);
    if (!st) {
        m = json_pack("{s:i, s:s, s:s, s:s, s:I, s:s, s:o}", "version", 1, "name", n.name, "tag", n.tag, "blob", digest,
                      "bytes", (json_int_t)bytes, "source", source, "details", hub_details_write(&details));
        st = m ? hub_manifest_replace(h, &n, m, err) : error_nomem(err, "manifest");
    }
    json_decref(m);
    return st;
}

static bool is_same(const hub_name *a, const hub_name *b) {
    return !strcmp(a->name, b->name) && !strcmp(a->tag, b->tag);
}

muga_status hub_copy(const hub *h, const char *from, const char *to, muga_error *err) {
    hub_name source, n;
    json_t *m = NULL;
    os_stat info;
    muga_status st = hub_name_parse(from, &source, err);
    if (!st)
        st = hub_name_parse(to, &n, err);
    if (!st)
        st = hub_manifest_follow(h, &source, &m, &info, err);
    if (!st && !is_same(&source, &n))
        st = hub_manifest_replace(h, &n, m, err);
    json_decref(m);
    return st;
}

/* An alias of an alias leads to the model itself: so no two can come to lead to each other. */
muga_status hub_alias(const hub *h, const char *name, const char *target, muga_error *err) {
    hub_name n, to;
    json_t *m = NULL, *before = NULL;
    os_stat info;
    muga_status st = hub_name_parse(name, &n, err);
    if (!st)
        st = hub_name_parse(target, &to, err);
    if (!st)
        st = hub_manifest_follow(h, &to, &m, &info, err);
    if (!st && is_same(&n, &to))
        st = error_set(err, MUGA_E_INPUT, "'%.80s' would be another name of itself", name);
    if (!st && !hub_manifest_read(h, &n, &before, &info, NULL) && !json_get_string(before, "alias"))
        st = error_set(err, MUGA_E_INPUT, "'%.80s' is a model; remove it with `muga rm %.80s` first", name, name);
    json_decref(before);
    json_decref(m);
    m = NULL;
    if (!st && !(m = json_pack("{s:i, s:s, s:s}", "version", 2, "name", n.name, "tag", n.tag)))
        st = error_nomem(err, "manifest");
    if (!st && json_object_set_new(m, "alias", json_sprintf("%s:%s", to.name, to.tag)))
        st = error_nomem(err, "manifest");
    if (!st)
        st = hub_manifest_write(h, &n, m, err);
    json_decref(m);
    return st;
}

/* ---- removing ---- */

muga_status hub_remove(const hub *h, const char *model, muga_error *err) {
    hub_name n;
    json_t *m = NULL;
    os_stat info;
    if (hub_is_path(model))
        return error_set(err, MUGA_E_USAGE, "'%.120s' is a path; rm takes a name of the store", model);
    muga_status st = hub_name_parse(model, &n, err);
    if (st)
        return st;
    hold(h);
    st = hub_manifest_read(h, &n, &m, &info, err);
    if (!st || st == MUGA_E_INPUT) /* damaged: it names no blob, but can go */
        st = hub_manifest_remove(h, &n, err);
    if (!st)
        st = drop_unused(h, m, err);
    let_go(h);
    json_decref(m);
    return st;
}

/* ---- what nobody needs ---- */

typedef struct sweeper {
    search s;
    int64_t before_ns; /* what changed since may be in the making */
    const char *dir;
    uint32_t *n_removed;
    uint64_t *bytes;
} sweeper;

static muga_status sweep_one(void *ctx, const char *name) {
    sweeper *w = ctx;
    const os_files *f = w->s.h->files;
    char digest[HUB_DIGEST_BYTES] = "";
    os_stat info;
    str path = STR_INIT;
    bool is_blob = strlen(name) == 71 && !strncmp(name, "sha256-", 7);
    if (is_blob)
        snprintf(digest, sizeof digest, "sha256:%.64s", name + 7);
    if ((is_blob && hub_is_digest(digest) && is_in_use(&w->s, digest)) || (!is_blob && !strstr(name, ".tmp-")))
        return MUGA_OK;
    str_printf(&path, "%s/%s", w->dir, name);
    muga_status st = str_status(&path, w->s.err, "store path");
    if (!st)
        st = f->stat(f->self, str_get(&path), &info, w->s.err);
    if (!st && info.type == OS_TYPE_FILE && info.mtime_ns < w->before_ns) {
        st = f->remove(f->self, str_get(&path), w->s.err);
        if (!st && is_blob)
            st = hub_packed_remove(w->s.h, name + 7, w->s.err);
        *w->n_removed += 1;
        *w->bytes += info.size;
    }
    str_release(&path);
    return st;
}

/* Nothing goes while a manifest is damaged: it may have named what nobody else does. */
static bool has_damaged(const json_t *list) {
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) {
        if (json_get_string(m, "damaged"))
            return true;
    }
    return false;
}

muga_status hub_sweep(const hub *h, int64_t older_than_ms, uint32_t *n_removed, uint64_t *bytes, muga_error *err) {
    const os_clock *clock = &os_system()->clock;
    os_stat info;
    json_t *list = NULL;
    str dir = STR_INIT;
    *n_removed = 0;
    *bytes = 0;
    str_printf(&dir, "%s/blobs", h->home);
    muga_status st = str_status(&dir, err, "store path");
    hold(h);
    if (!st)
        st = hub_list(h, &list, err);
    if (!st)
        st = h->files->stat(h->files->self, str_get(&dir), &info, err);
    sweeper w = {
        {h, list, NULL, err}, (clock->now_ms(clock->self) - older_than_ms) * 1000000, str_get(&dir), n_removed, bytes};
    if (!st && info.type == OS_TYPE_DIR && !has_damaged(list))
        st = h->files->list(h->files->self, str_get(&dir), sweep_one, &w, err);
    let_go(h);
    json_decref(list);
    str_release(&dir);
    return st;
}
