/* Template: causal attention inside segments (tape.h), as products of tiles.
 *
 * Forward, and for the gradients of queries, a chunk of work is up to PANEL lines (heads_body.h) of one segment: their
 * scores stand as [key][line], so that the softmax runs over lines side by side, and are the left side of the
 * product with the values. For the gradients of keys and values a chunk is up to PANEL keys of one segment: scores as
 * [line][key], lines in ascending order. Going back, scores are computed again from what each line keeps of its
 * softmax. So no sum is shared by two chunks, and none hangs on where in a pass its rows lie. */
#include <stdatomic.h>

#define LINES_AT_ONCE (8 * TILE) /* against one chunk of keys */

typedef struct attention_op {
    note n;
    var *q, *k, *v, *y;
    tape_attention_args a;
    real *max, *inverse; /* [n_head_kv][lines]: of the scores, and 1 / the sum of e^(score - max) */
} attention_op;

typedef struct attention_item {
    uint32_t i_segment, i_group; /* i_group: head of keys */
    uint32_t from, n;            /* lines, or rows of keys */
} attention_item;

/* One run over all items; each thread takes the next one and has a room of its own. */
typedef struct attention_run {
    const attention_op *op;
    heads q, k, v, dy;
    heads out;   /* lines of what is computed: y, or the gradient of q */
    heads out_k; /* the gradients of keys and values, by rows of keys */
    heads out_v;
    real *along; /* [n_head_kv][lines]: dy . y */
    attention_item *items;
    uint32_t n_items;
    void (*attend)(struct attention_run *r, const attention_item *it, real *room);
    real *room; /* [threads][room_reals] */
    size_t room_reals;
    _Atomic uint32_t next;
} attention_run;

/* ---- what sees what ---- */

static const train_segment *segment_of(const attention_run *r, const attention_item *it) {
    return &r->op->a.segments->at[it->i_segment];
}

static uint32_t first_seen(const attention_op *op, uint32_t pos) {
    return op->a.window && pos >= op->a.window ? pos - op->a.window + 1 : 0;
}

/* Keys beside each other in memory that some of the lines see: rows [row, row + n) of positions from pos on. */
typedef struct key_run {
    uint32_t row, n, pos;
    real *score, *slope; /* [n][PANEL] */
} key_run;

/* Those of positions [first, last]: what the segment goes on from, and its own. Scores from `room` on, each run with
 * space for whole tiles. */
static int find_runs(const train_segment *s, uint32_t first, uint32_t last, size_t room_reals, real *room,
                     key_run out[2]) {
    int n = 0;
    size_t at = 0;
    for (int own = 0; own < 2; own++) {
        uint32_t from = own ? MAX(first, s->n_prefix) : first, to = own ? last + 1 : MIN(last + 1, s->n_prefix);
        if (from >= to)
            continue;
        uint32_t row = segment_row(s, from), skip = row % TILE;
        key_run *k = &out[n++];
        *k = (key_run){row, to - from, from, room + at + (size_t)skip * PANEL, NULL};
        k->slope = k->score + room_reals;
        at += ((size_t)skip + k->n + TILE) / TILE * TILE * PANEL;
    }
    return n;
}

/* Lines side by side. */
typedef struct line_block {
    uint32_t n;
    uint32_t first[PANEL], last[PANEL]; /* positions that each sees; past n as the last */
} line_block;

static void find_lines(const attention_run *r, const attention_item *it, line_block *b) {
    const train_segment *s = segment_of(r, it);
    b->n = it->n;
    for (uint32_t l = 0; l < PANEL; l++) {
        uint32_t row = (it->from + MIN(l, it->n - 1)) / r->q.each;
        b->last[l] = s->n_prefix + (row - s->from);
        b->first[l] = first_seen(r->op, b->last[l]);
    }
}

/* out[key][line] = keys . lines, for whole tiles of keys; panel [dim][PANEL] of the lines. */
static void meet_keys(const heads *k, uint32_t i_group, const key_run *run, const real *panel, uint32_t n_line,
                      real *out) {
    uint32_t skip = run->row % TILE, whole = n_line > VECTOR ? PANEL : VECTOR;
    for (uint32_t row = run->row - skip; row < run->row + run->n; row += TILE) {
        sides s = {heads_tile(k, i_group, row / TILE), panel, TILE, PANEL, k->dim};
        meet_tile(TILE, whole, &s, out + ((size_t)row - (run->row - skip)) * PANEL, PANEL, true);
    }
}

