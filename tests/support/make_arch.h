/* Small models of every architecture, made from nothing: for tests of graphs and of what a loader refuses. */
#ifndef TESTS_MAKE_ARCH_H
#define TESTS_MAKE_ARCH_H

#include "base/str.h"

enum { MAKE_ARCH_VOCAB = 96, MAKE_ARCH_CTX = 512, MAKE_ARCH_EMBD = 64 };

/* One thing about the file that is otherwise: a key (without "<arch>.", unless it has a prefix of its own) set or added
 * as the value's type says, or left out; or a tensor left out or added. */
typedef struct make_change {
    enum { MAKE_END, MAKE_U32, MAKE_F32, MAKE_STRING, MAKE_BOOL, MAKE_NO_KEY, MAKE_NO_TENSOR, MAKE_TENSOR } what;
    const char *name;
    double number;      /* of U32, F32 and BOOL; elements of a TENSOR, which is a vector of values from 1 to 4 */
    const char *string; /* of STRING */
} make_change;

/* Appends the GGUF file to out: random weights in Q8_0, Q4_0, F16 and F32, no usable tokenizer (ids only). `changes`
 * ends with a zero; NULL = none. False for an architecture it doesn't know. */
bool make_arch(const char *arch, const make_change *changes, str *out);

#endif
