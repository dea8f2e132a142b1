/* Every allocation failed in turn while an agent's intentions are read, its expert decides, and its weights are fitted.
 * If this failed, a machine short of memory would crash, leak, or act on a decision that nobody took. */
#include "support/support.h"

#include "agent/expert_fit.h"
#include "agents/loop_fixture.h"
#include "support/faultmalloc.h"

#include <string.h>

#define SCORES "{\"scores\": [-3, -9, -9, -3, -9, -9, -0.2, -50, -50, -50]}"

static const char text[] = "I forgot my password. where is my order A10001";
static const char lines[] =
    "{\"text\": \"aa\", \"labels\": [\"order\"]}\n{\"text\": \"bb\", \"labels\": [\"reset\"]}\n";
static json_t *script; /* made before memory is short */

static muga_status use(const intent *x, llm *m, intent_decision *d, muga_error *err) {
    expert_fit f = {0};
    const expert_fit_request q = {.x = x, .model = m, .text = lines, .n = strlen(lines), .what = "lines", .risk = 0.5};
    muga_status st = intent_decide(x, m, text, strlen(text), d, err);
    st = st == MUGA_OK ? expert_fit_new(&q, &f, err) : st;
    expert_fit_release(&f);
    return st;
}

static muga_status run(const agent_fixture *f, size_t *n_requests, muga_error *err) {
    intent *x = NULL;
    llm *m = NULL;
    intent_decision d = {.n = 0};
    muga_status st = intent_new(&f->env, f->m, &x, err);
    st = st == MUGA_OK ? llm_scripted_new(script, &m, err) : st;
    if (st == MUGA_OK) {
        m->has_adapter = true;
        st = use(x, m, &d, err);
    }
    *n_requests = d.n;
    intent_decision_release(&d);
    llm_free(m);
    intent_free(x);
    return st;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err = {0};
    str config = STR_INIT;
    size_t n = 0, n_requests;
    str_printf(&config, "%s  expert: {instruction: Sort., mask: '#', together: 2, votes: 1}\n", loop_manifest);
    fixture_open(&f, "fault", str_get(&config));
    fixture_write(&f, "examples.jsonl", loop_examples);
    script = fixture_json("[]");
    for (size_t i = 0; i < 3; i++) {
        json_t *entry = NULL;
        assert_ok(json_parse(SCORES, strlen(SCORES), "scores", &entry, &err), &err);
        assert_int_equal(json_array_append_new(script, entry), 0);
    }
    assert_ok(run(&f, &n_requests, &err), &err);
    assert_int_equal(n_requests, 2);
    for (bool reached = true; reached; n += reached) {
        long live = fault_live();
        fault_fail_at(n + 1);
        muga_status st = run(&f, &n_requests, &err);
        reached = fault_hit();
        fault_fail_at(0);
        if (fault_live() != live) {
            fail_msg("allocation %zu (status %d): %ld blocks leaked", n + 1, st, fault_live() - live);
        }
        if (st != MUGA_OK ? !reached || !*err.message : n_requests != 2) {
            fail_msg("allocation %zu: status %d, %zu requests: %s", n + 1, st, n_requests, err.message);
        }
    }
    assert_true(n > 100);
    str_release(&config);
    json_decref(script);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