static inline real capped(const attention_op *op, real s) {
    real cap = (real)op->a.softcap;
    return cap != 0 ? cap * real_tanh(s / cap) : s;
}

/* Scores of a run as the softmax takes them; -inf where a line doesn't see the key. */
static void score_run(const attention_run *r, const attention_item *it, const line_block *b, const real *panel,
                      const key_run *run) {
    real scale = (real)r->op->a.scale;
    meet_keys(&r->k, it->i_group, run, panel, it->n, run->score - (size_t)(run->row % TILE) * PANEL);
    for (uint32_t i = 0; i < run->n; i++) {
        real *s = run->score + (size_t)i * PANEL;
        uint32_t pos = run->pos + i;
        for (uint32_t l = 0; l < PANEL; l++)
            s[l] = scale * s[l];
        for (uint32_t l = 0; r->op->a.softcap != 0 && l < PANEL; l++)
            s[l] = capped(r->op, s[l]);
        for (uint32_t l = 0; l < PANEL; l++)
            s[l] = pos >= b->first[l] && pos <= b->last[l] ? s[l] : -(real)INFINITY;
    }
}

/* out lines (+)= weights [key][line] times the values, or keys, of a run. */
static void add_run(const heads *k, uint32_t i_group, const line_block *b, const key_run *run, const real *weights,
                    bool fresh, heads *out, uint32_t from) {
    for (uint32_t l = 0; l < b->n; l += TILE) {
        uint32_t n = MIN((uint32_t)TILE, b->n - l), to = b->last[l + n - 1] + 1 - MIN(b->last[l + n - 1] + 1, run->pos);
        uint32_t skip = b->first[l] > run->pos ? b->first[l] - run->pos : 0;
        to = MIN(to, run->n);
        skip = MIN(skip, to);
        sides s = {weights + (size_t)skip * PANEL + l, heads_line(k, i_group, run->row + skip), PANEL, k->wide,
                   to - skip};
        for (uint32_t c = 0; c < k->wide; c += PANEL, s.b += PANEL)
            meet_tile(n, MIN((uint32_t)PANEL, k->wide - c), &s, heads_line(out, i_group, from + l) + c, k->wide, fresh);
    }
}

/* ---- there ---- */

static void softmax_runs(const attention_run *r, const attention_item *it, const key_run *runs, int n_run) {
    real max[PANEL], inverse[PANEL];
    double sum[PANEL] = {0};
    for (uint32_t l = 0; l < PANEL; l++)
        max[l] = -(real)INFINITY;
    for (int k = 0; k < n_run; k++)
        for (uint32_t i = 0; i < runs[k].n; i++)
            for (uint32_t l = 0; l < PANEL; l++) {
                real s = runs[k].score[(size_t)i * PANEL + l];
                max[l] = s > max[l] ? s : max[l];
            }
    for (int k = 0; k < n_run; k++)
        for (uint32_t i = 0; i < runs[k].n; i++) {
            real *s = runs[k].score + (size_t)i * PANEL;
            for (uint32_t l = 0; l < PANEL; l++)
                s[l] = real_exp(s[l] - max[l]);
            for (uint32_t l = 0; l < PANEL; l++)
                sum[l] += (double)s[l];
        }
    for (uint32_t l = 0; l < PANEL; l++)
        inverse[l] = (real)(1 / sum[l]);
    for (int k = 0; k < n_run; k++)
        for (uint32_t i = 0; i < runs[k].n; i++)
            for (uint32_t l = 0; l < PANEL; l++)
                runs[k].score[(size_t)i * PANEL + l] *= inverse[l];
    size_t at = (size_t)it->i_group * r->q.n_line + it->from;
    memcpy(r->op->max + at, max, it->n * sizeof *max);
    memcpy(r->op->inverse + at, inverse, it->n * sizeof *inverse);
}

