/* muga agent versions, promote, rollback: what an agent has learned, and whether it is used. */
#include "cmd/agent.h"

#include <unistd.h>

typedef struct store_place {
    store *s;
    char *home;
    versions v;
} store_place;

static muga_status open_place(const agent_opened *o, store_place *p, muga_error *err) {
    muga_status st = cmd_open_store(false, &p->s, err);
    if (!st)
        st = cmd_home(&p->home, err);
    p->v = (versions){&o->env, p->s, p->home, o->m->name};
    return st;
}

static void close_place(store_place *p) {
    store_close(p->s);
    free(p->home);
}

/* "7" -> 7; -1: not a version's number. */
static int64_t read_version(const char *text) {
    size_t n = strlen(text);
    return n > 0 && n < 10 && text[strspn(text, "0123456789")] == '\0' ? strtoll(text, NULL, 10) : -1;
}

/* ---- versions ---- */

static const char *state_of(const json_t *v) {
    const char *state = json_get_string(v, "state");
    return state ? state : "the manifest's own";
}

static muga_status print_versions(const json_t *list, muga_error *err) {
    static const char *const heads[] = {"VERSION", "STATE", "IN USE", "SHA-256", "FROM"};
    enum { N = 5 };
    size_t n = json_array_size(list);
    const char **cells = mem_alloc_array((n + 1) * N, sizeof *cells);
    char(*numbers)[24] = mem_alloc_array(n + 1, sizeof *numbers);
    muga_status st = cells && numbers ? MUGA_OK : error_nomem(err, "a table");
    for (size_t i = 0; !st && i < N; i++)
        cells[i] = heads[i];
    for (size_t i = 0; !st && i < n; i++) {
        const json_t *v = json_array_get(list, i);
        const char *sha256_text = json_get_string(v, "sha256"), *origin = json_get_string(v, "origin");
        snprintf(numbers[i], sizeof numbers[i], "%lld", (long long)json_get_int(v, "version", 0));
        const char *row[N] = {numbers[i], state_of(v), json_get_bool(v, "in_use", false) ? "yes" : "",
                              sha256_text ? sha256_text : "", origin ? origin : ""};
        memcpy(cells + (i + 1) * N, row, sizeof row);
    }
    if (!st)
        cmd_print_table(cells, n + 1, N);
    free(cells);
    free(numbers);
    return st;
}

