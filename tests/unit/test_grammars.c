/* If this fails, a constraint is compiled again for every request, or one is used that was compiled from something
 * else, for texts of another conversation, or after it was freed; or constraints take more memory than they may. */
#include "support/support.h"

#include "base/mem.h"
#include "llm/grammars.h"
#include "llm/llm.h"

#include <pthread.h>
#include <stdio.h>

static json_t *parse(const char *text) {
    json_t *v = NULL;
    muga_error err = {0};
    assert_ok(json_parse(text, strlen(text), "test", &v, &err), &err);
    return v;
}

/* ---- by themselves ---- */

static muga_status compile(void *ctx, constrain_grammar **out, muga_error *err) {
    return constrain_compile_regex(ctx, out, err);
}

static constrain_grammar *take(grammars *c, const char *regex) {
    grammars_key k;
    muga_error err = {0};
    constrain_grammar *g;
    grammars_key_init(&k);
    grammars_key_text(&k, regex);
    assert_ok(grammars_take(c, &k, compile, (void *)(uintptr_t)regex, &g, &err), &err);
    return g;
}

static grammars *new_grammars(size_t max_bytes) {
    grammars *c;
    muga_error err = {0};
    assert_ok(grammars_new(max_bytes, &c, &err), &err);
    return c;
}

static bool accepts(const constrain_grammar *g, const char *text) {
    constrain_state *s;
    muga_error err = {0};
    bool accepted;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    assert_ok(constrain_advance(s, text, strlen(text), &accepted, &err), &err);
    bool complete = accepted && constrain_is_complete(s);
    constrain_state_free(s);
    return complete;
}

static void test_what_was_compiled_is_taken_again(void **state) {
    (void)state;
    grammars *c = new_grammars(GRAMMARS_BYTES);
    constrain_grammar *a = take(c, "a+"), *b = take(c, "b+"), *again = take(c, "a+");
    assert_ptr_equal(a, again);
    assert_ptr_not_equal(a, b);
    assert_true(accepts(again, "aa") && accepts(b, "b") && !accepts(b, "a"));
    grammars_give_back(c, a);
    grammars_give_back(c, again);
    grammars_give_back(c, b);
    assert_ptr_equal(take(c, "a+"), a);
    grammars_counts n = grammars_get_counts(c);
    assert_int_equal(n.n_compiled, 2);
    assert_int_equal(n.n_found, 2);
    assert_int_equal(n.n, 2);
    grammars_give_back(c, a);
    grammars_free(c);
}

static void test_those_unused_longest_go_first(void **state) {
    (void)state;
    grammars *c = new_grammars(GRAMMARS_BYTES);
    char regex[16];
    constrain_grammar *held = take(c, "held");
    for (uint32_t i = 0; i < 3 * GRAMMARS_MAX; i++) {
        snprintf(regex, sizeof regex, "r%u", i);
        grammars_give_back(c, take(c, regex));
        grammars_give_back(c, take(c, "often"));
    }
    grammars_counts n = grammars_get_counts(c);
    assert_int_equal(n.n, GRAMMARS_MAX);
    assert_int_equal(n.n_compiled, 3 * GRAMMARS_MAX + 2);
    assert_true(accepts(held, "held"));
    assert_ptr_equal(take(c, "held"), held);
    snprintf(regex, sizeof regex, "r%u", 3 * GRAMMARS_MAX - 1);
    grammars_give_back(c, take(c, regex));
    assert_int_equal(grammars_get_counts(c).n_compiled, n.n_compiled);
    grammars_give_back(c, take(c, "r0"));
    assert_int_equal(grammars_get_counts(c).n_compiled, n.n_compiled + 1);
    grammars_give_back(c, held);
    grammars_give_back(c, held);
    grammars_free(c);
}

