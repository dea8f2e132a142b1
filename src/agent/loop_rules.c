/* The rule loop: from a percept or a message to an action, by condition-action rules over what came in and what is
 * known (kind: reflex, kind: model). Owns: a turn, and held calls, of which there may be several: a stream does not
 * stop while a person thinks. Refuses: a percept against its schema; to pass over a rule that can't be told.
 *
 *   step        does                                                             function
 *   1 settle    goes on with held calls that were decided meanwhile              settle_held
 *   2 perceive  schema or guard; one transaction: the message, what is observed   decide
 *               of it, the first rule whose condition holds, the record of it
 *   3 act       the rule's words, or its call; the result is observed            act
 *   4 conclude  says what there is to say                                        conclude
 *
 * Invariants (of loop_kinds.h, and)
 *   1. The state changes by observe: rules alone (loop_observe.c).
 *   2. No rule, and a message: intent: decides where the manifest has it, else a question. No rule, and a percept:
 *      nothing is done, which is recorded like any decision.
 *   3. A person who takes over a conversation ends it. A stream of percepts goes on after an escalation. */
#include "agent/loop_rules.h"

#include "agent/manifest_rules.h"

#include <stdio.h>

#define MAX_PERCEPT_BYTES ((size_t)64 << 10)

#define WORDS_FAILED "This could not be done by rule, so a person takes over."
#define WORDS_HELD "This waits for a person's approval."
#define WORDS_UNKNOWN "I have no rule for this. Please say it in other words."

typedef struct turn {
    agent_loop *l;
    const json_t *percept; /* or a message */
    json_t *message;
    bool stored;   /* the message lies in the session, and was observed */
    bool scored;   /* `label` was asked for */
    bool delegate; /* intent: decides */
    const char *label;
    json_t *context;
    const rule *rule;
    json_t *arguments;
    char problem[RULES_PROBLEM_SIZE];
    bool called; /* the history has a call of this turn */
    turn_outcome kind;
    turn_result *out;
} turn;

static void release(turn *t) {
    json_decref(t->message);
    json_decref(t->context);
    json_decref(t->arguments);
    json_decref(t->l->made);
    t->l->made = NULL;
}

/* ---- what is said ---- */

static muga_status say(turn *t, turn_outcome kind, const char *text, muga_error *err) {
    t->kind = MAX(t->kind, kind);
    if (*text) {
        str_printf(&t->out->text, "%s%s", t->out->text.len ? " " : "", text);
    }
    return str_status(&t->out->text, err, "an answer");
}

static muga_status escalate(turn *t, const char *why, const char *text, muga_error *err) {
    json_t *record = json_pack("{s:s, s:s?}", "why", why, "to", t->l->p.manifest->escalation_to);
    if (record && t->problem[0] && json_object_set_new(record, "problem", json_string(t->problem)) != 0) {
        json_decref(record);
        record = NULL;
    }
    muga_status st = record ? audit_append(t->l->p.session, "escalation", record, NULL, err)
                            : error_nomem(err, "a record");
    loop_watch_event(t->l, "escalation", record);
    return st == MUGA_OK ? say(t, TURN_ESCALATE, text, err) : st;
}

/* Everything that a number in an answer may come from. */
static json_t *given_texts(const json_t *context) {
    static const char *const keys[] = {"percept", "message", "state", "session", "arguments", "result"};
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < ARRAY_LEN(keys); i++) {
        ok = loop_add_scalars(list, json_object_get(context, keys[i]));
    }
    if (!ok) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static muga_status render(const turn *t, const rule *r, str *out, char problem[RULES_PROBLEM_SIZE], muga_error *err) {
    const os_clock *clock = t->l->p.env->clock;
    template_limits limits = TEMPLATE_LIMITS_DEFAULT;
    muga_error why = {0};
    bool ok = true;
    muga_status st = template_render(r->words, t->context, clock->now_ms(clock->self), &limits, out, &why);
    if (st == MUGA_E_NOMEM) {
        return error_nomem(err, "an answer");
    }
    json_t *given = given_texts(t->context);
    if (!given) {
        return error_nomem(err, "an answer");
    }
    if (st != MUGA_OK) {
        snprintf(problem, RULES_PROBLEM_SIZE, "words of %.60s: %.180s", r->name, why.message);
        st = MUGA_OK;
    } else {
        st = loop_is_grounded(t->l, str_get(out), given, &ok, err);
    }
    if (!ok) {
        snprintf(problem, RULES_PROBLEM_SIZE, "words of %.60s: nobody gave a number in them", r->name);
    }
    json_decref(given);
    return st;
}

