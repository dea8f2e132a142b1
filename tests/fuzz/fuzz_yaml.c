/* YAML and the manifest over it: what is read is JSON that reads back, with a line for every value; what is refused
 * names the file and the line (or the byte where it isn't text at all). The same bytes are then loaded as the manifest
 * of an agent, in a folder that exists only here. */
#include "agent/agent.h"
#include "fuzz.h"

/* ---- YAML ---- */

static size_t count_values(const json_t *v) {
    size_t n = 1, i;
    const char *key;
    json_t *item;
    if (json_is_array(v)) {
        json_array_foreach(v, i, item) {
            n += count_values(item);
        }
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, item) {
        n += count_values(item);
    }
    return n;
}

/* One step of a JSON pointer: the member or item named p[0, n), which is escaped. */
static const json_t *step(const json_t *v, const char *p, size_t n) {
    str name = STR_INIT;
    for (size_t i = 0; i < n; i++)
        str_append_c(&name, p[i] != '~' ? p[i] : p[++i] == '0' ? '~' : '/');
    const json_t *found = json_is_array(v) ? json_array_get(v, strtoul(str_get(&name), NULL, 10))
                                           : json_object_getn(v, str_get(&name), name.len);
    str_release(&name);
    return found;
}

static const json_t *follow(const json_t *v, const char *pointer, size_t n) {
    const char *end = pointer + n;
    while (v && pointer < end) {
        fuzz_need(*pointer == '/');
        const char *next = memchr(pointer + 1, '/', (size_t)(end - pointer - 1));
        next = next ? next : end;
        v = step(v, pointer + 1, (size_t)(next - pointer - 1));
        pointer = next;
    }
    return v;
}

static void check_lines(const json_t *v, const json_t *lines, size_t size) {
    const char *pointer;
    size_t n;
    json_t *line;
    json_object_keylen_foreach((json_t *)(uintptr_t)lines, pointer, n, line) {
        fuzz_need(follow(v, pointer, n));
        fuzz_need(json_integer_value(line) >= 1 && (uint64_t)json_integer_value(line) <= size + 1);
    }
    fuzz_need(json_object_size(lines) == count_values(v));
}

static void check_json(const json_t *v) {
    str once = STR_INIT, twice = STR_INIT;
    json_t *again = NULL;
    muga_error err = {0};
    json_write(v, &once);
    muga_status st = json_parse(str_get(&once), once.len, "written", &again, &err);
    if (st)
        fprintf(stderr, "%s: %.200s\n", err.message, str_get(&once));
    fuzz_need(st == MUGA_OK);
    json_write(again, &twice);
    fuzz_need(once.len == twice.len && memcmp(str_get(&once), str_get(&twice), once.len) == 0);
    json_decref(again);
    str_release(&once);
    str_release(&twice);
}

static bool names_place(const char *message, const char *file) {
    size_t n = strlen(file);
    if (strncmp(message, file, n) != 0 || message[n] != ':')
        return false;
    const char *p = message + n + 1;
    return (*p >= '1' && *p <= '9') || strncmp(p, " byte ", 6) == 0 || strcmp(p, " empty") == 0;
}

static bool check_yaml(const char *text, size_t size) {
    json_t *v = NULL, *lines = NULL;
    muga_error err = {0};
    muga_status st = yaml_parse(text, size, "t.yaml", &v, &lines, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_INPUT, &err);
        if (!names_place(err.message, "t.yaml"))
            fprintf(stderr, "%s\n", err.message);
        fuzz_need(!v && !lines && names_place(err.message, "t.yaml"));
        return false;
    }
    check_lines(v, lines, size);
    check_json(v);
    json_decref(v);
    json_decref(lines);
    return true;
}

/* ---- manifest: a folder with agent.yaml and a program ---- */

typedef struct folder {
    const char *text;
    size_t n, at;
} folder;

static bool is_manifest(const char *path) {
    return strcmp(path, "/agent/agent.yaml") == 0;
}

static muga_status folder_stat(void *self, const char *path, os_stat *out, muga_error *err) {
    (void)err;
    folder *f = self;
    *out = (os_stat){.type = OS_TYPE_NONE};
    if (is_manifest(path))
        *out = (os_stat){.type = OS_TYPE_FILE, .size = f->n};
    else if (strcmp(path, "/agent/tools/act") == 0)
        *out = (os_stat){.type = OS_TYPE_FILE};
    return MUGA_OK;
}

static muga_status folder_open(void *self, const char *path, os_mode mode, os_file **out, muga_error *err) {
    folder *f = self;
    (void)err;
    fuzz_need(mode == OS_READ); /* loading writes nothing */
    f->at = is_manifest(path) ? 0 : f->n;
    *out = self;
    return MUGA_OK;
}

static muga_status folder_read(void *self, os_file *file, void *p, size_t n, size_t *n_read, muga_error *err) {
    folder *f = self;
    (void)file;
    (void)err;
    *n_read = MIN(n, f->n - f->at);
    memcpy(p, f->text + f->at, *n_read);
    f->at += *n_read;
    return MUGA_OK;
}

static void folder_close(void *self, os_file *file) {
    (void)self;
    (void)file;
}

static void check_manifest(const char *text, size_t size, bool is_yaml) {
    folder f = {.text = text, .n = size};
    const os_files files = {
        .open = folder_open, .read = folder_read, .close = folder_close, .stat = folder_stat, .self = &f};
    agent_env env = agent_env_system();
    manifest *m = NULL;
    muga_error err = {0};
    env.files = &files;
    muga_status st = manifest_load(&env, "/agent", NULL, &m, &err);
    if (st) {
        if (st != MUGA_E_NOT_FOUND && st != MUGA_E_ENV) /* a database or program that isn't there */
            fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
        if (!names_place(err.message, "agent.yaml"))
            fprintf(stderr, "%s\n", err.message);
        fuzz_need(!m && names_place(err.message, "agent.yaml"));
        return;
    }
    fuzz_need(is_yaml && m->name && m->n_tools <= json_array_size(json_object_get(m->json, "tools")));
    for (size_t i = 0; i < m->n_tools; i++)
        fuzz_need(manifest_tool_find(m, m->tools[i].name) == &m->tools[i] && m->tools[i].line > 0);
    manifest_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_copy(data, size);
    bool is_yaml = check_yaml(text, size);
    check_manifest(text, size, is_yaml);
    free(text);
    return 0;
}
