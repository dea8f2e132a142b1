/* Numbers within bounds as digit automata. Owns nothing that lasts. Left to re-validation: divisors that together have
 * more than MAX_MULTIPLE units, or that are no decimal fractions; more than MAX_EXCLUDED single numbers left out.
 *
 * Idea: for each length of the integer part, read digits from the left and remember only whether the digits so far
 * equal the lower bound's, equal the upper bound's, and what they leave modulo the divisors' least common multiple.
 * Such a situation is one node, made once. Numbers are written plainly (no exponent) where a bound or divisor is given;
 * an integer may also carry ".0", as JSON writers put it, unless it is to be plain. An integer has at most
 * MAX_INTEGER_DIGITS; with a point there are EXACT_DIGITS in all, because so many survive the way through a double:
 * what is written within the bounds is read within them. What isn't to be a multiple may go on past the divisors' last
 * place: the first digit there that is no zero decides. Single numbers are left out by building the ranges between
 * them. */
#include "constrain/front.h"

#define MAX_INTEGER_DIGITS 18
#define EXACT_DIGITS 15
#define MAX_FRACTION_DIGITS 24 /* of a bound, and of numbers without bounds 17 */
#define N_TAGS 19
#define MAX_MULTIPLE 1000u
#define MAX_SCALE 10u /* decimal places of a divisor */
#define MAX_DIVISORS 8
#define MAX_EXCLUDED 64

/* A magnitude: integer digits without leading zeros ("0" for none), fraction digits without trailing zeros. */
typedef struct bound {
    bool has, inclusive;
    char whole[32], part[MAX_FRACTION_DIGITS + 1];
    int n_whole, n_part;
} bound;

typedef struct situation { /* packed into the key of a node */
    bool low, high;        /* the digits so far are those of the lower, upper bound */
    bool fraction;
    int position;  /* integer digits left, or fraction digits read */
    int tag;       /* what the fraction must know of the integer part: tag_of */
    uint32_t rest; /* value so far modulo m */
} situation;

typedef struct divisor {
    uint32_t m; /* units of the last decimal place */
    bool is_not;
} divisor;

typedef struct divisors {
    divisor v[MAX_DIVISORS];
    size_t n;
    uint32_t m, n_scale; /* value * 10^n_scale modulo m is what they all look at; m 0: none */
    bool any_yes;        /* so nothing stands behind the last place */
} divisors;

typedef struct digits {
    graph *g;
    bound lo, hi;
    bool whole_only; /* no fraction but ".0" */
    bool plain;      /* nor that */
    bool unbounded;  /* any digits will do: no bound to be exact about */
    int max_part;
    const divisors *by;
    uint32_t m;     /* of `by`, 1 for none; a rest of m: finer than any divisor */
    uint32_t radix; /* rests are below it */
    uint32_t to;
    uint32_t *nodes; /* by key, node + 1 */
    uint64_t *queue;
    size_t n_queue, cap_queue, n_keys, n_tags;
    bool nomem;
} digits;

static size_t key_of(const digits *d, situation x) {
    size_t k = (size_t)x.position;
    k = k * 2 + x.fraction;
    k = k * 2 + x.low;
    k = k * 2 + x.high;
    k = k * d->n_tags + (size_t)x.tag;
    return k * d->radix + x.rest;
}

static situation situation_of(const digits *d, size_t k) {
    situation x;
    x.rest = (uint32_t)(k % d->radix);
    k /= d->radix;
    x.tag = (int)(k % d->n_tags);
    k /= d->n_tags;
    x.high = k & 1;
    x.low = k >> 1 & 1;
    x.fraction = k >> 2 & 1;
    x.position = (int)(k >> 3);
    return x;
}

static uint32_t node_of(digits *d, situation x) {
    size_t k = key_of(d, x);
    if (d->nodes[k])
        return d->nodes[k] - 1;
    if (d->n_queue == d->cap_queue) {
        size_t cap = d->cap_queue ? d->cap_queue * 2 : 64;
        uint64_t *q = mem_resize_array(d->queue, cap, sizeof *q);
        if (!q) {
            d->nomem = true;
            return 0;
        }
        d->queue = q;
        d->cap_queue = cap;
    }
    d->nodes[k] = graph_node(d->g) + 1;
    d->queue[d->n_queue++] = k;
    return d->nodes[k] - 1;
}

