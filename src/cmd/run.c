/* muga run: one answer, or a chat with its history. */
#include "cmd/remote.h"
#include "cmd/server.h"
#include "cmd/stored.h"
#include "cmd/tools.h"
#include "net/url.h"

#include <unistd.h>

#define RUN_MAX_INPUT ((size_t)16 << 20)

typedef struct chat {
    llm *model;
    json_t *messages;
    llm_sampling sampling;
    uint32_t max_tokens;
    const char *system;
    cmd_stored stored; /* what the store has set for the model */
    json_t *schema;    /* of every answer; NULL = free text */
    cmd_tools tools;
    bool hide_thinking;
    bool visible_only; /* the answer goes to a terminal */
    bool restored;     /* the conversation began in a file */
    bool is_remote;    /* a server's model */
} chat;

/* On a terminal a model must not move the cursor or speak to the terminal; in a pipe its bytes are what they are. */
static bool on_text(void *ctx, const char *p, size_t n) {
    const chat *c = ctx;
    if (!c->visible_only) {
        fwrite(p, 1, n, stdout);
    } else {
        str shown = STR_INIT;
        cmd_write_text(p, n, &shown);
        fwrite(str_get(&shown), 1, shown.len, stdout);
        str_release(&shown);
    }
    fflush(stdout);
    return !ferror(stdout) && !cmd_interrupted();
}

/* Reasoning is no part of the answer: it goes where messages go. Calls are shown when they are whole. */
static bool on_event(void *ctx, const llm_event *e) {
    if (e->kind == LLM_EVENT_CONTENT)
        return on_text(ctx, e->p, e->n);
    const chat *c = ctx;
    if (e->kind == LLM_EVENT_REASONING && !c->hide_thinking) {
        str shown = STR_INIT;
        cmd_write_text(e->p, e->n, &shown);
        fwrite(str_get(&shown), 1, shown.len, stderr);
        str_release(&shown);
    }
    return !cmd_interrupted();
}

static bool on_prompt(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    (void)ctx;
    (void)n_done;
    (void)n_prompt;
    return !cmd_interrupted();
}

static bool has_system(const chat *c) {
    const char *role = json_string_value(json_object_get(json_array_get(c->messages, 0), "role"));
    return role && strcmp(role, "system") == 0;
}

/* Nothing but the system message, where there is one, and what the stored model's conversations begin with. */
static muga_status chat_reset(chat *c, muga_error *err) {
    json_t *system = has_system(c) ? json_incref(json_array_get(c->messages, 0))
                     : c->system   ? json_pack("{s:s, s:s}", "role", "system", "content", c->system)
                                   : NULL;
    bool wanted = system || c->system;
    json_decref(c->messages);
    c->messages = json_array();
    if (!c->messages)
        json_decref(system);
    else if ((!wanted || !json_array_append_new(c->messages, system)) &&
             (!c->stored.m.messages || !json_array_extend(c->messages, c->stored.m.messages)))
        return MUGA_OK;
    return error_nomem(err, "chat");
}

static muga_status chat_add(chat *c, const char *role, const char *p, size_t n, muga_error *err) {
    json_t *text = json_stringn(p, n);
    if (!text)
        return error_set(err, MUGA_E_INPUT, "the prompt is not valid UTF-8; convert it first");
    json_t *message = json_pack("{s:s, s:o}", "role", role, "content", text);
    return message && !json_array_append_new(c->messages, message) ? MUGA_OK : error_nomem(err, "chat");
}

static muga_status chat_add_calls(chat *c, const llm_reply *r, muga_error *err) {
    return json_array_append_new(c->messages, cmd_calls_message(r)) ? error_nomem(err, "chat") : MUGA_OK;
}

/* What the answer had besides text that was shown as it came. */
static muga_status end_answer(const chat *c, const llm_reply *r, muga_error *err) {
    if (r->reasoning.len > 0 && !c->hide_thinking)
        fprintf(stderr, "\n");
    if (r->text.len > 0 || r->n_calls == 0)
        putchar('\n');
    muga_status st = cmd_print_calls(r, err);
    fflush(stdout);
    return st;
}

