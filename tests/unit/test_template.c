/* Would break: the template language itself (white space, scopes, operators, filters), its budgets against hostile
 * templates, and the expressions of agent manifests. Expected texts are Jinja's. */
#include "base/json.h"
#include "base/mem.h"
#include "model/template.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

static muga_status render(const char *source, const char *context, str *out, muga_error *err) {
    template *t;
    json_t *c;
    muga_status st = json_parse(context, strlen(context), "context", &c, err);
    if (st)
        return st;
    st = template_compile(source, strlen(source), &t, err);
    if (!st)
        st = template_render(t, c, 1789381800000, NULL, out, err);
    template_free(t);
    json_decref(c);
    return st;
}

static void expect(const char *source, const char *context, const char *wanted) {
    str out = STR_INIT;
    muga_error err = {0};
    muga_status st = render(source, context, &out, &err);
    if (st)
        print_error("%s: %s\n", source, err.message);
    assert_int_equal(st, MUGA_OK);
    assert_string_equal(str_get(&out), wanted);
    str_release(&out);
}

static void expect_error(const char *source, muga_status status, const char *part) {
    str out = STR_INIT;
    muga_error err = {0};
    assert_status(render(source, "{\"n\": null, \"l\": [1, 2, 3], \"s\": \"text\"}", &out, &err), status, &err, part);
    assert_int_equal(out.len, 0);
    str_release(&out);
}

static void test_white_space(void **state) {
    (void)state;
    expect("a\n  {% if true %}\nb\n  {% endif %}\nc", "{}", "a\nb\nc");
    expect("a {%- if true -%} b {%- endif -%} c", "{}", "abc");
    expect("a\n  {%+ if true %}\nb{% endif %}", "{}", "a\n  b");
    expect("{% if true +%}\nb{% endif %}", "{}", "\nb");
    expect("a {# note #}\nb {#- note -#} c", "{}", "a bc");
    expect("x  {{- 1 -}}  y\n", "{}", "x1y");
    expect("{% raw %}{{ a }}{% endraw %}", "{}", "{{ a }}");
    expect("a\r\nb\n", "{}", "a\nb");
    expect("{{ '}}' }}{{ {'a': {'b': 1}}['a']['b'] }}", "{}", "}}1");
}

static void test_scopes(void **state) {
    (void)state;
    expect("{% set x = 1 %}{% for i in [1, 2] %}{% set x = i * 10 %}{{ x }} {% endfor %}{{ x }}", "{}", "10 20 1");
    expect("{% set ns = namespace(x=1) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{}",
           "4");
    expect("{% if true %}{% set x = 5 %}{% endif %}{{ x }}", "{}", "5");
    expect("{% macro m(a, b=a ~ '!') %}{{ a }}{{ b }}{% endmacro %}{{ m('x') }}{{ m(1, b=2) }}", "{}", "xx!12");
    expect("{% macro w() %}[{{ caller(3) }}]{% endmacro %}{% call(n) w() %}{{ n + 1 }}{% endcall %}", "{}", "[4]");
    expect("{% set b %}x{{ 1 }}{% endset %}{{ b | upper }}", "{}", "X1");
    expect("{% for a, b in {'k': 1}.items() %}{{ a }}={{ b }}{% else %}none{% endfor %}", "{}", "k=1");
    expect("{% for a in [] %}{% else %}none{% endfor %}", "{}", "none");
    expect(
        "{% for i in range(9) if i is odd %}{% if i > 5 %}{% break %}{% endif %}{{ loop.index0 }}{{ i }} {% endfor %}",
        "{}", "01 13 25 ");
    expect("{% for i in [1,2,3] %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}", "{}",
           "<1>2 1<2>3 2<3> ");
    expect("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}", "{}", "3");
}