static int bound_digit(const bound *b, bool fraction, int i) {
    if (fraction)
        return i < b->n_part ? b->part[i] - '0' : 0;
    return b->whole[i] - '0';
}

/* The digit c read in situation x, as the j-th of its part. false: out of bounds. */
static bool after_digit(const digits *d, situation x, int j, int c, situation *out) {
    *out = x;
    if (x.low) {
        int b = bound_digit(&d->lo, x.fraction, j);
        if (c < b)
            return false;
        out->low = c == b;
    }
    if (x.high) {
        int b = bound_digit(&d->hi, x.fraction, j);
        if (c > b)
            return false;
        out->high = c == b;
    }
    bool finer = d->radix > d->m && (x.rest == d->m || (x.fraction && j >= (int)d->by->n_scale));
    if (!finer)
        out->rest = (uint32_t)(((uint64_t)x.rest * 10 + (uint32_t)c) % d->m);
    else if (c != 0)
        out->rest = d->m;
    out->position += x.fraction ? 1 : -1;
    return true;
}

/* The number may end here, i fraction digits read. */
static bool may_end(const digits *d, situation x, int i) {
    if (x.low && (i < d->lo.n_part || !d->lo.inclusive))
        return false;
    if (x.high && i >= d->hi.n_part && !d->hi.inclusive)
        return false;
    if (d->radix > d->m && x.rest == d->m)
        return true; /* finer than any divisor; only where all are of the kind "not a multiple" */
    uint64_t r = x.rest;
    for (uint32_t k = (uint32_t)i; k < d->by->n_scale && r; k++)
        r = r * 10 % d->m;
    for (size_t k = 0; k < d->by->n; k++)
        if ((r % d->by->v[k].m == 0) == d->by->v[k].is_not)
            return false;
    return true;
}

static void digit_edges(digits *d, uint32_t from, situation x, int j, int first) {
    for (int c = first; c <= 9;) {
        situation next, other;
        int lo = c;
        bool in = after_digit(d, x, j, c++, &next);
        while (c <= 9 && in && after_digit(d, x, j, c, &other) && key_of(d, other) == key_of(d, next))
            c++;
        if (in)
            graph_bytes(d->g, from, (uint8_t)('0' + lo), (uint8_t)('0' + c - 1), node_of(d, next));
    }
}

/* The length of the integer part, as far as it decides what may follow the point. With a divisor the length is limited
 * at once, so nothing has to be remembered. */
static int tag_of(const digits *d, int n) {
    if (d->whole_only)
        return d->plain || n > EXACT_DIGITS;
    return d->by->any_yes || d->unbounded ? 0 : n;
}

static int fraction_room(const digits *d, int tag) {
    if (d->whole_only)
        return 0;
    return d->by->any_yes || d->unbounded ? d->max_part : MIN(d->max_part, EXACT_DIGITS - tag);
}

static void expand_situation(digits *d, size_t key) {
    situation x = situation_of(d, key);
    uint32_t node = d->nodes[key] - 1;
    if (!x.fraction && x.position > 0) { /* digits of the integer part are left; a tight one has the bound's length */
        int length = x.low ? d->lo.n_whole : x.high ? d->hi.n_whole : 0;
        digit_edges(d, node, x, length - x.position, 0);
        return;
    }
    int read = x.fraction ? x.position : 0;
    if (may_end(d, x, read) && (!x.fraction || read > 0)) {
        graph_empty(d->g, node, d->to);
        if (d->whole_only && x.tag == 0)
            graph_empty(d->g, graph_literal(d->g, node, ".0", 2), d->to);
    }
    if (!x.fraction && fraction_room(d, x.tag) > 0) {
        situation f = x;
        f.fraction = true;
        f.position = 0;
        graph_bytes(d->g, node, '.', '.', node_of(d, f));
    } else if (x.fraction && read < fraction_room(d, x.tag)) {
        digit_edges(d, node, x, read, 0);
    }
}

