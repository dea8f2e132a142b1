/* What the programs of bench/ share: one that can't go on says why and ends with 6; files and results are JSON. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "base/json.h"
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>

#define BENCH_MAX_FILE ((size_t)1 << 20)

static inline void check(muga_status st, const muga_error *err) {
    if (!st)
        return;
    fprintf(stderr, "bench: %s\n", err->message);
    exit(6);
}

/* The JSON in a file; new. */
static inline json_t *read_json(const char *path) {
    str text = STR_INIT;
    json_t *v = NULL;
    muga_error err = {0};
    check(os_read_file(&os_system()->files, path, BENCH_MAX_FILE, &text, &err), &err);
    check(json_parse(str_get(&text), text.len, path, &v, &err), &err);
    str_release(&text);
    return v;
}

/* A result in a line, or only made where it isn't to be printed (a first round that warms up). Steals v. */
static inline void put_line(json_t *v, bool print) {
    muga_error err = {0};
    char *line = v ? json_dumps(v, JSON_COMPACT) : NULL;
    if (!line)
        check(error_nomem(&err, "a line"), &err);
    if (print)
        puts(line);
    free(line);
    json_decref(v);
}

#endif
