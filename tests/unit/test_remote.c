/* If this fails, what a server says is believed unchecked, a failure that would pass ends a run or one that won't is
 * tried for ever, part of an answer is shown twice, a key gets into a message, or a request that a remote model can't
 * be held to is sent all the same. */
#include "support/support.h"

#include "llm/remote.h"
#include "support/http_script.h"

#define KEY "sk-abcdefgh-0123456789"

typedef struct run {
    http_script s;
    llm *m;
    llm_reply reply;
    muga_error err;
    str events;
    size_t stop_after; /* pieces of text; 0: never */
    size_t n_pieces;
    uint32_t n_waits;
} run;

static json_t *messages;

static int make_messages(void **state) {
    (void)state;
    messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "order A10293 is late");
    return messages ? 0 : -1;
}

static int drop_messages(void **state) {
    (void)state;
    json_decref(messages);
    return 0;
}

static void open_with(run *r, const http_turn *turns, size_t n, llm_remote_options o) {
    *r = (run){.n_pieces = 0};
    http_script_init(&r->s, turns, n);
    o.url = o.url ? o.url : "http://127.0.0.1:8080";
    o.model = "big";
    o.http = r->s.client;
    o.clock = &r->s.clock;
    assert_ok(llm_remote_new(&o, &r->m, &r->err), &r->err);
}
#define OPEN(r, turns) open_with(r, turns, ARRAY_LEN(turns), (llm_remote_options){.retries = UINT32_MAX})

static void close_run(run *r) {
    llm_reply_release(&r->reply);
    llm_free(r->m);
    str_release(&r->s.bodies);
    str_release(&r->events);
}

static bool on_text(void *ctx, const char *p, size_t n) {
    run *r = ctx;
    str_printf(&r->events, "(%.*s)", (int)n, p);
    return ++r->n_pieces != r->stop_after;
}

static bool on_event(void *ctx, const llm_event *e) {
    static const char *const names[] = {"text", "think", "begin", "arguments", "end"};
    run *r = ctx;
    str_printf(&r->events, "%s(%.*s)", names[e->kind], e->p ? (int)e->n : 0, e->p ? e->p : "");
    return ++r->n_pieces != r->stop_after;
}

static muga_status ask(run *r, llm_request q) {
    q.messages = messages;
    q.sampling = LLM_SAMPLING_GREEDY;
    q.on_text = on_text;
    q.on_text_ctx = r;
    q.on_event = on_event;
    q.on_event_ctx = r;
    llm_reply_release(&r->reply);
    str_clear(&r->events);
    return llm_complete(r->m, &q, &r->reply, &r->err);
}
#define PLAIN ((llm_request){.max_tokens = 64})

/* ---- plain answers ---- */

static void text_streams_and_is_counted(void **state) {
    (void)state;
    const http_turn turns[] = {
        {200, NULL, SSE_TEXT("It ") SSE_TEXT("is \\u00e4 late.") SSE_FINISH("stop") SSE_USAGE SSE_DONE, 0, 0}};
    for (size_t piece = 0; piece < 40; piece++) {
        run r;
        OPEN(&r, turns);
        r.s.piece = piece;
        assert_ok(ask(&r, PLAIN), &r.err);
        assert_string_equal(str_get(&r.reply.text), "It is \xC3\xA4 late.");
        assert_string_equal(str_get(&r.events), "(It )(is \xC3\xA4 late.)");
        assert_int_equal(r.reply.n_prompt, 12);
        assert_int_equal(r.reply.n_generated, 3);
        assert_int_equal(r.reply.finish, LLM_FINISH_STOP);
        llm_remote_usage u = llm_remote_get_usage(r.m);
        assert_int_equal(u.n_requests, 1);
        assert_int_equal(u.n_prompt, 12);
        assert_int_equal(u.n_uncounted, 0);
        close_run(&r);
    }
}

static void a_server_that_does_not_stream_is_read_too(void **state) {
    (void)state;
    const http_turn turns[] = {{200, "application/json",
                                "{\"choices\":[{\"message\":{\"content\":\"late\"},\"finish_reason\":\"length\"}]}", 0,
                                0}};
    run r;
    OPEN(&r, turns);
    assert_ok(ask(&r, PLAIN), &r.err);
    assert_string_equal(str_get(&r.reply.text), "late");
    assert_int_equal(r.reply.finish, LLM_FINISH_LENGTH);
    assert_int_equal(llm_remote_get_usage(r.m).n_uncounted, 1);
    assert_true(r.reply.n_prompt > 0 && r.reply.n_generated > 0);
    close_run(&r);
}

