/* Constraints by themselves: what one generation under a schema costs beside the model. Reads cases, a line each, and
 * answers each with a line; bench/constrain drives it, so that it takes turns with what it is compared to.
 *
 *   bench_constrain VOCABULARY.gguf
 *   at first, what the vocabulary is  ->  {"pieces": ["hexadecimal bytes" or "" for control tokens], "end": id}
 *   {"schema": {...}, "text": "..."}
 *       ->  {"ids": [...], "compile_us", "mask_us": [...], "advance_us": [...]} | {"error"}
 *
 * compile: from the schema's text to a state. mask: before each token, and once more behind the last. Everything is
 * made anew for each case but the vocabulary's trie, which a program makes once. */
#include "base/json.h"
#include "base/mem.h"
#include "constrain/constrain.h"
#include "gguf/gguf.h"
#include "model/tokenizer.h"

#include <stdio.h>
#include <time.h>

#define BUDGET 4096u /* tokens that may come */

typedef struct bench {
    tokenizer *tok;
    constrain_trie *trie;
    uint64_t *mask;
} bench;

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static muga_status open_vocabulary(const char *path, bench *b, muga_error *err) {
    gguf_file *f = NULL;
    muga_status st = gguf_open(path, &f, err);
    if (st == MUGA_OK)
        st = tokenizer_open(f, &b->tok, err);
    gguf_close(f);
    if (st != MUGA_OK)
        return st;
    constrain_vocab v = {.n = (uint32_t)tokenizer_count(b->tok), .pieces = tokenizer_text_pieces(b->tok)};
    b->mask = mem_alloc_array(v.n / 64 + 1, sizeof *b->mask);
    return b->mask ? constrain_trie_new(&v, &b->trie, err) : error_nomem(err, "a mask");
}

static muga_status generate(const bench *b, constrain_state *s, const token_list *ids, json_t *masks, json_t *advances,
                            muga_error *err) {
    muga_status st = MUGA_OK;
    bool may_end = false, accepted = true;
    for (size_t i = 0; i <= ids->n && st == MUGA_OK; i++) {
        double begin = now_us();
        st = constrain_mask(s, b->trie, BUDGET - (uint32_t)i, b->mask, &may_end, err);
        json_array_append_new(masks, json_real(now_us() - begin));
        if (st != MUGA_OK || i == ids->n)
            break;
        uint32_t id = (uint32_t)ids->ids[i];
        span piece = tokenizer_piece(b->tok, ids->ids[i]);
        if (!(b->mask[id / 64] >> id % 64 & 1))
            return error_set(err, MUGA_E_NEGATIVE, "token %zu isn't admitted", i);
        begin = now_us();
        st = constrain_advance(s, piece.p, piece.n, &accepted, err);
        json_array_append_new(advances, json_real(now_us() - begin));
        if (st == MUGA_OK && !accepted)
            st = error_set(err, MUGA_E_INTERNAL, "token %zu was admitted and doesn't fit", i);
    }
    return st == MUGA_OK && !may_end ? error_set(err, MUGA_E_NEGATIVE, "the text is no whole value") : st;
}

static muga_status run_case(const bench *b, const json_t *in, json_t *out, muga_error *err) {
    const json_t *schema = json_object_get(in, "schema"), *text = json_object_get(in, "text");
    token_list ids = TOKEN_LIST_INIT;
    constrain_grammar *g = NULL;
    constrain_state *s = NULL;
    json_t *parsed = NULL, *masks = json_array(), *advances = json_array(), *list = json_array();
    str written = STR_INIT;
    json_write(schema, &written);
    muga_status st =
        tokenizer_encode(b->tok, json_string_value(text), json_string_length(text), (tokenizer_flags){0}, &ids, err);
    double begin = now_us();
    if (st == MUGA_OK)
        st = json_parse(str_get(&written), written.len, "schema", &parsed, err);
    if (st == MUGA_OK)
        st = constrain_compile_schema(parsed, NULL, &g, err);
    if (st == MUGA_OK)
        st = constrain_state_new(g, &s, err);
    double compile_us = now_us() - begin;
    if (st == MUGA_OK)
        st = generate(b, s, &ids, masks, advances, err);
    for (size_t i = 0; i < ids.n; i++)
        json_array_append_new(list, json_integer(ids.ids[i]));
    if (st == MUGA_OK) {
        json_object_set(out, "ids", list);
        json_object_set_new(out, "compile_us", json_real(compile_us));
        json_object_set(out, "mask_us", masks);
        json_object_set(out, "advance_us", advances);
    }
    json_decref(list);
    json_decref(masks);
    json_decref(advances);
    json_decref(parsed);
    constrain_state_free(s);
    constrain_grammar_free(g);
    token_list_release(&ids);
    str_release(&written);
    return st;
}

static void print(json_t *v) {
    str text = STR_INIT;
    json_write(v, &text);
    puts(str_get(&text));
    fflush(stdout);
    str_release(&text);
    json_decref(v);
}

static json_t *describe(const bench *b) {
    json_t *pieces = json_array();
    for (int32_t i = 0; i < tokenizer_count(b->tok); i++) {
        span p = tokenizer_text_pieces(b->tok)[i];
        str hex = STR_INIT;
        for (size_t k = 0; k < p.n; k++)
            str_printf(&hex, "%02x", (uint8_t)p.p[k]);
        json_array_append_new(pieces, json_string(str_get(&hex)));
        str_release(&hex);
    }
    return json_pack("{s:o, s:i}", "pieces", pieces, "end", (int)tokenizer_eos(b->tok));
}

int main(int argc, char **argv) {
    bench b = {0};
    muga_error err = {0};
    static char line[4 << 20];
    if (argc != 2 || open_vocabulary(argv[1], &b, &err) != MUGA_OK) {
        fprintf(stderr, "bench_constrain VOCABULARY.gguf: %s\n", err.message);
        return 1;
    }
    print(describe(&b));
    while (fgets(line, sizeof line, stdin)) {
        json_t *in = NULL, *out = json_object();
        muga_status st = json_parse(line, strlen(line), "a case", &in, &err);
        if (st == MUGA_OK)
            st = run_case(&b, in, out, &err);
        if (st != MUGA_OK)
            json_object_set_new(out, "error", json_string(err.message));
        print(out);
        json_decref(in);
    }
    constrain_trie_free(b.trie);
    tokenizer_free(b.tok);
    free(b.mask);
    return 0;
}
