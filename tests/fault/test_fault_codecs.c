/* Every allocation failed in turn while bodies of OpenAI's and Anthropic's clients are read and answered. If this
 * failed, a machine short of memory could answer something else than was computed as if it were whole, call a good
 * request a bad one, crash or leak. Connection and model are stand-ins: what went out is compared byte by byte. */
#include "support/support.h"

#include "base/mem.h"
#include "serve/agents.h"
#include "serve/internal.h"
#include "support/faultmalloc.h"

#include <stdio.h>
#include <string.h>

/* ---- a connection that keeps what goes out, without allocating ---- */

typedef struct sent {
    int status;
    bool ended, cut;
    char text[65536];
    size_t n;
} sent;
static sent now;
static atomic_bool gone;

const atomic_bool *exchange_gone(const exchange *x) {
    (void)x;
    return &gone;
}

bool exchange_write(exchange *x, const void *p, size_t n) {
    (void)x;
    assert_true(!now.ended && n < sizeof now.text - now.n);
    memcpy(now.text + now.n, p, n);
    now.n += n;
    return true;
}

bool exchange_start(exchange *x, int status, const exchange_headers *h) {
    (void)x;
    (void)h;
    assert_int_equal(now.status, 0);
    now.status = status;
    return true;
}

bool exchange_end(exchange *x) {
    (void)x;
    assert_false(now.ended);
    now.ended = true;
    return true;
}

void exchange_keep_back(exchange *x) {
    (void)x;
}

bool exchange_reply(exchange *x, int status, const exchange_headers *h, const void *body, size_t n) {
    return exchange_start(x, status, h) && exchange_write(x, body, n) && exchange_end(x);
}

void exchange_cut(exchange *x) {
    (void)x;
    now.cut = true;
}

/* ---- a model that says what the script says ---- */

static llm *model;

bool chat_open(call *c, const char *name, const json_t *messages, const chat_sampling *said, const chat_defaults *d,
               chat *out) {
    (void)name;
    (void)said;
    (void)d;
    *out = (chat){.c = c, .lent.m = model, .keep_alive_ms = -1};
    out->messages = json_clone(messages);
    out->q.messages = out->messages;
    out->q.now_ms = 1700000000000;
    return !messages || out->messages || call_fail(c, 503, NULL, NULL, "out of memory");
}

void chat_close(chat *ch) {
    json_decref(ch->messages);
    *ch = (chat){0};
}

muga_status chat_complete(chat *ch, chat_choice *choices, uint32_t n, muga_error *err) {
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < n && !st; i++) {
        llm_request q = ch->q;
        q.on_event_ctx = q.on_text_ctx = q.on_token_ctx = q.on_prompt_ctx = choices[i].ctx;
        st = llm_complete(ch->lent.m, &q, &choices[i].reply, err);
    }
    return st;
}

const char *chat_finish_name(llm_finish f) {
    return f == LLM_FINISH_TOOL_CALLS ? "tool_calls" : "stop";
}

bool agents_is_model(const json_t *body) {
    (void)body;
    return false;
}

void agents_chat(call *c) {
    (void)c;
}

/* ---- requests ---- */

static const char script[] =
    "[{\"reasoning\": \"hm\", \"text\": \"I look.\", \"calls\": [{\"name\": \"order\", \"arguments\": {\"id\": 17}}, "
    "{\"name\": \"order\", \"arguments\": {\"id\": 18}}]}]";
static const char plain[] = "[{\"text\": \"One, two. \xe0\xae\x83\"}, {\"text\": \"Three.\"}]";
static const char value[] = "[{\"text\": \"{\\\"ok\\\":true}\"}]";

#define TOOL "{\"type\": \"object\", \"properties\": {\"id\": {\"type\": \"integer\"}}, \"required\": [\"id\"]}"
#define CHAT_TOOLS                                                                                                     \
    "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"order\", \"parameters\": " TOOL "}}]"
#define SCHEMA "{\"type\": \"object\", \"properties\": {\"ok\": {\"type\": \"boolean\"}}}"
#define CHAT_HISTORY                                                                                                   \
    "\"messages\": [{\"role\": \"developer\", \"content\": [{\"type\": \"text\", \"text\": \"Be\"}, {\"type\": "       \
    "\"text\", \"text\": \"brief\"}]}, {\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", "          \
    "\"content\": null, \"tool_calls\": [{\"id\": \"a\", \"type\": \"function\", \"function\": {\"name\": \"order\", " \
    "\"arguments\": \"{\\\"id\\\": 3}\"}}]}, {\"role\": \"tool\", \"tool_call_id\": \"a\", \"content\": \"x\"}]"
#define ITEMS                                                                                                          \
    "\"input\": [{\"role\": \"user\", \"content\": [{\"type\": \"input_text\", \"text\": \"Hi\"}]}, {\"type\": "       \
    "\"reasoning\", \"summary\": [], \"content\": [{\"type\": \"reasoning_text\", \"text\": \"h\"}]}, {\"type\": "     \
    "\"function_call\", \"call_id\": \"a\", \"name\": \"order\", \"arguments\": \"{\\\"id\\\": 3}\"}, {\"type\": "     \
    "\"function_call_output\", \"call_id\": \"a\", \"output\": \"x\"}]"
