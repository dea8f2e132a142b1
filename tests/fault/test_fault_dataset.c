/* Every allocation failed in turn while training data is read and a checkpoint written and read. If this failed, a
 * machine short of memory would crash, leak, or train on a part of its data. */
#include "support/engine_fixture.h"

#include "support/faultmalloc.h"

#include "base/mem.h"
#include "llm/dataset.h"
#include "train/checkpoint.h"

#include <unistd.h>

static const char text[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"where is A1\"},"
    "{\"role\": \"assistant\", \"content\": \"here\"}, {\"role\": \"user\", \"content\": \"and A2\"},"
    "{\"role\": \"assistant\", \"content\": \"there\"}]}\n"
    "{\"prompt\": \"a <|im_end|>\", \"completion\": \"b\"}\n";

static muga_status read_data(prompter *p, char hex[SHA256_HEX], muga_error *err) {
    dataset_options o = {.max_tok = TINY_CTX};
    dataset_split s = {0};
    dataset d = {0};
    muga_status st = dataset_read(p, text, sizeof text - 1, "data", &o, &d, err);
    if (!st)
        st = dataset_split_new(&d, 0.5, 1, &s, err);
    if (!st)
        dataset_digest(&d, hex);
    dataset_split_release(&s);
    dataset_release(&d);
    return st;
}

static muga_status keep(const char *path, const char hex[SHA256_HEX], muga_error *err) {
    train_checkpoint c = {.n_done = 1}, got = {0};
    memcpy(c.base_sha256, hex, SHA256_HEX);
    memcpy(c.data_sha256, hex, SHA256_HEX);
    str_append_s(&c.settings, "settings");
    str_append_s(&c.state, "state");
    muga_status st = str_status(&c.settings, err, "settings");
    if (!st)
        st = str_status(&c.state, err, "state");
    if (!st)
        st = train_rows_push(&c.rows, (train_row){.step = 1}, err);
    if (!st)
        st = train_checkpoint_write(&os_system()->files, path, &c, err);
    if (!st)
        st = train_checkpoint_read(&os_system()->files, path, &got, err);
    if (!st && (got.rows.n != 1 || got.state.len != 5))
        fail_msg("a checkpoint came back otherwise");
    train_checkpoint_release(&c);
    train_checkpoint_release(&got);
    return st;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    muga_error err = {0};
    char want[SHA256_HEX], got[SHA256_HEX] = "";
    const char *path = scratch_path("checkpoint");
    engine *e = open_plain();
    prompter *p = NULL;
    assert_ok(prompter_new(e, &p, &err), &err);
    assert_ok(read_data(p, want, &err), &err);
    bool reached = true;
    size_t n = 1;
    for (; reached; n++) {
        long live = fault_live();
        fault_fail_at(n);
        muga_status st = read_data(p, got, &err);
        if (!st)
            st = keep(path, got, &err);
        reached = fault_hit();
        fault_fail_at(0);
        if (st && (st != MUGA_E_NOMEM || !reached || !*err.message))
            fail_msg("allocation %zu: status %d: %s", n, st, err.message);
        if (!st)
            assert_string_equal(got, want);
        if (fault_live() != live)
            fail_msg("allocation %zu: %ld blocks leaked", n, fault_live() - live);
    }
    prompter_free(p);
    engine_free(e);
    print_message("%zu allocations\n", n - 2);
    assert_in_range(n, 100, 100000);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* many runs, each with a synced file */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
