/* If this fails, a client is told of other tokens than its text is made of, of tokens behind a stop string or within
 * reasoning and calls, or of probabilities that aren't the model's. */
#include "support/llm_fixture.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "llm/local.h"
#include "llm/tokens.h"

#include <math.h>
#include <stdio.h>

/* What a client has seen so far. */
typedef struct client {
    str text, bytes; /* pieces; bytes of tokens */
    uint32_t n_tokens, n_forced, n_pieces, n_top;
    int32_t ids[256];
    double logprobs[256];
    llm_top top[256][LLM_MAX_TOP];
    bool greedy, fails;
} client;

static bool on_text(void *ctx, const char *p, size_t n) {
    client *c = ctx;
    c->n_pieces++;
    str_append(&c->text, p, n);
    assert_true(c->bytes.len <= c->text.len + 8); /* with the piece, or held back with its last byte */
    return true;
}

static bool on_event(void *ctx, const llm_event *e) {
    return e->kind != LLM_EVENT_CONTENT || on_text(ctx, e->p, e->n);
}

static void on_token(void *ctx, const llm_token *t) {
    client *c = ctx;
    assert_true(t->n > 0 && t->logprob <= 0 && t->n_top <= c->n_top && c->n_tokens < 256);
    str_append(&c->bytes, t->p, t->n);
    bool forced = t->n_top == 1 && t->logprob == 0.0;
    c->n_forced += forced;
    if (c->greedy && !forced && c->n_top > 0)
        assert_int_equal(t->top[0].id, t->id);
    for (size_t i = 0; i < t->n_top; i++) {
        c->top[c->n_tokens][i] = t->top[i];
        assert_true(i == 0 || t->top[i - 1].logprob >= t->top[i].logprob);
        assert_true(t->top[i].id != t->id || t->top[i].logprob == t->logprob);
    }
    c->ids[c->n_tokens] = t->id;
    c->logprobs[c->n_tokens++] = t->logprob;
}

static void client_release(client *c) {
    str_release(&c->text);
    str_release(&c->bytes);
}

static llm_request client_request(const json_t *messages, client *c) {
    llm_request q = {.messages = messages,
                     .sampling = LLM_SAMPLING_GREEDY,
                     .max_tokens = 40,
                     .want_ids = true,
                     .on_text = on_text,
                     .on_text_ctx = c,
                     .on_event = on_event,
                     .on_event_ctx = c,
                     .on_token = on_token,
                     .on_token_ctx = c,
                     .top_logprobs = c->n_top};
    q.sampling.seed = 5;
    return q;
}

/* What was told is what the text is made of. */
static void assert_aligned(const client *c, const llm_reply *r) {
    str shown = STR_INIT;
    utf8_append_replaced(&shown, str_get(&c->bytes), c->bytes.len);
    assert_string_equal(str_get(&shown), str_get(&r->text));
    assert_string_equal(str_get(&c->text), str_get(&r->text));
    str_release(&shown);
}

/* ---- values ---- */

/* The token's log-probability, and the likeliest, anew: in f64, from the logits after what stands before. */
static void assert_values(llm *m, const client *c, const llm_reply *r) {
    engine *e = ((local *)m)->engine;
    uint32_t n_vocab = engine_params(e)->n_vocab;
    engine_session *s = NULL;
    muga_error err = {0};
    assert_ok(engine_session_new(e, 1024, &s, &err), &err);
    assert_ok(engine_session_feed(s, r->prompt_ids, r->n_prompt, &err), &err);
    for (uint32_t i = 0; i < c->n_tokens; i++) {
        const float *logits = engine_session_logits(s);
        double sum = 0;
        assert_int_equal(c->ids[i], r->ids[i]);
        for (uint32_t id = 0; id < n_vocab; id++)
            sum += exp((double)logits[id]);
        assert_true(fabs(c->logprobs[i] - ((double)logits[c->ids[i]] - log(sum))) < 1e-4);
        for (uint32_t k = 0; k < c->n_top; k++) {
            uint32_t n_before = 0;
            int32_t id = c->top[i][k].id;
            for (uint32_t o = 0; o < n_vocab; o++)
                n_before += logits[o] > logits[id] || (logits[o] == logits[id] && o < (uint32_t)id);
            assert_int_equal(n_before, k);
            assert_true(fabs(c->top[i][k].logprob - ((double)logits[id] - log(sum))) < 1e-4);
        }
        assert_ok(engine_session_feed(s, &r->ids[i], 1, &err), &err);
    }
    engine_session_free(s);
}

