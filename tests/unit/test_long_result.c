/* Long results: what is read of one, and how the rest is reached. If this failed, an agent would read a cut value as
 * a whole one, read something else after a restart, or could not reach what the journal keeps. */
#include "support/support.h"

#include "agent/internal.h"
#include "base/utf8.h"
#include "support/agent_fixture.h"

#include <stdio.h>

static const char long_manifest[] =
    "version: 1\nagent: test-shop\nkind: goal\nmodel: scripted\nsession: {customer: {type: integer}}\n"
    "goal: {statement: Help.}\nlimits: {steps: 50, repeats: 2}\ntools:\n"
    "  - name: numbers\n    description: d\n"
    "    parameters: {type: object, properties: {n: {type: integer}}, required: [n], additionalProperties: false}\n"
    "    sql: {database: shop.db, query: 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < :n)"
    " SELECT i, i * i AS square FROM c'}\n"
    "    effect: read\n    max_result_bytes: 600\n    long: summary\n"
    "  - name: short\n    description: d\n"
    "    parameters: {type: object, properties: {n: {type: integer}}, required: [n], additionalProperties: false}\n"
    "    sql: {database: shop.db, query: \"SELECT replace(hex(zeroblob(:n)), '00', 'ab') AS t\"}\n"
    "    effect: read\n    max_result_bytes: 600\n"
    "  - name: read_on\n    description: d\n"
    "    parameters: {type: object, properties: {call: {type: string, pattern: '^c-[0-9a-z]+$', from: tools},"
    " offset: {type: integer}}, required: [call, offset], additionalProperties: false}\n"
    "    results: {}\n    effect: read\n    max_result_bytes: 600\n";

static size_t written(const json_t *v) {
    str text = STR_INIT;
    json_write(v, &text);
    size_t n = text.len;
    str_release(&text);
    return n;
}

static json_t *extract(const json_t *v, size_t max_bytes) {
    muga_error err;
    json_t *out;
    assert_ok(long_result_extract(v, "c-1", max_bytes, &out, &err), &err);
    assert_true(written(out) <= max_bytes || !json_object_get(out, "long"));
    return out;
}

static json_t *piece(const json_t *v, int64_t offset, size_t max_bytes) {
    muga_error err;
    json_t *out;
    assert_ok(long_result_piece(v, "c-1", offset, max_bytes, &out, &err), &err);
    assert_true(written(out) <= max_bytes);
    return out;
}

static json_t *make_rows(int n) {
    json_t *rows = json_array();
    for (int i = 0; i < n; i++) {
        json_array_append_new(rows, json_pack("{s:i, s:s}", "i", i, "name", "some name"));
    }
    return json_pack("{s:o}", "rows", rows);
}

static json_t *make_text(size_t n) {
    str text = STR_INIT;
    for (size_t i = 0; text.len < n; i++) { /* characters of one to four bytes, and such as JSON escapes */
        static const char *const words[] = {"a", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\"", "\n", "word "};
        str_append_s(&text, words[i % ARRAY_LEN(words)]);
    }
    json_t *v = json_stringn(str_get(&text), text.len);
    str_release(&text);
    assert_non_null(v);
    return v;
}

static void what_fits_is_left_as_it_is(void **state) {
    (void)state;
    json_t *v = make_rows(5), *out = extract(v, written(v));
    assert_ptr_equal(out, v);
    json_decref(out);
    out = extract(v, written(v) + 1);
    assert_ptr_equal(out, v);
    json_decref(out);
    json_decref(v);
}

static void of_rows_the_first_and_the_last_are_read_and_how_many_there_are(void **state) {
    (void)state;
    json_t *v = make_rows(1000), *out = extract(v, 700);
    const json_t *about = json_object_get(out, "long"), *rows = json_object_get(out, "rows");
    assert_int_equal(json_get_int(about, "of", 0), 1000);
    assert_string_equal(json_get_string(about, "unit"), "rows");
    assert_string_equal(json_get_string(about, "call"), "c-1");
    assert_int_equal(json_get_int(about, "bytes", 0), written(v));
    assert_int_equal(json_get_int(about, "shown", 0), json_array_size(rows));
    assert_in_range(json_array_size(rows), 10, 40);
    assert_int_equal(json_get_int(json_array_get(rows, 3), "i", -1), 3);
    assert_int_equal(json_get_int(json_object_get(out, "last"), "i", -1), 999);
    json_t *again = extract(v, 700);
    assert_true(json_equal(out, again));
    json_decref(again);
    json_decref(out);
    json_decref(v);
}

static void of_text_both_ends_are_read_at_the_bounds_of_characters(void **state) {
    (void)state;
    for (size_t max = 512; max < 540; max++) {
        json_t *v = make_text(5000), *out = extract(v, max);
        const json_t *head = json_object_get(out, "head"), *tail = json_object_get(out, "tail");
        size_t n_head = json_string_length(head), n_tail = json_string_length(tail), n = json_string_length(v);
        assert_true(n_head > 100 && n_tail > 30);
        assert_true(utf8_valid(json_string_value(head), n_head) && utf8_valid(json_string_value(tail), n_tail));
        assert_memory_equal(json_string_value(head), json_string_value(v), n_head);
        assert_memory_equal(json_string_value(tail), json_string_value(v) + n - n_tail, n_tail);
        assert_int_equal(json_get_int(json_object_get(out, "long"), "of", 0), n);
        json_decref(out);
        json_decref(v);
    }
    json_t *v = json_pack("{s:o, s:i}", "text", make_text(9000), "n", 1), *out = extract(v, 600); /* any other value */
    assert_non_null(json_object_get(out, "head"));
    json_decref(out);
    json_decref(v);
    v = json_pack("[o, i]", make_text(9000), 1); /* a first item that does not fit */
    out = extract(v, 600);
    assert_string_equal(json_get_string(json_object_get(out, "long"), "unit"), "bytes");
    json_decref(out);
    json_decref(v);
}

