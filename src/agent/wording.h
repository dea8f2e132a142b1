/* How alike texts are in their words, and a set of texts that can be asked for the likest. Private to agent/.
 *
 * A text is its words: small letters, no marks, no apostrophes; a word that holds a digit, and a {slot}, is the same
 * word whatever it says, and several in a row count once. Likeness is Dice's coefficient over words and pairs of
 * neighbouring words, each as often as it stands there: 1 is the same, 0 nothing shared. It is what
 * agents/customer-service/train/overlap measures, too. */
#ifndef MUGA_AGENT_WORDING_H
#define MUGA_AGENT_WORDING_H

#include "base/str.h"

#define WORDING_MAX_WORDS 2000u /* of one text; what follows is left out of the comparison */
#define WORDING_GRAM 4u         /* words of a run, for the share of runs in common */

typedef struct wording {
    uint64_t *features; /* [n_features] hashes of words and pairs, each with its how-manieth time; ascending */
    uint64_t *grams;    /* [n_grams] hashes of runs of WORDING_GRAM words */
    uint32_t n_features, n_grams, n_words;
    uint64_t whole; /* hash of all words in order */
    bool is_empty;  /* no word but numbers and slots */
    bool repeats;   /* a third of its runs of words stand there before: what a small model writes when it is lost */
} wording;
MUGA_MUST_USE muga_status wording_of(const char *text, size_t n, wording *out, muga_error *err);
void wording_release(wording *w);

typedef struct wording_set wording_set;
MUGA_MUST_USE muga_status wording_set_new(wording_set **out, muga_error *err);
void wording_set_free(wording_set *s);
MUGA_MUST_USE muga_status wording_set_add(wording_set *s, const wording *w, muga_error *err);
uint32_t wording_set_size(const wording_set *s);
/* The likest text of the set; 0 and UINT32_MAX where nothing is shared. Changes counters of the set, nothing else. */
typedef struct wording_match {
    double likeness;
    uint32_t i;   /* in the order of adding */
    bool is_same; /* the same words in the same order, of whichever text */
} wording_match;
wording_match wording_set_find(wording_set *s, const wording *w);
/* How many of its runs of words some text of the set has. */
uint32_t wording_set_count_grams(const wording_set *s, const wording *w);

#endif
