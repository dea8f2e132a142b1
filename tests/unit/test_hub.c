/* Would break: a model name leads outside the store or to another model's file, a half-written model counts as one, or
 * removing a name takes away a blob that another name still needs. */
#include "base/hash.h"
#include "base/mem.h"
#include "hub/hub.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hub open_hub(const char *name) {
    hub h;
    muga_error err;
    assert_ok(hub_open(&os_system()->files, scratch_path(name), &h, &err), &err);
    return h;
}

static void write_manifest(const hub *h, const char *name, const char *text) {
    char path[4200];
    muga_error err;
    const os_files *f = &os_system()->files;
    snprintf(path, sizeof path, "%s/manifests/%s", h->home, name);
    assert_ok(f->mkdirs(f->self, path, &err), &err);
    snprintf(path, sizeof path, "%s/manifests/%s/latest", h->home, name);
    assert_ok(os_write_file_atomic(f, path, text, strlen(text), &err), &err);
}

static void test_add_resolve_list_remove(void **state) {
    (void)state;
    hub h = open_hub("a");
    muga_error err;
    char *path, *again;
    json_t *list;
    assert_ok(hub_list(&h, &list, &err), &err);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    assert_ok(hub_add(&h, "tiny", source_path("tests/data/tiny.gguf"), "a test", &err), &err);
    assert_ok(hub_add(&h, "tiny:second", source_path("tests/data/tiny.gguf"), "a test", &err), &err);
    assert_ok(hub_resolve(&h, "tiny", &path, &err), &err);
    assert_ok(hub_resolve(&h, "tiny:second", &again, &err), &err);
    assert_string_equal(path, again); /* one content, one blob */
    assert_ok(hub_list(&h, &list, &err), &err);
    assert_int_equal(json_array_size(list), 2);
    json_decref(list);
    assert_ok(hub_remove(&h, "tiny", &err), &err);
    free(again);
    assert_ok(hub_resolve(&h, "tiny:second", &again, &err), &err);
    assert_ok(hub_remove(&h, "tiny:second", &err), &err);
    os_stat info;
    assert_ok(h.files->stat(h.files->self, path, &info, &err), &err);
    assert_int_equal(info.type, OS_TYPE_NONE);
    assert_status(hub_remove(&h, "tiny", &err), MUGA_E_NOT_FOUND, &err, "tiny");
    free(path);
    free(again);
    hub_close(&h);
}

static void test_hostile_names_and_digests(void **state) {
    (void)state;
    hub h = open_hub("b");
    muga_error err;
    char *path;
    static const char *const names[] = {"",    ".",   "..",    "..:..", "a:",     ":a",  "a:b:c",  "A",
                                        "a b", "a\n", "a%2fb", "a\\b",  "a:../x", ".a",  "a:.hid", "\xc3\xa9",
                                        "a*",  "~",   "$HOME", "-:/",   "-rf",    "a:-f"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        muga_status st = hub_resolve(&h, names[i], &path, &err);
        assert_true(st == MUGA_E_USAGE || st == MUGA_E_NOT_FOUND || st == MUGA_E_INPUT);
        assert_null(path);
        char full[HUB_NAME_BYTES];
        assert_status(hub_full_name(names[i], full, &err), MUGA_E_USAGE, &err, "model name");
    }
    static const char *const digests[] = {"sha256:../../../../etc/passwd",
                                          "sha256:",
                                          "sha512:aa",
                                          "../x",
                                          "sha256:B179C9523D0E6A0F98A330C7562B682750A6F8C8C15E5BC70EA373728110DB53",
                                          "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db5",
                                          "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db533",
                                          "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db5/"};
    for (size_t i = 0; i < sizeof digests / sizeof *digests; i++) {
        char text[300];
        snprintf(text, sizeof text, "{\"version\":1,\"blob\":\"%s\"}", digests[i]);
        write_manifest(&h, "evil", text);
        assert_status(hub_resolve(&h, "evil", &path, &err), MUGA_E_INPUT, &err, "muga rm evil:latest");
    }
    write_manifest(&h, "evil", "{\"version\":1,\"blob\":7}");
    assert_status(hub_resolve(&h, "evil", &path, &err), MUGA_E_INPUT, &err, "muga rm evil:latest");
    write_manifest(&h, "evil", "not json");
    assert_status(hub_resolve(&h, "evil", &path, &err), MUGA_E_INPUT, &err, "manifests/evil/latest names no blob");
    hub_close(&h);
}

