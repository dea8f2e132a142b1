/* POST /api/show: all that can be said of a stored model without loading it. */
#include "gguf/gguf.h"
#include "hub/modelfile.h"
#include "model/template_fallback.h"
#include "serve/keys.h"
#include "serve/ollama.h"
#include "serve/settings.h"

#include <math.h>

typedef struct wanted {
    const char *model, *name;
    bool verbose;
} wanted;

static const field fields[] = {
    {"model", FIELD_STRING, FIELD_AT(wanted, model), 0, 512, NULL, false},
    {"name", FIELD_STRING, FIELD_AT(wanted, name), 0, 512, NULL, false},
    {"verbose", FIELD_BOOL, FIELD_AT(wanted, verbose), 0, 0, NULL, false},
    {"system", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"template", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"options", FIELD_ACCEPTED, 0, 0, 0, "an object", false},
};

static json_t *text_json(const str *s) {
    json_t *v = json_stringn(str_get(s), s->len);
    return v ? v : json_null(); /* not UTF-8 */
}

static json_t *string_json(span s) {
    json_t *v = json_stringn(s.n ? s.p : "", s.n);
    return v ? v : json_null(); /* not UTF-8 */
}

static json_t *number_json(const gguf_array *a, uint64_t i) {
    if (a->type == GGUF_BOOL)
        return json_boolean(gguf_array_int(a, i) != 0);
    if (a->type != GGUF_F32 && a->type != GGUF_F64)
        return json_integer(gguf_array_int(a, i));
    double v = gguf_array_number(a, i);
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *entries_json(const gguf_array *a) {
    json_t *list = json_array();
    bool whole = list != NULL;
    span s;
    uint64_t at = 0;
    if (a->type == GGUF_STRING)
        while (whole && gguf_array_next_string(a, &at, &s))
            whole = json_array_append_new(list, string_json(s)) == 0;
    else
        for (uint64_t i = 0; whole && i < a->n; i++)
            whole = json_array_append_new(list, number_json(a, i)) == 0;
    if (whole)
        return list;
    json_decref(list);
    return NULL;
}

/* What an array of the metadata holds, where all is wanted: vocabularies are long. NULL: memory. */
static json_t *array_json(const gguf_file *f, const char *key, bool all) {
    muga_error ignored;
    gguf_array a;
    for (int type = GGUF_U8; all && type <= GGUF_F64; type++)
        if (!gguf_get_array(f, key, (gguf_type)type, &a, &ignored))
            return entries_json(&a);
    return json_array();
}

/* A metadata value as JSON; arrays are empty unless all is wanted, as Ollama's page has them. */
static json_t *value_json(const gguf_file *f, uint64_t i, const char *key, gguf_type type, bool all) {
    str text = STR_INIT;
    if (type == GGUF_ARRAY)
        return array_json(f, key, all);
    gguf_key_write(f, i, &text);
    json_t *v = type == GGUF_STRING ? text_json(&text) : json_loadb(str_get(&text), text.len, JSON_DECODE_ANY, NULL);
    if (!v)
        v = text_json(&text);
    str_release(&text);
    return v;
}

static json_t *info_json(const gguf_file *f, const hub_details *d, bool all) {
    json_t *info = json_object();
    bool whole = info != NULL;
    for (uint64_t i = 0; whole && i < gguf_key_count(f); i++) {
        gguf_type type;
        const char *key = gguf_key_name(f, i, &type);
        if (strcmp(key, "tokenizer.chat_template") != 0) /* it is the template */
            whole = json_object_set_new(info, key, value_json(f, i, key, type, all)) == 0;
    }
    if (whole && json_object_set_new(info, "general.parameter_count", json_integer((json_int_t)d->n_params)) == 0)
        return info;
    json_decref(info);
    return NULL;
}

static json_t *tensors_json(const gguf_file *f) {
    json_t *list = json_array();
    bool whole = list != NULL;
    for (uint64_t i = 0; whole && i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        json_t *shape = json_array();
        for (uint32_t d = 0; shape && d < t->n_dims; d++)
            whole = whole && json_array_append_new(shape, json_integer((json_int_t)t->dims[d])) == 0;
        whole = json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", t->name, "type",
                                                      tensor_type_traits((uint32_t)t->type)->name, "shape", shape)) ==
                    0 &&
                whole;
    }
    if (whole)
        return list;
    json_decref(list);
    return NULL;
}

