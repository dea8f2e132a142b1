/* Values put in the place of a file's own. A key's value then lies in the file's arena, encoded as in a file, so that
 * every reader of keys sees it. Refuses: arrays, a value that its type can't hold, a type that the file's own key has
 * not. */
#include "gguf/internal.h"

#include <errno.h>
#include <math.h>

#define MAX_KEY_BYTES 200u
#define MAX_VALUE_BYTES (1u << 20)

typedef struct override {
    const char *text; /* whole, for messages */
    char key[MAX_KEY_BYTES + 1];
    gguf_type type;
    const char *value;
} override;

static muga_status wrong(const override *o, muga_error *err, const char *what) {
    return error_set(err, MUGA_E_USAGE, "override \"%.80s\": %s", o->text, what);
}

/* The type named before a colon; GGUF_ARRAY: none is. */
static gguf_type take_type(const char **value) {
    static const struct {
        const char *name;
        gguf_type type;
    } types[] = {{"int:", GGUF_I64}, {"float:", GGUF_F32}, {"bool:", GGUF_BOOL}, {"str:", GGUF_STRING}};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strncmp(*value, types[i].name, strlen(types[i].name)) == 0) {
            *value += strlen(types[i].name);
            return types[i].type;
        }
    return GGUF_ARRAY;
}

static muga_status split(const char *text, override *o, muga_error *err) {
    const char *equal = strchr(text, '=');
    *o = (override){.text = text};
    if (!equal || equal == text || (size_t)(equal - text) > MAX_KEY_BYTES)
        return wrong(o, err, "not of the form KEY=VALUE or KEY=TYPE:VALUE (int, float, bool, str)");
    if (strlen(equal + 1) > MAX_VALUE_BYTES)
        return wrong(o, err, "the value is longer than 1 MiB");
    memcpy(o->key, text, (size_t)(equal - text));
    o->value = equal + 1;
    o->type = take_type(&o->value);
    return MUGA_OK;
}

/* Whether a value of the named type may stand where the file has another: any integer for an integer, and so on. */
static bool same_kind(gguf_type file, gguf_type named) {
    if (named == GGUF_I64)
        return gguf_scalar_bytes(file) > 0 && file != GGUF_BOOL && file != GGUF_F32 && file != GGUF_F64;
    return named == GGUF_F32 ? file == GGUF_F32 || file == GGUF_F64 : file == named;
}

/* The value as a file encodes it, in the arena; *n: bytes of a string. */
static muga_status encode(gguf_file *f, const override *o, const uint8_t **out, uint64_t *n, muga_error *err) {
    uint8_t bytes[8] = {0};
    char *end = NULL;
    errno = 0;
    *n = 0;
    if (o->type == GGUF_STRING) {
        uint64_t len = strlen(o->value);
        uint8_t *p = arena_alloc(&f->names, (size_t)len + sizeof len);
        if (!p)
            return error_nomem(err, "an override");
        memcpy(p, &len, sizeof len);
        memcpy(p + sizeof len, o->value, (size_t)len);
        *n = len;
        *out = p + sizeof len;
        return MUGA_OK;
    }
    if (o->type == GGUF_BOOL) {
        if (strcmp(o->value, "true") != 0 && strcmp(o->value, "false") != 0)
            return wrong(o, err, "a bool is true or false");
        bytes[0] = o->value[0] == 't';
    } else if (o->type == GGUF_F32 || o->type == GGUF_F64) {
        double d = strtod(o->value, &end);
        float single = (float)d;
        if (end == o->value || *end || !isfinite(single))
            return wrong(o, err, "the value is not a number, or out of range");
        memcpy(bytes, o->type == GGUF_F32 ? (void *)&single : (void *)&d, gguf_scalar_bytes(o->type));
    } else {
        int64_t i = strtoll(o->value, &end, 10);
        uint32_t size = gguf_scalar_bytes(o->type);
        bool is_unsigned = o->type == GGUF_U8 || o->type == GGUF_U16 || o->type == GGUF_U32 || o->type == GGUF_U64;
        int64_t high = size == 8 ? INT64_MAX : ((int64_t)1 << (8 * size - !is_unsigned)) - 1;
        int64_t low = is_unsigned ? 0 : -high - 1;
        if (end == o->value || *end || errno || i < low || i > high)
            return wrong(o, err, "the value is not an integer, or out of the key's range");
        memcpy(bytes, &i, sizeof i); /* little-endian, as the file */
    }
    uint8_t *p = arena_alloc(&f->names, sizeof bytes);
    if (!p)
        return error_nomem(err, "an override");
    memcpy(p, bytes, sizeof bytes);
    *out = p;
    return MUGA_OK;
}

/* Room for one more key, at the end of the table. */
static muga_status add_key(gguf_file *f, const char *name, gguf_key **out, muga_error *err) {
    gguf_key *keys = realloc(f->keys, (size_t)(f->n_keys + 1) * sizeof *keys);
    if (keys)
        f->keys = keys;
    name_index *index = keys ? realloc(f->key_index, (size_t)(f->n_keys + 1) * sizeof *index) : NULL;
    if (index)
        f->key_index = index;
    char *copy = index ? arena_copy_bytes(&f->names, name, strlen(name)) : NULL;
    if (!copy)
        return error_nomem(err, "an override");
    keys[f->n_keys] = (gguf_key){.name = copy};
    index[f->n_keys] = (name_index){copy, (uint32_t)f->n_keys};
    f->n_keys++;
    *out = &keys[f->n_keys - 1];
    return gguf_sort_index(f, index, f->n_keys, "key", err);
}

muga_status gguf_override(gguf_file *f, const char *text, muga_error *err) {
    override o;
    const uint8_t *value = NULL;
    uint64_t n = 0;
    muga_status st = split(text, &o, err);
    if (st)
        return st;
    if (f->n_overrides >= GGUF_MAX_OVERRIDES)
        return wrong(&o, err, "at most 64 overrides are taken");
    gguf_key *k = gguf_find_key(f, o.key);
    if (!k && o.type == GGUF_ARRAY)
        return wrong(&o, err,
                     "the file has no such key; to add it, say its type: KEY=TYPE:VALUE (int, float, bool, str)");
    if (k && k->type == GGUF_ARRAY)
        return wrong(&o, err, "the key holds an array; only numbers, bools and strings are replaced");
    if (k && o.type != GGUF_ARRAY && !same_kind(k->type, o.type))
        return wrong(&o, err, "the file's key is of another type");
    o.type = k ? k->type : o.type;
    if ((st = encode(f, &o, &value, &n, err)))
        return st;
    if (!k && (st = add_key(f, o.key, &k, err)))
        return st;
    k->type = o.type;
    k->value = value;
    k->n = n;
    f->n_overrides++;
    return MUGA_OK;
}

muga_status gguf_open_overridden(const char *path, const char *const *overrides, size_t n, gguf_file **out,
                                 muga_error *err) {
    muga_status st = gguf_open(path, out, err);
    for (size_t i = 0; i < n && !st; i++)
        if ((st = gguf_override(*out, overrides[i], err))) {
            gguf_close(*out);
            *out = NULL;
        }
    return st;
}
