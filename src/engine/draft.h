/* Private to engine/: guesses at how an answer goes on. A guess changes no token: it is computed together with the
 * last token taken, and stands where the model chooses the same (generate.c).
 *
 *     draft_push     a token joined the sequence
 *     draft_begin    a draft after the sequence as it stands
 *     draft_next     one more guess, and how likely it is to be right; none: the draft ends
 *     draft_learn    what became of it
 *
 * The sequence is the caller's: seq[0, n) is prompt and answer, and guesses are written behind it by the caller as they
 * are made, so that a guess can follow a guess. One thread at a time. */
#ifndef MUGA_ENGINE_DRAFT_H
#define MUGA_ENGINE_DRAFT_H

#include "engine/engine.h"

#define DRAFT_MAX 16 /* guesses of one draft */

/* How often guesses of one kind were right; begins as `right` of `tried`, forgets slowly. */
typedef struct draft_odds {
    uint32_t right, tried;
} draft_odds;
double draft_odds_get(const draft_odds *o);
void draft_odds_add(draft_odds *o, bool right);

/* ---- n-gram look-up (ngram.c): what followed the last time the same tokens stood here ---- */
typedef struct ngram ngram;
/* seq [cap] is borrowed; nothing is pushed yet. */
MUGA_MUST_USE muga_status ngram_new(const int32_t *seq, uint32_t cap, ngram **out, muga_error *err);
void ngram_free(ngram *g);
/* seq[n] joined, n tokens having been pushed before. learn: whether it tells how good the guesses are (a prompt's
 * tokens don't). Allocates nothing; the work is bounded by a constant. */
void ngram_push(ngram *g, bool learn);
/* The guess after seq[0, n), at least as many as were pushed. */
bool ngram_guess(const ngram *g, uint32_t n, int32_t *id, double *p);

/* ---- draft model (draft_model.c): a smaller model of the same vocabulary ---- */
typedef struct draft_model draft_model;
MUGA_MUST_USE muga_status draft_model_new(const engine_generate_args *a, draft_model **out, muga_error *err);
void draft_model_free(draft_model *d);
/* What computing one guess costs, in steps of the model it drafts for. */
double draft_model_cost(const draft_model *d);
/* false: this one has no guess: its context is full, or it failed, which ends it for this answer. mask: what may be
 * chosen; NULL = all. */
bool draft_model_guess(draft_model *d, const int32_t *seq, uint32_t n, const uint64_t *mask, int32_t *id);

#endif
