/* Ways to decide what a text asks for, beside one another; bench/classify runs it and makes the table.
 *
 *   bench_intent votes LABELS EXAMPLES TEXTS         each label's votes by the examples (agent/retrieve.h)
 *   bench_intent score MODEL LABELS EXAMPLES TEXTS   and its score behind the nearest of them, as the agents ask
 *   bench_intent generate MODEL LABELS TEXTS         an answer to muga classify's prompt; a schema lists the labels
 *   bench_intent fit LABELS ROWS RIDGE               fit the features of rows (llm/logit.h)
 *
 * LABELS: lines of name, tab, words. EXAMPLES, TEXTS: lines of {"text", "label" or null}; where TEXTS is "-", each
 * example is decided by those of the four other parts (a fifth each, in turn). ROWS: lines of {"label", "train", "x":
 * [one list of features a label]}; training rows are judged by the fit to the other four parts. A line of JSON each.
 */
#include "bench.h"

#include "agent/retrieve.h"
#include "base/mem.h"
#include "llm/classify.h"
#include "llm/logit.h"
#include "os/os.h"

#include <stdio.h>

enum { PARTS = 5, NEIGHBOURS = 6, MAX_LABELS = 256, MAX_ROWS = 10000 };
#define MAX_BYTES ((size_t)1 << 30)

typedef struct row {
    json_t *v; /* the line */
    const char *text;
    uint32_t label;
} row;

typedef struct rows {
    row *row;
    size_t n;
} rows;

typedef struct labels {
    classify_labels set;
    size_t n;
} labels;

static void *need(void *p) {
    muga_error err;
    check(p ? MUGA_OK : error_nomem(&err, "the rows"), &err);
    return p;
}

static str read_file(const char *path) {
    str text;
    muga_error err;
    str_init(&text, MAX_BYTES);
    check(os_read_file(&os_system()->files, path, MAX_BYTES, &text, &err), &err);
    return text;
}

/* The next line of a text, without its end; false at the end. */
static bool next_line(const str *text, size_t *at, span *line) {
    if (*at >= text->len)
        return false;
    const char *p = text->data + *at, *end = memchr(p, '\n', text->len - *at);
    *line = span_of(p, end ? (size_t)(end - p) : text->len - *at);
    *at += line->n + 1;
    return true;
}

static labels read_labels(const char *path) {
    labels l = {0};
    muga_error err;
    str text = read_file(path);
    span line;
    for (size_t at = 0; next_line(&text, &at, &line);) {
        const char *tab = memchr(line.p, '\t', line.n);
        size_t n = tab ? (size_t)(tab - line.p) : line.n;
        span words = tab ? span_of(tab + 1, line.n - n - 1) : span_of("", 0);
        check(classify_labels_add(&l.set, span_of(line.p, n), words, &err), &err);
    }
    check(classify_labels_check(&l.set, &err), &err);
    l.n = l.set.n;
    if (l.n > MAX_LABELS)
        check(error_set(&err, MUGA_E_LIMIT, "%zu labels; %d are possible", l.n, MAX_LABELS), &err);
    str_release(&text);
    return l;
}

static rows read_rows(const char *path, const labels *l) {
    rows r = {need(mem_alloc_array(MAX_ROWS, sizeof *r.row)), 0};
    muga_error err;
    str text = read_file(path);
    span line;
    for (size_t at = 0; r.n < MAX_ROWS && next_line(&text, &at, &line); r.n++) {
        row *w = &r.row[r.n];
        check(json_parse(line.p, line.n, path, &w->v, &err), &err);
        const char *label = json_get_string(w->v, "label");
        w->text = json_get_string(w->v, "text");
        w->label = label ? classify_labels_find(&l->set, span_of_string(label)) : CLASSIFY_NONE;
    }
    str_release(&text);
    return r;
}

static void print_row(json_t *v) {
    str s = STR_INIT;
    json_write(need(v), &s);
    puts(str_get(&s));
    fflush(stdout);
    str_release(&s);
    json_decref(v);
}

static json_t *numbers(const double *v, size_t n) {
    json_t *a = need(json_array());
    for (size_t i = 0; i < n; i++)
        json_array_append_new(a, json_real(v[i]));
    return a;
}

/* ---- votes ---- */

/* Votes are found for each label by itself, so more labels than an index takes are several indices. */
typedef struct voters {
    retrieve *part[MAX_LABELS / RETRIEVE_MAX_LABELS];
    size_t n_part, n_labels;
    size_t *example; /* [n] index among all examples */
} voters;

