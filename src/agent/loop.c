/* The intent loop (loop_kinds.h) as a state machine. Owns: the order of things in a turn, what is still to do over
 * holds and restarts, when to ask, hand over and stop. Refuses: to act on what it did not understand; to go on past its
 * limits.
 *
 *   state       does                                               function   goes to
 *   1 PERCEIVE  writes the message, guarded, into the session      perceive   2
 *   2 DECIDE    labels of the message; queue of requests           decide     3
 *   3 NEXT      takes a request; words go into the answer          next       4 for a tool, 6 when none is left
 *   4 ARGUE     arguments under schema and grounding               argue      5, or 3 when it must ask for a value
 *   5 CALL      hands the call to the executor, observes           call       3, or 7 when a person must agree
 *   6 CONCLUDE  says the answer, keeps the state, checks the goal  conclude   end of turn
 *   7 HOLD      keeps what is left to do                           hold       end of turn; loop_resume enters at 5
 *
 * Invariants
 *   1. Nothing is called but by executor_call and executor_resume: policy, approval and the journal are theirs.
 *   2. A decision is audited, with the model's evidence, before anything acts on it.
 *   3. Only the person's messages are decided on. Results of tools and the agent's own words never reach state 2.
 *   4. After an escalation the session is ended: nothing more is called in it. */
#include "agent/expert.h"
#include "agent/loop_kinds.h"

#include <stdio.h>

#define ASKS_MAX 2 /* times in a row for the same value, or without understanding, before a person takes over */

#define PLAIN_MARGIN 0.3 /* above it, a message that gives what was asked for is still taken for something else */

typedef enum { PERCEIVE = 1, DECIDE, NEXT, ARGUE, CALL, CONCLUDE, HOLD, END } loop_state;

typedef struct turn {
    agent_loop *l;
    const char *text;
    size_t n;
    request now; /* states 4 and 5 */
    json_t *arguments;
    call_result called; /* a result to observe, when resumed */
    bool resumed;
    bool redone;    /* the message lies in the session already */
    bool was_asked; /* the turn before ended with a question */
    turn_result *out;
} turn;

/* ---- what is to do ---- */

static muga_status save_work(agent_loop *l, muga_error *err) {
    str text = STR_INIT;
    json_write(l->work, &text);
    muga_status st = str_status(&text, err, "what is left to do");
    if (st == MUGA_OK) {
        st = loop_set_state(l, "pending", str_get(&text), err);
    }
    str_release(&text);
    return st;
}

static muga_status new_work(agent_loop *l, muga_error *err) {
    const char *saved = json_get_string(session_state(l->p.session), "pending");
    if (saved && *saved) {
        return json_parse(saved, strlen(saved), "state.pending", &l->work, err);
    }
    l->work = json_pack("{s:[], s:[], s:i, s:i}", "queue", "parts", "kind", 0, "unsure", 0);
    return l->work ? MUGA_OK : error_nomem(err, "a loop");
}

/* The answer gets one more sentence; the turn's outcome is the gravest of its parts. */
static muga_status add_part(agent_loop *l, turn_outcome kind, const char *text, muga_error *err) {
    int64_t so_far = json_get_int(l->work, "kind", 0);
    json_t *parts = json_object_get(l->work, "parts");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        if (strcmp(json_string_value(json_array_get(parts, i)), text) == 0) {
            text = ""; /* said already */
        }
    }
    bool ok = !*text || json_array_append_new(parts, json_string(text)) == 0;
    ok = ok && json_object_set_new(l->work, "kind", json_integer((json_int_t)MAX(so_far, (int64_t)kind))) == 0;
    return ok ? MUGA_OK : error_nomem(err, "an answer");
}

static muga_status add_escalation(agent_loop *l, const char *why, const char *text, muga_error *err) {
    json_t *record = json_pack("{s:s, s:s?}", "why", why, "to", l->p.manifest->escalation_to);
    muga_status st = record ? audit_append(l->p.session, "escalation", record, NULL, err)
                            : error_nomem(err, "a record");
    loop_watch_event(l, "escalation", record);
    return st == MUGA_OK ? add_part(l, TURN_ESCALATE, text, err) : st;
}

