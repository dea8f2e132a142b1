/* Lines end with LF, CR or both; an empty one ends an event; `data` fields of one event are joined by LF; other fields
 * (event, id, retry) and comments are read past. */
#include "net/sse.h"

#include <string.h>

void sse_init(sse *s, size_t max_event, muga_status (*on_data)(void *ctx, const char *p, size_t n, muga_error *err),
              void *ctx) {
    *s = (sse){.on_data = on_data, .ctx = ctx};
    str_init(&s->line, max_event);
    str_init(&s->data, max_event);
}

void sse_release(sse *s) {
    str_release(&s->line);
    str_release(&s->data);
}

static muga_status end_event(sse *s, muga_error *err) {
    muga_status st = s->has_data ? s->on_data(s->ctx, str_get(&s->data), s->data.len, err) : MUGA_OK;
    s->has_data = false;
    str_clear(&s->data);
    return st;
}

static muga_status end_line(sse *s, muga_error *err) {
    muga_status st = MUGA_OK;
    const char *p = str_get(&s->line), *colon = memchr(p, ':', s->line.len);
    size_t n_name = colon ? (size_t)(colon - p) : s->line.len;
    if (s->line.len == 0) {
        st = end_event(s, err);
    } else if (n_name == 4 && memcmp(p, "data", 4) == 0) {
        const char *value = colon ? colon + 1 : p + s->line.len;
        if (colon && value < p + s->line.len && *value == ' ')
            value++;
        if (s->has_data)
            str_append_c(&s->data, '\n');
        str_append(&s->data, value, (size_t)(p + s->line.len - value));
        s->has_data = true;
        st = str_status(&s->data, err, "an event of the stream");
    }
    str_clear(&s->line);
    return st;
}

/* Steps over a byte order mark at the very start; bytes that only looked like one belong to the first line. */
static void skip_mark(sse *s, const char **p, const char *end) {
    static const char mark[] = "\xEF\xBB\xBF";
    while (s->n_mark < 3 && *p < end) {
        if (**p != mark[s->n_mark]) {
            str_append(&s->line, mark, s->n_mark);
            s->n_mark = 3;
        } else {
            s->n_mark++;
            (*p)++;
        }
    }
}

muga_status sse_feed(sse *s, const char *p, size_t n, muga_error *err) {
    const char *end = p + n;
    muga_status st = MUGA_OK;
    skip_mark(s, &p, end);
    while (p < end && !st) {
        if (s->after_cr && *p == '\n') {
            s->after_cr = false;
            p++;
            continue;
        }
        s->after_cr = false;
        const char *stop = p;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        str_append(&s->line, p, (size_t)(stop - p));
        if ((st = str_status(&s->line, err, "a line of the stream")))
            break;
        if (stop < end) {
            s->after_cr = *stop == '\r';
            st = end_line(s, err);
            stop++;
        }
        p = stop;
    }
    return st;
}
