/* How a tool's calls are run: retry, rate, long. Owns: reading these keys. Refuses: a retry of what may not be
 * repeated; a rate per person where the manifest does not say who that is. */
#include "agent/internal.h"

#include <stdio.h>

#define RETRY_FIRST_MS_DEFAULT 200

static muga_status read_retry(const check_place *at, manifest_tool *t, const char *pointer, muga_error *err) {
    const json_t *retry = json_object_get(t->json, "retry");
    char where[96];
    snprintf(where, sizeof where, "%s/retry", pointer);
    t->retry_times = json_get_int(retry, "times", 0);
    t->retry_first_ms = json_get_int(retry, "first_ms", RETRY_FIRST_MS_DEFAULT);
    return !retry || t->effect == EFFECT_READ || t->idempotent
               ? MUGA_OK
               : check_fail(at, MUGA_E_INPUT, where, err,
                            "a write that failed may have had its effect, so it is never repeated; remove retry, or"
                            " say idempotent: true if repeating does no harm");
}

static muga_status read_rate(const check_place *at, const json_t *learning, manifest_tool *t, const char *pointer,
                             muga_error *err) {
    const json_t *rate = json_object_get(t->json, "rate");
    const char *per = json_get_string(rate, "per");
    char where[96];
    snprintf(where, sizeof where, "%s/rate/per", pointer);
    t->rate_calls = json_get_int(rate, "calls", 0);
    t->rate_ms = json_get_int(rate, "seconds", 0) * 1000;
    t->rate_per = !per || strcmp(per, "session") == 0 ? RATE_PER_SESSION
                  : strcmp(per, "subject") == 0       ? RATE_PER_SUBJECT
                                                      : RATE_PER_AGENT;
    return t->rate_per != RATE_PER_SUBJECT || json_array_size(json_object_get(learning, "subject")) > 0
               ? MUGA_OK
               : check_fail(at, MUGA_E_INPUT, where, err,
                            "learning.subject must name the session values that say who a person is");
}

static muga_status read_long(const check_place *at, manifest_tool *t, const char *pointer, muga_error *err) {
    const char *how = json_get_string(t->json, "long");
    char where[96];
    snprintf(where, sizeof where, "%s/long", pointer);
    if (!how || strcmp(how, "summary") != 0) {
        return MUGA_OK;
    }
    t->max_result_bytes = MAX(LONG_RESULT_MAX_BYTES, t->shown_bytes);
    return t->shown_bytes >= LONG_RESULT_MIN_SHOWN
               ? MUGA_OK
               : check_fail(at, MUGA_E_INPUT, where, err, "an extract needs max_result_bytes of %d or more",
                            LONG_RESULT_MIN_SHOWN);
}

muga_status manifest_read_run(const check_place *at, const json_t *learning, manifest_tool *t, const char *pointer,
                              muga_error *err) {
    muga_status st = read_retry(at, t, pointer, err);
    st = st == MUGA_OK ? read_rate(at, learning, t, pointer, err) : st;
    return st == MUGA_OK ? read_long(at, t, pointer, err) : st;
}
