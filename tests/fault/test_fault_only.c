/* Every allocation failed in turn while a schema's only value is found and its record recomputed. If this failed, a
 * machine short of memory would crash, leak, or take a value for the only one that isn't. */
#include "support/support.h"

#include "llm/llm.h"
#include "support/faultmalloc.h"

#include <string.h>

static const char text[] = "{\"type\": \"object\", \"properties\": {\"id\": {\"type\": \"string\", \"pattern\": "
                           "\"^A[0-9]{3}$\", \"from\": \"conversation\"}, \"of\": {\"const\": \"us\"}}, \"required\": "
                           "[\"id\", \"of\"], \"additionalProperties\": false}";

static muga_status run(const json_t *schema, bool *right, muga_error *err) {
    const span said = span_of_string("it is A123");
    const constrain_source source = {"conversation", &said, 1};
    json_t *value, *evidence;
    muga_status st = llm_only_value(schema, &source, 1, &value, &evidence, err);
    st = st ? st : llm_replay(NULL, evidence, err);
    const char *id = json_get_string(value, "id");
    *right = id && strcmp(id, "A123") == 0;
    json_decref(value);
    json_decref(evidence);
    return st;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    muga_error err = {0};
    json_t *schema = NULL;
    bool right;
    size_t n = 0;
    assert_ok(json_parse(text, strlen(text), "schema", &schema, &err), &err);
    assert_ok(run(schema, &right, &err), &err);
    assert_true(right);
    for (bool reached = true; reached; n += reached) {
        long live = fault_live();
        fault_fail_at(n + 1);
        muga_status st = run(schema, &right, &err);
        reached = fault_hit();
        fault_fail_at(0);
        if (fault_live() != live)
            fail_msg("allocation %zu (status %d): %ld blocks leaked", n + 1, st, fault_live() - live);
        if (st ? !reached || st != MUGA_E_NOMEM || !*err.message : !right)
            fail_msg("allocation %zu: status %d: %s", n + 1, st, err.message);
    }
    assert_true(n > 50);
    json_decref(schema);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
