/* muga ps: the models that a running server has in memory. */
#include "cmd/server.h"

#include <time.h>

/* "2026-11-26T10:15:00.5Z", or with an offset: how long until then, in words. */
static void format_until(const char *text, char out[32]) {
    struct tm at = {0};
    int hours = 0, minutes = 0;
    const os_clock *clock = &os_system()->clock;
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &at) : NULL;
    if (!rest) {
        snprintf(out, 32, "-");
        return;
    }
    rest += *rest == '.' ? 1 + strspn(rest + 1, "0123456789") : 0;
    int sign = *rest == '-' ? -1 : 1;
    if (*rest == '+' || *rest == '-')
        (void)sscanf(rest + 1, "%2d:%2d", &hours, &minutes);
    int64_t ms = (int64_t)timegm(&at) * 1000 - (int64_t)sign * (hours * 60 + minutes) * 60000;
    int64_t s = (ms - clock->now_ms(clock->self)) / 1000;
    if (at.tm_year + 1900 > 2200 || s > (int64_t)100 * 365 * 86400)
        snprintf(out, 32, "forever");
    else if (s <= 0)
        snprintf(out, 32, "now");
    else if (s < 120)
        snprintf(out, 32, "%lld seconds", (long long)s);
    else if (s < 7200)
        snprintf(out, 32, "%lld minutes", (long long)(s / 60));
    else
        snprintf(out, 32, "%lld hours", (long long)(s / 3600));
}

static muga_status print_models(const json_t *list, muga_error *err) {
    static const char *const head[] = {"NAME", "ID", "SIZE", "CONTEXT", "UNTIL"};
    size_t n = json_array_size(list), i;
    const char **cells = mem_alloc_array((n + 1) * 5, sizeof *cells);
    char(*text)[5][160] = mem_alloc_array(n + 1, sizeof *text);
    const json_t *m;
    if (!cells || !text) {
        free(cells);
        free(text);
        return error_nomem(err, "the table");
    }
    memcpy(cells, head, sizeof head);
    json_array_foreach(list, i, m) {
        char(*row)[160] = text[i];
        const char *name = json_get_string(m, "name"), *id = json_get_string(m, "digest");
        str shown = STR_INIT;
        cmd_write_visible(name ? name : "?", name ? strlen(name) : 1, &shown);
        snprintf(row[0], 160, "%.150s", str_get(&shown));
        str_release(&shown);
        snprintf(row[1], 160, "%.12s", id && strspn(id, "0123456789abcdef") >= 12 ? id : "-");
        cmd_format_bytes((uint64_t)MAX(json_get_int(m, "size", 0), 0), row[2]);
        snprintf(row[3], 160, "%lld", (long long)json_get_int(m, "context_length", 0));
        format_until(json_get_string(m, "expires_at"), row[4]);
        for (size_t c = 0; c < 5; c++)
            cells[(i + 1) * 5 + c] = row[c];
    }
    cmd_print_table(cells, n + 1, 5);
    free(cells);
    free(text);
    return MUGA_OK;
}

int cmd_ps(int argc, char **argv) {
    cmd_server s = {NULL};
    bool as_json = false;
    const cmd_option options[] = {SERVER_OPTIONS(&s),
                                  {"--json", 0, CMD_FLAG, &as_json, NULL, "the server's answer as it is"}};
    cmd_positional p = {.max = 0};
    muga_error err = {0};
    json_t *answer = NULL;
    int status = 0;
    int code = cmd_parse("ps", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    cmd_catch_interrupt();
    muga_status st = cmd_server_ask(&s, "GET", "/api/ps", NULL, &status, &answer, &err);
    if (!st && status / 100 != 2)
        st = cmd_server_refused(status, answer, &err);
    const json_t *models = json_object_get(answer, "models");
    if (!st && !json_is_array(models))
        st = error_set(&err, MUGA_E_INPUT, "what answers there is no muga server: /api/ps gives no list of models");
    if (!st && as_json)
        cmd_print_json(answer);
    else if (!st)
        st = print_models(models, &err);
    json_decref(answer);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}
