/* Matrix products by themselves, next to what the machine could do: GB/s in decode beside the measured read bandwidth,
 * multiply-adds per second in prefill beside the measured int8 peak. Shapes are SmolLM2-135M's, with as many copies of
 * a matrix as make up a model of 100 MB, so that decode reads memory and not a cache.
 *
 *   cc -std=gnu11 -O2 -Iinclude -Isrc bench/bench_kernel.c build/libmuga.a -lpthread -lm -o bench_kernel
 *
 *   bench_kernel [-t THREADS] [-i ISA] [-n PREFILL_TOKENS] [-y TYPE]
 */
#include "kernel/probe.h"

#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPEATS = 7, MODEL_BYTES = 100 << 20 };

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of a call. */
static double median_time(void (*fn)(void *), void *ctx) {
    double s[REPEATS];
    fn(ctx);
    for (int i = 0; i < REPEATS; i++) {
        double t = now_s();
        fn(ctx);
        s[i] = now_s() - t;
    }
    qsort(s, REPEATS, sizeof *s, compare_doubles);
    return s[REPEATS / 2];
}

/* ---- products ---- */

/* The f16 fields of a block are its first or its last ones. */
static void put_scales(tensor_type type, uint8_t *b, size_t bytes) {
    const uint16_t scale = f32_to_f16(0.01f);
    bool last = type == TENSOR_Q2_K || type == TENSOR_Q3_K || type == TENSOR_Q6_K || type == TENSOR_TQ1_0 ||
                type == TENSOR_TQ2_0;
    bool two = type == TENSOR_Q4_1 || type == TENSOR_Q5_1 || type == TENSOR_Q2_K || type == TENSOR_Q4_K ||
               type == TENSOR_Q5_K;
    if (type == TENSOR_F16 || type == TENSOR_BF16 || type == TENSOR_F32)
        b[bytes - 1] = 0x2c;
    else if (type == TENSOR_MXFP4)
        b[0] = 120;
    else if (type == TENSOR_IQ1_M) /* the scale's highest nibble lies in the last byte's */
        b[bytes - 1] = (uint8_t)((b[bytes - 1] & 15) | 0x20);
    else if (type != TENSOR_NVFP4)
        for (size_t i = 0; i < (two ? 2 : 1); i++)
            memcpy(last ? b + bytes - 2 * (i + 1) : b + 2 * i, &scale, 2);
}

static void make_weights(tensor_type type, uint64_t rows, uint64_t cols, os_pool *pool, kernel_weights *out) {
    const tensor_traits *traits = tensor_type_traits((uint32_t)type);
    size_t n_block = (size_t)(rows * cols / traits->block_elems), bytes = n_block * traits->block_bytes;
    uint8_t *data = malloc(bytes);
    rng r = {rows * 31 + cols};
    for (size_t i = 0; data && i < bytes; i++)
        data[i] = (uint8_t)rng_next(&r);
    for (size_t i = 0; data && i < n_block; i++) /* scales in the range of real ones */
        put_scales(type, data + i * traits->block_bytes, traits->block_bytes);
    tensor_view view = {type, cols, rows, data};
    muga_error err;
    if (!data || kernel_pack(&view, pool, out, &err) != MUGA_OK) {
        fprintf(stderr, "bench_kernel: %s\n", data ? err.message : "out of memory");
        exit(6);
    }
    free(data);
}

typedef struct product {
    const kernel_table *table;
    os_pool *pool;
    kernel_weights *w;
    uint64_t n_copy, n_tok;
    float *x, *y;
    void *scratch;
} product;

static void run_product(void *ctx) {
    product *p = ctx;
    for (uint64_t i = 0; i < p->n_copy; i++) {
        kernel_matmul_args a = {.w = &p->w[i],
                                .x = p->x,
                                .x_stride = p->w[i].cols,
                                .y = p->y,
                                .y_stride = p->w[i].rows,
                                .n_tok = p->n_tok,
                                .scratch = p->scratch,
                                .act = KERNEL_ACT_INT8};
        p->table->matmul(&a, p->pool);
    }
}

