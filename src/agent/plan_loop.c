/* The goal loop (loop_kinds.h) as a state machine: plan, do, look, plan anew, until the goal's check holds. Owns: the
 * order of things in a turn, what is still to do over holds and restarts, when to stop. Refuses: to take the model's
 * word for the goal; to go on past its limits or in a circle.
 *
 *   state       does                                          function   goes to
 *   1 PERCEIVE  writes the message down, guarded              perceive   2 (mode plan), 5 (mode step)
 *   2 PLAN      a plan, as constrained JSON                   plan       3, or 2 again when it is of no use
 *   3 STEP      takes the plan's next step                    take_step  4, or 5 when none is left
 *   4 ARGUE     its arguments, with grounded values           argue      6, 8 with a question, or 2
 *   5 CHECK     the goal by its expression; where it holds    check      6 for a call, 7 for words; 2 when a plan is
 *               the model says the answer, else it picks                 done and the goal isn't reached
 *               the next call
 *   6 CALL      hands the call to the executor, observes      call       3 (plan), 5 (step), 2 on failure, 8, or 9
 *   7 ANSWER    is all in it given? else once more, else      answer     8, or 5 for other words
 *               the rules' own words
 *   8 CONCLUDE  says the answer, checks the goal              conclude   end of turn
 *   9 HOLD      keeps what is left to do                      hold       end of turn; resume enters at 6
 *
 * Any state gives up, and goes to 8, when tokens, seconds or calls are used up, when the model failed or went in a
 * circle `replans` times, or when nothing new comes of the same call. Then a person takes over where escalation.when
 * says so.
 *
 * Invariants
 *   1. Nothing is called but by executor_call and executor_resume.
 *   2. A decision is audited, with the model's evidence, before anything acts on it.
 *   3. While the goal's check doesn't hold, no answer of the model ends a turn: under its constraint none can be
 *      written, and one that comes all the same is refused.
 *   4. Every way back to 2 or 5 is counted: by limits.steps (a call), by replans (all others; an answer is worded anew
 *      once). So a turn ends whatever the model says.
 *   5. After a crash what was planned is worth nothing: the history says what was done, the rest is planned anew. */
#include "agent/plan_internal.h"

#include <stdio.h>

#define ASKS_MAX 3 /* questions in a row, before a person takes over */
#define SAME_MAX 2 /* times the same call may give the same result */

typedef enum { PERCEIVE = 1, PLAN, STEP, ARGUE, CHECK, CALL, ANSWER, CONCLUDE, HOLD, END } plan_state;

/* ---- what is to do ---- */

static muga_status set(json_t *object, const char *key, json_t *value, muga_error *err) {
    return json_object_set_new(object, key, value) == 0 ? MUGA_OK : error_nomem(err, "what is left to do");
}

static muga_status set_int(plan_turn *t, const char *key, int64_t v, muga_error *err) {
    return set(t->l->work, key, json_integer((json_int_t)v), err);
}

static size_t history_size(const agent_loop *l) {
    return json_array_size(session_history(l->p.session));
}

/* state.key = text, where it is declared; NULL: null. */
static muga_status set_state(agent_loop *l, const char *key, const char *text, muga_error *err) {
    bool is_unset = !json_get_string(session_state(l->p.session), key);
    return !text && is_unset ? MUGA_OK : loop_set_state(l, key, text, err);
}

static muga_status save_work(plan_turn *t, muga_error *err) {
    str text = STR_INIT;
    muga_status st = set_int(t, "until", (int64_t)history_size(t->l), err);
    json_write(t->l->work, &text);
    st = st == MUGA_OK ? str_status(&text, err, "what is left to do") : st;
    st = st == MUGA_OK ? set_state(t->l, "pending", str_get(&text), err) : st;
    str_release(&text);
    return st;
}

static json_t *fresh_work(size_t from) {
    return json_pack("{s:I, s:I, s:[], s:[], s:{}, s:{}, s:i, s:i}", "from", (json_int_t)from, "turn", (json_int_t)from,
                     "steps", "notes", "tried", "stale", "replans", 0, "asks", 0);
}

/* Is it what fresh_work makes? state.pending may have been written by another version of the agent. */
static bool is_work(const json_t *v) {
    static const char *const numbers[] = {"from", "turn", "replans", "asks", "until"};
    bool ok = json_is_array(json_object_get(v, "steps")) && json_is_array(json_object_get(v, "notes")) &&
              json_is_object(json_object_get(v, "tried")) && json_is_object(json_object_get(v, "stale"));
    for (size_t i = 0; ok && i < ARRAY_LEN(numbers); i++) {
        ok = json_get_int(v, numbers[i], -1) >= 0;
    }
    return ok;
}

