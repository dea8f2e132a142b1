/* New agents: every kind with each tool, and with several together, is made, loaded, linted, and does all of its own
 * tasks. If this failed, the first thing that a newcomer makes would not work. */
#include "support/support.h"

#include "agent/dataset.h"
#include "agent/eval.h"
#include "agent/lint.h"
#include "agent/scaffold.h"
#include "base/mem.h"
#include "llm/llm.h"
#include "net/http.h"
#include "os/os.h"
#include "os/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void write_agent(const char *dir, const json_t *files) {
    const os_files *f = &os_system()->files;
    const char *name;
    json_t *text;
    muga_error err;
    union {
        const json_t *in;
        json_t *out;
    } u = {files};
    json_object_foreach(u.out, name, text) {
        char path[1200], *slash;
        snprintf(path, sizeof path, "%s/%s", dir, name);
        slash = strrchr(path, '/');
        *slash = '\0';
        assert_ok(f->mkdirs(f->self, path, &err), &err);
        *slash = '/';
        assert_ok(os_write_file_atomic(f, path, json_string_value(text), json_string_length(text), &err), &err);
        if (strncmp(json_string_value(text), "#!", 2) == 0) {
            assert_int_equal(chmod(path, 0700), 0);
        }
    }
}

static void lint(const agent_env *env, const char *dir, const char *what) {
    char data[1200];
    muga_error err;
    lint_report r;
    snprintf(data, sizeof data, "%s.lint", dir);
    assert_ok(env->files->mkdirs(env->files->self, data, &err), &err);
    assert_ok(lint_run(env, dir, data, &r, &err), &err);
    if (r.n_errors + r.n_warnings > 0) {
        str text = STR_INIT;
        json_write(r.findings, &text);
        fail_msg("%s: %s", what, str_get(&text));
    }
    lint_report_release(&r);
}

/* `own`: tasks; NULL: those that it brings along. */
static void evaluate(const agent_env *env, const char *dir, const char *own, llm *model, const char *what) {
    char path[1200], data[1200];
    str text = STR_INIT;
    json_t *tasks = NULL;
    muga_error err;
    eval_report r;
    snprintf(path, sizeof path, "%s/eval/tasks.jsonl", dir);
    snprintf(data, sizeof data, "%s.eval/begin", dir);
    if (own) {
        str_append_s(&text, own);
    } else {
        assert_ok(os_read_file(env->files, path, 1 << 20, &text, &err), &err);
    }
    assert_ok(eval_read_tasks(str_get(&text), text.len, "tasks.jsonl", &tasks, &err), &err);
    assert_ok(env->files->mkdirs(env->files->self, data, &err), &err);
    assert_ok(dataset_prepare(env, dir, data, &err), &err);
    snprintf(path, sizeof path, "%s.eval", dir);
    const eval_spec spec = {.env = env, .dir = dir, .data_dir = data, .scratch = path, .model = model};
    assert_ok(eval_run(&spec, tasks, &r, &err), &err);
    for (size_t i = 0; i < r.tasks; i++) {
        const json_t *one = json_array_get(r.results, i);
        if (!json_get_bool(one, "ok", false)) {
            fail_msg("%s, %s: %s (%s)", what, json_get_string(one, "id"), json_get_string(one, "why"),
                     json_get_string(one, "answer"));
        }
    }
    eval_report_release(&r);
    json_decref(tasks);
    str_release(&text);
}

static void make(const agent_env *env, const char *kind, const char *tools, char dir[1024]) {
    char name[64];
    json_t *files = NULL;
    muga_error err;
    snprintf(name, sizeof name, "new-%s-%zu", kind, tools ? strlen(tools) : 0);
    snprintf(dir, 1024, "%s-%.8s", scratch_path(name), tools ? tools : "");
    const scaffold_spec spec = {name, dir, kind, tools, "smollm2-135m-instruct"};
    assert_ok(scaffold_make(&spec, &files, &err), &err);
    assert_null(strchr(json_get_string(files, "agent.yaml"), '@')); /* nothing was left to fill in */
    write_agent(dir, files);
    lint(env, dir, dir);
    json_decref(files);
}

static llm *open_model(void) {
    llm *model = NULL;
    muga_error err;
    const llm_local_options options = {.isa = -1, .n_threads = 1};
    assert_ok(llm_local_open(source_path("tests/data/tiny.gguf"), "tiny", &options, &model, &err), &err);
    return model;
}

