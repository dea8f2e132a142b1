/* If this fails, what a model wrote as a tool call reaches a caller as something else: a call is missed or half, text
 * that only spells a trigger becomes a call, a tool is called that nobody offered, or what is read depends on how the
 * text was cut on its way. */
#include "support/support.h"

#include "base/mem.h"
#include "llm/toolcall.h"
#include "model/template.h"
#include "os/os.h"

#include <stdio.h>

static const char *const tools[] = {"get_weather", "lookup_order", "ping"};
#define WEATHER "{\"city\": \"Chennai } ] \\\"x\\\\\", \"days\": [1, {\"a\": \"\xE0\xAE\x9A\"}]}"
#define ORDER "{\"order_id\": \"A-17/\xCE\xB2\", \"limit\": 5}"

static bool always(const void *ctx, const char *name, size_t n) {
    (void)ctx;
    (void)name;
    return n > 0;
}

/* ---- one reading ---- */

typedef struct reading {
    str content, reasoning, arguments[8]; /* as the events had them */
    unsigned n_begun, n_ended;
    char ids[8][16];
    bool in_call;
    /* what was taken at the end */
    str whole_content, whole_reasoning;
    llm_call *calls;
    size_t n_calls;
    muga_status st;
    muga_error err;
} reading;

static bool on_event(void *ctx, const llm_event *e) {
    reading *r = ctx;
    switch (e->kind) {
    case LLM_EVENT_CONTENT: str_append(&r->content, e->p, e->n); break;
    case LLM_EVENT_REASONING: str_append(&r->reasoning, e->p, e->n); break;
    case LLM_EVENT_CALL_BEGIN:
        assert_false(r->in_call);
        assert_int_equal(e->call, r->n_begun);
        assert_int_equal(strlen(e->id), TOOLCALL_ID_BYTES);
        r->in_call = true;
        snprintf(r->ids[r->n_begun], sizeof r->ids[0], "%s", e->id);
        for (unsigned i = 0; i < r->n_begun; i++)
            assert_string_not_equal(r->ids[i], e->id);
        r->n_begun++;
        break;
    case LLM_EVENT_ARGUMENTS:
        assert_true(r->in_call && e->call + 1 == r->n_begun);
        str_append(&r->arguments[e->call], e->p, e->n);
        break;
    case LLM_EVENT_CALL_END:
        assert_true(r->in_call);
        r->in_call = false;
        r->n_ended++;
        break;
    }
    return true;
}

static void reading_release(reading *r) {
    str_release(&r->content);
    str_release(&r->reasoning);
    for (size_t i = 0; i < ARRAY_LEN(r->arguments); i++)
        str_release(&r->arguments[i]);
    str_release(&r->whole_content);
    str_release(&r->whole_reasoning);
    toolcall_calls_free(r->calls, r->n_calls);
}

/* Cut after the first `cut` bytes; 0: after each byte; SIZE_MAX: nowhere. */
static reading read_all(toolcall_parser_options o, const char *text, size_t n, size_t cut) {
    reading r = {0};
    toolcall_parser *p;
    bool more = true;
    o.on_event = on_event;
    o.on_event_ctx = &r;
    o.names = tools;
    o.n_names = ARRAY_LEN(tools);
    assert_ok(toolcall_parser_new(&o, &p, &r.err), &r.err);
    for (size_t at = 0; at < n && !r.st && more;) {
        size_t step = cut == 0 ? 1 : at < cut ? MIN(cut, n) : n - at;
        char *exact = mem_copy_bytes(text + at, step); /* so that a sanitizer sees a byte too many */
        r.st = toolcall_parser_feed(p, exact, step, &more, &r.err);
        free(exact);
        at += step;
    }
    if (!r.st)
        r.st = toolcall_parser_end(p, &r.err);
    muga_error err = {0};
    assert_ok(toolcall_parser_take(p, &r.whole_content, &r.whole_reasoning, &r.calls, &r.n_calls, &err), &err);
    toolcall_parser_free(p);
    assert_int_equal(r.n_ended, r.n_calls);
    assert_true(r.content.len == r.whole_content.len && r.reasoning.len == r.whole_reasoning.len);
    for (size_t i = 0; i < r.n_calls; i++) {
        json_t *streamed = NULL;
        assert_ok(json_parse(str_get(&r.arguments[i]), r.arguments[i].len, "streamed", &streamed, &err), &err);
        assert_true(json_equal(streamed, r.calls[i].value));
        assert_string_equal(r.ids[i], r.calls[i].id);
        json_decref(streamed);
    }
    return r;
}

