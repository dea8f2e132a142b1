/* Private to serve/: one request that is being answered.
 *
 * A route is a function that runs as a job, on a thread of its own that may block: it reads the body's fields, takes
 * what it needs, answers, and returns. What it fails with becomes the error object of its family; what it streams goes
 * out at once. When the client leaves, call_gone becomes true (llm_request.cancelled points there), writing says false,
 * and the route ends soon.
 *
 *     static void run(call *c) {
 *         struct wanted w = {.temperature = 1};
 *         if (!call_read(c, c->body, "", fields, ARRAY_LEN(fields), &w))
 *             return;                                   // a 400 that names the field has gone out
 *         ...
 *         call_reply(c, 200, answer);                   // or call_events_begin, call_event ..., call_events_end
 *     }
 */
#ifndef MUGA_SERVE_CALL_H
#define MUGA_SERVE_CALL_H

#include "base/json.h"
#include "base/mem.h"
#include "net/server.h"
#include "serve/metrics.h"

typedef enum { CALL_OPENAI, CALL_ANTHROPIC, CALL_OLLAMA, CALL_MUGA } call_family; /* MUGA: errors as OpenAI's */

struct serve; /* serve/internal.h */
struct key;   /* serve/keys.h */
typedef struct call call;

/* What one must be allowed to, besides models and agents that a route looks at itself. */
typedef enum { CALL_OPEN, CALL_ANY_KEY, CALL_ADMIN, CALL_AUDIT, CALL_METRICS } call_right; /* OPEN: without a key */

typedef struct call_route {
    const char *method; /* "GET" also answers HEAD */
    const char *path;   /* a part in braces takes one part of the path, "{name...}" all the rest: c->arg[] in order */
    call_family family;
    call_right right;
    bool generates;   /* waits for its turn with the others that compute (serve/admission.h) */
    bool at_once;     /* short and without waiting: runs in the server's thread */
    bool takes_bytes; /* the body is not JSON; c->body is NULL */
    void (*run)(call *c);
    /* With the headers, in the server's thread, after the right was looked at: to take a long body in pieces
     * (exchange_take_body). What it fails with is the answer. Or NULL. */
    muga_status (*begin)(struct serve *s, exchange *x, const char *arg, muga_error *err);
} call_route;
#define CALL_ARGS 3

struct call {
    struct serve *serve;
    exchange *x;
    const server_request *q;
    const call_route *route;
    const struct key *key;                                /* who asks; on loopback without keys the anonymous one */
    const char *tenant;                                   /* whose caches, sessions and files are used */
    int priority;                                         /* llm_request.priority */
    json_t *body;                                         /* an object; {} where there was no body */
    char *arg[CALL_ARGS];                                 /* of the path; in the arena */
    arena mem;                                            /* lives as long as the call */
    str ignored;                                          /* names of fields that aren't defined: x-muga-ignored */
    atomic_bool cancelled;                                /* call_cancelled */
    char id[28];                                          /* of the request: x-request-id, and in logs */
    uint64_t begin_us;                                    /* when its headers were there (monotonic) */
    int status;                                           /* that went out; 0: nothing yet */
    enum { CALL_WHOLE, CALL_EVENTS, CALL_LINES } streams; /* an answer was begun so and not ended */
    /* Makes what a stream of events says of an error, by the name "error", from the error object, which it steals.
     * NULL: that object itself is said. */
    json_t *(*error_event)(void *ctx, json_t *error);
    void *error_ctx;
    /* for the log and metrics; filled in by routes */
    const char *model, *finish;
    const char *session; /* of an agent: the header x-muga-session */
    uint32_t n_prompt, n_cached, n_generated;
    uint64_t queue_us, load_us, prefill_us, decode_us;
    metrics_request metrics;
    char peer[64];          /* who asks: the connection may be gone before the call */
    char message[256];      /* of the error that went out; "" */
    uint32_t retry_after_s; /* said with a 429 and a 503, where it is set */
    char retry_after[12];
};

uint64_t call_now_us(void);                  /* monotonic */
const atomic_bool *call_gone(const call *c); /* the client has left: nobody reads any more */
/* What llm_request.cancelled points to: the client has left, or the server ends, and then a stream still gets its last
 * event. */
