/* Models in memory: an entry a name, a group of weights under one or several of them.
 *
 *             pool_take                load_entry ok            pool_give, last            pool_sweep, make_room
 *   (absent) ----------> LOADING ---------------------> READY (lent) ------> READY (idle) ----------------> (absent)
 *                           | load_entry fails            |  doomed: pool_unload, changed in the store  ^
 *                           v                             +---------------------------------------------+
 *                        FAILED, until all that waited for it have been told
 *
 * Invariants, with the lock held:
 *  1. At most one entry of a name is not doomed.
 *  2. An entry is freed only while nobody has it: n_lent, n_refs are 0, and its thread is the one that detached it.
 *  3. `changed` is signalled whenever an entry's state or n_lent changes, or one goes.
 *  4. A group lives while an entry has it; its weights are counted once.
 *  5. At most one group is leaving; nobody is lent an entry of it, and it is freed when those who have it are done.
 *
 * Who waits for room (make_room), in turn: while what is there is used all the time, a model that isn't would never be
 * loaded. So after PATIENCE_MS the one that has waited longest goes first: the others wait for it, and what was used
 * longest ago leaves. */
#include "serve/pool.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>

#define WAITING 512u
#define LOOK_MS 50          /* a taker looks so often whether its client is still there */
#define PATIENCE_MS 1000    /* a taker waits so long beside those who use a model all the time, then it goes first */
#define SWEEP_MS 60000      /* at the latest, and */
#define SWEEP_LEAST_MS 100  /* not sooner than this */
#define KV_SHARE 4          /* of all the memory: most that keys and values of one model may have */
#define MOST_CONTEXT 32768u /* tokens, of a model of which nothing is said */
#define SPARE_BYTES ((uint64_t)24 << 20)

typedef enum { LOADING, READY, FAILED } entry_state;

typedef struct group {
    uint32_t n_entries;
    uint64_t bytes; /* what it is thought to take before it is loaded */
    bool leaving;   /* its room is wanted: all its entries are doomed */
} group;

typedef struct pool_entry {
    char *name;
    pool_variant variant; /* its adapter is owned */
    hub_model stored;
    os_stat stamp; /* of its manifest when it was read */
    pool_settings set;
    group *weights; /* NULL until it is known which */
    llm *m;
    entry_state state;
    muga_error failure;
    uint32_t n_lent;
    uint32_t n_refs; /* takers that wait for it, and the one that loads it */
    bool doomed;
    uint64_t used_ms; /* monotonic, when it was given back last */
    uint64_t turn;    /* while it waits for room: its place among those who do; else 0 */
    uint64_t asked_ms;
    struct pool_entry *next;
} pool_entry;

typedef struct named_settings {
    char *name;
    pool_settings set;
    struct named_settings *next;
} named_settings;

struct pool {
    pool_options o;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pool_entry *entries;
    named_settings *settings;
    uint32_t n_waiting;
    uint64_t n_turns;
    uint64_t going_bytes; /* of entries that are being freed, and no longer in the list */
    bool closing;
};

static uint64_t now_ms(const pool *p) {
    return p->o.clock->monotonic_us(p->o.clock->self) / 1000;
}

muga_status pool_new(const pool_options *o, pool **out, muga_error *err) {
    pool *p = mem_alloc_array(1, sizeof *p);
    if (!p)
        return error_nomem(err, "the models' table");
    p->o = *o;
    if (!p->o.memory_bytes)
        p->o.memory_bytes = os_memory_bytes() / 4 * 3;
    if (!p->o.n_waiting)
        p->o.n_waiting = WAITING;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = p;
    return MUGA_OK;
}

muga_status pool_set(pool *p, const char *name, const pool_settings *set, muga_error *err) {
    char full[HUB_NAME_BYTES];
    muga_status st = hub_full_name(name, full, err);
    if (st)
        return st;
    named_settings *s = mem_alloc_array(1, sizeof *s);
    char *copy = mem_copy_string(full);
    if (!s || !copy) {
        free(s);
        free(copy);
        return error_nomem(err, "a model's settings");
    }
    *s = (named_settings){copy, *set, NULL};
    pthread_mutex_lock(&p->lock);
    s->next = p->settings; /* the newest of a name is found first */
    p->settings = s;
    pthread_mutex_unlock(&p->lock);
    return MUGA_OK;
}

