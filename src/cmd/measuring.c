/* Reading a text with a model: the file, its ids, progress. */
#include "cmd/measuring.h"

#define MAX_TEXT_BYTES ((size_t)256 << 20)

muga_status cmd_read_text(const engine *e, const char *path, token_list *out, muga_error *err) {
    str text = STR_INIT;
    if (!engine_tokenizer(e))
        return error_set(err, MUGA_E_INPUT, "this model's tokenizer is not supported, so it can't read a text");
    muga_status st = os_read_file(&os_system()->files, path, MAX_TEXT_BYTES, &text, err);
    if (!st)
        st = tokenizer_encode(engine_tokenizer(e), str_get(&text), text.len, (tokenizer_flags){0}, out, err);
    str_release(&text);
    return st;
}

bool cmd_progress_go_on(void *progress, double done) {
    cmd_progress_show(progress, done);
    return !cmd_interrupted();
}

muga_status cmd_open_engine(const char *name, bool cache, engine_options o, engine **out, muga_error *err) {
    char *path = NULL;
    cmd_packed packed = {0};
    cmd_progress loading = {.what = "loading"};
    o.on_progress = cmd_progress_show;
    o.on_progress_ctx = &loading;
    muga_status st = cmd_resolve(name, &path, err);
    if (!st && cache)
        packed = cmd_packed_of(path);
    o.packed = packed.path;
    o.packed_source = packed.source;
    if (!st)
        st = engine_open(path, &o, out, err);
    cmd_packed_release(&packed);
    cmd_progress_finish(&loading);
    free(path);
    return st;
}
