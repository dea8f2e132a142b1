/* Exact decimal view of JSON numbers. Owns nothing. Refuses nothing.
 * Idea: what json_write writes of a number, all digits of a whole one and the shortest of another; comparing and
 * dividing those gives the answer a person expects of 0.07 and 0.01, on every machine. */
#include "constrain/number.h"

#include "base/mem.h"

void decimal_from_json(const json_t *v, decimal *out) {
    char text[400];
    str s = STR_INIT;
    memset(out, 0, sizeof *out);
    json_write(v, &s);
    snprintf(text, sizeof text, "%s", str_get(&s));
    str_release(&s);
    const char *p = text;
    out->negative = *p == '-';
    p += out->negative;
    bool point = false;
    for (; *p && *p != 'e'; p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        out->exponent -= point;
        if (out->n == 0 && *p == '0')
            continue;
        if (out->n < (int)sizeof out->digits)
            out->digits[out->n++] = *p;
        else
            out->exponent++; /* only zeros stand so far out in a shortest decimal */
    }
    if (*p == 'e')
        out->exponent += atoi(p + 1);
    while (out->n > 0 && out->digits[out->n - 1] == '0')
        out->n--, out->exponent++;
    if (out->n == 0)
        out->exponent = 0, out->negative = false;
}

int number_compare(const json_t *a, const json_t *b) {
    if (json_is_integer(a) && json_is_integer(b)) {
        json_int_t x = json_integer_value(a), y = json_integer_value(b);
        return x < y ? -1 : x > y;
    }
    if (json_is_real(a) && json_is_real(b)) {
        double x = json_real_value(a), y = json_real_value(b);
        return x < y ? -1 : x > y;
    }
    decimal x, y;
    decimal_from_json(a, &x);
    decimal_from_json(b, &y);
    if (x.n == 0 || y.n == 0 || x.negative != y.negative) {
        int sx = x.n == 0 ? 0 : x.negative ? -1 : 1, sy = y.n == 0 ? 0 : y.negative ? -1 : 1;
        return sx - sy;
    }
    int flip = x.negative ? -1 : 1;
    int mx = x.n + x.exponent, my = y.n + y.exponent;
    if (mx != my)
        return mx < my ? -flip : flip;
    for (int i = 0; i < MAX(x.n, y.n); i++) {
        int dx = i < x.n ? x.digits[i] : '0', dy = i < y.n ? y.digits[i] : '0';
        if (dx != dy)
            return dx < dy ? -flip : flip;
    }
    return 0;
}

bool number_is_integer(const json_t *v) {
    decimal d;
    if (json_is_integer(v))
        return true;
    decimal_from_json(v, &d);
    return d.exponent >= 0;
}

static unsigned __int128 digits_value(const decimal *d) {
    unsigned __int128 x = 0;
    for (int i = 0; i < d->n; i++)
        x = x * 10 + (unsigned)(d->digits[i] - '0');
    return x;
}

/* a*10^ea is a multiple of b*10^eb: with ea >= eb, a * 10^(ea-eb) mod b; otherwise b * 10^(eb-ea) must divide a, which
 * has no zero at its end, so only a small power can. */
bool number_is_multiple(const json_t *v, const json_t *of) {
    decimal a, b;
    decimal_from_json(v, &a);
    decimal_from_json(of, &b);
    if (a.n == 0)
        return true;
    if (b.n == 0 || a.exponent < b.exponent)
        return false;
    unsigned __int128 m = digits_value(&b), r = digits_value(&a) % m;
    for (int i = a.exponent - b.exponent; i > 0 && r; i--)
        r = r * 10 % m;
    return r == 0;
}

bool json_same_within(const json_t *a, const json_t *b, uint64_t *work) {
    if (*work == 0)
        return false;
    --*work;
    if (json_is_number(a) && json_is_number(b))
        return number_compare(a, b) == 0;
    if (json_typeof(a) != json_typeof(b))
        return false;
    switch (json_typeof(a)) {
    case JSON_STRING:
        return json_string_length(a) == json_string_length(b) &&
               memcmp(json_string_value(a), json_string_value(b), json_string_length(a)) == 0;
    case JSON_ARRAY:
        if (json_array_size(a) != json_array_size(b))
            return false;
        for (size_t i = 0; i < json_array_size(a); i++)
            if (!json_same_within(json_array_get(a, i), json_array_get(b, i), work))
                return false;
        return true;
    case JSON_OBJECT:
        if (json_object_size(a) != json_object_size(b))
            return false;
        for (void *it = json_object_iter(json_borrow(a)); it; it = json_object_iter_next(json_borrow(a), it)) {
            const json_t *other = json_object_getn(b, json_object_iter_key(it), json_object_iter_key_len(it));
            if (!other || !json_same_within(json_object_iter_value(it), other, work))
                return false;
        }
        return true;
    default: return true; /* null, true, false */
    }
}

bool json_same(const json_t *a, const json_t *b) {
    uint64_t unlimited = UINT64_MAX;
    return json_same_within(a, b, &unlimited);
}
