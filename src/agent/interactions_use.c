/* What people and learners do with rows (interactions.h): read, rate, correct, redact, drop. Owns: that each of it is
 * in the chain, in the transaction of the change, or before anyone reads. */
#include "agent/interactions_select.h"
#include "agent/mask.h"

#include <stdio.h>

#define DAY_MS INT64_C(86400000)
#define LABELS_MAX 16 /* of one correction */

/* ---- what a row's session says ---- */

/* Of the last session, kept: rows come session by session. */
typedef struct session_info {
    char session[AGENT_ID_SIZE];
    consent_row consent;
    json_t *values;
    char subject[24]; /* "p-" and the first 80 bits of a digest over agent and the values that name the person */
    mask *mask;       /* NULL until one is needed */
    json_t *policy;   /* of the mask, which borrows it */
} session_info;

static void session_info_release(session_info *x) {
    mask_free(x->mask);
    json_decref(x->policy);
    json_decref(x->values);
    consent_row_release(&x->consent);
    *x = (session_info){.mask = NULL};
}

static muga_status read_values(store *s, const char *session, json_t **out, muga_error *err) {
    store_row *at = NULL;
    bool has = false;
    *out = NULL;
    muga_status st = store_query(s, &at, err, "SELECT session_values FROM sessions WHERE id = ?", "s", session);
    st = st == MUGA_OK ? store_step(at, &has, err) : st;
    st = st == MUGA_OK && has ? store_json(at, 0, out, err) : st;
    store_done(at);
    return st;
}

static muga_status name_subject(session_info *x, const char *agent, muga_error *err) {
    const json_t *names = json_object_get(x->consent.policy, "subject");
    json_t *who = json_pack("{s:s}", "agent", agent);
    uint8_t digest[SHA256_BYTES];
    muga_status st = who ? MUGA_OK : error_nomem(err, "a subject");
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        json_t *v = name ? json_object_get(x->values, name) : NULL;
        st = !v || json_object_set(who, name, v) == 0 ? MUGA_OK : error_nomem(err, "a subject");
    }
    st = st == MUGA_OK ? json_digest(who, digest, err) : st;
    if (st == MUGA_OK) {
        memcpy(x->subject, "p-", 3);
        hex_write(digest, 10, x->subject + 2);
    }
    json_decref(who);
    return st;
}

static muga_status session_info_get(store *s, const data_row *r, session_info *x, muga_error *err) {
    if (strcmp(x->session, r->session) == 0) {
        return MUGA_OK;
    }
    session_info_release(x);
    muga_status st = consent_read(s, r->agent, &x->consent, err);
    st = st == MUGA_OK ? read_values(s, r->session, &x->values, err) : st;
    st = st == MUGA_OK ? name_subject(x, r->agent, err) : st;
    if (st == MUGA_OK) {
        snprintf(x->session, sizeof x->session, "%s", r->session);
    }
    return st;
}

static muga_status learn_calls(const json_t *calls, mask *m, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(calls); i++) {
        st = mask_learn(m, json_array_get(calls, i), err);
    }
    return st;
}

/* A row that is damaged teaches nothing, and is refused where it is read itself. */
static muga_status learn_rows(store *s, const char *session, mask *m, muga_error *err) {
    store_row *at = NULL;
    muga_status st = store_query(s, &at, err, "SELECT content FROM interactions WHERE session = ?", "s", session);
    for (bool has = true; st == MUGA_OK;) {
        json_t *content = NULL;
        st = store_step(at, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        span text = store_text(at, 0);
        st = json_parse(text.p, text.n, "", &content, err);
        st = st == MUGA_E_INPUT ? MUGA_OK : st;
        st = st == MUGA_OK ? learn_calls(json_object_get(content, "calls"), m, err) : st;
        json_decref(content);
    }
    store_done(at);
    return st;
}

/* The mask for the session's rows. `values` (array of strings, or NULL): to be taken out as well. */
static muga_status session_mask_get(store *s, const data_row *r, const json_t *values, session_info *x,
                                    muga_error *err) {
    muga_status st = session_info_get(s, r, x, err);
    if (st != MUGA_OK || x->mask) {
        return st;
    }
    x->policy = x->consent.policy ? json_incref(x->consent.policy) : json_object();
    st = x->policy ? mask_new(x->policy, &x->mask, err) : error_nomem(err, "a mask");
    st = st == MUGA_OK ? mask_learn_session(x->mask, x->values, err) : st;
    st = st == MUGA_OK ? learn_rows(s, r->session, x->mask, err) : st;
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(values); i++) {
        st = mask_learn_value(x->mask, json_string_value(json_array_get(values, i)), err);
    }
    if (st != MUGA_OK) {
        mask_free(x->mask);
        x->mask = NULL;
    }
    return st;
}

