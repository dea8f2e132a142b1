/* What a server of chat completions sends: read the same however it was cut, as a stream and as one body; texts are
 * UTF-8, calls are within bounds, a refusal says why, and nothing that comes out was not in it.
 *
 *     byte 0: 's' a stream, 'b' a body, 'c' a stream and then the check of a schema and tools
 *     byte 1: where it is cut */
#include "base/rng.h"
#include "base/utf8.h"
#include "fuzz.h"
#include "llm/remote_internal.h"
#include "net/sse.h"

#define MAX_TEXT 65536u

static muga_status on_data(void *ctx, const char *p, size_t n, muga_error *err) {
    return remote_answer_event(ctx, p, n, err);
}

static muga_status read_stream(remote_answer *a, const char *p, size_t n, rng *cuts, muga_error *err) {
    sse s;
    muga_status st = MUGA_OK;
    remote_answer_init(a, MAX_TEXT);
    sse_init(&s, MAX_TEXT, on_data, a);
    for (size_t at = 0; at < n && !st;) {
        size_t step = cuts ? 1 + rng_below(cuts, 9) : n;
        step = MIN(step, n - at);
        char *exact = fuzz_copy(p + at, step);
        st = sse_feed(&s, exact, step, err);
        free(exact);
        at += step;
    }
    sse_release(&s);
    return st;
}

static bool same(const str *a, const str *b) {
    return a->len == b->len && memcmp(str_get(a), str_get(b), a->len) == 0;
}

static void check_answer(const remote_answer *a) {
    fuzz_need(a->n_calls <= REMOTE_MAX_CALLS && strlen(a->finish) < sizeof a->finish);
    fuzz_need(utf8_valid(str_get(&a->content), a->content.len) && utf8_valid(str_get(&a->reasoning), a->reasoning.len));
    fuzz_need(a->content.len <= MAX_TEXT && a->reasoning.len <= MAX_TEXT);
    for (size_t i = 0; i < a->n_calls; i++)
        fuzz_need(a->calls[i].name.len <= REMOTE_MAX_NAME && a->calls[i].arguments.len <= MAX_TEXT);
    fuzz_need(utf8_valid(a->message, strlen(a->message)));
    for (const char *p = a->message; *p; p++)
        fuzz_need((unsigned char)*p >= ' ');
}

/* Whatever came, what passes is valid. */
static void check_reply(remote_answer *a) {
    muga_error err = {0};
    llm_reply reply = {0};
    toolcall_tools tools;
    json_t *list = json_loads("[{\"name\":\"go\",\"parameters\":{\"type\":\"object\",\"properties\":{\"n\":{\"type\":"
                              "\"integer\"}},\"required\":[\"n\"],\"additionalProperties\":false}}]",
                              0, NULL);
    json_t *schema =
        json_loads("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}},\"required\":[\"a\"],"
                   "\"additionalProperties\":false}",
                   0, NULL);
    llm_request q = {.schema = schema, .tools = list, .tool_choice = LLM_TOOLS_AUTO};
    fuzz_need(list && schema && toolcall_tools_read(list, &tools, &err) == MUGA_OK);
    muga_status st = remote_check(&q, &tools, a, &reply, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_NEGATIVE, MUGA_E_NEGATIVE, &err);
    } else if (reply.n_calls == 0) {
        json_t *v = NULL;
        fuzz_need(json_parse(reply.text.data, reply.text.len, "it", &v, &err) == MUGA_OK);
        fuzz_need(json_object_size(v) == 1 && json_get_string(v, "a"));
        json_decref(v);
    }
    for (size_t i = 0; !st && i < reply.n_calls; i++)
        fuzz_need(strcmp(reply.calls[i].name, "go") == 0 && reply.calls[i].id[0] &&
                  json_is_integer(json_object_get(reply.calls[i].value, "n")));
    llm_reply_release(&reply);
    toolcall_tools_release(&tools);
    json_decref(list);
    json_decref(schema);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    const char *p = (const char *)data + 2;
    size_t n = size - 2;
    rng cuts = {data[1]};
    muga_error err = {0};
    remote_answer whole, cut;
    if (data[0] == 'b') {
        char words[160], *exact = fuzz_copy(p, n);
        remote_answer_init(&whole, MAX_TEXT);
        muga_status st = remote_answer_body(&whole, exact, n, &err);
        if (st)
            fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
        remote_error_words(exact, n, words, sizeof words);
        fuzz_need(utf8_valid(words, strlen(words)));
        check_answer(&whole);
        free(exact);
        remote_answer_release(&whole);
        return 0;
    }
    muga_status st = read_stream(&whole, p, n, NULL, &err);
    if (st)
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
    fuzz_need(read_stream(&cut, p, n, &cuts, &err) == st);
    fuzz_need(same(&whole.content, &cut.content) && same(&whole.reasoning, &cut.reasoning));
    fuzz_need(whole.n_calls == cut.n_calls && whole.done == cut.done && whole.failed == cut.failed);
    check_answer(&whole);
    if (data[0] == 'c')
        check_reply(&whole);
    remote_answer_release(&whole);
    remote_answer_release(&cut);
    return 0;
}
