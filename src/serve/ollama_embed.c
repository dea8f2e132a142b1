/* POST /api/embed, and /api/embeddings as it was before: texts to vectors, of embedding models and of any other. */
#include "serve/ollama.h"

#define MAX_TEXTS 2048.0

typedef struct wanted {
    const char *model, *prompt;
    const json_t *input, *options, *keep_alive;
    bool truncate;
    uint32_t dimensions;
} wanted;

static const field embed_fields[] = {
    {"model", FIELD_STRING, FIELD_AT(wanted, model), 0, 512, NULL, true},
    {"input", FIELD_JSON, FIELD_AT(wanted, input), 0, 0, NULL, true},
    {"truncate", FIELD_BOOL, FIELD_AT(wanted, truncate), 0, 0, NULL, false},
    {"dimensions", FIELD_U32, FIELD_AT(wanted, dimensions), 1, 1 << 20, NULL, false},
    {"options", FIELD_OBJECT, FIELD_AT(wanted, options), 0, 0, NULL, false},
    {"keep_alive", FIELD_JSON, FIELD_AT(wanted, keep_alive), 0, 0, NULL, false},
};

static const field embeddings_fields[] = {
    {"model", FIELD_STRING, FIELD_AT(wanted, model), 0, 512, NULL, true},
    {"prompt", FIELD_STRING, FIELD_AT(wanted, prompt), 0, 0, NULL, true},
    {"options", FIELD_OBJECT, FIELD_AT(wanted, options), 0, 0, NULL, false},
    {"keep_alive", FIELD_JSON, FIELD_AT(wanted, keep_alive), 0, 0, NULL, false},
};

/* The texts of a string or an array of strings, in the call's arena. */
static bool read_texts(call *c, const json_t *input, span **out, size_t *n) {
    bool one = json_is_string(input);
    *n = one ? json_string_length(input) > 0 : json_array_size(input); /* nothing said: nothing to embed */
    if (!one && !json_is_array(input))
        return call_fail(c, 400, "input", "invalid_type", "input must be a text or an array of texts");
    if ((double)*n > MAX_TEXTS)
        return call_fail(c, 400, "input", "too_long", "input has %zu texts, more than %.0f", *n, MAX_TEXTS);
    *out = arena_alloc(&c->mem, MAX(*n, 1) * sizeof **out);
    if (!*out)
        return call_no_memory(c);
    for (size_t i = 0; i < *n; i++) {
        const json_t *v = one ? input : json_array_get(input, i);
        if (!json_is_string(v))
            return call_fail(c, 400, "input", "invalid_type", "input[%zu] must be a text", i);
        (*out)[i] = span_of(json_string_value(v), json_string_length(v));
    }
    return true;
}

/* The first n numbers of a vector, of length 1 again: what models trained for it (Matryoshka) mean by fewer. */
static json_t *vector_json(const float *v, uint32_t n, uint32_t of) {
    double sum = 0;
    json_t *list = json_array();
    bool whole = list != NULL;
    for (uint32_t i = 0; n < of && i < n; i++)
        sum += (double)v[i] * (double)v[i];
    double scale = n < of && sum > 0 ? 1 / sqrt(sum) : 1;
    for (uint32_t i = 0; whole && i < n; i++)
        whole = json_array_append_new(list, json_real((double)v[i] * scale)) == 0;
    if (whole)
        return list;
    json_decref(list);
    return NULL;
}

static bool embed(call *c, const wanted *w, const span *texts, size_t n, llm_embed_reply *out, pool_lent *lent) {
    muga_error err = {0};
    int64_t keep_alive_ms = -1;
    chat_sampling ignored;
    if (!ollama_read_options(c, w->options, &ignored) || !ollama_read_keep_alive(c, w->keep_alive, &keep_alive_ms) ||
        !chat_take(c, w->model, lent))
        return false;
    const llm_embed_request q = {.texts = texts, .n = n, .truncate = w->truncate, .cancelled = call_cancelled(c)};
    muga_status st = n ? llm_embed(lent->m, &q, out, &err) : MUGA_OK;
    for (size_t i = 0; !st && i < n; i++)
        c->n_prompt += out->n_tokens[i];
    bool fits = st || w->dimensions <= out->n_dims || n == 0;
    uint32_t n_dims = out->n_dims;
    pool_give(c->serve->pool, lent, keep_alive_ms);
    if (st)
        return call_fail_with(c, st, &err, "input");
    return fits || call_fail(c, 400, "dimensions", "out_of_range",
                             "dimensions must be between 1 and %u, which this model's vectors have, not %u", n_dims,
                             w->dimensions);
}

static void run_embed(call *c) {
    wanted w = {.truncate = true};
    span *texts = NULL;
    size_t n = 0;
    pool_lent lent = {0};
    llm_embed_reply r = {0};
    if (call_read(c, c->body, "", embed_fields, ARRAY_LEN(embed_fields), &w) && read_texts(c, w.input, &texts, &n) &&
        embed(c, &w, texts, n, &r, &lent)) {
        json_t *list = json_array();
        uint32_t wide = w.dimensions ? w.dimensions : r.n_dims;
        bool whole = list != NULL;
        for (size_t i = 0; whole && i < n; i++)
            whole = json_array_append_new(list, vector_json(r.vectors + i * r.n_dims, wide, r.n_dims)) == 0;
        uint64_t total = call_now_us() - c->begin_us;
        (void)call_reply(c, 200,
                         whole
                             ? json_pack("{s:s, s:O, s:I, s:I, s:I}", "model", w.model, "embeddings", list,
                                         "total_duration", (json_int_t)(total * 1000), "load_duration",
                                         (json_int_t)(c->load_us * 1000), "prompt_eval_count", (json_int_t)c->n_prompt)
                             : NULL);
        json_decref(list);
    }
    llm_embed_reply_release(&r);
}

static void run_embeddings(call *c) {
    wanted w = {.truncate = true};
    pool_lent lent = {0};
    llm_embed_reply r = {0};
    if (!call_read(c, c->body, "", embeddings_fields, ARRAY_LEN(embeddings_fields), &w))
        return;
    const span text = span_of_string(w.prompt);
    if (embed(c, &w, &text, *w.prompt != '\0', &r, &lent)) {
        json_t *vector = r.vectors ? vector_json(r.vectors, r.n_dims, r.n_dims) : json_array();
        (void)call_reply(c, 200, json_pack("{s:o}", "embedding", vector));
    }
    llm_embed_reply_release(&r);
}

static const call_route routes[] = {
    {.method = "POST",
     .path = "/api/embed",
     .family = CALL_OLLAMA,
     .right = CALL_ANY_KEY,
     .generates = true,
     .run = run_embed},
    {.method = "POST",
     .path = "/api/embeddings",
     .family = CALL_OLLAMA,
     .right = CALL_ANY_KEY,
     .generates = true,
     .run = run_embeddings},
};

serve_routes ollama_embed_routes(void) {
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
