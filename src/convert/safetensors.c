/* The safetensors reader (safetensors.h).
 *
 * Idea: the header is parsed as JSON with our rules (no duplicate names), each entry is checked by itself, then all
 * extents in order of their place: the next begins where the last ended, and the last ends with the file. That is the
 * format's own rule, and it excludes overlaps, holes and trailing bytes at once. */
#include "convert/safetensors.h"

#include "base/cursor.h"
#include "base/json.h"
#include "base/mem.h"

#include <inttypes.h>

#define MAX_NAME_BYTES 255u

struct safetensors_file {
    os_map map; /* size 0 for memory */
    bool mapped;
    json_t *header; /* owns the names */
    safetensors_tensor *tensors;
    uint32_t n;
};

typedef struct dtype_row {
    const char *name;
    uint32_t bytes;
    bool readable;
    tensor_type type;
} dtype_row;

static const dtype_row dtypes[] = {
    {"F32", 4, true, TENSOR_F32},  {"F16", 2, true, TENSOR_F16},     {"BF16", 2, true, TENSOR_BF16},
    {"F64", 8, false, TENSOR_F64}, {"I64", 8, false, TENSOR_I64},    {"I32", 4, false, TENSOR_I32},
    {"I16", 2, false, TENSOR_I16}, {"I8", 1, false, TENSOR_I8},      {"U64", 8, false, TENSOR_I64},
    {"U32", 4, false, TENSOR_I32}, {"U16", 2, false, TENSOR_I16},    {"U8", 1, false, TENSOR_I8},
    {"BOOL", 1, false, TENSOR_I8}, {"F8_E4M3", 1, false, TENSOR_I8}, {"F8_E5M2", 1, false, TENSOR_I8},
};

static const dtype_row *find_dtype(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(dtypes); i++)
        if (!strcmp(dtypes[i].name, name))
            return &dtypes[i];
    return NULL;
}

/* ---- one entry ---- */

static muga_status bad_entry(muga_error *err, const char *name, const char *what) {
    return error_set(err, MUGA_E_INPUT, "tensor \"%.100s\": %s; the file is damaged: fetch it again", name, what);
}

/* A non-negative integer. */
static bool take_number(const json_t *v, uint64_t *out) {
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static muga_status read_shape(const json_t *entry, safetensors_tensor *t, uint64_t *n_elems, muga_error *err) {
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return bad_entry(err, t->name, "\"shape\" is missing or no list");
    if (json_array_size(shape) > SAFETENSORS_MAX_DIMS)
        return bad_entry(err, t->name, "it has more than 8 dimensions");
    t->n_dims = (uint32_t)json_array_size(shape);
    *n_elems = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        if (!take_number(json_array_get(shape, i), &t->shape[i]))
            return bad_entry(err, t->name, "\"shape\" holds what is no size");
        if (!u64_mul(*n_elems, t->shape[i], n_elems))
            return bad_entry(err, t->name, "its shape is larger than any file");
    }
    return MUGA_OK;
}

static muga_status read_extent(const json_t *entry, safetensors_tensor *t, cursor data, uint64_t expected,
                               muga_error *err) {
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t from, to;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !take_number(json_array_get(offsets, 0), &from) ||
        !take_number(json_array_get(offsets, 1), &to))
        return bad_entry(err, t->name, "\"data_offsets\" isn't two offsets");
    if (from > to || to - from != expected)
        return error_set(err, MUGA_E_INPUT,
                         "tensor \"%.100s\": its offsets are %" PRIu64 " to %" PRIu64 ", but shape and dtype make "
                         "%" PRIu64 " bytes; the file is damaged: fetch it again",
                         t->name, from, to, expected);
    data.at = 0;
    if (from > data.size)
        return bad_entry(err, t->name, "it begins behind the end of the file");
    data.at = from;
    if (!cursor_take(&data, expected, &t->data))
        return bad_entry(err, t->name, "it ends behind the end of the file");
    t->bytes = expected;
    return MUGA_OK;
}

static muga_status read_entry(const char *name, const json_t *entry, cursor data, safetensors_tensor *t,
                              muga_error *err) {
    size_t len = strlen(name);
    t->name = name;
    if (len == 0 || len > MAX_NAME_BYTES)
        return error_set(err, MUGA_E_INPUT, "a tensor's name has %zu bytes (1 to %u allowed)", len, MAX_NAME_BYTES);
    const char *dtype = json_get_string(entry, "dtype");
    if (!json_is_object(entry) || !dtype)
        return bad_entry(err, name, "\"dtype\" is missing");
    const dtype_row *d = find_dtype(dtype);
    if (!d)
        return error_set(
            err, MUGA_E_INPUT,
            "tensor \"%.100s\" has dtype \"%.40s\", which this version doesn't know; use the model in F32, "
            "F16 or BF16",
            name, dtype);
    t->dtype = d->name;
    t->type = d->type;
    t->readable = d->readable;
    uint64_t n_elems = 0, bytes = 0;
    muga_status st = read_shape(entry, t, &n_elems, err);
    if (st)
        return st;
    if (!u64_mul(n_elems, d->bytes, &bytes))
        return bad_entry(err, name, "its shape is larger than any file");
    return read_extent(entry, t, data, bytes, err);
}