static void attend_forward(attention_run *r, const attention_item *it, real *room) {
    line_block b;
    key_run runs[2];
    real *panel = room;
    find_lines(r, it, &b);
    int n_run = find_runs(segment_of(r, it), b.first[0], b.last[b.n - 1], 0, room + (size_t)r->q.dim * PANEL, runs);
    heads_panel(&r->q, it->i_group, it->from, it->n, panel);
    for (int k = 0; k < n_run; k++)
        score_run(r, it, &b, panel, &runs[k]);
    softmax_runs(r, it, runs, n_run);
    for (int k = 0; k < n_run; k++)
        add_run(&r->v, it->i_group, &b, &runs[k], runs[k].score, k == 0, &r->out, it->from);
    for (uint32_t l = 0; l < it->n; l++)
        memcpy(r->op->y->v + heads_place(&r->out, it->i_group, it->from + l),
               heads_line(&r->out, it->i_group, it->from + l), r->q.dim * sizeof(real));
}

/* ---- back ---- */

/* Scores to shares of the softmax P, and dP = dy . v to the scores' gradients: P (dP - D), through cap and scale, with
 * D = sum P dP = dy . y. */
static inline void slope_of(const attention_op *op, real max, real inverse, real along, real *score, real *slope) {
    real cap = (real)op->a.softcap, share = real_exp(*score - max) * inverse;
    real bent = cap != 0 ? 1 - *score / cap * (*score / cap) : 1;
    *slope = share > 0 ? share * (*slope - along) * bent * (real)op->a.scale : 0 * share;
    *score = share;
}

static void attend_back_queries(attention_run *r, const attention_item *it, real *room) {
    const attention_op *op = r->op;
    line_block b;
    key_run runs[2];
    uint32_t dim = r->q.dim;
    real *panel = room, *dy_panel = room + (size_t)dim * PANEL;
    size_t at = (size_t)it->i_group * r->q.n_line + it->from;
    real max[PANEL] = {0}, inverse[PANEL] = {0}, along[PANEL] = {0};
    memcpy(max, op->max + at, it->n * sizeof *max);
    memcpy(inverse, op->inverse + at, it->n * sizeof *inverse);
    for (uint32_t l = 0; l < it->n; l++)
        r->along[at + l] = along[l] = dot(heads_line(&r->dy, it->i_group, it->from + l),
                                          op->y->v + heads_place(&r->dy, it->i_group, it->from + l), dim);
    find_lines(r, it, &b);
    int n_run = find_runs(segment_of(r, it), b.first[0], b.last[b.n - 1], (r->room_reals - 2 * dim * PANEL) / 2,
                          room + (size_t)2 * dim * PANEL, runs);
    heads_panel(&r->q, it->i_group, it->from, it->n, panel);
    heads_panel(&r->dy, it->i_group, it->from, it->n, dy_panel);
    for (int k = 0; k < n_run; k++) {
        score_run(r, it, &b, panel, &runs[k]);
        meet_keys(&r->v, it->i_group, &runs[k], dy_panel, it->n, runs[k].slope - (size_t)(runs[k].row % TILE) * PANEL);
        for (uint32_t i = 0; i < runs[k].n; i++)
            for (uint32_t l = 0; l < PANEL; l++)
                slope_of(op, max[l], inverse[l], along[l], runs[k].score + (size_t)i * PANEL + l,
                         runs[k].slope + (size_t)i * PANEL + l);
        add_run(&r->k, it->i_group, &b, &runs[k], runs[k].slope, k == 0, &r->out, it->from);
    }
    for (uint32_t l = 0; l < it->n; l++)
        add_times(op->q->g + heads_place(&r->out, it->i_group, it->from + l),
                  heads_line(&r->out, it->i_group, it->from + l), 1, dim);
}

/* A chunk of keys while lines go by. */
typedef struct key_block {
    const attention_item *it;
    uint32_t pos[PANEL]; /* of the keys; past the last as it */
    const real *k, *v;   /* panels [dim][PANEL] */
    real *share, *slope; /* [LINES_AT_ONCE + TILE][PANEL] */
    bool fresh;
} key_block;

