/* Counting a turn's time (trace.h). Owns: a stack of the steps that go on, the list of those that ended. A list that is
 * full goes on in its sums. */
#include "agent/trace.h"

#include "base/mem.h"
#include "llm/meter.h"

#define DEPTH_MAX 16
#define STEPS_MAX 1000 /* of one turn, each told */
#define N_KINDS (TRACE_FSYNC + 1)

static const char *const names[N_KINDS] = {"loop", "guard",  "decide",  "write", "policy",
                                           "tool", "render", "journal", "fsync"};

typedef struct step {
    trace_kind kind;
    const char *what;
    uint64_t us, n_read, n_cached, n_written;
} step;

struct trace {
    const os_clock *clock;
    llm_meter meter;
    step open[DEPTH_MAX]; /* [0]: the loop */
    size_t depth;         /* of those deeper than DEPTH_MAX the time is the deepest one's */
    uint64_t last_us, began_us;
    step steps[STEPS_MAX];
    size_t n_steps;
    uint64_t sum_us[N_KINDS], n_times[N_KINDS];
    llm *model;        /* NULL: none */
    llm_counts before; /* when the turn began */
};

muga_status trace_new(const os_clock *clock, trace **out, muga_error *err) {
    trace *t = calloc(1, sizeof *t);
    if (!t) {
        return error_nomem(err, "a trace");
    }
    t->clock = clock;
    *out = t;
    return MUGA_OK;
}

void trace_free(trace *t) {
    free(t);
}

static uint64_t now_us(const trace *t) {
    return t->clock->monotonic_us(t->clock->self);
}

/* What passed since the last change is the innermost step's. */
static void charge(trace *t) {
    uint64_t now = now_us(t);
    t->open[MIN(t->depth, (size_t)DEPTH_MAX - 1)].us += now - t->last_us;
    t->last_us = now;
}

void trace_enter(trace *t, trace_kind kind, const char *what) {
    if (t) {
        charge(t);
        if (++t->depth < DEPTH_MAX) {
            t->open[t->depth] = (step){kind, what, 0, 0, 0, 0};
        }
    }
}

void trace_leave(trace *t) {
    if (!t || t->depth == 0) {
        return;
    }
    charge(t);
    if (t->depth-- < DEPTH_MAX) {
        const step *s = &t->open[t->depth + 1];
        t->sum_us[s->kind] += s->us;
        t->n_times[s->kind]++;
        if (t->n_steps < STEPS_MAX) {
            t->steps[t->n_steps++] = *s;
        }
    }
}

/* ---- the model ---- */

static void on_model(void *ctx, const llm_meter_question *q) {
    trace *t = ctx;
    if (!q->done) {
        trace_enter(t, q->scores ? TRACE_DECIDE : TRACE_WRITE, NULL);
        return;
    }
    if (t->depth < DEPTH_MAX) {
        step *s = &t->open[t->depth];
        s->n_read = q->settled ? 0 : q->n_prompt - q->n_cached;
        s->n_cached = q->n_cached;
        s->n_written = q->n_generated;
    }
    trace_leave(t);
}

llm *trace_model(trace *t, llm *inner) {
    llm *m = llm_meter_init(&t->meter, inner);
    t->model = inner;
    t->meter.on_question = on_model;
    t->meter.on_question_ctx = t;
    return m;
}

/* ---- the store ---- */

static void on_store(void *ctx, store_moment m) {
    if (m == STORE_BEGINS || m == STORE_COMMITS) {
        trace_enter(ctx, m == STORE_BEGINS ? TRACE_JOURNAL : TRACE_FSYNC, NULL);
    } else {
        trace_leave(ctx);
    }
}

void trace_store(trace *t, store *s) {
    store_watch(s, t ? on_store : NULL, t);
}

/* ---- a turn ---- */

void trace_begin_turn(trace *t) {
    if (t) {
        t->n_steps = t->depth = 0;
        memset(t->sum_us, 0, sizeof t->sum_us);
        memset(t->n_times, 0, sizeof t->n_times);
        t->open[0] = (step){TRACE_LOOP, NULL, 0, 0, 0, 0};
        t->began_us = t->last_us = now_us(t);
        if (t->model) {
            t->before = llm_get_counts(t->model);
        }
    }
}

static json_t *step_json(const step *s) {
    json_t *v = json_pack("{s:s, s:s*, s:I}", "step", names[s->kind], "what", s->what, "us", (json_int_t)s->us);
    bool model = s->kind == TRACE_DECIDE || s->kind == TRACE_WRITE;
    if (v && model &&
        (json_object_set_new(v, "read", json_integer((json_int_t)s->n_read)) != 0 ||
         json_object_set_new(v, "cached", json_integer((json_int_t)s->n_cached)) != 0 ||
         json_object_set_new(v, "written", json_integer((json_int_t)s->n_written)) != 0)) {
        json_decref(v);
        return NULL;
    }
    return v;
}

/* What the model keeps of keys and values after the turn, and what the turn took of it; NULL: nothing is kept here. */
static json_t *kept_json(const trace *t) {
    const llm_counts none = {0}, now = t->model ? llm_get_counts(t->model) : none;
    return now.kv_max_bytes == 0
               ? NULL
               : json_pack("{s:I, s:I, s:I, s:I}", "bytes", (json_int_t)now.kv_idle_bytes, "max_bytes",
                           (json_int_t)now.kv_max_bytes, "taken", (json_int_t)(now.kv_taken - t->before.kv_taken),
                           "evicted", (json_int_t)(now.kv_evicted - t->before.kv_evicted));
}

json_t *trace_end_turn(trace *t) {
    json_t *steps = t ? json_array() : NULL, *sums = t ? json_array() : NULL, *all = NULL;
    bool ok = steps && sums;
    if (t) {
        t->depth = 0;
        charge(t);
        t->sum_us[TRACE_LOOP] = t->open[0].us;
        t->n_times[TRACE_LOOP] = 1;
    }
    for (size_t i = 0; ok && i < t->n_steps; i++) {
        ok = json_array_append_new(steps, step_json(&t->steps[i])) == 0;
    }
    for (size_t k = 0; ok && k < N_KINDS; k++) {
        ok = t->n_times[k] == 0 ||
             json_array_append_new(sums, json_pack("{s:s, s:I, s:I}", "step", names[k], "times",
                                                   (json_int_t)t->n_times[k], "us", (json_int_t)t->sum_us[k])) == 0;
    }
    if (ok) {
        all = json_pack("{s:I, s:O, s:O, s:o*}", "total_us", (json_int_t)(t->last_us - t->began_us), "steps", steps,
                        "sums", sums, "kept", kept_json(t));
    }
    json_decref(steps);
    json_decref(sums);
    return all;
}
