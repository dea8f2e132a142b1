/* GET /v1/models, /v1/models/{id}, and POST /v1/embeddings (docs/openai.md). Models are those of the store that the key
 * may ask, under their names without ":latest"; Anthropic's clients, who send their version, get the list in their
 * form. */
#include "serve/agents.h"
#include "serve/keys.h"
#include "serve/openai.h"
#include "serve/settings.h"

#include <math.h>
#include <string.h>
#include <time.h>

#define MAX_INPUTS 2048

/* ---- models ---- */

/* name:tag of a manifest that can be read and that the key may ask, without ":latest". false: not one. */
static bool name_of(const call *c, const json_t *entry, char out[HUB_NAME_BYTES]) {
    const char *name = json_get_string(entry, "name"), *tag = json_get_string(entry, "tag");
    if (!name || !tag || json_object_get(entry, "damaged"))
        return false;
    int n = snprintf(out, HUB_NAME_BYTES, "%s:%s", name, tag);
    if (n < 0 || n >= HUB_NAME_BYTES || (c->key && !key_may_model(c->key, out)))
        return false;
    if (strcmp(tag, "latest") == 0)
        out[strlen(name)] = 0;
    return true;
}

static bool wants_anthropic(const call *c) {
    return server_request_header(c->q, "anthropic-version") != NULL;
}

static json_t *model_json(const call *c, const char *id, int64_t modified_ms) {
    if (!wants_anthropic(c))
        return json_pack("{s:s, s:s, s:I, s:s}", "id", id, "object", "model", "created",
                         (json_int_t)(modified_ms / 1000), "owned_by", "muga");
    char when[32] = "1970-01-01T00:00:00Z";
    time_t seconds = (time_t)(modified_ms / 1000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm))
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_pack("{s:s, s:s, s:s, s:s}", "type", "model", "id", id, "display_name", id, "created_at", when);
}

static bool list_manifests(call *c, json_t **out) {
    muga_error err = {0};
    muga_status st = hub_list(c->serve->options->hub, out, &err);
    return !st || call_fail_with(c, st, &err, NULL);
}

/* NULL: there is no such entry. */
static const char *id_at(const json_t *data, size_t i) {
    return json_get_string(json_array_get(data, i), "id");
}

static json_t *list_json(const call *c, json_t *data) {
    if (!wants_anthropic(c))
        return json_pack("{s:s, s:o}", "object", "list", "data", data);
    return json_pack("{s:o, s:b, s:s?, s:s?}", "data", data, "has_more", 0, "first_id", id_at(data, 0), "last_id",
                     id_at(data, json_array_size(data) - 1));
}

/* Names of the configuration for models that the store has and the key may ask. */
static bool add_aliases(const call *c, const json_t *manifests, json_t *data) {
    const serve_config *now = settings_now(c->serve);
    char name[HUB_NAME_BYTES];
    bool ok = true;
    for (size_t a = 0; now && a < now->n_aliases && ok; a++)
        for (size_t i = 0; ok && i < json_array_size(manifests); i++) {
            const json_t *m = json_array_get(manifests, i);
            if (!name_of(c, m, name) || !settings_is_same(name, now->aliases[a].model))
                continue;
            ok = json_array_append_new(data, model_json(c, now->aliases[a].name, json_get_int(m, "modified_ms", 0))) ==
                 0;
            break;
        }
    return ok;
}

static void run_list(call *c) {
    json_t *manifests = NULL, *data = json_array();
    char name[HUB_NAME_BYTES];
    if (!list_manifests(c, &manifests)) {
        json_decref(data);
        return;
    }
    bool ok = data != NULL;
    for (size_t i = 0; ok && i < json_array_size(manifests); i++) {
        const json_t *m = json_array_get(manifests, i);
        if (name_of(c, m, name))
            ok = json_array_append_new(data, model_json(c, name, json_get_int(m, "modified_ms", 0))) == 0;
    }
    ok = ok && add_aliases(c, manifests, data);
    json_decref(manifests);
    if (ok && !agents_list_models(c, model_json, data)) {
        json_decref(data);
        return;
    }
    if (!ok) {
        json_decref(data);
        data = NULL;
    }
    call_reply(c, 200, data ? list_json(c, data) : NULL);
}

