/* Which requests a step computes, and what happens when pages run out. sched.h has the order.
 *
 *   state      function      becomes
 *   incoming   collect       waiting; a fork's prompt is known from now on
 *   waiting    admit         running (first its prompt, then its answer)
 *   running    preempt       waiting: its pages go, its tokens stay and are computed again
 *   any        end           over: its session is freed; sweep tells its owner
 *
 * Invariants
 *   1. `v` is sorted by rank, highest first. The pumping thread alone changes it, with `lock` held, so that it may read
 *      it without; everybody else takes `lock`.
 *   2. Only running requests hold pages, but for sessions that callers gave.
 *   3. A request is pre-empted for one of higher rank, or because it is the lowest that wants a page. So the highest
 *      always goes on, and each step makes progress or ends a request.
 *   4. Two sequences don't compute the same block at the same time: the later one waits and takes it from the cache
 *      once it is whole (is_claimed). Prompts are cut where pages end, or within one that the next steps go on with, so
 *      that whole blocks are left.
 *   5. No callback is called with `lock` held.
 *   6. With a clock and running answers, prompts are read after the step, in pieces (piece.h), until the time for it is
 *      over; a piece may take several steps. Meanwhile its request computes nothing else and nobody forks it, and where
 *      it ends or loses its pages the piece is dropped (drop_piece). Where no answer runs it is first finished.
 *   7. A fork is collected while the request it forks is in `v`, or settled when that one leaves it (sweep). */
#include "engine/sched.h"
#include "engine/generation.h"
#include "engine/internal.h"
#include "engine/pace.h"
#include "engine/piece.h"

/* An answer that lacks more than this (a forced stretch, one computed again) is read like a prompt. */
#define DECODE_ROWS 16u
/* Pages that are made ready before they are wanted, while a prompt is read beside answers: one for each answer, since
 * all may come to the end of theirs in the same step, and these for the prompt. */
#define READY_FOR_PROMPT 2u

typedef struct request {
    sched_request r;
    uint64_t id;
    int64_t rank;
    bool no_drafts; /* a step with its guesses failed */
    bool cancelled; /* guarded by the lock */
    bool running, over;
    bool is_answer; /* it lacks few rows, so it doesn't wait for others */
    bool by_pieces; /* its prompt was read in pieces, so that even a few rows are */
    bool in_step;   /* item holds the piece that the step computes */
    bool is_whole;  /* and that is all it lacks */
    uint64_t of;    /* the request it forks; 0 = none */
    sched_fork_from from;
    int32_t *ids; /* a fork's prompt, once it is settled */
    engine_session *session;
    generation *g;
    engine_item item; /* what it lacks, then the piece */
    uint32_t n_lacks; /* rows, as last planned */
    /* Where the block that it computes or goes on with follows in the prefix cache; NULL: nowhere. Not looked into. */
    const prefix_entry *block;
    uint32_t n_tok; /* of the sequence, as last planned */
    uint32_t n_adopted, n_preempted;
    muga_status status;
    muga_error error;
    struct request *next; /* incoming */
} request;

struct sched {
    engine *e;
    sched_options o;
    pthread_mutex_t pump; /* one step at a time */
    pthread_mutex_t lock; /* guards what follows; see invariant 1 */
    pthread_cond_t wake;
    request *incoming, **last_incoming;
    uint32_t n_incoming;
    request **v; /* [max_running + max_waiting] */
    uint32_t n;
    uint64_t last_id;
    sched_counts counts;
    bool stop, started;
    pthread_t thread;
    /* of the step; the pump's own */
    engine_item *items; /* [max_running] */
    pace pace;
    piece *piece;        /* NULL: there was no need yet */
    request *being_read; /* whose prompt it is part of; NULL: none */
    uint64_t begin_us;   /* when the step began */
    bool was_read;       /* a prompt, after the step before */
};

/* ---- life ---- */

