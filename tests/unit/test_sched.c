/* If this fails, what comes out of a request depends on who else asked and when; or a request is lost, starves, holds
 * pages it was to give back, or stops the others.
 *
 * Everything runs on tests/data/tiny.gguf, and some of it on a model with a window in some layers. A request's answer
 * is compared with engine_generate's alone: ids, text, and a digest of every row that a choice was made from. */
#include "support/engine_fixture.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/internal.h"
#include "engine/sched.h"

#include <pthread.h>
#include <stdio.h>

enum { MAX_PROMPT = 440, N_CTX = 640 };

/* One request and what came of it. */
typedef struct ask {
    int32_t prompt[MAX_PROMPT];
    uint32_t n_prompt;
    sampler_settings sampling;
    uint32_t max_tokens;
    int priority;
    const char *tenant, *regex;
    const char *stop[1];
    engine_drafts drafts;
    sched *cancel_in; /* cancels itself after so many texts */
    uint32_t cancel_after;
    struct ask *of; /* what it forks; NULL = nothing. `prompt` is what follows then, until whole_prompt */
    sched_fork_from from;

    uint64_t id;
    uint32_t n_done, n_texts, n_rows;
    constrain_grammar *grammar;
    constrain_state *state;
    sha256 rows;
    size_t n_vocab;
    muga_status status;
    char message[256];
    str text;
    token_list ids;
    engine_finish finish;
    uint32_t n_all, n_adopted, n_preempted; /* n_all: tokens before the answer */
} ask;

static void on_choice(void *ctx, uint32_t pos, const float *logits) {
    ask *a = ctx;
    sha256_update(&a->rows, &pos, sizeof pos);
    sha256_update(&a->rows, logits, a->n_vocab * sizeof *logits);
    a->n_rows++;
}

static bool on_text(void *ctx, const char *p, size_t n) {
    ask *a = ctx;
    (void)p;
    (void)n;
    a->n_texts++;
    if (a->cancel_in && a->n_texts == a->cancel_after)
        assert_true(sched_cancel(a->cancel_in, a->id));
    return a->cancel_in || a->n_texts != a->cancel_after;
}

static void on_done(void *ctx, const sched_result *r) {
    ask *a = ctx;
    a->n_done++;
    a->status = r->status;
    snprintf(a->message, sizeof a->message, "%s", r->message);
    a->text = r->answer->text;
    a->ids = r->answer->ids;
    a->finish = r->answer->finish;
    a->n_all = r->n_prompt;
    a->n_adopted = r->n_adopted;
    a->n_preempted = r->n_preempted;
    r->answer->text = (str){0};
    r->answer->ids = (token_list){0};
}

static void release(ask *a) {
    str_release(&a->text);
    token_list_release(&a->ids);
    constrain_state_free(a->state);
    constrain_grammar_free(a->grammar);
    a->state = NULL;
    a->grammar = NULL;
}

static engine_generate_args args_of(engine *e, ask *a) {
    muga_error err = {0};
    sha256_init(&a->rows);
    a->n_vocab = engine_params(e)->n_vocab;
    if (a->regex) {
        assert_ok(constrain_compile_regex(a->regex, &a->grammar, &err), &err);
        assert_ok(constrain_state_new(a->grammar, &a->state, &err), &err);
    }
    return (engine_generate_args){.prompt = a->prompt,
                                  .n_prompt = a->n_prompt,
                                  .sampling = &a->sampling,
                                  .max_tokens = a->max_tokens,
                                  .stop = a->stop,
                                  .n_stop = a->stop[0] ? 1 : 0,
                                  .constraint = a->state,
                                  .drafts = a->drafts,
                                  .on_text = on_text,
                                  .on_text_ctx = a,
                                  .on_choice = on_choice,
                                  .on_choice_ctx = a};
}

static muga_status submit(sched *s, engine *e, ask *a, muga_error *err) {
    sched_request r = {.generate = args_of(e, a), .priority = a->priority, .on_done = on_done, .on_done_ctx = a};
    if (a->of)
        return sched_fork(s, a->of->id, a->from, &r, &a->id, err);
    r.n_ctx = N_CTX;
    r.tenant = a->tenant;
    return sched_submit(s, &r, &a->id, err);
}

/* A fork's prompt becomes all that stood before its answer, as the request it forks tells. */
static void whole_prompt(ask *a) {
    const ask *of = a->of;
    int32_t own[MAX_PROMPT];
    assert_true(a->n_all >= of->n_prompt + a->n_prompt && a->n_all <= MAX_PROMPT);
    uint32_t n_taken = a->n_all - of->n_prompt - a->n_prompt;
    assert_true(n_taken <= of->ids.n && (n_taken == 0 || a->from == SCHED_FORK_ANSWER));
    memcpy(own, a->prompt, a->n_prompt * sizeof *own);
    memcpy(a->prompt, of->prompt, of->n_prompt * sizeof *own);
    if (n_taken)
        memcpy(a->prompt + of->n_prompt, of->ids.ids, n_taken * sizeof *own);
    memcpy(a->prompt + of->n_prompt + n_taken, own, a->n_prompt * sizeof *own);
    a->n_prompt = a->n_all;
}

/* A clock by which a step takes so long by its rows, and now and then much longer. */
typedef struct fake_clock {
    sched *s;
    uint32_t n_layer;
    uint64_t row_us; /* of a prompt; 0 = PROMPT_ROW_US */
    uint64_t late_us, n_reads;
    bool uneven;
} fake_clock;

/* SLOW: a piece of a prompt takes as many steps as it has layers. */
enum { STEP_US = 1000, PROMPT_ROW_US = 70, SLOW_ROW_US = 2000, ANSWER_ROW_US = 20 };

static uint64_t fake_us(void *self) {
    fake_clock *f = self;
    sched_counts n = sched_get_counts(f->s);
    f->late_us += f->uneven && ++f->n_reads % 23 == 0 ? 20000 : 0;
    uint64_t row_us = f->row_us ? f->row_us : PROMPT_ROW_US;
    return n.n_steps * STEP_US + n.n_prefill_rows * row_us + n.n_part_rows * row_us / f->n_layer +
           n.n_decode_rows * ANSWER_ROW_US + f->late_us;
}

