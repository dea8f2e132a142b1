/* The pool of KV pages: pages.h has the states and the invariants. */
#include "engine/pages.h"
#include "base/mem.h"

#define HEAD 64                       /* bytes for a page's head; also the alignment of its data */
#define KEEP_FREE_BYTES (16ull << 20) /* so much stays with the pool */
#define SLAB_BYTES (32ull << 20)      /* of a slab, where at least one page fits into it */
#define SMALL_BYTES 4096u             /* a small one */
#define HUGE_BYTES ((size_t)2 << 20)  /* a large page of the system */

/* Before a page's data, which is aligned to HEAD bytes. */
typedef struct page_head {
    struct page_head *next; /* of its kind's free or spare list */
    void *entry;            /* of the prefix cache, while that holds it */
    uint32_t refs;          /* sessions */
    uint8_t kind;           /* index into the pool's */
    bool cached;            /* the prefix cache holds it */
    bool written;           /* its bytes may be other than zero */
    bool touched;           /* the system has found memory for it */
} page_head;
_Static_assert(sizeof(page_head) <= HEAD, "a page's head fits before its data");

static page_head *head_of(const void *page) {
    return (page_head *)(uintptr_t)((const uint8_t *)page - HEAD);
}

static void *data_of(page_head *h) {
    return (uint8_t *)h + HEAD;
}

void pages_init(page_pool *p) {
    *p = (page_pool){0};
    pthread_mutex_init(&p->lock, NULL);
}

void pages_set_size(page_pool *p, uint32_t n_kinds, const size_t *data_bytes, uint64_t limit_bytes) {
    p->n_kinds = n_kinds;
    for (uint32_t k = 0; k < n_kinds; k++) {
        p->kinds[k] = (page_kind){.data_bytes = data_bytes[k], .page_bytes = data_bytes[k] + 2 * HEAD};
        p->n.page_bytes += p->kinds[k].page_bytes;
    }
    p->n.max_bytes = MAX(limit_bytes, p->n.page_bytes);
    p->max_free_bytes = MAX(KEEP_FREE_BYTES, 4 * p->n.page_bytes);
}

static page_kind *kind_of(page_pool *p, const page_head *h) {
    return &p->kinds[h->kind];
}

static uint64_t made_bytes(const page_pool *p) {
    return p->n.in_use_bytes + p->n.idle_bytes + p->n.free_bytes;
}

/* A page becomes one of a state, or (n = -1) no longer is. */
static void count(uint64_t *pages, uint64_t *bytes, const page_kind *k, int n) {
    *pages += (uint64_t)n;
    *bytes += (uint64_t)n * k->page_bytes;
}

static page_head *pop_free(page_pool *p, page_kind *k) {
    page_head *h = k->free;
    if (h) {
        k->free = h->next;
        count(&p->n.free, &p->n.free_bytes, k, -1);
    }
    return h;
}

/* Its memory goes back, its place stays. */
static void make_spare(page_kind *k, page_head *h) {
    os_memory_forget(data_of(h), k->data_bytes);
    h->touched = false;
    h->next = k->spare;
    k->spare = h;
}

void pages_release(page_pool *p) {
    for (void *slab = p->slabs, *next; slab; slab = next) {
        memcpy(&next, slab, sizeof next);
        free(slab);
    }
    pthread_mutex_destroy(&p->lock);
}

static size_t place_bytes(const page_kind *k) {
    return (HEAD + k->data_bytes + HEAD - 1) / HEAD * HEAD;
}

/* calloc rather than an aligned allocation and memset: what is reserved and not written yet then costs no memory. */
static bool make_slab(page_pool *p, page_kind *k) {
    size_t n = (size_t)MAX(MIN(SLAB_BYTES, p->n.max_bytes) / place_bytes(k), 1u), bytes;
    uint8_t *slab = size_mul(n, place_bytes(k), &bytes) && bytes < SIZE_MAX - HEAD - HUGE_BYTES
                        ? mem_alloc_array(1, HEAD + HUGE_BYTES + bytes)
                        : NULL;
    if (!slab)
        return false;
    memcpy(slab, &p->slabs, sizeof p->slabs);
    p->slabs = slab;
    k->slab_at = slab + HEAD;
    k->slab_at += (HUGE_BYTES - (uintptr_t)k->slab_at % HUGE_BYTES) % HUGE_BYTES;
    k->slab_left = n;
    os_memory_prefer_huge(k->slab_at, bytes);
    return true;
}