/* The rule's words, with its consequence. */
static muga_status say_words(turn *t, turn_outcome kind, const rule *r, muga_error *err) {
    str text = STR_INIT;
    char problem[RULES_PROBLEM_SIZE] = "";
    muga_status st = r && r->words ? render(t, r, &text, problem, err) : MUGA_OK;
    if (st == MUGA_OK && problem[0]) {
        memcpy(t->problem, problem, sizeof problem);
        st = escalate(t, "words", WORDS_FAILED, err);
    } else if (st == MUGA_OK) {
        st = kind == TURN_ESCALATE ? escalate(t, r->name, str_get(&text), err) : say(t, kind, str_get(&text), err);
    }
    str_release(&text);
    return st;
}

/* ---- 2 perceive and decide ---- */

static muga_status store_message(turn *t, muga_error *err) {
    agent_session *s = t->l->p.session;
    json_t *payload = json_pack("{s:s, s:O}", "role", "user", "content", t->message);
    muga_status st =
        payload ? session_store_row(s, "user", json_string_value(t->message), json_string_length(t->message), NULL, err)
                : error_nomem(err, "a message");
    st = st == MUGA_OK ? audit_write(&s->env, s->store, s->id, "message", payload, err) : st;
    json_decref(payload);
    return st;
}

/* The first rule whose condition holds; none; a problem; or, where one asks what the message is taken for and nobody
 * has scored it yet, *wants_score. */
static muga_status choose(turn *t, bool *wants_score, muga_error *err) {
    const rules *list = t->l->p.manifest->rules;
    muga_error why = {0};
    for (size_t i = 0; i < rules_n(list); i++) {
        const rule *r = rules_get(list, i);
        bool holds = false;
        if (r->on_message != (t->message != NULL)) {
            continue;
        }
        if (r->intent && !t->scored) {
            *wants_score = true;
            return MUGA_OK;
        }
        if (r->intent && (!t->label || strcmp(t->label, r->intent) != 0)) {
            continue;
        }
        muga_status st = rules_test(r, t->context, &holds, &why);
        if (st == MUGA_OK && holds) {
            t->rule = r;
            st = rules_arguments(r, t->context, &t->arguments, &why);
        }
        if (st == MUGA_E_NOMEM) {
            return error_nomem(err, "a rule");
        }
        if (st != MUGA_OK) {
            t->rule = NULL;
            snprintf(t->problem, sizeof t->problem, "rule %.60s: %.180s", r->name, why.message);
            return MUGA_OK;
        }
        if (holds) {
            return MUGA_OK;
        }
    }
    t->delegate = t->message && t->l->p.intent;
    return MUGA_OK;
}

static muga_status record_decision(turn *t, const char *decided, const json_t *observed, muga_error *err) {
    agent_session *s = t->l->p.session;
    json_t *record = json_pack("{s:s, s:s?, s:O*, s:O, s:O, s:O*, s:s?}", "decided", decided, "rule",
                               t->rule ? t->rule->name : NULL, "percept", t->percept, "observed", observed, "match",
                               json_object_get(t->context, "match"), "arguments", t->arguments, "problem",
                               t->problem[0] ? t->problem : NULL);
    muga_status st = record ? audit_write(&s->env, s->store, s->id, "decision", record, err)
                            : error_nomem(err, "a record");
    loop_watch_event(t->l, "rule", record);
    return st;
}

static muga_status decide_inside(turn *t, json_t *observed, json_t **next, bool *wants_score, muga_error *err) {
    agent_loop *l = t->l;
    muga_status st = session_refresh(l->p.session, err);
    if (st == MUGA_OK && !t->stored && t->message) {
        st = store_message(t, err);
    }
    if (st == MUGA_OK) { /* anew: another process may have changed the state since it was scored */
        json_decref(t->context);
        t->context = loop_context(l, t->percept, t->message, err);
        st = t->context ? MUGA_OK : MUGA_E_NOMEM;
    }
    if (st == MUGA_OK && !t->stored) {
        observe_event event = t->percept ? OBSERVE_PERCEPT : OBSERVE_MESSAGE;
        st = loop_observe(l, event, NULL, NULL, t->context, NULL, observed, t->problem, next, err);
    }
    if (st == MUGA_OK && !t->problem[0]) {
        st = choose(t, wants_score, err);
    }
    return st == MUGA_OK && (!*wants_score || json_array_size(observed) > 0)
               ? record_decision(t, *wants_score ? "observation" : "rule", observed, err)
               : st;
}

