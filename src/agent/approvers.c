/* Who may say yes (approvers.h). Owns: reading the operator's file, who began a session. Refuses: whoever holds none of
 * the roles; a file that lies where the agent's author or its tools write; to guess, where the file is missing or
 * wrong, or nobody knows who began the session.
 *
 * Idea: the manifest says which role it takes, since that is part of the policy, and so of every approval's binding.
 * Who holds the role is said elsewhere, by the operator, and read anew at each yes: an agent's folder can't make its
 * author an approver, and whoever loses a role has lost it at once. */
#include "agent/approvers.h"

#include "os/sandbox.h"

#include <stdio.h>

#define MAX_FILE_BYTES ((size_t)1 << 20)

/* ---- what the manifest says ---- */

typedef struct rule {
    const json_t *by; /* roles, of which one is needed; NULL: anyone */
    bool not_requester;
} rule;

static rule rule_of(const manifest *m, const manifest_tool *t) {
    const json_t *own = json_object_get(t->json, "approval"), *section = json_object_get(m->json, "approvals");
    const json_t *by = json_object_get(own, "by");
    rule r = {by ? by : json_object_get(section, "by"), json_object_get(own, "not") || json_object_get(section, "not")};
    return r;
}

const json_t *approvers_roles(const manifest *m, const manifest_tool *t) {
    return rule_of(m, t).by;
}

/* ---- the operator's file ---- */

static bool is_within(const char *path, const char *folder) {
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static muga_status refuse_own_folder(const manifest *m, const char *path, muga_error *err) {
    const char *const folders[] = {m->dir, m->data_dir};
    str real = STR_INIT;
    muga_status st = os_real_path(path, &real, err);
    for (size_t i = 0; st == MUGA_OK && i < ARRAY_LEN(folders); i++) {
        str folder = STR_INIT;
        if (os_real_path(folders[i], &folder, NULL) == MUGA_OK && is_within(str_get(&real), str_get(&folder))) {
            st = error_set(err, MUGA_E_POLICY,
                           "%.150s lies in the agent's own folder; move it to one of the operator's", path);
        }
        str_release(&folder);
    }
    str_release(&real);
    return st;
}

static muga_status check_holders(const char *path, const json_t *holders, muga_error *err) {
    const char *user;
    json_t *roles;
    bool ok = json_is_object(holders);
    json_object_foreach(json_borrow(holders), user, roles) {
        ok = ok && json_is_array(roles);
        for (size_t i = 0; ok && i < json_array_size(roles); i++) {
            ok = json_is_string(json_array_get(roles, i));
        }
        if (!ok) {
            return error_set(err, MUGA_E_INPUT, "%.120s: key %.40s: must be a list of roles, like [manager]", path,
                             user);
        }
    }
    return ok ? MUGA_OK : error_set(err, MUGA_E_INPUT, "%.150s: must say USER: [ROLE, ...]", path);
}

/* The one of approvers.yaml and approvers.json that is there. */
static muga_status find_file(const agent_env *env, str *path, muga_error *err) {
    static const char *const names[] = {"yaml", "json"};
    const os_files *f = env->files;
    if (!env->approvers) {
        return error_set(err, MUGA_E_POLICY, "this program knows no file of approvers");
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        str one = STR_INIT;
        os_stat info = {.type = OS_TYPE_NONE};
        str_printf(&one, "%s/approvers.%s", env->approvers, names[i]);
        muga_status st = str_status(&one, err, "a path");
        st = st == MUGA_OK ? f->stat(f->self, str_get(&one), &info, err) : st;
        if (st == MUGA_OK && info.type != OS_TYPE_NONE) {
            if (path->len > 0) {
                st = error_set(err, MUGA_E_POLICY,
                               "%.120s: both approvers.yaml and approvers.json are there; remove one", env->approvers);
            }
            str_append_s(path, str_get(&one));
        }
        str_release(&one);
        if (st != MUGA_OK) {
            return st;
        }
    }
    return path->len > 0 ? str_status(path, err, "a path")
                         : error_set(err, MUGA_E_POLICY,
                                     "%.120s/approvers.yaml is not there; the operator writes USER: [ROLE] in it",
                                     env->approvers);
}

/* {USER: [ROLE, ...]}; new reference. */
static muga_status read_holders(const agent_env *env, const manifest *m, json_t **out, muga_error *err) {
    str path = STR_INIT, text = STR_INIT;
    json_t *holders = NULL;
    muga_status st = find_file(env, &path, err);
    st = st == MUGA_OK ? refuse_own_folder(m, str_get(&path), err) : st;
    st = st == MUGA_OK ? os_read_file(env->files, str_get(&path), MAX_FILE_BYTES, &text, err) : st;
    st = st == MUGA_OK ? yaml_parse(str_get(&text), text.len, strrchr(str_get(&path), '/') + 1, &holders, NULL, err)
                       : st;
    st = st == MUGA_OK ? check_holders(str_get(&path), holders, err) : st;
    str_release(&text);
    str_release(&path);
    if (st == MUGA_OK) {
        *out = holders;
    } else {
        json_decref(holders);
    }
    return st;
}

static bool is_among(const json_t *list, const char *word) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), word) == 0) {
            return true;
        }
    }
    return false;
}

