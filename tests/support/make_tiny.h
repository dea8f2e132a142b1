/* The small model of tests/data/tiny.gguf, made from nothing: the same bytes on every machine. */
#ifndef TESTS_MAKE_TINY_H
#define TESTS_MAKE_TINY_H

#include "base/rng.h"
#include "base/str.h"

/* Appends the GGUF file to out. Llama architecture, 2 layers, untied; random weights in Q4_1, Q8_0, F16 and F32; a
 * byte-level BPE vocabulary of TINY_VOCAB tokens with merges learned from a text of our own, "<|endoftext|>" (0),
 * "<|im_start|>" (1),
 * "<|im_end|>" (2), and a chat template in their form. */
MUGA_MUST_USE muga_status make_tiny(str *out, muga_error *err);
/* The same vocabulary with a model whose layers differ: gemma2, 3 layers, of which the first and the last see
 * TINY_WINDOW positions and the middle one all. */
MUGA_MUST_USE muga_status make_tiny_windowed(str *out, muga_error *err);

/* make_tiny with a chat template of its own, whose special tokens stand in for the last ones of the vocabulary: control
 * tokens, or else user-defined ones. */
typedef struct tiny_chat {
    const char *template;
    const char *const *special;
    size_t n_special;
    bool control;
} tiny_chat;
MUGA_MUST_USE muga_status make_tiny_chat(const tiny_chat *chat, str *out, muga_error *err);

/* About normal, of variance 1: four uniforms, centred and scaled by sqrt(3); exact on every machine. */
float make_random(rng *r);

enum {
    TINY_VOCAB = 416,
    TINY_LAYERS = 2,
    TINY_LAYERS_WINDOWED = 3,
    TINY_WINDOW = 20,
    TINY_EMBD = 64,
    TINY_HEADS = 4,
    TINY_HEADS_KV = 2,
    TINY_FF = 128,
    TINY_CTX = 2048
};
#endif
