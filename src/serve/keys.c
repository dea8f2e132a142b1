/* The server's table of keys. Owns: the table in memory, checking against it, counting what was used. Refuses: whatever
 * it does not find, and to say by its time what it has.
 *
 * A table is built whole and never changed; keys_tick puts another in its place. Whoever holds a key holds the table
 * that it belongs to, so a request keeps the rights with which it came in.
 *
 *   keys ---> table (counted) ---> keys [n]  ----> accounts: what each has used; they outlive tables
 *                              \-> secrets [n]
 *
 * Locks: `lock` guards the pointer to the table, the accounts and the counts, and is held for moments. `disk` guards
 * the store, and is held while it is read and written; it is taken before `lock`, never after. `watching` guards a
 * second connection, by which who asks learns within microseconds that keys have changed; nothing is taken after it. */
#include "serve/keys_internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* What one key has used: what the store has of its day, and what it doesn't have yet. Two days, since requests end
 * after midnight while those before it aren't written. */
typedef struct account {
    char id[KEY_ID_SIZE];
    key_usage stored;     /* of one day; what all processes have used, as of the last flush */
    key_usage pending[2]; /* [0] is the newer day */
    struct account *next;
} account;
#define BUCKETS 1024u

typedef struct table table;
struct key {
    table *owner;
    char id[KEY_ID_SIZE], name[KEY_NAME_MAX + 1], tenant[KEY_NAME_MAX + 1];
    key_scopes rights;
    key_limits limits;
    int64_t expires_ms, revoked_ms;
    account *used; /* NULL: the anonymous one's isn't counted */
};

typedef struct secret {
    uint8_t salt[KEY_SALT_BYTES], hash[SHA256_BYTES];
    uint64_t prefix;
    int64_t expires_ms;
    const struct key *of;
} secret;

struct table {
    atomic_uint n_users;
    size_t n_keys, n_secrets, cap_keys, cap_secrets;
    struct key **keys; /* by id, ascending */
    secret *secrets;
    struct key anonymous;
};

struct keys {
    const os_clock *clock;
    key_scopes anonymous;
    pthread_mutex_t disk, lock;
    store *store;               /* disk */
    _Atomic int64_t generation; /* of the table; written under disk */
    pthread_mutex_t watching;
    store *watch;               /* watching; is read alone, and waits for nobody */
    uint64_t flushed_us;        /* disk; monotonic */
    int64_t forgotten_day;      /* disk; before which nothing is kept */
    table *current;             /* lock */
    account *accounts[BUCKETS]; /* lock; by the id's hash; lists only grow */
    atomic_bool required;
    keys_counts counts; /* lock */
};

/* ---- tables ---- */

static void table_release(table *t) {
    if (!t || atomic_fetch_sub_explicit(&t->n_users, 1, memory_order_acq_rel) > 1) {
        return;
    }
    for (size_t i = 0; i < t->n_keys; i++) {
        scopes_release(&t->keys[i]->rights);
        free(t->keys[i]);
    }
    scopes_release(&t->anonymous.rights);
    free(t->keys);
    free(t->secrets);
    free(t);
}

/* One more in an array of `size` entries; false: memory. */
static bool grow(void **list, size_t *cap, size_t n, size_t size) {
    if (n < *cap) {
        return true;
    }
    size_t more = MAX(*cap * 2, (size_t)16);
    void *p = mem_resize_array(*list, more, size);
    if (p) {
        *list = p;
        *cap = more;
    }
    return p != NULL;
}

/* The account of a key, made where it is missing. Only under `disk`, and so nobody else makes one. */
static account *account_of(struct keys *k, const char *id) {
    account **bucket = &k->accounts[hash64(id, strlen(id), 0) % BUCKETS], *a = *bucket;
    while (a && strcmp(a->id, id) != 0) {
        a = a->next;
    }
    if (!a && (a = calloc(1, sizeof *a)) != NULL) {
        snprintf(a->id, sizeof a->id, "%s", id);
        pthread_mutex_lock(&k->lock);
        a->next = *bucket;
        *bucket = a;
        pthread_mutex_unlock(&k->lock);
    }
    return a;
}

