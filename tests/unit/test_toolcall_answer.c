/* If this fails, an answer that may call tools is not what was promised: a call that is not valid or of a tool that
 * was not allowed, none where one was required or one where none was, half a call where the tokens ran out, reasoning
 * past its limit, text that can't be written freely. The grammar of every family is walked with random tokens, and
 * what comes out is read by the family's parser. */
#include "support/special_tokens.h"
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "gguf/gguf.h"
#include "llm/toolcall.h"
#include "model/tokenizer.h"

#include <stdio.h>

static const char *const special[] = {SPECIAL_TOKENS, "<|unused|>"};

typedef enum { AS_CONTROL, AS_TEXT, ABSENT, N_KINDS } kind; /* of the special names in a vocabulary */

static tokenizer *tok;
static uint32_t n_text, n_vocab;
static constrain_trie *tries[N_KINDS];
static uint64_t *mask;

static int open_vocabulary(void **state) {
    (void)state;
    muga_error err = {0};
    gguf_file *file;
    assert_ok(gguf_open(source_path("tests/data/tiny.gguf"), &file, &err), &err);
    assert_ok(tokenizer_open(file, &tok, &err), &err);
    gguf_close(file);
    n_text = (uint32_t)tokenizer_count(tok);
    n_vocab = n_text + ARRAY_LEN(special);
    for (int k = 0; k < N_KINDS; k++) {
        span *pieces = mem_alloc_array(n_vocab, sizeof *pieces), *controls = mem_alloc_array(n_vocab, sizeof *controls);
        memcpy(pieces, tokenizer_text_pieces(tok), n_text * sizeof *pieces);
        for (size_t i = 0; i < ARRAY_LEN(special) && k != ABSENT; i++)
            (k == AS_CONTROL ? controls : pieces)[n_text + i] = span_of_string(special[i]);
        constrain_vocab v = {.n = n_vocab, .pieces = pieces, .controls = controls};
        assert_ok(constrain_trie_new(&v, &tries[k], &err), &err);
        free(pieces);
        free(controls);
    }
    mask = mem_alloc_array(n_vocab / 64 + 1, sizeof *mask);
    return mask == NULL;
}

static int close_vocabulary(void **state) {
    (void)state;
    for (int k = 0; k < N_KINDS; k++)
        constrain_trie_free(tries[k]);
    tokenizer_free(tok);
    free(mask);
    return 0;
}

static bool is_special(const void *ctx, const char *name, size_t n) {
    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(special); i++)
        if (span_equal_string(span_of(name, n), special[i]))
            return true;
    return false;
}

static json_t *parse(const char *text) {
    json_t *v = NULL;
    muga_error err = {0};
    assert_ok(json_parse(text, strlen(text), "test", &v, &err), &err);
    return v;
}

