/* References of a schema document. Owns: the list of resources ($id), anchors, and which resource a subschema is in.
 * Refuses: references that lead nowhere (nothing is fetched; documents from elsewhere are given with the schema),
 * vocabularies that are required and not known, nesting past JSON_MAX_DEPTH.
 * Idea: one walk over the places where the drafts put subschemas; a JSON pointer that leads elsewhere is walked when
 * it is met. */
#include "constrain/schema_index.h"

#include "base/hash.h"
#include "constrain/uri.h"

/* ---- the index ---- */

static uint32_t place_slot(const schema_index *x, const json_t *schema) {
    uint64_t h = (uint64_t)(uintptr_t)schema;
    h = (h >> 4) * 0x9E3779B97F4A7C15u >> 20;
    while (x->places[h & (x->cap_places - 1)].schema && x->places[h & (x->cap_places - 1)].schema != schema)
        h++;
    return (uint32_t)(h & (x->cap_places - 1));
}

uint32_t schema_index_resource(const schema_index *x, const json_t *schema) {
    return x->cap_places ? x->places[place_slot(x, schema)].resource : 0;
}

static bool place_known(const schema_index *x, const json_t *schema) {
    return x->cap_places && x->places[place_slot(x, schema)].schema == schema;
}

typedef struct keyword {
    const char *name;
    uint32_t has;
} keyword;

static int keyword_order(const void *x, const void *y) {
    const keyword *a = x, *b = y;
    return strcmp(a->name, b->name);
}

static uint32_t keywords_of(const json_t *schema) {
    static const keyword keywords[] = {{"$dynamicRef", HAS_REF},
                                       {"$ref", HAS_REF},
                                       {"additionalItems", HAS_ARRAY},
                                       {"additionalProperties", HAS_OBJECT},
                                       {"allOf", HAS_COMBINED},
                                       {"anyOf", HAS_COMBINED},
                                       {"const", HAS_VALUES},
                                       {"contains", HAS_ARRAY},
                                       {"dependencies", HAS_OBJECT},
                                       {"dependentRequired", HAS_OBJECT},
                                       {"dependentSchemas", HAS_OBJECT},
                                       {"enum", HAS_VALUES},
                                       {"exclusiveMaximum", HAS_NUMBER},
                                       {"exclusiveMinimum", HAS_NUMBER},
                                       {"format", HAS_STRING},
                                       {"if", HAS_CONDITION},
                                       {"items", HAS_ARRAY},
                                       {"maxContains", HAS_ARRAY},
                                       {"maxItems", HAS_ARRAY},
                                       {"maxLength", HAS_STRING},
                                       {"maxProperties", HAS_OBJECT},
                                       {"maximum", HAS_NUMBER},
                                       {"minContains", HAS_ARRAY},
                                       {"minItems", HAS_ARRAY},
                                       {"minLength", HAS_STRING},
                                       {"minProperties", HAS_OBJECT},
                                       {"minimum", HAS_NUMBER},
                                       {"multipleOf", HAS_NUMBER},
                                       {"not", HAS_CONDITION},
                                       {"oneOf", HAS_COMBINED},
                                       {"pattern", HAS_STRING},
                                       {"patternProperties", HAS_OBJECT},
                                       {"prefixItems", HAS_ARRAY},
                                       {"properties", HAS_OBJECT},
                                       {"propertyNames", HAS_OBJECT},
                                       {"required", HAS_OBJECT},
                                       {"type", HAS_TYPE},
                                       {"unevaluatedItems", HAS_UNEVALUATED},
                                       {"unevaluatedProperties", HAS_UNEVALUATED},
                                       {"uniqueItems", HAS_ARRAY}}; /* in the order of strcmp */
    uint32_t has = 0;
    void *it = json_object_iter(json_borrow(schema));
    for (; it; it = json_object_iter_next(json_borrow(schema), it)) {
        keyword key = {json_object_iter_key(it), 0};
        const keyword *found = bsearch(&key, keywords, ARRAY_LEN(keywords), sizeof key, keyword_order);
        has |= found ? found->has : 0;
    }
    return has;
}

