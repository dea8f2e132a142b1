/* Through muga.h. If this fails, agents with experts of their own need their model once each, an agent made part of
 * another program answers without its expert, or with another's. */
#include "agents/loop_fixture.h"

#include "base/mem.h"
#include "muga.h"

#include <stdio.h>

static const char *tiny_path(void) {
    return source_path("tests/data/tiny.gguf");
}

static char *copy_adapter(const agent_fixture *f) {
    static char path[1024];
    str bytes = STR_INIT;
    muga_error err = {0};
    const os_files *files = &os_system()->files;
    assert_ok(os_read_file(files, source_path("tests/data/tiny-adapter.gguf"), 1 << 20, &bytes, &err), &err);
    snprintf(path, sizeof path, "%s/expert.gguf", f->dir);
    assert_ok(os_write_file_atomic(files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    return path;
}

static void ask(muga_model *m, char answer[400]) {
    muga_chat *c;
    muga_error err = {0};
    const char *text;
    assert_ok(muga_chat_new(m, &(muga_chat_options){.max_tokens = 16}, &c, &err), &err);
    assert_ok(muga_chat_ask(c, "where is my order", NULL, NULL, &text, &err), &err);
    snprintf(answer, 400, "%s", text);
    muga_chat_free(c);
}

static void models_over_one_base_answer_as_each_alone(void **state) {
    (void)state;
    static char adapter[1024];
    muga_model *base, *adapted, *plain, *alone;
    muga_error err = {0};
    char a[400], b[400];
    snprintf(adapter, sizeof adapter, "%s", source_path("tests/data/tiny-adapter.gguf"));
    muga_model_options o = {.n_threads = 1, .n_ctx = 512};
    assert_ok(muga_model_open(tiny_path(), &o, &base, &err), &err);
    assert_ok(muga_model_adapt(base, adapter, 0, &adapted, &err), &err);
    assert_ok(muga_model_adapt(adapted, NULL, 0, &plain, &err), &err);
    o.adapter = adapter;
    assert_ok(muga_model_open(tiny_path(), &o, &alone, &err), &err);
    ask(alone, a);
    ask(adapted, b);
    assert_string_equal(a, b);
    ask(base, a);
    muga_model_free(base);
    ask(plain, b);
    assert_string_equal(a, b);
    assert_status(muga_model_adapt(plain, "none.gguf", 0, &base, &err), MUGA_E_NOT_FOUND, &err, "none.gguf");
    assert_null(base);
    muga_model_free(alone);
    muga_model_free(adapted);
    muga_model_free(plain);
}

/* ---- agents ---- */

typedef struct member {
    agent_fixture f;
    char home[1024], db[1100];
    muga_agent *agent;
} member;

/* An agent in a folder of its own; key: what its manifest says of an adapter. */
static void open_member(member *x, const char *name, const char *key, muga_model *m) {
    str text = STR_INIT;
    muga_error err = {0};
    str_printf(&text, "%s%s", LOOP_MANIFEST(LOOP_DETAIL), key);
    fixture_prepare(&x->f, name, str_get(&text));
    fixture_write(&x->f, "examples.jsonl", loop_examples);
    copy_adapter(&x->f);
    snprintf(x->home, sizeof x->home, "%s/home", x->f.dir);
    snprintf(x->db, sizeof x->db, "%s/muga.db", x->home);
    const muga_agent_options o = {.home = x->home, .session = "{\"customer\": 1}", .data_dir = x->f.dir};
    assert_ok(muga_agent_open(x->f.dir, m, &o, &x->agent, &err), &err);
    str_release(&text);
}

static void close_member(member *x) {
    muga_agent_free(x->agent);
    fixture_close(&x->f);
}

static int64_t n_said_with(const member *x, const char *part) {
    char sql[200];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM audit_payload WHERE payload LIKE '%%%s%%'", part);
    return fixture_count(x->db, sql);
}

static void agents_over_one_model_have_each_its_own_expert(void **state) {
    (void)state;
    static const char strong[] = "adapter: expert.gguf\n", weak[] = "adapter: {file: expert.gguf, scale: 0.5}\n";
    muga_model *base;
    muga_error err = {0};
    member a, b, none;
    muga_model_options o = {.n_threads = 1, .n_ctx = 512};
    assert_ok(muga_model_open(tiny_path(), &o, &base, &err), &err);
    open_member(&a, "strong", strong, base);
    open_member(&b, "weak", weak, base);
    open_member(&none, "none", "", base);
    for (int i = 0; i < 2; i++) {
        member *const all[] = {&a, &b, &none};
        for (int k = 0; k < 3; k++)
            assert_ok(muga_agent_say(all[k]->agent, "where is my order A10001", NULL, NULL, NULL, &err), &err);
    }
    assert_true(n_said_with(&a, "\"scale\":1") > 0 && n_said_with(&a, "\"scale\":0.5") == 0);
    assert_true(n_said_with(&b, "\"scale\":0.5") > 0 && n_said_with(&b, "\"scale\":1,") == 0);
    assert_int_equal(n_said_with(&none, "\"scale\""), 0);
    close_member(&b);
    assert_ok(muga_agent_say(a.agent, "where is my order A10001", NULL, NULL, NULL, &err), &err);
    close_member(&a);
    close_member(&none);
    muga_model_free(base);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_over_one_base_answer_as_each_alone),
        cmocka_unit_test(agents_over_one_model_have_each_its_own_expert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
