/* A vocabulary on its way from a folder's tokenizer files to tokenizer.ggml.* keys. Private to convert/hf_*.c. */
#ifndef MUGA_CONVERT_HF_VOCAB_H
#define MUGA_CONVERT_HF_VOCAB_H

#include "base/mem.h"
#include "convert/hf_model.h"

/* tokenizer.ggml.token_type; SentencePiece's own numbers are the same. */
enum { HF_NORMAL = 1, HF_UNKNOWN = 2, HF_CONTROL = 3, HF_USER_DEFINED = 4, HF_UNUSED = 5, HF_BYTE = 6 };

#define HF_MAX_TOKEN_BYTES 65535u

typedef struct hf_vocab {
    hf_model *m; /* its st and err are used */
    uint32_t n;  /* rows of the embedding; ids from here on are refused */
    arena texts;
    span *tokens;   /* [n]; p NULL = no token has this id */
    int32_t *types; /* [n] */
    float *scores;  /* [n]; NULL where the kind has none */
    span *merges;   /* "a b" */
    size_t n_merges;
    const char *kind, *pre;                       /* tokenizer.ggml.model and .pre */
    bool space_prefix, has_space_prefix;          /* a space is put before the text */
    bool merge_spaces, has_merge_spaces;          /* several spaces become one */
    bool lowercase, strip_accents, has_lowercase; /* of the normaliser for WordPiece */
    const uint8_t *charsmap;                      /* Unigram's normaliser */
    size_t n_charsmap;
    uint32_t n_ignored; /* added tokens past the embedding */
} hf_vocab;

/* Text of a token, copied; refuses an id out of range, a second text for an id, and a text too long. */
void hf_vocab_set(hf_vocab *v, int64_t id, const char *p, size_t n, int32_t type);
/* A token added to the vocabulary, or one of it made special. One past the embedding's rows is counted and left out: no
 * text comes to it. */
void hf_vocab_add(hf_vocab *v, int64_t id, const char *text, bool special);

/* hf_tokenizer_json.c: everything tokenizer.json says. with_model false: its added tokens and frame alone, the pieces
 * being there already. */
void hf_read_tokenizer_json(hf_vocab *v, const json_t *tokenizer, bool with_model);
/* Do its words come from SentencePiece, so that tokenizer.model says more than it? */
bool hf_is_sentencepiece(const json_t *tokenizer);
/* hf_pretokenizer.c: the name under which the engine knows a byte-level pre-tokenizer; NULL and an error where it
 * doesn't. vocab: the pieces, as keys. */
const char *hf_find_pretokenizer(hf_model *m, const json_t *pre_tokenizer, const json_t *vocab, bool ignore_merges);
/* hf_sentencepiece.c: tokenizer.model. */
void hf_read_sentencepiece(hf_vocab *v, const void *p, size_t n);

#endif
