/* Values of settings: reading what variables, flags and the file say, and showing them as people write them. Refuses by
 * saying what it should be; whose value it is says the caller. */
#include "serve/config_private.h"

#include "agent/check.h"
#include "base/utf8.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static const config_setting model_settings[] = {
    {"context", NULL, NULL, CONFIG_COUNT, NULL, 0, 16777216, NULL, "context in tokens; 0: the model's own", true},
    {"threads", NULL, NULL, CONFIG_COUNT, NULL, 0, 1024, NULL, "0: cores this process may use", true},
    {"kv", NULL, NULL, CONFIG_CHOICE, NULL, 0, 0, "f16 f32 q8", "how keys and values are kept", true},
    {"exact", NULL, NULL, CONFIG_BOOL, NULL, 0, 0, NULL, "activations in f32 instead of int8", true},
    {"drafts", NULL, NULL, CONFIG_CHOICE, NULL, 0, 0, "ngram off", "guesses at the next tokens", true},
    {"keep_alive", NULL, NULL, CONFIG_TIME, NULL, -1, 3650 * 86400.0, NULL, "after its last use; 0, or forever", true},
    {"adapter", NULL, NULL, CONFIG_TEXT, NULL, 0, 0, NULL, "a LoRA adapter: FILE, or FILE:SCALE", true}};

const config_setting *config_model_settings(size_t *n) {
    *n = ARRAY_LEN(model_settings);
    return model_settings;
}

/* ---- units ---- */

