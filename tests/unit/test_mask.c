/* Masking of personal data. If this failed, e-mail addresses, telephone and account numbers, cards, national numbers,
 * IP addresses or the names that a session knows would stand in rows that are kept, exported and trained on; or so much
 * would be masked that nothing can be learned. */
#include "support/support.h"

#include "agent/mask.h"
#include "agent/personal.h"
#include "base/mem.h"

#include <string.h>

static json_t *json_of(const char *text) { /* single quotes for double ones */
    char *copy = mem_copy_string(text);
    json_t *v = NULL;
    muga_error err;
    for (char *c = copy; *c; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    assert_ok(json_parse(copy, strlen(copy), "test", &v, &err), &err);
    free(copy);
    return v;
}

static void assert_masked(mask *m, const char *text, const char *want) {
    muga_error err;
    str out = STR_INIT, again = STR_INIT;
    assert_ok(mask_text(m, text, strlen(text), &out, &err), &err);
    if (strcmp(str_get(&out), want) != 0) {
        fail_msg("%s\n  is    %s\n  want  %s", text, str_get(&out), want);
    }
    assert_ok(mask_text(m, str_get(&out), out.len, &again, &err), &err);
    assert_string_equal(str_get(&again), want); /* masking what is masked changes nothing */
    str_release(&again);
    str_release(&out);
}

static mask *new_mask(const json_t *policy) {
    mask *m = NULL;
    muga_error err;
    assert_ok(mask_new(policy, &m, &err), &err);
    return m;
}

static void forms_are_found(void **state) {
    (void)state;
    mask *m = new_mask(NULL);
    static const char *const pairs[][2] = {
        {"write to ada.lovelace+shop@mail.example.co.uk, please", "write to [email], please"},
        {"<ada@example.com>.", "<[email]>."},
        {"o'brien@example.org", "[email]"},
        {"jürgen@müller.example", "[email]"},
        {"ada@example is none, nor is @ada", "ada@example is none, nor is @ada"},
        {"DE89 3704 0044 0532 0130 00 is mine", "[iban] is mine"},
        {"de89370400440532013000", "[iban]"},
        {"BE68 5390 0754 7034 have a nice day", "[iban] have a nice day"},
        {"GB83WEST12345698765432", "GB83WEST12345698765432"},
        {"4111 1111 1111 1111 12/27", "[card] 12/27"},
        {"card:4111-1111-1111-1111.", "card:[card]."},
        {"call +49 (0)171 123 45 67 now", "call [phone] now"},
        {"0171/1234567", "[phone]"},
        {"(212) 555-0123 or 212.555.0123", "[phone] or [phone]"},
        {"612 345 672", "[phone]"},
        {"on 05.01.2024 or 2024-01-05 at 10:30", "on 05.01.2024 or 2024-01-05 at 10:30"},
        {"A10293 for 1299.95 EUR, 3 pieces", "A10293 for 1299.95 EUR, 3 pieces"},
        {"from 192.168.1.17:8080", "from [ip]:8080"},
        {"fe80::1ff:fe23:4567:890a and ::1", "[ip] and [ip]"},
        {"2001:db8:0:0:0:0:2:1.", "[ip]."},
        {"at 12:30:45, 300.1.1.1 and std::vector", "at 12:30:45, 300.1.1.1 and std::vector"},
        {"SSN 123-45-6789", "SSN [id]"},
        {"DNI 12345678Z", "DNI [id]"},
        {"my BSN is 111222333, the order 111222333", "my BSN is [id], the order 111222333"},
        {"111222333 is what the tax office calls me", "[id] is what the tax office calls me"},
        {"I ask for the whereabouts of my parcel", "I ask for the whereabouts of my parcel"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        assert_masked(m, pairs[i][0], pairs[i][1]);
    }
    mask_free(m);
}

/* Digits of other scripts, full-width letters, no-break spaces, dashes of any kind, what can't be seen. */
static void other_writings_hide_nothing(void **state) {
    (void)state;
    mask *m = new_mask(NULL);
    assert_masked(m,
                  "\xef\xbc\x94\xef\xbc\x91\xef\xbc\x91\xef\xbc\x91 1111\xc2\xa0"
                  "1111\xe2\x80\x93"
                  "1111",
                  "[card]");
    assert_masked(m,
                  "ada\xef\xbc\xa0"
                  "example.com",
                  "[email]");
    assert_masked(m,
                  "a\xe2\x80\x8b"
                  "da@exam\xc2\xadple.com",
                  "[email]");
    assert_masked(m, "\xd9\xa0\xd9\xa1\xd9\xa7\xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4\xd9\xa5\xd9\xa6\xd9\xa7", "[phone]");
    mask_free(m);
}

/* One number a country, made by its own rules; the same with its last sign changed is none. */
static void national_numbers_are_checked(void **state) {
    (void)state;
    static const char *const numbers[] = {
        "1237010180",         "123456782",       "85073003328",    "529.982.247-25", "7523169263",       "046 454 286",
        "11010519491231002X", "69435151530",     "736028/5163",    "070761-4285",    "38001085718",      "131052-308T",
        "131052A308T",        "255081416802538", "86095742719",    "01013099997",    "2341 2341 2346",   "1234567T",
        "RSSMRA85T10A562S",   "123456789018",    "900101-1234568", "111222333",      "01010750160",      "44051401359",
        "501964843",          "1800101221144",   "X1234567L",      "811228-9874",    "756.9217.0769.85", "10000000146",
        "943 476 5919"};
    bool common;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        size_t n = strlen(numbers[i]);
        if (personal_id_at(numbers[i], n, &common) != n) {
            fail_msg("%s is a national number", numbers[i]);
        }
    }
    assert_int_equal(personal_id_at("12345678A", 9, &common), 0);
    assert_int_equal(personal_id_at("RSSMRA85T10A562T", 16, &common), 0);
    assert_int_equal(personal_id_at("255081416802539", 15, &common), 0);
    assert_int_equal(personal_id_at("110105194912310021", 18, &common), 0);
    assert_int_equal(personal_id_at("000-45-6789", 11, &common), 0);
    assert_int_equal(personal_id_at("999999999999999999999", 21, &common), 0);
}

/* Numbers that are somebody's only by one check digit: orders, tickets, tracking numbers. */
static void numbers_of_things_are_left(void **state) {
    (void)state;
    mask *m = new_mask(NULL);
    size_t n_taken = 0;
    for (int i = 0; i < 2000; i++) {
        char text[48];
        muga_error err;
        str out = STR_INIT;
        snprintf(text, sizeof text, "order %d is late", 100000000 + i * 449993);
        assert_ok(mask_text(m, text, strlen(text), &out, &err), &err);
        n_taken += strcmp(str_get(&out), text) != 0;
        str_release(&out);
    }
    assert_int_equal(n_taken, 0);
    mask_free(m);
}

static void known_values_are_found(void **state) {
    (void)state;
    muga_error err;
    json_t *policy = json_of("{'subject': ['customer'], 'personal': ['plate'], 'public': ['item_name']}"),
           *result = json_of(
               "{'rows': [{'name': 'Ada M. Lovelace', 'street': '12 Baker Street', 'zip': 10115, 'city':"
               " 'Zürich', 'status': 'shipped', 'plate': 'B-XY 77', 'item_name': 'Lamp', 'id': 7, 'orders': 7, 'email':"
               " 'ada@example.com'}]}"),
           *values = json_of("{'customer': 7, 'channel': 'web'}");
    mask *m = new_mask(policy);
    assert_ok(mask_learn_session(m, values, &err), &err);
    assert_ok(mask_learn(m, result, &err), &err);
    assert_masked(m, "I'm ada lovelace, LOVELACE!", "I'm [name]!");
    assert_masked(m, "Lovelace, Ada lives at 12  baker-street in Zurich", "[name] lives at [address] in [address]");
    assert_masked(m, "zip 10115, house 12", "zip [address], house 12");
    assert_masked(m, "my lamp was shipped by web", "my lamp was shipped by web");
    assert_masked(m, "customer number 7 has 7 orders", "customer number [personal] has 7 orders");
    assert_masked(m, "7 lamps", "7 lamps");
    assert_masked(m, "b xy 77", "[personal]");
    json_t *masked = NULL;
    assert_ok(mask_json(m, result, &masked, &err), &err);
    const json_t *row = json_array_get(json_object_get(masked, "rows"), 0);
    assert_string_equal(json_get_string(row, "name"), "[name]");
    assert_string_equal(json_get_string(row, "zip"), "[address]");
    assert_string_equal(json_get_string(row, "id"), "[personal]"); /* the customer's number */
    assert_int_equal(json_get_int(row, "orders", 0), 7);
    assert_string_equal(json_get_string(row, "status"), "shipped");
    assert_string_equal(json_get_string(row, "item_name"), "Lamp");
    assert_string_equal(json_get_string(row, "plate"), "[personal]");
    assert_string_equal(json_get_string(row, "email"), "[email]");
    json_decref(masked);
    mask_free(m);
    json_decref(values);
    json_decref(result);
    json_decref(policy);
}

/* Only the kinds that a policy names. */
static void a_policy_chooses(void **state) {
    (void)state;
    muga_error err;
    json_t *policy = json_of("{'mask': ['email']}"), *result = json_of("{'name': 'Ada Lovelace'}"), *masked = NULL;
    mask *m = new_mask(policy);
    assert_ok(mask_learn(m, result, &err), &err);
    assert_masked(m, "Ada, ada@example.com, 192.168.1.1", "Ada, [email], 192.168.1.1");
    assert_ok(mask_json(m, result, &masked, &err), &err);
    assert_true(json_equal(masked, result));
    assert_ok(mask_learn_value(m, "192.168.1.1", &err), &err);
    assert_masked(m, "Ada, 192.168.1.1", "Ada, [redacted]");
    json_decref(masked);
    mask_free(m);
    json_decref(result);
    json_decref(policy);
}

/* Text that would make a careless finder slow: the work grows with the text, not with its square. */
static void long_texts_are_read_once(void **state) {
    (void)state;
    mask *m = new_mask(NULL);
    muga_error err;
    static const char *const pieces[] = {"a", "1", "1 ", "a@", "1.", ":", "a:", "+", "(", "\xc3\xa9", "AA11 "};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        str text = STR_INIT, out = STR_INIT;
        for (size_t k = 0; k < 200000; k++) {
            str_append_s(&text, pieces[i]);
        }
        assert_ok(mask_text(m, str_get(&text), text.len, &out, &err), &err);
        str_release(&out);
        str_release(&text);
    }
    mask_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(forms_are_found),
                                       cmocka_unit_test(other_writings_hide_nothing),
                                       cmocka_unit_test(national_numbers_are_checked),
                                       cmocka_unit_test(numbers_of_things_are_left),
                                       cmocka_unit_test(known_values_are_found),
                                       cmocka_unit_test(a_policy_chooses),
                                       cmocka_unit_test(long_texts_are_read_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
