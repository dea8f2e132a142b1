/* If this fails, a conversation taken up from a file goes on otherwise than it would have, or a file that is damaged,
 * foreign or made by somebody else is believed. */
#include "support/engine_fixture.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/internal.h"
#include "engine/saved.h"

#include <stdio.h>

enum { N = 150 };

static const char digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static int32_t ids[N];

static int make_ids(void **state) {
    (void)state;
    rng r = {3};
    for (int i = 0; i < N; i++)
        ids[i] = (int32_t)rng_below(&r, 400);
    return 0;
}

static const os_files *files(void) {
    return &os_system()->files;
}

static void save(engine *e, uint32_t n, const char *path) {
    muga_error err = {0};
    engine_session *s = session_of(e, 256);
    if (n > 0)
        feed(s, ids, n);
    assert_ok(saved_write(s, files(), path, digest, "a note", 6, &err), &err);
    engine_session_free(s);
}

static void a_session_goes_on_where_it_was(void **state) {
    (void)state;
    const uint32_t counts[] = {0, 1, 63, 64, 65, 128, 140};
    for (int kv = 0; kv < KERNEL_KV_COUNT; kv++) {
        engine *e = open_with((engine_options){.isa = -1, .n_threads = 1, .kv = (kernel_kv_type)kv});
        size_t row = engine_params(e)->n_vocab * sizeof(float);
        engine_session *plain = session_of(e, 256), *s;
        feed(plain, ids, N);
        for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
            str note = STR_INIT;
            muga_error err = {0};
            uint64_t before = engine_get_kv_counts(e).in_use;
            char path[512];
            snprintf(path, sizeof path, "%s", scratch_path("one.session"));
            save(e, counts[i], path);
            s = session_of(e, 200); /* a smaller context will do */
            assert_ok(saved_read(s, files(), path, digest, &note, &err), &err);
            assert_string_equal(str_get(&note), "a note");
            assert_int_equal(engine_session_count(s), counts[i]);
            assert_null(engine_session_logits(s));
            feed(s, ids + counts[i], N - counts[i]);
            assert_memory_equal(engine_session_logits(s), engine_session_logits(plain), row);
            assert_true(session_check(s));
            engine_session_free(s);
            assert_int_equal(engine_get_kv_counts(e).in_use, before);
            str_release(&note);
        }
        engine_session_free(plain);
        engine_free(e);
    }
}

/* What lies behind a window is not in the file; a file that leaves out more is no session's. */
/* What a session has forgotten isn't in its file: one that was cut back leaves the bytes of one never longer. */
static void what_was_cut_back_is_not_in_the_file(void **state) {
    (void)state;
    engine *e = open_with((engine_options){.isa = -1, .n_threads = 1});
    str longer = STR_INIT, never = STR_INIT;
    char path[512];
    muga_error err = {0};
    snprintf(path, sizeof path, "%s", scratch_path("cut.session"));
    engine_session *s = session_of(e, 256);
    feed(s, ids, 100);
    engine_session_truncate(s, 70);
    assert_ok(saved_write(s, files(), path, digest, "a note", 6, &err), &err);
    assert_ok(os_read_file(files(), path, 1 << 24, &longer, &err), &err);
    save(e, 70, path);
    assert_ok(os_read_file(files(), path, 1 << 24, &never, &err), &err);
    assert_int_equal(longer.len, never.len);
    assert_memory_equal(longer.data, never.data, never.len);
    str_release(&longer);
    str_release(&never);
    engine_session_free(s);
    engine_free(e);
}

static void a_window_is_kept_as_it_is(void **state) {
    (void)state;
    const char *window = "llama.attention.sliding_window=int:20";
    engine_options o = {.isa = -1, .n_threads = 1, .overrides = &window, .n_overrides = 1};
    engine *e = open_with(o);
    size_t row = engine_params(e)->n_vocab * sizeof(float);
    engine_session *plain = session_of(e, 512), *s = session_of(e, 512);
    str bytes = STR_INIT, note = STR_INIT;
    muga_error err = {0};
    feed(plain, ids, N);
    feed(plain, ids, N);
    assert_int_equal(session_dropped(plain, 0), 2);
    assert_ok(saved_write(plain, files(), scratch_path("window.session"), digest, "", 0, &err), &err);
    assert_ok(saved_read(s, files(), scratch_path("window.session"), digest, &note, &err), &err);
    assert_int_equal(session_dropped(s, 0), 2);
    assert_int_equal(engine_get_kv_counts(e).in_use, 6);
    feed(plain, ids, N);
    feed(s, ids, N);
    assert_memory_equal(engine_session_logits(s), engine_session_logits(plain), row);
    assert_true(session_check(s));
    assert_ok(os_read_file(files(), scratch_path("window.session"), 1 << 24, &bytes, &err), &err);
    bytes.data[36] = 5; /* pages left out */
    sha256_of(bytes.data, bytes.len - SHA256_BYTES, (uint8_t *)bytes.data + bytes.len - SHA256_BYTES);
    assert_ok(os_write_file_atomic(files(), scratch_path("less.session"), bytes.data, bytes.len, &err), &err);
    engine_session_truncate(s, 0);
    assert_status(saved_read(s, files(), scratch_path("less.session"), digest, &note, &err), MUGA_E_INPUT, &err,
                  "first pages (5 and 0)");
    feed(s, ids, N);
    engine_session_free(s);
    engine_session_free(plain);
    engine_free(e);
    str_release(&bytes);
    str_release(&note);
}

