/* muga stop: a running server unloads a model. */
#include "cmd/server.h"

int cmd_stop(int argc, char **argv) {
    cmd_server s = {NULL};
    const cmd_option options[] = {SERVER_OPTIONS(&s)};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    json_t *answer = NULL;
    int status = 0;
    int code = cmd_parse("stop", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    cmd_catch_interrupt();
    json_t *body = json_pack("{s:s, s:i, s:b}", "model", p.v[0], "keep_alive", 0, "stream", 0);
    muga_status st = body ? cmd_server_ask(&s, "POST", "/api/generate", body, &status, &answer, &err)
                          : error_set(&err, MUGA_E_USAGE, "'%.60s' is no name of a model", p.v[0]);
    if (!st && status / 100 != 2)
        st = cmd_server_refused(status, answer, &err);
    json_decref(body);
    json_decref(answer);
    if (st)
        return cmd_fail(&err);
    printf("%s is unloaded once nobody uses it\n", p.v[0]);
    return cmd_finish_output(0);
}
