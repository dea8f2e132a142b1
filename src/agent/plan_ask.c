/* What the goal loop asks the model: a plan, the next call or the answer, arguments. Owns: the constraint of each
 * question, the count of tokens, the audit record of each answer. Refuses: an answer of no use, which is noted and
 * counted; a question when the turn's time is over.
 *
 * All questions go to one growing conversation with the same tools in it, so that what differs between them is the
 * constraint alone: a plan is JSON under the plan's schema; a pick is one call in the model's own form, or words;
 * arguments are a call of a tool that is already named. */
#include "agent/plan_internal.h"

#include "base/utf8.h"

#define ANSWER_CHARS 800    /* of an answer when nothing is left to do; one as long was cut, and is not said */
#define LEAST_ROOM 4u       /* the answer gets at least a quarter of the context */
#define NOTE_WHY_BYTES 200u /* of what the model is told about a bad answer */

typedef struct question {
    llm_tool_choice choice;
    const char *tool;     /* of NAMED */
    const json_t *schema; /* of the content */
    bool reasons;         /* may reason first, where the manifest lets it */
} question;

/* ---- asking ---- */

/* Earlier turns are left out, oldest first, when the conversation outgrows the context, and a digest stands for them
 * (session_digest.c). The journal keeps them. */
static muga_status fit_messages(plan_turn *t, const json_t *tools, json_t **messages, size_t *first, muga_error *err) {
    const json_t *history = session_history(t->l->p.session);
    size_t this_turn = (size_t)json_get_int(t->l->work, "turn", 0);
    uint32_t n_tok = 0, room = t->l->p.model->n_ctx - t->l->p.model->n_ctx / LEAST_ROOM;
    muga_status st = plan_messages(t, *first, messages, err);
    while (st == MUGA_OK && room > 0 && *first < this_turn) {
        str text = STR_INIT;
        json_write(*messages, &text);
        size_t bytes = text.len;
        str_release(&text);
        st = bytes > room ? llm_count(t->l->p.model, *messages, tools, &n_tok, err) : MUGA_OK;
        if (st != MUGA_OK || bytes <= room || n_tok <= room) {
            break; /* a token has a byte at least */
        }
        *first += (this_turn - *first + 1) / 2;
        while (*first < this_turn && strcmp(plan_role(json_array_get(history, *first)), "user") != 0) {
            (*first)++;
        }
        json_decref(*messages);
        *messages = NULL;
        st = plan_messages(t, *first, messages, err);
    }
    return st;
}

static void count_tokens(plan_turn *t, const llm_reply *reply) {
    uint32_t end = reply->n_prompt + reply->n_generated;
    t->l->n_tokens += (int64_t)reply->n_generated;
    t->l->n_tokens += reply->n_prompt > t->n_read ? reply->n_prompt - t->n_read : 0;
    t->n_read = MAX(t->n_read, end);
}

static muga_status ask_model(plan_turn *t, const question *q, llm_reply *reply, size_t *first, muga_error *err) {
    agent_loop *l = t->l;
    json_t *messages = NULL, *tools = NULL;
    session_sources sources = {.owner = NULL};
    *first = 0;
    muga_status st = plan_tools(l->p.manifest, &tools, err);
    st = st == MUGA_OK ? session_get_sources(l->p.session, &sources, err) : st;
    st = st == MUGA_OK ? fit_messages(t, tools, &messages, first, err) : st;
    if (st == MUGA_OK) {
        uint32_t reasoning = q->reasons ? (uint32_t)t->rules->reasoning_tokens : 0;
        const llm_request r = {.messages = messages,
                               .tools = tools,
                               .tool_choice = q->choice,
                               .tool_name = q->tool,
                               .one_call = true,
                               .split = true,
                               .thinking = reasoning > 0 ? LLM_THINKING_DEFAULT : LLM_THINKING_OFF,
                               .reasoning_tokens = reasoning,
                               .schema = q->schema,
                               .sources = sources.list,
                               .n_sources = ARRAY_LEN(sources.list),
                               .sampling = LLM_SAMPLING_GREEDY,
                               .max_tokens = (uint32_t)t->rules->answer_tokens + reasoning,
                               .want_evidence = true,
                               .tenant = l->p.env->tenant};
        st = llm_complete(l->p.model, &r, reply, err);
    }
    if (st == MUGA_OK) {
        count_tokens(t, reply);
    }
    session_sources_release(&sources);
    json_decref(messages);
    json_decref(tools);
    return st;
}

/* ---- the record ---- */

/* Takes `what`: {"decided": ..., ...}. */
static muga_status audit_reply(plan_turn *t, json_t *what, const llm_reply *reply, size_t first, muga_error *err) {
    json_t *numbers = json_pack("{s:s, s:I, s:I, s:I, s:I}", "model", t->l->p.model->name, "tokens_in",
                                (json_int_t)reply->n_prompt, "tokens_out", (json_int_t)reply->n_generated, "latency_us",
                                (json_int_t)(reply->prompt_us + reply->generate_us), "left_out", (json_int_t)first);
    bool ok = what && numbers && json_object_update(what, numbers) == 0;
    muga_status st = ok ? audit_append(t->l->p.session, "decision", what, reply->evidence, err)
                        : error_nomem(err, "a record");
    json_decref(numbers);
    json_decref(what);
    return st;
}

