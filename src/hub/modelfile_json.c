/* A recipe from a request to make a model (POST /api/create). Nothing in it is a path: files are digests of blobs, and
 * the names that they have there are for people. */
#include "base/mem.h"
#include "hub/hub.h"
#include "hub/modelfile.h"
#include "hub/modelfile_template.h"

#include <stdio.h>

static const json_t *member(const json_t *body, const char *key) {
    const json_t *v = json_object_get(body, key);
    return json_is_null(v) ? NULL : v;
}

static bool is_text(const json_t *v) {
    return json_is_string(v) && json_string_length(v) <= MODELFILE_MAX_BYTES &&
           !memchr(json_string_value(v), 0, json_string_length(v));
}

static muga_status take_text(const json_t *body, const char *key, char **out, muga_error *err) {
    const json_t *v = member(body, key);
    if (!v)
        return MUGA_OK;
    if (!is_text(v))
        return error_set(err, MUGA_E_INPUT, "%s is a text without a byte 0, of at most 4 MiB", key);
    *out = mem_copy_string(json_string_value(v));
    return *out ? MUGA_OK : error_nomem(err, key);
}

static muga_status check_digest(const json_t *v, const char *key, muga_error *err) {
    return hub_is_digest(json_string_value(v))
               ? MUGA_OK
               : error_set(err, MUGA_E_INPUT, "%s: a digest is sha256: and 64 small hex digits, and this is none", key);
}

/* {"name": digest} with one member: its digest. */
static muga_status take_digest(const json_t *v, const char *key, const char *advice, char **out, muga_error *err) {
    if (!json_is_object(v) || json_object_size(v) != 1)
        return error_set(err, MUGA_E_INPUT, "%s is an object of one file, {\"name.gguf\": \"sha256:...\"}; %s", key,
                         advice);
    const json_t *digest = json_object_iter_value(json_object_iter(json_borrow(v)));
    muga_status st = check_digest(digest, key, err);
    if (st)
        return st;
    *out = mem_copy_string(json_string_value(digest));
    return *out ? MUGA_OK : error_nomem(err, key);
}

/* Is it a Hugging Face folder, file by file? One file alone is GGUF, whatever it is called. */
static bool is_folder(const json_t *files) {
    const char *name;
    json_t *ignored;
    json_object_foreach(json_borrow(files), name, ignored) {
        if (string_ends_with(name, ".safetensors"))
            return true;
    }
    return false;
}

static muga_status take_files(const json_t *files, modelfile *out, muga_error *err) {
    const char *name;
    json_t *digest;
    if (!is_folder(files))
        return take_digest(files, "files",
                           "or of a Hugging Face folder's: config.json, tokenizer.json, model.safetensors, ...",
                           &out->from, err);
    if (json_object_size(files) > MODELFILE_MAX_FILES)
        return error_set(err, MUGA_E_INPUT, "files has more than %d files", MODELFILE_MAX_FILES);
    json_object_foreach(json_borrow(files), name, digest) {
        muga_status st = check_digest(digest, "files", err);
        if (st)
            return st;
    }
    out->files = json_copy(json_borrow(files));
    return out->files ? MUGA_OK : error_nomem(err, "files");
}

static muga_status take_from(const json_t *body, modelfile *out, muga_error *err) {
    const json_t *files = member(body, "files");
    muga_status st = take_text(body, "from", &out->from, err);
    if (st)
        return st;
    if (files && out->from)
        return error_set(err, MUGA_E_INPUT, "from and files both say what the model is made of; give one");
    if (files)
        return take_files(files, out, err);
    if (!out->from || !*out->from)
        return error_set(err, MUGA_E_INPUT, "from names the model that this one is made of, or files its file");
    return MUGA_OK;
}

static muga_status take_adapter(const json_t *body, modelfile *out, muga_error *err) {
    const json_t *v = member(body, "adapters");
    if (!v || (json_is_object(v) && json_object_size(v) == 0))
        return MUGA_OK;
    out->adapters = mem_alloc_array(1, sizeof *out->adapters);
    if (!out->adapters)
        return error_nomem(err, "adapters");
    out->adapters[0].scale = 1;
    out->n_adapters = 1;
    return take_digest(v, "adapters", "a model has one adapter", &out->adapters[0].from, err);
}

