/* Keys of the server (src/serve/keys.h) on the chain. Owns: the record of each change, and whether the tables still say
 * what the last record of each key said. Refuses: a key that no record tells of, one that is gone, a right, a limit or
 * a secret that is another; so who writes a key of his own into muga.db, or widens one, is found.
 *
 * A record holds a digest of the key's rows rather than the rows: neither salt nor hash leaves the tables with an
 * exported chain. What the key has used isn't part of it. */
#include "agent/internal.h"

static const char state_sql[] =
    "SELECT k.id, json_object('name', k.name, 'tenant', k.tenant, 'scopes', k.scopes, 'tokens_day', k.tokens_day,"
    " 'concurrency', k.concurrency, 'weight', k.weight, 'priority', k.priority, 'expires_ms', k.expires_ms,"
    " 'revoked_ms', k.revoked_ms, 'secrets', (SELECT json_group_object(hex(c.prefix), hex(c.salt) || hex(c.hash) || ' '"
    " || coalesce(c.expires_ms, 'never')) FROM api_key_secrets c WHERE c.key = k.id)), k.name, k.scopes"
    " FROM api_keys k WHERE ?1 IS NULL OR k.id = ?1";

/* Of the row that r stands on. MUGA_E_INPUT: it isn't JSON any more, so it was changed. */
static muga_status digest_row(store_row *r, char hex[SHA256_HEX], muga_error *err) {
    uint8_t digest[SHA256_BYTES] = {0};
    span text = store_text(r, 1);
    json_t *state = NULL;
    muga_status st = text.n > 0 ? json_parse(text.p, text.n, "a key's row", &state, err) : error_nomem(err, "a key");
    st = st == MUGA_OK ? json_digest(state, digest, err) : st;
    hex_write(digest, sizeof digest, hex);
    json_decref(state);
    return st;
}

muga_status audit_key(const agent_env *env, store *s, const char *id, const char *action, const char *by,
                      muga_error *err) {
    store_row *r = NULL;
    bool has = false, forget = strcmp(action, "forget") == 0;
    char hex[SHA256_HEX];
    json_t *payload = NULL;
    muga_status st = store_query(s, &r, err, state_sql, "s", id);
    st = st == MUGA_OK ? store_step(r, &has, err) : st;
    if (st == MUGA_OK && !has) {
        st = error_set(err, MUGA_E_INTERNAL, "audit_key: no key %.40s", id);
    }
    st = st == MUGA_OK ? digest_row(r, hex, err) : st;
    if (st == MUGA_OK) {
        payload = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?}", "action", action, "by", by, "id", id, "name",
                            store_string(r, 2), "scopes", store_string(r, 3), "digest", forget ? NULL : hex);
        st = payload ? MUGA_OK : error_nomem(err, "a key");
    }
    store_done(r);
    st = st == MUGA_OK ? audit_write(env, s, NULL, "key", payload, err) : st;
    json_decref(payload);
    return st;
}

/* ---- is it still so? ---- */

/* id -> digest, of the last record of each key. */
static muga_status read_told(store *s, json_t *told, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    muga_status st = store_query(s, &r, err,
                                 "SELECT p.payload FROM audit a JOIN audit_payload p ON p.n = a.n WHERE a.kind = 'key'"
                                 " ORDER BY a.n",
                                 "");
    for (;;) {
        st = st == MUGA_OK ? store_step(r, &has, err) : st;
        if (st != MUGA_OK || !has) {
            break;
        }
        json_t *payload = NULL;
        st = store_json(r, 0, &payload, err);
        const char *id = json_get_string(payload, "id"), *digest = json_get_string(payload, "digest");
        if (st == MUGA_OK && id && digest) {
            st = json_object_set_new(told, id, json_string(digest)) == 0 ? MUGA_OK : error_nomem(err, "the chain");
        } else if (st == MUGA_OK && id) {
            json_object_del(told, id);
        }
        json_decref(payload);
    }
    store_done(r);
    return st;
}

static muga_status differs(store *s, const char *id, muga_error *err) {
    return error_set(err, MUGA_E_NEGATIVE, "%s: the key %.40s is not what the audit chain tells", store_path(s), id);
}

/* Each key that is there, taken off from what was told. */
static muga_status check_rows(store *s, json_t *told, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    muga_status st = store_query(s, &r, err, state_sql, "n");
    for (;;) {
        char hex[SHA256_HEX];
        st = st == MUGA_OK ? store_step(r, &has, err) : st;
        if (st != MUGA_OK || !has) {
            break;
        }
        st = digest_row(r, hex, err);
        const char *id = store_string(r, 0), *digest = st == MUGA_OK ? json_get_string(told, id) : NULL;
        if (st == MUGA_E_INPUT || (st == MUGA_OK && (!digest || strcmp(digest, hex) != 0))) {
            st = differs(s, id, err);
        }
        json_object_del(told, id);
    }
    store_done(r);
    return st;
}

static muga_status check_strays(store *s, muga_error *err) {
    store_row *r = NULL;
    bool stray = false;
    muga_status st = store_query(
        s, &r, err, "SELECT key FROM api_key_secrets WHERE key NOT IN (SELECT id FROM api_keys) LIMIT 1", "");
    st = st == MUGA_OK ? store_step(r, &stray, err) : st;
    if (st == MUGA_OK && stray) {
        st = differs(s, store_string(r, 0), err);
    }
    store_done(r);
    return st;
}

muga_status audit_check_keys(store *s, muga_error *err) {
    json_t *told = json_object();
    muga_status st = told ? read_told(s, told, err) : error_nomem(err, "the chain");
    st = st == MUGA_OK ? check_rows(s, told, err) : st;
    if (st == MUGA_OK && json_object_size(told) > 0) {
        st = differs(s, json_object_iter_key(json_object_iter(told)), err);
    }
    st = st == MUGA_OK ? check_strays(s, err) : st;
    json_decref(told);
    return st;
}