typedef struct building {
    struct keys *owner;
    table *t;
} building;

static muga_status on_key(void *ctx, const key_row *r, muga_error *err) {
    building *b = ctx;
    table *t = b->t;
    void *list = t->keys;
    bool grown = grow(&list, &t->cap_keys, t->n_keys, sizeof(struct key *));
    t->keys = list;
    struct key *k = grown ? calloc(1, sizeof *k) : NULL;
    account *used = k ? account_of(b->owner, r->id) : NULL;
    if (!used) {
        free(k);
        return error_nomem(err, "the table of keys");
    }
    snprintf(k->id, sizeof k->id, "%s", r->id);
    snprintf(k->name, sizeof k->name, "%s", r->name);
    snprintf(k->tenant, sizeof k->tenant, "%s", r->tenant);
    k->owner = t;
    k->limits = r->limits;
    k->expires_ms = r->expires_ms;
    k->revoked_ms = r->revoked_ms;
    k->used = used;
    muga_status st = scopes_parse(r->scopes, &k->rights, err);
    if (st == MUGA_E_USAGE) {
        st = error_set(err, MUGA_E_ENV, "muga.db: key %.64s: its scopes '%.60s' are damaged; revoke it, make another",
                       r->name, r->scopes);
    }
    if (st != MUGA_OK) {
        free(k);
        return st;
    }
    t->keys[t->n_keys++] = k;
    return MUGA_OK;
}

static int compare_id(const void *id, const void *entry) {
    return strcmp(id, (*(struct key *const *)entry)->id);
}

static muga_status on_secret(void *ctx, const key_secret_row *r, muga_error *err) {
    building *b = ctx;
    table *t = b->t;
    void *list = t->secrets;
    bool grown = grow(&list, &t->cap_secrets, t->n_secrets, sizeof(secret));
    t->secrets = list;
    struct key **of = t->n_keys ? bsearch(r->key, t->keys, t->n_keys, sizeof(struct key *), compare_id) : NULL;
    if (!grown) {
        return error_nomem(err, "the table of keys");
    }
    if (of) {
        secret *s = &t->secrets[t->n_secrets++];
        memcpy(s->salt, r->salt, sizeof s->salt);
        memcpy(s->hash, r->hash, sizeof s->hash);
        memcpy(&s->prefix, r->prefix, sizeof s->prefix);
        s->expires_ms = r->expires_ms;
        s->of = *of;
    }
    return MUGA_OK;
}

static muga_status copy_anonymous(const struct keys *k, table *t, muga_error *err) {
    struct key *a = &t->anonymous;
    *a = (struct key){.owner = t, .name = "anonymous", .limits = {.weight = 1}};
    for (; a->rights.n < k->anonymous.n; a->rights.n++) {
        const char *pattern = k->anonymous.list[a->rights.n].pattern;
        a->rights.list[a->rights.n].kind = k->anonymous.list[a->rights.n].kind;
        a->rights.list[a->rights.n].pattern = pattern ? mem_copy_string(pattern) : NULL;
        if (pattern && !a->rights.list[a->rights.n].pattern) {
            return error_nomem(err, "the table of keys");
        }
    }
    return MUGA_OK;
}

/* Under `disk`. */
static muga_status load(struct keys *k, muga_error *err) {
    building b = {k, calloc(1, sizeof *b.t)};
    key_visitor v = {on_key, on_secret, &b};
    int64_t generation = 0;
    if (!b.t) {
        return error_nomem(err, "the table of keys");
    }
    atomic_init(&b.t->n_users, 1);
    muga_status st = copy_anonymous(k, b.t, err);
    st = st == MUGA_OK ? key_rows_read(k->store, &v, &generation, err) : st;
    if (st == MUGA_OK) {
        pthread_mutex_lock(&k->lock);
        table *before = k->current;
        k->current = b.t;
        pthread_mutex_unlock(&k->lock);
        atomic_store(&k->generation, generation);
        b.t = before;
    }
    table_release(b.t);
    return st;
}

/* ---- opening ---- */

static muga_status flush(struct keys *k, muga_error *err);