static void they_are_of_the_models_own_distribution(void **state) {
    (void)state;
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "where is my order?");
    for (int drafts = 0; drafts < 2; drafts++)
        for (int greedy = 0; greedy < 2; greedy++) {
            llm *m = open_tiny_with((llm_local_options){.drafts = drafts ? LLM_DRAFTS_NGRAM : LLM_DRAFTS_OFF});
            client *c = calloc(1, sizeof *c);
            c->n_top = 7;
            c->greedy = greedy;
            llm_request q = client_request(messages, c);
            q.sampling.temperature = greedy ? 0.0f : 0.8f;
            q.sampling.top_k = 30;
            llm_bias bias = {17, 2.5f}; /* changes choices, not what is told */
            q.logit_bias = &bias;
            q.n_logit_bias = greedy ? 0 : 1;
            llm_reply r = complete(m, &q);
            assert_true(c->n_tokens > 8);
            assert_aligned(c, &r);
            assert_values(m, c, &r);
            llm_reply_release(&r);
            client_release(c);
            free(c);
            llm_free(m);
        }
    json_decref(messages);
}

/* ---- with what text they come ---- */

static void tokens_behind_a_stop_string_are_not_told(void **state) {
    (void)state;
    llm *m = open_tiny_with((llm_local_options){.drafts = LLM_DRAFTS_NGRAM});
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "hello");
    client whole = {.n_top = 0};
    llm_request q = client_request(messages, &whole);
    llm_reply all = complete(m, &q);
    assert_true(all.text.len > 30);
    for (size_t at = 1; at + 4 < all.text.len; at++) {
        char word[4];
        const char *stops[] = {word};
        if ((all.text.data[at] & 0xC0) == 0x80) /* within a character */
            continue;
        snprintf(word, sizeof word, "%.3s", all.text.data + at);
        if (!utf8_valid(word, strlen(word)) || strstr(word, "\xEF\xBF\xBD")) /* no character of the model's */
            continue;
        for (int split = 0; split < 2; split++) {
            client c = {.n_top = 2};
            llm_request r = client_request(messages, &c);
            r.stop = stops;
            r.n_stop = 1;
            r.split = split;
            llm_reply got = complete(m, &r);
            assert_true(got.text.len < all.text.len);
            assert_aligned(&c, &got);
            llm_reply_release(&got);
            client_release(&c);
        }
    }
    llm_reply_release(&all);
    client_release(&whole);
    json_decref(messages);
    llm_free(m);
}

static void forced_tokens_are_certain(void **state) {
    (void)state;
    llm *m = open_tiny_with((llm_local_options){.drafts = LLM_DRAFTS_NGRAM});
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "hello");
    json_t *schema = json_pack("{s:s, s:{s:{s:s, s:i, s:b, s:{s:[s,s,s]}}}, s:[s], s:b}", "type", "object",
                               "properties", "delivered", "type", "array", "minItems", 2, "uniqueItems", 1, "items",
                               "enum", "early", "late", "never", "required", "delivered", "additionalProperties", 0);
    assert_non_null(schema);
    for (int split = 0; split < 2; split++) {
        client c = {.n_top = 3};
        llm_request q = client_request(messages, &c);
        q.schema = schema; /* re-validated: all of it comes at once */
        q.split = split;
        llm_reply r = complete(m, &q);
        assert_true(c.n_forced > 0 && c.n_forced < c.n_tokens);
        assert_int_equal(c.n_pieces > 0, 1);
        assert_aligned(&c, &r);
        llm_reply_release(&r);
        client_release(&c);
    }
    json_decref(schema);
    json_decref(messages);
    llm_free(m);
}

/* ---- reasoning and calls ---- */

typedef struct reader {
    toolcall_parser *parser;
    token_queue queue;
    llm_request q;
    client c;
} reader;

