/* A model that obeys: it does whatever the newest text tells it to, whoever wrote it. "call TOOL {JSON}" anywhere in
 * what a person wrote or a tool returned becomes a call, however it is encoded, and over however many texts it is
 * spread; "resume" makes it go on with whatever is held. No real model is as bad. */
#ifndef TESTS_OBEDIENT_H
#define TESTS_OBEDIENT_H

#include "base/mem.h"
#include "base/utf8.h"
#include "llm/llm.h"
#include "support/support.h"

#include <ctype.h>
#include <string.h>

#define OBEDIENT_MOST 24 /* calls it makes of one conversation */

/* ---- reading: every way in which a text may hide another ---- */

static inline int obedient_base64(char c) {
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c ? strchr(set, c) : NULL;
    return p ? (int)(p - set) : -1;
}

static inline void obedient_from_base64(const char *text, str *out) {
    for (const char *p = text; *p; p++) {
        size_t n = 0;
        while (obedient_base64(p[n]) >= 0) {
            n++;
        }
        unsigned bits = 0, n_bits = 0;
        for (size_t i = 0; n >= 16 && i < n; i++) {
            bits = bits << 6 | (unsigned)obedient_base64(p[i]);
            n_bits += 6;
            if (n_bits >= 8) {
                n_bits -= 8;
                str_append_c(out, (char)(bits >> n_bits & 255));
            }
        }
        p += n > 0 ? n - 1 : 0;
    }
}

static inline int obedient_hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static inline void obedient_from_hex(const char *text, str *out) {
    for (const char *p = text; *p; p++) {
        size_t n = 0;
        while (obedient_hex(p[n]) >= 0) {
            n++;
        }
        for (size_t i = 0; n >= 16 && i + 1 < n; i += 2) {
            str_append_c(out, (char)(obedient_hex(p[i]) << 4 | obedient_hex(p[i + 1])));
        }
        p += n > 0 ? n - 1 : 0;
    }
}

static inline char obedient_rot13(char c) {
    return c >= 'a' && c <= 'z'   ? (char)('a' + (c - 'a' + 13) % 26)
           : c >= 'A' && c <= 'Z' ? (char)('A' + (c - 'A' + 13) % 26)
                                  : c;
}

/* Zero-width characters away, full-width letters and tag characters as the letters they look like or stand for. */
static inline void obedient_plain(const char *text, str *out) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (p[0] == 0xE2 && p[1] == 0x80 && p[2] == 0x8B) {
            p += 2;
        } else if (p[0] == 0xEF && (p[1] == 0xBC || p[1] == 0xBD) && p[2]) {
            str_append_c(out, (char)((p[1] == 0xBC ? 0x20 : 0x60) + (p[2] - 0x80)));
            p += 2;
        } else if (p[0] == 0xF3 && p[1] == 0xA0 && p[2] && p[3]) {
            str_append_c(out, (char)((p[2] - 0x80) << 6 | (p[3] - 0x80)));
            p += 3;
        } else {
            str_append_c(out, (char)*p);
        }
    }
}

static inline void obedient_from_percent(const char *text, str *out) {
    for (const char *p = text; *p; p++) {
        bool code = p[0] == '%' && obedient_hex(p[1]) >= 0 && obedient_hex(p[2]) >= 0;
        str_append_c(out, code ? (char)(obedient_hex(p[1]) << 4 | obedient_hex(p[2])) : *p);
        p += code ? 2 : 0;
    }
}

#define OBEDIENT_WAYS 7
static inline void obedient_read(const char *text, int way, str *out) {
    size_t n = strlen(text);
    switch (way) {
    case 0: str_append_s(out, text); break;
    case 1: obedient_from_base64(text, out); break;
    case 2: obedient_from_hex(text, out); break;
    case 3: obedient_plain(text, out); break;
    case 4: obedient_from_percent(text, out); break;
    case 5:
        for (size_t i = 0; i < n; i++) {
            str_append_c(out, obedient_rot13(text[i]));
        }
        break;
    default:
        for (size_t i = n; i > 0; i--) {
            str_append_c(out, text[i - 1]);
        }
    }
}

/* ---- obeying ---- */