/* An answer that is of no use is told to the model and counted; so is a model that gives none. What the machine or the
 * journal lacks stays an error. */
static muga_status bad_answer(plan_turn *t, const llm_reply *reply, const char *why, plan_asked *asked,
                              muga_error *err) {
    str told = STR_INIT;
    str_printf(&told, "This can't be used: %.*s. Try again.", (int)NOTE_WHY_BYTES, why);
    *asked = ASKED_BAD;
    muga_status st = audit_reply(t, json_pack("{s:s, s:s}", "decided", "nothing", "why", why), reply, 0, err);
    st = st == MUGA_OK ? str_status(&told, err, "a note") : st;
    st = st == MUGA_OK ? plan_note_words(t, "...", str_get(&told), err) : st;
    str_release(&told);
    return st;
}

static bool is_models_fault(muga_status st) {
    return st == MUGA_E_INPUT || st == MUGA_E_LIMIT;
}

/* MUGA_OK with *asked other than OK: there is no reply to act on. */
static muga_status ask(plan_turn *t, const question *q, llm_reply *reply, size_t *first, plan_asked *asked,
                       muga_error *err) {
    muga_error why = {0};
    *asked = ASKED_OK;
    if (loop_is_over(t->l)) {
        *asked = ASKED_OVER;
        return MUGA_OK;
    }
    muga_status st = ask_model(t, q, reply, first, &why);
    if (st == MUGA_E_NEGATIVE) { /* no value for a required parameter, and nothing else to write */
        *asked = ASKED_MISSING;
        return MUGA_OK;
    }
    if (is_models_fault(st)) {
        return bad_answer(t, &(llm_reply){0}, why.message, asked, err);
    }
    return st == MUGA_OK ? st : error_set(err, st, "%s", why.message);
}

/* ---- the questions ---- */

/* What a plan is written under, is what it is read under; a raw model that leaves it empty claims to be done. */
muga_status plan_ask_plan(plan_turn *t, size_t least, size_t most, plan_asked *asked, muga_error *err) {
    plan_bounds bounds = {t->l->p.manifest, least, most, json_object_get(t->l->work, "stale")};
    json_t *schema = NULL, *steps = NULL;
    llm_reply reply = {0};
    size_t first = 0;
    muga_error why;
    muga_status st = plan_schema(&bounds, &schema, err);
    const question q = {.choice = LLM_TOOLS_SHOWN, .schema = schema, .reasons = true};
    st = st == MUGA_OK ? ask(t, &q, &reply, &first, asked, err) : st;
    if (st == MUGA_OK && *asked == ASKED_OK) {
        bounds.least = 0;
        muga_status read = plan_parse(&bounds, str_get(&reply.text), reply.text.len, &steps, &why);
        st = read == MUGA_OK
                 ? audit_reply(t, json_pack("{s:s, s:O}", "decided", "plan", "steps", steps), &reply, first, err)
             : read == MUGA_E_NEGATIVE ? bad_answer(t, &reply, why.message, asked, err)
                                       : error_set(err, read, "%s", why.message);
    }
    if (st == MUGA_OK && *asked == ASKED_OK) {
        loop_watch_event(t->l, "plan", json_pack("{s:O}", "steps", steps));
        st = plan_note_plan(t, steps, err);
        st = st == MUGA_OK && json_object_set(t->l->work, "steps", steps) != 0 ? error_nomem(err, "a plan") : st;
    }
    llm_reply_release(&reply);
    json_decref(steps);
    json_decref(schema);
    return st;
}

static muga_status take_call(plan_turn *t, const llm_reply *reply, const char *decided, size_t first, plan_asked *asked,
                             muga_error *err) {
    const llm_call *c = &reply->calls[0];
    const manifest_tool *tool = manifest_tool_find(t->l->p.manifest, c->name);
    if (!tool || json_is_deeper(c->value, AGENT_MAX_DEPTH)) {
        return bad_answer(t, reply, tool ? "its arguments are nested too deep" : "there is no such tool", asked, err);
    }
    t->tool = tool;
    json_decref(t->arguments);
    t->arguments = json_incref(c->value);
    return audit_reply(t,
                       json_pack("{s:s, s:s, s:O}", "decided", decided, "tool", tool->name, "arguments", t->arguments),
                       reply, first, err);
}

