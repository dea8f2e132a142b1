/* Names of models and their manifests. Owns: what is under manifests/, and which digests it names.
 * Names and digests are checked before they become part of a path; nothing outside manifests/ is touched. */
#include "hub/internal.h"

#include "base/mem.h"

#include <math.h>

#define MAX_ALIASES 8 /* on the way to a model */

/* ---- names ---- */

bool hub_is_path(const char *model) {
    size_t n = strlen(model);
    return strchr(model, '/') || (n >= 5 && !strcmp(model + n - 5, ".gguf"));
}

bool hub_is_digest(const char *d) {
    return d && strlen(d) == 71 && !memcmp(d, "sha256:", 7) && strspn(d + 7, "0123456789abcdef") == 64;
}

bool hub_name_is_part(const char *p, size_t n) {
    if (n == 0 || n >= 128 || p[0] == '.' || p[0] == '-') /* hidden; an option of a command */
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= '0' && p[i] <= '9') || p[i] == '.' || p[i] == '_' ||
              p[i] == '-'))
            return false;
    return true;
}

muga_status hub_name_parse(const char *model, hub_name *out, muga_error *err) {
    const char *colon = strchr(model, ':'), *tag = colon ? colon + 1 : "latest";
    size_t n = colon ? (size_t)(colon - model) : strlen(model);
    if (!hub_name_is_part(model, n) || !hub_name_is_part(tag, strlen(tag)) || hub_is_digest(model))
        return error_set(
            err, MUGA_E_USAGE,
            "'%.80s' is no model name; use [a-z0-9_][a-z0-9._-]* with an optional :tag, or a path with '/' or "
            "ending in .gguf",
            model);
    memcpy(out->name, model, n);
    out->name[n] = 0;
    memcpy(out->tag, tag, strlen(tag) + 1);
    return MUGA_OK;
}

muga_status hub_full_name(const char *model, char out[HUB_NAME_BYTES], muga_error *err) {
    hub_name n;
    muga_status st = hub_name_parse(model, &n, err);
    if (!st)
        snprintf(out, HUB_NAME_BYTES, "%s:%s", n.name, n.tag);
    return st;
}

/* ---- parts ---- */

static const char *const part_names[] = {
    [HUB_PART_ADAPTER] = "adapter",   [HUB_PART_PARAMETERS] = "parameters", [HUB_PART_SYSTEM] = "system",
    [HUB_PART_TEMPLATE] = "template", [HUB_PART_LICENSE] = "license",       [HUB_PART_MESSAGES] = "messages"};

const char *hub_part_name(hub_part_kind kind) {
    return part_names[kind];
}

bool hub_part_find(const char *name, hub_part_kind *out) {
    for (size_t i = 0; name && i < ARRAY_LEN(part_names); i++)
        if (!strcmp(part_names[i], name)) {
            *out = (hub_part_kind)i;
            return true;
        }
    return false;
}

static bool parts_are_valid(const json_t *parts) {
    size_t i;
    json_t *p;
    hub_part_kind kind;
    if (!parts)
        return true;
    json_array_foreach(parts, i, p) {
        double scale = json_get_number(p, "scale", 1);
        if (!hub_part_find(json_get_string(p, "kind"), &kind) || !hub_is_digest(json_get_string(p, "blob")) ||
            json_get_int(p, "bytes", -1) < 0 || !isfinite((float)scale))
            return false;
    }
    return json_is_array(parts) && json_array_size(parts) <= HUB_MAX_PARTS;
}

static bool is_valid(const json_t *m) {
    hub_name to;
    const char *alias = json_get_string(m, "alias");
    if (alias)
        return !hub_name_parse(alias, &to, NULL);
    return hub_is_digest(json_get_string(m, "blob")) && parts_are_valid(json_object_get(m, "parts"));
}

/* ---- reading and writing ---- */

static muga_status manifest_path(const hub *h, const hub_name *n, str *out, muga_error *err) {
    str_printf(out, "%s/manifests/%s/%s", h->home, n->name, n->tag);
    return str_status(out, err, "store path");
}

