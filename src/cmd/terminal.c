/* Text from outside, shown on a terminal. Owns: what counts as invisible. Idea: JSON's own escape, so that what is
 * shown can still be read as JSON. */
#include "base/utf8.h"
#include "cmd/cmd.h"

/* Control characters (C0, DEL, C1), zero-width and direction marks, line separators, the byte-order mark, tags. */
static bool is_hidden(uint32_t cp) {
    return cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || cp == 0xAD || cp == 0x61C || (cp >= 0x200B && cp <= 0x200F) ||
           (cp >= 0x2028 && cp <= 0x202E) || (cp >= 0x2060 && cp <= 0x206F) || cp == 0xFEFF ||
           (cp >= 0xE0000 && cp <= 0xE007F);
}

void cmd_write_visible(const char *p, size_t n, str *out) {
    while (n > 0) {
        uint32_t cp = 0;
        size_t len = utf8_decode(p, n, &cp);
        if (len == 0) { /* not a character: one byte, shown as such */
            str_printf(out, "\\u%04x", (unsigned char)*p);
            len = 1;
        } else if (!is_hidden(cp)) {
            str_append(out, p, len);
        } else if (cp < 0x10000) {
            str_printf(out, "\\u%04x", cp);
        } else {
            str_printf(out, "\\u%04x\\u%04x", 0xD800 + ((cp - 0x10000) >> 10), 0xDC00 + ((cp - 0x10000) & 0x3FF));
        }
        p += len;
        n -= len;
    }
}

void cmd_write_text(const char *p, size_t n, str *out) {
    for (size_t at = 0, end; at < n; at = end + 1) {
        for (end = at; end < n && p[end] != '\n' && p[end] != '\t'; end++)
            ;
        cmd_write_visible(p + at, end - at, out);
        if (end < n)
            str_append_c(out, p[end]);
    }
}
