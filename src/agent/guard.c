/* Guards at work (guard.h). Owns: running what the manifest asks for over a text, the gravest action, masking.
 * Refuses: a pattern whose effort is used up; then the text does not pass.
 *
 * Idea: every guard gives ranges of the text and nothing else. What they mean is a table of the manifest (guard ->
 * action); so one pass finds, one sorts, one writes the text anew. Guards look at the text as it is read
 * (guard_text.plain): a character that can't be seen hides nothing from them. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "agent/guard_internal.h"

#include "agent/mask.h"
#include "agent/personal.h"
#include "base/utf8.h"

#include <pcre2.h>
#include <stdio.h>
#include <utf8proc.h>

#define MATCHES_MAX 1000 /* of one pattern in one text; the text that goes on is masked up to there and then refused */

const char *const guard_names[N_GUARDS] = {"length", "language", "control", "hidden", "mixed",       "secrets",
                                           "email",  "phone",    "iban",    "card",   "national_id", "ip"};

const char *guard_action_name(guard_action a) {
    static const char *const names[] = {"pass", "mask", "ask", "escalate", "refuse"};
    return names[a];
}

const char *guard_side_name(guard_side s) {
    static const char *const names[] = {"input", "output", "results"};
    return names[s];
}

void guard_verdict_release(guard_verdict *v) {
    str_release(&v->text);
    json_decref(v->found);
    *v = (guard_verdict){.text = STR_INIT};
}

static const char *name_of(const guard_rules *r, unsigned guard) {
    return guard < N_GUARDS ? guard_names[guard] : r->patterns[guard - N_GUARDS].name;
}

/* ---- finding ---- */

static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

/* Does a letter or digit of any writing begin here? *len: bytes of what does. */
static bool sign_at(const char *p, size_t n, size_t *len) {
    uint32_t cp = (unsigned char)p[0];
    *len = MAX(utf8_decode(p, n, &cp), (size_t)1);
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NO;
}

typedef struct personal_ctx {
    const char *p;
    guard_list *found;
    muga_error *err;
} personal_ctx;

static muga_status on_personal(void *ctx, size_t from, size_t to, unsigned kind) {
    static const struct {
        unsigned kind, guard;
        const char *what;
    } kinds[] = {{PERSONAL_EMAIL, GUARD_EMAIL, "holds an e-mail address"},
                 {PERSONAL_PHONE, GUARD_PHONE, "holds a telephone number"},
                 {PERSONAL_IBAN, GUARD_IBAN, "holds a card or bank account number"},
                 {PERSONAL_CARD, GUARD_CARD, "holds a card or bank account number"},
                 {PERSONAL_NATIONAL_ID, GUARD_NATIONAL_ID, "holds a national identity number"},
                 {PERSONAL_IP, GUARD_IP, "holds an IP address"}};
    const personal_ctx *c = ctx;
    if (kind == PERSONAL_CARD && from > 0 && is_word(c->p[from - 1])) {
        return MUGA_OK; /* part of an id */
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (kinds[i].kind == kind) {
            return guard_add(c->found, from, to, kinds[i].guard, kinds[i].what, c->err);
        }
    }
    return MUGA_OK;
}

/* The kinds that are looked for; cards and bank accounts are secrets, too. */
static unsigned personal_kinds(const guard_rules *r) {
    static const unsigned kinds[] = {PERSONAL_EMAIL, PERSONAL_PHONE,       PERSONAL_IBAN,
                                     PERSONAL_CARD,  PERSONAL_NATIONAL_ID, PERSONAL_IP};
    unsigned want = r->action[GUARD_SECRETS] ? PERSONAL_IBAN | PERSONAL_CARD : 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        want |= r->action[GUARD_EMAIL + i] ? kinds[i] : 0;
    }
    return want;
}