static const struct {
    const char *name;
    int64_t ms;
} times[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

static const struct {
    const char *name;
    int shift;
} sizes[] = {{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}};

/* Digits with at most `decimals` behind a point, in units of 10^-decimals. false: not that, or past 15 digits. */
static bool read_decimal(const char **p, int decimals, int64_t *out) {
    int n_digits = 0, n_behind = -1;
    *out = 0;
    for (;; (*p)++) {
        if (**p == '.' && n_behind < 0 && decimals > 0 && n_digits > 0 && isdigit((unsigned char)(*p)[1])) {
            n_behind = 0;
            continue;
        }
        if (!isdigit((unsigned char)**p))
            break;
        if (++n_digits > 15 || n_behind == decimals)
            return false;
        *out = *out * 10 + (**p - '0');
        n_behind += n_behind >= 0;
    }
    for (int i = n_behind < 0 ? 0 : n_behind; i < decimals; i++)
        if (__builtin_mul_overflow(*out, 10, out))
            return false;
    return n_digits > 0;
}

/* "30", "1.5s", "1h30m", "-1", "forever" -> ms. */
static bool read_time(const char *text, int64_t *out) {
    int64_t total = 0;
    const char *p = text;
    if (!strcmp(text, "forever") || !strcmp(text, "-1")) {
        *out = -1;
        return true;
    }
    while (*p) {
        int64_t thousandths, ms = 0;
        size_t unit = 1; /* seconds, where it says nothing */
        if (!read_decimal(&p, 3, &thousandths))
            return false;
        size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz");
        if (n || p[0])
            for (unit = 0; unit < ARRAY_LEN(times); unit++)
                if (strlen(times[unit].name) == n && !memcmp(times[unit].name, p, n))
                    break;
        if (unit == ARRAY_LEN(times) || __builtin_mul_overflow(thousandths, times[unit].ms, &ms) ||
            __builtin_add_overflow(total, ms / 1000, &total))
            return false;
        p += n;
    }
    *out = total;
    return p > text;
}

/* "1048576", "1 MiB", "32MB": a K is 1024, with or without its i. */
static bool read_size(const char *text, int64_t *out) {
    const char *p = text;
    int shift = 0;
    if (!read_decimal(&p, 0, out))
        return false;
    p += *p == ' ';
    if (*p) {
        const char *letter = strchr("BKMGT", toupper((unsigned char)*p));
        shift = letter ? (int)(letter - "BKMGT") * 10 : 0;
        if (!letter)
            return false;
        p++;
        if (shift) {
            p += *p == 'i';
            p += *p == 'B' || *p == 'b';
        }
    }
    return !*p && !__builtin_mul_overflow(*out, (int64_t)1 << shift, out);
}

/* ---- what should be there ---- */

static muga_status refuse(config_why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static muga_status refuse(config_why *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    return MUGA_E_INPUT;
}

static muga_status give(json_t *v, json_t **out, config_why *why) {
    *out = v;
    snprintf(why->text, sizeof why->text, "out of memory");
    return v ? MUGA_OK : MUGA_E_NOMEM;
}

static void show_size(int64_t n, char out[32]) {
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(sizes) && (n == 0 || n % ((int64_t)1 << sizes[i].shift)))
        i++;
    snprintf(out, 32, "%" PRId64 "%s", n >> sizes[i].shift, n ? sizes[i].name : "");
}

static void show_time(int64_t ms, char out[32]) {
    size_t i = ARRAY_LEN(times) - 2; /* hours at most: "24h" */
    while (i > 0 && (ms == 0 || ms % times[i].ms))
        i--;
    if (ms < 0)
        snprintf(out, 32, "forever");
    else
        snprintf(out, 32, "%" PRId64 "%s", ms / times[i].ms, ms ? times[i].name : "s");
}

static muga_status give_number(const config_setting *s, int64_t n, json_t **out, config_why *why) {
    double size = s->kind == CONFIG_TIME && n > 0 ? (double)n / 1000 : (double)n;
    char low[32], high[32];
    if (size >= s->min && size <= s->max)
        return give(json_integer(n), out, why);
    if (s->kind == CONFIG_TIME) {
        show_time(s->min < 0 ? 0 : (int64_t)llround(s->min * 1000), low);
        show_time((int64_t)llround(s->max * 1000), high);
    } else if (s->kind == CONFIG_BYTES) {
        show_size((int64_t)s->min, low);
        show_size((int64_t)s->max, high);
    } else {
        snprintf(low, sizeof low, "%.0f", s->min);
        snprintf(high, sizeof high, "%.0f", s->max);
    }
    return refuse(why, "is out of range; must be %s to %s%s", low, high, s->min < 0 ? ", or forever" : "");
}

static muga_status read_bool(const char *text, json_t **out, config_why *why) {
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (!strcmp(text, words[i]))
            return give(json_boolean(i % 2), out, why);
    return refuse(why, "must be true or false, not '%.40s'", text);
}

static muga_status read_choice(const config_setting *s, const char *text, json_t **out, config_why *why) {
    size_t n = strlen(text);
    for (const char *p = s->choices; *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (len == n && !memcmp(p, text, n))
            return give(json_string(text), out, why);
        p += len;
    }
    return refuse(why, "must be one of %s, not '%.40s'", s->choices, text);
}

static muga_status check_text(const char *text, size_t n, size_t max, config_why *why) {
    if (n == 0 || n > max)
        return refuse(why, "must have 1 to %zu bytes, not %zu", max, n);
    if (!utf8_valid(text, n))
        return refuse(why, "is not UTF-8");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return refuse(why, "has a control character in it");
    return MUGA_OK;
}

/* ---- lists ---- */

static muga_status add_text(json_t *list, const char *text, size_t n, config_why *why) {
    muga_status st = check_text(text, n, CONFIG_MAX_TEXT, why);
    if (st)
        return st;
    if (json_array_size(list) == CONFIG_MAX_TEXTS)
        return refuse(why, "has more than %u entries", CONFIG_MAX_TEXTS);
    return json_array_append_new(list, json_stringn(text, n)) ? give(NULL, &(json_t *){NULL}, why) : MUGA_OK;
}

static muga_status add_alias(json_t *map, const char *text, size_t n, config_why *why) {
    const char *equals = memchr(text, '=', n);
    size_t n_name = equals ? (size_t)(equals - text) : 0;
    char name[256];
    if (!equals || !n_name || n_name + 1 == n)
        return refuse(why, "must be NAME=MODEL, not '%.40s'", text);
    muga_status st = check_text(text, n_name, sizeof name - 1, why);
    if (!st)
        st = check_text(equals + 1, n - n_name - 1, sizeof name - 1, why);
    if (st)
        return st;
    memcpy(name, text, n_name);
    name[n_name] = '\0';
    if (json_object_size(map) == CONFIG_MAX_NAMES)
        return refuse(why, "has more than %u names", CONFIG_MAX_NAMES);
    json_t *model = json_stringn(equals + 1, n - n_name - 1);
    return json_object_set_new(map, name, model) ? give(NULL, &(json_t *){NULL}, why) : MUGA_OK;
}

/* "a,b , c"; "" is an empty list. */
static muga_status read_list(const config_setting *s, const char *text, json_t **out, config_why *why) {
    json_t *list = s->kind == CONFIG_TEXTS ? json_array() : json_object();
    muga_status st = list ? MUGA_OK : give(NULL, out, why);
    for (const char *p = text; !st && *p;) {
        p += strspn(p, " ");
        size_t n = strcspn(p, ","), kept = n;
        while (kept && p[kept - 1] == ' ')
            kept--;
        st = s->kind == CONFIG_TEXTS ? add_text(list, p, kept, why) : add_alias(list, p, kept, why);
        p += n;
        if (*p == ',' && !*++p && !st)
            st = refuse(why, "ends in a comma");
    }
    if (st)
        json_decref(list);
    *out = st ? NULL : list;
    return st;
}

/* ---- reading ---- */

muga_status config_read_text(const config_setting *s, const char *text, json_t **out, config_why *why) {
    int64_t n = 0;
    muga_status st;
    *out = NULL;
    switch (s->kind) {
    case CONFIG_TEXT:
        st = check_text(text, strlen(text), CONFIG_MAX_TEXT, why);
        return st ? st : give(json_string(text), out, why);
    case CONFIG_BOOL: return read_bool(text, out, why);
    case CONFIG_COUNT: {
        const char *p = text;
        if (!read_decimal(&p, 0, &n) || *p)
            return refuse(why, "must be a whole number, not '%.40s'", text);
        return give_number(s, n, out, why);
    }
    case CONFIG_BYTES:
        if (!read_size(text, &n))
            return refuse(why, "must be a number of bytes, or one like 32MiB; not '%.40s'", text);
        return give_number(s, n, out, why);
    case CONFIG_TIME:
        if (!read_time(text, &n))
            return refuse(why, "must be seconds, or like 500ms, 30s, 5m, 1h30m; not '%.40s'", text);
        return give_number(s, n, out, why);
    case CONFIG_CHOICE: return read_choice(s, text, out, why);
    case CONFIG_TEXTS:
    case CONFIG_ALIASES: return read_list(s, text, out, why);
    case CONFIG_MODELS: return refuse(why, "can be set in the file alone");
    }
    return MUGA_E_INPUT;
}

static muga_status read_real_seconds(const config_setting *s, double seconds, json_t **out, config_why *why) {
    if (seconds == -1)
        return give_number(s, -1, out, why);
    if (!(seconds >= 0 && seconds <= 1e12))
        return refuse(why, "must be seconds, not %g", seconds);
    return give_number(s, (int64_t)llround(seconds * 1000), out, why);
}

static muga_status read_texts(const json_t *v, json_t **out, config_why *why) {
    json_t *list = json_array(), *one;
    muga_status st = list ? MUGA_OK : give(NULL, out, why);
    size_t i;
    json_array_foreach(json_borrow(v), i, one)
        st = st ? st : add_text(list, json_string_value(one), json_string_length(one), why);
    if (st)
        json_decref(list);
    *out = st ? NULL : list;
    return st;
}

muga_status config_read_json(const config_setting *s, const json_t *v, json_t **out, config_why *why) {
    *out = NULL;
    if (json_is_string(v) && s->kind != CONFIG_TEXTS)
        return config_read_text(s, json_string_value(v), out, why);
    switch (s->kind) {
    case CONFIG_BOOL: return give(json_boolean(json_is_true(v)), out, why);
    case CONFIG_COUNT:
    case CONFIG_BYTES: return give_number(s, json_integer_value(v), out, why);
    case CONFIG_TIME: return read_real_seconds(s, json_number_value(v), out, why);
    case CONFIG_TEXTS:
        if (json_is_array(v))
            return read_texts(v, out, why);
        return read_list(s, json_string_value(v), out, why);
    case CONFIG_ALIASES: return give(json_clone(v), out, why);
    default: return refuse(why, "is not what it should be");
    }
}

/* ---- showing ---- */

static json_t *show_model(const json_t *v) {
    json_t *out = json_object();
    size_t n;
    const config_setting *rows = config_model_settings(&n);
    for (size_t i = 0; out && i < n; i++) {
        const json_t *member = json_object_get(v, rows[i].key);
        if (member && json_object_set_new(out, rows[i].key, config_show(&rows[i], member))) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

json_t *config_show(const config_setting *s, const json_t *v) {
    char text[32];
    if (!v)
        return json_null();
    if (s->kind == CONFIG_BYTES) {
        show_size(json_integer_value(v), text);
        return json_string(text);
    }
    if (s->kind == CONFIG_TIME) {
        show_time(json_integer_value(v), text);
        return json_string(text);
    }
    if (s->kind != CONFIG_MODELS)
        return json_clone(v);
    json_t *out = json_object(), *one;
    const char *name;
    json_object_foreach(json_borrow(v), name, one) {
        if (out && json_object_set_new(out, name, show_model(one))) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}
