/* Would break: a stored model is not what it was made of, a copy or another name is another model, an upload with the
 * wrong bytes counts as a blob, a digest leads out of the store, or what one model needs goes with another. */
#include "base/mem.h"
#include "gguf/gguf.h"
#include "hub/hub.h"
#include "hub/modelfile.h"
#include "support/hf_folder.h"
#include "support/make_adapter.h"
#include "support/support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX63 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeef"
#define HEX64 HEX63 "c"

static hub open_hub(const char *name) {
    hub h;
    muga_error err;
    assert_ok(hub_open(&os_system()->files, scratch_path(name), &h, &err), &err);
    return h;
}

static muga_status create_with(const hub *h, const char *name, const char *text, const hub_create_options *o,
                               muga_error *err) {
    modelfile m;
    muga_status st = modelfile_parse(text, strlen(text), "Modelfile", &m, err);
    if (!st)
        st = hub_create(h, name, &m, o, err);
    modelfile_release(&m);
    return st;
}

static muga_status create(const hub *h, const char *name, const char *text, muga_error *err) {
    static const hub_create_options plain;
    return create_with(h, name, text, &plain, err);
}

static const char *from_tiny(const char *rest) {
    static char text[2000];
    snprintf(text, sizeof text, "FROM %s\n%s", source_path("tests/data/tiny.gguf"), rest);
    return text;
}

static hub_model load(const hub *h, const char *name) {
    hub_model m;
    muga_error err;
    assert_ok(hub_load(h, name, &m, &err), &err);
    return m;
}

static size_t n_blobs(const hub *h) {
    char path[4200];
    snprintf(path, sizeof path, "%s/blobs", h->home);
    size_t n = count_entries(path);
    return n ? n - 2 : 0;
}

static void write_file(const char *path, const char *text) {
    muga_error err;
    assert_ok(os_write_file_atomic(&os_system()->files, path, text, strlen(text), &err), &err);
}

static void write_manifest(const hub *h, const char *name, const char *text) {
    char path[4200];
    muga_error err;
    const os_files *f = &os_system()->files;
    snprintf(path, sizeof path, "%s/manifests/%s", h->home, name);
    assert_ok(f->mkdirs(f->self, path, &err), &err);
    snprintf(path, sizeof path, "%s/manifests/%s/latest", h->home, name);
    write_file(path, text);
}

static void test_a_model_is_what_it_was_made_of(void **state) {
    (void)state;
    hub h = open_hub("made");
    muga_error err;
    assert_ok(create(&h, "a",
                     from_tiny("PARAMETER temperature 0.5\nPARAMETER stop x\nSYSTEM s\nTEMPLATE {{ messages[0].content "
                               "}}\nLICENSE l\nMESSAGE user u\nREQUIRES 0.14.0\n"),
                     &err),
              &err);
    hub_model m = load(&h, "a");
    assert_string_equal(m.name, "a:latest");
    assert_string_equal(m.target, "a:latest");
    assert_string_equal(hub_vouched_sha256(&h, m.path), m.sha256);
    assert_string_equal(m.system, "s");
    assert_string_equal(m.template, "{{ messages[0].content }}");
    assert_string_equal(m.requires, "0.14.0");
    assert_null(m.parent);
    assert_true(json_get_number(m.parameters, "temperature", 0) > 0.49);
    assert_int_equal(json_array_size(json_object_get(m.parameters, "stop")), 1);
    assert_int_equal(json_array_size(m.license), 1);
    assert_string_equal(json_get_string(json_array_get(m.messages, 0), "content"), "u");
    assert_string_equal(m.details.family, "llama");
    assert_string_equal(m.details.parameter_size, "127.30K");
    assert_int_equal(m.details.n_ctx_train, 2048);
    assert_true(m.bytes > 136320);
    hub_model_release(&m);
    hub_close(&h);
}

