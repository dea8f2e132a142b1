/* GGUF reader.
 *
 * Owns the mapping and two tables (keys, tensors) with a copy of their names. Refuses everything the format doesn't
 * allow at open, so that nobody above checks an offset again. One idea: a single forward pass with one bounded cursor,
 * in which every count is held against the bytes that are left before anything is allocated for it.
 *
 *   file:   magic "GGUF" | u32 version | u64 tensors | u64 keys | key... | tensor info... | padding | data
 *   key:    string name | u32 type | value
 *   string: u64 length | bytes
 *   array:  u32 type | u64 count | elements
 *   tensor: string name | u32 dims | u64 dim... | u32 type | u64 offset from the start of the data section
 *
 * Invariants: names are looked up by binary search over a sorted index (no hash: a hostile file can't make it
 * quadratic), and the same sort finds duplicates. Values stay in the mapping; a key remembers where. */
#include "gguf/internal.h"

#include "base/cursor.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

#define MAX_KEYS 65536u
#define MAX_TENSORS 65536u
#define MAX_KEY_BYTES 65535u
#define MAX_TENSOR_NAME_BYTES 63u
#define MAX_DIMS 4u
#define MAX_STRINGS_BYTES ((uint64_t)256 << 20) /* of all arrays of strings: walking them is what opening costs */
#define MIN_ALIGNMENT 8u                        /* so that any element of a tensor may be read in place */
#define MAX_ALIGNMENT 65536u
#define DEFAULT_ALIGNMENT 32u
#define ARRAY_HEADER_BYTES 12u    /* element type 4, count 8 */
#define MIN_KEY_INFO_BYTES 14u    /* length 8, one byte of name, type 4, one byte of value */
#define MIN_TENSOR_INFO_BYTES 33u /* length 8, one byte of name, dims 4, one dim 8, type 4, offset 8 */

uint32_t gguf_scalar_bytes(uint32_t type) {
    switch (type) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_BOOL: return 1;
    case GGUF_U16:
    case GGUF_I16: return 2;
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_F32: return 4;
    case GGUF_U64:
    case GGUF_I64:
    case GGUF_F64: return 8;
    default: return 0;
    }
}

static const char *type_name(uint32_t type) {
    static const char *const names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    return type < ARRAY_LEN(names) ? names[type] : "undefined";
}

/* ---- parsing ---- */

static muga_status bad_at(const gguf_file *f, uint64_t at, muga_error *err, const char *what) {
    return error_set(err, MUGA_E_INPUT, "%s: byte %" PRIu64 ": %s; " DAMAGED, f->path, at, what);
}

static muga_status bad_name(const gguf_file *f, const char *kind, const char *name, uint64_t at, muga_error *err,
                            const char *what) {
    return error_set(err, MUGA_E_INPUT, "%s: %s \"%.63s\" at byte %" PRIu64 ": %s; " DAMAGED, f->path, kind, name, at,
                     what);
}

/* A name: length within [1, max], no NUL, UTF-8; copied, so that it ends in NUL. */
static muga_status take_name(gguf_file *f, cursor *c, const char *kind, uint64_t max, char **out, muga_error *err) {
    uint64_t at = c->at, n;
    span s;
    if (!cursor_take_u64(c, &n))
        return bad_at(f, at, err, "the file ends before a name's length");
    if (n == 0 || n > max)
        return error_set(err, MUGA_E_INPUT,
                         "%s: byte %" PRIu64 ": %s name of %" PRIu64 " bytes (1 to %" PRIu64 " allowed); " DAMAGED,
                         f->path, at, kind, n, max);
    if (!cursor_take_string(c, n, &s))
        return bad_at(f, at, err, "the file ends inside a name");
    if (memchr(s.p, 0, s.n) || !utf8_valid(s.p, s.n))
        return bad_at(f, at, err, "a name is not UTF-8 text");
    *out = arena_copy_bytes(&f->names, s.p, s.n);
    return *out ? MUGA_OK : error_nomem(err, "names of the model file");
}

