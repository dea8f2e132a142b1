/* Databases from scripts, and copies of them (dataset.h). Owns: making NAME.db beside a temporary name, so that a
 * half-made one is never taken for whole. Refuses: a script that fails, naming it and what SQLite says. */
#include "agent/dataset.h"

#include "agent/internal.h"

#include <sqlite3.h>
#include <stdio.h>

#define SCRIPT_MAX_BYTES ((size_t)16 << 20)
#define LOCK_NAME ".making"
#define LOCK_MS 60000

typedef struct job {
    const agent_env *env;
    const char *from, *to;
    const char *suffix; /* of the files of `from` that are taken */
    muga_status (*take)(const struct job *j, const char *source, const char *target, muga_error *err);
    bool durable;
    muga_error *err;
} job;

/* The disk's faults are the target's; what SQLite says otherwise is about the script. */
static muga_status sql_failed(sqlite3 *db, const char *script, const char *target, muga_error *err) {
    switch (db ? sqlite3_errcode(db) : SQLITE_NOMEM) {
    case SQLITE_NOMEM: return error_nomem(err, "a database");
    case SQLITE_FULL: return error_set(err, MUGA_E_ENV, "%.160s: no space left on its disk; free disk space", target);
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_IOERR:
        return error_set(err, MUGA_E_ENV, "%.120s: %.60s; check the folder's rights and its disk", target,
                         sqlite3_errmsg(db));
    default: return error_set(err, MUGA_E_INPUT, "%.120s: %.120s", script, sqlite3_errmsg(db));
    }
}

static muga_status run_script(const job *j, const char *script, const char *target, muga_error *err) {
    str text = STR_INIT;
    sqlite3 *db = NULL;
    muga_status st = os_read_file(j->env->files, script, SCRIPT_MAX_BYTES, &text, err);
    if (st == MUGA_OK) {
        bool ok = sqlite3_open_v2(target, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) == SQLITE_OK &&
                  sqlite3_exec(db, "PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY; BEGIN", NULL, NULL, NULL) ==
                      SQLITE_OK &&
                  sqlite3_exec(db, str_get(&text), NULL, NULL, NULL) == SQLITE_OK &&
                  sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
        st = ok ? MUGA_OK : sql_failed(db, script, target, err);
    }
    sqlite3_close(db);
    str_release(&text);
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
    muga_status st = rc == SQLITE_DONE ? MUGA_OK : sql_failed(to ? to : from, source, target, err);
    sqlite3_close(from);
    sqlite3_close(to);
    return st;
}

static muga_status sync_file(const os_files *f, const char *path, muga_error *err) {
    os_file *file;
    muga_status st = f->open(f->self, path, OS_READ, &file, err);
    if (st == MUGA_OK) {
        st = f->sync(f->self, file, err);
        f->close(f->self, file);
    }
    return st;
}

/* Held by one process at a time, and by none that has died: SQLite's lock of an empty database. */
static muga_status lock_folder(const char *dir, sqlite3 **out, muga_error *err) {
    str path = STR_INIT;
    str_printf(&path, "%s/" LOCK_NAME, dir);
    muga_status st = str_status(&path, err, "a path");
    int rc = SQLITE_OK;
    if (st == MUGA_OK) {
        rc = sqlite3_open_v2(str_get(&path), out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
        if (rc == SQLITE_OK && (rc = sqlite3_busy_timeout(*out, LOCK_MS)) == SQLITE_OK) {
            rc = sqlite3_exec(*out, "BEGIN EXCLUSIVE", NULL, NULL, NULL);
        }
    }
    if (rc == SQLITE_BUSY) {
        st = error_set(err, MUGA_E_ENV, "%.160s: another process has been making databases there for %d s; try again",
                       dir, LOCK_MS / 1000);
    } else if (st == MUGA_OK && rc != SQLITE_OK) {
        st = sql_failed(*out, str_get(&path), str_get(&path), err);
    }
    str_release(&path);
    return st;
}

/* Under a temporary name first: whole under its own, or not there. */
static muga_status take_whole(const job *j, const char *source, const char *target) {
    const os_files *f = j->env->files;
    str temporary = STR_INIT, journal = STR_INIT;
    str_printf(&temporary, "%s.new", target);
    str_printf(&journal, "%s.new-journal", target);
    muga_status st = temporary.failed || journal.failed ? error_nomem(j->err, "a path") : MUGA_OK;
    if (st == MUGA_OK) {
        f->remove(f->self, str_get(&journal), NULL); /* of an earlier, broken attempt */
        f->remove(f->self, str_get(&temporary), NULL);
        st = j->take(j, source, str_get(&temporary), j->err);
        if (st == MUGA_OK && j->durable) { /* before the name, or a power cut would leave the name of nothing */
            st = sync_file(f, str_get(&temporary), j->err);
        }
        if (st == MUGA_OK) {
            st = f->rename(f->self, str_get(&temporary), target, j->err);
        }
        if (st != MUGA_OK) {
            f->remove(f->self, str_get(&journal), NULL);
            f->remove(f->self, str_get(&temporary), NULL);
        }
    }
    str_release(&temporary);
    str_release(&journal);
    return st;
}

/* Of processes that begin at the same time one makes it, and the others find it made. */
static muga_status take_once(const job *j, const char *source, const char *target) {
    sqlite3 *lock = NULL;
    os_stat info;
    muga_status st = lock_folder(j->to, &lock, j->err);
    if (st == MUGA_OK) {
        st = j->env->files->stat(j->env->files->self, target, &info, j->err);
    }
    if (st == MUGA_OK && info.type == OS_TYPE_NONE) {
        st = take_whole(j, source, target);
    }
    sqlite3_close(lock);
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
        st = j->durable ? take_once(j, str_get(&source), str_get(&target))
                        : take_whole(j, str_get(&source), str_get(&target));
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
    job j = {env, dir, data_dir, ".sql", run_script, true, err};
    muga_status st = each_file(&j);
    job copies = {env, dir, data_dir, ".db", back_up, true, err};
    return st == MUGA_OK && strcmp(dir, data_dir) != 0 ? each_file(&copies) : st;
}

muga_status dataset_copy(const agent_env *env, const char *from, const char *to, muga_error *err) {
    job j = {env, from, to, ".db", back_up, false, err};
    return each_file(&j);
}
