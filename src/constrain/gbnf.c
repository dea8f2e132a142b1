/* GBNF, the grammar notation of llama.cpp, to rules. Owns the parser. Refuses by name: left recursion, undefined
 * rules, token ids (<[n]>, <name>: a grammar of bytes can't see them), minimum counts past GBNF_MAX_MIN, groups
 * nested past GBNF_MAX_DEPTH, nested counts that multiply past GBNF_MAX_PRODUCT.
 * Idea: a sequence is a chain of nodes; whatever is repeated becomes a rule of its own and its repetition a counted
 * call, so {3,5000} costs as much as {3,5}. */
#include "base/utf8.h"
#include "constrain/internal.h"

#define GBNF_MAX_BYTES ((size_t)4 << 20)
#define GBNF_MAX_DEPTH 200
#define GBNF_MAX_MIN 2000u
#define GBNF_MAX_PRODUCT 20000u

typedef struct named {
    span name;
    uint32_t rule;
    bool defined;
} named;

typedef struct gbnf {
    const char *p;
    size_t n, at;
    int depth;
    graph g;
    named *names;
    uint32_t n_names, cap_names, *table, n_table;
    muga_error *err;
} gbnf;

static muga_status bad(const gbnf *x, const char *why) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < x->at && i < x->n; i++) {
        column = x->p[i] == '\n' ? 1 : column + 1;
        line += x->p[i] == '\n';
    }
    return error_set(x->err, MUGA_E_INPUT, "grammar, line %zu, column %zu: %s", line, column, why);
}

static bool more(const gbnf *x) {
    return x->at < x->n;
}
static char peek(const gbnf *x) {
    return x->at < x->n ? x->p[x->at] : '\0';
}

static bool looking_at(const gbnf *x, const char *text) {
    size_t n = strlen(text);
    return x->n - x->at >= n && memcmp(x->p + x->at, text, n) == 0;
}

static void skip_space(gbnf *x, bool newlines) {
    while (more(x)) {
        char c = peek(x);
        if (c == '#')
            while (more(x) && peek(x) != '\n' && peek(x) != '\r')
                x->at++;
        else if (c == ' ' || c == '\t' || (newlines && (c == '\n' || c == '\r')))
            x->at++;
        else
            return;
    }
}

static bool name_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static span take_name(gbnf *x) {
    size_t from = x->at;
    while (more(x) && name_byte(peek(x)))
        x->at++;
    return span_of(x->p + from, x->at - from);
}

static uint64_t name_hash(span s) {
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (uint8_t)s.p[i]) * 0x100000001B3u;
    return h;
}

/* The entry of a name, made at its first use. */
static muga_status name_get(gbnf *x, span name, uint32_t *out) {
    if (x->n_names * 2 >= x->n_table) {
        uint32_t n = x->n_table ? x->n_table * 2 : 64;
        uint32_t *t = mem_alloc_array(n, sizeof *t);
        if (!t)
            return error_nomem(x->err, "a grammar");
        for (uint32_t i = 0; i < x->n_names; i++) {
            uint64_t h = name_hash(x->names[i].name);
            while (t[h & (n - 1)])
                h++;
            t[h & (n - 1)] = i + 1;
        }
        free(x->table);
        x->table = t;
        x->n_table = n;
    }
    uint64_t h = name_hash(name);
    for (; x->table[h & (x->n_table - 1)]; h++)
        if (span_equal(x->names[x->table[h & (x->n_table - 1)] - 1].name, name)) {
            *out = x->table[h & (x->n_table - 1)] - 1;
            return MUGA_OK;
        }
    if (x->n_names == x->cap_names) {
        uint32_t cap = x->cap_names ? x->cap_names * 2 : 32;
        named *v = mem_resize_array(x->names, cap, sizeof *v);
        if (!v)
            return error_nomem(x->err, "a grammar");
        x->names = v;
        x->cap_names = cap;
    }
    x->table[h & (x->n_table - 1)] = x->n_names + 1;
    x->names[x->n_names] = (named){name, graph_rule(&x->g), false};
    *out = x->n_names++;
    return graph_status(&x->g, x->err);
}

/* ---- characters ---- */

static bool hex_value(const gbnf *x, size_t n, uint32_t *out) {
    *out = 0;
    if (x->n - x->at < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = x->p[x->at + i];
        int v = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (v < 0)
            return false;
        *out = *out << 4 | (uint32_t)v;
    }
    return true;
}