/* One turn. When it fails, the history is as it was before. */
static muga_status chat_turn(chat *c, const char *p, size_t n, llm_reply *reply, muga_error *err) {
    size_t before = json_array_size(c->messages);
    llm_request q = {.messages = c->messages,
                     .sampling = c->sampling,
                     .max_tokens = c->max_tokens,
                     .schema = c->schema,
                     .stop = c->stored.stop,
                     .n_stop = c->schema ? 0 : c->stored.n_stop, /* a stop would cut a value short */
                     .on_text = on_text,
                     .on_text_ctx = c,
                     .on_prompt = on_prompt,
                     .now_ms = os_system()->clock.now_ms(os_system()->clock.self)};
    cmd_tools_apply(&c->tools, &q);
    q.split = q.split || c->hide_thinking;
    if (q.split) {
        q.on_event = on_event;
        q.on_event_ctx = c;
    }
    muga_status st = chat_add(c, "user", p, n, err);
    if (!st)
        st = llm_complete(c->model, &q, reply, err);
    if (!st) {
        st = reply->n_calls ? chat_add_calls(c, reply, err)
                            : chat_add(c, "assistant", str_get(&reply->text), reply->text.len, err);
        if (st)
            llm_reply_release(reply);
    }
    while (st && json_array_size(c->messages) > before)
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
    return st;
}

static void print_speed(const llm_reply *r) {
    double prompt_s = (double)r->prompt_us / 1e6, generate_s = (double)r->generate_us / 1e6;
    uint32_t computed = r->n_prompt - r->n_prompt_cached;
    fprintf(stderr, "[prompt %u tokens (%u cached), %.0f tokens/s; answer %u tokens, %.1f tokens/s", r->n_prompt,
            r->n_prompt_cached, prompt_s > 0 ? computed / prompt_s : 0.0, r->n_generated,
            generate_s > 0 ? r->n_generated / generate_s : 0.0);
    if (r->n_drafted)
        fprintf(stderr, "; %u of %u guesses stood", r->n_accepted, r->n_drafted);
    fprintf(stderr, "]\n");
}

/* An answer that did not end by itself: at -n, or where the context did. */
static void say_length(const chat *c, const llm_reply *r) {
    if (c->max_tokens && r->n_generated >= c->max_tokens)
        fprintf(stderr, "muga: the answer was cut at -n %u tokens\n", c->max_tokens);
    else if (c->is_remote)
        fprintf(stderr, "muga: the server cut the answer; -n asks for more tokens\n");
    else
        fprintf(stderr, "muga: the answer was cut where the context of %u tokens ended; --ctx makes room\n",
                c->model->n_ctx);
}

static int answer_once(chat *c, const char *p, size_t n, bool verbose) {
    muga_error err = {0};
    llm_reply reply = {0};
    muga_status st = chat_turn(c, p, n, &reply, &err);
    if (!st && (st = end_answer(c, &reply, &err)))
        llm_reply_release(&reply);
    if (st)
        return cmd_fail(&err);
    bool cancelled = reply.finish == LLM_FINISH_CANCELLED;
    if (reply.finish == LLM_FINISH_LENGTH)
        say_length(c, &reply);
    if (verbose)
        print_speed(&reply);
    llm_reply_release(&reply);
    return cmd_finish_output(cancelled ? 130 : 0);
}

/* false: the chat ends. */
static bool chat_command(chat *c, const char *line) {
    muga_error err = {0};
    if (!strcmp(line, "/bye") || !strcmp(line, "/exit"))
        return false;
    if (!strcmp(line, "/clear")) {
        if (chat_reset(c, &err))
            cmd_fail(&err);
        else
            printf("forgotten\n");
    } else {
        printf("/clear  forget the chat\n/bye    end it (or Ctrl-D)\n");
    }
    return true;
}

/* A terminal gives one line a read, so nothing is left in stdin's buffer that the wait would not see. */
static ssize_t read_line(char **line, size_t *cap) {
    return cmd_wait_input() ? getline(line, cap, stdin) : -1;
}

static bool has_history(const chat *c) {
    return json_array_size(c->messages) > (has_system(c) ? 1u : 0u) + json_array_size(c->stored.m.messages);
}