/* Lines [from, to) of a segment, which stand in tiles from `from` / TILE on: what they add to the keys. */
static void add_lines(attention_run *r, const train_segment *s, uint32_t from, uint32_t to, key_block *b) {
    const attention_op *op = r->op;
    const attention_item *it = b->it;
    uint32_t skip = from % TILE, n_key = it->n, whole = n_key > VECTOR ? PANEL : VECTOR;
    for (uint32_t line = from - skip; line < to; line += TILE) {
        sides x = {heads_tile(&r->q, it->i_group, line / TILE), b->k, TILE, PANEL, r->q.dim};
        size_t at = (size_t)(line - (from - skip)) * PANEL;
        meet_tile(TILE, whole, &x, b->share + at, PANEL, true);
        x.a = heads_tile(&r->dy, it->i_group, line / TILE);
        x.b = b->v;
        meet_tile(TILE, whole, &x, b->slope + at, PANEL, true);
    }
    real *share = b->share + (size_t)skip * PANEL, *slope = b->slope + (size_t)skip * PANEL;
    for (uint32_t line = from; line < to; line++) {
        size_t at = (size_t)it->i_group * r->q.n_line + line;
        uint32_t last = s->n_prefix + (line / r->q.each - s->from), first = first_seen(op, last);
        real *p = share + (size_t)(line - from) * PANEL, *d = slope + (size_t)(line - from) * PANEL;
        for (uint32_t c = 0; c < PANEL; c++)
            p[c] = (real)op->a.scale * p[c];
        for (uint32_t c = 0; op->a.softcap != 0 && c < PANEL; c++)
            p[c] = capped(op, p[c]);
        for (uint32_t c = 0; c < PANEL; c++)
            p[c] = b->pos[c] >= first && b->pos[c] <= last ? p[c] : -(real)INFINITY;
        for (uint32_t c = 0; c < PANEL; c++)
            slope_of(op, op->max[at], op->inverse[at], r->along[at], p + c, d + c);
    }
    for (uint32_t i = 0; i < n_key; i += TILE)
        for (uint32_t c = 0; c < r->q.wide; c += PANEL) {
            uint32_t n = MIN((uint32_t)TILE, n_key - i), n_c = MIN((uint32_t)PANEL, r->q.wide - c);
            sides x = {share + i, heads_line(&r->dy, it->i_group, from) + c, PANEL, r->q.wide, to - from};
            meet_tile(n, n_c, &x, heads_line(&r->out_v, it->i_group, it->from + i) + c, r->q.wide, b->fresh);
            x.a = slope + i;
            x.b = heads_line(&r->q, it->i_group, from) + c;
            meet_tile(n, n_c, &x, heads_line(&r->out_k, it->i_group, it->from + i) + c, r->q.wide, b->fresh);
        }
    b->fresh = false;
}

static void attend_back_keys(attention_run *r, const attention_item *it, real *room) {
    const attention_op *op = r->op;
    const train_segment *own = segment_of(r, it);
    uint32_t dim = r->q.dim, each = r->q.each, pos = own->n_prefix + (it->from - own->from);
    real *k_panel = room, *v_panel = room + (size_t)dim * PANEL, *rest = room + (size_t)2 * dim * PANEL;
    key_block b = {it, {0}, k_panel, v_panel, rest, rest + (size_t)(LINES_AT_ONCE + TILE) * PANEL, true};
    for (uint32_t c = 0; c < PANEL; c++)
        b.pos[c] = pos + MIN(c, it->n - 1);
    heads_panel(&r->k, it->i_group, it->from, it->n, k_panel);
    heads_panel(&r->v, it->i_group, it->from, it->n, v_panel);
    for (uint32_t i = it->i_segment; i < op->a.segments->n; i++) {
        const train_segment *s = &op->a.segments->at[i];
        if (s->i_group != own->i_group)
            break;
        if (s != own && (s->n_prefix == 0 || s->prefix_from != own->from))
            continue;
        uint32_t from = s == own ? it->from : s->from, to = s->to;
        if (op->a.window) { /* what the last of the keys is seen by */
            uint32_t end = pos + it->n - 1 + op->a.window, begin = s->n_prefix;
            to = end > begin ? MIN(to, s->from + (end - begin)) : s->from;
        }
        for (uint32_t line = from * each; line < to * each; line += LINES_AT_ONCE)
            add_lines(r, s, line, MIN(line + LINES_AT_ONCE, to * each), &b);
    }
    for (uint32_t i = 0; i < it->n; i++) {
        if (op->k->g)
            add_times(op->k->g + heads_place(&r->k, it->i_group, it->from + i),
                      heads_line(&r->out_k, it->i_group, it->from + i), 1, dim);
        if (op->v->g)
            add_times(op->v->g + heads_place(&r->v, it->i_group, it->from + i),
                      heads_line(&r->out_v, it->i_group, it->from + i), 1, dim);
    }
}

/* ---- items over threads ---- */

