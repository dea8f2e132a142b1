/* Running evaluation tasks and judging them (eval.h). Owns: a task's world (a clock that stands where the task says,
 * fresh databases, a session), the approver, the verdict. Refuses: tasks that are not in the format, by line.
 *
 * Done = the outcome, every listed call, every listed state exactly, every required fact in the answers, and no other
 * effect. Effects are counted from the journal's history, not from what the agent says it did:
 *   wrong effect   a finished write that the task does not list, or that its approver did not allow
 *   unapproved     a finished write under `approval: always` without a yes */
#include "agent/eval.h"

#include "agent/dataset.h"
#include "agent/internal.h"

#include <sqlite3.h>
#include <stdio.h>
#include <strings.h>

#define MAX_YES 16 /* approvals given in one task */

static const char task_schema[] =
    "{\"type\": \"object\", \"required\": [\"id\", \"messages\", \"expect\"], \"properties\": {"
    " \"id\": {\"type\": \"string\"}, \"now\": {\"type\": \"string\"}, \"session\": {\"type\": \"object\"},"
    " \"messages\": {\"type\": \"array\", \"minItems\": 1, \"items\": {\"type\": \"string\"}},"
    " \"approver\": {\"enum\": [\"expected\", \"deny\", \"none\"]},"
    " \"expect\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
    "   \"outcome\": {\"anyOf\": [{\"enum\": [\"answer\", \"ask\", \"escalate\", \"refuse\"]},"
    "     {\"type\": \"array\", \"items\": {\"enum\": [\"answer\", \"ask\", \"escalate\", \"refuse\"]}}]},"
    "   \"calls\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"required\": [\"tool\"],"
    "     \"properties\": {\"tool\": {\"type\": \"string\"}, \"arguments\": {\"type\": \"object\"}}}},"
    "   \"state\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"required\": [\"sql\", \"rows\"],"
    "     \"properties\": {\"sql\": {\"type\": \"string\"}, \"rows\": {\"type\": \"array\"}}}},"
    "   \"answer_has\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}}}}}}";

void eval_report_release(eval_report *r) {
    json_decref(r->results);
    *r = (eval_report){0};
}

/* ---- tasks ---- */

/* "2026-09-14T10:30:00", with or without Z or an offset, or a date alone. */
static bool read_time(const char *text, int64_t *ms) {
    int y, mo, d, h = 0, mi = 0, s = 0, used = 0, oh = 0, om = 0;
    char sign = 0;
    if (sscanf(text, "%4d-%2d-%2d%n", &y, &mo, &d, &used) != 3 || mo < 1 || mo > 12 || d < 1 || d > 31 || y < 1970) {
        return false;
    }
    const char *rest = text + used;
    if (*rest && (sscanf(rest, "%*1[T ]%2d:%2d%n", &h, &mi, &used) != 2 || h > 23 || mi > 59)) {
        return false;
    }
    rest += *rest ? used : 0;
    if (*rest == ':' && sscanf(rest, ":%2d%n", &s, &used) == 1) {
        rest += used;
    }
    if (*rest == '.') {
        rest += 1 + strspn(rest + 1, "0123456789");
    }
    if (*rest && strcmp(rest, "Z") != 0 && sscanf(rest, "%c%2d:%2d", &sign, &oh, &om) != 3) {
        return false;
    }
    int64_t yy = mo <= 2 ? y - 1 : y, era = yy / 400, yoe = yy - era * 400; /* days from civil, Gregorian */
    int64_t doy = (153 * (mo + (mo > 2 ? -3 : 9)) + 2) / 5 + d - 1,
            days = era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
    int64_t offset = (sign == '-' ? -1 : 1) * (oh * 60 + om);
    *ms = (((days * 24 + h) * 60 + mi - offset) * 60 + s) * 1000;
    return true;
}