static muga_status check_metadata(const json_t *metadata, muga_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return error_set(err, MUGA_E_INPUT, "\"__metadata__\" is no object; the file is damaged: fetch it again");
    json_object_foreach(json_borrow(metadata), key, value) {
        if (!json_is_string(value))
            return error_set(err, MUGA_E_INPUT,
                             "\"__metadata__\": the value of \"%.60s\" is no text; the file is damaged: fetch it again",
                             key);
    }
    return MUGA_OK;
}

/* ---- all of them ---- */

static int by_place(const void *a, const void *b) {
    const safetensors_tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* those without a byte first */
}

static int by_name(const void *a, const void *b) {
    const safetensors_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static muga_status check_layout(const safetensors_file *f, cursor data, muga_error *err) {
    const uint8_t *at = data.base, *end = data.base + data.size;
    for (uint32_t i = 0; i < f->n; i++) {
        const safetensors_tensor *t = &f->tensors[i];
        if (t->data < at)
            return bad_entry(err, t->name, "it overlaps the tensor before it");
        if (t->data > at)
            return bad_entry(err, t->name, "bytes before it belong to no tensor");
        at = t->data + t->bytes;
    }
    if (at != end)
        return error_set(err, MUGA_E_INPUT,
                         "%" PRIu64 " bytes at the end belong to no tensor; the file is damaged: fetch it again",
                         (uint64_t)(end - at));
    return MUGA_OK;
}

static muga_status read_header(safetensors_file *f, cursor data, muga_error *err) {
    size_t n = json_object_size(f->header), n_bytes;
    const char *name;
    json_t *entry;
    if (!json_is_object(f->header))
        return error_set(err, MUGA_E_INPUT, "the header is no JSON object; the file is damaged: fetch it again");
    if (n > SAFETENSORS_MAX_TENSORS || !size_mul(n, sizeof *f->tensors, &n_bytes))
        return error_set(err, MUGA_E_LIMIT, "the file has %zu tensors (at most %u allowed)", n,
                         SAFETENSORS_MAX_TENSORS);
    f->tensors = mem_alloc_array(n, sizeof *f->tensors);
    if (!f->tensors)
        return error_nomem(err, "the tensors of a safetensors file");
    json_object_foreach(f->header, name, entry) {
        bool is_metadata = !strcmp(name, "__metadata__");
        muga_status st = is_metadata ? check_metadata(entry, err)
                                     : read_entry(name, entry, data, &f->tensors[f->n], err);
        if (st)
            return st;
        f->n += !is_metadata;
    }
    qsort(f->tensors, f->n, sizeof *f->tensors, by_place);
    muga_status st = check_layout(f, data, err);
    qsort(f->tensors, f->n, sizeof *f->tensors, by_name);
    return st;
}

static muga_status read_file(safetensors_file *f, const void *p, uint64_t size, muga_error *err) {
    cursor c = cursor_of(p, size);
    uint64_t n_header;
    const uint8_t *header;
    if (!cursor_take_u64(&c, &n_header))
        return error_set(err, MUGA_E_INPUT, "the file has %" PRIu64 " bytes, too few for a safetensors file", size);
    if (n_header > SAFETENSORS_MAX_HEADER)
        return error_set(err, MUGA_E_INPUT,
                         "the header is said to have %" PRIu64 " bytes (at most %" PRIu64 " allowed); this is no "
                         "safetensors file, or a damaged one",
                         n_header, SAFETENSORS_MAX_HEADER);
    if (!cursor_take(&c, n_header, &header))
        return error_set(err, MUGA_E_INPUT,
                         "the header is said to have %" PRIu64 " bytes, and the file ends before; fetch it again",
                         n_header);
    muga_status st = json_parse((const char *)header, (size_t)n_header, "the header", &f->header, err);
    if (st)
        return st;
    return read_header(f, cursor_of(c.base + c.at, cursor_left(&c)), err);
}

muga_status safetensors_open_memory(const void *p, size_t n, safetensors_file **out, muga_error *err) {
    safetensors_file *f = calloc(1, sizeof *f);
    *out = NULL;
    if (!f)
        return error_nomem(err, "a safetensors file");
    muga_status st = read_file(f, p, n, err);
    if (st)
        safetensors_close(f);
    else
        *out = f;
    return st;
}

muga_status safetensors_open(const char *path, safetensors_file **out, muga_error *err) {
    safetensors_file *f = calloc(1, sizeof *f);
    *out = NULL;
    if (!f)
        return error_nomem(err, "a safetensors file");
    muga_status st = os_map_open(path, &f->map, err);
    f->mapped = st == MUGA_OK;
    if (!st) {
        st = read_file(f, f->map.data, f->map.size, err);
        if (st)
            st = error_prefix(err, st, "%s", path);
    }
    if (st)
        safetensors_close(f);
    else
        *out = f;
    return st;
}

void safetensors_close(safetensors_file *f) {
    if (!f)
        return;
    json_decref(f->header);
    free(f->tensors);
    if (f->mapped)
        os_map_close(&f->map);
    free(f);
}

uint32_t safetensors_count(const safetensors_file *f) {
    return f->n;
}

const safetensors_tensor *safetensors_at(const safetensors_file *f, uint32_t i) {
    return &f->tensors[i];
}

const safetensors_tensor *safetensors_find(const safetensors_file *f, const char *name) {
    const safetensors_tensor key = {.name = name};
    return f->n ? bsearch(&key, f->tensors, f->n, sizeof key, by_name) : NULL;
}

const os_map *safetensors_map(const safetensors_file *f) {
    return f->mapped ? &f->map : NULL;
}
