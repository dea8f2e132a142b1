/* A trained adapter as a file (adapter_file.h). */
#include "train/adapter_file.h"

#include "gguf/gguf.h"

muga_status train_adapter_write(const trainer *t, const char *architecture, const char *base_sha256, const os_files *f,
                                const char *path, muga_error *err) {
    gguf_writer *w = gguf_writer_new();
    str bytes = STR_INIT;
    if (!w)
        return error_nomem(err, "the adapter");
    gguf_writer_add_string(w, "general.type", "adapter");
    gguf_writer_add_string(w, "general.architecture", architecture);
    gguf_writer_add_string(w, "adapter.type", "lora");
    gguf_writer_add_f32(w, "adapter.lora.alpha", train_alpha(t));
    gguf_writer_add_string(w, MODEL_ADAPTER_BASE_KEY, base_sha256);
    for (uint32_t i = 0; i < train_tensor_count(t); i++) {
        train_tensor v;
        train_tensor_at(t, i, &v);
        gguf_writer_add_tensor(w, v.name, TENSOR_F32, (uint64_t[]){v.cols, v.rows}, 2, v.data);
    }
    muga_status st = gguf_writer_finish(w, &bytes, err);
    if (!st)
        st = os_write_file_atomic(f, path, bytes.data, bytes.len, err);
    gguf_writer_free(w);
    str_release(&bytes);
    return st;
}
