/* muga debug greedy: exactly n ids, each the largest logit (ties to the lower id); end-of-text doesn't stop it. */
#include "cmd/debug_engine.h"

static int32_t next_greedy(const debug_engine *d) {
    bool finite; /* the engine has refused rows that are not */
    return (int32_t)engine_kernels(d->engine)->argmax(engine_session_logits(d->session),
                                                      engine_params(d->engine)->n_vocab, &finite);
}

static muga_status generate(const debug_engine *d, uint32_t n, token_list *out, muga_error *err) {
    const int32_t *feed = d->ids.ids;
    uint32_t n_feed = (uint32_t)d->ids.n;
    int32_t id;
    for (uint32_t i = 0; i < n; i++, feed = &id, n_feed = 1) {
        muga_status st = engine_session_feed(d->session, feed, n_feed, err);
        if (st)
            return st;
        id = next_greedy(d);
        if (!token_list_push(out, id))
            return error_nomem(err, "the ids");
    }
    return MUGA_OK;
}

int cmd_debug_greedy(int argc, char **argv) {
    debug_engine d = {0};
    uint32_t n = 16;
    const cmd_option options[] = {DEBUG_ENGINE_OPTIONS(&d),
                                  {"--number", 'n', CMD_U32, &n, "N", "how many ids (default 16)"}};
    cmd_positional p = {.min = 1, .max = 1};
    int code = cmd_parse("debug greedy", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    code = debug_engine_open(&d, "debug greedy", p.v[0], true);
    if (code < 0) {
        muga_error err = {0};
        token_list out = TOKEN_LIST_INIT;
        muga_status st = generate(&d, n, &out, &err);
        for (size_t i = 0; i < out.n && !st; i++)
            printf("%s%d", i ? " " : "", out.ids[i]);
        if (!st)
            putchar('\n');
        token_list_release(&out);
        code = st ? cmd_fail(&err) : cmd_finish_output(0);
    }
    debug_engine_close(&d);
    return code;
}
