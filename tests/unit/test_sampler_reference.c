/* The sampler against a second one, written here from the list in sampler.h alone: slow, in double, by sorting. If this
 * fails, some combination of settings chooses a token that its definition excludes, or excludes one it admits.
 *
 * The two round differently (the sampler's probabilities are f32), so a choice is judged by intervals: every token that
 * is kept owns a stretch of [0, 1), and the drawn number must lie in the stretch of the token that was chosen, give or
 * take EPSILON. Tokens are called certain or possible where a cut-off (top-p, min-p), or the order of two that are
 * equally likely but for CLOSE, decides whether they are kept. Greedy choices and top-k are exact. */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#define MAX_VOCAB 700
#define EPSILON 2e-5
#define CLOSE 1e-5 /* relative */

typedef struct entry {
    int32_t id;
    double logit, p; /* after bias and penalties; probability among those left after top-k */
    bool certain, possible;
} entry;

/* What one case is. */
typedef struct situation {
    uint32_t n_vocab;
    float logits[MAX_VOCAB];
    uint64_t mask[(MAX_VOCAB + 63) / 64];
    bool masked;
    sampler_settings set;
    sampler_bias bias[8];
    int32_t history[200]; /* tokens accepted so far */
    uint32_t n_history;
    uint64_t position;
} situation;

/* ---- the second sampler ---- */

static bool admitted(const situation *c, uint32_t id) {
    return !c->masked || (c->mask[id / 64] >> (id % 64) & 1);
}

/* Steps 2 and 3 for one token. In f32, as the sampler has it: greedy choices are exact. */
static float adjusted(const situation *c, int32_t id) {
    float v = c->logits[id];
    int n = 0;
    for (size_t i = 0; i < c->set.n_bias; i++)
        v += c->bias[i].id == id ? c->bias[i].bias : 0.0f;
    for (uint32_t i = 0; i < c->n_history; i++)
        n += c->history[i] == id && c->n_history - i <= c->set.penalty_last_n;
    if (n == 0)
        return v;
    v = v > 0 ? v / c->set.repeat_penalty : v * c->set.repeat_penalty;
    return v - c->set.presence_penalty - c->set.frequency_penalty * (float)n;
}

static int by_logit(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return x->logit != y->logit ? (x->logit < y->logit) - (x->logit > y->logit) : (x->id > y->id) - (x->id < y->id);
}

/* Admitted tokens, best first, those past top-k left out, with probabilities. */
static uint32_t rank(const situation *c, entry *e) {
    uint32_t n = 0;
    for (uint32_t id = 0; id < c->n_vocab; id++)
        if (admitted(c, id))
            e[n++] = (entry){.id = (int32_t)id, .logit = (double)adjusted(c, (int32_t)id)};
    qsort(e, n, sizeof *e, by_logit);
    if (c->set.top_k > 0)
        n = MIN(n, c->set.top_k);
    double sum = 0;
    for (uint32_t i = 0; i < n && c->set.temperature > 0; i++)
        sum += e[i].p = exp(fmax((e[i].logit - e[0].logit) / (double)c->set.temperature, -1e4));
    for (uint32_t i = 0; i < n && sum > 0; i++)
        e[i].p /= sum;
    return n;
}

/* Steps 7 and 8: which of the ranked tokens are kept. */
static void mark_kept(const situation *c, entry *e, uint32_t n) {
    double top_p = (double)c->set.top_p, least = (double)c->set.min_p * e[0].p, before = 0;
    for (uint32_t i = 0; i < n; before += e[i++].p) {
        double more = before, as_much = before; /* mass of what is surely, or perhaps, more likely */
        for (uint32_t k = i; k-- > 0 && e[k].p <= e[i].p * (1 + CLOSE);)
            more -= e[k].p;
        for (uint32_t k = i + 1; k < n && e[k].p >= e[i].p * (1 - CLOSE); k++)
            as_much += e[k].p;
        bool first = e[i].p >= e[0].p * (1 - CLOSE), alone = i == 0 && (n == 1 || e[1].p < e[0].p * (1 - CLOSE));
        e[i].possible = (first || top_p >= 1 || more < top_p + EPSILON) && e[i].p >= least * (1 - CLOSE) - EPSILON;
        e[i].certain = (alone || top_p >= 1 || as_much < top_p - EPSILON) &&
                       (alone || least == 0 || e[i].p >= least * (1 + CLOSE) + EPSILON);
    }
}

static bool may_choose(const entry *e, uint32_t n, double u, int32_t id) {
    double certain_before = 0, possible_before = 0, certain = 0, possible = 0, p = -1;
    for (uint32_t i = 0; i < n; i++) {
        certain += e[i].certain ? e[i].p : 0;
        possible += e[i].possible ? e[i].p : 0;
        certain_before += e[i].certain && e[i].id < id ? e[i].p : 0;
        possible_before += e[i].possible && e[i].id < id ? e[i].p : 0;
        if (e[i].id == id && e[i].possible)
            p = e[i].p;
    }
    return p >= 0 && u * possible + EPSILON >= certain_before && u * certain - EPSILON <= possible_before + p;
}

