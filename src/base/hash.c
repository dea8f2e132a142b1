/* SHA-256, the table hash, hex, comparison in constant time. Owns: the digest under the audit chain, in the engine's
 * own few lines so that the engine needs no crypto library. Refuses: keys and signatures; those are OpenSSL's.
 *
 * Source: FIPS 180-4, sections 4.1.2, 5.1.1, 6.2. */
#include "base/hash.h"

#include "base/hash_blocks.h"
#include "base/mem.h"

const uint32_t sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotate(uint32_t x, int n) {
    return x >> n | x << (32 - n);
}

static inline uint32_t load_big(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void compress_block(uint32_t state[8], const uint8_t *block) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++) {
        w[i] = load_big(block + 4 * i);
    }
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        uint32_t t1 = h + sum1 + ((e & f) ^ (~e & g)) + sha256_constants[i] + w[i];
        uint32_t sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        uint32_t t2 = sum0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

void sha256_blocks_plain(uint32_t state[8], const uint8_t *p, size_t n_block) {
    for (; n_block > 0; n_block--, p += 64) {
        compress_block(state, p);
    }
}

static void compress(uint32_t state[8], const uint8_t *p, size_t n_block) {
    if (!sha256_blocks_native(state, p, n_block)) {
        sha256_blocks_plain(state, p, n_block);
    }
}

void sha256_init(sha256 *h) {
    *h = (sha256){
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_update(sha256 *h, const void *p, size_t n) {
    const uint8_t *from = p;
    size_t held = h->n_bytes % 64;
    h->n_bytes += n;
    if (held > 0) {
        size_t take = MIN(n, 64 - held);
        if (take > 0) {
            memcpy(h->block + held, from, take);
        }
        if (held + take < 64) {
            return;
        }
        compress(h->state, h->block, 1);
        from += take;
        n -= take;
    }
    compress(h->state, from, n / 64);
    from += n / 64 * 64;
    n %= 64;
    if (n > 0) {
        memcpy(h->block, from, n);
    }
}

void sha256_final(sha256 *h, uint8_t out[SHA256_BYTES]) {
    static const uint8_t padding[64] = {0x80};
    uint64_t n_bits = h->n_bytes * 8;
    size_t held = h->n_bytes % 64;
    sha256_update(h, padding, held < 56 ? 56 - held : 120 - held);
    uint8_t length[8];
    for (int i = 0; i < 8; i++) {
        length[i] = (uint8_t)(n_bits >> (56 - 8 * i));
    }
    sha256_update(h, length, sizeof length);
    for (int i = 0; i < SHA256_BYTES; i++) {
        out[i] = (uint8_t)(h->state[i / 4] >> (24 - 8 * (i % 4)));
    }
}

void sha256_of(const void *p, size_t n, uint8_t out[SHA256_BYTES]) {
    sha256 h;
    sha256_init(&h);
    sha256_update(&h, p, n);
    sha256_final(&h, out);
}

void hex_write(const void *p, size_t n, char *out) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = p;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[from[i] >> 4];
        out[2 * i + 1] = digits[from[i] & 15];
    }
    out[2 * n] = '\0';
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hex_parse(const char *hex, size_t n_hex, uint8_t *out) {
    if (n_hex % 2 != 0) {
        return false;
    }
    for (size_t i = 0; i < n_hex; i += 2) {
        int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Fold the 128-bit product: every input bit reaches every output bit. */
static inline uint64_t fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash64(const void *p, size_t n, uint64_t seed) {
    const uint8_t *from = p;
    uint64_t h = seed ^ 0x9E3779B97F4A7C15u;
    size_t left = n;
    for (; left >= 8; from += 8, left -= 8) {
        uint64_t word;
        memcpy(&word, from, 8);
        h = fold(h ^ word, 0xD6E8FEB86659FD93u) ^ word;
    }
    uint64_t tail = 0;
    for (size_t i = 0; i < left; i++) {
        tail |= (uint64_t)from[i] << (8 * i);
    }
    return fold(fold(h ^ tail, 0xD6E8FEB86659FD93u) ^ n, 0xA0761D6478BD642Fu);
}

bool bytes_equal_ct(const void *a, const void *b, size_t n) {
    const volatile uint8_t *x = a, *y = b;
    uint8_t difference = 0;
    for (size_t i = 0; i < n; i++) {
        difference |= (uint8_t)(x[i] ^ y[i]);
    }
    return difference == 0;
}
