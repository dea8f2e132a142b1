/* Where the references of a schema document lead: base URIs, $id, anchors, JSON pointers. Shared by the validator and
 * by the constraint's front end, so that both see the same schema. */
#ifndef MUGA_CONSTRAIN_SCHEMA_INDEX_H
#define MUGA_CONSTRAIN_SCHEMA_INDEX_H

#include "base/json.h"
#include "base/mem.h"
#include "constrain/constrain.h"

typedef struct schema_resource {
    const json_t *root;
    char *uri;             /* absolute or "" ; no fragment */
    char *at;              /* a document from elsewhere: the address it was given under; NULL otherwise */
    constrain_draft draft; /* never AUTO, except for a document that doesn't say */
    uint32_t n_dynamic;    /* dynamic anchors in it */
    bool asserts_nothing;  /* its $vocabulary leaves validation out: type, bounds and the like are notes */
    bool asserts_formats;  /* its $vocabulary has format-assertion */
} schema_resource;

typedef struct schema_anchor {
    const char *name;
    const json_t *schema;
    uint32_t resource;
    bool dynamic;
} schema_anchor;

typedef enum { SCHEMA_REF, SCHEMA_DYNAMIC_REF } schema_ref_kind;

/* Which kinds of keywords a schema has, so that a value is not asked about the others. */
enum {
    HAS_REF = 1, /* $ref, $dynamicRef */
    HAS_TYPE = 2,
    HAS_VALUES = 4,
    HAS_NUMBER = 8,
    HAS_STRING = 16,
    HAS_ARRAY = 32,
    HAS_OBJECT = 64,
    HAS_COMBINED = 128,  /* allOf, anyOf, oneOf */
    HAS_CONDITION = 256, /* not, if */
    HAS_UNEVALUATED = 512
};

typedef struct schema_place {
    const json_t *schema;
    uint32_t resource;
    uint32_t has;
    struct { /* by schema_ref_kind; target NULL: not looked up yet */
        const json_t *target;
        const char *anchor;
    } ref[2];
} schema_place;

typedef struct schema_index {
    arena a;
    schema_resource *resources;
    uint32_t n_resources, cap_resources;
    schema_anchor *anchors;
    uint32_t n_anchors, cap_anchors;
    schema_place *places; /* open addressing by pointer; schema NULL: free */
    uint32_t n_places, cap_places;
    constrain_draft draft;   /* of the whole document */
    uint32_t adopted;        /* resource of schemas that no document holds; 0: none yet */
    bool note_formats;       /* as in constrain_options */
    bool unevaluated;        /* an unevaluated* keyword occurs */
    json_t *loaded;          /* array of the schemas of schemas that were referred to */
    const json_t *documents; /* address -> schema, borrowed; NULL: none */
} schema_index;

uint32_t schema_index_has(const schema_index *x, const json_t *schema); /* HAS_* */
/* `draft` counts where the document has no $schema. `documents`: what references may lead to beside the document
 * itself (an object, address -> schema), borrowed until release; NULL: nothing. */
MUGA_MUST_USE muga_status schema_index_init(schema_index *x, const json_t *schema, constrain_draft draft,
                                            const json_t *documents, muga_error *err);
void schema_index_release(schema_index *x);
/* The resource a subschema belongs to (0, the document, where it is not known). */
uint32_t schema_index_resource(const schema_index *x, const json_t *schema);
/* Where schema's $ref or $dynamicRef leads; *out NULL: it has none. *anchor: the dynamic anchor's name it names, or
 * NULL. A place that the walk had not reached is walked now. MUGA_E_INPUT: there is no such place. */
MUGA_MUST_USE muga_status schema_index_follow(schema_index *x, const json_t *schema, schema_ref_kind kind,
                                              const json_t **out, const char **anchor, muga_error *err);
/* A schema that no document holds reads as 2020-12; one that is known already stays what it is. */
MUGA_MUST_USE muga_status schema_index_adopt(schema_index *x, const json_t *schema, muga_error *err);
/* NULL: the resource has no such dynamic anchor. */
const json_t *schema_index_dynamic(const schema_index *x, uint32_t resource, const char *name);
/* A schema of schemas by its URI (without fragment), as JSON text; NULL: not one. */
const char *metaschema_text(const char *uri);
/* Draft 7 reads nothing beside $ref. */
bool schema_index_is_draft7(const schema_index *x, uint32_t resource);

#endif