static voters make_voters(const rows *examples, size_t n_labels, size_t without) {
    voters v = {.n_labels = n_labels, .example = need(mem_alloc_array(examples->n, sizeof *v.example))};
    retrieve_example *list = need(mem_alloc_array(examples->n, sizeof *list));
    muga_error err;
    for (size_t first = 0; first < n_labels; first += RETRIEVE_MAX_LABELS) {
        size_t n = 0, here = MIN(n_labels - first, (size_t)RETRIEVE_MAX_LABELS);
        for (size_t i = 0; i < examples->n; i++) {
            const row *w = &examples->row[i];
            bool mine = w->label >= first && w->label < first + here;
            if (i % PARTS == without)
                continue;
            v.example[n] = i;
            list[n++] = (retrieve_example){w->text, mine ? (uint64_t)1 << (w->label - first) : 0};
        }
        check(retrieve_new(list, n, here, NULL, &v.part[v.n_part++], &err), &err);
    }
    free(list);
    return v;
}

static void free_voters(voters *v) {
    for (size_t i = 0; i < v->n_part; i++)
        retrieve_free(v->part[i]);
    free(v->example);
}

static void vote(const voters *v, const char *text, double *votes, retrieve_hit hits[NEIGHBOURS], size_t *n_hits) {
    muga_error err;
    for (size_t i = 0; i < v->n_part; i++) {
        *n_hits = NEIGHBOURS;
        check(retrieve_score(v->part[i], text, strlen(text), votes + i * RETRIEVE_MAX_LABELS, hits, n_hits, &err),
              &err);
    }
    for (size_t k = 0; k < *n_hits; k++)
        hits[k].i = v->example[hits[k].i];
}

/* ---- scores behind the nearest examples ---- */

/* As agent/intent.c asks, but for the list of labels, which is long here: the nearest, the least like first, as turns
 * of a conversation in which every text got its label; then the text. */
static json_t *make_prompt(const rows *examples, const labels *l, const retrieve_hit *hits, size_t n,
                           const char *text) {
    json_t *list = need(json_array());
    json_array_append_new(
        list, json_pack("{s:s, s:s}", "role", "system", "content", "Answer with the label that fits the text."));
    for (size_t k = n; k-- > 0;) {
        const row *w = &examples->row[hits[k].i];
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", "user", "content", w->text));
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", "assistant", "content", l->set.words[w->label]));
    }
    json_array_append_new(list, json_pack("{s:s, s:s}", "role", "user", "content", text));
    return list;
}

static json_t *score(llm *m, const rows *examples, const labels *l, const retrieve_hit *hits, size_t n,
                     const char *text) {
    muga_error err;
    llm_score_reply reply;
    json_t *messages = make_prompt(examples, l, hits, n, text);
    const llm_score_request q = {
        .messages = messages, .labels = (const char *const *)l->set.words, .n_labels = l->n, .with_end = true};
    check(llm_score(m, &q, &reply, &err), &err);
    json_t *v = numbers(reply.logprob, l->n);
    llm_score_reply_release(&reply);
    json_decref(messages);
    return v;
}

static void decide_rows(llm *m, const labels *l, const rows *examples, const rows *texts, const voters *v, size_t from,
                        size_t step) {
    for (size_t i = from; i < texts->n; i += step) {
        double votes[MAX_LABELS];
        retrieve_hit hits[NEIGHBOURS];
        size_t n_hits = 0;
        vote(v, texts->row[i].text, votes, hits, &n_hits);
        json_t *out = need(json_pack("{s:I, s:o}", "row", (json_int_t)i, "votes", numbers(votes, l->n)));
        if (m)
            json_object_set_new(out, "z", score(m, examples, l, hits, n_hits, texts->row[i].text));
        print_row(out);
    }
}

static void decide(llm *m, char **argv) {
    labels l = read_labels(argv[0]);
    rows examples = read_rows(argv[1], &l);
    bool left_out = !strcmp(argv[2], "-");
    rows texts = left_out ? examples : read_rows(argv[2], &l);
    for (size_t part = 0; part < (left_out ? PARTS : 1); part++) {
        voters v = make_voters(&examples, l.n, left_out ? part : SIZE_MAX);
        decide_rows(m, &l, &examples, &texts, &v, part, left_out ? PARTS : 1);
        free_voters(&v);
    }
}

/* ---- an answer of the model, constrained ---- */

static void generate(llm *m, char **argv) {
    labels l = read_labels(argv[0]);
    rows texts = read_rows(argv[1], &l);
    json_t *words = need(json_array()), *schema = need(json_pack("{s:O}", "enum", words));
    for (size_t i = 0; i < l.n; i++)
        json_array_append_new(words, json_string(l.set.words[i]));
    for (size_t i = 0; i < texts.n; i++) {
        muga_error err;
        llm_reply reply;
        str prompt = STR_INIT;
        str_printf(&prompt, "%s\n\nText: %s", classify_instruction, texts.row[i].text);
        json_t *messages = need(json_pack("[{s:s, s:s}]", "role", "user", "content", str_get(&prompt)));
        const llm_request q = {.messages = messages, .schema = schema, .sampling = LLM_SAMPLING_GREEDY};
        check(llm_complete(m, &q, &reply, &err), &err);
        print_row(json_pack("{s:I, s:s%}", "row", (json_int_t)i, "answer", str_get(&reply.text), reply.text.len));
        llm_reply_release(&reply);
        json_decref(messages);
        str_release(&prompt);
    }
    json_decref(schema);
    json_decref(words);
}

