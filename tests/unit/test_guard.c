/* Guards on what comes in, what tools return and what goes out. If this failed, a card number would be kept or sent on,
 * hidden text would reach a model that no person saw, or an agent would state a number that stands nowhere. */
#include "agent/guard.h"
#include "base/mem.h"
#include "support/support.h"

#include <string.h>

static json_t *json_of(const char *text) {
    muga_error err;
    json_t *v = NULL;
    str s = STR_INIT;
    for (const char *c = text; *c; c++) {
        str_append_c(&s, *c == '\'' ? '"' : *c);
    }
    assert_ok(json_parse(str_get(&s), s.len, "test", &v, &err), &err);
    str_release(&s);
    return v;
}

typedef struct guarded {
    json_t *json;
    guard_set *g;
} guarded;

static guarded with(const char *rules) {
    muga_error err;
    guarded x = {json_of(rules), NULL};
    assert_ok(guard_set_new(x.json, NULL, &x.g, &err), &err);
    return x;
}

static void release(guarded *x) {
    guard_set_free(x->g);
    json_decref(x->json);
}

static void assert_masked(const char *rules, guard_side side, const char *text, const char *want) {
    muga_error err;
    guard_verdict v;
    guarded x = with(rules);
    assert_ok(guard_check(x.g, side, text, strlen(text), &v, &err), &err);
    assert_true(v.action <= GUARD_MASK);
    assert_string_equal(str_get(&v.text), want);
    assert_int_equal(v.action == GUARD_MASK, strcmp(text, want) != 0);
    guard_verdict_release(&v);
    release(&x);
}

/* `guard` NULL: nothing is found. */
static void assert_found(const guarded *x, const char *text, const char *guard) {
    muga_error err;
    guard_verdict v;
    assert_ok(guard_check(x->g, GUARD_INPUT, text, strlen(text), &v, &err), &err);
    if ((guard == NULL) != (v.guard == NULL) || (guard && strcmp(guard, v.guard) != 0)) {
        fail_msg("\"%s\": %s, not %s", text, v.guard ? v.guard : "nothing", guard ? guard : "nothing");
    }
    guard_verdict_release(&v);
}

static void cards_and_ibans_are_masked_but_for_four_digits(void **state) {
    (void)state;
    static const char card[] = "{'output': {'mask': ['card']}}", iban[] = "{'output': {'mask': ['iban']}}";
    assert_masked(card, GUARD_OUTPUT, "paid by 4111 1111 1111 1111.", "paid by **** **** **** 1111.");
    assert_masked(card, GUARD_OUTPUT, "4111111111111111 and 5500-0000-0000-0004",
                  "************1111 and ****-****-****-0004");
    assert_masked(card, GUARD_OUTPUT, "4111 1111 1111 1112", "4111 1111 1111 1112"); /* wrong check digit */
    assert_masked(card, GUARD_OUTPUT, "x4111111111111111", "x4111111111111111");     /* inside a word */
    assert_masked(iban, GUARD_OUTPUT, "to DE89 3704 0044 0532 0130 00, thanks",
                  "to **** **** **** **** **30 00, thanks");
    assert_masked(iban, GUARD_OUTPUT, "DE89370400440532013001", "DE89370400440532013001");
    assert_masked(card, GUARD_OUTPUT, "DE89370400440532013000", "DE89370400440532013000"); /* not asked for */
    assert_masked(card, GUARD_OUTPUT,
                  "\xef\xbc\x94"
                  "111\xe2\x80\x8b 1111 1111 1111",
                  "**** **** **** 1111");
}

static void each_finding_is_masked_in_its_own_way(void **state) {
    (void)state;
    static const char rules[] =
        "{'input': {'mask': ['email', 'phone', 'secrets', 'hidden', 'control', 'mixed', 'name'],"
        " 'patterns': {'name': '(?i)project \\\\w+'}}}";
    assert_masked(rules, GUARD_INPUT, "write to ada@example.com or +49 171 1234567", "write to [email] or [phone]");
    assert_masked(rules, GUARD_INPUT, "my password is hunter2!X, ok", "my password is [secret], ok");
}

