/* What is read of the turns that a conversation has outgrown. Owns: the rule. Refuses: to leave anything out without
 * saying so. The turns themselves stay in the store and in the history: values are grounded in them, exports hold them.
 *
 *   {"earlier": [{"person": "...", "calls": [{"tool", "arguments", "outcome", "result"}], "answer": "..."}, ...],
 *    "left_out": turns before these}
 *
 * A turn keeps its ids, results and decisions: calls with their arguments whole, results up to CUT_BYTES, words up to
 * WORDS_BYTES. Where all that is too long, the oldest turns go first. It follows from the history alone, so it is the
 * same after a restart and in a replay. */
#include "agent/internal.h"

#include "base/utf8.h"

#define WORDS_BYTES 120
#define CUT_BYTES 200

/* The beginning of a text, with dots where there is more. */
static json_t *cut_text(const char *p, size_t n, size_t max_bytes) {
    str text = STR_INIT;
    size_t keep = n <= max_bytes ? n : max_bytes - utf8_incomplete_tail(p, max_bytes);
    str_append(&text, p, keep);
    str_append_s(&text, keep < n ? " ..." : "");
    json_t *v = text.failed ? NULL : json_stringn(str_get(&text), text.len);
    str_release(&text);
    return v;
}

static json_t *cut_words(const json_t *content) {
    return cut_text(json_string_value(content), json_string_length(content), WORDS_BYTES);
}

/* A short value as it is, a long one as the beginning of its JSON. */
static json_t *cut_value(const json_t *v) {
    str text = STR_INIT;
    json_write(v, &text);
    json_t *out = text.failed             ? NULL
                  : text.len <= CUT_BYTES ? json_incref(json_borrow(v))
                                          : cut_text(text.data, text.len, CUT_BYTES);
    str_release(&text);
    return out;
}

static bool is_role(const json_t *entry, const char *role) {
    return strcmp(json_get_string(entry, "role"), role) == 0;
}

/* One entry of the history into the turn it belongs to; a person's words begin one. */
static bool add_entry(json_t *turns, const json_t *entry) {
    json_t *turn = json_array_get(turns, json_array_size(turns) - 1);
    const json_t *content = json_object_get(entry, "content");
    if (is_role(entry, "user") || !turn) {
        turn = json_pack("{s:[]}", "calls");
        if (!turn || json_array_append_new(turns, turn) != 0) {
            return false;
        }
    }
    if (is_role(entry, "user")) {
        return json_object_set_new(turn, "person", cut_words(content)) == 0;
    }
    if (is_role(entry, "assistant")) {
        return json_object_set_new(turn, "answer", cut_words(content)) == 0;
    }
    json_t *call = json_pack("{s:O, s:O, s:O, s:o}", "tool", json_object_get(entry, "tool"), "arguments",
                             json_object_get(entry, "arguments"), "outcome", json_object_get(entry, "outcome"),
                             "result", cut_value(content));
    return call && json_array_append_new(json_object_get(turn, "calls"), call) == 0;
}

static size_t written(const json_t *v) {
    str text = STR_INIT;
    json_write(v, &text);
    size_t n = text.failed ? SIZE_MAX : text.len;
    str_release(&text);
    return n;
}

muga_status session_digest(const json_t *history, size_t until, size_t max_bytes, json_t **out, muga_error *err) {
    json_t *turns = json_array(), *whole = turns ? json_pack("{s:O, s:i}", "earlier", turns, "left_out", 0) : NULL;
    bool ok = whole != NULL;
    size_t left_out = 0;
    for (size_t i = 0; ok && i < until; i++) {
        ok = add_entry(turns, json_array_get(history, i));
    }
    while (ok && json_array_size(turns) > 0 && written(whole) > max_bytes) {
        ok = json_array_remove(turns, 0) == 0 &&
             json_object_set_new(whole, "left_out", json_integer((json_int_t)++left_out)) == 0;
    }
    json_decref(turns);
    if (!ok) {
        json_decref(whole);
        whole = NULL;
    }
    *out = whole;
    return ok ? MUGA_OK : error_nomem(err, "a digest of the conversation");
}
