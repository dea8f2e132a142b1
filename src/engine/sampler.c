/* The sampler: steps and order as in sampler.h.
 *
 * Its one idea: what is left is an array of values in ascending id, with their ids beside it where some are missing,
 * and the vocabulary is never sorted. The k best are found with a small heap in one pass. Top-p sorts only tokens above
 * a bound that leaves enough of them, and then knows the last one that stays: another pass keeps all that come before
 * it. Sums run in f64 in a fixed order. */
#include "engine/sampler.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>

#define MAX_BIAS 1024
#define FIRST_BOUND 1e-3f /* top-p looks at tokens at least this likely first */
#define RADIX_BITS 11
#define RADIX_FROM 128 /* candidates from which they are sorted by digits */

typedef struct candidate {
    float value; /* logit, later probability */
    int32_t at;  /* index into the values */
} candidate;

struct sampler {
    sampler_settings set;
    const kernel_table *kernels;
    uint32_t n_vocab;
    sampler_bias *bias; /* but for SAMPLER_NEVER: */
    uint64_t *allowed;  /* bit of each token that isn't NEVER; NULL = all may be chosen */
    uint64_t *left;     /* of a mask */
    int32_t *window;    /* ring of the last penalty_last_n ids */
    uint32_t n_window, at;
    int32_t *count;  /* [n_vocab] occurrences in the window; negated while penalties are applied */
    float *values;   /* [n_vocab] logits after bias and penalties; later what is left of them, and probabilities */
    int32_t *ids;    /* [n_vocab] of the values that are left, ascending */
    candidate *top;  /* [n_vocab] */
    candidate *work; /* [n_vocab] */
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
        {"typical_p", s->typical_p, 0.0f, 1.0f},
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
    if (s->penalty_last_n > SAMPLER_MAX_WINDOW)
        return error_set(err, MUGA_E_USAGE, "penalty_last_n is %u; it must be at most %u", s->penalty_last_n,
                         SAMPLER_MAX_WINDOW);
    if (s->n_bias > MAX_BIAS)
        return error_set(err, MUGA_E_USAGE, "%zu logit biases; at most %d are taken", s->n_bias, MAX_BIAS);
    for (size_t i = 0; i < s->n_bias; i++)
        if (s->bias[i].id < 0 || (uint32_t)s->bias[i].id >= n_vocab ||
            (s->bias[i].bias != SAMPLER_NEVER && !in_range(s->bias[i].bias, -1e6f, 1e6f)))
            return error_set(err, MUGA_E_USAGE, "logit bias %g for token %d; tokens are 0 to %u, biases -1e6 to 1e6",
                             (double)s->bias[i].bias, s->bias[i].id, n_vocab - 1);
    return MUGA_OK;
}

static bool penalises(const sampler_settings *s) {
    return s->penalty_last_n > 0 &&
           (s->repeat_penalty != 1.0f || s->presence_penalty != 0.0f || s->frequency_penalty != 0.0f);
}

/* Tokens that are never chosen, apart from the biases that are added. false: out of memory. */
static bool take_biases(sampler *s, const sampler_settings *set) {
    size_t n_words = (s->n_vocab + 63) / 64, n = 0, n_never = 0;
    for (size_t i = 0; i < set->n_bias; i++)
        n_never += set->bias[i].bias == SAMPLER_NEVER;
    if (n_never > 0) {
        s->allowed = mem_alloc_array(n_words, sizeof *s->allowed);
        s->left = mem_alloc_array(n_words, sizeof *s->left);
        if (!s->allowed || !s->left)
            return false;
        for (uint32_t id = 0; id < s->n_vocab; id++)
            s->allowed[id / 64] |= (uint64_t)1 << (id % 64);
    }
    for (size_t i = 0; i < set->n_bias; i++)
        if (set->bias[i].bias == SAMPLER_NEVER)
            s->allowed[set->bias[i].id / 64] &= ~((uint64_t)1 << (set->bias[i].id % 64));
        else
            s->bias[n++] = set->bias[i];
    s->set.bias = s->bias;
    s->set.n_bias = n;
    return true;
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
    s->values = mem_alloc_aligned(n_vocab * sizeof *s->values, 64);
    s->ids = mem_alloc_array(n_vocab, sizeof *s->ids);
    s->work = mem_alloc_array(n_vocab, sizeof *s->work);
    s->top = mem_alloc_array(n_vocab, sizeof *s->top);
    if (!s->bias || !s->window || !s->count || !s->values || !s->ids || !s->work || !s->top || !take_biases(s, set)) {
        sampler_free(s);
        return error_nomem(err, "the sampler");
    }
    *out = s;
    return MUGA_OK;
}