const atomic_bool *call_cancelled(const call *c);

/* ---- fields of a body ----
 * A table says which there are, of what type and range, and where they go. Anything else is a 400 by name ("temperature
 * must be between 0 and 2, not -3"), null counts as absent, names that the table lacks are remembered as ignored. */
typedef enum {
    FIELD_BOOL,     /* bool */
    FIELD_U32,      /* uint32_t, in min..max */
    FIELD_I64,      /* int64_t, in min..max */
    FIELD_F32,      /* float, in min..max */
    FIELD_STRING,   /* const char *, borrowed from the body; no NUL in it; at most max bytes where max is above 0 */
    FIELD_TEXT,     /* span, NUL allowed */
    FIELD_ARRAY,    /* const json_t *, an array, of min..max entries where max is above 0 */
    FIELD_OBJECT,   /* const json_t * */
    FIELD_JSON,     /* const json_t *, whatever it is */
    FIELD_ACCEPTED, /* defined, and nothing depends on it here: of the type that `may` names, read and left */
    FIELD_REFUSED   /* defined, and not supported: a 400, but for the value that `may` writes ("false") and null */
} field_kind;
typedef struct field {
    const char *name;
    field_kind kind;
    size_t offset; /* into what call_read fills */
    double min, max;
    /* of REFUSED: JSON text of the value that asks for nothing; NULL: none.
     * of ACCEPTED: "true or false", "an integer", "a number", "a string" (of at most max characters), "an array",
     * "an object", "texts" (an object of few and short strings), or the strings that it may be, with bars between
     * ("auto|none"); NULL: of any type */
    const char *may;
    bool required;
} field;
#define FIELD_AT(type, member) offsetof(type, member)
/* where: "" or "options." and so on, before names in messages. false: the 400 has gone out. Members that the body lacks
 * are left as they were. */
bool call_read(call *c, const json_t *object, const char *where, const field *table, size_t n, void *out);

/* ---- answers ---- all false when the client has gone. json is stolen.
 * The end of an answer goes out when the request is done with: counted, its turn and its model given back. So whoever
 * asks again at once isn't in his own way. */
bool call_reply(call *c, int status, json_t *json);
bool call_reply_text(call *c, int status, const char *content_type, const char *p, size_t n);
/* Server-sent events. name NULL: data alone. */
bool call_events_begin(call *c);
bool call_event(call *c, const char *name, json_t *json);
bool call_event_text(call *c, const char *data); /* "[DONE]" */
void call_ends(call *c); /* what is said from here on is the end: before a stream's last event or line */
bool call_events_end(call *c);
/* JSON, one a line (application/x-ndjson). */
bool call_lines_begin(call *c);
bool call_line(call *c, json_t *json);
bool call_lines_end(call *c);

/* ---- errors ----
 * In the family's form; in a stream that has begun, its last event or line, and the stream ends.
 * param: the field's name or NULL; code: a word for programs or NULL. Always false, so that `return call_fail(...)`
 * reads well. */
bool call_fail(call *c, int status, const char *param, const char *code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* A status of the library: E_INPUT, E_USAGE, E_LIMIT -> 400, E_NOT_FOUND -> 404, E_POLICY -> 403, E_NOMEM and E_ENV ->
 * 503, E_CANCELLED -> nothing where the client has left (499 in the log), else 503, E_NONFINITE and others -> 500. */
bool call_fail_with(call *c, muga_status st, const muga_error *err, const char *param);
bool call_no_memory(call *c); /* a 503; false */
/* What came of something: json (stolen) with 200, or what it failed with. */
bool call_answer(call *c, muga_status st, const muga_error *err, const char *param, json_t *json);
/* The same of a list: {"object": "list", "data": list}; the list is stolen. */
bool call_answer_list(call *c, muga_status st, const muga_error *err, json_t *list);
/* The error object alone, new: of the family, as `refuse` of the server makes it too. */
json_t *call_error_json(call_family f, int status, const char *param, const char *code, const char *message);

/* json NULL, as json_pack gives where memory is out, is answered with a 503 by call_reply, call_event and call_line. */
#endif
