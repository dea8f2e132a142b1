/* Rules over tools (lint.h). Owns: what is looked for in a tool's definition. Any member may have any type. */
#include "agent/lint_internal.h"

#include <stdio.h>

#define MOST_TOOLS 5
#define SHORT_DESCRIPTION 10 /* bytes */

typedef struct tool_view {
    lint *l;
    const json_t *json;
    const char *name;
    char pointer[32];
    bool writes, by_rules; /* by_rules: rules call it, and write its arguments; no model does */
} tool_view;

/* "NAME " and the text, at a place in the tool. */
static void say(const tool_view *t, const char *rule, const char *below, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void say(const tool_view *t, const char *rule, const char *below, const char *format, ...) {
    char pointer[256], text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(pointer, sizeof pointer, "%s%.200s", t->pointer, below);
    lint_say(t->l, rule, pointer, "%.48s %s", t->name, text);
}

/* ---- parameters ---- */

/* From ^ to $, and nothing in between that may repeat without end. */
static bool is_closed(const char *pattern) {
    size_t n = strlen(pattern);
    bool in_class = false;
    if (n < 2 || pattern[0] != '^' || pattern[n - 1] != '$' || (n > 2 && pattern[n - 2] == '\\')) {
        return false;
    }
    for (const char *p = pattern + 1; *p; p++) {
        if (*p == '\\' && p[1]) {
            p++;
        } else if (in_class) {
            in_class = *p != ']';
        } else if (*p == '[') {
            in_class = true;
            p += p[1] == '^';
            p += p[1] == ']';
        } else if (*p == '*' || *p == '+') {
            return false;
        } else if (*p == '{' && p[1 + strspn(p + 1, "0123456789")] == ',' &&
                   p[2 + strspn(p + 1, "0123456789")] == '}') {
            return false;
        }
    }
    return true;
}

static bool may_be(const json_t *schema, const char *type) {
    const json_t *t = json_object_get(schema, "type");
    if (json_is_string(t)) {
        return strcmp(json_string_value(t), type) == 0;
    }
    for (size_t i = 0; i < json_array_size(t); i++) {
        const char *one = json_string_value(json_array_get(t, i));
        if (one && strcmp(one, type) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_choice(const json_t *schema) {
    return json_object_get(schema, "enum") || json_object_get(schema, "const");
}

static void check_value(const tool_view *t, const json_t *schema, const char *below, const char *name, bool grounded) {
    const char *pattern = json_get_string(schema, "pattern");
    bool bounded = is_choice(schema) || json_object_get(schema, "maxLength") || (pattern && is_closed(pattern));
    if (grounded && may_be(schema, "string") && !bounded) {
        say(t, "unbounded-grounded", below, "takes any stretch of what was written for '%.60s'", name);
    }
    if (!grounded && t->writes && !t->by_rules && !is_choice(schema) &&
        (may_be(schema, "string") || may_be(schema, "integer") || may_be(schema, "number"))) {
        say(t, "ungrounded-argument", below, "changes something, and its '%.60s' need not come from anywhere", name);
    }
}

/* A property and what lies in it. `grounded`: one above it is. */
static void check_property(const tool_view *t, const json_t *schema, const char *below, const char *name, bool grounded,
                           int depth) {
    char where[200];
    const char *key;
    json_t *sub;
    if (!json_is_object(schema) || depth > 8) {
        return;
    }
    grounded = grounded || json_object_get(schema, "from");
    check_value(t, schema, below, name, grounded);
    if (depth == 0 && !json_object_get(schema, "description")) {
        say(t, "missing-description", below, "has no description of its parameter '%.60s'", name);
    }
    snprintf(where, sizeof where, "%.150s/items", below);
    check_property(t, json_object_get(schema, "items"), where, name, grounded, depth + 1);
    json_object_foreach(json_object_get(schema, "properties"), key, sub) {
        snprintf(where, sizeof where, "%.100s/properties/%.60s", below, key);
        check_property(t, sub, where, key, grounded, depth + 1);
    }
}

/* ---- sql ---- */

static bool changes_data(const char *sql) {
    static const char *const words[] = {"INSERT", "UPDATE", "DELETE", "REPLACE", "DROP", "ALTER", "CREATE"};
    sql += strspn(sql, " \t\r\n;(");
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        size_t n = strlen(words[i]), k = 0;
        while (k < n && (sql[k] & ~0x20) == words[i][k]) {
            k++;
        }
        if (k == n && (sql[n] == ' ' || sql[n] == '\n' || sql[n] == '\t')) {
            return true;
        }
    }
    return false;
}

static void check_sql(const tool_view *t) {
    const json_t *sql = json_object_get(t->json, "sql");
    const char *query = json_get_string(sql, "query"), *exec = json_get_string(sql, "exec"),
               *text = query ? query : exec, *below = query ? "/sql/query" : "/sql/exec";
    if (!text) {
        return;
    }
    if (!t->writes && (exec || changes_data(text))) {
        say(t, "read-writes", below, "says effect: read, and changes data");
    }
    if (!t->by_rules && json_object_size(json_object_get(t->l->json, "session")) > 0 && !strstr(text, ":session_")) {
        say(t, "session-not-bound", below, "doesn't ask whose session it is");
    }
}

/* ---- the whole ---- */

static void check_tool(const tool_view *t) {
    const char *approval = json_get_string(t->json, "approval"), *about = json_get_string(t->json, "description");
    if (t->writes && approval && strcmp(approval, "never") == 0) {
        say(t, "write-without-approval", "/approval", "changes something, and nobody is asked");
    }
    if (json_is_true(json_object_get(t->json, "unsandboxed"))) {
        say(t, "unsandboxed-command", "/unsandboxed", "runs with all rights of whoever runs the agent");
    }
    if (about && strlen(about) < SHORT_DESCRIPTION) {
        say(t, "missing-description", "/description", "is hardly described");
    }
    check_sql(t);
    const char *name;
    json_t *schema;
    json_object_foreach(json_object_get(json_object_get(t->json, "parameters"), "properties"), name, schema) {
        char below[120];
        snprintf(below, sizeof below, "/parameters/properties/%.80s", name);
        check_property(t, schema, below, name, false, 0);
    }
}

void lint_check_tools(lint *l) {
    const json_t *tools = json_object_get(l->json, "tools");
    size_t n = json_array_size(tools);
    for (size_t i = 0; i < n; i++) {
        const json_t *json = json_array_get(tools, i);
        const char *name = json_get_string(json, "name"), *effect = json_get_string(json, "effect");
        tool_view t = {l,
                       json,
                       name ? name : "a tool",
                       "",
                       effect && strcmp(effect, "write") == 0,
                       json_array_size(json_object_get(l->json, "rules")) > 0};
        snprintf(t.pointer, sizeof t.pointer, "/tools/%zu", i);
        if (i == MOST_TOOLS) {
            lint_say(l, "too-many-tools", t.pointer, "%zu tools; from here on they are too many", n);
        }
        check_tool(&t);
    }
}
