/* A model that counts what it is asked: another face of the same model, for who measures. */
#ifndef MUGA_LLM_METER_H
#define MUGA_LLM_METER_H

#include "llm/llm.h"

/* A question to the model, told before it (done false) and after. */
typedef struct llm_meter_question {
    bool done, scores; /* labels are scored; else it writes */
    uint64_t n_prompt, n_cached, n_generated;
    bool settled; /* the constraint left no choice at any place, so nothing was read */
} llm_meter_question;

typedef struct llm_meter {
    llm base; /* first: it is an llm */
    llm_table table;
    llm *inner;                                        /* borrowed; must outlive the meter */
    uint64_t n_asked, n_prompt, n_cached, n_generated; /* questions; tokens read, of these cached; tokens written */
    uint64_t read_us, write_us;                        /* the time that took; scores count as read */
    const atomic_bool *cancelled; /* NULL after llm_meter_init; set: once true, an answer ends and none begins */
    void (*on_question)(void *ctx, const llm_meter_question *q); /* NULL after llm_meter_init: nobody is told */
    void *on_question_ctx;
    struct llm_meter *of; /* a handle with another adapter: of which meter; it counts, too, and its flag and watcher are
                             this one's */
} llm_meter;

/* The meter as a model; it needs no llm_free. A handle that llm_local_adapt makes of it needs one, before the meter
 * goes. */
llm *llm_meter_init(llm_meter *m, llm *inner);
void llm_meter_reset(llm_meter *m);
#endif
