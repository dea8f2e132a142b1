/* muga data: turns kept to learn from. Listing, and what people say of them: rate, correct, redact, drop. */
#include "cmd/data.h"

#include <time.h>

#define DAY_MS INT64_C(86400000)

/* ---- which rows ---- */

void data_format_time(int64_t ms, char out[24]) {
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, 24, "%Y-%m-%d %H:%M", &tm);
}

static muga_status read_outcomes(const char *text, unsigned *out, muga_error *err) {
    *out = 0;
    for (const char *p = text; p && *p;) {
        size_t n = strcspn(p, ","), i = 0;
        while (i < N_OUTCOMES && (strlen(interaction_outcomes[i]) != n || strncmp(interaction_outcomes[i], p, n)))
            i++;
        if (i == N_OUTCOMES)
            return error_set(err, MUGA_E_USAGE,
                             "--outcome: '%.*s' is none of completed, corrected, escalated, denied, asked, open",
                             (int)MIN(n, 40), p);
        *out |= 1u << i;
        p += n + (p[n] == ',');
    }
    return MUGA_OK;
}

muga_status data_read_choice(data_choice *c, const char *agent, interaction_filter *out, muga_error *err) {
    *out = (interaction_filter){.agent = agent, .session = c->session, .turn = c->turn};
    if (c->turn && !c->session)
        return error_set(err, MUGA_E_USAGE, "--turn is a turn of a session; give --session");
    muga_status st = read_outcomes(c->outcomes, &out->outcomes, err);
    if (!st && c->subject.n)
        st = cmd_read_values(&c->subject, "--subject", &c->who, err);
    out->subject = c->who;
    return st;
}

void data_choice_release(data_choice *c) {
    json_decref(c->who);
    c->who = NULL;
}

/* A misspelt agent must not look like one of which nothing was kept. */
static muga_status open_for(const char *agent, store **s, muga_error *err) {
    json_t *list = NULL;
    muga_status st = cmd_open_store(true, s, err);
    if (!st && agent)
        st = consent_list(*s, &list, err);
    bool known = !agent;
    for (size_t i = 0; i < json_array_size(list); i++)
        known = known || !strcmp(json_get_string(json_array_get(list, i), "agent"), agent);
    if (!st && !known)
        st = error_set(err, MUGA_E_NOT_FOUND,
                       "agent '%.60s': no consent was ever given, so nothing was kept; see muga data consent", agent);
    json_decref(list);
    return st;
}

/* ---- list ---- */

typedef struct lister {
    bool as_json;
    size_t n;
} lister;

static void print_json_row(const interaction *row, bool first) {
    str text = STR_INIT;
    json_t *v = json_pack("{s:s, s:I, s:s, s:s, s:I, s:s, s:i, s:b, s:b, s:O, s:O?, s:s?}", "session", row->session,
                          "turn", (json_int_t)row->turn, "agent", row->agent, "subject", row->subject, "at_ms",
                          (json_int_t)row->at_ms, "outcome", row->outcome, "rating", row->rating, "masked",
                          (int)row->masked, "redacted", (int)row->redacted, "content", row->content, "correction",
                          row->correction, "note", row->note);
    json_write(v, &text);
    printf("%s%s", first ? "[" : ",\n", str_get(&text));
    json_decref(v);
    str_release(&text);
}

static void write_labels(const json_t *labels, str *out) {
    for (size_t i = 0; i < json_array_size(labels); i++)
        str_printf(out, "%s%s", i ? "," : "", json_string_value(json_array_get(labels, i)));
}

/* A row on one line, fit for a terminal. */
static void print_row(const interaction *row) {
    char when[24];
    str what = STR_INIT, line = STR_INIT;
    const json_t *message = json_object_get(row->content, "message"),
                 *better = json_object_get(row->correction, "labels");
    write_labels(json_object_get(row->content, "labels"), &what);
    if (better) {
        str_append_s(&what, "->");
        write_labels(better, &what);
    }
    str_append_s(&what, "  ");
    str_append(&what, json_string_value(message), json_string_length(message));
    if (row->note)
        str_printf(&what, "  (%s)", row->note);
    cmd_write_visible(str_get(&what), what.len, &line);
    data_format_time(row->at_ms, when);
    printf("%s  %s:%lld  %s  %-9s %s  %s\n", when, row->session, (long long)row->turn, row->subject, row->outcome,
           row->rating > 0   ? "+"
           : row->rating < 0 ? "-"
                             : " ",
           str_get(&line));
    str_release(&line);
    str_release(&what);
}