static muga_status mask_in_place(mask *m, json_t **v, muga_error *err) {
    json_t *masked = NULL;
    muga_status st = *v ? mask_json(m, *v, &masked, err) : MUGA_OK;
    if (masked) {
        json_decref(*v);
        *v = masked;
    }
    return st;
}

static muga_status mask_row(mask *m, data_row *r, muga_error *err) {
    str note = STR_INIT;
    muga_status st = mask_in_place(m, &r->content, err);
    st = st == MUGA_OK ? mask_in_place(m, &r->correction, err) : st;
    if (st == MUGA_OK && r->note) {
        st = mask_text(m, r->note, strlen(r->note), &note, err);
        if (st == MUGA_OK) {
            free(r->note);
            r->note = str_take(&note);
            st = r->note ? MUGA_OK : error_nomem(err, "a row");
        }
    }
    str_release(&note);
    r->masked = r->masked || st == MUGA_OK;
    return st;
}

static int compare_keys(const void *a, const void *b) {
    const row_key *x = a, *y = b;
    int by_session = strcmp(x->session, y->session);
    return by_session ? by_session : (x->turn > y->turn) - (x->turn < y->turn);
}

/* ---- dropping ---- */

muga_status interactions_drop(const agent_env *env, store *s, const interaction_filter *f, const char *why, int64_t *n,
                              muga_error *err) {
    row_keys k = {NULL, 0, 0};
    *n = 0;
    muga_status st = store_begin(s, err);
    if (st == MUGA_OK) {
        st = rows_select(s, f, &k, err);
        st = st == MUGA_OK ? rows_drop(env, s, &k, why, err) : st;
        store_end(s, &st, err);
    }
    if (st == MUGA_OK) {
        *n = (int64_t)k.n;
        st = store_checkpoint(s, err); /* deleted bytes are zeroed; the log must not keep them */
    }
    row_keys_release(&k);
    return st;
}

/* Inside a transaction. */
static muga_status expire_all(const agent_env *env, store *s, int64_t *n, muga_error *err) {
    json_t *list = NULL;
    int64_t now = env->clock->now_ms(env->clock->self);
    *n = 0;
    muga_status st = consent_list(s, &list, err);
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        int64_t n_agent = 0, days = json_get_int(json_object_get(entry, "policy"), "keep_days", 0);
        st = data_expire_agent(env, s, json_get_string(entry, "agent"), now - days * DAY_MS, &n_agent, err);
        *n += n_agent;
    }
    json_decref(list);
    return st;
}

muga_status interactions_expire(const agent_env *env, store *s, int64_t *n, muga_error *err) {
    *n = 0;
    muga_status st = store_begin(s, err);
    if (st == MUGA_OK) {
        st = expire_all(env, s, n, err);
        store_end(s, &st, err);
    }
    return st == MUGA_OK && *n > 0 ? store_checkpoint(s, err) : st;
}

/* ---- reading ---- */

/* What was asked for, without the subject's values, which the chain should not keep. */
static muga_status describe_filter(const interaction_filter *f, json_t *out, muga_error *err) {
    bool ok = true;
    const char *name;
    json_t *v, *names = f->subject ? json_array() : NULL, *outcomes = f->outcomes ? json_array() : NULL;
    json_object_foreach(json_borrow(f->subject), name, v) {
        ok = ok && json_array_append_new(names, json_string(name)) == 0;
    }
    for (size_t i = 0; i < N_OUTCOMES && f->outcomes; i++) {
        ok = ok &&
             (!(f->outcomes & 1u << i) || json_array_append_new(outcomes, json_string(interaction_outcomes[i])) == 0);
    }
    ok = ok && (!f->agent || json_object_set_new(out, "agent", json_string(f->agent)) == 0) &&
         (!f->session || json_object_set_new(out, "of_session", json_string(f->session)) == 0) &&
         (!f->turn || json_object_set_new(out, "turn", json_integer(f->turn)) == 0) &&
         (!names || json_object_set(out, "subject", names) == 0) &&
         (!outcomes || json_object_set(out, "outcomes", outcomes) == 0) &&
         (!f->raw || json_object_set_new(out, "raw", json_true()) == 0);
    json_decref(names);
    json_decref(outcomes);
    return ok ? MUGA_OK : error_nomem(err, "a record");
}

