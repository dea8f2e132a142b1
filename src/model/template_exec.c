/* Evaluator of chat templates, statements: output, assignment, conditions, loops, macros and blocks.
 *
 * A frame's slots are set anew each time it is entered (template_scope.c says how); a loop enters its body's frame once
 * an iteration, so a loop cannot change an outer variable except through a namespace. */
#include "model/template_internal.h"

/* ---- frames ---- */

static void frame_reset(interp *in, frame *f) {
    for (uint32_t i = 0; i < f->info->n && !interp_failed(in); i++) {
        const slot_info *s = &f->info->slots[i];
        tv v = {.kind = TV_MISSING};
        if (s->load == LOAD_CONTEXT) {
            v = interp_context_value(in, s->name);
        } else if (s->load == LOAD_ALIAS) {
            const frame *outer = f;
            for (uint32_t up = s->up; up > 0; up--)
                outer = outer->parent;
            v = outer->slots[s->slot];
        }
        f->slots[i] = v;
    }
    interp_charge(in, f->info->n / 4);
}

frame *interp_frame_new(interp *in, const frame_info *info, frame *parent) {
    frame *f = interp_alloc(in, sizeof *f + info->n * sizeof f->slots[0]);
    if (!f)
        return NULL;
    f->parent = parent;
    f->info = info;
    frame_reset(in, f);
    return interp_failed(in) ? NULL : f;
}

/* ---- output and assignment ---- */

static void check_output(interp *in) {
    if (in->out->failed && !interp_failed(in)) {
        muga_error e;
        muga_status st = str_status(in->out, &e, "template output");
        interp_fail(in, st, "%s", e.message);
    }
}

static void write_out(interp *in, tv v) {
    tv_write(in, v, in->out);
    check_output(in);
}

static void assign_attribute(interp *in, const node *target, tv value) {
    frame *f = in->frame;
    for (uint32_t up = target->up; up > 0; up--)
        f = f->parent;
    tv object = f->slots[target->slot];
    if (object.kind != TV_NAMESPACE) {
        interp_fail(in, MUGA_E_INPUT, "cannot assign attribute '%.60s' on a non-namespace object", target->name);
        return;
    }
    tv_dict_set(in, object.u.dict, tv_literal(target->name), value);
}

static void assign(interp *in, frame *f, const node *target, tv value) {
    tv_list items;
    if (interp_failed(in))
        return;
    if (target->kind == N_NAME) {
        f->slots[target->slot] = value; /* what is assigned always lies in the frame itself */
        return;
    }
    if (target->kind == N_NSREF) {
        assign_attribute(in, target, value);
        return;
    }
    if (!tv_iterate(in, value, &items))
        return;
    if (items.n != target->n_items) {
        interp_fail(in, MUGA_E_INPUT, "cannot unpack %zu values into %zu names", items.n, target->n_items);
        return;
    }
    for (size_t i = 0; i < items.n; i++)
        assign(in, f, target->items[i], items.v[i]);
}

/* ---- bodies ---- */

/* The body's text; what it wrote before it broke out of a loop is lost. */
static tv exec_captured(interp *in, const node *body) {
    str captured, *outer = in->out;
    interp_str_init(in, &captured);
    in->out = &captured;
    interp_exec(in, body);
    in->out = outer;
    return tv_from_str(in, &captured);
}

static bool enter_frame(interp *in, const frame_info *info) {
    frame *f = interp_frame_new(in, info, in->frame);
    if (!f)
        return false;
    in->frame = f;
    return true;
}

static void exec_inner(interp *in, const frame_info *info, const node *body) {
    frame *outer = in->frame;
    if (enter_frame(in, info))
        interp_exec(in, body);
    in->frame = outer;
}

/* The body of a set or filter block in its own frame, captured, through the filters of n->b. */
static tv exec_block_value(interp *in, const node *n) {
    frame *outer = in->frame;
    tv text = TV_UNDEF;
    if (enter_frame(in, n->frame)) {
        text = exec_captured(in, n->c);
        if (n->b && !interp_failed(in) && !in->loop_control)
            text = interp_filters(in, n->b, text);
    }
    in->frame = outer;
    return text;
}

static void exec_if(interp *in, const node *n) {
    for (size_t i = 0; i + 1 < n->n_items; i += 2) {
        bool yes = tv_truth(in, interp_eval(in, n->items[i]));
        if (interp_failed(in))
            return;
        if (yes) {
            interp_exec(in, n->items[i + 1]);
            return;
        }
    }
    if (n->c)
        interp_exec(in, n->c);
}

