/* States of a generation over a compiled grammar. Owns: frames, state sets, their transitions (invariants in
 * internal.h). Refuses: texts with more than RUN_MAX_CONFIGS_A_SET readings at once (MUGA_E_LIMIT).
 *
 * Idea: the automaton is made deterministic as the text goes: what a byte leads to is computed once for a set of
 * configurations and then looked up. Frames are shared and numbered, so a set is a short list of numbers and two
 * texts that mean the same meet in the same set. */
#include "base/hash.h"
#include "constrain/internal.h"

/* ---- numbering ---- */

static uint64_t frame_hash(uint32_t e, uint32_t count, uint32_t parent) {
    uint32_t key[3] = {e, count, parent};
    return hash64(key, sizeof key, 1);
}

static bool rehash(uint32_t **table, uint32_t *n_table, uint32_t n_items,
                   uint64_t (*hash)(const run_tables *, uint32_t), const run_tables *r) {
    uint32_t n = *n_table ? *n_table * 2 : 256;
    uint32_t *t = mem_alloc_array(n, sizeof *t);
    if (!t)
        return false;
    for (uint32_t i = 0; i < n_items; i++) {
        uint64_t h = hash(r, i);
        while (t[h & (n - 1)])
            h++;
        t[h & (n - 1)] = i + 1;
    }
    free(*table);
    *table = t;
    *n_table = n;
    return true;
}

static uint64_t hash_of_frame(const run_tables *r, uint32_t i) {
    return frame_hash(r->frames[i].edge, r->frames[i].count, r->frames[i].parent);
}

static uint64_t configs_hash(const config *c, uint32_t n, bool complete) {
    return hash64(c, n * sizeof *c, complete);
}

static uint64_t hash_of_set(const run_tables *r, uint32_t i) {
    return configs_hash(r->configs + r->sets[i].at, r->sets[i].n, r->sets[i].complete);
}

const cost *run_cost(const constrain_grammar *g) {
    return g->serial ? &g->tokens : &g->bytes;
}

static uint32_t frame_rest(const constrain_grammar *g, const run_tables *r, const frame *f) {
    const edge *e = &g->graph.edges[f->edge];
    const cost *c = run_cost(g);
    uint32_t left = f->count < e->min ? e->min - f->count : 0;
    uint32_t rest = cost_times(c->node[g->graph.rules[e->rule].start], left);
    return cost_add(cost_add(rest, c->node[e->to]), r->frames[f->parent].rest);
}

/* The frame of iteration `count` of call edge e under parent. *out FRAME_ROOT: too deep, don't enter. */
static muga_status frame_intern(constrain_grammar *g, run_tables *r, uint32_t e, uint32_t count, uint32_t parent,
                                uint32_t *out, muga_error *err) {
    const edge *x = &g->graph.edges[e];
    const frame *p = &r->frames[parent];
    const cost *c = run_cost(g);
    uint32_t containers = p->containers + g->graph.rules[x->rule].container;
    *out = FRAME_ROOT;
    if (p->calls + c->calls[x->rule] > GRAPH_MAX_CALLS || p->containers + c->containers[x->rule] > GRAPH_MAX_CONTAINERS)
        return MUGA_OK;
    if (r->n_frames * 2 >= r->n_frame_table &&
        !rehash(&r->frame_table, &r->n_frame_table, r->n_frames, hash_of_frame, r))
        return error_nomem(err, "a constraint");
    uint64_t h = frame_hash(e, count, parent);
    for (; r->frame_table[h & (r->n_frame_table - 1)]; h++) {
        uint32_t i = r->frame_table[h & (r->n_frame_table - 1)] - 1;
        if (r->frames[i].edge == e && r->frames[i].count == count && r->frames[i].parent == parent) {
            *out = i;
            return MUGA_OK;
        }
    }
    if (r->n_frames == r->cap_frames) {
        uint32_t cap = r->cap_frames ? r->cap_frames * 2 : 64;
        frame *v = mem_resize_array(r->frames, cap, sizeof *v);
        if (!v)
            return error_nomem(err, "a constraint");
        r->frames = v;
        r->cap_frames = cap;
        p = &r->frames[parent];
    }
    const production *rule = &g->graph.rules[x->rule];
    frame f = {.edge = e, .count = count, .parent = parent, .calls = (uint16_t)(p->calls + 1)};
    f.containers = (uint16_t)containers;
    f.open = rule->container ? rule->open : p->open;
    f.rest = frame_rest(g, r, &f);
    r->frames[r->n_frames] = f;
    r->frame_table[h & (r->n_frame_table - 1)] = r->n_frames + 1;
    *out = r->n_frames++;
    return MUGA_OK;
}

