/* Template: operations on rows and elements (tape.h). */

/* ---- embedding ---- */
typedef struct embedding_op {
    const tensor_view *table;
    const int32_t *ids;
    float scale;
    var *y;
} embedding_op;

static void embedding_row(void *ctx, uint32_t i) {
    const embedding_op *op = ctx;
    real piece[WHOLE_BLOCKS];
    for (uint32_t at = 0; at < op->y->cols; at += WHOLE_BLOCKS) {
        uint32_t n = MIN(op->y->cols - at, (uint32_t)WHOLE_BLOCKS);
        unpack_row(op->table, (uint64_t)op->ids[i], at, n, piece);
        for (uint32_t k = 0; k < n; k++)
            row_v(op->y, i)[at + k] = piece[k] * (real)op->scale;
    }
}

var *tape_embedding(tape *t, const tensor_view *table, const int32_t *ids, uint32_t n, float scale) {
    embedding_op op = {table, ids, scale, tape_var(t, n, (uint32_t)table->cols, false)};
    if (op.y)
        rows_run(t, n, embedding_row, &op);
    return op.y;
}

/* ---- rows ---- */
typedef struct take_op {
    note n;
    var *x, *y;
    const uint32_t *rows; /* borrowed until the tape has gone back */
} take_op;

static void take_back(tape *t, note *n) {
    take_op *op = (take_op *)n;
    (void)t;
    for (uint32_t i = 0; op->x->g && i < op->y->rows; i++)
        add_times(row_g(op->x, op->rows[i]), row_g(op->y, i), 1, op->x->cols);
}

var *tape_rows(tape *t, var *x, const uint32_t *rows, uint32_t n) {
    var *y = x ? tape_var(t, n, x->cols, x->wanted) : NULL;
    take_op *op = y ? tape_note(t, sizeof *op, take_back) : NULL;
    if (!op)
        return NULL;
    *op = (take_op){op->n, x, y, rows};
    for (uint32_t i = 0; i < n; i++)
        memcpy(row_v(y, i), row_v(x, rows[i]), x->cols * sizeof(real));
    return y;
}

/* ---- norms ---- */
typedef struct norm_op {
    note n;
    var *x, *y;
    tape_norm_args a;
    real *mean, *inverse; /* [rows][n_head] */
} norm_op;

static void norm_forward_row(void *ctx, uint32_t i) {
    const norm_op *op = ctx;
    uint32_t n = op->x->cols / op->a.n_head;
    for (uint32_t h = 0; h < op->a.n_head; h++) {
        const real *x = row_v(op->x, i) + (size_t)h * n;
        real *y = row_v(op->y, i) + (size_t)h * n;
        double sum = 0, square = 0;
        for (uint32_t k = 0; op->a.layer && k < n; k++)
            sum += (double)x[k];
        real mean = (real)(sum / n);
        for (uint32_t k = 0; k < n; k++)
            square += ((double)x[k] - (double)mean) * ((double)x[k] - (double)mean);
        real inverse = (real)(1 / sqrt(square / n + (double)op->a.eps));
        for (uint32_t k = 0; k < n; k++)
            y[k] = (x[k] - mean) * inverse * (op->a.w ? (real)op->a.w[k] : 1) + (op->a.b ? (real)op->a.b[k] : 0);
        op->mean[(size_t)i * op->a.n_head + h] = mean;
        op->inverse[(size_t)i * op->a.n_head + h] = inverse;
    }
}

/* With g = dy w and z = (x - mean) inverse: dx = inverse (g - z mean(g z)), in layer norms less mean(g), too. */
static void norm_back_row(void *ctx, uint32_t i) {
    const norm_op *op = ctx;
    uint32_t n = op->x->cols / op->a.n_head;
    for (uint32_t h = 0; h < op->a.n_head; h++) {
        const real *x = row_v(op->x, i) + (size_t)h * n, *dy = row_g(op->y, i) + (size_t)h * n;
        real *dx = row_g(op->x, i) + (size_t)h * n;
        real mean = op->mean[(size_t)i * op->a.n_head + h], inverse = op->inverse[(size_t)i * op->a.n_head + h];
        double sum = 0, along = 0;
        for (uint32_t k = 0; k < n; k++) {
            double g = (double)dy[k] * (op->a.w ? (double)op->a.w[k] : 1);
            sum += g;
            along += g * (double)((x[k] - mean) * inverse);
        }
        real less = op->a.layer ? (real)(sum / n) : 0, share = (real)(along / n);
        for (uint32_t k = 0; k < n; k++) {
            real g = dy[k] * (op->a.w ? (real)op->a.w[k] : 1);
            dx[k] += inverse * (g - less - (x[k] - mean) * inverse * share);
        }
    }
}

