/* Private to schema*.c, strings.c, range.c, grounded.c: from JSON Schema to rules.
 *
 * A goal is a set of schemas that all must hold for one value; each goal becomes one rule. $ref and allOf only add
 * schemas to a goal, so recursion ends where a goal has been met before. anyOf and oneOf split a goal into goals. */
#ifndef MUGA_CONSTRAIN_FRONT_H
#define MUGA_CONSTRAIN_FRONT_H

#include "constrain/internal.h"
#include "constrain/number.h"
#include "constrain/schema_index.h"

#define FRONT_MAX_WORK 24000000u
#define FRONT_MAX_CHECKS 24000000u
#define FRONT_MAX_LEFT 64u
#define FRONT_MAX_GOALS 50000u
#define FRONT_MAX_ELEMENTS 2000u /* schemas of one goal */
#define NO_RULE UINT32_MAX
#define LEAF_SLOTS 512u

enum {                /* what of a schema has already been dealt with */
       DONE_REFS = 1, /* $ref, $dynamicRef, allOf: their schemas are elements themselves */
       DONE_ANY = 2,
       DONE_ONE = 4,
       DONE_IF = 8,
       DONE_NOT = 16,
       ONLY_REF = 32,    /* draft 7: beside $ref nothing counts */
       DONE_VALUES = 64, /* validate_candidate only: its own enum and const */
       DONE_DEPENDENT = 128,
       DONE_UNEVALUATED = 256
};
/* In a schema made here that says {"type": T, "not": {one keyword}}: the builder of the type T takes it as it stands.
 */
#define KEY_OPPOSITE "\x01muga opposite"
/* A type name for numbers that are no integers. */
#define TYPE_FRACTION "\x01muga fraction"

/* What a compile may still count, over all schemas of an answer. */
typedef struct front_budget {
    uint64_t work;
    uint64_t checks;               /* whether the validator can evaluate a pattern that is left out */
    uint64_t left[FRONT_MAX_LEFT]; /* hashes of patterns that are too large for an automaton, and that it can */
    uint32_t n_left;
} front_budget;
#define FRONT_BUDGET ((front_budget){.work = FRONT_MAX_WORK, .checks = FRONT_MAX_CHECKS})

typedef struct element {
    const json_t *schema;
    uint32_t done;
    int32_t parent; /* while expanding: the element that brought it in; -1 none */
} element;

typedef struct goal {
    element *e; /* in the order they were met: declared keys come in it, so it may not depend on addresses */
    uint32_t n, rule;
} goal;

typedef struct goal_list { /* elements under construction */
    element *e;
    uint32_t n, cap;
} goal_list;

typedef struct front {
    graph g;
    schema_index index;
    const json_t *root;
    const constrain_options *options;
    goal *goals;
    uint32_t n_goals, cap_goals, *table, n_table;
    uint64_t work;
    front_budget *budget; /* its `work` is brought up to date at the end */
    bool open_keys;       /* some object takes keys that no schema lists */
    uint32_t string_rule, character_rule, number_rule, space_rule, any_key_rule;
    json_t *synthetic; /* array that owns schemas made here */
    struct negation {  /* by address of `of`, open addressing */
        const json_t *of;
        const json_t *wrapped, *is; /* {"not": of}, and what that means; NULL: not made yet */
        const json_t *dependencies; /* opposite_dependencies */
        const json_t *limit;        /* relax_unevaluated */
    } * negations;
    uint32_t n_negations, cap_negations;
    struct leaf {
        const json_t *schema;
        char *text;
        uint64_t hash;
    } * leaves;           /* [LEAF_SLOTS] by hash; one schema a slot */
    muga_error grounding; /* first grounded parameter without a value; status MUGA_OK: none */
    const json_t *wanted; /* whose place in its source is asked for (constrain_grounded_place); NULL: none */
    constrain_place *place;
    bool placed;
    muga_error recheck; /* first keyword that is left to re-validation; status MUGA_OK: none */
    uint32_t n_relaxed; /* how many of them */
    muga_error *err;
} front;