static bool tables_init(run_tables *r) {
    memset(r, 0, sizeof *r);
    arena_init(&r->rows, RUN_MAX_BYTES);
    r->frames = mem_alloc_array(64, sizeof *r->frames);
    if (!r->frames)
        return false;
    r->cap_frames = 64;
    r->frames[0] = (frame){.edge = NO_EDGE}; /* FRAME_ROOT */
    r->n_frames = 1;
    return true;
}

static void tables_release(run_tables *r) {
    free(r->frames);
    free(r->frame_table);
    free(r->sets);
    free(r->set_table);
    free(r->configs);
    arena_release(&r->rows);
    memset(r, 0, sizeof *r);
}

/* ---- closure ---- */

static bool grow_seen(constrain_grammar *g) {
    uint32_t cap = g->cap_seen ? g->cap_seen * 2 : 256;
    uint64_t *v = mem_alloc_array(cap, sizeof *v);
    uint32_t *stamps = mem_alloc_array(cap, sizeof *stamps);
    if (!v || !stamps) {
        free(v);
        free(stamps);
        return false;
    }
    for (uint32_t i = 0; i < g->cap_seen; i++)
        if (g->seen_stamp[i] == g->stamp) {
            uint64_t h = g->seen[i] * 0x9E3779B97F4A7C15u >> 17;
            while (stamps[h & (cap - 1)] == g->stamp)
                h++;
            v[h & (cap - 1)] = g->seen[i];
            stamps[h & (cap - 1)] = g->stamp;
        }
    free(g->seen);
    free(g->seen_stamp);
    g->seen = v;
    g->seen_stamp = stamps;
    g->cap_seen = cap;
    return true;
}

/* Puts a configuration on the work list unless it was there. */
static muga_status visit(constrain_grammar *g, uint32_t *n, uint32_t node, uint32_t frm, muga_error *err) {
    uint64_t key = (uint64_t)node << 32 | frm;
    if (g->n_seen * 2 >= g->cap_seen && !grow_seen(g))
        return error_nomem(err, "a constraint");
    uint64_t h = key * 0x9E3779B97F4A7C15u >> 17;
    for (; g->seen_stamp[h & (g->cap_seen - 1)] == g->stamp; h++)
        if (g->seen[h & (g->cap_seen - 1)] == key)
            return MUGA_OK;
    g->seen[h & (g->cap_seen - 1)] = key;
    g->seen_stamp[h & (g->cap_seen - 1)] = g->stamp;
    g->n_seen++;
    if (g->n_seen > RUN_MAX_CONFIGS_A_SET * 8)
        return error_set(err, MUGA_E_LIMIT, "grammar: too ambiguous, more than %u readings of one text at once",
                         RUN_MAX_CONFIGS_A_SET * 8);
    if (*n == g->cap_work) {
        uint32_t cap = g->cap_work ? g->cap_work * 2 : 64;
        config *v = mem_resize_array(g->work, cap, sizeof *v);
        if (!v)
            return error_nomem(err, "a constraint");
        g->work = v;
        g->cap_work = cap;
    }
    g->work[(*n)++] = (config){node, frm};
    return MUGA_OK;
}

static muga_status keep(constrain_grammar *g, config c, muga_error *err) {
    if (g->n_found == g->cap_found) {
        uint32_t cap = g->cap_found ? g->cap_found * 2 : 64;
        config *v = mem_resize_array(g->found, cap, sizeof *v);
        if (!v)
            return error_nomem(err, "a constraint");
        g->found = v;
        g->cap_found = cap;
    }
    g->found[g->n_found++] = c;
    return MUGA_OK;
}

