/* muga agent test: measure an agent on tasks, once or several times, and against another version of it. */
#include "cmd/agent_test.h"
#include "agent/expert.h"
#include "agent/gate.h"
#include "agent/report.h"
#include "cmd/agent.h"

#define MAX_RUNS 1000
#define RESULT_MAX_BYTES ((size_t)64 << 20)
#define PRICES_MAX_BYTES ((size_t)1 << 20)
#define WORSE_LEVEL 0.05 /* a fall that chance makes less often is one */

typedef struct test {
    const char *tasks_from, *prices_from, *against;
    uint32_t runs;
    bool as_json, with_past, verbose;
    agent_choice choice;
    json_t *prices;
    cmd_progress progress;
    size_t n_before, n_plays; /* for the bar: plays of the runs before; of all */
    energy energy;
} test;

/* One that was measured, now or before. */
typedef struct side {
    const char *name;
    agent_opened o; /* .m NULL: the document was read from a file */
    json_t *tasks, *document;
} side;

static void side_release(side *s) {
    json_decref(s->document);
    json_decref(s->tasks);
    agent_close(&s->o);
    *s = (side){.name = NULL};
}

static bool on_task(void *ctx, size_t n_done, size_t n, const json_t *result) {
    test *t = ctx;
    (void)n;
    energy_sample(&t->energy, &os_system()->files);
    if (t->verbose) {
        printf("%-12s %-8s %s\n", json_get_string(result, "id"), json_get_bool(result, "ok", false) ? "ok" : "not done",
               json_get_string(result, "why"));
        fflush(stdout);
    } else {
        cmd_progress_show(&t->progress, (double)(t->n_before + n_done) / (double)t->n_plays);
    }
    return !cmd_interrupted();
}

/* ---- a document of results ---- */

/* Of the evaluator's results what belongs in one: not the answers, which hold the data of customers. */
static bool add_results(json_t *list, const json_t *results, uint32_t run) {
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(results); i++) {
        json_t *v = json_clone_shallow(json_array_get(results, i));
        ok = v && json_object_del(v, "answer") == 0 && json_object_del(v, "tokens") == 0 &&
             json_object_set_new(v, "run", json_integer(run)) == 0 && json_array_append(list, v) == 0;
        json_decref(v);
    }
    return ok;
}

static muga_status make_document(const test *t, const side *s, const eval_report *sums, json_t *results, json_t **out,
                                 muga_error *err) {
    json_t *numbers = NULL, *ratings = NULL;
    char tasks[SHA256_HEX], digest[SHA256_HEX];
    store *st_ = NULL;
    muga_error none;
    hex_write(s->o.m->digest, SHA256_BYTES, digest);
    muga_status st = gate_digest(s->tasks, tasks, err);
    if (!st && !cmd_open_store(true, &st_, &none)) /* no store: nobody rated */
        st = report_satisfaction(st_, s->o.m->name, &ratings, err);
    store_close(st_);
    const report_parts parts = {results, sums->tasks, t->runs, &t->energy, t->prices, ratings};
    if (!st)
        st = report_make(&parts, &numbers, err);
    if (!st) {
        *out = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s?, s:I, s:s, s:s, s:o, s:O}", "tasks",
                         (json_int_t)sums->tasks, "completed", (json_int_t)sums->completed, "wrong_effects",
                         (json_int_t)sums->wrong_effects, "unapproved", (json_int_t)sums->unapproved, "escalated",
                         (json_int_t)sums->escalated, "runs", (json_int_t)t->runs, "agent", s->o.m->name, "model",
                         s->o.model ? s->o.model->name : NULL, "version", (json_int_t)s->o.version.version, "manifest",
                         digest, "tasks_sha256", tasks, "numbers", numbers, "results", results);
        st = *out ? MUGA_OK : error_nomem(err, "a document");
    }
    json_decref(ratings);
    return st;
}

