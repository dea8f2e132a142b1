/* muga debug validate: schemas and values in, verdicts out. */
#include "cmd/debug_schema.h"

static muga_status handle(void *ctx, const json_t *in, json_t **out, muga_error *err) {
    const json_t *schema = json_object_get(in, "schema"), *data = json_object_get(in, "data");
    constrain_validate_options options = {.formats = json_get_bool(in, "formats", false)};
    if (!schema || !data)
        return error_set(err, MUGA_E_INPUT, "a line needs \"schema\" and \"data\"");
    muga_status st = debug_schema_options(in, ctx, &options.draft, &options.documents, err);
    if (st == MUGA_OK)
        st = constrain_validate(schema, data, &options, err);
    if (st != MUGA_OK && st != MUGA_E_NEGATIVE)
        return st;
    *out = json_boolean(st == MUGA_OK);
    return MUGA_OK;
}

int cmd_debug_validate(int argc, char **argv) {
    const char *remotes = NULL;
    const cmd_option options[] = {DEBUG_SCHEMA_REMOTES(&remotes)};
    cmd_positional p = {0};
    json_t *documents = NULL;
    muga_error err = {0};
    int code = cmd_parse("debug validate", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if (debug_schema_load(remotes, &documents, &err) != MUGA_OK)
        return cmd_fail(&err);
    code = cmd_jsonl(handle, documents);
    json_decref(documents);
    return code;
}
