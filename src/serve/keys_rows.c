/* Keys as rows of muga.db. Owns: the SQL over api_keys, api_key_secrets and api_key_usage. Refuses: a name that a
 * living key has, a limit or a weight out of range, more than KEYS_MAX keys.
 *
 * Invariants:
 *   1. the text of a key is never bound to a statement, written or put into an error
 *   2. a key has a secret in the same transaction in which it comes to be
 *   3. revoked_ms and a secret's expires_ms only ever come earlier */
#include "serve/keys_internal.h"

#include <stdio.h>

#define MS_MAX INT64_C(253402300799999) /* the year 9999 */

/* ---- specs ---- */

static bool is_name(const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strspn(name, letters);
    return n > 0 && n <= KEY_NAME_MAX && !name[n];
}

static muga_status check_spec(const key_spec *k, int64_t now_ms, muga_error *err) {
    static const char form[] = "must be 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'";
    if (!is_name(k->name)) {
        return error_set(err, MUGA_E_USAGE, "a key's name %s, not '%.70s'", form, k->name);
    }
    if (strncmp(k->name, "key_", 4) == 0) {
        return error_set(err, MUGA_E_USAGE, "a key's name can't begin with 'key_', as ids do");
    }
    if (k->tenant && !is_name(k->tenant)) {
        return error_set(err, MUGA_E_USAGE, "a tenant's name %s, not '%.70s'", form, k->tenant);
    }
    if (k->weight > KEY_MAX_WEIGHT) {
        return error_set(err, MUGA_E_USAGE, "a key's weight must be 1 to %u, not %u", KEY_MAX_WEIGHT, k->weight);
    }
    if (k->priority < -1 || k->priority > 1) {
        return error_set(err, MUGA_E_USAGE, "a key's priority must be -1, 0 or 1, not %d", k->priority);
    }
    if (k->tokens_day > INT64_MAX) {
        return error_set(err, MUGA_E_USAGE, "tokens/day must be below 2^63");
    }
    if (k->expires_ms != 0 && (k->expires_ms <= now_ms || k->expires_ms > MS_MAX)) {
        return error_set(err, MUGA_E_USAGE, "a key must expire later than now, and before the year 10000");
    }
    return MUGA_OK;
}

/* ---- finding ---- */

static muga_status count(store *s, const char *sql, const char *arg, int64_t *out, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    muga_status st = arg ? store_query(s, &r, err, sql, "s", arg) : store_query(s, &r, err, sql, "");
    st = st == MUGA_OK ? store_step(r, &has, err) : st;
    *out = st == MUGA_OK && has ? store_int(r, 0) : 0;
    store_done(r);
    return st;
}

/* The id of a key by its id or, of living ones, its name. `also_revoked`: the newest revoked one, where none lives. */
static muga_status find(store *s, const char *who, bool also_revoked, char id[KEY_ID_SIZE], muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    muga_status st = store_query(s, &r, err,
                                 "SELECT id FROM api_keys WHERE (id = ?1 OR name = ?1) AND (?2 OR revoked_ms IS NULL)"
                                 " ORDER BY id <> ?1, revoked_ms IS NOT NULL, created_ms DESC, id LIMIT 1",
                                 "si", who, (int64_t)also_revoked);
    st = st == MUGA_OK ? store_step(r, &has, err) : st;
    if (st == MUGA_OK && !has) {
        st = error_set(err, MUGA_E_NOT_FOUND, "no %skey is called '%.70s'; `muga key list` shows them",
                       also_revoked ? "" : "valid ", who);
    } else if (st == MUGA_OK) {
        snprintf(id, KEY_ID_SIZE, "%s", store_string(r, 0));
    }
    store_done(r);
    return st;
}

/* ---- making ---- */

static muga_status add_secret(store *s, const char *id, char text[KEY_TEXT_SIZE], muga_error *err) {
    uint8_t salt[KEY_SALT_BYTES], hash[SHA256_BYTES];
    muga_status st = key_text_make(text, err);
    st = st == MUGA_OK ? os_random(salt, sizeof salt, err) : st;
    if (st != MUGA_OK) {
        return st;
    }
    key_text_hash(text, salt, hash);
    return store_exec(s, NULL, err, "INSERT INTO api_key_secrets(prefix, key, salt, hash) VALUES (?, ?, ?, ?)", "bsbb",
                      key_text_prefix(text), (size_t)KEY_PREFIX_BYTES, id, salt, sizeof salt, hash, sizeof hash);
}

