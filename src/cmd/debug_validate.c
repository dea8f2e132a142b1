/* muga debug validate: schemas and values in, verdicts out. */
#include "cmd/cmd.h"
#include "constrain/constrain.h"

static muga_status handle(void *ctx, const json_t *in, json_t **out, muga_error *err) {
    (void)ctx;
    const json_t *schema = json_object_get(in, "schema"), *data = json_object_get(in, "data");
    constrain_validate_options options = {.formats = json_get_bool(in, "formats", false)};
    if (!schema || !data)
        return error_set(err, MUGA_E_INPUT, "a line needs \"schema\" and \"data\"");
    muga_status st = constrain_parse_draft(json_object_get(in, "draft"), &options.draft, err);
    if (st == MUGA_OK)
        st = constrain_validate(schema, data, &options, err);
    if (st != MUGA_OK && st != MUGA_E_NEGATIVE)
        return st;
    *out = json_boolean(st == MUGA_OK);
    return MUGA_OK;
}

int cmd_debug_validate(int argc, char **argv) {
    cmd_positional p = {0};
    int code = cmd_parse("debug validate", NULL, 0, argc, argv, &p);
    return code >= 0 ? code : cmd_jsonl(handle, NULL);
}