static muga_status add_rendered(agent_loop *l, turn_outcome kind, const intent_label *label, const json_t *arguments,
                                const json_t *result, muga_error *err) {
    str text = STR_INIT;
    bool ok = false;
    muga_status st = loop_render(l, label, arguments, result, &text, &ok, err);
    if (st == MUGA_OK && !ok) {
        st = add_escalation(l, "answer_not_grounded", intent_failed(l->p.intent), err);
    } else if (st == MUGA_OK) {
        st = kind == TURN_ESCALATE ? add_escalation(l, label->name, str_get(&text), err)
                                   : add_part(l, kind, str_get(&text), err);
    }
    str_release(&text);
    return st;
}

static muga_status enqueue(agent_loop *l, size_t label, const char *text, size_t n, muga_error *err) {
    json_t *entry = json_pack("{s:s, s:s%}", "label", intent_get_label(l->p.intent, label)->name, "text", text, n);
    json_t *queue = json_object_get(l->work, "queue");
    return entry && json_array_append_new(queue, entry) == 0 ? MUGA_OK : error_nomem(err, "a request");
}

static size_t find_label(const agent_loop *l, const char *name) {
    size_t i = 0, n = intent_n_labels(l->p.intent);
    while (i < n && (!name || strcmp(intent_get_label(l->p.intent, i)->name, name) != 0)) {
        i++;
    }
    return i;
}

/* ---- 1 PERCEIVE ---- */

static muga_status perceive(turn *t, loop_state *to, muga_error *err) {
    agent_loop *l = t->l;
    t->was_asked = json_get_int(l->work, "kind", TURN_ANSWER) == TURN_ASK;
    json_array_clear(json_object_get(l->work, "queue"));
    json_array_clear(json_object_get(l->work, "parts"));
    json_object_del(l->work, "doubt");
    json_object_set_new(l->work, "kind", json_integer(TURN_ANSWER));
    if (l->kind == &loop_kind_intent) { /* else it was told already */
        loop_watch_event(l, "message", json_pack("{s:s%}", "text", t->text, t->n));
    }
    *to = DECIDE;
    return t->redone ? loop_find_made(l, err) : session_add_user(l->p.session, t->text, t->n, err);
}

/* ---- 2 DECIDE ---- */

/* `given`: the label whose value the message gives, or NULL. */
static muga_status audit_decision(agent_loop *l, const intent_decision *d, const char *given, uint64_t us,
                                  muga_error *err) {
    json_t *does = json_array();
    bool ok = does != NULL;
    for (size_t i = 0; ok && i < d->n; i++) {
        ok = json_array_append_new(does, json_string(intent_get_label(l->p.intent, d->requests[i].label)->name)) == 0;
    }
    ok = ok && json_object_set(d->record, "decided", does) == 0 &&
         (!given || json_object_set_new(d->record, "given", json_string(given)) == 0) &&
         json_object_set_new(d->record, "model", d->evidence ? json_string(l->p.model->name) : json_null()) == 0 &&
         json_object_set_new(d->record, "tokens_in", json_integer(d->n_tokens)) == 0 &&
         json_object_set_new(d->record, "latency_us", json_integer((json_int_t)us)) == 0;
    json_decref(does);
    muga_status st = ok ? audit_append(l->p.session, "decision", d->record, d->evidence, err)
                        : error_nomem(err, "a record");
    loop_watch_event(l, "decision", json_incref(d->record));
    return st;
}

/* What a message that gives a value is for: the label whose value was asked for; else the first label whose tool can't
 * be called without such a value, when the person was asked anything, or when all else the agent could do is talk (then
 * a reading tool only: showing what was named is a better guess than a question). n_labels: nothing. */
static muga_status find_open(const turn *t, const char *text, bool only_talk, size_t *open, bool *gives,
                             muga_error *err) {
    const agent_loop *l = t->l;
    size_t n = intent_n_labels(l->p.intent);
    muga_status st = MUGA_OK;
    *gives = false;
    *open = find_label(l, json_get_string(json_object_get(l->work, "open"), "label"));
    if (*open < n) {
        return loop_text_gives(l, intent_get_label(l->p.intent, *open)->tool, text, gives, err);
    }
    for (size_t i = 0; st == MUGA_OK && (t->was_asked || only_talk) && !*gives && i < n; i++) {
        const intent_label *label = intent_get_label(l->p.intent, i);
        if (label->tool && (t->was_asked || label->tool->effect == EFFECT_READ)) {
            st = loop_text_gives(l, label->tool, text, gives, err);
            *open = *gives ? i : *open;
        }
    }
    return st;
}

