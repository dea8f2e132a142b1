/* Training an adapter: options, samples, a step (train.h).
 *
 * A step changes the trainer only once everything has gone well: gradients are added up in a place of their own, looked
 * at, and then the update is made, which can't fail. */
#include "train/trainer.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>

#define MAX_TOK 65536u

train_options train_options_default(void) {
    return (train_options){.rank = 16,
                           .alpha = 32,
                           .lr = 1e-3f,
                           .lr_end = 0.1f,
                           .n_warmup = 50,
                           .n_steps = 1000,
                           .beta1 = 0.9f,
                           .beta2 = 0.999f,
                           .epsilon = 1e-8f,
                           .weight_decay = 0.01f,
                           .clip_norm = 1,
                           .max_tok = 2048,
                           .keep_bytes = (uint64_t)400 << 20};
}

/* ---- options ---- */

static muga_status check_range(const char *name, float v, float min, float max, bool above_min, muga_error *err) {
    if (v >= min && v <= max && (v > min || !above_min))
        return MUGA_OK;
    return error_set(err, MUGA_E_USAGE, "%s is %g; it must be %s %g and at most %g", name, (double)v,
                     above_min ? "above" : "at least", (double)min, (double)max);
}

static muga_status check_count(const char *name, uint64_t v, uint64_t min, uint64_t max, muga_error *err) {
    if (v >= min && v <= max)
        return MUGA_OK;
    return error_set(err, MUGA_E_USAGE, "%s is %llu; it must be from %llu to %llu", name, (unsigned long long)v,
                     (unsigned long long)min, (unsigned long long)max);
}

static muga_status check_options(const train_options *o, muga_error *err) {
    const float largest_beta = 0.9999999f;
    muga_status st = check_count("rank", o->rank, 1, TRAIN_MAX_RANK, err);
    st = st ? st : check_range("alpha", o->alpha, 0, 1e6f, true, err);
    st = st ? st : check_range("lr", o->lr, 0, 1e3f, true, err);
    st = st ? st : check_range("lr_end", o->lr_end, 0, 1, false, err);
    st = st ? st : check_count("n_steps", o->n_steps, 1, (uint64_t)1 << 40, err);
    st = st ? st : check_count("n_warmup", o->n_warmup, 0, o->n_steps, err);
    st = st ? st : check_range("beta1", o->beta1, 0, largest_beta, false, err);
    st = st ? st : check_range("beta2", o->beta2, 0, largest_beta, false, err);
    st = st ? st : check_range("epsilon", o->epsilon, 0, 1, true, err);
    st = st ? st : check_range("weight_decay", o->weight_decay, 0, 1e3f, false, err);
    st = st ? st : check_range("clip_norm", o->clip_norm, 0, 1e30f, false, err);
    return st ? st : check_count("max_tok", o->max_tok, 2, MAX_TOK, err);
}

/* A: even in (-1/sqrt(cols), 1/sqrt(cols)); B: zero (He et al. 2015 with a = sqrt 5, as LoRA's authors begin). */
static void begin_params(trainer *t) {
    uint32_t i_pair = 0;
    for (uint32_t i = 0; i < t->layout.n_places; i++) {
        const train_place *p = &t->layout.places[i];
        if (p->a == TRAIN_NO_PAIR)
            continue;
        float bound = 1.0f / sqrtf((float)p->w->dims[0]);
        for (size_t k = p->a; k < p->b; k++)
            t->params[k] = bound * (2 * rng_uniform(t->o.seed, i_pair, 0, k - p->a) - 1);
        i_pair++;
    }
}

