/* Rules over the sections of agent.yaml and over the evaluation (lint.h). Owns: what is looked for there. Any member
 * may have any type, since the manifest may not load. */
#include "agent/lint_internal.h"

#include "agent/eval.h"
#include "agent/loop.h"

#include <stdio.h>

#define FEW_TASKS 20
#define TASK_FILE_BYTES ((size_t)64 << 20)
#define MAX_FINDINGS 20 /* of one file of tasks */

static bool kind_is(const lint *l, const char *kind) {
    const char *k = json_get_string(l->json, "kind");
    return k && strcmp(k, kind) == 0;
}

static const json_t *member(const json_t *v, const char *a, const char *b) {
    return json_object_get(json_object_get(v, a), b);
}

/* ---- sections ---- */

/* Who looks whether a message is outside (loop_scope.c): a label, or the model where it plans or rules decide. */
static void check_scope(lint *l) {
    const json_t *by_labels = json_object_get(l->json, "intent");
    const json_t *label = member(by_labels, "labels", "out_of_scope");
    bool plans = json_object_get(l->json, "plan") != NULL;
    if (!json_object_get(l->json, "scope") || plans) {
        return;
    }
    if (by_labels && !label) {
        lint_say(l, "scope-without-effect", "/scope", "no label says that a message is outside of it");
    } else if (by_labels && json_object_get(label, "tool")) {
        lint_say(l, "scope-without-effect", "/scope", "the label out_of_scope calls a tool, whatever scope: says");
    } else if (!by_labels && !json_object_get(l->json, "model")) {
        lint_say(l, "scope-without-effect", "/scope", "nothing here can tell whether a message is outside of it");
    } else if (!by_labels && l->m && !loop_scope_is_scored(l->m)) {
        lint_say(l, "scope-without-effect", "/scope", "the agent takes no messages that could be outside of it");
    }
}

static void check_sections(lint *l) {
    bool talks = kind_is(l, "goal") || kind_is(l, "model");
    const json_t *limits = json_object_get(l->json, "limits"), *goal = json_object_get(l->json, "goal");
    if (!json_get_string(l->json, "description")) {
        lint_say(l, "missing-description", "/agent", "the agent has no description");
    }
    if (talks && !json_object_get(l->json, "escalation")) {
        lint_say(l, "no-escalation", "/kind", "nobody takes over when the agent can't go on");
    }
    if (kind_is(l, "goal") && json_is_object(goal) && !json_object_get(goal, "done")) {
        lint_say(l, "goal-without-check", "/goal", "nothing but the model's word tells when the goal is reached");
    }
    if (!json_is_object(limits)) {
        lint_say(l, "no-limits", "/kind", "no limits: what one turn may take is what this version has as default");
    } else if (!json_object_get(limits, "steps") || !json_object_get(limits, "seconds") ||
               (talks && !json_object_get(limits, "tokens"))) {
        lint_say(l, "no-limits", "/limits", "%s is left to this version's default",
                 !json_object_get(limits, "steps")     ? "steps"
                 : !json_object_get(limits, "seconds") ? "seconds"
                                                       : "tokens");
    }
    if (talks && !json_object_get(member(l->json, "guards", "input"), "max_chars")) {
        lint_say(l, "no-input-guard", json_object_get(l->json, "guards") ? "/guards" : "/kind",
                 "no message is too long for the agent");
    }
    if (talks && !json_object_get(member(l->json, "guards", "output"), "grounded")) {
        lint_say(l, "no-output-guard", json_object_get(l->json, "guards") ? "/guards" : "/kind",
                 "an answer may hold ids and numbers that nobody gave");
    }
}

/* ---- session and state ---- */

/* Where a value of session: can be used: everywhere but in session: itself. */
static bool uses_session(const lint *l, const char *name) {
    char as_parameter[80], as_member[80];
    const char *key;
    json_t *v;
    snprintf(as_parameter, sizeof as_parameter, "session_%.60s", name);
    snprintf(as_member, sizeof as_member, "session.%.60s", name);
    json_object_foreach(json_borrow(l->json), key, v) {
        if (strcmp(key, "session") != 0 && (lint_mentions(v, as_parameter) || lint_mentions(v, as_member))) {
            return true;
        }
    }
    const json_t *subject = member(l->json, "learning", "subject");
    for (size_t i = 0; i < json_array_size(subject); i++) {
        const char *text = json_string_value(json_array_get(subject, i));
        if (text && strcmp(text, name) == 0) {
            return true;
        }
    }
    const json_t *tools = json_object_get(l->json, "tools");
    for (size_t i = 0; i < json_array_size(tools); i++) { /* a program is given the whole session */
        if (json_object_get(json_array_get(tools, i), "command")) {
            return true;
        }
    }
    return false;
}

