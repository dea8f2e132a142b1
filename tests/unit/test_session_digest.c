/* The digest of turns that a conversation has outgrown. If this failed, an agent would forget which orders were spoken
 * of, read something else after a restart, or be told nothing of what was left out. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <stdio.h>

static void add(json_t *history, json_t *entry) {
    assert_int_equal(json_array_append_new(history, entry), 0);
}

/* n turns: a long message, a call, an answer. */
static json_t *make_history(int n) {
    json_t *history = json_array();
    for (int i = 0; i < n; i++) {
        char id[16], words[400];
        snprintf(id, sizeof id, "A%05d", i);
        snprintf(words, sizeof words, "turn %d: %0200d \xE2\x82\xAC", i, 0);
        add(history, json_pack("{s:s, s:s}", "role", "user", "content", words));
        add(history, json_pack("{s:s, s:s, s:s, s:{s:s}, s:s, s:{s:[{s:s}]}}", "role", "tool", "call", "c-1", "tool",
                               "order_status", "arguments", "order_id", id, "outcome", "finished", "content", "rows",
                               "status", "shipped"));
        add(history, json_pack("{s:s, s:s}", "role", "assistant", "content", "It is shipped."));
    }
    return history;
}

static json_t *digest(const json_t *history, size_t until, size_t max_bytes) {
    muga_error err;
    json_t *out;
    str text = STR_INIT;
    assert_ok(session_digest(history, until, max_bytes, &out, &err), &err);
    json_write(out, &text);
    assert_true(text.len <= max_bytes);
    str_release(&text);
    return out;
}

static void ids_results_and_decisions_are_kept(void **state) {
    (void)state;
    json_t *history = make_history(3), *out = digest(history, 6, 4000);
    const json_t *turns = json_object_get(out, "earlier"), *turn = json_array_get(turns, 1);
    const json_t *made = json_array_get(json_object_get(turn, "calls"), 0);
    assert_int_equal(json_array_size(turns), 2); /* the third is not earlier */
    assert_int_equal(json_get_int(out, "left_out", -1), 0);
    assert_string_equal(json_get_string(json_object_get(made, "arguments"), "order_id"), "A00001");
    assert_int_equal(json_array_size(json_object_get(json_object_get(made, "result"), "rows")), 1);
    assert_string_equal(json_get_string(turn, "answer"), "It is shipped.");
    const char *person = json_get_string(turn, "person");
    assert_true(strlen(person) < 130 && strstr(person, "turn 1:") && strstr(person, " ..."));
    json_decref(out);
    json_decref(history);
}

static void the_oldest_go_first_and_are_counted(void **state) {
    (void)state;
    json_t *history = make_history(50);
    for (size_t max = 100; max <= 3000; max += 290) {
        json_t *out = digest(history, 150, max), *again = digest(history, 150, max);
        size_t n = json_array_size(json_object_get(out, "earlier"));
        assert_int_equal((size_t)json_get_int(out, "left_out", -1) + n, 50);
        assert_true(json_equal(out, again));
        if (n > 0) {
            const json_t *newest = json_array_get(json_object_get(out, "earlier"), n - 1);
            assert_non_null(strstr(json_get_string(newest, "person"), "turn 49:"));
        }
        json_decref(out);
        json_decref(again);
    }
    json_decref(history);
}

static void a_long_result_is_cut_and_says_so(void **state) {
    (void)state;
    json_t *history = json_array(), *rows = json_array(), *out;
    for (int i = 0; i < 100; i++) {
        json_array_append_new(rows, json_string("\xC3\xA4\xC3\xA4"));
    }
    add(history, json_pack("{s:s, s:s}", "role", "user", "content", "all of them"));
    add(history, json_pack("{s:s, s:s, s:s, s:{}, s:s, s:{s:o}}", "role", "tool", "call", "c-1", "tool", "t",
                           "arguments", "outcome", "finished", "content", "rows", rows));
    out = digest(history, 2, 1000);
    const json_t *made =
        json_array_get(json_object_get(json_array_get(json_object_get(out, "earlier"), 0), "calls"), 0);
    const char *result = json_get_string(made, "result");
    assert_true(result && strlen(result) < 210 && strstr(result, " ..."));
    json_decref(out);
    out = digest(history, 0, 100);
    assert_int_equal(json_array_size(json_object_get(out, "earlier")), 0);
    json_decref(out);
    json_decref(history);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_results_and_decisions_are_kept),
                                       cmocka_unit_test(the_oldest_go_first_and_are_counted),
                                       cmocka_unit_test(a_long_result_is_cut_and_says_so)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
