/* Model files: one that opens has every key readable and every tensor inside it (first and last byte are touched), is
 * the same file after being written and read again, and may hold a tokenizer, which then copes with any text. One that
 * doesn't open is bad input, with a message. */
#include "fuzz.h"
#include "gguf/gguf.h"
#include "model/tokenizer.h"

static uint64_t read_array(const gguf_file *f, const char *name, gguf_type element) {
    gguf_array a;
    uint64_t at = 0, n = 0, sum = 0;
    span one;
    if (gguf_get_array(f, name, element, &a, NULL))
        return 0;
    for (; gguf_array_next_string(&a, &at, &one); n++)
        sum += one.n ? (uint64_t)one.p[0] + (uint64_t)one.p[one.n - 1] : 0;
    fuzz_need(a.type != GGUF_STRING || n == a.n);
    for (uint64_t k = 0; k < a.n; k++)
        sum += (uint64_t)gguf_array_int(&a, k) + (gguf_array_number(&a, k) > 0);
    return sum;
}

static void read_keys(const gguf_file *f) {
    volatile uint64_t sum = 0;
    for (uint64_t i = 0; i < gguf_key_count(f); i++) {
        str text = STR_INIT;
        gguf_type type;
        uint32_t u32;
        uint64_t u64;
        float f32;
        bool yes;
        span string;
        const char *name = gguf_key_name(f, i, &type);
        gguf_key_write(f, i, &text);
        fuzz_need(strlen(name) > 0 && type <= GGUF_F64 && !text.failed);
        sum += !gguf_get_u32(f, name, &u32, NULL) + !gguf_get_u64(f, name, &u64, NULL) +
               !gguf_get_f32(f, name, &f32, NULL) + !gguf_get_bool(f, name, &yes, NULL);
        if (gguf_get_string(f, name, &string, NULL) == MUGA_OK && string.n > 0)
            sum += (uint64_t)string.p[0] + (uint64_t)string.p[string.n - 1];
        for (int element = GGUF_U8; element <= GGUF_F64; element++)
            sum += read_array(f, name, (gguf_type)element);
        str_release(&text);
    }
}

static void read_tensors(const gguf_file *f, const uint8_t *p, size_t n) {
    volatile uint64_t sum = 0;
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        const uint8_t *data = t->data;
        fuzz_need(gguf_tensor_find(f, t->name) == t && t->bytes > 0);
        fuzz_need(data >= p && data <= p + n && t->bytes <= (uint64_t)(p + n - data));
        sum += data[0] + (uint64_t)data[t->bytes - 1];
    }
}

static void need_same(const gguf_file *f, const gguf_file *g) {
    fuzz_need(gguf_key_count(f) == gguf_key_count(g) && gguf_tensor_count(f) == gguf_tensor_count(g));
    for (uint64_t i = 0; i < gguf_key_count(f); i++) {
        gguf_type type_f, type_g;
        span x = gguf_key_bytes(f, i), y = gguf_key_bytes(g, i);
        fuzz_need(strcmp(gguf_key_name(f, i, &type_f), gguf_key_name(g, i, &type_g)) == 0 && type_f == type_g);
        fuzz_need(span_equal(x, y));
    }
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++) {
        const gguf_tensor *x = gguf_tensor_at(f, i), *y = gguf_tensor_at(g, i);
        fuzz_need(strcmp(x->name, y->name) == 0 && x->type == y->type && x->n_dims == y->n_dims);
        fuzz_need(memcmp(x->dims, y->dims, sizeof x->dims) == 0 && x->bytes == y->bytes);
        fuzz_need(memcmp(x->data, y->data, x->bytes) == 0);
    }
}

static void write_again(const gguf_file *f) {
    gguf_writer *w = gguf_writer_new();
    gguf_file *g = NULL;
    muga_error err = {0};
    str bytes = STR_INIT;
    for (uint64_t i = 0; w && i < gguf_key_count(f); i++)
        gguf_writer_copy_key(w, f, i);
    for (uint64_t i = 0; w && i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        gguf_writer_add_tensor(w, t->name, t->type, t->dims, t->n_dims, t->data);
    }
    muga_status st = w ? gguf_writer_finish(w, &bytes, &err) : MUGA_E_NOMEM;
    st = st ? st : gguf_open_memory(bytes.data, bytes.len, &g, &err);
    if (st)
        fprintf(stderr, "%s\n", err.message);
    fuzz_need(st == MUGA_OK);
    need_same(f, g);
    gguf_close(g);
    gguf_writer_free(w);
    str_release(&bytes);
}

static void use_tokenizer(const gguf_file *f) {
    static const char text[] = "<|im_start|>user\nWhere is A10234? \xC3\xBC \xF0\x9F\x98\x80\xFF</s> ab";
    tokenizer *t = NULL;
    muga_error err = {0};
    token_list ids = TOKEN_LIST_INIT;
    muga_status st = tokenizer_open(f, &t, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
        return;
    }
    for (int flags = 0; flags < 4; flags++) {
        str back = STR_INIT;
        tokenizer_flags how = {.add_special = flags & 1, .parse_special = flags & 2};
        st = tokenizer_encode(t, text, sizeof text - 1, how, &ids, &err);
        for (size_t i = 0; i < ids.n; i++)
            fuzz_need(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_count(t));
        tokenizer_decode(t, ids.ids, ids.n, true, &back);
        fuzz_need(!back.failed && (!st || st == MUGA_E_INPUT));
        str_release(&back);
        ids.n = 0;
    }
    token_list_release(&ids);
    tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf_file *f = NULL;
    muga_error err = {0};
    uint8_t *file = fuzz_copy(data, size);
    muga_status st = gguf_open_memory(file, size, &f, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
        fuzz_need(!f);
    } else {
        read_keys(f);
        read_tensors(f, file, size);
        write_again(f);
        use_tokenizer(f);
    }
    gguf_close(f);
    free(file);
    return 0;
}
