/* Versions of an agent's adapter: adding, promoting, refusing, rolling back. If this failed, an adapter could be used
 * that the gate didn't let through, that is for another model or damaged; or nobody could tell later which was used. */
#include "support/support.h"

#include "agent/internal.h"
#include "agent/versions.h"
#include "support/agent_fixture.h"
#include "support/small_adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BASE "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define OTHER "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

typedef struct world {
    agent_fixture f;
    versions v;
} world;

static void begin(world *w, const char *name) {
    fixture_open(&w->f, name, NULL);
    w->v = (versions){&w->f.env, w->f.store, w->f.dir, "shop"};
}

static void finish(world *w) {
    muga_error err;
    audit_report report;
    assert_ok(audit_verify(w->f.store, &report, &err), &err);
    fixture_close(&w->f);
}

static const char *write_adapter(const world *w, uint32_t seed, const char *base) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/adapter-%u.gguf", w->f.dir, seed);
    small_adapter_write(path, seed, base);
    return path;
}

static int64_t add(const world *w, uint32_t seed) {
    muga_error err;
    int64_t version;
    assert_ok(versions_add(&w->v, write_adapter(w, seed, BASE), BASE, NULL, &version, &err), &err);
    return version;
}

static int64_t in_use(const world *w) {
    muga_error err;
    adapter_version x;
    assert_ok(versions_find(&w->v, VERSIONS_IN_USE, &x, &err), &err);
    assert_ok(versions_check(&w->v, &x, BASE, &err), &err);
    int64_t version = x.version;
    adapter_version_release(&x);
    return version;
}

static muga_status decide(const world *w, int64_t version, int64_t from, bool yes, const char *held_out,
                          muga_error *err) {
    json_t *gate = json_pack("{s:b, s:s}", "ok", yes, "held_out", held_out);
    muga_status st = versions_decide(&w->v, version, from, gate, err);
    json_decref(gate);
    return st;
}

static void promote(const world *w, int64_t version) {
    muga_error err;
    assert_ok(decide(w, version, in_use(w), true, "h", &err), &err);
    assert_int_equal(in_use(w), version);
}

static const char *last_record(const world *w, const char *key) {
    static char text[100];
    muga_error err;
    json_t *log = NULL;
    const audit_filter all = {NULL, 1, 0};
    assert_ok(audit_log(w->f.store, &all, &log, &err), &err);
    const json_t *last = json_array_get(log, json_array_size(log) - 1);
    assert_string_equal(json_get_string(last, "kind"), "adapter");
    const char *value = json_get_string(json_object_get(last, "payload"), key);
    snprintf(text, sizeof text, "%s", value ? value : "?");
    json_decref(log);
    return text;
}

/* ---- adding ---- */

static void a_candidate_is_kept_and_not_used(void **state) {
    (void)state;
    world w;
    muga_error err;
    adapter_version x;
    begin(&w, "added");
    assert_int_equal(in_use(&w), 0);
    assert_int_equal(add(&w, 1), 1);
    assert_int_equal(add(&w, 2), 2);
    assert_int_equal(add(&w, 1), 1); /* the same file is the same version */
    assert_int_equal(in_use(&w), 0);
    assert_ok(versions_find(&w.v, VERSIONS_CANDIDATE, &x, &err), &err);
    assert_int_equal(x.version, 2);
    assert_string_equal(x.state, "candidate");
    assert_non_null(strstr(x.path, "/adapters/sha256-"));
    assert_non_null(strstr(x.path, x.sha256));
    assert_int_equal(remove(write_adapter(&w, 2, BASE)), 0); /* what it was made from is not needed */
    assert_ok(versions_check(&w.v, &x, BASE, &err), &err);
    assert_string_equal(last_record(&w, "sha256"), x.sha256);
    assert_string_equal(last_record(&w, "action"), "add");
    adapter_version_release(&x);
    versions other = w.v;
    other.agent = "clinic";
    assert_status(versions_find(&other, 1, &x, &err), MUGA_E_NOT_FOUND, &err, "clinic has no version 1");
    assert_status(versions_find(&other, VERSIONS_CANDIDATE, &x, &err), MUGA_E_NOT_FOUND, &err, "no candidate");
    finish(&w);
}

