/* muga key: who may ask the server. The key itself is printed once, by create and rotate, and kept nowhere. */
#include "cmd/data.h"
#include "serve/keys.h"

#include <time.h>

/* ---- what is said on the command line ---- */

/* A whole number and a unit: m, h, d, w. */
static bool parse_duration(const char *text, int64_t *ms) {
    static const char units[] = "mhdw";
    static const int64_t minutes[] = {1, 60, 1440, 10080};
    size_t n = strspn(text, "0123456789");
    const char *unit = n > 0 && n <= 6 && text[n] && !text[n + 1] ? strchr(units, text[n]) : NULL;
    if (!unit)
        return false;
    *ms = (int64_t)strtoll(text, NULL, 10) * minutes[unit - units] * 60000;
    return true;
}

/* "30d" from now, or the beginning of a day in UTC: "2027-01-31". -1 to go on, or the exit code. */
static int parse_expiry(const char *text, int64_t now_ms, int64_t *out) {
    struct tm day = {.tm_isdst = 0};
    int64_t ms;
    if (!text)
        return -1;
    if (parse_duration(text, &ms)) {
        *out = now_ms + ms;
        return -1;
    }
    const char *end = strlen(text) == 10 ? strptime(text, "%Y-%m-%d", &day) : NULL;
    struct tm same = day;
    if (!end || *end || (*out = (int64_t)timegm(&same) * 1000) <= 0 || same.tm_mday != day.tm_mday)
        return cmd_error(MUGA_E_USAGE, "--expires takes 90d, 12h, 30m, 4w, or a day like 2027-01-31; not '%.40s'",
                         text);
    return -1;
}

/* "tokens/day=100000,concurrency=4"; or the numbers alone, in that order. -1 to go on, or the exit code. */
static int parse_limit(const char *text, key_spec *spec) {
    static const char *const names[] = {"tokens/day=", "concurrency="};
    size_t place = 0;
    for (const char *p = text; p; place++) {
        size_t n = strcspn(p, ","), which = 0;
        while (which < ARRAY_LEN(names) && strncmp(p, names[which], strlen(names[which])) != 0)
            which++;
        const char *number = which < ARRAY_LEN(names) ? p + strlen(names[which]) : p;
        which = which < ARRAY_LEN(names) ? which : place;
        uint64_t v = 0;
        bool ok = which < ARRAY_LEN(names);
        for (; ok && number < p + n; number++)
            ok = *number >= '0' && *number <= '9' && u64_mul(v, 10, &v) && u64_add(v, (uint64_t)(*number - '0'), &v);
        if (!ok || v == 0 || v > (which == 0 ? (uint64_t)INT64_MAX : 1000000))
            return cmd_error(MUGA_E_USAGE, "--limit takes tokens/day=N,concurrency=N, above 0; not '%.*s'",
                             (int)MIN(n, 60), p);
        if (which == 0)
            spec->tokens_day = v;
        else
            spec->concurrency = (uint32_t)v;
        p = p[n] ? p + n + 1 : NULL;
    }
    return -1;
}

static int parse_priority(const char *text, int *out) {
    static const char *const names[] = {"low", "normal", "high"};
    for (int i = 0; text && i < 3; i++)
        if (!strcmp(text, names[i])) {
            *out = i - 1;
            return -1;
        }
    return text ? cmd_error(MUGA_E_USAGE, "--priority is low, normal or high, not '%.40s'", text) : -1;
}

static int64_t now(void) {
    const os_clock *clock = &os_system()->clock;
    return clock->now_ms(clock->self);
}

/* What the entries of all --scope say, as one; NULL where there is none, or memory is out (*failed). */
static char *join_scopes(const cmd_values *list, bool *failed) {
    str all = STR_INIT;
    for (size_t i = 0; i < list->n; i++) {
        str_append_s(&all, i ? "," : "");
        str_append_s(&all, list->v[i]);
    }
    char *text = list->n ? str_take(&all) : NULL;
    *failed = list->n && !text;
    return text;
}

static void print_key(const char *text, const char *id, bool as_json) {
    if (as_json)
        printf("{\"id\":\"%s\",\"key\":\"%s\"}\n", id, text);
    else
        printf("%s\n", text);
}

/* It can't be shown again: where it was lost on its way, what gives another is said. */
static int show_key(const char *text, const char *id, const char *name, bool as_json) {
    print_key(text, id, as_json);
    if (fflush(stdout) || ferror(stdout))
        return cmd_error(MUGA_E_ENV,
                         "the key of '%.64s' is in the store, but could not be written out; "
                         "`muga key rotate %.64s` gives it another",
                         name, name);
    return 0;
}

/* ---- create ---- */

