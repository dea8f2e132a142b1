/* What belongs to no family: whether the server lives. */
#include "serve/seen.h"

static void say_running(call *c) {
    static const char text[] = "muga is running";
    (void)call_reply_text(c, 200, "text/plain; charset=utf-8", text, sizeof text - 1);
}

static void say_alive(call *c) {
    (void)call_reply(c, 200, json_pack("{s:s}", "status", "ok"));
}

static void say_ready(call *c) {
    serve *s = c->serve;
    if (atomic_load(&s->draining))
        (void)call_reply(c, 503, json_pack("{s:s}", "status", "stopping"));
    else if (!atomic_load(&s->ready))
        (void)call_reply(c, 503, json_pack("{s:s}", "status", "starting"));
    else
        (void)call_reply(c, 200, json_pack("{s:s}", "status", "ok"));
}

static const call_route routes[] = {
    {.method = "GET", .path = "/", .family = CALL_OLLAMA, .at_once = true, .run = say_running},
    {.method = "GET", .path = "/health", .at_once = true, .run = say_ready},
    {.method = "GET", .path = "/v1/health", .at_once = true, .run = say_ready},
    {.method = "GET", .path = "/health/ready", .at_once = true, .run = say_ready},
    {.method = "GET", .path = "/health/live", .at_once = true, .run = say_alive},
    {.method = "GET", .path = "/metrics", .right = CALL_METRICS, .run = seen_metrics},
};

serve_routes extras_routes(void) {
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
