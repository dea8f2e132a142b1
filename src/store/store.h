/* muga.db: the one SQLite file in which sessions, the call journal, approvals and the audit chain live.
 *
 * WAL, synchronous=FULL (a commit is acknowledged after fsync), foreign keys, a bounded wait for a lock. The schema's
 * version is in user_version; migrations run inside one transaction when the store opens; a newer version than this
 * program knows is refused. A locked, read-only, full or damaged file gives MUGA_E_ENV with one line that names the
 * file and the remedy; a transaction that fails leaves nothing behind.
 * Threads: a store and everything made from it belongs to one thread at a time. Processes: as many as like. */
#ifndef MUGA_STORE_H
#define MUGA_STORE_H

#include "base/json.h"
#include "os/os.h"

typedef struct store store;

typedef struct store_options {
    int64_t busy_ms; /* longest wait for another process's lock; 0 = 5000 */
    bool must_exist; /* do not create: MUGA_E_NOT_FOUND when the file is absent */
} store_options;
/* `path`: the database file (its folder is there). `options` may be NULL. */
MUGA_MUST_USE muga_status store_open(const char *path, const store_options *options, store **out, muga_error *err);
void store_close(store *s);
const char *store_path(const store *s);

/* ---- transactions ----
 * store_begin takes the write lock at once (BEGIN IMMEDIATE), so nothing that follows can find it taken. Not nested:
 * a second begin asserts. store_end commits when *st is MUGA_OK, else rolls back; a failed commit sets *st. */
MUGA_MUST_USE muga_status store_begin(store *s, muga_error *err);
/* Nothing but reading until store_end: all of it sees the store as it is at the first read, whoever writes meanwhile.
 */
MUGA_MUST_USE muga_status store_begin_read(store *s, muga_error *err);
void store_end(store *s, muga_status *st, muga_error *err);
bool store_in_transaction(const store *s);
/* For who measures: told in this order; COMMITS and COMMITTED not where it is rolled back. NULL: nobody. */
typedef enum { STORE_BEGINS, STORE_COMMITS, STORE_COMMITTED, STORE_ENDED } store_moment;
void store_watch(store *s, void (*on)(void *ctx, store_moment m), void *ctx);
/* Bring the write-ahead log into the file and empty it (after an erasure). Outside a transaction. */
MUGA_MUST_USE muga_status store_checkpoint(store *s, muga_error *err);

/* ---- statements ----
 * Prepared once per SQL text and kept; `sql` is a literal (its address is the key). Binds are typed by a format, one
 * letter per parameter: i int64_t | d double | s const char * (NULL = null) | t (const char *, size_t) text |
 * b (const void *, size_t) blob | j const json_t * as compact JSON text | n nothing (null).
 * Use: store_query -> while (store_step(...) == MUGA_OK && row) -> store_done. */
typedef struct store_row store_row;
MUGA_MUST_USE muga_status store_query(store *s, store_row **out, muga_error *err, const char *sql, const char *types,
                                      ...);
MUGA_MUST_USE muga_status store_step(store_row *r, bool *has_row, muga_error *err);
void store_done(store_row *r); /* NULL is fine */
int64_t store_int(store_row *r, int column);
double store_double(store_row *r, int column);
bool store_is_null(store_row *r, int column);
span store_text(store_row *r, int column); /* borrowed until the next step or done */
span store_blob(store_row *r, int column);
const char *store_string(store_row *r, int column); /* terminated; NULL for null */
MUGA_MUST_USE muga_status store_json(store_row *r, int column, json_t **out,
                                     muga_error *err); /* new; null: JSON null */

/* A statement that gives no rows; *n_changed may be NULL. */
MUGA_MUST_USE muga_status store_exec(store *s, int64_t *n_changed, muga_error *err, const char *sql, const char *types,
                                     ...);

/* ---- claims ----
 * A name held by one owner at a time, across processes, until released or until the process dies however it dies
 * (a kernel lock on a byte of the file beside the database; one descriptor for all claims of a store). MUGA_E_ENV when
 * another holds it, or this store does already. A claim may outlive its store. */
typedef struct store_claim store_claim;
MUGA_MUST_USE muga_status store_claim_take(store *s, const char *name, store_claim **out, muga_error *err);
void store_claim_release(store_claim *c);
#endif
