/* A filled text as a line for `muga train`: what the assistant is expected to do about it, in one of three forms. */
#include "agent/synth_internal.h"

#include "agent/normalise.h"

#include <stdio.h>

#define CHAT_MAX_BYTES ((size_t)1 << 20)
#define HAND_OVER "hand_over"

/* ---- system message and tools ---- */

static json_t *function_of(const char *name, const char *description, json_t *parameters) {
    return json_pack("{s:s, s:{s:s, s:s*, s:o}}", "type", "function", "function", "name", name, "description",
                     description, "parameters", parameters);
}

/* Parameters as any chat's template knows them. New; NULL: out of memory. */
static json_t *plain_parameters(const json_t *parameters) {
    json_t *o = json_clone(parameters), *p;
    const char *key;
    json_object_foreach(json_object_get(o, "properties"), key, p) {
        (void)json_object_del(p, "from");
        (void)json_object_del(p, "fold");
        (void)json_object_del(p, "normalise");
    }
    return o;
}

static muga_status make_tools(const manifest *m, const intent *x, json_t *tools, muga_error *err) {
    json_t *reasons = json_array();
    bool ok = reasons != NULL;
    for (size_t i = 0; ok && i < m->n_tools; i++)
        ok = json_array_append_new(tools, function_of(m->tools[i].name, m->tools[i].description,
                                                      plain_parameters(m->tools[i].parameters))) == 0;
    for (size_t i = 0; ok && i < intent_n_labels(x); i++)
        if (intent_get_label(x, i)->act == ACT_ESCALATE)
            ok = json_array_append_new(reasons, json_string(intent_get_label(x, i)->name)) == 0;
    if (ok && json_array_size(reasons) > 0) {
        json_t *p = json_pack("{s:s, s:{s:{s:s, s:O}}, s:[s], s:b}", "type", "object", "properties", "reason", "type",
                              "string", "enum", reasons, "required", "reason", "additionalProperties", 0);
        ok = json_array_append_new(tools, function_of(HAND_OVER, "Pass the conversation to a person.", p)) == 0;
    }
    json_decref(reasons);
    return ok ? MUGA_OK : error_nomem(err, "the tools");
}

static json_t *make_system(const manifest *m) {
    str text = STR_INIT;
    const char *description = json_get_string(m->json, "description");
    str_printf(&text, "You are %s. ", m->name);
    if (description)
        str_printf(&text, "%s ", description);
    if (m->goal_statement)
        str_printf(&text, "%s ", m->goal_statement);
    str_append_s(&text, "Call the tool that the message needs, with values that were written in it. Ask for what is "
                        "missing. Hand over what is not yours to decide.");
    json_t *v = text.failed ? NULL : json_stringn(str_get(&text), text.len);
    str_release(&text);
    return v;
}

/* train/chat.json, where there is one. */
static muga_status read_chat(const agent_env *env, const manifest *m, synth_form *f, muga_error *err) {
    str path = STR_INIT, text = STR_INIT;
    os_stat info;
    json_t *v = NULL;
    str_printf(&path, "%s/train/chat.json", m->dir);
    muga_status st = str_status(&path, err, "a path");
    if (!st)
        st = env->files->stat(env->files->self, str_get(&path), &info, err);
    if (!st && info.type == OS_TYPE_FILE) {
        st = os_read_file(env->files, str_get(&path), CHAT_MAX_BYTES, &text, err);
        if (!st)
            st = json_parse(str_get(&text), text.len, "train/chat.json", &v, err);
        const json_t *system = json_object_get(v, "system"), *tools = json_object_get(v, "tools");
        if (!st && !(json_is_string(system) && json_is_array(tools)))
            st = error_set(err, MUGA_E_INPUT, "train/chat.json needs \"system\", a text, and \"tools\", an array");
        if (!st) {
            f->system = json_incref(json_borrow(system));
            f->tools = json_incref(json_borrow(tools));
        }
    }
    json_decref(v);
    str_release(&path);
    str_release(&text);
    return st;
}

muga_status synth_form_init(const agent_env *env, const manifest *m, const intent *x, synth_target target,
                            synth_form *out, muga_error *err) {
    const json_t *asked = json_object_get(m->intent, "expert");
    *out = (synth_form){.target = target};
    out->instruction = json_get_string(asked ? asked : m->intent, "instruction");
    out->mask = json_get_string(asked, "mask");
    if (target == SYNTH_LABEL && !out->instruction)
        return error_set(err, MUGA_E_INPUT, "agent.yaml: intent.instruction is missing; labels are learned under it");
    muga_status st = target == SYNTH_CALLS ? read_chat(env, m, out, err) : MUGA_OK;
    if (st || out->system || target != SYNTH_CALLS)
        return st;
    out->system = make_system(m);
    out->tools = json_array();
    return out->system && out->tools ? make_tools(m, x, out->tools, err) : error_nomem(err, "the chats' head");
}

void synth_form_release(synth_form *f) {
    json_decref(f->system);
    json_decref(f->tools);
    *f = (synth_form){.system = NULL};
}

/* ---- the answer ---- */

static muga_status add_call(json_t *calls, const char *name, const json_t *arguments, muga_error *err) {
    char id[32];
    str text = STR_INIT;
    snprintf(id, sizeof id, "call_%zu", json_array_size(calls) + 1);
    json_write(arguments, &text);
    muga_status st = str_status(&text, err, "arguments");
    if (!st && json_array_append_new(calls, json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", id, "type", "function",
                                                      "function", "name", name, "arguments", str_get(&text))))
        st = error_nomem(err, "a call");
    str_release(&text);
    return st;
}

static void say(str *said, const char *words) {
    str_append_s(said, said->len > 0 ? " " : "");
    str_append_s(said, words);
}

