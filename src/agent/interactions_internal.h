/* Private to interactions*.c and consent.c: rows and consents as they lie in the store. */
#ifndef MUGA_AGENT_INTERACTIONS_INTERNAL_H
#define MUGA_AGENT_INTERACTIONS_INTERNAL_H

#include "agent/interactions.h"
#include "agent/internal.h"

#define ROW_SALT_BYTES 32

/* One row, in memory. */
typedef struct data_row {
    char *agent, session[AGENT_ID_SIZE];
    int64_t turn, at_ms;
    unsigned outcome; /* an OUTCOME_* bit */
    int rating;
    bool masked, redacted;
    json_t *content, *correction; /* correction: NULL without */
    char *note;                   /* NULL without */
    uint8_t salt[ROW_SALT_BYTES], digest[SHA256_BYTES];
} data_row;
void data_row_release(data_row *r);
const char *row_outcome_name(unsigned bit);
/* Columns of the row at hand, as ROW_COLUMNS orders them; the digest is computed anew: MUGA_E_ENV names a row that is
 * not what was kept. */
#define ROW_COLUMNS                                                                                                    \
    "i.session, i.turn, i.agent, i.at_ms, i.outcome, i.rating, i.masked, i.redacted, i.content, i.correction, i.note," \
    " i.salt, i.digest"
muga_status data_row_read(store *s, store_row *at, data_row *out, muga_error *err);
/* Insert it, or put it in the place of the one that is there; sets its digest. Adds {"turn", "outcome", "digest"} to
 * `told`, an array for the audit record. Inside a transaction. */
muga_status data_row_write(const agent_env *env, store *s, data_row *r, bool is_new, json_t *told, muga_error *err);
/* Its digest as stored in `r` must be this. */
muga_status data_row_digest(const data_row *r, uint8_t out[SHA256_BYTES], muga_error *err);

/* {"use", "rows": told} and what `detail` adds, as a record of the session, inside a transaction. */
muga_status data_audit_rows(const agent_env *env, store *s, const char *session, const char *use, json_t *told,
                            const json_t *detail, muga_error *err);

/* The consent of an agent. *state 0: there never was one. */
typedef struct consent_row {
    enum { CONSENT_NONE, CONSENT_ON, CONSENT_OFF } state;
    int64_t since;  /* n of the audit record */
    json_t *policy; /* as it was consented to, with "raw" */
} consent_row;
void consent_row_release(consent_row *c);
muga_status consent_read(store *s, const char *agent, consent_row *out, muga_error *err);
/* Does the consent hold for this policy of a manifest (NULL: none)? */
bool consent_covers(const consent_row *c, const json_t *data_policy);

/* Is it the value that a person typed? "7" on a command line may be the number or the text. */
bool data_same_value(const json_t *a, const json_t *b);

/* Remove an agent's rows from before `before_ms`; inside a transaction. */
muga_status data_expire_agent(const agent_env *env, store *s, const char *agent, int64_t before_ms, int64_t *n,
                              muga_error *err);
/* What the chain tells of rows and consents is what the tables hold: part of audit_verify. */
muga_status interactions_check_tables(store *s, muga_error *err);
#endif
