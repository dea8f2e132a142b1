/* Percepts as JSON lines, from a file or standard input (agent.h). */
#include "cmd/agent.h"

#define MAX_LINE ((size_t)1 << 20)

/* A line without its newline; false at the end. What is beyond MAX_LINE is read and dropped. */
static bool read_line(FILE *f, str *line, bool *too_long) {
    int c;
    bool any = false;
    str_clear(line);
    *too_long = false;
    while ((c = getc(f)) != EOF) {
        any = true;
        if (c == '\n')
            return true;
        if (line->len >= MAX_LINE)
            *too_long = true;
        else
            str_append_c(line, (char)c);
    }
    return any;
}

static muga_status read_percept(const str *line, bool too_long, json_t **out, muga_error *err) {
    if (too_long)
        return error_set(err, MUGA_E_LIMIT, "longer than %zu bytes", MAX_LINE);
    muga_status st = json_parse(str_get(line), line->len, "percept", out, err);
    if (!st && !json_is_object(*out))
        st = error_set(err, MUGA_E_INPUT, "a percept is a JSON object");
    return st;
}

muga_status agent_open_percepts(const char *path, FILE **out, muga_error *err) {
    FILE *f = *out = !strcmp(path, "-") ? stdin : fopen(path, "rb");
    int first = f && f != stdin ? getc(f) : 0; /* a folder opens, and can't be read */
    if (!f || (first == EOF && ferror(f))) {
        agent_close_percepts(f);
        *out = NULL;
        return error_set(err, MUGA_E_NOT_FOUND, "%.200s can't be read; give --percepts a file of JSON lines, or -",
                         path);
    }
    if (f != stdin && first != EOF)
        ungetc(first, f);
    return MUGA_OK;
}

void agent_close_percepts(FILE *f) {
    if (f && f != stdin)
        fclose(f);
}

muga_status agent_each_percept(FILE *f, const char *path, agent_take_percept take, agent_bad_percept bad, void *ctx,
                               muga_error *err) {
    bool too_long;
    str line;
    muga_status st = MUGA_OK;
    str_init(&line, MAX_LINE + 1);
    for (size_t number = 1; !st && read_line(f, &line, &too_long); number++) {
        json_t *percept = NULL;
        muga_error why = {0};
        if (!too_long && !str_get(&line)[strspn(str_get(&line), " \t\r")])
            continue;
        muga_status verdict = line.failed ? error_nomem(&why, "a line") : read_percept(&line, too_long, &percept, &why);
        if (verdict == MUGA_E_NOMEM)
            st = error_nomem(err, "a percept");
        else if (verdict)
            bad(ctx, number, &why);
        else
            st = take(ctx, number, percept, err);
        json_decref(percept);
    }
    if (!st && ferror(f))
        st = error_set(err, MUGA_E_ENV, "%.200s could not be read to its end", path);
    str_release(&line);
    return st;
}