/* One transaction. */
static muga_status decide_once(turn *t, bool *wants_score, muga_error *err) {
    agent_session *s = t->l->p.session;
    json_t *observed = json_array(), *next = NULL;
    *wants_score = false;
    muga_status st = observed ? store_begin(s->store, err) : error_nomem(err, "a record");
    if (st == MUGA_OK) {
        st = decide_inside(t, observed, &next, wants_score, err);
        store_end(s->store, &st, err);
    }
    if (st == MUGA_OK && next) {
        session_take_state(s, next);
    }
    if (st == MUGA_OK && t->message && !t->stored) {
        st = session_remember_message(s, "user", json_string_value(t->message), json_string_length(t->message), err);
    }
    if (st == MUGA_OK && !t->stored) {
        t->stored = true;
        s->n_calls_in_turn = 0;
    }
    json_decref(next);
    json_decref(observed);
    return st;
}

/* What the message is taken for, outside the transaction: a model may be asked. */
static muga_status score(turn *t, muga_error *err) {
    agent_loop *l = t->l;
    intent_decision d;
    muga_status st =
        intent_decide(l->p.intent, l->p.model, json_string_value(t->message), json_string_length(t->message), &d, err);
    if (st != MUGA_OK) {
        return st;
    }
    const intent_label *best = intent_get_label(l->p.intent, d.requests[0].label);
    l->n_tokens += d.n_tokens;
    t->scored = true;
    t->label = d.sure ? best->name : NULL;
    bool ok = json_object_set_new(d.record, "decided", json_pack("[s]", best->name)) == 0;
    st = ok ? audit_append(l->p.session, "decision", d.record, d.evidence, err) : error_nomem(err, "a record");
    loop_watch_event(l, "decision", json_incref(d.record));
    intent_decision_release(&d);
    return st;
}

static muga_status decide(turn *t, muga_error *err) {
    bool wants_score;
    muga_status st = decide_once(t, &wants_score, err);
    if (st == MUGA_OK && wants_score) {
        st = score(t, err);
        st = st == MUGA_OK ? decide_once(t, &wants_score, err) : st;
    }
    return st;
}

/* A guard's no: recorded, said, and nothing else. */
static muga_status refuse(turn *t, const char *why, muga_error *err) {
    json_t *record = json_pack("{s:s, s:s}", "guard", "percept", "why", why);
    str text = STR_INIT;
    muga_status st = record ? audit_append(t->l->p.session, "guard", record, NULL, err) : error_nomem(err, "a record");
    loop_watch_event(t->l, "guard", record);
    str_printf(&text, "I can't take this: %s.", why);
    st = st == MUGA_OK ? str_status(&text, err, "an answer") : st;
    st = st == MUGA_OK ? say(t, TURN_REFUSE, str_get(&text), err) : st;
    str_release(&text);
    return st;
}

/* *why stays empty: it may pass. */
static muga_status check_percept(const turn *t, char why[256], muga_error *err) {
    const manifest *m = t->l->p.manifest;
    str text;
    muga_error verdict = {0};
    str_init(&text, MAX_PERCEPT_BYTES);
    json_write(t->percept, &text);
    muga_status fits = str_status(&text, NULL, "a percept");
    str_release(&text);
    if (fits == MUGA_E_NOMEM) {
        return error_nomem(err, "a percept");
    }
    if (fits != MUGA_OK || json_is_deeper(t->percept, AGENT_MAX_DEPTH / 2)) {
        snprintf(why, 256, "a percept of more than %zu bytes, or nested too deep", MAX_PERCEPT_BYTES);
        return MUGA_OK;
    }
    muga_status st = constrain_validate(m->percept, t->percept, NULL, &verdict);
    if (st == MUGA_E_NEGATIVE) {
        snprintf(why, 256, "percept: %.230s", verdict.message);
        return MUGA_OK;
    }
    return st == MUGA_OK ? st : error_set(err, st, "%s", verdict.message);
}

