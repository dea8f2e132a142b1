/* Parser of chat templates, expressions: tokens to a tree, by recursive descent with a depth limit.
 * Precedence, lowest first: if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary, postfix, filter and test.
 * Source: the Jinja template designer documentation ("Expressions"). */
#include "model/template_parse.h"

/* ---- primary expressions ---- */

static node *parse_unary(parser *ps, bool with_filter);
static node *parse_or(parser *ps);

static node *constant(parser *ps, tv v) {
    node *n = parse_node(ps, N_CONST);
    if (n)
        n->value = v;
    return n;
}

static node *parse_list(parser *ps) {
    node *n = parse_node(ps, N_LIST);
    node_vec v = {0};
    parse_next(ps);
    while (!parse_failed(ps) && !parse_at(ps, T_RBRACKET)) {
        parse_push(ps, &v, parse_expression(ps));
        if (!parse_accept(ps, T_COMMA))
            break;
    }
    if (!n || !parse_expect(ps, T_RBRACKET))
        return NULL;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

static node *parse_dict(parser *ps) {
    node *n = parse_node(ps, N_DICT);
    node_vec keys = {0}, values = {0};
    parse_next(ps);
    while (!parse_failed(ps) && !parse_at(ps, T_RBRACE)) {
        parse_push(ps, &keys, parse_expression(ps));
        parse_expect(ps, T_COLON);
        parse_push(ps, &values, parse_expression(ps));
        if (!parse_accept(ps, T_COMMA))
            break;
    }
    if (!n || !parse_expect(ps, T_RBRACE))
        return NULL;
    n->keys = keys.v;
    n->items = values.v;
    n->n_items = n->n_keys = values.n;
    return n;
}

static node *parse_strings(parser *ps) {
    size_t n = 0;
    for (const token *t = ps->t; t->type == T_STRING; t++)
        n += t->text.n;
    char *text = parse_alloc(ps, n + 1);
    if (!text)
        return NULL;
    n = 0;
    for (; parse_at(ps, T_STRING); parse_next(ps)) {
        memcpy(text + n, ps->t->text.p, ps->t->text.n);
        n += ps->t->text.n;
    }
    return constant(ps, tv_borrow(text, n));
}

static node *parse_name(parser *ps, bool with_namespace) {
    const char *name = ps->t->text.p;
    uint32_t line = ps->t->line;
    parse_next(ps);
    if (!strcmp(name, "true") || !strcmp(name, "True"))
        return constant(ps, tv_bool(true));
    if (!strcmp(name, "false") || !strcmp(name, "False"))
        return constant(ps, tv_bool(false));
    if (!strcmp(name, "none") || !strcmp(name, "None"))
        return constant(ps, TV_NULL);
    node *n = parse_node(ps, N_NAME);
    if (!n)
        return NULL;
    n->line = line;
    n->name = name;
    n->name_id = parse_intern(ps, name);
    if (with_namespace && parse_accept(ps, T_DOT)) {
        n->kind = N_NSREF;
        n->name = parse_expect_name(ps);
    }
    return n;
}

static node *parse_number(parser *ps) {
    tv v = parse_at(ps, T_INT) ? tv_int(ps->t->i) : tv_float(ps->t->d);
    parse_next(ps);
    return constant(ps, v);
}

static node *parse_primary(parser *ps, bool with_namespace) {
    if (parse_failed(ps))
        return NULL;
    switch (ps->t->type) {
    case T_NAME: return parse_name(ps, with_namespace);
    case T_STRING: return parse_strings(ps);
    case T_INT:
    case T_FLOAT: return parse_number(ps);
    case T_LBRACKET: return parse_list(ps);
    case T_LBRACE: return parse_dict(ps);
    case T_LPAREN: {
        parse_next(ps);
        node *n = parse_tuple(ps, (tuple_rule){.with_condition = true, .parentheses = true});
        return parse_expect(ps, T_RPAREN) ? n : NULL;
    }
    default: return parse_fail(ps, "expected an expression, found '%s'", parse_token_name(ps->t->type));
    }
}

static bool at_tuple_end(const parser *ps, const char *end) {
    return parse_at(ps, T_VAR_END) || parse_at(ps, T_BLOCK_END) || parse_at(ps, T_RPAREN) ||
           (end && parse_at_name(ps, end));
}

node *parse_tuple(parser *ps, tuple_rule rule) {
    node_vec v = {0};
    bool is_tuple = false;
    uint32_t line = ps->t->line;
    while (!parse_failed(ps) && !at_tuple_end(ps, rule.end)) {
        node *part;
        if (rule.names_only) {
            if (!parse_enter(ps))
                return NULL;
            part = parse_primary(ps, rule.with_namespace);
            ps->depth--;
        } else {
            part = rule.with_condition ? parse_expression(ps) : parse_or(ps);
        }
        parse_push(ps, &v, part);
        if (!parse_accept(ps, T_COMMA))
            break;
        is_tuple = true;
    }
    if (parse_failed(ps))
        return NULL;
    if (!is_tuple && v.n)
        return v.v[0];
    if (!is_tuple && !rule.parentheses)
        return parse_fail(ps, "expected an expression, found '%s'", parse_token_name(ps->t->type));
    node *n = parse_node(ps, N_TUPLE);
    if (!n)
        return NULL;
    n->line = line;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

/* ---- postfix: attribute, subscript, call, filter, test ---- */

typedef struct argument_list {
    node_vec positional, named;
    const char **names;
    size_t cap;
} argument_list;

static void push_keyword(parser *ps, node *call, argument_list *a) {
    if (a->named.n == a->cap) {
        size_t cap = a->cap ? a->cap * 2 : 4;
        const char **p = parse_alloc(ps, cap * sizeof *p);
        if (!p)
            return;
        if (a->named.n)
            memcpy(p, a->names, a->named.n * sizeof *p);
        a->names = p;
        a->cap = cap;
    }
    const char *name = ps->t->text.p;
    for (size_t i = 0; i < a->named.n && i < 64; i++)
        if (!strcmp(a->names[i], name))
            parse_fail(ps, "keyword argument '%.60s' is given twice", name);
    if (call->star2)
        parse_fail(ps, "a keyword argument stands after **");
    a->names[a->named.n] = name;
    parse_next(ps);
    parse_next(ps);
    parse_push(ps, &a->named, parse_expression(ps));
}

static void push_argument(parser *ps, node *call, argument_list *a) {
    bool star = parse_at(ps, T_MUL), star2 = parse_at(ps, T_POW);
    if (star || star2) {
        parse_next(ps);
        if (call->star2 || (star && call->star))
            parse_fail(ps, "arguments may be unpacked once with * and once with ** after it");
        node *value = parse_expression(ps);
        if (star)
            call->star = value;
        else
            call->star2 = value;
    } else if (parse_at(ps, T_NAME) && ps->t[1].type == T_ASSIGN) {
        push_keyword(ps, call, a);
    } else if (a->named.n || call->star || call->star2) {
        parse_fail(ps, "positional argument after a keyword argument; put it first");
    } else {
        parse_push(ps, &a->positional, parse_expression(ps));
    }
}

/* Arguments of a call whose '(' is the current token: items = positional, names/keys = keyword, star, star2. */
static void parse_arguments(parser *ps, node *call) {
    argument_list a = {{0}, {0}, NULL, 0};
    parse_expect(ps, T_LPAREN);
    while (!parse_failed(ps) && !parse_at(ps, T_RPAREN)) {
        push_argument(ps, call, &a);
        if (!parse_accept(ps, T_COMMA))
            break;
    }
    if (!parse_expect(ps, T_RPAREN))
        return;
    call->items = a.positional.v;
    call->n_items = a.positional.n;
    call->keys = a.named.v;
    call->names = a.names;
    call->n_keys = a.named.n;
}

/* One part of a subscript; *slice is made N_SLICE where it has a colon: b, c, d = its parts, NULL where left out. */
static node *parse_subscribed(parser *ps, node *slice) {
    node *part[3] = {NULL, NULL, NULL};
    int i = 0;
    bool colon = false;
    while (!parse_failed(ps) && !parse_at(ps, T_RBRACKET) && !parse_at(ps, T_COMMA)) {
        if (parse_at(ps, T_COLON) && i < 2) {
            parse_next(ps);
            colon = true;
            i++;
        } else if (!part[i] && !(colon && i == 0)) {
            part[i] = parse_expression(ps);
        } else {
            return parse_fail(ps, "expected ']', found '%s'", parse_token_name(ps->t->type));
        }
    }
    if (!colon)
        return part[0] ? part[0] : parse_fail(ps, "subscript is empty");
    slice->kind = N_SLICE;
    slice->b = part[0];
    slice->c = part[1];
    slice->d = part[2];
    return slice;
}

static node *parse_subscript(parser *ps, node *object) {
    node *n = parse_node(ps, N_ITEM);
    node_vec parts = {0};
    parse_next(ps);
    while (n && !parse_failed(ps) && !parse_at(ps, T_RBRACKET)) {
        parse_push(ps, &parts, parse_subscribed(ps, n));
        if (!parse_accept(ps, T_COMMA))
            break;
        if (n->kind == N_SLICE)
            return parse_fail(ps, "a slice can't be part of a tuple");
    }
    if (!n || !parse_expect(ps, T_RBRACKET))
        return NULL;
    n->a = object;
    if (n->kind == N_SLICE)
        return parts.n == 1 ? n : parse_fail(ps, "a slice can't be part of a tuple");
    if (parts.n == 1) {
        n->b = parts.v[0];
        return n;
    }
    n->b = parse_node(ps, N_TUPLE);
    if (!n->b)
        return NULL;
    n->b->items = parts.v;
    n->b->n_items = parts.n;
    return n;
}

static node *parse_dot(parser *ps, node *object) {
    node *n = parse_node(ps, N_ATTR);
    parse_next(ps);
    if (!n)
        return NULL;
    n->a = object;
    if (parse_at(ps, T_INT)) {
        n->kind = N_ITEM;
        n->b = parse_number(ps);
    } else {
        n->name = parse_expect_name(ps);
    }
    return n;
}

static node *parse_call(parser *ps, node *callee) {
    node *n = parse_node(ps, N_CALL);
    if (!n)
        return NULL;
    n->a = callee;
    parse_arguments(ps, n);
    return n;
}

static node *parse_postfix(parser *ps, node *n) {
    while (!parse_failed(ps)) {
        if (parse_at(ps, T_DOT))
            n = parse_dot(ps, n);
        else if (parse_at(ps, T_LBRACKET))
            n = parse_subscript(ps, n);
        else if (parse_at(ps, T_LPAREN))
            n = parse_call(ps, n);
        else
            return n;
        if (!parse_enter(ps))
            return NULL; /* a chain nests the tree as deeply as brackets do */
    }
    return NULL;
}

/* "name" or "first.second": the dots are part of a filter's or test's name. */
static const char *parse_dotted_name(parser *ps) {
    const char *name = parse_expect_name(ps);
    while (name && parse_accept(ps, T_DOT)) {
        const char *part = parse_expect_name(ps);
        size_t n = strlen(name), n_part = part ? strlen(part) : 0;
        char *whole = parse_alloc(ps, n + n_part + 2);
        if (!whole || !part)
            return NULL;
        memcpy(whole, name, n);
        whole[n] = '.';
        memcpy(whole + n + 1, part, n_part);
        name = whole;
    }
    return name;
}

/* a = input (NULL: a block's text), name, index, arguments. */
node *parse_filters(parser *ps, node *input, bool begun) {
    while (!parse_failed(ps) && (begun || parse_accept(ps, T_PIPE))) {
        node *n = parse_node(ps, N_FILTER);
        if (!n)
            return NULL;
        n->a = input;
        n->name = parse_dotted_name(ps);
        if (parse_at(ps, T_LPAREN))
            parse_arguments(ps, n);
        if (!parse_enter(ps))
            return NULL;
        input = n;
        begun = false;
    }
    return parse_failed(ps) ? NULL : input;
}

static bool at_test_argument(const parser *ps) {
    if (parse_at(ps, T_NAME))
        return !parse_at_name(ps, "else") && !parse_at_name(ps, "or") && !parse_at_name(ps, "and");
    return parse_at(ps, T_STRING) || parse_at(ps, T_INT) || parse_at(ps, T_FLOAT) || parse_at(ps, T_LBRACKET) ||
           parse_at(ps, T_LBRACE);
}

static node *parse_test(parser *ps, node *input) {
    node *n = parse_node(ps, N_TEST);
    parse_next(ps);
    if (!n)
        return NULL;
    n->a = input;
    n->op = parse_accept_name(ps, "not");
    n->name = parse_dotted_name(ps);
    if (parse_at(ps, T_LPAREN)) {
        parse_arguments(ps, n);
    } else if (!parse_failed(ps) && at_test_argument(ps)) {
        node_vec v = {0};
        if (parse_at_name(ps, "is"))
            return parse_fail(ps, "tests can't be chained with 'is'; use 'and'");
        parse_push(ps, &v, parse_postfix(ps, parse_primary(ps, false)));
        n->items = v.v;
        n->n_items = v.n;
    }
    return parse_failed(ps) ? NULL : n;
}

static node *parse_filters_and_tests(parser *ps, node *n) {
    while (!parse_failed(ps)) {
        if (parse_at(ps, T_PIPE))
            n = parse_filters(ps, n, false);
        else if (parse_at_name(ps, "is"))
            n = parse_test(ps, n);
        else if (parse_at(ps, T_LPAREN))
            n = parse_call(ps, n);
        else
            return n;
        if (!parse_enter(ps))
            return NULL;
    }
    return NULL;
}

/* ---- operators ---- */

static node *parse_unary(parser *ps, bool with_filter) {
    if (parse_failed(ps) || !parse_enter(ps))
        return NULL;
    uint32_t depth = ps->depth;
    node *n;
    if (parse_at(ps, T_SUB) || parse_at(ps, T_ADD)) {
        n = parse_node(ps, parse_at(ps, T_SUB) ? N_NEG : N_POS);
        parse_next(ps);
        node *operand = parse_unary(ps, false);
        if (n)
            n->a = operand;
    } else {
        n = parse_primary(ps, false);
    }
    n = parse_postfix(ps, n);
    if (with_filter)
        n = parse_filters_and_tests(ps, n);
    ps->depth = depth - 1;
    return parse_failed(ps) ? NULL : n;
}

static node *parse_operand(parser *ps) {
    return parse_unary(ps, true);
}

/* operand (op operand)*, grouped to the left: the tree grows deeper with every link. */
static node *parse_left(parser *ps, const token_type *ops, node *(*operand)(parser *)) {
    node *left = operand(ps);
    uint32_t depth = ps->depth;
    while (!parse_failed(ps)) {
        const token_type *op = ops;
        while (*op != T_EOF && !parse_at(ps, *op))
            op++;
        if (*op == T_EOF)
            break;
        node *n = parse_node(ps, N_BINARY);
        parse_next(ps);
        if (!n || !parse_enter(ps))
            return NULL;
        n->op = (int)*op;
        n->a = left;
        n->b = operand(ps);
        left = n;
    }
    ps->depth = depth;
    return parse_failed(ps) ? NULL : left;
}

static node *parse_power(parser *ps) {
    static const token_type ops[] = {T_POW, T_EOF};
    return parse_left(ps, ops, parse_operand);
}

static node *parse_product(parser *ps) {
    static const token_type ops[] = {T_MUL, T_DIV, T_FLOORDIV, T_MOD, T_EOF};
    return parse_left(ps, ops, parse_power);
}

/* items = operands: as many as there are, in one node. */
static node *parse_concat(parser *ps) {
    node *first = parse_product(ps);
    if (parse_failed(ps) || !parse_at(ps, T_TILDE))
        return first;
    node *n = parse_node(ps, N_CONCAT);
    node_vec v = {0};
    parse_push(ps, &v, first);
    while (!parse_failed(ps) && parse_accept(ps, T_TILDE))
        parse_push(ps, &v, parse_product(ps));
    if (!n || parse_failed(ps))
        return NULL;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

static node *parse_sum(parser *ps) {
    static const token_type ops[] = {T_ADD, T_SUB, T_EOF};
    return parse_left(ps, ops, parse_concat);
}

static int comparison_operator(parser *ps) {
    token_type t = ps->t->type;
    if (t >= T_EQ && t <= T_GE) {
        parse_next(ps);
        return (int)t;
    }
    if (parse_accept_name(ps, "in"))
        return T_IN;
    if (parse_at_name(ps, "not") && ps->t[1].type == T_NAME && span_equal_string(ps->t[1].text, "in")) {
        parse_next(ps);
        parse_next(ps);
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
    while (!parse_failed(ps) && (op = comparison_operator(ps)) >= 0) {
        if (!n) {
            n = parse_node(ps, N_COMPARE);
            parse_push(ps, &v, first);
        }
        if (n_ops == ARRAY_LEN(ops))
            return parse_fail(ps, "comparison chain is longer than %zu", ARRAY_LEN(ops));
        ops[n_ops++] = op;
        parse_push(ps, &v, parse_sum(ps));
    }
    if (parse_failed(ps))
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
    if (!parse_at_name(ps, "not"))
        return parse_comparison(ps);
    node *n = parse_node(ps, N_NOT);
    parse_next(ps);
    if (!n || !parse_enter(ps))
        return NULL;
    n->a = parse_not(ps);
    ps->depth--;
    return parse_failed(ps) ? NULL : n;
}

static node *parse_logic(parser *ps, node_kind kind, const char *word, node *(*operand)(parser *)) {
    node *first = parse_failed(ps) ? NULL : operand(ps);
    if (parse_failed(ps) || !parse_at_name(ps, word))
        return first;
    node *n = parse_node(ps, kind);
    node_vec v = {0};
    parse_push(ps, &v, first);
    while (!parse_failed(ps) && parse_accept_name(ps, word))
        parse_push(ps, &v, operand(ps));
    if (!n || parse_failed(ps))
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
node *parse_expression(parser *ps) {
    if (parse_failed(ps) || !parse_enter(ps))
        return NULL;
    uint32_t depth = ps->depth;
    node *value = parse_or(ps);
    while (!parse_failed(ps) && parse_accept_name(ps, "if")) {
        node *n = parse_node(ps, N_COND);
        node *condition = parse_or(ps), *otherwise = NULL;
        if (parse_accept_name(ps, "else"))
            otherwise = parse_expression(ps);
        if (!n || parse_failed(ps) || !parse_enter(ps))
            return NULL;
        n->a = condition;
        n->b = value;
        n->c = otherwise;
        value = n;
    }
    ps->depth = depth - 1;
    return parse_failed(ps) ? NULL : value;
}

muga_status template_parse(const template_tokens *tokens, bool expression_only, template *t, muga_error *err) {
    parser ps = {.t = tokens->v, .into = t, .err = err};
    static const char *const special[] = {"caller", "kwargs", "varargs", "loop"}; /* in the order of NAME_... */
    for (size_t i = 0; i < ARRAY_LEN(special); i++)
        (void)parse_intern(&ps, special[i]);
    t->root = expression_only ? parse_expression(&ps) : parse_template_body(&ps);
    if (!parse_failed(&ps) && !parse_at(&ps, T_EOF))
        parse_fail(&ps, "unexpected '%s' after the expression", parse_token_name(ps.t->type));
    return ps.status;
}