uint32_t schema_index_has(const schema_index *x, const json_t *schema) {
    return place_known(x, schema) ? x->places[place_slot(x, schema)].has : keywords_of(schema);
}

static muga_status place_add(schema_index *x, const json_t *schema, uint32_t resource, muga_error *err) {
    if (x->n_places * 2 >= x->cap_places) {
        schema_place *old = x->places;
        uint32_t n = x->cap_places;
        x->cap_places = n ? n * 2 : 64;
        x->places = mem_alloc_array(x->cap_places, sizeof *x->places);
        if (!x->places) {
            x->places = old;
            x->cap_places = n;
            return error_nomem(err, "a schema");
        }
        for (uint32_t i = 0; i < n; i++)
            if (old[i].schema)
                x->places[place_slot(x, old[i].schema)] = old[i];
        free(old);
    }
    uint32_t slot = place_slot(x, schema);
    x->n_places += x->places[slot].schema == NULL;
    x->places[slot] = (schema_place){.schema = schema, .resource = resource, .has = keywords_of(schema)};
    return MUGA_OK;
}

static muga_status anchor_add(schema_index *x, schema_anchor a, muga_error *err) {
    if (x->n_anchors == x->cap_anchors) {
        uint32_t cap = x->cap_anchors ? x->cap_anchors * 2 : 8;
        schema_anchor *v = mem_resize_array(x->anchors, cap, sizeof *v);
        if (!v)
            return error_nomem(err, "a schema");
        x->anchors = v;
        x->cap_anchors = cap;
    }
    x->anchors[x->n_anchors++] = a;
    x->resources[a.resource].n_dynamic += a.dynamic;
    return MUGA_OK;
}

/* ---- drafts and vocabularies ---- */

/* A document given with the schema; an address counts with and without an empty fragment. */
static const json_t *document_at(const schema_index *x, const char *address, size_t n) {
    void *it = x->documents ? json_object_iter(json_borrow(x->documents)) : NULL;
    for (; it; it = json_object_iter_next(json_borrow(x->documents), it)) {
        const char *key = json_object_iter_key(it);
        if (strcspn(key, "#") == n && memcmp(key, address, n) == 0 && (key[n] == 0 || key[n + 1] == 0))
            return json_object_iter_value(it);
    }
    return NULL;
}

static bool names_draft(const char *uri, constrain_draft *out) {
    *out = CONSTRAIN_DRAFT_7;
    if (strstr(uri, "draft-07") || strstr(uri, "draft-06") || strstr(uri, "draft-04"))
        return true;
    *out = CONSTRAIN_DRAFT_2020_12;
    return strstr(uri, "2020-12") || strstr(uri, "2019-09") || strstr(uri, "json-schema.org/schema");
}

/* By $schema; a schema of schemas that isn't one of the drafts' own says by its own $schema which it extends. */
static constrain_draft draft_of(const schema_index *x, const json_t *schema, constrain_draft otherwise) {
    for (int i = 0; i < 8; i++) {
        const char *uri = json_get_string(schema, "$schema");
        constrain_draft d;
        if (!uri)
            return otherwise;
        if (names_draft(uri, &d))
            return d;
        const json_t *next = document_at(x, uri, strcspn(uri, "#"));
        if (!next || next == schema)
            return otherwise;
        schema = next;
    }
    return otherwise;
}

