/* muga run: one answer, or a chat with its history. */
#include "cmd/remote.h"
#include "cmd/tools.h"

#include <unistd.h>

#define RUN_MAX_INPUT ((size_t)16 << 20)

typedef struct chat {
    llm *model;
    json_t *messages;
    llm_sampling sampling;
    uint32_t max_tokens;
    const char *system;
    cmd_tools tools;
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
    if (e->kind == LLM_EVENT_REASONING) {
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

/* Nothing but the system message, where there is one. */
static muga_status chat_reset(chat *c, muga_error *err) {
    json_t *system = has_system(c) ? json_incref(json_array_get(c->messages, 0))
                     : c->system   ? json_pack("{s:s, s:s}", "role", "system", "content", c->system)
                                   : NULL;
    bool wanted = system || c->system;
    json_decref(c->messages);
    c->messages = json_array();
    if (!c->messages)
        json_decref(system);
    else if (!wanted || !json_array_append_new(c->messages, system))
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
static muga_status end_answer(const llm_reply *r, muga_error *err) {
    if (r->reasoning.len > 0)
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
                     .on_text = on_text,
                     .on_text_ctx = c,
                     .on_prompt = on_prompt,
                     .now_ms = os_system()->clock.now_ms(os_system()->clock.self)};
    cmd_tools_apply(&c->tools, &q);
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
    if (!st && (st = end_answer(&reply, &err)))
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
    return json_array_size(c->messages) > (has_system(c) ? 1u : 0u);
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
        else if ((st = end_answer(&reply, &err)))
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

/* The conversation in the file, where there is one; else a new one. */
static muga_status begin_chat(chat *c, const char *session, muga_error *err) {
    json_t *messages = NULL;
    muga_status st = session ? llm_local_restore(c->model, session, &messages, err) : MUGA_E_NOT_FOUND;
    if (st == MUGA_E_NOT_FOUND)
        return chat_reset(c, err);
    if (!st && c->system) {
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

int cmd_run(int argc, char **argv) {
    chat c = {.sampling = LLM_SAMPLING_GREEDY};
    llm_local_options o = {.isa = -1};
    cmd_progress progress = {.what = "loading"};
    uint32_t threads = 0;
    bool verbose = false, no_cache = false;
    const char *session = NULL;
    const char *kv = NULL, *draft = "ngram";
    kernel_kv_type kv_type = KERNEL_KV_F16;
    cmd_remote remote = CMD_REMOTE_DEFAULT;
    cmd_values overrides = {.n = 0};
    const char *adapter_text = NULL;
    char *adapter = NULL;
    c.sampling.temperature = 0.7f;
    c.sampling.top_p = 0.95f;
    const cmd_option options[] = {
        {"--system", 0, CMD_STRING, &c.system, "TEXT", "the system message"},
        {"--session", 0, CMD_STRING, &session, "FILE", "go on with the conversation in FILE, and keep it there"},
        {"--temp", 0, CMD_F32, &c.sampling.temperature, "T", "temperature; 0 is greedy (default 0.7)"},
        {"--top-k", 0, CMD_U32, &c.sampling.top_k, "K", "keep the K likeliest tokens; 0 is off (default)"},
        {"--top-p", 0, CMD_F32, &c.sampling.top_p, "P", "keep the likeliest tokens up to probability P (default 0.95)"},
        {"--min-p", 0, CMD_F32, &c.sampling.min_p, "P", "drop tokens below P times the likeliest (default 0)"},
        {"--repeat-penalty", 0, CMD_F32, &c.sampling.repeat_penalty, "R",
         "divide logits of recent tokens by R (default 1)"},
        {"--seed", 0, CMD_U64, &c.sampling.seed, "N", "the same seed gives the same answer (default 0)"},
        {"--ctx", 0, CMD_U32, &o.n_ctx, "N", "context in tokens (default: the model's, at most 8192)"},
        {"--max-tokens", 'n', CMD_U32, &c.max_tokens, "N",
         "longest answer in tokens (default: what the context leaves)"},
        {"--threads", 't', CMD_U32, &threads, "N", "threads (default: cores this process may use)"},
        {"--draft", 0, CMD_STRING, &draft, "SOURCE",
         "guess tokens ahead: ngram (default), off, or a smaller model of the same vocabulary; changes no answer"},
        REMOTE_OPTIONS(&remote),
        TOOL_OPTIONS(&c.tools),
        KV_OPTION(&kv),
        OVERRIDE_OPTION(&overrides),
        ADAPTER_OPTION(&adapter_text),
        ANY_BASE_OPTION(&o.any_base),
        NO_CACHE_OPTION(&no_cache),
        {"--verbose", 0, CMD_FLAG, &verbose, NULL, "where the weights came from, and speeds after each answer"}};
    cmd_positional p = {.min = 1, .max = 64};
    muga_error err = {0};
    c.visible_only = cmd_is_terminal(STDOUT_FILENO);
    int code = cmd_parse("run", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if (c.sampling.temperature < 0 || c.sampling.top_p <= 0 || c.sampling.top_p > 1 || c.sampling.min_p < 0 ||
        c.sampling.min_p > 1 || c.sampling.repeat_penalty <= 0)
        return cmd_error(
            MUGA_E_USAGE,
            "out of range: --temp is 0 or more, --top-p in (0, 1], --min-p in [0, 1], --repeat-penalty above 0");
    if (threads > 1024)
        return cmd_error(MUGA_E_USAGE, "--threads is at most 1024");
    code = cmd_parse_kv(kv, &kv_type);
    if (code < 0)
        code = cmd_remote_check(&remote);
    if (code >= 0)
        return code;
    c.is_remote = remote.url != NULL;
    if (c.is_remote && (session || adapter_text || overrides.n || kv))
        return cmd_error(MUGA_E_USAGE, "--session, --adapter, --override and --kv are for local models");
    if (session && c.tools.file)
        return cmd_error(MUGA_E_USAGE, "--session keeps texts alone, so it doesn't go with --tools");
    o.kv = (int)kv_type;
    o.drafts = !strcmp(draft, "ngram") ? LLM_DRAFTS_NGRAM : !strcmp(draft, "off") ? LLM_DRAFTS_OFF : LLM_DRAFTS_MODEL;
    o.draft_path = draft;
    o.n_threads = (int)threads;
    o.overrides = overrides.v;
    o.n_overrides = overrides.n;
    if (cmd_is_terminal(STDERR_FILENO)) {
        o.on_progress = cmd_progress_show;
        o.on_progress_ctx = &progress;
    }
    code = cmd_parse_adapter(adapter_text, &adapter, &o.adapter_scale);
    if (code >= 0)
        return code;
    code = cmd_tools_read(&c.tools);
    if (code >= 0) {
        free(adapter);
        return code;
    }
    o.adapter = adapter;
    bool interactive = p.n == 1 && cmd_is_terminal(STDIN_FILENO);
    muga_status st = c.is_remote ? cmd_remote_open(&remote, p.v[0], &c.model, &err)
                                 : cmd_open_llm(p.v[0], p.v[0], !no_cache, &o, &c.model, &err);
    cmd_progress_finish(&progress);
    if (!st)
        st = begin_chat(&c, session, &err);
    if (st) {
        code = cmd_fail(&err);
    } else {
        cmd_say_fallback(c.model->template_fallback);
        if (verbose && c.model->packed && *c.model->packed)
            fprintf(stderr, "[weights: %s]\n", c.model->packed);
        cmd_catch_interrupt();
        code = interactive ? chat_loop(&c, verbose) : answer_prompt(&c, &p, verbose);
        if (session && (code == 0 || code == 130))
            code = keep_chat(&c, session, code);
    }
    cmd_tools_release(&c.tools);
    json_decref(c.messages);
    llm_free(c.model);
    cmd_remote_release(&remote);
    free(adapter);
    return code;
}