int cmd_agent_versions(int argc, char **argv) {
    bool as_json = false;
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &as_json, NULL, "an array of versions"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    agent_opened o = {.dir = NULL};
    store_place place = {.s = NULL};
    json_t *list = NULL;
    int code = cmd_parse("agent versions", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = agent_open(&o, p.v[0], &err);
    if (!st)
        st = open_place(&o, &place, &err);
    if (!st)
        st = versions_list(&place.v, &list, &err);
    if (!st && as_json)
        cmd_print_json(list);
    else if (!st)
        st = print_versions(list, &err);
    json_decref(list);
    close_place(&place);
    agent_close(&o);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}

/* ---- rollback ---- */

int cmd_agent_rollback(int argc, char **argv) {
    cmd_positional p = {.min = 1, .max = 2};
    muga_error err = {0};
    agent_opened o = {.dir = NULL};
    store_place place = {.s = NULL};
    int64_t now = 0;
    int code = cmd_parse("agent rollback", NULL, 0, argc, argv, &p);
    if (code >= 0)
        return code;
    int64_t to = p.n > 1 ? read_version(p.v[1]) : -1;
    if (p.n > 1 && to < 0)
        return cmd_error(MUGA_E_USAGE, "'%.40s' is no version; `muga agent versions` shows their numbers", p.v[1]);
    muga_status st = agent_open(&o, p.v[0], &err);
    if (!st)
        st = open_place(&o, &place, &err);
    if (!st)
        st = versions_rollback(&place.v, to, &now, &err);
    if (!st)
        printf("%s uses version %lld%s from its next session on\n", o.m->name, (long long)now,
               now == 0 ? " (the manifest's own)" : "");
    close_place(&place);
    agent_close(&o);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}

/* ---- promote ---- */

#define MAX_SETS 128

typedef struct promotion {
    agent_opened o; /* its model is the one in use */
    agent_choice choice;
    store_place place;
    adapter_version candidate;
    llm *candidate_model;
    gate_set sets[MAX_SETS];
    char *dirs[MAX_SETS], *names[MAX_SETS]; /* of the agent that plays set i; owned */
    json_t *tasks[MAX_SETS];
    size_t n_sets;
    char *base_path;   /* of the model's file, for agents over the same */
    char progress[80]; /* what is being played */
    cmd_progress shown;
    bool as_json;
    const learning_gate *gate;
} promotion;

static muga_status add_set(promotion *g, gate_kind kind, const char *name, const char *dir, const char *from,
                           muga_error *err) {
    size_t i = g->n_sets;
    if (i == MAX_SETS)
        return error_set(err, MUGA_E_LIMIT, "more than %d sets of tasks", MAX_SETS);
    g->n_sets++;
    g->dirs[i] = mem_copy_string(dir);
    g->names[i] = mem_copy_string(name);
    g->tasks[i] = json_array();
    g->sets[i] = (gate_set){kind, g->names[i], g->tasks[i]};
    return g->dirs[i] && g->names[i] && g->tasks[i] ? agent_read_tasks(dir, from, g->tasks[i], err)
                                                    : error_nomem(err, "the tasks");
}

/* A file or folder of tasks in the agent's own folder. */
static muga_status add_own(promotion *g, gate_kind kind, const char *name, muga_error *err) {
    str path = STR_INIT;
    str_printf(&path, "%s/%s", g->o.dir, name);
    muga_status st = str_status(&path, err, "a path");
    if (!st)
        st = add_set(g, kind, name, g->o.dir, str_get(&path), err);
    str_release(&path);
    return st;
}

static muga_status add_all(promotion *g, gate_kind kind, const json_t *paths, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; !st && i < json_array_size(paths); i++)
        st = add_own(g, kind, json_string_value(json_array_get(paths, i)), err);
    return st;
}

static muga_status add_named(promotion *g, const json_t *names, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; !st && i < json_array_size(names); i++) {
        char *dir = NULL;
        const char *name = json_string_value(json_array_get(names, i));
        st = cmd_agent_dir(name, &dir, err);
        if (!st)
            st = add_set(g, GATE_OTHER, name, dir, NULL, err);
        free(dir);
    }
    return st;
}

/* Has this agent the same model, and tasks? What can't be read is said and passed over: nobody named it. */
static bool is_beside(const promotion *g, const char *name, const char *dir) {
    str path = STR_INIT, text = STR_INIT;
    json_t *v = NULL;
    char *base = NULL, line[300];
    os_stat eval = {.type = OS_TYPE_NONE};
    muga_error err = {0};
    const os_files *f = &os_system()->files;
    str_printf(&path, "%s/agent.yaml", dir);
    muga_status st = os_read_file(f, str_get(&path), (size_t)1 << 20, &text, &err);
    if (!st)
        st = yaml_parse(str_get(&text), text.len, "agent.yaml", &v, NULL, &err);
    if (st) {
        snprintf(line, sizeof line, "agent %.60s is left out: %.200s", name, err.message);
        cmd_say(line);
    }
    const char *model = json_get_string(v, "model");
    bool same = !st && model && !cmd_resolve(model, &base, NULL) && !strcmp(base, g->base_path);
    str_truncate(&path, 0);
    str_printf(&path, "%s/eval", dir);
    same = same && !f->stat(f->self, str_get(&path), &eval, NULL) && eval.type == OS_TYPE_DIR;
    json_decref(v);
    free(base);
    str_release(&text);
    str_release(&path);
    return same;
}

typedef struct installed {
    promotion *g;
    muga_error *err;
} installed;

static muga_status visit_installed(void *ctx, const char *name, const char *dir) {
    installed *v = ctx;
    char real[2][4096];
    bool itself = realpath(dir, real[0]) && realpath(v->g->o.dir, real[1]) && !strcmp(real[0], real[1]);
    return !itself && is_beside(v->g, name, dir) ? add_set(v->g, GATE_OTHER, name, dir, NULL, v->err) : MUGA_OK;
}

