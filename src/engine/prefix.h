/* Private to engine/: the prefix cache, which lets sequences that begin alike share their pages.
 *
 * A tree of entries, one a page: an entry is 64 tokens that follow its parent's, and the page that holds their keys and
 * values. A root is a scope; its key is all that a page's bits depend on besides the tokens, and whose it is: tenant,
 * adapter and its scale, the choice that a model makes by the context limit. (Model and run settings are the engine's,
 * and so is the cache.) An entry may also hold fewer than 64 tokens: where a sequence ended; it has no children.
 *
 *            root "tenant a"                     root "tenant b"
 *              |                                   |
 *            64 ids, page 3                      64 ids, page 9      the same ids: another page
 *              |            \
 *            64 ids, page 4  17 ids, page 7
 *
 * Invariants (prefix_check)
 *   1. A look-up compares the ids themselves under a parent that was found the same way: hashes say where to look.
 *   2. An entry whose page a session holds, that has children, or whose root a session stands at, is not given up. So a
 *      session that holds the pages of a path may keep a pointer to the path's end (its cursor).
 *   3. An entry's page is never written: the cache holds it (pages.h), so it is no session's alone.
 *   4. Idle pages are at most max_idle after every call of prefix_trim. They go in the order in which they became idle,
 *      ends before what they follow: who lets go of a path begins at its end. So the first in that order has no
 *      children, and nothing is searched.
 *   5. All of it happens under the lock of the page pool.
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

MUGA_MUST_USE muga_status prefix_new(page_pool *pool, uint64_t max_idle, prefix_cache **out, muga_error *err);
void prefix_free(prefix_cache *c); /* no session stands at a root any more; NULL is fine */

/* ---- with the pool's lock held ---- */
/* The root of a scope, held once more until prefix_leave; NULL when memory is out. */
prefix_entry *prefix_enter(prefix_cache *c, const prefix_scope *scope);
prefix_entry *prefix_hold(prefix_entry *root); /* once more; returns it */
void prefix_leave(prefix_cache *c, prefix_entry *root);

uint32_t prefix_depth(const prefix_entry *e); /* full blocks up to its end; 0 = a root */
prefix_entry *prefix_parent(const prefix_entry *e);
void *prefix_page(const prefix_entry *e);

/* The full entry of ids[0, PREFIX_BLOCK) after `at`; NULL = none. */
prefix_entry *prefix_find(const prefix_cache *c, const prefix_entry *at, const int32_t *ids);
/* The entry after `at` that has most tokens in common with ids[0, n), and how many; NULL = none has any. */
prefix_entry *prefix_find_part(const prefix_entry *at, const int32_t *ids, uint32_t n, uint32_t *n_common);
/* Keep a page that holds ids[0, n) after `at`, n at most PREFIX_BLOCK. NULL when memory is out: nothing changed. */
prefix_entry *prefix_add(prefix_cache *c, prefix_entry *at, const int32_t *ids, uint32_t n, void *page);
void prefix_trim(prefix_cache *c);
bool prefix_evict(void *c);                              /* page_pool.evict */
void prefix_on_idle(void *c, void *entry, bool is_idle); /* page_pool.on_idle */
bool prefix_check(const prefix_cache *c);

#endif