muga_status plan_ask_pick(plan_turn *t, bool must_call, plan_asked *asked, muga_error *err) {
    const question q = {.choice = t->l->p.manifest->n_tools == 0 ? LLM_TOOLS_NONE
                                  : must_call                    ? LLM_TOOLS_REQUIRED
                                                                 : LLM_TOOLS_AUTO,
                        .reasons = true};
    llm_reply reply = {0};
    size_t first = 0;
    muga_status st = ask(t, &q, &reply, &first, asked, err);
    t->tool = NULL;
    str_clear(&t->said);
    if (st == MUGA_OK && *asked == ASKED_OK && reply.n_calls > 0) {
        st = take_call(t, &reply, "call", first, asked, err);
    } else if (st == MUGA_OK && *asked == ASKED_OK) {
        bool cut = reply.finish != LLM_FINISH_STOP;
        str_append(&t->said, str_get(&reply.text), cut ? 0 : reply.text.len);
        st = str_status(&t->said, err, "an answer");
        st = st == MUGA_OK ? audit_reply(t,
                                         json_pack("{s:s, s:s%, s:b}", "decided", "answer", "text",
                                                   str_get(&reply.text), reply.text.len, "cut", cut),
                                         &reply, first, err)
                           : st;
    }
    llm_reply_release(&reply);
    return st;
}

/* As JSON, since words alone could go on as a call. */
muga_status plan_ask_answer(plan_turn *t, plan_asked *asked, muga_error *err) {
    json_t *schema = json_pack("{s:s, s:{s:{s:s, s:i, s:i}}, s:[s], s:b}", "type", "object", "properties", "answer",
                               "type", "string", "minLength", 1, "maxLength", ANSWER_CHARS, "required", "answer",
                               "additionalProperties", 0);
    const question q = {.choice = LLM_TOOLS_SHOWN, .schema = schema};
    json_t *read = NULL;
    llm_reply reply = {0};
    size_t first = 0;
    muga_error why;
    str_clear(&t->said);
    muga_status st = schema ? ask(t, &q, &reply, &first, asked, err) : error_nomem(err, "an answer");
    if (st == MUGA_OK && *asked == ASKED_OK) {
        bool is_one = json_parse(str_get(&reply.text), reply.text.len, "the answer", &read, &why) == MUGA_OK &&
                      json_get_string(read, "answer");
        const char *text = is_one ? json_get_string(read, "answer") : "";
        bool cut = utf8_count(text, strlen(text)) >= ANSWER_CHARS;
        st = is_one ? audit_reply(t, json_pack("{s:s, s:s, s:b}", "decided", "answer", "text", text, "cut", cut),
                                  &reply, first, err)
                    : bad_answer(t, &reply, "it is no answer", asked, err);
        str_append_s(&t->said, cut ? "" : text);
        st = st == MUGA_OK ? str_status(&t->said, err, "an answer") : st;
    }
    llm_reply_release(&reply);
    json_decref(read);
    json_decref(schema);
    return st;
}

/* As the model would be asked, so *asked MISSING where no value is possible. What the model would be told of (a schema
 * that can't be enforced) it is told of: t->arguments NULL, as where they leave more than one. */
static muga_status take_only(plan_turn *t, plan_asked *asked, muga_error *err) {
    session_sources sources = {.owner = NULL};
    muga_error why = {0};
    muga_status st = session_get_sources(t->l->p.session, &sources, err);
    if (st == MUGA_OK) {
        muga_status found = loop_take_only(t->l, t->tool, sources.list, ARRAY_LEN(sources.list), &t->arguments, &why);
        *asked = found == MUGA_E_NEGATIVE ? ASKED_MISSING : ASKED_OK;
        st = found == MUGA_OK || found == MUGA_E_NEGATIVE || is_models_fault(found)
                 ? MUGA_OK
                 : error_set(err, found, "%s", why.message);
    }
    session_sources_release(&sources);
    return st;
}

muga_status plan_ask_arguments(plan_turn *t, plan_asked *asked, muga_error *err) {
    const question q = {.choice = LLM_TOOLS_NAMED, .tool = t->tool->name};
    llm_reply reply = {0};
    size_t first = 0;
    json_decref(t->arguments);
    t->arguments = NULL;
    *asked = ASKED_OK;
    if (json_object_size(json_object_get(t->tool->parameters, "properties")) == 0) {
        t->arguments = json_object(); /* there is one value it can take */
        return t->arguments ? MUGA_OK : error_nomem(err, "arguments");
    }
    muga_status st = loop_is_over(t->l) ? MUGA_OK : take_only(t, asked, err);
    if (st != MUGA_OK || *asked != ASKED_OK || t->arguments) {
        return st;
    }
    st = ask(t, &q, &reply, &first, asked, err);
    if (st == MUGA_OK && *asked == ASKED_OK && reply.n_calls == 0) {
        st = bad_answer(t, &reply, "it is no call", asked, err);
    } else if (st == MUGA_OK && *asked == ASKED_OK) {
        const manifest_tool *tool = t->tool;
        st = take_call(t, &reply, "arguments", first, asked, err);
        if (st == MUGA_OK && *asked == ASKED_OK && t->tool != tool) {
            st = bad_answer(t, &reply, "it is a call of another tool", asked, err);
        }
    }
    llm_reply_release(&reply);
    return st;
}
