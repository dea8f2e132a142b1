/* Cutting a message into clauses (clauses.h). */
#include "agent/clauses.h"

#include <string.h>
#include <strings.h>

/* Length of a cut at text[at]: the end of a sentence, a comma, or a word of `split`; 0 for none. */
static size_t cut_at(const json_t *split, const char *text, size_t n, size_t at) {
    char c = text[at];
    bool before_space = at + 1 == n || strchr(" \t\r\n", text[at + 1]) != NULL;
    if (c == '\n' || c == ';' || c == '&' || (strchr(".,?!:", c) && before_space)) {
        return 1;
    }
    if (at > 0 && !strchr(" \t\r\n", text[at - 1])) {
        return 0;
    }
    for (size_t i = 0; i < json_array_size(split); i++) {
        const char *word = json_string_value(json_array_get(split, i));
        size_t len = strlen(word);
        if (len <= n - at && strncasecmp(text + at, word, len) == 0 &&
            (at + len == n || strchr(" \t\r\n,", text[at + len]))) {
            return len;
        }
    }
    return 0;
}

size_t clauses_split(const json_t *split, const char *text, size_t n, clause out[CLAUSES_MAX]) {
    size_t n_clauses = 0, from = 0;
    for (size_t at = 0; at <= n && n_clauses < CLAUSES_MAX; at++) {
        size_t cut = at < n ? cut_at(split, text, n, at) : 1;
        if (cut == 0) {
            continue;
        }
        bool mark = at < n && (text[at] == '?' || text[at] == '!'); /* belongs to what it ends */
        while (from < at && strchr(" \t\r\n", text[from])) {
            from++;
        }
        if (at > from) {
            out[n_clauses++] = (clause){.from = from, .n = at - from + mark};
        }
        from = at + cut;
        at += cut - 1;
    }
    return n_clauses;
}
