/* `guards:` of a manifest, compiled (guard.h). Owns: which guard does what, patterns. Refuses, by line: a guard with
 * two actions, a name that is none, a pattern that doesn't compile or has the name of a guard that is built in, an
 * unknown language. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "agent/guard_internal.h"

#include <pcre2.h>
#include <stdio.h>

#define INPUT_CHARS_DEFAULT 8000
#define MATCH_EFFORT 100000 /* PCRE2 match steps of one search */
#define MATCH_DEPTH 1000
#define MATCH_HEAP_KIB 4096

typedef struct reader {
    guard_set *g;
    const check_place *at;
    muga_error *err;
} reader;

static muga_status fail(reader *r, const char *pointer, const char *what, const char *name) {
    static const check_place nowhere = {"agent.yaml", NULL};
    return check_fail(r->at ? r->at : &nowhere, MUGA_E_INPUT, pointer, r->err, "'%.60s' %s", name, what);
}

static int find_name(const guard_rules *rules, const char *name) {
    for (int i = 0; i < N_GUARDS; i++) {
        if (strcmp(guard_names[i], name) == 0) {
            return i;
        }
    }
    for (size_t i = 0; i < rules->n_patterns; i++) {
        if (strcmp(rules->patterns[i].name, name) == 0) {
            return (int)(N_GUARDS + i);
        }
    }
    return -1;
}

static muga_status read_patterns(reader *r, guard_rules *rules, const json_t *section, const char *side) {
    const char *name;
    json_t *v;
    json_object_foreach(json_object_get(section, "patterns"), name, v) {
        char pointer[128], why[120] = "", text[200];
        int code = 0;
        PCRE2_SIZE at = 0;
        snprintf(pointer, sizeof pointer, "/guards/%s/patterns/%.60s", side, name);
        if (find_name(rules, name) >= 0) {
            return fail(r, pointer, "is a guard that is built in; take another name", name);
        }
        if (rules->n_patterns == GUARD_MAX_PATTERNS) {
            return fail(r, pointer, "is one pattern too many; 64 is the most", name);
        }
        pcre2_code *c = pcre2_compile((PCRE2_SPTR)json_string_value(v), PCRE2_ZERO_TERMINATED,
                                      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
        if (!c && code == PCRE2_ERROR_HEAP_FAILED) {
            return error_nomem(r->err, "a pattern");
        }
        if (!c) {
            pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
            snprintf(text, sizeof text, "does not compile, byte %zu: %s", (size_t)at, why);
            return fail(r, pointer, text, name);
        }
        rules->patterns[rules->n_patterns++] = (guard_pattern){name, c};
    }
    return MUGA_OK;
}

/* refuse: [hidden, ...] and so on. */
static muga_status read_actions(reader *r, guard_rules *rules, const json_t *section, const char *side) {
    for (guard_action a = GUARD_MASK; a <= GUARD_REFUSE; a++) {
        const json_t *list = json_object_get(section, guard_action_name(a));
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *name = json_string_value(json_array_get(list, i));
            char pointer[64];
            snprintf(pointer, sizeof pointer, "/guards/%s/%s/%zu", side, guard_action_name(a), i);
            int guard = find_name(rules, name);
            if (guard < 0) {
                return fail(r, pointer, "is neither a guard nor one of the patterns", name);
            }
            if (rules->action[guard] != GUARD_PASS) {
                return fail(r, pointer, "has an action already", name);
            }
            if (a == GUARD_MASK && (guard == GUARD_LENGTH || guard == GUARD_LANGUAGE)) {
                return fail(r, pointer, "has nothing that could be masked", name);
            }
            rules->action[guard] = a;
        }
    }
    return MUGA_OK;
}

/* A pattern without an action, a languages: without one: refused, as what has a rule is meant to be kept out. */
static void set_defaults(guard_rules *rules) {
    for (size_t i = 0; i < rules->n_patterns; i++) {
        if (rules->action[N_GUARDS + i] == GUARD_PASS) {
            rules->action[N_GUARDS + i] = GUARD_REFUSE;
        }
    }
    if (rules->languages && rules->action[GUARD_LANGUAGE] == GUARD_PASS) {
        rules->action[GUARD_LANGUAGE] = GUARD_REFUSE;
    }
    if (rules->max_chars && rules->action[GUARD_LENGTH] == GUARD_PASS) {
        rules->action[GUARD_LENGTH] = GUARD_REFUSE;
    }
}