static muga_status list_row(void *ctx, const interaction *row, muga_error *err) {
    lister *l = ctx;
    if (cmd_interrupted())
        return error_set(err, MUGA_E_CANCELLED, "interrupted");
    if (l->as_json)
        print_json_row(row, l->n == 0);
    else
        print_row(row);
    l->n++;
    return MUGA_OK;
}

int cmd_data_list(int argc, char **argv) {
    data_choice c = {.session = NULL};
    lister l = {.n = 0};
    uint32_t max = 0;
    const cmd_option options[] = {DATA_ROW_OPTIONS(&c),
                                  {"--max", 'n', CMD_U32, &max, "COUNT", "the newest COUNT rows"},
                                  {"--json", 0, CMD_FLAG, &l.as_json, NULL, "an array of rows, whole"}};
    cmd_positional p = {.max = 1};
    muga_error err = {0};
    const agent_env env = cmd_agent_env();
    interaction_filter f;
    store *s = NULL;
    int64_t n = 0;
    int code = cmd_parse("data list", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    cmd_catch_interrupt();
    muga_status st = data_read_choice(&c, p.n ? p.v[0] : NULL, &f, &err);
    if (!st)
        st = open_for(f.agent, &s, &err);
    if (!st) {
        f.max = max;
        st = interactions_read(&env, s, &f, "listed", NULL, list_row, &l, &n, &err);
    }
    if (l.as_json && !st)
        printf("%s]\n", n ? "" : "[");
    else if (!st && n == 0)
        printf("nothing was kept; `muga data consent` says whether it would be\n");
    store_close(s);
    data_choice_release(&c);
    return cmd_interrupted() ? 130 : st ? cmd_fail(&err) : cmd_finish_output(0);
}

/* ---- rate, correct ---- */

int cmd_data_rate(int argc, char **argv) {
    static const char *const words[] = {"down", "none", "up"};
    const char *note = NULL;
    uint32_t turn = 0;
    const cmd_option options[] = {{"--turn", 0, CMD_U32, &turn, "N", "this turn (default: all of the session)"},
                                  {"--note", 0, CMD_STRING, &note, "TEXT", "why"}};
    cmd_positional p = {.min = 2, .max = 2};
    muga_error err = {0};
    const agent_env env = cmd_agent_env();
    store *s = NULL;
    int64_t n = 0;
    int code = cmd_parse("data rate", options, ARRAY_LEN(options), argc, argv, &p), rating = 0;
    if (code >= 0)
        return code;
    while (rating < 3 && strcmp(words[rating], p.v[1]))
        rating++;
    if (rating == 3)
        return cmd_error(MUGA_E_USAGE, "data rate: up, down or none, not '%.40s'", p.v[1]);
    muga_status st = cmd_open_store(true, &s, &err);
    if (!st)
        st = interactions_rate(&env, s, p.v[0], turn, rating - 1, note, &n, &err);
    store_close(s);
    if (st)
        return cmd_fail(&err);
    printf("rated %s: %lld turn%s\n", p.v[1], (long long)n, n == 1 ? "" : "s");
    return cmd_finish_output(0);
}

static muga_status read_correction(const cmd_values *labels, const cmd_values *calls, const char *answer, json_t **out,
                                   muga_error *err) {
    json_t *names = json_array(), *list = json_array(), *all = json_object();
    muga_status st = names && list && all ? MUGA_OK : error_nomem(err, "a correction");
    for (size_t i = 0; !st && i < labels->n; i++)
        st = json_array_append_new(names, json_string(labels->v[i])) ? error_nomem(err, "a correction") : MUGA_OK;
    for (size_t i = 0; !st && i < calls->n; i++) {
        json_t *call = NULL;
        st = json_parse(calls->v[i], strlen(calls->v[i]), "--call", &call, err);
        if (!st && json_array_append_new(list, call))
            st = error_nomem(err, "a correction");
    }
    bool ok = st || ((!labels->n || !json_object_set(all, "labels", names)) &&
                     (!calls->n || !json_object_set(all, "calls", list)) &&
                     (!answer || !json_object_set_new(all, "answer", json_string(answer))));
    if (!ok)
        st = error_set(err, MUGA_E_INPUT, "a correction must be UTF-8 text");
    json_decref(names);
    json_decref(list);
    if (st)
        json_decref(all);
    else
        *out = all;
    return st;
}

/* The agent as the session knew it; one that is gone can't be asked, and that is said. */
static muga_status load_manifest(const agent_env *env, store *s, const char *session, manifest **out, muga_error *err) {
    session_place place;
    muga_error why;
    *out = NULL;
    muga_status st = session_place_get(s, session, &place, err);
    if (!st && manifest_load(env, place.dir, place.data_dir, out, &why)) {
        str text = STR_INIT;
        str_printf(&text, "labels and calls are not checked: %s", why.message);
        cmd_say(str_get(&text));
        str_release(&text);
    }
    session_place_release(&place);
    return st;
}

int cmd_data_correct(int argc, char **argv) {
    const char *answer = NULL, *note = NULL;
    cmd_values labels = {.n = 0}, calls = {.n = 0};
    uint32_t turn = 0;
    const cmd_option options[] = {
        {"--turn", 0, CMD_U32, &turn, "N", "the turn, from 1"},
        {"--label", 0, CMD_REPEAT, &labels, "NAME", "what the message asked for; again for a second request"},
        {"--call", 0, CMD_REPEAT, &calls, "JSON", "{\"tool\": \"...\", \"arguments\": {...}}"},
        {"--answer", 0, CMD_STRING, &answer, "TEXT", "what should have been said"},
        {"--note", 0, CMD_STRING, &note, "TEXT", "why"}};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    const agent_env env = cmd_agent_env();
    store *s = NULL;
    manifest *m = NULL;
    json_t *correction = NULL;
    int code = cmd_parse("data correct", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if (!turn)
        return cmd_error(MUGA_E_USAGE, "data correct: which turn? give --turn N; `muga data list` shows them");
    muga_status st = read_correction(&labels, &calls, answer, &correction, &err);
    if (!st)
        st = cmd_open_store(true, &s, &err);
    if (!st)
        st = load_manifest(&env, s, p.v[0], &m, &err);
    if (!st)
        st = interactions_correct(&env, s, m, p.v[0], turn, correction, note, &err);
    manifest_free(m);
    store_close(s);
    json_decref(correction);
    if (st)
        return cmd_fail(&err);
    printf("corrected: turn %u of session %s\n", turn, p.v[0]);
    return cmd_finish_output(0);
}

/* ---- redact, drop ---- */

static bool chooses_nothing(const interaction_filter *f) {
    return !f->agent && !f->session && !f->subject && !f->outcomes && !f->before_ms;
}

static int finish_change(muga_status st, const char *done, int64_t n, bool as_json, const muga_error *err) {
    if (st)
        return cmd_fail(err);
    if (as_json)
        printf("{\"%s\":%lld}\n", done, (long long)n);
    else
        printf("%s: %lld row%s\n", done, (long long)n, n == 1 ? "" : "s");
    return cmd_finish_output(0);
}

int cmd_data_redact(int argc, char **argv) {
    data_choice c = {.session = NULL};
    cmd_values values = {.n = 0};
    bool all = false, as_json = false;
    const cmd_option options[] = {DATA_ROW_OPTIONS(&c),
                                  {"--value", 0, CMD_REPEAT, &values, "TEXT", "take this out, too"},
                                  {"--all", 0, CMD_FLAG, &all, NULL, "every row"},
                                  {"--json", 0, CMD_FLAG, &as_json, NULL, "{\"redacted\": rows}"}};
    cmd_positional p = {.max = 1};
    muga_error err = {0};
    const agent_env env = cmd_agent_env();
    interaction_filter f;
    store *s = NULL;
    int64_t n = 0;
    json_t *list = json_array();
    int code = cmd_parse("data redact", options, ARRAY_LEN(options), argc, argv, &p);
    muga_status st = code >= 0 ? MUGA_OK : data_read_choice(&c, p.n ? p.v[0] : NULL, &f, &err);
    if (code < 0 && !st && chooses_nothing(&f) != all)
        code = cmd_error(MUGA_E_USAGE, "data redact: say which rows, or --all");
    for (size_t i = 0; code < 0 && !st && i < values.n; i++)
        if (!list || json_array_append_new(list, json_string(values.v[i])))
            st = error_set(&err, MUGA_E_INPUT, "--value must be UTF-8 text");
    if (code < 0 && !st)
        st = open_for(f.agent, &s, &err);
    if (code < 0 && !st)
        st = interactions_redact(&env, s, &f, list, &n, &err);
    json_decref(list);
    store_close(s);
    data_choice_release(&c);
    return code >= 0 ? code : finish_change(st, "redacted", n, as_json, &err);
}

int cmd_data_drop(int argc, char **argv) {
    data_choice c = {.session = NULL};
    uint32_t days = 0;
    bool all = false, as_json = false;
    const cmd_option options[] = {DATA_ROW_OPTIONS(&c),
                                  {"--older-than", 0, CMD_U32, &days, "DAYS", "rows older than that"},
                                  {"--all", 0, CMD_FLAG, &all, NULL, "every row"},
                                  {"--json", 0, CMD_FLAG, &as_json, NULL, "{\"dropped\": rows}"}};
    cmd_positional p = {.max = 1};
    muga_error err = {0};
    const agent_env env = cmd_agent_env();
    interaction_filter f;
    store *s = NULL;
    int64_t n = 0;
    int code = cmd_parse("data drop", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = data_read_choice(&c, p.n ? p.v[0] : NULL, &f, &err);
    if (!st && days)
        f.before_ms = MAX(env.clock->now_ms(env.clock->self) - days * DAY_MS, 1);
    if (!st && chooses_nothing(&f) != all) {
        data_choice_release(&c);
        return cmd_error(MUGA_E_USAGE, "data drop: say which rows, or --all");
    }
    if (!st)
        st = open_for(f.agent, &s, &err);
    if (!st)
        st = interactions_drop(&env, s, &f,
                               f.subject   ? "subject"
                               : days      ? "age"
                               : f.session ? "session"
                                           : "chosen",
                               &n, &err);
    store_close(s);
    data_choice_release(&c);
    return finish_change(st, "dropped", n, as_json, &err);
}

/* ---- in a conversation ---- */

static muga_status say_word(const agent_env *env, store *s, const manifest *m, const char *session, int64_t turn,
                            const char *line, muga_error *err) {
    size_t n = strcspn(line, " ");
    const char *rest = line + n + strspn(line + n, " ");
    int64_t n_rated;
    bool good = n == 5 && !strncmp(line, "/good", n), bad = n == 4 && !strncmp(line, "/bad", n);
    if (good || bad)
        return interactions_rate(env, s, session, turn, good ? 1 : -1, *rest ? rest : NULL, &n_rated, err);
    if (n != 6 || strncmp(line, "/label", n) || !*rest)
        return error_set(err, MUGA_E_USAGE, "/good [WHY], /bad [WHY] and /label NAME say how the last turn went");
    json_t *correction = json_pack("{s:[s]}", "labels", rest);
    muga_status st = correction ? interactions_correct(env, s, m, session, turn, correction, NULL, err)
                                : error_set(err, MUGA_E_INPUT, "a label is UTF-8 text");
    json_decref(correction);
    return st;
}

void data_say_word(const agent_env *env, store *s, const manifest *m, const agent_session *session, const char *line) {
    const json_t *history = session_history(session);
    muga_error err;
    int64_t turn = 0;
    for (size_t i = 0; i < json_array_size(history); i++)
        turn += !strcmp(json_get_string(json_array_get(history, i), "role"), "user");
    if (!turn)
        cmd_say("nothing was said yet");
    else if (say_word(env, s, m, session_id(session), turn, line, &err))
        cmd_say(err.message);
    else
        printf("noted for turn %lld\n", (long long)turn);
}