static void a_callback_stops_the_answer(void **state) {
    (void)state;
    const http_turn turns[] = {{200, NULL, SSE_TEXT("one") SSE_TEXT("two") SSE_ANSWER("three"), 0, 0}};
    run r;
    OPEN(&r, turns);
    r.stop_after = 2;
    assert_ok(ask(&r, PLAIN), &r.err);
    assert_int_equal(r.reply.finish, LLM_FINISH_CANCELLED);
    assert_string_equal(str_get(&r.reply.text), "onetwo");
    close_run(&r);
}

static bool never(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    (void)n_done;
    (void)n_prompt;
    return ++((run *)ctx)->n_waits < 5;
}

static void a_wait_can_be_cancelled(void **state) {
    (void)state;
    const http_turn turns[] = {{429, NULL, "", 0, 60000}, {200, NULL, SSE_ANSWER("late"), 0, 0}};
    run r;
    OPEN(&r, turns);
    llm_request q = PLAIN;
    q.on_prompt = never;
    q.on_prompt_ctx = &r;
    assert_ok(ask(&r, q), &r.err);
    assert_int_equal(r.reply.finish, LLM_FINISH_CANCELLED);
    assert_true(r.s.slept_ms < 1000);
    assert_int_equal(r.s.at, 1);
    close_run(&r);
}

/* ---- failures ---- */

static void failures_that_may_pass_are_tried_again(void **state) {
    (void)state;
    const http_turn turns[] = {{0, NULL, NULL, HTTP_CONNECT, 0},
                               {503, "text/html", "<html>busy</html>", 0, 0},
                               {200, NULL, SSE_TEXT("lost"), HTTP_CUT, 0},
                               {200, NULL, SSE("{\"error\":{\"message\":\"overloaded\"}}"), 0, 0},
                               {200, NULL, SSE_ANSWER("{\\\"a\\\":1}"), 0, 0}};
    json_t *schema = json_pack("{s:s}", "type", "object");
    run r;
    OPEN(&r, turns);
    llm_request q = PLAIN;
    q.schema = schema; /* held back until whole, so a cut can be tried again */
    assert_ok(ask(&r, q), &r.err);
    assert_string_equal(str_get(&r.reply.text), "{\"a\":1}");
    assert_string_equal(str_get(&r.events), "({\"a\":1})");
    assert_int_equal(llm_remote_get_usage(r.m).n_retries, 4);
    /* 0.5, 1, 2, 4 s, each less up to half of it */
    assert_in_range(r.s.slept_ms, 3750, 7500);
    close_run(&r);
    json_decref(schema);
}

static void retries_end(void **state) {
    (void)state;
    const http_turn turns[] = {{500, NULL, "no", 0, 0}, {500, NULL, "no", 0, 0}, {500, NULL, "no", 0, 0}};
    run r;
    open_with(&r, turns, ARRAY_LEN(turns), (llm_remote_options){.retries = 2});
    assert_status(ask(&r, PLAIN), MUGA_E_ENV, &r.err, "127.0.0.1:8080 answers 500: no; asked 3 times");
    assert_int_equal(r.s.at, 3);
    close_run(&r);
}

static void what_was_shown_is_not_asked_for_again(void **state) {
    (void)state;
    const http_turn turns[] = {{200, NULL, SSE_TEXT("half"), HTTP_CUT, 0}, {200, NULL, SSE_ANSWER("whole"), 0, 0}};
    run r;
    OPEN(&r, turns);
    assert_status(ask(&r, PLAIN), MUGA_E_ENV, &r.err, "part of the answer was shown");
    assert_int_equal(r.s.at, 1);
    close_run(&r);
}