muga_status train_new(const model *m, const train_options *o, trainer **out, muga_error *err) {
    muga_status st = check_options(o, err);
    if (st)
        return st;
    if (m->p.encoder)
        return error_set(err, MUGA_E_INPUT,
                         "the model is an encoder (%s), which predicts no tokens; train one that generates text",
                         model_arch_name(m));
    trainer *t = mem_alloc_array(1, sizeof *t);
    if (!t)
        return error_nomem(err, "the adapter");
    t->o = *o;
    t->pass = train_pass_for(kernel_isa_best());
    t->targets = o->targets ? mem_copy_string(o->targets) : NULL;
    t->o.targets = t->targets;
    if (o->targets && !t->targets)
        st = error_nomem(err, "the adapter");
    st = st ? st : train_layout_init(m, o->rank, o->alpha, t->targets, &t->layout, err);
    if (!st) {
        size_t n = t->layout.n_params;
        t->params = mem_alloc_array(n, sizeof *t->params);
        t->grads = mem_alloc_array(n, sizeof *t->grads);
        t->moment1 = mem_alloc_array(n, sizeof *t->moment1);
        t->moment2 = mem_alloc_array(n, sizeof *t->moment2);
        if (!t->params || !t->grads || !t->moment1 || !t->moment2)
            st = error_nomem(err, "the adapter and its moments");
    }
    if (st) {
        train_free(t);
        return st;
    }
    begin_params(t);
    *out = t;
    return MUGA_OK;
}

void train_free(trainer *t) {
    if (!t)
        return;
    train_layout_release(&t->layout);
    tape_memory_release(&t->memory);
    void *owned[] = {t->params, t->grads, t->moment1, t->moment2, t->targets};
    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        free(owned[i]);
    free(t);
}

/* ---- samples ---- */

muga_status train_check(const trainer *t, const train_sample *s, muga_error *err) {
    const model_params *p = &t->layout.m->p;
    unsigned long long id = (unsigned long long)s->id;
    uint32_t n_target = 0;
    if (s->n < 2)
        return error_set(err, MUGA_E_INPUT, "sample %llu has %u tokens; it needs at least 2", id, s->n);
    if (s->n > p->n_ctx_train || s->n > t->o.max_tok)
        return error_set(err, MUGA_E_INPUT, "sample %llu has %u tokens; %s %u", id, s->n,
                         s->n > p->n_ctx_train ? "the model was made for at most" : "max_tok is",
                         s->n > p->n_ctx_train ? p->n_ctx_train : t->o.max_tok);
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->ids[i] < 0 || (uint32_t)s->ids[i] >= p->n_vocab)
            return error_set(err, MUGA_E_INPUT, "sample %llu, token %u: id %d; the model has ids 0 to %u", id, i,
                             s->ids[i], p->n_vocab - 1);
        n_target += i > 0 && s->target[i];
    }
    if (n_target == 0)
        return error_set(err, MUGA_E_INPUT, "sample %llu has no target: nothing of it is to be predicted", id);
    return MUGA_OK;
}

static muga_status count_targets(const trainer *t, const train_sample *samples, uint32_t n, train_result *r,
                                 muga_error *err) {
    if (n == 0)
        return error_set(err, MUGA_E_USAGE, "a step needs at least one sample");
    for (uint32_t i = 0; i < n; i++) {
        muga_status st = train_check(t, &samples[i], err);
        if (st)
            return st;
        for (uint32_t k = 1; k < samples[i].n; k++)
            r->n_target += samples[i].target[k] != 0;
        r->n_tok += samples[i].n;
    }
    return MUGA_OK;
}

/* ---- passes ---- */

/* Losses of one pass, added to *sum and, where wanted, to those of its samples. The first that is no number names its
 * sample. */
static muga_status take_losses(const train_pass *p, const train_sample *samples, const double *loss, double *sum,
                               double *of, muga_error *err) {
    for (uint32_t i = 0; i < p->n_target; i++) {
        uint32_t s = p->i_sample[i];
        if (!isfinite(loss[i]))
            return error_set(err, MUGA_E_NONFINITE,
                             "sample %llu: the loss at its token %u is not a number; look at that sample, or lower lr",
                             (unsigned long long)samples[s].id, p->pos[i]);
        *sum += loss[i];
        if (of)
            of[s] += loss[i];
    }
    return MUGA_OK;
}

