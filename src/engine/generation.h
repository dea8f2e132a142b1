/* Private to engine/: one answer as a state machine, so that many can go on in common steps.
 *
 *     generation_new -> ( generation_plan -> engine_step -> generation_take )* -> generation_finish -> generation_free
 *
 * The whole sequence, prompt and answer, is the generation's own; the session is where it is computed. A plan asks for
 * what the session lacks, so a session that was cut back, even to nothing, is computed again by the next plan, and
 * whoever steps may feed a part of a long plan first (ENGINE_LOGITS_NONE) and plan again. One thread at a time. */
#ifndef MUGA_ENGINE_GENERATION_H
#define MUGA_ENGINE_GENERATION_H

#include "engine/engine.h"

typedef struct generation generation;

/* The struct is copied; what it points to is borrowed while the generation lives. Pages aren't reserved here. */
MUGA_MUST_USE muga_status generation_new(const engine_generate_args *a, generation **out, muga_error *err);
void generation_free(generation *g);

/* What the next step must compute: tokens the session lacks, rows wanted of the last. Its ids are valid until the
 * next call. item->n 0: nothing, the answer is done. */
MUGA_MUST_USE muga_status generation_plan(generation *g, engine_item *item, muga_error *err);
/* After a step that computed the planned item, or the first tokens of it: what was chosen joins the answer, and
 * generation_done says whether that ends it. Between the step and this, the session may hold guesses: it isn't to be
 * forked. */
MUGA_MUST_USE muga_status generation_take(generation *g, muga_error *err);
/* The step failed, and the session stands before it or within it. true: the plan had drafts, and the next plan and all
 * after it have none; only if that fails too is the answer lost. */
bool generation_retry(generation *g);
/* At most this many guesses in the next plans: a step that many answers share has little to gain. */
void generation_limit_drafts(generation *g, uint32_t most);
bool generation_done(const generation *g);
/* The sequence so far, prompt and answer; borrowed until the next call that changes it. */
const int32_t *generation_ids(const generation *g, uint32_t *n);
/* Nothing more is chosen; the text so far is the answer's. */
void generation_cancel(generation *g);
/* The rest of the text goes out, and the answer moves to *out. */
MUGA_MUST_USE muga_status generation_finish(generation *g, engine_generated *out, muga_error *err);

#endif
