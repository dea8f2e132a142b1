/* Private to interactions*.c: rows chosen by a filter. */
#ifndef MUGA_AGENT_INTERACTIONS_SELECT_H
#define MUGA_AGENT_INTERACTIONS_SELECT_H

#include "agent/interactions_internal.h"

typedef struct row_key {
    char session[AGENT_ID_SIZE];
    int64_t turn;
    uint8_t digest[SHA256_BYTES]; /* when it was chosen */
} row_key;

typedef struct row_keys {
    row_key *list;
    size_t n, cap;
} row_keys;
void row_keys_release(row_keys *k);
/* In order of time, session, turn. */
muga_status rows_select(store *s, const interaction_filter *f, row_keys *out, muga_error *err);
/* With their record, inside a transaction. */
muga_status rows_drop(const agent_env *env, store *s, const row_keys *k, const char *why, muga_error *err);
/* MUGA_E_NOT_FOUND: not there. */
muga_status data_row_find(store *s, const char *session, int64_t turn, data_row *out, muga_error *err);
#endif
