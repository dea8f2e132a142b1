/* The voice of past successes (learned.h). Owns: which are kept, who gets the seats. Refuses nothing: what is not
 * usable is passed over, since it is what happened and no one's file. */
#include "agent/learned.h"

#include "agent/internal.h"

#include <stdio.h>

#define HITS_MAX 32
#define MASK " \x01 " /* as INTENT_MASK (intent_internal.h) */

typedef struct kept {
    char *id;
    size_t label, source;
    bool corrected;
} kept;

struct learned {
    const intent *x;
    learned_options o;
    retrieve *index; /* NULL: nothing is kept */
    kept *list;      /* [n], as in the index */
    size_t n;
};

/* ---- which are kept ---- */

typedef struct builder {
    const intent *x;
    const learned_options *o;
    json_t *words;   /* object: what was said -> index of the kept example, or -1 for the manifest's own */
    json_t *sources; /* object: source -> {"i": number, "n": examples} */
    str *texts;      /* [n] masked */
    learned *m;
    muga_error *err;
} builder;

muga_status learned_key(const intent *x, const char *text, str *masked, str *key, muga_error *err) {
    str own = STR_INIT, *m = masked ? masked : &own;
    muga_status st = normaliser_mask(intent_normaliser(x), text, strlen(text), MASK, m, err);
    for (size_t i = 0; st == MUGA_OK && i < m->len; i++) {
        unsigned char c = (unsigned char)m->data[i];
        bool word = c >= 0x80 || c == 1 || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
        if (word) {
            str_append_c(key, (char)(c >= 'A' && c <= 'Z' ? c + 32 : c));
        } else if (key->len > 0 && key->data[key->len - 1] != ' ') {
            str_append_c(key, ' ');
        }
    }
    if (key->len > 0 && key->data[key->len - 1] == ' ') {
        str_truncate(key, key->len - 1);
    }
    str_release(&own);
    return st == MUGA_OK ? str_status(key, err, "an example") : st;
}

static muga_status note_own(builder *b) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < intent_n_examples(b->x); i++) {
        str key = STR_INIT;
        st = learned_key(b->x, intent_get_example(b->x, i), NULL, &key, b->err);
        if (st == MUGA_OK && json_object_set_new_nocheck(b->words, str_get(&key), json_integer(-1)) != 0) {
            st = error_nomem(b->err, "the examples");
        }
        str_release(&key);
    }
    return st;
}

/* The number of a source; *n how many of its examples are kept. */
static muga_status note_source(builder *b, const char *source, size_t *i, int64_t *n) {
    json_t *v = json_object_get(b->sources, source);
    if (!v) {
        json_int_t next = (json_int_t)json_object_size(b->sources);
        if (json_object_set_new_nocheck(b->sources, source, json_pack("{s:I, s:i}", "i", next, "n", 0)) != 0) {
            return error_nomem(b->err, "the examples");
        }
        v = json_object_get(b->sources, source);
    }
    *i = (size_t)json_get_int(v, "i", 0);
    *n = json_get_int(v, "n", 0);
    return json_object_set_new(v, "n", json_integer(*n + 1)) == 0 ? MUGA_OK : error_nomem(b->err, "the examples");
}

static muga_status keep(builder *b, const learned_example *e, size_t label) {
    learned *m = b->m;
    str masked = STR_INIT, key = STR_INIT;
    size_t source = 0;
    int64_t n_of_source = 0;
    muga_status st = learned_key(b->x, e->text, &masked, &key, b->err);
    bool fits = st == MUGA_OK && key.len > 0 && !json_object_get(b->words, str_get(&key));
    if (fits) {
        st = note_source(b, e->source, &source, &n_of_source);
    }
    if (st == MUGA_OK && fits && n_of_source < LEARNED_A_SOURCE) {
        m->list[m->n] = (kept){mem_copy_string(e->id), label, source, e->corrected};
        b->texts[m->n] = masked;
        masked = (str)STR_INIT;
        bool ok = m->list[m->n++].id &&
                  json_object_set_new_nocheck(b->words, str_get(&key), json_integer((json_int_t)m->n)) == 0;
        st = ok ? MUGA_OK : error_nomem(b->err, "the examples");
    }
    str_release(&masked);
    str_release(&key);
    return st;
}

static size_t find_label(const intent *x, const char *name) {
    size_t i = 0;
    while (i < intent_n_labels(x) && strcmp(intent_get_label(x, i)->name, name) != 0) {
        i++;
    }
    return i;
}

/* Corrections first, so that of two that say the same the correction stands. */
static muga_status keep_all(builder *b, const learned_example *list, size_t n) {
    muga_status st = note_own(b);
    for (int corrected = 1; corrected >= 0; corrected--) {
        for (size_t i = 0; st == MUGA_OK && i < n && b->m->n < b->o->most; i++) {
            size_t label = find_label(b->x, list[i].label);
            if (list[i].corrected == (corrected == 1) && label < intent_n_labels(b->x)) {
                st = keep(b, &list[i], label);
            }
        }
    }
    return st;
}

static muga_status make_index(builder *b) {
    learned *m = b->m;
    retrieve_example *list = mem_alloc_array(m->n, sizeof *list);
    if (!list) {
        return error_nomem(b->err, "the examples");
    }
    for (size_t i = 0; i < m->n; i++) {
        list[i] = (retrieve_example){str_get(&b->texts[i]), UINT64_C(1) << m->list[i].label};
    }
    muga_status st = m->n ? retrieve_new(list, m->n, intent_n_labels(b->x), intent_words(b->x), &m->index, b->err)
                          : MUGA_OK;
    free(list);
    return st;
}

