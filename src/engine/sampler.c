/* The sampler: steps and order as in sampler.h.
 *
 * Its one idea: candidates are compact arrays of (id, value), in ascending id, so a mask of a few tokens costs a few
 * operations, and the whole vocabulary is never sorted: the k best are found with a small heap, and top-p asks for more
 * of them only while their sum is below p. Sums run in f64 in a fixed order. */
#include "engine/sampler.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>

#define MAX_BIAS 1024
#define FIRST_TOP 64 /* how many of the most likely top-p looks at first */

typedef struct candidate {
    float value; /* logit, later probability */
    int32_t id;
} candidate;

struct sampler {
    sampler_settings set;
    const kernel_table *kernels;
    uint32_t n_vocab;
    sampler_bias *bias;
    int32_t *window; /* ring of the last penalty_last_n ids */
    uint32_t n_window, at;
    int32_t *count;  /* [n_vocab] occurrences in the window; negated while penalties are applied */
    float *adjusted; /* [n_vocab] logits after bias and penalties; later the candidates' values */
    candidate *cand; /* [n_vocab] */
    candidate *top;  /* [n_vocab] */
};

static bool in_range(float v, float min, float max) {
    return v >= min && v <= max;
} /* false for NaN */

muga_status sampler_check(const sampler_settings *s, uint32_t n_vocab, muga_error *err) {
    const struct {
        const char *name;
        float v, min, max;
    } range[] = {
        {"temperature", s->temperature, 0.0f, 100.0f},
        {"top_p", s->top_p, 0.0f, 1.0f},
        {"min_p", s->min_p, 0.0f, 1.0f},
        {"repeat_penalty", s->repeat_penalty, 0.01f, 100.0f},
        {"presence_penalty", s->presence_penalty, -100.0f, 100.0f},
        {"frequency_penalty", s->frequency_penalty, -100.0f, 100.0f},
    };
    for (size_t i = 0; i < ARRAY_LEN(range); i++)
        if (!in_range(range[i].v, range[i].min, range[i].max))
            return error_set(err, MUGA_E_USAGE, "%s is %g; it must be from %g to %g", range[i].name, (double)range[i].v,
                             (double)range[i].min, (double)range[i].max);
    if (s->penalty_last_n > (1u << 20))
        return error_set(err, MUGA_E_USAGE, "penalty_last_n is %u; it must be at most %u", s->penalty_last_n, 1u << 20);
    if (s->n_bias > MAX_BIAS)
        return error_set(err, MUGA_E_USAGE, "%zu logit biases; at most %d are taken", s->n_bias, MAX_BIAS);
    for (size_t i = 0; i < s->n_bias; i++)
        if (s->bias[i].id < 0 || (uint32_t)s->bias[i].id >= n_vocab || !in_range(s->bias[i].bias, -1e6f, 1e6f))
            return error_set(err, MUGA_E_USAGE, "logit bias %g for token %d; tokens are 0 to %u, biases -1e6 to 1e6",
                             (double)s->bias[i].bias, s->bias[i].id, n_vocab - 1);
    return MUGA_OK;
}

static bool penalises(const sampler_settings *s) {
    return s->penalty_last_n > 0 &&
           (s->repeat_penalty != 1.0f || s->presence_penalty != 0.0f || s->frequency_penalty != 0.0f);
}

muga_status sampler_new(const sampler_settings *set, const kernel_table *kernels, uint32_t n_vocab, sampler **out,
                        muga_error *err) {
    muga_status st = sampler_check(set, n_vocab, err);
    if (st)
        return st;
    sampler *s = mem_alloc_array(1, sizeof *s);
    if (!s)
        return error_nomem(err, "the sampler");
    s->set = *set;
    s->kernels = kernels;
    s->n_vocab = n_vocab;
    if (!penalises(set))
        s->set.penalty_last_n = 0;
    s->bias = mem_alloc_array(set->n_bias, sizeof *s->bias);
    s->window = mem_alloc_array(s->set.penalty_last_n, sizeof *s->window);
    s->count = mem_alloc_array(n_vocab, sizeof *s->count);
    s->adjusted = mem_alloc_aligned(n_vocab * sizeof *s->adjusted, 64);
    s->cand = mem_alloc_array(n_vocab, sizeof *s->cand);
    s->top = mem_alloc_array(n_vocab, sizeof *s->top);
    if (!s->bias || !s->window || !s->count || !s->adjusted || !s->cand || !s->top) {
        sampler_free(s);
        return error_nomem(err, "the sampler");
    }
    if (set->n_bias)
        memcpy(s->bias, set->bias, set->n_bias * sizeof *s->bias);
    s->set.bias = s->bias;
    *out = s;
    return MUGA_OK;
}

