/* If this fails, keys and values cost more memory than their limit, a page leaks, is given out with another sequence's
 * bytes in it, or is written while two sequences read it. */
#include "support/engine_fixture.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/internal.h"
#include "engine/pages.h"

enum { N_PAGES = 24, HEADS = 128, LIMIT = 10 * (1000 + HEADS) + 5 };

static const size_t bytes_of[MODEL_MAX_KINDS] = {1000, 2900};

/* What a random test believes: page i of `page` is held refs[i] times, cached or not, and filled with byte `fill`. */
typedef struct shadow {
    page_pool pool;
    void *page[N_PAGES];
    uint32_t kind[N_PAGES], refs[N_PAGES];
    bool cached[N_PAGES], idle[N_PAGES]; /* idle: as the cache was told */
    uint8_t fill[N_PAGES];
} shadow;

static bool evict_one(void *ctx) {
    shadow *s = ctx;
    for (int i = 0; i < N_PAGES; i++)
        if (s->page[i] && s->refs[i] == 0) {
            assert_true(pages_is_idle(s->page[i]));
            pages_clear_cached(&s->pool, s->page[i]);
            s->page[i] = NULL;
            s->cached[i] = s->idle[i] = false;
            return true;
        }
    return false;
}

static int find(const shadow *s, bool used) {
    for (int i = 0; i < N_PAGES; i++)
        if ((s->page[i] != NULL) == used)
            return i;
    return -1;
}

static void assert_filled(const void *page, uint32_t kind, uint8_t with) {
    const uint8_t *p = page;
    for (size_t i = 0; i < bytes_of[kind]; i++)
        assert_int_equal(p[i], with);
}

static void take(shadow *s, uint32_t kind, rng *r) {
    void *page = NULL;
    muga_error err = {0};
    uint64_t room = pages_room(&s->pool);
    muga_status st = pages_take(&s->pool, kind, &page, &err);
    if (room < bytes_of[kind] + HEADS) {
        assert_status(st, MUGA_E_LIMIT, &err, "MiB");
        return;
    }
    assert_ok(st, &err);
    assert_filled(page, kind, 0);
    int i = find(s, false);
    assert_true(i >= 0 && pages_is_private(page) && (uintptr_t)page % 64 == 0);
    s->page[i] = page;
    s->kind[i] = kind;
    s->refs[i] = 1;
    s->fill[i] = 0;
    if (rng_below(r, 2)) {
        pages_mark_written(&s->pool, page);
        s->fill[i] = (uint8_t)(1 + rng_below(r, 255));
        memset(page, s->fill[i], bytes_of[kind]);
    }
}

static void drop(shadow *s, int i) {
    pages_unref(&s->pool, s->page[i]);
    if (--s->refs[i] == 0 && !s->cached[i])
        s->page[i] = NULL;
}

static void copy(shadow *s, int i) {
    muga_error err = {0};
    void *page = s->page[i];
    if (pages_room(&s->pool) < bytes_of[s->kind[i]] + HEADS)
        return;
    assert_ok(pages_copy(&s->pool, &page, &err), &err);
    assert_true(page != s->page[i] && pages_is_private(page));
    assert_filled(page, s->kind[i], s->fill[i]);
    if (--s->refs[i] == 0)
        pages_unref(&s->pool, page); /* the copy of one that was the cache's: nothing to keep */
    else {
        int k = find(s, false);
        assert_true(k >= 0);
        s->page[k] = page;
        s->kind[k] = s->kind[i];
        s->refs[k] = 1;
        s->fill[k] = s->fill[i];
    }
}

static void on_idle(void *ctx, void *entry, bool is_idle) {
    (void)ctx;
    bool *was = entry;
    assert_true(*was != is_idle);
    *was = is_idle;
}

static void compare(shadow *s) {
    engine_kv_counts want = {0};
    for (int k = 0; k < N_PAGES; k++) {
        uint64_t bytes = s->page[k] ? bytes_of[s->kind[k]] + HEADS : 0;
        want.in_use += s->refs[k] > 0;
        want.in_use_bytes += s->refs[k] > 0 ? bytes : 0;
        want.shared += s->refs[k] > 1;
        want.cached += s->cached[k];
        want.idle += s->page[k] && s->refs[k] == 0;
        want.idle_bytes += s->refs[k] == 0 ? bytes : 0;
        assert_int_equal(s->idle[k], s->page[k] && s->refs[k] == 0);
        if (s->page[k])
            assert_int_equal(pages_is_private(s->page[k]), s->refs[k] == 1 && !s->cached[k]);
    }
    assert_int_equal(s->pool.n.in_use, want.in_use);
    assert_int_equal(s->pool.n.in_use_bytes, want.in_use_bytes);
    assert_int_equal(s->pool.n.shared, want.shared);
    assert_int_equal(s->pool.n.cached, want.cached);
    assert_int_equal(s->pool.n.idle, want.idle);
    assert_int_equal(s->pool.n.idle_bytes, want.idle_bytes);
    assert_true(pages_check(&s->pool));
}

