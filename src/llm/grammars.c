/* Compiled constraints and who uses them. Owns: the grammars that are kept, what they have learnt (state sets, masks)
 * with them.
 *
 * Compiling is done without the lock: two threads that want the same new grammar at once both compile it, and the
 * second one takes the first one's. A grammar grows while it is used, so it is measured whenever it comes back. One
 * that isn't kept, because it is for one request or all places are in use, is its user's until it is given back. */
#include "llm/grammars.h"

#include "base/mem.h"

#include <pthread.h>

typedef struct place {
    constrain_grammar *grammar; /* NULL: empty */
    uint8_t key[SHA256_BYTES];
    uint32_t n_users;
    size_t bytes;
    uint64_t used_at;
} place;

struct grammars {
    pthread_mutex_t lock;
    place places[GRAMMARS_MAX];
    size_t max_bytes;
    uint64_t now; /* counts takes and returns */
    uint64_t n_compiled, n_found;
};

/* ---- keys ---- */

void grammars_key_init(grammars_key *k) {
    *k = (grammars_key){.nomem = false};
    sha256_init(&k->hash);
}

static void add_bytes(grammars_key *k, char kind, const char *p, size_t n) {
    uint64_t size = n;
    sha256_update(&k->hash, &kind, 1);
    sha256_update(&k->hash, &size, sizeof size);
    sha256_update(&k->hash, p, n);
}

void grammars_key_text(grammars_key *k, const char *s) {
    add_bytes(k, s ? 't' : '-', s ? s : "", s ? strlen(s) : 0);
}

void grammars_key_number(grammars_key *k, uint64_t v) {
    add_bytes(k, 'n', (const char *)&v, sizeof v);
}

void grammars_key_schema(grammars_key *k, const json_t *schema, const constrain_options *o) {
    str text = STR_INIT;
    if (!schema) {
        grammars_key_text(k, NULL);
        return;
    }
    json_write(schema, &text);
    k->nomem = k->nomem || text.failed;
    add_bytes(k, 's', str_get(&text), text.len);
    k->once = k->once || (o->n_sources > 0 && strstr(str_get(&text), "\"from\":\""));
    str_release(&text);
}

/* ---- life ---- */

muga_status grammars_new(size_t max_bytes, grammars **out, muga_error *err) {
    grammars *c = mem_alloc_array(1, sizeof *c);
    if (!c)
        return error_nomem(err, "the constraints' memory");
    pthread_mutex_init(&c->lock, NULL);
    c->max_bytes = max_bytes;
    *out = c;
    return MUGA_OK;
}

void grammars_free(grammars *c) {
    if (!c)
        return;
    for (size_t i = 0; i < GRAMMARS_MAX; i++)
        constrain_grammar_free(c->places[i].grammar);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* With the lock held: of those that nobody uses the one used longest ago; NULL: all are used. */
static place *find_oldest(grammars *c) {
    place *oldest = NULL;
    for (place *p = c->places; p < c->places + GRAMMARS_MAX; p++)
        if (p->grammar && p->n_users == 0 && (!oldest || p->used_at < oldest->used_at))
            oldest = p;
    return oldest;
}

static void drop(place *p) {
    constrain_grammar_free(p->grammar);
    *p = (place){.grammar = NULL};
}

static size_t sum_bytes(const grammars *c) {
    size_t sum = 0;
    for (size_t i = 0; i < GRAMMARS_MAX; i++)
        sum += c->places[i].bytes;
    return sum;
}

static place *find_key(grammars *c, const uint8_t key[SHA256_BYTES]) {
    for (place *p = c->places; p < c->places + GRAMMARS_MAX; p++)
        if (p->grammar && memcmp(p->key, key, SHA256_BYTES) == 0)
            return p;
    return NULL;
}

/* An empty place, made where there is none; NULL: all are used. */
static place *find_room(grammars *c) {
    for (place *p = c->places; p < c->places + GRAMMARS_MAX; p++)
        if (!p->grammar)
            return p;
    place *p = find_oldest(c);
    if (p)
        drop(p);
    return p;
}

/* Whoever comes has it, if it is there. With the lock held. */
static constrain_grammar *use(grammars *c, const uint8_t key[SHA256_BYTES]) {
    place *p = find_key(c, key);
    if (!p)
        return NULL;
    p->n_users++;
    p->used_at = ++c->now;
    return p->grammar;
}

muga_status grammars_take(grammars *c, grammars_key *k, grammars_compile compile, void *ctx, constrain_grammar **out,
                          muga_error *err) {
    uint8_t key[SHA256_BYTES];
    *out = NULL;
    if (k->nomem)
        return error_nomem(err, "a constraint");
    if (!c || k->once)
        return compile(ctx, out, err);
    sha256_final(&k->hash, key);
    pthread_mutex_lock(&c->lock);
    *out = use(c, key);
    c->n_found += *out != NULL;
    pthread_mutex_unlock(&c->lock);
    if (*out)
        return MUGA_OK;
    constrain_grammar *made;
    muga_status st = compile(ctx, &made, err);
    if (st)
        return st;
    pthread_mutex_lock(&c->lock);
    c->n_compiled++;
    *out = use(c, key);
    place *p = *out ? NULL : find_room(c);
    if (p) {
        *p = (place){.grammar = made, .n_users = 1, .used_at = ++c->now};
        memcpy(p->key, key, sizeof key);
    }
    pthread_mutex_unlock(&c->lock);
    if (*out)
        constrain_grammar_free(made);
    else
        *out = made;
    return MUGA_OK;
}

void grammars_give_back(grammars *c, constrain_grammar *g) {
    bool kept = false;
    if (!g)
        return;
    size_t bytes = c ? constrain_grammar_bytes(g) : 0;
    if (c)
        pthread_mutex_lock(&c->lock);
    for (size_t i = 0; c && i < GRAMMARS_MAX; i++) {
        place *p = &c->places[i];
        if (p->grammar == g) {
            kept = true;
            p->n_users--;
            p->bytes = bytes;
            p->used_at = ++c->now;
        }
    }
    for (place *p; kept && sum_bytes(c) > c->max_bytes && (p = find_oldest(c));)
        drop(p);
    if (c)
        pthread_mutex_unlock(&c->lock);
    if (!kept)
        constrain_grammar_free(g);
}

grammars_counts grammars_get_counts(grammars *c) {
    pthread_mutex_lock(&c->lock);
    grammars_counts n = {.n_compiled = c->n_compiled, .n_found = c->n_found, .bytes = sum_bytes(c)};
    for (size_t i = 0; i < GRAMMARS_MAX; i++)
        n.n += c->places[i].grammar != NULL;
    pthread_mutex_unlock(&c->lock);
    return n;
}