/* A value was asked for, and this message gives it: then it is that request's turn, whatever else the message was taken
 * for, unless it is plainly for a person. */
static muga_status answer_open(turn *t, const intent_decision *d, bool *replaces, bool *joins, size_t *open,
                               muga_error *err) {
    agent_loop *l = t->l;
    bool gives = false;
    const intent_label *best = intent_get_label(l->p.intent, d->requests[0].label);
    bool only_talk = !d->sure || best->act == ACT_ASK || best->act == ACT_ANSWER;
    char *text = mem_copy_bytes(t->text, t->n);
    muga_status st = text ? find_open(t, text, only_talk, open, &gives, err) : error_nomem(err, "a message");
    free(text);
    *replaces = *joins = false;
    if (st != MUGA_OK || !gives) {
        return st;
    }
    const intent_label *label = intent_get_label(l->p.intent, *open);
    for (size_t i = 0; i < d->n; i++) {
        gives = gives && (!d->sure || intent_get_label(l->p.intent, d->requests[i].label)->tool != label->tool);
    }
    *replaces = gives && (only_talk || d->margin < PLAIN_MARGIN);
    *joins = gives && !*replaces && best->act == ACT_TOOL;
    return st;
}

/* Of two labels that are one wish in other words (`excludes`), the one whose value the request gives: "my last order,
 * it is A12345" names an order. */
static muga_status prefer_given(const turn *t, intent_decision *d, muga_error *err) {
    const intent *x = t->l->p.intent;
    muga_status st = MUGA_OK;
    for (size_t k = 0; k < d->n; k++) {
        intent_request *r = &d->requests[k];
        char *text = mem_copy_bytes(t->text + r->from, r->n);
        st = st == MUGA_OK && !text ? error_nomem(err, "a message") : st;
        bool gives = false;
        for (size_t i = 0; st == MUGA_OK && !gives && i < intent_n_labels(x); i++) {
            const intent_label *other = intent_get_label(x, i);
            if (other->tool && intent_same_wish(x, r->label, i)) {
                st = loop_text_gives(t->l, other->tool, text, &gives, err);
                r->label = gives ? i : r->label;
            }
        }
        free(text);
    }
    return st;
}

static muga_status not_understood(agent_loop *l, muga_error *err) {
    int64_t times = json_get_int(l->work, "unsure", 0) + 1;
    if (json_object_set_new(l->work, "unsure", json_integer((json_int_t)times)) != 0) {
        return error_nomem(err, "a decision");
    }
    if (times >= ASKS_MAX && (l->p.manifest->escalation_when & ESCALATE_LOW_MARGIN)) {
        return add_escalation(l, "low_margin", intent_failed(l->p.intent), err);
    }
    return add_part(l, TURN_ASK, intent_unsure(l->p.intent), err);
}

/* Ask for what is missing; a person takes over when asking does not help. */
static muga_status ask_for_value(agent_loop *l, const intent_label *label, muga_error *err) {
    const json_t *open = json_object_get(l->work, "open");
    const char *name = json_get_string(open, "label");
    int64_t times = name && strcmp(name, label->name) == 0 ? json_get_int(open, "times", 0) + 1 : 1;
    if (times > ASKS_MAX && (l->p.manifest->escalation_when & ESCALATE_NO_PROGRESS)) {
        return add_escalation(l, "no_progress", intent_failed(l->p.intent), err);
    }
    json_t *v = json_pack("{s:s, s:I}", "label", label->name, "times", (json_int_t)times);
    if (!v || json_object_set_new(l->work, "open", v) != 0) {
        return error_nomem(err, "a question");
    }
    return add_part(l, TURN_ASK, label->ask ? label->ask : intent_unsure(l->p.intent), err);
}

/* A value was asked for, and what came instead is a question, or not plainly anything: it is asked for again. Another
 * wish closes the question. NULL: nothing is to be asked again. */