static bool holds_one(const json_t *roles, const json_t *by) {
    for (size_t i = 0; i < json_array_size(by); i++) {
        if (is_among(roles, json_string_value(json_array_get(by, i)))) {
            return true;
        }
    }
    return false;
}

/* ---- who began the session ---- */

/* Of the session and of those around it: for an agent within, the person who began the conversation. */
static muga_status find_requesters(store *s, const char *session, json_t **out, muga_error *err) {
    static const char sql[] =
        "WITH RECURSIVE line(id) AS (VALUES(?1) UNION SELECT o.parent FROM session_origins o JOIN line ON o.session ="
        " line.id WHERE o.parent IS NOT NULL) SELECT DISTINCT o.requester FROM session_origins o WHERE o.session IN"
        " line AND o.requester IS NOT NULL ORDER BY 1";
    store_row *r = NULL;
    json_t *list = json_array();
    muga_status st = list ? store_query(s, &r, err, sql, "s", session) : error_nomem(err, "approvers");
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = json_array_append_new(list, json_string(store_string(r, 0))) == 0 ? MUGA_OK
                                                                               : error_nomem(err, "approvers");
    }
    store_done(r);
    if (st == MUGA_OK) {
        *out = list;
    } else {
        json_decref(list);
    }
    return st;
}

/* ---- the verdict ---- */

static void write_roles(const json_t *by, char *out, size_t size) {
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < json_array_size(by) && n < size; i++) {
        int k = snprintf(out + n, size - n, "%s%s", i > 0 ? ", " : "", json_string_value(json_array_get(by, i)));
        n += k > 0 ? (size_t)k : 0;
    }
}

static muga_status check_role(const agent_env *env, const manifest *m, const journal_call *c, const json_t *by,
                              const char *approver, muga_error *err) {
    json_t *holders = NULL;
    muga_error why;
    char roles[80];
    muga_status st = read_holders(env, m, &holders, &why);
    if (st == MUGA_E_NOMEM) {
        return error_nomem(err, "approvers");
    }
    write_roles(by, roles, sizeof roles);
    if (st != MUGA_OK) {
        st = error_set(err, MUGA_E_POLICY, "%.40s takes a yes of %.40s: %.150s", c->tool, roles, why.message);
    } else if (!holds_one(json_object_get(holders, approver), by)) {
        st = error_set(err, MUGA_E_POLICY,
                       "%.60s can't approve %.60s: it takes the role %.70s, said in approvers.yaml by the operator",
                       approver, c->tool, roles);
    }
    json_decref(holders);
    return st;
}

