/* Sessions over KV pages, and the step that computes them.
 *
 * Invariants
 *   1. A page holds 64 positions of all layers. Its count of references is the number of sessions whose list names it.
 *   2. Only a page with one reference is written. A session that must write to a shared page copies it first
 *      (own_page).
 *   3. When a step begins, every slot at or past a session's count is zero bytes in the pages it will write: pages are
 *      born zero, a copy or a truncated page is cleared from the count on (own_page).
 *   4. A session changes only after everything that can fail has been done: on an error its tokens are what they were
 *      before the batch that failed. Reference counts and page lists change under the engine's step lock alone. */
#include "engine/internal.h"

#define PAGE_HEADER 64 /* bytes for a page's head; also the alignment of its data */

struct engine_session {
    engine *e;
    uint32_t n_ctx, n; /* positions it may hold; tokens it holds */
    int32_t *ids;      /* [n_ctx] */
    void **pages;      /* [page_cap] data pointers, the first n_pages valid */
    uint32_t n_pages, page_cap;
    bool dirty; /* slots at or past n may hold what a truncated or failed step wrote */
    bool has_logits;
    float *logits; /* [n_vocab] */
};

/* Before a page's data, which is aligned to PAGE_HEADER bytes. */
typedef struct page_head {
    uint32_t refs;
    void *block; /* as allocated */
} page_head;

static page_head *head_of(void *page) {
    return (page_head *)(void *)((uint8_t *)page - PAGE_HEADER);
}

/* calloc rather than an aligned allocation and memset: what is reserved and not written yet then costs no memory. */
static void *page_new(const engine *e) {
    uint8_t *block = mem_alloc_array(1, 2 * PAGE_HEADER + model_page_bytes(e->model, e->kv));
    if (!block)
        return NULL;
    void *page = block + 2 * PAGE_HEADER - (uintptr_t)block % PAGE_HEADER;
    *head_of(page) = (page_head){1, block};
    return page;
}

static void page_drop(void *page) {
    if (--head_of(page)->refs == 0)
        free(head_of(page)->block);
}

muga_status engine_session_new(engine *e, uint32_t n_ctx, engine_session **out, muga_error *err) {
    if (engine_params(e)->encoder)
        return error_set(err, MUGA_E_INPUT, "a %s model makes embeddings, it doesn't write; use a language model",
                         model_arch_name(e->model));
    return engine_session_make(e, n_ctx, out, err);
}

muga_status engine_session_make(engine *e, uint32_t n_ctx, engine_session **out, muga_error *err) {
    const model_params *p = engine_params(e);
    if (n_ctx == 0)
        n_ctx = MIN(p->n_ctx_train, 8192u);
    if (n_ctx > p->n_ctx_train)
        return error_set(err, MUGA_E_LIMIT,
                         "a context of %u tokens is more than the %u this model was trained for; ask for less", n_ctx,
                         p->n_ctx_train);
    engine_session *s = mem_alloc_array(1, sizeof *s);
    if (!s)
        return error_nomem(err, "a session");
    s->e = e;
    s->n_ctx = n_ctx;
    s->page_cap = n_ctx / KERNEL_KV_BLOCK + (n_ctx % KERNEL_KV_BLOCK != 0);
    s->ids = mem_alloc_array(n_ctx, sizeof *s->ids);
    s->pages = mem_alloc_array(s->page_cap, sizeof *s->pages);
    s->logits = mem_alloc_array(p->n_vocab, sizeof *s->logits);
    if (!s->ids || !s->pages || !s->logits) {
        engine_session_free(s);
        return error_nomem(err, "a session");
    }
    *out = s;
    return MUGA_OK;
}

muga_status engine_session_fork(engine_session *s, engine_session **out, muga_error *err) {
    engine_session *t;
    muga_status st = engine_session_new(s->e, s->n_ctx, &t, err);
    if (st)
        return st;
    t->n = s->n;
    t->dirty = s->dirty;
    t->has_logits = s->has_logits;
    memcpy(t->ids, s->ids, s->n * sizeof *s->ids);
    if (s->has_logits)
        memcpy(t->logits, s->logits, engine_params(s->e)->n_vocab * sizeof *s->logits);
    pthread_mutex_lock(&s->e->step_lock);
    t->n_pages = (s->n + KERNEL_KV_BLOCK - 1) / KERNEL_KV_BLOCK;
    for (uint32_t i = 0; i < t->n_pages; i++) {
        t->pages[i] = s->pages[i];
        head_of(s->pages[i])->refs++;
    }
    pthread_mutex_unlock(&s->e->step_lock);
    *out = t;
    return MUGA_OK;
}

void engine_session_free(engine_session *s) {
    if (!s)
        return;
    pthread_mutex_lock(&s->e->step_lock);
    for (uint32_t i = 0; i < s->n_pages; i++)
        page_drop(s->pages[i]);
    pthread_mutex_unlock(&s->e->step_lock);
    free(s->pages);
    free(s->ids);
    free(s->logits);
    free(s);
}

