/* muga data synth: training messages for an agent, written by a larger model or drawn from a grammar.
 *
 * The file grows line by line and is synced after each request, so a run that is stopped, killed or out of budget loses
 * no more than one answer; --resume reads it back, cuts off a line that was not finished, and goes on. */
#include "agent/phrases.h"
#include "agent/synth_ask.h"
#include "cmd/agent.h"
#include "cmd/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define MAX_FILE ((size_t)1 << 30)
#define FRUITLESS_REQUESTS 12 /* in a row, and the model has nothing new */
#define FRUITLESS_DRAWS 5000  /* and the grammar */
#define SYNC_EVERY 256        /* draws */

typedef struct job {
    agent_opened agent;
    agent_choice choice;
    cmd_remote remote;
    synth *synth;
    json_t *by;
    const char *out_path, *grammar_path, *target;
    char *grammar_file; /* owned */
    uint32_t count, batch;
    uint64_t seed, max_requests, max_tokens, max_seconds;
    float near, temp;
    bool offline, resume, check, json;
    cmd_values labels, voices;
    size_t only[64]; /* [labels.n] */
    int fd;
    int64_t next; /* request, or draw */
    uint64_t n_requests, n_prompt, n_generated, n_doubted, n_failed, begun_us;
    cmd_progress progress;
    bool budget_out;
    char why[160]; /* of the budget */
} job;

static uint64_t now_us(void) {
    const os_clock *c = &os_system()->clock;
    return c->monotonic_us(c->self);
}

/* ---- the file ---- */

static muga_status file_error(const job *j, const char *what, muga_error *err) {
    return error_set(err, MUGA_E_ENV, "%.150s: %s: %s", j->out_path, what, strerror(errno));
}

static muga_status write_line(void *ctx, const json_t *line, muga_error *err) {
    const job *j = ctx;
    str text = STR_INIT;
    json_write(line, &text);
    str_append_c(&text, '\n');
    muga_status st = str_status(&text, err, "a line");
    for (size_t at = 0; !st && at < text.len;) {
        ssize_t n = write(j->fd, text.data + at, text.len - at);
        if (n < 0 && errno != EINTR)
            st = file_error(j, "can't write", err);
        at += n > 0 ? (size_t)n : 0;
    }
    str_release(&text);
    return st;
}

static muga_status sync_file(const job *j, muga_error *err) {
    return fsync(j->fd) ? file_error(j, "can't sync", err) : MUGA_OK;
}

static muga_status recall_line(job *j, const char *p, size_t n, size_t number, muga_error *err) {
    json_t *line = NULL;
    int64_t request = 0;
    muga_status st = json_parse(p, n, "a line", &line, err);
    if (!st)
        st = synth_recall(j->synth, line, &request, err);
    json_decref(line);
    j->next = MAX(j->next, request + 1);
    return st ? error_prefix(err, st, "%.120s:%zu", j->out_path, number) : MUGA_OK;
}

/* All whole lines; what follows the last line end was being written when the run before ended. */
static muga_status recall(job *j, muga_error *err) {
    str text = STR_INIT;
    muga_status st = cmd_read_input(j->out_path, MAX_FILE, &text, err);
    const char *p = str_get(&text), *end = p + text.len, *stop;
    for (size_t number = 1; !st && p < end && (stop = memchr(p, '\n', (size_t)(end - p))); number++) {
        st = recall_line(j, p, (size_t)(stop - p), number, err);
        p = stop + 1;
    }
    if (!st && p < end && ftruncate(j->fd, (off_t)(p - str_get(&text))))
        st = file_error(j, "can't cut off the line that was not finished", err);
    str_release(&text);
    return st;
}

static muga_status open_file(job *j, muga_error *err) {
    if (!strcmp(j->out_path, "-"))
        return error_set(err, MUGA_E_USAGE, "'-' would be a file of that name; -o takes the name of a file");
    j->fd = open(j->out_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | (j->resume ? 0 : O_EXCL), 0600);
    if (j->fd < 0 && errno == EEXIST)
        return error_set(err, MUGA_E_USAGE, "%.150s is there already; --resume goes on with it", j->out_path);
    if (j->fd < 0)
        return file_error(j, "can't open", err);
    return j->resume ? recall(j, err) : MUGA_OK;
}

/* ---- budgets ---- */

