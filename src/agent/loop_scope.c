/* The manifest's scope: as a guard. Owns: whether a message is about what the agent is for, the record of that, and
 * what the person is told. Refuses: to stop a message on a guess; in doubt it goes on.
 *
 * By intent: the label out_of_scope says it (loop.c); here is only its record. An agent that plans, or acts by rules
 * and has a model, has the model score two answers to what the message is about, in one prefill:
 *
 *   d = (log p(domain) - log p("something else") of the message) - (the same, the mean over texts that say nothing)
 *
 * d < -scope.margin: it is outside. Naming the subject tells more than "is it about that, yes or no", at which a small
 * model does no better than chance (docs/guards.md has both numbers). What answers a question of the agent isn't looked
 * at: "the blue one" is about nothing by itself. */
#include "agent/loop_internal.h"
#include "agent/rules.h"
#include "agent/trace.h"

/* The question is put as `muga classify` puts it, with which it was measured. */
#define INSTRUCTION "Say in a few words what the message is about."
#define ELSEWHERE "something else"

static const char *const nothing[] = {"N/A", "...", "text"};

bool loop_scope_is_scored(const manifest *m) {
    bool by_rules = !m->plan && !m->intent && m->model, hears = !m->percept;
    for (size_t i = 0; by_rules && !hears && i < rules_n(m->rules); i++) {
        hears = rules_get(m->rules, i)->on_message;
    }
    return m->scope_domain && (m->plan || (by_rules && hears));
}

static const char *action_name(scope_otherwise o) {
    return o == OTHERWISE_ASK ? "ask" : o == OTHERWISE_REFUSE ? "refuse" : "escalate";
}

static muga_status record(const agent_loop *l, json_t *what, const json_t *evidence, bool show, muga_error *err) {
    muga_status st = what ? audit_append(l->p.session, "guard", what, evidence, err) : error_nomem(err, "a record");
    loop_watch_event(l, "guard", show ? json_incref(what) : NULL);
    json_decref(what);
    return st;
}

muga_status loop_scope_label(const agent_loop *l, const intent_label *label, muga_error *err) {
    const manifest *m = l->p.manifest;
    if (!label->outside || !m->scope_domain) {
        return MUGA_OK;
    }
    return record(l,
                  json_pack("{s:s, s:s, s:s, s:s}", "guard", "scope", "action", action_name(m->scope_otherwise),
                            "domain", m->scope_domain, "label", label->name),
                  NULL, true, err);
}

/* Does the person answer a question? The last turn kept a message, and ended by asking. */
static muga_status was_asked(const agent_loop *l, bool *asked, muga_error *err) {
    const json_t *history = session_history(l->p.session);
    size_t n = json_array_size(history);
    store_row *row = NULL;
    bool has = false;
    *asked = false;
    if (n < 2 || strcmp(json_get_string(json_array_get(history, n - 1), "role"), "assistant") != 0 ||
        strcmp(json_get_string(json_array_get(history, n - 2), "role"), "assistant") == 0) {
        return MUGA_OK;
    }
    muga_status st = store_query(l->p.session->store, &row, err,
                                 "SELECT json_extract(p.payload, '$.kind') FROM audit a JOIN audit_payload p"
                                 " ON p.n = a.n WHERE a.session = ? AND a.kind = 'answer' ORDER BY a.n DESC LIMIT 1",
                                 "s", session_id(l->p.session));
    st = st == MUGA_OK ? store_step(row, &has, err) : st;
    if (st == MUGA_OK && has) {
        const char *kind = store_string(row, 0);
        *asked = kind && strcmp(kind, turn_outcome_name(TURN_ASK)) == 0;
    }
    store_done(row);
    return st;
}

/* *favour: log p(domain) - log p(elsewhere). */
static muga_status score(agent_loop *l, const char *text, size_t n, bool want_evidence, double *favour,
                         json_t **evidence, muga_error *err) {
    const char *labels[] = {l->p.manifest->scope_domain, ELSEWHERE};
    str prompt = STR_INIT;
    str_append_s(&prompt, INSTRUCTION "\n\nText: ");
    str_append(&prompt, text, n);
    json_t *messages =
        prompt.failed ? NULL : json_pack("[{s:s, s:s%}]", "role", "user", "content", str_get(&prompt), prompt.len);
    str_release(&prompt);
    llm_score_reply reply = {0};
    muga_status st = MUGA_E_NOMEM;
    if (messages) {
        const llm_score_request q = {.messages = messages,
                                     .labels = labels,
                                     .n_labels = ARRAY_LEN(labels),
                                     .with_end = true,
                                     .want_evidence = want_evidence,
                                     .tenant = l->p.env->tenant};
        st = llm_score(l->p.model, &q, &reply, err);
    } else {
        st = error_nomem(err, "a prompt");
    }
    if (st == MUGA_OK) {
        *favour = reply.logprob[0] - reply.logprob[1];
        *evidence = json_incref(reply.evidence);
        l->n_tokens += reply.n_prompt;
    }
    llm_score_reply_release(&reply);
    json_decref(messages);
    return st;
}

