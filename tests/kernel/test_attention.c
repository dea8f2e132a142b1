/* Were this broken, a token's answer would depend on the processor, the threads, the other requests in the batch, the
 * way a prompt was cut, or on what an earlier sequence left in a page. Attention of every instruction set is compared
 * with the reference bit by bit over head sizes, groups, windows, soft caps and all types of keys and values; the
 * reference is compared with the plain formula in f64. Pages are filled with NaN before a key is stored, so that a read
 * of a position that is not visible shows. */
#include "kernel/kernel.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_PAGE = 8, MAX_SEQ = 3, MAX_TOK = 96 };

static uint32_t random_u32(uint64_t *seed) { /* splitmix64 */
    uint64_t z = *seed += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static float random_float(uint64_t *seed, float size) {
    return ((float)random_u32(seed) / 4294967296.0f * 2 - 1) * size;
}

static void *allocate(size_t n) {
    void *p = malloc(n);
    assert_non_null(p);
    return p;
}

/* A batch over a few sequences and everything it reads. */
typedef struct batch {
    kernel_attn_args args;
    kernel_kv kv[MAX_SEQ];
    void *pages[MAX_SEQ][MAX_PAGE];
    uint32_t n_pos[MAX_SEQ]; /* keys stored */
    uint32_t i_seq[MAX_TOK], pos[MAX_TOK];
    float *q, *k, *v; /* k, v: [seq][pos][n_head_kv * head_dim], as they were stored */
    size_t n_out;
} batch;

enum { LAYER_OFFSET = 64, MAX_POS = MAX_PAGE * KERNEL_KV_BLOCK };

static size_t kv_row(const batch *b, uint32_t seq, uint32_t pos) {
    return ((size_t)seq * MAX_POS + pos) * b->args.n_head_kv * b->args.head_dim;
}

typedef struct shape {
    uint32_t n_head, n_head_kv, head_dim, window;
    float softcap;
    kernel_kv_type type;
} shape;

/* As the header says: q8 takes a byte an element and two for every 32 of a head, begun ones too. */
static size_t page_bytes(kernel_kv_type type, size_t n_head_kv, size_t head_dim) {
    size_t row = type == KERNEL_KV_F32   ? 4 * head_dim
                 : type == KERNEL_KV_F16 ? 2 * head_dim
                                         : head_dim + (head_dim + 31) / 32 * 2;
    return 2 * 64 * n_head_kv * row;
}

/* Sequences of n_pos[s] keys; the pages hold exactly what they need, all NaN before the keys are stored. */
static void batch_make(batch *b, const shape *s, const uint32_t *n_pos, uint32_t n_seq, const kernel_table *t,
                       uint64_t seed) {
    memset(b, 0, sizeof *b);
    size_t row = (size_t)s->n_head_kv * s->head_dim, bytes = kernel_kv_page_bytes(s->type, s->n_head_kv, s->head_dim);
    assert_int_equal(bytes, page_bytes(s->type, s->n_head_kv, s->head_dim));
    b->args = (kernel_attn_args){.type = s->type,
                                 .n_head = s->n_head,
                                 .n_head_kv = s->n_head_kv,
                                 .head_dim = s->head_dim,
                                 .scale = 1.0f / sqrtf((float)s->head_dim),
                                 .softcap = s->softcap,
                                 .window = s->window};
    b->k = allocate(n_seq * MAX_POS * row * sizeof(float));
    b->v = allocate(n_seq * MAX_POS * row * sizeof(float));
    for (uint32_t i = 0; i < n_seq; i++) {
        b->n_pos[i] = n_pos[i];
        for (uint32_t p = 0; p < (n_pos[i] + 63) / 64; p++) {
            b->pages[i][p] = allocate(LAYER_OFFSET + bytes);
            memset(b->pages[i][p], 0xFF, LAYER_OFFSET + bytes);
        }
        b->kv[i] = (kernel_kv){.pages = b->pages[i], .layer_offset = LAYER_OFFSET};
        for (uint32_t p = 0; p < n_pos[i]; p++) {
            float *k = b->k + kv_row(b, i, p), *v = b->v + kv_row(b, i, p);
            for (size_t j = 0; j < row; j++) {
                k[j] = random_float(&seed, 3.0f);
                v[j] = random_float(&seed, 1.0f);
            }
            t->kv_store(s->type, s->n_head_kv, s->head_dim, &b->kv[i], p, k, v);
        }
    }
    b->args.kv = b->kv;
    b->args.i_seq = b->i_seq;
    b->args.pos = b->pos;
    b->args.q_stride = (size_t)s->n_head * s->head_dim + 3;
    b->args.out_stride = b->args.q_stride + 2;
    b->n_out = b->args.out_stride * MAX_TOK;
    b->q = allocate(b->n_out * sizeof(float));
    for (size_t j = 0; j < b->n_out; j++)
        b->q[j] = random_float(&seed, 2.0f);
    b->args.q = b->q;
}

static void batch_add(batch *b, uint32_t seq, uint32_t pos) {
    assert_true(b->args.n_tok < MAX_TOK && pos < b->n_pos[seq]);
    b->i_seq[b->args.n_tok] = seq;
    b->pos[b->args.n_tok++] = pos;
}

static void batch_release(batch *b) {
    for (int i = 0; i < MAX_SEQ; i++)
        for (int p = 0; p < MAX_PAGE; p++)
            free(b->pages[i][p]);
    free(b->q);
    free(b->k);
    free(b->v);
}

/* The outputs, with a mark in the gaps of the stride and past the last row that must stay. Release with free(). */
static float *batch_run(const batch *b, const kernel_table *t, os_pool *pool) {
    float *out = allocate(b->n_out * sizeof *out);
    for (size_t i = 0; i < b->n_out; i++)
        out[i] = 7.5f;
    kernel_attn_args args = b->args;
    args.out = out;
    t->attention(&args, pool);
    return out;
}

static void assert_same(const batch *b, const float *want, const float *got, const char *what) {
    for (size_t i = 0; i < b->n_out; i++)
        if (memcmp(&want[i], &got[i], sizeof *want) != 0 && !(isnan(want[i]) && isnan(got[i])))
            fail_msg("%s: heads %u/%u, head_dim %u, window %u, cap %g, type %d, token %zu, element %zu: %a, not %a",
                     what, b->args.n_head, b->args.n_head_kv, b->args.head_dim, b->args.window, (double)b->args.softcap,
                     (int)b->args.type, i / b->args.out_stride, i % b->args.out_stride, (double)got[i],
                     (double)want[i]);
}

/* A prompt of many tokens, a few single tokens of other sequences, and the edges of blocks. */
static void batch_fill(batch *b, uint32_t n_seq) {
    for (uint32_t p = b->n_pos[0] > 40 ? b->n_pos[0] - 40 : 0; p < b->n_pos[0]; p++)
        batch_add(b, 0, p);
    for (uint32_t s = 1; s < n_seq; s++) {
        batch_add(b, s, b->n_pos[s] - 1);
        batch_add(b, s, 0);
        for (uint32_t p = 62; p < 66 && p < b->n_pos[s]; p++)
            batch_add(b, s, p);
    }
    batch_add(b, 0, b->n_pos[0] / 2);
}

static const uint32_t lengths[][MAX_SEQ] = {{1, 1, 2}, {33, 64, 65}, {63, 129, 17}, {130, 128, 66}, {301, 192, 70}};
static const uint32_t dims[] = {16, 24, 32, 40, 48, 64, 80, 96, 128, 256};

static void every_instruction_set_gives_the_reference_bits(void **state) {
    os_pool *const *pools = *state;
    const kernel_table *ref = kernel_table_get(KERNEL_ISA_REF);
    static const uint32_t heads[][2] = {{1, 1}, {2, 1}, {9, 3}, {4, 4}, {8, 1}};
    static const uint32_t windows[] = {0, 1, 20, 64, 100};
    unsigned turn = 0;
    for (size_t i_dim = 0; i_dim < sizeof dims / sizeof *dims; i_dim++)
        for (size_t i_head = 0; i_head < sizeof heads / sizeof *heads; i_head++)
            for (int type = 0; type < KERNEL_KV_COUNT; type++, turn++) {
                if (dims[i_dim] > 64 && i_head > 2)
                    continue; /* the reference is slow */
                shape s = {.n_head = heads[i_head][0],
                           .n_head_kv = heads[i_head][1],
                           .head_dim = dims[i_dim],
                           .window = windows[turn / 3 % 5],
                           .softcap = turn % 4 == 0 ? 15.0f : 0,
                           .type = (kernel_kv_type)type};
                batch b;
                batch_make(&b, &s, lengths[turn % 5], MAX_SEQ, ref, turn);
                batch_fill(&b, MAX_SEQ);
                float *want = batch_run(&b, ref, NULL);
                for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
                    const kernel_table *t = kernel_table_get((kernel_isa)isa);
                    for (int i = 0; t != NULL && i < 3; i++) {
                        float *got = batch_run(&b, t, pools[i]);
                        assert_same(&b, want, got, kernel_isa_name((kernel_isa)isa));
                        free(got);
                    }
                }
                free(want);
                batch_release(&b);
            }
}

