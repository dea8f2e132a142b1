/* A model with random weights, for measuring: speed and memory depend on shapes and types, not on values.
 *
 *   make_model SHAPE TYPE OUT [--seed N] [--ctx N] [--pure] [--vocabulary GGUF]
 *
 * SHAPE is a row of `shapes` below; TYPE a kind of quantised file as `muga quantize` knows them ("Q3_K" is Q3_K_M), in
 * its mixture of types, or with --pure every matrix in the base type. The file is whole: hyperparameters, a small
 * byte-level BPE vocabulary padded to size, or that of another model, a chat template; muga and llama.cpp load it, and
 * its logits are finite. The same arguments give the same bytes.
 *
 * A matrix is filled from a pool of normally distributed numbers (sigma 0.02), quantised once a type and then copied in
 * random order, so that writing is as fast as the disk. Norms are 1. */
#include "convert/mixture.h"
#include "os/os.h"
#include "tensor/quantise.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    const char *name, *of; /* of: whose shape it is */
    const char *arch;
    uint32_t n_layer, n_embd, n_head, n_head_kv, n_ff, n_vocab, n_ctx, n_rot;
    float rope_base;
} shape;

static const shape shapes[] = {
    {"tiny", "a tiny llama", "llama", 4, 256, 4, 2, 768, 2048, 32768, 64, 1e4f},
    {"tiny-phi3", "a tiny Phi-4", "phi3", 4, 256, 4, 2, 768, 2048, 131072, 48, 1e4f},
    {"135m", "SmolLM2-135M", "llama", 30, 576, 9, 3, 1536, 49152, 32768, 64, 1e5f},
    {"360m", "SmolLM2-360M", "llama", 32, 960, 15, 5, 2560, 49152, 32768, 64, 1e5f},
    {"1.7b", "SmolLM2-1.7B", "llama", 24, 2048, 32, 32, 8192, 49152, 32768, 64, 1.3e5f},
    {"3.8b", "Phi-4-mini", "phi3", 32, 3072, 24, 8, 8192, 200064, 131072, 96, 1e4f},
};

enum { POOL_ELEMS = 1 << 18, CHUNK_BYTES = 1 << 20, N_MERGES = 8, N_SPECIAL = 3, N_BYTES = 256 };

typedef struct maker {
    const shape *s;
    mixture mix;
    uint64_t seed;
    uint32_t n_ctx;
    const char *vocabulary; /* the file whose tokenizer it has; NULL = a small one */
    gguf_writer *w;
    gguf_tensor *tensors; /* name, type and dims of each, in file order */
    size_t n, cap;
    float *normal;                /* [POOL_ELEMS] */
    void *pool[TENSOR_NVFP4 + 1]; /* POOL_ELEMS elements each, made at first use */
} maker;

static void die(const char *what) {
    fprintf(stderr, "make_model: %s\n", what);
    exit(6);
}

static void *must(void *p) {
    if (!p)
        die("out of memory");
    return p;
}

/* ---- tensors ---- */

static bool is_phi3(const maker *m) {
    return !strcmp(m->s->arch, "phi3");
}

static void add(maker *m, const char *name, uint64_t cols, uint64_t rows) {
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 64;
        m->tensors = must(mem_resize_array(m->tensors, m->cap, sizeof *m->tensors));
    }
    gguf_tensor *t = &m->tensors[m->n++];
    bool fell_back, vector = rows == 0;
    *t = (gguf_tensor){.name = must(strdup(name)), .n_dims = vector ? 1 : 2, .dims = {cols, vector ? 1 : rows, 1, 1}};
    t->type = mixture_is_matrix(t) ? mixture_choose(&m->mix, t, &fell_back) : TENSOR_F32;
    gguf_writer_add_tensor(m->w, name, t->type, t->dims, t->n_dims, NULL);
}

static void add_layer(maker *m, uint32_t i, const char *stem, uint64_t cols, uint64_t rows) {
    char name[64];
    snprintf(name, sizeof name, "blk.%u.%s.weight", i, stem);
    add(m, name, cols, rows);
}