static bool uses_state(const lint *l, const char *name) {
    const char *key;
    json_t *v;
    json_object_foreach(json_borrow(l->json), key, v) {
        if (strcmp(key, "state") != 0 && lint_mentions(v, name)) {
            return true;
        }
    }
    return strcmp(name, "resolution") == 0 || strcmp(name, "pending") == 0; /* the loop's own */
}

static void check_values(lint *l) {
    const char *name;
    json_t *v;
    char pointer[128];
    json_object_foreach(json_object_get(l->json, "session"), name, v) {
        if (!uses_session(l, name)) {
            snprintf(pointer, sizeof pointer, "/session/%.100s", name);
            lint_say(l, "unused-session", pointer, "no tool and no expression uses session value '%.60s'", name);
        }
    }
    json_object_foreach(json_object_get(l->json, "state"), name, v) {
        if (!uses_state(l, name)) {
            snprintf(pointer, sizeof pointer, "/state/%.100s", name);
            lint_say(l, "unused-state", pointer, "nothing uses state '%.60s'", name);
        }
    }
}

/* ---- secrets ---- */

static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

/* The forms in which well-known services write their keys, then at least so many letters, digits, - or _. */
static const char *find_key(const char *text) {
    static const struct {
        const char *sign, *what;
        size_t least;
    } signs[] = {
        {"sk-", "an API key", 20},         {"AKIA", "a cloud access key", 16}, {"AIza", "an API key", 30},
        {"ghp_", "an access token", 30},   {"gho_", "an access token", 30},    {"github_pat_", "an access token", 30},
        {"glpat-", "an access token", 16}, {"hf_", "an access token", 30},     {"xoxb-", "an access token", 10},
        {"xoxp-", "an access token", 10},  {"Bearer ", "an access token", 16}, {"eyJ", "a signed token", 40}};
    for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
        for (const char *p = text; (p = strstr(p, signs[i].sign)); p++) {
            size_t n = 0;
            const char *rest = p + strlen(signs[i].sign);
            while (is_word(rest[n]) || rest[n] == '.') {
                n++;
            }
            if (n >= signs[i].least && (p == text || !is_word(p[-1]))) {
                return signs[i].what;
            }
        }
    }
    return strstr(text, "PRIVATE KEY-----") ? "a private key" : NULL;
}

/* "https://user:password@host" */
static bool has_password_in_url(const char *text) {
    for (const char *p = text; (p = strstr(p, "://")); p += 3) {
        size_t n = strcspn(p + 3, "/?# \t\n\"'");
        const char *at = memchr(p + 3, '@', n), *colon = memchr(p + 3, ':', n);
        if (at && colon && colon < at && at - colon > 1 && colon[1] != '{' && colon[1] != '$') {
            return true;
        }
    }
    return false;
}

