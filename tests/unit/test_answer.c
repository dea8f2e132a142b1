/* If this fails, whoever asks a model with tools gets what was not promised: an invalid call at some temperature, in
 * some family or vocabulary, another reply than the events said, half a call after a cancel, an answer whose evidence
 * can't be recomputed, a prompt that hides the tools or the results from the model.
 *
 * ctest: unthreaded (callers at the same time are test_llm_threads') */
#include "support/make_tiny.h"
#include "support/special_tokens.h"
#include "support/support.h"

#include "base/mem.h"
#include "llm/toolcall.h"
#include "os/os.h"

#include <stdio.h>

static const char *const special[] = {SPECIAL_TOKENS};

static const char plain_template[] =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
static const char hermes_template[] =
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}{% endfor %}"
    "<tool_call><|im_end|>\n{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] }}"
    "{% for c in m.tool_calls or [] %}\n<tool_call>\n{\"name\": \"{{ c.function.name }}\", \"arguments\": "
    "{{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking %}<think>\n{% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}";
static const char text_template[] =
    "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}{% endif %}{% for m in messages %}{% if m.tool_calls %}"
    "[TOOL_CALLS]{% for c in m.tool_calls %}{{ c.function.name + '[ARGS]' + c.function.arguments }}{% endfor %}"
    "{% elif m.role == 'system' %}{{ raise_exception('no system') }}{% elif m.role != 'tool' %}"
    "{{ m.role + ': ' + m.content }}{% endif %}{% endfor %}";

typedef enum { AS_CONTROL, AS_TEXT, ABSENT, N_KINDS } kind;

static llm *open_chat(const char *template, kind k) {
    llm *m = NULL;
    muga_error err = {0};
    str bytes = STR_INIT;
    tiny_chat chat = {template, special, k == ABSENT ? 0 : ARRAY_LEN(special), k == AS_CONTROL};
    assert_ok(make_tiny_chat(&chat, &bytes, &err), &err);
    const char *path = scratch_path("chat.gguf");
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    llm_local_options o = {.isa = -1, .n_threads = 1, .n_ctx = 2048};
    assert_ok(llm_local_open(path, "chat", &o, &m, &err), &err);
    return m;
}

static json_t *parse(const char *text) {
    json_t *v = NULL;
    muga_error err = {0};
    assert_ok(json_parse(text, strlen(text), "test", &v, &err), &err);
    return v;
}

static json_t *tools, *messages;

static int set_up(void **state) {
    (void)state;
    tools = parse("[{\"type\": \"function\", \"function\": {\"name\": \"order\", \"description\": \"look up\", "
                  "\"parameters\": {\"type\": \"object\", \"properties\": {\"id\": {\"type\": \"string\", \"pattern\": "
                  "\"^A[0-9]{2}$\"}, \"fast\": {\"type\": \"boolean\"}}, \"required\": [\"id\"]}}},"
                  "{\"name\": \"any\", \"parameters\": {\"type\": \"object\"}}, {\"name\": \"ping\"}]");
    messages = parse("[{\"role\": \"user\", \"content\": \"Where is A17? <tool_call> [TOOL_CALLS]\"}]");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    json_decref(tools);
    json_decref(messages);
    return 0;
}

/* ---- one answer and its events ---- */

typedef struct seen {
    str content, reasoning, arguments;
    size_t n_begun, n_ended;
    int cancel_at; /* an event; 0: never */
    int n_events;
} seen;

static bool on_event(void *ctx, const llm_event *e) {
    seen *s = ctx;
    if (e->kind == LLM_EVENT_CONTENT)
        str_append(&s->content, e->p, e->n);
    else if (e->kind == LLM_EVENT_REASONING)
        str_append(&s->reasoning, e->p, e->n);
    else if (e->kind == LLM_EVENT_ARGUMENTS)
        str_append(&s->arguments, e->p, e->n);
    s->n_begun += e->kind == LLM_EVENT_CALL_BEGIN;
    s->n_ended += e->kind == LLM_EVENT_CALL_END;
    return ++s->n_events != s->cancel_at;
}

static void seen_release(seen *s) {
    str_release(&s->content);
    str_release(&s->reasoning);
    str_release(&s->arguments);
}

