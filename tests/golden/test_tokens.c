/* Token ids against the golden tables: the real model's, and those of the small models with their own vocabularies.
 * Were this to fail, the model would be fed other tokens than it was trained on, and everything above would be subtly
 * wrong. */
#include "support/support.h"
#include "support/token_case.h"

#include "base/mem.h"
#include "os/os.h"
#include <stdio.h>

#include <string.h>

/* One line of a table, cut at tabs. */
typedef struct row {
    span cells[8];
    size_t n;
} row;

static bool next_row(const char **p, row *r) {
    r->n = 0;
    if (!**p)
        return false;
    const char *end = strchr(*p, '\n'), *at = *p;
    assert_non_null(end);
    while (at <= end) {
        const char *tab = memchr(at, '\t', (size_t)(end - at));
        const char *stop = tab ? tab : end;
        assert_true(r->n < ARRAY_LEN(r->cells));
        r->cells[r->n++] = span_of(at, (size_t)(stop - at));
        at = stop + 1;
    }
    *p = end + 1;
    return true;
}

static void read_table(const char *path, str *out) {
    muga_error err;
    assert_ok(os_read_file(&os_system()->files, path, 1 << 24, out, &err), &err);
}

/* add_special, parse_special, text_hex, ids */
static void check_row(const char *set, const span *cells, const tokenizer *t, size_t *n_wrong) {
    token_case c = {
        .set = set, .add_special = span_equal_string(cells[0], "1"), .parse_special = span_equal_string(cells[1], "1")};
    token_case_take_hex(cells[2].p, cells[2].n, &c.text);
    token_case_take_ids(cells[3].p, cells[3].n, &c.ids);
    token_case_check(&c, t, n_wrong);
    token_case_release(&c);
}

static void check_real(const char *model_name, const char *path) {
    str table = STR_INIT;
    size_t n = 0, n_wrong = 0;
    row r;
    char relative[96];
    (void)snprintf(relative, sizeof relative, "golden/real/%s.tokens.tsv", model_name);
    tokenizer *t = token_case_open(path);
    read_table(shared_path(relative), &table);
    const char *p = str_get(&table);
    assert_true(next_row(&p, &r));
    for (; next_row(&p, &r); n++) {
        assert_int_equal(r.n, 4);
        check_row(model_name, r.cells, t, &n_wrong);
    }
    assert_true(n >= 20);
    assert_int_equal(n_wrong, 0);
    tokenizer_free(t);
    str_release(&table);
}

static void smollm2(void **state) {
    (void)state;
    check_real("smollm2-135m-instruct-q4_1", model_path());
}

static void gemma3(void **state) {
    (void)state;
    check_real("gemma3-270m-q4_k_m", gemma_path());
}

static void the_golden_models(void **state) {
    (void)state;
    str table = STR_INIT;
    size_t n = 0, n_wrong = 0, n_models = 0;
    char model[64] = "";
    tokenizer *t = NULL;
    row r;
    read_table(shared_path("golden/tokenizer.tsv"), &table);
    const char *p = str_get(&table);
    assert_true(next_row(&p, &r));
    for (; next_row(&p, &r); n++) {
        assert_int_equal(r.n, 5);
        if (!span_equal_string(r.cells[0], model)) {
            char relative[128];
            (void)snprintf(model, sizeof model, "%.*s", (int)r.cells[0].n, r.cells[0].p);
            (void)snprintf(relative, sizeof relative, "golden/models/%s.gguf", model);
            tokenizer_free(t);
            t = token_case_open(shared_path(relative));
            n_models++;
        }
        check_row(model, r.cells + 1, t, &n_wrong);
    }
    tokenizer_free(t);
    assert_true(n >= 500 && n_models >= 17);
    assert_int_equal(n_wrong, 0);
    str_release(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smollm2),
        cmocka_unit_test(gemma3),
        cmocka_unit_test(the_golden_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
