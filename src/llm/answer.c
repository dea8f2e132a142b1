/* An answer that is split: its form by the model's family, its prompt, its grammar, its reading. Owns the plan of one
 * answer. Refuses tools that can't be enforced, and constraints that can't stand beside calls.
 *
 * The implementation below sees a plain request: messages as the template needs them, a grammar for the whole answer,
 * text with the control tokens in it. The evidence has the request as it was asked, so a replay comes this way again.
 *
 * Where a tool's schema says what no mask can (constrain_rechecks), nothing goes out before the arguments were found
 * valid, and an answer that isn't is decoded again, as with constrained.c. */
#include "llm/answer.h"

#include "base/hash.h"
#include "llm/constrained.h"
#include "llm/grammars.h"
#include "llm/tokens.h"
#include "llm/toolcall.h"

typedef struct plan {
    const llm_request *q;
    toolcall_model model;
    arena a;
    toolcall_form forms[TOOLCALL_FORMS];
    size_t n_forms;
    const char *think_open, *think_close; /* NULL: no reasoning */
    bool thinking;                        /* the prompt opens it */
    toolcall_tools tools;
    bool told; /* the tools are in the messages */
    json_t *messages;
    grammars *grammars;         /* the model's */
    constrain_grammar *grammar; /* taken from there */
    uint64_t seed;
    toolcall_parser *parser; /* of the attempt that runs */
    token_queue tokens;      /* of it that are not told of yet, where somebody wants to know */
    muga_error parse_error;
} plan;

static void plan_release(plan *p) {
    toolcall_parser_free(p->parser);
    token_queue_release(&p->tokens);
    grammars_give_back(p->grammars, p->grammar);
    toolcall_tools_release(&p->tools);
    json_decref(p->messages);
    arena_release(&p->a);
}

/* ---- form and prompt ---- */

static muga_status choose_form(llm *m, plan *p, muga_error *err) {
    const toolcall_model *known = NULL;
    muga_status st = m->table->form ? m->table->form(m, &known, err) : MUGA_OK;
    if (st)
        return st;
    p->model = known ? *known : (toolcall_model){.family = toolcall_family_named("generic"), .takes_system = true};
    bool own = p->model.family->has[0] == NULL; /* no template knows that form */
    if (p->q->tool_format) {
        const toolcall_family *f = toolcall_family_named(p->q->tool_format);
        if (!f)
            return error_set(err, MUGA_E_USAGE, "there is no form of tool calls \"%.40s\"", p->q->tool_format);
        own = own || f != p->model.family;
        p->model.family = f;
    }
    p->told = own || !p->model.shows_tools;
    const toolcall_model *x = &p->model;
    bool ok = true;
    for (; ok && p->n_forms < TOOLCALL_FORMS && x->family->form[p->n_forms].trigger; p->n_forms++)
        ok =
            toolcall_bind(&x->family->form[p->n_forms], x->is_control, x->is_control_ctx, &p->a, &p->forms[p->n_forms]);
    if (ok && x->thinking) {
        p->think_open = toolcall_bind_literal(x->thinking->open, x->is_control, x->is_control_ctx, &p->a);
        p->think_close = toolcall_bind_literal(x->thinking->close, x->is_control, x->is_control_ctx, &p->a);
        ok = p->think_open && p->think_close;
    }
    return ok ? MUGA_OK : error_nomem(err, "an answer");
}

static llm_request request_of(const plan *p) {
    llm_request r = *p->q;
    r.messages = p->messages;
    r.tools = p->tools.n > 0 && !p->told ? p->tools.shown : NULL;
    return r;
}

/* text ends with the name in `literal`, white space aside. */
static bool ends_with(const str *text, const char *literal) {
    size_t end = text->len, n = strlen(literal);
    const char *name = literal;
    if (n > 2 && *literal == TOOLCALL_CONTROL) {
        name++;
        n -= 2;
    }
    while (end > 0 && strchr(" \n\r\t", text->data[end - 1]))
        end--;
    return end >= n && memcmp(text->data + end - n, name, n) == 0;
}

/* Whether the prompt opens reasoning for the model, or has closed it already. */
static muga_status look_at_prompt(llm *m, plan *p, muga_error *err) {
    str text = STR_INIT;
    if (!p->think_close || !m->table->render)
        return MUGA_OK;
    llm_request r = request_of(p);
    muga_status st = m->table->render(m, &r, &text, err);
    if (!st && ends_with(&text, p->think_close))
        p->think_open = p->think_close = NULL;
    else if (!st)
        p->thinking = ends_with(&text, p->think_open);
    str_release(&text);
    return st;
}

