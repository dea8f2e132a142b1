/* What the templates of train/ are written in: included before them with TRAIN_REAL 32 or 64, it makes `real` float or
 * double and gives every name of tape.h an ending of its own. The code of both is the same, so that gradients checked
 * in double against finite differences are those a run computes in float. Meant to be included more than once. */
#undef real
#undef T
#undef R
#if TRAIN_REAL == 64
#define real double
#define T(name) name##_f64
#define R(name) name##_f64
#else
#define real float
#define T(name) name##_f32
#if defined(TRAIN_AVX512) /* the same types, other functions */
#define R(name) name##_avx512
#elif defined(TRAIN_AVX2)
#define R(name) name##_avx2
#else
#define R(name) name##_f32
#endif
#endif

#ifndef MUGA_TRAIN_REAL_H
#define MUGA_TRAIN_REAL_H
#define var T(train_var)
#define tape T(train_tape)
#define tape_pair T(tape_pair)
#define tape_norm_args T(tape_norm_args)
#define tape_rope_args T(tape_rope_args)
#define tape_attention_args T(tape_attention_args)
#define tape_linear_args T(tape_linear_args)
#define tape_loss_args T(tape_loss_args)
#define pass_args T(pass_args)
#define tape_var R(tape_var)
#define tape_give R(tape_give)
#define tape_backward R(tape_backward)
#define tape_embedding R(tape_embedding)
#define tape_columns R(tape_columns)
#define tape_rows R(tape_rows)
#define tape_norm R(tape_norm)
#define tape_rope R(tape_rope)
#define tape_attention R(tape_attention)
#define tape_linear R(tape_linear)
#define tape_gated R(tape_gated)
#define tape_relu_square R(tape_relu_square)
#define tape_add R(tape_add)
#define tape_loss R(tape_loss)
#define train_pass_run R(train_pass_run)
#endif
