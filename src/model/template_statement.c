/* Parser of chat templates, statements. Refuses by name what it does not have: include, import, from, extends, block,
 * autoescape, do.
 * Source: the Jinja template designer documentation ("List of Control Structures"), transformers' "generation" tag. */
#include "model/template_parse.h"

static node *parse_body(parser *ps, const char *const *ends);

static bool at_end_word(const parser *ps, const char *const *ends) {
    if (!parse_at(ps, T_BLOCK_BEGIN) || ps->t[1].type != T_NAME)
        return false;
    for (; *ends; ends++)
        if (span_equal_string(ps->t[1].text, *ends))
            return true;
    return false;
}

/* The rest of the tag, then the body up to one of the end words, which is left as the current token. */
static node *parse_until(parser *ps, const char *const *ends) {
    parse_accept(ps, T_COLON);
    parse_expect(ps, T_BLOCK_END);
    node *body = parse_body(ps, ends);
    if (!parse_failed(ps))
        parse_next(ps);
    return body;
}

/* The rest of the tag, the body, then "{% <end> %}" eaten whole. */
static node *parse_block(parser *ps, const char *end) {
    const char *const ends[] = {end, NULL};
    node *body = parse_until(ps, ends);
    if (parse_failed(ps))
        return NULL;
    parse_next(ps);
    return parse_expect(ps, T_BLOCK_END) ? body : NULL;
}

/* if: items = condition, body, condition, body...; c = else body. */
static node *parse_if(parser *ps) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    node *n = parse_node(ps, N_IF);
    node_vec v = {0};
    while (!parse_failed(ps)) {
        parse_push(ps, &v, parse_tuple(ps, (tuple_rule){0}));
        parse_push(ps, &v, parse_until(ps, ends));
        if (parse_failed(ps))
            return NULL;
        if (parse_accept_name(ps, "elif"))
            continue;
        if (parse_accept_name(ps, "else")) {
            node *body = parse_block(ps, "endif");
            if (n)
                n->c = body;
        } else {
            parse_next(ps);
            parse_expect(ps, T_BLOCK_END);
        }
        break;
    }
    if (!n || parse_failed(ps))
        return NULL;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

static bool is_target(const node *n) {
    if (n->kind == N_NAME || n->kind == N_NSREF)
        return true;
    if (n->kind != N_TUPLE)
        return false;
    for (size_t i = 0; i < n->n_items; i++)
        if (!is_target(n->items[i]))
            return false;
    return true;
}

static node *parse_target(parser *ps, bool with_namespace, const char *end) {
    node *n = parse_tuple(ps, (tuple_rule){.names_only = true, .with_namespace = with_namespace, .end = end});
    if (n && !is_target(n))
        return parse_fail(ps, "cannot assign to this expression; expected a name");
    return n;
}

static bool assigns_loop(const node *n) {
    if (n->kind == N_NAME)
        return !strcmp(n->name, "loop");
    for (size_t i = 0; n->kind == N_TUPLE && i < n->n_items; i++)
        if (assigns_loop(n->items[i]))
            return true;
    return false;
}

/* for: a = target, b = iterable, c = filter condition, d = body, op = recursive; items[0] = else body. */
static node *parse_for(parser *ps) {
    static const char *const ends[] = {"else", "endfor", NULL};
    node *n = parse_node(ps, N_FOR);
    node *target = parse_target(ps, false, "in");
    if (!parse_failed(ps) && !parse_accept_name(ps, "in"))
        return parse_fail(ps, "expected 'in' after the loop variable");
    if (!n || parse_failed(ps))
        return NULL;
    if (assigns_loop(target))
        return parse_fail(ps, "cannot assign to the loop variable 'loop'; use another name");
    n->a = target;
    n->b = parse_tuple(ps, (tuple_rule){.end = "recursive"});
    if (parse_accept_name(ps, "if"))
        n->c = parse_expression(ps);
    n->op = parse_accept_name(ps, "recursive");
    ps->loop_depth++;
    n->d = parse_until(ps, ends);
    ps->loop_depth--;
    if (parse_failed(ps))
        return NULL;
    if (parse_accept_name(ps, "else")) {
        node_vec v = {0};
        parse_push(ps, &v, parse_block(ps, "endfor"));
        n->items = v.v;
        n->n_items = v.n;
    } else {
        parse_next(ps);
        parse_expect(ps, T_BLOCK_END);
    }
    return parse_failed(ps) ? NULL : n;
}