/* The same, made twice, copied, named anew, written as a Modelfile and made of that: one digest. */
static void test_one_model_has_one_digest(void **state) {
    (void)state;
    hub h = open_hub("digest");
    muga_error err;
    str text = STR_INIT;
    bool whole;
    const char *recipe = from_tiny("PARAMETER top_k 3\nPARAMETER seed 7\nSYSTEM s\nLICENSE l\n");
    assert_ok(create(&h, "a", recipe, &err), &err);
    assert_ok(create(&h, "b", from_tiny("LICENSE l\nSYSTEM s\nPARAMETER seed 7\nPARAMETER top_k 3\n"), &err), &err);
    assert_ok(hub_copy(&h, "a", "c", &err), &err);
    assert_ok(hub_alias(&h, "d", "c", &err), &err);
    assert_ok(create(&h, "e", "FROM d\n", &err), &err);
    hub_model m = load(&h, "a");
    modelfile_write(&m, &text, &whole);
    assert_true(whole);
    assert_ok(create(&h, "f", str_get(&text), &err), &err);
    str_release(&text);
    for (const char *name = "bcdef"; *name; name++) {
        hub_model other = load(&h, (char[]){*name, 0});
        assert_string_equal(m.digest, other.digest);
        hub_model_release(&other);
    }
    assert_int_equal(n_blobs(&h), 4); /* shared by all */
    assert_ok(create(&h, "g", "FROM a\nPARAMETER seed 8\n", &err), &err);
    hub_model other = load(&h, "g");
    assert_string_not_equal(m.digest, other.digest);
    assert_string_equal(other.parent, "a:latest");
    hub_model_release(&other);
    hub_model_release(&m);
    hub_model *all;
    size_t n;
    assert_ok(hub_load_all(&h, &all, &n, &err), &err);
    assert_int_equal(n, 7);
    assert_string_equal(all[3].name, "d:latest");
    assert_string_equal(all[3].target, "c:latest");
    for (size_t i = 0; i < n; i++) {
        char name[] = {(char)('a' + i), 0};
        hub_model_release(&all[i]);
        assert_ok(hub_remove(&h, name, &err), &err);
        assert_int_equal(n_blobs(&h), i == 6 ? 0 : 5 - (i == 5));
    }
    free(all);
    hub_close(&h);
}

static void test_a_name_that_is_taken_is_replaced_whole(void **state) {
    (void)state;
    hub h = open_hub("replaced");
    muga_error err;
    assert_ok(create(&h, "a", from_tiny("SYSTEM one\n"), &err), &err);
    assert_status(create(&h, "a", from_tiny("SYSTEM two\nPARAMETER num_ctx 99999\n"), &err), MUGA_E_INPUT, &err,
                  "2048");
    hub_model m = load(&h, "a");
    assert_string_equal(m.system, "one");
    hub_model_release(&m);
    assert_int_equal(n_blobs(&h), 2);
    assert_ok(create(&h, "a", "FROM a\nSYSTEM two\n", &err), &err);
    m = load(&h, "a");
    assert_string_equal(m.system, "two");
    hub_model_release(&m);
    assert_int_equal(n_blobs(&h), 2); /* the old text is gone */
    hub_close(&h);
}

