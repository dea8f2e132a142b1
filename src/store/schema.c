/* The tables of muga.db. A migration that has shipped is never edited: a change is a new entry at the end.
 *
 *   sessions       one conversation; values and state are JSON
 *   history        what was said and observed, in order
 *   calls          the executor's journal (src/agent/journal.c has the states and who moves them)
 *   approvals      a person's leave, bound to one attempt of one call
 *   audit          the chain: body is the canonical JSON that is hashed; at_ms, kind and session repeat its members,
 *                  to search by
 *   audit_payload  what a record's salted digest stands for; a row may be erased, the chain stays whole
 *   audit_head     the chain's last record, so that a cut tail shows
 *   adapter_versions, adapter_current   what agents have learned, and which of it is in use (src/agent/versions.h)
 *   session_origins  who a session is for, which session began it, and the tenant whose key did
 *   consents       whether an agent's turns may be kept to learn from: since which audit record, on which terms
 *   interactions   those turns (src/agent/interactions.h); digest = SHA-256 of salt and all other columns, which the
 *                  chain holds, too
 *   agent_state    what all sessions of an agent share (src/agent/session_state.c)
 *   facts          what the tool memory keeps about whom a session serves (src/agent/tool_memory.c)
 *   api_keys, api_key_secrets, api_key_usage   who may ask the server, and how much they asked (src/serve/keys_rows.c);
 *   api_key_changes  is counted up by triggers, so that a server sees a change of the first two */
#include "store/schema.h"

static const char version_1[] =
    "CREATE TABLE sessions("
    " id TEXT PRIMARY KEY NOT NULL, agent TEXT NOT NULL, dir TEXT NOT NULL, data_dir TEXT NOT NULL,"
    " manifest_digest BLOB NOT NULL, policy_digest BLOB NOT NULL,"
    " created_ms INTEGER NOT NULL, ended_ms INTEGER, outcome TEXT,"
    " session_values TEXT NOT NULL, state TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE calls("
    " id TEXT PRIMARY KEY NOT NULL, session TEXT NOT NULL REFERENCES sessions(id), n INTEGER NOT NULL,"
    " tool TEXT NOT NULL, tool_digest BLOB, policy_digest BLOB NOT NULL, arguments TEXT NOT NULL,"
    " state TEXT NOT NULL CHECK(state IN ('proposed','invalid','validated','refused','held','approved','denied',"
    "  'expired','started','in_doubt','finished','failed')),"
    " attempt INTEGER NOT NULL, result TEXT, reason TEXT,"
    " created_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL, run_us INTEGER,"
    " UNIQUE(session, n)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE history("
    " session TEXT NOT NULL REFERENCES sessions(id), n INTEGER NOT NULL,"
    " role TEXT NOT NULL CHECK(role IN ('user','assistant','tool')), content TEXT NOT NULL,"
    " call TEXT REFERENCES calls(id), at_ms INTEGER NOT NULL,"
    " PRIMARY KEY(session, n)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE approvals("
    " id TEXT PRIMARY KEY NOT NULL, call TEXT NOT NULL REFERENCES calls(id), attempt INTEGER NOT NULL,"
    " binding BLOB NOT NULL,"
    " state TEXT NOT NULL CHECK(state IN ('pending','approved','denied','expired','used')),"
    " created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, decided_ms INTEGER, approver TEXT,"
    " UNIQUE(call, attempt)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX approvals_pending ON approvals(created_ms) WHERE state = 'pending';"

    "CREATE TABLE audit("
    " n INTEGER PRIMARY KEY NOT NULL, body TEXT NOT NULL, hash BLOB NOT NULL,"
    " at_ms INTEGER NOT NULL, kind TEXT NOT NULL, session TEXT"
    ") STRICT;"
    "CREATE INDEX audit_session ON audit(session, n);"
    "CREATE TRIGGER audit_update BEFORE UPDATE ON audit"
    " BEGIN SELECT raise(ABORT, 'an audit record is never changed'); END;"
    "CREATE TRIGGER audit_delete BEFORE DELETE ON audit"
    " BEGIN SELECT raise(ABORT, 'an audit record is never removed'); END;"

    "CREATE TABLE audit_payload("
    " n INTEGER PRIMARY KEY NOT NULL REFERENCES audit(n), salt BLOB NOT NULL, payload TEXT NOT NULL"
    ") STRICT;"

    "CREATE TABLE audit_head("
    " one INTEGER PRIMARY KEY NOT NULL CHECK(one = 1), n INTEGER NOT NULL, hash BLOB NOT NULL"
    ") STRICT;"
    "INSERT INTO audit_head(one, n, hash) VALUES (1, 0, zeroblob(32));";

