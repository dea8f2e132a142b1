/* Private to src/constrain: what a grammar is at run time. */
#ifndef MUGA_CONSTRAIN_INTERNAL_H
#define MUGA_CONSTRAIN_INTERNAL_H

#include "constrain/constrain.h"
#include "constrain/graph.h"
#include "constrain/keys.h"

#include <pthread.h>

/* ---- vocabulary as a byte trie, in depth-first order ---- */
typedef struct trie_node {
    uint8_t byte;
    uint16_t depth;  /* of this node: 1 for the first byte */
    uint32_t after;  /* index of the first node that is not below this one */
    uint32_t tokens; /* into ids: its tokens; count in n_tokens */
    uint32_t n_tokens;
} trie_node;
typedef struct trie_tree {
    trie_node *nodes;
    uint32_t *ids;
    uint32_t n_nodes;
} trie_tree;
#define PLAIN_MAX 32u /* characters of a plain token; one with more is of the rest */
struct constrain_trie {
    trie_tree all, rest;                   /* rest: all but the plain tokens */
    uint64_t *plain;                       /* [PLAIN_MAX + 1][n_words] tokens of at most so many plain characters */
    uint32_t n_tokens, n_words, max_depth; /* n_words: 64-bit words of a mask */
    bool single[256];                      /* the byte is a piece of its own */
    struct structural {
        uint32_t id, at, n; /* bytes[at, at + n) */
        bool two_keys;      /* long enough to begin an object and write a key twice */
    } * structural;         /* pieces with a quotation mark or comma: only they finish a key, or ask for one */
    char *bytes;
    uint32_t n_structural;
    uint64_t serial; /* hash of the pieces: which vocabulary this is */
};

/* ---- run time ----
 * A configuration is where one reading of the text stands: a node, and the frames of the calls around it.
 * A state set is all readings at once, in a canonical order, numbered; so equal situations share one number, one row
 * of transitions and one mask.
 *
 * Invariants:
 *  1. Frames and sets are only ever added; a number stays valid until the tables are rebuilt.
 *  2. The tables are rebuilt (run_collect) only on entry of a public call, from the sets that live states stand on,
 *     so no number is held across a rebuild except inside constrain_state, which the rebuild rewrites.
 *  3. Every set has a way to the end of the text within the depth limits (a call is entered only if its cheapest way
 *     through still fits).
 *  4. Everything here is guarded by grammar.lock. */
#define FRAME_ROOT 0u
typedef struct frame {
    uint32_t edge, count, parent; /* the call edge, and which iteration of it runs (1-based, no larger than needed) */
    uint16_t calls, containers;   /* depth */
    bool open;                    /* the innermost array or object is an object with open keys */
    uint32_t rest;                /* cost from the end of this iteration to the end of the text */
} frame;

typedef struct config {
    uint32_t node, frame;
} config;

/* tokens of at most n_chars characters that JSON strings hold as they are */
static inline uint64_t *trie_plain(const constrain_trie *t, uint32_t n_chars) {
    return t->plain + (size_t)n_chars * t->n_words;
}

#define SET_DEAD UINT32_MAX
typedef struct state_set {
    size_t at; /* in configs */
    uint32_t n;
    uint32_t cost; /* tokens to the end of the text; COST_INF: not with this vocabulary */
    bool complete;
    int16_t only;            /* the one byte that can follow, or -1 */
    uint32_t plain;          /* plain_target + 1; 0: not looked at yet */
    struct plain_most *most; /* plain_most; in the arena; NULL: not looked at yet */
    uint32_t *row;           /* [n_classes] 0 unknown, 1 dead, set + 2; in the arena */
    bool text;               /* some reading is in content that is any text */
    bool value;              /* some reading is inside an array or object */
    uint32_t behind;         /* inside the section: what it costs from its end on; else COST_INF */
    uint64_t *mask;          /* every admissible token whose end can be completed; in the arena; NULL: not yet */
    uint32_t mask_cost;      /* largest cost behind a token of mask */
} state_set;

typedef struct run_tables {
    frame *frames;
    uint32_t n_frames, cap_frames, *frame_table, n_frame_table;
    state_set *sets;
    uint32_t n_sets, cap_sets, *set_table, n_set_table;
    config *configs;
    size_t n_configs, cap_configs;
    arena rows;
} run_tables;

/* How plain characters are spelt, one byte of each class that the grammar tells apart. */
typedef struct plain_text {
    const uint8_t *class_of; /* of the graph */
    struct plain_sequence {
        uint8_t n, n_bytes[4], bytes[4][128];
        uint8_t lo, hi; /* of the first byte */
    } v[12];
    uint32_t n;
} plain_text;

/* What the keys of an object took out of a mask, for the next mask at the same place. */
typedef struct key_filter {
    bool valid;
    uint32_t set, tables;     /* and of which tables (constrain_grammar.n_tables) */
    uint64_t keys;            /* keys_hash */
    uint32_t budget, dearest; /* holds for budgets between them */
    uint32_t n, dropped[48];
} key_filter;