/* Reads bytes as a saved session of a session of n_ctx; whatever comes, a failure leaves the session empty and usable.
 */
static muga_status read_bytes(engine *e, uint32_t n_ctx, const void *p, size_t n, muga_error *err) {
    const char *path = scratch_path("changed.session");
    str note = STR_INIT;
    assert_ok(os_write_file_atomic(files(), path, p, n, err), err);
    engine_session *s = session_of(e, n_ctx);
    muga_status st = saved_read(s, files(), scratch_path("changed.session"), digest, &note, err);
    if (st) {
        assert_int_equal(engine_session_count(s), 0);
        assert_int_equal(note.len, 0);
        assert_int_equal(engine_get_kv_counts(e).in_use, 0);
        feed(s, ids, 10);
    }
    engine_session_free(s);
    str_release(&note);
    return st;
}

/* The digest at the end put right, as somebody would who means it. */
static void sign(str *bytes) {
    sha256_of(bytes->data, bytes->len - SHA256_BYTES, (uint8_t *)bytes->data + bytes->len - SHA256_BYTES);
}

static void changed_and_cut_files_are_refused(void **state) {
    (void)state;
    engine *e = open_plain();
    str good = STR_INIT;
    muga_error err = {0};
    rng r = {1};
    save(e, 70, scratch_path("good.session"));
    assert_ok(os_read_file(files(), scratch_path("good.session"), 1 << 24, &good, &err), &err);
    assert_int_equal(read_bytes(e, 256, good.data, good.len, &err), MUGA_OK);
    for (size_t n = 0; n < good.len; n += n < 400 ? 1 : 997)
        assert_status(read_bytes(e, 256, good.data, n, &err), MUGA_E_INPUT, &err, "early");
    str_append_c(&good, 'x');
    assert_status(read_bytes(e, 256, good.data, good.len, &err), MUGA_E_INPUT, &err, "after its end");
    str_truncate(&good, good.len - 1);
    for (size_t k = 0; k < 600; k++) {
        size_t at = k < 300 ? k : rng_below(&r, (uint32_t)good.len);
        good.data[at] ^= (char)(1 << k % 8);
        muga_status st = read_bytes(e, 256, good.data, good.len, &err);
        assert_true(st == MUGA_E_INPUT || st == MUGA_E_LIMIT);
        assert_non_null(strstr(err.message, "session"));
        good.data[at] ^= (char)(1 << k % 8);
    }
    size_t i_ids = good.len - SHA256_BYTES - 2 * model_page_bytes(engine_model(e), KERNEL_KV_F16, 0) - 70 * 4;
    memcpy(good.data + i_ids + 4, "\xA0\x01\0\0", 4);
    sign(&good);
    assert_status(read_bytes(e, 256, good.data, good.len, &err), MUGA_E_INPUT, &err, "416 at position 1");
    assert_status(read_bytes(e, 256, "", 0, &err), MUGA_E_INPUT, &err, "early");
    str_release(&good);
    engine_free(e);
}

static void what_does_not_fit_is_named(void **state) {
    (void)state;
    engine *e = open_plain();
    muga_error err = {0};
    str note = STR_INIT;
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path("mine.session"));
    save(e, 100, path);
    engine_session *s = session_of(e, 64);
    assert_status(saved_read(s, files(), path, digest, &note, &err), MUGA_E_LIMIT, &err, "100 tokens");
    engine_session_free(s);
    s = session_of(e, 256);
    assert_status(saved_read(s, files(), scratch_path("none"), digest, &note, &err), MUGA_E_NOT_FOUND, &err, "none");
    assert_status(saved_read(s, files(), path, "ffff", &note, &err), MUGA_E_INPUT, &err, "another model");
    assert_ok(engine_session_share(s, "t", &err), &err);
    assert_status(saved_read(s, files(), path, digest, &note, &err), MUGA_E_USAGE, &err, "share");
    engine_session_free(s);
    engine_free(e);
    static const char *const overrides[] = {"llama.rope.freq_base=float:20000"};
    const struct {
        engine_options o;
        const char *part;
    } others[] = {{{.isa = -1, .n_threads = 1, .exact = true}, "arithmetic"},
                  {{.isa = -1, .n_threads = 1, .kv = KERNEL_KV_Q8}, "--kv"},
                  {{.isa = -1, .n_threads = 1, .overrides = overrides, .n_overrides = 1}, "--override"}};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        e = open_with(others[i].o);
        s = session_of(e, 256);
        assert_status(saved_read(s, files(), path, digest, &note, &err), MUGA_E_INPUT, &err, others[i].part);
        engine_session_free(s);
        engine_free(e);
    }
    e = open_plain();
    e->pages.n.max_bytes = e->pages.n.page_bytes;
    s = session_of(e, 256);
    assert_status(saved_read(s, files(), path, digest, &note, &err), MUGA_E_LIMIT, &err, "raise the limit");
    engine_session_free(s);
    engine_free(e);
    str_release(&note);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_goes_on_where_it_was), cmocka_unit_test(what_was_cut_back_is_not_in_the_file),
        cmocka_unit_test(a_window_is_kept_as_it_is),      cmocka_unit_test(changed_and_cut_files_are_refused),
        cmocka_unit_test(what_does_not_fit_is_named),
    };
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
