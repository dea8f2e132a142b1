/* API keys: who may ask the server what, and how much.
 *
 *   muga_ + 43 letters and digits (256 random bits) + 6 that check them
 *
 * A key is shown once, when it is made. The store keeps its first 8 characters (to find it by), a random salt, and
 * SHA-256(salt, key). A slow hash would protect a secret that can be guessed; 2^208 can't be, and it would let anyone
 * who sends forged keys spend the server's time.
 *
 *     keys_open -> keys_check ... key_release, keys_tick once a second -> keys_close
 *
 * keys_check looks at a table in memory. Each secret of the table is compared, whichever fits, and exactly one hash is
 * made, so the time tells nothing of what is there. keys_tick reads the table anew when any process has changed it, and
 * writes what was counted; so what is revoked is refused within a second, and a killed server has forgotten at most
 * KEYS_FLUSH_MS of counting.
 *
 * Where the store has never had a key, whoever asks is the anonymous one, which may do all that keys_options leaves it:
 * for loopback, where clients send dummies. From the first key on, even once that is revoked, nothing goes without a
 * valid one. So before anybody is taken for the anonymous one, and before a key is said to be unknown, the store is
 * asked whether keys have changed (a few microseconds): the first key counts from the moment that it is made, and every
 * key is good at once. Where the changed table can't be read, the anonymous one is refused. (Where only loopback is
 * listened on, forgetting all keys brings the anonymous one back.)
 *
 * Threads: all of keys_* and key_* from any thread; keys_tick and keys_reload may wait for the disk. */
#ifndef MUGA_SERVE_KEYS_H
#define MUGA_SERVE_KEYS_H

#include "agent/agent.h"

#define KEY_TEXT_SIZE 55 /* with the NUL */
#define KEY_ID_SIZE 14   /* "key_", 9 letters and digits, NUL */
#define KEY_NAME_MAX 64u /* bytes of a key's or a tenant's name: [a-zA-Z0-9._-] */
#define KEYS_MAX 10000u
#define KEYS_FLUSH_MS 5000

/* ---- what a key may ----
 * A list of entries with commas between:
 *
 *   models:GLOB    ask these models; a pattern without ':' fits every tag
 *   agents:GLOB    run these agents, also as the model agent:NAME
 *   tools:GLOB     of these agents' tools, only those; AGENT/TOOL or TOOL. Without an entry: what the agent itself may.
 *                  "tools:" alone: none. Tools that the client runs itself aren't concerned.
 *   approve:ROLE   decide held calls that take this role, or any with approve:*
 *   audit          read and verify the audit chain
 *   metrics        read /metrics
 *   admin          make, copy, delete, load and unload models; reload the configuration
 *
 * A GLOB has '*' (any characters) and '?' (one). */
typedef enum {
    SCOPE_MODELS,
    SCOPE_AGENTS,
    SCOPE_TOOLS,
    SCOPE_APPROVE,
    SCOPE_AUDIT,
    SCOPE_METRICS,
    SCOPE_ADMIN,
    N_SCOPES
} scope_kind;
#define SCOPES_MAX 64u         /* entries of a struct key */
#define SCOPE_PATTERN_MAX 128u /* bytes */
#define SCOPES_DEFAULT "models:*"
#define SCOPES_ALL "models:*,agents:*,approve:*,audit,metrics,admin"
typedef struct key_scopes {
    struct {
        scope_kind kind;
        char *pattern; /* NULL: audit, metrics, admin */
    } list[SCOPES_MAX];
    size_t n;
} key_scopes;
/* MUGA_E_USAGE names the entry that is none. Harmless to release after it. */
MUGA_MUST_USE muga_status scopes_parse(const char *text, key_scopes *out, muga_error *err);
void scopes_release(key_scopes *s);

/* ---- keys as they lie in the store: what the verb `key` does ----
 * Each is one transaction, with its record on the audit chain; so who writes a key of his own into the tables is found
 * by `muga audit verify`. */
typedef struct key_operator {
    const agent_env *env; /* clock, and salts of the chain; keys are drawn from the system's randomness */
    const char *by;       /* who does it */
} key_operator;
typedef struct key_spec {
    const char *name;     /* one that no living key has */
    const char *scopes;   /* NULL: SCOPES_DEFAULT */
    const char *tenant;   /* NULL: the key's own */
    uint64_t tokens_day;  /* of prompts and answers together, a day in UTC; 0: no limit */
    uint32_t concurrency; /* requests that are answered at a time; 0: no limit */
    uint32_t weight;      /* 1 .. KEY_MAX_WEIGHT: its share of the machine where others wait as well; 0: 1 */
    int priority;         /* -1, 0, 1: goes before those of less */
    int64_t expires_ms;   /* 0: never */
} key_spec;
#define KEY_MAX_WEIGHT 1000u
/* text: the key itself, which nothing keeps. MUGA_E_USAGE: the spec is wrong, or the name taken. */
MUGA_MUST_USE muga_status keys_create(store *s, const key_operator *o, const key_spec *spec, char id[KEY_ID_SIZE],
                                      char text[KEY_TEXT_SIZE], muga_error *err);
/* Array of {"id", "name", "prefix", "tenant", "scopes", "tokens_day", "concurrency", "weight", "priority",
 * "created_ms", "expires_ms", "revoked_ms", "state": "valid" | "expired" | "revoked", "used_today": {"requests",
 * "prompt_tokens", "answer_tokens"}}, oldest first; what isn't limited or hasn't happened is null. New. */
