/* Folding an adapter in (merge.h).
 *
 * Every pair is brought to one form: left [rows][rank] times right [rank][cols]. Of most matrices left is B and right A
 * as the file has them; of the embedding, whose A stands turned, left is A and right is B turned back. A sum runs over
 * ascending rank in double, the weight comes last: the bytes don't depend on where rows are cut or on threads. */
#include "convert/merge.h"

#include "base/mem.h"
#include "convert/mixture.h"
#include "model/model.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

#define MAX_RANK 16384u
#define COLUMNS 256u /* summed at a time: 2 kB of doubles */

#define EMBEDDING "token_embd.weight"
#define OUTPUT "output.weight"

typedef struct pair {
    const gguf_tensor *w, *a, *b; /* the base's matrix, the adapter's halves */
    uint64_t rank;
} pair;

struct merge {
    const gguf_file *base, *adapter;
    double scale, alpha;
    uint32_t n_pairs;
    gguf_tensor output; /* name NULL = none */
    /* The matrix begun. */
    float *left, *right;
    uint64_t rank, cols;
    double factor; /* s */
};

static bool is_embedding(const pair *p) {
    return strcmp(p->w->name, EMBEDDING) == 0;
}

static const gguf_tensor *find_half(const merge *m, const char *matrix, char half) {
    char name[80];
    snprintf(name, sizeof name, "%.63s.lora_%c", matrix, half);
    return gguf_tensor_find(m->adapter, name);
}

static bool find_pair(const merge *m, const char *matrix, pair *p) {
    *p = (pair){gguf_tensor_find(m->base, matrix), find_half(m, matrix, 'a'), find_half(m, matrix, 'b'), 0};
    if (!p->w || !p->a || !p->b)
        return false;
    p->rank = p->b->dims[0];
    return true;
}

/* ---- keys ---- */

static muga_status check_key(const gguf_file *f, const char *key, span want, const char *remedy, muga_error *err) {
    span v = {0};
    muga_status st = gguf_get_string(f, key, &v, err);
    if (st && st != MUGA_E_NOT_FOUND)
        return st;
    if (!st && span_equal(v, want))
        return MUGA_OK;
    return error_set(err, MUGA_E_INPUT, "key \"%s\" is %s%.*s%s, not \"%.*s\"; %s", key, st ? "missing" : "\"",
                     (int)MIN(v.n, (size_t)40), v.n ? v.p : "", st ? "" : "\"", (int)MIN(want.n, (size_t)40), want.p,
                     remedy);
}

static muga_status check_base(const gguf_file *adapter, const char *digest, muga_error *err) {
    muga_error why;
    muga_status st = digest ? model_adapter_check_base(adapter, digest, &why) : MUGA_OK;
    return st ? error_set(err, st,
                          "the adapter %s; give that one, or say --any-base where this is the same model in another "
                          "type",
                          why.message)
              : MUGA_OK;
}

static muga_status check_keys(merge *m, const merge_options *o, muga_error *err) {
    span arch = {0};
    float alpha = 0;
    gguf_array tokens;
    muga_status st = check_key(m->adapter, "general.type", span_of_string("adapter"),
                               "give a GGUF file that holds a LoRA adapter", err);
    if (!st)
        st = check_key(m->adapter, "adapter.type", span_of_string("lora"),
                       "this version knows no other kind of adapter", err);
    if (!st && gguf_get_string(m->base, "general.architecture", &arch, NULL))
        st = error_set(err, MUGA_E_INPUT, "the model has no key \"general.architecture\"; give a language model");
    if (!st)
        st = check_key(m->adapter, "general.architecture", arch, "the adapter was made for another model", err);
    if (st)
        return st;
    st = gguf_get_f32(m->adapter, "adapter.lora.alpha", &alpha, err);
    if (st && st != MUGA_E_NOT_FOUND)
        return st;
    if (!isfinite(alpha) || !isfinite(o->scale))
        return error_set(err, MUGA_E_INPUT, "%s is not a finite number; no weights can be made with it",
                         isfinite(alpha) ? "the scale" : "key \"adapter.lora.alpha\"");
    m->alpha = alpha;
    m->scale = o->scale;
    if (gguf_get_array(m->adapter, "adapter.alora.invocation_tokens", GGUF_U32, &tokens, NULL) != MUGA_E_NOT_FOUND)
        return error_set(err, MUGA_E_INPUT,
                         "key \"adapter.alora.invocation_tokens\": this adapter is for the text after certain tokens "
                         "only; weights have no such condition");
    return check_base(m->adapter, o->sha256, err);
}

