/* Memory and disk failing in turn during a training run. If this failed, a run on a full machine could crash, leak,
 * lose the checkpoint that it had, or be gone on with to other bits than a run that was left alone. */
#include "support/engine_fixture.h"

#include "support/faultfiles.h"
#include "support/faultmalloc.h"

#include "llm/tune.h"

#include <errno.h>

enum { BATCH = 2, FEWEST_ALLOCATIONS = 100, FEWEST_FILES = 15, MOST = 100000 };

typedef struct bed {
    engine *e;
    prompter *p;
    dataset d;
    dataset_split s;
    tune_options o;
    str want; /* the state that a run left alone ends with */
} bed;

static muga_status new_trainer(const bed *b, trainer **out, muga_error *err) {
    train_options o = train_options_default();
    o.rank = 1;
    o.targets = "attn_q";
    o.lr = 0.01f;
    o.n_warmup = 1;
    o.n_steps = b->o.n_steps;
    o.max_tok = 256;
    return train_new(engine_model(b->e), &o, out, err);
}

static void bed_open(bed *b) {
    muga_error err = {0};
    str text = STR_INIT;
    dataset_options o = {.max_tok = 256};
    static char hex[SHA256_HEX];
    memset(hex, 'a', sizeof hex - 1);
    *b = (bed){.e = open_plain()};
    for (int i = 0; i < 6; i++)
        str_printf(&text, "{\"prompt\": \"%d\", \"completion\": \"%d\"}\n", i, i * 7);
    assert_ok(prompter_new(b->e, &b->p, &err), &err);
    assert_ok(dataset_read(b->p, str_get(&text), text.len, "data", &o, &b->d, &err), &err);
    assert_ok(dataset_split_new(&b->d, 0.25, 1, &b->s, &err), &err);
    str_release(&text);
    b->o = (tune_options){.batch = BATCH,
                          .group = 1,
                          .n_steps = tune_steps(b->s.n_train, BATCH, 1),
                          .seed = 1,
                          .measure_every = 1,
                          .checkpoint_every = 1,
                          .checkpoint = scratch_path("run.checkpoint"),
                          .base_sha256 = hex,
                          .data_sha256 = hex,
                          .settings = "settings",
                          .files = &os_system()->files};
}

static void bed_close(bed *b) {
    str_release(&b->want);
    dataset_split_release(&b->s);
    dataset_release(&b->d);
    prompter_free(b->p);
    engine_free(b->e);
}

static bool has_checkpoint(const bed *b) {
    os_stat there;
    muga_error err = {0};
    assert_ok(b->o.files->stat(b->o.files->self, b->o.checkpoint, &there, &err), &err);
    return there.type != OS_TYPE_NONE;
}

/* A process's worth: from the checkpoint where there is one. */
static muga_status run(const bed *b, bool resume, str *state, muga_error *err) {
    trainer *t = NULL;
    tune_options o = b->o;
    tune_result r = {0};
    o.resume = resume;
    muga_status st = new_trainer(b, &t, err);
    if (!st)
        st = tune_run(t, &b->d, &b->s, &o, &r, err);
    if (!st)
        st = train_save(t, state, err);
    train_rows_release(&r.rows);
    train_free(t);
    return st;
}

static void remove_checkpoint(const bed *b) {
    muga_error err = {0};
    if (has_checkpoint(b))
        assert_ok(b->o.files->remove(b->o.files->self, b->o.checkpoint, &err), &err);
}

static void run_alone(bed *b) {
    muga_error err = {0};
    assert_ok(run(b, false, &b->want, &err), &err);
    remove_checkpoint(b);
}

/* What was broken off goes on; it ends as if nothing had been. */
static void go_on(const bed *b, const char *after) {
    str got = STR_INIT;
    muga_error err = {0};
    assert_ok(run(b, has_checkpoint(b), &got, &err), &err);
    if (got.len != b->want.len || memcmp(got.data, b->want.data, got.len))
        fail_msg("%s: gone on with, the run ends with other bits", after);
    str_release(&got);
    remove_checkpoint(b);
}

static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    bed b;
    bed_open(&b);
    run_alone(&b);
    size_t n = 1;
    for (bool reached = true; reached; n++) {
        str got = STR_INIT;
        muga_error err = {0};
        char what[64];
        long live = fault_live();
        fault_fail_at(n);
        muga_status st = run(&b, false, &got, &err);
        reached = fault_hit();
        fault_fail_at(0);
        str_release(&got);
        snprintf(what, sizeof what, "allocation %zu", n);
        if (fault_live() != live)
            fail_msg("%s: %ld blocks leaked", what, fault_live() - live);
        if (st && (st != MUGA_E_NOMEM || !reached || !*err.message))
            fail_msg("%s: status %d: %s", what, st, err.message);
        go_on(&b, what);
    }
    print_message("%zu allocations\n", n - 1);
    assert_in_range(n, FEWEST_ALLOCATIONS, MOST);
    bed_close(&b);
}

static void the_disk_may_fail_anywhere(void **state) {
    (void)state;
    bed b;
    bed_open(&b);
    run_alone(&b);
    size_t n = 1;
    for (bool reached = true; reached; n++) {
        str got = STR_INIT;
        muga_error err = {0};
        faultfiles_trial trial;
        faultfiles_begin(&trial, n, n % 2 ? ENOSPC : EIO, false);
        muga_status st = run(&b, false, &got, &err);
        faultfiles_end(&trial);
        reached = trial.reached;
        if (st && (st != MUGA_E_ENV || !reached || !*err.message))
            fail_msg("%s: status %d: %s", trial.what, st, err.message);
        str_release(&got);
        faultfiles_check(&trial);
        go_on(&b, trial.what);
    }
    print_message("%zu operations\n", n - 1);
    assert_in_range(n, FEWEST_FILES, MOST);
    bed_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_may_run_out_anywhere),
                                       cmocka_unit_test(the_disk_may_fail_anywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
