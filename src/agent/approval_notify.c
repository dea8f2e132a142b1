/* The program that is told of a held call (`approvals: {notify: [...]}`). Owns: its definition as a command tool, the
 * line it gets. Refuses: to have a say. Whatever it does or prints, the call waits as it did; what goes wrong is noted
 * in the audit, and nothing else comes of it.
 *
 * Idea: it is a command tool that no model can call: the same sandbox, the same empty environment, the same bounds, and
 * a program that changed since the manifest was loaded is not run. It runs once the hold is committed, so that a person
 * who looks finds what they were told of; a crash in between means that nobody was told. */
#include "agent/approvers.h"
#include "agent/mask.h"
#include "agent/tool_command.h"
#include "agent/tool_sandbox.h"

#include <stdio.h>

#define HOOK_TIMEOUT_MS 10000 /* the agent waits for it */
#define HOOK_MAX_BYTES 4096

struct approval_hook {
    json_t *json; /* of the tool */
    manifest_tool tool;
};

/* ---- the section ---- */

static const char before_sandbox[] =
    "    \"approvals\": {\n"
    "      \"type\": \"object\", \"additionalProperties\": false, \"description\": \"who says yes to held calls\",\n"
    "      \"properties\": {\n"
    "        \"by\": {\"type\": \"array\", \"minItems\": 1, \"maxItems\": 16, \"items\": {\"type\": \"string\", \"min"
    "Length\": 1, \"maxLength\": 64}, \"description\": \"roles, of which one is needed where a tool names none\"},\n"
    "        \"not\": {\"enum\": [\"requester\"], \"description\": \"who began the session can't approve in it\"},\n"
    "        \"notify\": {\"type\": \"array\", \"minItems\": 1, \"maxItems\": 64, \"items\": {\"type\": \"string\", \""
    "minLength\": 1, \"maxLength\": 4000}, \"description\": \"a program that is told of each held call, and its argum"
    "ents\"},\n"
    "        \"sandbox\": ";
static const char after_sandbox[] = ",\n"
                                    "        \"unsandboxed\": {\"type\": \"boolean\", \"description\": \"of notify\"}\n"
                                    "      }\n"
                                    "    },\n";

void approvals_schema_write(str *out) {
    str_append_s(out, before_sandbox);
    str_append_s(out, tool_sandbox_schema);
    str_append_s(out, after_sandbox);
}

/* `place` in the tool's definition -> where it stands in the manifest. */
static void write_pointer(const char *place, char out[160]) {
    static const char command[] = "/command";
    bool is_command = strncmp(place, command, sizeof command - 1) == 0;
    snprintf(out, 160, "/approvals%s%.100s", is_command ? "/notify" : "",
             is_command ? place + sizeof command - 1 : place);
}

/* Opened once, so that every fault shows now. */
static muga_status try_hook(const agent_env *env, manifest *m, const check_place *at, struct approval_hook *h,
                            muga_error *err) {
    tool_setup setup = {.env = env, .m = m, .def = &h->tool, .place = "/command"};
    muga_error why = {MUGA_OK, ""};
    uint8_t parts[2][SHA256_BYTES];
    void *tool = NULL;
    char pointer[160];
    muga_status st = h->tool.kind->open(&setup, &tool, &why);
    h->tool.kind->close(tool);
    if (st != MUGA_OK) {
        write_pointer(setup.place, pointer);
        return st == MUGA_E_NOMEM ? error_nomem(err, "a hook") : check_fail(at, st, pointer, err, "%s", why.message);
    }
    st = json_digest(h->json, parts[0], err);
    memcpy(parts[1], setup.material, SHA256_BYTES);
    sha256_of(parts, sizeof parts, h->tool.digest);
    return st;
}

