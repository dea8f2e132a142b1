/* Patterns for the validator. Owns: the automaton or the compiled PCRE2 pattern. Refuses: what PCRE2 refuses
 * (look-behind of no fixed length), counts past its limit, and matches that take more than the caller's steps.
 *
 * Idea: PCRE2 never sees the pattern as it was written. Our parser reads it and the tree is written out in terms that
 * mean the same in both: classes as ranges, groups by number. Steps are counted by callouts, one before each item, so
 * the budget is the same on every machine. */
#include "constrain/matcher.h"

#include "constrain/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MAX_TEXT ((size_t)1 << 20) /* of a pattern written out */
#define MAX_COUNT 65535u           /* PCRE2's largest */
#define MAX_HEAP_KIB 65536u
#define BYTE_WORK 8u /* steps that a byte written out and read by PCRE2 is worth */

struct matcher {
    dfa *d; /* NULL: `code` */
    pcre2_code *code;
};

/* ---- the tree, written for PCRE2 ---- */

static void write_range(str *out, uint32_t lo, uint32_t hi) {
    if (lo <= hi)
        str_printf(out, "\\x{%x}-\\x{%x}", lo, hi);
}

static void write_set(const cp_set *s, str *out) {
    size_t begin = out->len;
    str_append_c(out, '[');
    for (size_t i = 0; i < s->n; i++) { /* PCRE2 takes no surrogates */
        write_range(out, s->r[i].lo, MIN(s->r[i].hi, 0xD7FFu));
        write_range(out, MAX(s->r[i].lo, 0xE000u), s->r[i].hi);
    }
    str_append_c(out, ']');
    if (out->len == begin + 2) { /* nothing fits */
        str_truncate(out, begin);
        str_append_s(out, "(?!)");
    }
}

static bool write_node(const re_node *x, str *out);

static bool write_children(const re_node *x, const char *open, const char *between, str *out) {
    bool ok = true;
    str_append_s(out, open);
    for (const re_node *c = x->first; c && ok; c = c->next) {
        if (c != x->first)
            str_append_s(out, between);
        ok = write_node(c, out);
    }
    str_append_c(out, ')');
    return ok;
}

/* PCRE2 copies a group as often as it counts, but not a class. */
static bool write_repeat(const re_node *x, str *out) {
    if (x->min > MAX_COUNT || (x->max != RE_INF && x->max > MAX_COUNT))
        return false;
    if (x->first->kind == RE_SET && x->first == x->last && x->first->set.n > 0)
        write_set(&x->first->set, out);
    else if (!write_children(x, "(?:", "", out))
        return false;
    str_printf(out, "{%u,", x->min);
    if (x->max != RE_INF)
        str_printf(out, "%u", x->max);
    str_append_s(out, x->lazy ? "}?" : "}");
    return true;
}

/* false: PCRE2 has no such thing. Recursion as deep as the pattern's groups. */
static bool write_node(const re_node *x, str *out) {
    static const char *const look[2][2] = {{"(?=", "(?!"}, {"(?<=", "(?<!"}};
    if (out->len > MAX_TEXT)
        return false;
    switch (x->kind) {
    case RE_EMPTY: return true;
    case RE_SET: write_set(&x->set, out); return true;
    case RE_CAT: return write_children(x, "(?:", "", out);
    case RE_ALT: return write_children(x, "(?:", "|", out);
    case RE_REPEAT: return write_repeat(x, out);
    case RE_GROUP: return write_children(x, "(", "", out);
    case RE_BACK: str_printf(out, "\\g{%u}", x->min); return true;
    case RE_BEGIN: str_append_s(out, "\\A"); return true;
    case RE_END: str_append_s(out, "\\z"); return true;
    case RE_WORD: str_append_s(out, "\\b"); return true;
    case RE_NOT_WORD: str_append_s(out, "\\B"); return true;
    case RE_LOOK: return write_children(x, look[x->behind][x->negated], "", out);
    }
    return false;
}

