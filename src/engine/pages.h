/* Private to engine/: the pages of keys and values, with a limit in bytes.
 *
 * A page holds 64 positions of all layers, or of those of one kind (model_kinds); it is named by the address of its
 * data. Kinds differ in bytes and share the limit: a page of one makes room for a page of the other. Two sorts of
 * holder: sessions, counted in `refs`, and the prefix cache, which holds a page once (`cached`).
 *
 *   state    refs  cached  may be written   becomes
 *   private  1     no      yes              shared (pages_ref), idle or private+cached (pages_set_cached), free
 *   shared   2..   any     no               ... (pages_unref)
 *   kept     1     yes     no               idle (pages_unref), private (pages_clear_cached)
 *   idle     0     yes     no               kept (pages_ref), free (pages_clear_cached)
 *   free     0     no      -                private (pages_take)
 *
 * Invariants (pages_check; the tests call it after every step)
 *   1. in_use + idle + free = made, in pages and in bytes, and made_bytes <= max_bytes.
 *   2. A page that pages_take gives is zero bytes: memory from calloc that nobody touched is not touched here either.
 *      Pages lie side by side in slabs that begin on a large page of the system: attention reads them all for every
 *      token, a few KB at a time, and would wait for the tables of small ones. A slab stays until the pool ends.
 *   3. Only a page whose holder is one session, and not the cache, is written (pages_is_private).
 *   4. Everything here happens under `lock`, which is never held while the model computes: nobody waits for a step in
 *      order to fork, free or look something up. Order of locks: the engine's step_turns, then this.
 *
 * A window of attention: pages that lie wholly below what any of their layers still sees are let go while the session
 * goes on (session.c); its list then has NULL in their place, which pages_ref and pages_unref take. */
#ifndef MUGA_ENGINE_PAGES_H
#define MUGA_ENGINE_PAGES_H

#include "engine/engine.h"

#include <pthread.h>

typedef struct page_kind {
    size_t data_bytes;
    uint64_t page_bytes; /* with its head: what counts */
    struct page_head *free;
    struct page_head *spare; /* places for pages, their memory given back; not made */
    uint8_t *slab_at;        /* the next place in the newest slab, */
    size_t slab_left;        /* and how many there are */
} page_kind;

typedef struct page_pool {
    pthread_mutex_t lock;
    uint32_t n_kinds;
    page_kind kinds[MODEL_MAX_KINDS];
    uint64_t max_free_bytes; /* the memory of more free pages than that goes back to the system */
    void *slabs;             /* as allocated; each begins with the address of the next */
    engine_kv_counts n;
    /* The prefix cache; called with the lock held. evict gives up one idle page; false when there is none. on_idle, of
     * a page that the cache holds as `entry`: it became idle, or is so no more. May be NULL. */
    bool (*evict)(void *ctx);
    void (*on_idle)(void *ctx, void *entry, bool is_idle);
    void *cache; /* their ctx */
} page_pool;

void pages_init(page_pool *p);
/* Once, before the first page. data_bytes [n_kinds] */
void pages_set_size(page_pool *p, uint32_t n_kinds, const size_t *data_bytes, uint64_t limit_bytes);
void pages_release(page_pool *p); /* no page is held any more */

/* ---- with the lock held ---- */
/* A private page of zero bytes. MUGA_E_LIMIT with the numbers when the limit leaves no room; MUGA_E_NOMEM. */
MUGA_MUST_USE muga_status pages_take(page_pool *p, uint32_t kind, void **out, muga_error *err);
/* A private copy of a shared page; the caller's reference moves to it. */
MUGA_MUST_USE muga_status pages_copy(page_pool *p, void **page, muga_error *err);
void pages_ref(page_pool *p, void *page); /* one more session holds it; NULL is fine */
void pages_unref(page_pool *p, void *page);
/* It is going to be: its bytes aren't zero any more. Only its holder does that, without the lock. Memory that is still
 * to be found for it is found now, by one thread: two that write to a large page at the same time both clear it. */
void pages_mark_written(page_pool *p, void *page);
bool pages_is_private(const void *page);
bool pages_is_idle(const void *page);
bool pages_is_cached(const void *page);
void pages_set_cached(page_pool *p, void *page, void *entry); /* a page that sessions hold */
void pages_clear_cached(page_pool *p, void *page);
/* Bytes of pages that could be taken now without anybody losing one in use. */
uint64_t pages_room(const page_pool *p);
/* Without the lock: where fewer than n of a kind are free, zero bytes and in memory, one more; at most one of each
 * kind; true where there was one. Where there's no room else the cache gives one up (of one kind alone: it chooses
 * which). Finding memory takes milliseconds, which nobody is to wait for in a step. */
bool pages_get_ready(page_pool *p, uint32_t n);
bool pages_check(const page_pool *p); /* the invariants that can be seen from here */

#endif
