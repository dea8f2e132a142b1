/* If this fails, texts become other vectors than the model says: a wrong graph, a wrong pooling, rows of a neighbour
 * mixed in, or a long text quietly cut. What agents retrieve by would be wrong without anything showing it.
 *
 * The encoder's graph is computed a second time here in plain f64 from the file's tensors, sharing nothing with the
 * engine but the row codecs. */
#include "support/make_arch.h"
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"

#include <math.h>
#include <stdio.h>

enum { EMBD = 64, HEADS = 4, DIM = 16, FF = 96, LAYERS = 2, MAX_TOK = 40, N_TEXTS = 9 };

static const make_change nothing[] = {{0}};

static const char *make(const char *arch, const make_change *changes) {
    str bytes = STR_INIT;
    muga_error err = {0};
    const char *path = scratch_path("model.gguf");
    assert_true(make_arch(arch, changes, &bytes));
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    return path;
}

static engine *open_arch(const char *arch, const make_change *changes, engine_options o) {
    engine *e = NULL;
    muga_error err = {0};
    o.ids_only = true;
    assert_ok(engine_open(make(arch, changes), &o, &e, &err), &err);
    return e;
}

static void make_texts(token_list texts[N_TEXTS]) {
    rng r = {11};
    for (int i = 0; i < N_TEXTS; i++) {
        texts[i] = (token_list)TOKEN_LIST_INIT;
        for (uint32_t n = i == 0 ? 1 : 2 + rng_below(&r, MAX_TOK - 2); n > 0; n--)
            assert_true(token_list_push(&texts[i], (int32_t)rng_below(&r, MAKE_ARCH_VOCAB)));
    }
}

static void free_texts(token_list texts[N_TEXTS]) {
    for (int i = 0; i < N_TEXTS; i++)
        token_list_release(&texts[i]);
}

static float *embed(engine *e, const token_list *texts, uint32_t n) {
    muga_error err = {0};
    float *out = malloc((size_t)n * EMBD * sizeof *out);
    assert_int_equal(engine_embed_dims(e), EMBD);
    assert_ok(engine_embed_ids(e, texts, n, out, &err), &err);
    return out;
}

/* ---- the graph in f64 ---- */

typedef struct plain {
    gguf_file *file;
    double x[MAX_TOK][EMBD], qkv[MAX_TOK][3 * EMBD], y[MAX_TOK][EMBD];
    int n;
} plain;

/* A whole tensor as f32; freed by the caller. */
static float *values(const plain *p, const char *name) {
    const gguf_tensor *t = gguf_tensor_find(p->file, name);
    assert_non_null(t);
    size_t n = (size_t)(t->dims[0] * t->dims[1]);
    float *v = malloc(n * sizeof *v);
    tensor_type_traits(t->type)->dequantise(t->data, v, n);
    return v;
}

static float *layer_values(const plain *p, int layer, const char *stem, const char *ending) {
    char name[80];
    snprintf(name, sizeof name, "blk.%d.%s.%s", layer, stem, ending);
    return values(p, name);
}

static void plain_linear(const plain *p, int layer, const char *stem, int cols, int rows, const double *x, int x_stride,
                         double *y, int y_stride) {
    float *w = layer_values(p, layer, stem, "weight"), *b = layer_values(p, layer, stem, "bias");
    for (int t = 0; t < p->n; t++)
        for (int r = 0; r < rows; r++) {
            double sum = (double)b[r];
            for (int c = 0; c < cols; c++)
                sum += (double)w[r * cols + c] * x[t * x_stride + c];
            y[t * y_stride + r] = sum;
        }
    free(w);
    free(b);
}

static void plain_norm(plain *p, float *w, float *b) {
    for (int t = 0; t < p->n; t++) {
        double mean = 0, var = 0;
        for (int i = 0; i < EMBD; i++)
            mean += p->x[t][i] / EMBD;
        for (int i = 0; i < EMBD; i++)
            var += (p->x[t][i] - mean) * (p->x[t][i] - mean) / EMBD;
        for (int i = 0; i < EMBD; i++)
            p->x[t][i] = (p->x[t][i] - mean) / sqrt(var + 0x1p-17) * (double)w[i] + (double)b[i];
    }
    free(w);
    free(b);
}