muga_status sched_new(engine *e, const sched_options *o, sched **out, muga_error *err) {
    sched *s = mem_alloc_array(1, sizeof *s);
    if (!s)
        return error_nomem(err, "the scheduler");
    s->e = e;
    s->o = o ? *o : (sched_options){0};
    s->o.max_running = s->o.max_running ? s->o.max_running : 64;
    s->o.max_waiting = s->o.max_waiting ? s->o.max_waiting : 1024;
    s->o.prefill_rows = s->o.prefill_rows ? s->o.prefill_rows : e->o.n_batch;
    pthread_mutex_init(&s->pump, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    s->last_incoming = &s->incoming;
    s->v = mem_alloc_array((size_t)s->o.max_running + s->o.max_waiting, sizeof *s->v);
    s->items = mem_alloc_array(s->o.max_running, sizeof *s->items);
    if (!s->v || !s->items) {
        sched_free(s);
        return error_nomem(err, "the scheduler");
    }
    *out = s;
    return MUGA_OK;
}

/* With the lock held, or by the pump. */
static request *find(const sched *s, uint64_t id) {
    for (uint32_t i = 0; i < s->n; i++)
        if (s->v[i]->id == id)
            return s->v[i];
    return NULL;
}

static request *find_incoming(const sched *s, uint64_t id) {
    request *q = s->incoming;
    while (q && q->id != id)
        q = q->next;
    return q;
}

/* Tenant, adapter and context of the request it forks. */
static muga_status inherit(const sched *s, request *q, muga_error *err) {
    const request *of = find(s, q->of);
    if (!of)
        of = find_incoming(s, q->of);
    if (!of)
        return error_set(err, MUGA_E_NOT_FOUND, "request %llu has ended, nothing can be forked from it",
                         (unsigned long long)q->of);
    if (of->r.generate.session)
        return error_set(err, MUGA_E_USAGE, "a request that is computed in a session of its caller isn't forked");
    q->r.n_ctx = of->r.n_ctx;
    q->r.tenant = of->r.tenant;
    q->r.adapter = of->r.adapter;
    q->r.adapter_scale = of->r.adapter_scale;
    return MUGA_OK;
}

/* of: the request it forks; 0 = none. */
static muga_status enqueue(sched *s, const sched_request *r, uint64_t of, sched_fork_from from, uint64_t *id,
                           muga_error *err) {
    if (r->priority > SCHED_MAX_PRIORITY || r->priority < -SCHED_MAX_PRIORITY)
        return error_set(err, MUGA_E_USAGE, "priority %d; it goes from %d to %d", r->priority, -SCHED_MAX_PRIORITY,
                         SCHED_MAX_PRIORITY);
    request *q = mem_alloc_array(1, sizeof *q);
    if (!q)
        return error_nomem(err, "a request");
    q->r = *r;
    q->n_tok = r->generate.n_prompt;
    q->of = of;
    q->from = from;
    pthread_mutex_lock(&s->lock);
    uint32_t n_waiting = s->counts.n_waiting + s->n_incoming;
    muga_status st = of ? inherit(s, q, err) : MUGA_OK;
    if (!st && n_waiting >= s->o.max_waiting)
        st = error_set(err, MUGA_E_LIMIT, "%u requests are waiting, which is the most; try again later", n_waiting);
    if (!st) {
        q->id = ++s->last_id;
        q->rank = (int64_t)r->priority * SCHED_AGE - (int64_t)s->counts.n_steps;
        *s->last_incoming = q;
        s->last_incoming = &q->next;
        s->n_incoming++;
        pthread_cond_signal(&s->wake);
    }
    if (!st && id)
        *id = q->id; /* before a step can end it */
    pthread_mutex_unlock(&s->lock);
    if (st)
        free(q);
    return st;
}

muga_status sched_submit(sched *s, const sched_request *r, uint64_t *id, muga_error *err) {
    if (!r->generate.prompt || r->generate.n_prompt == 0)
        return error_set(err, MUGA_E_USAGE, "a request has a prompt");
    if (r->generate.session && (r->tenant || r->adapter || r->n_ctx))
        return error_set(err, MUGA_E_USAGE, "a request has the tenant, the adapter and the context of its session");
    return enqueue(s, r, 0, SCHED_FORK_PROMPT, id, err);
}

muga_status sched_fork(sched *s, uint64_t of, sched_fork_from from, const sched_request *r, uint64_t *id,
                       muga_error *err) {
    if (r->generate.session || r->tenant || r->adapter || r->n_ctx)
        return error_set(err, MUGA_E_USAGE, "a fork has the tenant, the adapter and the context of what it forks");
    if (of == 0)
        return error_set(err, MUGA_E_NOT_FOUND, "there is no request 0 to fork");
    return enqueue(s, r, of, from, id, err);
}

bool sched_cancel(sched *s, uint64_t id) {
    pthread_mutex_lock(&s->lock);
    request *found = find(s, id);
    if (!found)
        found = find_incoming(s, id);
    if (found && found->over)
        found = NULL;
    if (found)
        found->cancelled = true;
    pthread_mutex_unlock(&s->lock);
    return found != NULL;
}

sched_counts sched_get_counts(sched *s) {
    pthread_mutex_lock(&s->lock);
    sched_counts n = s->counts;
    n.n_waiting += s->n_incoming;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- from state to state ---- */

static void set_running(sched *s, request *q, bool running) {
    pthread_mutex_lock(&s->lock);
    q->running = running;
    s->counts.n_running += running ? 1 : -1;
    s->counts.n_waiting += running ? -1 : 1;
    pthread_mutex_unlock(&s->lock);
}

static void drop_piece(sched *s, const request *q) {
    if (s->being_read != q)
        return;
    piece_drop(s->piece);
    s->being_read = NULL;
    pthread_mutex_lock(&s->lock);
    s->counts.n_part_rows = 0;
    pthread_mutex_unlock(&s->lock);
}

/* err: of the status; the request is told in sweep. */
static void end(sched *s, request *q, muga_status st, const muga_error *err) {
    pthread_mutex_lock(&s->lock);
    s->counts.n_running -= q->running;
    s->counts.n_waiting -= !q->running;
    q->running = q->in_step = false;
    q->over = true;
    pthread_mutex_unlock(&s->lock);
    q->status = st;
    if (st && err)
        q->error = *err;
    drop_piece(s, q);
    if (!q->r.generate.session)
        engine_session_free(q->session);
    q->session = NULL;
}

static void preempt(sched *s, request *q) {
    drop_piece(s, q);
    session_put_tokens(q->session, NULL, 0); /* pages reserved for its first tokens go as well */
    q->in_step = false;
    q->n_preempted++;
    set_running(s, q, false);
    pthread_mutex_lock(&s->lock);
    s->counts.n_preempted++;
    pthread_mutex_unlock(&s->lock);
}

/* The answer, or why there is none, to its owner. */
static void tell(sched *s, request *q) {
    engine_generated answer = {.finish = ENGINE_CANCELLED};
    if (!q->status && q->g)
        q->status = generation_finish(q->g, &answer, &q->error);
    pthread_mutex_lock(&s->lock);
    s->counts.n_done++;
    s->counts.n_failed += q->status != MUGA_OK;
    s->counts.n_cancelled += !q->status && answer.finish == ENGINE_CANCELLED;
    pthread_mutex_unlock(&s->lock);
    generation_free(q->g);
    sched_result r = {.status = q->status,
                      .message = q->status ? q->error.message : "",
                      .answer = &answer,
                      .n_prompt = q->r.generate.n_prompt,
                      .n_adopted = q->n_adopted,
                      .n_preempted = q->n_preempted};
    if (q->r.on_done)
        q->r.on_done(q->r.on_done_ctx, &r);
    engine_generated_release(&answer);
    free(q->ids);
    free(q);
}

/* What a fork begins with is known: with the lock held. */
static void settle_fork(request *q, const request *of) {
    engine_generate_args *a = &q->r.generate;
    const int32_t *ids = of->r.generate.prompt;
    uint32_t n = of->r.generate.n_prompt;
    if (q->from == SCHED_FORK_ANSWER && of->g)
        ids = generation_ids(of->g, &n);
    if (of->of && !of->ids)
        q->status = error_set(&q->error, MUGA_E_NOMEM, "%s", of->error.message);
    else if (a->n_prompt > UINT32_MAX - n)
        q->status = error_set(&q->error, MUGA_E_LIMIT, "a prompt of %u tokens after %u", a->n_prompt, n);
    else if (!(q->ids = mem_alloc_array((size_t)n + a->n_prompt, sizeof *q->ids)))
        q->status = error_nomem(&q->error, "a fork's prompt");
    if (q->status)
        return;
    memcpy(q->ids, ids, n * sizeof *ids);
    if (a->n_prompt)
        memcpy(q->ids + n, a->prompt, a->n_prompt * sizeof *ids);
    a->prompt = q->ids;
    a->n_prompt += n;
    q->n_tok = a->n_prompt;
}

static void sweep(sched *s) {
    for (uint32_t i = 0; i < s->n;) {
        request *q = s->v[i];
        if (!q->over) {
            i++;
            continue;
        }
        pthread_mutex_lock(&s->lock);
        for (request *fork = s->incoming; fork; fork = fork->next)
            if (fork->of == q->id)
                settle_fork(fork, q);
        memmove(&s->v[i], &s->v[i + 1], (--s->n - i) * sizeof *s->v);
        pthread_mutex_unlock(&s->lock);
        tell(s, q);
    }
}

/* Incoming requests take their places; cancelled ones end, and forks that there was no memory for. */
static void collect(sched *s) {
    pthread_mutex_lock(&s->lock);
    while (s->incoming) {
        request *q = s->incoming;
        s->incoming = q->next;
        if (q->of && !q->ids && !q->status)
            settle_fork(q, find(s, q->of));
        uint32_t i = s->n++;
        for (; i > 0 && s->v[i - 1]->rank < q->rank; i--)
            s->v[i] = s->v[i - 1];
        s->v[i] = q;
    }
    s->last_incoming = &s->incoming;
    s->counts.n_waiting += s->n_incoming;
    s->n_incoming = 0;
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < s->n; i++) {
        request *q = s->v[i];
        pthread_mutex_lock(&s->lock);
        bool cancelled = q->cancelled;
        pthread_mutex_unlock(&s->lock);
        if (!cancelled && !q->status)
            continue;
        if (q->g)
            generation_cancel(q->g);
        end(s, q, q->status, NULL);
    }
}

/* ---- admission ---- */

/* Bytes of pages for what a request has to read, and a token more. */
static int64_t need_of(const sched *s, const request *q) {
    return (int64_t)session_bytes_for(s->e, q->n_tok + 1, MAX(s->o.prefill_rows, PREFIX_BLOCK));
}

/* Bytes nobody needs: not in use, and not those that running requests are going to take for what they have to read. */
static int64_t free_bytes(sched *s) {
    pthread_mutex_lock(&s->e->pages.lock);
    int64_t n = (int64_t)pages_room(&s->e->pages);
    pthread_mutex_unlock(&s->e->pages.lock);
    for (uint32_t i = 0; i < s->n; i++) {
        const request *q = s->v[i];
        if (q->running)
            n -= need_of(s, q) - (int64_t)session_bytes(q->session, engine_session_count(q->session));
    }
    return n;
}

/* The running request that a fork, not begun yet, may take pages from; NULL = none. */
static request *forked(const sched *s, const request *q) {
    request *of = q->of && !q->g ? find(s, q->of) : NULL;
    return of && of->running ? of : NULL;
}

/* The beginning of its prompt that `held` holds. Never all of it: the last token's logits are to be computed. */
static uint32_t common_with(const request *q, const engine_session *held) {
    const engine_generate_args *a = &q->r.generate;
    return held ? engine_session_common(held, a->prompt, a->n_prompt - 1) : 0;
}

/* Bytes of what it needs that isn't there yet, and a page of each kind for each running request to grow by. What runs
 * alone is tried. */
static bool fits(sched *s, const request *q) {
    const request *of = forked(s, q);
    const engine_session *held = of ? of->session : q->session;
    uint32_t n_running = s->counts.n_running;
    int64_t there = held ? (int64_t)session_bytes(held, common_with(q, held) / PREFIX_BLOCK * PREFIX_BLOCK) : 0;
    int64_t to_grow = (int64_t)(n_running * s->e->pages.n.page_bytes);
    return n_running == 0 || (n_running < s->o.max_running && need_of(s, q) - there + to_grow <= free_bytes(s));
}

/* The lowest in rank below `than` that runs (and holds pages, where that is asked for); NULL = none. */
static request *lowest(const sched *s, const request *than, bool with_pages) {
    for (uint32_t i = s->n; i > 0 && s->v[i - 1] != than; i--)
        if (s->v[i - 1]->running && (!with_pages || s->v[i - 1]->in_step || s->v[i - 1] == s->being_read ||
                                     engine_session_count(s->v[i - 1]->session) > 0))
            return s->v[i - 1];
    return NULL;
}

static muga_status make_session(sched *s, request *q, muga_error *err) {
    const request *of = forked(s, q);
    q->session = q->r.generate.session;
    if (q->session)
        return MUGA_OK;
    if (of)
        return engine_session_fork(of->session, &q->session, err);
    muga_status st = engine_session_new(s->e, q->r.n_ctx, &q->session, err);
    if (!st && q->r.adapter)
        st = engine_session_set_adapter(q->session, q->r.adapter, q->r.adapter_scale, err);
    if (!st && q->r.tenant)
        st = engine_session_share(q->session, q->r.tenant, err);
    return st;
}

static void count_adopted(sched *s, request *q, uint32_t n) {
    q->n_adopted += q->n_preempted ? 0 : n;
    pthread_mutex_lock(&s->lock);
    s->counts.n_adopted += n;
    pthread_mutex_unlock(&s->lock);
}

/* One that was pre-empted has all it needs but its pages. */
static muga_status begin(sched *s, request *q, muga_error *err) {
    if (q->g)
        return MUGA_OK;
    muga_status st = make_session(s, q, err);
    if (st)
        return st;
    engine_session_truncate(q->session, common_with(q, q->session));
    count_adopted(s, q, engine_session_count(q->session));
    pthread_mutex_lock(&s->lock);
    s->counts.n_prompt += q->r.generate.n_prompt;
    pthread_mutex_unlock(&s->lock);
    engine_generate_args a = q->r.generate;
    a.session = q->session;
    return generation_new(&a, &q->g, err);
}

static void admit(sched *s) {
    muga_error err;
    for (uint32_t i = 0; i < s->n; i++) {
        request *q = s->v[i];
        const request *of = forked(s, q);
        bool is_early = of && (of == s->being_read || engine_session_count(of->session) < of->r.generate.n_prompt);
        if (q->running || q->over || is_early)
            continue;
        while (!fits(s, q)) {
            request *victim = lowest(s, q, false);
            if (!victim)
                return;
            preempt(s, victim);
        }
        muga_status st = begin(s, q, &err);
        if (st)
            end(s, q, st, &err);
        else
            set_running(s, q, true);
    }
}

/* ---- the step ---- */

/* What it lacks; ends it when that is nothing. */
static bool plan(sched *s, request *q) {
    muga_error err;
    if (!q->no_drafts)
        generation_limit_drafts(q->g, DECODE_ROWS / MAX(s->counts.n_running, 1u));
    muga_status st = generation_plan(q->g, &q->item, &err);
    if (st || q->item.n == 0) {
        end(s, q, st, &err);
        return false;
    }
    q->n_tok = engine_session_count(q->session) + q->item.n;
    q->n_lacks = q->item.n;
    if (engine_session_count(q->session) % PREFIX_BLOCK == 0)
        q->block = session_cursor(q->session);
    return true;
}

/* Pages for its next n rows, by pre-empting what is lower in rank. False: there are none, and it waits or has ended. */
static bool get_pages(sched *s, request *q, uint32_t n) {
    muga_error err;
    muga_status st;
    uint32_t to = engine_session_count(q->session) + n;
    while ((st = session_reserve(q->session, to, to, &err)) == MUGA_E_LIMIT) {
        request *victim = lowest(s, q, true);
        if (!victim)
            break;
        preempt(s, victim);
    }
    if (st == MUGA_E_LIMIT && s->counts.n_running > 1)
        preempt(s, q);
    else if (st)
        end(s, q, st, &err);
    return !st;
}

/* Whether its owner wants more of the prompt to be read; else it ends. */
static bool goes_on(sched *s, request *q) {
    uint32_t held = engine_session_count(q->session), n = q->r.generate.n_prompt;
    if (!q->r.on_prompt || held >= n || q->r.on_prompt(q->r.on_prompt_ctx, held, n))
        return true;
    muga_error err;
    end(s, q, error_set(&err, MUGA_E_CANCELLED, "interrupted"), &err);
    return false;
}

/* Its next n rows belong to the step, if there are pages for them. */
static void add(sched *s, request *q, uint32_t n) {
    if (!goes_on(s, q) || !get_pages(s, q, n))
        return;
    q->in_step = true;
    q->is_whole = n == q->item.n;
    if (!q->is_whole) {
        q->item.n = n;
        q->item.want = ENGINE_LOGITS_NONE;
    }
}

/* Whether another sequence of this step computes, or goes on with, the block that comes next in this one. */
static bool is_claimed(const sched *s, const request *q) {
    const prefix_entry *at = session_cursor(q->session);
    if (!at || q->item.n < PREFIX_BLOCK)
        return false;
    for (uint32_t i = 0; i < s->n; i++) {
        const request *o = s->v[i];
        if (o == q || !o->in_step || o->block != at)
            continue;
        uint32_t within = engine_session_count(o->session) % PREFIX_BLOCK;
        if (within + o->n_lacks >= PREFIX_BLOCK &&
            memcmp(o->item.ids - within, q->item.ids, PREFIX_BLOCK * sizeof *q->item.ids) == 0)
            return true;
    }
    return false;
}

/* A piece of at most `budget` that ends where a page ends, or all. Of a budget below a page, where `is_first` in the
 * step, a part of one. */
static uint32_t piece_of(const request *q, uint32_t budget, bool is_first) {
    uint32_t held = engine_session_count(q->session);
    if (q->item.n <= budget)
        return q->item.n;
    uint32_t to = (held + budget) / PREFIX_BLOCK * PREFIX_BLOCK;
    return to > held ? to - held : is_first ? budget : 0;
}

static uint32_t add_answers(sched *s) {
    uint32_t n_rows = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        request *q = s->v[i];
        q->is_answer = false;
        if (!q->running || q == s->being_read || !plan(s, q))
            continue;
        q->is_answer = q->item.n <= (q->by_pieces ? 1 : DECODE_ROWS);
        if (!q->is_answer)
            continue;
        q->by_pieces = false;
        add(s, q, q->item.n);
        n_rows += q->in_step ? q->item.n : 0;
    }
    return n_rows;
}