static const intent_label *asked_again(agent_loop *l, const intent_decision *d) {
    size_t open = find_label(l, json_get_string(json_object_get(l->work, "open"), "label"));
    const intent_label *best = intent_get_label(l->p.intent, d->requests[0].label);
    bool plain = d->sure && d->margin >= PLAIN_MARGIN, same = false;
    if (open == intent_n_labels(l->p.intent)) {
        return NULL;
    }
    if (best->act == ACT_ASK || (best->act == ACT_ESCALATE && !plain)) {
        return intent_get_label(l->p.intent, open);
    }
    for (size_t i = 0; i < d->n; i++) {
        same = same || d->requests[i].label == open;
    }
    if (d->sure && !same) {
        json_object_del(l->work, "open");
    }
    return NULL;
}

/* The queue of requests, or a question. */
static muga_status take_up(turn *t, const intent_decision *d, size_t given, bool replaces, muga_error *err) {
    agent_loop *l = t->l;
    muga_status st = MUGA_OK;
    if (given < intent_n_labels(l->p.intent)) {
        st = enqueue(l, given, t->text, t->n, err);
    }
    const intent_label *again = st == MUGA_OK && !replaces ? asked_again(l, d) : NULL;
    if (again) {
        return ask_for_value(l, again, err);
    }
    if (st == MUGA_OK && !replaces && !d->sure) {
        return not_understood(l, err);
    }
    json_object_set_new(l->work, "unsure", json_integer(0));
    if (!replaces && d->doubtful && json_object_set_new(l->work, "doubt", json_true()) != 0) {
        return error_nomem(err, "a decision");
    }
    for (size_t i = 0; st == MUGA_OK && !replaces && i < d->n; i++) {
        st = enqueue(l, d->requests[i].label, t->text + d->requests[i].from, d->requests[i].n, err);
    }
    return st;
}

static muga_status decide(turn *t, loop_state *to, muga_error *err) {
    agent_loop *l = t->l;
    const os_clock *clock = l->p.env->clock;
    uint64_t began_us = clock->monotonic_us(clock->self);
    intent_decision d;
    *to = NEXT;
    if (l->p.always) {
        return enqueue(l, find_label(l, l->p.always->name), t->text, t->n, err);
    }
    muga_status st = intent_decide(l->p.intent, l->p.model, t->text, t->n, &d, err);
    if (st != MUGA_OK) {
        return st;
    }
    bool replaces = false, joins = false;
    size_t open = 0, none = intent_n_labels(l->p.intent);
    l->n_tokens += d.n_tokens;
    st = answer_open(t, &d, &replaces, &joins, &open, err);
    st = st == MUGA_OK && d.sure && !replaces ? prefer_given(t, &d, err) : st;
    size_t given = replaces || joins ? open : none;
    if (st == MUGA_OK) {
        const char *name = given < none ? intent_get_label(l->p.intent, given)->name : NULL;
        st = audit_decision(l, &d, name, clock->monotonic_us(clock->self) - began_us, err);
    }
    st = st == MUGA_OK ? take_up(t, &d, given, replaces, err) : st;
    intent_decision_release(&d);
    return st;
}

/* ---- 3 NEXT ---- */

static void request_release(request *r) {
    json_decref(r->values);
    *r = (request){NULL, NULL, NULL};
}

static muga_status next(turn *t, loop_state *to, muga_error *err) {
    agent_loop *l = t->l;
    json_t *queue = json_object_get(l->work, "queue");
    if (json_array_size(queue) == 0) {
        *to = CONCLUDE;
        return MUGA_OK;
    }
    const json_t *entry = json_array_get(queue, 0);
    size_t i = find_label(l, json_get_string(entry, "label"));
    if (i == intent_n_labels(l->p.intent)) {
        return error_set(err, MUGA_E_INPUT, "state.pending names a label that the manifest no longer has");
    }
    const intent_label *label = intent_get_label(l->p.intent, i);
    if (label->act == ACT_TOOL) {
        request_release(&t->now);
        t->now = (request){label, json_get_string(entry, "text"), json_incref(json_object_get(entry, "values"))};
        *to = ARGUE; /* which takes the entry off the queue with its last value */
        return MUGA_OK;
    }
    static const turn_outcome kinds[] = {[ACT_TOOL] = TURN_ANSWER,
                                         [ACT_ANSWER] = TURN_ANSWER,
                                         [ACT_ASK] = TURN_ASK,
                                         [ACT_ESCALATE] = TURN_ESCALATE,
                                         [ACT_REFUSE] = TURN_REFUSE};
    muga_status st = loop_scope_label(l, label, err);
    st = st == MUGA_OK ? add_rendered(l, kinds[label->act], label, NULL, NULL, err) : st;
    json_array_remove(queue, 0);
    return st;
}

