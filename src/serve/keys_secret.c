/* The text of a key. Owns: drawing it, its check characters, its hash. Refuses: a text that isn't one.
 *
 *   muga_  u7Kq2ZpT  xW0...                     A1b2C3
 *          prefix: 8  35 more of the secret       check: the first 32 bits of the SHA-256 of all before, in base 62
 *
 * The check makes a key in a log or a repository findable without asking anyone: one random text in 2^32 passes. It
 * is made of the key alone, so it helps nobody to guess. */
#include "serve/keys_internal.h"

#include "os/os.h"

#define HEAD "muga_"
#define N_HEAD 5u
#define N_SECRET 43u /* log2(62^43) = 256.03 */
#define N_CHECK 6u   /* 62^6 > 2^32 */

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

void key_wipe(void *p, size_t n) {
    volatile uint8_t *b = p;
    for (size_t i = 0; i < n; i++) {
        b[i] = 0;
    }
}

/* n digits, each as likely as another: a byte of 248 and more is drawn again. */
static muga_status draw(char *out, size_t n, muga_error *err) {
    uint8_t bytes[64];
    size_t k = 0;
    muga_status st = MUGA_OK;
    while (st == MUGA_OK && k < n) {
        st = os_random(bytes, sizeof bytes, err);
        for (size_t i = 0; st == MUGA_OK && i < sizeof bytes && k < n; i++) {
            if (bytes[i] < 248) {
                out[k++] = digits[bytes[i] % 62];
            }
        }
    }
    key_wipe(bytes, sizeof bytes);
    return st;
}

static void write_check(const char *text, char out[N_CHECK]) {
    uint8_t hash[SHA256_BYTES];
    sha256_of(text, N_HEAD + N_SECRET, hash);
    uint32_t v = (uint32_t)hash[0] << 24 | (uint32_t)hash[1] << 16 | (uint32_t)hash[2] << 8 | hash[3];
    for (size_t i = N_CHECK; i-- > 0; v /= 62) {
        out[i] = digits[v % 62];
    }
}

muga_status key_text_make(char out[KEY_TEXT_SIZE], muga_error *err) {
    memcpy(out, HEAD, N_HEAD);
    muga_status st = draw(out + N_HEAD, N_SECRET, err);
    if (st == MUGA_OK) {
        write_check(out, out + N_HEAD + N_SECRET);
        out[N_HEAD + N_SECRET + N_CHECK] = '\0';
    }
    return st;
}

bool key_is_wellformed(const char *text, size_t n) {
    char check[N_CHECK];
    if (n != KEY_TEXT_SIZE - 1 || memcmp(text, HEAD, N_HEAD) != 0) {
        return false;
    }
    for (size_t i = N_HEAD; i < n; i++) {
        if (!text[i] || !strchr(digits, text[i])) {
            return false;
        }
    }
    write_check(text, check);
    return memcmp(check, text + N_HEAD + N_SECRET, N_CHECK) == 0;
}

const char *key_text_prefix(const char *text) {
    return text + N_HEAD;
}

void key_text_hash(const char *text, const uint8_t salt[KEY_SALT_BYTES], uint8_t out[SHA256_BYTES]) {
    sha256 h;
    sha256_init(&h);
    sha256_update(&h, salt, KEY_SALT_BYTES);
    sha256_update(&h, text, KEY_TEXT_SIZE - 1);
    sha256_final(&h, out);
    key_wipe(&h, sizeof h);
}

muga_status key_id_make(char out[KEY_ID_SIZE], muga_error *err) {
    memcpy(out, "key_", 4);
    out[KEY_ID_SIZE - 1] = '\0';
    return draw(out + 4, KEY_ID_SIZE - 5, err);
}
