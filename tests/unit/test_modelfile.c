/* Would break: a Modelfile that Ollama's users have is misread, says something that is silently dropped, or is refused
 * without its line; what `muga show --modelfile` writes makes another model than the one it was written from. */
#include "base/mem.h"
#include "hub/hub.h"
#include "hub/modelfile.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static modelfile parse(const char *text) {
    modelfile m;
    muga_error err;
    assert_ok(modelfile_parse(text, strlen(text), "Modelfile", &m, &err), &err);
    return m;
}

static void refuse_n(const char *text, size_t n, const char *part) {
    modelfile m;
    muga_error err = {0};
    assert_status(modelfile_parse(text, n, "Modelfile", &m, &err), MUGA_E_INPUT, &err, part);
    modelfile_release(&m);
}

static void refuse(const char *text, const char *part) {
    refuse_n(text, strlen(text), part);
}

static const char *parameter(const modelfile *m, const char *name) {
    static char text[200];
    str s = STR_INIT;
    json_write(json_object_get(m->parameters, name), &s);
    snprintf(text, sizeof text, "%s", str_get(&s));
    str_release(&s);
    return text;
}

static void test_all_of_it(void **state) {
    (void)state;
    modelfile m = parse("# a model for the shop\n"
                        "\n"
                        "FROM llama3.2:1b\n"
                        "  parameter temperature 0.25\n"
                        "PARAMETER num_ctx 4096\n"
                        "PARAMETER stop \"<|im_end|>\"\n"
                        "PARAMETER stop </s>\n"
                        "PARAMETER stop \"\n\"\n"
                        "PARAMETER use_mmap true\n"
                        "TEMPLATE \"\"\"{% for m in messages %}{{ m.content }}\n{% endfor %}\"\"\"\n"
                        "System \"\"\"\n  You are \"Tiny\".\n# no comment\n\"\"\"   \n"
                        "ADAPTER ./a.gguf:0.5\n"
                        "LICENSE \"\"\"one\"\"\"\n"
                        "LICENSE two\n"
                        "MESSAGE user Is Toronto in Canada?\n"
                        "MESSAGE assistant \"yes\"\n"
                        "REQUIRES 0.14.0\n");
    assert_string_equal(m.from, "llama3.2:1b");
    assert_string_equal(parameter(&m, "temperature"), "0.25");
    assert_string_equal(parameter(&m, "num_ctx"), "4096");
    assert_string_equal(parameter(&m, "stop"), "[\"<|im_end|>\",\"</s>\",\"\\n\"]");
    assert_string_equal(parameter(&m, "use_mmap"), "true");
    assert_string_equal(m.template, "{% for m in messages %}{{ m.content }}\n{% endfor %}");
    assert_string_equal(m.system, "\n  You are \"Tiny\".\n# no comment\n");
    assert_int_equal(m.n_adapters, 1);
    assert_string_equal(m.adapters[0].from, "./a.gguf");
    assert_true(m.adapters[0].scale > 0.49f && m.adapters[0].scale < 0.51f);
    assert_int_equal(json_array_size(m.license), 2);
    assert_string_equal(json_string_value(json_array_get(m.license, 1)), "two");
    assert_int_equal(json_array_size(m.messages), 2);
    assert_string_equal(json_get_string(json_array_get(m.messages, 0), "content"), "Is Toronto in Canada?");
    assert_string_equal(m.requires, "0.14.0");
    assert_int_equal(m.system_line, 13);
    modelfile_release(&m);
}