/* A new message, or going on after a crash: plans and notes of before are over. The work goes on after a question. */
static muga_status begin_turn(plan_turn *t, bool goes_on, muga_error *err) {
    json_t *before = t->l->work;
    json_t *work = fresh_work(history_size(t->l));
    if (work && goes_on &&
        (json_object_set(work, "from", json_object_get(before, "from")) != 0 ||
         json_object_set(work, "asks", json_object_get(before, "asks")) != 0)) {
        json_decref(work);
        work = NULL;
    }
    if (!work) {
        return error_nomem(err, "what is left to do");
    }
    json_decref(before);
    t->l->work = work;
    return MUGA_OK;
}

static muga_status drop_plan(plan_turn *t, muga_error *err) {
    return set(t->l->work, "steps", json_array(), err);
}

/* ---- ends ---- */

static muga_status say(plan_turn *t, turn_outcome kind, const char *text, plan_state *to, muga_error *err) {
    t->kind = kind;
    str_append_s(&t->said, text);
    *to = CONCLUDE;
    return str_status(&t->said, err, "an answer");
}

static muga_status escalate(plan_turn *t, const char *why, const char *text, plan_state *to, muga_error *err) {
    json_t *record = json_pack("{s:s, s:s?}", "why", why, "to", t->l->p.manifest->escalation_to);
    muga_status st = record ? audit_append(t->l->p.session, "escalation", record, NULL, err)
                            : error_nomem(err, "a record");
    loop_watch_event(t->l, "escalation", record);
    return st == MUGA_OK ? say(t, TURN_ESCALATE, text, to, err) : st;
}

/* The goal isn't reached and nothing more is tried. To a person where the manifest says so; else what is known is said,
 * and that it is not all. */
static muga_status give_up(plan_turn *t, unsigned why_bit, const char *why, plan_state *to, muga_error *err) {
    const manifest *m = t->l->p.manifest;
    const char *refused = json_get_string(t->l->work, "refused");
    str_clear(&t->said);
    if (m->escalation_to && (m->escalation_when & why_bit)) {
        return escalate(t, why, t->rules->failed, to, err);
    }
    json_t *record = json_pack("{s:s, s:s}", "decided", "give_up", "why", why);
    muga_status st = record ? audit_append(t->l->p.session, "decision", record, NULL, err)
                            : error_nomem(err, "a record");
    json_decref(record);
    str known = STR_INIT;
    st = st == MUGA_OK ? plan_say_results(t, &known, err) : st;
    str_append_s(&t->said, t->rules->failed);
    if (refused) {
        str_printf(&t->said, " Not allowed: %s.", refused);
    }
    str_printf(&t->said, "%s%s", known.len ? " " : "", str_get(&known));
    str_release(&known);
    return st == MUGA_OK ? say(t, refused ? TURN_REFUSE : TURN_ANSWER, "", to, err) : st;
}

/* One more failure of the model or of what it wanted; then the rest is planned anew, or it was the last. */
static muga_status try_again(plan_turn *t, unsigned why_bit, const char *why, plan_state *to, muga_error *err) {
    int64_t n = json_get_int(t->l->work, "replans", 0) + 1;
    *to = t->rules->by_step ? CHECK : PLAN;
    muga_status st = set_int(t, "replans", n, err);
    st = st == MUGA_OK ? drop_plan(t, err) : st;
    return st == MUGA_OK && n > t->rules->max_replans ? give_up(t, why_bit, why, to, err) : st;
}

/* A question of the rules for what only the person has. */
static muga_status ask_for(plan_turn *t, const manifest_tool *tool, plan_state *to, muga_error *err) {
    str_clear(&t->said);
    muga_status st = plan_say_missing(t, tool, &t->said, err);
    return st == MUGA_OK ? say(t, TURN_ASK, "", to, err) : st;
}

