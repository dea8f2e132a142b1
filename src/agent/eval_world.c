/* A task's world (eval_internal.h): a clock that stands where the task says, and everything that an agent and the
 * agents within it could leave behind for the next task, made anew.
 *
 *   SCRATCH/world/NAME     the agent's data, from spec.data_dir
 *   SCRATCH/world/OTHER    those of an agent within: beside it, as at work (nested.c)
 *   SCRATCH/store/muga.db  journal, state, memory, approvals
 *   SCRATCH/kept/OTHER     what OTHER's data were when the manifest had been loaded
 *   SCRATCH/blank/muga.db  a store without anything: copied, since making one waits for the disk many times */
#include "agent/eval_internal.h"

#include "agent/dataset.h"

#define MAX_DEPTH 64 /* of folders that tools made in their data */

static int64_t world_now(void *self) {
    return ((const world *)self)->now_ms;
}
static uint64_t world_monotonic(void *self) {
    const os_clock *real = ((const world *)self)->spec->env->clock;
    return real->monotonic_us(real->self);
}
static void world_sleep(void *self, int64_t ms) {
    ((world *)self)->now_ms += ms;
}

/* ---- what a task leaves behind ---- */

typedef struct emptying {
    const os_files *files;
    const char *dir;
    int depth;
    muga_error *err;
} emptying;

/* A link is removed itself, so nothing outside is reached: only what can't be removed is entered. */
static muga_status empty_entry(void *ctx, const char *name) {
    const emptying *e = ctx;
    str path = STR_INIT;
    str_printf(&path, "%s/%s", e->dir, name);
    muga_status st = str_status(&path, e->err, "a path");
    if (st == MUGA_OK && e->files->remove(e->files->self, str_get(&path), e->err) != MUGA_OK) {
        emptying below = {e->files, str_get(&path), e->depth - 1, e->err};
        st = below.depth > 0
                 ? e->files->list(e->files->self, below.dir, empty_entry, &below, e->err)
                 : error_set(e->err, MUGA_E_LIMIT, "%.200s: more than %d folders in one another", below.dir, MAX_DEPTH);
        st = st == MUGA_OK ? e->files->remove(e->files->self, str_get(&path), e->err) : st;
    }
    str_release(&path);
    return st;
}

static muga_status empty(const os_files *f, const char *dir, muga_error *err) {
    emptying e = {f, dir, MAX_DEPTH, err};
    return f->list(f->self, dir, empty_entry, &e, err);
}

/* The folders themselves stay. */
static muga_status empty_folder(void *ctx, const char *name) {
    const emptying *e = ctx;
    str path = STR_INIT;
    str_printf(&path, "%s/%s", e->dir, name);
    muga_status st = str_status(&path, e->err, "a path");
    st = st == MUGA_OK ? empty(e->files, str_get(&path), e->err) : st;
    str_release(&path);
    return st;
}

/* ---- data of agents within ---- */

typedef struct copying {
    const world *w;
    const char *from, *to, *but; /* folders of folders; this one of them is left out; NULL: none */
    muga_error *err;
} copying;

static muga_status copy_folder(void *ctx, const char *name) {
    const copying *c = ctx;
    str from = STR_INIT, to = STR_INIT;
    if (c->but && strcmp(name, c->but) == 0) {
        return MUGA_OK;
    }
    str_printf(&from, "%s/%s", c->from, name);
    str_printf(&to, "%s/%s", c->to, name);
    muga_status st = from.failed || to.failed ? error_nomem(c->err, "a path")
                                              : dataset_copy(c->w->spec->env, str_get(&from), str_get(&to), c->err);
    str_release(&from);
    str_release(&to);
    return st;
}

static muga_status copy_folders(const world *w, const char *from, const char *to, const char *but, muga_error *err) {
    const os_files *f = w->spec->env->files;
    copying c = {w, from, to, but, err};
    return f->list(f->self, from, copy_folder, &c, err);
}

/* ---- the whole ---- */