/* The same request by itself, into a copy of it. */
static ask alone(engine *e, const ask *a) {
    ask copy = *a;
    copy.cancel_in = NULL;
    copy.n_texts = copy.n_rows = 0;
    copy.state = NULL;
    copy.grammar = NULL;
    engine_session *s = session_of(e, N_CTX);
    engine_generate_args g = args_of(e, &copy);
    engine_generated out;
    muga_error err = {0};
    g.on_choice_ctx = g.on_text_ctx = &copy;
    g.prompt = copy.prompt;
    g.sampling = &copy.sampling;
    g.session = s;
    copy.status = engine_generate(&g, &out, &err);
    copy.text = out.text;
    copy.ids = out.ids;
    copy.finish = out.finish;
    engine_session_free(s);
    return copy;
}

static void assert_as_alone(engine *e, ask *a) {
    ask want = alone(e, a);
    uint8_t x[SHA256_BYTES], y[SHA256_BYTES];
    assert_int_equal(a->n_done, 1);
    assert_int_equal(a->status, want.status);
    assert_int_equal(a->finish, want.finish);
    assert_int_equal(a->ids.n, want.ids.n);
    if (a->ids.n)
        assert_memory_equal(a->ids.ids, want.ids.ids, a->ids.n * sizeof *a->ids.ids);
    assert_string_equal(str_get(&a->text), str_get(&want.text));
    assert_int_equal(a->n_rows, want.n_rows);
    sha256_final(&a->rows, x);
    sha256_final(&want.rows, y);
    assert_memory_equal(x, y, sizeof x);
    release(&want);
}

static void assert_fails_alone(engine *e, const ask *a) {
    ask want = alone(e, a);
    assert_int_equal(a->status, want.status);
    release(&want);
}

static void fill(int32_t *ids, uint32_t n, uint64_t seed) {
    rng r = {seed};
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)rng_below(&r, 400);
}

/* A request by chance: prompts that begin alike now and then, every kind of ending. */
static void make_ask(ask *a, rng *r, uint32_t longest) {
    static const char *const regexes[] = {"[a-z]{3,9}", "yes|no|perhaps not today", "[0-9]{1,4}(-[0-9]{2}){2}"};
    *a = (ask){.sampling = SAMPLER_GREEDY, .tenant = "t"};
    uint32_t n_common = rng_below(r, 3) * 90;
    a->n_prompt = n_common + 1 + rng_below(r, longest);
    fill(a->prompt, n_common, 1 + rng_below(r, 2));
    fill(a->prompt + n_common, a->n_prompt - n_common, rng_next(r));
    a->max_tokens = 1 + rng_below(r, 40);
    a->priority = (int)rng_below(r, 5) - 2;
    if (rng_below(r, 2)) {
        a->sampling.temperature = 1.0f;
        a->sampling.seed = rng_next(r);
    }
    uint32_t what = rng_below(r, 8);
    if (what < 3)
        a->regex = regexes[what];
    else if (what == 3)
        a->stop[0] = "e";
    else if (what == 4)
        a->cancel_after = 1 + rng_below(r, 9);
    else if (what == 5)
        a->tenant = rng_below(r, 2) ? "other" : NULL;
    if (a->regex)
        a->max_tokens = 40;
    if (rng_below(r, 2)) {
        a->drafts = (engine_drafts){.kind = ENGINE_DRAFTS_NGRAM, .eager = true};
        fill(a->prompt + a->n_prompt / 2, a->n_prompt / 4, 3); /* what is there twice is guessed a third time */
        fill(a->prompt + a->n_prompt * 3 / 4, a->n_prompt / 4, 3);
    }
}

static engine *open_either(bool windowed, engine_options o) {
    o.isa = -1;
    o.n_threads = 1;
    return windowed ? open_windowed(o) : open_with(o);
}

static engine *open_limited(bool windowed, uint64_t n_pages, uint32_t n_batch) {
    engine *e = open_either(windowed, (engine_options){0});
    uint64_t page = engine_get_kv_counts(e).page_bytes;
    engine_free(e);
    return open_either(windowed, (engine_options){.kv_bytes = n_pages * page, .n_batch = n_batch});
}

static engine *open_pages(uint64_t n_pages, uint32_t n_batch) {
    return open_limited(false, n_pages, n_batch);
}

static void assert_nothing_left(engine *e, sched *s) {
    engine_kv_counts n = engine_get_kv_counts(e);
    sched_counts c = sched_get_counts(s);
    assert_int_equal(c.n_running + c.n_waiting, 0);
    assert_int_equal(n.in_use, 0);
    assert_int_equal(n.cached, n.idle);
    assert_true(pages_check(&e->pages) && prefix_check(e->prefix));
}

/* Becomes a fork of one before it: of its prompt or its answer, and a few tokens behind. */
static void make_fork(ask *asks, uint32_t n, rng *r) {
    ask *a = &asks[n], *of = &asks[rng_below(r, n)];
    if (of->of || of->n_done > 0)
        return;
    a->of = of;
    a->from = rng_below(r, 2) ? SCHED_FORK_ANSWER : SCHED_FORK_PROMPT;
    a->n_prompt = rng_below(r, 3) * 5;
}

/* ---- the same bits ---- */

enum { N_ASKS = SANITIZED_THREADS ? 50 : 150, N_SEEDS = SANITIZED ? 8 : 16 };

