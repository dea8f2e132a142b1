/* One case of a tokenizer reference: a text and the ids it must become. */
#ifndef TESTS_TOKEN_CASE_H
#define TESTS_TOKEN_CASE_H

#include "model/tokenizer.h"

typedef struct token_case {
    const char *set; /* for messages: which file the case is from */
    bool add_special, parse_special;
    str text;
    token_list ids;
} token_case;

void token_case_release(token_case *c);
/* Encodes and compares; on a difference prints both and counts it in *n_wrong. Also decodes the ids in one go and as a
 * stream, and holds the two against each other. */
void token_case_check(const token_case *c, const tokenizer *t, size_t *n_wrong);
/* "68656C" -> "hel"; "-" is empty. Appends. Fails the test when it isn't hexadecimal. */
void token_case_take_hex(const char *hex, size_t n, str *out);
/* "1 2 3"; "-" is empty. */
void token_case_take_ids(const char *p, size_t n, token_list *out);
/* Opens the tokenizer of a GGUF file, by path or in memory; fails the test with its message. */
tokenizer *token_case_open(const char *path);
tokenizer *token_case_open_memory(const void *p, size_t n);
#endif
