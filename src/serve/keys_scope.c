/* What a key may. Owns: the text of scopes, and patterns. Refuses: an entry of no kind, a pattern that no name fits.
 *
 * Idea: an entry that isn't understood is an error and never a name, so that a slip of the pen can't widen a right. */
#include "serve/keys_internal.h"

#include <stdio.h>

static const struct {
    const char *word;
    bool has_pattern;
} kinds[N_SCOPES] = {
    [SCOPE_MODELS] = {"models", true},   [SCOPE_AGENTS] = {"agents", true}, [SCOPE_TOOLS] = {"tools", true},
    [SCOPE_APPROVE] = {"approve", true}, [SCOPE_AUDIT] = {"audit", false},  [SCOPE_METRICS] = {"metrics", false},
    [SCOPE_ADMIN] = {"admin", false},
};

static bool is_pattern(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)p[i] <= ' ' || (unsigned char)p[i] >= 127 || strchr("\"'\\", p[i])) {
            return false;
        }
    }
    return n <= SCOPE_PATTERN_MAX;
}

static muga_status add_entry(key_scopes *out, const char *p, size_t n, muga_error *err) {
    const char *colon = memchr(p, ':', n);
    size_t n_word = colon ? (size_t)(colon - p) : n, kind = 0;
    while (kind < N_SCOPES && (strlen(kinds[kind].word) != n_word || memcmp(kinds[kind].word, p, n_word) != 0)) {
        kind++;
    }
    if (kind == N_SCOPES || kinds[kind].has_pattern != (colon != NULL)) {
        return error_set(err, MUGA_E_USAGE,
                         "scope '%.*s' is none of models:GLOB, agents:GLOB, tools:GLOB, approve:ROLE, audit, metrics,"
                         " admin (each entry names its kind)",
                         (int)MIN(n, 60), p);
    }
    const char *pattern = colon ? colon + 1 : NULL;
    size_t n_pattern = colon ? n - n_word - 1 : 0;
    if (!is_pattern(pattern ? pattern : "", n_pattern) || (colon && n_pattern == 0 && kind != SCOPE_TOOLS)) {
        return error_set(err, MUGA_E_USAGE, "scope '%.*s': what follows ':' must be a name or a pattern, like %s:*",
                         (int)MIN(n, 60), p, kinds[kind].word);
    }
    if (out->n == SCOPES_MAX) {
        return error_set(err, MUGA_E_USAGE, "more than %u scopes; use patterns, like models:qwen*", SCOPES_MAX);
    }
    char *copy = colon ? mem_copy_bytes(pattern, n_pattern) : NULL;
    if (colon && !copy) {
        return error_nomem(err, "a scope");
    }
    out->list[out->n].kind = (scope_kind)kind;
    out->list[out->n++].pattern = copy;
    return MUGA_OK;
}

muga_status scopes_parse(const char *text, key_scopes *out, muga_error *err) {
    muga_status st = MUGA_OK;
    out->n = 0;
    for (const char *p = text; st == MUGA_OK;) {
        size_t n = strcspn(p, ",");
        st = add_entry(out, p, n, err);
        if (!p[n]) {
            break;
        }
        p += n + 1;
    }
    if (st != MUGA_OK) {
        scopes_release(out);
    }
    return st;
}

void scopes_release(key_scopes *s) {
    for (size_t i = 0; i < s->n; i++) {
        free(s->list[i].pattern);
    }
    s->n = 0;
}

/* '*' and '?'. The last star alone is gone back to, so it takes at most |pattern| * |name| steps. */
static bool fits(const char *p, const char *name, size_t n) {
    const char *star = NULL;
    size_t i = 0, from = 0;
    while (i < n) {
        if (*p == '*') {
            star = ++p;
            from = i;
        } else if (*p && (*p == '?' || *p == name[i])) {
            p++;
            i++;
        } else if (star) {
            p = star;
            i = ++from;
        } else {
            return false;
        }
    }
    while (*p == '*') {
        p++;
    }
    return *p == '\0';
}

bool scopes_fit(const key_scopes *s, scope_kind kind, const char *name) {
    for (size_t i = 0; i < s->n; i++) {
        if (s->list[i].kind == kind && (!s->list[i].pattern || fits(s->list[i].pattern, name, strlen(name)))) {
            return true;
        }
    }
    return false;
}

bool scopes_have(const key_scopes *s, scope_kind kind) {
    for (size_t i = 0; i < s->n; i++) {
        if (s->list[i].kind == kind) {
            return true;
        }
    }
    return false;
}

/* A name without a tag is the latest; a pattern without one is for all tags. */
bool scopes_fit_model(const key_scopes *s, const char *name) {
    size_t n_name = strcspn(name, ":");
    char whole[512];
    int n_whole = snprintf(whole, sizeof whole, "%s%s", name, name[n_name] ? "" : ":latest");
    for (size_t i = 0; n_whole > 0 && (size_t)n_whole < sizeof whole && i < s->n; i++) {
        const char *p = s->list[i].pattern;
        bool fit = s->list[i].kind == SCOPE_MODELS &&
                   (strchr(p, ':') ? fits(p, whole, (size_t)n_whole) : fits(p, name, n_name));
        if (fit) {
            return true;
        }
    }
    return false;
}

bool scopes_fit_tool(const key_scopes *s, const char *agent, const char *tool) {
    bool any = false;
    str whole = STR_INIT;
    str_printf(&whole, "%s/%s", agent, tool);
    bool fit = false;
    for (size_t i = 0; i < s->n; i++) {
        const char *p = s->list[i].pattern;
        if (s->list[i].kind == SCOPE_TOOLS) {
            any = true;
            fit = fit || (strchr(p, '/') ? !whole.failed && fits(p, str_get(&whole), whole.len)
                                         : *p && fits(p, tool, strlen(tool)));
        }
    }
    str_release(&whole);
    return fit || !any;
}