static void requests_in_any_company_answer_as_alone(void **state) {
    (void)state;
    const struct {
        uint64_t n_pages;
        uint32_t n_batch, max_running;
    } shapes[] = {{2000, 128, 16}, {18, 64, 8}, {12, 7, 4}, {30, 128, 40}};
    engine *plains[] = {open_either(false, (engine_options){0}), open_either(true, (engine_options){0})};
    ask *asks = mem_alloc_array(N_ASKS, sizeof *asks);
    uint64_t n_steps = 0, n_preempted = 0, n_forks = 0;
    for (size_t seed = 0; seed < N_SEEDS; seed++) {
        size_t k = seed % ARRAY_LEN(shapes);
        bool windowed = seed % 8 >= 4;
        engine *plain = plains[windowed], *e = open_limited(windowed, shapes[k].n_pages, shapes[k].n_batch);
        sched *s = NULL;
        muga_error err = {0};
        rng r = {seed};
        fake_clock fake = {.uneven = true, .row_us = seed % 3 == 2 ? SLOW_ROW_US : 0};
        const os_clock clock = {.monotonic_us = fake_us, .self = &fake};
        sched_options o = {.max_running = shapes[k].max_running, .clock = seed % 3 ? &clock : NULL};
        assert_ok(sched_new(e, &o, &s, &err), &err);
        fake.s = s;
        fake.n_layer = engine_params(e)->n_layer;
        for (uint32_t n = 0; n < N_ASKS;) {
            for (uint32_t more = rng_below(&r, 4) ? 0 : rng_below(&r, 12); more > 0 && n < N_ASKS; more--, n++) {
                make_ask(&asks[n], &r, 200);
                if (n > 0 && rng_below(&r, 3) == 0)
                    make_fork(asks, n, &r);
                n_forks += asks[n].of != NULL;
                assert_ok(submit(s, e, &asks[n], &err), &err);
            }
            (void)sched_step(s);
            assert_true(pages_check(&e->pages) && prefix_check(e->prefix));
        }
        while (sched_step(s)) {}
        for (uint32_t i = 0; i < N_ASKS; i++)
            if (asks[i].of)
                whole_prompt(&asks[i]);
        sched_counts c = sched_get_counts(s);
        n_steps += c.n_steps;
        n_preempted += c.n_preempted;
        assert_int_equal(c.n_done, N_ASKS);
        assert_int_equal(c.n_failed, 0);
        for (uint32_t i = 0; i < N_ASKS; i++) {
            if (asks[i].status)
                assert_fails_alone(plain, &asks[i]);
            else
                assert_as_alone(plain, &asks[i]);
            release(&asks[i]);
        }
        assert_nothing_left(e, s);
        sched_free(s);
        engine_free(e);
    }
    assert_true(n_steps > (SANITIZED ? 500 : 4000) && n_preempted > (SANITIZED ? 5 : 50) &&
                n_forks > (SANITIZED ? 20 : 100));
    free(asks);
    engine_free(plains[0]);
    engine_free(plains[1]);
}

/* ---- what is shared ---- */

/* timed: beside an answer, so in pieces smaller than a page. */
static void read_in_common(bool windowed, bool timed) {
    enum { N = 32, SYSTEM = 256, OWN = 20, FIRST = 30 };
    engine *e = open_either(windowed, (engine_options){0});
    sched *s = NULL;
    muga_error err = {0};
    ask *asks = mem_alloc_array(N, sizeof *asks);
    ask first = {.sampling = SAMPLER_GREEDY, .tenant = "u", .n_prompt = FIRST, .max_tokens = 300};
    fake_clock fake = {0};
    const os_clock clock = {.monotonic_us = fake_us, .self = &fake};
    assert_ok(sched_new(e, &(sched_options){.clock = timed ? &clock : NULL}, &s, &err), &err);
    fake.s = s;
    fake.n_layer = engine_params(e)->n_layer;
    fill(first.prompt, FIRST, 7);
    if (timed)
        assert_ok(submit(s, e, &first, &err), &err);
    for (int i = 0; timed && i < 3; i++)
        (void)sched_step(s);
    for (uint32_t i = 0; i < N; i++) {
        asks[i] = (ask){.sampling = SAMPLER_GREEDY, .tenant = "t", .n_prompt = SYSTEM + OWN, .max_tokens = 5};
        fill(asks[i].prompt, SYSTEM, 1);
        fill(asks[i].prompt + SYSTEM, OWN, 100 + i);
        asks[i].prompt[SYSTEM] = 10 + (int32_t)i; /* none begins like another's */
        assert_ok(submit(s, e, &asks[i], &err), &err);
    }
    while (sched_step(s)) {}
    sched_counts c = sched_get_counts(s);
    if (!timed) /* else the last rows of a piece count as an answer's */
        assert_int_equal(c.n_prefill_rows, SYSTEM + N * OWN);
    assert_int_equal(c.n_adopted, (N - 1) * SYSTEM);
    for (uint32_t i = 0; i < N; i++) {
        assert_as_alone(e, &asks[i]);
        assert_int_equal(asks[i].n_adopted, i ? SYSTEM : 0);
        release(&asks[i]);
    }
    if (timed)
        assert_as_alone(e, &first);
    release(&first);
    assert_nothing_left(e, s);
    sched_free(s);
    engine_free(e);
    free(asks);
}

static void a_prompt_in_common_is_read_once(void **state) {
    (void)state;
    read_in_common(false, true);
    read_in_common(true, true);
    read_in_common(false, false);
    read_in_common(true, false);
}

static void tenants_read_their_own(void **state) {
    (void)state;
    engine *e = open_plain();
    sched *s = NULL;
    muga_error err = {0};
    ask asks[3];
    const char *tenants[] = {"a", "b", NULL};
    assert_ok(sched_new(e, NULL, &s, &err), &err);
    for (uint32_t i = 0; i < 3; i++) {
        asks[i] = (ask){.sampling = SAMPLER_GREEDY, .tenant = tenants[i], .n_prompt = 200, .max_tokens = 5};
        fill(asks[i].prompt, 200, 1);
        assert_ok(submit(s, e, &asks[i], &err), &err);
    }
    while (sched_step(s)) {}
    assert_int_equal(sched_get_counts(s).n_prefill_rows, 3 * 200);
    for (uint32_t i = 0; i < 3; i++)
        release(&asks[i]);
    sched_free(s);
    engine_free(e);
}

/* ---- order ---- */

