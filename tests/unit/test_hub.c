/* Would break: a model name leads outside the store or to another model's file, a half-written model counts as one, or
 * removing a name takes away a blob that another name still needs. */
#include "base/hash.h"
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
    static const char *const names[] = {"",       ".",        "..",  "..:..", "a:",    ":a",     "a:b:c",
                                        "A",      "a b",      "a\n", "a%2fb", "a\\b",  "a:../x", ".a",
                                        "a:.hid", "\xc3\xa9", "a*",  "~",     "$HOME", "-:/"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        muga_status st = hub_resolve(&h, names[i], &path, &err);
        assert_true(st == MUGA_E_USAGE || st == MUGA_E_NOT_FOUND || st == MUGA_E_INPUT);
        assert_null(path);
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
        assert_status(hub_resolve(&h, "evil", &path, &err), MUGA_E_INPUT, &err, "digest");
    }
    write_manifest(&h, "evil", "{\"version\":1,\"blob\":7}");
    assert_status(hub_resolve(&h, "evil", &path, &err), MUGA_E_INPUT, &err, "digest");
    write_manifest(&h, "evil", "not json");
    assert_status(hub_resolve(&h, "evil", &path, &err), MUGA_E_INPUT, &err, "manifest");
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
    os_stat info;
    assert_ok(files.stat(files.self, scratch_path("d/blobs/.adding"), &info, &err), &err);
    assert_int_equal(info.type, OS_TYPE_NONE);
    hub_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_resolve_list_remove),
        cmocka_unit_test(test_hostile_names_and_digests),
        cmocka_unit_test(test_only_models_are_added),
        cmocka_unit_test(test_full_disk_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
