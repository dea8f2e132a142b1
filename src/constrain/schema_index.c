/* References of a schema document. Owns: the list of resources ($id), anchors, and which resource a subschema is in.
 * Refuses: references that lead nowhere (the document is not fetched from elsewhere), nesting past JSON_MAX_DEPTH.
 * Idea: one walk over the places where the drafts put subschemas; a JSON pointer that leads elsewhere is walked when
 * it is met. URIs by RFC 3986, section 5.2. */
#include "constrain/schema_index.h"

#include "base/hash.h"

/* ---- URIs ---- */
typedef struct uri {
    span scheme, authority, path, query;
    bool has_scheme, has_authority, has_query;
} uri;

static uri uri_split(span s) {
    uri u = {0};
    size_t i = 0;
    while (i < s.n && s.p[i] != ':' && s.p[i] != '/' && s.p[i] != '?')
        i++;
    if (i < s.n && s.p[i] == ':' && i > 0) {
        u.scheme = span_of(s.p, i);
        u.has_scheme = true;
        s = span_of(s.p + i + 1, s.n - i - 1);
    }
    if (s.n >= 2 && s.p[0] == '/' && s.p[1] == '/') {
        i = 2;
        while (i < s.n && s.p[i] != '/' && s.p[i] != '?')
            i++;
        u.authority = span_of(s.p + 2, i - 2);
        u.has_authority = true;
        s = span_of(s.p + i, s.n - i);
    }
    i = 0;
    while (i < s.n && s.p[i] != '?')
        i++;
    u.path = span_of(s.p, i);
    if (i < s.n) {
        u.has_query = true;
        u.query = span_of(s.p + i + 1, s.n - i - 1);
    }
    return u;
}

/* RFC 3986, 5.2.4, on whole segments. */
static void append_without_dots(str *out, const char *p, size_t n) {
    size_t base = out->len;
    for (size_t i = 0; i < n;) {
        size_t k = i + (p[i] == '/');
        size_t end = k;
        while (end < n && p[end] != '/')
            end++;
        span seg = span_of(p + k, end - k);
        bool last = end >= n;
        if (span_equal_string(seg, ".") || span_equal_string(seg, "..")) {
            if (seg.n == 2) {
                while (out->len > base && out->data[out->len - 1] != '/')
                    str_truncate(out, out->len - 1);
                if (out->len > base)
                    str_truncate(out, out->len - 1);
            }
            if (last)
                str_append_c(out, '/');
        } else {
            str_append(out, p + i, end - i);
        }
        i = end;
    }
}

static void uri_resolve(span base, span ref, str *out) {
    uri b = uri_split(base), r = uri_split(ref);
    uri t = r;
    str path = STR_INIT;
    if (!r.has_scheme) {
        t.scheme = b.scheme;
        t.has_scheme = b.has_scheme;
        if (!r.has_authority) {
            t.authority = b.authority;
            t.has_authority = b.has_authority;
            if (r.path.n == 0) {
                str_append(&path, b.path.p, b.path.n);
                if (!r.has_query)
                    t.query = b.query, t.has_query = b.has_query;
            } else if (r.path.p[0] != '/') {
                size_t slash = b.path.n;
                while (slash > 0 && b.path.p[slash - 1] != '/')
                    slash--;
                str_append(&path, b.path.p, slash);
                if (slash == 0 && b.has_authority)
                    str_append_c(&path, '/');
                str_append(&path, r.path.p, r.path.n);
            } else {
                str_append(&path, r.path.p, r.path.n);
            }
        } else {
            str_append(&path, r.path.p, r.path.n);
        }
    } else {
        str_append(&path, r.path.p, r.path.n);
    }
    if (t.has_scheme) {
        str_append(out, t.scheme.p, t.scheme.n);
        str_append_c(out, ':');
    }
    if (t.has_authority) {
        str_append_s(out, "//");
        str_append(out, t.authority.p, t.authority.n);
    }
    append_without_dots(out, str_get(&path), path.len);
    if (t.has_query) {
        str_append_c(out, '?');
        str_append(out, t.query.p, t.query.n);
    }
    out->failed |= path.failed;
    str_release(&path);
}

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
    x->places[slot] = (schema_place){schema, resource};
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

