/* SHA-256 with the processor's SHA instructions, where it has them: evidence digests every row of logits, and plain
 * code would cost a tenth of the decoding. */
#include "base/hash_blocks.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* The state is kept as (a b e f) and (c d g h); four rounds a step, m[] the last 16 words of the
 * schedule. */
__attribute__((target("sha,sse4.1,ssse3"))) static void compress_sha(uint32_t state[8], const uint8_t *p,
                                                                     size_t n_block) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i low = _mm_loadu_si128((const void *)state), high = _mm_loadu_si128((const void *)(state + 4));
    __m128i badc = _mm_shuffle_epi32(low, 0xB1), hgfe = _mm_shuffle_epi32(high, 0x1B);
    __m128i abef = _mm_alignr_epi8(badc, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, badc, 0xF0);
    for (; n_block > 0; n_block--, p += 64) {
        __m128i m[4], abef0 = abef, cdgh0 = cdgh;
        for (int i = 0; i < 16; i++) {
            if (i < 4) {
                m[i] = _mm_shuffle_epi8(_mm_loadu_si128((const void *)(p + 16 * i)), swap);
            } else { /* w[t] from w[t - 16], w[t - 15], w[t - 7], w[t - 2] */
                __m128i w = _mm_sha256msg1_epu32(m[i & 3], m[(i + 1) & 3]);
                w = _mm_add_epi32(w, _mm_alignr_epi8(m[(i + 3) & 3], m[(i + 2) & 3], 4));
                m[i & 3] = _mm_sha256msg2_epu32(w, m[(i + 3) & 3]);
            }
            __m128i wk = _mm_add_epi32(m[i & 3], _mm_loadu_si128((const void *)(sha256_constants + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0E));
        }
        abef = _mm_add_epi32(abef, abef0);
        cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128((void *)state, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

bool sha256_blocks_native(uint32_t state[8], const uint8_t *p, size_t n_block) {
    if (!__builtin_cpu_supports("sha") || !__builtin_cpu_supports("sse4.1")) {
        return false;
    }
    compress_sha(state, p, n_block);
    return true;
}
#else
bool sha256_blocks_native(uint32_t state[8], const uint8_t *p, size_t n_block) {
    (void)state, (void)p, (void)n_block;
    return false;
}
#endif
