/* SHA-256, hex, the table hash, Philox. If these failed, audit chains made here could be verified nowhere else, and a
 * seed would not give the same tokens on another machine.
 *
 * Sources: NIST example values for FIPS 180-4; Random123's known answers for philox4x32-10; the SplitMix64 sequence of
 * its authors' reference for seed 0. */
#include "support/support.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/hash_blocks.h"
#include "base/mem.h"
#include "base/rng.h"

static void assert_sha256(const void *p, size_t n, const char *expected) {
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    sha256_of(p, n, digest);
    hex_write(digest, sizeof digest, hex);
    assert_string_equal(hex, expected);
}

static void sha256_gives_the_published_digests(void **state) {
    (void)state;
    assert_sha256("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_sha256("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_sha256("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrs"
                  "mnopqrstnopqrstu",
                  112, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    char *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    assert_sha256(million, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

static void sha256_in_pieces_is_sha256_at_once(void **state) {
    (void)state;
    uint8_t text[300], at_once[SHA256_BYTES], in_pieces[SHA256_BYTES];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (uint8_t)(i * 37);
    }
    for (size_t n = 0; n <= sizeof text; n++) {
        sha256_of(text, n, at_once);
        for (size_t piece = 1; piece < 130; piece += 9) {
            sha256 h;
            sha256_init(&h);
            for (size_t at = 0; at < n; at += piece) {
                sha256_update(&h, text + at, MIN(piece, n - at));
            }
            sha256_update(&h, NULL, 0);
            sha256_final(&h, in_pieces);
            assert_memory_equal(in_pieces, at_once, SHA256_BYTES);
        }
    }
}

static void hex_goes_both_ways_and_refuses_the_rest(void **state) {
    (void)state;
    uint8_t bytes[256], back[256];
    char hex[513];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
    }
    hex_write(bytes, sizeof bytes, hex);
    assert_int_equal(strlen(hex), 512);
    assert_true(hex_parse(hex, 512, back));
    assert_memory_equal(bytes, back, 256);
    assert_true(hex_parse("aBCd", 4, back));
    assert_int_equal(back[0], 0xAB);
    assert_int_equal(back[1], 0xCD);
    assert_true(hex_parse("", 0, back));
    assert_false(hex_parse("abc", 3, back));
    for (int c = 0; c < 256; c++) {
        char pair[2] = {'0', (char)c};
        assert_int_equal(hex_parse(pair, 2, back), c != 0 && strchr("0123456789abcdefABCDEF", c) != NULL);
    }
}

static void constant_time_compare_sees_every_bit(void **state) {
    (void)state;
    uint8_t a[32] = {0}, b[32] = {0};
    assert_true(bytes_equal_ct(a, b, sizeof a));
    assert_true(bytes_equal_ct(NULL, NULL, 0));
    for (size_t bit = 0; bit < 256; bit++) {
        b[bit / 8] = (uint8_t)(1 << bit % 8);
        assert_false(bytes_equal_ct(a, b, sizeof a));
        b[bit / 8] = 0;
    }
}

/* Keys that differ in one bit, or in length only, must spread over a table's low bits like random ones. */
static void table_hash_spreads_similar_keys(void **state) {
    (void)state;
    enum { N_SLOT = 4096 };
    static int slots[N_SLOT];
    char key[16];
    for (int i = 0; i < N_SLOT; i++) {
        snprintf(key, sizeof key, "key%08d", i);
        slots[hash64(key, strlen(key), 1) % N_SLOT]++;
    }
    int worst = 0, empty = 0;
    for (int i = 0; i < N_SLOT; i++) {
        worst = MAX(worst, slots[i]);
        empty += slots[i] == 0;
    }
    assert_in_range(worst, 3, 12);
    assert_in_range(empty, N_SLOT * 33 / 100, N_SLOT * 41 / 100); /* 1/e when random */
    uint8_t zeros[64] = {0};
    for (size_t a = 0; a <= sizeof zeros; a++) {
        for (size_t b = 0; b < a; b++) {
            assert_true(hash64(zeros, a, 0) != hash64(zeros, b, 0));
        }
    }
    assert_true(hash64("a", 1, 1) != hash64("a", 1, 2));
}

static void philox_gives_the_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        uint32_t out[4];
        philox4x32(known[i].counter, known[i].key, out);
        assert_memory_equal(out, known[i].expected, sizeof out);
    }
}

static void uniform_is_in_range_and_depends_on_everything(void **state) {
    (void)state;
    assert_true(rng_uniform(0, 0, 0, 0) == (float)(0x6627e8d5 >> 8) / 16777216.0f);
    double sum = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        float u = rng_uniform(7, 0, 0, i);
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_true(sum / 100000 > 0.497 && sum / 100000 < 0.503);
    float u = rng_uniform(1, 2, 3, 4);
    assert_true(u != rng_uniform(1 + ((uint64_t)1 << 32), 2, 3, 4));
    assert_true(u != rng_uniform(1, 3, 3, 4));
    assert_true(u != rng_uniform(1, 2, 4, 4));
    assert_true(u != rng_uniform(1, 2, 3, 4 + ((uint64_t)1 << 32)));
}

static void generator_stream_is_fixed_and_unbiased(void **state) {
    (void)state;
    rng r = {0};
    assert_true(rng_next(&r) == 0xE220A8397B1DCDAFu);
    assert_true(rng_next(&r) == 0x6E789E6AA1B965F4u);
    assert_true(rng_next(&r) == 0x06C45D188009454Fu);
    int counts[6] = {0};
    for (int i = 0; i < 60000; i++) {
        counts[rng_below(&r, 6)]++;
    }
    for (int i = 0; i < 6; i++) {
        assert_in_range(counts[i], 9600, 10400);
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rng_below(&r, 1), 0);
        assert_true(rng_below(&r, 0xFFFFFFFFu) < 0xFFFFFFFFu);
    }
}

static void both_ways_of_compressing_agree(void **state) {
    (void)state;
    rng r = {7};
    uint8_t blocks[64 * 9];
    for (size_t n = 0; n <= 9; n++) {
        uint32_t plain[8], native[8];
        for (size_t i = 0; i < sizeof blocks; i++) {
            blocks[i] = (uint8_t)rng_next(&r);
        }
        for (size_t i = 0; i < 8; i++) {
            plain[i] = native[i] = (uint32_t)rng_next(&r);
        }
        sha256_blocks_plain(plain, blocks, n);
        if (!sha256_blocks_native(native, blocks, n)) {
            print_message("skipped: this processor has no SHA instructions\n");
            return;
        }
        assert_memory_equal(plain, native, sizeof plain);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_gives_the_published_digests),
        cmocka_unit_test(sha256_in_pieces_is_sha256_at_once),
        cmocka_unit_test(both_ways_of_compressing_agree),
        cmocka_unit_test(hex_goes_both_ways_and_refuses_the_rest),
        cmocka_unit_test(constant_time_compare_sees_every_bit),
        cmocka_unit_test(table_hash_spreads_similar_keys),
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(uniform_is_in_range_and_depends_on_everything),
        cmocka_unit_test(generator_stream_is_fixed_and_unbiased),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
