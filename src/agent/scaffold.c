/* Putting a new agent's files together (scaffold.h). Owns: which texts go where. Refuses: names that agent.yaml would
 * refuse, so that nothing is written that can't be loaded. */
#include "agent/scaffold.h"

#include "agent/scaffold_parts.h"
#include "base/mem.h"

#include <string.h>

#define MOST_TOOLS 5 /* lint says so of more */
#define GROUNDED(what, value)                                                                                          \
    ", from: conversation, normalise: {match: \"(?i)(?<![a-z0-9])" what "(?![a-z0-9])\", value: \"" value "\"}"

const char *scaffold_tools(void) {
    return "sql, clock, files, search, memory, http, command";
}

static const scaffold_part *find_part(const char *name, size_t n) {
    for (size_t i = 0; i < scaffold_n_parts; i++) {
        if (strlen(scaffold_parts[i].tool) == n && memcmp(scaffold_parts[i].tool, name, n) == 0) {
            return &scaffold_parts[i];
        }
    }
    return NULL;
}

/* Text with each @KEY@ of `values` in the place of its value; a value may hold such keys itself. */
static void append_filled(str *out, const char *text, const json_t *values) {
    for (const char *at; (at = strchr(text, '@')); text = at) {
        char key[16];
        const char *end = strchr(at + 1, '@');
        size_t n = end ? (size_t)(end - at) - 1 : 0;
        str_append(out, text, (size_t)(at - text));
        const char *value = NULL;
        if (n > 0 && n < sizeof key) {
            memcpy(key, at + 1, n);
            key[n] = '\0';
            value = json_get_string(values, key);
        }
        if (value) {
            append_filled(out, value, values);
            at = end + 1;
        } else {
            str_append_c(out, *at++);
        }
    }
    str_append_s(out, text);
}

static muga_status add_file(json_t *files, const char *path, const char *text, const json_t *values, muga_error *err) {
    str out = STR_INIT;
    append_filled(&out, text, values);
    muga_status st = str_status(&out, err, "a file");
    if (st == MUGA_OK && json_object_set_new(files, path, json_stringn(str_get(&out), out.len)) != 0) {
        st = error_nomem(err, "a file");
    }
    str_release(&out);
    return st;
}

/* The texts of all parts, one after another. */
typedef struct chosen {
    const scaffold_part *v[8];
    size_t n;
} chosen;

typedef enum { YAML, LABELS, PERCEPT_RULES, RULES, EXAMPLES, GOAL_TASKS, RULE_TASKS } text_kind;

static const char *text_of(const scaffold_part *p, text_kind k) {
    switch (k) {
    case YAML: return p->yaml;
    case LABELS: return p->labels;
    case PERCEPT_RULES: return p->percept_rules;
    case RULES: return p->rules;
    case EXAMPLES: return p->examples;
    case GOAL_TASKS: return p->goal_tasks;
    default: return p->rule_tasks;
    }
}

static bool put_texts(json_t *values, const char *key, const chosen *c, text_kind k, const char *otherwise) {
    str out = STR_INIT;
    for (size_t i = 0; i < c->n; i++) {
        const char *text = text_of(c->v[i], k);
        str_append_s(&out, text ? text : "");
    }
    if (out.len == 0) {
        str_append_s(&out, otherwise);
    }
    bool ok = !out.failed && json_object_set_new(values, key, json_string(str_get(&out))) == 0;
    str_release(&out);
    return ok;
}

static muga_status read_tools(const char *list, chosen *out, muga_error *err) {
    *out = (chosen){.n = 0};
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        const scaffold_part *part = find_part(p, n);
        if (!part) {
            return error_set(err, MUGA_E_USAGE, "there is no template for the tool '%.*s'; there are %s",
                             (int)MIN(n, (size_t)40), p, scaffold_tools());
        }
        for (size_t i = 0; i < out->n; i++) {
            if (out->v[i] == part) {
                return error_set(err, MUGA_E_USAGE, "tool %s is named twice", part->tool);
            }
        }
        out->v[out->n++] = part;
        p += n;
        p += *p == ',';
    }
    size_t n = 0;
    for (size_t i = 0; i < out->n; i++) {
        n += out->v[i]->n_tools;
    }
    if (n > MOST_TOOLS) {
        return error_set(err, MUGA_E_USAGE,
                         "these are %zu tools in all (sql and memory are two each), and more than %d"
                         " are too many for one agent; name fewer",
                         n, MOST_TOOLS);
    }
    return n > 0 ? MUGA_OK : error_set(err, MUGA_E_USAGE, "no tool is named; there are %s", scaffold_tools());
}

