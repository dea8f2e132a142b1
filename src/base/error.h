/* The one error type. Functions return muga_status; detail goes to a caller-owned muga_error (may be NULL). */
#ifndef MUGA_BASE_ERROR_H
#define MUGA_BASE_ERROR_H

#include "muga.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fill in `err` (if not NULL) and return `status`, so that `return error_set(...)` and
 * `st = error_set(...); goto out;` both read well. Text past 255 bytes is cut at a character. */
muga_status error_set(muga_error *err, muga_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "prefix: " before the message that is already there (file, key, line: the place). Where both don't fit, the
 * prefix loses its beginning, so that what is wrong and what to do stay. */
muga_status error_prefix(muga_error *err, muga_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Where the message tells of the file at `path`, or of the end of that path behind "...", it says `name` instead: where
 * a file lies can be nobody's business. err may be NULL. */
void error_call_path(muga_error *err, const char *path, const char *name);

/* Make text fit into size bytes (at least 8), terminator included, as "...its end": of a path the end tells most. */
void error_keep_end(char *text, size_t size);

/* MUGA_E_NOMEM with the usual sentence; `what` names the thing that did not fit. */
muga_status error_nomem(muga_error *err, const char *what);

/* "not found", "bad input", ...; never NULL. */
const char *error_status_name(muga_status status);

#endif
