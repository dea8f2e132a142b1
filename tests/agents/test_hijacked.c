/* A model that is somebody else's: it proposes any tool with any arguments, and tries to go on with any call, while a
 * person says yes and no to some. If this failed, words could cause an effect that the manifest, the policy or a
 * person's leave does not cover. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <stdio.h>
#include <string.h>

#define N_PROPOSALS 700

/* ---- what it says ---- */

static const char *const tools[] = {"order_status", "note", "reset", "refund",  "reset",       "refund", "Reset",
                                    "reset ",       "",     "DROP",  "muga.db", "sqlite_exec", "answer"};
static const char *const keys[] = {"order_id", "text", "amount", "session_customer", "customer", "", "approval"};
static const char *const values[] = {"'A10001'",
                                     "'A10002'",
                                     "'A99999'",
                                     "' A10001'",
                                     "'a10001'",
                                     "'x'",
                                     "''",
                                     "'x\\u0000y'",
                                     "'1; DELETE FROM orders'",
                                     "'\\ud83d\\ude00'",
                                     "':session_customer'",
                                     "1",
                                     "0",
                                     "-5",
                                     "50",
                                     "51",
                                     "50.0",
                                     "50.5",
                                     "9007199254740993",
                                     "-9223372036854775808",
                                     "1e300",
                                     "true",
                                     "false",
                                     "null",
                                     "[]",
                                     "[51]",
                                     "{}",
                                     "{'amount': 51}",
                                     "'51'",
                                     "2"};

static json_t *any_arguments(rng *random) {
    json_t *object = json_object();
    switch (rng_below(random, 12)) {
    case 0: json_decref(object); return fixture_json(values[rng_below(random, ARRAY_LEN(values))]);
    case 1: { /* deeper than anything may be, or longer */
        json_decref(object);
        json_t *v = json_integer(1);
        for (uint32_t n = rng_below(random, 300); n > 0; n--) {
            v = json_pack("[o]", v);
        }
        return json_pack("{s:o}", "text", v);
    }
    case 2: {
        static char text[70000];
        memset(text, 'x', sizeof text - 1);
        json_object_set_new(object, "text", json_stringn(text, rng_below(random, sizeof text)));
        return object;
    }
    default: break;
    }
    for (uint32_t n = rng_below(random, 3); n > 0; n--) {
        json_object_set_new(object, keys[rng_below(random, ARRAY_LEN(keys))],
                            fixture_json(values[rng_below(random, ARRAY_LEN(values))]));
    }
    return object;
}

/* One that the tool takes, so that the rest of the way is tried, too. */
static json_t *good_arguments(rng *random, const char *tool) {
    char text[40];
    snprintf(text, sizeof text, "note %u", rng_below(random, 1000));
    return strcmp(tool, "order_status") == 0 ? fixture_json("{'order_id': 'A10001'}")
           : strcmp(tool, "note") == 0       ? json_pack("{s:s}", "text", text)
           : strcmp(tool, "refund") == 0     ? json_pack("{s:i}", "amount", (int)rng_below(random, 120))
                                             : json_object();
}

static void propose(agent_fixture *f, json_t *ids) {
    muga_error err;
    call_result r;
    rng *random = &f->world.random;
    const char *tool = tools[rng_below(random, ARRAY_LEN(tools))];
    json_t *arguments = rng_below(random, 2) ? good_arguments(random, tool) : any_arguments(random);
    assert_ok(executor_call(f->session, tool, arguments, &r, &err), &err);
    json_array_append_new(ids, json_string(r.call));
    call_result_release(&r);
    json_decref(arguments);
}

static void go_on_with_any(agent_fixture *f, const json_t *ids) {
    static const char *const made_up[] = {"c-000000000000", "", "c-1' OR '1'='1"};
    muga_error err;
    call_result r = {.result = NULL};
    rng *random = &f->world.random;
    size_t n = json_array_size(ids), i = rng_below(random, (uint32_t)(n + ARRAY_LEN(made_up)));
    const char *id = i < n ? json_string_value(json_array_get(ids, i)) : made_up[i - n];
    muga_status st = executor_resume(f->session, id, &r, &err);
    if (st != MUGA_OK && st != MUGA_E_NOT_FOUND) {
        fail_msg("%s: %s", id, err.message);
    }
    call_result_release(&r);
}

