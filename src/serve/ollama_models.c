/* The models of the store, as /api/ has them: tags, ps, show, create, copy, delete, blobs. Names and digests come from
 * outside and are the store's alone: nothing here opens a path that a request names. */
#include "hub/modelfile.h"
#include "serve/keys.h"
#include "serve/ollama.h"
#include "serve/settings.h"

#include <stdio.h>

#define OLLAMA_VERSION MODELFILE_VERSION

static const hub *store_of(const call *c) {
    return c->serve->options->hub;
}

/* A model that isn't there, and a name that is none, are the same to who asks. */
static bool fail_model(call *c, muga_status st, const muga_error *err, const char *model) {
    if (st == MUGA_E_NOT_FOUND || st == MUGA_E_USAGE)
        return call_fail(c, 404, "model", "model_not_found", "model '%.100s' not found", model);
    return call_fail_with(c, st, err, "model");
}

/* ---- what there is ---- */

static void say_version(call *c) {
    (void)call_reply(c, 200, json_pack("{s:s, s:s}", "version", OLLAMA_VERSION, "muga", c->serve->options->version));
}

static json_t *tag_json(const char *name, const hub_model *m) {
    char time[32];
    ollama_time(m->modified_ms, time);
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:o}", "name", name, "model", name, "modified_at", time, "size",
                     (json_int_t)m->bytes, "digest", m->digest, "details", ollama_details(&m->details));
}

/* Names of the configuration for this model. */
static bool add_aliases(const call *c, const hub_model *m, json_t *list) {
    const serve_config *now = settings_now(c->serve);
    bool whole = true;
    for (size_t i = 0; now && i < now->n_aliases && whole; i++)
        if (settings_is_same(now->aliases[i].model, m->name))
            whole = json_array_append_new(list, tag_json(now->aliases[i].name, m)) == 0;
    return whole;
}

static void list_tags(call *c) {
    hub_model *all = NULL;
    size_t n = 0;
    muga_error err = {0};
    muga_status st = hub_load_all(store_of(c), &all, &n, &err);
    json_t *list = json_array();
    bool whole = list != NULL;
    for (size_t i = 0; i < n; i++) {
        if (key_may_model(c->key, all[i].name))
            whole = whole && json_array_append_new(list, tag_json(all[i].name, &all[i])) == 0 &&
                    add_aliases(c, &all[i], list);
        hub_model_release(&all[i]);
    }
    free(all);
    if (st)
        (void)call_fail_with(c, st, &err, NULL);
    else
        (void)call_reply(c, 200, whole ? json_pack("{s:O}", "models", list) : NULL);
    json_decref(list);
}

static json_t *loaded_json(const json_t *m) {
    char expires[32] = "9999-12-31T23:59:59.000Z";
    const char *name = json_get_string(m, "name"), *digest = json_get_string(m, "digest");
    int64_t ms = json_get_int(m, "expires_ms", -1);
    if (ms >= 0)
        ollama_time(ms, expires);
    hub_details d = {0};
    snprintf(d.family, sizeof d.family, "%s", json_get_string(m, "family"));
    snprintf(d.parameter_size, sizeof d.parameter_size, "%s", json_get_string(m, "parameter_size"));
    snprintf(d.quantization_level, sizeof d.quantization_level, "%s", json_get_string(m, "quantization_level"));
    return json_pack("{s:s, s:s, s:I, s:s, s:o, s:s, s:i, s:I}", "name", name, "model", name, "size",
                     (json_int_t)json_get_int(m, "bytes", 0), "digest", digest ? digest : "", "details",
                     ollama_details(&d), "expires_at", expires, "size_vram", 0, "context_length",
                     (json_int_t)json_get_int(m, "n_ctx", 0));
}

static void list_loaded(call *c) {
    json_t *loaded = NULL, *list = json_array();
    const json_t *m;
    size_t i;
    muga_error err = {0};
    muga_status st = pool_list(c->serve->pool, &loaded, &err);
    bool whole = list != NULL;
    json_array_foreach(loaded, i, m) if (whole && !json_get_bool(m, "loading", false) &&
                                         key_may_model(c->key, json_get_string(m, "name")))
        whole = json_array_append_new(list, loaded_json(m)) == 0;
    if (st)
        (void)call_fail_with(c, st, &err, NULL);
    else
        (void)call_reply(c, 200, whole ? json_pack("{s:O}", "models", list) : NULL);
    json_decref(list);
    json_decref(loaded);
}

/* ---- changing the store ---- */

typedef struct names {
    const char *model, *name, *source, *destination;
    bool stream;
} names;

static const field copy_fields[] = {
    {"source", FIELD_STRING, FIELD_AT(names, source), 0, 512, NULL, true},
    {"destination", FIELD_STRING, FIELD_AT(names, destination), 0, 512, NULL, true},
};

