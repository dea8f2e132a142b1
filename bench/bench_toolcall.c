/* Tool calls through the library, one after another, as an agent makes them: what a call takes, and its constraint.
 *
 *   bench_toolcall MODEL FILE [-t THREADS] [-n TOKENS] [--cold]
 *
 * FILE: {"tools": [...], "template": "...", "warm_up": [messages], "requests": [[messages], ...]}. Each request must be
 * answered with one call, greedily; "template" stands in for the model's own. The warm-up's answer isn't counted; what
 * its prompt has in common with the others is then computed already. --cold: nothing of a prompt is (each is another
 * tenant's). One JSON object a request: times in microseconds, tokens, the calls. bench/toolcall measures llama-server
 * beside it. */
#include "bench.h"

#include "llm/llm.h"
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Work on the constraint: each kind by itself, and all of it; what is inside of other work counts once. */
enum { MASK, FORCED, FOLLOWED, N_WORK };
static const char *const names[N_WORK] = {"mask", "forced text", "following"};
typedef struct work {
    uint64_t begin[N_WORK], us[N_WORK], n[N_WORK];
    uint64_t all_begin, all_us;
    uint32_t depth;
} work;

typedef struct bench {
    llm *m;
    const json_t *tools;
    uint32_t threads, tokens;
    bool cold;
    work w;
} bench;

static uint64_t now_us(void) {
    const os_clock *c = &os_system()->clock;
    return c->monotonic_us(c->self);
}

static void on_constraint(void *ctx, const char *what, bool begins) {
    work *w = ctx;
    int k = 0;
    uint64_t now = now_us();
    while (k < N_WORK - 1 && strcmp(what, names[k]) != 0)
        k++;
    if (begins) {
        w->begin[k] = now;
        w->n[k]++;
        if (w->depth++ == 0)
            w->all_begin = now;
        return;
    }
    w->us[k] += now - w->begin[k];
    if (--w->depth == 0)
        w->all_us += now - w->all_begin;
}

static void ask(bench *b, const json_t *messages, const char *tenant, bool print) {
    muga_error err = {0};
    llm_reply r;
    llm_request q = {.messages = messages,
                     .tools = b->tools,
                     .tool_choice = LLM_TOOLS_REQUIRED,
                     .one_call = true,
                     .sampling = LLM_SAMPLING_GREEDY,
                     .max_tokens = b->tokens,
                     .tenant = tenant};
    b->w = (work){0};
    uint64_t begin = now_us();
    check(llm_complete(b->m, &q, &r, &err), &err);
    uint64_t us = now_us() - begin;
    json_t *calls = json_array();
    for (size_t i = 0; i < r.n_calls; i++)
        json_array_append_new(calls, json_pack("{s:s, s:O}", "name", r.calls[i].name, "arguments", r.calls[i].value));
    uint32_t n_choices = r.n_generated - r.n_forced;
    json_t *v = json_pack("{s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:o}", "us",
                          (json_int_t)us, "prompt_us", (json_int_t)r.prompt_us, "generate_us",
                          (json_int_t)r.generate_us, "prompt", (int)r.n_prompt, "cached", (int)r.n_prompt_cached,
                          "generated", (int)r.n_generated, "forced", (int)r.n_forced, "drafted", (int)r.n_drafted,
                          "accepted", (int)r.n_accepted, "steps", (int)(n_choices - r.n_accepted), "masks",
                          (json_int_t)b->w.n[MASK], "mask_us", (json_int_t)b->w.us[MASK], "forced_us",
                          (json_int_t)b->w.us[FORCED], "constraint_us", (json_int_t)b->w.all_us, "calls", calls);
    put_line(v, print);
    llm_reply_release(&r);
}

static bool parse(int argc, char **argv, bench *b) {
    for (int i = 3; i < argc; i++) {
        uint32_t *to = !strcmp(argv[i], "-t") ? &b->threads : !strcmp(argv[i], "-n") ? &b->tokens : NULL;
        if (!strcmp(argv[i], "--cold"))
            b->cold = true;
        else if (to && i + 1 < argc && atoi(argv[i + 1]) > 0)
            *to = (uint32_t)atoi(argv[++i]);
        else
            return false;
    }
    return argc >= 3;
}

int main(int argc, char **argv) {
    bench b = {.tokens = 256};
    muga_error err = {0};
    if (!parse(argc, argv, &b)) {
        fprintf(stderr, "usage: bench_toolcall MODEL FILE [-t THREADS] [-n TOKENS] [--cold]\n");
        return 2;
    }
    json_t *file = read_json(argv[2]);
    const json_t *requests = json_object_get(file, "requests");
    b.tools = json_object_get(file, "tools");
    llm_local_options o = {
        .n_threads = (int)b.threads, .isa = -1, .on_constraint = on_constraint, .on_constraint_ctx = &b.w};
    str template = STR_INIT;
    const char *override;
    if (json_get_string(file, "template")) {
        str_printf(&template, "tokenizer.chat_template=str:%s", json_get_string(file, "template"));
        override = str_get(&template);
        o.overrides = &override;
        o.n_overrides = 1;
    }
    check(llm_local_open(argv[1], "bench", &o, &b.m, &err), &err);
    ask(&b, json_object_get(file, "warm_up"), "", false);
    for (size_t i = 0; i < json_array_size(requests); i++) {
        char tenant[32] = "";
        if (b.cold)
            snprintf(tenant, sizeof tenant, "cold %zu", i);
        ask(&b, json_array_get(requests, i), tenant, true);
    }
    llm_free(b.m);
    str_release(&template);
    json_decref(file);
    return 0;
}
