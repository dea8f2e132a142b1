/* Quantising a file (quantise_file.h): what becomes of each tensor and key, and the file around them; requantise.c
 * does the tensors. */
#include "convert/quantise_file.h"

#include "base/mem.h"
#include "convert/requantise.h"

typedef struct file_job {
    const gguf_file *in;
    const quantise_options *o;
    mixture mix;
    os_output out;
    requantiser *requantiser;
    requantise_sums sums;
    float *weights;
    uint64_t max_cols, done_elems;
    quantise_report *report;
} file_job;

/* ---- what becomes of each tensor ---- */

/* The input's tensors, and the one that merging adds. */
static uint64_t count_of(const gguf_file *in, const quantise_options *o) {
    return gguf_tensor_count(in) + (o->merge && merge_output(o->merge));
}

static const gguf_tensor *tensor_at(const gguf_file *in, const quantise_options *o, uint64_t i) {
    return i < gguf_tensor_count(in) ? gguf_tensor_at(in, i) : merge_output(o->merge);
}

static bool is_merged(const quantise_options *o, const gguf_tensor *t) {
    return o->merge && merge_has(o->merge, t->name);
}

static void choose_mixture(const gguf_file *in, const quantise_options *o, mixture *mix) {
    mixture_init(in, o->kind, o->importance != NULL, o->pure, mix);
    mix->has_output = mix->has_output || (o->merge && merge_output(o->merge));
}

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

static void note(quantise_report *r, const gguf_tensor *t, tensor_type type, bool fell_back, bool anew) {
    r->n_params += elems_of(t);
    if (mixture_is_matrix(t)) {
        r->n_of_type[type]++;
        r->n_fell_back += fell_back;
    }
    r->n_copied += !anew;
    r->n_quantised += anew;
    if (anew && bits_of(t->type) < bits_of(r->coarsest))
        r->coarsest = t->type;
}

muga_status quantise_plan(const gguf_file *in, const quantise_options *o, quantise_report *report, muga_error *err) {
    mixture mix;
    choose_mixture(in, o, &mix);
    *report = (quantise_report){.bytes_in = gguf_file_bytes(in), .coarsest = TENSOR_F32};
    for (uint64_t i = 0; i < count_of(in, o); i++) {
        const gguf_tensor *t = tensor_at(in, o, i);
        bool fell_back;
        tensor_type type = type_of(&mix, t, &fell_back);
        if (type != t->type && !tensor_type_traits(t->type)->dequantise)
            return error_set(err, MUGA_E_INPUT,
                             "tensor \"%s\" has type %s, which can't be read as numbers; use a model in another type",
                             t->name, tensor_type_traits(t->type)->name);
        note(report, t, type, fell_back, type != t->type || is_merged(o, t));
    }
    return MUGA_OK;
}

/* ---- the file ---- */

static bool on_elems(void *ctx, uint64_t n) {
    file_job *f = ctx;
    f->done_elems += n;
    double done = (double)f->done_elems / (double)MAX(f->report->n_params, (uint64_t)1);
    return !f->o->on_progress || f->o->on_progress(f->o->on_progress_ctx, done);
}

static muga_status write_tensor(file_job *f, const gguf_tensor *t, tensor_type type, muga_error *err) {
    requantise_args a = {.in = t, .type = type, .out = &f->out, .on_elems = on_elems, .on_elems_ctx = f};
    if (is_merged(f->o, t)) {
        muga_status st = merge_begin(f->o->merge, t->name, err);
        if (st)
            return st;
        a.add = merge_add;
        a.add_ctx = f->o->merge;
    }
    if ((type != t->type || a.add) && f->o->importance && mixture_is_matrix(t)) {
        if (importance_weights(f->o->importance, t->name, t->dims[0], f->weights))
            a.weights = f->weights;
        else
            f->report->n_unweighted++;
    }
    return requantise_write(f->requantiser, &a, &f->sums, err);
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
    for (uint64_t i = 0; w && i < count_of(f->in, f->o); i++) {
        const gguf_tensor *t = tensor_at(f->in, f->o, i);
        bool fell_back;
        gguf_writer_add_tensor(w, t->name, type_of(&f->mix, t, &fell_back), t->dims, t->n_dims, NULL);
    }
    return w;
}

static muga_status write_tensors(file_job *f, const gguf_writer *w, muga_error *err) {
    static const uint8_t zeros[65536];
    for (uint64_t i = 0; i < count_of(f->in, f->o); i++) {
        const gguf_tensor *t = tensor_at(f->in, f->o, i);
        bool fell_back;
        tensor_type type = type_of(&f->mix, t, &fell_back);
        muga_status st = write_tensor(f, t, type, err);
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
    choose_mixture(in, o, &f.mix);
    for (uint64_t i = 0; o->importance && i < gguf_tensor_count(in); i++)
        f.max_cols = MAX(f.max_cols, gguf_tensor_at(in, i)->dims[0]);
    f.weights = mem_alloc_array((size_t)f.max_cols, sizeof *f.weights);
    st = f.weights ? requantiser_new(o->pool, &f.requantiser, err) : error_nomem(err, "the weights of quantising");
    if (!st)
        st = write_file(&f, path, err);
    report->square_error = f.sums.square_error;
    report->square_sum = f.sums.square;
    requantiser_free(f.requantiser);
    free(f.weights);
    return st;
}