static bool is_over(job *j) {
    uint64_t seconds = (now_us() - j->begun_us) / 1000000;
    if (j->max_requests && j->n_requests >= j->max_requests)
        snprintf(j->why, sizeof j->why, "%llu requests are made", (unsigned long long)j->max_requests);
    else if (j->max_tokens && j->n_prompt + j->n_generated >= j->max_tokens)
        snprintf(j->why, sizeof j->why, "%llu tokens are used", (unsigned long long)j->max_tokens);
    else if (j->max_seconds && seconds >= j->max_seconds)
        snprintf(j->why, sizeof j->why, "%llu seconds are over", (unsigned long long)j->max_seconds);
    else
        return false;
    return j->budget_out = true;
}

static bool is_done(job *j) {
    return synth_n_lines(j->synth) >= j->count || cmd_interrupted() || is_over(j);
}

static void show(job *j) {
    if (cmd_is_terminal(STDERR_FILENO))
        cmd_progress_show(&j->progress, MIN((double)synth_n_lines(j->synth) / j->count, 1.0));
}

/* ---- a model ---- */

static bool on_wait(void *ctx) {
    const job *j = ctx;
    return !cmd_interrupted() && (!j->max_seconds || (now_us() - j->begun_us) / 1000000 < j->max_seconds);
}

static muga_status open_model(job *j, muga_error *err) {
    json_t *id = NULL;
    const char *name = j->choice.name ? j->choice.name : j->agent.m->model;
    muga_status st = j->remote.url ? cmd_remote_open(&j->remote, j->choice.name, &j->agent.model, err)
                                   : agent_open_model(&j->agent, &j->choice, err);
    if (!st)
        st = llm_identify(j->agent.model, &id, err);
    if (!st) {
        j->by = json_pack("{s:s, s:s*, s:s*}", "model", name, "sha256", json_get_string(id, "sha256"), "url",
                          json_get_string(id, "url"));
        st = j->by ? MUGA_OK : error_nomem(err, "the model's name");
    }
    json_decref(id);
    return st;
}

static muga_status ask_model(job *j, muga_error *err) {
    int fruitless = 0;
    synth_ask_options o = {.voices = j->voices.v,
                           .n_voices = j->voices.n,
                           .only = j->only,
                           .n_only = j->labels.n,
                           .per_request = j->batch,
                           .temperature = j->temp,
                           .seed = j->seed,
                           .check = j->check,
                           .on_wait = on_wait,
                           .ctx = j};
    while (!is_done(j)) {
        synth_ask_result got;
        j->n_requests++;
        muga_status st =
            synth_ask(j->synth, j->agent.m, j->agent.intent, j->agent.model, j->next++, &o, write_line, j, &got, err);
        j->n_prompt += got.n_prompt;
        j->n_generated += got.n_generated;
        j->n_doubted += got.n_doubted;
        j->n_failed += st == MUGA_E_LIMIT;
        fruitless = got.n_new ? 0 : fruitless + 1;
        if (fruitless == FRUITLESS_REQUESTS && st != MUGA_E_LIMIT)
            return error_set(err, MUGA_E_LIMIT,
                             "%d requests in a row gave nothing new; other --voice, a higher --temp or "
                             "a larger model may",
                             fruitless);
        if (st && (st != MUGA_E_LIMIT || fruitless == FRUITLESS_REQUESTS))
            return st;
        if ((st = sync_file(j, err)))
            return st;
        show(j);
    }
    return MUGA_OK;
}

/* ---- a grammar ---- */

typedef struct meaning {
    size_t labels[SYNTH_MAX_LABELS], n;
    bool missing;
} meaning;

static bool find_label(const job *j, const char *name, size_t *out) {
    for (size_t i = 0; name && i < intent_n_labels(j->agent.intent); i++)
        if (!strcmp(intent_get_label(j->agent.intent, i)->name, name)) {
            *out = i;
            return true;
        }
    return false;
}

static muga_status read_meaning(const job *j, const phrases *g, size_t i, meaning *out, muga_error *err) {
    const json_t *m = phrases_message(g, i), *names = json_object_get(m, "labels");
    *out = (meaning){.n = json_array_size(names), .missing = json_get_bool(m, "missing", false)};
    for (size_t k = 0; k < out->n; k++) {
        if (!find_label(j, json_string_value(json_array_get(names, k)), &out->labels[k]))
            return phrases_fail(g, i, "labels", "the agent has no such label; see intent.labels of its manifest", err);
        for (size_t p = 0; p < synth_n_parameters(j->synth, out->labels[k]) && !out->missing; p++)
            if (!synth_get_parameter(j->synth, out->labels[k], p).slot)
                return phrases_fail(g, i, "labels",
                                    "its tool needs a value that can't be made up from its schema; leave it out "
                                    "(missing: true), or let a model write",
                                    err);
    }
    return MUGA_OK;
}

