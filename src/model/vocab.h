/* The vocabulary inside a tokenizer: pieces by id, ids by piece, special tokens by name. Private to
 * model/tokenizer*.c and model/vocab*.c; everybody else goes through model/tokenizer.h. */
#ifndef MUGA_MODEL_VOCAB_H
#define MUGA_MODEL_VOCAB_H

#include "base/mem.h"
#include "base/str.h"
#include "gguf/gguf.h"

#define VOCAB_MAX_TOKENS (1u << 20)
#define VOCAB_MAX_PIECE_BYTES (1u << 16)
#define VOCAB_MAX_NAME_BYTES 256 /* of special tokens: every place of a text is compared with them */
#define VOCAB_NONE (-1)

/* tokenizer.ggml.token_type */
typedef enum vocab_type {
    VOCAB_UNDEFINED = 0,
    VOCAB_NORMAL = 1,
    VOCAB_UNKNOWN = 2,
    VOCAB_CONTROL = 3,
    VOCAB_USER_DEFINED = 4,
    VOCAB_UNUSED = 5,
    VOCAB_BYTE = 6
} vocab_type;

/* How the text of a normal token in the file becomes bytes. */
typedef enum vocab_spelling {
    VOCAB_SPELLING_BYTES, /* GPT-2: one printable character for each byte ("Ġ" is a space) */
    VOCAB_SPELLING_SPACE  /* U+2581 is a space; byte tokens are "<0x0A>" */
} vocab_spelling;

/* Names of special tokens, sorted, so that the longest that begins at a place is found by narrowing a range. */
typedef struct vocab_names {
    int32_t *ids; /* sorted by name */
    uint32_t n;
    bool first[256]; /* some name begins with this byte */
} vocab_names;

/* Symbols are ids: [0, n) are tokens; [n, n_symbols) are byte strings that merges pass through and no token has
 * (symbols never leave the encoder). */
typedef struct vocab {
    uint32_t n, n_symbols, cap_symbols;
    uint8_t *types; /* [n] vocab_type */
    float *scores;  /* [n], NULL where the file has none */
    char *bytes;    /* all pieces, in order of id */
    size_t n_bytes, cap_bytes;
    bool borrowed;     /* bytes, begin and slots lie in a packed file, and are never written to */
    uint32_t *begin;   /* [n_symbols + 1] into bytes */
    span *text_pieces; /* [n] pieces; empty for tokens that carry no text */
    uint64_t *slots;   /* open addressing: hash (high 32 bits) and symbol + 1; 0 = free */
    uint32_t slot_mask, n_used;
    uint64_t seed;    /* of the hash, fresh for each tokenizer that is made: a file can't aim at collisions */
    uint32_t longest; /* bytes of the longest piece */
    vocab_spelling spelling;
    vocab_names special;   /* control, unknown and user-defined */
    vocab_names user;      /* user-defined only */
    int32_t byte_ids[256]; /* symbol of each single byte; always valid after open for byte-level kinds */
} vocab;

/* Counts the tokens, reads their types and scores. Zero-initialised v; vocab_release also after failure. */
MUGA_MUST_USE muga_status vocab_init(vocab *v, const gguf_file *file, vocab_spelling spelling, muga_error *err);
/* Second step: the pieces, and the table over them. Left out where they come from a packed file. */
MUGA_MUST_USE muga_status vocab_read(vocab *v, const gguf_file *file, muga_error *err);
/* Last step, when nothing is interned any more: spans and tables of names. */
MUGA_MUST_USE muga_status vocab_finish(vocab *v, muga_error *err);
void vocab_release(vocab *v);

/* Bounded, since a file that begin lies in may be anything, at any time. */
static inline span vocab_piece(const vocab *v, uint32_t symbol) {
    uint32_t from = v->begin[symbol], to = v->begin[symbol + 1];
    return from <= to && to <= v->n_bytes ? span_of(v->bytes + from, to - from) : span_of(v->bytes, 0);
}
/* The symbol spelled p[0, n), or VOCAB_NONE. */
int32_t vocab_find(const vocab *v, const char *p, size_t n);
/* The same, made when missing; VOCAB_NONE when memory is exhausted. Only before vocab_finish. */
int32_t vocab_intern(vocab *v, const char *p, size_t n);
/* The bytes of a token's text in the file. false: it has a character that the spelling doesn't know. `out` has room for
 * n. */
bool vocab_spell(vocab_spelling spelling, const char *p, size_t n, char *out, size_t *n_out);
/* Length of the longest name that begins at p, 0 for none; *id is its token. *work grows by the bytes looked at. */
size_t vocab_match_name(const vocab *v, const vocab_names *names, const char *p, size_t n, int32_t *id, uint64_t *work);
/* The token named exactly p[0, n) among `names`, or VOCAB_NONE. */
int32_t vocab_find_name(const vocab *v, const vocab_names *names, const char *p, size_t n);

/* 64-bit mix of two words by folded multiplication; for tables only. */
static inline uint64_t vocab_mix(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(a ^ 0x9E3779B97F4A7C15u) * (b ^ 0xD6E8FEB86659FD93u);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}
#endif
