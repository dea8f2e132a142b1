/* See labels.h. Owns: what a session's context holds by label, and whether a value can be shown to come from somewhere
 * good. Refuses: to take a value's word for it; a value is known by where it stands, bounded by what is no letter and
 * no digit.
 *
 * Idea: nothing is followed through the model. What it could have read is in the journal, with its labels; what it says
 * is compared with that. */
#include "agent/labels.h"

#include "agent/internal.h"
#include "agent/leak.h"

#include <stdio.h>

/* ---- labels ---- */

static const char *const secrecies[] = {"public", "internal", "secret"};

data_label label_join(data_label a, data_label b) {
    return (data_label){a.untrusted || b.untrusted, MAX(a.secrecy, b.secrecy)};
}

data_label label_of_tool(const manifest_tool *t) {
    return t ? (data_label){t->untrusted, t->secrecy} : (data_label){true, SECRECY_INTERNAL};
}

void label_write(data_label l, char out[LABEL_SIZE]) {
    snprintf(out, LABEL_SIZE, "%s %s", l.untrusted ? "untrusted" : "trusted", secrecies[l.secrecy]);
}

data_label label_parse(const char *text) {
    data_label l = {true, SECRECY_INTERNAL};
    const char *blank = text ? strchr(text, ' ') : NULL;
    for (size_t i = 0; blank && i < ARRAY_LEN(secrecies); i++) {
        if (strcmp(blank + 1, secrecies[i]) == 0) {
            l = (data_label){strncmp(text, "trusted ", 8) != 0, (label_secrecy)i};
        }
    }
    return l;
}

muga_status labels_read(const check_place *at, manifest_tool *t, const char *pointer, muga_error *err) {
    const json_t *labels = json_object_get(t->json, "labels"), *leaves = json_object_get(t->json, "leaves_machine");
    const char *trust = json_get_string(labels, "trust"), *secrecy = json_get_string(labels, "secrecy");
    t->secrecy = SECRECY_INTERNAL;
    for (size_t i = 0; secrecy && i < ARRAY_LEN(secrecies); i++) {
        t->secrecy = strcmp(secrecy, secrecies[i]) == 0 ? (label_secrecy)i : t->secrecy;
    }
    if (trust) {
        t->untrusted = strcmp(trust, "untrusted") == 0;
    }
    if (json_is_false(leaves) && json_object_get(t->json, "http")) {
        char where[96];
        snprintf(where, sizeof where, "%s/leaves_machine", pointer);
        return check_fail(at, MUGA_E_INPUT, where, err, "an http tool leaves the machine; remove the key");
    }
    t->leaves_machine = leaves ? json_is_true(leaves) : t->leaves_machine;
    return MUGA_OK;
}

/* ---- what lies in the context ---- */

typedef struct context {
    data_label worst;
    bool any_untrusted, any_secret;
    json_t *good;   /* texts a value may come from for a write: the person, trusted results, session values */
    json_t *open;   /* and for a call that leaves the machine: the person, results that are not secret */
    json_t *secret; /* texts of secret results */
} context;

static void context_release(context *x) {
    json_decref(x->good);
    json_decref(x->open);
    json_decref(x->secret);
}

/* Strings and numbers as texts; keys are no values. Depth is bounded by json_parse. */
static muga_status add_texts(const json_t *v, json_t *out, muga_error *err) {
    const char *key;
    json_t *sub;
    muga_status st = MUGA_OK;
    if (json_is_string(v)) {
        return json_array_append(out, json_borrow(v)) == 0 ? MUGA_OK : error_nomem(err, "labels");
    }
    if (json_is_number(v)) {
        str text = STR_INIT;
        json_write(v, &text);
        int rc = text.failed ? -1 : json_array_append_new(out, json_stringn(str_get(&text), text.len));
        str_release(&text);
        return rc == 0 ? MUGA_OK : error_nomem(err, "labels");
    }
    json_object_foreach(json_borrow(v), key, sub) {
        st = st == MUGA_OK ? add_texts(sub, out, err) : st;
    }
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(v); i++) {
        st = add_texts(json_array_get(v, i), out, err);
    }
    return st;
}

/* The session and those that began it, and where its agent's sessions share a state, all of them: by that, what one of
 * them has read may reach another. */
#define LINE                                                                                                           \
    "WITH RECURSIVE line(id) AS (VALUES(?1) UNION SELECT o.parent FROM session_origins o JOIN line ON o.session ="     \
    " line.id WHERE o.parent IS NOT NULL) "

