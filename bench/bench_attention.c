/* Attention alone, in the shape of SmolLM2-135M unless told otherwise: decode behind several depths, as the share of
 * the read bandwidth that the same threads measure over as many bytes in the same run, and prefill in multiply-adds a
 * second.
 *
 *   cc -std=gnu11 -O2 -Iinclude -Isrc bench/bench_attention.c build/libmuga.a -lpthread -lm -o bench_attention
 *
 *   bench_attention [isa] [threads] [n_head] [n_head_kv] [head_dim] [n_layer] [f16 | f32 | q8]
 *
 * Each figure is the median of several passes over all layers; each layer has keys and values of its own, so that what
 * is read comes from as far away as it does in a model. */
#include "kernel/kernel.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PASS = 7, MAX_DEPTH = 32768, MAX_PAGE = MAX_DEPTH / KERNEL_KV_BLOCK + 9 };
#define MAX_BYTES (512u << 20) /* of keys and values: deeper with fewer layers */

typedef struct bench {
    const kernel_table *table;
    os_pool *pool;
    kernel_attn_args args;
    uint32_t n_layer;
    uint8_t *memory; /* pages: [page][layer][K, V] */
    size_t memory_bytes;
    void *pages[MAX_PAGE];
} bench;

#define HUGE_BYTES ((size_t)2 << 20)

