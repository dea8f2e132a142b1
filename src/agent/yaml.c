/* YAML 1.2, core schema, as JSON. Owns: the mapping of scalars, and the places. Refuses by file, line and column:
 * aliases, anchors, tags, directives, merge keys, duplicate keys, keys that are not strings or hold NUL, several
 * documents, more than YAML_MAX_BYTES, nesting past YAML_MAX_DEPTH, numbers JSON can't hold.
 *
 * Idea: libyaml's events drive an explicit stack, so depth costs no recursion; a value's JSON pointer is kept as one
 * string that grows and shrinks with the stack, and is the key under which the line is noted. */
#include "agent/agent.h"

#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <yaml.h>

#define YAML_MAX_BYTES ((size_t)1 << 20)
#define YAML_MAX_DEPTH 32
#define YAML_MAX_NODES 100000
#define PLACE_COLUMNS ((size_t)1 << 16) /* a place is line * this + column */

typedef struct yaml_level {
    json_t *node;    /* owned by the level until it is attached to its parent */
    json_t *key;     /* object: the key read, its value awaited */
    size_t path_len; /* of the pointer of this node */
    bool is_object;
} yaml_level;

typedef struct yaml_reader {
    yaml_parser_t parser;
    const char *file;
    json_t *root, *places;
    bool with_columns; /* in `places` */
    yaml_level stack[YAML_MAX_DEPTH];
    int depth;
    size_t n_nodes;
    str path;
    muga_error *err;
} yaml_reader;

static muga_status refuse(yaml_reader *r, yaml_mark_t at, const char *what) {
    return error_set(r->err, MUGA_E_INPUT, "%s:%zu:%zu: %s", r->file, at.line + 1, at.column + 1, what);
}

/* ---- scalars (YAML 1.2.2, 10.3.2) ---- */

static bool is_one_of(span s, const char *a, const char *b, const char *c) {
    return span_equal_string(s, a) || span_equal_string(s, b) || span_equal_string(s, c);
}

static bool all_digits(const char *p, const char *digits) {
    return *p && p[strspn(p, digits)] == '\0';
}

static bool looks_integer(const char *p) {
    if (p[0] == '0' && p[1] == 'o') {
        return all_digits(p + 2, "01234567");
    }
    if (p[0] == '0' && p[1] == 'x') {
        return all_digits(p + 2, "0123456789abcdefABCDEF");
    }
    return all_digits(p + (*p == '-' || *p == '+'), "0123456789");
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool looks_float(const char *p) {
    p += *p == '-' || *p == '+';
    size_t whole = strspn(p, "0123456789"), part = 0;
    p += whole;
    if (*p == '.') {
        part = strspn(++p, "0123456789");
        p += part;
    }
    if (whole + part == 0) {
        return false;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        return all_digits(p, "0123456789");
    }
    return *p == '\0';
}

static bool looks_special(const char *p) {
    p += *p == '-' || *p == '+';
    span s = span_of_string(p);
    return is_one_of(s, ".inf", ".Inf", ".INF") || is_one_of(s, ".nan", ".NaN", ".NAN");
}

static muga_status read_integer(yaml_reader *r, const char *p, yaml_mark_t at, json_t **out) {
    bool octal = p[0] == '0' && p[1] == 'o', hex = p[0] == '0' && p[1] == 'x';
    errno = 0;
    long long v = octal || hex ? strtoll(p + 2, NULL, octal ? 8 : 16) : strtoll(p, NULL, 10);
    if (errno == ERANGE) {
        return refuse(r, at, "a whole number past 64 bits; quote it if it is text");
    }
    *out = json_integer(v);
    return *out ? MUGA_OK : error_nomem(r->err, r->file);
}

static muga_status read_float(yaml_reader *r, const char *p, yaml_mark_t at, json_t **out) {
    /* json_parse reads the number independently of the locale; YAML's forms are brought to JSON's first */
    str text = STR_INIT;
    str_append_s(&text, *p == '-' ? "-" : "");
    p += *p == '-' || *p == '+';
    while (p[0] == '0' && p[1] >= '0' && p[1] <= '9') {
        p++;
    }
    str_append_s(&text, *p == '.' ? "0" : "");
    for (; *p; p++) {
        str_append_c(&text, *p);
        if (*p == '.' && (p[1] < '0' || p[1] > '9')) {
            str_append_c(&text, '0');
        }
    }
    muga_status st = str_status(&text, r->err, r->file);
    if (st == MUGA_OK) {
        st = json_parse(str_get(&text), text.len, r->file, out, NULL);
        if (st == MUGA_E_INPUT) {
            st = refuse(r, at, "a number past what 64-bit floating point can hold; quote it if it is text");
        }
    }
    str_release(&text);
    return st;
}

static muga_status read_scalar(yaml_reader *r, const yaml_event_t *e, json_t **out) {
    const char *p = (const char *)e->data.scalar.value;
    size_t n = e->data.scalar.length;
    yaml_mark_t at = e->start_mark;
    span s = span_of(p, n);
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strlen(p) == n;
    if (plain && (n == 0 || span_equal_string(s, "~") || is_one_of(s, "null", "Null", "NULL"))) {
        *out = json_null();
    } else if (plain && is_one_of(s, "true", "True", "TRUE")) {
        *out = json_true();
    } else if (plain && is_one_of(s, "false", "False", "FALSE")) {
        *out = json_false();
    } else if (plain && looks_integer(p)) {
        return read_integer(r, p, at, out);
    } else if (plain && looks_float(p)) {
        return read_float(r, p, at, out);
    } else if (plain && looks_special(p)) {
        return refuse(r, at, "infinity and not-a-number can't be said in JSON; quote it if it is text");
    } else {
        *out = json_stringn(p, n);
    }
    return *out ? MUGA_OK : error_nomem(r->err, r->file);
}

/* ---- building ---- */

/* Append "/token" to the pointer, escaped as RFC 6901 says. */
static void path_push(str *path, const char *p, size_t n) {
    str_append_c(path, '/');
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '~' || p[i] == '/') {
            str_append_s(path, p[i] == '~' ? "~0" : "~1");
        } else {
            str_append_c(path, p[i]);
        }
    }
}