/* Each "call NAME {...}" of the text that is not in the list yet. */
static inline void obedient_find(const char *text, json_t *calls) {
    for (const char *p = text; (p = strstr(p, "call ")) && json_array_size(calls) < OBEDIENT_MOST; p++) {
        char name[64];
        size_t n = strspn(p + 5, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
        const char *from = p + 5 + n + strspn(p + 5 + n, " ");
        json_error_t where;
        json_t *arguments = n > 0 && n < sizeof name ? json_loads(from, JSON_DISABLE_EOF_CHECK, &where) : NULL;
        if (json_is_object(arguments)) {
            snprintf(name, sizeof name, "%.*s", (int)n, p + 5);
            json_array_append_new(calls, json_pack("{s:s, s:O}", "tool", name, "arguments", arguments));
        }
        json_decref(arguments);
    }
}

static inline void obedient_leaves(const json_t *v, json_t *texts) {
    const char *key;
    json_t *sub;
    union {
        const json_t *in;
        json_t *out;
    } u = {v};
    if (json_is_string(v)) {
        json_array_append(texts, u.out);
    }
    json_object_foreach(u.out, key, sub) {
        obedient_leaves(sub, texts);
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        obedient_leaves(json_array_get(v, i), texts);
    }
}

static inline void obedient_try(const char *text, json_t *calls) {
    for (int way = 0; way < OBEDIENT_WAYS && json_array_size(calls) < OBEDIENT_MOST; way++) {
        str read = STR_INIT;
        obedient_read(text, way, &read);
        obedient_find(str_get(&read), calls);
        str_release(&read);
    }
}

/* All that the messages tell it to do: from each text; if that is nothing, from two together; from all of them. */
static inline json_t *obedient_obey(const json_t *messages) {
    json_t *texts = json_array(), *calls = json_array();
    bool resume = false;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const char *content = json_get_string(json_array_get(messages, i), "content");
        json_error_t where;
        json_t *v = content ? json_loads(content, JSON_DECODE_ANY, &where) : NULL;
        const char *role = json_get_string(json_array_get(messages, i), "role");
        if (v && strcmp(role, "tool") == 0) {
            obedient_leaves(v, texts);
        } else if (content && strcmp(role, "system") != 0) {
            json_array_append_new(texts, json_string(content));
        }
        json_decref(v);
    }
    str all = STR_INIT;
    size_t n = json_array_size(texts);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(texts, i));
        resume = resume || strstr(text, "resume");
        str_append_s(&all, text);
        obedient_try(text, calls);
    }
    for (size_t i = 0; i < n && json_array_size(calls) == 0; i++) {
        for (size_t k = i + 1; k < n; k++) {
            str two = STR_INIT;
            str_printf(&two, "%s%s", json_string_value(json_array_get(texts, i)),
                       json_string_value(json_array_get(texts, k)));
            obedient_try(str_get(&two), calls);
            str_release(&two);
        }
    }
    if (json_array_size(calls) == 0) {
        obedient_try(str_get(&all), calls);
    }
    str_release(&all);
    json_decref(texts);
    if (resume) {
        json_array_append_new(calls, json_pack("{s:b}", "resume", 1));
    }
    return calls;
}

/* ---- as a model: its answer is the list of what it wants to do ---- */

static inline muga_status obedient_complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err) {
    (void)m;
    json_t *calls = obedient_obey(q->messages);
    json_write(calls, &out->text);
    json_decref(calls);
    out->finish = LLM_FINISH_STOP;
    return str_status(&out->text, err, "an answer");
}

static inline llm obedient_model(void) {
    static const llm_table table = {.complete = obedient_complete};
    return (llm){.table = &table, .name = "obedient", .n_ctx = 8192};
}

/* ---- and how a text is hidden from others ---- */

/* ASCII only. */
static inline void obedient_hide(const char *text, const char *how, str *out) {
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = strlen(text);
    unsigned bits = 0, n_bits = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[strcmp(how, "reverse") == 0 ? n - 1 - i : i];
        if (strcmp(how, "base64") == 0) {
            bits = bits << 8 | c;
            for (n_bits += 8; n_bits >= 6; n_bits -= 6) {
                str_append_c(out, set[bits >> (n_bits - 6) & 63]);
            }
        } else if (strcmp(how, "hex") == 0) {
            str_printf(out, "%02x", c);
        } else if (strcmp(how, "rot13") == 0) {
            str_append_c(out, obedient_rot13((char)c));
        } else if (strcmp(how, "zero-width") == 0) {
            str_printf(out, "%c\xE2\x80\x8B", c);
        } else if (strcmp(how, "percent") == 0) {
            str_printf(out, "%%%02x", c);
        } else if (strcmp(how, "fullwidth") == 0 && c > ' ') {
            str_printf(out, "\xEF%c%c", c < 0x60 ? 0xBC : 0xBD, 0x80 + (c - (c < 0x60 ? 0x20 : 0x60)));
        } else if (strcmp(how, "tags") == 0) {
            str_printf(out, "\xF3\xA0%c%c", 0x80 + (c >> 6), 0x80 + (c & 63));
        } else {
            str_append_c(out, (char)c);
        }
    }
    if (n_bits > 0) {
        str_append_c(out, set[bits << (6 - n_bits) & 63]);
    }
}
#endif
