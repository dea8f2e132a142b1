/* Rules by which what a person wrote also counts as a value (normalise.h). Owns: compiling and applying them. Refuses:
 * a rule without match or value, a regex that doesn't compile or matches nothing at some length of effort. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "agent/normalise.h"

#include "agent/internal.h"

#include <pcre2.h>
#include <stdio.h>

#define MATCH_EFFORT 100000 /* PCRE2 match steps per search */
#define MAX_VALUES 256      /* derived from one text */

typedef struct rule {
    pcre2_code *code;
    const char *value;
} rule;

struct normaliser {
    rule *rules;
    size_t n;
    pcre2_match_context *limits;
};

/* "agent.yaml:LINE: key tools[0].parameters.properties.NAME.normalise: ..." */
static muga_status rule_fail(const manifest *m, size_t i_tool, const char *name, muga_error *err, const char *text) {
    const check_place at = {"agent.yaml", m->places};
    str pointer = STR_INIT;
    str_printf(&pointer, "/tools/%zu/parameters/properties", i_tool);
    check_push_token(&pointer, name);
    check_push_token(&pointer, "normalise");
    muga_status st = check_fail(&at, MUGA_E_INPUT, str_get(&pointer), err, "%s", text);
    str_release(&pointer);
    return st;
}

static muga_status add_rule(normaliser *n, const manifest *m, size_t i_tool, const char *name, const json_t *spec,
                            muga_error *err) {
    const char *match = json_get_string(spec, "match"), *value = json_get_string(spec, "value");
    if (!match || !value || json_object_size(spec) != 2) {
        return rule_fail(m, i_tool, name, err, "needs match and value, both text, and nothing else");
    }
    rule *rules = mem_resize_array(n->rules, n->n + 1, sizeof *rules);
    if (!rules) {
        return error_nomem(err, "normalise");
    }
    n->rules = rules;
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)match, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);
    if (!compiled) {
        char why[120] = "", text[200];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        snprintf(text, sizeof text, "match, byte %zu: %s", (size_t)at, why);
        return rule_fail(m, i_tool, name, err, text);
    }
    rules[n->n++] = (rule){compiled, value};
    return MUGA_OK;
}

muga_status normaliser_new(const manifest *m, normaliser **out, muga_error *err) {
    normaliser *n = calloc(1, sizeof *n);
    if (!n) {
        return error_nomem(err, "normalise");
    }
    muga_status st = MUGA_OK;
    n->limits = pcre2_match_context_create(NULL);
    if (!n->limits) {
        st = error_nomem(err, "normalise");
    } else {
        pcre2_set_match_limit(n->limits, MATCH_EFFORT);
    }
    for (size_t i = 0; i < m->n_tools; i++) {
        const char *name;
        json_t *schema;
        json_object_foreach(json_object_get(m->tools[i].parameters, "properties"), name, schema) {
            const json_t *spec = json_object_get(schema, "normalise");
            const char *from = json_get_string(schema, "from");
            if (st == MUGA_OK && spec && (!from || strcmp(from, "conversation") != 0)) {
                st = rule_fail(m, i, name, err,
                               "says what a person's words mean; it needs from: conversation beside it");
            } else if (st == MUGA_OK && spec) {
                st = add_rule(n, m, i, name, spec, err);
            }
        }
    }
    if (st == MUGA_OK) {
        *out = n;
    } else {
        normaliser_free(n);
    }
    return st;
}

void normaliser_free(normaliser *n) {
    if (!n) {
        return;
    }
    for (size_t i = 0; i < n->n; i++) {
        pcre2_code_free(n->rules[i].code);
    }
    pcre2_match_context_free(n->limits);
    free(n->rules);
    free(n);
}

/* Each match of one rule: visit(ctx, ovector). An empty match is passed over. */
typedef muga_status (*visit_match)(void *ctx, const rule *r, const char *text, const PCRE2_SIZE *v, uint32_t n_groups,
                                   muga_error *err);
