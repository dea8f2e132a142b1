/* The manifest's `policy:` section, compiled. Owns: the struct policy_section. Refuses, by line: a rule for a tool that
 * isn't there, an expression that reads a name nobody gives, a right where no session value lists rights, a time that
 * is none. What a rule misses because of a misspelt word would be a hole that nobody sees. */
#include "agent/internal.h"

#include <stdio.h>

typedef struct reader {
    const agent_env *env;
    const manifest *m;
    const check_place *at;
    policy_section *p;
    muga_error *err;
    char pointer[96]; /* of the rule */
    uint64_t tools;   /* that the expression is for */
} reader;

static muga_status fail(const reader *r, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static muga_status fail(const reader *r, const char *key, const char *format, ...) {
    char where[160], text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(where, sizeof where, "%s%s%s", r->pointer, key[0] ? "/" : "", key);
    return check_fail(r->at, MUGA_E_INPUT, where, r->err, "%s", text);
}

/* ---- which tools ---- */

/* "all", "reads", "writes", or a tool's name. */
static muga_status add_tools(reader *r, const char *key, const char *word, uint64_t *out) {
    static const char *const groups[] = {"all", "reads", "writes"};
    const manifest_tool *named = manifest_tool_find(r->m, word);
    for (size_t g = 0; g < ARRAY_LEN(groups); g++) {
        if (strcmp(word, groups[g]) != 0) {
            continue;
        }
        if (named) {
            return fail(r, key, "'%s' is both a tool's name and a word of policy:; rename the tool", word);
        }
        for (size_t i = 0; i < r->m->n_tools; i++) {
            bool wanted = g == 0 || (r->m->tools[i].effect == EFFECT_WRITE) == (g == 2);
            *out |= wanted ? UINT64_C(1) << i : 0;
        }
        return MUGA_OK;
    }
    if (!named) {
        return fail(r, key, "'%.48s' is no tool, nor one of all, reads, writes", word);
    }
    *out |= UINT64_C(1) << (named - r->m->tools);
    return MUGA_OK;
}

static muga_status read_tools(reader *r, const char *key, const json_t *v, uint64_t *out) {
    muga_status st = MUGA_OK;
    *out = 0;
    if (json_is_string(v)) {
        return add_tools(r, key, json_string_value(v), out);
    }
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(v); i++) {
        st = add_tools(r, key, json_string_value(json_array_get(v, i)), out);
    }
    return st;
}

/* ---- expressions ---- */

typedef struct name_check {
    const reader *r;
    char text[160]; /* what is wrong */
} name_check;

static bool has_property(const json_t *schema, const char *name) {
    return !name || json_object_get(json_object_get(schema, "properties"), name);
}

static bool check_name(void *ctx, const char *root, const char *member) {
    name_check *c = ctx;
    const manifest *m = c->r->m;
    if (strcmp(root, "arguments") == 0) {
        for (size_t i = 0; i < m->n_tools; i++) {
            if ((c->r->tools >> i & 1) && !has_property(m->tools[i].parameters, member)) {
                snprintf(c->text, sizeof c->text, "tool %.48s has no parameter '%.48s'", m->tools[i].name, member);
                return false;
            }
        }
        return true;
    }
    bool session = strcmp(root, "session") == 0, state = strcmp(root, "state") == 0;
    if (!session && !state) {
        snprintf(c->text, sizeof c->text, "'%.48s' is not there; a rule sees arguments, session and state", root);
        return false;
    }
    if (!has_property(session ? m->session_schema : m->state_schema, member)) {
        snprintf(c->text, sizeof c->text, "%s: has no value '%.48s'", root, member);
        return false;
    }
    return true;
}

static muga_status read_expression(reader *r, const char *key, const char *source, const template_expression **out) {
    template_expression *e = NULL;
    muga_error why = {MUGA_OK, ""};
    name_check check = {.r = r};
    muga_status st = template_expression_compile(source, &e, &why);
    *out = e;
    if (st == MUGA_E_NOMEM) {
        return error_nomem(r->err, "a rule");
    }
    if (st != MUGA_OK) {
        return fail(r, key, "%.180s", why.message);
    }
    return template_expression_names(e, check_name, &check) ? MUGA_OK : fail(r, key, "%s", check.text);
}

/* ---- conditions ---- */

static muga_status read_zone(reader *r, const json_t *v, const char *key, zone **out) {
    const char *name = json_get_string(v, "zone");
    muga_error why = {MUGA_OK, ""};
    if (!name) {
        name = json_get_string(json_object_get(r->m->json, "policy"), "zone");
    }
    muga_status st = zone_open(r->env->files, name ? name : "UTC", out, &why);
    return st == MUGA_OK        ? MUGA_OK
           : st == MUGA_E_NOMEM ? error_nomem(r->err, "a zone")
                                : fail(r, key, "zone: %.180s", why.message);
}

