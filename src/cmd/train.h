/* The parts of muga train: train.c runs it, train_curve.c shows what became of the loss. */
#ifndef MUGA_CMD_TRAIN_H
#define MUGA_CMD_TRAIN_H

#include "cmd/cmd.h"
#include "llm/tune.h"

/* CSV, whole or not there; a number that wasn't measured is an empty cell. */
MUGA_MUST_USE muga_status train_curve_write(const train_rows *rows, const char *path, muga_error *err);
/* On stdout, 60 columns of means; nothing where there are fewer than two rows. */
void train_curve_draw(const train_rows *rows);

#endif