static muga_status compile(const re_tree *t, regex_mode mode, uint64_t *work, pcre2_code **out, muga_error *err) {
    str text = STR_INIT;
    int code;
    PCRE2_SIZE where;
    PCRE2_UCHAR why[80] = "a count or the pattern is too large";
    if (mode == REGEX_WHOLE)
        str_append_s(&text, "\\A");
    bool ok = write_node(t->root, &text);
    if (mode == REGEX_WHOLE)
        str_append_s(&text, "\\z");
    muga_status st = str_status(&text, err, "a pattern");
    uint64_t cost = BYTE_WORK * (uint64_t)text.len;
    if (st == MUGA_OK && *work < cost)
        st = error_set(err, MUGA_E_LIMIT, "pattern: takes more work to compile than the budget allows; simplify it");
    *work -= MIN(*work, cost);
    if (st == MUGA_OK && ok) {
        uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_AUTO_CALLOUT | PCRE2_MATCH_UNSET_BACKREF;
        *out = pcre2_compile((PCRE2_SPTR)str_get(&text), text.len, options, &code, &where, NULL);
        if (!*out)
            pcre2_get_error_message(code, why, sizeof why);
        if (!*out && code == PCRE2_ERROR_HEAP_FAILED)
            st = error_nomem(err, "a pattern");
    }
    str_release(&text);
    if (st == MUGA_OK && !*out)
        st = error_set(err, MUGA_E_INPUT, "pattern: can't be evaluated: %s", (const char *)why);
    return st;
}

/* ---- matching ---- */

static int count_step(pcre2_callout_block *block, void *work) {
    (void)block;
    uint64_t *left = work;
    if (*left == 0)
        return PCRE2_ERROR_CALLOUT;
    --*left;
    return 0;
}

static muga_status match(const matcher *m, const char *s, size_t n, uint64_t *work, bool *yes, muga_error *err) {
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    muga_status st = MUGA_OK;
    *yes = false;
    if (!data || !limits) {
        st = error_nomem(err, "a pattern");
    } else {
        pcre2_set_callout(limits, count_step, work);
        pcre2_set_heap_limit(limits, MAX_HEAP_KIB);
        int rc = pcre2_match(m->code, (PCRE2_SPTR)s, n, 0, PCRE2_NO_UTF_CHECK, data, limits);
        *yes = rc >= 0;
        if (rc == PCRE2_ERROR_NOMEMORY)
            st = error_nomem(err, "a pattern");
        else if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
            st = error_set(err, MUGA_E_LIMIT,
                           "pattern: takes more steps on this text than the budget allows; simplify it");
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    return st;
}

muga_status matcher_test(const matcher *m, const char *s, size_t n, uint64_t *work, bool *yes, muga_error *err) {
    if (!m->d)
        return match(m, s, n, work, yes, err);
    *yes = dfa_match(m->d, s, n);
    return MUGA_OK;
}

muga_status matcher_new(const char *p, size_t n, regex_mode mode, uint64_t *work, matcher **out, muga_error *err) {
    matcher *m = *out = mem_alloc_array(1, sizeof *m);
    muga_error first = {0}, second = {0};
    re_tree t;
    if (!m)
        return error_nomem(err, "a pattern");
    uint64_t half = *work - *work / 2, given = half; /* one pattern that explodes leaves something to the others */
    muga_status st = regex_compile(p, n, mode, &half, &m->d, &first);
    *work -= given - half;
    if ((st == MUGA_E_INPUT || st == MUGA_E_LIMIT) && regex_parse(p, n, work, &t, &second) == MUGA_OK) {
        bool irregular = t.irregular != NULL;
        muga_status other = compile(&t, mode, work, &m->code, &second);
        regex_tree_release(&t);
        if (other == MUGA_OK || other == MUGA_E_NOMEM || irregular) {
            st = other;
            first = second;
        }
    }
    if (st == MUGA_OK)
        return MUGA_OK;
    matcher_free(m);
    *out = NULL;
    if (err)
        *err = first;
    return st;
}

muga_status matcher_can(const char *p, size_t n, regex_mode mode, uint64_t *work, muga_error *err) {
    re_tree t;
    pcre2_code *code = NULL;
    matcher *m = NULL;
    muga_error ignored = {0};
    muga_status st = regex_parse(p, n, work, &t, err);
    if (st != MUGA_OK)
        return st;
    st = compile(&t, mode, work, &code, &ignored);
    regex_tree_release(&t);
    pcre2_code_free(code);
    if (st == MUGA_OK || st == MUGA_E_NOMEM)
        return st == MUGA_OK ? st : error_nomem(err, "a pattern");
    st = matcher_new(p, n, mode, work, &m, err); /* counts that only an automaton can have */
    matcher_free(m);
    return st;
}

muga_status matcher_check(const char *p, size_t n, uint64_t *work, muga_error *err) {
    re_tree t;
    muga_status st = regex_parse(p, n, work, &t, err);
    if (st == MUGA_OK)
        regex_tree_release(&t);
    return st;
}

void matcher_free(matcher *m) {
    if (!m)
        return;
    dfa_free(m->d);
    pcre2_code_free(m->code);
    free(m);
}