MUGA_MUST_USE muga_status keys_list(store *s, int64_t now_ms, json_t **out, muga_error *err);
/* What was used, newest first: array of {"day": "2026-11-26", "key", "name", "requests", "prompt_tokens",
 * "answer_tokens"}, of the last n_days days (UTC), today among them. who: a name or an id, of revoked ones too
 * (MUGA_E_NOT_FOUND); NULL: all keys. New. */
MUGA_MUST_USE muga_status keys_usage(store *s, const char *who, uint32_t n_days, int64_t now_ms, json_t **out,
                                     muga_error *err);
/* who: a name or an id, of a key that isn't revoked (MUGA_E_NOT_FOUND). forget: it and what it used leave the store,
 * also where it was revoked before. */
MUGA_MUST_USE muga_status keys_revoke(store *s, const key_operator *o, const char *who, bool forget, muga_error *err);
/* A new secret for it; the one before is good for another grace_ms. All else stays: rights, tenant, what it used. */
MUGA_MUST_USE muga_status keys_rotate(store *s, const key_operator *o, const char *who, int64_t grace_ms,
                                      char id[KEY_ID_SIZE], char text[KEY_TEXT_SIZE], muga_error *err);

/* Has it the form of a key, the six last characters included? For scanners; says nothing of whether it is good. */
bool key_is_wellformed(const char *text, size_t n);

/* ---- the server's table ---- */
struct keys;
struct key; /* no typedefs: both words are what others call their variables */

typedef struct keys_options {
    const char *database;  /* muga.db */
    const os_clock *clock; /* borrowed */
    const char *anonymous; /* what goes without keys, where there are none; NULL: SCOPES_ALL */
} keys_options;
MUGA_MUST_USE muga_status keys_open(const keys_options *o, struct keys **out, muga_error *err);
void keys_close(struct keys *k); /* writes what was counted; all of its keys have been released */

typedef enum {
    KEYS_GOOD,
    KEYS_MISSING, /* nothing was sent, and there are keys */
    KEYS_UNKNOWN,
    KEYS_REVOKED,
    KEYS_EXPIRED
} keys_verdict;
/* bearer: what the client sent, without "Bearer "; NULL: nothing. KEYS_GOOD: *out is to be released. */
keys_verdict keys_check(struct keys *k, const char *bearer, const struct key **out);
void key_release(const struct key *k);         /* NULL is fine */
const char *keys_verdict_text(keys_verdict v); /* for who asks; "this API key has expired" */

/* Reads the table anew where it has changed, and writes what was counted where it is time. A failure is told, and what
 * was known and counted stays. */
MUGA_MUST_USE muga_status keys_tick(struct keys *k, muga_error *err);
MUGA_MUST_USE muga_status keys_reload(struct keys *k,
                                      muga_error *err); /* both at once, whatever the time: SIGHUP, the end */

/* What was used before the last n_days days (UTC), today among them, leaves the store; 0: nothing does. Once a day, and
 * when n_days changes: else it does nothing. May wait for the disk. */
MUGA_MUST_USE muga_status keys_forget_usage(struct keys *k, uint32_t n_days, muga_error *err);

bool keys_any(struct keys *k); /* was a key ever made and not forgotten? */
/* From now on nothing goes without a key, not even when the last one is forgotten: others reach an address that is
 * listened on. */
void keys_require(struct keys *k);
/* MUGA_E_USAGE: nothing but loopback goes without keys. `where` names the address. */
MUGA_MUST_USE muga_status keys_may_listen(const char *where, bool is_local, bool any_keys, muga_error *err);

/* ---- one key ---- */
typedef struct key_limits {
    uint64_t tokens_day;  /* 0: none */
    uint32_t concurrency; /* 0: none */
    uint32_t weight;
    int priority;
} key_limits;
const char *key_id(const struct key *k);     /* "" of the anonymous one */
const char *key_name(const struct key *k);   /* "anonymous" */
const char *key_tenant(const struct key *k); /* whose caches, sessions, files and metrics: "" of the anonymous one */
key_limits key_get_limits(const struct key *k);

bool key_may_model(const struct key *k, const char *name); /* "name:tag", or "name" for any tag */
bool key_may_agent(const struct key *k, const char *name); /* without "agent:" */
bool key_may_tool(const struct key *k, const char *agent, const char *tool);
bool key_may_approve(const struct key *k, const char *role); /* NULL: a call that takes no role; any approve: will do */
bool key_may(const struct key *k, scope_kind what);          /* AUDIT, METRICS, ADMIN */
/* By this name a key decides approvals, and approvers.yaml says which roles it holds: "key:NAME". */
void key_write_approver(const struct key *k, char out[KEY_NAME_MAX + 5]);

/* ---- what it used ---- days are UTC's. */
void keys_charge(struct keys *k, const struct key *who, uint64_t n_prompt,
                 uint64_t n_answer);                             /* one request that has ended */
uint64_t keys_used_today(struct keys *k, const struct key *who); /* tokens; other processes' as of the last flush */
uint32_t keys_seconds_to_midnight(struct keys *k);               /* 1 .. 86400 */

/* For metrics and tests: how much work checking was. */
typedef struct keys_counts {
    uint64_t n_good, n_refused;
    uint64_t n_compared, n_hashed; /* secrets looked at, hashes made */
} keys_counts;
keys_counts keys_get_counts(struct keys *k);

#endif