/* What each key has used today, so that a limit holds across a restart. Under `disk`. */
static muga_status read_usage(struct keys *k, muga_error *err) {
    int64_t day = k->clock->now_ms(k->clock->self) / KEY_DAY_MS;
    muga_status st = MUGA_OK;
    for (size_t b = 0; b < BUCKETS; b++) {
        for (account *a = k->accounts[b]; st == MUGA_OK && a; a = a->next) {
            key_usage u;
            if (a->stored.day == day) {
                continue;
            }
            st = key_usage_read(k->store, a->id, day, &u, err);
            if (st == MUGA_OK) {
                pthread_mutex_lock(&k->lock);
                a->stored = u;
                pthread_mutex_unlock(&k->lock);
            }
        }
    }
    return st;
}

/* The table anew, where it has changed. Under `disk`. */
static muga_status refresh(struct keys *k, bool at_once, muga_error *err) {
    int64_t generation = 0;
    muga_status st = key_rows_generation(k->store, &generation, err);
    if (st == MUGA_OK && (at_once || generation != atomic_load(&k->generation))) {
        st = load(k, err);
        st = st == MUGA_OK ? read_usage(k, err) : st;
    }
    return st;
}

muga_status keys_open(const keys_options *o, struct keys **out, muga_error *err) {
    store_options options = {.busy_ms = 2000};
    *out = NULL;
    struct keys *k = calloc(1, sizeof *k);
    if (!k) {
        return error_nomem(err, "the table of keys");
    }
    pthread_mutex_init(&k->disk, NULL);
    pthread_mutex_init(&k->lock, NULL);
    pthread_mutex_init(&k->watching, NULL);
    k->clock = o->clock;
    k->flushed_us = o->clock->monotonic_us(o->clock->self);
    const char *anonymous = o->anonymous ? o->anonymous : SCOPES_ALL;
    muga_status st = *anonymous ? scopes_parse(anonymous, &k->anonymous, err) : MUGA_OK;
    st = st == MUGA_OK ? store_open(o->database, &options, &k->store, err) : st;
    st = st == MUGA_OK ? store_open(o->database, &(store_options){.busy_ms = 1}, &k->watch, err) : st;
    st = st == MUGA_OK ? load(k, err) : st;
    st = st == MUGA_OK ? read_usage(k, err) : st;
    if (st == MUGA_OK) {
        *out = k;
    } else {
        keys_close(k);
    }
    return st;
}

void keys_close(struct keys *k) {
    if (!k) {
        return;
    }
    if (k->current && flush(k, NULL) != MUGA_OK) {
        /* then as much is lost as by a kill */
    }
    table_release(k->current);
    for (size_t b = 0; b < BUCKETS; b++) {
        for (account *a = k->accounts[b], *next; a; a = next) {
            next = a->next;
            free(a);
        }
    }
    scopes_release(&k->anonymous);
    store_close(k->store);
    store_close(k->watch);
    pthread_mutex_destroy(&k->watching);
    pthread_mutex_destroy(&k->lock);
    pthread_mutex_destroy(&k->disk);
    free(k);
}

/* ---- checking ---- */

static table *hold(struct keys *k) {
    pthread_mutex_lock(&k->lock);
    table *t = k->current;
    atomic_fetch_add_explicit(&t->n_users, 1, memory_order_relaxed);
    pthread_mutex_unlock(&k->lock);
    return t;
}

/* The secret that `text` is, or NULL. All secrets are compared, each as a whole, and one hash is made whatever was
 * found, with a salt of its own where nothing was; no branch depends on which it is until the very end. */
static const secret *find_secret(const table *t, const char *text) {
    static const secret none = {.prefix = 0};
    uint8_t hash[SHA256_BYTES];
    uint64_t prefix;
    size_t at = 0; /* 1 + index */
    memcpy(&prefix, key_text_prefix(text), sizeof prefix);
    for (size_t i = 0; i < t->n_secrets; i++) {
        uint64_t differ = t->secrets[i].prefix ^ prefix;
        size_t is = (size_t)(1 ^ ((differ | (0 - differ)) >> 63)); /* 1 where they are equal */
        at |= (0 - is) & (i + 1);                                  /* prefixes are unique */
    }
    const secret *s = at ? &t->secrets[at - 1] : &none;
    key_text_hash(text, s->salt, hash);
    bool equal = bytes_equal_ct(hash, s->hash, sizeof hash);
    return equal && at ? s : NULL;
}