static void add_tensors(maker *m) {
    const shape *s = m->s;
    uint64_t embd = s->n_embd, head_dim = embd / s->n_head, n_kv = head_dim * s->n_head_kv, n_ff = s->n_ff;
    add(m, "token_embd.weight", embd, s->n_vocab);
    if (is_phi3(m)) {
        add(m, "rope_factors_long.weight", s->n_rot / 2, 0);
        add(m, "rope_factors_short.weight", s->n_rot / 2, 0);
    }
    for (uint32_t i = 0; i < s->n_layer; i++) {
        add_layer(m, i, "attn_norm", embd, 0);
        if (is_phi3(m)) {
            add_layer(m, i, "attn_qkv", embd, embd + 2 * n_kv);
        } else {
            add_layer(m, i, "attn_q", embd, embd);
            add_layer(m, i, "attn_k", embd, n_kv);
            add_layer(m, i, "attn_v", embd, n_kv);
        }
        add_layer(m, i, "attn_output", embd, embd);
        add_layer(m, i, "ffn_norm", embd, 0);
        if (!is_phi3(m))
            add_layer(m, i, "ffn_gate", embd, n_ff);
        add_layer(m, i, "ffn_up", embd, is_phi3(m) ? 2 * n_ff : n_ff);
        add_layer(m, i, "ffn_down", n_ff, embd);
    }
    add(m, "output_norm.weight", embd, 0);
}

/* ---- keys ---- */

static void arch_key(const maker *m, const char *key, char out[96]) {
    snprintf(out, 96, "%s.%s", m->s->arch, key);
}
static void key_u32(maker *m, const char *key, uint32_t v) {
    char name[96];
    arch_key(m, key, name);
    gguf_writer_add_u32(m->w, name, v);
}
static void key_f32(maker *m, const char *key, float v) {
    char name[96];
    arch_key(m, key, name);
    gguf_writer_add_f32(m->w, name, v);
}

/* The character that stands for a byte in a byte-level vocabulary: itself where it is visible in Latin-1, else one from
 * U+0100 on, in order. */
static void byte_text(int byte, str *out) {
    int c = byte, next = 256;
    for (int b = 0; b <= byte; b++) {
        bool visible = (b >= '!' && b <= '~') || (b >= 0xa1 && b != 0xad);
        c = visible ? b : next++;
    }
    if (c < 0x80) {
        str_append_c(out, (char)c);
    } else {
        str_append_c(out, (char)(0xc0 | c >> 6));
        str_append_c(out, (char)(0x80 | (c & 0x3f)));
    }
}