static bool on_part(void *ctx, const llm_event *e) {
    reader *r = ctx;
    size_t from, to;
    if (e->kind != LLM_EVENT_CONTENT)
        return true;
    toolcall_parser_where(r->parser, &from, &to);
    token_queue_give(&r->queue, from, to, &r->q);
    str_append(&r->c.text, e->p, e->n);
    return true;
}

/* Cut into tokens and pieces at random: what is told is the content, whatever stands around it. */
static void read_cut(const char *text, const char *content, uint64_t seed) {
    static const char *const names[] = {"find"};
    static const char *const stops[] = {"STOP"};
    rng rnd = {seed};
    reader r = {.c = {.n_top = 0}};
    muga_error err = {0};
    r.q = (llm_request){.on_token = on_token, .on_token_ctx = &r.c};
    arena a;
    toolcall_form form;
    arena_init(&a, 0);
    assert_true(toolcall_bind(&toolcall_family_named("hermes")->form[0], NULL, NULL, &a, &form));
    toolcall_parser_options o = {.forms = &form,
                                 .n_forms = 1,
                                 .think_open = "<think>",
                                 .think_close = "</think>",
                                 .names = names,
                                 .n_names = 1,
                                 .stop = stops,
                                 .n_stop = 1,
                                 .on_event = on_part,
                                 .on_event_ctx = &r};
    assert_ok(toolcall_parser_new(&o, &r.parser, &err), &err);
    size_t n = strlen(text), at = 0, piece = 0;
    bool more = true;
    while (at < n && more) {
        size_t len = 1 + rng_below(&rnd, 6);
        len = MIN(len, n - at);
        llm_token t = {.id = 1, .logprob = -1, .p = text + at, .n = len, .from = at, .to = at + len};
        token_queue_push(&r.queue, &t);
        at += len;
        if (at < n && rng_below(&rnd, 3))
            continue;
        assert_ok(toolcall_parser_feed(r.parser, text + piece, at - piece, &more, &err), &err);
        piece = at;
    }
    assert_ok(toolcall_parser_end(r.parser, &err), &err);
    assert_ok(token_queue_finish(&r.queue, &r.q, &err), &err);
    assert_string_equal(str_get(&r.c.text), content);
    assert_string_equal(str_get(&r.c.bytes), content);
    toolcall_parser_free(r.parser);
    arena_release(&a);
    token_queue_release(&r.queue);
    client_release(&r.c);
}

static void tokens_of_reasoning_and_calls_are_not_told(void **state) {
    (void)state;
#define CALL "<tool_call>\n{\"name\": \"find\", \"arguments\": {\"a\": \"b c\"}}\n</tool_call>"
    for (uint64_t seed = 0; seed < 400; seed++) {
        read_cut("Plain text,  in words. \n", "Plain text,  in words. \n", seed);
        read_cut("<think>\nwell, then\n</think>\n\nThe answer is 4.", "The answer is 4.", seed);
        read_cut("<think>hm</think>\n  I look. \n" CALL, "I look.", seed);
        read_cut("I look.\n" CALL "\n" CALL, "I look.", seed);
        read_cut(CALL, "", seed);
        read_cut("It ends here STOP and not there", "It ends here ", seed);
        read_cut("<think>STOP</think>no STOP", "no ", seed);
        read_cut("< tool>, <thin> and <tool_ are text", "< tool>, <thin> and <tool_ are text", seed);
    }
}

static void more_than_twenty_are_refused(void **state) {
    (void)state;
    llm *m = open_tiny_with((llm_local_options){.drafts = LLM_DRAFTS_OFF});
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "hello");
    client c = {.n_top = LLM_MAX_TOP + 1};
    llm_request q = client_request(messages, &c);
    llm_reply r;
    muga_error err = {0};
    assert_status(llm_complete(m, &q, &r, &err), MUGA_E_USAGE, &err, "at most 20");
    json_decref(messages);
    llm_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_are_of_the_models_own_distribution),
        cmocka_unit_test(tokens_behind_a_stop_string_are_not_told),
        cmocka_unit_test(forced_tokens_are_certain),
        cmocka_unit_test(tokens_of_reasoning_and_calls_are_not_told),
        cmocka_unit_test(more_than_twenty_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