/* Magnitudes between d->lo and d->hi, from --> d->to. */
static muga_status build_magnitudes(digits *d, uint32_t from, muga_error *err) {
    int top = MAX(MAX_INTEGER_DIGITS, d->lo.has ? d->lo.n_whole : 0);
    d->m = d->by->m ? d->by->m : 1;
    d->radix = d->m + (d->by->m && !d->by->any_yes);
    d->n_tags = d->whole_only ? 2 : d->by->any_yes || d->unbounded ? 1 : N_TAGS;
    if (d->by->any_yes && !d->whole_only)
        top = MIN(top, EXACT_DIGITS - (int)d->by->n_scale);
    d->n_keys = (size_t)(MAX(top, d->max_part) + 2) * 8 * d->n_tags * d->radix;
    d->nodes = mem_alloc_array(d->n_keys, sizeof *d->nodes);
    if (!d->nodes)
        return error_nomem(err, "a number");
    d->n_queue = 0;
    for (int n = 1; n <= top; n++) {
        if ((d->lo.has && n < d->lo.n_whole) || (d->hi.has && n > d->hi.n_whole))
            continue;
        situation x = {.low = d->lo.has && n == d->lo.n_whole, .high = d->hi.has && n == d->hi.n_whole, .position = n};
        x.tag = tag_of(d, n);
        digit_edges(d, from, x, 0, n > 1);
    }
    for (size_t i = 0; i < d->n_queue && !d->nomem && !d->g->nomem && !d->g->too_large; i++)
        expand_situation(d, d->queue[i]);
    free(d->nodes);
    free(d->queue);
    d->nodes = NULL;
    d->queue = NULL;
    d->cap_queue = 0;
    return d->nomem ? error_nomem(err, "a number") : MUGA_OK;
}

/* ---- bounds ---- */

/* |v| cut to MAX_FRACTION_DIGITS: down, or up. *beyond: more integer digits than any number here has. */
static void bound_of(const json_t *v, bool inclusive, bool up, bound *out, bool *beyond) {
    decimal x;
    decimal_from_json(v, &x);
    *out = (bound){.has = true, .inclusive = inclusive};
    *beyond = x.n + x.exponent > 19;
    bool cut = false;
    for (int i = 0; i < x.n && !*beyond; i++) {
        int place = x.n - 1 - i + x.exponent; /* the digit is worth 10^place */
        if (place >= 0)
            out->whole[out->n_whole++] = x.digits[i];
        else if (-place <= MAX_FRACTION_DIGITS) {
            while (out->n_part < -place - 1)
                out->part[out->n_part++] = '0';
            out->part[out->n_part++] = x.digits[i];
        } else {
            cut = true;
        }
    }
    for (int k = 0; k < x.exponent && !*beyond && x.n > 0; k++)
        out->whole[out->n_whole++] = '0';
    if (out->n_whole == 0)
        out->whole[out->n_whole++] = '0';
    if (!cut)
        return;
    /* A number of at most MAX_FRACTION_DIGITS is above (below) the bound exactly when it is above (at most) the cut. */
    out->inclusive = !up;
    while (out->n_part > 0 && out->part[out->n_part - 1] == '0')
        out->n_part--;
}

static bool negative(const json_t *v) {
    decimal d;
    decimal_from_json(v, &d);
    return d.negative;
}

typedef struct limits {
    const json_t *lo, *hi; /* tightest; NULL: none */
    bool lo_open, hi_open; /* exclusive */
    bool integer;
    divisors by;
    const json_t *excluded[MAX_EXCLUDED];
    size_t n_excluded;
} limits;

static void tighten(const json_t **have, bool *have_open, const json_t *v, bool is_open, int sign) {
    int o = *have ? sign * number_compare(v, *have) : 1;
    if (o > 0 || (o == 0 && is_open)) {
        *have = v;
        *have_open = is_open;
    }
}

