/* Addresses by range. For IPv4 a list of what is not public; for IPv6 the one block that is handed out (2000::/3), less
 * what in it is special. What carries an IPv4 address is judged by that. */
#include "net/address.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

typedef struct range {
    uint8_t prefix[6];
    int n_bits;
} range;

static const range special_v4[] = {
    {{0}, 8},             /* this network */
    {{10}, 8},            /* private */
    {{100, 64}, 10},      /* shared by carriers */
    {{127}, 8},           /* loopback */
    {{169, 254}, 16},     /* link-local, and the metadata of clouds */
    {{172, 16}, 12},      /* private */
    {{192, 0, 0}, 24},    /* protocol assignments */
    {{192, 0, 2}, 24},    /* documentation */
    {{192, 31, 196}, 24}, /* AS112 */
    {{192, 52, 193}, 24}, /* AMT */
    {{192, 88, 99}, 24},  /* 6to4 relays */
    {{192, 168}, 16},     /* private */
    {{192, 175, 48}, 24}, /* AS112 */
    {{198, 18}, 15},      /* benchmarks */
    {{198, 51, 100}, 24}, /* documentation */
    {{203, 0, 113}, 24},  /* documentation */
    {{224}, 3},           /* multicast, reserved, broadcast */
};

static const range special_v6[] = {
    {{0x20, 0x01, 0x00}, 23},             /* protocol assignments, Teredo among them */
    {{0x20, 0x01, 0x0d, 0xb8}, 32},       /* documentation */
    {{0x26, 0x20, 0x00, 0x4f, 0x80}, 48}, /* AS112 */
    {{0x3f, 0xff, 0x00}, 20},             /* documentation */
};

static bool is_in(const uint8_t *p, const range *r) {
    int whole = r->n_bits / 8, rest = r->n_bits % 8;
    return memcmp(p, r->prefix, (size_t)whole) == 0 && (rest == 0 || (p[whole] ^ r->prefix[whole]) >> (8 - rest) == 0);
}

static bool is_public_v4(const uint8_t *p) {
    for (size_t i = 0; i < ARRAY_LEN(special_v4); i++) {
        if (is_in(p, &special_v4[i])) {
            return false;
        }
    }
    return true;
}

static bool is_public_v6(const uint8_t *p) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, translated[12] = {0x00, 0x64, 0xff, 0x9b};
    if (memcmp(p, mapped, sizeof mapped) == 0 || memcmp(p, translated, sizeof translated) == 0) {
        return is_public_v4(p + 12);
    }
    if (p[0] == 0x20 && p[1] == 0x02) { /* 6to4 */
        return is_public_v4(p + 2);
    }
    for (size_t i = 0; i < ARRAY_LEN(special_v6); i++) {
        if (is_in(p, &special_v6[i])) {
            return false;
        }
    }
    return p[0] >> 5 == 1;
}

/* The address's bytes, copied: a sockaddr need not be aligned for what it is. */
static int bytes_of(const struct sockaddr *a, size_t n, uint8_t out[16]) {
    int family = n >= sizeof a->sa_family + offsetof(struct sockaddr, sa_family) ? a->sa_family : AF_UNSPEC;
    if (family == AF_INET && n >= sizeof(struct sockaddr_in)) {
        memcpy(out, (const char *)a + offsetof(struct sockaddr_in, sin_addr), 4);
        return AF_INET;
    }
    if (family == AF_INET6 && n >= sizeof(struct sockaddr_in6)) {
        memcpy(out, (const char *)a + offsetof(struct sockaddr_in6, sin6_addr), 16);
        return AF_INET6;
    }
    return AF_UNSPEC;
}

bool address_is_public(const struct sockaddr *a, size_t n) {
    uint8_t bytes[16];
    int family = bytes_of(a, n, bytes);
    return family == AF_INET ? is_public_v4(bytes) : family == AF_INET6 && is_public_v6(bytes);
}

void address_write(const struct sockaddr *a, size_t n, char out[ADDRESS_TEXT_SIZE]) {
    uint8_t bytes[16];
    int family = bytes_of(a, n, bytes);
    if (family == AF_UNSPEC || !inet_ntop(family, bytes, out, ADDRESS_TEXT_SIZE)) {
        snprintf(out, ADDRESS_TEXT_SIZE, "?");
    }
}
