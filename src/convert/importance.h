/* How much an error in each column of a matrix costs: the mean square of the activations that flow into it, gathered
 * while a model reads text. An output is off by sum_c (error of weight c) (activation c); if activations of different
 * columns are unrelated, its expected square is sum_c (error of c)^2 mean(activation of c squared). */
#ifndef MUGA_CONVERT_IMPORTANCE_H
#define MUGA_CONVERT_IMPORTANCE_H

#include "base/error.h"

typedef struct importance importance;
importance *importance_new(void); /* NULL on exhaustion */
void importance_free(importance *i);
/* x [n_tok][cols], rows x_stride floats apart, went into the matrix `tensor`. A failed allocation is remembered. */
void importance_add(importance *i, const char *tensor, const float *x, size_t x_stride, uint32_t n_tok, uint32_t cols);
muga_status importance_status(const importance *i, muga_error *err);
/* weights [cols] for the errors in a row of `tensor`: 1 on the average. false: nothing is known of such a matrix. */
bool importance_weights(const importance *i, const char *tensor, uint64_t cols, float *weights);

#endif