static muga_status enter_call(constrain_grammar *g, run_tables *r, uint32_t *n, uint32_t e, uint32_t count,
                              uint32_t parent, muga_error *err) {
    const edge *x = &g->graph.edges[e];
    uint32_t start = g->graph.rules[x->rule].start, f = parent;
    bool tail = x->min == 1 && x->max == 1 && g->graph.rule_of_end[x->to] && !g->graph.rules[x->rule].container;
    if (!tail) { /* nothing follows a tail call in its rule, so its caller's frame serves */
        muga_status st = frame_intern(g, r, e, count, parent, &f, err);
        if (st != MUGA_OK || f == FRAME_ROOT)
            return st;
    }
    return visit(g, n, start, f, err);
}

/* The end of a rule: the next iteration of its call, what follows the call, or the end of the text. */
static muga_status leave_rule(constrain_grammar *g, run_tables *r, uint32_t *n, uint32_t frm, bool *complete,
                              muga_error *err) {
    if (frm == FRAME_ROOT) {
        *complete = true;
        return MUGA_OK;
    }
    const frame f = r->frames[frm];
    const edge *x = &g->graph.edges[f.edge];
    muga_status st = MUGA_OK;
    if (f.count >= x->min)
        st = visit(g, n, x->to, f.parent, err);
    if (st == MUGA_OK && f.count < x->max) {
        uint32_t count = x->max == CALL_INF ? MIN(f.count + 1, MAX(x->min, 1u)) : f.count + 1;
        st = enter_call(g, r, n, f.edge, count, f.parent, err);
    }
    return st;
}

/* Follows what needs no byte from work[0, n) on; found: the configurations that wait for one. */
static muga_status close_over(constrain_grammar *g, run_tables *r, uint32_t n, bool *complete, muga_error *err) {
    muga_status st = MUGA_OK;
    const graph *x = &g->graph;
    *complete = false;
    g->n_found = 0;
    while (n > 0 && st == MUGA_OK) {
        config c = g->work[--n];
        if (x->rule_of_end[c.node])
            st = leave_rule(g, r, &n, c.frame, complete, err);
        if (st == MUGA_OK && g->has_bytes[c.node])
            st = keep(g, c, err);
        for (uint32_t k = x->first[c.node]; k < x->first[c.node + 1] && st == MUGA_OK; k++) {
            const edge *e = &x->edges[k];
            if (e->kind == EDGE_EMPTY || (e->kind == EDGE_CALL && e->min == 0))
                st = visit(g, &n, e->to, c.frame, err);
            if (st == MUGA_OK && e->kind == EDGE_CALL)
                st = enter_call(g, r, &n, k, 1, c.frame, err);
        }
    }
    if (st == MUGA_OK && g->n_found > RUN_MAX_CONFIGS_A_SET)
        st = error_set(err, MUGA_E_LIMIT, "grammar: too ambiguous, more than %u readings of one text at once",
                       RUN_MAX_CONFIGS_A_SET);
    return st;
}

static void begin_closure(constrain_grammar *g) {
    if (++g->stamp == 0) {
        if (g->cap_seen)
            memset(g->seen_stamp, 0, g->cap_seen * sizeof *g->seen_stamp);
        g->stamp = 1;
    }
    g->n_seen = 0;
}

static int config_order(const void *x, const void *y) {
    const config *a = x, *b = y;
    if (a->node != b->node)
        return a->node < b->node ? -1 : 1;
    return a->frame < b->frame ? -1 : a->frame > b->frame;
}

static void describe_set(const constrain_grammar *g, const run_tables *r, state_set *s) {
    const cost *c = run_cost(g);
    s->cost = s->complete ? 0 : COST_INF;
    s->behind = COST_INF;
    s->only = -1;
    bool one = !s->complete;
    for (uint32_t i = 0; i < s->n; i++) {
        config k = r->configs[s->at + i];
        const frame *f = &r->frames[k.frame];
        s->cost = MIN(s->cost, cost_add(c->node[k.node], f->rest));
        s->value = s->value || f->containers > 0;
        for (size_t t = 0; t < ARRAY_LEN(g->text); t++)
            s->text = s->text || (k.node >= g->text[t].lo && k.node < g->text[t].hi);
        if (g->section_rule && f->edge != NO_EDGE && g->graph.edges[f->edge].rule + 1 == g->section_rule)
            s->behind = f->rest;
        for (uint32_t e = g->graph.first[k.node]; e < g->graph.first[k.node + 1] && one; e++) {
            const edge *x = &g->graph.edges[e];
            if (x->kind != EDGE_BYTES)
                continue;
            one = x->lo == x->hi && (s->only < 0 || s->only == x->lo);
            s->only = x->lo;
        }
    }
    if (!one)
        s->only = -1;
}