static muga_status draw_one(job *j, const phrases *g, const meaning *meanings, bool *is_new, muga_error *err) {
    uint64_t key[2] = {j->seed, (uint64_t)j->next};
    rng r = {hash64(key, sizeof key, 0)};
    size_t i = phrases_choose(g, &r);
    str text = STR_INIT;
    json_t *line = NULL;
    synth_verdict verdict;
    synth_message m = {.n_labels = meanings[i].n,
                       .voice = json_get_string(phrases_message(g, i), "voice"),
                       .missing = meanings[i].missing,
                       .request = j->next++};
    memcpy(m.labels, meanings[i].labels, sizeof m.labels);
    muga_status st = phrases_draw(g, i, &r, &text, err);
    m.text = str_get(&text);
    m.n = text.len;
    if (!st)
        st = synth_add(j->synth, &m, &line, &verdict, err);
    if (!st && line)
        st = write_line(j, line, err);
    *is_new = line != NULL;
    json_decref(line);
    str_release(&text);
    return st;
}

static muga_status draw_all(job *j, const phrases *g, const meaning *meanings, muga_error *err) {
    muga_status st = MUGA_OK;
    for (int fruitless = 0; !st && !is_done(j);) {
        bool is_new = false;
        st = draw_one(j, g, meanings, &is_new, err);
        j->n_requests++;
        fruitless = is_new ? 0 : fruitless + 1;
        if (!st && fruitless == FRUITLESS_DRAWS)
            return error_set(err, MUGA_E_LIMIT,
                             "%d draws in a row gave nothing new; the grammar needs more ways to say "
                             "things",
                             fruitless);
        if (!st && j->n_requests % SYNC_EVERY == 0) {
            st = sync_file(j, err);
            show(j);
        }
    }
    return st ? st : sync_file(j, err);
}

static muga_status find_grammar(job *j, muga_error *err) {
    str path = STR_INIT;
    str_printf(&path, "%s/train/grammar.yaml", j->agent.dir);
    j->grammar_file = j->grammar_path ? mem_copy_string(j->grammar_path) : str_take(&path);
    str_release(&path);
    return j->grammar_file ? MUGA_OK : error_nomem(err, "a path");
}

static muga_status read_grammar(job *j, phrases **g, muga_error *err) {
    str text = STR_INIT;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    muga_status st = find_grammar(j, err);
    if (!st)
        st = cmd_read_input(j->grammar_file, PHRASES_MAX_BYTES, &text, err);
    const char *name = j->grammar_file ? strrchr(j->grammar_file, '/') : NULL;
    name = name ? name + 1 : j->grammar_file;
    if (!st)
        st = phrases_read(str_get(&text), text.len, name, g, err);
    if (!st) {
        sha256_of(str_get(&text), text.len, digest);
        hex_write(digest, sizeof digest, hex);
        j->by = json_pack("{s:s, s:s}", "grammar", name, "sha256", hex);
        st = j->by ? MUGA_OK : error_nomem(err, "the grammar's name");
    }
    str_release(&text);
    return st;
}

/* ---- the run ---- */

static muga_status start(job *j, muga_error *err) {
    synth_options o = {.near = (double)j->near, .seed = j->seed, .by = j->by};
    o.target = !strcmp(j->target, "calls") ? SYNTH_CALLS : !strcmp(j->target, "label") ? SYNTH_LABEL : SYNTH_TEXT;
    muga_status st = synth_new(&j->agent.env, j->agent.m, j->agent.intent, &o, &j->synth, err);
    if (!st)
        st = open_file(j, err);
    j->begun_us = now_us();
    return st;
}

static muga_status run_offline(job *j, muga_error *err) {
    phrases *g = NULL;
    meaning *meanings = NULL;
    muga_status st = read_grammar(j, &g, err);
    if (!st)
        st = start(j, err);
    if (!st && !(meanings = mem_alloc_array(phrases_n_messages(g), sizeof *meanings)))
        st = error_nomem(err, "the grammar");
    for (size_t i = 0; !st && i < phrases_n_messages(g); i++)
        st = read_meaning(j, g, i, &meanings[i], err);
    if (!st)
        st = draw_all(j, g, meanings, err);
    free(meanings);
    phrases_free(g);
    return st;
}

