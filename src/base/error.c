/* The one error type. Owns: filling in a caller's muga_error. Refuses: allocating, printing.
 *
 * Idea: text is formatted into a buffer of its own first, so a message may quote the message it replaces. */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define MIN_PREFIX 48 /* bytes that a prefix gets in any case */
#define MAX_PREFIX 1024

/* Copy at most size - 1 bytes, never ending inside a UTF-8 character. */
static void copy_cut(char *to, size_t size, const char *from) {
    size_t n = strlen(from);
    if (n >= size) {
        n = size - 1;
        while (n > 0 && ((unsigned char)from[n] & 0xC0) == 0x80) {
            n--;
        }
    }
    memmove(to, from, n);
    to[n] = '\0';
}

muga_status error_set(muga_error *err, muga_status status, const char *format, ...) {
    if (err) {
        char text[sizeof err->message + 8]; /* room to see which character is cut */
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        copy_cut(err->message, sizeof err->message, text);
        err->status = status;
    }
    return status;
}

void error_keep_end(char *text, size_t size) {
    size_t n = strlen(text);
    if (n < size) {
        return;
    }
    size_t from = n - (size - 1 - 3);
    while (((unsigned char)text[from] & 0xC0) == 0x80) {
        from++;
    }
    memmove(text + 3, text + from, n - from + 1);
    memcpy(text, "...", 3);
}

muga_status error_prefix(muga_error *err, muga_status status, const char *format, ...) {
    if (err) {
        char text[MAX_PREFIX + sizeof err->message + 8];
        va_list args;
        va_start(args, format);
        vsnprintf(text, MAX_PREFIX, format, args);
        va_end(args);
        size_t n_message = strlen(err->message), most = sizeof err->message - 2;
        error_keep_end(text, n_message + MIN_PREFIX < most ? most - n_message : MIN_PREFIX);
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, ": %s", err->message);
        copy_cut(err->message, sizeof err->message, text);
        err->status = status;
    }
    return status;
}

void error_call_path(muga_error *err, const char *path, const char *name) {
    const char *slash = strrchr(path, '/'), *last = slash ? slash + 1 : path;
    char *at = err ? strstr(err->message, last) : NULL;
    if (!at || !*last) {
        return;
    }
    char text[2 * sizeof err->message];
    const char *end = at + strlen(last);
    for (size_t n = (size_t)(last - path); n > 0 && at > err->message && at[-1] == path[n - 1]; n--) {
        at--;
    }
    if (at - err->message >= 3 && !memcmp(at - 3, "...", 3)) {
        at -= 3;
    }
    snprintf(text, sizeof text, "%.*s%.200s%s", (int)(at - err->message), err->message, name, end);
    copy_cut(err->message, sizeof err->message, text);
}

muga_status error_nomem(muga_error *err, const char *what) {
    return error_set(err, MUGA_E_NOMEM, "out of memory for %s; free memory or choose a smaller model or context", what);
}

const char *error_status_name(muga_status status) {
    switch (status) {
    case MUGA_OK: return "ok";
    case MUGA_E_NEGATIVE: return "negative verdict";
    case MUGA_E_USAGE: return "wrong usage";
    case MUGA_E_NOT_FOUND: return "not found";
    case MUGA_E_INPUT: return "bad input";
    case MUGA_E_POLICY: return "held or refused by policy";
    case MUGA_E_ENV: return "environment";
    case MUGA_E_NOMEM: return "out of memory";
    case MUGA_E_LIMIT: return "limit reached";
    case MUGA_E_CANCELLED: return "cancelled";
    case MUGA_E_NONFINITE: return "non-finite number";
    case MUGA_E_INTERNAL: return "internal error";
    }
    return "unknown status";
}
