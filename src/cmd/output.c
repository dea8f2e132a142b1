/* What a person or a pipe sees: messages, tables, JSON, progress; and how a run ends. */
#include "cmd/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

int cmd_exit_code(muga_status status) {
    switch (status) {
    case MUGA_OK: return 0;
    case MUGA_E_NEGATIVE: return 1;
    case MUGA_E_USAGE: return 2;
    case MUGA_E_NOT_FOUND: return 3;
    case MUGA_E_INPUT:
    case MUGA_E_LIMIT:
    case MUGA_E_NONFINITE: return 4;
    case MUGA_E_POLICY: return 5;
    case MUGA_E_ENV:
    case MUGA_E_NOMEM:
    case MUGA_E_INTERNAL: return 6;
    case MUGA_E_CANCELLED: return 130;
    }
    return 6;
}

/* What a message quotes comes from outside: names, keys, paths. It stays one line and drives no terminal. */
void cmd_say(const char *text) {
    str line = STR_INIT;
    fflush(stdout);
    str_append_s(&line, "muga: ");
    cmd_write_visible(text, strlen(text), &line);
    fprintf(stderr, "%s\n", line.failed ? "muga: out of memory" : str_get(&line));
    str_release(&line);
}

int cmd_fail(const muga_error *err) {
    cmd_say(err->message[0] ? err->message : error_status_name(err->status));
    return cmd_exit_code(err->status);
}

int cmd_error(muga_status status, const char *format, ...) {
    muga_error err = {.status = status};
    va_list args;
    va_start(args, format);
    vsnprintf(err.message, sizeof err.message, format, args);
    va_end(args);
    return cmd_fail(&err);
}

bool cmd_is_terminal(int fd) {
    return isatty(fd) == 1;
}

bool cmd_use_colour(int fd) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return cmd_is_terminal(fd) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

void cmd_print_json(const json_t *v) {
    str s = STR_INIT;
    json_write(v, &s);
    fwrite(str_get(&s), 1, s.len, stdout);
    putchar('\n');
    fflush(stdout);
    str_release(&s);
}

/* A pipe whose reader has gone shows it, whenever the write failed. */
static bool reader_is_gone(void) {
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

int cmd_finish_output(int code) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno != EPIPE && !reader_is_gone()) /* of a write long past only the fact is known */
        fprintf(stderr, "muga: output could not be written (%s); check where it goes\n",
                errno ? strerror(errno) : "closed, or no space left");
    return 6;
}

void cmd_print_table(const char *const *cells, size_t n_rows, size_t n_cols) {
    size_t width[16] = {0};
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < n_cols && c < ARRAY_LEN(width); c++)
            width[c] = MAX(width[c], strlen(cells[r * n_cols + c]));
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t c = 0; c < n_cols; c++) {
            const char *text = cells[r * n_cols + c];
            if (c + 1 == n_cols)
                printf("%s\n", text);
            else
                printf("%-*s  ", (int)width[MIN(c, ARRAY_LEN(width) - 1)], text);
        }
    }
}

void cmd_format_bytes(uint64_t bytes, char out[16]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 999.5 && u + 1 < ARRAY_LEN(units)) {
        v /= 1000;
        u++;
    }
    snprintf(out, 16, u && v < 99.95 ? "%.1f %s" : "%.0f %s", v, units[u]);
}

static int terminal_columns(void) {
    struct winsize size;
    return !ioctl(STDERR_FILENO, TIOCGWINSZ, &size) && size.ws_col > 0 ? size.ws_col : 80;
}

/* One line, short enough for the terminal to leave it one. */
static void draw_bar(const cmd_progress *p, int percent) {
    char bar[31];
    int n = MIN(30, terminal_columns() - (int)strlen(p->what) - 10); /* beside " [] 100 %" and a free column */
    for (int i = 0; i < n; i++)
        bar[i] = i * 100 < percent * n ? '#' : '.';
    if (n >= 5)
        fprintf(stderr, "\r%s [%.*s] %3d %%", p->what, n, bar, percent);
    else
        fprintf(stderr, "\r%3d %%", percent);
}

void cmd_progress_show(void *progress, double done) {
    cmd_progress *p = progress;
    int percent = (int)(MIN(MAX(done, 0.0), 1.0) * 100);
    if (!p->active)
        p->last = -1;
    if (cmd_is_terminal(STDERR_FILENO)) {
        if (percent == p->last)
            return;
        draw_bar(p, percent);
    } else if (percent / 50 > MAX(p->last, 0) / 50) { /* at the half and at the end */
        fprintf(stderr, "%s %d %%\n", p->what, percent);
    }
    p->active = true;
    p->last = percent;
}

void cmd_progress_finish(cmd_progress *p) {
    if (p->active && cmd_is_terminal(STDERR_FILENO))
        fprintf(stderr, "\r%*s\r", MIN((int)strlen(p->what) + 40, terminal_columns() - 1), "");
    p->active = false;
}

#define SAME_INTERRUPT_MS 500 /* a shell, or timeout(1), may send one wish to the process and again to its group */

static volatile sig_atomic_t watched;
static atomic_bool interrupted;
static struct timespec interrupted_at;
static int wake[2] = {-1, -1}; /* a pipe: whichever thread gets the signal, a wait for input ends */

static void on_interrupt(int signal) {
    struct timespec now;
    (void)signal;
    int before = errno;
    clock_gettime(CLOCK_MONOTONIC, &now);
    bool again = atomic_load(&interrupted);
    int64_t ms = (int64_t)(now.tv_sec - interrupted_at.tv_sec) * 1000 +
                 (now.tv_nsec - interrupted_at.tv_nsec) / 1000000;
    if (!watched || (again && ms > SAME_INTERRUPT_MS))
        _exit(130);
    if (!again)
        interrupted_at = now;
    atomic_store(&interrupted, true);
    if (write(wake[1], "", 1) < 0) /* without the pipe the flag must do */
        errno = before;
}

static void handle_interrupt(void) {
    /* Waits for input are polls, which no flag restarts; a write that is cut off would count as lost output. */
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

void cmd_end_on_interrupt(void) {
    struct sigaction now;
    if (!sigaction(SIGINT, NULL, &now) && now.sa_handler != SIG_IGN) /* a shell's background job stays deaf to it */
        handle_interrupt();
}

void cmd_catch_interrupt(void) {
    if (wake[0] < 0 && pipe2(wake, O_CLOEXEC | O_NONBLOCK))
        wake[0] = wake[1] = -1;
    watched = 1;
    atomic_store(&interrupted, false);
    handle_interrupt();
}

bool cmd_interrupted(void) {
    return atomic_load(&interrupted);
}

const atomic_bool *cmd_interrupt_flag(void) {
    return &interrupted;
}

void cmd_clear_interrupt(void) {
    char drop[16];
    while (read(wake[0], drop, sizeof drop) > 0)
        ;
    atomic_store(&interrupted, false);
}

bool cmd_wait_input(void) {
    struct pollfd p[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = wake[0], .events = POLLIN}};
    while (!cmd_interrupted() && poll(p, ARRAY_LEN(p), -1) < 0 && errno == EINTR)
        ;
    return !cmd_interrupted();
}
