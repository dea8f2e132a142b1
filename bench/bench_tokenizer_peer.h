/* llama.cpp's side of bench_tokenizer.c. A file of its own, since both projects have a gguf.h. */
#ifndef MUGA_BENCH_TOKENIZER_PEER_H
#define MUGA_BENCH_TOKENIZER_PEER_H

#include <stdint.h>

struct llama_vocab;
const struct llama_vocab *peer_open(const char *path); /* NULL: not opened */
int32_t peer_encode(const struct llama_vocab *v, const char *text, int32_t n, int32_t *ids, int32_t n_max);
#endif
