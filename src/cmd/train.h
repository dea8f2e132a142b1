/* The parts of muga train: train.c runs it, train_curve.c shows what became of the loss. */
#ifndef MUGA_CMD_TRAIN_H
#define MUGA_CMD_TRAIN_H

#include "cmd/cmd.h"
#include "gguf/gguf.h"
#include "llm/tune.h"
#include "train/adapter_file.h"

/* An adapter that a run begins from (train_from.c). */
typedef struct train_from {
    gguf_file *f;
    char sha256[SHA256_HEX];
    train_start shape;
} train_from;
/* MUGA_E_INPUT: no adapter, or one for another base than this, with both digests. */
MUGA_MUST_USE muga_status train_from_open(const char *path, const char *base_sha256, train_from *out, muga_error *err);
MUGA_MUST_USE muga_status train_from_begin(const train_from *x, const char *path, trainer *t, muga_error *err);
void train_from_close(train_from *x);

/* CSV, whole or not there; a number that wasn't measured is an empty cell. */
MUGA_MUST_USE muga_status train_curve_write(const train_rows *rows, const char *path, muga_error *err);
/* On stdout, 60 columns of means; nothing where there are fewer than two rows. */
void train_curve_draw(const train_rows *rows);

#endif
