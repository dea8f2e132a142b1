/* The text of all metrics: Prometheus' format 0.0.4, and OpenMetrics 1.0.0 for who asks for it. A histogram's count is
 * the sum of the buckets that were read, so that one text never contradicts itself while others count on. */
#include "serve/metrics_private.h"

#include "base/json.h"
#include "base/mem.h"

#include <ctype.h>
#include <inttypes.h>

/* ---- which ---- */

/* The weight of a media type in an Accept header; -1: it isn't named. */
static double weight_of(const char *accept, const char *type) {
    size_t n = strlen(type);
    for (const char *p = accept; *p;) {
        p += strspn(p, ", \t");
        size_t len = strcspn(p, ",");
        if (len >= n && !strncasecmp(p, type, n) && (len == n || strchr("; \t", p[n]))) {
            double q = 1;
            for (size_t i = n; i + 2 < len; i++)
                if ((p[i] == ';' || p[i] == ' ') && tolower((unsigned char)p[i + 1]) == 'q' && p[i + 2] == '=')
                    q = p[i + 3] == '0' ? (p[i + 4] == '.' && isdigit((unsigned char)p[i + 5])
                                               ? (p[i + 5] - '0') / 10.0 +
                                                     (isdigit((unsigned char)p[i + 6]) ? (p[i + 6] - '0') / 100.0 : 0)
                                               : 0)
                                        : 1;
            return q;
        }
        p += len;
    }
    return -1;
}

metrics_format metrics_choose(const char *accept) {
    double open = accept ? weight_of(accept, "application/openmetrics-text") : -1;
    double plain = accept ? weight_of(accept, "text/plain") : -1;
    return open > 0 && open >= plain ? METRICS_OPENMETRICS : METRICS_PROMETHEUS;
}

const char *metrics_content_type(metrics_format f) {
    return f == METRICS_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                    : "text/plain; version=0.0.4; charset=utf-8";
}

/* ---- parts of a line ---- */

static void write_label(str *out, const char *name, const char *value, bool *first) {
    str_append_s(out, *first ? "{" : ",");
    *first = false;
    str_append_s(out, name);
    str_append_s(out, "=\"");
    for (const char *p = value; *p; p++) {
        if (*p == '\\' || *p == '"')
            str_append_c(out, '\\');
        if (*p == '\n')
            str_append_s(out, "\\n");
        else
            str_append_c(out, *p);
    }
    str_append_c(out, '"');
}

/* le: the bound's text, or NULL. */
static void write_labels(str *out, const metric_row *row, const series *s, const char *le) {
    bool first = true;
    for (size_t i = 0; i < metric_n_labels(row); i++)
        write_label(out, row->labels[i], s->values[i], &first);
    if (le)
        write_label(out, "le", le, &first);
    str_append_s(out, first ? " " : "} ");
}

static void write_sum(str *out, const metric_row *row, uint64_t v) {
    if (row->unit == METRIC_MICROSECONDS)
        str_printf(out, "%" PRIu64 ".%06u\n", v / 1000000, (unsigned)(v % 1000000));
    else
        str_printf(out, "%" PRIu64 "\n", v);
}

/* "0.005", "1.0": the canonical form of OpenMetrics. */
static void write_bound(str *out, double bound) {
    str_clear(out);
    json_write_double(out, bound);
    if (!strpbrk(str_get(out), ".e"))
        str_append_s(out, ".0");
}

static void write_histogram(str *out, const metric_row *row, const series *s) {
    uint64_t count = 0;
    str bound = STR_INIT;
    for (size_t i = 0; i <= row->n_buckets; i++) {
        count += atomic_load_explicit(&s->in_bucket[i], memory_order_relaxed);
        if (i < row->n_buckets)
            write_bound(&bound, row->buckets[i]);
        str_printf(out, "muga:%s_bucket", row->name);
        write_labels(out, row, s, i < row->n_buckets ? str_get(&bound) : "+Inf");
        str_printf(out, "%" PRIu64 "\n", count);
    }
    str_printf(out, "muga:%s_sum", row->name);
    write_labels(out, row, s, NULL);
    write_sum(out, row, atomic_load_explicit(&s->value, memory_order_relaxed));
    str_printf(out, "muga:%s_count", row->name);
    write_labels(out, row, s, NULL);
    str_printf(out, "%" PRIu64 "\n", count);
    if (bound.failed)
        out->failed = true;
    str_release(&bound);
}

static void write_series(str *out, const metric_row *row, const series *s) {
    if (row->type == METRIC_HISTOGRAM) {
        write_histogram(out, row, s);
        return;
    }
    uint64_t v = atomic_load_explicit(&s->value, memory_order_relaxed);
    str_printf(out, "muga:%s", row->name);
    write_labels(out, row, s, NULL);
    if (row->type == METRIC_COUNTER) {
        str_printf(out, "%" PRIu64 "\n", v);
    } else {
        double d;
        memcpy(&d, &v, sizeof d);
        json_write_double(out, d);
        str_append_c(out, '\n');
    }
}

/* OpenMetrics names a counter's family without the end that its samples have. */
static void write_head(str *out, const metric_row *row, metrics_format f) {
    static const char *const types[] = {"counter", "gauge", "histogram"};
    size_t n = strlen(row->name);
    if (f == METRICS_OPENMETRICS && row->type == METRIC_COUNTER)
        n -= strlen("_total");
    str_printf(out, "# HELP muga:%.*s %s\n# TYPE muga:%.*s %s\n", (int)n, row->name, row->help, (int)n, row->name,
               types[row->type]);
}

muga_status metrics_write(metrics *m, metrics_format f, str *out, muga_error *err) {
    for (size_t id = 0; m && id < N_METRICS; id++) {
        const metric_row *row = &metrics_table()[id];
        bool headed = false;
        pthread_mutex_lock(&m->lock); /* series are only added, so the list up to n stays as it is afterwards */
        uint32_t n = m->families[id].n;
        series **list = m->families[id].list;
        pthread_mutex_unlock(&m->lock);
        for (uint32_t i = 0; i < n; i++) {
            if (!atomic_load_explicit(&list[i]->shown, memory_order_relaxed))
                continue;
            if (!headed)
                write_head(out, row, f);
            headed = true;
            write_series(out, row, list[i]);
        }
    }
    if (f == METRICS_OPENMETRICS)
        str_append_s(out, "# EOF\n");
    return str_status(out, err, "the text of the metrics");
}