static void copy_model(call *c) {
    names w = {0};
    muga_error err = {0};
    char full[HUB_NAME_BYTES];
    if (!call_read(c, c->body, "", copy_fields, ARRAY_LEN(copy_fields), &w))
        return;
    if (hub_full_name(w.destination, full, &err)) {
        (void)call_fail(c, 400, "destination", "invalid_value", "%s", err.message);
        return;
    }
    muga_status st = hub_copy(store_of(c), w.source, w.destination, &err);
    if (st)
        (void)fail_model(c, st, &err, w.source);
    else
        (void)call_reply_text(c, 200, "application/json", "{}", 2);
}

static const field model_fields[] = {
    {"model", FIELD_STRING, FIELD_AT(names, model), 0, 512, NULL, false},
    {"name", FIELD_STRING, FIELD_AT(names, name), 0, 512, NULL, false}, /* what it was called once */
};

/* "model", or what it was called once. NULL: the 400 has gone out. */
static const char *read_model(call *c, const names *w) {
    const char *model = w->model && *w->model ? w->model : w->name;
    if (!model || !*model)
        (void)call_fail(c, 400, "model", "missing_required_parameter", "model is missing");
    return model && *model ? model : NULL;
}

static void delete_model(call *c) {
    names w = {0};
    muga_error err = {0};
    if (!call_read(c, c->body, "", model_fields, ARRAY_LEN(model_fields), &w))
        return;
    const char *model = read_model(c, &w);
    if (!model)
        return;
    muga_status st = hub_is_path(model) ? MUGA_E_NOT_FOUND : hub_remove(store_of(c), model, &err);
    if (st) {
        (void)fail_model(c, st, &err, model);
        return;
    }
    st = pool_unload(c->serve->pool, model, &err); /* where it is loaded, its users finish */
    if (st && st != MUGA_E_NOT_FOUND) {
        (void)call_fail_with(c, st, &err, "model");
        return;
    }
    (void)call_reply_text(c, 200, "application/json", "{}", 2);
}

/* ---- create ---- */

typedef struct progress {
    call *c;
    bool stream, begun;
    char what[64];
    int percent;
} progress;

static bool say_status(progress *p, const char *what, double done) {
    if (!p->stream)
        return !atomic_load(call_gone(p->c));
    if (!p->begun && !call_lines_begin(p->c))
        return false;
    p->begun = true;
    json_t *line = done < 0
                       ? json_pack("{s:s}", "status", what)
                       : json_pack("{s:s, s:i, s:i}", "status", what, "total", 100, "completed", (int)(done * 100));
    return call_line(p->c, line);
}

static bool on_progress(void *ctx, const char *what, double done) {
    progress *p = ctx;
    int percent = (int)(done * 100);
    if (!strcmp(p->what, what) && percent == p->percent)
        return !atomic_load(call_gone(p->c));
    snprintf(p->what, sizeof p->what, "%s", what);
    p->percent = percent;
    return say_status(p, what, done);
}

typedef struct create {
    names n;
    const char *quantize;
} create;

static const field create_fields[] = {
    {"model", FIELD_STRING, FIELD_AT(create, n.model), 0, 512, NULL, false},
    {"name", FIELD_STRING, FIELD_AT(create, n.name), 0, 512, NULL, false},
    {"stream", FIELD_BOOL, FIELD_AT(create, n.stream), 0, 0, NULL, false},
    {"quantize", FIELD_STRING, FIELD_AT(create, quantize), 0, 32, NULL, false},
    /* modelfile_of_json reads and checks these */
    {"from", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"files", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"adapters", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"template", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"system", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"license", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"parameters", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"messages", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"requires", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"renderer", FIELD_REFUSED, 0, 0, 0, "\"\"", false},
    {"parser", FIELD_REFUSED, 0, 0, 0, "\"\"", false},
    {"modelfile", FIELD_REFUSED, 0, 0, 0, "\"\"", false}, /* of older clients: a text with paths in it */
    {"path", FIELD_REFUSED, 0, 0, 0, "\"\"", false},
};

static void create_model(call *c) {
    create w = {.n = {.stream = true}};
    modelfile recipe = {0};
    muga_error err = {0};
    char full[HUB_NAME_BYTES];
    if (!call_read(c, c->body, "", create_fields, ARRAY_LEN(create_fields), &w))
        return;
    const char *model = read_model(c, &w.n);
    if (!model)
        return;
    progress p = {.c = c, .stream = w.n.stream, .percent = -2};
    hub_create_options o = {.quantize = w.quantize && *w.quantize ? w.quantize : NULL,
                            .no_paths = true,
                            .on_progress = on_progress,
                            .on_progress_ctx = &p};
    muga_status st = hub_full_name(model, full, &err);
    if (!st)
        st = modelfile_of_json(c->body, &recipe, &err);
    if (!st)
        st = hub_create(store_of(c), model, &recipe, &o, &err);
    modelfile_release(&recipe);
    call_ends(c);
    if (st)
        (void)call_fail_with(c, st, &err, NULL);
    else if (!p.stream)
        (void)call_reply(c, 200, json_pack("{s:s}", "status", "success"));
    else if (say_status(&p, "success", -1))
        (void)call_lines_end(c);
}