/* The strings of an array, length and bytes each: a vocabulary has hundreds of thousands, and this walk is most of what
 * opening a file costs; so it has its own bound (left) instead of the cursor's calls. */
static muga_status take_strings(gguf_file *f, cursor *c, gguf_key *k, muga_error *err) {
    uint64_t left = cursor_left(c);
    if (k->n > left / sizeof(uint64_t))
        return bad_name(f, "key", k->name, c->at, err, "more strings than the file has bytes for");
    const uint8_t *p = c->base + c->at;
    for (uint64_t i = 0; i < k->n; i++) {
        uint64_t len;
        if (left < sizeof len)
            return bad_name(f, "key", k->name, c->size - left, err, "the file ends before a string");
        memcpy(&len, p, sizeof len);
        left -= sizeof len;
        if (len > left)
            return bad_name(f, "key", k->name, c->size - left, err, "a string reaches beyond the end of the file");
        p += sizeof len + len;
        left -= len;
        if (cursor_left(c) - left > MAX_STRINGS_BYTES - f->strings_bytes)
            return bad_name(f, "key", k->name, c->size - left, err, "more than 256 MiB in arrays of strings");
    }
    k->bytes = cursor_left(c) - left;
    f->strings_bytes += k->bytes;
    (void)cursor_take(c, k->bytes, &k->value);
    return MUGA_OK;
}

/* Array header and elements; the cursor ends after the last one. */
static muga_status take_array(gguf_file *f, cursor *c, gguf_key *k, muga_error *err) {
    uint64_t at = c->at;
    uint32_t element;
    if (!cursor_take_u32(c, &element) || !cursor_take_u64(c, &k->n))
        return bad_name(f, "key", k->name, at, err, "the file ends inside the array's header");
    k->element = (gguf_type)element;
    if (element == GGUF_STRING)
        return take_strings(f, c, k, err);
    if (element == GGUF_ARRAY)
        return bad_name(f, "key", k->name, at, err, "an array of arrays is not supported");
    uint32_t size = gguf_scalar_bytes(element);
    if (size == 0)
        return bad_name(f, "key", k->name, at, err, "undefined element type");
    if (!u64_mul(k->n, size, &k->bytes) || !cursor_take(c, k->bytes, &k->value))
        return bad_name(f, "key", k->name, at, err, "an array reaches beyond the end of the file");
    return MUGA_OK;
}

static muga_status take_key(gguf_file *f, cursor *c, gguf_key *k, muga_error *err) {
    uint32_t type;
    muga_status st = take_name(f, c, "key", MAX_KEY_BYTES, &k->name, err);
    if (st)
        return st;
    uint64_t at = c->at;
    if (!cursor_take_u32(c, &type))
        return bad_name(f, "key", k->name, at, err, "the file ends before its type");
    k->type = (gguf_type)type;
    if (type == GGUF_ARRAY)
        return take_array(f, c, k, err);
    if (type == GGUF_STRING) {
        span s;
        if (!cursor_take_u64(c, &k->n) || !cursor_take_string(c, k->n, &s))
            return bad_name(f, "key", k->name, at, err, "its text reaches beyond the end of the file");
        k->value = (const uint8_t *)s.p;
        return MUGA_OK;
    }
    uint32_t size = gguf_scalar_bytes(type);
    if (size == 0)
        return bad_name(f, "key", k->name, at, err, "undefined value type");
    if (!cursor_take(c, size, &k->value))
        return bad_name(f, "key", k->name, at, err, "the file ends inside its value");
    if (type == GGUF_BOOL && *k->value > 1)
        return bad_name(f, "key", k->name, at, err, "a bool that is neither 0 nor 1");
    return MUGA_OK;
}

