/* JSON: what is read and written is read as the same value, canonical JSON is its own canonical form, two values have
 * one form exactly when they are the same, blanks and the order of keys don't change the digest, and a refusal names
 * line and column. */
#include "base/hash.h"
#include "base/json.h"
#include "base/utf8.h"
#include "fuzz.h"

#include <math.h>

/* By the exact value: not as doubles, where 2^60 and 2^60 + 24 would be one. */
static bool same_number(const json_t *x, const json_t *y) {
    if (json_is_integer(x) && json_is_integer(y))
        return json_integer_value(x) == json_integer_value(y);
    if (json_is_real(x) && json_is_real(y))
        return json_real_value(x) == json_real_value(y);
    double real = json_real_value(json_is_real(x) ? x : y);
    json_int_t whole = json_integer_value(json_is_real(x) ? y : x);
    return real >= -0x1p63 && real < 0x1p63 && real == trunc(real) && (json_int_t)real == whole;
}

/* JSON doesn't tell 1.0 from 1. */
static bool same_value(const json_t *x, const json_t *y) {
    if (json_is_number(x) && json_is_number(y))
        return same_number(x, y);
    if (json_typeof(x) != json_typeof(y))
        return false;
    if (json_is_array(x)) {
        bool same = json_array_size(x) == json_array_size(y);
        for (size_t i = 0; same && i < json_array_size(x); i++)
            same = same_value(json_array_get(x, i), json_array_get(y, i));
        return same;
    }
    if (!json_is_object(x))
        return json_equal(x, y);
    if (json_object_size(x) != json_object_size(y))
        return false;
    const char *key;
    size_t n;
    json_t *member;
    json_object_keylen_foreach((json_t *)(uintptr_t)x, key, n, member) {
        const json_t *other = json_object_getn(y, key, n);
        if (!other || !same_value(member, other))
            return false;
    }
    return true;
}

static json_t *read_back(const str *text) {
    json_t *v = NULL;
    muga_error err = {0};
    fuzz_need(!text->failed && utf8_valid(str_get(text), text->len));
    char *exact = fuzz_copy(str_get(text), text->len);
    muga_status st = json_parse(exact, text->len, "written", &v, &err);
    if (st)
        fprintf(stderr, "%s: %.200s\n", err.message, str_get(text));
    fuzz_need(st == MUGA_OK);
    free(exact);
    return v;
}

static void check_form(const json_t *v, void (*write)(const json_t *v, str *out)) {
    str once = STR_INIT, twice = STR_INIT;
    write(v, &once);
    json_t *again = read_back(&once);
    write(again, &twice);
    fuzz_need(same_value(v, again));
    fuzz_need(once.len == twice.len && memcmp(str_get(&once), str_get(&twice), once.len) == 0);
    json_decref(again);
    str_release(&once);
    str_release(&twice);
}

/* The members in the other order. */
static json_t *reversed(const json_t *v) {
    json_t *out = json_object();
    const char *keys[64];
    size_t n = 0;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)v, key, member) {
        if (n < ARRAY_LEN(keys))
            keys[n++] = key;
    }
    while (n-- > 0)
        json_object_set(out, keys[n], json_object_get(v, keys[n]));
    return out;
}

static void check_digest(const json_t *v) {
    uint8_t a[SHA256_BYTES], b[SHA256_BYTES];
    muga_error err;
    json_t *clone = json_clone(v);
    json_t *other = json_is_object(v) && json_object_size(v) <= 64 ? reversed(v) : json_incref(clone);
    fuzz_need(clone && json_equal(clone, (json_t *)(uintptr_t)v));
    fuzz_need(json_digest(v, a, &err) == MUGA_OK && json_digest(other, b, &err) == MUGA_OK);
    fuzz_need(memcmp(a, b, sizeof a) == 0);
    json_decref(clone);
    json_decref(other);
}

/* An array's values two by two: one form if and only if they are the same value. */
static void check_forms_apart(const json_t *v) {
    size_t n = json_is_array(v) ? MIN(json_array_size(v), 16) : 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            const json_t *x = json_array_get(v, i), *y = json_array_get(v, k);
            str form_x = STR_INIT, form_y = STR_INIT;
            json_write_canonical(x, &form_x);
            json_write_canonical(y, &form_y);
            bool one = form_x.len == form_y.len && memcmp(str_get(&form_x), str_get(&form_y), form_x.len) == 0;
            fuzz_need(one == same_value(x, y));
            str_release(&form_x);
            str_release(&form_y);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *v = NULL;
    muga_error err = {0};
    char *text = fuzz_copy(data, size);
    muga_status st = json_parse(text, size, "input", &v, &err);
    free(text);
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_INPUT, &err);
        fuzz_need(!v && strncmp(err.message, "input: line ", 12) == 0 && strstr(err.message, " column "));
        return 0;
    }
    check_form(v, json_write);
    check_form(v, json_write_canonical);
    check_digest(v);
    check_forms_apart(v);
    json_decref(v);
    return 0;
}
