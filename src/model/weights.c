/* Tensors by name and exact shape, packed for the kernels or widened to f32.
 *
 * Refuses what is missing, of another shape, or of a type without a kernel, each by the tensor's name. Every tensor
 * taken is marked, so that a file with weights this version would leave out (a bias, an expert) is refused rather than
 * run wrongly. Where a packed file is mapped, what it holds is used in place, and the tensors' own pages are not
 * touched; else they are given back as soon as a tensor is packed. */
#include "model/arch.h"

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

typedef struct tensor_name {
    char text[80];
} tensor_name;

static tensor_name name_of(const model_loader *l, const char *stem, const char *ending) {
    tensor_name n;
    if (l->i_layer == MODEL_NO_LAYER)
        snprintf(n.text, sizeof n.text, "%s.%s", stem, ending);
    else
        snprintf(n.text, sizeof n.text, "blk.%u.%s.%s", l->i_layer, stem, ending);
    return n;
}

static bool is_mapped(const model_loader *l) {
    return l->o->packed && packed_is_mapped(l->o->packed);
}

/* The next item of the packed file; the loader fails where it isn't this one, and everything is to be made anew. */
static bool find_packed(model_loader *l, packed_item *item) {
    if (packed_find(l->o->packed, item))
        return true;
    loader_fail(l, "the packed file has no \"%s\" where it should be", item->name);
    return false;
}

static packed_item item_of(packed_kind kind, const char *name) {
    packed_item item = {.kind = kind, .n_parts = 1, .rows = 1};
    snprintf(item.name, sizeof item.name, "%s", name);
    return item;
}

/* The tensor is done with: progress, and its pages back to the system. */
static void finish(model_loader *l, const gguf_tensor *t) {
    mark(l, t);
    l->done_bytes += t->bytes;
    if (!is_mapped(l))
        gguf_forget(l->file, t);
    if (l->o->on_progress)
        l->o->on_progress(l->o->on_progress_ctx, (double)l->done_bytes / (double)gguf_file_bytes(l->file));
}

/* The tensor of that shape; NULL with the loader's error set. Shapes follow from keys alone, so those are named. */
static const gguf_tensor *take(model_loader *l, const char *name, uint64_t cols, uint64_t rows) {
    const gguf_tensor *t = l->st ? NULL : find(l, name);
    const model_params *p = &l->m->p;
    if (!t) {
        loader_fail(l, "tensor \"%s\" is missing; the file is incomplete or not of this architecture", name);
        return NULL;
    }
    if (t->dims[0] == cols && t->dims[1] == rows && t->dims[2] == 1 && t->dims[3] == 1)
        return t;
    char shape[96];
    int n =
        snprintf(shape, sizeof shape, "%llu x %llu", (unsigned long long)t->dims[0], (unsigned long long)t->dims[1]);
    if (t->n_dims > 2)
        snprintf(shape + n, sizeof shape - (size_t)n, " x %llu x %llu", (unsigned long long)t->dims[2],
                 (unsigned long long)t->dims[3]);
    loader_fail(l,
                "tensor \"%s\" is %s, not %llu x %llu as embedding_length %u, head_count %u, head_count_kv %u, "
                "key_length %u, rope.dimension_count %u and feed_forward_length %u have it",
                name, shape, (unsigned long long)cols, (unsigned long long)rows, p->n_embd, p->n_head, p->n_head_kv,
                p->head_dim, p->n_rot, p->n_ff);
    return NULL;
}

/* A vector to out [n], which lives as long as the model. */
static void read_vector(model_loader *l, const char *name, uint32_t n, float *out) {
    const gguf_tensor *t = take(l, name, n, 1);
    if (!t)
        return;
    const tensor_traits *traits = tensor_type_traits(t->type);
    if (!traits || traits->block_elems != 1 || !traits->dequantise) {
        loader_fail(l, "tensor \"%s\" has type %s; vectors must be F32, F16 or BF16", name,
                    traits ? traits->name : "unknown");
        return;
    }
    packed_item item = item_of(PACKED_VECTOR, name);
    item.cols = n;
    item.bytes = n * sizeof *out;
    if (!is_mapped(l))
        traits->dequantise(t->data, out, n);
    else if (find_packed(l, &item))
        memcpy(out, item.data, item.bytes);
    item.data = out;
    if (l->o->packed && !is_mapped(l))
        packed_add(l->o->packed, &item);
    finish(l, t);
}

