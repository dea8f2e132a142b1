/* Making a model of a recipe: where its weights come from, what it has from the model it is made of, what the recipe
 * says instead, and last the manifest.
 *
 * Order, so that nothing half is ever called a model: blobs first, each whole or not there; all checks; the manifest.
 * What was put in before a failure goes again, and after a kill hub_sweep finds it. */
#include "hub/internal.h"

#include "base/mem.h"
#include "convert/convert.h"
#include "convert/quantise_file.h"
#include "hub/modelfile.h"
#include "hub/modelfile_template.h"

#include <math.h>
#include <stdio.h>

#define HASH_BYTES ((size_t)1 << 20)

typedef struct maker {
    const hub *h;
    const hub_create_options *o;
    const modelfile *recipe;
    const mixture_kind *kind; /* of the weights; NULL = as they are */
    hub_name name;
    hub_model base; /* what it is made of, where that is a model; else nothing in it */
    char blob[HUB_DIGEST_BYTES];
    uint64_t bytes;
    hub_details details;
    json_t *put;   /* digests that weren't there before: array of {"blob"} */
    json_t *parts; /* of the manifest */
    const char *doing;
} maker;

static muga_status tell(const maker *k, const char *what, double done, muga_error *err) {
    if (!k->o->on_progress || k->o->on_progress(k->o->on_progress_ctx, what, done))
        return MUGA_OK;
    return error_set(err, MUGA_E_CANCELLED, "stopped; nothing was made");
}

static bool on_converted(void *ctx, double done) {
    const maker *k = ctx;
    return !k->o->on_progress || k->o->on_progress(k->o->on_progress_ctx, k->doing, done);
}

/* Remember a blob that this run brings, before it does. */
static muga_status remember(maker *k, const char *digest, bool was_there, muga_error *err) {
    if (was_there || !json_array_append_new(k->put, json_pack("{s:s}", "blob", digest)))
        return MUGA_OK;
    return error_nomem(err, "model");
}

/* ---- where weights come from ---- */

static bool looks_like_path(const char *from) {
    return hub_is_path(from) || from[0] == '.' || from[0] == '~';
}

/* Absolute, or where relative ones begin. */
static muga_status place(const maker *k, const char *path, char **out, muga_error *err) {
    str s = STR_INIT;
    if (path[0] == '/' || !k->o->dir)
        str_append_s(&s, path);
    else
        str_printf(&s, "%s/%s", k->o->dir, path);
    *out = str_take(&s);
    str_release(&s);
    return *out ? MUGA_OK : error_nomem(err, "path");
}

/* A name for a file in the making, among the blobs; hub_sweep knows it by its form. */
static muga_status temporary(const maker *k, char **out, muga_error *err) {
    uint8_t random[8];
    char hex[2 * sizeof random + 1];
    str s = STR_INIT;
    const os_files *f = k->h->files;
    str_printf(&s, "%s/blobs", k->h->home);
    muga_status st = str_status(&s, err, "store path");
    if (!st)
        st = f->mkdirs(f->self, str_get(&s), err);
    if (!st)
        st = os_random(random, sizeof random, err);
    if (!st) {
        hex_write(random, sizeof random, hex);
        str_printf(&s, "/.making.tmp-%s", hex);
    }
    *out = st ? NULL : str_take(&s);
    str_release(&s);
    return st || *out ? st : error_nomem(err, "store path");
}

static muga_status hash_file(const os_files *f, const char *path, char digest[HUB_DIGEST_BYTES], uint64_t *bytes,
                             muga_error *err) {
    sha256 sum;
    uint8_t hash[SHA256_BYTES];
    os_file *in = NULL;
    size_t n = 0;
    char *buffer = malloc(HASH_BYTES);
    muga_status st = buffer ? f->open(f->self, path, OS_READ, &in, err) : error_nomem(err, "model");
    sha256_init(&sum);
    *bytes = 0;
    while (!st && !(st = f->read(f->self, in, buffer, HASH_BYTES, &n, err)) && n > 0) {
        sha256_update(&sum, buffer, n);
        *bytes += n;
    }
    sha256_final(&sum, hash);
    memcpy(digest, "sha256:", 7);
    hex_write(hash, sizeof hash, digest + 7);
    if (in)
        f->close(f->self, in);
    free(buffer);
    return st;
}

