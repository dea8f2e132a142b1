/* Fitting a classifier to examples, and what was fitted as JSON (classify.h):
 *
 *   {"muga_calibration": 1, "model": {what scores depend on: llm_identify}, "instruction", "listed",
 *    "labels": [...], "words": [...], "prior": [...], "weight": [2], "bias": [...],
 *    "judged": {"confidence": [...], "right": [...]}}
 *
 * Judged: each example by what the others fitted. Examples are dealt into five parts in the order of their labels, so
 * that no part lacks a label that has five examples; each part is judged by the fit to the other four. */
#include "base/mem.h"
#include "kernel/kernel.h"
#include "llm/classify_internal.h"

#include <math.h>

#define VERSION 1
#define PARTS 5
#define RIDGE 1.0 /* of the biases and weights; docs/classify.md has what others give */

typedef struct fitting {
    classifier *c;
    const classify_example *e;
    size_t n, n_labels, n_labelled;
    double *x;       /* [n][n_labels][features], labelled ones first */
    uint32_t *y;     /* [n_labelled] */
    uint32_t *order; /* [n] example of each row */
    logit_data part; /* x and y of the cases that a part is judged by */
    double *part_x;
    uint32_t *part_y;
    double nll_before, nll;
    size_t n_right;
} fitting;

static size_t row_of(const fitting *f, size_t i) {
    return i * f->n_labels * CLASSIFY_FEATURES;
}

/* By label, those without one last (CLASSIFY_NONE is the largest). */
static int by_label(const void *a, const void *b, void *examples) {
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    const classify_example *e = examples;
    if (e[i].label != e[j].label)
        return e[i].label < e[j].label ? -1 : 1;
    return (i > j) - (i < j);
}

static muga_status fitting_init(fitting *f, muga_error *err) {
    size_t cells;
    if (f->n > CLASSIFY_MAX_EXAMPLES || !size_mul(f->n, f->n_labels, &cells) || cells > LOGIT_MAX_NUMBERS)
        return error_set(err, MUGA_E_LIMIT,
                         "%zu examples of %zu labels are too many; %zu examples, and %zu of their "
                         "scores, are possible",
                         f->n, f->n_labels, CLASSIFY_MAX_EXAMPLES, LOGIT_MAX_NUMBERS);
    f->x = mem_alloc_array(cells, CLASSIFY_FEATURES * sizeof *f->x);
    f->part_x = mem_alloc_array(cells, CLASSIFY_FEATURES * sizeof *f->part_x);
    f->y = mem_alloc_array(f->n, sizeof *f->y);
    f->part_y = mem_alloc_array(f->n, sizeof *f->part_y);
    f->order = mem_alloc_array(f->n, sizeof *f->order);
    if (!f->x || !f->part_x || !f->y || !f->part_y || !f->order)
        return error_nomem(err, "the examples");
    for (size_t i = 0; i < f->n; i++) {
        f->order[i] = (uint32_t)i;
        f->n_labelled += f->e[i].label != CLASSIFY_NONE;
    }
    if (f->n_labelled < 2)
        return error_set(err, MUGA_E_INPUT, "%zu examples with a label are too few to fit to; give at least two",
                         f->n_labelled);
    qsort_r(f->order, f->n, sizeof *f->order, by_label, (void *)(uintptr_t)f->e);
    for (size_t i = 0; i < f->n_labelled; i++)
        f->y[i] = f->e[f->order[i]].label;
    return MUGA_OK;
}

static void fitting_release(fitting *f) {
    free(f->x);
    free(f->part_x);
    free(f->y);
    free(f->part_y);
    free(f->order);
}

/* Scores in the order in which examples were given, so that errors name the first bad line. */
static muga_status score_all(fitting *f, void (*on_progress)(void *, double), void *ctx, muga_error *err) {
    classifier *c = f->c;
    classify_answer counts;
    uint32_t *row = f->part_y; /* not in use yet: row of each example */
    for (size_t i = 0; i < f->n; i++)
        row[f->order[i]] = (uint32_t)i;
    muga_status st = classifier_need_prior(c, err);
    for (size_t i = 0; i < f->n && !st; i++) {
        st = classifier_score(c, f->e[i].text, c->logprob, &counts, err);
        if (st)
            return error_prefix(err, st, "line %zu", f->e[i].line);
        classifier_features(c, c->logprob, f->x + row_of(f, row[i]));
        if (on_progress)
            on_progress(ctx, (double)(i + 1) / (double)f->n);
    }
    return st;
}