/* Answers that no state can act on. */
static muga_status no_reply(plan_turn *t, plan_asked asked, plan_state *to, muga_error *err) {
    if (asked == ASKED_OVER) {
        return give_up(t, ESCALATE_LIMITS, "limits", to, err);
    }
    if (asked == ASKED_BAD) {
        return try_again(t, ESCALATE_NO_PROGRESS, "no_progress", to, err);
    }
    const manifest_tool *wanting = NULL;
    muga_status st = plan_wanting(t, &wanting, err);
    if (st == MUGA_OK && wanting) {
        return ask_for(t, wanting, to, err);
    }
    return st == MUGA_OK ? give_up(t, ESCALATE_NO_PROGRESS, "nothing_to_call", to, err) : st;
}

/* ---- 1 PERCEIVE ---- */

static muga_status perceive(plan_turn *t, plan_state *to, muga_error *err) {
    agent_loop *l = t->l;
    muga_status st = begin_turn(t, json_get_int(l->work, "asks", 0) > 0, err);
    if (st != MUGA_OK) {
        return st;
    }
    loop_watch_event(l, "message", json_pack("{s:s%}", "text", t->text, t->n));
    *to = t->rules->by_step ? CHECK : PLAN;
    return session_add_user(l->p.session, t->text, t->n, err);
}

/* ---- 2 PLAN, 3 STEP, 4 ARGUE ---- */

static muga_status check_goal(plan_turn *t, bool *holds, muga_error *err) {
    char why[256];
    muga_status st = plan_goal_holds(t, holds, why, err);
    if (st != MUGA_OK || !t->l->p.manifest->goal_done) {
        return st;
    }
    json_t *record = json_pack("{s:s, s:b, s:s*}", "decided", "goal", "holds", *holds, "why", why[0] ? why : NULL);
    st = record ? audit_append(t->l->p.session, "decision", record, NULL, err) : error_nomem(err, "a record");
    json_decref(record);
    return st;
}

/* Call by call, a plan is the next step alone: what to do instead of what was just done. */
static size_t most_steps(const plan_turn *t) {
    return t->rules->by_step ? 1 : (size_t)t->rules->max_steps;
}

static muga_status plan(plan_turn *t, plan_state *to, muga_error *err) {
    plan_asked asked;
    bool holds = false;
    char why[256];
    *to = STEP;
    muga_status st = plan_goal_holds(t, &holds, why, err);
    st = st == MUGA_OK ? plan_ask_plan(t, holds ? 0 : 1, most_steps(t), &asked, err) : st;
    st = st == MUGA_OK ? set(t->l->work, "open", json_boolean(!holds), err) : st;
    return st == MUGA_OK && asked != ASKED_OK ? no_reply(t, asked, to, err) : st;
}

static muga_status take_step(plan_turn *t, plan_state *to, muga_error *err) {
    json_t *steps = json_object_get(t->l->work, "steps");
    (void)err;
    t->tool = NULL;
    while (!t->tool && json_array_size(steps) > 0) { /* a step of a tool that the manifest no longer has is none */
        const char *name = json_get_string(json_array_get(steps, 0), "tool");
        t->tool = name ? manifest_tool_find(t->l->p.manifest, name) : NULL;
        json_array_remove(steps, 0);
    }
    *to = t->tool ? ARGUE : CHECK;
    return MUGA_OK;
}

static muga_status argue(plan_turn *t, plan_state *to, muga_error *err) {
    plan_asked asked;
    bool wants = false;
    *to = CALL;
    muga_status st = plan_ask_arguments(t, &asked, err);
    if (st != MUGA_OK || asked == ASKED_OK) {
        return st;
    }
    if (asked != ASKED_MISSING) {
        return no_reply(t, asked, to, err);
    }
    st = plan_wants(t, t->tool, &wants, err);
    if (st == MUGA_OK && wants) {
        return ask_for(t, t->tool, to, err);
    }
    str told = STR_INIT; /* a value that no tool has given yet: the plan is out of order */
    str_printf(&told, "%s can't be called yet: no result holds the value that it needs.", t->tool->name);
    st = st == MUGA_OK ? str_status(&told, err, "a note") : st;
    st = st == MUGA_OK ? plan_note_words(t, str_get(&told), "Plan anew.", err) : st;
    str_release(&told);
    return st == MUGA_OK ? try_again(t, ESCALATE_NO_PROGRESS, "no_progress", to, err) : st;
}

/* ---- 5 CHECK ---- */