static void what_is_no_adapter_of_this_base_is_refused(void **state) {
    (void)state;
    world w;
    muga_error err;
    int64_t version;
    begin(&w, "foreign");
    assert_status(versions_add(&w.v, write_adapter(&w, 1, OTHER), BASE, NULL, &version, &err), MUGA_E_INPUT, &err,
                  "trained on the model with SHA-256 bbbbbbbbbbbbbbbb");
    assert_non_null(strstr(err.message, "this one has aaaaaaaaaaaaaaaa"));
    assert_status(versions_add(&w.v, source_path("tests/data/tiny.gguf"), BASE, NULL, &version, &err), MUGA_E_INPUT,
                  &err, "not an adapter");
    fixture_write(&w.f, "short.gguf", "GGUF");
    char path[1024];
    snprintf(path, sizeof path, "%s/short.gguf", w.f.dir);
    assert_status(versions_add(&w.v, path, BASE, NULL, &version, &err), MUGA_E_INPUT, &err, "short.gguf");
    assert_status(versions_add(&w.v, "/nowhere/x.gguf", BASE, NULL, &version, &err), MUGA_E_NOT_FOUND, &err, "x.gguf");
    assert_int_equal(fixture_count(w.f.store_path, "SELECT count(*) FROM adapter_versions"), 0);
    assert_ok(versions_add(&w.v, write_adapter(&w, 2, NULL), BASE, NULL, &version, &err), &err); /* names none */
    finish(&w);
}

/* ---- deciding ---- */

static void promoted_versions_are_used_and_refused_ones_are_not(void **state) {
    (void)state;
    world w;
    muga_error err;
    int64_t now;
    begin(&w, "decided");
    add(&w, 1);
    add(&w, 2);
    promote(&w, 1);
    assert_string_equal(last_record(&w, "action"), "promote");
    assert_ok(decide(&w, 2, 1, false, "h", &err), &err);
    assert_string_equal(last_record(&w, "action"), "refuse");
    assert_int_equal(in_use(&w), 1);
    assert_status(versions_rollback(&w.v, 2, &now, &err), MUGA_E_POLICY, &err, "is refused, not promoted");
    assert_status(decide(&w, 2, 0, true, "h", &err), MUGA_E_POLICY, &err, "compared with version 0, and version 1");
    assert_status(decide(&w, 7, 1, true, "h", &err), MUGA_E_NOT_FOUND, &err, "no version 7");
    assert_int_equal(in_use(&w), 1);
    promote(&w, 2); /* asked again, with other tasks */
    finish(&w);
}

static void rolling_back_goes_the_way_that_was_come(void **state) {
    (void)state;
    world w;
    muga_error err;
    int64_t now = -1;
    begin(&w, "back");
    assert_status(versions_rollback(&w.v, -1, &now, &err), MUGA_E_NOT_FOUND, &err, "nothing to roll back to");
    for (uint32_t i = 1; i <= 3; i++) {
        promote(&w, add(&w, i));
    }
    assert_ok(versions_rollback(&w.v, -1, &now, &err), &err);
    assert_int_equal(now, 2);
    assert_int_equal(in_use(&w), 2);
    assert_ok(versions_rollback(&w.v, -1, &now, &err), &err);
    assert_ok(versions_rollback(&w.v, -1, &now, &err), &err);
    assert_int_equal(in_use(&w), 0);
    assert_status(versions_rollback(&w.v, -1, &now, &err), MUGA_E_NOT_FOUND, &err, "nothing to roll back to");
    assert_ok(versions_rollback(&w.v, 3, &now, &err), &err); /* by its number, forward too */
    assert_status(versions_rollback(&w.v, 3, &now, &err), MUGA_E_NOT_FOUND, &err, "in use already");
    assert_status(versions_rollback(&w.v, 9, &now, &err), MUGA_E_NOT_FOUND, &err, "no version 9");
    assert_ok(decide(&w, 2, 3, false, "h", &err), &err); /* 2 counts no longer: past it */
    assert_ok(versions_rollback(&w.v, -1, &now, &err), &err);
    assert_int_equal(now, 1);
    assert_ok(versions_rollback(&w.v, 0, &now, &err), &err);
    assert_int_equal(in_use(&w), 0);
    finish(&w);
}

/* 1, then 2, then 1 again: 1 came after 2 and 2 after 1. */
static void a_way_back_that_comes_round_ends(void **state) {
    (void)state;
    world w;
    muga_error err;
    int64_t now;
    begin(&w, "round");
    add(&w, 1);
    add(&w, 2);
    promote(&w, 1);
    promote(&w, 2);
    promote(&w, 1);
    assert_ok(versions_rollback(&w.v, -1, &now, &err), &err);
    assert_int_equal(now, 2);
    assert_ok(decide(&w, 1, 2, false, "h", &err), &err);
    assert_status(versions_rollback(&w.v, -1, &now, &err), MUGA_E_NOT_FOUND, &err, "name one");
    assert_ok(versions_rollback(&w.v, 0, &now, &err), &err);
    finish(&w);
}