static uint64_t greatest_divisor(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* One more divisor: all are counted in units of the finest last place. false: together they are too fine or large. */
static bool add_divisor(divisors *by, const decimal *x, bool is_not) {
    uint32_t n_scale = x->exponent < 0 ? (uint32_t)-x->exponent : 0, scale = MAX(by->n_scale, n_scale);
    uint64_t m = 0, all = by->m ? by->m : 1;
    for (int i = 0; i < x->n && x->n <= 8; i++)
        m = m * 10 + (uint64_t)(x->digits[i] - '0');
    for (int i = x->exponent > 0 ? -x->exponent : 0; i < (int)(scale - n_scale) && m <= MAX_MULTIPLE; i++)
        m *= 10;
    if (scale > MAX_SCALE || by->n == MAX_DIVISORS || m == 0 || m > MAX_MULTIPLE)
        return false;
    for (uint32_t i = by->n_scale; i < scale && all <= MAX_MULTIPLE; i++) {
        all *= by->m ? 10 : 1;
        for (size_t k = 0; k < by->n; k++)
            by->v[k].m *= 10;
    }
    all = all / greatest_divisor(all, m) * m;
    if (all > MAX_MULTIPLE)
        return false;
    by->v[by->n++] = (divisor){(uint32_t)m, is_not};
    by->m = (uint32_t)all;
    by->n_scale = scale;
    by->any_yes |= !is_not;
    return true;
}

static muga_status add_multiple(shape *s, const json_t *schema, const json_t *v, bool is_not, limits *l) {
    decimal x;
    if (!json_is_number(v) || json_number_value(v) <= 0)
        return front_refuse(s->f, schema, "multipleOf", "must be a number above 0");
    decimal_from_json(v, &x);
    return add_divisor(&l->by, &x, is_not)
               ? MUGA_OK
               : front_relax(s->f, schema, "multipleOf", "is too fine or too large to be enforced while decoding",
                             false);
}

/* Numbers of a list that are left out, in order. */
static muga_status add_excluded(shape *s, const json_t *list, limits *l) {
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *v = json_array_get(list, k);
        size_t i = l->n_excluded;
        if (!json_is_number(v))
            continue;
        if (i == MAX_EXCLUDED)
            return front_relax(s->f, s->all.e[0].schema, "not", "leaves out too many numbers", false);
        for (; i > 0 && number_compare(l->excluded[i - 1], v) > 0; i--)
            l->excluded[i] = l->excluded[i - 1];
        l->excluded[i] = v;
        l->n_excluded++;
    }
    return MUGA_OK;
}

static muga_status read_limits(shape *s, limits *l) {
    static const struct {
        const char *keyword;
        bool upper, is_open;
    } bounds[] = {{"minimum", false, false},
                  {"exclusiveMinimum", false, true},
                  {"maximum", true, false},
                  {"exclusiveMaximum", true, true}};
    *l = (limits){.integer = !(s->types & T_FRACTION)};
    for (uint32_t i = 0; i < s->all.n; i++) {
        const json_t *schema = s->all.e[i].schema;
        if (!shape_counts(s, i))
            continue;
        for (size_t k = 0; k < ARRAY_LEN(bounds); k++) {
            const json_t *v = json_object_get(schema, bounds[k].keyword);
            if (v && !json_is_number(v))
                return front_refuse(s->f, schema, bounds[k].keyword, "must be a number");
            if (v && bounds[k].upper)
                tighten(&l->hi, &l->hi_open, v, bounds[k].is_open, -1);
            else if (v)
                tighten(&l->lo, &l->lo_open, v, bounds[k].is_open, 1);
        }
        const json_t *v = json_object_get(schema, "multipleOf"), *opposite = shape_opposite(s, i);
        muga_status st = v ? add_multiple(s, schema, v, false, l) : MUGA_OK;
        v = json_object_get(opposite, "multipleOf");
        if (st == MUGA_OK && v)
            st = add_multiple(s, schema, v, true, l);
        if (st == MUGA_OK)
            st = add_excluded(s, json_object_get(opposite, "enum"), l);
        if (st != MUGA_OK)
            return st;
    }
    if (!(s->types & T_INTEGER)) { /* fractions alone: not a multiple of 1 */
        static const decimal one = {.digits = {'1'}, .n = 1};
        if (!add_divisor(&l->by, &one, true))
            return front_relax(s->f, s->all.e[0].schema, "not", "leaves out integers too finely to be decoded", false);
    }
    return MUGA_OK;
}

/* The largest integer that readers hold, as an upper magnitude for integers of 19 digits. */
static void cap_at_int64(bound *hi) {
    static const char top[] = "9223372036854775807";
    if (hi->has && (hi->n_whole < 19 || (hi->n_whole == 19 && memcmp(hi->whole, top, 19) < 0)))
        return;
    *hi = (bound){.has = true, .inclusive = true, .n_whole = 19};
    memcpy(hi->whole, top, 19);
}