/* ---- 3 act ---- */

static void show_result(const turn *t, const call_result *r) {
    loop_watch_event(t->l, "result",
                     json_pack("{s:s, s:s, s:O?, s:s, s:I}", "call", r->call, "outcome", call_outcome_name(r->outcome),
                               "result", r->result, "reason", r->reason, "us", (json_int_t)r->run_us));
}

/* What is kept of a held call. */
static json_t *held_entry(const turn *t, const call_result *r, const rule *by) {
    return json_pack("{s:s, s:s?, s:I, s:O, s:O, s:O}", "call", r->call, "rule", by ? by->name : NULL, "expires_ms",
                     (json_int_t)r->expires_ms, "percept", json_object_get(t->context, "percept"), "message",
                     json_object_get(t->context, "message"), "match", json_object_get(t->context, "match"));
}

static muga_status hold(turn *t, const call_result *r, const rule *by, const char *tool, const json_t *arguments,
                        muga_error *err) {
    json_t *entry = held_entry(t, r, by);
    muga_status st = entry ? loop_observe_call(t->l, r, tool, arguments, entry, t->problem, err)
                           : error_nomem(err, "a held call");
    json_decref(entry);
    loop_watch_event(t->l, "held",
                     json_pack("{s:s, s:s, s:s, s:O, s:s, s:I}", "call", r->call, "approval", r->approval, "tool", tool,
                               "arguments", arguments, "reason", r->reason, "expires_ms", (json_int_t)r->expires_ms));
    if (st == MUGA_OK) {
        memcpy(t->out->call, r->call, sizeof r->call);
        memcpy(t->out->approval, r->approval, sizeof r->approval);
        st = say(t, TURN_HELD, by && by->held ? by->held : WORDS_HELD, err);
    }
    return st;
}

/* The rule's words; where it has none, those of a tool that ends the turn by itself. */
static muga_status say_result(turn *t, const rule *by, const manifest_tool *tool, const json_t *arguments,
                              muga_error *err) {
    turn_outcome kind = loop_outcome_of(tool);
    if (by && by->words) {
        return say_words(t, kind, by, err);
    }
    const char *words = tool->kind->then == TOOL_GOES_ON ? "" : tool_words(tool, arguments);
    return kind == TURN_ESCALATE ? escalate(t, tool->name, words, err) : say(t, kind, words, err);
}

/* Nobody decided in time, so it is no person's no. */
static muga_status say_refused(turn *t, const call_result *r, const rule *by, muga_error *err) {
    bool expired = false;
    muga_status st = loop_call_expired(t->l, r, &expired, err);
    return st != MUGA_OK ? st
           : expired     ? escalate(t, "approval_expired", by && by->failed ? by->failed : WORDS_FAILED, err)
                         : say(t, TURN_REFUSE, by && by->denied ? by->denied : r->reason, err);
}

/* What a call gave: observed, then said. The context is the call's own input. */
static muga_status after(turn *t, const call_result *r, const rule *by, const char *tool, const json_t *arguments,
                         muga_error *err) {
    if (r->outcome == CALL_HELD || r->outcome == CALL_IN_DOUBT) {
        return hold(t, r, by, tool, arguments, err);
    }
    show_result(t, r);
    bool in_history = r->outcome == CALL_FINISHED || r->outcome == CALL_FAILED;
    t->called = t->called || in_history;
    muga_status st = in_history ? loop_observe_history(t->l, t->problem, err)
                                : loop_observe_call(t->l, r, tool, arguments, NULL, t->problem, err);
    if (st == MUGA_OK && t->problem[0]) {
        return escalate(t, "state", WORDS_FAILED, err);
    }
    if (st == MUGA_OK) {
        st = loop_context_set_call(t->context, tool, arguments, call_outcome_name(r->outcome), r->result, err);
    }
    if (st == MUGA_OK && json_object_set(t->context, "state", json_borrow(session_state(t->l->p.session))) != 0) {
        st = error_nomem(err, "a context");
    }
    if (st != MUGA_OK) {
        return st;
    }
    switch (r->outcome) {
    case CALL_FINISHED: return say_result(t, by, manifest_tool_find(t->l->p.manifest, tool), arguments, err);
    case CALL_REFUSED: return say_refused(t, r, by, err);
    default:
        snprintf(t->problem, sizeof t->problem, "%s: %.200s", tool, r->reason);
        return escalate(t, "tool_failed", by && by->failed ? by->failed : WORDS_FAILED, err);
    }
}

