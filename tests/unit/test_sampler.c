/* If this fails, tokens are chosen otherwise than sampler.h says: another order of the steps, another token for the
 * same seed on another machine, a token the mask forbids, or a set of the most likely that is too small or too large.
 */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/sampler.h"

#include <math.h>

#define N 1000u

static float logits[N];

static const kernel_table *kernels(void) {
    return kernel_table_get(kernel_isa_best());
}

static int fill(void **state) {
    (void)state;
    rng r = {42};
    for (uint32_t i = 0; i < N; i++)
        logits[i] = (float)rng_below(&r, 1 << 20) / (1 << 17) - 4.0f;
    return 0;
}

static sampler *make(const sampler_settings *set) {
    sampler *s = NULL;
    muga_error err = {0};
    assert_ok(sampler_new(set, kernels(), N, &s, &err), &err);
    return s;
}

static int32_t pick(sampler *s, const uint64_t *mask, uint64_t position) {
    int32_t id = -1;
    muga_error err = {0};
    assert_ok(sampler_pick(s, logits, mask, position, &id, &err), &err);
    return id;
}

static int32_t pick_once(const sampler_settings *set, const uint64_t *mask, uint64_t position) {
    sampler *s = make(set);
    int32_t id = pick(s, mask, position);
    sampler_free(s);
    return id;
}

/* The id of the k-th largest logit by counting, ties to the lower id; the specification. */
static uint32_t rank_of(int32_t id) {
    uint32_t rank = 0;
    for (uint32_t i = 0; i < N; i++)
        rank += logits[i] > logits[id] || (logits[i] == logits[id] && (int32_t)i < id);
    return rank;
}

static void greedy_takes_the_largest_and_of_equals_the_lower(void **state) {
    (void)state;
    sampler_settings greedy = SAMPLER_GREEDY;
    assert_int_equal(rank_of(pick_once(&greedy, NULL, 0)), 0);
    logits[700] = logits[300] = 50.0f;
    assert_int_equal(pick_once(&greedy, NULL, 0), 300);
    uint64_t mask[(N + 63) / 64] = {0};
    mask[700 / 64] |= 1ull << (700 % 64);
    mask[5 / 64] |= 1ull << (5 % 64);
    assert_int_equal(pick_once(&greedy, mask, 0), 700);
    fill(NULL);
}

static void an_empty_mask_is_a_limit(void **state) {
    (void)state;
    sampler_settings greedy = SAMPLER_GREEDY;
    sampler *s = make(&greedy);
    uint64_t mask[(N + 63) / 64] = {0};
    int32_t id;
    muga_error err = {0};
    assert_status(sampler_pick(s, logits, mask, 0, &id, &err), MUGA_E_LIMIT, &err, "admits no token");
    sampler_free(s);
}

static void the_same_seed_and_position_give_the_same_token(void **state) {
    (void)state;
    sampler_settings set = SAMPLER_GREEDY;
    set.temperature = 1.0f;
    set.seed = 7;
    int32_t first[64];
    bool differs_by_seed = false, differs_by_attempt = false, differs_by_choice = false;
    for (uint64_t i = 0; i < 64; i++)
        first[i] = pick_once(&set, NULL, i);
    sampler *s = make(&set);
    for (uint64_t i = 64; i-- > 0;) /* backwards: there is no state but the position */
        assert_int_equal(pick(s, NULL, i), first[i]);
    sampler_free(s);
    for (uint64_t i = 0; i < 64; i++) {
        sampler_settings other = set;
        other.seed = 8;
        differs_by_seed |= pick_once(&other, NULL, i) != first[i];
        other = set;
        other.attempt = 1;
        differs_by_attempt |= pick_once(&other, NULL, i) != first[i];
        other = set;
        other.choice = 1;
        differs_by_choice |= pick_once(&other, NULL, i) != first[i];
    }
    assert_true(differs_by_seed && differs_by_attempt && differs_by_choice);
}