/* Of one kind, and of two that share the limit. */
static void the_pool_is_what_a_list_of_its_pages_says(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        uint32_t n_kinds = 1 + seed % 2;
        shadow s = {0};
        rng r = {seed};
        pages_init(&s.pool);
        pages_set_size(&s.pool, n_kinds, bytes_of, LIMIT);
        s.pool.evict = evict_one;
        s.pool.on_idle = on_idle;
        s.pool.cache = &s;
        assert_int_equal(s.pool.n.max_bytes, LIMIT);
        for (int step = 0; step < 2000; step++) {
            int i = (int)rng_below(&r, N_PAGES);
            uint32_t what = rng_below(&r, 6);
            if (what == 0)
                take(&s, rng_below(&r, n_kinds), &r);
            else if (s.page[i] && what == 1) {
                pages_ref(&s.pool, s.page[i]);
                s.refs[i]++;
            } else if (s.page[i] && what <= 3 && s.refs[i] > 0)
                drop(&s, i);
            else if (s.page[i] && what == 4 && s.refs[i] > 0 && !s.cached[i]) {
                pages_set_cached(&s.pool, s.page[i], &s.idle[i]);
                s.cached[i] = true;
            } else if (s.page[i] && what == 5 && (s.refs[i] > 1 || (s.refs[i] > 0 && s.cached[i])))
                copy(&s, i);
            compare(&s);
        }
        for (int i = 0; i < N_PAGES; i++)
            while (s.page[i] && s.refs[i] > 0)
                drop(&s, i);
        while (evict_one(&s)) {}
        assert_int_equal(s.pool.n.in_use + s.pool.n.idle + s.pool.n.cached, 0);
        assert_true(s.pool.n.n_copied > 0 && s.pool.n.n_evicted > 0 && s.pool.n.n_refused > 0);
        uint64_t most = s.pool.n.high_water_bytes;
        assert_true(n_kinds == 1 ? most == 10 * (1000 + HEADS) : most > LIMIT - 1000 && most <= LIMIT);
        pages_release(&s.pool);
    }
}

static int32_t ids[1024];

static int make_ids(void **state) {
    (void)state;
    rng r = {9};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        ids[i] = (int32_t)rng_below(&r, 400);
    return 0;
}

/* A limit of five pages: what fits is the same as without one, what doesn't is refused with the numbers and changes
 * nothing, and room that was given back is there again. */
/* Pages whose memory is found ahead are free ones like others: taken first, within the limit, their bytes zero. */
static void memory_that_was_found_ahead_is_taken_first(void **state) {
    (void)state;
    enum { MOST = 5, READY = 2 };
    const size_t bytes = 8192;
    page_pool p;
    muga_error err = {0};
    void *page[MOST];
    pages_init(&p);
    pages_set_size(&p, 1, &bytes, MOST * (bytes + 128));
    for (uint32_t i = 0; i < 2 * READY; i++)
        assert_true(pages_get_ready(&p, READY) == (i < READY));
    assert_int_equal(p.n.free, READY);
    assert_int_equal(p.n.in_use, 0);
    for (uint32_t i = 0; i < MOST; i++) {
        pthread_mutex_lock(&p.lock);
        assert_ok(pages_take(&p, 0, &page[i], &err), &err);
        pthread_mutex_unlock(&p.lock);
        assert_int_equal(p.n.free, i < READY ? READY - 1 - i : 0);
        for (size_t k = 0; k < bytes; k++)
            assert_int_equal(((uint8_t *)page[i])[k], 0);
    }
    assert_false(pages_get_ready(&p, READY)); /* there's no room */
    for (uint32_t i = 0; i < MOST; i++) {
        pages_mark_written(&p, page[i]);
        memset(page[i], 7, bytes);
        pages_unref(&p, page[i]);
    }
    for (uint32_t i = 0; i < 2 * READY; i++) /* what was used before is cleared */
        assert_true(pages_get_ready(&p, READY) == (i < READY));
    assert_int_equal(p.n.free, MOST);
    assert_true(pages_check(&p));
    assert_ok(pages_take(&p, 0, &page[0], &err), &err);
    for (size_t k = 0; k < bytes; k++)
        assert_int_equal(((uint8_t *)page[0])[k], 0);
    pages_unref(&p, page[0]);
    pages_release(&p);
}