static void test_operators(void **state) {
    (void)state;
    expect("{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1 ~ 2 }} {{ 'a' * 3 }}", "{}",
           "3 -4 2 3.5 1024 12 aaa");
    expect("{{ 1 < 2 < 3 }} {{ 1 in [1] }} {{ 'b' not in 'abc' }} {{ not 1 == 2 }}", "{}", "True True False True");
    expect("{{ 'héllo'[1] }}{{ 'héllo'[-2:] }}{{ 'abc'[::-1] }}{{ [1,2,3][1:] }}", "{}", "élocba[2, 3]");
    expect("{{ 'x' if false }}{{ 'y' if true else 'z' }}", "{}", "y");
    expect("{{ none or 'd' }}{{ 0 and 1 }}{{ [] or {} }}", "{}", "d0{}");
    expect("{{ 1.0 }} {{ 1e20 }} {{ 0.1 }} {{ 1e-5 }} {{ 100000000000000000.0 }}", "{}", "1.0 1e+20 0.1 1e-05 1e+17");
    expect("{{ ['a', 1, none, true, \"it's\"] }}", "{}", "['a', 1, None, True, \"it's\"]");
    expect("{{ missing }}{{ missing is defined }}{{ a.b is defined }}", "{\"a\": {}}", "FalseFalse");
}

static void test_filters(void **state) {
    (void)state;
    expect("{{ d | tojson }} {{ d | tojson(indent=2) }}", "{\"d\": {\"b\": [1, \"é<\"], \"a\": null}}",
           "{\"b\": [1, \"é<\"], \"a\": null} {\n  \"b\": [\n    1,\n    \"é<\"\n  ],\n  \"a\": null\n}");
    expect("{{ 'é' | tojson(ensure_ascii=true) }}", "{}", "\"\\u00e9\"");
    expect("{{ ' a b ' | trim | replace('b', 'c') | upper | length }}", "{}", "3");
    expect("{{ l | map(attribute='n') | join(',') }} {{ l | selectattr('n', 'gt', 1) | list | length }}",
           "{\"l\": [{\"n\": 1}, {\"n\": 2}]}", "1,2 1");
    expect("{{ {'b': 1, 'a': 2} | dictsort }} {{ [3, 1, 2] | sort | first }} {{ [1, 1, 2] | unique | list }}", "{}",
           "[('a', 2), ('b', 1)] 1 [1, 2]");
    expect("{{ 'a\nb' | indent(2) }} {{ '12' | int + 1 }} {{ x | default('d') }}", "{}", "a\n  b 13 d");
    expect("{{ strftime_now('%d %B %Y') }}", "{}", "14 September 2026");
    expect("{{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'xay'.strip('xy') }}", "{}",
           "['a', 'b'] ['a', 'b,c'] a");
}

static void test_errors_name_line_and_cause(void **state) {
    (void)state;
    expect_error("a\n{% if x %}", MUGA_E_INPUT, "block is not closed");
    expect_error("\n\n{{ 'a }}", MUGA_E_INPUT, "line 3");
    expect_error("{% include 'x' %}", MUGA_E_INPUT, "'include' is not supported");
    expect_error("{{ raise_exception('no ' ~ s) }}", MUGA_E_INPUT, "raised: no text");
    expect_error("{{ n.x.y }}", MUGA_E_INPUT, "'None' has no attribute 'x'");
    expect_error("{{ 1 + 'a' }}", MUGA_E_INPUT, "unsupported operand");
    expect_error("{{ 1 / 0 }}", MUGA_E_INPUT, "division by zero");
    expect_error("{{ 9223372036854775807 + 1 }}", MUGA_E_INPUT, "overflow");
    expect_error("{{ l.append(4) }}", MUGA_E_INPUT, "unsafe");
    expect_error("{{ s | nosuch }}", MUGA_E_INPUT, "no filter named 'nosuch'");
    expect_error("{{ ''.__class__.__mro__ }}", MUGA_E_INPUT, "unsafe");
    expect_error("{{ }}", MUGA_E_INPUT, "expected an expression");
    expect_error("{% break %}", MUGA_E_INPUT, "for loop");
    expect_error("{% set 1 = 2 %}", MUGA_E_INPUT, "cannot assign");
}

