/* A training run (tune.h). */
#include "llm/tune.h"

#include "base/mem.h"

#include <math.h>

typedef struct run {
    trainer *t;
    const dataset *d;
    const dataset_split *s;
    const tune_options *o;
    tune_result *out;
    train_checkpoint c; /* its rows are the result's until the end */
    uint32_t *order;    /* [n_train] of `epoch` */
    uint64_t epoch;     /* UINT64_MAX = none yet */
    uint64_t steps_an_epoch;
    train_sample *samples; /* [max(batch, n_held)] */
} run;

static uint64_t steps_an_epoch(uint32_t n_train, uint32_t batch) {
    return ((uint64_t)n_train + batch - 1) / batch;
}

uint64_t tune_steps(uint32_t n_train, uint32_t batch, uint64_t n_epochs) {
    return steps_an_epoch(n_train, batch) * n_epochs;
}

static train_sample sample_of(const dataset *d, uint32_t i) {
    const dataset_sample *s = &d->samples[i];
    return (train_sample){.ids = s->ids, .target = s->target, .n = s->n, .id = s->line};
}

static uint32_t take_batch(run *r, uint64_t i_step) {
    uint64_t epoch = i_step / r->steps_an_epoch, from = i_step % r->steps_an_epoch * r->o->batch;
    uint32_t n = (uint32_t)MIN((uint64_t)r->o->batch, r->s->n_train - from);
    if (epoch != r->epoch)
        dataset_shuffle(r->o->seed, epoch, r->s->n_train, r->o->group, r->order);
    r->epoch = epoch;
    for (uint32_t i = 0; i < n; i++)
        r->samples[i] = sample_of(r->d, r->s->train[r->order[from + i]]);
    return n;
}

static muga_status make_room(run *r, uint32_t n_samples, muga_error *err) {
    r->order = mem_alloc_array((size_t)r->s->n_train + 1, sizeof *r->order);
    r->samples = mem_alloc_array((size_t)n_samples + 1, sizeof *r->samples);
    return r->order && r->samples ? MUGA_OK : error_nomem(err, "the run");
}

muga_status tune_epoch(const trainer *t, const dataset *d, const dataset_split *s, const tune_options *o,
                       uint64_t *n_tok, uint64_t *n_row, muga_error *err) {
    run r = {.d = d, .s = s, .o = o, .epoch = UINT64_MAX, .steps_an_epoch = steps_an_epoch(s->n_train, o->batch)};
    muga_status st = make_room(&r, o->batch, err);
    *n_tok = *n_row = 0;
    for (uint64_t i = 0; i < r.steps_an_epoch && !st; i++) {
        train_work work;
        uint32_t n = take_batch(&r, i);
        st = train_count(t, r.samples, n, &work, err);
        for (uint32_t k = 0; k < n; k++)
            *n_tok += r.samples[k].n;
        *n_row += work.n_row;
    }
    free(r.order);
    free(r.samples);
    return st;
}

/* ---- what is kept ---- */

static muga_status save(const run *r, str *out, muga_error *err) {
    str_release(out);
    str_init(out, train_state_bytes(r->t) + 1);
    return train_save(r->t, out, err);
}

static muga_status write_checkpoint(run *r, muga_error *err) {
    r->c.n_done = train_steps_done(r->t);
    r->c.now_ms = r->o->now_ms;
    muga_status st = save(r, &r->c.state, err);
    return st ? st : train_checkpoint_write(r->o->files, r->o->checkpoint, &r->c, err);
}

static muga_status resume(run *r, muga_error *err) {
    const tune_options *o = r->o;
    train_checkpoint c;
    muga_status st = train_checkpoint_read(o->files, o->checkpoint, &c, err);
    if (st)
        return st;
    st = train_checkpoint_check(&c, o->base_sha256, o->data_sha256, o->settings, err);
    if (!st)
        st = train_restore(r->t, c.state.data, c.state.len, err);
    if (!st && (train_steps_done(r->t) != c.n_done || (r->s->n_held > 0) != (c.best.len > 0)))
        st = error_set(err, MUGA_E_INPUT,
                       "the parts of the checkpoint don't belong together; begin anew with --restart");
    if (st) {
        train_checkpoint_release(&c);
        return error_prefix(err, st, "%.80s", o->checkpoint);
    }
    train_checkpoint_release(&r->c);
    r->c = c;
    return MUGA_OK;
}

/* ---- steps ---- */