static void keys_and_values_are_stored_alike(void **state) {
    (void)state;
    const kernel_table *ref = kernel_table_get(KERNEL_ISA_REF);
    for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
        const kernel_table *t = kernel_table_get((kernel_isa)isa);
        for (size_t i = 0; t != NULL && i < sizeof dims / sizeof *dims; i++)
            for (int type = 0; type < KERNEL_KV_COUNT; type++) {
                enum { N_KV = 2 };
                size_t row = (size_t)N_KV * dims[i], bytes = kernel_kv_page_bytes((kernel_kv_type)type, N_KV, dims[i]);
                uint64_t seed = i;
                float *k = allocate(row * sizeof *k), *v = allocate(row * sizeof *v);
                uint8_t *want = calloc(1, bytes), *got = calloc(1, bytes);
                assert_true(want != NULL && got != NULL);
                kernel_kv kv_want = {.pages = (void *[]){NULL, want}}, kv_got = {.pages = (void *[]){NULL, got}};
                for (uint32_t pos = 64; pos < 128; pos += 1 + pos % 3) {
                    for (size_t j = 0; j < row; j++) {
                        k[j] =
                            ldexpf(random_float(&seed, 1), (int)(random_u32(&seed) % 44) - 26); /* f16: 0 .. infinity */
                        v[j] = ldexpf(random_float(&seed, 1), (int)(random_u32(&seed) % 280) - 151);
                    }
                    if (pos % 4 == 0) /* an empty block, tiny ones, and what is not finite */
                        for (size_t j = 0; j < row; j++)
                            k[j] = pos % 16 == 0 ? 0.0f : ldexpf(random_float(&seed, 1), -140 - (int)pos % 16);
                    if (pos % 5 == 0)
                        k[pos % row] = pos % 2 ? NAN : -INFINITY;
                    ref->kv_store((kernel_kv_type)type, N_KV, dims[i], &kv_want, pos, k, v);
                    t->kv_store((kernel_kv_type)type, N_KV, dims[i], &kv_got, pos, k, v);
                }
                assert_memory_equal(want, got, bytes);
                free(k);
                free(v);
                free(want);
                free(got);
            }
    }
}

