/* Linting an agent's folder (lint.h). Owns: reading, the places and the order of findings, comments that silence them.
 * The rules are in lint_rules.c and lint_tools.c.
 *
 * Idea: rules read the YAML as it is written, not the manifest, so that a manifest that doesn't load shows all that is
 * wrong with it, not only its first error; that one is a finding, too. */
#include "agent/lint_internal.h"

#include "agent/dataset.h"
#include "agent/intent.h"

#include <stdio.h>

#define FILE_NAME "agent.yaml"
#define MAX_BYTES ((size_t)1 << 20)

static const lint_rule rules[] = {
    {"manifest", LINT_ERROR, NULL},
    {"secret", LINT_ERROR, "take it out of the file and change it where it is used; give it to a tool by its host"},
    {"read-writes", LINT_ERROR, "say effect: write, or ask with a query that changes nothing"},
    {"write-without-approval", LINT_ERROR, "say approval: always, or {when: ...} for the calls that matter"},
    {"bad-evaluation", LINT_ERROR, NULL},
    {"too-many-tools", LINT_WARNING, "leave 3 to 5; a small model chooses badly among more"},
    {"no-escalation", LINT_WARNING, "add escalation: {to: human, when: [no_progress, limits, tool_failed]}"},
    {"scope-without-effect", LINT_WARNING,
     "add a label out_of_scope to intent:, or a model where rules decide; or take scope: out"},
    {"no-evaluation", LINT_WARNING, "write tasks into eval/*.jsonl (docs/evaluation.md)"},
    {"goal-without-check", LINT_WARNING, "add done: an expression over state, results and session"},
    {"unbounded-grounded", LINT_WARNING, "give it a pattern from ^ to $ without open ends, an enum, or a maxLength"},
    {"ungrounded-argument", LINT_WARNING, "add from: conversation or from: tools, or an enum; else it can be made up"},
    {"session-not-bound", LINT_WARNING, "bind it (:session_NAME), or the tool reaches everybody's rows"},
    {"unused-session", LINT_WARNING, "use it in a tool or an expression, or take it out"},
    {"unused-state", LINT_NOTE, "use it in an expression or an answer, or take it out"},
    {"unsandboxed-command", LINT_WARNING, "let it run in the sandbox, or use another kind of tool"},
    {"no-limits", LINT_WARNING, "say what one turn may take: limits: {steps: 8, tokens: 4096, seconds: 60}"},
    {"no-input-guard", LINT_NOTE, "add guards: {input: {max_chars: 4000, untrusted: true}}"},
    {"no-output-guard", LINT_NOTE, "add guards: {output: {grounded: ids_and_numbers}}"},
    {"missing-description", LINT_NOTE, "say in a few words what it is for; models and people read it"},
    {"few-tasks", LINT_NOTE, "write more: of 20 tasks without a fault, up to one in seven may fail in the long run"},
    {"unknown-rule", LINT_WARNING, "see docs/lint.md for the names"},
    {"allow-without-reason", LINT_WARNING, "write `# lint: allow RULE: why`"},
    {"unused-allow", LINT_NOTE, "take the comment out"}};

const lint_rule *lint_rules(size_t *n) {
    *n = ARRAY_LEN(rules);
    return rules;
}

const char *lint_level_name(lint_level l) {
    static const char *const names[] = {"error", "warning", "note"};
    return names[l];
}

static const lint_rule *find_rule(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (strcmp(rules[i].name, name) == 0) {
            return &rules[i];
        }
    }
    return NULL;
}

/* ---- saying ---- */

void lint_say_at(lint *l, const char *rule, const char *file, int64_t line, int64_t column, const char *key,
                 const char *message) {
    const lint_rule *r = find_rule(rule);
    json_t *f = json_pack("{s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:s?, s:n}", "file", file, "line", (json_int_t)line,
                          "column", (json_int_t)column, "level", lint_level_name(r->level), "rule", rule, "key", key,
                          "message", message, "suggestion", r->suggestion, "allowed");
    l->failed = json_array_append_new(l->findings, f) != 0 || l->failed;
}