muga_status learned_new(const intent *x, const learned_options *o, const learned_example *list, size_t n, learned **out,
                        muga_error *err) {
    size_t most = MIN(MIN(n, o->most), (size_t)RETRIEVE_MAX_EXAMPLES);
    learned *m = calloc(1, sizeof *m);
    builder b = {.x = x, .o = o, .words = json_object(), .sources = json_object(), .m = m, .err = err};
    b.texts = mem_alloc_array(most, sizeof *b.texts);
    if (m) {
        *m = (learned){.x = x, .o = *o, .list = mem_alloc_array(most, sizeof *m->list)};
        m->o.most = most;
        b.o = &m->o;
    }
    muga_status st = m && m->list && b.texts && b.words && b.sources ? MUGA_OK : error_nomem(err, "the examples");
    st = st == MUGA_OK ? keep_all(&b, list, n) : st;
    st = st == MUGA_OK ? make_index(&b) : st;
    for (size_t i = 0; m && b.texts && i < m->n; i++) {
        str_release(&b.texts[i]);
    }
    free(b.texts);
    json_decref(b.words);
    json_decref(b.sources);
    if (st == MUGA_OK) {
        *out = m;
    } else {
        learned_free(m);
    }
    return st;
}

void learned_free(learned *m) {
    for (size_t i = 0; m && i < m->n; i++) {
        free(m->list[i].id);
    }
    if (m) {
        free(m->list);
        retrieve_free(m->index);
    }
    free(m);
}

size_t learned_count(const learned *m) {
    return m->n;
}

/* ---- who gets the seats ---- */

static bool has_sat(const learned *m, const retrieve_hit *hits, size_t k) {
    for (size_t i = 0; i < k; i++) {
        if (m->list[hits[i].i].source == m->list[hits[k].i].source) {
            return true;
        }
    }
    return false;
}

/* The nearest first; each takes its seats until none is left. */
static muga_status seat(const learned *m, const retrieve_hit *hits, size_t n_hits, double *voice, json_t *record,
                        muga_error *err) {
    int left = LEARNED_SEATS;
    bool ok = true;
    for (size_t k = 0; ok && left > 0 && k < n_hits && hits[k].likeness >= m->o.likeness; k++) {
        const kept *e = &m->list[hits[k].i];
        int seats = e->corrected ? left : has_sat(m, hits, k) ? 0 : 1;
        left -= seats;
        voice[e->label] += m->o.weight * MIN(hits[k].likeness, 1.0) * seats / LEARNED_SEATS;
        ok = seats == 0 || json_array_append_new(
                               record, json_pack("{s:s, s:f, s:s, s:i}", "id", e->id, "likeness", hits[k].likeness,
                                                 "label", intent_get_label(m->x, e->label)->name, "seats", seats)) == 0;
    }
    return ok ? MUGA_OK : error_nomem(err, "a decision");
}

muga_status learned_hear(const learned *m, const char *text, size_t n, learned_heard *out, muga_error *err) {
    double votes[RETRIEVE_MAX_LABELS];
    retrieve_hit hits[HITS_MAX];
    size_t n_hits = HITS_MAX;
    str masked = STR_INIT;
    *out = (learned_heard){.nearest = json_array()};
    muga_status st = out->nearest ? MUGA_OK : error_nomem(err, "a decision");
    if (st == MUGA_OK && m->index) {
        st = normaliser_mask(intent_normaliser(m->x), text, n, MASK, &masked, err);
        st = st == MUGA_OK ? retrieve_score(m->index, str_get(&masked), masked.len, votes, hits, &n_hits, err) : st;
        st = st == MUGA_OK ? seat(m, hits, n_hits, out->voice, out->nearest, err) : st;
    }
    str_release(&masked);
    if (st != MUGA_OK || json_array_size(out->nearest) == 0) {
        json_decref(out->nearest);
        out->nearest = NULL;
    }
    return st;
}

/* ---- what comes of it ---- */

/* Does b ask for a tool that writes, and a doesn't? */
static bool adds_write(const intent *x, const intent_decision *a, const intent_decision *b) {
    for (size_t i = 0; i < b->n; i++) {
        const manifest_tool *t = intent_get_label(x, b->requests[i].label)->tool;
        bool new = t && t->effect == EFFECT_WRITE;
        for (size_t k = 0; new &&k < a->n; k++) {
            new = intent_get_label(x, a->requests[k].label)->tool != t;
        }
        if (new) {
            return true;
        }
    }
    return false;
}

muga_status learned_follow(const intent *x, const learned_heard *h, const intent_decision *with, intent_decision *out,
                           muga_error *err) {
    bool followed = !adds_write(x, out, with);
    json_t *said = json_object();
    bool ok = said != NULL;
    for (size_t i = 0; ok && i < intent_n_labels(x); i++) {
        ok = h->voice[i] == 0 || json_object_set_new(said, intent_get_label(x, i)->name, json_real(h->voice[i])) == 0;
    }
    out->learned = ok ? json_pack("{s:O, s:O, s:b}", "voice", said, "nearest", h->nearest, "followed", followed) : NULL;
    json_decref(said);
    if (followed) {
        memcpy(out->requests, with->requests, sizeof out->requests);
        out->n = with->n;
        out->sure = with->sure;
        out->score = with->score;
        out->margin = with->margin;
    }
    return out->learned ? MUGA_OK : error_nomem(err, "a decision");
}