static void test_names_that_lead_to_names(void **state) {
    (void)state;
    hub h = open_hub("alias");
    muga_error err;
    hub_model m;
    json_t *list;
    assert_ok(create(&h, "a", from_tiny("SYSTEM one\n"), &err), &err);
    assert_ok(hub_alias(&h, "b", "a", &err), &err);
    assert_ok(hub_alias(&h, "c", "b", &err), &err);
    assert_status(hub_alias(&h, "a", "c", &err), MUGA_E_INPUT, &err, "itself");
    assert_status(hub_alias(&h, "x", "nosuch", &err), MUGA_E_NOT_FOUND, &err, "nosuch");
    assert_ok(create(&h, "m", from_tiny(""), &err), &err);
    assert_status(hub_alias(&h, "m", "a", &err), MUGA_E_INPUT, &err, "is a model");
    assert_ok(create(&h, "a", from_tiny("SYSTEM two\n"), &err), &err);
    m = load(&h, "c"); /* whatever that is now */
    assert_string_equal(m.system, "two");
    hub_model_release(&m);
    assert_ok(hub_remove(&h, "a", &err), &err);
    assert_status(hub_load(&h, "c", &m, &err), MUGA_E_NOT_FOUND, &err, "c:latest' is another name of 'a:latest'");
    hub_model_release(&m);
    assert_ok(hub_list(&h, &list, &err), &err);
    assert_int_equal(json_array_size(list), 3);
    assert_non_null(json_get_string(json_array_get(list, 0), "damaged"));
    json_decref(list);
    write_manifest(&h, "p", "{\"version\":2,\"alias\":\"q:latest\"}"); /* not made by us */
    write_manifest(&h, "q", "{\"version\":2,\"alias\":\"p:latest\"}");
    assert_status(hub_load(&h, "p", &m, &err), MUGA_E_INPUT, &err, "without an end");
    hub_model_release(&m);
    write_manifest(&h, "r", "{\"version\":2,\"alias\":\"../../x\"}");
    assert_status(hub_load(&h, "r", &m, &err), MUGA_E_INPUT, &err, "r:latest");
    hub_model_release(&m);
    hub_close(&h);
}

static void test_manifests_of_other_versions(void **state) {
    (void)state;
    hub h = open_hub("versions");
    muga_error err;
    char text[400];
    assert_ok(create(&h, "a", from_tiny(""), &err), &err);
    hub_model a = load(&h, "a"), m;
    snprintf(text, sizeof text,
             "{\"version\":1,\"name\":\"old\",\"tag\":\"latest\",\"blob\":\"sha256:%s\",\"bytes\":136320}", a.sha256);
    write_manifest(&h, "old", text); /* as scripts/setup writes it: no details, no parts */
    m = load(&h, "old");
    assert_string_equal(m.digest, a.digest);
    assert_string_equal(m.details.family, "llama");
    assert_int_equal(json_object_size(m.parameters), 0);
    hub_model_release(&m);
    hub_model_release(&a);
    write_manifest(&h, "new", "{\"version\":3,\"blob\":\"x\"}");
    assert_status(hub_load(&h, "new", &m, &err), MUGA_E_INPUT, &err, "newer muga");
    hub_model_release(&m);
    static const char *const parts[] = {"7",
                                        "[7]",
                                        "[{}]",
                                        "[{\"kind\":\"system\",\"blob\":\"../../etc/passwd\",\"bytes\":1}]",
                                        "[{\"kind\":\"engine\",\"blob\":\"sha256:" HEX64 "\",\"bytes\":1}]",
                                        "[{\"kind\":\"system\",\"blob\":\"sha256:" HEX64 "\",\"bytes\":-1}]",
                                        "[{\"kind\":\"adapter\",\"blob\":\"sha256:" HEX64
                                        "\",\"bytes\":1,\"scale\":1e300}]"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        snprintf(text, sizeof text, "{\"version\":2,\"blob\":\"sha256:" HEX64 "\",\"bytes\":1,\"parts\":%s}", parts[i]);
        write_manifest(&h, "bad", text);
        assert_status(hub_load(&h, "bad", &m, &err), MUGA_E_INPUT, &err, "bad");
        hub_model_release(&m);
    }
    write_manifest(&h, "bad",
                   "{\"version\":2,\"blob\":\"sha256:" HEX64 "\",\"bytes\":1,\"parts\":[{\"kind\":\"system\","
                   "\"blob\":\"sha256:" HEX64 "\",\"bytes\":1}]}");
    assert_status(hub_load(&h, "bad", &m, &err), MUGA_E_NOT_FOUND, &err, "is gone");
    hub_model_release(&m);
    hub_close(&h);
}

