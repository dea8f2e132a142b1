/* muga debug logits: the logits of given ids as raw little-endian f32, [rows][n_vocab], for comparing engines.
 *
 * A regular file appears whole or not at all. What is none - a device, a pipe, a link such as /dev/stdout - is written
 * straight. */
#include "cmd/debug_engine.h"

#include <sys/stat.h>

typedef struct sink {
    const os_files *files;
    os_output whole;   /* a regular file */
    os_file *straight; /* or anything else */
    uint32_t n_vocab;
    muga_status st;
    muga_error *err;
} sink;

static void write_row(void *ctx, uint32_t pos, const float *logits) {
    (void)pos;
    sink *s = ctx;
    size_t n = s->n_vocab * sizeof *logits;
    if (!s->st)
        s->st = s->straight ? s->files->write(s->files->self, s->straight, logits, n, s->err)
                            : os_output_write(&s->whole, logits, n, s->err);
}

static muga_status sink_open(sink *s, const char *path, muga_error *err) {
    struct stat at;
    if (lstat(path, &at) || S_ISREG(at.st_mode))
        return os_output_open(s->files, path, &s->whole, err);
    return s->files->open(s->files->self, path, OS_WRITE_NEW, &s->straight, err);
}

static muga_status sink_close(sink *s, muga_status st, muga_error *err) {
    if (!st && !s->straight)
        st = os_output_commit(&s->whole, err);
    os_output_close(&s->whole);
    s->files->close(s->files->self, s->straight);
    return st;
}

int cmd_debug_logits(int argc, char **argv) {
    debug_engine d = {0};
    bool all = false;
    const char *path = NULL;
    const cmd_option options[] = {DEBUG_ENGINE_OPTIONS(&d),
                                  {"--all", 0, CMD_FLAG, &all, NULL, "every position (default: the last)"},
                                  {"--output", 'o', CMD_STRING, &path, "FILE", "where the rows go"}};
    cmd_positional p = {.min = 1, .max = 1};
    int code = cmd_parse("debug logits", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if (!path || !*path)
        return cmd_error(MUGA_E_USAGE, "muga debug logits needs -o FILE");
    code = debug_engine_open(&d, "debug logits", p.v[0], true);
    if (code < 0) {
        muga_error err = {0};
        sink s = {.files = &os_system()->files, .n_vocab = engine_params(d.engine)->n_vocab, .err = &err};
        engine_item item = {.session = d.session,
                            .ids = d.ids.ids,
                            .n = (uint32_t)d.ids.n,
                            .want = all ? ENGINE_LOGITS_ALL : ENGINE_LOGITS_LAST,
                            .on_logits = write_row,
                            .on_logits_ctx = &s};
        muga_status st = sink_open(&s, path, &err);
        if (!st)
            st = engine_step(d.engine, &item, 1, &err);
        st = sink_close(&s, st ? st : s.st, &err);
        code = st ? cmd_fail(&err) : 0;
    }
    debug_engine_close(&d);
    return code;
}
