/* muga.db in the store's home. */
#include "cmd/cmd.h"

muga_status cmd_open_store(bool must_exist, store **out, muga_error *err) {
    char *home = NULL;
    str path = STR_INIT;
    store_options options = {.must_exist = must_exist};
    const os_files *files = &os_system()->files;
    *out = NULL;
    muga_status st = cmd_home(&home, err);
    if (!st && !must_exist)
        st = files->mkdirs(files->self, home, err);
    if (!st) {
        str_printf(&path, "%s/muga.db", home);
        st = str_status(&path, err, "a path");
    }
    if (!st)
        st = store_open(str_get(&path), &options, out, err);
    str_release(&path);
    free(home);
    return st;
}