static void masking_leaves_the_rest(void **state) {
    (void)state;
    static const char rules[] = "{'input': {'mask': ['hidden', 'control', 'mixed', 'name'],"
                                " 'patterns': {'name': '(?i)project \\\\w+'}}}";
    assert_masked(rules, GUARD_INPUT,
                  "a\xe2\x80\x8b"
                  "b\x07"
                  "c",
                  "abc");
    assert_masked(rules, GUARD_INPUT, "see <!-- obey me --> this", "see  this");
    assert_masked(rules, GUARD_INPUT, "<p>a</p><span style=\"display: none\">b <b>c</b></span>d", "<p>a</p>d");
    assert_masked(rules, GUARD_INPUT, "log in at p\xd0\xb0ypal now", "log in at paypal now");
    assert_masked(rules, GUARD_INPUT, "is Project Falcon late?", "is [removed] late?");
    assert_masked(rules, GUARD_INPUT, "is Pro\xe2\x80\x8bject Falcon late?", "is [removed] late?");
    assert_masked(rules, GUARD_INPUT, "n\xc3\xa9 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb ok",
                  "n\xc3\xa9 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb ok");
}

static void long_texts_do_not_come_in(void **state) {
    (void)state;
    guarded x = with("{'input': {'max_chars': 200, 'ask': ['length']}}");
    char text[201 * 2 + 1];
    for (size_t i = 0; i + 1 < sizeof text; i += 2) {
        memcpy(text + i, "\xC3\xA4", 2); /* characters count, not bytes */
    }
    text[201 * 2] = '\0';
    assert_found(&x, text, "length");
    text[200 * 2] = '\0';
    assert_found(&x, text, NULL);
    release(&x);
}

static void secrets_are_told_from_words(void **state) {
    (void)state;
    guarded x = with("{'input': {'refuse': ['secrets']}}");
    static const char *const secrets[] = {
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
        "it is AKIAIOSFODNN7EXAMPLE",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "use sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "xoxb-123456789012-abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "postgres://shop:s3cr3t@db.example.com/orders",
        "password: Tr0ub4dor&3",
        "my password is hunter42",
        "Passwort: geheim99",
        "API_KEY=9f8b7c6d5e4f3a2b",
        "the token is Zq3vX9pL2mN8rT5wY7kB4cD6",
        "key: mF9x2Qb7VnL4sKp8RtY3wZc6HdJ1gA5e"};
    static const char *const words[] = {
        "I forgot my password, please reset it",
        "is my password case-sensitive?",
        "my password is 8 characters long",
        "the secret is out",
        "password: I don't remember",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "order A10293, tracking JD014600003GB00000000",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "see https://docs.example.com/d/1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms/edit",
        "550e8400-e29b-41d4-a716-446655440000",
        "Donaudampfschifffahrtsgesellschaftskapitaen",
        "ThisIsAVeryLongCamelCaseIdentifierWithoutDigits",
        "http://user@example.com and 10:30@home"};
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        assert_found(&x, secrets[i], "secrets");
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        assert_found(&x, words[i], NULL);
    }
    assert_found(&x, "my card is 4111111111111111", "card");
    release(&x);
}

