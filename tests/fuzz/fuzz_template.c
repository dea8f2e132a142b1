/* Chat templates: whatever compiles renders within its budgets, the same text each time; a budget never changes a text,
 * it only ends it with its error. The template ends at the first NUL; what follows is the context as JSON, else there
 * is a conversation with tools. Without its end the text is tried as an expression of a manifest, too. */
#include "fuzz.h"
#include "model/template.h"

static const template_limits limits = {20000, (size_t)64 << 10, 64, (size_t)4 << 20};

static const char conversation[] =
    "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"add_generation_prompt\":true,\"messages\":["
    "{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Where is A10234?\"},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"type\":\"function\",\"id\":\"c1\",\"function\":"
    "{\"name\":\"order\",\"arguments\":{\"id\":\"A10234\",\"n\":-1.5}}}]},"
    "{\"role\":\"tool\",\"content\":\"{\\\"status\\\":\\\"sent\\\"}\"},"
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"<b> \\u00fc \\ud83d\\ude00\"}]}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"order\",\"description\":\"Look up\",\"parameters\":"
    "{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"string\"}},\"required\":[\"id\"]}}}],"
    "\"n\":3,\"x\":0.5,\"yes\":true,\"none_at_all\":null,\"empty\":[],\"text\":\" a,b \"}";

static muga_status render(const template *t, const json_t *context, const template_limits *l, str *out) {
    muga_error err = {0};
    muga_status st = template_render(t, context, 1767225600000, l, out, &err);
    if (st)
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
    fuzz_need(out->len <= l->output_bytes);
    return st;
}

static bool same_text(const str *a, const str *b) {
    return a->len == b->len && memcmp(str_get(a), str_get(b), a->len) == 0;
}

static void check_render(const template *t, const json_t *context) {
    const template_limits tight = {500, 512, 16, (size_t)64 << 10};
    str once = STR_INIT, again = STR_INIT, short_of = STR_INIT;
    muga_status st = render(t, context, &limits, &once), st_tight;
    fuzz_need(render(t, context, &limits, &again) == st && same_text(&once, &again));
    st_tight = render(t, context, &tight, &short_of);
    if (st == MUGA_OK && st_tight == MUGA_OK)
        fuzz_need(same_text(&once, &short_of));
    else if (st == MUGA_OK)
        fuzz_need(st_tight == MUGA_E_LIMIT);
    else
        fuzz_need(st_tight != MUGA_OK);
    str_release(&once);
    str_release(&again);
    str_release(&short_of);
}

static void check_expression(const char *source, const json_t *context) {
    template_expression *e = NULL;
    muga_error err = {0};
    bool a = false, b = true;
    muga_status st = template_expression_compile(source, &e, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
        return;
    }
    st = template_expression_test(e, context, &a, &err);
    if (st)
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
    fuzz_need(template_expression_test(e, context, &b, &err) == st && (st || a == b));
    template_expression_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size;
    json_t *context = NULL;
    template *t = NULL;
    muga_error err = {0};
    if (end && (json_parse((const char *)end + 1, size - n - 1, "context", &context, &err) != MUGA_OK ||
                !json_is_object(context))) {
        json_decref(context);
        context = NULL;
    }
    if (!context && json_parse(conversation, sizeof conversation - 1, "context", &context, &err) != MUGA_OK)
        abort();
    char *source = fuzz_copy(data, n);
    muga_status st = template_compile(source, n, &t, &err);
    free(source); /* a compiled template stands alone */
    if (st)
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
    else
        check_render(t, context);
    template_free(t);
    char *expression = mem_copy_bytes(data, n);
    fuzz_need(expression);
    check_expression(expression, context);
    free(expression);
    json_decref(context);
    return 0;
}
