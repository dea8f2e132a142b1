/* Converting a folder (convert.h): read what it is, write the head, then tensor by tensor. */
#include "convert/convert.h"

#include "base/mem.h"
#include "convert/hf_model.h"
#include "convert/requantise.h"

#include <stdio.h>

#define QUANTIZATION_VERSION 2u /* of the block layouts */

typedef struct conversion {
    hf_dir dir;
    hf_model m;
    mixture mix;
    const convert_options *o;
    gguf_writer *w;
    os_output out;
    requantiser *requantiser;
    requantise_sums sums;
    uint64_t done_elems;
    convert_report *report;
} conversion;

static gguf_tensor view_of(const hf_tensor *t) {
    gguf_tensor v = {.name = t->name, .n_dims = t->n_dims};
    v.type = t->source ? t->source->type : TENSOR_F32;
    memcpy(v.dims, t->dims, sizeof v.dims);
    v.bytes = t->source ? t->source->bytes : t->dims[0] * sizeof(float);
    v.data = t->source ? (const void *)t->source->data : t->values;
    return v;
}

static uint64_t elems_of(const hf_tensor *t) {
    return t->dims[0] * t->dims[1]; /* the file holds as many bytes and more */
}

static tensor_type type_of(const conversion *c, const hf_tensor *t, bool *fell_back) {
    gguf_tensor v = view_of(t);
    *fell_back = false;
    return t->vector ? TENSOR_F32 : mixture_choose(&c->mix, &v, fell_back);
}

/* ---- what it will be ---- */

static muga_status choose_kind(conversion *c, muga_error *err) {
    static const char *const names[] = {"F32", "F16"};
    const char *type = c->o->type;
    const hf_tensor *embd = NULL;
    for (uint32_t i = 0; i < c->m.n_tensors && !embd; i++)
        if (!strcmp(c->m.tensors[i].name, "token_embd.weight"))
            embd = &c->m.tensors[i];
    if (!type && embd)
        type = embd->source->type == TENSOR_BF16 ? "BF16" : names[embd->source->type];
    c->mix.kind = mixture_find(type);
    if (!c->mix.kind)
        return error_set(err, MUGA_E_USAGE, "'%.20s' is no type to convert to; see `muga help convert`", type);
    c->report->type = c->mix.kind->name;
    c->mix.n_layer = c->m.p.n_layer;
    c->mix.n_share = c->m.p.n_head / c->m.p.n_head_kv;
    for (uint32_t i = 0; i < c->m.n_tensors; i++)
        c->mix.has_output = c->mix.has_output || !strcmp(c->m.tensors[i].name, "output.weight");
    return MUGA_OK;
}

/* The folder's last name, as people know the model by. */
static char *name_of_folder(const char *path) {
    size_t end = strlen(path), begin;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && path[begin - 1] != '/';)
        begin--;
    return mem_copy_bytes(path + begin, end - begin);
}

static muga_status begin_head(conversion *c, const char *dir, muga_error *err) {
    char *name = c->o->name ? mem_copy_string(c->o->name) : name_of_folder(dir);
    if (!name)
        return error_nomem(err, "the model's name");
    gguf_writer_add_string(c->w, "general.architecture", c->m.arch->name);
    gguf_writer_add_string(c->w, "general.name", name);
    gguf_writer_add_u32(c->w, "general.file_type", c->mix.kind->file_type);
    gguf_writer_add_u32(c->w, "general.quantization_version", QUANTIZATION_VERSION);
    free(name);
    return MUGA_OK;
}

static muga_status plan(conversion *c, const char *dir, muga_error *err) {
    hf_model *m = &c->m;
    m->dir = &c->dir;
    m->err = err;
    m->w = c->w;
    hf_choose_arch(m);
    hf_read_shape(m);
    hf_list_tensors(m);
    if (!m->st)
        m->st = choose_kind(c, err);
    if (!m->st)
        m->st = begin_head(c, dir, err);
    if (!m->st)
        hf_write_keys(m);
    hf_write_tokenizer(m);
    return m->st;
}

static void note_tensors(conversion *c) {
    convert_report *r = c->report;
    r->arch = c->m.arch->name;
    r->n_tensors = c->m.n_tensors;
    r->n_left_out = c->m.n_left_out;
    for (uint32_t i = 0; i < c->m.n_tensors; i++) {
        const hf_tensor *t = &c->m.tensors[i];
        bool fell_back;
        tensor_type type = type_of(c, t, &fell_back);
        gguf_writer_add_tensor(c->w, t->name, type, t->dims, t->n_dims, NULL);
        r->n_params += elems_of(t);
        r->n_of_type[type] += !t->vector;
        r->n_fell_back += fell_back;
    }
}

/* ---- writing ---- */

