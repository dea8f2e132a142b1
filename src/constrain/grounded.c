/* Grounded values: which parts of a text could be the value. Owns nothing. Refuses: more than GROUNDED_MAX_VALUES.
 *
 * Idea: a value stands between non-alphanumerics, so it can begin only where a word may begin; from each such place
 * the automaton of the whole value runs until it dies, and wherever it accepts at the end of a word is a value. A
 * number is read as long as it goes (sign, point and thousands' separators included) and counts only if the whole of
 * it is JSON: the 3 of 3.14 and the 1 of 1,000 are not numbers that anybody wrote. */
#include "constrain/grounded.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "constrain/front.h"

#include <utf8proc.h>

static bool alphanumeric(uint32_t cp) {
    if (cp < 0x80)
        return (cp >= '0' && cp <= '9') || ((cp | 32) >= 'a' && (cp | 32) <= 'z');
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NO; /* letters, marks, numbers */
}

/* The character before, or at, a byte offset is alphanumeric. Ill-formed bytes are not. */
static bool alphanumeric_at(span t, size_t at) {
    uint32_t cp;
    return utf8_decode(t.p + at, t.n - at, &cp) > 0 && alphanumeric(cp);
}

static bool alphanumeric_before(span t, size_t at) {
    for (size_t k = 1; k <= 4 && k <= at; k++) {
        uint32_t cp;
        if (((uint8_t)t.p[at - k] & 0xC0) != 0x80)
            return utf8_decode(t.p + at - k, k, &cp) == k && alphanumeric(cp);
    }
    return false;
}

static bool is_character_start(span t, size_t at) {
    return at >= t.n || ((uint8_t)t.p[at] & 0xC0) != 0x80;
}

static muga_status add_value(json_t *out, json_t *value, muga_error *err) {
    if (!value)
        return error_nomem(err, "a grounded value");
    bool have = false;
    for (size_t i = 0; i < json_array_size(out) && !have; i++)
        have = json_equal(json_array_get(out, i), value);
    if (have || json_array_size(out) < GROUNDED_MAX_VALUES) {
        if (!have && json_array_append(out, value) != 0) {
            json_decref(value);
            return error_nomem(err, "a grounded value");
        }
        json_decref(value);
        return MUGA_OK;
    }
    json_decref(value);
    return error_set(err, MUGA_E_LIMIT, "grounded: more than %d values occur in the texts; narrow the pattern",
                     GROUNDED_MAX_VALUES);
}

/* ---- strings ---- */

static muga_status find_strings(const dfa *d, span t, uint64_t *work, json_t *out, muga_error *err) {
    for (size_t i = 0; i < t.n && d->start != DFA_DEAD; i++) {
        if (!is_character_start(t, i) || alphanumeric_before(t, i))
            continue;
        uint32_t at = d->start;
        for (size_t k = i; k < t.n && k - i < GROUNDED_MAX_BYTES; k++) {
            at = d->next[(size_t)at * d->n_classes + d->class_of[(uint8_t)t.p[k]]];
            if (*work == 0)
                return error_set(err, MUGA_E_LIMIT, "grounded: the pattern fits too much of the texts; narrow it");
            --*work;
            if (at == DFA_DEAD)
                break;
            if (!d->accept[at] || !is_character_start(t, k + 1) || (k + 1 < t.n && alphanumeric_at(t, k + 1)))
                continue;
            muga_status st = add_value(out, json_stringn(t.p + i, k + 1 - i), err);
            if (st != MUGA_OK)
                return st;
        }
    }
    return MUGA_OK;
}

/* ---- words of an enum ---- */

