/* Conversations kept in files: the messages and, beside them, the session that computed them (engine/saved.h). The
 * messages are the conversation; the session only saves time: a prompt goes on from as much of it as it has in common.
 *
 * What is written are the tokens computed last and what the prefix cache has of them. What was read doesn't enter the
 * cache: it stays a session of its own, `restored`, for as long as prompts go on from it. */
#include "base/mem.h"
#include "engine/saved.h"
#include "llm/local.h"

engine_session *local_take_restored(local *l, const char *tenant, const token_list *ids) {
    pthread_mutex_lock(&l->lock);
    engine_session *s = tenant[0] ? NULL : l->restored;
    if (s)
        l->restored = NULL;
    pthread_mutex_unlock(&l->lock);
    if (!s || engine_session_common(s, ids->ids, (uint32_t)ids->n) >= engine_session_count(s) / 2)
        return s;
    engine_session_free(s);
    return NULL;
}

void local_give_back(local *l, engine_session *restored) {
    if (!restored)
        return;
    pthread_mutex_lock(&l->lock);
    engine_session *other = l->restored; /* another file was read meanwhile */
    l->restored = restored;
    pthread_mutex_unlock(&l->lock);
    engine_session_free(other);
}

void local_remember(local *l, const char *tenant, token_list *prompt, const token_list *answer) {
    char *name = mem_copy_string(tenant);
    bool ok = name != NULL;
    for (size_t i = 0; answer && ok && i < answer->n; i++)
        ok = token_list_push(prompt, answer->ids[i]); /* out of memory: a beginning is kept */
    pthread_mutex_lock(&l->lock);
    token_list was = l->last;
    char *was_name = l->last_tenant;
    l->last = name ? *prompt : (token_list)TOKEN_LIST_INIT;
    l->last_tenant = name;
    pthread_mutex_unlock(&l->lock);
    if (name)
        *prompt = (token_list)TOKEN_LIST_INIT;
    token_list_release(&was);
    free(was_name);
}

/* A session of the tokens computed last, from the cache; only where that has nothing they are computed. */
static muga_status last_session(const local *l, engine_session **out, muga_error *err) {
    muga_status st = local_session_new(l, l->last_tenant, out, err);
    if (!st && engine_session_adopt(*out, l->last.ids, (uint32_t)l->last.n) == 0)
        st = engine_session_feed(*out, l->last.ids, (uint32_t)l->last.n, err);
    return st;
}

static muga_status write_session(local *l, const engine_session *s, const char *path, const json_t *messages,
                                 muga_error *err) {
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

muga_status llm_local_save(llm *m, const char *path, const json_t *messages, muga_error *err) {
    local *l = (local *)m;
    engine_session *made = NULL;
    muga_status st = MUGA_OK;
    pthread_mutex_lock(&l->lock);
    const engine_session *s = l->restored;
    if (s && l->last.n > 0 &&
        engine_session_common(s, l->last.ids, (uint32_t)l->last.n) < engine_session_count(s)) /* it went on elsewhere */
        s = NULL;
    if (!s && l->last.n == 0)
        st = error_set(err, MUGA_E_USAGE, "nothing was said yet, so there is nothing to keep in %s", path);
    else if (!s)
        st = last_session(l, &made, err);
    if (!st)
        st = write_session(l, s ? s : made, path, messages, err);
    engine_session_free(made);
    pthread_mutex_unlock(&l->lock);
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
        st = local_session_new(l, NULL, &s, err);
    if (!st)
        st = saved_read(s, &os_system()->files, path, l->model_sha256, &note, err);
    if (!st)
        st = parse_messages(&note, path, messages, err);
    if (st)
        engine_session_free(s);
    else
        local_give_back(l, s);
    str_release(&note);
    return st;
}