static muga_status take_tensor(gguf_file *f, cursor *c, gguf_tensor *t, uint64_t *offset, muga_error *err) {
    char *name;
    uint32_t type;
    muga_status st = take_name(f, c, "tensor", MAX_TENSOR_NAME_BYTES, &name, err);
    if (st)
        return st;
    t->name = name;
    uint64_t at = c->at;
    if (!cursor_take_u32(c, &t->n_dims))
        return bad_name(f, "tensor", name, at, err, "the file ends inside its shape");
    if (t->n_dims < 1 || t->n_dims > MAX_DIMS)
        return bad_name(f, "tensor", name, at, err, "1 to 4 dimensions are allowed");
    uint64_t elems = 1;
    for (uint32_t i = 0; i < MAX_DIMS; i++) {
        t->dims[i] = 1;
        if (i >= t->n_dims)
            continue;
        if (!cursor_take_u64(c, &t->dims[i]))
            return bad_name(f, "tensor", name, at, err, "the file ends inside its shape");
        if (t->dims[i] == 0)
            return bad_name(f, "tensor", name, at, err, "a dimension is zero");
        if (!u64_mul(elems, t->dims[i], &elems) || elems > INT64_MAX)
            return bad_name(f, "tensor", name, at, err, "its shape overflows");
    }
    at = c->at;
    if (!cursor_take_u32(c, &type) || !cursor_take_u64(c, offset))
        return bad_name(f, "tensor", name, at, err, "the file ends inside its type or offset");
    const tensor_traits *traits = tensor_type_traits(type);
    if (!traits)
        return error_set(err, MUGA_E_INPUT,
                         "%s: tensor \"%s\" at byte %" PRIu64 ": unknown type %" PRIu32
                         "; a newer kind of file, or a damaged one: use a file in another quantisation",
                         f->path, name, at, type);
    t->type = (tensor_type)type;
    if (t->dims[0] % traits->block_elems != 0)
        return error_set(err, MUGA_E_INPUT,
                         "%s: tensor \"%s\" at byte %" PRIu64 ": rows of %" PRIu64 " are not a multiple "
                         "of the %u in a %s block; " DAMAGED,
                         f->path, name, at, t->dims[0], traits->block_elems, traits->name);
    if (!u64_mul(elems / traits->block_elems, traits->block_bytes, &t->bytes))
        return bad_name(f, "tensor", name, at, err, "its size overflows");
    if (*offset % f->alignment != 0)
        return bad_name(f, "tensor", name, at, err, "its offset is not aligned");
    return MUGA_OK;
}

static int compare_index(const void *a, const void *b) {
    return strcmp(((const name_index *)a)->name, ((const name_index *)b)->name);
}

muga_status gguf_sort_index(gguf_file *f, name_index *index, uint64_t n, const char *kind, muga_error *err) {
    qsort(index, n, sizeof index[0], compare_index);
    for (uint64_t i = 1; i < n; i++) {
        if (strcmp(index[i - 1].name, index[i].name) == 0)
            return error_set(err, MUGA_E_INPUT, "%s: %s \"%.63s\" is there twice; " DAMAGED, f->path, kind,
                             index[i].name);
    }
    return MUGA_OK;
}

static const name_index *find_index(const name_index *index, uint64_t n, const char *name) {
    name_index wanted = {name, 0};
    return n ? bsearch(&wanted, index, n, sizeof index[0], compare_index) : NULL;
}