static muga_status read_vocabulary(const schema_index *x, schema_resource *r, muga_error *err) {
    static const char prefix[] = "https://json-schema.org/draft/2020-12/vocab/";
    static const char *const known[] = {"core",      "applicator",        "unevaluated",      "validation",
                                        "meta-data", "format-annotation", "format-assertion", "content"};
    const char *uri = json_get_string(r->root, "$schema");
    const json_t *v = uri ? json_object_get(document_at(x, uri, strcspn(uri, "#")), "$vocabulary") : NULL;
    void *it = v ? json_object_iter(json_borrow(v)) : NULL;
    r->asserts_nothing = it && r->draft != CONSTRAIN_DRAFT_7;
    for (; it && r->draft != CONSTRAIN_DRAFT_7; it = json_object_iter_next(json_borrow(v), it)) {
        const char *key = json_object_iter_key(it);
        const char *name = strncmp(key, prefix, sizeof prefix - 1) == 0 ? key + sizeof prefix - 1 : "";
        size_t i = 0;
        while (i < ARRAY_LEN(known) && strcmp(known[i], name) != 0)
            i++;
        if (i == ARRAY_LEN(known) && json_is_true(json_object_iter_value(it)))
            return error_set(err, MUGA_E_INPUT, "schema: the vocabulary \"%.120s\" is required and not known", key);
        if (strcmp(name, "validation") == 0)
            r->asserts_nothing = false;
        r->asserts_formats |= strcmp(name, "format-assertion") == 0;
    }
    if (uri && strstr(uri, "2019-09") && json_object_get(r->root, "$recursiveRef"))
        return error_set(err, MUGA_E_INPUT, "schema: \"$recursiveRef\" is of draft 2019-09; write \"$dynamicRef\"");
    return MUGA_OK;
}

muga_status constrain_parse_draft(const json_t *name, constrain_draft *out, muga_error *err) {
    const char *s = json_string_value(name);
    *out = CONSTRAIN_DRAFT_AUTO;
    if (!name)
        return MUGA_OK;
    if (s && strcmp(s, "draft7") == 0)
        *out = CONSTRAIN_DRAFT_7;
    else if (s && strcmp(s, "draft2020-12") == 0)
        *out = CONSTRAIN_DRAFT_2020_12;
    else
        return error_set(err, MUGA_E_INPUT, "\"draft\" must be \"draft7\" or \"draft2020-12\"");
    return MUGA_OK;
}

/* base: what `id` is relative to; parent: whose draft counts where the schema doesn't say. */
static muga_status resource_add(schema_index *x, const json_t *root, const char *id, const char *base, uint32_t parent,
                                uint32_t *out, muga_error *err) {
    if (x->n_resources == x->cap_resources) {
        uint32_t cap = x->cap_resources ? x->cap_resources * 2 : 4;
        schema_resource *v = mem_resize_array(x->resources, cap, sizeof *v);
        if (!v)
            return error_nomem(err, "a schema");
        x->resources = v;
        x->cap_resources = cap;
    }
    str text = STR_INIT;
    uri_resolve(span_of_string(base), span_of(id, strcspn(id, "#")), &text);
    schema_resource r = {.root = root,
                         .draft = draft_of(x, root, x->n_resources ? x->resources[parent].draft : x->draft)};
    r.uri = text.failed ? NULL : arena_copy_bytes(&x->a, str_get(&text), text.len);
    str_release(&text);
    if (!r.uri)
        return error_nomem(err, "a schema");
    muga_status st = read_vocabulary(x, &r, err);
    if (st != MUGA_OK)
        return st;
    x->resources[x->n_resources] = r;
    *out = x->n_resources++;
    return MUGA_OK;
}

typedef enum { HOLDS_SCHEMA, HOLDS_ARRAY, HOLDS_MAP, HOLDS_EITHER } holds;
static const struct {
    const char *keyword;
    holds kind;
} subschema_places[] = {{"$defs", HOLDS_MAP},
                        {"definitions", HOLDS_MAP},
                        {"properties", HOLDS_MAP},
                        {"patternProperties", HOLDS_MAP},
                        {"dependentSchemas", HOLDS_MAP},
                        {"dependencies", HOLDS_MAP},
                        {"allOf", HOLDS_ARRAY},
                        {"anyOf", HOLDS_ARRAY},
                        {"oneOf", HOLDS_ARRAY},
                        {"prefixItems", HOLDS_ARRAY},
                        {"items", HOLDS_EITHER},
                        {"additionalItems", HOLDS_SCHEMA},
                        {"additionalProperties", HOLDS_SCHEMA},
                        {"contains", HOLDS_SCHEMA},
                        {"propertyNames", HOLDS_SCHEMA},
                        {"not", HOLDS_SCHEMA},
                        {"if", HOLDS_SCHEMA},
                        {"then", HOLDS_SCHEMA},
                        {"else", HOLDS_SCHEMA},
                        {"unevaluatedItems", HOLDS_SCHEMA},
                        {"unevaluatedProperties", HOLDS_SCHEMA},
                        {"contentSchema", HOLDS_SCHEMA}};