/* Each would take minutes, or gigabytes, without the counted budgets: steps, bytes, depth. */
/* What one step each would let run for a tenth of a second to two seconds: the work inside is counted, too. */
static void expect_costly_forms_to_be_charged(void) {
    static const struct {
        const char *before, *expression;
        int times;
    } rows[] = {{"", "1e300|round(10)", 10000},
                {"", "'%f' % 1e308", 10000},
                {"", "'{:%}'.format(1.1e300)", 10000},
                {"", "1e308 % 1e-300", 60000},
                {"", "'a'.center(2000)", 20000},
                {"", "'%.4096f' % 5e-324", 2000},
                {"", "'{:03000,}'.format(1)", 4000},
                {"", "('9' * 390)|float", 20000},
                {"", "('\u0663' * 18)|int", 20000},
                {"", "strftime_now('%c' * 50)", 5000},
                {"{% set f = '%' ~ '-+ 0#' * 2000 ~ 'd' %}", "f % 1", 1000},
                {"{% set s = 'a' * 1000000 %}{% set n = 'a' * 16 ~ 'b' ~ 'a' * 15 %}", "n in s", 20},
                {"{% set s = '<' * 1000 %}", "s|escape", 3000},
                {"{% set l = range(1000)|list %}", "l|select('odd')|list", 500}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char source[256];
        (void)snprintf(source, sizeof source, "%s{%% for i in range(%d) %%}{%% set x = %s %%}{%% endfor %%}",
                       rows[i].before, rows[i].times, rows[i].expression);
        expect_error(source, MUGA_E_LIMIT, "steps");
    }
    expect_error("{{ raise_exception('a' * 30000000) }}", MUGA_E_LIMIT, "steps");
}

/* `times` times a call with so many named arguments, of a macro or of a format. */
static void expect_names_to_be_charged(const char *before, const char *parameter, const char *between, const char *call,
                                       const char *argument, int times) {
    str source = STR_INIT;
    str_append_s(&source, before);
    for (int i = 0; i < 200; i++)
        str_printf(&source, parameter, i);
    str_printf(&source, "%s{%% for i in range(%d) %%}{%% set x = %s(", between, times, call);
    for (int i = 199; i >= 0; i--)
        str_printf(&source, argument, i, i ? "," : ")");
    str_append_s(&source, " %}{% endfor %}");
    expect_error(str_get(&source), MUGA_E_LIMIT, "steps");
    str_release(&source);
}

static void test_names_looked_through_are_charged(void **state) {
    (void)state;
    expect_names_to_be_charged("{% macro m(", "a%d=1,", "b=1) %}{% endmacro %}", "m", "a%d=1%s", 300);
    expect_names_to_be_charged("{% set f = '", "{a0}", "' %}", "f.format", "a%d=1%s", 300);
    str source = STR_INIT; /* a name's value lies many frames away */
    str_append_s(&source, "{% set a = 1 %}");
    for (int i = 0; i < 120; i++)
        str_printf(&source, "{%% macro m%d() %%}", i);
    str_append_s(&source, "{% for i in range(20000) %}{% set x = a+a+a+a+a+a+a+a %}{% endfor %}");
    for (int i = 119; i >= 0; i--)
        str_printf(&source, "{%% endmacro %%}{{ m%d() }}", i);
    expect_error(str_get(&source), MUGA_E_LIMIT, "steps");
    str_release(&source);
}

