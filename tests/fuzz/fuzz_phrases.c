/* Grammars of messages: what is read can be drawn from, within its limit and the same each time; rules, paraphrases and
 * noise break no character; a refusal says why. */
#include "agent/phrases.h"
#include "base/utf8.h"
#include "fuzz.h"

static void draw(const phrases *g, uint64_t seed) {
    str a = STR_INIT, b = STR_INIT;
    muga_error err = {0};
    rng r = {seed}, again = {seed};
    size_t i = phrases_choose(g, &r);
    fuzz_need(i < phrases_n_messages(g) && phrases_choose(g, &again) == i);
    muga_status st = phrases_draw(g, i, &r, &a, &err);
    fuzz_need(phrases_draw(g, i, &again, &b, &err) == st);
    if (st)
        fuzz_need_error(st, MUGA_E_LIMIT, MUGA_E_LIMIT, &err);
    else
        fuzz_need(a.len == b.len && a.len <= PHRASES_MAX_TEXT && utf8_valid(str_get(&a), a.len) &&
                  memcmp(str_get(&a), str_get(&b), a.len) == 0);
    str_release(&a);
    str_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    phrases *g = NULL;
    muga_error err = {0};
    char *text = fuzz_copy(data, size);
    muga_status st = phrases_read(text, size, "g.yaml", &g, &err);
    free(text);
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
        fuzz_need(!g);
        return 0;
    }
    for (uint64_t seed = 0; seed < 8; seed++)
        draw(g, seed);
    phrases_free(g);
    return 0;
}
