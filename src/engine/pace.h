/* Private to engine/: how long prompts are read between two steps of running answers, by how long both took. What is
 * computed doesn't depend on it, only when. */
#ifndef MUGA_ENGINE_PACE_H
#define MUGA_ENGINE_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* All zero: nothing is known yet. */
typedef struct pace {
    double base_us;     /* of a step with answers alone, */
    uint32_t n_answers; /* so many, */
    double before_us;   /* and as it was before prompts came */
    double row_us;      /* of a row of a prompt in one layer */
} pace;

/* Microseconds for n_prompts prompts after a step with n_answers answers; 0: nothing is known of such steps. */
uint64_t pace_us(const pace *p, uint32_t n_answers, uint32_t n_prompts);
/* Rows of a piece that suit this time, a part of a page of so many. */
uint32_t pace_rows(const pace *p, uint64_t us, uint32_t page);
/* Whether another layer of so many rows fits into the time, of which some is spent. */
bool pace_has_time(const pace *p, uint32_t n_rows, uint64_t spent_us, uint64_t us);

/* A step with answers alone took so long, is_beside: with prompts being read before it; and a layer of a piece. */
void pace_note_step(pace *p, uint32_t n_answers, bool is_beside, uint64_t us);
void pace_note_layer(pace *p, uint32_t n_rows, uint64_t us);

#endif