/* The cases of all parts but one. */
static void gather_others(fitting *f, size_t part) {
    size_t n = 0, bytes = row_of(f, 1) * sizeof *f->x;
    for (size_t i = 0; i < f->n_labelled; i++)
        if (i % PARTS != part) {
            memcpy(f->part_x + row_of(f, n), f->x + row_of(f, i), bytes);
            f->part_y[n++] = f->y[i];
        }
    f->part = (logit_data){n, f->n_labels, CLASSIFY_FEATURES, f->part_x, f->part_y};
}

/* Judge row i by model m. */
static void judge(fitting *f, size_t i, const logit *m) {
    double *p = f->c->p;
    const double *x = f->x + row_of(f, i);
    size_t best = 0;
    logit_predict(m, x, p);
    for (size_t l = 1; l < f->n_labels; l++)
        best = p[l] > p[best] ? l : best;
    bool labelled = i < f->n_labelled;
    f->c->cases[i] = (risk_case){p[best], labelled && f->y[i] == best};
    if (!labelled)
        return;
    f->n_right += f->y[i] == best;
    f->nll -= kernel_log(MAX(p[f->y[i]], 1e-300));
    logit before = {f->n_labels, CLASSIFY_FEATURES, {1, -1}, NULL};
    logit_predict(&before, x, p);
    f->nll_before -= kernel_log(MAX(p[f->y[i]], 1e-300));
}

/* m: weight and bias to begin at are set here. */
static muga_status fit_from_plain(const logit_data *d, logit *m, muga_error *err) {
    m->weight[0] = 1;
    m->weight[1] = -1;
    memset(m->bias, 0, m->n_choices * sizeof *m->bias);
    return logit_fit(d, RIDGE, m, err);
}

static muga_status fit_all(fitting *f, muga_error *err) {
    classifier *c = f->c;
    logit m = {f->n_labels, CLASSIFY_FEATURES, {0}, mem_alloc_array(f->n_labels, sizeof *m.bias)};
    risk_case *cases = mem_resize_array(c->cases, f->n, sizeof *cases);
    muga_status st = m.bias && cases ? MUGA_OK : error_nomem(err, "the fit");
    c->cases = cases ? cases : c->cases;
    c->n_cases = 0;
    for (size_t part = 0; part < PARTS && !st; part++) {
        gather_others(f, part);
        st = fit_from_plain(&f->part, &m, err);
        for (size_t i = part; i < f->n && !st; i += PARTS)
            judge(f, i, &m);
    }
    if (!st) {
        const logit_data all = {f->n_labelled, f->n_labels, CLASSIFY_FEATURES, f->x, f->y};
        st = fit_from_plain(&all, &c->m, err);
    }
    free(m.bias);
    c->n_cases = st ? 0 : f->n;
    c->fitted = !st;
    return st;
}

muga_status classifier_fit(classifier *c, const classify_example *examples, size_t n,
                           void (*on_progress)(void *ctx, double done), void *ctx, classify_fit *out, muga_error *err) {
    fitting f = {.c = c, .e = examples, .n = n, .n_labels = c->labels->n};
    muga_status st = fitting_init(&f, err);
    if (!st)
        st = score_all(&f, on_progress, ctx, err);
    if (!st)
        st = fit_all(&f, err);
    if (!st) {
        double n_labelled = (double)f.n_labelled;
        *out = (classify_fit){f.n_labelled, n - f.n_labelled, (double)f.n_right / n_labelled, f.nll_before / n_labelled,
                              f.nll / n_labelled};
    }
    fitting_release(&f);
    return st;
}

/* ---- threshold ---- */