static const json_t *held_calls(const agent_loop *l) {
    return json_object_get(json_object_get(session_state(l->p.session), STATE_CALLS), "held");
}

static muga_status call(turn *t, muga_error *err) {
    call_result r;
    const char *tool = t->rule->tool->name;
    if (json_array_size(held_calls(t->l)) >= RULES_MAX_HELD) {
        snprintf(t->problem, sizeof t->problem, "%d calls wait for approval already", RULES_MAX_HELD);
        return escalate(t, "limits", WORDS_FAILED, err);
    }
    loop_watch_event(t->l, "call", json_pack("{s:s, s:O}", "tool", tool, "arguments", t->arguments));
    muga_status st = loop_call_once(t->l, tool, t->arguments, &r, err);
    if (st == MUGA_OK) {
        st = after(t, &r, t->rule, tool, t->arguments, err);
        call_result_release(&r);
    }
    return st;
}

static muga_status act(turn *t, muga_error *err) {
    if (t->problem[0]) {
        return escalate(t, "rule_failed", WORDS_FAILED, err);
    }
    if (!t->rule) {
        return t->message ? say(t, TURN_ASK, WORDS_UNKNOWN, err) : MUGA_OK;
    }
    switch (t->rule->act) {
    case RULE_TOOL: return call(t, err);
    case RULE_ANSWER: return say_words(t, TURN_ANSWER, t->rule, err);
    case RULE_ASK: return say_words(t, TURN_ASK, t->rule, err);
    case RULE_REFUSE: return say_words(t, TURN_REFUSE, t->rule, err);
    case RULE_ESCALATE: return say_words(t, TURN_ESCALATE, t->rule, err);
    case RULE_NOTHING: break;
    }
    return MUGA_OK;
}

/* ---- 1 settle: calls that were held ---- */

static const rule *find_rule(const agent_loop *l, const char *name) {
    const rules *list = l->p.manifest->rules;
    for (size_t i = 0; name && i < rules_n(list); i++) {
        if (strcmp(rules_get(list, i)->name, name) == 0) {
            return rules_get(list, i);
        }
    }
    return NULL;
}

/* The call as the journal has it: tool and arguments. */
static muga_status go_on(turn *t, const json_t *entry, muga_error *err) {
    agent_loop *l = t->l;
    journal_call c;
    call_result r;
    muga_status st = journal_read(l->p.session->store, json_get_string(entry, "call"), &c, err);
    if (st != MUGA_OK) {
        return st;
    }
    json_t *before = t->context;
    t->context = loop_context(l, json_object_get(entry, "percept"), json_object_get(entry, "message"), err);
    st = t->context && json_object_set(t->context, "match", json_object_get(entry, "match")) == 0
             ? executor_resume(l->p.session, c.id, &r, err)
             : error_nomem(err, "a context");
    if (st == MUGA_OK) {
        bool still = r.outcome == CALL_HELD || (r.outcome == CALL_IN_DOUBT && c.state == STATE_IN_DOUBT);
        if (!still) {
            st = after(t, &r, find_rule(l, json_get_string(entry, "rule")), c.tool, c.arguments, err);
            if (st == MUGA_OK && r.outcome != CALL_HELD && r.outcome != CALL_IN_DOUBT) {
                st = loop_forget_held(l, c.id, err);
            }
        } else {
            memcpy(t->out->call, r.call, sizeof r.call);
            memcpy(t->out->approval, r.approval, sizeof r.approval);
        }
        call_result_release(&r);
    }
    json_decref(t->context);
    t->context = before;
    journal_call_release(&c);
    return st;
}

/* Those that a person has decided on, or all. */
static muga_status settle_held(turn *t, bool all, muga_error *err) {
    agent_loop *l = t->l;
    json_t *held = json_clone(held_calls(l)), *waiting = NULL;
    const os_clock *clock = l->p.env->clock;
    muga_status st = !held                        ? error_nomem(err, "held calls")
                     : json_array_size(held) == 0 ? MUGA_OK
                                                  : executor_waiting(l->p.session, &waiting, err);
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(held); i++) {
        const json_t *entry = json_array_get(held, i);
        bool waits = json_get_int(entry, "expires_ms", 0) > clock->now_ms(clock->self), listed = false;
        for (size_t k = 0; k < json_array_size(waiting); k++) {
            const json_t *w = json_array_get(waiting, k);
            listed = listed || (strcmp(json_get_string(w, "call"), json_get_string(entry, "call")) == 0 &&
                                strcmp(json_get_string(w, "state"), "approved") != 0);
        }
        st = all || !waits || !listed ? go_on(t, entry, err) : MUGA_OK;
    }
    json_decref(waiting);
    json_decref(held);
    return st;
}

