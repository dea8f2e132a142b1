/* Versions of an agent's adapter (versions.h). Owns: the files under adapters/, two tables, the records that tell of
 * them. Refuses: files that are no adapter or of another base, to use what the gate did not let through or what is not
 * what it was. */
#include "agent/versions.h"

#include "agent/internal.h"
#include "gguf/gguf.h"
#include "model/model.h"

#include <stdio.h>

#define ADAPTER_MAX_BYTES ((size_t)1 << 30)
#define KIND "adapter" /* of the audit records */

void adapter_version_release(adapter_version *v) {
    free(v->path);
    *v = (adapter_version){0};
}

/* ---- files ---- */

static muga_status folder_of(const versions *v, str *out, muga_error *err) {
    str_printf(out, "%s/adapters", v->home);
    return str_status(out, err, "a path");
}

static muga_status path_of(const versions *v, const char *hex, char **out, muga_error *err) {
    str path = STR_INIT;
    str_printf(&path, "%s/adapters/sha256-%s.gguf", v->home, hex);
    *out = str_take(&path);
    return *out ? MUGA_OK : error_nomem(err, "a path");
}

static void digest_of(const str *bytes, char hex[SHA256_HEX]) {
    uint8_t digest[SHA256_BYTES];
    sha256_of(str_get(bytes), bytes->len, digest);
    hex_write(digest, sizeof digest, hex);
}