static void an_answer_goes_on_while_long_prompts_are_read(void **state) {
    (void)state;
    engine *e = open_with((engine_options){.isa = -1, .n_threads = 1, .n_batch = 128});
    sched *s = NULL;
    muga_error err = {0};
    ask a = {.sampling = SAMPLER_GREEDY, .n_prompt = 10, .max_tokens = 200}, b[4];
    assert_ok(sched_new(e, NULL, &s, &err), &err);
    fill(a.prompt, 10, 1);
    assert_ok(submit(s, e, &a, &err), &err);
    (void)sched_step(s);
    for (uint32_t i = 0; i < 4; i++) {
        b[i] = (ask){.sampling = SAMPLER_GREEDY, .n_prompt = 390, .max_tokens = 1};
        fill(b[i].prompt, 390, 2 + i);
        assert_ok(submit(s, e, &b[i], &err), &err);
    }
    uint32_t n_steps = 0;
    for (; b[3].n_done == 0; n_steps++) {
        uint32_t before = a.n_rows;
        sched_counts c = sched_get_counts(s);
        (void)sched_step(s);
        assert_int_equal(a.n_rows, before + 1);
        sched_counts d = sched_get_counts(s);
        assert_true(d.n_prefill_rows + d.n_decode_rows - c.n_prefill_rows - c.n_decode_rows <= 128);
    }
    assert_true(n_steps >= 4 * 390 / 127);
    while (sched_step(s)) {}
    assert_as_alone(e, &a);
    release(&a);
    for (uint32_t i = 0; i < 4; i++)
        release(&b[i]);
    sched_free(s);
    engine_free(e);
}

/* By the clock above: no step beside the answer takes three times as long as one without, but for the first few, and
 * prompts take at most twice as long as alone. */
static void a_step_beside_an_answer_is_not_much_longer(void **state) {
    (void)state;
    engine *e = open_with((engine_options){.isa = -1, .n_threads = 1, .n_batch = 128});
    sched *s = NULL;
    muga_error err = {0};
    fake_clock fake = {0};
    const os_clock clock = {.monotonic_us = fake_us, .self = &fake};
    ask a = {.sampling = SAMPLER_GREEDY, .n_prompt = 10, .max_tokens = 500}, b[4];
    assert_ok(sched_new(e, &(sched_options){.clock = &clock}, &s, &err), &err);
    fake.s = s;
    fake.n_layer = engine_params(e)->n_layer;
    fill(a.prompt, 10, 1);
    assert_ok(submit(s, e, &a, &err), &err);
    for (int i = 0; i < 4; i++)
        (void)sched_step(s);
    for (uint32_t i = 0; i < ARRAY_LEN(b); i++) {
        b[i] = (ask){.sampling = SAMPLER_GREEDY, .n_prompt = MAX_PROMPT, .max_tokens = 1};
        fill(b[i].prompt, MAX_PROMPT, 2 + i);
    }
    assert_ok(submit(s, e, &b[0], &err), &err); /* one at a time: where many wait, steps are longer */
    const uint64_t alone_us = STEP_US + ANSWER_ROW_US;
    uint64_t begin = fake_us(&fake);
    uint32_t n_steps = 0, n_sent = 1;
    for (; b[3].n_done == 0 && a.n_done == 0; n_steps++) {
        uint64_t before = fake_us(&fake);
        uint32_t n_rows = a.n_rows;
        (void)sched_step(s);
        assert_int_equal(a.n_rows, n_rows + 1);
        if (n_sent < ARRAY_LEN(b) && b[n_sent - 1].n_done)
            assert_ok(submit(s, e, &b[n_sent++], &err), &err);
        assert_true(n_steps < 5 || fake_us(&fake) - before <= 3 * alone_us);
    }
    uint64_t own_us = (uint64_t)ARRAY_LEN(b) * MAX_PROMPT * (PROMPT_ROW_US + STEP_US / 128);
    assert_true(b[3].n_done == 1 && fake_us(&fake) - begin <= 2 * own_us);
    while (sched_step(s)) {}
    assert_as_alone(e, &a);
    release(&a);
    for (uint32_t i = 0; i < ARRAY_LEN(b); i++) {
        assert_as_alone(e, &b[i]);
        release(&b[i]);
    }
    sched_free(s);
    engine_free(e);
}

static void higher_priorities_go_first_and_nobody_starves(void **state) {
    (void)state;
    engine *e = open_pages(4, 64);
    sched *s = NULL;
    muga_error err = {0};
    ask low = {.sampling = SAMPLER_GREEDY, .n_prompt = 150, .max_tokens = 30, .priority = -1}, high[2] = {0};
    sched_options o = {.max_running = 1};
    assert_ok(sched_new(e, &o, &s, &err), &err);
    fill(low.prompt, 150, 1);
    assert_ok(submit(s, e, &low, &err), &err);
    for (int i = 0; i < 4; i++)
        (void)sched_step(s);
    assert_true(low.n_rows > 0);
    uint32_t n_high = 0, n_steps = 0;
    for (; !low.n_done; n_steps++) { /* there is always one of priority 1 */
        ask *h = &high[n_high % 2];
        if (n_steps == 0 || h->n_done) {
            n_high += h->n_done;
            release(h);
            h = &high[n_high % 2];
            release(h);
            *h = (ask){.sampling = SAMPLER_GREEDY, .n_prompt = 100, .max_tokens = 5, .priority = 1};
            fill(h->prompt, 100, 50 + n_high);
            assert_ok(submit(s, e, h, &err), &err);
        }
        (void)sched_step(s);
        assert_true(n_steps < 4 * SCHED_AGE);
    }
    assert_true(n_high > 20 && n_steps > 2 * SCHED_AGE - 10 && low.n_preempted > 0);
    while (sched_step(s)) {}
    assert_as_alone(e, &low);
    release(&low);
    release(&high[0]);
    release(&high[1]);
    assert_nothing_left(e, s);
    sched_free(s);
    engine_free(e);
}

/* ---- endings ---- */

