/* A turn that was broken off (a crash, a full disk) is taken up again. Owns: which of its calls were made already.
 * Refuses: to make one a second time.
 *
 * Idea: the message is decided anew, which gives what it gave the first time; a call with the same tool and arguments
 * as one that the journal has of this turn is that call, and what it gave then is what it gives now. */
#include "agent/loop_internal.h"

static bool is_role(const json_t *entry, const char *role) {
    return strcmp(json_get_string(entry, "role"), role) == 0;
}

/* The last message in the history, or NULL. *from: what followed it. */
static const json_t *last_message(const agent_session *s, size_t *from) {
    const json_t *history = session_history(s);
    size_t n = json_array_size(history);
    while (n > 0 && !is_role(json_array_get(history, n - 1), "user")) {
        n--;
    }
    *from = n;
    return n > 0 ? json_array_get(history, n - 1) : NULL;
}

const json_t *loop_unanswered(const agent_loop *l) {
    const json_t *history = session_history(l->p.session),
                 *last = json_array_get(history, json_array_size(history) - 1);
    size_t from;
    if (session_ended(l->p.session) || !last || is_role(last, "assistant")) {
        return NULL;
    }
    return json_object_get(last_message(l->p.session, &from), "content");
}

muga_status loop_find_made(agent_loop *l, muga_error *err) {
    const json_t *history = session_history(l->p.session);
    size_t i = 0;
    json_decref(l->made);
    l->made = NULL;
    last_message(l->p.session, &i);
    muga_status st = executor_waiting(l->p.session, &l->made, err);
    for (; st == MUGA_OK && i < json_array_size(history); i++) {
        json_t *entry = json_array_get(history, i);
        if (is_role(entry, "tool") && json_array_append(l->made, entry) != 0) {
            st = error_nomem(err, "a turn's calls");
        }
    }
    return st;
}

muga_status loop_call_once(agent_loop *l, const char *tool, const json_t *arguments, call_result *out,
                           muga_error *err) {
    for (size_t i = 0; i < json_array_size(l->made); i++) {
        json_t *entry = json_array_get(l->made, i);
        if (strcmp(json_get_string(entry, "tool"), tool) == 0 &&
            json_equal(json_object_get(entry, "arguments"), json_borrow(arguments))) {
            json_incref(entry);
            json_array_remove(l->made, i);
            muga_status st = executor_resume(l->p.session, json_get_string(entry, "call"), out, err);
            json_decref(entry);
            return st;
        }
    }
    return executor_call(l->p.session, tool, arguments, out, err);
}