static void assert_same(const reading *a, const reading *b) {
    assert_int_equal(a->st, b->st);
    assert_string_equal(str_get(&a->content), str_get(&b->content));
    assert_string_equal(str_get(&a->reasoning), str_get(&b->reasoning));
    assert_int_equal(a->n_begun, b->n_begun);
    assert_int_equal(a->n_calls, b->n_calls);
    for (unsigned i = 0; i < a->n_begun; i++)
        assert_string_equal(str_get(&a->arguments[i]), str_get(&b->arguments[i]));
}

/* ---- texts in a family's form ---- */

static void write_call(str *out, const toolcall_form *f, const char *name, const char *arguments) {
    str_append_s(out, f->before);
    if (f->shape == TOOLCALL_OBJECT)
        toolcall_object_head(out);
    str_append_s(out, name);
    if (f->shape == TOOLCALL_OBJECT)
        toolcall_object_middle(f, out);
    else
        str_append_s(out, f->middle);
    str_append_s(out, arguments);
    if (f->shape == TOOLCALL_OBJECT)
        str_append_c(out, '}');
    str_append_s(out, f->after);
}

static void write_answer(str *out, const toolcall_form *f, const char *content) {
    if (!f->at_start) {
        str_append_s(out, content);
        str_append_s(out, f->trigger);
    }
    str_append_s(out, f->start);
    write_call(out, f, tools[0], WEATHER);
    if (f->separator) {
        str_append_s(out, f->separator);
        write_call(out, f, tools[1], ORDER);
        str_append_s(out, f->separator);
        write_call(out, f, tools[2], "{}");
    }
    str_append_s(out, f->end);
}

typedef struct sample {
    const toolcall_family *family;
    toolcall_form forms[TOOLCALL_FORMS];
    size_t n_forms, i_form;
    str text;
    toolcall_parser_options o;
} sample;

static void each_sample(const char *content, void (*check)(const sample *s)) {
    size_t n_families;
    const toolcall_family *all = toolcall_families(&n_families);
    for (size_t i = 0; i < n_families; i++)
        for (int controls = 0; controls < 2; controls++)
            for (size_t k = 0; k < TOOLCALL_FORMS && all[i].form[k].trigger; k++) {
                arena a;
                arena_init(&a, 0);
                sample s = {.family = &all[i], .i_form = k};
                for (; s.n_forms < TOOLCALL_FORMS && all[i].form[s.n_forms].trigger; s.n_forms++)
                    assert_true(toolcall_bind(&all[i].form[s.n_forms], controls ? always : NULL, NULL, &a,
                                              &s.forms[s.n_forms]));
                write_answer(&s.text, &s.forms[k], content);
                s.o = (toolcall_parser_options){
                    .forms = s.forms, .n_forms = s.n_forms, .think_open = "<think>", .think_close = "</think>"};
                check(&s);
                str_release(&s.text);
                arena_release(&a);
            }
}