/* Each token alone gives the bits it has in the batch. */
static void batch_and_order_change_nothing(void **state) {
    os_pool *const *pools = *state;
    for (int i_isa = 0; i_isa < KERNEL_ISA_COUNT * KERNEL_KV_COUNT; i_isa++) {
        const kernel_table *t = kernel_table_get((kernel_isa)(i_isa / KERNEL_KV_COUNT));
        if (t == NULL)
            continue;
        const shape s = {.n_head = 6,
                         .n_head_kv = 2,
                         .head_dim = 32,
                         .window = 90,
                         .type = (kernel_kv_type)(i_isa % KERNEL_KV_COUNT)};
        batch b;
        batch_make(&b, &s, lengths[4], MAX_SEQ, t, 11);
        batch_fill(&b, MAX_SEQ);
        float *together = batch_run(&b, t, pools[2]), *alone = allocate(b.n_out * sizeof *alone);
        for (size_t i = 0; i < b.n_out; i++)
            alone[i] = 7.5f;
        for (uint64_t i = b.args.n_tok; i-- > 0;) {
            kernel_attn_args one = b.args;
            one.n_tok = 1;
            one.i_seq += i;
            one.pos += i;
            one.q += i * one.q_stride;
            one.out = alone + i * one.out_stride;
            t->attention(&one, pools[i % 3]);
        }
        assert_same(&b, together, alone, "one by one");
        free(together);
        free(alone);
        batch_release(&b);
    }
}

/* What a page holds outside the visible positions: other numbers than NaN, other signs. */
static void other_slots_change_nothing(void **state) {
    (void)state;
    for (int i_isa = 0; i_isa < KERNEL_ISA_COUNT * KERNEL_KV_COUNT; i_isa++) {
        const kernel_table *t = kernel_table_get((kernel_isa)(i_isa / KERNEL_KV_COUNT));
        if (t == NULL)
            continue;
        const shape s = {.n_head = 3,
                         .n_head_kv = 1,
                         .head_dim = 40,
                         .window = 30,
                         .type = (kernel_kv_type)(i_isa % KERNEL_KV_COUNT)};
        const uint32_t n_pos = 100;
        batch b, c;
        batch_make(&b, &s, &n_pos, 1, t, 5);
        batch_make(&c, &s, &n_pos, 1, t, 5);
        for (uint32_t pos = 64; pos < 128; pos++) /* visible from 99: 70 .. 99 */
            if (pos < 70 || pos > 99) {
                float k[40], v[40];
                for (int d = 0; d < 40; d++) {
                    k[d] = pos % 2 ? INFINITY : -1e30f;
                    v[d] = pos % 2 ? -0.0f : -5.0f;
                }
                t->kv_store(s.type, 1, 40, &c.kv[0], pos, k, v);
            }
        batch_add(&b, 0, 99);
        batch_add(&c, 0, 99);
        float *want = batch_run(&b, t, NULL), *got = batch_run(&c, t, NULL);
        assert_same(&b, want, got, "other slots");
        assert_true(isfinite(got[0]));
        free(want);
        free(got);
        batch_release(&b);
        batch_release(&c);
    }
}

