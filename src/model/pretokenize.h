/* Pre-tokenizers: how text is cut into words before byte-pair merging, by the name in tokenizer.ggml.pre. Private to
 * model/tokenizer*.c.
 *
 * Each is a list of passes; a pass cuts every piece the pass before it left into its matches and the gaps between
 * them. Text is any bytes: an ill-formed byte is a character of no class. Linear in the text. */
#ifndef MUGA_MODEL_PRETOKENIZE_H
#define MUGA_MODEL_PRETOKENIZE_H

#include "base/str.h"

typedef struct pretokenizer {
    const char *name;
    uint8_t passes[7];  /* pretokenize.c's pass ids, 0 at the end */
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    bool add_bos;       /* where the file doesn't say */
} pretokenizer;

/* NULL when the name is unknown. */
const pretokenizer *pretokenize_find(const char *name, size_t n);

/* Calls word(ctx, p, n) for each word in order, none empty, together all of the text; stops when it gives false, and
 * then gives false itself. */
typedef bool (*pretokenize_word)(void *ctx, const char *p, size_t n);
bool pretokenize_run(const pretokenizer *t, const char *p, size_t n, pretokenize_word word, void *ctx);
#endif
