/* Patterns to syntax trees: ECMA-262 in unicode mode, plus Annex B's literal braces and brackets. Owns: the tree, in
 * its arena. Refuses by name: unknown escapes, properties and groups, nesting past RE_MAX_GROUPS_DEEP. Look-around and
 * back-references are read, and the tree says that it isn't regular.
 * Idea: recursive descent whose only recursion is the group, and that is counted. */
#include "base/utf8.h"
#include "constrain/regex.h"

#define RE_MAX_RANGES 500000u /* of all classes together */
#define PROPERTY_SLOTS 8
typedef struct parser {
    const char *p;
    size_t n, at;
    int depth;
    size_t n_ranges;
    struct property {
        span name;
        cp_set set;
    } properties[PROPERTY_SLOTS]; /* those met, so that each is looked up once */
    re_tree *t;
    uint64_t *work;
    muga_error *err;
} parser;

static muga_status bad(const parser *ps, size_t at, const char *why) {
    return error_set(ps->err, MUGA_E_INPUT, "pattern, byte %zu: %s", at, why);
}

static re_node *node_new(parser *ps, re_kind kind) {
    if (ps->t->n_nodes >= RE_MAX_NODES) {
        (void)error_set(ps->err, MUGA_E_LIMIT, "pattern: more than %d parts; shorten it", RE_MAX_NODES);
        return NULL;
    }
    re_node *x = arena_alloc(&ps->t->a, sizeof *x);
    if (!x) {
        (void)error_nomem(ps->err, "a pattern");
        return NULL;
    }
    x->kind = kind;
    x->all = ps->t->all;
    ps->t->all = x;
    ps->t->n_nodes++;
    return x;
}

