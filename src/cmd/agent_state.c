/* muga agent state: what all sessions of an agent share; to be seen, and to be forgotten. */
#include "agent/agent_state.h"
#include "cmd/agent.h"

/* The members of the manifest that are shared, as a session would begin with them; new reference. */
static json_t *shared_state(const manifest *m, const json_t *kept) {
    json_t *state = json_object(), *yes;
    const char *name;
    bool ok = state != NULL;
    json_object_foreach(m->shared, name, yes) {
        json_t *v = json_object_get(kept, name);
        ok = ok && json_object_set(state, name, v ? v : json_object_get(m->state_default, name)) == 0;
    }
    if (!ok) {
        json_decref(state);
        return NULL;
    }
    return state;
}

static void print_members(const json_t *state) {
    const char *name;
    json_t *v;
    json_object_foreach(json_borrow(state), name, v) {
        str text = STR_INIT, line = STR_INIT;
        json_write(v, &text);
        cmd_write_visible(str_get(&text), text.len, &line);
        printf("%-16s %s\n", name, str_get(&line));
        str_release(&line);
        str_release(&text);
    }
}

static muga_status show(store *s, const manifest *m, const bool *had, bool as_json, muga_error *err) {
    json_t *kept = NULL, *state = NULL;
    int64_t changed_ms;
    muga_status st = agent_state_read(s, m->name, &kept, &changed_ms, err);
    if (!st && !(state = shared_state(m, kept)))
        st = error_nomem(err, "a state");
    if (!st && as_json) {
        json_t *v = json_pack("{s:s, s:O, s:o, s:b}", "agent", m->name, "state", state, "changed_ms",
                              kept ? json_integer((json_int_t)changed_ms) : json_null(), "reset", had ? *had : 0);
        cmd_print_json(v);
        json_decref(v);
    } else if (!st) {
        if (had)
            printf("%s\n", *had ? "forgotten; now:" : "there was nothing to forget:");
        print_members(state);
    }
    json_decref(state);
    json_decref(kept);
    return st;
}

int cmd_agent_state(int argc, char **argv) {
    bool as_json = false, reset = false, had = false;
    const cmd_option options[] = {
        {"--reset", 0, CMD_FLAG, &reset, NULL, "forget it: sessions go on with the manifest's defaults"},
        {"--json", 0, CMD_FLAG, &as_json, NULL, "an object: agent, state, changed_ms, reset"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    agent_opened o = {.dir = NULL};
    store *s = NULL;
    char user[64];
    int code = cmd_parse("agent state", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = agent_open(&o, p.v[0], &err);
    if (!st && !o.m->shared)
        st = error_set(&err, MUGA_E_INPUT,
                       "agent %.64s shares no state among its sessions; `muga session show ID` has a session's own",
                       o.m->name);
    if (!st)
        st = cmd_open_store(false, &s, &err);
    if (!st && reset) {
        cmd_user_name(user);
        st = agent_state_reset(&o.env, s, o.m->name, user, &had, &err);
    }
    if (!st)
        st = show(s, o.m, reset ? &had : NULL, as_json, &err);
    store_close(s);
    agent_close(&o);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}