void sampler_free(sampler *s) {
    if (!s)
        return;
    free(s->bias);
    free(s->window);
    free(s->count);
    free(s->adjusted);
    free(s->cand);
    free(s->top);
    free(s);
}

void sampler_accept(sampler *s, int32_t id) {
    uint32_t last_n = s->set.penalty_last_n;
    if (last_n == 0)
        return;
    if (s->n_window == last_n)
        s->count[s->window[s->at]]--;
    else
        s->n_window++;
    s->window[s->at] = id;
    s->count[id]++;
    s->at = (s->at + 1) % last_n;
}

static void apply_penalties(sampler *s, float *logits) {
    const sampler_settings *set = &s->set;
    for (uint32_t i = 0; i < s->n_window; i++) {
        int32_t id = s->window[i], n = s->count[id];
        if (n <= 0)
            continue; /* done at an earlier occurrence */
        float v = logits[id];
        v = v > 0 ? v / set->repeat_penalty : v * set->repeat_penalty;
        logits[id] = v - set->presence_penalty - set->frequency_penalty * (float)n;
        s->count[id] = -n;
    }
    for (uint32_t i = 0; i < s->n_window; i++)
        s->count[s->window[i]] = abs(s->count[s->window[i]]);
}

/* Steps 2 and 3; gives the logits themselves where nothing changes them. */
static const float *adjust(sampler *s, const float *logits) {
    if (s->set.n_bias == 0 && s->n_window == 0)
        return logits;
    memcpy(s->adjusted, logits, s->n_vocab * sizeof *logits);
    for (size_t i = 0; i < s->set.n_bias; i++)
        s->adjusted[s->bias[i].id] += s->bias[i].bias;
    apply_penalties(s, s->adjusted);
    return s->adjusted;
}

/* Step 1, after the fact: the admitted tokens, ascending. */
static uint32_t gather(sampler *s, const float *logits, const uint64_t *mask) {
    uint32_t n = 0;
    if (!mask) {
        for (; n < s->n_vocab; n++)
            s->cand[n] = (candidate){logits[n], (int32_t)n};
        return n;
    }
    for (uint32_t i = 0; i < (s->n_vocab + 63) / 64; i++)
        for (uint64_t bits = mask[i]; bits; bits &= bits - 1) {
            uint32_t id = i * 64 + (uint32_t)__builtin_ctzll(bits);
            if (id < s->n_vocab)
                s->cand[n++] = (candidate){logits[id], (int32_t)id};
        }
    return n;
}

/* a comes before b: the larger value, of equal ones the lower id. */
static bool before(candidate a, candidate b) {
    return a.value > b.value || (a.value == b.value && a.id < b.id);
}
static bool lower_id(candidate a, candidate b) {
    return a.id < b.id;
}

/* Heap whose root is the element that comes last in the order. */
static void sift(candidate *h, uint32_t n, uint32_t i, bool (*first)(candidate, candidate)) {
    for (candidate v = h[i];;) {
        uint32_t child = 2 * i + 1;
        if (child >= n) {
            h[i] = v;
            return;
        }
        if (child + 1 < n && first(h[child], h[child + 1]))
            child++;
        if (!first(v, h[child])) {
            h[i] = v;
            return;
        }
        h[i] = h[child];
        i = child;
    }
}

static void heapify(candidate *h, uint32_t n, bool (*first)(candidate, candidate)) {
    for (uint32_t i = n / 2; i-- > 0;)
        sift(h, n, i, first);
}

static void sort(candidate *h, uint32_t n, bool (*first)(candidate, candidate)) {
    heapify(h, n, first);
    for (uint32_t end = n; end > 1; end--) {
        candidate last = h[0];
        h[0] = h[end - 1];
        h[end - 1] = last;
        sift(h, end - 1, 0, first);
    }
}

