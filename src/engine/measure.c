/* Reading a text in windows (measure.h). With a base model both read the same few rows in turn, so that only the base's
 * logits of those are kept, whatever the window. */
#include "engine/measure.h"

#include "base/mem.h"

#include <math.h>

#define DEFAULT_WINDOW 512u
#define KEPT_BYTES ((size_t)32 << 20) /* of the base's logits */

typedef struct measuring {
    engine *e, *base;
    const measure_options *o;
    measure_result *r;
    uint32_t n_vocab, chunk; /* chunk: rows computed at a time */
    int32_t *window;         /* [out->window] ids of the current one */
    uint32_t n, at;          /* its tokens; the first of the current chunk */
    float *work;             /* [n_vocab] */
    float *kept;             /* [chunk][n_vocab] the base's logits */
    float *base_prob;        /* [n_vocab] */
    float *kl;               /* [scored] */
    double sum_squares;      /* of each token's nll */
    double window_nll, base_nll, kl_sum, kl_squares, change_squares;
    uint64_t n_same;
} measuring;

void measure_result_release(measure_result *r) {
    free(r->window_nll);
    r->window_nll = NULL;
}

/* Does the model's file ask for a beginning-of-text token? */
static muga_status asks_for_bos(const engine *e, bool *out, muga_error *err) {
    const tokenizer *t = engine_tokenizer(e);
    token_list ids = TOKEN_LIST_INIT;
    muga_status st = tokenizer_encode(t, "", 0, (tokenizer_flags){.add_special = true}, &ids, err);
    *out = !st && ids.n > 0 && tokenizer_bos(t) >= 0 && ids.ids[0] == tokenizer_bos(t);
    token_list_release(&ids);
    return st;
}

static void keep_row(void *ctx, uint32_t pos, const float *logits) {
    measuring *m = ctx;
    memcpy(m->kept + (size_t)(pos - m->at) * m->n_vocab, logits, m->n_vocab * sizeof *logits);
}

static void compare_row(measuring *m, const float *base, const float *logits, double z, int32_t next) {
    double z_base = sampler_log_partition(engine_kernels(m->base), base, m->n_vocab, m->base_prob), kl = 0;
    bool finite;
    for (uint32_t i = 0; i < m->n_vocab; i++) /* base_prob is now exp(base - z_base) */
        kl += (double)m->base_prob[i] * (((double)base[i] - z_base) - ((double)logits[i] - z));
    kl = MAX(kl, 0.0); /* it is, but for rounding */
    double p = kernel_exp((double)logits[next] - z), p_base = kernel_exp((double)base[next] - z_base);
    m->base_nll += z_base - (double)base[next];
    m->kl[m->r->n_scored] = (float)kl;
    m->kl_sum += kl;
    m->kl_squares += kl * kl;
    m->change_squares += (p - p_base) * (p - p_base);
    m->n_same += engine_kernels(m->e)->argmax(logits, m->n_vocab, &finite) ==
                 engine_kernels(m->e)->argmax(base, m->n_vocab, &finite);
}

static void score_row(void *ctx, uint32_t pos, const float *logits) {
    measuring *m = ctx;
    if (pos + 1 >= m->n)
        return;
    int32_t next = m->window[pos + 1];
    double z = sampler_log_partition(engine_kernels(m->e), logits, m->n_vocab, m->work);
    double nll = z - (double)logits[next];
    if (m->base)
        compare_row(m, m->kept + (size_t)(pos - m->at) * m->n_vocab, logits, z, next);
    m->window_nll += nll;
    m->sum_squares += nll * nll;
    m->r->n_scored++;
}

/* The rows [at, at + n) of the window. */
static muga_status run_rows(measuring *m, engine *e, engine_session *s, uint32_t n,
                            void (*on_row)(void *ctx, uint32_t pos, const float *logits), muga_error *err) {
    engine_item it = {.session = s,
                      .ids = m->window + m->at,
                      .n = n,
                      .want = ENGINE_LOGITS_ALL,
                      .on_logits = on_row,
                      .on_logits_ctx = m};
    return engine_step(e, &it, 1, err);
}

static muga_status run_window(measuring *m, muga_error *err) {
    engine_session *s = NULL, *s_base = NULL;
    muga_status st = engine_session_new(m->e, m->r->window, &s, err);
    if (!st)
        st = engine_session_set_adapter(s, m->o->adapter, m->o->adapter_scale, err);
    if (!st && m->base)
        st = engine_session_new(m->base, m->r->window, &s_base, err);
    m->window_nll = 0;
    for (m->at = 0; m->at < m->n && !st; m->at += m->chunk) {
        uint32_t n = MIN(m->chunk, m->n - m->at);
        if (m->base)
            st = run_rows(m, m->base, s_base, n, keep_row, err);
        if (!st)
            st = run_rows(m, m->e, s, n, score_row, err);
    }
    engine_session_free(s);
    engine_session_free(s_base);
    if (!st) {
        m->r->nll += m->window_nll;
        m->r->window_nll[m->r->n_windows++] = m->window_nll;
    }
    return st;
}

