/* The table of tool kinds, and what they share: messages, and the bounds of a result. */
#include "agent/internal.h"

#include <stdio.h>

/* clang-format off */
static const tool_kind *const kinds[] = { /* one a line */
    &tool_kind_sql,
    &tool_kind_command,
    &tool_kind_clock,
    &tool_kind_files,
    &tool_kind_http,
    &tool_kind_memory,
    &tool_kind_results,
    &tool_kind_ask_person,
    &tool_kind_escalate,
    &tool_kind_agent,
    &tool_kind_hand_off,
    &tool_kind_search,
};
/* clang-format on */

const tool_kind *const *tool_kinds(size_t *n) {
    *n = ARRAY_LEN(kinds);
    return kinds;
}

static void list_names(str *out) {
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        str_printf(out, "%s%s", i == 0 ? "" : i + 1 == ARRAY_LEN(kinds) ? " or " : ", ", kinds[i]->keys[0].name);
    }
}

static bool takes_key(const tool_kind *k, const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(k->keys) && k->keys[i].name; i++) {
        if (strcmp(k->keys[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* A key that goes with another kind would say nothing here. */
static muga_status refuse_others(const json_t *definition, const tool_kind *own, const char **key, muga_error *err) {
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        for (size_t k = 1; k < ARRAY_LEN(kinds[i]->keys) && kinds[i]->keys[k].name; k++) {
            const char *name = kinds[i]->keys[k].name;
            if (json_object_get(definition, name) && !takes_key(own, name)) {
                *key = name;
                return error_set(err, MUGA_E_INPUT, "belongs to %s tools; remove it", kinds[i]->keys[0].name);
            }
        }
    }
    return MUGA_OK;
}

muga_status tool_kind_of(const json_t *definition, const tool_kind **out, const char **key, muga_error *err) {
    *out = NULL;
    *key = NULL;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const char *name = kinds[i]->keys[0].name;
        if (json_object_get(definition, name) && *out) {
            return error_set(err, MUGA_E_INPUT, "has both %s and %s; a tool is one thing: make two of it",
                             (*out)->keys[0].name, name);
        }
        *out = json_object_get(definition, name) ? kinds[i] : *out;
    }
    if (*out) {
        return refuse_others(definition, *out, key, err);
    }
    str names = STR_INIT;
    list_names(&names);
    muga_status st = names.failed ? error_nomem(err, "a tool")
                                  : error_set(err, MUGA_E_INPUT, "needs %s: what it does", str_get(&names));
    str_release(&names);
    return st;
}

muga_status tool_fault(tool_setup *s, const char *place, muga_error *err, const char *format, ...) {
    char text[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(s->place, sizeof s->place, "%s", place);
    return error_set(err, MUGA_E_INPUT, "%s", text);
}

bool tool_fail(tool_run *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(out->reason, sizeof out->reason, format, args);
    va_end(args);
    return false;
}

bool tool_give(tool_run *out, const manifest_tool *def, json_t *result) {
    str written = STR_INIT;
    bool deep = json_is_deeper(result, AGENT_MAX_DEPTH);
    if (result && !deep) {
        json_write(result, &written);
    }
    out->ok = !result          ? tool_fail(out, "out of memory")
              : deep           ? tool_fail(out, "the result is nested deeper than %d", AGENT_MAX_DEPTH)
              : written.failed ? tool_fail(out, "out of memory")
              : written.len > def->max_result_bytes
                  ? tool_fail(out, "the result is longer than %zu bytes (max_result_bytes)", def->max_result_bytes)
                  : true;
    str_release(&written);
    out->result = out->ok ? result : NULL;
    if (!out->ok) {
        out->final = true;
        json_decref(result);
    }
    return out->ok;
}

muga_status tool_prepare(const tool_call *c, const json_t *result, muga_error *err) {
    json_t *detail = json_pack("{s:b}", "prepared", result != NULL);
    if (!detail) {
        return error_nomem(err, "a call");
    }
    json_decref(c->row->result);
    c->row->result = result ? json_incref(json_borrow(result)) : NULL;
    muga_status st = journal_move(&c->session->env, c->session->store, c->row, STATE_STARTED, detail, err);
    json_decref(detail);
    return st;
}

muga_status tool_settle_read(void *tool, const tool_call *c, const json_t *prepared, tool_settled *settled,
                             json_t **result, muga_error *err) {
    (void)tool;
    (void)c;
    (void)prepared;
    (void)err;
    *result = NULL;
    *settled = SETTLED_NOT_RUN;
    return MUGA_OK;
}
