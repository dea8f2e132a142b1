/* A training run: which samples come in which step, when the loss of those kept aside is measured, when it stops, and
 * the checkpoints from which a killed run goes on to the same bits. docs/training.md.
 *
 * A step's samples hang on seed and step alone, so that nothing but the checkpoint is needed to go on. */
#ifndef MUGA_LLM_TUNE_H
#define MUGA_LLM_TUNE_H

#include "llm/dataset.h"
#include "train/checkpoint.h"
#include "train/train.h"

typedef struct tune_progress {
    uint64_t n_done, n_steps;
    const train_row *row; /* of this step */
    uint64_t n_tok;       /* of its samples */
    uint64_t n_row;       /* tokens that it computed: what samples begin with in common once */
    double best_loss;     /* of those kept aside; NaN = none are */
} tune_progress;

typedef struct tune_options {
    uint32_t batch;   /* samples a step; at least 1 */
    uint32_t group;   /* neighbours that an epoch's shuffle keeps together; at least 1 */
    uint64_t n_steps; /* tune_steps, and what the trainer was made with */
    uint64_t seed;
    uint64_t measure_every;    /* steps; at least 1 */
    uint64_t checkpoint_every; /* steps; 0 = only when interrupted */
    uint32_t patience;         /* measurements without a better one after which it stops; 0 = never */
    bool resume;               /* go on from the checkpoint */
    const char *checkpoint;    /* its path */
    const char *base_sha256, *data_sha256, *settings; /* kept in it, and compared */
    int64_t now_ms;
    const os_files *files;
    bool (*on_step)(void *ctx, const tune_progress *p); /* false: write a checkpoint, and E_CANCELLED; may be NULL */
    void *ctx;
} tune_options;

typedef struct tune_result {
    train_rows rows; /* one a step, from the beginning of the run; release with train_rows_release, on failure too */
    uint64_t n_done, best_step;
    double first_loss, best_loss; /* of those kept aside, before the first step and at best_step; NaN = none are */
    bool stopped_early;
} tune_result;

/* Of a whole run; every sample once an epoch, the last step of an epoch with what is left. */
uint64_t tune_steps(uint32_t n_train, uint32_t batch, uint64_t n_epochs);

/* Of the first epoch's steps: tokens of their samples, and those computed when beginnings are shared. Of the options
 * batch, group and seed. */
MUGA_MUST_USE muga_status tune_epoch(const trainer *t, const dataset *d, const dataset_split *s, const tune_options *o,
                                     uint64_t *n_tok, uint64_t *n_row, muga_error *err);

/* Afterwards the trainer is as it was at best_step, or, where no samples are kept aside, after the last. Errors of a
 * step name step and line; the last checkpoint stays. */
MUGA_MUST_USE muga_status tune_run(trainer *t, const dataset *d, const dataset_split *s, const tune_options *o,
                                   tune_result *out, muga_error *err);

#endif