/* ---- pairs ---- */

/* The matrix that a tensor is half of; false: it is no half. */
static bool matrix_of(const char *name, char matrix[64], char *half) {
    size_t n = strlen(name);
    if (n <= 7 || (strcmp(name + n - 7, ".lora_a") && strcmp(name + n - 7, ".lora_b")))
        return false;
    snprintf(matrix, 64, "%.*s", (int)(n - 7), name);
    *half = name[n - 1];
    return true;
}

static muga_status refuse_shape(const gguf_tensor *t, uint64_t cols, uint64_t rows, const char *matrix,
                                muga_error *err) {
    return error_set(
        err, MUGA_E_INPUT,
        "tensor \"%s\" is %llu x %llu%s, not %llu x %llu as its other half and the model's \"%s\" have it; "
        "the adapter was made for another model",
        t->name, (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
        t->dims[2] * t->dims[3] != 1 ? " x more" : "", (unsigned long long)cols, (unsigned long long)rows, matrix);
}

static bool has_shape(const gguf_tensor *t, uint64_t cols, uint64_t rows) {
    return t->dims[0] == cols && t->dims[1] == rows && t->dims[2] * t->dims[3] == 1;
}

static muga_status check_pair(pair *p, muga_error *err) {
    const gguf_tensor *w = p->w;
    uint64_t cols = w->dims[0], rows = w->dims[1];
    p->rank = is_embedding(p) ? p->a->dims[0] : p->a->dims[1];
    if (p->rank > MAX_RANK)
        return error_set(err, MUGA_E_INPUT, "tensor \"%s\" has rank %llu; at most %u is supported", p->a->name,
                         (unsigned long long)p->rank, MAX_RANK);
    uint64_t a_cols = is_embedding(p) ? p->rank : cols, a_rows = is_embedding(p) ? rows : p->rank;
    uint64_t b_rows = is_embedding(p) ? cols : rows;
    if (!has_shape(p->a, a_cols, a_rows))
        return refuse_shape(p->a, a_cols, a_rows, w->name, err);
    if (!has_shape(p->b, p->rank, b_rows))
        return refuse_shape(p->b, p->rank, b_rows, w->name, err);
    const gguf_tensor *const all[] = {w, p->a, p->b};
    for (int i = 0; i < 3; i++)
        if (!tensor_type_traits(all[i]->type) || !tensor_type_traits(all[i]->type)->dequantise)
            return error_set(err, MUGA_E_INPUT,
                             "tensor \"%s\" has a type that can't be read as numbers; use a file in "
                             "another type",
                             all[i]->name);
    return MUGA_OK;
}

/* One tensor of the adapter: the pair is taken at its A, and B alone is refused. */
static muga_status take_half(merge *m, const gguf_tensor *t, muga_error *err) {
    char matrix[64], half;
    pair p;
    if (!matrix_of(t->name, matrix, &half))
        return error_set(err, MUGA_E_INPUT,
                         "tensor \"%s\" is neither a lora_a nor a lora_b; leaving it out would give "
                         "wrong weights",
                         t->name);
    const gguf_tensor *w = gguf_tensor_find(m->base, matrix);
    if (!w && !strcmp(matrix, OUTPUT))
        return error_set(err, MUGA_E_INPUT,
                         "tensor \"%s\": this model has no \"output.weight\", its embedding serves "
                         "as output, and an adapter of that matrix can't be used",
                         t->name);
    if (!w || !mixture_is_matrix(w) || w->dims[2] * w->dims[3] != 1)
        return error_set(err, MUGA_E_INPUT,
                         "tensor \"%s\": the model computes with no matrix \"%s\"; the adapter was "
                         "made for another model",
                         t->name, matrix);
    if (!find_pair(m, matrix, &p))
        return error_set(err, MUGA_E_INPUT,
                         "tensor \"%s.lora_%c\" is missing, its other half is there; the file is incomplete", matrix,
                         half == 'a' ? 'b' : 'a');
    if (half == 'b')
        return MUGA_OK;
    m->n_pairs++;
    return check_pair(&p, err);
}

static muga_status take_pairs(merge *m, muga_error *err) {
    uint64_t n = gguf_tensor_count(m->adapter);
    muga_status st = MUGA_OK;
    if (n == 0)
        return error_set(err, MUGA_E_INPUT, "the adapter holds no tensors; the file is incomplete");
    for (uint64_t i = 0; i < n && !st; i++)
        st = take_half(m, gguf_tensor_at(m->adapter, i), err);
    return st;
}

muga_status merge_new(const gguf_file *base, const gguf_file *adapter, const merge_options *o, merge **out,
                      muga_error *err) {
    merge *m = mem_alloc_array(1, sizeof *m);
    pair embedding;
    if (!m)
        return error_nomem(err, "the adapter");
    m->base = base;
    m->adapter = adapter;
    muga_status st = check_keys(m, o, err);
    if (!st)
        st = take_pairs(m, err);
    if (st) {
        merge_free(m);
        return st;
    }
    if (find_pair(m, EMBEDDING, &embedding) && !gguf_tensor_find(base, OUTPUT)) {
        m->output = *embedding.w;
        m->output.name = OUTPUT;
    }
    *out = m;
    return MUGA_OK;
}

void merge_free(merge *m) {
    if (!m)
        return;
    free(m->left);
    free(m->right);
    free(m);
}

uint32_t merge_count(const merge *m) {
    return m->n_pairs;
}

bool merge_has(const merge *m, const char *name) {
    pair p;
    return find_pair(m, name, &p);
}

const gguf_tensor *merge_output(const merge *m) {
    return m->output.name ? &m->output : NULL;
}

/* ---- a matrix ---- */

/* All of a half as floats, finite. */
static muga_status read_half(const gguf_tensor *t, float **out, muga_error *err) {
    size_t n = (size_t)(t->dims[0] * t->dims[1]); /* checked by the reader */
    float *v = *out = mem_alloc_array(n, sizeof *v);
    if (!v)
        return error_nomem(err, "an adapter's matrix");
    tensor_type_traits(t->type)->dequantise(t->data, v, n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return error_set(err, MUGA_E_INPUT, "tensor \"%s\" holds infinity or not-a-number; the file is damaged",
                             t->name);
    return MUGA_OK;
}

/* [rows][cols] the other way round. */
static muga_status turn(float **v, uint64_t rows, uint64_t cols, muga_error *err) {
    float *t = mem_alloc_array((size_t)(rows * cols), sizeof *t);
    if (!t)
        return error_nomem(err, "an adapter's matrix");
    for (uint64_t i = 0; i < rows; i++)
        for (uint64_t k = 0; k < cols; k++)
            t[k * rows + i] = (*v)[i * cols + k];
    free(*v);
    *v = t;
    return MUGA_OK;
}

muga_status merge_begin(merge *m, const char *name, muga_error *err) {
    pair p;
    bool there = find_pair(m, name, &p), embedding = there && is_embedding(&p);
    assert(there);
    free(m->left);
    free(m->right);
    m->left = m->right = NULL;
    m->rank = p.rank;
    m->cols = p.w->dims[0];
    m->factor = m->alpha != 0 ? m->scale * m->alpha / (double)p.rank : m->scale;
    muga_status st = read_half(embedding ? p.a : p.b, &m->left, err);
    if (!st)
        st = read_half(embedding ? p.b : p.a, &m->right, err);
    if (!st && embedding)
        st = turn(&m->right, m->cols, m->rank, err);
    return st;
}

void merge_add(const void *ctx, uint64_t row, uint64_t column, float *values, uint64_t n) {
    const merge *m = ctx;
    const float *left = m->left + row * m->rank;
    for (uint64_t from = 0; from < n; from += COLUMNS) {
        double sums[COLUMNS] = {0};
        uint64_t here = MIN(n - from, (uint64_t)COLUMNS);
        for (uint64_t k = 0; k < m->rank; k++) {
            const float *right = m->right + k * m->cols + column + from;
            double l = left[k];
            for (uint64_t i = 0; i < here; i++)
                sums[i] += l * (double)right[i];
        }
        for (uint64_t i = 0; i < here; i++)
            values[from + i] = (float)((double)values[from + i] + m->factor * sums[i]);
    }
}