static void check_calls(const sample *s) {
    reading r = read_all(s->o, s->text.data, s->text.len, SIZE_MAX);
    if (r.st)
        print_error("%s: %s\n%s\n", s->family->name, r.err.message, s->text.data);
    assert_int_equal(r.st, MUGA_OK);
    assert_int_equal(r.n_calls, s->forms[s->i_form].separator ? 3 : 1);
    for (size_t i = 0; i < r.n_calls; i++)
        assert_string_equal(r.calls[i].name, tools[i]);
    assert_string_equal(str_get(&r.arguments[0]), WEATHER);
    assert_string_equal(r.calls[0].arguments,
                        "{\"city\":\"Chennai } ] \\\"x\\\\\",\"days\":[1,{\"a\":\"\xE0\xAE\x9A\"}]}");
    reading_release(&r);
}

static void check_content(const sample *s) {
    reading r = read_all(s->o, s->text.data, s->text.len, SIZE_MAX);
    assert_string_equal(str_get(&r.content), s->forms[s->i_form].at_start ? "" : "I'll look <tool ] [ { that up.");
    reading_release(&r);
    check_calls(s);
}

static void check_cuts(const sample *s) {
    reading whole = read_all(s->o, s->text.data, s->text.len, SIZE_MAX);
    for (size_t cut = 0; cut < s->text.len; cut++) {
        reading r = read_all(s->o, s->text.data, s->text.len, cut);
        assert_same(&whole, &r);
        reading_release(&r);
    }
    reading_release(&whole);
}

static void check_truncation(const sample *s) {
    size_t n_before = 0;
    for (size_t n = 0; n <= s->text.len; n++) {
        reading r = read_all(s->o, s->text.data, n, SIZE_MAX);
        assert_true(r.n_calls >= n_before && r.n_begun <= r.n_calls + 1);
        for (size_t i = 0; i < r.n_calls; i++)
            assert_string_equal(r.calls[i].name, tools[i]);
        if (r.n_begun > r.n_calls) /* half a call is never taken for an answer */
            assert_int_equal(r.st, MUGA_E_INPUT);
        n_before = r.n_calls;
        reading_release(&r);
    }
}

static void test_calls_of_every_family_are_read(void **state) {
    (void)state;
    each_sample("", check_calls);
    each_sample("I'll look <tool ] [ { that up.\n\n", check_content);
}

static void test_how_the_text_was_cut_makes_no_difference(void **state) {
    (void)state;
    each_sample("I'll look <tool_cal \xE0\xAE\x9A\xE0\xAF\x86 up.\n ", check_cuts);
    each_sample("<think>hm <tool_call> \xE0\xAE\x9A</think>\n\nWell.\n", check_cuts);
}

static void test_a_truncated_answer_has_no_half_call(void **state) {
    (void)state;
    each_sample("Let me see. ", check_truncation);
}

/* ---- what isn't a call ---- */

static toolcall_parser_options options_of(const char *family, bool controls, arena *a, toolcall_form *forms) {
    const toolcall_family *f = toolcall_family_named(family);
    assert_non_null(f);
    size_t n = 0;
    for (; n < TOOLCALL_FORMS && f->form[n].trigger; n++)
        assert_true(toolcall_bind(&f->form[n], controls ? always : NULL, NULL, a, &forms[n]));
    return (toolcall_parser_options){.forms = forms, .n_forms = n};
}

static reading read_text(toolcall_parser_options o, const char *text) {
    reading whole = read_all(o, text, strlen(text), SIZE_MAX), r = read_all(o, text, strlen(text), 0);
    assert_same(&whole, &r);
    reading_release(&whole);
    return r;
}

static void test_spelling_a_control_token_is_text(void **state) {
    (void)state;
    arena a;
    arena_init(&a, 0);
    toolcall_form forms[TOOLCALL_FORMS];
    reading r = read_text(options_of("mistral", true, &a, forms),
                          "[TOOL_CALLS][{\"name\": \"ping\", \"arguments\": {}}] and \xFF<s>\xFF more");
    assert_ok(r.st, &r.err);
    assert_int_equal(r.n_calls, 0);
    assert_string_equal(str_get(&r.content), "[TOOL_CALLS][{\"name\": \"ping\", \"arguments\": {}}] and  more");
    reading_release(&r);
    arena_release(&a);
}

