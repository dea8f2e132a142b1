/* The log. Owns: the form of a line, the queue between who logs and the thread that writes, what counts as repeated.
 * Refuses: nothing; a line that finds no room is counted and told of.
 *
 * Idea: a line is formed by who logs it, outside the lock, and copied into a queue of bytes; the writer takes all there
 * is at once. So nobody but the writer ever waits for the terminal, the pipe or the disk. */
#include "serve/log.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define LOG_SAME_SLOTS 64u /* different events that are watched for repeats; an older one gives way */
#define LOG_END_MS 2000

typedef struct same_event {
    uint64_t hash, since_us; /* since_us: when its stretch of LOG_REPEAT_MS began */
    uint32_t n;
    bool used;
} same_event;

struct serve_log {
    log_options o;
    atomic_int level, format;
    atomic_bool contents;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t more, idle;
    pthread_t writer;
    str queue, taken; /* whole lines; the writer has `taken` */
    uint64_t n_lost_told;
    log_counts counts;
    same_event same[LOG_SAME_SLOTS];
    bool ends, writes, ended;
};

static const char *const level_names[] = {"debug", "info", "warning", "error"};

/* ---- the writer ---- */

static uint64_t lines_in(const str *s) {
    uint64_t n = 0;
    for (size_t i = 0; i < s->len; i++)
        n += s->data[i] == '\n';
    return n;
}

static void *write_lines(void *ctx) {
    serve_log *l = ctx;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->queue.len && !l->ends)
            pthread_cond_wait(&l->more, &l->lock);
        if (!l->queue.len)
            break;
        str swap = l->taken;
        l->taken = l->queue;
        l->queue = swap;
        str_clear(&l->queue);
        l->writes = true;
        pthread_mutex_unlock(&l->lock);
        uint64_t n = lines_in(&l->taken);
        bool ok = l->o.write(l->o.ctx, l->taken.data, l->taken.len);
        pthread_mutex_lock(&l->lock);
        l->writes = false;
        *(ok ? &l->counts.n_written : &l->counts.n_lost) += n;
        pthread_cond_broadcast(&l->idle);
    }
    l->ended = true;
    pthread_cond_broadcast(&l->idle);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- lines ---- */

static void write_time(str *out, int64_t ms, log_format f) {
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm = {0};
    gmtime_r(&seconds, &tm);
    if (f == LOG_JSON)
        str_printf(out, "{\"time\":\"%04d-%02d-%02dT", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    str_printf(out, "%02d:%02d:%02d.%03d", tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000));
    str_append_s(out, f == LOG_JSON ? "Z\"" : " ");
}

static void write_field(str *out, const log_field *f, log_format format) {
    if (f->kind == LOG_STRING && !f->text)
        return;
    if (format == LOG_JSON) {
        str_append_c(out, ',');
        json_write_string(out, f->name, strlen(f->name));
        str_append_c(out, ':');
    } else {
        str_printf(out, " %s=", f->name);
    }
    switch (f->kind) {
    case LOG_STRING: {
        /* a word needs no quotation marks for people */
        size_t n = strlen(f->text), plain = 0;
        while (plain < n && f->text[plain] > ' ' && f->text[plain] < 0x7f && !strchr("\"\\=", f->text[plain]))
            plain++;
        if (format == LOG_TEXT && n && plain == n)
            str_append(out, f->text, n);
        else
            json_write_string(out, f->text, n);
        break;
    }
    case LOG_COUNT: str_printf(out, "%" PRIu64, f->number); break;
    case LOG_MS: str_printf(out, "%" PRIu64 ".%u", f->number / 1000, (unsigned)(f->number % 1000 / 100)); break;
    case LOG_BOOL: str_append_s(out, f->number ? "true" : "false"); break;
    case LOG_VALUE: json_write(f->value, out); break;
    }
}

/* A JSON string has no raw control characters but DEL and those past ASCII, which a terminal may obey: they are written
 * as escapes here, where every line passes. */
static void escape_controls(const str *in, str *out) {
    for (size_t i = 0; i < in->len;) {
        uint32_t cp;
        size_t n = utf8_decode(in->data + i, in->len - i, &cp);
        bool control = cp == 0x7f || (cp >= 0x80 && cp < 0xa0) || (cp >= 0x200b && cp <= 0x200f) ||
                       (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) || cp == 0xfeff;
        if (n == 0) {
            str_append_s(out, "\\ufffd");
            n = 1;
        } else if (control) {
            str_printf(out, "\\u%04x", (unsigned)cp);
        } else {
            str_append(out, in->data + i, n);
        }
        i += n;
    }
}

