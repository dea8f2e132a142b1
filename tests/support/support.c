/* Paths for tests, and assertions on statuses. The scratch folder is made under $TMPDIR, which tests/support/run sets
 * and removes; run by hand, the program removes its own at exit. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include "support/support.h"

#include "base/mem.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Paths given out live until the program ends; kept reachable so that leak checkers see them. */
static arena paths;
static char *scratch_folder;

static const char *absent(const char *path, const char *remedy) {
    const char *ci = getenv("CI");
    if (ci && strcmp(ci, "true") == 0) {
        fail_msg("%s is not there; %s", path, remedy);
    }
    print_message("skipped: %s is not there; %s\n", path, remedy);
    skip();
    return path;
}

static bool exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

const char *shared_path(const char *relative) {
    const char *root = getenv("MUGA_SHARED");
    char *path = root ? arena_printf(&paths, "%s/%s", root, relative)
                      : arena_printf(&paths, "%s/../shared/%s", source_path(""), relative);
    assert_non_null(path);
    return exists(path) ? path : absent(path, "put the shared reference data beside the project or set MUGA_SHARED");
}

const char *model_path(void) {
    const char *path = getenv("MUGA_TEST_MODEL");
    if (!path || !*path) {
        path = "the model smollm2-135m-instruct";
    }
    return exists(path) ? path : absent(path, "run scripts/setup, or set MUGA_TEST_MODEL to its GGUF file");
}

const char *gemma_path(void) {
    const char *path = getenv("MUGA_TEST_GEMMA3");
    if (!path || !*path) {
        print_message("skipped: Gemma 3 270M is for make check-long, or set MUGA_TEST_GEMMA3 to its GGUF file\n");
        skip();
    }
    return path;
}

const char *vocabulary_path(const char *file) {
    const char *folder = getenv("MUGA_TEST_VOCABULARIES");
    char *path = arena_printf(&paths, "%s/%s", folder ? folder : "", file);
    assert_non_null(path);
    if (folder && exists(path))
        return path;
    print_message("skipped: %s is not there; run scripts/test-vocabularies\n", file);
    return NULL;
}

/* CTest runs tests in the project's root; by hand, some folder below it will do. */
const char *source_path(const char *relative) {
    char dots[64] = ".";
    for (size_t depth = 0; depth < 16; depth++) {
        char *probe = arena_printf(&paths, "%s/include/muga.h", dots);
        assert_non_null(probe);
        if (exists(probe)) {
            char *path = arena_printf(&paths, "%s/%s", dots, relative);
            assert_non_null(path);
            return path;
        }
        strcat(dots, "/..");
    }
    fail_msg("run the tests inside the project's folder");
    return NULL;
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *where) {
    (void)info;
    (void)flag;
    (void)where;
    return remove(path);
}

static void clean_up(void) {
    nftw(scratch_folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(scratch_folder);
}

const char *scratch_path(const char *relative) {
    if (!scratch_folder) {
        const char *tmp = getenv("TMPDIR");
        char *pattern = arena_printf(&paths, "%s/muga-scratch-XXXXXX", tmp ? tmp : "/tmp");
        assert_non_null(pattern);
        assert_non_null(mkdtemp(pattern));
        scratch_folder = mem_copy_string(pattern);
        assert_non_null(scratch_folder);
        atexit(clean_up);
    }
    char *path = arena_printf(&paths, "%s/%s", scratch_folder, relative);
    assert_non_null(path);
    return path;
}

void support_assert_ok(muga_status status, const muga_error *err, const char *text, const char *file, int line) {
    if (status != MUGA_OK) {
        print_error("%s: status %d: %s\n", text, status, err ? err->message : "");
        _fail(file, line);
    }
}

void support_assert_status(muga_status status, muga_status expected, const muga_error *err, const char *part,
                           const char *text, const char *file, int line) {
    const char *message = err ? err->message : "";
    if (status != expected || !strstr(message, part)) {
        print_error("%s: status %d, wanted %d; message \"%s\", wanted \"%s\" in it\n", text, status, expected, message,
                    part);
        _fail(file, line);
    }
}

size_t count_entries(const char *folder) {
    size_t n = 0;
    DIR *d = opendir(folder);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}
