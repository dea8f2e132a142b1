/* Quantising a file (quantise_file.h).
 *
 * A matrix is a sequence of pieces: rows, or parts of rows too long for one. A batch of pieces is dequantised, checked,
 * quantised and held against the input over the pool, then written in order. Pieces are whole blocks of either type, so
 * nothing depends on where they are cut. */
#include "convert/quantise_file.h"

#include "base/mem.h"
#include "tensor/quantise.h"

#include <math.h>

#define PIECE_ELEMS 65536u     /* at most; a multiple of every block */
#define BATCH_ELEMS (1u << 20) /* in flight: 4 MB as floats, twice, and the blocks */
#define BATCH_PIECES 4096u
#define COPY_BYTES (1u << 20)

typedef struct piece_result {
    double square_error, square_sum;
    int64_t bad; /* element of the piece that isn't finite before or after; -1 = none */
    bool bad_input;
} piece_result;

/* What a matrix is being turned into, and the batch in flight. */
typedef struct matrix_job {
    const gguf_tensor *in;
    const tensor_traits *from, *to;
    tensor_type type;
    const float *weights;                         /* [cols]; NULL = all 1 */
    uint64_t cols, pieces_a_row, n_pieces, first; /* first piece of the batch */
    float *values, *back;                         /* [BATCH_ELEMS] of the batch: input, and what the blocks hold */
    uint8_t *blocks;                              /* of the batch, one behind the other */
    piece_result *results;
} matrix_job;

typedef struct file_job {
    const gguf_file *in;
    const quantise_options *o;
    mixture mix;
    os_output out;
    matrix_job m;
    float *weights;
    uint64_t max_cols, done_elems;
    quantise_report *report;
} file_job;

/* ---- what becomes of each tensor ---- */

static bool is_float_vector(const gguf_tensor *t) {
    return t->n_dims == 1 && (t->type == TENSOR_F16 || t->type == TENSOR_BF16);
}

static tensor_type type_of(const mixture *mix, const gguf_tensor *t, bool *fell_back) {
    *fell_back = false;
    if (mixture_is_matrix(t))
        return mixture_choose(mix, t, fell_back);
    return is_float_vector(t) ? TENSOR_F32 : t->type;
}

static uint64_t elems_of(const gguf_tensor *t) {
    return t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3]; /* checked by the reader */
}

static double bits_of(tensor_type type) {
    const tensor_traits *t = tensor_type_traits(type);
    return 8.0 * t->block_bytes / t->block_elems;
}

static void note(quantise_report *r, const gguf_tensor *t, tensor_type type, bool fell_back) {
    r->n_params += elems_of(t);
    if (mixture_is_matrix(t)) {
        r->n_of_type[type]++;
        r->n_fell_back += fell_back;
    }
    r->n_copied += type == t->type;
    r->n_quantised += type != t->type;
    if (type != t->type && bits_of(t->type) < bits_of(r->coarsest))
        r->coarsest = t->type;
}

muga_status quantise_plan(const gguf_file *in, const quantise_options *o, quantise_report *report, muga_error *err) {
    mixture mix;
    mixture_init(in, o->kind, o->importance != NULL, o->pure, &mix);
    *report = (quantise_report){.bytes_in = gguf_file_bytes(in), .coarsest = TENSOR_F32};
    for (uint64_t i = 0; i < gguf_tensor_count(in); i++) {
        const gguf_tensor *t = gguf_tensor_at(in, i);
        bool fell_back;
        tensor_type type = type_of(&mix, t, &fell_back);
        if (type != t->type && !tensor_type_traits(t->type)->dequantise)
            return error_set(err, MUGA_E_INPUT,
                             "tensor \"%s\" has type %s, which can't be read as numbers; use a model in another type",
                             t->name, tensor_type_traits(t->type)->name);
        note(report, t, type, fell_back);
    }
    return MUGA_OK;
}

/* ---- one matrix ---- */

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

static piece piece_at(const matrix_job *j, uint64_t i) {
    uint64_t column = i % j->pieces_a_row * PIECE_ELEMS;
    return (piece){i / j->pieces_a_row, column, MIN(j->cols - column, (uint64_t)PIECE_ELEMS)};
}

static uint64_t elems_a_piece(const matrix_job *j) {
    return MIN(j->cols, (uint64_t)PIECE_ELEMS);
}

static size_t blocks_bytes(const tensor_traits *t, uint64_t n) {
    return (size_t)(n / t->block_elems * t->block_bytes);
}

