/* Who reads an answer sees the time between two tokens, and prompts that are read in between make it longer. They get
 * as much as makes it STRETCH times as long as it was before they came: answers slow down by that at most, whatever
 * arrives, and the prompt, which is read in pieces that cost little more than when it is read alone, keeps most of its
 * own speed. Answers become longer meanwhile, and their steps: by a third while 4,000 tokens are read beside one. Their
 * reader compares with what was before, so prompts get less then, but never less than LEAST times such a step.
 *
 * Where more wait for their first token than read, those weigh more, and get as many times as much.
 *
 * Both times are measured, since they follow the machine, the model and how long the contexts are by now. A single one
 * that was held up changes them little. */
#include "engine/pace.h"

#include "base/mem.h"

#define STRETCH 2.85
#define LEAST 1.15
#define OVER 1.05          /* times the time for prompts that may be used: a layer that nearly fits is computed */
#define MOST_PARTS 4u      /* of a page: fewer rows cost more each, */
#define FIXED_ROWS 4.0     /* since a piece costs about so many besides its own */
#define LEAST_LAYERS 2u    /* between two steps, where rows needn't be too few for it */
#define WEIGHT 0.2         /* of a new time beside those before, */
#define WEIGHT_BEFORE 0.05 /* and where it says how answers were */
#define HELD_UP 1.25       /* what a step counts at most, and at least, in times of what was expected */
#define DEEPER 2.0         /* the same of a layer: another prompt may stand elsewhere */

/* How long a step with about so many answers takes is known: more or fewer by a quarter change it little. */
static bool knows(const pace *p, uint32_t n_answers) {
    uint32_t more = MAX(n_answers, p->n_answers), fewer = MIN(n_answers, p->n_answers);
    return p->base_us > 0 && 4 * (more - fewer) <= fewer;
}

uint64_t pace_us(const pace *p, uint32_t n_answers, uint32_t n_prompts) {
    if (!knows(p, n_answers))
        return 0;
    double crowd = n_prompts > n_answers ? (double)n_prompts / n_answers : 1.0;
    double us = STRETCH * p->before_us - p->base_us;
    return (uint64_t)(crowd * MIN(MAX(us, LEAST * p->base_us), (STRETCH - 1) * p->base_us));
}

/* Pieces end where pages end, so they are a page's half, third or quarter. Of those that leave time unused as few rows
 * do, since layers don't fit into it a whole number of times, and of small ones whose rows cost more, the best. */
uint32_t pace_rows(const pace *p, uint64_t us, uint32_t page) {
    uint32_t best = page / MOST_PARTS;
    double most = 0;
    for (uint32_t parts = MOST_PARTS; p->row_us > 0 && parts > 0; parts--) {
        uint32_t n = (page + parts - 1) / parts, n_layers = (uint32_t)(OVER * (double)us / (n * p->row_us));
        double rows = (double)n_layers * n * n / (n + FIXED_ROWS);
        if (n_layers >= LEAST_LAYERS && rows > most) {
            most = rows;
            best = n;
        }
    }
    return best;
}

bool pace_has_time(const pace *p, uint32_t n_rows, uint64_t spent_us, uint64_t us) {
    return (double)spent_us + p->row_us * n_rows <= OVER * (double)us;
}

/* The average moves towards a new time, taken as at most and at least so many times what was expected. */
static double moved(double average, double t, double weight, double times) {
    return average > 0 ? average + weight * (MAX(MIN(t, times * average), average / times) - average) : t;
}

void pace_note_step(pace *p, uint32_t n_answers, bool is_beside, uint64_t us) {
    double t = (double)MAX(us, (uint64_t)1);
    if (!knows(p, n_answers))
        p->base_us = p->before_us = 0;
    if (!is_beside || p->before_us <= 0)
        p->before_us = moved(p->before_us, t, WEIGHT_BEFORE, HELD_UP);
    p->base_us = moved(p->base_us, t, WEIGHT, HELD_UP);
    p->n_answers = n_answers;
}

void pace_note_layer(pace *p, uint32_t n_rows, uint64_t us) {
    p->row_us = moved(p->row_us, (double)MAX(us, (uint64_t)1) / n_rows, WEIGHT, DEEPER);
}
