/* How well a model predicts a text, and how far its predictions are from another model's.
 *
 * The text's ids are read in windows, each with an empty context. Where the model's file asks for a beginning-of-text
 * token, a window is that token and the first window - 1 of its ids, so that windows begin at the same places for every
 * model. Scored is every token of a window but its first. A window at the end may be shorter; one of a single token is
 * left out.
 *
 * Perplexity is exp(mean of -log p(token)). Against a base model, position by position: KL(base || model) over the
 * whole vocabulary in nats, whether the likeliest token is the same, and by how much the text's own token became more
 * or less likely. */
#ifndef MUGA_ENGINE_MEASURE_H
#define MUGA_ENGINE_MEASURE_H

#include "engine/engine.h"

typedef struct measure_options {
    uint32_t window;         /* tokens, at least 2; 0 = 512, or the context where that is less */
    uint32_t max_windows;    /* 0 = all */
    engine_adapter *adapter; /* of the model, not of the base; NULL = none */
    float adapter_scale;
    bool (*on_progress)(void *ctx, double done); /* 0..1; false cancels; may be NULL */
    void *on_progress_ctx;
} measure_options;

typedef struct measure_result {
    uint32_t window, n_windows; /* tokens of a window; windows */
    uint64_t n_scored;
    bool bos;   /* each window began with the beginning-of-text token */
    double nll; /* sum over scored tokens, nats */
    double perplexity;
    double error;       /* of perplexity: one standard error of the mean, carried over */
    double *window_nll; /* [n_windows] */
    bool compared;      /* the rest is only there with a base */
    double base_perplexity;
    double kl_mean, kl_error, kl_median, kl_p99, kl_max;
    double same_top;   /* share of positions, 0..1 */
    double rms_change; /* of the probability of the text's token, 0..1 */
} measure_result;
void measure_result_release(measure_result *r);

/* base NULL: perplexity alone. ids: of the text, without special tokens. MUGA_E_INPUT for a text too short or models
 * with vocabularies of different sizes, E_LIMIT for a window beyond a context, E_CANCELLED, E_NONFINITE. */
MUGA_MUST_USE muga_status measure_text(engine *e, engine *base, const token_list *ids, const measure_options *o,
                                       measure_result *out, muga_error *err);

#endif