int cmd_key_create(int argc, char **argv) {
    key_spec spec = {.weight = 1};
    cmd_values may = {.n = 0}, limits = {.n = 0};
    const char *expires = NULL, *priority = NULL;
    bool as_json = false, failed;
    const cmd_option options[] = {
        {"--name", 'n', CMD_STRING, &spec.name, "NAME", "what it is called, here and in logs"},
        {"--scope", 's', CMD_REPEAT, &may, "SCOPES", "what it may (default: " SCOPES_DEFAULT ")"},
        {"--limit", 0, CMD_REPEAT, &limits, "LIMITS", "tokens/day=N, concurrency=N"},
        {"--expires", 0, CMD_STRING, &expires, "WHEN", "90d, 12h, or a day: 2027-01-31 (default: never)"},
        {"--tenant", 0, CMD_STRING, &spec.tenant, "NAME", "whose caches and sessions it shares (default: its own)"},
        {"--priority", 0, CMD_STRING, &priority, "LEVEL", "low, normal (default) or high: who goes first"},
        {"--weight", 0, CMD_U32, &spec.weight, "N", "its share where others wait as well (default 1)"},
        {"--json", 0, CMD_FLAG, &as_json, NULL, "an object: id, key"}};
    cmd_positional p = {.max = 0};
    muga_error err = {0};
    store *s = NULL;
    char id[KEY_ID_SIZE], text[KEY_TEXT_SIZE];
    char who[64];
    const agent_env env = cmd_agent_env();
    const key_operator by = {&env, who};
    int code = cmd_parse("key create", options, ARRAY_LEN(options), argc, argv, &p);
    code = code < 0 ? parse_expiry(expires, now(), &spec.expires_ms) : code;
    code = code < 0 ? parse_priority(priority, &spec.priority) : code;
    for (size_t i = 0; code < 0 && i < limits.n; i++)
        code = parse_limit(limits.v[i], &spec);
    if (code >= 0)
        return code;
    if (!spec.name)
        return cmd_error(MUGA_E_USAGE, "key create: --name NAME is missing; see `muga help key create`");
    if (!spec.weight)
        return cmd_error(MUGA_E_USAGE, "--weight must be 1 to %u, not 0", KEY_MAX_WEIGHT);
    cmd_user_name(who);
    char *joined = join_scopes(&may, &failed);
    spec.scopes = joined;
    muga_status st = failed ? error_nomem(&err, "scopes") : cmd_open_store(false, &s, &err);
    if (!st)
        st = keys_create(s, &by, &spec, id, text, &err);
    store_close(s);
    code = st ? cmd_fail(&err) : show_key(text, id, spec.name, as_json);
    if (!code)
        fprintf(stderr, "%s (%s) may: %s. This is the only time the key is shown.\n", spec.name, id,
                joined ? joined : SCOPES_DEFAULT);
    free(joined);
    return code;
}

/* ---- list ---- */

static void format_limit(const json_t *e, const char *key, char out[24]) {
    const json_t *v = json_object_get(e, key);
    if (json_is_integer(v))
        snprintf(out, 24, "%lld", (long long)json_integer_value(v));
    else
        snprintf(out, 24, "-");
}

/* A list as a verb answers with it: JSON, or what print makes of it. Steals list. */
static int say_list(muga_status st, json_t *list, bool as_json,
                    muga_status (*print)(const json_t *list, muga_error *err), muga_error *err) {
    if (!st && as_json)
        cmd_print_json(list);
    else if (!st)
        st = print(list, err);
    json_decref(list);
    return st ? cmd_fail(err) : cmd_finish_output(0);
}

#define COLUMNS 9
static void print_rows(const json_t *list, const char **cells, char (*numbers)[5][24]) {
    static const char *const head[COLUMNS] = {"NAME",       "ID",       "STATE",   "TENANT", "TOKENS/DAY",
                                              "USED TODAY", "PARALLEL", "EXPIRES", "MAY"};
    size_t i;
    const json_t *e;
    memcpy(cells, head, sizeof head);
    json_array_foreach(list, i, e) {
        char(*n)[24] = numbers[i];
        const json_t *used = json_object_get(e, "used_today");
        int64_t expires_ms = json_get_int(e, "expires_ms", 0);
        format_limit(e, "tokens_day", n[0]);
        snprintf(n[1], 24, "%lld",
                 (long long)(json_get_int(used, "prompt_tokens", 0) + json_get_int(used, "answer_tokens", 0)));
        format_limit(e, "concurrency", n[2]);
        if (expires_ms)
            data_format_time(expires_ms, n[3]);
        else
            snprintf(n[3], 24, "-");
        const char *tenant = json_get_string(e, "tenant");
        const char *const row[COLUMNS] = {json_get_string(e, "name"),
                                          json_get_string(e, "id"),
                                          json_get_string(e, "state"),
                                          strchr(tenant, ':') ? "-" : tenant,
                                          n[0],
                                          n[1],
                                          n[2],
                                          n[3],
                                          json_get_string(e, "scopes")};
        memcpy(cells + (i + 1) * COLUMNS, row, sizeof row);
    }
    cmd_print_table(cells, json_array_size(list) + 1, COLUMNS);
}