/* ---- blobs ---- */

static void has_blob(call *c) {
    bool has = false;
    muga_error err = {0};
    muga_status st = hub_blob_has(store_of(c), c->arg[0], &has, NULL, &err);
    if (st)
        (void)call_fail_with(c, st, &err, "digest");
    else if (has)
        (void)call_reply_text(c, 200, "application/json", "{}", 2);
    else
        (void)call_fail(c, 404, "digest", "blob_not_found", "there is no blob %s", c->arg[0]);
}

/* An upload: pieces are written as they come, in the server's thread, which a page cache makes short; the file is
 * synced and named by the route's job. */
typedef struct upload {
    hub_put put;
    muga_status st;
    muga_error err;
} upload;

static bool upload_piece(void *ctx, const void *p, size_t n) {
    upload *u = ctx;
    u->st = hub_put_write(&u->put, p, n, &u->err);
    return u->st == MUGA_OK;
}

static void upload_lost(void *ctx) {
    upload *u = ctx;
    hub_put_close(&u->put);
    free(u);
}

static muga_status begin_upload(serve *s, exchange *x, const char *digest, muga_error *err) {
    upload *u = mem_alloc_array(1, sizeof *u);
    if (!u)
        return error_nomem(err, "the upload");
    muga_status st = hub_put_open(s->options->hub, digest, 0, &u->put, err);
    if (st) {
        upload_lost(u);
        return st;
    }
    exchange_sink sink = {upload_piece, upload_lost, u, 0};
    exchange_set(x, u);
    exchange_take_body(x, &sink);
    return MUGA_OK;
}

static void put_blob(call *c) {
    upload *u = exchange_get(c->x);
    if (!u->st)
        u->st = hub_put_commit(&u->put, &u->err);
    if (u->st)
        (void)call_fail_with(c, u->st, &u->err, "digest");
    else
        (void)call_reply_text(c, 201, "application/json", "{}", 2);
    upload_lost(u);
}

/* ---- what comes later ---- */

static const field registry_fields[] = {
    {"model", FIELD_STRING, FIELD_AT(names, model), 0, 512, NULL, false},
    {"name", FIELD_STRING, FIELD_AT(names, name), 0, 512, NULL, false},
    {"stream", FIELD_BOOL, FIELD_AT(names, stream), 0, 0, NULL, false},
    {"insecure", FIELD_ACCEPTED, 0, 0, 0, "true or false", false},
    {"username", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"password", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
};

static void say_later(call *c) {
    (void)call_fail(c, 501, NULL, "not_implemented",
                    "models aren't pulled from or pushed to a registry yet; make one of a file: muga create NAME -f "
                    "Modelfile, or POST /api/create of a blob");
}

static void push_model(call *c) {
    names w = {0};
    if (call_read(c, c->body, "", registry_fields, ARRAY_LEN(registry_fields), &w) && read_model(c, &w))
        say_later(c);
}

/* Programs pull what they are about to ask, so that it is there: what is there already needs no registry. */
static void pull_model(call *c) {
    names w = {.stream = true};
    hub_model m = {0};
    muga_error err = {0};
    const char *model;
    if (!call_read(c, c->body, "", registry_fields, ARRAY_LEN(registry_fields), &w) || !(model = read_model(c, &w)))
        return;
    muga_status st = hub_load(store_of(c), model, &m, &err);
    hub_model_release(&m);
    progress p = {.c = c, .stream = w.stream};
    if (st)
        say_later(c);
    else if (!w.stream)
        (void)call_reply(c, 200, json_pack("{s:s}", "status", "success"));
    else if (say_status(&p, "the store has it already", -1) && say_status(&p, "success", -1))
        (void)call_lines_end(c);
}

/* ---- routes ---- */

#define READS(m, p, f)                                                                                                 \
    { .method = m, .path = p, .family = CALL_OLLAMA, .right = CALL_ANY_KEY, .run = f }
#define CHANGES(m, p, f)                                                                                               \
    { .method = m, .path = p, .family = CALL_OLLAMA, .right = CALL_ADMIN, .run = f }

static const call_route routes[] = {
    {.method = "GET", .path = "/api/version", .family = CALL_OLLAMA, .at_once = true, .run = say_version},
    READS("GET", "/api/tags", list_tags),
    READS("GET", "/api/ps", list_loaded),
    READS("POST", "/api/show", ollama_show),
    CHANGES("POST", "/api/create", create_model),
    CHANGES("POST", "/api/copy", copy_model),
    CHANGES("DELETE", "/api/delete", delete_model),
    CHANGES("POST", "/api/pull", pull_model),
    CHANGES("POST", "/api/push", push_model),
    READS("HEAD", "/api/blobs/{digest}", has_blob),
    {.method = "POST",
     .path = "/api/blobs/{digest}",
     .family = CALL_OLLAMA,
     .right = CALL_ADMIN,
     .takes_bytes = true,
     .begin = begin_upload,
     .run = put_blob},
};

serve_routes ollama_models_routes(void) {
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
