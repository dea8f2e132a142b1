/* Parameters of a stored model: Ollama's names, what each may be, and what is done with those that mean nothing here.
 * Refused are unknown names, values out of range, and values that ask for a sampler that muga doesn't have. */
#include "hub/internal.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "hub/modelfile.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <strings.h>

#define MAX_STOP_BYTES 1024

typedef enum { WHOLE, NUMBER, SWITCH, TEXTS } value_kind;

typedef struct parameter {
    const char *name;
    value_kind kind;
    double min, max;
    bool above;       /* min itself isn't in the range */
    const char *only; /* where there is no choice: what the one value means */
} parameter;

#define INT_MOST 2147483647.0

static const parameter parameters[] = {
    {"temperature", NUMBER, 0, 100, false, NULL},
    {"top_p", NUMBER, 0, 1, false, NULL},
    {"top_k", WHOLE, 0, INT_MOST, false, NULL},
    {"min_p", NUMBER, 0, 1, false, NULL},
    {"typical_p", NUMBER, 0, 1, false, NULL},
    {"repeat_penalty", NUMBER, 0, 100, true, NULL},
    {"repeat_last_n", WHOLE, -1, INT_MOST, false, NULL},
    {"presence_penalty", NUMBER, -2, 2, false, NULL},
    {"frequency_penalty", NUMBER, -2, 2, false, NULL},
    {"seed", WHOLE, -9223372036854775808.0, 9223372036854775807.0, false, NULL},
    {"num_ctx", WHOLE, 1, INT_MOST, false, NULL},
    {"num_predict", WHOLE, -2, INT_MOST, false, NULL},
    {"stop", TEXTS, 0, 0, false, NULL},
    /* samplers that aren't here: off, or refused */
    {"tfs_z", NUMBER, 1, 1, false, "1, which is off"},
    {"mirostat", WHOLE, 0, 0, false, "0, which is off"},
    {"mirostat_eta", NUMBER, 0, 100, false, NULL},
    {"mirostat_tau", NUMBER, 0, 100, false, NULL},
    {"penalize_newline", SWITCH, 1, 1, false, "true"},
    /* how a model is run, which changes no answer */
    {"num_keep", WHOLE, -1, INT_MOST, false, NULL},
    {"num_batch", WHOLE, 1, INT_MOST, false, NULL},
    {"num_gpu", WHOLE, -1, INT_MOST, false, NULL},
    {"main_gpu", WHOLE, 0, INT_MOST, false, NULL},
    {"num_thread", WHOLE, 0, 1024, false, NULL},
    {"draft_num_predict", WHOLE, 0, INT_MOST, false, NULL},
    {"use_mmap", SWITCH, 0, 1, false, NULL},
    {"use_mlock", SWITCH, 0, 1, false, NULL},
    {"numa", SWITCH, 0, 1, false, NULL},
    {"low_vram", SWITCH, 0, 1, false, NULL},
    {"f16_kv", SWITCH, 1, 1, false, "true"},
    {"vocab_only", SWITCH, 0, 0, false, "false"},
};

/* ---- names ---- */

/* How many letters must be put in, left out or changed (Wagner and Fischer 1974); a is at most 63 bytes. */
static size_t distance(const char *a, const char *b) {
    size_t row[64], n = strlen(a), m = strlen(b);
    for (size_t i = 0; i <= n; i++)
        row[i] = i;
    for (size_t j = 1; j <= m; j++) {
        size_t diagonal = row[0];
        row[0] = j;
        for (size_t i = 1; i <= n; i++) {
            size_t above = row[i], change = diagonal + (a[i - 1] != b[j - 1]);
            row[i] = MIN(MIN(above, row[i - 1]) + 1, change);
            diagonal = above;
        }
    }
    return row[n];
}

static const parameter *nearest(const char *name, size_t *far) {
    const parameter *best = &parameters[0];
    *far = SIZE_MAX;
    if (strlen(name) > 63)
        return best;
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        size_t d = distance(name, parameters[i].name);
        if (d < *far) {
            *far = d;
            best = &parameters[i];
        }
    }
    return best;
}

static muga_status find(const char *name, const parameter **out, muga_error *err) {
    size_t far;
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++)
        if (!strcmp(parameters[i].name, name)) {
            *out = &parameters[i];
            return MUGA_OK;
        }
    const parameter *near = nearest(name, &far);
    if (far <= 3)
        return error_set(err, MUGA_E_INPUT, "there is no parameter '%.40s'; is it %s?", name, near->name);
    return error_set(err, MUGA_E_INPUT,
                     "there is no parameter '%.40s'; there are temperature, top_p, top_k, min_p, repeat_penalty, seed, "
                     "num_ctx, num_predict, stop (docs/modelfile.md has all)",
                     name);
}