static void a_person_decides_something(agent_fixture *f) {
    muga_error err;
    json_t *waiting;
    rng *random = &f->world.random;
    assert_ok(approval_list(&f->env, f->store, &waiting, &err), &err);
    if (json_array_size(waiting) > 0) {
        const json_t *w = json_array_get(waiting, rng_below(random, (uint32_t)json_array_size(waiting)));
        assert_ok(approval_decide(&f->env, f->store, f->m, json_get_string(w, "approval"), rng_below(random, 2),
                                  "owner", &err),
                  &err);
    }
    json_decref(waiting);
}

/* ---- what must hold, whatever was said ---- */

static void none(const agent_fixture *f, const char *what, const char *sql) {
    int64_t n = fixture_count(f->store_path, sql);
    if (n != 0) {
        fail_msg("%s: %lld", what, (long long)n);
    }
}

static void check_effects(const agent_fixture *f) {
    static const char *const pairs[][2] = {{"note", "notes"}, {"reset", "resets"}, {"refund", "refunds"}};
    char sql[400];
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) { /* each row has its call, each finished call its row */
        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", pairs[i][1]);
        int64_t n = fixture_count(f->shop_path, sql);
        snprintf(sql, sizeof sql, "SELECT count(*) FROM calls WHERE tool = '%s' AND state = 'finished'", pairs[i][0]);
        assert_int_equal(n, fixture_count(f->store_path, sql));
        assert_true(n > 3); /* else nothing was tried */
        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE customer IS NOT 1", pairs[i][1]);
        assert_int_equal(fixture_count(f->shop_path, sql), 0);
    }
    assert_int_equal(fixture_count(f->shop_path, "SELECT coalesce(sum(amount), 0) FROM refunds"),
                     fixture_count(f->store_path, "SELECT coalesce(sum(arguments ->> 'amount'), 0) FROM calls WHERE"
                                                  " tool = 'refund' AND state = 'finished'"));
    assert_int_equal(fixture_count(f->shop_path, "SELECT count(*) FROM orders"), 2);
    assert_int_equal(fixture_count(f->shop_path, "SELECT count(*) FROM refunds WHERE typeof(amount) <> 'integer' OR"
                                                 " amount < 1"),
                     0);
    none(f, "resets without a used yes",
         "SELECT count(*) FROM calls c WHERE tool = 'reset' AND state = 'finished' AND NOT EXISTS (SELECT 1 FROM"
         " approvals a WHERE a.call = c.id AND a.state = 'used' AND a.approver = 'owner')");
    none(f, "large refunds without a used yes",
         "SELECT count(*) FROM calls c WHERE tool = 'refund' AND state = 'finished' AND arguments ->> 'amount' > 50 AND"
         " NOT EXISTS (SELECT 1 FROM approvals a WHERE a.call = c.id AND a.state = 'used')");
    none(f, "used yeses without a finished call",
         "SELECT count(*) FROM approvals a JOIN calls c ON c.id = a.call WHERE a.state = 'used' AND c.state <>"
         " 'finished'");
    none(f, "orders that nobody named",
         "SELECT count(*) FROM calls WHERE tool = 'order_status' AND state = 'finished' AND arguments ->> 'order_id'"
         " <> 'A10001'");
    none(f, "tools that there are not",
         "SELECT count(*) FROM calls WHERE tool NOT IN ('order_status', 'note', 'reset', 'refund') AND state <>"
         " 'invalid'");
}

static void no_words_cause_an_effect_that_is_not_covered(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    audit_report report;
    json_t *ids = json_array();
    fixture_open(&f, "hijacked", NULL);
    fixture_begin(&f, 1, "Where is my order A10001?");
    for (int i = 0; i < N_PROPOSALS; i++) {
        if (i % 40 == 0) { /* a new turn: limits.steps */
            assert_ok(session_add_user(f.session, "go on", 5, &err), &err);
        }
        propose(&f, ids);
        if (i % 5 == 0) {
            a_person_decides_something(&f);
        }
        if (i % 3 == 0) {
            go_on_with_any(&f, ids);
        }
        if (i % 100 == 99) {
            f.world.now_ms += 3600000;
        }
    }
    check_effects(&f);
    assert_ok(audit_verify(f.store, &report, &err), &err);
    json_decref(ids);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_words_cause_an_effect_that_is_not_covered)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
