/* Vectors for search tools: an engine, opened when a search first needs it, kept until the program ends or another
 * model is asked for. One thread, as the agent it serves. */
#include "agent/agent.h"
#include "cmd/measuring.h"

#define MAX_BATCH 512u /* a passage goes through whole */

static struct {
    char *name;
    engine *e;
} opened;

/* What tells a model's file from another: its path, size and time. */
static muga_status identify(const char *name, char id[SHA256_HEX], muga_error *err) {
    char *path = NULL;
    os_stat info;
    uint8_t digest[SHA256_BYTES];
    str text = STR_INIT;
    const os_files *f = &os_system()->files;
    muga_status st = cmd_resolve(name, &path, err);
    if (!st)
        st = f->stat(f->self, path, &info, err);
    if (!st) {
        str_printf(&text, "%s\n%llu\n%lld", path, (unsigned long long)info.size, (long long)info.mtime_ns);
        st = str_status(&text, err, "a model's name");
    }
    if (!st) {
        sha256_of(str_get(&text), text.len, digest);
        hex_write(digest, sizeof digest, id);
    }
    str_release(&text);
    free(path);
    return st;
}

static muga_status open_model(const char *name, muga_error *err) {
    engine_options o = ENGINE_OPTIONS_DEFAULT;
    o.n_batch = MAX_BATCH;
    if (opened.name && !strcmp(opened.name, name))
        return MUGA_OK;
    engine_free(opened.e);
    free(opened.name);
    opened.e = NULL;
    opened.name = mem_copy_string(name);
    muga_status st = opened.name ? cmd_open_engine(name, true, o, &opened.e, err) : error_nomem(err, "a model");
    if (!st && engine_embed_dims(opened.e) == 0)
        st = error_set(err, MUGA_E_INPUT, "%.100s makes no vectors; name an embedding model", name);
    if (st) {
        engine_free(opened.e);
        free(opened.name);
        opened.e = NULL;
        opened.name = NULL;
    }
    return st;
}

static muga_status embedder_open(void *self, const char *name, uint32_t *n_dim, char id[SHA256_HEX], muga_error *err) {
    (void)self;
    muga_status st = identify(name, id, err);
    if (!st)
        st = open_model(name, err);
    if (!st)
        *n_dim = engine_embed_dims(opened.e);
    return st;
}

static muga_status embedder_embed(void *self, const char *name, span text, float *vector, muga_error *err) {
    (void)self;
    muga_status st = open_model(name, err);
    return st ? st : engine_embed(opened.e, &text, 1, vector, err);
}

static muga_status embedder_find(void *self, const char *name, muga_error *err) {
    char *path = NULL;
    os_stat info;
    const os_files *f = &os_system()->files;
    (void)self;
    muga_status st = cmd_resolve(name, &path, err);
    if (!st)
        st = f->stat(f->self, path, &info, err);
    if (!st && info.type != OS_TYPE_FILE)
        st = error_set(err, MUGA_E_NOT_FOUND, "%.180s: there is no such file", path);
    free(path);
    return st;
}

const struct agent_embedder *cmd_embedder(void) {
    static const agent_embedder table = {embedder_open, embedder_embed, NULL, embedder_find};
    return &table;
}
