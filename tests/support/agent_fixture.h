/* A small agent for tests: a folder with a manifest and a shop, seams that only the test moves, an open store. */
#ifndef TESTS_AGENT_FIXTURE_H
#define TESTS_AGENT_FIXTURE_H

#include "agent/agent.h"
#include "base/rng.h"

/* What the seams read. The clock stands still unless the test moves it; randomness is a seeded stream. */
typedef struct fixture_world {
    int64_t now_ms;
    uint64_t monotonic_us;
    rng random;
    os_clock clock;
} fixture_world;

typedef struct agent_fixture {
    fixture_world world;
    agent_env env;
    char *dir, *store_path, *shop_path;
    store *store;
    manifest *m;
    agent_session *session;
} agent_fixture;

/* The manifest that fixture_open writes: tools order_status (read, grounded), note (write, no approval), reset (write,
 * approval: always), refund (write, approval when arguments.amount > 50). */
extern const char fixture_manifest[];
/* The shop: customers 1 and 2, orders A10001 (customer 1) and A10002 (customer 2); tables notes, resets, refunds. */
extern const char fixture_shop[];

/* `name`: a folder of its own under scratch_path. `manifest_text` NULL: fixture_manifest. Fails the test on any error.
 */
void fixture_open(agent_fixture *f, const char *name, const char *manifest_text);
/* Folder, shop and seams only; neither store nor manifest is opened. */
void fixture_prepare(agent_fixture *f, const char *name, const char *manifest_text);
void fixture_close(agent_fixture *f);
void fixture_let_go(agent_fixture *f); /* of session, store and manifest, which are NULL then */
void fixture_begin(agent_fixture *f, int64_t customer, const char *message); /* a session, and what the person says */
void fixture_reopen(agent_fixture *f); /* close session and store, as a restart does, and open them again */
/* A refund that a person must allow, held; the person's next message follows, so that no limit of a turn counts. */
call_result fixture_hold_refund(agent_fixture *f, int64_t amount);
call_outcome fixture_resume(agent_fixture *f, const char *call); /* executor_resume, and what came of it */
void fixture_assert_chain_whole(const agent_fixture *f);         /* the store may be open or not */

void fixture_write(const agent_fixture *f, const char *name, const char *text);
void fixture_sql(const char *path, const char *sql);
int64_t fixture_count(const char *path, const char *sql); /* one integer */
/* Calls on the record that nobody decided in time. */
#define LATE_RECORDS                                                                                                   \
    "SELECT count(*) FROM audit a JOIN audit_payload p ON p.n = a.n WHERE a.kind = 'escalation' AND"                   \
    " json_extract(p.payload, '$.why') = 'approval_expired'"
json_t *fixture_json(const char *text); /* single quotes stand for double ones; new */

#endif