static void candidates_tried_on_the_same_tasks_are_counted(void **state) {
    (void)state;
    world w;
    muga_error err;
    adapter_version x;
    size_t n;
    begin(&w, "tried");
    for (uint32_t i = 1; i <= 3; i++) {
        add(&w, i);
        assert_ok(decide(&w, i, 0, false, "held 1", &err), &err);
    }
    assert_ok(decide(&w, 3, 0, false, "held 1", &err), &err); /* the same again */
    assert_ok(decide(&w, 3, 0, false, "held 2", &err), &err);
    assert_ok(versions_find(&w.v, 3, &x, &err), &err);
    assert_ok(versions_count_tried(&w.v, "held 1", x.sha256, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_ok(versions_count_tried(&w.v, "held 1", "another", &n, &err), &err);
    assert_int_equal(n, 3);
    assert_ok(versions_count_tried(&w.v, "held 2", "another", &n, &err), &err);
    assert_int_equal(n, 1);
    adapter_version_release(&x);
    finish(&w);
}

/* ---- damage ---- */

static void a_damaged_file_and_another_model_are_told(void **state) {
    (void)state;
    world w;
    muga_error err;
    adapter_version x;
    begin(&w, "damaged");
    promote(&w, add(&w, 1));
    assert_ok(versions_find(&w.v, VERSIONS_IN_USE, &x, &err), &err);
    assert_status(versions_check(&w.v, &x, OTHER, &err), MUGA_E_INPUT, &err,
                  "version 1 was trained on the model with SHA-256 aaaaaaaaaaaaaaaa, this one has bbbbbbbbbbbbbbbb");
    FILE *file = fopen(x.path, "r+");
    assert_int_equal(fseek(file, 40, SEEK_SET), 0);
    assert_int_equal(fputc('x', file), 'x');
    fclose(file);
    assert_status(versions_check(&w.v, &x, BASE, &err), MUGA_E_INPUT, &err, "version 1 of shop: its file is damaged");
    assert_int_equal(add(&w, 1), 1); /* given again, the file is mended */
    assert_ok(versions_check(&w.v, &x, BASE, &err), &err);
    assert_int_equal(remove(x.path), 0);
    assert_status(versions_check(&w.v, &x, BASE, &err), MUGA_E_NOT_FOUND, &err, "version 1 of shop");
    adapter_version_release(&x);
    finish(&w);
}

/* Who can write the file could put another adapter in use; the chain tells. */
static void changed_rows_are_found_by_verify(void **state) {
    (void)state;
    static const char *const changes[] = {"UPDATE adapter_current SET version = 2",
                                          "DELETE FROM adapter_current",
                                          "UPDATE adapter_versions SET state = 'promoted' WHERE version = 2",
                                          "UPDATE adapter_versions SET sha256 = replace(sha256, 'a', 'b')",
                                          "DELETE FROM adapter_versions",
                                          "INSERT INTO adapter_current VALUES ('other', 1)",
                                          "UPDATE adapter_versions SET origin = CAST(x'ff' AS TEXT) WHERE version = 1"};
    world w;
    muga_error err;
    begin(&w, "changed");
    promote(&w, add(&w, 1));
    add(&w, 2);
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        audit_report report;
        assert_ok(store_begin(w.f.store, &err), &err);
        assert_ok(store_exec(w.f.store, NULL, &err, changes[i], ""), &err);
        assert_status(versions_check_tables(w.f.store, &err), MUGA_E_NEGATIVE, &err, "learned adapters");
        muga_status st = MUGA_E_CANCELLED;
        store_end(w.f.store, &st, NULL);
        assert_ok(audit_verify(w.f.store, &report, &err), &err);
    }
    finish(&w);
}

static void the_list_has_all_of_them(void **state) {
    (void)state;
    world w;
    muga_error err;
    json_t *list = NULL;
    begin(&w, "list");
    promote(&w, add(&w, 1));
    add(&w, 2);
    assert_ok(versions_list(&w.v, &list, &err), &err);
    assert_int_equal(json_array_size(list), 3);
    assert_true(json_get_bool(json_array_get(list, 1), "in_use", false));
    assert_string_equal(json_get_string(json_array_get(list, 2), "state"), "candidate");
    assert_non_null(strstr(json_get_string(json_array_get(list, 2), "origin"), "adapter-2.gguf"));
    json_decref(list);
    finish(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_candidate_is_kept_and_not_used),
                                       cmocka_unit_test(what_is_no_adapter_of_this_base_is_refused),
                                       cmocka_unit_test(promoted_versions_are_used_and_refused_ones_are_not),
                                       cmocka_unit_test(rolling_back_goes_the_way_that_was_come),
                                       cmocka_unit_test(a_way_back_that_comes_round_ends),
                                       cmocka_unit_test(candidates_tried_on_the_same_tasks_are_counted),
                                       cmocka_unit_test(a_damaged_file_and_another_model_are_told),
                                       cmocka_unit_test(changed_rows_are_found_by_verify),
                                       cmocka_unit_test(the_list_has_all_of_them)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
