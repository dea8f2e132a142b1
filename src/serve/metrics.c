/* Counting. Owns: series and their values. Refuses: nothing; what finds no room is counted as "other", and where memory
 * is out it isn't counted.
 *
 * Idea: a series is made once and lives until the end, so its address may be kept and its values are atomic; the lock
 * is for finding one. A hidden series (metrics_clear) is shown again when it is next set. */
#include "serve/metrics_private.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>

size_t metric_n_labels(const metric_row *row) {
    size_t n = 0;
    while (n < METRICS_MAX_LABELS && row->labels[n])
        n++;
    return n;
}

/* ---- series ---- */

typedef struct label_values {
    char v[METRICS_MAX_LABELS][METRICS_LABEL_BYTES + 1];
} label_values;

static void read_label(const char *text, char out[METRICS_LABEL_BYTES + 1]) {
    str whole = STR_INIT;
    size_t n = text ? strnlen(text, METRICS_LABEL_BYTES) : 0;
    if (n == METRICS_LABEL_BYTES)
        n -= utf8_incomplete_tail(text, n);
    str_init(&whole, METRICS_LABEL_BYTES);
    if (text)
        utf8_append_replaced(&whole, text, n); /* what grows past the maximum isn't appended */
    size_t kept = MIN(whole.len, (size_t)METRICS_LABEL_BYTES);
    memcpy(out, str_get(&whole), kept);
    out[kept] = '\0';
    str_release(&whole);
}

static bool same_values(const series *s, const label_values *l, size_t n_labels) {
    for (size_t i = 0; i < n_labels; i++)
        if (strcmp(s->values[i], l->v[i]))
            return false;
    return true;
}

static uint32_t hash_values(const label_values *l, size_t n_labels) {
    uint32_t h = 2166136261u; /* FNV-1a; a bad spread costs time up to METRICS_MAX_SERIES comparisons, no more */
    for (size_t i = 0; i < n_labels; i++)
        for (const char *p = l->v[i];; p++) {
            h = (h ^ (unsigned char)*p) * 16777619u;
            if (!*p)
                break;
        }
    return h;
}

static series *new_series(const label_values *l, size_t n_labels, size_t n_buckets) {
    size_t bytes = sizeof(series) + (n_buckets ? n_buckets + 1 : 0) * sizeof(_Atomic uint64_t), texts = bytes;
    for (size_t i = 0; i < n_labels; i++)
        bytes += strlen(l->v[i]) + 1;
    char *block = calloc(1, bytes), *text = block ? block + texts : NULL;
    series *s = (series *)(void *)block;
    for (size_t i = 0; s && i < n_labels; i++) {
        size_t n = strlen(l->v[i]) + 1;
        s->values[i] = memcpy(text, l->v[i], n);
        text += n;
    }
    return s;
}

static bool make_lists(family *f) {
    if (!f->list)
        f->list = mem_alloc_array(METRICS_MAX_SERIES + 1, sizeof *f->list);
    if (!f->slots)
        f->slots = mem_alloc_array(METRICS_SLOTS, sizeof *f->slots);
    return f->list && f->slots;
}

/* With the lock held. NULL: memory. */
static series *find_or_make(family *f, const metric_row *row, const label_values *l) {
    size_t n_labels = metric_n_labels(row);
    if (!make_lists(f))
        return NULL;
    uint32_t at = hash_values(l, n_labels) % METRICS_SLOTS;
    for (; f->slots[at]; at = (at + 1) % METRICS_SLOTS)
        if (same_values(f->list[f->slots[at] - 1], l, n_labels))
            return f->list[f->slots[at] - 1];
    if (f->n == METRICS_MAX_SERIES + 1)
        return f->list[METRICS_MAX_SERIES];
    label_values other = {0};
    bool full = f->n == METRICS_MAX_SERIES;
    for (size_t i = 0; full && i < n_labels; i++)
        memcpy(other.v[i], "other", 6);
    series *s = new_series(full ? &other : l, n_labels, row->n_buckets);
    if (!s)
        return NULL;
    f->list[f->n++] = s;
    if (!full)
        f->slots[at] = (uint16_t)f->n;
    return s;
}

static series *get(metrics *m, metric id, const char *const *values) {
    const metric_row *row = &metrics_table()[id];
    label_values l;
    for (size_t i = 0; i < metric_n_labels(row); i++)
        read_label(values[i], l.v[i]);
    pthread_mutex_lock(&m->lock);
    series *s = find_or_make(&m->families[id], row, &l);
    pthread_mutex_unlock(&m->lock);
    return s;
}

/* ---- values ---- */

