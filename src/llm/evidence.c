/* Evidence: what was asked, of which model, under which settings, and what was computed, down to a digest of the
 * logits' bits; and replay, which asks the same again and compares.
 *
 *   {"kind": "complete" | "score", "request": {...}, "model": {"name", "bytes", "sha256"}, "template_sha256",
 *    "arithmetic", "settings": {"act", "kv", "n_ctx", "overrides" and "adapter": {"sha256", "scale"} where there are
 *    some}, "prompt_ids": [...], "output_ids": [...] (score: one array a label), "logits_rows", "logits_sha256",
 *    "finish", "texts" (complete: pieces given out), "cancelled_at" (tokens, where it was between two pieces) |
 *    "scores" (score: the bits of each f64, hex)}
 *
 * Floats that decide (scores) stand as bits; 64-bit integers (seed) as decimal strings: no JSON reader can change them.
 */
#include "base/mem.h"
#include "llm/answer.h"
#include "llm/local.h"
#include "llm/sources.h"

#include <inttypes.h>
#include <stdio.h>

#define EVIDENCE_MAX_BYTES ((size_t)256 << 20) /* what reading a request back may take */

static const char *const finish_names[] = {"stop", "length", "cancelled", "tool_calls"};
static const char *const choice_names[] = {"shown", "auto", "required", "named", "none"};
static const char *const thinking_names[] = {"default", "on", "off"};

void local_digest_row(void *digest, uint32_t pos, const float *logits) {
    (void)pos; /* rows come in ascending order */
    local_digest *d = digest;
    sha256_update(&d->hash, logits, d->n_vocab * sizeof *logits);
    d->n_rows++;
}

/* ---- the model's identity ---- */

/* The file must still be the one that was loaded: what it holds now would be hashed, and an embedding that stays in the
 * file is read at every step. */
muga_status local_identify(local *l, muga_error *err) {
    char digest[SHA256_HEX];
    pthread_mutex_lock(&l->identity_lock);
    bool is_new = !l->model_sha256[0];
    if (is_new) /* the store doesn't vouch for it: the file is read through once */
        gguf_digest(engine_file(l->engine), digest);
    if (!l->template_sha256[0]) {
        const char *fallback;
        uint8_t bytes[SHA256_BYTES];
        span source = engine_template_source(l->engine, &fallback);
        sha256_of(source.p, source.n, bytes);
        hex_write(bytes, sizeof bytes, l->template_sha256);
    }
    muga_status st = gguf_check_unchanged(engine_file(l->engine), l->path, err);
    if (!st && is_new)
        memcpy(l->model_sha256, digest, sizeof digest);
    pthread_mutex_unlock(&l->identity_lock);
    return st;
}

/* ---- writing ---- */

static json_t *number_string(uint64_t v) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, v);
    return json_string(text);
}

