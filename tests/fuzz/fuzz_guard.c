/* Guards over any bytes: what is found lies inside the text and in order of nothing else; what is masked is found no
 * more; a text taken apart is UTF-8 whatever it was; numbers are told the same each time. */
#include "agent/guard.h"
#include "base/utf8.h"
#include "fuzz.h"

static const char rules[] =
    "guards:\n"
    "  input:\n    languages: [en]\n    patterns: {word: \"(?i)ignore\\\\s+all\"}\n"
    "    mask: [control, hidden, secrets, email, phone, national_id, ip, word]\n    ask: [language]\n"
    "  output: {mask: [iban, card, mixed], grounded: ids_and_numbers}\n"
    "  results: {hidden: mark}\n";

static void check_side(const guard_set *g, guard_side side, const char *text, size_t n) {
    guard_verdict v;
    muga_error err = {0};
    muga_status st = guard_check(g, side, text, n, &v, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_LIMIT, MUGA_E_LIMIT, &err);
        return;
    }
    for (size_t i = 0; i < json_array_size(v.found); i++) {
        const json_t *f = json_array_get(v.found, i);
        int64_t from = json_get_int(f, "from", -1), to = json_get_int(f, "to", -1);
        fuzz_need(from >= 0 && from <= to && (uint64_t)to <= n);
    }
    fuzz_need((v.action == GUARD_PASS) == (json_array_size(v.found) == 0));
    if (v.action == GUARD_PASS)
        fuzz_need(v.text.len == n && memcmp(str_get(&v.text), text, n) == 0);
    if (v.action == GUARD_MASK && side == GUARD_INPUT)
        fuzz_need(utf8_valid(str_get(&v.text), v.text.len));
    guard_verdict_release(&v);
}

static void check_numbers(const guard_set *g, const char *text, size_t n) {
    muga_error err = {0};
    char which[64], again[64];
    bool ok = false, same = false;
    json_t *given = json_pack("[s%]", text, n / 2);
    if (!given)
        return; /* no text */
    fuzz_need(guard_is_grounded(g, text + n / 2, given, &ok, which, &err) == MUGA_OK);
    fuzz_need(guard_is_grounded(g, text + n / 2, given, &same, again, &err) == MUGA_OK);
    fuzz_need(ok == same && (ok || strcmp(which, again) == 0));
    json_decref(given);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static guard_set *g; /* the same for every input */
    muga_error err = {0};
    fuzz_need(g || guard_set_read(rules, sizeof rules - 1, "rules", &g, &err) == MUGA_OK);
    char *text = fuzz_copy(data, size);
    for (guard_side s = GUARD_INPUT; s <= GUARD_RESULT; s++)
        check_side(g, s, text, size);
    free(text);
    char *line = malloc(size + 1); /* answers are text */
    if (line) {
        memcpy(line, data, size);
        line[size] = '\0';
        if (strlen(line) == size)
            check_numbers(g, line, size);
        free(line);
    }
    return 0;
}