/* The number of the set in g->found. */
static muga_status set_intern(constrain_grammar *g, run_tables *r, bool complete, uint32_t *out, muga_error *err) {
    uint32_t n = g->n_found;
    if (n == 0 && !complete) {
        *out = SET_DEAD;
        return MUGA_OK;
    }
    if (n > 1)
        qsort(g->found, n, sizeof *g->found, config_order);
    if (r->n_sets * 2 >= r->n_set_table && !rehash(&r->set_table, &r->n_set_table, r->n_sets, hash_of_set, r))
        return error_nomem(err, "a constraint");
    uint64_t h = configs_hash(g->found, n, complete);
    for (; r->set_table[h & (r->n_set_table - 1)]; h++) {
        uint32_t i = r->set_table[h & (r->n_set_table - 1)] - 1;
        if (r->sets[i].n == n && r->sets[i].complete == complete &&
            (n == 0 || memcmp(r->configs + r->sets[i].at, g->found, n * sizeof *g->found) == 0)) {
            *out = i;
            return MUGA_OK;
        }
    }
    if (r->n_sets == r->cap_sets) {
        uint32_t cap = r->cap_sets ? r->cap_sets * 2 : 64;
        state_set *v = mem_resize_array(r->sets, cap, sizeof *v);
        if (!v)
            return error_nomem(err, "a constraint");
        r->sets = v;
        r->cap_sets = cap;
    }
    if (r->n_configs + n > r->cap_configs) {
        size_t cap = MAX(r->cap_configs * 2, r->n_configs + n + 256);
        config *v = cap > RUN_MAX_CONFIGS ? NULL : mem_resize_array(r->configs, cap, sizeof *v);
        if (!v)
            return cap > RUN_MAX_CONFIGS ? error_set(err, MUGA_E_LIMIT, "grammar: too ambiguous for this vocabulary")
                                         : error_nomem(err, "a constraint");
        r->configs = v;
        r->cap_configs = cap;
    }
    state_set *s = &r->sets[r->n_sets];
    *s = (state_set){.at = r->n_configs, .n = n, .complete = complete};
    if (n)
        memcpy(r->configs + r->n_configs, g->found, n * sizeof *g->found);
    r->n_configs += n;
    describe_set(g, r, s);
    r->set_table[h & (r->n_set_table - 1)] = r->n_sets + 1;
    *out = r->n_sets++;
    return MUGA_OK;
}

static muga_status start_set(constrain_grammar *g, run_tables *r, uint32_t *out, muga_error *err) {
    bool complete;
    uint32_t n = 0;
    begin_closure(g);
    muga_status st = visit(g, &n, g->graph.rules[g->graph.root].start, FRAME_ROOT, err);
    if (st == MUGA_OK)
        st = close_over(g, r, n, &complete, err);
    return st == MUGA_OK ? set_intern(g, r, complete, out, err) : st;
}

muga_status run_step(constrain_grammar *g, uint32_t set, uint8_t byte, uint32_t *out, muga_error *err) {
    run_tables *r = &g->run;
    uint32_t k = g->graph.class_of[byte];
    if (!r->sets[set].row) {
        r->sets[set].row = arena_alloc(&r->rows, g->graph.n_classes * sizeof *r->sets[set].row);
        if (!r->sets[set].row)
            return r->rows.used_bytes + (1u << 20) > RUN_MAX_BYTES
                       ? error_set(err, MUGA_E_LIMIT, "grammar: too ambiguous for this vocabulary")
                       : error_nomem(err, "a constraint");
    }
    uint32_t known = r->sets[set].row[k];
    if (known) {
        *out = known == 1 ? SET_DEAD : known - 2;
        return MUGA_OK;
    }
    uint32_t n = 0;
    bool complete;
    muga_status st = MUGA_OK;
    begin_closure(g);
    for (uint32_t i = 0; i < r->sets[set].n && st == MUGA_OK; i++) {
        config c = r->configs[r->sets[set].at + i];
        for (uint32_t e = g->graph.first[c.node]; e < g->graph.first[c.node + 1] && st == MUGA_OK; e++) {
            const edge *x = &g->graph.edges[e];
            if (x->kind == EDGE_BYTES && byte >= x->lo && byte <= x->hi)
                st = visit(g, &n, x->to, c.frame, err);
        }
    }
    if (st == MUGA_OK)
        st = close_over(g, r, n, &complete, err);
    if (st == MUGA_OK)
        st = set_intern(g, r, complete, out, err);
    if (st == MUGA_OK)
        r->sets[set].row[k] = *out == SET_DEAD ? 1 : *out + 2;
    return st;
}

