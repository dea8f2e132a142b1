/* Judging a task that was played (eval.h). Done = the outcome, every listed call, every listed state exactly, every
 * required fact in the answers, and no other effect. Effects are counted from the journal's history, not from what the
 * agent says it did:
 *   wrong effect   a finished write that the task does not list, or that its approver did not allow
 *   unapproved     a finished write under `approval: always` without a yes */
#include "agent/eval_internal.h"

#include <sqlite3.h>
#include <stdio.h>
#include <strings.h>

bool eval_is_listed(const json_t *calls, const char *tool, const json_t *arguments, size_t *i) {
    for (*i = 0; *i < json_array_size(calls); (*i)++) {
        const json_t *c = json_array_get(calls, *i), *wanted = json_object_get(c, "arguments");
        const char *name = json_get_string(c, "tool");
        if (name && strcmp(name, tool) == 0 &&
            (wanted ? json_equal(json_borrow(wanted), json_borrow(arguments)) : json_object_size(arguments) == 0)) {
            return true;
        }
    }
    return false;
}

const char *eval_approver(const json_t *task) {
    const char *name = json_get_string(task, "approver");
    return name ? name : "expected";
}

void eval_fail(play *p, const char *format, ...) {
    if (p->why[0]) {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(p->why, sizeof p->why, format, args);
    va_end(args);
}

/* A held call may still become an answer; until then it is every outcome but a refusal. */
static bool outcome_is(const play *p, const json_t *wanted) {
    const char *name = json_string_value(wanted);
    return p->outcome == TURN_HELD ? strcmp(name, "refuse") != 0 : strcmp(name, turn_outcome_name(p->outcome)) == 0;
}

static void judge_outcome(play *p) {
    const json_t *wanted = json_object_get(p->expect, "outcome");
    const json_t *each = json_object_get(p->expect, "outcomes");
    bool ok = !wanted || (json_is_string(wanted) && outcome_is(p, wanted));
    for (size_t i = 0; !ok && i < json_array_size(wanted); i++) {
        ok = outcome_is(p, json_array_get(wanted, i));
    }
    if (!ok) {
        const char *name = json_is_string(wanted) ? json_string_value(wanted) : "another";
        eval_fail(p, "outcome is %s, not %s", turn_outcome_name(p->outcome), name);
    }
    if (each && !json_equal(json_borrow(each), p->outcomes)) {
        str text = STR_INIT;
        json_write(p->outcomes, &text);
        eval_fail(p, "the turns' outcomes are %.200s", str_get(&text));
        str_release(&text);
    }
}

/* Finished writes of a history against the list; each listed call allows one. */
static void judge_writes(play *p, const json_t *history, json_t *allowed) {
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *h = json_array_get(history, i);
        const char *tool = json_get_string(h, "tool"), *outcome = json_get_string(h, "outcome");
        const manifest_tool *t = tool ? manifest_tool_find(p->w->m, tool) : NULL;
        if (!t || t->effect != EFFECT_WRITE || !outcome || strcmp(outcome, "finished") != 0) {
            continue;
        }
        size_t at;
        bool yes = false, listed = eval_is_listed(allowed, tool, json_object_get(h, "arguments"), &at);
        for (size_t k = 0; k < p->n_yes; k++) {
            yes = yes || strcmp(p->yes[k], json_get_string(h, "call")) == 0;
        }
        if (listed) {
            json_array_remove(allowed, at);
        }
        bool forbidden = strcmp(eval_approver(p->task), "expected") != 0 && t->approval == APPROVAL_ALWAYS;
        p->wrong += !listed || forbidden;
        p->unapproved += t->approval == APPROVAL_ALWAYS && !yes;
    }
}

static muga_status judge_effects(play *p, muga_error *err) {
    json_t *allowed = json_object_get(p->expect, "calls") ? json_clone_shallow(json_object_get(p->expect, "calls"))
                                                          : json_array();
    if (!allowed) {
        return error_nomem(err, "effects");
    }
    judge_writes(p, p->history, allowed);
    judge_writes(p, session_history(p->session), allowed);
    if (p->wrong + p->unapproved > 0) {
        eval_fail(p, "%zu wrong and %zu unapproved effects", p->wrong, p->unapproved);
    }
    json_decref(allowed);
    return MUGA_OK;
}

/* What it keeps of its world, at the end. */
static void judge_knowledge(play *p) {
    const char *name;
    json_t *wanted;
    json_object_foreach(json_object_get(p->expect, "knows"), name, wanted) {
        const json_t *v = json_object_get(session_state(p->session), name);
        if (!v || !json_equal(json_borrow(v), wanted)) {
            str text = STR_INIT;
            if (v) {
                json_write(v, &text);
            }
            eval_fail(p, "state.%.60s is %.150s", name, v ? str_get(&text) : "not there");
            str_release(&text);
        }
    }
}

