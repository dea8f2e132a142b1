/* Patterns. If this failed, a tool's argument could pass its pattern without matching it, in constraint and validator
 * alike, or a hostile pattern could stop the machine. */
#include "support/support.h"

#include "base/mem.h"
#include "constrain/dfa.h"

static bool match(const char *pattern, const char *text, regex_mode mode) {
    muga_error err = {0};
    uint64_t work = 8u << 20;
    dfa *d = NULL;
    assert_ok(regex_compile(pattern, strlen(pattern), mode, &work, &d, &err), &err);
    bool yes = dfa_match(d, text, strlen(text));
    dfa_free(d);
    return yes;
}

static void patterns_match_as_ecma_262_says(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *yes, *no;
    } cases[] = {{"^a*$", "aaa", "aab"},
                 {"es", "expression", "expansion"},
                 {"^A[0-9]{5}$", "A12345", "A123456"},
                 {"^(?:foo|ba[rz])+?$", "foobarbaz", "foob"},
                 {"^a|b$", "ax", "xa"},
                 {"\\bfoo\\b", "a foo.", "afoo"},
                 {"\\Boo", "foo", "oo"},
                 {"^\\d\\D\\w\\W\\s\\S$", "1a_- x", "1a_- "},
                 {"^[^a-c\\d]$", "d", "7"},
                 {"^.$", "\xE2\x82\xAC", "\n"},
                 {"^\\u20ac\\u{1F600}\\x41\\t$",
                  "\xE2\x82\xAC\xF0\x9F\x98\x80"
                  "A\t",
                  "A"},
                 {"^\\uD83D\\uDE00$", "\xF0\x9F\x98\x80", "x"},
                 {"^\\p{Lu}\\p{Letter}*$", "\xC3\x89t\xC3\xA9", "\xC3\xA9t"},
                 {"^\\P{L}$", "1", "a"},
                 {"^a{2,3}b{0}c{1,}$", "aacc", "ac"},
                 {"^x{a}{$", "x{a}{", "xa"},
                 {"^[\\w-]+]$", "a-b]", "a b]"},
                 {"^(?<year>\\d{4})$", "2024", "24"},
                 {"a$|^b", "bx", "xb"},
                 {"^$", "", "x"},
                 {"^\\cA\\0$|q", "q", "r"},
                 {"^[\\b]$", "\b", "b"},
                 {"^\\p{Script=Greek}\\P{sc=Greek}$",
                  "\xCE\xB1"
                  "a",
                  "\xCE\xB1\xCE\xB1"},
                 {"^\\p{Emoji_Presentation}$", "\xF0\x9F\x98\x80", "7"},
                 {"^\\p{Cased_Letter}\\p{gc=Dash_Punctuation}\\p{Assigned}$", "a-\xC3\xA9", "1-\xC3\xA9"},
                 {"()*x", "x", "y"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (!match(cases[i].pattern, cases[i].yes, REGEX_SEARCH))
            fail_msg("%s should match %s", cases[i].pattern, cases[i].yes);
        if (match(cases[i].pattern, cases[i].no, REGEX_SEARCH))
            fail_msg("%s should not match %s", cases[i].pattern, cases[i].no);
    }
    assert_true(match("b", "abc", REGEX_SEARCH));
    assert_false(match("b", "abc", REGEX_WHOLE));
    assert_true(match("a|ab", "ab", REGEX_WHOLE));
}

static void look_around_is_followed_along_the_text(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *yes, *no;
    } cases[] = {{"^(?=.*[A-Z])(?=.*\\d).{3,8}$", "xA3", "xa3"},
                 {"^(?=.*[A-Z])(?=.*\\d).{3,8}$", "123456\xC3\xA9Z", "123456\xC3\xA9xZ"},
                 {"^(?!foo)\\w+$", "fob", "foobar"},
                 {"^((?!bad).)*$", "a good ba", "not bad"},
                 {"^(?!.*\\bfoo\\b).*$", "foobar", "a foo b"},
                 {"^(?!-)[a-z-]+(?<!-)$", "a-b", "a-"},
                 {"^a(?=b|c(?!d)).*$", "acx", "acd"},
                 {"^(?:a(?!a)|b(?=a))+$", "aba", "abb"},
                 {"(?<=^|,)x(?=,|$)", "a,x,b", "a,xb"},
                 {"(?<!a)b", "ab cb", "ab"},
                 {"(?<=\xE2\x82\xAC)1",
                  "\xE2\x82\xAC"
                  "1",
                  "1\xE2\x82\xAC"},
                 {"a(?=$)", "ba", "ab"},
                 {"^(?=a)", "ab", "b"},
                 {"x(?!)|y", "y", "x"},
                 {"^(?!^a)", "b", "a"},
                 {"(?:(?=ab)a|b)c", "bc", "ac"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (!match(cases[i].pattern, cases[i].yes, REGEX_SEARCH))
            fail_msg("%s should match %s", cases[i].pattern, cases[i].yes);
        if (match(cases[i].pattern, cases[i].no, REGEX_SEARCH))
            fail_msg("%s should not match %s", cases[i].pattern, cases[i].no);
    }
    assert_true(match("a(?=b)b", "ab", REGEX_WHOLE));
    assert_false(match("a(?=b)", "ab", REGEX_WHOLE));
}

