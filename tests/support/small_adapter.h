/* The smallest file that passes for an adapter: its keys, no tensors. What versions are made of in tests. */
#ifndef TESTS_SMALL_ADAPTER_H
#define TESTS_SMALL_ADAPTER_H

#include "gguf/gguf.h"
#include "model/model.h"
#include "support/support.h"

#include <stdio.h>

/* Another content for each seed; base NULL: it names none. */
static inline void small_adapter_write(const char *path, uint32_t seed, const char *base) {
    str bytes = STR_INIT;
    muga_error err;
    gguf_writer *w = gguf_writer_new();
    assert_non_null(w);
    gguf_writer_add_string(w, "general.type", "adapter");
    gguf_writer_add_string(w, "general.architecture", "llama");
    gguf_writer_add_string(w, "adapter.type", "lora");
    gguf_writer_add_u32(w, "test.seed", seed);
    if (base) {
        gguf_writer_add_string(w, MODEL_ADAPTER_BASE_KEY, base);
    }
    assert_ok(gguf_writer_finish(w, &bytes, &err), &err);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(str_get(&bytes), 1, bytes.len, f), bytes.len);
    assert_int_equal(fclose(f), 0);
    gguf_writer_free(w);
    str_release(&bytes);
}
#endif
