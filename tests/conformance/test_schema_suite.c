/* JSON-Schema-Test-Suite, drafts 7 and 2020-12, through the validator and the constraint. If this failed, a tool could
 * be handed arguments that its schema forbids, or be denied ones that it allows. */
#include "support/support.h"

#include "base/mem.h"
#include "constrain/constrain.h"

#include <stdio.h>

typedef struct tally {
    int right, wrong, unusable;
} tally;

static json_t *remotes; /* address -> schema */

static char *read_all(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    str s = STR_INIT;
    char block[65536];
    for (size_t k; (k = fread(block, 1, sizeof block, f)) > 0;)
        str_append(&s, block, k);
    fclose(f);
    *n = s.len;
    return str_take(&s);
}

/* Documents that schemas refer to; read once, and not before a test that may be skipped. */
static void need_remotes(void) {
    muga_error err = {0};
    size_t n;
    if (remotes)
        return;
    char *text = read_all(shared_path("conformance/json_schema/remotes.json"), &n);
    assert_ok(json_parse(text, n, "remotes.json", &remotes, &err), &err);
    free(text);
}

typedef void (*group_fn)(const json_t *group, constrain_draft draft, tally *t);

static tally each_group(const char *file, constrain_draft draft, group_fn fn) {
    size_t n;
    need_remotes();
    char *text = read_all(shared_path(file), &n);
    tally t = {0};
    for (char *line = text, *end; line < text + n; line = end + 1) {
        end = strchr(line, '\n');
        if (!end)
            end = text + n;
        muga_error err = {0};
        json_t *group = NULL;
        assert_ok(json_parse(line, (size_t)(end - line), "suite", &group, &err), &err);
        fn(group, draft, &t);
        json_decref(group);
    }
    free(text);
    return t;
}

static void validate_group(const json_t *group, constrain_draft draft, bool formats, tally *t) {
    const json_t *tests = json_object_get(group, "tests");
    for (size_t i = 0; i < json_array_size(tests); i++) {
        const json_t *test = json_array_get(tests, i);
        constrain_validate_options o = {.draft = draft, .formats = formats, .documents = remotes};
        muga_error err = {0};
        muga_status st = constrain_validate(json_object_get(group, "schema"), json_object_get(test, "data"), &o, &err);
        if (st != MUGA_OK && st != MUGA_E_NEGATIVE)
            t->unusable++;
        else if ((st == MUGA_OK) == json_get_bool(test, "valid", false))
            t->right++;
        else
            t->wrong++;
        if ((st != MUGA_OK && st != MUGA_E_NEGATIVE) || (st == MUGA_OK) != json_get_bool(test, "valid", false))
            print_message("  %s / %s / %s: %s\n", json_get_string(group, "file"), json_get_string(group, "description"),
                          json_get_string(test, "description"), st ? err.message : "accepted");
    }
}

static void validate_required(const json_t *group, constrain_draft draft, tally *t) {
    validate_group(group, draft, false, t);
}
static void validate_formats(const json_t *group, constrain_draft draft, tally *t) {
    validate_group(group, draft, true, t);
}

static void the_validator_agrees_with_draft_7(void **state) {
    (void)state;
    tally t = each_group("conformance/json_schema/suite_draft7_required.jsonl", CONSTRAIN_DRAFT_7, validate_required);
    print_message("draft 7: %d right, %d wrong, %d unusable\n", t.right, t.wrong, t.unusable);
    assert_int_equal(t.wrong + t.unusable, 0);
    assert_true(t.right > 500);
}

static void the_validator_agrees_with_draft_2020_12(void **state) {
    (void)state;
    tally t = each_group("conformance/json_schema/suite_draft2020-12_required.jsonl", CONSTRAIN_DRAFT_2020_12,
                         validate_required);
    print_message("2020-12: %d right, %d wrong, %d unusable\n", t.right, t.wrong, t.unusable);
    assert_int_equal(t.wrong + t.unusable, 0);
    assert_true(t.right > 800);
}

static void formats_are_asserted_where_asked(void **state) {
    (void)state;
    tally a =
        each_group("conformance/json_schema/suite_draft7_optional_format.jsonl", CONSTRAIN_DRAFT_7, validate_formats);
    tally b = each_group("conformance/json_schema/suite_draft2020-12_optional_format.jsonl", CONSTRAIN_DRAFT_2020_12,
                         validate_formats);
    print_message("formats: %d right, %d wrong, %d unusable\n", a.right + b.right, a.wrong + b.wrong,
                  a.unusable + b.unusable);
    assert_int_equal(a.wrong + b.wrong + a.unusable + b.unusable, 0);
    assert_true(a.right + b.right > 700);
}

