/* Who reads an answer sees the time between two tokens, and a step that reads a piece of a prompt beside it is longer.
 * The piece is as large as lets the step take STRETCH times as long as one without: answers slow down by that at most,
 * whatever arrives, and the prompt, which shares the pass over the weights, keeps most of its own speed.
 *
 * Where more wait for their first token than read, those weigh more, and steps are longer by as much.
 *
 * Both times are measured, since they follow the machine, the model and how long the contexts are by now. A single step
 * that was held up changes them little. */
#include "engine/pace.h"

#include "base/mem.h"

#include <stdbool.h>

#define STRETCH 2.7
#define LEAST_ROWS 2u     /* a prompt goes on, however slow the machine */
#define FIRST_ROWS 8u     /* while nothing is known */
#define GROWTH 1.5        /* rows are at most so many times those of the step before: a first time may deceive */
#define MEASURE_AGAIN 64u /* mixed steps after which one does without prompts */
#define WEIGHT 0.2        /* of a new time beside those before */
#define MOST_TIMES 2.0    /* what a time counts at most, in times of what was expected */

/* What each row adds; 0: not known. Steps weigh by their rows, since one of few says little. */
static double row_us(const pace *p) {
    return p->rows > 0 ? p->rows_us / p->rows : 0;
}

/* How long a step with about so many answers takes is known: more or fewer by a quarter change it little. */
static bool knows(const pace *p, uint32_t n_answers) {
    uint32_t more = MAX(n_answers, p->n_answers), fewer = MIN(n_answers, p->n_answers);
    return p->base_us > 0 && 4 * (more - fewer) <= fewer;
}

uint32_t pace_rows(const pace *p, uint32_t n_answers, uint32_t n_prompts, uint32_t most) {
    if (!knows(p, n_answers) || p->n_mixed >= MEASURE_AGAIN)
        return 0;
    double crowd = n_prompts > n_answers ? (double)n_prompts / n_answers : 1.0;
    double rows = p->rows > 0 ? MIN((STRETCH - 1) * crowd * p->base_us / row_us(p), GROWTH * p->most + 1) : FIRST_ROWS;
    return rows >= most ? most : MIN(MAX((uint32_t)(rows + 0.5), LEAST_ROWS), most);
}

static void note_base(pace *p, uint32_t n_answers, double us) {
    p->base_us = knows(p, n_answers) ? p->base_us + WEIGHT * (MIN(us, MOST_TIMES * p->base_us) - p->base_us) : us;
    p->n_answers = n_answers;
    p->n_mixed = 0;
}

void pace_note(pace *p, uint32_t n_answers, uint32_t n_prompt_rows, uint64_t us) {
    double t = (double)MAX(us, (uint64_t)1), n = (double)n_prompt_rows;
    if (n_prompt_rows == 0 ||
        !knows(p, n_answers)) { /* the rest of a prompt may always be in it: nobody waits for less */
        note_base(p, n_answers, t);
        return;
    }
    p->n_mixed = p->n_mixed < MEASURE_AGAIN ? p->n_mixed + 1 : 0;
    p->most = MAX(n, (1 - WEIGHT) * p->most);
    double added = MAX(t - p->base_us, 0.1 * t);
    if (p->rows > 0)
        added = MIN(added, MOST_TIMES * row_us(p) * n + p->base_us);
    p->rows_us += added - WEIGHT * p->rows_us;
    p->rows += n - WEIGHT * p->rows;
}