/* The record of a use, inside a transaction: over which rows, by their digests in order. */
static muga_status audit_use(const agent_env *env, store *s, const interaction_filter *f, const row_keys *k,
                             const char *use, const json_t *detail, muga_error *err) {
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    sha256 h;
    sha256_init(&h);
    for (size_t i = 0; i < k->n; i++) {
        sha256_update(&h, k->list[i].digest, sizeof k->list[i].digest);
    }
    sha256_final(&h, digest);
    hex_write(digest, sizeof digest, hex);
    json_t *payload = detail ? json_clone(detail) : json_object();
    bool ok = payload && json_object_set_new(payload, "use", json_string(use)) == 0 &&
              json_object_set_new(payload, "count", json_integer((json_int_t)k->n)) == 0 &&
              json_object_set_new(payload, "digest", json_string(hex)) == 0;
    muga_status st = ok ? describe_filter(f, payload, err) : error_nomem(err, "a record");
    st = st == MUGA_OK ? audit_write(env, s, NULL, "data", payload, err) : st;
    json_decref(payload);
    return st;
}

static muga_status check_raw(const session_info *x, const char *agent, muga_error *err) {
    return x->consent.state == CONSENT_ON && json_get_bool(x->consent.policy, "raw", false)
               ? MUGA_OK
               : error_set(err, MUGA_E_POLICY,
                           "agent %.64s: its consent does not go as far as unmasked rows; `muga data consent on"
                           " %.64s --raw` would",
                           agent, agent);
}

static muga_status hand_out(store *s, const interaction_filter *f, const row_key *key, session_info *x,
                            interaction_fn fn, void *ctx, int64_t *n, muga_error *err) {
    data_row r;
    muga_status st = data_row_find(s, key->session, key->turn, &r, err);
    if (st == MUGA_E_NOT_FOUND) { /* dropped since it was chosen */
        return MUGA_OK;
    }
    if (st == MUGA_OK && memcmp(r.digest, key->digest, sizeof r.digest) != 0) {
        st = error_set(err, MUGA_E_ENV, "turn %lld of session %.24s was changed while it was read; try again",
                       (long long)r.turn, r.session);
    }
    st = st == MUGA_OK ? session_info_get(s, &r, x, err) : st;
    if (st == MUGA_OK && f->raw) {
        st = check_raw(x, r.agent, err);
    } else if (st == MUGA_OK && !r.masked) {
        st = session_mask_get(s, &r, NULL, x, err);
        st = st == MUGA_OK ? mask_row(x->mask, &r, err) : st;
    }
    if (st == MUGA_OK) {
        const interaction row = {.session = r.session,
                                 .agent = r.agent,
                                 .outcome = row_outcome_name(r.outcome),
                                 .note = r.note,
                                 .subject = x->subject,
                                 .turn = r.turn,
                                 .at_ms = r.at_ms,
                                 .rating = r.rating,
                                 .masked = r.masked,
                                 .redacted = r.redacted,
                                 .content = r.content,
                                 .correction = r.correction};
        st = fn(ctx, &row, err);
        *n += st == MUGA_OK;
    }
    data_row_release(&r);
    return st;
}

muga_status interactions_read(const agent_env *env, store *s, const interaction_filter *f, const char *use,
                              const json_t *detail, interaction_fn fn, void *ctx, int64_t *n, muga_error *err) {
    row_keys k = {NULL, 0, 0};
    session_info x = {.mask = NULL};
    int64_t n_expired = 0;
    *n = 0;
    muga_status st = store_begin(s, err);
    if (st == MUGA_OK) {
        st = expire_all(env, s, &n_expired, err);
        st = st == MUGA_OK ? rows_select(s, f, &k, err) : st;
        if (st == MUGA_OK && f->by_session && k.n > 1) {
            qsort(k.list, k.n, sizeof *k.list, compare_keys);
        }
        st = st == MUGA_OK ? audit_use(env, s, f, &k, use, detail, err) : st;
        store_end(s, &st, err);
    }
    for (size_t i = 0; st == MUGA_OK && i < k.n; i++) {
        st = hand_out(s, f, &k.list[i], &x, fn, ctx, n, err);
    }
    session_info_release(&x);
    row_keys_release(&k);
    return st;
}

muga_status interactions_tell(const agent_env *env, store *s, const char *use, const json_t *detail, muga_error *err) {
    json_t *payload = json_clone(detail);
    bool ok = payload && json_object_set_new(payload, "use", json_string(use)) == 0;
    muga_status st = ok ? store_begin(s, err) : error_nomem(err, "a record");
    if (st == MUGA_OK) {
        st = audit_write(env, s, NULL, "data", payload, err);
        store_end(s, &st, err);
    }
    json_decref(payload);
    return st;
}