/* The template that is used: the Modelfile's, the file's, or what stands in for it. */
static span template_of(const gguf_file *f, const hub_model *m) {
    span text;
    muga_error ignored;
    if (m->template)
        return span_of_string(m->template);
    if (!gguf_get_string(f, "tokenizer.chat_template", &text, &ignored))
        return text;
    return span_of_string(template_fallback_find(f)->source);
}

static bool holds(span text, const char *word) {
    return text.n && memmem(text.p, text.n, word, strlen(word)) != NULL;
}

static json_t *capabilities_json(const gguf_file *f, const hub_model *m, span form) {
    char key[96];
    uint32_t pooling;
    muga_error ignored;
    snprintf(key, sizeof key, "%.64s.pooling_type", m->details.family);
    if (!gguf_get_u32(f, key, &pooling, &ignored))
        return json_pack("[s]", "embedding");
    json_t *list = json_pack("[s, s]", "completion", "tools"); /* any model can be asked with tools (docs/tools.md) */
    bool whole = list != NULL;
    if (holds(form, "<think>") || holds(form, "enable_thinking"))
        whole = whole && json_array_append_new(list, json_string("thinking")) == 0;
    if (whole)
        return list;
    json_decref(list);
    return NULL;
}

/* The parameters as Ollama shows them: a name and a value a line. */
static void write_parameters(const json_t *parameters, str *out) {
    const char *name;
    json_t *v, *entry;
    size_t i;
    json_object_foreach(json_borrow(parameters), name, v) {
        json_t *list = json_is_array(v) ? json_incref(v) : json_pack("[O]", v);
        json_array_foreach(list, i, entry) {
            str_printf(out, "%s%-30s ", out->len ? "\n" : "", name);
            json_write(entry, out);
        }
        json_decref(list);
    }
}

static json_t *license_json(const json_t *list) {
    str text = STR_INIT;
    size_t i;
    const json_t *v;
    json_array_foreach(list, i, v) {
        if (text.len)
            str_append_c(&text, '\n');
        str_append_s(&text, json_string_value(v));
    }
    json_t *out = text_json(&text);
    str_release(&text);
    return out;
}

static json_t *show_json(const gguf_file *f, const hub_model *m, bool all) {
    char time[32];
    str recipe = STR_INIT, parameters = STR_INIT;
    bool said;
    span form = template_of(f, m);
    ollama_time(m->modified_ms, time);
    modelfile_write(m, &recipe, &said);
    write_parameters(m->parameters, &parameters);
    json_t *v = json_pack("{s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:s}", "license", license_json(m->license),
                          "modelfile", text_json(&recipe), "parameters", text_json(&parameters), "template",
                          json_stringn(form.p ? form.p : "", form.n), "system", m->system ? m->system : "", "details",
                          ollama_details(&m->details), "model_info", info_json(f, &m->details, all), "capabilities",
                          capabilities_json(f, m, form), "modified_at", time);
    bool whole = v != NULL;
    if (whole && json_array_size(m->messages))
        whole = json_object_set(v, "messages", m->messages) == 0;
    if (!whole || json_object_set_new(v, "tensors", tensors_json(f))) {
        json_decref(v);
        v = NULL;
    }
    str_release(&recipe);
    str_release(&parameters);
    return v;
}

void ollama_show(call *c) {
    wanted w = {0};
    hub_model m = {0};
    gguf_file *f = NULL;
    muga_error err = {0};
    if (!call_read(c, c->body, "", fields, ARRAY_LEN(fields), &w))
        return;
    const char *model = w.model && *w.model ? w.model : w.name;
    if (!model || !*model) {
        (void)call_fail(c, 400, "model", "missing_required_parameter", "model is missing");
        return;
    }
    pool_variant variant;
    model = settings_model(c->serve, model, &variant);
    if (!key_may_model(c->key, model)) {
        (void)call_fail(c, 403, "model", "not_allowed", "this key may not ask the model %.100s", model);
        return;
    }
    muga_status st = hub_load(c->serve->options->hub, model, &m, &err);
    if (st == MUGA_E_USAGE)
        st = MUGA_E_NOT_FOUND;
    if (st == MUGA_E_NOT_FOUND)
        (void)call_fail(c, 404, "model", "model_not_found", "model '%.100s' not found", model);
    else if (st || (st = gguf_open(m.path, &f, &err)))
        (void)call_fail_with(c, st, &err, "model");
    else
        (void)call_reply(c, 200, show_json(f, &m, w.verbose));
    gguf_close(f);
    hub_model_release(&m);
}
