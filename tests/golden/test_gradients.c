/* If this fails, training follows another slope than that of the model's loss.
 *
 * The gradients of every pair of every small F16 model of the reference data beside those that PyTorch's autograd found
 * for the same pairs, prompt and targets (tests/data/gradients.f32, written once by make_gradients.py, which builds the
 * models from torch's operations alone and has the reference's logits): in double, and in float with every instruction
 * set of this machine. */
#include "golden.h"

#include "train/wide.h"

#undef TRAIN_REAL
#define TRAIN_REAL 64
#include "train/real.h"
#include "train/tape.h"

#include <math.h>

enum { RANK = 2, MAX_TARGET = 64 };
#define ALPHA 4.0f      /* so that a pair's product is doubled */
#define BAR_DOUBLE 1e-6 /* in shares of a tensor's largest; the file's floats are good for 6e-8 */
#define BAR_FLOAT 1e-3

/* The order of the file. */
static const char *const matrices[] = {"attn_q",      "attn_k",   "attn_v", "attn_qkv",
                                       "attn_output", "ffn_gate", "ffn_up", "ffn_down"};

/* The i-th number of a model's pairs: the same rule as pair_value in make_gradients.py. */
static double pair_value(size_t i) {
    return (double)((uint32_t)(i * 2654435761u) >> 8) / (1 << 26) - 0.125;
}

static const train_place *find_place(const train_layout *l, uint32_t layer, const char *matrix) {
    char name[64];
    snprintf(name, sizeof name, "blk.%u.%s.weight", layer, matrix);
    for (uint32_t i = 0; i < l->n_places; i++)
        if (l->places[i].a != TRAIN_NO_PAIR && strcmp(l->places[i].w->name, name) == 0)
            return &l->places[i];
    return NULL;
}

/* Calls fn for each tensor of a pair in the file's order: where its numbers stand in the layout, and how many. */
typedef void tensor_fn(void *ctx, const char *name, size_t from, size_t n);
static void each_tensor(const train_layout *l, tensor_fn *fn, void *ctx) {
    uint32_t n_pairs = 0;
    for (uint32_t layer = 0; layer < model_get_params(l->m)->n_layer; layer++)
        for (size_t k = 0; k < ARRAY_LEN(matrices); k++) {
            const train_place *p = find_place(l, layer, matrices[k]);
            if (!p)
                continue;
            fn(ctx, p->w->name, p->a, RANK * p->w->dims[0]);
            fn(ctx, p->w->name, p->b, RANK * p->w->dims[1]);
            n_pairs++;
        }
    assert_int_equal(n_pairs, l->n_pairs);
}

typedef struct bed {
    train_layout layout;
    train_pass pass;
    double *params, *grads;
    float *params_f32, *grads_f32;
    size_t n_set;
} bed;

static void set_tensor(void *ctx, const char *name, size_t from, size_t n) {
    (void)name;
    bed *b = ctx;
    for (size_t i = from; i < from + n; i++) {
        b->params[i] = pair_value(b->n_set++);
        b->params_f32[i] = (float)b->params[i]; /* 24 bits: exact */
    }
}

typedef struct comparison {
    const char *model, *what;
    const bed *b;
    const float *torch;
    bool is_float;
    double worst;
} comparison;

static void compare_tensor(void *ctx, const char *name, size_t from, size_t n) {
    comparison *c = ctx;
    double largest = 0, apart = 0;
    for (size_t i = 0; i < n; i++) {
        double mine = c->is_float ? (double)c->b->grads_f32[from + i] : c->b->grads[from + i];
        largest = fmax(largest, fabs((double)c->torch[i]));
        apart = fmax(apart, fabs(mine - (double)c->torch[i]));
    }
    assert_true(largest > 0);
    if (!(apart <= (c->is_float ? BAR_FLOAT : BAR_DOUBLE) * largest))
        fail_msg("%s, %s, %s: gradients are %g apart, the largest is %g", c->model, name, c->what, apart, largest);
    c->worst = fmax(c->worst, apart / largest);
    c->torch += n;
}

static void compare(const char *model_name, const bed *b, const char *isa, const float *torch) {
    comparison c = {model_name, isa ? isa : "double", b, torch, isa != NULL, 0};
    each_tensor(&b->layout, compare_tensor, &c);
    print_message("%s, %s: %.1e of the largest\n", model_name, c.what, c.worst);
}

