/* Rows as lines of training data (interactions_export.h). Owns: what a turn is in each form. Leaves out, and counts,
 * what says nothing there. */
#include "agent/interactions_export.h"

#include "agent/internal.h"

#include <stdio.h>

typedef struct exporter {
    export_form form;
    const char *system;
    json_t *tools;    /* as a chat names them */
    json_t *messages; /* of the stretch so far; NULL: none */
    char session[AGENT_ID_SIZE];
    int64_t turn; /* the last one of the stretch */
    str *out;
    export_report *report;
} exporter;

static muga_status nomem(muga_error *err) {
    return error_nomem(err, "an export");
}

/* ---- tools ---- */

/* Our own keywords, which other readers of a chat don't know. */
static void strip(json_t *schema, int depth) {
    static const char *const ours[] = {"from", "fold", "normalise"};
    const char *key;
    json_t *v;
    bool leaf = json_is_string(json_object_get(schema, "from"));
    for (size_t i = 0; leaf && i < ARRAY_LEN(ours); i++) {
        json_object_del(schema, ours[i]);
    }
    json_object_foreach(schema, key, v) {
        if (depth < JSON_MAX_DEPTH) {
            strip(v, depth + 1);
        }
    }
}

static muga_status write_tools(const manifest *m, json_t **out, muga_error *err) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < m->n_tools; i++) {
        const manifest_tool *t = &m->tools[i];
        json_t *parameters = json_clone(t->parameters);
        strip(parameters, 0);
        json_t *tool = parameters ? json_pack("{s:s, s:{s:s, s:s, s:O}}", "type", "function", "function", "name",
                                              t->name, "description", t->description, "parameters", parameters)
                                  : NULL;
        json_decref(parameters);
        if (!tool || json_array_append_new(list, tool) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    *out = list;
    return list ? MUGA_OK : nomem(err);
}

/* ---- chat ---- */

static muga_status end_line(exporter *x, json_t *line, muga_error *err) { /* takes line */
    if (!line) {
        return nomem(err);
    }
    json_write(line, x->out);
    str_append_c(x->out, '\n');
    json_decref(line);
    x->report->n_lines++;
    return str_status(x->out, err, "an export");
}

static muga_status end_stretch(exporter *x, muga_error *err) {
    if (!x->messages) {
        return MUGA_OK;
    }
    json_t *line = json_array_size(x->tools) > 0 ? json_pack("{s:O, s:O}", "messages", x->messages, "tools", x->tools)
                                                 : json_pack("{s:O}", "messages", x->messages);
    json_decref(x->messages);
    x->messages = NULL;
    return end_line(x, line, err);
}

static bool say(json_t *messages, const char *role, const json_t *content) {
    json_t *m = json_pack("{s:s, s:O}", "role", role, "content", content);
    return m && json_array_append_new(messages, m) == 0;
}

/* The assistant's call, and what it gave; outcome NULL: a call that a person named, of which nothing is known. */
static bool say_call(json_t *messages, const json_t *call, int64_t turn, size_t i) {
    char id[48];
    str result = STR_INIT;
    snprintf(id, sizeof id, "call_%lld_%zu", (long long)turn, i + 1);
    const char *outcome = json_get_string(call, "outcome");
    json_t *m = json_pack("{s:s, s:s, s:[{s:s, s:s, s:{s:O, s:O}}]}", "role", "assistant", "content", "", "tool_calls",
                          "id", id, "type", "function", "function", "name", json_object_get(call, "tool"), "arguments",
                          json_object_get(call, "arguments"));
    bool ok = m && json_array_append_new(messages, m) == 0;
    if (ok && outcome) {
        const json_t *gave = json_object_get(call, "result");
        if (strcmp(outcome, "finished") == 0 && gave) {
            json_write(gave, &result);
        } else {
            str_printf(&result, "{\"error\":\"%s\"}", outcome);
        }
        json_t *tool = result.failed ? NULL
                                     : json_pack("{s:s, s:s, s:s%}", "role", "tool", "tool_call_id", id, "content",
                                                 str_get(&result), result.len);
        ok = tool && json_array_append_new(messages, tool) == 0;
    }
    str_release(&result);
    return ok;
}

static bool say_calls(json_t *messages, const json_t *calls, int64_t turn) {
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i);
        const char *outcome = json_get_string(call, "outcome");
        bool was_one = !outcome || strcmp(outcome, "invalid") != 0; /* a call that can't be made teaches nothing */
        ok = !was_one || say_call(messages, call, turn, i);
    }
    return ok;
}