void lint_say(lint *l, const char *rule, const char *pointer, const char *format, ...) {
    char text[256], key[120], at[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(at, sizeof at, "%s", pointer);
    check_write_key(at, key, sizeof key);
    while (at[0] && !json_object_get(l->places, at)) { /* what is missing is said where it belongs */
        *strrchr(at, '/') = '\0';
    }
    lint_say_at(l, rule, FILE_NAME, yaml_line(l->places, at), yaml_column(l->places, at), key, text);
}

bool lint_mentions(const json_t *v, const char *part) {
    const char *key;
    json_t *member;
    if (json_is_string(v)) {
        return strstr(json_string_value(v), part) != NULL;
    }
    json_object_foreach(json_borrow(v), key, member) {
        if (strstr(key, part) || lint_mentions(member, part)) {
            return true;
        }
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (lint_mentions(json_array_get(v, i), part)) {
            return true;
        }
    }
    return false;
}

/* ---- what the loader says ---- */

/* "agent.yaml:7:3: key tools[0].effect: what is wrong", also without a key. What names no place is said of the file. */
static void say_loader(lint *l, const char *message) {
    char key[120] = "";
    long long line = 1, column = 1;
    int used = 0, more = 0;
    const char *text = message;
    if (sscanf(message, FILE_NAME ":%lld:%lld: %n", &line, &column, &used) == 2 && used > 0) {
        text += used;
        if (sscanf(text, "key %119[^ :]: %n", key, &more) == 1 && more > 0) {
            text += more;
        }
    }
    lint_say_at(l, "manifest", FILE_NAME, line, column, key, text);
}

/* Only what is wrong with the agent is a finding. */
static muga_status take_fault(lint *l, muga_status st, const muga_error *fault, muga_error *err) {
    if (st == MUGA_OK || st == MUGA_E_NOMEM || st == MUGA_E_ENV || st == MUGA_E_INTERNAL) {
        return st == MUGA_OK ? st : error_set(err, st, "%s", fault->message);
    }
    say_loader(l, fault->message);
    return MUGA_OK;
}

/* As `muga agent run` would; *m NULL: it doesn't load, and why is a finding. */
static muga_status load(lint *l, const char *data_dir, manifest **m, muga_error *err) {
    muga_error fault = {.status = MUGA_OK};
    intent *intents = NULL;
    muga_status st = dataset_prepare(l->env, l->dir, data_dir, &fault);
    st = st == MUGA_OK ? manifest_load(l->env, l->dir, data_dir, m, &fault) : st;
    if (st == MUGA_OK && (*m)->intent) {
        st = intent_new(l->env, *m, &intents, &fault);
    }
    intent_free(intents);
    return take_fault(l, st, &fault, err);
}

/* ---- comments that silence ---- */

typedef struct allow {
    int64_t line, first, last; /* the comment's; the lines for which it holds */
    char rule[48], reason[160];
    bool used;
} allow;

typedef struct allows {
    allow *v;
    size_t n;
} allows;

#define MARK "# lint: allow "

static bool is_comment(const char *p, size_t n) {
    size_t blank = strspn(p, " \t");
    return blank < n && p[blank] == '#';
}

/* One line of the file; `above`: where the comment lines above it, and it itself, begin. */
static void read_allow(const char *p, size_t n, int64_t line, allow *out) {
    const char *mark = memmem(p, n, MARK, strlen(MARK));
    const char *rule = mark + strlen(MARK), *end = p + n, *colon = memchr(rule, ':', (size_t)(end - rule));
    *out = (allow){.line = line, .first = line, .last = line};
    snprintf(out->rule, sizeof out->rule, "%.*s", (int)((colon ? colon : end) - rule), rule);
    out->rule[strcspn(out->rule, " \t\r")] = '\0';
    if (colon) {
        colon += 1 + strspn(colon + 1, " \t");
        int len = colon < end ? (int)(end - colon) : 0;
        snprintf(out->reason, sizeof out->reason, "%.*s", len, colon);
        out->reason[strcspn(out->reason, "\r")] = '\0';
    }
}

static muga_status find_allows(const lint *l, const char *text, size_t n, allows *out, muga_error *err) {
    int64_t first_key = yaml_line(l->places, ""), line = 1;
    size_t cap = 1;
    for (const char *p = text; (p = memmem(p, n - (size_t)(p - text), MARK, strlen(MARK))); p++) {
        cap++;
    }
    out->v = mem_alloc_array(cap, sizeof *out->v);
    if (!out->v) {
        return error_nomem(err, "comments");
    }
    size_t waiting = 0; /* of them, from here on, stand in the comment lines right above */
    for (size_t at = 0; at < n; line++) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at;
        bool comment = is_comment(text + at, len);
        if (memmem(text + at, len, MARK, strlen(MARK))) {
            read_allow(text + at, len, line, &out->v[out->n++]);
        }
        for (size_t i = waiting; i < out->n && !comment; i++) {
            out->v[i].last = line;
        }
        waiting = comment ? waiting : out->n;
        at += len + 1;
    }
    for (size_t i = 0; i < out->n; i++) {
        if (out->v[i].line < first_key) {
            out->v[i].first = 0;
            out->v[i].last = INT64_MAX;
        }
    }
    return MUGA_OK;
}

static void silence(lint *l, allows *a) {
    for (size_t i = 0; i < json_array_size(l->findings); i++) {
        json_t *f = json_array_get(l->findings, i);
        const char *rule = json_get_string(f, "rule"), *file = json_get_string(f, "file");
        int64_t line = json_get_int(f, "line", 0);
        for (size_t k = 0; k < a->n; k++) {
            allow *x = &a->v[k];
            bool here = strcmp(file, FILE_NAME) == 0 ? line >= x->first && line <= x->last : x->first == 0;
            if (here && strcmp(rule, x->rule) == 0 && x->reason[0] && strcmp(rule, "manifest") != 0) {
                x->used = true;
                l->failed = json_object_set_new(f, "allowed", json_string(x->reason)) != 0 || l->failed;
            }
        }
    }
}