static void exec_with(interp *in, const node *n) {
    frame *outer = in->frame, *inner = interp_frame_new(in, n->frame, outer);
    for (size_t i = 0; inner && i < n->n_keys; i++)
        assign(in, inner, n->items[i], interp_eval(in, n->keys[i]));
    if (interp_failed(in))
        return;
    in->frame = inner;
    interp_exec(in, n->d);
    in->frame = outer;
}

/* ---- loops ---- */

/* Elements that pass the loop's own "if". The condition sees the target, not the loop variable. */
static bool filter_items(interp *in, const node *n, tv_list *items) {
    frame *outer = in->frame;
    tv kept = tv_list_new(in, TV_LIST, items->n);
    size_t k = 0;
    if (interp_failed(in) || !enter_frame(in, n->test_frame))
        return false;
    for (size_t i = 0; i < items->n && !interp_failed(in); i++) {
        assign(in, in->frame, n->keys[0], items->v[i]);
        if (tv_truth(in, interp_eval(in, n->c)) && !interp_failed(in))
            kept.u.list->v[k++] = items->v[i];
    }
    in->frame = outer;
    *items = (tv_list){.n = k, .v = kept.u.list->v};
    return !interp_failed(in);
}

/* One pass over the items. The else body runs where no iteration came to its end. */
static void run_loop(interp *in, const node *n, tv iterable, int64_t depth, frame *outer) {
    tv_list items;
    bool completed = false;
    in->frame = outer;
    if (!tv_iterate(in, iterable, &items) || (n->c && !filter_items(in, n, &items)))
        return;
    tv_loop *loop = interp_alloc(in, sizeof *loop);
    frame *body = loop ? interp_frame_new(in, n->frame, outer) : NULL;
    if (!body)
        return;
    *loop = (tv_loop){
        .n = (int64_t)items.n, .depth = depth, .items = items.v, .recursive = n->op ? n : NULL, .outer = outer};
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        if (i > 0)
            frame_reset(in, body);
        loop->i = (int64_t)i;
        body->slots[n->loop_slot] = (tv){.kind = TV_LOOP, .u.loop = loop};
        in->frame = body;
        assign(in, body, n->a, items.v[i]);
        interp_exec(in, n->d);
        int control = in->loop_control;
        in->loop_control = 0;
        completed |= control == 0;
        if (control == N_BREAK)
            break;
    }
    in->frame = outer;
    if (!completed && n->n_items && !interp_failed(in))
        exec_inner(in, n->else_frame, n->items[0]);
}

static void exec_for(interp *in, const node *n) {
    frame *outer = in->frame;
    tv iterable = interp_eval(in, n->b);
    if (interp_failed(in))
        return;
    run_loop(in, n, iterable, 0, outer);
    in->frame = outer;
}

tv interp_call_loop(interp *in, const tv_loop *loop, tv items) {
    if (!loop->recursive)
        return interp_fail(in, MUGA_E_INPUT, "the loop must be marked 'recursive' to be called");
    if (!interp_enter(in))
        return TV_UNDEF;
    frame *caller = in->frame;
    str captured, *outer = in->out;
    interp_str_init(in, &captured);
    in->out = &captured;
    run_loop(in, loop->recursive, items, loop->depth + 1, loop->outer);
    in->out = outer;
    in->frame = caller;
    in->depth--;
    return tv_from_str(in, &captured);
}

/* ---- macros ---- */

static size_t parameter_of(const node *def, const char *name) {
    for (size_t i = 0; i < def->n_keys; i++)
        if (!strcmp(def->names[i], name))
            return i;
    return SIZE_MAX;
}

/* Keyword arguments: to their parameters, to caller, to kwargs, or they are too much. */
static bool bind_keywords(interp *in, const node *def, const call_args *args, frame *f) {
    bool catches = def->kwargs_slot >= 0;
    tv kwargs = catches ? tv_dict_new(in, args->n_named) : TV_NULL;
    for (size_t i = 0; i < args->n_named && interp_charge(in, def->n_keys / TEMPLATE_STEP_NAMES); i++) {
        const char *name = args->names[i];
        size_t k = parameter_of(def, name);
        if (k != SIZE_MAX && k >= args->n)
            f->slots[k] = args->named[i];
        else if (k == SIZE_MAX && def->caller_slot >= 0 && !strcmp(name, "caller"))
            f->slots[def->caller_slot] = args->named[i];
        else if (catches)
            tv_dict_set(in, kwargs.u.dict, tv_literal(name), args->named[i]);
        else if (!strcmp(name, "caller"))
            interp_fail(in, MUGA_E_INPUT, "macro '%.60s' does not use its caller", def->name);
        else
            interp_fail(in, MUGA_E_INPUT, "macro '%.60s' takes no keyword argument '%.60s'", def->name, name);
    }
    if (catches)
        f->slots[def->kwargs_slot] = kwargs;
    return !interp_failed(in);
}

