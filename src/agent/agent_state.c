/* Reading and forgetting what the sessions of an agent share. A session takes the row up at the beginning of what it
 * computes (session_refresh), so a row that is gone is the defaults again, in whatever process. The chain's last word
 * on it is then null (session_check_shared). */
#include "agent/agent_state.h"

#include "agent/internal.h"

muga_status agent_state_read(store *s, const char *agent, json_t **out, int64_t *changed_ms, muga_error *err) {
    store_row *r;
    bool has = false;
    *out = NULL;
    *changed_ms = 0;
    muga_status st = store_query(s, &r, err, "SELECT state, changed_ms FROM agent_state WHERE agent = ?", "s", agent);
    st = st == MUGA_OK ? store_step(r, &has, err) : st;
    if (st == MUGA_OK && has) {
        *changed_ms = store_int(r, 1);
        st = store_json(r, 0, out, err);
    }
    store_done(r);
    return st;
}

static muga_status forget(const agent_env *env, store *s, const char *agent, const char *by, bool *had,
                          muga_error *err) {
    json_t *state = NULL, *payload = NULL;
    int64_t changed_ms;
    muga_status st = agent_state_read(s, agent, &state, &changed_ms, err);
    *had = st == MUGA_OK && state;
    if (*had) {
        payload = json_pack("{s:s, s:n, s:n, s:s}", "agent", agent, "session", "state", "by", by);
        st = payload ? store_exec(s, NULL, err, "DELETE FROM agent_state WHERE agent = ?", "s", agent)
                     : error_nomem(err, "a record");
        st = st == MUGA_OK ? audit_write(env, s, NULL, "agent_state", payload, err) : st;
    }
    json_decref(payload);
    json_decref(state);
    return st;
}

muga_status agent_state_reset(const agent_env *env, store *s, const char *agent, const char *by, bool *had,
                              muga_error *err) {
    *had = false;
    muga_status st = store_begin(s, err);
    if (st == MUGA_OK) {
        st = forget(env, s, agent, by, had, err);
        store_end(s, &st, err);
    }
    return st;
}
