/* A tool that reads on in a long result of this session (`long: summary`): a call's id and an offset in, a piece of the
 * result out. Refuses: another session's calls; a call that gave nothing. It runs on the session's thread, since it
 * reads the journal. */
#include "agent/internal.h"

typedef struct tool_results {
    const manifest_tool *def;
} tool_results;

static bool takes(const manifest_tool *t, const char *name, const char *type) {
    const char *is = json_get_string(json_object_get(json_object_get(t->parameters, "properties"), name), "type");
    return is && strcmp(is, type) == 0;
}

static muga_status open_tool(tool_setup *s, void **out, muga_error *err) {
    if (s->def->effect != EFFECT_READ) {
        return tool_fault(s, "/effect", err, "results are only read; say effect: read");
    }
    if (!takes(s->def, "call", "string") || !takes(s->def, "offset", "integer")) {
        return tool_fault(s, "/parameters", err, "must have call, of type string, and offset, of type integer");
    }
    tool_results *t = malloc(sizeof *t);
    if (!t) {
        return error_nomem(err, "a tool");
    }
    *t = (tool_results){s->def};
    *out = t;
    return MUGA_OK;
}

static void run_call(void *tool, const tool_call *c, tool_run *out) {
    const tool_results *t = tool;
    const char *call = json_get_string(c->arguments, "call");
    json_t *piece = NULL;
    muga_error why;
    if (executor_read_result(c->session, call ? call : "", json_get_int(c->arguments, "offset", 0),
                             t->def->max_result_bytes, &piece, &why) == MUGA_OK) {
        tool_give(out, t->def, piece);
    } else {
        tool_fail(out, "%s", why.message);
        out->final = true;
    }
}

static const char results_schema[] =
    "{\"type\": \"object\", \"additionalProperties\": false, \"description\": \"reads on in long results of this "
    "session, by call and offset\"}";

const tool_kind tool_kind_results = {.keys = {{"results", results_schema}},
                                     .untrusted = true, /* as what it reads may be */
                                     .open = open_tool,
                                     .run = run_call,
                                     .close = free};
