/* Template: softmax cross-entropy against the output matrix (tape.h). */
#define LOSS_ROWS 128 /* rows whose logits stand in memory at a time; changes no result */

typedef struct loss_op {
    const tape_loss_args *a;
    var *x;
    uint32_t at;         /* the first row of those in work */
    real *rows, *logits; /* [LOSS_ROWS][cols], [LOSS_ROWS][n_vocab] */
    bool recording;
} loss_op;

/* Logits to their gradients, and the row's loss. A not-a-number anywhere makes the loss one. */
static void loss_row(void *ctx, uint32_t i) {
    const loss_op *op = ctx;
    const tape_loss_args *a = op->a;
    uint64_t n = a->w.rows;
    real *z = op->logits + i * n, divisor = (real)a->logit_scale, cap = (real)a->logit_cap, max = -INFINITY;
    uint32_t label = (uint32_t)a->label[op->at + i];
    bool finite = true;
    for (uint64_t k = 0; k < n; k++) {
        z[k] = cap != 0 ? cap * real_tanh(z[k] / divisor / cap) : z[k] / divisor;
        max = z[k] > max ? z[k] : max;
        finite = finite && z[k] - z[k] == 0;
    }
    if (a->logits)
        memcpy(a->logits + (op->at + i) * n, z, n * sizeof *z);
    double sum = 0, at_label = (double)z[label];
    for (uint64_t k = 0; k < n; k++)
        sum += (double)real_exp(z[k] - max);
    a->loss[op->at + i] = finite ? kernel_log(sum) + (double)max - at_label : (double)NAN;
    real inverse = (real)(1 / sum);
    for (uint64_t k = 0; op->recording && k < n; k++) {
        real slope = (cap != 0 ? 1 - z[k] / cap * (z[k] / cap) : 1) / divisor * a->weight;
        z[k] = (real_exp(z[k] - max) * inverse - (k == label ? 1 : 0)) * slope;
    }
}

void tape_loss(tape *t, var *x, const tape_loss_args *a) {
    uint32_t most = MIN(a->n, (uint32_t)LOSS_ROWS);
    loss_op op = {.a = a, .x = x, .recording = x && x->g};
    op.rows = x ? tape_get(t, (size_t)most * x->cols, sizeof(real)) : NULL;
    op.logits = x ? tape_get(t, (size_t)most * a->w.rows, sizeof(real)) : NULL;
    for (; x && !t->failed && op.at < a->n; op.at += LOSS_ROWS) {
        uint32_t n = MIN(a->n - op.at, (uint32_t)LOSS_ROWS);
        for (uint32_t i = 0; i < n; i++)
            memcpy(op.rows + (size_t)i * x->cols, row_v(x, a->row[op.at + i]), x->cols * sizeof(real));
        product_run(t, (product){.c = op.logits,
                                 .c_stride = a->w.rows,
                                 .n_i = n,
                                 .n_c = a->w.rows,
                                 .n_j = x->cols,
                                 .a = op.rows,
                                 .a_i = x->cols,
                                 .a_j = 1,
                                 .w = &a->w,
                                 .turned = true});
        if (t->failed)
            return;
        rows_run(t, n, loss_row, &op);
        if (!op.recording)
            continue;
        product_run(t, (product){.c = op.rows,
                                 .c_stride = x->cols,
                                 .n_i = n,
                                 .n_c = x->cols,
                                 .n_j = a->w.rows,
                                 .a = op.logits,
                                 .a_i = a->w.rows,
                                 .a_j = 1,
                                 .w = &a->w});
        for (uint32_t i = 0; i < n; i++)
            add_times(row_g(x, a->row[op.at + i]), op.rows + (size_t)i * x->cols, 1, x->cols);
    }
}
