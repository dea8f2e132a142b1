/* Fitting an expert's weights (expert_fit.h). */
#include "agent/expert_fit.h"

#include "agent/internal.h"
#include "llm/logit.h"

#include <math.h>

#define RIDGE 0.01
#define MAX_STEPS 100
#define AT_MINIMUM 1e-12
#define BY_VOTES 50 /* so much weight that the answer with most votes wins */

typedef struct fitting {
    const expert_fit_request *q;
    const expert *e;
    size_t n, cap, n_answers;
    double *x;      /* [cap][n_answers][EXPERT_FEATURES] */
    size_t *wanted; /* [cap], n_answers: labels that are no answer of the expert */
} fitting;

void expert_fit_release(expert_fit *f) {
    free(f->cases);
    *f = (expert_fit){0};
}

static const double *features_of(const fitting *f, size_t i) {
    return f->x + i * f->n_answers * EXPERT_FEATURES;
}

/* ---- the messages ---- */

static muga_status grow(fitting *f, muga_error *err) {
    if (f->n < f->cap) {
        return MUGA_OK;
    }
    if (f->n == EXPERT_FIT_MAX_CASES) {
        return error_set(err, MUGA_E_LIMIT, "more than %u messages; give fewer", EXPERT_FIT_MAX_CASES);
    }
    size_t cap = MAX((size_t)256, 2 * f->cap);
    double *x = mem_resize_array(f->x, cap, f->n_answers * EXPERT_FEATURES * sizeof *x);
    f->x = x ? x : f->x;
    size_t *wanted = mem_resize_array(f->wanted, cap, sizeof *wanted);
    f->wanted = wanted ? wanted : f->wanted;
    f->cap = x && wanted ? cap : f->cap;
    return x && wanted ? MUGA_OK : error_nomem(err, "the messages");
}

static muga_status read_case(fitting *f, const char *line, size_t n, muga_error *err) {
    json_t *v = NULL;
    char *text = NULL;
    uint64_t labels = 0;
    double votes[RETRIEVE_MAX_LABELS];
    expert_view view = {.evidence = NULL};
    muga_status st = json_parse(line, n, "example", &v, err);
    st = st == MUGA_OK ? intent_read_example(f->q->x, v, &text, &labels, err) : st;
    st = st == MUGA_OK ? grow(f, err) : st;
    st = st == MUGA_OK ? intent_vote(f->q->x, text, strlen(text), votes, err) : st;
    st = st == MUGA_OK ? expert_ask(f->e, f->q->model, text, strlen(text), &view, err) : st;
    if (st == MUGA_OK) {
        expert_features(f->e, view.logprob, votes, f->x + f->n * f->n_answers * EXPERT_FEATURES);
        f->wanted[f->n++] = expert_find(f->e, labels);
    }
    expert_view_release(&view);
    free(text);
    json_decref(v);
    return st;
}

static size_t count_lines(const char *text, size_t n) {
    size_t count = n > 0 && text[n - 1] != '\n';
    for (size_t i = 0; i < n; i++) {
        count += text[i] == '\n';
    }
    return count;
}

static muga_status read_cases(fitting *f, muga_error *err) {
    const expert_fit_request *q = f->q;
    size_t n_lines = count_lines(q->text, q->n), i_line = 1;
    muga_status st = MUGA_OK;
    for (size_t at = 0; st == MUGA_OK && at < q->n; i_line++) {
        const char *line = q->text + at, *end = memchr(line, '\n', q->n - at);
        size_t len = end ? (size_t)(end - line) : q->n - at;
        if (len > 0) {
            st = read_case(f, line, len, err);
            st = st == MUGA_OK ? st : error_prefix(err, st, "%s:%zu", q->what, i_line);
        }
        at += len + 1;
        if (st == MUGA_OK && q->on_case && !q->on_case(q->ctx, i_line, n_lines)) {
            st = error_set(err, MUGA_E_CANCELLED, "stopped");
        }
    }
    return st == MUGA_OK && f->n == 0 ? error_set(err, MUGA_E_INPUT, "%s holds no message", q->what) : st;
}

/* ---- the weights ---- */

typedef struct slope {
    double value, g[EXPERT_FEATURES], h[EXPERT_FEATURES][EXPERT_FEATURES];
} slope;

static void add_case(const fitting *f, size_t i, const logit *m, double *p, slope *s) {
    const double *x = features_of(f, i);
    double mean[EXPERT_FEATURES] = {0}, second[EXPERT_FEATURES][EXPERT_FEATURES] = {{0}};
    logit_predict(m, x, p);
    for (size_t a = 0; a < f->n_answers; a++) {
        const double *v = x + a * EXPERT_FEATURES;
        for (size_t j = 0; j < EXPERT_FEATURES; j++) {
            mean[j] += p[a] * v[j];
            for (size_t k = 0; k < EXPERT_FEATURES; k++) {
                second[j][k] += p[a] * v[j] * v[k];
            }
        }
    }
    size_t wanted = f->wanted[i];
    s->value -= log(MAX(p[wanted], 1e-300));
    for (size_t j = 0; j < EXPERT_FEATURES; j++) {
        s->g[j] += mean[j] - x[wanted * EXPERT_FEATURES + j];
        for (size_t k = 0; k < EXPERT_FEATURES; k++) {
            s->h[j][k] += second[j][k] - mean[j] * mean[k];
        }
    }
}

