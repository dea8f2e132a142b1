/* Drawing texts from a grammar. A text is read as it is drawn:
 *
 *   <name>     one of the rule's alternatives       (a|b|)   one of these, the last one nothing
 *   {slot}     stays as it is                       \x       the character x itself
 *
 * At reading every alternative is walked once, each rule with the rules it stands in: what is missing, unclosed or
 * leads back to itself is refused there, so drawing can't fail but for length. */
#include "agent/phrases.h"

#include "agent/internal.h"

#include <stdio.h>

#define CHANCE "{\"type\": \"number\", \"minimum\": 0, \"maximum\": 1}"
#define WEIGHT "{\"type\": \"number\", \"exclusiveMinimum\": 0, \"maximum\": 1000000}"
#define TEXTS                                                                                                          \
    "{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"array\", \"minItems\": 1, \"items\": {\"anyOf\": ["             \
    "{\"type\": \"string\"}, {\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"text\","         \
    " \"weight\"], \"properties\": {\"text\": {\"type\": \"string\"}, \"weight\": " WEIGHT "}}]}}]}"

static const char schema_text[] =
    "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"version\", \"messages\"],"
    " \"properties\": {\"version\": {\"const\": 1},"
    "  \"rules\": {\"type\": \"object\", \"propertyNames\": {\"pattern\": \"^[a-z][a-z0-9_]*$\"},"
    "    \"additionalProperties\": " TEXTS "},"
    "  \"messages\": {\"type\": \"array\", \"minItems\": 1, \"maxItems\": 10000, \"items\": {\"type\": \"object\","
    "    \"additionalProperties\": false, \"required\": [\"labels\", \"text\"], \"properties\": {"
    "      \"labels\": {\"type\": \"array\", \"minItems\": 1, \"maxItems\": 8, \"items\": {\"type\": \"string\"}},"
    "      \"voice\": {\"type\": \"string\"}, \"missing\": {\"type\": \"boolean\"}, \"weight\": " WEIGHT ","
    "      \"text\": " TEXTS "}}},"
    "  \"paraphrase\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"additionalProperties\": false,"
    "    \"required\": [\"from\", \"to\"], \"properties\": {\"from\": {\"type\": \"string\", \"minLength\": 1},"
    "      \"to\": " TEXTS ", \"chance\": " CHANCE "}}},"
    "  \"noise\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
    "    \"small\": " CHANCE ", \"no_end\": " CHANCE ","
    "    \"no_apostrophes\": " CHANCE ", \"typos\": " CHANCE "}}}}";

struct phrases {
    json_t *json, *places;
    char *file;
    const json_t *rules, *messages, *paraphrase, *noise;
};

/* ---- choosing ---- */

