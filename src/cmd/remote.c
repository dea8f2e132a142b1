/* Opening a remote model. The key comes from a file or the environment, never from the command line, where every
 * process of the machine could read it. */
#include "cmd/remote.h"

#include "net/url.h"

#define KEY_MAX_BYTES ((size_t)64 << 10)

int cmd_remote_check(const cmd_remote *r) {
    if (!r->url && (r->key_file || r->key_env || r->ca_file || r->proxy || r->timeout_s))
        return cmd_error(MUGA_E_USAGE, "--key-file, --key-env, --ca-file, --proxy and --timeout need --remote");
    if (r->key_file && r->key_env)
        return cmd_error(MUGA_E_USAGE, "--key-file and --key-env contradict each other");
    if (r->timeout_s > 86400 || r->retries > 100)
        return cmd_error(MUGA_E_USAGE, "--timeout is at most 86400, --retries at most 100");
    return -1;
}

/* The first line of the file, without white space around it. */
static muga_status read_key_file(const char *path, str *out, muga_error *err) {
    str text = STR_INIT;
    muga_status st = cmd_read_input(path, KEY_MAX_BYTES, &text, err);
    const char *p = str_get(&text);
    size_t n = strcspn(p, "\r\n");
    while (n > 0 && (*p == ' ' || *p == '\t')) {
        p++;
        n--;
    }
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t'))
        n--;
    if (!st && n == 0)
        st = error_set(err, MUGA_E_INPUT, "%.150s: its first line holds no key", path);
    if (!st) {
        str_append(out, p, n);
        st = str_status(out, err, "the key");
    }
    if (text.data)
        explicit_bzero(text.data, text.cap);
    str_release(&text);
    return st;
}

muga_status cmd_read_key(const char *file, const char *variable, str *out, muga_error *err) {
    if (file)
        return read_key_file(file, out, err);
    const char *v = getenv(variable);
    if (!v || !*v)
        return error_set(err, MUGA_E_NOT_FOUND, "the environment's variable %.100s holds no key", variable);
    str_append_s(out, v);
    return str_status(out, err, "the key");
}

static void say_retry(void *ctx, const char *why, int64_t wait_ms) {
    (void)ctx;
    str text = STR_INIT;
    str_printf(&text, "%s; again in %.1f s", why, (double)wait_ms / 1000);
    cmd_say(str_get(&text));
    str_release(&text);
}

static void say_where(const cmd_remote *r) {
    url u;
    muga_error ignored;
    if (!url_parse(r->url, &u, &ignored) && !u.loopback)
        fprintf(stderr, "muga: what is asked leaves this machine, to %.*s\n", (int)MIN(u.host.n, (size_t)255),
                u.host.p);
}

muga_status cmd_remote_open(cmd_remote *r, const char *model, llm **out, muga_error *err) {
    const os_system_table *os = os_system();
    http_options h = {.clock = &os->clock, .ca_file = r->ca_file, .proxy = r->proxy};
    str key = STR_INIT;
    muga_status st = r->key_file || r->key_env ? cmd_read_key(r->key_file, r->key_env, &key, err) : MUGA_OK;
    if (!st)
        st = http_open(&h, &r->http, err);
    llm_remote_options o = {.url = r->url,
                            .model = model,
                            .key = key.len ? str_get(&key) : NULL,
                            .http = r->http,
                            .clock = &os->clock,
                            .total_ms = r->timeout_s * 1000,
                            .retries = r->retries,
                            .on_retry = say_retry};
    if (!st)
        st = os_random(&o.jitter_seed, sizeof o.jitter_seed, err);
    if (!st)
        st = llm_remote_new(&o, out, err);
    if (!st)
        say_where(r);
    if (key.data)
        explicit_bzero(key.data, key.cap);
    str_release(&key);
    return st;
}

void cmd_remote_release(cmd_remote *r) {
    http_close(&r->http);
}