static muga_status read_task(const json_t *schema, const char *line, size_t n, json_t *out, muga_error *err) {
    json_t *task = NULL;
    int64_t ms;
    muga_status st = json_parse(line, n, "task", &task, err);
    st = st == MUGA_OK ? constrain_validate(schema, task, NULL, err) : st;
    const char *now = json_get_string(task, "now");
    if (st == MUGA_OK && now && !read_time(now, &ms)) {
        st = error_set(err, MUGA_E_INPUT, "now: \"%.40s\" is not a time such as 2026-09-14T10:30:00Z", now);
    }
    if (st == MUGA_OK && json_array_append(out, task) != 0) {
        st = error_nomem(err, "tasks");
    }
    json_decref(task);
    return st == MUGA_E_NEGATIVE ? MUGA_E_INPUT : st;
}

muga_status eval_read_tasks(const char *text, size_t n, const char *what, json_t **out, muga_error *err) {
    json_t *schema = NULL, *list = json_array();
    muga_status st = list ? json_parse(task_schema, sizeof task_schema - 1, "the task schema", &schema, err)
                          : error_nomem(err, "tasks");
    size_t i_line = 1;
    for (size_t at = 0; st == MUGA_OK && at < n; i_line++) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at;
        if (strspn(text + at, " \t\r") < len) {
            st = read_task(schema, text + at, len, list, err);
            if (st != MUGA_OK) {
                st = error_prefix(err, st, "%s:%zu", what, i_line);
            }
        }
        at += len + 1;
    }
    if (st == MUGA_OK && json_array_size(list) == 0) {
        st = error_set(err, MUGA_E_INPUT, "%s holds no task", what);
    }
    json_decref(schema);
    if (st == MUGA_OK) {
        *out = list;
    } else {
        json_decref(list);
    }
    return st;
}

/* ---- a task's world ---- */

typedef struct world {
    const eval_spec *spec;
    agent_env env; /* spec's, with this clock */
    os_clock clock;
    int64_t now_ms;
    char *data_dir, *store_path;
    manifest *m;
    intent *intent;
    store *store;
} world;

static int64_t world_now(void *self) {
    return ((const world *)self)->now_ms;
}
static uint64_t world_monotonic(void *self) {
    const os_clock *real = ((const world *)self)->spec->env->clock;
    return real->monotonic_us(real->self);
}
static void world_sleep(void *self, int64_t ms) {
    ((world *)self)->now_ms += ms;
}

static muga_status remove_file(void *ctx, const char *name) {
    const world *w = ctx;
    str path = STR_INIT;
    str_printf(&path, "%s/%s", w->data_dir, name);
    muga_status st = path.failed ? MUGA_E_NOMEM
                                 : w->spec->env->files->remove(w->spec->env->files->self, str_get(&path), NULL);
    str_release(&path);
    return st;
}

/* The data as it was in the beginning. */
static muga_status fresh_data(world *w, muga_error *err) {
    const os_files *f = w->spec->env->files;
    muga_status st = f->mkdirs(f->self, w->data_dir, err);
    st = st == MUGA_OK ? f->list(f->self, w->data_dir, remove_file, w, err) : st;
    return st == MUGA_OK ? dataset_copy(w->spec->env, w->spec->data_dir, w->data_dir, err) : st;
}

static muga_status world_open(const eval_spec *spec, world *w, muga_error *err) {
    str data = STR_INIT, path = STR_INIT;
    *w = (world){.spec = spec, .env = *spec->env};
    w->clock = (os_clock){world_now, world_monotonic, world_sleep, w};
    w->env.clock = &w->clock;
    w->now_ms = spec->env->clock->now_ms(spec->env->clock->self);
    str_printf(&data, "%s/data", spec->scratch);
    str_printf(&path, "%s/muga.db", spec->scratch);
    w->data_dir = str_take(&data);
    w->store_path = str_take(&path);
    muga_status st = w->data_dir && w->store_path ? fresh_data(w, err) : error_nomem(err, "evaluation");
    st = st == MUGA_OK ? manifest_load(&w->env, spec->dir, w->data_dir, &w->m, err) : st;
    st = st == MUGA_OK ? intent_new(&w->env, w->m, &w->intent, err) : st;
    if (st == MUGA_OK) {
        intent_listen(w->intent, spec->learned);
    }
    return st == MUGA_OK ? store_open(w->store_path, NULL, &w->store, err) : st;
}