muga_status manifest_read_approvals(const agent_env *env, manifest *m, const check_place *at, muga_error *err) {
    const json_t *section = json_object_get(m->json, "approvals");
    json_t *command = json_object_get(section, "notify");
    const char *const beside[] = {"sandbox", "unsandboxed"};
    for (size_t i = 0; !command && i < ARRAY_LEN(beside); i++) {
        if (json_object_get(section, beside[i])) {
            return check_fail(at, MUGA_E_INPUT, "/approvals", err, "%s is of notify, which isn't there", beside[i]);
        }
    }
    if (!command) {
        return MUGA_OK;
    }
    struct approval_hook *h = calloc(1, sizeof *h);
    if (!h) {
        return error_nomem(err, "a hook");
    }
    m->hook = h;
    h->json = json_pack("{s:s, s:O, s:O*, s:O*}", "name", "notify", "command", command, "sandbox",
                        json_object_get(section, "sandbox"), "unsandboxed", json_object_get(section, "unsandboxed"));
    h->tool = (manifest_tool){.name = "notify",
                              .json = h->json,
                              .kind = &tool_kind_command,
                              .effect = EFFECT_READ,
                              .timeout_ms = HOOK_TIMEOUT_MS,
                              .max_result_bytes = HOOK_MAX_BYTES};
    return h->json ? try_hook(env, m, at, h, err) : error_nomem(err, "a hook");
}

void manifest_free_approvals(manifest *m) {
    if (m->hook) {
        json_decref(m->hook->json);
        free(m->hook);
    }
}

/* ---- telling ---- */

/* Masked: it may go to places where the person is not known, and who decides reads the whole in `muga approve list`. */
static muga_status mask_arguments(const agent_session *s, const journal_call *c, json_t **out, muga_error *err) {
    mask *m = NULL;
    json_t *all = json_object();
    muga_status st = all ? mask_new(s->m->data_policy ? s->m->data_policy : all, &m, err) : error_nomem(err, "a mask");
    st = st == MUGA_OK ? mask_learn_session(m, s->values, err) : st;
    st = st == MUGA_OK ? mask_learn(m, c->arguments, err) : st;
    st = st == MUGA_OK ? mask_json(m, c->arguments, out, err) : st;
    mask_free(m);
    json_decref(all);
    return st;
}

static muga_status write_line(agent_session *s, const journal_call *c, const approval_row *a, str *out,
                              muga_error *err) {
    json_t *arguments = NULL;
    const manifest_tool *t = manifest_tool_find(s->m, c->tool);
    muga_status st = mask_arguments(s, c, &arguments, err);
    if (st == MUGA_OK) {
        json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:s, s:O, s:I, s:O*}", "approval", a->id, "state",
                                 call_state_name(c->state), "agent", s->m->name, "session", s->id, "tool", c->tool,
                                 "arguments", arguments, "expires_ms", (json_int_t)a->expires_ms, "by",
                                 t ? json_borrow(approvers_roles(s->m, t)) : NULL);
        if (line) {
            json_write(line, out);
            str_append_c(out, '\n');
        }
        st = line ? str_status(out, err, "a notification") : error_nomem(err, "a notification");
        json_decref(line);
    }
    json_decref(arguments);
    return st;
}

static muga_status run_hook(agent_session *s, const journal_call *c, const approval_row *a, muga_error *err) {
    const struct approval_hook *h = s->m->hook;
    tool_setup setup = {.env = &s->env, .m = s->m, .def = &h->tool};
    tool_run run = {.ok = false};
    str line = STR_INIT;
    void *tool = NULL;
    muga_status st = write_line(s, c, a, &line, err);
    st = st == MUGA_OK ? h->tool.kind->open(&setup, &tool, err) : st;
    if (st == MUGA_OK) {
        tool_command_run(tool, &line, &run);
        st = run.ok ? MUGA_OK : error_set(err, MUGA_E_NEGATIVE, "%.250s", run.reason);
    }
    json_decref(run.result);
    h->tool.kind->close(tool);
    str_release(&line);
    return st;
}

void approval_notify(agent_session *s, const journal_call *c) {
    muga_error why = {MUGA_OK, ""};
    approval_row a;
    if (!s->m->hook || s->dry || s->env.rehearses) {
        return;
    }
    muga_status st = approval_read(s->store, c, &a, &why);
    if (st != MUGA_OK) {
        return; /* nothing waits that one could be told of */
    }
    st = run_hook(s, c, &a, &why);
    json_t *note = json_pack("{s:s, s:s, s:s*}", "approval", a.id, "notify", st == MUGA_OK ? "done" : "failed", "why",
                             st == MUGA_OK ? NULL : why.message);
    if (note && audit_append(s, "note", note, NULL, &why) != MUGA_OK) {
        json_object_clear(note); /* a store that can't be written stops the agent at its next step, not here */
    }
    json_decref(note);
}