static muga_status refuse_claim(plan_turn *t, plan_state *to, muga_error *err) {
    json_t *record = json_pack("{s:s, s:s}", "decided", "refuse_claim", "why", "the goal's check does not hold");
    muga_status st = record ? audit_append(t->l->p.session, "decision", record, NULL, err)
                            : error_nomem(err, "a record");
    json_decref(record);
    st = st == MUGA_OK ? plan_note_words(t, str_get(&t->said), "The goal is not reached yet. Go on.", err) : st;
    str_clear(&t->said);
    return st == MUGA_OK ? try_again(t, ESCALATE_NO_PROGRESS, "goal_not_reached", to, err) : st;
}

static muga_status check(plan_turn *t, plan_state *to, muga_error *err) {
    bool holds = false;
    plan_asked asked;
    muga_status st = check_goal(t, &holds, err);
    if (st == MUGA_OK && !holds && !t->rules->by_step) {
        return try_again(t, ESCALATE_NO_PROGRESS, "goal_not_reached", to, err);
    }
    if (st != MUGA_OK) {
        return st;
    }
    bool stale = json_object_size(json_object_get(t->l->work, "stale")) > 0;
    if (holds && (t->l->p.manifest->goal_done || stale)) { /* nothing is left to do */
        t->tool = NULL;
        st = plan_ask_answer(t, &asked, err);
    } else if (stale) {
        *to = PLAN;
        return MUGA_OK;
    } else {
        st = plan_ask_pick(t, !holds, &asked, err);
    }
    if (st != MUGA_OK) {
        return st;
    }
    if (asked != ASKED_OK) {
        return no_reply(t, asked, to, err);
    }
    if (!t->tool && !holds) {
        return refuse_claim(t, to, err);
    }
    *to = t->tool ? CALL : ANSWER;
    return MUGA_OK;
}

/* ---- 6 CALL ---- */

static void show_result(const agent_loop *l, const call_result *r) {
    loop_watch_event(l, "result",
                     json_pack("{s:s, s:s, s:O?, s:s, s:I}", "call", r->call, "outcome", call_outcome_name(r->outcome),
                               "result", r->result, "reason", r->reason, "us", (json_int_t)r->run_us));
}

static muga_status keep_held(plan_turn *t, const call_result *r, muga_error *err) {
    json_t *held = json_pack("{s:s, s:s, s:s, s:O, s:I}", "call", r->call, "approval", r->approval, "tool",
                             t->tool->name, "arguments", t->arguments, "expires_ms", (json_int_t)r->expires_ms);
    json_t *shown = held ? json_clone_shallow(held) : NULL;
    if (shown && json_object_set_new(shown, "reason", json_string(r->reason)) == 0) {
        loop_watch_event(t->l, "held", json_incref(shown));
    }
    json_decref(shown);
    return set(t->l->work, "held", held, err);
}

/* A digest of the call, and of its result where there is one. */
static muga_status digest_call(const plan_turn *t, const json_t *result, char hex[SHA256_HEX], muga_error *err) {
    uint8_t digest[SHA256_BYTES];
    json_t *all = json_pack("[s, O, O?]", t->tool->name, t->arguments, result);
    muga_status st = all ? json_digest(all, digest, err) : error_nomem(err, "a call");
    json_decref(all);
    if (st == MUGA_OK) {
        hex_write(digest, SHA256_BYTES, hex);
    }
    return st;
}

/* Notes the call and its result. *n: how often this result came, this time counted. */
static muga_status note_tried(plan_turn *t, const call_result *r, int64_t *n, muga_error *err) {
    char call[SHA256_HEX], result[SHA256_HEX];
    json_t *tried = json_object_get(t->l->work, "tried");
    muga_status st = digest_call(t, NULL, call, err);
    st = st == MUGA_OK ? digest_call(t, r->result, result, err) : st;
    if (st == MUGA_OK) {
        *n = json_get_int(tried, result, 0) + 1;
        st = set(tried, result, json_integer((json_int_t)*n), err);
    }
    if (st == MUGA_OK && r->outcome == CALL_REFUSED) {
        st = set(tried, call, json_true(), err);
    }
    return st == MUGA_OK ? set(t->l->work, "last", json_string(call), err) : st;
}

static muga_status failed(plan_turn *t, const call_result *r, plan_state *to, muga_error *err) {
    muga_status st = MUGA_OK;
    bool ran = r->outcome == CALL_FAILED; /* then it is in the history */
    if (r->outcome == CALL_REFUSED) {
        st = set(t->l->work, "refused", json_string(r->reason), err);
    }
    if (st == MUGA_OK && !ran) {
        st = plan_note_call(t, t->tool->name, t->arguments, r->call, r->result, err);
    }
    return st == MUGA_OK ? try_again(t, ran ? ESCALATE_TOOL_FAILED : ESCALATE_NO_PROGRESS,
                                     ran ? "tool_failed" : "no_progress", to, err)
                         : st;
}

