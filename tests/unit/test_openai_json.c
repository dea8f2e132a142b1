/* If this fails, OpenAI's clients misread an answer: a field is missing or of another type, a stream's pieces don't
 * make the whole, the events of a response come in another order or number, or text that is no UTF-8 breaks JSON. */
#include "support/support.h"

#include "base/mem.h"
#include "serve/openai_items.h"

#include <math.h>
#include <string.h>

/* ---- what was sent ---- */

static json_t *sent; /* [[name, json]] */
static size_t n_left;

static bool take(void *ctx, const char *name, json_t *json) {
    (void)ctx;
    assert_non_null(json);
    json_t *pair = json_pack("[s?, o]", name, json);
    assert_int_equal(json_array_append_new(sent, pair), 0);
    return n_left-- > 0;
}

static int begin(void **state) {
    (void)state;
    sent = json_array();
    n_left = SIZE_MAX;
    return sent == NULL;
}

static int end(void **state) {
    (void)state;
    json_decref(sent);
    return 0;
}

static const json_t *event_at(size_t i) {
    return json_array_get(json_array_get(sent, i), 1);
}

static bool looks_like(const json_t *v, const char *text) {
    str s = STR_INIT;
    json_write(v, &s);
    bool same = strcmp(str_get(&s), text) == 0;
    if (!same)
        print_message("%s\nis not\n%s\n", str_get(&s), text);
    str_release(&s);
    return same;
}

static const openai_head head = {"chatcmpl-1", "tiny", "muga-0.1", 1700000000};

static llm_event text_event(llm_event_kind kind, const char *p) {
    return (llm_event){.kind = kind, .p = p, .n = strlen(p)};
}

static llm_event call_event_of(llm_event_kind kind, uint32_t i, const char *p) {
    return (llm_event){.kind = kind, .call = i, .id = "abc", .name = "order", .p = p, .n = p ? strlen(p) : 0};
}

/* ---- whole answers ---- */

static void a_whole_answer_has_what_the_specification_demands(void **state) {
    (void)state;
    llm_reply r = {.finish = LLM_FINISH_LENGTH};
    openai_usage u = {10, 4, 7, 2};
    str_append_s(&r.text, "Hi");
    json_t *v = openai_chat_json(&head, json_pack("[o]", openai_chat_choice(0, &r, NULL)), &u);
    assert_true(looks_like(
        v,
        "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"tiny\",\"choices\":"
        "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi\",\"refusal\":null},\"logprobs\":null,"
        "\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":7,\"total_tokens\":17,"
        "\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":2}},"
        "\"system_fingerprint\":\"muga-0.1\"}"));
    json_decref(v);
    str_release(&r.text);
}

static void calls_have_no_content_beside_them_unless_there_is_some(void **state) {
    (void)state;
    char id[] = "abc", name[] = "order", arguments[] = "{\"id\":1}";
    llm_call one = {id, name, arguments, NULL};
    llm_reply r = {.finish = LLM_FINISH_TOOL_CALLS, .calls = &one, .n_calls = 1};
    str_append_s(&r.reasoning, "hm");
    json_t *v = openai_chat_choice(3, &r, NULL);
    assert_true(looks_like(v, "{\"index\":3,\"message\":{\"role\":\"assistant\",\"content\":null,\"refusal\":null,"
                              "\"reasoning_content\":\"hm\",\"tool_calls\":[{\"id\":\"abc\",\"type\":\"function\","
                              "\"function\":{\"name\":\"order\",\"arguments\":\"{\\\"id\\\":1}\"}}]},\"logprobs\":null,"
                              "\"finish_reason\":\"tool_calls\"}"));
    json_decref(v);
    str_append_s(&r.text, "I look.");
    v = openai_chat_choice(0, &r, NULL);
    assert_string_equal(json_get_string(json_object_get(v, "message"), "content"), "I look.");
    json_decref(v);
    str_release(&r.text);
    str_release(&r.reasoning);
}