/* grads NULL = losses alone. */
static muga_status run_pass(trainer *t, const train_plan *plan, uint32_t i_pass, float *grads, float weight,
                            uint64_t *n_again, double *sum, double *of, muga_error *err) {
    train_pass p;
    muga_status st = train_pass_init(t->layout.m, plan, i_pass, &p, err);
    double *loss = st ? NULL : mem_alloc_array(p.n_target, sizeof *loss);
    if (!st && !loss)
        st = error_nomem(err, "the losses of a step");
    if (!st) {
        pass_args a = {.layout = &t->layout,
                       .pass = &p,
                       .params = t->params,
                       .grads = grads,
                       .weight = weight,
                       .keep_bytes = t->o.keep_bytes,
                       .n_again = n_again,
                       .memory = &t->memory,
                       .pool = t->o.pool,
                       .loss = loss};
        st = t->pass(&a) ? take_losses(&p, plan->samples, loss, sum, of, err)
                         : error_nomem(err, "the activations of a step; a smaller max_tok needs less");
    }
    free(loss);
    train_pass_release(&p);
    return st;
}

static muga_status run_all(trainer *t, const train_sample *samples, uint32_t n, float *grads, double *of,
                           train_result *r, muga_error *err) {
    train_plan plan = {0};
    double sum = 0;
    uint64_t n_again = 0;
    muga_status st = count_targets(t, samples, n, r, err);
    float weight = st ? 0 : 1.0f / (float)r->n_target;
    st = st ? st : train_plan_init(t->layout.m, samples, n, t->o.max_tok, &plan, err);
    for (uint32_t i = 0; i < plan.n_pass && !st; i++)
        st = run_pass(t, &plan, i, grads, weight, &n_again, &sum, of, err);
    if (!st) {
        r->loss = sum / (double)r->n_target;
        r->n_row = plan.n_row;
        r->again = (double)n_again / (double)plan.n_pass / t->layout.m->p.n_layer;
    }
    train_plan_release(&plan);
    return st;
}

muga_status train_step(trainer *t, const train_sample *samples, uint32_t n, train_result *out, muga_error *err) {
    train_result r = {0};
    memset(t->grads, 0, t->layout.n_params * sizeof *t->grads);
    muga_status st = run_all(t, samples, n, t->grads, NULL, &r, err);
    if (st)
        return st;
    r.grad_norm = optimiser_norm(t->grads, t->layout.n_params);
    if (!isfinite(r.grad_norm))
        return error_set(err, MUGA_E_NONFINITE,
                         "step %llu, samples %llu to %llu: the gradient is not a number; lower lr",
                         (unsigned long long)t->n_steps + 1, (unsigned long long)samples[0].id,
                         (unsigned long long)samples[n - 1].id);
    float clip = t->o.clip_norm, shrink = clip > 0 && r.grad_norm > (double)clip ? (float)(clip / r.grad_norm) : 1;
    r.lr = optimiser_rate(&t->o, t->n_steps);
    optimiser_update(t, r.lr, shrink);
    *out = r;
    return MUGA_OK;
}

muga_status train_loss(trainer *t, const train_sample *samples, uint32_t n, double *loss_of, train_result *out,
                       muga_error *err) {
    train_result r = {0};
    if (loss_of)
        memset(loss_of, 0, n * sizeof *loss_of);
    muga_status st = run_all(t, samples, n, NULL, loss_of, &r, err);
    for (uint32_t i = 0; loss_of && !st && i < n; i++) {
        uint32_t n_target = 0;
        for (uint32_t k = 1; k < samples[i].n; k++)
            n_target += samples[i].target[k] != 0;
        loss_of[i] /= n_target;
    }
    if (!st)
        *out = r;
    return st;
}

/* ---- what there is ---- */

uint64_t train_steps_done(const trainer *t) {
    return t->n_steps;
}

uint64_t train_parameters(const trainer *t) {
    return t->layout.n_params;
}

float train_alpha(const trainer *t) {
    return t->o.alpha;
}