struct constrain_state {
    constrain_grammar *grammar;
    uint32_t set;
    keys keys, scratch; /* used where grammar.open_keys */
    key_filter filter;
    uint32_t n_section; /* tokens inside the section so far */
    constrain_state *prev, *next;
};

struct constrain_grammar {
    graph graph;
    cost bytes;      /* costs where every byte is a token; closing distances without a vocabulary */
    bool *has_bytes; /* [n_nodes] a byte edge leaves it */
    pthread_mutex_t lock;
    bool has_lock;
    bool open_keys;                       /* objects may have keys that the grammar doesn't list */
    bool embedded;                        /* values stand within other text: only there keys are followed */
    struct interval text[2];              /* nodes of content that is any text */
    uint32_t section_rule, section_limit; /* a rule + 1, and how many tokens may be inside it; 0: no such */
    json_t *schema, *documents;           /* for constrain_recheck, copies; schema NULL: not needed */
    constrain_draft draft;
    bool note_formats;
    char rechecks[sizeof(((muga_error *)0)->message)];
    plain_text plain;
    run_tables run;
    uint32_t n_tables; /* how often the tables were rebuilt */
    cost tokens;       /* costs for the vocabulary `serial` */
    uint64_t serial;   /* 0: none bound, `bytes` counts */
    constrain_state *states;
    uint32_t start; /* set */
    /* scratch of one closure */
    config *work, *found;
    uint32_t cap_work, cap_found, n_found;
    uint64_t *seen;
    uint32_t *seen_stamp, n_seen, cap_seen, stamp;
};

#define RUN_MAX_CONFIGS_A_SET 16384u
#define RUN_MAX_BYTES ((size_t)96 << 20)     /* rows and masks of one grammar */
#define RUN_COLLECT_BYTES ((size_t)48 << 20) /* rebuild past this */
#define RUN_MAX_CONFIGS ((size_t)8 << 20)
#define RUN_COLLECT_CONFIGS ((size_t)3 << 20)

/* Takes the graph over (also on failure). root must be set. No text at all fits: MUGA_E_INPUT.
 * check: looks at the finished graph before it is used; NULL: nothing to check. */
typedef muga_status (*graph_check)(const graph *g, const cost *c, muga_error *err);
MUGA_MUST_USE muga_status grammar_new(graph *g, graph_check check, constrain_grammar **out, muga_error *err);
const cost *run_cost(const constrain_grammar *g);
/* Where byte leads from a set; SET_DEAD: nowhere. Caller holds the lock. */
MUGA_MUST_USE muga_status run_step(constrain_grammar *g, uint32_t set, uint8_t byte, uint32_t *out, muga_error *err);
/* The text goes on from `set` with p[0, n), which the grammar accepts; keys follow it. Caller holds the lock. */
MUGA_MUST_USE muga_status run_feed_keys(constrain_grammar *g, uint32_t set, keys *k, const char *p, size_t n,
                                        keys_verdict *verdict, muga_error *err);
/* Rebuild the tables when they are large, or always with `force`. Caller holds the lock. */
MUGA_MUST_USE muga_status run_collect(constrain_grammar *g, bool force, muga_error *err);
/* fresh.c: what it takes at most to complete the text that stands at `set`, where a key that the text is in, or must
 * come to, is to be none of those that its object has. COST_INF: it can't be done. Caller holds the lock. */
MUGA_MUST_USE muga_status fresh_cost(constrain_grammar *g, uint32_t set, const keys *k, uint32_t *out, muga_error *err);
/* trie.c: where every plain character leads from a set, if that is one place; SET_DEAD: nowhere; PLAIN_MIXED: that
 * depends on the character. Caller holds the lock. */
#define PLAIN_MIXED (SET_DEAD - 1)
MUGA_MUST_USE muga_status plain_target(constrain_grammar *g, uint32_t set, uint32_t *out, muga_error *err);
/* Where nearly all plain characters lead from a set, to stay there; the first bytes of the others. to PLAIN_MIXED: no
 * such place. Valid until the tables are rebuilt. */
typedef struct plain_most {
    uint32_t to;
    bool other[256];
} plain_most;
MUGA_MUST_USE muga_status plain_find_most(constrain_grammar *g, uint32_t set, const plain_most **out, muga_error *err);
void plain_prepare(plain_text *p, const uint8_t class_of[256]);
/* mask_keys.c: takes out the tokens that would finish a key for the second time, or could not but do so. */
MUGA_MUST_USE muga_status mask_filter_keys(constrain_state *s, const constrain_trie *t, uint32_t budget, uint64_t *mask,
                                           muga_error *err);
MUGA_MUST_USE muga_status trie_bind(constrain_grammar *g, const constrain_trie *t, muga_error *err);

#endif
