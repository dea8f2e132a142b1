/* One JSON value in, one out, a line each, flushed: what the `debug` verbs speak. A bad line is answered, not fatal. */
#include "cmd/cmd.h"

#define JSONL_MAX_LINE ((size_t)64 << 20)

/* A line without its newline. false at the end of input. *too_long: the line was read and dropped. */
static bool read_line(str *line, bool *too_long) {
    int c;
    bool any = false;
    str_clear(line);
    *too_long = false;
    while ((c = getc_unlocked(stdin)) != EOF) {
        any = true;
        if (c == '\n')
            return true;
        if (line->len >= JSONL_MAX_LINE)
            *too_long = true;
        else
            str_append_c(line, (char)c);
    }
    return any;
}

int cmd_jsonl(muga_status (*handle)(void *ctx, const json_t *in, json_t **out, muga_error *err), void *ctx) {
    str line;
    bool too_long;
    str_init(&line, JSONL_MAX_LINE + 1);
    for (size_t number = 1; read_line(&line, &too_long); number++) {
        json_t *in = NULL, *out = NULL;
        muga_error err = {0};
        char where[40];
        snprintf(where, sizeof where, "line %zu", number);
        muga_status st = too_long ? error_set(&err, MUGA_E_LIMIT, "%s is longer than %zu bytes", where, JSONL_MAX_LINE)
                                  : json_parse(str_get(&line), line.len, where, &in, &err);
        if (!st)
            st = handle(ctx, in, &out, &err);
        if (st || !out) {
            json_decref(out);
            out = json_pack("{s:s}", "error", err.message);
        }
        if (out)
            cmd_print_json(out);
        json_decref(out);
        json_decref(in);
        if (ferror(stdout))
            break;
    }
    str_release(&line);
    return cmd_finish_output(
        ferror(stdin) ? cmd_error(MUGA_E_ENV, "standard input could not be read; give JSON lines on it") : 0);
}
