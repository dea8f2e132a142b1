/* Private to serve/keys*.c: secrets, rows, and what they share. */
#ifndef MUGA_SERVE_KEYS_INTERNAL_H
#define MUGA_SERVE_KEYS_INTERNAL_H

#include "base/hash.h"
#include "base/mem.h"
#include "serve/keys.h"

#define KEY_PREFIX_BYTES 8 /* of the 43, kept in clear */
#define KEY_SALT_BYTES 16
#define KEY_DAY_MS INT64_C(86400000)

/* ---- secrets (keys_secret.c) ---- */
MUGA_MUST_USE muga_status key_text_make(char out[KEY_TEXT_SIZE], muga_error *err);
const char *key_text_prefix(const char *text); /* [KEY_PREFIX_BYTES] inside of it */
void key_text_hash(const char *text, const uint8_t salt[KEY_SALT_BYTES], uint8_t out[SHA256_BYTES]);
/* "key_" and 9 random letters and digits. */
MUGA_MUST_USE muga_status key_id_make(char out[KEY_ID_SIZE], muga_error *err);
void key_wipe(void *p, size_t n); /* also where the compiler sees no use for it */

/* ---- rights (keys_scope.c) ---- */
bool scopes_fit(const key_scopes *s, scope_kind kind, const char *name);
bool scopes_have(const key_scopes *s, scope_kind kind);
bool scopes_fit_model(const key_scopes *s, const char *name);
bool scopes_fit_tool(const key_scopes *s, const char *agent, const char *tool);

/* ---- rows (keys_rows.c) ---- */
typedef struct key_row {
    const char *id, *name, *tenant, *scopes; /* borrowed while it is visited */
    key_limits limits;
    int64_t created_ms, expires_ms, revoked_ms; /* 0: never */
} key_row;
typedef struct key_secret_row {
    const char *key; /* its id; borrowed */
    uint8_t prefix[KEY_PREFIX_BYTES], salt[KEY_SALT_BYTES], hash[SHA256_BYTES];
    int64_t expires_ms; /* 0: never */
} key_secret_row;
typedef struct key_visitor {
    muga_status (*on_key)(void *ctx, const key_row *r, muga_error *err); /* by id, ascending */
    muga_status (*on_secret)(void *ctx, const key_secret_row *r, muga_error *err);
    void *ctx;
} key_visitor;
/* All keys, then all secrets, of one moment. *generation: a number that changes with them. */
MUGA_MUST_USE muga_status key_rows_read(store *s, const key_visitor *v, int64_t *generation, muga_error *err);
MUGA_MUST_USE muga_status key_rows_generation(store *s, int64_t *out, muga_error *err);

typedef struct key_usage {
    int64_t day; /* since 1970-01-01 */
    uint64_t n_requests, n_prompt, n_answer;
} key_usage;
/* Adds to what the store has; inside a transaction. A key that is gone has nothing to add to. */
MUGA_MUST_USE muga_status key_usage_add(store *s, const char *id, const key_usage *u, muga_error *err);
/* Days before `day` are forgotten, of all keys. */
MUGA_MUST_USE muga_status key_usage_forget(store *s, int64_t day, muga_error *err);
/* What the store has of that day; zero where it has nothing. */
MUGA_MUST_USE muga_status key_usage_read(store *s, const char *id, int64_t day, key_usage *out, muga_error *err);

#endif
