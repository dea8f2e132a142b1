/* What the tests of engine/ share: the small model, sessions over it. */
#ifndef TESTS_ENGINE_FIXTURE_H
#define TESTS_ENGINE_FIXTURE_H

#include "support/make_tiny.h"
#include "support/support.h"

#include "engine/engine.h"
#include "os/os.h"

#include <string.h>

static inline engine *open_with(engine_options o) {
    engine *e = NULL;
    muga_error err = {0};
    assert_ok(engine_open(source_path("tests/data/tiny.gguf"), &o, &e, &err), &err);
    return e;
}

static inline engine *open_plain(void) {
    return open_with((engine_options){.isa = -1, .n_threads = 1});
}

/* The model whose layers differ (make_tiny.h). */
static inline engine *open_windowed(engine_options o) {
    str bytes = STR_INIT;
    engine *e = NULL;
    muga_error err = {0};
    const char *path = scratch_path("windowed.gguf");
    assert_ok(make_tiny_windowed(&bytes, &err), &err);
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    assert_ok(engine_open(path, &o, &e, &err), &err);
    return e;
}

/* The tiny model's file with one token's embedding made not-a-number. */
static inline engine *open_spoiled(int32_t id, engine_options o) {
    engine *plain = open_plain(), *e = NULL;
    const gguf_file *f = engine_file(plain);
    const gguf_tensor *t = gguf_tensor_find(f, "token_embd.weight");
    str bytes = STR_INIT;
    muga_error err = {0};
    assert_ok(make_tiny(&bytes, &err), &err);
    gguf_file *g;
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &g, &err), &err);
    size_t row = (size_t)(t->bytes / t->dims[1]);
    memset(bytes.data + ((const char *)gguf_tensor_find(g, "token_embd.weight")->data - bytes.data) + row * (size_t)id,
           0xff, row);
    gguf_close(g);
    const char *path = scratch_path("spoiled.gguf");
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    assert_ok(engine_open(path, &o, &e, &err), &err);
    str_release(&bytes);
    engine_free(plain);
    return e;
}

static inline engine_session *session_of(engine *e, uint32_t n_ctx) {
    engine_session *s = NULL;
    muga_error err = {0};
    assert_ok(engine_session_new(e, n_ctx, &s, &err), &err);
    return s;
}

static inline void feed(engine_session *s, const int32_t *v, uint32_t n) {
    muga_error err = {0};
    assert_ok(engine_session_feed(s, v, n, &err), &err);
}

static inline engine_session *prompted(engine *e, const char *text) {
    token_list l = TOKEN_LIST_INIT;
    muga_error err = {0};
    assert_ok(
        tokenizer_encode(engine_tokenizer(e), text, strlen(text), (tokenizer_flags){.parse_special = true}, &l, &err),
        &err);
    engine_session *s = session_of(e, 512);
    feed(s, l.ids, (uint32_t)l.n);
    token_list_release(&l);
    return s;
}

#endif
