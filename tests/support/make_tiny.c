/* Makes tests/data/tiny.gguf. Owns the text the vocabulary is learned from, the learning, and the random weights. One
 * idea: everything comes from a counter-based generator and operations that IEEE 754 rounds exactly, so the file can be
 * checked in and also be made again, byte for byte (tests/unit/test_tiny.c). */
#include "support/make_tiny.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "gguf/gguf.h"
#include "model/pretokenize.h"
#include "tensor/tensor.h"

#include <stdio.h>

#define N_SPECIAL 3
#define N_MERGES (TINY_VOCAB - N_SPECIAL - 256)
#define MAX_SYMBOLS 16384

static const char corpus[] =
    "Hello, how can I help you today? I would like to know where my order is. Please tell me the order number.\n"
    "The order A10234 was shipped on Monday and will arrive on Thursday. Thank you for your message!\n"
    "I forgot my password and cannot sign in to my account. Can you reset the password for me, please?\n"
    "The password reset is held for approval; you will get a message when it is done.\n"
    "Customer: the parcel has not arrived. Agent: I am sorry about that; I will look it up for you.\n"
    "What is the status of the account? The account is active, and there are three orders in it.\n"
    "I can't find an order with that number. Could you check the number and send it again?\n"
    "That is not something I can help with, but a colleague will answer you as soon as possible.\n"
    "{\"tool\": \"order_status\", \"arguments\": {\"order_id\": \"A10234\"}}\n"
    "{\"tool\": \"reset_password\", \"arguments\": {\"reason\": \"forgotten\"}}\n"
    "{\"action\": \"answer\", \"text\": \"The order is on its way.\"}\n"
    "{\"status\": \"shipped\", \"eta\": \"2026-11-26\", \"total\": 149.90, \"paid\": true, \"note\": null}\n"
    "You are a helpful agent. system user assistant tool\n"
    "When the weather is fine we walk along the river to the mill and have bread and cheese on the grass.\n"
    "She wrote the letter in the evening, read it once more in the morning, and then sent it to the office.\n"
    "It's what they've said; we'll see whether it'll do, and I'm sure you're right that he'd rather not.\n"
    "The quick brown fox jumps over the lazy dog. 0 1 2 3 4 5 6 7 8 9 10 11 12 100 1000\n"
    "An invoice for the repair of two machines, dated the third of March, with thirty days to pay.\n";

static const char chat_template[] =
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful agent.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* ---- vocabulary ---- */

typedef struct learner {
    char pieces[TINY_VOCAB][64]; /* as the file spells them: GPT-2's alphabet */
    size_t piece_bytes[TINY_VOCAB];
    char merges[N_MERGES][128];
    int symbols[MAX_SYMBOLS]; /* the text as token ids; -1 between words */
    size_t n_symbols;
    int counts[TINY_VOCAB][TINY_VOCAB];
} learner;

/* The printable character that stands for a byte. */
static uint32_t byte_character(int byte) {
    uint32_t next = 0x100;
    for (int b = 0; b <= byte; b++) {
        bool prints = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        if (b == byte)
            return prints ? (uint32_t)b : next;
        next += !prints;
    }
    return 0;
}

static bool add_word(void *ctx, const char *p, size_t n) {
    learner *l = ctx;
    if (l->n_symbols + n + 1 > MAX_SYMBOLS)
        return false;
    for (size_t i = 0; i < n; i++)
        l->symbols[l->n_symbols++] = N_SPECIAL + (uint8_t)p[i];
    l->symbols[l->n_symbols++] = -1;
    return true;
}

/* The commonest pair; of equals the one with the lower ids. */
static void find_commonest(learner *l, int n_tokens, int *left, int *right) {
    memset(l->counts, 0, sizeof l->counts);
    for (size_t i = 0; i + 1 < l->n_symbols; i++) {
        if (l->symbols[i] >= 0 && l->symbols[i + 1] >= 0)
            l->counts[l->symbols[i]][l->symbols[i + 1]]++;
    }
    *left = *right = 0;
    for (int a = 0; a < n_tokens; a++) {
        for (int b = 0; b < n_tokens; b++) {
            if (l->counts[a][b] > l->counts[*left][*right]) {
                *left = a;
                *right = b;
            }
        }
    }
}

static void replace_pair(learner *l, int left, int right, int merged) {
    size_t w = 0;
    for (size_t i = 0; i < l->n_symbols; i++) {
        bool is_pair = i + 1 < l->n_symbols && l->symbols[i] == left && l->symbols[i + 1] == right;
        l->symbols[w++] = is_pair ? merged : l->symbols[i];
        i += is_pair;
    }
    l->n_symbols = w;
}