/* 200 forms of what isn't a digest, in every place that takes one. None may touch a file: there is no store. */
static void test_hostile_digests(void **state) {
    (void)state;
    hub h = open_hub("nothing-here");
    char forms[200][160];
    size_t n = 0;
    static const char *const heads[] = {
        "", "sha256:", "sha256-", "SHA256:", "sha512:", "sha256::", " sha256:", "sha256:/"};
    static const char *const tails[] = {"",           "../../../../etc/passwd",
                                        "..",         "/",
                                        HEX63,        HEX63 "/",
                                        HEX63 "g",    HEX63 "A",
                                        HEX64 "0",    HEX64 "/",
                                        HEX64 "/..",  HEX64 "\n",
                                        HEX63 "%30",  "%2e%2e%2f" HEX63,
                                        "..\\" HEX63, "./" HEX63};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        for (size_t k = 0; k < ARRAY_LEN(tails); k++)
            snprintf(forms[n++], sizeof forms[0], "%s%s", heads[i], tails[k]);
    for (int at = 0; n < 200; at++) { /* one byte of a good one changed */
        snprintf(forms[n], sizeof forms[0], "sha256:%s", HEX64);
        forms[n++][at % 71] = "/.\\% \t-ZG:"[(at + at / 71) % 10];
    }
    for (size_t i = 0; i < n; i++) {
        bool has;
        hub_put p;
        muga_error err = {0};
        json_t *v;
        modelfile m;
        assert_false(hub_is_digest(forms[i]));
        assert_int_equal(hub_blob_has(&h, forms[i], &has, NULL, &err), MUGA_E_INPUT);
        assert_int_equal(hub_put_open(&h, forms[i], 0, &p, &err), MUGA_E_INPUT);
        hub_put_close(&p);
        v = json_pack("{s:{s:s}}", "files", "a.gguf", forms[i]);
        assert_status(modelfile_of_json(v, &m, &err), MUGA_E_INPUT, &err, "digest");
        modelfile_release(&m);
        json_decref(v);
    }
    assert_true(hub_is_digest("sha256:" HEX64));
    os_stat info;
    muga_error err;
    assert_ok(h.files->stat(NULL, h.home, &info, &err), &err);
    assert_int_equal(info.type, OS_TYPE_NONE);
    hub_close(&h);
}

/* ---- blobs in pieces ---- */

static const char abc[] = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

static void *put_abc(void *ctx) {
    const hub *h = ctx;
    for (int i = 0; i < 20; i++) {
        hub_put p;
        muga_error err;
        assert_int_equal(hub_put_open(h, abc, 3, &p, &err), MUGA_OK);
        for (const char *c = "abc"; *c; c++)
            assert_int_equal(hub_put_write(&p, c, 1, &err), MUGA_OK);
        assert_int_equal(hub_put_commit(&p, &err), MUGA_OK);
        hub_put_close(&p);
    }
    return NULL;
}

static void test_a_blob_has_no_name_until_it_is_whole(void **state) {
    (void)state;
    hub h = open_hub("put");
    hub_put p;
    muga_error err;
    bool has;
    uint64_t bytes = 0;
    assert_ok(hub_put_open(&h, abc, 0, &p, &err), &err);
    assert_ok(hub_put_write(&p, "ab", 2, &err), &err);
    assert_ok(hub_blob_has(&h, abc, &has, NULL, &err), &err);
    assert_false(has);
    hub_put_close(&p); /* the client left */
    hub_put_close(&p);
    assert_ok(hub_put_open(&h, abc, 0, &p, &err), &err);
    assert_ok(hub_put_write(&p, "abd", 3, &err), &err);
    assert_status(hub_put_commit(&p, &err), MUGA_E_INPUT, &err, "nothing was kept");
    hub_put_close(&p);
    assert_ok(hub_put_open(&h, abc, 2, &p, &err), &err);
    assert_status(hub_put_write(&p, "abc", 3, &err), MUGA_E_LIMIT, &err, "longer than the 2 bytes");
    hub_put_close(&p);
    assert_int_equal(n_blobs(&h), 0);
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_abc, &h), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_ok(hub_blob_has(&h, abc, &has, &bytes, &err), &err);
    assert_true(has && bytes == 3);
    assert_int_equal(n_blobs(&h), 1);
    assert_ok(hub_put_open(&h, NULL, 0, &p, &err), &err); /* it says what it is when it is there */
    assert_ok(hub_put_commit(&p, &err), &err);
    assert_string_equal(p.digest, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    hub_put_close(&p);
    hub_close(&h);
}

