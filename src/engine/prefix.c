/* The prefix cache: a tree of pages by what they hold. prefix.h has the picture and the invariants. */
#include "engine/prefix.h"
#include "base/hash.h"
#include "base/mem.h"

#define FIRST_BUCKETS 64u
#define MAX_LOOKED_AT 64u /* children that a search for a part goes through, latest first */

/* A page of an entry. */
typedef struct prefix_slot {
    void *page;          /* NULL: given up, or of a root */
    uint64_t idle_since; /* of an idle one, a count */
    prefix_entry *of;
    struct prefix_slot *newer, *older; /* of idle ones, by when they became so */
} prefix_slot;

struct prefix_entry {
    prefix_entry *parent;        /* NULL of a root */
    prefix_entry *child;         /* latest first */
    prefix_entry *next, *before; /* among the children of the parent; of roots: next alone */
    prefix_entry *in_bucket;     /* next of the same bucket; full entries */
    prefix_slot slots[MODEL_MAX_KINDS];
    uint64_t serial; /* never used twice: what hashes are seeded with */
    uint32_t depth, n_ids;
    uint32_t n_sessions; /* that stand there */
    union {
        int32_t ids[PREFIX_BLOCK];
        struct { /* of a root */
            char tenant[PREFIX_MAX_TENANT + 1], adapter_sha256[SHA256_HEX];
            float adapter_scale;
            bool is_long;
        };
    };
};

struct prefix_cache {
    page_pool *pool;
    bool windowed[MODEL_MAX_KINDS];
    uint64_t max_idle, n_entries, last_serial, last_idle;
    prefix_entry *roots;
    prefix_slot *newest, *oldest; /* idle ones */
    prefix_entry **buckets;       /* [n_buckets], a power of two */
    uint64_t n_buckets;
};

muga_status prefix_new(page_pool *pool, const bool *windowed, uint64_t max_idle, prefix_cache **out, muga_error *err) {
    prefix_cache *c = mem_alloc_array(1, sizeof *c);
    if (c)
        c->buckets = mem_alloc_array(FIRST_BUCKETS, sizeof(prefix_entry *));
    if (!c || !c->buckets) {
        free(c);
        return error_nomem(err, "the prefix cache");
    }
    c->pool = pool;
    memcpy(c->windowed, windowed, pool->n_kinds * sizeof *windowed);
    c->max_idle = max_idle;
    c->n_buckets = FIRST_BUCKETS;
    *out = c;
    return MUGA_OK;
}

void prefix_free(prefix_cache *c) {
    if (!c)
        return;
    while (prefix_evict(c)) {}
    free(c->buckets);
    free(c);
}

/* ---- lists ---- */

static prefix_entry **bucket_of(const prefix_cache *c, const prefix_entry *parent, const int32_t *ids) {
    return &c->buckets[hash64(ids, PREFIX_BLOCK * sizeof *ids, parent->serial) & (c->n_buckets - 1)];
}

static void put_in_bucket(const prefix_cache *c, prefix_entry *e) {
    prefix_entry **b = bucket_of(c, e->parent, e->ids);
    e->in_bucket = *b;
    *b = e;
}

/* Twice the buckets; where memory is out the chains grow instead. */
static void grow(prefix_cache *c) {
    prefix_entry **more = mem_alloc_array(2 * c->n_buckets, sizeof(prefix_entry *));
    if (!more)
        return;
    prefix_entry **old = c->buckets;
    uint64_t n_old = c->n_buckets;
    c->buckets = more;
    c->n_buckets *= 2;
    for (uint64_t i = 0; i < n_old; i++)
        for (prefix_entry *e = old[i], *next; e; e = next) {
            next = e->in_bucket;
            put_in_bucket(c, e);
        }
    free(old);
}

static void idle_list_remove(prefix_cache *c, prefix_slot *s) {
    *(s->newer ? &s->newer->older : &c->newest) = s->older;
    *(s->older ? &s->older->newer : &c->oldest) = s->newer;
}

static void idle_list_put(prefix_cache *c, prefix_slot *s) {
    s->idle_since = ++c->last_idle;
    s->newer = NULL;
    s->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = s;
    c->newest = s;
}

void prefix_on_idle(void *c, void *slot, bool is_idle) {
    if (is_idle)
        idle_list_put(c, slot);
    else
        idle_list_remove(c, slot);
}

/* ---- roots ---- */