static void test_a_damaged_manifest_hides_and_keeps_nothing(void **state) {
    (void)state;
    hub h = open_hub("damaged");
    muga_error err;
    json_t *list;
    char *path;
    write_manifest(&h, "evil", "{");
    assert_ok(hub_add(&h, "tiny", source_path("tests/data/tiny.gguf"), "a test", &err), &err);
    assert_ok(hub_list(&h, &list, &err), &err);
    assert_int_equal(json_array_size(list), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *m = json_array_get(list, i);
        bool evil = !strcmp(json_get_string(m, "name"), "evil");
        assert_true(evil == (json_get_string(m, "blob") == NULL) && evil == (json_get_string(m, "damaged") != NULL));
    }
    json_decref(list);
    assert_ok(hub_resolve(&h, "tiny", &path, &err), &err);
    assert_ok(hub_remove(&h, "tiny", &err), &err);
    os_stat info;
    assert_ok(h.files->stat(h.files->self, path, &info, &err), &err);
    assert_int_equal(info.type, OS_TYPE_NONE);
    free(path);
    assert_ok(hub_remove(&h, "evil", &err), &err);
    assert_status(hub_remove(&h, "evil", &err), MUGA_E_NOT_FOUND, &err, "evil");
    assert_ok(hub_list(&h, &list, &err), &err);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    hub_close(&h);
}

static void test_only_models_are_added(void **state) {
    (void)state;
    hub h = open_hub("c");
    muga_error err;
    char *path;
    assert_status(hub_add(&h, "x", source_path("README.md"), "", &err), MUGA_E_INPUT, &err, "");
    assert_status(hub_add(&h, "x", "/dev/zero", "", &err), MUGA_E_INPUT, &err, "");
    assert_status(hub_add(&h, "x", scratch_path("nothing-here"), "", &err), MUGA_E_NOT_FOUND, &err, "");
    assert_status(hub_resolve(&h, "x", &path, &err), MUGA_E_NOT_FOUND, &err, "x");
    assert_status(hub_resolve(&h, "./nothing.gguf", &path, &err), MUGA_E_NOT_FOUND, &err, "no such file");
    assert_status(hub_resolve(&h, "/dev/null.gguf", &path, &err), MUGA_E_NOT_FOUND, &err, "");
    assert_status(hub_resolve(&h, "/dev/", &path, &err), MUGA_E_INPUT, &err, "regular file");
    hub_close(&h);
}

static muga_status count_one(void *ctx, const char *name) {
    size_t *n = ctx;
    (void)name;
    ++*n;
    return MUGA_OK;
}

static size_t count_files(const char *folder) {
    size_t n = 0;
    muga_error err;
    assert_ok(os_system()->files.list(NULL, scratch_path(folder), count_one, &n, &err), &err);
    return n;
}

/* A disk that fills while the blob is copied: no blob, no name, the message says so. */
static muga_status full_disk(void *self, os_file *f, const void *p, size_t n, muga_error *err) {
    (void)self, (void)f, (void)p, (void)n;
    return error_set(err, MUGA_E_ENV, "no space left on device");
}

static void test_full_disk_leaves_nothing(void **state) {
    (void)state;
    os_files files = os_system()->files;
    files.write = full_disk;
    hub h;
    muga_error err;
    json_t *list;
    assert_ok(hub_open(&files, scratch_path("d"), &h, &err), &err);
    assert_status(hub_add(&h, "x", source_path("tests/data/tiny.gguf"), "", &err), MUGA_E_ENV, &err, "space");
    assert_ok(hub_list(&h, &list, &err), &err);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    assert_int_equal(count_files("d/blobs"), 0);
    hub_close(&h);
}

/* What is done to files, in order, for a look at durability. */
static str log_of_calls;

static muga_status logged_sync(void *self, os_file *f, muga_error *err) {
    str_append_s(&log_of_calls, "sync ");
    return os_system()->files.sync(self, f, err);
}

static muga_status logged_rename(void *self, const char *from, const char *to, muga_error *err) {
    str_append_s(&log_of_calls, "rename ");
    return os_system()->files.rename(self, from, to, err);
}