/* ---- 4 ARGUE ---- */

static muga_status argue(turn *t, loop_state *to, muga_error *err) {
    agent_loop *l = t->l;
    argue_outcome outcome;
    json_t *queue = json_object_get(l->work, "queue"), *entry = json_array_get(queue, 0);
    json_decref(t->arguments);
    t->arguments = NULL;
    muga_status st = loop_argue(l, &t->now, &t->arguments, &outcome, err);
    if (st == MUGA_OK && outcome == ARGUE_OK) {
        *to = CALL;
        if (json_array_size(t->now.values) > 0) {
            st = json_object_set(entry, "values", t->now.values) == 0 ? MUGA_OK : error_nomem(err, "a request");
        } else {
            t->now.text = NULL; /* the entry's own */
            json_array_remove(queue, 0);
        }
        return st;
    }
    if (st == MUGA_OK && outcome == ARGUE_MISSING) {
        st = ask_for_value(l, t->now.label, err);
    } else if (st == MUGA_OK) {
        st = add_escalation(l, "limits", intent_failed(l->p.intent), err);
    }
    json_array_remove(queue, 0);
    *to = NEXT;
    return st;
}

/* ---- 5 CALL ---- */

static void show_result(const agent_loop *l, const call_result *r) {
    loop_watch_event(l, "result",
                     json_pack("{s:s, s:s, s:O?, s:s, s:I}", "call", r->call, "outcome", call_outcome_name(r->outcome),
                               "result", r->result, "reason", r->reason, "us", (json_int_t)r->run_us));
}

static muga_status keep_held(turn *t, const call_result *r, muga_error *err) {
    agent_loop *l = t->l;
    json_t *held = json_pack("{s:s, s:s, s:s, s:O, s:I}", "call", r->call, "approval", r->approval, "label",
                             t->now.label->name, "arguments", t->arguments, "expires_ms", (json_int_t)r->expires_ms);
    if (!held || json_object_set_new(l->work, "held", held) != 0) {
        return error_nomem(err, "a held call");
    }
    loop_watch_event(l, "held",
                     json_pack("{s:s, s:s, s:s, s:O, s:s, s:I}", "call", r->call, "approval", r->approval, "tool",
                               t->now.label->tool->name, "arguments", t->arguments, "reason", r->reason, "expires_ms",
                               (json_int_t)r->expires_ms));
    return MUGA_OK;
}

/* Nobody decided in time, so it is no person's no. */
static muga_status refused(agent_loop *l, const intent_label *label, const call_result *r, muga_error *err) {
    bool expired = false;
    muga_status st = loop_call_expired(l, r, &expired, err);
    return st != MUGA_OK ? st
           : expired     ? add_escalation(l, "approval_expired", intent_failed(l->p.intent), err)
                         : add_part(l, TURN_REFUSE, label->denied ? label->denied : r->reason, err);
}

static muga_status observe(turn *t, const call_result *r, loop_state *to, muga_error *err) {
    agent_loop *l = t->l;
    const intent_label *label = t->now.label;
    *to = NEXT;
    if (r->outcome == CALL_HELD || r->outcome == CALL_IN_DOUBT) {
        *to = HOLD;
        return keep_held(t, r, err);
    }
    json_object_del(l->work, "held");
    show_result(l, r);
    switch (r->outcome) {
    case CALL_FINISHED:
        json_object_del(l->work, "open");
        return add_rendered(l, loop_outcome_of(label->tool), label, t->arguments, r->result, err);
    case CALL_REFUSED: return refused(l, label, r, err);
    case CALL_INVALID: return ask_for_value(l, label, err);
    default: return add_escalation(l, "tool_failed", intent_failed(l->p.intent), err);
    }
}

