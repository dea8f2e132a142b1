/* muga debug validate: schemas and values in, verdicts out. */
#include "cmd/debug_schema.h"

typedef struct validate_job {
    json_t *documents; /* NULL: none */
    bool formats;      /* asserted, where a line doesn't say */
} validate_job;

static muga_status handle(void *ctx, const json_t *in, json_t **out, muga_error *err) {
    const validate_job *job = ctx;
    const json_t *schema = json_object_get(in, "schema"), *data = json_object_get(in, "data");
    constrain_validate_options options = {.formats = json_get_bool(in, "formats", job->formats)};
    if (!schema || !data)
        return error_set(err, MUGA_E_INPUT, "a line needs \"schema\" and \"data\"");
    muga_status st = debug_schema_options(in, job->documents, &options.draft, &options.documents, err);
    if (st == MUGA_OK)
        st = constrain_validate(schema, data, &options, err);
    if (st != MUGA_OK && st != MUGA_E_NEGATIVE)
        return st;
    *out = json_boolean(st == MUGA_OK);
    return MUGA_OK;
}

int cmd_debug_validate(int argc, char **argv) {
    const char *remotes = NULL, *formats = NULL;
    const cmd_option options[] = {DEBUG_SCHEMA_REMOTES(&remotes), DEBUG_SCHEMA_FORMATS(&formats)};
    cmd_positional p = {0};
    validate_job job = {0};
    muga_error err = {0};
    int code = cmd_parse("debug validate", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if (debug_schema_formats(formats, &job.formats, &err) != MUGA_OK ||
        debug_schema_load(remotes, &job.documents, &err) != MUGA_OK)
        return cmd_fail(&err);
    code = cmd_jsonl(handle, &job);
    json_decref(job.documents);
    return code;
}
