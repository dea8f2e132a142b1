/* Masking what tells of a person in texts and JSON values. Private to agent/.
 *
 * Found are forms and checksums (personal.h), in any script's digits and letters and whatever space or dash parts them;
 * and known values: what session, arguments and results hold under a personal name (`name`, `email`, `street` ...), in
 * any case, with or without accents, whole or by single words, before or after it became known. Each is replaced by a
 * word in brackets: [email] [phone] [iban] [card] [id] [ip] [name] [address] [personal] [redacted]. Masking a masked
 * text changes nothing. */
#ifndef MUGA_AGENT_MASK_H
#define MUGA_AGENT_MASK_H

#include "base/json.h"

typedef struct mask mask;
/* `policy`: {"mask": [kinds], "personal": [names], "public": [names], "subject": [names]} as in manifest->data_policy;
 * no "mask": every kind. The object is borrowed and must outlive the mask. */
MUGA_MUST_USE muga_status mask_new(const json_t *policy, mask **out, muga_error *err);
void mask_free(mask *m);
/* Remember the personal values in `v`, an object of session values, arguments or a result; at most
 * MASK_MAX_KNOWN, E_LIMIT past them. */
#define MASK_MAX_KNOWN 100000
MUGA_MUST_USE muga_status mask_learn(mask *m, const json_t *v, muga_error *err);
/* Session values: those that name the subject are personal, whatever they are called. */
MUGA_MUST_USE muga_status mask_learn_session(mask *m, const json_t *values, muga_error *err);
/* A value to take out wherever it stands: [redacted]. */
MUGA_MUST_USE muga_status mask_learn_value(mask *m, const char *value, muga_error *err);

/* Every form (personal.h) of these kinds in a text, as its bytes [from, to), in order, through the same shadow. */
typedef muga_status (*mask_visit)(void *ctx, size_t from, size_t to, unsigned kind);
MUGA_MUST_USE muga_status mask_find_forms(const char *text, size_t n, unsigned kinds, mask_visit visit, void *ctx,
                                          muga_error *err);

/* Appends `text` masked. */
MUGA_MUST_USE muga_status mask_text(mask *m, const char *text, size_t n, str *out, muga_error *err);
/* Every string and number in `v`, and whole what stands under a personal name; new reference. Keys stay. */
MUGA_MUST_USE muga_status mask_json(mask *m, const json_t *v, json_t **out, muga_error *err);
#endif