static void check_allows(lint *l, const allows *a) {
    for (size_t k = 0; k < a->n; k++) {
        const allow *x = &a->v[k];
        char text[128];
        if (!find_rule(x->rule) || strcmp(x->rule, "manifest") == 0) {
            snprintf(text, sizeof text, "'%s' is no rule that can be silenced", x->rule);
            lint_say_at(l, "unknown-rule", FILE_NAME, x->line, 1, "", text);
        } else if (!x->reason[0]) {
            snprintf(text, sizeof text, "%s is silenced without a reason, so it isn't", x->rule);
            lint_say_at(l, "allow-without-reason", FILE_NAME, x->line, 1, "", text);
        } else if (!x->used) {
            snprintf(text, sizeof text, "%s finds nothing here to be silenced", x->rule);
            lint_say_at(l, "unused-allow", FILE_NAME, x->line, 1, "", text);
        }
    }
}

/* ---- the whole ---- */

static int64_t order_of(const json_t *f) {
    bool own = strcmp(json_get_string(f, "file"), FILE_NAME) == 0;
    return (own ? 0 : (int64_t)1 << 40) + (json_get_int(f, "line", 0) << 16) +
           MIN(json_get_int(f, "column", 0), (int64_t)65535);
}

/* In the order of the file; of one place in the order of finding. An insertion sort: there are few. */
static bool sort(json_t **findings) {
    json_t *sorted = json_array(), *f;
    size_t i;
    bool ok = sorted != NULL;
    json_array_foreach(*findings, i, f) {
        size_t at = json_array_size(sorted);
        while (at > 0 && order_of(json_array_get(sorted, at - 1)) > order_of(f)) {
            at--;
        }
        ok = ok && json_array_insert(sorted, at, f) == 0;
    }
    json_decref(*findings);
    *findings = sorted;
    return ok;
}

static void count(lint_report *r) {
    for (size_t i = 0; i < json_array_size(r->findings); i++) {
        const json_t *f = json_array_get(r->findings, i);
        const char *level = json_get_string(f, "level");
        size_t *n = json_get_string(f, "allowed")   ? &r->n_allowed
                    : strcmp(level, "error") == 0   ? &r->n_errors
                    : strcmp(level, "warning") == 0 ? &r->n_warnings
                                                    : &r->n_notes;
        ++*n;
    }
}

void lint_report_release(lint_report *r) {
    json_decref(r->findings);
    *r = (lint_report){.findings = NULL};
}

/* All but reading the file, which parsed. */
static muga_status check_all(lint *l, const char *text, size_t n, const char *data_dir, muga_error *err) {
    manifest *m = NULL;
    allows a = {.v = NULL};
    muga_status st = load(l, data_dir, &m, err);
    if (st == MUGA_OK && json_is_object(l->json)) {
        l->m = m;
        lint_check_agent(l);
        lint_check_tools(l);
        lint_check_evaluation(l);
    }
    st = st == MUGA_OK ? find_allows(l, text, n, &a, err) : st;
    if (st == MUGA_OK) {
        silence(l, &a);
        check_allows(l, &a);
    }
    free(a.v);
    manifest_free(m);
    return st;
}

muga_status lint_run(const agent_env *env, const char *dir, const char *data_dir, lint_report *out, muga_error *err) {
    str path = STR_INIT, text = STR_INIT;
    json_t *json = NULL, *places = NULL;
    muga_error fault = {.status = MUGA_OK};
    *out = (lint_report){.findings = json_array()};
    lint l = {.env = env, .dir = dir, .findings = out->findings};
    str_printf(&path, "%s/" FILE_NAME, dir);
    muga_status st = out->findings ? str_status(&path, err, "a path") : error_nomem(err, "findings");
    st = st == MUGA_OK ? os_read_file(env->files, str_get(&path), MAX_BYTES, &text, err) : st;
    if (st == MUGA_OK) {
        muga_status parsed = yaml_parse_places(str_get(&text), text.len, FILE_NAME, &json, &places, &fault);
        l.json = json;
        l.places = places;
        st = parsed == MUGA_OK ? check_all(&l, str_get(&text), text.len, data_dir, err)
                               : take_fault(&l, parsed, &fault, err);
    }
    if (st == MUGA_OK && (l.failed || !sort(&out->findings))) {
        st = error_nomem(err, "findings");
    }
    if (st == MUGA_OK) {
        count(out);
    } else {
        lint_report_release(out);
    }
    json_decref(json);
    json_decref(places);
    str_release(&text);
    str_release(&path);
    return st;
}