static bool learn(learner *l) {
    static const char *const special[N_SPECIAL] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    for (int i = 0; i < N_SPECIAL; i++) {
        l->piece_bytes[i] = strlen(special[i]);
        memcpy(l->pieces[i], special[i], l->piece_bytes[i]);
    }
    for (int b = 0; b < 256; b++)
        l->piece_bytes[N_SPECIAL + b] = utf8_encode(byte_character(b), l->pieces[N_SPECIAL + b]);
    const pretokenizer *pre = pretokenize_find("smollm", 6);
    if (!pre || !pretokenize_run(pre, corpus, sizeof corpus - 1, add_word, l))
        return false;
    for (int i = 0; i < N_MERGES; i++) {
        int left, right, merged = N_SPECIAL + 256 + i;
        find_commonest(l, merged, &left, &right);
        size_t n_left = l->piece_bytes[left], n_right = l->piece_bytes[right];
        if (n_left + n_right >= sizeof l->pieces[0] || l->counts[left][right] < 2)
            return false;
        memcpy(l->pieces[merged], l->pieces[left], n_left);
        memcpy(l->pieces[merged] + n_left, l->pieces[right], n_right);
        l->piece_bytes[merged] = n_left + n_right;
        memcpy(l->merges[i], l->pieces[left], n_left);
        l->merges[i][n_left] = ' ';
        memcpy(l->merges[i] + n_left + 1, l->pieces[right], n_right);
        replace_pair(l, left, right, merged);
    }
    return true;
}

/* chat: NULL, or what the last tokens and the template are instead. */
static muga_status add_vocabulary(gguf_writer *w, const tiny_chat *chat, muga_error *err) {
    muga_status st = MUGA_OK;
    learner *l = calloc(1, sizeof *l);
    if (!l)
        return error_nomem(err, "vocabulary of the small model");
    if (!learn(l)) {
        st = error_set(err, MUGA_E_INTERNAL, "the text is too short to learn %d merges from", N_MERGES);
        goto out;
    }
    span tokens[TINY_VOCAB], merges[N_MERGES];
    int32_t types[TINY_VOCAB];
    for (int i = 0; i < TINY_VOCAB; i++) {
        tokens[i] = span_of(l->pieces[i], l->piece_bytes[i]);
        types[i] = i < N_SPECIAL ? 3 : 1;
    }
    for (int i = 0; i < N_MERGES; i++)
        merges[i] = span_of_string(l->merges[i]);
    int n_special = chat ? (int)chat->n_special : 0;
    for (int i = 0; i < n_special; i++) { /* what was merged last is needed by no other merge */
        tokens[TINY_VOCAB - n_special + i] = span_of_string(chat->special[i]);
        types[TINY_VOCAB - n_special + i] = chat->control ? 3 : 4;
    }
    gguf_writer_add_string(w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_add_string(w, "tokenizer.ggml.pre", "smollm");
    gguf_writer_add_strings(w, "tokenizer.ggml.tokens", tokens, TINY_VOCAB);
    gguf_writer_add_i32s(w, "tokenizer.ggml.token_type", types, TINY_VOCAB);
    gguf_writer_add_strings(w, "tokenizer.ggml.merges", merges, (size_t)(N_MERGES - n_special));
    gguf_writer_add_u32(w, "tokenizer.ggml.bos_token_id", 1);
    gguf_writer_add_u32(w, "tokenizer.ggml.eos_token_id", 2);
    gguf_writer_add_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_writer_add_u32(w, "tokenizer.ggml.padding_token_id", 2);
    gguf_writer_add_bool(w, "tokenizer.ggml.add_bos_token", false);
    gguf_writer_add_string(w, "tokenizer.chat_template", chat ? chat->template : chat_template);
out:
    free(l);
    return st;
}

/* ---- weights ---- */

float make_random(rng *r) {
    float sum = 0.0f;
    for (int i = 0; i < 4; i++)
        sum += (float)(rng_next(r) >> 40) * (1.0f / 16777216.0f);
    return (sum - 2.0f) * 1.7320508f;
}

/* A matrix of `rows` rows of `cols`; the bytes live in a until the file is written. rows 1: a norm, near one. */
static bool add_tensor(gguf_writer *w, arena *a, rng *r, const char *name, tensor_type type, uint64_t cols,
                       uint64_t rows, float scale) {
    const tensor_traits *traits = tensor_type_traits(type);
    size_t n = (size_t)(cols * rows);
    float *values = arena_alloc(a, n * sizeof values[0]);
    void *blocks = arena_alloc(a, n / traits->block_elems * traits->block_bytes);
    if (!values || !blocks)
        return false;
    for (size_t i = 0; i < n; i++)
        values[i] = rows == 1 ? 1.0f + 0.1f * make_random(r) : scale * make_random(r);
    if (type == TENSOR_F32)
        memcpy(blocks, values, n * sizeof values[0]);
    else
        traits->quantise(values, blocks, n);
    uint64_t dims[2] = {cols, rows};
    gguf_writer_add_tensor(w, name, type, dims, rows == 1 ? 1 : 2, blocks);
    return true;
}

typedef struct layer_tensor {
    const char *name;
    uint64_t cols, rows;
    float scale; /* 1/sqrt(cols), more or less */
    tensor_type types[TINY_LAYERS];
} layer_tensor;

static bool add_weights(gguf_writer *w, arena *a, bool windowed) {
    enum { KV = TINY_EMBD / TINY_HEADS * TINY_HEADS_KV };
    static const layer_tensor layer[] = {
        {"attn_norm", TINY_EMBD, 1, 0.0f, {TENSOR_F32, TENSOR_F32}},
        {"attn_q", TINY_EMBD, TINY_EMBD, 0.25f, {TENSOR_Q4_1, TENSOR_Q8_0}},
        {"attn_k", TINY_EMBD, KV, 0.25f, {TENSOR_Q4_1, TENSOR_Q8_0}},
        {"attn_v", TINY_EMBD, KV, 0.125f, {TENSOR_Q4_1, TENSOR_F16}},
        {"attn_output", TINY_EMBD, TINY_EMBD, 0.125f, {TENSOR_Q4_1, TENSOR_F16}},
        {"ffn_norm", TINY_EMBD, 1, 0.0f, {TENSOR_F32, TENSOR_F32}},
        {"ffn_gate", TINY_EMBD, TINY_FF, 0.125f, {TENSOR_Q4_1, TENSOR_Q8_0}},
        {"ffn_up", TINY_EMBD, TINY_FF, 0.125f, {TENSOR_Q4_1, TENSOR_Q8_0}},
        {"ffn_down", TINY_FF, TINY_EMBD, 0.09f, {TENSOR_Q4_1, TENSOR_Q8_0}},
    };
    static const layer_tensor more[] = {
        {"post_attention_norm", TINY_EMBD, 1, 0.0f, {TENSOR_F32, TENSOR_F32}},
        {"post_ffw_norm", TINY_EMBD, 1, 0.0f, {TENSOR_F32, TENSOR_F32}},
    };
    rng r = {20260914};
    if (!add_tensor(w, a, &r, "token_embd.weight", TENSOR_Q8_0, TINY_EMBD, TINY_VOCAB, 0.5f))
        return false;
    for (int i = 0; i < (windowed ? TINY_LAYERS_WINDOWED : TINY_LAYERS); i++) {
        for (size_t k = 0; k < ARRAY_LEN(layer) + (windowed ? ARRAY_LEN(more) : 0); k++) {
            const layer_tensor *t = k < ARRAY_LEN(layer) ? &layer[k] : &more[k - ARRAY_LEN(layer)];
            const char *name = arena_printf(a, "blk.%d.%s.weight", i, t->name);
            if (!name || !add_tensor(w, a, &r, name, t->types[i % TINY_LAYERS], t->cols, t->rows, t->scale))
                return false;
        }
    }
    return add_tensor(w, a, &r, "output_norm.weight", TENSOR_F32, TINY_EMBD, 1, 0.0f) &&
           add_tensor(w, a, &r, "output.weight", TENSOR_Q8_0, TINY_EMBD, TINY_VOCAB, 0.3f);
}

static void add_u32(gguf_writer *w, const char *arch, const char *name, uint32_t value) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", arch, name);
    gguf_writer_add_u32(w, key, value);
}

