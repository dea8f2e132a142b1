/* muga debug guards: texts in, what the rules of a manifest find in them out. */
#include "agent/guard.h"
#include "cmd/cmd.h"

static bool read_side(const char *name, guard_side *out) {
    for (*out = GUARD_INPUT; name && *out <= GUARD_RESULT; (*out)++)
        if (!strcmp(name, guard_side_name(*out)))
            return true;
    *out = GUARD_INPUT;
    return !name;
}

/* "grounded" beside the verdict, where the line says what was given. */
static muga_status add_grounded(const guard_set *g, const json_t *in, const char *text, json_t *out, muga_error *err) {
    const json_t *given = json_object_get(in, "given");
    char which[64] = "";
    bool ok = true;
    if (!given)
        return MUGA_OK;
    for (size_t i = 0; i < json_array_size(given); i++)
        if (!json_is_string(json_array_get(given, i)))
            return error_set(err, MUGA_E_INPUT, "\"given\" is an array of texts");
    muga_status st = guard_is_grounded(g, text, given, &ok, which, err);
    if (!st && (json_object_set_new(out, "grounded", json_boolean(ok)) ||
                (!ok && json_object_set_new(out, "value", json_string(which)))))
        st = error_nomem(err, "a verdict");
    return st;
}

static muga_status handle(void *ctx, const json_t *in, json_t **out, muga_error *err) {
    const guard_set *g = ctx;
    const json_t *text = json_object_get(in, "text");
    guard_verdict v;
    guard_side side;
    if (!json_is_string(text) || !read_side(json_get_string(in, "side"), &side))
        return error_set(err, MUGA_E_INPUT, "a line needs \"text\", and may have \"side\": input, output or results");
    muga_status st = guard_check(g, side, json_string_value(text), json_string_length(text), &v, err);
    if (st)
        return st;
    *out = json_pack("{s:s, s:s?, s:O, s:o*}", "action", guard_action_name(v.action), "guard", v.guard, "found",
                     v.found, "text", v.action <= GUARD_MASK ? json_stringn(str_get(&v.text), v.text.len) : NULL);
    guard_verdict_release(&v);
    return *out ? add_grounded(g, in, json_string_value(text), *out, err) : error_nomem(err, "a verdict");
}

int cmd_debug_guards(int argc, char **argv) {
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    str text = STR_INIT;
    guard_set *g = NULL;
    int code = cmd_parse("debug guards", NULL, 0, argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = os_read_file(&os_system()->files, p.v[0], (size_t)1 << 20, &text, &err);
    if (!st)
        st = guard_set_read(str_get(&text), text.len, p.v[0], &g, &err);
    code = st ? cmd_fail(&err) : cmd_jsonl(handle, g);
    guard_set_free(g);
    str_release(&text);
    return code;
}
