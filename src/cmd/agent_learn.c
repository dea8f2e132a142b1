/* muga agent learn: an adapter of what an agent's turns have shown, as a candidate. */
#include "cmd/agent.h"

#include "agent/learning.h"

#include <unistd.h>

typedef struct learning {
    agent_opened o;
    store *s;
    char *home, *data_path, *adapter_path;
    const char *from; /* the adapter in use, on which the new one is put; NULL: it begins from nothing */
    adapter_version in_use;
    json_t *tasks; /* on which the candidate will be measured */
    learning_data data;
} learning;

/* ---- what it is made of ---- */

static muga_status add_tasks(learning *g, const char *name, muga_error *err) {
    str path = STR_INIT;
    str_printf(&path, "%s/%s", g->o.dir, name);
    muga_status st = str_status(&path, err, "a path");
    if (!st)
        st = agent_read_tasks(g->o.dir, str_get(&path), g->tasks, err);
    str_release(&path);
    return st;
}

static muga_status read_gate(learning *g, muga_error *err) {
    learning_gate gate;
    if (!json_object_get(g->o.m->learning, "gate")) {
        cmd_say("the manifest has no learning.gate: the candidate can't be promoted before it names tasks");
        return MUGA_OK;
    }
    muga_status st = learning_read_gate(g->o.m, &gate, err);
    if (!st)
        st = add_tasks(g, gate.held_out, err);
    for (size_t i = 0; !st && i < json_array_size(gate.regression); i++)
        st = add_tasks(g, json_string_value(json_array_get(gate.regression, i)), err);
    for (size_t i = 0; !st && i < json_array_size(gate.safety); i++)
        st = add_tasks(g, json_string_value(json_array_get(gate.safety, i)), err);
    return st;
}

static muga_status make_places(learning *g, muga_error *err) {
    const os_files *f = &os_system()->files;
    str s = STR_INIT;
    muga_status st = cmd_home(&g->home, err);
    if (st)
        return st;
    str_printf(&s, "%s/learning", g->home);
    st = str_status(&s, err, "a path");
    if (!st)
        st = f->mkdirs(f->self, str_get(&s), err);
    str_printf(&s, "/%s.jsonl", g->o.m->name);
    g->data_path = str_take(&s);
    str_printf(&s, "%s/learning/%s.gguf", g->home, g->o.m->name);
    g->adapter_path = str_take(&s);
    return st || (g->data_path && g->adapter_path) ? st : error_nomem(err, "a path");
}

/* Beside other data a new adapter begins from nothing; else from what is in use. */
static muga_status choose_from(learning *g, muga_error *err) {
    if (json_object_get(json_object_get(g->o.m->learning, "adapter"), "beside"))
        return MUGA_OK;
    muga_status st = agent_find_version(g->o.m, VERSIONS_IN_USE, &g->in_use, err);
    if (st)
        return st;
    g->from = g->in_use.version > 0 ? g->in_use.path : g->o.m->adapter;
    if (g->from && g->in_use.version == 0 && g->o.m->adapter_scale != 1)
        return error_set(err, MUGA_E_INPUT,
                         "the manifest's adapter counts %g: a new one can't be put on it; name data with"
                         " learning.adapter.beside",
                         g->o.m->adapter_scale);
    return MUGA_OK;
}

static void say_data(const learning_data *d) {
    char text[240];
    snprintf(text, sizeof text,
             "%zu turns and %zu lines beside them; left out: %zu in the gate's tasks, %zu said before, %zu whose labels"
             " are no answer",
             d->n_turns, d->n_beside, d->n_kept_out, d->n_repeated, d->n_unsayable);
    cmd_say(text);
}

static muga_status prepare(learning *g, const char *name, muga_error *err) {
    const os_files *f = &os_system()->files;
    g->tasks = json_array();
    muga_status st = g->tasks ? agent_open_intent(&g->o, name, err) : error_nomem(err, "tasks");
    if (!st && !g->o.m->learning)
        st = error_set(err, MUGA_E_INPUT, "agent.yaml:1:1: key 'learning' is missing; see docs/learning.md");
    if (!st)
        st = read_gate(g, err);
    if (!st)
        st = cmd_open_store(false, &g->s, err);
    if (!st)
        st = make_places(g, err);
    if (!st)
        st = choose_from(g, err);
    if (!st)
        st = learning_make_data(&g->o.env, g->s, g->o.intent, g->o.m, g->tasks, &g->data, err);
    if (!st)
        say_data(&g->data);
    return st ? st : os_write_file_atomic(f, g->data_path, str_get(&g->data.lines), g->data.lines.len, err);
}

