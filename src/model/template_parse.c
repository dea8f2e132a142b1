/* Parser of chat templates: tokens to a tree, by recursive descent with a depth limit.
 * Refuses by name what it does not have (include, import, extends, block, autoescape, do).
 * Precedence, lowest first: if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary, postfix, filter and test.
 */
#include "model/template_internal.h"

typedef struct parser {
    const token *t; /* current token; the last is T_EOF */
    arena *mem;
    uint32_t depth, max_depth;
    uint32_t loop_depth;
    muga_status status;
    muga_error *err;
} parser;

typedef struct node_vec {
    node **v;
    size_t n, cap;
} node_vec;

static node *parse_expression(parser *ps);
static node *parse_unary(parser *ps, bool with_filter);
static node *parse_body(parser *ps, const char *const *ends);

static bool failed(const parser *ps) {
    return ps->status != MUGA_OK;
}

__attribute__((format(printf, 2, 3))) static node *parse_fail(parser *ps, const char *format, ...) {
    if (failed(ps))
        return NULL;
    char text[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ps->status = error_set(ps->err, MUGA_E_INPUT, "template line %u: %s", ps->t->line, text);
    return NULL;
}

static void *parse_alloc(parser *ps, size_t bytes) {
    void *p = arena_alloc(ps->mem, bytes);
    if (!p && !failed(ps))
        ps->status = error_nomem(ps->err, "template tree");
    return p;
}

static node *node_new(parser *ps, node_kind kind) {
    node *n = parse_alloc(ps, sizeof *n);
    if (n) {
        n->kind = kind;
        n->line = ps->t->line;
    }
    return n;
}

static bool vec_push(parser *ps, node_vec *v, node *n) {
    if (failed(ps))
        return false;
    if (v->n == v->cap) {
        size_t cap = v->cap ? v->cap * 2 : 4;
        node **p = parse_alloc(ps, cap * sizeof *p);
        if (!p)
            return false;
        if (v->n)
            memcpy(p, v->v, v->n * sizeof *p);
        v->v = p;
        v->cap = cap;
    }
    v->v[v->n++] = n;
    return true;
}

static const char *token_name(token_type t) {
    static const char *const names[] = {"end of template",
                                        "text",
                                        "{%",
                                        "%}",
                                        "{{",
                                        "}}",
                                        "name",
                                        "string",
                                        "integer",
                                        "number",
                                        "+",
                                        "-",
                                        "*",
                                        "/",
                                        "//",
                                        "%",
                                        "**",
                                        "~",
                                        "[",
                                        "]",
                                        "(",
                                        ")",
                                        "{",
                                        "}",
                                        "==",
                                        "!=",
                                        "<",
                                        "<=",
                                        ">",
                                        ">=",
                                        "=",
                                        ".",
                                        ":",
                                        "|",
                                        ",",
                                        ";"};
    return (size_t)t < ARRAY_LEN(names) ? names[t] : "token";
}

static bool at(const parser *ps, token_type t) {
    return ps->t->type == t;
}
static bool at_name(const parser *ps, const char *name) {
    return at(ps, T_NAME) && span_equal_string(ps->t->text, name);
}
static void next(parser *ps) {
    if (!at(ps, T_EOF))
        ps->t++;
}
static bool accept(parser *ps, token_type t) {
    return at(ps, t) ? (next(ps), true) : false;
}
static bool accept_name(parser *ps, const char *name) {
    return at_name(ps, name) ? (next(ps), true) : false;
}

static bool expect(parser *ps, token_type t) {
    if (failed(ps))
        return false;
    if (accept(ps, t))
        return true;
    parse_fail(ps, "expected '%s', found '%s'", token_name(t), token_name(ps->t->type));
    return false;
}

static const char *expect_name(parser *ps) {
    if (failed(ps))
        return NULL;
    if (!at(ps, T_NAME)) {
        parse_fail(ps, "expected a name, found '%s'", token_name(ps->t->type));
        return NULL;
    }
    const char *name = ps->t->text.p;
    next(ps);
    return name;
}

static bool enter(parser *ps) {
    if (++ps->depth <= ps->max_depth)
        return true;
    if (!failed(ps))
        ps->status = error_set(ps->err, MUGA_E_LIMIT, "template line %u: nested deeper than %u; simplify it",
                               ps->t->line, ps->max_depth);
    return false;
}

static node *constant(parser *ps, tv v) {
    node *n = node_new(ps, N_CONST);
    if (n)
        n->value = v;
    return n;
}

/* ---- primary expressions ---- */

static node *parse_list_items(parser *ps, node_kind kind, token_type close) {
    node *n = node_new(ps, kind);
    node_vec v = {0};
    while (!failed(ps) && !at(ps, close)) {
        vec_push(ps, &v, parse_expression(ps));
        if (!accept(ps, T_COMMA))
            break;
    }
    expect(ps, close);
    if (!n || failed(ps))
        return NULL;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

static node *parse_dict(parser *ps) {
    node *n = node_new(ps, N_DICT);
    node_vec keys = {0}, values = {0};
    while (!failed(ps) && !at(ps, T_RBRACE)) {
        vec_push(ps, &keys, parse_expression(ps));
        expect(ps, T_COLON);
        vec_push(ps, &values, parse_expression(ps));
        if (!accept(ps, T_COMMA))
            break;
    }
    expect(ps, T_RBRACE);
    if (!n || failed(ps))
        return NULL;
    n->keys = keys.v;
    n->items = values.v;
    n->n_items = n->n_keys = values.n;
    return n;
}

/* "a" or "a, b, ..." up to a token that ends it. One element without a comma is itself, not a tuple. */
static node *parse_tuple(parser *ps, bool with_condition) {
    node_vec v = {0};
    bool comma = false;
    uint32_t line = ps->t->line;
    for (;;) {
        if (comma &&
            (at(ps, T_RPAREN) || at(ps, T_BLOCK_END) || at(ps, T_VAR_END) || at(ps, T_ASSIGN) || at_name(ps, "in")))
            break;
        vec_push(ps, &v, with_condition ? parse_expression(ps) : parse_unary(ps, true));
        if (failed(ps))
            return NULL;
        if (!accept(ps, T_COMMA))
            break;
        comma = true;
    }
    if (!comma)
        return v.v[0];
    node *n = node_new(ps, N_TUPLE);
    if (!n)
        return NULL;
    n->line = line;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

static node *parse_strings(parser *ps) {
    size_t n = 0;
    const token *first = ps->t;
    for (const token *t = first; t->type == T_STRING; t++)
        n += t->text.n;
    char *text = parse_alloc(ps, n + 1);
    if (!text)
        return NULL;
    n = 0;
    for (; at(ps, T_STRING); next(ps)) {
        memcpy(text + n, ps->t->text.p, ps->t->text.n);
        n += ps->t->text.n;
    }
    return constant(ps, tv_borrow(text, n));
}

static node *parse_name(parser *ps) {
    const char *name = ps->t->text.p;
    next(ps);
    if (!strcmp(name, "true") || !strcmp(name, "True"))
        return constant(ps, tv_bool(true));
    if (!strcmp(name, "false") || !strcmp(name, "False"))
        return constant(ps, tv_bool(false));
    if (!strcmp(name, "none") || !strcmp(name, "None"))
        return constant(ps, TV_NULL);
    node *n = node_new(ps, N_NAME);
    if (n)
        n->name = name;
    return n;
}

static node *parse_primary(parser *ps) {
    if (failed(ps))
        return NULL;
    switch (ps->t->type) {
    case T_NAME: return parse_name(ps);
    case T_STRING: return parse_strings(ps);
    case T_INT: {
        int64_t i = ps->t->i;
        next(ps);
        return constant(ps, tv_int(i));
    }
    case T_FLOAT: {
        double d = ps->t->d;
        next(ps);
        return constant(ps, tv_float(d));
    }
    case T_LBRACKET: next(ps); return parse_list_items(ps, N_LIST, T_RBRACKET);
    case T_LBRACE: next(ps); return parse_dict(ps);
    case T_LPAREN: {
        next(ps);
        if (at(ps, T_RPAREN))
            return parse_list_items(ps, N_TUPLE, T_RPAREN);
        node *n = parse_tuple(ps, true);
        return expect(ps, T_RPAREN) ? n : NULL;
    }
    default: return parse_fail(ps, "expected an expression, found '%s'", token_name(ps->t->type));
    }
}

/* ---- postfix: attribute, subscript, call, filter, test ---- */

/* Arguments of a call whose '(' is the current token: items = positional, names/keys = keyword. */
static void parse_arguments(parser *ps, node *call) {
    node_vec pos = {0}, named = {0};
    const char **names = NULL;
    size_t cap = 0;
    expect(ps, T_LPAREN);
    while (!failed(ps) && !at(ps, T_RPAREN)) {
        if (at(ps, T_MUL) || at(ps, T_POW)) {
            parse_fail(ps, "argument unpacking (* or **) is not supported; write the arguments out");
        } else if (at(ps, T_NAME) && ps->t[1].type == T_ASSIGN) {
            if (named.n == cap) {
                cap = cap ? cap * 2 : 4;
                const char **p = parse_alloc(ps, cap * sizeof *p);
                if (!p)
                    return;
                if (named.n)
                    memcpy(p, names, named.n * sizeof *p);
                names = p;
            }
            names[named.n] = ps->t->text.p;
            next(ps);
            next(ps);
            vec_push(ps, &named, parse_expression(ps));
        } else if (named.n) {
            parse_fail(ps, "positional argument after a keyword argument; put it first");
        } else {
            vec_push(ps, &pos, parse_expression(ps));
        }
        if (!accept(ps, T_COMMA))
            break;
    }
    expect(ps, T_RPAREN);
    if (failed(ps))
        return;
    call->items = pos.v;
    call->n_items = pos.n;
    call->keys = named.v;
    call->names = names;
    call->n_keys = named.n;
}

static node *parse_subscript(parser *ps, node *object) {
    node *n = node_new(ps, N_ITEM), *part[3] = {NULL, NULL, NULL};
    int i = 0;
    bool slice = false;
    next(ps);
    while (!failed(ps) && !at(ps, T_RBRACKET)) {
        if (accept(ps, T_COLON)) {
            slice = true;
            if (++i > 2)
                return parse_fail(ps, "slice has more than three parts");
        } else if (!part[i]) {
            part[i] = parse_expression(ps);
        } else {
            return parse_fail(ps, "expected ']', found '%s'", token_name(ps->t->type));
        }
    }
    if (!slice && !part[0])
        return parse_fail(ps, "subscript is empty");
    expect(ps, T_RBRACKET);
    if (!n || failed(ps))
        return NULL;
    n->a = object;
    if (slice) {
        n->kind = N_SLICE;
        n->b = part[0];
        n->c = part[1];
        n->d = part[2];
    } else {
        n->b = part[0];
    }
    return n;
}

static node *parse_postfix(parser *ps, node *n) {
    while (!failed(ps)) {
        node *outer;
        if (at(ps, T_DOT)) {
            next(ps);
            outer = node_new(ps, N_ATTR);
            if (!outer)
                return NULL;
            outer->a = n;
            if (at(ps, T_INT)) {
                outer->kind = N_ITEM;
                outer->b = parse_primary(ps);
            } else {
                outer->name = expect_name(ps);
            }
        } else if (at(ps, T_LBRACKET)) {
            outer = parse_subscript(ps, n);
        } else if (at(ps, T_LPAREN)) {
            outer = node_new(ps, N_CALL);
            if (!outer)
                return NULL;
            outer->a = n;
            parse_arguments(ps, outer);
        } else {
            return n;
        }
        if (!enter(ps))
            return NULL; /* a chain nests the tree as deeply as brackets do */
        n = outer;
    }
    return NULL;
}

static node *parse_filter(parser *ps, node *input) {
    node *n = node_new(ps, N_FILTER);
    if (!n)
        return NULL;
    n->a = input;
    n->name = expect_name(ps);
    if (at(ps, T_LPAREN))
        parse_arguments(ps, n);
    return failed(ps) ? NULL : n;
}

static bool at_test_argument(const parser *ps) {
    if (at(ps, T_NAME))
        return !at_name(ps, "else") && !at_name(ps, "or") && !at_name(ps, "and") && !at_name(ps, "is") &&
               !at_name(ps, "if") && !at_name(ps, "in") && !at_name(ps, "not");
    return at(ps, T_STRING) || at(ps, T_INT) || at(ps, T_FLOAT) || at(ps, T_LBRACKET) || at(ps, T_LBRACE);
}

static node *parse_test(parser *ps, node *input) {
    node *n = node_new(ps, N_TEST);
    if (!n)
        return NULL;
    n->a = input;
    n->op = accept_name(ps, "not");
    n->name = expect_name(ps);
    if (at(ps, T_LPAREN)) {
        parse_arguments(ps, n);
    } else if (!failed(ps) && at_test_argument(ps)) {
        node_vec v = {0};
        vec_push(ps, &v, parse_postfix(ps, parse_primary(ps)));
        n->items = v.v;
        n->n_items = v.n;
    }
    return failed(ps) ? NULL : n;
}

static node *parse_filters(parser *ps, node *n) {
    while (!failed(ps)) {
        if (accept(ps, T_PIPE)) {
            n = parse_filter(ps, n);
        } else if (accept_name(ps, "is")) {
            n = parse_test(ps, n);
        } else if (at(ps, T_LPAREN)) {
            n = parse_postfix(ps, n);
        } else {
            return n;
        }
        if (!enter(ps))
            return NULL;
    }
    return NULL;
}

/* ---- operators ---- */

static node *binary(parser *ps, int op, node *a, node *b) {
    node *n = node_new(ps, N_BINARY);
    if (!n || failed(ps))
        return NULL;
    n->op = op;
    n->a = a;
    n->b = b;
    return n;
}

static node *parse_unary(parser *ps, bool with_filter) {
    if (failed(ps) || !enter(ps))
        return NULL;
    uint32_t depth = ps->depth;
    node *n;
    if (at(ps, T_SUB) || at(ps, T_ADD)) {
        n = node_new(ps, at(ps, T_SUB) ? N_NEG : N_POS);
        next(ps);
        node *operand = parse_unary(ps, false);
        if (n)
            n->a = operand;
    } else {
        n = parse_primary(ps);
    }
    n = parse_postfix(ps, n);
    if (with_filter)
        n = parse_filters(ps, n);
    ps->depth = depth - 1;
    return failed(ps) ? NULL : n;
}

static node *parse_power(parser *ps) {
    node *n = parse_unary(ps, true);
    while (!failed(ps) && accept(ps, T_POW))
        n = binary(ps, T_POW, n, parse_unary(ps, true));
    return n;
}

/* Left-associative chains build a left-deep tree, so each link counts as a level of nesting. */
static node *parse_product(parser *ps) {
    node *n = parse_power(ps);
    uint32_t depth = ps->depth;
    while (!failed(ps) && (at(ps, T_MUL) || at(ps, T_DIV) || at(ps, T_FLOORDIV) || at(ps, T_MOD))) {
        int op = (int)ps->t->type;
        next(ps);
        if (!enter(ps))
            return NULL;
        n = binary(ps, op, n, parse_power(ps));
    }
    ps->depth = depth;
    return n;
}

static node *parse_concat(parser *ps) {
    node *first = parse_product(ps);
    if (failed(ps) || !at(ps, T_TILDE))
        return first;
    node *n = node_new(ps, N_CONCAT);
    node_vec v = {0};
    vec_push(ps, &v, first);
    while (!failed(ps) && accept(ps, T_TILDE))
        vec_push(ps, &v, parse_product(ps));
    if (!n || failed(ps))
        return NULL;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

static node *parse_sum(parser *ps) {
    node *n = parse_concat(ps);
    uint32_t depth = ps->depth;
    while (!failed(ps) && (at(ps, T_ADD) || at(ps, T_SUB))) {
        int op = (int)ps->t->type;
        next(ps);
        if (!enter(ps))
            return NULL;
        n = binary(ps, op, n, parse_concat(ps));
    }
    ps->depth = depth;
    return n;
}

static int comparison_operator(parser *ps) {
    token_type t = ps->t->type;
    if (t >= T_EQ && t <= T_GE) {
        next(ps);
        return (int)t;
    }
    if (accept_name(ps, "in"))
        return T_IN;
    if (at_name(ps, "not") && ps->t[1].type == T_NAME && span_equal_string(ps->t[1].text, "in")) {
        next(ps);
        next(ps);
        return T_NOT_IN;
    }
    return -1;
}

/* a op b op c: items = operands, ops = operators between them. */
static node *parse_comparison(parser *ps) {
    node *first = parse_sum(ps), *n = NULL;
    node_vec v = {0};
    int ops[16], op;
    size_t n_ops = 0;
    while (!failed(ps) && (op = comparison_operator(ps)) >= 0) {
        if (!n) {
            n = node_new(ps, N_COMPARE);
            vec_push(ps, &v, first);
        }
        if (n_ops == ARRAY_LEN(ops))
            return parse_fail(ps, "comparison chain is longer than %zu", ARRAY_LEN(ops));
        ops[n_ops++] = op;
        vec_push(ps, &v, parse_sum(ps));
    }
    if (failed(ps))
        return NULL;
    if (!n)
        return first;
    n->ops = parse_alloc(ps, n_ops * sizeof *n->ops);
    if (!n->ops)
        return NULL;
    memcpy(n->ops, ops, n_ops * sizeof *n->ops);
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

static node *parse_not(parser *ps) {
    if (!at_name(ps, "not"))
        return parse_comparison(ps);
    node *n = node_new(ps, N_NOT);
    next(ps);
    if (!n || !enter(ps))
        return NULL;
    n->a = parse_not(ps);
    ps->depth--;
    return failed(ps) ? NULL : n;
}

static node *parse_logic(parser *ps, node_kind kind, const char *word, node *(*operand)(parser *)) {
    node *first = operand(ps);
    if (failed(ps) || !at_name(ps, word))
        return first;
    node *n = node_new(ps, kind);
    node_vec v = {0};
    vec_push(ps, &v, first);
    while (!failed(ps) && accept_name(ps, word))
        vec_push(ps, &v, operand(ps));
    if (!n || failed(ps))
        return NULL;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}
static node *parse_and(parser *ps) {
    return parse_logic(ps, N_AND, "and", parse_not);
}
static node *parse_or(parser *ps) {
    return parse_logic(ps, N_OR, "or", parse_and);
}

/* x if condition else y: a = condition, b = x, c = y or NULL. */
static node *parse_expression(parser *ps) {
    if (failed(ps) || !enter(ps))
        return NULL;
    uint32_t depth = ps->depth;
    node *value = parse_or(ps);
    while (!failed(ps) && at_name(ps, "if")) {
        node *n = node_new(ps, N_COND);
        next(ps);
        node *condition = parse_or(ps), *otherwise = NULL;
        if (accept_name(ps, "else"))
            otherwise = parse_expression(ps);
        if (!n || failed(ps) || !enter(ps))
            return NULL;
        n->a = condition;
        n->b = value;
        n->c = otherwise;
        value = n;
    }
    ps->depth = depth - 1;
    return failed(ps) ? NULL : value;
}

/* ---- statements ---- */

static bool at_end_word(const parser *ps, const char *const *ends) {
    if (!at(ps, T_BLOCK_BEGIN) || ps->t[1].type != T_NAME)
        return false;
    for (; *ends; ends++)
        if (span_equal_string(ps->t[1].text, *ends))
            return true;
    return false;
}

/* The body, then "{% <end> %}" eaten whole. */
static node *parse_block(parser *ps, const char *end) {
    const char *const ends[] = {end, NULL};
    expect(ps, T_BLOCK_END);
    node *body = parse_body(ps, ends);
    if (failed(ps))
        return NULL;
    next(ps);
    next(ps);
    return expect(ps, T_BLOCK_END) ? body : NULL;
}

/* if: items = condition, body, condition, body...; c = else body. */
static node *parse_if(parser *ps) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    node *n = node_new(ps, N_IF);
    node_vec v = {0};
    while (!failed(ps)) {
        vec_push(ps, &v, parse_expression(ps));
        expect(ps, T_BLOCK_END);
        vec_push(ps, &v, parse_body(ps, ends));
        if (failed(ps))
            return NULL;
        next(ps);
        if (accept_name(ps, "elif"))
            continue;
        if (accept_name(ps, "else")) {
            node *body = parse_block(ps, "endif");
            if (n)
                n->c = body;
        } else {
            next(ps);
            expect(ps, T_BLOCK_END);
        }
        break;
    }
    if (!n || failed(ps))
        return NULL;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

static node *check_target(parser *ps, node *n) {
    if (failed(ps))
        return NULL;
    if (n->kind == N_NAME)
        return n;
    if (n->kind == N_ATTR && n->a->kind == N_NAME)
        return n;
    if (n->kind != N_TUPLE)
        return parse_fail(ps, "cannot assign to this expression; expected a name");
    for (size_t i = 0; i < n->n_items; i++)
        if (!check_target(ps, n->items[i]))
            return NULL;
    return n;
}

/* for: a = target, b = iterable, c = filter condition, d = body; items[0] = else body. */
static node *parse_for(parser *ps) {
    static const char *const ends[] = {"else", "endfor", NULL};
    node *n = node_new(ps, N_FOR);
    node *target = check_target(ps, parse_tuple(ps, false));
    if (!failed(ps) && !accept_name(ps, "in"))
        return parse_fail(ps, "expected 'in' after the loop variable");
    if (!n || failed(ps))
        return NULL;
    n->a = target;
    node_vec items = {0};
    do
        vec_push(ps, &items, parse_or(ps));
    while (!failed(ps) && accept(ps, T_COMMA));
    if (failed(ps))
        return NULL;
    n->b = items.v[0];
    if (items.n > 1) {
        n->b = node_new(ps, N_TUPLE);
        if (!n->b)
            return NULL;
        n->b->items = items.v;
        n->b->n_items = items.n;
    }
    if (accept_name(ps, "if"))
        n->c = parse_expression(ps);
    if (at_name(ps, "recursive"))
        return parse_fail(ps, "recursive loops are not supported; use a macro");
    expect(ps, T_BLOCK_END);
    ps->loop_depth++;
    n->d = parse_body(ps, ends);
    ps->loop_depth--;
    if (failed(ps))
        return NULL;
    next(ps);
    if (accept_name(ps, "else")) {
        node_vec v = {0};
        vec_push(ps, &v, parse_block(ps, "endfor"));
        n->items = v.v;
        n->n_items = v.n;
    } else {
        next(ps);
        expect(ps, T_BLOCK_END);
    }
    return failed(ps) ? NULL : n;
}

/* set a = b, or a block: a = target, b = value; block: c = body, b = filter chain whose innermost input is NULL. */
static node *parse_set(parser *ps) {
    node *n = node_new(ps, N_SET);
    node *target = check_target(ps, parse_tuple(ps, false));
    if (!n || failed(ps))
        return NULL;
    n->a = target;
    if (accept(ps, T_ASSIGN)) {
        n->b = parse_tuple(ps, true);
        return expect(ps, T_BLOCK_END) ? n : NULL;
    }
    n->kind = N_SET_BLOCK;
    while (!failed(ps) && accept(ps, T_PIPE))
        n->b = parse_filter(ps, n->b);
    n->c = parse_block(ps, "endset");
    return failed(ps) ? NULL : n;
}

/* Parameters of a macro or call block: names[], keys[] = defaults (NULL where none). */
static void parse_parameters(parser *ps, node *n) {
    size_t cap = 0;
    expect(ps, T_LPAREN);
    while (!failed(ps) && !at(ps, T_RPAREN)) {
        if (n->n_keys == cap) {
            cap = cap ? cap * 2 : 4;
            const char **names = parse_alloc(ps, cap * sizeof *names);
            node **keys = parse_alloc(ps, cap * sizeof *keys);
            if (!names || !keys)
                return;
            if (n->n_keys) {
                memcpy(names, n->names, n->n_keys * sizeof *names);
                memcpy(keys, n->keys, n->n_keys * sizeof *keys);
            }
            n->names = names;
            n->keys = keys;
        }
        n->names[n->n_keys] = expect_name(ps);
        n->keys[n->n_keys] = accept(ps, T_ASSIGN) ? parse_expression(ps) : NULL;
        n->n_keys++;
        if (!accept(ps, T_COMMA))
            break;
    }
    expect(ps, T_RPAREN);
}

/* macro: name, names/keys, d = body. */
static node *parse_macro(parser *ps) {
    node *n = node_new(ps, N_MACRO);
    if (!n)
        return NULL;
    n->name = expect_name(ps);
    parse_parameters(ps, n);
    n->d = failed(ps) ? NULL : parse_block(ps, "endmacro");
    return failed(ps) ? NULL : n;
}

/* call: names/keys = parameters of caller, a = the call expression, d = body. */
static node *parse_call_block(parser *ps) {
    node *n = node_new(ps, N_CALL_BLOCK);
    if (!n)
        return NULL;
    n->name = "caller";
    if (at(ps, T_LPAREN))
        parse_parameters(ps, n);
    n->a = parse_expression(ps);
    if (!failed(ps) && n->a->kind != N_CALL)
        return parse_fail(ps, "expected a macro call after 'call'");
    n->d = failed(ps) ? NULL : parse_block(ps, "endcall");
    return failed(ps) ? NULL : n;
}

static node *parse_filter_block(parser *ps) {
    node *n = node_new(ps, N_FILTER_BLOCK);
    if (!n)
        return NULL;
    n->b = parse_filter(ps, NULL);
    while (!failed(ps) && accept(ps, T_PIPE))
        n->b = parse_filter(ps, n->b);
    n->c = failed(ps) ? NULL : parse_block(ps, "endfilter");
    return failed(ps) ? NULL : n;
}

/* with a = 1, b = 2: names = names, keys = values, d = body. */
static node *parse_with(parser *ps) {
    node *n = node_new(ps, N_WITH);
    node_vec v = {0};
    const char *names[16];
    if (!n)
        return NULL;
    while (!failed(ps) && !at(ps, T_BLOCK_END)) {
        if (v.n == ARRAY_LEN(names))
            return parse_fail(ps, "with binds more than %zu names", ARRAY_LEN(names));
        names[v.n] = expect_name(ps);
        expect(ps, T_ASSIGN);
        vec_push(ps, &v, parse_expression(ps));
        if (!accept(ps, T_COMMA))
            break;
    }
    n->names = parse_alloc(ps, (v.n + 1) * sizeof *n->names);
    if (!n->names || failed(ps))
        return NULL;
    memcpy(n->names, names, v.n * sizeof *names);
    n->keys = v.v;
    n->n_keys = v.n;
    n->d = parse_block(ps, "endwith");
    return failed(ps) ? NULL : n;
}

static node *parse_loop_control(parser *ps, node_kind kind) {
    node *n = node_new(ps, kind);
    if (ps->loop_depth == 0)
        return parse_fail(ps, "break and continue belong in a for loop");
    return expect(ps, T_BLOCK_END) ? n : NULL;
}

static node *parse_statement(parser *ps) {
    const char *word = expect_name(ps);
    if (!word)
        return NULL;
    if (!strcmp(word, "if"))
        return parse_if(ps);
    if (!strcmp(word, "for"))
        return parse_for(ps);
    if (!strcmp(word, "set"))
        return parse_set(ps);
    if (!strcmp(word, "macro")) {
        uint32_t loops = ps->loop_depth;
        ps->loop_depth = 0;
        node *n = parse_macro(ps);
        ps->loop_depth = loops;
        return n;
    }
    if (!strcmp(word, "call"))
        return parse_call_block(ps);
    if (!strcmp(word, "filter"))
        return parse_filter_block(ps);
    if (!strcmp(word, "with"))
        return parse_with(ps);
    if (!strcmp(word, "break"))
        return parse_loop_control(ps, N_BREAK);
    if (!strcmp(word, "continue"))
        return parse_loop_control(ps, N_CONTINUE);
    if (!strcmp(word, "generation"))
        return parse_block(ps, "endgeneration");
    return parse_fail(ps, "statement '%.40s' is not supported", word);
}

/* Statements until one of `ends` (left as the current tag) or, with ends NULL, the end of the source. */
static node *parse_body(parser *ps, const char *const *ends) {
    if (failed(ps) || !enter(ps))
        return NULL;
    node *n = node_new(ps, N_BODY);
    node_vec v = {0};
    while (!failed(ps) && !at(ps, T_EOF)) {
        node *part = NULL;
        if (at(ps, T_DATA)) {
            part = node_new(ps, N_DATA);
            if (part)
                part->value = tv_borrow(ps->t->text.p, ps->t->text.n);
            next(ps);
        } else if (accept(ps, T_VAR_BEGIN)) {
            part = node_new(ps, N_OUTPUT);
            node *value = parse_tuple(ps, true);
            if (part)
                part->a = value;
            expect(ps, T_VAR_END);
        } else {
            if (ends && at_end_word(ps, ends))
                break;
            expect(ps, T_BLOCK_BEGIN);
            part = parse_statement(ps);
        }
        vec_push(ps, &v, part);
    }
    if (!failed(ps) && ends && at(ps, T_EOF))
        return parse_fail(ps, "block is not closed; add {%% %s %%}", ends[0]);
    ps->depth--;
    if (!n || failed(ps))
        return NULL;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

muga_status template_parse(const token_list *tokens, arena *mem, uint32_t max_depth, node **root, muga_error *err) {
    parser ps = {.t = tokens->v, .mem = mem, .max_depth = max_depth, .err = err};
    *root = parse_body(&ps, NULL);
    return ps.status;
}

muga_status template_parse_expression(const token_list *tokens, arena *mem, uint32_t max_depth, node **root,
                                      muga_error *err) {
    parser ps = {.t = tokens->v, .mem = mem, .max_depth = max_depth, .err = err};
    *root = parse_expression(&ps);
    if (!failed(&ps) && !at(&ps, T_EOF))
        parse_fail(&ps, "unexpected '%s' after the expression", token_name(ps.t->type));
    return ps.status;
}
