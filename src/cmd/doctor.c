/* muga doctor: what this machine offers, whether the store is sound, whether each model is what its name says. */
#include "base/hash.h"
#include "cmd/cmd.h"
#include "gguf/gguf.h"
#include "kernel/kernel.h"
#include "os/sandbox.h"
#include "store/store.h"

#include <sys/statvfs.h>

typedef struct checks {
    json_t *list;
    int n_bad;
    bool as_json;
} checks;

__attribute__((format(printf, 4, 5))) static void report(checks *c, bool ok, const char *what, const char *format,
                                                         ...) {
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!ok)
        c->n_bad++;
    json_array_append_new(c->list, json_pack("{s:s, s:b, s:s}", "check", what, "ok", (int)ok, "detail", text));
    if (!c->as_json)
        printf("%-4s %-10s %s\n", ok ? "ok" : "BAD", what, text);
    fflush(stdout);
}

static void check_processor(checks *c) {
    str names = STR_INIT;
    for (int i = 0; i < KERNEL_ISA_COUNT; i++)
        if (kernel_isa_available((kernel_isa)i))
            str_printf(&names, " %s", kernel_isa_name((kernel_isa)i));
    report(c, true, "processor", "kernels:%s; used: %s; cores: %d", str_get(&names), kernel_isa_name(kernel_isa_best()),
           os_cpu_count());
    str_release(&names);
}

/* A machine without a part of it is sound: it refuses command tools, and says so. */
static void check_sandbox(checks *c) {
    os_sandbox_piece pieces[OS_SANDBOX_N_PIECE];
    os_sandbox_look(cmd_program(), pieces);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        const os_sandbox_piece *p = &pieces[i];
        if (p->missing[0])
            report(c, true, "sandbox", "%s is missing, so sandboxed command tools are refused: %s", p->name,
                   p->missing);
        else
            report(c, true, "sandbox", "%s: %s", p->name, p->detail);
    }
}

static bool check_home(checks *c, char **home) {
    muga_error err = {0};
    struct statvfs fs;
    const os_files *f = &os_system()->files;
    str probe = STR_INIT;
    muga_status st = cmd_home(home, &err);
    if (!st)
        st = f->mkdirs(f->self, *home, &err);
    if (!st) {
        str_printf(&probe, "%s/.doctor", *home);
        st = os_write_file_atomic(f, str_get(&probe), "ok\n", 3, &err);
        if (!st)
            st = f->remove(f->self, str_get(&probe), &err);
    }
    str_release(&probe);
    if (st) {
        report(c, false, "store", "%s", err.message);
        return false;
    }
    char size[16] = "?";
    if (!statvfs(*home, &fs))
        cmd_format_bytes((uint64_t)fs.f_bavail * fs.f_frsize, size);
    report(c, true, "store", "%s, %s free", *home, size);
    return true;
}

static void check_database(checks *c, const char *home) {
    muga_error err = {0};
    store *s = NULL;
    str path = STR_INIT;
    store_options options = {.must_exist = true};
    str_printf(&path, "%s/muga.db", home);
    muga_status st = store_open(str_get(&path), &options, &s, &err);
    if (st == MUGA_E_NOT_FOUND)
        report(c, true, "records", "no agent has run yet");
    else
        report(c, !st, "records", "%s", st ? err.message : str_get(&path));
    store_close(s);
    str_release(&path);
}

static muga_status hash_file(const char *path, char hex[SHA256_HEX], muga_error *err) {
    os_map map;
    sha256 sum;
    uint8_t hash[SHA256_BYTES];
    muga_status st = os_map_open(path, &map, err);
    if (st)
        return st;
    sha256_init(&sum);
    for (uint64_t at = 0; at < map.size; at += 1 << 24)
        sha256_update(&sum, map.data + at, (size_t)MIN(map.size - at, 1u << 24));
    sha256_final(&sum, hash);
    hex_write(hash, SHA256_BYTES, hex);
    os_map_close(&map);
    return MUGA_OK;
}