static llm_request request_of(llm_tool_choice choice, seen *s) {
    llm_request q = {.messages = messages,
                     .tools = tools,
                     .tool_choice = choice,
                     .tool_name = "order",
                     .sampling = LLM_SAMPLING_GREEDY,
                     .max_tokens = 60,
                     .on_event = on_event,
                     .on_event_ctx = s};
    q.sampling.temperature = 2.0f;
    return q;
}

static const json_t *schema_of(const char *name) {
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *t = json_array_get(tools, i),
                     *f = json_object_get(t, "function") ? json_object_get(t, "function") : t;
        if (strcmp(json_get_string(f, "name"), name) == 0)
            return json_object_get(f, "parameters");
    }
    return NULL;
}

static void check_reply(const llm_request *q, const llm_reply *r, const seen *s) {
    bool must = q->tool_choice == LLM_TOOLS_REQUIRED || q->tool_choice == LLM_TOOLS_NAMED;
    assert_true(!must || (r->n_calls > 0 && r->text.len == 0));
    assert_true(q->tool_choice != LLM_TOOLS_NONE || r->n_calls == 0);
    assert_int_equal(r->finish == LLM_FINISH_TOOL_CALLS, r->n_calls > 0);
    for (size_t i = 0; i < r->n_calls; i++) {
        constrain_validate_options o = {.formats = true};
        muga_error err = {0};
        const json_t *schema = schema_of(r->calls[i].name);
        assert_true(schema || strcmp(r->calls[i].name, "ping") == 0);
        if (schema)
            assert_ok(constrain_validate(schema, r->calls[i].value, &o, &err), &err);
        assert_true(q->tool_choice != LLM_TOOLS_NAMED || strcmp(r->calls[i].name, "order") == 0);
    }
    assert_string_equal(str_get(&s->content), str_get(&r->text));
    assert_string_equal(str_get(&s->reasoning), str_get(&r->reasoning));
    assert_int_equal(s->n_begun, r->n_calls);
    assert_int_equal(s->n_ended, r->n_calls);
}

static size_t n_called;

static void ask(llm *m, const char *family, llm_tool_choice choice, uint64_t seed) {
    seen s = {.n_events = 0};
    llm_reply r;
    muga_error err = {0};
    llm_request q = request_of(choice, &s);
    q.tool_format = family;
    q.sampling.seed = seed;
    q.reasoning_tokens = seed % 2 ? 20 : 0;
    q.max_tokens = 220;
    q.want_evidence = seed == 0;
    muga_status st = llm_complete(m, &q, &r, &err);
    if (st)
        print_error("%s, choice %d, seed %u\n", family, (int)choice, (unsigned)seed);
    assert_ok(st, &err);
    check_reply(&q, &r, &s);
    if (q.want_evidence)
        assert_ok(llm_replay(m, r.evidence, &err), &err);
    n_called += r.n_calls;
    llm_reply_release(&r);
    seen_release(&s);
}

static void test_no_call_of_a_random_model_is_invalid(void **state) {
    (void)state;
    size_t n_families;
    const toolcall_family *all = toolcall_families(&n_families);
    for (kind k = 0; k < N_KINDS; k++) {
        llm *m = open_chat(hermes_template, k);
        for (size_t i = 0; i < n_families; i++)
            for (int choice = LLM_TOOLS_AUTO; choice <= LLM_TOOLS_NONE; choice++)
                for (uint64_t seed = 0; seed < 3; seed++)
                    ask(m, all[i].name, (llm_tool_choice)choice, seed);
        llm_free(m);
    }
    assert_true(n_called > 300);
}

static void test_every_limit_of_tokens_gives_whole_calls_or_an_error(void **state) {
    (void)state;
    for (kind k = 0; k < N_KINDS; k++) {
        llm *m = open_chat(hermes_template, k);
        bool could = false;
        for (uint32_t n = 1; n < 70; n++) {
            seen s = {.n_events = 0};
            llm_reply r;
            muga_error err = {0};
            llm_request q = request_of(n % 2 ? LLM_TOOLS_REQUIRED : LLM_TOOLS_NAMED, &s);
            q.max_tokens = n;
            q.sampling.seed = n;
            muga_status st = llm_complete(m, &q, &r, &err);
            if (st) {
                assert_status(st, MUGA_E_LIMIT, &err, "token limit");
                assert_int_equal(s.n_events, 0);
            } else {
                check_reply(&q, &r, &s);
                assert_true(r.n_generated <= n);
                llm_reply_release(&r);
            }
            could = could || !st;
            seen_release(&s);
        }
        assert_true(could);
        llm_free(m);
    }
}