/* One sign, by magnitude. Zero belongs to the positive side. */
static muga_status build_side(front *f, const limits *l, bool minus, uint32_t from, uint32_t to) {
    const json_t *near_zero = minus ? l->hi : l->lo, *far = minus ? l->lo : l->hi;
    bool near_open = minus ? l->hi_open : l->lo_open, far_open = minus ? l->lo_open : l->hi_open, beyond = false;
    digits d = {.g = &f->g, .to = to, .by = &l->by};
    d.whole_only = l->integer || (l->by.any_yes && l->by.n_scale == 0);
    d.plain = f->options->plain_integers;
    d.max_part = l->by.any_yes ? (int)l->by.n_scale : MAX_FRACTION_DIGITS;
    if (far && negative(far) != minus)
        return MUGA_OK; /* the far bound lies on the other side of zero: nothing is left on this one */
    if (near_zero && negative(near_zero) == minus)
        bound_of(near_zero, !near_open, true, &d.lo, &beyond);
    if (beyond)
        return MUGA_OK; /* nothing so large is written */
    if (far)
        bound_of(far, !far_open, false, &d.hi, &beyond);
    if (beyond)
        d.hi.has = false;
    if (minus && !d.lo.has) /* no "-0" */
        d.lo = (bound){.has = true, .inclusive = false, .whole = "0", .n_whole = 1};
    if (d.lo.n_whole > MAX_INTEGER_DIGITS)
        cap_at_int64(&d.hi);
    muga_status st = front_spend(f, 200 + 400 * (uint64_t)l->by.m);
    if (st == MUGA_OK)
        st = build_magnitudes(&d, minus ? front_literal(f, from, "-") : from, f->err);
    return st;
}

/* ---- numbers without bounds: exponents too ---- */

static uint32_t plain_number_rule(front *f) {
    if (f->number_rule != NO_RULE)
        return f->number_rule;
    f->number_rule = graph_rule(&f->g);
    if (f->g.nomem || f->g.too_large)
        return f->number_rule;
    graph *g = &f->g;
    production r = g->rules[f->number_rule];
    uint32_t whole = graph_node(g), mantissa = graph_node(g);
    graph_empty(g, r.start, whole);
    graph_bytes(g, r.start, '-', '-', whole);
    static const divisors none = {.n = 0};
    digits d = {.g = g, .to = mantissa, .max_part = 17, .by = &none, .unbounded = true};
    muga_error ignored;
    if (build_magnitudes(&d, whole, &ignored) != MUGA_OK)
        g->nomem = true;
    graph_empty(g, mantissa, r.end);
    /* 18 digits and e289 stay below the largest double; e-999 is 0. */
    uint32_t e = graph_node(g), up = graph_node(g), down = graph_node(g), last = graph_node(g), two = graph_node(g);
    uint32_t eighties = graph_node(g), any2 = graph_node(g);
    graph_bytes(g, mantissa, 'E', 'E', e);
    graph_bytes(g, mantissa, 'e', 'e', e);
    graph_bytes(g, e, '+', '+', up);
    graph_bytes(g, e, '-', '-', down);
    graph_empty(g, e, up);
    graph_bytes(g, up, '0', '9', r.end);
    graph_bytes(g, up, '0', '9', last);
    graph_bytes(g, last, '0', '9', r.end);
    graph_bytes(g, up, '1', '1', two);
    graph_bytes(g, two, '0', '9', any2);
    graph_bytes(g, any2, '0', '9', r.end);
    graph_bytes(g, up, '2', '2', eighties);
    graph_bytes(g, eighties, '0', '8', any2);
    for (int i = 0; i < 3; i++) {
        uint32_t next = graph_node(g);
        graph_bytes(g, down, '0', '9', next);
        graph_empty(g, next, r.end);
        down = next;
    }
    return f->number_rule;
}

static muga_status build_range(front *f, const limits *l, uint32_t from, uint32_t to) {
    muga_status st = build_side(f, l, false, from, to);
    return st == MUGA_OK ? build_side(f, l, true, from, to) : st;
}

muga_status numbers_build(shape *s, uint32_t from, uint32_t to) {
    limits l;
    muga_status st = read_limits(s, &l);
    if (st != MUGA_OK)
        return st;
    if (!l.integer && !l.lo && !l.hi && !l.by.n && !l.n_excluded) {
        graph_call(&s->f->g, from, plain_number_rule(s->f), 1, 1, to);
        return MUGA_OK;
    }
    for (size_t i = 0; i < l.n_excluded && st == MUGA_OK; i++) {
        limits below = l;
        tighten(&below.hi, &below.hi_open, l.excluded[i], true, -1);
        st = build_range(s->f, &below, from, to);
        tighten(&l.lo, &l.lo_open, l.excluded[i], true, 1);
    }
    return st == MUGA_OK ? build_range(s->f, &l, from, to) : st;
}
