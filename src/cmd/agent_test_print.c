/* What `muga agent test` shows a person (agent_test.h). */
#include "cmd/agent_test.h"

#include "base/mem.h"
#include "cmd/cmd.h"

static const json_t *number(const json_t *document, const char *key) {
    return json_object_get(json_object_get(document, "numbers"), key);
}

static double percent(const json_t *share, const char *key) {
    return 100 * json_get_number(share, key, 0);
}

void test_print_row(const char *who, const json_t *document) {
    int64_t tasks = json_get_int(document, "tasks", 1), runs = json_get_int(document, "runs", 1);
    long long plays = (long long)(tasks * runs), done = (long long)json_get_int(document, "completed", 0);
    double tokens = json_get_number(number(document, "read"), "mean", 0) +
                    json_get_number(number(document, "written"), "mean", 0);
    printf("%-22s %4lld of %lld (%5.1f %%)   wrong effects %lld, unapproved %lld, escalated %lld   %.2f s and %.0f "
           "tokens a task\n",
           who, done, plays, 100.0 * (double)done / (double)plays,
           (long long)json_get_int(document, "wrong_effects", 0), (long long)json_get_int(document, "unapproved", 0),
           (long long)json_get_int(document, "escalated", 0),
           json_get_number(number(document, "task_ms"), "mean", 0) / 1000, tokens);
}

void test_print_not_done(const json_t *document) {
    const json_t *results = json_object_get(document, "results");
    bool many = json_get_int(document, "runs", 1) > 1;
    for (size_t i = 0; i < json_array_size(results); i++) {
        const json_t *v = json_array_get(results, i);
        char run[32] = "";
        if (many)
            snprintf(run, sizeof run, "run %lld, ", (long long)json_get_int(v, "run", 0));
        if (!json_get_bool(v, "ok", false))
            printf("not done: %s%-12s %s\n", run, json_get_string(v, "id"), json_get_string(v, "why"));
    }
}

static void print_share(const char *what, const json_t *share) {
    printf("%-22s %5.1f %%  (95 %%: %.1f to %.1f)\n", what, percent(share, "rate"), percent(share, "low"),
           percent(share, "high"));
}

static void print_pass(const json_t *pass) {
    size_t n = json_array_size(pass);
    if (n < 2)
        return;
    printf("%-22s", "all of k runs right");
    for (size_t i = 0; i < n; i++) /* the first eight, and the last */
        if (i < 8 || i + 1 == n)
            printf("%s k=%lld %.1f %%", i ? "," : "", (long long)json_get_int(json_array_get(pass, i), "k", 0),
                   percent(json_array_get(pass, i), "rate"));
    printf("\n");
}

static void print_effects(const char *what, const json_t *e) {
    printf("%-22s %lld in %lld tasks; at most %.2f %% of such tasks (95 %%)\n", what,
           (long long)json_get_int(e, "effects", 0), (long long)json_get_int(e, "tasks", 0), percent(e, "at_most"));
}

static void print_escalation(const json_t *e) {
    const json_t *precision = json_object_get(e, "precision"), *recall = json_object_get(e, "recall");
    if (json_is_object(precision)) {
        printf("%-22s %lld of %lld", "handed over rightly", (long long)json_get_int(e, "right", 0),
               (long long)json_get_int(e, "escalated", 0));
        printf(" (precision %.1f %%; 95 %%: %.1f to %.1f)\n", percent(precision, "rate"), percent(precision, "low"),
               percent(precision, "high"));
    }
    if (json_is_object(recall)) {
        printf("%-22s %lld of %lld", "handed over when due", (long long)json_get_int(e, "found", 0),
               (long long)json_get_int(e, "wanted", 0));
        printf(" (recall %.1f %%; 95 %%: %.1f to %.1f)\n", percent(recall, "rate"), percent(recall, "low"),
               percent(recall, "high"));
    }
}

static void print_spread(const char *what, const json_t *v, const char *unit) {
    printf("%-22s mean %.1f, p50 %.1f, p90 %.1f, p99 %.1f, most %.1f%s\n", what, json_get_number(v, "mean", 0),
           json_get_number(v, "p50", 0), json_get_number(v, "p90", 0), json_get_number(v, "p99", 0),
           json_get_number(v, "max", 0), unit);
}

static void print_energy(const json_t *e) {
    const char *why = json_get_string(e, "why");
    if (why)
        printf("%-22s unknown: %s\n", "energy", why);
    else
        printf("%-22s %.2f J a task, %.0f J in all (the whole machine's processors)\n", "energy",
               json_get_number(e, "joules_a_task", 0), json_get_number(e, "joules", 0));
}

/* Releases the line, which holds texts of a file that anybody wrote. */
static void print_visible(const char *what, str *line) {
    str shown = STR_INIT;
    cmd_write_visible(str_get(line), line->len, &shown);
    printf("%-22s %s\n", what, str_get(&shown));
    str_release(&shown);
    str_release(line);
}