static muga_status play(test *t, const side *s, eval_who who, json_t **out, muga_error *err) {
    json_t *results = json_array();
    eval_report sums = {0};
    muga_status st = results ? MUGA_OK : error_nomem(err, "results");
    energy_begin(&t->energy, &os_system()->files, ENERGY_PLACE);
    t->progress = (cmd_progress){.what = "evaluating"};
    t->n_plays = json_array_size(s->tasks) * t->runs;
    for (uint32_t run = 1; !st && run <= t->runs; run++) {
        eval_report r = {0};
        t->n_before = (run - 1) * json_array_size(s->tasks);
        st = agent_evaluate(&s->o.env, s->o.dir, s->o.model, who == EVAL_AGENT ? s->o.learned : NULL, who, s->tasks,
                            on_task, t, &r, err);
        if (st)
            break;
        sums.tasks = r.tasks;
        sums.completed += r.completed;
        sums.wrong_effects += r.wrong_effects;
        sums.unapproved += r.unapproved;
        sums.escalated += r.escalated;
        st = add_results(results, r.results, run) ? MUGA_OK : error_nomem(err, "results");
        eval_report_release(&r);
    }
    cmd_progress_finish(&t->progress);
    if (!st)
        st = make_document(t, s, &sums, results, out, err);
    json_decref(results);
    return st;
}

static bool is_document(const char *name) {
    size_t n = strlen(name);
    return n > 5 && !strcmp(name + n - 5, ".json");
}

static muga_status read_document(side *s, muga_error *err) {
    str text = STR_INIT;
    muga_status st = cmd_read_input(s->name, RESULT_MAX_BYTES, &text, err);
    if (!st)
        st = json_parse(str_get(&text), text.len, s->name, &s->document, err);
    if (!st && (!json_is_array(json_object_get(s->document, "results")) ||
                !json_is_object(json_object_get(s->document, "numbers"))))
        st = error_set(err, MUGA_E_INPUT, "%.150s is no result of `muga agent test --json`", s->name);
    str_release(&text);
    return st;
}

static muga_status listen_to_store(agent_opened *o, muga_error *err) {
    store *s = NULL;
    muga_status st = cmd_open_store(true, &s, err);
    if (!st)
        st = agent_listen(o, s, err);
    store_close(s);
    if (!st && !o->learned)
        st = error_set(err, MUGA_E_INPUT,
                       "%.64s doesn't learn from its turns: that takes learning.examples and consent", o->m->name);
    return st;
}

/* `tasks`: those of the other side, which both are played; NULL: its own, or --tasks. */
static muga_status measure(test *t, side *s, json_t *tasks, muga_error *err) {
    if (is_document(s->name))
        return read_document(s, err);
    agent_choice choice = t->choice;
    s->tasks = tasks ? json_incref(tasks) : json_array();
    muga_status st = s->tasks ? agent_open(&s->o, s->name, err) : error_nomem(err, "tasks");
    if (!st && !tasks)
        st = agent_read_tasks(s->o.dir, t->tasks_from, s->tasks, err);
    if (!st)
        st = agent_open_model(&s->o, &choice, err);
    if (!st && t->with_past)
        st = listen_to_store(&s->o, err);
    return st ? st : play(t, s, EVAL_AGENT, &s->document, err);
}

/* ---- what it says ---- */

/* The agent, and beside it, where it decides by labels, what needs no agent at all. */
static muga_status print_one(test *t, const side *s, muga_error *err) {
    static const struct {
        eval_who who;
        const char *name;
    } baselines[] = {{EVAL_ALWAYS_ESCALATE, "always escalate"}, {EVAL_ALWAYS_FIRST_TOOL, "always the first tool"}};
    muga_status st = MUGA_OK;
    const char *name = json_get_string(s->document, "agent");
    if (!t->verbose)
        test_print_not_done(s->document);
    test_print_row(name ? name : s->name, s->document);
    t->verbose = false;
    t->runs = 1; /* they can't differ from run to run */
    for (size_t i = 0; !st && s->o.intent && i < ARRAY_LEN(baselines); i++) {
        json_t *b = NULL;
        st = play(t, s, baselines[i].who, &b, err);
        if (!st)
            test_print_row(baselines[i].name, b);
        json_decref(b);
    }
    if (st)
        return st;
    printf("\n");
    test_print_numbers(s->document);
    const expert *e = intent_expert(s->o.intent);
    return e ? test_print_risk(s->document, expert_sure(e), err) : MUGA_OK;
}

