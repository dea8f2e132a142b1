/* Evaluation tasks for the verbs of `muga agent`: reading them, playing them in a folder that is gone afterwards. */
#include "cmd/agent.h"

#include "agent/dataset.h"

/* ---- reading ---- */

typedef struct task_files {
    const char *dir;
    json_t *tasks;
    muga_error *err;
} task_files;

static muga_status add_tasks(json_t *tasks, const char *path, muga_error *err) {
    str text = STR_INIT;
    json_t *list = NULL;
    muga_status st = cmd_read_input(path, (size_t)64 << 20, &text, err);
    if (!st)
        st = eval_read_tasks(str_get(&text), text.len, path, &list, err);
    if (!st && json_array_extend(tasks, list))
        st = error_nomem(err, "tasks");
    json_decref(list);
    str_release(&text);
    return st;
}

static muga_status visit_tasks(void *ctx, const char *name) {
    const task_files *f = ctx;
    size_t n = strlen(name);
    if (n < 7 || strcmp(name + n - 6, ".jsonl"))
        return MUGA_OK;
    str path = STR_INIT;
    str_printf(&path, "%s/%s", f->dir, name);
    muga_status st = path.failed ? error_nomem(f->err, "a path") : add_tasks(f->tasks, str_get(&path), f->err);
    str_release(&path);
    return st;
}

static muga_status list_tasks(const char *dir, json_t *tasks, muga_error *err) {
    const os_files *files = &os_system()->files;
    task_files f = {dir, tasks, err};
    muga_status st = files->list(files->self, dir, visit_tasks, &f, err);
    if ((!st || st == MUGA_E_NOT_FOUND) && json_array_size(tasks) == 0)
        st = error_set(err, MUGA_E_NOT_FOUND, "%s has no tasks (*.jsonl); name some with --tasks", dir);
    return st;
}

/* A file's, a folder's, or with neither the agent's own. */
muga_status agent_read_tasks(const char *dir, const char *from, json_t *tasks, muga_error *err) {
    const os_files *files = &os_system()->files;
    os_stat at = {.type = OS_TYPE_NONE};
    str path = STR_INIT;
    muga_status st = from && strcmp(from, "-") != 0 ? files->stat(files->self, from, &at, err) : MUGA_OK;
    if (st)
        return st;
    if (from)
        return at.type == OS_TYPE_DIR ? list_tasks(from, tasks, err) : add_tasks(tasks, from, err);
    str_printf(&path, "%s/eval", dir);
    st = str_status(&path, err, "a path");
    if (!st)
        st = list_tasks(str_get(&path), tasks, err);
    str_release(&path);
    return st;
}

/* ---- playing ---- */

muga_status agent_evaluate(const agent_env *env, const char *dir, llm *model, const learned *past, eval_who who,
                           const json_t *tasks,
                           bool (*on_task)(void *ctx, size_t n_done, size_t n, const json_t *result), void *ctx,
                           eval_report *out, muga_error *err) {
    cmd_scratch scratch;
    muga_status st = cmd_scratch_open(&scratch, "eval", err);
    if (st)
        return st;
    char data[280]; /* as the agent brings it along: what it did at work must not show in a test */
    snprintf(data, sizeof data, "%s/begin", scratch.path);
    const eval_spec spec = {.env = env,
                            .dir = dir,
                            .data_dir = data,
                            .scratch = scratch.path,
                            .model = model,
                            .learned = past,
                            .who = who,
                            .cancelled = cmd_interrupt_flag(),
                            .on_task = on_task,
                            .ctx = ctx};
    st = dataset_prepare(env, dir, data, err);
    if (!st)
        st = eval_run(&spec, tasks, out, err);
    cmd_scratch_close(&scratch);
    return st;
}