static bool is_name(const char *name) {
    size_t n = strlen(name);
    return n > 0 && n <= 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n && name[0] != '-' &&
           name[n - 1] != '-';
}

/* What a person may write for the query of a search: what they ask about, or what stands between quotes. */
static const char topic[] = "pattern: '^\"[^\"]{2,80}\"$', from: conversation, normalise: {match: '(?i)\\bsays? about"
                            " ([a-z][a-z -]{0,58}[a-z])', value: '\"$1\"'}";

/* A path goes into the YAML between double quotes. */
static muga_status check_spec(const scaffold_spec *s, muga_error *err) {
    if (!is_name(s->name)) {
        return error_set(err, MUGA_E_USAGE, "'%.80s' is no name of an agent: small letters, digits and dashes",
                         s->name);
    }
    if (strcmp(s->kind, "goal") != 0 && strcmp(s->kind, "model") != 0 && strcmp(s->kind, "reflex") != 0) {
        return error_set(err, MUGA_E_USAGE, "'%.40s' is no kind; there are reflex, model and goal", s->kind);
    }
    for (const char *p = s->dir; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == '"' || *p == '\\' || *p == '@' || *p == 127) {
            return error_set(err, MUGA_E_USAGE, "the folder's name can't be written into agent.yaml; take another");
        }
    }
    if (strspn(s->model, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/-") != strlen(s->model)) {
        return error_set(err, MUGA_E_USAGE, "'%.80s' is no name of a model, nor a plain path", s->model);
    }
    return MUGA_OK;
}

static json_t *make_values(const scaffold_spec *s, const chosen *c, bool goal) {
    static const char low[] = "  - name: low\n    when: @LOW@\n    escalate: \"{{ percept.id }} runs low.\"\n";
    json_t *v = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "NAME", s->name, "DIR", s->dir, "MODEL", s->model, "ITEM",
        goal ? GROUNDED("k([0-9]{4})", "K$1") : "", "DOCUMENT", goal ? GROUNDED("d([0-9]{3})", "D$1") : "", "ORDER",
        goal ? GROUNDED("a([0-9]{5})", "A$1") : "", "PART", goal ? GROUNDED("p([0-9]{4})", "P$1") : "", "SAID",
        goal ? ", from: conversation" : "", "TOPIC", goal ? topic : "maxLength: 60", "LOW",
        strcmp(s->kind, "model") == 0 ? "state.seen[percept.id] < 5" : "percept.amount < 5");
    bool ok = v && put_texts(v, "TOOLS", c, YAML, "") && put_texts(v, "LABELS", c, LABELS, "") &&
              put_texts(v, "PERCEPTS", c, PERCEPT_RULES, low) && put_texts(v, "RULES", c, RULES, "") &&
              put_texts(v, "EXAMPLES", c, EXAMPLES, "") && put_texts(v, "TASKS", c, goal ? GOAL_TASKS : RULE_TASKS, "");
    if (!ok) {
        json_decref(v);
    }
    return ok ? v : NULL;
}

muga_status scaffold_make(const scaffold_spec *s, json_t **files, muga_error *err) {
    chosen c;
    *files = NULL;
    muga_status st = check_spec(s, err);
    st = st == MUGA_OK ? read_tools(s->tools ? s->tools : "sql", &c, err) : st;
    if (st != MUGA_OK) {
        return st;
    }
    bool goal = strcmp(s->kind, "goal") == 0, reflex = strcmp(s->kind, "reflex") == 0;
    json_t *v = make_values(s, &c, goal), *out = json_object();
    st = v && out ? MUGA_OK : error_nomem(err, "an agent");
    st = st == MUGA_OK ? add_file(out, "agent.yaml",
                                  goal     ? scaffold_goal
                                  : reflex ? scaffold_reflex
                                           : scaffold_model,
                                  v, err)
                       : st;
    st = st == MUGA_OK ? add_file(out, "eval/tasks.jsonl",
                                  goal     ? scaffold_goal_tasks
                                  : reflex ? scaffold_reflex_tasks
                                           : scaffold_model_tasks,
                                  v, err)
                       : st;
    if (st == MUGA_OK && goal) {
        st = add_file(out, "examples.jsonl", scaffold_goal_examples, v, err);
    }
    for (size_t i = 0; st == MUGA_OK && i < c.n; i++) {
        for (size_t k = 0; st == MUGA_OK && k < ARRAY_LEN(c.v[i]->files) && c.v[i]->files[k].path; k++) {
            st = add_file(out, c.v[i]->files[k].path, c.v[i]->files[k].text, v, err);
        }
    }
    json_decref(v);
    if (st == MUGA_OK) {
        *files = out;
    } else {
        json_decref(out);
    }
    return st;
}
