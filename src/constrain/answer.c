/* A whole answer as one automaton: reasoning, content, calls. Owns what stands around the arguments. Refuses a tool
 * whose schema can't be enforced, by the tool's name.
 *
 *   start ─"<think>"─> reasoning ─"</think>"─┐
 *     │                                      v
 *     └──────────────> text, that begins no trigger ─trigger─> calls
 *
 * Idea: text that can't hold some strings is the automaton whose states are their proper beginnings (Aho and Corasick
 * 1975), without the steps that would complete one. Beside it a plain chain spells each string, entered from every
 * state at as much of it as stands there already; it alone leads on. A chain has one byte a node, so the costs know the
 * tokens that lie along it. */
#include "constrain/front.h"

#define TEXT_MAX_PATTERNS 8u
#define TEXT_MAX_STATES 1024u
#define TEXT_MAX_PATTERN 256u
#define NO_NODE UINT32_MAX

/* One string that text can't hold, and where it leads instead. */
typedef struct pattern {
    const char *p;
    size_t n;
    uint32_t exit; /* NO_NODE: nowhere, it can't be written */
} pattern;

typedef struct text {
    pattern patterns[TEXT_MAX_PATTERNS];
    size_t n_patterns;
    span states[TEXT_MAX_STATES]; /* [0] is empty */
    uint32_t nodes[TEXT_MAX_STATES];
    uint32_t n_states;
} text;

typedef struct build {
    graph g;
    const constrain_answer *a;
    uint32_t *rules; /* [n_calls] of arguments; root of a part */
    muga_error grounding;
    muga_error *own; /* [n_calls] why one has no arguments */
    muga_error recheck;
    bool open_keys;
    uint32_t value_rule, think_rule;
    uint32_t end;             /* of the answer */
    struct interval texts[2]; /* nodes of content */
    uint32_t n_texts;
    muga_error *err;
} build;

static bool is_control(const char *p) {
    return *p == CONSTRAIN_CONTROL;
}

static uint32_t literal(build *b, uint32_t from, const char *p) {
    uint32_t own = graph_node(&b->g); /* the chain begins at a node with nothing else on it */
    graph_empty(&b->g, from, own);
    return graph_literal(&b->g, own, p, strlen(p));
}

/* ---- text ---- */

static muga_status add_pattern(build *b, text *t, const char *p, uint32_t exit) {
    size_t n = strlen(p);
    if (n < 2 || n > TEXT_MAX_PATTERN || t->n_patterns == TEXT_MAX_PATTERNS)
        return error_set(b->err, MUGA_E_LIMIT, "answer: a trigger of %zu bytes, or more than %u of them", n,
                         TEXT_MAX_PATTERNS);
    t->patterns[t->n_patterns++] = (pattern){p, n, exit};
    return MUGA_OK;
}

static uint32_t find_state(const text *t, span s) {
    for (uint32_t i = 0; i < t->n_states; i++)
        if (span_equal(t->states[i], s))
            return i;
    return NO_NODE;
}

static bool ends_with(span s, const char *p, size_t n) {
    return s.n >= n && memcmp(s.p + s.n - n, p, n) == 0;
}

/* The state behind s, the longest end of it that is one; NO_NODE: a pattern would be complete. */
static uint32_t state_behind(const text *t, span s) {
    for (size_t i = 0; i < t->n_patterns; i++)
        if (ends_with(s, t->patterns[i].p, t->patterns[i].n))
            return NO_NODE;
    for (size_t from = 0; from < s.n; from++) {
        uint32_t i = find_state(t, span_of(s.p + from, s.n - from));
        if (i != NO_NODE)
            return i;
    }
    return 0;
}

static bool pattern_byte(const text *t, int byte) {
    for (size_t i = 0; i < t->n_patterns; i++)
        if (!is_control(t->patterns[i].p) && memchr(t->patterns[i].p, byte, t->patterns[i].n))
            return true;
    return false;
}

static uint32_t step_of(const text *t, uint32_t state, int byte) {
    char s[TEXT_MAX_PATTERN + 1];
    size_t n = t->states[state].n;
    if (!pattern_byte(t, byte))
        return 0;
    if (n > 0)
        memcpy(s, t->states[state].p, n);
    s[n] = (char)byte;
    return state_behind(t, span_of(s, n + 1));
}