static uint64_t bits_of(double v) {
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

static double double_of(uint64_t u) {
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}

static void add_to(series *s, metric_type type, int64_t n) {
    if (!s)
        return;
    if (type == METRIC_COUNTER) {
        atomic_fetch_add_explicit(&s->value, (uint64_t)n, memory_order_relaxed);
    } else {
        uint64_t was = atomic_load_explicit(&s->value, memory_order_relaxed);
        while (!atomic_compare_exchange_weak_explicit(&s->value, &was, bits_of(double_of(was) + (double)n),
                                                      memory_order_relaxed, memory_order_relaxed)) {}
    }
    atomic_store_explicit(&s->shown, true, memory_order_relaxed);
}

static void observe_in(const metrics *m, metric id, series *s, uint64_t value) {
    if (!s)
        return;
    const uint64_t *bounds = m->families[id].bounds;
    size_t n = metrics_table()[id].n_buckets, i = 0;
    while (i < n && value > bounds[i])
        i++;
    atomic_fetch_add_explicit(&s->in_bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->value, value, memory_order_relaxed);
    atomic_store_explicit(&s->shown, true, memory_order_relaxed);
}

static void set_bits(metrics *m, metric id, const char *const *values, uint64_t bits) {
    series *s = m ? get(m, id, values) : NULL;
    if (s) {
        atomic_store_explicit(&s->value, bits, memory_order_relaxed);
        atomic_store_explicit(&s->shown, true, memory_order_relaxed);
    }
}

void metrics_add(metrics *m, metric id, const char *const *values, uint64_t n) {
    if (m)
        add_to(get(m, id, values), metrics_table()[id].type, (int64_t)n);
}

void metrics_set(metrics *m, metric id, const char *const *values, double v) {
    set_bits(m, id, values, bits_of(v));
}

void metrics_set_total(metrics *m, metric id, const char *const *values, uint64_t n) {
    set_bits(m, id, values, n);
}

void metrics_observe(metrics *m, metric id, const char *const *values, uint64_t value) {
    if (m)
        observe_in(m, id, get(m, id, values), value);
}

void metrics_set_steps(metrics *m, const char *const *values, const uint64_t in_bucket[METRICS_N_STEP_SIZES],
                       uint64_t sum) {
    series *s = m ? get(m, METRIC_ITERATION_TOKENS, values) : NULL;
    if (!s)
        return;
    for (size_t i = 0; i < METRICS_N_STEP_SIZES; i++)
        atomic_store_explicit(&s->in_bucket[i], in_bucket[i], memory_order_relaxed);
    atomic_store_explicit(&s->value, sum, memory_order_relaxed);
    atomic_store_explicit(&s->shown, true, memory_order_relaxed);
}

void metrics_clear(metrics *m, metric id) {
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; i < m->families[id].n; i++)
        atomic_store_explicit(&m->families[id].list[i]->shown, false, memory_order_relaxed);
    pthread_mutex_unlock(&m->lock);
}

/* ---- requests ---- */

static const metric of_request[] = {METRIC_PREFIX_QUERIES,
                                    METRIC_PREFIX_HITS,
                                    METRIC_PROMPT_TOKENS,
                                    METRIC_GENERATION_TOKENS,
                                    METRIC_FIRST_TOKEN,
                                    METRIC_INTER_TOKEN,
                                    METRIC_E2E,
                                    METRIC_QUEUE_TIME,
                                    METRIC_PREFILL_TIME,
                                    METRIC_DECODE_TIME,
                                    METRIC_REQUEST_PROMPT,
                                    METRIC_REQUEST_GENERATION};

/* With the lock held; NULL: memory. */
static struct metrics_model *make_model(metrics *m, const label_values *name) {
    struct metrics_model *made = calloc(1, sizeof *made);
    if (!made || !(made->name = mem_copy_string(name->v[0]))) {
        free(made);
        return NULL;
    }
    const metric_row *rows = metrics_table();
    for (size_t i = 0; i < ARRAY_LEN(of_request); i++)
        made->of[of_request[i]] = find_or_make(&m->families[of_request[i]], &rows[of_request[i]], name);
    made->next = m->models;
    m->models = made;
    m->n_models++;
    return made;
}

static struct metrics_model *find_model(metrics *m, const char *name) {
    label_values l = {0};
    read_label(name, l.v[0]);
    pthread_mutex_lock(&m->lock);
    struct metrics_model *found = m->models;
    while (found && strcmp(found->name, l.v[0]))
        found = found->next;
    if (!found && m->n_models == METRICS_MAX_SERIES) {
        memcpy(l.v[0], "other", 6);
        for (found = m->models; found && strcmp(found->name, "other");)
            found = found->next;
    }
    if (!found)
        found = make_model(m, &l);
    pthread_mutex_unlock(&m->lock);
    return found;
}

void metrics_begin(metrics *m, metrics_request *r, uint64_t now_us) {
    *r = (metrics_request){.m = m, .begin_us = now_us};
}

