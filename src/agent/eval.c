/* Playing evaluation tasks (eval.h). Owns: the turns of a task, the approver, the count of what the model was asked.
 * The world it plays in is eval_world.c's; what is right is judged in eval_judge.c. */
#include "agent/eval_internal.h"

#include <stdio.h>

void eval_report_release(eval_report *r) {
    json_decref(r->results);
    *r = (eval_report){0};
}

/* ---- playing ---- */

static void note_event(void *ctx, const char *kind, const json_t *data) {
    play *p = ctx;
    if (strcmp(kind, "call") == 0) {
        json_array_append(p->calls, json_borrow(data));
    }
    if (strcmp(kind, "decision") == 0 && json_object_get(data, "answers")) {
        p->confidence = MIN(p->confidence, json_get_number(data, "score", 0));
    }
}

/* Is the call that waits for this approval, here or in an agent within, on the task's list? Each entry allows one. */
static muga_status allows(play *p, const char *approval, bool *yes, muga_error *err) {
    json_t *waiting = NULL;
    muga_status st = approval_list(&p->w->env, p->w->store, &waiting, err);
    *yes = false;
    for (size_t i = 0, at; st == MUGA_OK && i < json_array_size(waiting); i++) {
        const json_t *a = json_array_get(waiting, i);
        if (strcmp(json_get_string(a, "approval"), approval) == 0 && p->n_yes < EVAL_MAX_YES &&
            eval_is_listed(p->allowed, json_get_string(a, "tool"), json_object_get(a, "arguments"), &at)) {
            json_array_remove(p->allowed, at);
            snprintf(p->yes[p->n_yes++], AGENT_ID_SIZE, "%s", json_get_string(a, "call"));
            *yes = true;
        }
    }
    json_decref(waiting);
    return st;
}

/* Decide a held call as the task's approver would, and go on. */
static muga_status decide_held(play *p, agent_loop *loop, turn_result *r, muga_error *err) {
    const char *approver = eval_approver(p->task);
    muga_status st = MUGA_OK;
    while (st == MUGA_OK && r->outcome == TURN_HELD && strcmp(approver, "none") != 0) {
        bool yes = strcmp(approver, "expected") == 0;
        st = yes ? allows(p, r->approval, &yes, err) : MUGA_OK;
        st = st == MUGA_OK
                 ? approval_decide_within(&p->w->env, p->w->store, p->w->m, r->approval, yes, "evaluation", err)
                 : st;
        uint64_t us = r->us;
        uint32_t n_tokens = r->n_tokens;
        turn_result_release(r);
        st = st == MUGA_OK ? loop_resume(loop, r, err) : st;
        r->us += us;
        r->n_tokens += n_tokens;
    }
    return st;
}

/* ---- a session, and the next ---- */

static muga_status begin_loop(play *p, muga_error *err) {
    world *w = p->w;
    const loop_parts parts = {&w->env, w->m, w->intent, w->model, p->session, {note_event, p}, p->always};
    return loop_new(&parts, &p->loop, err);
}

static muga_status begin_session(play *p, const json_t *values, muga_error *err) {
    world *w = p->w;
    muga_status st = session_new(&w->env, w->store, w->m, values, NULL, &p->session, err);
    return st == MUGA_OK ? begin_loop(p, err) : st;
}

/* `over`: its history counts, and it ends as its last turn did. */
static muga_status leave_session(play *p, bool over, muga_error *err) {
    muga_status st = MUGA_OK;
    if (over && json_array_extend(p->history, json_borrow(session_history(p->session))) != 0) {
        st = error_nomem(err, "a history");
    }
    if (st == MUGA_OK && over && !session_ended(p->session)) {
        st = session_end(p->session, p->outcome == TURN_HELD ? "ask" : turn_outcome_name(p->outcome), err);
    }
    loop_free(p->loop);
    session_close(p->session);
    p->loop = NULL;
    p->session = NULL;
    return st;
}

