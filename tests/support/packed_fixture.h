/* What the tests of packed files share: files in and out, and one digest of all that a start can get wrong. */
#ifndef TESTS_PACKED_FIXTURE_H
#define TESTS_PACKED_FIXTURE_H

#include "support/engine_fixture.h"

#include "base/hash.h"

#include <stdio.h>

static inline void read_all(const char *path, str *out) {
    muga_error err;
    assert_ok(os_read_file(&os_system()->files, path, (size_t)1 << 26, out, &err), &err);
}

static inline void write_all(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Ids of a text and the logits behind it: tokenizer and weights in one. */
static inline void digest(engine *e, uint8_t out[SHA256_BYTES]) {
    static const char text[] = "Where is my order A10023? \xC3\xBC <|im_end|> 2 + 2";
    token_list l = TOKEN_LIST_INIT;
    muga_error err = {0};
    sha256 sum;
    sha256_init(&sum);
    tokenizer_flags flags = {.parse_special = true};
    assert_ok(tokenizer_encode(engine_tokenizer(e), text, strlen(text), flags, &l, &err), &err);
    engine_session *s = session_of(e, 256);
    feed(s, l.ids, (uint32_t)l.n);
    sha256_update(&sum, l.ids, l.n * sizeof *l.ids);
    sha256_update(&sum, engine_session_logits(s), engine_params(e)->n_vocab * sizeof(float));
    sha256_final(&sum, out);
    engine_session_free(s);
    token_list_release(&l);
}

#endif