static void add_f32(gguf_writer *w, const char *arch, const char *name, float value) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", arch, name);
    gguf_writer_add_f32(w, key, value);
}

static muga_status make(bool windowed, const tiny_chat *chat, str *out, muga_error *err) {
    const char *arch = windowed ? "gemma2" : "llama";
    arena a;
    arena_init(&a, 0);
    gguf_writer *w = gguf_writer_new();
    muga_status st = w ? MUGA_OK : error_nomem(err, "small model");
    if (st)
        goto out;
    gguf_writer_add_string(w, "general.architecture", arch);
    gguf_writer_add_string(w, "general.name", "tiny");
    add_u32(w, arch, "block_count", windowed ? TINY_LAYERS_WINDOWED : TINY_LAYERS);
    add_u32(w, arch, "context_length", TINY_CTX);
    add_u32(w, arch, "embedding_length", TINY_EMBD);
    add_u32(w, arch, "feed_forward_length", TINY_FF);
    add_u32(w, arch, "attention.head_count", TINY_HEADS);
    add_u32(w, arch, "attention.head_count_kv", TINY_HEADS_KV);
    add_f32(w, arch, "attention.layer_norm_rms_epsilon", 1e-5f);
    add_f32(w, arch, "rope.freq_base", 10000.0f);
    add_u32(w, arch, "rope.dimension_count", TINY_EMBD / TINY_HEADS);
    add_u32(w, arch, "vocab_size", TINY_VOCAB);
    if (windowed)
        add_u32(w, arch, "attention.sliding_window", TINY_WINDOW);
    if ((st = add_vocabulary(w, chat, err)))
        goto out;
    st = add_weights(w, &a, windowed) ? gguf_writer_finish(w, out, err) : error_nomem(err, "small model");
out:
    gguf_writer_free(w);
    arena_release(&a);
    return st;
}

muga_status make_tiny(str *out, muga_error *err) {
    return make(false, NULL, out, err);
}

muga_status make_tiny_windowed(str *out, muga_error *err) {
    return make(true, NULL, out, err);
}

muga_status make_tiny_chat(const tiny_chat *chat, str *out, muga_error *err) {
    if (chat->n_special > N_MERGES / 2)
        return error_set(err, MUGA_E_LIMIT, "too many special tokens for the small model");
    return make(false, chat, out, err);
}
