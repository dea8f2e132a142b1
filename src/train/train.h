/* Training a LoRA adapter (Hu et al. 2021) on a model as it is: the base stays quantised (Dettmers et al. 2023), AdamW
 * with decoupled decay (Loshchilov and Hutter 2019), warm-up and cosine, clipping by the global norm. docs/training.md.
 *
 *   train_sample  the tokens of one example, and which of them are answers
 *   train_step    one update from a list of samples: packed side by side, none sees another
 *   trainer       pairs, moments and the step's number; one thread at a time
 *
 * Nothing here knows text, files or templates: whoever has those makes samples and keeps the bytes of train_save. The
 * same model, options and samples give the same bits on one instruction set, whatever the threads and what is
 * kept; a restored trainer goes on to the same bits, too. */
#ifndef MUGA_TRAIN_TRAIN_H
#define MUGA_TRAIN_TRAIN_H

#include "base/str.h"
#include "model/model.h"

#define TRAIN_MAX_RANK 1024u

typedef struct train_options {
    uint32_t rank; /* 1..TRAIN_MAX_RANK */
    float alpha;   /* a pair's product is multiplied by alpha / rank; above 0 */
    /* Matrices that get a pair, by the middle of their names, separated by commas: "attn_q,attn_v". NULL = those of
     * attention and feed forward, all. One that the model doesn't have is refused, and the error lists what it has. */
    const char *targets;
    uint64_t seed; /* of A's values; B begins as zero, so that the first forward pass is the base's */

    float lr;           /* the highest learning rate, reached after warm-up; above 0 */
    float lr_end;       /* share of it at n_steps and after; 0..1 */
    uint64_t n_warmup;  /* steps in which the rate rises in a line; at most n_steps */
    uint64_t n_steps;   /* of the whole run: where the cosine ends; at least 1 */
    float beta1, beta2; /* 0 <= b < 1 */
    float epsilon;      /* above 0 */
    float weight_decay; /* of A and B alike; decoupled; from 0 */
    float clip_norm;    /* gradients longer than this are shortened to it; 0 = never */
    /* Tokens computed at a time; samples of a step that don't fit are summed up pass by pass. Samples of one pass that
     * begin with the same ids have these computed once, so where they do results depend on it. */
    uint32_t max_tok;
    /* Of what the layers compute, about so many bytes are kept from the way there to the way back; layers that have no
     * room are computed once more, which takes up to 1.4 times as long; the same bits. UINT64_MAX = keep all. */
    uint64_t keep_bytes;
    os_pool *pool; /* borrowed; NULL = inline */
} train_options;

/* Rank 16, alpha 32, lr 1e-3 down to a tenth, 1,000 steps of which 50 warm-up, betas 0.9 and 0.999, epsilon 1e-8, decay
 * 0.01, clip 1, 2,048 tokens at a time, 400 MB kept. */
train_options train_options_default(void);

typedef struct trainer trainer;

/* Checks the options (MUGA_E_USAGE names the one), lays out pairs. MUGA_E_INPUT: the model can't be trained (an
 * encoder). model and its file are borrowed. */
MUGA_MUST_USE muga_status train_new(const model *m, const train_options *o, trainer **out, muga_error *err);
void train_free(trainer *t);

/* ---- samples ---- */
/* Position i is a target when the model shall predict ids[i] from ids[0 .. i - 1]: mark the answer's tokens and the one
 * that ends it, not the prompt's. target[0] has nothing before it and counts for nothing. */
typedef struct train_sample {
    const int32_t *ids;    /* [n], each in [0, n_vocab) */
    const uint8_t *target; /* [n], 1 = predict it, 0 = not */
    uint32_t n;            /* 2..max_tok, and at most the model's n_ctx_train */
    uint64_t id;           /* the caller's: named in errors ("sample 17"), for instance its line */
} train_sample;

/* MUGA_E_INPUT, naming the sample: too long, an id out of range, or no target. train_step checks the same. */
MUGA_MUST_USE muga_status train_check(const trainer *t, const train_sample *s, muga_error *err);

typedef struct train_result {
    double loss;       /* nats a target, mean over all targets of the samples, before the update */
    double grad_norm;  /* of all gradients, before clipping; 0 from train_loss */
    float lr;          /* that the update was made with; 0 from train_loss */
    uint64_t n_target; /* targets that were predicted */
    uint64_t n_tok;    /* tokens of the samples */
    uint64_t n_row;    /* tokens that were computed: what samples begin with in common once */
    double again;      /* share of the layers that were computed once more */
} train_result;

/* One update by the mean loss over all targets of the samples. MUGA_E_NONFINITE names the first sample with a loss that
 * is no number (or says that the gradient isn't one): then, as after every error, the trainer is as it was before. */
MUGA_MUST_USE muga_status train_step(trainer *t, const train_sample *samples, uint32_t n, train_result *out,
                                     muga_error *err);
/* The same loss without an update, for samples kept aside. loss_of [n]: each sample's own mean; NULL = not wanted. */
MUGA_MUST_USE muga_status train_loss(trainer *t, const train_sample *samples, uint32_t n, double *loss_of,
                                     train_result *out, muga_error *err);

uint64_t train_steps_done(const trainer *t);
/* What a train_step with these samples takes, before it is made. */
typedef struct train_work {
    uint64_t n_row;      /* tokens that are computed */
    double macs;         /* multiply-adds, when nothing is computed again, */
    double forward_macs; /* and of these on the way through the layers */
} train_work;
MUGA_MUST_USE muga_status train_count(const trainer *t, const train_sample *samples, uint32_t n, train_work *out,
                                      muga_error *err);
/* Numbers being trained. */
uint64_t train_parameters(const trainer *t);

/* ---- state ---- */
/* All that a run needs to go on: pairs, moments, the step's number, the options results depend on, and a checksum over
 * them. Appended to out, whose max must have room; the number of bytes is always the same for a trainer. */
size_t train_state_bytes(const trainer *t);
MUGA_MUST_USE muga_status train_save(const trainer *t, str *out, muga_error *err);
/* Into a trainer made with the same model and options. MUGA_E_INPUT: cut short, damaged, or of a run with other
 * options, the first of which is named; the trainer is then as it was. What the bytes don't say is which base they
 * belong to: whoever keeps them keeps its digest beside them. */
MUGA_MUST_USE muga_status train_restore(trainer *t, const void *bytes, size_t n, muga_error *err);

/* ---- the adapter ---- */
/* The pairs as llama.cpp's format has them (docs/adapters.md): for each matrix "blk.0.attn_q.weight" a tensor
 * "blk.0.attn_q.weight.lora_a" [rank][cols] and then "....lora_b" [rows][rank], f32. The file also needs general.type
 * "adapter", adapter.type "lora", general.architecture (model_arch_name) and adapter.lora.alpha (train_alpha). */
typedef struct train_tensor {
    char name[96];
    uint32_t cols, rows; /* dims[0] and dims[1] of the file */
    const float *data;   /* [rows][cols], borrowed: valid until the next train_step or train_restore */
} train_tensor;
uint32_t train_tensor_count(const trainer *t);
void train_tensor_at(const trainer *t, uint32_t i, train_tensor *out);
float train_alpha(const trainer *t);

#endif
