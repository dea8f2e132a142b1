/* muga agent new: a working agent from templates. */
#include "agent/scaffold.h"
#include "cmd/cmd.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_MODEL "smollm2-135m-instruct"

/* A new folder, absolute: what is there is never touched. */
static muga_status make_folder(const char *name, const char *dir, char **out, muga_error *err) {
    const os_files *files = &os_system()->files;
    str path = STR_INIT, parent = STR_INIT;
    char *home = NULL;
    *out = NULL;
    muga_status st = dir ? MUGA_OK : cmd_home(&home, err);
    if (!st) {
        str_printf(&path, "%s%s%s", dir ? dir : home, dir ? "" : "/agents/", dir ? "" : name);
        while (path.len > 1 && path.data[path.len - 1] == '/')
            str_truncate(&path, path.len - 1);
        const char *slash = path.failed ? NULL : strrchr(str_get(&path), '/');
        if (slash && slash > str_get(&path)) {
            str_append(&parent, str_get(&path), (size_t)(slash - str_get(&path)));
            st = str_status(&parent, err, "a path");
            if (!st)
                st = files->mkdirs(files->self, str_get(&parent), err);
        }
    }
    if (!st)
        st = str_status(&path, err, "a path");
    if (!st && mkdir(str_get(&path), 0777))
        st = errno == EEXIST
                 ? error_set(err, MUGA_E_USAGE,
                             "%.180s is there already, and nothing is overwritten; take another --dir", str_get(&path))
                 : error_set(err, MUGA_E_ENV, "%.160s can't be made: %s; take another --dir", str_get(&path),
                             strerror(errno));
    if (!st && !(*out = realpath(str_get(&path), NULL)))
        st = error_nomem(err, "a path");
    free(home);
    str_release(&parent);
    str_release(&path);
    return st;
}

static muga_status write_files(const char *dir, json_t *all, muga_error *err) {
    const os_files *files = &os_system()->files;
    const char *name;
    json_t *text;
    muga_status st = MUGA_OK;
    json_object_foreach(all, name, text) {
        str path = STR_INIT, parent = STR_INIT;
        str_printf(&path, "%s/%s", dir, name);
        str_printf(&parent, "%s/%.*s", dir, (int)(strrchr(name, '/') ? strrchr(name, '/') - name : 0), name);
        if (!st)
            st = path.failed || parent.failed ? error_nomem(err, "a path") : MUGA_OK;
        if (!st)
            st = files->mkdirs(files->self, str_get(&parent), err);
        if (!st)
            st = os_write_file_atomic(files, str_get(&path), json_string_value(text), json_string_length(text), err);
        if (!st && !strncmp(json_string_value(text), "#!", 2) && chmod(str_get(&path), 0755))
            st = error_set(err, MUGA_E_ENV, "%.160s can't be made a program: %s", str_get(&path), strerror(errno));
        str_release(&parent);
        str_release(&path);
    }
    return st;
}

int cmd_agent_new(int argc, char **argv) {
    const char *kind = "goal", *tools = NULL, *dir = NULL, *model = DEFAULT_MODEL;
    const cmd_option options[] = {
        {"--kind", 0, CMD_STRING, &kind, "KIND", "reflex (rules), model (rules over a state), or goal (default)"},
        {"--tools", 0, CMD_STRING, &tools, "A,B",
         "tools it begins with: sql (default), clock, files, search, memory, http, command"},
        {"--dir", 0, CMD_STRING, &dir, "DIR", "the new folder (default: agents/NAME in the store, found by name)"},
        {"--model", 0, CMD_STRING, &model, "MODEL", "of kind goal (default: " DEFAULT_MODEL ")"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    json_t *files = NULL;
    char *made = NULL;
    int code = cmd_parse("agent new", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    scaffold_spec spec = {p.v[0], "", kind, tools, model};
    muga_status st = scaffold_make(&spec, &files, &err); /* before anything is written */
    json_decref(files);
    files = NULL;
    if (!st)
        st = make_folder(p.v[0], dir, &made, &err);
    spec.dir = made;
    if (!st)
        st = scaffold_make(&spec, &files, &err);
    if (!st)
        st = write_files(made, files, &err);
    if (!st)
        printf("made %s\n\nNext: muga agent lint %s\n      muga agent test %s\n      muga agent run %s --session "
               "user=1\n",
               made, dir ? made : p.v[0], dir ? made : p.v[0], dir ? made : p.v[0]);
    else if (made)
        cmd_remove_all(made); /* a half-made one is of no use, and was not there before */
    free(made);
    json_decref(files);
    return cmd_finish_output(st ? cmd_fail(&err) : 0);
}
