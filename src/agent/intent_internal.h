/* Private to intent*.c: labels and examples as they were read (intent.c), for deciding with them (intent_decide.c). */
#ifndef MUGA_AGENT_INTENT_INTERNAL_H
#define MUGA_AGENT_INTENT_INTERNAL_H

#include "agent/expert.h"
#include "agent/intent.h"
#include "agent/learned.h"

#define INTENT_MASK " \x01 " /* a word that nobody writes, where a value stood */

struct intent {
    const manifest *m;
    const char *tenant; /* borrowed */
    intent_label labels[RETRIEVE_MAX_LABELS];
    size_t n_labels;
    normaliser *normaliser;
    retrieve *index;
    char **texts; /* [n_examples] as written */
    uint64_t *example_labels;
    size_t n_examples;
    const json_t *split;
    const char *instruction;
    size_t neighbours;
    double floor, margin, second, model_weight;
    expert *expert;         /* NULL: none is declared */
    const learned *learned; /* borrowed; NULL: nothing */
};

/* Of the examples without those of one part of n_parts (0: with all). */
MUGA_MUST_USE muga_status intent_build_index(const intent *x, size_t without, size_t n_parts, retrieve **out,
                                             muga_error *err);
#endif
