/* Sums of squares by matrix and column. Matrices come by in the order of the graph again and again, so the search goes
 * on from where the last one was found. */
#include "convert/importance.h"

#include "base/mem.h"

/* A column that the text never used still gets this share of an average column's weight. */
#define LEAST_WEIGHT 0.01

typedef struct column_sums {
    char name[64];
    uint32_t cols;
    double *square; /* [cols] */
} column_sums;

struct importance {
    column_sums *v;
    size_t n, cap, last;
    bool failed;
};

importance *importance_new(void) {
    return mem_alloc_array(1, sizeof(importance));
}

void importance_free(importance *i) {
    if (!i)
        return;
    for (size_t k = 0; k < i->n; k++)
        free(i->v[k].square);
    free(i->v);
    free(i);
}

static column_sums *find(const importance *i, const char *tensor, size_t from) {
    for (size_t k = 0; k < i->n; k++) {
        column_sums *c = &i->v[(from + k) % i->n];
        if (!strcmp(c->name, tensor))
            return c;
    }
    return NULL;
}

static column_sums *add(importance *i, const char *tensor, uint32_t cols) {
    if (i->n == i->cap) {
        size_t cap = i->cap ? 2 * i->cap : 64;
        column_sums *more = mem_resize_array(i->v, cap, sizeof *more);
        if (!more)
            return NULL;
        i->v = more;
        i->cap = cap;
    }
    column_sums *c = &i->v[i->n];
    *c = (column_sums){.cols = cols, .square = mem_alloc_array(cols, sizeof *c->square)};
    if (!c->square || strlen(tensor) >= sizeof c->name) {
        free(c->square);
        return NULL;
    }
    memcpy(c->name, tensor, strlen(tensor));
    i->n++;
    return c;
}

void importance_add(importance *i, const char *tensor, const float *x, size_t x_stride, uint32_t n_tok, uint32_t cols) {
    column_sums *c = find(i, tensor, i->last + 1);
    if (!c)
        c = add(i, tensor, cols);
    if (!c || c->cols != cols) {
        i->failed = true;
        return;
    }
    i->last = (size_t)(c - i->v);
    for (uint32_t t = 0; t < n_tok; t++)
        for (uint32_t k = 0; k < cols; k++)
            c->square[k] += (double)x[t * x_stride + k] * (double)x[t * x_stride + k];
}

muga_status importance_status(const importance *i, muga_error *err) {
    return i->failed ? error_nomem(err, "what calibration gathers") : MUGA_OK;
}

bool importance_weights(const importance *i, const char *tensor, uint64_t cols, float *weights) {
    const column_sums *c = find(i, tensor, 0);
    double sum = 0;
    for (uint32_t k = 0; c && k < c->cols; k++)
        sum += c->square[k];
    if (!c || c->cols != cols || !(sum > 0) || sum > 1e300)
        return false;
    for (uint32_t k = 0; k < c->cols; k++)
        weights[k] = (float)MAX(c->square[k] / sum * c->cols, LEAST_WEIGHT);
    return true;
}
