/* The draft and the documents of a line. Owns nothing that lasts. Refuses: files and members that are no objects. */
#include "cmd/debug_schema.h"

muga_status debug_schema_load(const char *path, json_t **out, muga_error *err) {
    str text = STR_INIT;
    *out = NULL;
    if (!path)
        return MUGA_OK;
    muga_status st = os_read_file(&os_system()->files, path, JSON_MAX_BYTES, &text, err);
    if (st == MUGA_OK)
        st = json_parse(str_get(&text), text.len, path, out, err);
    str_release(&text);
    if (st == MUGA_OK && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        st = error_set(err, MUGA_E_INPUT, "%.180s: must be a JSON object, address -> schema", path);
    }
    return st;
}

muga_status debug_schema_options(const json_t *in, const json_t *documents, constrain_draft *draft, const json_t **out,
                                 muga_error *err) {
    const json_t *own = json_object_get(in, "remotes");
    *out = own ? own : documents;
    if (own && !json_is_object(own))
        return error_set(err, MUGA_E_INPUT, "\"remotes\" must be an object, address -> schema");
    return constrain_parse_draft(json_object_get(in, "draft"), draft, err);
}

muga_status debug_schema_formats(const char *mode, bool *asserts, muga_error *err) {
    if (mode && strcmp(mode, "assert") != 0 && strcmp(mode, "annotate") != 0)
        return error_set(err, MUGA_E_USAGE, "--formats %.60s: must be assert or annotate", mode);
    *asserts = mode ? strcmp(mode, "assert") == 0 : *asserts;
    return MUGA_OK;
}