static void cancelled_requests_give_their_pages_back(void **state) {
    (void)state;
    engine *e = open_pages(40, 64);
    sched *s = NULL;
    muga_error err = {0};
    ask a[4];
    sched_options o = {.max_running = 3};
    assert_ok(sched_new(e, &o, &s, &err), &err);
    for (uint32_t i = 0; i < 4; i++) { /* one answers, two are being read, one waits */
        a[i] = (ask){.sampling = SAMPLER_GREEDY, .n_prompt = i ? 390 : 20, .max_tokens = 200};
        fill(a[i].prompt, a[i].n_prompt, 1 + i);
        assert_ok(submit(s, e, &a[i], &err), &err);
    }
    for (int i = 0; i < 3; i++)
        assert_true(sched_step(s));
    assert_int_equal(sched_get_counts(s).n_running, 3);
    assert_int_equal(sched_get_counts(s).n_waiting, 1);
    for (uint32_t i = 0; i < 4; i++)
        assert_true(sched_cancel(s, a[i].id));
    assert_false(sched_step(s));
    assert_nothing_left(e, s);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(a[i].n_done, 1);
        assert_int_equal(a[i].status, MUGA_OK);
        assert_int_equal(a[i].finish, ENGINE_CANCELLED);
        assert_false(sched_cancel(s, a[i].id));
        release(&a[i]);
    }
    a[0] = (ask){.sampling = SAMPLER_GREEDY, .n_prompt = 20, .max_tokens = 200, .cancel_in = s, .cancel_after = 3};
    fill(a[0].prompt, 20, 1);
    assert_ok(submit(s, e, &a[0], &err), &err); /* from its own callback */
    while (sched_step(s)) {}
    assert_int_equal(a[0].finish, ENGINE_CANCELLED);
    assert_true(a[0].n_texts >= 3 && a[0].n_texts <= 4);
    release(&a[0]);
    a[0].cancel_in = NULL;
    a[0].n_done = 0;
    assert_ok(submit(s, e, &a[0], &err), &err);
    (void)sched_step(s);
    sched_free(s); /* while it runs */
    assert_int_equal(a[0].n_done, 1);
    assert_int_equal(engine_get_kv_counts(e).in_use, 0);
    release(&a[0]);
    engine_free(e);
}

static void what_is_wrong_with_one_is_said_to_it_alone(void **state) {
    (void)state;
    engine *e = open_pages(5, 64);
    sched *s = NULL;
    muga_error err = {0};
    ask good = {.sampling = SAMPLER_GREEDY, .n_prompt = 100, .max_tokens = 40}, bad[4];
    fill(good.prompt, 100, 1);
    for (int i = 0; i < 4; i++)
        bad[i] = good;
    bad[0].prompt[70] = 100000; /* no such token */
    bad[1].n_prompt = 390;      /* more than five pages */
    bad[2].stop[0] = "";        /* no stop string */
    bad[3].sampling.temperature = -1;
    assert_ok(sched_new(e, NULL, &s, &err), &err);
    assert_ok(submit(s, e, &good, &err), &err);
    for (int i = 0; i < 4; i++)
        assert_ok(submit(s, e, &bad[i], &err), &err);
    while (sched_step(s)) {}
    const char *part[] = {"100000", "raise the limit", "stop string", "temperature"};
    const muga_status want[] = {MUGA_E_INPUT, MUGA_E_LIMIT, MUGA_E_USAGE, MUGA_E_USAGE};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(bad[i].n_done, 1);
        if (bad[i].status != want[i] || !strstr(bad[i].message, part[i]))
            fail_msg("%d: status %d, \"%s\"", i, bad[i].status, bad[i].message);
        release(&bad[i]);
    }
    assert_as_alone(e, &good);
    assert_int_equal(sched_get_counts(s).n_failed, 4);
    assert_nothing_left(e, s);
    sched_request r = {.n_ctx = 10};
    assert_status(sched_submit(s, &r, NULL, &err), MUGA_E_USAGE, &err, "prompt");
    r.generate = args_of(e, &good);
    r.priority = 101;
    assert_status(sched_submit(s, &r, NULL, &err), MUGA_E_USAGE, &err, "101");
    release(&good);
    sched_free(s);
    sched_options o = {.max_running = 1, .max_waiting = 2};
    assert_ok(sched_new(e, &o, &s, &err), &err);
    ask three[3] = {good, good, good};
    for (int i = 0; i < 2; i++)
        assert_ok(submit(s, e, &three[i], &err), &err);
    assert_status(submit(s, e, &three[2], &err), MUGA_E_LIMIT, &err, "2 requests");
    sched_free(s);
    release(&three[0]);
    release(&three[1]);
    engine_free(e);
}

/* A token of the model is not a number, and every third prompt holds it. Where there is room for few pages, and steps
 * are of several batches, of which only the first may stand. */
static void rows_that_are_not_numbers_end_their_own_request(void **state) {
    (void)state;
    enum { SPOILED = 410 };
    const struct {
        uint64_t n_pages;
        uint32_t n_batch, max_running;
    } shapes[] = {{2000, 128, 16}, {11, 16, 8}, {9, 7, 6}, {14, 24, 40}};
    engine_options eo = {.isa = -1, .n_threads = 1};
    engine *plain = open_spoiled(SPOILED, eo);
    ask *asks = mem_alloc_array(N_ASKS, sizeof *asks);
    uint32_t n_bad = 0;
    for (size_t seed = 0; seed < N_SEEDS / 2; seed++) {
        size_t k = seed % ARRAY_LEN(shapes);
        eo.kv_bytes = shapes[k].n_pages * engine_get_kv_counts(plain).page_bytes;
        eo.n_batch = shapes[k].n_batch;
        engine *e = open_spoiled(SPOILED, eo);
        sched *s = NULL;
        muga_error err = {0};
        rng r = {100 + seed};
        sched_options o = {.max_running = shapes[k].max_running};
        assert_ok(sched_new(e, &o, &s, &err), &err);
        for (uint32_t n = 0; n < N_ASKS; n++) {
            make_ask(&asks[n], &r, 200);
            if (n % 3 == 0)
                asks[n].prompt[rng_below(&r, asks[n].n_prompt)] = SPOILED;
            assert_ok(submit(s, e, &asks[n], &err), &err);
            if (rng_below(&r, 3) == 0)
                (void)sched_step(s);
            assert_true(pages_check(&e->pages) && prefix_check(e->prefix));
        }
        while (sched_step(s)) {}
        for (uint32_t i = 0; i < N_ASKS; i++) {
            n_bad += asks[i].status == MUGA_E_NONFINITE;
            if (asks[i].status)
                assert_fails_alone(plain, &asks[i]);
            else
                assert_as_alone(plain, &asks[i]);
            release(&asks[i]);
        }
        assert_nothing_left(e, s);
        sched_free(s);
        engine_free(e);
    }
    assert_true(n_bad > (SANITIZED ? 40 : 300));
    free(asks);
    engine_free(plain);
}

