/* Guards on what comes in and what goes out; the manifest's `guards:`. Private to agent/. */
#ifndef MUGA_AGENT_GUARD_H
#define MUGA_AGENT_GUARD_H

#include "agent/agent.h"

/* NULL: may pass. Else why not, for the record. */
const char *guard_input(const manifest *m, const char *text, size_t n);
/* Card numbers (Luhn) and IBANs (mod 97), where the manifest says so, with all but their last four digits as '*'. */
MUGA_MUST_USE muga_status guard_mask(const manifest *m, str *text, muga_error *err);
/* Does every run of letters and digits that has a digit in it stand in one of `texts` (array of strings), bounded by
 * what is neither? True where the manifest does not ask for it. `which` receives the first that doesn't. */
bool guard_is_grounded(const manifest *m, const char *text, const json_t *texts, char which[64]);
#endif