static void plain_attention(plain *p, int layer) {
    static double att[MAX_TOK][EMBD];
    static const char *const stems[] = {"attn_q", "attn_k", "attn_v"};
    for (int i = 0; i < 3; i++)
        plain_linear(p, layer, stems[i], EMBD, EMBD, p->x[0], EMBD, p->qkv[0] + (size_t)i * EMBD, 3 * EMBD);
    memset(att, 0, sizeof att);
    for (int t = 0; t < p->n; t++)
        for (int h = 0; h < HEADS; h++) {
            double score[MAX_TOK], sum = 0;
            for (int k = 0; k < p->n; k++) { /* every position, before and after */
                score[k] = 0;
                for (int d = 0; d < DIM; d++)
                    score[k] += p->qkv[t][h * DIM + d] * p->qkv[k][EMBD + h * DIM + d] / sqrt(DIM);
                sum += exp(score[k]);
            }
            for (int k = 0; k < p->n; k++)
                for (int d = 0; d < DIM; d++)
                    att[t][h * DIM + d] += exp(score[k]) / sum * p->qkv[k][2 * EMBD + h * DIM + d];
        }
    plain_linear(p, layer, "attn_output", EMBD, EMBD, att[0], EMBD, p->y[0], EMBD);
}

static void plain_feed_forward(plain *p, int layer) {
    static double up[MAX_TOK][FF];
    plain_linear(p, layer, "ffn_up", EMBD, FF, p->x[0], EMBD, up[0], FF);
    for (int t = 0; t < p->n; t++)
        for (int i = 0; i < FF; i++)
            up[t][i] = 0.5 * up[t][i] * erfc(-up[t][i] / sqrt(2));
    plain_linear(p, layer, "ffn_down", FF, EMBD, up[0], FF, p->y[0], EMBD);
}

static void plain_add_norm(plain *p, int layer, const char *stem) {
    for (int t = 0; t < p->n; t++)
        for (int i = 0; i < EMBD; i++)
            p->x[t][i] += p->y[t][i];
    plain_norm(p, layer_values(p, layer, stem, "weight"), layer_values(p, layer, stem, "bias"));
}

/* Rows of the last layer, in p->x. */
static void plain_rows(plain *p, const token_list *text) {
    float *token = values(p, "token_embd.weight"), *position = values(p, "position_embd.weight");
    float *type = values(p, "token_types.weight");
    p->n = (int)text->n;
    for (int t = 0; t < p->n; t++)
        for (int i = 0; i < EMBD; i++)
            p->x[t][i] = (double)token[text->ids[t] * EMBD + i] + (double)type[i] + (double)position[t * EMBD + i];
    plain_norm(p, values(p, "token_embd_norm.weight"), values(p, "token_embd_norm.bias"));
    for (int layer = 0; layer < LAYERS; layer++) {
        plain_attention(p, layer);
        plain_add_norm(p, layer, "attn_output_norm");
        plain_feed_forward(p, layer);
        plain_add_norm(p, layer, "layer_output_norm");
    }
    free(token);
    free(position);
    free(type);
}

static void plain_embed(plain *p, const token_list *text, model_pooling how, double out[EMBD]) {
    plain_rows(p, text);
    double square = 0;
    for (int i = 0; i < EMBD; i++) {
        out[i] = how == MODEL_POOL_LAST ? p->x[p->n - 1][i] : p->x[0][i];
        for (int t = 1; t < p->n && how == MODEL_POOL_MEAN; t++)
            out[i] += p->x[t][i];
        square += out[i] * out[i];
    }
    for (int i = 0; i < EMBD; i++)
        out[i] /= sqrt(square);
}

