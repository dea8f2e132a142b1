/* muga list, rm: the models of the store. */
#include "cmd/cmd.h"

#include <time.h>

static void format_age(int64_t ms, int64_t now_ms, char out[24]) {
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400 * 365, "year"}, {86400 * 30, "month"}, {86400, "day"},
                 {3600, "hour"},        {60, "minute"},        {1, "second"}};
    int64_t age = MAX((now_ms - ms) / 1000, 0);
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (age >= units[i].seconds) {
            int64_t n = age / units[i].seconds;
            snprintf(out, 24, "%lld %s%s ago", (long long)n, units[i].name, n == 1 ? "" : "s");
            return;
        }
    snprintf(out, 24, "now");
}

static void print_models(const json_t *list) {
    size_t n = json_array_size(list), i;
    const char **cells = mem_alloc_array((n + 1) * 4, sizeof *cells);
    char(*text)[4][160] = mem_alloc_array(n + 1, sizeof *text);
    const json_t *m;
    const os_clock *clock = &os_system()->clock;
    static const char *const head[] = {"NAME", "DIGEST", "SIZE", "MODIFIED"};
    if (cells && text) {
        for (size_t c = 0; c < 4; c++)
            cells[c] = head[c];
        json_array_foreach(list, i, m) {
            char(*row)[160] = text[i];
            snprintf(row[0], 160, "%.70s:%.70s", json_get_string(m, "name"), json_get_string(m, "tag"));
            const char *blob = json_get_string(m, "blob");
            snprintf(row[1], 160, "%.12s", blob ? blob + 7 : "damaged");
            if (blob)
                cmd_format_bytes((uint64_t)json_get_int(m, "bytes", 0), row[2]);
            else
                snprintf(row[2], 160, "-");
            format_age(json_get_int(m, "modified_ms", 0), clock->now_ms(clock->self), row[3]);
            for (size_t c = 0; c < 4; c++)
                cells[(i + 1) * 4 + c] = row[c];
        }
        cmd_print_table(cells, n + 1, 4);
    }
    free(cells);
    free(text);
}

int cmd_list(int argc, char **argv) {
    bool as_json = false;
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &as_json, NULL, "an array of manifests"}};
    cmd_positional p = {.max = 0};
    hub h;
    json_t *list = NULL;
    muga_error err = {0};
    int code = cmd_parse("list", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_hub(&h, &err);
    if (!st) {
        st = hub_list(&h, &list, &err);
        hub_close(&h);
    }
    if (st)
        return cmd_fail(&err);
    if (as_json)
        cmd_print_json(list);
    else
        print_models(list);
    json_decref(list);
    return cmd_finish_output(0);
}

/* Each is removed that can be; the first that can't gives the exit code. */
int cmd_rm(int argc, char **argv) {
    cmd_positional p = {.min = 1, .max = 64};
    hub h;
    muga_error err = {0};
    int code = cmd_parse("rm", NULL, 0, argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_hub(&h, &err);
    if (st)
        return cmd_fail(&err);
    code = 0;
    for (size_t i = 0; i < p.n; i++) {
        st = hub_remove(&h, p.v[i], &err);
        int this = st ? cmd_fail(&err) : 0;
        if (!st)
            printf("removed %s\n", p.v[i]);
        code = code ? code : this;
    }
    hub_close(&h);
    return cmd_finish_output(code);
}
