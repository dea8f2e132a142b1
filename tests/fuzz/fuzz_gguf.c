/* GGUF files: whatever the bytes are, the reader gives an error or a file of which everything can be read, and the
 * vocabulary in it, where it is taken, encodes and decodes; nothing is read outside the bytes, leaks or runs on. */
#include "base/mem.h"
#include "gguf/gguf.h"
#include "model/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_array(const gguf_file *f, const char *key) {
    volatile uint64_t sum = 0;
    for (int element = GGUF_U8; element <= GGUF_F64; element++) {
        gguf_array a;
        uint64_t at = 0, n = 0;
        span s;
        if (gguf_get_array(f, key, (gguf_type)element, &a, NULL))
            continue;
        for (; gguf_array_next_string(&a, &at, &s); n++)
            for (size_t i = 0; i < s.n; i++)
                sum += (uint8_t)s.p[i];
        if (a.type == GGUF_STRING && n != a.n)
            abort();
        for (uint64_t i = 0; i < a.n; i++)
            sum += (uint64_t)gguf_array_int(&a, i) + (gguf_array_number(&a, i) > 0);
    }
}

static void read_all(const gguf_file *f) {
    volatile uint64_t sum = 0;
    str text = STR_INIT;
    for (uint64_t i = 0; i < gguf_key_count(f); i++) {
        const char *key = gguf_key_name(f, i, NULL);
        gguf_key_write(f, i, &text);
        read_array(f, key);
    }
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        if (gguf_tensor_find(f, t->name) != t)
            abort();
        for (uint64_t k = 0; k < t->bytes; k++)
            sum += ((const uint8_t *)t->data)[k];
    }
    str_release(&text);
}

static void use_vocabulary(const gguf_file *f) {
    static const char text[] = "<s>Where is A10234? <|im_end|> \xC3\xBC\xF0\x9F\x98\x80";
    tokenizer *t = NULL;
    token_list ids = TOKEN_LIST_INIT;
    str back = STR_INIT;
    muga_error err = {0};
    if (tokenizer_open(f, &t, &err) == MUGA_OK &&
        tokenizer_encode(t, text, sizeof text - 1, (tokenizer_flags){.add_special = true, .parse_special = true}, &ids,
                         &err) == MUGA_OK)
        tokenizer_decode(t, ids.ids, ids.n, true, &back);
    str_release(&back);
    token_list_release(&ids);
    tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf_file *f = NULL;
    muga_error err = {0};
    uint8_t *copy = mem_alloc_aligned(size, 64); /* tensors are read in place */
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    if (gguf_open_memory(copy, size, &f, &err) == MUGA_OK) {
        read_all(f);
        use_vocabulary(f);
    }
    gguf_close(f);
    free(copy);
    return 0;
}
