/* GGUF writer: files made by us. Refuses nothing but what the reader would refuse of names and shapes (a programming
 * error asserts); the first failed allocation is remembered and given back by finish or head.
 *
 * Keys are encoded as they are added; tensors are recorded, and their data is copied at finish, or written by the
 * caller behind the head: so a file of any size needs memory for its head alone. */
#include "gguf/gguf.h"

#include "base/mem.h"

#include <assert.h>

#define DEFAULT_ALIGNMENT 32u
#define MAX_ALIGNMENT 65536u
#define WRITER_MAX_BYTES ((size_t)1 << 40)

typedef struct pending_tensor {
    char name[64];
    tensor_type type;
    uint32_t n_dims;
    uint64_t dims[4];
    uint64_t bytes;
    const void *data;
} pending_tensor;

struct gguf_writer {
    str keys;
    uint64_t n_keys, alignment;
    pending_tensor *tensors;
    size_t n_tensors, cap_tensors;
    bool failed;
};

static void put_u32(str *s, uint32_t v) {
    str_append(s, &v, sizeof v);
}
static void put_u64(str *s, uint64_t v) {
    str_append(s, &v, sizeof v);
}

static void put_string(str *s, const char *p, size_t n) {
    put_u64(s, n);
    str_append(s, p, n);
}

static void begin_key(gguf_writer *w, const char *key, gguf_type type) {
    assert(key[0] != '\0');
    put_string(&w->keys, key, strlen(key));
    put_u32(&w->keys, type);
    w->n_keys++;
}

gguf_writer *gguf_writer_new(void) {
    gguf_writer *w = calloc(1, sizeof *w);
    if (w) {
        str_init(&w->keys, WRITER_MAX_BYTES);
        w->alignment = DEFAULT_ALIGNMENT;
    }
    return w;
}

void gguf_writer_free(gguf_writer *w) {
    if (!w)
        return;
    str_release(&w->keys);
    free(w->tensors);
    free(w);
}

void gguf_writer_add_u32(gguf_writer *w, const char *key, uint32_t v) {
    begin_key(w, key, GGUF_U32);
    put_u32(&w->keys, v);
}

void gguf_writer_add_f32(gguf_writer *w, const char *key, float v) {
    begin_key(w, key, GGUF_F32);
    str_append(&w->keys, &v, sizeof v);
}

void gguf_writer_add_bool(gguf_writer *w, const char *key, bool v) {
    begin_key(w, key, GGUF_BOOL);
    str_append_c(&w->keys, v ? 1 : 0);
}

void gguf_writer_add_string(gguf_writer *w, const char *key, const char *v) {
    begin_key(w, key, GGUF_STRING);
    put_string(&w->keys, v, strlen(v));
}

void gguf_writer_add_strings(gguf_writer *w, const char *key, const span *v, size_t n) {
    begin_key(w, key, GGUF_ARRAY);
    put_u32(&w->keys, GGUF_STRING);
    put_u64(&w->keys, n);
    for (size_t i = 0; i < n; i++)
        put_string(&w->keys, v[i].p, v[i].n);
}

static void add_numbers(gguf_writer *w, const char *key, gguf_type element, const void *v, size_t n, size_t size) {
    begin_key(w, key, GGUF_ARRAY);
    put_u32(&w->keys, element);
    put_u64(&w->keys, n);
    str_append(&w->keys, v, n * size);
}

void gguf_writer_add_i32s(gguf_writer *w, const char *key, const int32_t *v, size_t n) {
    add_numbers(w, key, GGUF_I32, v, n, sizeof v[0]);
}

void gguf_writer_add_f32s(gguf_writer *w, const char *key, const float *v, size_t n) {
    add_numbers(w, key, GGUF_F32, v, n, sizeof v[0]);
}

void gguf_writer_add_bytes(gguf_writer *w, const char *key, const void *v, size_t n) {
    add_numbers(w, key, GGUF_U8, v, n, 1);
}