static void what_is_not_finite_shows(void **state) {
    (void)state;
    const uint32_t n_pos = 80;
    const kernel_table *ref = kernel_table_get(KERNEL_ISA_REF);
    for (int bad = 0; bad < 6 * KERNEL_KV_COUNT; bad++) {
        const shape s = {.n_head = 2, .n_head_kv = 1, .head_dim = 24, .type = (kernel_kv_type)(bad / 6)};
        batch b;
        batch_make(&b, &s, &n_pos, 1, ref, 6);
        float k[24], v[24];
        memcpy(k, b.k + kv_row(&b, 0, 10), sizeof k);
        memcpy(v, b.v + kv_row(&b, 0, 10), sizeof v);
        float what = bad % 3 == 0 ? NAN : bad % 3 == 1 ? INFINITY : -INFINITY;
        (bad % 6 < 3 ? k : v)[3] = what;
        ref->kv_store(s.type, 1, 24, &b.kv[0], 10, k, v);
        batch_add(&b, 0, 9);
        batch_add(&b, 0, 10);
        batch_add(&b, 0, 79);
        float *want = batch_run(&b, ref, NULL);
        assert_true(isfinite(want[3]));
        /* An infinite key may give a score of minus infinity, probability 0; in q8 it makes its block NaN. */
        if (s.type == KERNEL_KV_Q8 || (bad % 6 != 1 && bad % 6 != 2))
            assert_false(isfinite(want[b.args.out_stride + 3]));
        for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
            const kernel_table *t = kernel_table_get((kernel_isa)isa);
            if (t == NULL)
                continue;
            float *got = batch_run(&b, t, NULL);
            assert_same(&b, want, got, "not finite");
            free(got);
        }
        free(want);
        batch_release(&b);
    }
}

static void reference_follows_the_formula(void **state) {
    (void)state;
    const kernel_table *ref = kernel_table_get(KERNEL_ISA_REF);
    static const double bars[KERNEL_KV_COUNT] = {3e-3, 5e-6, 3e-2};
    for (int variant = 0; variant < 4 * KERNEL_KV_COUNT; variant++) {
        shape s = {.n_head = 6,
                   .n_head_kv = 2,
                   .head_dim = 32,
                   .window = variant & 1 ? 70 : 0,
                   .softcap = variant & 2 ? 2.0f : 0,
                   .type = (kernel_kv_type)(variant / 4)};
        batch b;
        batch_make(&b, &s, lengths[4], MAX_SEQ, ref, 7);
        batch_fill(&b, MAX_SEQ);
        float *got = batch_run(&b, ref, NULL);
        double bar = bars[s.type];
        for (uint64_t t = 0; t < b.args.n_tok; t++)
            for (uint32_t h = 0; h < s.n_head; h++) {
                double p[MAX_POS], sum = 0, o[32] = {0};
                for (uint32_t j = 0; j <= b.pos[t]; j++) {
                    const float *q = b.q + t * b.args.q_stride + h * 32,
                                *k = b.k + kv_row(&b, b.i_seq[t], j) + h / 3 * 32;
                    double score = 0;
                    for (int d = 0; d < 32; d++)
                        score += (double)q[d] * (double)k[d];
                    score /= sqrt(32.0);
                    if (s.softcap != 0)
                        score = 2 * tanh(score / 2);
                    p[j] = s.window != 0 && b.pos[t] - j >= s.window ? 0 : exp(score);
                    sum += p[j];
                }
                for (uint32_t j = 0; j <= b.pos[t]; j++)
                    for (int d = 0; d < 32; d++)
                        o[d] += p[j] / sum * (double)b.v[kv_row(&b, b.i_seq[t], j) + h / 3 * 32 + (size_t)d];
                for (int d = 0; d < 32; d++)
                    assert_true(fabs((double)got[t * b.args.out_stride + h * 32 + (size_t)d] - o[d]) < bar);
            }
        free(got);
        batch_release(&b);
    }
}

