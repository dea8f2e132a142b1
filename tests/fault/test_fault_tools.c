/* Every allocation failed in turn while a tool of each kind is made from its definition and run. If this failed, a
 * machine short of memory could crash in a tool, leak, or be told that something was done when it was not. */
#include "support/support.h"

#include "agent/internal.h"
#include "net/http.h"
#include "support/faultmalloc.h"
#include "support/tool_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define X "parameters: {type: object, properties: {x: {type: string}}, additionalProperties: false}"

/* name, effect, the kind's key */
static const char *const tools[][3] = {
    {"clock", "read", "clock: {zone: 'CET-1CEST,M3.5.0,M10.5.0/3'}"},
    {"place", "read", "files: {folder: notes, op: read, path: ':x'}"},
    {"list", "read", "files: {folder: notes, op: list}"},
    {"write", "write", "files: {folder: notes, op: write, path: 'b-:x', content: 'c :x', replace: true}"},
    {"get", "read",
     "http: {url: 'https://a.example/:x?y=:session_customer', allow: [a.example], headers: {A: ':x'}, key_file: key}"},
    {"post", "write",
     "http: {url: 'https://a.example/', allow: [a.example], method: POST, body: {a: ':x', b: ['is :x', 1]}}"},
    {"remember", "write", "memory: {op: remember, subject: [customer], about: 'a :x', fact: ':x'}"},
    {"recall", "read", "memory: {op: recall, subject: [customer]}"},
    {"forget", "write", "memory: {op: forget, subject: [customer], about: ':x'}"},
};

static void write_tools(str *out) {
    static const char none[] = "parameters: {type: object, properties: {}, additionalProperties: false}";
    str_printf(out, "%stools:\n", tool_head);
    for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
        str_printf(out, "  - {name: %s, description: d, effect: %s, %s, %s}\n", tools[i][0], tools[i][1],
                   i == 0 ? none : X, tools[i][2]);
    }
}

static muga_status exchange(void *self, const http_request *q, http_reply *out, muga_error *err) {
    (void)self;
    *out = (http_reply){.end = HTTP_WHOLE, .status = 200, .content_type = "application/json"};
    bool taken = q->on_body(q->ctx, out, "{\"a\":[1,{\"b\":2}]}", 17);
    out->end = taken ? HTTP_WHOLE : HTTP_STOPPED;
    return taken ? MUGA_OK : error_nomem(err, "a piece");
}

/* Open, run, close; the result's text, "" where it failed. */
static muga_status run_once(agent_fixture *f, const manifest_tool *t, const tool_call *c, tool_run *run,
                            muga_error *err) {
    void *tool = NULL;
    tool_setup setup = {.env = &f->env, .m = f->m, .def = t};
    *run = (tool_run){.ok = false};
    muga_status st = t->kind->open(&setup, &tool, err);
    if (st == MUGA_OK) {
        t->kind->run(tool, c, run);
    }
    t->kind->close(tool);
    return st;
}

static void check_tool(agent_fixture *f, const manifest_tool *t, const tool_call *c) {
    muga_error err;
    tool_run good, run;
    bool keeps = strcmp(t->kind->keys[0].name, "memory") == 0 || strcmp(t->name, "write") == 0; /* statements, pages */
    bool reached = true;
    assert_ok(run_once(f, t, c, &good, &err), &err);
    if (!good.ok) {
        fail_msg("%s: %s", t->name, good.reason);
    }
    size_t n = 1;
    for (; reached; n++) {
        long live = fault_live();
        fault_fail_at(n);
        muga_status st = run_once(f, t, c, &run, &err);
        reached = fault_hit();
        fault_fail_at(0);
        bool said = st != MUGA_OK ? st == MUGA_E_NOMEM && *err.message : run.ok || *run.reason;
        if (!said || (!reached && !run.ok) || (run.ok && !run.result) || (!run.ok && run.result)) {
            fail_msg("%s, allocation %zu: status %d, ok %d: %s", t->name, n, st, run.ok, run.reason);
        }
        json_decref(run.ok ? run.result : NULL);
        if (!keeps && fault_live() != live) {
            fail_msg("%s, allocation %zu: %ld blocks leaked", t->name, n, fault_live() - live);
        }
    }
    assert_in_range(n, 4, 3000);
    json_decref(good.result);
}

/* A call that has started, as the executor gives one to a tool. */
static void start_call(const agent_fixture *f, const json_t *arguments, journal_call *c) {
    muga_error err;
    *c = (journal_call){.id = "c-1", .attempt = 1, .arguments = json_incref(json_borrow(arguments))};
    snprintf(c->session, sizeof c->session, "%s", session_id(f->session));
    c->tool = mem_copy_string("write");
    assert_ok(store_begin(f->store, &err), &err);
    muga_status st = journal_propose(&f->env, f->store, c, &err);
    st = st == MUGA_OK ? journal_move(&f->env, f->store, c, STATE_VALIDATED, NULL, &err) : st;
    st = st == MUGA_OK ? journal_move(&f->env, f->store, c, STATE_STARTED, NULL, &err) : st;
    store_end(f->store, &st, &err);
    assert_ok(st, &err);
}

static void every_allocation_of_every_kind_may_fail(void **state) {
    (void)state;
    agent_fixture f;
    journal_call row;
    char path[1200];
    str text = STR_INIT;
    http_client client = {exchange, NULL};
    fixture_prepare(&f, "fault-tools", NULL);
    snprintf(path, sizeof path, "%s/notes", f.dir);
    assert_int_equal(mkdir(path, 0755), 0);
    fixture_write(&f, "notes/a.txt", "text");
    fixture_write(&f, "key", "k\n");
    f.env.http = &client;
    write_tools(&text);
    fixture_write(&f, "agent.yaml", str_get(&text));
    muga_error err;
    assert_ok(manifest_load(&f.env, f.dir, NULL, &f.m, &err), &err);
    assert_ok(store_open(f.store_path, NULL, &f.store, &err), &err);
    fixture_begin(&f, 1, "hi");
    json_t *arguments = fixture_json("{'x': 'a.txt'}"), *values = fixture_json("{'customer': 1}");
    start_call(&f, arguments, &row);
    tool_call c = {.id = row.id, .arguments = arguments, .values = values, .session = f.session, .row = &row};
    for (size_t i = 0; i < f.m->n_tools; i++) {
        check_tool(&f, &f.m->tools[i], &c);
    }
    audit_report report;
    assert_ok(audit_verify(f.store, &report, &err), &err);
    journal_call_release(&row);
    json_decref(arguments);
    json_decref(values);
    str_release(&text);
    fixture_close(&f);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) { /* hundreds of synced commits */
        setenv("TMPDIR", "/dev/shm", 1);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_of_every_kind_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
