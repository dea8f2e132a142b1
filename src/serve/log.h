/* Private to serve/: the log. One JSON object a line, or a short line for people:
 *
 *   {"time":"2026-11-26T09:30:00.123Z","level":"info","event":"request","id":"req_...","key":"key_8f...",
 *    "method":"POST","route":"/v1/chat/completions","status":200,"model":"smollm2:latest","prompt":31,"cached":0,
 *    "generated":64,"finish":"stop","queue_ms":0,"load_ms":0,"ms":812.4}
 *   09:30:00.123 info  request POST /v1/chat/completions 200 model=smollm2:latest ... ms=812.4
 *
 * No text of a message, a result or an argument is in it unless `contents` says so, and no key, ever: of a key its id.
 * Control characters and what isn't UTF-8 are escaped; a line has at most LOG_LINE_BYTES.
 *
 * Writing is another thread's: a full pipe or a full disk stops nobody. What finds no room in LOG_QUEUE_BYTES is left
 * out and counted, and the next line that is written says how many. The same warning or error is written at most
 * LOG_REPEATS times in LOG_REPEAT_MS, and then how often it came.
 *
 * Threads: all of it from any thread. A NULL log takes everything and writes nothing. */
#ifndef MUGA_SERVE_LOG_H
#define MUGA_SERVE_LOG_H

#include "base/json.h"
#include "os/os.h"

#define LOG_LINE_BYTES ((size_t)16 << 10)
#define LOG_QUEUE_BYTES ((size_t)1 << 20)
#define LOG_MAX_FIELDS 20u /* of a line; more are left out */
#define LOG_REPEATS 5u
#define LOG_REPEAT_MS 60000

typedef enum { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, LOG_OFF } log_level;
typedef enum { LOG_JSON, LOG_TEXT } log_format;

typedef struct serve_log serve_log;
typedef struct log_options {
    log_level level; /* and above */
    log_format format;
    bool contents;
    const os_clock *clock; /* borrowed */
    /* Whole lines; false: they are lost, which is counted. May block. */
    bool (*write)(void *ctx, const char *p, size_t n);
    void *ctx;
} log_options;
MUGA_MUST_USE muga_status log_new(const log_options *o, serve_log **out, muga_error *err);
void log_free(serve_log *l); /* waits until all is written, two seconds at most where `write` blocks */
void log_set(serve_log *l, log_level level, log_format format, bool contents);
bool log_has(const serve_log *l, log_level level); /* would it be written? */
bool log_has_contents(const serve_log *l);

typedef struct log_field {
    const char *name;
    enum { LOG_STRING, LOG_COUNT, LOG_MS, LOG_BOOL, LOG_VALUE } kind;
    const char *text;    /* of STRING; NULL: the field is left out */
    uint64_t number;     /* COUNT, BOOL; MS: microseconds, written as milliseconds */
    const json_t *value; /* of VALUE: borrowed */
} log_field;
#define LOG_S(n, t) ((log_field){(n), LOG_STRING, (t), 0, NULL})
#define LOG_N(n, v) ((log_field){(n), LOG_COUNT, NULL, (v), NULL})
#define LOG_US(n, v) ((log_field){(n), LOG_MS, NULL, (v), NULL})
#define LOG_B(n, v) ((log_field){(n), LOG_BOOL, NULL, (v), NULL})
#define LOG_V(n, v) ((log_field){(n), LOG_VALUE, NULL, 0, (v)})
/* event: a word for programs ("model_loaded"); what counts as the same for LOG_REPEATS, with `text`.
 * text: for people, or NULL. */
void log_write(serve_log *l, log_level level, const char *event, const char *text, const log_field *fields, size_t n);
/* An error of the library: its status and message. */
void log_error(serve_log *l, log_level level, const char *event, muga_status st, const muga_error *err);

/* A request that has ended. NULL and 0 fields are left out. */
typedef struct log_request {
    const char *id, *key;                                         /* key: its id, never the key */
    const char *method, *route, *peer, *model, *finish, *message; /* message: of the error that went out */
    int status;
    uint32_t n_prompt, n_cached, n_generated;
    uint64_t queue_us, load_us, total_us;
    const json_t *body; /* what was asked: written where contents are wanted, else not looked at */
} log_request;
void log_request_end(serve_log *l, const log_request *r);

typedef struct log_counts {
    uint64_t n_written, n_lost, n_repeated; /* lines; repeated: left out as the same */
} log_counts;
log_counts log_get_counts(serve_log *l);

#endif