/* As after a crash: nothing but the store goes on. */
static muga_status restart(play *p, muga_error *err) {
    world *w = p->w;
    char id[AGENT_ID_SIZE];
    snprintf(id, sizeof id, "%s", session_id(p->session));
    muga_status st = leave_session(p, false, err);
    st = st == MUGA_OK ? session_open(&w->env, w->store, w->m, id, &p->session, err) : st;
    return st == MUGA_OK ? begin_loop(p, err) : st;
}

/* ---- turns ---- */

static muga_status take_turn(play *p, const json_t *item, bool *open, muga_error *err) {
    const json_t *percept = json_object_get(item, "percept");
    turn_result r;
    muga_status st = percept ? loop_percept(p->loop, percept, &r, err)
                             : loop_turn(p->loop, json_string_value(item), json_string_length(item), &r, err);
    st = st == MUGA_OK ? decide_held(p, p->loop, &r, err) : st;
    if (st != MUGA_OK) {
        return st;
    }
    bool streams = p->w->m->rules != NULL; /* percepts go on while a call is held, and after an escalation */
    p->outcome = r.outcome;
    p->n_tokens += r.n_tokens;
    p->us += r.us;
    json_array_append_new(p->turns, json_integer((json_int_t)r.us));
    json_array_append_new(p->outcomes, json_string(turn_outcome_name(r.outcome)));
    str_append_s(&p->answers, str_get(&r.text));
    str_append_c(&p->answers, '\n');
    *open = !session_ended(p->session) && (streams || (r.outcome != TURN_ESCALATE && r.outcome != TURN_HELD));
    turn_result_release(&r);
    return MUGA_OK;
}

static muga_status play_item(play *p, const json_t *item, bool *open, muga_error *err) {
    const json_t *values = json_object_get(item, "session");
    muga_status st = MUGA_OK;
    p->w->now_ms += json_get_int(item, "after_seconds", 0) * 1000;
    if (json_object_get(item, "restart")) {
        st = restart(p, err);
    }
    if (st == MUGA_OK && values) {
        st = leave_session(p, true, err);
        st = st == MUGA_OK ? begin_session(p, values, err) : st;
    }
    if (st == MUGA_OK && (json_is_string(item) || json_object_get(item, "percept"))) {
        st = take_turn(p, item, open, err);
    }
    return st;
}

static muga_status play_messages(play *p, muga_error *err) {
    const json_t *messages = json_object_get(p->task, "messages");
    muga_status st = MUGA_OK;
    bool open = true;
    for (size_t i = 0; st == MUGA_OK && open && i < json_array_size(messages); i++) {
        st = play_item(p, json_array_get(messages, i), &open, err);
    }
    return st == MUGA_OK ? str_status(&p->answers, err, "answers") : st;
}

static muga_status play_task(play *p, muga_error *err) {
    world *w = p->w;
    const char *now = json_get_string(p->task, "now");
    intent_act act = w->spec->who == EVAL_ALWAYS_ESCALATE ? ACT_ESCALATE : ACT_TOOL;
    for (size_t i = intent_n_labels(w->intent); w->spec->who != EVAL_AGENT && i-- > 0;) {
        const intent_label *l = intent_get_label(w->intent, i);
        p->always = l->act == act && (act != ACT_TOOL || l->tool == &w->m->tools[0]) ? l : p->always;
    }
    if (now) {
        eval_read_time(now, &w->now_ms);
    }
    muga_status st = eval_world_begin(w, err);
    st = st == MUGA_OK ? begin_session(p, json_object_get(p->task, "session"), err) : st;
    st = st == MUGA_OK ? play_messages(p, err) : st;
    st = st == MUGA_OK ? eval_judge(p, err) : st;
    muga_status end = p->session ? leave_session(p, st == MUGA_OK, err) : MUGA_OK;
    return st == MUGA_OK ? end : st;
}

/* Whether a person had to take over: must, may (another end is right, too), no; NULL: the task doesn't say. */
static const char *escalation_wanted(const json_t *expect) {
    const json_t *wanted = json_object_get(expect, "outcome");
    size_t n = json_is_string(wanted) ? 1 : json_array_size(wanted), n_escalate = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_string(wanted) ? wanted : json_array_get(wanted, i);
        n_escalate += strcmp(json_string_value(one), "escalate") == 0;
    }
    return n == 0 ? NULL : n_escalate == 0 ? "no" : n_escalate == n ? "must" : "may";
}

