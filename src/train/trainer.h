/* Private to train/: what a trainer is made of. */
#ifndef MUGA_TRAIN_TRAINER_H
#define MUGA_TRAIN_TRAINER_H

#include "train/wide.h"

struct trainer {
    train_options o; /* targets: a copy */
    char *targets;
    train_layout layout;
    float *params;            /* [layout.n_params] */
    float *grads;             /* of the step being made */
    float *moment1, *moment2; /* of the gradients, and of their squares */
    uint64_t n_steps;         /* made */
    tape_memory memory;
    train_pass_fn *pass;
};

/* optimiser.c */
/* The rate of step i_step (from 0). */
float optimiser_rate(const train_options *o, uint64_t i_step);
double optimiser_norm(const float *grads, size_t n); /* in one order, in double */
/* AdamW with the trainer's gradients times `shrink`; n_steps rises. */
void optimiser_update(trainer *t, float rate, float shrink);

#endif
