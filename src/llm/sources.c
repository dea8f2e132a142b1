/* The texts that grounded values come from, to and from evidence. */
#include "llm/sources.h"

muga_status evidence_malformed(muga_error *err, const char *what) {
    return error_set(err, MUGA_E_INPUT, "evidence: \"%s\" is missing or of a wrong type", what);
}

json_t *sources_write(const constrain_source *sources, size_t n) {
    json_t *a = json_array();
    for (size_t i = 0; a && i < n; i++) {
        json_t *texts = json_array();
        for (size_t j = 0; texts && j < sources[i].n_texts; j++)
            if (json_array_append_new(texts, json_stringn(sources[i].texts[j].p, sources[i].texts[j].n))) {
                json_decref(texts);
                texts = NULL;
            }
        if (!texts || json_array_append_new(a, json_pack("{s:s, s:o}", "name", sources[i].name, "texts", texts))) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

static muga_status read_source(arena *a, const json_t *v, constrain_source *out, muga_error *err) {
    const json_t *texts = json_object_get(v, "texts");
    out->name = json_get_string(v, "name");
    if (!out->name || !json_is_array(texts))
        return evidence_malformed(err, "sources");
    out->n_texts = json_array_size(texts);
    span *t = arena_alloc(a, (out->n_texts + 1) * sizeof *t);
    if (!t)
        return error_nomem(err, "sources");
    for (size_t i = 0; i < out->n_texts; i++) {
        const json_t *text = json_array_get(texts, i);
        if (!json_is_string(text))
            return evidence_malformed(err, "sources");
        t[i] = span_of(json_string_value(text), json_string_length(text));
    }
    out->texts = t;
    return MUGA_OK;
}

muga_status sources_read(arena *a, const json_t *v, llm_request *q, muga_error *err) {
    if (!json_is_array(v))
        return evidence_malformed(err, "sources");
    q->n_sources = json_array_size(v);
    constrain_source *sources = arena_alloc(a, (q->n_sources + 1) * sizeof *sources);
    muga_status st = sources ? MUGA_OK : error_nomem(err, "sources");
    for (size_t i = 0; i < q->n_sources && !st; i++)
        st = read_source(a, json_array_get(v, i), &sources[i], err);
    q->sources = sources;
    return st;
}
