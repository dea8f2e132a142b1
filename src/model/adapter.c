/* Adapters: LoRA pairs from a GGUF file, checked against the model they are for.
 *
 * The format is llama.cpp's: general.type "adapter", adapter.type "lora", and for a matrix NAME the tensors NAME.lora_a
 * [rank][cols] and NAME.lora_b [rows][rank]; of the embedding, A stands turned, [vocabulary][rank]. Refused, each by
 * its name: a half without its other, a pair for a matrix the model's file doesn't have, another shape, a value that
 * isn't finite, and whatever would be left out (norms, biases, activation by tokens): running without it would give
 * other results than the adapter was made for. */
#include "model/arch.h"

#include <math.h>
#include <stdio.h>

#define MAX_RANK 16384u

typedef struct adapter_loader {
    const model *m;
    const gguf_file *file;
    os_pool *pool;
    model_adapter *a;
    bool *used; /* [tensor count] */
    muga_status st;
    muga_error *err;
} adapter_loader;

typedef struct half_name {
    char text[96];
} half_name;

static half_name half_of(const char *matrix, char half) {
    half_name n;
    snprintf(n.text, sizeof n.text, "%s.lora_%c", matrix, half);
    return n;
}

static const gguf_tensor *find(const adapter_loader *l, const char *matrix, char half) {
    return gguf_tensor_find(l->file, half_of(matrix, half).text);
}

static void mark(adapter_loader *l, const gguf_tensor *t) {
    l->used[t - gguf_tensor_at(l->file, 0)] = true;
}

/* ---- what kind of file it is ---- */

static bool key_is(adapter_loader *l, const char *key, const char *wanted, const char *remedy) {
    span v = {0};
    muga_status st = gguf_get_string(l->file, key, &v, l->err);
    if (!st && span_equal_string(v, wanted))
        return true;
    if (st && st != MUGA_E_NOT_FOUND)
        l->st = st;
    else
        l->st = error_set(l->err, MUGA_E_INPUT, "key \"%s\" is %s%.*s%s, not \"%s\"; %s", key, st ? "missing" : "\"",
                          (int)MIN(v.n, (size_t)40), v.n ? v.p : "", st ? "" : "\"", wanted, remedy);
    return false;
}

static void check_keys(adapter_loader *l) {
    if (!key_is(l, "general.type", "adapter", "give a GGUF file that holds a LoRA adapter") ||
        !key_is(l, "adapter.type", "lora", "this version knows no other kind of adapter") ||
        !key_is(l, "general.architecture", model_arch_name(l->m), "the adapter was made for another model"))
        return;
    muga_status st = gguf_get_f32(l->file, "adapter.lora.alpha", &l->a->alpha, l->err);
    if (st && st != MUGA_E_NOT_FOUND)
        l->st = st;
    else if (!isfinite(l->a->alpha))
        l->st = error_set(l->err, MUGA_E_INPUT, "key \"adapter.lora.alpha\" is not a finite number");
    gguf_array tokens;
    if (!l->st &&
        gguf_get_array(l->file, "adapter.alora.invocation_tokens", GGUF_U32, &tokens, NULL) != MUGA_E_NOT_FOUND)
        l->st = error_set(l->err, MUGA_E_INPUT,
                          "key \"adapter.alora.invocation_tokens\": this adapter is for the text after certain tokens "
                          "only, which this version can't follow");
}

/* ---- tensors ---- */

