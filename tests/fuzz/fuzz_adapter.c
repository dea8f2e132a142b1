/* LoRA adapters for a model of one layer: one that loads computes finite or non-finite numbers, the same twice, and
 * leaves the row beside it that has no adapter alone. One that doesn't load is bad input, with a message. */
#include "fuzz.h"
#include "model/model.h"

enum { EMBD = 32, VOCAB = 8, N_TOK = 4 };

static void add(gguf_writer *w, const char *name, uint64_t rows) {
    static float values[EMBD * EMBD];
    for (int i = 0; i < EMBD * EMBD; i++)
        values[i] = (float)((i * 37 + (int)strlen(name) * 11) % 64 - 32) * 0x1p-6f;
    gguf_writer_add_tensor(w, name, TENSOR_F32, (uint64_t[]){EMBD, rows}, rows == 1 ? 1 : 2, values);
}

static void write_model(str *out) {
    static const char *const keys[] = {"llama.embedding_length", "llama.feed_forward_length"};
    static const char *const ones[] = {"llama.block_count", "llama.attention.head_count"};
    static const char *const norms[] = {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"};
    static const char *const matrices[] = {"blk.0.attn_q.weight",      "blk.0.attn_k.weight",   "blk.0.attn_v.weight",
                                           "blk.0.attn_output.weight", "blk.0.ffn_gate.weight", "blk.0.ffn_up.weight",
                                           "blk.0.ffn_down.weight"};
    gguf_writer *w = gguf_writer_new();
    span tokens[VOCAB];
    muga_error err;
    fuzz_need(w);
    for (int i = 0; i < VOCAB; i++)
        tokens[i] = span_of("abcdefgh" + i, 1);
    gguf_writer_add_string(w, "general.architecture", "llama");
    for (int i = 0; i < 2; i++) {
        gguf_writer_add_u32(w, keys[i], EMBD);
        gguf_writer_add_u32(w, ones[i], 1);
    }
    gguf_writer_add_u32(w, "llama.context_length", 64);
    gguf_writer_add_f32(w, "llama.attention.layer_norm_rms_epsilon", 0x1p-17f);
    gguf_writer_add_strings(w, "tokenizer.ggml.tokens", tokens, VOCAB);
    add(w, "token_embd.weight", VOCAB);
    add(w, "output.weight", VOCAB);
    for (size_t i = 0; i < ARRAY_LEN(norms); i++)
        add(w, norms[i], 1);
    for (size_t i = 0; i < ARRAY_LEN(matrices); i++)
        add(w, matrices[i], EMBD);
    fuzz_need(gguf_writer_finish(w, out, &err) == MUGA_OK);
    gguf_writer_free(w);
}

typedef struct runner {
    model *m;
    void *pages[2];
} runner;

/* Made once: nothing of a run stays in it but the working memory, which only grows. */
static const runner *get_runner(void) {
    static runner r;
    static str bytes;
    static gguf_file *f;
    muga_error err;
    if (r.m)
        return &r;
    write_model(&bytes);
    const model_load_options o = {0};
    fuzz_need(gguf_open_memory(bytes.data, bytes.len, &f, &err) == MUGA_OK);
    fuzz_need(model_load(f, &o, &r.m, &err) == MUGA_OK);
    for (int i = 0; i < 2; i++)
        fuzz_need(r.pages[i] = mem_alloc_aligned(model_page_bytes(r.m, KERNEL_KV_F32, 0), 64));
    return &r;
}

typedef struct rows {
    float v[N_TOK][VOCAB];
} rows;

static void keep(void *ctx, uint32_t i_tok, const float *logits) {
    memcpy(((rows *)ctx)->v[i_tok], logits, sizeof(float) * VOCAB);
}

/* Two sequences of two tokens; the second has the adapter, where there is one. */
static void compute(const model_adapter *a, rows *out) {
    const runner *r = get_runner();
    const int32_t ids[N_TOK] = {1, 5, 2, 7};
    const uint32_t pos[N_TOK] = {0, 1, 0, 1}, i_seq[N_TOK] = {0, 0, 1, 1}, n_ctx[2] = {64, 64};
    const bool wanted[N_TOK] = {true, true, true, true};
    void *const *const lists[2] = {&r->pages[0], &r->pages[1]};
    const model_adapter_use uses[2] = {{NULL, 0}, {a, 0.5f}};
    model_run_options o = {.kernels = kernel_table_get(kernel_isa_best()),
                           .act = KERNEL_ACT_F32,
                           .kv = KERNEL_KV_F32,
                           .max_tok = N_TOK,
                           .max_seq = 2};
    model_run *run = NULL;
    muga_error err;
    fuzz_need(model_run_new(r->m, &o, &run, &err) == MUGA_OK);
    fuzz_need(!a || model_run_prepare(run, a, &err) == MUGA_OK);
    for (int i = 0; i < 2; i++)
        memset(r->pages[i], 0, model_page_bytes(r->m, KERNEL_KV_F32, 0));
    model_forward(r->m, run,
                  &(model_batch){.n_tok = N_TOK,
                                 .ids = ids,
                                 .pos = pos,
                                 .i_seq = i_seq,
                                 .pages = {lists},
                                 .n_ctx = n_ctx,
                                 .n_seq = 2,
                                 .adapters = uses,
                                 .wanted = wanted,
                                 .on_logits = keep,
                                 .on_logits_ctx = out});
    model_run_free(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *file = fuzz_copy(data, size);
    gguf_file *f = NULL;
    model_adapter *a = NULL;
    muga_error err = {0};
    muga_status st = gguf_open_memory(file, size, &f, &err);
    if (!st)
        st = model_adapter_load(get_runner()->m, f, NULL, &a, &err);
    gguf_close(f);
    free(file);
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
        fuzz_need(!a);
        return 0;
    }
    rows plain, once, again;
    compute(NULL, &plain);
    compute(a, &once);
    compute(a, &again);
    fuzz_need(memcmp(&once, &again, sizeof once) == 0);
    fuzz_need(memcmp(plain.v, once.v, 2 * sizeof once.v[0]) == 0);
    fuzz_need(model_adapter_bytes(a) > 0);
    model_adapter_free(a);
    return 0;
}