void metrics_model(metrics_request *r, const char *model, const char *tenant) {
    if (!r->m || r->model)
        return;
    r->model = find_model(r->m, model);
    read_label(tenant, r->tenant);
}

void metrics_run(metrics_request *r, uint64_t now_us) {
    if (!r->model || r->run_us)
        return;
    r->run_us = MAX(now_us, 1);
}

static uint64_t since(uint64_t then, uint64_t now) {
    return now > then ? now - then : 0;
}

void metrics_token(metrics_request *r, uint64_t now_us) {
    if (!r->model)
        return;
    metric id = r->token_us ? METRIC_INTER_TOKEN : METRIC_FIRST_TOKEN;
    observe_in(r->m, id, r->model->of[id], since(r->token_us ? r->token_us : r->begin_us, now_us));
    r->token_us = MAX(now_us, 1);
}

static void count_ended(metrics_request *r, uint64_t now_us, const metrics_ended *e, const char *reason) {
    series *const *of = r->model->of;
    const struct {
        metric id;
        uint64_t value;
    } seen[] = {{METRIC_E2E, since(r->begin_us, now_us)},
                {METRIC_QUEUE_TIME, since(r->begin_us, r->run_us ? r->run_us : now_us)},
                {METRIC_PREFILL_TIME, e->prefill_us},
                {METRIC_DECODE_TIME, e->decode_us},
                {METRIC_REQUEST_PROMPT, e->n_prompt},
                {METRIC_REQUEST_GENERATION, e->n_generated}};
    for (size_t i = 0; i < ARRAY_LEN(seen); i++)
        observe_in(r->m, seen[i].id, of[seen[i].id], seen[i].value);
    if (!r->token_us && e->n_generated) /* nobody told of its first token: when the prompt was read */
        observe_in(r->m, METRIC_FIRST_TOKEN, of[METRIC_FIRST_TOKEN], since(r->begin_us, r->run_us) + e->prefill_us);
    metrics_add(r->m, METRIC_SUCCESS, METRIC_LABELS(r->model->name, reason), 1);
    metrics_add(r->m, METRIC_TENANT_REQUESTS, METRIC_LABELS(r->tenant, r->model->name), 1);
}

static const char *finish_reason(const char *finish) {
    if (!finish)
        return NULL;
    return !strcmp(finish, "length") || !strcmp(finish, "abort") ? finish : "stop";
}

void metrics_end(metrics_request *r, uint64_t now_us, const metrics_ended *e) {
    if (!r->model) {
        r->m = NULL;
        return;
    }
    series *const *of = r->model->of;
    add_to(of[METRIC_PROMPT_TOKENS], METRIC_COUNTER, e->n_prompt);
    add_to(of[METRIC_GENERATION_TOKENS], METRIC_COUNTER, e->n_generated);
    add_to(of[METRIC_PREFIX_QUERIES], METRIC_COUNTER, e->n_prompt);
    add_to(of[METRIC_PREFIX_HITS], METRIC_COUNTER, e->n_cached);
    if (e->n_prompt)
        metrics_add(r->m, METRIC_TENANT_TOKENS, METRIC_LABELS(r->tenant, r->model->name, "prompt"), e->n_prompt);
    if (e->n_generated)
        metrics_add(r->m, METRIC_TENANT_TOKENS, METRIC_LABELS(r->tenant, r->model->name, "generation"), e->n_generated);
    if (finish_reason(e->finish))
        count_ended(r, now_us, e, finish_reason(e->finish));
    *r = (metrics_request){0};
}

/* ---- life ---- */

static bool make_bounds(family *f, const metric_row *row) {
    f->bounds = row->n_buckets ? mem_alloc_array(row->n_buckets, sizeof *f->bounds) : NULL;
    for (size_t i = 0; f->bounds && i < row->n_buckets; i++)
        f->bounds[i] = (uint64_t)llround(row->buckets[i] * (row->unit == METRIC_MICROSECONDS ? 1e6 : 1));
    return f->bounds || !row->n_buckets;
}

muga_status metrics_new(metrics **out, muga_error *err) {
    metrics *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return error_nomem(err, "metrics");
    pthread_mutex_init(&m->lock, NULL);
    for (size_t i = 0; i < N_METRICS; i++)
        if (!make_bounds(&m->families[i], &metrics_table()[i])) {
            metrics_free(m);
            return error_nomem(err, "metrics");
        }
    *out = m;
    return MUGA_OK;
}

void metrics_free(metrics *m) {
    if (!m)
        return;
    for (size_t i = 0; i < N_METRICS; i++) {
        family *f = &m->families[i];
        for (uint32_t s = 0; s < f->n; s++)
            free(f->list[s]);
        free(f->list);
        free(f->slots);
        free(f->bounds);
    }
    for (struct metrics_model *one = m->models, *next; one; one = next) {
        next = one->next;
        free(one->name);
        free(one);
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}
