/* muga agent fit: the weights of an agent's expert, and when it is sure. */
#include "agent/expert_fit.h"
#include "cmd/agent.h"

#define MAX_INPUT_BYTES ((size_t)64 << 20)

static bool on_case(void *ctx, size_t n_done, size_t n) {
    cmd_progress_show(ctx, (double)n_done / (double)n);
    return !cmd_interrupted();
}

/* Right among the surest k of the messages. */
static size_t count_right(const expert_fit *f, size_t k) {
    size_t n = 0;
    for (size_t i = 0; i < k; i++)
        n += f->cases[i].right;
    return n;
}

static double percent(size_t k, size_t n) {
    return n ? 100.0 * (double)k / (double)n : 0;
}

static int print_text(const expert_fit *f, double risk) {
    size_t n_sure = 0;
    printf("%zu messages: right by the adapter alone %zu (%.1f %%), by the examples alone %zu (%.1f %%), by both %zu "
           "(%.1f %%)\n",
           f->n, f->by_adapter, percent(f->by_adapter, f->n), f->by_votes, percent(f->by_votes, f->n), f->by_both,
           percent(f->by_both, f->n));
    for (size_t tenth = 5; tenth <= 10; tenth++) {
        size_t k = f->n * tenth / 10, right = count_right(f, k);
        if (k > 0)
            printf("surest %3zu %%: %zu of %zu right (%.1f %%), sure of %.3f or more\n", tenth * 10, right, k,
                   percent(right, k), f->cases[k - 1].confidence);
    }
    while (n_sure < f->n && f->cases[n_sure].confidence >= f->sure)
        n_sure++;
    printf("at most %g of 100 wrong: the surest %zu (%.1f %%)\n\nfor intent.expert in agent.yaml:\n", 100 * risk,
           n_sure, percent(n_sure, f->n));
    printf("    logprob: %.3f\n    votes: %.3f\n    sure: %.4f\n", f->weight[0], f->weight[1], f->sure);
    return cmd_finish_output(0);
}

static int print_json(const expert_fit *f) {
    json_t *cases = json_array();
    for (size_t i = 0; i < f->n; i++)
        json_array_append_new(
            cases, json_pack("{s:f, s:b}", "confidence", f->cases[i].confidence, "right", f->cases[i].right));
    json_t *v = json_pack("{s:I, s:f, s:f, s:f, s:I, s:I, s:I, s:o}", "messages", (json_int_t)f->n, "logprob",
                          f->weight[0], "votes", f->weight[1], "sure", f->sure, "by_adapter", (json_int_t)f->by_adapter,
                          "by_votes", (json_int_t)f->by_votes, "by_both", (json_int_t)f->by_both, "cases", cases);
    if (!v)
        return cmd_error(MUGA_E_NOMEM, "out of memory for the result");
    cmd_print_json(v);
    json_decref(v);
    return cmd_finish_output(0);
}

static muga_status fit(agent_opened *o, const char *path, double risk, expert_fit *out, muga_error *err) {
    cmd_progress progress = {.what = "asking"};
    str text = STR_INIT;
    muga_status st = cmd_read_input(path, MAX_INPUT_BYTES, &text, err);
    const expert_fit_request q = {.x = o->intent,
                                  .model = o->model,
                                  .text = str_get(&text),
                                  .n = text.len,
                                  .what = path,
                                  .risk = risk,
                                  .on_case = on_case,
                                  .ctx = &progress};
    if (!st)
        st = expert_fit_new(&q, out, err);
    cmd_progress_finish(&progress);
    str_release(&text);
    return st;
}

int cmd_agent_fit(int argc, char **argv) {
    agent_choice choice = {.kv_type = KERNEL_KV_F16, .version = VERSIONS_IN_USE};
    float risk = 0.02f;
    bool as_json = false;
    const cmd_option options[] = {
        {"--risk", 0, CMD_F32, &risk, "R", "share of what it is sure of that may be wrong (default 0.02)"},
        {"--json", 0, CMD_FLAG, &as_json, NULL, "one object, with each message's confidence"},
        AGENT_MODEL_OPTIONS(&choice)};
    cmd_positional p = {.min = 2, .max = 2};
    muga_error err = {0};
    agent_opened o = {.dir = NULL};
    expert_fit f = {0};
    int code = cmd_parse("agent fit", options, ARRAY_LEN(options), argc, argv, &p);
    if (code < 0 && !(risk > 0 && risk < 1))
        code = cmd_error(MUGA_E_USAGE, "--risk is a share, above 0 and below 1");
    if (code < 0)
        code = agent_parse_choice(&choice);
    if (code >= 0)
        return code;
    cmd_catch_interrupt();
    muga_status st = agent_open_intent(&o, p.v[0], &err);
    if (!st)
        st = agent_open_model(&o, &choice, &err);
    if (!st)
        st = fit(&o, p.v[1], (double)risk, &f, &err);
    code = cmd_interrupted() ? 130 : st ? cmd_fail(&err) : as_json ? print_json(&f) : print_text(&f, (double)risk);
    expert_fit_release(&f);
    agent_close(&o);
    agent_choice_release(&choice);
    return code;
}
