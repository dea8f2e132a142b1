/* The numbers of an evaluation (report.h). Owns: what is counted over which plays. A play is one task in one run; where
 * a share has an interval, its n is the number of tasks, since runs of one task are not independent of each other. */
#include "agent/report.h"

#include "agent/internal.h"
#include "agent/statistics.h"
#include "base/utf8.h"

#include <stdio.h>

/* ---- small pieces ---- */

static json_t *share(double rate, size_t n) {
    stat_interval i = stat_wilson(rate, n);
    return json_pack("{s:f, s:f, s:f}", "rate", rate, "low", i.low, "high", i.high);
}

static json_t *spread(double *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += v[i];
    }
    return json_pack("{s:f, s:f, s:f, s:f, s:f}", "mean", n > 0 ? sum / (double)n : 0, "p50",
                     stat_percentile(v, n, 0.5), "p90", stat_percentile(v, n, 0.9), "p99", stat_percentile(v, n, 0.99),
                     "max", stat_percentile(v, n, 1));
}

static json_t *spread_of(const json_t *results, const char *key, double scale) {
    size_t n = json_array_size(results);
    double *v = mem_alloc_array(n, sizeof *v);
    for (size_t i = 0; v && i < n; i++) {
        v[i] = scale * json_get_number(json_array_get(results, i), key, 0);
    }
    json_t *out = v ? spread(v, n) : NULL;
    free(v);
    return out;
}

static json_t *spread_of_turns(const json_t *results) {
    size_t n = 0, at = 0;
    for (size_t i = 0; i < json_array_size(results); i++) {
        n += json_array_size(json_object_get(json_array_get(results, i), "turns_us"));
    }
    double *v = mem_alloc_array(n, sizeof *v);
    for (size_t i = 0; v && i < json_array_size(results); i++) {
        const json_t *turns = json_object_get(json_array_get(results, i), "turns_us");
        for (size_t k = 0; k < json_array_size(turns); k++) {
            v[at++] = json_number_value(json_array_get(turns, k)) / 1000;
        }
    }
    json_t *out = v ? spread(v, n) : NULL;
    free(v);
    return out;
}

/* Runs in which task i was done. */
static size_t times_done(const report_parts *p, size_t i) {
    size_t n = 0;
    for (size_t run = 0; run < p->n_runs; run++) {
        n += json_get_bool(json_array_get(p->results, run * p->n_tasks + i), "ok", false);
    }
    return n;
}

/* ---- sections ---- */

static json_t *completion(const report_parts *p) {
    size_t done = 0;
    for (size_t i = 0; i < p->n_tasks; i++) {
        done += times_done(p, i);
    }
    return share((double)done / (double)(p->n_tasks * p->n_runs), p->n_tasks);
}

static json_t *pass(const report_parts *p) {
    json_t *list = json_array();
    for (size_t k = 1; list && k <= p->n_runs; k++) {
        double sum = 0;
        for (size_t i = 0; i < p->n_tasks; i++) {
            sum += stat_pass(p->n_runs, times_done(p, i), k);
        }
        json_array_append_new(list, json_pack("{s:I, s:f}", "k", (json_int_t)k, "rate", sum / (double)p->n_tasks));
    }
    return list;
}

static json_t *effects(const report_parts *p, const char *key) {
    int64_t n = 0;
    size_t tasks = 0;
    for (size_t i = 0; i < p->n_tasks; i++) {
        int64_t here = 0;
        for (size_t run = 0; run < p->n_runs; run++) {
            here += json_get_int(json_array_get(p->results, run * p->n_tasks + i), key, 0);
        }
        n += here;
        tasks += here > 0;
    }
    return json_pack("{s:I, s:I, s:f}", "effects", (json_int_t)n, "tasks", (json_int_t)tasks, "at_most",
                     stat_at_most(tasks, p->n_tasks));
}