static muga_status collect_sets(promotion *g, muga_error *err) {
    installed v = {g, err};
    muga_status st = add_own(g, GATE_HELD_OUT, g->gate->held_out, err);
    if (!st)
        st = add_all(g, GATE_REGRESSION, g->gate->regression, err);
    if (!st)
        st = add_all(g, GATE_SAFETY, g->gate->safety, err);
    if (!st && g->gate->others)
        st = add_named(g, g->gate->others, err);
    else if (!st)
        st = cmd_agent_visit(visit_installed, &v, err);
    return st;
}

static bool on_task(void *ctx, size_t n_done, size_t n, const json_t *result) {
    promotion *g = ctx;
    (void)result;
    cmd_progress_show(&g->shown, (double)n_done / (double)n);
    return !cmd_interrupted();
}

static muga_status play(void *ctx, size_t i, bool candidate, eval_report *out, muga_error *err) {
    promotion *g = ctx;
    snprintf(g->progress, sizeof g->progress, "%.40s, %s", g->names[i], candidate ? "candidate" : "in use");
    g->shown = (cmd_progress){.what = g->progress};
    muga_status st = agent_evaluate(&g->o.env, g->dirs[i], candidate ? g->candidate_model : g->o.model, NULL,
                                    EVAL_AGENT, g->tasks[i], on_task, g, out, err);
    cmd_progress_finish(&g->shown);
    return st && !cmd_interrupted() ? error_prefix(err, st, "%.60s", g->names[i]) : st;
}

/* The candidate's number, file or nothing (the newest) as a version that may be used. */
static muga_status find_candidate(promotion *g, const char *which, muga_error *err) {
    char base[SHA256_HEX];
    int64_t version = which ? read_version(which) : VERSIONS_CANDIDATE;
    muga_status st = agent_base_digest(g->o.m->model, base, err);
    if (!st && version == -1)
        st = versions_add(&g->place.v, which, base, NULL, &version, err);
    if (!st)
        st = versions_find(&g->place.v, version, &g->candidate, err);
    if (!st && g->candidate.version == 0)
        return error_set(err, MUGA_E_USAGE,
                         "version 0 is what the manifest says; `muga agent rollback %.64s 0` uses it", g->o.m->name);
    return st ? st : versions_check(&g->place.v, &g->candidate, base, err);
}

/* The candidate's model is the one in use but for its adapter. */
static muga_status open_models(promotion *g, muga_error *err) {
    agent_opened other = {.m = g->o.m};
    agent_choice choice = g->choice;
    muga_status st = agent_open_model(&g->o, &g->choice, err);
    if (!st && g->o.version.version == g->candidate.version)
        st = error_set(err, MUGA_E_USAGE, "version %lld is in use already", (long long)g->candidate.version);
    choice.adapter_path = g->candidate.path;
    choice.adapter_scale = 1;
    if (!st) {
        st = agent_open_model(&other, &choice, err);
        st = st ? error_prefix(err, st, "version %lld", (long long)g->candidate.version) : st;
    }
    g->candidate_model = other.model;
    return st;
}

/* ---- what it says ---- */

static void print_row(const gate_row *r) {
    const gate_counts *c = &r->counts;
    char p[24] = "-";
    if (r->kind != GATE_SAFETY)
        snprintf(p, sizeof p, "%.3g", r->p);
    printf("%-12s %-28.28s %5zu %5zu %5zu %4zu %5zu %8s %6zu  %s\n", gate_kind_name(r->kind), r->name, c->tasks,
           c->before, c->after, c->won, c->lost, p, c->wrong + c->unapproved, r->ok ? "ok" : r->why);
}

