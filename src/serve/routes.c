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
            m.allow = r.list[i].method;
        }
    }
    return m;
}

call_family routes_family(const char *path) {
    return !strncmp(path, "/api/", 5) || !strcmp(path, "/") ? CALL_OLLAMA
           : !strncmp(path, "/v1/messages", 12)             ? CALL_ANTHROPIC
                                                            : CALL_OPENAI;
}
