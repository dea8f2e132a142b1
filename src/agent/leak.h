/* Does a secret stand in a text, however it is written? Private to agent/.
 *
 * Found: the value as it is; in other case, width or accents; with anything that is no letter or digit put between or
 * left out; percent-encoded; in base64 (both alphabets, lines broken, a prefix before it) or hex (with separators);
 * up to three of these over one another; split over the arguments of one call. Of a longer secret text also any
 * stretch of 16 letters and digits, and every word of 5 or more with a digit or an @ in it.
 * Not found: values shorter than 4 letters and digits; shorter than 8 inside a longer word; what is paraphrased,
 * translated, reversed, compressed, encrypted, or split over several calls. */
#ifndef MUGA_AGENT_LEAK_H
#define MUGA_AGENT_LEAK_H

#include "base/json.h"

/* `secrets`: array of texts. `value`: its strings, numbers and keys are looked through. MUGA_E_LIMIT:
 * more spellings than are looked through. */
MUGA_MUST_USE muga_status leak_find(const json_t *secrets, const json_t *value, bool *found, muga_error *err);
#endif
