/* Tensors by name and exact shape, packed for the kernels or widened to f32.
 *
 * Refuses what is missing, of another shape, or of a type without a kernel, each by the tensor's name. Every tensor
 * taken is marked, so that a file with weights this version would leave out (a bias, an expert) is refused rather than
 * run wrongly. Pages of the mapping are given back as soon as a tensor is packed. */
#include "model/arch.h"

#include <math.h>
#include <stdio.h>

static const gguf_tensor *find(const model_loader *l, const char *name) {
    return gguf_tensor_find(l->file, name);
}

bool weights_present(const model_loader *l, const char *name) {
    return find(l, name) != NULL;
}

/* Files keep tensors about in the order they are asked for, so the search goes on from the last one found. */
static void mark(model_loader *l, const gguf_tensor *t) {
    uint64_t n = gguf_tensor_count(l->file), i = l->i_last;
    while (gguf_tensor_at(l->file, i) != t)
        i = (i + 1) % n;
    l->used[i] = true;
    l->i_last = i;
}

void weights_ignore(model_loader *l, const char *name) {
    const gguf_tensor *t = find(l, name);
    if (t)
        mark(l, t);
}

/* The tensor is done with: progress, and its pages back to the system. */
static void finish(model_loader *l, const gguf_tensor *t) {
    mark(l, t);
    l->done_bytes += t->bytes;
    const os_map *map = gguf_map(l->file);
    if (map)
        os_map_forget(map, (uint64_t)((const uint8_t *)t->data - map->data), t->bytes);
    if (l->o->on_progress)
        l->o->on_progress(l->o->on_progress_ctx, (double)l->done_bytes / (double)gguf_file_bytes(l->file));
}

static muga_status take(const model_loader *l, const char *name, uint64_t cols, uint64_t rows, const gguf_tensor **out,
                        muga_error *err) {
    const gguf_tensor *t = find(l, name);
    if (!t)
        return error_set(err, MUGA_E_INPUT,
                         "tensor \"%s\" is missing; the file is incomplete or not of this architecture", name);
    if (t->dims[0] != cols || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1)
        return error_set(err, MUGA_E_INPUT,
                         "tensor \"%s\" is %llu x %llu x %llu x %llu, but the hyperparameters ask for %llu x %llu",
                         name, (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
                         (unsigned long long)t->dims[2], (unsigned long long)t->dims[3], (unsigned long long)cols,
                         (unsigned long long)rows);
    *out = t;
    return MUGA_OK;
}

muga_status weights_vector(model_loader *l, const char *name, uint32_t n, float **out, muga_error *err) {
    const gguf_tensor *t;
    muga_status st = take(l, name, n, 1, &t, err);
    if (st)
        return st;
    const tensor_traits *traits = tensor_type_traits(t->type);
    if (!traits || traits->block_elems != 1 || !traits->dequantise)
        return error_set(err, MUGA_E_INPUT, "tensor \"%s\" has type %s; vectors must be F32, F16 or BF16", name,
                         traits ? traits->name : "unknown");
    float *v = mem_alloc_aligned((size_t)n * sizeof *v, 64);
    if (!v)
        return error_nomem(err, name);
    traits->dequantise(t->data, v, n);
    *out = v;
    finish(l, t);
    return MUGA_OK;
}

static muga_status take_matrix(const model_loader *l, const char *name, uint32_t rows, uint32_t cols,
                               const gguf_tensor **out, muga_error *err) {
    muga_status st = take(l, name, cols, rows, out, err);
    if (st || kernel_type_supported((*out)->type))
        return st;
    const tensor_traits *traits = tensor_type_traits((*out)->type);
    return error_set(err, MUGA_E_INPUT,
                     "tensor \"%s\" has type %s, for which this version has no kernel; use F32, F16, BF16, Q8_0, Q4_0, "
                     "Q4_1, Q4_K or Q6_K",
                     name, traits ? traits->name : "unknown");
}

/* Pack matrices of one type and row length as one. */
static muga_status pack(model_loader *l, const gguf_tensor *const *t, uint32_t n, kernel_weights *out,
                        muga_error *err) {
    tensor_view view = {t[0]->type, t[0]->dims[0], 0, t[0]->data};
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        view.rows += t[i]->dims[1];
        bytes += t[i]->bytes;
    }
    uint8_t *joined = n > 1 ? mem_alloc_array(bytes, 1) : NULL;
    if (n > 1 && !joined)
        return error_nomem(err, t[0]->name);
    for (size_t i = 0, at = 0; joined && i < n; at += t[i++]->bytes)
        memcpy(joined + at, t[i]->data, t[i]->bytes);
    if (joined)
        view.data = joined;
    muga_status st = kernel_pack(&view, l->o->pool, out, err);
    free(joined);
    if (st)
        return error_prefix(err, st, "tensor \"%s\"", t[0]->name);
    for (uint32_t i = 0; i < n; i++)
        finish(l, t[i]);
    return MUGA_OK;
}