static muga_status take_header(gguf_file *f, cursor *c, muga_error *err) {
    const uint8_t *magic;
    if (!cursor_take(c, 4, &magic) || memcmp(magic, "GGUF", 4) != 0)
        return error_set(err, MUGA_E_INPUT,
                         "%s: byte 0: not a GGUF file (it doesn't begin with \"GGUF\"); give a GGUF model", f->path);
    if (!cursor_take_u32(c, &f->version))
        return bad_at(f, 4, err, "the file ends before its version");
    if (f->version << 8 == 0 && f->version != 0)
        return error_set(err, MUGA_E_INPUT, "%s: byte 4: big-endian GGUF is not supported; convert it to little-endian",
                         f->path);
    if (f->version != 2 && f->version != 3)
        return error_set(err, MUGA_E_INPUT,
                         "%s: byte 4: GGUF version %" PRIu32 " (2 and 3 are supported); convert the model again",
                         f->path, f->version);
    if (!cursor_take_u64(c, &f->n_tensors) || !cursor_take_u64(c, &f->n_keys))
        return bad_at(f, 8, err, "the file ends inside its header");
    if (f->n_tensors > MAX_TENSORS || f->n_tensors > cursor_left(c) / MIN_TENSOR_INFO_BYTES)
        return error_set(err, MUGA_E_INPUT,
                         "%s: byte 8: %" PRIu64 " tensors can't be in this file (limit %u); " DAMAGED, f->path,
                         f->n_tensors, MAX_TENSORS);
    if (f->n_keys > MAX_KEYS || f->n_keys > cursor_left(c) / MIN_KEY_INFO_BYTES)
        return error_set(err, MUGA_E_INPUT, "%s: byte 16: %" PRIu64 " keys can't be in this file (limit %u); " DAMAGED,
                         f->path, f->n_keys, MAX_KEYS);
    f->keys = mem_alloc_array(f->n_keys, sizeof f->keys[0]);
    f->key_index = mem_alloc_array(f->n_keys, sizeof f->key_index[0]);
    f->tensors = mem_alloc_array(f->n_tensors, sizeof f->tensors[0]);
    f->tensor_index = mem_alloc_array(f->n_tensors, sizeof f->tensor_index[0]);
    if (!f->keys || !f->key_index || !f->tensors || !f->tensor_index)
        return error_nomem(err, "tables of the model file");
    return MUGA_OK;
}

static muga_status take_keys(gguf_file *f, cursor *c, muga_error *err) {
    for (uint64_t i = 0; i < f->n_keys; i++) {
        muga_status st = take_key(f, c, &f->keys[i], err);
        if (st)
            return st;
        f->key_index[i] = (name_index){f->keys[i].name, (uint32_t)i};
    }
    muga_status st = gguf_sort_index(f, f->key_index, f->n_keys, "key", err);
    if (st)
        return st;
    uint32_t alignment = DEFAULT_ALIGNMENT;
    st = gguf_get_u32(f, "general.alignment", &alignment, err);
    if (st && st != MUGA_E_NOT_FOUND)
        return st;
    if (alignment < MIN_ALIGNMENT || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)))
        return error_set(err, MUGA_E_INPUT,
                         "%s: key \"general.alignment\" is %" PRIu32
                         " (a power of two from %u to %u is needed); " DAMAGED,
                         f->path, alignment, MIN_ALIGNMENT, MAX_ALIGNMENT);
    f->alignment = alignment;
    return MUGA_OK;
}

typedef struct extent {
    uint64_t from, to;
    uint32_t i;
} extent;

