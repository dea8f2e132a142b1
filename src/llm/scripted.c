/* A model that says what it was told to: answers in turn from a JSON array. For tests of everything above llm/.
 *
 * It keeps the promise of the interface where a script would break it: a constrained answer that violates its
 * constraint is refused, unless the entry says "raw", with which a fully hijacked model is played. Every request is
 * recorded. */
#include "base/mem.h"
#include "llm/toolcall.h"

typedef struct scripted {
    llm base;
    json_t *script, *requests;
    size_t at;
    toolcall_model form;
} scripted;

static muga_status next_entry(scripted *s, const json_t **out, muga_error *err) {
    const json_t *entry = json_array_get(s->script, s->at);
    if (!entry)
        return error_set(err, MUGA_E_NOT_FOUND, "the script has no answer %zu", s->at);
    s->at++;
    *out = entry;
    const char *name = json_get_string(entry, "error");
    if (!name)
        return MUGA_OK;
    const char *message = json_get_string(entry, "message");
    for (int st = MUGA_E_NEGATIVE; st <= MUGA_E_INTERNAL; st++)
        if (strcmp(error_status_name((muga_status)st), name) == 0)
            return error_set(err, (muga_status)st, "%s", message ? message : name);
    return error_set(err, MUGA_E_INPUT, "script: \"%s\" is not the name of a status", name);
}

/* Takes the reference of `request`. */
static muga_status record(scripted *s, json_t *request, muga_error *err) {
    return request && json_array_append_new(s->requests, request) == 0 ? MUGA_OK
                                                                       : error_nomem(err, "the script's record");
}

/* A raw prompt, in what was recorded last. */
static muga_status record_prompt(scripted *s, span text, muga_error *err) {
    json_t *last = json_array_get(s->requests, json_array_size(s->requests) - 1);
    return json_object_set_new(last, "prompt", json_stringn(text.p, text.n)) ? error_nomem(err, "the script's record")
                                                                             : MUGA_OK;
}

static json_t *strings(const char *const *v, size_t n) {
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(a, json_string(v[i]));
    return a;
}

static muga_status check_constraint(const llm_request *q, const char *text, size_t n, muga_error *err) {
    constrain_state *state = NULL;
    bool accepted = false;
    if (!q->grammar)
        return MUGA_OK;
    muga_status st = constrain_state_new(q->grammar, &state, err);
    if (!st)
        st = constrain_advance(state, text, n, &accepted, err);
    if (!st && !(accepted && constrain_is_complete(state)))
        st = error_set(err, MUGA_E_INPUT, "the scripted answer violates its constraint: %.100s", text);
    constrain_state_free(state);
    return st;
}

static muga_status count(llm *m, const json_t *messages, const json_t *tools, uint32_t *n_tok, muga_error *err) {
    (void)m;
    str text = STR_INIT;
    if (messages)
        json_write(messages, &text);
    if (tools)
        json_write(tools, &text);
    *n_tok = (uint32_t)(text.len / 4 + 1);
    muga_status st = str_status(&text, err, "the messages");
    str_release(&text);
    return st;
}

/* What a model would write for this entry: its text, or reasoning, text and calls. */
static void write_entry(const json_t *entry, str *out) {
    const char *reasoning = json_get_string(entry, "reasoning");
    const json_t *text = json_object_get(entry, "text"), *calls = json_object_get(entry, "calls");
    const toolcall_form *f = &toolcall_family_named("hermes")->form[0];
    if (reasoning)
        str_printf(out, "<think>%s</think>\n\n", reasoning);
    if (json_string_length(text) > 0)
        str_append(out, json_string_value(text), json_string_length(text));
    if (json_array_size(calls) > 0)
        toolcall_write_calls(out, f, calls);
}

static muga_status complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err) {
    scripted *s = (scripted *)m;
    const json_t *entry;
    size_t i_entry = s->at;
    if (q->on_token || q->want_ids)
        return error_set(err, MUGA_E_USAGE, "a scripted model has no tokens");
    muga_status st = record(s,
                            json_pack("{s:O?, s:O?, s:O?, s:s?, s:I, s:s*}", "messages", q->messages, "tools", q->tools,
                                      "schema", q->schema, "prefix", q->prefix, "attempt",
                                      (json_int_t)q->sampling.attempt, "tenant", q->tenant),
                            err);
    if (!st && q->prompt_text.p)
        st = record_prompt(s, q->prompt_text, err);
    if (!st)
        st = next_entry(s, &entry, err);
    if (st)
        return st;
    bool cancel = json_get_bool(entry, "cancel", false);
    if (!json_is_string(json_object_get(entry, "text")) && !json_is_array(json_object_get(entry, "calls")) && !cancel)
        return error_set(err, MUGA_E_INPUT, "script: answer %zu has no \"text\" and no \"calls\"", i_entry);
    write_entry(entry, &out->text);
    if ((st = str_status(&out->text, err, "the answer")))
        return st;
    const char *text = str_get(&out->text);
    size_t n = out->text.len;
    if (!cancel && !json_get_bool(entry, "raw", false) && (st = check_constraint(q, text, n, err)))
        return st;
    const char *finish = json_get_string(entry, "finish");
    out->finish = cancel                                    ? LLM_FINISH_CANCELLED
                  : finish && strcmp(finish, "length") == 0 ? LLM_FINISH_LENGTH
                                                            : LLM_FINISH_STOP;
    if (q->on_text && n > 0 && !q->on_text(q->on_text_ctx, text, n))
        out->finish = LLM_FINISH_CANCELLED;
    out->n_generated = (uint32_t)(n / 4 + 1);
    if ((st = count(m, q->messages, q->tools, &out->n_prompt, err)))
        return st;
    if (q->want_evidence && !(out->evidence = json_pack("{s:s, s:I, s:O}", "kind", "scripted", "entry",
                                                        (json_int_t)i_entry, "answer", entry)))
        return error_nomem(err, "the evidence");
    return str_status(&out->text, err, "the answer");
}