static void run_one(call *c) {
    json_t *manifests = NULL;
    char full[HUB_NAME_BYTES] = "", name[HUB_NAME_BYTES], known[HUB_NAME_BYTES];
    muga_error ignored;
    pool_variant variant;
    if (!list_manifests(c, &manifests))
        return;
    bool is_name = !hub_full_name(settings_model(c->serve, c->arg[0], &variant), full, &ignored), found = false;
    for (size_t i = 0; is_name && !found && i < json_array_size(manifests); i++) {
        const json_t *m = json_array_get(manifests, i);
        found = name_of(c, m, name) && !hub_full_name(name, known, &ignored) && strcmp(known, full) == 0;
        if (found) /* under the name that it was asked for by */
            call_reply(c, 200, model_json(c, c->arg[0], json_get_int(m, "modified_ms", 0)));
    }
    json_decref(manifests);
    if (!found && agents_has_model(c, c->arg[0]))
        call_reply(c, 200, model_json(c, c->arg[0], 0));
    else if (!found)
        call_fail(c, 404, "model", "model_not_found", "there is no model \"%.100s\"; GET /v1/models lists them",
                  c->arg[0]);
}

/* ---- embeddings ---- */

typedef struct wanted {
    const char *model, *format;
    const json_t *input;
    uint32_t dimensions;
} wanted;
static const field fields[] = {
    {"model", FIELD_STRING, FIELD_AT(wanted, model), 0, 255, NULL, true},
    {"input", FIELD_JSON, FIELD_AT(wanted, input), 0, 0, NULL, true},
    {"encoding_format", FIELD_STRING, FIELD_AT(wanted, format), 0, 16, NULL, false},
    {"dimensions", FIELD_U32, FIELD_AT(wanted, dimensions), 1, 1048576, NULL, false},
    {"user", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
};

/* One entry of the input at i of q. kind: 's' text, 'i' ids; the others must be like the first. */
static bool read_entry(call *c, const json_t *v, size_t i, llm_embed_request *q, span *texts, llm_ids *ids) {
    bool is_text = json_is_string(v);
    size_t n = is_text ? json_string_length(v) : json_array_size(v);
    if (!is_text && !json_is_array(v))
        return call_fail(c, 400, "input", "invalid_type",
                         "input must be a string, an array of strings, an array of token ids, or an array of such "
                         "arrays");
    if (n == 0)
        return call_fail(c, 400, "input", "invalid_value", "input: what stands at %zu is empty", i);
    if ((is_text && q->ids) || (!is_text && q->texts))
        return call_fail(c, 400, "input", "invalid_type", "input: texts and token ids can't be mixed");
    if (is_text) {
        q->texts = texts;
        texts[i] = span_of(json_string_value(v), n);
        return true;
    }
    int32_t *list = arena_alloc(&c->mem, n * sizeof *list);
    if (!list)
        return call_no_memory(c);
    for (size_t k = 0; k < n; k++) {
        const json_t *id = json_array_get(v, k);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return call_fail(c, 400, "input", "invalid_value", "input: what stands at %zu is not all token ids", i);
        list[k] = (int32_t)json_integer_value(id);
    }
    q->ids = ids;
    ids[i] = (llm_ids){list, n};
    return true;
}

static bool read_input(call *c, const json_t *v, llm_embed_request *q) {
    bool one = !json_is_array(v) || json_is_integer(json_array_get(v, 0));
    q->n = one ? 1 : json_array_size(v);
    if (q->n == 0 || q->n > MAX_INPUTS)
        return call_fail(c, 400, "input", "invalid_value", "input has %zu entries; 1 to %d are taken", q->n,
                         MAX_INPUTS);
    span *texts = arena_alloc(&c->mem, q->n * sizeof *texts);
    llm_ids *ids = arena_alloc(&c->mem, q->n * sizeof *ids);
    if (!texts || !ids)
        return call_no_memory(c);
    bool ok = true;
    for (size_t i = 0; ok && i < q->n; i++)
        ok = read_entry(c, one ? v : json_array_get(v, i), i, q, texts, ids);
    return ok;
}

/* The first n of a vector, at length 1 again. */
static void shorten(float *v, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    for (uint32_t i = 0; i < n && sum > 0; i++)
        v[i] = (float)((double)v[i] / sqrt(sum));
}

static void write_base64(str *out, const unsigned char *p, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        const char four[4] = {digits[v >> 18], digits[v >> 12 & 63], i + 1 < n ? digits[v >> 6 & 63] : '=',
                              i + 2 < n ? digits[v & 63] : '='};
        str_append(out, four, 4);
    }
}