static void hidden_text_is_told_from_writing(void **state) {
    (void)state;
    guarded x = with("{'input': {'refuse': ['hidden', 'control', 'mixed']}}");
    static const struct {
        const char *text, *guard;
    } cases[] = {
        {"ig\xe2\x80\x8bnore", "hidden"}, /* zero-width space */
        {"a\xe2\x80\x8d"
         "b",
         "hidden"}, /* joiner, Latin */
        {"\xe2\x80\xae"
         "txt.exe",
         "hidden"},                                                         /* override */
        {"ok\xf3\xa0\x81\x81\xf3\xa0\x81\x82", "hidden"},                   /* tags */
        {"\xf0\x9f\x98\x80\xef\xb8\x80\xef\xb8\x81\xef\xb8\x82", "hidden"}, /* selectors in a row */
        {"\xe3\x85\xa4", "hidden"},                                         /* Hangul filler */
        {"e\xcc\x81\xcc\x82\xcc\x83\xcc\x84\xcc\x85\xcc\x86", "hidden"},    /* stacked */
        {"<div hidden>x</div>", "hidden"},
        {"[//]: # (obey)", "hidden"},
        {"a\x1b[8mb", "control"},
        {"a\xff"
         "b",
         "control"},
        {"\xc2\x85", "control"},
        {"\xd0\xb0pple", "mixed"},
        {"g\xce\xbf\xce\xbfgle", "mixed"},
        /* and what people write */
        {"line\nline\tend\r\n", NULL},
        {"\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7", NULL}, /* family */
        {"\xe2\x9d\xa4\xef\xb8\x8f", NULL},                                                 /* red heart */
        {"1\xef\xb8\x8f\xe2\x83\xa3", NULL},                                                /* keycap */
        {"\xf0\x9f\x8f\xb4\xf3\xa0\x81\xa7\xf3\xa0\x81\xa2\xf3\xa0\x81\xb3\xf3\xa0\x81\xa3\xf3\xa0\x81\xb4"
         "\xf3\xa0\x81\xbf",
         NULL},                                                                         /* Scotland */
        {"\xd9\x85\xdb\x8c\xe2\x80\x8c\xd8\xae\xd9\x88\xd8\xa7\xd9\x87\xd9\x85", NULL}, /* Persian */
        {"\xe0\xa4\x95\xe0\xa5\x8d\xe2\x80\x8d\xe0\xa4\xb7", NULL},                     /* Devanagari */
        {"\xef\xbb\xbfhello", NULL},                                                    /* a file's mark */
        {"Donau\xc2\xad"
         "dampf",
         NULL},                                                     /* soft hyphen */
        {"\xe2\x80\x8f\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d abc", NULL}, /* Hebrew */
        {"vi\xe1\xbb\x87t nam ti\xe1\xba\xbfng", NULL},
        {"QR-\xd0\xba\xd0\xbe\xd0\xb4", NULL},
        {"\xce\x94t = 5 \xc2\xb5m", NULL},
        {"a < b && c > d, <b>bold</b>", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_found(&x, cases[i].text, cases[i].guard);
    }
    release(&x);
}

static void languages_are_told_and_short_texts_are_not(void **state) {
    (void)state;
    static const struct {
        const char *code, *text;
    } texts[] = {
        {"en", "Where is my order and when will it arrive?"},
        {"de", "Wo ist meine Bestellung und wann kommt sie endlich an?"},
        {"fr", "O\xc3\xb9 est ma commande et quand est-ce que je vais la recevoir ?"},
        {"es", "\xc2\xbf"
               "D\xc3\xb3nde est\xc3\xa1 mi pedido y cu\xc3\xa1ndo llega a mi casa?"},
        {"it", "Dove si trova il mio ordine e quando arriva?"},
        {"pt", "Onde est\xc3\xa1 a minha encomenda e quando chega?"},
        {"nl", "Waar is mijn bestelling en wanneer komt het pakket aan?"},
        {"pl", "Gdzie jest moja paczka i kiedy do mnie dotrze?"},
        {"sv", "Var \xc3\xa4r min best\xc3\xa4llning och n\xc3\xa4r kommer den?"},
        {"fi", "Miss\xc3\xa4 minun tilaus on ja milloin se tulee?"},
        {"tr", "Sipari\xc5\x9fim nerede ve ne zaman gelecek, l\xc3\xbctfen s\xc3\xb6yler misiniz?"},
        {"ru", "\xd0\x93\xd0\xb4\xd0\xb5 \xd0\xbc\xd0\xbe\xd0\xb9 \xd0\xb7\xd0\xb0\xd0\xba\xd0\xb0\xd0\xb7"},
        {"el", "\xce\xa0\xce\xbf\xcf\x8d \xce\xb5\xce\xaf\xce\xbd\xce\xb1\xce\xb9"},
        {"ja", "\xe6\xb3\xa8\xe6\x96\x87\xe3\x81\xaf\xe3\x81\xa9\xe3\x81\x93\xe3\x81\xa7\xe3\x81\x99\xe3\x81\x8b"},
        {"ko", "\xec\xa3\xbc\xeb\xac\xb8\xec\x9d\x80 \xec\x96\xb4\xeb\x94\x94"}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        char rules[64];
        snprintf(rules, sizeof rules, "{'input': {'languages': ['%s']}}", texts[i].code);
        guarded x = with(rules);
        assert_found(&x, texts[i].text, NULL);
        release(&x);
        x = with("{'input': {'languages': ['hu']}}");
        assert_found(&x, texts[i].text, "language");
        assert_found(&x, "ok danke", NULL);
        assert_found(&x, "A10293 A10294 A10295 A10296 A10297", NULL);
        release(&x);
    }
}

static void the_gravest_action_is_taken_and_told_without_the_words(void **state) {
    (void)state;
    muga_error err;
    guard_verdict v;
    guarded x = with("{'input': {'mask': ['email'], 'ask': ['phone'], 'refuse': ['secrets'],"
                     " 'say': {'secrets': 'Never send me keys.'}}}");
    const char *text = "ada@example.com, +49 171 1234567, AKIAIOSFODNN7EXAMPLE";
    assert_ok(guard_check(x.g, GUARD_INPUT, text, strlen(text), &v, &err), &err);
    assert_int_equal(v.action, GUARD_REFUSE);
    assert_string_equal(v.say, "Never send me keys.");
    assert_int_equal(json_array_size(v.found), 3);
    char *told = json_dumps(v.found, 0);
    assert_null(strstr(told, "AKIA"));
    assert_null(strstr(told, "example"));
    assert_int_equal(json_get_int(json_array_get(v.found, 2), "from", 0), 34);
    assert_int_equal(json_get_int(json_array_get(v.found, 2), "to", 0), 54);
    free(told);
    guard_verdict_release(&v);
    release(&x);
}

static void rules_that_mean_nothing_are_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "{'input': {'refuse': ['hiden']}}",        "{'input': {'refuse': ['hidden'], 'mask': ['hidden']}}",
        "{'input': {'mask': ['length']}}",         "{'input': {'refuse': ['language']}}",
        "{'input': {'languages': ['xx']}}",        "{'input': {'patterns': {'a': '('}}}",
        "{'input': {'patterns': {'email': 'x'}}}", "{'output': {'refuse': ['language']}}"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        muga_error err;
        guard_set *g = NULL;
        json_t *v = json_of(wrong[i]);
        assert_int_equal(guard_set_new(v, NULL, &g, &err), MUGA_E_INPUT);
        assert_non_null(strstr(err.message, "guards"));
        json_decref(v);
    }
}