static void test_hostile_templates_end_by_budget(void **state) {
    (void)state;
    static const char *const templates[] = {
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x{% endfor %}{% endfor %}"
        "{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro r(n) %}{{ r(n + 1) }}{% endmacro %}{{ r(0) }}",
        "{% macro r(n) %}{% if n %}{{ r(n - 1) }}{{ r(n - 1) }}{% endif %}{% endmacro %}{{ r(60) }}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% macro m(n) %}{{ 'x' * 4000000 }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 'x' * 9223372036854775807 }}",
        "{{ [1] * 1000000000 }}",
        "{{ range(1000000000000) }}",
        "{{ '%1000000000d' % 5 }}",
        "{{ '%.1000000000f' % 5 }}",
        "{{ '%*d' % (1000000000, 5) }}",
        "{{ '%1000000000s' % 's' }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:01000000000}'.format(1) }}",
        "{{ '{:.1000000000f}'.format(1.5) }}",
        "{{ 'a'.zfill(1000000000) }}",
        "{{ 'a'.center(1000000000000) }}",
        "{{ 'a'.ljust(1000000000, 'b') }}",
        "{{ '\t'.expandtabs(1000000000) }}",
        "{{ 'a'|indent(1000000000, true) }}",
        "{{ [1]|batch(1000000000, 0)|list }}",
        "{{ [1]|slice(1000000000)|list }}",
        "{{ [[1]]|tojson(indent=1000000000) }}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}"
        "{{ ns.s|tojson }}",
        "{% set ns = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}"
        "{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.s == ns.t }}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "{% set ns = namespace(d={}) %}{% for i in range(999) %}{% set ns.d = dict(ns.d, **{'' ~ i: i}) %}{% endfor %}",
        "{{ ('a' * 1000000).replace('a', 'b' * 100000) }}",
        "{{ ('a' * 1000000).replace('', 'b' * 1000) }}",
        "{{ (range(100000)|list)|join('x' * 100000) }}",
        "{{ ('x' * 100000).join('y' * 100000) }}",
        "{{ ('a' * 1000000).rfind('a' * 500000 ~ 'ba') }}",
        "{{ ('a' * 1000000).strip('b' * 1000000 ~ 'a') }}",
        "{{ (' ' * 10000000)|trim }}",
        "{{ ([1.7976931348623157e308] * 40000)|tojson }}",
        "{{ [1.7976931348623157e308] * 40000 }}",
        "{{ ('\"' * 2100000)|tojson }}",
        "{{ (' ' * 10000000).rstrip() }}",
        "{% set s = 'a' * 10000000 %}{% for i in range(4) %}{{ ('a' * 1000 ~ 'b') in s }}{% endfor %}",
        "{% set s = 'a' * 10000000 %}{% for i in range(4) %}{{ s.count('a' * 1000 ~ 'b') }}{% endfor %}",
        "{% for i in range(99999) %}{{ 'y' * 1000 }}{% endfor %}",
        "{% set s = 'a' * 10000000 %}{% for i in range(99999) %}{% set x = s|length %}{% endfor %}",
        "{% set s = 'a' * 10000000 %}{% for i in range(99999) %}{% set x = s.startswith(s) %}{% endfor %}",
        "{% set s = 'a' * 10000000 %}{% set t = s ~ '' %}{% for i in range(99999) %}{% set x = s == t %}{% endfor %}",
        "{% set s = 'a' * 10000000 %}{% set t = s ~ '' %}{% for i in range(99999) %}{% set x = s < t %}{% endfor %}",
        "{% set s = 'a' * 10000000 %}{% set d = {s: 1} %}{% for i in range(9999) %}{% set x = d[s ~ ''] %}{% endfor %}",
        "{% set s = 'é' * 1000000 %}{% for i in range(99999) %}{% set x = s[i:] %}{{ s[i] }}{% endfor %}",
        "{% set s = 'a' * 1000000 %}{% for i in range(1000) %}{% set x = s|upper %}{% endfor %}",
        "{% set s = 'aΣ' ~ '.' * 1000000 %}{% for i in range(1000) %}{% set x = s.lower() %}{% endfor %}",
        "{% set l = range(99999)|list %}{% for i in l %}{{ 'x' in l }}{% endfor %}",
        "{{ range(99999)|unique|list }}"};
    for (size_t i = 0; i < ARRAY_LEN(templates); i++)
        expect_error(templates[i], MUGA_E_LIMIT, "");
    expect_costly_forms_to_be_charged();
    expect_error("{% macro r(n) %}{{ r(n + 1) }}{% endmacro %}{{ r(0) }}", MUGA_E_LIMIT, "too deeply (limit 256)");
    expect_error("{{ 'x' * 1000000000 }}", MUGA_E_LIMIT, "values take more than 67108864 bytes");
    expect_error("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", MUGA_E_LIMIT,
                 "more than 2000000 steps");
    expect_error("{{ range(1000000000) }}", MUGA_E_LIMIT, "range of 1000000000 is longer than 100000");
    expect_error("{% for i in range(9999) %}{{ 'y' * 1000 }}{% endfor %}", MUGA_E_LIMIT,
                 "output is longer than 4194304 bytes");
    expect_error("{{ 2 ** 1000000000000 }}", MUGA_E_INPUT, "overflow");
}