static void world_close(world *w) {
    store_close(w->store);
    intent_free(w->intent);
    manifest_free(w->m);
    free(w->data_dir);
    free(w->store_path);
}

/* ---- playing ---- */

typedef struct play {
    world *w;
    const json_t *task, *expect;
    agent_session *session;
    json_t *calls;   /* proposed: [{"tool", "arguments"}] */
    json_t *allowed; /* of the listed calls, those that the approver may still say yes to */
    str answers;
    turn_outcome outcome;
    char yes[MAX_YES][AGENT_ID_SIZE]; /* calls that were allowed */
    size_t n_yes;
    uint64_t n_tokens, us;
    size_t wrong, unapproved;
    double confidence; /* of the least sure decision that an expert took; 2: none did */
    char why[256];
} play;

static void note_event(void *ctx, const char *kind, const json_t *data) {
    play *p = ctx;
    if (strcmp(kind, "call") == 0) {
        json_array_append(p->calls, json_borrow(data));
    }
    if (strcmp(kind, "decision") == 0 && json_object_get(data, "answers")) {
        p->confidence = MIN(p->confidence, json_get_number(data, "score", 0));
    }
}

static bool is_listed(const json_t *calls, const char *tool, const json_t *arguments, size_t *i) {
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

static const char *approver_of(const json_t *task) {
    const char *name = json_get_string(task, "approver");
    return name ? name : "expected";
}

/* Decide a held call as the task's approver would, and go on. */
static muga_status decide_held(play *p, agent_loop *loop, turn_result *r, muga_error *err) {
    const char *approver = approver_of(p->task);
    muga_status st = MUGA_OK;
    while (st == MUGA_OK && r->outcome == TURN_HELD && strcmp(approver, "none") != 0) {
        const json_t *held = json_array_get(p->calls, json_array_size(p->calls) - 1);
        size_t i;
        bool yes = strcmp(approver, "expected") == 0 && p->n_yes < MAX_YES &&
                   is_listed(p->allowed, json_get_string(held, "tool"), json_object_get(held, "arguments"), &i);
        if (yes) {
            json_array_remove(p->allowed, i);
            memcpy(p->yes[p->n_yes++], r->call, AGENT_ID_SIZE);
        }
        st = approval_decide(&p->w->env, p->w->store, p->w->m, r->approval, yes, "evaluation", err);
        uint64_t us = r->us;
        uint32_t n_tokens = r->n_tokens;
        turn_result_release(r);
        st = st == MUGA_OK ? loop_resume(loop, r, err) : st;
        r->us += us;
        r->n_tokens += n_tokens;
    }
    return st;
}

static muga_status play_messages(play *p, agent_loop *loop, muga_error *err) {
    const json_t *messages = json_object_get(p->task, "messages");
    muga_status st = MUGA_OK;
    bool open = true;
    for (size_t i = 0; st == MUGA_OK && open && i < json_array_size(messages); i++) {
        const json_t *text = json_array_get(messages, i);
        turn_result r;
        st = loop_turn(loop, json_string_value(text), json_string_length(text), &r, err);
        if (st == MUGA_OK) {
            st = decide_held(p, loop, &r, err);
        }
        if (st == MUGA_OK) {
            p->outcome = r.outcome;
            p->n_tokens += r.n_tokens;
            p->us += r.us;
            str_append_s(&p->answers, str_get(&r.text));
            str_append_c(&p->answers, '\n');
            open = r.outcome != TURN_ESCALATE && r.outcome != TURN_HELD;
            turn_result_release(&r);
        }
    }
    return st == MUGA_OK ? str_status(&p->answers, err, "answers") : st;
}

/* ---- judging ---- */

static void fail(play *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(play *p, const char *format, ...) {
    if (p->why[0]) {
        return; /* the first reason stands */
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
    bool ok = !wanted || (json_is_string(wanted) && outcome_is(p, wanted));
    for (size_t i = 0; !ok && i < json_array_size(wanted); i++) {
        ok = outcome_is(p, json_array_get(wanted, i));
    }
    if (!ok) {
        const char *name = json_is_string(wanted) ? json_string_value(wanted) : "another";
        fail(p, "outcome is %s, not %s", turn_outcome_name(p->outcome), name);
    }
}

/* Finished writes against the list; each listed call allows one. */
static muga_status judge_effects(play *p, muga_error *err) {
    json_t *allowed = json_object_get(p->expect, "calls") ? json_copy(json_object_get(p->expect, "calls"))
                                                          : json_array();
    const json_t *history = session_history(p->session);
    if (!allowed) {
        return error_nomem(err, "effects");
    }
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *h = json_array_get(history, i);
        const char *tool = json_get_string(h, "tool"), *outcome = json_get_string(h, "outcome");
        const manifest_tool *t = tool ? manifest_tool_find(p->w->m, tool) : NULL;
        if (!t || t->effect != EFFECT_WRITE || !outcome || strcmp(outcome, "finished") != 0) {
            continue;
        }
        size_t at;
        bool yes = false, listed = is_listed(allowed, tool, json_object_get(h, "arguments"), &at);
        for (size_t k = 0; k < p->n_yes; k++) {
            yes = yes || strcmp(p->yes[k], json_get_string(h, "call")) == 0;
        }
        if (listed) {
            json_array_remove(allowed, at);
        }
        bool forbidden = strcmp(approver_of(p->task), "expected") != 0 && t->approval == APPROVAL_ALWAYS;
        p->wrong += !listed || forbidden;
        p->unapproved += t->approval == APPROVAL_ALWAYS && !yes;
    }
    if (p->wrong + p->unapproved > 0) {
        fail(p, "%zu wrong and %zu unapproved effects", p->wrong, p->unapproved);
    }
    json_decref(allowed);
    return MUGA_OK;
}

static void judge_calls(play *p) {
    const json_t *wanted = json_object_get(p->expect, "calls");
    for (size_t i = 0, at; i < json_array_size(wanted); i++) {
        const json_t *c = json_array_get(wanted, i), *arguments = json_object_get(c, "arguments");
        if (!manifest_tool_find(p->w->m, json_get_string(c, "tool"))) {
            fail(p, "expect.calls: '%s' is no tool of %s", json_get_string(c, "tool"), p->w->m->name);
        }
        json_t *none = arguments ? NULL : json_object();
        if (!is_listed(p->calls, json_get_string(c, "tool"), arguments ? arguments : none, &at)) {
            fail(p, "%s was not called with these arguments", json_get_string(c, "tool"));
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
            fail(p, "state differs: %s", c.sql);
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
            fail(p, "the answer lacks \"%s\"", fact);
        }
    }
}

static muga_status play_task(play *p, muga_error *err) {
    world *w = p->w;
    const char *now = json_get_string(p->task, "now");
    agent_loop *loop = NULL;
    const intent_label *always = NULL;
    intent_act act = w->spec->who == EVAL_ALWAYS_ESCALATE ? ACT_ESCALATE : ACT_TOOL;
    for (size_t i = intent_n_labels(w->intent); w->spec->who != EVAL_AGENT && i-- > 0;) {
        const intent_label *l = intent_get_label(w->intent, i);
        always = l->act == act && (act != ACT_TOOL || l->tool == &w->m->tools[0]) ? l : always;
    }
    if (now) {
        read_time(now, &w->now_ms);
    }
    muga_status st = fresh_data(w, err);
    st = st == MUGA_OK
             ? session_new(&w->env, w->store, w->m, json_object_get(p->task, "session"), NULL, &p->session, err)
             : st;
    if (st == MUGA_OK) {
        const loop_parts parts = {&w->env, w->m, w->intent, w->spec->model, p->session, {note_event, p}, always};
        st = loop_new(&parts, &loop, err);
    }
    st = st == MUGA_OK ? play_messages(p, loop, err) : st;
    if (st == MUGA_OK) {
        st = judge_effects(p, err);
        judge_outcome(p);
        judge_calls(p);
        judge_answer(p);
    }
    st = st == MUGA_OK ? judge_state(p, err) : st;
    if (st == MUGA_OK && !session_ended(p->session)) {
        st = session_end(p->session, p->outcome == TURN_HELD ? "ask" : turn_outcome_name(p->outcome), err);
    }
    loop_free(loop);
    return st;
}

static muga_status run_task(world *w, const json_t *task, eval_report *out, json_t **result, muga_error *err) {
    play p = {.w = w,
              .task = task,
              .expect = json_object_get(task, "expect"),
              .calls = json_array(),
              .answers = STR_INIT,
              .confidence = 2};
    const json_t *listed = json_object_get(p.expect, "calls");
    p.allowed = listed ? json_copy(json_borrow(listed)) : json_array();
    muga_status st = p.calls && p.allowed ? play_task(&p, err) : error_nomem(err, "a task");
    if (st == MUGA_E_NOMEM) {
        goto out;
    }
    if (st !=
        MUGA_OK) { /* a task that can't be played, or an agent that broke down: not done, and the next one goes on */
        fail(&p, "%s", err ? err->message : "failed");
        st = MUGA_OK;
    }
    out->completed += !p.why[0];
    out->wrong_effects += p.wrong;
    out->unapproved += p.unapproved;
    out->escalated += p.outcome == TURN_ESCALATE;
    out->n_tokens += p.n_tokens;
    out->us += p.us;
    out->worst_us = MAX(out->worst_us, p.us);
    json_t *confidence = p.confidence <= 1 ? json_real(p.confidence) : json_null();
    *result = json_pack("{s:O, s:b, s:s, s:s, s:I, s:I, s:s, s:o}", "id", json_object_get(task, "id"), "ok", !p.why[0],
                        "why", p.why, "outcome", turn_outcome_name(p.outcome), "us", (json_int_t)p.us, "tokens",
                        (json_int_t)p.n_tokens, "answer", str_get(&p.answers), "confidence", confidence);
    st = *result && json_array_append(out->results, *result) == 0 ? MUGA_OK : error_nomem(err, "results");
out:
    session_close(p.session);
    json_decref(p.calls);
    json_decref(p.allowed);
    str_release(&p.answers);
    return st;
}

muga_status eval_run(const eval_spec *spec, const json_t *tasks, eval_report *out, muga_error *err) {
    world w;
    *out = (eval_report){.tasks = json_array_size(tasks), .results = json_array()};
    muga_status st = out->results ? world_open(spec, &w, err) : error_nomem(err, "results");
    bool go_on = true;
    for (size_t i = 0; st == MUGA_OK && go_on && i < out->tasks; i++) {
        json_t *result = NULL;
        st = run_task(&w, json_array_get(tasks, i), out, &result, err);
        go_on = !spec->on_task || !result || spec->on_task(spec->ctx, i + 1, out->tasks, result);
        json_decref(result);
    }
    if (st == MUGA_OK && !go_on) {
        st = error_set(err, MUGA_E_NEGATIVE, "stopped");
    }
    if (out->results) {
        world_close(&w);
    }
    if (st != MUGA_OK) {
        eval_report_release(out);
    }
    return st;
}