enum {
    T_NULL = 1,
    T_BOOLEAN = 2,
    T_INTEGER = 4,
    T_FRACTION = 8,
    T_STRING = 16,
    T_ARRAY = 32,
    T_OBJECT = 64,
    T_ALL = 127
};
#define T_NUMBER (T_INTEGER | T_FRACTION)

/* What one goal asks of its value once references are followed. */
typedef struct shape {
    front *f;
    goal_list all; /* expanded; booleans gone */
    bool impossible, no_true, no_false;
    uint32_t types;
} shape;

/* schema.c */
/* What a schema becomes: the rules that answer.c puts together with others, or a grammar of its own. */
typedef struct front_product {
    graph g; /* not finished; root is set */
    bool open_keys;
    muga_error grounding, recheck; /* as in front */
} front_product;
/* err may not be NULL. */
MUGA_MUST_USE muga_status front_compile(const json_t *schema, const constrain_options *options, front_product *out,
                                        front_budget *budget, muga_error *err);
void front_release(front *f);
MUGA_MUST_USE muga_status front_spend(front *f, uint64_t n);
/* "at /a/b: "keyword" why" as MUGA_E_INPUT. */
muga_status front_refuse(front *f, const json_t *schema, const char *keyword, const char *why);
void goal_list_release(goal_list *l);
MUGA_MUST_USE muga_status goal_list_add(front *f, goal_list *l, const json_t *schema, uint32_t done, int32_t parent);
MUGA_MUST_USE muga_status front_goal(front *f, goal_list *l, uint32_t *rule); /* numbers the goal; takes l's memory */
MUGA_MUST_USE muga_status front_schema_rule(front *f, const json_t *schema, uint32_t *rule);
uint32_t front_space(front *f, uint32_t from); /* where white space may stand: the node behind it */
uint32_t front_literal(front *f, uint32_t from, const char *text);
bool shape_counts(const shape *s, uint32_t i); /* element i's own keywords count */
/* Non-negative integer keyword; the tightest over the elements. */
MUGA_MUST_USE muga_status shape_limit(const shape *s, const char *keyword, bool is_max, uint64_t *out);

/* Expands references and allOf. */
MUGA_MUST_USE muga_status shape_expand(front *f, const goal *x, shape *s);

/* strings.c */
MUGA_MUST_USE muga_status strings_build(shape *s, uint32_t from, uint32_t to);
/* The automaton of the decoded text; *plain: any string, *out is NULL. */
MUGA_MUST_USE muga_status strings_dfa(shape *s, dfa **out, bool *plain);
/* *all := *all and what pattern, format and the lengths of one schema say; NULL stands for any string. */
MUGA_MUST_USE muga_status strings_add(front *f, const json_t *schema, dfa **all);
/* A pattern of the schema, within half of the work that is left: one that explodes leaves the rest to the others. */
MUGA_MUST_USE muga_status strings_pattern(front *f, const char *p, size_t n, regex_mode mode, dfa **out,
                                          muga_error *why);
/* *all := *all op one; `one` is consumed, *all too on failure (NULL). */
MUGA_MUST_USE muga_status strings_combine(front *f, dfa **all, dfa *one, dfa_op op);
/* schema_names.c: all strings that are valid under a schema, whatever it says. *out NULL: no automaton can say it, and
 * it is left to re-validation. */