static constrain_draft draft_of(const json_t *schema, constrain_draft otherwise) {
    const char *s = json_get_string(schema, "$schema");
    if (!s)
        return otherwise;
    if (strstr(s, "draft-07") || strstr(s, "draft-06") || strstr(s, "draft-04"))
        return CONSTRAIN_DRAFT_7;
    return CONSTRAIN_DRAFT_2020_12;
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

static muga_status resource_add(schema_index *x, const json_t *root, const char *id, uint32_t parent, uint32_t *out,
                                muga_error *err) {
    if (x->n_resources == x->cap_resources) {
        uint32_t cap = x->cap_resources ? x->cap_resources * 2 : 4;
        schema_resource *v = mem_resize_array(x->resources, cap, sizeof *v);
        if (!v)
            return error_nomem(err, "a schema");
        x->resources = v;
        x->cap_resources = cap;
    }
    span base = span_of_string(x->n_resources ? x->resources[parent].uri : "");
    str text = STR_INIT;
    uri_resolve(base, span_of(id, strcspn(id, "#")), &text);
    char *text_copy = text.failed ? NULL : arena_copy_bytes(&x->a, str_get(&text), text.len);
    str_release(&text);
    if (!text_copy)
        return error_nomem(err, "a schema");
    constrain_draft d = draft_of(root, x->n_resources ? x->resources[parent].draft : x->draft);
    x->resources[x->n_resources] = (schema_resource){root, text_copy, d, 0};
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
            for (void *it = json_object_iter((json_t *)(uintptr_t)v); it;
                 it = json_object_iter_next((json_t *)(uintptr_t)v, it)) {
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
    bool draft7 = draft_of(schema, x->resources[resource].draft) == CONSTRAIN_DRAFT_7;
    bool only_ref = draft7 && json_get_string(schema, "$ref");
    if (id && !only_ref && id[0] != '#' && schema != x->resources[resource].root) {
        st = resource_add(x, schema, id, resource, &resource, err);
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

muga_status schema_index_init(schema_index *x, const json_t *schema, constrain_draft draft, muga_error *err) {
    memset(x, 0, sizeof *x);
    arena_init(&x->a, (size_t)64 << 20);
    x->draft = draft_of(schema, draft);
    const char *id = json_get_string(schema, "$id");
    if (id && x->draft == CONSTRAIN_DRAFT_7 && json_get_string(schema, "$ref"))
        id = NULL;
    uint32_t root;
    muga_status st = resource_add(x, schema, id ? id : "", 0, &root, err);
    if (st == MUGA_OK)
        st = walk(x, schema, root, 0, err);
    if (st != MUGA_OK)
        schema_index_release(x);
    return st;
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
        if (strcmp(x->resources[i].uri, address) == 0)
            return i;
    return UINT32_MAX;
}

static muga_status load_metaschema(schema_index *x, const char *address, uint32_t *found, muga_error *err) {
    const char *text = metaschema_text(address);
    json_t *v = NULL;
    if (!x->loaded && !(x->loaded = json_array()))
        return error_nomem(err, "a schema");
    muga_status st = json_parse(text, strlen(text), "schema of schemas", &v, err);
    if (st == MUGA_OK && json_array_append_new(x->loaded, v) != 0)
        st = error_nomem(err, "a schema");
    if (st == MUGA_OK)
        st = resource_add(x, v, address, 0, found, err);
    return st == MUGA_OK ? walk(x, v, *found, 0, err) : st;
}

muga_status schema_index_resolve(schema_index *x, uint32_t resource, const char *ref, const json_t **out,
                                 const char **anchor, muga_error *err) {
    *out = NULL;
    *anchor = NULL;
    str text = STR_INIT;
    size_t hash = strcspn(ref, "#");
    const char *fragment = ref[hash] ? ref + hash + 1 : "";
    uri_resolve(span_of_string(x->resources[resource].uri), span_of(ref, hash), &text);
    if (text.failed)
        return error_nomem(err, "a schema");
    uint32_t found = resource_find(x, str_get(&text));
    muga_status st = MUGA_OK;
    if (found == UINT32_MAX && metaschema_text(str_get(&text)))
        st = load_metaschema(x, str_get(&text), &found, err);
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
        return error_set(err, MUGA_E_INPUT, "schema: \"$ref\": \"%.120s\" leads to no schema in this document", ref);
    *out = target;
    return walk(x, target, found, 0, err);
}