static muga_status add_key(store *s, const key_spec *k, const char *id, int64_t now_ms, muga_error *err) {
    static const char sql[] =
        "INSERT INTO api_keys(id, name, tenant, scopes, tokens_day, concurrency, weight, priority, created_ms,"
        " expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, 0))";
    char own[KEY_ID_SIZE + 5];
    int64_t n_all = 0, n_named = 0;
    muga_status st = count(s, "SELECT count(*) FROM api_keys", NULL, &n_all, err);
    st = st == MUGA_OK
             ? count(s, "SELECT count(*) FROM api_keys WHERE name = ? AND revoked_ms IS NULL", k->name, &n_named, err)
             : st;
    if (st == MUGA_OK && n_named > 0) {
        return error_set(err, MUGA_E_USAGE, "a key '%.70s' is there already; revoke it, or take another name", k->name);
    }
    if (st == MUGA_OK && n_all >= (int64_t)KEYS_MAX) {
        return error_set(err, MUGA_E_LIMIT, "the store has %u keys; forget some: muga key revoke --forget NAME",
                         KEYS_MAX);
    }
    snprintf(own, sizeof own, "own:%s", id); /* no name of a tenant has a colon */
    return st == MUGA_OK
               ? store_exec(s, NULL, err, sql, "ssssiiiiii", id, k->name, k->tenant ? k->tenant : own,
                            k->scopes ? k->scopes : SCOPES_DEFAULT, (int64_t)k->tokens_day, (int64_t)k->concurrency,
                            (int64_t)MAX(k->weight, 1u), (int64_t)k->priority, now_ms, k->expires_ms)
               : st;
}

static int64_t now_of(const key_operator *o) {
    return o->env->clock->now_ms(o->env->clock->self);
}

muga_status keys_create(store *s, const key_operator *o, const key_spec *spec, char id[KEY_ID_SIZE],
                        char text[KEY_TEXT_SIZE], muga_error *err) {
    key_scopes rights;
    int64_t now_ms = now_of(o);
    muga_status st = check_spec(spec, now_ms, err);
    if (st == MUGA_OK && spec->scopes) {
        st = scopes_parse(spec->scopes, &rights, err);
        if (st == MUGA_OK) {
            scopes_release(&rights);
        }
    }
    st = st == MUGA_OK ? key_id_make(id, err) : st;
    st = st == MUGA_OK ? store_begin(s, err) : st;
    if (st != MUGA_OK) {
        return st;
    }
    st = add_key(s, spec, id, now_ms, err);
    st = st == MUGA_OK ? add_secret(s, id, text, err) : st;
    st = st == MUGA_OK ? audit_key(o->env, s, id, "create", o->by, err) : st;
    store_end(s, &st, err);
    if (st != MUGA_OK) {
        key_wipe(text, KEY_TEXT_SIZE);
    }
    return st;
}

/* ---- changing ---- */

