/* What tests share: reference data outside the tree, the real model, a scratch folder. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "muga.h"

/* A sanitizer watches, or that of threads: what does one thing over and over, with other numbers or models, does a part
 * of it then. Release does all. */
#if defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#define SANITIZED_THREADS 1
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#define SANITIZED_THREADS 0
#else
#define SANITIZED 0
#define SANITIZED_THREADS 0
#endif

/* Path of shared reference data ("golden/README.md"), under $MUGA_SHARED or ../shared. Where it is absent the
 * calling test is skipped, visibly; with CI=true it fails. Valid until the program ends. */
const char *shared_path(const char *relative);

/* Path of the SmolLM2-135M-Instruct GGUF that scripts/setup put into the store; absent: as above. */
const char *model_path(void);

/* Path of the Gemma 3 270M GGUF, $MUGA_TEST_GEMMA3, which `make check-long` fetches; without it the calling test is
 * skipped, visibly. */
const char *gemma_path(void);

/* Path of a vocabulary or its cases ("ggml-vocab-falcon.gguf.inp") that scripts/test-vocabularies unpacked; NULL where
 * it is not there, and then a line says so. */
const char *vocabulary_path(const char *file);

/* Path of a file of the project's own ("tests/data/tiny.gguf"), which must be there. */
const char *source_path(const char *relative);

/* Path inside a folder that belongs to this test program alone and is removed after it. The folder exists, the
 * file may not. */
const char *scratch_path(const char *relative);

/* How many names a folder holds, "." and ".." included; 0 when it can't be read. */
size_t count_entries(const char *folder);

/* Fails the test with the error's message unless status is MUGA_OK. */
#define assert_ok(status, err) support_assert_ok((status), (err), #status, __FILE__, __LINE__)
void support_assert_ok(muga_status status, const muga_error *err, const char *text, const char *file, int line);

/* The status is `expected` and the message holds `part`. */
#define assert_status(status, expected, err, part)                                                                     \
    support_assert_status((status), (expected), (err), (part), #status, __FILE__, __LINE__)
void support_assert_status(muga_status status, muga_status expected, const muga_error *err, const char *part,
                           const char *text, const char *file, int line);

#endif
