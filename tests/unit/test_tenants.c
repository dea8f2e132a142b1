/* One tenant's prompts asked for by the others: 10,000 times nothing is there, counted by what is reported as cached
 * and by the rows that are computed. If this failed, a client could learn what another one asked, by time or by the
 * bill.
 *
 * ctest: unthreaded (one asks after the other; callers at the same time are test_llm_threads') */
#include "support/support.h"

#include "base/mem.h"
#include "llm/llm.h"

#include <stdio.h>
#include <string.h>

enum { N_CANARIES = SANITIZED ? 50 : 500, N_PROBERS = 20 };

/* Names that a slip could take for each other, new ones for each canary: [0] is whose it is. (A tenant that asked
 * before finds the beginning that its own prompts have in common.) */
static const char *const tenants[1 + N_PROBERS] = {
    "shop-%d",     "Shop-%d",        "shop-%d ",       " shop-%d", "shop-%d.0",   "shop-x%d",     "shop_%d",
    "own:shop-%d", "shop-%d\n",      "SHOP-%d",        "s-%d",     "own:key_%d.", "own:key_%d",   "%d",
    "shop/%d",     "sh\xC3\xB6p-%d", "sh\xC5\x8Fp-%d", "%0253dx",  "%0253dy",     "shop-%d/shop", "-%d"};

static json_t *canary(int i) {
    char text[600];
    int n = snprintf(text, sizeof text, "The code of customer %d is", i);
    for (int k = 0; k < 24; k++) {
        n += snprintf(text + n, sizeof text - (size_t)n, " %d", (i * 7919 + k * 104729) % 10000);
    }
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", text);
    assert_non_null(messages);
    return messages;
}

/* How many of the prompt's tokens were there. */
static uint32_t ask(llm *m, const json_t *messages, const char *tenant, bool score, uint32_t *n_prompt) {
    muga_error err = {0};
    static const char *const labels[] = {"yes", "no"};
    if (score) {
        const llm_score_request q = {.messages = messages, .labels = labels, .n_labels = 2, .tenant = tenant};
        llm_score_reply r = {0};
        assert_ok(llm_score(m, &q, &r, &err), &err);
        uint32_t cached = r.n_prompt_cached;
        *n_prompt = r.n_prompt;
        llm_score_reply_release(&r);
        return cached;
    }
    const llm_request q = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 1, .tenant = tenant};
    llm_reply r = {0};
    assert_ok(llm_complete(m, &q, &r, &err), &err);
    uint32_t cached = r.n_prompt_cached;
    *n_prompt = r.n_prompt;
    llm_reply_release(&r);
    return cached;
}

static void no_tenant_finds_what_another_asked(void **state) {
    (void)state;
    muga_error err = {0};
    llm *m = NULL;
    const llm_local_options o = {.isa = -1, .n_threads = 1, .n_ctx = 2048};
    uint64_t n_probes = 0, n_own = 0;
    assert_ok(llm_local_open(source_path("tests/data/tiny.gguf"), "tiny", &o, &m, &err), &err);
    for (int i = 0; i < N_CANARIES; i++) {
        json_t *messages = canary(i);
        uint32_t n_prompt;
        char tenant[300], owner[300];
        snprintf(owner, sizeof owner, tenants[0], i);
        assert_int_equal(ask(m, messages, owner, false, &n_prompt), 0);
        assert_true(n_prompt > 64); /* a page at least, which is what is shared */
        for (int k = 1; k <= N_PROBERS; k++, n_probes++) {
            bool score = (i + k) % 4 == 0;
            llm_counts before = llm_get_counts(m);
            snprintf(tenant, sizeof tenant, tenants[k], i);
            uint32_t cached = ask(m, messages, tenant, score, &n_prompt);
            llm_counts after = llm_get_counts(m);
            uint64_t n_rows = after.n_prompt_rows - before.n_prompt_rows; /* of answers, not of scores */
            if (cached != 0 || after.kv_taken != before.kv_taken || (!score && n_rows < n_prompt)) {
                fail_msg("tenant \"%s\" found %u of %u tokens of canary %d (%llu rows computed)", tenant, cached,
                         n_prompt, i, (unsigned long long)n_rows);
            }
            if (k % 5 == 0) { /* it was there all the time */
                n_own += ask(m, messages, owner, false, &n_prompt) > 64;
            }
        }
        json_decref(messages);
    }
    llm_free(m);
    assert_int_equal(n_probes, N_CANARIES * N_PROBERS);
    assert_int_equal(n_own, N_CANARIES * N_PROBERS / 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_tenant_finds_what_another_asked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
