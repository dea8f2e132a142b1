/* Sessions over KV pages (pages.h), and the step that computes them.
 *
 * Invariants
 *   1. A session has a list of pages of each kind (pages.h) and holds one reference of every page in it. A list changes
 *      by its session's own thread, with the lock of the pages held.
 *   2. Only a page that is this session's alone is written. A session that must write to one it shares copies it first
 *      (own_page).
 *   3. When a step begins, every slot at or past a session's count is zero bytes in the pages it will write: pages are
 *      born zero, a copy or a truncated page is cleared from the count on (own_page).
 *   4. A session that shares stands at an entry of the prefix cache (prefix.h), its cursor `at`, no deeper than its
 *      full pages; the pages it has up to there are the path's. Full pages join it when computed (publish), the last,
 *      partly filled one when the session ends (publish_tail).
 *   5. Pages of layers with a window that no position from count - TAKE_BACK on sees are let go (drop_unseen), NULL in
 *      the list; the cache may keep them. A session is never cut back to where its next position would see one of them
 *      (sees_dropped): it is emptied. It goes on in the cache only where all that it sees there exists (find_path).
 *   6. A session changes only after everything that can fail has been done: on an error its tokens are what they were
 *      before the batch that failed. */
#include "engine/internal.h"

#define WORTH_KEEPING 1u /* tokens of a page from which copying it is cheaper than computing them */
#define TAKE_BACK 128u   /* so far a session can be cut back whatever its model's window: drafts and stop strings do */

typedef struct page_list {
    void **v;           /* [pages_for(n_ctx)], the first n valid */
    uint32_t n;         /* those for the session's tokens, and reserved ones */
    uint32_t n_dropped; /* the first of them, let go because no layer sees them any more */
} page_list;

struct engine_session {
    engine *e;
    uint32_t n_ctx, n; /* positions it may hold; tokens it holds */
    int32_t *ids;      /* [n_ctx] */
    page_list lists[MODEL_MAX_KINDS];
    bool dirty; /* slots at or past n may hold what a truncated or failed step wrote */
    bool has_logits;
    float *logits; /* [n_vocab] */
    adapter_choice adapter;
    prefix_entry *root, *at; /* NULL: it doesn't share */
};

static uint32_t pages_for(uint32_t n) {
    return n / KERNEL_KV_BLOCK + (n % KERNEL_KV_BLOCK != 0);
}

static uint32_t kinds_of(const engine_session *s) {
    return s->e->pages.n_kinds;
}

static void stand_at(engine_session *s, prefix_entry *there) {
    prefix_hold(there);
    prefix_leave(s->e->prefix, s->at);
    s->at = there;
}

/* Keep the first n pages; the session's count is already what they hold. */
static void drop_pages(engine_session *s, uint32_t n) {
    engine *e = s->e;
    pthread_mutex_lock(&e->pages.lock);
    while (s->at && prefix_depth(s->at) > s->n / PREFIX_BLOCK)
        stand_at(s, prefix_parent(s->at));
    for (uint32_t k = 0; k < kinds_of(s); k++) {
        page_list *l = &s->lists[k];
        while (l->n > n)
            pages_unref(&e->pages, l->v[--l->n]);
        l->n_dropped = MIN(l->n_dropped, n);
    }
    prefix_trim(e->prefix);
    pthread_mutex_unlock(&e->pages.lock);
}

/* The first page that layers of this kind see from position n. */
static uint32_t first_seen(const engine_session *s, uint32_t kind, uint32_t n) {
    uint32_t window = model_window(s->e->model, kind);
    return window > 0 && n >= window ? (n - window + 1) / KERNEL_KV_BLOCK : 0;
}

/* The first page that a session of n tokens keeps. */
static uint32_t first_kept(const engine_session *s, uint32_t kind, uint32_t n) {
    return n > TAKE_BACK ? first_seen(s, kind, n - TAKE_BACK) : 0;
}

static bool sees_dropped(const engine_session *s, uint32_t n) {
    for (uint32_t k = 0; k < kinds_of(s); k++)
        if (first_seen(s, k, n) < s->lists[k].n_dropped)
            return true;
    return false;
}

/* The pages of a kind before `end` go. */
static void drop_before(engine_session *s, uint32_t kind, uint32_t end) {
    page_list *l = &s->lists[kind];
    for (; l->n_dropped < end; l->n_dropped++) {
        pages_unref(&s->e->pages, l->v[l->n_dropped]);
        l->v[l->n_dropped] = NULL;
    }
}