static muga_status read_results(store *s, const char *session, const char *agent, context *x, muga_error *err) {
    static const char sql[] = LINE
        "SELECT c.label, c.result FROM calls c JOIN sessions x ON x.id = c.session WHERE"
        " (c.session IN line OR x.agent = ?2) AND c.result IS NOT NULL ORDER BY c.created_ms";
    store_row *r;
    muga_status st = store_query(s, &r, err, sql, "ss", session, agent);
    for (bool has = true; st == MUGA_OK;) {
        json_t *result = NULL;
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        data_label l = label_parse(store_string(r, 0));
        x->worst = label_join(x->worst, l);
        x->any_untrusted = x->any_untrusted || l.untrusted;
        x->any_secret = x->any_secret || l.secrecy == SECRECY_SECRET;
        if (!x->good) { /* the labels alone are wanted */
            continue;
        }
        st = store_json(r, 1, &result, err);
        if (st == MUGA_OK && !l.untrusted) {
            st = add_texts(result, x->good, err);
        }
        if (st == MUGA_OK) {
            st = add_texts(result, l.secrecy == SECRECY_SECRET ? x->secret : x->open, err);
        }
        json_decref(result);
    }
    store_done(r);
    return st;
}

/* What a person wrote to the first session of the line: in the others the words are an agent's. */
static muga_status read_first_words(store *s, const char *session, json_t *out, muga_error *err) {
    static const char sql[] = LINE
        "SELECT h.content FROM history h WHERE h.role = 'user' AND h.session IN line AND NOT EXISTS (SELECT 1 FROM"
        " session_origins o WHERE o.session = h.session AND o.parent IS NOT NULL)";
    store_row *r;
    muga_status st = store_query(s, &r, err, sql, "s", session);
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        span text = store_text(r, 0);
        st = json_array_append_new(out, json_stringn(text.p, text.n)) == 0 ? MUGA_OK : error_nomem(err, "labels");
    }
    store_done(r);
    return st;
}

static muga_status has_parent(store *s, const char *session, bool *yes, muga_error *err) {
    store_row *r;
    muga_status st =
        store_query(s, &r, err, "SELECT 1 FROM session_origins WHERE session = ? AND parent IS NOT NULL", "s", session);
    st = st == MUGA_OK ? store_step(r, yes, err) : st;
    store_done(r);
    return st;
}

/* The person's words: as written, and what they also mean (normalise.h). */
static muga_status read_words(agent_session *s, json_t *out, muga_error *err) {
    bool nested = false;
    session_sources sources = {.owner = NULL};
    muga_status st = has_parent(s->store, s->id, &nested, err);
    if (st == MUGA_OK && nested) {
        return read_first_words(s->store, s->id, out, err);
    }
    st = st == MUGA_OK ? session_get_sources(s, &sources, err) : st;
    for (size_t i = 0; st == MUGA_OK && i < sources.list[0].n_texts; i++) {
        span text = sources.list[0].texts[i];
        st = json_array_append_new(out, json_stringn(text.p, text.n)) == 0 ? MUGA_OK : error_nomem(err, "labels");
    }
    session_sources_release(&sources);
    return st;
}

static muga_status read_context(agent_session *s, context *x, json_t *words, muga_error *err) {
    x->good = json_array();
    x->open = json_array();
    x->secret = json_array();
    muga_status st = x->good && x->open && x->secret && words ? MUGA_OK : error_nomem(err, "labels");
    st = st == MUGA_OK ? read_results(s->store, s->id, s->m->shared ? s->m->name : NULL, x, err) : st;
    if (st == MUGA_OK && (x->any_untrusted || x->any_secret)) {
        st = read_words(s, words, err);
        st = st == MUGA_OK ? add_texts(s->values, x->good, err) : st;
        if (st == MUGA_OK && (json_array_extend(x->good, words) != 0 || json_array_extend(x->open, words) != 0)) {
            st = error_nomem(err, "labels");
        }
    }
    return st;
}

muga_status label_of_session(store *s, const char *session, data_label *out, muga_error *err) {
    context x = {.worst = {false, SECRECY_PUBLIC}};
    muga_status st = read_results(s, session, NULL, &x, err);
    *out = x.worst;
    return st;
}

/* ---- where a value stands ---- */

static bool is_alnum(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* In 1.50 there is no 50, in 150,000 no 150, and 50 is not -50. */
static bool cuts_number(const char *p, size_t n, size_t from, size_t end) {
    if (from > 0 && (p[from - 1] == '.' || p[from - 1] == ',') && from > 1 && is_digit(p[from - 2])) {
        return true;
    }
    if (from > 0 && p[from - 1] == '-' && (from == 1 || !is_alnum(p[from - 2]))) {
        return true;
    }
    return end + 1 < n && (p[end] == '.' || p[end] == ',') && is_digit(p[end + 1]);
}

static bool stands_in_text(const char *p, size_t n, const char *q, size_t n_q) {
    for (size_t from = 0; n_q > 0 && n >= n_q && from <= n - n_q; from++) {
        const char *at = memmem(p + from, n - from, q, n_q);
        if (!at) {
            return false;
        }
        from = (size_t)(at - p);
        size_t end = from + n_q;
        bool begins = from == 0 || !is_alnum(q[0]) || !is_alnum(p[from - 1]),
             ends = end == n || !is_alnum(q[n_q - 1]) || !is_alnum(p[end]);
        if (begins && ends &&
            !((is_digit(q[0]) || q[0] == '-') && is_digit(q[n_q - 1]) && cuts_number(p, n, from, end))) {
            return true;
        }
    }
    return false;
}

static bool stands_in(const json_t *texts, const char *q, size_t n_q) {
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *v = json_array_get(texts, i);
        if (stands_in_text(json_string_value(v), json_string_length(v), q, n_q)) {
            return true;
        }
    }
    return false;
}

