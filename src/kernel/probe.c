/* The machine's limits, measured. Owns: the loops that do nothing but read, and nothing but multiply. */
#include "kernel/probe.h"

#include "base/mem.h"
#include "kernel/internal.h"

#include <stdatomic.h>
#include <string.h>

enum {
    LINE = 64,
    PIECE_MAX = 2 << 20, /* bytes that one thread reads in a row */
    PIECES_PER_THREAD = 4,
    PASSES = 7,
    AT_LEAST = 16 << 20 /* bytes a pass reads, or the clock is too coarse */
};

static double seconds(void) {
    const os_clock *c = &os_system()->clock;
    return (double)c->monotonic_us(c->self) * 1e-6;
}

/* ---- reading ---- */
typedef uint64_t line __attribute__((vector_size(LINE), may_alias));

typedef struct reading {
    const uint8_t *bytes;
    size_t n, piece, ahead; /* ahead: bytes of prefetch; 0: the processor's own */
    _Atomic uint64_t sink;
} reading;

static inline __attribute__((always_inline)) void read_lines(reading *r, int i) {
    size_t from = (size_t)i * r->piece, to = MIN(from + r->piece, r->n);
    line a = {0}, b = {0}, c = {0}, d = {0};
    for (const uint8_t *p = r->bytes + from; p < r->bytes + to; p += 4 * LINE) {
        if (r->ahead)
            for (size_t k = 0; k < 4; k++)
                __builtin_prefetch(p + r->ahead + k * LINE);
        const line *at = (const line *)(const void *)p;
        a |= at[0];
        b |= at[1];
        c |= at[2];
        d |= at[3];
    }
    a |= b | c | d;
    atomic_fetch_add(&r->sink, a[0] | a[1] | a[2] | a[3] | a[4] | a[5] | a[6] | a[7]); /* so that nothing is left out */
}

static void read_piece(void *ctx, int i) {
    read_lines(ctx, i);
}
#if KERNEL_HAVE_X86
__attribute__((target("avx512f"))) static void read_piece_wide(void *ctx, int i) {
    read_lines(ctx, i);
}
#endif

static double read_pass(reading *r, os_pool *pool) {
    int n_piece = (int)((r->n + r->piece - 1) / r->piece), times = (int)MAX(AT_LEAST / r->n, (size_t)1);
    void (*fn)(void *, int) = read_piece;
#if KERNEL_HAVE_X86
    if (kernel_isa_available(KERNEL_ISA_AVX512))
        fn = read_piece_wide;
#endif
    double begin = seconds();
    for (int i = 0; i < times; i++)
        os_pool_run(pool, n_piece, fn, r);
    return (double)r->n * times / (seconds() - begin);
}

muga_status kernel_probe_bandwidth(size_t bytes, os_pool *pool, double *bytes_per_s, muga_error *err) {
    static const size_t ahead[] = {0, 1024, 4096};
    const size_t unit = (size_t)4 * LINE;
    reading r = {.n = MAX(bytes / unit, (size_t)1) * unit};
    size_t share = r.n / ((size_t)os_pool_threads(pool) * PIECES_PER_THREAD);
    r.piece = MIN(MAX(share / unit, (size_t)1) * unit, (size_t)PIECE_MAX);
    uint8_t *p = mem_alloc_aligned(r.n, LINE);
    *bytes_per_s = 0;
    if (!p)
        return error_nomem(err, "measuring the memory");
    memset(p, 1, r.n);
    r.bytes = p;
    for (int pass = 0; pass < PASSES; pass++)
        for (size_t i = 0; i < ARRAY_LEN(ahead); i++) {
            r.ahead = ahead[i];
            *bytes_per_s = MAX(*bytes_per_s, read_pass(&r, pool));
        }
    free(p);
    return MUGA_OK;
}

/* ---- multiplying ---- */
#if KERNEL_HAVE_X86
#include <immintrin.h>

#define UNROLL _Pragma("GCC unroll 16")

/* The empty asm keeps compilers from storing every sum, and from computing a product once for all rounds. */
enum { ROUNDS = 20000, CHAINS = 12, CHUNKS_PER_THREAD = 8 };

__attribute__((target("avx512f,avx512vnni"))) static void multiply_avx512(void *ctx, int i) {
    _Atomic uint64_t *sink = ctx;
    __m512i s[CHAINS], a = _mm512_set1_epi8((char)(i + 1)), b = _mm512_set1_epi8((char)(i + 2));
    UNROLL
    for (int c = 0; c < CHAINS; c++)
        s[c] = _mm512_set1_epi32(c);
    for (int r = 0; r < ROUNDS; r++) {
        UNROLL
        for (int c = 0; c < CHAINS; c++) {
            s[c] = _mm512_dpbusd_epi32(s[c], a, b);
            __asm__("" : "+v"(s[c]));
        }
    }
    UNROLL
    for (int c = 1; c < CHAINS; c++)
        s[0] = _mm512_add_epi32(s[0], s[c]);
    atomic_fetch_add(sink, (uint64_t)_mm_cvtsi128_si64(_mm512_castsi512_si128(s[0])));
}

