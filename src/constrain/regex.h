/* Private to regex_*.c: the syntax tree of a pattern. */
#ifndef MUGA_CONSTRAIN_REGEX_H
#define MUGA_CONSTRAIN_REGEX_H

#include "base/mem.h"
#include "constrain/dfa.h"

typedef enum {
    RE_EMPTY,
    RE_SET,
    RE_CAT,
    RE_ALT,
    RE_REPEAT,
    RE_GROUP, /* a capturing one */
    RE_BACK,  /* what a group captured */
    RE_BEGIN, /* from here on: assertions */
    RE_END,
    RE_WORD,
    RE_NOT_WORD,
    RE_LOOK
} re_kind;
#define RE_INF UINT32_MAX

typedef struct re_node re_node;
struct re_node {
    re_kind kind;
    uint32_t min, max;     /* RE_REPEAT; RE_GROUP, RE_BACK: min is the group's number, from 1 */
    bool lazy;             /* RE_REPEAT */
    bool behind, negated;  /* RE_LOOK */
    span name;             /* RE_GROUP, RE_BACK: n == 0: by number */
    cp_set set;            /* RE_SET; normalised; released with the tree */
    re_node *first, *last; /* children: RE_CAT, RE_ALT; one: RE_REPEAT, RE_GROUP, RE_LOOK */
    re_node *next;         /* next sibling */
    re_node *all;          /* every node of the tree, for release */
};
typedef struct re_tree {
    arena a;
    re_node *root, *all;
    uint32_t n_nodes, n_groups;
    const char *irregular; /* why no automaton can match it; NULL: one can */
    size_t irregular_at;
} re_tree;

#define RE_MAX_GROUPS_DEEP 200
#define RE_MAX_BYTES 65536
#define RE_MAX_NODES 65536

/* Names of groups stay in `p`. `work` counts down for what properties cost. */
MUGA_MUST_USE muga_status regex_parse(const char *p, size_t n, uint64_t *work, re_tree *out, muga_error *err);
void regex_tree_release(re_tree *t);

/* regex_property.c: the code points of \p{name} into s. MUGA_E_INPUT: no such property, message without a place. */
MUGA_MUST_USE muga_status regex_property(const char *name, size_t n, cp_set *s, muga_error *err);
#endif