/* An adapter, and for this base if it says for which. */
static muga_status check_adapter(const str *bytes, const char *base, muga_error *err) {
    gguf_file *f = NULL;
    span type;
    muga_status st = gguf_open_memory(str_get(bytes), bytes->len, &f, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = gguf_get_string(f, "general.type", &type, err);
    if (st == MUGA_E_NOT_FOUND || (st == MUGA_OK && !span_equal_string(type, "adapter"))) {
        st = error_set(err, MUGA_E_INPUT, "not an adapter (general.type); give what `muga train` wrote");
    }
    if (st == MUGA_OK) {
        muga_error why;
        st = model_adapter_check_base(f, base, &why);
        st = st == MUGA_OK ? st : error_set(err, st, "the adapter %s", why.message);
    }
    gguf_close(f);
    return st;
}

/* Invariant 1. A file that is there and is what its name says stays as it is. */
static muga_status keep_file(const versions *v, const str *bytes, const char *hex, muga_error *err) {
    const os_files *f = v->env->files;
    str folder = STR_INIT, there = STR_INIT;
    char *path = NULL, now[SHA256_HEX] = "";
    os_stat info;
    muga_status st = folder_of(v, &folder, err);
    st = st == MUGA_OK ? path_of(v, hex, &path, err) : st;
    st = st == MUGA_OK ? f->mkdirs(f->self, str_get(&folder), err) : st;
    st = st == MUGA_OK ? f->stat(f->self, path, &info, err) : st;
    if (st == MUGA_OK && info.type == OS_TYPE_FILE && info.size == bytes->len) {
        st = os_read_file(f, path, ADAPTER_MAX_BYTES, &there, err);
        digest_of(&there, now);
    }
    if (st == MUGA_OK && strcmp(now, hex) != 0) {
        st = os_write_file_atomic(f, path, str_get(bytes), bytes->len, err);
    }
    str_release(&there);
    str_release(&folder);
    free(path);
    return st;
}

/* ---- rows ---- */

static void copy_text(store_row *r, int column, char *out, size_t size) {
    const char *text = store_string(r, column);
    snprintf(out, size, "%s", text ? text : "");
}

/* Columns: version, state, sha256, base, parent. */
static void read_row(store_row *r, adapter_version *x) {
    x->version = store_int(r, 0);
    copy_text(r, 1, x->state, sizeof x->state);
    copy_text(r, 2, x->sha256, sizeof x->sha256);
    copy_text(r, 3, x->base, sizeof x->base);
    x->parent = store_int(r, 4);
}

static muga_status number_in_use(const versions *v, int64_t *version, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    *version = 0;
    muga_status st =
        store_query(v->store, &r, err, "SELECT version FROM adapter_current WHERE agent = ?", "s", v->agent);
    st = st == MUGA_OK ? store_step(r, &has, err) : st;
    if (st == MUGA_OK && has) {
        *version = store_int(r, 0);
    }
    store_done(r);
    return st;
}

/* *found false: there is none. */
static muga_status read_version(const versions *v, int64_t version, adapter_version *x, bool *found, muga_error *err) {
    static const char numbered[] = "SELECT version, state, sha256, base, parent FROM adapter_versions WHERE agent = ?"
                                   " AND version = ?";
    static const char newest[] = "SELECT version, state, sha256, base, parent FROM adapter_versions WHERE agent = ?"
                                 " AND state = 'candidate' ORDER BY version DESC LIMIT 1";
    store_row *r = NULL;
    *x = (adapter_version){.parent = -1};
    *found = version == 0;
    if (*found) {
        return MUGA_OK;
    }
    muga_status st = version == VERSIONS_CANDIDATE ? store_query(v->store, &r, err, newest, "s", v->agent)
                                                   : store_query(v->store, &r, err, numbered, "si", v->agent, version);
    st = st == MUGA_OK ? store_step(r, found, err) : st;
    if (st == MUGA_OK && *found) {
        read_row(r, x);
    }
    store_done(r);
    return st;
}

muga_status versions_find(const versions *v, int64_t version, adapter_version *out, muga_error *err) {
    bool found = false, in_use = version == VERSIONS_IN_USE;
    *out = (adapter_version){0};
    muga_status st = in_use ? number_in_use(v, &version, err) : MUGA_OK;
    st = st == MUGA_OK ? read_version(v, version, out, &found, err) : st;
    if (st == MUGA_OK && !found) {
        st = version == VERSIONS_CANDIDATE
                 ? error_set(err, MUGA_E_NOT_FOUND,
                             "%.64s has no candidate; make one with `muga agent learn`, or name an adapter's file",
                             v->agent)
                 : error_set(err, MUGA_E_NOT_FOUND,
                             "%.64s has no version %lld; `muga agent versions` shows those there are", v->agent,
                             (long long)version);
    }
    if (st == MUGA_OK && out->version > 0) {
        st = path_of(v, out->sha256, &out->path, err);
    }
    return st;
}

muga_status versions_check(const versions *v, const adapter_version *x, const char *base, muga_error *err) {
    str bytes = STR_INIT;
    char hex[SHA256_HEX];
    if (x->version == 0) {
        return MUGA_OK;
    }
    muga_error why;
    muga_status st = model_adapter_check_named(span_of_string(x->base), base, &why);
    if (st != MUGA_OK) {
        return error_set(err, st, "version %lld %s; roll back to 0", (long long)x->version, why.message);
    }
    st = os_read_file(v->env->files, x->path, ADAPTER_MAX_BYTES, &bytes, err);
    digest_of(&bytes, hex);
    str_release(&bytes);
    if (st == MUGA_OK && strcmp(hex, x->sha256) != 0) {
        st = error_set(err, MUGA_E_INPUT, "its file is damaged: %.64s", hex);
    }
    if (st == MUGA_OK || st == MUGA_E_NOMEM) {
        return st;
    }
    return error_prefix(err, st, "version %lld of %.64s", (long long)x->version, v->agent);
}

/* ---- changes: each with its record, in one transaction ---- */

/* Takes payload. */
static muga_status tell(const versions *v, json_t *payload, muga_error *err) {
    muga_status st = payload ? audit_write(v->env, v->store, NULL, KIND, payload, err)
                             : error_nomem(err, "an audit record");
    json_decref(payload);
    return st;
}

static muga_status find_file(const versions *v, const char *hex, const char *base, int64_t *version, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    muga_status st = store_query(v->store, &r, err,
                                 "SELECT coalesce(max(CASE WHEN sha256 = ? AND base = ? THEN version END), 0) FROM"
                                 " adapter_versions WHERE agent = ?",
                                 "sss", hex, base, v->agent);
    st = st == MUGA_OK ? store_step(r, &has, err) : st;
    *version = st == MUGA_OK && has ? store_int(r, 0) : 0;
    store_done(r);
    return st;
}

static muga_status next_number(const versions *v, int64_t *version, muga_error *err) {
    store_row *r = NULL;
    bool has = false;
    muga_status st = store_query(
        v->store, &r, err, "SELECT coalesce(max(version), 0) + 1 FROM adapter_versions WHERE agent = ?", "s", v->agent);
    st = st == MUGA_OK ? store_step(r, &has, err) : st;
    *version = st == MUGA_OK && has ? store_int(r, 0) : 0;
    store_done(r);
    return st;
}

static muga_status insert(const versions *v, const char *hex, const char *base, const char *origin, int64_t *version,
                          muga_error *err) {
    muga_status st = next_number(v, version, err);
    if (st == MUGA_OK) {
        st = store_exec(v->store, NULL, err,
                        "INSERT INTO adapter_versions(agent, version, sha256, base, origin, state, parent, created_ms)"
                        " VALUES (?, ?, ?, ?, ?, 'candidate', -1, ?)",
                        "sisssi", v->agent, *version, hex, base, origin, v->env->clock->now_ms(v->env->clock->self));
    }
    return st == MUGA_OK
               ? tell(v,
                      json_pack("{s:s, s:s, s:I, s:s, s:s, s:s}", "action", "add", "agent", v->agent, "version",
                                (json_int_t)*version, "sha256", hex, "base", base, "origin", origin),
                      err)
               : st;
}

muga_status versions_add(const versions *v, const char *path, const char *base, const char *origin, int64_t *version,
                         muga_error *err) {
    str bytes = STR_INIT;
    char hex[SHA256_HEX];
    *version = 0;
    muga_status st = os_read_file(v->env->files, path, ADAPTER_MAX_BYTES, &bytes, err);
    if (st == MUGA_OK) {
        digest_of(&bytes, hex);
        st = check_adapter(&bytes, base, err);
        st = st == MUGA_OK || st == MUGA_E_NOMEM ? st : error_prefix(err, st, "%.60s", path);
    }
    st = st == MUGA_OK ? keep_file(v, &bytes, hex, err) : st;
    str_release(&bytes);
    if (st == MUGA_OK) {
        st = store_begin(v->store, err);
        if (st == MUGA_OK) {
            st = find_file(v, hex, base, version, err);
            st = st == MUGA_OK && *version == 0 ? insert(v, hex, base, origin ? origin : path, version, err) : st;
            store_end(v->store, &st, err);
        }
    }
    return st;
}

static muga_status use(const versions *v, int64_t version, muga_error *err) {
    return store_exec(v->store, NULL, err,
                      "INSERT INTO adapter_current(agent, version) VALUES (?, ?) ON CONFLICT(agent) DO UPDATE SET"
                      " version = excluded.version",
                      "si", v->agent, version);
}

static muga_status decide(const versions *v, int64_t version, int64_t from, const json_t *gate, muga_error *err) {
    adapter_version x;
    int64_t now;
    bool found, yes = json_get_bool(gate, "ok", false);
    muga_status st = number_in_use(v, &now, err);
    if (st == MUGA_OK && now != from) {
        return error_set(err, MUGA_E_POLICY,
                         "compared with version %lld, and version %lld is in use meanwhile; promote again",
                         (long long)from, (long long)now);
    }
    st = st == MUGA_OK ? read_version(v, version, &x, &found, err) : st;
    if (st == MUGA_OK && (!found || version <= 0)) {
        st = error_set(err, MUGA_E_NOT_FOUND, "%.64s has no version %lld", v->agent, (long long)version);
    }
    if (st == MUGA_OK) {
        st = store_exec(v->store, NULL, err,
                        "UPDATE adapter_versions SET state = ?, parent = ? WHERE agent = ? AND version = ?", "sisi",
                        yes ? "promoted" : "refused", yes ? from : x.parent, v->agent, version);
    }
    st = st == MUGA_OK && yes ? use(v, version, err) : st;
    return st == MUGA_OK ? tell(v,
                                json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:O}", "action", yes ? "promote" : "refuse",
                                          "agent", v->agent, "version", (json_int_t)version, "sha256", x.sha256, "base",
                                          x.base, "from", (json_int_t)from, "gate", json_borrow(gate)),
                                err)
                         : st;
}