static muga_status find_words(const json_t *words, span t, uint64_t *work, json_t *out, muga_error *err) {
    for (size_t w = 0; w < json_array_size(words); w++) {
        const json_t *v = json_array_get(words, w);
        str text = STR_INIT;
        if (json_is_string(v))
            str_append(&text, json_string_value(v), json_string_length(v));
        else
            json_write(v, &text);
        bool found = false;
        size_t n = text.len;
        if (*work < t.n + 1 || text.failed) {
            muga_status st = text.failed ? error_nomem(err, "a grounded value")
                                         : error_set(err, MUGA_E_LIMIT, "grounded: too many values and too much text");
            str_release(&text);
            return st;
        }
        *work -= t.n + 1;
        for (size_t i = 0; n > 0 && i + n <= t.n && !found; i++) {
            const char *hit = memchr(t.p + i, text.data[0], t.n - n - i + 1);
            if (!hit)
                break;
            i = (size_t)(hit - t.p);
            found = memcmp(hit, text.data, n) == 0 && !alphanumeric_before(t, i) &&
                    (i + n == t.n || !alphanumeric_at(t, i + n));
        }
        str_release(&text);
        muga_status st = found ? add_value(out, json_incref((json_t *)(uintptr_t)v), err) : MUGA_OK;
        if (st != MUGA_OK)
            return st;
    }
    return MUGA_OK;
}

/* ---- numbers ---- */

static bool digit_at(span t, size_t i) {
    return i < t.n && t.p[i] >= '0' && t.p[i] <= '9';
}

/* The end of everything at i that is written like one number: digits, points and commas between digits. */
static size_t number_end(span t, size_t i, size_t *n_marks, size_t *mark) {
    *n_marks = 0;
    *mark = 0;
    for (; i < t.n; i++) {
        bool between = (t.p[i] == '.' || t.p[i] == ',') && digit_at(t, i + 1) && i > 0 && digit_at(t, i - 1);
        if (between) {
            ++*n_marks;
            *mark = i;
        }
        if (!between && !digit_at(t, i))
            break;
    }
    return i;
}

static bool thousands(span t, size_t mark, size_t end) { /* "," and groups of three digits: 1,000 and not 7,12 */
    return t.p[mark] == ',' && end - mark == 4;
}

static muga_status find_numbers(const grounded_query *q, span t, json_t *out, muga_error *err) {
    for (size_t i = 0; i < t.n; i++) {
        if (!digit_at(t, i) || (i > 0 && (digit_at(t, i - 1) || alphanumeric_before(t, i))))
            continue;
        size_t n_marks, mark, end = number_end(t, i, &n_marks, &mark), first = i;
        bool sign = i > 0 && t.p[i - 1] == '-' && !alphanumeric_before(t, i - 1);
        bool list = n_marks > 0 && t.p[mark] == ',' && !thousands(t, mark, end);
        if (list) { /* 7,12: the comma separates; read up to it, and the rest in its turn */
            end = i;
            while (digit_at(t, end))
                end++;
            n_marks = 0;
            if (t.p[end] == '.') {
                i = end;
                continue;
            }
        }
        bool fraction = n_marks == 1 && t.p[mark] == '.';
        bool whole = n_marks == 0;
        bool leading_zero = t.p[first] == '0' && digit_at(t, first + 1);
        bool bounded = end >= t.n || !alphanumeric_at(t, end);
        if ((whole || fraction) && !leading_zero && bounded && end - first <= 18 &&
            (fraction ? q->fractions : q->integers || q->fractions)) {
            char text[32];
            json_t *v = NULL;
            snprintf(text, sizeof text, "%s%.*s", sign ? "-" : "", (int)(end - first), t.p + first);
            muga_status st = json_parse(text, strlen(text), "number", &v, err);
            if (st == MUGA_OK)
                st = add_value(out, v, err);
            if (st != MUGA_OK)
                return st;
        }
        i = end > i ? end - 1 : i;
    }
    return MUGA_OK;
}

muga_status grounded_find(const grounded_query *q, const constrain_source *source, uint64_t *work, json_t *out,
                          muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < source->n_texts && st == MUGA_OK; i++) {
        span t = source->texts[i];
        if (q->words) {
            st = find_words(q->words, t, work, out, err);
            continue;
        }
        if (q->text)
            st = find_strings(q->text, t, work, out, err);
        if (st == MUGA_OK && (q->integers || q->fractions))
            st = find_numbers(q, t, out, err);
    }
    return st;
}
