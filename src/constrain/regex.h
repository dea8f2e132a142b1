/* Private to regex_*.c: the syntax tree of a pattern. */
#ifndef MUGA_CONSTRAIN_REGEX_H
#define MUGA_CONSTRAIN_REGEX_H

#include "base/mem.h"
#include "constrain/dfa.h"

typedef enum { RE_EMPTY, RE_SET, RE_CAT, RE_ALT, RE_REPEAT, RE_BEGIN, RE_END, RE_WORD, RE_NOT_WORD } re_kind;
#define RE_INF UINT32_MAX

typedef struct re_node re_node;
struct re_node {
    re_kind kind;
    uint32_t min, max;     /* RE_REPEAT */
    cp_set set;            /* RE_SET; normalised; released with the tree */
    re_node *first, *last; /* children: RE_CAT, RE_ALT, RE_REPEAT (one) */
    re_node *next;         /* next sibling */
    re_node *all;          /* every node of the tree, for release */
};
typedef struct re_tree {
    arena a;
    re_node *root, *all;
    uint32_t n_nodes;
} re_tree;

#define RE_MAX_GROUPS_DEEP 200
#define RE_MAX_BYTES 65536
#define RE_MAX_NODES 65536

MUGA_MUST_USE muga_status regex_parse(const char *p, size_t n, re_tree *out, muga_error *err);
void regex_tree_release(re_tree *t);
#endif
