/* The texts of a model's folder: the first byte says which, config.json, tokenizer.json, tokenizer_config.json or
 * tokenizer.model; the others are a small model's. What is accepted makes a GGUF head that our reader takes, the same
 * each time; what isn't is bad input, with a message. */
#include "fuzz.h"

#include "convert/hf_model.h"

#define CONFIG                                                                                                         \
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":64,\"num_hidden_layers\":2,"                            \
    "\"num_attention_heads\":4,\"intermediate_size\":96,\"max_position_embeddings\":128,\"vocab_size\":32}"
#define TOKENIZER                                                                                                      \
    "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true}],\"pre_tokenizer\":{\"type\":\"ByteLevel\","   \
    "\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},"                    \
    "\"merges\":[\"a b\"]}}"

enum { PART_CONFIG, PART_TOKENIZER, PART_TOKENIZER_CONFIG, PART_SENTENCEPIECE, N_PARTS };

static json_t *parse(const char *p, size_t n) {
    json_t *v = NULL;
    muga_error err;
    return json_parse(p, n, "text", &v, &err) == MUGA_OK ? v : NULL;
}

/* The head that is made of the folder, appended. */
static muga_status make_head(const hf_dir *dir, str *head, muga_error *err) {
    hf_model m = {.dir = dir, .w = gguf_writer_new(), .err = err};
    if (!m.w)
        abort();
    hf_choose_arch(&m);
    hf_read_shape(&m);
    if (!m.st && (m.p.n_vocab > 4096 || m.p.n_layer > 64))
        m.st = error_set(err, MUGA_E_INPUT, "larger than this target takes");
    if (!m.st) {
        gguf_writer_add_string(m.w, "general.architecture", m.arch->name);
        hf_write_keys(&m);
    }
    hf_write_tokenizer(&m);
    for (uint32_t i = 0; i < m.n_tensors && !m.st; i++) /* factors of the rope */
        gguf_writer_add_tensor(m.w, m.tensors[i].name, TENSOR_F32, m.tensors[i].dims, 1, m.tensors[i].values);
    if (!m.st)
        m.st = gguf_writer_finish(m.w, head, err);
    gguf_writer_free(m.w);
    hf_model_release(&m);
    return m.st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    unsigned part = data[0] % N_PARTS;
    const char *text = (const char *)data + 1;
    json_t *given = part == PART_SENTENCEPIECE ? NULL : parse(text, size - 1);
    hf_dir dir = {.path = mem_copy_string(".")};
    str first = STR_INIT, second = STR_INIT;
    muga_error err = {0};
    dir.config = part == PART_CONFIG ? json_incref(given) : parse(CONFIG, strlen(CONFIG));
    dir.tokenizer_config = part == PART_TOKENIZER_CONFIG ? json_incref(given) : NULL;
    if (part == PART_SENTENCEPIECE)
        str_append(&dir.sentencepiece, text, size - 1);
    else
        dir.tokenizer = part == PART_TOKENIZER ? json_incref(given) : parse(TOKENIZER, strlen(TOKENIZER));
    muga_status st = make_head(&dir, &first, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_NOT_FOUND, &err);
    } else {
        gguf_file *f = NULL;
        st = gguf_open_memory(first.data, first.len, &f, &err);
        if (st)
            fprintf(stderr, "%s\n", err.message);
        fuzz_need(st == MUGA_OK);
        gguf_close(f);
        fuzz_need(make_head(&dir, &second, &err) == MUGA_OK && first.len == second.len &&
                  !memcmp(first.data, second.data, first.len));
    }
    json_decref(given);
    str_release(&first);
    str_release(&second);
    hf_dir_release(&dir);
    return 0;
}
