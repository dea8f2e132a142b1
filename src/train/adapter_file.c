/* A trained adapter as a file (adapter_file.h). */
#include "train/adapter_file.h"

#include "base/mem.h"
#include "gguf/gguf.h"
#include "train/trainer.h"

#include <math.h>

/* All tensors one after another in their type; NULL without memory. */
static uint8_t *encode(const trainer *t, const tensor_traits *traits) {
    train_tensor v;
    size_t n = 0, at = 0;
    for (uint32_t i = 0; i < train_tensor_count(t); i++) {
        train_tensor_at(t, i, &v);
        n += (size_t)v.rows * v.cols;
    }
    uint8_t *all = mem_alloc_array(n, traits->block_bytes);
    for (uint32_t i = 0; all && i < train_tensor_count(t); i++) {
        train_tensor_at(t, i, &v);
        traits->quantise(v.data, all + at, (size_t)v.rows * v.cols);
        at += (size_t)v.rows * v.cols * traits->block_bytes;
    }
    return all;
}

muga_status train_adapter_write(const trainer *t, const char *architecture, const char *base_sha256, tensor_type type,
                                const os_files *f, const char *path, muga_error *err) {
    const tensor_traits *traits = tensor_type_traits(type);
    str bytes = STR_INIT;
    if (traits->block_elems != 1 || !traits->quantise)
        return error_set(err, MUGA_E_USAGE, "an adapter's numbers are F32, F16 or BF16, not %s", traits->name);
    gguf_writer *w = gguf_writer_new();
    uint8_t *data = encode(t, traits);
    if (!w || !data) {
        gguf_writer_free(w);
        free(data);
        return error_nomem(err, "the adapter");
    }
    gguf_writer_add_string(w, "general.type", "adapter");
    gguf_writer_add_string(w, "general.architecture", architecture);
    gguf_writer_add_string(w, "adapter.type", "lora");
    gguf_writer_add_f32(w, "adapter.lora.alpha", train_alpha(t));
    gguf_writer_add_string(w, MODEL_ADAPTER_BASE_KEY, base_sha256);
    size_t at = 0;
    for (uint32_t i = 0; i < train_tensor_count(t); i++) {
        train_tensor v;
        train_tensor_at(t, i, &v);
        gguf_writer_add_tensor(w, v.name, type, (uint64_t[]){v.cols, v.rows}, 2, data + at);
        at += (size_t)v.rows * v.cols * traits->block_bytes;
    }
    muga_status st = gguf_writer_finish(w, &bytes, err);
    if (!st)
        st = os_write_file_atomic(f, path, bytes.data, bytes.len, err);
    gguf_writer_free(w);
    free(data);
    str_release(&bytes);
    return st;
}

/* ---- going on from one ---- */

static bool is_half(const gguf_tensor *x, const char *end) {
    size_t n = strlen(x->name), len = strlen(end);
    return n > len && strcmp(x->name + n - len, end) == 0;
}

muga_status train_adapter_start(const gguf_file *f, train_start *out, muga_error *err) {
    muga_status st = gguf_get_f32(f, "adapter.lora.alpha", &out->alpha, err);
    out->rank = 0;
    for (uint64_t i = 0; (!st || st == MUGA_E_NOT_FOUND) && i < gguf_tensor_count(f); i++) {
        const gguf_tensor *x = gguf_tensor_at(f, i);
        uint64_t rank = is_half(x, ".lora_a") ? x->dims[1] : is_half(x, ".lora_b") ? x->dims[0] : 0;
        if (rank == 0 || rank > TRAIN_MAX_RANK || (out->rank && rank != out->rank))
            return error_set(err, MUGA_E_INPUT,
                             "tensor \"%s\": training goes on from pairs of one rank, for matrices of the layers alone",
                             x->name);
        out->rank = (uint32_t)rank;
    }
    if (st && st != MUGA_E_NOT_FOUND)
        return st;
    if (out->rank == 0)
        return error_set(err, MUGA_E_INPUT, "not an adapter: it holds no pair");
    if (st == MUGA_E_NOT_FOUND || out->alpha == 0) /* scale 1, as an adapter without alpha is used */
        out->alpha = (float)out->rank;
    return isfinite(out->alpha) && out->alpha > 0
               ? MUGA_OK
               : error_set(err, MUGA_E_INPUT, "key \"adapter.lora.alpha\" is not above 0");
}

static muga_status read_tensor(const gguf_file *f, const train_tensor *v, float *to, muga_error *err) {
    const gguf_tensor *x = gguf_tensor_find(f, v->name);
    const tensor_traits *traits = x ? tensor_type_traits(x->type) : NULL;
    size_t n = (size_t)v->rows * v->cols;
    if (!x)
        return error_set(err, MUGA_E_INPUT, "tensor \"%s\" is not there: the adapter has pairs for other matrices",
                         v->name);
    if (!traits || traits->block_elems != 1 || !traits->dequantise)
        return error_set(err, MUGA_E_INPUT, "tensor \"%s\" is neither F32, F16 nor BF16", v->name);
    if (x->dims[0] != v->cols || x->dims[1] != v->rows || x->dims[2] != 1 || x->dims[3] != 1)
        return error_set(err, MUGA_E_INPUT, "tensor \"%s\" is %llu x %llu, not %u x %u", v->name,
                         (unsigned long long)x->dims[0], (unsigned long long)x->dims[1], v->cols, v->rows);
    traits->dequantise(x->data, to, n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(to[i]))
            return error_set(err, MUGA_E_INPUT, "tensor \"%s\" holds a value that is no finite number", v->name);
    return MUGA_OK;
}

muga_status train_adapter_read(trainer *t, const gguf_file *f, muga_error *err) {
    float *all = mem_alloc_array(t->layout.n_params, sizeof *all);
    uint32_t n = train_tensor_count(t);
    muga_status st = all ? MUGA_OK : error_nomem(err, "the adapter");
    for (uint32_t i = 0; !st && i < n; i++) {
        train_tensor v;
        train_tensor_at(t, i, &v);
        st = read_tensor(f, &v, all + (v.data - t->params), err);
    }
    if (!st && gguf_tensor_count(f) != n)
        st = error_set(err, MUGA_E_INPUT, "the adapter has %llu tensors, and these targets have %u; give --targets",
                       (unsigned long long)gguf_tensor_count(f), n);
    if (!st)
        memcpy(t->params, all, t->layout.n_params * sizeof *all);
    free(all);
    return st;
}
