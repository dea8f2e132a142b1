/* Every allocation failed in turn while a remote model is asked, answers wrongly, and answers with a call. If this
 * failed, a machine short of memory would crash, leak, take half an answer, or leave a key in memory that was freed. */
#include "support/faultmalloc.h"
#include "support/http_script.h"
#include "support/support.h"

#include "llm/remote.h"

static const http_turn turns[] = {{200, NULL, SSE_ANSWER("{\\\"id\\\": 5}"), 0, 0},
                                  {200, NULL, SSE_ANSWER("{\\\"id\\\": \\\"A10293\\\"}"), 0, 0},
                                  {429, NULL, "{\"error\":{\"message\":\"later\"}}", 0, 1000},
                                  {200, NULL, SSE_CALL("look_up", "{\\\"id\\\": \\\"A1\\\"}"), 0, 0}};

static json_t *load(const char *text) {
    return json_loads(text, 0, NULL);
}

typedef struct inputs {
    json_t *messages, *schema, *tools;
    constrain_source source;
    span said;
} inputs;

static muga_status ask_both(llm *m, const inputs *in, muga_error *err) {
    llm_reply reply;
    llm_request q = {.messages = in->messages,
                     .schema = in->schema,
                     .sources = &in->source,
                     .n_sources = 1,
                     .sampling = LLM_SAMPLING_GREEDY,
                     .want_evidence = true};
    muga_status st = llm_complete(m, &q, &reply, err);
    if (!st && strcmp(str_get(&reply.text), "{\"id\":\"A10293\"}") != 0)
        fail_msg("another answer: %s", str_get(&reply.text));
    if (!st)
        llm_reply_release(&reply);
    if (st)
        return st;
    q = (llm_request){.messages = in->messages,
                      .tools = in->tools,
                      .tool_choice = LLM_TOOLS_REQUIRED,
                      .sampling = LLM_SAMPLING_GREEDY,
                      .stop = (const char *const[]){"END"},
                      .n_stop = 1};
    st = llm_complete(m, &q, &reply, err);
    if (!st && (reply.n_calls != 1 || strcmp(reply.calls[0].arguments, "{\"id\":\"A1\"}") != 0))
        fail_msg("another call");
    if (!st)
        llm_reply_release(&reply);
    return st;
}

static muga_status run(const inputs *in, muga_error *err) {
    http_script s;
    llm *m = NULL;
    http_script_init(&s, turns, ARRAY_LEN(turns));
    llm_remote_options o = {.url = "http://127.0.0.1:1",
                            .model = "big",
                            .key = "sk-0123456789",
                            .http = s.client,
                            .clock = &s.clock,
                            .retries = 2};
    muga_status st = llm_remote_new(&o, &m, err);
    if (!st)
        st = ask_both(m, in, err);
    llm_free(m);
    str_release(&s.bodies);
    return st;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    muga_error err = {0};
    inputs in = {.messages = load("[{\"role\":\"user\",\"content\":\"order A10293\"}]"),
                 .schema = load("{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"string\",\"pattern\":"
                                "\"^A[0-9]{5}$\",\"from\":\"conversation\"}},\"required\":[\"id\"],"
                                "\"additionalProperties\":false}"),
                 .tools = load("[{\"name\":\"look_up\",\"parameters\":{\"type\":\"object\",\"properties\":{\"id\":"
                               "{\"type\":\"string\"}},\"required\":[\"id\"]}}]"),
                 .said = span_of_string("order A10293")};
    in.source = (constrain_source){"conversation", &in.said, 1};
    assert_ok(run(&in, &err), &err);
    bool reached = true;
    size_t n = 1;
    for (; reached; n++) {
        long live = fault_live();
        fault_fail_at(n);
        muga_status st = run(&in, &err);
        reached = fault_hit();
        fault_fail_at(0);
        if (st && (st != MUGA_E_NOMEM || !reached || !*err.message))
            fail_msg("allocation %zu: status %d: %s", n, st, err.message);
        if (fault_live() != live)
            fail_msg("allocation %zu: %ld blocks leaked", n, fault_live() - live);
    }
    json_decref(in.messages);
    json_decref(in.schema);
    json_decref(in.tools);
    print_message("%zu allocations\n", n - 2);
    assert_in_range(n, 100, 100000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