static bool is_scope(const prefix_entry *root, const prefix_scope *s) {
    return strcmp(root->tenant, s->tenant) == 0 && strcmp(root->adapter_sha256, s->adapter_sha256) == 0 &&
           memcmp(&root->adapter_scale, &s->adapter_scale, sizeof s->adapter_scale) == 0 && root->is_long == s->is_long;
}

prefix_entry *prefix_hold(prefix_entry *e) {
    e->n_sessions++;
    return e;
}

prefix_entry *prefix_enter(prefix_cache *c, const prefix_scope *scope) {
    prefix_entry *root = c->roots;
    while (root && !is_scope(root, scope))
        root = root->next;
    if (!root) {
        root = mem_alloc_array(1, sizeof *root);
        if (!root)
            return NULL;
        memcpy(root->tenant, scope->tenant, strlen(scope->tenant));
        memcpy(root->adapter_sha256, scope->adapter_sha256, strlen(scope->adapter_sha256));
        root->adapter_scale = scope->adapter_scale;
        root->is_long = scope->is_long;
        root->serial = ++c->last_serial;
        root->next = c->roots;
        c->roots = root;
    }
    return prefix_hold(root);
}

static void drop_root_if_unused(prefix_cache *c, prefix_entry *root) {
    if (root->parent || root->child || root->n_sessions > 0)
        return;
    prefix_entry **p = &c->roots;
    while (*p != root)
        p = &(*p)->next;
    *p = root->next;
    free(root);
}

uint32_t prefix_depth(const prefix_entry *e) {
    return e->depth;
}
prefix_entry *prefix_parent(const prefix_entry *e) {
    return e->parent;
}
void *prefix_page(const prefix_entry *e, uint32_t kind) {
    return e->slots[kind].page;
}

/* ---- entries ---- */

prefix_entry *prefix_find(const prefix_cache *c, const prefix_entry *at, const int32_t *ids) {
    prefix_entry *e = *bucket_of(c, at, ids);
    while (e && (e->parent != at || memcmp(e->ids, ids, sizeof e->ids) != 0))
        e = e->in_bucket;
    return e;
}

static uint32_t common(const prefix_entry *e, const int32_t *ids, uint32_t n) {
    uint32_t i = 0, end = MIN(e->n_ids, n);
    while (i < end && e->ids[i] == ids[i])
        i++;
    return i;
}

static uint32_t count_pages(const prefix_entry *e) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < MODEL_MAX_KINDS; k++)
        n += e->slots[k].page != NULL;
    return n;
}

prefix_entry *prefix_find_part(const prefix_cache *c, const prefix_entry *at, const int32_t *ids, uint32_t n,
                               uint32_t *n_common) {
    prefix_entry *best = NULL, *e = at->child;
    *n_common = 0;
    for (uint32_t k = 0; e && k < MAX_LOOKED_AT; k++, e = e->next) {
        uint32_t here = count_pages(e) == c->pool->n_kinds ? common(e, ids, n) : 0;
        if (here > *n_common) {
            *n_common = here;
            best = e;
        }
    }
    return best;
}

static bool may_go(const prefix_entry *e) {
    for (uint32_t k = 0; k < MODEL_MAX_KINDS; k++)
        if (e->slots[k].page && !pages_is_idle(e->slots[k].page))
            return false;
    return !e->child && e->n_sessions == 0;
}

/* The page, idle or none, goes. */
static void empty_slot(prefix_cache *c, prefix_slot *s) {
    if (!s->page)
        return;
    idle_list_remove(c, s);
    pages_clear_cached(c->pool, s->page);
    s->page = NULL;
}

/* One that may go; returns its parent. */
static prefix_entry *remove_entry(prefix_cache *c, prefix_entry *e) {
    prefix_entry *parent = e->parent;
    if (e->n_ids == PREFIX_BLOCK) {
        prefix_entry **b = bucket_of(c, parent, e->ids);
        while (*b != e)
            b = &(*b)->in_bucket;
        *b = e->in_bucket;
    }
    *(e->before ? &e->before->next : &parent->child) = e->next;
    if (e->next)
        e->next->before = e->before;
    for (uint32_t k = 0; k < MODEL_MAX_KINDS; k++)
        empty_slot(c, &e->slots[k]);
    c->n_entries--;
    free(e);
    return parent;
}

/* What is left of a path without pages or children goes, and its root where that was the last. */
static void tidy(prefix_cache *c, prefix_entry *e) {
    while (e->parent && may_go(e) && count_pages(e) == 0)
        e = remove_entry(c, e);
    drop_root_if_unused(c, e);
}