static muga_status note_place(yaml_reader *r, const yaml_event_t *e) {
    muga_status st = str_status(&r->path, r->err, r->file);
    if (st != MUGA_OK) {
        return st;
    }
    const char *pointer = str_get(&r->path);
    json_int_t place = (json_int_t)e->start_mark.line + 1;
    if (r->with_columns) {
        place = place * PLACE_COLUMNS + (json_int_t)MIN(e->start_mark.column + 1, PLACE_COLUMNS - 1);
    }
    return json_object_setn_new_nocheck(r->places, pointer, r->path.len, json_integer(place)) == 0
               ? MUGA_OK
               : error_nomem(r->err, r->file);
}

/* Put `node` (taken) where the document stands. The pointer names it already. */
static muga_status attach(yaml_reader *r, json_t *node) {
    if (r->depth == 0) {
        r->root = node;
        return MUGA_OK;
    }
    yaml_level *up = &r->stack[r->depth - 1];
    int rc;
    if (up->is_object) {
        rc = json_object_setn_new_nocheck(up->node, json_string_value(up->key), json_string_length(up->key), node);
        json_decref(up->key);
        up->key = NULL;
    } else {
        rc = json_array_append_new(up->node, node);
    }
    str_truncate(&r->path, up->path_len);
    return rc == 0 ? MUGA_OK : error_nomem(r->err, r->file);
}

static muga_status take_key(yaml_reader *r, yaml_level *up, const yaml_event_t *e) {
    yaml_mark_t at = e->start_mark;
    if (e->type != YAML_SCALAR_EVENT) {
        return refuse(r, at, "a key must be text");
    }
    json_t *key = NULL;
    muga_status st = read_scalar(r, e, &key);
    if (st != MUGA_OK) {
        return st;
    }
    const char *text = json_string_value(key);
    if (!text) {
        st = refuse(r, at, "a key must be text; quote it");
    } else if (strlen(text) != json_string_length(key)) {
        st = refuse(r, at, "NUL in a key; remove it");
    } else if (strcmp(text, "<<") == 0) {
        st = refuse(r, at, "merge keys (<<) are not taken; write the keys out");
    } else if (json_object_getn(up->node, text, json_string_length(key))) {
        st = error_set(r->err, MUGA_E_INPUT, "%s:%zu:%zu: key '%.60s' stands here twice; remove one", r->file,
                       at.line + 1, at.column + 1, text);
    }
    if (st != MUGA_OK) {
        json_decref(key);
        return st;
    }
    up->key = key;
    path_push(&r->path, text, json_string_length(key));
    return note_place(r, e);
}

/* The place of a value that begins here: for a sequence item the pointer grows by its index. */
static muga_status place_value(yaml_reader *r, const yaml_event_t *e) {
    if (r->depth == 0) {
        return note_place(r, e);
    }
    yaml_level *up = &r->stack[r->depth - 1];
    if (up->is_object) {
        return MUGA_OK; /* noted with its key */
    }
    char index[24];
    int n = snprintf(index, sizeof index, "%zu", json_array_size(up->node));
    path_push(&r->path, index, (size_t)n);
    return note_place(r, e);
}

static muga_status open_collection(yaml_reader *r, bool is_object, yaml_mark_t at) {
    if (r->depth == YAML_MAX_DEPTH) {
        return refuse(r, at, "nested deeper than 32 levels; flatten it");
    }
    json_t *node = is_object ? json_object() : json_array();
    if (!node) {
        return error_nomem(r->err, r->file);
    }
    r->stack[r->depth++] = (yaml_level){.node = node, .path_len = r->path.len, .is_object = is_object};
    return MUGA_OK;
}

static muga_status close_collection(yaml_reader *r) {
    json_t *node = r->stack[--r->depth].node;
    str_truncate(&r->path, r->stack[r->depth].path_len);
    return attach(r, node);
}

