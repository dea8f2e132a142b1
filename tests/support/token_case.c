/* Cases of tokenizer references. The comparison is of whole lists; nothing is forgiven. */
#include "support/token_case.h"

#include "base/hash.h"
#include "base/mem.h"
#include "support/support.h"

void token_case_release(token_case *c) {
    str_release(&c->text);
    token_list_release(&c->ids);
    memset(c, 0, sizeof *c);
}

static void print_ids(const char *what, const token_list *l) {
    str line = STR_INIT;
    for (size_t i = 0; i < l->n && i < 40; i++)
        str_printf(&line, " %d", l->ids[i]);
    print_message("  %s (%zu):%s\n", what, l->n, str_get(&line));
    str_release(&line);
}

static void print_difference(const token_case *c, const token_list *got) {
    str shown = STR_INIT;
    for (size_t i = 0; i < c->text.len && i < 120; i++) {
        uint8_t b = (uint8_t)c->text.data[i];
        if (b >= 0x20 && b < 0x7F)
            str_append_c(&shown, (char)b);
        else
            str_printf(&shown, "\\x%02x", b);
    }
    print_message("%s: add_special %d, parse_special %d: \"%s\"\n", c->set, c->add_special, c->parse_special,
                  str_get(&shown));
    str_release(&shown);
    print_ids("wanted", &c->ids);
    print_ids("got", got);
}

static void check_decoding(const tokenizer *t, const token_list *ids) {
    str whole = STR_INIT, streamed = STR_INIT;
    tokenizer_stream stream = {.control = true};
    tokenizer_decode(t, ids->ids, ids->n, true, &whole);
    for (size_t i = 0; i < ids->n; i++)
        tokenizer_stream_push(&stream, t, ids->ids[i], &streamed);
    tokenizer_stream_flush(&stream, &streamed);
    assert_int_equal(whole.len, streamed.len);
    assert_memory_equal(str_get(&whole), str_get(&streamed), whole.len);
    str_release(&whole);
    str_release(&streamed);
}

void token_case_check(const token_case *c, const tokenizer *t, size_t *n_wrong) {
    muga_error err;
    token_list got = TOKEN_LIST_INIT;
    tokenizer_flags flags = {.add_special = c->add_special, .parse_special = c->parse_special};
    assert_ok(tokenizer_encode(t, str_get(&c->text), c->text.len, flags, &got, &err), &err);
    if (got.n != c->ids.n || (got.n && memcmp(got.ids, c->ids.ids, got.n * sizeof got.ids[0]) != 0)) {
        if (++*n_wrong <= 5)
            print_difference(c, &got);
    }
    check_decoding(t, &got);
    token_list_release(&got);
}

void token_case_take_hex(const char *hex, size_t n, str *out) {
    if (n == 1 && hex[0] == '-')
        return;
    uint8_t *bytes = malloc(n / 2 + 1);
    assert_non_null(bytes);
    assert_true(n % 2 == 0 && hex_parse(hex, n, bytes));
    str_append(out, bytes, n / 2);
    free(bytes);
}

void token_case_take_ids(const char *p, size_t n, token_list *out) {
    const char *end = p + n;
    if (n == 1 && p[0] == '-')
        return;
    while (p < end) {
        char *after;
        long id = strtol(p, &after, 10);
        assert_true(after > p && token_list_push(out, (int32_t)id));
        p = after + (after < end);
    }
}

static tokenizer *open_from(gguf_file *file) {
    muga_error err;
    tokenizer *t;
    assert_ok(tokenizer_open(file, &t, &err), &err);
    gguf_close(file);
    return t;
}

tokenizer *token_case_open(const char *path) {
    muga_error err;
    gguf_file *file;
    assert_ok(gguf_open(path, &file, &err), &err);
    return open_from(file);
}

tokenizer *token_case_open_memory(const void *p, size_t n) {
    muga_error err;
    gguf_file *file;
    assert_ok(gguf_open_memory(p, n, &file, &err), &err);
    return open_from(file);
}