/* set a = b, or a block: a = target, b = value; block: c = body, b = filter chain whose innermost input is NULL. */
static node *parse_set(parser *ps) {
    node *n = parse_node(ps, N_SET);
    node *target = parse_target(ps, true, NULL);
    if (!n || parse_failed(ps))
        return NULL;
    if (ps->loop_depth && assigns_loop(target))
        return parse_fail(ps, "cannot assign to the loop variable 'loop'; use another name");
    n->a = target;
    if (parse_accept(ps, T_ASSIGN)) {
        n->b = parse_tuple(ps, (tuple_rule){.with_condition = true});
        return parse_expect(ps, T_BLOCK_END) ? n : NULL;
    }
    n->kind = N_SET_BLOCK;
    n->b = parse_filters(ps, NULL, false);
    n->c = parse_block(ps, "endset");
    return parse_failed(ps) ? NULL : n;
}

static bool grow_parameters(parser *ps, node *n, size_t *cap) {
    size_t more = *cap ? *cap * 2 : 4;
    const char **names = parse_alloc(ps, more * sizeof *names);
    uint32_t *ids = parse_alloc(ps, more * sizeof *ids);
    node **keys = parse_alloc(ps, more * sizeof *keys);
    if (!names || !ids || !keys)
        return false;
    if (n->n_keys) {
        memcpy(names, n->names, n->n_keys * sizeof *names);
        memcpy(ids, n->name_ids, n->n_keys * sizeof *ids);
        memcpy(keys, n->keys, n->n_keys * sizeof *keys);
    }
    n->names = names;
    n->name_ids = ids;
    n->keys = keys;
    *cap = more;
    return true;
}

/* Parameters of a macro or call block: names[], keys[] = defaults (NULL where none). */
static void parse_parameters(parser *ps, node *n) {
    size_t cap = 0;
    parse_expect(ps, T_LPAREN);
    while (!parse_failed(ps) && !parse_at(ps, T_RPAREN)) {
        if (n->n_keys == cap && !grow_parameters(ps, n, &cap))
            return;
        const char *name = parse_expect_name(ps);
        n->names[n->n_keys] = name;
        n->name_ids[n->n_keys] = parse_intern(ps, name);
        n->keys[n->n_keys] = parse_accept(ps, T_ASSIGN) ? parse_expression(ps) : NULL;
        if (n->n_keys && n->keys[n->n_keys - 1] && !n->keys[n->n_keys])
            parse_fail(ps, "parameter without a default follows one with a default");
        n->n_keys++;
        if (!parse_accept(ps, T_COMMA))
            break;
    }
    parse_expect(ps, T_RPAREN);
}

/* A body that is a function of its own: no loop outside it can be left from inside. */
static node *parse_function_body(parser *ps, const char *end) {
    uint32_t loops = ps->loop_depth;
    ps->loop_depth = 0;
    node *body = parse_failed(ps) ? NULL : parse_block(ps, end);
    ps->loop_depth = loops;
    return body;
}

/* macro: name, names/keys, d = body. */
static node *parse_macro(parser *ps) {
    node *n = parse_node(ps, N_MACRO);
    if (!n)
        return NULL;
    n->name = parse_expect_name(ps);
    n->name_id = parse_intern(ps, n->name);
    parse_parameters(ps, n);
    n->d = parse_function_body(ps, "endmacro");
    return parse_failed(ps) ? NULL : n;
}

/* call: names/keys = parameters of caller, a = the call expression, d = body. */
static node *parse_call_block(parser *ps) {
    node *n = parse_node(ps, N_CALL_BLOCK);
    if (!n)
        return NULL;
    n->name = "caller";
    if (parse_at(ps, T_LPAREN))
        parse_parameters(ps, n);
    n->a = parse_expression(ps);
    if (!parse_failed(ps) && n->a->kind != N_CALL)
        return parse_fail(ps, "expected a macro call after 'call'");
    n->d = parse_function_body(ps, "endcall");
    return parse_failed(ps) ? NULL : n;
}

/* filter: b = filter chain whose innermost input is NULL, c = body. */
static node *parse_filter_block(parser *ps) {
    node *n = parse_node(ps, N_FILTER_BLOCK);
    if (!n)
        return NULL;
    n->b = parse_filters(ps, NULL, true);
    n->c = parse_failed(ps) ? NULL : parse_block(ps, "endfilter");
    return parse_failed(ps) ? NULL : n;
}

