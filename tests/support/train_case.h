/* Template (train/real.h): one operation of the tape on inputs given in double, and the gradient of a weighted sum of
 * what comes out. Included after train/tape.h, once for float and once for double, by tests/unit/test_train_ops.c,
 * whose train_case it builds. */

static var *R(input)(tape *t, const train_case *c, uint32_t i, const double *values) {
    var *x = tape_var(t, c->in[i].rows, c->in[i].cols, true);
    assert_non_null(x);
    for (size_t k = 0; k < (size_t)x->rows * x->cols; k++)
        x->v[k] = (real)values[k];
    return x;
}

static tape_pair R(pair)(var *a, var *b) {
    return (tape_pair){a->v, b->v, a->g, b->g, a->rows, (real)PAIR_SCALE};
}

/* The operation's result; NULL: it was the loss, which is in loss. */
static var *R(build)(tape *t, const train_case *c, var **in, double *loss) {
    const float *w = c->norm ? norm_w : NULL;
    switch (c->op) {
    case OP_NORM:
        return tape_norm(t, in[0], &(tape_norm_args){w, c->layer ? norm_b : NULL, 1e-5f, c->layer, c->n_head});
    case OP_ROPE:
        return tape_rope(t, in[0], &(tape_rope_args){angles_cos, angles_sin, c->n_head, HEAD_DIM, c->n_rot, c->pairs});
    case OP_ATTENTION:
        return tape_attention(
            t, in[0], in[1], in[2],
            &(tape_attention_args){c->n_head, c->n_head_kv, HEAD_DIM, 0.4f, c->cap, c->window, &c->segments});
    case OP_LINEAR: {
        tape_linear_args a = {.n_w = c->n_w, .bias = c->norm ? norm_w : NULL};
        for (uint32_t i = 0; i < c->n_w; i++)
            a.w[i] = c->w[i];
        if (c->n_in > 1)
            a.pair[c->n_w - 1] = R(pair)(in[1], in[2]);
        return tape_linear(t, in[0], &a);
    }
    case OP_GATED: return tape_gated(t, in[0], c->pairs);
    case OP_RELU: return tape_relu_square(t, in[0]);
    case OP_ADD: return tape_add(t, in[0], c->n_in > 1 ? in[1] : in[0], 0.7f);
    case OP_COLUMNS: return tape_relu_square(t, tape_columns(t, in[0], 3, 4));
    case OP_ROWS: return tape_relu_square(t, tape_rows(t, in[0], taken_rows, ARRAY_LEN(taken_rows)));
    case OP_LOSS:
        tape_loss(t, in[0],
                  &(tape_loss_args){.w = c->w[0],
                                    .logit_scale = 1.5f,
                                    .logit_cap = c->cap,
                                    .n = ARRAY_LEN(loss_row),
                                    .row = loss_row,
                                    .label = loss_label,
                                    .weight = 1,
                                    .loss = loss});
        return NULL;
    }
    return NULL;
}

/* Sum of weight times result; grads NULL = not wanted. Both are flat: input after input. */
static double R(evaluate)(const train_case *c, os_pool *pool, const double *values, const double *weights,
                          double *grads) {
    tape_memory memory = {0};
    tape t = {.memory = &memory, .pool = pool, .recording = grads != NULL};
    var *in[3] = {0};
    double sum = 0, loss[ARRAY_LEN(loss_row)] = {0};
    for (uint32_t i = 0, at = 0; i < c->n_in; at += c->in[i].rows * c->in[i].cols, i++)
        in[i] = R(input)(&t, c, i, values + at);
    var *y = R(build)(&t, c, in, loss);
    assert_false(t.failed);
    for (uint32_t i = 0; y && i < y->rows; i++)
        for (uint32_t k = 0; k < y->cols; k++) {
            double weight = weights[(size_t)i * y->cols + k];
            sum += weight * (double)y->v[i * y->stride + k];
            if (grads)
                y->g[i * y->stride + k] += (real)weight;
        }
    for (size_t i = 0; !y && i < ARRAY_LEN(loss); i++)
        sum += loss[i];
    tape_backward(&t);
    for (uint32_t i = 0, at = 0; grads && i < c->n_in; i++)
        for (uint32_t k = 0; k < in[i]->rows * in[i]->cols; k++)
            grads[at++] = (double)in[i]->g[k];
    tape_memory_release(&memory);
    return sum;
}