/* ---- the fit ---- */

typedef struct table {
    size_t n, n_labels, n_features, n_train;
    double *x, *part_x; /* [n][n_labels][n_features], training rows first */
    uint32_t *part_y;
    row *row;
} table;

static table read_table(const char *path, const labels *l) {
    rows r = read_rows(path, l);
    table t = {.n = r.n, .n_labels = l->n, .row = r.row};
    t.n_features = json_array_size(json_array_get(json_object_get(r.row[0].v, "x"), 0));
    t.x = need(mem_alloc_array(r.n * l->n, t.n_features * sizeof *t.x));
    t.part_x = need(mem_alloc_array(r.n * l->n, t.n_features * sizeof *t.x));
    t.part_y = need(mem_alloc_array(r.n, sizeof *t.part_y));
    for (size_t i = 0; i < r.n; i++) {
        const json_t *x = json_object_get(r.row[i].v, "x");
        for (size_t k = 0; k < l->n * t.n_features; k++)
            t.x[i * l->n * t.n_features + k] =
                json_number_value(json_array_get(json_array_get(x, k / t.n_features), k % t.n_features));
        t.n_train += json_get_bool(r.row[i].v, "train", false);
    }
    return t;
}

static void fit_without(table *t, size_t part, double ridge, logit *m) {
    size_t n = 0, width = t->n_labels * t->n_features;
    muga_error err;
    for (size_t i = 0; i < t->n_train; i++)
        if (i % PARTS != part && t->row[i].label != CLASSIFY_NONE) {
            memcpy(t->part_x + n * width, t->x + i * width, width * sizeof *t->x);
            t->part_y[n++] = t->row[i].label;
        }
    const logit_data d = {n, t->n_labels, t->n_features, t->part_x, t->part_y};
    *m = (logit){t->n_labels, t->n_features, {0}, m->bias};
    memset(m->bias, 0, t->n_labels * sizeof *m->bias);
    check(logit_fit(&d, ridge, m, &err), &err);
}

static risk_case answer_row(const table *t, size_t i, const logit *m) {
    double p[MAX_LABELS];
    size_t best = 0;
    logit_predict(m, t->x + i * t->n_labels * t->n_features, p);
    for (size_t k = 1; k < t->n_labels; k++)
        best = p[k] > p[best] ? k : best;
    print_row(json_pack("{s:I, s:I, s:f}", "row", (json_int_t)i, "best", (json_int_t)best, "p", p[best]));
    return (risk_case){p[best], best == t->row[i].label};
}

/* The threshold for a risk of a tenth, or null where the examples show none. */
static void print_threshold(risk_case *cases, size_t n) {
    risk_choice r;
    muga_error err;
    muga_status st = risk_choose(cases, n, 0.1, &r, &err);
    print_row(json_pack("{s:o}", "threshold", st ? json_null() : json_real(r.threshold)));
}

static void fit(char **argv) {
    labels l = read_labels(argv[0]);
    table t = read_table(argv[1], &l);
    double ridge = strtod(argv[2], NULL), bias[MAX_LABELS];
    logit m = {.bias = bias};
    risk_case *cases = need(mem_alloc_array(t.n_train, sizeof *cases));
    for (size_t part = 0; part <= PARTS; part++) {
        fit_without(&t, part, ridge, &m);
        for (size_t i = part; part < PARTS && i < t.n_train; i += PARTS)
            cases[i] = answer_row(&t, i, &m);
    }
    for (size_t i = t.n_train; i < t.n; i++)
        (void)answer_row(&t, i, &m);
    print_threshold(cases, t.n_train);
    free(cases);
}

static llm *open_model(const char *path) {
    llm *m = NULL;
    muga_error err;
    const llm_local_options o = {.isa = -1, .n_threads = 1, .drafts = LLM_DRAFTS_OFF};
    check(llm_local_open(path, path, &o, &m, &err), &err);
    return m;
}

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "votes")) {
        decide(NULL, argv + 2);
    } else if (argc == 6 && !strcmp(argv[1], "score")) {
        llm *m = open_model(argv[2]);
        decide(m, argv + 3);
        llm_free(m);
    } else if (argc == 5 && !strcmp(argv[1], "generate")) {
        llm *m = open_model(argv[2]);
        generate(m, argv + 3);
        llm_free(m);
    } else if (argc == 5 && !strcmp(argv[1], "fit")) {
        fit(argv + 2);
    } else {
        fprintf(stderr, "usage: bench_intent votes LABELS EXAMPLES TEXTS | score MODEL LABELS EXAMPLES TEXTS |\n"
                        "       generate MODEL LABELS TEXTS | fit LABELS ROWS RIDGE\n");
        return 2;
    }
    return 0;
}