/* A file that was made here, whole and durable, becomes a blob. */
static muga_status adopt(maker *k, const char *path, muga_error *err) {
    const os_files *f = k->h->files;
    bool there = false;
    str blob = STR_INIT;
    muga_status st = hash_file(f, path, k->blob, &k->bytes, err);
    if (!st)
        st = hub_blob_has(k->h, k->blob, &there, NULL, err);
    if (!st)
        st = remember(k, k->blob, there, err);
    if (!st)
        st = hub_blob_path(k->h, k->blob, &blob, err);
    if (!st)
        st = f->rename(f->self, path, str_get(&blob), err);
    if (!st)
        st = os_sync_parent(f, str_get(&blob), err);
    str_release(&blob);
    return st;
}

/* named: of convert_options. */
static muga_status convert_from(maker *k, const char *dir, const json_t *named, muga_error *err) {
    convert_report report;
    char *path = NULL;
    convert_options o = {.type = k->kind ? k->kind->name : NULL,
                         .name = named ? k->name.name : NULL,
                         .named = named,
                         .files = k->h->files,
                         .pool = k->o->pool,
                         .on_progress = on_converted,
                         .on_progress_ctx = k};
    k->doing = "converting";
    muga_status st = temporary(k, &path, err);
    if (!st)
        st = convert_folder(dir, path, &o, &report, err);
    if (!st)
        st = adopt(k, path, err);
    if (st && path)
        (void)k->h->files->remove(k->h->files->self, path, NULL);
    free(path);
    return st;
}

/* Another type for weights that have none yet: what quantising has lost, a second time would not bring back. */
static muga_status quantise_from(maker *k, const gguf_file *in, muga_error *err) {
    quantise_report report;
    char *path = NULL;
    quantise_options o = {
        .kind = k->kind, .files = k->h->files, .pool = k->o->pool, .on_progress = on_converted, .on_progress_ctx = k};
    k->doing = "quantising";
    muga_status st = quantise_plan(in, &o, &report, err);
    if (!st && tensor_type_traits(report.coarsest)->block_elems > 1)
        st = error_set(err, MUGA_E_INPUT,
                       "its weights are %s already, and what that has lost stays lost; quantise from F16, BF16 or F32 "
                       "(`muga quantize` does it all the same)",
                       tensor_type_traits(report.coarsest)->name);
    if (!st)
        st = temporary(k, &path, err);
    if (!st)
        st = quantise_file(in, path, &o, &report, err);
    if (!st)
        st = adopt(k, path, err);
    if (st && path)
        (void)k->h->files->remove(k->h->files->self, path, NULL);
    free(path);
    return st;
}

static muga_status copy_from(maker *k, const char *path, muga_error *err) {
    const char *vouched = hub_vouched_sha256(k->h, path);
    os_stat info;
    bool there = false;
    muga_status st = tell(k, "copying", -1, err);
    if (st)
        return st;
    if (vouched) {
        snprintf(k->blob, sizeof k->blob, "sha256:%.64s", vouched);
        st = k->h->files->stat(k->h->files->self, path, &info, err);
        k->bytes = st ? 0 : info.size;
        return st;
    }
    st = hub_put_file(k->h, path, k->blob, &k->bytes, &there, err);
    return st ? st : remember(k, k->blob, there, err);
}

/* A GGUF file, of the store or elsewhere. */
static muga_status take_file(maker *k, const char *path, muga_error *err) {
    gguf_file *g = NULL;
    span type;
    muga_error ignored;
    muga_status st = gguf_open(path, &g, err);
    if (st && k->o->no_paths)
        error_call_path(err, path, "the file"); /* where the store lies is nobody's business */
    if (!st && gguf_map_count(g) > 1)
        st =
            error_set(err, MUGA_E_INPUT, "a model in parts; `muga quantize` with the type it has makes one file of it");
    if (!st && !gguf_get_string(g, "general.type", &type, &ignored) && span_equal_string(type, "adapter"))
        st = error_set(err, MUGA_E_INPUT, "an adapter, and no model; name it with ADAPTER");
    if (!st)
        st = k->kind ? quantise_from(k, g, err) : copy_from(k, path, err);
    gguf_close(g);
    return st;
}

