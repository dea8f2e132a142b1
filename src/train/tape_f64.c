/* The tape over double: what gradients are checked in. */
#define TRAIN_REAL 64
#include "train/real.h"
#include "train/tape.h"

#include "train/tape_body.h"

#include "train/tile_body.h"

#include "train/product_body.h"

#include "train/linear_body.h"
#include "train/ops_body.h"

#include "train/heads_body.h"

#include "train/attention_body.h"
#include "train/loss_body.h"

#include "train/pass_body.h"