/* ---- people's words ---- */

static muga_status take_note(data_row *r, const char *note, muga_error *err) {
    if (!note) {
        return MUGA_OK;
    }
    char *copy = mem_copy_string(note);
    if (!copy) {
        return error_nomem(err, "a note");
    }
    free(r->note);
    r->note = copy;
    return MUGA_OK;
}

/* What people add is masked as the row is. */
static muga_status write_changed(const agent_env *env, store *s, data_row *r, json_t *told, muga_error *err) {
    session_info x = {.mask = NULL};
    muga_status st = MUGA_OK;
    if (r->masked) {
        st = session_mask_get(s, r, NULL, &x, err);
        st = st == MUGA_OK ? mask_row(x.mask, r, err) : st;
    }
    st = st == MUGA_OK ? data_row_write(env, s, r, false, told, err) : st;
    session_info_release(&x);
    return st;
}

static muga_status rate_rows(const agent_env *env, store *s, const row_keys *k, int rating, const char *note,
                             json_t *told, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < k->n; i++) {
        data_row r;
        st = data_row_find(s, k->list[i].session, k->list[i].turn, &r, err);
        if (st == MUGA_OK) {
            r.rating = rating;
            st = take_note(&r, note, err);
            st = st == MUGA_OK ? write_changed(env, s, &r, told, err) : st;
            data_row_release(&r);
        }
    }
    return st;
}

static muga_status none_kept(const char *session, int64_t turn, muga_error *err) {
    return turn
               ? error_set(err, MUGA_E_NOT_FOUND, "session %.24s: turn %lld was not kept; see muga data list", session,
                           (long long)turn)
               : error_set(err, MUGA_E_NOT_FOUND, "session %.24s: nothing of it was kept; see muga data list", session);
}

muga_status interactions_rate(const agent_env *env, store *s, const char *session, int64_t turn, int rating,
                              const char *note, int64_t *n, muga_error *err) {
    const interaction_filter f = {.session = session, .turn = turn};
    static const char *const words[] = {"down", "none", "up"};
    row_keys k = {NULL, 0, 0};
    json_t *told = json_array(), *detail = json_pack("{s:s}", "rating", words[rating + 1]);
    muga_status st = told && detail ? store_begin(s, err) : error_nomem(err, "a rating");
    if (st == MUGA_OK) {
        st = rows_select(s, &f, &k, err);
        st = st == MUGA_OK && k.n == 0 ? none_kept(session, turn, err) : st;
        st = st == MUGA_OK ? rate_rows(env, s, &k, rating, note, told, err) : st;
        st = st == MUGA_OK ? data_audit_rows(env, s, session, "rated", told, detail, err) : st;
        store_end(s, &st, err);
    }
    *n = (int64_t)k.n;
    row_keys_release(&k);
    json_decref(detail);
    json_decref(told);
    return st;
}

static muga_status check_labels(const manifest *m, const json_t *labels, muga_error *err) {
    const json_t *known = m ? json_object_get(m->intent, "labels") : NULL;
    if (!json_is_array(labels) || json_array_size(labels) == 0 || json_array_size(labels) > LABELS_MAX) {
        return error_set(err, MUGA_E_INPUT, "a correction's labels are 1 to %d names", LABELS_MAX);
    }
    for (size_t i = 0; i < json_array_size(labels); i++) {
        const char *name = json_string_value(json_array_get(labels, i));
        if (!name || !*name || (known && !json_object_get(known, name))) {
            return error_set(err, MUGA_E_INPUT, "'%.60s' is no label of agent %s", name ? name : "",
                             m ? m->name : "at all");
        }
    }
    return MUGA_OK;
}

static muga_status check_call(const manifest *m, const json_t *call, muga_error *err) {
    const char *name = json_get_string(call, "tool");
    const json_t *arguments = json_object_get(call, "arguments");
    if (!name || !json_is_object(arguments) || json_object_size(call) != 2) {
        return error_set(err, MUGA_E_INPUT, "a correction's call is {\"tool\": name, \"arguments\": {...}}");
    }
    const manifest_tool *t = m ? manifest_tool_find(m, name) : NULL;
    if (m && !t) {
        return error_set(err, MUGA_E_INPUT, "agent %s has no tool '%.60s'", m->name, name);
    }
    muga_status st = t ? constrain_validate(t->parameters, arguments, NULL, err) : MUGA_OK;
    return st == MUGA_E_NEGATIVE ? error_prefix(err, MUGA_E_INPUT, "arguments of %.60s", name) : st;
}

