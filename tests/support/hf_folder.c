/* The inverse of conversion (hf_folder.h). */
#include "support/hf_folder.h"

#include "support/support.h"

#include "base/json.h"
#include "base/mem.h"
#include "convert/quantise_file.h"
#include "gguf/gguf.h"
#include "os/os.h"

#include <stdio.h>

#define SPACE "\xE2\x96\x81"

typedef struct folder {
    const gguf_file *f;
    const char *dir;
    const hf_folder_options *o;
    char arch[32];
} folder;

static bool is(const folder *w, const char *arch) {
    return !strcmp(w->arch, arch);
}

static void write_text(const folder *w, const char *name, const void *p, size_t n) {
    char path[512];
    muga_error err = {0};
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    assert_ok(os_write_file_atomic(&os_system()->files, path, p, n, &err), &err);
}

static void write_json(const folder *w, const char *name, json_t *v) {
    str text = STR_INIT;
    json_write(v, &text);
    write_text(w, name, str_get(&text), text.len);
    str_release(&text);
    json_decref(v);
}

/* ---- keys ---- */

static const char *key_name(const folder *w, const char *key) {
    static char name[128];
    snprintf(name, sizeof name, "%s.%s", w->arch, key);
    return name;
}

static int64_t number(const folder *w, const char *key, int64_t otherwise) {
    uint32_t v;
    return gguf_get_u32(w->f, key_name(w, key), &v, NULL) == MUGA_OK ? v : otherwise;
}

/* The shortest decimal that is this float, as the folder's author would have written it. */
static double real(const folder *w, const char *key, double otherwise) {
    float v;
    char text[32];
    if (gguf_get_f32(w->f, key_name(w, key), &v, NULL) != MUGA_OK)
        return otherwise;
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    return strtod(text, NULL);
}

static void put_int(json_t *o, const char *key, int64_t v) {
    json_object_set_new(o, key, json_integer(v));
}
static void put_real(json_t *o, const char *key, double v) {
    json_object_set_new(o, key, json_real(v));
}
static void put_text(json_t *o, const char *key, const char *v) {
    json_object_set_new(o, key, json_string(v));
}

static const char *class_of(const folder *w) {
    static const char *const classes[][2] = {
        {"llama", "LlamaForCausalLM"},   {"qwen2", "Qwen2ForCausalLM"},       {"qwen3", "Qwen3ForCausalLM"},
        {"phi3", "Phi3ForCausalLM"},     {"nemotron", "NemotronForCausalLM"}, {"gemma2", "Gemma2ForCausalLM"},
        {"gemma3", "Gemma3ForCausalLM"}, {"granite", "GraniteForCausalLM"},   {"smollm3", "SmolLM3ForCausalLM"},
    };
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        if (is(w, classes[i][0]))
            return classes[i][1];
    fail_msg("no class for %s", w->arch);
    return NULL;
}

static json_t *factors(const folder *w, const char *tensor) {
    const gguf_tensor *t = gguf_tensor_find(w->f, tensor);
    json_t *list = json_array();
    for (uint64_t i = 0; i < t->dims[0]; i++) {
        float v;
        memcpy(&v, (const uint8_t *)t->data + i * sizeof v, sizeof v);
        json_array_append_new(list, json_real((double)v));
    }
    return list;
}

/* NULL: none. */
static json_t *rope_scaling(const folder *w, json_t *config) {
    json_t *rope = json_object();
    int64_t n_orig = number(w, "rope.scaling.original_context_length", 0);
    span type;
    if (gguf_tensor_find(w->f, "rope_freqs.weight")) { /* the one golden model has these numbers */
        put_text(rope, "rope_type", "llama3");
        put_real(rope, "factor", 8);
        put_real(rope, "low_freq_factor", 1);
        put_real(rope, "high_freq_factor", 4);
        put_int(rope, "original_max_position_embeddings", 256);
    } else if (gguf_tensor_find(w->f, "rope_factors_long.weight")) {
        put_text(rope, "type", "longrope");
        json_object_set_new(rope, "short_factor", factors(w, "rope_factors_short.weight"));
        json_object_set_new(rope, "long_factor", factors(w, "rope_factors_long.weight"));
        put_int(config, "original_max_position_embeddings", n_orig);
    } else if (gguf_get_string(w->f, key_name(w, "rope.scaling.type"), &type, NULL) == MUGA_OK) {
        assert_true(span_equal_string(type, "linear"));
        put_text(rope, "rope_type", "linear");
        put_real(rope, "factor", real(w, "rope.scaling.factor", 1));
    } else {
        json_decref(rope);
        return NULL;
    }
    return rope;
}

