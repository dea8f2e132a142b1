/* The engine alone, without agents, store or network: load a model, feed a prompt, print what it makes of it - free
 * text, then a value that a schema allows. Ranks 0-5 need a C compiler, libm, threads, jansson, PCRE2 and utf8proc;
 * scripts/one-line-build has the one compiler line.
 *
 *   engine MODEL.gguf [PROMPT] */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

static const char schema_text[] = "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"tool\"],"
                                  " \"properties\": {\"tool\": {\"enum\": [\"search\", \"answer\", \"ask\"]}}}";

static bool print_text(void *ctx, const char *p, size_t n) {
    (void)ctx;
    return fwrite(p, 1, n, stdout) == n && fflush(stdout) == 0; /* false would stop it */
}

/* The prompt in a session of its own; 40 tokens, constrained where `schema` is given. */
static muga_status say(engine *e, const char *prompt, const json_t *schema, muga_error *err) {
    token_list ids = TOKEN_LIST_INIT;
    engine_session *session = NULL;
    constrain_grammar *grammar = NULL;
    constrain_state *state = NULL;
    engine_generated made = {0};
    sampler_settings greedy = SAMPLER_GREEDY;
    muga_status st = tokenizer_encode(engine_tokenizer(e), prompt, strlen(prompt), (tokenizer_flags){0}, &ids, err);
    if (!st) st = engine_session_new(e, 512, &session, err);
    if (!st) st = engine_session_feed(session, ids.ids, (uint32_t)ids.n, err);
    if (!st && schema) st = constrain_compile_schema(schema, &(constrain_options){0}, &grammar, err);
    if (!st && schema) st = constrain_state_new(grammar, &state, err);
    if (!st) {
        engine_generate_args a = {
            .session = session, .sampling = &greedy, .max_tokens = 40, .constraint = state, .on_text = print_text};
        st = engine_generate(&a, &made, err);
    }
    printf("\n");
    engine_generated_release(&made);
    constrain_state_free(state);
    constrain_grammar_free(grammar);
    engine_session_free(session);
    token_list_release(&ids);
    return st;
}

int main(int argc, char **argv) {
    muga_error err = {0};
    engine *e = NULL;
    json_t *schema = NULL;
    if (argc < 2) {
        fprintf(stderr, "usage: engine MODEL.gguf [PROMPT]\n");
        return 2;
    }
    const char *prompt = argc > 2 ? argv[2] : "The sea is";
    muga_status st = engine_open(argv[1], &ENGINE_OPTIONS_DEFAULT, &e, &err);
    if (!st) st = say(e, prompt, NULL, &err);
    if (!st) st = json_parse(schema_text, sizeof schema_text - 1, "the schema", &schema, &err);
    if (!st) st = say(e, prompt, schema, &err);
    if (st) fprintf(stderr, "engine: %s\n", err.message);
    json_decref(schema);
    engine_free(e);
    return st ? 1 : 0;
}