static muga_status print_list(const json_t *list, muga_error *err) {
    size_t n = json_array_size(list);
    if (n == 0) {
        printf("no keys: on this machine's own addresses any will do; `muga key create --name NAME` makes one\n");
        return MUGA_OK;
    }
    const char **cells = mem_alloc_array((n + 1) * COLUMNS, sizeof *cells);
    char(*numbers)[5][24] = mem_alloc_array(n, sizeof *numbers);
    muga_status st = cells && numbers ? MUGA_OK : error_nomem(err, "a list of keys");
    if (!st)
        print_rows(list, cells, numbers);
    free(cells);
    free(numbers);
    return st;
}

int cmd_key_list(int argc, char **argv) {
    bool as_json = false;
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &as_json, NULL, "an array"}};
    cmd_positional p = {.max = 0};
    muga_error err = {0};
    store *s = NULL;
    json_t *list = NULL;
    int code = cmd_parse("key list", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_open_store(true, &s, &err);
    if (st == MUGA_E_NOT_FOUND) { /* no store yet, so no key */
        list = json_array();
        st = list ? MUGA_OK : error_nomem(&err, "a list of keys");
    } else if (!st) {
        st = keys_list(s, now(), &list, &err);
    }
    store_close(s);
    return say_list(st, list, as_json, print_list, &err);
}

/* ---- usage ---- */

static muga_status print_usage(const json_t *list, muga_error *err) {
    (void)err;
    size_t i;
    const json_t *e;
    json_array_foreach(list, i, e)
        printf("%s  %-24s %8lld requests %12lld prompt tokens %12lld answer tokens\n", json_get_string(e, "day"),
               json_get_string(e, "name"), (long long)json_get_int(e, "requests", 0),
               (long long)json_get_int(e, "prompt_tokens", 0), (long long)json_get_int(e, "answer_tokens", 0));
    if (json_array_size(list) == 0)
        printf("nothing was used\n");
    return MUGA_OK;
}

int cmd_key_usage(int argc, char **argv) {
    uint32_t n_days = 30;
    bool as_json = false;
    const cmd_option options[] = {{"--days", 0, CMD_U32, &n_days, "N", "of the last N days, in UTC (default 30)"},
                                  {"--json", 0, CMD_FLAG, &as_json, NULL, "an array"}};
    cmd_positional p = {.max = 1};
    muga_error err = {0};
    store *s = NULL;
    json_t *list = NULL;
    int code = cmd_parse("key usage", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_open_store(true, &s, &err);
    if (!st)
        st = keys_usage(s, p.n ? p.v[0] : NULL, n_days, now(), &list, &err);
    store_close(s);
    return say_list(st, list, as_json, print_usage, &err);
}

/* ---- revoke, rotate ---- */

int cmd_key_revoke(int argc, char **argv) {
    bool forget = false;
    const cmd_option options[] = {
        {"--forget", 0, CMD_FLAG, &forget, NULL, "remove it and what it has used, also where it was revoked before"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    store *s = NULL;
    char who[64];
    const agent_env env = cmd_agent_env();
    const key_operator by = {&env, who};
    int code = cmd_parse("key revoke", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    cmd_user_name(who);
    muga_status st = cmd_open_store(true, &s, &err);
    if (!st)
        st = keys_revoke(s, &by, p.v[0], forget, &err);
    store_close(s);
    if (!st)
        printf("%s %s\n", forget ? "forgotten:" : "revoked:", p.v[0]);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}

int cmd_key_rotate(int argc, char **argv) {
    const char *grace = NULL;
    int64_t grace_ms = 0;
    bool as_json = false;
    const cmd_option options[] = {{"--grace", 0, CMD_STRING, &grace, "TIME",
                                   "how long the old one still goes: 30m, 24h, 7d (default: no longer)"},
                                  {"--json", 0, CMD_FLAG, &as_json, NULL, "an object: id, key"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    store *s = NULL;
    char id[KEY_ID_SIZE], text[KEY_TEXT_SIZE];
    char who[64];
    const agent_env env = cmd_agent_env();
    const key_operator by = {&env, who};
    int code = cmd_parse("key rotate", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if (grace && !parse_duration(grace, &grace_ms))
        return cmd_error(MUGA_E_USAGE, "--grace takes 30m, 24h, 7d or 2w, not '%.40s'", grace);
    cmd_user_name(who);
    muga_status st = cmd_open_store(true, &s, &err);
    if (!st)
        st = keys_rotate(s, &by, p.v[0], grace_ms, id, text, &err);
    store_close(s);
    code = st ? cmd_fail(&err) : show_key(text, id, p.v[0], as_json);
    if (!code)
        fprintf(stderr, "This is the only time the key is shown.\n");
    return code;
}
