/* A stored model, read whole: its manifest, and the texts that this names. */
#include "hub/internal.h"

#include "base/mem.h"

void hub_model_release(hub_model *m) {
    for (size_t i = 0; i < m->n_adapters; i++)
        free(m->adapters[i].path);
    free(m->adapters);
    free(m->name);
    free(m->target);
    free(m->path);
    free(m->system);
    free(m->template);
    free(m->parent);
    free(m->requires);
    json_decref(m->parameters);
    json_decref(m->license);
    json_decref(m->messages);
    *m = (hub_model){0};
}

/* The path of a blob that must be there. */
static muga_status find_blob(const hub *h, const char *digest, const char *what, char **out, muga_error *err) {
    os_stat info;
    str path = STR_INIT;
    muga_status st = hub_blob_path(h, digest, &path, err);
    if (!st)
        st = h->files->stat(h->files->self, str_get(&path), &info, err);
    if (!st && info.type != OS_TYPE_FILE)
        st = error_set(err, MUGA_E_NOT_FOUND, "its %.20s is gone (blob %.24s...); make the model again", what, digest);
    *out = st ? NULL : str_take(&path);
    str_release(&path);
    return st || *out ? st : error_nomem(err, "path");
}

static muga_status read_text(const hub *h, const json_t *part, str *out, muga_error *err) {
    char *path = NULL;
    const char *kind = json_get_string(part, "kind");
    muga_status st = find_blob(h, json_get_string(part, "blob"), kind, &path, err);
    if (!st)
        st = os_read_file(h->files, path, HUB_MAX_TEXT, out, err);
    if (!st && memchr(str_get(out), 0, out->len))
        st = error_set(err, MUGA_E_INPUT, "its %.20s holds a byte 0; make the model again", kind);
    free(path);
    return st;
}

static muga_status set_text(char **to, const str *text, muga_error *err) {
    free(*to);
    *to = mem_copy_string(str_get(text));
    return *to ? MUGA_OK : error_nomem(err, "a text of the model");
}

static bool messages_are_valid(const json_t *list) {
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) {
        if (!json_get_string(m, "role") || !json_get_string(m, "content"))
            return false;
    }
    return json_is_array(list);
}

static muga_status set_messages(hub_model *m, const str *text, muga_error *err) {
    json_decref(m->messages);
    m->messages = NULL;
    muga_status st = json_parse(str_get(text), text->len, "its messages", &m->messages, err);
    if (!st && !messages_are_valid(m->messages))
        st =
            error_set(err, MUGA_E_INPUT, "its messages aren't a list of {\"role\", \"content\"}; make the model again");
    return st;
}

static muga_status set_parameters(hub_model *m, const str *text, muga_error *err) {
    const char *name;
    json_t *value;
    json_decref(m->parameters);
    m->parameters = NULL;
    muga_status st = json_parse(str_get(text), text->len, "its parameters", &m->parameters, err);
    if (!st && !json_is_object(m->parameters))
        st = error_set(err, MUGA_E_INPUT, "its parameters aren't an object; make the model again");
    json_object_foreach(m->parameters, name, value) {
        if (!st)
            st = hub_parameter_check(name, value, err);
    }
    return st;
}

static muga_status add_adapter(const hub *h, hub_model *m, const json_t *part, muga_error *err) {
    hub_adapter *more = mem_resize_array(m->adapters, m->n_adapters + 1, sizeof *more);
    if (!more)
        return error_nomem(err, "adapters");
    m->adapters = more;
    hub_adapter *a = &more[m->n_adapters];
    const char *digest = json_get_string(part, "blob");
    *a = (hub_adapter){.scale = (float)json_get_number(part, "scale", 1),
                       .any_base = json_get_bool(part, "any_base", false)};
    memcpy(a->sha256, digest + 7, SHA256_HEX);
    muga_status st = find_blob(h, digest, "adapter", &a->path, err);
    if (!st)
        m->n_adapters++;
    return st;
}

static muga_status add_part(const hub *h, hub_model *m, const json_t *part, muga_error *err) {
    hub_part_kind kind;
    str text = STR_INIT;
    if (!hub_part_find(json_get_string(part, "kind"), &kind)) /* read as valid */
        return MUGA_OK;
    m->bytes += (uint64_t)json_get_int(part, "bytes", 0);
    muga_status st = kind == HUB_PART_ADAPTER ? add_adapter(h, m, part, err) : read_text(h, part, &text, err);
    if (!st) {
        switch (kind) {
        case HUB_PART_ADAPTER: break;
        case HUB_PART_PARAMETERS: st = set_parameters(m, &text, err); break;
        case HUB_PART_SYSTEM: st = set_text(&m->system, &text, err); break;
        case HUB_PART_TEMPLATE: st = set_text(&m->template, &text, err); break;
        case HUB_PART_LICENSE:
            if (json_array_append_new(m->license, json_string(str_get(&text))))
                st = error_set(err, MUGA_E_INPUT, "its license isn't UTF-8; make the model again");
            break;
        case HUB_PART_MESSAGES: st = set_messages(m, &text, err); break;
        }
    }
    str_release(&text);
    return st;
}