static void test_cut_text_says_so(void **state) {
    (void)state;
    llm *m = open_chat(hermes_template, AS_TEXT);
    seen s = {.n_events = 0};
    llm_reply r;
    muga_error err = {0};
    llm_request q = request_of(LLM_TOOLS_NONE, &s);
    q.max_tokens = 5;
    assert_ok(llm_complete(m, &q, &r, &err), &err);
    assert_int_equal(r.finish, r.n_generated == 5 ? LLM_FINISH_LENGTH : LLM_FINISH_STOP);
    llm_reply_release(&r);
    seen_release(&s);
    llm_free(m);
}

static void test_a_cancelled_call_is_not_in_the_reply(void **state) {
    (void)state;
    llm *m = open_chat(hermes_template, AS_CONTROL);
    for (int at = 1; at < 6; at++) {
        seen s = {.cancel_at = at};
        llm_reply r;
        muga_error err = {0};
        llm_request q = request_of(LLM_TOOLS_NAMED, &s);
        q.want_evidence = true;
        assert_ok(llm_complete(m, &q, &r, &err), &err);
        if (s.n_events == at) {
            assert_int_equal(r.finish, LLM_FINISH_CANCELLED);
            assert_int_equal(r.n_calls, s.n_ended);
        }
        assert_ok(llm_replay(m, r.evidence, &err), &err);
        llm_reply_release(&r);
        seen_release(&s);
    }
    llm_free(m);
}

static void test_a_changed_choice_does_not_replay(void **state) {
    (void)state;
    llm *m = open_chat(hermes_template, AS_CONTROL);
    seen s = {.n_events = 0};
    llm_reply r;
    muga_error err = {0};
    llm_request q = request_of(LLM_TOOLS_REQUIRED, &s);
    q.want_evidence = true;
    assert_ok(llm_complete(m, &q, &r, &err), &err);
    json_t *split = json_object_get(json_object_get(r.evidence, "request"), "split");
    assert_string_equal(json_get_string(split, "tool_choice"), "required");
    json_object_set_new(split, "tool_choice", json_string("none"));
    assert_status(llm_replay(m, r.evidence, &err), MUGA_E_NEGATIVE, &err, "replay differs");
    llm_reply_release(&r);
    seen_release(&s);
    llm_free(m);
}

/* Whoever keeps evidence as canonical JSON sorts its keys; the prompt has the tools in the order they were given. */
static void test_evidence_replays_from_its_canonical_form(void **state) {
    (void)state;
    llm *m = open_chat(hermes_template, AS_CONTROL);
    json_t *list = parse("[{\"name\": \"look\", \"description\": \"x\", \"parameters\": {\"type\": \"object\","
                         " \"properties\": {\"z\": {\"type\": \"boolean\"}, \"a\": {\"type\": \"boolean\"}},"
                         " \"required\": [\"z\", \"a\"], \"additionalProperties\": false}}]");
    json_t *asked = parse("[{\"role\": \"user\", \"content\": \"look\"}, {\"role\": \"assistant\", \"content\":"
                          " \"\", \"tool_calls\": [{\"id\": \"abcdefghi\", \"type\": \"function\", \"function\":"
                          " {\"name\": \"look\", \"arguments\": {\"z\": true, \"a\": false}}}]}, {\"role\": \"tool\","
                          " \"tool_call_id\": \"abcdefghi\", \"name\": \"look\", \"content\": \"1\"}]");
    llm_request q = {.messages = asked,
                     .tools = list,
                     .tool_choice = LLM_TOOLS_REQUIRED,
                     .one_call = true,
                     .sampling = LLM_SAMPLING_GREEDY,
                     .max_tokens = 200,
                     .want_evidence = true};
    llm_reply r;
    muga_error err = {0};
    str stored = STR_INIT;
    assert_ok(llm_complete(m, &q, &r, &err), &err);
    json_write_canonical(r.evidence, &stored);
    json_t *evidence = parse(str_get(&stored));
    assert_ok(llm_replay(m, evidence, &err), &err);
    json_object_set_new(json_object_get(evidence, "request"), "tools", json_string("[not JSON"));
    assert_status(llm_replay(m, evidence, &err), MUGA_E_INPUT, &err, "tools");
    json_decref(evidence);
    str_release(&stored);
    llm_reply_release(&r);
    json_decref(asked);
    json_decref(list);
    llm_free(m);
}