static void judge_calls(play *p) {
    const json_t *wanted = json_object_get(p->expect, "calls");
    for (size_t i = 0, at; i < json_array_size(wanted); i++) {
        const json_t *c = json_array_get(wanted, i), *arguments = json_object_get(c, "arguments");
        if (!manifest_tool_find(p->w->m, json_get_string(c, "tool"))) {
            eval_fail(p, "expect.calls: '%s' is no tool of %s", json_get_string(c, "tool"), p->w->m->name);
        }
        json_t *none = arguments ? NULL : json_object();
        if (!eval_is_listed(p->calls, json_get_string(c, "tool"), arguments ? arguments : none, &at)) {
            eval_fail(p, "%s was not called with these arguments", json_get_string(c, "tool"));
        }
        json_decref(none);
    }
}

static json_t *read_cell(sqlite3_stmt *s, int i) {
    switch (sqlite3_column_type(s, i)) {
    case SQLITE_INTEGER: return json_integer(sqlite3_column_int64(s, i));
    case SQLITE_FLOAT: return json_real(sqlite3_column_double(s, i));
    case SQLITE_NULL: return json_null();
    default: return json_stringn((const char *)sqlite3_column_text(s, i), (size_t)sqlite3_column_bytes(s, i));
    }
}

static muga_status read_rows(const char *path, const char *sql, json_t *rows, muga_error *err) {
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL);
    rc = rc == SQLITE_OK ? sqlite3_prepare_v2(db, sql, -1, &s, NULL) : rc;
    muga_status st = rc == SQLITE_OK && s
                         ? MUGA_OK
                         : error_set(err, MUGA_E_INPUT, "expect.state: %s", db ? sqlite3_errmsg(db) : "?");
    while (st == MUGA_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        json_t *row = json_array();
        for (int i = 0; row && i < sqlite3_column_count(s); i++) {
            json_array_append_new(row, read_cell(s, i));
        }
        st = row && json_array_append_new(rows, row) == 0 ? MUGA_OK : error_nomem(err, "rows");
    }
    if (st == MUGA_OK && rc != SQLITE_DONE) {
        st = error_set(err, MUGA_E_INPUT, "expect.state: %s", sqlite3_errmsg(db));
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
    return st;
}

/* The agent's databases are tried in turn; the first that knows the tables answers. */
typedef struct state_check {
    play *p;
    const char *sql;
    json_t *rows;
    muga_status st;
    bool answered;
    muga_error *err;
} state_check;

static muga_status try_database(void *ctx, const char *name) {
    state_check *c = ctx;
    size_t n = strlen(name);
    if (c->answered || n < 3 || strcmp(name + n - 3, ".db") != 0) {
        return MUGA_OK;
    }
    str path = STR_INIT;
    str_printf(&path, "%s/%s", c->p->w->data_dir, name);
    json_array_clear(c->rows);
    c->st = path.failed ? error_nomem(c->err, "a path") : read_rows(str_get(&path), c->sql, c->rows, c->err);
    c->answered = c->st == MUGA_OK;
    str_release(&path);
    return MUGA_OK;
}

static muga_status judge_state(play *p, muga_error *err) {
    const json_t *wanted = json_object_get(p->expect, "state");
    const os_files *f = p->w->spec->env->files;
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(wanted); i++) {
        const json_t *one = json_array_get(wanted, i);
        state_check c = {p, json_get_string(one, "sql"), json_array(), MUGA_OK, false, err};
        st = c.rows ? f->list(f->self, p->w->data_dir, try_database, &c, err) : error_nomem(err, "rows");
        st = st == MUGA_OK ? c.st : st;
        if (st == MUGA_OK && !json_equal(c.rows, json_object_get(one, "rows"))) {
            eval_fail(p, "state differs: %s", c.sql);
        }
        json_decref(c.rows);
    }
    return st;
}

static void judge_answer(play *p) {
    const json_t *facts = json_object_get(p->expect, "answer_has");
    for (size_t i = 0; i < json_array_size(facts); i++) {
        const char *fact = json_string_value(json_array_get(facts, i)), *text = str_get(&p->answers);
        size_t n = strlen(fact);
        while (*text && strncasecmp(text, fact, n) != 0) {
            text++;
        }
        if (n > 0 && !*text) {
            eval_fail(p, "the answer lacks \"%s\"", fact);
        }
    }
}

muga_status eval_judge(play *p, muga_error *err) {
    muga_status st = judge_effects(p, err);
    if (st == MUGA_OK) {
        judge_outcome(p);
        judge_calls(p);
        judge_answer(p);
        judge_knowledge(p);
        st = judge_state(p, err);
    }
    return st;
}
