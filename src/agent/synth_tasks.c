/* The evaluation's messages: every .jsonl below eval/, so that no training text comes near them. */
#include "agent/normalise.h"
#include "agent/synth_internal.h"

#define TASKS_MAX_BYTES ((size_t)32 << 20)
#define TASKS_MAX_DEPTH 4
#define TASKS_MAX_FILES 1000

typedef struct reading {
    const agent_env *env;
    const intent *x;
    synth_tasks *out;
    const char *dir;
    int depth, *n_files;
    muga_error *err;
} reading;

muga_status synth_wording(const intent *x, const char *text, size_t n, wording *out, muga_error *err) {
    str masked = STR_INIT;
    *out = (wording){.n_words = 0};
    muga_status st = normaliser_mask(intent_normaliser(x), text, n, " # ", &masked, err);
    if (!st)
        st = wording_of(str_get(&masked), masked.len, out, err);
    str_release(&masked);
    return st;
}

static muga_status add_message(const intent *x, synth_tasks *t, const json_t *text, muga_error *err) {
    wording w;
    muga_status st = synth_wording(x, json_string_value(text), json_string_length(text), &w, err);
    if (!st && w.is_empty) {
        wording_release(&w);
        return MUGA_OK;
    }
    if (!st && t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        wording *more = mem_resize_array(t->list, cap, sizeof *more);
        if (!more) {
            st = error_nomem(err, "the evaluation's tasks");
        } else {
            t->list = more;
            t->cap = cap;
        }
    }
    if (!st)
        st = wording_set_add(t->set, &w, err);
    if (st)
        wording_release(&w);
    else
        t->list[t->n++] = w;
    return st;
}

static muga_status read_line(const reading *r, const char *p, size_t n, const char *path, size_t line) {
    muga_error *err = r->err;
    json_t *v = NULL;
    muga_status st = json_parse(p, n, "a task", &v, err);
    const json_t *messages = json_object_get(v, "messages");
    for (size_t i = 0; i < json_array_size(messages) && !st; i++)
        if (json_is_string(json_array_get(messages, i)))
            st = add_message(r->x, r->out, json_array_get(messages, i), err);
    json_decref(v);
    return st ? error_prefix(err, st, "%.120s:%zu", path, line) : MUGA_OK;
}

static muga_status read_file(const reading *r, const char *path) {
    str text = STR_INIT;
    muga_status st = os_read_file(r->env->files, path, TASKS_MAX_BYTES, &text, r->err);
    const char *p = str_get(&text), *end = p + text.len;
    for (size_t line = 1; p < end && !st; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        stop = stop ? stop : end;
        if (stop > p + strspn(p, " \t\r"))
            st = read_line(r, p, (size_t)(stop - p), path, line);
        p = stop + (stop < end);
    }
    str_release(&text);
    return st;
}

static muga_status read_folder(const reading *r);

static muga_status visit(void *ctx, const char *name) {
    const reading *r = ctx;
    os_stat info;
    str path = STR_INIT;
    size_t n = strlen(name);
    str_printf(&path, "%s/%s", r->dir, name);
    muga_status st = str_status(&path, r->err, "a path");
    if (!st)
        st = r->env->files->stat(r->env->files->self, str_get(&path), &info, r->err);
    if (!st && info.type == OS_TYPE_DIR && r->depth < TASKS_MAX_DEPTH) {
        reading below = *r;
        below.dir = str_get(&path);
        below.depth++;
        st = read_folder(&below);
    } else if (!st && info.type == OS_TYPE_FILE && n > 6 && strcmp(name + n - 6, ".jsonl") == 0) {
        st = ++*r->n_files > TASKS_MAX_FILES
                 ? error_set(r->err, MUGA_E_LIMIT, "%.150s: more than %d files of tasks", r->dir, TASKS_MAX_FILES)
                 : read_file(r, str_get(&path));
    }
    str_release(&path);
    return st;
}

static muga_status read_folder(const reading *r) {
    return r->env->files->list(r->env->files->self, r->dir, visit, (void *)(uintptr_t)r, r->err);
}

muga_status synth_tasks_read(const agent_env *env, const intent *x, const char *dir, synth_tasks *out,
                             muga_error *err) {
    os_stat info;
    str path = STR_INIT;
    int n_files = 0;
    *out = (synth_tasks){.n = 0};
    muga_status st = wording_set_new(&out->set, err);
    str_printf(&path, "%s/eval", dir);
    if (!st)
        st = str_status(&path, err, "a path");
    if (!st)
        st = env->files->stat(env->files->self, str_get(&path), &info, err);
    if (!st && info.type == OS_TYPE_DIR) {
        const reading r = {env, x, out, str_get(&path), 0, &n_files, err};
        st = read_folder(&r);
    }
    str_release(&path);
    return st;
}

void synth_tasks_release(synth_tasks *t) {
    for (size_t i = 0; i < t->n; i++)
        wording_release(&t->list[i]);
    free(t->list);
    wording_set_free(t->set);
    *t = (synth_tasks){.n = 0};
}