static void text_that_is_no_text_is_still_json(void **state) {
    (void)state;
    json_t *v = openai_text("a\xff\xe0\xae", 4);
    assert_string_equal(json_string_value(v), "a\xef\xbf\xbd\xef\xbf\xbd");
    json_decref(v);
    v = openai_text(NULL, 0);
    assert_string_equal(json_string_value(v), "");
    json_decref(v);
    v = openai_text("a\0b", 3);
    assert_int_equal(json_string_length(v), 3);
    json_decref(v);
}

/* ---- log-probabilities ---- */

static const llm_top top[] = {{1, -0.5, "a", 1}, {2, -INFINITY, "\xe0\xae", 2}};
static const llm_token token = {.id = 1, .logprob = -0.5, .p = "a", .n = 1, .top = top, .n_top = 2};

static void log_probabilities_are_numbers_and_bytes(void **state) {
    (void)state;
    json_t *v = openai_logprobs_json(json_pack("[o]", openai_token_json(&token)));
    assert_true(looks_like(v,
                           "{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],\"top_logprobs\":["
                           "{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97]},{\"token\":\"\xef\xbf\xbd\",\"logprob\":"
                           "-9999,\"bytes\":[224,174]}]}],\"refusal\":null}"));
    json_decref(v);
    assert_null(openai_logprobs_json(NULL));
}

static void the_older_form_counts_characters(void **state) {
    (void)state;
    size_t offset = 0;
    llm_token half = {.p = "\xe0\xae", .n = 2}, rest = {.p = "\x83z", .n = 2};
    json_t *v = openai_legacy_new();
    assert_true(openai_legacy_add(v, &token, &offset) && openai_legacy_add(v, &half, &offset) &&
                openai_legacy_add(v, &rest, &offset) && openai_legacy_add(v, &token, &offset));
    assert_true(looks_like(json_object_get(v, "text_offset"), "[0,1,2,3]"));
    assert_true(looks_like(json_object_get(v, "token_logprobs"), "[-0.5,0,0,-0.5]"));
    assert_true(
        looks_like(json_array_get(json_object_get(v, "top_logprobs"), 0), "{\"a\":-0.5,\"\xef\xbf\xbd\":-9999}"));
    json_decref(v);
}

/* ---- chunks ---- */

static void chunks_make_the_whole(void **state) {
    (void)state;
    openai_chunks s = {head, {take, NULL}, true};
    llm_event e = text_event(LLM_EVENT_CONTENT, "Hi");
    assert_true(openai_chunk_role(&s, 1));
    assert_true(openai_chunk_event(&s, 1, &e, openai_logprobs_json(json_array())));
    e = text_event(LLM_EVENT_REASONING, "hm");
    assert_true(openai_chunk_event(&s, 1, &e, NULL));
    e = call_event_of(LLM_EVENT_CALL_BEGIN, 0, NULL);
    assert_true(openai_chunk_event(&s, 1, &e, NULL));
    e = call_event_of(LLM_EVENT_ARGUMENTS, 0, "{}");
    assert_true(openai_chunk_event(&s, 1, &e, NULL));
    e = call_event_of(LLM_EVENT_CALL_END, 0, NULL);
    assert_true(openai_chunk_event(&s, 1, &e, NULL));
    assert_true(openai_chunk_finish(&s, 1, LLM_FINISH_TOOL_CALLS, NULL));
    openai_usage u = {1, 0, 2, 0};
    assert_true(openai_chunk_usage(&s, &u));
    static const char *const deltas[] = {
        "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}",
        "{\"content\":\"Hi\"}",
        "{\"reasoning_content\":\"hm\"}",
        "{\"tool_calls\":[{\"index\":0,\"id\":\"abc\",\"type\":\"function\",\"function\":{\"name\":\"order\","
        "\"arguments\":\"\"}}]}",
        "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]}",
        "{}",
    };
    assert_int_equal(json_array_size(sent), ARRAY_LEN(deltas) + 1);
    for (size_t i = 0; i < ARRAY_LEN(deltas); i++) {
        const json_t *choice = json_array_get(json_object_get(event_at(i), "choices"), 0);
        assert_true(looks_like(json_object_get(choice, "delta"), deltas[i]));
        assert_int_equal(json_get_int(choice, "index", -1), 1);
        assert_true(json_is_null(json_object_get(event_at(i), "usage")));
        assert_string_equal(json_get_string(event_at(i), "object"), "chat.completion.chunk");
        assert_true(i + 1 == ARRAY_LEN(deltas) || json_is_null(json_object_get(choice, "finish_reason")));
    }
    assert_int_equal(json_array_size(json_object_get(event_at(ARRAY_LEN(deltas)), "choices")), 0);
    assert_int_equal(json_get_int(json_object_get(event_at(ARRAY_LEN(deltas)), "usage"), "total_tokens", 0), 3);
}