/* Calls in the manifest's order of tools; then what is handed over; words for what is asked or answered. */
static muga_status expected(const manifest *m, const intent *x, const synth_message *q, const synth_filled *filled,
                            json_t *calls, str *said, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t t = 0; t < m->n_tools && !st; t++)
        for (size_t i = 0; i < filled->n_calls && !st; i++)
            if (intent_get_label(x, filled->calls[i].label)->tool == &m->tools[t])
                st = add_call(calls, m->tools[t].name, filled->calls[i].arguments, err);
    for (size_t i = 0; i < q->n_labels && !st; i++) {
        const intent_label *l = intent_get_label(x, q->labels[i]);
        bool called = false;
        for (size_t k = 0; k < filled->n_calls; k++)
            called = called || filled->calls[k].label == q->labels[i];
        if (l->act == ACT_ESCALATE) {
            json_t *reason = json_pack("{s:s}", "reason", l->name);
            st = reason ? add_call(calls, HAND_OVER, reason, err) : error_nomem(err, "a call");
            json_decref(reason);
        } else if (l->act == ACT_TOOL && !called) {
            say(said, l->ask ? l->ask : "");
        } else if (l->act != ACT_TOOL) {
            say(said, l->words);
        }
    }
    return st ? st : str_status(said, err, "an answer");
}

static muga_status chat_line(const synth_form *f, const manifest *m, const intent *x, const synth_message *q,
                             const synth_filled *filled, json_t **out, muga_error *err) {
    json_t *calls = json_array(), *answer = NULL;
    str said = STR_INIT;
    muga_status st = calls ? expected(m, x, q, filled, calls, &said, err) : error_nomem(err, "a line");
    if (!st) {
        answer = json_pack("{s:s, s:s%}", "role", "assistant", "content", str_get(&said), said.len);
        bool ok = answer && (json_array_size(calls) == 0 || json_object_set(answer, "tool_calls", calls) == 0);
        *out = ok ? json_pack("{s:[{s:s, s:O}, {s:s, s:s%}, O], s:O}", "messages", "role", "system", "content",
                              f->system, "role", "user", "content", str_get(&filled->text), filled->text.len, answer,
                              "tools", f->tools)
                  : NULL;
        st = *out ? MUGA_OK : error_nomem(err, "a line");
    }
    json_decref(answer);
    json_decref(calls);
    str_release(&said);
    return st;
}

/* As the agent's own loop will ask: numbers masked, the answer one label, or several in the manifest's order. */
static muga_status label_line(const synth_form *f, const intent *x, const synth_message *q, const synth_filled *filled,
                              json_t **out, muga_error *err) {
    str masked = STR_INIT, words = STR_INIT;
    muga_status st = MUGA_OK;
    if (f->mask)
        st = normaliser_mask(intent_normaliser(x), str_get(&filled->text), filled->text.len, f->mask, &masked, err);
    const str *shown = f->mask ? &masked : &filled->text;
    for (size_t l = 0; l < intent_n_labels(x) && !st; l++)
        for (size_t i = 0; i < q->n_labels; i++)
            if (q->labels[i] == l)
                say(&words, intent_get_label(x, l)->name);
    if (!st)
        st = str_status(&words, err, "labels");
    if (!st) {
        *out = json_pack("{s:[{s:s, s:s}, {s:s, s:s%}, {s:s, s:s}]}", "messages", "role", "system", "content",
                         f->instruction, "role", "user", "content", str_get(shown), shown->len, "role", "assistant",
                         "content", str_get(&words));
        st = *out ? MUGA_OK : error_nomem(err, "a line");
    }
    str_release(&masked);
    str_release(&words);
    return st;
}

/* Beside what is learned: what it is and who wrote it. */
static muga_status add_about(const intent *x, const synth_message *q, const json_t *by, json_t *line, muga_error *err) {
    json_t *labels = json_array();
    bool ok = labels != NULL;
    for (size_t i = 0; ok && i < q->n_labels; i++)
        ok = json_array_append_new(labels, json_string(intent_get_label(x, q->labels[i])->name)) == 0;
    ok = ok && json_object_set(line, "labels", labels) == 0;
    if (ok && q->voice)
        ok = json_object_set_new(line, "voice", json_string(q->voice)) == 0;
    if (ok && q->missing)
        ok = json_object_set_new(line, "missing", json_true()) == 0;
    ok = ok && json_object_set(line, "by", json_borrow(by)) == 0 &&
         json_object_set_new(line, "request", json_integer(q->request)) == 0;
    json_decref(labels);
    return ok ? MUGA_OK : error_nomem(err, "a line");
}

muga_status synth_line(const synth_form *f, const manifest *m, const intent *x, const synth_message *q,
                       const synth_filled *filled, const json_t *by, json_t **out, muga_error *err) {
    muga_status st = MUGA_OK;
    *out = NULL;
    if (f->target == SYNTH_CALLS) {
        st = chat_line(f, m, x, q, filled, out, err);
    } else if (f->target == SYNTH_LABEL) {
        st = label_line(f, x, q, filled, out, err);
    } else {
        *out = json_pack("{s:s%}", "text", str_get(&filled->text), filled->text.len);
        st = *out ? MUGA_OK : error_nomem(err, "a line");
    }
    if (!st)
        st = add_about(x, q, by, *out, err);
    if (st) {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}

const char *synth_line_text(const json_t *line, size_t *n) {
    const json_t *text = json_object_get(line, "text"), *messages = json_object_get(line, "messages");
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        const char *role = json_get_string(m, "role");
        if (role && strcmp(role, "user") == 0)
            text = json_object_get(m, "content");
    }
    *n = json_string_length(text);
    return json_string_value(text);
}
