/* muga: agents on small language models, on the machine where the data is.
 *
 * The one public header: a stable C ABI for embedders. Three kinds of object:
 *
 *   muga_model    a loaded GGUF model. Immutable; share it between threads.
 *   muga_chat     one conversation over a model: a growing list of tokens. One thread at a time.
 *   muga_agent    an agent folder opened over a store: tools, policy, journal, audit. One thread at a time.
 *
 * The library never exits, prints, reads the environment or installs a signal handler. Every call that can
 * fail returns a muga_status and, where `err` is not NULL, fills in what, where and what to do about it.
 * Strings are UTF-8. Objects are freed by the function named after them; NULL is accepted there.
 */
#ifndef MUGA_H
#define MUGA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_MUGA_BUILD)
#define MUGA_API __attribute__((visibility("default")))
#else
#define MUGA_API
#endif
#define MUGA_MUST_USE __attribute__((warn_unused_result))

/* Values are part of the ABI: append only. */
typedef enum muga_status {
    MUGA_OK = 0,
    MUGA_E_NEGATIVE = 1,  /* a check ran and its verdict is no (verify, test) */
    MUGA_E_USAGE = 2,     /* the caller's arguments are wrong */
    MUGA_E_NOT_FOUND = 3, /* the named thing does not exist */
    MUGA_E_INPUT = 4,     /* data from outside is malformed or out of range */
    MUGA_E_POLICY = 5,    /* held for approval, or refused by policy */
    MUGA_E_ENV = 6,       /* disk, right, feature or network of this machine is missing */
    MUGA_E_NOMEM = 7,     /* an allocation failed */
    MUGA_E_LIMIT = 8,     /* a stated limit (context, steps, tokens, output) was reached */
    MUGA_E_CANCELLED = 9, /* the caller's callback asked to stop */
    MUGA_E_NONFINITE = 10, /* the model computed NaN or infinity */
    MUGA_E_INTERNAL = 11  /* a defect in muga; please report it */
} muga_status;

/* Caller-owned error detail. `message` is always terminated; it says what, where, and what to do. */
typedef struct muga_error {
    muga_status status;
    char message[256];
} muga_error;

#ifdef __cplusplus
}
#endif
#endif
