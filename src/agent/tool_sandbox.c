/* A definition's `sandbox:` -> mounts and limits. Owns: which paths a program may be given. Refuses: a folder that
 * holds the agent or its data, or one of another tool's that could be changed while it is mounted; the program's own
 * folder as one to write; `network: true`.
 *
 *   read:  [data/prices.csv]   the agent's folder   -> /agent/data/prices.csv
 *   write: [out]               the agent's data     -> /agent/out      (made where it is missing)
 *   read:  [/srv/catalogue]    as it is             -> /srv/catalogue
 *   ./tools/quote              its folder           -> /agent/tools    (a program beside agent.yaml: it alone)
 *
 * No path may lie below one that a program may write: it could put a link there, for the next call to follow. So
 * overlaps are refused, within a tool and between tools, and os/sandbox.c refuses links. */
#include "agent/tool_sandbox.h"
#include "agent/internal.h"

#include <stdio.h>

enum { MAX_PATHS = 16, N_FILE = 256 };
#define MB ((uint64_t)1 << 20)

const char tool_sandbox_schema[] =
    "{\n"
    "            \"type\": \"object\", \"additionalProperties\": false,\n"
    "            \"description\": \"what a command's program gets besides its own folder\",\n"
    "            \"properties\": {\n"
    "              \"read\": {\"type\": \"array\", \"maxItems\": 16, \"items\": {\"type\": \"string\", \"minLength\": "
    "1, \"maxLength\": 1000}, \"description\": \"files and folders, in the agent's folder or absolute\"},\n"
    "              \"write\": {\"type\": \"array\", \"maxItems\": 16, \"items\": {\"type\": \"string\", "
    "\"minLength\": 1, \"maxLength\": 1000}, \"description\": \"folders, in the agent's data or absolute\"},\n"
    "              \"network\": {\"const\": false, \"description\": \"must be false: there is none inside; use an "
    "http tool, or unsandboxed: true\"},\n"
    "              \"memory_mb\": {\"type\": \"integer\", \"minimum\": 16, \"maximum\": 1048576},\n"
    "              \"tmp_mb\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 65536},\n"
    "              \"file_mb\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 65536},\n"
    "              \"cpu_seconds\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 3600},\n"
    "              \"processes\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 10000}\n"
    "            }\n"
    "          }";

/* ---- paths as they are written ---- */

/* "./a/b/" -> "a/b". False: empty, "." or ".." or an empty part inside. */
static bool plain_path(const char *path, str *out) {
    const char *at = strncmp(path, "./", 2) == 0 ? path + 2 : path;
    if (*at == '/') {
        str_append_c(out, '/');
        at++;
    }
    while (*at) {
        size_t n = strcspn(at, "/");
        if (n == 0 || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.')) {
            return false;
        }
        str_append(out, at, n);
        at += n;
        if (*at == '/' && at[1] != '\0') {
            str_append_c(out, '/');
        }
        at += *at == '/';
    }
    return out->len > 0 && str_get(out)[out->len - 1] != '/';
}

