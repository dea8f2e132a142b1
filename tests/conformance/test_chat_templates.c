/* Would break: a model's own chat template renders other text than transformers gives, or an error passes as output.
 * All cases of the conformance set, byte for byte. */
#include "base/json.h"
#include "model/template.h"
#include "os/os.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

#define NOW_MS 1789381800000 /* 2026-09-14T10:30:00Z, the oracle's clock */

static int check_case(const template *t, const char *name, const json_t *c) {
    str out = STR_INIT, raised = STR_INIT;
    muga_error err;
    const json_t *expect = json_object_get(c, "expect"), *failure = json_object_get(expect, "error");
    const char *wanted = json_get_string(expect, "output");
    const json_t *context = json_object_get(c, "context");
    muga_status st = template_render_raising(t, context, NOW_MS, NULL, &out, &raised, &err);
    bool ok;
    if (wanted) {
        ok = st == MUGA_OK && strcmp(wanted, str_get(&out)) == 0;
    } else {
        const char *kind = json_get_string(failure, "kind");
        ok = st != MUGA_OK &&
             (strcmp(kind, "raise_exception") != 0 || !strcmp(str_get(&raised), json_get_string(failure, "message")));
    }
    if (!ok)
        print_error("%s/%s: %s\n", name, json_get_string(c, "case"), st ? err.message : "other text");
    str_release(&out);
    str_release(&raised);
    return ok ? 0 : 1;
}

static int check_file(const char *dir, const char *file, size_t *n_cases) {
    char path[4096];
    muga_error err;
    str text = STR_INIT, source = STR_INIT;
    json_t *d, *c;
    template *t;
    size_t i;
    int bad = 0;
    snprintf(path, sizeof path, "%s/cases/%s", dir, file);
    assert_ok(os_read_file(&os_system()->files, path, 64 << 20, &text, &err), &err);
    assert_ok(json_parse(str_get(&text), text.len, file, &d, &err), &err);
    snprintf(path, sizeof path, "%s/%s", dir, json_get_string(d, "template_file"));
    assert_ok(os_read_file(&os_system()->files, path, 64 << 20, &source, &err), &err);
    assert_ok(template_compile(str_get(&source), source.len, &t, &err), &err);
    json_array_foreach(json_object_get(d, "cases"), i, c) {
        bad += check_case(t, file, c);
        ++*n_cases;
    }
    template_free(t);
    json_decref(d);
    str_release(&text);
    str_release(&source);
    return bad;
}

struct visit {
    const char *dir;
    size_t n_cases;
    int bad;
};

static muga_status visit(void *ctx, const char *name) {
    struct visit *v = ctx;
    v->bad += check_file(v->dir, name, &v->n_cases);
    return MUGA_OK;
}

static void test_every_case(void **state) {
    (void)state;
    struct visit v = {.dir = shared_path("conformance/chat_templates")};
    char dir[4096];
    muga_error err;
    snprintf(dir, sizeof dir, "%s/cases", v.dir);
    assert_ok(os_system()->files.list(os_system()->files.self, dir, visit, &v, &err), &err);
    print_message("%zu cases\n", v.n_cases);
    assert_true(v.n_cases >= 600);
    assert_int_equal(v.bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_case)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