static pool_settings settings_of(const pool *p, const char *name) {
    for (const named_settings *s = p->settings; s; s = s->next)
        if (!strcmp(s->name, name))
            return s->set;
    return p->o.all;
}

/* ---- entries; all with the lock held unless they say otherwise ---- */

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && !strcmp(a, b));
}

static bool same_variant(const pool_variant *a, const pool_variant *b) {
    return same_text(a->adapter, b->adapter) && a->scale == b->scale && a->has_kv == b->has_kv && a->kv == b->kv;
}

static pool_entry *find(const pool *p, const char *name, const pool_variant *variant) {
    for (pool_entry *e = p->entries; e; e = e->next)
        if (!e->doomed && !strcmp(e->name, name) && same_variant(&e->variant, variant))
            return e;
    return NULL;
}

static bool is_used(const pool_entry *e) {
    return e->n_lent || e->n_refs;
}

static void detach(pool *p, pool_entry *e) {
    pool_entry **at = &p->entries;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    pthread_cond_broadcast(&p->changed);
}

/* What its model says it takes, or what it is thought to. */
static uint64_t bytes_of(const pool_entry *e) {
    return e->m ? llm_memory_bytes(e->m) : e->weights->bytes;
}

/* Of a detached one; the lock is let go while the model is freed. */
static void entry_free(pool *p, pool_entry *e) {
    group *g = e->weights;
    bool last = g && --g->n_entries == 0;
    uint64_t bytes = last ? bytes_of(e) : 0;
    p->going_bytes += bytes;
    pthread_mutex_unlock(&p->lock);
    llm_free(e->m);
    pthread_mutex_lock(&p->lock);
    p->going_bytes -= bytes;
    if (last)
        free(g);
    pthread_cond_broadcast(&p->changed); /* there is room now */
    hub_model_release(&e->stored);
    free(e->name);
    free((char *)(uintptr_t)e->variant.adapter);
    free(e);
}

static void free_if_unused(pool *p, pool_entry *e) {
    if (is_used(e) || !(e->doomed || e->state == FAILED))
        return;
    detach(p, e);
    entry_free(p, e);
}

/* Waits for a change. false: the caller is not to wait any longer, and *st says why. */
static bool wait_for_change(pool *p, const atomic_bool *gone, muga_status *st, muga_error *err) {
    struct timespec until;
    if (p->closing)
        *st = error_set(err, MUGA_E_ENV, "the server is stopping");
    else if (gone && atomic_load(gone))
        *st = error_set(err, MUGA_E_CANCELLED, "the client has gone");
    else if (p->n_waiting >= p->o.n_waiting)
        *st = error_set(err, MUGA_E_ENV, "%u requests wait for a model already; try again later", p->n_waiting);
    else
        *st = MUGA_OK;
    if (*st)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    p->n_waiting++;
    (void)pthread_cond_timedwait(&p->changed, &p->lock, &until);
    p->n_waiting--;
    return true;
}

/* ---- memory ---- */

/* Each group once. */
static uint64_t bytes_in_use(const pool *p) {
    uint64_t sum = p->going_bytes;
    for (const pool_entry *e = p->entries; e; e = e->next) {
        bool counted = !e->weights;
        for (const pool_entry *before = p->entries; before != e && !counted; before = before->next)
            counted = before->weights == e->weights;
        if (!counted)
            sum += bytes_of(e);
    }
    return sum;
}

/* Of those that can be unloaded now, or of those that are used. */
static pool_entry *least_used(const pool *p, bool used) {
    pool_entry *least = NULL;
    for (pool_entry *e = p->entries; e; e = e->next)
        if (e->state == READY && is_used(e) == used && !e->set.pinned && (!least || e->used_ms < least->used_ms))
            least = e;
    return least;
}

/* Somebody else has memory and may give it back. (One that waits for room itself has none.) */
static bool any_will_go(const pool *p, const pool_entry *but) {
    for (const pool_entry *e = p->entries; e; e = e->next)
        if (e != but && e->weights && (e->state == LOADING || is_used(e)) && !e->set.pinned)
            return true;
    return p->going_bytes > 0;
}

static bool has_waited(const pool *p, const pool_entry *e) {
    return e->turn && now_ms(p) >= e->asked_ms + PATIENCE_MS;
}

