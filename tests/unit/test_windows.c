/* If this fails, a model that mixes layers with and without a window keeps pages that no layer sees, so that a long
 * chat takes several times the memory it needs; or lets one go that is still seen, and answers otherwise than it
 * should.
 *
 * Two of the model's three layers see TINY_WINDOW positions (make_tiny.h). What is computed is held against a session
 * that computes all in one batch, which lets nothing go before it is over.
 *
 * ctest: unthreaded (it starts none) */
#include "support/engine_fixture.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/internal.h"
#include "engine/saved.h"

enum { N = 1500, N_CTX = 2000, BATCH = 32, ALL = 0, WINDOWED = 1 };

/* Pages of layers with a window that a session holds at most: window, margin and batch, ends inside pages. */
enum { MOST = (TINY_WINDOW + 128 + BATCH) / 64 + 2 };

static int32_t ids[N];

static int make_ids(void **state) {
    (void)state;
    rng r = {5};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        ids[i] = (int32_t)rng_below(&r, 400);
    return 0;
}

static engine *open_batch(uint32_t n_batch, kernel_kv_type kv, uint64_t kv_bytes) {
    return open_windowed(
        (engine_options){.isa = -1, .n_threads = 1, .n_batch = n_batch, .kv = kv, .kv_bytes = kv_bytes});
}

static uint64_t bytes_of(const engine *e, uint64_t n_all, uint64_t n_windowed) {
    return n_all * e->pages.kinds[ALL].page_bytes + n_windowed * e->pages.kinds[WINDOWED].page_bytes;
}

static void assert_whole(engine *e, const engine_session *s) {
    assert_true(session_check(s) && pages_check(&e->pages) && prefix_check(e->prefix));
}

/* The row after ids[0, n), computed in one batch. */
static float *wanted(uint32_t n, kernel_kv_type kv) {
    engine *e = open_batch(N, kv, 0);
    engine_session *s = session_of(e, N_CTX);
    size_t row = engine_params(e)->n_vocab * sizeof(float);
    float *want = malloc(row);
    assert_non_null(want);
    feed(s, ids, n);
    assert_int_equal(engine_get_kv_counts(e).high_water_bytes, (n + 63) / 64 * engine_get_kv_counts(e).page_bytes);
    memcpy(want, engine_session_logits(s), row);
    engine_session_free(s);
    engine_free(e);
    return want;
}

static void assert_row(const engine_session *s, const float *want) {
    assert_memory_equal(engine_session_logits(s), want,
                        engine_params(engine_session_engine(s))->n_vocab * sizeof *want);
}

/* One long feed, token by token behind it, and a fork: with just the room for all pages of the layer that sees all and
 * a few of the others. */