static void test_memory_is_limited(void **state) {
    (void)state;
    grammars *c = new_grammars(0);
    constrain_grammar *a = take(c, "a"), *b = take(c, "b");
    grammars_give_back(c, a);
    grammars_counts n = grammars_get_counts(c);
    assert_int_equal(n.n, 1); /* the one in use */
    grammars_give_back(c, b);
    n = grammars_get_counts(c);
    assert_int_equal(n.n, 0);
    assert_int_equal(n.bytes, 0);
    grammars_free(c);
    c = new_grammars(1 << 20);
    for (char regex[8] = "a{999}"; regex[0] < 'z'; regex[0]++)
        grammars_give_back(c, take(c, regex));
    n = grammars_get_counts(c);
    assert_true(n.n > 1 && n.bytes > 100 << 10 && n.bytes <= 1 << 20);
    grammars_free(c);
}

static void test_more_users_than_places(void **state) {
    (void)state;
    grammars *c = new_grammars(GRAMMARS_BYTES);
    constrain_grammar *all[GRAMMARS_MAX + 3];
    for (uint32_t i = 0; i < ARRAY_LEN(all); i++) {
        char regex[16];
        snprintf(regex, sizeof regex, "r%u", i);
        all[i] = take(c, regex);
    }
    assert_int_equal(grammars_get_counts(c).n, GRAMMARS_MAX);
    for (uint32_t i = 0; i < ARRAY_LEN(all); i++)
        grammars_give_back(c, all[i]);
    assert_int_equal(grammars_get_counts(c).n, GRAMMARS_MAX);
    grammars_free(c);
}

static void test_parts_do_not_run_together(void **state) {
    (void)state;
    const char *const parts[][2] = {{"ab", "c"}, {"a", "bc"}, {"abc", ""}, {"abc", NULL}, {NULL, "abc"}};
    uint8_t keys[ARRAY_LEN(parts)][SHA256_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        grammars_key k;
        grammars_key_init(&k);
        grammars_key_text(&k, parts[i][0]);
        grammars_key_text(&k, parts[i][1]);
        sha256_final(&k.hash, keys[i]);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(keys[i], keys[j], SHA256_BYTES);
    }
}

/* ---- threads ---- */

static void *take_many(void *ctx) {
    for (uint32_t i = 0; i < 300; i++) {
        char regex[16];
        snprintf(regex, sizeof regex, "x%uy", i * 7 % 20);
        constrain_grammar *g = take(ctx, regex), *again = take(ctx, regex);
        bool right = accepts(g, regex) && again == g;
        grammars_give_back(ctx, g);
        grammars_give_back(ctx, again);
        if (!right)
            return NULL;
    }
    return ctx;
}

static void test_threads_take_the_same(void **state) {
    (void)state;
    grammars *c = new_grammars(100 << 10);
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_many, c), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *right;
        pthread_join(threads[i], &right);
        assert_ptr_equal(right, c);
    }
    assert_true(grammars_get_counts(c).n_found >= ARRAY_LEN(threads) * 300);
    grammars_free(c);
}

/* ---- in requests ---- */

static const char look_up[] = "[{\"name\": \"look\", \"parameters\": {\"properties\": {\"day\": {\"enum\": [\"mon\", "
                              "\"tue\"]}, \"n\": {\"enum\": [1, 22]}}, \"required\": [\"day\", \"n\"]}}, {\"name\": "
                              "\"ping\"}]";

static llm *open_tiny(void) {
    llm *m = NULL;
    muga_error err = {0};
    llm_local_options o = {.isa = -1, .n_threads = 1, .n_ctx = 1024};
    assert_ok(llm_local_open(source_path("tests/data/tiny.gguf"), "tiny", &o, &m, &err), &err);
    return m;
}

static char *ask(llm *m, llm_request q) {
    llm_reply r;
    muga_error err = {0};
    json_t *messages = parse("[{\"role\": \"user\", \"content\": \"the code is A17 or B22\"}]");
    q.messages = messages;
    q.sampling = LLM_SAMPLING_GREEDY;
    q.max_tokens = 300;
    assert_ok(llm_complete(m, &q, &r, &err), &err);
    str text = STR_INIT;
    str_append_s(&text, str_get(&r.text));
    for (size_t i = 0; i < r.n_calls; i++)
        str_printf(&text, "%s %s", r.calls[i].name, r.calls[i].arguments);
    char *copy = mem_copy_string(str_get(&text));
    str_release(&text);
    llm_reply_release(&r);
    json_decref(messages);
    return copy;
}