muga_status eval_world_begin(world *w, muga_error *err) {
    const os_files *f = w->spec->env->files;
    emptying e = {f, w->data, 0, err};
    store_close(w->store);
    w->store = NULL;
    muga_status st = f->list(f->self, w->data, empty_folder, &e, err);
    st = st == MUGA_OK ? empty(f, w->store_dir, err) : st;
    st = st == MUGA_OK ? dataset_copy(w->spec->env, w->spec->data_dir, w->data_dir, err) : st;
    st = st == MUGA_OK ? copy_folders(w, w->kept, w->data, NULL, err) : st;
    st = st == MUGA_OK ? dataset_copy(w->spec->env, w->blank, w->store_dir, err) : st;
    return st == MUGA_OK ? store_open(w->store_path, NULL, &w->store, err) : st;
}

static muga_status make_blank(world *w, muga_error *err) {
    str path = STR_INIT;
    store *s = NULL;
    str_printf(&path, "%s/muga.db", w->blank);
    muga_status st = str_status(&path, err, "a path");
    st = st == MUGA_OK ? store_open(str_get(&path), NULL, &s, err) : st;
    store_close(s);
    str_release(&path);
    return st;
}

/* The agent's folder, by which its data are called at work, too. */
static span name_of(const char *dir) {
    size_t end = strlen(dir), from;
    while (end > 0 && dir[end - 1] == '/') {
        end--;
    }
    for (from = end; from > 0 && dir[from - 1] != '/'; from--) {}
    span name = span_of(dir + from, end - from);
    bool none = name.n == 0 || span_equal_string(name, ".") || span_equal_string(name, "..");
    return none ? span_of_string("agent") : name;
}

static muga_status name_places(world *w, muga_error *err) {
    const os_files *f = w->spec->env->files;
    const span none = span_of_string("");
    struct {
        const char *below;
        span name;
        char **out;
    } const places[] = {{"world", none, &w->data},      {"world/", name_of(w->spec->dir), &w->data_dir},
                        {"kept", none, &w->kept},       {"blank", none, &w->blank},
                        {"store", none, &w->store_dir}, {"store/muga.db", none, &w->store_path}};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        str path = STR_INIT;
        str_printf(&path, "%s/%s%.*s", w->spec->scratch, places[i].below, (int)places[i].name.n, places[i].name.p);
        *places[i].out = str_take(&path);
        muga_status st = *places[i].out ? MUGA_OK : error_nomem(err, "a path");
        if (st == MUGA_OK && places[i].out != &w->store_path) {
            st = f->mkdirs(f->self, *places[i].out, err);
        }
        if (st != MUGA_OK) {
            return st;
        }
    }
    return MUGA_OK;
}

muga_status eval_world_open(const eval_spec *spec, world *w, muga_error *err) {
    *w = (world){.spec = spec, .env = *spec->env};
    w->clock = (os_clock){world_now, world_monotonic, world_sleep, w};
    w->env.clock = &w->clock;
    w->env.rehearses = true;
    w->now_ms = spec->env->clock->now_ms(spec->env->clock->self);
    w->model = spec->model ? llm_meter_init(&w->meter, spec->model) : NULL;
    muga_status st = name_places(w, err);
    st = st == MUGA_OK ? make_blank(w, err) : st;
    st = st == MUGA_OK ? eval_world_begin(w, err) : st;
    st = st == MUGA_OK ? manifest_load(&w->env, spec->dir, w->data_dir, &w->m, err) : st;
    st = st == MUGA_OK ? copy_folders(w, w->data, w->kept, strrchr(w->data_dir, '/') + 1, err) : st;
    st = st == MUGA_OK ? intent_new(&w->env, w->m, &w->intent, err) : st;
    if (st == MUGA_OK) {
        intent_listen(w->intent, spec->learned);
    }
    return st;
}

void eval_world_close(world *w) {
    store_close(w->store);
    intent_free(w->intent);
    manifest_free(w->m);
    free(w->data);
    free(w->kept);
    free(w->blank);
    free(w->store_dir);
    free(w->data_dir);
    free(w->store_path);
}