/* ---- reasoning ---- */

static void test_the_template_opens_or_closes_reasoning(void **state) {
    (void)state;
    llm *m = open_chat(hermes_template, AS_CONTROL);
    for (int thinking = LLM_THINKING_ON; thinking <= LLM_THINKING_OFF; thinking++)
        for (uint64_t seed = 0; seed < 6; seed++) {
            seen s = {.n_events = 0};
            llm_reply r;
            muga_error err = {0};
            llm_request q = request_of(LLM_TOOLS_REQUIRED, &s);
            q.thinking = (llm_thinking)thinking;
            q.reasoning_tokens = 6;
            q.sampling.seed = seed;
            assert_ok(llm_complete(m, &q, &r, &err), &err);
            check_reply(&q, &r, &s);
            assert_true(thinking == LLM_THINKING_ON || r.reasoning.len == 0);
            llm_reply_release(&r);
            seen_release(&s);
        }
    llm_free(m);
}

static void test_a_value_stands_behind_reasoning(void **state) {
    (void)state;
    llm *m = open_chat(hermes_template, AS_TEXT);
    json_t *schema =
        parse("{\"type\": \"array\", \"items\": {\"type\": \"boolean\"}, \"minItems\": 1, \"maxItems\": 3}");
    for (uint64_t seed = 0; seed < 8; seed++) {
        seen s = {.n_events = 0};
        llm_reply r;
        muga_error err = {0};
        llm_request q = request_of(seed % 2 ? LLM_TOOLS_AUTO : LLM_TOOLS_SHOWN, &s);
        q.split = true;
        q.schema = schema;
        q.thinking = LLM_THINKING_ON;
        q.reasoning_tokens = 10;
        q.sampling.seed = seed;
        assert_ok(llm_complete(m, &q, &r, &err), &err);
        if (r.n_calls == 0) {
            json_t *v = parse(str_get(&r.text));
            constrain_validate_options o = {.formats = true};
            assert_ok(constrain_validate(schema, v, &o, &err), &err);
            json_decref(v);
        }
        llm_reply_release(&r);
        seen_release(&s);
    }
    json_decref(schema);
    llm_free(m);
}

/* ---- prompts ---- */

static json_t *history(void) {
    return parse(
        "[{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": null, \"tool_calls\": "
        "[{\"id\": \"call_1\", \"type\": \"function\", \"function\": {\"name\": \"order\", \"arguments\": "
        "\"{\\\"id\\\": \\\"A17\\\"}\"}}]}, {\"role\": \"tool\", \"tool_call_id\": \"call_1\", \"content\": "
        "\"shipped\"}]");
}

/* The prompt that the model would see, by the form that was found for it. */
static void render(llm *m, bool told, str *out) {
    const toolcall_model *form;
    muga_error err = {0};
    json_t *old = history(), *new = NULL;
    toolcall_tools t;
    assert_ok(m->table->form(m, &form, &err), &err);
    assert_ok(toolcall_tools_read(tools, &t, &err), &err);
    assert_ok(toolcall_messages(form, &form->family->form[0], told ? &t : NULL, false, old, &new, &err), &err);
    llm_request q = {.messages = new, .tools = told ? NULL : t.shown};
    assert_ok(m->table->render(m, &q, out, &err), &err);
    toolcall_tools_release(&t);
    json_decref(old);
    json_decref(new);
}