/* A goal that was open when the plan was made and is reached now needs no more of the plan. */
static muga_status reached(plan_turn *t, muga_error *err) {
    bool holds = false;
    char why[256];
    if (!json_get_bool(t->l->work, "open", false)) {
        return MUGA_OK;
    }
    muga_status st = plan_goal_holds(t, &holds, why, err);
    return st == MUGA_OK && holds ? drop_plan(t, err) : st;
}

/* A question of the model's, or handing over. A question with an id that nobody gave is not put. */
static muga_status end_by_tool(plan_turn *t, plan_state *to, muga_error *err) {
    const char *words = tool_words(t->tool, t->arguments);
    bool grounded = true;
    str_clear(&t->said);
    if (t->tool->kind->then == TOOL_ESCALATES) {
        const char *why = json_get_string(t->arguments, "reason");
        return escalate(t, why ? why : t->tool->name, words, to, err);
    }
    if (t->tool->kind->then == TOOL_HANDS_OFF) {
        return say(t, TURN_ANSWER, words, to, err);
    }
    muga_status st = plan_is_grounded(t, words, &grounded, err);
    if (st != MUGA_OK || grounded) {
        return st == MUGA_OK ? say(t, TURN_ASK, words, to, err) : st;
    }
    st = plan_note_words(t, words, "An id or a number in this question was given by nobody. Ask in other words.", err);
    return st == MUGA_OK ? try_again(t, ESCALATE_NO_PROGRESS, "no_progress", to, err) : st;
}

static muga_status observe(plan_turn *t, const call_result *r, plan_state *to, muga_error *err) {
    int64_t n_same = 0;
    bool expired = false;
    *to = t->rules->by_step ? CHECK : STEP;
    if (r->outcome == CALL_HELD || r->outcome == CALL_IN_DOUBT) {
        *to = HOLD;
        return keep_held(t, r, err);
    }
    json_object_del(t->l->work, "held");
    show_result(t->l, r);
    muga_status st = loop_call_expired(t->l, r, &expired, err);
    if (st == MUGA_OK && expired) { /* nobody decided in time, so it is no person's no, and nothing to plan around */
        str_clear(&t->said);
        return escalate(t, "approval_expired", t->rules->failed, to, err);
    }
    st = st == MUGA_OK ? note_tried(t, r, &n_same, err) : st;
    if (st == MUGA_OK && n_same > SAME_MAX) {
        return give_up(t, ESCALATE_NO_PROGRESS, "no_progress", to, err);
    }
    if (st != MUGA_OK) {
        return st;
    }
    return r->outcome != CALL_FINISHED           ? failed(t, r, to, err)
           : t->tool->kind->then == TOOL_GOES_ON ? reached(t, err)
                                                 : end_by_tool(t, to, err);
}

/* What was just done is not done again at once: the next step is another tool's. */
static muga_status skip(plan_turn *t, plan_state *to, muga_error *err) {
    json_t *record = json_pack("{s:s, s:s}", "decided", "skip", "tool", t->tool->name);
    muga_status st = record ? audit_append(t->l->p.session, "decision", record, NULL, err)
                            : error_nomem(err, "a record");
    json_decref(record);
    st = st == MUGA_OK ? set(json_object_get(t->l->work, "stale"), t->tool->name, json_true(), err) : st;
    *to = STEP;
    return st == MUGA_OK && t->rules->by_step ? try_again(t, ESCALATE_NO_PROGRESS, "no_progress", to, err) : st;
}

static muga_status call(plan_turn *t, plan_state *to, muga_error *err) {
    agent_loop *l = t->l;
    char digest[SHA256_HEX];
    muga_status st = digest_call(t, NULL, digest, err);
    const char *last = json_get_string(l->work, "last");
    if (st != MUGA_OK) {
        return st;
    }
    if (!t->resumed && json_object_get(json_object_get(l->work, "tried"), digest)) { /* a no is not asked for twice */
        return give_up(t, ESCALATE_NO_PROGRESS, "refused", to, err);
    }
    if (!t->resumed && last && strcmp(last, digest) == 0) {
        return skip(t, to, err);
    }
    if (!t->resumed && l->p.session->n_calls_in_turn >= l->p.manifest->max_steps) {
        return give_up(t, ESCALATE_LIMITS, "limits", to, err);
    }
    if (!t->resumed) {
        loop_watch_event(l, "call", json_pack("{s:s, s:O}", "tool", t->tool->name, "arguments", t->arguments));
        st = executor_call(l->p.session, t->tool->name, t->arguments, &t->called, err);
    }
    t->resumed = false;
    if (st == MUGA_OK) {
        st = observe(t, &t->called, to, err);
        call_result_release(&t->called);
    }
    return st;
}

