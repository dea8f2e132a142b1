/* Past successes that are like a message, and what they say for its labels: how an agent learns at once, from one turn
 * to the next. Private to agent/; the manifest's `learning.examples`, docs/learning.md.
 *
 * What they say is a voice beside that of the manifest's own examples, and it is bounded, so that nobody who gets wrong
 * or malicious turns into them can take the agent over:
 *
 *   1. voice(l) >= 0, and over all labels it sums to `weight` at most. So where the manifest's examples and the model
 *      put one action more than `weight` ahead of all others, nothing that was learned changes it. (Under an expert
 *      log-odds change by `weight` times its weight of votes at most.)
 *   2. A decision may not, because of it, ask for a tool that writes where it would not have without (learned_follow).
 *   3. Three seats share the voice, by likeness. A person's correction may take all three; a turn that merely went well
 *      takes one, and each person (`source`) has one at most. So it takes three people to speak up.
 *   4. The texts are compared with, and go nowhere: not into a prompt, not into an answer. An instruction hidden in one
 *      is read by nobody. */
#ifndef MUGA_AGENT_LEARNED_H
#define MUGA_AGENT_LEARNED_H

#include "agent/intent.h"

#define LEARNED_SEATS 3
#define LEARNED_A_SOURCE 8 /* examples of one person that are kept */

typedef struct learned_options {
    size_t most;     /* examples kept: the first that are usable */
    double weight;   /* 0..0.5 */
    double likeness; /* below it an example says nothing; 0..1 */
} learned_options;
#define LEARNED_OPTIONS_DEFAULT ((learned_options){500, 0.2, 0.5})

/* All borrowed during learned_new. */
typedef struct learned_example {
    const char *text;   /* as kept: personal data masked */
    const char *label;  /* one that the manifest doesn't have is passed over: it has changed since */
    const char *id;     /* for the record: where it comes from */
    const char *source; /* whose it is */
    bool corrected;     /* by a person; else it went well as it was decided */
} learned_example;

/* `list`: the newest first. Of those that say the same words the first counts, a correction before all that are none.
 * Words of the manifest's own examples are passed over: those have spoken. Nothing usable: *out has no voice. `x`
 * must outlive it. */
MUGA_MUST_USE muga_status learned_new(const intent *x, const learned_options *o, const learned_example *list, size_t n,
                                      learned **out, muga_error *err);
void learned_free(learned *m);
size_t learned_count(const learned *m);
typedef struct learned_heard {
    double voice[RETRIEVE_MAX_LABELS];
    json_t *nearest; /* [{"id", "likeness", "label", "seats"}], new reference; NULL: nobody spoke */
} learned_heard;
MUGA_MUST_USE muga_status learned_hear(const learned *m, const char *text, size_t n, learned_heard *out,
                                       muga_error *err);
/* `with` was decided with the voice: `out` becomes that, unless it adds a tool that writes; out->learned tells it. */
MUGA_MUST_USE muga_status learned_follow(const intent *x, const learned_heard *h, const intent_decision *with,
                                         intent_decision *out, muga_error *err);
/* `text` masked (may be NULL: not wanted), and the same words in one spelling: small letters, one space for all that is
 * neither letter nor digit. Both appended. */
MUGA_MUST_USE muga_status learned_key(const intent *x, const char *text, str *masked, str *key, muga_error *err);
#endif