static void add_vocabulary(maker *m) {
    static const char *const special[N_SPECIAL] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    static const char *const merges[N_MERGES][2] = {{"t", "h"},  {"i", "n"}, {"e", "r"}, {"a", "n"},
                                                    {"th", "e"}, {"o", "n"}, {"r", "e"}, {"in", "g"}};
    static const char template[] = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + "
                                   "'<|im_end|>\\n' }}{% endfor %}"
                                   "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    uint32_t n = m->s->n_vocab;
    str *texts = must(mem_alloc_array(n, sizeof *texts));
    span *tokens = must(mem_alloc_array(n, sizeof *tokens)), joined[N_MERGES];
    int32_t *types = must(mem_alloc_array(n, sizeof *types));
    char lines[N_MERGES][16];
    for (uint32_t i = 0; i < n; i++) {
        types[i] = i < N_SPECIAL ? 3 : 1; /* control, normal */
        if (i < N_SPECIAL)
            str_append_s(&texts[i], special[i]);
        else if (i < N_SPECIAL + N_BYTES)
            byte_text((int)i - N_SPECIAL, &texts[i]);
        else if (i < N_SPECIAL + N_BYTES + N_MERGES)
            str_printf(&texts[i], "%s%s", merges[i - N_SPECIAL - N_BYTES][0], merges[i - N_SPECIAL - N_BYTES][1]);
        else
            str_printf(&texts[i], "padding%u", i);
        tokens[i] = span_of(must(texts[i].data), texts[i].len);
    }
    for (size_t i = 0; i < N_MERGES; i++) {
        snprintf(lines[i], sizeof lines[i], "%s %s", merges[i][0], merges[i][1]);
        joined[i] = span_of_string(lines[i]);
    }
    gguf_writer_add_string(m->w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_add_string(m->w, "tokenizer.ggml.pre", is_phi3(m) ? "gpt-4o" : "smollm");
    gguf_writer_add_strings(m->w, "tokenizer.ggml.tokens", tokens, n);
    gguf_writer_add_i32s(m->w, "tokenizer.ggml.token_type", types, n);
    gguf_writer_add_strings(m->w, "tokenizer.ggml.merges", joined, N_MERGES);
    gguf_writer_add_u32(m->w, "tokenizer.ggml.bos_token_id", 1);
    gguf_writer_add_u32(m->w, "tokenizer.ggml.eos_token_id", 2);
    gguf_writer_add_bool(m->w, "tokenizer.ggml.add_bos_token", false);
    gguf_writer_add_string(m->w, "tokenizer.chat_template", template);
    for (uint32_t i = 0; i < n; i++)
        str_release(&texts[i]);
    free(texts);
    free(tokens);
    free(types);
}

/* Another model's, which must be as large. */
static void copy_vocabulary(maker *m) {
    gguf_file *f;
    muga_error err = {0};
    gguf_array tokens;
    if (gguf_open(m->vocabulary, &f, &err))
        die(err.message);
    for (uint64_t i = 0; i < gguf_key_count(f); i++)
        if (!strncmp(gguf_key_name(f, i, NULL), "tokenizer.", 10))
            gguf_writer_copy_key(m->w, f, i);
    if (gguf_get_array(f, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, &err) || tokens.n != m->s->n_vocab)
        die("that model's vocabulary has another size");
    gguf_close(f);
}

static void add_keys(maker *m) {
    const shape *s = m->s;
    char name[96];
    gguf_writer_add_string(m->w, "general.architecture", s->arch);
    snprintf(name, sizeof name, "random weights in the shape of %s", s->of);
    gguf_writer_add_string(m->w, "general.name", name);
    gguf_writer_add_u32(m->w, "general.file_type", m->mix.kind->file_type);
    gguf_writer_add_u32(m->w, "general.quantization_version", 2);
    key_u32(m, "vocab_size", s->n_vocab);
    key_u32(m, "context_length", m->n_ctx);
    key_u32(m, "embedding_length", s->n_embd);
    key_u32(m, "block_count", s->n_layer);
    key_u32(m, "feed_forward_length", s->n_ff);
    key_u32(m, "attention.head_count", s->n_head);
    key_u32(m, "attention.head_count_kv", s->n_head_kv);
    key_f32(m, "attention.layer_norm_rms_epsilon", 1e-5f);
    key_f32(m, "rope.freq_base", s->rope_base);
    key_u32(m, "rope.dimension_count", s->n_rot);
    if (is_phi3(m)) {
        key_u32(m, "rope.scaling.original_context_length", 4096);
        key_f32(m, "rope.scaling.attn_factor", 1.1902381f); /* sqrt(1 + ln(131072 / 4096) / ln 4096) */
        key_u32(m, "attention.sliding_window", 262144);
    }
    if (m->vocabulary)
        copy_vocabulary(m);
    else
        add_vocabulary(m);
}

/* ---- data ---- */

/* Normally distributed, as exactly on every machine as its libm is. */
static void fill_normal(maker *m) {
    rng r = {m->seed};
    m->normal = must(mem_alloc_array(POOL_ELEMS, sizeof *m->normal));
    for (size_t i = 0; i < POOL_ELEMS; i += 2) {
        double u = ((double)(rng_next(&r) >> 11) + 0.5) * 0x1p-53, v = (double)(rng_next(&r) >> 11) * 0x1p-53;
        double radius = 0.02 * sqrt(-2 * log(u)), angle = 6.283185307179586 * v;
        m->normal[i] = (float)(radius * cos(angle));
        m->normal[i + 1] = (float)(radius * sin(angle));
    }
}

static const uint8_t *pool_of(maker *m, tensor_type type) {
    const tensor_traits *traits = tensor_type_traits(type);
    if (!m->pool[type]) {
        m->pool[type] = must(malloc(POOL_ELEMS / traits->block_elems * traits->block_bytes));
        tensor_quantise(type, m->normal, NULL, m->pool[type], POOL_ELEMS);
    }
    return m->pool[type];
}

static void write_out(os_output *out, const void *p, size_t n) {
    muga_error err = {0};
    if (os_output_write(out, p, n, &err))
        die(err.message);
}

static void write_vector(const gguf_tensor *t, os_output *out) {
    for (uint64_t i = 0; i < t->dims[0]; i++) {
        float v = 1; /* Phi-4-mini's long factors grow towards the slow turns, from 1 to about 32 */
        if (!strcmp(t->name, "rope_factors_long.weight"))
            v = (float)pow(32, (double)i / (double)(t->dims[0] - 1));
        write_out(out, &v, sizeof v);
    }
}

/* Runs of 32 to 256 elements from the pool, wherever chance says. */
static void write_matrix(maker *m, rng *r, const gguf_tensor *t, uint64_t bytes, os_output *out) {
    const tensor_traits *traits = tensor_type_traits(t->type);
    const uint8_t *pool = pool_of(m, t->type);
    uint32_t n_run = MAX(256 / traits->block_elems, 1u), run = n_run * traits->block_bytes;
    uint32_t n_place = POOL_ELEMS / traits->block_elems - n_run + 1;
    uint8_t *chunk = must(malloc(CHUNK_BYTES + run));
    while (bytes > 0) {
        size_t n = 0, want = (size_t)MIN(bytes, (uint64_t)CHUNK_BYTES);
        for (; n < want; n += run)
            memcpy(chunk + n, pool + (size_t)rng_below(r, n_place) * traits->block_bytes, run);
        n = (size_t)MIN((uint64_t)n, bytes);
        write_out(out, chunk, n);
        bytes -= n;
    }
    free(chunk);
}

static uint64_t write_file(maker *m, const char *path) {
    static const uint8_t zeros[32];
    muga_error err = {0};
    os_output out;
    str head = STR_INIT;
    rng r = {m->seed ^ 0x5eed};
    if (gguf_writer_head(m->w, &head, &err) || os_output_open(&os_system()->files, path, &out, &err))
        die(err.message);
    write_out(&out, str_get(&head), head.len);
    for (size_t i = 0; i < m->n; i++) {
        if (m->tensors[i].n_dims == 1)
            write_vector(&m->tensors[i], &out);
        else
            write_matrix(m, &r, &m->tensors[i], gguf_writer_tensor_bytes(m->w, i), &out);
        write_out(&out, zeros, (size_t)gguf_writer_pad_bytes(m->w, i));
    }
    if (os_output_commit(&out, &err))
        die(err.message);
    uint64_t bytes = head.len + gguf_writer_data_bytes(m->w);
    str_release(&head);
    return bytes;
}

static int usage(void) {
    fprintf(stderr, "usage: make_model SHAPE TYPE OUT [--seed N] [--ctx N] [--pure] [--vocabulary GGUF]\nSHAPE:\n");
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        fprintf(stderr, "  %-9s %s\n", shapes[i].name, shapes[i].of);
    fprintf(stderr, "TYPE: ");
    for (size_t i = 0; mixture_at(i); i++)
        fprintf(stderr, "%s%s", i ? " " : "", mixture_at(i)->name);
    fprintf(stderr, "\n");
    return 2;
}

static bool parse_number(const char *text, uint64_t max, uint64_t *out) {
    char *end;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && *out <= max;
}

int main(int argc, char **argv) {
    maker m = {.seed = 1};
    if (argc < 4)
        return usage();
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        if (!strcmp(shapes[i].name, argv[1]))
            m.s = &shapes[i];
    m.mix.kind = mixture_find(argv[2]);
    if (!m.s || !m.mix.kind)
        return usage();
    uint64_t n_ctx = m.s->n_ctx;
    for (int i = 4; i < argc; i++) {
        if (!strcmp(argv[i], "--pure"))
            m.mix.pure = true;
        else if (i + 1 < argc && !strcmp(argv[i], "--vocabulary"))
            m.vocabulary = argv[++i];
        else if (i + 1 < argc && !strcmp(argv[i], "--seed") && parse_number(argv[i + 1], UINT64_MAX, &m.seed))
            i++;
        else if (i + 1 < argc && !strcmp(argv[i], "--ctx") && parse_number(argv[i + 1], UINT32_MAX, &n_ctx) && n_ctx)
            i++;
        else
            return usage();
    }
    m.n_ctx = (uint32_t)n_ctx;
    m.mix.n_layer = m.s->n_layer;
    m.mix.n_share = m.s->n_head / m.s->n_head_kv;
    m.w = must(gguf_writer_new());
    add_keys(&m);
    add_tensors(&m);
    fill_normal(&m);
    printf("%s: %s in %s, %.2f GB\n", argv[3], m.s->of, m.mix.kind->name, (double)write_file(&m, argv[3]) * 1e-9);
    for (size_t i = 0; i < m.n; i++)
        free((char *)(uintptr_t)m.tensors[i].name);
    for (size_t i = 0; i < ARRAY_LEN(m.pool); i++)
        free(m.pool[i]);
    free(m.tensors);
    free(m.normal);
    gguf_writer_free(m.w);
    return 0;
}
