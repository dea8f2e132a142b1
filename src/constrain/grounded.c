/* Grounded values: which parts of a text could be the value. Owns nothing. Refuses: more than GROUNDED_MAX_VALUES.
 *
 * Idea: a value stands between non-alphanumerics, so it can begin only where a word may begin; from each such place
 * the automaton of the whole value runs until it dies, and wherever it accepts at the end of a word is a value. A
 * number is read as long as it goes (sign, point and thousands' separators included) and counts only if the whole of
 * it is JSON: the 3 of 3.14, the 5 of .5 and the 1 of 1,000 are not numbers that anybody wrote. Where case or white
 * space make no difference, the same is done to the text rewritten, which remembers where each byte came from. */
#include "constrain/grounded.h"

#include "base/hash.h"
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

/* ---- what was found, once each ---- */

typedef struct finds {
    json_t *list;
    uint32_t *table, n_table; /* of list by hash: index + 1 */
    bool *seen;               /* [list]: only these are looked for; NULL: whatever there is */
    const json_t *wanted;     /* what is asked for its place, as it would be found; NULL: nothing */
    constrain_place *place;
    bool *placed;
    size_t i_text;        /* of the source */
    const uint32_t *came; /* where each byte of the text searched came from; NULL: from its own place */
    uint64_t *work;
    muga_error *err;
} finds;

static uint64_t value_hash(const json_t *v) {
    if (json_is_string(v))
        return hash64(json_string_value(v), json_string_length(v), 1);
    decimal d;
    decimal_from_json(v, &d);
    return hash64(d.digits, (size_t)d.n, (uint64_t)(d.exponent * 2 + d.negative) + 2);
}

static muga_status grow_finds(finds *f) {
    uint32_t n = 64;
    while (n / 2 <= json_array_size(f->list))
        n *= 2;
    uint32_t *t = mem_alloc_array(n, sizeof *t);
    if (!t)
        return error_nomem(f->err, "a grounded value");
    for (size_t i = 0; i < json_array_size(f->list); i++) {
        uint64_t h = value_hash(json_array_get(f->list, i));
        while (t[h & (n - 1)])
            h++;
        t[h & (n - 1)] = (uint32_t)i + 1;
    }
    free(f->table);
    f->table = t;
    f->n_table = n;
    return MUGA_OK;
}

/* The place of a string or number in the table. */
static uint32_t *find_slot(const finds *f, const json_t *v) {
    uint64_t h = value_hash(v);
    for (; f->table[h & (f->n_table - 1)]; h++)
        if (json_same(json_array_get(f->list, f->table[h & (f->n_table - 1)] - 1), v))
            break;
    return &f->table[h & (f->n_table - 1)];
}

/* Takes `value`, which stands at [from, to) of the text searched; NULL is out of memory. */
static muga_status add_value(finds *f, json_t *value, size_t from, size_t to) {
    size_t n = json_array_size(f->list);
    muga_status st = MUGA_OK;
    if (!value)
        return error_nomem(f->err, "a grounded value");
    if (f->wanted && !*f->placed && json_same(f->wanted, value)) {
        f->place->text = f->i_text;
        f->place->from = f->came ? f->came[from] : from;
        f->place->to = f->came ? f->came[to] : to;
        *f->placed = true;
    }
    if (n * 2 >= f->n_table && !f->seen)
        st = grow_finds(f);
    uint32_t *slot = st == MUGA_OK ? find_slot(f, value) : NULL;
    if (f->seen) {
        if (*slot)
            f->seen[*slot - 1] = true;
    } else if (slot && !*slot && n == GROUNDED_MAX_VALUES)
        st = error_set(f->err, MUGA_E_LIMIT, "grounded: more than %d values occur in the texts; narrow the pattern",
                       GROUNDED_MAX_VALUES);
    else if (slot && !*slot && json_array_append(f->list, value) != 0)
        st = error_nomem(f->err, "a grounded value");
    else if (slot && !*slot)
        *slot = (uint32_t)n + 1;
    json_decref(value);
    return st;
}

/* ---- strings ---- */

static muga_status find_strings(const dfa *d, span t, finds *f) {
    for (size_t i = 0; i < t.n && d->start != DFA_DEAD; i++) {
        if (!is_character_start(t, i) || alphanumeric_before(t, i))
            continue;
        uint32_t at = d->start;
        for (size_t k = i; k < t.n && k - i < GROUNDED_MAX_BYTES; k++) {
            at = d->next[(size_t)at * d->n_classes + d->class_of[(uint8_t)t.p[k]]];
            if (*f->work == 0)
                return error_set(f->err, MUGA_E_LIMIT, "grounded: the pattern fits too much of the texts; narrow it");
            --*f->work;
            if (at == DFA_DEAD)
                break;
            if (!d->accept[at] || !is_character_start(t, k + 1) || (k + 1 < t.n && alphanumeric_at(t, k + 1)))
                continue;
            muga_status st = add_value(f, json_stringn(t.p + i, k + 1 - i), i, k + 1);
            if (st != MUGA_OK)
                return st;
        }
    }
    return MUGA_OK;
}