void weights_vector(model_loader *l, const char *name, uint32_t n, float **out) {
    if (!l->st && !loader_failed_nomem(l, *out = mem_alloc_aligned((size_t)n * sizeof **out, 64), name))
        read_vector(l, name, n, *out);
}

void weights_rows(model_loader *l, const char *name, uint32_t rows, uint32_t cols, const gguf_tensor **out) {
    const gguf_tensor *t = find(l, name);
    t = take(l, name, cols, t && rows == 0 ? t->dims[1] : rows);
    if (!t)
        return;
    const tensor_traits *traits = tensor_type_traits(t->type);
    if (!traits || !traits->dequantise)
        loader_fail(l, "tensor \"%s\" has type %s, which this version can't read", name,
                    traits ? traits->name : "unknown");
    mark(l, t);
    *out = t;
}

void weights_require(model_loader *l, const char *stem, const char *ending) {
    tensor_name name = name_of(l, stem, ending);
    if (!weights_present(l, name.text))
        loader_fail(l, "tensor \"%s\" is missing; the file is incomplete or not of this architecture", name.text);
}

void weights_norm(model_loader *l, const char *stem, uint32_t n, model_norm *out) {
    tensor_name weight = name_of(l, stem, "weight"), bias = name_of(l, stem, "bias");
    weights_vector(l, weight.text, n, &out->w);
    if (!l->st && l->m->arch->layer_norm && weights_present(l, bias.text))
        weights_vector(l, bias.text, n, &out->b);
}

static const gguf_tensor *take_matrix(model_loader *l, const char *name, uint32_t rows, uint32_t cols) {
    const gguf_tensor *t = take(l, name, cols, rows);
    if (!t || kernel_type_supported(t->type))
        return t;
    const tensor_traits *traits = tensor_type_traits(t->type);
    loader_fail(l, "tensor \"%s\" has type %s, which matrices can't have here; convert the model, for example to Q8_0",
                name, traits ? traits->name : "unknown");
    return NULL;
}

/* Matrices of one type and row length as one, from the packed file or packed now; n at most MODEL_MAX_PARTS. */
static void pack(model_loader *l, const gguf_tensor *const *t, uint32_t n, kernel_weights *out) {
    tensor_view parts[MODEL_MAX_PARTS] = {{0}};
    packed_item item = item_of(PACKED_MATRIX, t[0]->name);
    item.type = (uint32_t)t[0]->type;
    item.n_parts = n;
    item.rows = 0;
    item.cols = t[0]->dims[0];
    for (uint32_t i = 0; i < n; i++) {
        parts[i] = (tensor_view){t[i]->type, t[i]->dims[0], t[i]->dims[1], t[i]->data};
        item.rows += t[i]->dims[1];
    }
    size_t bytes = 0;
    muga_status st = kernel_panel_bytes(t[0]->type, item.rows, item.cols, &bytes, l->err);
    item.bytes = bytes;
    if (!st && !is_mapped(l))
        st = kernel_pack_parts(parts, n, l->o->pool, out, l->err);
    else if (!st && find_packed(l, &item))
        *out = (kernel_weights){
            .type = t[0]->type, .rows = item.rows, .cols = item.cols, .panels = item.data, .bytes = bytes};
    item.data = out->panels;
    if (st)
        l->st = error_prefix(l->err, st, "tensor \"%s\"", t[0]->name);
    else if (l->o->packed && !is_mapped(l))
        packed_add(l->o->packed, &item);
    for (uint32_t i = 0; i < n && !l->st; i++)
        finish(l, t[i]);
}

void weights_matrix(model_loader *l, const char *stem, uint32_t rows, uint32_t cols, kernel_weights *out) {
    tensor_name name = name_of(l, stem, "weight");
    const gguf_tensor *t = take_matrix(l, name.text, rows, cols);
    if (t)
        pack(l, &t, 1, out);
}