static muga_status call(turn *t, loop_state *to, muga_error *err) {
    agent_loop *l = t->l;
    muga_status st = MUGA_OK;
    if (!t->resumed) {
        loop_watch_event(l, "call",
                         json_pack("{s:s, s:O}", "tool", t->now.label->tool->name, "arguments", t->arguments));
        st = loop_call_once(l, t->now.label->tool->name, t->arguments, &t->called, err);
    }
    t->resumed = false;
    if (st == MUGA_OK) {
        st = observe(t, &t->called, to, err);
        call_result_release(&t->called);
    }
    return st;
}

/* ---- 6 CONCLUDE, 7 HOLD ---- */

static muga_status join_parts(const agent_loop *l, str *out, muga_error *err) {
    const json_t *parts = json_object_get(l->work, "parts");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        str_append_s(out, i ? " " : "");
        str_append_s(out, json_string_value(json_array_get(parts, i)));
    }
    return str_status(out, err, "an answer");
}

static muga_status check_goal(const agent_loop *l, bool *done, muga_error *err) {
    json_t *results = json_array(), *context = NULL;
    const json_t *history = session_history(l->p.session);
    bool ok = results != NULL;
    *done = false;
    for (size_t i = 0; ok && i < json_array_size(history); i++) {
        const json_t *entry = json_array_get(history, i);
        const char *outcome = json_get_string(entry, "outcome");
        ok = !outcome || strcmp(outcome, "finished") != 0 ||
             json_array_append(results, json_object_get(entry, "content")) == 0;
    }
    context = ok ? json_pack("{s:O, s:O, s:O}", "state", session_state(l->p.session), "results", results, "session",
                             session_values(l->p.session))
                 : NULL;
    muga_status st = context ? MUGA_OK : error_nomem(err, "the goal");
    if (st == MUGA_OK && l->p.manifest->goal_done) {
        st = template_expression_test(l->p.manifest->goal_done, context, done, err);
    }
    json_decref(context);
    json_decref(results);
    return st;
}

static muga_status conclude(turn *t, loop_state *to, muga_error *err) {
    agent_loop *l = t->l;
    turn_outcome kind = (turn_outcome)json_get_int(l->work, "kind", TURN_ANSWER);
    *to = END;
    muga_status st = join_parts(l, &t->out->text, err);
    const expert *e = intent_expert(l->p.intent);
    if (st == MUGA_OK && kind == TURN_ANSWER && e && expert_doubt(e) && json_object_get(l->work, "doubt")) {
        str_printf(&t->out->text, " %s", expert_doubt(e));
        st = str_status(&t->out->text, err, "an answer");
    }
    st = st == MUGA_OK ? loop_guard_answer(l, &kind, &t->out->text, err) : st;
    const char *name = turn_outcome_name(kind);
    if (st == MUGA_OK) {
        st = session_add_answer(l->p.session, name, str_get(&t->out->text), err);
    }
    if (st == MUGA_OK && kind != TURN_ASK) {
        st = loop_set_state(l, "resolution", name, err);
    }
    json_array_clear(json_object_get(l->work, "parts"));
    st = st == MUGA_OK ? save_work(l, err) : st;
    st = st == MUGA_OK ? check_goal(l, &t->out->done, err) : st;
    t->out->outcome = kind;
    loop_watch_event(l, "answer", json_pack("{s:s, s:s}", "kind", name, "text", str_get(&t->out->text)));
    return st == MUGA_OK && kind == TURN_ESCALATE ? session_end(l->p.session, name, err) : st;
}

static muga_status hold(turn *t, loop_state *to, muga_error *err) {
    agent_loop *l = t->l;
    const json_t *held = json_object_get(l->work, "held");
    *to = END;
    t->out->outcome = TURN_HELD;
    snprintf(t->out->call, sizeof t->out->call, "%s", json_get_string(held, "call"));
    snprintf(t->out->approval, sizeof t->out->approval, "%s", json_get_string(held, "approval"));
    turn_outcome kind = TURN_HELD;
    muga_status st = join_parts(l, &t->out->text, err);
    st = st == MUGA_OK ? loop_guard_answer(l, &kind, &t->out->text, err) : st;
    str_append_s(&t->out->text, t->out->text.len ? " " : "");
    str_append_s(&t->out->text, t->now.label->held ? t->now.label->held : "This waits for a person's approval.");
    st = st == MUGA_OK ? str_status(&t->out->text, err, "an answer") : st;
    return st == MUGA_OK ? save_work(l, err) : st;
}