static void fill_window(measuring *m, const token_list *ids, size_t from) {
    size_t left = MIN(ids->n - from, (size_t)m->r->window);
    m->n = 0;
    if (m->r->bos) {
        m->window[m->n++] = tokenizer_bos(engine_tokenizer(m->e));
        left = MIN(left, (size_t)m->r->window - 1);
    }
    memcpy(m->window + m->n, ids->ids + from, left * sizeof *ids->ids);
    m->n += (uint32_t)left;
}

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* One standard error of the mean of n values. */
static double error_of_mean(double sum, double squares, uint64_t n) {
    double mean = sum / (double)n, variance = squares / (double)n - mean * mean;
    return n > 1 && variance > 0 ? sqrt(variance / (double)(n - 1)) : 0;
}

static void conclude(measuring *m) {
    measure_result *r = m->r;
    double n = (double)r->n_scored;
    r->perplexity = kernel_exp(r->nll / n);
    r->error = r->perplexity * error_of_mean(r->nll, m->sum_squares, r->n_scored);
    if (!m->base)
        return;
    qsort(m->kl, (size_t)r->n_scored, sizeof *m->kl, compare_floats);
    r->compared = true;
    r->base_perplexity = kernel_exp(m->base_nll / n);
    r->kl_mean = m->kl_sum / n;
    r->kl_error = error_of_mean(m->kl_sum, m->kl_squares, r->n_scored);
    r->kl_median = (double)m->kl[r->n_scored / 2];
    r->kl_p99 = (double)m->kl[(r->n_scored - 1) * 99 / 100];
    r->kl_max = (double)m->kl[r->n_scored - 1];
    r->same_top = (double)m->n_same / n;
    r->rms_change = sqrt(m->change_squares / n);
}

static muga_status choose_window(measuring *m, muga_error *err) {
    uint32_t context = engine_params(m->e)->n_ctx_train;
    if (m->base)
        context = MIN(context, engine_params(m->base)->n_ctx_train);
    m->r->window = m->o->window ? m->o->window : MIN(DEFAULT_WINDOW, context);
    if (m->r->window < 2)
        return error_set(err, MUGA_E_USAGE, "a window of %u tokens has nothing to predict; take 2 or more",
                         m->r->window);
    if (m->r->window > context)
        return error_set(err, MUGA_E_LIMIT,
                         "a window of %u tokens is more than the %u that were trained for; ask for less", m->r->window,
                         context);
    return MUGA_OK;
}

static muga_status prepare(measuring *m, const token_list *ids, muga_error *err) {
    uint32_t n_batch = engine_get_options(m->e)->n_batch;
    muga_status st = choose_window(m, err);
    if (st)
        return st;
    if (!engine_tokenizer(m->e))
        return error_set(err, MUGA_E_INPUT, "this model's tokenizer is not supported, so it can't read a text");
    if (m->base && engine_params(m->base)->n_vocab != m->n_vocab)
        return error_set(err, MUGA_E_INPUT,
                         "the models have vocabularies of %u and %u tokens; compare models of one family", m->n_vocab,
                         engine_params(m->base)->n_vocab);
    st = asks_for_bos(m->e, &m->r->bos, err);
    if (st)
        return st;
    m->chunk = m->base ? (uint32_t)MIN(MAX(KEPT_BYTES / (m->n_vocab * sizeof(float)), (size_t)1), (size_t)n_batch)
                       : m->r->window;
    size_t n_windows = ids->n / m->r->window + 1;
    m->window = mem_alloc_array(m->r->window, sizeof *m->window);
    m->work = mem_alloc_aligned(m->n_vocab * sizeof *m->work, 64);
    m->base_prob = mem_alloc_aligned(m->n_vocab * sizeof *m->base_prob, 64);
    m->kept = mem_alloc_array((size_t)(m->base ? m->chunk : 0) * m->n_vocab, sizeof *m->kept);
    m->kl = mem_alloc_array(m->base ? ids->n : 0, sizeof *m->kl);
    m->r->window_nll = mem_alloc_array(n_windows, sizeof *m->r->window_nll);
    return m->window && m->work && m->base_prob && m->kept && m->kl && m->r->window_nll ? MUGA_OK
                                                                                        : error_nomem(err, "measuring");
}

muga_status measure_text(engine *e, engine *base, const token_list *ids, const measure_options *o, measure_result *out,
                         muga_error *err) {
    *out = (measure_result){0};
    measuring m = {.e = e, .base = base, .o = o, .r = out, .n_vocab = engine_params(e)->n_vocab};
    muga_status st = prepare(&m, ids, err);
    size_t end = o->max_windows ? MIN((size_t)o->max_windows * out->window, ids->n) : ids->n;
    for (size_t at = 0; at < end && !st; at += out->window) {
        fill_window(&m, ids, at);
        if (m.n >= 2)
            st = run_window(&m, err);
        if (!st && o->on_progress &&
            !o->on_progress(o->on_progress_ctx, (double)MIN(at + out->window, end) / (double)end))
            st = error_set(err, MUGA_E_CANCELLED, "interrupted");
    }
    if (!st && out->n_scored == 0)
        st = error_set(err, MUGA_E_INPUT,
                       "the text has %zu tokens; at least two are needed to predict one from another", ids->n);
    if (!st)
        conclude(&m);
    else
        measure_result_release(out);
    free(m.window);
    free(m.work);
    free(m.base_prob);
    free(m.kept);
    free(m.kl);
    return st;
}
