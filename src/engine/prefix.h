/* Private to engine/: the prefix cache, which lets sequences that begin alike share their pages.
 *
 * A tree of entries: an entry is 64 tokens that follow its parent's, and the page that holds their keys and values, or
 * the pages, one of each kind (pages.h). A root is a scope; its key is all that a page's bits depend on besides the
 * tokens, and whose it is: tenant, adapter and its scale, the choice that a model makes by the context limit. (Model
 * and run settings are the engine's, and so is the cache.) An entry may also hold fewer than 64 tokens: where a
 * sequence ended; it has no children.
 *
 *            root "tenant a"                     root "tenant b"
 *              |                                   |
 *            64 ids, page 3                      64 ids, page 9      the same ids: another page
 *              |            \
 *            64 ids, page 4  17 ids, page 7
 *
 * Invariants (prefix_check)
 *   1. A look-up compares the ids themselves under a parent that was found the same way: hashes say where to look.
 *   2. An entry whose page a session holds, that has children, or at which a session stands (prefix_hold), is not given
 *      up. So a session may keep a pointer to the end of the path whose tokens it has (its cursor).
 *   3. An entry's page is never written: the cache holds it (pages.h), so it is no session's alone.
 *   4. Idle pages are at most max_idle bytes after every call of prefix_trim. They go in the order in which they became
 *      idle, ends before what they follow: who lets go of a path begins at its end. So nothing is searched.
 *   5. Pages of layers with a window are let go by sessions that still hold the path, and are given up alone: such an
 *      entry has NULL in their place until somebody computes its tokens again (prefix_fill). A sequence can go on
 *      behind it where its window doesn't reach it. Pages of layers that see all are there as long as the entry.
 *   6. All of it happens under the lock of the page pool.
 *
 * Bits don't depend on hits: a page of the same scope and tokens has the same bits whoever computed it. */
#ifndef MUGA_ENGINE_PREFIX_H
#define MUGA_ENGINE_PREFIX_H

#include "engine/pages.h"

#define PREFIX_BLOCK 64u /* tokens of a full entry = positions of a page */
#define PREFIX_MAX_TENANT 255u

typedef struct prefix_cache prefix_cache;
typedef struct prefix_entry prefix_entry;

typedef struct prefix_scope {
    const char *tenant;         /* at most PREFIX_MAX_TENANT bytes */
    const char *adapter_sha256; /* "" = none */
    float adapter_scale;
    bool is_long; /* model_context_is_long */
} prefix_scope;

/* windowed [pool->n_kinds]: the layers of this kind of page have a window. max_idle: bytes */
MUGA_MUST_USE muga_status prefix_new(page_pool *pool, const bool *windowed, uint64_t max_idle, prefix_cache **out,
                                     muga_error *err);
void prefix_free(prefix_cache *c); /* no session stands at a root any more; NULL is fine */

/* ---- with the pool's lock held ---- */
/* The root of a scope, held once more until prefix_leave; NULL when memory is out. */
prefix_entry *prefix_enter(prefix_cache *c, const prefix_scope *scope);
prefix_entry *prefix_hold(prefix_entry *e); /* a session stands here, too; returns it */
void prefix_leave(prefix_cache *c, prefix_entry *e);

uint32_t prefix_depth(const prefix_entry *e); /* full blocks up to its end; 0 = a root */
prefix_entry *prefix_parent(const prefix_entry *e);
void *prefix_page(const prefix_entry *e, uint32_t kind); /* NULL = given up */

/* The full entry of ids[0, PREFIX_BLOCK) after `at`; NULL = none. */
prefix_entry *prefix_find(const prefix_cache *c, const prefix_entry *at, const int32_t *ids);
/* The entry after `at`, all its pages there, that has most tokens in common with ids[0, n), and how many; NULL = none
 * has any. */
prefix_entry *prefix_find_part(const prefix_cache *c, const prefix_entry *at, const int32_t *ids, uint32_t n,
                               uint32_t *n_common);
/* Keep pages, one of each kind, that hold ids[0, n) after `at`, n at most PREFIX_BLOCK. NULL when memory is out:
 * nothing changed. */
prefix_entry *prefix_add(prefix_cache *c, prefix_entry *at, const int32_t *ids, uint32_t n, void *const *pages);
/* A page that sessions hold in the place of one that was given up. */
void prefix_fill(prefix_cache *c, prefix_entry *e, uint32_t kind, void *page);
void prefix_trim(prefix_cache *c);
bool prefix_evict(void *c);                              /* page_pool.evict */
void prefix_on_idle(void *c, void *entry, bool is_idle); /* page_pool.on_idle */
bool prefix_check(const prefix_cache *c);

#endif