static muga_status each_match(const normaliser *n, const rule *r, const char *text, size_t n_text, visit_match visit,
                              void *ctx, muga_error *err) {
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(r->code, NULL);
    if (!data) {
        return error_nomem(err, "normalise");
    }
    muga_status st = MUGA_OK;
    size_t at = 0, n_found = 0;
    while (st == MUGA_OK && at <= n_text && n_found < MAX_VALUES) {
        int rc = pcre2_match(r->code, (PCRE2_SPTR)text, n_text, at, 0, data, n->limits);
        if (rc == PCRE2_ERROR_NOMATCH) {
            break;
        }
        if (rc == PCRE2_ERROR_NOMEMORY) {
            st = error_nomem(err, "normalise");
            break;
        }
        if (rc < 0) {
            st = error_set(err, MUGA_E_LIMIT, "a normalise rule took too long on a text; make its regex simpler");
            break;
        }
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(data);
        if (v[1] <= v[0]) {
            at = v[0] + 1;
            while (at < n_text && ((unsigned char)text[at] & 0xC0) == 0x80) {
                at++;
            }
            continue;
        }
        st = visit(ctx, r, text, v, (uint32_t)rc, err);
        at = v[1];
        n_found++;
    }
    pcre2_match_data_free(data);
    return st;
}

static muga_status append_value(void *ctx, const rule *r, const char *text, const PCRE2_SIZE *v, uint32_t n_groups,
                                muga_error *err) {
    str value = STR_INIT;
    for (const char *p = r->value; *p; p++) {
        bool group = p[0] == '$' && p[1] >= '0' && p[1] <= '9';
        if (!group) {
            str_append_c(&value, *p);
            continue;
        }
        uint32_t g = (uint32_t)(*++p - '0');
        if (g < n_groups && v[2 * g] != PCRE2_UNSET) {
            str_append(&value, text + v[2 * g], v[2 * g + 1] - v[2 * g]);
        }
    }
    int rc = value.failed ? -1 : json_array_append_new(ctx, json_stringn(str_get(&value), value.len));
    str_release(&value);
    return rc == 0 ? MUGA_OK : error_nomem(err, "normalise");
}

muga_status normaliser_values(const normaliser *n, const char *text, size_t n_text, json_t *out, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < n->n; i++) {
        st = each_match(n, &n->rules[i], text, n_text, append_value, out, err);
    }
    return st;
}

typedef struct masking {
    str *out;
    size_t at;
    const char *word;
} masking;

static muga_status mask_one(void *ctx, const rule *r, const char *text, const PCRE2_SIZE *v, uint32_t n_groups,
                            muga_error *err) {
    masking *m = ctx;
    (void)r;
    (void)n_groups;
    (void)err;
    str_append(m->out, text + m->at, v[0] - m->at);
    str_append_s(m->out, m->word);
    m->at = v[1];
    return MUGA_OK;
}

muga_status normaliser_mask(const normaliser *n, const char *text, size_t n_text, const char *word, str *out,
                            muga_error *err) {
    str text_now = STR_INIT;
    str_append(&text_now, text, n_text);
    muga_status st = str_status(&text_now, err, "a message");
    for (size_t i = 0; st == MUGA_OK && i < n->n; i++) {
        str next = STR_INIT;
        masking m = {&next, 0, word};
        st = each_match(n, &n->rules[i], str_get(&text_now), text_now.len, mask_one, &m, err);
        str_append(&next, str_get(&text_now) + m.at, text_now.len - m.at);
        str_release(&text_now);
        text_now = next;
        st = st == MUGA_OK ? str_status(&text_now, err, "a message") : st;
    }
    if (st == MUGA_OK) {
        str_append(out, str_get(&text_now), text_now.len);
        st = str_status(out, err, "a message");
    }
    str_release(&text_now);
    return st;
}