static void the_server_says_when_to_come_back(void **state) {
    (void)state;
    const http_turn turns[] = {{429, NULL, "", 0, 7000}, {200, NULL, SSE_ANSWER("late"), 0, 0}};
    run r;
    OPEN(&r, turns);
    assert_ok(ask(&r, PLAIN), &r.err);
    assert_int_equal(r.s.slept_ms, 7000);
    close_run(&r);
    const http_turn far[] = {{429, NULL, "{\"error\":{\"message\":\"quota\"}}", 0, 3600000}};
    OPEN(&r, far);
    assert_status(ask(&r, PLAIN), MUGA_E_ENV, &r.err, "429: quota; it asks to come back in 3600 s");
    assert_int_equal(r.s.slept_ms, 0);
    close_run(&r);
}

static void no_retry_outlasts_the_time_there_is(void **state) {
    (void)state;
    const http_turn turns[] = {{429, NULL, "", 0, 90000}, {200, NULL, SSE_ANSWER("late"), 0, 0}};
    run r;
    open_with(&r, turns, ARRAY_LEN(turns), (llm_remote_options){.retries = 9, .total_ms = 60000});
    assert_status(ask(&r, PLAIN), MUGA_E_ENV, &r.err, "no time is left");
    close_run(&r);
}

static void what_will_not_pass_is_not_tried_again(void **state) {
    (void)state;
    static const struct {
        http_turn turn;
        muga_status st;
        const char *says;
    } cases[] = {
        {{401, NULL, "{\"error\":{\"message\":\"bad key\"}}", 0, 0}, MUGA_E_ENV, "refuses the key (401): bad key"},
        {{404, NULL, "{\"error\":\"no model\"}", 0, 0}, MUGA_E_NOT_FOUND, "(404): no model"},
        {{400, NULL, "{\"detail\":\"nope\"}", 0, 0}, MUGA_E_INPUT, "(400): nope"},
        {{302, NULL, "", 0, 0}, MUGA_E_ENV, "redirects are not followed"},
        {{0, NULL, NULL, HTTP_TLS, 0}, MUGA_E_ENV, "127.0.0.1:8080"},
        {{200, NULL, "data: {]\n\n", 0, 0}, MUGA_E_INPUT, "the server's answer: line 1"},
        {{200, NULL, SSE("[1]"), 0, 0}, MUGA_E_INPUT, "it is no object"},
        {{200, NULL, SSE("{\"a\":1}"), 0, 0}, MUGA_E_INPUT, "no \"choices\""},
        {{200, NULL, SSE("{\"choices\":[1]}"), 0, 0}, MUGA_E_INPUT, "no object"},
        {{200, NULL, SSE("{\"choices\":[{\"delta\":{\"content\":5}}]}"), 0, 0}, MUGA_E_INPUT, "not a string"},
        {{200, NULL, SSE("{\"choices\":[{\"delta\":{\"tool_calls\":{}}}]}"), 0, 0}, MUGA_E_INPUT, "not an array"},
        {{200, NULL, SSE("{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":3}]}}]}"), 0, 0},
         MUGA_E_INPUT,
         "one after another"},
        {{200, NULL, SSE("{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":-1}]}}]}"), 0, 0},
         MUGA_E_INPUT,
         "one after another"},
        {{200, "text/html", "<html>hello</html>", 0, 0}, MUGA_E_INPUT, "the server's answer: line 1"},
        {{200, "application/json", "", 0, 0}, MUGA_E_INPUT, "the server's answer"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        run r;
        open_with(&r, &cases[i].turn, 1, (llm_remote_options){.retries = 3});
        assert_status(ask(&r, PLAIN), cases[i].st, &r.err, cases[i].says);
        assert_int_equal(r.s.slept_ms, 0);
        assert_int_equal(r.reply.text.len, 0);
        close_run(&r);
    }
}

static void a_body_has_a_limit(void **state) {
    (void)state;
    const http_turn turns[] = {{200, NULL, SSE_ANSWER("a long answer"), 0, 0}};
    run r;
    open_with(&r, turns, 1, (llm_remote_options){.max_answer_bytes = 100});
    r.s.piece = 10;
    assert_status(ask(&r, (llm_request){.stop = (const char *const[]){"x"}, .n_stop = 1}), MUGA_E_LIMIT, &r.err,
                  "longer");
    close_run(&r);
}

/* ---- what is asked for holds ---- */