static void every_instruction_set_chooses_the_same(void **state) {
    (void)state;
    sampler_settings set = SAMPLER_GREEDY;
    set.temperature = 0.9f;
    set.top_p = 0.95f;
    for (uint64_t position = 0; position < 50; position++) {
        int32_t want = pick_once(&set, NULL, position);
        for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
            if (!kernel_isa_available((kernel_isa)isa))
                continue;
            sampler *s = NULL;
            int32_t id = -1;
            muga_error err = {0};
            assert_ok(sampler_new(&set, kernel_table_get((kernel_isa)isa), N, &s, &err), &err);
            assert_ok(sampler_pick(s, logits, NULL, position, &id, &err), &err);
            assert_int_equal(id, want);
            sampler_free(s);
        }
    }
}

static void draws_follow_the_distribution(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    sampler_settings set = SAMPLER_GREEDY;
    set.temperature = 2.0f;
    sampler *s = make(&set);
    uint64_t mask[(N + 63) / 64] = {0x3f}; /* the first six tokens */
    uint32_t count[6] = {0};
    double p[6], sum = 0;
    for (int i = 0; i < 6; i++)
        sum += p[i] = exp((double)logits[i] / 2.0);
    for (uint64_t i = 0; i < DRAWS; i++)
        count[pick(s, mask, i)]++;
    for (int i = 0; i < 6; i++) {
        double mean = DRAWS * p[i] / sum;
        assert_true(fabs(count[i] - mean) < 5.0 * sqrt(mean) + 1.0); /* five standard deviations */
    }
    sampler_free(s);
}

static void top_k_keeps_the_k_largest(void **state) {
    (void)state;
    sampler_settings set = SAMPLER_GREEDY;
    set.temperature = 100.0f; /* nearly uniform, so that every one that is kept is drawn */
    for (uint32_t k = 1; k <= 40; k += 13) {
        set.top_k = k;
        sampler *s = make(&set);
        bool seen[40] = {0};
        for (uint64_t i = 0; i < 4000; i++) {
            uint32_t rank = rank_of(pick(s, NULL, i));
            assert_true(rank < k);
            seen[rank] = true;
        }
        for (uint32_t i = 0; i < k; i++)
            assert_true(seen[i]);
        sampler_free(s);
    }
}

/* How many of the most likely step 7 keeps, by sorting. */
static uint32_t nucleus(double temperature, double top_p) {
    double sum = 0, sorted[N], so_far = 0;
    for (uint32_t i = 0; i < N; i++)
        sum += sorted[rank_of((int32_t)i)] = exp((double)logits[i] / temperature);
    uint32_t n = 0;
    while (n < N && so_far < top_p * sum)
        so_far += sorted[n++];
    return n;
}

static void top_p_keeps_the_smallest_sufficient_set(void **state) {
    (void)state;
    const float ps[] = {0.0f, 0.3f, 0.7f, 0.95f, 0.999f};
    for (size_t j = 0; j < ARRAY_LEN(ps); j++) {
        sampler_settings set = SAMPLER_GREEDY;
        set.temperature = 1.5f;
        set.top_p = ps[j];
        uint32_t kept = MAX(nucleus(1.5, (double)ps[j]), 1u), largest = 0;
        sampler *s = make(&set);
        for (uint64_t i = 0; i < 5000; i++)
            largest = MAX(largest, rank_of(pick(s, NULL, i)));
        assert_true(largest < kept);
        assert_true(largest + 1 >= kept - kept / 3); /* and it isn't much smaller */
        sampler_free(s);
    }
}

static void min_p_drops_what_is_unlikely_beside_the_first(void **state) {
    (void)state;
    sampler_settings set = SAMPLER_GREEDY;
    set.temperature = 1.0f;
    set.min_p = 0.2f;
    sampler *s = make(&set);
    float max = -1e30f, least = 0;
    for (uint32_t i = 0; i < N; i++)
        max = fmaxf(max, logits[i]);
    for (uint64_t i = 0; i < 4000; i++)
        least = fminf(least, logits[pick(s, NULL, i)] - max);
    assert_true(expf(least) >= 0.1999f && expf(least) < 0.4f);
    sampler_free(s);
}

