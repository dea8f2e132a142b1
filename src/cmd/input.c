/* What comes in: a file by its name, or a pipe, whole and bounded. */
#include "cmd/cmd.h"

#include <sys/stat.h>

muga_status cmd_read_stream(FILE *f, const char *what, size_t max, str *out, muga_error *err) {
    char buffer[65536];
    size_t n;
    while ((n = fread(buffer, 1, sizeof buffer, f)) > 0) {
        if (n > max - out->len)
            return error_set(err, MUGA_E_LIMIT, "%.160s is longer than %zu bytes; shorten it", what, max);
        str_append(out, buffer, n);
        if (out->failed)
            break;
    }
    if (ferror(f))
        return error_set(err, MUGA_E_ENV, "%.160s could not be read; check where it comes from", what);
    return str_status(out, err, what);
}

muga_status cmd_read_input(const char *path, size_t max, str *out, muga_error *err) {
    struct stat info;
    str_init(out, max + 1);
    if (!strcmp(path, "-"))
        return cmd_read_stream(stdin, "standard input", max, out, err);
    bool pipe = !stat(path, &info) && (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode));
    FILE *f = pipe ? fopen(path, "re") : NULL;
    if (!f)
        return os_read_file(&os_system()->files, path, max, out, err);
    muga_status st = cmd_read_stream(f, path, max, out, err);
    fclose(f);
    return st;
}

muga_status cmd_read_values(const cmd_values *list, const char *option, json_t **out, muga_error *err) {
    json_t *values = json_object();
    muga_status st = values ? MUGA_OK : error_nomem(err, "values");
    for (size_t i = 0; !st && i < list->n; i++) {
        const char *equals = strchr(list->v[i], '=');
        if (!equals || equals == list->v[i]) {
            st = error_set(err, MUGA_E_USAGE, "%s takes name=value, such as customer=7", option);
            break;
        }
        json_t *v = NULL;
        if (json_parse(equals + 1, strlen(equals + 1), "value", &v, NULL))
            v = json_string(equals + 1);
        char *name = mem_copy_bytes(list->v[i], (size_t)(equals - list->v[i]));
        if (!v || !name || json_object_set_new(values, name, v))
            st = error_nomem(err, "values");
        free(name);
    }
    if (st)
        json_decref(values);
    else
        *out = values;
    return st;
}