static page_head *make_page(page_pool *p, page_kind *k) {
    page_head *h = k->spare;
    if (h) {
        k->spare = h->next;
        return h;
    }
    if (!k->slab_left && !make_slab(p, k))
        return NULL;
    h = (page_head *)(void *)k->slab_at;
    h->kind = (uint8_t)(k - p->kinds);
    k->slab_at += place_bytes(k);
    k->slab_left--;
    return h;
}

static muga_status no_room(page_pool *p, muga_error *err) {
    const double mib = 1.0 / (1 << 20);
    p->n.n_refused++;
    return error_set(err, MUGA_E_LIMIT,
                     "no room for more keys and values: %.1f MiB are in use of a limit of %.1f MiB (%u positions take "
                     "%.2f MiB); use fewer or shorter contexts, or raise the limit",
                     (double)p->n.in_use_bytes * mib, (double)p->n.max_bytes * mib, 64u, (double)p->n.page_bytes * mib);
}

/* The memory of a free page of another kind goes back; false where there is none. */
static bool give_up_free(page_pool *p, const page_kind *but) {
    for (page_kind *k = p->kinds; k < p->kinds + p->n_kinds; k++) {
        page_head *h = k == but ? NULL : pop_free(p, k);
        if (h)
            make_spare(k, h);
        if (h)
            return true;
    }
    return false;
}

/* A page that nobody holds, its bytes whatever they are. */
static muga_status take_any(page_pool *p, page_kind *k, page_head **out, muga_error *err) {
    while (!k->free && made_bytes(p) + k->page_bytes > p->n.max_bytes) {
        if (give_up_free(p, k))
            continue;
        if (!p->evict || !p->evict(p->cache))
            return no_room(p, err);
        p->n.n_evicted++;
    }
    *out = pop_free(p, k);
    if (!*out)
        *out = make_page(p, k);
    return *out ? MUGA_OK : error_nomem(err, "the pages of a session (a shorter context needs less)");
}

static void hold_first(page_pool *p, page_head *h) {
    h->refs = 1;
    h->next = NULL;
    count(&p->n.in_use, &p->n.in_use_bytes, kind_of(p, h), 1);
    p->n.high_water_bytes = MAX(p->n.high_water_bytes, made_bytes(p));
}

muga_status pages_take(page_pool *p, uint32_t kind, void **out, muga_error *err) {
    page_kind *k = &p->kinds[kind];
    page_head *h;
    muga_status st = take_any(p, k, &h, err);
    if (st)
        return st;
    if (h->written)
        memset(data_of(h), 0, k->data_bytes);
    h->written = false;
    hold_first(p, h);
    *out = data_of(h);
    return MUGA_OK;
}

muga_status pages_copy(page_pool *p, void **page, muga_error *err) {
    page_kind *k = kind_of(p, head_of(*page));
    page_head *h;
    muga_status st = take_any(p, k, &h, err);
    if (st)
        return st;
    memcpy(data_of(h), *page, k->data_bytes);
    h->written = h->touched = true;
    hold_first(p, h);
    pages_unref(p, *page);
    p->n.n_copied++;
    *page = data_of(h);
    return MUGA_OK;
}

static void let_go(page_pool *p, page_head *h) {
    page_kind *k = kind_of(p, h);
    if (p->n.free_bytes + k->page_bytes > p->max_free_bytes) {
        make_spare(k, h);
        return;
    }
    h->next = k->free;
    k->free = h;
    count(&p->n.free, &p->n.free_bytes, k, 1);
}

static void tell_idle(page_pool *p, const page_head *h, bool is_idle) {
    if (p->on_idle)
        p->on_idle(p->cache, h->entry, is_idle);
}

void pages_ref(page_pool *p, void *page) {
    if (!page)
        return;
    page_head *h = head_of(page);
    if (h->refs == 0) {
        count(&p->n.in_use, &p->n.in_use_bytes, kind_of(p, h), 1);
        count(&p->n.idle, &p->n.idle_bytes, kind_of(p, h), -1);
        tell_idle(p, h, false);
    }
    p->n.shared += h->refs == 1;
    h->refs++;
}

