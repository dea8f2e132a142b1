/* Tokenizers against the conformance sets: texts made to be awkward, ids from the reference implementations. Were this
 * to fail, some kind of model would be fed other tokens than it was trained on.
 *
 * Vocabularies come packed; xz unpacks them. A set whose vocabulary may not be redistributed is passed over by name. */
#include "support/support.h"
#include "support/token_case.h"

#include "base/json.h"
#include "base/mem.h"
#include "os/os.h"

#include <stdio.h>

#include <string.h>

static const char *const sets[] = {"gpt-2", "smollm2", "qwen2", "gemma-4", "phi-3", "bert-bge"};

static tokenizer *open_packed(const char *path) {
    muga_error err;
    os_child_result unpacked;
    const char *const argv[] = {"/usr/bin/xz", "-dc", path, NULL};
    os_child_spec spec = {.argv = argv, .max_out_bytes = (size_t)64 << 20, .timeout_ms = 60000};
    const os_children *children = &os_system()->children;
    assert_ok(children->run(children->self, &spec, &unpacked, &err), &err);
    assert_true(unpacked.end == OS_CHILD_EXITED && unpacked.code == 0);
    tokenizer *t = token_case_open_memory(unpacked.out.data, unpacked.out.len);
    str_release(&unpacked.out);
    str_release(&unpacked.err_out);
    return t;
}

static void take_case(const char *set, const char *line, size_t n, token_case *c) {
    muga_error err;
    json_t *v;
    assert_ok(json_parse(line, n, set, &v, &err), &err);
    *c = (token_case){.set = set,
                      .add_special = json_get_bool(v, "add_special", false),
                      .parse_special = json_get_bool(v, "parse_special", false)};
    const json_t *text = json_object_get(v, "text"), *ids = json_object_get(v, "ids");
    const char *hex = json_get_string(v, "text_hex");
    if (hex)
        token_case_take_hex(hex, strlen(hex), &c->text);
    else
        str_append(&c->text, json_string_value(text), json_string_length(text));
    for (size_t i = 0; i < json_array_size(ids); i++)
        assert_true(token_list_push(&c->ids, (int32_t)json_integer_value(json_array_get(ids, i))));
    json_decref(v);
}

static void check_set(const char *set) {
    muga_error err;
    str lines = STR_INIT;
    char relative[128];
    size_t n = 0, n_wrong = 0;
    (void)snprintf(relative, sizeof relative, "conformance/tokenizers/%s/vocab.gguf.xz", set);
    tokenizer *t = open_packed(shared_path(relative));
    (void)snprintf(relative, sizeof relative, "conformance/tokenizers/%s/cases.jsonl", set);
    assert_ok(os_read_file(&os_system()->files, shared_path(relative), 1 << 24, &lines, &err), &err);
    for (const char *p = str_get(&lines), *end; (end = strchr(p, '\n')); p = end + 1, n++) {
        token_case c;
        take_case(set, p, (size_t)(end - p), &c);
        token_case_check(&c, t, &n_wrong);
        token_case_release(&c);
    }
    print_message("%s: %zu cases, %zu wrong\n", set, n, n_wrong);
    assert_true(n > 200);
    assert_int_equal(n_wrong, 0);
    tokenizer_free(t);
    str_release(&lines);
}

static void every_set(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        check_set(sets[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_set)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