static void child_add(re_node *parent, re_node *child) {
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

static muga_status status_of(const parser *ps) {
    return ps->err->status != MUGA_OK ? ps->err->status : MUGA_E_INTERNAL;
}

static bool looking_at(const parser *ps, const char *text) {
    size_t n = strlen(text);
    return ps->n - ps->at >= n && memcmp(ps->p + ps->at, text, n) == 0;
}

/* ---- classes ---- */

static void add_digits(cp_set *s) {
    cp_add(s, '0', '9');
}
static void add_word(cp_set *s) {
    cp_add(s, '0', '9');
    cp_add(s, 'A', 'Z');
    cp_add(s, '_', '_');
    cp_add(s, 'a', 'z');
}
static void add_space(cp_set *s) { /* ECMA-262 WhiteSpace and LineTerminator */
    static const cp_range spaces[] = {{9, 13},          {32, 32},         {0xA0, 0xA0},     {0x1680, 0x1680},
                                      {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                      {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    for (size_t i = 0; i < ARRAY_LEN(spaces); i++)
        cp_add(s, spaces[i].lo, spaces[i].hi);
}

static void add_class_escape(cp_set *s, char c) {
    cp_set one = {0};
    switch (c | 0x20) {
    case 'd': add_digits(&one); break;
    case 'w': add_word(&one); break;
    default: add_space(&one); break;
    }
    cp_normalise(&one);
    if (c < 'a')
        cp_negate(&one);
    cp_add_set(s, &one);
    cp_release(&one);
}

#define PROPERTY_WORK 400000u /* steps that looking one up is worth */
static muga_status property_get(parser *ps, span name, cp_set *out) {
    size_t i = 0;
    while (i < PROPERTY_SLOTS && ps->properties[i].name.n && !span_equal(ps->properties[i].name, name))
        i++;
    if (i < PROPERTY_SLOTS && ps->properties[i].name.n) {
        cp_add_set(out, &ps->properties[i].set);
        return MUGA_OK;
    }
    if (*ps->work < PROPERTY_WORK)
        return error_set(ps->err, MUGA_E_LIMIT, "too many properties; simplify the pattern");
    *ps->work -= PROPERTY_WORK;
    muga_status st = regex_property(name.p, name.n, out, ps->err);
    if (st == MUGA_OK && i < PROPERTY_SLOTS) {
        ps->properties[i].name = name;
        cp_add_set(&ps->properties[i].set, out);
    }
    return st;
}

static muga_status add_property(parser *ps, cp_set *s, bool negate) {
    size_t begin = ps->at;
    const char *close = ps->at < ps->n && ps->p[ps->at] == '{' ? memchr(ps->p + ps->at, '}', ps->n - ps->at) : NULL;
    if (!close || close == ps->p + ps->at + 1)
        return bad(ps, begin, "\\p needs {Property}");
    const char *name = ps->p + ps->at + 1;
    ps->at = (size_t)(close - ps->p) + 1;
    cp_set one = {0};
    muga_status st = property_get(ps, span_of(name, (size_t)(close - name)), &one);
    if (negate)
        cp_negate(&one);
    ps->n_ranges += one.n;
    cp_add_set(s, &one);
    cp_release(&one);
    if (st != MUGA_OK)
        return error_prefix(ps->err, st, "pattern, byte %zu", begin);
    return ps->n_ranges > RE_MAX_RANGES
               ? error_set(ps->err, MUGA_E_LIMIT, "pattern: its classes have more than %u ranges; simplify them",
                           RE_MAX_RANGES)
               : MUGA_OK;
}

static bool hex_digits(const parser *ps, size_t at, size_t n, uint32_t *out) {
    if (ps->n - at < n)
        return false;
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        char c = ps->p[at + i];
        int v = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (v < 0)
            return false;
        *out = *out << 4 | (uint32_t)v;
    }
    return true;
}

static muga_status parse_unicode_escape(parser *ps, size_t begin, uint32_t *cp) {
    if (ps->at < ps->n && ps->p[ps->at] == '{') {
        size_t k = 0;
        while (ps->at + 1 + k < ps->n && ps->p[ps->at + 1 + k] != '}')
            k++;
        if (k == 0 || k > 6 || !hex_digits(ps, ps->at + 1, k, cp) || *cp > CP_MAX || ps->at + 1 + k >= ps->n)
            return bad(ps, begin, "\\u{...} needs a code point");
        ps->at += k + 2;
    } else {
        if (!hex_digits(ps, ps->at, 4, cp))
            return bad(ps, begin, "\\u needs four hex digits");
        ps->at += 4;
        uint32_t low;
        if (*cp >= 0xD800 && *cp < 0xDC00 && looking_at(ps, "\\u") && hex_digits(ps, ps->at + 2, 4, &low) &&
            low >= 0xDC00 && low < 0xE000) {
            *cp = 0x10000 + ((*cp - 0xD800) << 10) + (low - 0xDC00);
            ps->at += 6;
        }
    }
    if (*cp >= 0xD800 && *cp < 0xE000)
        return bad(ps, begin, "a lone surrogate matches no text");
    return MUGA_OK;
}

/* After the backslash. *is_set: members went to `s`; else *cp is the one character. in_class: \b is backspace. */
static muga_status parse_escape(parser *ps, bool in_class, cp_set *s, bool *is_set, uint32_t *cp) {
    size_t begin = ps->at - 1;
    *is_set = false;
    if (ps->at >= ps->n)
        return bad(ps, begin, "it ends in a backslash");
    char c = ps->p[ps->at++];
    switch (c) {
    case 'd':
    case 'D':
    case 'w':
    case 'W':
    case 's':
    case 'S':
        add_class_escape(s, c);
        *is_set = true;
        return MUGA_OK;
    case 'p':
    case 'P': *is_set = true; return add_property(ps, s, c == 'P');
    case 't': *cp = '\t'; return MUGA_OK;
    case 'n': *cp = '\n'; return MUGA_OK;
    case 'v': *cp = '\v'; return MUGA_OK;
    case 'f': *cp = '\f'; return MUGA_OK;
    case 'r': *cp = '\r'; return MUGA_OK;
    case 'b':
        if (in_class) {
            *cp = 8;
            return MUGA_OK;
        }
        break;
    case 'c':
        if (ps->at < ps->n && (ps->p[ps->at] | 32) >= 'a' && (ps->p[ps->at] | 32) <= 'z') {
            *cp = (uint32_t)ps->p[ps->at++] & 31;
            return MUGA_OK;
        }
        return bad(ps, begin, "\\c needs a letter");
    case 'x':
        if (!hex_digits(ps, ps->at, 2, cp))
            return bad(ps, begin, "\\x needs two hex digits");
        ps->at += 2;
        return MUGA_OK;
    case 'u': return parse_unicode_escape(ps, begin, cp);
    case '0':
        if (ps->at >= ps->n || ps->p[ps->at] < '0' || ps->p[ps->at] > '9') {
            *cp = 0;
            return MUGA_OK;
        }
        return bad(ps, begin, "octal escapes are not supported");
    default: break;
    }
    if (c >= '1' && c <= '9')
        return bad(ps, begin, "a back-reference can't stand in a class");
    if ((c | 32) >= 'a' && (c | 32) <= 'z')
        return bad(ps, begin, "unknown escape");
    ps->at--;
    size_t k = utf8_decode(ps->p + ps->at, ps->n - ps->at, cp);
    if (k == 0)
        return bad(ps, ps->at, "not UTF-8");
    ps->at += k;
    return MUGA_OK;
}

static muga_status parse_class_atom(parser *ps, cp_set *s, bool *is_set, uint32_t *cp) {
    if (ps->p[ps->at] == '\\') {
        ps->at++;
        return parse_escape(ps, true, s, is_set, cp);
    }
    *is_set = false;
    size_t k = utf8_decode(ps->p + ps->at, ps->n - ps->at, cp);
    if (k == 0)
        return bad(ps, ps->at, "not UTF-8");
    ps->at += k;
    return MUGA_OK;
}

static muga_status parse_class(parser *ps, cp_set *s) { /* after '[' */
    size_t begin = ps->at - 1;
    bool negate = ps->at < ps->n && ps->p[ps->at] == '^';
    ps->at += negate;
    while (ps->at < ps->n && ps->p[ps->at] != ']') {
        bool lo_set, hi_set;
        uint32_t lo = 0, hi = 0;
        size_t from = ps->at;
        muga_status st = parse_class_atom(ps, s, &lo_set, &lo);
        if (st != MUGA_OK)
            return st;
        bool range = ps->at + 1 < ps->n && ps->p[ps->at] == '-' && ps->p[ps->at + 1] != ']';
        if (range) {
            ps->at++;
            st = parse_class_atom(ps, s, &hi_set, &hi);
            if (st != MUGA_OK)
                return st;
            if (lo_set || hi_set) { /* Annex B: [\w-x] is the three members */
                cp_add(s, '-', '-');
                if (!hi_set)
                    cp_add(s, hi, hi);
            } else if (hi < lo) {
                return bad(ps, from, "a range of a class runs backwards");
            } else {
                cp_add(s, lo, hi);
            }
        }
        if (!lo_set && !(range && !hi_set))
            cp_add(s, lo, lo);
    }
    if (ps->at >= ps->n)
        return bad(ps, begin, "a class is not closed");
    ps->at++;
    cp_normalise(s);
    if (negate)
        cp_negate(s);
    return s->failed ? error_nomem(ps->err, "a pattern") : MUGA_OK;
}

/* ---- terms ---- */

static muga_status parse_alternatives(parser *ps, re_node **out);

static void irregular(parser *ps, size_t at, const char *why) {
    if (!ps->t->irregular) {
        ps->t->irregular = why;
        ps->t->irregular_at = at;
    }
}

/* What stands between '(' and the group's first term. *out: the node that will hold the group; NULL: none needed. */
static muga_status parse_group_kind(parser *ps, size_t begin, re_node **out) {
    bool ahead = looking_at(ps, "?=") || looking_at(ps, "?!"), behind = looking_at(ps, "?<=") || looking_at(ps, "?<!");
    *out = NULL;
    if (looking_at(ps, "?:")) {
        ps->at += 2;
        return MUGA_OK;
    }
    *out = node_new(ps, ahead || behind ? RE_LOOK : RE_GROUP);
    if (!*out)
        return status_of(ps);
    if (ahead || behind) {
        (*out)->behind = behind;
        (*out)->negated = ps->p[ps->at + 1 + behind] == '!';
        ps->at += 2u + behind;
        return MUGA_OK;
    }
    (*out)->min = ++ps->t->n_groups;
    if (looking_at(ps, "?<")) {
        const char *name = ps->p + ps->at + 2, *close = memchr(name, '>', ps->n - ps->at - 2);
        if (!close || close == name)
            return bad(ps, begin, "a group's name is not closed");
        (*out)->name = span_of(name, (size_t)(close - name));
        ps->at = (size_t)(close - ps->p) + 1;
    } else if (looking_at(ps, "?")) {
        return bad(ps, begin, "unknown kind of group");
    }
    return MUGA_OK;
}

static muga_status parse_group(parser *ps, re_node **out) { /* after '(' */
    size_t begin = ps->at - 1;
    re_node *holder, *inner;
    muga_status st = parse_group_kind(ps, begin, &holder);
    if (st != MUGA_OK)
        return st;
    if (++ps->depth > RE_MAX_GROUPS_DEEP)
        return error_set(ps->err, MUGA_E_LIMIT, "pattern, byte %zu: groups nest deeper than %d", begin,
                         RE_MAX_GROUPS_DEEP);
    st = parse_alternatives(ps, &inner);
    if (st != MUGA_OK)
        return st;
    ps->depth--;
    if (ps->at >= ps->n)
        return bad(ps, begin, "a group is not closed");
    ps->at++;
    if (holder)
        child_add(holder, inner);
    *out = holder ? holder : inner;
    return MUGA_OK;
}

/* \1, \k<name> at the cursor; *out stays NULL: something else. Whether there is such a group shows at the end. */
static muga_status parse_back_reference(parser *ps, re_node **out) {
    size_t begin = ps->at;
    char c = ps->n - ps->at > 1 && ps->p[ps->at] == '\\' ? ps->p[ps->at + 1] : '\0';
    *out = NULL;
    if (c != 'k' && !(c >= '1' && c <= '9'))
        return MUGA_OK;
    re_node *x = node_new(ps, RE_BACK);
    if (!x)
        return status_of(ps);
    ps->at++;
    if (c == 'k') {
        const char *name = ps->p + ps->at + 2,
                   *close = looking_at(ps, "k<") ? memchr(name, '>', ps->n - ps->at - 2) : NULL;
        if (!close)
            return bad(ps, begin, "\\k needs <name>");
        x->name = span_of(name, (size_t)(close - name));
        ps->at = (size_t)(close - ps->p) + 1;
    }
    for (; c != 'k' && ps->at < ps->n && ps->p[ps->at] >= '0' && ps->p[ps->at] <= '9'; ps->at++)
        x->min = MIN(x->min * 10 + (uint32_t)(ps->p[ps->at] - '0'), RE_MAX_NODES);
    irregular(ps, begin, "back-references are not supported");
    *out = x;
    return MUGA_OK;
}

/* Group names are unique, and back-references lead to groups. */
static muga_status check_groups(parser *ps) {
    for (re_node *x = ps->t->all; x; x = x->all) {
        uint32_t n_named = 0;
        if (x->kind == RE_BACK && !x->name.n && x->min > ps->t->n_groups)
            return bad(ps, 0, "a back-reference leads to no group");
        if ((x->kind != RE_GROUP && x->kind != RE_BACK) || !x->name.n)
            continue;
        if (*ps->work < ps->t->n_nodes)
            return error_set(ps->err, MUGA_E_LIMIT, "pattern: too many named groups; simplify it");
        *ps->work -= ps->t->n_nodes;
        for (const re_node *y = ps->t->all; y; y = y->all)
            if (y->kind == RE_GROUP && span_equal(x->name, y->name)) {
                x->min = y->min;
                n_named++;
            }
        if (n_named != 1)
            return bad(ps, 0, n_named ? "two groups have the same name" : "a back-reference leads to no group");
    }
    return MUGA_OK;
}

static muga_status parse_set_node(parser *ps, re_node **out) {
    re_node *x = *out = node_new(ps, RE_SET);
    if (!x)
        return status_of(ps);
    char c = ps->p[ps->at];
    if (c == '.') {
        static const uint32_t ends[] = {'\n', '\r', 0x2028, 0x2029};
        for (size_t i = 0; i < ARRAY_LEN(ends); i++)
            cp_add(&x->set, ends[i], ends[i]);
        cp_negate(&x->set);
        ps->at++;
    } else if (c == '[') {
        ps->at++;
        return parse_class(ps, &x->set);
    } else {
        bool is_set;
        uint32_t cp = 0;
        muga_status st = parse_class_atom(ps, &x->set, &is_set, &cp);
        if (st != MUGA_OK)
            return st;
        if (!is_set)
            cp_add(&x->set, cp, cp);
        cp_normalise(&x->set);
    }
    return x->set.failed ? error_nomem(ps->err, "a pattern") : MUGA_OK;
}

/* {m}, {m,}, {m,n} at ps->at; false: literal braces. */
static bool parse_braces(parser *ps, uint32_t *min, uint32_t *max) {
    size_t at = ps->at + 1;
    uint64_t v[2] = {0, 0};
    size_t digits[2] = {0, 0};
    int i = 0;
    for (; at < ps->n && ps->p[at] != '}'; at++) {
        char c = ps->p[at];
        if (c == ',' && i == 0 && digits[0]) {
            i = 1;
        } else if (c >= '0' && c <= '9') {
            v[i] = MIN(v[i] * 10 + (uint64_t)(c - '0'), (uint64_t)RE_INF - 1);
            digits[i]++;
        } else {
            return false;
        }
    }
    if (at >= ps->n || !digits[0])
        return false;
    *min = (uint32_t)v[0];
    *max = i == 0 ? (uint32_t)v[0] : digits[1] ? (uint32_t)v[1] : RE_INF;
    ps->at = at + 1;
    return true;
}

static muga_status parse_quantifier(parser *ps, re_node **atom) {
    uint32_t min, max;
    size_t begin = ps->at;
    if (ps->at >= ps->n)
        return MUGA_OK;
    switch (ps->p[ps->at]) {
    case '*': min = 0, max = RE_INF, ps->at++; break;
    case '+': min = 1, max = RE_INF, ps->at++; break;
    case '?': min = 0, max = 1, ps->at++; break;
    case '{':
        if (parse_braces(ps, &min, &max))
            break;
        return MUGA_OK;
    default: return MUGA_OK;
    }
    bool lazy = ps->at < ps->n && ps->p[ps->at] == '?'; /* the same language */
    ps->at += lazy;
    if (min > max)
        return bad(ps, begin, "a quantifier's numbers are out of order");
    if ((*atom)->kind >= RE_BEGIN)
        return bad(ps, begin, "an assertion can't be repeated");
    re_node *x = node_new(ps, RE_REPEAT);
    if (!x)
        return status_of(ps);
    x->min = min;
    x->max = max;
    x->lazy = lazy;
    child_add(x, *atom);
    *atom = x;
    return MUGA_OK;
}

static muga_status parse_term(parser *ps, re_node **out) {
    char c = ps->p[ps->at];
    muga_status st = MUGA_OK;
    re_kind assertion = RE_EMPTY;
    if (c == '^')
        assertion = RE_BEGIN;
    else if (c == '$')
        assertion = RE_END;
    else if (looking_at(ps, "\\b"))
        assertion = RE_WORD;
    else if (looking_at(ps, "\\B"))
        assertion = RE_NOT_WORD;
    if (assertion != RE_EMPTY) {
        ps->at += c == '\\' ? 2 : 1;
        *out = node_new(ps, assertion);
        return *out ? MUGA_OK : status_of(ps);
    }
    uint32_t min, max;
    size_t at = ps->at;
    if (c == '*' || c == '+' || c == '?' || (c == '{' && parse_braces(ps, &min, &max)))
        return bad(ps, at, "a quantifier has nothing to repeat");
    st = parse_back_reference(ps, out);
    if (st == MUGA_OK && c == '(') {
        ps->at++;
        st = parse_group(ps, out);
    } else if (st == MUGA_OK && !*out) {
        st = parse_set_node(ps, out);
    }
    return st != MUGA_OK ? st : parse_quantifier(ps, out);
}

static muga_status parse_alternatives(parser *ps, re_node **out) {
    re_node *alt = node_new(ps, RE_ALT), *cat = node_new(ps, RE_CAT);
    if (!alt || !cat)
        return status_of(ps);
    child_add(alt, cat);
    while (ps->at < ps->n && ps->p[ps->at] != ')') {
        if (ps->p[ps->at] == '|') {
            ps->at++;
            cat = node_new(ps, RE_CAT);
            if (!cat)
                return status_of(ps);
            child_add(alt, cat);
            continue;
        }
        re_node *term = NULL;
        muga_status st = parse_term(ps, &term);
        if (st != MUGA_OK)
            return st;
        if (term->next || cat->last == term)
            return error_set(ps->err, MUGA_E_INTERNAL, "pattern: a node has two parents");
        child_add(cat, term);
    }
    *out = alt;
    return MUGA_OK;
}

muga_status regex_parse(const char *p, size_t n, uint64_t *work, re_tree *out, muga_error *err) {
    memset(out, 0, sizeof *out);
    arena_init(&out->a, (size_t)32 << 20);
    muga_error own = {0};
    parser ps = {.p = p, .n = n, .t = out, .work = work, .err = &own};
    muga_status st = MUGA_OK;
    if (n > RE_MAX_BYTES)
        st = error_set(&own, MUGA_E_LIMIT, "pattern: longer than %d bytes", RE_MAX_BYTES);
    else
        st = parse_alternatives(&ps, &out->root);
    if (st == MUGA_OK && ps.at < n)
        st = bad(&ps, ps.at, "a group is closed that was not opened");
    if (st == MUGA_OK)
        st = check_groups(&ps);
    for (size_t i = 0; i < PROPERTY_SLOTS; i++)
        cp_release(&ps.properties[i].set);
    for (re_node *x = out->all; x && st == MUGA_OK; x = x->all)
        if (x->set.failed)
            st = error_nomem(&own, "a pattern");
    if (st != MUGA_OK) {
        if (err)
            *err = own;
        regex_tree_release(out);
    }
    return st;
}

void regex_tree_release(re_tree *t) {
    for (re_node *x = t->all; x; x = x->all)
        cp_release(&x->set);
    arena_release(&t->a);
    memset(t, 0, sizeof *t);
}