static slope slope_at(const fitting *f, const double *weight) {
    double p[EXPERT_MAX_ANSWERS];
    logit m = {.n_choices = f->n_answers, .n_features = EXPERT_FEATURES};
    slope s = {0};
    for (size_t j = 0; j < EXPERT_FEATURES; j++) {
        m.weight[j] = weight[j];
        s.value += RIDGE / 2 * weight[j] * weight[j];
        s.g[j] = RIDGE * weight[j];
        s.h[j][j] = RIDGE;
    }
    for (size_t i = 0; i < f->n; i++) {
        if (f->wanted[i] < f->n_answers) {
            add_case(f, i, &m, p, &s);
        }
    }
    return s;
}

/* Newton's method; the sum is strictly convex, and a step that doesn't descend is halved. */
static void find_weights(const fitting *f, double *weight) {
    slope s = slope_at(f, weight);
    for (size_t i = 0; i < MAX_STEPS; i++) {
        double det = s.h[0][0] * s.h[1][1] - s.h[0][1] * s.h[1][0];
        double step[EXPERT_FEATURES] = {(s.h[1][1] * s.g[0] - s.h[0][1] * s.g[1]) / det,
                                        (s.h[0][0] * s.g[1] - s.h[1][0] * s.g[0]) / det};
        double fall = step[0] * s.g[0] + step[1] * s.g[1], share = 1;
        slope next = s;
        while (fall > AT_MINIMUM * (1 + s.value) && share > 1e-12) {
            double tried[EXPERT_FEATURES] = {weight[0] - share * step[0], weight[1] - share * step[1]};
            next = slope_at(f, tried);
            if (next.value < s.value) {
                memcpy(weight, tried, sizeof tried);
                break;
            }
            share /= 2;
        }
        if (!(next.value < s.value)) {
            return;
        }
        s = next;
    }
}

/* ---- how good they are ---- */

static expert_choice choose(const fitting *f, size_t i, double logprob, double votes) {
    double p[EXPERT_MAX_ANSWERS];
    logit m = {.n_choices = f->n_answers, .n_features = EXPERT_FEATURES, .weight = {logprob, votes}};
    logit_predict(&m, features_of(f, i), p);
    return expert_choose(f->e, p);
}

static bool is_right(const fitting *f, size_t i, const expert_choice *c) {
    size_t wanted = f->wanted[i];
    return wanted < f->n_answers && expert_deed(f->e, c->answer) == expert_deed(f->e, wanted);
}

static int surest_first(const void *a, const void *b) {
    const expert_case *p = a, *q = b;
    return (p->confidence < q->confidence) - (p->confidence > q->confidence);
}

static muga_status judge(const fitting *f, expert_fit *out, muga_error *err) {
    out->n = f->n;
    out->cases = mem_alloc_array(f->n, sizeof *out->cases);
    if (!out->cases) {
        return error_nomem(err, "the messages");
    }
    for (size_t i = 0; i < f->n; i++) {
        expert_choice both = choose(f, i, out->weight[0], out->weight[1]), adapter = choose(f, i, 1, 0),
                      votes = choose(f, i, 0, BY_VOTES);
        out->cases[i] = (expert_case){both.p, is_right(f, i, &both)};
        out->by_both += out->cases[i].right;
        out->by_adapter += is_right(f, i, &adapter);
        out->by_votes += is_right(f, i, &votes);
    }
    qsort(out->cases, f->n, sizeof *out->cases, surest_first);
    size_t n_wrong = 0;
    out->sure = 2;
    for (size_t i = 0; i < f->n; i++) {
        n_wrong += !out->cases[i].right;
        bool last_like_it = i + 1 == f->n || out->cases[i + 1].confidence < out->cases[i].confidence;
        if (last_like_it && (double)n_wrong <= f->q->risk * (double)(i + 1)) {
            out->sure = out->cases[i].confidence;
        }
    }
    return MUGA_OK;
}

muga_status expert_fit_new(const expert_fit_request *q, expert_fit *out, muga_error *err) {
    *out = (expert_fit){.weight = {1, 1}};
    fitting f = {.q = q, .e = intent_expert(q->x)};
    if (!f.e) {
        return error_set(err, MUGA_E_INPUT, "agent.yaml: intent.expert is missing; there is nothing to fit");
    }
    if (!q->model->has_adapter) {
        return error_set(err, MUGA_E_INPUT,
                         "the model runs without an adapter; name one: adapter: in agent.yaml, or "
                         "--adapter");
    }
    f.n_answers = expert_n_answers(f.e);
    muga_status st = read_cases(&f, err);
    if (st == MUGA_OK) {
        find_weights(&f, out->weight);
        st = judge(&f, out, err);
    }
    free(f.x);
    free(f.wanted);
    if (st != MUGA_OK) {
        expert_fit_release(out);
    }
    return st;
}