/* ---- forks ---- */

/* Without a tenant, so that nothing comes from the cache. */
static void choices_read_their_prompt_once(void **state) {
    (void)state;
    enum { N = 8, N_PROMPT = 300 };
    engine *e = open_plain();
    sched *s = NULL;
    muga_error err = {0};
    ask asks[N] = {0};
    assert_ok(sched_new(e, NULL, &s, &err), &err);
    for (uint32_t i = 0; i < N; i++) {
        asks[i] = (ask){.sampling = SAMPLER_GREEDY, .max_tokens = 5};
        asks[i].sampling.temperature = 1.0f;
        asks[i].sampling.choice = i;
        if (i > 0)
            asks[i].of = &asks[0];
        else
            fill(asks[0].prompt, asks[0].n_prompt = N_PROMPT, 9);
        assert_ok(submit(s, e, &asks[i], &err), &err);
    }
    while (sched_step(s)) {}
    sched_counts c = sched_get_counts(s);
    assert_true(c.n_prefill_rows + c.n_decode_rows <= N_PROMPT + N * 5);
    assert_int_equal(c.n_adopted, (N - 1) * (N_PROMPT - 1));
    for (uint32_t i = 1; i < N; i++) {
        assert_int_equal(asks[i].n_adopted, N_PROMPT - 1);
        whole_prompt(&asks[i]);
    }
    for (uint32_t i = 0; i < N; i++) {
        assert_as_alone(e, &asks[i]);
        release(&asks[i]);
    }
    assert_nothing_left(e, s);
    sched_free(s);
    engine_free(e);
}

/* Forks itself at its third text, inside the step, and at its last. */
typedef struct brancher {
    sched *s;
    engine *e;
    ask *trunk, *branches; /* [2] */
    uint32_t n_texts, last;
} brancher;

static bool branch(void *ctx, const char *p, size_t n) {
    brancher *b = ctx;
    muga_error err = {0};
    (void)p;
    (void)n;
    b->n_texts++;
    if (b->n_texts == 3)
        assert_ok(submit(b->s, b->e, &b->branches[0], &err), &err);
    if (b->n_texts == b->last)
        assert_ok(submit(b->s, b->e, &b->branches[1], &err), &err);
    return true;
}

static void an_answer_branches_while_it_is_written(void **state) {
    (void)state;
    engine *e = open_plain();
    sched *s = NULL;
    muga_error err = {0};
    assert_ok(sched_new(e, NULL, &s, &err), &err);
    ask trunk = {.sampling = SAMPLER_GREEDY, .tenant = "t", .n_prompt = 70, .max_tokens = 13};
    ask branches[2] = {{.sampling = SAMPLER_GREEDY, .n_prompt = 4, .max_tokens = 9, .of = &trunk},
                       {.sampling = SAMPLER_GREEDY, .n_prompt = 1, .max_tokens = 9, .of = &trunk}};
    branches[0].from = branches[1].from = SCHED_FORK_ANSWER;
    fill(trunk.prompt, trunk.n_prompt, 3);
    fill(branches[0].prompt, 4, 4);
    fill(branches[1].prompt, 1, 5);
    ask count = alone(e, &trunk);
    brancher b = {.s = s, .e = e, .branches = branches, .last = count.n_texts};
    assert_true(count.n_texts > 5);
    release(&count);
    sched_request r = {.generate = args_of(e, &trunk), .n_ctx = N_CTX, .on_done = on_done, .on_done_ctx = &trunk};
    r.generate.on_text = branch;
    r.generate.on_text_ctx = &b;
    r.tenant = trunk.tenant;
    assert_ok(sched_submit(s, &r, &trunk.id, &err), &err);
    while (sched_step(s)) {}
    assert_true(branches[0].n_all < branches[1].n_all + 3);
    assert_int_equal(branches[1].n_all, trunk.n_prompt + trunk.ids.n + 1); /* all of an answer that ended */
    assert_true(branches[0].n_adopted > trunk.n_prompt);
    assert_as_alone(e, &trunk);
    for (int i = 0; i < 2; i++) {
        whole_prompt(&branches[i]);
        assert_as_alone(e, &branches[i]);
        release(&branches[i]);
    }
    assert_status(submit(s, e, &branches[0], &err), MUGA_E_NOT_FOUND, &err, "has ended");
    release(&trunk);
    assert_nothing_left(e, s);
    sched_free(s);
    engine_free(e);
}

