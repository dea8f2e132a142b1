/* A tensor in another type (requantise.h).
 *
 * A matrix is a sequence of pieces: rows, or parts of rows too long for one. Pieces are whole blocks of either type, so
 * nothing depends on where they are cut. */
#include "convert/requantise.h"

#include "base/mem.h"
#include "tensor/quantise.h"

#include <math.h>

#define PIECE_ELEMS 65536u     /* at most; a multiple of every block */
#define BATCH_ELEMS (1u << 20) /* in flight: 4 MB as floats, twice, and the blocks */
#define BATCH_PIECES 4096u
#define COPY_BYTES (1u << 20)

typedef struct piece_result {
    double square_error, square_sum;
    int64_t bad;                                  /* element of the piece that isn't finite; -1 = none */
    enum { BAD_INPUT, BAD_SUM, BAD_BLOCKS } what; /* where it isn't: as read, with what is added, in the new type */
} piece_result;

/* What a matrix is being turned into, and the batch in flight. */
struct requantiser {
    os_pool *pool;
    const gguf_tensor *in;
    const tensor_traits *from, *to;
    tensor_type type;
    const float *weights; /* [cols]; NULL = all 1 */
    const requantise_args *args;
    uint64_t cols, pieces_a_row, n_pieces, first; /* first piece of the batch */
    float *values, *back;                         /* [BATCH_ELEMS] of the batch: input, and what the blocks hold */
    uint8_t *blocks;                              /* of the batch, one behind the other */
    piece_result *results;
};

static int64_t first_not_finite(const float *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return (int64_t)i;
    return -1;
}

/* Of the values whose blocks came back without a finite number, the largest is to blame. */
static int64_t first_lost(const float *values, const float *back, size_t n) {
    int64_t worst = -1;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(back[i]) && (worst < 0 || fabsf(values[i]) > fabsf(values[worst])))
            worst = (int64_t)i;
    return worst;
}

typedef struct piece {
    uint64_t row, column, n;
} piece;

static piece piece_at(const requantiser *j, uint64_t i) {
    uint64_t column = i % j->pieces_a_row * PIECE_ELEMS;
    return (piece){i / j->pieces_a_row, column, MIN(j->cols - column, (uint64_t)PIECE_ELEMS)};
}

static uint64_t elems_a_piece(const requantiser *j) {
    return MIN(j->cols, (uint64_t)PIECE_ELEMS);
}

static size_t blocks_bytes(const tensor_traits *t, uint64_t n) {
    return (size_t)(n / t->block_elems * t->block_bytes);
}

static void run_piece(void *ctx, int i_piece) {
    const requantiser *j = ctx;
    piece p = piece_at(j, j->first + (uint64_t)i_piece);
    /* Pieces of one batch are all as long, or all of one row but the last. */
    size_t at = (size_t)((uint64_t)i_piece * elems_a_piece(j));
    float *values = j->values + at, *back = j->back + at;
    uint8_t *blocks = j->blocks + blocks_bytes(j->to, at);
    piece_result *r = &j->results[i_piece];
    *r = (piece_result){0};
    j->from->dequantise((const uint8_t *)j->in->data + blocks_bytes(j->from, p.row * j->cols + p.column), values, p.n);
    r->bad = first_not_finite(values, p.n);
    r->what = BAD_INPUT;
    if (r->bad < 0 && j->args->add) {
        j->args->add(j->args->add_ctx, p.row, p.column, values, p.n);
        r->bad = first_not_finite(values, p.n);
        r->what = BAD_SUM;
    }
    if (r->bad >= 0)
        return;
    tensor_quantise(j->type, values, j->weights ? j->weights + p.column : NULL, blocks, p.n);
    j->to->dequantise(blocks, back, p.n);
    r->bad = first_lost(values, back, p.n);
    r->what = BAD_BLOCKS;
    for (size_t i = 0; i < p.n; i++) {
        double d = (double)back[i] - (double)values[i];
        r->square_error += d * d;
        r->square_sum += (double)values[i] * (double)values[i];
    }
}

static muga_status bad_value(const requantiser *j, piece p, const piece_result *r, float value, muga_error *err) {
    uint64_t column = p.column + (uint64_t)r->bad;
    if (r->what == BAD_INPUT)
        return error_set(err, MUGA_E_NONFINITE,
                         "tensor \"%s\", row %llu, column %llu: %s; the model is damaged: fetch or convert it again",
                         j->in->name, (unsigned long long)p.row, (unsigned long long)column,
                         isnan(value) ? "not a number" : "infinity");
    if (r->what == BAD_SUM)
        return error_set(err, MUGA_E_INPUT,
                         "tensor \"%s\", row %llu, column %llu: what is added makes it infinite; use a smaller scale",
                         j->in->name, (unsigned long long)p.row, (unsigned long long)column);
    return error_set(err, MUGA_E_INPUT,
                     "tensor \"%s\", row %llu, column %llu: %g is more than %s can hold; quantise to BF16", j->in->name,
                     (unsigned long long)p.row, (unsigned long long)column, (double)value, j->to->name);
}