/* Parameters are the frame's first slots, in order. */
static bool macro_bind(interp *in, const node *def, const call_args *args, frame *f) {
    for (size_t i = 0; i < def->n_keys && i < args->n; i++)
        f->slots[i] = args->v[i];
    if (args->n > def->n_keys && def->varargs_slot < 0) {
        interp_fail(in, MUGA_E_INPUT, "macro '%.60s' takes not more than %zu argument(s)", def->name, def->n_keys);
        return false;
    }
    if (def->caller_slot >= 0)
        f->slots[def->caller_slot] = tv_undefined_hint("no caller defined");
    if (!bind_keywords(in, def, args, f))
        return false;
    if (def->varargs_slot >= 0) {
        size_t extra = args->n > def->n_keys ? args->n - def->n_keys : 0;
        tv varargs = tv_list_new(in, TV_TUPLE, extra);
        for (size_t i = 0; i < extra && !interp_failed(in); i++)
            varargs.u.list->v[i] = args->v[def->n_keys + i];
        f->slots[def->varargs_slot] = varargs;
    }
    in->frame = f;
    for (size_t k = 0; k < def->n_keys && !interp_failed(in); k++)
        if (f->slots[k].kind == TV_MISSING)
            f->slots[k] = def->keys[k] ? interp_eval(in, def->keys[k])
                                       : tv_undefined_hint("a parameter was not provided");
    return !interp_failed(in);
}

tv interp_call_macro(interp *in, const tv_macro *m, const call_args *args) {
    frame *outer = in->frame;
    tv result = TV_UNDEF;
    if (!interp_enter(in))
        return TV_UNDEF;
    frame *f = interp_frame_new(in, m->def->frame, m->closure);
    if (f && macro_bind(in, m->def, args, f))
        result = exec_captured(in, m->def->d);
    in->frame = outer;
    in->depth--;
    return result;
}

static tv make_macro(interp *in, const node *n) {
    tv_macro *m = interp_alloc(in, sizeof *m);
    if (!m)
        return TV_UNDEF;
    *m = (tv_macro){.def = n, .closure = in->frame};
    return (tv){.kind = TV_MACRO, .u.macro = m};
}

/* The call, with one more keyword argument: caller. */
static void exec_call_block(interp *in, const node *n) {
    call_args args;
    tv caller = make_macro(in, n), callee = interp_eval(in, n->a->a);
    if (interp_failed(in) || !interp_eval_args(in, n->a, &args))
        return;
    const char **names = interp_alloc(in, (args.n_named + 1) * sizeof *names);
    tv *named = interp_alloc(in, (args.n_named + 1) * sizeof *named);
    if (!names || !named)
        return;
    for (size_t i = 0; i < args.n_named; i++) {
        names[i] = args.names[i];
        named[i] = args.named[i];
    }
    names[args.n_named] = "caller";
    named[args.n_named] = caller;
    args = (call_args){args.v, args.n, names, named, args.n_named + 1};
    in->line = n->line;
    write_out(in, interp_call(in, callee, &args));
}

/* ---- statements ---- */

static void exec_body(interp *in, const node *n) {
    for (size_t i = 0; i < n->n_items && !interp_failed(in) && !in->loop_control; i++)
        interp_exec(in, n->items[i]);
}

static void exec_block(interp *in, const node *n) {
    tv text = exec_block_value(in, n);
    if (interp_failed(in) || in->loop_control)
        return;
    if (n->kind == N_SET_BLOCK)
        assign(in, in->frame, n->a, text);
    else
        write_out(in, text);
}

static void exec_node(interp *in, const node *n) {
    switch (n->kind) {
    case N_BODY: exec_body(in, n); break;
    case N_DATA: write_out(in, n->value); break;
    case N_OUTPUT: write_out(in, interp_eval(in, n->a)); break;
    case N_IF: exec_if(in, n); break;
    case N_FOR: exec_for(in, n); break;
    case N_SET: assign(in, in->frame, n->a, interp_eval(in, n->b)); break;
    case N_SET_BLOCK:
    case N_FILTER_BLOCK: exec_block(in, n); break;
    case N_MACRO: in->frame->slots[n->slot] = make_macro(in, n); break;
    case N_CALL_BLOCK: exec_call_block(in, n); break;
    case N_GENERATION: exec_inner(in, n->frame, n->d); break;
    case N_WITH: exec_with(in, n); break;
    case N_BREAK:
    case N_CONTINUE: in->loop_control = (int)n->kind; break;
    default: interp_fail(in, MUGA_E_INTERNAL, "expression where a statement was expected");
    }
}

void interp_exec(interp *in, const node *n) {
    if (!interp_charge(in, 1) || !interp_enter(in))
        return;
    in->line = n->line;
    exec_node(in, n);
    in->depth--;
}