static muga_status walk(schema_index *x, const json_t *schema, uint32_t resource, int depth, muga_error *err);

static muga_status walk_children(schema_index *x, const json_t *schema, uint32_t resource, int depth, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < ARRAY_LEN(subschema_places) && st == MUGA_OK; i++) {
        const json_t *v = json_object_get(schema, subschema_places[i].keyword);
        json_t *child;
        size_t k;
        if (!v)
            continue;
        if (json_is_array(v) && subschema_places[i].kind != HOLDS_MAP) {
            json_array_foreach(v, k, child) {
                st = walk(x, child, resource, depth + 1, err);
                if (st != MUGA_OK)
                    return st;
            }
        } else if (subschema_places[i].kind == HOLDS_MAP) {
            /* The iterator only reads; jansson's signature isn't const. */
            for (void *it = json_object_iter(json_borrow(v)); it; it = json_object_iter_next(json_borrow(v), it)) {
                st = walk(x, json_object_iter_value(it), resource, depth + 1, err);
                if (st != MUGA_OK)
                    return st;
            }
        } else {
            st = walk(x, v, resource, depth + 1, err);
        }
    }
    return st;
}

static muga_status walk(schema_index *x, const json_t *schema, uint32_t resource, int depth, muga_error *err) {
    if (!json_is_object(schema) || place_known(x, schema))
        return MUGA_OK;
    if (depth > JSON_MAX_DEPTH)
        return error_set(err, MUGA_E_LIMIT, "schema: nests deeper than %d", JSON_MAX_DEPTH);
    muga_status st = MUGA_OK;
    const char *id = json_get_string(schema, "$id");
    bool draft7 = draft_of(x, schema, x->resources[resource].draft) == CONSTRAIN_DRAFT_7;
    bool only_ref = draft7 && json_get_string(schema, "$ref");
    if (id && !only_ref && id[0] != '#' && schema != x->resources[resource].root) {
        st = resource_add(x, schema, id, x->resources[resource].uri, resource, &resource, err);
        if (st != MUGA_OK)
            return st;
    }
    st = place_add(x, schema, resource, err);
    const char *hash = id && draft7 && !only_ref ? strchr(id, '#') : NULL;
    if (st == MUGA_OK && hash && hash[1] && hash[1] != '/')
        st = anchor_add(x, (schema_anchor){hash + 1, schema, resource, false}, err);
    const char *anchor = json_get_string(schema, "$anchor"), *dynamic = json_get_string(schema, "$dynamicAnchor");
    if (st == MUGA_OK && anchor && !draft7)
        st = anchor_add(x, (schema_anchor){anchor, schema, resource, false}, err);
    if (st == MUGA_OK && dynamic && !draft7)
        st = anchor_add(x, (schema_anchor){dynamic, schema, resource, true}, err);
    x->unevaluated |= json_object_get(schema, "unevaluatedItems") || json_object_get(schema, "unevaluatedProperties");
    return st == MUGA_OK ? walk_children(x, schema, resource, depth, err) : st;
}

/* The $id of a document: in draft 7 nothing counts beside $ref. */
static const char *own_id(const schema_index *x, const json_t *schema, constrain_draft otherwise) {
    const char *id = json_get_string(schema, "$id");
    bool only_ref = draft_of(x, schema, otherwise) == CONSTRAIN_DRAFT_7 && json_get_string(schema, "$ref");
    return id && !only_ref ? id : "";
}