static bool is_right(const situation *c, int32_t id) {
    entry e[MAX_VOCAB];
    uint32_t n = rank(c, e);
    if (c->set.temperature == 0)
        return id == e[0].id;
    double u = (double)rng_uniform(c->set.seed, c->set.choice, c->set.attempt, c->position);
    mark_kept(c, e, n);
    return may_choose(e, n, u, id);
}

/* ---- situations ---- */

static float uniform(rng *r, float from, float to) {
    return from + (to - from) * (float)rng_below(r, 1 << 20) / (float)(1 << 20);
}

static float one_of(rng *r, const float *values, size_t n) {
    return values[rng_below(r, n)];
}

static void fill_logits(situation *c, rng *r) {
    static const float scales[] = {0.0f, 1e-30f, 0.01f, 1.0f, 6.0f, 1000.0f, 1e30f};
    float scale = one_of(r, scales, ARRAY_LEN(scales));
    bool coarse = rng_below(r, 3) == 0; /* many ties */
    for (uint32_t i = 0; i < c->n_vocab; i++) {
        float v = uniform(r, -2, 2);
        c->logits[i] = scale * (coarse ? floorf(v * 2) : v);
    }
}

/* Distinct tokens, as a request's map of biases has. */
static void fill_bias(situation *c, rng *r) {
    c->set.n_bias = rng_below(r, 3) == 0 ? 1 + rng_below(r, MIN(ARRAY_LEN(c->bias), (size_t)c->n_vocab)) : 0;
    for (size_t i = 0; i < c->set.n_bias; i++)
        c->bias[i] = (sampler_bias){(int32_t)(i * (c->n_vocab / c->set.n_bias)), uniform(r, -8, 8)};
    c->set.bias = c->bias;
}

static void fill_mask(situation *c, rng *r) {
    uint32_t n_one_in = 1 + (uint32_t)rng_below(r, 40);
    c->masked = rng_below(r, 2);
    memset(c->mask, 0, sizeof c->mask);
    for (uint32_t i = 0; i < c->n_vocab; i++)
        if (rng_below(r, n_one_in) == 0)
            c->mask[i / 64] |= 1ull << (i % 64);
    uint32_t always = (uint32_t)rng_below(r, c->n_vocab);
    c->mask[always / 64] |= 1ull << (always % 64);
}

static void fill_settings(situation *c, rng *r) {
    static const float temperatures[] = {0.0f, 1e-38f, 1e-30f, 0.01f, 0.7f, 1.0f, 2.0f, 100.0f};
    static const float top_ps[] = {0.0f, 1e-6f, 0.1f, 0.5f, 0.9f, 0.95f, 0.999999f, 1.0f};
    static const float min_ps[] = {0.0f, 1e-6f, 0.05f, 0.5f, 1.0f};
    static const float repeats[] = {1.0f, 1.0f, 0.01f, 1.1f, 100.0f};
    static const float additions[] = {0.0f, 0.0f, -2.0f, 0.5f, 100.0f};
    static const uint32_t top_ks[] = {0, 0, 1, 2, 40, 63, 64, 65, UINT32_MAX};
    static const uint32_t windows[] = {0, 1, 7, 64, 1000};
    c->set = (sampler_settings){
        .temperature = one_of(r, temperatures, ARRAY_LEN(temperatures)),
        .top_k = top_ks[rng_below(r, ARRAY_LEN(top_ks))],
        .top_p = one_of(r, top_ps, ARRAY_LEN(top_ps)),
        .min_p = one_of(r, min_ps, ARRAY_LEN(min_ps)),
        .repeat_penalty = one_of(r, repeats, ARRAY_LEN(repeats)),
        .presence_penalty = one_of(r, additions, ARRAY_LEN(additions)),
        .frequency_penalty = one_of(r, additions, ARRAY_LEN(additions)),
        .penalty_last_n = windows[rng_below(r, ARRAY_LEN(windows))],
        .seed = rng_next(r),
        .choice = (uint32_t)rng_below(r, 3),
        .attempt = (uint32_t)rng_below(r, 3),
    };
    c->n_history = (uint32_t)rng_below(r, ARRAY_LEN(c->history) + 1);
    for (uint32_t i = 0; i < c->n_history; i++)
        c->history[i] = (int32_t)rng_below(r, MIN(c->n_vocab, 30u));
}