/* n times `part` between two ends. */
static void expect_refusal(const char *before, const char *part, size_t n, const char *after, const char *message) {
    str source = STR_INIT;
    str_append_s(&source, before);
    for (size_t i = 0; i < n; i++)
        str_append_s(&source, part);
    str_append_s(&source, after);
    expect_error(str_get(&source), MUGA_E_LIMIT, message);
    str_release(&source);
}

/* What nests as deeply as the source is long would overflow the stack. */
static void test_deep_sources_are_refused(void **state) {
    (void)state;
    static const char deeper[] = "nested deeper than 256";
    expect_refusal("{{ ", "(", 60000, " }}", deeper);
    expect_refusal("{{ ", "[", 60000, " }}", deeper);
    expect_refusal("{{ ", "-", 60000, "1 }}", deeper);
    expect_refusal("{{ ", "not ", 20000, "1 }}", deeper);
    expect_refusal("{{ 1", "+1", 60000, " }}", deeper);
    expect_refusal("{{ a", ".b", 60000, " }}", deeper);
    expect_refusal("{{ a", "|upper", 20000, " }}", deeper);
    expect_refusal("{{ 1", " if 1 else 1", 10000, " }}", deeper);
    expect_refusal("", "{% if 1 %}", 10000, "", deeper);
    expect_refusal("", "{% for a in b %}", 10000, "", deeper);
    expect_refusal("", "{% set a %}", 10000, "", deeper);
    expect_refusal("", "x", 300000, "", "longer than 262144");
    str source = STR_INIT; /* every macro is searched for the names it gets without declaring them */
    for (int i = 0; i < 250; i++)
        str_append_s(&source, "{% macro m() %}");
    for (int i = 0; i < 25000; i++)
        str_printf(&source, "{{a%d}}", i);
    for (int i = 0; i < 250; i++)
        str_append_s(&source, "{% endmacro %}");
    expect_error(str_get(&source), MUGA_E_LIMIT, "too many names");
    str_release(&source);
}

static void test_broken_sources_never_crash(void **state) {
    (void)state;
    const char *good =
        "{%- macro m(a, b=1) -%}{{ a['k'][1:2] | join(', ') }}{% endmacro %}{# c #}{% for x in l if x is not none %}"
        "{% set ns.v = x ~ 'é\\n' %}{{ m({'k': [1, 2]}, b=x) if loop.first else -x ** 2 }}{% endfor %}"
        "{% raw %}{{{% endraw %}";
    size_t n = strlen(good);
    char copy[512];
    for (size_t i = 0; i < n; i++)
        for (int kind = 0; kind < 6; kind++) {
            static const char bytes[] = "{}%('";
            str out = STR_INIT;
            muga_error err;
            memcpy(copy, good, n + 1);
            copy[i] = kind < 5 ? bytes[kind] : '\0';
            (void)!render(copy, "{\"l\": [1, 2]}", &out, &err);
            str_release(&out);
        }
}