/* Threads of a server make and remove models of the same blobs: whoever is told that a model was made finds it whole
 * until it is removed. */
static const char *shared_recipe;

static void *make_and_remove(void *ctx) {
    const hub *h = ctx;
    char name[32];
    static _Atomic int next;
    snprintf(name, sizeof name, "m%d", next++);
    for (int i = 0; i < 15; i++) {
        muga_error err = {0};
        hub_model m;
        modelfile recipe = {0};
        hub_create_options o = {.quantize = NULL};
        muga_status read = modelfile_parse(shared_recipe, strlen(shared_recipe), "Modelfile", &recipe, &err);
        assert_int_equal(read, MUGA_OK);
        muga_status st = hub_create(h, name, &recipe, &o, &err);
        modelfile_release(&recipe);
        if (st) { /* the others took a blob that this one counted on, and it was said */
            assert_int_equal(st, MUGA_E_NOT_FOUND);
            continue;
        }
        assert_int_equal(hub_load(h, name, &m, &err), MUGA_OK);
        assert_string_equal(m.system, "shared");
        hub_model_release(&m);
        assert_int_equal(hub_remove(h, name, &err), MUGA_OK);
    }
    return NULL;
}

static void test_threads_make_and_remove_models_of_the_same_blobs(void **state) {
    (void)state;
    hub h = open_hub("threads");
    shared_recipe = from_tiny("SYSTEM shared\n");
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_and_remove, &h), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(n_blobs(&h), 0);
    hub_close(&h);
}

static void test_blobs_that_nobody_has_are_swept(void **state) {
    (void)state;
    hub h = open_hub("sweep");
    hub_put p;
    muga_error err;
    uint32_t n;
    uint64_t bytes;
    char stray[4200];
    assert_ok(create(&h, "a", from_tiny("SYSTEM s\n"), &err), &err);
    assert_ok(hub_put_open(&h, abc, 0, &p, &err), &err);
    assert_ok(hub_put_write(&p, "abc", 3, &err), &err);
    assert_ok(hub_put_commit(&p, &err), &err);
    hub_put_close(&p);
    snprintf(stray, sizeof stray, "%s/blobs/.making.tmp-0011223344556677", h.home);
    write_file(stray, "half of a model");
    assert_ok(hub_sweep(&h, 3600 * 1000, &n, &bytes, &err), &err);
    assert_int_equal(n, 0); /* somebody may be about to make a model of them */
    write_manifest(&h, "broken", "{");
    assert_ok(hub_sweep(&h, -1000, &n, &bytes, &err), &err);
    assert_int_equal(n, 0); /* nor does anything go that a damaged manifest may have named */
    assert_ok(hub_remove(&h, "broken", &err), &err);
    assert_ok(hub_sweep(&h, -1000, &n, &bytes, &err), &err);
    assert_int_equal(n, 2);
    assert_int_equal(bytes, 3 + 15);
    hub_model m = load(&h, "a");
    hub_model_release(&m);
    hub_close(&h);
}

/* ---- where weights come from ---- */

/* Who may not name paths learns nothing about them. */
static void test_without_paths_every_path_is_answered_alike(void **state) {
    (void)state;
    hub h = open_hub("no-paths");
    static const char *const paths[] = {"/etc/passwd",      "/etc/nosuch", "/etc", "./x",
                                        "../../etc/passwd", "x.gguf",      "~/x",  "."};
    hub_create_options o = {.no_paths = true};
    char first[256] = "", text[300];
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        muga_error err = {0};
        snprintf(text, sizeof text, "FROM %s\n", paths[i]);
        assert_int_equal(create_with(&h, "a", text, &o, &err), MUGA_E_INPUT);
        if (i == 0)
            snprintf(first, sizeof first, "%s", err.message);
        assert_string_equal(err.message, first);
    }
    muga_error err = {0};
    assert_ok(create(&h, "base", from_tiny(""), &err), &err);
    first[0] = 0;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        snprintf(text, sizeof text, "FROM base\nADAPTER %s\n", paths[i]);
        assert_int_equal(create_with(&h, "a", text, &o, &err), MUGA_E_INPUT);
        if (i == 0)
            snprintf(first, sizeof first, "%s", err.message);
        assert_string_equal(err.message, first);
    }
    hub_close(&h);
}