static void write_line(const serve_log *l, log_level level, const char *event, const char *text,
                       const log_field *fields, size_t n, str *out) {
    log_format f = (log_format)atomic_load_explicit(&l->format, memory_order_relaxed);
    write_time(out, l->o.clock->now_ms(l->o.clock->self), f);
    if (f == LOG_JSON) {
        str_printf(out, ",\"level\":\"%s\",\"event\":", level_names[level]);
        json_write_string(out, event, strlen(event));
    } else {
        str_printf(out, "%-7s %s", level_names[level], event);
    }
    log_field said = LOG_S("text", text);
    write_field(out, &said, f);
    for (size_t i = 0; i < n; i++)
        write_field(out, &fields[i], f);
    str_append_s(out, f == LOG_JSON ? "}\n" : "\n");
}

/* ---- repeats ---- */

static uint64_t hash_event(const char *event, const char *text) {
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    const char *const both[] = {event, text ? text : ""};
    for (size_t i = 0; i < ARRAY_LEN(both); i++)
        for (const char *p = both[i];; p++) {
            h = (h ^ (unsigned char)*p) * 1099511628211u;
            if (!*p)
                break;
        }
    return h;
}

/* With the lock held. Is it to be left out? *before: how many were since the last that was written. */
static bool is_repeated(serve_log *l, const char *event, const char *text, uint64_t now_us, uint32_t *before) {
    uint64_t hash = hash_event(event, text);
    same_event *oldest = &l->same[0];
    *before = 0;
    for (size_t i = 0; i < LOG_SAME_SLOTS; i++) {
        same_event *s = &l->same[i];
        if (s->used && s->hash == hash) {
            if (now_us - s->since_us < (uint64_t)LOG_REPEAT_MS * 1000)
                return ++s->n > LOG_REPEATS;
            *before = s->n > LOG_REPEATS ? s->n - LOG_REPEATS : 0;
            *s = (same_event){hash, now_us, 1, true};
            return false;
        }
        if (!s->used || (oldest->used && s->since_us < oldest->since_us))
            oldest = s;
    }
    *oldest = (same_event){hash, now_us, 1, true};
    return false;
}

/* ---- in ---- */

static void enqueue(serve_log *l, const str *line) {
    if (line->failed || l->queue.len + line->len > LOG_QUEUE_BYTES) {
        l->counts.n_lost++;
        return;
    }
    str_append(&l->queue, line->data, line->len);
    if (l->queue.failed) { /* memory; what was there is whole lines still */
        l->queue.failed = false;
        l->counts.n_lost++;
    }
    pthread_cond_signal(&l->more);
}

/* With the lock held, and something that can be written again. */
static void tell_of_lost(serve_log *l) {
    uint64_t n = l->counts.n_lost - l->n_lost_told;
    if (!n || l->queue.len > LOG_QUEUE_BYTES / 2)
        return;
    str line = STR_INIT;
    log_field f = LOG_N("lines", n);
    l->n_lost_told = l->counts.n_lost;
    write_line(l, LOG_WARNING, "log_lost", "lines of the log found no room", &f, 1, &line);
    enqueue(l, &line);
    str_release(&line);
}

void log_write(serve_log *l, log_level level, const char *event, const char *text, const log_field *fields, size_t n) {
    if (!log_has(l, level))
        return;
    str plain, line;
    uint32_t before = 0;
    str_init(&plain, LOG_LINE_BYTES);
    str_init(&line, 3 * LOG_LINE_BYTES + 1);
    if (level >= LOG_WARNING) {
        pthread_mutex_lock(&l->lock);
        bool leave = is_repeated(l, event, text, l->o.clock->monotonic_us(l->o.clock->self), &before);
        l->counts.n_repeated += leave;
        pthread_mutex_unlock(&l->lock);
        if (leave)
            return;
    }
    log_field all[LOG_MAX_FIELDS + 1];
    n = MIN(n, (size_t)LOG_MAX_FIELDS);
    for (size_t i = 0; i < n; i++)
        all[i] = fields[i];
    if (before)
        all[n++] = LOG_N("repeated", before);
    write_line(l, level, event, text, all, n, &plain);
    if (plain.past_max) { /* without the fields, whose values are too long */
        str_clear(&plain);
        log_field cut = LOG_B("cut", true);
        write_line(l, level, event, NULL, &cut, 1, &plain);
    }
    line.failed = plain.failed;
    escape_controls(&plain, &line);
    pthread_mutex_lock(&l->lock);
    tell_of_lost(l);
    enqueue(l, &line);
    pthread_mutex_unlock(&l->lock);
    str_release(&plain);
    str_release(&line);
}