static void put_rope(const folder *w, json_t *config) {
    double base = real(w, "rope.freq_base", 10000);
    json_t *rope = rope_scaling(w, config);
    if (!w->o->newer) {
        put_real(config, "rope_theta", base);
        json_object_set_new(config, "rope_scaling", rope ? rope : json_null());
        return;
    }
    rope = rope ? rope : json_pack("{s:s}", "rope_type", "default");
    put_real(rope, "rope_theta", base);
    if (is(w, "gemma3"))
        rope = json_pack("{s:o, s:{s:s, s:f}}", "full_attention", rope, "sliding_attention", "rope_type", "default",
                         "rope_theta", 10000.0);
    json_object_set_new(config, "rope_parameters", rope);
}

static void put_specials(const folder *w, json_t *c) {
    if (is(w, "granite")) {
        put_real(c, "embedding_multiplier", real(w, "embedding_scale", 1));
        put_real(c, "residual_multiplier", real(w, "residual_scale", 1));
        put_real(c, "attention_multiplier", real(w, "attention.scale", 1));
        put_real(c, "logits_scaling", real(w, "logit_scale", 1));
    }
    if (is(w, "gemma2")) {
        put_real(c, "attn_logit_softcapping", real(w, "attn_logit_softcapping", 0));
        put_real(c, "final_logit_softcapping", real(w, "final_logit_softcapping", 0));
    }
    if (is(w, "gemma2") || is(w, "gemma3"))
        put_int(c, "query_pre_attn_scalar", number(w, "attention.key_length", 0));
    int64_t window = number(w, "attention.sliding_window", 0);
    json_object_set_new(c, "sliding_window", window ? json_integer(window) : json_null());
}

static void write_config(const folder *w) {
    json_t *c = json_object();
    int64_t n_embd = number(w, "embedding_length", 0), n_head = number(w, "attention.head_count", 1);
    int64_t head_dim = number(w, "attention.key_length", n_embd / n_head);
    bool layer_norm = is(w, "nemotron"), gemma = is(w, "gemma2") || is(w, "gemma3");
    json_object_set_new(c, "architectures", json_pack("[s]", class_of(w)));
    put_int(c, "hidden_size", n_embd);
    put_int(c, "num_hidden_layers", number(w, "block_count", 0));
    put_int(c, "num_attention_heads", n_head);
    put_int(c, "num_key_value_heads", number(w, "attention.head_count_kv", n_head));
    put_int(c, "intermediate_size", number(w, "feed_forward_length", 0));
    put_int(c, "max_position_embeddings", number(w, "context_length", 0));
    put_int(c, "vocab_size", number(w, "vocab_size", 0));
    if (head_dim != n_embd / n_head)
        put_int(c, "head_dim", head_dim);
    put_text(c, gemma ? "hidden_activation" : "hidden_act",
             gemma        ? "gelu_pytorch_tanh"
             : layer_norm ? "relu2"
                          : "silu");
    put_real(c, layer_norm ? "norm_eps" : "rms_norm_eps",
             real(w, layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 0));
    put_real(c, "partial_rotary_factor", (double)number(w, "rope.dimension_count", head_dim) / (double)head_dim);
    json_object_set_new(c, "tie_word_embeddings", json_boolean(!gguf_tensor_find(w->f, "output.weight")));
    put_rope(w, c);
    put_specials(w, c);
    write_json(w, "config.json", c);
}

/* ---- tensors ---- */

