/* Masks where objects may have keys that nobody lists: takes out the tokens that would finish a key for the second
 * time, or lead to where nothing else is left. Owns: the short list of what it took out, kept with the state.
 *
 * Idea: of thousands of tokens with a quotation mark or comma nearly all do the same few things behind the same few
 * places: a string ends, and a brace, a comma or the next key's quotation mark follow. So a token is read up to where
 * it first touches keys, and what comes of the rest of it is asked once for each place and rest. And as long as only a
 * value is being written, the answer for the whole mask stays what it was at the last token. */
#include "base/hash.h"
#include "constrain/internal.h"

#define MEMO 512u

typedef struct filter {
    constrain_state *s;
    uint32_t budget;
    uint64_t *mask;
    key_filter *kept; /* NULL: what is taken out isn't what it will be next time */
    struct memo {
        uint32_t set, at, n; /* of the token's bytes, behind which `set` stands */
        bool used, key_next, yes;
    } memo[MEMO];
    const char *bytes;
    muga_error *err;
} filter;

static void drop(filter *f, uint32_t id) {
    f->mask[id / 64] &= ~((uint64_t)1 << id % 64);
    if (f->kept && f->kept->n < ARRAY_LEN(f->kept->dropped))
        f->kept->dropped[f->kept->n++] = id;
    else
        f->kept = NULL;
}

/* The token spelt p leads the keys in s->scratch, and the text from the state's set, to where it must still be possible
 * to finish for at most `budget` with keys that the object doesn't have. */
static muga_status may_come(filter *f, span p, bool *yes) {
    constrain_state *s = f->s;
    keys_verdict v = KEYS_NOMEM;
    uint32_t set = s->set, needed = 0;
    muga_status st = keys_copy(&s->scratch, &s->keys) ? MUGA_OK : error_nomem(f->err, "a mask");
    if (st == MUGA_OK)
        st = run_feed_keys(s->grammar, set, &s->scratch, p.p, p.n, &v, f->err);
    *yes = v == KEYS_FINE;
    if (st != MUGA_OK || !*yes || !(keys_inside(&s->scratch) || keys_awaited(&s->scratch)))
        return st;
    for (size_t i = 0; i < p.n && st == MUGA_OK && set != SET_DEAD; i++)
        st = run_step(s->grammar, set, (uint8_t)p.p[i], &set, f->err);
    if (st == MUGA_OK)
        st = fresh_cost(s->grammar, set, &s->scratch, &needed, f->err);
    *yes = needed <= f->budget;
    if (!*yes && needed < COST_INF)
        f->kept = NULL; /* with more tokens left it could come */
    else if (*yes && f->kept)
        f->kept->dearest = MAX(f->kept->dearest, needed);
    return st;
}

/* Where in p keys are first touched: *at and the *set there; *at == p.n: nowhere. */
static muga_status find_touch(const filter *f, span p, keys_reader *r, uint32_t *at, uint32_t *set) {
    constrain_grammar *g = f->s->grammar;
    *set = f->s->set;
    for (*at = 0; *at < p.n; ++*at) {
        uint8_t c = (uint8_t)p.p[*at];
        bool in_text = r->in_string && c >= 0x20 && c != '"' && c != '\\' && g->run.sets[*set].plain == *set + 1;
        if (!keys_read(r, (char)c))
            return MUGA_OK;
        muga_status st = in_text ? MUGA_OK : run_step(g, *set, c, set, f->err);
        if (st != MUGA_OK || *set == SET_DEAD)
            return st;
    }
    if (keys_read_end(r)) /* a comma was last: a key must come */
        *at = (uint32_t)p.n - 1;
    return MUGA_OK;
}