/* ---- text in which case or white space make no difference ---- */

typedef struct folded {
    str text;
    uint32_t *came; /* [text.len + 1] where each byte came from */
} folded;
typedef enum { AS_IT_IS, SMALL, CAPITAL } letters;

static void folded_release(folded *x) {
    str_release(&x->text);
    free(x->came);
}

static bool is_space(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return (cp >= 9 && cp <= 13) || (c >= UTF8PROC_CATEGORY_ZS && c <= UTF8PROC_CATEGORY_ZP);
}

/* `space`: a run of white space becomes one space. */
static muga_status fold_text(span t, letters to, bool space, folded *out, muga_error *err) {
    *out = (folded){.came = mem_alloc_array(4 * t.n + 1, sizeof *out->came)}; /* no case takes more bytes */
    bool ok = out->came && t.n < UINT32_MAX / 4, was_space = false;
    for (size_t i = 0, n; ok && i < t.n; i += n) {
        char bytes[4];
        uint32_t cp;
        n = utf8_decode(t.p + i, t.n - i, &cp);
        bool whole = n > 0, white = whole && space && is_space(cp);
        n = whole ? n : 1;
        if (whole && to != AS_IT_IS)
            cp = (uint32_t)(to == SMALL ? utf8proc_tolower((utf8proc_int32_t)cp)
                                        : utf8proc_toupper((utf8proc_int32_t)cp));
        size_t n_bytes = whole ? utf8_encode(white ? ' ' : cp, bytes) : 1;
        for (size_t k = 0; k < n_bytes && !(white && was_space); k++)
            out->came[out->text.len + k] = (uint32_t)i;
        if (!(white && was_space))
            str_append(&out->text, whole ? bytes : t.p + i, n_bytes);
        was_space = white;
    }
    if (ok)
        out->came[out->text.len] = (uint32_t)t.n;
    if (ok && !out->text.failed)
        return MUGA_OK;
    folded_release(out);
    return error_nomem(err, "a grounded value");
}

/* The strings of d in a text, as it is and as the folds make it. */
static muga_status find_folded(const dfa *d, span t, unsigned fold, bool words, finds *f) {
    muga_status st = words && fold ? MUGA_OK : find_strings(d, t, f);
    for (int to = AS_IT_IS; to <= CAPITAL && st == MUGA_OK && fold; to++) {
        folded x;
        bool space = fold & GROUNDED_FOLD_SPACE, cases = fold & GROUNDED_FOLD_CASE;
        if (words ? to != (cases ? SMALL : AS_IT_IS) : to == AS_IT_IS ? !space : !cases)
            continue;
        st = fold_text(t, (letters)to, space, &x, f->err);
        if (st != MUGA_OK)
            return st;
        f->came = x.came;
        st = find_strings(d, span_of(str_get(&x.text), x.text.len), f);
        f->came = NULL;
        folded_release(&x);
    }
    return st;
}

/* ---- numbers ---- */

static bool digit_at(span t, size_t i) {
    return i < t.n && t.p[i] >= '0' && t.p[i] <= '9';
}

/* Bytes of a mark that groups thousands: an apostrophe, or a space that doesn't break. 0: none there. */
static size_t group_mark(span t, size_t i) {
    static const char *const marks[] = {"'", "\xE2\x80\x99", "\xC2\xA0", "\xE2\x80\xAF", "\xE2\x80\x89"};
    for (size_t k = 0; k < ARRAY_LEN(marks); k++) {
        size_t n = strlen(marks[k]);
        if (t.n - i >= n && memcmp(t.p + i, marks[k], n) == 0)
            return n;
    }
    return 0;
}

/* The end of everything at i that is written like one number: digits; points and commas between digits; marks between
 * groups of three. */
