/* Text to passages. Owns: where one ends. Idea: a heading begins one; a blank line ends one that is long enough; one
 * that is too long ends at a line. So a passage is what a reader would be pointed to, and its lines can be cited. */
#include "agent/search_index.h"

#include "base/mem.h"
#include "base/utf8.h"

enum { ENOUGH = 800, MOST = 1600 }; /* bytes */

search_cursor search_begin(span text) {
    return (search_cursor){.rest = text, .line = 1};
}

static span line_of(span rest) {
    const char *end = memchr(rest.p, '\n', rest.n);
    return span_of(rest.p, end ? (size_t)(end - rest.p) + 1 : rest.n);
}

static span trimmed(span s) {
    while (s.n > 0 && strchr(" \t\r\n", s.p[s.n - 1])) {
        s.n--;
    }
    while (s.n > 0 && strchr(" \t\r\n", s.p[0])) {
        s = span_of(s.p + 1, s.n - 1);
    }
    return s;
}

/* "## Returns ##" -> "Returns"; empty when the line is no heading. */
static span heading_of(span line) {
    size_t n = 0;
    while (n < line.n && line.p[n] == '#') {
        n++;
    }
    if (n == 0 || n > 6 || n == line.n || (line.p[n] != ' ' && line.p[n] != '\t')) {
        return span_of(line.p, 0);
    }
    span s = trimmed(span_of(line.p + n, line.n - n));
    while (s.n > 0 && s.p[s.n - 1] == '#') {
        s.n--;
    }
    return trimmed(s);
}

static bool is_fence(span line) {
    span s = trimmed(line);
    return s.n >= 3 && (memcmp(s.p, "```", 3) == 0 || memcmp(s.p, "~~~", 3) == 0);
}

/* The first part of a line that is longer than a passage: up to its last blank, else to a character's end. */
static size_t cut_of(span line) {
    size_t n = MOST;
    for (size_t i = n; i > MOST / 2; i--) {
        if (line.p[i - 1] == ' ') {
            return i;
        }
    }
    return n - utf8_incomplete_tail(line.p, n);
}

static void take(search_cursor *c, size_t n) {
    c->rest = span_of(c->rest.p + n, c->rest.n - n);
}

bool search_next(search_cursor *c, search_chunk *out) {
    const char *from = NULL;
    size_t n = 0;
    *out = (search_chunk){.heading = c->heading};
    while (c->rest.n > 0) {
        span line = line_of(c->rest);
        bool whole = line.n <= MOST;
        if (!whole) {
            line.n = cut_of(line);
        }
        span heading = c->in_code ? span_of(line.p, 0) : heading_of(line);
        if (n > 0 && (heading.n > 0 || n + line.n > MOST)) {
            break;
        }
        bool blank = trimmed(line).n == 0;
        if (!from && !blank) {
            from = line.p;
            out->line_from = c->line;
        }
        if (heading.n > 0) {
            c->heading = out->heading = heading;
        }
        c->in_code = is_fence(line) ? !c->in_code : c->in_code;
        n += from ? line.n : 0;
        out->line_to = blank ? out->line_to : c->line;
        take(c, line.n);
        c->line += line.p[line.n - 1] == '\n';
        if (blank && n >= ENOUGH) {
            break;
        }
    }
    if (!from) {
        return false;
    }
    out->text = trimmed(span_of(from, n));
    return true;
}