/* The biases of the parts, zero where a part has none. */
static void load_biases(model_loader *l, const weights_part *parts, uint32_t n_parts, float **out) {
    size_t at = 0, total = 0;
    for (uint32_t i = 0; i < n_parts; i++)
        total += parts[i].rows;
    for (uint32_t i = 0; i < n_parts && !l->st; at += parts[i++].rows) {
        tensor_name name = name_of(l, parts[i].stem, "bias");
        if (!weights_present(l, name.text))
            continue;
        if (!*out && loader_failed_nomem(l, *out = mem_alloc_aligned(total * sizeof(float), 64), name.text))
            return;
        read_vector(l, name.text, parts[i].rows, *out + at);
    }
}

void weights_linear(model_loader *l, const weights_part *parts, uint32_t n_parts, uint32_t cols, model_linear *out) {
    for (uint32_t i = 0; i < n_parts; i++) {
        tensor_name name = name_of(l, parts[i].stem, "weight");
        const gguf_tensor *t = take_matrix(l, name.text, parts[i].rows, cols);
        if (!t)
            return;
        out->parts[out->n_parts++] = t;
    }
    const gguf_tensor *const *t = out->parts;
    for (uint32_t from = 0, to; from < n_parts && !l->st; from = to) {
        for (to = from + 1; to < n_parts && t[to]->type == t[from]->type;)
            to++;
        pack(l, t + from, to - from, &out->w[out->n_w++]);
    }
    load_biases(l, parts, n_parts, &out->bias);
}

/* ---- what most layers have ---- */

void weights_attention(model_loader *l, model_layer *y) {
    const model_params *p = &l->m->p;
    uint32_t n_q = p->n_head * p->head_dim, n_kv = p->n_head_kv * p->head_dim;
    const weights_part qkv[] = {{"attn_q", n_q}, {"attn_k", n_kv}, {"attn_v", n_kv}};
    const weights_part fused = {"attn_qkv", n_q + 2 * n_kv}, o = {"attn_output", p->n_embd};
    if (weights_present(l, name_of(l, "attn_qkv", "weight").text))
        weights_linear(l, &fused, 1, p->n_embd, &y->qkv);
    else
        weights_linear(l, qkv, 3, p->n_embd, &y->qkv);
    weights_linear(l, &o, 1, n_q, &y->o);
}

void weights_gated(model_loader *l, model_layer *y) {
    const model_params *p = &l->m->p;
    const weights_part gate_up[] = {{"ffn_gate", p->n_ff}, {"ffn_up", p->n_ff}};
    const weights_part fused = {"ffn_up", 2 * p->n_ff}, down = {"ffn_down", p->n_embd};
    const gguf_tensor *up = find(l, name_of(l, "ffn_up", "weight").text);
    if (up && up->dims[1] == fused.rows && !weights_present(l, name_of(l, "ffn_gate", "weight").text))
        weights_linear(l, &fused, 1, p->n_embd, &y->gate_up);
    else
        weights_linear(l, gate_up, 2, p->n_embd, &y->gate_up);
    weights_linear(l, &down, 1, p->n_ff, &y->down);
}

void weights_ungated(model_loader *l, model_layer *y) {
    const model_params *p = &l->m->p;
    const weights_part up = {"ffn_up", p->n_ff}, down = {"ffn_down", p->n_embd};
    weights_linear(l, &up, 1, p->n_embd, &y->gate_up);
    weights_linear(l, &down, 1, p->n_ff, &y->down);
}

void weights_check_all_used(model_loader *l) {
    for (uint64_t i = 0, n = gguf_tensor_count(l->file); i < n && !l->st; i++)
        if (!l->used[i])
            loader_fail(l,
                        "tensor \"%s\" is not part of a %s model as this version knows it; running without it would "
                        "give wrong results",
                        gguf_tensor_at(l->file, i)->name, l->m->arch->name);
}

void weights_linear_release(model_linear *l) {
    for (uint32_t i = 0; i < l->n_w; i++)
        kernel_weights_release(&l->w[i]);
    free(l->bias);
    l->bias = NULL;
}

void weights_norm_release(model_norm *n) {
    free(n->w);
    free(n->b);
    *n = (model_norm){0};
}