engine *engine_session_engine(const engine_session *s) {
    return s->e;
}
uint32_t engine_session_ctx(const engine_session *s) {
    return s->n_ctx;
}
uint32_t engine_session_count(const engine_session *s) {
    return s->n;
}
const int32_t *engine_session_ids(const engine_session *s) {
    return s->ids;
}
const float *engine_session_logits(const engine_session *s) {
    return s->has_logits ? s->logits : NULL;
}

void engine_session_truncate(engine_session *s, uint32_t n) {
    if (n >= s->n)
        return;
    s->n = n;
    s->has_logits = false;
    s->dirty = true;
    uint32_t keep = (n + KERNEL_KV_BLOCK - 1) / KERNEL_KV_BLOCK;
    pthread_mutex_lock(&s->e->step_lock);
    while (s->n_pages > keep)
        page_drop(s->pages[--s->n_pages]);
    pthread_mutex_unlock(&s->e->step_lock);
}

uint32_t engine_session_common(const engine_session *s, const int32_t *ids, uint32_t n) {
    uint32_t i = 0, end = MIN(s->n, n);
    while (i < end && s->ids[i] == ids[i])
        i++;
    return i;
}

/* Invariants 2 and 3 for the page the session writes next: a partly filled one. */
static bool own_page(engine_session *s) {
    uint32_t i = s->n / KERNEL_KV_BLOCK, from = s->n % KERNEL_KV_BLOCK;
    if (from == 0 || i >= s->n_pages)
        return true;
    bool shared = head_of(s->pages[i])->refs > 1;
    if (shared) {
        void *copy = page_new(s->e);
        if (!copy)
            return false;
        memcpy(copy, s->pages[i], model_page_bytes(s->e->model, s->e->kv));
        page_drop(s->pages[i]);
        s->pages[i] = copy;
    }
    if (shared || s->dirty)
        model_page_clear_from(s->e->model, s->e->kv, s->pages[i], from);
    return true;
}

/* Pages for n positions; with the lock held. */
static muga_status make_pages(engine_session *s, uint32_t n, muga_error *err) {
    uint32_t want = (n + KERNEL_KV_BLOCK - 1) / KERNEL_KV_BLOCK, keep = (s->n + KERNEL_KV_BLOCK - 1) / KERNEL_KV_BLOCK;
    if (s->dirty) /* reserved pages that a failed step may have written to */
        while (s->n_pages > keep)
            page_drop(s->pages[--s->n_pages]);
    bool ok = own_page(s);
    if (ok)
        s->dirty = false;
    while (ok && s->n_pages < want) {
        void *page = page_new(s->e);
        ok = page != NULL;
        if (ok)
            s->pages[s->n_pages++] = page;
    }
    return ok ? MUGA_OK : error_nomem(err, "the pages of a session (a shorter context needs less)");
}

muga_status engine_session_reserve(engine_session *s, uint32_t n, muga_error *err) {
    pthread_mutex_lock(&s->e->step_lock);
    muga_status st = make_pages(s, MIN(n, s->n_ctx), err);
    pthread_mutex_unlock(&s->e->step_lock);
    return st;
}

/* ---- the step ---- */

static muga_status check_item(const engine *e, const engine_item *it, muga_error *err) {
    const engine_session *s = it->session;
    uint32_t n_vocab = engine_params(e)->n_vocab;
    if (it->n == 0)
        return error_set(err, MUGA_E_USAGE, "no tokens to compute");
    if (it->n > s->n_ctx - s->n)
        return error_set(err, MUGA_E_LIMIT,
                         "%llu tokens don't fit into a context of %u; give fewer, or a larger context",
                         (unsigned long long)s->n + it->n, s->n_ctx);
    for (uint32_t i = 0; i < it->n; i++)
        if (it->ids[i] < 0 || (uint32_t)it->ids[i] >= n_vocab)
            return error_set(err, MUGA_E_INPUT, "token id %d at position %u is not in the vocabulary of %u", it->ids[i],
                             s->n + i, n_vocab);
    return MUGA_OK;
}

typedef struct step {
    engine *e;
    engine_item *items;
    uint32_t n_items, i_next; /* the first item with tokens left */
    uint32_t at_next;         /* tokens of it already computed */
    uint32_t n_tok, n_seq;    /* of the batch */
    bool finite;
    uint64_t bad_pos;        /* position of the first row that isn't finite */
    engine_on_row on_hidden; /* rows instead of logits; NULL = logits */
    void *on_hidden_ctx;
} step;

/* Remembers the first row that isn't finite; true as long as there was none. */
static bool check_row(step *t, uint32_t i_tok, const float *row, uint32_t n) {
    bool finite;
    t->e->kernels->argmax(row, n, &finite);
    if (!finite && t->finite) {
        t->finite = false;
        t->bad_pos = t->e->pos[i_tok];
    }
    return t->finite;
}

static void on_hidden(void *ctx, uint32_t i_tok, const float *hidden) {
    step *t = ctx;
    if (check_row(t, i_tok, hidden, engine_params(t->e)->n_embd))
        t->on_hidden(t->on_hidden_ctx, t->e->i_item[t->e->i_seq[i_tok]], t->e->pos[i_tok], hidden);
}