static muga_status check_correction(const manifest *m, const json_t *c, muga_error *err) {
    const json_t *labels = json_object_get(c, "labels"), *calls = json_object_get(c, "calls"),
                 *answer = json_object_get(c, "answer");
    size_t n_known = (labels != NULL) + (calls != NULL) + (answer != NULL);
    if (n_known == 0 || json_object_size(c) != n_known || json_is_deeper(c, AGENT_MAX_DEPTH)) {
        return error_set(err, MUGA_E_INPUT, "a correction is labels, calls or an answer");
    }
    muga_status st = labels ? check_labels(m, labels, err) : MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(calls); i++) {
        st = check_call(m, json_array_get(calls, i), err);
    }
    if (st == MUGA_OK && ((answer && !json_string_length(answer)) || (calls && json_array_size(calls) == 0))) {
        st = error_set(err, MUGA_E_INPUT, "a correction must not be empty");
    }
    return st;
}

static muga_status correct_row(const agent_env *env, store *s, const char *session, int64_t turn,
                               const json_t *correction, const char *note, json_t *told, muga_error *err) {
    data_row r;
    muga_status st = data_row_find(s, session, turn, &r, err);
    if (st != MUGA_OK) {
        return st;
    }
    json_t *merged = r.correction ? json_clone(r.correction) : json_object();
    if (!merged || json_object_update(merged, json_borrow(correction)) != 0) {
        json_decref(merged);
        st = error_nomem(err, "a correction");
    } else {
        json_decref(r.correction);
        r.correction = merged;
        r.outcome = OUTCOME_CORRECTED;
        st = take_note(&r, note, err);
        st = st == MUGA_OK ? write_changed(env, s, &r, told, err) : st;
    }
    data_row_release(&r);
    return st;
}

muga_status interactions_correct(const agent_env *env, store *s, const manifest *m, const char *session, int64_t turn,
                                 const json_t *correction, const char *note, muga_error *err) {
    json_t *told = json_array();
    muga_status st = told ? check_correction(m, correction, err) : error_nomem(err, "a correction");
    st = st == MUGA_OK ? store_begin(s, err) : st;
    if (st == MUGA_OK) {
        st = correct_row(env, s, session, turn, correction, note, told, err);
        st = st == MUGA_OK ? data_audit_rows(env, s, session, "corrected", told, NULL, err) : st;
        store_end(s, &st, err);
    }
    json_decref(told);
    return st;
}

/* ---- redacting ---- */

/* k[from, to): one session's. */
static muga_status redact_session(const agent_env *env, store *s, const row_keys *k, size_t from, size_t to,
                                  const json_t *values, muga_error *err) {
    session_info x = {.mask = NULL};
    json_t *told = json_array();
    muga_status st = told ? MUGA_OK : error_nomem(err, "rows");
    for (size_t i = from; st == MUGA_OK && i < to; i++) {
        data_row r;
        st = data_row_find(s, k->list[i].session, k->list[i].turn, &r, err);
        if (st == MUGA_OK) {
            r.redacted = true;
            st = session_mask_get(s, &r, values, &x, err);
            st = st == MUGA_OK ? mask_row(x.mask, &r, err) : st;
            st = st == MUGA_OK ? data_row_write(env, s, &r, false, told, err) : st;
            data_row_release(&r);
        }
    }
    st = st == MUGA_OK ? data_audit_rows(env, s, k->list[from].session, "redacted", told, NULL, err) : st;
    session_info_release(&x);
    json_decref(told);
    return st;
}

muga_status interactions_redact(const agent_env *env, store *s, const interaction_filter *f, const json_t *values,
                                int64_t *n, muga_error *err) {
    row_keys k = {NULL, 0, 0};
    *n = 0;
    muga_status st = store_begin(s, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = rows_select(s, f, &k, err);
    if (st == MUGA_OK && k.n > 1) {
        qsort(k.list, k.n, sizeof *k.list, compare_keys);
    }
    for (size_t from = 0, to; st == MUGA_OK && from < k.n; from = to) {
        for (to = from + 1; to < k.n && strcmp(k.list[to].session, k.list[from].session) == 0;) {
            to++;
        }
        st = redact_session(env, s, &k, from, to, values, err);
    }
    store_end(s, &st, err);
    if (st == MUGA_OK) {
        *n = (int64_t)k.n;
        st = store_checkpoint(s, err);
    }
    row_keys_release(&k);
    return st;
}