static void write_adapter(const char *path, const char *base_sha256) {
    gguf_file *base;
    str bytes = STR_INIT;
    muga_error err = {0};
    make_change changes[] = {{MAKE_STRING, "muga.base_sha256", 0, base_sha256}, {MAKE_END, NULL, 0, NULL}};
    make_adapter_options o = {.rank = 4, .alpha = 4, .seed = 81, .changes = base_sha256 ? changes : NULL};
    assert_ok(gguf_open(source_path("tests/data/tiny.gguf"), &base, &err), &err);
    assert_true(make_adapter(base, &o, &bytes));
    gguf_close(base);
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
}

static void test_an_adapter_is_one_for_these_weights(void **state) {
    (void)state;
    hub h = open_hub("adapters");
    muga_error err;
    char right[4200], other[4200], text[5000];
    hub_create_options loose = {.any_base = true};
    assert_ok(create(&h, "base", from_tiny(""), &err), &err);
    hub_model m = load(&h, "base");
    snprintf(right, sizeof right, "%s", scratch_path("right.gguf"));
    snprintf(other, sizeof other, "%s", scratch_path("other.gguf"));
    write_adapter(right, m.sha256);
    write_adapter(other, HEX64);
    hub_model_release(&m);
    snprintf(text, sizeof text, "FROM base\nADAPTER %s:0.25\n", right);
    assert_ok(create(&h, "a", text, &err), &err);
    m = load(&h, "a");
    assert_int_equal(m.n_adapters, 1);
    assert_true(m.adapters[0].scale == 0.25f && !m.adapters[0].any_base);
    assert_string_equal(hub_vouched_sha256(&h, m.adapters[0].path), m.adapters[0].sha256);
    char digest[SHA256_HEX];
    memcpy(digest, m.digest, sizeof digest);
    hub_model_release(&m);
    assert_ok(create(&h, "b", "FROM a\n", &err), &err); /* inherited */
    m = load(&h, "b");
    assert_string_equal(m.digest, digest);
    hub_model_release(&m);
    snprintf(text, sizeof text, "FROM a\nADAPTER %s\n", right);
    assert_status(create(&h, "c", text, &err), MUGA_E_INPUT, &err, "has one already");
    snprintf(text, sizeof text, "FROM base\nADAPTER %s\n", other);
    assert_status(create(&h, "c", text, &err), MUGA_E_INPUT, &err, "ADAPTER: ");
    assert_ok(create_with(&h, "c", text, &loose, &err), &err);
    assert_ok(create(&h, "d", "FROM c\n", &err), &err); /* whoever made it knew */
    m = load(&h, "d");
    assert_true(m.n_adapters == 1 && m.adapters[0].any_base);
    hub_model_release(&m);
    hub_close(&h);
}

static bool count_progress(void *ctx, const char *what, double done) {
    (void)what, (void)done;
    int *left = ctx;
    return --*left > 0;
}

/* A Hugging Face folder of this name in the scratch folder; its path. */
static void write_folder(const char *name, const hf_folder_options *o, char dir[4200]) {
    char f16[4200];
    snprintf(f16, sizeof f16, "%s", scratch_path("f16.gguf"));
    snprintf(dir, 4200, "%s", scratch_path(name));
    hf_folder_source(f16);
    hf_folder_write(f16, dir, o);
}

