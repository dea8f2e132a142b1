/* Private to regex_nfa.c and regex_look.c: a pattern as a byte automaton with choices. */
#ifndef MUGA_CONSTRAIN_REGEX_NFA_H
#define MUGA_CONSTRAIN_REGEX_NFA_H

#include "constrain/regex.h"

typedef enum { N_BYTES, N_SPLIT, N_ALL, N_MATCH, N_BEGIN, N_END, N_WORD, N_NOT_WORD, N_LOOK } nfa_kind;
typedef struct nfa_node {
    uint8_t kind, lo, hi;
    uint32_t a, b; /* successors; UINT32_MAX: none. N_LOOK: b is the number of the look-around */
} nfa_node;
#define NFA_MAX_NODES 1000000u
#define NFA_MAX_LOOKS 32u
#define NONE UINT32_MAX

typedef struct nfa {
    nfa_node *v;
    uint32_t n, cap;
    const re_node *looks[NFA_MAX_LOOKS];
    uint32_t n_looks;
    bool too_large, nomem, too_many_looks;
} nfa;

/* n off the counted work; MUGA_E_LIMIT where there is less. */
MUGA_MUST_USE muga_status nfa_spend(uint64_t *work, uint64_t n, muga_error *err);

/* What may stand around a match of the tree. */
typedef enum { REGEX_ANY_BEFORE = 1, REGEX_ANY_BEHIND = 2 } regex_around;
MUGA_MUST_USE muga_status regex_tree_dfa(const re_node *x, regex_around around, uint64_t *work, dfa **out,
                                         muga_error *err);
/* The same for an automaton with look-arounds. MUGA_E_INPUT: they are of a kind that no automaton here can follow. */
MUGA_MUST_USE muga_status regex_look_dfa(const nfa *f, uint32_t entry, uint64_t *work, dfa **out, muga_error *err);
#endif