static muga_status read_window(reader *r, const json_t *rule, const char *key, bool *has, policy_window *out) {
    const json_t *v = json_object_get(rule, key);
    const char *what = NULL;
    *has = v != NULL;
    if (!v) {
        return MUGA_OK;
    }
    if (!policy_window_read(json_get_string(v, "hours"), json_object_get(v, "days"), out, &what)) {
        return fail(r, key, "'%.40s' is no hours like 08:00-18:00, nor a day like mon", what ? what : "");
    }
    return read_zone(r, v, key, &out->zone);
}

static muga_status read_right(reader *r, const json_t *rule, const char *key, const char **out) {
    *out = json_get_string(rule, key);
    return !*out || r->p->rights
               ? MUGA_OK
               : fail(r, key, "needs policy.rights: the session value that lists the session's rights");
}

static muga_status read_rule(reader *r, const json_t *rule, policy_rule *out) {
    static const char *const verdicts[] = {"allow", "ask", "deny"};
    const char *key = NULL;
    for (size_t v = 0; v < ARRAY_LEN(verdicts); v++) {
        if (json_object_get(rule, verdicts[v])) {
            if (key) {
                return fail(r, "", "has both %s and %s; make two rules of it", key, verdicts[v]);
            }
            key = verdicts[v];
            out->verdict = (policy_verdict)v;
        }
    }
    if (!key) {
        return fail(r, "", "needs allow, ask or deny, with the tools it is for");
    }
    muga_status st = read_tools(r, key, json_object_get(rule, key), &out->tools);
    r->tools = out->tools;
    const char *when = json_get_string(rule, "when");
    if (st == MUGA_OK && when) {
        st = read_expression(r, "when", when, &out->when);
    }
    st = st == MUGA_OK ? read_right(r, rule, "right", &out->right) : st;
    st = st == MUGA_OK ? read_right(r, rule, "without", &out->without) : st;
    st = st == MUGA_OK ? read_window(r, rule, "within", &out->has_within, &out->within) : st;
    return st == MUGA_OK ? read_window(r, rule, "outside", &out->has_outside, &out->outside) : st;
}

/* ---- budgets ---- */

static muga_status read_per(reader *r, const json_t *per, policy_budget *out) {
    size_t n = json_is_array(per) ? json_array_size(per) : 1;
    for (size_t i = 0; i < n; i++) {
        const char *word = json_string_value(json_is_array(per) ? json_array_get(per, i) : per);
        out->per_session = out->per_session || strcmp(word, "session") == 0;
        out->per_subject = out->per_subject || strcmp(word, "subject") == 0;
        out->per_day = out->per_day || strcmp(word, "day") == 0;
    }
    return !out->per_subject || r->p->subject
               ? MUGA_OK
               : fail(r, "per",
                      "needs policy.subject (or learning.subject): the session values that say who a person is");
}

/* A sum is of numbers: what else a parameter might hold could not be added up. */
static muga_status check_summed(reader *r, const policy_budget *b) {
    for (size_t i = 0; i < r->m->n_tools; i++) {
        const json_t *schema = json_object_get(json_object_get(r->m->tools[i].parameters, "properties"), b->argument);
        const char *type = json_get_string(schema, "type");
        if ((b->tools >> i & 1) && (!type || (strcmp(type, "integer") != 0 && strcmp(type, "number") != 0))) {
            return fail(r, "sum", "tool %.48s has no parameter '%.48s' of type integer or number", r->m->tools[i].name,
                        b->argument);
        }
    }
    return MUGA_OK;
}

static muga_status read_budget(reader *r, const json_t *budget, policy_budget *out) {
    const json_t *calls = json_object_get(budget, "calls"), *rows = json_object_get(budget, "rows"),
                 *sum = json_object_get(budget, "sum"), *most = json_object_get(budget, "most");
    const char *otherwise = json_get_string(budget, "otherwise");
    if ((calls != NULL) + (rows != NULL) + (sum != NULL) != 1 || (sum != NULL) != (most != NULL)) {
        return fail(r, "", "needs one of calls: N, rows: N, or sum: PARAMETER with most: N");
    }
    out->measure = calls ? BUDGET_CALLS : rows ? BUDGET_ROWS : BUDGET_SUM;
    out->most = json_number_value(calls ? calls : rows ? rows : most);
    out->argument = json_string_value(sum);
    out->verdict = otherwise && strcmp(otherwise, "ask") == 0 ? POLICY_ASK : POLICY_DENY;
    muga_status st = read_tools(r, "tools", json_object_get(budget, "tools"), &out->tools);
    st = st == MUGA_OK ? read_per(r, json_object_get(budget, "per"), out) : st;
    st = st == MUGA_OK && sum ? check_summed(r, out) : st;
    return st == MUGA_OK ? read_zone(r, budget, "zone", &out->zone) : st;
}