static void a_value_that_breaks_its_schema_is_asked_for_again(void **state) {
    (void)state;
    json_t *schema = json_loads("{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\",\"minimum\":3}},"
                                "\"required\":[\"n\"],\"additionalProperties\":false}",
                                0, NULL);
    const http_turn turns[] = {{200, NULL, SSE_ANSWER("Sure! {\\\"n\\\":4}"), 0, 0},
                               {200, NULL, SSE_ANSWER("{\\\"n\\\":2}"), 0, 0},
                               {200, NULL, SSE_ANSWER("```json\\n{ \\\"n\\\" : 4 }\\n```"), 0, 0}};
    run r;
    OPEN(&r, turns);
    llm_request q = PLAIN;
    q.schema = schema;
    assert_ok(ask(&r, q), &r.err);
    assert_string_equal(str_get(&r.reply.text), "{\"n\":4}");
    assert_string_equal(str_get(&r.events), "({\"n\":4})");
    assert_int_equal(r.reply.n_attempts, 3);
    assert_int_equal(r.reply.n_generated, 9);
    assert_int_equal(llm_remote_get_usage(r.m).n_invalid, 2);
    assert_non_null(strstr(str_get(&r.s.bodies), "\"strict\":true"));
    close_run(&r);
    open_with(&r, turns, 2, (llm_remote_options){.attempts = 2});
    assert_status(ask(&r, q), MUGA_E_LIMIT, &r.err, "no valid answer in 2 attempts");
    assert_string_equal(str_get(&r.events), "");
    close_run(&r);
    json_decref(schema);
}

static void a_grounded_value_must_have_been_said(void **state) {
    (void)state;
    json_t *schema = json_loads("{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"boolean\"},\"id\":{\"type\":"
                                "\"string\",\"pattern\":\"^A[0-9]{5}$\",\"from\":\"conversation\"}},\"required\":"
                                "[\"b\",\"id\"],\"additionalProperties\":false}",
                                0, NULL);
    const span said = span_of_string("order A10293 is late");
    const constrain_source source = {"conversation", &said, 1};
    const http_turn turns[] = {{200, NULL, SSE_ANSWER("{\\\"id\\\":\\\"A99999\\\",\\\"b\\\":true}"), 0, 0},
                               {200, NULL, SSE_ANSWER("{\\\"id\\\":\\\"A10293\\\",\\\"b\\\":true}"), 0, 0}};
    run r;
    OPEN(&r, turns);
    llm_request q = PLAIN;
    q.schema = schema;
    q.sources = &source;
    q.n_sources = 1;
    assert_ok(ask(&r, q), &r.err);
    assert_string_equal(str_get(&r.reply.text), "{\"id\":\"A10293\",\"b\":true}");
    close_run(&r);
    json_decref(schema);
}

static json_t *make_tools(void) {
    return json_loads("[{\"name\":\"look_up\",\"parameters\":{\"type\":\"object\",\"properties\":{\"id\":{\"type\":"
                      "\"string\"}},\"required\":[\"id\"]}}]",
                      0, NULL);
}

static void calls_are_checked_and_told(void **state) {
    (void)state;
    json_t *tools = make_tools();
    const http_turn turns[] = {{200, NULL, SSE_CALL("look_down", "{}"), 0, 0},
                               {200, NULL, SSE_CALL("look_up", "{\\\"id\\\":5}"), 0, 0},
                               {200, NULL, SSE_CALL("look_up", "{\\\"id\\\": \\\"A1\\\"}"), 0, 0}};
    run r;
    OPEN(&r, turns);
    llm_request q = PLAIN;
    q.tools = tools;
    q.tool_choice = LLM_TOOLS_REQUIRED;
    assert_ok(ask(&r, q), &r.err);
    assert_int_equal(r.reply.n_calls, 1);
    assert_string_equal(r.reply.calls[0].id, "call-7");
    assert_string_equal(r.reply.calls[0].name, "look_up");
    assert_string_equal(r.reply.calls[0].arguments, "{\"id\":\"A1\"}");
    assert_int_equal(r.reply.finish, LLM_FINISH_TOOL_CALLS);
    assert_string_equal(str_get(&r.events), "begin()arguments({\"id\":\"A1\"})end()");
    assert_non_null(strstr(str_get(&r.s.bodies), "\"tool_choice\":\"required\""));
    close_run(&r);
    json_decref(tools);
}