/* What the rows of a pass meet of the base's matrices and of pairs; the last layer's end only rows that predict. */
static void matrix_macs(const train_layout *l, const train_pass *p, double *base, double *pairs) {
    const model *m = l->m;
    *base = *pairs = 0;
    for (uint32_t i = 0; i < m->p.n_layer * MODEL_LINEARS * MODEL_MAX_PARTS; i++) {
        const model_layer *y = &m->layers[i / MODEL_MAX_PARTS / MODEL_LINEARS];
        const model_linear *linears[MODEL_LINEARS] = {&y->qkv, &y->o, &y->gate_up, &y->down};
        const model_linear *at = linears[i / MODEL_MAX_PARTS % MODEL_LINEARS];
        if (i % MODEL_MAX_PARTS >= at->n_parts)
            continue;
        const gguf_tensor *w = at->parts[i % MODEL_MAX_PARTS];
        bool is_end = y == &m->layers[m->p.n_layer - 1] && at != &y->qkv;
        double n_row = is_end ? p->n_last : p->n_tok;
        *base += n_row * (double)w->dims[0] * (double)w->dims[1];
        if (l->places[i].a != TRAIN_NO_PAIR)
            *pairs += n_row * l->rank * ((double)w->dims[0] + (double)w->dims[1]);
    }
}

/* Positions that the rows of a pass see, over all layers. */
static double seen_positions(const model *m, const train_segments *segments) {
    double n = 0;
    for (uint32_t i = 0; i < m->p.n_layer; i++)
        for (uint32_t k = 0; k < segments->n; k++) {
            const train_segment *s = &segments->at[k];
            for (uint32_t row = s->from; row < s->to; row++) {
                uint32_t pos = s->n_prefix + (row - s->from), window = m->layers[i].window;
                n += window && pos >= window ? window : pos + 1;
            }
        }
    return n;
}

/* There: a matrix of the base once, a pair once, attention two products. Back: once, twice, five (one of them again).
 * Logits there and back. */
static void add_work(const trainer *t, const train_pass *p, train_work *w) {
    const model *m = t->layout.m;
    double base, pairs;
    matrix_macs(&t->layout, p, &base, &pairs);
    double attention = seen_positions(m, &p->segments) * m->p.n_head * m->p.head_dim;
    double forward = base + pairs + 2 * attention;
    double once = forward + base + 2 * pairs + 5 * attention + 2.0 * p->n_target * m->p.n_vocab * m->p.n_embd;
    w->n_row += p->n_tok;
    w->macs += once;
    w->forward_macs += forward;
}

muga_status train_count(const trainer *t, const train_sample *samples, uint32_t n, train_work *out, muga_error *err) {
    train_plan plan = {0};
    train_result r = {0};
    *out = (train_work){0};
    muga_status st = count_targets(t, samples, n, &r, err);
    st = st ? st : train_plan_init(t->layout.m, samples, n, t->o.max_tok, &plan, err);
    for (uint32_t i = 0; i < plan.n_pass && !st; i++) {
        train_pass p;
        st = train_pass_init(t->layout.m, &plan, i, &p, err);
        if (!st)
            add_work(t, &p, out);
        train_pass_release(&p);
    }
    train_plan_release(&plan);
    return st;
}

uint32_t train_tensor_count(const trainer *t) {
    return 2 * t->layout.n_pairs;
}

void train_tensor_at(const trainer *t, uint32_t i, train_tensor *out) {
    const train_place *p = t->layout.places;
    for (uint32_t left = i / 2;; p++)
        if (p->a != TRAIN_NO_PAIR && left-- == 0)
            break;
    bool is_a = i % 2 == 0;
    snprintf(out->name, sizeof out->name, "%s.lora_%c", p->w->name, is_a ? 'a' : 'b');
    out->cols = is_a ? (uint32_t)p->w->dims[0] : t->layout.rank;
    out->rows = is_a ? t->layout.rank : (uint32_t)p->w->dims[1];
    out->data = t->params + (is_a ? p->a : p->b);
}
