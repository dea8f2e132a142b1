/* Private to schema_keys.c and schema_object.c: one object under construction. */
#ifndef MUGA_CONSTRAIN_OBJECT_H
#define MUGA_CONSTRAIN_OBJECT_H

#include "constrain/front.h"

#define MAX_KEY_CLASSES 64u
#define MAX_KEY_CONDITIONS 3u
#define MANY_KEYS 1000u /* keys of a class that are reckoned with where no count is kept */

typedef struct property {
    span key;
    bool required, declared;
} property;

typedef struct key_patterns {
    const char **text; /* distinct, borrowed */
    dfa **d;
    size_t n;
} key_patterns;

/* Some member whose key is one of these has a value that fits the schema. */
typedef struct key_condition {
    dfa *keys;
    const json_t *value; /* NULL: any value */
} key_condition;

/* Keys that nobody lists and that nothing tells apart. */
typedef struct key_class {
    dfa *keys;
    uint64_t matches;    /* bit k: pattern k */
    uint32_t conditions; /* bit k: condition k looks at it */
    uint32_t *bytes;     /* [n_bytes] of the (i+1)th shortest key; UINT32_MAX: there are not so many */
} key_class;

typedef struct object {
    shape *s;
    front *f;
    property *props; /* declared ones first */
    size_t n_props, cap_props, n_declared;
    uint32_t *table, n_table; /* of props by key */
    uint64_t min, max;
    key_patterns patterns;
    key_condition conditions[MAX_KEY_CONDITIONS];
    uint32_t n_conditions;
    bool too_few; /* keys for the conditions, which are left to re-validation then */
    key_class classes[MAX_KEY_CLASSES];
    uint32_t n_classes, n_bytes;
} object;

/* The lists above, from the schemas of the shape. */
MUGA_MUST_USE muga_status object_collect(object *o);
/* The classes; o->min is what must still be found behind the required keys. */
MUGA_MUST_USE muga_status object_classify(object *o);
void object_free(object *o);
/* The goal of a value: under a declared key, or (key NULL) one of the class; also[0, n) hold too. */
MUGA_MUST_USE muga_status object_value(object *o, const span *key, uint64_t matches, const json_t *const *also,
                                       uint32_t n, uint32_t *rule);
uint64_t object_matching(const object *o, span key);   /* patterns, as bits */
uint32_t object_conditions(const object *o, span key); /* conditions that look at the key */
/* propertyNames allows the key. */
MUGA_MUST_USE muga_status object_allowed(object *o, span key, bool *allowed);
#endif
