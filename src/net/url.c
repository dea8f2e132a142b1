/* Addresses, taken apart strictly: what isn't plainly a host and a path is refused. */
#include "net/url.h"

#include <string.h>

static const char remedy[] = "an address is http:// or https://, host, port and path, as in https://host:8080/v1";

/* Four numbers to 255, the first one 127. */
static bool is_loopback_v4(span h) {
    unsigned part = 0, value = 0, digits = 0;
    for (size_t i = 0; i <= h.n; i++) {
        if (i < h.n && h.p[i] >= '0' && h.p[i] <= '9') {
            value = value * 10 + (unsigned)(h.p[i] - '0');
            if (++digits > 3 || value > 255)
                return false;
        } else if ((i == h.n || h.p[i] == '.') && digits > 0) {
            if (part++ == 0 && value != 127)
                return false;
            value = digits = 0;
        } else {
            return false;
        }
    }
    return part == 4;
}

static bool is_host_byte(char c, bool v6) {
    bool digit = c >= '0' && c <= '9', hex = digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (v6)
        return hex || c == ':' || c == '.';
    return digit || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == '_';
}

static bool take_host(const char **at, url *out, bool *v6) {
    const char *p = *at;
    *v6 = *p == '[';
    const char *from = p + *v6;
    for (p = from; is_host_byte(*p, *v6); p++) {}
    out->host = span_of(from, (size_t)(p - from));
    if (*v6 && *p++ != ']')
        return false;
    *at = p;
    return out->host.n > 0;
}

static bool take_port(const char **at, url *out) {
    uint32_t port = 0;
    const char *p = *at;
    out->port = out->tls ? 443 : 80;
    if (*p != ':')
        return true;
    const char *from = ++p;
    for (; *p >= '0' && *p <= '9' && p - from < 5; p++)
        port = port * 10 + (uint32_t)(*p - '0');
    out->port = (uint16_t)port;
    *at = p;
    return port > 0 && port <= UINT16_MAX;
}

muga_status url_parse(const char *text, url *out, muga_error *err) {
    *out = (url){0};
    size_t n = strnlen(text, URL_MAX_BYTES + 1);
    if (n > URL_MAX_BYTES)
        return error_set(err, MUGA_E_USAGE, "the address has more than %d bytes", URL_MAX_BYTES);
    for (size_t i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] >= 0x7F || text[i] == '"' || text[i] == '\\')
            return error_set(err, MUGA_E_USAGE, "the address has a blank or another byte that is none of its own; %s",
                             remedy);
    if (strchr(text, '@'))
        return error_set(err, MUGA_E_USAGE,
                         "the address holds an '@'; keys and passwords don't belong there: name a "
                         "file or a variable of the environment that has the key");
    if (strpbrk(text, "?#"))
        return error_set(err, MUGA_E_USAGE, "the address has a '?' or '#'; %s", remedy);
    out->tls = strncmp(text, "https://", 8) == 0;
    if (!out->tls && strncmp(text, "http://", 7) != 0)
        return error_set(err, MUGA_E_USAGE, "\"%.100s\" does not begin with http:// or https://; %s", text, remedy);
    const char *at = text + (out->tls ? 8 : 7);
    bool v6 = false;
    if (!take_host(&at, out, &v6) || !take_port(&at, out) || (*at && *at != '/'))
        return error_set(err, MUGA_E_USAGE, "\"%.100s\" has no host, or no port from 1 to 65535; %s", text, remedy);
    out->path = span_of(at, strlen(at));
    out->loopback = v6 ? span_equal_string(out->host, "::1")
                       : span_equal_string(out->host, "localhost") || is_loopback_v4(out->host);
    return MUGA_OK;
}