/* What the cache has of what it lacks. False: it ended. */
static bool adopt(sched *s, request *q) {
    uint32_t got = engine_session_adopt(q->session, q->item.ids, q->item.n);
    if (got == 0)
        return true;
    count_adopted(s, q, got);
    return plan(s, q);
}

static void add_prompts(sched *s, uint32_t budget) {
    uint32_t n_rows = 0;
    for (uint32_t i = 0; i < s->n && n_rows < budget; i++) {
        request *q = s->v[i];
        if (!q->running || q->in_step || !adopt(s, q) || is_claimed(s, q))
            continue;
        uint32_t n = piece_of(q, budget - n_rows, n_rows == 0);
        if (n > 0)
            add(s, q, n);
        n_rows += q->in_step ? q->item.n : 0;
    }
}

/* Its prompt is read. */
static bool answers(const request *q) {
    return engine_session_count(q->session) >= q->r.generate.n_prompt;
}

/* What a step computes. */
typedef struct step_rows {
    uint32_t n_items, n_answers;
    uint32_t n_beside;               /* rows of those that don't answer yet */
    uint32_t of_prompts, of_answers; /* as they are counted: the last few of a prompt are as an answer's */
} step_rows;

static step_rows list_items(sched *s) {
    step_rows n = {0};
    for (uint32_t i = 0; i < s->n; i++) {
        const request *q = s->v[i];
        if (!q->in_step)
            continue;
        s->items[n.n_items++] = q->item;
        n.n_answers += answers(q);
        n.n_beside += answers(q) ? 0 : q->item.n;
        *(q->is_answer ? &n.of_answers : &n.of_prompts) += q->item.n;
    }
    pthread_mutex_lock(&s->lock);
    s->counts.n_steps++;
    s->counts.n_prefill_rows += n.of_prompts;
    s->counts.n_decode_rows += n.of_answers;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* A step is over, before which so many rows had been computed. */
static void count_rows(sched *s, uint64_t before) {
    sched_counts *n = &s->counts;
    size_t size = 0;
    pthread_mutex_lock(&s->lock);
    while (size + 1 < ARRAY_LEN(n->step_rows) && n->n_prefill_rows + n->n_decode_rows - before > 1u << size)
        size++;
    n->step_rows[size]++;
    pthread_mutex_unlock(&s->lock);
}

/* What it lacks by now, at most `most` rows; *st of computing that alone. False: it ended, or waits for pages: what was
 * computed of the step, and what was cut back since, may take more of them than the step had. */
static bool run_alone(sched *s, request *q, uint32_t most, muga_status *st, muga_error *err) {
    if (!plan(s, q))
        return false;
    q->is_whole = q->item.n <= most;
    if (!q->is_whole) {
        q->item.n = most;
        q->item.want = ENGINE_LOGITS_NONE;
    }
    if (!get_pages(s, q, q->item.n))
        return false;
    *st = engine_step(s->e, &q->item, 1, err);
    return true;
}

/* A step that failed because of one of them: each by itself, so that the others don't notice. */
static void run_each(sched *s) {
    muga_error err;
    for (uint32_t i = 0; i < s->n; i++) {
        request *q = s->v[i];
        uint32_t most = q->is_whole ? UINT32_MAX : q->item.n;
        muga_status st = MUGA_OK;
        if (!q->in_step || !run_alone(s, q, most, &st, &err))
            continue;
        if (st && generation_retry(q->g)) {
            q->no_drafts = true;
            if (!run_alone(s, q, most, &st, &err))
                continue;
        }
        if (st)
            end(s, q, st, &err);
    }
}

static void take(sched *s) {
    muga_error err;
    for (uint32_t i = 0; i < s->n; i++) {
        request *q = s->v[i];
        if (!q->in_step)
            continue;
        q->in_step = false;
        muga_status st = generation_take(q->g, &err);
        if (st || generation_done(q->g))
            end(s, q, st, &err);
        else
            (void)generation_ids(q->g, &q->n_tok);
    }
}

/* ---- prompts beside answers ---- */

/* Time for prompts after the step. */
typedef struct reading {
    sched *s;
    uint64_t begin_us, last_us; /* now, as it was before and after the last layer */
    uint64_t for_us;            /* all there is; UINT64_MAX: nobody waits */
    bool is_over;
} reading;

static uint64_t now_us(const sched *s) {
    return s->o.clock ? s->o.clock->monotonic_us(s->o.clock->self) : 0;
}

/* A layer of the piece was computed: whether there's time for another one. */
static bool has_time(void *ctx) {
    reading *t = ctx;
    sched *s = t->s;
    uint32_t n_rows = piece_rows(s->piece);
    pthread_mutex_lock(&s->lock);
    s->counts.n_part_rows += n_rows;
    pthread_mutex_unlock(&s->lock);
    uint64_t now = now_us(s);
    pace_note_layer(&s->pace, n_rows, now - t->last_us);
    t->last_us = now;
    t->is_over = !pace_has_time(&s->pace, n_rows, now - t->begin_us, t->for_us);
    return !t->is_over;
}

/* The piece goes on; true when its rows are the session's. */
static bool go_on(sched *s, reading *t) {
    request *q = s->being_read;
    if (!piece_go_on(s->piece, has_time, t))
        return false;
    s->being_read = NULL;
    pthread_mutex_lock(&s->lock);
    s->counts.n_prefill_rows += piece_rows(s->piece);
    s->counts.n_part_rows = 0;
    pthread_mutex_unlock(&s->lock);
    (void)plan(s, q);
    return true;
}

/* Rows of the next piece: about so many, none of those to the page's end being left over, and never the last that the
 * request lacks, which is computed for its logits. */
static uint32_t rows_of(const request *q, uint32_t about) {
    uint32_t to_page = PREFIX_BLOCK - engine_session_count(q->session) % PREFIX_BLOCK, n = MIN(q->item.n - 1, to_page);
    uint32_t n_pieces = MAX((n + about / 2) / about, 1u);
    return (n + n_pieces - 1) / n_pieces;
}

/* A piece of the first prompt that waits; false where none does. */
static bool begin_piece(sched *s, uint64_t for_us) {
    muga_error err;
    for (uint32_t i = 0; i < s->n; i++) {
        request *q = s->v[i];
        if (!q->running || q->is_answer || !adopt(s, q) || q->item.n == 1)
            continue;
        uint32_t n = rows_of(q, pace_rows(&s->pace, for_us, PIECE_ROWS));
        if (!goes_on(s, q) || !get_pages(s, q, n))
            continue;
        muga_status st = s->piece ? MUGA_OK : piece_new(s->e, &s->piece, &err);
        if (!st)
            st = piece_begin(s->piece, q->session, q->item.ids, n, &err);
        if (st) {
            end(s, q, st, &err);
            continue;
        }
        q->by_pieces = true;
        s->being_read = q;
        return true;
    }
    return false;
}

/* Prompts, for so long. Of it goes what getting pages ready takes, one at a time before they are wanted. */
static void read_pieces(sched *s, uint32_t n_answers, uint64_t for_us) {
    uint64_t begin = now_us(s);
    bool spent = s->being_read && pages_get_ready(&s->e->pages, n_answers + READY_FOR_PROMPT);
    uint64_t now = now_us(s);
    reading t = {.s = s, .begin_us = begin, .for_us = for_us};
    t.is_over = spent && !pace_has_time(&s->pace, piece_rows(s->piece), now - begin, for_us);
    s->was_read = spent;
    while (!t.is_over && (s->being_read || begin_piece(s, for_us))) {
        s->was_read = true;
        t.last_us = now_us(s);
        (void)go_on(s, &t);
    }
}

/* Nobody waits: a piece that was begun is finished, so that its request can be part of the step. */
static void finish_piece(sched *s) {
    uint64_t now = now_us(s);
    reading t = {.s = s, .begin_us = now, .last_us = now, .for_us = UINT64_MAX};
    if (s->being_read)
        (void)go_on(s, &t);
}

/* Answers, and prompts besides. */
typedef struct crowd {
    uint32_t n_answers, n_prompts;
} crowd;

static crowd count_crowd(const sched *s) {
    crowd n = {0};
    for (uint32_t i = 0; i < s->n; i++)
        if (s->v[i]->running)
            *(answers(s->v[i]) ? &n.n_answers : &n.n_prompts) += 1;
    return n;
}

static void compute(sched *s) {
    muga_error err;
    step_rows n = list_items(s);
    if (n.n_items == 0)
        return;
    if (engine_step(s->e, s->items, n.n_items, &err))
        run_each(s);
    take(s);
    if (s->o.clock && n.n_answers > 0 && (n.n_beside == 0 || !pace_us(&s->pace, n.n_answers, 0)))
        pace_note_step(&s->pace, n.n_answers, s->was_read, now_us(s) - s->begin_us);
}

/* With a clock, prompts are read after the step where an answer goes on in it. Where none does (all that there are lack
 * more than a few rows: they lost their pages, or a constraint forces a long text) nobody waits for it, and it must not
 * be empty. */
bool sched_step(sched *s) {
    pthread_mutex_lock(&s->pump);
    s->begin_us = now_us(s);
    uint64_t n_before = s->counts.n_prefill_rows + s->counts.n_decode_rows;
    collect(s);
    sweep(s);
    admit(s);
    uint32_t n_rows = add_answers(s);
    crowd n = count_crowd(s);
    bool is_beside = s->o.clock && n.n_answers > 0 && n_rows > 0;
    if (!is_beside) {
        finish_piece(s);
        add_prompts(s, MAX(s->o.prefill_rows > n_rows ? s->o.prefill_rows - n_rows : 0, PREFIX_BLOCK));
    }
    compute(s);
    if (is_beside)
        read_pieces(s, n.n_answers, pace_us(&s->pace, n.n_answers, n.n_prompts));
    count_rows(s, n_before);
    sweep(s);
    pthread_mutex_lock(&s->lock);
    bool more = s->n > 0 || s->incoming;
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&s->pump);
    return more;
}