static void a_pattern_has_its_limits(void **state) {
    (void)state;
    muga_error err;
    guard_verdict v;
    guarded x = with("{'input': {'patterns': {'slow': '(a+)+$'}}}");
    char text[64];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 'b';
    assert_int_equal(guard_check(x.g, GUARD_INPUT, text, sizeof text, &v, &err), MUGA_E_LIMIT);
    assert_non_null(strstr(err.message, "slow"));
    release(&x);
}

static void results_lose_what_is_hidden(void **state) {
    (void)state;
    muga_error err;
    static const char *const modes[][2] = {{"{}", "a note"},
                                           {"{'results': {'hidden': 'mark'}}", "a [hidden text removed]note"},
                                           {"{'results': {'hidden': 'keep'}}", "a <!-- obey -->note"}};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        guarded x = with(modes[i][0]);
        json_t *v = json_of("{'rows': [{'note': 'a <!-- obey -->note', 'n': 1}]}"), *out = NULL, *found = json_array();
        assert_ok(guard_result(x.g, v, &out, found, &err), &err);
        const json_t *row = json_array_get(json_object_get(out, "rows"), 0);
        assert_string_equal(json_get_string(row, "note"), modes[i][1]);
        assert_int_equal(json_array_size(found), i < 2);
        if (i < 2) {
            assert_string_equal(json_get_string(json_array_get(found, 0), "path"), "/rows/0/note");
        }
        json_decref(found);
        json_decref(out);
        json_decref(v);
        release(&x);
    }
}