static muga_status run_model(job *j, muga_error *err) {
    for (size_t i = 0; i < j->labels.n; i++)
        if (!find_label(j, j->labels.v[i], &j->only[i]))
            return error_set(err, MUGA_E_USAGE, "the agent has no label \"%.60s\"; see intent.labels of its manifest",
                             j->labels.v[i]);
    muga_status st = open_model(j, err);
    if (!st)
        st = start(j, err);
    return st ? st : ask_model(j, err);
}

static void print_text(const job *j, const json_t *overlap, size_t n_before) {
    const synth *s = j->synth;
    printf("%s: %zu lines, %zu of them new\n", j->out_path, synth_n_lines(s), synth_n_lines(s) - n_before);
    printf("left out: %zu said already, %zu nearly so, %zu like a task of the evaluation, %zu unfit",
           synth_n_verdicts(s, SYNTH_SAME), synth_n_verdicts(s, SYNTH_NEAR), synth_n_verdicts(s, SYNTH_OF_TASK),
           synth_n_verdicts(s, SYNTH_UNFIT));
    printf(j->check ? ", %llu of another label\n" : "\n", (unsigned long long)j->n_doubted);
    if (synth_n_tasks(s))
        printf("beside %zu messages of the evaluation: %lld the same, %lld near, %.1f %% of their runs of four words, "
               "likeness of the nearest %.2f in the mean\n",
               synth_n_tasks(s), (long long)json_get_int(overlap, "same", 0),
               (long long)json_get_int(overlap, "near", 0), 100 * json_get_number(overlap, "gram_share", 0),
               json_get_number(overlap, "nearest_mean", 0));
    if (!j->offline)
        printf("%llu requests (%llu without a valid answer), %llu tokens read, %llu written\n",
               (unsigned long long)j->n_requests, (unsigned long long)j->n_failed, (unsigned long long)j->n_prompt,
               (unsigned long long)j->n_generated);
}

static void print_json(const job *j, json_t *overlap, size_t n_before) {
    json_t *left_out = json_object(), *of = json_object();
    for (int v = SYNTH_SAME; v < SYNTH_N_VERDICTS; v++)
        (void)json_object_set_new(left_out, synth_verdict_name((synth_verdict)v),
                                  json_integer((json_int_t)synth_n_verdicts(j->synth, (synth_verdict)v)));
    for (size_t i = 0; i < intent_n_labels(j->agent.intent); i++)
        (void)json_object_set_new(of, intent_get_label(j->agent.intent, i)->name,
                                  json_integer((json_int_t)synth_n_of(j->synth, i)));
    json_t *v = json_pack("{s:s, s:I, s:I, s:o, s:o, s:O, s:O, s:I, s:I, s:I, s:I, s:I}", "file", j->out_path, "lines",
                          (json_int_t)synth_n_lines(j->synth), "new", (json_int_t)(synth_n_lines(j->synth) - n_before),
                          "labels", of, "left_out", left_out, "overlap", overlap, "by", j->by, "requests",
                          (json_int_t)j->n_requests, "invalid", (json_int_t)j->n_failed, "doubted",
                          (json_int_t)j->n_doubted, "prompt_tokens", (json_int_t)j->n_prompt, "generated_tokens",
                          (json_int_t)j->n_generated);
    if (v)
        cmd_print_json(v);
    json_decref(v);
}

static int finish(job *j, muga_status st, muga_error *err) {
    json_t *overlap = NULL;
    if (j->synth && j->fd >= 0) {
        size_t n_before = synth_n_lines(j->synth) - synth_n_verdicts(j->synth, SYNTH_NEW);
        muga_error other;
        if (synth_overlap(j->synth, &overlap, &other))
            return cmd_fail(st ? err : &other);
        if (j->json)
            print_json(j, overlap, n_before);
        else
            print_text(j, overlap, n_before);
        json_decref(overlap);
    }
    int code = st ? cmd_fail(err) : cmd_interrupted() ? 130 : 0;
    if (!st && j->budget_out)
        code = cmd_error(MUGA_E_LIMIT, "%s, and %zu of %u lines are there; --resume goes on", j->why,
                         synth_n_lines(j->synth), j->count);
    return cmd_finish_output(code);
}