static void a_long_session_holds_few_pages_of_layers_with_a_window(void **state) {
    (void)state;
    for (int kv = 0; kv < KERNEL_KV_COUNT; kv++) {
        float *want = wanted(N, (kernel_kv_type)kv), *want_less = wanted(N - 100, (kernel_kv_type)kv);
        engine *e = open_batch(BATCH, (kernel_kv_type)kv, 0);
        assert_int_equal(e->pages.n_kinds, 2);
        assert_true(e->pages.kinds[WINDOWED].data_bytes == 2 * e->pages.kinds[ALL].data_bytes);
        uint64_t most = bytes_of(e, N / 64 + 1, MOST), all = bytes_of(e, N / 64 + 1, N / 64 + 1);
        engine_free(e);
        e = open_batch(BATCH, (kernel_kv_type)kv, most);
        engine_session *s = session_of(e, N_CTX), *fork;
        muga_error err = {0};
        assert_ok(engine_session_reserve(s, N, &err), &err);
        feed(s, ids, N - 40);
        for (uint32_t i = N - 40; i < N; i++)
            feed(s, ids + i, 1);
        assert_row(s, want);
        assert_whole(e, s);
        engine_kv_counts n = engine_get_kv_counts(e);
        assert_true(n.high_water_bytes <= most && most < all / 2);
        assert_int_equal(session_dropped(s, ALL), 0);
        assert_int_equal(session_dropped(s, WINDOWED), (N - 128 - TINY_WINDOW + 1) / 64);
        assert_int_equal(n.in_use_bytes, bytes_of(e, N / 64 + 1, N / 64 + 1 - session_dropped(s, WINDOWED)));
        assert_int_equal(session_bytes(s, N), n.in_use_bytes);
        assert_true(session_bytes(s, N) <= session_bytes_for(e, N, BATCH) && session_bytes_for(e, N, BATCH) == most);

        assert_int_equal(engine_session_common(s, ids, N - 100), N - 100);
        assert_ok(engine_session_fork(s, &fork, &err), &err);
        engine_session_free(s);
        engine_session_truncate(fork, N - 101);
        feed(fork, ids + N - 101, 1);
        assert_row(fork, want_less);
        session_take_back(fork, N - 120);
        feed(fork, ids + N - 120, 20);
        assert_row(fork, want_less);
        assert_whole(e, fork);
        assert_int_equal(engine_session_common(fork, ids, N - 300), 0);
        engine_session_truncate(fork, N - 300);
        assert_int_equal(engine_session_count(fork), 0);
        assert_int_equal(engine_get_kv_counts(e).in_use, 0);
        feed(fork, ids, N - 100);
        assert_row(fork, want_less);
        engine_session_free(fork);
        engine_free(e);
        free(want);
        free(want_less);
    }
}

/* Room for all that the feed is to take of one kind, but not of the other: it stands before the batch that found none,
 * and goes on from there when there is more. */
static void a_feed_that_finds_no_page_stands_before_the_batch(void **state) {
    (void)state;
    float *want = wanted(N, KERNEL_KV_F16);
    engine *e = open_batch(64, KERNEL_KV_F16, 0);
    engine_session *s = session_of(e, N_CTX), *other = session_of(e, N_CTX);
    muga_error err = {0};
    feed(other, ids + 7, 64);
    e->pages.n.max_bytes = bytes_of(e, N / 64, 0) + session_bytes(other, 64);
    assert_status(engine_session_feed(s, ids, N, &err), MUGA_E_LIMIT, &err, "no room");
    assert_int_equal(engine_session_count(s), 0); /* those of layers that see all are taken first */
    e->pages.n.max_bytes = bytes_of(e, N / 64 + 1, 3) + session_bytes(other, 64);
    assert_status(engine_session_feed(s, ids, N, &err), MUGA_E_LIMIT, &err, "no room");
    assert_int_equal(engine_session_count(s), 192);
    assert_null(engine_session_logits(s));
    assert_memory_equal(engine_session_ids(s), ids, 192 * sizeof *ids);
    assert_whole(e, s);
    e->pages.n.max_bytes = bytes_of(e, N / 64 + 1, MOST + 1);
    engine_session_free(other);
    feed(s, ids + 192, N - 192);
    assert_row(s, want);
    assert_whole(e, s);
    engine_session_free(s);
    engine_free(e);
    free(want);
}

static engine_session *sharing(engine *e) {
    engine_session *s = session_of(e, N_CTX);
    muga_error err = {0};
    assert_ok(engine_session_share(s, "t", &err), &err);
    return s;
}

/* A page that its session has let go is the cache's to give up, alone: then nobody goes on where it would be seen, but
 * further down, until somebody computes it again. Bits are the same all the while. */
