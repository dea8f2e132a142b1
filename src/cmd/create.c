/* muga create: a model of the store from a Modelfile. */
#include "cmd/cmd.h"
#include "hub/modelfile.h"

#include <unistd.h>

typedef struct create {
    const char *name, *file, *from, *quantize;
    uint32_t threads;
    bool any_base, as_json;
    modelfile recipe;
    char *dir; /* of the Modelfile; NULL = the current folder */
    cmd_progress progress;
} create;

/* "~/x" as a shell would have it, were it not quoted in a file. */
static muga_status expand_home(char **path, muga_error *err) {
    const char *home = getenv("HOME");
    str s = STR_INIT;
    if (!*path || strncmp(*path, "~/", 2) || !home || !*home)
        return MUGA_OK;
    str_printf(&s, "%s%s", home, *path + 1);
    char *whole = str_take(&s);
    if (!whole)
        return error_nomem(err, "path");
    free(*path);
    *path = whole;
    return MUGA_OK;
}

static muga_status read_modelfile(create *c, muga_error *err) {
    os_stat info;
    str text = STR_INIT;
    const os_files *f = &os_system()->files;
    const char *file = c->file ? c->file : "Modelfile", *slash = strrchr(file, '/');
    muga_status st = strcmp(file, "-") ? f->stat(f->self, file, &info, err) : MUGA_OK;
    if (!st && !c->file && info.type == OS_TYPE_NONE)
        return error_set(err, MUGA_E_NOT_FOUND,
                         "there is no Modelfile here; name one with -f, or what to make the model of with --from");
    if (!st)
        st = cmd_read_input(file, MODELFILE_MAX_BYTES, &text, err);
    if (!st && slash && !(c->dir = mem_copy_bytes(file, MAX((size_t)(slash - file), (size_t)1))))
        st = error_nomem(err, "path");
    if (!st)
        st = modelfile_parse(str_get(&text), text.len, file, &c->recipe, err);
    str_release(&text);
    return st;
}

static muga_status read_recipe(create *c, muga_error *err) {
    if (!c->from)
        return read_modelfile(c, err);
    c->recipe.from = mem_copy_string(c->from);
    return c->recipe.from ? MUGA_OK : error_nomem(err, "path");
}

static bool on_progress(void *ctx, const char *what, double done) {
    create *c = ctx;
    if (done < 0)
        return !cmd_interrupted();
    if (c->progress.what != what) {
        cmd_progress_finish(&c->progress);
        c->progress = (cmd_progress){.what = what};
    }
    cmd_progress_show(&c->progress, done);
    return !cmd_interrupted();
}

static int print_made(const create *c, const hub *h) {
    hub_model m;
    muga_error err = {0};
    char size[16];
    muga_status st = hub_load(h, c->name, &m, &err);
    if (!st && c->as_json) {
        json_t *v = json_pack("{s:s, s:s, s:I}", "name", m.name, "digest", m.digest, "bytes", (json_int_t)m.bytes);
        cmd_print_json(v);
        json_decref(v);
    } else if (!st) {
        cmd_format_bytes(m.bytes, size);
        printf("created %s: %.12s, %s\n", m.name, m.digest, size);
    }
    hub_model_release(&m);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}

static int run(create *c) {
    hub h = {0};
    muga_error err = {0};
    hub_create_options o = {
        .quantize = c->quantize, .any_base = c->any_base, .on_progress = on_progress, .on_progress_ctx = c};
    muga_status st = read_recipe(c, &err);
    if (!st)
        st = expand_home(&c->recipe.from, &err);
    for (size_t i = 0; !st && i < c->recipe.n_adapters; i++)
        st = expand_home(&c->recipe.adapters[i].from, &err);
    if (!st)
        st = cmd_hub(&h, &err);
    if (!st)
        st = os_pool_new(c->threads ? (int)c->threads : os_cpu_count(), &o.pool, &err);
    o.dir = c->dir;
    if (!st)
        st = hub_create(&h, c->name, &c->recipe, &o, &err);
    cmd_progress_finish(&c->progress);
    int code = st ? cmd_fail(&err) : print_made(c, &h);
    os_pool_free(o.pool);
    hub_close(&h);
    return code;
}

int cmd_create(int argc, char **argv) {
    create c = {0};
    const cmd_option options[] = {
        {"--file", 'f', CMD_STRING, &c.file, "FILE", "the Modelfile (default: Modelfile); - is standard input"},
        {"--from", 0, CMD_STRING, &c.from, "MODEL", "instead of a Modelfile: a model, a GGUF file, or a folder"},
        {"--quantize", 'q', CMD_STRING, &c.quantize, "TYPE", "weights that are F16, BF16 or F32 in this type"},
        ANY_BASE_OPTION(&c.any_base),
        {"--threads", 't', CMD_U32, &c.threads, "N", "threads (default: the cores there are)"},
        {"--json", 0, CMD_FLAG, &c.as_json, NULL, "one JSON object"}};
    cmd_positional p = {.min = 1, .max = 1};
    int code = cmd_parse("create", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if (c.file && c.from)
        return cmd_error(MUGA_E_USAGE, "create: -f and --from both say what the model is made of; give one");
    if (c.threads > 1024)
        return cmd_error(MUGA_E_USAGE, "--threads is at most 1024");
    c.name = p.v[0];
    cmd_catch_interrupt();
    code = run(&c);
    modelfile_release(&c.recipe);
    free(c.dir);
    return code;
}