/* ---- rebuilding ---- */

static muga_status frame_move(constrain_grammar *g, run_tables *to, uint32_t old, uint32_t *map, uint32_t *out,
                              muga_error *err) {
    /* Parents have lower numbers; at most GRAPH_MAX_CALLS of them. Walk up to a known one, then down again. */
    uint32_t chain[GRAPH_MAX_CALLS + 1], n = 0;
    muga_status st = MUGA_OK;
    for (uint32_t f = old; f != FRAME_ROOT && map[f] == FRAME_ROOT && n < ARRAY_LEN(chain); f = g->run.frames[f].parent)
        chain[n++] = f;
    while (n > 0 && st == MUGA_OK) {
        const frame *f = &g->run.frames[chain[--n]];
        st = frame_intern(g, to, f->edge, f->count, map[f->parent], &map[chain[n]], err);
    }
    *out = map[old];
    return st;
}

static muga_status set_move(constrain_grammar *g, run_tables *to, uint32_t old, uint32_t *map, uint32_t *out,
                            muga_error *err) {
    const state_set *s = &g->run.sets[old];
    muga_status st = MUGA_OK;
    g->n_found = 0;
    for (uint32_t i = 0; i < s->n && st == MUGA_OK; i++) {
        config c = g->run.configs[s->at + i];
        uint32_t f = FRAME_ROOT;
        st = frame_move(g, to, c.frame, map, &f, err);
        /* A frame that the depth limits of another vocabulary refuse is left out; some reading always stays. */
        if (st == MUGA_OK && (f != FRAME_ROOT || c.frame == FRAME_ROOT))
            st = keep(g, (config){c.node, f}, err);
    }
    if (st == MUGA_OK)
        st = set_intern(g, to, s->complete, out, err);
    if (st == MUGA_OK && *out == SET_DEAD)
        st = error_set(err, MUGA_E_LIMIT, "constraint: nests too deep to go on with this vocabulary");
    return st;
}

muga_status run_collect(constrain_grammar *g, bool force, muga_error *err) {
    if (!force && g->run.rows.used_bytes < RUN_COLLECT_BYTES && g->run.n_configs < RUN_COLLECT_CONFIGS)
        return MUGA_OK;
    run_tables fresh;
    uint32_t *map = mem_alloc_array(g->run.n_frames, sizeof *map), n_states = 0, start = 0;
    for (constrain_state *s = g->states; s; s = s->next)
        n_states++;
    uint32_t *moved = mem_alloc_array(n_states, sizeof *moved);
    bool ready = tables_init(&fresh);
    muga_status st = map && moved && ready ? start_set(g, &fresh, &start, err) : error_nomem(err, "a constraint");
    uint32_t i = 0;
    for (constrain_state *s = g->states; s && st == MUGA_OK; s = s->next)
        st = set_move(g, &fresh, s->set, map, &moved[i++], err);
    if (st == MUGA_OK) {
        i = 0;
        for (constrain_state *s = g->states; s; s = s->next)
            s->set = moved[i++];
        tables_release(&g->run);
        g->run = fresh;
        g->start = start;
        g->n_tables++;
    } else if (ready) {
        tables_release(&fresh);
    }
    free(map);
    free(moved);
    return st;
}

/* ---- grammar and state ---- */

