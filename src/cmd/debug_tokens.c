/* muga debug tokens: texts in, token ids out, as the model's own tokenizer cuts them. A file that holds a vocabulary
 * alone will do. For comparing with other run times, so bytes without a token are left out as they do it. */
#include "base/hash.h"
#include "cmd/cmd.h"
#include "gguf/gguf.h"
#include "model/tokenizer.h"

/* The line's text as bytes: "text", or "text_hex" where it need not be UTF-8. Appends to out. */
static muga_status take_text(const json_t *in, str *out, muga_error *err) {
    const json_t *text = json_object_get(in, "text"), *hex = json_object_get(in, "text_hex");
    if (json_is_string(text) && !hex) {
        str_append(out, json_string_value(text), json_string_length(text));
        return str_status(out, err, "text");
    }
    if (!json_is_string(hex) || text)
        return error_set(err, MUGA_E_INPUT, "a line needs either \"text\" or \"text_hex\", a string");
    size_t n_hex = json_string_length(hex), n = n_hex / 2;
    uint8_t *bytes = malloc(n + 1);
    if (!bytes)
        return error_nomem(err, "text");
    muga_status st = MUGA_OK;
    if (n_hex % 2 || !hex_parse(json_string_value(hex), n_hex, bytes))
        st = error_set(err, MUGA_E_INPUT, "\"text_hex\" must be pairs of hexadecimal digits");
    if (!st) {
        str_append(out, bytes, n);
        st = str_status(out, err, "text");
    }
    free(bytes);
    return st;
}

static muga_status take_flag(const json_t *in, const char *key, bool *out, muga_error *err) {
    const json_t *value = json_object_get(in, key);
    *out = json_is_true(value);
    if (value && !json_is_boolean(value))
        return error_set(err, MUGA_E_INPUT, "\"%s\" must be true or false", key);
    return MUGA_OK;
}

static muga_status write_ids(const token_list *ids, json_t **out, muga_error *err) {
    json_t *array = json_array();
    for (size_t i = 0; array && i < ids->n; i++) {
        if (json_array_append_new(array, json_integer(ids->ids[i]))) {
            json_decref(array);
            array = NULL;
        }
    }
    *out = array;
    return array ? MUGA_OK : error_nomem(err, "ids");
}

static muga_status handle(void *ctx, const json_t *in, json_t **out, muga_error *err) {
    const tokenizer *tok = ctx;
    tokenizer_flags flags = {.lossy = true};
    str text = STR_INIT;
    token_list ids = TOKEN_LIST_INIT;
    muga_status st = json_is_object(in) ? MUGA_OK : error_set(err, MUGA_E_INPUT, "a line must be a JSON object");
    if (!st)
        st = take_flag(in, "add_special", &flags.add_special, err);
    if (!st)
        st = take_flag(in, "parse_special", &flags.parse_special, err);
    if (!st)
        st = take_text(in, &text, err);
    if (!st)
        st = tokenizer_encode(tok, str_get(&text), text.len, flags, &ids, err);
    if (!st)
        st = write_ids(&ids, out, err);
    token_list_release(&ids);
    str_release(&text);
    return st;
}

static muga_status open_tokenizer(const char *model, const cmd_values *overrides, tokenizer **out, muga_error *err) {
    char *path;
    gguf_file *file;
    muga_status st = cmd_resolve(model, &path, err);
    if (st)
        return st;
    st = gguf_open_overridden(path, overrides->v, overrides->n, &file, err);
    if (!st) {
        st = tokenizer_open(file, out, err);
        gguf_close(file);
    }
    free(path);
    return st;
}

int cmd_debug_tokens(int argc, char **argv) {
    cmd_positional p = {.min = 1, .max = 1};
    cmd_values overrides = {.n = 0};
    const cmd_option options[] = {OVERRIDE_OPTION(&overrides)};
    int code = cmd_parse("debug tokens", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    tokenizer *tok;
    muga_error err = {0};
    if (open_tokenizer(p.v[0], &overrides, &tok, &err))
        return cmd_fail(&err);
    code = cmd_jsonl(handle, tok);
    tokenizer_free(tok);
    return code;
}