void log_error(serve_log *l, log_level level, const char *event, muga_status st, const muga_error *err) {
    log_field f = LOG_S("status", error_status_name(st));
    log_write(l, level, event, err ? err->message : NULL, &f, 1);
}

void log_request_end(serve_log *l, const log_request *r) {
    log_field f[LOG_MAX_FIELDS];
    size_t n = 0;
    /* with all requests, where those are wanted, so that none is left out as repeated */
    log_level level = r->status >= 500 && !log_has(l, LOG_INFO) ? LOG_WARNING : LOG_INFO;
    if (!log_has(l, level))
        return;
    f[n++] = LOG_S("id", r->id);
    f[n++] = LOG_S("key", r->key);
    f[n++] = LOG_S("peer", r->peer);
    f[n++] = LOG_S("method", r->method);
    f[n++] = LOG_S("route", r->route);
    f[n++] = LOG_N("status", (uint64_t)r->status);
    f[n++] = LOG_S("model", r->model);
    if (r->n_prompt) {
        f[n++] = LOG_N("prompt", r->n_prompt);
        f[n++] = LOG_N("cached", r->n_cached);
        f[n++] = LOG_N("generated", r->n_generated);
    }
    f[n++] = LOG_S("finish", r->finish);
    if (r->queue_us)
        f[n++] = LOG_US("queue_ms", r->queue_us);
    if (r->load_us)
        f[n++] = LOG_US("load_ms", r->load_us);
    f[n++] = LOG_US("ms", r->total_us);
    if (r->body && log_has_contents(l))
        f[n++] = LOG_V("body", r->body);
    log_write(l, level, "request", r->message && *r->message ? r->message : NULL, f, n);
}

/* ---- life ---- */

bool log_has(const serve_log *l, log_level level) {
    return l && (int)level >= atomic_load_explicit(&l->level, memory_order_relaxed);
}

bool log_has_contents(const serve_log *l) {
    return l && atomic_load_explicit(&l->contents, memory_order_relaxed);
}

void log_set(serve_log *l, log_level level, log_format format, bool contents) {
    if (!l)
        return;
    atomic_store_explicit(&l->level, (int)level, memory_order_relaxed);
    atomic_store_explicit(&l->format, (int)format, memory_order_relaxed);
    atomic_store_explicit(&l->contents, contents, memory_order_relaxed);
}

log_counts log_get_counts(serve_log *l) {
    if (!l)
        return (log_counts){0};
    pthread_mutex_lock(&l->lock);
    log_counts c = l->counts;
    pthread_mutex_unlock(&l->lock);
    return c;
}

muga_status log_new(const log_options *o, serve_log **out, muga_error *err) {
    pthread_condattr_t attr;
    serve_log *l = calloc(1, sizeof *l);
    *out = NULL;
    if (!l)
        return error_nomem(err, "the log");
    l->o = *o;
    log_set(l, o->level, o->format, o->contents);
    str_init(&l->queue, LOG_QUEUE_BYTES);
    str_init(&l->taken, LOG_QUEUE_BYTES);
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->more, NULL);
    pthread_cond_init(&l->idle, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&l->writer, NULL, write_lines, l)) {
        pthread_cond_destroy(&l->more);
        pthread_cond_destroy(&l->idle);
        pthread_mutex_destroy(&l->lock);
        free(l);
        return error_set(err, MUGA_E_ENV, "no thread for the log; raise the limit on processes");
    }
    *out = l;
    return MUGA_OK;
}

void log_free(serve_log *l) {
    if (!l)
        return;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOG_END_MS / 1000;
    pthread_mutex_lock(&l->lock);
    tell_of_lost(l);
    l->ends = true;
    pthread_cond_signal(&l->more);
    int waited = 0;
    while (!l->ended && !waited)
        waited = pthread_cond_timedwait(&l->idle, &l->lock, &until);
    bool ended = l->ended;
    pthread_mutex_unlock(&l->lock);
    if (!ended) { /* it hangs in `write`: the process is about to end, and it keeps what it uses */
        pthread_detach(l->writer);
        return;
    }
    pthread_join(l->writer, NULL);
    str_release(&l->queue);
    str_release(&l->taken);
    pthread_cond_destroy(&l->more);
    pthread_cond_destroy(&l->idle);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