/* ---- 7 ANSWER ---- */

static muga_status answer(plan_turn *t, plan_state *to, muga_error *err) {
    bool grounded = true;
    const char *text = str_get(&t->said);
    muga_status st = plan_is_grounded(t, text, &grounded, err);
    if (st != MUGA_OK) {
        return st;
    }
    if (grounded && text[strspn(text, " \t\r\n")]) {
        return say(t, TURN_ANSWER, "", to, err);
    }
    if (!grounded && !t->reworded) {
        t->reworded = true;
        st = plan_note_words(t, text, "An id or a number in this stands in no result. Say it with what is given.", err);
        str_clear(&t->said);
        *to = CHECK;
        return st;
    }
    str_clear(&t->said);
    st = plan_say_results(t, &t->said, err);
    if (st == MUGA_OK && t->said.len == 0) {
        return give_up(t, ESCALATE_NO_PROGRESS, "no_answer", to, err);
    }
    return st == MUGA_OK ? say(t, TURN_ANSWER, "", to, err) : st;
}

/* ---- 8 CONCLUDE, 9 HOLD ---- */

static muga_status conclude(plan_turn *t, plan_state *to, muga_error *err) {
    agent_loop *l = t->l;
    int64_t asks = json_get_int(l->work, "asks", 0);
    *to = END;
    if (t->kind == TURN_ASK && ++asks > ASKS_MAX) {
        muga_status st = give_up(t, ESCALATE_NO_PROGRESS, "no_progress", to, err);
        return st == MUGA_OK ? set_int(t, "asks", 0, err) : st; /* comes here again, with another kind */
    }
    muga_status st = loop_guard_answer(l, &t->kind, &t->said, err);
    const char *name = turn_outcome_name(t->kind);
    st = st == MUGA_OK ? session_add_answer(l->p.session, name, str_get(&t->said), err) : st;
    if (st == MUGA_OK && t->kind != TURN_ASK) {
        st = set_state(l, "resolution", name, err);
        asks = 0;
    }
    char why[256];
    bool holds = false;
    st = st == MUGA_OK ? plan_goal_holds(t, &holds, why, err) : st;
    t->out->done = holds && l->p.manifest->goal_done && t->kind == TURN_ANSWER;
    st = st == MUGA_OK ? begin_turn(t, t->kind == TURN_ASK, err) : st;
    st = st == MUGA_OK ? set_int(t, "asks", asks, err) : st;
    st = st == MUGA_OK && asks > 0 ? save_work(t, err) : st == MUGA_OK ? set_state(l, "pending", NULL, err) : st;
    loop_watch_event(l, "answer", json_pack("{s:s, s:s}", "kind", name, "text", str_get(&t->said)));
    t->out->outcome = t->kind;
    str_append(&t->out->text, str_get(&t->said), t->said.len);
    st = st == MUGA_OK ? str_status(&t->out->text, err, "an answer") : st;
    return st == MUGA_OK && t->kind == TURN_ESCALATE ? session_end(l->p.session, name, err) : st;
}

static muga_status hold(plan_turn *t, plan_state *to, muga_error *err) {
    const json_t *held = json_object_get(t->l->work, "held");
    *to = END;
    t->out->outcome = TURN_HELD;
    snprintf(t->out->call, sizeof t->out->call, "%s", json_get_string(held, "call"));
    snprintf(t->out->approval, sizeof t->out->approval, "%s", json_get_string(held, "approval"));
    str_append_s(&t->out->text, t->rules->held);
    muga_status st = str_status(&t->out->text, err, "an answer");
    return st == MUGA_OK ? save_work(t, err) : st;
}

/* ---- the machine ---- */

