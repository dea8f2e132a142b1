/* muga audit: read the record, check its chain, recompute its decisions. */
#include "agent/agent.h"
#include "cmd/cmd.h"
#include "kernel/kernel.h"
#include "llm/llm.h"

#include <time.h>

#define ADAPTER_MAX_BYTES ((size_t)1 << 30)

/* ---- log ---- */

static void format_time(int64_t ms, char out[32]) {
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%d %H:%M:%SZ", &tm);
}

/* A record's payload on one line, without the evidence (ids by the thousand) and fit for a terminal. */
static void print_record(const json_t *r) {
    char when[32];
    str text = STR_INIT, line = STR_INIT;
    json_t *payload = json_clone(json_object_get(r, "payload"));
    const char *session = json_get_string(r, "session");
    if (payload)
        json_object_del(payload, "evidence");
    format_time(json_get_int(r, "at_ms", 0), when);
    if (payload)
        json_write(payload, &text);
    else
        str_append_s(&text, "(erased)");
    cmd_write_visible(str_get(&text), text.len, &line);
    printf("%6lld  %s  %-13s  %-14s  %s\n", (long long)json_get_int(r, "n", 0), when, json_get_string(r, "kind"),
           session ? session : "-", str_get(&line));
    json_decref(payload);
    str_release(&line);
    str_release(&text);
}

/* A misspelt session must not look like one without records. */
static muga_status check_session(store *s, const char *session, muga_error *err) {
    const audit_filter any = {session, 1, 1};
    json_t *list = NULL;
    muga_status st = session ? audit_log(s, &any, &list, err) : MUGA_OK;
    if (!st && session && json_array_size(list) == 0)
        st = error_set(err, MUGA_E_NOT_FOUND,
                       "no session '%.60s' in the record; `muga audit log` shows those there are", session);
    json_decref(list);
    return st;
}

int cmd_audit_log(int argc, char **argv) {
    bool as_json = false;
    const char *session = NULL;
    uint32_t from = 1, max = 0;
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &as_json, NULL, "an array of records, evidence included"},
                                  {"--session", 0, CMD_STRING, &session, "ID", "only this session"},
                                  {"--from", 0, CMD_U32, &from, "N", "begin at record N"},
                                  {"--max", 'n', CMD_U32, &max, "COUNT", "at most COUNT records"}};
    cmd_positional p = {.max = 0};
    muga_error err = {0};
    store *s = NULL;
    json_t *list = NULL, *r;
    size_t i;
    int code = cmd_parse("audit log", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    audit_filter f = {session, from, max};
    muga_status st = cmd_open_store(true, &s, &err);
    if (!st)
        st = check_session(s, session, &err);
    if (!st)
        st = audit_log(s, &f, &list, &err);
    if (!st && as_json)
        cmd_print_json(list);
    else if (!st)
        json_array_foreach(list, i, r) print_record(r);
    json_decref(list);
    store_close(s);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}

/* ---- verify, replay ---- */

static void print_report(const audit_report *r, bool replayed, bool as_json) {
    if (as_json) {
        json_t *v = json_pack("{s:b, s:I, s:I, s:s}", "whole", 1, "records", (json_int_t)r->n_records, "erased",
                              (json_int_t)r->n_erased, "head", r->head);
        if (v && replayed)
            json_object_set_new(v, "replayed", json_integer(r->n_replayed));
        cmd_print_json(v);
        json_decref(v);
        return;
    }
    printf("%lld records, chain whole", (long long)r->n_records);
    if (r->n_erased)
        printf(", %lld erased", (long long)r->n_erased);
    if (replayed && r->n_replayed)
        printf("; %lld decision%s recomputed, every one the same to the bit", (long long)r->n_replayed,
               r->n_replayed == 1 ? "" : "s");
    else if (replayed)
        printf("; no decision to recompute");
    printf("\nhead %s\n", r->head);
}

/* A broken chain, or a decision that came out otherwise, is a verdict: it is printed, and the exit code is 1. */
static int finish_report(muga_status st, const audit_report *r, bool replayed, bool as_json, const muga_error *err) {
    if (st == MUGA_OK) {
        print_report(r, replayed, as_json);
        return cmd_finish_output(0);
    }
    if (st == MUGA_E_NEGATIVE && as_json) {
        json_t *v = json_pack("{s:b, s:I, s:s}", "whole", 0, "broken", (json_int_t)r->broken, "why", err->message);
        cmd_print_json(v);
        json_decref(v);
    }
    return cmd_fail(err);
}