static void norm_back(tape *t, note *n) {
    norm_op *op = (norm_op *)n;
    if (op->x->g)
        rows_run(t, op->x->rows, norm_back_row, op);
}

var *tape_norm(tape *t, var *x, const tape_norm_args *a) {
    var *y = x ? tape_var(t, x->rows, x->cols, x->wanted) : NULL;
    norm_op *op = y ? tape_note(t, sizeof *op, norm_back) : NULL;
    if (!op)
        return NULL;
    op->x = x;
    op->y = y;
    op->a = *a;
    op->mean = tape_get(t, (size_t)x->rows * a->n_head, sizeof(real));
    op->inverse = tape_get(t, (size_t)x->rows * a->n_head, sizeof(real));
    if (t->failed)
        return NULL;
    rows_run(t, x->rows, norm_forward_row, op);
    return y;
}

/* ---- positions ---- */
typedef struct rope_op {
    note n;
    var *x, *y;
    tape_rope_args a;
} rope_op;

/* Turn one row; `back` by the transposed matrix, into what is there. */
static void rope_turn(const rope_op *op, uint32_t i, const real *x, real *y, bool back) {
    const tape_rope_args *a = &op->a;
    uint32_t half = a->n_rot / 2, step = a->pairs ? 2 : 1, apart = a->pairs ? 1 : half;
    const float *c = a->cos + (size_t)i * half, *s = a->sin + (size_t)i * half;
    for (uint32_t h = 0; h < a->n_head; h++, x += a->head_dim, y += a->head_dim) {
        for (uint32_t k = 0; k < half; k++) {
            real x0 = x[k * step], x1 = x[k * step + apart];
            real co = (real)c[k], si = back ? -(real)s[k] : (real)s[k];
            real y0 = x0 * co - x1 * si, y1 = x1 * co + x0 * si;
            y[k * step] = back ? y[k * step] + y0 : y0;
            y[k * step + apart] = back ? y[k * step + apart] + y1 : y1;
        }
        for (uint32_t k = a->n_rot; k < a->head_dim; k++)
            y[k] = back ? y[k] + x[k] : x[k];
    }
}

static void rope_forward_row(void *ctx, uint32_t i) {
    const rope_op *op = ctx;
    rope_turn(op, i, row_v(op->x, i), row_v(op->y, i), false);
}

static void rope_back_row(void *ctx, uint32_t i) {
    const rope_op *op = ctx;
    rope_turn(op, i, row_g(op->y, i), row_g(op->x, i), true);
}

static void rope_back(tape *t, note *n) {
    rope_op *op = (rope_op *)n;
    if (op->x->g)
        rows_run(t, op->x->rows, rope_back_row, op);
}

var *tape_rope(tape *t, var *x, const tape_rope_args *a) {
    var *y = x ? tape_var(t, x->rows, x->cols, x->wanted) : NULL;
    rope_op *op = y ? tape_note(t, sizeof *op, rope_back) : NULL;
    if (!op)
        return NULL;
    op->x = x;
    op->y = y;
    op->a = *a;
    rows_run(t, x->rows, rope_forward_row, op);
    return y;
}

/* ---- activations ---- */
typedef struct gated_op {
    note n;
    var *x, *y;
    bool gelu;
} gated_op;

/* Both activations are x * sigmoid(z(x)): z = x, or 2 sqrt(2/pi) (x + 0.044715 x^3). */
static inline real sigmoid_of(const gated_op *op, real x, real *slope) {
    const real twice_root = (real)MATH_GELU_TWICE_ROOT, cube = (real)MATH_GELU_CUBE;
    real z = op->gelu ? twice_root * (x + cube * x * x * x) : x;
    *slope = op->gelu ? twice_root * (1 + 3 * cube * x * x) : 1;
    return 1 / (1 + real_exp(-z));
}