/* The rows of each head so that what rope turns together lies together: (i, i + n/2) become (2i, 2i+1). */
static void permute_rows(const hf_tensor *t, size_t row_bytes, uint8_t *out) {
    uint64_t rows = t->vector ? t->dims[0] : t->dims[1], n = rows / t->permute_heads;
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t i_head = r / n, i = r % n, from = i_head * n + i % 2 * (n / 2) + i / 2;
        memcpy(out + r * row_bytes, t->source->data + from * row_bytes, row_bytes);
    }
}

static muga_status permuted(const hf_tensor *t, gguf_tensor *v, void **room, muga_error *err) {
    uint64_t rows = t->vector ? t->dims[0] : t->dims[1];
    *room = mem_alloc_array((size_t)v->bytes, 1);
    if (!*room)
        return error_nomem(err, t->name);
    permute_rows(t, (size_t)(v->bytes / rows), *room);
    v->data = *room;
    return MUGA_OK;
}

static muga_status plus_one(const hf_tensor *t, gguf_tensor *v, void **room, muga_error *err) {
    float *values = mem_alloc_array((size_t)t->dims[0], sizeof *values);
    *room = values;
    if (!values)
        return error_nomem(err, t->name);
    tensor_type_traits(v->type)->dequantise(v->data, values, (size_t)t->dims[0]);
    for (uint64_t i = 0; i < t->dims[0]; i++)
        values[i] += 1.0f;
    v->type = TENSOR_F32;
    v->bytes = t->dims[0] * sizeof *values;
    v->data = values;
    return MUGA_OK;
}

static bool on_elems(void *ctx, uint64_t n) {
    conversion *c = ctx;
    c->done_elems += n;
    double done = (double)c->done_elems / (double)MAX(c->report->n_params, (uint64_t)1);
    return !c->o->on_progress || c->o->on_progress(c->o->on_progress_ctx, done);
}

static muga_status write_tensor(conversion *c, const hf_tensor *t, muga_error *err) {
    gguf_tensor v = view_of(t);
    void *room = NULL;
    bool fell_back;
    muga_status st = MUGA_OK;
    if (t->permute_heads)
        st = permuted(t, &v, &room, err);
    else if (t->plus_1)
        st = plus_one(t, &v, &room, err);
    requantise_args a = {
        .in = &v, .type = type_of(c, t, &fell_back), .out = &c->out, .on_elems = on_elems, .on_elems_ctx = c};
    if (!st)
        st = requantise_write(c->requantiser, &a, &c->sums, err);
    free(room);
    const os_map *map = t->source ? safetensors_map(c->dir.shards[t->i_shard]) : NULL;
    if (map)
        os_map_forget(map, (uint64_t)(t->source->data - map->data), t->source->bytes);
    return st;
}

static muga_status write_tensors(conversion *c, muga_error *err) {
    static const uint8_t zeros[64];
    for (uint32_t i = 0; i < c->m.n_tensors; i++) {
        muga_status st = write_tensor(c, &c->m.tensors[i], err);
        if (!st)
            st = os_output_write(&c->out, zeros, (size_t)gguf_writer_pad_bytes(c->w, i), err);
        if (st)
            return st;
    }
    return MUGA_OK;
}

/* A shard that was written to meanwhile has given tensors of two models. */
static muga_status check_shards(const conversion *c, muga_error *err) {
    for (uint32_t i = 0; i < c->dir.n_shards; i++) {
        muga_status st = os_map_check(safetensors_map(c->dir.shards[i]), "the folder's weights", err);
        if (st)
            return st;
    }
    return MUGA_OK;
}

static muga_status write_file(conversion *c, const char *path, muga_error *err) {
    str head = STR_INIT;
    muga_status st = gguf_writer_head(c->w, &head, err);
    if (!st)
        st = requantiser_new(c->o->pool, &c->requantiser, err);
    if (!st)
        st = os_output_open(c->o->files, path, &c->out, err);
    if (!st) {
        c->report->bytes_out = head.len + gguf_writer_data_bytes(c->w);
        st = os_output_write(&c->out, str_get(&head), head.len, err);
        if (!st)
            st = write_tensors(c, err);
        if (!st)
            st = check_shards(c, err);
        if (!st)
            st = os_output_commit(&c->out, err);
        os_output_close(&c->out);
    }
    str_release(&head);
    return st;
}

muga_status convert_folder(const char *dir, const char *path, const convert_options *o, convert_report *report,
                           muga_error *err) {
    conversion c = {.o = o, .report = report, .w = gguf_writer_new()};
    *report = (convert_report){0};
    muga_status st = c.w ? hf_dir_open(o->files, dir, o->named, &c.dir, err) : error_nomem(err, "the head of the file");
    if (!st)
        st = plan(&c, dir, err);
    if (!st) {
        note_tensors(&c);
        st = write_file(&c, path, err);
    }
    report->square_error = c.sums.square_error;
    report->square_sum = c.sums.square;
    requantiser_free(c.requantiser);
    gguf_writer_free(c.w);
    hf_model_release(&c.m);
    hf_dir_release(&c.dir);
    return st;
}