static muga_status take_license(const json_t *body, modelfile *out, muga_error *err) {
    const json_t *v = member(body, "license");
    size_t i, bytes = 0;
    json_t *one;
    if (!v)
        return MUGA_OK;
    out->license = json_is_array(v) ? json_clone(v) : json_pack("[O]", v);
    if (!out->license)
        return error_nomem(err, "license");
    json_array_foreach(out->license, i, one) {
        bytes += json_string_length(one);
        if (!is_text(one) || json_string_length(one) == 0 || bytes > MODELFILE_MAX_BYTES)
            return error_set(err, MUGA_E_INPUT, "license is a text, or a list of texts, of 4 MiB together");
    }
    if (json_array_size(out->license) > MODELFILE_MAX_LICENSES)
        return error_set(err, MUGA_E_INPUT, "license has more than %d texts", MODELFILE_MAX_LICENSES);
    return MUGA_OK;
}

static muga_status take_parameters(const json_t *body, modelfile *out, muga_error *err) {
    const json_t *v = member(body, "parameters");
    const char *name;
    json_t *value;
    if (!v)
        return MUGA_OK;
    if (!json_is_object(v))
        return error_set(err, MUGA_E_INPUT, "parameters is an object, {\"temperature\": 0.7, ...}");
    out->parameters = json_clone(v);
    if (!out->parameters)
        return error_nomem(err, "parameters");
    json_object_foreach(out->parameters, name, value) {
        muga_status st = hub_parameter_check(name, value, err);
        if (st)
            return st;
    }
    json_t *stop = json_object_get(out->parameters, "stop");
    if (json_is_string(stop) && json_object_set_new(out->parameters, "stop", json_pack("[O]", stop)))
        return error_nomem(err, "parameters");
    return MUGA_OK;
}

static bool is_role(const char *role) {
    return role && (!strcmp(role, "user") || !strcmp(role, "assistant") || !strcmp(role, "system"));
}

/* Texts alone: a template may have no form for calls or images before anything was asked. */
static muga_status take_messages(const json_t *body, modelfile *out, muga_error *err) {
    const json_t *v = member(body, "messages");
    size_t i, bytes = 0;
    json_t *m;
    if (!v)
        return MUGA_OK;
    if (!json_is_array(v) || json_array_size(v) > MODELFILE_MAX_MESSAGES)
        return error_set(err, MUGA_E_INPUT, "messages is a list of at most %d {\"role\", \"content\"}",
                         MODELFILE_MAX_MESSAGES);
    out->messages = json_array();
    json_array_foreach(v, i, m) {
        const char *role = json_get_string(m, "role");
        json_t *content = json_object_get(m, "content");
        if (!is_role(role) || !is_text(content) || json_object_size(m) != 2)
            return error_set(
                err, MUGA_E_INPUT,
                "messages[%zu] is {\"role\": \"user\", \"assistant\" or \"system\", \"content\": text} and "
                "nothing else",
                i);
        bytes += json_string_length(content);
        if (bytes > MODELFILE_MAX_BYTES)
            return error_set(err, MUGA_E_INPUT, "messages are longer than 4 MiB together");
        if (json_array_append_new(out->messages, json_pack("{s:s, s:O}", "role", role, "content", content)))
            return error_nomem(err, "messages");
    }
    return out->messages ? MUGA_OK : error_nomem(err, "messages");
}

muga_status modelfile_of_json(const json_t *body, modelfile *out, muga_error *err) {
    *out = (modelfile){0};
    muga_status st = take_from(body, out, err);
    if (!st)
        st = take_adapter(body, out, err);
    if (!st)
        st = take_text(body, "system", &out->system, err);
    if (!st)
        st = take_text(body, "template", &out->template, err);
    if (!st && out->template)
        st = modelfile_check_template(out->template, 0, err);
    if (!st)
        st = take_license(body, out, err);
    if (!st)
        st = take_parameters(body, out, err);
    return st ? st : take_messages(body, out, err);
}
