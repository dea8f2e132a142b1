/* The face of chat templates: compile once, render with a context under limits. */
#include "model/template_internal.h"

#define TEMPLATE_PARSE_DEPTH 256

static muga_status compile(const char *source, size_t n, bool expression, arena *mem, node **root, muga_error *err) {
    token_list tokens = {0};
    muga_status st = template_lex(source, n, expression, mem, &tokens, err);
    if (!st)
        st = expression ? template_parse_expression(&tokens, mem, TEMPLATE_PARSE_DEPTH, root, err)
                        : template_parse(&tokens, mem, TEMPLATE_PARSE_DEPTH, root, err);
    free(tokens.v);
    return st;
}

muga_status template_compile(const char *source, size_t n, template **out, muga_error *err) {
    *out = NULL;
    template *t = calloc(1, sizeof *t);
    if (!t)
        return error_nomem(err, "template");
    arena_init(&t->mem, 0);
    muga_status st = compile(source, n, false, &t->mem, &t->root, err);
    if (st)
        template_free(t);
    else
        *out = t;
    return st;
}

void template_free(template *t) {
    if (!t)
        return;
    arena_release(&t->mem);
    free(t);
}

static bool interp_open(interp *in, const json_t *context, int64_t now_ms, const template_limits *limits, str *out,
                        muga_error *err) {
    *in = (interp){.limits = limits ? *limits : TEMPLATE_LIMITS_DEFAULT, .now_ms = now_ms, .out = out, .err = err};
    arena_init(&in->mem, in->limits.memory_bytes);
    in->scope = interp_alloc(in, sizeof *in->scope);
    const char *key;
    json_t *value;
    if (!in->scope)
        return false;
    if (!json_is_object(context)) {
        interp_fail(in, MUGA_E_INPUT, "the context must be an object");
        return false;
    }
    json_object_foreach((json_t *)(uintptr_t)context, key, value) {
        var *v = interp_alloc(in, sizeof *v);
        if (!v)
            return false;
        *v = (var){key, tv_from_json(in, value), in->scope->vars};
        in->scope->vars = v;
    }
    return !interp_failed(in);
}

muga_status template_render(const template *t, const json_t *context, int64_t now_ms, const template_limits *limits,
                            str *out, muga_error *err) {
    interp in;
    str text;
    str_init(&text, limits ? limits->output_bytes : TEMPLATE_LIMITS_DEFAULT.output_bytes);
    if (interp_open(&in, context, now_ms, limits, &text, err)) {
        in.calls_allowed = true;
        interp_exec(&in, t->root);
    }
    muga_status st = in.status ? in.status : str_status(&text, err, "template output");
    if (!st) {
        str_append(out, str_get(&text), text.len);
        st = str_status(out, err, "template output");
    }
    str_release(&text);
    arena_release(&in.mem);
    return st;
}

muga_status template_expression_compile(const char *source, template_expression **out, muga_error *err) {
    *out = NULL;
    template_expression *e = calloc(1, sizeof *e);
    if (!e)
        return error_nomem(err, "expression");
    arena_init(&e->mem, 0);
    muga_status st = compile(source, strlen(source), true, &e->mem, &e->root, err);
    if (st)
        template_expression_free(e);
    else
        *out = e;
    return st;
}

void template_expression_free(template_expression *e) {
    if (!e)
        return;
    arena_release(&e->mem);
    free(e);
}

muga_status template_expression_test(const template_expression *e, const json_t *context, bool *out, muga_error *err) {
    interp in;
    str unused = STR_INIT;
    *out = false;
    if (interp_open(&in, context, 0, NULL, &unused, err)) {
        bool verdict = tv_truth(interp_eval(&in, e->root));
        *out = !in.status && verdict;
    }
    arena_release(&in.mem);
    str_release(&unused);
    return in.status;
}