static muga_status step(plan_turn *t, plan_state *s, muga_error *err) {
    switch (*s) {
    case PERCEIVE: return perceive(t, s, err);
    case PLAN: return plan(t, s, err);
    case STEP: return take_step(t, s, err);
    case ARGUE: return argue(t, s, err);
    case CHECK: return check(t, s, err);
    case CALL: return call(t, s, err);
    case ANSWER: return answer(t, s, err);
    case CONCLUDE: return conclude(t, s, err);
    case HOLD: return hold(t, s, err);
    default: return MUGA_OK;
    }
}

static muga_status run(plan_turn *t, plan_state from, muga_error *err) {
    muga_status st = MUGA_OK;
    while (st == MUGA_OK && from != END) {
        st = step(t, &from, err);
    }
    call_result_release(&t->called);
    str_release(&t->said);
    json_decref(t->arguments);
    return st;
}

static muga_status find_held(agent_loop *l, muga_error *err) {
    json_t *held = NULL;
    muga_status st = loop_find_waiting(l, &held, err);
    return st == MUGA_OK && held ? set(l->work, "held", held, err) : st;
}

/* The newest message of the person, or the end of the history. */
static size_t newest_message(const agent_loop *l) {
    const json_t *history = session_history(l->p.session);
    size_t i = json_array_size(history);
    while (i > 0 && strcmp(plan_role(json_array_get(history, i - 1)), "user") != 0) {
        i--;
    }
    return i > 0 ? i - 1 : json_array_size(history);
}

static muga_status plan_open(agent_loop *l, muga_error *err) {
    const char *saved = json_get_string(session_state(l->p.session), "pending");
    muga_error ignored;
    if (saved && *saved && json_parse(saved, strlen(saved), "state.pending", &l->work, &ignored) == MUGA_OK &&
        !is_work(l->work)) {
        json_decref(l->work);
        l->work = NULL;
    }
    l->work = l->work ? l->work : fresh_work(newest_message(l));
    return l->work ? find_held(l, err) : error_nomem(err, "a loop");
}

static void plan_close(agent_loop *l) {
    json_decref(l->work);
}

static muga_status plan_turn_begin(agent_loop *l, const char *text, size_t n, turn_result *out, muga_error *err) {
    const json_t *held = json_object_get(l->work, "held");
    if (held) {
        return loop_refuse_held(held, out, err);
    }
    plan_turn t = {.l = l, .rules = l->p.manifest->plan, .text = text, .n = n, .out = out};
    return run(&t, PERCEIVE, err);
}

/* After a crash: the person's message stands in the history, and no answer behind it. */
static muga_status go_on(plan_turn *t, muga_error *err) {
    agent_loop *l = t->l;
    const json_t *last = json_array_get(session_history(l->p.session), history_size(l) - 1);
    if (!last || strcmp(plan_role(last), "assistant") == 0 || session_ended(l->p.session)) {
        return error_set(err, MUGA_E_NOT_FOUND, "nothing is held in session %s", session_id(l->p.session));
    }
    json_decref(l->work);
    l->work = fresh_work(newest_message(l));
    return l->work ? run(t, t->rules->by_step ? CHECK : PLAN, err) : error_nomem(err, "what is left to do");
}

static muga_status plan_resume(agent_loop *l, turn_result *out, muga_error *err) {
    const json_t *held = json_object_get(l->work, "held");
    plan_turn t = {.l = l, .rules = l->p.manifest->plan, .out = out, .resumed = true};
    if (!held) {
        t.resumed = false;
        return go_on(&t, err);
    }
    t.tool = manifest_tool_find(l->p.manifest, json_get_string(held, "tool"));
    if (!t.tool) {
        return error_set(err, MUGA_E_INPUT,
                         "the held call is of a tool that the manifest no longer has; deny it with "
                         "muga approve no");
    }
    muga_status st = executor_resume(l->p.session, json_get_string(held, "call"), &t.called, err);
    if (st != MUGA_OK) {
        return st;
    }
    t.arguments = json_incref(json_object_get(held, "arguments"));
    /* More happened since than this call: a plan of then would do it again. */
    if ((int64_t)history_size(l) > json_get_int(l->work, "until", (int64_t)history_size(l)) + 1) {
        st = drop_plan(&t, err);
    }
    muga_status ran = run(&t, st == MUGA_OK ? CALL : END, err); /* which releases what t holds, too */
    return st == MUGA_OK ? ran : st;
}

const loop_kind loop_kind_plan = {
    .open = plan_open, .close = plan_close, .turn = plan_turn_begin, .resume = plan_resume};