static size_t number_end(span t, size_t i, size_t *n_marks, size_t *mark) {
    *n_marks = 0;
    *mark = 0;
    for (; i < t.n; i++) {
        size_t group = i > 0 && digit_at(t, i - 1) ? group_mark(t, i) : 0;
        if (group && digit_at(t, i + group) && digit_at(t, i + group + 1) && digit_at(t, i + group + 2) &&
            !digit_at(t, i + group + 3)) {
            *n_marks += 2; /* a number, but not written as JSON has it */
            i += group - 1;
            continue;
        }
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

/* A minus, ASCII's or Unicode's, directly before i, that doesn't hang on a word: "-5", but not "A-5". */
static bool minus_before(span t, size_t i) {
    if (i > 0 && t.p[i - 1] == '-')
        return !alphanumeric_before(t, i - 1);
    return i > 2 && memcmp(t.p + i - 3, "\xE2\x88\x92", 3) == 0 && !alphanumeric_before(t, i - 3);
}

/* ".5" is half, and no five. */
static bool point_before(span t, size_t i) {
    return i > 0 && t.p[i - 1] == '.' && !alphanumeric_before(t, i - 1);
}

static muga_status find_numbers(bool integers, bool fractions, span t, finds *f) {
    for (size_t i = 0; i < t.n; i++) {
        if (!digit_at(t, i) || (i > 0 && (digit_at(t, i - 1) || alphanumeric_before(t, i))))
            continue;
        size_t n_marks, mark, end = number_end(t, i, &n_marks, &mark), first = i;
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
        bool fraction = n_marks == 1 && t.p[mark] == '.', whole = n_marks == 0;
        bool leading_zero = t.p[first] == '0' && digit_at(t, first + 1);
        bool bounded = (end >= t.n || !alphanumeric_at(t, end)) && !point_before(t, first);
        if ((whole || fraction) && !leading_zero && bounded && end - first <= 18 &&
            (fraction ? fractions : integers || fractions)) {
            char text[32];
            json_t *v = NULL;
            size_t minus_bytes = !minus_before(t, first) ? 0 : t.p[first - 1] == '-' ? 1 : 3;
            snprintf(text, sizeof text, "%s%.*s", minus_bytes ? "-" : "", (int)(end - first), t.p + first);
            muga_status st = json_parse(text, strlen(text), "number", &v, f->err);
            if (st == MUGA_OK)
                st = add_value(f, v, first - minus_bytes, end);
            if (st != MUGA_OK)
                return st;
        }
        i = end > i ? end - 1 : i;
    }
    return MUGA_OK;
}

/* ---- words of an enum ---- */

/* How a value of a list is written: a string, folded; numbers are looked for as numbers. NULL: out of memory. */
static json_t *spell(const json_t *v, unsigned fold) {
    muga_error ignored;
    folded x;
    if (json_is_number(v))
        return json_incref(json_borrow(v));
    str text = STR_INIT;
    if (json_is_string(v))
        str_append(&text, json_string_value(v), json_string_length(v));
    else
        json_write(v, &text);
    bool ok = !text.failed && fold_text(span_of(str_get(&text), text.len), fold & GROUNDED_FOLD_CASE ? SMALL : AS_IT_IS,
                                        fold & GROUNDED_FOLD_SPACE, &x, &ignored) == MUGA_OK;
    json_t *spelt = ok ? json_stringn(str_get(&x.text), x.text.len) : NULL;
    if (ok)
        folded_release(&x);
    str_release(&text);
    return spelt;
}

static muga_status spell_all(const json_t *words, unsigned fold, finds *f, dfa **out) {
    size_t n = json_array_size(words), w = 0;
    span *v = mem_alloc_array(n, sizeof *v);
    f->list = json_array();
    f->seen = mem_alloc_array(n, sizeof *f->seen);
    bool ok = v && f->list && f->seen;
    for (size_t i = 0; i < n && ok; i++) {
        json_t *spelt = spell(json_array_get(words, i), fold);
        ok = spelt && json_array_append_new(f->list, spelt) == 0;
        if (ok && json_string_length(spelt) > 0)
            v[w++] = span_of(json_string_value(spelt), json_string_length(spelt));
    }
    muga_status st = ok ? dfa_of_literals(v, w, f->work, out, f->err) : error_nomem(f->err, "a grounded value");
    if (st == MUGA_OK)
        st = grow_finds(f);
    free(v);
    return st;
}

/* All words at once: one automaton finds the strings among them, and numbers are read as ever. */
static muga_status find_words(const grounded_query *q, const constrain_source *source, uint64_t *work, json_t *out,
                              muga_error *err) {
    const json_t *words = q->words;
    json_t *wanted = q->wanted ? spell(q->wanted, q->fold) : NULL;
    finds f = {.work = work, .err = err, .wanted = wanted, .place = q->place, .placed = q->placed};
    dfa *d = NULL;
    muga_status st = wanted || !q->wanted ? spell_all(words, q->fold, &f, &d) : error_nomem(err, "a grounded value");
    for (size_t i = 0; i < source->n_texts && st == MUGA_OK; i++) {
        f.i_text = i;
        st = find_folded(d, source->texts[i], q->fold, true, &f);
        if (st == MUGA_OK)
            st = find_numbers(true, true, source->texts[i], &f);
    }
    for (size_t i = 0; i < json_array_size(words) && st == MUGA_OK; i++)
        if (f.seen[*find_slot(&f, json_array_get(f.list, i)) - 1] &&
            json_array_append(out, json_array_get(words, i)) != 0)
            st = error_nomem(err, "a grounded value");
    dfa_free(d);
    free(f.seen);
    free(f.table);
    json_decref(f.list);
    json_decref(wanted);
    return st;
}

muga_status grounded_find(const grounded_query *q, const constrain_source *source, uint64_t *work, json_t *out,
                          muga_error *err) {
    if (q->words)
        return find_words(q, source, work, out, err);
    finds f = {.list = out, .work = work, .err = err, .wanted = q->wanted, .place = q->place, .placed = q->placed};
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < source->n_texts && st == MUGA_OK; i++) {
        span t = source->texts[i];
        f.i_text = i;
        if (q->text)
            st = find_folded(q->text, t, q->fold, false, &f);
        if (st == MUGA_OK && (q->integers || q->fractions))
            st = find_numbers(q->integers, q->fractions, t, &f);
    }
    free(f.table);
    return st;
}