/* Places of plain, which found holds from `from` on, to places of the text. */
static void to_text(const guard_text *t, guard_list *found, size_t from) {
    for (size_t i = from; i < found->n; i++) {
        size_t last = found->v[i].to - 1;
        found->v[i].to = t->plain_at[last] + 1;
        found->v[i].from = t->plain_at[found->v[i].from];
        while (found->v[i].to < t->n && ((unsigned char)t->p[found->v[i].to] & 0xC0) == 0x80) {
            found->v[i].to++; /* a character is masked whole */
        }
    }
}

static muga_status find_pattern(const guard_set *g, const guard_pattern *p, unsigned guard, const guard_text *t,
                                guard_list *found, muga_error *err) {
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(p->code, NULL);
    muga_status st = data ? MUGA_OK : error_nomem(err, "a guard");
    for (size_t at = 0, n = 0; st == MUGA_OK && at <= t->n_plain && n < MATCHES_MAX; n++) {
        int rc = pcre2_match(p->code, (PCRE2_SPTR)t->plain, t->n_plain, at, 0, data, g->limits);
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(data);
        if (rc == PCRE2_ERROR_NOMATCH) {
            break;
        }
        if (rc == PCRE2_ERROR_NOMEMORY) {
            st = error_nomem(err, "a guard");
        } else if (rc < 0) {
            st = error_set(err, MUGA_E_LIMIT, "the guard '%.60s' took too long on a text; make its pattern simpler",
                           p->name);
        } else if (v[1] > v[0]) {
            st = guard_add(found, v[0], v[1], guard, "holds what must not be said here", err);
        }
        at = rc < 0 ? at : MAX(v[1], at + 1);
        while (at < t->n_plain && ((unsigned char)t->plain[at] & 0xC0) == 0x80) {
            at++;
        }
    }
    pcre2_match_data_free(data);
    return st;
}

static muga_status find_language(const guard_rules *r, const guard_text *t, guard_list *found, muga_error *err) {
    uint64_t may_be = guard_languages(t);
    bool foreign = may_be != 0 && !(may_be & r->languages);
    return foreign ? guard_add(found, 0, t->n, GUARD_LANGUAGE, "is in a language that isn't spoken here", err)
                   : MUGA_OK;
}

static muga_status find_all(const guard_set *g, const guard_rules *r, const guard_text *t, guard_list *found,
                            muga_error *err) {
    muga_status st = r->action[GUARD_HIDDEN] ? guard_find_markup(t->p, t->n, found, err) : MUGA_OK;
    size_t from = found->n;
    unsigned kinds = personal_kinds(r);
    if (st == MUGA_OK && r->action[GUARD_LENGTH] && t->n_cp > (size_t)r->max_chars) {
        st = guard_add(found, 0, t->n, GUARD_LENGTH, "is longer than guards.input.max_chars", err);
        from = found->n;
    }
    if (st == MUGA_OK && r->action[GUARD_LANGUAGE]) {
        st = find_language(r, t, found, err);
        from = found->n;
    }
    if (st == MUGA_OK && r->action[GUARD_SECRETS]) {
        st = guard_find_secrets(t->plain, t->n_plain, found, err);
    }
    for (size_t i = 0; st == MUGA_OK && i < r->n_patterns; i++) {
        st = find_pattern(g, &r->patterns[i], (unsigned)(N_GUARDS + i), t, found, err);
    }
    if (st == MUGA_OK && kinds) {
        personal_ctx c = {t->plain, found, err};
        st = mask_find_forms(t->plain, t->n_plain, kinds, on_personal, &c, err);
    }
    if (st == MUGA_OK) {
        to_text(t, found, from);
    }
    return st;
}

/* What the manifest wants of a finding; secrets of the two kinds that are personal, too, by either rule. */
static guard_action action_of(const guard_rules *r, unsigned guard) {
    guard_action a = r->action[guard];
    bool secret = guard == GUARD_IBAN || guard == GUARD_CARD;
    return secret ? MAX(a, r->action[GUARD_SECRETS]) : a;
}

/* ---- masking ---- */