muga_status grammar_new(graph *x, graph_check check, constrain_grammar **out, muga_error *err) {
    *out = NULL;
    bool closable = false;
    constrain_grammar *g = mem_alloc_array(1, sizeof *g);
    if (!g) {
        graph_release(x);
        return error_nomem(err, "a grammar");
    }
    g->graph = *x;
    memset(x, 0, sizeof *x);
    muga_status st = graph_finish(&g->graph, &g->bytes, &closable, err);
    if (st == MUGA_OK && check)
        st = check(&g->graph, &g->bytes, err);
    if (st == MUGA_OK && !closable)
        st = error_set(err, MUGA_E_INPUT, "grammar: no finite text satisfies it");
    if (st == MUGA_OK &&
        (g->bytes.containers[g->graph.root] > GRAPH_MAX_CONTAINERS || g->bytes.calls[g->graph.root] > GRAPH_MAX_CALLS))
        st = error_set(err, MUGA_E_LIMIT, "grammar: its shortest text nests deeper than %u", GRAPH_MAX_CONTAINERS);
    if (st == MUGA_OK) {
        g->has_bytes = mem_alloc_array(g->graph.n_nodes, 1);
        if (!g->has_bytes || !tables_init(&g->run) || pthread_mutex_init(&g->lock, NULL) != 0)
            st = error_nomem(err, "a grammar");
        else
            g->has_lock = true;
    }
    for (uint32_t i = 0; st == MUGA_OK && i < g->graph.n_nodes; i++)
        for (uint32_t k = g->graph.first[i]; k < g->graph.first[i + 1]; k++)
            g->has_bytes[i] |= g->graph.edges[k].kind == EDGE_BYTES;
    plain_prepare(&g->plain, g->graph.class_of);
    if (st == MUGA_OK)
        st = start_set(g, &g->run, &g->start, err);
    if (st != MUGA_OK)
        constrain_grammar_free(g);
    else
        *out = g;
    return st;
}

void constrain_grammar_free(constrain_grammar *g) {
    if (!g)
        return;
    graph_release(&g->graph);
    cost_release(&g->bytes);
    cost_release(&g->tokens);
    tables_release(&g->run);
    json_decref(g->schema);
    json_decref(g->documents);
    if (g->has_lock)
        pthread_mutex_destroy(&g->lock);
    free(g->has_bytes);
    free(g->work);
    free(g->found);
    free(g->seen);
    free(g->seen_stamp);
    free(g);
}

size_t constrain_grammar_bytes(const constrain_grammar *grammar) {
    constrain_grammar *g = (constrain_grammar *)(uintptr_t)grammar; /* its lock changes, nothing else */
    const graph *x = &g->graph;
    const run_tables *r = &g->run;
    pthread_mutex_lock(&g->lock);
    size_t per_node = sizeof *x->first + sizeof *x->rule_of_end + sizeof *g->has_bytes + 2 * sizeof *g->bytes.node;
    size_t per_rule = sizeof *x->rules + 2 * (sizeof *g->bytes.calls + sizeof *g->bytes.containers);
    size_t sum = sizeof *g + x->n_nodes * per_node + x->n_rules * per_rule + x->cap_edges * sizeof *x->edges;
    sum += r->cap_frames * sizeof *r->frames + r->n_frame_table * sizeof *r->frame_table;
    sum += r->cap_sets * sizeof *r->sets + r->n_set_table * sizeof *r->set_table;
    sum += r->cap_configs * sizeof *r->configs + r->rows.used_bytes;
    sum += (g->cap_work + (size_t)g->cap_found) * sizeof(config);
    sum += g->cap_seen * (sizeof *g->seen + sizeof *g->seen_stamp);
    pthread_mutex_unlock(&g->lock);
    return sum;
}

static muga_status state_at(constrain_grammar *g, const constrain_state *from, constrain_state **out, muga_error *err) {
    *out = NULL;
    constrain_state *s = mem_alloc_array(1, sizeof *s);
    if (!s)
        return error_nomem(err, "a constraint's state");
    s->grammar = g;
    if (from && g->open_keys && !keys_copy(&s->keys, &from->keys)) {
        keys_release(&s->keys);
        free(s);
        return error_nomem(err, "a constraint's state");
    }
    pthread_mutex_lock(&g->lock);
    s->set = from ? from->set : g->start;
    s->n_section = from ? from->n_section : 0;
    s->next = g->states;
    if (s->next)
        s->next->prev = s;
    g->states = s;
    pthread_mutex_unlock(&g->lock);
    *out = s;
    return MUGA_OK;
}

muga_status constrain_state_new(const constrain_grammar *g, constrain_state **out, muga_error *err) {
    /* Immutable to callers; what is learnt while reading is kept inside, under its lock. */
    return state_at((constrain_grammar *)(uintptr_t)g, NULL, out, err);
}

