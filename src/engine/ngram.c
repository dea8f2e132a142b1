/* Guessing by look-up: text that is quoted, edited or filled into a form repeats what stands before it.
 *
 * An index leads from a pair of tokens to the places where it stood, latest first: `head` by hash, `prev` from place to
 * place. A place p says that the pair seq[p-2], seq[p-1] was followed by seq[p]. Of the latest few places, and the one
 * that the last right guess leads to, the one whose past agrees with the present for longest gives the guess; of equal
 * ones the latest. How often such guesses come true is counted by the length of the agreement, at every token, guess
 * computed or not: so a text that doesn't repeat costs nothing but these look-ups. */
#include "engine/draft.h"

#include "base/mem.h"

#define PAIR 2u
#define LOOK_AT 8u  /* places of a pair */
#define LONGEST 32u /* agreement that is told apart */
#define N_ODDS 6
#define HALVE_AT 64u

struct ngram {
    const int32_t *seq;
    uint32_t n;      /* tokens pushed */
    uint32_t shift;  /* 32 - log2 of head's size */
    uint32_t *head;  /* place of a pair, 0 = none */
    uint32_t *prev;  /* [cap] the place before */
    uint32_t follow; /* place that the last guess, a right one, leads to; 0 = none */
    draft_odds odds[N_ODDS];
};

double draft_odds_get(const draft_odds *o) {
    return (double)o->right / (double)o->tried;
}

void draft_odds_add(draft_odds *o, bool right) {
    o->right += right;
    if (++o->tried >= HALVE_AT) {
        o->tried /= 2;
        o->right /= 2;
    }
}

muga_status ngram_new(const int32_t *seq, uint32_t cap, ngram **out, muga_error *err) {
    ngram *g = mem_alloc_array(1, sizeof *g);
    if (!g)
        return error_nomem(err, "the look-up of drafts");
    uint32_t bits = 8;
    while (bits < 20 && (1u << bits) < cap)
        bits++;
    g->seq = seq;
    g->shift = 32 - bits;
    g->head = mem_alloc_array((size_t)1 << bits, sizeof *g->head);
    g->prev = mem_alloc_array(cap, sizeof *g->prev);
    /* agreements of 2, 3, 4, 5 to 7, 8 to 15, more: what they come to on ordinary text */
    static const draft_odds first[N_ODDS] = {{1, 8}, {2, 8}, {3, 8}, {4, 8}, {5, 8}, {6, 8}};
    memcpy(g->odds, first, sizeof first);
    if (!g->head || !g->prev) {
        ngram_free(g);
        return error_nomem(err, "the look-up of drafts");
    }
    *out = g;
    return MUGA_OK;
}

void ngram_free(ngram *g) {
    if (!g)
        return;
    free(g->head);
    free(g->prev);
    free(g);
}

static uint32_t slot_of(const ngram *g, uint32_t place) {
    uint32_t a = (uint32_t)g->seq[place - 2], b = (uint32_t)g->seq[place - 1];
    return ((a * 0x9e3779b1u) ^ (b * 0x85ebca6bu + (a >> 16))) * 0xc2b2ae35u >> g->shift;
}

/* How many tokens before `place` are those before n. */
static uint32_t agreement(const ngram *g, uint32_t place, uint32_t n) {
    uint32_t len = 0, most = place < LONGEST ? place : LONGEST;
    while (len < most && g->seq[place - 1 - len] == g->seq[n - 1 - len])
        len++;
    return len;
}

/* The best place to read on from after seq[0, n); *len its agreement, 0 = none. */
static uint32_t find(const ngram *g, uint32_t n, uint32_t *len) {
    uint32_t best = 0;
    *len = 0;
    if (n < PAIR)
        return 0;
    uint32_t place = g->head[slot_of(g, n)];
    for (uint32_t i = 0; i < LOOK_AT && place && *len < LONGEST; i++, place = g->prev[place]) {
        uint32_t l = agreement(g, place, n);
        if (l >= PAIR && l > *len) {
            *len = l;
            best = place;
        }
    }
    uint32_t led = g->follow ? g->follow + (n - g->n) : 0;
    if (led && led < n) {
        uint32_t l = agreement(g, led, n);
        if (l >= PAIR && l > *len) {
            *len = l;
            best = led;
        }
    }
    return best;
}

static size_t odds_of(uint32_t len) {
    return len <= 4 ? len - PAIR : len < 8 ? 3 : len < 16 ? 4 : 5;
}

void ngram_push(ngram *g, bool learn) {
    uint32_t len, n = g->n, place = find(g, n, &len);
    bool right = place && g->seq[place] == g->seq[n];
    if (place && learn)
        draft_odds_add(&g->odds[odds_of(len)], right);
    g->n++;
    g->follow = right ? place + 1 : 0;
    if (n >= PAIR) { /* the pair before this token now has a place that says what followed */
        uint32_t slot = slot_of(g, n);
        g->prev[n] = g->head[slot];
        g->head[slot] = n;
    }
}

bool ngram_guess(const ngram *g, uint32_t n, int32_t *id, double *p) {
    uint32_t len, place = find(g, n, &len);
    if (!place)
        return false;
    *id = g->seq[place];
    *p = draft_odds_get(&g->odds[odds_of(len)]);
    return true;
}
