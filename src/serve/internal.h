/* Private to serve/: the server's whole state, and the tables of its routes. */
#ifndef MUGA_SERVE_INTERNAL_H
#define MUGA_SERVE_INTERNAL_H

#include "serve/call.h"
#include "serve/chat.h"
#include "serve/metrics.h"
#include "serve/pool.h"
#include "serve/serve.h"

typedef struct serve_routes {
    const call_route *list;
    size_t n;
} serve_routes;
/* One a file of routes; serve.c lists them. */
serve_routes openai_chat_routes(void);
serve_routes openai_completions_routes(void);
serve_routes openai_responses_routes(void);
serve_routes openai_models_routes(void); /* models and embeddings */
serve_routes anthropic_routes(void);
serve_routes ollama_generate_routes(void); /* generate, chat */
serve_routes ollama_embed_routes(void);    /* embed, embeddings */
serve_routes ollama_models_routes(void);   /* tags, ps, show, create, copy, delete, blobs, version */
serve_routes agents_routes(void);          /* agents, sessions */
serve_routes approvals_routes(void);       /* approvals, audit */
serve_routes tokens_routes(void);          /* tokenize, detokenize, apply-template */
serve_routes extras_routes(void);          /* health, metrics */

struct jobs;
struct keys;
struct live;
struct talks;
struct settings;
struct serve {
    const serve_options *options;
    server *server;
    pool *pool;
    struct jobs *jobs;
    struct keys *keys;
    struct live *live;
    struct talks *talks;
    struct settings *settings;
    metrics *metrics;
    int64_t begin_ms; /* wall clock */
    atomic_bool ready, draining, ticking;
};
/* Into the log: something went wrong that no answer tells of. */
void serve_note(serve *s, const char *event, const muga_error *what);
/* To who watches over the process, where the options know one. */
void serve_notify(serve *s, const char *state);

#endif
