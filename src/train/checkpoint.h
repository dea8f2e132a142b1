/* The file that an interrupted training run goes on from.
 *
 * Written whole, synced, renamed over the one before (os_write_file_atomic): after a kill at any moment there is either
 * the old one or the new. All numbers little-endian:
 *
 *   "MUGACKP1"                      8
 *   base, data     SHA-256 in hex   64 each: the model's file; the samples
 *   settings       u64 n, text      what the run's results depend on and the trainer's own state doesn't say
 *   now_ms, n_done, best_step, n_worse   u64 each
 *   best_loss      f64
 *   rows           u64 n, then u64 step, f64 loss, held, lr, grad_norm each
 *   state, best    u64 n, bytes     of train_save, now and at the best loss; best may be empty
 *   SHA-256 over all before         32
 *
 * A file that is cut short, damaged, or of another base, data or settings is refused by name. */
#ifndef MUGA_TRAIN_CHECKPOINT_H
#define MUGA_TRAIN_CHECKPOINT_H

#include "base/hash.h"
#include "base/str.h"
#include "os/os.h"

typedef struct train_row {
    uint64_t step; /* after it, from 1; 0 = before the first */
    double loss;   /* of the step's samples; NaN at 0 */
    double held;   /* of the samples kept aside; NaN = not measured there */
    double lr, grad_norm;
} train_row;

typedef struct train_rows {
    train_row *at;
    size_t n, cap;
} train_rows;
MUGA_MUST_USE muga_status train_rows_push(train_rows *r, train_row row, muga_error *err);
void train_rows_release(train_rows *r);

typedef struct train_checkpoint {
    char base_sha256[SHA256_HEX], data_sha256[SHA256_HEX];
    str settings;
    int64_t now_ms; /* what the template was told when the data was read */
    uint64_t n_done, best_step;
    uint64_t n_worse; /* measurements since the best one */
    double best_loss;
    train_rows rows;
    str state, best;
} train_checkpoint;
void train_checkpoint_release(train_checkpoint *c);

#define TRAIN_CHECKPOINT_MAX ((size_t)1 << 36)

MUGA_MUST_USE muga_status train_checkpoint_write(const os_files *f, const char *path, const train_checkpoint *c,
                                                 muga_error *err);
/* E_NOT_FOUND: there is none. */
MUGA_MUST_USE muga_status train_checkpoint_read(const os_files *f, const char *path, train_checkpoint *out,
                                                muga_error *err);
/* Is it of a run like this one? Compares base, data and settings, and names the first that differs. */
MUGA_MUST_USE muga_status train_checkpoint_check(const train_checkpoint *c, const char *base_sha256,
                                                 const char *data_sha256, const char *settings, muga_error *err);

#endif