muga_status classifier_set_risk(classifier *c, double wanted, risk_choice *out, muga_error *err) {
    if (!c->fitted)
        return error_set(err, MUGA_E_USAGE,
                         "without examples nothing is known of how often answers are wrong; give "
                         "examples, or what was fitted to some");
    muga_status st = risk_choose(c->cases, c->n_cases, wanted, out, err);
    if (!st)
        c->threshold = out->threshold;
    return st;
}

/* ---- writing ---- */

static json_t *numbers(const double *v, size_t n) {
    json_t *a = json_array();
    for (size_t i = 0; a && i < n; i++)
        if (json_array_append_new(a, json_real(v[i]))) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static json_t *strings(char *const *v, size_t n) {
    json_t *a = json_array();
    for (size_t i = 0; a && i < n; i++)
        if (json_array_append_new(a, json_string(v[i]))) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static json_t *judged(const risk_case *cases, size_t n) {
    json_t *confidence = json_array(), *right = json_array();
    bool ok = confidence && right;
    for (size_t i = 0; i < n && ok; i++)
        ok = !json_array_append_new(confidence, json_real(cases[i].confidence)) &&
             !json_array_append_new(right, json_boolean(cases[i].right));
    json_t *v = ok ? json_pack("{s:O, s:O}", "confidence", confidence, "right", right) : NULL;
    json_decref(confidence);
    json_decref(right);
    return v;
}

muga_status classifier_write(classifier *c, json_t **out, muga_error *err) {
    json_t *model = NULL;
    if (!c->fitted)
        return error_set(err, MUGA_E_USAGE, "nothing was fitted yet; give examples");
    muga_status st = llm_identify(c->model, &model, err);
    if (st)
        return st;
    size_t n = c->labels->n;
    struct {
        const char *key;
        json_t *v;
    } members[] = {{"muga_calibration", json_integer(VERSION)},
                   {"model", model},
                   {"instruction", json_string(c->instruction)},
                   {"listed", json_boolean(c->listed)},
                   {"labels", strings(c->labels->names, n)},
                   {"words", strings(c->labels->words, n)},
                   {"prior", numbers(c->prior, n)},
                   {"weight", numbers(c->m.weight, CLASSIFY_FEATURES)},
                   {"bias", numbers(c->m.bias, n)},
                   {"judged", judged(c->cases, c->n_cases)}};
    json_t *v = json_object();
    bool ok = v != NULL;
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        ok = json_object_set_new(v, members[i].key, members[i].v) == 0 && ok; /* takes the member, even when it fails */
    if (!ok) {
        json_decref(v);
        return error_set(err, MUGA_E_NOMEM, "out of memory for the calibration, or the instruction is not UTF-8");
    }
    *out = v;
    return MUGA_OK;
}

/* ---- reading ---- */

static muga_status read_numbers(const json_t *o, const char *key, size_t n, double *out, muga_error *err) {
    const json_t *a = json_object_get(o, key);
    bool good = json_is_array(a) && json_array_size(a) == n;
    for (size_t i = 0; i < n && good; i++) {
        const json_t *v = json_array_get(a, i);
        out[i] = json_number_value(v);
        good = json_is_number(v) && fabs(out[i]) < 1e9;
    }
    return good ? MUGA_OK : error_set(err, MUGA_E_INPUT, "\"%s\" is not %zu numbers; fit it again", key, n);
}

static muga_status compare_strings(const json_t *o, const char *key, char *const *v, size_t n, muga_error *err) {
    const json_t *a = json_object_get(o, key);
    if (!json_is_array(a) || json_array_size(a) != n)
        return error_set(err, MUGA_E_INPUT, "it is for %zu %s, not %zu; fit it to these", json_array_size(a), key, n);
    for (size_t i = 0; i < n; i++) {
        const char *was = json_string_value(json_array_get(a, i));
        if (!was || strcmp(was, v[i]) != 0)
            return error_set(err, MUGA_E_INPUT, "number %zu of its %s is \"%.60s\", not \"%.60s\"; fit it to these",
                             i + 1, key, was ? was : "(none)", v[i]);
    }
    return MUGA_OK;
}

/* Which member of two identities differs, and how: "sha256". */
static muga_status compare_models(const json_t *was, json_t *is, muga_error *err) {
    const char *key;
    json_t *v;
    if (json_equal(was, is))
        return MUGA_OK;
    json_object_foreach(is, key, v) {
        const json_t *old = json_object_get(was, key);
        if (json_equal(old, v))
            continue;
        str a = STR_INIT, b = STR_INIT;
        if (old)
            json_write(old, &a);
        json_write(v, &b);
        error_set(err, MUGA_E_INPUT,
                  "it is of another model: %s is %.64s there, %.64s here; fit it again with this one", key,
                  old ? str_get(&a) : "missing", str_get(&b));
        str_release(&a);
        str_release(&b);
        return MUGA_E_INPUT;
    }
    return error_set(err, MUGA_E_INPUT, "it is of another model; fit it again with this one");
}

static muga_status read_judged(classifier *c, const json_t *v, muga_error *err) {
    const json_t *confidence = json_object_get(v, "confidence"), *right = json_object_get(v, "right");
    size_t n = json_array_size(confidence);
    if (n == 0 || n > CLASSIFY_MAX_EXAMPLES || json_array_size(right) != n)
        return error_set(err, MUGA_E_INPUT, "\"judged\" has no list of examples, or two that differ; fit it again");
    risk_case *cases = mem_resize_array(c->cases, n, sizeof *cases);
    if (!cases)
        return error_nomem(err, "the calibration");
    c->cases = cases;
    for (size_t i = 0; i < n; i++) {
        const json_t *p = json_array_get(confidence, i), *r = json_array_get(right, i);
        cases[i] = (risk_case){json_number_value(p), json_is_true(r)};
        if (!json_is_number(p) || !(cases[i].confidence >= 0 && cases[i].confidence <= 1) || !json_is_boolean(r))
            return error_set(err, MUGA_E_INPUT,
                             "\"judged\": example %zu is not a probability and a truth; fit it again", i + 1);
    }
    c->n_cases = n;
    return MUGA_OK;
}

static muga_status check_prompt(const classifier *c, const json_t *v, muga_error *err) {
    const char *instruction = json_get_string(v, "instruction");
    const json_t *listed = json_object_get(v, "listed");
    if (!instruction || strcmp(instruction, c->instruction) != 0)
        return error_set(err, MUGA_E_INPUT, "its instruction is \"%.80s\", not \"%.80s\"; fit it again",
                         instruction ? instruction : "(none)", c->instruction);
    if (!json_is_boolean(listed) || json_is_true(listed) != c->listed)
        return error_set(err, MUGA_E_INPUT, "its prompt %s the labels, this one %s; fit it again",
                         c->listed ? "doesn't list" : "lists", c->listed ? "does" : "doesn't");
    return MUGA_OK;
}

muga_status classifier_read(classifier *c, const json_t *v, muga_error *err) {
    size_t n = c->labels->n;
    json_t *model = NULL;
    c->fitted = false;
    if (json_get_int(v, "muga_calibration", 0) != VERSION)
        return error_set(err, MUGA_E_INPUT, "it is no calibration of version %d; fit it again", VERSION);
    muga_status st = llm_identify(c->model, &model, err);
    if (!st)
        st = compare_models(json_object_get(v, "model"), model, err);
    json_decref(model);
    if (!st)
        st = compare_strings(v, "labels", c->labels->names, n, err);
    if (!st)
        st = compare_strings(v, "words", c->labels->words, n, err);
    if (!st)
        st = check_prompt(c, v, err);
    if (!st)
        st = read_numbers(v, "prior", n, c->prior, err);
    if (!st)
        st = read_numbers(v, "weight", CLASSIFY_FEATURES, c->m.weight, err);
    if (!st)
        st = read_numbers(v, "bias", n, c->m.bias, err);
    if (!st)
        st = read_judged(c, json_object_get(v, "judged"), err);
    c->has_prior = c->fitted = st == MUGA_OK;
    return st;
}
