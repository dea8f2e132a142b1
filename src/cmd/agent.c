/* muga agent: run one, live; list them. */
#include "cmd/agent.h"
#include "base/utf8.h"
#include "cmd/data.h"

#include <unistd.h>

/* ---- agent run ---- */

typedef enum { APPROVE_ASK, APPROVE_DEMO, APPROVE_NONE } approve_how;

typedef struct live {
    agent_opened o;
    store *store;
    agent_session *session;
    agent_loop *loop;
    approve_how approve;
    bool colour;
    bool dry;
    bool as_json; /* percepts: a JSON line of each, and nothing else */
    bool trace, trace_json;
    char rule[64]; /* that the last percept followed */
    size_t n_bad;
    turn_outcome outcome;
} live;

static const char *paint(const live *v, const char *code) {
    return v->colour ? code : "";
}

static void print_line(const live *v, const char *code, const char *head, const char *text) {
    str shown = STR_INIT;
    cmd_write_text(text, strlen(text), &shown);
    printf("%s%-9s%s %s\n", paint(v, code), head, paint(v, "\033[0m"), str_get(&shown));
    str_release(&shown);
}

static void print_json_line(const live *v, const char *code, const char *head, const char *before,
                            const json_t *value) {
    str text = STR_INIT;
    str_append_s(&text, before);
    json_write(value, &text);
    if (text.len > 400) {
        str_truncate(&text, 400 - utf8_incomplete_tail(text.data, 400));
        str_append_s(&text, " ...");
    }
    print_line(v, code, head, str_get(&text));
    str_release(&text);
}

static void print_decision(const live *v, const json_t *d) {
    str text = STR_INIT;
    const json_t *list = json_object_get(d, "decided");
    for (size_t i = 0; i < json_array_size(list); i++)
        str_printf(&text, "%s%s", i ? ", then " : "", json_string_value(json_array_get(list, i)));
    str_printf(&text, " (score %.2f, margin %.2f%s; %.0f ms)", json_get_number(d, "score", 0),
               json_get_number(d, "margin", 0), json_get_bool(d, "sure", true) ? "" : ", not sure",
               (double)json_get_int(d, "latency_us", 0) / 1000);
    print_line(v, "\033[36m", "decision", str_get(&text));
    str_release(&text);
}

static void print_plan(const live *v, const json_t *steps) {
    str text = STR_INIT;
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *s = json_array_get(steps, i);
        str_printf(&text, "%s%zu. %s (%s)", i ? ", " : "", i + 1, json_get_string(s, "tool"),
                   json_get_string(s, "why"));
    }
    print_line(v, "\033[36m", "plan", text.len ? str_get(&text) : "nothing to do");
    str_release(&text);
}

static void note_rule(live *v, const json_t *d) {
    const char *rule = json_get_string(d, "rule"), *problem = json_get_string(d, "problem");
    str text = STR_INIT;
    snprintf(v->rule, sizeof v->rule, "%s", rule ? rule : "");
    if (v->as_json)
        return;
    str_printf(&text, "%s%s%s", rule ? rule : "none", problem ? "; " : "", problem ? problem : "");
    print_line(v, "\033[36m", "rule", str_get(&text));
    str_release(&text);
}