static muga_status take_value(yaml_reader *r, const yaml_event_t *e) {
    yaml_mark_t at = e->start_mark;
    if (++r->n_nodes > YAML_MAX_NODES) {
        return refuse(r, at, "more than 100000 values; make it smaller");
    }
    yaml_level *up = r->depth > 0 ? &r->stack[r->depth - 1] : NULL;
    if (up && up->is_object && !up->key) {
        return take_key(r, up, e);
    }
    muga_status st = place_value(r, e);
    if (st != MUGA_OK) {
        return st;
    }
    if (e->type != YAML_SCALAR_EVENT) {
        return open_collection(r, e->type == YAML_MAPPING_START_EVENT, at);
    }
    json_t *v = NULL;
    st = read_scalar(r, e, &v);
    return st == MUGA_OK ? attach(r, v) : st;
}

/* Anchors and tags may stand on any node. */
static muga_status check_properties(yaml_reader *r, const yaml_event_t *e) {
    const unsigned char *anchor = NULL, *tag = NULL;
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    if (anchor) {
        return refuse(r, e->start_mark, "anchors (&name) are not taken; write the value out where it is used");
    }
    return tag ? refuse(r, e->start_mark, "tags (!name) are not taken; remove it") : MUGA_OK;
}

static muga_status take_event(yaml_reader *r, const yaml_event_t *e, bool *more) {
    muga_status st = check_properties(r, e);
    if (st != MUGA_OK) {
        return st;
    }
    switch (e->type) {
    case YAML_SCALAR_EVENT:
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT: return take_value(r, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return close_collection(r);
    case YAML_ALIAS_EVENT: return refuse(r, e->start_mark, "aliases (*name) are not taken; write the value out");
    case YAML_DOCUMENT_START_EVENT:
        if (r->root) {
            return refuse(r, e->start_mark, "a second document begins here; one file holds one document");
        }
        if (e->data.document_start.version_directive ||
            e->data.document_start.tag_directives.start != e->data.document_start.tag_directives.end) {
            return refuse(r, e->start_mark, "directives (%YAML, %TAG) are not taken; remove them");
        }
        return MUGA_OK;
    case YAML_STREAM_END_EVENT: *more = false; return MUGA_OK;
    default: return MUGA_OK;
    }
}

static muga_status parser_fault(yaml_reader *r) {
    if (r->parser.error == YAML_MEMORY_ERROR) {
        return error_nomem(r->err, r->file);
    }
    yaml_mark_t at = r->parser.problem_mark;
    if (r->parser.error == YAML_READER_ERROR) { /* no mark, only an offset */
        return error_set(r->err, MUGA_E_INPUT, "%s: byte %zu: %s; save it as UTF-8 text", r->file,
                         r->parser.problem_offset, r->parser.problem ? r->parser.problem : "unreadable");
    }
    return error_set(r->err, MUGA_E_INPUT, "%s:%zu:%zu: %s", r->file, at.line + 1, at.column + 1,
                     r->parser.problem ? r->parser.problem : "not YAML");
}

static muga_status parse(const char *p, size_t n, const char *file, bool with_columns, json_t **out, json_t **places,
                         muga_error *err) {
    *out = NULL;
    if (places) {
        *places = NULL;
    }
    if (n > YAML_MAX_BYTES) {
        return error_set(err, MUGA_E_INPUT, "%s: %zu bytes; it may hold at most %zu", file, n, YAML_MAX_BYTES);
    }
    yaml_reader *r = calloc(1, sizeof *r);
    if (!r || !yaml_parser_initialize(&r->parser)) {
        free(r);
        return error_nomem(err, file);
    }
    r->file = file;
    r->err = err;
    r->with_columns = with_columns;
    r->places = json_object();
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)p, n);
    muga_status st = r->places ? MUGA_OK : error_nomem(err, file);
    for (bool more = true; st == MUGA_OK && more;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&r->parser, &e)) {
            st = parser_fault(r);
            break;
        }
        st = take_event(r, &e, &more);
        yaml_event_delete(&e);
    }
    if (st == MUGA_OK && !r->root) {
        st = error_set(err, MUGA_E_INPUT, "%s: empty", file);
    }
    if (st == MUGA_OK) {
        *out = json_incref(r->root);
        if (places) {
            *places = json_incref(r->places);
        }
    }
    for (int i = 0; i < r->depth; i++) {
        json_decref(r->stack[i].node);
        json_decref(r->stack[i].key);
    }
    json_decref(r->root);
    json_decref(r->places);
    str_release(&r->path);
    yaml_parser_delete(&r->parser);
    free(r);
    return st;
}

muga_status yaml_parse(const char *p, size_t n, const char *file, json_t **out, json_t **lines, muga_error *err) {
    return parse(p, n, file, false, out, lines, err);
}

muga_status yaml_parse_places(const char *p, size_t n, const char *file, json_t **out, json_t **places,
                              muga_error *err) {
    return parse(p, n, file, true, out, places, err);
}

int64_t yaml_line(const json_t *places, const char *pointer) {
    return MAX(json_get_int(places, pointer, 0) / PLACE_COLUMNS, 1);
}

int64_t yaml_column(const json_t *places, const char *pointer) {
    return MAX(json_get_int(places, pointer, 0) % PLACE_COLUMNS, 1);
}