static bool is_behind(const pool *p, const pool_entry *e) {
    for (const pool_entry *other = p->entries; other; other = other->next)
        if (other->turn && other->turn < e->turn && has_waited(p, other))
            return true;
    return false;
}

/* The group that was used longest ago is lent no more, unless one leaves already, it is only now being loaded, or it
 * has to stay. */
static void let_one_leave(pool *p) {
    const pool_entry *least = least_used(p, true);
    for (const pool_entry *e = p->entries; e; e = e->next)
        if (!least || (e->weights && e->weights->leaving) ||
            (e->weights == least->weights && (e->state == LOADING || e->set.pinned)))
            return;
    least->weights->leaving = true;
    for (pool_entry *e = p->entries; e; e = e->next)
        e->doomed = e->doomed || e->weights == least->weights;
    pthread_cond_broadcast(&p->changed);
}

/* A step towards room for e: *there, or something has changed meanwhile. */
static muga_status make_room(pool *p, const pool_entry *e, uint64_t need, const atomic_bool *gone, bool *there,
                             muga_error *err) {
    muga_status st = MUGA_OK;
    bool behind = is_behind(p, e);
    pool_entry *least = least_used(p, false);
    *there = !behind && bytes_in_use(p) + need <= p->o.memory_bytes;
    if (*there)
        return MUGA_OK;
    if (!behind && least) {
        detach(p, least);
        entry_free(p, least);
        return MUGA_OK;
    }
    if (!behind && !any_will_go(p, e))
        return error_set(err, MUGA_E_LIMIT,
                         "%.64s needs about %llu MB, and the limit of all models is %llu MB, of which pinned ones "
                         "have %llu; raise the limit",
                         e->name, (unsigned long long)(need >> 20), (unsigned long long)(p->o.memory_bytes >> 20),
                         (unsigned long long)(bytes_in_use(p) >> 20));
    if (!behind && has_waited(p, e))
        let_one_leave(p);
    (void)wait_for_change(p, gone, &st, err);
    return st;
}

/* ---- loading ---- */

/* Keys and values take memory as they come, so a long context costs nothing until it is used. */
static uint32_t context_of(const pool_entry *e) {
    int64_t stored = json_get_int(e->stored.parameters, "num_ctx", 0);
    return e->set.n_ctx ? e->set.n_ctx
           : stored > 0 ? (uint32_t)stored
                        : MIN(e->stored.details.n_ctx_train, MOST_CONTEXT);
}

/* Whoever made the model knew that its adapter was trained on another file. */
static bool any_base_of(const pool_entry *e) {
    return e->stored.n_adapters && e->stored.adapters[0].any_base && !e->variant.adapter;
}

static bool same_weights(const pool_entry *a, const pool_entry *b) {
    return !strcmp(a->stored.path, b->stored.path) && same_text(a->stored.template, b->stored.template) &&
           context_of(a) == context_of(b) && a->set.n_threads == b->set.n_threads && a->set.kv == b->set.kv &&
           a->set.exact == b->set.exact && a->set.drafts == b->set.drafts && any_base_of(a) == any_base_of(b);
}

static pool_entry *find_same(const pool *p, const pool_entry *of) {
    for (pool_entry *e = p->entries; e; e = e->next)
        if (e != of && e->weights && !e->weights->leaving && e->state != FAILED && same_weights(e, of))
            return e;
    return NULL;
}

/* The path of the adapter that it has, or NULL. */
static const char *adapter_of(const pool_entry *e, float *scale) {
    const hub_adapter *a = e->stored.n_adapters ? e->stored.adapters : NULL;
    *scale = e->variant.adapter ? e->variant.scale : a ? a->scale : 1;
    return e->variant.adapter ? e->variant.adapter : a ? a->path : NULL;
}

