/* muga debug logits: the logits of given ids as raw little-endian f32, [rows][n_vocab], for comparing engines.
 *
 * A regular file appears whole or not at all: rows go to a name beside it, renamed at the end. A device or a pipe is
 * written straight. */
#include "cmd/debug_engine.h"

typedef struct sink {
    const os_files *files;
    os_file *file;
    char *temporary; /* NULL: written straight */
    uint32_t n_vocab;
    muga_status st;
    muga_error *err;
} sink;

static void write_row(void *ctx, uint32_t pos, const float *logits) {
    (void)pos;
    sink *s = ctx;
    if (!s->st)
        s->st = s->files->write(s->files->self, s->file, logits, s->n_vocab * sizeof *logits, s->err);
}

static muga_status sink_open(sink *s, const char *path, muga_error *err) {
    os_stat at;
    muga_status st = s->files->stat(s->files->self, path, &at, err);
    if (!st && (at.type == OS_TYPE_NONE || at.type == OS_TYPE_FILE)) {
        str name = STR_INIT;
        str_printf(&name, "%s.part", path);
        s->temporary = str_take(&name);
        st = s->temporary ? MUGA_OK : error_nomem(err, "a file name");
    }
    return st ? st : s->files->open(s->files->self, s->temporary ? s->temporary : path, OS_WRITE_NEW, &s->file, err);
}

static muga_status sink_close(sink *s, const char *path, muga_status st, muga_error *err) {
    const os_files *f = s->files;
    if (s->file && !st && s->temporary)
        st = f->sync(f->self, s->file, err);
    if (s->file)
        f->close(f->self, s->file);
    if (s->file && s->temporary) {
        if (!st)
            st = f->rename(f->self, s->temporary, path, err);
        else
            (void)f->remove(f->self, s->temporary, NULL);
    }
    free(s->temporary);
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
        st = sink_close(&s, path, st ? st : s.st, &err);
        code = st ? cmd_fail(&err) : 0;
    }
    debug_engine_close(&d);
    return code;
}