static json_t *strings(const char *const *v, size_t n) {
    json_t *a = json_array();
    for (size_t i = 0; a && i < n; i++)
        if (json_array_append_new(a, json_string(v[i]))) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static json_t *ids_of(const token_list *l) {
    json_t *a = json_array();
    for (size_t i = 0; a && i < l->n; i++)
        if (json_array_append_new(a, json_integer(l->ids[i]))) {
            json_decref(a);
            return NULL;
        }
    return a;
}

/* What a split answer was asked for. false: out of memory. */
static bool add_split(json_t *request, const llm_request *q) {
    if (q->thinking != LLM_THINKING_DEFAULT &&
        json_object_set_new(request, "thinking", json_string(thinking_names[q->thinking])))
        return false;
    if (!answer_is_split(q))
        return true;
    json_t *s = json_pack("{s:s, s:s?, s:s?, s:b, s:I}", "tool_choice", choice_names[q->tool_choice], "tool_name",
                          q->tool_name, "tool_format", q->tool_format, "one_call", (int)q->one_call, "reasoning_tokens",
                          (json_int_t)q->reasoning_tokens);
    return s && json_object_set_new(request, "split", s) == 0;
}

/* Members whose order a prompt or a grammar follows. Who keeps evidence may sort an object's keys, as canonical JSON
 * does; so where that would change one of these, it stands in the evidence as the text it is. */
static const char *const in_order[] = {"messages", "tools", "schema"};

/* Of a message without calls a template asks for members by name. */
static bool has_order(const char *key, const json_t *v) {
    bool has = strcmp(key, "messages") != 0;
    for (size_t i = 0; !has && i < json_array_size(v); i++)
        has = json_object_get(json_array_get(v, i), "tool_calls") != NULL;
    return has;
}

/* false: out of memory. */
static bool keep_order(json_t *request) {
    bool ok = true;
    for (size_t i = 0; ok && i < ARRAY_LEN(in_order); i++) {
        const json_t *v = json_object_get(request, in_order[i]);
        str text = STR_INIT, sorted = STR_INIT;
        if (v && has_order(in_order[i], v)) {
            json_write(v, &text);
            json_write_canonical(v, &sorted);
        }
        ok = !text.failed && !sorted.failed;
        if (ok && (text.len != sorted.len || (text.len > 0 && memcmp(text.data, sorted.data, text.len) != 0)))
            ok = json_object_set_new(request, in_order[i], json_stringn(text.data, text.len)) == 0;
        str_release(&sorted);
        str_release(&text);
    }
    return ok;
}

/* The evidence with these members as they were; a new object. */
static muga_status restore_order(const json_t *evidence, json_t **out, muga_error *err) {
    json_t *copy = json_clone_shallow(evidence), *request = json_clone_shallow(json_object_get(evidence, "request"));
    muga_status st = copy && request && !json_object_set(copy, "request", request) ? MUGA_OK
                                                                                   : error_nomem(err, "the replay");
    for (size_t i = 0; !st && i < ARRAY_LEN(in_order); i++) {
        const json_t *v = json_object_get(request, in_order[i]);
        json_t *read = NULL;
        if (!json_is_string(v))
            continue;
        st = json_parse(json_string_value(v), json_string_length(v), in_order[i], &read, err);
        if (!st && json_object_set(request, in_order[i], read))
            st = error_nomem(err, "the replay");
        json_decref(read);
    }
    json_decref(request);
    *out = st ? NULL : copy;
    if (st)
        json_decref(copy);
    return st;
}

/* What a request has that most haven't. false: out of memory, or bytes that aren't UTF-8. */
static bool add_rest(json_t *request, const llm_request *q) {
    bool ok = true;
    if (q->prompt_text.p)
        ok = json_object_set_new(request, "prompt_text", json_stringn(q->prompt_text.p, q->prompt_text.n)) == 0 &&
             json_object_set_new(request, "prompt_special", json_boolean(q->prompt_special)) == 0;
    if (ok && q->n_prompt_ids > 0) {
        token_list ids = {.ids = (int32_t *)(uintptr_t)q->prompt_ids, .n = q->n_prompt_ids};
        ok = json_object_set_new(request, "prompt_ids", ids_of(&ids)) == 0;
    }
    json_t *bias = q->n_logit_bias > 0 && ok ? json_array() : NULL;
    for (size_t i = 0; i < q->n_logit_bias && ok; i++)
        ok = json_array_append_new(bias,
                                   json_pack("[i, f]", (int)q->logit_bias[i].id, (double)q->logit_bias[i].bias)) == 0;
    if (bias)
        ok = json_object_set(request, "logit_bias", bias) == 0 && ok;
    json_decref(bias);
    return ok;
}

static json_t *complete_request(const llm_request *q) {
    const llm_sampling *s = &q->sampling;
    json_t *sampling =
        json_pack("{s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:o, s:I, s:I}", "temperature", (double)s->temperature,
                  "top_k", (json_int_t)s->top_k, "top_p", (double)s->top_p, "min_p", (double)s->min_p, "repeat_penalty",
                  (double)s->repeat_penalty, "presence_penalty", (double)s->presence_penalty, "frequency_penalty",
                  (double)s->frequency_penalty, "penalty_last_n", (json_int_t)s->penalty_last_n, "seed",
                  number_string(s->seed), "choice", (json_int_t)s->choice, "attempt", (json_int_t)s->attempt);
    if (sampling && s->typical_p > 0 && json_object_set_new(sampling, "typical_p", json_real((double)s->typical_p))) {
        json_decref(sampling);
        sampling = NULL;
    }
    json_t *sources = sources_write(q->sources, q->n_sources), *stop = strings(q->stop, q->n_stop);
    json_t *r = sampling && sources && stop
                    ? json_pack("{s:O?, s:O?, s:s?, s:O?, s:s?, s:s?, s:O, s:O, s:I, s:O, s:I}", "messages",
                                q->messages, "tools", q->tools, "prefix", q->prefix, "schema", q->schema, "regex",
                                q->regex, "gbnf", q->gbnf, "sources", sources, "sampling", sampling, "max_tokens",
                                (json_int_t)q->max_tokens, "stop", stop, "now_ms", (json_int_t)q->now_ms)
                    : NULL;
    if (r && !(add_split(r, q) && add_rest(r, q) && keep_order(r))) {
        json_decref(r);
        r = NULL;
    }
    json_decref(sampling);
    json_decref(sources);
    json_decref(stop);
    return r;
}

static json_t *score_request(const llm_score_request *q) {
    json_t *labels = strings(q->labels, q->n_labels);
    json_t *r = labels ? json_pack("{s:O, s:O?, s:s?, s:o, s:b, s:I}", "messages", q->messages, "tools", q->tools,
                                   "prefix", q->prefix, "labels", labels, "with_end", (int)q->with_end, "now_ms",
                                   (json_int_t)q->now_ms)
                       : NULL;
    if (r && !keep_order(r)) {
        json_decref(r);
        r = NULL;
    }
    return r;
}

/* output_ids and scores of a score, by label. */
static bool add_labels(json_t *evidence, const local_evidence *e) {
    json_t *ids = json_array(), *scores = json_array();
    bool ok = ids && scores;
    for (size_t i = 0; ok && i < e->score->n_labels; i++) {
        uint64_t bits;
        char hex[17];
        memcpy(&bits, &e->logprob[i], sizeof bits);
        snprintf(hex, sizeof hex, "%016" PRIx64, bits);
        ok = json_array_append_new(ids, ids_of(&e->output[i])) == 0 &&
             json_array_append_new(scores, json_string(hex)) == 0;
    }
    ok = ok && json_object_set(evidence, "output_ids", ids) == 0 && json_object_set(evidence, "scores", scores) == 0;
    json_decref(ids);
    json_decref(scores);
    return ok;
}

/* Settings name the overrides of metadata where there are some. */
static bool add_overrides(json_t *v, const engine_options *o) {
    json_t *list = o->n_overrides ? strings(o->overrides, o->n_overrides) : NULL;
    return !o->n_overrides || (list && json_object_set_new(json_object_get(v, "settings"), "overrides", list) == 0);
}

/* Settings name the adapter where there is one. */
static bool add_adapter(json_t *v, const local *l) {
    json_t *adapter = l->adapter ? json_pack("{s:s, s:f}", "sha256", engine_adapter_sha256(l->adapter), "scale",
                                             (double)l->adapter_scale)
                                 : NULL;
    return !l->adapter || (adapter && !json_object_set_new(json_object_get(v, "settings"), "adapter", adapter));
}

muga_status local_identity(llm *m, json_t **out, muga_error *err) {
    local *l = (local *)m;
    muga_status st = local_identify(l, err);
    if (st)
        return st;
    const engine_options *o = engine_get_options(l->engine);
    json_t *v = json_pack("{s:s, s:s, s:s, s:{s:s, s:s}}", "sha256", l->model_sha256, "template_sha256",
                          l->template_sha256, "arithmetic", KERNEL_ARITHMETIC, "settings", "act",
                          o->exact ? "f32" : "int8", "kv", kernel_kv_name(o->kv));
    if (!v || !add_overrides(v, o) || !add_adapter(v, l)) {
        json_decref(v);
        return error_nomem(err, "the model's identity");
    }
    *out = v;
    return MUGA_OK;
}

/* Where an answer ended that was cancelled between two pieces of text. */
static bool add_end(json_t *v, const local_evidence *e) {
    bool is_end = e->by_flag && e->finish == LLM_FINISH_CANCELLED;
    return !is_end || json_object_set_new(v, "cancelled_at", json_integer((json_int_t)e->output->n)) == 0;
}

muga_status local_evidence_new(local *l, const local_evidence *e, json_t **out, muga_error *err) {
    muga_status st = local_identify(l, err);
    if (st)
        return st;
    const engine_options *o = engine_get_options(l->engine);
    uint8_t bytes[SHA256_BYTES];
    char logits[SHA256_HEX];
    sha256 h = e->digest->hash;
    sha256_final(&h, bytes);
    hex_write(bytes, sizeof bytes, logits);
    json_t *request = e->complete ? complete_request(e->complete) : score_request(e->score);
    json_t *prompt = ids_of(e->prompt);
    json_t *v = request && prompt
                    ? json_pack("{s:s, s:O, s:{s:s, s:I, s:s}, s:s, s:s, s:{s:s, s:s, s:I}, s:O, s:I, s:s}", "kind",
                                e->complete ? "complete" : "score", "request", request, "model", "name", l->name,
                                "bytes", (json_int_t)gguf_file_bytes(engine_file(l->engine)), "sha256", l->model_sha256,
                                "template_sha256", l->template_sha256, "arithmetic", KERNEL_ARITHMETIC, "settings",
                                "act", o->exact ? "f32" : "int8", "kv", kernel_kv_name(o->kv), "n_ctx",
                                (json_int_t)l->base.n_ctx, "prompt_ids", prompt, "logits_rows",
                                (json_int_t)e->digest->n_rows, "logits_sha256", logits)
                    : NULL;
    json_decref(request);
    json_decref(prompt);
    bool ok = v && add_overrides(v, o) && add_adapter(v, l) &&
              (e->complete ? json_object_set_new(v, "output_ids", ids_of(e->output)) == 0 &&
                                 json_object_set_new(v, "finish", json_string(finish_names[e->finish])) == 0 &&
                                 json_object_set_new(v, "texts", json_integer(e->n_texts)) == 0 && add_end(v, e)
                           : add_labels(v, e));
    if (!ok) {
        json_decref(v);
        return error_set(err, MUGA_E_NOMEM, "out of memory for the evidence, or a source text is not UTF-8");
    }
    *out = v;
    return MUGA_OK;
}

/* ---- replay ---- */

static uint32_t u32_of(const json_t *o, const char *key) {
    int64_t v = json_get_int(o, key, 0);
    return v >= 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
}

static llm_sampling read_sampling(const json_t *s) {
    const char *seed = json_get_string(s, "seed");
    return (llm_sampling){.temperature = (float)json_get_number(s, "temperature", 0),
                          .top_k = u32_of(s, "top_k"),
                          .top_p = (float)json_get_number(s, "top_p", 1),
                          .min_p = (float)json_get_number(s, "min_p", 0),
                          .typical_p = (float)json_get_number(s, "typical_p", 0),
                          .repeat_penalty = (float)json_get_number(s, "repeat_penalty", 1),
                          .presence_penalty = (float)json_get_number(s, "presence_penalty", 0),
                          .frequency_penalty = (float)json_get_number(s, "frequency_penalty", 0),
                          .penalty_last_n = u32_of(s, "penalty_last_n"),
                          .seed = seed ? strtoull(seed, NULL, 10) : 0,
                          .choice = u32_of(s, "choice"),
                          .attempt = u32_of(s, "attempt")};
}

/* An array of strings as C strings in the arena. */
static muga_status read_strings(arena *a, const json_t *v, const char *what, const char *const **out, size_t *n,
                                muga_error *err) {
    if (!json_is_array(v))
        return evidence_malformed(err, what);
    *n = json_array_size(v);
    const char **texts = arena_alloc(a, (*n + 1) * sizeof *texts);
    if (!texts)
        return error_nomem(err, what);
    for (size_t i = 0; i < *n; i++)
        if (!(texts[i] = json_string_value(json_array_get(v, i))))
            return evidence_malformed(err, what);
    *out = texts;
    return MUGA_OK;
}

static const json_t *present(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

/* Where two id lists (or lists of lists) part. */
static muga_status compare_ids(const char *what, const json_t *was, const json_t *is, muga_error *err) {
    if (json_equal(was, is))
        return MUGA_OK;
    size_t n = MIN(json_array_size(was), json_array_size(is)), i = 0;
    while (i < n && json_equal(json_array_get(was, i), json_array_get(is, i)))
        i++;
    return error_set(err, MUGA_E_NEGATIVE, "replay differs: %s part at index %zu (%zu recorded, %zu recomputed)", what,
                     i, json_array_size(was), json_array_size(is));
}

static muga_status compare_text(const char *key, const json_t *was, const json_t *is, muga_error *err) {
    const char *a = json_get_string(was, key), *b = json_get_string(is, key);
    if (a && b && strcmp(a, b) == 0)
        return MUGA_OK;
    return error_set(err, MUGA_E_NEGATIVE, "replay differs: %s is \"%.70s\" in the evidence, \"%.70s\" now", key,
                     a ? a : "(absent)", b ? b : "(absent)");
}

/* What must be the same before recomputing makes sense. */
static muga_status check_origin(local *l, const json_t *evidence, muga_error *err) {
    muga_status st = local_identify(l, err);
    if (st)
        return st;
    const engine_options *o = engine_get_options(l->engine);
    const json_t *settings = json_object_get(evidence, "settings"), *origin = json_object_get(evidence, "model");
    json_t *now = json_pack("{s:s, s:s, s:s, s:s, s:s}", "arithmetic", KERNEL_ARITHMETIC, "template_sha256",
                            l->template_sha256, "sha256", l->model_sha256, "act", o->exact ? "f32" : "int8", "kv",
                            kernel_kv_name(o->kv));
    if (!now)
        return error_nomem(err, "the replay");
    st = compare_text("arithmetic", evidence, now, err);
    if (!st)
        st = compare_text("sha256", origin, now, err);
    if (!st)
        st = compare_text("template_sha256", evidence, now, err);
    if (!st)
        st = compare_text("act", settings, now, err);
    if (!st)
        st = compare_text("kv", settings, now, err);
    json_decref(now);
    json_t *overrides = o->n_overrides ? strings(o->overrides, o->n_overrides) : NULL;
    const json_t *were = json_object_get(settings, "overrides");
    if (!st && (were || overrides) && !json_equal(were, overrides))
        st =
            error_set(err, MUGA_E_USAGE,
                      "the evidence was made with other overrides of metadata; open the model with the same to replay");
    json_decref(overrides);
    if (!st && u32_of(settings, "n_ctx") != l->base.n_ctx)
        st = error_set(err, MUGA_E_USAGE,
                       "the evidence was made with a context of %u tokens; open the model with it to replay",
                       u32_of(settings, "n_ctx"));
    return st;
}

/* The adapter must be the recorded one, at its scale; or none, where none was. */
static muga_status check_adapter(const local *l, const json_t *settings, muga_error *err) {
    const json_t *was = json_object_get(settings, "adapter");
    const char *recorded = json_get_string(was, "sha256");
    float scale = (float)json_number_value(json_object_get(was, "scale"));
    if (was && !recorded)
        return evidence_malformed(err, "adapter");
    if (was && !l->adapter)
        return error_set(err, MUGA_E_USAGE,
                         "the evidence was made with the adapter of SHA-256 %.64s; open the model with it to replay",
                         recorded);
    if (!was && l->adapter)
        return error_set(err, MUGA_E_USAGE,
                         "the evidence was made without an adapter; open the model without one to replay");
    if (was && strcmp(recorded, engine_adapter_sha256(l->adapter)) != 0)
        return error_set(err, MUGA_E_NEGATIVE,
                         "replay differs: the adapter's SHA-256 is \"%.70s\" in the evidence, \"%s\" now", recorded,
                         engine_adapter_sha256(l->adapter));
    if (was && scale != l->adapter_scale)
        return error_set(err, MUGA_E_USAGE, "the evidence was made with the adapter at scale %g, not %g; open it so",
                         (double)scale, (double)l->adapter_scale);
    return MUGA_OK;
}

static muga_status compare(const json_t *was, const json_t *is, muga_error *err) {
    muga_status st =
        compare_ids("prompt_ids", json_object_get(was, "prompt_ids"), json_object_get(is, "prompt_ids"), err);
    if (!st)
        st = compare_ids("output_ids", json_object_get(was, "output_ids"), json_object_get(is, "output_ids"), err);
    if (!st && json_object_get(is, "scores"))
        st = compare_ids("scores", json_object_get(was, "scores"), json_object_get(is, "scores"), err);
    if (!st && json_object_get(is, "finish"))
        st = compare_text("finish", was, is, err);
    return st ? st : compare_text("logits_sha256", was, is, err);
}

/* One of `names` by its name; the first where it is none of them. */
static uint32_t name_index(const char *name, const char *const *names, size_t n) {
    for (uint32_t i = 0; name && i < n; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return 0;
}

static void read_split(const json_t *r, llm_request *q) {
    const json_t *s = json_object_get(r, "split");
    q->thinking = (llm_thinking)name_index(json_get_string(r, "thinking"), thinking_names, ARRAY_LEN(thinking_names));
    q->split = s != NULL;
    q->tool_choice =
        (llm_tool_choice)name_index(json_get_string(s, "tool_choice"), choice_names, ARRAY_LEN(choice_names));
    q->tool_name = json_get_string(s, "tool_name");
    q->tool_format = json_get_string(s, "tool_format");
    q->one_call = json_get_bool(s, "one_call", false);
    q->reasoning_tokens = u32_of(s, "reasoning_tokens");
}

static bool read_id(const json_t *v, int32_t *out) {
    json_int_t id = json_integer_value(v);
    *out = (int32_t)id;
    return json_is_integer(v) && id >= 0 && id <= INT32_MAX;
}

static muga_status read_bias(arena *a, const json_t *v, llm_request *q, muga_error *err) {
    q->n_logit_bias = json_array_size(v);
    llm_bias *bias = arena_alloc(a, (q->n_logit_bias + 1) * sizeof *bias);
    if (!bias)
        return error_nomem(err, "the replay");
    q->logit_bias = bias;
    for (size_t i = 0; i < q->n_logit_bias; i++) {
        const json_t *one = json_array_get(v, i), *value = json_array_get(one, 1);
        if (!read_id(json_array_get(one, 0), &bias[i].id) || !json_is_number(value))
            return evidence_malformed(err, "logit_bias");
        bias[i].bias = (float)json_number_value(value);
    }
    return MUGA_OK;
}

/* A raw prompt, biases. */
static muga_status read_rest(arena *a, const json_t *r, llm_request *q, muga_error *err) {
    const json_t *text = json_object_get(r, "prompt_text"), *ids = json_object_get(r, "prompt_ids");
    if (json_is_string(text))
        q->prompt_text = span_of(json_string_value(text), json_string_length(text));
    q->prompt_special = json_get_bool(r, "prompt_special", false);
    q->n_prompt_ids = json_array_size(ids);
    int32_t *v = arena_alloc(a, (q->n_prompt_ids + 1) * sizeof *v);
    if (!v)
        return error_nomem(err, "the replay");
    q->prompt_ids = v;
    for (size_t i = 0; i < q->n_prompt_ids; i++)
        if (!read_id(json_array_get(ids, i), &v[i]))
            return evidence_malformed(err, "prompt_ids");
    return read_bias(a, json_object_get(r, "logit_bias"), q, err);
}

static muga_status recompute_complete(llm *m, const json_t *evidence, json_t **out, muga_error *err) {
    const json_t *r = json_object_get(evidence, "request");
    const char *finish = json_get_string(evidence, "finish");
    arena a;
    arena_init(&a, EVIDENCE_MAX_BYTES);
    llm_request q = {.messages = present(r, "messages"),
                     .tools = present(r, "tools"),
                     .prefix = json_get_string(r, "prefix"),
                     .schema = present(r, "schema"),
                     .regex = json_get_string(r, "regex"),
                     .gbnf = json_get_string(r, "gbnf"),
                     .sampling = read_sampling(json_object_get(r, "sampling")),
                     .max_tokens = u32_of(r, "max_tokens"),
                     .want_evidence = true,
                     .now_ms = json_get_int(r, "now_ms", 0)};
    if (finish && strcmp(finish, finish_names[LLM_FINISH_CANCELLED]) == 0)
        q.n_tokens = u32_of(evidence, "cancelled_at");
    if (finish && strcmp(finish, finish_names[LLM_FINISH_CANCELLED]) == 0 && q.n_tokens == 0)
        q.n_texts = MAX(u32_of(evidence, "texts"), 1u);
    read_split(r, &q);
    llm_reply reply = {0};
    muga_status st = sources_read(&a, json_object_get(r, "sources"), &q, err);
    if (!st)
        st = read_rest(&a, r, &q, err);
    if (!st)
        st = read_strings(&a, json_object_get(r, "stop"), "stop", &q.stop, &q.n_stop, err);
    if (!st)
        st = llm_complete(m, &q, &reply, err);
    if (!st)
        *out = json_incref(reply.evidence);
    llm_reply_release(&reply);
    arena_release(&a);
    return st;
}

static muga_status recompute_score(llm *m, const json_t *r, json_t **out, muga_error *err) {
    arena a;
    arena_init(&a, EVIDENCE_MAX_BYTES);
    llm_score_request q = {.messages = json_object_get(r, "messages"),
                           .tools = present(r, "tools"),
                           .prefix = json_get_string(r, "prefix"),
                           .with_end = json_get_bool(r, "with_end", false),
                           .want_evidence = true,
                           .now_ms = json_get_int(r, "now_ms", 0)};
    llm_score_reply reply = {0};
    muga_status st = read_strings(&a, json_object_get(r, "labels"), "labels", &q.labels, &q.n_labels, err);
    if (!st)
        st = llm_score(m, &q, &reply, err);
    if (!st)
        *out = json_incref(reply.evidence);
    llm_score_reply_release(&reply);
    arena_release(&a);
    return st;
}

muga_status local_replay(llm *m, const json_t *evidence, muga_error *err) {
    const char *kind = json_get_string(evidence, "kind");
    if (!kind || !json_is_object(json_object_get(evidence, "request")))
        return evidence_malformed(err, kind ? "request" : "kind");
    muga_status st = check_origin((local *)m, evidence, err);
    if (!st)
        st = check_adapter((local *)m, json_object_get(evidence, "settings"), err);
    if (st)
        return st;
    json_t *now = NULL, *asked = NULL;
    st = restore_order(evidence, &asked, err);
    if (st)
        return st;
    if (strcmp(kind, "complete") == 0)
        st = recompute_complete(m, asked, &now, err);
    else if (strcmp(kind, "score") == 0)
        st = recompute_score(m, json_object_get(asked, "request"), &now, err);
    else
        st = error_set(err, MUGA_E_INPUT, "evidence: kind \"%.40s\" is not one this version can replay", kind);
    if (!st)
        st = compare(evidence, now, err);
    json_decref(asked);
    json_decref(now);
    return st;
}
