/* Messages to token ids, such that no message can speak with the template's voice.
 *
 * A template puts control tokens ("<|im_end|>") and the messages' text into one string, and tokenizing that string
 * would make a control token of any text that spells one. So before rendering, text from outside gets a barrier - a
 * noncharacter of Unicode that no input holds - inside everything that spells a control token, and at the ends of
 * contents that could spell one together with their neighbour. A control token is then recognised in the rendered text
 * only where no barrier interrupts it. Barriers are taken out of the plain stretches between before these are tokenized
 * as plain text. A prompt that needs no barrier, nearly every one, is tokenized as a whole; both ways give the same ids
 * for it.
 *
 * Roles are left alone: templates build control tokens from them, and llm_complete lets only plain words through. */
#define _GNU_SOURCE /* memmem */
#include "base/mem.h"
#include "base/utf8.h"
#include "llm/local.h"

#define FIRST_NONCHARACTER 0xFDD0u /* to U+FDEF: 32 code points that are never text */
#define N_NONCHARACTER 32u
#define MARK_BYTES 3

typedef struct marker {
    const local *l;
    const tokenizer *tok;
    char mark[4]; /* the barrier, UTF-8 */
    bool any;     /* a barrier was set */
} marker;

muga_status local_prompt_prepare(local *l, muga_error *err) {
    const tokenizer *t = engine_tokenizer(l->engine);
    int32_t n = tokenizer_count(t);
    for (int32_t id = 0; id < n; id++)
        l->n_control += tokenizer_is_control(t, id) && tokenizer_piece(t, id).n > 0;
    l->controls = mem_alloc_array(l->n_control, sizeof *l->controls);
    if (!l->controls)
        return error_nomem(err, "the control tokens");
    l->n_control = 0;
    for (int32_t id = 0; id < n; id++) {
        span name = tokenizer_piece(t, id);
        if (!tokenizer_is_control(t, id) || name.n == 0)
            continue;
        l->controls[l->n_control++] = name;
        l->control_first[(uint8_t)name.p[0]] = true;
        l->longest_control = MAX(l->longest_control, name.n);
    }
    return MUGA_OK;
}

/* Length of the longest control token's name at p, 0 for none. */
static size_t control_at(const marker *m, const char *p, size_t n, int32_t *id) {
    if (!m->l->control_first[(uint8_t)p[0]])
        return 0;
    for (size_t len = MIN(n, m->l->longest_control); len > 0; len--) {
        *id = tokenizer_find_special(m->tok, p, len);
        if (*id >= 0 && tokenizer_is_control(m->tok, *id))
            return len;
    }
    return 0;
}

/* Some name begins with p[0, n) and goes on. */
static bool begins_control(const local *l, const char *p, size_t n) {
    for (uint32_t i = 0; i < l->n_control; i++)
        if (l->controls[i].n > n && memcmp(l->controls[i].p, p, n) == 0)
            return true;
    return false;
}

/* Some name has p[0, n) after its first byte, at its end or, for a whole text, anywhere. */
static bool goes_on_control(const local *l, const char *p, size_t n, bool whole) {
    for (uint32_t i = 0; i < l->n_control; i++) {
        span name = l->controls[i];
        if (name.n > n &&
            (whole ? memmem(name.p + 1, name.n - 1, p, n) != NULL : memcmp(name.p + name.n - n, p, n) == 0))
            return true;
    }
    return false;
}

/* The text's end could begin a control token that its right neighbour completes. */
static bool open_end(const local *l, const char *p, size_t n) {
    for (size_t at = n - MIN(n, l->longest_control - 1); at < n; at++)
        if (l->control_first[(uint8_t)p[at]] && begins_control(l, p + at, n - at))
            return true;
    return false;
}

/* The text's beginning could go on with a control token that its left neighbour began. */
static bool open_start(const local *l, const char *p, size_t n) {
    for (size_t len = 1; len <= MIN(n, l->longest_control - 1); len++)
        if (goes_on_control(l, p, len, len == n))
            return true;
    return false;
}

static void mark_text(marker *m, const char *p, size_t n, bool ends, str *out) {
    size_t before = out->len;
    if (m->l->longest_control == 0 || n == 0) {
        str_append(out, p, n);
        return;
    }
    if (ends && open_start(m->l, p, n))
        str_append(out, m->mark, MARK_BYTES);
    for (size_t at = 0; at < n;) {
        int32_t id;
        size_t step = 1;
        bool control = control_at(m, p + at, n - at, &id) > 0;
        if (control) {
            uint32_t cp;
            step = MAX(utf8_decode(p + at, n - at, &cp), (size_t)1);
        }
        str_append(out, p + at, step);
        if (control)
            str_append(out, m->mark, MARK_BYTES);
        at += step;
    }
    if (ends && open_end(m->l, p, n))
        str_append(out, m->mark, MARK_BYTES);
    m->any = m->any || out->len - before != n;
}