static void run_piece(void *ctx, int i_piece) {
    const matrix_job *j = ctx;
    piece p = piece_at(j, j->first + (uint64_t)i_piece);
    /* Pieces of one batch are all as long, or all of one row but the last. */
    size_t at = (size_t)((uint64_t)i_piece * elems_a_piece(j));
    float *values = j->values + at, *back = j->back + at;
    uint8_t *blocks = j->blocks + blocks_bytes(j->to, at);
    piece_result *r = &j->results[i_piece];
    *r = (piece_result){0};
    j->from->dequantise((const uint8_t *)j->in->data + blocks_bytes(j->from, p.row * j->cols + p.column), values, p.n);
    r->bad = first_not_finite(values, p.n);
    r->bad_input = r->bad >= 0;
    if (r->bad_input)
        return;
    tensor_quantise(j->type, values, j->weights ? j->weights + p.column : NULL, blocks, p.n);
    j->to->dequantise(blocks, back, p.n);
    r->bad = first_lost(values, back, p.n);
    for (size_t i = 0; i < p.n; i++) {
        double d = (double)back[i] - (double)values[i];
        r->square_error += d * d;
        r->square_sum += (double)values[i] * (double)values[i];
    }
}

static muga_status bad_value(const matrix_job *j, piece p, const piece_result *r, float value, muga_error *err) {
    uint64_t column = p.column + (uint64_t)r->bad;
    if (r->bad_input)
        return error_set(err, MUGA_E_NONFINITE,
                         "tensor \"%s\", row %llu, column %llu: %s; the model is damaged: fetch or convert it again",
                         j->in->name, (unsigned long long)p.row, (unsigned long long)column,
                         isnan(value) ? "not a number" : "infinity");
    return error_set(err, MUGA_E_INPUT,
                     "tensor \"%s\", row %llu, column %llu: %g is more than %s can hold; quantise to BF16", j->in->name,
                     (unsigned long long)p.row, (unsigned long long)column, (double)value, j->to->name);
}

/* Results of n pieces, in order: sums, and the first fault. */
static muga_status judge_batch(file_job *f, uint64_t n, muga_error *err) {
    matrix_job *j = &f->m;
    for (uint64_t i = 0; i < n; i++) {
        const piece_result *r = &j->results[i];
        if (r->bad >= 0)
            return bad_value(j, piece_at(j, j->first + i), r, j->values[i * elems_a_piece(j) + (uint64_t)r->bad], err);
        f->report->square_error += r->square_error;
        f->report->square_sum += r->square_sum;
    }
    return MUGA_OK;
}

static muga_status report_progress(file_job *f, uint64_t elems, muga_error *err) {
    f->done_elems += elems;
    double done = (double)f->done_elems / (double)MAX(f->report->n_params, (uint64_t)1);
    if (f->o->on_progress && !f->o->on_progress(f->o->on_progress_ctx, done))
        return error_set(err, MUGA_E_CANCELLED, "interrupted; nothing was written");
    return MUGA_OK;
}

static muga_status quantise_matrix(file_job *f, const gguf_tensor *t, tensor_type type, muga_error *err) {
    matrix_job *j = &f->m;
    j->in = t;
    j->from = tensor_type_traits(t->type);
    j->to = tensor_type_traits(type);
    j->type = type;
    j->cols = t->dims[0];
    j->pieces_a_row = (j->cols + PIECE_ELEMS - 1) / PIECE_ELEMS;
    j->n_pieces = elems_of(t) / j->cols * j->pieces_a_row;
    j->weights = NULL;
    if (f->o->importance && mixture_is_matrix(t)) {
        if (importance_weights(f->o->importance, t->name, j->cols, f->weights))
            j->weights = f->weights;
        else
            f->report->n_unweighted++;
    }
    /* A batch ends with its row where rows are cut, so that pieces lie one behind the other in it. */
    uint64_t at_once = MIN(BATCH_ELEMS / elems_a_piece(j), (uint64_t)BATCH_PIECES);
    for (j->first = 0; j->first < j->n_pieces;) {
        uint64_t n = MIN(at_once, j->n_pieces - j->first), elems = 0;
        if (j->pieces_a_row > 1)
            n = MIN(n, j->pieces_a_row - j->first % j->pieces_a_row);
        os_pool_run(f->o->pool, (int)n, run_piece, j);
        muga_status st = judge_batch(f, n, err);
        for (uint64_t i = 0; i < n; i++)
            elems += piece_at(j, j->first + i).n;
        if (!st)
            st = os_output_write(&f->out, j->blocks, blocks_bytes(j->to, elems), err);
        if (!st)
            st = report_progress(f, elems, err);
        if (st)
            return st;
        j->first += n;
    }
    return MUGA_OK;
}

/* ---- the file ---- */

static muga_status copy_tensor(file_job *f, const gguf_tensor *t, muga_error *err) {
    const uint8_t *p = t->data;
    muga_status st = MUGA_OK;
    for (uint64_t at = 0; at < t->bytes && !st; at += COPY_BYTES) {
        uint64_t n = MIN(t->bytes - at, (uint64_t)COPY_BYTES);
        st = os_output_write(&f->out, p + at, (size_t)n, err);
        if (!st)
            st = report_progress(f, at + n == t->bytes ? elems_of(t) : 0, err);
    }
    return st;
}