MUGA_MUST_USE muga_status names_dfa(front *f, const json_t *schema, dfa **out);
uint32_t strings_plain_rule(front *f);
/* range.c */
MUGA_MUST_USE muga_status numbers_build(shape *s, uint32_t from, uint32_t to);
/* schema_object.c, schema_array.c */
MUGA_MUST_USE muga_status objects_build(shape *s, uint32_t from, uint32_t to);
MUGA_MUST_USE muga_status arrays_build(shape *s, uint32_t from, uint32_t to);
/* The pattern is left to the validator already: what was too large for more work than is left is too large now. */
bool front_left_out(const front *f, span pattern);
/* Keeps a schema made here (new reference, NULL: out of memory) until the front end is done; it reads as 2020-12. */
MUGA_MUST_USE muga_status front_keep(front *f, json_t *made, const json_t **out);
/* Where x's reference leads; *out NULL: it has none, or (*open) where it leads depends on how one came to x. */
MUGA_MUST_USE muga_status front_follow(front *f, const json_t *x, schema_ref_kind kind, const json_t **out, bool *open);
/* The `not` of element i where KEY_OPPOSITE stands beside it; NULL otherwise. */
const json_t *shape_opposite(const shape *s, uint32_t i);
/* schema_relax.c: a keyword of `schema` that the automaton leaves out, so that it takes more texts than the schema; the
 * whole answer is validated before it leaves (constrain_recheck). Never under a "not" of its own: what is left out
 * there would take texts away. `subschemas`: schemas are left out with it, which must hold no "from", since the
 * validator doesn't know it; MUGA_E_INPUT then. */
MUGA_MUST_USE muga_status front_relax(front *f, const json_t *schema, const char *keyword, const char *why,
                                      bool subschemas);
/* The same for a pattern that no automaton can have, for the `reason`. MUGA_E_INPUT or _LIMIT: the validator can't
 * evaluate it either. */
MUGA_MUST_USE muga_status front_relax_pattern(front *f, const json_t *schema, const char *keyword, span pattern,
                                              const muga_error *reason, bool subschemas);
/* unevaluatedProperties and unevaluatedItems of x in terms of what a schema can evaluate at all: {"properties": ...,
 * "additionalProperties": ...} and so on, owned by the front; NULL: it has neither, or they say nothing. */
MUGA_MUST_USE muga_status relax_unevaluated(front *f, const json_t *x, const json_t **out);
/* schema_logic.c */
uint32_t logic_types(const json_t *x);                /* T_*, by x's own `type` */
bool logic_only_ref(const front *f, const json_t *x); /* draft 7 reads nothing beside $ref */
/* oneOf alternatives that can't both hold. */
bool logic_disjoint(front *f, const json_t *a, const json_t *b, int depth);
/* No two of the alternatives can both hold: each is an enum or const, or an object that one key tells apart. */
bool logic_lists_disjoint(front *f, const json_t *alternatives);
/* The cases in which just one of the alternatives holds are too many to write down. */
bool logic_many_cases(front *f, const json_t *alternatives, uint32_t types);
/* One {enum} for alternatives that are all plain lists of values; *out NULL: they are not. Owned by the front. */
MUGA_MUST_USE muga_status logic_merge_lists(front *f, const json_t *alternatives, const json_t **out);
/* schema_opposite.c: what has been made of x so far; valid until the next call. */
MUGA_MUST_USE muga_status opposite_note(front *f, const json_t *x, struct negation **out);
/* {"not": x}, the same each time; and what that means, as alternatives. Owned by the front. */
MUGA_MUST_USE muga_status opposite_wrap(front *f, const json_t *x, const json_t **out);
MUGA_MUST_USE muga_status opposite_cases(front *f, const json_t *x, const json_t **out);
/* The dependencies of a schema as schemas without any; NULL: it has none that counts. */
MUGA_MUST_USE muga_status opposite_dependencies(front *f, const json_t *x, const json_t **out);
/* values.c: enum, const and grounded values */
MUGA_MUST_USE muga_status values_collect(shape *s, json_t **out); /* new array, or NULL: the value is not a choice */
MUGA_MUST_USE muga_status values_build(shape *s, const json_t *values, uint32_t from, uint32_t to);

/* validate.c, for candidates: `schema` without what `done` says is dealt with. */
MUGA_MUST_USE muga_status validate_candidate(schema_index *x, const json_t *schema, uint32_t done, const json_t *data,
                                             uint64_t *work, muga_error *err);
#endif