static void expect_verdict(const char *source, const char *context, bool wanted) {
    template_expression *e;
    json_t *c;
    bool verdict;
    muga_error err;
    assert_ok(json_parse(context, strlen(context), "context", &c, &err), &err);
    assert_ok(template_expression_compile(source, &e, &err), &err);
    assert_ok(template_expression_test(e, c, &verdict, &err), &err);
    assert_int_equal(verdict, wanted);
    template_expression_free(e);
    json_decref(c);
}

static json_t *json_of(const char *text) {
    json_t *v;
    muga_error err;
    assert_ok(json_parse(text, strlen(text), "text", &v, &err), &err);
    return v;
}

/* `source` over `context` gives `value`, as JSON. */
static void expect_json(const char *source, const char *context, const char *value) {
    template_expression *e;
    muga_error err;
    json_t *c = json_of(context), *got, *wanted = json_of(value);
    assert_ok(template_expression_compile(source, &e, &err), &err);
    assert_ok(template_expression_value(e, c, &got, &err), &err);
    assert_true(json_equal(got, wanted));
    template_expression_free(e);
    json_decref(got);
    json_decref(wanted);
    json_decref(c);
}

static void test_values_of_expressions(void **state) {
    (void)state;
    const char *context = "{\"a\": {\"x\": 2, \"y\": [1, \"q\\\"\u00e9\"]}, \"k\": \"x\"}";
    expect_json("a[k] * 3 - 0.5", context, "5.5");
    expect_json("a.y", context, "[1, \"q\\\"\u00e9\"]");
    expect_json("{'n': a.x, 'none': none, 'yes': a.x > 1}", context, "{\"n\": 2, \"none\": null, \"yes\": true}");
    expect_json("a.z if a.z is defined else a.y | length", context, "2");
    template_expression *e;
    muga_error err;
    json_t *c = json_of(context), *got;
    assert_ok(template_expression_compile("b.c", &e, &err), &err);
    assert_status(template_expression_value(e, c, &got, &err), MUGA_E_INPUT, &err, "'b' is undefined");
    template_expression_free(e);
    assert_ok(template_expression_compile("a.z", &e, &err), &err);
    assert_status(template_expression_value(e, c, &got, &err), MUGA_E_INPUT, &err, "z");
    template_expression_free(e);
    assert_ok(template_expression_compile("1e308 * 10", &e, &err), &err);
    assert_status(template_expression_value(e, c, &got, &err), MUGA_E_INPUT, &err, "");
    template_expression_free(e);
    json_decref(c);
}

static void test_manifest_expressions(void **state) {
    (void)state;
    template_expression *e;
    muga_error err;
    expect_verdict("arguments.amount > 500", "{\"arguments\": {\"amount\": 501}}", true);
    expect_verdict("arguments.amount > 500 and state.ok is not none",
                   "{\"arguments\": {\"amount\": 501}, \"state\": {\"ok\": null}}", false);
    expect_verdict("name | lower == 'x'", "{\"name\": \"X\"}", true);
    assert_status(template_expression_compile("a >", &e, &err), MUGA_E_INPUT, &err, "expected an expression");
    assert_status(template_expression_compile("a b", &e, &err), MUGA_E_INPUT, &err, "unexpected");
    bool verdict;
    json_t *c = json_object();
    assert_ok(template_expression_compile("range(3)", &e, &err), &err);
    assert_status(template_expression_test(e, c, &verdict, &err), MUGA_E_INPUT, &err, "calls are not allowed");
    template_expression_free(e);
    json_decref(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_white_space),
                                       cmocka_unit_test(test_scopes),
                                       cmocka_unit_test(test_operators),
                                       cmocka_unit_test(test_filters),
                                       cmocka_unit_test(test_errors_name_line_and_cause),
                                       cmocka_unit_test(test_hostile_templates_end_by_budget),
                                       cmocka_unit_test(test_names_looked_through_are_charged),
                                       cmocka_unit_test(test_deep_sources_are_refused),
                                       cmocka_unit_test(test_broken_sources_never_crash),
                                       cmocka_unit_test(test_manifest_expressions),
                                       cmocka_unit_test(test_values_of_expressions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