#define FILE_TYPE_KEY "general.file_type"
#define VERSION_KEY "general.quantization_version"
#define QUANTIZATION_VERSION 2u /* of the block layouts; files before version 2 held others */

/* What says that a file is one of several: the output is one. */
static bool is_of_parts(const char *key) {
    return !strcmp(key, "split.count") || !strcmp(key, "split.no") || !strcmp(key, "split.tensors.count");
}

static gguf_writer *make_head(const file_job *f) {
    gguf_writer *w = gguf_writer_new();
    bool has_type = false, has_version = false;
    for (uint64_t i = 0; w && i < gguf_key_count(f->in); i++) {
        const char *name = gguf_key_name(f->in, i, NULL);
        bool is_type = !strcmp(name, FILE_TYPE_KEY), is_version = !strcmp(name, VERSION_KEY);
        if (is_type)
            gguf_writer_add_u32(w, name, f->o->kind->file_type);
        else if (!strncmp(name, "split.", 6))
            continue; /* what comes out is whole */
        else if (is_version)
            gguf_writer_add_u32(w, name, QUANTIZATION_VERSION);
        else if (!is_of_parts(name))
            gguf_writer_copy_key(w, f->in, i);
        has_type = has_type || is_type;
        has_version = has_version || is_version;
    }
    if (w && !has_type)
        gguf_writer_add_u32(w, FILE_TYPE_KEY, f->o->kind->file_type);
    if (w && !has_version)
        gguf_writer_add_u32(w, VERSION_KEY, QUANTIZATION_VERSION);
    for (uint64_t i = 0; w && i < gguf_tensor_count(f->in); i++) {
        const gguf_tensor *t = gguf_tensor_at(f->in, i);
        bool fell_back;
        gguf_writer_add_tensor(w, t->name, type_of(&f->mix, t, &fell_back), t->dims, t->n_dims, NULL);
    }
    return w;
}

static muga_status write_tensors(file_job *f, const gguf_writer *w, muga_error *err) {
    static const uint8_t zeros[65536];
    for (uint64_t i = 0; i < gguf_tensor_count(f->in); i++) {
        const gguf_tensor *t = gguf_tensor_at(f->in, i);
        bool fell_back;
        tensor_type type = type_of(&f->mix, t, &fell_back);
        muga_status st = type == t->type ? copy_tensor(f, t, err) : quantise_matrix(f, t, type, err);
        if (!st)
            st = os_output_write(&f->out, zeros, (size_t)gguf_writer_pad_bytes(w, i), err);
        if (st)
            return st;
        gguf_forget(f->in, t);
    }
    return MUGA_OK;
}

static muga_status write_file(file_job *f, const char *path, muga_error *err) {
    str head = STR_INIT;
    gguf_writer *w = make_head(f);
    muga_status st = w ? gguf_writer_head(w, &head, err) : error_nomem(err, "the head of the file");
    if (!st)
        st = os_output_open(f->o->files, path, &f->out, err);
    if (!st) {
        f->report->bytes_out = head.len + gguf_writer_data_bytes(w);
        st = os_output_write(&f->out, str_get(&head), head.len, err);
        if (!st)
            st = write_tensors(f, w, err);
        if (!st)
            st = os_output_commit(&f->out, err);
        os_output_close(&f->out);
    }
    gguf_writer_free(w);
    str_release(&head);
    return st;
}

muga_status quantise_file(const gguf_file *in, const char *path, const quantise_options *o, quantise_report *report,
                          muga_error *err) {
    file_job f = {.in = in, .o = o, .report = report, .max_cols = 1};
    muga_status st = quantise_plan(in, o, report, err);
    if (st)
        return st;
    mixture_init(in, o->kind, o->importance != NULL, o->pure, &f.mix);
    for (uint64_t i = 0; o->importance && i < gguf_tensor_count(in); i++)
        f.max_cols = MAX(f.max_cols, gguf_tensor_at(in, i)->dims[0]);
    f.m.values = mem_alloc_array(BATCH_ELEMS, sizeof(float));
    f.m.back = mem_alloc_array(BATCH_ELEMS, sizeof(float));
    f.m.blocks = mem_alloc_array(BATCH_ELEMS, sizeof(float));
    f.m.results = mem_alloc_array(BATCH_PIECES, sizeof *f.m.results);
    f.weights = mem_alloc_array((size_t)f.max_cols, sizeof *f.weights);
    if (f.m.values && f.m.back && f.m.blocks && f.m.results && f.weights)
        st = write_file(&f, path, err);
    else
        st = error_nomem(err, "the buffers of quantising");
    free(f.m.values);
    free(f.m.back);
    free(f.m.blocks);
    free(f.m.results);
    free(f.weights);
    return st;
}
