/* Cutting a message where another request may begin. Private to agent/. */
#ifndef MUGA_AGENT_CLAUSES_H
#define MUGA_AGENT_CLAUSES_H

#include "base/json.h"

#define CLAUSES_MAX 16u

typedef struct clause {
    size_t from, n; /* bytes of the text */
} clause;
/* Cuts text[0, n) at the ends of sentences, at commas, and at the words of `split` (array of strings or NULL), which
 * belong to no clause. Returns how many there are; what follows the last that fits is left out. */
size_t clauses_split(const json_t *split, const char *text, size_t n, clause out[CLAUSES_MAX]);
#endif