void pages_unref(page_pool *p, void *page) {
    if (!page)
        return;
    page_head *h = head_of(page);
    p->n.shared -= h->refs == 2;
    if (--h->refs > 0)
        return;
    count(&p->n.in_use, &p->n.in_use_bytes, kind_of(p, h), -1);
    if (!h->cached) {
        let_go(p, h);
        return;
    }
    count(&p->n.idle, &p->n.idle_bytes, kind_of(p, h), 1);
    tell_idle(p, h, true);
}

bool pages_is_private(const void *page) {
    const page_head *h = head_of(page);
    return h->refs == 1 && !h->cached;
}

bool pages_is_idle(const void *page) {
    return head_of(page)->refs == 0;
}

bool pages_is_cached(const void *page) {
    return head_of(page)->cached;
}

/* One write for each small page of the system, or for a large one the first. */
static void touch(page_head *h, size_t bytes) {
    volatile uint8_t *data = data_of(h);
    if (h->touched)
        return;
    for (size_t i = 0; i < bytes; i += SMALL_BYTES)
        data[i] = 0;
    h->touched = true;
}

void pages_mark_written(page_pool *p, void *page) {
    page_head *h = head_of(page);
    touch(h, kind_of(p, h)->data_bytes);
    h->written = true;
}

/* A free page that is to be touched or cleared still, made or taken from the cache where n of its kind aren't ready. */
static page_head *take_unready(page_pool *p, page_kind *k, uint32_t n) {
    uint32_t n_ready = 0;
    for (page_head **at = &k->free; *at; at = &(*at)->next) {
        page_head *h = *at;
        if (h->written) {
            *at = h->next;
            count(&p->n.free, &p->n.free_bytes, k, -1);
            return h;
        }
        if (++n_ready == n)
            return NULL;
    }
    bool keeps = p->n.free_bytes + k->page_bytes <= p->max_free_bytes; /* else its memory would go back again */
    bool room = made_bytes(p) + k->page_bytes <= p->n.max_bytes;
    if (keeps && !room && p->n_kinds == 1 && p->evict && p->evict(p->cache)) {
        p->n.n_evicted++;
        return pop_free(p, k);
    }
    return keeps && room ? make_page(p, k) : NULL;
}

bool pages_get_ready(page_pool *p, uint32_t n) {
    bool any = false;
    for (page_kind *k = p->kinds; k < p->kinds + p->n_kinds; k++) {
        pthread_mutex_lock(&p->lock);
        page_head *h = take_unready(p, k, n);
        if (h)
            hold_first(p, h);
        pthread_mutex_unlock(&p->lock);
        if (!h)
            continue;
        touch(h, k->data_bytes);
        if (h->written)
            memset(data_of(h), 0, k->data_bytes);
        h->written = false;
        any = true;
        pthread_mutex_lock(&p->lock);
        pages_unref(p, data_of(h));
        pthread_mutex_unlock(&p->lock);
    }
    return any;
}

void pages_set_cached(page_pool *p, void *page, void *entry) {
    head_of(page)->cached = true;
    head_of(page)->entry = entry;
    p->n.cached++;
}

void pages_clear_cached(page_pool *p, void *page) {
    page_head *h = head_of(page);
    h->cached = false;
    p->n.cached--;
    if (h->refs > 0)
        return;
    count(&p->n.idle, &p->n.idle_bytes, kind_of(p, h), -1);
    let_go(p, h);
}

uint64_t pages_room(const page_pool *p) {
    return p->n.max_bytes - p->n.in_use_bytes;
}

bool pages_check(const page_pool *p) {
    uint64_t n_free = 0, free_bytes = 0;
    for (uint32_t k = 0; k < p->n_kinds; k++)
        for (const page_head *h = p->kinds[k].free; h; h = h->next, n_free++, free_bytes += p->kinds[k].page_bytes)
            if (h->refs || h->cached || h->kind != k)
                return false;
    return n_free == p->n.free && free_bytes == p->n.free_bytes && made_bytes(p) <= p->n.max_bytes &&
           p->n.idle <= p->n.cached && p->n.shared <= p->n.in_use;
}
