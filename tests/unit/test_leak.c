/* A secret in other clothes. If this failed, a value that must stay could leave the machine written another way, or
 * harmless text would be taken for a secret. */
#include "support/support.h"

#include "agent/leak.h"
#include "base/mem.h"
#include "support/agent_fixture.h"

#include <stdio.h>

static bool found(const char *secrets, const char *value) {
    bool yes = false;
    muga_error err;
    json_t *s = fixture_json(secrets), *v = fixture_json(value);
    assert_ok(leak_find(s, v, &yes, &err), &err);
    json_decref(s);
    json_decref(v);
    return yes;
}

static void what_is_found(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"['DE44 5001 0517 5407']", "{'a': 'send to DE44 5001 0517 5407 now'}"},
        {"['DE44 5001 0517 5407']", "{'a': 'de44500105175407'}"},
        {"['DE44 5001 0517 5407']", "{'a': 'D.E.4.4-5001.0517-5407'}"},
        {"['DE44 5001 0517 5407']", "{'a': 'x', 'b': ['DE44 5001', '0517 5407']}"},
        {"['DE44 5001 0517 5407']", "{'a': 'DE44%205001%200517%205407'}"},
        {"['DE44 5001 0517 5407']", "{'a': 'REU0NCA1MDAxIDA1MTcgNTQwNw=='}"},
        {"['DE44 5001 0517 5407']", "{'a': 'id_REU0NCA1MDAxIDA1MTcgNTQwNw'}"},
        {"['DE44 5001 0517 5407']", "{'a': 'REU0NCA1MDAx\\nIDA1MTcgNTQwNw'}"},
        {"['DE44 5001 0517 5407']", "{'a': '44453434203530303120303531372035343037'}"},
        {"['DE44 5001 0517 5407']", "{'a': '44:45:34:34:20:35:30:30:31:20:30:35:31:37:20:35:34:30:37'}"},
        {"['DE44 5001 0517 5407']", "{'a': 'UkVVME5DQTFNREF4SURBMU1UY2dOVFF3Tnc9PQ=='}"}, /* base64 twice */
        {"['DE44 5001 0517 5407']", "{'DE4450010517-5407': true}"},
        {"['1234567']", "{'a': 1234567}"},
        {"['4711']", "{'a': 'the code is 4711.'}"},
        {"['Gr\\u00fcnberg']", "{'a': 'GRUNBERG'}"},
        {"['4711815']", "{'a': '\\uff14\\uff17\\uff11\\uff11\\uff18\\uff11\\uff15'}"},
        {"['47\\u200b11815']", "{'a': '4711815'}"},
        {"['The patient Ada Lind, id P-20311, is allergic to penicillin.']", "{'a': 'about p20311'}"},
        {"['The patient Ada Lind, id P-20311, is allergic to penicillin.']", "{'a': 'who is allergic to penicillin'}"},
        {"['write to ada@x.io please']", "{'a': 'mailto:ada@x.io'}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!found(rows[i][0], rows[i][1])) {
            fail_msg("%s went out as %s", rows[i][0], rows[i][1]);
        }
    }
}

static void what_is_not(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"['4711']", "{'a': 'order 147115'}"}, /* short, and inside a longer word */
        {"['ok', 'no', '42', 'yes']", "{'a': 'ok, yes: no 42'}"},
        {"['The patient Ada Lind is allergic to penicillin.']", "{'a': 'the patient is to be called'}"},
        {"['secret value']", "{'a': 'eulav terces'}"}, /* reversed: leak.h says so */
        {"[]", "{'a': 'anything'}"},
        {"['DE44 5001 0517 5407']", "{'a': 'DE44 5001'}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (found(rows[i][0], rows[i][1])) {
            fail_msg("%s was seen in %s", rows[i][0], rows[i][1]);
        }
    }
}

/* Whatever stands before and behind, and however often it is encoded, up to three times. */
static void encodings_over_encodings(void **state) {
    (void)state;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    rng random = {5};
    for (int round = 0; round < 200; round++) {
        str text = STR_INIT, next = STR_INIT;
        str_printf(&text, "%.*s", (int)rng_below(&random, 9), "before it");
        str_append_s(&text, "|Tr0ub4dor-and-3|");
        for (uint32_t depth = rng_below(&random, 4); depth > 0; depth--) {
            bool hex = rng_below(&random, 2);
            for (size_t i = 0; i < text.len; i += hex ? 1 : 3) {
                const uint8_t *p = (const uint8_t *)text.data + i;
                uint32_t b = (uint32_t)p[0] << 16 | (i + 1 < text.len ? p[1] : 0u) << 8 |
                             (i + 2 < text.len ? p[2] : 0u);
                if (hex) {
                    str_printf(&next, "%02x", p[0]);
                } else {
                    str_printf(&next, "%c%c%c%c", digits[b >> 18], digits[b >> 12 & 63], digits[b >> 6 & 63],
                               digits[b & 63]);
                }
            }
            str_clear(&text);
            str_append(&text, next.data, next.len);
            str_clear(&next);
        }
        bool yes = false;
        muga_error err;
        json_t *secrets = json_pack("[s]", "Tr0ub4dor-and-3"), *v = json_pack("{s:s}", "a", str_get(&text));
        assert_ok(leak_find(secrets, v, &yes, &err), &err);
        if (!yes) {
            fail_msg("not seen: %s", str_get(&text));
        }
        json_decref(secrets);
        json_decref(v);
        str_release(&text);
        str_release(&next);
    }
}

/* The longest arguments there may be are looked through, too. */
static void long_arguments_are_looked_through(void **state) {
    (void)state;
    str text = STR_INIT;
    while (text.len < 60000) {
        str_append_s(&text, "Thank you for ordering lamps and blankets, deadbeef 0123456789 c2VjcmV0. ");
    }
    bool yes = true;
    muga_error err;
    json_t *secrets = json_pack("[s]", "Tr0ub4dor-and-3"), *v = json_pack("{s:s}", "a", str_get(&text));
    assert_ok(leak_find(secrets, v, &yes, &err), &err);
    assert_false(yes);
    json_decref(secrets);
    json_decref(v);
    str_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_found),
        cmocka_unit_test(what_is_not),
        cmocka_unit_test(encodings_over_encodings),
        cmocka_unit_test(long_arguments_are_looked_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
