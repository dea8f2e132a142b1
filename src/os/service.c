/* The service manager's socket (sd_notify(3), "Notes": the protocol), and the room on a disk (statvfs(3)). */
#include "os/service.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

muga_status os_notify(const char *socket_name, const char *state, muga_error *err) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = strlen(socket_name);
    if ((socket_name[0] != '/' && socket_name[0] != '@') || n < 2 || n >= sizeof to.sun_path)
        return error_set(err, MUGA_E_USAGE, "NOTIFY_SOCKET is no path and no abstract name: %.80s", socket_name);
    memcpy(to.sun_path, socket_name, n);
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    ssize_t sent =
        fd < 0 ? -1 : sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)(const void *)&to, size);
    int why = errno;
    if (fd >= 0)
        close(fd);
    return sent >= 0 ? MUGA_OK : error_set(err, MUGA_E_ENV, "%.80s takes no notice: %s", socket_name, strerror(why));
}

muga_status os_disk_space(const char *path, uint64_t *size, uint64_t *room, muga_error *err) {
    struct statvfs v;
    if (statvfs(path, &v))
        return error_set(err, MUGA_E_ENV, "%.160s: the disk's room is unknown: %s", path, strerror(errno));
    *size = (uint64_t)v.f_blocks * v.f_frsize;
    *room = (uint64_t)v.f_bavail * v.f_frsize;
    return MUGA_OK;
}
