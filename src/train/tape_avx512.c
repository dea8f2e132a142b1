/* The tape over float with the vectors of AVX-512. */
#if defined(__x86_64__)

#define TRAIN_REAL 32
#define TRAIN_AVX512
#define TRAIN_VECTOR_BYTES 64
#define TRAIN_TILE 12
#include "train/real.h"
#include "train/tape.h"

#include "base/mem.h"
#include "kernel/math.h"

#include <immintrin.h>
#include <math.h>
#include <stdio.h>

#include "base/target_loops.h"
#include "kernel/target_avx512.h"
#define TRAIN_FMA(a, b, c) ((lanes)_mm512_fmadd_ps(_mm512_set1_ps(a), (__m512)(b), (__m512)(c)))

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