static void what_is_not_regular_is_refused_by_name(void **state) {
    (void)state;
    static const char *const refused[][2] = {{"(?=a)\\b", "beside \\b"},
                                             {"a(?=\\bb)", "behind the start"},
                                             {"(?=a(?<=a))b", "inside look-ahead"},
                                             {"(?<=a$)b", "look-behind with"},
                                             {"(a)\\1", "back-reference"},
                                             {"\\k<x>", "back-reference"},
                                             {"(a", "not closed"},
                                             {"a)", "not opened"},
                                             {"[a", "not closed"},
                                             {"*a", "nothing to repeat"},
                                             {"a**", "nothing to repeat"},
                                             {"\\a", "unknown escape"},
                                             {"\\Z", "unknown escape"},
                                             {"a{3,2}", "out of order"},
                                             {"[z-a]", "backwards"},
                                             {"\\", "backslash"},
                                             {"\\p{Script=Klingon}", "not known"},
                                             {"\\p{Greek}", "not known"},
                                             {"(?<a>x)(?<a>y)", "same name"},
                                             {"(a)\\2", "leads to no group"},
                                             {"[\\1]", "in a class"},
                                             {"(?i)a", "kind of group"},
                                             {"\xFF", "UTF-8"},
                                             {"\\uD800", "surrogate"}};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        muga_error err = {0};
        uint64_t work = 1u << 20;
        dfa *d = NULL;
        muga_status st = regex_compile(refused[i][0], strlen(refused[i][0]), REGEX_SEARCH, &work, &d, &err);
        assert_status(st, MUGA_E_INPUT, &err, refused[i][1]);
    }
}

static void hostile_patterns_end_within_their_budget(void **state) {
    (void)state;
    char *parens = mem_alloc_array(60001, 1);
    assert_non_null(parens);
    memset(parens, '(', 60000);
    const char *const hostile[] = {parens,
                                   "((((a{1,100}){1,100}){1,100}){1,100}){1,100}",
                                   "(a|b)*a(a|b){20}",
                                   ".{1,100000}",
                                   "(.*){1,50}(.*){1,50}x{1000}",
                                   "((((a*)*)*)*)*b",
                                   "^((?=.*a.{9}).*(?!.*b.{8}))*((?<=c.{12}).)*$",
                                   "(?=(?=(?=(?!a*b)a*c)b{1,9})c{1,99})(?=.{1,999})x"};
    for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
        muga_error err = {0};
        uint64_t work = 16u << 20;
        dfa *d = NULL;
        muga_status st = regex_compile(hostile[i], strlen(hostile[i]), REGEX_SEARCH, &work, &d, &err);
        assert_true(st == MUGA_OK || st == MUGA_E_LIMIT);
        assert_true(st == MUGA_OK || err.message[0]);
        dfa_free(d);
    }
    free(parens);
}

static void automata_combine_as_sets_do(void **state) {
    (void)state;
    muga_error err = {0};
    uint64_t work = 1u << 20, shortest, longest;
    dfa *a, *b, *both, *less, *some;
    span words[] = {span_of_string("abc"), span_of_string("abd"), span_of_string("\xC3\xA9")};
    assert_ok(regex_compile("^a.*$", 5, REGEX_SEARCH, &work, &a, &err), &err);
    assert_ok(dfa_of_literals(words, 3, &work, &b, &err), &err);
    assert_ok(dfa_combine(b, a, DFA_AND, &work, &both, &err), &err);
    assert_ok(dfa_combine(b, a, DFA_AND_NOT, &work, &less, &err), &err);
    assert_true(dfa_match(both, "abd", 3) && !dfa_match(both, "\xC3\xA9", 2));
    assert_true(!dfa_match(less, "abd", 3) && dfa_match(less, "\xC3\xA9", 2));
    assert_true(dfa_lengths(b, &shortest, &longest));
    assert_true(shortest == 1 && longest == 3); /* characters, not bytes */
    assert_true(dfa_lengths(a, &shortest, &longest) && longest == UINT64_MAX);
    assert_ok(dfa_limit_length(a, 2, 3, &work, &some, &err), &err);
    assert_true(dfa_match(some, "a\xC3\xA9\xC3\xA9", 5) && !dfa_match(some, "a", 1) && !dfa_match(some, "abcd", 4));
    dfa *all[] = {a, b, both, less, some};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        dfa_free(all[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_as_ecma_262_says),
        cmocka_unit_test(look_around_is_followed_along_the_text),
        cmocka_unit_test(what_is_not_regular_is_refused_by_name),
        cmocka_unit_test(hostile_patterns_end_within_their_budget),
        cmocka_unit_test(automata_combine_as_sets_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
