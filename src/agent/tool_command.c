/* A tool that is a program. Owns: its argument vector, its one JSON line in, its bounded answer out. Refuses: a shell,
 * a search in PATH, a program that changed since the manifest was loaded, an answer that is not UTF-8, too long or
 * late.
 *
 * The program runs in a sandbox (tool_sandbox.c, os/sandbox.h), or, where the definition says unsandboxed: true, with
 * the rights of the person who started muga, in the agent's folder; with an empty environment in both. */
#include "agent/tool_command.h"
#include "agent/internal.h"
#include "agent/tool_sandbox.h"

#include "base/utf8.h"

#include <stdio.h>

#define PROGRAM_MAX_BYTES ((size_t)64 << 20)

typedef struct tool_command {
    const agent_env *env;
    const manifest *m;
    const manifest_tool *def;
    bool sandboxed;
    tool_sandbox sandbox;
} tool_command;

static muga_status program_path(const manifest *m, const manifest_tool *t, str *out, muga_error *err) {
    const char *name = json_string_value(json_array_get(json_object_get(t->json, "command"), 0));
    if (!strchr(name, '/')) {
        return error_set(err, MUGA_E_INPUT, "'%s' must be a path (./%s); nothing is searched in PATH", name, name);
    }
    if (strstr(name, "..")) {
        return error_set(err, MUGA_E_INPUT, "'%s' must not hold '..'", name);
    }
    if (name[0] == '/') {
        str_append_s(out, name);
    } else {
        str_printf(out, "%s/%s", m->dir, strncmp(name, "./", 2) == 0 ? name + 2 : name);
    }
    return str_status(out, err, name);
}

static muga_status digest_program(const agent_env *env, const manifest *m, const manifest_tool *t,
                                  uint8_t digest[SHA256_BYTES], muga_error *err) {
    str path = STR_INIT, bytes = STR_INIT;
    muga_status st = program_path(m, t, &path, err);
    if (st == MUGA_OK) {
        st = os_read_file(env->files, str_get(&path), PROGRAM_MAX_BYTES, &bytes, err);
    }
    if (st == MUGA_OK) {
        sha256_of(str_get(&bytes), bytes.len, digest);
    }
    str_release(&bytes);
    str_release(&path);
    return st;
}

/* The definition's digest again, with the program as it lies there now. */
static muga_status check_unchanged(const agent_env *env, const manifest *m, const manifest_tool *t, muga_error *err) {
    uint8_t parts[2][SHA256_BYTES], now[SHA256_BYTES];
    muga_status st = digest_program(env, m, t, parts[1], err);
    if (st == MUGA_OK) {
        st = json_digest(t->json, parts[0], err);
    }
    if (st == MUGA_OK) {
        sha256_of(parts, sizeof parts, now);
        if (memcmp(now, t->digest, sizeof now) != 0) {
            st = error_set(err, MUGA_E_POLICY, "the program changed since the manifest was loaded; start again");
        }
    }
    return st;
}

/* JSON if it is, else text. */
static void read_answer(const manifest_tool *t, const os_child_result *r, tool_run *out) {
    const char *p = str_get(&r->out);
    if (!utf8_valid(p, r->out.len) || memchr(p, '\0', r->out.len)) {
        tool_fail(out, "the program printed bytes that are not text");
        return;
    }
    if (json_parse(p, r->out.len, "output", &out->result, NULL) != MUGA_OK) {
        size_t n = r->out.len;
        while (n > 0 && (p[n - 1] == '\n' || p[n - 1] == '\r')) {
            n--;
        }
        out->result = json_stringn(p, n);
    }
    tool_give(out, t, out->result);
}

static void read_end(const manifest_tool *t, const os_child_result *r, tool_run *out) {
    switch (r->end) {
    case OS_CHILD_TIMEOUT:
        tool_fail(out, "the program was stopped after %lld ms (timeout_ms)", (long long)t->timeout_ms);
        return;
    case OS_CHILD_OUTPUT:
        tool_fail(out, "the program printed more than %zu bytes (max_result_bytes) and was stopped",
                  t->max_result_bytes);
        return;
    case OS_CHILD_SIGNALLED: tool_fail(out, "the program was killed by signal %d", r->code); return;
    case OS_CHILD_EXITED: break;
    }
    if (r->code == 0) {
        read_answer(t, r, out);
        return;
    }
    str line = STR_INIT; /* the first line of what it said, made fit for a terminal and a record */
    const char *said = str_get(&r->err_out);
    utf8_append_replaced(&line, said, strcspn(said, "\r\n"));
    for (size_t i = 0; i < line.len; i++) {
        line.data[i] = (unsigned char)line.data[i] < 0x20 || line.data[i] == 0x7F ? ' ' : line.data[i];
    }
    tool_fail(out, "the program ended with code %d%s%.180s", r->code, line.len > 0 ? ": " : "", str_get(&line));
    str_release(&line);
}