static void on_event(void *ctx, const char *kind, const json_t *d) {
    live *v = ctx;
    str text = STR_INIT;
    if (!strcmp(kind, "rule")) {
        note_rule(v, d);
    } else if (!strcmp(kind, "trace")) {
        agent_print_trace(d, v->trace_json);
    } else if (v->as_json) {
        return;
    } else if (!strcmp(kind, "percept")) {
        print_json_line(v, "\033[1m", "percept", "", d);
    } else if (!strcmp(kind, "message")) {
        print_line(v, "\033[1m", "customer", json_get_string(d, "text"));
    } else if (!strcmp(kind, "decision")) {
        print_decision(v, d);
    } else if (!strcmp(kind, "plan")) {
        print_plan(v, json_object_get(d, "steps"));
    } else if (!strcmp(kind, "call")) {
        str_printf(&text, "%s ", json_get_string(d, "tool"));
        print_json_line(v, "\033[33m", "call", str_get(&text), json_object_get(d, "arguments"));
    } else if (!strcmp(kind, "result")) {
        const json_t *result = json_object_get(d, "result");
        str_printf(&text, "%s ", json_get_string(d, "outcome"));
        print_json_line(v, "\033[33m", "result", str_get(&text), result ? result : json_object_get(d, "reason"));
    } else if (!strcmp(kind, "held")) {
        str_printf(&text, "%s; approval %s, call %s", json_get_string(d, "reason"), json_get_string(d, "approval"),
                   json_get_string(d, "call"));
        print_line(v, "\033[35m", "held", str_get(&text));
    } else if (!strcmp(kind, "guard")) {
        print_json_line(v, "\033[31m", "guard", "", d);
    } else if (!strcmp(kind, "escalation")) {
        str_printf(&text, "to %s: %s", json_get_string(d, "to") ? json_get_string(d, "to") : "a person",
                   json_get_string(d, "why"));
        print_line(v, "\033[31m", "escalate", str_get(&text));
    } else if (!strcmp(kind, "not_kept")) {
        print_line(v, "\033[31m", "not kept", json_get_string(d, "why"));
    } else if (!strcmp(kind, "answer")) {
        print_line(v, "\033[32m", "agent", json_get_string(d, "text"));
    }
    str_release(&text);
    fflush(stdout);
}

/* Asked on the terminal, or the demo's own approver, who says so. False: nobody decides now. */
static bool get_approval(const live *v, const turn_result *r, bool *yes, const char **who) {
    static char name[64];
    char line[16] = "";
    if (v->approve == APPROVE_DEMO) {
        if (!v->as_json)
            printf("%-9s the demo's own approver says yes to %s\n", "approval", r->approval);
        *yes = true;
        *who = APPROVER_DEMO;
        return true;
    }
    if (v->approve == APPROVE_NONE)
        return false;
    printf("%-9s approve this call with exactly these arguments? [y/N] ", "approval");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) {
        printf("\n");
        return false;
    }
    cmd_user_name(name);
    *yes = line[0] == 'y' || line[0] == 'Y';
    *who = name;
    return true;
}

/* Decide holds as long as somebody does. */
static muga_status settle(live *v, turn_result *r, muga_error *err) {
    muga_status st = MUGA_OK;
    bool yes = false;
    const char *who = NULL;
    while (!st && r->outcome == TURN_HELD && get_approval(v, r, &yes, &who)) {
        st = approval_decide_within(&v->o.env, v->store, v->o.m, r->approval, yes, who, err);
        turn_result_release(r);
        if (!st)
            st = loop_resume(v->loop, r, err);
    }
    return st;
}

/* One message, or NULL to take up a held call. *open false: the conversation is over. */
static muga_status live_turn(live *v, const char *text, bool *open, turn_outcome *outcome, muga_error *err) {
    turn_result r = {.text = STR_INIT};
    muga_status st = text ? loop_turn(v->loop, text, strlen(text), &r, err) : loop_resume(v->loop, &r, err);
    if (!st)
        st = settle(v, &r, err);
    if (!st) {
        *outcome = r.outcome;
        *open = r.outcome != TURN_HELD && r.outcome != TURN_ESCALATE;
        if (r.outcome == TURN_HELD)
            print_line(v, "\033[32m", "agent", str_get(&r.text));
    }
    turn_result_release(&r);
    return st;
}

/* Nothing is begun, and nothing recorded, for nobody's words. */
static muga_status check_messages(const cmd_values *messages, bool resume, muga_error *err) {
    for (size_t i = 0; i < messages->n; i++)
        if (!messages->v[i][strspn(messages->v[i], " \t\r\n")])
            return error_set(err, MUGA_E_INPUT, "--message is empty; write what the customer says");
    if (messages->n > 0 || resume || cmd_is_terminal(STDIN_FILENO))
        return MUGA_OK;
    int c = getc(stdin);
    if (c == EOF && ferror(stdin))
        return error_set(err, MUGA_E_ENV, "standard input could not be read; write on it, or give --message TEXT");
    if (c == EOF)
        return error_set(err, MUGA_E_INPUT, "no message came; give --message TEXT, or lines on standard input");
    ungetc(c, stdin);
    return MUGA_OK;
}