muga_status weights_matrix(model_loader *l, const char *name, uint32_t rows, uint32_t cols, kernel_weights *out,
                           muga_error *err) {
    const gguf_tensor *t;
    muga_status st = take_matrix(l, name, rows, cols, &t, err);
    return st ? st : pack(l, &t, 1, out, err);
}

/* The biases of the parts, zero where a part has none. */
static muga_status load_biases(model_loader *l, uint32_t i_layer, const weights_part *parts, uint32_t n_parts,
                               float **out, muga_error *err) {
    char name[80];
    size_t at = 0, total = 0;
    for (uint32_t i = 0; i < n_parts; i++)
        total += parts[i].rows;
    for (uint32_t i = 0; i < n_parts; at += parts[i++].rows) {
        snprintf(name, sizeof name, "blk.%u.%s.bias", i_layer, parts[i].stem);
        if (!weights_present(l, name))
            continue;
        if (!*out && !(*out = mem_alloc_aligned(total * sizeof(float), 64)))
            return error_nomem(err, name);
        float *one = NULL;
        muga_status st = weights_vector(l, name, parts[i].rows, &one, err);
        if (st)
            return st;
        memcpy(*out + at, one, parts[i].rows * sizeof *one);
        free(one);
    }
    return MUGA_OK;
}

muga_status weights_linear(model_loader *l, uint32_t i_layer, const weights_part *parts, uint32_t n_parts,
                           uint32_t cols, model_linear *out, muga_error *err) {
    const gguf_tensor *t[MODEL_MAX_PARTS];
    char name[80];
    muga_status st;
    for (uint32_t i = 0; i < n_parts; i++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", i_layer, parts[i].stem);
        if ((st = take_matrix(l, name, parts[i].rows, cols, &t[i], err)))
            return st;
        out->parts[out->n_parts++] = t[i];
    }
    for (uint32_t from = 0, to; from < n_parts; from = to) {
        for (to = from + 1; to < n_parts && t[to]->type == t[from]->type;)
            to++;
        if ((st = pack(l, t + from, to - from, &out->w[out->n_w], err)))
            return st;
        out->n_w++;
    }
    return load_biases(l, i_layer, parts, n_parts, &out->bias, err);
}

muga_status weights_layer_vector(model_loader *l, uint32_t i_layer, const char *stem, uint32_t n, float **out,
                                 muga_error *err) {
    char name[80];
    snprintf(name, sizeof name, "blk.%u.%s", i_layer, stem);
    return weights_vector(l, name, n, out, err);
}

muga_status weights_check_all_used(const model_loader *l, const char *arch, muga_error *err) {
    for (uint64_t i = 0, n = gguf_tensor_count(l->file); i < n; i++)
        if (!l->used[i])
            return error_set(
                err, MUGA_E_INPUT,
                "tensor \"%s\" is not part of a %s model as this version knows it; running without it would "
                "give wrong results",
                gguf_tensor_at(l->file, i)->name, arch);
    return MUGA_OK;
}

void weights_linear_release(model_linear *l) {
    for (uint32_t i = 0; i < l->n_w; i++)
        kernel_weights_release(&l->w[i]);
    free(l->bias);
    l->bias = NULL;
}

muga_status model_key_u32(const model_loader *l, const char *arch, const char *key, int64_t otherwise, uint32_t min,
                          uint32_t max, uint32_t *out, muga_error *err) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    uint32_t v = 0;
    muga_status st = gguf_get_u32(l->file, name, &v, err);
    if (st == MUGA_E_NOT_FOUND) {
        if (otherwise < 0)
            return error_set(err, MUGA_E_INPUT, "key \"%s\" is missing; the file is incomplete", name);
        v = (uint32_t)otherwise;
    } else if (st) {
        return st;
    }
    if (v < min || v > max)
        return error_set(err, MUGA_E_INPUT, "key \"%s\" is %u; it must be from %u to %u", name, v, min, max);
    *out = v;
    return MUGA_OK;
}

muga_status model_key_f32(const model_loader *l, const char *arch, const char *key, bool required, float above,
                          float max, float *out, muga_error *err) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    float v = 0;
    muga_status st = gguf_get_f32(l->file, name, &v, err);
    if (st == MUGA_E_NOT_FOUND)
        return required ? error_set(err, MUGA_E_INPUT, "key \"%s\" is missing; the file is incomplete", name) : MUGA_OK;
    if (st)
        return st;
    if (!isfinite(v) || v <= above || v > max)
        return error_set(err, MUGA_E_INPUT, "key \"%s\" is %g; it must be above %g and at most %g", name, (double)v,
                         (double)above, (double)max);
    *out = v;
    return MUGA_OK;
}