void gguf_writer_copy_key(gguf_writer *w, const gguf_file *f, uint64_t i) {
    gguf_type type;
    const char *name = gguf_key_name(f, i, &type);
    span value = gguf_key_bytes(f, i);
    uint32_t alignment; /* the reader has checked its range */
    begin_key(w, name, type);
    str_append(&w->keys, value.p, value.n);
    if (strcmp(name, "general.alignment") == 0 && gguf_get_u32(f, name, &alignment, NULL) == MUGA_OK)
        w->alignment = alignment;
}

void gguf_writer_add_tensor(gguf_writer *w, const char *name, tensor_type type, const uint64_t *dims, uint32_t n_dims,
                            const void *data) {
    const tensor_traits *traits = tensor_type_traits(type);
    assert(traits && n_dims >= 1 && n_dims <= 4 && dims[0] % traits->block_elems == 0 && strlen(name) < 64);
    if (w->n_tensors == w->cap_tensors) {
        size_t cap = w->cap_tensors ? 2 * w->cap_tensors : 16;
        pending_tensor *more = mem_resize_array(w->tensors, cap, sizeof more[0]);
        if (!more) {
            w->failed = true;
            return;
        }
        w->tensors = more;
        w->cap_tensors = cap;
    }
    pending_tensor *t = &w->tensors[w->n_tensors++];
    memset(t, 0, sizeof *t);
    memcpy(t->name, name, strlen(name));
    t->type = type;
    t->n_dims = n_dims;
    t->data = data;
    uint64_t elems = 1;
    for (uint32_t i = 0; i < n_dims; i++) {
        t->dims[i] = dims[i];
        elems *= dims[i];
    }
    t->bytes = elems / traits->block_elems * traits->block_bytes;
}

static uint64_t padding(const gguf_writer *w, uint64_t bytes) {
    return (w->alignment - bytes % w->alignment) % w->alignment;
}

static void append_zeros(str *s, uint64_t n) {
    static const char zeros[MAX_ALIGNMENT];
    str_append(s, zeros, (size_t)n);
}

uint64_t gguf_writer_tensor_bytes(const gguf_writer *w, size_t i_tensor) {
    return w->tensors[i_tensor].bytes;
}

uint64_t gguf_writer_pad_bytes(const gguf_writer *w, size_t i_tensor) {
    return padding(w, w->tensors[i_tensor].bytes);
}

uint64_t gguf_writer_data_bytes(const gguf_writer *w) {
    uint64_t sum = 0;
    for (size_t i = 0; i < w->n_tensors; i++)
        sum += w->tensors[i].bytes + gguf_writer_pad_bytes(w, i);
    return sum;
}

muga_status gguf_writer_head(const gguf_writer *w, str *out, muga_error *err) {
    muga_status st = str_status(&w->keys, err, "keys of a GGUF file");
    if (st)
        return st;
    if (w->failed)
        return error_nomem(err, "tensors of a GGUF file");
    size_t start = out->len;
    str_append(out, "GGUF", 4);
    put_u32(out, 3);
    put_u64(out, w->n_tensors);
    put_u64(out, w->n_keys);
    str_append(out, str_get(&w->keys), w->keys.len);
    uint64_t offset = 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        const pending_tensor *t = &w->tensors[i];
        put_string(out, t->name, strlen(t->name));
        put_u32(out, t->n_dims);
        for (uint32_t d = 0; d < t->n_dims; d++)
            put_u64(out, t->dims[d]);
        put_u32(out, t->type);
        put_u64(out, offset);
        offset += t->bytes + gguf_writer_pad_bytes(w, i);
    }
    append_zeros(out, padding(w, out->len - start));
    return str_status(out, err, "head of a GGUF file");
}

muga_status gguf_writer_finish(gguf_writer *w, str *out, muga_error *err) {
    muga_status st = gguf_writer_head(w, out, err);
    for (size_t i = 0; i < w->n_tensors && !st; i++) {
        str_append(out, w->tensors[i].data, w->tensors[i].bytes);
        append_zeros(out, gguf_writer_pad_bytes(w, i));
        st = str_status(out, err, "GGUF file");
    }
    return st;
}