muga_status versions_decide(const versions *v, int64_t version, int64_t from, const json_t *gate, muga_error *err) {
    muga_status st = store_begin(v->store, err);
    if (st == MUGA_OK) {
        st = decide(v, version, from, gate, err);
        store_end(v->store, &st, err);
    }
    return st;
}

/* The nearest one before `now` that still counts as promoted; or 0, the manifest's own. A version may have been
 * promoted twice, so that the way back can come round: then there is none. */
static muga_status find_before(const versions *v, int64_t now, int64_t *to, muga_error *err) {
    adapter_version x = {.parent = now};
    int64_t n = 0, rounds = 0;
    bool found = true;
    muga_status st = next_number(v, &n, err);
    do {
        st = st == MUGA_OK ? read_version(v, x.parent, &x, &found, err) : st;
        found = found && (x.version == 0 ? x.parent == -1 : x.parent >= 0);
    } while (st == MUGA_OK && found && x.version > 0 && rounds++ < n &&
             (x.version == now || strcmp(x.state, "promoted") != 0));
    if (st == MUGA_OK && (now == 0 || !found || x.version == now || rounds > n)) {
        st = error_set(err, MUGA_E_NOT_FOUND, "%.64s has nothing to roll back to: version %lld is in use%s", v->agent,
                       (long long)now, now == 0 ? ", the manifest's own" : "; name one");
    }
    *to = x.version;
    return st;
}