/* Results of n pieces, in order: sums, and the first fault. */
static muga_status judge_batch(const requantiser *j, uint64_t n, requantise_sums *sums, muga_error *err) {
    for (uint64_t i = 0; i < n; i++) {
        const piece_result *r = &j->results[i];
        if (r->bad >= 0)
            return bad_value(j, piece_at(j, j->first + i), r, j->values[i * elems_a_piece(j) + (uint64_t)r->bad], err);
        sums->square_error += r->square_error;
        sums->square += r->square_sum;
    }
    return MUGA_OK;
}

static muga_status report(const requantise_args *a, uint64_t elems, muga_error *err) {
    if (a->on_elems && !a->on_elems(a->on_elems_ctx, elems))
        return error_set(err, MUGA_E_CANCELLED, "interrupted; nothing was written");
    return MUGA_OK;
}

static muga_status write_batch(requantiser *j, const requantise_args *a, uint64_t n, requantise_sums *sums,
                               muga_error *err) {
    uint64_t elems = 0;
    os_pool_run(j->pool, (int)n, run_piece, j);
    muga_status st = judge_batch(j, n, sums, err);
    for (uint64_t i = 0; i < n; i++)
        elems += piece_at(j, j->first + i).n;
    if (!st)
        st = os_output_write(a->out, j->blocks, blocks_bytes(j->to, elems), err);
    return st ? st : report(a, elems, err);
}

static uint64_t elems_of(const gguf_tensor *t) {
    return t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3]; /* checked by whoever made the tensor */
}

static muga_status write_quantised(requantiser *j, const requantise_args *a, requantise_sums *sums, muga_error *err) {
    j->in = a->in;
    j->from = tensor_type_traits(a->in->type);
    j->to = tensor_type_traits(a->type);
    j->type = a->type;
    j->cols = a->in->dims[0];
    j->pieces_a_row = (j->cols + PIECE_ELEMS - 1) / PIECE_ELEMS;
    j->n_pieces = elems_of(a->in) / j->cols * j->pieces_a_row;
    j->weights = a->weights;
    j->args = a;
    /* A batch ends with its row where rows are cut, so that pieces lie one behind the other in it. */
    uint64_t at_once = MIN(BATCH_ELEMS / elems_a_piece(j), (uint64_t)BATCH_PIECES);
    for (j->first = 0; j->first < j->n_pieces;) {
        uint64_t n = MIN(at_once, j->n_pieces - j->first);
        if (j->pieces_a_row > 1)
            n = MIN(n, j->pieces_a_row - j->first % j->pieces_a_row);
        muga_status st = write_batch(j, a, n, sums, err);
        if (st)
            return st;
        j->first += n;
    }
    return MUGA_OK;
}

static muga_status copy(const requantise_args *a, muga_error *err) {
    const uint8_t *p = a->in->data;
    uint64_t bytes = a->in->bytes;
    muga_status st = MUGA_OK;
    for (uint64_t at = 0; at < bytes && !st; at += COPY_BYTES) {
        uint64_t n = MIN(bytes - at, (uint64_t)COPY_BYTES);
        st = os_output_write(a->out, p + at, (size_t)n, err);
        if (!st)
            st = report(a, at + n == bytes ? elems_of(a->in) : 0, err);
    }
    return st;
}

muga_status requantise_write(requantiser *r, const requantise_args *a, requantise_sums *sums, muga_error *err) {
    return a->type == a->in->type && !a->add ? copy(a, err) : write_quantised(r, a, sums, err);
}

muga_status requantiser_new(os_pool *pool, requantiser **out, muga_error *err) {
    requantiser *r = calloc(1, sizeof *r);
    *out = r;
    if (!r)
        return error_nomem(err, "the buffers of quantising");
    r->pool = pool;
    r->values = mem_alloc_array(BATCH_ELEMS, sizeof(float));
    r->back = mem_alloc_array(BATCH_ELEMS, sizeof(float));
    r->blocks = mem_alloc_array(BATCH_ELEMS, sizeof(float));
    r->results = mem_alloc_array(BATCH_PIECES, sizeof *r->results);
    if (r->values && r->back && r->blocks && r->results)
        return MUGA_OK;
    requantiser_free(r);
    *out = NULL;
    return error_nomem(err, "the buffers of quantising");
}

void requantiser_free(requantiser *r) {
    if (!r)
        return;
    free(r->values);
    free(r->back);
    free(r->blocks);
    free(r->results);
    free(r);
}