/* What is held or was broken off is taken up first; a session that has neither goes on with what is said now. */
static muga_status converse(live *v, const cmd_values *messages, bool resume, turn_outcome *outcome, muga_error *err) {
    bool open = true, terminal = cmd_is_terminal(STDIN_FILENO);
    bool first = resume && (loop_is_unfinished(v->loop) || (messages->n == 0 && !terminal));
    muga_status st = first ? live_turn(v, NULL, &open, outcome, err) : MUGA_OK;
    for (size_t i = 0; !st && open && i < messages->n; i++)
        st = live_turn(v, messages->v[i], &open, outcome, err);
    char *line = NULL;
    size_t cap = 0;
    while (!st && open && messages->n == 0 && !first) {
        if (terminal) {
            printf("> ");
            fflush(stdout);
        }
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0 && ferror(stdin))
            st = error_set(err, MUGA_E_ENV, "standard input could not be read; write on it, or give --message TEXT");
        if (n <= 0)
            break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = '\0';
        if (n > 0 && terminal && line[0] == '/')
            data_say_word(&v->o.env, v->store, v->o.m, v->session, line);
        else if (n > 0)
            st = live_turn(v, line, &open, outcome, err);
    }
    free(line);
    return st;
}

static muga_status take_percept(void *ctx, size_t line, const json_t *percept, muga_error *err) {
    live *v = ctx;
    turn_result r;
    v->rule[0] = '\0';
    muga_status st = loop_percept(v->loop, percept, &r, err);
    if (!st)
        st = settle(v, &r, err);
    if (!st && v->as_json) {
        json_t *out = json_pack("{s:I, s:s?, s:s, s:s, s:s?, s:s?, s:I}", "line", (json_int_t)line, "rule",
                                v->rule[0] ? v->rule : NULL, "outcome", turn_outcome_name(r.outcome), "text",
                                str_get(&r.text), "call", r.call[0] ? r.call : NULL, "approval",
                                r.approval[0] ? r.approval : NULL, "us", (json_int_t)r.us);
        cmd_print_json(out);
        json_decref(out);
        fflush(stdout); /* what is printed is durable, and the sender may forget it */
    }
    if (!st)
        v->outcome = r.outcome;
    turn_result_release(&r);
    return st;
}

static void bad_percept(void *ctx, size_t line, const muga_error *why) {
    live *v = ctx;
    json_t *out = json_pack("{s:I, s:s}", "line", (json_int_t)line, "error", why->message);
    v->n_bad++;
    if (v->as_json && out)
        cmd_print_json(out);
    else
        fprintf(stderr, "muga: line %zu: %s\n", line, why->message);
    json_decref(out);
    fflush(stdout);
}

/* What waits is taken up first, then come the percepts; one that is held does not stop them. */
static muga_status perceive(live *v, FILE *f, const char *path, bool resume, turn_outcome *outcome, muga_error *err) {
    bool open = true;
    muga_status st = resume && loop_is_unfinished(v->loop) ? live_turn(v, NULL, &open, &v->outcome, err) : MUGA_OK;
    if (!st)
        st = agent_each_percept(f, path, take_percept, bad_percept, v, err);
    *outcome = !st && loop_is_unfinished(v->loop) ? TURN_HELD : v->outcome;
    return st;
}

/* The store, and what can be told of the session before the model is loaded, which takes longest. */
static muga_status check_session(live *v, const json_t *values, const char *resume, muga_error *err) {
    bool dry = false;
    muga_status st = cmd_open_store(false, &v->store, err);
    if (!st && resume)
        st = session_check_id(v->store, v->o.m, resume, &dry, err);
    else if (!st)
        st = session_check_values(v->o.m, values, err);
    if (!st && resume && v->dry && !dry)
        st = error_set(err, MUGA_E_USAGE,
                       "session %.40s isn't a dry run, and can't become one; begin one with --dry, without --resume",
                       resume);
    if (st == MUGA_E_INPUT && !resume) {
        const muga_error what = *err;
        st = error_set(err, st, "%.200s; give it with --session NAME=VALUE", what.message);
    }
    return st;
}

