/* Expressions of a manifest, by value, as rules, observations and the policy use them: what compiles has a value or one
 * clear error, the same each time; true and false are what the test of the same expression says; its names can be
 * walked. The expression ends at the first NUL; what follows is the context as JSON, else there is a percept, a call
 * and a session. */
#include "fuzz.h"
#include "model/template.h"

static const char situation[] =
    "{\"percept\":{\"event\":\"sold\",\"count\":7,\"temperature\":-3.5,\"item\":\"tea\"},"
    "\"arguments\":{\"amount\":60,\"to\":\"a@b.example\",\"items\":[\"a\",\"b\",null]},"
    "\"state\":{\"levels\":{\"tea\":12,\"\\u00e4\":0},\"seen\":9007199254740993,\"coming\":false},"
    "\"session\":{\"customer\":1,\"rights\":[\"refund\"],\"since\":1e300},\"result\":{\"rows\":[{\"n\":1},{}]},"
    "\"message\":\"buy 3 \\ud83d\\ude00\",\"match\":{\"n\":\"3\"},\"time\":{\"hour\":9},\"nothing\":null}";

static bool visit(void *ctx, const char *root, const char *member) {
    size_t *left = ctx;
    fuzz_need(root != NULL && (!member || strlen(member) < SIZE_MAX));
    if (*left == 0)
        return false;
    --*left;
    return true;
}

/* All names, or the first only: then the walk says that it was ended. */
static void check_names(const template_expression *e) {
    size_t left = SIZE_MAX;
    fuzz_need(template_expression_names(e, visit, &left));
    size_t none = 0;
    fuzz_need(template_expression_names(e, visit, &none) == (left == SIZE_MAX));
}

static void check_value(const template_expression *e, const json_t *context) {
    json_t *once = NULL, *again = NULL;
    muga_error err = {0};
    bool verdict = false;
    muga_status st = template_expression_value(e, context, &once, &err);
    fuzz_need((st == MUGA_OK) == (once != NULL));
    if (st)
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
    fuzz_need(template_expression_value(e, context, &again, &err) == st);
    fuzz_need(!once || json_equal(once, again));
    if (json_is_boolean(once)) {
        fuzz_need(template_expression_test(e, context, &verdict, &err) == MUGA_OK);
        fuzz_need(verdict == json_is_true(once));
    }
    json_decref(once);
    json_decref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size;
    json_t *context = NULL;
    template_expression *e = NULL;
    muga_error err = {0};
    if (end && (json_parse((const char *)end + 1, size - n - 1, "context", &context, &err) != MUGA_OK ||
                !json_is_object(context))) {
        json_decref(context);
        context = NULL;
    }
    if (!context && json_parse(situation, sizeof situation - 1, "context", &context, &err) != MUGA_OK)
        abort();
    char *source = mem_copy_bytes(data, n);
    fuzz_need(source);
    muga_status st = template_expression_compile(source, &e, &err);
    free(source); /* what is compiled stands alone */
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
    } else {
        check_names(e);
        check_value(e, context);
    }
    template_expression_free(e);
    json_decref(context);
    return 0;
}
