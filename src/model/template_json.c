/* tojson: JSON as Python's json.dumps writes it (", " and ": ", ASCII escapes optional). Refuses values that JSON
 * doesn't have, by type. */
#include "base/utf8.h"
#include "model/template_internal.h"

static void write_escaped(uint32_t cp, str *out) {
    if (cp >= 0x10000) {
        cp -= 0x10000;
        str_printf(out, "\\u%04x\\u%04x", 0xd800 + (cp >> 10), 0xdc00 + (cp & 0x3ff));
    } else {
        str_printf(out, "\\u%04x", cp);
    }
}

static void write_text(interp *in, tv v, bool ascii, str *out) {
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    if (!interp_charge_scan(in, v.n_str))
        return;
    str_append_c(out, '"');
    for (size_t i = 0, plain = 0; i <= v.n_str;) {
        /* What needs no escape goes out in one piece. */
        uint8_t c = i < v.n_str ? (uint8_t)v.u.s[i] : 0;
        bool special = i == v.n_str || c < 0x20 || c == '"' || c == '\\' || (ascii && c >= 0x7F);
        if (!special) {
            i++;
            continue;
        }
        str_append(out, v.u.s + plain, i - plain);
        if (i == v.n_str)
            break;
        uint32_t cp;
        const char *f = c ? strchr(from, c) : NULL;
        size_t k = c < 0x80 ? 1 : utf8_decode(v.u.s + i, v.n_str - i, &cp);
        if (!interp_charge(in, f ? 1 : 8))
            return;
        if (f)
            str_append(out, (const char[]){'\\', to[f - from]}, 2);
        else
            write_escaped(c < 0x80 ? c : k ? cp : 0xfffd, out);
        i += k ? k : 1;
        plain = i;
    }
    str_append_c(out, '"');
}

static void write_break(interp *in, const json_style *s, int level, str *out) {
    if (!s->indent)
        return;
    str_append_c(out, '\n');
    size_t n = strlen(s->indent);
    interp_charge(in, (size_t)level * (1 + n / TEMPLATE_STEP_BYTES) / 8);
    for (int i = 0; i < level && !interp_failed(in); i++)
        str_append(out, s->indent, n);
}

static void write_float(double d, str *out) {
    if (d != d)
        str_append_s(out, "NaN");
    else if (d - d != 0)
        str_append_s(out, d < 0 ? "-Infinity" : "Infinity");
    else
        tv_write_float(d, out);
}

static void write_key(interp *in, tv key, const json_style *s, str *out) {
    if (key.kind == TV_STRING) {
        write_text(in, key, s->ascii, out);
    } else if (key.kind == TV_INT || key.kind == TV_FLOAT) {
        str_append_c(out, '"');
        if (key.kind == TV_INT)
            tv_write(in, key, out);
        else
            write_float(key.u.d, out);
        str_append_c(out, '"');
    } else if (key.kind == TV_BOOL || key.kind == TV_NONE) {
        str_append_s(out, key.kind == TV_NONE ? "\"null\"" : key.u.b ? "\"true\"" : "\"false\"");
    } else {
        interp_fail(in, MUGA_E_INPUT, "keys must be str, int, float, bool or None, not %s", tv_kind_name(key));
    }
}

/* The pairs, in order of their keys. */
static tv sorted_pairs(interp *in, tv dict) {
    static const char *const names[] = {"reverse", "case_sensitive"};
    const tv named[] = {tv_bool(false), tv_bool(true)};
    const call_args args = {.names = names, .named = named, .n_named = 2};
    dict.kind = TV_VIEW;
    dict.form = FORM_ITEMS;
    return template_filter(in, template_filter_find("sort"), dict, &args);
}

static void write_dict(interp *in, tv v, const json_style *s, int level, str *out) {
    const tv_dict *d = v.u.dict;
    tv pairs = s->sort_keys ? sorted_pairs(in, v) : TV_UNDEF;
    str_append_c(out, '{');
    for (size_t i = 0; i < d->n && !interp_failed(in); i++) {
        const tv *pair = s->sort_keys ? pairs.u.list->v[i].u.list->v : NULL;
        if (i)
            str_append_s(out, s->item);
        write_break(in, s, level + 1, out);
        write_key(in, pair ? pair[0] : d->keys[i], s, out);
        str_append_s(out, s->key);
        template_write_json(in, pair ? pair[1] : d->values[i], s, level + 1, out);
    }
    if (d->n)
        write_break(in, s, level, out);
    str_append_c(out, '}');
}

static void write_list(interp *in, const tv_list *l, const json_style *s, int level, str *out) {
    str_append_c(out, '[');
    for (size_t i = 0; i < l->n && !interp_failed(in); i++) {
        if (i)
            str_append_s(out, s->item);
        write_break(in, s, level + 1, out);
        template_write_json(in, l->v[i], s, level + 1, out);
    }
    if (l->n)
        write_break(in, s, level, out);
    str_append_c(out, ']');
}

void template_write_json(interp *in, tv v, const json_style *s, int level, str *out) {
    if (!interp_charge(in, 1) || !interp_enter(in))
        return;
    switch (v.kind) {
    case TV_NONE: str_append_s(out, "null"); break;
    case TV_BOOL: str_append_s(out, v.u.b ? "true" : "false"); break;
    case TV_INT: tv_write(in, v, out); break;
    case TV_FLOAT: interp_charge(in, TEMPLATE_STEPS_FLOAT), write_float(v.u.d, out); break;
    case TV_STRING: write_text(in, v, s->ascii, out); break;
    case TV_LIST:
    case TV_TUPLE: write_list(in, v.u.list, s, level, out); break;
    case TV_DICT: write_dict(in, v, s, level, out); break;
    default: interp_fail(in, MUGA_E_INPUT, "Object of type %s is not JSON serializable", tv_kind_name(v));
    }
    in->depth--;
}