static muga_status begin_stretch(exporter *x, const interaction *row, muga_error *err) {
    if (x->messages && strcmp(x->session, row->session) == 0 && row->turn == x->turn + 1) {
        return MUGA_OK;
    }
    muga_status st = end_stretch(x, err);
    if (st != MUGA_OK) {
        return st;
    }
    snprintf(x->session, sizeof x->session, "%s", row->session);
    x->messages = x->system ? json_pack("[{s:s, s:s}]", "role", "system", "content", x->system) : json_array();
    return x->messages ? MUGA_OK : nomem(err);
}

static muga_status add_chat(exporter *x, const interaction *row, muga_error *err) {
    const json_t *message = json_object_get(row->content, "message"), *calls = json_object_get(row->content, "calls"),
                 *answer = json_object_get(row->content, "answer"),
                 *better_calls = json_object_get(row->correction, "calls"),
                 *better_answer = json_object_get(row->correction, "answer");
    bool corrected = row->correction != NULL, ends = better_calls && !better_answer;
    const json_t *last = better_answer ? better_answer : ends ? NULL : answer;
    bool says = json_is_string(message) && (corrected ? better_calls || better_answer : json_string_length(last) > 0);
    if (!says) {
        x->report->n_left_out++;
        return end_stretch(x, err);
    }
    muga_status st = begin_stretch(x, row, err);
    if (st != MUGA_OK) {
        return st;
    }
    x->turn = row->turn;
    bool ok = say(x->messages, "user", message) &&
              say_calls(x->messages, better_calls ? better_calls : calls, row->turn) &&
              (!last || say(x->messages, "assistant", last));
    return !ok ? nomem(err) : ends ? end_stretch(x, err) : MUGA_OK;
}

/* ---- labels ---- */

static muga_status add_labels(exporter *x, const interaction *row, muga_error *err) {
    const json_t *message = json_object_get(row->content, "message"), *labels = json_object_get(row->content, "labels"),
                 *given = json_object_get(row->content, "given");
    json_t *line = NULL;
    if (row->correction) {
        labels = json_object_get(row->correction, "labels");
        given = NULL;
    }
    if (!json_is_string(message) || (!given && json_array_size(labels) == 0)) {
        x->report->n_left_out++;
        return MUGA_OK;
    }
    line = given ? json_pack("{s:O, s:[O]}", "text", message, "labels", given)
                 : json_pack("{s:O, s:O}", "text", message, "labels", labels);
    return end_line(x, line, err);
}

/* ---- all rows ---- */

static muga_status add_row(void *ctx, const interaction *row, muga_error *err) {
    exporter *x = ctx;
    return x->form == EXPORT_CHAT ? add_chat(x, row, err) : add_labels(x, row, err);
}

static muga_status tell_text(const agent_env *env, store *s, const char *agent, const str *text, export_report *r,
                             muga_error *err) {
    uint8_t digest[SHA256_BYTES];
    sha256_of(str_get(text), text->len, digest);
    hex_write(digest, sizeof digest, r->sha256);
    json_t *detail = json_pack("{s:s, s:s, s:I, s:I}", "agent", agent, "sha256", r->sha256, "lines",
                               (json_int_t)r->n_lines, "left_out", (json_int_t)r->n_left_out);
    muga_status st = detail ? interactions_tell(env, s, "exported_text", detail, err) : nomem(err);
    json_decref(detail);
    return st;
}

muga_status interactions_export(const agent_env *env, store *s, const manifest *m, const interaction_filter *f,
                                export_form form, const char *system, str *out, export_report *report,
                                muga_error *err) {
    interaction_filter of_agent = *f;
    exporter x = {.form = form, .system = system, .out = out, .report = report};
    *report = (export_report){.n_rows = 0};
    of_agent.agent = m->name;
    of_agent.by_session = true;
    json_t *detail = json_pack("{s:s}", "form", form == EXPORT_CHAT ? "chat" : "labels");
    muga_status st = detail ? write_tools(m, &x.tools, err) : nomem(err);
    if (st == MUGA_OK) {
        st = interactions_read(env, s, &of_agent, "exported", detail, add_row, &x, &report->n_rows, err);
    }
    st = st == MUGA_OK ? end_stretch(&x, err) : st;
    st = st == MUGA_OK ? tell_text(env, s, m->name, out, report, err) : st;
    json_decref(x.messages);
    json_decref(x.tools);
    json_decref(detail);
    return st;
}