static void what_cannot_be_forked_is_refused(void **state) {
    (void)state;
    engine *e = open_plain();
    sched *s = NULL;
    muga_error err = {0};
    sched_options o = {.max_waiting = 2};
    assert_ok(sched_new(e, &o, &s, &err), &err);
    engine_session *mine = session_of(e, N_CTX);
    ask a = {.sampling = SAMPLER_GREEDY, .n_prompt = 3, .max_tokens = 2}, own = a, fork = {.of = &a};
    fork.sampling = a.sampling;
    sched_request r = {.generate = args_of(e, &own), .on_done = on_done, .on_done_ctx = &own};
    uint64_t id = 0;
    assert_status(sched_fork(s, 77, SCHED_FORK_PROMPT, &r, NULL, &err), MUGA_E_NOT_FOUND, &err, "77");
    assert_status(sched_fork(s, 0, SCHED_FORK_PROMPT, &r, NULL, &err), MUGA_E_NOT_FOUND, &err, "0");
    r.generate.session = mine;
    r.n_ctx = 5;
    assert_status(sched_submit(s, &r, &id, &err), MUGA_E_USAGE, &err, "context of its session");
    r.n_ctx = 0;
    assert_ok(sched_submit(s, &r, &id, &err), &err);
    fork.of = &own;
    own.id = id;
    assert_status(submit(s, e, &fork, &err), MUGA_E_USAGE, &err, "session of its caller");
    fork.of = &a;
    assert_ok(submit(s, e, &a, &err), &err);
    assert_status(submit(s, e, &fork, &err), MUGA_E_LIMIT, &err, "2 requests");
    r = (sched_request){.generate = {.prompt = a.prompt, .n_prompt = UINT32_MAX}, .tenant = "t"};
    assert_status(sched_fork(s, a.id, SCHED_FORK_PROMPT, &r, NULL, &err), MUGA_E_USAGE, &err, "tenant");
    while (sched_step(s)) {}
    assert_as_alone(e, &a);
    assert_as_alone(e, &own);
    /* too long together, which the fork is told */
    a.n_done = 0;
    release(&a);
    assert_ok(submit(s, e, &a, &err), &err);
    ask late = {.n_done = 0};
    r = (sched_request){.generate = {.prompt = a.prompt, .n_prompt = UINT32_MAX, .sampling = &a.sampling},
                        .on_done = on_done,
                        .on_done_ctx = &late};
    assert_ok(sched_fork(s, a.id, SCHED_FORK_PROMPT, &r, NULL, &err), &err);
    while (sched_step(s)) {}
    assert_int_equal(late.status, MUGA_E_LIMIT);
    release(&a);
    release(&own);
    release(&late);
    engine_session_free(mine);
    assert_nothing_left(e, s);
    sched_free(s);
    engine_free(e);
}

/* ---- a session of the caller's ---- */

static bool stop_third(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    uint32_t *seen = ctx;
    assert_true(n_done < n_prompt);
    return ++*seen < 3;
}

static void a_callers_session_is_gone_on_from_and_stays_his(void **state) {
    (void)state;
    engine *e = open_plain();
    sched *s = NULL;
    muga_error err = {0};
    assert_ok(sched_new(e, NULL, &s, &err), &err);
    engine_session *mine = session_of(e, N_CTX);
    ask a = {.sampling = SAMPLER_GREEDY, .n_prompt = 390, .max_tokens = 4};
    fill(a.prompt, a.n_prompt, 8);
    feed(mine, a.prompt, 100);
    feed(mine, (int32_t[]){7, 7, 7}, 3);
    sched_request r = {.generate = args_of(e, &a), .on_done = on_done, .on_done_ctx = &a};
    r.generate.session = mine;
    assert_ok(sched_submit(s, &r, NULL, &err), &err);
    while (sched_step(s)) {}
    assert_int_equal(a.n_adopted, 100);
    assert_true(engine_session_common(mine, a.prompt, a.n_prompt) == a.n_prompt);
    assert_as_alone(e, &a);
    /* and is left where the reading of a prompt was stopped */
    uint32_t n_seen = 0;
    release(&a);
    a.n_done = a.n_rows = a.n_texts = 0;
    a.prompt[0]++;
    r.generate = args_of(e, &a);
    r.generate.session = mine;
    r.on_prompt = stop_third;
    r.on_prompt_ctx = &n_seen;
    assert_ok(sched_submit(s, &r, NULL, &err), &err);
    while (sched_step(s)) {}
    assert_int_equal(a.status, MUGA_E_CANCELLED);
    assert_int_equal(n_seen, 3);
    assert_int_equal(engine_session_count(mine), 256);
    assert_true(session_check(mine));
    release(&a);
    engine_session_free(mine);
    assert_nothing_left(e, s);
    sched_free(s);
    engine_free(e);
}

/* Beside an answer a prompt is read in pieces, a layer in each step. In the middle of one the request is cancelled, in
 * a session of its caller's and in one of its own, and another is forked. */
static void a_piece_goes_with_its_request(void **state) {
    (void)state;
    engine *e = open_plain();
    sched *s = NULL;
    muga_error err = {0};
    fake_clock fake = {.row_us = SLOW_ROW_US, .n_layer = engine_params(e)->n_layer};
    const os_clock clock = {.monotonic_us = fake_us, .self = &fake};
    assert_ok(sched_new(e, &(sched_options){.clock = &clock}, &s, &err), &err);
    fake.s = s;
    ask first = {.sampling = SAMPLER_GREEDY, .n_prompt = 10, .max_tokens = 500}, a[3], fork;
    fill(first.prompt, 10, 1);
    assert_ok(submit(s, e, &first, &err), &err);
    for (int i = 0; i < 3; i++)
        (void)sched_step(s);
    engine_session *mine = session_of(e, N_CTX);
    for (uint32_t i = 0; i < 3; i++) {
        a[i] = (ask){.sampling = SAMPLER_GREEDY, .tenant = i ? "t" : NULL, .n_prompt = 150, .max_tokens = 4};
        fill(a[i].prompt, 150, 2 + i);
        if (i == 0) {
            feed(mine, a[0].prompt, 70);
            sched_request r = {.generate = args_of(e, &a[0]), .on_done = on_done, .on_done_ctx = &a[0]};
            r.generate.session = mine;
            assert_ok(sched_submit(s, &r, &a[0].id, &err), &err);
        } else {
            assert_ok(submit(s, e, &a[i], &err), &err);
        }
        while (sched_get_counts(s).n_part_rows == 0)
            (void)sched_step(s);
        if (i == 2)
            break;
        assert_true(sched_cancel(s, a[i].id));
        (void)sched_step(s);
        assert_int_equal(a[i].n_done, 1);
        assert_int_equal(a[i].finish, ENGINE_CANCELLED);
        assert_int_equal(sched_get_counts(s).n_part_rows, 0);
        release(&a[i]);
    }
    assert_int_equal(engine_session_count(mine), 70);
    assert_true(session_check(mine));
    fork = (ask){.sampling = SAMPLER_GREEDY, .of = &a[2], .max_tokens = 6};
    assert_ok(submit(s, e, &fork, &err), &err);
    while (sched_step(s)) {}
    whole_prompt(&fork);
    assert_as_alone(e, &fork);
    assert_as_alone(e, &a[2]);
    assert_as_alone(e, &first);
    /* what the piece left in the caller's pages is nowhere seen */
    ask again = {.sampling = SAMPLER_GREEDY, .n_prompt = 90, .max_tokens = 60};
    memcpy(again.prompt, a[0].prompt, 70 * sizeof *again.prompt);
    fill(again.prompt + 70, 20, 9);
    sched_request r = {.generate = args_of(e, &again), .on_done = on_done, .on_done_ctx = &again};
    r.generate.session = mine;
    assert_ok(sched_submit(s, &r, NULL, &err), &err);
    while (sched_step(s)) {}
    assert_as_alone(e, &again);
    release(&first);
    release(&a[2]);
    release(&fork);
    release(&again);
    engine_session_free(mine);
    assert_nothing_left(e, s);
    sched_free(s);
    engine_free(e);
}

