/* The tape over float with the vectors of AVX2. */
#if defined(__x86_64__)

#define TRAIN_REAL 32
#define TRAIN_AVX2
#define TRAIN_VECTOR_BYTES 32
#define TRAIN_TILE 6
#include "train/real.h"
#include "train/tape.h"

#include "base/mem.h"
#include "kernel/math.h"

#include <immintrin.h>
#include <math.h>
#include <stdio.h>

#include "base/target_loops.h"
#include "kernel/target_avx2.h"
#define TRAIN_FMA(a, b, c) ((lanes)_mm256_fmadd_ps(_mm256_set1_ps(a), (__m256)(b), (__m256)(c)))

#include "train/tape_body.h"

#include "train/tile_body.h"

#include "train/product_body.h"

#include "train/linear_body.h"
#include "train/ops_body.h"

#include "train/heads_body.h"

#include "train/attention_body.h"
#include "train/loss_body.h"

#include "train/pass_body.h"

TARGET_END
#endif