static void on_logits(void *ctx, uint32_t i_tok, const float *logits) {
    step *t = ctx;
    engine *e = t->e;
    engine_item *it = &t->items[e->i_item[e->i_seq[i_tok]]];
    engine_session *s = it->session;
    uint32_t n_vocab = engine_params(e)->n_vocab;
    if (!check_row(t, i_tok, logits, n_vocab))
        return;
    if (it->on_logits)
        it->on_logits(it->on_logits_ctx, e->pos[i_tok], logits);
    bool last = i_tok + 1 == t->n_tok || e->i_seq[i_tok + 1] != e->i_seq[i_tok];
    if (last)
        memcpy(s->logits, logits, n_vocab * sizeof *logits);
}

/* Fill the batch with the next tokens of the items, in order. An encoder's sequence is never cut: it fits into a batch
 * (engine.c), and where this one has no room for it, it is the first of the next. */
static void build_batch(step *t) {
    engine *e = t->e;
    t->n_tok = t->n_seq = 0;
    while (t->i_next < t->n_items && t->n_tok < e->o.n_batch) {
        const engine_item *it = &t->items[t->i_next];
        const engine_session *s = it->session;
        uint32_t n = MIN(it->n - t->at_next, e->o.n_batch - t->n_tok);
        if (n < it->n && engine_params(e)->encoder)
            break;
        e->pages[t->n_seq] = s->pages;
        e->n_ctx[t->n_seq] = s->n_ctx;
        e->i_item[t->n_seq] = t->i_next;
        for (uint32_t i = 0; i < n; i++, t->n_tok++) {
            e->ids[t->n_tok] = it->ids[t->at_next + i];
            e->pos[t->n_tok] = s->n + i;
            e->i_seq[t->n_tok] = t->n_seq;
            e->wanted[t->n_tok] = it->want == ENGINE_LOGITS_ALL ||
                                  (it->want == ENGINE_LOGITS_LAST && t->at_next + i + 1 == it->n);
        }
        t->n_seq++;
        t->at_next += n;
        if (t->at_next == it->n) {
            t->i_next++;
            t->at_next = 0;
        }
    }
}

/* The batch is computed: its tokens belong to their sessions now. */
static void commit_batch(step *t) {
    engine *e = t->e;
    for (uint32_t i = 0; i < t->n_tok; i++) {
        engine_session *s = t->items[e->i_item[e->i_seq[i]]].session;
        s->ids[s->n++] = e->ids[i];
        s->has_logits = e->wanted[i] && !t->on_hidden;
    }
}

static muga_status run_step(step t, muga_error *err) {
    engine *e = t.e;
    engine_item *items = t.items;
    uint32_t n_items = t.n_items;
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < n_items && !st; i++)
        st = check_item(e, &items[i], err);
    if (st)
        return st;
    pthread_mutex_lock(&e->step_lock);
    for (uint32_t i = 0; i < n_items && !st; i++)
        st = make_pages(items[i].session, items[i].session->n + items[i].n, err);
    while (!st && t.i_next < n_items) {
        build_batch(&t);
        model_batch b = {.n_tok = t.n_tok,
                         .ids = e->ids,
                         .pos = e->pos,
                         .i_seq = e->i_seq,
                         .pages = (void *const *const *)e->pages,
                         .n_ctx = e->n_ctx,
                         .n_seq = t.n_seq,
                         .wanted = e->wanted,
                         .on_logits = on_logits,
                         .on_logits_ctx = &t,
                         .on_hidden = t.on_hidden ? on_hidden : NULL};
        model_forward(e->model, e->run, &b);
        if (t.finite) {
            commit_batch(&t);
            continue;
        }
        for (uint32_t i = 0; i < t.n_seq; i++) {
            items[e->i_item[i]].session->dirty = true;
            items[e->i_item[i]].session->has_logits = false;
        }
        st = error_set(err, MUGA_E_NONFINITE,
                       "the model computed infinity or not-a-number at position %llu; its weights are damaged",
                       (unsigned long long)t.bad_pos);
    }
    pthread_mutex_unlock(&e->step_lock);
    return st;
}

muga_status engine_step(engine *e, engine_item *items, uint32_t n_items, muga_error *err) {
    return run_step((step){.e = e, .items = items, .n_items = n_items, .finite = true}, err);
}

muga_status engine_step_rows(engine *e, engine_item *items, uint32_t n_items, engine_on_row each, void *ctx,
                             muga_error *err) {
    step t = {.e = e, .items = items, .n_items = n_items, .finite = true, .on_hidden = each, .on_hidden_ctx = ctx};
    return run_step(t, err);
}

muga_status engine_session_feed(engine_session *s, const int32_t *ids, uint32_t n, muga_error *err) {
    engine_item it = {.session = s, .ids = ids, .n = n, .want = ENGINE_LOGITS_LAST};
    return engine_step(s->e, &it, 1, err);
}
