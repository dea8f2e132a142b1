/* If this fails, an answer depends on what was asked before it, one tenant's text can be told from another's cache, or
 * the cache keeps memory that sessions need.
 *
 * ctest: unthreaded (it starts none) */
#include "support/engine_fixture.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/internal.h"

enum { N = 330, PIECE = 40 }; /* pieces don't end where pages do */

/* Texts that begin alike in many ways: each piece is one of two. */
static void make_text(uint32_t choices, int32_t *out) {
    for (int i = 0; i < N; i++) {
        bool other = choices >> (i / PIECE) & 1;
        out[i] = (i * 7 + (other ? 101 : 13) * (i % 11)) % 400;
    }
}

static engine_session *sharing(engine *e, const char *tenant) {
    engine_session *s = session_of(e, 512);
    muga_error err = {0};
    assert_ok(engine_session_share(s, tenant, &err), &err);
    return s;
}

static void assert_counts(engine *e) {
    assert_true(pages_check(&e->pages));
    assert_true(prefix_check(e->prefix));
}

static void a_hit_changes_no_logit(void **state) {
    (void)state;
    engine *e = open_plain();
    size_t row = engine_params(e)->n_vocab * sizeof(float);
    int32_t text[N], other[N];
    make_text(0, text);
    make_text(1u << 5, other); /* parts at token 200, inside the fourth page */
    engine_session *plain = session_of(e, 512), *first = sharing(e, "a"), *second = sharing(e, "a");
    assert_int_equal(engine_session_adopt(first, text, N), 0);
    feed(first, text, N);
    feed(plain, text, N);
    assert_memory_equal(engine_session_logits(first), engine_session_logits(plain), row);
    assert_int_equal(engine_session_adopt(second, text, N), 5 * 64); /* while the first still runs */
    assert_null(engine_session_logits(second));
    assert_int_equal(engine_get_kv_counts(e).shared, 5);
    feed(second, text + 320, N - 320);
    assert_memory_equal(engine_session_logits(second), engine_session_logits(plain), row);
    engine_session_free(first);
    engine_session_free(second);
    second = sharing(e, "a");
    assert_int_equal(engine_session_adopt(second, text, N), N - 1); /* the tail was kept, too; the last is computed */
    feed(second, text + N - 1, 1);
    assert_memory_equal(engine_session_logits(second), engine_session_logits(plain), row);
    engine_session_free(second);
    second = sharing(e, "a");
    assert_int_equal(engine_session_adopt(second, other, N), 200);
    feed(second, other + 200, N - 200);
    engine_session_truncate(plain, 0);
    feed(plain, other, N);
    assert_memory_equal(engine_session_logits(second), engine_session_logits(plain), row);
    assert_int_equal(engine_session_adopt(second, text, 0), 0);
    assert_int_equal(engine_session_adopt(second, text, N), 0); /* it stands inside a page */
    engine_session_free(second);
    second = sharing(e, "a");
    other[193]++;
    assert_int_equal(engine_session_adopt(second, other, N), 193); /* one token of a page is worth its copy */
    feed(second, other + 193, N - 193);
    engine_session_truncate(plain, 0);
    feed(plain, other, N);
    assert_memory_equal(engine_session_logits(second), engine_session_logits(plain), row);
    assert_counts(e);
    engine_session_free(plain);
    engine_session_free(second);
    assert_int_equal(engine_get_kv_counts(e).in_use, 0);
    engine_free(e);
}

static void tenants_and_strangers_get_nothing(void **state) {
    (void)state;
    engine *e = open_plain();
    int32_t text[N];
    make_text(0, text);
    muga_error err = {0};
    engine_session *a = sharing(e, "a"), *b = sharing(e, "b"), *none = sharing(e, ""), *alone = session_of(e, 512);
    feed(a, text, N);
    assert_int_equal(engine_session_adopt(b, text, N), 0);
    assert_int_equal(engine_session_adopt(none, text, N), 0);
    assert_int_equal(engine_session_adopt(alone, text, N), 0);
    feed(b, text, N);
    assert_int_equal(engine_get_kv_counts(e).shared, 0);
    assert_status(engine_session_share(a, "b", &err), MUGA_E_USAGE, &err, "empty");
    engine_session *late = session_of(e, 64);
    feed(late, text, 3);
    assert_status(engine_session_share(late, "b", &err), MUGA_E_USAGE, &err, "empty");
    engine_session_truncate(late, 0);
    char name[300];
    memset(name, 'x', sizeof name);
    name[256] = 0;
    assert_status(engine_session_share(late, name, &err), MUGA_E_USAGE, &err, "255");
    name[255] = 0;
    assert_ok(engine_session_share(late, name, &err), &err);
    engine_session *all[] = {a, b, none, alone, late};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        engine_session_free(all[i]);
    assert_counts(e);
    engine_free(e);
}