static void refuse_shape(adapter_loader *l, const gguf_tensor *t, uint64_t cols, uint64_t rows, const char *matrix) {
    l->st = error_set(l->err, MUGA_E_INPUT,
                      "tensor \"%s\" is %llu x %llu%s, not %llu x %llu as its other half and the model's \"%s\" have "
                      "it; the adapter was made for another model",
                      t->name, (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
                      t->dims[2] * t->dims[3] != 1 ? " x more" : "", (unsigned long long)cols, (unsigned long long)rows,
                      matrix);
}

static bool check_shape(adapter_loader *l, const gguf_tensor *t, uint64_t cols, uint64_t rows, const char *matrix) {
    if (t->dims[0] != cols || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1)
        refuse_shape(l, t, cols, rows, matrix);
    else if (!kernel_type_supported(t->type))
        l->st = error_set(l->err, MUGA_E_INPUT, "tensor \"%s\" has type %s; F32, F16, BF16 or a quantised type will do",
                          t->name, tensor_type_traits(t->type) ? tensor_type_traits(t->type)->name : "unknown");
    return !l->st;
}

/* Both halves of a matrix's pair; false where the adapter has none, or with the loader's error. */
static bool take_pair(adapter_loader *l, const char *matrix, const gguf_tensor **a, const gguf_tensor **b) {
    *a = find(l, matrix, 'a');
    *b = find(l, matrix, 'b');
    if (l->st || (!*a && !*b))
        return false;
    if (!*a || !*b) {
        l->st = error_set(l->err, MUGA_E_INPUT,
                          "tensor \"%s\" is missing, its other half is there; the file is "
                          "incomplete",
                          half_of(matrix, *a ? 'b' : 'a').text);
        return false;
    }
    mark(l, *a);
    mark(l, *b);
    return true;
}

/* ---- values ---- */

/* Numbers trained in bf16 are mostly stored as F32. Where none would change, half the bytes do. */
typedef struct values {
    bool finite, short_enough;
} values;

static values look_at(const gguf_tensor *t, float *row) {
    const tensor_traits *traits = tensor_type_traits(t->type);
    size_t row_bytes = (size_t)(t->dims[0] / traits->block_elems) * traits->block_bytes;
    values v = {true, t->type == TENSOR_F32};
    for (uint64_t i = 0; i < t->dims[1] && v.finite; i++) {
        traits->dequantise((const uint8_t *)t->data + i * row_bytes, row, (size_t)t->dims[0]);
        for (uint64_t k = 0; k < t->dims[0]; k++) {
            uint32_t bits;
            memcpy(&bits, &row[k], sizeof bits);
            v.finite = v.finite && (bits & 0x7f800000) != 0x7f800000;
            v.short_enough = v.short_enough && (bits & 0xffff) == 0;
        }
    }
    return v;
}

/* The tensor as it is packed; *shortened, where it isn't NULL, holds its values and is the caller's. */
static tensor_view view_of(adapter_loader *l, const gguf_tensor *t, uint16_t **shortened) {
    tensor_view view = {t->type, t->dims[0], t->dims[1], t->data};
    float *row = mem_alloc_array((size_t)t->dims[0], sizeof *row);
    values v = {0};
    if (row)
        v = look_at(t, row);
    if (!row)
        l->st = error_nomem(l->err, "the adapter");
    else if (!v.finite)
        l->st = error_set(l->err, MUGA_E_INPUT, "tensor \"%s\" holds infinity or not-a-number; the file is damaged",
                          t->name);
    free(row);
    if (l->st || !v.short_enough)
        return view;
    size_t n = (size_t)(t->dims[0] * t->dims[1]);
    *shortened = mem_alloc_array(n, sizeof **shortened);
    for (size_t i = 0; *shortened && i < n; i++)
        (*shortened)[i] = f32_to_bf16(((const float *)t->data)[i]);
    if (*shortened)
        view = (tensor_view){TENSOR_BF16, t->dims[0], t->dims[1], *shortened};
    else
        l->st = error_nomem(l->err, "the adapter");
    return view;
}

/* Matrices over the same input, packed as one as far as neighbours have one type. n at most MODEL_MAX_PARTS. */
static void pack(adapter_loader *l, const gguf_tensor *const *t, uint32_t n, kernel_weights *out, uint32_t *n_out) {
    tensor_view views[MODEL_MAX_PARTS] = {{0}};
    uint16_t *shortened[MODEL_MAX_PARTS] = {0};
    for (uint32_t i = 0; i < n && !l->st; i++)
        views[i] = view_of(l, t[i], &shortened[i]);
    for (uint32_t from = 0, to; from < n && !l->st; from = to) {
        for (to = from + 1; to < n && views[to].type == views[from].type;)
            to++;
        muga_status st = kernel_pack_parts(views + from, to - from, l->pool, &out[*n_out], l->err);
        if (st)
            l->st = error_prefix(l->err, st, "tensor \"%s\"", t[from]->name);
        else
            ++*n_out;
    }
    for (uint32_t i = 0; i < n; i++)
        free(shortened[i]);
}

static void pack_b(adapter_loader *l, const gguf_tensor *b, uint32_t i_inner, uint64_t row0, adapter_part *out) {
    uint32_t n = 0;
    out->i_inner = i_inner;
    out->row0 = row0;
    pack(l, &b, 1, &out->b, &n);
}

static bool check_rank(adapter_loader *l, const gguf_tensor *t, uint64_t rank) {
    if (rank > MAX_RANK)
        l->st = error_set(l->err, MUGA_E_INPUT, "tensor \"%s\" has rank %llu; at most %u is supported", t->name,
                          (unsigned long long)rank, MAX_RANK);
    return !l->st;
}

/* ---- the model's matrices ---- */

static uint64_t whole_pieces(uint64_t rows) {
    return (rows + MODEL_ADAPTED_OUTPUTS - 1) / MODEL_ADAPTED_OUTPUTS * MODEL_ADAPTED_OUTPUTS;
}

/* The pairs for matrices over the same input, whose outputs lie one behind the other. */
static void load_linear(adapter_loader *l, const gguf_tensor *const *matrices, uint32_t n, adapter_linear *out) {
    const gguf_tensor *as[MODEL_MAX_PARTS], *bs[MODEL_MAX_PARTS];
    uint64_t row0 = 0, rows[MODEL_MAX_PARTS], n_out = 0;
    uint32_t inner = 0;
    for (uint32_t i = 0; i < n && !l->st; row0 += matrices[i++]->dims[1]) {
        const gguf_tensor *w = matrices[i], *a, *b;
        if (!take_pair(l, w->name, &a, &b))
            continue;
        if (!check_rank(l, a, a->dims[1]) || !check_shape(l, a, w->dims[0], a->dims[1], w->name) ||
            !check_shape(l, b, a->dims[1], w->dims[1], w->name))
            return;
        as[out->n_parts] = a;
        bs[out->n_parts] = b;
        rows[out->n_parts++] = row0;
        n_out += whole_pieces(w->dims[1]);
    }
    if (l->st || out->n_parts == 0)
        return;
    pack(l, as, out->n_parts, out->a, &out->n_a);
    for (uint32_t i = 0; i < out->n_parts && !l->st; inner += (uint32_t)as[i++]->dims[1])
        pack_b(l, bs[i], inner, rows[i], &out->parts[i]);
    l->a->widest_inner = MAX(l->a->widest_inner, inner);
    l->a->widest_in = MAX(l->a->widest_in, (uint32_t)as[0]->dims[0]);
    bool is_output = out == &l->a->linears[l->a->n_linears - 1];
    l->a->widest_out = MAX(l->a->widest_out, n_out * (is_output ? MODEL_LOGIT_ROWS : MODEL_ADAPTED_ROWS));
}

static void load_embedding(adapter_loader *l) {
    const gguf_tensor *w = l->m->embd, *a, *b;
    uint32_t n = 0;
    if (!take_pair(l, w->name, &a, &b) || !check_rank(l, a, a->dims[0]) ||
        !check_shape(l, a, a->dims[0], w->dims[1], w->name) || !check_shape(l, b, a->dims[0], w->dims[0], w->name))
        return;
    pack(l, &a, 1, &l->a->embd_a, &n);
    if (!l->st)
        pack_b(l, b, 0, 0, &l->a->embd);
    l->a->widest_inner = MAX(l->a->widest_inner, (uint32_t)a->dims[0]);
    l->a->widest_out = MAX(l->a->widest_out, whole_pieces(w->dims[0]) * MODEL_ADAPTED_ROWS);
}

static void load_pairs(adapter_loader *l) {
    const model *m = l->m;
    for (uint32_t i = 0; i < m->p.n_layer; i++) {
        const model_layer *y = &m->layers[i];
        const model_linear *linears[MODEL_LINEARS] = {&y->qkv, &y->o, &y->gate_up, &y->down};
        for (uint32_t j = 0; j < MODEL_LINEARS; j++)
            load_linear(l, linears[j]->parts, linears[j]->n_parts, &l->a->linears[linears[j]->i_linear]);
    }
    const gguf_tensor *output = gguf_tensor_find(m->file, "output.weight");
    if (output && !m->arch->encoder)
        load_linear(l, &output, 1, &l->a->linears[MODEL_LINEARS * m->p.n_layer]);
    load_embedding(l);
}

static void refuse_unused(adapter_loader *l, const char *name) {
    size_t n = strlen(name);
    bool half = n > 7 && (strcmp(name + n - 7, ".lora_a") == 0 || strcmp(name + n - 7, ".lora_b") == 0);
    if (half && l->m->tied && strncmp(name, "output.weight.", 14) == 0)
        l->st = error_set(l->err, MUGA_E_INPUT,
                          "tensor \"%s\": this model has no \"output.weight\", its embedding serves as output, and an "
                          "adapter of that matrix can't be used",
                          name);
    else if (half)
        l->st = error_set(l->err, MUGA_E_INPUT,
                          "tensor \"%s\": the model computes with no matrix \"%.*s\"; the adapter was made for another "
                          "model",
                          name, (int)(n - 7), name);
    else
        l->st = error_set(l->err, MUGA_E_INPUT,
                          "tensor \"%s\" is neither a lora_a nor a lora_b; running without it would give wrong results",
                          name);
}

static void load(adapter_loader *l) {
    uint64_t n = gguf_tensor_count(l->file);
    check_keys(l);
    if (!l->st && n == 0)
        l->st = error_set(l->err, MUGA_E_INPUT, "the adapter holds no tensors; the file is incomplete");
    if (!l->st)
        load_pairs(l);
    for (uint64_t i = 0; i < n && !l->st; i++)
        if (!l->used[i])
            refuse_unused(l, gguf_tensor_at(l->file, i)->name);
}

muga_status model_adapter_load(const model *m, const gguf_file *file, os_pool *pool, model_adapter **out,
                               muga_error *err) {
    adapter_loader l = {.m = m, .file = file, .pool = pool, .err = err};
    l.a = mem_alloc_array(1, sizeof *l.a);
    l.used = mem_alloc_array((size_t)gguf_tensor_count(file) + 1, sizeof *l.used);
    if (l.a) {
        l.a->n_linears = MODEL_LINEARS * m->p.n_layer + 1;
        l.a->linears = mem_alloc_array(l.a->n_linears, sizeof *l.a->linears);
    }
    if (l.a && l.a->linears && l.used)
        load(&l);
    else
        l.st = error_nomem(err, "the adapter");
    free(l.used);
    if (l.st) {
        model_adapter_free(l.a);
        return l.st;
    }
    *out = l.a;
    return MUGA_OK;
}

muga_status model_adapter_check_named(span base, const char *digest, muga_error *err) {
    if (base.n == 0 || span_equal_string(base, digest))
        return MUGA_OK;
    return error_set(err, MUGA_E_INPUT, "was trained on the model with SHA-256 %.*s, this one has %.16s",
                     (int)MIN(base.n, (size_t)16), base.p, digest);
}

muga_status model_adapter_check_base(const gguf_file *file, const char *digest, muga_error *err) {
    span base = {0};
    muga_status st = gguf_get_string(file, MODEL_ADAPTER_BASE_KEY, &base, err);
    if (st)
        return st == MUGA_E_NOT_FOUND ? MUGA_OK : st;
    return model_adapter_check_named(base, digest, err);
}

void model_adapter_free(model_adapter *a) {
    if (!a)
        return;
    for (uint32_t i = 0; a->linears && i < a->n_linears; i++)
        for (uint32_t j = 0; j < MODEL_MAX_PARTS; j++) {
            kernel_weights_release(&a->linears[i].a[j]);
            kernel_weights_release(&a->linears[i].parts[j].b);
        }
    kernel_weights_release(&a->embd_a);
    kernel_weights_release(&a->embd.b);
    free(a->linears);
    free(a);
}

bool model_adapter_scale_fits(const model_adapter *a, float scale) {
    return isfinite(scale) && isfinite(scale * a->alpha);
}

size_t model_adapter_bytes(const model_adapter *a) {
    size_t bytes = a->embd_a.bytes + a->embd.b.bytes;
    for (uint32_t i = 0; i < a->n_linears; i++)
        for (uint32_t j = 0; j < MODEL_MAX_PARTS; j++)
            bytes += a->linears[i].a[j].bytes + a->linears[i].parts[j].b.bytes;
    return bytes;
}
