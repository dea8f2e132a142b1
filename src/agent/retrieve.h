/* Nearest examples, and what they vote for. Private to agent/.
 *
 * A text is a bag of lower-case words, pairs of neighbouring words and of words with one between, pieces of words of 3
 * and 4 bytes (so that a slip of the keyboard costs a little, not the word), and of the classes that its words belong
 * to, alone and beside their neighbours ("my <kin>'s": what was learned of a wife holds for a cousin). Each counts by
 * the square root of its number, and a little more where few examples have it; the whole is scaled to length 1.
 * Likeness of two texts is the dot product. The vote of example i for label l is not simply 1: the votes a[i][l] are
 * those that, summed over all examples by likeness, give each example its own labels back (ridge regression:
 * (K + lambda I) a = Y). An example that stands alone speaks up; ten that say the same share their voice. IEEE + - * /
 * and sqrt only, in a fixed order: the same bits on every machine. */
#ifndef MUGA_AGENT_RETRIEVE_H
#define MUGA_AGENT_RETRIEVE_H

#include "base/json.h"

typedef struct retrieve retrieve;
#define RETRIEVE_MAX_EXAMPLES 20000u
#define RETRIEVE_MAX_LABELS 64u

typedef struct retrieve_example {
    const char *text; /* masked (normalise.h); borrowed during retrieve_new */
    uint64_t labels;  /* bit l: label l */
} retrieve_example;
/* classes: object of class name -> its words, small letters, parted by spaces; or NULL. A word also belongs to a class
 * that it is in without its 's or s. */
MUGA_MUST_USE muga_status retrieve_new(const retrieve_example *examples, size_t n, size_t n_labels,
                                       const json_t *classes, retrieve **out, muga_error *err);
void retrieve_free(retrieve *r);

typedef struct retrieve_hit {
    size_t i;        /* index of the example */
    double likeness; /* 0..1 */
} retrieve_hit;
/* Scores of all labels into scores[n_labels], the `*n_hits` nearest into hits (descending; ties: the lower index; 0:
 * none, which is quicker). */
MUGA_MUST_USE muga_status retrieve_score(const retrieve *r, const char *text, size_t n, double *scores,
                                         retrieve_hit *hits, size_t *n_hits, muga_error *err);
#endif