static muga_status take_path(maker *k, const char *from, muga_error *err) {
    const os_files *f = k->h->files;
    os_stat info;
    char *path = NULL;
    if (k->o->no_paths)
        return error_set(err, MUGA_E_INPUT,
                         "a model is made here of a name in the store or of its blobs, not of a path");
    muga_status st = place(k, from, &path, err);
    if (!st)
        st = f->stat(f->self, path, &info, err);
    if (!st && info.type == OS_TYPE_NONE)
        st = error_set(err, MUGA_E_NOT_FOUND, "%.150s: there is no such file", path);
    else if (!st)
        st = info.type == OS_TYPE_DIR ? convert_from(k, path, NULL, err) : take_file(k, path, err);
    free(path);
    return st;
}

/* One that is there. bytes may be NULL. */
static muga_status find_blob(const maker *k, const char *digest, str *path, uint64_t *bytes, muga_error *err) {
    bool has = false;
    muga_status st = hub_blob_has(k->h, digest, &has, bytes, err);
    if (!st && !has)
        st = error_set(err, MUGA_E_NOT_FOUND, "the store has no blob %.24s...; put it there first", digest);
    return st ? st : hub_blob_path(k->h, digest, path, err);
}

static muga_status take_blob(maker *k, const char *digest, muga_error *err) {
    str path = STR_INIT;
    muga_status st = find_blob(k, digest, &path, NULL, err);
    if (!st)
        st = take_file(k, str_get(&path), err);
    str_release(&path);
    return st;
}

/* Blobs that are the files of a Hugging Face folder. */
static muga_status take_files(maker *k, const json_t *files, muga_error *err) {
    const char *name;
    json_t *digest, *named = json_object();
    muga_status st = named ? MUGA_OK : error_nomem(err, "files");
    json_object_foreach(json_borrow(files), name, digest) {
        str path = STR_INIT;
        if (!st)
            st = find_blob(k, json_string_value(digest), &path, NULL, err);
        if (!st && json_object_set_new(named, name, json_string_nocheck(str_get(&path))))
            st = error_nomem(err, "files");
        str_release(&path);
    }
    if (!st)
        st = convert_from(k, "files", named, err);
    json_decref(named);
    return st;
}

/* A name that isn't in the store: what else could it have meant? */
static muga_status explain_name(const maker *k, const char *from, muga_error *err) {
    os_stat info = {.type = OS_TYPE_NONE};
    hub_name n;
    char *path = NULL;
    if (!hub_name_parse(from, &n, NULL) && !strcmp(n.name, k->name.name) && !strcmp(n.tag, k->name.tag))
        return error_set(err, MUGA_E_NOT_FOUND, "'%.80s' is the model that is to be made, and isn't there yet", from);
    if (!k->o->no_paths && !place(k, from, &path, NULL) && k->h->files->stat(k->h->files->self, path, &info, NULL))
        info.type = OS_TYPE_NONE;
    free(path);
    if (info.type == OS_TYPE_NONE)
        return MUGA_E_NOT_FOUND;
    return error_set(err, MUGA_E_NOT_FOUND, "no model '%.60s' in the store; the %s of that name is ./%.60s", from,
                     info.type == OS_TYPE_DIR ? "folder" : "file", from);
}

static muga_status take_model(maker *k, const char *from, muga_error *err) {
    muga_status st = hub_load(k->h, from, &k->base, err);
    if (st == MUGA_E_NOT_FOUND)
        st = explain_name(k, from, err);
    return st ? st : take_file(k, k->base.path, err);
}

static muga_status take_weights(maker *k, muga_error *err) {
    const char *from = k->recipe->from;
    if (k->recipe->files)
        return take_files(k, k->recipe->files, err);
    if (!from || !*from)
        return error_set(err, MUGA_E_INPUT, "no FROM: it names the model that this one is made of");
    muga_status st = hub_is_digest(from)     ? take_blob(k, from, err)
                     : looks_like_path(from) ? take_path(k, from, err)
                                             : take_model(k, from, err);
    return st && st != MUGA_E_CANCELLED ? error_prefix(err, st, "FROM") : st;
}