/* From the file, without the lock. */
static muga_status open_model(const pool *p, const pool_entry *e, llm **out, muga_error *err) {
    float scale;
    const char *adapter = adapter_of(e, &scale);
    char *packed = NULL;
    if (p->o.packed && hub_packed_path(p->o.hub, e->stored.path, &packed, NULL))
        packed = NULL;
    llm_local_options o = {.n_ctx = context_of(e),
                           .n_threads = e->set.n_threads,
                           .isa = -1,
                           .exact = e->set.exact,
                           .kv = e->set.kv,
                           .kv_bytes = p->o.memory_bytes / KV_SHARE,
                           .template_source = e->stored.template,
                           .adapter = adapter,
                           .adapter_scale = scale,
                           .any_base = any_base_of(e),
                           .sha256 = e->stored.sha256,
                           .packed = packed,
                           .packed_source = packed ? e->stored.path : NULL,
                           .drafts = e->set.drafts};
    muga_status st = llm_local_open(e->stored.path, e->name, &o, out, err);
    free(packed);
    return st;
}

/* Another handle over what `same` has, which stays meanwhile. With the lock held, which is let go. */
static muga_status adapt_model(pool *p, pool_entry *e, pool_entry *same, muga_error *err) {
    float scale;
    const char *adapter = adapter_of(e, &scale);
    e->weights = same->weights;
    e->weights->n_entries++;
    same->n_refs++;
    llm *m = NULL;
    pthread_mutex_unlock(&p->lock);
    muga_status st = llm_local_adapt(same->m, adapter, scale, &m, err);
    pthread_mutex_lock(&p->lock);
    e->m = m;
    same->n_refs--;
    free_if_unused(p, same);
    return st;
}

/* With the lock held, which is let go. */
static muga_status load_entry(pool *p, pool_entry *e, const atomic_bool *gone, muga_error *err) {
    pthread_mutex_unlock(&p->lock);
    muga_status st = hub_stamp(p->o.hub, e->name, &e->stamp, err);
    if (!st)
        st = hub_load(p->o.hub, e->name, &e->stored, err);
    pthread_mutex_lock(&p->lock);
    if (st)
        return st;
    uint64_t need = e->stored.bytes / 10 * 11 + SPARE_BYTES;
    e->turn = ++p->n_turns;
    e->asked_ms = now_ms(p);
    for (bool there = false; !there;) {
        pool_entry *same; /* looked for each time: another may have loaded it while this one waited */
        while ((same = find_same(p, e)) && same->state == LOADING)
            if (!wait_for_change(p, gone, &st, err))
                return st;
        if (same)
            return adapt_model(p, e, same, err);
        if ((st = make_room(p, e, need, gone, &there, err)))
            return st;
    }
    group *g = mem_alloc_array(1, sizeof *g);
    if (!g)
        return error_nomem(err, "a model's entry");
    *g = (group){.n_entries = 1, .bytes = need};
    e->weights = g;
    e->turn = 0;
    llm *m = NULL;
    pthread_mutex_unlock(&p->lock);
    st = open_model(p, e, &m, err);
    pthread_mutex_lock(&p->lock);
    e->m = m;
    return st;
}

static pool_entry *add_entry(pool *p, const char *name, const pool_variant *variant) {
    pool_entry *e = mem_alloc_array(1, sizeof *e);
    char *copy = mem_copy_string(name), *adapter = variant->adapter ? mem_copy_string(variant->adapter) : NULL;
    if (!e || !copy || (variant->adapter && !adapter)) {
        free(e);
        free(copy);
        free(adapter);
        return NULL;
    }
    e->name = copy;
    e->variant = *variant;
    e->variant.adapter = adapter;
    e->set = settings_of(p, name);
    if (variant->has_kv)
        e->set.kv = variant->kv;
    e->next = p->entries;
    p->entries = e;
    return e;
}

/* ---- lending ---- */

static void lend(pool_entry *e, uint64_t load_us, pool_lent *out) {
    e->n_lent++;
    *out = (pool_lent){e->m, &e->stored, e->name, load_us, e};
}

/* A new entry, loaded; it stays for those who wait even where that fails. */
static muga_status load_new(pool *p, const char *name, const pool_variant *variant, const atomic_bool *gone,
                            pool_lent *out, muga_error *err) {
    uint64_t begin = p->o.clock->monotonic_us(p->o.clock->self);
    pool_entry *e = add_entry(p, name, variant);
    if (!e)
        return error_nomem(err, "a model's entry");
    e->n_refs++;
    muga_status st = load_entry(p, e, gone, err);
    e->n_refs--;
    e->turn = 0;
    e->state = st ? FAILED : READY;
    e->used_ms = now_ms(p);
    if (st && err)
        e->failure = *err;
    e->failure.status = st;
    uint64_t load_us = p->o.clock->monotonic_us(p->o.clock->self) - begin;
    if (p->o.on_load && st != MUGA_E_NOT_FOUND && st != MUGA_E_CANCELLED)
        p->o.on_load(p->o.ctx, name, load_us, st);
    pthread_cond_broadcast(&p->changed);
    if (st) {
        e->doomed = true; /* the next taker tries anew */
        free_if_unused(p, e);
    } else {
        lend(e, load_us, out);
    }
    return st;
}

