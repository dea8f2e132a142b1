/* Where things are: the store's home, models by name, agents by name. The only reader of the environment. */
#include "agent/agent.h"
#include "cmd/cmd.h"

#include <pthread.h>
#include <pwd.h>
#include <unistd.h>

#ifndef MUGA_DATA_DIR
#define MUGA_DATA_DIR "/usr/local/share/muga"
#endif

static muga_status join(char **out, muga_error *err, const char *a, const char *b) {
    str s = STR_INIT;
    str_printf(&s, "%s/%s", a, b);
    *out = str_take(&s);
    return *out ? MUGA_OK : error_nomem(err, "path");
}

/* Sessions remember their agent's folder, and a later `approve yes` may stand elsewhere: a path is kept whole. */
static muga_status absolute(const char *path, char **out, muga_error *err) {
    char here[4096];
    if (path[0] == '/') {
        *out = mem_copy_string(path);
        return *out ? MUGA_OK : error_nomem(err, "path");
    }
    if (!getcwd(here, sizeof here))
        return error_set(err, MUGA_E_ENV, "the current folder is gone or can't be read; change to another one");
    return join(out, err, here, strncmp(path, "./", 2) ? path : path + 2);
}

muga_status cmd_home(char **out, muga_error *err) {
    const char *home = getenv("MUGA_HOME"), *data = getenv("XDG_DATA_HOME"), *user = getenv("HOME");
    if (home && *home)
        return absolute(home, out, err);
    if (data && *data == '/')
        return join(out, err, data, "muga");
    if (user && *user)
        return join(out, err, user, ".local/share/muga");
    return error_set(err, MUGA_E_ENV, "neither MUGA_HOME nor HOME is set; set MUGA_HOME to a folder of yours");
}

static char program[4096]; /* "": it can't be known */

static void find_program(void) {
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
}

const char *cmd_program(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* threads of the server look for agents at a time */
    pthread_once(&once, find_program);
    return program[0] ? program : NULL;
}

/* NULL: there is none. */
static const char *approvers_dir(void) {
    static char dir[4096];
    char *home = NULL;
    bool fits = !cmd_home(&home, NULL) && strlen(home) < sizeof dir;
    snprintf(dir, sizeof dir, "%s", fits ? home : "");
    free(home);
    return fits ? dir : NULL;
}

agent_env cmd_agent_env(void) {
    static atomic_bool tried; /* the machine doesn't change while a command runs */
    agent_env env = agent_env_system();
    env.launcher = cmd_program();
    env.sandbox_tried = &tried;
    env.approvers = approvers_dir();
    env.embedder = cmd_embedder();
    return env;
}

muga_status cmd_hub(hub *out, muga_error *err) {
    char *home = NULL;
    muga_status st = cmd_home(&home, err);
    if (!st)
        st = hub_open(&os_system()->files, home, out, err);
    free(home);
    return st;
}

muga_status cmd_resolve(const char *model, char **path, muga_error *err) {
    hub h = {.files = &os_system()->files};
    *path = NULL;
    muga_status st = hub_is_path(model) ? MUGA_OK : cmd_hub(&h, err); /* a path needs no store */
    if (st)
        return st;
    st = hub_resolve(&h, model, path, err);
    hub_close(&h);
    return st;
}

/* Without a home, or memory, a start is slower and nothing else. */
cmd_packed cmd_packed_of(const char *path) {
    cmd_packed p = {0};
    hub h;
    if (cmd_hub(&h, NULL))
        return p;
    if (!absolute(path, &p.source, NULL) && hub_packed_path(&h, p.source, &p.path, NULL))
        p.path = NULL;
    hub_close(&h);
    return p;
}

void cmd_packed_release(cmd_packed *p) {
    free(p->path);
    free(p->source);
}

