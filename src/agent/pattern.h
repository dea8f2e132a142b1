/* A regular expression of a manifest, matched against outside text with limits on the effort. Private to agent/. */
#ifndef MUGA_AGENT_PATTERN_H
#define MUGA_AGENT_PATTERN_H

#include "base/json.h"

typedef struct pattern pattern;
/* Syntax of PCRE2, UTF-8. MUGA_E_INPUT: the byte and what is wrong there. */
MUGA_MUST_USE muga_status pattern_new(const char *source, pattern **out, muga_error *err);
void pattern_free(pattern *p);
/* Does it match somewhere in the n bytes of text (UTF-8)? *groups gets a new object of the named groups, null for one
 * that took no part; NULL where it doesn't match. MUGA_E_LIMIT: it took more than the effort that is allowed. */
MUGA_MUST_USE muga_status pattern_match(const pattern *p, const char *text, size_t n, json_t **groups, muga_error *err);
#endif