static void test_what_is_no_call_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *family, *text, *why;
    } cases[] = {
        {"hermes", "<tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call>", "no tool \"rm\""},
        {"hermes", "<tool_call>\n{\"name\": \"pin\\u0067\", \"arguments\": {}}\n</tool_call>", "no tool"},
        {"hermes", "<tool_call> hello", "should begin"},
        {"hermes", "<tool_call>", "isn't finished"},
        {"hermes", "<tool_call>{\"name\": \"ping\"}</tool_call>", "no arguments"},
        {"hermes", "<tool_call>{\"arguments\": {}}</tool_call>", "names no tool"},
        {"hermes", "<tool_call>{\"name\": \"ping\", \"arguments\": \"{}\"}</tool_call>", "no JSON object"},
        {"hermes", "<tool_call>{\"name\": \"ping\", \"arguments\": [1]}</tool_call>", "no JSON object"},
        {"hermes", "<tool_call>{\"name\": \"ping\", \"arguments\": {\"a\": 1, \"a\": 2}}</tool_call>", "call 1"},
        {"hermes", "<tool_call>{\"name\": \"ping\", \"arguments\": {\"a\": ]}}</tool_call>", "call 1"},
        {"hermes", "<tool_call>{\"name\": \"ping\", \"arguments\": {}, \"arguments\": {}}", "twice"},
        {"hermes", "<tool_call>{\"name\": \"ping\", \"name\": \"ping\"}", "twice"},
        {"hermes", "<tool_call>{\"name\": 5}", "names is no tool"},
        {"mistral-args", "[TOOL_CALLS]ping{}", "between"},
        {"deepseek-v3.1",
         "<\xEF\xBD\x9Ctool\xE2\x96\x81"
         "calls\xE2\x96\x81"
         "begin\xEF\xBD\x9C>ping{}",
         "should begin"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        arena a;
        arena_init(&a, 0);
        toolcall_form forms[TOOLCALL_FORMS];
        reading r = read_text(options_of(cases[i].family, false, &a, forms), cases[i].text);
        assert_status(r.st, MUGA_E_INPUT, &r.err, cases[i].why);
        assert_int_equal(r.n_calls, 0);
        reading_release(&r);
        arena_release(&a);
    }
}