static int chat_loop(chat *c, bool verbose) {
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while (cmd_clear_interrupt(), printf(">>> "), fflush(stdout),
           (n = read_line(&line, &cap)) >= 0 || cmd_interrupted()) {
        muga_error err = {0};
        llm_reply reply = {0};
        if (n < 0) { /* Ctrl-C at the prompt */
            clearerr(stdin);
            printf("\n(/bye or Ctrl-D ends the chat)\n");
            continue;
        }
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = 0;
        if (n == 0)
            continue;
        if (line[0] == '/' && !strchr(line + 1, ' ')) {
            if (!chat_command(c, line))
                break;
            continue;
        }
        muga_status st = chat_turn(c, line, (size_t)n, &reply, &err);
        if (st)
            printf("\n");
        else if ((st = end_answer(c, &reply, &err)))
            llm_reply_release(&reply);
        if (st == MUGA_E_LIMIT && has_history(c)) {
            cmd_error(st,
                      "the chat has outgrown its context (%s); nothing was cut: /clear forgets it, --ctx makes room",
                      err.message);
        } else if (st && st != MUGA_E_CANCELLED) {
            cmd_fail(&err);
        } else if (!st) {
            if (reply.finish == LLM_FINISH_LENGTH)
                say_length(c, &reply);
            if (verbose)
                print_speed(&reply);
            llm_reply_release(&reply);
        }
        if (ferror(stdout))
            break;
    }
    free(line);
    return cmd_finish_output(0);
}

static int answer_prompt(chat *c, const cmd_positional *p, bool verbose) {
    str prompt;
    muga_error err = {0};
    str_init(&prompt, RUN_MAX_INPUT + 1);
    for (size_t i = 1; i < p->n; i++) {
        if (i > 1)
            str_append_c(&prompt, ' ');
        str_append_s(&prompt, p->v[i]);
    }
    if (p->n == 1 && cmd_read_stream(stdin, "standard input", RUN_MAX_INPUT, &prompt, &err)) {
        str_release(&prompt);
        return cmd_fail(&err);
    }
    int code = prompt.len ? answer_once(c, str_get(&prompt), prompt.len, verbose)
                          : cmd_error(MUGA_E_INPUT, "the prompt is empty; give it as an argument or on standard input");
    str_release(&prompt);
    return code;
}

/* The conversation in the file, where there is one; else a new one. system: as asked for on the command line. */
static muga_status begin_chat(chat *c, const char *session, const char *system, muga_error *err) {
    json_t *messages = NULL;
    muga_status st = session ? llm_local_restore(c->model, session, &messages, err) : MUGA_E_NOT_FOUND;
    if (st == MUGA_E_NOT_FOUND)
        return chat_reset(c, err);
    if (!st && system) {
        json_decref(messages);
        return error_set(err, MUGA_E_USAGE, "%s has a conversation already; --system begins a new one", session);
    }
    if (!st)
        c->messages = messages;
    c->restored = !st;
    return st;
}

/* An exit code: the one so far, unless the conversation can't be kept; one that was forgotten leaves no file. */
static int keep_chat(const chat *c, const char *session, int code) {
    const os_files *files = &os_system()->files;
    muga_error err = {0};
    muga_status st = MUGA_OK;
    if (has_history(c))
        st = llm_local_save(c->model, session, c->messages, &err);
    else if (c->restored)
        st = files->remove(files->self, session, &err);
    return st ? cmd_fail(&err) : code;
}

/* ---- the verb ---- */

typedef struct run {
    chat c;
    llm_local_options o;
    uint32_t threads;
    bool verbose, no_cache;
    const char *session, *kv, *draft, *format, *keep_alive, *adapter_text;
    char *adapter;
    cmd_remote remote;
    cmd_values overrides;
    cmd_positional p;
    cmd_progress progress;
} run;

static void run_init(run *r) {
    *r = (run){.c = {.sampling = LLM_SAMPLING_GREEDY},
               .o = {.isa = -1},
               .draft = "ngram",
               .remote = CMD_REMOTE_DEFAULT,
               .p = {.min = 1, .max = 64},
               .progress = {.what = "loading"}};
    r->c.sampling.temperature = 0.7f;
    r->c.sampling.top_p = 0.95f;
    r->c.visible_only = cmd_is_terminal(STDOUT_FILENO);
}

