/* Private to engine/: how many rows of prompts a step takes beside running answers, by how long steps took. What is
 * computed doesn't depend on it, only when. */
#ifndef MUGA_ENGINE_PACE_H
#define MUGA_ENGINE_PACE_H

#include <stdint.h>

/* All zero: nothing is known yet. */
typedef struct pace {
    double base_us;       /* of a step with answers alone, */
    uint32_t n_answers;   /* so many */
    double rows, rows_us; /* rows of prompts in the last steps, and what they added; older ones count less */
    double most;          /* about the most rows that one of them had */
    uint32_t n_mixed;     /* steps with both since the last one without prompts */
} pace;

/* Rows of n_prompts prompts beside n_answers answers, 1..most; 0: this step is to do without, so that it is known how
 * long one takes. */
uint32_t pace_rows(const pace *p, uint32_t n_answers, uint32_t n_prompts, uint32_t most);
/* A step with answers took so long. */
void pace_note(pace *p, uint32_t n_answers, uint32_t n_prompt_rows, uint64_t us);

#endif
