/* What is computed together, and where an adapter's numbers lie: the parts of a step that are the same in float and in
 * double. Private to train/. */
#ifndef MUGA_TRAIN_PASS_H
#define MUGA_TRAIN_PASS_H

#include "model/layers.h"
#include "train/train.h"

/* ---- samples side by side ----
 * The rows of a segment are one after the other; a row sees those before it in its segment, and none of another, except
 * that a segment may go on from rows of an earlier one (its prefix). */
typedef struct train_segment {
    uint32_t from, to;    /* its own rows */
    uint32_t prefix_from; /* the n_prefix rows it goes on from; its first own row has position n_prefix */
    uint32_t n_prefix;
    uint32_t i_group; /* a prefix and the segments over it are a group, one without is its own: rising from 0 */
} train_segment;

typedef struct train_segments {
    const train_segment *at;
    uint32_t n, n_group;
} train_segments;

/* The row of position pos. */
static inline uint32_t segment_row(const train_segment *s, uint32_t pos) {
    return pos < s->n_prefix ? s->prefix_from + pos : s->from + (pos - s->n_prefix);
}

typedef struct train_pass {
    uint32_t n_tok;
    int32_t *ids; /* [n_tok] */
    train_segments segments;
    train_segment *segment; /* what `segments` points to */
    uint32_t n_last;
    uint32_t *last; /* [n_last] rows that predict a target, ascending: what the last layer's end is computed for */
    uint32_t n_target;
    uint32_t *row;                                      /* [n_target] whose logits are looked at: of `last` */
    int32_t *label;                                     /* [n_target] what comes next */
    uint32_t *i_sample;                                 /* [n_target] of the samples given */
    uint32_t *pos;                                      /* [n_target] of the label in its sample */
    float *cos[MODEL_MAX_ROPES], *sin[MODEL_MAX_ROPES]; /* [n_tok][n_rot / 2] */
} train_pass;

/* ---- which samples are computed together ----
 * A function of the samples and max_tok alone. What comes after a sample's last target is left out: nothing looks at
 * it. Samples that begin with the same ids are a family, which computes these once in each pass that it is in. */
typedef struct train_part {
    uint32_t from, to; /* in the plan's order */
    uint32_t n_prefix; /* ids that all of them begin with, computed once; 0 = nothing is shared */
    uint32_t i_pass;   /* rising from 0 */
} train_part;

typedef struct train_plan {
    const train_sample *samples; /* borrowed */
    uint32_t *order;             /* [n] every sample once */
    train_part *parts;
    uint32_t n_parts, n_pass;
    uint64_t n_row; /* tokens that are computed */
} train_plan;

/* The samples have been checked. A zeroed plan may be released. */
MUGA_MUST_USE muga_status train_plan_init(const model *m, const train_sample *samples, uint32_t n, uint32_t max_tok,
                                          train_plan *out, muga_error *err);
void train_plan_release(train_plan *p);
/* One past the position of its last target: its tokens that are looked at, the last as a label only. */
uint32_t train_sample_end(const train_sample *s);

/* Release in any case. */
MUGA_MUST_USE muga_status train_pass_init(const model *m, const train_plan *plan, uint32_t i_pass, train_pass *out,
                                          muga_error *err);
void train_pass_release(train_pass *p);

/* ---- an adapter's numbers ---- */
#define TRAIN_NO_PAIR SIZE_MAX
typedef struct train_place {
    const gguf_tensor *w;
    size_t a, b; /* where A [rank][cols] and B [rows][rank] begin in the numbers; TRAIN_NO_PAIR = no pair */
} train_place;

typedef struct train_layout {
    const model *m;
    uint32_t rank;
    float scale;         /* alpha / rank */
    train_place *places; /* [n_layer][MODEL_LINEARS][MODEL_MAX_PARTS] */
    uint32_t n_places;
    uint32_t n_pairs;
    size_t n_params;
} train_layout;
/* targets as in train_options. */
MUGA_MUST_USE muga_status train_layout_init(const model *m, uint32_t rank, float alpha, const char *targets,
                                            train_layout *out, muga_error *err);
void train_layout_release(train_layout *l);

#endif
