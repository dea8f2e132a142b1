/* A grammar of messages: alternatives, rules, weights, and what they mean; texts are drawn from it by lot. Private to
 * agent/; the format is in docs/synth.md. A domain's words stand in its file, none here. */
#ifndef MUGA_AGENT_PHRASES_H
#define MUGA_AGENT_PHRASES_H

#include "agent/agent.h"
#include "base/rng.h"

#define PHRASES_MAX_BYTES ((size_t)4 << 20)
#define PHRASES_MAX_TEXT 2000u /* bytes of a text drawn */
#define PHRASES_MAX_DEPTH 24   /* of rules in rules */

typedef struct phrases phrases;
/* MUGA_E_INPUT: "FILE:LINE: key ...": a rule that isn't there or leads back to itself, brackets that don't close, a
 * message without text. `file` names it in errors. */
MUGA_MUST_USE muga_status phrases_read(const char *text, size_t n, const char *file, phrases **out, muga_error *err);
void phrases_free(phrases *p);

size_t phrases_n_messages(const phrases *p);
/* The message's own object: labels, voice, missing; borrowed. */
const json_t *phrases_message(const phrases *p, size_t i);
/* By weight. */
size_t phrases_choose(const phrases *p, rng *r);
/* A text of message i, appended: its {slots} stand as they are. MUGA_E_LIMIT: longer than PHRASES_MAX_TEXT. */
MUGA_MUST_USE muga_status phrases_draw(const phrases *p, size_t i, rng *r, str *out, muga_error *err);
/* "FILE:LINE: key messages[i].KEY: " and the text: for who knows what the labels are. */
muga_status phrases_fail(const phrases *p, size_t i, const char *key, const char *text, muga_error *err);

#endif