muga_status cmd_open_llm(const char *model, const char *name, bool cache, const llm_local_options *asked, llm **out,
                         muga_error *err) {
    llm_local_options with = *asked, *o = &with;
    hub h = {.files = &os_system()->files};
    hub_model stored = {0};
    char *path = NULL, *draft = NULL;
    cmd_packed packed = {0}, draft_packed = {0};
    bool in_store = !hub_is_path(model);
    muga_status st = in_store ? cmd_hub(&h, err) : MUGA_OK;
    if (!st)
        st = hub_resolve(&h, model, &path, err);
    if (!st && in_store)
        st = hub_load(&h, model, &stored, err);
    if (!st && !o->template_source)
        o->template_source = stored.template;
    if (!st && !o->adapter && stored.n_adapters) { /* compared with the weights when the model was made */
        o->adapter = stored.adapters[0].path;
        o->adapter_scale = stored.adapters[0].scale;
        o->any_base |= stored.adapters[0].any_base;
    }
    if (!st && o->drafts == LLM_DRAFTS_MODEL) {
        st = cmd_resolve(o->draft_path, &draft, err);
        o->draft_path = draft;
        if (!st && cache)
            draft_packed = cmd_packed_of(draft);
        o->draft_packed = draft_packed.path;
        o->draft_packed_source = draft_packed.source;
    }
    if (!st) {
        if (cache)
            packed = cmd_packed_of(path);
        o->sha256 = in_store ? hub_vouched_sha256(&h, path) : NULL;
        o->packed = packed.path;
        o->packed_source = packed.source;
        st = llm_local_open(path, name, o, out, err);
    }
    cmd_packed_release(&packed);
    cmd_packed_release(&draft_packed);
    hub_model_release(&stored);
    free(path);
    free(draft);
    hub_close(&h);
    return st;
}

/* ---- agents ---- */

typedef struct places {
    char *v[5];
    size_t n;
} places;

static void places_add(places *p, char *dir) {
    if (dir)
        p->v[p->n++] = dir;
}

/* Where what comes with the program lies: beside it, or where it was configured to be installed. */
static void places_of_program(places *p, const char *what) {
    static const char *const beside[] = {"..", "../share/muga"}; /* build/muga in the tree; bin/muga beside share/ */
    const char *self = cmd_program(), *slash = self ? strrchr(self, '/') : NULL;
    for (size_t i = 0; slash && i < ARRAY_LEN(beside); i++) {
        str dir = STR_INIT;
        str_printf(&dir, "%.*s/%s/%s", (int)(slash - self), self, beside[i], what);
        places_add(p, str_take(&dir));
    }
    char *installed = NULL;
    if (!join(&installed, NULL, MUGA_DATA_DIR, what))
        places_add(p, installed);
}

/* The folders that hold agents, first to last. */
static muga_status places_open(places *p, muga_error *err) {
    char *home = NULL, *dir = NULL;
    *p = (places){0};
    muga_status st = cmd_home(&home, err);
    if (!st)
        st = join(&dir, err, home, "agents");
    free(home);
    if (st)
        return st;
    places_add(p, dir);
    if (!absolute("agents", &dir, NULL)) /* without a current folder there is none below it */
        places_add(p, dir);
    places_of_program(p, "agents");
    return MUGA_OK;
}

static void places_close(places *p) {
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i]);
}

static bool is_agent(const char *dir) {
    os_stat st;
    str path = STR_INIT;
    str_printf(&path, "%s/agent.yaml", dir);
    const os_files *f = &os_system()->files;
    bool yes = !path.failed && f->stat(f->self, str_get(&path), &st, NULL) == MUGA_OK && st.type == OS_TYPE_FILE;
    str_release(&path);
    return yes;
}