static void the_encoder_is_that_of_the_paper(void **state) {
    (void)state;
    static plain p;
    token_list texts[N_TEXTS];
    make_texts(texts);
    muga_error err = {0};
    for (int how = MODEL_POOL_MEAN; how <= MODEL_POOL_LAST; how++) {
        const make_change pooling[] = {{MAKE_U32, "pooling_type", how, NULL}, {0}};
        engine *e = open_arch("bert", pooling, (engine_options){.isa = -1, .exact = true, .kv = KERNEL_KV_F32});
        engine *fast = open_arch("bert", pooling, (engine_options){.isa = -1});
        float *ours = embed(e, texts, N_TEXTS), *rounded = embed(fast, texts, N_TEXTS);
        assert_ok(gguf_open(make("bert", pooling), &p.file, &err), &err);
        for (int i = 0; i < N_TEXTS; i++) {
            double want[EMBD], cosine = 0;
            plain_embed(&p, &texts[i], (model_pooling)how, want);
            for (int k = 0; k < EMBD; k++) {
                double d = fabs(want[k] - (double)ours[i * EMBD + k]);
                if (!(d < 1e-5))
                    fail_msg("pooling %d, text %d, element %d: %.2e off", how, i, k, d);
                cosine += want[k] * (double)rounded[i * EMBD + k];
            }
            assert_true(cosine > 0.999);
        }
        gguf_close(p.file);
        free(ours);
        free(rounded);
        engine_free(e);
        engine_free(fast);
    }
    free_texts(texts);
}

/* ---- what a vector may not depend on ---- */

static void vectors_do_not_depend_on_neighbours_threads_or_instruction_set(void **state) {
    (void)state;
    token_list texts[N_TEXTS];
    make_texts(texts);
    engine *e = open_arch("bert", nothing, (engine_options){.isa = KERNEL_ISA_REF, .n_threads = 1});
    float *want = embed(e, texts, N_TEXTS);
    for (uint32_t i = 0; i < N_TEXTS; i++) { /* alone */
        float *one = embed(e, &texts[i], 1);
        assert_memory_equal(one, want + (size_t)i * EMBD, EMBD * sizeof *one);
        free(one);
        double square = 0;
        for (int k = 0; k < EMBD; k++)
            square += (double)want[i * EMBD + k] * (double)want[i * EMBD + k];
        assert_true(fabs(square - 1) < 1e-6);
    }
    engine_free(e);
    for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
        if (!kernel_isa_available((kernel_isa)isa))
            continue;
        e = open_arch("bert", nothing,
                      (engine_options){.isa = isa, .n_threads = 3, .n_batch = 1}); /* grows to a text */
        float *got = embed(e, texts, N_TEXTS);
        assert_memory_equal(got, want, N_TEXTS * EMBD * sizeof *got);
        free(got);
        engine_free(e);
    }
    free(want);
    free_texts(texts);
}

static void many_texts_go_through_in_groups(void **state) {
    (void)state;
    enum { MANY = 120 };
    token_list texts[N_TEXTS], many[MANY];
    make_texts(texts);
    for (int i = 0; i < MANY; i++) /* over 2,000 tokens, where a batch has 512 */
        many[i] = texts[i % N_TEXTS];
    engine *e = open_arch("bert", nothing, (engine_options){.isa = -1, .n_threads = 2});
    float *few = embed(e, texts, N_TEXTS), *all = embed(e, many, MANY);
    for (int i = 0; i < MANY; i++)
        assert_memory_equal(all + (size_t)i * EMBD, few + (size_t)(i % N_TEXTS) * EMBD, EMBD * sizeof *few);
    free(few);
    free(all);
    engine_free(e);
    free_texts(texts);
}

/* A decoder that says how to pool: the vector is made of the rows that logits come from. */
static void a_decoder_that_pools_embeds_too(void **state) {
    (void)state;
    const make_change pooling[] = {{MAKE_U32, "pooling_type", MODEL_POOL_LAST, NULL}, {0}};
    token_list texts[N_TEXTS];
    make_texts(texts);
    engine *e = open_arch("qwen3", pooling, (engine_options){.isa = -1, .n_batch = 40});
    float *out = embed(e, texts, N_TEXTS);
    for (uint32_t i = 0; i < N_TEXTS; i++) {
        float *one = embed(e, &texts[i], 1);
        assert_memory_equal(one, out + (size_t)i * EMBD, EMBD * sizeof *one);
        free(one);
    }
    engine_session *s = NULL;
    muga_error err = {0};
    assert_ok(engine_session_new(e, 64, &s, &err), &err);
    assert_ok(engine_session_feed(s, texts[1].ids, (uint32_t)texts[1].n, &err), &err); /* and still writes */
    assert_non_null(engine_session_logits(s));
    engine_session_free(s);
    free(out);
    engine_free(e);
    free_texts(texts);
}

/* ---- limits ---- */