void sampler_free(sampler *s) {
    if (!s)
        return;
    free(s->bias);
    free(s->allowed);
    free(s->left);
    free(s->window);
    free(s->count);
    free(s->values);
    free(s->ids);
    free(s->work);
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
    memcpy(s->values, logits, s->n_vocab * sizeof *logits);
    for (size_t i = 0; i < s->set.n_bias; i++)
        s->values[s->bias[i].id] += s->bias[i].bias;
    apply_penalties(s, s->values);
    return s->values;
}

/* Step 2, the part that is a mask. What it and `mask` leave; `mask` where they leave nothing. */
static const uint64_t *without_never(sampler *s, const uint64_t *mask) {
    uint64_t any = 0;
    for (uint32_t i = 0; s->allowed && i < (s->n_vocab + 63) / 64; i++)
        any |= s->left[i] = s->allowed[i] & (mask ? mask[i] : UINT64_MAX);
    return any ? s->left : mask;
}

/* What there is to choose from. ids NULL: all, so an index is an id. */
typedef struct choices {
    const float *v; /* [n] */
    const int32_t *ids;
    uint32_t n;
} choices;

/* Step 1, after the fact: the admitted tokens, ascending. An index never passes its id, so this works in place. */
static choices gather(sampler *s, const float *logits, const uint64_t *mask) {
    uint32_t n = 0;
    if (!mask)
        return (choices){logits, NULL, s->n_vocab};
    for (uint32_t i = 0; i < (s->n_vocab + 63) / 64; i++)
        for (uint64_t bits = mask[i]; bits; bits &= bits - 1) {
            uint32_t id = i * 64 + (uint32_t)__builtin_ctzll(bits);
            if (id < s->n_vocab) {
                s->values[n] = logits[id];
                s->ids[n++] = (int32_t)id;
            }
        }
    return (choices){s->values, s->ids, n};
}

/* a comes before b: the larger value, of equal ones the lower id. */
static bool before(candidate a, candidate b) {
    return a.value > b.value || (a.value == b.value && a.at < b.at);
}
static bool lower(candidate a, candidate b) {
    return a.at < b.at;
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

/* Only the values at these indices, which ascend, are left. */
static choices keep_at(sampler *s, choices c, const candidate *kept, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        s->ids[i] = c.ids ? c.ids[kept[i].at] : kept[i].at;
        s->values[i] = kept[i].value;
    }
    return (choices){s->values, s->ids, n};
}

/* Step 5. Later ones of equal value don't come before earlier ones, so a value is compared alone. */
static choices keep_top_k(sampler *s, choices c) {
    uint32_t k = s->set.top_k;
    for (uint32_t i = 0; i < k; i++)
        s->top[i] = (candidate){c.v[i], (int32_t)i};
    heapify(s->top, k, before);
    for (uint32_t i = k; i < c.n; i++)
        if (c.v[i] > s->top[0].value) {
            s->top[0] = (candidate){c.v[i], (int32_t)i};
            sift(s->top, k, 0, before);
        }
    sort(s->top, k, lower);
    return keep_at(s, c, s->top, k);
}

/* Step 6: values become probabilities, by the kernels' softmax. The difference to the largest is taken first, so that
 * no temperature overflows. */
static choices to_probabilities(sampler *s, choices c, float max) {
    enum { BLOCK = 16 };
    float t = s->set.temperature, *out = s->values;
    uint32_t i = 0;
    for (; i + BLOCK <= c.n; i += BLOCK) { /* of fixed length: the compiler makes vectors of it */
        float x[BLOCK];
        memcpy(x, c.v + i, sizeof x);
        for (int j = 0; j < BLOCK; j++)
            x[j] = (x[j] - max) / t;
        for (int j = 0; j < BLOCK; j++)
            x[j] = x[j] > -1e4f ? x[j] : -1e4f;
        memcpy(out + i, x, sizeof x);
    }
    for (; i < c.n; i++)
        out[i] = fmaxf((c.v[i] - max) / t, -1e4f);
    s->kernels->softmax(out, c.n);
    return (choices){out, c.ids, c.n};
}

/* Which bucket of the digit at `shift` a value falls into, the largest first. Values are positive, so their bits are in
 * their order. */
static uint32_t digit(float value, int shift) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return ~bits >> shift & ((1u << RADIX_BITS) - 1);
}

/* By value, largest first; equal ones keep their order. */
static void sort_by_digits(candidate *c, candidate *work, uint32_t n) {
    enum { SIZE = 1 << RADIX_BITS };
    for (int shift = 0; shift < 32; shift += RADIX_BITS) {
        uint32_t from[SIZE] = {0}, at = 0;
        for (uint32_t i = 0; i < n; i++)
            from[digit(c[i].value, shift)]++;
        for (uint32_t i = 0; i < SIZE; i++) {
            uint32_t m = from[i];
            from[i] = at;
            at += m;
        }
        for (uint32_t i = 0; i < n; i++)
            work[from[digit(c[i].value, shift)]++] = c[i];
        memcpy(c, work, n * sizeof *c);
    }
}