static muga_status rollback(const versions *v, int64_t to, int64_t *now, muga_error *err) {
    adapter_version x;
    int64_t from;
    bool found = false;
    muga_status st = number_in_use(v, &from, err);
    if (st == MUGA_OK && to < 0) {
        st = find_before(v, from, &to, err);
    }
    st = st == MUGA_OK ? read_version(v, to, &x, &found, err) : st;
    if (st == MUGA_OK && !found) {
        st = error_set(err, MUGA_E_NOT_FOUND, "%.64s has no version %lld", v->agent, (long long)to);
    } else if (st == MUGA_OK && to == from) {
        st = error_set(err, MUGA_E_NOT_FOUND, "version %lld is in use already", (long long)to);
    } else if (st == MUGA_OK && to > 0 && strcmp(x.state, "promoted") != 0) {
        st = error_set(err, MUGA_E_POLICY, "version %lld is %s, not promoted; `muga agent promote` asks the gate",
                       (long long)to, x.state);
    }
    st = st == MUGA_OK ? use(v, to, err) : st;
    *now = to;
    return st == MUGA_OK ? tell(v,
                                json_pack("{s:s, s:s, s:I, s:I, s:s}", "action", "rollback", "agent", v->agent,
                                          "version", (json_int_t)to, "from", (json_int_t)from, "sha256", x.sha256),
                                err)
                         : st;
}

muga_status versions_rollback(const versions *v, int64_t to, int64_t *now, muga_error *err) {
    muga_status st = store_begin(v->store, err);
    if (st == MUGA_OK) {
        st = rollback(v, to, now, err);
        store_end(v->store, &st, err);
    }
    return st;
}

/* ---- lists ---- */