/* "" = it follows from config.json. */
static void hf_name(const folder *w, const char *name, char *out, size_t size) {
    static const char *const stems[][2] = {
        {"attn_norm", "input_layernorm"},
        {"attn_q", "self_attn.q_proj"},
        {"attn_k", "self_attn.k_proj"},
        {"attn_v", "self_attn.v_proj"},
        {"attn_qkv", "self_attn.qkv_proj"},
        {"attn_q_norm", "self_attn.q_norm"},
        {"attn_k_norm", "self_attn.k_norm"},
        {"attn_output", "self_attn.o_proj"},
        {"post_attention_norm", "post_attention_layernorm"},
        {"ffn_norm", "post_attention_layernorm"},
        {"ffn_gate", "mlp.gate_proj"},
        {"ffn_up", "mlp.up_proj"},
        {"ffn_down", "mlp.down_proj"},
        {"post_ffw_norm", "post_feedforward_layernorm"},
    };
    unsigned layer;
    int n = 0;
    *out = 0;
    if (!strncmp(name, "rope_", 5))
        return;
    if (!strcmp(name, "token_embd.weight") || !strcmp(name, "output.weight")) {
        snprintf(out, size, "%s", *name == 't' ? "model.embed_tokens.weight" : "lm_head.weight");
        return;
    }
    if (!strncmp(name, "output_norm.", 12)) {
        snprintf(out, size, "model.norm.%s", name + 12);
        return;
    }
    assert_int_equal(sscanf(name, "blk.%u.%n", &layer, &n), 1);
    const char *dot = strchr(name + n, '.');
    for (size_t i = 0; i < ARRAY_LEN(stems); i++) {
        const char *to = stems[i][1];
        if (strlen(stems[i][0]) != (size_t)(dot - name - n) || strncmp(name + n, stems[i][0], (size_t)(dot - name - n)))
            continue;
        if (!strcmp(stems[i][0], "ffn_norm") && (is(w, "gemma2") || is(w, "gemma3")))
            to = "pre_feedforward_layernorm";
        if (!strcmp(stems[i][0], "ffn_up") && is(w, "phi3"))
            to = "mlp.gate_up_proj";
        snprintf(out, size, "model.layers.%u.%s%s", layer, to, dot);
        return;
    }
    fail_msg("no name for %s", name);
}

/* Rows in the folder's order: of each head, those of even number, then those of odd. */
static void unpermute(const folder *w, const gguf_tensor *t, uint8_t *data) {
    bool q = strstr(t->name, ".attn_q.") != NULL, k = strstr(t->name, ".attn_k.") != NULL;
    if ((!q && !k) || !(is(w, "llama") || is(w, "granite") || is(w, "smollm3")))
        return;
    int64_t n_head = number(w, "attention.head_count", 1);
    n_head = q ? n_head : number(w, "attention.head_count_kv", n_head);
    uint64_t rows = t->n_dims > 1 ? t->dims[1] : t->dims[0], n = rows / (uint64_t)n_head, bytes = t->bytes / rows;
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t i = r % n, to = r - i + (i % 2 ? n / 2 : 0) + i / 2;
        memcpy(data + to * bytes, (const uint8_t *)t->data + r * bytes, bytes);
    }
}

static void less_1(const folder *w, const gguf_tensor *t, uint8_t *data) {
    bool plus_1 = is(w, "gemma2") || is(w, "gemma3") || is(w, "nemotron");
    if (!plus_1 || !strstr(t->name, "norm.weight"))
        return;
    assert_int_equal(t->type, TENSOR_F32);
    for (uint64_t i = 0; i < t->dims[0]; i++) {
        float v;
        memcpy(&v, data + i * sizeof v, sizeof v);
        v -= 1;
        memcpy(data + i * sizeof v, &v, sizeof v);
    }
}

static const char *dtype_of(const gguf_tensor *t) {
    assert_true(t->type == TENSOR_F32 || t->type == TENSOR_F16 || t->type == TENSOR_BF16);
    return tensor_type_traits(t->type)->name;
}