static muga_status open_session(live *v, const json_t *values, const char *resume, muga_error *err) {
    if (resume)
        return session_open(&v->o.env, v->store, v->o.m, resume, &v->session, err);
    char requester[64];
    cmd_user_name(requester);
    json_t *info = json_pack("{s:s, s:s?, s:b, s:s, s:o*}", "program", "muga", "model",
                             v->o.model ? v->o.model->name : NULL, "dry", (int)v->dry, "requester", requester,
                             "adapter", agent_version_record(&v->o));
    muga_status st = info ? session_new(&v->o.env, v->store, v->o.m, values, info, &v->session, err)
                          : error_nomem(err, "a session");
    json_decref(info);
    return st;
}

static bool read_approve(const char *word, approve_how *out) {
    if (!word) {
        *out = cmd_is_terminal(STDIN_FILENO) && cmd_is_terminal(STDOUT_FILENO) ? APPROVE_ASK : APPROVE_NONE;
        return true;
    }
    *out = !strcmp(word, "ask") ? APPROVE_ASK : !strcmp(word, "demo") ? APPROVE_DEMO : APPROVE_NONE;
    return *out != APPROVE_NONE || !strcmp(word, "none");
}

static int finish_run(live *v, const char *name, turn_outcome outcome, muga_error *err) {
    if (outcome == TURN_HELD && v->as_json)
        return 5;
    if (outcome == TURN_HELD) {
        printf("\nheld: decide with `muga approve yes|no ID` (`muga approve list` shows it), then go on with\n"
               "`muga agent run %s --resume %s`\n",
               name, session_id(v->session));
        return 5;
    }
    if (!session_ended(v->session) && session_end(v->session, turn_outcome_name(outcome), err))
        return cmd_fail(err);
    return outcome == TURN_REFUSE ? 5 : v->n_bad ? 4 : 0;
}

