/* Private to template_parse.c (expressions) and template_statement.c (statements): the parser's state and helpers. */
#ifndef MUGA_MODEL_TEMPLATE_PARSE_H
#define MUGA_MODEL_TEMPLATE_PARSE_H

#include "model/template_internal.h"

#define PARSE_MAX_DEPTH 256

typedef struct parser {
    const token *t; /* current token; the last is T_EOF */
    template *into;
    uint32_t depth;
    uint32_t loop_depth; /* loops that break and continue could end here */
    uint32_t *slots;     /* of names: index + 1, open addressing by hash; 0 = free */
    uint32_t n_slots, cap_names;
    muga_status status;
    muga_error *err;
} parser;

typedef struct node_vec {
    node **v;
    size_t n, cap;
} node_vec;

static inline bool parse_failed(const parser *ps) {
    return ps->status != MUGA_OK;
}
node *parse_fail(parser *ps, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *parse_alloc(parser *ps, size_t bytes);
node *parse_node(parser *ps, node_kind kind);
bool parse_push(parser *ps, node_vec *v, node *n);
/* One level deeper; false past the limit. The caller takes it back. */
bool parse_enter(parser *ps);
uint32_t parse_intern(parser *ps, const char *name);

static inline bool parse_at(const parser *ps, token_type t) {
    return ps->t->type == t;
}
bool parse_at_name(const parser *ps, const char *name);
void parse_next(parser *ps);
bool parse_accept(parser *ps, token_type t);
bool parse_accept_name(parser *ps, const char *name);
bool parse_expect(parser *ps, token_type t);
const char *parse_expect_name(parser *ps);
const char *parse_token_name(token_type t);

typedef struct tuple_rule {
    bool names_only, with_condition, parentheses, with_namespace;
    const char *end; /* a name that ends it too, or NULL */
} tuple_rule;
/* "a" or "a, b, ..." up to what ends it. One element without a comma is itself, not a tuple. */
node *parse_tuple(parser *ps, tuple_rule rule);
node *parse_expression(parser *ps);
/* Filters from the current token on over `input` (NULL: the block's text); `begun`: no "|" before the first. */
node *parse_filters(parser *ps, node *input, bool begun);
/* Statements until the end of the source. */
node *parse_template_body(parser *ps);
#endif
