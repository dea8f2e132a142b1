/* Does a text match a pattern? Regular patterns by the automaton that the constraint uses too; those with look-around
 * or back-references, and those too large for an automaton, by PCRE2 within counted steps. For the validator only. */
#ifndef MUGA_CONSTRAIN_MATCHER_H
#define MUGA_CONSTRAIN_MATCHER_H

#include "constrain/dfa.h"

typedef struct matcher matcher;
/* `work` counts down. MUGA_E_INPUT: not a pattern, or one that PCRE2 can't take. */
MUGA_MUST_USE muga_status matcher_new(const char *p, size_t n, regex_mode mode, uint64_t *work, matcher **out,
                                      muga_error *err);
/* matcher_new would take the pattern: what that costs without the automaton. */
MUGA_MUST_USE muga_status matcher_can(const char *p, size_t n, regex_mode mode, uint64_t *work, muga_error *err);
/* s: well-formed UTF-8. MUGA_E_LIMIT: `work` is used up. */
MUGA_MUST_USE muga_status matcher_test(const matcher *m, const char *s, size_t n, uint64_t *work, bool *yes,
                                       muga_error *err);
void matcher_free(matcher *m);
/* Is it a pattern at all (format "regex")? MUGA_E_INPUT: no. */
MUGA_MUST_USE muga_status matcher_check(const char *p, size_t n, uint64_t *work, muga_error *err);
#endif