static void test_folders_and_types(void **state) {
    (void)state;
    hub h = open_hub("folders");
    muga_error err;
    char dir[4200], text[5000];
    write_folder("hf", &(hf_folder_options){0}, dir);
    snprintf(text, sizeof text, "FROM ./hf\nSYSTEM s\n");
    char *parent = mem_copy_bytes(dir, (size_t)(strrchr(dir, '/') - dir));
    hub_create_options o = {.dir = parent, .quantize = "q8_0"};
    assert_ok(create_with(&h, "a", text, &o, &err), &err);
    hub_model m = load(&h, "a");
    assert_string_equal(m.details.quantization_level, "Q8_0");
    hub_model_release(&m);
    o.quantize = NULL;
    assert_ok(create_with(&h, "b", text, &o, &err), &err);
    m = load(&h, "b");
    assert_string_equal(m.details.quantization_level, "F16");
    hub_model_release(&m);
    o.quantize = "Q8_0";
    assert_ok(create_with(&h, "c", "FROM b\n", &o, &err), &err);
    o.quantize = "Q4_0";
    assert_status(create_with(&h, "d", "FROM c\n", &o, &err), MUGA_E_INPUT, &err, "Q8_0 already");
    o.quantize = "Q9";
    assert_status(create_with(&h, "d", "FROM b\n", &o, &err), MUGA_E_USAGE, &err, "no type");
    size_t before = n_blobs(&h);
    for (int left = 1; left < 6; left++) { /* stopped early, later, and late */
        int n = left;
        hub_create_options stop = {
            .dir = parent, .quantize = "Q4_0", .on_progress = count_progress, .on_progress_ctx = &n};
        muga_status st = create_with(&h, "stopped", text, &stop, &err);
        assert_true(st == MUGA_E_CANCELLED || st == MUGA_OK);
        if (!st)
            assert_ok(hub_remove(&h, "stopped", &err), &err);
        assert_int_equal(n_blobs(&h), before);
    }
    free(parent);
    hub_close(&h);
}

/* ---- a folder whose files were put one by one ---- */

typedef struct putting {
    const hub *h;
    const char *dir;
    json_t *files; /* digests by name */
} putting;

static muga_status put_one(void *ctx, const char *name) {
    const putting *p = ctx;
    char path[4400];
    str bytes = STR_INIT;
    hub_put put;
    muga_error err;
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    assert_ok(os_read_file(&os_system()->files, path, (size_t)1 << 24, &bytes, &err), &err);
    assert_ok(hub_put_open(p->h, NULL, 0, &put, &err), &err);
    assert_ok(hub_put_write(&put, str_get(&bytes), bytes.len, &err), &err);
    assert_ok(hub_put_commit(&put, &err), &err);
    json_object_set_new(p->files, name, json_string(put.digest));
    hub_put_close(&put);
    str_release(&bytes);
    return MUGA_OK;
}

/* As a request to create has it. */
static muga_status create_of_files(const hub *h, const char *name, const json_t *files, muga_error *err) {
    static const hub_create_options none = {.no_paths = true};
    json_t *body = json_pack("{s:O}", "files", files);
    modelfile m;
    muga_status st = modelfile_of_json(body, &m, err);
    if (!st)
        st = hub_create(h, name, &m, &none, err);
    modelfile_release(&m);
    json_decref(body);
    return st;
}

/* Files by their names, without one, and what it is refused with. */
static void refuse_without(const hub *h, const json_t *files, const char *name, muga_status wanted, const char *part) {
    json_t *less = json_copy((json_t *)(uintptr_t)files);
    muga_error err = {0};
    json_object_del(less, name);
    assert_status(create_of_files(h, "less", less, &err), wanted, &err, part);
    assert_null(strstr(err.message, h->home));
    json_decref(less);
}