/* Where samples are kept aside: their loss, and whether it is the best. */
static muga_status measure(run *r, train_row *row, muga_error *err) {
    train_result result;
    if (r->s->n_held == 0)
        return MUGA_OK;
    for (uint32_t i = 0; i < r->s->n_held; i++)
        r->samples[i] = sample_of(r->d, r->s->held[i]);
    muga_status st = train_loss(r->t, r->samples, r->s->n_held, NULL, &result, err);
    if (st)
        return error_prefix(err, st, "samples kept aside, after step %llu", (unsigned long long)row->step);
    row->held = result.loss;
    r->c.n_worse++;
    if (isnan(r->c.best_loss) || row->held < r->c.best_loss) {
        r->c.best_loss = row->held;
        r->c.best_step = row->step;
        r->c.n_worse = 0;
        st = save(r, &r->c.best, err);
    }
    return st;
}

static muga_status first_measurement(run *r, muga_error *err) {
    train_row row = {.step = 0, .loss = NAN, .held = NAN};
    muga_status st = measure(r, &row, err);
    return st || r->s->n_held == 0 ? st : train_rows_push(&r->c.rows, row, err);
}

static muga_status step(run *r, train_result *result, muga_error *err) {
    const tune_options *o = r->o;
    uint64_t i = train_steps_done(r->t);
    uint32_t n = take_batch(r, i);
    muga_status st = train_step(r->t, r->samples, n, result, err);
    if (st)
        return error_prefix(err, st, "step %llu (a sample's number is its line)", (unsigned long long)i + 1);
    train_row row = {i + 1, result->loss, NAN, (double)result->lr, result->grad_norm};
    if ((i + 1) % o->measure_every == 0 || i + 1 == o->n_steps)
        st = measure(r, &row, err);
    if (!st)
        st = train_rows_push(&r->c.rows, row, err);
    if (!st && o->checkpoint_every && (i + 1) % o->checkpoint_every == 0)
        st = write_checkpoint(r, err);
    return st;
}

static bool is_over(const run *r) {
    return r->o->patience > 0 && r->c.n_worse >= r->o->patience;
}

static muga_status all_steps(run *r, muga_error *err) {
    const tune_options *o = r->o;
    while (train_steps_done(r->t) < o->n_steps && !is_over(r)) {
        train_result result;
        muga_status st = step(r, &result, err);
        if (st)
            return st;
        tune_progress p = {train_steps_done(r->t), o->n_steps,   &r->c.rows.at[r->c.rows.n - 1],
                           result.n_tok,           result.n_row, r->c.best_loss};
        if (o->on_step && !o->on_step(o->ctx, &p)) {
            st = write_checkpoint(r, err);
            return st ? st
                      : error_set(err, MUGA_E_CANCELLED,
                                  "interrupted after step %llu of %llu; --resume goes on from there",
                                  (unsigned long long)p.n_done, (unsigned long long)p.n_steps);
        }
    }
    r->out->stopped_early = train_steps_done(r->t) < o->n_steps;
    return MUGA_OK;
}

static muga_status begin(run *r, muga_error *err) {
    const tune_options *o = r->o;
    muga_status st = make_room(r, MAX(o->batch, r->s->n_held), err);
    if (st)
        return st;
    if (o->resume)
        return resume(r, err);
    memcpy(r->c.base_sha256, o->base_sha256, SHA256_HEX);
    memcpy(r->c.data_sha256, o->data_sha256, SHA256_HEX);
    str_append_s(&r->c.settings, o->settings);
    r->c.best_loss = NAN;
    st = str_status(&r->c.settings, err, "the settings");
    return st ? st : first_measurement(r, err);
}

muga_status tune_run(trainer *t, const dataset *d, const dataset_split *s, const tune_options *o, tune_result *out,
                     muga_error *err) {
    run r = {.t = t, .d = d, .s = s, .o = o, .out = out, .epoch = UINT64_MAX};
    *out = (tune_result){.first_loss = NAN, .best_loss = NAN};
    r.steps_an_epoch = steps_an_epoch(s->n_train, o->batch);
    muga_status st = begin(&r, err);
    if (!st)
        st = all_steps(&r, err);
    out->n_done = train_steps_done(t);
    if (!st && s->n_held > 0)
        st = train_restore(t, r.c.best.data, r.c.best.len, err);
    out->best_step = s->n_held > 0 ? r.c.best_step : out->n_done;
    out->best_loss = r.c.best_loss;
    out->rows = r.c.rows;
    r.c.rows = (train_rows){0};
    if (out->rows.n > 0 && out->rows.at[0].step == 0)
        out->first_loss = out->rows.at[0].held;
    train_checkpoint_release(&r.c);
    free(r.order);
    free(r.samples);
    return st;
}