static double uniform(rng *r) {
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

static double weight_of(const json_t *v) {
    return json_get_number(v, "weight", 1);
}

/* Of an array of objects with weights, or of anything, which then weighs 1. */
static size_t choose(const json_t *list, rng *r) {
    size_t n = json_array_size(list);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += weight_of(json_array_get(list, i));
    double at = uniform(r) * sum;
    for (size_t i = 0; i + 1 < n; i++)
        if ((at -= weight_of(json_array_get(list, i))) < 0)
            return i;
    return n - 1;
}

/* The text of one alternative of "texts". */
static const char *alternative(const json_t *texts, size_t i) {
    const json_t *v = json_is_array(texts) ? json_array_get(texts, i) : texts;
    return json_is_object(v) ? json_get_string(v, "text") : json_string_value(v);
}

static size_t n_alternatives(const json_t *texts) {
    return json_is_array(texts) ? json_array_size(texts) : 1;
}

/* ---- the language ---- */

/* Past one alternative: to its '|' or ')', or the end. Brackets inside are stepped over. */
static const char *past_alternative(const char *p) {
    int depth = 0;
    for (; *p; p++) {
        if (*p == '\\' && p[1])
            p++;
        else if (*p == '(')
            depth++;
        else if ((*p == ')' || *p == '|') && depth == 0)
            return p;
        else if (*p == ')')
            depth--;
    }
    return p;
}

static span name_in(const char *p, char close) {
    const char *end = strchr(p, close);
    return span_of(p, end ? (size_t)(end - p) : 0);
}

static const json_t *find_rule(const phrases *g, span name) {
    return name.n > 0 ? json_object_getn(g->rules, name.p, name.n) : NULL;
}

static void draw(const phrases *g, const char *p, const char *end, rng *r, str *out);

static void draw_texts(const phrases *g, const json_t *texts, rng *r, str *out) {
    const char *text = alternative(texts, json_is_array(texts) ? choose(texts, r) : 0);
    draw(g, text, text + strlen(text), r, out);
}

static void draw(const phrases *g, const char *p, const char *end, rng *r, str *out) {
    while (p < end && !out->failed) {
        if (*p == '\\' && p + 1 < end) {
            str_append_c(out, p[1]);
            p += 2;
        } else if (*p == '<') {
            span name = name_in(p + 1, '>');
            draw_texts(g, find_rule(g, name), r, out);
            p = name.p + name.n + 1;
        } else if (*p == '(') {
            const char *from[64], *to[64];
            uint32_t n = 0;
            do {
                from[n] = ++p;
                to[n++] = p = past_alternative(p);
            } while (*p == '|');
            uint32_t i = rng_below(r, n);
            draw(g, from[i], to[i], r, out);
            p++;
        } else {
            str_append_c(out, *p++);
        }
    }
}

/* ---- reading ---- */

typedef struct walk {
    phrases *g;
    const char *pointer;                 /* of the texts */
    const char *open[PHRASES_MAX_DEPTH]; /* rules that are being walked */
    size_t n_open;
    json_t *done; /* rules that were */
    muga_error *err;
} walk;

static muga_status fault(const walk *w, const char *what, span name) {
    const check_place at = {w->g->file, w->g->places};
    return check_fail(&at, MUGA_E_INPUT, w->pointer, w->err, "%s%.*s", what, (int)MIN(name.n, (size_t)60),
                      name.p ? name.p : "");
}

static muga_status walk_texts(walk *w, const json_t *texts);

static muga_status walk_rule(walk *w, span name) {
    const json_t *rule = find_rule(w->g, name);
    if (!rule)
        return fault(w, "there is no rule ", name);
    for (size_t i = 0; i < w->n_open; i++)
        if (span_equal_string(name, w->open[i]))
            return fault(w, "leads back to itself: rule ", name);
    if (json_object_getn(w->done, name.p, name.n))
        return MUGA_OK;
    if (w->n_open == PHRASES_MAX_DEPTH)
        return fault(w, "rules are nested too deep at ", name);
    char *copy = mem_copy_bytes(name.p, name.n);
    if (!copy)
        return error_nomem(w->err, "a rule");
    w->open[w->n_open++] = copy;
    muga_status st = walk_texts(w, rule);
    w->n_open--;
    if (!st && json_object_setn_new(w->done, name.p, name.n, json_true()))
        st = error_nomem(w->err, "a rule");
    free(copy);
    return st;
}

static muga_status walk_text(walk *w, const char *text) {
    muga_status st = MUGA_OK;
    uint32_t depth = 0, bars[PHRASES_MAX_DEPTH] = {0};
    for (const char *p = text; !st && *p; p++) { /* a fault may leave p at the end */
        if (*p == '\\' && !p[1])
            st = fault(w, "ends with a backslash: ", span_of_string(text));
        else if (*p == '\\')
            p++;
        else if (*p == '<') {
            span name = name_in(p + 1, '>');
            st = walk_rule(w, name);
            p = name.p + name.n;
        } else if (*p == '{' && name_in(p + 1, '}').n == 0)
            st = fault(w, "a '{' without a name and '}': ", span_of_string(p));
        else if (*p == '(' && ++depth == PHRASES_MAX_DEPTH)
            st = fault(w, "brackets are nested too deep: ", span_of_string(p));
        else if (*p == '(')
            bars[depth] = 0;
        else if (*p == '|' && depth > 0 && ++bars[depth] == 63)
            st = fault(w, "more than 63 alternatives; make a rule of them: ", span_of_string(text));
        else if (*p == '|' && depth == 0)
            st = fault(w, "a '|' outside of ( ): ", span_of_string(p));
        else if (*p == ')' && depth-- == 0)
            st = fault(w, "a ')' without '(': ", span_of_string(text));
    }
    return st || depth == 0 ? st : fault(w, "a '(' without ')': ", span_of_string(text));
}

static muga_status walk_texts(walk *w, const json_t *texts) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < n_alternatives(texts) && !st; i++)
        st = walk_text(w, alternative(texts, i));
    return st;
}