/* What is kept for nobody stays within a limit in bytes and one in positions. */
static void idle_pages_keep_to_both_limits(void **state) {
    (void)state;
    engine_options o = {.isa = -1, .n_threads = 1, .cache_tokens = 3 * 64 + 5};
    for (uint64_t n_left = 3; n_left >= 2; n_left--) {
        engine *e = open_with(o);
        int32_t text[N];
        make_text(0, text);
        engine_session *s = sharing(e, "");
        feed(s, text, N);
        assert_int_equal(engine_get_kv_counts(e).cached, 5);
        engine_session_free(s);
        assert_int_equal(engine_get_kv_counts(e).idle, n_left);
        assert_counts(e);
        o.cache_bytes = 2 * engine_get_kv_counts(e).page_bytes;
        engine_free(e);
    }
}

static void two_that_computed_the_same_hold_it_once(void **state) {
    (void)state;
    engine *e = open_plain();
    int32_t text[N];
    make_text(0, text);
    engine_session *a = sharing(e, "a"), *b = sharing(e, "a");
    engine_item items[] = {{.session = a, .ids = text, .n = N}, {.session = b, .ids = text, .n = N}};
    muga_error err = {0};
    assert_ok(engine_step(e, items, 2, &err), &err);
    assert_int_equal(engine_get_kv_counts(e).shared, 5);
    assert_int_equal(engine_get_kv_counts(e).in_use, 7);
    assert_memory_equal(engine_session_logits(a), engine_session_logits(b), engine_params(e)->n_vocab * sizeof(float));
    engine_session_free(a);
    engine_session_free(b);
    engine_free(e);
}

static bool check_session(void *ctx, const char *p, size_t n) {
    (void)p;
    return n > 0 && session_check(ctx);
}

/* Guesses that were wrong may have filled a page, which the cache then has. */
static void wrong_guesses_leave_nothing_behind(void **state) {
    (void)state;
    engine *e = open_plain();
    sampler_settings set = SAMPLER_GREEDY;
    uint32_t n_wrong = 0;
    set.temperature = 1.5f;
    for (uint32_t n = 20; n < 80; n++) {
        int32_t text[N];
        for (uint32_t i = 0; i < n; i++)
            text[i] = (int32_t)(40 + i % 3);
        engine_generated out[2];
        for (int k = 0; k < 2; k++) {
            engine_session *s = k ? sharing(e, "a") : session_of(e, 512);
            engine_generate_args a = {.session = s,
                                      .prompt = text,
                                      .n_prompt = n,
                                      .sampling = &set,
                                      .max_tokens = 60,
                                      .ignore_end = true,
                                      .drafts = {.kind = ENGINE_DRAFTS_NGRAM, .eager = true},
                                      .on_text = check_session,
                                      .on_text_ctx = s};
            muga_error err = {0};
            set.seed = n;
            assert_ok(engine_generate(&a, &out[k], &err), &err);
            assert_int_equal(out[k].finish, ENGINE_LENGTH); /* else check_session said no */
            assert_true(session_check(s));
            n_wrong += out[k].n_drafted - out[k].n_accepted;
            engine_session_free(s);
            assert_counts(e);
        }
        assert_int_equal(out[0].ids.n, out[1].ids.n);
        assert_memory_equal(out[0].ids.ids, out[1].ids.ids, out[0].ids.n * sizeof(int32_t));
        engine_generated_release(&out[0]);
        engine_generated_release(&out[1]);
    }
    assert_true(n_wrong > 500);
    engine_free(e);
}

/* ---- anything, in any order, under a limit ---- */

enum { N_SESSIONS = 6, N_TEXTS = 8 };

typedef struct world {
    engine *e;
    engine_session *s[N_SESSIONS];
    uint32_t text[N_SESSIONS]; /* which one it holds a beginning of */
    float *want;               /* [N_TEXTS][N][n_vocab] */
    size_t n_vocab;
    uint32_t n_adopted, n_refused;
} world;

typedef struct rows {
    float *to;
    size_t n_vocab;
} rows;

static void keep(void *ctx, uint32_t pos, const float *logits) {
    rows *r = ctx;
    memcpy(r->to + pos * r->n_vocab, logits, r->n_vocab * sizeof *logits);
}

/* Of models without windows, with one in some layers, and with one in all. */
static engine *open_kind(int kind, engine_options o) {
    static const char *const window[] = {"llama.attention.sliding_window=int:20"};
    o.isa = -1;
    o.n_threads = 1;
    o.overrides = window;
    o.n_overrides = kind == 2;
    return kind == 1 ? open_windowed(o) : open_with(o);
}