/* ---- parts ---- */

static muga_status add_part(maker *k, hub_part_kind kind, const char *digest, uint64_t bytes, muga_error *err) {
    json_t *p = json_pack("{s:s, s:s, s:I}", "kind", hub_part_name(kind), "blob", digest, "bytes", (json_int_t)bytes);
    return json_array_append_new(k->parts, p) ? error_nomem(err, "manifest") : MUGA_OK;
}

static muga_status put_text(maker *k, hub_part_kind kind, const char *text, size_t n, muga_error *err) {
    char digest[HUB_DIGEST_BYTES];
    bool there = false;
    if (n > HUB_MAX_TEXT)
        return error_set(err, MUGA_E_LIMIT, "the %s is longer than 4 MiB", hub_part_name(kind));
    muga_status st = hub_put_bytes(k->h, text, n, digest, &there, err);
    if (!st)
        st = remember(k, digest, there, err);
    return st ? st : add_part(k, kind, digest, n, err);
}

static muga_status put_json(maker *k, hub_part_kind kind, const json_t *v, muga_error *err) {
    str text = STR_INIT;
    json_write_canonical(v, &text);
    muga_status st = str_status(&text, err, hub_part_name(kind));
    if (!st)
        st = put_text(k, kind, str_get(&text), text.len, err);
    str_release(&text);
    return st;
}

/* The recipe's, else the base's; "" is none. */
static muga_status put_own(maker *k, hub_part_kind kind, const char *own, const char *inherited, muga_error *err) {
    const char *text = own ? own : inherited;
    return text && *text ? put_text(k, kind, text, strlen(text), err) : MUGA_OK;
}

static muga_status put_parameters(maker *k, muga_error *err) {
    json_t *all = k->base.parameters ? json_clone(k->base.parameters) : json_object();
    const char *name;
    json_t *value;
    muga_status st = all ? MUGA_OK : error_nomem(err, "parameters");
    json_object_foreach(k->recipe->parameters, name, value) {
        if (!st)
            st = hub_parameter_check(name, value, err);
        if (!st && json_object_set(all, name, value))
            st = error_nomem(err, "parameters");
    }
    int64_t n_ctx = json_get_int(all, "num_ctx", 0);
    if (!st && k->details.n_ctx_train && n_ctx > k->details.n_ctx_train)
        st = error_set(err, MUGA_E_INPUT, "num_ctx %lld is more than the %u tokens that this model was trained for",
                       (long long)n_ctx, k->details.n_ctx_train);
    if (!st && json_object_size(all) > 0)
        st = put_json(k, HUB_PART_PARAMETERS, all, err);
    json_decref(all);
    return st;
}

static bool has_text(const json_t *list, const char *text) {
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        if (!strcmp(json_string_value(v), text))
            return true;
    }
    return false;
}

/* A licence of what it is made of stays. */
static muga_status put_licenses(maker *k, muga_error *err) {
    json_t *all = json_array(), *v;
    const json_t *from[] = {k->base.license, k->recipe->license};
    size_t i, bytes = 0;
    muga_status st = all ? MUGA_OK : error_nomem(err, "licences");
    for (size_t w = 0; w < ARRAY_LEN(from); w++)
        json_array_foreach(from[w], i, v) {
            if (!st && !has_text(all, json_string_value(v)) && json_array_append(all, v))
                st = error_nomem(err, "licences");
        }
    json_array_foreach(all, i, v) {
        bytes += json_string_length(v);
        if (!st && (i >= MODELFILE_MAX_LICENSES || bytes > HUB_MAX_TEXT))
            st = error_set(err, MUGA_E_LIMIT, "more than %d licences, or more than 4 MiB of them",
                           MODELFILE_MAX_LICENSES);
        if (!st)
            st = put_text(k, HUB_PART_LICENSE, json_string_value(v), json_string_length(v), err);
    }
    json_decref(all);
    return st;
}