static void sessions_keep_to_the_limit(void **state) {
    (void)state;
    engine *e = open_plain();
    uint64_t page = engine_get_kv_counts(e).page_bytes;
    assert_int_equal(engine_get_options(e)->kv_bytes, os_memory_bytes() / 2);
    engine_free(e);
    e = open_with((engine_options){.isa = -1, .n_threads = 1, .kv_bytes = 5 * page});
    muga_error err = {0};
    engine_session *a = session_of(e, 1024), *b = session_of(e, 1024), *c;
    feed(a, ids, 200); /* four pages */
    feed(b, ids, 64);
    assert_int_equal(engine_get_kv_counts(e).in_use, 5);
    assert_status(engine_session_feed(b, ids, 1, &err), MUGA_E_LIMIT, &err, "raise the limit");
    assert_int_equal(engine_session_count(b), 64);
    feed(a, ids + 200, 56);
    engine_session_truncate(b, 0);
    assert_status(engine_session_reserve(b, 65, &err), MUGA_E_LIMIT, &err, "MiB");
    assert_int_equal(engine_get_kv_counts(e).in_use, 4); /* the page there was room for is given back */
    feed(b, ids, 64);
    assert_ok(engine_session_fork(a, &c, &err), &err);
    engine_session_truncate(a, 250); /* its last page is shared, so going on needs a copy, and there is no room */
    assert_status(engine_session_feed(a, ids, 1, &err), MUGA_E_LIMIT, &err, "MiB");
    assert_int_equal(engine_session_count(a), 250);
    assert_int_equal(engine_get_kv_counts(e).shared, 4);
    engine_session_free(b);
    feed(a, ids, 1);
    engine_kv_counts n = engine_get_kv_counts(e);
    assert_int_equal(n.n_copied, 1);
    assert_int_equal(n.n_refused, 3);
    assert_int_equal(n.high_water_bytes, 5 * page);
    engine_session_free(a);
    engine_session_free(c);
    n = engine_get_kv_counts(e);
    assert_int_equal(n.in_use + n.shared + n.cached + n.idle, 0);
    engine_free(e);
}

/* Pages that were another session's are as good as new ones. */
static void a_page_that_was_used_before_changes_no_logit(void **state) {
    (void)state;
    engine *e = open_plain();
    size_t row = engine_params(e)->n_vocab * sizeof(float);
    float *want = malloc(row);
    engine_session *s = session_of(e, 512);
    feed(s, ids, 300);
    memcpy(want, engine_session_logits(s), row);
    engine_session_free(s);
    assert_true(engine_get_kv_counts(e).free > 0);
    s = session_of(e, 512);
    feed(s, ids + 64, 500);
    engine_session_free(s);
    s = session_of(e, 512);
    feed(s, ids, 300);
    assert_memory_equal(engine_session_logits(s), want, row);
    engine_session_free(s);
    engine_free(e);
    free(want);
}

/* Every layer sees 20 positions, so 500 tokens go through a limit of 5 pages where all would need 8. What is computed
 * is what a session computes in one batch, which lets nothing go before it is over; forks too. Cut back a little it
 * goes on; cut back to where it would see what is gone it is empty, and common says so before. */