static keys_verdict judge(struct keys *k, table *t, const char *bearer, const struct key **out) {
    int64_t now_ms = k->clock->now_ms(k->clock->self);
    if (t->n_keys == 0 && !atomic_load(&k->required)) {
        *out = &t->anonymous;
        return KEYS_GOOD;
    }
    if (!bearer || !*bearer) {
        return KEYS_MISSING;
    }
    if (!key_is_wellformed(bearer, strnlen(bearer, KEY_TEXT_SIZE))) {
        return KEYS_UNKNOWN; /* anyone can tell that without us */
    }
    const secret *s = find_secret(t, bearer);
    pthread_mutex_lock(&k->lock);
    k->counts.n_compared += t->n_secrets;
    k->counts.n_hashed++;
    pthread_mutex_unlock(&k->lock);
    if (!s) {
        return KEYS_UNKNOWN;
    }
    if (s->of->revoked_ms != 0) {
        return KEYS_REVOKED;
    }
    if ((s->of->expires_ms != 0 && s->of->expires_ms <= now_ms) || (s->expires_ms != 0 && s->expires_ms <= now_ms)) {
        return KEYS_EXPIRED;
    }
    *out = s->of;
    return KEYS_GOOD;
}

/* Have keys changed since the table was read? Where the store can't tell now, what was known stays. */
static bool is_stale(struct keys *k) {
    int64_t generation = 0;
    muga_error ignored;
    pthread_mutex_lock(&k->watching);
    muga_status st = key_rows_generation(k->watch, &generation, &ignored);
    pthread_mutex_unlock(&k->watching);
    return st == MUGA_OK && generation != atomic_load(&k->generation);
}

static muga_status catch_up(struct keys *k) {
    muga_error ignored; /* the next keys_tick says it */
    pthread_mutex_lock(&k->disk);
    muga_status st = refresh(k, false, &ignored);
    pthread_mutex_unlock(&k->disk);
    return st;
}

keys_verdict keys_check(struct keys *k, const char *bearer, const struct key **out) {
    *out = NULL;
    table *t = hold(k);
    keys_verdict v = judge(k, t, bearer, out);
    bool is_anonymous = v == KEYS_GOOD && *out == &t->anonymous;
    bool may_be_new = v == KEYS_UNKNOWN && key_is_wellformed(bearer, strnlen(bearer, KEY_TEXT_SIZE));
    if ((is_anonymous || may_be_new) && is_stale(k)) {
        muga_status st = catch_up(k);
        table_release(t);
        t = hold(k);
        *out = NULL;
        v = st == MUGA_OK ? judge(k, t, bearer, out) : is_anonymous ? KEYS_MISSING : v;
    }
    pthread_mutex_lock(&k->lock);
    k->counts.n_good += v == KEYS_GOOD;
    k->counts.n_refused += v != KEYS_GOOD;
    pthread_mutex_unlock(&k->lock);
    if (v != KEYS_GOOD) {
        table_release(t);
    }
    return v;
}

void key_release(const struct key *k) {
    if (k) {
        table_release(k->owner);
    }
}

const char *keys_verdict_text(keys_verdict v) {
    switch (v) {
    case KEYS_GOOD: return "this API key is good";
    case KEYS_MISSING: return "an API key is needed: send it as Authorization: Bearer KEY";
    case KEYS_REVOKED: return "this API key was revoked";
    case KEYS_EXPIRED: return "this API key has expired";
    case KEYS_UNKNOWN: break;
    }
    return "this API key is not known";
}

bool keys_any(struct keys *k) {
    table *t = hold(k);
    bool any = t->n_keys > 0;
    table_release(t);
    return any;
}

void keys_require(struct keys *k) {
    atomic_store(&k->required, true);
}

