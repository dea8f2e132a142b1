/* The table of all routes, and the search in it: in order, the first that matches. */
#include "serve/routes.h"
#include "serve/internal.h"

typedef serve_routes (*routes_of)(void);
static const routes_of families[] = {
    extras_routes,           tokens_routes,        openai_chat_routes, openai_completions_routes,
    openai_responses_routes, openai_models_routes, anthropic_routes,   ollama_generate_routes,
    ollama_embed_routes,     ollama_models_routes, agents_routes,      approvals_routes};

size_t routes_count(void) {
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        n += families[i]().n;
    return n;
}

const call_route *routes_at(size_t i) {
    for (size_t f = 0; f < ARRAY_LEN(families); f++) {
        serve_routes r = families[f]();
        if (i < r.n)
            return &r.list[i];
        i -= r.n;
    }
    return NULL;
}

/* "{name}" takes what is up to the next '/', at least a byte; "{name...}" all that is left, at least a byte. */
static bool matches(const char *pattern, const char *path, span arg[CALL_ARGS]) {
    size_t n_arg = 0;
    while (*pattern)
        if (*pattern == '{') {
            const char *end = strchr(pattern, '}');
            bool rest = end[-1] == '.';
            size_t n = rest ? strlen(path) : strcspn(path, "/");
            if (n == 0)
                return false;
            arg[n_arg++] = span_of(path, n);
            path += n;
            pattern = end + 1;
        } else if (*pattern++ != *path++) {
            return false;
        }
    return !*path;
}

/* A method that a path takes, once; GET is HEAD, too. */
static void allow(char out[48], const char *method) {
    size_t n = strlen(out);
    if (!strstr(out, method))
        snprintf(out + n, 48 - n, "%s%s%s", n ? ", " : "", method, strcmp(method, "GET") ? "" : ", HEAD");
}

routes_match routes_find(const char *method, const char *path) {
    routes_match m = {0};
    bool head = !strcmp(method, "HEAD");
    for (size_t f = 0; f < ARRAY_LEN(families); f++) {
        serve_routes r = families[f]();
        for (size_t i = 0; i < r.n; i++) {
            if (!matches(r.list[i].path, path, m.arg))
                continue;
            if (!strcmp(method, r.list[i].method) || (head && !strcmp(r.list[i].method, "GET"))) {
                m.route = &r.list[i];
                return m;
            }
            allow(m.allow, r.list[i].method);
        }
    }
    return m;
}

bool routes_meant(const char *method, const char *path, char out[ROUTES_MEANT_BYTES]) {
    char plain[ROUTES_MEANT_BYTES];
    size_t n = 0;
    if (strlen(path) >= sizeof plain)
        return false;
    for (; *path; path++) /* without a slash that follows another or ends it */
        if (*path != '/' || (path[1] && path[1] != '/'))
            plain[n++] = *path;
    plain[n] = '\0';
    const char *rest = plain;
    while (!strncmp(rest, "/v1/v1/", 7))
        rest += 3;
    for (int with = 0; with < 3; with++) { /* as it is, below /v1, and Ollama's below /v1 */
        const char *from = with == 2 && !strncmp(rest, "/v1/api/", 8) ? rest + 3 : rest;
        int written = snprintf(out, ROUTES_MEANT_BYTES, "%s%s", with == 1 ? "/v1" : "", from);
        if (written > 0 && written < ROUTES_MEANT_BYTES && routes_find(method, out).route)
            return true;
    }
    return false;
}

call_family routes_family(const char *path) {
    return !strncmp(path, "/api/", 5) || !strcmp(path, "/") ? CALL_OLLAMA
           : !strncmp(path, "/v1/messages", 12)             ? CALL_ANTHROPIC
                                                            : CALL_OPENAI;
}
