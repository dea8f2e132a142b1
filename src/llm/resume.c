/* Conversations kept in files: the messages and, beside them, the session that computed them (engine/saved.h). The
 * messages are the conversation; the session only saves time: a prompt goes on from as much of it as it has in common.
 */
#include "base/mem.h"
#include "engine/saved.h"
#include "llm/local.h"

/* The session used last, or NULL. */
static const engine_session *latest(const local *l) {
    const local_slot *best = NULL;
    for (size_t i = 0; i < LOCAL_SLOTS; i++)
        if (l->slots[i].session && (!best || l->slots[i].used_at > best->used_at))
            best = &l->slots[i];
    return best ? best->session : NULL;
}

muga_status llm_local_save(llm *m, const char *path, const json_t *messages, muga_error *err) {
    local *l = (local *)m;
    const engine_session *s = latest(l);
    if (!s)
        return error_set(err, MUGA_E_USAGE, "nothing was said yet, so there is nothing to keep in %s", path);
    muga_status st = local_identify(l, err);
    if (st)
        return st;
    str text = STR_INIT;
    json_write(messages, &text);
    st = str_status(&text, err, "the messages");
    if (!st)
        st = saved_write(s, &os_system()->files, path, l->model_sha256, text.data, text.len, err);
    str_release(&text);
    return st;
}

static bool is_text(const json_t *message, const char *key) {
    return json_is_string(json_object_get(message, key));
}

static muga_status parse_messages(const str *note, const char *path, json_t **out, muga_error *err) {
    muga_status st = json_parse(note->data ? note->data : "", note->len, "the messages of a saved session", out, err);
    if (st)
        return error_prefix(err, st, "%s", path);
    bool good = json_is_array(*out);
    for (size_t i = 0; good && i < json_array_size(*out); i++) {
        const json_t *message = json_array_get(*out, i);
        good = json_object_size(message) == 2 && is_text(message, "role") && is_text(message, "content");
    }
    if (good)
        return MUGA_OK;
    json_decref(*out);
    *out = NULL;
    return error_set(err, MUGA_E_INPUT, "%s: what was saved beside the session isn't a list of messages", path);
}

muga_status llm_local_restore(llm *m, const char *path, json_t **messages, muga_error *err) {
    local *l = (local *)m;
    engine_session *s = NULL;
    str note;
    str_init(&note, SAVED_MAX_NOTE);
    muga_status st = local_identify(l, err);
    if (!st)
        st = local_session_new(l, &s, err);
    if (!st)
        st = saved_read(s, &os_system()->files, path, l->model_sha256, &note, err);
    if (!st)
        st = parse_messages(&note, path, messages, err);
    if (st)
        engine_session_free(s);
    else
        local_put_session(l, s);
    str_release(&note);
    return st;
}