static muga_status check_requester(store *s, const journal_call *c, const char *approver, muga_error *err) {
    json_t *who = NULL;
    muga_status st = find_requesters(s, c->session, &who, err);
    if (st == MUGA_OK && json_array_size(who) == 0) {
        st = error_set(err, MUGA_E_POLICY,
                       "%.60s takes a yes of another than who asked, and who began session %s is"
                       " not known",
                       c->tool, c->session);
    } else if (st == MUGA_OK && is_among(who, approver)) {
        st = error_set(err, MUGA_E_POLICY, "%.60s began the session, so another must approve %.60s", approver, c->tool);
    }
    json_decref(who);
    return st;
}

muga_status approvers_check(const agent_env *env, store *s, const manifest *m, const journal_call *c,
                            const char *approver, muga_error *err) {
    const manifest_tool *t = manifest_tool_find(m, c->tool);
    rule r = t ? rule_of(m, t) : (rule){NULL, false};
    if (env->rehearses || (!r.by && !r.not_requester)) {
        return MUGA_OK;
    }
    if (strcmp(approver, APPROVER_DEMO) == 0) {
        return error_set(err, MUGA_E_POLICY, "%.60s says who may approve it, and %s is nobody", c->tool, approver);
    }
    muga_status st = r.by ? check_role(env, m, c, r.by, approver, err) : MUGA_OK;
    return st == MUGA_OK && r.not_requester ? check_requester(s, c, approver, err) : st;
}

/* ---- for the list ---- */

/* The users whom read_holders gives a role of `by`, but for those in `barred`. */
static muga_status name_users(const json_t *holders, const json_t *by, const json_t *barred, json_t *out,
                              muga_error *err) {
    const char *user;
    json_t *roles;
    json_object_foreach(json_borrow(holders), user, roles) {
        if (holds_one(roles, by) && !is_among(barred, user) && json_array_append_new(out, json_string(user)) != 0) {
            return error_nomem(err, "approvers");
        }
    }
    return MUGA_OK;
}

static muga_status describe_roles(const agent_env *env, const manifest *m, const json_t *by, const json_t *barred,
                                  json_t *out, muga_error *err) {
    muga_error why;
    json_t *holders = NULL, *users = json_array();
    muga_status st = users ? read_holders(env, m, &holders, &why) : MUGA_E_NOMEM;
    if (st == MUGA_E_NOMEM) {
        st = error_nomem(err, "approvers");
    } else if (st != MUGA_OK) {
        st = json_object_set_new(out, "problem", json_string(why.message)) == 0 ? MUGA_OK
                                                                                : error_nomem(err, "approvers");
    } else {
        st = name_users(holders, by, barred, users, err);
    }
    if (st == MUGA_OK &&
        (json_object_set(out, "roles", json_borrow(by)) != 0 || json_object_set(out, "users", users) != 0)) {
        st = error_nomem(err, "approvers");
    }
    json_decref(users);
    json_decref(holders);
    return st;
}

muga_status approval_who(const agent_env *env, store *s, const manifest *m, const char *tool, const char *session,
                         json_t **out, muga_error *err) {
    const manifest_tool *t = manifest_tool_find(m, tool);
    rule r = t ? rule_of(m, t) : (rule){NULL, false};
    json_t *who = NULL, *barred = NULL;
    *out = NULL;
    if (!r.by && !r.not_requester) {
        return MUGA_OK;
    }
    muga_status st = r.not_requester ? find_requesters(s, session, &barred, err) : MUGA_OK;
    if (st == MUGA_OK) {
        who = json_object();
        st = who && (!barred || json_object_set(who, "not", barred) == 0) ? MUGA_OK : error_nomem(err, "approvers");
    }
    st = st == MUGA_OK && r.by ? describe_roles(env, m, r.by, barred, who, err) : st;
    json_decref(barred);
    if (st == MUGA_OK) {
        *out = who;
    } else {
        json_decref(who);
    }
    return st;
}
