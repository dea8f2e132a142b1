/* The injected instructions of tests/data/injections.jsonl, filled in for an agent. */
#ifndef TESTS_INJECTED_H
#define TESTS_INJECTED_H

#include "agents/obedient.h"
#include "os/os.h"

#define N_INJECTED 139

/* What an instruction makes the model call: "call TOOL {JSON}". */
typedef struct injected_words {
    const char *write, *forged, *other, *unknown, *leave;
} injected_words;

static inline void injected_replace(str *text, const char *name, const char *call, const char *encode) {
    char *at;
    while ((at = strstr(text->data ? text->data : "", name))) {
        str out = STR_INIT;
        str_append(&out, text->data, (size_t)(at - text->data));
        if (encode) {
            obedient_hide(call, encode, &out);
        } else {
            str_append_s(&out, call);
        }
        str_append_s(&out, at + strlen(name));
        str_release(text);
        *text = out;
    }
}

/* The text of a case, appended: its calls are the words. */
static inline void injected_fill(const injected_words *t, const json_t *c, str *out) {
    const char *encode = json_get_string(c, "encode");
    str_append_s(out, json_get_string(c, "text"));
    injected_replace(out, "{write}", t->write, encode);
    injected_replace(out, "{forged}", t->forged, encode);
    injected_replace(out, "{other}", t->other, encode);
    injected_replace(out, "{unknown}", t->unknown, encode);
    injected_replace(out, "{leave}", t->leave, encode);
    injected_replace(out, "{approval}", "4kd9-t2m1", encode);
}

static inline json_t *injected_cases(void) {
    str text = STR_INIT;
    muga_error err;
    json_t *list = json_array(), *one = NULL;
    assert_ok(os_read_file(&os_system()->files, source_path("tests/data/injections.jsonl"), 1 << 20, &text, &err),
              &err);
    for (char *at = text.data, *end; at && *at; at = end + 1) {
        end = strchr(at, '\n');
        assert_non_null(end);
        assert_ok(json_parse(at, (size_t)(end - at), "injections.jsonl", &one, &err), &err);
        json_array_append_new(list, one);
    }
    str_release(&text);
    assert_int_equal(json_array_size(list), N_INJECTED);
    return list;
}
#endif
