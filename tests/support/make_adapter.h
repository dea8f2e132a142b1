/* LoRA adapters for the small models, made from nothing; and models with an adapter merged into their weights, which is
 * what an adapter must compute like. */
#ifndef TESTS_MAKE_ADAPTER_H
#define TESTS_MAKE_ADAPTER_H

#include "base/str.h"
#include "gguf/gguf.h"
#include "support/make_arch.h"

typedef struct make_adapter_options {
    uint32_t rank;
    float alpha;                /* below 0: the key is left out */
    uint64_t seed;              /* of the values */
    tensor_type type;           /* of A, and of B where rows of rank are whole blocks of it; else B is F32 */
    bool embedding;             /* a pair for token_embd too */
    const char *only;           /* matrices whose name holds this; NULL = all */
    const make_change *changes; /* keys (whole names) and tensors of the adapter's file; ends with a zero, or NULL */
} make_adapter_options;

/* Appends an adapter for the matrices of `base`: attn_*, ffn_*, output. */
bool make_adapter(const gguf_file *base, const make_adapter_options *o, str *out);

/* Appends `base` in F32 with scale * B A added to each matrix that the adapter has a pair for, in double precision. A
 * tied model gets an output.weight of its own, the embedding as it was. */
bool make_merged(const gguf_file *base, const gguf_file *adapter, double scale, str *out);

#endif