static muga_status read_input(reader *r, const json_t *section) {
    guard_rules *rules = &r->g->side[GUARD_INPUT];
    const json_t *list = json_object_get(section, "languages");
    rules->max_chars = json_get_int(section, "max_chars", INPUT_CHARS_DEFAULT);
    rules->say = json_object_get(section, "say");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *code = json_string_value(json_array_get(list, i));
        char pointer[48];
        int language = guard_language_of_code(code);
        snprintf(pointer, sizeof pointer, "/guards/input/languages/%zu", i);
        if (language < 0) {
            return fail(r, pointer, "is no language that can be told from others (docs/guards.md lists them)", code);
        }
        rules->languages |= UINT64_C(1) << language;
    }
    muga_status st = read_patterns(r, rules, section, "input");
    st = st == MUGA_OK ? read_actions(r, rules, section, "input") : st;
    if (st == MUGA_OK && rules->action[GUARD_LANGUAGE] && !rules->languages) {
        return fail(r, "/guards/input", "needs languages: [...], those that are spoken here", "language");
    }
    set_defaults(rules);
    return st;
}

static muga_status read_output(reader *r, const json_t *section) {
    guard_rules *rules = &r->g->side[GUARD_OUTPUT];
    rules->say = json_object_get(section, "say");
    rules->strict = json_object_get(section, "grounded") != NULL;
    muga_status st = read_patterns(r, rules, section, "output");
    st = st == MUGA_OK ? read_actions(r, rules, section, "output") : st;
    if (st == MUGA_OK && (rules->action[GUARD_LENGTH] || rules->action[GUARD_LANGUAGE])) {
        return fail(r, "/guards/output", "is a guard of input", rules->action[GUARD_LENGTH] ? "length" : "language");
    }
    set_defaults(rules);
    return st;
}

/* What tools return: hidden text is taken out unless the manifest says otherwise. */
static void read_results(reader *r, const json_t *section) {
    guard_rules *rules = &r->g->side[GUARD_RESULT];
    const char *hidden = json_get_string(section, "hidden");
    bool keep = hidden && strcmp(hidden, "keep") == 0;
    rules->mark = hidden && strcmp(hidden, "mark") == 0;
    rules->action[GUARD_HIDDEN] = rules->action[GUARD_CONTROL] = keep ? GUARD_PASS : GUARD_MASK;
    rules->action[GUARD_SECRETS] = json_object_get(section, "secrets") ? GUARD_MASK : GUARD_PASS;
}

muga_status guard_set_new(const json_t *guards, const check_place *at, guard_set **out, muga_error *err) {
    guard_set *g = calloc(1, sizeof *g);
    reader r = {g, at, err};
    if (!g) {
        return error_nomem(err, "guards");
    }
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    g->limits = limits;
    muga_status st = limits ? MUGA_OK : error_nomem(err, "guards");
    if (st == MUGA_OK) {
        pcre2_set_match_limit(limits, MATCH_EFFORT);
        pcre2_set_depth_limit(limits, MATCH_DEPTH);
        pcre2_set_heap_limit(limits, MATCH_HEAP_KIB);
        st = read_input(&r, json_object_get(guards, "input"));
    }
    st = st == MUGA_OK ? read_output(&r, json_object_get(guards, "output")) : st;
    read_results(&r, json_object_get(guards, "results"));
    if (st == MUGA_OK) {
        *out = g;
    } else {
        guard_set_free(g);
    }
    return st;
}

muga_status guard_set_read(const char *p, size_t n, const char *file, guard_set **out, muga_error *err) {
    json_t *all = NULL, *places = NULL, *schema = NULL;
    str text = STR_INIT;
    muga_status st = yaml_parse_places(p, n, file, &all, &places, err);
    st = st == MUGA_OK ? manifest_schema_write(&text, err) : st;
    st = st == MUGA_OK ? json_parse(str_get(&text), text.len, "agent.schema.json", &schema, err) : st;
    const check_place at = {file, places};
    json_t *properties = json_object_get(schema, "properties"), *guards = json_object_get(all, "guards");
    if (st == MUGA_OK && !json_is_object(guards)) {
        st = check_fail(&at, MUGA_E_INPUT, "", err, "key 'guards' is missing");
    }
    if (st == MUGA_OK) { /* the rest of the file is not looked at */
        json_t *part = json_pack("{s:{s:O}}", "properties", "guards", json_object_get(properties, "guards"));
        st = part ? check_schema(&at, part, all, err) : error_nomem(err, "guards");
        json_decref(part);
    }
    st = st == MUGA_OK ? guard_set_new(guards, &at, out, err) : st;
    if (st == MUGA_OK) {
        (*out)->owned = json_incref(all);
    }
    str_release(&text);
    json_decref(schema);
    json_decref(places);
    json_decref(all);
    return st;
}

void guard_set_free(guard_set *g) {
    if (!g) {
        return;
    }
    for (size_t s = 0; s < ARRAY_LEN(g->side); s++) {
        for (size_t i = 0; i < g->side[s].n_patterns; i++) {
            pcre2_code_free(g->side[s].patterns[i].code);
        }
    }
    pcre2_match_context_free(g->limits);
    json_decref(g->owned);
    free(g);
}