static json_t *mark_string(marker *m, const char *p, size_t n, bool ends) {
    str text = STR_INIT;
    mark_text(m, p, n, ends, &text);
    json_t *v = text.failed ? NULL : json_stringn_nocheck(str_get(&text), text.len);
    str_release(&text);
    return v;
}

static json_t *mark_value(marker *m, const json_t *v, bool ends);

static json_t *mark_object(marker *m, const json_t *v) {
    json_t *out = json_object();
    const char *key;
    size_t n_key;
    json_t *member;
    json_object_keylen_foreach(json_borrow(v), key, n_key, member) {
        bool role = n_key == 4 && memcmp(key, "role", 4) == 0;
        bool ends = (n_key == 7 && memcmp(key, "content", 7) == 0) || (n_key == 4 && memcmp(key, "text", 4) == 0);
        json_t *marked = role ? json_incref(member) : mark_value(m, member, ends);
        str name = STR_INIT;
        mark_text(m, key, n_key, false, &name);
        bool ok = out && marked && !name.failed && json_object_setn_nocheck(out, str_get(&name), name.len, marked) == 0;
        json_decref(marked);
        str_release(&name);
        if (!ok) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

/* A copy with barriers; NULL when memory is exhausted. Depth is bounded by json_parse. */
static json_t *mark_value(marker *m, const json_t *v, bool ends) {
    if (json_is_string(v))
        return mark_string(m, json_string_value(v), json_string_length(v), ends);
    if (json_is_object(v))
        return mark_object(m, v);
    if (!json_is_array(v))
        return json_incref(json_borrow(v));
    json_t *out = json_array();
    for (size_t i = 0; out && i < json_array_size(v); i++) {
        json_t *item = mark_value(m, json_array_get(v, i), ends);
        if (!item || json_array_append_new(out, item)) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

/* ---- choosing the barrier ---- */

/* Which of the noncharacters occur in a text. */
static uint32_t noncharacters_in(const char *p, size_t n) {
    uint32_t seen = 0;
    for (size_t at = 0; at + 2 < n; at++) {
        uint32_t cp;
        if ((uint8_t)p[at] == 0xEF && utf8_decode(p + at, n - at, &cp) == 3 && cp - FIRST_NONCHARACTER < N_NONCHARACTER)
            seen |= 1u << (cp - FIRST_NONCHARACTER);
    }
    return seen;
}

static uint32_t noncharacters_of(const json_t *v) {
    uint32_t seen = 0;
    const char *key;
    size_t n_key;
    json_t *member;
    if (json_is_string(v))
        return noncharacters_in(json_string_value(v), json_string_length(v));
    for (size_t i = 0; json_is_array(v) && i < json_array_size(v); i++)
        seen |= noncharacters_of(json_array_get(v, i));
    json_object_keylen_foreach(json_borrow(v), key, n_key, member)
        seen |= noncharacters_in(key, n_key) | noncharacters_of(member);
    return seen;
}

static muga_status choose_mark(marker *m, const local_prompt *p, muga_error *err) {
    const char *fallback;
    span source = engine_template_source(m->l->engine, &fallback);
    uint32_t seen = noncharacters_of(p->messages) | noncharacters_in(source.p, source.n);
    if (p->tools)
        seen |= noncharacters_of(p->tools);
    if (p->prefix)
        seen |= noncharacters_in(p->prefix, strlen(p->prefix));
    if (seen == UINT32_MAX)
        return error_set(err, MUGA_E_INPUT, "the messages use every noncharacter from U+FDD0 to U+FDEF; leave one out");
    (void)utf8_encode(FIRST_NONCHARACTER + (uint32_t)__builtin_ctz(~seen), m->mark);
    return MUGA_OK;
}

/* ---- rendering ---- */

static json_t *special_name(const tokenizer *t, int32_t id) {
    span s = tokenizer_piece(t, id);
    return json_stringn(s.p, id >= 0 ? s.n : 0);
}

static size_t text_bytes(const json_t *v) {
    size_t n = json_is_string(v) ? json_string_length(v) : 0;
    const char *key;
    json_t *member;
    for (size_t i = 0; json_is_array(v) && i < json_array_size(v); i++)
        n += text_bytes(json_array_get(v, i));
    json_object_foreach(json_borrow(v), key, member) n += text_bytes(member);
    return n;
}

/* A template can't know whose text it is that doesn't fit. */
static muga_status check_size(const local_prompt *p, size_t max, muga_error *err) {
    size_t n = text_bytes(p->messages) + text_bytes(p->tools);
    if (n <= max)
        return MUGA_OK;
    return error_set(err, MUGA_E_LIMIT, "the messages hold %zu bytes of text; at most %zu fit a prompt: shorten them",
                     n, max);
}

/* The messages with barriers, as many as are asked for; NULL when memory is exhausted. */
static json_t *mark_messages(marker *m, const local_prompt *p) {
    json_t *all = mark_value(m, p->messages, false);
    while (all && p->n_messages > 0 && json_array_size(all) > p->n_messages)
        (void)json_array_remove(all, json_array_size(all) - 1);
    return all;
}

static muga_status render(local *l, marker *m, const local_prompt *p, str *out, muga_error *err) {
    const template *t;
    muga_status st = check_size(p, TEMPLATE_LIMITS_DEFAULT.output_bytes, err);
    if (!st)
        st = engine_template(l->engine, &t, err);
    if (st)
        return st;
    json_t *messages = mark_messages(m, p);
    json_t *tools = p->tools ? mark_value(m, p->tools, false) : json_null();
    json_t *context = json_pack("{s:O?, s:O?, s:b, s:o, s:o}", "messages", messages, "tools", tools,
                                "add_generation_prompt", !p->closed, "bos_token",
                                special_name(m->tok, tokenizer_bos(m->tok)), "eos_token",
                                special_name(m->tok, tokenizer_eos(m->tok)));
    bool told = context && p->thinking != LLM_THINKING_DEFAULT;
    json_t *on = told ? json_boolean(p->thinking == LLM_THINKING_ON) : NULL;
    if (told && (json_object_set(context, "enable_thinking", on) || json_object_set(context, "thinking", on))) {
        json_decref(context);
        context = NULL;
    }
    if (!messages || !tools || !context) {
        st = error_nomem(err, "the prompt");
    } else {
        template_limits limits = template_limits_for(context);
        st = template_render(t, context, p->now_ms, &limits, out, err);
    }
    json_decref(context);
    json_decref(messages);
    json_decref(tools);
    if (!st && p->prefix)
        mark_text(m, p->prefix, strlen(p->prefix), true, out);
    return st ? st : str_status(out, err, "the prompt");
}

/* ---- tokenizing ---- */

/* p[0, n) without barriers. */
static void append_unmarked(const char *barrier, const char *p, size_t n, str *out) {
    for (size_t at = 0; at < n;) {
        const char *mark = memmem(p + at, n - at, barrier, MARK_BYTES);
        size_t end = mark ? (size_t)(mark - p) : n;
        str_append(out, p + at, end - at);
        at = mark ? end + MARK_BYTES : n;
    }
}

/* text[0, n) without barriers, as plain text. */
static muga_status encode_plain(const marker *m, const char *p, size_t n, token_list *ids, muga_error *err) {
    str text = STR_INIT;
    append_unmarked(m->mark, p, n, &text);
    muga_status st = str_status(&text, err, "the prompt");
    if (!st)
        st = tokenizer_encode(m->tok, str_get(&text), text.len, (tokenizer_flags){0}, ids, err);
    str_release(&text);
    return st;
}

static muga_status encode_marked(const marker *m, const char *p, size_t n, token_list *ids, muga_error *err) {
    size_t from = 0;
    muga_status st = MUGA_OK;
    for (size_t at = 0; at < n && !st;) {
        int32_t id;
        size_t len = control_at(m, p + at, n - at, &id);
        if (len == 0) {
            at++;
            continue;
        }
        st = encode_plain(m, p + from, at - from, ids, err);
        if (!st && !token_list_push(ids, id))
            st = error_nomem(err, "the prompt");
        from = at += len;
    }
    return st ? st : encode_plain(m, p + from, n - from, ids, err);
}

muga_status local_text_render(local *l, const local_prompt *p, local_text *out, muga_error *err) {
    marker m = {.l = l, .tok = engine_tokenizer(l->engine)};
    out->text = STR_INIT;
    muga_status st = choose_mark(&m, p, err);
    if (!st)
        st = render(l, &m, p, &out->text, err);
    memcpy(out->mark, m.mark, sizeof out->mark);
    out->marked = m.any;
    return st;
}

muga_status local_text_encode(local *l, const local_text *t, token_list *ids, muga_error *err) {
    marker m = {.l = l, .tok = engine_tokenizer(l->engine)};
    memcpy(m.mark, t->mark, sizeof m.mark);
    if (t->marked)
        return encode_marked(&m, str_get(&t->text), t->text.len, ids, err);
    return tokenizer_encode(m.tok, str_get(&t->text), t->text.len, (tokenizer_flags){.parse_special = true}, ids, err);
}

static muga_status encode_messages(local *l, const local_prompt *p, token_list *ids, muga_error *err) {
    local_text text;
    muga_status st = local_text_render(l, p, &text, err);
    if (!st)
        st = local_text_encode(l, &text, ids, err);
    str_release(&text.text);
    return st;
}

/* ---- raw prompts ---- */

local_prompt local_prompt_of(const llm_request *q) {
    return (local_prompt){.messages = q->messages,
                          .tools = q->tools,
                          .prefix = q->prefix,
                          .now_ms = q->now_ms,
                          .thinking = q->thinking,
                          .text = q->prompt_text,
                          .special = q->prompt_special,
                          .ids = q->prompt_ids,
                          .n_ids = q->n_prompt_ids};
}

muga_status local_check_ids(const local *l, const int32_t *ids, size_t n, const char *what, muga_error *err) {
    int32_t n_vocab = tokenizer_count(engine_tokenizer(l->engine));
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= n_vocab)
            return error_set(err, MUGA_E_INPUT, "token %zu of %s is %d; this vocabulary has 0 to %d", i, what, ids[i],
                             n_vocab - 1);
    return MUGA_OK;
}

static muga_status take_ids(const local *l, const local_prompt *p, token_list *ids, muga_error *err) {
    muga_status st = local_check_ids(l, p->ids, p->n_ids, "the prompt", err);
    for (size_t i = 0; i < p->n_ids && !st; i++)
        if (!token_list_push(ids, p->ids[i]))
            st = error_nomem(err, "the prompt");
    return st;
}

/* The model's file wants a token at a text's beginning. */
static muga_status asks_for_beginning(const tokenizer *t, bool *asks, muga_error *err) {
    token_list none = TOKEN_LIST_INIT;
    muga_status st = tokenizer_encode(t, "", 0, (tokenizer_flags){.add_special = true}, &none, err);
    *asks = none.n > 0 && none.ids[0] == tokenizer_bos(t); /* an end is none of a prompt's */
    token_list_release(&none);
    return st;
}

muga_status local_raw_encode(const tokenizer *t, span text, bool beginning, bool special, token_list *ids,
                             muga_error *err) {
    bool asks = false;
    muga_status st = beginning ? asks_for_beginning(t, &asks, err) : MUGA_OK;
    if (!st && asks && !token_list_push(ids, tokenizer_bos(t)))
        st = error_nomem(err, "the prompt");
    return st ? st : tokenizer_encode(t, text.p, text.n, (tokenizer_flags){.parse_special = special}, ids, err);
}

/* Where ids[from, n) begin with a beginning of text, and such a model's text began already, it goes. */
static muga_status drop_beginning(const tokenizer *t, size_t from, token_list *ids, muga_error *err) {
    bool asks = false;
    muga_status st = asks_for_beginning(t, &asks, err);
    if (st || !asks || ids->n == from || ids->ids[from] != tokenizer_bos(t))
        return st;
    memmove(ids->ids + from, ids->ids + from + 1, (ids->n - from - 1) * sizeof *ids->ids);
    ids->n--;
    return MUGA_OK;
}

muga_status local_prompt_encode(local *l, const local_prompt *p, token_list *ids, muga_error *err) {
    const tokenizer *t = engine_tokenizer(l->engine);
    size_t from = ids->n;
    muga_status st = take_ids(l, p, ids, err);
    if (st || (!p->messages && !p->text.p))
        return st;
    if (!p->messages)
        return local_raw_encode(t, p->text, ids->n == from, p->special, ids, err);
    from = ids->n;
    st = encode_messages(l, p, ids, err);
    return st || p->n_ids == 0 ? st : drop_beginning(t, from, ids, err);
}

muga_status local_prompt_render(local *l, const local_prompt *p, str *out, muga_error *err) {
    marker m = {.l = l, .tok = engine_tokenizer(l->engine)};
    muga_status st = choose_mark(&m, p, err);
    return st ? st : render(l, &m, p, out, err);
}

muga_status local_prompt_text(local *l, const local_prompt *p, str *out, muga_error *err) {
    local_text t = {.text = STR_INIT};
    muga_status st = local_check_ids(l, p->ids, p->n_ids, "the prompt", err);
    if (!st)
        tokenizer_decode(engine_tokenizer(l->engine), p->ids, p->n_ids, true, out);
    if (!st && p->messages)
        st = local_text_render(l, p, &t, err);
    else if (!st && p->text.p)
        str_append(out, p->text.p, p->text.n);
    if (!st)
        append_unmarked(t.mark, str_get(&t.text), t.text.len, out);
    str_release(&t.text);
    return st ? st : str_status(out, err, "the prompt");
}
