/* Packed files: a good one, changed as the input says, its head signed again so that what is behind the digest is
 * reached. One that is mapped keeps every item inside the file; one whose tokenizer tables are taken copes with any
 * text.
 *
 * Input: changes of six bytes each, u32 place (modulo the file's size), what is done to the byte there (0 put, 1 add,
 * 2 fill 64 bytes), and the byte. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create */
#endif
#include "fuzz.h"

#include "base/hash.h"
#include "model/packed.h"
#include "model/tokenizer.h"

#include <sys/mman.h>
#include <unistd.h>

enum { CHANGE_BYTES = 6, HEAD = 36, SOURCE = 40, ITEM = 112 };

static gguf_file *model_file;
static str model_bytes, good;

static void make_model(void) {
    static const char *const pieces[] = {"a",
                                         "b",
                                         "c",
                                         "ab",
                                         "abc",
                                         "\xC4\xA0",
                                         "\xC4\xA0"
                                         "a",
                                         "\n",
                                         "<|x|>",
                                         "bc"};
    static const char *const merges[] = {"a b", "ab c", "\xC4\xA0 a", "b c"};
    static const int32_t types[] = {1, 1, 1, 1, 1, 1, 1, 1, 3, 1};
    span p[ARRAY_LEN(pieces)], m[ARRAY_LEN(merges)];
    muga_error err;
    gguf_writer *w = gguf_writer_new();
    fuzz_need(w != NULL);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        p[i] = span_of_string(pieces[i]);
    for (size_t i = 0; i < ARRAY_LEN(merges); i++)
        m[i] = span_of_string(merges[i]);
    gguf_writer_add_string(w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_add_string(w, "tokenizer.ggml.pre", "gpt-2");
    gguf_writer_add_strings(w, "tokenizer.ggml.tokens", p, ARRAY_LEN(pieces));
    gguf_writer_add_i32s(w, "tokenizer.ggml.token_type", types, ARRAY_LEN(types));
    gguf_writer_add_strings(w, "tokenizer.ggml.merges", m, ARRAY_LEN(merges));
    fuzz_need(!gguf_writer_finish(w, &model_bytes, &err));
    gguf_writer_free(w);
    fuzz_need(!gguf_open_memory(model_bytes.data, model_bytes.len, &model_file, &err));
}

/* What a start with that model would keep. */
static void make_good(void) {
    char dir[] = "/tmp/fuzz-packed-XXXXXX", path[64];
    static const float vector[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const packed_item norm = {
        .name = "norm", .kind = PACKED_VECTOR, .n_parts = 1, .rows = 1, .cols = 8, .data = vector, .bytes = 32};
    packed_file *p;
    tokenizer *t;
    muga_error err;
    make_model();
    fuzz_need(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/packed", dir);
    fuzz_need(!packed_new(model_file, &p, &err));
    packed_add(p, &norm);
    fuzz_need(!tokenizer_open_packed(model_file, p, &t, &err));
    fuzz_need(!packed_write(p, &os_system()->files, path, "", &err));
    tokenizer_free(t);
    packed_free(p);
    fuzz_need(!os_read_file(&os_system()->files, path, (size_t)1 << 20, &good, &err));
    fuzz_need(unlink(path) == 0 && rmdir(dir) == 0);
}

static void change(uint8_t *file, size_t n, const uint8_t *data, size_t size) {
    for (; size >= CHANGE_BYTES; data += CHANGE_BYTES, size -= CHANGE_BYTES) {
        uint32_t place;
        memcpy(&place, data, sizeof place);
        size_t at = place % n;
        if (data[4] % 3 == 0)
            file[at] = data[5];
        else if (data[4] % 3 == 1)
            file[at] = (uint8_t)(file[at] + data[5]);
        else
            memset(file + at, data[5], MIN((size_t)64, n - at));
    }
    uint32_t counts[3];
    memcpy(counts, file + 24, sizeof counts);
    uint64_t head = HEAD + (uint64_t)counts[2] + (uint64_t)counts[0] * SOURCE + (uint64_t)counts[1] * ITEM;
    if (head + SHA256_BYTES <= n)
        sha256_of(file, (size_t)head, file + head);
}

static void use_tokenizer(const tokenizer *t) {
    static const char text[] = "abc ab <|x|> cab\n\xC3\xBC bcabc";
    muga_error err = {0};
    token_list ids = TOKEN_LIST_INIT;
    str back = STR_INIT;
    uint64_t work = 0;
    tokenizer_flags how = {.parse_special = true, .lossy = true, .work = &work};
    muga_status st = tokenizer_encode(t, text, sizeof text - 1, how, &ids, &err);
    fuzz_need(!st || st == MUGA_E_INPUT);
    for (size_t i = 0; i < ids.n; i++)
        fuzz_need(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_count(t));
    tokenizer_decode(t, ids.ids, ids.n, true, &back);
    fuzz_need(!back.failed && work < 100000);
    str_release(&back);
    token_list_release(&ids);
}

static void use(const char *path) {
    muga_error err = {0};
    packed_file *p;
    tokenizer *t;
    packed_item norm = {.name = "norm", .kind = PACKED_VECTOR, .n_parts = 1, .rows = 1, .cols = 8, .bytes = 32};
    volatile float sum = 0;
    fuzz_need(!packed_new(model_file, &p, &err));
    muga_status st = packed_map(p, path, &err);
    if (st)
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
    if (!st && packed_find(p, &norm)) {
        for (size_t i = 0; i < 8; i++)
            sum += ((const float *)norm.data)[i];
        st = tokenizer_open_packed(model_file, p, &t, &err);
        if (st)
            fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
        else
            use_tokenizer(t);
        if (!st)
            tokenizer_free(t);
    }
    packed_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    if (!model_file)
        make_good();
    uint8_t *file = fuzz_copy(good.data, good.len);
    change(file, good.len, data, size);
    int fd = memfd_create("packed", 0);
    fuzz_need(fd >= 0 && write(fd, file, good.len) == (ssize_t)good.len);
    free(file);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    use(path);
    close(fd);
    return 0;
}