muga_status constrain_state_copy(const constrain_state *s, constrain_state **out, muga_error *err) {
    return state_at(s->grammar, s, out, err);
}

void constrain_state_free(constrain_state *s) {
    if (!s)
        return;
    pthread_mutex_lock(&s->grammar->lock);
    if (s->prev)
        s->prev->next = s->next;
    else
        s->grammar->states = s->next;
    if (s->next)
        s->next->prev = s->prev;
    pthread_mutex_unlock(&s->grammar->lock);
    keys_release(&s->keys);
    keys_release(&s->scratch);
    free(s);
}

muga_status run_feed_keys(constrain_grammar *g, uint32_t set, keys *k, const char *p, size_t n, keys_verdict *verdict,
                          muga_error *err) {
    *verdict = KEYS_FINE;
    if (!g->embedded)
        *verdict = keys_feed(k, p, n);
    for (size_t i = 0; g->embedded && i < n && set != SET_DEAD && *verdict == KEYS_FINE; i++) {
        if (g->run.sets[set].value)
            *verdict = keys_feed(k, p + i, 1);
        muga_status st = run_step(g, set, (uint8_t)p[i], &set, err);
        if (st != MUGA_OK)
            return st;
    }
    return *verdict == KEYS_NOMEM ? error_nomem(err, "a constraint's state") : MUGA_OK;
}

static muga_status advance_keys(constrain_state *s, const char *p, size_t n, bool *accepted, muga_error *err) {
    keys_verdict v;
    if (!keys_copy(&s->scratch, &s->keys))
        return error_nomem(err, "a constraint's state");
    muga_status st = run_feed_keys(s->grammar, s->set, &s->scratch, p, n, &v, err);
    if (st != MUGA_OK)
        return st;
    *accepted = v == KEYS_FINE;
    if (v == KEYS_FINE) {
        keys was = s->keys;
        s->keys = s->scratch;
        s->scratch = was;
    }
    return MUGA_OK;
}

muga_status constrain_advance(constrain_state *s, const char *p, size_t n, bool *accepted, muga_error *err) {
    constrain_grammar *g = s->grammar;
    pthread_mutex_lock(&g->lock);
    muga_status st = run_collect(g, false, err);
    uint32_t at = s->set;
    *accepted = false;
    for (size_t i = 0; i < n && st == MUGA_OK && at != SET_DEAD; i++)
        st = run_step(g, at, (uint8_t)p[i], &at, err);
    if (st == MUGA_OK && at != SET_DEAD) {
        *accepted = true;
        if (g->open_keys)
            st = advance_keys(s, p, n, accepted, err);
        if (*accepted) {
            s->n_section += g->run.sets[s->set].behind < COST_INF;
            s->set = at;
        }
    }
    pthread_mutex_unlock(&g->lock);
    return st;
}

bool constrain_is_complete(const constrain_state *s) {
    pthread_mutex_lock(&s->grammar->lock);
    bool complete = s->grammar->run.sets[s->set].complete;
    pthread_mutex_unlock(&s->grammar->lock);
    return complete;
}

bool constrain_can_continue(const constrain_state *s) {
    pthread_mutex_lock(&s->grammar->lock);
    bool can = s->grammar->run.sets[s->set].n > 0;
    pthread_mutex_unlock(&s->grammar->lock);
    return can;
}

bool constrain_in_text(const constrain_state *s) {
    pthread_mutex_lock(&s->grammar->lock);
    bool text = s->grammar->run.sets[s->set].text;
    pthread_mutex_unlock(&s->grammar->lock);
    return text;
}

void constrain_forced(const constrain_state *s, size_t max, str *out) {
    constrain_grammar *g = s->grammar;
    pthread_mutex_lock(&g->lock);
    uint32_t at = s->set;
    for (size_t i = 0; i < max && at != SET_DEAD && g->run.sets[at].only >= 0; i++) {
        uint8_t byte = (uint8_t)g->run.sets[at].only;
        muga_error ignored;
        muga_status st = run_step(g, at, byte, &at, &ignored);
        if (st == MUGA_E_NOMEM)
            out->failed =
                true; /* fewer bytes would be right too, but another answer than a machine with memory gives */
        if (st != MUGA_OK)
            break;
        str_append_c(out, (char)byte);
    }
    pthread_mutex_unlock(&g->lock);
}
