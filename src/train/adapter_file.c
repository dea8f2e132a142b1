/* A trained adapter as a file (adapter_file.h). */
#include "train/adapter_file.h"

#include "base/mem.h"
#include "gguf/gguf.h"

/* All tensors one after another in their type; NULL without memory. */
static uint8_t *encode(const trainer *t, const tensor_traits *traits) {
    train_tensor v;
    size_t n = 0, at = 0;
    for (uint32_t i = 0; i < train_tensor_count(t); i++) {
        train_tensor_at(t, i, &v);
        n += (size_t)v.rows * v.cols;
    }
    uint8_t *all = mem_alloc_array(n, traits->block_bytes);
    for (uint32_t i = 0; all && i < train_tensor_count(t); i++) {
        train_tensor_at(t, i, &v);
        traits->quantise(v.data, all + at, (size_t)v.rows * v.cols);
        at += (size_t)v.rows * v.cols * traits->block_bytes;
    }
    return all;
}

muga_status train_adapter_write(const trainer *t, const char *architecture, const char *base_sha256, tensor_type type,
                                const os_files *f, const char *path, muga_error *err) {
    const tensor_traits *traits = tensor_type_traits(type);
    str bytes = STR_INIT;
    if (traits->block_elems != 1 || !traits->quantise)
        return error_set(err, MUGA_E_USAGE, "an adapter's numbers are F32, F16 or BF16, not %s", traits->name);
    gguf_writer *w = gguf_writer_new();
    uint8_t *data = encode(t, traits);
    if (!w || !data) {
        gguf_writer_free(w);
        free(data);
        return error_nomem(err, "the adapter");
    }
    gguf_writer_add_string(w, "general.type", "adapter");
    gguf_writer_add_string(w, "general.architecture", architecture);
    gguf_writer_add_string(w, "adapter.type", "lora");
    gguf_writer_add_f32(w, "adapter.lora.alpha", train_alpha(t));
    gguf_writer_add_string(w, MODEL_ADAPTER_BASE_KEY, base_sha256);
    size_t at = 0;
    for (uint32_t i = 0; i < train_tensor_count(t); i++) {
        train_tensor v;
        train_tensor_at(t, i, &v);
        gguf_writer_add_tensor(w, v.name, type, (uint64_t[]){v.cols, v.rows}, 2, data + at);
        at += (size_t)v.rows * v.cols * traits->block_bytes;
    }
    muga_status st = gguf_writer_finish(w, &bytes, err);
    if (!st)
        st = os_write_file_atomic(f, path, bytes.data, bytes.len, err);
    gguf_writer_free(w);
    free(data);
    str_release(&bytes);
    return st;
}