static muga_status put_texts(maker *k, muga_error *err) {
    const modelfile *r = k->recipe;
    const json_t *messages = r->messages ? r->messages : k->base.messages;
    muga_status st = put_parameters(k, err);
    if (!st && r->template)
        st = modelfile_check_template(r->template, 0, err);
    if (!st)
        st = put_own(k, HUB_PART_SYSTEM, r->system, k->base.system, err);
    if (!st)
        st = put_own(k, HUB_PART_TEMPLATE, r->template, k->base.template, err);
    if (!st)
        st = put_licenses(k, err);
    if (!st && json_array_size(messages) > 0)
        st = put_json(k, HUB_PART_MESSAGES, messages, err);
    return st;
}

/* ---- the adapter ---- */

typedef struct found_adapter {
    char *path; /* owned */
    char digest[HUB_DIGEST_BYTES];
    uint64_t bytes;
    float scale;
    bool any_base;
} found_adapter;

/* It must be one for these weights: every pair fits, and it names no other file as its base. */
static muga_status check_adapter(const maker *k, const char *base_path, const found_adapter *a, muga_error *err) {
    gguf_file *base = NULL, *adapter = NULL;
    merge *m = NULL;
    merge_options o = {.scale = a->scale, .sha256 = a->any_base ? NULL : k->blob + 7};
    muga_status st = gguf_open(base_path, &base, err);
    if (!st)
        st = gguf_open(a->path, &adapter, err);
    if (!st)
        st = merge_new(base, adapter, &o, &m, err);
    merge_free(m);
    gguf_close(adapter);
    gguf_close(base);
    return st;
}

static muga_status find_adapter(maker *k, const modelfile_adapter *from, found_adapter *out, muga_error *err) {
    const os_files *f = k->h->files;
    os_stat info;
    str path = STR_INIT;
    muga_status st = MUGA_OK;
    out->scale = from->scale;
    if (hub_is_digest(from->from)) {
        memcpy(out->digest, from->from, HUB_DIGEST_BYTES);
        st = find_blob(k, from->from, &path, &out->bytes, err);
        out->path = st ? NULL : str_take(&path);
        str_release(&path);
        return st || out->path ? st : error_nomem(err, "path");
    }
    if (k->o->no_paths)
        return error_set(err, MUGA_E_INPUT, "an adapter is one of the store's blobs here, not a path");
    st = place(k, from->from, &out->path, err);
    if (!st)
        st = f->stat(f->self, out->path, &info, err);
    if (!st && info.type == OS_TYPE_NONE)
        st = error_set(err, MUGA_E_NOT_FOUND, "%.150s: there is no such file", out->path);
    if (!st && info.type == OS_TYPE_DIR)
        st = error_set(err, MUGA_E_INPUT,
                       "%.120s is a folder; an adapter is a GGUF file (llama.cpp's convert_lora_to_gguf.py makes one)",
                       out->path);
    return st;
}

static muga_status qualify_adapter(maker *k, const found_adapter *a, muga_error *err) {
    json_t *p = json_array_get(k->parts, json_array_size(k->parts) - 1);
    bool bad = json_object_set_new(p, "scale", json_real((double)a->scale)) ||
               (a->any_base && json_object_set_new(p, "any_base", json_true()));
    return bad ? error_nomem(err, "manifest") : MUGA_OK;
}

