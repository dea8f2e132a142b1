/* tojson and from_json: JSON as Python's json.dumps writes it (", " and ": ", ASCII escapes optional). */
#include "base/utf8.h"
#include "model/template_internal.h"

typedef struct json_style {
    bool ascii, sort_keys;
    int indent;             /* spaces a level; -1 = one line */
    const char *item, *key; /* separators */
} json_style;

static void write_escaped(uint32_t cp, str *out) {
    if (cp >= 0x10000) {
        cp -= 0x10000;
        str_printf(out, "\\u%04x\\u%04x", 0xd800 + (cp >> 10), 0xdc00 + (cp & 0x3ff));
    } else {
        str_printf(out, "\\u%04x", cp);
    }
}

static void write_text(tv v, bool ascii, str *out) {
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    str_append_c(out, '"');
    for (size_t i = 0; i < v.n_str;) {
        unsigned char c = (unsigned char)v.u.s[i];
        const char *f = c ? strchr(from, c) : NULL;
        uint32_t cp;
        size_t k = c < 0x80 ? 1 : utf8_decode(v.u.s + i, v.n_str - i, &cp);
        if (f) {
            str_append_c(out, '\\');
            str_append_c(out, to[f - from]);
        } else if (c < 0x20) {
            write_escaped(c, out);
        } else if (c >= 0x80 && ascii) {
            write_escaped(k ? cp : 0xfffd, out);
        } else {
            str_append(out, v.u.s + i, k ? k : 1);
        }
        i += k ? k : 1;
    }
    str_append_c(out, '"');
}

static void write_break(const json_style *s, int level, str *out) {
    if (s->indent < 0)
        return;
    str_append_c(out, '\n');
    for (int i = 0; i < s->indent * level; i++)
        str_append_c(out, ' ');
}

static void write_value(interp *in, tv v, const json_style *s, int level, str *out);

static void write_key(interp *in, tv key, const json_style *s, str *out) {
    if (key.kind == TV_STRING) {
        write_text(key, s->ascii, out);
    } else if (key.kind == TV_INT || key.kind == TV_FLOAT) {
        str_append_c(out, '"');
        tv_write(in, key, out);
        str_append_c(out, '"');
    } else if (key.kind == TV_BOOL || key.kind == TV_NONE) {
        str_append_s(out, key.kind == TV_NONE ? "\"null\"" : key.u.b ? "\"true\"" : "\"false\"");
    } else {
        interp_fail(in, MUGA_E_INPUT, "keys must be str, int, float, bool or None, not %s", tv_kind_name(key));
    }
}

/* Order of the keys: as inserted, or sorted (insertion sort: charged, so bounded by the step budget). */
static size_t *key_order(interp *in, const tv_dict *d, bool sorted) {
    size_t *order = interp_alloc(in, d->n * sizeof *order);
    for (size_t i = 0; order && i < d->n; i++) {
        size_t k = i;
        while (sorted && k > 0 && tv_compare(in, d->keys[order[k - 1]], d->keys[i]) > 0) {
            order[k] = order[k - 1];
            k--;
        }
        order[k] = i;
    }
    return order;
}

static void write_dict(interp *in, const tv_dict *d, const json_style *s, int level, str *out) {
    size_t *order = key_order(in, d, s->sort_keys);
    str_append_c(out, '{');
    for (size_t i = 0; i < d->n && !interp_failed(in); i++) {
        if (i)
            str_append_s(out, s->item);
        write_break(s, level + 1, out);
        write_key(in, d->keys[order[i]], s, out);
        str_append_s(out, s->key);
        write_value(in, d->values[order[i]], s, level + 1, out);
    }
    if (d->n)
        write_break(s, level, out);
    str_append_c(out, '}');
}

static void write_value(interp *in, tv v, const json_style *s, int level, str *out) {
    if (!interp_charge(in, 1 + (v.kind == TV_STRING ? v.n_str / 64 : 0)))
        return;
    switch (v.kind) {
    case TV_NONE: str_append_s(out, "null"); break;
    case TV_BOOL: str_append_s(out, v.u.b ? "true" : "false"); break;
    case TV_INT: tv_write(in, v, out); break;
    case TV_FLOAT:
        if (v.u.d != v.u.d)
            str_append_s(out, "NaN");
        else if (v.u.d - v.u.d != 0)
            str_append_s(out, v.u.d < 0 ? "-Infinity" : "Infinity");
        else
            tv_write(in, v, out);
        break;
    case TV_STRING: write_text(v, s->ascii, out); break;
    case TV_LIST:
    case TV_TUPLE:
        str_append_c(out, '[');
        for (size_t i = 0; i < v.u.list->n && !interp_failed(in); i++) {
            if (i)
                str_append_s(out, s->item);
            write_break(s, level + 1, out);
            write_value(in, v.u.list->v[i], s, level + 1, out);
        }
        if (v.u.list->n)
            write_break(s, level, out);
        str_append_c(out, ']');
        break;
    case TV_DICT: write_dict(in, v.u.dict, s, level, out); break;
    default: interp_fail(in, MUGA_E_INPUT, "Object of type %s is not JSON serializable", tv_kind_name(v));
    }
}

void template_write_json(interp *in, tv v, bool ascii, int indent, bool sort_keys, const char *item_separator,
                         const char *key_separator, str *out) {
    json_style s = {ascii, sort_keys, indent,
                    item_separator ? item_separator
                    : indent >= 0  ? ","
                                   : ", ",
                    key_separator ? key_separator : ": "};
    write_value(in, v, &s, 0, out);
}
