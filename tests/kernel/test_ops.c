/* Were this broken, a vector operation would give other bits on another processor, or another result than its name
 * says. Every instruction set that this machine has is compared with the reference bit by bit, for odd sizes, aliased
 * buffers and values that are not finite; the reference itself is compared with the plain formula in f64. */
#include "kernel/kernel.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t sizes[] = {1,  2,  3,  7,  8,  9,  15, 16, 17, 23, 24,  25,  31,  32,   33,
                                 40, 47, 48, 63, 64, 65, 79, 80, 96, 97, 128, 255, 576, 1535, 1537};
enum { N_SIZE = sizeof sizes / sizeof *sizes };

static uint32_t random_u32(uint64_t *seed) { /* splitmix64 */
    uint64_t z = *seed += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static float random_float(uint64_t *seed, float size) {
    return ((float)random_u32(seed) / 4294967296.0f * 2 - 1) * size;
}

/* kind 0: near 1; 1: wide range; 2: some zeros, infinities and NaN. The buffer is exactly n long, so that a sanitizer
 * sees a step past its end. */
static float *random_row(uint64_t *seed, uint64_t n, int kind) {
    static const float special[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-42f, -3e38f, 88.8f, -87.0f};
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (uint64_t i = 0; i < n; i++) {
        x[i] = random_float(seed, kind == 1 ? 100.0f : 2.0f);
        if (kind == 2 && random_u32(seed) % 7 == 0)
            x[i] = special[random_u32(seed) % (sizeof special / sizeof *special)];
    }
    return x;
}

static float *copy_row(const float *x, uint64_t n) {
    float *y = malloc(n * sizeof *y);
    assert_non_null(y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

/* Equal bits, or both NaN. */
static void assert_same(const float *a, const float *b, uint64_t n, const char *what) {
    for (uint64_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            fail_msg("%s, n %llu, element %llu: %a, not %a", what, (unsigned long long)n, (unsigned long long)i,
                     (double)b[i], (double)a[i]);
}

typedef enum {
    RMS,
    RMS_PLAIN,
    LAYER,
    LAYER_W,
    LAYER_B,
    LAYER_PLAIN,
    ADD,
    MUL,
    SCALE,
    ADD_SCALED,
    SILU,
    GELU,
    RELU_SQUARE,
    GELU_ERF,
    SOFTCAP,
    SOFTMAX,
    N_OP
} op;
static const char *const op_name[N_OP] = {"rms_norm",
                                          "rms_norm without weight",
                                          "layer_norm",
                                          "layer_norm without bias",
                                          "layer_norm without weight",
                                          "layer_norm alone",
                                          "add",
                                          "mul",
                                          "scale",
                                          "add_scaled",
                                          "silu_mul",
                                          "gelu_mul",
                                          "relu_square",
                                          "gelu_erf",
                                          "softcap",
                                          "softmax"};

static void run_op(const kernel_table *t, op o, const float *x, const float *y, const float *z, uint64_t n,
                   float *out) {
    switch (o) {
    case RMS: t->rms_norm(x, y, 1e-5f, n, out); break;
    case RMS_PLAIN: t->rms_norm(x, NULL, 1e-6f, n, out); break;
    case LAYER: t->layer_norm(x, y, z, 1e-5f, n, out); break;
    case LAYER_W: t->layer_norm(x, y, NULL, 1e-5f, n, out); break;
    case LAYER_B: t->layer_norm(x, NULL, z, 1e-5f, n, out); break;
    case LAYER_PLAIN: t->layer_norm(x, NULL, NULL, 1e-5f, n, out); break;
    case ADD: t->add(x, y, n, out); break;
    case MUL: t->mul(x, y, n, out); break;
    case SCALE: t->scale(x, 0.3f, n, out); break;
    case ADD_SCALED: t->add_scaled(x, y, 0.22f, n, out); break;
    case SILU: t->silu_mul(x, y, n, out); break;
    case GELU: t->gelu_mul(x, y, n, out); break;
    case RELU_SQUARE: t->relu_square(x, n, out); break;
    case GELU_ERF: t->gelu_erf(x, n, out); break;
    case SOFTCAP: t->softcap(x, 1.5f, n, out); break;
    default:
        if (out != x)
            memcpy(out, x, n * sizeof *x);
        t->softmax(out, n);
        break;
    }
}

static void every_instruction_set_gives_the_reference_bits(void **state) {
    (void)state;
    const kernel_table *ref = kernel_table_get(KERNEL_ISA_REF);
    for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
        const kernel_table *t = kernel_table_get((kernel_isa)isa);
        if (t == NULL || t == ref)
            continue;
        uint64_t seed = 1;
        for (int i = 0; i < N_SIZE; i++)
            for (int kind = 0; kind < 3; kind++) {
                uint64_t n = sizes[i];
                float *x = random_row(&seed, n, kind), *y = random_row(&seed, n, kind == 1),
                      *z = random_row(&seed, n, 0);
                for (int o = 0; o < N_OP; o++) {
                    float *want = random_row(&seed, n, 0), *got = random_row(&seed, n, 0), *alias = copy_row(x, n);
                    run_op(ref, (op)o, x, y, z, n, want);
                    run_op(t, (op)o, x, y, z, n, got);
                    assert_same(want, got, n, op_name[o]);
                    run_op(t, (op)o, alias, y, z, n, alias); /* out may be the input */
                    assert_same(want, alias, n, op_name[o]);
                    free(want);
                    free(got);
                    free(alias);
                }
                free(x);
                free(y);
                free(z);
            }
    }
}

static void ops_compute_what_their_names_say(void **state) {
    (void)state;
    const kernel_table *t = kernel_table_get(KERNEL_ISA_REF);
    uint64_t seed = 2;
    for (int i = 0; i < N_SIZE; i++) {
        uint64_t n = sizes[i];
        float *x = random_row(&seed, n, 0), *y = random_row(&seed, n, 0), *z = random_row(&seed, n, 0);
        double square = 0, sum = 0, variance = 0, total = 0;
        for (uint64_t j = 0; j < n; j++) {
            square += (double)x[j] * (double)x[j];
            sum += (double)x[j];
            total += exp((double)x[j]);
        }
        double mean = sum / (double)n;
        for (uint64_t j = 0; j < n; j++)
            variance += ((double)x[j] - mean) * ((double)x[j] - mean);
        for (int o = 0; o < N_OP; o++) {
            float *got = random_row(&seed, n, 0);
            run_op(t, (op)o, x, y, z, n, got);
            for (uint64_t j = 0; j < n; j++) {
                double a = (double)x[j], b = (double)y[j], c = (double)z[j], want;
                double eps = o == RMS_PLAIN ? 1e-6 : 1e-5, rms = a / sqrt(square / (double)n + eps);
                double layer = (a - mean) / sqrt(variance / (double)n + eps);
                switch (o) {
                case RMS: want = rms * b; break;
                case RMS_PLAIN: want = rms; break;
                case LAYER: want = layer * b + c; break;
                case LAYER_W: want = layer * b; break;
                case LAYER_B: want = layer + c; break;
                case LAYER_PLAIN: want = layer; break;
                case ADD: want = a + b; break;
                case MUL: want = a * b; break;
                case SCALE: want = a * (double)0.3f; break;
                case SILU: want = a / (1 + exp(-a)) * b; break;
                case GELU: want = 0.5 * a * (1 + tanh(sqrt(2 / M_PI) * (a + 0.044715 * a * a * a))) * b; break;
                case ADD_SCALED: want = a + (double)0.22f * b; break;
                case RELU_SQUARE: want = a < 0 ? 0 : a * a; break;
                case GELU_ERF: want = 0.5 * a * erfc(-a / sqrt(2)); break;
                case SOFTCAP: want = 1.5 * tanh(a / 1.5); break;
                default: want = exp(a) / total; break;
                }
                if (n == 1 && (o == LAYER || o == LAYER_W || o == LAYER_B || o == LAYER_PLAIN))
                    want = o == LAYER || o == LAYER_B ? c : 0;
                /* Values that lie close together: the rounding of their mean counts as much as their distance. */
                double bar = 4e-6 * (1 + fabs(want));
                if (o == LAYER || o == LAYER_W || o == LAYER_B || o == LAYER_PLAIN)
                    bar += 1e-6 / sqrt(variance / (double)n + 1e-5);
                if (!(fabs((double)got[j] - want) <= bar))
                    fail_msg("%s, n %llu: %.9g, not %.9g", op_name[o], (unsigned long long)n, (double)got[j], want);
            }
            free(got);
        }
        free(x);
        free(y);
        free(z);
    }
}

static void exact_gelu_holds_over_its_whole_range(void **state) {
    (void)state;
    const kernel_table *t = kernel_table_get(KERNEL_ISA_REF);
    double worst = 0;
    for (int i = -140000; i <= 140000; i++) {
        float x = (float)i * 1e-4f, y;
        t->gelu_erf(&x, 1, &y);
        double want = 0.5 * (double)x * erfc(-(double)x / sqrt(2));
        double e = fabs((double)y - want) / fmax(1, fabs((double)x));
        worst = e > worst ? e : worst;
    }
    print_message("gelu_erf: at most %.2e off\n", worst);
    assert_true(worst < 2e-7);
    float x[] = {0.0f, -0.0f, -30.0f, 30.0f, NAN}, y[5];
    t->gelu_erf(x, 5, y);
    assert_true(y[0] == 0 && y[1] == 0 && y[2] == 0 && y[3] == 30.0f && isnan(y[4]));
    t->relu_square(x, 5, y);
    assert_true(y[2] == 0 && y[3] == 900.0f && isnan(y[4])); /* what is damaged must show */
}

static void softmax_shows_what_is_not_finite_and_masks_exactly(void **state) {
    (void)state;
    for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
        const kernel_table *t = kernel_table_get((kernel_isa)isa);
        if (t == NULL)
            continue;
        float masked[20], none[20], bad[20];
        for (int i = 0; i < 20; i++) {
            masked[i] = i == 17 ? 3.0f : -INFINITY;
            none[i] = -INFINITY;
            bad[i] = i == 5 ? NAN : 1.0f;
        }
        t->softmax(masked, 20);
        t->softmax(none, 20);
        t->softmax(bad, 20);
        for (int i = 0; i < 20; i++) {
            assert_true(masked[i] == (i == 17 ? 1.0f : 0.0f));
            assert_true(isnan(none[i]));
            assert_true(isnan(bad[i]));
        }
        t->softmax(NULL, 0);
    }
}

static void argmax_takes_the_first_of_equals_and_reports_what_is_not_finite(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
        const kernel_table *t = kernel_table_get((kernel_isa)isa), *ref = kernel_table_get(KERNEL_ISA_REF);
        if (t == NULL)
            continue;
        for (int i = 0; i < N_SIZE; i++)
            for (int kind = 0; kind < 60; kind++) {
                uint64_t n = sizes[i];
                float *x = random_row(&seed, n, kind % 3);
                for (uint64_t j = 0; kind >= 30 && j < n; j++) /* many equal values */
                    x[j] = (float)(int)x[j];
                bool want_finite, finite;
                uint64_t want = ref->argmax(x, n, &want_finite), got = t->argmax(x, n, &finite);
                assert_int_equal(got, want);
                assert_int_equal(finite, want_finite);
                uint64_t first = 0;
                float best = -INFINITY;
                bool all = true;
                for (uint64_t j = 0; j < n; j++) {
                    all = all && isfinite(x[j]);
                    if (x[j] > best) {
                        best = x[j];
                        first = j;
                    }
                }
                assert_int_equal(got, first);
                assert_int_equal(finite, all);
                free(x);
            }
        const float zeros[4] = {-0.0f, 0.0f, -1.0f, 0.0f}, low[3] = {-INFINITY, -INFINITY, -INFINITY};
        bool finite;
        assert_int_equal(t->argmax(zeros, 4, &finite), 0);
        assert_true(finite);
        assert_int_equal(t->argmax(low, 3, &finite), 0);
        assert_false(finite);
    }
}

static void rope_rotates_pairs_and_halves_alike_everywhere(void **state) {
    (void)state;
    static const uint32_t dims[] = {16, 24, 32, 40, 48, 64, 80, 96, 128, 256};
    const kernel_table *ref = kernel_table_get(KERNEL_ISA_REF);
    uint64_t seed = 4;
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (int variant = 0; variant < 4; variant++) {
            bool pairs = variant & 1;
            uint32_t dim = dims[i], n_rot = variant & 2 ? dim / 4 * 2 : dim, n_head = 3, half = n_rot / 2;
            float *x = random_row(&seed, n_head * dim, 0), *want = copy_row(x, n_head * dim);
            float *c = malloc(half * sizeof *c), *s = malloc(half * sizeof *s);
            assert_true(c != NULL && s != NULL);
            double freq[128];
            kernel_rope_frequencies(&(kernel_rope){.base = 10000.0f, .n_rot = n_rot, .scale = 1.0f}, freq);
            kernel_rope_angles(77, freq, half, 1.0f, c, s);
            ref->rope(want, n_head, dim, n_rot, c, s, pairs);
            for (uint32_t h = 0; h < n_head; h++)
                for (uint32_t d = 0; d < dim; d++) {
                    uint32_t k = pairs ? d / 2 : d % half;
                    bool second = pairs ? d % 2 : d >= half;
                    uint32_t other = pairs ? d ^ 1u : second ? d - half : d + half;
                    double v = (double)x[h * dim + d];
                    if (d < n_rot) {
                        double w = (double)x[h * dim + other];
                        v = v * (double)c[k] + (second ? w : -w) * (double)s[k];
                    }
                    assert_true(fabs((double)want[h * dim + d] - v) < 1e-6);
                }
            for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
                const kernel_table *t = kernel_table_get((kernel_isa)isa);
                if (t == NULL)
                    continue;
                float *got = copy_row(x, n_head * dim);
                t->rope(got, n_head, dim, n_rot, c, s, pairs);
                assert_same(want, got, n_head * dim, pairs ? "rope of pairs" : "rope of halves");
                free(got);
            }
            free(x);
            free(want);
            free(c);
            free(s);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_instruction_set_gives_the_reference_bits),
        cmocka_unit_test(ops_compute_what_their_names_say),
        cmocka_unit_test(exact_gelu_holds_over_its_whole_range),
        cmocka_unit_test(softmax_shows_what_is_not_finite_and_masks_exactly),
        cmocka_unit_test(argmax_takes_the_first_of_equals_and_reports_what_is_not_finite),
        cmocka_unit_test(rope_rotates_pairs_and_halves_alike_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