/* Every invalid instance must be impossible: not writable, or found by re-validation. Every valid one must be possible,
 * and the only schemas that may be refused are those which no value satisfies. What is left over is counted: keys in
 * another order than the schema's. */
static void constrain_group_with(const json_t *group, constrain_draft draft, bool formats, tally *t) {
    const json_t *tests = json_object_get(group, "tests");
    constrain_options o = {.draft = draft, .documents = remotes, .note_formats = !formats};
    constrain_grammar *g = NULL;
    muga_error err = {0};
    muga_status st = constrain_compile_schema(json_object_get(group, "schema"), &o, &g, &err);
    if (st != MUGA_OK) {
        assert_status(st, MUGA_E_INPUT, &err, "no finite text satisfies it");
        t->unusable += (int)json_array_size(tests);
        for (size_t i = 0; i < json_array_size(tests); i++)
            assert_false(json_get_bool(json_array_get(tests, i), "valid", true));
        return;
    }
    for (size_t i = 0; i < json_array_size(tests); i++) {
        const json_t *test = json_array_get(tests, i);
        constrain_state *s;
        str text = STR_INIT;
        bool yes = false, valid = json_get_bool(test, "valid", false);
        json_write(json_object_get(test, "data"), &text);
        assert_ok(constrain_state_new(g, &s, &err), &err);
        assert_ok(constrain_advance(s, str_get(&text), text.len, &yes, &err), &err);
        yes = yes && constrain_is_complete(s);
        st = yes ? constrain_recheck(g, str_get(&text), text.len, &err) : MUGA_OK;
        if (st != MUGA_E_NEGATIVE)
            assert_ok(st, &err);
        yes = yes && st == MUGA_OK;
        if (yes && !valid)
            fail_msg("%s / %s: %s is invalid and could be written", json_get_string(group, "file"),
                     json_get_string(group, "description"), str_get(&text));
        if (!yes && valid) {
            t->wrong++;
            print_message("  %s / %s: %s can't be written\n", json_get_string(group, "file"),
                          json_get_string(group, "description"), str_get(&text));
        } else {
            t->right++;
        }
        str_release(&text);
        constrain_state_free(s);
    }
    constrain_grammar_free(g);
}

/* draft 7 has no say on formats in its required part */
static void constrain_group(const json_t *group, constrain_draft draft, tally *t) {
    constrain_group_with(group, draft, draft == CONSTRAIN_DRAFT_7, t);
}
static void constrain_formats(const json_t *group, constrain_draft draft, tally *t) {
    constrain_group_with(group, draft, true, t);
}

static void nothing_invalid_can_be_written(void **state) {
    (void)state;
    static const char *const files[] = {"conformance/json_schema/suite_draft7_required.jsonl",
                                        "conformance/json_schema/suite_draft2020-12_required.jsonl"};
    for (int i = 0; i < 2; i++) {
        tally t = each_group(files[i], i ? CONSTRAIN_DRAFT_2020_12 : CONSTRAIN_DRAFT_7, constrain_group);
        print_message("%s: %d right, %d valid ones not writable, %d in refused schemas\n", files[i], t.right, t.wrong,
                      t.unusable);
        assert_true(t.right > 590);
        assert_true(t.wrong <= 3); /* keys in another order than the schema's */
    }
}

static void no_invalid_format_can_be_written(void **state) {
    (void)state;
    tally a =
        each_group("conformance/json_schema/suite_draft7_optional_format.jsonl", CONSTRAIN_DRAFT_7, constrain_formats);
    tally b = each_group("conformance/json_schema/suite_draft2020-12_optional_format.jsonl", CONSTRAIN_DRAFT_2020_12,
                         constrain_formats);
    print_message("formats: %d right, %d valid ones not writable\n", a.right + b.right, a.wrong + b.wrong);
    assert_true(a.right + b.right > 700);
    assert_int_equal(a.wrong + b.wrong, 0);
}

static int free_remotes(void **state) {
    (void)state;
    json_decref(remotes);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_validator_agrees_with_draft_7), cmocka_unit_test(the_validator_agrees_with_draft_2020_12),
        cmocka_unit_test(formats_are_asserted_where_asked),  cmocka_unit_test(nothing_invalid_can_be_written),
        cmocka_unit_test(no_invalid_format_can_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, free_remotes);
}