muga_status schema_index_init(schema_index *x, const json_t *schema, constrain_draft draft, const json_t *documents,
                              muga_error *err) {
    memset(x, 0, sizeof *x);
    arena_init(&x->a, (size_t)64 << 20);
    x->documents = documents;
    x->draft = draft_of(x, schema, draft);
    uint32_t root;
    muga_status st = resource_add(x, schema, own_id(x, schema, draft), "", 0, &root, err);
    if (st == MUGA_OK)
        st = walk(x, schema, root, 0, err);
    if (st != MUGA_OK)
        schema_index_release(x);
    return st;
}

muga_status schema_index_adopt(schema_index *x, const json_t *schema, muga_error *err) {
    if (!json_is_object(schema) || place_known(x, schema))
        return MUGA_OK;
    if (!x->adopted) {
        muga_status st = resource_add(x, schema, "muga:made", "", 0, &x->adopted, err);
        if (st != MUGA_OK)
            return st;
        x->resources[x->adopted].draft = CONSTRAIN_DRAFT_2020_12;
    }
    return place_add(x, schema, x->adopted, err);
}

void schema_index_release(schema_index *x) {
    free(x->resources);
    free(x->anchors);
    free(x->places);
    json_decref(x->loaded);
    arena_release(&x->a);
    memset(x, 0, sizeof *x);
}

const json_t *schema_index_dynamic(const schema_index *x, uint32_t resource, const char *name) {
    for (uint32_t i = 0; i < x->n_anchors && x->resources[resource].n_dynamic; i++)
        if (x->anchors[i].dynamic && x->anchors[i].resource == resource && strcmp(x->anchors[i].name, name) == 0)
            return x->anchors[i].schema;
    return NULL;
}

bool schema_index_is_draft7(const schema_index *x, uint32_t resource) {
    return x->resources[resource].draft == CONSTRAIN_DRAFT_7;
}

/* Percent-decoded; then ~1 and ~0. false: an ill-formed escape. */
static bool decode_token(const char *p, size_t n, str *out) {
    str_clear(out);
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)p[i];
        if (c == '%') {
            if (n - i < 3 || !hex_parse(p + i + 1, 2, &c))
                return false;
            i += 2;
        }
        str_append_c(out, (char)c);
    }
    size_t w = 0;
    for (size_t i = 0; i < out->len; i++) {
        char c = out->data[i];
        if (c == '~' && i + 1 < out->len)
            c = out->data[++i] == '1' ? '/' : '~';
        out->data[w++] = c;
    }
    str_truncate(out, w);
    return !out->failed;
}

static const json_t *follow_pointer(const schema_index *x, const json_t *at, const char *p, uint32_t *resource) {
    str token = STR_INIT;
    while (at && *p == '/') {
        size_t n = strcspn(p + 1, "/");
        if (!decode_token(p + 1, n, &token)) {
            at = NULL;
            break;
        }
        if (json_is_array(at)) {
            char *end;
            unsigned long i = strtoul(str_get(&token), &end, 10);
            at = *end || token.len == 0 ? NULL : json_array_get(at, i);
        } else {
            at = json_object_getn(at, str_get(&token), token.len);
        }
        if (at && place_known(x, at))
            *resource = schema_index_resource(x, at);
        p += n + 1;
    }
    str_release(&token);
    return at;
}

static uint32_t resource_find(const schema_index *x, const char *address) {
    for (uint32_t i = 0; i < x->n_resources; i++)
        if (strcmp(x->resources[i].uri, address) == 0 ||
            (x->resources[i].at && strcmp(x->resources[i].at, address) == 0))
            return i;
    return UINT32_MAX;
}