/* Every n_shards-th tensor, from the i_shard-th on. */
static void write_shard(const folder *w, const char *file, unsigned i_shard, unsigned n_shards, json_t *map) {
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    str data = STR_INIT, out = STR_INIT, text = STR_INIT;
    for (uint64_t i = i_shard; i < gguf_tensor_count(w->f); i += n_shards) {
        const gguf_tensor *t = gguf_tensor_at(w->f, i);
        char name[160];
        hf_name(w, t->name, name, sizeof name);
        if (!*name)
            continue;
        json_t *shape = t->n_dims > 1 ? json_pack("[I,I]", (json_int_t)t->dims[1], (json_int_t)t->dims[0])
                                      : json_pack("[I]", (json_int_t)t->dims[0]);
        json_object_set_new(header, name,
                            json_pack("{s:s, s:o, s:[I,I]}", "dtype", dtype_of(t), "shape", shape, "data_offsets",
                                      (json_int_t)data.len, (json_int_t)(data.len + t->bytes)));
        json_object_set_new(map, name, json_string(file));
        uint8_t *bytes = (uint8_t *)mem_copy_bytes(t->data, t->bytes);
        unpermute(w, t, bytes);
        less_1(w, t, bytes);
        str_append(&data, bytes, t->bytes);
        free(bytes);
    }
    json_write(header, &text);
    uint64_t n = text.len;
    str_append(&out, &n, sizeof n);
    str_append(&out, str_get(&text), text.len);
    str_append(&out, str_get(&data), data.len);
    write_text(w, file, str_get(&out), out.len);
    str_release(&data);
    str_release(&out);
    str_release(&text);
    json_decref(header);
}

static void write_weights(const folder *w) {
    json_t *map = json_object();
    unsigned n = MAX(w->o->n_shards, 1u);
    for (unsigned i = 0; i < n; i++) {
        char file[64] = "model.safetensors";
        if (n > 1)
            snprintf(file, sizeof file, "model-%05u-of-%05u.safetensors", i + 1, n);
        write_shard(w, file, i, n, map);
    }
    if (n > 1)
        write_json(w, "model.safetensors.index.json", json_pack("{s:{}, s:o}", "metadata", "weight_map", map));
    else
        json_decref(map);
}

/* ---- tokenizer ---- */

typedef struct vocab_view {
    gguf_array texts, types, scores;
    span *text; /* [n] */
    uint32_t n;
} vocab_view;

static vocab_view read_vocab(const folder *w) {
    vocab_view v = {0};
    muga_error err = {0};
    assert_ok(gguf_get_array(w->f, "tokenizer.ggml.tokens", GGUF_STRING, &v.texts, &err), &err);
    assert_ok(gguf_get_array(w->f, "tokenizer.ggml.token_type", GGUF_I32, &v.types, &err), &err);
    (void)gguf_get_array(w->f, "tokenizer.ggml.scores", GGUF_F32, &v.scores, NULL);
    v.n = (uint32_t)v.texts.n;
    v.text = mem_alloc_array(v.n, sizeof *v.text);
    uint64_t at = 0;
    for (uint32_t i = 0; i < v.n; i++)
        assert_true(gguf_array_next_string(&v.texts, &at, &v.text[i]));
    return v;
}

static json_t *added_tokens(const vocab_view *v) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < v->n; i++) {
        int64_t type = gguf_array_int(&v->types, i);
        if (type == 2 || type == 3 || type == 4)
            json_array_append_new(list, json_pack("{s:i, s:s%, s:b, s:b, s:b}", "id", (int)i, "content", v->text[i].p,
                                                  v->text[i].n, "special", type != 4, "lstrip", 0, "rstrip", 0));
    }
    return list;
}

static json_t *vocab_object(const vocab_view *v) {
    json_t *o = json_object();
    for (uint32_t i = 0; i < v->n; i++) {
        char *text = mem_copy_bytes(v->text[i].p, v->text[i].n);
        int64_t type = gguf_array_int(&v->types, i);
        if (type == 1 || type == 2 || type == 6)
            json_object_set_new(o, text, json_integer(i));
        free(text);
    }
    return o;
}

