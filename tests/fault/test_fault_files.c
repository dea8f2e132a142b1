/* Every operation on files failed in turn while a model is added to a store, found again, loaded and asked. If this
 * failed, a full or dying disk, a missing right, a signal at the wrong moment or a short read could leave half a model
 * in the store, give another answer, crash, or leak a file; it must say which file, and leave the store as it was.
 *
 * The operations are system calls under the real table of files, so the whole way to the disk is tested; tables of
 * files that fail are used in unit/test_hub and unit/test_os_files. */
#include "support/support.h"

#include "support/faultfiles.h"
#include "support/faultmalloc.h"

#include "base/mem.h"
#include "hub/hub.h"
#include "llm/llm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char home[400], model_file[400];
static json_t *messages;

/* What a run gives when nothing fails; texts in fixed buffers, so that they are no allocations. */
typedef struct outcome {
    char text[200], listed[600];
} outcome;

static muga_status list_models(const hub *h, outcome *out, muga_error *err) {
    json_t *list = NULL;
    str text = STR_INIT;
    muga_status st = hub_list(h, &list, err);
    for (size_t i = 0; i < json_array_size(list); i++)
        str_printf(&text, "%s=%s ", json_get_string(json_array_get(list, i), "name"),
                   json_get_string(json_array_get(list, i), "blob"));
    if (!st)
        st = str_status(&text, err, "the list");
    snprintf(out->listed, sizeof out->listed, "%s", str_get(&text));
    str_release(&text);
    json_decref(list);
    return st;
}

static muga_status ask(const char *path, outcome *out, muga_error *err) {
    llm *m = NULL;
    llm_reply reply = {0};
    llm_local_options o = {.n_ctx = 256, .n_threads = 1, .isa = -1};
    llm_request q = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 8, .want_evidence = true};
    muga_status st = llm_local_open(path, "tiny", &o, &m, err);
    if (!st)
        st = llm_complete(m, &q, &reply, err);
    if (!st)
        snprintf(out->text, sizeof out->text, "%s", str_get(&reply.text));
    llm_reply_release(&reply);
    llm_free(m);
    return st;
}

/* Add, list, resolve, load, ask. */
static muga_status run(outcome *out, muga_error *err) {
    hub h = {0};
    char *path = NULL;
    *out = (outcome){0};
    muga_status st = hub_open(&os_system()->files, home, &h, err);
    if (!st)
        st = hub_add(&h, "tiny", model_file, "a test", err);
    if (!st)
        st = list_models(&h, out, err);
    if (!st)
        st = hub_resolve(&h, "tiny", &path, err);
    if (!st)
        st = ask(path, out, err);
    free(path);
    hub_close(&h);
    return st;
}

static void empty_store(void) {
    hub h;
    muga_error err;
    assert_ok(hub_open(&os_system()->files, home, &h, &err), &err);
    muga_status st = hub_remove(&h, "tiny", &err);
    assert_true(st == MUGA_OK || st == MUGA_E_NOT_FOUND);
    hub_close(&h);
}

/* The store holds the model whole, or not at all; never a temporary file beside it. */
static void assert_store_whole(const outcome *expected, const char *what) {
    char folder[420];
    hub h;
    outcome now = {0};
    muga_error err = {0};
    snprintf(folder, sizeof folder, "%s/blobs", home);
    assert_ok(hub_open(&os_system()->files, home, &h, &err), &err);
    assert_ok(list_models(&h, &now, &err), &err);
    hub_close(&h);
    if (now.listed[0] && strcmp(now.listed, expected->listed) != 0)
        fail_msg("%s: the store lists %s", what, now.listed);
    if (count_entries(folder) > 3) /* ".", "..", the blob */
        fail_msg("%s: something was left beside the blob", what);
}

/* Calls that a signal can interrupt, and that must then be made again; others never give EINTR. */
static bool waits(const char *name) {
    return !strcmp(name, "open") || !strcmp(name, "read") || !strcmp(name, "write") || !strcmp(name, "fsync");
}

/* One run with the nth operation failing; false when there is no nth. */
static bool run_with_failure(const outcome *expected, size_t n, int number, bool for_good) {
    outcome now;
    muga_error err = {0};
    faultfiles_trial t;
    empty_store();
    faultfiles_begin(&t, n, number, for_good);
    muga_status st = run(&now, &err);
    faultfiles_end(&t);
    faultfiles_check(&t);
    if (st == MUGA_OK && memcmp(&now, expected, sizeof now) != 0)
        fail_msg("%s: another answer: %s, %s", t.what, now.text, now.listed);
    if (st != MUGA_OK && (!t.reached || (number == EINTR && waits(faultfiles_which())) || strlen(err.message) < 20 ||
                          !strchr(err.message, '/')))
        fail_msg("%s: status %d: %s", t.what, st, err.message);
    assert_store_whole(expected, t.what);
    return t.reached;
}

static void prepare(outcome *expected) {
    muga_error err = {0};
    snprintf(home, sizeof home, "%s", scratch_path("home"));
    snprintf(model_file, sizeof model_file, "%s", source_path("tests/data/tiny.gguf"));
    if (!messages)
        messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "where is it?");
    assert_non_null(messages);
    assert_ok(run(expected, &err), &err); /* what libraries allocate once is no leak */
    assert_true(strlen(expected->listed) > 64 && expected->text[0]);
}

static void every_operation_may_fail(void **state) {
    (void)state;
    static const int numbers[] = {EIO, ENOSPC, EMFILE, EACCES, ENOMEM};
    outcome expected;
    prepare(&expected);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        for (int for_good = 0; for_good < 2; for_good++) {
            size_t n = 1;
            while (run_with_failure(&expected, n, numbers[i], for_good))
                n++;
            assert_in_range(n, 20, 1000);
        }
}

/* A signal that is handled interrupts a call; it must simply be made again. */
static void every_operation_that_waits_may_be_interrupted(void **state) {
    (void)state;
    outcome expected;
    prepare(&expected);
    for (size_t n = 1; run_with_failure(&expected, n, EINTR, false); n++)
        ;
}

static void reads_and_writes_may_be_short(void **state) {
    (void)state;
    outcome expected, now;
    muga_error err = {0};
    prepare(&expected);
    empty_store();
    faultfiles_dribble(true);
    muga_status st = run(&now, &err);
    faultfiles_dribble(false);
    assert_ok(st, &err);
    assert_memory_equal(&now, &expected, sizeof now);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* a few hundred runs, each with synced writes */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_may_fail),
        cmocka_unit_test(every_operation_that_waits_may_be_interrupted),
        cmocka_unit_test(reads_and_writes_may_be_short),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(messages);
    return n_failed;
}