static int compare_found(const void *a, const void *b) {
    const guard_found *x = a, *y = b;
    return x->from != y->from ? (x->from < y->from ? -1 : 1) : (x->to < y->to) - (x->to > y->to);
}

/* All but the last four letters or digits as '*', so that a person knows which card is meant. */
static void put_stars(const char *p, size_t n, str *out) {
    size_t left = 0, len;
    for (size_t i = 0; i < n; i += len) {
        left += sign_at(p + i, n - i, &len);
    }
    for (size_t i = 0; i < n; i += len) {
        bool sign = sign_at(p + i, n - i, &len);
        if (sign && left > 4) {
            str_append_c(out, '*');
        } else {
            str_append(out, p + i, len);
        }
        left -= sign;
    }
}

static muga_status put_masked(const guard_rules *r, const char *p, const guard_found *f, str *out, muga_error *err) {
    static const char *const words[] = {"", "", "", "", "", "[secret]", "[email]", "[phone]", "", "", "[id]", "[ip]"};
    guard_text t;
    muga_status st = MUGA_OK;
    switch (f->guard) {
    case GUARD_CONTROL:
    case GUARD_HIDDEN: str_append_s(out, r->mark ? "[hidden text removed]" : ""); break;
    case GUARD_IBAN:
    case GUARD_CARD:
    case GUARD_MIXED: /* as it is read */
        st = guard_text_new(p + f->from, f->to - f->from, &t, NULL, err);
        if (st == MUGA_OK && f->guard == GUARD_MIXED) {
            str_append(out, t.plain, t.n_plain);
        } else if (st == MUGA_OK) {
            put_stars(t.plain, t.n_plain, out);
        }
        if (st == MUGA_OK) {
            guard_text_release(&t);
        }
        break;
    default: str_append_s(out, f->guard < N_GUARDS ? words[f->guard] : "[removed]");
    }
    return st;
}

/* The text with every range masked whose guard says so; ranges are in order. */
static muga_status mask_found(const guard_rules *r, const char *p, size_t n, const guard_list *found, str *out,
                              muga_error *err) {
    muga_status st = MUGA_OK;
    size_t at = 0;
    for (size_t i = 0; st == MUGA_OK && i < found->n; i++) {
        const guard_found *f = &found->v[i];
        if (action_of(r, f->guard) != GUARD_MASK || f->to <= at) {
            continue;
        }
        guard_found rest = *f;
        rest.from = MAX(f->from, at);
        str_append(out, p + at, rest.from - at);
        st = f->from >= at ? put_masked(r, p, &rest, out, err) : MUGA_OK; /* else the one before told of it */
        at = f->to;
    }
    str_append(out, p + at, n - at);
    return st == MUGA_OK ? str_status(out, err, "a guarded text") : st;
}

/* ---- the verdict ---- */

static muga_status judge(const guard_rules *r, const guard_list *found, guard_verdict *out, muga_error *err) {
    for (size_t i = 0; i < found->n; i++) {
        const guard_found *f = &found->v[i];
        guard_action a = action_of(r, f->guard);
        const char *name = name_of(r, f->guard);
        if (a == GUARD_PASS) {
            continue;
        }
        json_t *v = json_pack("{s:s, s:s, s:I, s:I, s:s}", "guard", name, "what", f->what, "from", (json_int_t)f->from,
                              "to", (json_int_t)f->to, "action", guard_action_name(a));
        if (json_array_append_new(out->found, v) != 0) {
            return error_nomem(err, "what a guard found");
        }
        if (a > out->action) {
            out->action = a;
            out->guard = name;
            out->what = f->what;
            out->say = json_get_string(r->say, name);
        }
    }
    return MUGA_OK;
}