/* By the definition, in f64: of the 12 tokens of the mask, those nearest to the mean surprise until p is reached. */
static void typical_set(double p, bool kept[12]) {
    double w[12], sum = 0, mean = 0, mass = 0;
    for (int i = 0; i < 12; i++)
        sum += w[i] = exp((double)logits[i]);
    for (int i = 0; i < 12; i++)
        w[i] /= sum;
    for (int i = 0; i < 12; i++)
        mean -= w[i] * log(w[i]);
    memset(kept, 0, 12 * sizeof *kept);
    while (mass < p) {
        int best = -1;
        for (int i = 0; i < 12; i++)
            if (!kept[i] && (best < 0 || fabs(-log(w[i]) - mean) < fabs(-log(w[best]) - mean)))
                best = i;
        kept[best] = true;
        mass += w[best];
    }
}

static void typical_p_keeps_those_nearest_to_the_mean_surprise(void **state) {
    (void)state;
    uint64_t mask[(N + 63) / 64] = {0xFFF};
    static const float ps[] = {0.05f, 0.3f, 0.6f, 0.9f};
    for (size_t k = 0; k < ARRAY_LEN(ps); k++) {
        sampler_settings set = SAMPLER_GREEDY;
        bool kept[12], seen[12] = {false};
        set.temperature = 1.0f;
        set.typical_p = ps[k];
        typical_set((double)ps[k], kept);
        sampler *s = make(&set);
        for (uint64_t i = 0; i < 20000; i++)
            seen[pick(s, mask, i)] = true;
        assert_memory_equal(seen, kept, sizeof kept);
        sampler_free(s);
    }
}

static void a_token_that_is_never_chosen_is_left_where_nothing_else_is(void **state) {
    (void)state;
    uint64_t mask[(N + 63) / 64] = {0};
    sampler_settings set = SAMPLER_GREEDY;
    int32_t best = pick_once(&set, NULL, 0);
    sampler_bias bias[] = {{best, SAMPLER_NEVER}, {7, -INFINITY}, {9, 2.0f}};
    set.bias = bias;
    set.n_bias = ARRAY_LEN(bias);
    assert_int_not_equal(pick_once(&set, NULL, 0), best);
    mask[0] = 1 << 7 | 1 << 9;
    assert_int_equal(pick_once(&set, mask, 0), 9);
    mask[0] = 1 << 7;
    assert_int_equal(pick_once(&set, mask, 0), 7);
    set.temperature = 1.0f;
    assert_int_equal(pick_once(&set, mask, 0), 7);
    bias[2].bias = INFINITY;
    sampler *s = NULL;
    muga_error err = {0};
    assert_status(sampler_new(&set, kernels(), N, &s, &err), MUGA_E_USAGE, &err, "bias");
}

static void penalties_and_bias_come_before_the_choice(void **state) {
    (void)state;
    sampler_settings set = SAMPLER_GREEDY;
    int32_t first = pick_once(&set, NULL, 0);
    set.penalty_last_n = 4;
    set.presence_penalty = 100.0f;
    sampler *s = make(&set);
    sampler_accept(s, first);
    int32_t second = pick(s, NULL, 1);
    assert_int_equal(rank_of(second), 1);
    for (int i = 0; i < 4; i++) /* the window forgets */
        sampler_accept(s, second);
    assert_int_equal(pick(s, NULL, 2), first);
    sampler_free(s);
    sampler_bias bias[] = {{17, 1000.0f}, {first, -1000.0f}};
    set = SAMPLER_GREEDY;
    set.bias = bias;
    set.n_bias = 2;
    assert_int_equal(pick_once(&set, NULL, 0), 17);
    bias[0].bias = 0;
    assert_int_equal(rank_of(pick_once(&set, NULL, 0)), 1);
}