void prefix_leave(prefix_cache *c, prefix_entry *e) {
    e->n_sessions--;
    tidy(c, e);
}

/* What ended where this goes on has nothing that this hasn't. */
static void drop_part_of(prefix_cache *c, const prefix_entry *whole) {
    prefix_entry *e = whole->next;
    for (uint32_t k = 0; e && k < MAX_LOOKED_AT; k++) {
        prefix_entry *next = e->next;
        if (may_go(e) && e->n_ids <= whole->n_ids && common(e, whole->ids, whole->n_ids) == e->n_ids)
            (void)remove_entry(c, e);
        e = next;
    }
}

prefix_entry *prefix_add(prefix_cache *c, prefix_entry *at, const int32_t *ids, uint32_t n, void *const *pages) {
    prefix_entry *e = mem_alloc_array(1, sizeof *e);
    if (!e)
        return NULL;
    if (c->n_entries >= c->n_buckets)
        grow(c);
    e->parent = at;
    e->serial = ++c->last_serial;
    e->depth = at->depth + 1;
    e->n_ids = n;
    memcpy(e->ids, ids, n * sizeof *ids);
    e->next = at->child;
    if (e->next)
        e->next->before = e;
    at->child = e;
    if (n == PREFIX_BLOCK)
        put_in_bucket(c, e);
    for (uint32_t k = 0; k < c->pool->n_kinds; k++)
        prefix_fill(c, e, k, pages[k]);
    c->n_entries++;
    drop_part_of(c, e);
    return e;
}

void prefix_fill(prefix_cache *c, prefix_entry *e, uint32_t kind, void *page) {
    prefix_slot *s = &e->slots[kind];
    s->of = e;
    s->page = page;
    pages_set_cached(c->pool, page, s);
}

/* An entry can do without pages of layers with a window; it goes with those of layers that see all, and what follows it
 * has gone before. */
bool prefix_evict(void *ctx) {
    prefix_cache *c = ctx;
    prefix_slot *s = c->oldest;
    if (!s)
        return false;
    prefix_entry *e = s->of;
    if (c->windowed[s - e->slots])
        empty_slot(c, s);
    else
        e = remove_entry(c, e);
    tidy(c, e);
    return true;
}

void prefix_trim(prefix_cache *c) {
    while (c->pool->n.idle_bytes > c->max_idle && prefix_evict(c)) {}
}

/* The entry after e in a walk through the tree; NULL = that was the last of its root's. */
static const prefix_entry *next_in_tree(const prefix_entry *e) {
    if (e->child)
        return e->child;
    while (e->parent && !e->next)
        e = e->parent;
    return e->parent ? e->next : NULL;
}

/* A slot and the one before it on its path: the page of layers that see all is there, and idle before the other is. */
static bool check_slot(const prefix_cache *c, const prefix_slot *s, const prefix_slot *before, uint32_t kind) {
    if (s->page && (s->of->slots + kind != s || !pages_is_cached(s->page)))
        return false;
    if (c->windowed[kind])
        return true;
    bool is_idle = s->page && pages_is_idle(s->page), before_idle = before->page && pages_is_idle(before->page);
    return s->page && (!before_idle || (is_idle && s->idle_since < before->idle_since));
}

static bool check_entry(const prefix_cache *c, const prefix_entry *e) {
    bool found = e->n_ids < PREFIX_BLOCK ? !e->child : prefix_find(c, e->parent, e->ids) == e;
    bool slots = true;
    for (uint32_t k = 0; k < c->pool->n_kinds; k++)
        slots = slots && check_slot(c, &e->slots[k], &e->parent->slots[k], k);
    bool of_use = count_pages(e) > 0 || e->child || e->n_sessions > 0;
    return found && slots && of_use && e->depth == e->parent->depth + 1;
}

bool prefix_check(const prefix_cache *c) {
    uint64_t n = 0, n_pages = 0, n_idle = 0;
    for (const prefix_entry *root = c->roots; root; root = root->next)
        for (const prefix_entry *e = next_in_tree(root); e; e = next_in_tree(e), n++) {
            if (!check_entry(c, e))
                return false;
            n_pages += count_pages(e);
        }
    for (const prefix_slot *s = c->oldest; s; s = s->newer, n_idle++)
        if (!s->page || !pages_is_idle(s->page) || (s->newer ? s->newer->older != s : c->newest != s))
            return false;
    return n == c->n_entries && n_pages == c->pool->n.cached && n_idle == c->pool->n.idle;
}
