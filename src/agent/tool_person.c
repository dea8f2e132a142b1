/* Tools that end the turn with a person: `ask_person` puts a question, whose answer is the call's result; `escalate`
 * hands the session over. Neither does a thing by itself: the loop reads `then` of the kind, and acts on it. Refuses:
 * parameters other than the one that they take.
 *
 * What they return holds no word of the model: a result is what grounded values may come from, and a question that
 * names an id must not make that id one that "a tool returned". */
#include "agent/internal.h"

/* The one parameter there may be: text. *has: it is there. */
static muga_status check_parameter(tool_setup *s, const char *name, bool *has, muga_error *err) {
    const json_t *properties = json_object_get(s->def->parameters, "properties");
    const json_t *schema = json_object_get(properties, name);
    const char *type = json_get_string(schema, "type");
    *has = schema != NULL;
    if (json_object_size(properties) != (schema ? 1 : 0) || (schema && (!type || strcmp(type, "string") != 0))) {
        return tool_fault(s, "/parameters", err, "takes one parameter, %s, of type: string, or none", name);
    }
    if (s->def->effect != EFFECT_READ) {
        return tool_fault(s, "/effect", err, "changes no data; say effect: read");
    }
    return MUGA_OK;
}

typedef struct tool_person {
    const manifest_tool *def;
} tool_person;

static muga_status make(const tool_setup *s, void **out, muga_error *err) {
    tool_person *t = calloc(1, sizeof *t);
    if (!t) {
        return error_nomem(err, "a tool");
    }
    t->def = s->def;
    *out = t;
    return MUGA_OK;
}

static muga_status open_ask(tool_setup *s, void **out, muga_error *err) {
    bool has = false;
    muga_status st = check_parameter(s, "question", &has, err);
    if (st == MUGA_OK && !has && !json_get_string(json_object_get(s->def->json, "ask_person"), "question")) {
        st = tool_fault(s, "/ask_person", err,
                        "has nothing to ask; write question: here, or let the model write it as parameter question");
    }
    return st == MUGA_OK ? make(s, out, err) : st;
}

static muga_status open_escalate(tool_setup *s, void **out, muga_error *err) {
    bool has = false;
    muga_status st = check_parameter(s, "reason", &has, err);
    return st == MUGA_OK ? make(s, out, err) : st;
}

static void run_call(void *tool, const tool_call *c, tool_run *out) {
    const manifest_tool *def = ((const tool_person *)tool)->def;
    (void)c;
    tool_give(out, def, json_pack("{s:b}", def->kind->then == TOOL_ASKS ? "asked" : "handed_over", 1));
}

const char *tool_words(const manifest_tool *t, const json_t *arguments) {
    const json_t *own = json_object_get(t->json, t->kind->keys[0].name);
    if (t->kind->then == TOOL_ASKS) {
        const char *asked = json_get_string(arguments, "question");
        return asked ? asked : json_get_string(own, "question");
    }
    const char *say = json_get_string(own, "say");
    if (t->kind->then == TOOL_HANDS_OFF) {
        return say ? say : "Another agent goes on from here.";
    }
    return say ? say : "A person takes over from here.";
}

/* Laid out as in docs/schema/agent.schema.json. */
static const char ask_schema[] =
    "{\n"
    "            \"type\": \"object\", \"additionalProperties\": false, \"description\": \"a question to the person; "
    "the answer is the result\",\n"
    "            \"properties\": {\"question\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000}}\n"
    "          }";
static const char escalate_schema[] =
    "{\n"
    "            \"type\": \"object\", \"additionalProperties\": false, \"description\": \"a person takes over\",\n"
    "            \"properties\": {\"say\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000}}\n"
    "          }";

const tool_kind tool_kind_ask_person = {.keys = {{"ask_person", ask_schema}},
                                        .then = TOOL_ASKS,
                                        .open = open_ask,
                                        .run = run_call,
                                        .settle = tool_settle_read,
                                        .close = free};
const tool_kind tool_kind_escalate = {.keys = {{"escalate", escalate_schema}},
                                      .then = TOOL_ESCALATES,
                                      .open = open_escalate,
                                      .run = run_call,
                                      .settle = tool_settle_read,
                                      .close = free};