static muga_status walk_at(walk *w, const json_t *texts, const char *pointer) {
    w->pointer = pointer;
    return walk_texts(w, texts);
}

static muga_status walk_all(walk *w) {
    const char *key;
    json_t *rule;
    char pointer[160];
    muga_status st = MUGA_OK;
    json_object_foreach(json_borrow(w->g->rules), key, rule) {
        snprintf(pointer, sizeof pointer, "/rules/%.128s", key);
        w->open[0] = key;
        w->n_open = 1;
        st = st ? st : walk_at(w, rule, pointer);
    }
    w->n_open = 0;
    for (size_t i = 0; i < json_array_size(w->g->messages) && !st; i++) {
        snprintf(pointer, sizeof pointer, "/messages/%zu/text", i);
        st = walk_at(w, json_object_get(json_array_get(w->g->messages, i), "text"), pointer);
    }
    for (size_t i = 0; i < json_array_size(w->g->paraphrase) && !st; i++) {
        snprintf(pointer, sizeof pointer, "/paraphrase/%zu/to", i);
        st = walk_at(w, json_object_get(json_array_get(w->g->paraphrase, i), "to"), pointer);
    }
    return st;
}

static muga_status check(phrases *g, muga_error *err) {
    const check_place at = {g->file, g->places};
    json_t *schema = NULL;
    muga_status st = json_parse(schema_text, sizeof schema_text - 1, "phrases", &schema, err);
    if (!st)
        st = check_schema(&at, schema, g->json, err);
    json_decref(schema);
    if (st)
        return st;
    g->rules = json_object_get(g->json, "rules");
    g->messages = json_object_get(g->json, "messages");
    g->paraphrase = json_object_get(g->json, "paraphrase");
    g->noise = json_object_get(g->json, "noise");
    walk w = {.g = g, .err = err, .done = json_object()};
    st = w.done ? walk_all(&w) : error_nomem(err, "a grammar");
    json_decref(w.done);
    return st;
}

muga_status phrases_read(const char *text, size_t n, const char *file, phrases **out, muga_error *err) {
    *out = NULL;
    phrases *g = mem_alloc_array(1, sizeof *g);
    if (!g || !(g->file = mem_copy_string(file))) {
        free(g);
        return error_nomem(err, "a grammar");
    }
    muga_status st = yaml_parse_places(text, n, file, &g->json, &g->places, err);
    if (!st)
        st = check(g, err);
    if (st)
        phrases_free(g);
    else
        *out = g;
    return st;
}

void phrases_free(phrases *g) {
    if (!g)
        return;
    json_decref(g->json);
    json_decref(g->places);
    free(g->file);
    free(g);
}

size_t phrases_n_messages(const phrases *g) {
    return json_array_size(g->messages);
}

const json_t *phrases_message(const phrases *g, size_t i) {
    return json_array_get(g->messages, i);
}

size_t phrases_choose(const phrases *g, rng *r) {
    return choose(g->messages, r);
}

muga_status phrases_fail(const phrases *g, size_t i, const char *key, const char *text, muga_error *err) {
    const check_place at = {g->file, g->places};
    char pointer[64];
    snprintf(pointer, sizeof pointer, "/messages/%zu/%.30s", i, key);
    return check_fail(&at, MUGA_E_INPUT, pointer, err, "%s", text);
}

/* ---- paraphrase and noise: never inside a {slot} ---- */

static bool is_word_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80;
}

/* `from` stands at p as whole words, whatever their case. */
static bool stands_at(const char *text, const char *p, const char *from, size_t n) {
    return strncasecmp(p, from, n) == 0 && (p == text || !is_word_byte(p[-1]) || !is_word_byte(*from)) &&
           (!is_word_byte(p[n]) || !is_word_byte(from[n - 1]));
}

