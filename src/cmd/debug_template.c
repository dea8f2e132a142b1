/* muga debug template: contexts in, rendered texts out; a model's own template or a file's. */
#include "base/utf8.h"
#include "cmd/cmd.h"
#include "gguf/gguf.h"
#include "model/template.h"

typedef struct render_job {
    template *t;
    int64_t now_ms;
} render_job;

static muga_status handle(void *ctx, const json_t *in, json_t **out, muga_error *err) {
    const render_job *job = ctx;
    str text = STR_INIT, raised = STR_INIT;
    template_limits limits = template_limits_for(in);
    muga_status st = template_render_raising(job->t, in, job->now_ms, &limits, &text, &raised, err);
    bool refused = st && raised.len > 0; /* the template's own words, whole, are its error */
    if (!st || refused) {
        const str *result = refused ? &raised : &text;
        json_t *value = json_stringn(str_get(result), result->len);
        *out = value ? json_pack("{s:o}", refused ? "error" : "output", value) : NULL;
        st = *out ? MUGA_OK : error_nomem(err, "output");
    }
    str_release(&text);
    str_release(&raised);
    return st;
}

/* "2026-09-14T10:30:00", as UTC. Days from the civil calendar: H. Hinnant, "chrono-compatible low-level date
 * algorithms". */
static bool parse_time(const char *text, int64_t *ms) {
    int y, mo, d, h, mi, s, used = 0;
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &y, &mo, &d, &h, &mi, &s, &used) != 6 || text[used])
        return false;
    if (mo < 1 || mo > 12 || d < 1 || d > 31 || h < 0 || h > 23 || mi < 0 || mi > 59 || s < 0 || s > 60)
        return false;
    int64_t year = y - (mo <= 2), era = year / 400, yoe = year - era * 400;
    int64_t doy = (153 * (mo + (mo > 2 ? -3 : 9)) + 2) / 5 + d - 1, doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    *ms = ((era * 146097 + doe - 719468) * 86400 + h * 3600 + mi * 60 + s) * 1000;
    return true;
}

static muga_status load_source(const char *name, str *source, muga_error *err) {
    size_t n = strlen(name);
    if (n > 6 && !strcmp(name + n - 6, ".jinja"))
        return os_read_file(&os_system()->files, name, 1 << 20, source, err);
    char *path;
    gguf_file *f = NULL;
    span text;
    muga_status st = cmd_resolve(name, &path, err);
    if (!st)
        st = gguf_open(path, &f, err);
    if (!st)
        st = cmd_template_source(f, &text, err);
    if (!st) {
        str_append(source, text.p, text.n);
        st = str_status(source, err, "template");
    }
    gguf_close(f);
    free(path);
    return st;
}

int cmd_debug_template(int argc, char **argv) {
    const char *now = NULL;
    const cmd_option options[] = {
        {"--now", 0, CMD_STRING, &now, "TIME", "what strftime_now formats: 2026-09-14T10:30:00 (default: now, UTC)"}};
    cmd_positional p = {.min = 1, .max = 1};
    int code = cmd_parse("debug template", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    const os_clock *clock = &os_system()->clock;
    render_job job = {.now_ms = clock->now_ms(clock->self)};
    if (now && !parse_time(now, &job.now_ms))
        return cmd_error(MUGA_E_USAGE, "--now needs a time such as 2026-09-14T10:30:00, not '%.40s'", now);
    str source = STR_INIT;
    muga_error err = {0};
    muga_status st = load_source(p.v[0], &source, &err);
    if (!st && !utf8_valid(str_get(&source), source.len))
        st = error_set(&err, MUGA_E_INPUT, "%.180s: the template is not UTF-8 text; convert it first", p.v[0]);
    if (!st && (st = template_compile(str_get(&source), source.len, &job.t, &err)))
        error_prefix(&err, st, "%.120s", p.v[0]);
    str_release(&source);
    if (st)
        return cmd_fail(&err);
    code = cmd_jsonl(handle, &job);
    template_free(job.t);
    return code;
}