static void test_content_and_names_are_synced_before_success(void **state) {
    (void)state;
    os_files files = os_system()->files;
    files.sync = logged_sync;
    files.rename = logged_rename;
    hub h;
    muga_error err;
    assert_ok(hub_open(&files, scratch_path("e"), &h, &err), &err);
    assert_ok(hub_add(&h, "x", source_path("tests/data/tiny.gguf"), "", &err), &err);
    /* the blob, its folder; the manifest, its folder (new folders are synced by mkdirs) */
    assert_string_equal(str_get(&log_of_calls), "sync rename sync sync rename sync ");
    str_release(&log_of_calls);
    hub_close(&h);
}

/* Another program adds another model between two writes of ours. */
static const hub *other_hub;

static muga_status interrupted_write(void *self, os_file *f, const void *p, size_t n, muga_error *err) {
    const hub *other = other_hub;
    other_hub = NULL;
    if (other)
        assert_ok(hub_add(other, "other", scratch_path("other.gguf"), "", err), err);
    return os_system()->files.write(self, f, p, n, err);
}

static void assert_content_is_digest(const hub *h, const char *name) {
    muga_error err;
    char *path, hex[SHA256_HEX];
    str bytes = STR_INIT;
    uint8_t digest[SHA256_BYTES];
    assert_ok(hub_resolve(h, name, &path, &err), &err);
    assert_ok(os_read_file(&os_system()->files, path, 1 << 24, &bytes, &err), &err);
    sha256_of(bytes.data, bytes.len, digest);
    hex_write(digest, sizeof digest, hex);
    assert_string_equal(hub_vouched_sha256(h, path), hex);
    str_release(&bytes);
    free(path);
}

static void test_two_may_add_at_once(void **state) {
    (void)state;
    const os_files *real = &os_system()->files;
    os_files files = *real;
    files.write = interrupted_write;
    hub h, other;
    muga_error err;
    str bytes = STR_INIT;
    assert_ok(os_read_file(real, source_path("tests/data/tiny.gguf"), 1 << 24, &bytes, &err), &err);
    bytes.data[bytes.len - 1] ^= 1;
    assert_ok(os_write_file_atomic(real, scratch_path("other.gguf"), bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    assert_ok(hub_open(&files, scratch_path("f"), &h, &err), &err);
    assert_ok(hub_open(real, scratch_path("f"), &other, &err), &err);
    other_hub = &other;
    assert_ok(hub_add(&h, "mine", source_path("tests/data/tiny.gguf"), "", &err), &err);
    assert_null(other_hub);
    assert_content_is_digest(&h, "mine");
    assert_content_is_digest(&h, "other");
    assert_int_equal(count_files("f/blobs"), 2);
    hub_close(&h);
    hub_close(&other);
}

static void test_only_the_stores_own_blobs_are_vouched_for(void **state) {
    (void)state;
    hub h = {.home = mem_copy_string("/home/x/muga")};
    char path[200], hex[65];
    memset(hex, 'a', 64);
    hex[64] = 0;
    static const struct {
        const char *folder;
        size_t n;
        bool good;
    } cases[] = {{"/home/x/muga/blobs/sha256-", 64, true},    {"/home/x/muga/blobs/sha256-", 63, false},
                 {"/home/y/muga/blobs/sha256-", 64, false},   {"blobs/sha256-", 64, false},
                 {"/home/x/muga/a/blobs/sha256-", 64, false}, {"/home/x/muga/blobs/sha256-/", 64, false},
                 {"/home/x/mugablobs/sha256-", 64, false},    {"/home/x/muga/blobs/sha256-", 0, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(path, sizeof path, "%s%.*s", cases[i].folder, (int)cases[i].n, hex);
        const char *found = hub_vouched_sha256(&h, path);
        assert_int_equal(found != NULL, cases[i].good);
        assert_true(!found || strcmp(found, hex) == 0);
    }
    snprintf(path, sizeof path, "/home/x/muga/blobs/sha256-%s", "A");
    memset(path + strlen(path), 'A', 63);
    assert_null(hub_vouched_sha256(&h, path));
    hub_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_resolve_list_remove),
        cmocka_unit_test(test_hostile_names_and_digests),
        cmocka_unit_test(test_a_damaged_manifest_hides_and_keeps_nothing),
        cmocka_unit_test(test_only_models_are_added),
        cmocka_unit_test(test_full_disk_leaves_nothing),
        cmocka_unit_test(test_content_and_names_are_synced_before_success),
        cmocka_unit_test(test_two_may_add_at_once),
        cmocka_unit_test(test_only_the_stores_own_blobs_are_vouched_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