muga_status keys_revoke(store *s, const key_operator *o, const char *who, bool forget, muga_error *err) {
    char id[KEY_ID_SIZE];
    muga_status st = store_begin(s, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = find(s, who, forget, id, err);
    if (st == MUGA_OK && forget) {
        st = audit_key(o->env, s, id, "forget", o->by, err);
        st = st == MUGA_OK ? store_exec(s, NULL, err, "DELETE FROM api_keys WHERE id = ?", "s", id) : st;
    } else if (st == MUGA_OK) {
        st = store_exec(s, NULL, err, "UPDATE api_keys SET revoked_ms = ? WHERE id = ?", "is", now_of(o), id);
        st = st == MUGA_OK ? audit_key(o->env, s, id, "revoke", o->by, err) : st;
    }
    store_end(s, &st, err);
    return st;
}

/* Those that are over go; the others get an end, or an earlier one. */
static muga_status end_secrets(store *s, const char *id, int64_t now_ms, int64_t end_ms, muga_error *err) {
    muga_status st =
        store_exec(s, NULL, err, "DELETE FROM api_key_secrets WHERE key = ? AND expires_ms <= ?", "si", id, now_ms);
    return st == MUGA_OK ? store_exec(s, NULL, err,
                                      "UPDATE api_key_secrets SET expires_ms = min(coalesce(expires_ms, ?1), ?1)"
                                      " WHERE key = ?2",
                                      "is", end_ms, id)
                         : st;
}

muga_status keys_rotate(store *s, const key_operator *o, const char *who, int64_t grace_ms, char id[KEY_ID_SIZE],
                        char text[KEY_TEXT_SIZE], muga_error *err) {
    int64_t now_ms = now_of(o);
    if (grace_ms < 0 || grace_ms > MS_MAX - now_ms) {
        return error_set(err, MUGA_E_USAGE, "the old key's last hours must end before the year 10000");
    }
    muga_status st = store_begin(s, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = find(s, who, false, id, err);
    st = st == MUGA_OK ? end_secrets(s, id, now_ms, now_ms + grace_ms, err) : st;
    st = st == MUGA_OK ? add_secret(s, id, text, err) : st;
    st = st == MUGA_OK ? audit_key(o->env, s, id, "rotate", o->by, err) : st;
    store_end(s, &st, err);
    if (st != MUGA_OK) {
        key_wipe(text, KEY_TEXT_SIZE);
    }
    return st;
}

/* ---- the list ---- */

static json_t *or_null(store_row *r, int column, bool zero_is_null) {
    bool null = store_is_null(r, column) || (zero_is_null && store_int(r, column) == 0);
    return null ? json_null() : json_integer(store_int(r, column));
}

static json_t *describe(store_row *r, int64_t now_ms) {
    bool revoked = !store_is_null(r, 10), expired = !store_is_null(r, 9) && store_int(r, 9) <= now_ms;
    json_t *used = json_pack("{s:I, s:I, s:I}", "requests", (json_int_t)store_int(r, 11), "prompt_tokens",
                             (json_int_t)store_int(r, 12), "answer_tokens", (json_int_t)store_int(r, 13));
    return json_pack("{s:s, s:s, s:s?, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:s, s:o}", "id",
                     store_string(r, 0), "name", store_string(r, 1), "prefix", store_string(r, 14), "tenant",
                     store_string(r, 2), "scopes", store_string(r, 3), "tokens_day", or_null(r, 4, true), "concurrency",
                     or_null(r, 5, true), "weight", (json_int_t)store_int(r, 6), "priority",
                     (json_int_t)store_int(r, 7), "created_ms", (json_int_t)store_int(r, 8), "expires_ms",
                     or_null(r, 9, false), "revoked_ms", or_null(r, 10, false), "state",
                     revoked   ? "revoked"
                     : expired ? "expired"
                               : "valid",
                     "used_today", used);
}

muga_status keys_list(store *s, int64_t now_ms, json_t **out, muga_error *err) {
    static const char sql[] =
        "SELECT k.id, k.name, k.tenant, k.scopes, k.tokens_day, k.concurrency, k.weight, k.priority, k.created_ms,"
        " k.expires_ms, k.revoked_ms, coalesce(u.requests, 0), coalesce(u.prompt_tokens, 0),"
        " coalesce(u.answer_tokens, 0), (SELECT 'muga_' || CAST(c.prefix AS TEXT) FROM api_key_secrets c WHERE"
        " c.key = k.id AND c.expires_ms IS NULL LIMIT 1)"
        " FROM api_keys k LEFT JOIN api_key_usage u ON u.key = k.id AND u.day = ? ORDER BY k.created_ms, k.id";
    store_row *r = NULL;
    json_t *list = json_array();
    bool has = false;
    muga_status st = list ? store_query(s, &r, err, sql, "i", now_ms / KEY_DAY_MS) : error_nomem(err, "a list of keys");
    for (;;) {
        st = st == MUGA_OK ? store_step(r, &has, err) : st;
        if (st != MUGA_OK || !has) {
            break;
        }
        st = json_array_append_new(list, describe(r, now_ms)) == 0 ? MUGA_OK : error_nomem(err, "a list of keys");
    }
    store_done(r);
    if (st == MUGA_OK) {
        *out = list;
    } else {
        json_decref(list);
        *out = NULL;
    }
    return st;
}

static json_t *describe_day(store_row *r) {
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "day", store_string(r, 0), "key", store_string(r, 1), "name",
                     store_string(r, 2), "requests", (json_int_t)store_int(r, 3), "prompt_tokens",
                     (json_int_t)store_int(r, 4), "answer_tokens", (json_int_t)store_int(r, 5));
}

muga_status keys_usage(store *s, const char *who, uint32_t n_days, int64_t now_ms, json_t **out, muga_error *err) {
    static const char sql[] =
        "SELECT date(u.day * 86400, 'unixepoch'), k.id, k.name, u.requests, u.prompt_tokens, u.answer_tokens"
        " FROM api_key_usage u JOIN api_keys k ON k.id = u.key WHERE u.day > ?1 AND (?2 IS NULL OR k.id = ?2)"
        " ORDER BY u.day DESC, k.name, k.id";
    char id[KEY_ID_SIZE];
    store_row *r = NULL;
    bool has = false;
    *out = NULL;
    muga_status st = who ? find(s, who, true, id, err) : MUGA_OK;
    json_t *list = st == MUGA_OK ? json_array() : NULL;
    if (st == MUGA_OK) {
        st = list ? store_query(s, &r, err, sql, "is", now_ms / KEY_DAY_MS - (int64_t)n_days, who ? id : NULL)
                  : error_nomem(err, "what keys used");
    }
    for (;;) {
        st = st == MUGA_OK ? store_step(r, &has, err) : st;
        if (st != MUGA_OK || !has) {
            break;
        }
        st = json_array_append_new(list, describe_day(r)) == 0 ? MUGA_OK : error_nomem(err, "what keys used");
    }
    store_done(r);
    if (st == MUGA_OK) {
        *out = list;
    } else {
        json_decref(list);
    }
    return st;
}

/* ---- what the server reads ---- */

muga_status key_rows_generation(store *s, int64_t *out, muga_error *err) {
    return count(s, "SELECT n FROM api_key_changes", NULL, out, err);
}

static muga_status read_keys(store *s, const key_visitor *v, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    muga_status st = store_query(s, &r, err,
                                 "SELECT id, name, tenant, scopes, tokens_day, concurrency, weight, priority,"
                                 " created_ms, expires_ms, revoked_ms FROM api_keys ORDER BY id",
                                 "");
    for (;;) {
        st = st == MUGA_OK ? store_step(r, &has, err) : st;
        if (st != MUGA_OK || !has) {
            break;
        }
        key_row row = {store_string(r, 0),
                       store_string(r, 1),
                       store_string(r, 2),
                       store_string(r, 3),
                       {(uint64_t)MAX(store_int(r, 4), INT64_C(0)),
                        (uint32_t)MIN(MAX(store_int(r, 5), INT64_C(0)), (int64_t)UINT32_MAX),
                        (uint32_t)MIN(MAX(store_int(r, 6), INT64_C(1)), (int64_t)KEY_MAX_WEIGHT),
                        (int)MIN(MAX(store_int(r, 7), INT64_C(-1)), INT64_C(1))},
                       store_int(r, 8),
                       store_int(r, 9),
                       store_int(r, 10)};
        st = row.id && row.name && row.tenant && row.scopes ? v->on_key(v->ctx, &row, err)
                                                            : error_nomem(err, "the table of keys");
    }
    store_done(r);
    return st;
}

static muga_status read_secrets(store *s, const key_visitor *v, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    muga_status st = store_query(
        s, &r, err, "SELECT key, prefix, salt, hash, expires_ms FROM api_key_secrets ORDER BY key, prefix", "");
    for (;;) {
        st = st == MUGA_OK ? store_step(r, &has, err) : st;
        if (st != MUGA_OK || !has) {
            break;
        }
        key_secret_row row = {.key = store_string(r, 0), .expires_ms = store_int(r, 4)};
        span prefix = store_blob(r, 1), salt = store_blob(r, 2), hash = store_blob(r, 3);
        if (!row.key || prefix.n != sizeof row.prefix || salt.n != sizeof row.salt || hash.n != sizeof row.hash) {
            st = error_nomem(err, "the table of keys"); /* the schema holds their lengths */
            break;
        }
        memcpy(row.prefix, prefix.p, prefix.n);
        memcpy(row.salt, salt.p, salt.n);
        memcpy(row.hash, hash.p, hash.n);
        st = v->on_secret(v->ctx, &row, err);
    }
    store_done(r);
    return st;
}

muga_status key_rows_read(store *s, const key_visitor *v, int64_t *generation, muga_error *err) {
    muga_status st = store_begin_read(s, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = key_rows_generation(s, generation, err);
    st = st == MUGA_OK ? read_keys(s, v, err) : st;
    st = st == MUGA_OK ? read_secrets(s, v, err) : st;
    store_end(s, &st, err);
    return st;
}

/* ---- usage ---- */

muga_status key_usage_add(store *s, const char *id, const key_usage *u, muga_error *err) {
    return store_exec(s, NULL, err,
                      "INSERT INTO api_key_usage(key, day, requests, prompt_tokens, answer_tokens)"
                      " SELECT id, ?2, ?3, ?4, ?5 FROM api_keys WHERE id = ?1"
                      " ON CONFLICT(key, day) DO UPDATE SET requests = requests + excluded.requests, prompt_tokens ="
                      " prompt_tokens + excluded.prompt_tokens, answer_tokens = answer_tokens + excluded.answer_tokens",
                      "siiii", id, u->day, (int64_t)u->n_requests, (int64_t)u->n_prompt, (int64_t)u->n_answer);
}

muga_status key_usage_forget(store *s, int64_t day, muga_error *err) {
    return store_exec(s, NULL, err, "DELETE FROM api_key_usage WHERE day < ?", "i", day);
}

muga_status key_usage_read(store *s, const char *id, int64_t day, key_usage *out, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    *out = (key_usage){.day = day};
    muga_status st = store_query(s, &r, err,
                                 "SELECT requests, prompt_tokens, answer_tokens FROM api_key_usage WHERE key = ?"
                                 " AND day = ?",
                                 "si", id, day);
    st = st == MUGA_OK ? store_step(r, &has, err) : st;
    if (st == MUGA_OK && has) {
        out->n_requests = (uint64_t)MAX(store_int(r, 0), INT64_C(0));
        out->n_prompt = (uint64_t)MAX(store_int(r, 1), INT64_C(0));
        out->n_answer = (uint64_t)MAX(store_int(r, 2), INT64_C(0));
    }
    store_done(r);
    return st;
}
