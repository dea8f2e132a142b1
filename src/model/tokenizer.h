/* Tokenizer: text to token ids and back, from the vocabulary inside a GGUF file.
 *
 * Kinds (tokenizer.ggml.model): "gpt2" = byte-level BPE with the pre-tokenizer named by tokenizer.ggml.pre; "gemma4" =
 * BPE over characters with byte fallback; "llama" = SentencePiece BPE by scores, with byte fallback; "t5" =
 * SentencePiece Unigram; "bert" = WordPiece. Any other kind or pre-tokenizer is refused by name at open (MUGA_E_INPUT).
 *
 * Ownership: self-contained, but for a packed file. Nothing points into the model after tokenizer_open returns; spans
 * given out are borrowed from the tokenizer and live as long as it does.
 * Threads: immutable after open; any number may encode and decode at once.
 * Bytes: text is any bytes. Ill-formed UTF-8 is never replaced or dropped: each such byte is one character of no
 * class to the pre-tokenizer and goes through the byte's own token. A byte that the vocabulary has no token for (the
 * real SmolLM2 lacks 0x04, for one) is an error that names byte and offset, never a silent loss. */
#ifndef MUGA_MODEL_TOKENIZER_H
#define MUGA_MODEL_TOKENIZER_H

#include "base/str.h"
#include "gguf/gguf.h"
#include "model/packed.h"

typedef struct tokenizer tokenizer;

/* A growable list of ids. Life cycle: TOKEN_LIST_INIT -> encode/push... -> release. */
typedef struct token_list {
    int32_t *ids;
    size_t n, cap;
} token_list;
#define TOKEN_LIST_INIT                                                                                                \
    { 0 }
MUGA_MUST_USE bool token_list_push(token_list *l, int32_t id); /* false on exhaustion; the list is unchanged */
void token_list_release(token_list *l);

typedef struct tokenizer_flags {
    bool add_special;   /* beginning-of-text and end-of-text tokens, where the model's file asks for them */
    bool parse_special; /* text of control tokens ("<|im_end|>") becomes that token; else it is plain text.
                         * User-defined tokens are matched in both cases. */
    bool lossy;     /* bytes that the vocabulary has no token for are left out instead of refused: what reference run
                 * times do. For comparing with them only (`muga debug tokens`). */
    uint64_t *work; /* where not NULL: elementary steps are added to it (look-ups, moves in the heap of merges, nodes of
                     * tries): O(n log n) of them for any text, at most 256 a byte where pieces are tried by length */
} tokenizer_flags;

/* Whether the file's kind and pre-tokenizer are among ours; err says which is not. A model whose tokenizer is not
 * supported may be loaded without; one that is supported but damaged may not. */
bool tokenizer_is_supported(const gguf_file *file, muga_error *err);

/* Limits: 2^20 tokens, pieces of at most 64 KiB, names of special tokens of at most 256 bytes, 2^22 merges. */
MUGA_MUST_USE muga_status tokenizer_open(const gguf_file *file, tokenizer **out, muga_error *err);
/* The same with the tables of a packed file, where one is mapped: it must outlive the tokenizer, and is in doubt after
 * a failure that is its own. Else it gets to know what was made, borrowed from the tokenizer. */
MUGA_MUST_USE muga_status tokenizer_open_packed(const gguf_file *file, packed_file *p, tokenizer **out,
                                                muga_error *err);
void tokenizer_free(tokenizer *t);

/* Appends the ids of text[0, n) to out. On failure out holds what it held before. O(n log n) for any input.
 * n at most 2^30 (MUGA_E_LIMIT). */
MUGA_MUST_USE muga_status tokenizer_encode(const tokenizer *t, const char *text, size_t n, tokenizer_flags flags,
                                           token_list *out, muga_error *err);

int32_t tokenizer_count(const tokenizer *t);
/* The token's raw bytes: what decoding appends. A control token's piece is its name ("<|im_end|>"), which
 * tokenizer_stream leaves out unless asked. An id out of range gives an empty span. */
span tokenizer_piece(const tokenizer *t, int32_t id);
/* By id, tokenizer_count of them: the pieces of tokens that carry text, empty for all others. What constrain_vocab
 * wants. */
const span *tokenizer_text_pieces(const tokenizer *t);
/* Carries text: normal, user-defined and byte tokens; not control, unknown and unused ones. */
bool tokenizer_is_text(const tokenizer *t, int32_t id);
bool tokenizer_is_control(const tokenizer *t, int32_t id); /* control or unknown */
/* The id of the token whose name is exactly text[0, n), control and user-defined tokens only; -1 when there is none. */
int32_t tokenizer_find_special(const tokenizer *t, const char *text, size_t n);

int32_t tokenizer_bos(const tokenizer *t); /* -1 when the vocabulary has none; so for the others */
int32_t tokenizer_eos(const tokenizer *t);
int32_t tokenizer_eot(const tokenizer *t);             /* end of turn */
bool tokenizer_is_end(const tokenizer *t, int32_t id); /* eos, eot, eom: by key and by well-known names */
const char *tokenizer_kind(const tokenizer *t);        /* "gpt2" */
const char *tokenizer_pre(const tokenizer *t);         /* "smollm"; "" where the kind has none */

/* Streaming decoder: never gives out part of a UTF-8 character. Push appends to out the bytes that are complete; up to
 * three bytes are held back until the character is whole or proves ill-formed (then they go out as they are).
 * Zero-initialise; nothing to release. Failure of `out` (memory, maximum) is remembered in out.
 * Ids out of range and tokens without text are passed over. */
typedef struct tokenizer_stream {
    char held[4];
    uint8_t n_held;
    bool control; /* set by the caller: control tokens' names are written too */
} tokenizer_stream;
void tokenizer_stream_push(tokenizer_stream *s, const tokenizer *t, int32_t id, str *out);
void tokenizer_stream_flush(tokenizer_stream *s, str *out); /* what is held back goes out; s starts anew */

/* Appends the decoded bytes of n ids; control tokens only where control is set. */
void tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t n, bool control, str *out);
#endif
