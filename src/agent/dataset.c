/* Databases from scripts, and copies of them (dataset.h). Owns: making NAME.db beside a temporary name, so that a
 * half-made one is never taken for whole. Refuses: a script that fails, naming it and what SQLite says. */
#include "agent/dataset.h"

#include "agent/internal.h"

#include <sqlite3.h>
#include <stdio.h>

#define SCRIPT_MAX_BYTES ((size_t)16 << 20)

typedef struct job {
    const agent_env *env;
    const char *from, *to;
    const char *suffix; /* of the files of `from` that are taken */
    muga_status (*take)(const struct job *j, const char *source, const char *target, muga_error *err);
    muga_error *err;
} job;

static muga_status sql_failed(sqlite3 *db, const char *path, muga_error *err) {
    return error_set(err, MUGA_E_ENV, "%s: %s", path, db ? sqlite3_errmsg(db) : "out of memory");
}

static muga_status run_script(const job *j, const char *script, const char *target, muga_error *err) {
    str text = STR_INIT, temporary = STR_INIT;
    sqlite3 *db = NULL;
    str_printf(&temporary, "%s.new", target);
    muga_status st = os_read_file(j->env->files, script, SCRIPT_MAX_BYTES, &text, err);
    st = st == MUGA_OK ? str_status(&temporary, err, "a path") : st;
    if (st == MUGA_OK) {
        j->env->files->remove(j->env->files->self, str_get(&temporary), NULL); /* of an earlier, broken attempt */
        bool ok = sqlite3_open_v2(str_get(&temporary), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) ==
                      SQLITE_OK &&
                  sqlite3_exec(db, "PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY; BEGIN", NULL, NULL, NULL) ==
                      SQLITE_OK &&
                  sqlite3_exec(db, str_get(&text), NULL, NULL, NULL) == SQLITE_OK &&
                  sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
        st = ok ? MUGA_OK : sql_failed(db, script, err);
    }
    sqlite3_close(db);
    if (st == MUGA_OK) {
        st = j->env->files->rename(j->env->files->self, str_get(&temporary), target, err);
    }
    str_release(&text);
    str_release(&temporary);
    return st;
}

static muga_status back_up(const job *j, const char *source, const char *target, muga_error *err) {
    sqlite3 *from = NULL, *to = NULL;
    (void)j;
    bool ok = sqlite3_open_v2(source, &from, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
              sqlite3_open_v2(target, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) == SQLITE_OK &&
              sqlite3_exec(to, "PRAGMA synchronous=OFF", NULL, NULL, NULL) == SQLITE_OK;
    sqlite3_backup *b = ok ? sqlite3_backup_init(to, "main", from, "main") : NULL;
    int rc = b ? sqlite3_backup_step(b, -1) : SQLITE_ERROR;
    sqlite3_backup_finish(b);
    muga_status st = rc == SQLITE_DONE ? MUGA_OK : sql_failed(to ? to : from, target, err);
    sqlite3_close(from);
    sqlite3_close(to);
    return st;
}

static muga_status visit(void *ctx, const char *name) {
    job *j = ctx;
    size_t n = strlen(name), k = strlen(j->suffix);
    if (n <= k || strcmp(name + n - k, j->suffix) != 0) {
        return MUGA_OK;
    }
    str source = STR_INIT, target = STR_INIT;
    str_printf(&source, "%s/%s", j->from, name);
    str_printf(&target, "%s/%.*s.db", j->to, (int)(n - k), name);
    muga_status st = source.failed || target.failed ? error_nomem(j->err, "a path") : MUGA_OK;
    os_stat info;
    if (st == MUGA_OK) {
        st = j->env->files->stat(j->env->files->self, str_get(&target), &info, j->err);
    }
    if (st == MUGA_OK && info.type == OS_TYPE_NONE) {
        st = j->take(j, str_get(&source), str_get(&target), j->err);
    }
    str_release(&source);
    str_release(&target);
    return st;
}

static muga_status each_file(job *j) {
    const os_files *f = j->env->files;
    muga_status st = f->mkdirs(f->self, j->to, j->err);
    return st == MUGA_OK ? f->list(f->self, j->from, visit, j, j->err) : st;
}

muga_status dataset_prepare(const agent_env *env, const char *dir, const char *data_dir, muga_error *err) {
    job j = {env, dir, data_dir, ".sql", run_script, err};
    muga_status st = each_file(&j);
    job copies = {env, dir, data_dir, ".db", back_up, err};
    return st == MUGA_OK && strcmp(dir, data_dir) != 0 ? each_file(&copies) : st;
}

muga_status dataset_copy(const agent_env *env, const char *from, const char *to, muga_error *err) {
    job j = {env, from, to, ".db", back_up, err};
    return each_file(&j);
}