static void a_window_leaves_its_pages_behind(void **state) {
    (void)state;
    const char *window = "llama.attention.sliding_window=int:20";
    engine_options o = {.isa = -1, .n_threads = 1, .overrides = &window, .n_overrides = 1};
    o.n_batch = 512;
    engine *e = open_with(o);
    size_t row = engine_params(e)->n_vocab * sizeof(float);
    float *want = malloc(row), *want_less = malloc(row);
    muga_error err = {0};
    assert_true(want && want_less);
    engine_session *s = session_of(e, 512);
    feed(s, ids, 420);
    memcpy(want_less, engine_session_logits(s), row);
    engine_session_truncate(s, 0);
    feed(s, ids, 500);
    memcpy(want, engine_session_logits(s), row);
    o.kv_bytes = 5 * engine_get_kv_counts(e).page_bytes + 1;
    assert_int_equal(engine_get_kv_counts(e).high_water_bytes, 8 * engine_get_kv_counts(e).page_bytes);
    engine_session_free(s);
    engine_free(e);

    o.n_batch = 60;
    e = open_with(o);
    s = session_of(e, 512);
    feed(s, ids, 420); /* pages are taken and let go batch by batch */
    assert_memory_equal(engine_session_logits(s), want_less, row);
    for (uint32_t at = 420; at < 500; at += 16)
        feed(s, ids + at, 16);
    assert_memory_equal(engine_session_logits(s), want, row);
    assert_int_equal(engine_get_kv_counts(e).in_use, 3); /* 500 - 128 - 19 is in the sixth page */
    assert_true(session_check(s));

    engine_session *fork = NULL;
    assert_ok(engine_session_fork(s, &fork, &err), &err);
    assert_int_equal(engine_session_common(s, ids, 420), 420);
    engine_session_truncate(fork, 419);
    feed(fork, ids + 419, 1);
    assert_memory_equal(engine_session_logits(fork), want_less, row);
    engine_session_free(fork);

    assert_int_equal(engine_session_common(s, ids, 500), 500);
    assert_int_equal(engine_session_common(s, ids, 339), 0);
    engine_session_truncate(s, 338);
    assert_int_equal(engine_session_count(s), 0);
    assert_int_equal(engine_get_kv_counts(e).in_use, 0);
    for (uint32_t at = 0; at < 420; at += 60)
        feed(s, ids + at, 60);
    assert_memory_equal(engine_session_logits(s), want_less, row);
    engine_session_free(s);
    engine_free(e);
    free(want);
    free(want_less);
}

/* A session whose first page is gone, cut back to the last place from which none of it is seen: the row before that
 * can't be computed again, so the whole sequence is, and the answer is that of a new session. The same for the session
 * of a draft model. */
static void what_is_cut_back_to_its_edge_begins_again(void **state) {
    (void)state;
    enum { EDGE = 64 + 20 - 1, GROWN = EDGE + 128 };
    const char *window = "llama.attention.sliding_window=int:20";
    engine *e = open_with((engine_options){.isa = -1, .n_threads = 1, .overrides = &window, .n_overrides = 1});
    sampler_settings greedy = SAMPLER_GREEDY;
    engine_generated made[3];
    muga_error err = {0};
    for (int i = 0; i < 3; i++) {
        engine_session *s = session_of(e, 512), *draft = session_of(e, 512);
        engine_session *grown = i == 1 ? s : draft;
        feed(grown, ids, GROWN);
        assert_int_equal(session_dropped(grown, 0), 1);
        engine_session_truncate(grown, EDGE);
        assert_int_equal(engine_session_count(grown), EDGE);
        engine_generate_args a = {.session = s,
                                  .prompt = ids,
                                  .n_prompt = EDGE,
                                  .sampling = &greedy,
                                  .max_tokens = i == 2 ? 2 : 12,
                                  .ignore_end = true};
        if (i == 2) { /* nearly there, so that it is worth to guess */
            feed(s, ids, EDGE - 1);
            a.drafts = (engine_drafts){.kind = ENGINE_DRAFTS_MODEL, .eager = true, .session = draft};
        }
        assert_ok(engine_generate(&a, &made[i], &err), &err);
        assert_memory_equal(engine_session_ids(s), ids, EDGE * sizeof *ids);
        assert_memory_equal(engine_session_ids(grown), ids, EDGE * sizeof *ids);
        assert_memory_equal(made[i].ids.ids, made[0].ids.ids, made[i].ids.n * sizeof *ids);
        assert_int_equal(made[i].n_accepted, i == 2);
        engine_session_free(draft);
        engine_session_free(s);
    }
    for (int i = 0; i < 3; i++)
        engine_generated_release(&made[i]);
    engine_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pool_is_what_a_list_of_its_pages_says),
        cmocka_unit_test(memory_that_was_found_ahead_is_taken_first),
        cmocka_unit_test(sessions_keep_to_the_limit),
        cmocka_unit_test(a_page_that_was_used_before_changes_no_logit),
        cmocka_unit_test(a_window_leaves_its_pages_behind),
        cmocka_unit_test(what_is_cut_back_to_its_edge_begins_again),
    };
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
