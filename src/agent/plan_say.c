/* The goal loop's goal and answers. Owns: the goal's check, what an answer may be made of, the rules' own words where
 * the model's can't be said. Refuses: an answer with an id or a number that nobody gave. */
#include "agent/plan_internal.h"

#include <stdio.h>

#define RESULTS_BYTES 2000u /* of results in plain words */

/* ---- the goal ---- */

static bool is_finished(const json_t *entry) {
    const char *outcome = json_get_string(entry, "outcome");
    return outcome && strcmp(outcome, "finished") == 0;
}

/* {"state", "results", "session", "called"}: results of the whole session; called: the last of each tool in this work.
 */
static json_t *goal_context(const plan_turn *t) {
    const agent_session *s = t->l->p.session;
    const json_t *history = session_history(s);
    json_t *results = json_array(), *called = json_object(), *state = json_clone_shallow(session_state(s));
    size_t from = (size_t)json_get_int(t->l->work, "from", 0);
    bool ok = results && called && state;
    for (size_t i = 0; ok && i < json_array_size(history); i++) {
        const json_t *entry = json_array_get(history, i);
        json_t *content = json_object_get(entry, "content");
        ok = !is_finished(entry) ||
             (json_array_append(results, content) == 0 &&
              (i < from || json_object_set(called, json_get_string(entry, "tool"), content) == 0));
    }
    json_t *context = NULL;
    if (ok) {
        context = json_pack("{s:O, s:O, s:O, s:O}", "state", state, "results", results, "session", session_values(s),
                            "called", called);
    }
    json_decref(state);
    json_decref(results);
    json_decref(called);
    return context;
}

/* The loop itself says in state.resolution how a turn ended, where the manifest declares it. */
static bool end_it(const plan_turn *t, json_t *context) {
    const json_t *declared = json_object_get(t->l->p.manifest->state_schema, "properties");
    json_t *state = json_object_get(context, "state");
    return !json_object_get(declared, "resolution") ||
           json_object_set_new(state, "resolution", json_string(turn_outcome_name(TURN_ANSWER))) == 0;
}

muga_status plan_goal_holds(const plan_turn *t, bool *holds, char why[256], muga_error *err) {
    const template_expression *done = t->l->p.manifest->goal_done;
    muga_error told = {0};
    *holds = !done;
    why[0] = '\0';
    if (!done) {
        return MUGA_OK;
    }
    json_t *context = goal_context(t);
    if (!context || !end_it(t, context)) {
        json_decref(context);
        return error_nomem(err, "the goal");
    }
    muga_status st = template_expression_test(done, context, holds, &told);
    json_decref(context);
    if (st == MUGA_E_NOMEM) {
        return error_nomem(err, "the goal");
    }
    if (st != MUGA_OK) { /* a check that can't be told does not hold */
        *holds = false;
        snprintf(why, 256, "%s", told.message);
    }
    return MUGA_OK;
}

/* ---- what an answer may be made of ---- */

/* The person's messages, what finished calls gave, the session's values. Never the agent's own words, and what the
 * model wrote into a call is its words, too. */
static json_t *given_texts(const plan_turn *t) {
    const json_t *history = session_history(t->l->p.session);
    json_t *list = json_array();
    bool ok = list && loop_add_scalars(list, session_values(t->l->p.session));
    for (size_t i = 0; ok && i < json_array_size(history); i++) {
        const json_t *entry = json_array_get(history, i);
        if (strcmp(plan_role(entry), "user") == 0) {
            ok = json_array_append(list, json_object_get(entry, "content")) == 0;
        } else if (is_finished(entry)) {
            ok = loop_add_scalars(list, json_object_get(entry, "content"));
        }
    }
    if (!ok) {
        json_decref(list);
        return NULL;
    }
    return list;
}

muga_status plan_is_grounded(const plan_turn *t, const char *text, bool *ok, muga_error *err) {
    json_t *texts = given_texts(t);
    if (!texts) {
        return error_nomem(err, "an answer");
    }
    muga_status st = loop_is_grounded(t->l, text, texts, ok, err);
    json_decref(texts);
    return st;
}

/* ---- the rules' own words ---- */

static void write_plain(const json_t *v, str *out) {
    const char *key;
    json_t *sub;
    size_t i = 0;
    if (out->len > RESULTS_BYTES) {
        return;
    }
    if (json_is_string(v)) {
        str_append(out, json_string_value(v), json_string_length(v));
    } else if (json_is_object(v)) {
        json_object_foreach(json_borrow(v), key, sub) {
            str_append_s(out, i++ ? ", " : "");
            if (json_object_size(v) > 1 || !json_is_array(sub)) { /* {"rows": [...]} is its rows */
                str_printf(out, "%s: ", key);
            }
            write_plain(sub, out);
        }
    } else if (json_is_array(v)) {
        for (; i < json_array_size(v); i++) {
            str_append_s(out, i ? "; " : "");
            write_plain(json_array_get(v, i), out);
        }
        str_append_s(out, i ? "" : "nothing");
    } else if (json_is_null(v)) {
        str_append_s(out, "none");
    } else {
        json_write(v, out);
    }
}

