/* If this fails, an interrupted training run goes on to other bits than one that was left alone, stops too late or with
 * a worse adapter than it had, loses its checkpoint to a full disk, or writes an adapter that can't be used. */
#include "support/engine_fixture.h"

#include "base/mem.h"
#include "llm/tune.h"
#include "train/adapter_file.h"

#include <math.h>
#include <stdio.h>

#define N_LINES 9
#define BATCH 2

static char hex[SHA256_HEX], other_hex[SHA256_HEX];

typedef struct bed {
    engine *e;
    prompter *p;
    dataset d;
    dataset_split s;
    uint64_t n_steps;
} bed;

static void bed_open(bed *b, engine *e) {
    muga_error err = {0};
    str text = STR_INIT;
    dataset_options o = {.max_tok = 256};
    *b = (bed){.e = e};
    for (int i = 0; i < N_LINES; i++)
        str_printf(&text, "{\"prompt\": \"number %d\", \"completion\": \"it is %d%s\"}\n", i, i * 7,
                   i == 4 ? " ~" : "");
    assert_ok(prompter_new(e, &b->p, &err), &err);
    assert_ok(dataset_read(b->p, str_get(&text), text.len, "data", &o, &b->d, &err), &err);
    assert_ok(dataset_split_new(&b->d, 0.25, 1, &b->s, &err), &err);
    b->n_steps = tune_steps(b->s.n_train, BATCH, 2);
    str_release(&text);
    memset(hex, 'a', 64);
    memset(other_hex, 'b', 64);
}

static void bed_close(bed *b) {
    dataset_split_release(&b->s);
    dataset_release(&b->d);
    prompter_free(b->p);
    engine_free(b->e);
}

static trainer *trainer_of(const bed *b, float lr) {
    trainer *t = NULL;
    muga_error err = {0};
    train_options o = train_options_default();
    o.rank = 2;
    o.alpha = 4;
    o.lr = lr;
    o.n_warmup = 1;
    o.n_steps = b->n_steps;
    o.max_tok = 256;
    assert_ok(train_new(engine_model(b->e), &o, &t, &err), &err);
    return t;
}

static tune_options options_of(const bed *b) {
    return (tune_options){.batch = BATCH,
                          .group = 1,
                          .n_steps = b->n_steps,
                          .seed = 1,
                          .measure_every = 2,
                          .checkpoint_every = 1,
                          .checkpoint = scratch_path("run.checkpoint"),
                          .base_sha256 = hex,
                          .data_sha256 = hex,
                          .settings = "settings",
                          .files = &os_system()->files};
}

static str state_of(const trainer *t) {
    str s = STR_INIT;
    muga_error err = {0};
    assert_ok(train_save(t, &s, &err), &err);
    return s;
}

static bool never(void *ctx, const tune_progress *p) {
    uint64_t *n = ctx;
    assert_true(p->n_done >= 1 && p->n_done <= p->n_steps && p->n_tok > 0);
    return --*n > 0;
}

static void steps_are_counted(void **state) {
    (void)state;
    assert_int_equal(tune_steps(7, 2, 3), 12);
    assert_int_equal(tune_steps(8, 2, 3), 12);
    assert_int_equal(tune_steps(1, 100, 1), 1);
}

static void assert_same_rows(const train_rows *a, const train_rows *b) {
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_int_equal(a->at[i].step, b->at[i].step);
        assert_memory_equal(&a->at[i].loss, &b->at[i].loss, sizeof(double));
        assert_memory_equal(&a->at[i].held, &b->at[i].held, sizeof(double));
        assert_memory_equal(&a->at[i].lr, &b->at[i].lr, sizeof(double));
    }
}

/* After every single step the run ends and another process's worth of objects goes on. */
static void a_run_broken_off_after_each_step_ends_with_the_same_bits(void **state) {
    (void)state;
    bed b;
    muga_error err = {0};
    tune_result whole, part;
    bed_open(&b, open_plain());
    tune_options o = options_of(&b);
    trainer *t = trainer_of(&b, 0.01f);
    assert_ok(tune_run(t, &b.d, &b.s, &o, &whole, &err), &err);
    assert_int_equal(whole.n_done, b.n_steps);
    assert_true(whole.best_loss < whole.first_loss && whole.best_step > 0);
    assert_int_equal(whole.rows.n, b.n_steps + 1);
    str want = state_of(t);
    train_free(t);
    assert_ok(o.files->remove(o.files->self, o.checkpoint, &err), &err);
    for (uint64_t i = 0; i < b.n_steps; i++) {
        uint64_t left = 1;
        t = trainer_of(&b, 0.01f);
        o.resume = i > 0;
        o.on_step = never;
        o.ctx = &left;
        assert_status(tune_run(t, &b.d, &b.s, &o, &part, &err), MUGA_E_CANCELLED, &err, "--resume goes on");
        assert_int_equal(part.n_done, i + 1);
        train_rows_release(&part.rows);
        train_free(t);
    }
    t = trainer_of(&b, 0.01f);
    o.on_step = NULL;
    assert_ok(tune_run(t, &b.d, &b.s, &o, &part, &err), &err);
    str got = state_of(t);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.data, want.data, want.len);
    assert_same_rows(&part.rows, &whole.rows);
    assert_int_equal(part.best_step, whole.best_step);
    train_free(t);
    str_release(&want);
    str_release(&got);
    train_rows_release(&whole.rows);
    train_rows_release(&part.rows);
    bed_close(&b);
}