/* ---- the section ---- */

static policy_verdict verdict_of(const char *word, policy_verdict otherwise) {
    return !word                        ? otherwise
           : strcmp(word, "allow") == 0 ? POLICY_ALLOW
           : strcmp(word, "ask") == 0   ? POLICY_ASK
                                        : POLICY_DENY;
}

static muga_status read_subject(reader *r, const json_t *section) {
    policy_section *p = r->p;
    p->subject = json_object_get(section, "subject");
    for (size_t i = 0; i < json_array_size(p->subject); i++) {
        const char *name = json_string_value(json_array_get(p->subject, i));
        if (!has_property(r->m->session_schema, name)) {
            return fail(r, "subject", "'%.48s' is no value of session:", name);
        }
    }
    if (!p->subject) {
        p->subject = json_object_get(r->m->learning, "subject");
    }
    return MUGA_OK;
}

static muga_status read_section(reader *r, const json_t *section) {
    policy_section *p = r->p;
    zone *unused = NULL;
    snprintf(r->pointer, sizeof r->pointer, "/policy");
    p->otherwise = verdict_of(json_get_string(section, "otherwise"), POLICY_ALLOW);
    const char *after = json_get_string(section, "after_untrusted");
    p->after_untrusted = !after || strcmp(after, "prove") == 0 ? AFTER_UNTRUSTED_PROVE
                         : strcmp(after, "ask") == 0           ? AFTER_UNTRUSTED_ASK
                                                               : AFTER_UNTRUSTED_DENY;
    p->rights = json_get_string(section, "rights");
    if (p->rights && !has_property(r->m->session_schema, p->rights)) {
        return fail(r, "rights", "'%.48s' is no value of session:", p->rights);
    }
    muga_status st = read_zone(r, section, "zone", &unused);
    zone_free(unused);
    st = st == MUGA_OK ? read_subject(r, section) : st;
    const json_t *rules = json_object_get(section, "rules"), *budgets = json_object_get(section, "budgets");
    p->rules = mem_alloc_array(json_array_size(rules), sizeof *p->rules);
    p->budgets = mem_alloc_array(json_array_size(budgets), sizeof *p->budgets);
    if (!p->rules || !p->budgets) {
        return error_nomem(r->err, "rules");
    }
    p->n_rules = json_array_size(rules);
    p->n_budgets = json_array_size(budgets);
    for (size_t i = 0; st == MUGA_OK && i < p->n_rules; i++) {
        snprintf(r->pointer, sizeof r->pointer, "/policy/rules/%zu", i);
        st = read_rule(r, json_array_get(rules, i), &p->rules[i]);
    }
    for (size_t i = 0; st == MUGA_OK && i < p->n_budgets; i++) {
        snprintf(r->pointer, sizeof r->pointer, "/policy/budgets/%zu", i);
        st = read_budget(r, json_array_get(budgets, i), &p->budgets[i]);
    }
    return st;
}

muga_status policy_read(const agent_env *env, const manifest *m, const check_place *at, policy_section **out,
                        muga_error *err) {
    const json_t *section = json_object_get(m->json, "policy");
    *out = NULL;
    if (!section) {
        return MUGA_OK;
    }
    policy_section *p = calloc(1, sizeof *p);
    if (!p) {
        return error_nomem(err, "a policy");
    }
    reader r = {.env = env, .m = m, .at = at, .p = p, .err = err};
    muga_status st = read_section(&r, section);
    if (st == MUGA_OK) {
        *out = p;
    } else {
        policy_free(p);
    }
    return st;
}

void policy_free(policy_section *p) {
    if (!p) {
        return;
    }
    for (size_t i = 0; i < p->n_rules; i++) {
        union {
            const template_expression *in;
            template_expression *out;
        } u = {p->rules[i].when};
        template_expression_free(u.out);
        zone_free(p->rules[i].within.zone);
        zone_free(p->rules[i].outside.zone);
    }
    for (size_t i = 0; i < p->n_budgets; i++) {
        zone_free(p->budgets[i].zone);
    }
    free(p->rules);
    free(p->budgets);
    free(p);
}