/* A crash may have come between the executor's hold and ours: what waits in the journal is held. */
static muga_status adopt_waiting(agent_loop *l, muga_error *err) {
    json_t *waiting = NULL;
    char problem[RULES_PROBLEM_SIZE] = "";
    const char *other = json_get_string(json_object_get(l->work, "held"), "call");
    muga_status st = executor_waiting(l->p.session, &waiting, err);
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(waiting); i++) {
        const json_t *w = json_array_get(waiting, i), *held = held_calls(l);
        const char *id = json_get_string(w, "call");
        bool known = other && strcmp(other, id) == 0;
        for (size_t k = 0; k < json_array_size(held); k++) {
            known = known || strcmp(json_get_string(json_array_get(held, k), "call"), id) == 0;
        }
        if (!known) {
            call_result r = {.outcome = CALL_HELD};
            snprintf(r.call, sizeof r.call, "%s", id);
            json_t *entry = json_pack("{s:s, s:n, s:O, s:n, s:n, s:{}}", "call", id, "rule", "expires_ms",
                                      json_object_get(w, "expires_ms"), "percept", "message", "match");
            st = entry ? loop_observe_call(l, &r, json_get_string(w, "tool"), json_object_get(w, "arguments"), entry,
                                           problem, err)
                       : error_nomem(err, "a held call");
            json_decref(entry);
        }
    }
    json_decref(waiting);
    return st;
}

/* ---- 4 conclude ---- */

static muga_status conclude(turn *t, muga_error *err) {
    agent_loop *l = t->l;
    turn_outcome kind = t->kind == TURN_HELD ? TURN_ANSWER : t->kind; /* of what is said */
    turn_outcome said = kind;
    muga_status st = loop_guard_answer(l, &said, &t->out->text, err);
    if (said != kind) { /* a guard's words */
        kind = said;
        t->kind = t->kind == TURN_HELD ? TURN_HELD : said;
    }
    if (st == MUGA_OK && (t->out->text.len > 0 || t->message || t->called)) {
        st = session_add_answer(l->p.session, turn_outcome_name(kind), str_get(&t->out->text), err);
    }
    t->out->outcome = t->kind;
    if (t->out->text.len > 0) {
        loop_watch_event(l, "answer",
                         json_pack("{s:s, s:s}", "kind", turn_outcome_name(kind), "text", str_get(&t->out->text)));
    }
    return st == MUGA_OK && t->kind == TURN_ESCALATE && t->message
               ? session_end(l->p.session, turn_outcome_name(TURN_ESCALATE), err)
               : st;
}

/* ---- the kind ---- */

static muga_status rules_open(agent_loop *l, muga_error *err) {
    char problem[RULES_PROBLEM_SIZE] = "";
    muga_status st = l->p.intent ? loop_intent_begin(l, err) : MUGA_OK;
    st = st == MUGA_OK && !session_ended(l->p.session) ? loop_observe_history(l, problem, err) : st;
    return st == MUGA_OK && !session_ended(l->p.session) ? adopt_waiting(l, err) : st;
}

static void rules_close(agent_loop *l) {
    json_decref(l->made);
    json_decref(l->work);
}

/* intent: decides; what its calls gave is observed. */
static muga_status delegate(turn *t, muga_error *err) {
    muga_status st = loop_intent_take(t->l, json_string_value(t->message), json_string_length(t->message), t->out, err);
    return st == MUGA_OK ? loop_observe_history(t->l, t->problem, err) : st;
}