static int check_options(const job *j) {
    if (!j->out_path)
        return cmd_error(MUGA_E_USAGE, "-o FILE is missing: where the lines go");
    if (strcmp(j->target, "calls") && strcmp(j->target, "label") && strcmp(j->target, "text"))
        return cmd_error(MUGA_E_USAGE, "--target is calls, label or text, not \"%.40s\"", j->target);
    if (j->count == 0 || j->count > 1000000 || j->batch == 0 || j->batch > 20)
        return cmd_error(MUGA_E_USAGE, "--count is from 1 to 1000000, --batch from 1 to 20");
    if (!(j->temp >= 0 && j->temp <= 2) || !(j->near > 0))
        return cmd_error(MUGA_E_USAGE, "--temp is from 0 to 2, --near above 0");
    if (j->offline && (j->remote.url || j->choice.name || j->check || j->voices.n || j->labels.n))
        return cmd_error(MUGA_E_USAGE, "--offline asks no model: --remote, --model, --check, --voice, --label don't go "
                                       "with it");
    if (!j->offline && j->grammar_path)
        return cmd_error(MUGA_E_USAGE, "--grammar needs --offline");
    if (j->remote.url && !j->choice.name)
        return cmd_error(MUGA_E_USAGE, "--remote needs --model: what the server calls it");
    return -1;
}

static void release(job *j) {
    if (j->fd >= 0)
        close(j->fd);
    synth_free(j->synth);
    json_decref(j->by);
    free(j->grammar_file);
    agent_close(&j->agent);
    cmd_remote_release(&j->remote);
    agent_choice_release(&j->choice);
}

int cmd_data_synth(int argc, char **argv) {
    job j = {.remote = CMD_REMOTE_DEFAULT, .target = "calls", .count = 1000, .batch = 5, .seed = 1, .fd = -1};
    j.temp = 0.9f;
    j.near = 0;
    j.progress.what = "writing";
    const cmd_option options[] = {
        {"--out", 'o', CMD_STRING, &j.out_path, "FILE", "JSON lines; grows as they are written"},
        {"--count", 'n', CMD_U32, &j.count, "N", "lines the file is to have (default 1000)"},
        {"--target", 0, CMD_STRING, &j.target, "FORM", "calls (default): chats; label: the agent's own prompt; text"},
        {"--offline", 0, CMD_FLAG, &j.offline, NULL, "no model: draw from the agent's train/grammar.yaml"},
        {"--grammar", 0, CMD_STRING, &j.grammar_path, "FILE", "another grammar"},
        REMOTE_OPTIONS(&j.remote),
        AGENT_MODEL_OPTIONS(&j.choice),
        {"--label", 0, CMD_REPEAT, &j.labels, "LABEL", "write for this one (again for more; default: all)"},
        {"--voice", 0, CMD_REPEAT, &j.voices, "TEXT", "how people write (again for more; default: fourteen voices)"},
        {"--batch", 0, CMD_U32, &j.batch, "N", "messages a request (default 5)"},
        {"--temp", 0, CMD_F32, &j.temp, "T", "temperature (default 0.9)"},
        {"--check", 0, CMD_FLAG, &j.check, NULL,
         "have the model sort what it wrote; what it takes for another is left out"},
        {"--near", 0, CMD_F32, &j.near, "L", "likeness from which a text is left out (0.85; --offline: only the same)"},
        {"--seed", 0, CMD_U64, &j.seed, "N", "(default 1)"},
        {"--resume", 0, CMD_FLAG, &j.resume, NULL, "go on with FILE"},
        {"--max-requests", 0, CMD_U64, &j.max_requests, "N", "stop then"},
        {"--max-tokens", 0, CMD_U64, &j.max_tokens, "N", "read and written together: stop then"},
        {"--max-seconds", 0, CMD_U64, &j.max_seconds, "N", "stop then"},
        {"--json", 0, CMD_FLAG, &j.json, NULL, "one JSON object"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    int code = cmd_parse("data synth", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    j.near = j.near != 0 ? j.near : j.offline ? 2.0f : 0.85f;
    if ((code = check_options(&j)) >= 0 || (code = cmd_remote_check(&j.remote)) >= 0 ||
        (code = agent_parse_choice(&j.choice)) >= 0)
        return code;
    muga_status st = agent_open_intent(&j.agent, p.v[0], &err);
    cmd_catch_interrupt();
    if (!st)
        st = j.offline ? run_offline(&j, &err) : run_model(&j, &err);
    cmd_progress_finish(&j.progress);
    code = finish(&j, st, &err);
    release(&j);
    return code;
}