static void usage_is_told_only_to_who_asks(void **state) {
    (void)state;
    openai_chunks s = {head, {take, NULL}, false};
    assert_true(openai_chunk_role(&s, 0));
    assert_null(json_object_get(event_at(0), "usage"));
}

/* ---- items of a response ---- */

static void feed(openai_items *t) {
    const llm_event events[] = {text_event(LLM_EVENT_REASONING, "h"),
                                text_event(LLM_EVENT_REASONING, "m"),
                                text_event(LLM_EVENT_CONTENT, ""),
                                text_event(LLM_EVENT_CONTENT, "I "),
                                text_event(LLM_EVENT_CONTENT, "see"),
                                call_event_of(LLM_EVENT_CALL_BEGIN, 0, NULL),
                                call_event_of(LLM_EVENT_ARGUMENTS, 0, "{\"a\":"),
                                call_event_of(LLM_EVENT_ARGUMENTS, 0, "1}"),
                                call_event_of(LLM_EVENT_CALL_END, 0, NULL)};
    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        assert_true(openai_items_event(t, &events[i]));
}

static void items_are_told_in_order(void **state) {
    (void)state;
    static const char *const order[] = {"response.created",
                                        "response.output_item.added",
                                        "response.content_part.added",
                                        "response.reasoning_text.delta",
                                        "response.reasoning_text.delta",
                                        "response.reasoning_text.done",
                                        "response.content_part.done",
                                        "response.output_item.done",
                                        "response.output_item.added",
                                        "response.content_part.added",
                                        "response.output_text.delta",
                                        "response.output_text.delta",
                                        "response.output_text.done",
                                        "response.content_part.done",
                                        "response.output_item.done",
                                        "response.output_item.added",
                                        "response.function_call_arguments.delta",
                                        "response.function_call_arguments.delta",
                                        "response.function_call_arguments.done",
                                        "response.output_item.done",
                                        "response.completed"};
    openai_items t;
    assert_true(openai_items_init(&t, "77", (openai_sink){take, NULL}, false));
    assert_true(openai_items_tell(&t, "response.created", json_object()));
    feed(&t);
    assert_true(openai_items_end(&t, true));
    assert_true(openai_items_tell(&t, "response.completed", json_object()));
    assert_int_equal(json_array_size(sent), ARRAY_LEN(order));
    size_t n_done = 0;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        const json_t *e = event_at(i);
        assert_string_equal(json_get_string(e, "type"), order[i]);
        assert_string_equal(json_string_value(json_array_get(json_array_get(sent, i), 0)), order[i]);
        assert_int_equal(json_get_int(e, "sequence_number", -1), (int64_t)i);
        if (json_object_get(e, "output_index"))
            assert_int_equal(json_get_int(e, "output_index", -1), (int64_t)n_done);
        if (strcmp(order[i], "response.output_item.done") == 0)
            assert_true(json_equal(json_object_get(e, "item"), json_array_get(t.output, n_done++)));
    }
    openai_items_release(&t);
}

static const char *const output =
    "[{\"id\":\"rs_770\",\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":"
    "\"hm\"}],\"status\":\"completed\"},{\"id\":\"msg_771\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[{"
    "\"type\":\"output_text\",\"text\":\"I see\",\"annotations\":[],\"logprobs\":[]}],\"status\":\"completed\"},{\"id\""
    ":"
    "\"fc_772\",\"type\":\"function_call\",\"call_id\":\"abc\",\"name\":\"order\",\"arguments\":\"{\\\"a\\\":1}\","
    "\"status\":\"completed\"}]";

