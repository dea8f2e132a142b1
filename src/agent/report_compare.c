/* Two evaluations of the same tasks beside each other (report.h). Owns: the pairing. Refuses: two documents whose tasks
 * differ in name, order or content.
 *
 * A task is won when the first does it in a larger share of its runs, lost when in a smaller; ties say nothing. If the
 * two were equally good each of the others would fall either way like a coin, hence the exact sign test, which with one
 * run each is McNemar's exact test. */
#include "agent/report.h"

#include "agent/internal.h"
#include "agent/statistics.h"

typedef struct side {
    const json_t *document, *results;
    const char *name;
    size_t n_tasks, n_runs;
} side;

static muga_status read_side(const json_t *document, const char *name, side *out, muga_error *err) {
    int64_t tasks = json_get_int(document, "tasks", 0), runs = json_get_int(document, "runs", 1);
    *out = (side){document, json_object_get(document, "results"), name, 0, 0};
    size_t n = json_array_size(out->results);
    if (tasks < 1 || runs < 1 || (uint64_t)tasks > n || (uint64_t)runs > n || (uint64_t)tasks * (uint64_t)runs != n) {
        return error_set(err, MUGA_E_INPUT, "%.150s is no result of `muga agent test --json`", name);
    }
    out->n_tasks = (size_t)tasks;
    out->n_runs = (size_t)runs;
    for (size_t i = 0; i < n; i++) {
        const char *id = json_get_string(json_array_get(out->results, i), "id"),
                   *first = json_get_string(json_array_get(out->results, i % out->n_tasks), "id");
        if (!id || !first || strcmp(id, first) != 0) {
            return error_set(err, MUGA_E_INPUT, "%.150s: results[%zu]: its runs are not of the same tasks", name, i);
        }
    }
    return MUGA_OK;
}

static const char *id_of(const side *s, size_t i) {
    return json_get_string(json_array_get(s->results, i), "id");
}

static muga_status check_same(const side *a, const side *b, muga_error *err) {
    const char *digest_a = json_get_string(a->document, "tasks_sha256"),
               *digest_b = json_get_string(b->document, "tasks_sha256");
    if (a->n_tasks != b->n_tasks) {
        return error_set(err, MUGA_E_INPUT, "%.90s has %zu tasks, %.90s %zu; play the same to both (--tasks)", a->name,
                         a->n_tasks, b->name, b->n_tasks);
    }
    for (size_t i = 0; i < a->n_tasks; i++) {
        if (strcmp(id_of(a, i), id_of(b, i)) != 0) {
            return error_set(err, MUGA_E_INPUT,
                             "task %zu is '%.40s' in %.60s and '%.40s' in %.60s; play the same to both (--tasks)",
                             i + 1, id_of(a, i), a->name, id_of(b, i), b->name);
        }
    }
    if (digest_a && digest_b && strcmp(digest_a, digest_b) != 0) {
        return error_set(err, MUGA_E_INPUT, "the tasks of %.90s and %.90s have the same names but not the same content",
                         a->name, b->name);
    }
    return MUGA_OK;
}

/* Runs in which it was done; *why: of the first in which it wasn't. */
static size_t times_done(const side *s, size_t i, const char **why) {
    size_t n = 0;
    *why = "";
    for (size_t run = 0; run < s->n_runs; run++) {
        const json_t *r = json_array_get(s->results, run * s->n_tasks + i);
        bool ok = json_get_bool(r, "ok", false);
        const char *text = json_get_string(r, "why");
        *why = !ok && !**why && text ? text : *why;
        n += ok;
    }
    return n;
}

static double mean_of(const side *s, const char *key) {
    double sum = 0;
    size_t n = json_array_size(s->results);
    for (size_t i = 0; i < n; i++) {
        sum += json_get_number(json_array_get(s->results, i), key, 0);
    }
    return sum / (double)n;
}

static json_t *list_means(const side *a, const side *b) {
    static const char *const keys[] = {"us", "steps", "asked", "read", "written", "wrong_effects", "unapproved"};
    json_t *list = json_array();
    for (size_t i = 0; list && i < ARRAY_LEN(keys); i++) {
        json_array_append_new(
            list, json_pack("{s:s, s:f, s:f}", "what", keys[i], "a", mean_of(a, keys[i]), "b", mean_of(b, keys[i])));
    }
    return list;
}

muga_status report_compare(const json_t *a, const char *name_a, const json_t *b, const char *name_b, json_t **out,
                           muga_error *err) {
    side x, y;
    *out = NULL;
    muga_status st = read_side(a, name_a, &x, err);
    st = st == MUGA_OK ? read_side(b, name_b, &y, err) : st;
    st = st == MUGA_OK ? check_same(&x, &y, err) : st;
    if (st != MUGA_OK) {
        return st;
    }
    json_t *differences = json_array();
    size_t won = 0, lost = 0, done_a = 0, done_b = 0;
    double sum = 0, squares = 0;
    for (size_t i = 0; differences && i < x.n_tasks; i++) {
        const char *why_a, *why_b;
        size_t n_a = times_done(&x, i, &why_a), n_b = times_done(&y, i, &why_b);
        done_a += n_a;
        done_b += n_b;
        if (n_a * y.n_runs == n_b * x.n_runs) {
            continue;
        }
        bool better = n_a * y.n_runs > n_b * x.n_runs;
        double rate_a = (double)n_a / (double)x.n_runs, rate_b = (double)n_b / (double)y.n_runs;
        sum += rate_a - rate_b;
        squares += (rate_a - rate_b) * (rate_a - rate_b);
        won += better;
        lost += !better;
        json_array_append_new(differences, json_pack("{s:s, s:f, s:f, s:s}", "id", id_of(&x, i), "a", rate_a, "b",
                                                     rate_b, "why", better ? why_b : why_a));
    }
    double all_a = (double)done_a / (double)json_array_size(x.results),
           all_b = (double)done_b / (double)json_array_size(y.results);
    stat_interval interval = stat_paired_difference(sum, squares, x.n_tasks);
    *out = json_pack("{s:I, s:[I,I], s:f, s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:o, s:o}", "tasks", (json_int_t)x.n_tasks,
                     "runs", (json_int_t)x.n_runs, (json_int_t)y.n_runs, "a", all_a, "b", all_b, "won", (json_int_t)won,
                     "lost", (json_int_t)lost, "difference", all_a - all_b, "low", interval.low, "high", interval.high,
                     "p", stat_sign_test(won, lost), "differences", differences, "means", list_means(&x, &y));
    return *out ? MUGA_OK : error_nomem(err, "a comparison");
}