/* What q8 keeps of a row is off by half a step at most, the step being a 127th of the block's largest value and no more
 * than 2^-7 above; no block knows of another. */
static void codes_are_near(void **state) {
    (void)state;
    enum { DIM = 80, N_BLOCK = 3 }; /* the last block is half one */
    uint64_t seed = 3;
    const kernel_table *ref = kernel_table_get(KERNEL_ISA_REF);
    size_t bytes = kernel_kv_page_bytes(KERNEL_KV_Q8, 1, DIM);
    uint8_t *page = calloc(1, bytes);
    assert_non_null(page);
    kernel_kv kv = {.pages = (void *[]){page}};
    for (uint32_t pos = 0; pos < 64; pos++) {
        float k[DIM], largest[N_BLOCK] = {0};
        for (size_t d = 0; d < DIM; d++) {
            k[d] = ldexpf(random_float(&seed, 1), (int)(pos + 40 * (d / 32)) - 90);
            largest[d / 32] = fmaxf(largest[d / 32], fabsf(k[d]));
        }
        ref->kv_store(KERNEL_KV_Q8, 1, DIM, &kv, pos, k, k);
        const uint8_t *k_scales = page + 64 * DIM, *v_scales = page + bytes / 2 + 64 * DIM;
        for (size_t d = 0; d < DIM; d++) {
            uint16_t of_k, of_v;
            memcpy(&of_k, k_scales + 2 * (d / 32 * 64 + pos), sizeof of_k);
            memcpy(&of_v, v_scales + 2 * (d / 32 * 64 + pos), sizeof of_v);
            double step = (double)bf16_to_f32(of_k), exact = (double)largest[d / 32] / 127;
            int8_t code = (int8_t)page[d * 64 + pos];
            assert_true(of_k == of_v && code == (int8_t)page[bytes / 2 + pos * DIM + d]);
            assert_true(step >= exact * (1 - 1e-7) && step <= exact * (1 + 1.0 / 127));
            assert_true(code >= -127 && fabs(code * step - (double)k[d]) <= step * 0.5000001);
        }
    }
    free(page);
}

static void cleared_slots_are_zero(void **state) {
    (void)state;
    for (int type = 0; type < KERNEL_KV_COUNT; type++)
        for (uint32_t from = 0, to = 64; from <= 64; from += 13, to = from + (64 - from) / 2) {
            enum { N_KV = 2, DIM = 40 };
            size_t bytes = kernel_kv_page_bytes((kernel_kv_type)type, N_KV, DIM);
            uint8_t *want = calloc(1, bytes), *got = allocate(bytes);
            assert_non_null(want);
            kernel_kv kv_want = {.pages = (void *[]){want}}, kv_got = {.pages = (void *[]){got}};
            const kernel_table *ref = kernel_table_get(KERNEL_ISA_REF);
            float x[N_KV * DIM];
            uint64_t seed = 9;
            for (uint32_t pos = 0; pos < 64; pos++) {
                for (size_t j = 0; j < N_KV * DIM; j++)
                    x[j] = random_float(&seed, 1);
                ref->kv_store((kernel_kv_type)type, N_KV, DIM, &kv_got, pos, x, x);
                if (pos < from || pos >= to)
                    ref->kv_store((kernel_kv_type)type, N_KV, DIM, &kv_want, pos, x, x);
            }
            kernel_kv_clear((kernel_kv_type)type, N_KV, DIM, got, from, to);
            assert_memory_equal(want, got, bytes);
            free(want);
            free(got);
        }
}

static int pools_open(void **state) {
    static os_pool *pools[3]; /* none, two threads, three threads */
    muga_error err;
    if (os_pool_new(2, &pools[1], &err) != MUGA_OK || os_pool_new(3, &pools[2], &err) != MUGA_OK)
        return -1;
    *state = (void *)pools;
    return 0;
}

static int pools_close(void **state) {
    os_pool **pools = *state;
    os_pool_free(pools[1]);
    os_pool_free(pools[2]);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_instruction_set_gives_the_reference_bits),
        cmocka_unit_test(keys_and_values_are_stored_alike),
        cmocka_unit_test(batch_and_order_change_nothing),
        cmocka_unit_test(other_slots_change_nothing),
        cmocka_unit_test(what_is_not_finite_shows),
        cmocka_unit_test(reference_follows_the_formula),
        cmocka_unit_test(codes_are_near),
        cmocka_unit_test(cleared_slots_are_zero),
    };
    return cmocka_run_group_tests(tests, pools_open, pools_close);
}
