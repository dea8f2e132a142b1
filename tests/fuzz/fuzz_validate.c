/* The schema validator: a verdict is the same each time and has a reason; a schema in `not` gives the other verdict,
 * and one in `allOf`, `anyOf` or `oneOf` on its own the same. The schema ends at the first newline, the value follows.
 * What the token mask makes of schemas is fuzz_schema's. */
#include "constrain/constrain.h"
#include "fuzz.h"

static muga_status validate(const json_t *schema, const json_t *value, bool formats) {
    constrain_validate_options o = {.formats = formats};
    muga_error err = {0};
    muga_status st = constrain_validate(schema, value, &o, &err);
    if (st == MUGA_E_LIMIT || st == MUGA_OK)
        return st;
    fuzz_need_error(st, MUGA_E_NEGATIVE, MUGA_E_INPUT, &err);
    return st;
}

/* {"keyword": schema}, in a list where `list` says so. */
static json_t *wrap(const char *keyword, json_t *schema, bool list) {
    json_t *outer = json_object(), *inner = list ? json_array() : json_incref(schema);
    if (list)
        json_array_append(inner, schema);
    json_object_set_new(outer, keyword, inner);
    return outer;
}

static void check_wrapped(json_t *schema, const json_t *value, bool formats, muga_status st) {
    static const char *const keywords[] = {"allOf", "anyOf", "oneOf", "not"};
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
        bool opposite = i == 3;
        json_t *outer = wrap(keywords[i], schema, !opposite);
        muga_status got = validate(outer, value, formats);
        if (got != MUGA_E_LIMIT && opposite)
            fuzz_need(got == (st == MUGA_OK ? MUGA_E_NEGATIVE : st == MUGA_E_NEGATIVE ? MUGA_OK : st));
        else if (got != MUGA_E_LIMIT)
            fuzz_need(got == st);
        json_decref(outer);
    }
}

/* What refers to other places means something else where the schema stands deeper; so does a name that is looked for
 * from the root. */
static bool stands_alone(const json_t *schema) {
    str text = STR_INIT;
    json_write(schema, &text);
    bool alone = !strchr(str_get(&text), '$') && !strstr(str_get(&text), "\"from\"");
    str_release(&text);
    return alone;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
    json_t *schema = NULL, *value = NULL;
    muga_error err = {0};
    if (!end)
        return 0;
    size_t n = (size_t)(end - data);
    if (json_parse((const char *)data, n, "schema", &schema, &err) == MUGA_OK &&
        json_parse((const char *)end + 1, size - n - 1, "value", &value, &err) == MUGA_OK) {
        for (int formats = 0; formats < 2; formats++) {
            muga_status st = validate(schema, value, formats);
            fuzz_need(validate(schema, value, formats) == st);
            if (st != MUGA_E_LIMIT && stands_alone(schema))
                check_wrapped(schema, value, formats, st);
        }
    }
    json_decref(schema);
    json_decref(value);
    return 0;
}