static void test_other_spellings_are_read_too(void **state) {
    (void)state;
    static const struct {
        const char *family, *text;
    } cases[] = {
        {"hermes", "<tool_call>{\"arguments\":{\"a\":1},\"id\":\"x\",\"name\":\"ping\"}</tool_call>"},
        {"llama", " {\n \"name\" : \"ping\", \"parameters\": {\"a\": 1} }"},
        {"llama", "{\"name\":\"ping\",\"parameters\":{\"a\":1}}"},
        {"generic", "{\"name\": \"ping\", \"arguments\": {\"a\": 1}, \"note\": [1, \"}\"]}"},
        {"mistral", "[TOOL_CALLS][{\"name\": \"ping\", \"arguments\": {\"a\": 1}, \"id\": \"abcdefghi\"}]"},
        {"mistral-args", "[TOOL_CALLS]ping[CALL_ID]abcdefghi[ARGS]{\"a\": 1}"},
        {"phi-4-mini", "<|tool_call|>[{\"type\": \"function\", \"name\": \"ping\", \"parameters\": {\"a\": 1}}]"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        arena a;
        arena_init(&a, 0);
        toolcall_form forms[TOOLCALL_FORMS];
        reading r = read_text(options_of(cases[i].family, false, &a, forms), cases[i].text);
        if (r.st)
            print_error("%s\n", cases[i].text);
        assert_ok(r.st, &r.err);
        assert_int_equal(r.n_calls, 1);
        assert_string_equal(r.calls[0].arguments, "{\"a\":1}");
        assert_int_equal(r.content.len, 0);
        reading_release(&r);
        arena_release(&a);
    }
}

static void test_text_stays_text(void **state) {
    (void)state;
    static const struct {
        const char *family, *text;
    } cases[] = {{"llama", "The object {\"name\": \"ping\"} is one."},
                 {"llama", "{\"answer\": 42}"},
                 {"generic", " \n"},
                 {"generic", "{"},
                 {"hermes", "<tool_cal"},
                 {"hermes", "a <tool_response> b \n"},
                 {"mistral", "[TOOL_CALL"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        arena a;
        arena_init(&a, 0);
        toolcall_form forms[TOOLCALL_FORMS];
        reading r = read_text(options_of(cases[i].family, false, &a, forms), cases[i].text);
        assert_ok(r.st, &r.err);
        assert_int_equal(r.n_begun, 0);
        assert_string_equal(str_get(&r.content), cases[i].text);
        reading_release(&r);
        arena_release(&a);
    }
}

/* ---- reasoning and stop strings ---- */

static void test_reasoning_is_split_from_the_answer(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool thinking;
        const char *reasoning, *content;
    } cases[] = {
        {"<think>\nso </thin\n</think>\n\nYes. <think>x</think>\n", false, "so </thin", "Yes. <think>x</think>\n"},
        {" so\n</think>Yes", true, "so", "Yes"},
        {"\n<think></think>\n\nYes", false, "", "Yes"},
        {"<think>for ever \n", false, "for ever", ""},
        {"<thin", false, "", "<thin"},
        {"No <think>", false, "", "No <think>"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        toolcall_parser_options o = {.think_open = "<think>", .think_close = "</think>", .thinking = cases[i].thinking};
        reading r = read_text(o, cases[i].text);
        assert_ok(r.st, &r.err);
        assert_string_equal(str_get(&r.reasoning), cases[i].reasoning);
        assert_string_equal(str_get(&r.content), cases[i].content);
        reading_release(&r);
    }
}

static void test_stop_strings_end_the_content_alone(void **state) {
    (void)state;
    arena a;
    arena_init(&a, 0);
    toolcall_form forms[TOOLCALL_FORMS];
    static const char *const stop[] = {"END", "ENDING", "\"city\""};
    toolcall_parser_options o = options_of("hermes", false, &a, forms);
    o.stop = stop;
    o.n_stop = ARRAY_LEN(stop);
    reading r = read_text(o, "One, two. EN ENDING more <tool_call>");
    assert_ok(r.st, &r.err);
    assert_string_equal(str_get(&r.content), "One, two. EN ");
    reading_release(&r);
    r = read_text(o, "<tool_call>\n{\"name\": \"ping\", \"arguments\": {\"city\": \"END\"}}\n</tool_call>");
    assert_ok(r.st, &r.err);
    assert_int_equal(r.n_calls, 1);
    reading_release(&r);
    arena_release(&a);
}

static bool cancel_at_arguments(void *ctx, const llm_event *e) {
    *(unsigned *)ctx += 1;
    return e->kind != LLM_EVENT_ARGUMENTS;
}

static void test_a_cancelled_call_is_not_handed_over(void **state) {
    (void)state;
    arena a;
    arena_init(&a, 0);
    toolcall_form forms[TOOLCALL_FORMS];
    unsigned n_events = 0;
    toolcall_parser_options o = options_of("hermes", false, &a, forms);
    o.names = tools;
    o.n_names = ARRAY_LEN(tools);
    o.on_event = cancel_at_arguments;
    o.on_event_ctx = &n_events;
    const char *text = "<tool_call>\n{\"name\": \"ping\", \"arguments\": {}}\n</tool_call> and more";
    toolcall_parser *p;
    muga_error err = {0};
    bool more;
    str content, reasoning;
    llm_call *calls;
    size_t n_calls;
    assert_ok(toolcall_parser_new(&o, &p, &err), &err);
    assert_ok(toolcall_parser_feed(p, text, 46, &more, &err), &err);
    assert_true(!more && toolcall_parser_cancelled(p));
    assert_ok(toolcall_parser_end(p, &err), &err);
    assert_ok(toolcall_parser_take(p, &content, &reasoning, &calls, &n_calls, &err), &err);
    assert_int_equal(n_calls, 0);
    assert_int_equal(n_events, 2);
    toolcall_parser_free(p);
    arena_release(&a);
}

static void test_ids_are_new_to_the_conversation(void **state) {
    (void)state;
    toolcall_form forms[TOOLCALL_FORMS];
    arena a;
    arena_init(&a, 0);
    toolcall_parser_options o = options_of("hermes", false, &a, forms);
    const char *text = "<tool_call>\n{\"name\": \"ping\", \"arguments\": {}}\n</tool_call>";
    reading r = read_text(o, text);
    json_t *messages = json_pack("[{s:s, s:[{s:s}]}]", "role", "assistant", "tool_calls", "id", r.calls[0].id);
    o.messages = messages;
    reading other = read_text(o, text);
    assert_string_not_equal(r.calls[0].id, other.calls[0].id);
    json_decref(messages);
    reading_release(&r);
    reading_release(&other);
    arena_release(&a);
}

/* ---- families and their templates ---- */

static const toolcall_family *family_of_text(const char *text) {
    return toolcall_family_of(span_of_string(text));
}

static void test_families_are_known_by_their_template(void **state) {
    (void)state;
    static const struct {
        const char *text, *family;
    } cases[] = {{"<|start_header_id|>ipython {\"name\": .., \"parameters\": ..}", "llama"},
                 {"<|python_tag|> \"parameters\"", "llama"},
                 {"<|start_header_id|> <function=x>{}</function> \"parameters\"", "functionary"},
                 {"<TOOLCALL>[ ]</TOOLCALL> <AVAILABLE_TOOLS>", "nemotron"},
                 {"<|tool|> tools <|/tool|>", "phi-4-mini"},
                 {"<|start_of_role|> <|tool_call|>", "granite"},
                 {"You are a helpful AI assistant named SmolLM <|im_start|>", "smollm2"},
                 {"<|im_start|>", "generic"},
                 {"", "generic"},
                 {"<tool_call><function=f><parameter=p> arguments", "generic"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(family_of_text(cases[i].text)->name, cases[i].family);
    assert_null(toolcall_family_named("nobody"));
}

static char *read_file(const char *path, size_t *n) {
    muga_error err = {0};
    str text = STR_INIT;
    assert_ok(os_read_file(&os_system()->files, path, (size_t)1 << 24, &text, &err), &err);
    *n = text.len;
    return str_take(&text);
}

static void render(const template *t, json_t *messages, bool generate, str *out) {
    muga_error err = {0};
    json_t *context = json_pack("{s:O, s:n, s:n, s:b, s:s, s:s}", "messages", messages, "tools", "documents",
                                "add_generation_prompt", (int)generate, "bos_token", "<s>", "eos_token", "</s>");
    template_limits limits = template_limits_for(context);
    assert_ok(template_render(t, context, 0, &limits, out, &err), &err);
    json_decref(context);
}

/* What a template writes for an assistant's calls, its family reads. */
static void test_what_templates_write_is_read(void **state) {
    (void)state;
    static const struct {
        const char *file, *family;
        size_t n_calls;
    } cases[] = {{"Qwen-Qwen2.5-7B-Instruct", "hermes", 2},
                 {"Qwen-Qwen3-0.6B", "hermes", 2},
                 {"Qwen-QwQ-32B", "hermes", 2},
                 {"ibm-granite-granite-4.1", "hermes", 2},
                 {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek", 2},
                 {"mistralai-Mistral-Nemo-Instruct-2407", "mistral", 2},
                 {"unsloth-mistral-Devstral-Small-2507", "mistral-args", 2},
                 {"mistralai-Ministral-3-14B-Reasoning-2512", "mistral-args", 2},
                 {"Apertus-8B-Instruct", "apertus", 2},
                 {"MiniMax-M1", "minimax", 2},
                 {"Apriel-1.6-15b-Thinker-fixed", "apriel", 2},
                 {"unsloth-Apriel-1.5", "apriel", 2},
                 {"ibm-granite-granite-3.3-2B-Instruct", "granite", 0},
                 {"HuggingFaceTB-SmolLM3-3B", "smollm3", 0},
                 {"GLM-4.6", "generic", 0},
                 {"Qwen3-Coder", "generic", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[256];
        size_t n;
        muga_error err = {0};
        snprintf(path, sizeof path, "conformance/chat_templates/templates/%s.jinja", cases[i].file);
        char *source = read_file(shared_path(path), &n);
        const toolcall_family *f = toolcall_family_of(span_of(source, n));
        if (strcmp(f->name, cases[i].family) != 0)
            print_error("%s is taken for %s\n", cases[i].file, f->name);
        assert_string_equal(f->name, cases[i].family);
        template *t = NULL;
        assert_ok(template_compile(source, n, &t, &err), &err);
        json_t *call_1 = json_pack("{s:s, s:s, s:{s:s, s:{s:s}}}", "id", "abcdefghi", "type", "function", "function",
                                   "name", tools[0], "arguments", "city", "Chennai");
        json_t *call_2 = json_pack("{s:s, s:s, s:{s:s, s:{s:i}}}", "id", "abcdefghj", "type", "function", "function",
                                   "name", tools[1], "arguments", "limit", 5);
        json_t *user = json_pack("[{s:s, s:s}]", "role", "user", "content", "Hi");
        json_t *both = json_pack("[{s:s, s:s}, {s:s, s:s, s:[o, o]}]", "role", "user", "content", "Hi", "role",
                                 "assistant", "content", "", "tool_calls", call_1, call_2);
        str prompt = STR_INIT, text = STR_INIT;
        render(t, user, true, &prompt);
        render(t, both, false, &text);
        size_t same = 0;
        while (same < prompt.len && same < text.len && prompt.data[same] == text.data[same])
            same++;
        for (size_t back = 1; back <= 4; back++) /* both go on with a tag, but not the same */
            if (back <= same && text.data[same - back] == '<')
                same -= back;
        arena a;
        arena_init(&a, 0);
        toolcall_form forms[TOOLCALL_FORMS];
        toolcall_parser_options o = options_of(f->name, false, &a, forms);
        reading r = read_text(o, text.data + same);
        if (r.st || r.n_calls != cases[i].n_calls)
            print_error("%s: %s\n%s\n", cases[i].file, r.err.message, text.data + same);
        assert_int_equal(r.n_calls, cases[i].n_calls);
        for (size_t k = 0; k < r.n_calls; k++) {
            assert_string_equal(r.calls[k].name, tools[k]);
            assert_string_equal(r.calls[k].arguments, k ? "{\"limit\":5}" : "{\"city\":\"Chennai\"}");
        }
        reading_release(&r);
        arena_release(&a);
        str_release(&prompt);
        str_release(&text);
        json_decref(user);
        json_decref(both);
        template_free(t);
        free(source);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_of_every_family_are_read),
        cmocka_unit_test(test_how_the_text_was_cut_makes_no_difference),
        cmocka_unit_test(test_a_truncated_answer_has_no_half_call),
        cmocka_unit_test(test_spelling_a_control_token_is_text),
        cmocka_unit_test(test_what_is_no_call_is_refused),
        cmocka_unit_test(test_other_spellings_are_read_too),
        cmocka_unit_test(test_text_stays_text),
        cmocka_unit_test(test_reasoning_is_split_from_the_answer),
        cmocka_unit_test(test_stop_strings_end_the_content_alone),
        cmocka_unit_test(test_a_cancelled_call_is_not_handed_over),
        cmocka_unit_test(test_ids_are_new_to_the_conversation),
        cmocka_unit_test(test_families_are_known_by_their_template),
        cmocka_unit_test(test_what_templates_write_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