/* ---- drafts ---- */

static void count_rows(void *ctx, const char *tensor, const float *x, size_t x_stride, uint32_t n_tok, uint32_t cols) {
    (void)x;
    (void)x_stride;
    (void)cols;
    if (strcmp(tensor, "blk.0.attn_output.weight") == 0)
        *(uint32_t *)ctx += n_tok;
}

static void a_draft_model_guesses_once_for_a_step(void **state) {
    (void)state;
    uint32_t n_rows = 0;
    engine *e = open_plain();
    engine *small =
        open_with((engine_options){.isa = -1, .n_threads = 1, .on_input = count_rows, .on_input_ctx = &n_rows});
    engine_session *guesses = session_of(small, N_CTX);
    ask a = {.sampling = SAMPLER_GREEDY, .n_prompt = 30, .max_tokens = 60};
    a.drafts = (engine_drafts){.kind = ENGINE_DRAFTS_MODEL, .session = guesses, .max = 3, .eager = true};
    fill(a.prompt, a.n_prompt, 5);
    ask want = alone(e, &a);
    uint32_t n_alone = n_rows;
    release(&want);
    engine_session_truncate(guesses, 0);
    n_rows = 0;
    sched *s = NULL;
    muga_error err = {0};
    assert_ok(sched_new(e, NULL, &s, &err), &err);
    assert_ok(submit(s, e, &a, &err), &err);
    while (sched_step(s)) {}
    assert_true(n_alone > 60);
    assert_int_equal(n_rows, n_alone);
    engine_session_truncate(guesses, 0);
    assert_as_alone(e, &a);
    release(&a);
    sched_free(s);
    engine_session_free(guesses);
    engine_free(small);
    engine_free(e);
}

/* ---- threads ---- */

typedef struct client {
    sched *s;
    engine *e;
    ask asks[12];
    pthread_t thread;
} client;

static void *ask_all(void *ctx) {
    client *c = ctx;
    for (size_t i = 0; i < ARRAY_LEN(c->asks); i++) {
        muga_error err;
        c->asks[i].status = submit(c->s, c->e, &c->asks[i], &err);
        if (i % 5 == 4)
            (void)sched_cancel(c->s, c->asks[i].id);
        (void)sched_get_counts(c->s);
        (void)engine_get_kv_counts(c->e);
    }
    return NULL;
}

static void clients_ask_from_their_threads(void **state) {
    (void)state;
    engine *e = open_pages(40, 64);
    muga_error err = {0};
    client *c = mem_alloc_array(4, sizeof *c);
    sched *s = NULL;
    rng r = {77};
    assert_ok(sched_new(e, NULL, &s, &err), &err);
    assert_ok(sched_start(s, &err), &err);
    assert_int_equal(sched_start(s, &err), MUGA_E_USAGE);
    for (int i = 0; i < 4; i++) {
        c[i].s = s;
        c[i].e = e;
        for (size_t k = 0; k < ARRAY_LEN(c[i].asks); k++)
            make_ask(&c[i].asks[k], &r, 100);
        assert_int_equal(pthread_create(&c[i].thread, NULL, ask_all, &c[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(c[i].thread, NULL);
    while (sched_get_counts(s).n_done < 4 * ARRAY_LEN(c->asks)) {
        struct timespec ms = {0, 1000000};
        nanosleep(&ms, NULL);
    }
    sched_stop(s);
    assert_nothing_left(e, s);
    for (int i = 0; i < 4; i++)
        for (size_t k = 0; k < ARRAY_LEN(c->asks); k++) {
            ask *a = &c[i].asks[k];
            assert_int_equal(a->n_done, 1);
            if (k % 5 != 4)
                assert_as_alone(e, a);
            release(a);
        }
    sched_free(s);
    engine_free(e);
    free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_in_any_company_answer_as_alone),
        cmocka_unit_test(a_prompt_in_common_is_read_once),
        cmocka_unit_test(tenants_read_their_own),
        cmocka_unit_test(an_answer_goes_on_while_long_prompts_are_read),
        cmocka_unit_test(a_step_beside_an_answer_is_not_much_longer),
        cmocka_unit_test(higher_priorities_go_first_and_nobody_starves),
        cmocka_unit_test(cancelled_requests_give_their_pages_back),
        cmocka_unit_test(what_is_wrong_with_one_is_said_to_it_alone),
        cmocka_unit_test(rows_that_are_not_numbers_end_their_own_request),
        cmocka_unit_test(choices_read_their_prompt_once),
        cmocka_unit_test(an_answer_branches_while_it_is_written),
        cmocka_unit_test(what_cannot_be_forked_is_refused),
        cmocka_unit_test(a_callers_session_is_gone_on_from_and_stays_his),
        cmocka_unit_test(a_piece_goes_with_its_request),
        cmocka_unit_test(a_draft_model_guesses_once_for_a_step),
        cmocka_unit_test(clients_ask_from_their_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