muga_status versions_list(const versions *v, json_t **out, muga_error *err) {
    static const char rows[] = "SELECT version, state, sha256, base, parent, origin, created_ms FROM adapter_versions"
                               " WHERE agent = ? ORDER BY version";
    store_row *r = NULL;
    int64_t now = 0;
    muga_status st = number_in_use(v, &now, err);
    json_t *list = st == MUGA_OK ? json_pack("[{s:i, s:b}]", "version", 0, "in_use", now == 0) : NULL;
    st = st == MUGA_OK && !list ? error_nomem(err, "a list") : st;
    st = st == MUGA_OK ? store_query(v->store, &r, err, rows, "s", v->agent) : st;
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        adapter_version x = {0};
        const char *origin = store_string(r, 5);
        read_row(r, &x);
        json_t *one = json_pack("{s:I, s:b, s:s, s:s, s:s, s:I, s:s, s:I}", "version", (json_int_t)x.version, "in_use",
                                x.version == now, "state", x.state, "sha256", x.sha256, "base", x.base, "parent",
                                (json_int_t)x.parent, "origin", origin ? origin : "", "created_ms",
                                (json_int_t)store_int(r, 6));
        st = json_array_append_new(list, one) == 0 ? MUGA_OK : error_nomem(err, "a list");
    }
    store_done(r);
    if (st == MUGA_OK) {
        *out = list;
    } else {
        json_decref(list);
    }
    return st;
}

/* Every record of kind `adapter`, in order. */
static muga_status walk(store *s, void (*visit)(void *ctx, const json_t *payload), void *ctx, muga_error *err) {
    store_row *r = NULL;
    muga_status st = store_query(
        s, &r, err,
        "SELECT p.payload FROM audit a JOIN audit_payload p ON p.n = a.n WHERE a.kind = '" KIND "' ORDER BY a.n", "");
    for (bool has = true; st == MUGA_OK;) {
        json_t *payload = NULL;
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = store_json(r, 0, &payload, err);
        if (st == MUGA_OK) {
            visit(ctx, payload);
        }
        json_decref(payload);
    }
    store_done(r);
    return st;
}

typedef struct tried {
    const char *agent, *held_out, *hex;
    json_t *others; /* object: the digests */
    bool ok;
} tried;

static void note_tried(void *ctx, const json_t *payload) {
    tried *t = ctx;
    const char *agent = json_get_string(payload, "agent"), *hex = json_get_string(payload, "sha256"),
               *held_out = json_get_string(json_object_get(payload, "gate"), "held_out");
    if (agent && hex && held_out && strcmp(agent, t->agent) == 0 && strcmp(held_out, t->held_out) == 0 &&
        strcmp(hex, t->hex) != 0) {
        t->ok = json_object_set_new(t->others, hex, json_true()) == 0 && t->ok;
    }
}

muga_status versions_count_tried(const versions *v, const char *held_out_sha256, const char *hex, size_t *n,
                                 muga_error *err) {
    tried t = {v->agent, held_out_sha256, hex, json_object(), true};
    muga_status st = t.others ? walk(v->store, note_tried, &t, err) : error_nomem(err, "a list");
    *n = json_object_size(t.others);
    json_decref(t.others);
    return st == MUGA_OK && !t.ok ? error_nomem(err, "a list") : st;
}

/* ---- tables against the chain ---- */

/* {agent: {"now": n, "versions": {"1": {"sha256", "base", "origin", "state", "parent"}}}} */
typedef struct telling {
    json_t *agents;
    bool ok;
} telling;

static json_t *agent_of(telling *t, const char *name) {
    json_t *a = json_object_get(t->agents, name);
    if (!a) {
        t->ok = json_object_set_new_nocheck(t->agents, name, json_pack("{s:i, s:{}}", "now", 0, "versions")) == 0 &&
                t->ok;
        a = json_object_get(t->agents, name);
    }
    return a;
}