static const char *const kinds[] = {"reflex", "model", "goal"};

static void make_and_evaluate(const agent_env *env, const char *const *tools, size_t n) {
    llm *model = open_model();
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        for (size_t t = 0; t < n; t++) {
            char dir[1024];
            make(env, kinds[k], tools[t], dir);
            evaluate(env, dir, NULL, model, dir);
        }
    }
    llm_free(model);
}

static void every_new_agent_works(void **state) {
    (void)state;
    static const char *const tools[] = {NULL,
                                        "clock",
                                        "files",
                                        "search",
                                        "memory",
                                        "http",
                                        "sql,http",
                                        "sql,clock,files",
                                        "clock,search",
                                        "memory,sql",
                                        "files,search,http,clock"};
    const agent_env env = agent_env_system();
    make_and_evaluate(&env, tools, ARRAY_LEN(tools));
}

static void so_does_one_whose_tool_is_a_program(void **state) {
    (void)state;
    static const char *const tools[] = {"command", "sql,command,memory", "http,command,files,search,clock"};
    agent_env env = agent_env_system();
    env.launcher = getenv("MUGA_PROGRAM");
    const os_sandbox sandbox = {.launcher = env.launcher,
                                .layers = OS_SANDBOX_ALL,
                                .memory_bytes = (uint64_t)512 << 20,
                                .tmp_bytes = (uint64_t)64 << 20,
                                .file_bytes = (uint64_t)64 << 20,
                                .cpu_seconds = 30,
                                .n_process = 32,
                                .n_file = 256};
    muga_error err;
    if (os_sandbox_check(env.children, &sandbox, &err) != MUGA_OK) {
        printf("skipped: %s\n", err.message);
        skip();
    }
    make_and_evaluate(&env, tools, ARRAY_LEN(tools));
}

static muga_status answer_sent(void *self, const http_request *q, http_reply *out, muga_error *err) {
    (void)self;
    assert_string_equal(q->url, "https://192.0.2.1/orders/A10293?user=1");
    *out = (http_reply){.end = HTTP_WHOLE, .status = 200, .content_type = "application/json"};
    assert_true(q->on_body(q->ctx, out, "{\"state\":\"sent\"}", 16));
    (void)err;
    return MUGA_OK;
}

static void an_order_is_told_once_there_is_a_server(void **state) {
    (void)state;
    http_client client = {answer_sent, NULL};
    agent_env env = agent_env_system();
    llm *model = open_model();
    env.http = &client;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        char dir[1024];
        make(&env, kinds[k], "http,clock", dir);
        evaluate(&env, dir,
                 "{\"id\": \"order\", \"session\": {\"user\": 1}, \"messages\": [\"Where is my order A10293?\"],"
                 " \"expect\": {\"outcome\": \"answer\", \"answer_has\": [\"Order A10293: sent.\"]}}\n",
                 model, dir);
    }
    llm_free(model);
}

static void what_cant_be_made_is_refused(void **state) {
    (void)state;
    static const struct {
        scaffold_spec spec;
        const char *part;
    } bad[] = {{{"Shop", "/a", "goal", NULL, "m"}, "is no name"},
               {{"-a", "/a", "goal", NULL, "m"}, "is no name"},
               {{"", "/a", "goal", NULL, "m"}, "is no name"},
               {{"a", "/a", "goals", NULL, "m"}, "there are reflex, model and goal"},
               {{"a", "/a", "goal", "sql,mail", "m"}, "there are sql, clock, files, search, memory, http, command"},
               {{"a", "/a", "goal", "sql,sql", "m"}, "named twice"},
               {{"a", "/a", "goal", "sql,memory,clock,files", "m"}, "6 tools in all"},
               {{"a", "/a", "goal", "", "m"}, "no tool is named"},
               {{"a", "/a", "goal", ",sql", "m"}, "there is no template"},
               {{"a", "/a\"b", "goal", "files", "m"}, "take another"},
               {{"a", "/a", "goal", NULL, "m\nkind: x"}, "no name of a model"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json_t *files = NULL;
        muga_error err;
        assert_status(scaffold_make(&bad[i].spec, &files, &err), MUGA_E_USAGE, &err, bad[i].part);
        assert_null(files);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_new_agent_works), cmocka_unit_test(so_does_one_whose_tool_is_a_program),
        cmocka_unit_test(an_order_is_told_once_there_is_a_server), cmocka_unit_test(what_cant_be_made_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