__attribute__((target("avx2,avxvnni"))) static void multiply_avx_vnni(void *ctx, int i) {
    _Atomic uint64_t *sink = ctx;
    __m256i s[CHAINS], a = _mm256_set1_epi8((char)(i + 1)), b = _mm256_set1_epi8((char)(i + 2));
    UNROLL
    for (int c = 0; c < CHAINS; c++)
        s[c] = _mm256_set1_epi32(c);
    for (int r = 0; r < ROUNDS; r++) {
        UNROLL
        for (int c = 0; c < CHAINS; c++) {
            s[c] = _mm256_dpbusd_avx_epi32(s[c], a, b);
            __asm__("" : "+x"(s[c]));
        }
    }
    UNROLL
    for (int c = 1; c < CHAINS; c++)
        s[0] = _mm256_add_epi32(s[0], s[c]);
    atomic_fetch_add(sink, (uint64_t)_mm256_extract_epi64(s[0], 0));
}

__attribute__((target("avx2"))) static void multiply_avx2(void *ctx, int i) {
    _Atomic uint64_t *sink = ctx;
    __m256i s[CHAINS], a = _mm256_set1_epi8((char)(i + 1)), b = _mm256_set1_epi8((char)(i + 2));
    UNROLL
    for (int c = 0; c < CHAINS; c++)
        s[c] = _mm256_set1_epi16((short)c);
    for (int r = 0; r < ROUNDS; r++) {
        UNROLL
        for (int c = 0; c < CHAINS; c++) {
            __asm__ volatile("" : "+x"(a));
            s[c] = _mm256_add_epi16(s[c], _mm256_maddubs_epi16(a, b));
            __asm__("" : "+x"(s[c]));
        }
    }
    UNROLL
    for (int c = 1; c < CHAINS; c++)
        s[0] = _mm256_add_epi16(s[0], s[c]);
    atomic_fetch_add(sink, (uint64_t)_mm256_extract_epi64(s[0], 0));
}

__attribute__((target("avx512f"))) static void fuse_avx512(void *ctx, int i) {
    _Atomic uint64_t *sink = ctx;
    __m512 s[CHAINS], a = _mm512_set1_ps((float)(i + 1) * 1e-8f), b = _mm512_set1_ps((float)(i + 2) * 1e-8f);
    UNROLL
    for (int c = 0; c < CHAINS; c++)
        s[c] = _mm512_set1_ps((float)c);
    for (int r = 0; r < ROUNDS; r++) {
        UNROLL
        for (int c = 0; c < CHAINS; c++) {
            s[c] = _mm512_fmadd_ps(a, b, s[c]);
            __asm__("" : "+v"(s[c]));
        }
    }
    UNROLL
    for (int c = 1; c < CHAINS; c++)
        s[0] = _mm512_add_ps(s[0], s[c]);
    atomic_fetch_add(sink, (uint64_t)_mm512_cvtss_f32(s[0]));
}

__attribute__((target("avx2,fma"))) static void fuse_avx2(void *ctx, int i) {
    _Atomic uint64_t *sink = ctx;
    __m256 s[CHAINS], a = _mm256_set1_ps((float)(i + 1) * 1e-8f), b = _mm256_set1_ps((float)(i + 2) * 1e-8f);
    UNROLL
    for (int c = 0; c < CHAINS; c++)
        s[c] = _mm256_set1_ps((float)c);
    for (int r = 0; r < ROUNDS; r++) {
        UNROLL
        for (int c = 0; c < CHAINS; c++) {
            s[c] = _mm256_fmadd_ps(a, b, s[c]);
            __asm__("" : "+x"(s[c]));
        }
    }
    UNROLL
    for (int c = 1; c < CHAINS; c++)
        s[0] = _mm256_add_ps(s[0], s[c]);
    atomic_fetch_add(sink, (uint64_t)_mm256_cvtss_f32(s[0]));
}

/* The best of several passes of fn, in lanes a second. */
static double multiply_passes(void (*fn)(void *, int), double lanes, os_pool *pool) {
    int n_chunk = CHUNKS_PER_THREAD * os_pool_threads(pool);
    double work = lanes * CHAINS * ROUNDS * n_chunk, best = 0;
    _Atomic uint64_t sink = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        double begin = seconds();
        os_pool_run(pool, n_chunk, fn, &sink);
        best = MAX(best, work / (seconds() - begin));
    }
    return best;
}

double kernel_probe_integer_peak(kernel_isa isa, os_pool *pool) {
    bool wide = isa == KERNEL_ISA_AVX512;
    void (*fn)(void *, int) = wide                         ? multiply_avx512
                              : isa == KERNEL_ISA_AVX_VNNI ? multiply_avx_vnni
                              : isa == KERNEL_ISA_AVX2     ? multiply_avx2
                                                           : NULL;
    return fn && kernel_isa_available(isa) ? multiply_passes(fn, wide ? 64 : 32, pool) : 0;
}

double kernel_probe_float_peak(kernel_isa isa, os_pool *pool) {
    if (!kernel_isa_available(isa))
        return 0;
    if (isa == KERNEL_ISA_AVX512)
        return multiply_passes(fuse_avx512, 16, pool);
    return isa == KERNEL_ISA_AVX2 || isa == KERNEL_ISA_AVX_VNNI ? multiply_passes(fuse_avx2, 8, pool) : 0;
}
#else
double kernel_probe_integer_peak(kernel_isa isa, os_pool *pool) {
    (void)isa;
    (void)pool;
    return 0;
}
double kernel_probe_float_peak(kernel_isa isa, os_pool *pool) {
    (void)isa;
    (void)pool;
    return 0;
}
#endif