static json_t *make_result(const play *p) {
    const llm_meter *m = &p->w->meter;
    json_t *confidence = p->confidence <= 1 ? json_real(p->confidence) : json_null();
    return json_pack("{s:O, s:b, s:s, s:s, s:s?, s:I, s:I, s:I, s:O, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o}", "id",
                     json_object_get(p->task, "id"), "ok", !p->why[0], "why", p->why, "outcome",
                     turn_outcome_name(p->outcome), "escalation", escalation_wanted(p->expect), "wrong_effects",
                     (json_int_t)p->wrong, "unapproved", (json_int_t)p->unapproved, "us", (json_int_t)p->us, "turns_us",
                     p->turns, "steps", (json_int_t)json_array_size(p->calls), "tokens", (json_int_t)p->n_tokens,
                     "asked", (json_int_t)m->n_asked, "read", (json_int_t)m->n_prompt, "cached",
                     (json_int_t)m->n_cached, "written", (json_int_t)m->n_generated, "answer", str_get(&p->answers),
                     "confidence", confidence);
}

static muga_status run_task(world *w, const json_t *task, eval_report *out, json_t **result, muga_error *err) {
    play p = {.w = w,
              .task = task,
              .expect = json_object_get(task, "expect"),
              .calls = json_array(),
              .turns = json_array(),
              .history = json_array(),
              .outcomes = json_array(),
              .answers = STR_INIT,
              .confidence = 2};
    const json_t *listed = json_object_get(p.expect, "calls");
    p.allowed = listed ? json_clone_shallow(listed) : json_array();
    llm_meter_reset(&w->meter);
    muga_status st = p.calls && p.turns && p.history && p.outcomes && p.allowed ? play_task(&p, err)
                                                                                : error_nomem(err, "a task");
    if (st == MUGA_E_NOMEM || st == MUGA_E_CANCELLED) {
        goto out;
    }
    if (st !=
        MUGA_OK) { /* a task that can't be played, or an agent that broke down: not done, and the next one goes on */
        eval_fail(&p, "%s", err ? err->message : "failed");
        st = MUGA_OK;
    }
    out->completed += !p.why[0];
    out->wrong_effects += p.wrong;
    out->unapproved += p.unapproved;
    out->escalated += p.outcome == TURN_ESCALATE;
    out->n_tokens += p.n_tokens;
    out->us += p.us;
    out->worst_us = MAX(out->worst_us, p.us);
    *result = make_result(&p);
    st = *result && json_array_append(out->results, *result) == 0 ? MUGA_OK : error_nomem(err, "results");
out:
    json_decref(p.calls);
    json_decref(p.turns);
    json_decref(p.history);
    json_decref(p.outcomes);
    json_decref(p.allowed);
    str_release(&p.answers);
    return st;
}

static bool is_cancelled(const eval_spec *spec) {
    return spec->cancelled && atomic_load(spec->cancelled);
}

muga_status eval_run(const eval_spec *spec, const json_t *tasks, eval_report *out, muga_error *err) {
    world w;
    *out = (eval_report){.tasks = json_array_size(tasks), .results = json_array()};
    muga_status st = out->results ? eval_world_open(spec, &w, err) : error_nomem(err, "results");
    bool go_on = true;
    for (size_t i = 0; st == MUGA_OK && go_on && i < out->tasks; i++) {
        json_t *result = NULL;
        if (is_cancelled(spec)) {
            st = error_set(err, MUGA_E_CANCELLED, "the evaluation was cancelled");
            break;
        }
        st = run_task(&w, json_array_get(tasks, i), out, &result, err);
        go_on = !spec->on_task || !result || spec->on_task(spec->ctx, i + 1, out->tasks, result);
        json_decref(result);
    }
    if (st == MUGA_OK && !go_on) {
        st = error_set(err, MUGA_E_NEGATIVE, "stopped");
    }
    if (out->results) {
        eval_world_close(&w);
    }
    if (st != MUGA_OK) {
        eval_report_release(out);
    }
    return st;
}