static void what_the_cache_gave_up_is_not_missed(void **state) {
    (void)state;
    float *want = wanted(N, KERNEL_KV_F16), *want_less = wanted(300, KERNEL_KV_F16);
    engine *e = open_batch(64, KERNEL_KV_F16, 0);
    engine_session *s = sharing(e), *t = sharing(e);
    feed(s, ids, N);
    engine_kv_counts n = engine_get_kv_counts(e);
    uint32_t n_gone = session_dropped(s, WINDOWED);
    assert_true(n_gone > 15);
    assert_int_equal(n.idle, n_gone);
    assert_int_equal(n.idle_bytes, bytes_of(e, 0, n_gone));
    assert_int_equal(engine_session_adopt(t, ids, 300), 299);
    feed(t, ids + 299, 1);
    assert_row(t, want_less);
    engine_session_free(t);

    while (prefix_evict(e->prefix)) {}
    assert_int_equal(engine_get_kv_counts(e).idle, 0); /* s holds all that is left */
    t = sharing(e);
    assert_int_equal(engine_session_adopt(t, ids, 300), 0);
    assert_int_equal(engine_session_adopt(t, ids, N), N / 64 * 64);
    assert_int_equal(session_dropped(t, WINDOWED), n_gone); /* what there is: less than it would keep */
    assert_whole(e, t);
    feed(t, ids + N / 64 * 64, N % 64);
    assert_row(t, want);
    engine_session_truncate(t, 0);
    feed(t, ids, 300); /* fills the gaps */
    assert_row(t, want_less);
    assert_whole(e, t);
    assert_int_equal(engine_get_kv_counts(e).in_use,
                     N / 64 + 1 + (N / 64 + 1 - n_gone) + (5 - session_dropped(t, 1)) + 1);
    engine_session_free(t);
    t = sharing(e);
    assert_int_equal(engine_session_adopt(t, ids, 301), 300);
    feed(t, ids + 300, N - 300);
    assert_row(t, want);
    engine_session_free(s);
    engine_session_free(t);
    while (prefix_evict(e->prefix)) {}
    n = engine_get_kv_counts(e);
    assert_int_equal(n.in_use + n.idle + n.cached + n.in_use_bytes + n.idle_bytes, 0);
    engine_free(e);
    free(want);
    free(want_less);
}

/* A file holds the pages that the session has, of both kinds; one that leaves out more than that is refused. */
static void a_saved_session_holds_both_kinds(void **state) {
    (void)state;
    static const char digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const os_files *files = &os_system()->files;
    float *want = wanted(N, KERNEL_KV_Q8);
    engine *e = open_batch(BATCH, KERNEL_KV_Q8, 0);
    engine_session *s = session_of(e, N_CTX), *t = session_of(e, N_CTX);
    str bytes = STR_INIT, note = STR_INIT;
    muga_error err = {0};
    feed(s, ids, 1000);
    assert_ok(saved_write(s, files, scratch_path("both.session"), digest, "", 0, &err), &err);
    assert_ok(saved_read(t, files, scratch_path("both.session"), digest, &note, &err), &err);
    assert_int_equal(session_dropped(t, WINDOWED), session_dropped(s, WINDOWED));
    assert_whole(e, t);
    feed(t, ids + 1000, N - 1000);
    assert_row(t, want);

    assert_ok(os_read_file(files, scratch_path("both.session"), 1 << 24, &bytes, &err), &err);
    assert_true(bytes.len < bytes_of(e, 16, MOST) + 8192);
    const size_t i_dropped[] = {36, 40};
    for (size_t k = 0; k < ARRAY_LEN(i_dropped); k++) {
        char *p = bytes.data + i_dropped[k], before = *p;
        *p = (char)(before + (k ? 4 : 1));
        sha256_of(bytes.data, bytes.len - SHA256_BYTES, (uint8_t *)bytes.data + bytes.len - SHA256_BYTES);
        assert_ok(os_write_file_atomic(files, scratch_path("less.session"), bytes.data, bytes.len, &err), &err);
        engine_session_truncate(t, 0);
        assert_status(saved_read(t, files, scratch_path("less.session"), digest, &note, &err), MUGA_E_INPUT, &err,
                      "leaves out its first pages");
        *p = before;
    }
    engine_session_free(s);
    engine_session_free(t);
    engine_free(e);
    str_release(&bytes);
    str_release(&note);
    free(want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_session_holds_few_pages_of_layers_with_a_window),
        cmocka_unit_test(a_feed_that_finds_no_page_stands_before_the_batch),
        cmocka_unit_test(what_the_cache_gave_up_is_not_missed),
        cmocka_unit_test(a_saved_session_holds_both_kinds),
    };
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