/* Learned by heart, the samples kept aside get worse; what was best for them is kept. */
static void it_stops_early_and_keeps_the_best(void **state) {
    (void)state;
    bed b;
    muga_error err = {0};
    tune_result r;
    train_result again;
    bed_open(&b, open_plain());
    b.n_steps = tune_steps(b.s.n_train, BATCH, 100);
    tune_options o = options_of(&b);
    train_sample held[N_LINES];
    o.measure_every = 1;
    o.patience = 2;
    o.checkpoint_every = 0;
    trainer *t = trainer_of(&b, 0.03f);
    assert_ok(tune_run(t, &b.d, &b.s, &o, &r, &err), &err);
    assert_true(r.stopped_early && r.n_done < b.n_steps);
    for (uint32_t i = 0; i < b.s.n_held; i++) {
        const dataset_sample *s = &b.d.samples[b.s.held[i]];
        held[i] = (train_sample){.ids = s->ids, .target = s->target, .n = s->n, .id = s->line};
    }
    assert_ok(train_loss(t, held, b.s.n_held, NULL, &again, &err), &err);
    assert_true(again.loss == r.best_loss && r.best_loss < r.first_loss);
    train_rows_release(&r.rows);
    train_free(t);
    bed_close(&b);
}

/* ---- what goes wrong ---- */

static void a_foreign_checkpoint_is_refused(void **state) {
    (void)state;
    bed b;
    muga_error err = {0};
    tune_result r;
    bed_open(&b, open_plain());
    tune_options o = options_of(&b);
    uint64_t left = 2;
    o.on_step = never;
    o.ctx = &left;
    trainer *t = trainer_of(&b, 0.01f);
    assert_status(tune_run(t, &b.d, &b.s, &o, &r, &err), MUGA_E_CANCELLED, &err, "after step 2");
    train_rows_release(&r.rows);
    o.resume = true;
    tune_options base = o, data = o, settings = o;
    base.base_sha256 = other_hex;
    data.data_sha256 = other_hex;
    settings.settings = "others";
    assert_status(tune_run(t, &b.d, &b.s, &base, &r, &err), MUGA_E_INPUT, &err, "bbbbbbbbbbbbbbbb");
    assert_status(tune_run(t, &b.d, &b.s, &data, &r, &err), MUGA_E_INPUT, &err, "other data");
    assert_status(tune_run(t, &b.d, &b.s, &settings, &r, &err), MUGA_E_INPUT, &err, "others");
    train_free(t);
    t = trainer_of(&b, 0.02f);
    assert_status(tune_run(t, &b.d, &b.s, &o, &r, &err), MUGA_E_INPUT, &err, "run.checkpoint");
    train_free(t);
    bed_close(&b);
}

static muga_status full(void *self, os_file *f, muga_error *err) {
    (void)self;
    (void)f;
    return error_set(err, MUGA_E_ENV, "no space left; free disk space");
}

static void a_full_disk_leaves_the_checkpoint_before(void **state) {
    (void)state;
    bed b;
    muga_error err = {0};
    tune_result r;
    train_checkpoint c;
    bed_open(&b, open_plain());
    tune_options o = options_of(&b);
    uint64_t left = 2;
    o.on_step = never;
    o.ctx = &left;
    trainer *t = trainer_of(&b, 0.01f);
    assert_status(tune_run(t, &b.d, &b.s, &o, &r, &err), MUGA_E_CANCELLED, &err, "after step 2");
    train_rows_release(&r.rows);
    os_files disk = os_system()->files;
    disk.sync = full;
    o.files = &disk;
    o.resume = true;
    o.on_step = NULL;
    assert_status(tune_run(t, &b.d, &b.s, &o, &r, &err), MUGA_E_ENV, &err, "no space left");
    train_rows_release(&r.rows);
    assert_ok(train_checkpoint_read(&os_system()->files, o.checkpoint, &c, &err), &err);
    assert_int_equal(c.n_done, 2);
    train_checkpoint_release(&c);
    train_free(t);
    bed_close(&b);
}

