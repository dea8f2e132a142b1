/* The `format`s that are enforced: each is a regular language, so the constraint and the validator share it. */
#ifndef MUGA_CONSTRAIN_FORMAT_H
#define MUGA_CONSTRAIN_FORMAT_H

#include "base/str.h"

/* The whole-match pattern of a format; NULL for a name that is not enforced. *known: the drafts define the name. */
const char *format_pattern(const char *name, bool *known);
/* What the pattern leaves out on purpose (a leap second under an offset): rewrites the text so that the pattern can
 * judge it. Appends to out. */
void format_normalise(const char *name, const char *p, size_t n, str *out);
/* A pattern that marks texts which only the validator can judge ("xn--" labels of host names); NULL: none. */
const char *format_unsure(const char *name);
/* Longest text in bytes a format allows beyond its pattern (host names: 253); SIZE_MAX otherwise. */
size_t format_max_bytes(const char *name);
#endif
