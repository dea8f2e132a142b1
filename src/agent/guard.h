/* Guards on what comes in, what tools return, and what goes out; the manifest's `guards:` (docs/guards.md). Private to
 * agent/.
 *
 * A guard looks at one text and says where something stands that should not: a range of bytes. What then happens is the
 * manifest's choice: the range is masked, or the text is refused, asked about, or handed to a person. What was found is
 * told by guard, kind and place, never by its words: a record must not hold the secret it tells of. */
#ifndef MUGA_AGENT_GUARD_H
#define MUGA_AGENT_GUARD_H

#include "agent/agent.h"

/* From the least to the gravest: the gravest that any guard wants is done. */
typedef enum { GUARD_PASS, GUARD_MASK, GUARD_ASK, GUARD_ESCALATE, GUARD_REFUSE } guard_action;
typedef enum { GUARD_INPUT, GUARD_OUTPUT, GUARD_RESULT } guard_side;
const char *guard_action_name(guard_action a); /* pass | mask | ask | escalate | refuse */
const char *guard_side_name(guard_side s);     /* input | output | results */

/* `guards:` compiled; threads may share it. */
typedef struct guard_set guard_set;
/* `guards`: the section as the schema takes it, or NULL: nothing is guarded but the length of input and what tools
 * return, whose hidden text goes. Borrowed, must outlive the set. `at` (may be NULL): where it stands, for messages.
 * MUGA_E_INPUT: a guard with two actions, a pattern that doesn't compile, a name that is none. */
struct check_place;
MUGA_MUST_USE muga_status guard_set_new(const json_t *guards, const struct check_place *at, guard_set **out,
                                        muga_error *err);
/* The same from a YAML file with guards: in it, an agent.yaml or one of its own, checked by the schema. */
MUGA_MUST_USE muga_status guard_set_read(const char *p, size_t n, const char *file, guard_set **out, muga_error *err);
void guard_set_free(guard_set *g);

typedef struct guard_verdict {
    guard_action action;
    const char *guard; /* the one that wants it; NULL: pass */
    const char *what;  /* "holds an access key": goes on after "it " */
    const char *say;   /* the manifest's words for this guard, or NULL */
    str text;          /* pass, mask: the text as it goes on */
    json_t *found;     /* array of {"guard", "what", "from", "to", "action"}, bytes of the text given; empty: nothing */
} guard_verdict;
void guard_verdict_release(guard_verdict *v);
/* Look at a text. Any bytes; time grows with their number. MUGA_E_LIMIT: a pattern's effort is used up. */
MUGA_MUST_USE muga_status guard_check(const guard_set *g, guard_side side, const char *text, size_t n,
                                      guard_verdict *out, muga_error *err);
/* Every string in a tool's result, through GUARD_RESULT; *out is a new reference, the same value where nothing was
 * found. `found` (array, or NULL) receives what was, each with "path", a JSON pointer. */
MUGA_MUST_USE muga_status guard_result(const guard_set *g, const json_t *result, json_t **out, json_t *found,
                                       muga_error *err);

/* Does every id and number in `text` stand in one of `texts` (array of strings)? docs/guards.md says what counts. *ok
 * where the manifest does not ask for it. `which` receives the first that doesn't. */
MUGA_MUST_USE muga_status guard_is_grounded(const guard_set *g, const char *text, const json_t *texts, bool *ok,
                                            char which[64], muga_error *err);
#endif