/* ---- values ---- */

static muga_status out_of_range(const parameter *p, muga_error *err) {
    if (p->only)
        return error_set(err, MUGA_E_INPUT, "%s: muga has only %s", p->name, p->only);
    if (p->kind == SWITCH)
        return error_set(err, MUGA_E_INPUT, "%s is true or false", p->name);
    if (p->kind == TEXTS)
        return error_set(err, MUGA_E_INPUT,
                         "stop is a text of 1 to %d bytes, or a list of at most %d such texts, without a byte 0",
                         MAX_STOP_BYTES, MODELFILE_MAX_STOPS);
    if (p->min < -INT_MOST * 2)
        return error_set(err, MUGA_E_INPUT, "%s is a whole number of 64 bits", p->name);
    return error_set(err, MUGA_E_INPUT, "%s is a %snumber %s %.10g, at most %.10g", p->name,
                     p->kind == WHOLE ? "whole " : "", p->above ? "above" : "from", p->min, p->max);
}

static bool is_stop(const json_t *v) {
    size_t n = json_string_length(v);
    return json_is_string(v) && n > 0 && n <= MAX_STOP_BYTES && !memchr(json_string_value(v), 0, n);
}

static bool are_stops(const json_t *v) {
    size_t i;
    json_t *one;
    if (!json_is_array(v))
        return is_stop(v);
    json_array_foreach(v, i, one) {
        if (!is_stop(one))
            return false;
    }
    return json_array_size(v) <= MODELFILE_MAX_STOPS;
}

static bool fits(const parameter *p, const json_t *v) {
    double number = json_number_value(v);
    switch (p->kind) {
    case TEXTS: return are_stops(v);
    case SWITCH: return json_is_boolean(v) && (!p->only || json_is_true(v) == (p->min > 0));
    case WHOLE:
        if (!json_is_integer(v) && !(json_is_real(v) && floor(number) == number && fabs(number) < 9e15))
            return false;
        break;
    case NUMBER:
        if (!json_is_number(v) || !isfinite(number))
            return false;
        break;
    }
    return (p->above ? number > p->min : number >= p->min) && number <= p->max;
}

muga_status hub_parameter_check(const char *name, const json_t *value, muga_error *err) {
    const parameter *p = NULL;
    muga_status st = find(name, &p, err);
    return st || fits(p, value) ? st : out_of_range(p, err);
}

static bool read_whole(const char *text, long long *out) {
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return text[strspn(text, "+-0123456789")] == 0 && !errno && end != text && !*end;
}

static bool read_number(const char *text, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    bool plain = text[strspn(text, "+-.0123456789eE")] == 0; /* no hex, no infinity, no white space */
    return plain && !errno && end != text && !*end;
}

muga_status hub_parameter_parse(const char *name, const char *text, json_t **out, muga_error *err) {
    const parameter *p = NULL;
    long long whole = 0;
    double number = 0;
    bool is_true = !strcasecmp(text, "true"), good = false;
    *out = NULL;
    muga_status st = find(name, &p, err);
    if (st)
        return st;
    switch (p->kind) {
    case WHOLE: good = read_whole(text, &whole); break;
    case NUMBER: good = read_number(text, &number); break;
    case SWITCH: good = is_true || !strcasecmp(text, "false"); break;
    case TEXTS: good = utf8_valid(text, strlen(text)); break;
    }
    if (!good)
        return out_of_range(p, err);
    *out = p->kind == WHOLE    ? json_integer(whole)
           : p->kind == NUMBER ? json_real(number)
           : p->kind == SWITCH ? json_boolean(is_true)
                               : json_string(text);
    if (!*out)
        return error_nomem(err, "a parameter");
    if (fits(p, *out))
        return MUGA_OK;
    json_decref(*out);
    *out = NULL;
    return out_of_range(p, err);
}

void hub_parameters_write(const json_t *all, str *out) {
    const char *name;
    json_t *v, *one;
    size_t i;
    json_object_foreach(json_borrow(all), name, v) {
        if (!json_is_array(v)) {
            str_printf(out, "%-30s ", name);
            json_write(v, out);
            str_append_c(out, '\n');
        }
        json_array_foreach(v, i, one) {
            str_printf(out, "%-30s ", name);
            json_write(one, out);
            str_append_c(out, '\n');
        }
    }
}