static void make_world(world *w, int kind, int32_t text[N_TEXTS][N], uint64_t kv_pages, uint64_t cache_pages) {
    engine *e = open_kind(kind, (engine_options){.n_batch = N}); /* nothing is let go before all is computed */
    uint64_t page = engine_get_kv_counts(e).page_bytes;
    muga_error err = {0};
    w->n_vocab = engine_params(e)->n_vocab;
    w->want = mem_alloc_array(N_TEXTS * N, w->n_vocab * sizeof(float));
    for (uint32_t i = 0; i < N_TEXTS; i++) {
        rows r = {w->want + i * N * w->n_vocab, w->n_vocab};
        engine_session *s = session_of(e, 512);
        engine_item it = {
            .session = s, .ids = text[i], .n = N, .want = ENGINE_LOGITS_ALL, .on_logits = keep, .on_logits_ctx = &r};
        assert_ok(engine_step(e, &it, 1, &err), &err);
        engine_session_free(s);
    }
    engine_free(e);
    w->e = open_kind(kind, (engine_options){.kv_bytes = kv_pages * page, .cache_bytes = cache_pages * page});
}

static void go_on(world *w, int i, const int32_t *text, uint32_t n) {
    muga_error err = {0};
    uint32_t held = engine_session_count(w->s[i]);
    n = MIN(n, N - held);
    if (n == 0)
        return;
    uint32_t got = engine_session_adopt(w->s[i], text + held, n);
    w->n_adopted += got;
    muga_status st = engine_session_feed(w->s[i], text + held + got, n - got, &err);
    if (st) {
        assert_status(st, MUGA_E_LIMIT, &err, "raise the limit");
        w->n_refused++;
        return;
    }
    assert_memory_equal(engine_session_logits(w->s[i]), w->want + (w->text[i] * N + held + n - 1) * w->n_vocab,
                        w->n_vocab * sizeof(float));
}

static void random_step(world *w, rng *r, int32_t text[N_TEXTS][N]) {
    int i = (int)rng_below(r, N_SESSIONS), k = (int)rng_below(r, N_SESSIONS);
    muga_error err = {0};
    uint32_t what = rng_below(r, 8);
    if (!w->s[i]) {
        w->s[i] = sharing(w->e, "t");
        w->text[i] = rng_below(r, N_TEXTS);
    }
    if (what < 4)
        go_on(w, i, text[w->text[i]], 1 + rng_below(r, what ? 150 : 3));
    else if (what == 4)
        engine_session_truncate(w->s[i], rng_below(r, engine_session_count(w->s[i]) + 1));
    else if (what == 5 && !w->s[k]) {
        assert_ok(engine_session_fork(w->s[i], &w->s[k], &err), &err);
        w->text[k] = w->text[i];
    } else if (what == 6) {
        engine_session_free(w->s[i]);
        w->s[i] = NULL;
    }
    for (int j = 0; j < N_SESSIONS; j++)
        assert_true(!w->s[j] || session_check(w->s[j]));
    assert_counts(w->e);
    engine_kv_counts n = engine_get_kv_counts(w->e);
    assert_true(n.in_use_bytes + n.idle_bytes + n.free_bytes <= n.max_bytes);
}

static void sessions_in_any_order_have_their_own_logits(void **state) {
    (void)state;
    int32_t text[N_TEXTS][N];
    const uint64_t kv_pages[] = {12, 40, 1000}, cache_pages[] = {12, 3, 1000};
    for (uint32_t i = 0; i < N_TEXTS; i++)
        make_text(i * 37, text[i]);
    for (uint64_t k = 0; k < 9; k++) {
        uint64_t seed = k / 3;
        world w = {0};
        rng r = {k};
        make_world(&w, (int)(k % 3), text, kv_pages[seed], cache_pages[seed]);
        for (int step = 0; step < 700; step++)
            random_step(&w, &r, text);
        for (int i = 0; i < N_SESSIONS; i++)
            engine_session_free(w.s[i]);
        engine_kv_counts n = engine_get_kv_counts(w.e);
        assert_int_equal(n.in_use, 0);
        assert_int_equal(n.cached, n.idle);
        assert_true(n.idle_bytes <= cache_pages[seed] * n.page_bytes);
        assert_true(w.n_adopted > 1000 && n.n_copied > 0);
        assert_true((seed == 0) == (n.n_evicted > 0));
        assert_true((seed == 0) == (w.n_refused > 0));
        assert_counts(w.e);
        engine_free(w.e);
        free(w.want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hit_changes_no_logit),
        cmocka_unit_test(tenants_and_strangers_get_nothing),
        cmocka_unit_test(idle_pages_keep_to_both_limits),
        cmocka_unit_test(two_that_computed_the_same_hold_it_once),
        cmocka_unit_test(wrong_guesses_leave_nothing_behind),
        cmocka_unit_test(sessions_in_any_order_have_their_own_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