static bool names_secret(const char *key) {
    static const char *const names[] = {"password", "passwd", "passphrase", "secret",       "client_secret", "api_key",
                                        "apikey",   "token",  "auth_token", "access_token", "private_key"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(key, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* A value that stands for one kept elsewhere is none. */
static bool is_reference(const char *text) {
    return strlen(text) < 6 || strpbrk(text, " \n{}<>") || text[0] == '$' || text[0] == '/' ||
           strncmp(text, "env:", 4) == 0 || strncmp(text, "file:", 5) == 0;
}

static void check_secrets(lint *l, const json_t *v, const char *last_key, str *pointer) {
    const char *key, *text = json_string_value(v);
    json_t *sub;
    size_t len = pointer->len;
    if (text) {
        const char *what = find_key(text);
        what = !what && has_password_in_url(text) ? "a password in an address" : what;
        what = !what && names_secret(last_key) && !is_reference(text) ? "a secret" : what;
        if (what) {
            lint_say(l, "secret", str_get(pointer), "this looks like %s", what);
        }
    }
    json_object_foreach(json_borrow(v), key, sub) {
        check_push_token(pointer, key);
        check_secrets(l, sub, key, pointer);
        str_truncate(pointer, len);
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        str_printf(pointer, "/%zu", i);
        check_secrets(l, json_array_get(v, i), last_key, pointer);
        str_truncate(pointer, len);
    }
}

void lint_check_agent(lint *l) {
    str pointer = STR_INIT;
    check_sections(l);
    check_scope(l);
    check_values(l);
    check_secrets(l, l->json, "", &pointer);
    l->failed = l->failed || pointer.failed;
    str_release(&pointer);
}

/* ---- evaluation ---- */

typedef struct tasks {
    lint *l;
    size_t n, n_files;
} tasks;

static bool is_tool(const lint *l, const char *name) {
    const json_t *list = json_object_get(l->json, "tools");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *one = json_get_string(json_array_get(list, i), "name");
        if (one && strcmp(one, name) == 0) {
            return true;
        }
    }
    return false;
}

/* True: a task whose calls this agent could make. */
static bool check_task(lint *l, const char *file, int64_t line, const char *p, size_t n) {
    muga_error err = {.status = MUGA_OK};
    json_t *list = NULL;
    char text[256];
    if (eval_read_tasks(p, n, "task", &list, &err) != MUGA_OK) {
        const char *what = strncmp(err.message, "task:1: ", 8) == 0 ? err.message + 8 : err.message;
        lint_say_at(l, "bad-evaluation", file, line, 1, "", what);
        return false;
    }
    const json_t *calls = member(json_array_get(list, 0), "expect", "calls");
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(calls); i++) {
        const char *name = json_get_string(json_array_get(calls, i), "tool");
        ok = is_tool(l, name);
        if (!ok) {
            snprintf(text, sizeof text, "expect.calls: '%.60s' is no tool of this agent", name);
            lint_say_at(l, "bad-evaluation", file, line, 1, "", text);
        }
    }
    json_decref(list);
    return ok;
}

static muga_status check_task_file(void *ctx, const char *name) {
    tasks *t = ctx;
    size_t n = strlen(name), n_bad = 0;
    if (n < 7 || strcmp(name + n - 6, ".jsonl") != 0) {
        return MUGA_OK;
    }
    str path = STR_INIT, text = STR_INIT, shown = STR_INIT;
    muga_error err = {.status = MUGA_OK};
    str_printf(&path, "%s/eval/%s", t->l->dir, name);
    str_printf(&shown, "eval/%s", name);
    t->n_files++;
    t->l->failed = t->l->failed || path.failed || shown.failed;
    if (os_read_file(t->l->env->files, str_get(&path), TASK_FILE_BYTES, &text, &err) != MUGA_OK) {
        lint_say_at(t->l, "bad-evaluation", str_get(&shown), 1, 1, "", err.message);
    }
    int64_t line = 1;
    for (size_t at = 0; at < text.len && n_bad < MAX_FINDINGS; line++) {
        const char *p = str_get(&text) + at, *end = memchr(p, '\n', text.len - at);
        size_t len = end ? (size_t)(end - p) : text.len - at;
        if (strspn(p, " \t\r") < len) {
            bool ok = check_task(t->l, str_get(&shown), line, p, len);
            t->n += ok;
            n_bad += !ok;
        }
        at += len + 1;
    }
    str_release(&text);
    str_release(&shown);
    str_release(&path);
    return MUGA_OK;
}

void lint_check_evaluation(lint *l) {
    str path = STR_INIT;
    tasks t = {l, 0, 0};
    str_printf(&path, "%s/eval", l->dir);
    muga_status st = path.failed ? MUGA_E_NOMEM
                                 : l->env->files->list(l->env->files->self, str_get(&path), check_task_file, &t, NULL);
    l->failed = l->failed || st == MUGA_E_NOMEM;
    if (t.n_files == 0) {
        lint_say(l, "no-evaluation", "/agent", "there are no tasks in eval/*.jsonl, so nobody knows how well it does");
    } else if (t.n < FEW_TASKS) {
        lint_say(l, "few-tasks", "/agent", "%zu tasks in eval/*.jsonl", t.n);
    }
    str_release(&path);
}