static void drop_unseen(engine_session *s) {
    for (uint32_t k = 0; k < kinds_of(s); k++) {
        uint32_t end = first_kept(s, k, s->n);
        if (s->lists[k].n_dropped >= end)
            continue;
        pthread_mutex_lock(&s->e->pages.lock);
        drop_before(s, k, end);
        prefix_trim(s->e->prefix);
        pthread_mutex_unlock(&s->e->pages.lock);
    }
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
    s->ids = mem_alloc_array(n_ctx, sizeof *s->ids);
    s->logits = mem_alloc_array(p->n_vocab, sizeof *s->logits);
    bool ok = s->ids && s->logits;
    for (uint32_t k = 0; k < kinds_of(s); k++)
        ok = ok && (s->lists[k].v = mem_alloc_array(pages_for(n_ctx), sizeof *s->lists[k].v));
    if (!ok) {
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
    t->adapter = adapter_choice_copy(s->adapter);
    memcpy(t->ids, s->ids, s->n * sizeof *s->ids);
    if (s->has_logits)
        memcpy(t->logits, s->logits, engine_params(s->e)->n_vocab * sizeof *s->logits);
    pthread_mutex_lock(&s->e->pages.lock);
    for (uint32_t k = 0; k < kinds_of(s); k++) {
        const page_list *from = &s->lists[k];
        page_list *to = &t->lists[k];
        to->n = pages_for(s->n);
        to->n_dropped = from->n_dropped;
        for (uint32_t i = 0; i < to->n; i++) {
            to->v[i] = from->v[i];
            pages_ref(&s->e->pages, to->v[i]);
        }
    }
    t->root = s->root ? prefix_hold(s->root) : NULL;
    t->at = s->at ? prefix_hold(s->at) : NULL;
    pthread_mutex_unlock(&s->e->pages.lock);
    *out = t;
    return MUGA_OK;
}

/* ---- sharing ---- */

muga_status engine_session_share(engine_session *s, const char *tenant, muga_error *err) {
    if (s->n > 0 || s->root)
        return error_set(err, MUGA_E_USAGE, "a session begins to share while it is empty, and once");
    if (strlen(tenant) > PREFIX_MAX_TENANT)
        return error_set(err, MUGA_E_USAGE, "a tenant's name of %zu bytes; at most %u are taken", strlen(tenant),
                         PREFIX_MAX_TENANT);
    prefix_scope scope = {.tenant = tenant,
                          .adapter_sha256 = s->adapter.adapter ? engine_adapter_sha256(s->adapter.adapter) : "",
                          .adapter_scale = s->adapter.scale,
                          .is_long = model_context_is_long(s->e->model, s->n_ctx)};
    pthread_mutex_lock(&s->e->pages.lock);
    s->root = prefix_enter(s->e->prefix, &scope);
    s->at = s->root ? prefix_hold(s->root) : NULL;
    pthread_mutex_unlock(&s->e->pages.lock);
    return s->root ? MUGA_OK : error_nomem(err, "a session");
}

/* Page i becomes another, which this session holds from now on, too. */
static void put_page(engine_session *s, uint32_t kind, uint32_t i, void *page) {
    page_list *l = &s->lists[kind];
    while (l->n <= i)
        l->v[l->n++] = NULL;
    pages_ref(&s->e->pages, page);
    pages_unref(&s->e->pages, l->v[i]);
    l->v[i] = page;
}

/* The pages i of all kinds are the entry's from now on; what it lacks becomes the session's. */
static void share_pages(engine_session *s, uint32_t i, prefix_entry *there) {
    for (uint32_t k = 0; k < kinds_of(s); k++) {
        void *page = prefix_page(there, k), *own = s->lists[k].v[i];
        if (!page)
            prefix_fill(s->e->prefix, there, k, own);
        else if (page != own)
            put_page(s, k, i, page);
    }
}

/* The pages i of all kinds; false: some were let go. */
static bool pages_at(const engine_session *s, uint32_t i, void **out) {
    bool all = true;
    for (uint32_t k = 0; k < kinds_of(s); k++)
        all = (out[k] = s->lists[k].v[i]) && all;
    return all;
}

/* Full pages that the cache doesn't know yet; where it has one of the same tokens, that one's bits are the same. */
static void publish(engine_session *s) {
    engine *e = s->e;
    if (!s->at)
        return;
    pthread_mutex_lock(&e->pages.lock);
    void *pages[MODEL_MAX_KINDS];
    for (uint32_t i = prefix_depth(s->at); (i + 1) * PREFIX_BLOCK <= s->n && pages_at(s, i, pages); i++) {
        const int32_t *ids = s->ids + (size_t)i * PREFIX_BLOCK;
        prefix_entry *there = prefix_find(e->prefix, s->at, ids);
        if (there)
            share_pages(s, i, there);
        else
            there = prefix_add(e->prefix, s->at, ids, PREFIX_BLOCK, pages);
        if (!there) /* out of memory: the next step tries again */
            break;
        stand_at(s, there);
    }
    pthread_mutex_unlock(&e->pages.lock);
}

/* The partly filled last page, worth keeping because a conversation goes on right there. */
static void publish_tail(engine_session *s) {
    uint32_t i = s->n / PREFIX_BLOCK, n = s->n % PREFIX_BLOCK, n_known;
    const int32_t *ids = s->ids + (size_t)i * PREFIX_BLOCK;
    void *pages[MODEL_MAX_KINDS];
    if (n < WORTH_KEEPING || prefix_depth(s->at) != i || !pages_at(s, i, pages) || pages_is_cached(pages[0]))
        return;
    (void)prefix_find_part(s->e->prefix, s->at, ids, n, &n_known);
    if (n_known < n)
        (void)prefix_add(s->e->prefix, s->at, ids, n, pages); /* out of memory: it isn't kept */
}

/* The session ends: all it leaves is its pages. */
static void leave_cache(engine_session *s) {
    if (!s->root)
        return;
    pthread_mutex_lock(&s->e->pages.lock);
    publish_tail(s);
    prefix_leave(s->e->prefix, s->at);
    prefix_leave(s->e->prefix, s->root);
    s->root = s->at = NULL;
    pthread_mutex_unlock(&s->e->pages.lock);
}

uint32_t session_dropped(const engine_session *s, uint32_t kind) {
    return s->lists[kind].n_dropped;
}

bool session_leave_out(engine_session *s, uint32_t n, const uint32_t *n_dropped) {
    for (uint32_t k = 0; k < kinds_of(s); k++)
        if (first_seen(s, k, n) < n_dropped[k])
            return false;
    drop_pages(s, 0);
    s->dirty = false;
    for (uint32_t k = 0; k < kinds_of(s); k++) {
        page_list *l = &s->lists[k];
        for (uint32_t i = 0; i < n_dropped[k]; i++)
            l->v[i] = NULL;
        l->n = l->n_dropped = n_dropped[k];
    }
    return true;
}

void *session_page(const engine_session *s, uint32_t kind, uint32_t i) {
    return s->lists[kind].v[i];
}

void session_put_tokens(engine_session *s, const int32_t *ids, uint32_t n) {
    s->n = n;
    if (n > 0)
        memcpy(s->ids, ids, n * sizeof *ids);
    s->has_logits = false;
    s->dirty = true; /* slots past n may hold anything */
    drop_pages(s, pages_for(n));
}

static bool check_list(const engine_session *s, uint32_t kind) {
    const page_list *l = &s->lists[kind];
    if (l->n < pages_for(s->n) || l->n_dropped > first_seen(s, kind, s->n))
        return false;
    for (uint32_t i = 0; i < l->n; i++)
        if ((l->v[i] == NULL) != (i < l->n_dropped))
            return false;
    for (const prefix_entry *e = s->at; e && prefix_depth(e) > l->n_dropped; e = prefix_parent(e))
        if (l->v[prefix_depth(e) - 1] != prefix_page(e, kind))
            return false;
    for (uint32_t i = pages_for(s->n); i < l->n; i++) /* kept to be written */
        if (!pages_is_private(l->v[i]))
            return false;
    return true;
}

bool session_check(const engine_session *s) {
    bool ok = !s->at || prefix_depth(s->at) <= s->n / PREFIX_BLOCK;
    for (uint32_t k = 0; k < kinds_of(s); k++)
        ok = ok && check_list(s, k);
    return ok;
}

const prefix_entry *session_cursor(const engine_session *s) {
    return s->at && s->n == prefix_depth(s->at) * PREFIX_BLOCK ? s->at : NULL;
}

/* How far down the path of ids[0, n) behind the cursor a sequence can go on: to the deepest entry where all pages that
 * the next position sees are there. */
static prefix_entry *find_path(const engine_session *s, const int32_t *ids, uint32_t n) {
    prefix_entry *best = s->at, *e = s->at;
    uint32_t from[MODEL_MAX_KINDS]; /* the first of the pages that are there without a gap */
    for (uint32_t k = 0; k < kinds_of(s); k++)
        from[k] = s->lists[k].n_dropped;
    for (; n >= PREFIX_BLOCK && (e = prefix_find(s->e->prefix, e, ids)); ids += PREFIX_BLOCK, n -= PREFIX_BLOCK) {
        bool all = true;
        for (uint32_t k = 0; k < kinds_of(s); k++) {
            from[k] = prefix_page(e, k) ? from[k] : prefix_depth(e);
            all = all && from[k] <= first_seen(s, k, prefix_depth(e) * PREFIX_BLOCK);
        }
        best = all ? e : best;
    }
    return best;
}

/* The pages of the path down to an entry, those before a gap left out, and the entry as the cursor. */
static void take_path(engine_session *s, prefix_entry *end) {
    for (uint32_t k = 0; k < kinds_of(s); k++) {
        uint32_t from = prefix_depth(end);
        for (const prefix_entry *e = end; e != s->at; e = prefix_parent(e))
            put_page(s, k, prefix_depth(e) - 1, prefix_page(e, k));
        while (from > s->lists[k].n_dropped && s->lists[k].v[from - 1])
            from--;
        drop_before(s, k, from);
    }
    stand_at(s, end);
}

uint32_t engine_session_adopt(engine_session *s, const int32_t *ids, uint32_t n) {
    engine *e = s->e;
    if (!s->at || n == 0 || s->n != prefix_depth(s->at) * PREFIX_BLOCK)
        return 0;
    uint32_t end = MIN(n - 1, s->n_ctx - s->n), part = 0;
    pthread_mutex_lock(&e->pages.lock);
    take_path(s, find_path(s, ids, end));
    uint32_t got = prefix_depth(s->at) * PREFIX_BLOCK - s->n;
    prefix_entry *there = prefix_find_part(e->prefix, s->at, ids + got, MIN(end - got, PREFIX_BLOCK), &part);
    if (part >= WORTH_KEEPING) {
        for (uint32_t k = 0; k < kinds_of(s); k++)
            put_page(s, k, prefix_depth(s->at), prefix_page(there, k));
        got += part;
    }
    e->pages.n.n_adopted += got;
    pthread_mutex_unlock(&e->pages.lock);
    memcpy(s->ids + s->n, ids, got * sizeof *ids);
    s->n += got;
    s->has_logits = s->has_logits && got == 0;
    drop_unseen(s);
    return got;
}

void engine_session_free(engine_session *s) {
    if (!s)
        return;
    leave_cache(s);
    drop_pages(s, 0);
    adapter_choice_release(&s->adapter);
    for (uint32_t k = 0; k < kinds_of(s); k++)
        free(s->lists[k].v);
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
model_adapter_use session_adapter_use(const engine_session *s) {
    return adapter_choice_use(s->adapter);
}
const float *engine_session_logits(const engine_session *s) {
    return s->has_logits ? s->logits : NULL;
}

muga_status engine_session_set_adapter(engine_session *s, engine_adapter *a, float scale, muga_error *err) {
    if (s->n > 0)
        return error_set(err, MUGA_E_USAGE,
                         "the session holds %u tokens that were computed as they are; an adapter is chosen while it is "
                         "empty (truncate it to 0, or make another)",
                         s->n);
    if (s->root)
        return error_set(err, MUGA_E_USAGE, "a session that shares its pages has chosen its adapter; choose it first");
    return adapter_choice_set(&s->adapter, s->e, a, scale, err);
}
const engine_adapter *engine_session_adapter(const engine_session *s, float *scale) {
    *scale = s->adapter.scale;
    return s->adapter.adapter;
}

void engine_session_truncate(engine_session *s, uint32_t n) {
    if (n >= s->n)
        return;
    if (sees_dropped(s, n))
        n = 0;
    s->n = n;
    s->has_logits = false;
    s->dirty = true;
    drop_pages(s, pages_for(n));
}

void session_take_back(engine_session *s, uint32_t n) {
    if (n >= s->n)
        return;
    bool is_published = s->at && prefix_depth(s->at) * PREFIX_BLOCK > n; /* a page was filled, and the cache has it */
    if (is_published || s->n - n > KERNEL_KV_BLOCK || sees_dropped(s, n)) {
        engine_session_truncate(s, n);
        return;
    }
    pthread_mutex_lock(&s->e->pages.lock);
    for (uint32_t i = n / KERNEL_KV_BLOCK; i < pages_for(s->n); i++) {
        uint32_t first = i * KERNEL_KV_BLOCK, from = n > first ? n - first : 0;
        uint32_t to = MIN(s->n - first, (uint32_t)KERNEL_KV_BLOCK);
        for (uint32_t k = 0; k < kinds_of(s); k++) {
            if (pages_is_private(s->lists[k].v[i]))
                model_page_clear(s->e->model, s->e->kv, k, s->lists[k].v[i], from, to);
            else
                s->dirty = true;
        }
    }
    pthread_mutex_unlock(&s->e->pages.lock);
    s->n = n;
    s->has_logits = false;
}

uint32_t engine_session_common(const engine_session *s, const int32_t *ids, uint32_t n) {
    uint32_t i = 0, end = MIN(s->n, n);
    while (i < end && s->ids[i] == ids[i])
        i++;
    return i < s->n && i > 0 && sees_dropped(s, i - 1) ? 0 : i;
}

/* Invariants 2 and 3 for the pages the session writes next: partly filled ones. */
static muga_status own_page(engine_session *s, muga_error *err) {
    uint32_t i = s->n / KERNEL_KV_BLOCK, from = s->n % KERNEL_KV_BLOCK;
    muga_status st = MUGA_OK;
    for (uint32_t k = 0; k < kinds_of(s) && !st; k++) {
        page_list *l = &s->lists[k];
        if (from == 0 || i >= l->n)
            continue;
        bool shared = !pages_is_private(l->v[i]);
        st = shared ? pages_copy(&s->e->pages, &l->v[i], err) : MUGA_OK;
        if (!st && (shared || s->dirty))
            model_page_clear(s->e->model, s->e->kv, k, l->v[i], from, KERNEL_KV_BLOCK);
    }
    return st;
}

muga_status session_reserve(engine_session *s, uint32_t n, uint32_t n_windowed, muga_error *err) {
    page_pool *pool = &s->e->pages;
    uint32_t had[MODEL_MAX_KINDS];
    if (s->dirty) /* reserved pages that a failed step may have written to */
        drop_pages(s, pages_for(s->n));
    pthread_mutex_lock(&pool->lock);
    for (uint32_t k = 0; k < kinds_of(s); k++)
        had[k] = s->lists[k].n;
    muga_status st = own_page(s, err);
    if (!st)
        s->dirty = false;
    for (uint32_t k = 0; k < kinds_of(s) && !st; k++) {
        page_list *l = &s->lists[k];
        uint32_t want = pages_for(MIN(model_window(s->e->model, k) ? n_windowed : n, s->n_ctx));
        while (!st && l->n < want) {
            st = pages_take(pool, k, &l->v[l->n], err);
            l->n += st == MUGA_OK;
        }
    }
    for (uint32_t k = 0; k < kinds_of(s) && st; k++) /* what doesn't suffice is for others */
        while (s->lists[k].n > had[k])
            pages_unref(pool, s->lists[k].v[--s->lists[k].n]);
    pthread_mutex_unlock(&pool->lock);
    return st;
}

/* As far as one batch of a feed up to n tokens goes. */
static uint32_t batch_end(const engine_session *s, uint32_t n) {
    return n > s->n ? s->n + MIN(n - s->n, s->e->o.n_batch) : n;
}

muga_status engine_session_reserve(engine_session *s, uint32_t n, muga_error *err) {
    return session_reserve(s, n, batch_end(s, n), err);
}

uint64_t session_bytes(const engine_session *s, uint32_t n) {
    uint64_t sum = 0;
    for (uint32_t k = 0; k < kinds_of(s); k++)
        if (pages_for(n) > s->lists[k].n_dropped)
            sum += (pages_for(n) - s->lists[k].n_dropped) * s->e->pages.kinds[k].page_bytes;
    return sum;
}

uint64_t session_bytes_for(const engine *e, uint32_t n, uint32_t n_rows) {
    uint64_t sum = 0;
    for (uint32_t k = 0; k < e->pages.n_kinds; k++) {
        uint64_t n_pages = pages_for(n), window = model_window(e->model, k);
        if (window > 0) /* it begins and ends inside a page */
            n_pages = MIN(n_pages, (window + TAKE_BACK + n_rows) / KERNEL_KV_BLOCK + 2);
        sum += n_pages * e->pages.kinds[k].page_bytes;
    }
    return sum;
}

/* ---- the step ---- */

muga_status session_check_rows(const engine_session *s, const int32_t *ids, uint32_t n, muga_error *err) {
    uint32_t n_vocab = engine_params(s->e)->n_vocab;
    if (n == 0)
        return error_set(err, MUGA_E_USAGE, "no tokens to compute");
    if (n > s->n_ctx - s->n)
        return error_set(err, MUGA_E_LIMIT,
                         "%llu tokens don't fit into a context of %u; give fewer, or a larger context",
                         (unsigned long long)s->n + n, s->n_ctx);
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= n_vocab)
            return error_set(err, MUGA_E_INPUT, "token id %d at position %u is not in the vocabulary of %u", ids[i],
                             s->n + i, n_vocab);
    return MUGA_OK;
}

void *const *session_write_pages(engine_session *s, uint32_t kind, uint32_t n) {
    void **v = s->lists[kind].v;
    for (uint32_t i = s->n / KERNEL_KV_BLOCK; i < pages_for(s->n + n); i++)
        pages_mark_written(&s->e->pages, v[i]);
    return v;
}

void session_append(engine_session *s, const int32_t *ids, uint32_t n) {
    memcpy(s->ids + s->n, ids, n * sizeof *ids);
    s->n += n;
    s->has_logits = false;
    publish(s);
    drop_unseen(s);
}

void session_spoil(engine_session *s) {
    s->dirty = true;
    s->has_logits = false;
}

typedef struct step {
    engine *e;
    engine_item *items;
    uint32_t n_items, i_next; /* the first item with tokens left */
    uint32_t at_next;         /* tokens of it already computed */
    uint32_t n_tok, n_seq;    /* of the batch */
    bool finite;
    uint64_t bad_pos;        /* position of the first row that isn't finite */
    uint32_t n_most;         /* rows of the next batch */
    bool yields;             /* after each batch, to whoever waits: it isn't the scheduler's */
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
    if (it->want == ENGINE_LOGITS_TAIL)
        return;
    bool last = i_tok + 1 == t->n_tok || e->i_seq[i_tok + 1] != e->i_seq[i_tok];
    if (last)
        memcpy(s->logits, logits, n_vocab * sizeof *logits);
}

/* How many of the item's last rows are wanted. */
static uint32_t wanted_tail(const engine_item *it) {
    switch (it->want) {
    case ENGINE_LOGITS_LAST: return 1;
    case ENGINE_LOGITS_ALL: return it->n;
    case ENGINE_LOGITS_TAIL: return it->n_tail;
    case ENGINE_LOGITS_NONE: break;
    }
    return 0;
}

/* Fill the batch with the next tokens of the items, in order. An encoder's sequence is never cut: it fits into a batch
 * (engine.c), and where this one has no room for it, it is the first of the next. Pages for the first batch of an item
 * are there (run_step), those of layers with a window for later ones are taken here. */
static muga_status build_batch(step *t, muga_error *err) {
    engine *e = t->e;
    t->n_tok = t->n_seq = 0;
    while (t->i_next < t->n_items && t->n_tok < t->n_most) {
        const engine_item *it = &t->items[t->i_next];
        engine_session *s = it->session;
        uint32_t n = MIN(it->n - t->at_next, t->n_most - t->n_tok), n_tail = wanted_tail(it);
        if (n < it->n && engine_params(e)->encoder)
            break;
        muga_status st = t->at_next > 0 ? session_reserve(s, s->n + n, s->n + n, err) : MUGA_OK;
        if (st)
            return st;
        for (uint32_t k = 0; k < kinds_of(s); k++)
            e->lists[k][t->n_seq] = session_write_pages(s, k, n);
        e->n_ctx[t->n_seq] = s->n_ctx;
        e->adapters[t->n_seq] = session_adapter_use(s);
        e->i_item[t->n_seq] = t->i_next;
        for (uint32_t i = 0; i < n; i++, t->n_tok++) {
            e->ids[t->n_tok] = it->ids[t->at_next + i];
            e->pos[t->n_tok] = s->n + i;
            e->i_seq[t->n_tok] = t->n_seq;
            e->wanted[t->n_tok] = it->n - (t->at_next + i) <= n_tail;
        }
        t->n_seq++;
        t->at_next += n;
        if (t->at_next == it->n) {
            t->i_next++;
            t->at_next = 0;
        }
    }
    return MUGA_OK;
}

/* The batch is computed: its tokens belong to their sessions now. */
static void commit_batch(step *t) {
    engine *e = t->e;
    for (uint32_t i = 0; i < t->n_tok; i++) {
        const engine_item *it = &t->items[e->i_item[e->i_seq[i]]];
        engine_session *s = it->session;
        s->ids[s->n++] = e->ids[i];
        s->has_logits = e->wanted[i] && it->want != ENGINE_LOGITS_TAIL && !t->on_hidden;
    }
    for (uint32_t i = 0; i < t->n_seq; i++) {
        publish(t->items[e->i_item[i]].session);
        drop_unseen(t->items[e->i_item[i]].session);
    }
}

/* Who comes between the steps of others takes a few rows at a time; an encoder's sequence is never cut. */
static void take_turn(step *t) {
    bool beside = turns_take(&t->e->step_turns) && t->yields && !engine_params(t->e)->encoder;
    t->n_most = beside ? MIN(t->e->o.n_batch, ENGINE_ROWS_BESIDE) : t->e->o.n_batch;
}

static muga_status run_step(step t, muga_error *err) {
    engine *e = t.e;
    engine_item *items = t.items;
    uint32_t n_items = t.n_items;
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < n_items && !st; i++)
        st = session_check_rows(items[i].session, items[i].ids, items[i].n, err);
    if (st)
        return st;
    take_turn(&t);
    for (uint32_t i = 0; i < n_items && !st; i++)
        st = engine_session_reserve(items[i].session, items[i].session->n + items[i].n, err);
    while (!st && t.i_next < n_items) {
        st = build_batch(&t, err);
        if (st)
            break;
        model_batch b = {.n_tok = t.n_tok,
                         .ids = e->ids,
                         .pos = e->pos,
                         .i_seq = e->i_seq,
                         .n_ctx = e->n_ctx,
                         .n_seq = t.n_seq,
                         .adapters = e->adapters,
                         .wanted = e->wanted,
                         .on_logits = on_logits,
                         .on_logits_ctx = &t,
                         .on_hidden = t.on_hidden ? on_hidden : NULL};
        for (uint32_t k = 0; k < e->pages.n_kinds; k++)
            b.pages[k] = (void *const *const *)e->lists[k];
        model_forward(e->model, e->run, &b);
        if (t.finite) {
            commit_batch(&t);
            if (t.yields && t.i_next < n_items) {
                turns_give(&e->step_turns);
                take_turn(&t);
            }
            continue;
        }
        for (uint32_t i = 0; i < t.n_seq; i++)
            session_spoil(items[e->i_item[i]].session);
        st = error_set(err, MUGA_E_NONFINITE,
                       "the model computed infinity or not-a-number at position %llu; its weights are damaged",
                       (unsigned long long)t.bad_pos);
    }
    turns_give(&e->step_turns);
    return st;
}

muga_status engine_step(engine *e, engine_item *items, uint32_t n_items, muga_error *err) {
    return run_step((step){.e = e, .items = items, .n_items = n_items, .finite = true}, err);
}

muga_status engine_step_beside(engine *e, engine_item *items, uint32_t n_items, muga_error *err) {
    return run_step((step){.e = e, .items = items, .n_items = n_items, .finite = true, .yields = true}, err);
}

muga_status engine_step_rows(engine *e, engine_item *items, uint32_t n_items, engine_on_row each, void *ctx,
                             muga_error *err) {
    step t = {.e = e, .items = items, .n_items = n_items, .finite = true, .on_hidden = each, .on_hidden_ctx = ctx};
    return run_step(t, err);
}

muga_status engine_session_feed(engine_session *s, const int32_t *ids, uint32_t n, muga_error *err) {
    engine_item it = {.session = s, .ids = ids, .n = n, .want = ENGINE_LOGITS_LAST};
    return engine_step_beside(s->e, &it, 1, err);
}
