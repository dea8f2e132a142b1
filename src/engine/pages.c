/* The pool of KV pages: pages.h has the states and the invariants. */
#include "engine/pages.h"
#include "base/mem.h"

#define HEAD 64                       /* bytes for a page's head; also the alignment of its data */
#define KEEP_FREE_BYTES (16ull << 20) /* so much stays with the pool */
#define SLAB_BYTES (32ull << 20)      /* of a slab, where at least one page fits into it */
#define HUGE_BYTES ((size_t)2 << 20)  /* a large page of the system */

/* Before a page's data, which is aligned to HEAD bytes. */
typedef struct page_head {
    struct page_head *next; /* of the free or the spare list */
    void *entry;            /* of the prefix cache, while that holds it */
    uint32_t refs;          /* sessions */
    bool cached;            /* the prefix cache holds it */
    bool written;           /* its bytes may be other than zero */
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

void pages_set_size(page_pool *p, size_t data_bytes, uint64_t limit_bytes) {
    p->data_bytes = data_bytes;
    p->n.page_bytes = data_bytes + 2 * HEAD;
    p->n.max = MAX(limit_bytes / p->n.page_bytes, 1u);
    p->max_free = MAX(KEEP_FREE_BYTES / p->n.page_bytes, 4u);
}

static uint64_t made(const page_pool *p) {
    return p->n.in_use + p->n.idle + p->n.free;
}

static page_head *pop_free(page_pool *p) {
    page_head *h = p->free;
    if (h) {
        p->free = h->next;
        p->n.free--;
    }
    return h;
}

void pages_release(page_pool *p) {
    for (void *slab = p->slabs, *next; slab; slab = next) {
        memcpy(&next, slab, sizeof next);
        free(slab);
    }
    pthread_mutex_destroy(&p->lock);
}

static size_t place_bytes(const page_pool *p) {
    return (HEAD + p->data_bytes + HEAD - 1) / HEAD * HEAD;
}

/* calloc rather than an aligned allocation and memset: what is reserved and not written yet then costs no memory. */
static bool make_slab(page_pool *p) {
    size_t n = (size_t)MIN(MAX(SLAB_BYTES / place_bytes(p), 1u), p->n.max), bytes;
    uint8_t *slab = size_mul(n, place_bytes(p), &bytes) && bytes < SIZE_MAX - HEAD - HUGE_BYTES
                        ? mem_alloc_array(1, HEAD + HUGE_BYTES + bytes)
                        : NULL;
    if (!slab)
        return false;
    memcpy(slab, &p->slabs, sizeof p->slabs);
    p->slabs = slab;
    p->slab_at = slab + HEAD;
    p->slab_at += (HUGE_BYTES - (uintptr_t)p->slab_at % HUGE_BYTES) % HUGE_BYTES;
    p->slab_left = n;
    os_memory_prefer_huge(p->slab_at, bytes);
    return true;
}

static page_head *make_page(page_pool *p) {
    page_head *h = p->spare;
    if (h) {
        p->spare = h->next;
        return h;
    }
    if (!p->slab_left && !make_slab(p))
        return NULL;
    h = (page_head *)(void *)p->slab_at;
    p->slab_at += place_bytes(p);
    p->slab_left--;
    return h;
}

static muga_status no_room(page_pool *p, muga_error *err) {
    const double mib = 1.0 / (1 << 20);
    p->n.n_refused++;
    return error_set(err, MUGA_E_LIMIT,
                     "no room for more keys and values: %.1f MiB are in use of a limit of %.1f MiB (%u positions take "
                     "%.2f MiB); use fewer or shorter contexts, or raise the limit",
                     (double)(p->n.in_use * p->n.page_bytes) * mib, (double)(p->n.max * p->n.page_bytes) * mib, 64u,
                     (double)p->n.page_bytes * mib);
}

/* A page that nobody holds, its bytes whatever they are. */
static muga_status take_any(page_pool *p, page_head **out, muga_error *err) {
    if (!p->free && made(p) >= p->n.max && p->evict && p->evict(p->cache))
        p->n.n_evicted++;
    *out = pop_free(p);
    if (*out)
        return MUGA_OK;
    if (made(p) >= p->n.max)
        return no_room(p, err);
    *out = make_page(p);
    return *out ? MUGA_OK : error_nomem(err, "the pages of a session (a shorter context needs less)");
}

static void hold_first(page_pool *p, page_head *h) {
    h->refs = 1;
    h->next = NULL;
    p->n.in_use++;
    p->n.high_water = MAX(p->n.high_water, made(p));
}

muga_status pages_take(page_pool *p, void **out, muga_error *err) {
    page_head *h;
    muga_status st = take_any(p, &h, err);
    if (st)
        return st;
    if (h->written)
        memset(data_of(h), 0, p->data_bytes);
    h->written = false;
    hold_first(p, h);
    *out = data_of(h);
    return MUGA_OK;
}

muga_status pages_copy(page_pool *p, void **page, muga_error *err) {
    page_head *h;
    muga_status st = take_any(p, &h, err);
    if (st)
        return st;
    memcpy(data_of(h), *page, p->data_bytes);
    h->written = true;
    hold_first(p, h);
    pages_unref(p, *page);
    p->n.n_copied++;
    *page = data_of(h);
    return MUGA_OK;
}

static void let_go(page_pool *p, page_head *h) {
    if (p->n.free >= p->max_free) {
        os_memory_forget(data_of(h), p->data_bytes);
        h->next = p->spare;
        p->spare = h;
        return;
    }
    h->next = p->free;
    p->free = h;
    p->n.free++;
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
        p->n.in_use++;
        p->n.idle--;
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
    p->n.in_use--;
    if (!h->cached) {
        let_go(p, h);
        return;
    }
    p->n.idle++;
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

void pages_mark_written(void *page) {
    head_of(page)->written = true;
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
    p->n.idle--;
    let_go(p, h);
}

uint64_t pages_room(const page_pool *p) {
    return p->n.max - p->n.in_use;
}

bool pages_check(const page_pool *p) {
    uint64_t n_free = 0;
    for (const page_head *h = p->free; h; h = h->next, n_free++)
        if (h->refs || h->cached)
            return false;
    return n_free == p->n.free && made(p) <= p->n.max && p->n.idle <= p->n.cached && p->n.shared <= p->n.in_use;
}
