/* The face of chat templates: compile once, render with a context under limits. */
#include "model/template_internal.h"

static muga_status compile(const char *source, size_t n, bool expression, template *t, muga_error *err) {
    template_tokens tokens = {0};
    arena_init(&t->mem, 0);
    muga_status st = template_lex(source, n, expression, &t->mem, &tokens, err);
    if (!st)
        st = template_parse(&tokens, expression, t, err);
    if (!st)
        st = template_resolve(t, err);
    free(tokens.v);
    return st;
}

muga_status template_compile(const char *source, size_t n, template **out, muga_error *err) {
    *out = NULL;
    template *t = calloc(1, sizeof *t);
    if (!t)
        return error_nomem(err, "template");
    muga_status st = compile(source, n, false, t, err);
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

/* ---- limits ---- */

#define STEPS_PER_VALUE 2000
#define MAX_VALUES 15000 /* more add nothing */

static size_t count_values(const json_t *v, size_t most) {
    size_t n = 1, i;
    const char *key;
    json_t *part;
    if (json_is_object(v)) {
        json_object_foreach(json_borrow(v), key, part) {
            if (n >= most)
                break;
            n += count_values(part, most - n);
        }
    }
    if (json_is_array(v)) {
        json_array_foreach(v, i, part) {
            if (n >= most)
                break;
            n += count_values(part, most - n);
        }
    }
    return n;
}

template_limits template_limits_for(const json_t *context) {
    template_limits limits = TEMPLATE_LIMITS_DEFAULT;
    limits.steps += STEPS_PER_VALUE * (uint64_t)MIN(count_values(context, MAX_VALUES), (size_t)MAX_VALUES);
    return limits;
}

/* ---- rendering ---- */

static bool interp_open(interp *in, const template *t, const json_t *context, const template_limits *limits, str *out,
                        muga_error *err) {
    *in = (interp){.t = t,
                   .context = context,
                   .limits = limits ? *limits : TEMPLATE_LIMITS_DEFAULT,
                   .out = out,
                   .line = 1,
                   .err = err};
    arena_init(&in->mem, in->limits.memory_bytes);
    if (!json_is_object(context)) {
        interp_fail(in, MUGA_E_INPUT, "the context must be an object");
        return false;
    }
    in->context_values = interp_alloc(in, t->n_names * sizeof *in->context_values);
    return in->context_values != NULL;
}

muga_status template_render_raising(const template *t, const json_t *context, int64_t now_ms,
                                    const template_limits *limits, str *out, str *raised, muga_error *err) {
    interp in;
    str text;
    str_init(&text, limits ? limits->output_bytes : TEMPLATE_LIMITS_DEFAULT.output_bytes);
    if (interp_open(&in, t, context, limits, &text, err)) {
        in.calls_allowed = true;
        in.now_ms = now_ms;
        in.raised = raised;
        in.frame = interp_frame_new(&in, t->frame, NULL);
        if (in.frame)
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

muga_status template_render(const template *t, const json_t *context, int64_t now_ms, const template_limits *limits,
                            str *out, muga_error *err) {
    return template_render_raising(t, context, now_ms, limits, out, NULL, err);
}

muga_status template_expression_compile(const char *source, template_expression **out, muga_error *err) {
    *out = NULL;
    template_expression *e = calloc(1, sizeof *e);
    if (!e)
        return error_nomem(err, "expression");
    muga_status st = compile(source, strlen(source), true, &e->t, err);
    if (st)
        template_expression_free(e);
    else
        *out = e;
    return st;
}

void template_expression_free(template_expression *e) {
    if (!e)
        return;
    arena_release(&e->t.mem);
    free(e);
}

muga_status template_expression_test(const template_expression *e, const json_t *context, bool *out, muga_error *err) {
    interp in;
    str unused = STR_INIT;
    *out = false;
    if (interp_open(&in, &e->t, context, NULL, &unused, err) && (in.frame = interp_frame_new(&in, e->t.frame, NULL))) {
        bool verdict = tv_truth(&in, interp_eval(&in, e->t.root));
        *out = !in.status && verdict;
    }
    arena_release(&in.mem);
    str_release(&unused);
    return in.status;
}

muga_status template_expression_value(const template_expression *e, const json_t *context, json_t **out,
                                      muga_error *err) {
    static const json_style style = {.item = ",", .key = ":"};
    interp in;
    str text;
    *out = NULL;
    str_init(&text, TEMPLATE_LIMITS_DEFAULT.output_bytes);
    if (interp_open(&in, &e->t, context, NULL, &text, err) && (in.frame = interp_frame_new(&in, e->t.frame, NULL))) {
        tv v = interp_eval(&in, e->t.root);
        if (!in.status && v.kind == TV_UNDEFINED)
            interp_fail_undefined(&in, v);
        if (!in.status)
            template_write_json(&in, v, &style, 0, &text);
    }
    muga_status st = in.status ? in.status : str_status(&text, err, "an expression's value");
    if (!st)
        st = json_parse(str_get(&text), text.len, "an expression's value", out, err);
    arena_release(&in.mem);
    str_release(&text);
    return st;
}