static int compare_extent(const void *a, const void *b) {
    const extent *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* Every extent inside the data section, and no two sharing a byte. */
static muga_status place_tensors(gguf_file *f, cursor *c, extent *extents, muga_error *err) {
    if (f->n_tensors == 0)
        return MUGA_OK; /* a vocabulary alone: there need be no data section */
    if (!cursor_align(c, f->alignment))
        return bad_at(f, c->at, err, "the file ends before its tensor data");
    f->data_start = c->at;
    uint64_t room = cursor_left(c);
    for (uint64_t i = 0; i < f->n_tensors; i++) {
        gguf_tensor *t = &f->tensors[i];
        extent *e = &extents[i];
        if (e->from > room || t->bytes > room - e->from)
            return error_set(err, MUGA_E_INPUT,
                             "%s: tensor \"%s\": its %" PRIu64 " bytes from %" PRIu64
                             " on reach beyond the file's %" PRIu64 "; " DAMAGED,
                             f->path, t->name, t->bytes, f->data_start + e->from, f->map.size);
        e->to = e->from + t->bytes;
        t->data = c->base + f->data_start + e->from;
    }
    qsort(extents, f->n_tensors, sizeof extents[0], compare_extent);
    for (uint64_t i = 1; i < f->n_tensors; i++) {
        if (extents[i].from < extents[i - 1].to)
            return error_set(err, MUGA_E_INPUT, "%s: tensors \"%s\" and \"%s\" overlap at byte %" PRIu64 "; " DAMAGED,
                             f->path, f->tensors[extents[i - 1].i].name, f->tensors[extents[i].i].name,
                             f->data_start + extents[i].from);
    }
    return MUGA_OK;
}

static muga_status take_tensors(gguf_file *f, cursor *c, muga_error *err) {
    muga_status st = MUGA_OK;
    extent *extents = mem_alloc_array(f->n_tensors, sizeof extents[0]);
    if (!extents)
        return error_nomem(err, "tables of the model file");
    for (uint64_t i = 0; i < f->n_tensors && !st; i++) {
        extents[i].i = (uint32_t)i;
        st = take_tensor(f, c, &f->tensors[i], &extents[i].from, err);
        if (!st)
            f->tensor_index[i] = (name_index){f->tensors[i].name, (uint32_t)i};
    }
    if (!st)
        st = gguf_sort_index(f, f->tensor_index, f->n_tensors, "tensor", err);
    if (!st)
        st = place_tensors(f, c, extents, err);
    free(extents);
    return st;
}

/* Takes over the mapping, on failure too. */
muga_status gguf_open_map(const char *path, os_map map, bool mapped, gguf_file **out, muga_error *err) {
    muga_status st;
    gguf_file *f = calloc(1, sizeof *f);
    *out = NULL;
    if (!f) {
        if (mapped)
            os_map_close(&map);
        return error_nomem(err, "model file");
    }
    f->map = map;
    f->mapped = mapped;
    arena_init(&f->names, 0);
    f->path = mem_copy_string(path);
    if (!f->path) {
        st = error_nomem(err, "model file");
        goto out;
    }
    error_keep_end(f->path, MAX_SHOWN + 1);
    cursor c = cursor_of(map.data, map.size);
    if ((st = take_header(f, &c, err)) || (st = take_keys(f, &c, err)) || (st = take_tensors(f, &c, err)))
        goto out;
    *out = f;
    f = NULL;
out:
    gguf_close(f);
    return st;
}

muga_status gguf_open(const char *path, gguf_file **out, muga_error *err) {
    os_map map;
    *out = NULL;
    muga_status st = os_map_open(path, &map, err);
    if (!st)
        st = gguf_open_map(path, map, true, out, err);
    if (!st && (st = parts_open(*out, path, err))) {
        gguf_close(*out);
        *out = NULL;
    }
    return st;
}

muga_status gguf_open_memory(const void *p, size_t n, gguf_file **out, muga_error *err) {
    os_map map = {.data = p, .size = n, .fd = -1};
    return gguf_open_map("memory", map, false, out, err);
}

void gguf_close(gguf_file *f) {
    if (!f)
        return;
    if (f->mapped)
        os_map_close(&f->map);
    for (uint32_t i = 0; i < f->n_parts; i++)
        gguf_close(f->parts[i]);
    free(f->parts);
    arena_release(&f->names);
    free(f->keys);
    free(f->key_index);
    free(f->tensors);
    free(f->tensor_index);
    free(f->path);
    free(f);
}

uint32_t gguf_version(const gguf_file *f) {
    return f->version;
}
uint64_t gguf_file_bytes(const gguf_file *f) {
    uint64_t bytes = f->map.size;
    for (uint32_t i = 0; i < f->n_parts; i++)
        bytes += f->parts[i]->map.size;
    return bytes;
}
const char *gguf_path(const gguf_file *f) {
    return f->path;
}

/* ---- keys ---- */

/* A number in the mapping, of any alignment. *is_negative tells how to read *bits. */
static bool read_integer(gguf_type type, const uint8_t *p, uint64_t *bits, bool *is_negative) {
    uint64_t u = 0;
    uint32_t size = gguf_scalar_bytes(type);
    for (uint32_t i = 0; i < size; i++)
        u |= (uint64_t)p[i] << (8 * i);
    int64_t s;
    switch (type) {
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
    case GGUF_BOOL:
        *bits = u;
        *is_negative = false;
        return true;
    case GGUF_I8: s = (int8_t)u; break;
    case GGUF_I16: s = (int16_t)u; break;
    case GGUF_I32: s = (int32_t)u; break;
    case GGUF_I64: s = (int64_t)u; break;
    default: return false;
    }
    *bits = (uint64_t)s;
    *is_negative = s < 0;
    return true;
}

static double read_float(gguf_type type, const uint8_t *p) {
    float f;
    double d;
    if (type == GGUF_F32) {
        memcpy(&f, p, sizeof f);
        return (double)f;
    }
    memcpy(&d, p, sizeof d);
    return d;
}

gguf_key *gguf_find_key(const gguf_file *f, const char *key) {
    const name_index *e = find_index(f->key_index, f->n_keys, key);
    return e ? &f->keys[e->i] : NULL;
}

static muga_status wrong_type(const gguf_file *f, const gguf_key *k, const char *wanted, muga_error *err) {
    return error_set(err, MUGA_E_INPUT,
                     "%s: key \"%.63s\" is of type %s, %s is needed; the file is not made for this architecture",
                     f->path, k->name, type_name(k->type), wanted);
}

muga_status gguf_get_u64(const gguf_file *f, const char *key, uint64_t *out, muga_error *err) {
    const gguf_key *k = gguf_find_key(f, key);
    uint64_t bits;
    bool negative;
    if (!k)
        return MUGA_E_NOT_FOUND;
    if (k->type == GGUF_BOOL || !read_integer(k->type, k->value, &bits, &negative))
        return wrong_type(f, k, "an integer", err);
    if (negative)
        return error_set(err, MUGA_E_INPUT, "%s: key \"%.63s\" is negative; " DAMAGED, f->path, k->name);
    *out = bits;
    return MUGA_OK;
}

muga_status gguf_get_u32(const gguf_file *f, const char *key, uint32_t *out, muga_error *err) {
    uint64_t v;
    muga_status st = gguf_get_u64(f, key, &v, err);
    if (st)
        return st;
    if (v > UINT32_MAX)
        return error_set(err, MUGA_E_INPUT, "%s: key \"%.63s\" is %" PRIu64 ", past 32 bits; " DAMAGED, f->path, key,
                         v);
    *out = (uint32_t)v;
    return MUGA_OK;
}

muga_status gguf_get_f32(const gguf_file *f, const char *key, float *out, muga_error *err) {
    const gguf_key *k = gguf_find_key(f, key);
    if (!k)
        return MUGA_E_NOT_FOUND;
    if (k->type != GGUF_F32 && k->type != GGUF_F64)
        return wrong_type(f, k, "a float", err);
    double v = read_float(k->type, k->value);
    if (isfinite(v) && fabs(v) > (double)FLT_MAX)
        return error_set(err, MUGA_E_INPUT, "%s: key \"%.63s\" is %g, past 32-bit floats; " DAMAGED, f->path, key, v);
    *out = (float)v;
    return MUGA_OK;
}

muga_status gguf_get_bool(const gguf_file *f, const char *key, bool *out, muga_error *err) {
    const gguf_key *k = gguf_find_key(f, key);
    if (!k)
        return MUGA_E_NOT_FOUND;
    if (k->type != GGUF_BOOL)
        return wrong_type(f, k, "a bool", err);
    *out = *k->value != 0;
    return MUGA_OK;
}

muga_status gguf_get_string(const gguf_file *f, const char *key, span *out, muga_error *err) {
    const gguf_key *k = gguf_find_key(f, key);
    if (!k)
        return MUGA_E_NOT_FOUND;
    if (k->type != GGUF_STRING)
        return wrong_type(f, k, "a string", err);
    *out = span_of((const char *)k->value, k->n);
    return MUGA_OK;
}

muga_status gguf_get_array(const gguf_file *f, const char *key, gguf_type element, gguf_array *out, muga_error *err) {
    const gguf_key *k = gguf_find_key(f, key);
    if (!k)
        return MUGA_E_NOT_FOUND;
    if (k->type != GGUF_ARRAY)
        return wrong_type(f, k, "an array", err);
    if (k->element != element)
        return error_set(err, MUGA_E_INPUT, "%s: key \"%.63s\" is an array of %s, one of %s is needed; " DAMAGED,
                         f->path, k->name, type_name(k->element), type_name(element));
    *out = (gguf_array){k->element, k->n, k->value, k->bytes};
    return MUGA_OK;
}

bool gguf_array_next_string(const gguf_array *a, uint64_t *at, span *out) {
    uint64_t len;
    if (a->type != GGUF_STRING || *at >= a->bytes || a->bytes - *at < sizeof len)
        return false;
    memcpy(&len, a->data + *at, sizeof len);
    if (len > a->bytes - *at - sizeof len) /* checked at open; but the file can be written to meanwhile */
        return false;
    *out = span_of((const char *)a->data + *at + sizeof len, len);
    *at += sizeof len + len;
    return true;
}

int64_t gguf_array_int(const gguf_array *a, uint64_t i) {
    uint64_t bits;
    bool negative;
    if (i >= a->n || !read_integer(a->type, a->data + i * gguf_scalar_bytes(a->type), &bits, &negative))
        return 0;
    if (!negative && bits > INT64_MAX)
        return INT64_MAX;
    return (int64_t)bits;
}

double gguf_array_number(const gguf_array *a, uint64_t i) {
    uint32_t size = gguf_scalar_bytes(a->type);
    if (i >= a->n || size == 0)
        return 0.0;
    const uint8_t *p = a->data + i * size;
    if (a->type == GGUF_F32 || a->type == GGUF_F64)
        return read_float(a->type, p);
    uint64_t bits;
    bool negative;
    read_integer(a->type, p, &bits, &negative);
    return negative ? (double)(int64_t)bits : (double)bits;
}

uint64_t gguf_key_count(const gguf_file *f) {
    return f->n_keys;
}

const char *gguf_key_name(const gguf_file *f, uint64_t i, gguf_type *type) {
    if (i >= f->n_keys)
        return NULL;
    if (type)
        *type = f->keys[i].type;
    return f->keys[i].name;
}

span gguf_key_bytes(const gguf_file *f, uint64_t i) {
    if (i >= f->n_keys)
        return span_of(NULL, 0);
    const gguf_key *k = &f->keys[i];
    const char *value = (const char *)k->value;
    if (k->type == GGUF_STRING)
        return span_of(value - sizeof(uint64_t), (size_t)k->n + sizeof(uint64_t));
    if (k->type == GGUF_ARRAY)
        return span_of(value - ARRAY_HEADER_BYTES, (size_t)k->bytes + ARRAY_HEADER_BYTES);
    return span_of(value, gguf_scalar_bytes(k->type));
}

void gguf_key_write(const gguf_file *f, uint64_t i, str *text) {
    if (i >= f->n_keys)
        return;
    const gguf_key *k = &f->keys[i];
    uint64_t bits;
    bool negative;
    if (k->type == GGUF_STRING)
        str_append(text, k->value, k->n);
    else if (k->type == GGUF_ARRAY)
        str_printf(text, "[%" PRIu64 " x %s]", k->n, type_name(k->element));
    else if (k->type == GGUF_BOOL)
        str_append_s(text, *k->value ? "true" : "false");
    else if (k->type == GGUF_F32)
        str_printf(text, "%.9g", read_float(k->type, k->value));
    else if (k->type == GGUF_F64)
        str_printf(text, "%.17g", read_float(k->type, k->value));
    else if (read_integer(k->type, k->value, &bits, &negative))
        str_printf(text, "%s%" PRIu64, negative ? "-" : "", negative ? 0 - bits : bits);
}

/* ---- tensors ---- */

uint64_t gguf_tensor_count(const gguf_file *f) {
    return f->n_tensors;
}
const gguf_tensor *gguf_tensor_at(const gguf_file *f, uint64_t i) {
    return i < f->n_tensors ? &f->tensors[i] : NULL;
}

const gguf_tensor *gguf_tensor_find(const gguf_file *f, const char *name) {
    const name_index *e = find_index(f->tensor_index, f->n_tensors, name);
    return e ? &f->tensors[e->i] : NULL;
}