static void test_quotes_and_ends_of_lines(void **state) {
    (void)state;
    static const struct {
        const char *value, *means;
    } cases[] = {{"plain words", "plain words"},
                 {"  blanks around  \t", "blanks around"},
                 {"\"  kept  \"", "  kept  "},
                 {"\"a \"b\" c\"", "a \"b\" c"},
                 {"\"\"", ""},
                 {"\"\"\"\"\"\"", ""},
                 {"\"\"\"a\"\"\"\"", "a\""},
                 {"\"over\ntwo lines\"", "over\ntwo lines"},
                 {"\"\"\"x\"\"\" y\"\"\"", "x\"\"\" y"},
                 {"he said \"no", "he said \"no"},
                 {"# not a comment", "# not a comment"},
                 {"\\n stays", "\\n stays"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        static const char *const ends[] = {"", "\n", "\n\n# end\n"};
        for (size_t k = 0; k < ARRAY_LEN(ends); k++) {
            char text[200];
            snprintf(text, sizeof text, "FROM x\nSYSTEM %s%s", cases[i].value, ends[k]);
            modelfile m = parse(text);
            assert_string_equal(m.system, cases[i].means);
            modelfile_release(&m);
        }
    }
    modelfile m = parse("\xef\xbb\xbf"
                        "FROM x\r\nSYSTEM \"\"\"a\r\nb\"\"\"\r\n"); /* a file from Windows */
    assert_string_equal(m.system, "a\nb");
    modelfile_release(&m);
    m = parse("FROM x\nSYSTEM \"\"\"a\r\nb\"\"\"\n"); /* one line ends so: it is part of the text */
    assert_string_equal(m.system, "a\r\nb");
    modelfile_release(&m);
}

static void test_what_is_wrong_is_said_with_its_line(void **state) {
    (void)state;
    refuse("", "Modelfile:1: no FROM");
    refuse("# only a comment\n", "no FROM");
    refuse("FROM", "Modelfile:1: FROM has no value");
    refuse("FROM \"\"", "names nothing");
    refuse("FROM a\nFROM b\n", "Modelfile:2: a second FROM; the first is on line 1");
    refuse("FROM a\nSYSTEM \"\"\"b\nc\"\"\"\n\nSYSTEM d", "Modelfile:5: a second SYSTEM; the first is on line 2");
    refuse("FROM a\nADAPTER b\nADAPTER c\n", "Modelfile:3: a second ADAPTER");
    refuse("FROM a\nADAPTER b:1e999\n", "Modelfile:2: ADAPTER");
    refuse("FROM a\nADAPTER :1\n", "Modelfile:2: ADAPTER names nothing");
    refuse("FROM a\nSYSTEM\n\"b\"\n", "Modelfile:2: SYSTEM has no value");
    refuse("FROM a\n\nSYSTEM \"\"\"b\n\nc\n", "Modelfile:3: the value of SYSTEM begins with three quotes");
    refuse("FROM a\nSYSTEM \"b\nc\n", "Modelfile:2: the value of SYSTEM begins with a quote");
    refuse("FROM a\nSYSTEM \"\"\"b\"\"\" # comment\n", "Modelfile:2: ");
    refuse("FROM a\nYou are a parrot.\n", "Modelfile:2: 'You' is no instruction");
    refuse("FROM a\nPARAMETER\n", "Modelfile:2: PARAMETER has no name");
    refuse("FROM a\nPARAMETER top_k\n", "Modelfile:2: top_k has no value");
    refuse("FROM a\nPARAMETER temprature 1\n", "Modelfile:2: there is no parameter 'temprature'; is it temperature?");
    refuse("FROM a\nPARAMETER frobnication 1\n", "there is no parameter 'frobnication'; there are");
    refuse("FROM a\nPARAMETER top_k 1\nPARAMETER top_k 2\n", "Modelfile:3: parameter top_k is given twice");
    refuse("FROM a\nPARAMETER top_p 1.5\n", "top_p is a number from 0, at most 1");
    refuse("FROM a\nPARAMETER repeat_penalty 0\n", "repeat_penalty is a number above 0");
    refuse("FROM a\nPARAMETER mirostat 2\n", "mirostat: muga has only 0");
    refuse("FROM a\nPARAMETER tfs_z 0.5\n", "tfs_z: muga has only 1");
    refuse("FROM a\nPARAMETER num_ctx 1e3\n", "num_ctx is a whole number");
    refuse("FROM a\nPARAMETER num_ctx 99999999999999999999\n", "num_ctx is a whole number");
    refuse("FROM a\nPARAMETER temperature nan\n", "temperature is a number");
    refuse("FROM a\nPARAMETER temperature 0x10\n", "temperature is a number");
    refuse("FROM a\nPARAMETER temperature 1e308\n", "temperature is a number");
    refuse("FROM a\nPARAMETER use_mmap maybe\n", "use_mmap is true or false");
    refuse("FROM a\nPARAMETER stop \"\"\n", "stop is a text of 1 to 1024 bytes");
    refuse("FROM a\nMESSAGE tool x\n", "Modelfile:2: MESSAGE has a role");
    refuse("FROM a\nMESSAGE user\n", "MESSAGE has no value");
    refuse("FROM a\nLICENSE \"\"\n", "LICENSE is empty");
    refuse("FROM a\nREQUIRES soon\n", "REQUIRES is a version of Ollama");
    refuse("FROM a\nREQUIRES 99.1.0\n", "Modelfile:2: REQUIRES 99.1.0: this muga reads Modelfiles as Ollama");
    refuse("FROM a\nRENDERER qwen3\n", "Modelfile:2: RENDERER isn't here");
    refuse("FROM a\nTEMPLATE {% if %}\n", "Modelfile:2: TEMPLATE: ");
    refuse("\xff\xfe"
           "F",
           "UTF-16");
    refuse("FROM a\nSYSTEM \xc3\x28\n", "Modelfile:2: this is not UTF-8");
    refuse_n("FROM a\n\nSYSTEM b\0c", 19, "Modelfile:3: a byte 0");
}

static void test_a_go_template_is_refused_with_advice(void **state) {
    (void)state;
    refuse("FROM a\nTEMPLATE \"\"\"<s>\n{{ if .System }}{{ .System }}{{ end }}\"\"\"\n",
           "Modelfile:3: TEMPLATE: '{{ if .System }}' is Go's template language, and muga's is Jinja: write {% if");
    refuse("FROM a\nTEMPLATE {{ .Prompt }}\n", "write {% for m in messages %}{{ m.content }}{% endfor %}");
    refuse("FROM a\nTEMPLATE {{- .Response -}}\n", "add_generation_prompt");
    refuse("FROM a\nTEMPLATE {{ range .Messages }}\n", "write {% for m in messages %}...");
    refuse("FROM a\nTEMPLATE {{- range $i, $_ := .Messages }}\n", "Go's template language");
    refuse("FROM a\nTEMPLATE x{{ $last := 1 }}\n", "{% set x");
    refuse("FROM a\nTEMPLATE x{{ template \"y\" . }}\n", "{% macro");
    refuse("FROM a\nTEMPLATE x{{/* c */}}\n", "{# ... #}");
    static const char *const jinja[] = {"{{ range(3) | length }}",
                                        "{{ template if x else y }}",
                                        "{{ end }}",
                                        "{# {{ .Prompt }} #}x",
                                        "{{ messages[0].content }}",
                                        "{{- bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"};
    for (size_t i = 0; i < ARRAY_LEN(jinja); i++) {
        char text[200];
        snprintf(text, sizeof text, "FROM a\nTEMPLATE %s\n", jinja[i]);
        modelfile m = parse(text);
        assert_string_equal(m.template, jinja[i]);
        modelfile_release(&m);
    }
}

/* White space to the end of a file of 4 MB, in a value that never closes: looked at once. */
static void test_sizes_are_bounded(void **state) {
    (void)state;
    size_t n = MODELFILE_MAX_BYTES;
    char *text = malloc(n + 1);
    assert_non_null(text);
    memset(text, '\n', n + 1);
    memcpy(text, "FROM a\nSYSTEM \"\"\"b", 18);
    refuse_n(text, n, "Modelfile:2: the value of SYSTEM");
    refuse_n(text, n + 1, "longer than 4 MiB");
    free(text);
    str many = STR_INIT;
    str_append_s(&many, "FROM a\n");
    for (int i = 0; i <= MODELFILE_MAX_STOPS; i++)
        str_printf(&many, "PARAMETER stop %d\n", i);
    refuse(str_get(&many), "Modelfile:66: more than 64 stop texts");
    str_clear(&many);
    str_append_s(&many, "FROM a\n");
    for (int i = 0; i <= MODELFILE_MAX_MESSAGES; i++)
        str_append_s(&many, "MESSAGE user a\n");
    refuse(str_get(&many), "more than 1024 messages");
    str_release(&many);
}

/* What is written reads back, whatever the texts are; what can't be said is told. */
static void test_writing_reads_back(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool can_be_said;
    } cases[] = {{"plain", true},       {" blanks ", true},   {"\"", true},
                 {"\"\"", true},        {"\"\"\"", true},     {"a\nb\n", true},
                 {"\n\n", true},        {"a\"\nb", true},     {"# x", true},
                 {"a\"\"\"\nb", false}, {"\"\"\"\nb", false}, {"a\"\"\" \t\n b", false},
                 {"\\\"x\\\"", true},   {"a\r\nb", true},     {"\xc3\xa9\xe2\x82\xac", true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        hub_model m = {.name = (char *)(uintptr_t) "x:latest",
                       .sha256 = "00",
                       .parameters = json_object(),
                       .system = (char *)(uintptr_t)cases[i].text,
                       .messages = json_array(),
                       .license = json_array()};
        modelfile back;
        str text = STR_INIT;
        bool whole;
        muga_error err = {0};
        modelfile_write(&m, &text, &whole);
        assert_ok(modelfile_parse(str_get(&text), text.len, "Modelfile", &back, &err), &err);
        if (whole != cases[i].can_be_said)
            fail_msg("case %zu: %s", i, str_get(&text));
        if (whole)
            assert_string_equal(back.system, cases[i].text);
        else
            assert_null(back.system);
        modelfile_release(&back);
        str_release(&text);
        json_decref(m.parameters);
        json_decref(m.messages);
        json_decref(m.license);
    }
}

static void of_json(const char *body, const char *part) {
    json_t *v;
    modelfile m;
    muga_error err = {0};
    assert_ok(json_parse(body, strlen(body), "body", &v, &err), &err);
    muga_status st = modelfile_of_json(v, &m, &err);
    if (part)
        assert_status(st, MUGA_E_INPUT, &err, part);
    else
        assert_ok(st, &err);
    modelfile_release(&m);
    json_decref(v);
}

#define HEX "c1b50ee825856761ad9f7519ea74a095f0c6d397c79606438e7ef53c343112bc"

static void test_requests_to_create(void **state) {
    (void)state;
    of_json("{\"from\":\"a\",\"system\":null,\"parameters\":{\"stop\":\"x\",\"seed\":1},\"license\":\"MIT\"}", NULL);
    of_json("{\"files\":{\"a.gguf\":\"sha256:" HEX "\"},\"adapters\":{\"b.gguf\":\"sha256:" HEX "\"}}", NULL);
    of_json("{\"from\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"license\":[\"a\",\"b\"]}", NULL);
    of_json("{}", "from names the model");
    of_json("[]", "from names the model");
    of_json("{\"from\":7}", "from is a text");
    of_json("{\"from\":\"a\\u0000b\"}", "from is a text");
    of_json("{\"from\":\"a\",\"files\":{}}", "give one");
    of_json("{\"files\":{\"config.json\":\"sha256:" HEX "\",\"model.safetensors\":\"sha256:" HEX "\"}}", NULL);
    of_json("{\"files\":{\"a.gguf\":\"sha256:" HEX "\",\"b.gguf\":\"sha256:" HEX "\"}}", "of one file");
    of_json("{\"files\":{\"../a\":\"sha256:../../etc\",\"a.safetensors\":\"sha256:" HEX "\"}}", "files: a digest is");
    of_json("{\"files\":{}}", "of one file");
    of_json("{\"files\":{\"a.gguf\":\"sha256:../../etc/passwd\"}}", "files: a digest is");
    of_json("{\"from\":\"a\",\"adapters\":{\"a\":7}}", "adapters: a digest is");
    of_json("{\"from\":\"a\",\"template\":\"{{ .Prompt }}\"}", "TEMPLATE: '{{ .Prompt }}' is Go's");
    of_json("{\"from\":\"a\",\"parameters\":{\"top_q\":1}}", "is it top_p?");
    of_json("{\"from\":\"a\",\"parameters\":{\"stop\":[1]}}", "stop is a text");
    of_json("{\"from\":\"a\",\"parameters\":{\"seed\":1.5}}", "seed is a whole number");
    of_json("{\"from\":\"a\",\"parameters\":[]}", "parameters is an object");
    of_json("{\"from\":\"a\",\"license\":[7]}", "license is a text");
    of_json("{\"from\":\"a\",\"messages\":[{\"role\":\"tool\",\"content\":\"\"}]}", "messages[0]");
    of_json("{\"from\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"\",\"images\":[]}]}", "messages[0]");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_it),
        cmocka_unit_test(test_quotes_and_ends_of_lines),
        cmocka_unit_test(test_what_is_wrong_is_said_with_its_line),
        cmocka_unit_test(test_a_go_template_is_refused_with_advice),
        cmocka_unit_test(test_sizes_are_bounded),
        cmocka_unit_test(test_writing_reads_back),
        cmocka_unit_test(test_requests_to_create),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