int cmd_agent_run(int argc, char **argv) {
    const char *resume = NULL, *approve = NULL, *percepts = NULL;
    cmd_values messages = {.n = 0}, values = {.n = 0};
    agent_choice choice = {.kv_type = KERNEL_KV_F16, .version = VERSIONS_IN_USE};
    live v = {.colour = cmd_use_colour(STDOUT_FILENO)};
    const cmd_option options[] = {
        {"--message", 'm', CMD_REPEAT, &messages, "TEXT",
         "what the customer writes; may be given again for the next turn"},
        {"--percepts", 0, CMD_STRING, &percepts, "FILE",
         "what it perceives, a JSON object a line; - for stdin (agents that act by rules)"},
        {"--json", 0, CMD_FLAG, &v.as_json, NULL,
         "with --percepts: a JSON object a percept, and nothing else; with --trace: its steps as JSON lines"},
        {"--trace", 0, CMD_FLAG, &v.trace, NULL, "after each turn, where its time went"},
        {"--session", 's', CMD_REPEAT, &values, "NAME=VALUE", "a value of the session, such as customer=7"},
        {"--approve", 0, CMD_STRING, &approve, "HOW", "ask (on the terminal), demo (says yes, and says so), none"},
        {"--dry", 0, CMD_FLAG, &v.dry, NULL, "nothing is written: reads run, writes say what would become of them"},
        {"--resume", 0, CMD_STRING, &resume, "SESSION", "go on with a session: held and decided, or broken off"},
        AGENT_MODEL_OPTIONS(&choice)};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    json_t *given = NULL;
    FILE *stream = NULL;
    turn_outcome outcome = TURN_ANSWER;
    int code = cmd_parse("agent run", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if (!read_approve(approve, &v.approve))
        return cmd_error(MUGA_E_USAGE, "--approve is ask, demo or none");
    if (percepts && messages.n)
        return cmd_error(MUGA_E_USAGE, "--percepts and --message don't go together; run it twice with --resume");
    if (v.as_json && !percepts && !v.trace)
        return cmd_error(MUGA_E_USAGE, "--json belongs to --percepts or --trace");
    v.trace_json = v.as_json;
    v.as_json = v.as_json && percepts;
    if (percepts && approve && v.approve == APPROVE_ASK && (!strcmp(percepts, "-") || v.as_json))
        return cmd_error(MUGA_E_USAGE, "--approve ask needs the terminal, which is taken by percepts and --json");
    if (percepts && v.approve == APPROVE_ASK && (!strcmp(percepts, "-") || v.as_json))
        v.approve = APPROVE_NONE;
    if (resume && values.n)
        return cmd_error(MUGA_E_USAGE, "--session is for a new session; --resume goes on with the values it has");
    code = agent_parse_choice(&choice);
    if (code >= 0)
        return code;
    muga_status st = cmd_read_values(&values, "--session", &given, &err);
    if (!st)
        st = agent_open(&v.o, p.v[0], &err);
    if (!st)
        st = check_session(&v, given, resume, &err);
    if (!st)
        st = percepts ? agent_open_percepts(percepts, &stream, &err) : check_messages(&messages, resume != NULL, &err);
    if (!st && resume)
        st = versions_of_session(v.store, resume, &choice.version, &err);
    if (!st)
        st = agent_open_model(&v.o, &choice, &err);
    if (!st)
        st = agent_listen(&v.o, v.store, &err);
    if (!st)
        st = open_session(&v, given, resume, &err);
    if (!st) {
        const loop_parts parts = {&v.o.env, v.o.m, v.o.intent, v.o.model, v.session, {on_event, &v}, NULL};
        st = loop_new(&parts, &v.loop, &err);
    }
    if (!st && v.trace)
        st = loop_trace(v.loop, &err);
    if (!st && percepts)
        st = perceive(&v, stream, percepts, resume != NULL, &outcome, &err);
    else if (!st)
        st = converse(&v, &messages, resume != NULL, &outcome, &err);
    code = st ? cmd_fail(&err) : finish_run(&v, p.v[0], outcome, &err);
    loop_free(v.loop);
    session_close(v.session);
    store_close(v.store);
    agent_close(&v.o);
    agent_choice_release(&choice);
    agent_close_percepts(stream);
    json_decref(given);
    return cmd_finish_output(code);
}

/* ---- agent list ---- */

static muga_status list_one(void *ctx, const char *name, const char *dir) {
    json_t *list = ctx, *v = NULL;
    str path = STR_INIT, text = STR_INIT;
    muga_error err = {0};
    str_printf(&path, "%s/agent.yaml", dir);
    muga_status st = os_read_file(&os_system()->files, str_get(&path), (size_t)1 << 20, &text, &err);
    if (!st)
        st = yaml_parse(str_get(&text), text.len, "agent.yaml", &v, NULL, &err);
    const char *model = json_get_string(v, "model"), *about = json_get_string(v, "description");
    json_t *entry = json_pack("{s:s, s:s, s:s, s:I, s:s}", "name", name, "dir", dir, "model", model ? model : "",
                              "tools", (json_int_t)json_array_size(json_object_get(v, "tools")), "description",
                              st      ? err.message
                              : about ? about
                                      : "");
    st = entry && !json_array_append_new(list, entry) ? MUGA_OK : MUGA_E_NOMEM;
    json_decref(v);
    str_release(&text);
    str_release(&path);
    return st;
}

int cmd_agent_list(int argc, char **argv) {
    bool as_json = false;
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &as_json, NULL, "an array of agents"}};
    cmd_positional p = {.max = 0};
    muga_error err = {0};
    json_t *list = json_array();
    int code = cmd_parse("agent list", options, ARRAY_LEN(options), argc, argv, &p);
    muga_status st = code >= 0 ? MUGA_OK : list ? cmd_agent_visit(list_one, list, &err) : error_nomem(&err, "agents");
    size_t n = json_array_size(list);
    if (code < 0 && !st && as_json) {
        cmd_print_json(list);
    } else if (code < 0 && !st) {
        const char **cells = mem_alloc_array((n + 1) * 3, sizeof *cells);
        static const char *const keys[] = {"name", "model", "description"}, *const heads[] = {"NAME", "MODEL",
                                                                                              "WHAT IT DOES"};
        for (size_t i = 0; cells && i < (n + 1) * 3; i++)
            cells[i] = i < 3 ? heads[i] : json_get_string(json_array_get(list, i / 3 - 1), keys[i % 3]);
        if (cells)
            cmd_print_table(cells, n + 1, 3);
        else
            st = error_nomem(&err, "agents");
        free(cells);
    }
    json_decref(list);
    return code >= 0 ? code : st ? cmd_fail(&err) : cmd_finish_output(0);
}
