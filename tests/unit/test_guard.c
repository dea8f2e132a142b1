/* Guards on what comes in and goes out. If this failed, a card number would be kept or sent on, or an agent would state
 * a number that stands nowhere. */
#include "agent/guard.h"
#include "support/support.h"

#include <string.h>

static manifest *with_guards(const char *input, const char *output) {
    static manifest m;
    json_decref(m.json);
    m = (manifest){.json = json_pack("{s:{s:[s]}, s:{s:[s,s], s:s}}", "input", "refuse", input, "output", "mask",
                                     output, output, "grounded", "ids_and_numbers"),
                   .input_max_chars = 200};
    m.guards = m.json;
    return &m;
}

static void assert_masked(const char *output, const char *text, const char *want) {
    muga_error err;
    str s = STR_INIT;
    str_append_s(&s, text);
    assert_ok(guard_mask(with_guards("secrets", output), &s, &err), &err);
    assert_string_equal(str_get(&s), want);
    str_release(&s);
}

static void cards_and_ibans_are_masked_but_for_four_digits(void **state) {
    (void)state;
    assert_masked("card", "paid by 4111 1111 1111 1111.", "paid by **** **** **** 1111.");
    assert_masked("card", "4111111111111111 and 5500-0000-0000-0004", "************1111 and ****-****-****-0004");
    assert_masked("card", "4111 1111 1111 1112", "4111 1111 1111 1112"); /* wrong check digit */
    assert_masked("card", "x4111111111111111", "x4111111111111111");     /* inside a word */
    assert_masked("iban", "to DE89 3704 0044 0532 0130 00, thanks", "to **** **** **** **** **30 00, thanks");
    assert_masked("iban", "DE89370400440532013001", "DE89370400440532013001");
    assert_masked("card", "DE89370400440532013000", "DE89370400440532013000"); /* not asked for */
}

static void secrets_and_long_texts_do_not_come_in(void **state) {
    (void)state;
    const manifest *m = with_guards("secrets", "card");
    const char *fine = "where is A10293, it cost 41.10", *card = "my card is 4111111111111111";
    assert_null(guard_input(m, fine, strlen(fine)));
    assert_non_null(strstr(guard_input(m, card, strlen(card)), "card"));
    assert_non_null(strstr(guard_input(m, "-----BEGIN KEY", 14), "key"));
    char text[201 * 2];
    for (size_t i = 0; i < sizeof text; i += 2) {
        memcpy(text + i, "\xC3\xA4", 2); /* characters count, not bytes */
    }
    assert_null(guard_input(m, text, 200 * 2));
    assert_non_null(guard_input(m, text, 201 * 2));
}

static void numbers_in_an_answer_must_stand_somewhere(void **state) {
    (void)state;
    const manifest *m = with_guards("secrets", "card");
    json_t *texts = json_pack("[s, s]", "{\"id\":\"A10293\",\"total\":41.10}", "it came on 2026-09-14");
    char which[64];
    assert_true(guard_is_grounded(m, "Order A10293 came on 2026-09-14 for 41.10.", texts, which));
    assert_true(guard_is_grounded(m, "No number here", texts, which));
    assert_false(guard_is_grounded(m, "Order A1029 came", texts, which)); /* a part is not the value */
    assert_string_equal(which, "A1029");
    assert_false(guard_is_grounded(m, "in 3 days", texts, which));
    assert_string_equal(which, "3");
    json_decref(texts);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cards_and_ibans_are_masked_but_for_four_digits),
                                       cmocka_unit_test(secrets_and_long_texts_do_not_come_in),
                                       cmocka_unit_test(numbers_in_an_answer_must_stand_somewhere)};
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    return rc;
}
