/* Private to validate*.c: one run of the validator, and what the keywords of each type need of it. */
#ifndef MUGA_CONSTRAIN_VALIDATE_H
#define MUGA_CONSTRAIN_VALIDATE_H

#include "constrain/front.h"

typedef struct validate_place {
    const struct validate_place *parent;
    const char *key; /* NULL: an index */
    size_t index;
} validate_place;

/* Which properties (in iteration order) or items of one value have been evaluated. NULL: nobody asks. */
typedef struct validate_seen {
    bool *at;
    size_t n;
} validate_seen;

typedef struct validate_scope { /* resources entered, innermost first */
    const struct validate_scope *outer;
    uint32_t resource;
} validate_scope;

typedef struct validate_run {
    schema_index *index;
    uint32_t done; /* what is dealt with of the outermost schema (front.h) */
    bool formats;
    int quiet, depth;
    uint64_t work, pattern_work, match_work;
    struct validate_compiled *patterns; /* open addressing */
    uint32_t n_patterns, cap_patterns;
    muga_error *err;
} validate_run;

typedef struct validate_call {
    const json_t *schema, *data;
    const validate_place *at;
    const validate_scope *scope;
    validate_seen *seen;
    bool draft7;
    bool asserts; /* false: its vocabulary leaves validation out */
} validate_call;

typedef struct validate_member {
    const char *key;
    size_t n, index;
    const json_t *value;
} validate_member;

/* MUGA_E_NEGATIVE with a message, where one is wanted (quiet 0). */
muga_status validate_invalid(validate_run *r, const validate_call *c, const char *keyword, const char *why);
/* MUGA_E_INPUT: the schema's own fault. */
muga_status validate_unusable(validate_run *r, const char *keyword, const char *why);

/* Counts n steps. MUGA_E_LIMIT: that was the last of them. */
MUGA_MUST_USE muga_status validate_spend(validate_run *r, uint64_t n);

MUGA_MUST_USE muga_status validate_at(validate_run *r, const json_t *schema, const json_t *data,
                                      const validate_place *at, const validate_scope *sc, validate_seen *se);
/* The subschema on the same value. What it evaluated counts only if it is valid. */
MUGA_MUST_USE muga_status validate_in_place(validate_run *r, const validate_call *c, const json_t *schema);
/* On an item or a member, which then counts as evaluated. */
MUGA_MUST_USE muga_status validate_item(validate_run *r, const validate_call *c, const json_t *schema, size_t i);
MUGA_MUST_USE muga_status validate_member_value(validate_run *r, const validate_call *c, const validate_member *m,
                                                const json_t *schema);

/* validate_types.c: the keywords of one type; the value is of that type. */
MUGA_MUST_USE muga_status validate_number(validate_run *r, const validate_call *c);
MUGA_MUST_USE muga_status validate_string(validate_run *r, const validate_call *c);
MUGA_MUST_USE muga_status validate_array(validate_run *r, const validate_call *c);
MUGA_MUST_USE muga_status validate_object(validate_run *r, const validate_call *c);
/* Is the pattern found in the text (whole mode: is it all of it)? Compiled once a run, by the pattern's address. */
MUGA_MUST_USE muga_status validate_pattern(validate_run *r, span pattern, regex_mode mode, const char *s, size_t n,
                                           bool *yes);
span validate_span(const json_t *string);
void validate_release_patterns(validate_run *r);
#endif