static void attention_slot(void *ctx, int i_slot) {
    attention_run *r = ctx;
    real *room = r->room + (size_t)i_slot * r->room_reals;
    for (uint32_t i; (i = atomic_fetch_add(&r->next, 1)) < r->n_items;)
        r->attend(r, &r->items[i], room);
}

static void run_items(tape *t, attention_run *r, uint32_t each, size_t room_reals,
                      void (*attend)(attention_run *r, const attention_item *it, real *room)) {
    const train_segments *all = r->op->a.segments;
    uint32_t most = 0;
    int n_slot = t->pool ? os_pool_threads(t->pool) : 1;
    for (uint32_t i = 0; i < all->n; i++)
        most += (all->at[i].to - all->at[i].from) * each / PANEL + 1;
    r->items = tape_get(t, (size_t)most * r->q.n_group, sizeof *r->items);
    r->room_reals = (room_reals + 15) / 16 * 16;
    r->room = tape_get(t, (size_t)n_slot * r->room_reals, sizeof(real));
    if (t->failed)
        return;
    memset(r->room, 0, (size_t)n_slot * r->room_reals * sizeof *r->room); /* columns that nobody writes are computed */
    r->n_items = 0;
    for (uint32_t i = 0; i < all->n; i++)
        for (uint32_t from = all->at[i].from * each, to = all->at[i].to * each; from < to; from += PANEL)
            for (uint32_t g = 0; g < r->q.n_group; g++)
                r->items[r->n_items++] = (attention_item){i, g, from, MIN(to - from, (uint32_t)PANEL)};
    r->attend = attend;
    atomic_store(&r->next, 0);
    os_pool_run(t->pool, n_slot, attention_slot, r);
}

/* Numbers that the scores of a chunk of lines take at most. */
static size_t score_reals(const train_segments *all) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < all->n; i++)
        most = MAX(most, all->at[i].n_prefix + (all->at[i].to - all->at[i].from));
    return ((size_t)most + 4 * TILE) * PANEL;
}

static void attention_back(tape *t, note *n) {
    attention_op *op = (attention_op *)n;
    if (!op->y->g)
        return;
    tape_mark mark = tape_memory_mark(t->memory);
    attention_run r = {.op = op};
    size_t panels = (size_t)2 * op->a.head_dim * PANEL;
    bool ok = heads_take(t, op->q, false, &op->a, &r.q) && heads_take(t, op->k, false, &op->a, &r.k) &&
              heads_take(t, op->v, false, &op->a, &r.v) && heads_take(t, op->y, true, &op->a, &r.dy) &&
              heads_room(t, op->q, &op->a, &r.out) && heads_room(t, op->k, &op->a, &r.out_k) &&
              heads_room(t, op->v, &op->a, &r.out_v);
    r.along = tape_get(t, (size_t)r.q.n_group * r.q.n_line, sizeof(real));
    if (ok && r.along) {
        run_items(t, &r, r.q.each, panels + 2 * score_reals(op->a.segments), attend_back_queries);
        run_items(t, &r, 1, panels + (size_t)2 * (LINES_AT_ONCE + TILE) * PANEL, attend_back_keys);
    }
    tape_memory_rewind(t->memory, mark);
}

var *tape_attention(tape *t, var *q, var *k, var *v, const tape_attention_args *a) {
    var *y = q && k && v ? tape_var(t, q->rows, q->cols, q->wanted || k->wanted || v->wanted) : NULL;
    attention_op *op = y ? tape_note(t, sizeof *op, attention_back) : NULL;
    if (!op)
        return NULL;
    *op = (attention_op){op->n, q, k, v, y, *a, NULL, NULL};
    op->max = tape_get(t, (size_t)q->rows * a->n_head, sizeof(real));
    op->inverse = tape_get(t, (size_t)q->rows * a->n_head, sizeof(real));
    tape_mark mark = tape_memory_mark(t->memory);
    attention_run r = {.op = op};
    if (heads_take(t, q, false, a, &r.q) && heads_take(t, k, false, a, &r.k) && heads_take(t, v, false, a, &r.v) &&
        heads_room(t, y, a, &r.out))
        run_items(t, &r, r.q.each, (size_t)a->head_dim * PANEL + score_reals(a->segments), attend_forward);
    tape_memory_rewind(t->memory, mark);
    return t->failed ? NULL : y;
}