static json_t *merge_of(const folder *w, const char *a, size_t n_a, const char *b, size_t n_b) {
    if (w->o->merges_as_lists)
        return json_pack("[s%, s%]", a, n_a, b, n_b);
    str s = STR_INIT;
    str_printf(&s, "%.*s %.*s", (int)n_a, a, (int)n_b, b);
    json_t *v = json_stringn(str_get(&s), s.len);
    str_release(&s);
    return v;
}

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define AFTER "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UP "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOW "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

/* As the models' own files have it; *behaviour and invert are those of the one that differs, too. */
static json_t *pre_tokenizer(const char *pre, bool *ignore_merges) {
    const char *regex = CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" AFTER;
    bool o200k = !strcmp(pre, "gpt-4o");
    if (!strcmp(pre, "smollm") || !strcmp(pre, "refact"))
        return json_pack("{s:s, s:[{s:s, s:b}, {s:s, s:b, s:b, s:b}]}", "type", "Sequence", "pretokenizers", "type",
                         "Digits", "individual_digits", 1, "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets",
                         1, "use_regex", 1);
    if (o200k)
        regex = "[^\\r\\n\\p{L}\\p{N}]?" UP "*" LOW "+" CONTRACTION "?|[^\\r\\n\\p{L}\\p{N}]?" UP "+" LOW
                "*" CONTRACTION "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    *ignore_merges = !strcmp(pre, "llama-bpe");
    if (*ignore_merges)
        regex = CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" AFTER;
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b, s:b}]}", "type", "Sequence", "pretokenizers",
                     "type", "Split", "pattern", "Regex", regex, "behavior", o200k ? "Removed" : "Isolated", "invert",
                     (int)o200k, "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0, "use_regex", 0);
}

static json_t *byte_level(const folder *w, const vocab_view *v) {
    gguf_array merges;
    span pre, text;
    uint64_t at = 0;
    bool ignore_merges = false;
    json_t *list = json_array();
    muga_error err = {0};
    assert_ok(gguf_get_array(w->f, "tokenizer.ggml.merges", GGUF_STRING, &merges, &err), &err);
    assert_ok(gguf_get_string(w->f, "tokenizer.ggml.pre", &pre, &err), &err);
    char *name = mem_copy_bytes(pre.p, pre.n);
    json_t *words = pre_tokenizer(name, &ignore_merges);
    while (gguf_array_next_string(&merges, &at, &text)) {
        const char *space = memchr(text.p, ' ', text.n);
        size_t n = (size_t)(space - text.p);
        json_array_append_new(list, merge_of(w, text.p, n, space + 1, text.n - n - 1));
    }
    free(name);
    return json_pack("{s:n, s:o, s:o, s:{s:s, s:o, s:o, s:b}}", "normalizer", "pre_tokenizer", words, "added_tokens",
                     added_tokens(v), "model", "type", "BPE", "vocab", vocab_object(v), "merges", list, "ignore_merges",
                     ignore_merges);
}

static double score_of(const vocab_view *v, uint32_t i) {
    return gguf_array_number(&v->scores, i);
}

/* Each piece by falling score, cut in two wherever both halves are pieces. */
static json_t *merges_by_score(const folder *w, const vocab_view *v, const json_t *vocab) {
    json_t *list = json_array();
    bool *done = mem_alloc_array(v->n, sizeof *done);
    for (;;) {
        int64_t best = -1;
        for (uint32_t i = 0; i < v->n; i++)
            if (!done[i] && gguf_array_int(&v->types, i) == 1 && (best < 0 || score_of(v, i) > score_of(v, best)))
                best = i;
        if (best < 0)
            break;
        done[best] = true;
        span t = v->text[best];
        for (size_t n = 1; n < t.n; n++) {
            char *a = mem_copy_bytes(t.p, n), *b = mem_copy_bytes(t.p + n, t.n - n);
            if (json_object_get(vocab, a) && json_object_get(vocab, b))
                json_array_append_new(list, merge_of(w, a, n, b, t.n - n));
            free(a);
            free(b);
        }
    }
    free(done);
    return list;
}