static muga_status put_adapter(maker *k, const char *base_path, muga_error *err) {
    const hub_model *b = &k->base;
    found_adapter a = {.any_base = k->o->any_base};
    bool there = true, inherits = b->n_adapters && !k->kind; /* other weights are another base */
    char inherited_from[HUB_DIGEST_BYTES];
    modelfile_adapter inherited = {.from = inherited_from};
    const modelfile_adapter *from = k->recipe->n_adapters ? k->recipe->adapters : NULL;
    if (b->n_adapters) {
        snprintf(inherited_from, sizeof inherited_from, "sha256:%s", b->adapters[0].sha256);
        inherited.scale = b->adapters[0].scale;
    }
    if (k->recipe->n_adapters > 1 || (from && b->n_adapters && strcmp(from->from, inherited_from)))
        return error_set(err, MUGA_E_INPUT, "ADAPTER: %s; a model has one (`muga merge` folds one into its weights)",
                         from && b->n_adapters ? "what it is made of has one already" : "there are two");
    if (!from && b->n_adapters)
        from = &inherited;
    if (!from)
        return MUGA_OK;
    a.any_base |= inherits && b->adapters[0].any_base;
    muga_status st = find_adapter(k, from, &a, err);
    if (!st)
        st = check_adapter(k, base_path, &a, err);
    if (!st && !a.digest[0])
        st = hub_put_file(k->h, a.path, a.digest, &a.bytes, &there, err);
    if (!st)
        st = remember(k, a.digest, there, err);
    if (!st)
        st = add_part(k, HUB_PART_ADAPTER, a.digest, a.bytes, err);
    if (!st)
        st = qualify_adapter(k, &a, err);
    if (st && k->o->no_paths)
        error_call_path(err, a.path ? a.path : "", "the file");
    free(a.path);
    return st ? error_prefix(err, st, "ADAPTER") : st;
}

/* ---- the manifest ---- */

static muga_status set_text(json_t *m, const char *key, const char *text, muga_error *err) {
    return text && json_object_set_new(m, key, json_string(text)) ? error_nomem(err, "manifest") : MUGA_OK;
}

static muga_status write_manifest(maker *k, muga_error *err) {
    const char *requires = k->recipe->requires ? k->recipe->requires : k->base.requires;
    json_t *m = json_pack("{s:i, s:s, s:s, s:s, s:I, s:s, s:o, s:O}", "version", 2, "name", k->name.name, "tag",
                          k->name.tag, "blob", k->blob, "bytes", (json_int_t)k->bytes, "source",
                          k->base.name ? k->base.target : "a Modelfile", "details", hub_details_write(&k->details),
                          "parts", k->parts);
    muga_status st = m ? set_text(m, "parent", k->base.target, err) : error_nomem(err, "manifest");
    if (!st)
        st = set_text(m, "requires", requires, err);
    if (!st)
        st = tell(k, "writing manifest", -1, err);
    if (!st)
        st = hub_manifest_replace(k->h, &k->name, m, err);
    json_decref(m);
    return st;
}

static muga_status make(maker *k, muga_error *err) {
    gguf_file *g = NULL;
    str path = STR_INIT;
    muga_status st = take_weights(k, err);
    if (!st)
        st = hub_blob_path(k->h, k->blob, &path, err);
    if (!st)
        st = gguf_open(str_get(&path), &g, err);
    if (!st)
        hub_details_of(g, &k->details);
    gguf_close(g);
    if (!st)
        st = put_adapter(k, str_get(&path), err);
    if (!st)
        st = put_texts(k, err);
    if (!st)
        st = write_manifest(k, err);
    str_release(&path);
    return st;
}

/* What this run brought goes again, unless somebody made a model of it meanwhile. */
static void undo(const maker *k) {
    size_t i;
    json_t *one;
    muga_error ignored;
    json_array_foreach(k->put, i, one) {
        (void)hub_drop_unused(k->h, one, &ignored);
    }
}

muga_status hub_create(const hub *h, const char *name, const modelfile *recipe, const hub_create_options *o,
                       muga_error *err) {
    maker k = {.h = h, .o = o, .recipe = recipe, .put = json_array(), .parts = json_array()};
    muga_status st = k.put && k.parts ? hub_name_parse(name, &k.name, err) : error_nomem(err, "model");
    if (!st && hub_is_path(name))
        st = error_set(err, MUGA_E_USAGE, "'%.80s' would be read as a path; choose a name that doesn't end in .gguf",
                       name);
    if (!st && o->quantize && !(k.kind = mixture_find(o->quantize)))
        st = error_set(err, MUGA_E_USAGE,
                       "'%.20s' is no type to quantise to; there are Q4_K_M, Q8_0 and others "
                       "(`muga help quantize`)",
                       o->quantize);
    if (!st) {
        st = make(&k, err);
        if (st)
            undo(&k);
    }
    hub_model_release(&k.base);
    json_decref(k.put);
    json_decref(k.parts);
    return st;
}
