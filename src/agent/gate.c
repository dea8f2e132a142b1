/* The gate before an adapter (gate.h). Owns: pairing, the exact test, the verdict. Refuses: to judge two reports that
 * are not of the same tasks. */
#include "agent/gate.h"

#include "base/mem.h"

#include <stdio.h>

const char *gate_kind_name(gate_kind k) {
    static const char *const names[] = {"held-out", "regression", "safety", "other agent"};
    return names[k];
}

/* ---- the test ---- */

/* Binomial coefficients relative to the middle one, each from its neighbour: nothing overflows, and what vanishes is
 * below 1e-300 of the whole. The sum of all follows from the upper half. */
double gate_tail(size_t n, size_t k) {
    if (k == 0) {
        return 1;
    }
    if (k > n) {
        return 0;
    }
    if (2 * k <= n) {
        return 1 - gate_tail(n, n - k + 1);
    }
    double w = 1, half = 0, tail = 0;
    for (size_t i = n / 2; i < n && w > 0; i++) {
        w *= (double)(n - i) / (double)(i + 1); /* now that of i + 1 */
        half += w;
        tail += i + 1 >= k ? w : 0;
    }
    return tail / (2 * half + (n % 2 == 0 ? 1 : 0));
}

double gate_level(double rise, size_t n_tried) {
    double k = (double)n_tried + 1;
    return rise * 2 / (k * (k + 1));
}

static void say(gate_row *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(gate_row *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(r->why, sizeof r->why, format, args);
    va_end(args);
    r->ok = false;
}

void gate_judge(gate_row *r) {
    const gate_counts *c = &r->counts;
    size_t n = c->won + c->lost;
    bool rises = r->kind == GATE_HELD_OUT;
    r->p = gate_tail(n, rises ? c->won : c->lost);
    r->ok = true;
    r->why[0] = '\0';
    if (c->wrong + c->unapproved > 0) {
        say(r, "%zu wrong and %zu unapproved effects, where none is allowed", c->wrong, c->unapproved);
    } else if (rises && (c->won <= c->lost || r->p > r->level)) {
        say(r, "%zu won, %zu lost: by chance as often as %.3g; at most %.3g shows a rise", c->won, c->lost, r->p,
            r->level);
    } else if (r->kind == GATE_SAFETY && c->lost > 0) {
        say(r, "%zu lost, where none may be", c->lost);
    } else if (!rises && r->kind != GATE_SAFETY && c->lost > c->won && r->p <= r->level) {
        say(r, "falls: %zu won, %zu lost; by chance as often as %.3g, a fall up to %.3g", c->won, c->lost, r->p,
            r->level);
    }
}

/* ---- pairing ---- */

static bool is_done(const json_t *result) {
    return json_get_bool(result, "ok", false);
}

muga_status gate_count(const eval_report *before, const eval_report *after, gate_counts *out, muga_error *err) {
    *out = (gate_counts){.tasks = after->tasks, .wrong = after->wrong_effects, .unapproved = after->unapproved};
    size_t n = json_array_size(before->results);
    if (n != after->tasks || json_array_size(after->results) != n) {
        return error_set(err, MUGA_E_INTERNAL, "two evaluations of %zu and %zu tasks can't be compared", n,
                         json_array_size(after->results));
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *a = json_array_get(before->results, i), *b = json_array_get(after->results, i);
        const char *id = json_get_string(a, "id"), *other = json_get_string(b, "id");
        if (!id || !other || strcmp(id, other) != 0) {
            return error_set(err, MUGA_E_INTERNAL, "two evaluations differ in their %zuth task", i + 1);
        }
        out->before += is_done(a);
        out->after += is_done(b);
        out->won += is_done(b) && !is_done(a);
        out->lost += is_done(a) && !is_done(b);
    }
    return MUGA_OK;
}

muga_status gate_digest(const json_t *tasks, char hex[SHA256_HEX], muga_error *err) {
    uint8_t digest[SHA256_BYTES];
    muga_status st = json_digest(tasks, digest, err);
    if (st == MUGA_OK) {
        hex_write(digest, sizeof digest, hex);
    }
    return st;
}

/* ---- the run ---- */

static muga_status run_set(const gate_set *set, size_t i, gate_play_fn play, void *ctx, gate_row *row,
                           muga_error *err) {
    eval_report before = {0}, after = {0};
    row->kind = set->kind;
    row->name = set->name;
    muga_status st = gate_digest(set->tasks, row->sha256, err);
    st = st == MUGA_OK ? play(ctx, i, false, &before, err) : st;
    st = st == MUGA_OK ? play(ctx, i, true, &after, err) : st;
    st = st == MUGA_OK ? gate_count(&before, &after, &row->counts, err) : st;
    eval_report_release(&before);
    eval_report_release(&after);
    return st;
}

muga_status gate_run(const gate_set *sets, size_t n, const gate_levels *levels, size_t n_tried, gate_play_fn play,
                     void *ctx, gate_verdict *out, muga_error *err) {
    *out = (gate_verdict){.rows = mem_alloc_array(n, sizeof *out->rows), .n = n, .n_tried = n_tried, .ok = true};
    muga_status st = out->rows ? MUGA_OK : error_nomem(err, "a verdict");
    if (st == MUGA_OK && (n == 0 || sets[0].kind != GATE_HELD_OUT)) {
        st = error_set(err, MUGA_E_INTERNAL, "a gate without held-out tasks");
    }
    for (size_t i = 0; st == MUGA_OK && i < n; i++) {
        gate_row *row = &out->rows[i];
        st = run_set(&sets[i], i, play, ctx, row, err);
        if (st != MUGA_OK) {
            break;
        }
        row->level = row->kind == GATE_HELD_OUT ? gate_level(levels->rise, n_tried)
                     : row->kind == GATE_SAFETY ? 0
                                                : levels->fall;
        gate_judge(row);
        if (!row->ok && out->ok) {
            snprintf(out->why, sizeof out->why, "%s %.50s: %s", gate_kind_name(row->kind), row->name, row->why);
        }
        out->ok = out->ok && row->ok;
    }
    if (st != MUGA_OK) {
        gate_verdict_release(out);
    }
    return st;
}

void gate_verdict_release(gate_verdict *v) {
    free(v->rows);
    *v = (gate_verdict){0};
}

static json_t *row_record(const gate_row *r) {
    const gate_counts *c = &r->counts;
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:b, s:s}", "kind",
                     gate_kind_name(r->kind), "name", r->name, "sha256", r->sha256, "tasks", (json_int_t)c->tasks,
                     "before", (json_int_t)c->before, "after", (json_int_t)c->after, "won", (json_int_t)c->won, "lost",
                     (json_int_t)c->lost, "wrong", (json_int_t)c->wrong, "unapproved", (json_int_t)c->unapproved, "p",
                     r->p, "level", r->level, "ok", r->ok, "why", r->why);
}

json_t *gate_record(const gate_verdict *v, const gate_levels *levels) {
    json_t *sets = json_array();
    bool ok = sets && v->n > 0;
    for (size_t i = 0; ok && i < v->n; i++) {
        ok = json_array_append_new(sets, row_record(&v->rows[i])) == 0;
    }
    json_t *record = ok ? json_pack("{s:b, s:s, s:I, s:s, s:f, s:f, s:O}", "ok", v->ok, "why", v->why, "tried",
                                    (json_int_t)v->n_tried, "held_out", v->rows[0].sha256, "rise", levels->rise, "fall",
                                    levels->fall, "sets", sets)
                        : NULL;
    json_decref(sets);
    return record;
}
