/* POST /tokenize, /detokenize, /apply-template: what a model makes of texts before it computes anything. Fields are
 * llama-server's (content, tokens) and vLLM's (prompt); answers have both. */
#include "base/utf8.h"
#include "serve/internal.h"

#include <inttypes.h>

#define MAX_TEXT_BYTES ((size_t)4 << 20)   /* as many as a prompt's messages hold */
#define MAX_PIECES_BYTES ((size_t)1 << 20) /* each token may be a piece of one byte */
#define MAX_REPLY_BYTES ((size_t)64 << 20)
#define MAX_IDS 1048576.0

typedef struct wanted {
    const char *model;
    span content, prompt;
    const json_t *tokens, *messages, *tools;
    bool add_special, parse_special, with_pieces;
} wanted;

#define MODEL_FIELD                                                                                                    \
    { "model", FIELD_STRING, FIELD_AT(wanted, model), 0, 512, NULL, false }

static const field tokenize_fields[] = {
    MODEL_FIELD,
    {"content", FIELD_TEXT, FIELD_AT(wanted, content), 0, 0, NULL, false},
    {"prompt", FIELD_TEXT, FIELD_AT(wanted, prompt), 0, 0, NULL, false},
    {"add_special", FIELD_BOOL, FIELD_AT(wanted, add_special), 0, 0, NULL, false},
    {"add_special_tokens", FIELD_BOOL, FIELD_AT(wanted, add_special), 0, 0, NULL, false},
    {"parse_special", FIELD_BOOL, FIELD_AT(wanted, parse_special), 0, 0, NULL, false},
    {"with_pieces", FIELD_BOOL, FIELD_AT(wanted, with_pieces), 0, 0, NULL, false},
    {"return_token_strs", FIELD_BOOL, FIELD_AT(wanted, with_pieces), 0, 0, NULL, false},
};
static const field detokenize_fields[] = {
    MODEL_FIELD,
    {"tokens", FIELD_ARRAY, FIELD_AT(wanted, tokens), 0, MAX_IDS, NULL, true},
};
static const field template_fields[] = {
    MODEL_FIELD,
    {"messages", FIELD_ARRAY, FIELD_AT(wanted, messages), 1, 4096, NULL, true},
    {"tools", FIELD_ARRAY, FIELD_AT(wanted, tools), 0, 1024, NULL, false},
    {"chat_template", FIELD_REFUSED, 0, 0, 0, "\"\"", false}, /* of a model, by its Modelfile; never of a request */
};

/* ---- tokenize ---- */

/* Bytes as text, where they are; else as numbers, as llama-server has them. */
static void write_piece(str *out, const str *bytes) {
    if (utf8_valid(str_get(bytes), bytes->len)) {
        json_write_string(out, str_get(bytes), bytes->len);
        return;
    }
    for (size_t i = 0; i < bytes->len; i++)
        str_printf(out, "%c%u", i ? ',' : '[', (unsigned char)bytes->data[i]);
    str_append_c(out, ']');
}

/* Written at once: a value of JSON a token would take a hundred times what the text has. */
static muga_status write_tokens(llm *m, const int32_t *ids, size_t n, bool with_pieces, str *out, muga_error *err) {
    str bytes = STR_INIT;
    muga_status st = MUGA_OK;
    str_append_s(out, "{\"tokens\":[");
    for (size_t i = 0; i < n && !st; i++) {
        str_append_s(out, i ? "," : "");
        if (!with_pieces) {
            str_printf(out, "%" PRId32, ids[i]);
            continue;
        }
        str_clear(&bytes);
        st = llm_detokenize(m, &ids[i], 1, true, &bytes, err);
        str_printf(out, "{\"id\":%" PRId32 ",\"piece\":", ids[i]);
        write_piece(out, &bytes);
        str_append_c(out, '}');
    }
    str_printf(out, "],\"count\":%zu,\"max_model_len\":%u}", n, m->n_ctx);
    str_release(&bytes);
    return st ? st : str_status(out, err, "the list of tokens");
}