/* Is `path` `folder`, or in it? */
static bool is_within(const char *path, const char *folder) {
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static bool overlap(const char *a, const char *b) {
    return is_within(a, b) || is_within(b, a);
}

/* Does the program of this definition write to a folder that `path` (plain) lies below? */
static bool writes_above(const json_t *definition, const char *path) {
    size_t k;
    json_t *written;
    json_array_foreach(json_object_get(json_object_get(definition, "sandbox"), "write"), k, written) {
        str plain = STR_INIT;
        bool above = plain_path(json_string_value(written), &plain) && is_within(path, str_get(&plain)) &&
                     strcmp(path, str_get(&plain)) != 0;
        str_release(&plain);
        if (above) {
            return true;
        }
    }
    return false;
}

/* The tool, or approvals.notify, that does. */
static const char *writer_above(const tool_setup *s, const char *path) {
    size_t i;
    json_t *tool;
    json_array_foreach(json_object_get(s->m->json, "tools"), i, tool) {
        if (writes_above(tool, path)) {
            return json_get_string(tool, "name");
        }
    }
    return writes_above(json_object_get(s->m->json, "approvals"), path) ? "approvals.notify" : NULL;
}

/* ---- mounts ---- */

/* The folders of the agent, without links. */
typedef struct folders {
    str dir, data;
} folders;

static muga_status add_mount(tool_sandbox *x, const char *from, const char *to, bool write, muga_error *err) {
    os_sandbox_mount m = {mem_copy_string(from), mem_copy_string(to), write};
    x->mounts[x->os.n_mount++] = m; /* released from there, too, when a half is missing */
    return m.from && m.to ? MUGA_OK : error_nomem(err, "a sandbox");
}

static muga_status refuse_overlap(tool_setup *s, const tool_sandbox *x, const char *place, const char *to,
                                  muga_error *err) {
    for (size_t i = 0; i < x->os.n_mount; i++) {
        if (overlap(to, x->mounts[i].to)) {
            return tool_fault(s, place, err, "overlaps with %.60s, which the program has already%s; name one of them",
                              x->mounts[i].to, x->mounts[i].write ? "" : " to read and run");
        }
    }
    return MUGA_OK;
}

static muga_status add_absolute(tool_setup *s, const folders *f, tool_sandbox *x, const char *place, const char *path,
                                bool write, muga_error *err) {
    if (is_within(path, str_get(&f->dir)) || is_within(path, str_get(&f->data))) {
        return tool_fault(s, place, err,
                          "lies in the agent's folder or its data; name it from there, without '/' before");
    }
    if (overlap(path, str_get(&f->dir)) || overlap(path, str_get(&f->data))) {
        return tool_fault(s, place, err, "holds the agent or its data; name the folders in it that are needed");
    }
    if (overlap(path, TOOL_SANDBOX_DIR) || overlap(path, "/tmp") || overlap(path, "/launcher")) {
        return tool_fault(s, place, err, "has a meaning of its own inside; choose a folder elsewhere");
    }
    return add_mount(x, path, path, write, err);
}

static muga_status add_relative(tool_setup *s, const folders *f, tool_sandbox *x, const char *path, bool write,
                                muga_error *err) {
    str from = STR_INIT, to = STR_INIT;
    str_printf(&from, "%s/%s", str_get(write ? &f->data : &f->dir), path);
    str_printf(&to, "%s/%s", TOOL_SANDBOX_DIR, path);
    muga_status st = from.failed || to.failed ? error_nomem(err, "a sandbox") : MUGA_OK;
    if (st == MUGA_OK && write) {
        st = s->env->files->mkdirs(s->env->files->self, str_get(&from), err);
    }
    if (st == MUGA_OK) {
        st = add_mount(x, str_get(&from), str_get(&to), write, err);
    }
    str_release(&from);
    str_release(&to);
    return st;
}

static muga_status add_path(tool_setup *s, const folders *f, tool_sandbox *x, const char *place, const char *written,
                            bool write, muga_error *err) {
    str plain = STR_INIT, to = STR_INIT;
    muga_status st = MUGA_OK;
    const char *path, *other;
    if (!plain_path(written, &plain)) {
        st = tool_fault(s, place, err, "'%.100s' is no folder by itself; write it without '.', '..' and '//'", written);
        goto out;
    }
    path = str_get(&plain);
    str_printf(&to, "%s%s%s", path[0] == '/' ? "" : TOOL_SANDBOX_DIR, path[0] == '/' ? "" : "/", path);
    other = writer_above(s, path);
    if (plain.failed || to.failed) {
        st = error_nomem(err, "a sandbox");
    } else if (other) {
        st = tool_fault(s, place, err, "lies below a folder that %.40s may write; links there could lead anywhere",
                        other);
    } else {
        st = refuse_overlap(s, x, place, str_get(&to), err);
    }
    if (st == MUGA_OK) {
        st = path[0] == '/' ? add_absolute(s, f, x, place, path, write, err) : add_relative(s, f, x, path, write, err);
        snprintf(s->place, sizeof s->place, "%s", place);
    }
out:
    str_release(&plain);
    str_release(&to);
    return st;
}

/* Its folder, so that it finds what it is made of; beside agent.yaml, or elsewhere on the machine, itself alone. */
static muga_status add_program(tool_setup *s, const folders *f, tool_sandbox *x, muga_error *err) {
    static const char *const system[] = {"/usr", "/bin", "/sbin", "/lib", "/lib64"};
    const char *name = json_string_value(json_array_get(json_object_get(s->def->json, "command"), 0));
    const char *slash;
    str plain = STR_INIT;
    muga_status st = MUGA_OK;
    bool is_system = false;
    for (size_t i = 0; i < ARRAY_LEN(system); i++) {
        is_system = is_system || is_within(name, system[i]);
    }
    if (is_system) {
        return MUGA_OK;
    }
    if (!plain_path(name, &plain)) {
        st = tool_fault(s, "/command/0", err, "'%.100s' is no path to a program", name);
    } else if (str_get(&plain)[0] == '/') {
        st = add_absolute(s, f, x, "/command/0", str_get(&plain), false, err);
    } else {
        slash = strrchr(str_get(&plain), '/');
        str_truncate(&plain, slash ? (size_t)(slash - str_get(&plain)) : plain.len);
        st = add_relative(s, f, x, str_get(&plain), false, err);
    }
    str_release(&plain);
    return st;
}

static muga_status add_paths(tool_setup *s, const folders *f, tool_sandbox *x, const char *key, bool write,
                             muga_error *err) {
    const json_t *list = json_object_get(json_object_get(s->def->json, "sandbox"), key);
    char place[48];
    for (size_t i = 0; i < json_array_size(list); i++) {
        snprintf(place, sizeof place, "/sandbox/%s/%zu", key, i);
        muga_status st = add_path(s, f, x, place, json_string_value(json_array_get(list, i)), write, err);
        if (st != MUGA_OK) {
            return st;
        }
    }
    return MUGA_OK;
}

/* ---- the whole ---- */

static void read_limits(const json_t *sandbox, os_sandbox *os) {
    os->layers = OS_SANDBOX_ALL;
    os->memory_bytes = (uint64_t)json_get_int(sandbox, "memory_mb", 512) * MB;
    os->tmp_bytes = (uint64_t)json_get_int(sandbox, "tmp_mb", 64) * MB;
    os->file_bytes = (uint64_t)json_get_int(sandbox, "file_mb", 64) * MB;
    os->cpu_seconds = (uint64_t)json_get_int(sandbox, "cpu_seconds", 30);
    os->n_process = (uint64_t)json_get_int(sandbox, "processes", 32);
    os->n_file = N_FILE;
}

muga_status tool_sandbox_open(tool_setup *s, tool_sandbox *out, muga_error *err) {
    const json_t *sandbox = json_object_get(s->def->json, "sandbox");
    folders f = {STR_INIT, STR_INIT};
    *out = (tool_sandbox){.mounts = calloc(2 * MAX_PATHS + 1, sizeof *out->mounts)};
    read_limits(sandbox, &out->os);
    out->os.launcher = s->env->launcher;
    out->os.tried = s->env->sandbox_tried;
    out->os.mounts = out->mounts;
    muga_status st = out->mounts ? os_real_path(s->m->dir, &f.dir, err) : error_nomem(err, "a sandbox");
    if (st == MUGA_OK) {
        st = os_real_path(s->m->data_dir, &f.data, err);
    }
    if (st == MUGA_OK) {
        st = add_program(s, &f, out, err);
    }
    if (st == MUGA_OK) {
        st = add_paths(s, &f, out, "read", false, err);
    }
    if (st == MUGA_OK) {
        st = add_paths(s, &f, out, "write", true, err);
    }
    if (st == MUGA_OK) {
        snprintf(s->place, sizeof s->place, "%s", sandbox ? "/sandbox" : "/command");
        st = os_sandbox_check(s->env->children, &out->os, err);
    }
    str_release(&f.dir);
    str_release(&f.data);
    return st;
}

void tool_sandbox_release(tool_sandbox *x) {
    for (size_t i = 0; x->mounts && i < x->os.n_mount; i++) {
        union { /* mounts borrow, and we own */
            const char *in;
            char *out;
        } from = {x->mounts[i].from}, to = {x->mounts[i].to};
        free(from.out);
        free(to.out);
    }
    free(x->mounts);
    *x = (tool_sandbox){0};
}
