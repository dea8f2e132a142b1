/* The tree's tiny model behind the face that agents and servers use, and a request to it. */
#ifndef TESTS_LLM_FIXTURE_H
#define TESTS_LLM_FIXTURE_H

#include "llm/llm.h"
#include "support/support.h"

/* One thread, a context of 1,024 unless o says another; any instruction set. */
static inline llm *open_tiny_with(llm_local_options o) {
    llm *m = NULL;
    muga_error err = {0};
    o.isa = -1;
    o.n_threads = 1;
    o.n_ctx = o.n_ctx ? o.n_ctx : 1024;
    assert_ok(llm_local_open(source_path("tests/data/tiny.gguf"), "tiny", &o, &m, &err), &err);
    return m;
}

static inline llm *open_tiny(void) {
    return open_tiny_with((llm_local_options){0});
}

/* A user's; new. */
static inline json_t *one_message(const char *content) {
    json_t *v = json_pack("[{s:s, s:s}]", "role", "user", "content", content);
    assert_non_null(v);
    return v;
}

/* Drawn, but the same each time; with evidence. */
static inline llm_request request_of(const json_t *messages) {
    llm_request q = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 24, .want_evidence = true};
    q.sampling.temperature = 1.0f;
    q.sampling.seed = 11;
    return q;
}

static inline llm_reply complete(llm *m, const llm_request *q) {
    llm_reply r;
    muga_error err = {0};
    assert_ok(llm_complete(m, q, &r, &err), &err);
    return r;
}

#endif
