/* The adapters that an agent has learned: every version kept, one of them in use. docs/learning.md.
 *
 *   $MUGA_HOME/adapters/sha256-<64 hex>.gguf   the files, by content, never changed
 *   muga.db: adapter_versions, adapter_current which versions there are, and which is in use
 *
 *   candidate --promote--> promoted        in use from then on
 *       |                     ^ |
 *       +--refuse--> refused -+ +-- rollback: another promoted version, or 0, is in use
 *
 * Version 0 is what the manifest itself says: its own adapter, or none. It is in use until something is promoted.
 *
 * Invariants
 *   1. A file is whole and durable before the row that names it; so a row never names what isn't there, whenever the
 *      power fails. A file that no row names is harmless.
 *   2. Each change of the tables and the audit record that tells of it (kind `adapter`) are one transaction: after a
 *      crash the version in use is the old one or the new one, and the chain says which.
 *   3. A version is used only if its file's bytes have the digest in its row, and the model's have that of its base. */
#ifndef MUGA_AGENT_VERSIONS_H
#define MUGA_AGENT_VERSIONS_H

#include "agent/agent.h"

/* Borrowed, like all that is in it. */
typedef struct versions {
    const agent_env *env;
    store *store;
    const char *home;  /* $MUGA_HOME */
    const char *agent; /* the manifest's name */
} versions;

#define VERSIONS_IN_USE ((int64_t)-1)    /* for versions_find */
#define VERSIONS_CANDIDATE ((int64_t)-2) /* the newest that was neither promoted nor refused */

typedef struct adapter_version {
    int64_t version;         /* 0: the manifest's own, and nothing below is set */
    char sha256[SHA256_HEX]; /* of its file */
    char base[SHA256_HEX];   /* of the model's file */
    char state[12];          /* candidate | promoted | refused */
    int64_t parent;          /* in use when it was promoted; else -1 */
    char *path;              /* owned */
} adapter_version;
void adapter_version_release(adapter_version *v);

/* Keep the adapter in `path` as a candidate; *version is its number. The same file again: its number again. `base`: the
 * digest of the model's file; an adapter that names another is MUGA_E_INPUT with both, as is a file that is none.
 * `origin`: what it was made of, for people; NULL: the path. */
MUGA_MUST_USE muga_status versions_add(const versions *v, const char *path, const char *base, const char *origin,
                                       int64_t *version, muga_error *err);
/* MUGA_E_NOT_FOUND says which there are. */
MUGA_MUST_USE muga_status versions_find(const versions *v, int64_t version, adapter_version *out, muga_error *err);
/* The one that a session began with, 0 for the manifest's own: it goes on with the same. */
MUGA_MUST_USE muga_status versions_of_session(store *s, const char *session, int64_t *version, muga_error *err);
/* Is its file what it was, and the model its base? Version 0 always is. */
MUGA_MUST_USE muga_status versions_check(const versions *v, const adapter_version *x, const char *base,
                                         muga_error *err);
/* Array of {"version", "state", "sha256", "base", "origin", "parent", "created_ms", "in_use"} from version 0 up, which
 * has "version" and "in_use" alone; new reference. */
MUGA_MUST_USE muga_status versions_list(const versions *v, json_t **out, muga_error *err);

/* Take in what the gate said of `version` against `from`, the one in use then: promoted or refused, with its record
 * (borrowed; gate_record) on the audit chain. MUGA_E_POLICY: meanwhile another is in use. */
MUGA_MUST_USE muga_status versions_decide(const versions *v, int64_t version, int64_t from, const json_t *gate,
                                          muga_error *err);
/* Use `to` again, which was promoted once (or is 0); -1: the one before the one in use. *now is what is in use then.
 * MUGA_E_NOT_FOUND: nothing to go back to. E_POLICY: it was never promoted. */
MUGA_MUST_USE muga_status versions_rollback(const versions *v, int64_t to, int64_t *now, muga_error *err);

/* How many other candidates (by digest) the gate has decided on with these held-out tasks. */
MUGA_MUST_USE muga_status versions_count_tried(const versions *v, const char *held_out_sha256, const char *hex,
                                               size_t *n, muga_error *err);

/* Do the two tables say what the chain says? Part of audit_check_tables. */
MUGA_MUST_USE muga_status versions_check_tables(store *s, muga_error *err);
#endif
