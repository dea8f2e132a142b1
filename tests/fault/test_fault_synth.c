/* Every allocation failed in turn while an agent's training messages are drawn, asked for and filled in. If this
 * failed, a machine short of memory would crash, leak, or write a line that lacks its call. */
#include "support/faultmalloc.h"
#include "support/synth_agent.h"

#include "agent/phrases.h"
#include "agent/synth_ask.h"
#include "base/mem.h"

static const char grammar[] = "version: 1\nrules: {hello: ['', 'hi, ']}\n"
                              "messages: [{labels: [order], text: '<hello>(when|where) is {order_id} now'}]\n"
                              "paraphrase: [{from: now, to: today, chance: 1}]\n"
                              "noise: {small: 1, typos: 0.2}\n";

typedef struct inputs {
    agent_env env;
    manifest *m;
    intent *x;
    json_t *by, *script;
    size_t n_lines;
} inputs;

static muga_status on_line(void *ctx, const json_t *line, muga_error *err) {
    (void)err;
    if (!json_is_object(line) || !json_object_get(line, "by") || !json_object_get(line, "labels"))
        fail_msg("a line lacks what it must have");
    ((inputs *)ctx)->n_lines++;
    return MUGA_OK;
}

static muga_status draw(inputs *in, synth *s, muga_error *err) {
    phrases *g = NULL;
    str text = STR_INIT;
    json_t *line = NULL;
    synth_verdict v;
    rng r = {1};
    muga_status st = phrases_read(grammar, sizeof grammar - 1, "g.yaml", &g, err);
    if (!st)
        st = phrases_draw(g, phrases_choose(g, &r), &r, &text, err);
    synth_message q = {.labels = {0}, .n_labels = 1, .text = str_get(&text), .n = text.len};
    if (!st)
        st = synth_add(s, &q, &line, &v, err);
    if (!st && v == SYNTH_NEW)
        st = on_line(in, line, err);
    json_decref(line);
    str_release(&text);
    phrases_free(g);
    return st;
}

static muga_status run(inputs *in, muga_error *err) {
    synth *s = NULL;
    llm *model = NULL;
    json_t *overlap = NULL;
    synth_ask_result got;
    const size_t only[] = {THANKS};
    const synth_options o = {SYNTH_CALLS, 0.9, 1, in->by};
    const synth_ask_options ask = {.only = only, .n_only = 1, .per_request = 2, .temperature = 1};
    in->n_lines = 0;
    muga_status st = synth_new(&in->env, in->m, in->x, &o, &s, err);
    if (!st)
        st = draw(in, s, err);
    if (!st)
        st = llm_scripted_new(in->script, &model, err);
    if (!st)
        st = synth_ask(s, in->m, in->x, model, 0, &ask, on_line, in, &got, err);
    if (!st)
        st = synth_overlap(s, &overlap, err);
    json_decref(overlap);
    llm_free(model);
    synth_free(s);
    return st;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    muga_error err = {0};
    inputs in = {.env = agent_env_system()};
    in.by = json_loads("{\"model\":\"big\"}", 0, NULL);
    in.script = json_loads("[{\"text\":\"{\\\"messages\\\":[{\\\"text\\\":\\\"ever so kind\\\"},"
                           "{\\\"text\\\":\\\"cheers, mate\\\"}]}\"}]",
                           0, NULL);
    synth_agent_open(&in.env, &in.m, &in.x);
    assert_ok(run(&in, &err), &err);
    size_t want = in.n_lines;
    assert_int_equal(want, 3);
    bool reached = true;
    size_t n = 1;
    for (; reached; n++) {
        long live = fault_live();
        fault_fail_at(n);
        muga_status st = run(&in, &err);
        reached = fault_hit();
        fault_fail_at(0);
        if (st && (st != MUGA_E_NOMEM || !reached || !*err.message))
            fail_msg("allocation %zu: status %d: %s", n, st, err.message);
        if (!st && in.n_lines != want)
            fail_msg("allocation %zu: %zu lines in place of %zu", n, in.n_lines, want);
        if (fault_live() != live)
            fail_msg("allocation %zu: %ld blocks leaked", n, fault_live() - live);
    }
    json_decref(in.by);
    json_decref(in.script);
    intent_free(in.x);
    manifest_free(in.m);
    print_message("%zu allocations\n", n - 2);
    assert_in_range(n, 200, 1000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
