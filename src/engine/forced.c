/* Forced text as tokens. Owns nothing. Refuses nothing.
 *
 * A tokenizer looks at its surroundings: words are cut by what stands before them, and some put a space in front of a
 * text that stands alone. So the text is encoded behind the end of what is there, and the tokens that make up exactly
 * its bytes, counted from the end, are its own. Where one of them reaches over the beginning, the tokens before stand
 * already, and the text is encoded by itself; or, where that adds a space, behind a line break. */
#include "engine/forced.h"

#include "base/mem.h"

#define MAX_BEFORE 16u        /* tokens that are looked back at */
#define MAX_BEFORE_BYTES 256u /* and their bytes */

/* The end of the text before, from the beginning of a character on; nothing behind a control token. */
static void write_before(const tokenizer *t, const int32_t *before, uint32_t n, str *out) {
    uint32_t from = n;
    size_t n_bytes = 0;
    while (from > 0 && n - from < MAX_BEFORE && tokenizer_is_text(t, before[from - 1])) {
        n_bytes += tokenizer_piece(t, before[from - 1]).n;
        if (n_bytes > MAX_BEFORE_BYTES)
            break;
        from--;
    }
    for (; from < n; from++) {
        span piece = tokenizer_piece(t, before[from]);
        if (out->len > 0 || (piece.n > 0 && ((uint8_t)piece.p[0] & 0xC0) != 0x80))
            str_append(out, piece.p, piece.n);
    }
}

/* The last tokens of `all` that spell the text; *first: the first of them. false: none do. */
static bool find_tail(const tokenizer *t, const token_list *all, span text, size_t *first) {
    size_t left = text.n, i = all->n;
    while (left > 0 && i > 0) {
        span piece = tokenizer_piece(t, all->ids[i - 1]);
        if (piece.n == 0 || piece.n > left || !tokenizer_is_text(t, all->ids[i - 1]) ||
            memcmp(text.p + left - piece.n, piece.p, piece.n) != 0)
            return false;
        left -= piece.n;
        i--;
    }
    *first = i;
    return left == 0;
}

static muga_status encode_behind(const tokenizer *t, span before, span text, token_list *ids, bool *found,
                                 muga_error *err) {
    str whole = STR_INIT;
    token_list all = TOKEN_LIST_INIT;
    size_t first;
    str_append(&whole, before.p, before.n);
    str_append(&whole, text.p, text.n);
    muga_status st = str_status(&whole, err, "a forced stretch");
    if (st == MUGA_OK)
        st = tokenizer_encode(t, whole.data, whole.len, (tokenizer_flags){0}, &all, err);
    *found = st == MUGA_OK && find_tail(t, &all, text, &first);
    for (size_t i = *found ? first : all.n; i < all.n && st == MUGA_OK; i++)
        if (!token_list_push(ids, all.ids[i]))
            st = error_nomem(err, "a forced stretch");
    token_list_release(&all);
    str_release(&whole);
    return st;
}

muga_status forced_encode(const tokenizer *t, const int32_t *before, uint32_t n, span text, token_list *ids,
                          muga_error *err) {
    str context = STR_INIT;
    bool found = false;
    write_before(t, before, n, &context);
    muga_status st = str_status(&context, err, "a forced stretch");
    if (st == MUGA_OK && context.len > 0)
        st = encode_behind(t, span_of(context.data, context.len), text, ids, &found, err);
    if (st == MUGA_OK && !found)
        st = encode_behind(t, span_of("", 0), text, ids, &found, err);
    if (st == MUGA_OK && !found)
        st = encode_behind(t, span_of("\n", 1), text, ids, &found, err);
    str_release(&context);
    return st;
}