/* As text: vectors are many numbers. base64: of 32-bit floats, the lowest byte first. */
static void write_vector(str *out, const float *v, uint32_t n, bool base64) {
    str_append_c(out, base64 ? '"' : '[');
    for (uint32_t i = 0; i < n && !base64; i++) {
        if (i > 0)
            str_append_c(out, ',');
        json_write_double(out, (double)v[i]);
    }
    if (base64)
        write_base64(out, (const unsigned char *)v, n * sizeof *v);
    str_append_c(out, base64 ? '"' : ']');
}

static void reply(call *c, const wanted *w, const llm_embed_reply *r, size_t n) {
    bool base64 = w->format && strcmp(w->format, "base64") == 0;
    uint32_t dims = w->dimensions ? w->dimensions : r->n_dims;
    uint64_t n_tokens = 0;
    str out = STR_INIT;
    str_append_s(&out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < n; i++) {
        float *v = r->vectors + i * r->n_dims;
        if (dims < r->n_dims)
            shorten(v, dims);
        str_printf(&out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
        write_vector(&out, v, dims, base64);
        str_append_c(&out, '}');
        n_tokens += r->n_tokens[i];
    }
    str_append_s(&out, "],\"model\":");
    json_write_string(&out, w->model, strlen(w->model));
    str_printf(&out, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}", (unsigned long long)n_tokens,
               (unsigned long long)n_tokens);
    c->n_prompt = (uint32_t)MIN(n_tokens, (uint64_t)UINT32_MAX);
    if (out.failed)
        call_no_memory(c);
    else
        call_reply_text(c, 200, "application/json", str_get(&out), out.len);
    str_release(&out);
}

static void embed(call *c, const wanted *w, llm_embed_request *q, llm *m) {
    muga_error err = {0};
    llm_embed_reply r = {0};
    q->cancelled = call_gone(c);
    muga_status st = llm_embed(m, q, &r, &err);
    if (st)
        call_fail_with(c, st, &err, st == MUGA_E_INPUT || st == MUGA_E_LIMIT ? "input" : NULL);
    else if (w->dimensions > r.n_dims)
        call_fail(c, 400, "dimensions", "invalid_value",
                  "dimensions must be between 1 and %u, which this model's vectors "
                  "have, not %u",
                  r.n_dims, w->dimensions);
    else
        reply(c, w, &r, q->n);
    llm_embed_reply_release(&r);
}

static void run_embeddings(call *c) {
    wanted w = {0};
    llm_embed_request q = {0};
    const chat_sampling unsaid = CHAT_SAMPLING_UNSAID;
    chat ch = {0};
    if (!call_read(c, c->body, "", fields, ARRAY_LEN(fields), &w))
        return;
    if (w.format && strcmp(w.format, "float") != 0 && strcmp(w.format, "base64") != 0) {
        call_fail(c, 400, "encoding_format", "invalid_value", "encoding_format must be float or base64, not \"%s\"",
                  w.format);
        return;
    }
    if (read_input(c, w.input, &q) && chat_open(c, w.model, NULL, &unsaid, &CHAT_DEFAULTS_OPENAI, &ch))
        embed(c, &w, &q, ch.lent.m);
    chat_close(&ch);
}

serve_routes openai_models_routes(void) {
    static const call_route routes[] = {
        {.method = "GET", .path = "/v1/models", .family = CALL_OPENAI, .right = CALL_ANY_KEY, .run = run_list},
        {.method = "GET", .path = "/v1/models/{name...}", .family = CALL_OPENAI, .right = CALL_ANY_KEY, .run = run_one},
        {.method = "POST",
         .path = "/v1/embeddings",
         .family = CALL_OPENAI,
         .right = CALL_ANY_KEY,
         .generates = true,
         .run = run_embeddings},
    };
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