/* What a model has beside its weights: all of it can be read, and is what its digests say. */
static muga_status check_parts(const hub *h, const char *name, const json_t *m, muga_error *err) {
    hub_model whole;
    size_t i;
    json_t *part;
    muga_status st = hub_load(h, name, &whole, err);
    hub_model_release(&whole);
    json_array_foreach(json_object_get(m, "parts"), i, part) {
        const char *digest = json_get_string(part, "blob");
        char hex[SHA256_HEX] = "";
        str path = STR_INIT;
        str_printf(&path, "%s/blobs/sha256-%s", h->home, digest + 7);
        if (!st)
            st = hash_file(str_get(&path), hex, err);
        if (!st && strcmp(hex, digest + 7))
            st = error_set(err, MUGA_E_INPUT, "its %.20s is not what its digest says; make the model again",
                           json_get_string(part, "kind"));
        str_release(&path);
    }
    return st;
}

static void check_model(checks *c, const hub *h, const json_t *m) {
    char name[300], *path = NULL, hex[SHA256_HEX] = "";
    muga_error err = {0};
    gguf_file *g = NULL;
    snprintf(name, sizeof name, "%.100s:%.100s", json_get_string(m, "name"), json_get_string(m, "tag"));
    const char *damaged = json_get_string(m, "damaged");
    if (damaged) {
        report(c, false, "model", "%s", damaged);
        return;
    }
    muga_status st = hub_resolve(h, name, &path, &err);
    if (!st)
        st = gguf_open(path, &g, &err);
    gguf_close(g);
    if (!st)
        st = hash_file(path, hex, &err);
    if (!st)
        st = check_parts(h, name, m, &err);
    if (st)
        report(c, false, "model", "%s: %s", name, err.message);
    else if (strcmp(hex, json_get_string(m, "blob") + 7))
        report(c, false, "model", "%s: content is not its digest; `muga rm %s` and add it again", name, name);
    else
        report(c, true, "model", "%s: content is its digest", name);
    free(path);
}

static void report_packed(void *ctx, const char *name, hub_packed_state state, uint64_t bytes, const char *why) {
    char size[16];
    cmd_format_bytes(bytes, size);
    if (state == HUB_PACKED_WHOLE)
        report(ctx, true, "packed", "%.20s...: %s, content is its digest", name, size);
    else
        report(ctx, state == HUB_PACKED_STALE, "packed", "%s; %s removed, the next start makes it again", why, size);
}

static void check_packed(checks *c) {
    hub h;
    muga_error err = {0};
    muga_status st = cmd_hub(&h, &err);
    if (!st) {
        st = hub_packed_check(&h, report_packed, c, &err);
        hub_close(&h);
    }
    if (st)
        report(c, false, "packed", "%s", err.message);
}

#define UNUSED_MS ((int64_t)24 * 3600 * 1000)

/* Blobs that no model has: of uploads that nothing was made of, of runs that were killed. */
static void check_unused(checks *c, const hub *h) {
    char size[16];
    uint32_t n = 0;
    uint64_t bytes = 0;
    muga_error err = {0};
    if (hub_sweep(h, UNUSED_MS, &n, &bytes, &err)) {
        report(c, false, "blobs", "%s", err.message);
    } else if (n > 0) {
        cmd_format_bytes(bytes, size);
        report(c, true, "blobs", "%u that no model has had for a day; %s removed", n, size);
    }
}

static void check_models(checks *c) {
    hub h;
    json_t *list = NULL, *m;
    size_t i;
    muga_error err = {0};
    muga_status st = cmd_hub(&h, &err);
    if (!st) {
        st = hub_list(&h, &list, &err);
        if (st)
            report(c, false, "models", "%s", err.message);
        json_array_foreach(list, i, m) check_model(c, &h, m);
        if (!st && json_array_size(list) == 0)
            report(c, true, "models", "none yet; scripts/setup brings one");
        if (!st)
            check_unused(c, &h);
        hub_close(&h);
    }
    json_decref(list);
}

int cmd_doctor(int argc, char **argv) {
    checks c = {0};
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &c.as_json, NULL, "an array of checks"}};
    cmd_positional p = {.max = 0};
    char *home = NULL;
    int code = cmd_parse("doctor", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    c.list = json_array();
    if (!c.list)
        return cmd_error(MUGA_E_NOMEM, "out of memory");
    check_processor(&c);
    check_sandbox(&c);
    if (check_home(&c, &home)) {
        check_database(&c, home);
        check_models(&c);
        check_packed(&c);
    }
    if (c.as_json)
        cmd_print_json(c.list);
    free(home);
    json_decref(c.list);
    return cmd_finish_output(c.n_bad ? 1 : 0);
}