static muga_status take(turn *t, muga_error *err) {
    agent_loop *l = t->l;
    char why[256] = "";
    muga_status st = session_ended(l->p.session) ? error_set(err, MUGA_E_POLICY, "session %s has ended; begin another",
                                                             session_id(l->p.session))
                                                 : settle_held(t, false, err);
    t->problem[0] = '\0';
    if (st == MUGA_OK && t->percept) {
        loop_watch_event(l, "percept", json_incref(json_borrow(t->percept)));
        st = check_percept(t, why, err);
    } else if (st == MUGA_OK) {
        loop_watch_event(l, "message", json_pack("{s:O}", "text", t->message));
    }
    if (st == MUGA_OK && why[0]) {
        st = refuse(t, why, err);
    } else if (st == MUGA_OK) {
        st = decide(t, err);
        if (st == MUGA_OK && t->delegate) {
            return delegate(t, err);
        }
        st = st == MUGA_OK ? act(t, err) : st;
    }
    return st == MUGA_OK ? conclude(t, err) : st;
}

static muga_status rules_percept(agent_loop *l, const json_t *percept, turn_result *out, muga_error *err) {
    if (!l->p.manifest->percept) {
        return error_set(err, MUGA_E_INPUT,
                         "agent %.64s takes messages; its manifest has no percept:", l->p.manifest->name);
    }
    if (!json_is_object(percept)) {
        return error_set(err, MUGA_E_INPUT, "a percept is a JSON object");
    }
    turn t = {.l = l, .percept = percept, .out = out};
    muga_status st = take(&t, err);
    release(&t);
    return st;
}

/* Text that is a JSON object is a percept, where the manifest knows such. */
static muga_status rules_turn(agent_loop *l, const char *text, size_t n, turn_result *out, muga_error *err) {
    json_t *percept = NULL;
    if (l->p.manifest->percept && n > 0 && text[0] == '{' &&
        json_parse(text, n, "percept", &percept, NULL) == MUGA_OK) {
        muga_status st = rules_percept(l, percept, out, err);
        json_decref(percept);
        return st;
    }
    muga_status st = session_check_text(l->p.session, text, n, err);
    if (st != MUGA_OK) {
        return st;
    }
    turn t = {.l = l, .message = json_stringn(text, n), .out = out};
    st = t.message ? take(&t, err) : error_nomem(err, "a message");
    release(&t);
    return st;
}

/* The last message, where neither words nor an end followed it. */
static json_t *unanswered(const agent_loop *l) {
    const json_t *history = session_history(l->p.session);
    for (size_t i = json_array_size(history); i > 0 && !session_ended(l->p.session); i--) {
        const json_t *h = json_array_get(history, i - 1);
        const char *role = json_get_string(h, "role");
        if (strcmp(role, "tool") != 0) {
            return strcmp(role, "user") == 0 ? json_object_get(h, "content") : NULL;
        }
    }
    return NULL;
}

static bool rules_unfinished(const agent_loop *l) {
    return json_array_size(held_calls(l)) > 0 || json_object_get(l->work, "held") || unanswered(l);
}

static muga_status rules_resume(agent_loop *l, turn_result *out, muga_error *err) {
    turn t = {.l = l, .out = out};
    muga_status st = MUGA_OK;
    if (json_object_get(l->work, "held")) {
        st = loop_kind_intent.resume(l, out, err);
        return st == MUGA_OK ? loop_observe_history(l, t.problem, err) : st;
    }
    if (json_array_size(held_calls(l)) > 0) {
        st = settle_held(&t, true, err);
        if (st == MUGA_OK && json_array_size(held_calls(l)) > 0) {
            st = say(&t, TURN_HELD, t.out->text.len ? "" : WORDS_HELD, err);
        }
    } else if (unanswered(l)) {
        t.message = json_incref(unanswered(l));
        t.stored = true; /* and observed */
        st = loop_find_made(l, err);
        st = st == MUGA_OK ? decide(&t, err) : st;
        if (st == MUGA_OK && t.delegate) {
            st = delegate(&t, err);
            release(&t);
            return st;
        }
        st = st == MUGA_OK ? act(&t, err) : st;
    } else {
        st = error_set(err, MUGA_E_NOT_FOUND, "nothing is held, or left without an answer, in session %s",
                       session_id(l->p.session));
    }
    st = st == MUGA_OK ? conclude(&t, err) : st;
    release(&t);
    return st;
}

const loop_kind loop_kind_rules = {.open = rules_open,
                                   .close = rules_close,
                                   .turn = rules_turn,
                                   .percept = rules_percept,
                                   .resume = rules_resume,
                                   .unfinished = rules_unfinished};
