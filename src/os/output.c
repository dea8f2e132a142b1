/* Files that are whole or not there, over any table. Owns: the order write, sync, name, sync the folder.
 *
 *   open -> unnamed or "path.tmp-<16 hex>" -> write... -> commit: sync, link if unnamed, rename to path,
 *                                                                 sync the folder
 *                                                      -> close before that: nothing is left
 *
 * A file can't be linked over one that exists, so an unnamed one gets the temporary name for the moment before the
 * rename. */
#include "base/hash.h"
#include "base/mem.h"
#include "os/os.h"

#include <string.h>

static muga_status folder_of(const char *path, char **out, muga_error *err) {
    const char *slash = strrchr(path, '/');
    *out = !slash ? mem_copy_string(".") : mem_copy_bytes(path, slash == path ? 1 : (size_t)(slash - path));
    return *out ? MUGA_OK : error_nomem(err, path);
}

static muga_status temporary_of(const char *path, char **out, muga_error *err) {
    uint8_t random[8];
    char suffix[2 * sizeof random + 1];
    muga_status st = os_random(random, sizeof random, err);
    if (st != MUGA_OK) {
        return st;
    }
    hex_write(random, sizeof random, suffix);
    str s = STR_INIT;
    str_printf(&s, "%s.tmp-%s", path, suffix);
    *out = str_take(&s);
    return *out ? MUGA_OK : error_nomem(err, path);
}

/* Unnamed where that can be; whatever is wrong with the folder, opening by name says it. */
static muga_status open_either(os_output *o, muga_error *err) {
    const os_files *f = o->files;
    char *dir = NULL;
    if (f->link) {
        muga_status st = folder_of(o->path, &dir, err);
        if (st == MUGA_OK) {
            st = f->open(f->self, dir, OS_WRITE_UNNAMED, &o->file, err);
        }
        free(dir);
        if (st == MUGA_OK || st == MUGA_E_NOMEM) {
            return st;
        }
    }
    muga_status st = f->open(f->self, o->temporary, OS_WRITE_NEW, &o->file, err);
    o->named = st == MUGA_OK;
    return st;
}

muga_status os_output_open(const os_files *f, const char *path, os_output *out, muga_error *err) {
    *out = (os_output){.files = f, .path = mem_copy_string(path)};
    muga_status st = out->path ? temporary_of(path, &out->temporary, err) : error_nomem(err, path);
    if (st == MUGA_OK) {
        st = open_either(out, err);
    }
    if (st != MUGA_OK) {
        os_output_close(out);
    }
    return st;
}

/* A file without a name speaks of its folder. */
static muga_status name_it(const os_output *o, muga_status st, muga_error *err) {
    return st == MUGA_OK || o->named ? st : error_prefix(err, st, "%.120s", o->path);
}

muga_status os_output_write(os_output *o, const void *p, size_t n, muga_error *err) {
    return name_it(o, o->files->write(o->files->self, o->file, p, n, err), err);
}

muga_status os_sync_parent(const os_files *t, const char *path, muga_error *err) {
    char *dir = NULL;
    os_file *f;
    muga_status st = folder_of(path, &dir, err);
    if (st == MUGA_OK) {
        st = t->open(t->self, dir, OS_READ, &f, err);
    }
    if (st == MUGA_OK) {
        st = t->sync(t->self, f, err);
        t->close(t->self, f);
    }
    free(dir);
    return st;
}

muga_status os_output_commit(os_output *o, muga_error *err) {
    const os_files *f = o->files;
    muga_status st = name_it(o, f->sync(f->self, o->file, err), err);
    if (st == MUGA_OK && !o->named) {
        st = f->link(f->self, o->file, o->temporary, err);
        o->named = st == MUGA_OK;
    }
    if (st == MUGA_OK) {
        st = f->rename(f->self, o->temporary, o->path, err);
    }
    if (st == MUGA_OK) {
        o->named = false;
        st = os_sync_parent(f, o->path, err);
    }
    os_output_close(o);
    return st;
}

muga_status os_output_commit_as(os_output *o, const char *path, muga_error *err) {
    char *copy = mem_copy_string(path);
    if (!copy) {
        return error_nomem(err, path);
    }
    free(o->path);
    o->path = copy;
    return os_output_commit(o, err);
}

void os_output_close(os_output *o) {
    if (o->file) {
        o->files->close(o->files->self, o->file);
    }
    if (o->named) {
        o->files->remove(o->files->self, o->temporary, NULL); /* the first fault is the one to report */
    }
    free(o->path);
    free(o->temporary);
    *o = (os_output){0};
}

muga_status os_write_file_atomic(const os_files *t, const char *path, const void *p, size_t n, muga_error *err) {
    os_output o;
    muga_status st = os_output_open(t, path, &o, err);
    if (st == MUGA_OK) {
        st = os_output_write(&o, p, n, err);
    }
    if (st == MUGA_OK) {
        st = os_output_commit(&o, err);
    }
    os_output_close(&o);
    return st;
}