#define ITEM_TOOLS "\"tools\": [{\"type\": \"function\", \"name\": \"order\", \"parameters\": " TOOL "}]"
#define TURNS                                                                                                          \
    "\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": [{\"type\": "    \
    "\"thinking\", \"thinking\": \"h\"}, {\"type\": \"text\", \"text\": \"Wait\"}, {\"type\": \"tool_use\", \"id\": "  \
    "\"a\", \"name\": \"order\", \"input\": {\"id\": 3}}]}, {\"role\": \"user\", \"content\": [{\"type\": "            \
    "\"tool_result\", \"tool_use_id\": \"a\", \"content\": \"x\"}]}]"
#define TURN_TOOLS "\"tools\": [{\"name\": \"order\", \"description\": \"d\", \"input_schema\": " TOOL "}]"

static const struct {
    serve_routes (*routes)(void);
    const char *script, *body;
} requests[] = {
    {openai_chat_routes, script, "{\"model\": \"m\", " CHAT_HISTORY ", " CHAT_TOOLS ", \"tool_choice\": \"auto\"}"},
    {openai_chat_routes, script,
     "{\"model\": \"m\", " CHAT_HISTORY ", " CHAT_TOOLS ", \"tool_choice\": {\"type\": \"allowed_tools\", "
     "\"allowed_tools\": {\"mode\": \"auto\", \"tools\": "
     "[{\"type\": \"function\", \"function\": {\"name\": \"order\"}}]}}}"},
    {openai_chat_routes, script,
     "{\"model\": \"m\", " CHAT_HISTORY ", " CHAT_TOOLS ", \"stream\": true, "
     "\"stream_options\": {\"include_usage\": true}}"},
    {openai_chat_routes, plain,
     "{\"model\": \"m\", " CHAT_HISTORY ", \"n\": 2, \"stop\": [\"x\"], \"unknown\": 1, "
     "\"logit_bias\": {\"7\": -3}}"},
    {openai_chat_routes, value,
     "{\"model\": \"m\", " CHAT_HISTORY ", \"response_format\": {\"type\": \"json_schema\", "
     "\"json_schema\": {\"name\": \"x\", \"schema\": " SCHEMA "}}}"},
    {openai_chat_routes, value,
     "{\"model\": \"m\", " CHAT_HISTORY ", \"response_format\": {\"type\": "
     "\"json_object\"}, \"stream\": true}"},
    {openai_completions_routes, plain, "{\"model\": \"m\", \"prompt\": [\"a\", \"b\"], \"echo\": true}"},
    {openai_completions_routes, plain, "{\"model\": \"m\", \"prompt\": [\"a\", \"b\"], \"stream\": true}"},
    {openai_responses_routes, script,
     "{\"model\": \"m\", \"instructions\": \"Be brief\", " ITEMS ", " ITEM_TOOLS
     ", \"tool_choice\": {\"type\": \"allowed_tools\", \"mode\": \"auto\", \"tools\": "
     "[{\"type\": \"function\", \"name\": \"order\"}]}}"},
    {openai_responses_routes, script, "{\"model\": \"m\", " ITEMS ", " ITEM_TOOLS ", \"stream\": true}"},
    {anthropic_routes, script,
     "{\"model\": \"m\", \"max_tokens\": 90, \"system\": \"Be brief\", \"thinking\": {\"type\": \"adaptive\"}, " TURNS
     ", " TURN_TOOLS "}"},
    {anthropic_routes, script,
     "{\"model\": \"m\", \"max_tokens\": 90, " TURNS ", " TURN_TOOLS ", \"stream\": true, "
     "\"thinking\": {\"type\": \"enabled\", \"budget_tokens\": 50}}"},
};

static json_t *parse(const char *text) {
    json_t *v = json_loads(text, 0, NULL);
    assert_non_null(v);
    return v;
}

/* The request, with the nth allocation failed, or all from there on; 0: none. How many there were. */
static size_t run(size_t i, size_t fail, bool all) {
    muga_error err = {0};
    json_t *v = parse(requests[i].script), *body = parse(requests[i].body);
    assert_ok(llm_scripted_new(v, &model, &err), &err);
    const call_route *route = &requests[i].routes().list[0];
    call c = {.route = route, .body = body, .id = "req_1"};
    arena_init(&c.mem, 0);
    memset(&now, 0, sizeof now);
    (all ? fault_fail_from : fault_fail_at)(fail);
    route->run(&c);
    size_t n = fault_count();
    fault_fail_at(0);
    arena_release(&c.mem);
    str_release(&c.ignored);
    llm_free(model);
    json_decref(body);
    json_decref(v);
    return n;
}

static void nothing_else_goes_out_where_memory_is_short(void **state) {
    (void)state;
    static sent first;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        size_t n = run(i, 0, false);
        first = now;
        if (first.status != 200)
            print_message("request %zu: %d %.*s\n", i, first.status, (int)first.n, first.text);
        assert_int_equal(first.status, 200);
        assert_true(first.ended && !first.cut && n > 40);
        (void)run(i, 0, false); /* what libraries keep is there now */
        long live = fault_live();
        for (size_t k = 1; k <= 2 * n; k++) {
            (void)run(i, (k + 1) / 2, k % 2 == 0);
            bool same = now.status == 200 && now.ended && !now.cut && now.n == first.n &&
                        memcmp(now.text, first.text, now.n) == 0;
            bool told = now.status >= 500 || now.cut || (now.ended && strstr(now.text, "\"error\":{"));
            bool leaks = fault_live() != live;
            if ((!same && !told) || leaks)
                print_message("request %zu, allocation %zu%s: %d %.*s\n", i, k, leaks ? " leaks" : "", now.status,
                              (int)now.n, now.text);
            assert_true(same || told);
            assert_false(leaks);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_else_goes_out_where_memory_is_short)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
