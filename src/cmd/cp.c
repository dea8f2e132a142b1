/* muga cp: another name with the same content, or one that leads to it. */
#include "cmd/cmd.h"

int cmd_cp(int argc, char **argv) {
    bool alias = false;
    const cmd_option options[] = {
        {"--alias", 0, CMD_FLAG, &alias, NULL, "TO leads to FROM, whatever that will be; it is no copy"}};
    cmd_positional p = {.min = 2, .max = 2};
    hub h;
    muga_error err = {0};
    int code = cmd_parse("cp", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_hub(&h, &err);
    if (!st) {
        st = alias ? hub_alias(&h, p.v[1], p.v[0], &err) : hub_copy(&h, p.v[0], p.v[1], &err);
        hub_close(&h);
    }
    if (st)
        return cmd_fail(&err);
    printf(alias ? "%s leads to %s\n" : "%s is a copy of %s\n", p.v[1], p.v[0]);
    return cmd_finish_output(0);
}