static muga_status write_input(const tool_call *c, const manifest_tool *t, str *in, muga_error *err) {
    json_t *v = json_pack("{s:s, s:s, s:O, s:O}", "call", c->id, "tool", t->name, "arguments", c->arguments, "session",
                          c->values);
    if (!v) {
        return error_nomem(err, "a tool's input");
    }
    json_write(v, in);
    str_append_c(in, '\n');
    json_decref(v);
    return str_status(in, err, "a tool's input");
}

static void run_program(const tool_command *p, const char **argv, const str *in, tool_run *out) {
    const manifest_tool *t = p->def;
    const os_children *children = p->env->children;
    const json_t *command = json_object_get(t->json, "command");
    for (size_t i = 0; i < json_array_size(command); i++) {
        argv[i] = json_string_value(json_array_get(command, i)); /* a relative path: from the folder it runs in */
    }
    os_child_spec spec = {.argv = argv,
                          .dir = p->sandboxed ? TOOL_SANDBOX_DIR : p->m->dir,
                          .in = str_get(in),
                          .n_in = in->len,
                          .max_out_bytes = t->max_result_bytes,
                          .timeout_ms = t->timeout_ms,
                          .sandbox = p->sandboxed ? &p->sandbox.os : NULL};
    os_child_result r = {0};
    muga_error why;
    if (children->run(children->self, &spec, &r, &why) == MUGA_OK) {
        read_end(t, &r, out);
        /* A program that ended by itself says whether it failed; one that was cut off may have done its work. */
        out->in_doubt = r.end != OS_CHILD_EXITED && t->effect == EFFECT_WRITE && !t->idempotent;
    } else {
        tool_fail(out, "%s", why.message);
    }
    str_release(&r.out);
    str_release(&r.err_out);
}

void tool_command_run(const void *tool, const str *line, tool_run *out) {
    const tool_command *p = tool;
    const manifest_tool *t = p->def;
    muga_error why;
    const char **argv = mem_alloc_array(json_array_size(json_object_get(t->json, "command")) + 1, sizeof *argv);
    muga_status st = argv ? check_unchanged(p->env, p->m, t, &why) : error_nomem(&why, "arguments");
    if (st == MUGA_OK) {
        run_program(p, argv, line, out);
    } else {
        tool_fail(out, "%s", why.message);
    }
    free(argv);
}

static void run_call(void *tool, const tool_call *c, tool_run *out) {
    const tool_command *p = tool;
    str in = STR_INIT;
    muga_error why;
    if (write_input(c, p->def, &in, &why) == MUGA_OK) {
        tool_command_run(tool, &in, out);
    } else {
        tool_fail(out, "%s", why.message);
    }
    str_release(&in);
}

static void close_tool(void *tool) {
    tool_command *t = tool;
    if (t) {
        tool_sandbox_release(&t->sandbox);
        free(t);
    }
}

static muga_status open_tool(tool_setup *s, void **out, muga_error *err) {
    bool unsandboxed = json_get_bool(s->def->json, "unsandboxed", false);
    if (unsandboxed && json_object_get(s->def->json, "sandbox")) {
        return tool_fault(s, "/sandbox", err, "says nothing beside unsandboxed: true; remove one of them");
    }
    tool_command *t = malloc(sizeof *t);
    if (!t) {
        return error_nomem(err, "a tool");
    }
    *t = (tool_command){.env = s->env, .m = s->m, .def = s->def, .sandboxed = !unsandboxed};
    muga_status st = digest_program(s->env, s->m, s->def, s->material, err);
    if (st == MUGA_OK && t->sandboxed) {
        st = tool_sandbox_open(s, &t->sandbox, err);
        s->leaves_machine = false; /* there is no network inside */
    }
    if (st != MUGA_OK) {
        close_tool(t);
        return st;
    }
    *out = t;
    return MUGA_OK;
}

static const char command_schema[] =
    "{\"type\": \"array\", \"minItems\": 1, \"maxItems\": 64, \"items\": {\"type\": \"string\", "
    "\"minLength\": 1, \"maxLength\": 4000}, \"description\": \"the program's path and its arguments\"}";

const tool_kind tool_kind_command = {
    .keys = {{"command", command_schema}, {"sandbox", tool_sandbox_schema}, {"unsandboxed", "{\"type\": \"boolean\"}"}},
    .untrusted = true,      /* what a program prints is its own */
    .leaves_machine = true, /* and without a sandbox it may send its input anywhere */
    .concurrent = true,
    .open = open_tool,
    .run = run_call,
    .close = close_tool};
