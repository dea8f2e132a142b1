/* Answers that leave nothing to decide. Owns: finding out that a schema, with its grounded values, can be answered in
 * one way, and the evidence of that. Refuses: to say so of what it has not found valid.
 *
 * Idea: the constraint's automaton knows which byte must come next. Where it must at every byte up to the end, a model
 * under it could have written nothing else, so none is asked. Evidence:
 *   {"kind": "only_value", "schema": "...", "sources": [{"name", "texts"}], "text": "..."}
 * The schema stands as text: who keeps evidence may sort an object's keys, and the answer has them in its order. */
#include "llm/only.h"

#include "llm/sources.h"

#include <string.h>

#define KIND "only_value"
#define TEXT_MAX ((size_t)16 << 10)           /* a longer answer is the model's to write */
#define EVIDENCE_MAX_BYTES ((size_t)64 << 20) /* what reading the sources back may take */

/* text: the answer, or empty where there are several. */
static muga_status follow(const constrain_grammar *g, str *text, muga_error *err) {
    constrain_state *s = NULL;
    bool accepted = true;
    muga_status st = constrain_state_new(g, &s, err);
    if (!st) {
        constrain_forced(s, TEXT_MAX, text);
        st = str_status(text, err, "an answer");
    }
    if (!st)
        st = constrain_advance(s, str_get(text), text->len, &accepted, err);
    if (!st && !(accepted && constrain_is_complete(s) && !constrain_can_continue(s)))
        str_clear(text);
    if (!st && text->len > 0) {
        muga_error why;
        st = constrain_recheck(g, str_get(text), text->len, &why);
        if (st == MUGA_E_NEGATIVE) { /* a model would try and fail, and say so */
            str_clear(text);
            st = MUGA_OK;
        } else if (st) {
            st = error_set(err, st, "%s", why.message);
        }
    }
    constrain_state_free(s);
    return st;
}

static muga_status find(const json_t *schema, const constrain_source *sources, size_t n, str *text, muga_error *err) {
    constrain_options o = {.sources = sources, .n_sources = n, .plain_integers = true};
    constrain_grammar *g = NULL;
    muga_status st = constrain_compile_schema(schema, &o, &g, err);
    if (!st)
        st = follow(g, text, err);
    constrain_grammar_free(g);
    return st;
}

muga_status llm_only_value(const json_t *schema, const constrain_source *sources, size_t n_sources, json_t **value,
                           json_t **evidence, muga_error *err) {
    str text = STR_INIT, written = STR_INIT;
    *value = *evidence = NULL;
    muga_status st = find(schema, sources, n_sources, &text, err);
    if (!st && text.len > 0) {
        json_write(schema, &written);
        st = str_status(&written, err, "evidence");
    }
    if (!st && text.len > 0)
        st = json_parse(str_get(&text), text.len, "the only value", value, err);
    if (!st && text.len > 0) {
        json_t *from = sources_write(sources, n_sources);
        *evidence = from ? json_pack("{s:s, s:s%, s:o, s:s%}", "kind", KIND, "schema", str_get(&written), written.len,
                                     "sources", from, "text", str_get(&text), text.len)
                         : NULL;
        st = *evidence ? MUGA_OK : error_nomem(err, "evidence");
    }
    if (st) {
        json_decref(*value);
        *value = NULL;
    }
    str_release(&written);
    str_release(&text);
    return st;
}

bool llm_needs_model(const json_t *evidence) {
    const char *kind = json_get_string(evidence, "kind");
    return !kind || strcmp(kind, KIND) != 0;
}

muga_status only_replay(const json_t *evidence, muga_error *err) {
    const json_t *was = json_object_get(evidence, "text"), *written = json_object_get(evidence, "schema");
    llm_request q = {.n_sources = 0};
    json_t *schema = NULL;
    str text = STR_INIT;
    arena a;
    if (!json_is_string(was) || !json_is_string(written))
        return evidence_malformed(err, json_is_string(was) ? "schema" : "text");
    arena_init(&a, EVIDENCE_MAX_BYTES);
    muga_status st = sources_read(&a, json_object_get(evidence, "sources"), &q, err);
    if (!st)
        st = json_parse(json_string_value(written), json_string_length(written), "evidence: schema", &schema, err);
    if (!st)
        st = find(schema, q.sources, q.n_sources, &text, err);
    if (!st && (text.len != json_string_length(was) || memcmp(str_get(&text), json_string_value(was), text.len) != 0))
        st = error_set(err, MUGA_E_NEGATIVE,
                       "replay differs: the only value is \"%.70s\" in the evidence, %s%.70s%s now",
                       json_string_value(was), text.len > 0 ? "\"" : "",
                       text.len > 0 ? str_get(&text) : "one of several", text.len > 0 ? "\"" : "");
    str_release(&text);
    json_decref(schema);
    arena_release(&a);
    return st;
}