static muga_status make_seed(plan *p, muga_error *err) {
    const llm_sampling *s = &p->q->sampling;
    uint64_t key[3] = {s->seed, (uint64_t)s->choice << 32 | s->attempt, (uint64_t)p->q->now_ms};
    str text = STR_INIT;
    json_write(p->q->messages, &text);
    muga_status st = str_status(&text, err, "the messages");
    p->seed = hash64(str_get(&text), text.len, hash64(key, sizeof key, 0));
    str_release(&text);
    return st;
}

/* ---- the grammar ---- */

/* What the grammar is made of: one of the two, or neither. */
typedef struct recipe {
    const llm_request *q; /* its regex or grammar */
    toolcall_grammar answer;
    constrain_options options;
} recipe;

static muga_status compile(void *ctx, constrain_grammar **out, muga_error *err) {
    const recipe *r = ctx;
    return r->q->regex  ? constrain_compile_regex(r->q->regex, out, err)
           : r->q->gbnf ? constrain_compile_gbnf(r->q->gbnf, strlen(r->q->gbnf), out, err)
                        : toolcall_compile(&r->answer, out, err);
}

static void key_form(grammars_key *k, const toolcall_form *f) {
    const char *const texts[] = {f->trigger, f->start, f->before, f->middle, f->after, f->separator, f->end, f->key};
    grammars_key_number(k, (uint64_t)f->shape << 1 | f->at_start);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        grammars_key_text(k, texts[i]);
}

/* All that toolcall_compile looks at. */
static void make_key(const recipe *r, grammars_key *k) {
    const toolcall_grammar *g = &r->answer;
    grammars_key_init(k);
    grammars_key_text(k, r->q->regex);
    grammars_key_text(k, r->q->gbnf);
    grammars_key_number(k, g->n_forms);
    for (size_t i = 0; i < g->n_forms; i++)
        key_form(k, &g->forms[i]);
    for (size_t i = 0; g->tools && i < g->tools->n; i++) {
        grammars_key_text(k, g->tools->names[i]);
        grammars_key_schema(k, g->tools->schemas[i], &r->options);
    }
    grammars_key_number(k, g->choice);
    grammars_key_text(k, g->tool_name);
    grammars_key_schema(k, g->value, &r->options);
    grammars_key_text(k, g->think_open);
    grammars_key_text(k, g->think_close);
    grammars_key_number(k, (uint64_t)g->think_tokens << 3 | g->one_call << 2 | g->thinking << 1 | g->no_thinking);
}

static muga_status make_grammar(plan *p, muga_error *err) {
    const llm_request *q = p->q;
    bool calls = q->tool_choice != LLM_TOOLS_SHOWN, off = q->thinking == LLM_THINKING_OFF;
    recipe r = {.q = q, .options = {.sources = q->sources, .n_sources = q->n_sources, .plain_integers = true}};
    if (q->regex || q->gbnf) {
        if (calls || p->thinking)
            return error_set(err, MUGA_E_USAGE,
                             "a regex or grammar is for the whole answer, so there are no calls and no reasoning with "
                             "it; a schema can stand beside them");
        p->think_open = p->think_close = NULL;
    } else if (!calls && !q->schema && !(p->think_close && (off || q->reasoning_tokens))) {
        return MUGA_OK;
    } else {
        r.answer = (toolcall_grammar){.forms = p->forms,
                                      .n_forms = calls ? p->n_forms : 0,
                                      .tools = &p->tools,
                                      .choice = q->tool_choice,
                                      .tool_name = q->tool_name,
                                      .one_call = q->one_call,
                                      .value = q->schema,
                                      .think_open = p->think_open,
                                      .think_close = p->think_close,
                                      .thinking = p->thinking,
                                      .no_thinking = off && !p->thinking,
                                      .think_tokens = q->reasoning_tokens,
                                      .options = &r.options};
    }
    grammars_key key;
    make_key(&r, &key);
    return grammars_take(p->grammars, &key, compile, &r, &p->grammar, err);
}

/* All but the grammar. */
static muga_status plan_prompt(llm *m, const llm_request *q, plan *p, muga_error *err) {
    *p = (plan){.q = q, .grammars = m->grammars};
    arena_init(&p->a, 0);
    muga_status st = choose_form(m, p, err);
    if (!st)
        st = toolcall_tools_read(q->tools, &p->tools, err);
    const toolcall_tools *told = p->told && q->tool_choice != LLM_TOOLS_NONE ? &p->tools : NULL;
    if (!st)
        st = toolcall_messages(&p->model, p->n_forms ? &p->forms[0] : NULL, told, q->one_call, q->messages,
                               &p->messages, err);
    return st;
}

