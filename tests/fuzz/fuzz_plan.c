/* Plans as a model may write them: read whole and within their bounds, or refused with a reason. */
#include "agent/plan.h"
#include "base/utf8.h"
#include "fuzz.h"

static const manifest_tool tools[] = {{.name = "look"}, {.name = "note"}, {.name = "stale"}};
static const manifest with_tools = {.tools = tools, .n_tools = ARRAY_LEN(tools)}, without_tools = {.n_tools = 0};

static void read_under(const plan_bounds *b, const char *text, size_t n) {
    json_t *steps = NULL;
    muga_error err = {0};
    muga_status st = plan_parse(b, text, n, &steps, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_NEGATIVE, MUGA_E_NEGATIVE, &err);
        fuzz_need(!steps);
        return;
    }
    size_t n_steps = json_array_size(steps);
    fuzz_need(json_is_array(steps) && n_steps >= b->least && n_steps <= b->most && n_steps <= PLAN_MAX_STEPS);
    for (size_t i = 0; i < n_steps; i++) {
        const json_t *step = json_array_get(steps, i);
        const char *tool = json_get_string(step, "tool"), *why = json_get_string(step, "why");
        fuzz_need(tool && why && json_object_size(step) == 2);
        fuzz_need(strcmp(tool, "look") == 0 || strcmp(tool, "note") == 0);
        fuzz_need(utf8_count(why, strlen(why)) <= PLAN_MAX_WHY);
    }
    json_decref(steps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_copy(data, size);
    json_t *stale = json_pack("{s:b}", "stale", 1);
    const plan_bounds some = {&with_tools, 0, 3, stale}, most = {&with_tools, 1, 100, stale},
                      none = {&without_tools, 0, 6, NULL};
    read_under(&some, text, size);
    read_under(&most, text, size);
    read_under(&none, text, size);
    json_decref(stale);
    free(text);
    return 0;
}
