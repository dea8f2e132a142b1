/* HTML that a reader doesn't see (guard_internal.h): comments, elements whose own tag hides them, Markdown's comments.
 * Knows the forms in which text is hidden from people and left for machines, not HTML. */
#include "agent/guard_internal.h"

#define TAG_MAX 2000       /* bytes of one tag; a longer one is text */
#define LOOK_AHEAD 1000000 /* bytes read in a text to find where elements end; past them a tag is masked alone */

static char small(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static bool begins(const char *p, size_t n, const char *word) {
    size_t k = strlen(word);
    for (size_t i = 0; i < k; i++) {
        if (i == n || small(p[i]) != word[i]) {
            return false;
        }
    }
    return true;
}

static size_t find(const char *p, size_t n, size_t at, const char *word) {
    while (at < n && !begins(p + at, n - at, word)) {
        at++;
    }
    return at;
}

/* `tag` holds the word, white space within it left out: "display : none". */
static bool tag_holds(const char *p, size_t n, const char *word) {
    for (size_t i = 0; i < n; i++) {
        size_t k = 0, j = i;
        while (j < n && word[k] && (small(p[j]) == word[k] || (k > 0 && p[j] == ' '))) {
            k += p[j++] != ' ';
        }
        if (!word[k]) {
            return true;
        }
    }
    return false;
}

static bool hides(const char *tag, size_t n) {
    static const char *const styles[] = {"display:none", "visibility:hidden", "font-size:0",        "opacity:0;",
                                         "opacity:0\"",  "opacity:0'",        "aria-hidden=\"true", "type=\"hidden"};
    for (size_t i = 0; i < ARRAY_LEN(styles); i++) {
        if (tag_holds(tag, n, styles[i])) {
            return true;
        }
    }
    for (size_t i = 1; i + 6 < n; i++) { /* the attribute `hidden` itself */
        char end = tag[i + 6];
        if (tag[i - 1] == ' ' && begins(tag + i, n - i, "hidden") && (end == ' ' || end == '>' || end == '=')) {
            return true;
        }
    }
    return false;
}

/* Where the element that begins at p ends; its tag is [0, n_tag). */
static size_t element_end(const char *p, size_t n, size_t n_tag, size_t *left) {
    char close[24] = "</";
    size_t k = 0, at = n_tag;
    while (k + 4 < sizeof close && p[1 + k] != ' ' && p[1 + k] != '>' && p[1 + k] != '/') {
        close[2 + k] = small(p[1 + k]);
        k++;
    }
    close[2 + k] = '\0';
    size_t most = n - n_tag > *left ? n_tag + *left : n;
    at = p[n_tag - 2] == '/' ? most : find(p, most, n_tag, close);
    *left -= at - n_tag;
    if (at == most) {
        return n_tag;
    }
    at = find(p, n, at, ">");
    return MIN(n, at + 1);
}

muga_status guard_find_markup(const char *p, size_t n, guard_list *found, muga_error *err) {
    muga_status st = MUGA_OK;
    size_t left = LOOK_AHEAD;
    bool no_close = false; /* none from here on: every further look would read to the end again */
    for (size_t i = 0; st == MUGA_OK && i < n; i++) {
        if (p[i] == '[' && begins(p + i, n - i, "[//]: # ")) {
            size_t end = find(p, n, i, "\n");
            st = guard_add(found, i, end, GUARD_HIDDEN, "holds a comment that isn't shown", err);
            i = end;
        } else if (p[i] == '<' && begins(p + i, n - i, "<!--") && !no_close) {
            size_t end = find(p, n, i + 4, "-->");
            no_close = end == n;
            if (!no_close) {
                st = guard_add(found, i, end + 3, GUARD_HIDDEN, "holds a comment that isn't shown", err);
                i = end + 2;
            }
        } else if (p[i] == '<' && i + 1 < n && small(p[i + 1]) >= 'a' && small(p[i + 1]) <= 'z') {
            size_t most = MIN(n, i + TAG_MAX), end = i + 1;
            while (end < most && p[end] != '>' && p[end] != '<') {
                end++;
            }
            if (end < most && p[end] == '>' && hides(p + i, end + 1 - i)) {
                size_t to = i + element_end(p + i, n - i, end + 1 - i, &left);
                st = guard_add(found, i, to, GUARD_HIDDEN, "holds an element that isn't shown", err);
                i = to - 1;
            }
        }
    }
    return st;
}
