/* What both halves of the template parser stand on: nodes, the current token, and the table of names. */
#include "model/template_parse.h"

node *parse_fail(parser *ps, const char *format, ...) {
    if (parse_failed(ps))
        return NULL;
    char text[160];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ps->status = error_set(ps->err, MUGA_E_INPUT, "template line %u: %s", ps->t->line, text);
    return NULL;
}

void *parse_alloc(parser *ps, size_t bytes) {
    void *p = parse_failed(ps) ? NULL : arena_alloc(&ps->into->mem, bytes);
    if (!p && !parse_failed(ps))
        ps->status = error_nomem(ps->err, "template tree");
    return p;
}

node *parse_node(parser *ps, node_kind kind) {
    node *n = parse_alloc(ps, sizeof *n);
    if (n) {
        n->kind = kind;
        n->line = ps->t->line;
    }
    return n;
}

bool parse_push(parser *ps, node_vec *v, node *n) {
    if (parse_failed(ps))
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

bool parse_enter(parser *ps) {
    if (++ps->depth <= PARSE_MAX_DEPTH)
        return true;
    if (!parse_failed(ps))
        ps->status = error_set(ps->err, MUGA_E_LIMIT, "template line %u: nested deeper than %d; simplify it",
                               ps->t->line, PARSE_MAX_DEPTH);
    return false;
}

const char *parse_token_name(token_type t) {
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

bool parse_at_name(const parser *ps, const char *name) {
    return parse_at(ps, T_NAME) && span_equal_string(ps->t->text, name);
}

void parse_next(parser *ps) {
    if (!parse_at(ps, T_EOF))
        ps->t++;
}

bool parse_accept(parser *ps, token_type t) {
    return parse_at(ps, t) ? (parse_next(ps), true) : false;
}

bool parse_accept_name(parser *ps, const char *name) {
    return parse_at_name(ps, name) ? (parse_next(ps), true) : false;
}

bool parse_expect(parser *ps, token_type t) {
    if (parse_failed(ps))
        return false;
    if (parse_accept(ps, t))
        return true;
    parse_fail(ps, "expected '%s', found '%s'", parse_token_name(t), parse_token_name(ps->t->type));
    return false;
}

const char *parse_expect_name(parser *ps) {
    if (parse_failed(ps))
        return NULL;
    if (!parse_at(ps, T_NAME)) {
        parse_fail(ps, "expected a name, found '%s'", parse_token_name(ps->t->type));
        return NULL;
    }
    const char *name = ps->t->text.p;
    parse_next(ps);
    return name;
}

/* ---- names ---- */

static uint32_t name_hash(const char *name) {
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return h;
}

static uint32_t name_place(const parser *ps, const char *name) {
    uint32_t at = name_hash(name) & (ps->n_slots - 1);
    while (ps->slots[at] && strcmp(ps->into->names[ps->slots[at] - 1], name) != 0)
        at = (at + 1) & (ps->n_slots - 1);
    return at;
}

static bool grow_names(parser *ps) {
    uint32_t cap = ps->cap_names ? ps->cap_names * 2 : 64;
    const char **names = parse_alloc(ps, cap * sizeof *names);
    uint32_t *slots = parse_alloc(ps, 2 * (size_t)cap * sizeof *slots);
    if (!names || !slots)
        return false;
    if (ps->into->n_names)
        memcpy(names, ps->into->names, ps->into->n_names * sizeof *names);
    ps->into->names = names;
    ps->slots = slots;
    ps->n_slots = 2 * cap;
    ps->cap_names = cap;
    for (uint32_t i = 0; i < ps->into->n_names; i++)
        ps->slots[name_place(ps, names[i])] = i + 1;
    return true;
}

uint32_t parse_intern(parser *ps, const char *name) {
    if (!name || parse_failed(ps) || (ps->into->n_names == ps->cap_names && !grow_names(ps)))
        return 0;
    uint32_t at = name_place(ps, name);
    if (!ps->slots[at]) {
        ps->into->names[ps->into->n_names++] = name;
        ps->slots[at] = ps->into->n_names;
    }
    return ps->slots[at] - 1;
}
