/* If this fails, an interrupted training run can't be gone on with, or goes on from a damaged file, or from that of
 * another model, other data or other settings. */
#include "support/support.h"

#include "base/mem.h"
#include "train/checkpoint.h"

#include <math.h>
#include <stdio.h>

static const os_files *files(void) {
    return &os_system()->files;
}

static train_checkpoint make(void) {
    train_checkpoint c = {.now_ms = -5, .n_done = 120, .best_step = 100, .n_worse = 2, .best_loss = 0.25};
    muga_error err = {0};
    memset(c.base_sha256, 'a', 64);
    memset(c.data_sha256, '0', 64);
    str_append_s(&c.settings, "batch 4, seed 1");
    str_append(&c.state, "state\0bytes", 11);
    str_append(&c.best, "best", 4);
    for (uint64_t i = 0; i < 100; i++)
        assert_ok(train_rows_push(&c.rows, (train_row){i, 1.0 / (double)(i + 1), NAN, 1e-3, 2}, &err), &err);
    return c;
}

static void what_is_written_is_read(void **state) {
    (void)state;
    muga_error err = {0};
    const char *path = scratch_path("a.checkpoint");
    train_checkpoint c = make(), got;
    assert_ok(train_checkpoint_write(files(), path, &c, &err), &err);
    assert_ok(train_checkpoint_read(files(), path, &got, &err), &err);
    assert_string_equal(got.base_sha256, c.base_sha256);
    assert_string_equal(got.data_sha256, c.data_sha256);
    assert_string_equal(str_get(&got.settings), "batch 4, seed 1");
    assert_true(got.now_ms == -5 && got.n_done == 120 && got.best_step == 100 && got.n_worse == 2);
    assert_true(got.best_loss == 0.25);
    assert_int_equal(got.state.len, 11);
    assert_memory_equal(got.state.data, c.state.data, 11);
    assert_int_equal(got.best.len, 4);
    assert_int_equal(got.rows.n, 100);
    assert_memory_equal(got.rows.at, c.rows.at, 100 * sizeof(train_row));
    assert_ok(train_checkpoint_check(&got, c.base_sha256, c.data_sha256, "batch 4, seed 1", &err), &err);
    train_checkpoint_release(&got);
    train_checkpoint_release(&c);
}

static void another_runs_is_refused_by_name(void **state) {
    (void)state;
    muga_error err = {0};
    train_checkpoint c = make();
    char other[SHA256_HEX] = "";
    memset(other, 'b', 64);
    assert_status(train_checkpoint_check(&c, other, c.data_sha256, "batch 4, seed 1", &err), MUGA_E_INPUT, &err,
                  "aaaaaaaaaaaaaaaa, this one has bbbbbbbbbbbbbbbb");
    assert_status(train_checkpoint_check(&c, c.base_sha256, other, "batch 4, seed 1", &err), MUGA_E_INPUT, &err,
                  "other data");
    assert_status(train_checkpoint_check(&c, c.base_sha256, c.data_sha256, "batch 8", &err), MUGA_E_INPUT, &err,
                  "batch 4, seed 1, this one has batch 8");
    train_checkpoint_release(&c);
}

static void write_bytes(const char *path, const char *p, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Cut at every length, and with every byte changed. */
static void damage_is_seen(void **state) {
    (void)state;
    muga_error err = {0};
    const char *path = scratch_path("b.checkpoint"), *bad = scratch_path("bad.checkpoint");
    train_checkpoint c = make(), got;
    str bytes = STR_INIT;
    c.rows.n = 2;
    assert_ok(train_checkpoint_write(files(), path, &c, &err), &err);
    assert_ok(os_read_file(files(), path, 1 << 20, &bytes, &err), &err);
    for (size_t n = 0; n < bytes.len; n++) {
        write_bytes(bad, bytes.data, n);
        assert_status(train_checkpoint_read(files(), bad, &got, &err), MUGA_E_INPUT, &err, "--restart");
        write_bytes(bad, bytes.data, bytes.len);
    }
    for (size_t i = 0; i < bytes.len; i++) {
        bytes.data[i] ^= 1;
        write_bytes(bad, bytes.data, bytes.len);
        assert_status(train_checkpoint_read(files(), bad, &got, &err), MUGA_E_INPUT, &err, "--restart");
        bytes.data[i] ^= 1;
    }
    assert_status(train_checkpoint_read(files(), scratch_path("none"), &got, &err), MUGA_E_NOT_FOUND, &err, "none");
    str_release(&bytes);
    train_checkpoint_release(&c);
}

/* A sound digest over lengths that lie. */
static void lengths_are_bounded(void **state) {
    (void)state;
    muga_error err = {0};
    const char *path = scratch_path("c.checkpoint");
    train_checkpoint c = make(), got;
    str bytes = STR_INIT;
    c.rows.n = 1;
    assert_ok(train_checkpoint_write(files(), path, &c, &err), &err);
    assert_ok(os_read_file(files(), path, 1 << 20, &bytes, &err), &err);
    for (size_t at = 136; at + 8 <= bytes.len - SHA256_BYTES; at++) {
        char keep[8];
        memcpy(keep, bytes.data + at, 8);
        memset(bytes.data + at, 0xff, 8);
        sha256_of(bytes.data, bytes.len - SHA256_BYTES, (uint8_t *)bytes.data + bytes.len - SHA256_BYTES);
        write_bytes(path, bytes.data, bytes.len);
        muga_status st = train_checkpoint_read(files(), path, &got, &err); /* numbers may be any, lengths not */
        if (!st)
            train_checkpoint_release(&got);
        else
            assert_int_equal(st, MUGA_E_INPUT);
        memcpy(bytes.data + at, keep, 8);
    }
    str_release(&bytes);
    train_checkpoint_release(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_written_is_read),
                                       cmocka_unit_test(another_runs_is_refused_by_name),
                                       cmocka_unit_test(damage_is_seen), cmocka_unit_test(lengths_are_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
