/* Template: matrices of the base, and what an adapter adds to them (tape.h). */

typedef struct linear_op {
    note n;
    var *x, *y;
    tape_linear_args a;
    real *inner[MODEL_MAX_PARTS]; /* scale * A x: [rows][rank] */
} linear_op;

/* scale * A x, kept for the way back; tiles: x, packed. */
static void pair_inner(tape *t, linear_op *op, uint32_t i, const real *tiles) {
    const tape_pair *l = &op->a.pair[i];
    uint32_t n = op->x->rows;
    real *u = op->inner[i] = tape_get(t, (size_t)n * l->rank, sizeof *u);
    if (!u)
        return;
    product_run(t, (product){.c = u,
                             .c_stride = l->rank,
                             .n_i = n,
                             .n_c = l->rank,
                             .n_j = op->x->cols,
                             .tiles = tiles,
                             .b = l->a,
                             .b_j = 1,
                             .b_c = op->x->cols});
    for (size_t k = 0; !t->failed && k < (size_t)n * l->rank; k++)
        u[k] *= l->scale;
}

/* y's columns from `at` on += B times that. */
static void pair_outer(tape *t, linear_op *op, uint32_t i, size_t at) {
    const tape_pair *l = &op->a.pair[i];
    product_run(t, (product){.c = op->y->v + at,
                             .c_stride = op->y->stride,
                             .n_i = op->x->rows,
                             .n_c = op->a.w[i].rows,
                             .n_j = l->rank,
                             .a = op->inner[i],
                             .a_i = l->rank,
                             .a_j = 1,
                             .b = l->b,
                             .b_j = 1,
                             .b_c = l->rank,
                             .add = true});
}

/* With dy the gradient of y's columns and u = scale * A x: du = scale * dy B, gb += dy^T u, ga += du^T x, dx += du A.
 * tiles: dy, packed; used up. */
static void pair_back(tape *t, linear_op *op, uint32_t i, const real *dy, const real *tiles) {
    const tape_pair *l = &op->a.pair[i];
    const var *x = op->x;
    uint32_t n = x->rows, rows = (uint32_t)op->a.w[i].rows;
    real *du = tape_get(t, (size_t)n * l->rank, sizeof *du);
    if (!du)
        return;
    product_run(t, (product){.c = du,
                             .c_stride = l->rank,
                             .n_i = n,
                             .n_c = l->rank,
                             .n_j = rows,
                             .tiles = tiles,
                             .b = l->b,
                             .b_j = l->rank,
                             .b_c = 1});
    for (size_t k = 0; !t->failed && k < (size_t)n * l->rank; k++)
        du[k] *= l->scale;
    product_run(t, (product){.c = l->gb,
                             .c_stride = l->rank,
                             .n_i = rows,
                             .n_c = l->rank,
                             .n_j = n,
                             .a = dy,
                             .a_i = 1,
                             .a_j = op->y->stride,
                             .b = op->inner[i],
                             .b_j = l->rank,
                             .b_c = 1,
                             .add = true});
    product_run(t, (product){.c = l->ga,
                             .c_stride = x->cols,
                             .n_i = l->rank,
                             .n_c = x->cols,
                             .n_j = n,
                             .a = du,
                             .a_i = 1,
                             .a_j = l->rank,
                             .b = x->v,
                             .b_j = x->stride,
                             .b_c = 1,
                             .add = true});
    if (x->g)
        product_run(t, (product){.c = x->g,
                                 .c_stride = x->stride,
                                 .n_i = n,
                                 .n_c = x->cols,
                                 .n_j = l->rank,
                                 .a = du,
                                 .a_i = l->rank,
                                 .a_j = 1,
                                 .b = l->a,
                                 .b_j = x->cols,
                                 .b_c = 1,
                                 .add = true});
}

static void linear_back(tape *t, note *n) {
    linear_op *op = (linear_op *)n;
    if (!op->y->g)
        return;
    size_t at = 0;
    for (uint32_t i = 0; i < op->a.n_w && !t->failed; at += op->a.w[i++].rows) {
        product p = {.c = op->x->g,
                     .c_stride = op->x->stride,
                     .n_i = op->x->rows,
                     .n_c = op->x->cols,
                     .n_j = op->a.w[i].rows,
                     .a = op->y->g + at,
                     .a_i = op->y->stride,
                     .a_j = 1,
                     .w = &op->a.w[i],
                     .add = true};
        if (op->x->g || op->a.pair[i].a)
            p.tiles = product_pack(t, &p);
        if (op->x->g)
            product_run(t, p);
        if (op->a.pair[i].a)
            pair_back(t, op, i, p.a, p.tiles);
    }
}

var *tape_linear(tape *t, var *x, const tape_linear_args *a) {
    uint64_t n_out = 0;
    bool wanted = x && x->wanted;
    for (uint32_t i = 0; i < a->n_w; i++) {
        n_out += a->w[i].rows;
        wanted = wanted || a->pair[i].a;
    }
    var *y = x ? tape_var(t, x->rows, (uint32_t)n_out, wanted) : NULL;
    linear_op *op = y ? tape_note(t, sizeof *op, linear_back) : NULL;
    if (!op)
        return NULL;
    op->x = x;
    op->y = y;
    op->a = *a;
    product p = {
        .c_stride = y->stride, .n_i = x->rows, .n_j = x->cols, .a = x->v, .a_i = x->stride, .a_j = 1, .turned = true};
    p.tiles = product_pack(t, &p);
    size_t at = 0;
    for (uint32_t i = 0; i < a->n_w && !t->failed; at += a->w[i++].rows) {
        p.c = y->v + at;
        p.n_c = a->w[i].rows;
        p.w = &op->a.w[i];
        product_run(t, p);
        if (a->pair[i].a)
            pair_inner(t, op, i, p.tiles);
    }
    at = 0;
    for (uint32_t i = 0; i < a->n_w && !t->failed; at += a->w[i++].rows)
        if (a->pair[i].a)
            pair_outer(t, op, i, at);
    for (uint32_t i = 0; a->bias && i < x->rows; i++)
        for (uint32_t c = 0; c < y->cols; c++)
            row_v(y, i)[c] += a->bias[c];
    return t->failed ? NULL : y;
}
