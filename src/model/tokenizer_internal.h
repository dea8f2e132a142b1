/* What the tokenizer's files share. Private to model/tokenizer*.c. */
#ifndef MUGA_MODEL_TOKENIZER_INTERNAL_H
#define MUGA_MODEL_TOKENIZER_INTERNAL_H

#include "model/pretokenize.h"
#include "model/tokenizer.h"
#include "model/vocab.h"

#include <stdatomic.h>

/* How text becomes ids:
 *   BPE     words by a pre-tokenizer, bytes merged by rank
 *   GEMMA4  lines, characters merged by rank, bytes for what is left
 *   SPM     no words, characters merged by the score of what comes of it, bytes for what is left (SentencePiece BPE)
 *   WPM     normalised words, longest piece first (WordPiece)
 *   UNIGRAM normalised text, the likeliest pieces (SentencePiece Unigram) */
typedef enum tokenizer_kind_id {
    TOKENIZER_BPE,
    TOKENIZER_GEMMA4,
    TOKENIZER_SPM,
    TOKENIZER_WPM,
    TOKENIZER_UNIGRAM
} tokenizer_kind_id;

/* One merge: symbols left and right become result; a lower rank goes first. rank 0 = free slot. */
typedef struct bpe_merge {
    int32_t left, right;
    uint32_t rank;
    int32_t result;
} bpe_merge;

#define TOKENIZER_MAX_MERGES (1u << 22)
typedef struct bpe {
    bpe_merge *slots; /* open addressing by (left, right); in a packed file where the vocabulary's tables are */
    uint32_t slot_mask;
    atomic_uchar *whole; /* [n] is the token's own spelling encoded as that token? 0 not known yet, 1 yes, 2 no.
                          * A memory of pure results: any thread may fill it in, with the same value. */
} bpe;

#define TOKENIZER_MAX_ENDS 32
#define WPM_REACH_BITS 13
#define TOKENIZER_MAX_MATCH_BYTES 256 /* of a piece in the kinds that try every length: WPM and UNIGRAM */

/* Trie over the pieces, 16 bytes a node, the piece's score beside it: a search reads nodes and little else. Siblings
 * stand together, in order of their bytes; where is_dense without gaps, empty nodes between them, so that a byte is an
 * index. A tail has no children: only one piece goes on from there, and its other bytes are compared at once. */
typedef struct unigram_node {
    uint32_t next; /* index of the first child; of a tail: where in the vocabulary's bytes its other bytes stand */
    int32_t id;    /* the piece that ends here (tail: that goes on from here); VOCAB_NONE = none */
    float score;   /* of that piece; 0 where it is user-defined */
    uint8_t byte;
    uint8_t first; /* byte of the first child; of a tail: the first of its other bytes */
    uint8_t n;     /* children, less one; of a tail: how many other bytes */
    bool has_children : 1, is_tail : 1, is_dense : 1;
} unigram_node;

typedef struct unigram {
    uint32_t *map; /* character map: the double array */
    size_t n_map;
    char *replacements;    /* and the strings it points to, each ending in NUL */
    size_t n_replacements; /* bytes */
    bool is_kept[128];     /* the character map has nothing for this byte where an ASCII one or the end follows */
    unigram_node *nodes;   /* [0] is the root */
    uint32_t n_nodes, cap_nodes;
    double unknown_score;
} unigram;

/* Raised by every change of what is in the tables of a packed file or how they are searched: spelling, hashes, order
 * (unit/test_packed). */
#define TOKENIZER_TABLES 1u

/* What the tables of a packed file don't say themselves. */
typedef struct tokenizer_facts {
    uint32_t tables, kind, n, n_symbols, longest, cuts_at_spaces, seed[2];
    int32_t byte_ids[256];
} tokenizer_facts;

struct tokenizer {
    tokenizer_kind_id kind;
    const char *kind_name;
    vocab vocab;
    const pretokenizer *pre; /* NULL in the kinds that have none */
    bpe bpe;
    unigram unigram;
    bool cuts_at_spaces; /* no piece has a space after another character: text may be merged word by word */
    bool space_prefix;   /* text begins, and goes on after a special token, with a space */
    bool strips_after;   /* white space after a special token belongs to it, but after those in keeps_after */
    int32_t keeps_after[3];
    int32_t strips_before;         /* white space before this token belongs to it; VOCAB_NONE = no such token */
    bool lowercase, strip_accents; /* WPM */
    uint16_t *wpm_reach; /* [1 << WPM_REACH_BITS] by a piece's first three bytes: how long such a piece can be */
    bool merge_spaces;   /* UNIGRAM */
    int32_t bos, eos, eot, unknown;
    int32_t first, last; /* what add_special puts around the text; VOCAB_NONE = nothing */
    int32_t ends[TOKENIZER_MAX_ENDS];
    int n_ends;
    tokenizer_facts facts; /* as they go to a packed file */
};

/* The tables of a packed file in place of vocab_read and bpe_read: false where they are not what they should be. The
 * kinds that merge have them; the tables of the others are made anew. */
bool tokenizer_packed_find(tokenizer *t, packed_file *p);
void tokenizer_packed_add(tokenizer *t, packed_file *p);

MUGA_MUST_USE muga_status bpe_init(tokenizer *t, const gguf_file *file, muga_error *err);
/* Second step: the symbols and the merges. Left out where they come from a packed file. */
MUGA_MUST_USE muga_status bpe_read(tokenizer *t, const gguf_file *file, muga_error *err);
void bpe_release(tokenizer *t);

/* Each encode appends the ids of one stretch of text without special tokens. `offset` is where it stands in the whole
 * text, for messages; lossy as in tokenizer_flags; *work grows by what it took. */
MUGA_MUST_USE muga_status bpe_encode(const tokenizer *t, span text, size_t offset, bool lossy, token_list *out,
                                     uint64_t *work, muga_error *err);
MUGA_MUST_USE muga_status unigram_init(tokenizer *t, const gguf_file *file, muga_error *err);
void unigram_release(tokenizer *t);
MUGA_MUST_USE muga_status unigram_encode(const tokenizer *t, span text, token_list *out, uint64_t *work,
                                         muga_error *err);
MUGA_MUST_USE muga_status wpm_init(tokenizer *t, muga_error *err);
MUGA_MUST_USE muga_status wpm_encode(const tokenizer *t, const char *text, size_t n, token_list *out, uint64_t *work,
                                     muga_error *err);
#endif