/* A value that the manifest itself offers for this place. */
static bool is_constant(const json_t *schema, const json_t *value) {
    const json_t *list = json_object_get(schema, "enum");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (json_equal(json_array_get(list, i), json_borrow(value))) {
            return true;
        }
    }
    return json_equal(json_object_get(schema, "const"), json_borrow(value)) ||
           json_equal(json_object_get(schema, "default"), json_borrow(value)) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

typedef struct origin {
    const json_t *texts; /* where a value may come from */
    const json_t *words; /* of those, what the person wrote */
    bool from_person;    /* one did */
    const char *unknown; /* the first member of which can't be said where it comes from */
} origin;

static bool has_origin(origin *o, const json_t *schema, const json_t *value, const char *name) {
    const char *key;
    json_t *sub;
    bool ok = true;
    json_object_foreach(json_borrow(value), key, sub) {
        ok = ok && has_origin(o, json_object_get(json_object_get(schema, "properties"), key), sub, key);
    }
    for (size_t i = 0; ok && i < json_array_size(value); i++) {
        ok = has_origin(o, json_object_get(schema, "items"), json_array_get(value, i), name);
    }
    if (!ok || json_is_object(value) || json_is_array(value)) {
        return ok;
    }
    str text = STR_INIT;
    if (json_is_string(value)) {
        str_append(&text, json_string_value(value), json_string_length(value));
    } else if (json_is_number(value)) {
        json_write(value, &text);
    }
    bool said = !text.failed && stands_in(o->words, str_get(&text), text.len);
    ok = said || is_constant(schema, value) || (!text.failed && stands_in(o->texts, str_get(&text), text.len));
    o->from_person = o->from_person || said;
    o->unknown = ok ? o->unknown : name;
    str_release(&text);
    return ok;
}

/* ---- deciding ---- */

static policy_verdict decide_write(const manifest *m, const manifest_tool *t, const policy_context *c, const context *x,
                                   const json_t *words, char reason[256]) {
    after_untrusted how = m->policy ? m->policy->after_untrusted : AFTER_UNTRUSTED_PROVE;
    origin o = {x->good, words, false, NULL};
    if (how != AFTER_UNTRUSTED_PROVE) {
        snprintf(reason, 256, "an untrusted result lies in this session (policy.after_untrusted)");
        return how == AFTER_UNTRUSTED_ASK ? POLICY_ASK : POLICY_DENY;
    }
    if (!has_origin(&o, t->parameters, c->arguments, "arguments")) {
        snprintf(reason, 256, "%.64s: can't be shown to come from the person or a trusted result", o.unknown);
        return POLICY_ASK;
    }
    if (!o.from_person) {
        snprintf(reason, 256, "after an untrusted result, nothing in this call is of the person's own words");
        return POLICY_ASK;
    }
    return POLICY_ALLOW;
}

static policy_verdict decide_leaving(const manifest_tool *t, const policy_context *c, const context *x,
                                     const json_t *words, char reason[256]) {
    bool found = false;
    muga_error why;
    origin o = {x->open, words, false, NULL};
    muga_status st = leak_find(x->secret, c->arguments, &found, &why);
    if (st != MUGA_OK || found) {
        snprintf(reason, 256, "a secret result's value may not leave the machine%s%.120s", found ? "" : ": ",
                 found ? "" : why.message);
        return POLICY_DENY;
    }
    if (!has_origin(&o, t->parameters, c->arguments, "arguments")) {
        snprintf(reason, 256, "%.64s: can't be shown not to come from a secret result", o.unknown);
        return POLICY_ASK;
    }
    return POLICY_ALLOW;
}

policy_verdict labels_decide(const manifest *m, const manifest_tool *t, const policy_context *c, char reason[256]) {
    context x = {.worst = {false, SECRECY_PUBLIC}};
    json_t *words = json_array();
    muga_error why;
    policy_verdict v = POLICY_ALLOW;
    char second[256] = "";
    reason[0] = '\0';
    if (c->owner && (t->effect == EFFECT_WRITE || t->leaves_machine)) {
        if (read_context(c->owner, &x, words, &why) != MUGA_OK) {
            snprintf(reason, 256, "labels can't be told (%.200s)", why.message);
            v = POLICY_DENY;
        } else if (t->leaves_machine && x.any_secret) {
            v = decide_leaving(t, c, &x, words, reason);
        }
        if (v != POLICY_DENY && t->effect == EFFECT_WRITE && x.any_untrusted) {
            policy_verdict w = decide_write(m, t, c, &x, words, second);
            if (w > v) {
                v = w;
                memcpy(reason, second, sizeof second);
            }
        }
    }
    json_decref(words);
    context_release(&x);
    return v;
}