static void no_call_where_one_must_and_a_call_where_none_may(void **state) {
    (void)state;
    json_t *tools = make_tools();
    static const llm_tool_choice choices[] = {LLM_TOOLS_REQUIRED, LLM_TOOLS_NONE, LLM_TOOLS_SHOWN};
    static const char *const says[] = {"it calls no tool, and must", "may not", "may not"};
    const http_turn turns[] = {{200, NULL, SSE_ANSWER("hello"), 0, 0},
                               {200, NULL, SSE_CALL("look_up", "{\\\"id\\\":\\\"A1\\\"}"), 0, 0},
                               {200, NULL, SSE_CALL("look_up", "{\\\"id\\\":\\\"A1\\\"}"), 0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
        run r;
        open_with(&r, &turns[i], 1, (llm_remote_options){.attempts = 1});
        llm_request q = PLAIN;
        q.tools = tools;
        q.tool_choice = choices[i];
        assert_status(ask(&r, q), MUGA_E_LIMIT, &r.err, says[i]);
        close_run(&r);
    }
    json_decref(tools);
}

static void reasoning_is_kept_apart(void **state) {
    (void)state;
    const http_turn turns[] = {
        {200, NULL, SSE("{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}") SSE_ANSWER("late"), 0, 0},
        {200, NULL, SSE("{\"choices\":[{\"delta\":{\"reasoning\":\"hm\"}}]}") SSE_ANSWER("late"), 0, 0}};
    run r;
    OPEN(&r, turns);
    assert_ok(ask(&r, (llm_request){.split = true}), &r.err);
    assert_string_equal(str_get(&r.events), "think(hm)text(late)");
    assert_string_equal(str_get(&r.reply.reasoning), "hm");
    assert_ok(ask(&r, PLAIN), &r.err);
    assert_string_equal(str_get(&r.events), "(late)");
    close_run(&r);
}

static void stop_strings_hold_whatever_the_server_does(void **state) {
    (void)state;
    const http_turn turns[] = {{200, NULL, SSE_ANSWER("one END two"), 0, 0}};
    run r;
    OPEN(&r, turns);
    assert_ok(ask(&r, (llm_request){.stop = (const char *const[]){"END"}, .n_stop = 1}), &r.err);
    assert_string_equal(str_get(&r.reply.text), "one ");
    assert_string_equal(str_get(&r.events), "(one )");
    close_run(&r);
}

static void what_it_can_not_do_is_refused_by_name(void **state) {
    (void)state;
    const http_turn turns[] = {{200, NULL, SSE_ANSWER("x"), 0, 0}};
    const llm_bias bias = {1, 2.0f};
    const llm_request cases[] = {{.regex = "a+"},
                                 {.gbnf = "root ::= \"a\""},
                                 {.prefix = "It"},
                                 {.reasoning_tokens = 5},
                                 {.logit_bias = &bias, .n_logit_bias = 1},
                                 {.want_ids = true},
                                 {.prompt_ids = (const int32_t[]){1}, .n_prompt_ids = 1}};
    static const char *const says[] = {
        "a regex or a grammar", "a regex or a grammar", "beginning", "reasoning", "biases", "its tokens", "raw prompt"};
    run r;
    OPEN(&r, turns);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_status(ask(&r, cases[i]), MUGA_E_USAGE, &r.err, says[i]);
    assert_int_equal(r.s.at, 0);
    llm_score_reply scores;
    const char *labels[] = {"a"};
    llm_score_request q = {.messages = messages, .labels = labels, .n_labels = 1};
    assert_status(llm_score(r.m, &q, &scores, &r.err), MUGA_E_USAGE, &r.err, "probabilities");
    uint32_t n = 0;
    assert_ok(llm_count(r.m, messages, NULL, &n, &r.err), &r.err);
    assert_in_range(n, 5, 50);
    close_run(&r);
}

/* ---- the key ---- */

static void a_key_is_sent_and_never_said(void **state) {
    (void)state;
    const http_turn turns[] = {{401, NULL, "{\"error\":{\"message\":\"wrong key " KEY " (sk-abcdefg...)\"}}", 0, 0},
                               {200, NULL, SSE_ANSWER("late"), 0, 0}};
    run r;
    open_with(&r, turns, 2, (llm_remote_options){.key = KEY});
    assert_status(ask(&r, PLAIN), MUGA_E_ENV, &r.err, "wrong key [key] ([key]...)");
    assert_string_equal(r.s.bearer, KEY);
    llm_request q = PLAIN;
    q.want_evidence = true;
    assert_ok(ask(&r, q), &r.err);
    char *evidence = json_dumps(r.reply.evidence, 0);
    assert_null(strstr(evidence, "sk-"));
    assert_null(strstr(str_get(&r.s.bodies), "sk-"));
    assert_status(llm_replay(r.m, r.reply.evidence, &r.err), MUGA_E_USAGE, &r.err, "recomputed");
    free(evidence);
    close_run(&r);
}

static void a_key_does_not_cross_the_network_in_the_open(void **state) {
    (void)state;
    muga_error err = {0};
    llm *m = NULL;
    llm_remote_options o = {.url = "http://example.com/v1", .model = "big", .key = KEY};
    assert_status(llm_remote_new(&o, &m, &err), MUGA_E_USAGE, &err, "in the open");
    assert_null(strstr(err.message, "sk-"));
    o.key = "two\r\nHeaders: x";
    o.url = "https://example.com/v1";
    assert_status(llm_remote_new(&o, &m, &err), MUGA_E_INPUT, &err, "blank");
    o.key = "";
    assert_status(llm_remote_new(&o, &m, &err), MUGA_E_INPUT, &err, "empty");
    o.key = NULL;
    o.model = "";
    assert_status(llm_remote_new(&o, &m, &err), MUGA_E_USAGE, &err, "which model");
}

static void the_address_is_completed(void **state) {
    (void)state;
    static const char *const given[] = {"http://127.0.0.1:1", "http://127.0.0.1:1/", "http://127.0.0.1:1/v1/",
                                        "http://127.0.0.1:1/api/v2", "http://127.0.0.1:1/v1/chat/completions"};
    static const char *const used[] = {
        "http://127.0.0.1:1/v1/chat/completions", "http://127.0.0.1:1/v1/chat/completions",
        "http://127.0.0.1:1/v1/chat/completions", "http://127.0.0.1:1/api/v2/chat/completions",
        "http://127.0.0.1:1/v1/chat/completions"};
    for (size_t i = 0; i < ARRAY_LEN(given); i++) {
        run r;
        json_t *id = NULL;
        open_with(&r, NULL, 0, (llm_remote_options){.url = given[i]});
        assert_ok(llm_identify(r.m, &id, &r.err), &r.err);
        assert_string_equal(json_get_string(id, "url"), used[i]);
        json_decref(id);
        close_run(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(text_streams_and_is_counted),
                                       cmocka_unit_test(a_server_that_does_not_stream_is_read_too),
                                       cmocka_unit_test(a_callback_stops_the_answer),
                                       cmocka_unit_test(a_wait_can_be_cancelled),
                                       cmocka_unit_test(failures_that_may_pass_are_tried_again),
                                       cmocka_unit_test(retries_end),
                                       cmocka_unit_test(what_was_shown_is_not_asked_for_again),
                                       cmocka_unit_test(the_server_says_when_to_come_back),
                                       cmocka_unit_test(no_retry_outlasts_the_time_there_is),
                                       cmocka_unit_test(what_will_not_pass_is_not_tried_again),
                                       cmocka_unit_test(a_body_has_a_limit),
                                       cmocka_unit_test(a_value_that_breaks_its_schema_is_asked_for_again),
                                       cmocka_unit_test(a_grounded_value_must_have_been_said),
                                       cmocka_unit_test(calls_are_checked_and_told),
                                       cmocka_unit_test(no_call_where_one_must_and_a_call_where_none_may),
                                       cmocka_unit_test(reasoning_is_kept_apart),
                                       cmocka_unit_test(stop_strings_hold_whatever_the_server_does),
                                       cmocka_unit_test(what_it_can_not_do_is_refused_by_name),
                                       cmocka_unit_test(a_key_is_sent_and_never_said),
                                       cmocka_unit_test(a_key_does_not_cross_the_network_in_the_open),
                                       cmocka_unit_test(the_address_is_completed)};
    return cmocka_run_group_tests(tests, make_messages, drop_messages);
}