static int print_verdict(const promotion *g, const gate_verdict *v, json_t *record) {
    long long number = (long long)g->candidate.version, from = (long long)g->o.version.version;
    if (g->as_json) {
        json_t *all = json_pack("{s:s, s:I, s:I, s:s, s:s, s:O}", "agent", g->o.m->name, "version", (json_int_t)number,
                                "from", (json_int_t)from, "sha256", g->candidate.sha256, "decision",
                                v->ok ? "promote" : "refuse", "gate", record);
        cmd_print_json(all);
        json_decref(all);
        return v->ok ? 0 : 1;
    }
    printf("%-12s %-28s %5s %5s %5s %4s %5s %8s %6s\n", "SET", "TASKS OF", "TASKS", "IN USE", "NEW", "WON", "LOST", "P",
           "WRONG");
    for (size_t i = 0; i < v->n; i++)
        print_row(&v->rows[i]);
    if (v->n_tried)
        printf("%zu other candidate%s had these held-out tasks before: a rise needs p <= %.3g\n", v->n_tried,
               v->n_tried == 1 ? "" : "s", v->rows[0].level);
    if (v->ok)
        printf("promoted: %s uses version %lld from its next session on (before: %lld)\n", g->o.m->name, number, from);
    else
        printf("refused: %s\n%s goes on with version %lld\n", v->why, g->o.m->name, from);
    return v->ok ? 0 : 1;
}

static muga_status judge(promotion *g, int *code, muga_error *err) {
    gate_verdict v = {0};
    size_t n_tried = 0;
    char held_out[SHA256_HEX];
    muga_status st = gate_digest(g->tasks[0], held_out, err);
    if (!st)
        st = versions_count_tried(&g->place.v, held_out, g->candidate.sha256, &n_tried, err);
    if (!st)
        st = gate_run(g->sets, g->n_sets, &g->gate->levels, n_tried, play, g, &v, err);
    json_t *record = st ? NULL : gate_record(&v, &g->gate->levels);
    if (!st && !record)
        st = error_nomem(err, "the verdict");
    if (!st)
        st = versions_decide(&g->place.v, g->candidate.version, g->o.version.version, record, err);
    if (!st)
        *code = print_verdict(g, &v, record);
    json_decref(record);
    gate_verdict_release(&v);
    return st;
}

static void release(promotion *g) {
    for (size_t i = 0; i < g->n_sets; i++) {
        free(g->dirs[i]);
        free(g->names[i]);
        json_decref(g->tasks[i]);
    }
    llm_free(g->candidate_model);
    adapter_version_release(&g->candidate);
    free(g->base_path);
    close_place(&g->place);
    agent_close(&g->o);
}

int cmd_agent_promote(int argc, char **argv) {
    promotion g = {.choice = {.kv_type = KERNEL_KV_F16, .version = VERSIONS_IN_USE}};
    learning_gate gate = {.held_out = NULL};
    const cmd_option options[] = {
        {"--json", 0, CMD_FLAG, &g.as_json, NULL, "one object: version, from, decision, gate"},
        NO_CACHE_OPTION(&g.choice.no_cache),
        {"--threads", 't', CMD_U32, &g.choice.threads, "N", "threads (default: cores this process may use)"}};
    cmd_positional p = {.min = 1, .max = 2};
    muga_error err = {0};
    int decided = 0, code = cmd_parse("agent promote", options, ARRAY_LEN(options), argc, argv, &p);
    if (code < 0)
        code = agent_parse_choice(&g.choice);
    if (code >= 0)
        return code;
    g.gate = &gate;
    cmd_catch_interrupt();
    muga_status st = agent_open(&g.o, p.v[0], &err);
    if (!st)
        st = learning_read_gate(g.o.m, &gate, &err);
    if (!st)
        st = cmd_resolve(g.o.m->model, &g.base_path, &err);
    if (!st)
        st = collect_sets(&g, &err);
    if (!st)
        st = open_place(&g.o, &g.place, &err);
    if (!st)
        st = find_candidate(&g, p.n > 1 ? p.v[1] : NULL, &err);
    if (!st)
        st = open_models(&g, &err);
    if (!st)
        st = judge(&g, &decided, &err);
    code = cmd_interrupted() ? 130 : st ? cmd_fail(&err) : decided;
    release(&g);
    return cmd_finish_output(code);
}