/* Over what changes answers, and the licences: not the name, nor where it came from. */
static muga_status take_digest(const json_t *manifest, hub_model *m, muga_error *err) {
    size_t i;
    json_t *p, *all = json_array();
    uint8_t sum[SHA256_BYTES];
    muga_status st = all ? MUGA_OK : error_nomem(err, "model");
    json_array_foreach(json_object_get(manifest, "parts"), i, p) {
        json_t *scale = json_object_get(p, "scale");
        json_t *one = json_pack("[s, s, O?]", json_get_string(p, "kind"), json_get_string(p, "blob"), scale);
        if (json_array_append_new(all, one) && !st)
            st = error_nomem(err, "model");
    }
    json_t *whole = st ? NULL : json_pack("[s, O]", json_get_string(manifest, "blob"), all);
    if (!st)
        st = whole ? json_digest(whole, sum, err) : error_nomem(err, "model");
    if (!st)
        hex_write(sum, sizeof sum, m->digest);
    json_decref(whole);
    json_decref(all);
    return st;
}

static muga_status find_details(const json_t *manifest, hub_model *m, muga_error *err) {
    gguf_file *g = NULL;
    if (hub_details_read(json_object_get(manifest, "details"), &m->details))
        return MUGA_OK;
    muga_status st = gguf_open(m->path, &g, err);
    if (!st)
        hub_details_of(g, &m->details);
    gguf_close(g);
    return st;
}

/* false: out of memory. */
static bool copy_member(const json_t *manifest, const char *key, char **out) {
    const char *text = json_get_string(manifest, key);
    return !text || (*out = mem_copy_string(text));
}

static muga_status fill(const hub *h, const json_t *manifest, hub_model *m, muga_error *err) {
    size_t i;
    json_t *part;
    const char *digest = json_get_string(manifest, "blob");
    m->parameters = json_object();
    m->license = json_array();
    m->messages = json_array();
    m->bytes = (uint64_t)MAX(json_get_int(manifest, "bytes", 0), 0);
    memcpy(m->sha256, digest + 7, SHA256_HEX);
    if (!m->parameters || !m->license || !m->messages || !copy_member(manifest, "parent", &m->parent) ||
        !copy_member(manifest, "requires", &m->requires))
        return error_nomem(err, "model");
    muga_status st = find_blob(h, digest, "blob", &m->path, err);
    json_array_foreach(json_object_get(manifest, "parts"), i, part) {
        if (!st)
            st = add_part(h, m, part, err);
    }
    if (!st)
        st = take_digest(manifest, m, err);
    return st ? st : find_details(manifest, m, err);
}

muga_status hub_load(const hub *h, const char *name, hub_model *out, muga_error *err) {
    hub_name n;
    os_stat info;
    json_t *manifest = NULL;
    char asked[HUB_NAME_BYTES], target[HUB_NAME_BYTES];
    *out = (hub_model){0};
    if (hub_is_path(name))
        return error_set(err, MUGA_E_USAGE, "'%.80s' is a path, and no name of the store", name);
    muga_status st = hub_name_parse(name, &n, err);
    if (st)
        return st;
    snprintf(asked, sizeof asked, "%s:%s", n.name, n.tag);
    st = hub_manifest_follow(h, &n, &manifest, &info, err);
    if (!st) {
        snprintf(target, sizeof target, "%s:%s", n.name, n.tag);
        out->name = mem_copy_string(asked);
        out->target = mem_copy_string(target);
        out->modified_ms = info.mtime_ns / 1000000;
        st = out->name && out->target ? fill(h, manifest, out, err) : error_nomem(err, "model");
        if (st)
            st = error_prefix(err, st, "%.80s", asked);
    }
    json_decref(manifest);
    return st;
}

muga_status hub_load_all(const hub *h, hub_model **out, size_t *n, muga_error *err) {
    json_t *list = NULL, *m;
    size_t i;
    *n = 0;
    *out = NULL;
    muga_status st = hub_list(h, &list, err);
    if (!st && !(*out = mem_alloc_array(json_array_size(list) + 1, sizeof **out)))
        st = error_nomem(err, "model list");
    json_array_foreach(list, i, m) {
        char name[HUB_NAME_BYTES];
        snprintf(name, sizeof name, "%.127s:%.127s", json_get_string(m, "name"), json_get_string(m, "tag"));
        if (st || json_get_string(m, "damaged"))
            continue;
        muga_status one = hub_load(h, name, &(*out)[*n], err);
        if (one)
            hub_model_release(&(*out)[*n]);
        else
            ++*n;
        st = one == MUGA_E_NOMEM ? one : MUGA_OK; /* removed meanwhile, or in part: it can't be loaded */
    }
    json_decref(list);
    for (size_t k = 0; st && k < *n; k++)
        hub_model_release(&(*out)[k]);
    if (st) {
        free(*out);
        *out = NULL;
        *n = 0;
    }
    return st;
}

muga_status hub_stamp(const hub *h, const char *name, os_stat *out, muga_error *err) {
    hub_name n;
    json_t *manifest = NULL;
    muga_status st = hub_name_parse(name, &n, err);
    if (!st)
        st = hub_manifest_follow(h, &n, &manifest, out, err);
    json_decref(manifest);
    return st;
}