static void pieces_give_the_whole(void **state) {
    (void)state;
    json_t *v = make_text(5000);
    str whole = STR_INIT;
    for (int64_t at = 0; at >= 0;) {
        json_t *p = piece(v, at, 300);
        const json_t *text = json_object_get(p, "text");
        str_append(&whole, json_string_value(text), json_string_length(text));
        int64_t next = json_get_int(p, "next", -1);
        assert_true(next < 0 || next > at);
        at = next;
        json_decref(p);
    }
    assert_int_equal(whole.len, json_string_length(v));
    assert_memory_equal(whole.data, json_string_value(v), whole.len);
    str_release(&whole);
    json_decref(v);
    v = make_rows(100);
    int64_t n = 0;
    for (int64_t at = 0; at >= 0;) {
        json_t *p = piece(v, at, 400);
        assert_int_equal(json_get_int(json_array_get(json_object_get(p, "rows"), 0), "i", -1), at);
        n += (int64_t)json_array_size(json_object_get(p, "rows"));
        at = json_get_int(p, "next", -1);
        json_decref(p);
    }
    assert_int_equal(n, 100);
    muga_error err;
    json_t *out;
    assert_status(long_result_piece(v, "c-1", 101, 400, &out, &err), MUGA_E_INPUT, &err, "offset 101 is past the end");
    assert_status(long_result_piece(v, "c-1", -1, 400, &out, &err), MUGA_E_INPUT, &err, "past the end");
    json_decref(v);
    v = json_pack("[o, i]", make_text(9000), 7); /* an item longer than a piece: its ends, and it goes on */
    json_t *p = piece(v, 0, 600);
    assert_int_equal(json_get_int(p, "next", -1), 1);
    assert_non_null(json_object_get(json_array_get(json_object_get(p, "items"), 0), "head"));
    json_decref(p);
    json_decref(v);
}

static call_result call(agent_fixture *f, const char *tool, json_t *arguments) {
    muga_error err;
    call_result r;
    assert_ok(executor_call(f->session, tool, arguments, &r, &err), &err);
    json_decref(arguments);
    return r;
}

static void the_agent_reads_the_extract_and_the_journal_keeps_the_whole(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "long", long_manifest);
    fixture_begin(&f, 1, "numbers, please");
    call_result r = call(&f, "numbers", json_pack("{s:i}", "n", 5000)), again;
    assert_int_equal(r.outcome, CALL_FINISHED);
    assert_int_equal(json_get_int(json_object_get(r.result, "long"), "of", 0), 5000);
    assert_true(written(r.result) <= 600);
    const json_t *seen = json_object_get(json_array_get(session_history(f.session), 1), "content");
    assert_true(json_equal(json_borrow(seen), r.result));
    assert_int_equal(fixture_count(f.store_path, "SELECT json_array_length(result, '$.rows') FROM calls"), 5000);
    fixture_reopen(&f);
    seen = json_object_get(json_array_get(session_history(f.session), 1), "content");
    assert_true(json_equal(json_borrow(seen), r.result));
    call_result p = call(&f, "read_on", json_pack("{s:s, s:i}", "call", r.call, "offset", 4000));
    assert_int_equal(p.outcome, CALL_FINISHED);
    assert_int_equal(json_get_int(json_array_get(json_object_get(p.result, "rows"), 0), "i", 0), 4001);
    call_result_release(&p);
    p = call(&f, "read_on", json_pack("{s:s, s:i}", "call", "c-made-up", "offset", 0));
    assert_int_equal(p.outcome, CALL_INVALID); /* no tool gave that id */
    call_result_release(&p);
    /* the same result is the same, whatever its call is called */
    again = call(&f, "numbers", json_pack("{s:i}", "n", 5000));
    assert_int_equal(again.outcome, CALL_FINISHED);
    call_result_release(&again);
    again = call(&f, "numbers", json_pack("{s:i}", "n", 5000));
    assert_int_equal(again.outcome, CALL_REFUSED);
    call_result_release(&again);
    again = call(&f, "short", json_pack("{s:i}", "n", 5000)); /* without long: summary */
    assert_int_equal(again.outcome, CALL_FAILED);
    call_result_release(&again);
    audit_report report;
    assert_ok(audit_verify(f.store, &report, &err), &err);
    session_close(f.session); /* another session has no business with it */
    fixture_begin(&f, 1, r.call);
    json_t *out;
    assert_status(executor_read_result(f.session, r.call, 0, 600, &out, &err), MUGA_E_NOT_FOUND, &err,
                  "another session");
    call_result_release(&r);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_left_as_it_is),
        cmocka_unit_test(of_rows_the_first_and_the_last_are_read_and_how_many_there_are),
        cmocka_unit_test(of_text_both_ends_are_read_at_the_bounds_of_characters),
        cmocka_unit_test(pieces_give_the_whole),
        cmocka_unit_test(the_agent_reads_the_extract_and_the_journal_keeps_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
