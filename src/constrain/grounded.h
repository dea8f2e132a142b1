/* Values that occur in given texts (DESIGN 5, grounded values). */
#ifndef MUGA_CONSTRAIN_GROUNDED_H
#define MUGA_CONSTRAIN_GROUNDED_H

#include "constrain/constrain.h"

#define GROUNDED_MAX_BYTES 256 /* of one value */
#define GROUNDED_MAX_VALUES 4096

/* What to look for; at least one is set. */
typedef struct grounded_query {
    const json_t *words;      /* array: enum or const; numbers and strings count as written */
    const struct dfa *text;   /* strings: whole match */
    bool integers, fractions; /* numbers as written */
    unsigned fold;            /* GROUNDED_FOLD_*: what makes no difference */
    const json_t *wanted;     /* its first place goes to *place; NULL: nothing is asked */
    constrain_place *place;   /* text, from and to are set */
    bool *placed;
} grounded_query;
enum { GROUNDED_FOLD_CASE = 1, GROUNDED_FOLD_SPACE = 2 };

/* Appends what occurs to `out` (a JSON array), in order of first occurrence, without duplicates. */
MUGA_MUST_USE muga_status grounded_find(const grounded_query *q, const constrain_source *source, uint64_t *work,
                                        json_t *out, muga_error *err);
#endif
