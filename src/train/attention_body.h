/* Template: causal attention inside segments (tape.h).
 *
 * A chunk of work is one head of keys over one group of segments: its gradients of keys and values are its own, so they
 * are added up in the order of rows, whatever the threads. Going back computes the scores again. */

typedef struct attention_op {
    note n;
    var *q, *k, *v, *y;
    tape_attention_args a;
    real *max, *inverse; /* [rows][n_head]: of the scores, and 1 / the sum of e^(score - max) */
    real *room;          /* [n_head_kv][2][rows] scores, and their gradients: a group has as much as it has rows */
} attention_op;

/* One query against what it sees. */
typedef struct attention_row {
    const attention_op *op;
    const train_segment *s;
    uint32_t row, pos, first; /* its row and position, and the first position it sees */
    uint32_t h, h_kv;
    real *score, *d_score; /* [positions] of `first` on */
} attention_row;

static real *head_of(const var *x, real *base, uint32_t row, uint32_t h, uint32_t dim) {
    return base + row * x->stride + (size_t)h * dim;
}

/* Scores as the softmax takes them. */
static void scores(const attention_row *r) {
    const attention_op *op = r->op;
    uint32_t dim = op->a.head_dim;
    real scale = (real)op->a.scale, cap = (real)op->a.softcap;
    const real *q = head_of(op->q, op->q->v, r->row, r->h, dim);
    for (uint32_t p = r->first; p <= r->pos; p++) {
        real s = scale * dot(q, head_of(op->k, op->k->v, segment_row(r->s, p), r->h_kv, dim), dim);
        r->score[p - r->first] = cap != 0 ? cap * real_tanh(s / cap) : s;
    }
}

static void attend_forward(const attention_row *r) {
    const attention_op *op = r->op;
    uint32_t dim = op->a.head_dim, n = r->pos - r->first + 1;
    real *y = head_of(op->y, op->y->v, r->row, r->h, dim);
    scores(r);
    real max = r->score[0];
    for (uint32_t p = 1; p < n; p++)
        max = r->score[p] > max ? r->score[p] : max;
    double sum = 0;
    for (uint32_t p = 0; p < n; p++)
        r->score[p] = real_exp(r->score[p] - max);
    for (uint32_t p = 0; p < n; p++)
        sum += (double)r->score[p];
    real inverse = (real)(1 / sum);
    memset(y, 0, dim * sizeof *y);
    for (uint32_t p = 0; p < n; p++)
        add_times(y, head_of(op->v, op->v->v, segment_row(r->s, r->first + p), r->h_kv, dim), r->score[p] * inverse,
                  dim);
    op->max[(size_t)r->row * op->a.n_head + r->h] = max;
    op->inverse[(size_t)r->row * op->a.n_head + r->h] = inverse;
}

/* With P the softmax, dP = dy . v and D = sum P dP: ds = P (dP - D), through the cap and the scale to q and k. */
static void attend_back(const attention_row *r) {
    const attention_op *op = r->op;
    uint32_t dim = op->a.head_dim, n = r->pos - r->first + 1;
    real scale = (real)op->a.scale, cap = (real)op->a.softcap;
    real max = op->max[(size_t)r->row * op->a.n_head + r->h],
         inverse = op->inverse[(size_t)r->row * op->a.n_head + r->h];
    const real *dy = head_of(op->y, op->y->g, r->row, r->h, dim), *q = head_of(op->q, op->q->v, r->row, r->h, dim);
    real *dq = op->q->g ? head_of(op->q, op->q->g, r->row, r->h, dim) : NULL;
    double all = 0;
    scores(r);
    for (uint32_t p = 0; p < n; p++) {
        uint32_t row = segment_row(r->s, r->first + p);
        real share = real_exp(r->score[p] - max) * inverse;
        real d_share = dot(dy, head_of(op->v, op->v->v, row, r->h_kv, dim), dim);
        real slope = cap != 0 ? 1 - r->score[p] / cap * (r->score[p] / cap) : 1;
        all += (double)share * (double)d_share;
        if (op->v->g)
            add_times(head_of(op->v, op->v->g, row, r->h_kv, dim), dy, share, dim);
        r->score[p] = share * slope * scale;
        r->d_score[p] = d_share;
    }
    for (uint32_t p = 0; p < n; p++) {
        uint32_t row = segment_row(r->s, r->first + p);
        real ds = r->score[p] * (r->d_score[p] - (real)all);
        if (dq)
            add_times(dq, head_of(op->k, op->k->v, row, r->h_kv, dim), ds, dim);
        if (op->k->g)
            add_times(head_of(op->k, op->k->g, row, r->h_kv, dim), q, ds, dim);
    }
}

/* Every query of one group and one head of keys, in the order of rows. */
static void attention_chunk(const attention_op *op, uint32_t i_chunk, void (*attend)(const attention_row *r)) {
    const train_segments *all = op->a.segments;
    uint32_t i_group = i_chunk / op->a.n_head_kv, each = op->a.n_head / op->a.n_head_kv;
    attention_row r = {.op = op, .h_kv = i_chunk % op->a.n_head_kv};
    for (uint32_t i = 0; i < all->n; i++) {
        r.s = &all->at[i];
        if (r.s->i_group != i_group)
            continue;
        if (!r.score)
            r.score = op->room + (size_t)r.h_kv * 2 * op->q->rows + r.s->from;
        r.d_score = r.score + op->q->rows;
        for (r.row = r.s->from; r.row < r.s->to; r.row++) {
            r.pos = r.s->n_prefix + (r.row - r.s->from);
            r.first = op->a.window && r.pos >= op->a.window ? r.pos - op->a.window + 1 : 0;
            for (uint32_t h = 0; h < each; h++) {
                r.h = r.h_kv * each + h;
                attend(&r);
            }
        }
    }
}

static void attention_forward_chunk(void *ctx, int i_chunk) {
    attention_chunk(ctx, (uint32_t)i_chunk, attend_forward);
}
static void attention_back_chunk(void *ctx, int i_chunk) {
    attention_chunk(ctx, (uint32_t)i_chunk, attend_back);
}

static void attention_back(tape *t, note *n) {
    attention_op *op = (attention_op *)n;
    if (op->y->g)
        os_pool_run(t->pool, (int)(op->a.segments->n_group * op->a.n_head_kv), attention_back_chunk, op);
}

var *tape_attention(tape *t, var *q, var *k, var *v, const tape_attention_args *a) {
    size_t n_chunk = (size_t)a->segments->n_group * a->n_head_kv;
    var *y = q && k && v ? tape_var(t, q->rows, q->cols, q->g || k->g || v->g) : NULL;
    attention_op *op = y ? tape_note(t, sizeof *op, attention_back) : NULL;
    if (!op)
        return NULL;
    *op = (attention_op){op->n, q, k, v, y, *a, NULL, NULL, NULL};
    op->max = tape_get(t, (size_t)q->rows * a->n_head, sizeof(real));
    op->inverse = tape_get(t, (size_t)q->rows * a->n_head, sizeof(real));
    op->room = tape_get(t, (size_t)a->n_head_kv * 2 * q->rows, sizeof(real));
    if (t->failed)
        return NULL;
    os_pool_run(t->pool, (int)n_chunk, attention_forward_chunk, op);
    return y;
}