/* ---- the candidate ---- */

static muga_status keep(learning *g, muga_error *err) {
    const os_files *f = &os_system()->files;
    const versions v = {&g->o.env, g->s, g->home, g->o.m->name};
    char base[SHA256_HEX], origin[120];
    int64_t version = 0;
    snprintf(origin, sizeof origin, "%zu turns, data %.64s", g->data.n_turns, g->data.sha256);
    muga_status st = agent_base_digest(g->o.m->model, base, err);
    if (!st)
        st = versions_add(&v, g->adapter_path, base, origin, &version, err);
    if (!st)
        st = f->remove(f->self, g->adapter_path, err);
    if (!st)
        printf("candidate: version %lld of %s; `muga agent promote %s` asks the gate\n", (long long)version,
               g->o.m->name, g->o.m->name);
    return st;
}

/* The turns' words lie in the file no longer than they are needed: what is dropped later must not be left in it. */
static void forget_data(const learning *g) {
    const os_files *f = &os_system()->files;
    os_stat at = {.type = OS_TYPE_NONE};
    if (g->data_path && !f->stat(f->self, g->data_path, &at, NULL) && at.type == OS_TYPE_FILE &&
        f->remove(f->self, g->data_path, NULL))
        cmd_say("the training data could not be removed from $MUGA_HOME/learning; remove it by hand");
}

static void release(learning *g) {
    forget_data(g);
    str_release(&g->data.lines);
    json_decref(g->tasks);
    store_close(g->s);
    free(g->home);
    free(g->data_path);
    free(g->adapter_path);
    adapter_version_release(&g->in_use);
    agent_close(&g->o);
}

/* As `muga train BASE DATA -o ADAPTER` with these options. */
typedef struct train_words {
    char *v[40];
    int n;
} train_words;

static void add_word(train_words *w, const char *word) {
    union {
        const char *in;
        char *out;
    } u = {word};
    w->v[w->n++] = u.out;
}

int cmd_agent_learn(int argc, char **argv) {
    static const char *const names[] = {"--rank", "--epochs", "--batch", "--lr", "--seed", "--threads", "--held-out"};
    const char *given[ARRAY_LEN(names)] = {NULL};
    bool go_on = false, anew = false;
    const cmd_option options[] = {
        {"--rank", 0, CMD_STRING, &given[0], "N", "of an adapter that begins from nothing (default 16)"},
        {"--epochs", 0, CMD_STRING, &given[1], "N", "times that each line is seen (default 3)"},
        {"--batch", 0, CMD_STRING, &given[2], "N", "lines a step (default 16)"},
        {"--lr", 0, CMD_STRING, &given[3], "RATE", "highest learning rate (default 0.001)"},
        {"--seed", 0, CMD_STRING, &given[4], "N", "of first values, order and what is kept aside (default 1)"},
        {"--threads", 't', CMD_STRING, &given[5], "N", "threads (default: the cores there are)"},
        {"--held-out", 0, CMD_STRING, &given[6], "SHARE", "of the lines, kept aside to measure on (default 0.05)"},
        {"--resume", 0, CMD_FLAG, &go_on, NULL, "go on with a run that didn't end"},
        {"--restart", 0, CMD_FLAG, &anew, NULL, "begin anew, whatever run didn't end"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    learning g = {.data = {.lines = STR_INIT}};
    int code = cmd_parse("agent learn", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = prepare(&g, p.v[0], &err);
    if (st) {
        code = cmd_fail(&err);
        release(&g);
        return code;
    }
    train_words w = {.n = 0};
    add_word(&w, "train");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (given[i]) {
            add_word(&w, names[i]);
            add_word(&w, given[i]);
        }
    }
    if (go_on)
        add_word(&w, "--resume");
    if (anew)
        add_word(&w, "--restart");
    if (g.from) {
        add_word(&w, "--from");
        add_word(&w, g.from);
    }
    add_word(&w, "-o");
    add_word(&w, g.adapter_path);
    add_word(&w, "--");
    add_word(&w, g.o.m->model);
    add_word(&w, g.data_path);
    code = cmd_train(w.n, w.v);
    if (code == 0)
        code = keep(&g, &err) ? cmd_fail(&err) : 0;
    release(&g);
    return cmd_finish_output(code);
}