/* Right: a person had to take over, or might. Wanted: had to. */
static json_t *escalation(const report_parts *p) {
    size_t escalated = 0, right = 0, wanted = 0, found = 0;
    for (size_t i = 0; i < json_array_size(p->results); i++) {
        const json_t *r = json_array_get(p->results, i);
        const char *outcome = json_get_string(r, "outcome"), *says = json_get_string(r, "escalation");
        if (!says || !outcome) {
            continue;
        }
        bool did = strcmp(outcome, "escalate") == 0, must = strcmp(says, "must") == 0;
        escalated += did;
        right += did && strcmp(says, "no") != 0;
        wanted += must;
        found += must && did;
    }
    size_t runs = p->n_runs;
    json_t *precision = escalated ? share((double)right / (double)escalated, (escalated + runs - 1) / runs)
                                  : json_null(),
           *recall = wanted ? share((double)found / (double)wanted, wanted / runs) : json_null();
    return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o}", "escalated", (json_int_t)escalated, "right", (json_int_t)right,
                     "wanted", (json_int_t)wanted, "found", (json_int_t)found, "precision", precision, "recall",
                     recall);
}

static json_t *energy_section(const report_parts *p) {
    if (!p->energy || p->energy->n_zones == 0) {
        return json_pack("{s:s}", "why", p->energy ? p->energy->why : "not measured");
    }
    double joules = (double)p->energy->total_uj / 1e6;
    return json_pack("{s:f, s:f}", "joules", joules, "joules_a_task", joules / (double)(p->n_tasks * p->n_runs));
}

static double mean_of(const json_t *numbers, const char *key) {
    return json_get_number(json_object_get(numbers, key), "mean", 0);
}

/* What a task's mean tokens cost by this row, of `cached` of them read at the price of a cache that had them. */
static double a_task(const json_t *row, const json_t *numbers, double cached) {
    double input = json_get_number(row, "input", 0);
    return ((mean_of(numbers, "read") - cached) * input + cached * json_get_number(row, "cached", input) +
            mean_of(numbers, "written") * json_get_number(row, "output", 0)) /
           1e6;
}

/* What the same tokens cost elsewhere. */
static json_t *cost(const report_parts *p, const json_t *numbers) {
    if (!p->prices) {
        return json_pack("{s:s}", "why", "no price list; give one with --prices FILE");
    }
    json_t *list = json_array();
    const json_t *models = json_object_get(p->prices, "models");
    for (size_t i = 0; list && i < json_array_size(models); i++) {
        const json_t *m = json_array_get(models, i);
        double full = a_task(m, numbers, 0), least = a_task(m, numbers, mean_of(numbers, "cached"));
        json_t *row = json_clone(m);
        bool ok =
            row && json_object_set_new(row, "a_task", json_real(full)) == 0 &&
            json_object_set_new(row, "a_1000", json_real(1000 * full)) == 0 &&
            (!json_object_get(m, "cached") || json_object_set_new(row, "a_1000_cached", json_real(1000 * least)) == 0);
        if (!ok) {
            json_decref(row);
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, row);
    }
    return json_pack("{s:O, s:O, s:O, s:o}", "currency", json_object_get(p->prices, "currency"), "as_of",
                     json_object_get(p->prices, "as_of"), "list", json_object_get(p->prices, "list"), "models", list);
}

static json_t *satisfaction(const report_parts *p) {
    int64_t up = json_get_int(p->satisfaction, "up", 0), down = json_get_int(p->satisfaction, "down", 0);
    if (up + down == 0) {
        return json_null();
    }
    json_t *v = share((double)up / (double)(up + down), (size_t)(up + down));
    return v && json_object_set_new(v, "up", json_integer(up)) == 0 &&
                   json_object_set_new(v, "down", json_integer(down)) == 0
               ? v
               : NULL;
}

/* Takes v. */
static bool put(json_t *object, const char *key, json_t *v) {
    return v && json_object_set_new(object, key, v) == 0;
}