static void compute_double(bed *b) {
    static double loss[MAX_TARGET];
    static uint64_t n_again;
    tape_memory memory = {0};
    pass_args_f64 a = {.layout = &b->layout,
                       .pass = &b->pass,
                       .params = b->params,
                       .grads = b->grads,
                       .weight = 1,
                       .memory = &memory,
                       .n_again = &n_again,
                       .loss = loss};
    assert_true(train_pass_run_f64(&a));
    tape_memory_release(&memory);
}

static void compute_float(bed *b, kernel_isa isa) {
    static double loss[MAX_TARGET];
    static uint64_t n_again;
    tape_memory memory = {0};
    memset(b->grads_f32, 0, b->layout.n_params * sizeof *b->grads_f32);
    pass_args_f32 a = {.layout = &b->layout,
                       .pass = &b->pass,
                       .params = b->params_f32,
                       .grads = b->grads_f32,
                       .weight = 1,
                       .memory = &memory,
                       .n_again = &n_again,
                       .loss = loss};
    assert_true(train_pass_for(isa)(&a));
    tape_memory_release(&memory);
}

/* Number of floats of the file that the model's pairs take. */
static size_t check_model(const char *model_name, const token_list *ids, const float *torch, size_t n_torch) {
    engine *e = golden_open(model_name, true, true, -1);
    bed b = {0};
    muga_error err = {0};
    train_plan plan = {0};
    uint8_t *target = mem_alloc_array(ids->n, 1);
    for (size_t i = ids->n / 2; i < ids->n; i++)
        target[i] = 1;
    train_sample sample = {ids->ids, target, (uint32_t)ids->n, 0};
    assert_ok(train_layout_init(engine_model(e), RANK, ALPHA, NULL, &b.layout, &err), &err);
    assert_ok(train_plan_init(engine_model(e), &sample, 1, 100, &plan, &err), &err);
    assert_ok(train_pass_init(engine_model(e), &plan, 0, &b.pass, &err), &err);
    assert_in_range(b.layout.n_params, 1, n_torch);
    b.params = mem_alloc_array(b.layout.n_params, sizeof *b.params);
    b.grads = mem_alloc_array(b.layout.n_params, sizeof *b.grads);
    b.params_f32 = mem_alloc_array(b.layout.n_params, sizeof *b.params_f32);
    b.grads_f32 = mem_alloc_array(b.layout.n_params, sizeof *b.grads_f32);
    each_tensor(&b.layout, set_tensor, &b);
    size_t n_params = b.n_set;
    assert_int_equal(n_params, b.layout.n_params);
    compute_double(&b);
    compare(model_name, &b, NULL, torch);
    for (int isa = 0; isa < KERNEL_ISA_COUNT; isa++) {
        if (!kernel_isa_available(isa))
            continue;
        compute_float(&b, isa);
        compare(model_name, &b, kernel_isa_name(isa), torch);
    }
    free(b.params);
    free(b.grads);
    free(b.params_f32);
    free(b.grads_f32);
    free(target);
    train_pass_release(&b.pass);
    train_plan_release(&plan);
    train_layout_release(&b.layout);
    engine_free(e);
    return n_params;
}

static void gradients_are_those_of_autograd(void **state) {
    (void)state;
    golden_table models = golden_table_read("golden/models.tsv"), prompts = golden_table_read("golden/prompts.tsv");
    str bytes = STR_INIT;
    muga_error err = {0};
    assert_ok(
        os_read_file(&os_system()->files, source_path("tests/data/gradients.f32"), (size_t)16 << 20, &bytes, &err),
        &err);
    size_t n = bytes.len / sizeof(float), done = 0;
    const float *torch = (const float *)(const void *)bytes.data;
    uint32_t n_models = 0;
    for (size_t i = 0; i < models.n_rows; i++) {
        const char *name = golden_cell(&models, &models.rows[i], "model");
        if (strncmp(name, "sweep", 5) == 0 || !golden_matches(&models, &models.rows[i], "type", "F16"))
            continue;
        token_list ids = golden_ids(golden_cell(&prompts, golden_find(&prompts, name, "256", "long"), "ids"));
        done += check_model(name, &ids, torch + done, n - done);
        token_list_release(&ids);
        n_models++;
    }
    assert_int_equal(n_models, 10);
    assert_int_equal(done, n);
    str_release(&bytes);
    golden_table_free(&models);
    golden_table_free(&prompts);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_are_those_of_autograd)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