static double seconds(void) {
    const os_clock *c = &os_system()->clock;
    return (double)c->monotonic_us(c->self) * 1e-6;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

static uint64_t next_random(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static size_t bench_bytes(const bench *b, kernel_kv_type type, uint32_t n_pos) {
    return kernel_kv_page_bytes(type, b->args.n_head_kv, b->args.head_dim) * b->n_layer * (n_pos / KERNEL_KV_BLOCK + 1);
}

/* Pages of all layers for n_pos positions, every slot written, in large pages of the system as the engine's are. */
static bool bench_fill(bench *b, uint32_t n_pos) {
    size_t layer = kernel_kv_page_bytes(b->args.type, b->args.n_head_kv, b->args.head_dim), page = layer * b->n_layer;
    uint32_t n_page = (n_pos + KERNEL_KV_BLOCK - 1) / KERNEL_KV_BLOCK;
    b->memory_bytes = page * n_page;
    b->memory = aligned_alloc(HUGE_BYTES, (b->memory_bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES);
    if (b->memory == NULL || n_page > MAX_PAGE)
        return false;
    os_memory_prefer_huge(b->memory, b->memory_bytes);
    for (uint32_t i = 0; i < n_page; i++)
        b->pages[i] = b->memory + i * page;
    uint64_t seed = 1;
    size_t n = (size_t)b->args.n_head_kv * b->args.head_dim;
    float *row = malloc(2 * n * sizeof *row);
    if (row == NULL)
        return false;
    for (uint32_t l = 0; l < b->n_layer; l++) {
        kernel_kv kv = {.pages = b->pages, .layer_offset = l * layer};
        for (uint32_t pos = 0; pos < n_page * KERNEL_KV_BLOCK; pos++) {
            for (size_t i = 0; i < 2 * n && pos % 8 == 0; i++)
                row[i] = (float)(next_random(&seed) % 1000) * 1e-3f - 0.5f;
            b->table->kv_store(b->args.type, b->args.n_head_kv, b->args.head_dim, &kv, pos, row, row + n);
        }
    }
    free(row);
    return true;
}

/* Seconds for one pass over all layers, the median of N_PASS. */
static double time_attention(bench *b) {
    double t[N_PASS];
    size_t layer = kernel_kv_page_bytes(b->args.type, b->args.n_head_kv, b->args.head_dim);
    for (int i = -1; i < N_PASS; i++) {
        double start = seconds();
        for (uint32_t l = 0; l < b->n_layer; l++) {
            kernel_kv kv = {.pages = b->pages, .layer_offset = l * layer};
            kernel_attn_args args = b->args;
            args.kv = &kv;
            b->table->attention(&args, b->pool);
        }
        if (i >= 0)
            t[i] = seconds() - start;
    }
    return median(t, N_PASS);
}

enum { READ_CHUNKS = 64 };
typedef struct reader {
    const uint8_t *p;
    size_t n;
    uint64_t sum[READ_CHUNKS];
} reader;

typedef uint64_t words __attribute__((vector_size(64)));

static void read_chunk(void *ctx, int i) {
    reader *r = ctx;
    size_t n = r->n / READ_CHUNKS / 256;
    const words *w = (const words *)(const void *)(r->p + (size_t)i * (n * 256));
    words a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t k = 0; k < n; k++, w += 4) {
        a ^= w[0];
        b ^= w[1];
        c ^= w[2];
        d ^= w[3];
    }
    a ^= b ^ c ^ d;
    r->sum[i] = a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] ^ a[5] ^ a[6] ^ a[7];
}

static double time_read(bench *b) {
    double t[N_PASS];
    reader r = {.p = b->memory, .n = b->memory_bytes};
    for (int i = -1; i < N_PASS; i++) {
        double start = seconds();
        os_pool_run(b->pool, READ_CHUNKS, read_chunk, &r);
        if (i >= 0)
            t[i] = seconds() - start;
    }
    return median(t, N_PASS);
}

static void report(bench *b, kernel_kv_type type, uint32_t n_tok, uint32_t depth) {
    static uint32_t i_seq[512], pos[512];
    size_t row = (size_t)b->args.n_head * b->args.head_dim;
    float *q = malloc(n_tok * row * sizeof *q), *out = malloc(n_tok * row * sizeof *out);
    b->args.type = type;
    if (q == NULL || out == NULL || !bench_fill(b, depth + n_tok)) {
        fprintf(stderr, "bench_attention: out of memory\n");
        exit(6);
    }
    uint64_t seed = 2;
    for (size_t i = 0; i < n_tok * row; i++)
        q[i] = (float)(next_random(&seed) % 2000) * 1e-3f - 1;
    double n_key = 0;
    for (uint32_t i = 0; i < n_tok; i++) {
        pos[i] = depth + i;
        n_key += pos[i] + 1;
    }
    b->args.n_tok = n_tok;
    b->args.i_seq = i_seq;
    b->args.pos = pos;
    b->args.q = q;
    b->args.out = out;
    b->args.q_stride = b->args.out_stride = row;
    double t = time_attention(b), read = time_read(b), fma = 2 * n_key * (double)row * b->n_layer;
    printf("%-7s %u   %s  %4u tokens at %5u  %9.3f ms  %7.2f Gfma/s  KV %7.2f GB/s  read %7.2f GB/s  share %3.0f %%\n",
           kernel_isa_name(b->table->isa), b->pool != NULL ? (unsigned)os_pool_threads(b->pool) : 1,
           kernel_kv_name(type), n_tok, depth, t * 1e3, fma / t * 1e-9, (double)b->memory_bytes / t * 1e-9,
           (double)b->memory_bytes / read * 1e-9, 100 * read / t);
    free(b->memory);
    free(q);
    free(out);
}

int main(int argc, char **argv) {
    kernel_isa isa = kernel_isa_best();
    bench b = {.n_layer = argc > 6 ? (uint32_t)atoi(argv[6]) : 30};
    kernel_kv_type only = KERNEL_KV_COUNT;
    int n_thread = argc > 2 ? atoi(argv[2]) : 1;
    b.args.n_head = argc > 3 ? (uint32_t)atoi(argv[3]) : 9;
    b.args.n_head_kv = argc > 4 ? (uint32_t)atoi(argv[4]) : 3;
    b.args.head_dim = argc > 5 ? (uint32_t)atoi(argv[5]) : 64;
    if ((argc > 1 && !kernel_isa_parse(argv[1], &isa)) || (argc > 7 && !kernel_kv_parse(argv[7], &only)) ||
        (b.table = kernel_table_get(isa)) == NULL || n_thread < 1 || b.args.n_head == 0 || b.args.n_head_kv == 0 ||
        b.args.n_head % b.args.n_head_kv != 0 || b.args.head_dim == 0) {
        fprintf(
            stderr,
            "bench_attention [isa] [threads] [n_head] [n_head_kv] [head_dim] [n_layer] [kv]: not on this machine\n");
        return 2;
    }
    b.args.scale = 1.0f / sqrtf((float)b.args.head_dim);
    muga_error err;
    if (n_thread > 1 && os_pool_new(n_thread, &b.pool, &err) != MUGA_OK) {
        fprintf(stderr, "bench_attention: %s\n", err.message);
        return 6;
    }
    for (int type = 0; type < KERNEL_KV_COUNT; type++) {
        if (only != KERNEL_KV_COUNT && type != (int)only)
            continue;
        report(&b, (kernel_kv_type)type, 512, 0);
        report(&b, (kernel_kv_type)type, 128, 2048);
        for (uint32_t depth = 0; depth <= MAX_DEPTH && bench_bytes(&b, (kernel_kv_type)type, depth) <= MAX_BYTES;
             depth = depth == 0 ? 1024 : depth * 2)
            report(&b, (kernel_kv_type)type, 1, depth);
    }
    os_pool_free(b.pool);
    return 0;
}