static void items_are_the_same_where_nobody_listens(void **state) {
    (void)state;
    openai_items t;
    assert_true(openai_items_init(&t, "77", (openai_sink){NULL, NULL}, false));
    feed(&t);
    assert_true(openai_items_end(&t, true));
    assert_true(looks_like(t.output, output));
    openai_items_release(&t);
}

static void what_was_cut_is_incomplete_and_nothing_is_an_empty_message(void **state) {
    (void)state;
    openai_items t;
    llm_event e = text_event(LLM_EVENT_CONTENT, "On");
    assert_true(openai_items_init(&t, "77", (openai_sink){take, NULL}, true));
    openai_items_token(&t, &token);
    assert_true(openai_items_event(&t, &e));
    assert_true(openai_items_end(&t, false));
    assert_string_equal(json_get_string(json_array_get(t.output, 0), "status"), "incomplete");
    const json_t *part = json_array_get(json_object_get(json_array_get(t.output, 0), "content"), 0);
    assert_int_equal(json_array_size(json_object_get(part, "logprobs")), 1);
    assert_int_equal(json_array_size(json_object_get(event_at(2), "logprobs")), 1);
    openai_items_release(&t);
    assert_true(openai_items_init(&t, "77", (openai_sink){take, NULL}, false));
    assert_true(openai_items_end(&t, true));
    assert_int_equal(json_array_size(t.output), 1);
    openai_items_release(&t);
}

static void an_error_is_the_last_event_of_a_response(void **state) {
    (void)state;
    openai_items t;
    assert_true(openai_items_init(&t, "77", (openai_sink){take, NULL}, false));
    assert_true(openai_items_tell(&t, "response.created", json_object()));
    json_t *v = openai_items_error(&t, json_pack("{s:{s:s, s:s, s:n, s:s}}", "error", "message", "no", "type",
                                                 "server_error", "param", "code", "c"));
    assert_true(looks_like(v, "{\"error\":{\"message\":\"no\",\"type\":\"server_error\",\"param\":null,\"code\":\"c\"},"
                              "\"type\":\"error\",\"sequence_number\":1,\"code\":\"c\",\"message\":\"no\",\"param\":"
                              "null}"));
    json_decref(v);
    openai_items_release(&t);
}

static void who_has_gone_gets_no_more(void **state) {
    (void)state;
    for (size_t n = 0; n < 12; n++) {
        openai_items t;
        llm_event e = text_event(LLM_EVENT_CONTENT, "On");
        json_array_clear(sent);
        n_left = n;
        assert_true(openai_items_init(&t, "77", (openai_sink){take, NULL}, false));
        bool ok = true;
        for (size_t i = 0; ok && i < 3; i++)
            ok = openai_items_event(&t, &e);
        ok = ok && openai_items_end(&t, true);
        assert_int_equal(ok, n >= 8);
        assert_int_equal(json_array_size(sent), MIN(n + 1, (size_t)8));
        openai_items_release(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_answer_has_what_the_specification_demands),
        cmocka_unit_test(calls_have_no_content_beside_them_unless_there_is_some),
        cmocka_unit_test(text_that_is_no_text_is_still_json),
        cmocka_unit_test(log_probabilities_are_numbers_and_bytes),
        cmocka_unit_test(the_older_form_counts_characters),
        cmocka_unit_test_setup_teardown(chunks_make_the_whole, begin, end),
        cmocka_unit_test_setup_teardown(usage_is_told_only_to_who_asks, begin, end),
        cmocka_unit_test_setup_teardown(items_are_told_in_order, begin, end),
        cmocka_unit_test_setup_teardown(items_are_the_same_where_nobody_listens, begin, end),
        cmocka_unit_test_setup_teardown(what_was_cut_is_incomplete_and_nothing_is_an_empty_message, begin, end),
        cmocka_unit_test_setup_teardown(an_error_is_the_last_event_of_a_response, begin, end),
        cmocka_unit_test_setup_teardown(who_has_gone_gets_no_more, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
