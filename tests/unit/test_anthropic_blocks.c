/* If this fails, Anthropic's clients misread an answer: blocks come in another order or number, a stream's pieces don't
 * make the message, or the reason of its end is another. */
#include "support/support.h"

#include "base/mem.h"
#include "serve/anthropic_blocks.h"

#include <string.h>

static json_t *sent; /* "name {json}" of each event */

static bool take(void *ctx, const char *name, json_t *json) {
    size_t *left = ctx;
    str s = STR_INIT;
    assert_non_null(json);
    assert_string_equal(json_get_string(json, "type"), name);
    json_object_del(json, "type");
    str_printf(&s, "%s ", name);
    json_write(json, &s);
    json_array_append_new(sent, json_string(str_get(&s)));
    str_release(&s);
    json_decref(json);
    return (*left)-- > 0;
}

static int begin(void **state) {
    (void)state;
    sent = json_array();
    return sent == NULL;
}

static int end(void **state) {
    (void)state;
    json_decref(sent);
    return 0;
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

static const llm_event events[] = {
    {.kind = LLM_EVENT_REASONING, .p = "hm", .n = 2},
    {.kind = LLM_EVENT_CONTENT, .p = "", .n = 0},
    {.kind = LLM_EVENT_CONTENT, .p = "I ", .n = 2},
    {.kind = LLM_EVENT_CONTENT, .p = "see", .n = 3},
    {.kind = LLM_EVENT_CALL_BEGIN, .id = "abc", .name = "order"},
    {.kind = LLM_EVENT_ARGUMENTS, .id = "abc", .name = "order", .p = "{\"a\":", .n = 5},
    {.kind = LLM_EVENT_ARGUMENTS, .id = "abc", .name = "order", .p = "1}", .n = 2},
    {.kind = LLM_EVENT_CALL_END, .id = "abc", .name = "order"},
};

static const char *const told[] = {
    "content_block_start {\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"},\"index\":0}",
    "content_block_delta {\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"},\"index\":0}",
    "content_block_delta {\"delta\":{\"type\":\"signature_delta\",\"signature\":\"\"},\"index\":0}",
    "content_block_stop {\"index\":0}",
    "content_block_start {\"content_block\":{\"type\":\"text\",\"text\":\"\"},\"index\":1}",
    "content_block_delta {\"delta\":{\"type\":\"text_delta\",\"text\":\"I \"},\"index\":1}",
    "content_block_delta {\"delta\":{\"type\":\"text_delta\",\"text\":\"see\"},\"index\":1}",
    "content_block_stop {\"index\":1}",
    "content_block_start {\"content_block\":{\"type\":\"tool_use\",\"id\":\"abc\",\"name\":\"order\",\"input\":{}},"
    "\"index\":2}",
    "content_block_delta {\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":\"},\"index\":2}",
    "content_block_delta {\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"1}\"},\"index\":2}",
    "content_block_stop {\"index\":2}",
};

static void blocks_are_told_in_order(void **state) {
    (void)state;
    size_t left = SIZE_MAX;
    anthropic_blocks t;
    assert_true(anthropic_blocks_init(&t, (openai_sink){take, &left}));
    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        assert_true(anthropic_blocks_event(&t, &events[i]));
    assert_true(anthropic_blocks_end(&t));
    assert_int_equal(json_array_size(sent), ARRAY_LEN(told));
    for (size_t i = 0; i < ARRAY_LEN(told); i++)
        assert_string_equal(json_string_value(json_array_get(sent, i)), told[i]);
    anthropic_blocks_release(&t);
}

static void the_message_is_what_was_told(void **state) {
    (void)state;
    anthropic_blocks t;
    assert_true(anthropic_blocks_init(&t, (openai_sink){NULL, NULL}));
    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        assert_true(anthropic_blocks_event(&t, &events[i]));
    assert_true(anthropic_blocks_end(&t));
    llm_reply r = {.finish = LLM_FINISH_TOOL_CALLS};
    json_t *v = anthropic_message_json(&t, "msg_1", "tiny", &r, anthropic_usage_json(10, 4, 7));
    assert_true(looks_like(
        v, "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"tiny\",\"content\":[{\"type\":"
           "\"thinking\",\"thinking\":\"hm\",\"signature\":\"\"},{\"type\":\"text\",\"text\":\"I see\"},{\"type\":"
           "\"tool_use\",\"id\":\"abc\",\"name\":\"order\",\"input\":{\"a\":1}}],\"stop_reason\":\"tool_use\","
           "\"stop_sequence\":null,\"usage\":{\"input_tokens\":6,\"cache_creation_input_tokens\":0,"
           "\"cache_read_input_tokens\":4,\"output_tokens\":7}}"));
    json_decref(v);
    anthropic_blocks_release(&t);
}

static void the_end_has_its_reason(void **state) {
    (void)state;
    size_t left = SIZE_MAX;
    openai_sink sink = {take, &left};
    const llm_reply replies[] = {{.finish = LLM_FINISH_STOP},
                                 {.finish = LLM_FINISH_STOP, .stopped_by = "END"},
                                 {.finish = LLM_FINISH_LENGTH},
                                 {.finish = LLM_FINISH_TOOL_CALLS}};
    static const char *const reasons[] = {"\"end_turn\",\"stop_sequence\":null",
                                          "\"stop_sequence\",\"stop_sequence\":"
                                          "\"END\"",
                                          "\"max_tokens\",\"stop_sequence\":null",
                                          "\"tool_use\",\"stop_sequence\":null"};
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        assert_true(anthropic_tell_end(&sink, &replies[i], json_object()));
        assert_non_null(strstr(json_string_value(json_array_get(sent, 2 * i)), reasons[i]));
        assert_string_equal(json_string_value(json_array_get(sent, 2 * i + 1)), "message_stop {}");
    }
}

static void who_has_gone_gets_no_more(void **state) {
    (void)state;
    for (size_t n = 0; n < ARRAY_LEN(told); n++) {
        size_t left = n;
        anthropic_blocks t;
        json_array_clear(sent);
        assert_true(anthropic_blocks_init(&t, (openai_sink){take, &left}));
        bool ok = true;
        for (size_t i = 0; ok && i < ARRAY_LEN(events); i++)
            ok = anthropic_blocks_event(&t, &events[i]);
        assert_false(ok);
        assert_int_equal(json_array_size(sent), n + 1);
        anthropic_blocks_release(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_are_told_in_order, begin, end),
        cmocka_unit_test(the_message_is_what_was_told),
        cmocka_unit_test_setup_teardown(the_end_has_its_reason, begin, end),
        cmocka_unit_test_setup_teardown(who_has_gone_gets_no_more, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