static void say_plainly(const plan_turn *t, str *out) {
    const json_t *history = session_history(t->l->p.session);
    size_t from = (size_t)json_get_int(t->l->work, "from", 0), begin = out->len;
    for (size_t i = from; i < json_array_size(history) && out->len - begin <= RESULTS_BYTES; i++) {
        const json_t *entry = json_array_get(history, i);
        if (is_finished(entry)) {
            str one = STR_INIT;
            write_plain(json_object_get(entry, "content"), &one);
            str_printf(out, "%s%s: %s%s.", out->len ? " " : "", json_get_string(entry, "tool"), str_get(&one),
                       one.len > RESULTS_BYTES ? " ... (there is more)" : "");
            out->failed = out->failed || one.failed;
            str_release(&one);
        }
    }
}

muga_status plan_say_results(const plan_turn *t, str *out, muga_error *err) {
    if (!t->rules->answer) {
        say_plainly(t, out);
        return str_status(out, err, "an answer");
    }
    const os_clock *clock = t->l->p.env->clock;
    template_limits limits = TEMPLATE_LIMITS_DEFAULT;
    json_t *context = goal_context(t);
    muga_error why;
    size_t begin = out->len;
    muga_status st = context
                         ? template_render(t->rules->answer, context, clock->now_ms(clock->self), &limits, out, &why)
                         : error_nomem(err, "an answer");
    json_decref(context);
    if (context && st != MUGA_OK && st != MUGA_E_NOMEM) { /* a template that fails on these results */
        str_truncate(out, begin);
        say_plainly(t, out);
        st = str_status(out, err, "an answer");
    }
    return st;
}

static bool is_required(const manifest_tool *t, const char *name) {
    const json_t *list = json_object_get(t->parameters, "required");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), name) == 0) {
            return true;
        }
    }
    return false;
}

/* Is there no value in what the person wrote for a parameter that needs one? */
static bool is_missing(const session_sources *all, const manifest_tool *t, const char *name, const json_t *schema) {
    const char *from = json_get_string(schema, "from");
    json_t *values = json_array();
    muga_error ignored;
    bool missing = from && strcmp(from, "conversation") == 0 && is_required(t, name) && values &&
                   constrain_grounded_values(schema, all->list, ARRAY_LEN(all->list), values, &ignored) == MUGA_OK &&
                   json_array_size(values) == 0;
    json_decref(values);
    return missing;
}

static void say_parameter(str *out, size_t i, const char *name, const json_t *schema) {
    const char *words = json_get_string(schema, "title");
    words = words ? words : json_get_string(schema, "description");
    str_append_s(out, i ? ", " : " ");
    if (words) {
        str_append_s(out, words);
    }
    for (const char *c = words ? "" : name; *c; c++) {
        str_append_c(out, *c == '_' ? ' ' : *c);
    }
}

/* The parameters that want a value; out NULL: just how many. */
static muga_status missing_of(const plan_turn *t, const manifest_tool *tool, str *out, size_t *n, muga_error *err) {
    session_sources all;
    const char *name;
    json_t *schema;
    *n = 0;
    muga_status st = session_get_sources(t->l->p.session, &all, err);
    if (st != MUGA_OK) {
        return st;
    }
    json_object_foreach(json_object_get(tool->parameters, "properties"), name, schema) {
        if (is_missing(&all, tool, name, schema)) {
            if (out) {
                say_parameter(out, *n, name, schema);
            }
            (*n)++;
        }
    }
    session_sources_release(&all);
    return MUGA_OK;
}

muga_status plan_say_missing(const plan_turn *t, const manifest_tool *tool, str *out, muga_error *err) {
    size_t n = 0;
    str_append_s(out, t->rules->ask);
    muga_status st = missing_of(t, tool, out, &n, err);
    return st == MUGA_OK ? str_status(out, err, "a question") : st;
}

muga_status plan_wants(const plan_turn *t, const manifest_tool *tool, bool *wants, muga_error *err) {
    size_t n = 0;
    muga_status st = missing_of(t, tool, NULL, &n, err);
    *wants = n > 0;
    return st;
}

muga_status plan_wanting(const plan_turn *t, const manifest_tool **tool, muga_error *err) {
    const manifest *m = t->l->p.manifest;
    muga_status st = MUGA_OK;
    size_t n = 0;
    *tool = NULL;
    for (size_t i = 0; st == MUGA_OK && !*tool && i < m->n_tools; i++) {
        st = missing_of(t, &m->tools[i], NULL, &n, err);
        *tool = n > 0 ? &m->tools[i] : NULL;
    }
    return st;
}