/* Until the load is over. *again: what became of it says nothing about this taker. */
static muga_status wait_for_load(pool *p, pool_entry *e, const atomic_bool *gone, bool *again, muga_error *err) {
    muga_status st = MUGA_OK;
    e->n_refs++;
    while (e->state == LOADING && wait_for_change(p, gone, &st, err)) {}
    *again = e->state == READY ||
             e->failure.status == MUGA_E_CANCELLED; /* that one's client has gone, not this one's */
    if (!st && !*again) {
        st = e->failure.status;
        if (err)
            *err = e->failure;
    }
    e->n_refs--;
    free_if_unused(p, e);
    return st;
}

/* What the store calls so now is what was loaded. false: the entry is doomed, or gone. */
static bool is_current(pool *p, pool_entry *e) {
    os_stat now;
    if (!hub_stamp(p->o.hub, e->name, &now, NULL) && now.inode == e->stamp.inode && now.ctime_ns == e->stamp.ctime_ns &&
        now.size == e->stamp.size)
        return true;
    e->doomed = true;
    free_if_unused(p, e);
    return false;
}

muga_status pool_take(pool *p, const char *name, const pool_variant *variant, const atomic_bool *gone, pool_lent *out,
                      muga_error *err) {
    static const pool_variant as_stored;
    const pool_variant *v = variant ? variant : &as_stored;
    char full[HUB_NAME_BYTES];
    *out = (pool_lent){0};
    muga_status st = hub_full_name(name, full, err);
    if (st)
        return error_set(err, MUGA_E_NOT_FOUND, "there is no model called %.100s", name);
    pthread_mutex_lock(&p->lock);
    while (!st && !out->m) {
        bool again = true;
        pool_entry *e = find(p, full, v);
        if (p->closing)
            st = error_set(err, MUGA_E_ENV, "the server is stopping");
        else if (!e)
            st = load_new(p, full, v, gone, out, err);
        else if (e->state == LOADING)
            st = wait_for_load(p, e, gone, &again, err);
        else if (is_current(p, e))
            lend(e, 0, out);
        if (!again && !st)
            break;
    }
    pthread_mutex_unlock(&p->lock);
    return st;
}

void pool_give(pool *p, pool_lent *lent, int64_t keep_alive_ms) {
    pool_entry *e = lent->entry;
    if (!e)
        return;
    pthread_mutex_lock(&p->lock);
    e->n_lent--;
    e->used_ms = now_ms(p);
    if (keep_alive_ms >= 0)
        e->set.keep_alive_ms = keep_alive_ms;
    if (e->set.keep_alive_ms == 0 && !e->set.pinned && e->n_lent == 0)
        e->doomed = true;
    pthread_cond_broadcast(&p->changed);
    free_if_unused(p, e);
    pthread_mutex_unlock(&p->lock);
    *lent = (pool_lent){0};
}

/* ---- unloading ---- */

/* ms until its keep-alive is over; 0: it is. */
static uint64_t time_left(const pool_entry *e, uint64_t now) {
    uint64_t end;
    if (e->set.pinned || is_used(e) || e->state != READY || e->set.keep_alive_ms == POOL_FOREVER ||
        !u64_add(e->used_ms, (uint64_t)e->set.keep_alive_ms, &end))
        return UINT64_MAX;
    return end > now ? end - now : 0;
}

static bool has_others(const pool *p, const pool_entry *than) {
    for (const pool_entry *e = p->entries; e; e = e->next)
        if (e->weights && e->weights != than->weights)
            return true;
    return false;
}

/* Keys and values have grown past what was there when the models were loaded. The last one stays: it alone fits. */
static void keep_limit(pool *p) {
    pool_entry *least;
    while (bytes_in_use(p) > p->o.memory_bytes && (least = least_used(p, false)) && has_others(p, least)) {
        detach(p, least);
        entry_free(p, least);
    }
}