static muga_status take_character(gbnf *x, uint32_t *cp) {
    if (peek(x) != '\\') {
        size_t k = utf8_decode(x->p + x->at, x->n - x->at, cp);
        if (k == 0)
            return bad(x, "not UTF-8");
        x->at += k;
        return MUGA_OK;
    }
    x->at++;
    char c = peek(x);
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (!more(x))
        return bad(x, "it ends in a backslash");
    x->at++;
    switch (c) {
    case 'x':
    case 'u':
    case 'U':
        if (!hex_value(x, digits, cp) || *cp > CP_MAX || (*cp >= 0xD800 && *cp < 0xE000))
            return bad(x, "an escape needs the hex digits of a character");
        x->at += digits;
        return MUGA_OK;
    case 't': *cp = '\t'; return MUGA_OK;
    case 'r': *cp = '\r'; return MUGA_OK;
    case 'n': *cp = '\n'; return MUGA_OK;
    case '\\':
    case '"':
    case '[':
    case ']': *cp = (uint8_t)c; return MUGA_OK;
    default: return bad(x, "unknown escape");
    }
}

static muga_status take_literal(gbnf *x, uint32_t from, uint32_t *to) { /* after the opening quote */
    *to = from;
    while (peek(x) != '"') {
        uint32_t cp;
        char bytes[4];
        if (!more(x))
            return bad(x, "a literal is not closed");
        muga_status st = take_character(x, &cp);
        if (st != MUGA_OK)
            return st;
        *to = graph_literal(&x->g, *to, bytes, utf8_encode(cp, bytes));
    }
    x->at++;
    return MUGA_OK;
}

static muga_status take_class(gbnf *x, cp_set *set) { /* after '[' */
    bool negate = peek(x) == '^';
    x->at += negate;
    while (peek(x) != ']') {
        uint32_t lo, hi;
        if (!more(x))
            return bad(x, "a class is not closed");
        muga_status st = take_character(x, &lo);
        hi = lo;
        if (st == MUGA_OK && peek(x) == '-' && x->at + 1 < x->n && x->p[x->at + 1] != ']') {
            x->at++;
            st = take_character(x, &hi);
        }
        if (st != MUGA_OK)
            return st;
        if (hi < lo)
            return bad(x, "a range of a class runs backwards");
        cp_add(set, lo, hi);
    }
    x->at++;
    cp_normalise(set);
    if (negate)
        cp_negate(set);
    return set->failed ? error_nomem(x->err, "a grammar") : MUGA_OK;
}

/* ---- elements ---- */

static muga_status take_alternatives(gbnf *x, bool nested, uint32_t from, uint32_t to, uint64_t *weight);

static muga_status take_number(gbnf *x, uint32_t *out, bool *any) {
    uint64_t v = 0;
    *any = false;
    for (; peek(x) >= '0' && peek(x) <= '9'; x->at++) {
        v = MIN(v * 10 + (uint64_t)(peek(x) - '0'), (uint64_t)CALL_INF - 1);
        *any = true;
    }
    *out = (uint32_t)v;
    return MUGA_OK;
}

/* *, +, ?, {m}, {m,}, {m,n} at the cursor; *found false: none. */
static muga_status take_quantifier(gbnf *x, uint32_t *min, uint32_t *max, bool *found) {
    bool any;
    *found = true;
    switch (peek(x)) {
    case '*': *min = 0, *max = CALL_INF, x->at++; return MUGA_OK;
    case '+': *min = 1, *max = CALL_INF, x->at++; return MUGA_OK;
    case '?': *min = 0, *max = 1, x->at++; return MUGA_OK;
    case '{': break;
    default: *found = false; return MUGA_OK;
    }
    x->at++;
    skip_space(x, true);
    muga_status st = take_number(x, min, &any);
    if (st != MUGA_OK || !any)
        return bad(x, "a count needs a number: {m}, {m,} or {m,n}");
    skip_space(x, true);
    *max = *min;
    if (peek(x) == ',') {
        x->at++;
        skip_space(x, true);
        st = take_number(x, max, &any);
        if (!any)
            *max = CALL_INF;
        skip_space(x, true);
    }
    if (st != MUGA_OK || peek(x) != '}')
        return bad(x, "a count is not closed");
    x->at++;
    if (*min > *max)
        return bad(x, "a count's numbers are out of order");
    if (*min > GBNF_MAX_MIN)
        return error_set(x->err, MUGA_E_LIMIT, "grammar: a minimum count of %u is past the limit of %u", *min,
                         GBNF_MAX_MIN);
    return MUGA_OK;
}