/* with a = 1, b = 2: items = targets, keys = values, d = body. */
static node *parse_with(parser *ps) {
    node *n = parse_node(ps, N_WITH);
    node_vec targets = {0}, values = {0};
    if (!n)
        return NULL;
    while (!parse_failed(ps) && !parse_at(ps, T_BLOCK_END)) {
        if (targets.n)
            parse_expect(ps, T_COMMA);
        parse_push(ps, &targets, parse_target(ps, false, NULL));
        parse_expect(ps, T_ASSIGN);
        parse_push(ps, &values, parse_expression(ps));
    }
    n->items = targets.v;
    n->n_items = targets.n;
    n->keys = values.v;
    n->n_keys = values.n;
    n->d = parse_failed(ps) ? NULL : parse_block(ps, "endwith");
    return parse_failed(ps) ? NULL : n;
}

static node *parse_loop_control(parser *ps, node_kind kind) {
    node *n = parse_node(ps, kind);
    if (ps->loop_depth == 0)
        return parse_fail(ps, "break and continue belong in a for loop");
    return parse_expect(ps, T_BLOCK_END) ? n : NULL;
}

/* print a, b: items = values, written one after the other. */
static node *parse_print(parser *ps) {
    node *n = parse_node(ps, N_BODY);
    node_vec v = {0};
    while (!parse_failed(ps) && !parse_at(ps, T_BLOCK_END)) {
        if (v.n)
            parse_expect(ps, T_COMMA);
        node *part = parse_node(ps, N_OUTPUT), *value = parse_expression(ps);
        if (part)
            part->a = value;
        parse_push(ps, &v, part);
    }
    if (!n || !parse_expect(ps, T_BLOCK_END))
        return NULL;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

/* d = body. */
static node *parse_generation(parser *ps) {
    node *n = parse_node(ps, N_GENERATION), *body = parse_function_body(ps, "endgeneration");
    if (n)
        n->d = body;
    return parse_failed(ps) ? NULL : n;
}

static node *parse_statement(parser *ps) {
    static const struct {
        const char *word;
        node *(*parse)(parser *);
    } table[] = {{"if", parse_if},       {"for", parse_for},         {"set", parse_set},
                 {"macro", parse_macro}, {"call", parse_call_block}, {"filter", parse_filter_block},
                 {"with", parse_with},   {"print", parse_print},     {"generation", parse_generation}};
    const char *word = parse_expect_name(ps);
    if (!word)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (!strcmp(word, table[i].word))
            return table[i].parse(ps);
    if (!strcmp(word, "break"))
        return parse_loop_control(ps, N_BREAK);
    if (!strcmp(word, "continue"))
        return parse_loop_control(ps, N_CONTINUE);
    return parse_fail(ps, "statement '%.40s' is not supported", word);
}

/* One piece of a body: data, "{{ ... }}" or a statement. */
static node *parse_part(parser *ps) {
    node *part;
    if (parse_at(ps, T_DATA)) {
        part = parse_node(ps, N_DATA);
        if (part)
            part->value = tv_borrow(ps->t->text.p, ps->t->text.n);
        parse_next(ps);
        return part;
    }
    if (parse_accept(ps, T_VAR_BEGIN)) {
        part = parse_node(ps, N_OUTPUT);
        node *value = parse_tuple(ps, (tuple_rule){.with_condition = true});
        if (part)
            part->a = value;
        return parse_expect(ps, T_VAR_END) ? part : NULL;
    }
    parse_expect(ps, T_BLOCK_BEGIN);
    return parse_failed(ps) ? NULL : parse_statement(ps);
}

/* Statements until one of `ends` (its tag is then the current token) or, with ends NULL, the end of the source. */
static node *parse_body(parser *ps, const char *const *ends) {
    if (parse_failed(ps) || !parse_enter(ps))
        return NULL;
    uint32_t depth = ps->depth;
    node *n = parse_node(ps, N_BODY);
    node_vec v = {0};
    while (!parse_failed(ps) && !parse_at(ps, T_EOF) && !(ends && at_end_word(ps, ends))) {
        parse_push(ps, &v, parse_part(ps));
        ps->depth = depth; /* chains of filters in tags count as levels within their tag */
    }
    if (!parse_failed(ps) && ends && parse_at(ps, T_EOF))
        return parse_fail(ps, "block is not closed; add {%% %s %%}", ends[0]);
    ps->depth = depth - 1;
    if (!n || parse_failed(ps))
        return NULL;
    n->items = v.v;
    n->n_items = v.n;
    return n;
}

node *parse_template_body(parser *ps) {
    return parse_body(ps, NULL);
}
