/* Ways to write a value. A parameter may say
 *
 *     normalise: {match: REGEX, value: TEMPLATE}      (PCRE2; $1..$9 are its groups, $0 the whole match)
 *
 * and then every match in what the person wrote also counts as TEMPLATE written out: "a-10293" as "A10293". The derived
 * values join the sources of grounded values, for the loop and for the executor's check alike. Private to agent/. */
#ifndef MUGA_AGENT_NORMALISE_H
#define MUGA_AGENT_NORMALISE_H

#include "agent/agent.h"

typedef struct normaliser normaliser;
/* MUGA_E_INPUT: a rule that is not one, naming tool and parameter. */
MUGA_MUST_USE muga_status normaliser_new(const manifest *m, normaliser **out, muga_error *err);
void normaliser_free(normaliser *n);
/* Append every derived value in `text` to the array `out`, in the order of the rules and then of the text. */
MUGA_MUST_USE muga_status normaliser_values(const normaliser *n, const char *text, size_t n_text, json_t *out,
                                            muga_error *err);
/* `text` with each match replaced by `word`: what was said, without which one it was said of. */
MUGA_MUST_USE muga_status normaliser_mask(const normaliser *n, const char *text, size_t n_text, const char *word,
                                          str *out, muga_error *err);
#endif