/* One element from --> to, without its quantifier. */
static muga_status take_element(gbnf *x, uint32_t from, uint32_t to, uint64_t *weight) {
    muga_status st = MUGA_OK;
    cp_set set = {0};
    *weight = 1;
    char c = peek(x);
    if (c == '"') {
        uint32_t end = from;
        x->at++;
        st = take_literal(x, from, &end);
        graph_empty(&x->g, end, to);
    } else if (c == '[' || c == '.') {
        x->at++;
        if (c == '.')
            cp_negate(&set);
        else
            st = take_class(x, &set);
        if (st == MUGA_OK)
            graph_code_points(&x->g, from, &set, to);
        cp_release(&set);
    } else if (c == '(') {
        x->at++;
        if (++x->depth > GBNF_MAX_DEPTH)
            return error_set(x->err, MUGA_E_LIMIT, "grammar: groups nest deeper than %d", GBNF_MAX_DEPTH);
        skip_space(x, true);
        st = take_alternatives(x, true, from, to, weight);
        x->depth--;
        if (st == MUGA_OK && peek(x) != ')')
            return bad(x, "a group is not closed");
        x->at++;
    } else if (name_byte(c)) {
        uint32_t i;
        st = name_get(x, take_name(x), &i);
        if (st == MUGA_OK)
            graph_call(&x->g, from, x->names[i].rule, 1, 1, to);
    } else {
        return bad(x, "token ids are not supported: the grammar is one of bytes");
    }
    return st == MUGA_OK ? graph_status(&x->g, x->err) : st;
}

static bool element_begins(const gbnf *x) {
    char c = peek(x);
    return more(x) && (c == '"' || c == '[' || c == '.' || c == '(' || c == '<' || c == '!' || name_byte(c));
}

static muga_status take_sequence(gbnf *x, bool nested, uint32_t from, uint32_t to, uint64_t *weight) {
    *weight = 1;
    while (element_begins(x)) {
        /* Built as a rule of its own first: whether it is repeated shows only behind it. */
        uint32_t part = graph_rule(&x->g), next = graph_node(&x->g), min = 1, max = 1;
        bool repeated;
        uint64_t w = 1;
        muga_status st = graph_status(&x->g, x->err);
        if (st != MUGA_OK)
            return st;
        production r = x->g.rules[part];
        st = take_element(x, r.start, r.end, &w);
        if (st != MUGA_OK)
            return st;
        skip_space(x, nested);
        st = take_quantifier(x, &min, &max, &repeated);
        if (st != MUGA_OK)
            return st;
        if (repeated) {
            graph_call(&x->g, from, part, min, max, next);
            w *= max == CALL_INF ? MAX(min, 1u) : MAX(max, 1u);
            if (w > GBNF_MAX_PRODUCT)
                return error_set(x->err, MUGA_E_LIMIT, "grammar: nested counts multiply to more than %u",
                                 GBNF_MAX_PRODUCT);
            skip_space(x, nested);
        } else { /* not repeated: it stands here itself */
            graph_empty(&x->g, from, r.start);
            graph_empty(&x->g, r.end, next);
            x->g.rules[part].end = graph_node(&x->g); /* the unused rule must not end where others go on */
        }
        *weight = MAX(*weight, w);
        from = next;
        if (peek(x) == '*' || peek(x) == '+' || peek(x) == '?' || peek(x) == '{')
            return bad(x, "a repetition can't be repeated; use a group");
    }
    graph_empty(&x->g, from, to);
    return MUGA_OK;
}

static muga_status take_alternatives(gbnf *x, bool nested, uint32_t from, uint32_t to, uint64_t *weight) {
    uint64_t w;
    muga_status st = take_sequence(x, nested, from, to, weight);
    while (st == MUGA_OK && peek(x) == '|') {
        x->at++;
        skip_space(x, true);
        st = take_sequence(x, nested, from, to, &w);
        *weight = MAX(*weight, w);
    }
    return st;
}

