/* Private to lint: what lint.c gives its rules (lint_rules.c, lint_tools.c). */
#ifndef MUGA_AGENT_LINT_INTERNAL_H
#define MUGA_AGENT_LINT_INTERNAL_H

#include "agent/internal.h"
#include "agent/lint.h"

typedef struct lint {
    const agent_env *env;
    const char *dir;
    const json_t *json; /* agent.yaml, whatever is wrong with it: any member may have any type */
    const json_t *places;
    const manifest *m; /* NULL: it doesn't load */
    json_t *findings;
    bool failed; /* out of memory */
} lint;

/* A finding of the rule at a JSON pointer; where nothing stands there, at the nearest place above it. */
void lint_say(lint *l, const char *rule, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same in another place than a key of agent.yaml. */
void lint_say_at(lint *l, const char *rule, const char *file, int64_t line, int64_t column, const char *key,
                 const char *message);

/* Does any text in `v`, key or value, hold `part`? */
bool lint_mentions(const json_t *v, const char *part);

void lint_check_agent(lint *l);      /* the sections, the evaluation (lint_rules.c) */
void lint_check_tools(lint *l);      /* (lint_tools.c) */
void lint_check_evaluation(lint *l); /* (lint_rules.c) */
#endif