/* Bytes of `state` to where they lead, as few ranges as may be. No 0xFF: that begins a control token. */
static void text_edges(build *b, const text *t, uint32_t state, uint32_t from) {
    for (int lo = 0; lo < 255;) {
        uint32_t to = step_of(t, state, lo);
        int hi = lo;
        while (hi + 1 < 255 && step_of(t, state, hi + 1) == to)
            hi++;
        if (to != NO_NODE)
            graph_bytes(&b->g, from, (uint8_t)lo, (uint8_t)hi, t->nodes[to]);
        lo = hi + 1;
    }
}

/* From every state into the chain that spells the pattern. */
static void text_chain(build *b, const text *t, const pattern *x) {
    uint32_t at[TEXT_MAX_PATTERN + 1];
    if (x->exit == NO_NODE)
        return;
    for (size_t i = 0; i < x->n; i++)
        at[i] = graph_node(&b->g);
    at[x->n] = x->exit;
    for (size_t i = 0; i < x->n; i++)
        graph_bytes(&b->g, at[i], (uint8_t)x->p[i], (uint8_t)x->p[i], at[i + 1]);
    for (uint32_t s = 0; s < t->n_states; s++) {
        size_t known = is_control(x->p) ? 0 : MIN(t->states[s].n, x->n - 1);
        while (known > 0 && !ends_with(t->states[s], x->p, known))
            known--;
        graph_empty(&b->g, t->nodes[s], at[known]);
    }
}

/* The nodes of text that holds none of the patterns; t->nodes[0] is where it begins. */
static muga_status text_build(build *b, text *t) {
    t->states[t->n_states++] = span_of("", 0);
    for (size_t i = 0; i < t->n_patterns; i++)
        for (size_t n = 1; !is_control(t->patterns[i].p) && n < t->patterns[i].n; n++) {
            span s = span_of(t->patterns[i].p, n);
            if (find_state(t, s) != NO_NODE)
                continue;
            if (t->n_states == TEXT_MAX_STATES)
                return error_set(b->err, MUGA_E_LIMIT, "answer: triggers of more than %u bytes", TEXT_MAX_STATES);
            t->states[t->n_states++] = s;
        }
    for (uint32_t s = 0; s < t->n_states; s++)
        t->nodes[s] = graph_node(&b->g);
    if (graph_status(&b->g, b->err))
        return graph_status(&b->g, b->err);
    for (uint32_t s = 0; s < t->n_states; s++)
        text_edges(b, t, s, t->nodes[s]);
    for (size_t i = 0; i < t->n_patterns; i++)
        text_chain(b, t, &t->patterns[i]);
    return MUGA_OK;
}

/* ---- the beginning of content ---- */

/* Strings that count only at the beginning, white space aside; each begins with another byte. */
typedef struct beginning {
    pattern patterns[TEXT_MAX_PATTERNS];
    size_t n_patterns;
} beginning;

static void add_space(build *b, uint32_t from, uint32_t to) {
    static const char space[] = {' ', '\t', '\n', '\r'};
    for (size_t i = 0; i < sizeof space; i++)
        graph_bytes(&b->g, from, (uint8_t)space[i], (uint8_t)space[i], to);
}