static muga_status take_rule(gbnf *x) {
    span name = take_name(x);
    uint32_t i;
    uint64_t weight;
    if (name.n == 0)
        return bad(x, "expected the name of a rule");
    skip_space(x, false);
    if (!looking_at(x, "::="))
        return bad(x, "expected ::= after the name of a rule");
    x->at += 3;
    skip_space(x, true);
    muga_status st = name_get(x, name, &i);
    if (st != MUGA_OK)
        return st;
    if (x->names[i].defined)
        return error_set(x->err, MUGA_E_INPUT, "grammar: rule \"%.*s\" is defined twice", (int)MIN(name.n, (size_t)60),
                         name.p);
    x->names[i].defined = true;
    production r = x->g.rules[x->names[i].rule];
    st = take_alternatives(x, false, r.start, r.end, &weight);
    if (st == MUGA_OK && more(x) && peek(x) != '\n' && peek(x) != '\r')
        return bad(x, "expected the end of the rule");
    skip_space(x, true);
    return st;
}

/* ---- left recursion ---- */

/* Depth first over "can be reached without a byte". A cycle means that a rule begins with itself: loops of quantifiers
 * are calls that return, and those edges are not followed back. */
static muga_status check_left_recursion(const graph *g, const cost *c, muga_error *err) {
    uint8_t *colour = mem_alloc_array(g->n_nodes, 1); /* 1 on the path, 2 done */
    struct at {
        uint32_t node, edge;
        bool inside; /* the call itself has been followed */
    } *path = mem_alloc_array((size_t)g->n_nodes + 1, sizeof *path);
    muga_status st = colour && path ? MUGA_OK : error_nomem(err, "a grammar");
    for (uint32_t root = 0; root < g->n_nodes && st == MUGA_OK; root++) {
        uint32_t n = 0;
        if (colour[root])
            continue;
        colour[root] = 1;
        path[n++] = (struct at){root, g->first[root], false};
        while (n > 0 && st == MUGA_OK) {
            struct at *top = &path[n - 1];
            if (top->edge >= g->first[top->node + 1]) {
                colour[top->node] = 2;
                n--;
                continue;
            }
            const edge *e = &g->edges[top->edge];
            uint32_t next = UINT32_MAX;
            if (e->kind == EDGE_CALL && !top->inside) {
                next = g->rules[e->rule].start;
                top->inside = true;
            } else {
                bool skips = e->kind == EDGE_EMPTY ||
                             (e->kind == EDGE_CALL && (e->min == 0 || c->node[g->rules[e->rule].start] == 0));
                next = skips ? e->to : UINT32_MAX;
                top->edge++;
                top->inside = false;
            }
            if (next == UINT32_MAX || colour[next] == 2)
                continue;
            if (colour[next] == 1)
                st = error_set(err, MUGA_E_INPUT, "grammar: left recursion: a rule begins with itself");
            else {
                colour[next] = 1;
                path[n++] = (struct at){next, g->first[next], false};
            }
        }
    }
    free(colour);
    free(path);
    return st;
}

static muga_status check_names(gbnf *x) {
    uint32_t root = UINT32_MAX;
    for (uint32_t i = 0; i < x->n_names; i++) {
        span s = x->names[i].name;
        if (!x->names[i].defined)
            return error_set(x->err, MUGA_E_INPUT, "grammar: rule \"%.*s\" is used and not defined",
                             (int)MIN(s.n, (size_t)60), s.p);
        if (span_equal_string(s, "root"))
            root = x->names[i].rule;
    }
    if (root == UINT32_MAX)
        return error_set(x->err, MUGA_E_INPUT, "grammar: there is no rule \"root\"");
    x->g.root = root;
    return MUGA_OK;
}

muga_status constrain_compile_gbnf(const char *text, size_t n, constrain_grammar **out, muga_error *err) {
    gbnf x = {.p = text, .n = n, .err = err};
    *out = NULL;
    if (n > GBNF_MAX_BYTES)
        return error_set(err, MUGA_E_LIMIT, "grammar: longer than %zu bytes", GBNF_MAX_BYTES);
    muga_status st = MUGA_OK;
    skip_space(&x, true);
    while (more(&x) && st == MUGA_OK)
        st = take_rule(&x);
    if (st == MUGA_OK)
        st = check_names(&x);
    if (st == MUGA_OK)
        graph_factor(&x.g);
    if (st == MUGA_OK)
        st = grammar_new(&x.g, check_left_recursion, out, err);
    graph_release(&x.g);
    free(x.names);
    free(x.table);
    return st;
}
