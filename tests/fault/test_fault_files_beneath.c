/* Every file operation failed in turn while a file beneath a folder is written, replaced, read and listed. If this
 * failed, a full disk or a signal could leave half a file, lose the one that was there, leave a draft behind, or say
 * that nothing was written when it was. */
#include "support/support.h"

#include "support/faultfiles.h"
#include "support/faultmalloc.h"

#include "base/mem.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char old_text[] = "what was there", new_text[] = "what shall be there, and is longer";
static char folder[400];

#define DRAFT ".draft"

/* The last thing that was told, -1: nothing. What is told true is there, whole, and not yet in its place. */
static int told = -1;
static const char *content;

static muga_status note(void *ctx, bool ready, muga_error *err) {
    char path[420], got[100] = "";
    const char *refusal = ctx;
    snprintf(path, sizeof path, "%s/" DRAFT, folder);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY); /* past the faults */
    if (fd < 0) {
        fail_msg("told %s without a draft", ready ? "ready" : "not placed");
    }
    assert_int_equal(syscall(SYS_read, fd, got, sizeof got - 1), strlen(content));
    close(fd);
    assert_string_equal(got, content);
    told = ready;
    return refusal ? error_set(err, MUGA_E_ENV, "%s", refusal) : MUGA_OK;
}

static muga_status put_unless(const char *text, bool replace, char *refusal, bool *placed, muga_error *err) {
    const os_files *f = &os_system()->files;
    const os_beneath_write w = {.root = folder,
                                .name = "note.txt",
                                .bytes = text,
                                .n = strlen(text),
                                .replace = replace,
                                .draft = DRAFT,
                                .note = note,
                                .ctx = refusal};
    told = -1;
    content = text;
    return f->write_beneath(f->self, &w, placed, err);
}

static muga_status put(const char *text, bool replace, bool *placed, muga_error *err) {
    return put_unless(text, replace, NULL, placed, err);
}

static void expect_content(const char *text, const char *what) {
    char path[420], got[100] = "";
    snprintf(path, sizeof path, "%s/note.txt", folder);
    FILE *in = fopen(path, "r");
    if (in) {
        got[fread(got, 1, sizeof got - 1, in)] = 0;
        fclose(in);
    }
    if ((in == NULL) != (text == NULL) || (text && strcmp(got, text) != 0)) {
        fail_msg("%s: the file holds '%s'", what, in ? got : "(nothing: it is not there)");
    }
}

/* One write with the nth operation failing; false when there is no nth. */
static bool write_with_failure(size_t n, int number, bool replace) {
    faultfiles_trial t;
    muga_error err = {0};
    bool placed;
    char path[420];
    snprintf(path, sizeof path, "%s/note.txt", folder);
    unlink(path);
    if (replace) {
        assert_ok(put(old_text, false, &placed, &err), &err);
    }
    faultfiles_begin(&t, n, number, false);
    muga_status st = put(new_text, replace, &placed, &err);
    faultfiles_end(&t);
    faultfiles_check(&t);
    expect_content(placed ? new_text : replace ? old_text : NULL, t.what);
    size_t n_entries = placed || replace ? 3 : 2; /* ".", "..", the file: no draft */
    if (count_entries(folder) != n_entries) {
        fail_msg("%s: something was left in the folder", t.what);
    }
    if (placed ? told != 1 : told == 1) {
        fail_msg("%s: placed %d, and the last that was told is %d", t.what, placed, told);
    }
    if (st == MUGA_OK ? !placed : !t.reached || strlen(err.message) < 20) {
        fail_msg("%s: status %d, placed %d: %s", t.what, st, placed, err.message);
    }
    return t.reached;
}

static void a_write_is_whole_or_not_there(void **state) {
    (void)state;
    static const int numbers[] = {ENOSPC, EIO, EACCES, EINTR, EOPNOTSUPP};
    size_t n_most = 0;
    for (int replace = 0; replace < 2; replace++) {
        for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
            size_t n = 1;
            while (write_with_failure(n, numbers[i], replace)) {
                n++;
            }
            n_most = MAX(n_most, n);
        }
    }
    assert_in_range(n_most, 6, 100);
}

static void what_is_not_noted_is_not_placed(void **state) {
    (void)state;
    muga_error err;
    bool placed;
    char refusal[] = "the journal can't be kept", path[420];
    os_stat info;
    const os_files *f = &os_system()->files;
    snprintf(path, sizeof path, "%s/note.txt", folder);
    assert_ok(put(old_text, true, &placed, &err), &err);
    assert_status(put_unless(new_text, true, refusal, &placed, &err), MUGA_E_ENV, &err, refusal);
    assert_false(placed);
    expect_content(old_text, "a write that was refused");
    assert_ok(f->look_beneath(f->self, folder, DRAFT, &info, &err), &err);
    assert_int_equal(info.type, OS_TYPE_NONE);
    assert_ok(f->look_beneath(f->self, folder, "note.txt", &info, &err), &err);
    assert_int_equal(info.type, OS_TYPE_FILE);
    assert_status(f->look_beneath(f->self, folder, "../x", &info, &err), MUGA_E_POLICY, &err, "leads out");
    /* what an interrupted write left is written anew */
    FILE *stale = fopen(strcat(strcpy(path, folder), "/" DRAFT), "w");
    assert_true(fputs("half", stale) > 0 && fclose(stale) == 0);
    assert_ok(put(new_text, true, &placed, &err), &err);
    assert_int_equal(count_entries(folder), 3);
    /* nothing is noted for a name that is taken */
    assert_status(put(old_text, false, &placed, &err), MUGA_E_POLICY, &err, "something of this name is there");
    assert_int_equal(told, -1);
}

static void reading_and_listing_say_what_failed(void **state) {
    (void)state;
    const os_files *f = &os_system()->files;
    muga_error err;
    bool placed, reached = true;
    assert_ok(put(new_text, true, &placed, &err), &err);
    for (size_t n = 1; reached; n++) {
        faultfiles_trial t;
        str text = STR_INIT;
        os_entry *list = NULL;
        size_t n_list = 0;
        faultfiles_begin(&t, n, EIO, false);
        muga_status read = f->read_beneath(f->self, folder, "note.txt", 1000, &text, &err);
        muga_status listed = read ? read : f->list_beneath(f->self, folder, "", 10, &list, &n_list, &err);
        faultfiles_end(&t);
        reached = t.reached;
        if ((read == MUGA_OK && strcmp(str_get(&text), new_text) != 0) || (read && text.len > 0) ||
            (listed == MUGA_OK && n_list != 1) || ((read || listed) && (!reached || strlen(err.message) < 20))) {
            fail_msg("%s: '%s', %zu entries, status %d %d: %s", t.what, str_get(&text), n_list, read, listed,
                     err.message);
        }
        str_release(&text);
        os_entries_free(list, n_list);
        faultfiles_check(&t);
    }
}

int main(void) {
    snprintf(folder, sizeof folder, "%s", scratch_path("beneath"));
    muga_error err;
    const os_files *f = &os_system()->files;
    assert_ok(f->mkdirs(f->self, folder, &err), &err);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_is_whole_or_not_there),
        cmocka_unit_test(what_is_not_noted_is_not_placed),
        cmocka_unit_test(reading_and_listing_say_what_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