muga_status guard_check(const guard_set *g, guard_side side, const char *text, size_t n, guard_verdict *out,
                        muga_error *err) {
    const guard_rules *r = &g->side[side];
    guard_list found = {NULL, 0, 0};
    guard_text t;
    *out = (guard_verdict){.text = STR_INIT, .found = json_array()};
    muga_status st = out->found ? guard_text_new(text, n, &t, &found, err) : error_nomem(err, "a guard");
    if (st == MUGA_OK) {
        st = find_all(g, r, &t, &found, err);
        guard_text_release(&t);
    }
    if (st == MUGA_OK && found.n > 1) {
        qsort(found.v, found.n, sizeof *found.v, compare_found);
    }
    st = st == MUGA_OK ? judge(r, &found, out, err) : st;
    if (st == MUGA_OK && out->action <= GUARD_MASK) {
        st = mask_found(r, text, n, &found, &out->text, err);
    }
    free(found.v);
    if (st != MUGA_OK) {
        guard_verdict_release(out);
    }
    return st;
}

/* ---- results of tools ---- */

static muga_status guard_string(const guard_set *g, const json_t *v, const char *path, json_t **out, json_t *found,
                                muga_error *err) {
    guard_verdict verdict;
    muga_status st = guard_check(g, GUARD_RESULT, json_string_value(v), json_string_length(v), &verdict, err);
    if (st != MUGA_OK) {
        return st;
    }
    size_t i;
    json_t *f;
    json_array_foreach(verdict.found, i, f) {
        if (st == MUGA_OK && found &&
            (json_object_set_new(f, "path", json_string(path)) != 0 || json_array_append(found, f) != 0)) {
            st = error_nomem(err, "what a guard found");
        }
    }
    if (st == MUGA_OK) { /* what can't be masked is taken out whole: nobody can be asked about a result */
        bool whole = verdict.action > GUARD_MASK, same = verdict.action == GUARD_PASS;
        *out = same    ? json_incref(json_borrow(v))
               : whole ? json_string("[removed]")
                       : json_stringn(str_get(&verdict.text), verdict.text.len);
        st = *out ? MUGA_OK : error_nomem(err, "a guarded result");
    }
    guard_verdict_release(&verdict);
    return st;
}

static muga_status guard_value(const guard_set *g, const json_t *v, str *path, json_t **out, json_t *found,
                               muga_error *err) {
    const char *key;
    json_t *sub, *masked = NULL;
    if (json_is_string(v)) {
        return guard_string(g, v, str_get(path), out, found, err);
    }
    *out = json_is_object(v) ? json_object() : json_is_array(v) ? json_array() : json_incref(json_borrow(v));
    muga_status st = *out ? MUGA_OK : error_nomem(err, "a guarded result");
    size_t n_path = path->len;
    json_object_foreach(json_borrow(v), key, sub) {
        check_push_token(path, key);
        st = st == MUGA_OK ? str_status(path, err, "a path") : st;
        st = st == MUGA_OK ? guard_value(g, sub, path, &masked, found, err) : st;
        if (st == MUGA_OK && json_object_set_new(*out, key, masked) != 0) {
            st = error_nomem(err, "a guarded result");
        }
        str_truncate(path, n_path);
    }
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(v); i++) {
        str_printf(path, "/%zu", i);
        st = guard_value(g, json_array_get(v, i), path, &masked, found, err);
        if (st == MUGA_OK && json_array_append_new(*out, masked) != 0) {
            st = error_nomem(err, "a guarded result");
        }
        str_truncate(path, n_path);
    }
    if (st != MUGA_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}

muga_status guard_result(const guard_set *g, const json_t *result, json_t **out, json_t *found, muga_error *err) {
    str path = STR_INIT;
    muga_status st = guard_value(g, result, &path, out, found, err);
    str_release(&path);
    return st;
}

muga_status guard_is_grounded(const guard_set *g, const char *text, const json_t *texts, bool *ok, char which[64],
                              muga_error *err) {
    *ok = true;
    return g->side[GUARD_OUTPUT].strict ? guard_numbers_stand(text, texts, ok, which, err) : MUGA_OK;
}