static void assert_holds(const str *text, const char *part) {
    if (!strstr(str_get(text), part))
        print_error("not there: %s\nin: %s\n", part, str_get(text));
    assert_non_null(strstr(str_get(text), part));
}

static void test_what_a_template_does_with_tools_is_found_out(void **state) {
    (void)state;
    static const struct {
        const char *template, *family;
        bool tools, calls, text, results, system;
    } cases[] = {{hermes_template, "hermes", true, true, false, true, true},
                 {plain_template, "generic", false, false, false, true, true},
                 {text_template, "mistral-args", true, true, true, false, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        llm *m = open_chat(cases[i].template, AS_TEXT);
        const toolcall_model *f;
        muga_error err = {0};
        assert_ok(m->table->form(m, &f, &err), &err);
        assert_string_equal(f->family->name, cases[i].family);
        assert_int_equal(f->shows_tools, cases[i].tools);
        assert_int_equal(f->shows_calls, cases[i].calls);
        assert_int_equal(f->text_arguments, cases[i].text);
        assert_int_equal(f->shows_results, cases[i].results);
        assert_int_equal(f->takes_system, cases[i].system);
        str text = STR_INIT;
        render(m, !cases[i].tools, &text);
        assert_holds(&text, "look up"); /* the tool's description */
        assert_holds(&text, "shipped");
        assert_holds(&text, i == 2 ? "order[ARGS]{\"id\": \"A17\"}"
                                   : "{\"name\": \"order\", \"arguments\": {\"id\": \"A17\"}}");
        str_release(&text);
        llm_free(m);
    }
}

/* ---- the scripted model ---- */

static llm_reply ask_scripted(const char *script, const json_t *with, muga_status *st, muga_error *err) {
    json_t *v = parse(script);
    llm *m;
    llm_reply r;
    seen s = {.n_events = 0};
    assert_ok(llm_scripted_new(v, &m, err), err);
    llm_request q = request_of(LLM_TOOLS_AUTO, &s);
    q.tools = with;
    *st = llm_complete(m, &q, &r, err);
    if (!*st) {
        assert_string_equal(str_get(&s.content), str_get(&r.text));
        assert_int_equal(s.n_ended, r.n_calls);
    }
    json_decref(v);
    seen_release(&s);
    llm_free(m);
    return r;
}

static void test_scripts_can_call(void **state) {
    (void)state;
    muga_error err = {0};
    muga_status st;
    llm_reply r = ask_scripted("[{\"reasoning\": \"hm\", \"text\": \"I look.\", \"calls\": [{\"name\": \"order\", "
                               "\"arguments\": {\"id\": \"A17\"}}, {\"name\": \"ping\", \"arguments\": {}}]}]",
                               tools, &st, &err);
    assert_ok(st, &err);
    assert_int_equal(r.n_calls, 2);
    assert_int_equal(r.finish, LLM_FINISH_TOOL_CALLS);
    assert_string_equal(str_get(&r.reasoning), "hm");
    assert_string_equal(str_get(&r.text), "I look.");
    assert_string_equal(r.calls[0].arguments, "{\"id\":\"A17\"}");
    llm_reply_release(&r);
    static const struct {
        const char *script, *why;
    } bad[] = {{"[{\"calls\": [{\"name\": \"rm\", \"arguments\": {}}]}]", "violates"},
               {"[{\"calls\": [{\"name\": \"order\", \"arguments\": {\"id\": \"B\"}}]}]", "violates"},
               {"[{\"raw\": true, \"calls\": [{\"name\": \"rm\", \"arguments\": {}}]}]", "no tool \"rm\""},
               {"[{\"raw\": true, \"text\": \"<tool_call>{\\\"name\\\": \\\"ping\\\", \"}]", "isn't finished"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        r = ask_scripted(bad[i].script, tools, &st, &err);
        assert_status(st, MUGA_E_INPUT, &err, bad[i].why);
    }
}

static void test_the_reply_says_which_stop_string_ended_it(void **state) {
    (void)state;
    static const char *const stop[] = {"END", "two"};
    muga_error err = {0};
    llm *m;
    llm_reply r;
    seen s = {.n_events = 0};
    json_t *v = parse("[{\"text\": \"One, two. END\"}, {\"text\": \"One.\"}]");
    assert_ok(llm_scripted_new(v, &m, &err), &err);
    llm_request q = request_of(LLM_TOOLS_AUTO, &s);
    q.tools = tools;
    q.stop = stop;
    q.n_stop = ARRAY_LEN(stop);
    assert_ok(llm_complete(m, &q, &r, &err), &err);
    assert_string_equal(str_get(&r.text), "One, ");
    assert_string_equal(r.stopped_by, "two");
    llm_reply_release(&r);
    assert_ok(llm_complete(m, &q, &r, &err), &err);
    assert_null(r.stopped_by);
    llm_reply_release(&r);
    json_decref(v);
    seen_release(&s);
    llm_free(m);
}

static void test_what_no_mask_says_is_validated(void **state) {
    (void)state;
    json_t *unique =
        parse("[{\"name\": \"tag\", \"parameters\": {\"properties\": {\"tags\": {\"type\": \"array\", \"items\": "
              "{\"type\": \"boolean\"}, \"uniqueItems\": true}}}}]");
    muga_error err = {0};
    muga_status st;
    const char *twice = "{\"calls\": [{\"name\": \"tag\", \"arguments\": {\"tags\": [true, true]}}]}";
    str script = STR_INIT;
    str_printf(&script, "[%s, {\"calls\": [{\"name\": \"tag\", \"arguments\": {\"tags\": [true, false]}}]}]", twice);
    llm_reply r = ask_scripted(str_get(&script), unique, &st, &err);
    assert_ok(st, &err);
    assert_int_equal(r.n_attempts, 2);
    assert_string_equal(r.calls[0].arguments, "{\"tags\":[true,false]}");
    llm_reply_release(&r);
    str_clear(&script);
    for (int i = 0; i < 8; i++)
        str_printf(&script, "%s%s", i ? ", " : "[", twice);
    str_append_c(&script, ']');
    r = ask_scripted(str_get(&script), unique, &st, &err);
    assert_status(st, MUGA_E_LIMIT, &err, "no valid answer");
    str_release(&script);
    json_decref(unique);
}

/* Tools whose one parameter is a list of n of the words "a" and "b", none twice. */
static json_t *unique_words(int n) {
    char text[300];
    snprintf(text, sizeof text,
             "[{\"name\": \"tag\", \"parameters\": {\"properties\": {\"tags\": {\"type\": \"array\", \"items\": "
             "{\"enum\": [\"a\", \"b\"]}, \"minItems\": %d, \"maxItems\": %d, \"uniqueItems\": true}}, "
             "\"required\": [\"tags\"]}}]",
             n, n);
    return parse(text);
}

static void test_a_model_is_asked_again_until_its_arguments_are_valid(void **state) {
    (void)state;
    static const llm_tool_choice choices[] = {LLM_TOOLS_AUTO, LLM_TOOLS_REQUIRED, LLM_TOOLS_NAMED};
    llm *m = open_chat(hermes_template, AS_CONTROL);
    json_t *unique = unique_words(2);
    uint32_t n_again = 0;
    for (uint64_t i = 0; i < 30; i++) {
        seen s = {.n_events = 0};
        llm_reply r;
        muga_error err = {0};
        llm_request q = request_of(choices[i % 3], &s);
        q.tools = unique;
        q.tool_name = "tag";
        q.sampling.seed = i;
        q.sampling.temperature = i % 2 ? 2.0f : 0.0f;
        q.want_evidence = true;
        muga_status st = llm_complete(m, &q, &r, &err);
        if (st) {
            assert_status(st, MUGA_E_LIMIT, &err, "no valid answer in 8 attempts");
            assert_int_equal(s.n_begun, 0);
            seen_release(&s);
            continue;
        }
        n_again += r.n_attempts > 1;
        assert_int_equal(s.n_ended, r.n_calls);
        assert_true(r.n_calls > 0 || q.tool_choice == LLM_TOOLS_AUTO);
        for (size_t k = 0; k < r.n_calls; k++) {
            const json_t *tags = json_object_get(r.calls[k].value, "tags");
            assert_int_equal(json_array_size(tags), 2);
            assert_false(json_equal(json_array_get(tags, 0), json_array_get(tags, 1)));
        }
        assert_ok(llm_replay(m, r.evidence, &err), &err);
        llm_reply_release(&r);
        seen_release(&s);
    }
    assert_true(n_again > 3);
    json_decref(unique);
    llm_free(m);
}

static void test_arguments_that_can_not_be_enforced_are_an_error(void **state) {
    (void)state;
    llm *m = open_chat(hermes_template, AS_CONTROL);
    seen s = {.n_events = 0};
    llm_reply r;
    muga_error err = {0};
    llm_request q = request_of(LLM_TOOLS_REQUIRED, &s);
    span said = span_of_string("a or b");
    constrain_source source = {"conversation", &said, 1};
    q.sources = &source;
    q.n_sources = 1;
    json_t *three = unique_words(3);
    json_t *ahead = parse("[{\"name\": \"tag\", \"parameters\": {\"properties\": {\"id\": {\"type\": \"string\", "
                          "\"pattern\": \"(A|B)\\\\1\", \"from\": \"conversation\"}}, \"required\": [\"id\"]}}]");
    q.tools = three;
    assert_status(llm_complete(m, &q, &r, &err), MUGA_E_LIMIT, &err, "no valid answer in 8 attempts");
    assert_int_equal(s.n_begun, 0);
    q.tools = ahead;
    assert_status(llm_complete(m, &q, &r, &err), MUGA_E_INPUT, &err, "tool tag");
    assert_non_null(strstr(err.message, "pattern"));
    seen_release(&s);
    json_decref(three);
    json_decref(ahead);
    llm_free(m);
}

static void test_what_cannot_go_together_is_refused(void **state) {
    (void)state;
    llm *m = open_chat(hermes_template, AS_TEXT);
    seen s = {.n_events = 0};
    llm_reply r;
    muga_error err = {0};
    llm_request q = request_of(LLM_TOOLS_AUTO, &s);
    q.regex = "a+";
    assert_status(llm_complete(m, &q, &r, &err), MUGA_E_USAGE, &err, "regex");
    q.regex = NULL;
    q.tool_format = "klingon";
    assert_status(llm_complete(m, &q, &r, &err), MUGA_E_USAGE, &err, "klingon");
    q.tool_format = NULL;
    q.tool_choice = LLM_TOOLS_NAMED;
    q.tool_name = "nobody";
    assert_status(llm_complete(m, &q, &r, &err), MUGA_E_INPUT, &err, "nobody");
    q.tool_choice = LLM_TOOLS_REQUIRED;
    q.tools = NULL;
    assert_status(llm_complete(m, &q, &r, &err), MUGA_E_INPUT, &err, "no tools");
    q = request_of(LLM_TOOLS_AUTO, &s);
    q.thinking = LLM_THINKING_ON;
    q.reasoning_tokens = 1;
    q.max_tokens = 3;
    q.tool_choice = LLM_TOOLS_REQUIRED;
    assert_status(llm_complete(m, &q, &r, &err), MUGA_E_LIMIT, &err, "limit");
    seen_release(&s);
    llm_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_call_of_a_random_model_is_invalid),
        cmocka_unit_test(test_every_limit_of_tokens_gives_whole_calls_or_an_error),
        cmocka_unit_test(test_cut_text_says_so),
        cmocka_unit_test(test_a_cancelled_call_is_not_in_the_reply),
        cmocka_unit_test(test_a_changed_choice_does_not_replay),
        cmocka_unit_test(test_the_template_opens_or_closes_reasoning),
        cmocka_unit_test(test_a_value_stands_behind_reasoning),
        cmocka_unit_test(test_what_a_template_does_with_tools_is_found_out),
        cmocka_unit_test(test_scripts_can_call),
        cmocka_unit_test(test_evidence_replays_from_its_canonical_form),
        cmocka_unit_test(test_what_no_mask_says_is_validated),
        cmocka_unit_test(test_the_reply_says_which_stop_string_ended_it),
        cmocka_unit_test(test_a_model_is_asked_again_until_its_arguments_are_valid),
        cmocka_unit_test(test_arguments_that_can_not_be_enforced_are_an_error),
        cmocka_unit_test(test_what_cannot_go_together_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