static muga_status plan_init(llm *m, const llm_request *q, plan *p, muga_error *err) {
    muga_status st = plan_prompt(m, q, p, err);
    if (!st)
        st = look_at_prompt(m, p, err);
    if (!st)
        st = make_grammar(p, err);
    if (!st)
        st = make_seed(p, err);
    return st;
}

/* ---- reading ---- */

static bool pass_event(const llm_request *q, const llm_event *e) {
    if (q->on_event)
        return q->on_event(q->on_event_ctx, e);
    return e->kind != LLM_EVENT_CONTENT || !q->on_text || q->on_text(q->on_text_ctx, e->p, e->n);
}

static bool give_event(void *ctx, const llm_event *e) {
    plan *p = ctx;
    if (p->q->on_token && e->kind == LLM_EVENT_CONTENT) {
        size_t from, to;
        toolcall_parser_where(p->parser, &from, &to);
        token_queue_give(&p->tokens, from, to, p->q);
    }
    return pass_event(p->q, e);
}

/* Nothing goes out yet, but the answer may be cancelled. */
static bool keep_event(void *ctx, const llm_event *e) {
    const llm_event none = {.kind = e->kind == LLM_EVENT_REASONING ? e->kind : LLM_EVENT_CONTENT, .p = ""};
    return pass_event(((const plan *)ctx)->q, &none);
}

static muga_status begin_reading(plan *p, bool keep, muga_error *err) {
    const llm_request *q = p->q;
    bool calls = q->tool_choice != LLM_TOOLS_SHOWN && q->tool_choice != LLM_TOOLS_NONE && p->tools.n > 0;
    toolcall_parser_options o = {.forms = p->forms,
                                 .n_forms = calls ? p->n_forms : 0,
                                 .is_value = q->schema != NULL,
                                 .think_open = q->thinking == LLM_THINKING_OFF && !p->thinking ? NULL : p->think_open,
                                 .think_close = p->think_close,
                                 .thinking = p->thinking,
                                 .names = p->tools.names,
                                 .n_names = p->tools.n,
                                 .stop = q->stop,
                                 .n_stop = q->n_stop,
                                 .seed = p->seed,
                                 .messages = q->messages,
                                 .on_event = keep ? keep_event : give_event,
                                 .on_event_ctx = p};
    toolcall_parser_free(p->parser);
    p->parser = NULL;
    return toolcall_parser_new(&o, &p->parser, err);
}

static bool on_text(void *ctx, const char *text, size_t n) {
    plan *p = ctx;
    bool more = false;
    return toolcall_parser_feed(p->parser, text, n, &more, &p->parse_error) == MUGA_OK && more;
}

/* What the parser has read becomes the reply's. */
static muga_status take_reading(plan *p, llm_reply *out, muga_error *err) {
    muga_status st = p->parse_error.status;
    if (!st && out->finish != LLM_FINISH_CANCELLED)
        st = toolcall_parser_end(p->parser, &p->parse_error);
    else if (!st && toolcall_parser_stop(p->parser))
        st = toolcall_parser_end(p->parser, &p->parse_error);
    if (st)
        return error_set(err, st, "%s", p->parse_error.message);
    bool cancelled = toolcall_parser_cancelled(p->parser);
    out->stopped_by = toolcall_parser_stop(p->parser);
    str_release(&out->text);
    st = toolcall_parser_take(p->parser, &out->text, &out->reasoning, &out->calls, &out->n_calls, err);
    if (cancelled)
        out->finish = LLM_FINISH_CANCELLED;
    else if (out->stopped_by)
        out->finish = LLM_FINISH_STOP;
    if (out->n_calls > 0 && out->finish == LLM_FINISH_STOP)
        out->finish = LLM_FINISH_TOOL_CALLS;
    return st;
}

/* ---- decoding ---- */

/* By the schemas themselves. MUGA_E_NEGATIVE: a call, or the value, isn't valid. */
static muga_status validate(const plan *p, const llm_reply *r, muga_error *err) {
    constrain_validate_options o = {.formats = true};
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < r->n_calls && !st; i++)
        for (size_t k = 0; k < p->tools.n && !st; k++)
            if (strcmp(r->calls[i].name, p->tools.names[k]) == 0)
                st = constrain_validate(p->tools.schemas[k], r->calls[i].value, &o, err);
    if (st || !p->q->schema || r->n_calls > 0)
        return st;
    json_t *v = NULL;
    st = json_parse(str_get(&r->text), r->text.len, "the answer", &v, err);
    if (!st)
        st = constrain_validate(p->q->schema, v, &o, err);
    json_decref(v);
    return st;
}

