/* Short ids that a person can read aloud and type. Owns: the alphabet, Crockford's base 32 without i, l, o, u.
 * Idea: a call's or session's id is 60 random bits; an approval's id is the first 40 bits of its binding, so what the
 * person types names the exact arguments they were shown. */
#include "agent/internal.h"

#include <ctype.h>
#include <stdio.h>

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

static int value_of(char c) {
    c = (char)tolower((unsigned char)c);
    if (c == 'o') {
        c = '0';
    } else if (c == 'i' || c == 'l') {
        c = '1';
    }
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

muga_status id_new(const agent_env *env, const char *prefix, char out[AGENT_ID_SIZE], muga_error *err) {
    uint8_t bytes[12];
    muga_status st = env->random(env->random_self, bytes, sizeof bytes, err);
    char text[13];
    for (size_t i = 0; st == MUGA_OK && i < sizeof bytes; i++) {
        text[i] = alphabet[bytes[i] & 31];
    }
    if (st == MUGA_OK) {
        text[12] = '\0';
        snprintf(out, AGENT_ID_SIZE, "%.4s%s", prefix, text);
    }
    return st;
}

void id_of_binding(const uint8_t binding[SHA256_BYTES], char out[AGENT_ID_SIZE]) {
    uint64_t bits = 0;
    for (int i = 0; i < 5; i++) {
        bits = bits << 8 | binding[i];
    }
    char *p = out;
    for (int i = 7; i >= 0; i--) {
        *p++ = alphabet[bits >> (5 * i) & 31];
        if (i == 4) {
            *p++ = '-';
        }
    }
    *p = '\0';
}

bool id_read(const char *typed, char out[AGENT_ID_SIZE]) {
    int n = 0;
    char *p = out;
    for (const char *c = typed; *c; c++) {
        if (*c == '-' || *c == ' ') {
            continue;
        }
        int v = value_of(*c);
        if (v < 0 || n == 8) {
            return false;
        }
        *p++ = alphabet[v];
        if (++n == 4) {
            *p++ = '-';
        }
    }
    *p = '\0';
    return n == 8;
}