static muga_status score(llm *m, const llm_score_request *q, llm_score_reply *out, muga_error *err) {
    scripted *s = (scripted *)m;
    const json_t *entry;
    size_t i_entry = s->at;
    muga_status st =
        record(s,
               json_pack("{s:O, s:O?, s:s?, s:o, s:s*}", "messages", q->messages, "tools", q->tools, "prefix",
                         q->prefix, "labels", strings(q->labels, q->n_labels), "tenant", q->tenant),
               err);
    if (!st)
        st = next_entry(s, &entry, err);
    if (st)
        return st;
    const json_t *scores = json_object_get(entry, "scores");
    if (json_array_size(scores) != q->n_labels)
        return error_set(err, MUGA_E_INPUT, "script: answer %zu has %zu \"scores\" for %zu labels", i_entry,
                         json_array_size(scores), q->n_labels);
    out->logprob = mem_alloc_array(q->n_labels, sizeof *out->logprob);
    out->n_tokens = mem_alloc_array(q->n_labels, sizeof *out->n_tokens);
    if (!out->logprob || !out->n_tokens)
        return error_nomem(err, "the scores");
    for (size_t i = 0; i < q->n_labels; i++) {
        out->logprob[i] = json_number_value(json_array_get(scores, i));
        out->n_tokens[i] = (uint32_t)(strlen(q->labels[i]) / 4 + 1);
    }
    if (q->want_evidence && !(out->evidence = json_pack("{s:s, s:I, s:O}", "kind", "scripted", "entry",
                                                        (json_int_t)i_entry, "answer", entry)))
        return error_nomem(err, "the evidence");
    return count(m, q->messages, q->tools, &out->n_prompt, err);
}

/* The script is all there is to recompute from. */
static muga_status replay(llm *m, const json_t *evidence, muga_error *err) {
    const scripted *s = (const scripted *)m;
    const char *kind = json_get_string(evidence, "kind");
    int64_t i = json_get_int(evidence, "entry", -1);
    if (!kind || strcmp(kind, "scripted") != 0 || i < 0)
        return error_set(err, MUGA_E_INPUT, "the evidence was not made by a scripted model");
    if (!json_equal(json_array_get(s->script, (size_t)i), json_object_get(evidence, "answer")))
        return error_set(err, MUGA_E_NEGATIVE, "replay differs: the script's answer %lld is another one", (long long)i);
    return MUGA_OK;
}

static muga_status identify(llm *m, json_t **out, muga_error *err) {
    (void)m;
    *out = json_pack("{s:s}", "sha256", "scripted");
    return *out ? MUGA_OK : error_nomem(err, "the scripted model's identity");
}

static void scripted_free(llm *m) {
    scripted *s = (scripted *)m;
    json_decref(s->script);
    json_decref(s->requests);
    free(s);
}

static muga_status form(llm *m, const toolcall_model **out, muga_error *err) {
    (void)err;
    *out = &((scripted *)m)->form;
    return MUGA_OK;
}

static const llm_table scripted_table = {.complete = complete,
                                         .score = score,
                                         .count = count,
                                         .replay = replay,
                                         .identify = identify,
                                         .free = scripted_free,
                                         .form = form};

muga_status llm_scripted_new(const json_t *script, llm **out, muga_error *err) {
    if (!json_is_array(script))
        return error_set(err, MUGA_E_INPUT, "a script is an array of answers");
    scripted *s = mem_alloc_array(1, sizeof *s);
    if (!s)
        return error_nomem(err, "the scripted model");
    s->base = (llm){.table = &scripted_table, .name = "scripted", .n_ctx = 8192};
    /* It writes calls as Hermes models do, and its template knows of everything. */
    static const toolcall_thinking thinking = {"think", "<think>", "</think>"};
    s->form = (toolcall_model){.family = toolcall_family_named("hermes"),
                               .thinking = &thinking,
                               .shows_tools = true,
                               .shows_calls = true,
                               .shows_results = true,
                               .takes_system = true};
    s->script = json_clone(script);
    s->requests = json_array();
    if (!s->script || !s->requests) {
        scripted_free(&s->base);
        return error_nomem(err, "the scripted model");
    }
    *out = &s->base;
    return MUGA_OK;
}

const json_t *llm_scripted_requests(const llm *m) {
    return ((const scripted *)m)->requests;
}