/* ---- the machine ---- */

static muga_status step(turn *t, loop_state *s, muga_error *err) {
    switch (*s) {
    case PERCEIVE: return perceive(t, s, err);
    case DECIDE: return decide(t, s, err);
    case NEXT: return next(t, s, err);
    case ARGUE: return argue(t, s, err);
    case CALL: return call(t, s, err);
    case CONCLUDE: return conclude(t, s, err);
    case HOLD: return hold(t, s, err);
    default: return MUGA_OK;
    }
}

static muga_status run(turn *t, loop_state from, muga_error *err) {
    muga_status st = MUGA_OK;
    while (st == MUGA_OK && from != END) {
        st = step(t, &from, err);
    }
    json_decref(t->l->made);
    t->l->made = NULL;
    call_result_release(&t->called);
    request_release(&t->now);
    json_decref(t->arguments);
    return st;
}

static muga_status find_held(agent_loop *l, muga_error *err) {
    json_t *held = NULL;
    muga_status st = loop_find_waiting(l, &held, err);
    for (size_t i = 0; held && i < intent_n_labels(l->p.intent); i++) {
        const intent_label *label = intent_get_label(l->p.intent, i);
        if (label->tool && strcmp(label->tool->name, json_get_string(held, "tool")) == 0) {
            json_object_del(held, "tool");
            bool ok = json_object_set_new(held, "label", json_string(label->name)) == 0 &&
                      json_object_set(l->work, "held", held) == 0;
            st = ok ? MUGA_OK : error_nomem(err, "a held call");
            break;
        }
    }
    json_decref(held);
    return st;
}

static muga_status intent_open(agent_loop *l, muga_error *err) {
    muga_status st = new_work(l, err);
    return st == MUGA_OK ? find_held(l, err) : st;
}

muga_status loop_intent_begin(agent_loop *l, muga_error *err) {
    return new_work(l, err);
}

muga_status loop_intent_take(agent_loop *l, const char *text, size_t n, turn_result *out, muga_error *err) {
    turn t = {.l = l, .text = text, .n = n, .out = out, .redone = true};
    return run(&t, PERCEIVE, err);
}

static void intent_close(agent_loop *l) {
    json_decref(l->made);
    json_decref(l->work);
}

static muga_status intent_turn(agent_loop *l, const char *text, size_t n, turn_result *out, muga_error *err) {
    const json_t *held = json_object_get(l->work, "held");
    if (held) {
        return loop_refuse_held(held, out, err);
    }
    turn t = {.l = l, .text = text, .n = n, .out = out};
    return run(&t, PERCEIVE, err);
}

static muga_status intent_resume(agent_loop *l, turn_result *out, muga_error *err) {
    const json_t *held = json_object_get(l->work, "held"), *message = held ? NULL : loop_unanswered(l);
    size_t i = find_label(l, json_get_string(held, "label"));
    if (message) {
        turn again = {.l = l, .n = json_string_length(message), .out = out, .redone = true};
        char *text = mem_copy_bytes(json_string_value(message), again.n); /* the history may move */
        again.text = text;
        muga_status st = text ? run(&again, PERCEIVE, err) : error_nomem(err, "a message");
        free(text);
        return st;
    }
    if (!held || i == intent_n_labels(l->p.intent)) {
        return error_set(err, MUGA_E_NOT_FOUND, "nothing is held, or left without an answer, in session %s",
                         session_id(l->p.session));
    }
    turn t = {.l = l, .out = out, .resumed = true, .arguments = json_incref(json_object_get(held, "arguments"))};
    t.now.label = intent_get_label(l->p.intent, i);
    muga_status st = executor_resume(l->p.session, json_get_string(held, "call"), &t.called, err);
    if (st != MUGA_OK) {
        json_decref(t.arguments);
        return st;
    }
    return run(&t, CALL, err);
}

const loop_kind loop_kind_intent = {
    .open = intent_open, .close = intent_close, .turn = intent_turn, .resume = intent_resume};