static const char tool_list[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"order\", \"description\": \"x\", \"parameters\": {\"type\": "
    "\"object\", \"properties\": {\"id\": {\"type\": \"string\", \"pattern\": \"^A[0-9]{2}$\"}, \"kind\": {\"enum\": "
    "[\"<tool_call>\", \"b\", 3]}}, \"required\": [\"id\"]}}},"
    "{\"name\": \"order_all\", \"parameters\": {\"type\": \"object\"}},"
    "{\"name\": \"note\", \"parameters\": {\"properties\": {\"text\": {\"type\": \"string\"}, \"tags\": {\"type\": "
    "\"array\", \"items\": {\"type\": \"boolean\"}}}, \"additionalProperties\": {\"type\": \"integer\"}}},"
    "{\"name\": \"ping\"}]";

/* ---- one answer ---- */

typedef struct setting {
    const toolcall_family *family;
    kind kind;
    toolcall_form forms[TOOLCALL_FORMS];
    size_t n_forms;
    toolcall_tools tools;
    toolcall_grammar g;
    constrain_grammar *grammar;
    arena a;
} setting;

static setting *setting_new(const toolcall_family *family, kind k, llm_tool_choice choice, uint32_t think_tokens) {
    setting *s = mem_alloc_array(1, sizeof *s);
    muga_error err = {0};
    arena_init(&s->a, 0);
    s->family = family;
    s->kind = k;
    toolcall_is_control control = k == AS_CONTROL ? is_special : NULL;
    for (; s->n_forms < TOOLCALL_FORMS && family->form[s->n_forms].trigger; s->n_forms++)
        assert_true(toolcall_bind(&family->form[s->n_forms], control, NULL, &s->a, &s->forms[s->n_forms]));
    json_t *list = parse(tool_list);
    assert_ok(toolcall_tools_read(list, &s->tools, &err), &err);
    json_decref(list);
    s->g = (toolcall_grammar){.forms = s->forms,
                              .n_forms = s->n_forms,
                              .tools = &s->tools,
                              .choice = choice,
                              .tool_name = "note",
                              .think_tokens = think_tokens};
    if (think_tokens) {
        s->g.think_open = toolcall_bind_literal("\xFF<think>\xFF", control, NULL, &s->a);
        s->g.think_close = toolcall_bind_literal("\xFF</think>\xFF", control, NULL, &s->a);
    }
    return s;
}

static void compile(setting *s) {
    muga_error err = {0};
    muga_status st = toolcall_compile(&s->g, &s->grammar, &err);
    if (st)
        print_error("%s\n", s->family->name);
    assert_ok(st, &err);
}

static void setting_free(setting *s) {
    constrain_grammar_free(s->grammar);
    toolcall_tools_release(&s->tools);
    arena_release(&s->a);
    free(s);
}

static void append_token(const setting *s, uint32_t id, str *out) {
    if (id < n_text) {
        span piece = tokenizer_piece(tok, (int32_t)id);
        str_append(out, piece.p, piece.n);
        return;
    }
    str_printf(out, s->kind == AS_CONTROL ? "\xFF%s\xFF" : "%s", special[id - n_text]);
}

static bool admitted(uint32_t id) {
    return mask[id / 64] >> id % 64 & 1;
}

/* An admitted token; a special one or one that ends a word more often than by chance. n_vocab: none. */
static uint32_t pick(rng *r) {
    uint32_t n = 0, from = rng_below(r, 4) == 0 ? n_text : 0, chosen = n_vocab;
    for (int pass = 0; pass < 2 && chosen == n_vocab; pass++, from = 0)
        for (uint32_t id = from; id < n_vocab; id++)
            if (admitted(id) && rng_below(r, ++n) == 0)
                chosen = id;
    return chosen;
}

/* Asked about one token, the constraint says what its mask says; of some tokens by chance and of `chosen`. */
static void check_single(const setting *s, constrain_state *c, rng *r, uint32_t left, uint32_t chosen) {
    muga_error err = {0};
    for (int i = 0; i < 6 && constrain_tells_tokens(c); i++) {
        uint32_t id = i ? rng_below(r, n_vocab) : chosen;
        str piece = STR_INIT;
        bool admits;
        bool exists = id < n_text ? tokenizer_is_text(tok, (int32_t)id) : id < n_vocab && s->kind != ABSENT;
        if (exists) {
            append_token(s, id, &piece);
            assert_ok(constrain_admits(c, tries[s->kind], left, span_of(str_get(&piece), piece.len), &admits, &err),
                      &err);
            assert_int_equal(admits, admitted(id));
        }
        str_release(&piece);
    }
}

/* Random tokens to the end, `left` at most. MUGA_E_LIMIT: the budget is too small, said before the first token. */
static muga_status write_answer(const setting *s, rng *r, uint32_t left, str *out, muga_error *err) {
    constrain_state *c;
    muga_status st = MUGA_OK;
    assert_ok(constrain_state_new(s->grammar, &c, err), err);
    for (uint32_t n = 0;; n++, left--) {
        bool may_end = false, accepted = false;
        str piece = STR_INIT;
        if (constrain_is_complete(c) && (left == 0 || !constrain_can_continue(c)))
            break;
        st = constrain_mask(c, tries[s->kind], left, mask, &may_end, err);
        if (st && n > 0)
            print_error("%s: %s\n", s->family->name, str_get(out));
        assert_true(!st || n == 0);
        if (st || (may_end && rng_below(r, 16) == 0))
            break;
        uint32_t id = pick(r);
        check_single(s, c, r, left, id);
        if (id == n_vocab)
            break;
        append_token(s, id, &piece);
        assert_ok(constrain_advance(c, piece.data, piece.len, &accepted, err), err);
        assert_true(accepted);
        str_append(out, piece.data, piece.len);
        str_release(&piece);
    }
    assert_true(st || constrain_is_complete(c));
    constrain_state_free(c);
    return st;
}

typedef struct reply {
    str content, reasoning;
    llm_call *calls;
    size_t n_calls;
} reply;

static reply read_answer(const setting *s, const str *text) {
    toolcall_parser_options o = {.forms = s->forms,
                                 .n_forms = s->g.choice == LLM_TOOLS_NONE ? 0 : s->n_forms,
                                 .is_value = s->g.value != NULL,
                                 .think_open = s->g.think_open,
                                 .think_close = s->g.think_close,
                                 .thinking = s->g.thinking,
                                 .names = s->tools.names,
                                 .n_names = s->tools.n};
    toolcall_parser *p;
    muga_error err = {0};
    reply r;
    bool more;
    assert_ok(toolcall_parser_new(&o, &p, &err), &err);
    muga_status st = toolcall_parser_feed(p, str_get(text), text->len, &more, &err);
    if (!st)
        st = toolcall_parser_end(p, &err);
    if (st)
        print_error("%s: %s\n", s->family->name, str_get(text));
    assert_ok(st, &err);
    assert_ok(toolcall_parser_take(p, &r.content, &r.reasoning, &r.calls, &r.n_calls, &err), &err);
    toolcall_parser_free(p);
    return r;
}

static void reply_release(reply *r) {
    str_release(&r->content);
    str_release(&r->reasoning);
    toolcall_calls_free(r->calls, r->n_calls);
}

static void check_reply(const setting *s, const reply *r) {
    muga_error err = {0};
    json_t *list = parse(tool_list);
    bool must = s->g.choice == LLM_TOOLS_REQUIRED || s->g.choice == LLM_TOOLS_NAMED;
    assert_true(!must || (r->n_calls > 0 && r->content.len == 0));
    assert_true(s->g.choice != LLM_TOOLS_NONE || r->n_calls == 0);
    assert_true(!s->g.one_call || r->n_calls <= 1);
    for (size_t i = 0; i < r->n_calls; i++) {
        const json_t *parameters = NULL;
        for (size_t k = 0; k < s->tools.n; k++)
            if (strcmp(r->calls[i].name, s->tools.names[k]) == 0) {
                const json_t *f = json_array_get(list, k);
                f = json_object_get(f, "function") ? json_object_get(f, "function") : f;
                parameters = json_object_get(f, "parameters");
            }
        constrain_validate_options o = {.formats = true};
        if (parameters)
            assert_ok(constrain_validate(parameters, r->calls[i].value, &o, &err), &err);
        assert_true(s->g.choice != LLM_TOOLS_NAMED || strcmp(r->calls[i].name, "note") == 0);
    }
    json_decref(list);
}

/* Every family, vocabulary and choice. */
static void each_setting(uint32_t think_tokens, void (*check)(setting *s, rng *r)) {
    size_t n_families;
    const toolcall_family *all = toolcall_families(&n_families);
    rng r = {7 + think_tokens};
    for (size_t i = 0; i < n_families; i++)
        for (kind k = 0; k < N_KINDS; k++)
            for (int choice = LLM_TOOLS_AUTO; choice <= LLM_TOOLS_NONE; choice++) {
                setting *s = setting_new(&all[i], k, (llm_tool_choice)choice, think_tokens);
                check(s, &r);
                setting_free(s);
            }
}

static size_t n_called, n_reasoned; /* over all random answers */

static void check_random(setting *s, rng *r) {
    s->g.one_call = rng_below(r, 4) == 0;
    s->g.thinking = s->g.think_close && rng_below(r, 2) == 0;
    compile(s);
    for (int i = 0; i < 12; i++) {
        str text = STR_INIT;
        muga_error err = {0};
        assert_ok(write_answer(s, r, 180 + rng_below(r, 100), &text, &err), &err);
        reply a = read_answer(s, &text);
        check_reply(s, &a);
        n_called += s->g.choice == LLM_TOOLS_AUTO ? a.n_calls : 0;
        n_reasoned += a.reasoning.len > 0;
        reply_release(&a);
        str_release(&text);
    }
}

static void check_budgets(setting *s, rng *r) {
    bool could = false;
    compile(s);
    for (uint32_t left = 1; left < 80; left += 1 + rng_below(r, 4)) {
        str text = STR_INIT;
        muga_error err = {0};
        muga_status st = write_answer(s, r, left, &text, &err);
        assert_true(!could || !st); /* what fits into less fits into more */
        if (st) {
            assert_status(st, MUGA_E_LIMIT, &err, "token limit");
            assert_int_equal(text.len, 0);
        } else {
            reply a = read_answer(s, &text);
            check_reply(s, &a);
            reply_release(&a);
        }
        could = could || !st;
        str_release(&text);
    }
    assert_true(could || s->kind == ABSENT);
}

static void test_random_answers_are_valid(void **state) {
    (void)state;
    each_setting(0, check_random);
    each_setting(40, check_random);
    assert_true(n_called > 100 && n_reasoned > 100); /* else nothing was tested */
}

static void test_no_budget_leaves_half_a_call(void **state) {
    (void)state;
    each_setting(0, check_budgets);
}

/* ---- single properties ---- */

static bool accepts(const setting *s, const char *text, bool *complete) {
    constrain_state *c;
    muga_error err = {0};
    bool accepted;
    assert_ok(constrain_state_new(s->grammar, &c, &err), &err);
    assert_ok(constrain_advance(c, text, strlen(text), &accepted, &err), &err);
    *complete = accepted && constrain_is_complete(c);
    constrain_state_free(c);
    return accepted;
}

static void assert_accepts(const setting *s, const char *text, bool begins, bool whole) {
    bool complete;
    if (accepts(s, text, &complete) != begins || complete != whole)
        print_error("%s: %s\n", s->family->name, text);
    assert_int_equal(accepts(s, text, &complete), begins);
    assert_int_equal(complete, whole);
}

static void test_text_is_free_but_for_triggers(void **state) {
    (void)state;
    static const struct {
        const char *family;
        kind kind;
        llm_tool_choice choice;
        const char *text;
        bool begins, whole;
    } cases[] = {
        {"hermes", AS_TEXT, LLM_TOOLS_AUTO, "", true, true},
        {"hermes", AS_TEXT, LLM_TOOLS_AUTO, "a <tool_cal <<tool_ \xE2\x82\xAC \xC3", true, true},
        {"hermes", AS_TEXT, LLM_TOOLS_AUTO, "a <tool_call>", true, false},
        {"hermes", AS_TEXT, LLM_TOOLS_AUTO, "a <<tool_call>\n{\"name\": \"ping\", \"arguments\": {}}\n</tool_call>",
         true, true},
        {"hermes", AS_TEXT, LLM_TOOLS_AUTO, "<tool_call>\n{\"name\": \"pong", false, false},
        {"hermes", AS_TEXT, LLM_TOOLS_AUTO, "<tool_call> ", false, false},
        {"hermes", AS_TEXT, LLM_TOOLS_AUTO, "<tool_call>\n{\"name\": \"ping\", \"arguments\": {}}\n</tool_call> a",
         false, false},
        {"hermes", AS_TEXT, LLM_TOOLS_NONE, "a <<tool_call", true, true},
        {"hermes", AS_TEXT, LLM_TOOLS_NONE, "a <<tool_call>", false, false},
        {"hermes", AS_CONTROL, LLM_TOOLS_NONE, "a <tool_call>", true, true},
        {"hermes", AS_CONTROL, LLM_TOOLS_NONE, "\xFF<tool_call>\xFF", false, false},
        {"hermes", AS_CONTROL, LLM_TOOLS_AUTO, "a \xFF<|unused|>\xFF", false, false},
        {"hermes", AS_CONTROL, LLM_TOOLS_AUTO, "a \xFF<tool_call>\xFF", true, false},
        {"hermes", AS_TEXT, LLM_TOOLS_REQUIRED, "a", false, false},
        {"hermes", AS_TEXT, LLM_TOOLS_REQUIRED, "", true, false},
        {"llama", AS_TEXT, LLM_TOOLS_AUTO, "{\"a\": {\"name\": \"x\"}}", true, true},
        {"llama", AS_TEXT, LLM_TOOLS_AUTO, " {\n\"name\" :", true, false},
        {"llama", AS_TEXT, LLM_TOOLS_AUTO, " {\n\"name\" : ", true, false},
        {"llama", AS_TEXT, LLM_TOOLS_AUTO, " {\n\"name\" : \"rm", false, false},
        {"llama", AS_TEXT, LLM_TOOLS_AUTO, "x {\"name\": \"rm\"", true, true},
        {"llama", AS_TEXT, LLM_TOOLS_AUTO, "{\"nam<|python_tag|>{\"name\": \"ping\", \"parameters\": {}}", true, true},
        {"llama", AS_TEXT, LLM_TOOLS_NONE, "{\"name\"", true, true},
        {"llama", AS_TEXT, LLM_TOOLS_NONE, "{\"name\":", false, false},
        {"llama", AS_CONTROL, LLM_TOOLS_AUTO, "\xFF<|python_tag|>\xFF{\"name\": \"ping\", \"parameters\": {}}", true,
         true},
        {"mistral", AS_CONTROL, LLM_TOOLS_AUTO, "\xFF[TOOL_CALLS]\xFF[{\"name\": \"ping\", \"arguments\": {}}, {", true,
         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        setting *s = setting_new(toolcall_family_named(cases[i].family), cases[i].kind, cases[i].choice, 0);
        compile(s);
        assert_accepts(s, cases[i].text, cases[i].begins, cases[i].whole);
        setting_free(s);
    }
}

static void test_reasoning_keeps_to_its_limit(void **state) {
    (void)state;
    rng r = {3};
    for (kind k = 0; k < N_KINDS; k++)
        for (uint32_t limit = 1; limit < 30; limit += 3) {
            setting *s = setting_new(toolcall_family_named("hermes"), k, LLM_TOOLS_AUTO, limit);
            muga_error err = {0};
            constrain_state *c;
            bool may_end, accepted = true;
            uint32_t n = 0;
            s->g.thinking = true;
            compile(s);
            assert_ok(constrain_state_new(s->grammar, &c, &err), &err);
            str text = STR_INIT;
            for (; !constrain_is_complete(c); n++) { /* content may end at once, so complete means closed */
                str piece = STR_INIT;
                muga_status st = constrain_mask(c, tries[k], 100, mask, &may_end, &err);
                if (st) {
                    assert_int_equal(n, 0);
                    assert_true(k == ABSENT && limit < 8);
                    assert_status(st, MUGA_E_LIMIT, &err, "reasoning is limited");
                    break;
                }
                append_token(s, pick(&r), &piece);
                assert_ok(constrain_advance(c, piece.data, piece.len, &accepted, &err), &err);
                str_append(&text, piece.data, piece.len);
                str_release(&piece);
            }
            assert_true(accepted && n <= limit);
            constrain_state_free(c);
            str_release(&text);
            setting_free(s);
        }
}

static void test_reasoning_stands_before_everything(void **state) {
    (void)state;
    setting *s = setting_new(toolcall_family_named("hermes"), AS_TEXT, LLM_TOOLS_REQUIRED, 40);
    compile(s);
    assert_accepts(
        s, "<think>a <tool_call> b</think>\n\n<tool_call>\n{\"name\": \"ping\", \"arguments\": {}}\n</tool_call>", true,
        true);
    assert_accepts(s, "<think>a</think>a", false, false);
    assert_accepts(s, "<tool_call>", true, false);
    setting_free(s);
    s = setting_new(toolcall_family_named("hermes"), AS_TEXT, LLM_TOOLS_AUTO, 40);
    s->g.no_thinking = true;
    compile(s);
    assert_accepts(s, " <think>", false, false);
    assert_accepts(s, "a <think>", true, true);
    setting_free(s);
    s = setting_new(toolcall_family_named("hermes"), AS_TEXT, LLM_TOOLS_AUTO, 40);
    json_t *value = parse("{\"type\": \"array\", \"items\": {\"type\": \"string\"}}");
    s->g.value = value;
    compile(s);
    assert_accepts(s, "<think>x</think> [\"<tool_call>\"]", true, true);
    assert_accepts(s, "[\"<tool_call>\"]", true, true);
    assert_accepts(s, "text", false, false);
    assert_accepts(s, "<tool_call>\n{\"name\": \"ping\", \"arguments\": {}}\n</tool_call>", true, true);
    setting_free(s);
    muga_error err = {0};
    s = setting_new(toolcall_family_named("llama"), AS_TEXT, LLM_TOOLS_AUTO, 0);
    s->g.value = value;
    assert_status(toolcall_compile(&s->g, &s->grammar, &err), MUGA_E_USAGE, &err, "can't be told");
    setting_free(s);
    json_decref(value);
}

static void test_keys_of_free_objects_are_written_once(void **state) {
    (void)state;
    setting *s = setting_new(toolcall_family_named("hermes"), AS_TEXT, LLM_TOOLS_AUTO, 0);
    compile(s);
    const char *head = "\"quote\", {\"a\": {\"a\"} <tool_call>\n{\"name\": \"order_all\", \"arguments\": ";
    static const struct {
        const char *arguments;
        bool good;
    } cases[] = {
        {"{\"a\":1,\"b\":2}}\n</tool_call>", true},
        {"{\"a\":1,\"a\":2}}\n</tool_call>", false},
        {"{\"name\":{\"a\":1},\"arguments\":{\"a\":1}}}\n</tool_call>", true},
        {"{\"a\":1}}\n</tool_call>\n<tool_call>\n{\"name\": \"order_all\", \"arguments\": {\"a\":2}}\n</tool_call>",
         true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        str text = STR_INIT;
        str_printf(&text, "%s%s", head, cases[i].arguments);
        assert_accepts(s, str_get(&text), cases[i].good, cases[i].good);
        str_release(&text);
    }
    setting_free(s);
}

/* ---- tools and what can't be called ---- */

static void test_tools_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *tools, *why;
    } cases[] = {{"{}", "an array"},
                 {"[{\"type\": \"function\"}]", "tool 1"},
                 {"[{\"name\": \"a b\"}]", "tool 1"},
                 {"[{\"name\": \"a\"}, {\"name\": \"a\"}]", "both called a"},
                 {"[{\"type\": \"retrieval\", \"function\": {\"name\": \"x\"}}]", "retrieval"},
                 {"[{\"name\": \"a\", \"parameters\": {\"type\": \"string\"}}]", "tool a"},
                 {"[{\"name\": \"a\", \"parameters\": []}]", "tool a"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *list = parse(cases[i].tools);
        toolcall_tools t;
        muga_error err = {0};
        assert_status(toolcall_tools_read(list, &t, &err), MUGA_E_INPUT, &err, cases[i].why);
        json_decref(list);
    }
}

static muga_status compile_tools(const char *tools, const constrain_options *o, llm_tool_choice choice,
                                 constrain_grammar **out, muga_error *err) {
    toolcall_form form;
    arena a;
    arena_init(&a, 0);
    assert_true(toolcall_bind(&toolcall_family_named("hermes")->form[0], NULL, NULL, &a, &form));
    json_t *list = parse(tools);
    toolcall_tools t;
    assert_ok(toolcall_tools_read(list, &t, err), err);
    toolcall_grammar g = {.forms = &form, .n_forms = 1, .tools = &t, .choice = choice, .tool_name = "b", .options = o};
    muga_status st = toolcall_compile(&g, out, err);
    toolcall_tools_release(&t);
    json_decref(list);
    arena_release(&a);
    return st;
}

static void test_schemas_are_refused_by_their_tool(void **state) {
    (void)state;
    static const struct {
        const char *tools;
        llm_tool_choice choice;
        muga_status status;
        const char *why;
    } cases[] = {
        {"[{\"name\": \"a\", \"parameters\": {\"properties\": {\"x\": {\"$ref\": \"http://nowhere.test/\"}}}}]",
         LLM_TOOLS_AUTO, MUGA_E_INPUT, "tool a"},
        {"[{\"name\": \"b\", \"parameters\": {\"properties\": {\"x\": false}, \"required\": [\"x\"]}}]", LLM_TOOLS_AUTO,
         MUGA_E_INPUT, "tool b"},
        {"[{\"name\": \"a\"}]", LLM_TOOLS_NAMED, MUGA_E_INPUT, "is not among the tools"},
        {"[]", LLM_TOOLS_REQUIRED, MUGA_E_INPUT, "no tools"},
        {"[{\"name\": \"a\", \"parameters\": {\"properties\": {\"id\": {\"type\": \"string\", \"format\": "
         "\"email\", \"from\": \"conversation\"}}, \"required\": [\"id\"]}}]",
         LLM_TOOLS_REQUIRED, MUGA_E_NEGATIVE, "id"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        constrain_grammar *g = NULL;
        muga_error err = {0};
        assert_status(compile_tools(cases[i].tools, NULL, cases[i].choice, &g, &err), cases[i].status, &err,
                      cases[i].why);
        assert_null(g);
    }
}

/* A tool whose value nobody wrote can't be called; the others can. */
static void test_grounded_arguments_decide_what_can_be_called(void **state) {
    (void)state;
    const char *tools =
        "[{\"name\": \"a\", \"parameters\": {\"properties\": {\"id\": {\"type\": \"string\", \"pattern\": "
        "\"^A[0-9]+$\", \"from\": \"conversation\"}}, \"required\": [\"id\"]}}, {\"name\": \"b\"}]";
    span said = span_of_string("Where is A17?");
    constrain_source source = {"conversation", &said, 1};
    constrain_options with = {.sources = &source, .n_sources = 1}, without = {.n_sources = 0};
    muga_error err = {0};
    setting s = {.family = toolcall_family_named("hermes")};
    assert_ok(compile_tools(tools, &with, LLM_TOOLS_AUTO, &s.grammar, &err), &err);
    assert_accepts(&s, "<tool_call>\n{\"name\": \"a\", \"arguments\": {\"id\":\"A17\"}}\n</tool_call>", true, true);
    assert_accepts(&s, "<tool_call>\n{\"name\": \"a\", \"arguments\": {\"id\":\"A1\"", false, false);
    constrain_grammar_free(s.grammar);
    assert_ok(compile_tools(tools, &without, LLM_TOOLS_AUTO, &s.grammar, &err), &err);
    assert_accepts(&s, "<tool_call>\n{\"name\": \"a", false, false);
    assert_accepts(&s, "<tool_call>\n{\"name\": \"b", true, false);
    constrain_grammar_free(s.grammar);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_answers_are_valid),
        cmocka_unit_test(test_no_budget_leaves_half_a_call),
        cmocka_unit_test(test_text_is_free_but_for_triggers),
        cmocka_unit_test(test_reasoning_keeps_to_its_limit),
        cmocka_unit_test(test_reasoning_stands_before_everything),
        cmocka_unit_test(test_keys_of_free_objects_are_written_once),
        cmocka_unit_test(test_tools_are_refused_by_name),
        cmocka_unit_test(test_schemas_are_refused_by_their_tool),
        cmocka_unit_test(test_grounded_arguments_decide_what_can_be_called),
    };
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