/* Asks twice; how many grammars were compiled for it. The answers are the same, also from a model that keeps none. */
static uint64_t count_compiled(llm *m, llm_request q) {
    uint64_t before = grammars_get_counts(m->grammars).n_compiled;
    char *a = ask(m, q), *b = ask(m, q);
    uint64_t after = grammars_get_counts(m->grammars).n_compiled;
    grammars *kept = m->grammars;
    m->grammars = NULL;
    char *c = ask(m, q);
    m->grammars = kept;
    assert_string_equal(a, b);
    assert_string_equal(a, c);
    free(a);
    free(b);
    free(c);
    return after - before;
}

static void test_requests_share_what_is_the_same(void **state) {
    (void)state;
    llm *m = open_tiny();
    json_t *tools = parse(look_up), *other = parse(look_up);
    json_object_set_new(json_object_get(json_array_get(other, 0), "parameters"), "required", json_pack("[s]", "n"));
    llm_request q = {.tools = tools, .tool_choice = LLM_TOOLS_REQUIRED, .one_call = true};
    assert_int_equal(count_compiled(m, q), 1);
    assert_int_equal(count_compiled(m, q), 0);
    q.one_call = false;
    assert_int_equal(count_compiled(m, q), 1);
    q.tool_choice = LLM_TOOLS_NAMED;
    q.tool_name = "look";
    assert_int_equal(count_compiled(m, q), 1);
    q.tool_name = "ping";
    assert_int_equal(count_compiled(m, q), 1);
    q.tools = other;
    assert_int_equal(count_compiled(m, q), 1);
    q.tool_format = "llama";
    assert_int_equal(count_compiled(m, q), 1);
    json_decref(tools);
    json_decref(other);
    llm_free(m);
}

static void test_values_share_grammars_too(void **state) {
    (void)state;
    llm *m = open_tiny();
    json_t *ab = parse("{\"properties\": {\"a\": {\"enum\": [1]}, \"b\": {\"enum\": [2]}}, \"required\": [\"a\", "
                       "\"b\"], \"additionalProperties\": false}");
    json_t *ba = parse("{\"properties\": {\"b\": {\"enum\": [2]}, \"a\": {\"enum\": [1]}}, \"required\": [\"a\", "
                       "\"b\"], \"additionalProperties\": false}");
    assert_int_equal(count_compiled(m, (llm_request){.schema = ab}), 1);
    assert_int_equal(count_compiled(m, (llm_request){.schema = ba}), 1); /* the order of members is the answer's */
    assert_int_equal(count_compiled(m, (llm_request){.schema = ab}), 0);
    assert_int_equal(count_compiled(m, (llm_request){.schema = ab, .split = true}), 1);
    assert_int_equal(count_compiled(m, (llm_request){.regex = "a|b"}), 1);
    assert_int_equal(count_compiled(m, (llm_request){.gbnf = "root ::= \"a\""}), 1);
    json_decref(ab);
    json_decref(ba);
    llm_free(m);
}

static void test_grounded_values_are_for_one_request(void **state) {
    (void)state;
    llm *m = open_tiny();
    json_t *schema = parse("{\"type\": \"string\", \"pattern\": \"^[A-Z][0-9]{2}$\", \"from\": \"conversation\"}");
    const char *said[] = {"the code is A17", "the code is B22"};
    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        span text = span_of_string(said[i]);
        constrain_source source = {"conversation", &text, 1};
        llm_request q = {.schema = schema, .sources = &source, .n_sources = 1};
        char *answer = ask(m, q);
        assert_string_equal(answer, i ? "\"B22\"" : "\"A17\"");
        free(answer);
    }
    assert_int_equal(grammars_get_counts(m->grammars).n, 0);
    json_decref(schema);
    llm_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_compiled_is_taken_again),
        cmocka_unit_test(test_those_unused_longest_go_first),
        cmocka_unit_test(test_memory_is_limited),
        cmocka_unit_test(test_more_users_than_places),
        cmocka_unit_test(test_parts_do_not_run_together),
        cmocka_unit_test(test_threads_take_the_same),
        cmocka_unit_test(test_requests_share_what_is_the_same),
        cmocka_unit_test(test_values_share_grammars_too),
        cmocka_unit_test(test_grounded_values_are_for_one_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