static muga_status compare(const test *t, const side *a, const side *b, bool *worse, muga_error *err) {
    json_t *c = NULL;
    muga_status st = report_compare(a->document, a->name, b->document, b->name, &c, err);
    *worse = !st && json_get_int(c, "lost", 0) > json_get_int(c, "won", 0) && json_get_number(c, "p", 1) < WORSE_LEVEL;
    if (!st && t->as_json) {
        json_t *all = json_pack("{s:O, s:O, s:O}", "comparison", c, "a", a->document, "b", b->document);
        cmd_print_json(all);
        json_decref(all);
    } else if (!st) {
        test_print_row(a->name, a->document);
        test_print_row(b->name, b->document);
        printf("\n");
        test_print_comparison(a->name, b->name, c);
    }
    json_decref(c);
    return st;
}

/* The list that was named; else the user's own, or the one that came with the program. Without one nothing is priced.
 */
static muga_status read_prices(test *t, muga_error *err) {
    str text = STR_INIT;
    char *own = NULL;
    muga_status st = t->prices_from ? MUGA_OK : cmd_data_file("prices/cloud.yaml", &own, err);
    const char *from = t->prices_from ? t->prices_from : own;
    if (!st && from)
        st = cmd_read_input(from, PRICES_MAX_BYTES, &text, err);
    if (!st && from)
        st = report_read_prices(str_get(&text), text.len, from, &t->prices, err);
    str_release(&text);
    free(own);
    return st;
}

static int check_options(test *t, const char *name) {
    if (t->runs < 1 || t->runs > MAX_RUNS)
        return cmd_error(MUGA_E_USAGE, "--runs is 1 to %d", MAX_RUNS);
    if (is_document(name) && t->against && !is_document(t->against))
        return cmd_error(MUGA_E_USAGE, "%.100s is a result; its tasks aren't in it, so give --against another result",
                         name);
    t->verbose = t->verbose && !t->as_json;
    return agent_parse_choice(&t->choice);
}

int cmd_agent_test(int argc, char **argv) {
    test t = {.runs = 1, .choice = {.kv_type = KERNEL_KV_F16, .version = VERSIONS_IN_USE}};
    const cmd_option options[] = {
        {"--tasks", 0, CMD_STRING, &t.tasks_from, "FILE",
         "tasks as JSON lines, or a folder of such files, - for stdin (default: the agent's, eval/*.jsonl)"},
        {"--runs", 0, CMD_U32, &t.runs, "N", "play every task N times, for pass^k (default 1)"},
        {"--against", 0, CMD_STRING, &t.against, "OTHER",
         "another agent or version of it (NAME or path), or a result (.json): the same tasks, paired"},
        {"--prices", 0, CMD_STRING, &t.prices_from, "FILE",
         "price list of cloud models, to cost the tokens (default: prices/cloud.yaml in the home, else in the box)"},
        {"--json", 0, CMD_FLAG, &t.as_json, NULL,
         "one object: tasks, completed, wrong_effects, unapproved, escalated, numbers, results"},
        {"--verbose", 0, CMD_FLAG, &t.verbose, NULL, "a line for every task"},
        {"--learned", 0, CMD_FLAG, &t.with_past, NULL, "past successes have a voice, as they have at work"},
        AGENT_MODEL_OPTIONS(&t.choice)};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    bool worse = false;
    int code = cmd_parse("agent test", options, ARRAY_LEN(options), argc, argv, &p);
    if (code < 0)
        code = check_options(&t, p.v[0]);
    if (code >= 0)
        return code;
    side a = {.name = p.v[0]}, b = {.name = t.against};
    cmd_catch_interrupt();
    muga_status st = read_prices(&t, &err);
    if (!st)
        st = measure(&t, &a, NULL, &err);
    if (!st && t.against)
        st = measure(&t, &b, a.tasks, &err);
    if (!st && t.against)
        st = compare(&t, &a, &b, &worse, &err);
    else if (!st && t.as_json)
        cmd_print_json(a.document);
    else if (!st)
        st = print_one(&t, &a, &err);
    bool bad = json_get_int(a.document, "wrong_effects", 0) + json_get_int(a.document, "unapproved", 0) > 0;
    code = cmd_interrupted() ? 130 : st ? cmd_fail(&err) : bad || worse ? 1 : 0;
    side_release(&a);
    side_release(&b);
    json_decref(t.prices);
    agent_choice_release(&t.choice);
    return cmd_finish_output(code);
}