/* The k that come first of c[0, n), sorted, into top. */
static void select_top(const candidate *c, uint32_t n, uint32_t k, candidate *top) {
    memcpy(top, c, k * sizeof *top);
    heapify(top, k, before);
    for (uint32_t i = k; i < n; i++)
        if (before(c[i], top[0])) {
            top[0] = c[i];
            sift(top, k, 0, before);
        }
    sort(top, k, before);
}

/* Values become probabilities: temperature, then the kernels' softmax. The difference to the largest is taken first, so
 * that no temperature overflows. */
static void to_probabilities(sampler *s, candidate *c, uint32_t n) {
    float max = c[0].value, *v = s->adjusted;
    for (uint32_t i = 1; i < n; i++)
        max = fmaxf(max, c[i].value);
    for (uint32_t i = 0; i < n; i++)
        v[i] = fmaxf((c[i].value - max) / s->set.temperature, -1e4f);
    s->kernels->softmax(v, n);
    for (uint32_t i = 0; i < n; i++)
        c[i].value = v[i];
}

/* Steps 7 and 8: how many of the most likely are kept; they stand in s->top, sorted. */
static uint32_t keep_likely(sampler *s, uint32_t n) {
    for (uint32_t k = MIN(n, (uint32_t)FIRST_TOP);; k = k > n / 8 ? n : k * 8) {
        select_top(s->cand, n, k, s->top);
        float least = s->set.min_p * s->top[0].value;
        double sum = 0;
        for (uint32_t i = 0; i < k; i++) {
            if (i > 0 && s->top[i].value < least)
                return i;
            sum += (double)s->top[i].value;
            if (s->set.top_p < 1.0f && sum >= (double)s->set.top_p)
                return i + 1;
        }
        if (k == n)
            return n;
    }
}

static int32_t draw(const sampler *s, const candidate *c, uint32_t n, uint64_t position) {
    double total = 0, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        total += (double)c[i].value;
    double u = (double)rng_uniform(s->set.seed, s->set.choice, s->set.attempt, position) * total;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)c[i].value;
        if (sum > u)
            return c[i].id;
    }
    return c[n - 1].id;
}

static int32_t best_of(const candidate *c, uint32_t n) {
    candidate best = c[0];
    for (uint32_t i = 1; i < n; i++)
        if (before(c[i], best))
            best = c[i];
    return best.id;
}

/* Steps 5 to 9 over cand[0, n). */
static int32_t pick_drawn(sampler *s, uint32_t n, uint64_t position) {
    if (s->set.top_k > 0 && s->set.top_k < n) {
        select_top(s->cand, n, s->set.top_k, s->top);
        n = s->set.top_k;
        memcpy(s->cand, s->top, n * sizeof *s->cand);
        sort(s->cand, n, lower_id);
    }
    to_probabilities(s, s->cand, n);
    if (s->set.top_p >= 1.0f && s->set.min_p <= 0.0f)
        return draw(s, s->cand, n, position);
    n = keep_likely(s, n);
    sort(s->top, n, lower_id);
    return draw(s, s->top, n, position);
}

muga_status sampler_pick(sampler *s, const float *logits, const uint64_t *mask, uint64_t position, int32_t *out,
                         muga_error *err) {
    const float *v = adjust(s, logits);
    bool finite = true;
    if (s->set.temperature == 0 && !mask) {
        *out = (int32_t)s->kernels->argmax(v, s->n_vocab, &finite);
    } else {
        uint32_t n = gather(s, v, mask);
        if (n == 0)
            return error_set(err, MUGA_E_LIMIT, "the constraint admits no token");
        for (uint32_t i = 0; i < n; i++)
            finite = finite && isfinite(s->cand[i].value);
        if (finite)
            *out = s->set.temperature == 0 ? best_of(s->cand, n) : pick_drawn(s, n, position);
    }
    return finite ? MUGA_OK
                  : error_set(err, MUGA_E_NONFINITE, "a logit is infinite or not a number (position %llu)",
                              (unsigned long long)position);
}

double sampler_log_partition(const kernel_table *kernels, const float *logits, uint32_t n_vocab, float *work) {
    bool finite;
    memcpy(work, logits, n_vocab * sizeof *work);
    uint64_t best = kernels->argmax(logits, n_vocab, &finite);
    kernels->softmax(work, n_vocab);
    /* the largest one's probability is 1 / sum(exp(x - max)) */
    return (double)logits[best] - kernel_log((double)work[best]);
}