static void note_record(void *ctx, const json_t *payload) {
    telling *t = ctx;
    const char *action = json_get_string(payload, "action"), *agent = json_get_string(payload, "agent");
    char key[24];
    snprintf(key, sizeof key, "%lld", (long long)json_get_int(payload, "version", -1));
    if (!action || !agent) {
        return;
    }
    json_t *a = agent_of(t, agent), *list = json_object_get(a, "versions"), *one = json_object_get(list, key);
    bool add = strcmp(action, "add") == 0, promote = strcmp(action, "promote") == 0,
         refuse = strcmp(action, "refuse") == 0;
    if (add) {
        one = json_pack("{s:O?, s:O?, s:O?, s:s, s:i}", "sha256", json_object_get(payload, "sha256"), "base",
                        json_object_get(payload, "base"), "origin", json_object_get(payload, "origin"), "state",
                        "candidate", "parent", -1);
        t->ok = json_object_set_new(list, key, one) == 0 && t->ok;
    } else if (promote || refuse) {
        t->ok = json_object_set_new(one, "state", json_string(promote ? "promoted" : "refused")) == 0 && t->ok;
    }
    if (promote) {
        t->ok = json_object_set(one, "parent", json_object_get(payload, "from")) == 0 && t->ok;
    }
    if (promote || strcmp(action, "rollback") == 0) {
        t->ok = json_object_set(a, "now", json_object_get(payload, "version")) == 0 && t->ok;
    }
}

/* A row that someone changed need not be UTF-8. */
static json_t *text_of(store_row *r, int column) {
    span text = store_text(r, column);
    return json_stringn_nocheck(text.p ? text.p : "", text.n);
}

static void note_row(telling *t, store_row *r) {
    const char *agent = store_string(r, 6);
    char key[24];
    snprintf(key, sizeof key, "%lld", (long long)store_int(r, 0));
    json_t *one = json_pack("{s:o, s:o, s:o, s:o, s:I}", "sha256", text_of(r, 2), "base", text_of(r, 3), "origin",
                            text_of(r, 5), "state", text_of(r, 1), "parent", (json_int_t)store_int(r, 4));
    json_t *list = json_object_get(agent_of(t, agent ? agent : ""), "versions");
    t->ok = json_object_set_new(list, key, one) == 0 && t->ok;
}

static void note_current(telling *t, store_row *r) {
    const char *agent = store_string(r, 0);
    json_t *a = agent_of(t, agent ? agent : "");
    t->ok = json_object_set_new(a, "now", json_integer(store_int(r, 1))) == 0 && t->ok;
}

static muga_status read_rows(store *s, const char *sql, void (*note)(telling *t, store_row *r), telling *t,
                             muga_error *err) {
    store_row *r = NULL;
    muga_status st = store_query(s, &r, err, sql, "");
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        note(t, r);
    }
    store_done(r);
    return st;
}

muga_status versions_check_tables(store *s, muga_error *err) {
    static const char all[] = "SELECT version, state, sha256, base, parent, origin, agent FROM adapter_versions"
                              " ORDER BY agent, version";
    telling told = {json_object(), true}, said = {json_object(), true};
    muga_status st = told.agents && said.agents ? walk(s, note_record, &told, err) : error_nomem(err, "the chain");
    st = st == MUGA_OK ? read_rows(s, all, note_row, &said, err) : st;
    st = st == MUGA_OK ? read_rows(s, "SELECT agent, version FROM adapter_current", note_current, &said, err) : st;
    if (st == MUGA_OK && (!told.ok || !said.ok)) {
        st = error_nomem(err, "the chain");
    }
    if (st == MUGA_OK && !json_equal(told.agents, said.agents)) {
        st = error_set(err, MUGA_E_NEGATIVE,
                       "%s: the versions of learned adapters in the tables are not those of the audit chain",
                       store_path(s));
    }
    json_decref(told.agents);
    json_decref(said.agents);
    return st;
}

muga_status versions_of_session(store *s, const char *session, int64_t *version, muga_error *err) {
    json_t *log = NULL;
    const audit_filter first = {session, 1, 1};
    muga_status st = audit_log(s, &first, &log, err);
    const json_t *info = json_object_get(json_object_get(json_array_get(log, 0), "payload"), "info");
    *version = json_get_int(json_object_get(info, "adapter"), "version", 0);
    json_decref(log);
    return st;
}