static void tokenize(call *c) {
    wanted w = {.parse_special = true};
    pool_lent lent;
    int32_t *ids = NULL;
    size_t n = 0;
    muga_error err = {0};
    if (!call_read(c, c->body, "", tokenize_fields, ARRAY_LEN(tokenize_fields), &w))
        return;
    span text = w.content.p ? w.content : w.prompt;
    if (!text.p) {
        (void)call_fail(c, 400, "content", "missing_required_parameter", "content is missing");
        return;
    }
    size_t most = w.with_pieces ? MAX_PIECES_BYTES : MAX_TEXT_BYTES;
    if (text.n > most) {
        (void)call_fail(c, 400, "content", "too_long", "content has %zu bytes; at most %zu are taken: send it in parts",
                        text.n, most);
        return;
    }
    if (!chat_take(c, w.model, &lent))
        return;
    str out;
    str_init(&out, MAX_REPLY_BYTES);
    muga_status st = llm_tokenize(lent.m, text, w.add_special, w.parse_special, &ids, &n, &err);
    if (!st)
        st = write_tokens(lent.m, ids, n, w.with_pieces, &out, &err);
    if (st)
        (void)call_fail_with(c, st, &err, "content");
    else
        (void)call_reply_text(c, 200, "application/json", str_get(&out), out.len);
    str_release(&out);
    free(ids);
    pool_give(c->serve->pool, &lent, -1);
}

/* ---- detokenize ---- */

static void detokenize(call *c) {
    wanted w = {.model = NULL};
    pool_lent lent;
    llm_ids ids = {0};
    str bytes = STR_INIT, text = STR_INIT;
    muga_error err = {0};
    if (!call_read(c, c->body, "", detokenize_fields, ARRAY_LEN(detokenize_fields), &w) ||
        !chat_read_ids(c, w.tokens, "tokens", &ids) || !chat_take(c, w.model, &lent))
        return;
    muga_status st = llm_detokenize(lent.m, ids.ids, ids.n, true, &bytes, &err);
    if (!st)
        json_write_string(&text, str_get(&bytes), bytes.len); /* ill-formed bytes become U+FFFD */
    json_t *v = st ? NULL : json_loadb(str_get(&text), text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (st)
        (void)call_fail_with(c, st, &err, "tokens");
    else
        (void)call_reply(c, 200, json_pack("{s:O, s:O}", "content", v, "prompt", v));
    json_decref(v);
    str_release(&bytes);
    str_release(&text);
    pool_give(c->serve->pool, &lent, -1);
}

/* ---- apply-template ---- */

static void apply_template(call *c) {
    wanted w = {.model = NULL};
    chat ch = {0};
    json_t *messages = NULL;
    str text = STR_INIT;
    muga_error err = {0};
    const chat_sampling said = CHAT_SAMPLING_UNSAID;
    if (!call_read(c, c->body, "", template_fields, ARRAY_LEN(template_fields), &w) ||
        !chat_read_messages(c, w.messages, "messages", &messages))
        return;
    if (chat_open(c, w.model, messages, &said, &CHAT_DEFAULTS_OPENAI, &ch) &&
        chat_read_tools(c, w.tools, NULL, true, &ch.q)) {
        muga_status st = llm_render(ch.lent.m, &ch.q, &text, &err);
        if (st)
            (void)call_fail_with(c, st, &err, "messages");
        else
            (void)call_reply(c, 200, json_pack("{s:s%}", "prompt", str_get(&text), text.len));
    }
    str_release(&text);
    json_decref(messages);
    chat_close(&ch);
}

#define TOKENS(p, f)                                                                                                   \
    { .method = "POST", .path = p, .family = CALL_MUGA, .right = CALL_ANY_KEY, .run = f }
static const call_route routes[] = {
    TOKENS("/tokenize", tokenize),        TOKENS("/v1/tokenize", tokenize),          TOKENS("/detokenize", detokenize),
    TOKENS("/v1/detokenize", detokenize), TOKENS("/apply-template", apply_template),
};

serve_routes tokens_routes(void) {
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