static void frequency_counts_and_repeat_pulls_towards_zero(void **state) {
    (void)state;
    float v[4] = {2.0f, 1.5f, -1.0f, -1.1f};
    sampler_settings set = SAMPLER_GREEDY;
    set.penalty_last_n = 8;
    set.frequency_penalty = 0.3f;
    sampler *s = NULL;
    int32_t id;
    muga_error err = {0};
    assert_ok(sampler_new(&set, kernels(), 4, &s, &err), &err);
    sampler_accept(s, 0);
    assert_ok(sampler_pick(s, v, NULL, 0, &id, &err), &err);
    assert_int_equal(id, 0); /* 1.7 */
    sampler_accept(s, 0);
    assert_ok(sampler_pick(s, v, NULL, 0, &id, &err), &err);
    assert_int_equal(id, 1); /* 1.4 < 1.5 */
    sampler_free(s);
    set = SAMPLER_GREEDY;
    set.penalty_last_n = 8;
    set.repeat_penalty = 2.0f;
    uint64_t mask[1] = {0xc}; /* the negative two */
    assert_ok(sampler_new(&set, kernels(), 4, &s, &err), &err);
    sampler_accept(s, 2);
    assert_ok(sampler_pick(s, v, mask, 0, &id, &err), &err);
    assert_int_equal(id, 3); /* -1.0 became -2.0 */
    sampler_free(s);
}

static void settings_out_of_range_are_named(void **state) {
    (void)state;
    muga_error err = {0};
    const struct {
        size_t offset;
        const char *name;
    } fields[] = {{offsetof(sampler_settings, temperature), "temperature"},
                  {offsetof(sampler_settings, top_p), "top_p"},
                  {offsetof(sampler_settings, min_p), "min_p"},
                  {offsetof(sampler_settings, repeat_penalty), "repeat"},
                  {offsetof(sampler_settings, presence_penalty), "presence"},
                  {offsetof(sampler_settings, frequency_penalty), "frequency"}};
    const float bad[] = {NAN, INFINITY, -INFINITY, -101.0f, 1e30f};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        for (size_t j = 0; j < ARRAY_LEN(bad); j++) {
            sampler_settings set = SAMPLER_GREEDY;
            memcpy((char *)&set + fields[i].offset, &bad[j], sizeof(float));
            assert_status(sampler_check(&set, N, &err), MUGA_E_USAGE, &err, fields[i].name);
        }
    sampler_bias bias = {(int32_t)N, 0};
    sampler_settings set = SAMPLER_GREEDY;
    set.bias = &bias;
    set.n_bias = 1;
    assert_status(sampler_check(&set, N, &err), MUGA_E_USAGE, &err, "bias");
}

static void tiny_temperatures_neither_overflow_nor_err(void **state) {
    (void)state;
    sampler_settings set = SAMPLER_GREEDY;
    set.temperature = 1e-38f;
    assert_int_equal(rank_of(pick_once(&set, NULL, 3)), 0);
}

static void log_probabilities_sum_to_one(void **state) {
    (void)state;
    float *work = mem_alloc_aligned(N * sizeof *work, 64);
    double z = sampler_log_partition(kernels(), logits, N, work), sum = 0, want = 0;
    for (uint32_t i = 0; i < N; i++) {
        sum += exp((double)logits[i] - z);
        want += exp((double)logits[i]);
    }
    assert_true(fabs(sum - 1) < 1e-5);
    assert_true(fabs(z - log(want)) < 1e-5);
    free(work);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_largest_and_of_equals_the_lower),
        cmocka_unit_test(an_empty_mask_is_a_limit),
        cmocka_unit_test(the_same_seed_and_position_give_the_same_token),
        cmocka_unit_test(every_instruction_set_chooses_the_same),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(top_k_keeps_the_k_largest),
        cmocka_unit_test(top_p_keeps_the_smallest_sufficient_set),
        cmocka_unit_test(min_p_drops_what_is_unlikely_beside_the_first),
        cmocka_unit_test(typical_p_keeps_those_nearest_to_the_mean_surprise),
        cmocka_unit_test(a_token_that_is_never_chosen_is_left_where_nothing_else_is),
        cmocka_unit_test(penalties_and_bias_come_before_the_choice),
        cmocka_unit_test(frequency_counts_and_repeat_pulls_towards_zero),
        cmocka_unit_test(settings_out_of_range_are_named),
        cmocka_unit_test(tiny_temperatures_neither_overflow_nor_err),
        cmocka_unit_test(log_probabilities_sum_to_one),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
