/* JSON in and out. If this failed, a hostile text could exhaust the stack, a duplicate key could mean one thing to
 * the check and another to the tool, and the digest that an approval is bound to would differ between machines.
 *
 * Vectors: RFC 8785, section 3.2 and appendix B. */
#include "support/support.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>

static json_t *parse(const char *text) {
    json_t *v;
    muga_error err;
    assert_ok(json_parse(text, strlen(text), "test", &v, &err), &err);
    return v;
}

static void assert_canonical(const char *in, const char *expected) {
    str out = STR_INIT;
    json_t *v = parse(in);
    json_write_canonical(v, &out);
    assert_string_equal(str_get(&out), expected);
    json_decref(v);
    str_release(&out);
}

static void assert_refused(const char *text, size_t n, const char *part) {
    muga_error err;
    json_t *v = NULL;
    assert_status(json_parse(text, n, "input", &v, &err), MUGA_E_INPUT, &err, part);
    assert_null(v);
}

static void faults_are_refused_with_their_place(void **state) {
    (void)state;
    assert_refused("{\"a\": 1,\n \"b\": }", 16, "input: line 2");
    assert_refused("{\"a\": 1, \"a\": 2}", 16, "duplicate");
    assert_refused("", 0, "input");
    assert_refused("1 2", 3, "input");
    assert_refused("[1,]", 4, "input");
    assert_refused("\"\xFF\"", 3, "input");
    assert_refused("\"\xED\xA0\x80\"", 5, "input");
    assert_refused("\"\\ud800\"", 8, "input");
    assert_refused("[1\0]", 4, "line 1 column 3");
    assert_refused("1\0", 2, "line 1 column 2: expected the end");
    assert_refused("{\"a\\u0000\": 1}", 14, "NUL in the key");
    assert_refused("[\"\xE2\x82\xAC\", x]", 9, "line 1 column 7: expected a value");
    assert_refused("{\"a\": \"b", 8, "no end");
    assert_refused("-", 1, "input");
    assert_refused("1.", 2, "digit after the decimal point");
    assert_refused("-9223372036854775809", 20, "64 bits");
    assert_refused("1e400", 5, "input");
    assert_refused("99999999999999999999", 20, "input");
    assert_refused("NaN", 3, "input");
    assert_refused("01", 2, "input");
    assert_refused("\"a\nb\"", 5, "input");
    assert_refused("[1] // no", 9, "input");
}

/* jansson's own parser as a second opinion: on any text, near JSON and by chance JSON, the two agree on whether it is
 * JSON and on its value. */