muga_status keys_may_listen(const char *where, bool is_local, bool any_keys, muga_error *err) {
    if (is_local || any_keys) {
        return MUGA_OK;
    }
    return error_set(
        err, MUGA_E_USAGE,
        "%.80s is reachable from outside, and there are no API keys; make one (muga key create --name NAME),"
        " or listen on 127.0.0.1",
        where);
}

keys_counts keys_get_counts(struct keys *k) {
    pthread_mutex_lock(&k->lock);
    keys_counts c = k->counts;
    pthread_mutex_unlock(&k->lock);
    return c;
}

/* ---- one key ---- */

const char *key_id(const struct key *k) {
    return k->id;
}

const char *key_name(const struct key *k) {
    return k->name;
}

const char *key_tenant(const struct key *k) {
    return k->tenant;
}

key_limits key_get_limits(const struct key *k) {
    return k->limits;
}

bool key_may_model(const struct key *k, const char *name) {
    return strncmp(name, "agent:", 6) == 0 ? key_may_agent(k, name + 6) : scopes_fit_model(&k->rights, name);
}

bool key_may_agent(const struct key *k, const char *name) {
    return scopes_fit(&k->rights, SCOPE_AGENTS, name);
}

bool key_may_tool(const struct key *k, const char *agent, const char *tool) {
    return scopes_fit_tool(&k->rights, agent, tool);
}

bool key_may_approve(const struct key *k, const char *role) {
    return role ? scopes_fit(&k->rights, SCOPE_APPROVE, role) : scopes_have(&k->rights, SCOPE_APPROVE);
}

bool key_may(const struct key *k, scope_kind what) {
    return scopes_have(&k->rights, what);
}

void key_write_approver(const struct key *k, char out[KEY_NAME_MAX + 5]) {
    snprintf(out, KEY_NAME_MAX + 5, "key:%s", k->name);
}

/* ---- counting ---- */

static void add(key_usage *u, uint64_t n_requests, uint64_t n_prompt, uint64_t n_answer) {
    u->n_requests += n_requests;
    u->n_prompt += n_prompt;
    u->n_answer += n_answer;
}

void keys_charge(struct keys *k, const struct key *who, uint64_t n_prompt, uint64_t n_answer) {
    account *a = who->used;
    if (!a) {
        return;
    }
    int64_t day = k->clock->now_ms(k->clock->self) / KEY_DAY_MS;
    pthread_mutex_lock(&k->lock);
    if (a->pending[0].day < day) { /* a new day: what wasn't written of the one before is kept beside */
        add(&a->pending[0], a->pending[1].n_requests, a->pending[1].n_prompt, a->pending[1].n_answer);
        a->pending[1] = a->pending[0];
        a->pending[0] = (key_usage){.day = day};
    }
    add(&a->pending[0], 1, n_prompt, n_answer);
    pthread_mutex_unlock(&k->lock);
}

uint64_t keys_used_today(struct keys *k, const struct key *who) {
    const account *a = who->used;
    uint64_t n = 0;
    if (!a) {
        return 0;
    }
    int64_t day = k->clock->now_ms(k->clock->self) / KEY_DAY_MS;
    pthread_mutex_lock(&k->lock);
    n += a->stored.day == day ? a->stored.n_prompt + a->stored.n_answer : 0;
    n += a->pending[0].day == day ? a->pending[0].n_prompt + a->pending[0].n_answer : 0;
    pthread_mutex_unlock(&k->lock);
    return n;
}

uint32_t keys_seconds_to_midnight(struct keys *k) {
    int64_t now_ms = k->clock->now_ms(k->clock->self);
    return (uint32_t)((KEY_DAY_MS - now_ms % KEY_DAY_MS + 999) / 1000);
}

typedef struct flushing {
    account *of;
    key_usage taken[2], stored;
} flushing;

static bool is_pending(const account *a) {
    return a->pending[0].n_requests > 0 || a->pending[1].n_requests > 0;
}

