/* Plans of a goal agent: what the manifest says of them, what one may look like, and reading one. Private to agent/.
 *
 *   plan ::= {"steps": [{"tool": NAME, "why": TEXT}, ...]}
 *
 * A plan names tools and no arguments: those are decided one step at a time, when the results before it are known. */
#ifndef MUGA_AGENT_PLAN_H
#define MUGA_AGENT_PLAN_H

#include "agent/agent.h"

#define PLAN_MAX_STEPS 16      /* of one plan, whatever the manifest says */
#define PLAN_MAX_WHY 120       /* characters */
#define PLAN_MAX_BYTES 65536u  /* of a plan's text */
#define PLAN_ANSWER_TOKENS 512 /* unless the manifest says so */

struct check_place;

/* The manifest's plan:, with defaults. */
typedef struct plan_rules {
    bool by_step;                    /* mode: step. The model picks a call at a time and writes no plan */
    int64_t max_steps;               /* of one plan */
    int64_t max_replans;             /* of one message: new plans, failures, refused claims */
    int64_t reasoning_tokens;        /* before a plan or a pick, for models that reason; 0: none */
    int64_t answer_tokens;           /* of a plan, a call with its arguments, an answer */
    const char *instructions;        /* the author's words to the model, or NULL */
    const char *failed, *held, *ask; /* words to the person */
    template *answer;                /* what is said of the results where the model's own words can't be; or NULL */
} plan_rules;

/* `section`: plan: as the schema takes it, or NULL; borrowed, must outlive the rules. E_INPUT: answer is no template.
 */
MUGA_MUST_USE muga_status plan_rules_new(const json_t *section, const struct check_place *at, plan_rules **out,
                                         muga_error *err);
void plan_rules_free(plan_rules *r);

/* What a plan may hold now. */
typedef struct plan_bounds {
    const manifest *m;
    size_t least, most;    /* steps; most at most PLAN_MAX_STEPS */
    const json_t *without; /* object whose keys are tools that it can't name; or NULL */
} plan_bounds;
size_t plan_n_tools(const plan_bounds *b); /* that it can name */
/* The JSON Schema of such a plan; a new object. Without tools it is the empty plan. */
MUGA_MUST_USE muga_status plan_schema(const plan_bounds *b, json_t **out, muga_error *err);
/* Text as such a plan: a new array of {"tool", "why"}. MUGA_E_NEGATIVE: it is none, and why; whatever the text. */
MUGA_MUST_USE muga_status plan_parse(const plan_bounds *b, const char *text, size_t n, json_t **steps, muga_error *err);
#endif