static int run_parse(run *r, int argc, char **argv) {
    chat *c = &r->c;
    const cmd_option options[] = {
        {"--system", 0, CMD_STRING, &c->system, "TEXT", "the system message"},
        {"--session", 0, CMD_STRING, &r->session, "FILE", "go on with the conversation in FILE, and keep it there"},
        {"--temp", 0, CMD_F32, &c->sampling.temperature, "T", "temperature; 0 is greedy (default 0.7)"},
        {"--top-k", 0, CMD_U32, &c->sampling.top_k, "K", "keep the K likeliest tokens; 0 is off (default)"},
        {"--top-p", 0, CMD_F32, &c->sampling.top_p, "P",
         "keep the likeliest tokens up to probability P (default 0.95)"},
        {"--min-p", 0, CMD_F32, &c->sampling.min_p, "P", "drop tokens below P times the likeliest (default 0)"},
        {"--repeat-penalty", 0, CMD_F32, &c->sampling.repeat_penalty, "R",
         "divide logits of recent tokens by R (default 1)"},
        {"--seed", 0, CMD_U64, &c->sampling.seed, "N", "the same seed gives the same answer (default 0)"},
        {"--ctx", 0, CMD_U32, &r->o.n_ctx, "N", "context in tokens (default: the model's, at most 8192)"},
        {"--max-tokens", 'n', CMD_U32, &c->max_tokens, "N",
         "longest answer in tokens (default: what the context leaves)"},
        {"--format", 0, CMD_STRING, &r->format, "json|FILE",
         "every answer is JSON, or valid by the JSON Schema in FILE"},
        {"--threads", 't', CMD_U32, &r->threads, "N", "threads (default: cores this process may use)"},
        {"--draft", 0, CMD_STRING, &r->draft, "SOURCE",
         "guess tokens ahead: ngram (default), off, or a smaller model of the same vocabulary; changes no answer"},
        REMOTE_OPTIONS(&r->remote),
        {"--keepalive", 0, CMD_STRING, &r->keep_alive, "TIME",
         "how long the server keeps the model afterwards: 10m, -1"},
        TOOL_OPTIONS(&c->tools),
        {"--hidethinking", 0, CMD_FLAG, &c->hide_thinking, NULL, "don't show the reasoning"},
        KV_OPTION(&r->kv),
        OVERRIDE_OPTION(&r->overrides),
        ADAPTER_OPTION(&r->adapter_text),
        ANY_BASE_OPTION(&r->o.any_base),
        NO_CACHE_OPTION(&r->no_cache),
        {"--verbose", 0, CMD_FLAG, &r->verbose, NULL, "where the weights came from, and speeds after each answer"}};
    return cmd_parse("run", options, ARRAY_LEN(options), argc, argv, &r->p);
}

/* What the store has set for the model comes before what the command line says, so that is read a second time. */
static int run_take_stored(run *r, int argc, char **argv) {
    cmd_stored stored;
    muga_error err = {0};
    if (r->remote.url)
        return -1;
    muga_status st = cmd_stored_open(r->p.v[0], &stored, &err);
    if (!st && stored.m.name) {
        run_init(r);
        st = cmd_stored_apply(&stored, &r->c.sampling, &r->o.n_ctx, &r->c.max_tokens, &err);
        if (!st)
            (void)run_parse(r, argc, argv);
        r->c.stored = stored;
    } else {
        cmd_stored_release(&stored);
    }
    return st ? cmd_fail(&err) : -1;
}

/* What goes together. -1 to go on, or the exit code. */
static int run_check(run *r) {
    const llm_sampling *s = &r->c.sampling;
    kernel_kv_type kv_type = KERNEL_KV_F16;
    if (s->temperature < 0 || s->top_p <= 0 || s->top_p > 1 || s->min_p < 0 || s->min_p > 1 || s->repeat_penalty <= 0)
        return cmd_error(
            MUGA_E_USAGE,
            "out of range: --temp is 0 or more, --top-p in (0, 1], --min-p in [0, 1], --repeat-penalty above 0");
    if (r->threads > 1024)
        return cmd_error(MUGA_E_USAGE, "--threads is at most 1024");
    int code = cmd_parse_kv(r->kv, &kv_type);
    if (code < 0)
        code = cmd_remote_check(&r->remote);
    if (code >= 0)
        return code;
    r->c.is_remote = r->remote.url != NULL;
    if (r->c.is_remote && (r->session || r->adapter_text || r->overrides.n || r->kv))
        return cmd_error(MUGA_E_USAGE, "--session, --adapter, --override and --kv are for local models");
    if (!r->c.is_remote && r->keep_alive)
        return cmd_error(MUGA_E_USAGE,
                         "--keepalive is for a server's model (--remote); here it is loaded for this run");
    if (r->session && r->c.tools.file)
        return cmd_error(MUGA_E_USAGE, "--session keeps texts alone, so it doesn't go with --tools");
    if (r->format && r->c.tools.file)
        return cmd_error(MUGA_E_USAGE, "--format and --tools both say what an answer looks like; give one");
    r->o.kv = (int)kv_type;
    return -1;
}