/* What is pending now; new. *n 0 and NULL: nothing is, or memory is out. */
static flushing *take_pending(struct keys *k, size_t *n, muga_status *st, muga_error *err) {
    flushing *list = NULL;
    size_t want = 0;
    *n = 0;
    pthread_mutex_lock(&k->lock);
    for (size_t b = 0; b < BUCKETS; b++) {
        for (const account *a = k->accounts[b]; a; a = a->next) {
            want += is_pending(a);
        }
    }
    if (want > 0 && !(list = mem_alloc_array(want, sizeof *list))) {
        *st = error_nomem(err, "the use of keys");
    }
    for (size_t b = 0; list && b < BUCKETS; b++) {
        for (account *a = k->accounts[b]; a; a = a->next) {
            if (is_pending(a)) {
                list[(*n)++] = (flushing){a, {a->pending[0], a->pending[1]}, {0}};
            }
        }
    }
    pthread_mutex_unlock(&k->lock);
    return list;
}

/* Inside a transaction. */
static muga_status flush_one(struct keys *k, flushing *f, muga_error *err) {
    muga_status st = MUGA_OK;
    for (int i = 0; st == MUGA_OK && i < 2; i++) {
        if (f->taken[i].n_requests > 0) {
            st = key_usage_add(k->store, f->of->id, &f->taken[i], err);
        }
    }
    return st == MUGA_OK ? key_usage_read(k->store, f->of->id, f->taken[0].day, &f->stored, err) : st;
}

/* It is in the store now. A day may have begun meanwhile, which moved [0] to [1]. */
static void settle(const flushing *f) {
    account *a = f->of;
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++) {
            key_usage *p = &a->pending[j];
            if (p->day == f->taken[i].day && p->n_requests >= f->taken[i].n_requests && f->taken[i].n_requests > 0) {
                p->n_requests -= f->taken[i].n_requests;
                p->n_prompt -= f->taken[i].n_prompt;
                p->n_answer -= f->taken[i].n_answer;
            }
        }
    }
    a->stored = f->stored;
}

/* One transaction for all keys. Under `disk`. */
static muga_status flush(struct keys *k, muga_error *err) {
    size_t n;
    muga_status st = MUGA_OK;
    flushing *list = take_pending(k, &n, &st, err);
    if (n > 0) {
        st = store_begin(k->store, err);
        if (st == MUGA_OK) {
            for (size_t i = 0; st == MUGA_OK && i < n; i++) {
                st = flush_one(k, &list[i], err);
            }
            store_end(k->store, &st, err);
        }
    }
    if (st == MUGA_OK) {
        pthread_mutex_lock(&k->lock);
        for (size_t i = 0; i < n; i++) {
            settle(&list[i]);
        }
        pthread_mutex_unlock(&k->lock);
        k->flushed_us = k->clock->monotonic_us(k->clock->self);
    }
    free(list);
    return st;
}

static muga_status look(struct keys *k, bool at_once, muga_error *err) {
    muga_error later;
    pthread_mutex_lock(&k->disk);
    muga_status st = refresh(k, at_once, err);
    uint64_t since_us = k->clock->monotonic_us(k->clock->self) - k->flushed_us;
    if (at_once || since_us >= (uint64_t)KEYS_FLUSH_MS * 1000) { /* whatever became of the table */
        muga_status flushed = flush(k, st == MUGA_OK ? err : &later);
        st = st == MUGA_OK ? flushed : st;
    }
    pthread_mutex_unlock(&k->disk);
    return st;
}

muga_status keys_tick(struct keys *k, muga_error *err) {
    return look(k, false, err);
}

muga_status keys_reload(struct keys *k, muga_error *err) {
    return look(k, true, err);
}

muga_status keys_forget_usage(struct keys *k, uint32_t n_days, muga_error *err) {
    int64_t day = k->clock->now_ms(k->clock->self) / KEY_DAY_MS - (int64_t)n_days + 1;
    muga_status st = MUGA_OK;
    pthread_mutex_lock(&k->disk);
    if (n_days > 0 && day != k->forgotten_day) {
        st = key_usage_forget(k->store, day, err);
        k->forgotten_day = st == MUGA_OK ? day : k->forgotten_day;
    }
    pthread_mutex_unlock(&k->disk);
    return st;
}