/* How much the model favours the domain whatever it reads: once a loop. */
static muga_status find_bias(agent_loop *l, muga_error *err) {
    muga_status st = MUGA_OK;
    double sum = 0;
    for (size_t i = 0; st == MUGA_OK && !l->scope_known && i < ARRAY_LEN(nothing); i++) {
        double favour = 0;
        json_t *none = NULL;
        st = score(l, nothing[i], strlen(nothing[i]), false, &favour, &none, err);
        sum += favour;
        json_decref(none);
    }
    if (st == MUGA_OK && !l->scope_known) {
        l->scope_bias = sum / (double)ARRAY_LEN(nothing);
        l->scope_known = true;
    }
    return st;
}

static muga_status say(const manifest *m, str *out, muga_error *err) {
    static const char *const words[] = {
        [OTHERWISE_ASK] = "I deal with %s only. If this is about that, please say it in other words.",
        [OTHERWISE_ESCALATE] = "I deal with %s only. A person will look at this message.",
        [OTHERWISE_REFUSE] = "I deal with %s only, so I can't help with this."};
    if (m->scope_say) {
        str_append_s(out, m->scope_say);
    } else {
        str_printf(out, words[m->scope_otherwise], m->scope_domain);
    }
    return str_status(out, err, "an answer");
}

muga_status loop_scope_message(agent_loop *l, const char *text, size_t n, str *out, turn_outcome *kind, bool *stopped,
                               muga_error *err) {
    static const turn_outcome outcomes[] = {
        [OTHERWISE_ASK] = TURN_ASK, [OTHERWISE_ESCALATE] = TURN_ESCALATE, [OTHERWISE_REFUSE] = TURN_REFUSE};
    const manifest *m = l->p.manifest;
    const os_clock *clock = l->p.env->clock;
    uint64_t began_us = clock->monotonic_us(clock->self);
    int64_t before = l->n_tokens;
    double favour = 0;
    json_t *evidence = NULL;
    bool asked = false, percept = m->percept && n > 0 && text[0] == '{';
    *stopped = false;
    if (!l->p.model || percept || session_ended(l->p.session) || !loop_scope_is_scored(m)) {
        return MUGA_OK;
    }
    muga_status st = was_asked(l, &asked, err);
    if (st != MUGA_OK || asked) {
        return st;
    }
    muga_error why = {0};
    trace_enter(l->trace, TRACE_GUARD, "scope");
    st = find_bias(l, &why);
    st = st == MUGA_OK ? score(l, text, n, true, &favour, &evidence, &why) : st;
    trace_leave(l->trace);
    if (st == MUGA_E_LIMIT || st == MUGA_E_INPUT) { /* the model can't read it: nobody can tell, so it goes on */
        return record(l,
                      json_pack("{s:s, s:s, s:s, s:s}", "guard", "scope", "action", "pass", "domain", m->scope_domain,
                                "why", why.message),
                      NULL, false, err);
    }
    if (st != MUGA_OK) {
        return error_set(err, st, "%s", why.message);
    }
    double d = favour - l->scope_bias;
    *stopped = d < -m->scope_margin;
    st = record(l,
                json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:b, s:s, s:I, s:I}", "guard", "scope", "action",
                          *stopped ? action_name(m->scope_otherwise) : "pass", "domain", m->scope_domain, "score", d,
                          "bias", l->scope_bias, "margin", m->scope_margin, "sure",
                          d < -m->scope_margin || d > m->scope_margin, "model", l->p.model->name, "tokens_in",
                          (json_int_t)(l->n_tokens - before), "latency_us",
                          (json_int_t)(clock->monotonic_us(clock->self) - began_us)),
                evidence, *stopped, err);
    json_decref(evidence);
    *kind = outcomes[m->scope_otherwise];
    return st == MUGA_OK && *stopped ? say(m, out, err) : st;
}
