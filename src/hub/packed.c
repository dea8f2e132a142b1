/* Packed files of the store (model/packed.h): where each is, and keeping house. They are made from models alone, so
 * removing one loses nothing but the time to make it again. */
#include "hub/hub.h"

#include "base/hash.h"
#include "base/mem.h"
#include "kernel/kernel.h"
#include "model/packed.h"

#define OLD_NS ((int64_t)3600 * 1000000000) /* a temporary file that nobody can still be writing */

muga_status hub_packed_path(const hub *h, const char *path, char **out, muga_error *err) {
    const char *digest = hub_vouched_sha256(h, path);
    str s = STR_INIT;
    str_printf(&s, "%s/packed/", h->home);
    if (digest) {
        str_printf(&s, "sha256-%s", digest);
    } else {
        uint8_t sum[SHA256_BYTES];
        char hex[SHA256_HEX];
        sha256_of(path, strlen(path), sum);
        hex_write(sum, SHA256_BYTES, hex);
        str_printf(&s, "path-%s", hex);
    }
    str_printf(&s, "-%u", kernel_panel_layout());
    *out = str_take(&s);
    return *out ? MUGA_OK : error_nomem(err, "path");
}

typedef struct housekeeper {
    const hub *h;
    const char *dir;
    span prefix; /* of the names to remove */
    void (*report)(void *ctx, const char *name, hub_packed_state state, uint64_t bytes, const char *why);
    void *ctx;
    muga_error *err;
} housekeeper;

static muga_status visit_all(housekeeper *k, muga_status (*visit)(void *ctx, const char *name)) {
    const os_files *f = k->h->files;
    os_stat info;
    str dir = STR_INIT;
    str_printf(&dir, "%s/packed", k->h->home);
    muga_status st = str_status(&dir, k->err, "store path");
    k->dir = str_get(&dir);
    if (!st)
        st = f->stat(f->self, k->dir, &info, k->err);
    if (!st && info.type == OS_TYPE_DIR)
        st = f->list(f->self, k->dir, visit, k, k->err);
    str_release(&dir);
    return st;
}

static muga_status remove_named(void *ctx, const char *name) {
    const housekeeper *k = ctx;
    str path = STR_INIT;
    if (strncmp(name, k->prefix.p, k->prefix.n) != 0)
        return MUGA_OK;
    str_printf(&path, "%s/%s", k->dir, name);
    muga_status st = str_status(&path, k->err, "store path");
    if (!st)
        st = k->h->files->remove(k->h->files->self, str_get(&path), k->err);
    str_release(&path);
    return st;
}

muga_status hub_packed_remove(const hub *h, const char *digest, muga_error *err) {
    char prefix[80];
    int n = snprintf(prefix, sizeof prefix, "sha256-%.64s", digest);
    housekeeper k = {.h = h, .prefix = span_of(prefix, (size_t)n), .err = err};
    return visit_all(&k, remove_named);
}

/* What is to be said of one file; err says why it isn't whole. */
static hub_packed_state judge(const housekeeper *k, const char *path, const char *name, const os_stat *info,
                              muga_error *err) {
    const os_files *f = k->h->files;
    const os_clock *clock = &os_system()->clock;
    if (strstr(name, ".tmp-")) {
        error_set(err, MUGA_E_INPUT, "left behind by a run that was killed");
        return clock->now_ms(clock->self) * 1000000 - info->mtime_ns > OLD_NS ? HUB_PACKED_STALE : HUB_PACKED_WHOLE;
    }
    char layout[16];
    int n = snprintf(layout, sizeof layout, "-%u", kernel_panel_layout());
    size_t len = strlen(name);
    if (len < (size_t)n || strcmp(name + len - (size_t)n, layout) != 0) {
        error_set(err, MUGA_E_INPUT, "of another version");
        return HUB_PACKED_STALE;
    }
    if (packed_check_source(f, path, err) == MUGA_E_NOT_FOUND)
        return HUB_PACKED_STALE;
    return packed_check(path, err) ? HUB_PACKED_DAMAGED : HUB_PACKED_WHOLE;
}

static muga_status check_named(void *ctx, const char *name) {
    const housekeeper *k = ctx;
    const os_files *f = k->h->files;
    os_stat info;
    muga_error why = {0};
    str path = STR_INIT;
    str_printf(&path, "%s/%s", k->dir, name);
    muga_status st = str_status(&path, k->err, "store path");
    if (!st)
        st = f->stat(f->self, str_get(&path), &info, k->err);
    if (!st && info.type == OS_TYPE_FILE) {
        hub_packed_state state = judge(k, str_get(&path), name, &info, &why);
        if (state != HUB_PACKED_WHOLE)
            st = f->remove(f->self, str_get(&path), k->err);
        if (!st)
            k->report(k->ctx, name, state, info.size, why.message);
    }
    str_release(&path);
    return st;
}

muga_status hub_packed_check(const hub *h,
                             void (*report)(void *ctx, const char *name, hub_packed_state state, uint64_t bytes,
                                            const char *why),
                             void *ctx, muga_error *err) {
    housekeeper k = {.h = h, .report = report, .ctx = ctx, .err = err};
    return visit_all(&k, check_named);
}
