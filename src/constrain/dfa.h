/* Sets of code points, and deterministic byte automata over well-formed UTF-8 text.
 *
 * A dfa reads the decoded value (no quotes, no escapes). The same one serves the validator (does this string match?)
 * and the constraint (which bytes may follow?), so the two can't disagree about a pattern. */
#ifndef MUGA_CONSTRAIN_DFA_H
#define MUGA_CONSTRAIN_DFA_H

#include "base/str.h"

/* ---- sets of code points: sorted, disjoint, not adjacent after cp_normalise ---- */
typedef struct cp_range {
    uint32_t lo, hi; /* both included */
} cp_range;
typedef struct cp_set {
    cp_range *r;
    size_t n, cap;
    bool failed; /* an allocation failed; later calls do nothing */
} cp_set;
#define CP_MAX 0x10FFFFu
void cp_add(cp_set *s, uint32_t lo, uint32_t hi);
void cp_add_set(cp_set *s, const cp_set *from);
void cp_normalise(cp_set *s);
void cp_negate(cp_set *s); /* within the scalar values: surrogates are never members */
void cp_release(cp_set *s);
/* One byte sequence of n ranges, at most 4. */
typedef struct utf8_seq {
    uint8_t lo[4], hi[4];
    uint8_t n;
} utf8_seq;
/* The sequences that spell [lo, hi] without the surrogates; calls back once a sequence, stops on false. */
bool utf8_split(uint32_t lo, uint32_t hi, bool (*each)(void *ctx, const utf8_seq *q), void *ctx);

/* ---- dfa ---- */
#define DFA_DEAD UINT32_MAX
typedef struct dfa {
    uint32_t n_states, n_classes;
    uint32_t start; /* DFA_DEAD: nothing matches */
    uint8_t class_of[256];
    uint32_t *next;  /* [n_states * n_classes]; states that can't accept any more are not there */
    uint8_t *accept; /* [n_states] */
} dfa;

typedef enum { REGEX_SEARCH, REGEX_WHOLE } regex_mode;

/* ECMA-262 (unicode mode, with the literal braces and brackets of its Annex B). Back-references are refused by name,
 * and look-around that regex_look.c can't follow. `work` counts down; exhausted is MUGA_E_LIMIT, as are too many states
 * or groups. */
MUGA_MUST_USE muga_status regex_compile(const char *p, size_t n, regex_mode mode, uint64_t *work, dfa **out,
                                        muga_error *err);
bool dfa_match(const dfa *d, const char *s, size_t n);
void dfa_free(dfa *d);
MUGA_MUST_USE muga_status dfa_any(dfa **out, uint64_t *work, muga_error *err); /* every well-formed text */
MUGA_MUST_USE muga_status dfa_of_literals(const span *words, size_t n, uint64_t *work, dfa **out, muga_error *err);
typedef enum { DFA_AND, DFA_AND_NOT, DFA_OR } dfa_op;
MUGA_MUST_USE muga_status dfa_combine(const dfa *a, const dfa *b, dfa_op op, uint64_t *work, dfa **out,
                                      muga_error *err);
/* Only texts of lo..hi code points (hi UINT64_MAX: no maximum). */
MUGA_MUST_USE muga_status dfa_limit_length(const dfa *a, uint64_t lo, uint64_t hi, uint64_t *work, dfa **out,
                                           muga_error *err);
/* Shortest and longest accepted text in code points; *longest UINT64_MAX when there is no maximum.
 * false: nothing matches, or an allocation failed (then *shortest is 0 and *longest UINT64_MAX). */
bool dfa_lengths(const dfa *a, uint64_t *shortest, uint64_t *longest);

/* out[i]: bytes of the (i+1)th shortest text, i < n, counting only texts that JSON writes as they are and of at most
 * DFA_WORD_BYTES; UINT32_MAX where there are not so many. */
#define DFA_WORD_BYTES 256u
MUGA_MUST_USE muga_status dfa_shortest_words(const dfa *a, uint32_t n, uint64_t *work, uint32_t *out, muga_error *err);

/* For the builders: drop the states from which nothing is accepted, and let equal ones be one. */
MUGA_MUST_USE muga_status dfa_prune(dfa *d, muga_error *err);
#define DFA_MAX_STATES 50000u
#define DFA_MAX_CELLS (4u << 20)

#endif