static muga_status check_token(filter *f, const struct structural *q) {
    keys_reader r;
    span p = span_of(f->bytes + q->at, q->n);
    uint32_t at = 0, set = f->s->set;
    bool yes = true;
    muga_status st = MUGA_OK;
    if (keys_reader_begin(&r, &f->s->keys)) {
        st = find_touch(f, p, &r, &at, &set);
        if (st != MUGA_OK || set == SET_DEAD || at == p.n)
            return st;
    }
    uint64_t h = hash64(p.p + at, p.n - at, set * 2 + r.key_next) % MEMO;
    struct memo *m = &f->memo[h];
    bool known = at > 0 && m->used && m->set == set && m->key_next == r.key_next && m->n == p.n - at &&
                 memcmp(f->bytes + m->at, p.p + at, m->n) == 0;
    if (known)
        yes = m->yes;
    else
        st = may_come(f, p, &yes);
    if (st == MUGA_OK && !known && at > 0)
        *m = (struct memo){set, q->at + at, (uint32_t)p.n - at, true, r.key_next, yes};
    if (st == MUGA_OK && !yes)
        drop(f, q->id);
    return st;
}

/* While a key is written: the tokens along a finished key, which lead to where only some ways are left. */
static muga_status check_along(filter *f, const constrain_trie *t, span key) {
    uint32_t i = 0, end = t->all.n_nodes;
    for (size_t k = 0; k < key.n; k++) {
        while (i < end && t->all.nodes[i].byte != (uint8_t)key.p[k])
            i = t->all.nodes[i].after;
        if (i >= end)
            return MUGA_OK;
        const trie_node *x = &t->all.nodes[i];
        bool yes = true;
        muga_status st = x->n_tokens ? may_come(f, span_of(key.p, k + 1), &yes) : MUGA_OK;
        if (st != MUGA_OK)
            return st;
        for (uint32_t n = 0; n < x->n_tokens && !yes; n++)
            drop(f, t->all.ids[x->tokens + n]);
        end = x->after;
        i++;
    }
    return MUGA_OK;
}

static muga_status check_all(filter *f, const constrain_trie *t) {
    constrain_state *s = f->s;
    muga_status st = MUGA_OK;
    bool inside = !s->grammar->embedded || s->grammar->run.sets[s->set].value;
    for (uint32_t i = 0; i < t->n_structural && st == MUGA_OK; i++) {
        const struct structural *q = &t->structural[i];
        bool yes = true;
        if (!(f->mask[q->id / 64] >> q->id % 64 & 1))
            continue;
        if (inside)
            st = check_token(f, q);
        else if (q->two_keys)
            st = may_come(f, span_of(f->bytes + q->at, q->n), &yes);
        if (st == MUGA_OK && !yes)
            drop(f, q->id);
    }
    if (!keys_inside(&s->keys))
        return st;
    span current = keys_current(&s->keys);
    for (uint32_t i = 0; i < keys_count(&s->keys) && st == MUGA_OK; i++) {
        span key = keys_finished(&s->keys, i);
        if (key.n >= current.n && memcmp(key.p, current.p, current.n) == 0)
            st = check_along(f, t, span_of(key.p + current.n, key.n - current.n));
    }
    return st;
}

muga_status mask_filter_keys(constrain_state *s, const constrain_trie *t, uint32_t budget, uint64_t *mask,
                             muga_error *err) {
    key_filter *kept = &s->filter;
    uint64_t stamp = keys_hash(&s->keys);
    if (kept->valid && kept->set == s->set && kept->tables == s->grammar->n_tables && kept->keys == stamp &&
        budget <= kept->budget && budget >= kept->dearest) {
        for (uint32_t i = 0; i < kept->n; i++)
            mask[kept->dropped[i] / 64] &= ~((uint64_t)1 << kept->dropped[i] % 64);
        return MUGA_OK;
    }
    *kept = (key_filter){.set = s->set, .tables = s->grammar->n_tables, .keys = stamp, .budget = budget};
    filter *f = mem_alloc_array(1, sizeof *f);
    if (!f)
        return error_nomem(err, "a mask");
    *f = (filter){.s = s, .budget = budget, .mask = mask, .kept = kept, .bytes = t->bytes, .err = err};
    muga_status st = check_all(f, t);
    kept->valid = st == MUGA_OK && f->kept;
    free(f);
    return st;
}