static void test_a_folder_as_blobs(void **state) {
    (void)state;
    hub h = open_hub("as_blobs");
    muga_error err;
    char dir[4200], text[5000];
    write_folder("parts", &(hf_folder_options){.n_shards = 3}, dir);
    snprintf(text, sizeof text, "FROM %s\n", dir);
    assert_ok(create(&h, "of_dir", text, &err), &err);
    putting p = {&h, dir, json_object()};
    assert_ok(h.files->list(h.files->self, dir, put_one, &p, &err), &err);
    size_t n_before = n_blobs(&h);
    assert_ok(create_of_files(&h, "parts", p.files, &err), &err);
    hub_model a = load(&h, "of_dir"), b = load(&h, "parts");
    assert_string_equal(a.sha256, b.sha256); /* both are called "parts" inside */
    hub_model_release(&a);
    hub_model_release(&b);
    assert_int_equal(n_blobs(&h), n_before);

    refuse_without(&h, p.files, "config.json", MUGA_E_NOT_FOUND, "files: no config.json");
    refuse_without(&h, p.files, "model.safetensors.index.json", MUGA_E_NOT_FOUND, "files: neither model.safetensors");
    refuse_without(&h, p.files, "model-00002-of-00003.safetensors", MUGA_E_NOT_FOUND, "is missing");
    json_object_set_new(p.files, "more.bin", json_string("sha256:" HEX64));
    refuse_without(&h, p.files, "", MUGA_E_NOT_FOUND, "no blob");
    json_object_set(p.files, "more.bin", json_object_get(p.files, "config.json"));
    json_object_set(p.files, "model-00001-of-00003.safetensors", json_object_get(p.files, "config.json"));
    refuse_without(&h, p.files, "", MUGA_E_INPUT, "files/model-00001-of-00003.safetensors");
    assert_int_equal(n_blobs(&h), n_before);
    json_decref(p.files);
    hub_close(&h);
}

/* ---- a disk that fills ---- */

static int writes_left;

static muga_status filling_write(void *self, os_file *f, const void *p, size_t n, muga_error *err) {
    if (writes_left-- <= 0)
        return error_set(err, MUGA_E_ENV, "no space left on device");
    return os_system()->files.write(self, f, p, n, err);
}

static void test_a_full_disk_leaves_the_store_as_it_was(void **state) {
    (void)state;
    os_files files = os_system()->files;
    hub good = open_hub("full"), h;
    muga_error err;
    assert_ok(create(&good, "a", from_tiny("SYSTEM one\n"), &err), &err);
    const char *recipe = from_tiny("SYSTEM two\nTEMPLATE {{ x }}\nLICENSE l\nPARAMETER seed 1\nMESSAGE user u\n");
    files.write = filling_write;
    assert_ok(hub_open(&files, good.home, &h, &err), &err);
    muga_status st = MUGA_E_ENV;
    int n = 0;
    for (; st; n++) {
        writes_left = n;
        st = create(&h, "a", recipe, &err);
        if (st) {
            assert_int_equal(st, MUGA_E_ENV);
            hub_model m = load(&good, "a");
            assert_string_equal(m.system, "one");
            hub_model_release(&m);
            assert_int_equal(n_blobs(&good), 2);
        }
        assert_true(n < 50);
    }
    assert_true(n > 6);
    hub_model m = load(&good, "a");
    assert_string_equal(m.system, "two");
    hub_model_release(&m);
    hub_close(&h);
    hub_close(&good);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_model_is_what_it_was_made_of),
        cmocka_unit_test(test_one_model_has_one_digest),
        cmocka_unit_test(test_a_name_that_is_taken_is_replaced_whole),
        cmocka_unit_test(test_names_that_lead_to_names),
        cmocka_unit_test(test_manifests_of_other_versions),
        cmocka_unit_test(test_hostile_digests),
        cmocka_unit_test(test_a_blob_has_no_name_until_it_is_whole),
        cmocka_unit_test(test_threads_make_and_remove_models_of_the_same_blobs),
        cmocka_unit_test(test_blobs_that_nobody_has_are_swept),
        cmocka_unit_test(test_without_paths_every_path_is_answered_alike),
        cmocka_unit_test(test_an_adapter_is_one_for_these_weights),
        cmocka_unit_test(test_folders_and_types),
        cmocka_unit_test(test_a_folder_as_blobs),
        cmocka_unit_test(test_a_full_disk_leaves_the_store_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