muga_status cmd_agent_dir(const char *name, char **dir, muga_error *err) {
    *dir = NULL;
    if (strchr(name, '/')) {
        if (!is_agent(name))
            return error_set(err, MUGA_E_NOT_FOUND, "no agent in '%.150s': there is no agent.yaml", name);
        return absolute(name, dir, err);
    }
    if (!*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-")] || name[0] == '.')
        return error_set(err, MUGA_E_USAGE, "'%.60s' is no agent name; use [a-z0-9._-], or a path with '/'", name);
    places p;
    muga_status st = places_open(&p, err);
    for (size_t i = 0; !st && !*dir && i < p.n; i++) {
        st = join(dir, err, p.v[i], name);
        if (!st && !is_agent(*dir)) {
            free(*dir);
            *dir = NULL;
        }
    }
    if (!st && !*dir)
        st = error_set(err, MUGA_E_NOT_FOUND, "no agent named '%.60s'; `muga agent list` shows those there are", name);
    places_close(&p);
    return st;
}

muga_status cmd_data_file(const char *name, char **path, muga_error *err) {
    const os_files *f = &os_system()->files;
    places p = {0};
    char *home = NULL, *own = NULL;
    *path = NULL;
    if (!cmd_home(&home, NULL) && !join(&own, NULL, home, name)) /* without a home there is none of the user's */
        places_add(&p, own);
    free(home);
    places_of_program(&p, name);
    for (size_t i = 0; i < p.n && !*path; i++) {
        os_stat info;
        if (!f->stat(f->self, p.v[i], &info, NULL) && info.type == OS_TYPE_FILE && !(*path = mem_copy_string(p.v[i]))) {
            places_close(&p);
            return error_nomem(err, "a path");
        }
    }
    places_close(&p);
    return MUGA_OK;
}

typedef struct visitor {
    const places *p;
    size_t i_place;
    muga_status (*visit)(void *ctx, const char *name, const char *dir);
    void *ctx;
} visitor;

static muga_status visit_name(void *ctx, const char *name) {
    visitor *v = ctx;
    char *dir = NULL;
    muga_status st = MUGA_OK;
    for (size_t i = 0; !st && i <= v->i_place; i++) { /* only where an earlier folder has none of that name */
        st = join(&dir, NULL, v->p->v[i], name);
        if (!st && is_agent(dir)) {
            if (i == v->i_place)
                st = v->visit(v->ctx, name, dir);
            free(dir);
            return st;
        }
        free(dir);
    }
    return st;
}

muga_status cmd_agent_visit(muga_status (*visit)(void *ctx, const char *name, const char *dir), void *ctx,
                            muga_error *err) {
    places p;
    const os_files *f = &os_system()->files;
    muga_status st = places_open(&p, err);
    for (size_t i = 0; !st && i < p.n; i++) {
        os_stat info;
        bool again = false;
        char real[2][4096];
        for (size_t k = 0; k < i; k++)
            again |= realpath(p.v[i], real[0]) && realpath(p.v[k], real[1]) && !strcmp(real[0], real[1]);
        if (again || f->stat(f->self, p.v[i], &info, NULL) || info.type != OS_TYPE_DIR)
            continue;
        visitor v = {&p, i, visit, ctx};
        st = f->list(f->self, p.v[i], visit_name, &v, err);
    }
    places_close(&p);
    return st;
}

/* ---- results ---- */

static muga_status check_folder(const char *path, muga_error *err) {
    const os_files *f = &os_system()->files;
    const char *slash = strrchr(path, '/');
    os_stat at = {.type = OS_TYPE_DIR};
    char *dir = slash && slash > path ? mem_copy_bytes(path, (size_t)(slash - path)) : mem_copy_string(".");
    muga_status st = dir ? f->stat(f->self, dir, &at, err) : error_nomem(err, path);
    if (!st && at.type != OS_TYPE_DIR)
        st = error_set(err, MUGA_E_NOT_FOUND, "no such folder as '%.150s' to write to; make it, or give OUT another",
                       dir);
    free(dir);
    return st;
}

/* "-00001-of-00003.gguf": a model may be in parts, and OUT would take the place of one, or be taken for one. */
static bool is_part_name(const char *path) {
    size_t n = strlen(path), len = strlen("-00001-of-00003.gguf");
    const char *end = n >= len ? path + n - len : "";
    return *end == '-' && strspn(end + 1, "0123456789") == 5 && !strncmp(end + 6, "-of-", 4) &&
           strspn(end + 10, "0123456789") == 5;
}

muga_status cmd_check_out(const char *path, const char *in, muga_error *err) {
    const os_files *f = &os_system()->files;
    os_stat from = {.type = OS_TYPE_NONE}, out;
    if (is_part_name(path))
        return error_set(err, MUGA_E_USAGE, "'%.100s' is the name of a part of a model; give OUT another", path);
    if (!strcmp(path, "-"))
        return error_set(err, MUGA_E_USAGE,
                         "'-' would be a file of that name; give OUT the name of a file (./- if need be)");
    muga_status st = in ? f->stat(f->self, in, &from, err) : MUGA_OK;
    if (!st)
        st = check_folder(path, err);
    if (!st)
        st = f->stat(f->self, path, &out, err);
    if (st || out.type == OS_TYPE_NONE)
        return st;
    if (out.type != OS_TYPE_FILE)
        return error_set(err, MUGA_E_USAGE, "'%.150s' is there and is not a regular file; give OUT another name", path);
    if (in && from.device == out.device && from.inode == out.inode)
        return error_set(err, MUGA_E_USAGE, "'%.150s' is the model that is read; give OUT another name", path);
    return MUGA_OK;
}

void cmd_user_name(char out[64]) {
    const struct passwd *who = getpwuid(getuid());
    if (who)
        snprintf(out, 64, "%.60s", who->pw_name);
    else
        snprintf(out, 64, "uid %u", (unsigned)getuid());
}