/* Step 7. Values are probabilities; those of zero can't be drawn and don't count. */
static choices keep_typical(sampler *s, choices c) {
    double mean = 0, sum = 0;
    uint32_t n = 0, n_kept = 0;
    for (uint32_t i = 0; i < c.n; i++)
        if (c.v[i] > 0)
            mean -= (double)c.v[i] * kernel_log((double)c.v[i]);
    for (uint32_t i = 0; i < c.n; i++)
        if (c.v[i] > 0)
            s->top[n++] = (candidate){-(float)fabs(-kernel_log((double)c.v[i]) - mean), (int32_t)i};
    sort(s->top, n, before);
    while (n_kept < n && sum < (double)s->set.typical_p)
        sum += (double)c.v[s->top[n_kept++].at];
    sort(s->top, n_kept, lower);
    for (uint32_t i = 0; i < n_kept; i++)
        s->top[i].value = (float)((double)c.v[s->top[i].at] / sum);
    return keep_at(s, c, s->top, n_kept);
}

/* Step 8 among the values of at least `bound`: the last that stays; false where they don't sum to p. */
static bool find_last(sampler *s, choices c, float bound, candidate *last) {
    uint32_t n = 0;
    double sum = 0;
    for (uint32_t i = 0; i < c.n; i++)
        if (c.v[i] >= bound)
            s->top[n++] = (candidate){c.v[i], (int32_t)i};
    if (n < RADIX_FROM)
        sort(s->top, n, before);
    else
        sort_by_digits(s->top, s->work, n);
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)s->top[i].value;
        *last = s->top[i];
        if (sum >= (double)s->set.top_p)
            return true;
    }
    return false;
}

/* Steps 8 and 9. Tokens below the second bound are together less likely than 1 - p. */
static choices keep_likely(sampler *s, choices c) {
    float max = 0;
    for (uint32_t i = 0; i < c.n && s->set.min_p > 0; i++)
        max = c.v[i] > max ? c.v[i] : max;
    float least = s->set.min_p * max;
    candidate last = {least, INT32_MAX};
    if (s->set.top_p < 1.0f) {
        float bounds[] = {FIRST_BOUND, (1.0f - s->set.top_p) / (float)c.n, 0.0f};
        bool found = false;
        for (size_t i = 0; i < ARRAY_LEN(bounds) && !found && (i == 0 || bounds[i - 1] > least); i++)
            found = find_last(s, c, fmaxf(bounds[i], least), &last);
        if (!found)
            last = (candidate){least, INT32_MAX};
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < c.n; i++)
        if (!before(last, (candidate){c.v[i], (int32_t)i}))
            s->top[n++] = (candidate){c.v[i], (int32_t)i};
    return keep_at(s, c, s->top, n);
}

/* Step 10. */
static int32_t draw(const sampler *s, choices c, uint64_t position) {
    double total = 0, sum = 0;
    for (uint32_t i = 0; i < c.n; i++)
        total += (double)c.v[i];
    double u = (double)rng_uniform(s->set.seed, s->set.choice, s->set.attempt, position) * total;
    uint32_t i = 0;
    for (; i + 1 < c.n; i++) {
        sum += (double)c.v[i];
        if (sum > u)
            break;
    }
    return c.ids ? c.ids[i] : (int32_t)i;
}

muga_status sampler_pick(sampler *s, const float *logits, const uint64_t *mask, uint64_t position, int32_t *out,
                         muga_error *err) {
    bool finite = true;
    choices c = gather(s, adjust(s, logits), without_never(s, mask));
    if (c.n == 0)
        return error_set(err, MUGA_E_LIMIT, "the constraint admits no token");
    uint32_t best = (uint32_t)s->kernels->argmax(c.v, c.n, &finite);
    if (!finite)
        return error_set(err, MUGA_E_NONFINITE, "a logit is infinite or not a number (position %llu)",
                         (unsigned long long)position);
    if (s->set.temperature == 0) {
        *out = c.ids ? c.ids[best] : (int32_t)best;
        return MUGA_OK;
    }
    float max = c.v[best];
    if (s->set.top_k > 0 && s->set.top_k < c.n)
        c = keep_top_k(s, c);
    c = to_probabilities(s, c, max);
    if (s->set.typical_p > 0.0f && s->set.typical_p < 1.0f)
        c = keep_typical(s, c);
    if (s->set.top_p < 1.0f || s->set.min_p > 0.0f)
        c = keep_likely(s, c);
    *out = draw(s, c, position);
    return MUGA_OK;
}

double sampler_log_partition(const kernel_table *kernels, const float *logits, uint32_t n_vocab, float *work) {
    bool finite;
    memcpy(work, logits, n_vocab * sizeof *work);
    uint64_t best = kernels->argmax(logits, n_vocab, &finite);
    kernels->softmax(work, n_vocab);
    /* the largest one's probability is 1 / sum(exp(x - max)) */
    return (double)logits[best] - kernel_log((double)work[best]);
}