uint32_t pool_sweep(pool *p) {
    uint64_t next = SWEEP_MS;
    pthread_mutex_lock(&p->lock);
    for (pool_entry *e = p->entries; e;) {
        uint64_t left = time_left(e, now_ms(p));
        if (left == 0) {
            detach(p, e);
            entry_free(p, e);
            e = p->entries; /* the list may be another one now */
        } else {
            next = MIN(next, left);
            e = e->next;
        }
    }
    keep_limit(p);
    pthread_mutex_unlock(&p->lock);
    return (uint32_t)MAX(next, SWEEP_LEAST_MS);
}

muga_status pool_unload(pool *p, const char *name, muga_error *err) {
    char full[HUB_NAME_BYTES];
    muga_status st = hub_full_name(name, full, err);
    if (st)
        return st;
    bool found = false;
    pthread_mutex_lock(&p->lock);
    for (pool_entry *e = p->entries; e;) { /* all its variants */
        bool is = !e->doomed && e->state == READY && !strcmp(e->name, full);
        found = found || is;
        e->doomed = e->doomed || is;
        bool goes = is && !is_used(e);
        if (goes)
            free_if_unused(p, e);
        e = goes ? p->entries : e->next; /* the list may be another one now */
    }
    pthread_mutex_unlock(&p->lock);
    return found ? MUGA_OK : error_set(err, MUGA_E_NOT_FOUND, "%.100s isn't loaded", full);
}

void pool_close(pool *p) {
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void pool_free(pool *p) {
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    while (p->entries) {
        pool_entry *e = p->entries;
        detach(p, e);
        entry_free(p, e);
    }
    pthread_mutex_unlock(&p->lock);
    for (named_settings *s = p->settings, *next; s; s = next) {
        next = s->next;
        free(s->name);
        free(s);
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- looking ---- */

static json_t *describe(const pool *p, const pool_entry *e) {
    const hub_details *d = &e->stored.details;
    json_t *v = json_pack("{s:s, s:I, s:I, s:i, s:b}", "name", e->name, "bytes",
                          (json_int_t)(e->m ? llm_memory_bytes(e->m) : 0), "n_ctx",
                          (json_int_t)(e->m ? e->m->n_ctx : 0), "lent", (int)e->n_lent, "loading", e->state == LOADING);
    uint64_t left = time_left(e, now_ms(p));
    bool whole = v != NULL;
    if (e->state == READY)
        whole = whole && json_object_set_new(v, "digest", json_string(e->stored.digest)) == 0 &&
                json_object_set_new(v, "family", json_string(d->family)) == 0 &&
                json_object_set_new(v, "parameter_size", json_string(d->parameter_size)) == 0 &&
                json_object_set_new(v, "quantization_level", json_string(d->quantization_level)) == 0;
    if (e->n_lent && !e->set.pinned && e->set.keep_alive_ms != POOL_FOREVER)
        left = (uint64_t)e->set.keep_alive_ms; /* from now, at the soonest */
    if (left != UINT64_MAX)
        whole = whole && json_object_set_new(v, "expires_ms",
                                             json_integer(p->o.clock->now_ms(p->o.clock->self) + (int64_t)left)) == 0;
    if (whole)
        return v;
    json_decref(v);
    return NULL;
}

muga_status pool_list(pool *p, json_t **out, muga_error *err) {
    json_t *list = json_array();
    bool whole = list != NULL;
    pthread_mutex_lock(&p->lock);
    for (const pool_entry *e = p->entries; e && whole; e = e->next)
        if (e->state != FAILED && !e->doomed)
            whole = json_array_append_new(list, describe(p, e)) == 0;
    pthread_mutex_unlock(&p->lock);
    if (whole) {
        *out = list;
        return MUGA_OK;
    }
    json_decref(list);
    return error_nomem(err, "the list of models");
}

void pool_visit(pool *p, void (*visit)(void *ctx, const char *name, llm *m), void *ctx) {
    pthread_mutex_lock(&p->lock);
    for (const pool_entry *e = p->entries; e; e = e->next)
        if (e->state == READY && !e->doomed)
            visit(ctx, e->name, e->m);
    pthread_mutex_unlock(&p->lock);
}