muga_status report_make(const report_parts *p, json_t **out, muga_error *err) {
    static const char *const counts[] = {"steps", "asked", "read", "cached", "written"};
    json_t *o = json_object();
    bool ok = o && put(o, "completion", completion(p)) && put(o, "pass", pass(p)) &&
              put(o, "wrong_effects", effects(p, "wrong_effects")) && put(o, "unapproved", effects(p, "unapproved")) &&
              put(o, "escalation", escalation(p));
    for (size_t i = 0; ok && i < ARRAY_LEN(counts); i++) {
        ok = put(o, counts[i], spread_of(p->results, counts[i], 1));
    }
    ok = ok && put(o, "turn_ms", spread_of_turns(p->results)) && put(o, "task_ms", spread_of(p->results, "us", 1e-3)) &&
         put(o, "energy", energy_section(p)) && put(o, "cost", cost(p, o)) && put(o, "satisfaction", satisfaction(p));
    *out = ok ? o : NULL;
    if (!ok) {
        json_decref(o);
    }
    return ok ? MUGA_OK : error_nomem(err, "a report");
}

/* ---- what comes from elsewhere ---- */

static const char prices_schema[] =
    "{\"type\": \"object\", \"required\": [\"currency\", \"models\"], \"additionalProperties\": false,"
    " \"properties\": {"
    " \"currency\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 16},"
    " \"as_of\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 32},"
    " \"models\": {\"type\": \"array\", \"minItems\": 1, \"maxItems\": 64, \"items\": {\"type\": \"object\","
    "   \"required\": [\"model\", \"input\", \"output\", \"as_of\", \"source\"], \"additionalProperties\": false,"
    "   \"properties\": {"
    "   \"model\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 64},"
    "   \"input\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 1000000},"
    "   \"cached\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 1000000},"
    "   \"output\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 1000000},"
    "   \"as_of\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 32},"
    "   \"source\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 500}}}}}}";

/* The newest row's, where the list doesn't date itself. */
static const json_t *newest(const json_t *models) {
    const json_t *best = NULL;
    for (size_t i = 0; i < json_array_size(models); i++) {
        const json_t *at = json_object_get(json_array_get(models, i), "as_of");
        best = !best || strcmp(json_string_value(at), json_string_value(best)) > 0 ? at : best;
    }
    return best;
}

muga_status report_read_prices(const char *text, size_t n, const char *what, json_t **out, muga_error *err) {
    json_t *schema = NULL, *v = NULL, *places = NULL;
    *out = NULL;
    muga_status st = json_parse(prices_schema, sizeof prices_schema - 1, "the schema of prices", &schema, err);
    st = st == MUGA_OK ? yaml_parse_places(text, n, what, &v, &places, err) : st;
    if (st == MUGA_OK) {
        const check_place at = {.file = what, .places = places};
        st = check_schema(&at, schema, v, err);
    }
    if (st == MUGA_OK) {
        const json_t *as_of = json_object_get(v, "as_of");
        json_t *list = utf8_valid(what, strlen(what)) ? json_string(what) : json_null();
        bool ok = (as_of || json_object_set(v, "as_of", json_borrow(newest(json_object_get(v, "models")))) == 0) &&
                  json_object_set_new(v, "list", list) == 0;
        st = ok ? MUGA_OK : error_nomem(err, "a price list");
    }
    json_decref(schema);
    json_decref(places);
    if (st == MUGA_OK) {
        *out = v;
    } else {
        json_decref(v);
    }
    return st;
}

muga_status report_satisfaction(store *s, const char *agent, json_t **out, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    *out = NULL;
    muga_status st = store_query(s, &r, err,
                                 "SELECT coalesce(sum(rating > 0), 0), coalesce(sum(rating < 0), 0) FROM interactions"
                                 " WHERE agent = ?1",
                                 "s", agent);
    st = st == MUGA_OK ? store_step(r, &has, err) : st;
    if (st == MUGA_OK && has && store_int(r, 0) + store_int(r, 1) > 0) {
        *out = json_pack("{s:I, s:I}", "up", (json_int_t)store_int(r, 0), "down", (json_int_t)store_int(r, 1));
        st = *out ? MUGA_OK : error_nomem(err, "ratings");
    }
    store_done(r);
    return st;
}