static muga_status read_format(run *r, muga_error *err) {
    str text = STR_INIT;
    if (!r->format)
        return MUGA_OK;
    if (!strcmp(r->format, "json")) {
        r->c.schema = json_pack("{s:s}", "type", "object");
        return r->c.schema ? MUGA_OK : error_nomem(err, "--format");
    }
    muga_status st = cmd_read_input(r->format, RUN_MAX_INPUT, &text, err);
    if (!st)
        st = json_parse(str_get(&text), text.len, r->format, &r->c.schema, err);
    str_release(&text);
    return st;
}

static muga_status run_open(run *r, muga_error *err) {
    llm_local_options *o = &r->o;
    muga_status st = read_format(r, err);
    if (st)
        return st;
    if (r->c.is_remote)
        return cmd_remote_open(&r->remote, r->p.v[0], &r->c.model, err);
    o->drafts = !strcmp(r->draft, "ngram") ? LLM_DRAFTS_NGRAM
                : !strcmp(r->draft, "off") ? LLM_DRAFTS_OFF
                                           : LLM_DRAFTS_MODEL;
    o->draft_path = r->draft;
    o->n_threads = (int)r->threads;
    o->overrides = r->overrides.v;
    o->n_overrides = r->overrides.n;
    o->adapter = r->adapter;
    if (cmd_is_terminal(STDERR_FILENO)) {
        o->on_progress = cmd_progress_show;
        o->on_progress_ctx = &r->progress;
    }
    st = cmd_open_llm(r->p.v[0], r->p.v[0], !r->no_cache, o, &r->c.model, err);
    cmd_progress_finish(&r->progress);
    return st;
}

/* The server is told when it has answered, as Ollama's clients do it. */
static int tell_keep_alive(const run *r) {
    url u;
    muga_error err = {0};
    int status = 0;
    json_t *answer = NULL;
    str root = STR_INIT;
    muga_status st = url_parse(r->remote.url, &u, &err);
    if (!st)
        str_printf(&root, "%.*s", (int)(strlen(r->remote.url) - u.path.n), r->remote.url);
    cmd_server s = {str_get(&root), r->remote.key_file, r->remote.key_env};
    json_t *body = json_pack("{s:s, s:s, s:b}", "model", r->p.v[0], "keep_alive", r->keep_alive, "stream", 0);
    if (!st)
        st = body ? cmd_server_ask(&s, "POST", "/api/generate", body, &status, &answer, &err)
                  : error_set(&err, MUGA_E_USAGE, "--keepalive is a time such as 10m");
    if (!st && status / 100 != 2)
        st = cmd_server_refused(status, answer, &err);
    if (st)
        error_prefix(&err, st, "--keepalive");
    json_decref(body);
    json_decref(answer);
    str_release(&root);
    return st ? cmd_fail(&err) : 0;
}

static int run_go(run *r) {
    chat *c = &r->c;
    bool interactive = r->p.n == 1 && cmd_is_terminal(STDIN_FILENO);
    cmd_say_fallback(c->model->template_fallback);
    if (r->verbose && c->model->packed && *c->model->packed)
        fprintf(stderr, "[weights: %s]\n", c->model->packed);
    cmd_catch_interrupt();
    int code = interactive ? chat_loop(c, r->verbose) : answer_prompt(c, &r->p, r->verbose);
    if (r->session && (code == 0 || code == 130))
        code = keep_chat(c, r->session, code);
    if (r->keep_alive && code == 0)
        code = tell_keep_alive(r);
    return code;
}

int cmd_run(int argc, char **argv) {
    run r;
    muga_error err = {0};
    run_init(&r);
    int code = run_parse(&r, argc, argv);
    if (code >= 0)
        return code;
    const char *system = r.c.system;
    code = run_check(&r); /* what is wrong on the command line is said before a model is looked for */
    if (code < 0)
        code = run_take_stored(&r, argc, argv);
    if (!r.c.system)
        r.c.system = r.c.stored.m.system;
    if (code < 0)
        code = run_check(&r);
    if (code < 0)
        code = cmd_parse_adapter(r.adapter_text, &r.adapter, &r.o.adapter_scale);
    if (code < 0)
        code = cmd_tools_read(&r.c.tools);
    if (code < 0) {
        muga_status st = run_open(&r, &err);
        if (!st)
            st = begin_chat(&r.c, r.session, system, &err);
        code = st ? cmd_fail(&err) : run_go(&r);
    }
    cmd_tools_release(&r.c.tools);
    json_decref(r.c.messages);
    json_decref(r.c.schema);
    llm_free(r.c.model);
    cmd_remote_release(&r.remote);
    cmd_stored_release(&r.c.stored);
    free(r.adapter);
    return code;
}