static void print_cost(const json_t *c, bool asked) {
    const char *why = json_get_string(c, "why"), *currency = json_get_string(c, "currency"),
               *list = json_get_string(c, "list");
    const json_t *models = json_object_get(c, "models");
    str line = STR_INIT;
    if (why)
        printf("%-22s unknown: %s\n", "cost in the cloud", why);
    if (models && !asked) {
        printf("%-22s none: no model was asked\n", "cost in the cloud");
        return;
    }
    if (models) {
        str_printf(&line, "by the prices of %s (%s)", json_get_string(c, "as_of"), list ? list : "a file");
        print_visible("cost in the cloud", &line);
    }
    for (size_t i = 0; i < json_array_size(models); i++) {
        const json_t *m = json_array_get(models, i);
        double all = json_get_number(m, "a_1000", 0), least = json_get_number(m, "a_1000_cached", all);
        char cached[64] = "";
        if (least < all)
            snprintf(cached, sizeof cached, ", %.4f with a cache as here,", least);
        str_printf(&line, "%.4f %s for 1,000 tasks' tokens%s on %s (%s: %s)", all, currency, cached,
                   json_get_string(m, "model"), json_get_string(m, "as_of"), json_get_string(m, "source"));
        print_visible("", &line);
    }
}

void test_print_numbers(const json_t *document) {
    const json_t *satisfaction = number(document, "satisfaction");
    print_share("completion", number(document, "completion"));
    print_pass(number(document, "pass"));
    print_effects("wrong effects", number(document, "wrong_effects"));
    print_effects("unapproved effects", number(document, "unapproved"));
    print_escalation(number(document, "escalation"));
    print_spread("calls a task", number(document, "steps"), "");
    print_spread("tokens read", number(document, "read"), "");
    print_spread("tokens written", number(document, "written"), "");
    print_spread("time a message", number(document, "turn_ms"), " ms");
    print_spread("time a task", number(document, "task_ms"), " ms");
    print_energy(number(document, "energy"));
    print_cost(number(document, "cost"), json_get_number(number(document, "asked"), "max", 0) > 0);
    if (json_is_object(satisfaction)) {
        char what[64];
        snprintf(what, sizeof what, "rated at work, %lld",
                 (long long)(json_get_int(satisfaction, "up", 0) + json_get_int(satisfaction, "down", 0)));
        print_share(what, satisfaction);
    }
}

typedef struct judged {
    double confidence;
    bool ok;
} judged;

static int surest_first(const void *a, const void *b) {
    const judged *p = a, *q = b;
    return (p->confidence < q->confidence) - (p->confidence > q->confidence);
}

static void print_surest(const judged *list, size_t k, size_t n) {
    size_t right = 0;
    for (size_t i = 0; i < k; i++)
        right += list[i].ok;
    if (k > 0)
        printf("%4zu of %zu (%5.1f %%), %zu of them right (%5.1f %%), sure of %.3f or more\n", k, n,
               100.0 * (double)k / (double)n, right, 100.0 * (double)right / (double)k, list[k - 1].confidence);
}

muga_status test_print_risk(const json_t *document, double sure, muga_error *err) {
    const json_t *results = json_object_get(document, "results");
    size_t n = 0, n_sure = 0, n_all = json_array_size(results);
    judged *list = mem_alloc_array(n_all, sizeof *list);
    if (!list)
        return error_nomem(err, "the tasks");
    for (size_t i = 0; i < n_all; i++) {
        const json_t *v = json_array_get(results, i), *c = json_object_get(v, "confidence");
        if (json_is_number(c))
            list[n++] = (judged){json_number_value(c), json_get_bool(v, "ok", false)};
    }
    qsort(list, n, sizeof *list, surest_first);
    while (n_sure < n && list[n_sure].confidence >= sure)
        n_sure++;
    if (n > 0) {
        printf("\nhandled alone%-9s ", "");
        print_surest(list, n_sure, n_all);
    }
    for (size_t tenth = 5; n > 0 && tenth <= 10; tenth++) {
        printf("the surest %3zu %%%6s ", 10 * tenth, "");
        print_surest(list, MIN(n, n_all * tenth / 10), n_all);
    }
    free(list);
    return MUGA_OK;
}

void test_print_comparison(const char *a, const char *b, const json_t *c) {
    const json_t *differences = json_object_get(c, "differences"), *means = json_object_get(c, "means");
    for (size_t i = 0; i < json_array_size(differences); i++) {
        const json_t *d = json_array_get(differences, i);
        bool better = json_get_number(d, "a", 0) > json_get_number(d, "b", 0);
        printf("%-8s %-12s %3.0f %% beside %3.0f %%   %s: %s\n", better ? "better" : "worse", json_get_string(d, "id"),
               percent(d, "a"), percent(d, "b"), better ? b : a, json_get_string(d, "why"));
    }
    printf("%-22s %.1f %% beside %.1f %%: %+.1f points (95 %%: %+.1f to %+.1f)\n", "completion", percent(c, "a"),
           percent(c, "b"), percent(c, "difference"), percent(c, "low"), percent(c, "high"));
    printf("%-22s %lld better, %lld worse of %lld; by chance as often as p = %.3g (exact, two-sided)\n", "tasks",
           (long long)json_get_int(c, "won", 0), (long long)json_get_int(c, "lost", 0),
           (long long)json_get_int(c, "tasks", 0), json_get_number(c, "p", 1));
    for (size_t i = 0; i < json_array_size(means); i++) {
        const json_t *m = json_array_get(means, i);
        printf("%-22s %.2f beside %.2f a task\n", json_get_string(m, "what"), json_get_number(m, "a", 0),
               json_get_number(m, "b", 0));
    }
}
