/* llama.cpp's library, as its own programs call it: the vocabulary alone, text to ids without special tokens. */
#include "bench_tokenizer_peer.h"

#include <llama.h>

static void silent(enum ggml_log_level level, const char *text, void *ctx) {
    (void)level, (void)text, (void)ctx;
}

const struct llama_vocab *peer_open(const char *path) {
    struct llama_model_params p = llama_model_default_params();
    p.vocab_only = true;
    llama_log_set(silent, 0);
    llama_backend_init();
    struct llama_model *m = llama_model_load_from_file(path, p);
    return m ? llama_model_get_vocab(m) : 0;
}

int32_t peer_encode(const struct llama_vocab *v, const char *text, int32_t n, int32_t *ids, int32_t n_max) {
    return llama_tokenize(v, text, n, ids, n_max, false, false);
}