static muga_status decode(llm *m, plan *p, const llm_request *asked, bool keep, llm_reply *out, muga_error *err) {
    llm_request r = request_of(p);
    r.sampling = asked->sampling;
    r.asked = asked;
    r.grammar = p->grammar;
    r.schema = NULL;
    r.regex = r.gbnf = NULL;
    r.stop = NULL;
    r.n_stop = 0;
    r.show_control = true;
    r.on_text = on_text;
    r.on_text_ctx = p;
    r.on_token = p->q->on_token ? token_queue_push : NULL;
    r.on_token_ctx = &p->tokens;
    token_queue_clear(&p->tokens);
    p->parse_error = (muga_error){0};
    muga_status st = begin_reading(p, keep, err);
    if (!st)
        st = m->table->complete(m, &r, out, err);
    return st;
}

/* The text that was found valid, once more, for whoever waits for it. */
static muga_status give_out(plan *p, const str *text, llm_reply *out, muga_error *err) {
    bool more = false;
    str content = STR_INIT, reasoning = STR_INIT;
    llm_call *calls = NULL;
    size_t n_calls = 0;
    muga_status st = begin_reading(p, false, err);
    if (!st)
        st = toolcall_parser_feed(p->parser, str_get(text), text->len, &more, err);
    if (!st)
        st = toolcall_parser_end(p->parser, err);
    if (!st)
        st = toolcall_parser_take(p->parser, &content, &reasoning, &calls, &n_calls, err);
    if (!st && toolcall_parser_cancelled(p->parser))
        out->finish = LLM_FINISH_CANCELLED;
    if (!st)
        st = token_queue_finish(&p->tokens, p->q, err);
    str_release(&content);
    str_release(&reasoning);
    toolcall_calls_free(calls, n_calls);
    return st;
}

static muga_status decode_and_check(llm *m, plan *p, llm_reply *out, muga_error *err) {
    muga_error why = {0};
    for (uint32_t i = 0; i < CONSTRAINED_ATTEMPTS; i++) {
        llm_request asked = constrained_attempt(p->q, i);
        llm_reply before = *out;
        str text = STR_INIT;
        constrained_begin_again(out, &before);
        muga_status st = decode(m, p, &asked, true, out, err);
        constrained_add_up(out, &before, i + 1);
        if (!st) {
            str_append(&text, str_get(&out->text), out->text.len);
            st = str_status(&text, err, "the answer");
        }
        if (!st)
            st = take_reading(p, out, err);
        bool cancelled = !st && out->finish == LLM_FINISH_CANCELLED;
        if (cancelled) { /* nobody has found it valid */
            toolcall_calls_free(out->calls, out->n_calls);
            out->calls = NULL;
            out->n_calls = 0;
            str_truncate(&out->text, 0);
        }
        muga_status verdict = st || cancelled ? MUGA_OK : validate(p, out, &why);
        if (!st && !cancelled && !verdict)
            st = give_out(p, &text, out, err);
        str_release(&text);
        if (st || cancelled || !verdict)
            return st;
        if (verdict != MUGA_E_NEGATIVE)
            return error_set(err, verdict, "%s", why.message);
    }
    return error_set(err, MUGA_E_LIMIT, "no valid answer in %u attempts: %.150s", CONSTRAINED_ATTEMPTS, why.message);
}

muga_status answer_complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err) {
    plan p;
    muga_status st = plan_init(m, q, &p, err);
    if (!st && p.grammar && constrain_rechecks(p.grammar)) {
        st = decode_and_check(m, &p, out, err);
    } else if (!st) {
        st = decode(m, &p, q, false, out, err);
        if (!st)
            st = take_reading(&p, out, err);
        if (!st)
            st = token_queue_finish(&p.tokens, q, err);
    }
    plan_release(&p);
    return st;
}

muga_status answer_render(llm *m, const llm_request *q, str *out, muga_error *err) {
    plan p;
    muga_status st = plan_prompt(m, q, &p, err);
    if (!st) {
        llm_request r = request_of(&p);
        st = m->table->render(m, &r, out, err);
    }
    plan_release(&p);
    return st;
}