static bool space_byte(int c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* A node of the beginning where `stood` is what was read, bytes in `taken` lead elsewhere, and all others into text.
 * Content may end here as it may in text. */
static void fall_into_text(build *b, const text *t, uint32_t from, span stood, const bool taken[256], uint32_t done) {
    char s[TEXT_MAX_PATTERN + 2];
    memcpy(s, stood.p, stood.n);
    for (int c = 0; c < 255; c++) {
        if (taken[c])
            continue;
        s[stood.n] = (char)c;
        uint32_t to = state_behind(t, span_of(s, stood.n + 1));
        if (to != NO_NODE)
            graph_bytes(&b->g, from, (uint8_t)c, (uint8_t)c, t->nodes[to]);
    }
    if (done != NO_NODE)
        graph_empty(&b->g, from, done);
    for (size_t i = 0; i < t->n_patterns; i++) /* control tokens may come at once */
        if (is_control(t->patterns[i].p) && t->patterns[i].exit != NO_NODE) {
            uint32_t at = graph_node(&b->g);
            graph_empty(&b->g, from, at);
            at = graph_literal(&b->g, at, t->patterns[i].p, t->patterns[i].n);
            graph_empty(&b->g, at, t->patterns[i].exit);
        }
}

/* One pattern behind its first byte, from `node` on. */
static void follow_pattern(build *b, const text *t, const pattern *x, uint32_t node, uint32_t done) {
    char stood[TEXT_MAX_PATTERN + 1];
    size_t n = 0;
    stood[n++] = x->p[0];
    for (size_t i = 1; i < x->n; i++) {
        bool blank = x->p[i] == CONSTRAIN_BLANK, taken[256] = {false};
        if (blank && ++i == x->n)
            break;
        uint8_t c = (uint8_t)x->p[i];
        uint32_t next = i + 1 == x->n ? x->exit : graph_node(&b->g), spaced = blank ? graph_node(&b->g) : NO_NODE;
        taken[c] = true;
        for (int s = 0; blank && s < 256; s++)
            taken[s] = taken[s] || space_byte(s);
        fall_into_text(b, t, node, span_of(stood, n), taken, done);
        if (next != NO_NODE)
            graph_bytes(&b->g, node, c, c, next);
        if (blank) {
            add_space(b, node, spaced);
            add_space(b, spaced, spaced);
            fall_into_text(b, t, spaced, span_of("", 0), taken, done);
            if (next != NO_NODE)
                graph_bytes(&b->g, spaced, c, c, next);
        }
        if (next == NO_NODE)
            return;
        stood[n++] = (char)c;
        node = next;
    }
}

/* From `from`: white space, then a pattern or text. */
static void begin_text(build *b, const text *t, const beginning *x, uint32_t from, uint32_t done) {
    bool taken[256] = {false};
    uint32_t blank = graph_node(&b->g);
    graph_empty(&b->g, from, blank);
    add_space(b, blank, blank);
    for (int c = 0; c < 256; c++)
        taken[c] = space_byte(c);
    for (size_t i = 0; i < x->n_patterns; i++) {
        const pattern *one = &x->patterns[i];
        uint8_t c = (uint8_t)one->p[0];
        if (is_control(one->p)) { /* can't be text, so text needn't avoid it */
            if (one->exit != NO_NODE)
                graph_empty(&b->g, literal(b, blank, one->p), one->exit);
            continue;
        }
        uint32_t next = graph_node(&b->g);
        graph_bytes(&b->g, blank, c, c, next);
        taken[c] = true;
        follow_pattern(b, t, one, next, done);
    }
    fall_into_text(b, t, blank, span_of("", 0), taken, done);
}

/* ---- calls ---- */

/* How many bytes of start and before a trigger at the start stands for. */
static size_t trigger_bytes(const constrain_form *f) {
    size_t n = 0;
    for (const char *p = f->trigger; *p && f->at_start; p++)
        n += *p != CONSTRAIN_BLANK;
    return n;
}

/* The calls of one form, behind its trigger; the node where they begin. */
static uint32_t build_calls(build *b, const constrain_form *f) {
    const constrain_answer *a = b->a;
    graph *g = &b->g;
    size_t skip = trigger_bytes(f), n_start = strlen(f->start);
    uint32_t first = graph_node(g), open = graph_node(g), behind = graph_node(g);
    uint32_t names = literal(b, open, f->before);
    uint32_t at = literal(b, first, f->start + MIN(skip, n_start));
    graph_empty(g, literal(b, at, f->before + (skip > n_start ? skip - n_start : 0)), names);
    for (size_t i = 0; i < a->n_calls; i++) {
        uint32_t from = literal(b, literal(b, names, a->calls[i].name), f->middle), to = graph_node(g);
        graph_call(g, from, b->rules[i], 1, 1, to);
        graph_empty(g, literal(b, to, f->after), behind);
    }
    if (a->parallel && f->separator)
        graph_empty(g, literal(b, behind, f->separator), open);
    graph_empty(g, literal(b, behind, f->end), b->end);
    return first;
}

/* A trigger as it stands by itself. */
static uint32_t plain_trigger(build *b, uint32_t from, const constrain_form *f) {
    uint32_t at = graph_node(&b->g);
    graph_empty(&b->g, from, at);
    for (const char *p = f->trigger; *p; p++)
        if (*p != CONSTRAIN_BLANK)
            at = graph_literal(&b->g, at, p, 1);
    return at;
}

/* ---- the answer ---- */

static muga_status build_thinking(build *b) {
    text *t = mem_alloc_array(1, sizeof *t);
    if (!t)
        return error_nomem(b->err, "an answer");
    b->think_rule = graph_rule(&b->g);
    muga_status st = graph_status(&b->g, b->err);
    if (!st)
        st = add_pattern(b, t, b->a->think_close, b->g.rules[b->think_rule].end);
    if (!st)
        st = text_build(b, t);
    if (!st)
        graph_empty(&b->g, b->g.rules[b->think_rule].start, t->nodes[0]);
    free(t);
    return st;
}

/* Content from `from` on, which may begin with reasoning where `think` says where that leads (NO_NODE: it may not). */
static muga_status build_content(build *b, uint32_t from, const uint32_t *calls, uint32_t think) {
    const constrain_answer *a = b->a;
    text *t = mem_alloc_array(1, sizeof *t);
    beginning x = {.n_patterns = 0};
    muga_status st = t ? MUGA_OK : error_nomem(b->err, "an answer");
    for (size_t i = 0; i < a->n_forms && !st; i++) {
        if (!a->forms[i].at_start)
            st = add_pattern(b, t, a->forms[i].trigger, calls[i]);
        else if (x.n_patterns < TEXT_MAX_PATTERNS - 1) {
            const char *p = a->forms[i].trigger;
            p += *p == CONSTRAIN_BLANK;
            x.patterns[x.n_patterns++] = (pattern){p, strlen(p), calls[i]};
        }
    }
    if (a->think_open && (think != NO_NODE || a->no_thinking))
        x.patterns[x.n_patterns++] = (pattern){a->think_open, strlen(a->think_open), think};
    for (size_t i = 0; i < x.n_patterns && !st; i++)
        if (x.patterns[i].n < 2 || x.patterns[i].n > TEXT_MAX_PATTERN)
            st = error_set(b->err, MUGA_E_LIMIT, "answer: a trigger of %zu bytes", x.patterns[i].n);
    uint32_t first = b->g.n_nodes;
    if (!st)
        st = text_build(b, t);
    if (!st) {
        for (uint32_t s = 0; s < t->n_states; s++)
            graph_empty(&b->g, t->nodes[s], b->end);
        begin_text(b, t, &x, from, b->end);
        b->texts[b->n_texts++] = (struct interval){first, b->g.n_nodes};
        st = graph_status(&b->g, b->err);
    }
    free(t);
    return st;
}

/* The same where content is a value, or nothing but calls may come: what they begin with says which it is. */
static void build_strict(build *b, uint32_t from, const uint32_t *calls, uint32_t think, bool space) {
    const constrain_answer *a = b->a;
    uint32_t at = graph_node(&b->g);
    graph_empty(&b->g, from, at);
    if (space)
        add_space(b, at, at);
    if (!a->must_call && a->value)
        graph_call(&b->g, at, b->value_rule, 1, 1, b->end);
    for (size_t i = 0; i < a->n_forms && (a->must_call || a->value); i++)
        if (calls[i] != NO_NODE && !(a->must_call && i > 0)) /* what must be called needs one form only */
            graph_empty(&b->g, plain_trigger(b, at, &a->forms[i]), calls[i]);
    if (think != NO_NODE)
        graph_empty(&b->g, literal(b, from, a->think_open), think);
}

static muga_status build_stage(build *b, uint32_t from, const uint32_t *calls, uint32_t think, bool space) {
    if (!b->a->must_call && !b->a->value)
        return build_content(b, from, calls, think);
    build_strict(b, from, calls, think, space);
    return graph_status(&b->g, b->err);
}

static muga_status build_root(build *b) {
    const constrain_answer *a = b->a;
    graph *g = &b->g;
    uint32_t calls[TEXT_MAX_PATTERNS], think = NO_NODE;
    if (a->n_forms > TEXT_MAX_PATTERNS / 2)
        return error_set(b->err, MUGA_E_USAGE, "answer: more than %u forms of calls", TEXT_MAX_PATTERNS / 2);
    g->root = graph_rule(g);
    muga_status st = graph_status(g, b->err);
    if (st)
        return st;
    uint32_t start = g->rules[g->root].start;
    b->end = graph_node(g); /* not the end itself: nothing here is the last of its rule */
    for (size_t i = 0; i < a->n_forms; i++)
        calls[i] = a->n_calls ? build_calls(b, &a->forms[i]) : NO_NODE;
    if (a->think_close && !a->no_thinking && (a->thinking || a->think_open)) {
        if ((st = build_thinking(b)))
            return st;
        uint32_t behind = graph_node(g);
        think = graph_node(g);
        graph_call(g, think, b->think_rule, 1, 1, behind);
        if ((st = build_stage(b, behind, calls, NO_NODE, true)))
            return st;
    }
    graph_empty(g, b->end, g->rules[g->root].end);
    if (!a->thinking || think == NO_NODE)
        return build_stage(b, start, calls, think, false);
    graph_empty(g, start, think);
    return graph_status(g, b->err);
}

/* The rules of one schema join the graph. */
static muga_status add_schema(build *b, const char *name, const json_t *schema, front_budget *budget, uint32_t *rule,
                              muga_error *grounding) {
    front_product p;
    muga_status st = front_compile(schema, b->a->options, &p, budget, b->err);
    if (st)
        return name ? error_prefix(b->err, st, "tool %s", name) : st;
    *rule = p.g.root + graph_append(&b->g, &p.g);
    b->open_keys = b->open_keys || p.open_keys;
    *grounding = p.grounding;
    if (p.grounding.status != MUGA_OK && b->grounding.status == MUGA_OK)
        b->grounding = p.grounding;
    if (p.recheck.status != MUGA_OK && b->recheck.status == MUGA_OK) {
        b->recheck = p.recheck;
        if (name)
            (void)error_prefix(&b->recheck, p.recheck.status, "tool %s", name);
    }
    st = graph_status(&p.g, b->err);
    if (st && name)
        (void)error_prefix(b->err, st, "tool %s", name);
    graph_release(&p.g);
    if (!st && (st = graph_status(&b->g, b->err)) && name)
        (void)error_prefix(b->err, st, "tool %s, with those before it", name);
    return st;
}

static muga_status check_answer(const constrain_answer *a, muga_error *err) {
    if (a->must_call && (a->n_calls == 0 || a->n_forms == 0))
        return error_set(err, MUGA_E_USAGE, "answer: it must be a call, and there is nothing to call");
    for (size_t i = 0; i < a->n_forms && a->value; i++)
        if (a->forms[i].at_start)
            return error_set(err, MUGA_E_USAGE,
                             "this model's calls are JSON as they are, so they can't be told from an answer that has a "
                             "schema; use one or the other");
    return MUGA_OK;
}

/* A tool without any arguments that fit is refused, unless a text to take a value from may still come. */
static muga_status check_calls(const build *b, const constrain_grammar *g) {
    for (size_t i = 0; i < b->a->n_calls; i++)
        if (g->bytes.node[g->graph.rules[b->rules[i]].start] >= COST_INF && b->own[i].status == MUGA_OK)
            return error_set(b->err, MUGA_E_INPUT, "tool %s: no finite arguments satisfy its schema",
                             b->a->calls[i].name);
    return MUGA_OK;
}

muga_status constrain_compile_answer(const constrain_answer *a, constrain_grammar **out, muga_error *err) {
    muga_error own = {0};
    front_budget budget = FRONT_BUDGET;
    build b = {.a = a, .err = &own, .think_rule = NO_RULE};
    *out = NULL;
    muga_status st = check_answer(a, &own);
    b.rules = mem_alloc_array(a->n_calls, sizeof *b.rules);
    b.own = mem_alloc_array(a->n_calls, sizeof *b.own);
    if (!st && (!b.rules || !b.own))
        st = error_nomem(&own, "an answer");
    for (size_t i = 0; i < a->n_calls && !st; i++)
        st = add_schema(&b, a->calls[i].name, a->calls[i].schema, &budget, &b.rules[i], &b.own[i]);
    muga_error value = {0};
    if (!st && a->value)
        st = add_schema(&b, NULL, a->value, &budget, &b.value_rule, &value);
    if (!st) {
        st = build_root(&b);
        if (b.g.too_large)
            st = error_prefix(&own, graph_status(&b.g, &own), "answer with %zu tools", a->n_calls);
    }
    if (!st) {
        st = grammar_new(&b.g, NULL, out, &own);
        if (st == MUGA_E_INPUT && b.grounding.status != MUGA_OK) {
            own = b.grounding;
            st = own.status;
        }
    }
    if (!st) {
        (*out)->open_keys = b.open_keys;
        (*out)->embedded = true;
        memcpy((*out)->text, b.texts, sizeof b.texts);
        memcpy((*out)->rechecks, b.recheck.message, sizeof(*out)->rechecks);
        (*out)->section_rule = b.think_rule == NO_RULE ? 0 : b.think_rule + 1;
        (*out)->section_limit = b.think_rule == NO_RULE ? 0 : a->think_tokens;
        st = check_calls(&b, *out);
        if (!st)
            st = run_collect(*out, true, &own); /* the start is in the section perhaps */
    }
    if (st && *out) {
        constrain_grammar_free(*out);
        *out = NULL;
    }
    graph_release(&b.g);
    free(b.rules);
    free(b.own);
    if (st && err)
        *err = own;
    return st;
}