/* ---- a thread of its own ---- */

static void *drive(void *ctx) {
    sched *s = ctx;
    for (bool stop = false; !stop;) {
        bool more = sched_step(s);
        pthread_mutex_lock(&s->lock);
        while (!more && !s->stop && !s->incoming)
            pthread_cond_wait(&s->wake, &s->lock);
        stop = s->stop;
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

muga_status sched_start(sched *s, muga_error *err) {
    if (s->started)
        return error_set(err, MUGA_E_USAGE, "the scheduler has its thread already");
    s->stop = false;
    s->started = pthread_create(&s->thread, NULL, drive, s) == 0;
    return s->started ? MUGA_OK : error_set(err, MUGA_E_ENV, "no thread for the scheduler can be made");
}

void sched_stop(sched *s) {
    if (!s->started)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    s->started = false;
}

void sched_free(sched *s) {
    if (!s)
        return;
    sched_stop(s);
    while (s->n > 0 || s->incoming) {
        for (request *q = s->incoming; q; q = q->next)
            q->cancelled = true;
        for (uint32_t i = 0; i < s->n; i++)
            s->v[i]->cancelled = true;
        collect(s);
        sweep(s);
    }
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->pump);
    piece_free(s->piece);
    free(s->items);
    free(s->v);
    free(s);
}