muga_status hub_manifest_read(const hub *h, const hub_name *n, json_t **out, os_stat *info, muga_error *err) {
    str path = STR_INIT, text = STR_INIT;
    *out = NULL;
    muga_status st = manifest_path(h, n, &path, err);
    if (!st)
        st = h->files->stat(h->files->self, str_get(&path), info, err);
    if (!st && info->type != OS_TYPE_FILE)
        st = error_set(err, MUGA_E_NOT_FOUND,
                       "no model '%.100s:%.100s' in the store; `muga list` shows those there are", n->name, n->tag);
    if (!st)
        st = os_read_file(h->files, str_get(&path), HUB_MAX_MANIFEST, &text, err);
    if (!st)
        st = json_parse(str_get(&text), text.len, "manifest", out, err);
    if (!st && json_get_int(*out, "version", 1) > 2)
        st = error_set(err, MUGA_E_INPUT,
                       "%.150s is of a newer muga; use that, or remove it with `muga rm %.40s:%.20s`", str_get(&path),
                       n->name, n->tag);
    else if (st == MUGA_E_INPUT || st == MUGA_E_LIMIT || (!st && !is_valid(*out)))
        st = error_set(err, MUGA_E_INPUT,
                       "%.150s names no blob; remove it with `muga rm %.40s:%.20s`, add the model again",
                       str_get(&path), n->name, n->tag);
    if (st) {
        json_decref(*out);
        *out = NULL;
    }
    str_release(&path);
    str_release(&text);
    return st;
}

muga_status hub_manifest_follow(const hub *h, hub_name *n, json_t **out, os_stat *info, muga_error *err) {
    const hub_name asked = *n;
    for (int i = 0; i <= MAX_ALIASES; i++) {
        muga_status st = hub_manifest_read(h, n, out, info, err);
        const char *alias = st ? NULL : json_get_string(*out, "alias");
        if (st == MUGA_E_NOT_FOUND && i > 0)
            return error_set(err, st, "'%.60s:%.40s' is another name of '%.60s:%.40s', which is not in the store",
                             asked.name, asked.tag, n->name, n->tag);
        if (!alias)
            return st;
        st = hub_name_parse(alias, n, err);
        json_decref(*out);
        *out = NULL;
        if (st)
            return st;
    }
    return error_set(err, MUGA_E_INPUT, "'%.100s:%.100s' leads from name to name without an end; remove it", asked.name,
                     asked.tag);
}

muga_status hub_manifest_write(const hub *h, const hub_name *n, json_t *m, muga_error *err) {
    str text = STR_INIT, file = STR_INIT, dir = STR_INIT;
    str_printf(&dir, "%s/manifests/%s", h->home, n->name);
    muga_status st = json_object_set_new(m, "name", json_string(n->name)) ||
                             json_object_set_new(m, "tag", json_string(n->tag))
                         ? error_nomem(err, "manifest")
                         : manifest_path(h, n, &file, err);
    if (!st)
        st = str_status(&dir, err, "store path");
    if (!st)
        st = h->files->mkdirs(h->files->self, str_get(&dir), err);
    if (!st) {
        json_write(m, &text);
        str_append_c(&text, '\n');
        st = str_status(&text, err, "manifest");
    }
    if (!st && text.len > HUB_MAX_MANIFEST)
        st = error_set(err, MUGA_E_LIMIT, "the manifest of '%.100s' would be longer than 64 KB", n->name);
    if (!st)
        st = os_write_file_atomic(h->files, str_get(&file), str_get(&text), text.len, err);
    str_release(&text);
    str_release(&file);
    str_release(&dir);
    return st;
}

muga_status hub_manifest_remove(const hub *h, const hub_name *n, muga_error *err) {
    str file = STR_INIT;
    muga_status st = manifest_path(h, n, &file, err);
    if (!st)
        st = h->files->remove(h->files->self, str_get(&file), err);
    str_release(&file);
    return st;
}

/* ---- digests ---- */

muga_status hub_manifest_digests(const json_t *m, muga_status (*visit)(void *ctx, const char *digest), void *ctx) {
    size_t i;
    json_t *p;
    const char *blob = json_get_string(m, "blob");
    muga_status st = blob ? visit(ctx, blob) : MUGA_OK;
    json_array_foreach(json_object_get(m, "parts"), i, p) {
        if (!st)
            st = visit(ctx, json_get_string(p, "blob"));
    }
    return st;
}
