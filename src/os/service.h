/* What a program that runs for long tells its keeper, and asks of the disk under it. */
#ifndef MUGA_OS_SERVICE_H
#define MUGA_OS_SERVICE_H

#include "base/error.h"

/* sd_notify(3): one datagram ("READY=1") to the Unix socket of that name, the value of NOTIFY_SOCKET: a path, or '@'
 * and an abstract name. It doesn't wait. MUGA_E_USAGE: not such a name; MUGA_E_ENV: nobody takes it. */
MUGA_MUST_USE muga_status os_notify(const char *socket, const char *state, muga_error *err);

/* Of the file system that `path` is on: its size, and what of it this process may still write. */
MUGA_MUST_USE muga_status os_disk_space(const char *path, uint64_t *size, uint64_t *room, muga_error *err);

#endif