static void parsing_agrees_with_jansson(void **state) {
    (void)state;
    static const char seed_text[] =
        "{\"a\":[1,-2.5e+3,0,\"x\\u00e9\\ud83d\\ude00\\n\"],\"b\":{\"c\":null,\"d\":[true,false]},\"\\u20ac\":12.75} ";
    static const char pieces[] = "{}[]\",:\\/ut0129-+.eE \n\xC3\xA9\001dD8cC\177";
    rng r = {7};
    int n_valid = 0;
    for (int i = 0; i < 100000; i++) {
        char text[sizeof seed_text];
        memcpy(text, seed_text, sizeof text);
        for (uint32_t k = 1 + rng_below(&r, 4); k > 0; k--) {
            text[rng_below(&r, sizeof seed_text - 1)] = pieces[rng_below(&r, sizeof pieces - 1)];
        }
        json_t *v;
        muga_error err;
        size_t from = rng_below(&r, 4) ? 0 : rng_below(&r, sizeof text - 1), n = sizeof text - 1 - from;
        muga_status st = json_parse(text + from, n, "x", &v, &err);
        json_t *expected = json_loadb(text + from, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        if (st != (expected ? MUGA_OK : MUGA_E_INPUT) || (v && !json_equal(v, expected))) {
            fail_msg("status %d for %s", st, text + from);
        }
        n_valid += st == MUGA_OK;
        json_decref(v);
        json_decref(expected);
    }
    assert_in_range(n_valid, 1000, 99000);
}

static void assert_parses_to(const char *text, double expected) {
    json_t *v = parse(text);
    assert_true(json_is_number(v));
    double got = json_number_value(v);
    if (memcmp(&got, &expected, sizeof got) != 0) {
        fail_msg("%s: %a, wanted %a", text, got, expected);
    }
    json_decref(v);
}

static void numbers_are_read_exactly(void **state) {
    (void)state;
    assert_parses_to("2.2250738585072014e-308", DBL_MIN);
    assert_parses_to("2.2250738585072011e-308", 2.2250738585072011e-308);
    assert_parses_to("5e-324", 5e-324);
    assert_parses_to("1e-400", 0);
    assert_parses_to("-0.0", -0.0);
    assert_parses_to("0e999999999999999999999", 0);
    assert_parses_to("1e-999999999999999999999", 0);
    assert_parses_to("1.7976931348623157e308", DBL_MAX);
    assert_parses_to("0.00000000000000000000000000000000000001E+38", 1);
    assert_parses_to("123456789.125", 123456789.125);
    assert_parses_to("9007199254740993.0", 9007199254740992.0);
    rng r = {9};
    for (int i = 0; i < 20000; i++) {
        char text[64];
        uint64_t bits = rng_next(&r);
        double v;
        memcpy(&v, &bits, sizeof v);
        if (isfinite(v)) {
            snprintf(text, sizeof text, i % 2 ? "%.17g" : "%.25e", v);
            if (strpbrk(text, ".e")) {
                assert_parses_to(text, strtod(text, NULL));
            }
        }
    }
}

/* 100,000 opening brackets: refused by counting, not by recursion. */
static void depth_bombs_are_refused(void **state) {
    (void)state;
    enum { N = 100000 };
    char *bomb = malloc(6 * N);
    assert_non_null(bomb);
    memset(bomb, '[', N);
    assert_refused(bomb, N, "nested deeper than 128");
    for (int i = 0; i < N; i++) {
        memcpy(bomb + 5 * i, "{\"a\":", 5);
    }
    assert_refused(bomb, 5 * N, "nested deeper than 128");
    free(bomb);
}

static void depth_is_counted_exactly(void **state) {
    (void)state;
    char text[2 * JSON_MAX_DEPTH + 8];
    for (int depth = JSON_MAX_DEPTH; depth <= JSON_MAX_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        json_t *v = NULL;
        muga_error err;
        muga_status st = json_parse(text, 2 * (size_t)depth, "x", &v, &err);
        assert_int_equal(st, depth == JSON_MAX_DEPTH ? MUGA_OK : MUGA_E_INPUT);
        json_decref(v);
    }
    char in_string[1000];
    memset(in_string, '[', sizeof in_string);
    in_string[0] = in_string[sizeof in_string - 1] = '"';
    in_string[1] = '\\';
    in_string[2] = '"';
    json_t *v;
    muga_error err;
    assert_ok(json_parse(in_string, sizeof in_string, "x", &v, &err), &err);
    json_decref(v);
}

static void a_value_built_too_deep_is_not_written(void **state) {
    (void)state;
    json_t *v = json_array();
    for (int i = 0; i < 3 * JSON_MAX_DEPTH; i++) {
        v = json_pack("[o]", v);
    }
    str out = STR_INIT;
    muga_error err;
    json_write(v, &out);
    assert_status(str_status(&out, &err, "value"), MUGA_E_LIMIT, &err, "value");
    str_release(&out);
    json_decref(v);
}

static void strings_keep_nul_and_escape_what_they_must(void **state) {
    (void)state;
    json_t *v = parse("\"a\\u0000b\"");
    assert_int_equal(json_string_length(v), 3);
    str out = STR_INIT;
    json_write(v, &out);
    assert_string_equal(str_get(&out), "\"a\\u0000b\"");
    json_decref(v);
    str_clear(&out);
    json_write_string(&out, "\b\t\n\f\r\"\\/\x1F\x7F\xE2\x82\xAC\xFF\xE2\x82\n", 17);
    assert_string_equal(str_get(&out),
                        "\"\\b\\t\\n\\f\\r\\\"\\\\/\\u001f\x7F\xE2\x82\xAC\xEF\xBF\xBD\xEF\xBF\xBD\\n\"");
    str_release(&out);
}

static void writing_keeps_the_order_of_keys(void **state) {
    (void)state;
    static const char text[] = "{\"z\":1,\"a\":[true,false,null,-7,1.5],\"m\":{}}";
    str out = STR_INIT;
    json_t *v = parse(text);
    json_write(v, &out);
    assert_string_equal(str_get(&out), text);
    json_decref(v);
    str_release(&out);
}

static void canonical_form_is_that_of_rfc_8785(void **state) {
    (void)state;
    assert_canonical("{\"numbers\": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],"
                     " \"string\": \"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\","
                     " \"literals\": [null, true, false]}",
                     "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],"
                     "\"string\":\"\xE2\x82\xAC$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
    assert_canonical("{\"\\u20ac\":5,\"\\r\":1,\"\\ufb33\":7,\"1\":2,\"\\ud83d\\ude00\":6,\"\\u0080\":3,\"\\u00f6\":4}",
                     "{\"\\r\":1,\"1\":2,\"\xC2\x80\":3,\"\xC3\xB6\":4,\"\xE2\x82\xAC\":5,\"\xF0\x9F\x98\x80\":6,"
                     "\"\xEF\xAC\xB3\":7}");
    assert_canonical("{\"b\":{\"d\":1,\"c\":2},\"a\":[],\"ab\":0,\"\":9}",
                     "{\"\":9,\"a\":[],\"ab\":0,\"b\":{\"c\":2,\"d\":1}}");
}

static void integers_keep_their_digits(void **state) {
    (void)state;
    assert_canonical("[9007199254740993,-9223372036854775808,9223372036854775807,-0]",
                     "[9007199254740993,-9223372036854775808,9223372036854775807,0]");
}

/* 2^60's shortest digits are those of another integer: with them, an approval of the one would be one of the other. */
static void a_whole_real_past_2_53_keeps_its_digits(void **state) {
    (void)state;
    assert_canonical("[1152921504606846976.0,1152921504606847000,1152921504606847000.0,-1152921504606846976e0]",
                     "[1152921504606846976,1152921504606847000,1152921504606846976,-1152921504606846976]");
    assert_canonical("[9007199254740992.0,9007199254740993.0,9007199254740994e0,1e18,1.0,-0.0]",
                     "[9007199254740992,9007199254740992,9007199254740994,1000000000000000000,1,0]");
    assert_canonical("[9223372036854774784.0,9223372036854775807.0,-9223372036854775808.0]",
                     "[9223372036854774784,9223372036854776000,-9223372036854775808]");
    uint8_t a[32], b[32];
    muga_error err;
    json_t *real = json_real(0x1p60), *whole = json_integer(1152921504606847000), *same = json_integer(1LL << 60);
    assert_ok(json_digest(real, a, &err), &err);
    assert_ok(json_digest(whole, b, &err), &err);
    assert_memory_not_equal(a, b, 32);
    assert_ok(json_digest(same, b, &err), &err);
    assert_memory_equal(a, b, 32);
    json_decref(real);
    json_decref(whole);
    json_decref(same);
}

/* A double past 64 bits is written without point and exponent; were that refused, a journal could not be read again. */
static void long_integers_are_read_where_a_double_says_them(void **state) {
    (void)state;
    assert_canonical("[1e20,-1e19,9.3e18,123456789012345680000]",
                     "[100000000000000000000,-10000000000000000000,9300000000000000000,123456789012345680000]");
    assert_canonical("[100000000000000000000,-10000000000000000000]", "[100000000000000000000,-10000000000000000000]");
    assert_refused("100000000000000000001", 21, "64 bits");
    assert_refused("9223372036854775808", 19, "64 bits");
    assert_refused("1000000000000000000000", 22, "64 bits"); /* which is written 1e+21 */
}

static void assert_number(double v, const char *expected) {
    str out = STR_INIT;
    json_write_double(&out, v);
    assert_string_equal(str_get(&out), expected);
    str_release(&out);
}

static double double_of_bits(uint64_t bits) {
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void numbers_are_printed_as_ecmascript_does(void **state) {
    (void)state;
    static const struct {
        uint64_t bits;
        const char *text;
    } rows[] = {
        {0x0000000000000000, "0"},
        {0x8000000000000000, "0"},
        {0x0000000000000001, "5e-324"},
        {0x8000000000000001, "-5e-324"},
        {0x7fefffffffffffff, "1.7976931348623157e+308"},
        {0xffefffffffffffff, "-1.7976931348623157e+308"},
        {0x4340000000000000, "9007199254740992"},
        {0xc340000000000000, "-9007199254740992"},
        {0x4430000000000000, "295147905179352830000"},
        {0x44b52d02c7e14af5, "9.999999999999997e+22"},
        {0x44b52d02c7e14af6, "1e+23"},
        {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
        {0x444b1ae4d6e2ef4e, "999999999999999700000"},
        {0x444b1ae4d6e2ef4f, "999999999999999900000"},
        {0x444b1ae4d6e2ef50, "1e+21"},
        {0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
        {0x3eb0c6f7a0b5ed8d, "0.000001"},
        {0x41b3de4355555553, "333333333.3333332"},
        {0x41b3de4355555554, "333333333.33333325"},
        {0x41b3de4355555555, "333333333.3333333"},
        {0x41b3de4355555556, "333333333.3333334"},
        {0x41b3de4355555557, "333333333.33333343"},
        {0xbecbf647612f3696, "-0.0000033333333333333333"},
        {0x43143ff3c1cb0959, "1424953923781206.2"},
        {0x3d30000000000000, "5.684341886080802e-14"}, /* 2^-44: 16 digits do, though not the nearest 16 */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_number(double_of_bits(rows[i].bits), rows[i].text);
    }
    assert_number(NAN, "null");
    assert_number(-INFINITY, "null");
    assert_number(100, "100");
    assert_number(0.1 + 0.2, "0.30000000000000004");
}

/* No decimal of one digit fewer, neither the nearest nor its neighbours, reads back. */
static void assert_shortest(double v) {
    str out = STR_INIT;
    json_write_double(&out, v);
    double back = strtod(str_get(&out), NULL);
    if (memcmp(&back, &v, sizeof v) != 0) {
        fail_msg("%a: %s reads back as %a", v, str_get(&out), back);
    }
    int n_digit = 0, zeros = 0;
    for (const char *c = str_get(&out); *c && *c != 'e'; c++) {
        if (*c >= '0' && *c <= '9' && (n_digit > 0 || *c != '0')) {
            n_digit++;
            zeros = *c == '0' ? zeros + 1 : 0;
        }
    }
    n_digit -= zeros;
    if (n_digit > 1) {
        char text[40];
        snprintf(text, sizeof text, "%.*e", n_digit - 2, v);
        double near = strtod(text, NULL);
        double step = pow(10, floor(log10(fabs(v))) - (n_digit - 2));
        for (int k = -1; k <= 1; k++) {
            snprintf(text, sizeof text, "%.*e", n_digit - 2, near + k * step);
            if (strtod(text, NULL) == v) {
                fail_msg("%a: %s, but %s reads back too", v, str_get(&out), text);
            }
        }
    }
    str_release(&out);
}

static void numbers_read_back_and_are_shortest(void **state) {
    (void)state;
    for (int exponent = -1074; exponent <= 1023; exponent++) {
        assert_shortest(ldexp(1, exponent));
    }
    rng r = {42};
    for (int i = 0; i < 50000; i++) {
        double v = double_of_bits(rng_next(&r));
        if (isfinite(v) && fabs(v) > DBL_MIN) {
            assert_shortest(v);
        }
        assert_shortest((double)(int64_t)rng_next(&r) / 1000);
    }
}

static void numbers_do_not_depend_on_the_locale(void **state) {
    (void)state;
    static const char *const with_comma[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(with_comma) && !found; i++) {
        found = setlocale(LC_NUMERIC, with_comma[i]) != NULL;
    }
    if (!found) {
        print_message("skipped: no locale with a decimal comma is installed here\n");
        skip();
    }
    assert_number(1.5, "1.5");
    assert_number(5e-324, "5e-324");
    assert_number(1e300, "1e+300");
    assert_canonical("[0.25]", "[0.25]");
    setlocale(LC_NUMERIC, "C");
}

static void digest_is_over_the_canonical_form(void **state) {
    (void)state;
    uint8_t expected[32], a[32], b[32], other[32];
    muga_error err;
    sha256_of("{\"a\":1,\"b\":2}", 13, expected);
    json_t *x = parse("{\"a\":1,\"b\":2}"), *y = parse("{ \"b\": 2, \"a\": 1 }"), *z = parse("{\"a\":2,\"b\":1}");
    assert_ok(json_digest(x, a, &err), &err);
    assert_ok(json_digest(y, b, &err), &err);
    assert_ok(json_digest(z, other, &err), &err);
    assert_memory_equal(a, expected, 32);
    assert_memory_equal(b, expected, 32);
    assert_memory_not_equal(other, expected, 32);
    json_decref(x);
    json_decref(y);
    json_decref(z);
}

static void a_copy_is_whole_and_its_own(void **state) {
    (void)state;
    json_t *v = parse("{\"a\":[1,2.5,\"x\\u0000\",null,true,false,{\"b\":[]}],\"\":{}}"), *copy = json_clone(v);
    assert_true(json_equal(v, copy));
    json_array_clear(json_object_get(v, "a"));
    assert_int_equal(json_array_size(json_object_get(copy, "a")), 7);
    assert_null(json_clone(NULL));
    json_decref(v);
    json_decref(copy);
}

static void members_of_a_wrong_type_are_absent(void **state) {
    (void)state;
    json_t *v = parse("{\"s\":\"x\",\"i\":5,\"b\":true,\"d\":1.5,\"n\":null}");
    assert_string_equal(json_get_string(v, "s"), "x");
    assert_null(json_get_string(v, "i"));
    assert_null(json_get_string(v, "absent"));
    assert_int_equal(json_get_int(v, "i", -1), 5);
    assert_int_equal(json_get_int(v, "d", -1), -1);
    assert_true(json_get_bool(v, "b", false));
    assert_true(json_get_bool(v, "n", true));
    assert_true(json_get_number(v, "d", 0) == 1.5);
    assert_true(json_get_number(v, "i", 0) == 5);
    assert_true(json_get_number(v, "s", -2) == -2);
    assert_null(json_get_string(NULL, "s"));
    json_t *array = json_array();
    assert_int_equal(json_get_int(array, "i", -1), -1);
    json_decref(array);
    json_decref(v);
}

static void depth_is_counted(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int depth;
    } cases[] = {{"1", 0}, {"[]", 1}, {"{}", 1}, {"[1, [2]]", 2}, {"{\"a\": [{\"b\": 1}], \"c\": 2}", 3}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *v;
        muga_error err;
        assert_ok(json_parse(cases[i].text, strlen(cases[i].text), "test", &v, &err), &err);
        assert_false(json_is_deeper(v, cases[i].depth));
        assert_true(cases[i].depth == 0 || json_is_deeper(v, cases[i].depth - 1));
        json_decref(v);
    }
    assert_false(json_is_deeper(NULL, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depth_is_counted),
        cmocka_unit_test(faults_are_refused_with_their_place),
        cmocka_unit_test(parsing_agrees_with_jansson),
        cmocka_unit_test(numbers_are_read_exactly),
        cmocka_unit_test(depth_bombs_are_refused),
        cmocka_unit_test(depth_is_counted_exactly),
        cmocka_unit_test(a_value_built_too_deep_is_not_written),
        cmocka_unit_test(strings_keep_nul_and_escape_what_they_must),
        cmocka_unit_test(writing_keeps_the_order_of_keys),
        cmocka_unit_test(canonical_form_is_that_of_rfc_8785),
        cmocka_unit_test(integers_keep_their_digits),
        cmocka_unit_test(a_whole_real_past_2_53_keeps_its_digits),
        cmocka_unit_test(long_integers_are_read_where_a_double_says_them),
        cmocka_unit_test(numbers_are_printed_as_ecmascript_does),
        cmocka_unit_test(numbers_read_back_and_are_shortest),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
        cmocka_unit_test(digest_is_over_the_canonical_form),
        cmocka_unit_test(a_copy_is_whole_and_its_own),
        cmocka_unit_test(members_of_a_wrong_type_are_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
