/* What the verbs of `muga data` share: which rows. */
#ifndef MUGA_CMD_DATA_H
#define MUGA_CMD_DATA_H

#include "agent/interactions.h"
#include "cmd/cmd.h"

/* As given on the command line. */
typedef struct data_choice {
    cmd_values subject;
    const char *session, *outcomes;
    uint32_t turn;
    json_t *who; /* read of subject; NULL: nobody in particular */
} data_choice;
#define DATA_ROW_OPTIONS(c)                                                                                            \
    {"--subject", 0, CMD_REPEAT, &(c)->subject, "NAME=VALUE", "a person's rows, by a session value: customer=7"},      \
        {"--session", 0, CMD_STRING, &(c)->session, "ID", "this session's rows"},                                      \
        {"--turn", 0, CMD_U32, &(c)->turn, "N", "and of it this turn"}, {                                              \
        "--outcome", 0, CMD_STRING, &(c)->outcomes, "A,B", "of completed, corrected, escalated, denied, asked, open"   \
    }

/* `agent` (NULL: any) and the choice as a filter, which borrows both. */
MUGA_MUST_USE muga_status data_read_choice(data_choice *c, const char *agent, interaction_filter *out, muga_error *err);
void data_choice_release(data_choice *c);
/* In a conversation on a terminal, the operator's word on the turn just taken: /good, /bad WHY, /label NAME. Says what
 * became of it. */
void data_say_word(const agent_env *env, store *s, const manifest *m, const agent_session *session, const char *line);
/* "2026-11-26 05:12" UTC */
void data_format_time(int64_t ms, char out[24]);
#endif
