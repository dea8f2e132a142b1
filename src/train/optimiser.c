/* AdamW with decoupled decay (Loshchilov and Hutter 2019, algorithm 2), warm-up and cosine. Each number by itself, so
 * threads change no bit. */
#include "train/trainer.h"

#include "base/mem.h"
#include "kernel/math.h"

#include <math.h>

#define NUMBERS_PER_CHUNK 65536u

float optimiser_rate(const train_options *o, uint64_t i_step) {
    const double pi = 0x1.921fb54442d18p+1;
    if (i_step < o->n_warmup)
        return (float)((double)o->lr * (double)(i_step + 1) / (double)o->n_warmup);
    double rest = (double)(o->n_steps - o->n_warmup), at = (double)(i_step - o->n_warmup);
    double sine, cosine, share = at < rest ? at / rest : 1;
    math_sincos(share * pi, &sine, &cosine);
    double end = (double)o->lr_end;
    return (float)((double)o->lr * (end + (1 - end) * 0.5 * (1 + cosine)));
}

double optimiser_norm(const float *grads, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)grads[i] * (double)grads[i];
    return sqrt(sum);
}

typedef struct update_job {
    trainer *t;
    float rate, shrink, correction1, correction2; /* 1 / (1 - beta^step) */
} update_job;

static void update_chunk(void *ctx, int i_chunk) {
    const update_job *j = ctx;
    const train_options *o = &j->t->o;
    size_t from = (size_t)i_chunk * NUMBERS_PER_CHUNK, to = MIN(from + NUMBERS_PER_CHUNK, j->t->layout.n_params);
    for (size_t i = from; i < to; i++) {
        float g = j->t->grads[i] * j->shrink, *p = &j->t->params[i];
        float *m = &j->t->moment1[i], *v = &j->t->moment2[i];
        *m = o->beta1 * *m + (1 - o->beta1) * g;
        *v = o->beta2 * *v + (1 - o->beta2) * g * g;
        float towards = *m * j->correction1 / (sqrtf(*v * j->correction2) + o->epsilon);
        *p -= j->rate * (towards + o->weight_decay * *p);
    }
}

/* 1 / (1 - beta^n) */
static float correction(float beta, uint64_t n) {
    return (float)(1 / (1 - kernel_exp((double)n * kernel_log((double)beta))));
}

void optimiser_update(trainer *t, float rate, float shrink) {
    t->n_steps++;
    update_job j = {t, rate, shrink, correction(t->o.beta1, t->n_steps), correction(t->o.beta2, t->n_steps)};
    size_t n_chunk = (t->layout.n_params + NUMBERS_PER_CHUNK - 1) / NUMBERS_PER_CHUNK;
    os_pool_run(t->o.pool, (int)n_chunk, update_chunk, &j);
}