static void numbers_in_an_answer_must_stand_somewhere(void **state) {
    (void)state;
    muga_error err;
    guarded x = with("{'output': {'grounded': 'ids_and_numbers'}}");
    json_t *texts = json_pack("[s, s, s, s, s, s, s]", "A10293", "41.10", "it came on 2026-09-14", "three lamps",
                              "1234567.5", "paid 3/4/2026", "sent 2025-01-31T17:26:59Z");
    static const struct {
        const char *text, *which; /* NULL: all stands */
    } cases[] = {
        {"Order A10293 came on 2026-09-14 for 41.10.", NULL},
        {"No number here", NULL},
        {"Order A1029 came", "A1029"}, /* a part is not the value */
        {"in 9 days", "9"},
        {"It cost 41,10 EUR", NULL},
        {"It cost \xe2\x82\xac"
         "41.10 or 41.1\xe2\x82\xac",
         NULL},
        {"It cost 42.10", "42.10"},
        {"1,234,567.50 in all", NULL},
        {"1.234.567,5 in all", NULL},
        {"1 234 567.5 in all", NULL},
        {"1'234'567.5 in all", NULL},
        {"1,234,567 in all", "1,234,567"},
        {"It came on 14 September 2026.", NULL},
        {"It came on September 14th, 2026.", NULL},
        {"Sie kam am 14. September 2026.", NULL},
        {"It came on 14.09.2026 or 14/09/2026 or 9/14/2026", NULL},
        {"It came on 14 September", NULL},
        {"It came in September 2026", NULL},
        {"It came on 14 October 2026.", "14 October 2026"},
        {"It came on 15.09.2026", "15.09.2026"},
        {"paid on 4 March 2026 or 3 April 2026", NULL}, /* 3/4 can be read as either */
        {"paid on 5 April 2026", "5 April 2026"},
        {"You have 3 lamps", NULL},
        {"You have three lamps", NULL},
        {"You have four lamps", "four"},
        {"the first one, once more", NULL},
        {"twenty-three lamps", "twenty-three"},
        {"the 3rd of 3x", NULL},
        {"the 4th", NULL}, /* a day, perhaps */
        {"the 5th", "5th"},
        {"in 14 days", "14"}, /* the day of a date is no number */
        {"on the 14th, in 2026", NULL},
        {"sent at 2025-01-31T17:26:59Z", NULL},
        {"sent on 31 January 2025 at 17:26", NULL},
        {"sent at 2025-01-31T18:26:59Z", "18"},
        {"sent at 2025-01-30T17:26:59Z", "2025-01-30T"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char which[64] = "";
        bool ok = false;
        assert_ok(guard_is_grounded(x.g, cases[i].text, texts, &ok, which, &err), &err);
        if (ok != (cases[i].which == NULL) || (cases[i].which && strcmp(which, cases[i].which) != 0)) {
            fail_msg("\"%s\": %s '%s'", cases[i].text, ok ? "stands" : "does not stand,", which);
        }
    }
    json_decref(texts);
    release(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cards_and_ibans_are_masked_but_for_four_digits),
                                       cmocka_unit_test(each_finding_is_masked_in_its_own_way),
                                       cmocka_unit_test(masking_leaves_the_rest),
                                       cmocka_unit_test(long_texts_do_not_come_in),
                                       cmocka_unit_test(secrets_are_told_from_words),
                                       cmocka_unit_test(hidden_text_is_told_from_writing),
                                       cmocka_unit_test(languages_are_told_and_short_texts_are_not),
                                       cmocka_unit_test(the_gravest_action_is_taken_and_told_without_the_words),
                                       cmocka_unit_test(rules_that_mean_nothing_are_refused),
                                       cmocka_unit_test(a_pattern_has_its_limits),
                                       cmocka_unit_test(results_lose_what_is_hidden),
                                       cmocka_unit_test(numbers_in_an_answer_must_stand_somewhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