/* The schema of schemas, or the document given with the schema, of that address. *found stays: there is none. */
static muga_status load_document(schema_index *x, const char *address, uint32_t *found, muga_error *err) {
    const json_t *given = document_at(x, address, strlen(address));
    const char *text = given ? NULL : metaschema_text(address);
    json_t *v = NULL;
    muga_status st = MUGA_OK;
    if (!given && !text)
        return MUGA_OK;
    if (given && !json_is_object(given) && !json_is_boolean(given))
        return error_set(err, MUGA_E_INPUT, "schema: the document \"%.120s\" must be an object or a boolean", address);
    if (text && !x->loaded && !(x->loaded = json_array()))
        return error_nomem(err, "a schema");
    if (text)
        st = json_parse(text, strlen(text), "schema of schemas", &v, err);
    if (st == MUGA_OK && text && json_array_append_new(x->loaded, v) != 0)
        st = error_nomem(err, "a schema");
    if (st != MUGA_OK)
        return st;
    const json_t *root = given ? given : v;
    char *at = arena_copy_bytes(&x->a, address, strlen(address));
    if (!at)
        return error_nomem(err, "a schema");
    st = resource_add(x, root, own_id(x, root, x->draft), at, 0, found, err);
    if (st != MUGA_OK)
        return st;
    x->resources[*found].at = at;
    return walk(x, root, *found, 0, err);
}

/* `ref` as written in a schema of `resource`. */
static muga_status resolve(schema_index *x, uint32_t resource, const char *ref, const json_t **out, const char **anchor,
                           muga_error *err) {
    str text = STR_INIT;
    size_t hash = strcspn(ref, "#");
    const char *fragment = ref[hash] ? ref + hash + 1 : "";
    uri_resolve(span_of_string(x->resources[resource].uri), span_of(ref, hash), &text);
    muga_status st = str_status(&text, err, "a schema");
    uint32_t found = st == MUGA_OK ? resource_find(x, str_get(&text)) : UINT32_MAX;
    if (st == MUGA_OK && found == UINT32_MAX)
        st = load_document(x, str_get(&text), &found, err);
    str_release(&text);
    if (st != MUGA_OK)
        return st;
    const json_t *target = NULL;
    if (found != UINT32_MAX && (*fragment == 0 || *fragment == '/')) {
        target = follow_pointer(x, x->resources[found].root, fragment, &found);
    } else if (found != UINT32_MAX) {
        for (uint32_t i = 0; i < x->n_anchors && !target; i++)
            if (x->anchors[i].resource == found && strcmp(x->anchors[i].name, fragment) == 0)
                target = x->anchors[i].schema;
        if (target && schema_index_dynamic(x, found, fragment) == target)
            *anchor = fragment;
    }
    if (!target || !(json_is_object(target) || json_is_boolean(target)))
        return error_set(err, MUGA_E_INPUT, "schema: \"$ref\": \"%.120s\" leads to no schema here", ref);
    *out = target;
    return walk(x, target, found, 0, err);
}

muga_status schema_index_follow(schema_index *x, const json_t *schema, schema_ref_kind kind, const json_t **out,
                                const char **anchor, muga_error *err) {
    static const char *const keywords[] = {"$ref", "$dynamicRef"};
    const json_t *v = json_object_get(schema, keywords[kind]);
    *out = NULL;
    *anchor = NULL;
    if (!v)
        return MUGA_OK;
    if (!json_is_string(v))
        return error_set(err, MUGA_E_INPUT, "schema: \"%s\" must be a string", keywords[kind]);
    if (!place_known(x, schema)) /* one that the front end made: it belongs to the document */
        return resolve(x, 0, json_string_value(v), out, anchor, err);
    const schema_place *p = &x->places[place_slot(x, schema)];
    if (p->ref[kind].target) {
        *out = p->ref[kind].target;
        *anchor = p->ref[kind].anchor;
        return MUGA_OK;
    }
    muga_status st = resolve(x, p->resource, json_string_value(v), out, anchor, err);
    uint32_t slot = place_slot(x, schema); /* the table may have grown */
    if (st == MUGA_OK) {
        x->places[slot].ref[kind].target = *out;
        x->places[slot].ref[kind].anchor = *anchor;
    }
    return st;
}