/* The embedding of one token is spoiled: only line 5 has it. */
static void a_loss_that_is_no_number_names_the_line(void **state) {
    (void)state;
    bed b;
    muga_error err = {0};
    tune_result r;
    token_list ids = TOKEN_LIST_INIT;
    engine *plain = open_plain();
    assert_ok(tokenizer_encode(engine_tokenizer(plain), " ~", 2, (tokenizer_flags){0}, &ids, &err), &err);
    int32_t spoiled = ids.ids[ids.n - 1];
    token_list_release(&ids);
    engine_free(plain);
    bed_open(&b, open_spoiled(spoiled, (engine_options){.isa = -1, .n_threads = 1}));
    tune_options o = options_of(&b);
    trainer *t = trainer_of(&b, 0.01f);
    assert_status(tune_run(t, &b.d, &b.s, &o, &r, &err), MUGA_E_NONFINITE, &err, "sample 5");
    train_rows_release(&r.rows);
    train_free(t);
    bed_close(&b);
}

/* ---- the adapter ---- */

static void the_adapter_loads_and_names_its_base(void **state) {
    (void)state;
    bed b;
    muga_error err = {0};
    tune_result r;
    engine_adapter *a = NULL;
    gguf_file *f;
    span base;
    const char *path = scratch_path("adapter.gguf");
    bed_open(&b, open_plain());
    tune_options o = options_of(&b);
    trainer *t = trainer_of(&b, 0.01f);
    assert_ok(tune_run(t, &b.d, &b.s, &o, &r, &err), &err);
    assert_ok(train_adapter_write(t, model_arch_name(engine_model(b.e)), hex, TENSOR_F32, o.files, path, &err), &err);
    assert_ok(engine_adapter_load(b.e, path, &a, &err), &err);
    engine_adapter_drop(a);
    assert_ok(gguf_open(path, &f, &err), &err);
    assert_ok(gguf_get_string(f, MODEL_ADAPTER_BASE_KEY, &base, &err), &err);
    assert_true(span_equal_string(base, hex));
    assert_int_equal(gguf_tensor_count(f), train_tensor_count(t));
    gguf_close(f);
    train_rows_release(&r.rows);
    train_free(t);
    bed_close(&b);
}

static void an_adapter_takes_half_the_room_in_half_precision(void **state) {
    (void)state;
    bed b;
    muga_error err = {0};
    engine_adapter *a = NULL;
    gguf_file *f;
    const char *path = scratch_path("half.gguf");
    bed_open(&b, open_plain());
    tune_options o = options_of(&b);
    trainer *t = trainer_of(&b, 0.01f);
    const char *arch = model_arch_name(engine_model(b.e));
    assert_int_equal(train_adapter_write(t, arch, hex, TENSOR_Q8_0, o.files, path, &err), MUGA_E_USAGE);
    assert_ok(train_adapter_write(t, arch, hex, TENSOR_F16, o.files, path, &err), &err);
    assert_ok(engine_adapter_load(b.e, path, &a, &err), &err);
    engine_adapter_drop(a);
    assert_ok(gguf_open(path, &f, &err), &err);
    for (uint32_t i = 0; i < train_tensor_count(t); i++) {
        train_tensor v;
        train_tensor_at(t, i, &v);
        const gguf_tensor *x = gguf_tensor_find(f, v.name);
        assert_non_null(x);
        assert_int_equal(x->type, TENSOR_F16);
        for (size_t k = 0; k < (size_t)v.rows * v.cols; k++) {
            float back;
            tensor_type_traits(TENSOR_F16)->dequantise((const uint8_t *)x->data + 2 * k, &back, 1);
            assert_true(fabsf(back - v.data[k]) <= fabsf(v.data[k]) / 1024 + 1e-7f);
        }
    }
    gguf_close(f);
    train_free(t);
    bed_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_are_counted),
                                       cmocka_unit_test(a_run_broken_off_after_each_step_ends_with_the_same_bits),
                                       cmocka_unit_test(it_stops_early_and_keeps_the_best),
                                       cmocka_unit_test(a_foreign_checkpoint_is_refused),
                                       cmocka_unit_test(a_full_disk_leaves_the_checkpoint_before),
                                       cmocka_unit_test(a_loss_that_is_no_number_names_the_line),
                                       cmocka_unit_test(the_adapter_loads_and_names_its_base),
                                       cmocka_unit_test(an_adapter_takes_half_the_room_in_half_precision)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
