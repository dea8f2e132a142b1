/* A model is read through a mapping of its file. Where somebody cuts that file short (or its disk fails) the next touch
 * of a lost page is SIGBUS, which no check can foresee. It becomes one line that names the file, and exit code 6; what
 * was durable before stays so, as after a kill.
 *
 * The handler runs at any point of the program: it makes system calls only, and never returns. */
#include "cmd/cmd.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_flag reporting = ATOMIC_FLAG_INIT;

typedef struct map_line {
    char text[4096];
    size_t n;
    int fd; /* of /proc/self/maps: "from-to rights offset device inode   path" */
} map_line;

static bool next_line(map_line *l) {
    char c;
    l->n = 0;
    while (read(l->fd, &c, 1) == 1 && c != '\n')
        if (l->n + 1 < sizeof l->text)
            l->text[l->n++] = c;
    l->text[l->n] = 0;
    return l->n > 0;
}

static const char *take_hex(const char *p, uintptr_t *out) {
    *out = 0;
    for (; (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f'); p++)
        *out = *out << 4 | (uintptr_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
    return p;
}

/* The path of the mapping that holds `address`, in l->text; NULL when it isn't a file's. */
static char *find_path(map_line *l, uintptr_t address) {
    char *found = NULL;
    l->fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while (l->fd >= 0 && !found && next_line(l)) {
        uintptr_t from, to;
        const char *p = take_hex(l->text, &from);
        (void)take_hex(p + (*p == '-'), &to);
        if (address >= from && address < to)
            found = strchr(l->text, '/');
        else if (address < from)
            break;
    }
    if (l->fd >= 0)
        close(l->fd);
    for (char *c = found; c && *c; c++) /* nothing that drives a terminal */
        if (*c < ' ' || *c > '~')
            *c = '?';
    return found;
}

static void put(const char *text) {
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

static void on_lost_page(int number, siginfo_t *info, void *context) {
    (void)context;
    if (info->si_code != BUS_ADRERR) { /* a fault of ours: as it would have been */
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    while (atomic_flag_test_and_set(&reporting))
        pause(); /* another thread met it, too; it ends the process */
    map_line line;
    const char *path = find_path(&line, (uintptr_t)info->si_addr);
    put("muga: ");
    put(path ? path : "a file");
    put(" was cut short while it was in use, or its disk failed; start again with a whole file, and put a new one in "
        "its place by renaming\n");
    _exit(cmd_exit_code(MUGA_E_ENV));
}

void cmd_catch_lost_files(void) {
    struct sigaction action = {.sa_sigaction = on_lost_page, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}