static void gated_forward_row(void *ctx, uint32_t i) {
    const gated_op *op = ctx;
    uint32_t n = op->y->cols;
    const real *gate = row_v(op->x, i), *up = gate + n;
    real *y = row_v(op->y, i), slope;
    for (uint32_t k = 0; k < n; k++)
        y[k] = gate[k] * sigmoid_of(op, gate[k], &slope) * up[k];
}

static void gated_back_row(void *ctx, uint32_t i) {
    const gated_op *op = ctx;
    uint32_t n = op->y->cols;
    const real *gate = row_v(op->x, i), *up = gate + n, *dy = row_g(op->y, i);
    real *d_gate = row_g(op->x, i), *d_up = d_gate + n;
    for (uint32_t k = 0; k < n; k++) {
        real slope, s = sigmoid_of(op, gate[k], &slope);
        d_gate[k] += dy[k] * up[k] * (s + gate[k] * s * (1 - s) * slope);
        d_up[k] += dy[k] * gate[k] * s;
    }
}

static void gated_back(tape *t, note *n) {
    gated_op *op = (gated_op *)n;
    if (op->x->g)
        rows_run(t, op->x->rows, gated_back_row, op);
}

var *tape_gated(tape *t, var *x, bool gelu) {
    var *y = x ? tape_var(t, x->rows, x->cols / 2, x->wanted) : NULL;
    gated_op *op = y ? tape_note(t, sizeof *op, gated_back) : NULL;
    if (!op)
        return NULL;
    op->x = x;
    op->y = y;
    op->gelu = gelu;
    rows_run(t, x->rows, gated_forward_row, op);
    return y;
}

typedef struct relu_op {
    note n;
    var *x, *y;
} relu_op;

static void relu_forward_row(void *ctx, uint32_t i) {
    const relu_op *op = ctx;
    const real *x = row_v(op->x, i);
    real *y = row_v(op->y, i);
    for (uint32_t k = 0; k < op->x->cols; k++)
        y[k] = x[k] > 0 || x[k] != x[k] ? x[k] * x[k] : 0;
}

static void relu_back_row(void *ctx, uint32_t i) {
    const relu_op *op = ctx;
    const real *x = row_v(op->x, i), *dy = row_g(op->y, i);
    real *dx = row_g(op->x, i);
    for (uint32_t k = 0; k < op->x->cols; k++)
        dx[k] += x[k] > 0 ? 2 * x[k] * dy[k] : 0;
}

static void relu_back(tape *t, note *n) {
    relu_op *op = (relu_op *)n;
    if (op->x->g)
        rows_run(t, op->x->rows, relu_back_row, op);
}

var *tape_relu_square(tape *t, var *x) {
    var *y = x ? tape_var(t, x->rows, x->cols, x->wanted) : NULL;
    relu_op *op = y ? tape_note(t, sizeof *op, relu_back) : NULL;
    if (!op)
        return NULL;
    op->x = x;
    op->y = y;
    rows_run(t, x->rows, relu_forward_row, op);
    return y;
}

/* ---- residual ---- */
typedef struct add_op {
    note n;
    var *x, *y, *out;
    real scale;
} add_op;

static void add_forward_row(void *ctx, uint32_t i) {
    const add_op *op = ctx;
    const real *x = row_v(op->x, i), *y = row_v(op->y, i);
    real *out = row_v(op->out, i);
    for (uint32_t k = 0; k < op->x->cols; k++)
        out[k] = x[k] + op->scale * y[k];
}

static void add_back_row(void *ctx, uint32_t i) {
    const add_op *op = ctx;
    const real *g = row_g(op->out, i);
    if (op->x->g)
        add_times(row_g(op->x, i), g, 1, op->x->cols);
    if (op->y->g)
        add_times(row_g(op->y, i), g, op->scale, op->x->cols);
}

static void add_back(tape *t, note *n) {
    add_op *op = (add_op *)n;
    if (op->out->g)
        rows_run(t, op->x->rows, add_back_row, op);
}

var *tape_add(tape *t, var *x, var *y, float scale) {
    var *out = x && y ? tape_var(t, x->rows, x->cols, x->wanted || y->wanted) : NULL;
    add_op *op = out ? tape_note(t, sizeof *op, add_back) : NULL;
    if (!op)
        return NULL;
    op->x = x;
    op->y = y;
    op->out = out;
    op->scale = (real)scale;
    rows_run(t, x->rows, add_forward_row, op);
    return out;
}
