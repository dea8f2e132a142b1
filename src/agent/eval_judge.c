/* Judging a task that was played (eval.h). Done = the outcome, every listed call, every listed state exactly, every
 * required fact in the answers, and no other effect. Effects are counted from the journal's history, not from what the
 * agent says it did:
 *   wrong effect   a finished write that the task does not list, or that its approver did not allow
 *   unapproved     a finished write under `approval: always` without a yes
 * Those of agents within count as its own, by their own manifests; a call that asks or hands over to one has no effect
 * besides theirs. */
#include "agent/eval_internal.h"
#include "agent/tool.h"

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

static bool is_another_agent(const manifest_tool *t) {
    return t->kind == &tool_kind_agent || t->kind == &tool_kind_hand_off;
}

/* Finished writes of a history under `m` against the list; each listed call allows one. */
static void judge_writes(play *p, const manifest *m, const json_t *history, json_t *allowed) {
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *h = json_array_get(history, i);
        const char *tool = json_get_string(h, "tool"), *outcome = json_get_string(h, "outcome");
        const manifest_tool *t = tool ? manifest_tool_find(m, tool) : NULL;
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
        p->wrong += (!listed && !is_another_agent(t)) || forbidden;
        p->unapproved += t->approval == APPROVAL_ALWAYS && !yes;
    }
}

/* ---- agents within ---- */

static muga_status read_within(play *p, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    p->within = json_array();
    muga_status st = p->within ? store_query(p->w->store, &r, err,
                                             "SELECT s.dir, s.data_dir, c.id, c.tool, c.arguments, c.state FROM calls c"
                                             " JOIN sessions s ON s.id = c.session JOIN session_origins o ON o.session"
                                             " = s.id WHERE o.parent IS NOT NULL ORDER BY s.dir, s.id, c.n",
                                             "")
                               : error_nomem(err, "calls");
    while (st == MUGA_OK && (st = store_step(r, &has, err)) == MUGA_OK && has) {
        span text = store_text(r, 4);
        json_t *arguments = NULL;
        st = json_parse(text.p, text.n, "arguments", &arguments, err);
        json_t *call = st == MUGA_OK
                           ? json_pack("{s:s, s:s, s:s, s:s, s:O, s:s}", "dir", store_string(r, 0), "data_dir",
                                       store_string(r, 1), "call", store_string(r, 2), "tool", store_string(r, 3),
                                       "arguments", arguments, "outcome", store_string(r, 5))
                           : NULL;
        json_decref(arguments);
        st = st == MUGA_OK && json_array_append_new(p->within, call) != 0 ? error_nomem(err, "calls") : st;
    }
    store_done(r);
    return st;
}

/* They come in the order of their agents. */
static muga_status judge_within(play *p, json_t *allowed, muga_error *err) {
    muga_status st = MUGA_OK;
    size_t n = json_array_size(p->within);
    for (size_t i = 0, k; st == MUGA_OK && i < n; i = k) {
        const json_t *first = json_array_get(p->within, i);
        const char *dir = json_get_string(first, "dir");
        json_t *calls = json_array();
        manifest *m = NULL;
        bool ok = calls != NULL;
        for (k = i; k < n && strcmp(json_get_string(json_array_get(p->within, k), "dir"), dir) == 0; k++) {
            ok = ok && json_array_append(calls, json_array_get(p->within, k)) == 0;
        }
        st = ok ? manifest_load(&p->w->env, dir, json_get_string(first, "data_dir"), &m, err)
                : error_nomem(err, "calls");
        if (st == MUGA_OK) {
            judge_writes(p, m, calls, allowed);
        }
        manifest_free(m);
        json_decref(calls);
    }
    return st;
}

static muga_status judge_effects(play *p, muga_error *err) {
    json_t *allowed = json_object_get(p->expect, "calls") ? json_clone_shallow(json_object_get(p->expect, "calls"))
                                                          : json_array();
    if (!allowed) {
        return error_nomem(err, "effects");
    }
    judge_writes(p, p->w->m, p->history, allowed);
    judge_writes(p, p->w->m, session_history(p->session), allowed);
    muga_status st = judge_within(p, allowed, err);
    if (p->wrong + p->unapproved > 0) {
        eval_fail(p, "%zu wrong and %zu unapproved effects", p->wrong, p->unapproved);
    }
    json_decref(allowed);
    return st;
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

static bool has_others(const manifest *m) {
    bool has = false;
    for (size_t i = 0; i < m->n_tools; i++) {
        has = has || is_another_agent(&m->tools[i]);
    }
    return has;
}

static void judge_calls(play *p) {
    const json_t *wanted = json_object_get(p->expect, "calls");
    for (size_t i = 0, at; i < json_array_size(wanted); i++) {
        const json_t *c = json_array_get(wanted, i), *arguments = json_object_get(c, "arguments");
        if (!has_others(p->w->m) && !manifest_tool_find(p->w->m, json_get_string(c, "tool"))) {
            eval_fail(p, "expect.calls: '%s' is no tool of %s", json_get_string(c, "tool"), p->w->m->name);
        }
        json_t *none = arguments ? NULL : json_object();
        if (!eval_is_listed(p->calls, json_get_string(c, "tool"), arguments ? arguments : none, &at) &&
            !eval_is_listed(p->within, json_get_string(c, "tool"), arguments ? arguments : none, &at)) {
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

/* The agent's databases are tried in turn, then those of agents within; the first that knows the tables answers. */
typedef struct state_check {
    play *p;
    const char *dir, *sql;
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
    str_printf(&path, "%s/%s", c->dir, name);
    json_array_clear(c->rows);
    c->st = path.failed ? error_nomem(c->err, "a path") : read_rows(str_get(&path), c->sql, c->rows, c->err);
    c->answered = c->st == MUGA_OK;
    str_release(&path);
    return MUGA_OK;
}

static muga_status try_folder(void *ctx, const char *name) {
    state_check *c = ctx;
    const world *w = c->p->w;
    const os_files *f = w->spec->env->files;
    str path = STR_INIT;
    if (c->answered) {
        return MUGA_OK;
    }
    str_printf(&path, "%s/%s", w->data, name);
    c->dir = str_get(&path);
    muga_status st = path.failed ? error_nomem(c->err, "a path") : f->list(f->self, c->dir, try_database, c, c->err);
    str_release(&path);
    c->dir = NULL;
    return st;
}

static muga_status judge_state(play *p, muga_error *err) {
    const json_t *wanted = json_object_get(p->expect, "state");
    const os_files *f = p->w->spec->env->files;
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(wanted); i++) {
        const json_t *one = json_array_get(wanted, i);
        state_check c = {p, p->w->data_dir, json_get_string(one, "sql"), json_array(), MUGA_OK, false, err};
        st = c.rows ? f->list(f->self, p->w->data_dir, try_database, &c, err) : error_nomem(err, "rows");
        st = st == MUGA_OK ? f->list(f->self, p->w->data, try_folder, &c, err) : st;
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
    muga_status st = read_within(p, err);
    st = st == MUGA_OK ? judge_effects(p, err) : st;
    if (st == MUGA_OK) {
        judge_outcome(p);
        judge_calls(p);
        judge_answer(p);
        judge_knowledge(p);
        st = judge_state(p, err);
    }
    json_decref(p->within);
    p->within = NULL;
    return st;
}