int cmd_audit_verify(int argc, char **argv) {
    bool as_json = false;
    const char *head = NULL;
    const cmd_option options[] = {
        {"--json", 0, CMD_FLAG, &as_json, NULL, "an object"},
        {"--head", 0, CMD_STRING, &head, "HASH", "a head that was kept elsewhere: it must be in the chain"}};
    cmd_positional p = {.max = 0};
    muga_error err = {0};
    audit_report report = {0};
    store *s = NULL;
    int code = cmd_parse("audit verify", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_open_store(true, &s, &err);
    if (!st)
        st = audit_verify(s, &report, &err);
    if (!st && head)
        st = audit_check_head(s, head, &err);
    store_close(s);
    return finish_report(st, &report, false, as_json, &err);
}

/* The model of the last record stays loaded: a session's decisions are mostly one model's. */
typedef struct replayer {
    llm *model;
    char *key;              /* name, context and settings it was opened with */
    const char *model_path; /* --model, or NULL */
    char *adapter;          /* --adapter, or NULL: of the decisions that were made with one */
    uint32_t n_threads;
    int isa; /* -1: the best there is */
} replayer;

typedef struct wanted_adapter {
    const char *digest;
    str *path;
} wanted_adapter;

/* The adapter that an agent's manifest names, if it is the one; an agent that can't be read has none. */
static muga_status visit_adapter(void *ctx, const char *name, const char *dir) {
    wanted_adapter *w = ctx;
    const os_files *f = &os_system()->files;
    str path = STR_INIT, bytes = STR_INIT;
    json_t *v = NULL;
    char hex[SHA256_HEX] = "";
    (void)name;
    str_printf(&path, "%s/agent.yaml", dir);
    muga_status st = os_read_file(f, str_get(&path), (size_t)1 << 20, &bytes, NULL);
    if (!st)
        st = yaml_parse(str_get(&bytes), bytes.len, "agent.yaml", &v, NULL, NULL);
    const json_t *adapter = st ? NULL : json_object_get(v, "adapter");
    const char *file = json_is_object(adapter) ? json_get_string(adapter, "file") : json_string_value(adapter);
    if (file) {
        str_clear(&path);
        str_clear(&bytes);
        str_printf(&path, "%s/%s", dir, file);
        st = os_read_file(f, str_get(&path), ADAPTER_MAX_BYTES, &bytes, NULL);
        if (!st) {
            uint8_t digest[SHA256_BYTES];
            sha256_of(str_get(&bytes), bytes.len, digest);
            hex_write(digest, sizeof digest, hex);
        }
    }
    if (!strcmp(hex, w->digest) && w->path->len == 0)
        str_append(w->path, str_get(&path), path.len);
    json_decref(v);
    str_release(&path);
    str_release(&bytes);
    return MUGA_OK;
}

/* The file of the adapter with this digest: --adapter's, one that an agent has learned (agent/versions.h), or the one
 * that an agent's manifest names. */
static muga_status find_adapter(const replayer *r, const char *digest, str *path, muga_error *err) {
    const os_files *f = &os_system()->files;
    char *home = NULL;
    os_stat at = {.type = OS_TYPE_NONE};
    bool named = digest && strlen(digest) == 64 && digest[strspn(digest, "0123456789abcdef")] == 0;
    if (r->adapter) {
        str_append_s(path, r->adapter);
        return str_status(path, err, "a path");
    }
    muga_status st = cmd_home(&home, err);
    if (!st && named) {
        str_printf(path, "%s/adapters/sha256-%s.gguf", home, digest);
        st = str_status(path, err, "a path");
        st = st ? st : f->stat(f->self, str_get(path), &at, err);
    }
    free(home);
    if (!st && at.type != OS_TYPE_FILE && named) {
        wanted_adapter w = {digest, path};
        str_clear(path);
        st = cmd_agent_visit(visit_adapter, &w, err);
        if (!st && path->len > 0)
            return str_status(path, err, "a path");
    }
    if (!st && at.type != OS_TYPE_FILE)
        st = error_set(err, MUGA_E_USAGE, "the decision was made with the adapter of SHA-256 %.64s; give --adapter",
                       digest ? digest : "(not named)");
    return st;
}

static muga_status open_model(replayer *r, const json_t *evidence, muga_error *err) {
    const json_t *settings = json_object_get(evidence, "settings");
    const char *name = json_get_string(json_object_get(evidence, "model"), "name");
    const char *act = json_get_string(settings, "act"), *kv = json_get_string(settings, "kv");
    int64_t n_ctx = json_get_int(settings, "n_ctx", 0);
    kernel_kv_type kv_type;
    if (!name || !act || !kv || !kernel_kv_parse(kv, &kv_type) || n_ctx <= 0 || n_ctx > UINT32_MAX)
        return error_set(err, MUGA_E_INPUT, "evidence that names no local model; this version can't recompute it");
    const json_t *adapter = json_object_get(settings, "adapter");
    float scale = (float)json_get_number(adapter, "scale", 1);
    str key = STR_INIT, file = STR_INIT;
    str_printf(&key, "%s\n%lld\n%s\n%s", name, (long long)n_ctx, act, kv);
    muga_status st = adapter ? find_adapter(r, json_get_string(adapter, "sha256"), &file, err) : MUGA_OK;
    if (adapter)
        str_printf(&key, "\n%a\n%s", (double)scale, str_get(&file));
    st = st ? st : str_status(&key, err, "a model");
    if (st || (r->key && strcmp(r->key, str_get(&key)) == 0)) {
        str_release(&key);
        str_release(&file);
        return st;
    }
    llm_free(r->model);
    free(r->key);
    r->model = NULL;
    r->key = NULL;
    llm_local_options o = {.n_ctx = (uint32_t)n_ctx,
                           .n_threads = (int)r->n_threads,
                           .isa = r->isa,
                           .exact = !strcmp(act, "f32"),
                           .kv = (int)kv_type,
                           .adapter = adapter ? str_get(&file) : NULL,
                           .adapter_scale = scale,
                           .any_base = true}; /* the record says what it was: the comparison decides */
    st = cmd_open_llm(r->model_path ? r->model_path : name, name, false, &o, &r->model, err);
    if (!st)
        r->key = str_take(&key);
    str_release(&key);
    str_release(&file);
    return st;
}

static muga_status replay_one(void *ctx, int64_t n, const json_t *payload, const json_t *evidence, muga_error *err) {
    replayer *r = ctx;
    (void)n;
    (void)payload;
    if (cmd_interrupted())
        return error_set(err, MUGA_E_CANCELLED, "interrupted");
    if (!llm_needs_model(evidence))
        return llm_replay(NULL, evidence, err);
    muga_status st = open_model(r, evidence, err);
    return st ? st : llm_replay(r->model, evidence, err);
}

int cmd_audit_replay(int argc, char **argv) {
    bool as_json = false;
    const char *isa = NULL, *adapter = NULL;
    float scale;
    kernel_isa named;
    replayer r = {.isa = -1};
    audit_filter f = {NULL, 1, 0};
    const cmd_option options[] = {
        {"--json", 0, CMD_FLAG, &as_json, NULL, "an object"},
        {"--session", 0, CMD_STRING, &f.session, "ID", "recompute this session's decisions only"},
        {"--model", 0, CMD_STRING, &r.model_path, "MODEL",
         "the model's file, where its name in the record is not known"},
        {"--adapter", 0, CMD_STRING, &adapter, "FILE",
         "the adapter of the decisions that were made with one (default: where it was learned, the version kept)"},
        {"--threads", 0, CMD_U32, &r.n_threads, "N", "threads (default: all cores); the bits don't depend on it"},
        {"--isa", 0, CMD_STRING, &isa, "NAME",
         "ref, avx2, avx-vnni, avx512 or neon (default: the best there is); nor on this"}};
    cmd_positional p = {.max = 0};
    muga_error err = {0};
    audit_report report = {0};
    store *s = NULL;
    int code = cmd_parse("audit replay", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if (isa && !kernel_isa_parse(isa, &named))
        return cmd_error(MUGA_E_USAGE, "--isa is ref, avx2, avx-vnni, avx512 or neon, not \"%.40s\"", isa);
    if (isa && !kernel_isa_available(named))
        return cmd_error(MUGA_E_USAGE, "instruction set %s isn't there on this processor or in this build", isa);
    r.isa = isa ? (int)named : -1;
    code = cmd_parse_adapter(adapter, &r.adapter, &scale); /* the scale is the record's */
    if (code >= 0)
        return code;
    cmd_catch_interrupt();
    muga_status st = cmd_open_store(true, &s, &err);
    if (!st)
        st = check_session(s, f.session, &err);
    if (!st)
        st = audit_replay(s, &f, replay_one, &r, &report, &err);
    store_close(s);
    llm_free(r.model);
    free(r.key);
    free(r.adapter);
    return finish_report(st, &report, true, as_json, &err);
}