static muga_status choose(const situation *c, int32_t *id, muga_error *err) {
    sampler *s = NULL;
    muga_status st = sampler_new(&c->set, kernel_table_get(kernel_isa_best()), c->n_vocab, &s, err);
    for (uint32_t i = 0; i < c->n_history && !st; i++)
        sampler_accept(s, c->history[i]);
    if (!st)
        st = sampler_pick(s, c->logits, c->masked ? c->mask : NULL, c->position, id, err);
    sampler_free(s);
    return st;
}

static void every_choice_is_one_the_definitions_admit(void **state) {
    (void)state;
    static const uint32_t vocabularies[] = {1, 2, 3, 63, 64, 65, 200, MAX_VOCAB};
    static situation c;
    rng r = {7};
    for (int i = 0; i < 12000; i++) {
        muga_error err = {0};
        int32_t id = -1;
        c.n_vocab = vocabularies[rng_below(&r, ARRAY_LEN(vocabularies))];
        c.position = rng_below(&r, 100000);
        fill_settings(&c, &r);
        fill_logits(&c, &r);
        fill_bias(&c, &r);
        fill_mask(&c, &r);
        assert_ok(choose(&c, &id, &err), &err);
        if (!is_right(&c, id))
            fail_msg("case %d: token %d of %u; temperature %g, top_k %u, top_p %g, min_p %g, repeat %g, presence %g, "
                     "frequency %g, window %u, %s",
                     i, id, c.n_vocab, (double)c.set.temperature, c.set.top_k, (double)c.set.top_p, (double)c.set.min_p,
                     (double)c.set.repeat_penalty, (double)c.set.presence_penalty, (double)c.set.frequency_penalty,
                     c.set.penalty_last_n, c.masked ? "masked" : "unmasked");
    }
}

/* Where exactly one token is right, the reference must be able to say that another is wrong. */
static void the_reference_can_say_no(void **state) {
    (void)state;
    static situation c;
    size_t n_wrong = 0, n_cases = 300;
    rng r = {11};
    for (size_t i = 0; i < n_cases; i++) {
        muga_error err = {0};
        int32_t id = -1;
        c.n_vocab = 200;
        fill_settings(&c, &r);
        c.set.temperature = 0.7f;
        fill_logits(&c, &r);
        assert_ok(choose(&c, &id, &err), &err);
        n_wrong += !is_right(&c, (id + 1) % 200);
    }
    assert_true(n_wrong > n_cases * 8 / 10);
}

/* NaN and infinity in a logit that counts are an error, whatever the settings; where the mask excludes them they are
 * nothing. */
static void what_is_not_a_number_is_an_error_where_it_counts(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static situation c;
    rng r = {13};
    for (int i = 0; i < 3000; i++) {
        muga_error err = {0};
        int32_t id = -1;
        c.n_vocab = 200;
        fill_settings(&c, &r);
        fill_logits(&c, &r);
        fill_mask(&c, &r);
        uint32_t at = (uint32_t)rng_below(&r, c.n_vocab);
        c.logits[at] = bad[i % 3];
        c.set.n_bias = 0;
        muga_status st = choose(&c, &id, &err);
        if (admitted(&c, at)) {
            assert_int_equal(st, MUGA_E_NONFINITE);
        } else {
            assert_ok(st, &err);
            c.logits[at] = 0;
            assert_true(is_right(&c, id));
        }
    }
}

/* The largest numbers there are: differences overflow, products overflow; a token or an error by name comes out. */
static void the_largest_numbers_do_no_harm(void **state) {
    (void)state;
    static const float extremes[] = {FLT_MAX, -FLT_MAX, FLT_MIN, -FLT_MIN, 1e-45f, 0.0f, -0.0f, 1e38f};
    static situation c;
    rng r = {17};
    for (int i = 0; i < 3000; i++) {
        muga_error err = {0};
        int32_t id = -1;
        c.n_vocab = 64;
        fill_settings(&c, &r);
        fill_mask(&c, &r);
        for (uint32_t k = 0; k < c.n_vocab; k++)
            c.logits[k] = one_of(&r, extremes, ARRAY_LEN(extremes));
        muga_status st = choose(&c, &id, &err);
        if (st != MUGA_E_NONFINITE) { /* a penalty can push a logit past the largest number */
            assert_ok(st, &err);
            assert_true(id >= 0 && (uint32_t)id < c.n_vocab && admitted(&c, (uint32_t)id));
            assert_true(c.set.temperature > 0 || is_right(&c, id));
        } else {
            assert_true(c.set.repeat_penalty != 1.0f || c.set.presence_penalty != 0.0f ||
                        c.set.frequency_penalty != 0.0f);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_choice_is_one_the_definitions_admit),
        cmocka_unit_test(the_reference_can_say_no),
        cmocka_unit_test(what_is_not_a_number_is_an_error_where_it_counts),
        cmocka_unit_test(the_largest_numbers_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