static bool space_prefix(const folder *w) {
    bool v = true;
    (void)gguf_get_bool(w->f, "tokenizer.ggml.add_space_prefix", &v, NULL);
    return v;
}

static json_t *with_byte_fallback(const folder *w, const vocab_view *v) {
    json_t *vocab = vocab_object(v), *merges = merges_by_score(w, v, vocab);
    json_t *steps = space_prefix(w) ? json_pack("[{s:s, s:s}]", "type", "Prepend", "prepend", SPACE) : json_array();
    json_array_append_new(
        steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content", SPACE));
    return json_pack("{s:{s:s, s:o}, s:n, s:o, s:{s:s, s:o, s:o, s:b, s:s}}", "normalizer", "type", "Sequence",
                     "normalizers", steps, "pre_tokenizer", "added_tokens", added_tokens(v), "model", "type", "BPE",
                     "vocab", vocab, "merges", merges, "byte_fallback", 1, "unk_token", "<unk>");
}

static void put_varint(str *s, uint64_t v) {
    for (; v >= 0x80; v >>= 7)
        str_append_c(s, (char)(v | 0x80));
    str_append_c(s, (char)v);
}

static void put_bytes(str *s, unsigned field, const void *p, size_t n) {
    put_varint(s, field << 3 | 2);
    put_varint(s, n);
    str_append(s, p, n);
}

static void write_sentencepiece(const folder *w, const vocab_view *v) {
    str out = STR_INIT, part = STR_INIT;
    for (uint32_t i = 0; i < v->n; i++) {
        float score = (float)score_of(v, i);
        str_clear(&part);
        put_bytes(&part, 1, v->text[i].p, v->text[i].n);
        put_varint(&part, 2 << 3 | 5);
        str_append(&part, &score, sizeof score);
        put_varint(&part, 3 << 3);
        put_varint(&part, (uint64_t)gguf_array_int(&v->types, i));
        put_bytes(&out, 1, str_get(&part), part.len);
    }
    str_clear(&part);
    put_varint(&part, 3 << 3);
    put_varint(&part, 2); /* BPE */
    put_bytes(&out, 2, str_get(&part), part.len);
    str_clear(&part);
    put_bytes(&part, 1, "identity", 8);
    put_varint(&part, 3 << 3);
    put_varint(&part, space_prefix(w));
    put_varint(&part, 4 << 3);
    put_varint(&part, 0);
    put_bytes(&out, 3, str_get(&part), part.len);
    write_text(w, "tokenizer.model", str_get(&out), out.len);
    str_release(&out);
    str_release(&part);
}

static void put_token(const folder *w, const vocab_view *v, json_t *config, const char *key, const char *name) {
    uint32_t id;
    if (gguf_get_u32(w->f, key, &id, NULL) == MUGA_OK)
        json_object_set_new(config, name, json_stringn(v->text[id].p, v->text[id].n));
}

static void write_tokenizer(const folder *w) {
    vocab_view v = read_vocab(w);
    json_t *config = json_object();
    bool pieces = v.scores.n > 0, add_bos = false;
    span text;
    put_token(w, &v, config, "tokenizer.ggml.bos_token_id", "bos_token");
    put_token(w, &v, config, "tokenizer.ggml.eos_token_id", "eos_token");
    put_token(w, &v, config, "tokenizer.ggml.unknown_token_id", "unk_token");
    put_token(w, &v, config, "tokenizer.ggml.padding_token_id", "pad_token");
    (void)gguf_get_bool(w->f, "tokenizer.ggml.add_bos_token", &add_bos, NULL);
    if (gguf_get_string(w->f, "tokenizer.chat_template", &text, NULL) == MUGA_OK) {
        if (w->o->newer)
            write_text(w, "chat_template.jinja", text.p, text.n);
        else
            json_object_set_new(config, "chat_template", json_stringn(text.p, text.n));
    }
    if (pieces && !w->o->merges_of_score) {
        write_sentencepiece(w, &v);
        json_object_set_new(config, "add_bos_token", json_boolean(add_bos));
    } else {
        json_t *t = pieces ? with_byte_fallback(w, &v) : byte_level(w, &v);
        const char *bos = json_get_string(config, "bos_token");
        if (add_bos)
            json_object_set_new(t, "post_processor",
                                json_pack("{s:s, s:[{s:s}, {s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}]}]}", "type",
                                          "Sequence", "processors", "type", "ByteLevel", "type", "TemplateProcessing",
                                          "single", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A",
                                          "type_id", 0));
        write_json(w, "tokenizer.json", t);
    }
    write_json(w, "tokenizer_config.json", config);
    free(v.text);
}

void hf_folder_source(const char *path) {
    gguf_file *f = NULL;
    muga_error err = {0};
    quantise_report report;
    quantise_options o = {.kind = mixture_find("F16"), .files = &os_system()->files};
    assert_ok(gguf_open(source_path("tests/data/tiny.gguf"), &f, &err), &err);
    assert_ok(quantise_file(f, path, &o, &report, &err), &err);
    gguf_close(f);
}

void hf_folder_write(const char *gguf_path, const char *dir, const hf_folder_options *o) {
    gguf_file *f = NULL;
    span arch;
    muga_error err = {0};
    const os_files *files = &os_system()->files;
    assert_ok(gguf_open(gguf_path, &f, &err), &err);
    assert_ok(gguf_get_string(f, "general.architecture", &arch, &err), &err);
    assert_ok(files->mkdirs(files->self, dir, &err), &err);
    folder w = {.f = f, .dir = dir, .o = o};
    snprintf(w.arch, sizeof w.arch, "%.*s", (int)arch.n, arch.p);
    write_config(&w);
    write_weights(&w);
    write_tokenizer(&w);
    gguf_close(f);
}

/* ---- older files ---- */

static json_t *read_json(const folder *w, const char *name) {
    char path[512];
    str text = STR_INIT;
    json_t *v = NULL;
    muga_error err = {0};
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    assert_ok(os_read_file(&os_system()->files, path, (size_t)1 << 26, &text, &err), &err);
    assert_ok(json_parse(str_get(&text), text.len, name, &v, &err), &err);
    str_release(&text);
    return v;
}

static void write_merges(const folder *w, const json_t *merges) {
    str text = STR_INIT;
    str_append_s(&text, "#version: 0.2\n");
    for (size_t i = 0; i < json_array_size(merges); i++)
        str_printf(&text, "%s%s", json_string_value(json_array_get(merges, i)), i % 2 ? "\r\n" : "\n");
    write_text(w, "merges.txt", str_get(&text), text.len);
    str_release(&text);
}

void hf_folder_split_tokenizer(const char *dir, const char *class) {
    folder w = {.dir = dir};
    char path[512];
    json_t *tokenizer = read_json(&w, "tokenizer.json"), *config = read_json(&w, "tokenizer_config.json");
    json_t *model = json_object_get(tokenizer, "model"), *more = json_object(), *specials = json_array(), *item;
    size_t i;
    json_array_foreach(json_object_get(tokenizer, "added_tokens"), i, item) {
        json_object_set(more, json_get_string(item, "content"), json_object_get(item, "id"));
        if (json_get_bool(item, "special", false))
            json_array_append(specials, json_object_get(item, "content"));
    }
    json_object_set_new(config, "tokenizer_class", class ? json_string(class) : json_null());
    json_object_set_new(config, "additional_special_tokens", specials);
    if (json_object_get(tokenizer, "post_processor"))
        json_object_set_new(config, "add_bos_token", json_true());
    write_json(&w, "vocab.json", json_incref(json_object_get(model, "vocab")));
    write_merges(&w, json_object_get(model, "merges"));
    write_json(&w, "added_tokens.json", more);
    write_json(&w, "tokenizer_config.json", config);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    assert_int_equal(remove(path), 0);
    json_decref(tokenizer);
}