static void bench_shape(const kernel_table *table, os_pool *pool, tensor_type type, uint64_t rows, uint64_t cols,
                        uint64_t n_prefill, double bandwidth, double peak) {
    const tensor_traits *traits = tensor_type_traits((uint32_t)type);
    if (cols % traits->block_elems != 0)
        return;
    double bytes = (double)rows * (double)cols / traits->block_elems * traits->block_bytes;
    product p = {.table = table, .pool = pool, .n_copy = (uint64_t)MAX(MODEL_BYTES / bytes, 1)};
    p.w = mem_alloc_array(p.n_copy, sizeof *p.w);
    p.x = mem_alloc_aligned(n_prefill * cols * sizeof *p.x, 64);
    p.y = mem_alloc_aligned(n_prefill * rows * sizeof *p.y, 64);
    p.scratch = mem_alloc_aligned(kernel_act_bytes(n_prefill, cols), 64);
    if (!p.w || !p.x || !p.y || !p.scratch)
        exit(6);
    rng r = {7};
    for (uint64_t i = 0; i < n_prefill * cols; i++)
        p.x[i] = (float)((double)rng_next(&r) / 0x1p64 - 0.5);
    for (uint64_t i = 0; i < p.n_copy; i++)
        make_weights(type, rows, cols, pool, &p.w[i]);

    p.n_tok = 1;
    double decode = median_time(run_product, &p) / (double)p.n_copy;
    uint64_t n_copy = p.n_copy;
    p.n_copy = MIN(n_copy, 4);
    p.n_tok = n_prefill;
    double prefill = median_time(run_product, &p) / (double)p.n_copy;
    double gbs = bytes / decode * 1e-9, gmacs = (double)rows * (double)cols * (double)n_prefill / prefill * 1e-9;
    printf("%-7s %6llu x %-5llu  decode %7.1f us %6.1f GB/s %3.0f %%   prefill %8.2f ms %7.1f G/s %3.0f %%\n",
           traits->name, (unsigned long long)rows, (unsigned long long)cols, decode * 1e6, gbs,
           100 * gbs * 1e9 / bandwidth, prefill * 1e3, gmacs, peak > 0 ? 100 * gmacs * 1e9 / peak : 0);
    fflush(stdout);
    for (uint64_t i = 0; i < n_copy; i++)
        kernel_weights_release(&p.w[i]);
    free(p.w);
    free(p.x);
    free(p.y);
    free(p.scratch);
}

static int usage(void) {
    fprintf(stderr, "usage: bench_kernel [-t THREADS] [-i ISA] [-n PREFILL_TOKENS] [-y TYPE]\n");
    return 2;
}

int main(int argc, char **argv) {
    kernel_isa isa = kernel_isa_best();
    uint64_t n_prefill = 512;
    const char *only = NULL;
    int n_thread = 1;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 >= argc)
            return usage();
        if (!strcmp(argv[i], "-t"))
            n_thread = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "-n"))
            n_prefill = (uint64_t)atoll(argv[i + 1]);
        else if (!strcmp(argv[i], "-y"))
            only = argv[i + 1];
        else if (strcmp(argv[i], "-i") || !kernel_isa_parse(argv[i + 1], &isa))
            return usage();
    }
    const kernel_table *table = kernel_table_get(isa);
    os_pool *pool;
    muga_error err;
    if (!table || n_thread < 1 || n_prefill < 1)
        return usage();
    if (os_pool_new(n_thread, &pool, &err) != MUGA_OK) {
        fprintf(stderr, "bench_kernel: %s\n", err.message);
        return 6;
    }
    double bandwidth, peak = kernel_probe_integer_peak(isa, pool);
    if (kernel_probe_bandwidth(MODEL_BYTES, pool, &bandwidth, &err) != MUGA_OK) {
        fprintf(stderr, "bench_kernel: %s\n", err.message);
        return 6;
    }
    printf("%s, %d threads; read bandwidth over %d MB: %.1f GB/s; int8 peak: %.0f G multiply-adds/s; prefill of %llu\n",
           kernel_isa_name(isa), n_thread, MODEL_BYTES >> 20, bandwidth * 1e-9, peak * 1e-9,
           (unsigned long long)n_prefill);

    static const uint64_t shapes[][2] = {{576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {49152, 576}, {2048, 2048}};
    static const tensor_type types[] = {
        TENSOR_Q4_1,   TENSOR_Q4_0,    TENSOR_Q5_0,  TENSOR_Q5_1,  TENSOR_Q8_0,   TENSOR_Q2_K,    TENSOR_Q3_K,
        TENSOR_Q4_K,   TENSOR_Q5_K,    TENSOR_Q6_K,  TENSOR_F16,   TENSOR_BF16,   TENSOR_F32,     TENSOR_IQ4_NL,
        TENSOR_IQ4_XS, TENSOR_IQ3_XXS, TENSOR_IQ3_S, TENSOR_IQ2_S, TENSOR_IQ2_XS, TENSOR_IQ2_XXS, TENSOR_IQ1_S,
        TENSOR_IQ1_M,  TENSOR_TQ1_0,   TENSOR_TQ2_0, TENSOR_MXFP4, TENSOR_NVFP4};
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        if (only && strcmp(only, tensor_type_traits((uint32_t)types[t])->name))
            continue;
        for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
            bench_shape(table, pool, types[t], shapes[s][0], shapes[s][1], n_prefill, bandwidth, peak);
    }
    os_pool_free(pool);
    return 0;
}