static void paraphrase(const phrases *g, const json_t *rule, rng *r, str *text) {
    const char *from = json_get_string(rule, "from"), *p = str_get(text), *begin = p;
    double chance = json_get_number(rule, "chance", 0.5);
    size_t n = strlen(from);
    bool in_slot = false;
    str out;
    str_init(&out, text->max);
    while (*p && !out.failed) {
        in_slot = *p == '{' || (in_slot && *p != '}');
        if (!in_slot && stands_at(begin, p, from, n) && uniform(r) < chance) {
            draw_texts(g, json_object_get(rule, "to"), r, &out);
            p += n;
        } else {
            str_append_c(&out, *p++);
        }
    }
    str_release(text);
    *text = out;
}

/* One letter in the middle of the word is dropped, doubled, or changes places with the next one. */
static size_t mistype(char *word, size_t n, rng *r) {
    size_t i = 1 + rng_below(r, (uint32_t)n - 2);
    char c = word[i];
    switch (rng_below(r, 3)) {
    case 0: memmove(word + i, word + i + 1, n - i - 1); return n - 1;
    case 1: word[i] = word[i - 1]; return n;
    default:
        word[i] = word[i + 1];
        word[i + 1] = c;
        return n;
    }
}

static void add_typos(str *text, double chance, rng *r) {
    char *p = text->data, *to = p;
    bool in_slot = false;
    while (p && *p) {
        size_t n = 0;
        in_slot = *p == '{' || (in_slot && *p != '}');
        while (!in_slot && (((p[n] | 32) >= 'a' && (p[n] | 32) <= 'z')))
            n++;
        size_t kept = n;
        if (n >= 4 && n < 40 && uniform(r) < chance)
            kept = mistype(p, n, r);
        n = MAX(n, (size_t)1);
        kept = kept || n > 1 ? kept : 1;
        memmove(to, p, kept);
        to += kept;
        p += n;
    }
    if (p)
        str_truncate(text, (size_t)(to - text->data));
}

static void add_noise(const phrases *g, rng *r, str *text) {
    bool small = uniform(r) < json_get_number(g->noise, "small", 0);
    bool no_end = uniform(r) < json_get_number(g->noise, "no_end", 0);
    bool bare = uniform(r) < json_get_number(g->noise, "no_apostrophes", 0);
    bool in_slot = false;
    char *to = text->data;
    for (const char *p = text->data; p && *p; p++) {
        in_slot = *p == '{' || (in_slot && *p != '}');
        if (!in_slot && bare && *p == '\'')
            continue;
        *to++ = (char)(!in_slot && small && *p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    }
    if (to)
        str_truncate(text, (size_t)(to - text->data));
    while (no_end && text->len > 0 && strchr(".!?", text->data[text->len - 1]))
        str_truncate(text, text->len - 1);
    add_typos(text, json_get_number(g->noise, "typos", 0), r);
}

/* Single spaces, none at the ends: alternatives that are nothing leave some behind. */
static void tidy(const str *text, str *out) {
    const char *p = str_get(text);
    bool space = false, begun = false;
    for (; *p; p++) {
        if (*p == ' ') {
            space = begun;
            continue;
        }
        if (space && !strchr(",.!?;:", *p))
            str_append_c(out, ' ');
        str_append_c(out, *p);
        space = false;
        begun = true;
    }
}

muga_status phrases_draw(const phrases *g, size_t i, rng *r, str *out, muga_error *err) {
    str text;
    str_init(&text, PHRASES_MAX_TEXT);
    draw_texts(g, json_object_get(phrases_message(g, i), "text"), r, &text);
    for (size_t k = 0; k < json_array_size(g->paraphrase) && !text.failed; k++)
        paraphrase(g, json_array_get(g->paraphrase, k), r, &text);
    if (!text.failed)
        add_noise(g, r, &text);
    muga_status st = str_status(&text, err, "a text drawn from the grammar");
    if (!st) {
        tidy(&text, out);
        st = str_status(out, err, "a text drawn from the grammar");
    }
    str_release(&text);
    return st;
}