static const char version_2[] =
    "CREATE TABLE adapter_versions("
    " agent TEXT NOT NULL, version INTEGER NOT NULL CHECK(version > 0), sha256 TEXT NOT NULL, base TEXT NOT NULL,"
    " origin TEXT NOT NULL, state TEXT NOT NULL CHECK(state IN ('candidate','promoted','refused')),"
    " parent INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " PRIMARY KEY(agent, version)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE adapter_current("
    " agent TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;";

static const char version_3[] =
    "CREATE TABLE consents("
    " agent TEXT PRIMARY KEY NOT NULL, state TEXT NOT NULL CHECK(state IN ('on','off')), since INTEGER NOT NULL,"
    " policy TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE interactions("
    " session TEXT NOT NULL REFERENCES sessions(id), turn INTEGER NOT NULL, agent TEXT NOT NULL,"
    " at_ms INTEGER NOT NULL,"
    " outcome TEXT NOT NULL CHECK(outcome IN ('completed','corrected','escalated','denied','asked','open')),"
    " rating INTEGER NOT NULL CHECK(rating IN (-1, 0, 1)), masked INTEGER NOT NULL, redacted INTEGER NOT NULL,"
    " content TEXT NOT NULL, correction TEXT, note TEXT, salt BLOB NOT NULL, digest BLOB NOT NULL,"
    " PRIMARY KEY(session, turn)"
    ") STRICT;"
    "CREATE INDEX interactions_agent ON interactions(agent, at_ms);";

static const char version_4[] = "CREATE TABLE agent_state("
                                " agent TEXT PRIMARY KEY NOT NULL, state TEXT NOT NULL, changed_ms INTEGER NOT NULL"
                                ") STRICT, WITHOUT ROWID;";

/* dry: nothing is changed in it. calls_of_tool: how often a tool was called lately. */
static const char version_5[] = "ALTER TABLE sessions ADD COLUMN dry INTEGER NOT NULL DEFAULT 0 CHECK(dry IN (0, 1));"
                                "CREATE INDEX calls_of_tool ON calls(tool, changed_ms);";

static const char version_6[] =
    "CREATE TABLE facts("
    " agent TEXT NOT NULL, subject TEXT NOT NULL, about TEXT NOT NULL, fact TEXT NOT NULL,"
    " session TEXT NOT NULL REFERENCES sessions(id), call TEXT NOT NULL, at_ms INTEGER NOT NULL,"
    " expires_ms INTEGER NOT NULL,"
    " PRIMARY KEY(agent, subject, about)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX facts_session ON facts(session);";

static const char version_7[] =
    "ALTER TABLE calls ADD COLUMN label TEXT;"
    "CREATE TABLE session_origins("
    " session TEXT PRIMARY KEY NOT NULL REFERENCES sessions(id), parent TEXT, requester TEXT"
    ") STRICT, WITHOUT ROWID;";

/* Sessions that began before their origins were kept have them on the chain. */
static const char version_8[] =
    "INSERT INTO session_origins(session, parent, requester)"
    " SELECT s.id,"
    " iif(json_type(p.payload, '$.info.within') = 'text', json_extract(p.payload, '$.info.within'), NULL),"
    " iif(json_type(p.payload, '$.info.requester') = 'text', json_extract(p.payload, '$.info.requester'), NULL)"
    " FROM sessions s LEFT JOIN audit a ON a.session = s.id AND a.kind = 'session_start'"
    " LEFT JOIN audit_payload p ON p.n = a.n AND json_valid(p.payload)"
    " WHERE s.id NOT IN (SELECT session FROM session_origins) GROUP BY s.id;"
    "CREATE INDEX session_origins_parent ON session_origins(parent) WHERE parent IS NOT NULL;";

/* A name is of one living key. A revoked key stays, so that its name in logs means something. */
static const char version_9[] =
    "CREATE TABLE api_keys("
    " id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, tenant TEXT NOT NULL, scopes TEXT NOT NULL,"
    " tokens_day INTEGER NOT NULL CHECK(tokens_day >= 0), concurrency INTEGER NOT NULL CHECK(concurrency >= 0),"
    " weight INTEGER NOT NULL CHECK(weight > 0), priority INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL, expires_ms INTEGER, revoked_ms INTEGER"
    ") STRICT, WITHOUT ROWID;"
    "CREATE UNIQUE INDEX api_keys_name ON api_keys(name) WHERE revoked_ms IS NULL;"

    "CREATE TABLE api_key_secrets("
    " prefix BLOB PRIMARY KEY NOT NULL CHECK(length(prefix) = 8),"
    " key TEXT NOT NULL REFERENCES api_keys(id) ON DELETE CASCADE,"
    " salt BLOB NOT NULL CHECK(length(salt) = 16), hash BLOB NOT NULL CHECK(length(hash) = 32), expires_ms INTEGER"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX api_key_secrets_key ON api_key_secrets(key);"

    "CREATE TABLE api_key_usage("
    " key TEXT NOT NULL REFERENCES api_keys(id) ON DELETE CASCADE, day INTEGER NOT NULL,"
    " requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, answer_tokens INTEGER NOT NULL,"
    " PRIMARY KEY(key, day)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE api_key_changes("
    " one INTEGER PRIMARY KEY NOT NULL CHECK(one = 1), n INTEGER NOT NULL"
    ") STRICT;"
#define CHANGES(table, what)                                                                                           \
    "CREATE TRIGGER " table "_" what " AFTER " what " ON " table                                                       \
    " BEGIN INSERT INTO api_key_changes(one, n) VALUES (1, 1) ON CONFLICT(one) DO UPDATE SET n = n + 1; END;"
    CHANGES("api_keys", "INSERT") CHANGES("api_keys", "UPDATE") CHANGES("api_keys", "DELETE")
        CHANGES("api_key_secrets", "INSERT") CHANGES("api_key_secrets", "UPDATE") CHANGES("api_key_secrets", "DELETE");
#undef CHANGES

/* Sessions that began without the server have none. */
static const char version_10[] = "ALTER TABLE session_origins ADD COLUMN tenant TEXT;";

const char *const store_migrations[] = {version_1, version_2, version_3, version_4, version_5,
                                        version_6, version_7, version_8, version_9, version_10};
const size_t store_n_migrations = sizeof store_migrations / sizeof store_migrations[0];
