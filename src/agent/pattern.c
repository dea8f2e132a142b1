/* Patterns of a manifest (pattern.h). Owns: the compiled code and its limits. Refuses: to search without end. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "agent/pattern.h"

#include "base/mem.h"

#include <pcre2.h>
#include <stdio.h>

#define MATCH_EFFORT 100000 /* PCRE2 match steps per search */
#define MATCH_DEPTH 1000    /* of nested backtracking */
#define HEAP_KIB 4096

struct pattern {
    pcre2_code *code;
    pcre2_match_context *limits;
};

muga_status pattern_new(const char *source, pattern **out, muga_error *err) {
    int code = 0;
    PCRE2_SIZE at = 0;
    pattern *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p) {
        return error_nomem(err, "a pattern");
    }
    muga_status st = MUGA_OK;
    p->code = pcre2_compile((PCRE2_SPTR)source, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);
    p->limits = p->code ? pcre2_match_context_create(NULL) : NULL;
    if (!p->code && code != PCRE2_ERROR_HEAP_FAILED) {
        char why[120] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        st = error_set(err, MUGA_E_INPUT, "byte %zu: %s", (size_t)at, why);
    } else if (!p->limits) {
        st = error_nomem(err, "a pattern");
    } else {
        pcre2_set_match_limit(p->limits, MATCH_EFFORT);
        pcre2_set_depth_limit(p->limits, MATCH_DEPTH);
        pcre2_set_heap_limit(p->limits, HEAP_KIB);
        *out = p;
        return MUGA_OK;
    }
    pattern_free(p);
    return st;
}

void pattern_free(pattern *p) {
    if (!p) {
        return;
    }
    pcre2_match_context_free(p->limits);
    pcre2_code_free(p->code);
    free(p);
}

/* The table of names: each entry is the group's number in two bytes, then its name, terminated. */
static muga_status read_groups(const pattern *p, pcre2_match_data *data, const char *text, json_t **out,
                               muga_error *err) {
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(data);
    uint32_t n_names = 0, entry_bytes = 0;
    PCRE2_SPTR entry = NULL;
    json_t *groups = json_object();
    bool ok = groups != NULL;
    pcre2_pattern_info(p->code, PCRE2_INFO_NAMECOUNT, &n_names);
    pcre2_pattern_info(p->code, PCRE2_INFO_NAMEENTRYSIZE, &entry_bytes);
    pcre2_pattern_info(p->code, PCRE2_INFO_NAMETABLE, &entry);
    for (uint32_t i = 0; ok && i < n_names; i++, entry += entry_bytes) {
        size_t g = (size_t)entry[0] << 8 | entry[1], from = v[2 * g], to = v[2 * g + 1];
        const char *name = (const char *)entry + 2;
        bool set = from != PCRE2_UNSET && from <= to, twice = json_is_string(json_object_get(groups, name));
        if (set || !twice) { /* with (?|...) one name may have several numbers: the one that took part counts */
            ok = json_object_set_new(groups, name, set ? json_stringn(text + from, to - from) : json_null()) == 0;
        }
    }
    if (!ok) {
        json_decref(groups);
        return error_nomem(err, "a pattern's groups");
    }
    *out = groups;
    return MUGA_OK;
}

muga_status pattern_match(const pattern *p, const char *text, size_t n, json_t **groups, muga_error *err) {
    *groups = NULL;
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(p->code, NULL);
    if (!data) {
        return error_nomem(err, "a match");
    }
    int rc = pcre2_match(p->code, (PCRE2_SPTR)text, n, 0, 0, data, p->limits);
    muga_status st = MUGA_OK;
    if (rc > 0) {
        st = read_groups(p, data, text, groups, err);
    } else if (rc == PCRE2_ERROR_NOMEMORY) {
        st = error_nomem(err, "a match");
    } else if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT) {
        st = error_set(err, MUGA_E_LIMIT, "the pattern took more than %d steps", MATCH_EFFORT);
    } else if (rc != PCRE2_ERROR_NOMATCH) {
        st = error_set(err, MUGA_E_INPUT, "the pattern can't read this text (PCRE2 error %d)", rc);
    }
    pcre2_match_data_free(data);
    return st;
}