static void what_can_not_be_embedded_is_named(void **state) {
    (void)state;
    engine *e = open_arch("bert", nothing, (engine_options){.isa = -1});
    token_list text = TOKEN_LIST_INIT;
    float out[EMBD];
    muga_error err = {0};
    assert_status(engine_embed_ids(e, &text, 1, out, &err), MUGA_E_USAGE, &err, "no tokens");
    for (int i = 0; i < MAKE_ARCH_CTX + 1; i++)
        assert_true(token_list_push(&text, 1));
    assert_status(engine_embed_ids(e, &text, 1, out, &err), MUGA_E_LIMIT, &err, "513 tokens, more than the 512");
    text.n = 2;
    text.ids[1] = MAKE_ARCH_VOCAB;
    assert_status(engine_embed_ids(e, &text, 1, out, &err), MUGA_E_INPUT, &err, "token id 96");
    const span words = span_of_string("words");
    assert_status(engine_embed(e, &words, 1, out, &err), MUGA_E_INPUT, &err, "tokenizer");
    engine_session *s = NULL;
    assert_status(engine_session_new(e, 16, &s, &err), MUGA_E_INPUT, &err, "embeddings");
    engine_free(e);
    text.ids[1] = 1;
    e = open_arch("llama", nothing, (engine_options){.isa = -1});
    assert_int_equal(engine_embed_dims(e), 0);
    assert_status(engine_embed_ids(e, &text, 1, out, &err), MUGA_E_INPUT, &err, "llama.pooling_type");
    engine_free(e);
    token_list_release(&text);
}

static void encoders_that_would_be_computed_wrongly_are_refused(void **state) {
    (void)state;
    static const struct {
        make_change change;
        const char *named;
    } cases[] = {
        {{MAKE_BOOL, "attention.causal", 1, NULL}, "bert.attention.causal"},
        {{MAKE_U32, "pooling_type", 4, NULL}, "bert.pooling_type"},
        {{MAKE_U32, "context_length", 511, NULL}, "position_embd.weight"},
        {{MAKE_NO_TENSOR, "position_embd.weight", 0, NULL}, "position_embd.weight"},
        {{MAKE_NO_TENSOR, "token_embd_norm.weight", 0, NULL}, "token_embd_norm.weight"},
        {{MAKE_TENSOR, "output.weight", 64, NULL}, "output.weight"},
        {{MAKE_TENSOR, "cls.weight", 64, NULL}, "cls.weight"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const make_change changes[] = {cases[i].change, {0}};
        engine *e = NULL;
        muga_error err = {0};
        engine_options o = {.isa = -1, .ids_only = true};
        assert_status(engine_open(make("bert", changes), &o, &e, &err), MUGA_E_INPUT, &err, cases[i].named);
    }
}

static void a_damaged_encoder_is_reported(void **state) {
    (void)state;
    str bytes = STR_INIT;
    muga_error err = {0};
    gguf_file *f;
    assert_true(make_arch("bert", NULL, &bytes));
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &f, &err), &err);
    const float bad = NAN;
    memcpy(bytes.data + ((const char *)gguf_tensor_find(f, "position_embd.weight")->data - bytes.data) + EMBD * 3 * 4,
           &bad, sizeof bad);
    gguf_close(f);
    const char *path = scratch_path("damaged.gguf");
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    engine *e = NULL;
    engine_options o = {.isa = -1, .ids_only = true};
    token_list texts[N_TEXTS];
    float out[EMBD];
    make_texts(texts);
    assert_ok(engine_open(path, &o, &e, &err), &err);
    assert_ok(engine_embed_ids(e, &texts[0], 1, out, &err), &err); /* one token: position 3 isn't there */
    assert_status(engine_embed_ids(e, &texts[1], 1, out, &err), MUGA_E_NONFINITE, &err, "damaged");
    engine_free(e);
    free_texts(texts);
    str_release(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_encoder_is_that_of_the_paper),
        cmocka_unit_test(vectors_do_not_depend_on_neighbours_threads_or_instruction_set),
        cmocka_unit_test(many_texts_go_through_in_groups),
        cmocka_unit_test(a_decoder_that_pools_embeds_too),
        cmocka_unit_test(what_can_not_be_embedded_is_named),
        cmocka_unit_test(encoders_that_would_be_computed_wrongly_are_refused),
        cmocka_unit_test(a_damaged_encoder_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
