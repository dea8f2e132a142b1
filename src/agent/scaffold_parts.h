/* Private to the templates of new agents: their texts (scaffold_parts.c), which scaffold.c puts together.
 * @NAME@, @DIR@, @MODEL@, @TOOLS@, @LABELS@ and @RULES@ are filled in; @ITEM@, @DOCUMENT@ and their like are `, from:
 * conversation ...` where a model writes arguments, and nothing where rules do. */
#ifndef MUGA_AGENT_SCAFFOLD_PARTS_H
#define MUGA_AGENT_SCAFFOLD_PARTS_H

#include <stddef.h>

/* What one kind of tool brings along. */
typedef struct scaffold_part {
    const char *tool;
    const char *yaml, *labels, *percept_rules, *rules; /* in agent.yaml; percept_rules may be NULL */
    const char *examples;                              /* lines of examples.jsonl */
    const char *goal_tasks, *rule_tasks;               /* lines of eval/tasks.jsonl */
    size_t n_tools;                                    /* in yaml */
    struct {
        const char *path, *text; /* what it works on; a text that begins with #! is a program */
    } files[2];
} scaffold_part;
extern const scaffold_part scaffold_parts[];
extern const size_t scaffold_n_parts;

extern const char scaffold_goal[], scaffold_goal_examples[], scaffold_goal_tasks[];
extern const char scaffold_reflex[], scaffold_model[], scaffold_reflex_tasks[], scaffold_model_tasks[];
#endif
