/* What can be said of a local model beside its answers: tokens and texts, what its file holds, what its steps did. */
#include "base/mem.h"
#include "base/utf8.h"
#include "convert/mixture.h"
#include "llm/local.h"

#include <math.h>
#include <stdio.h>

#define SHORT_ARRAY 64u /* elements of an array that is shown */

muga_status local_tokenize(llm *m, span text, bool beginning, bool special, int32_t **ids, size_t *n, muga_error *err) {
    token_list list = TOKEN_LIST_INIT;
    muga_status st = local_raw_encode(engine_tokenizer(((local *)m)->engine), text, beginning, special, &list, err);
    if (!st && !list.ids && !(list.ids = mem_alloc_array(0, sizeof *list.ids)))
        st = error_nomem(err, "the tokens");
    if (st) {
        token_list_release(&list);
        return st;
    }
    *ids = list.ids;
    *n = list.n;
    return MUGA_OK;
}

muga_status local_detokenize(llm *m, const int32_t *ids, size_t n, bool special, str *out, muga_error *err) {
    muga_status st = local_check_ids((local *)m, ids, n, "the list", err);
    if (st)
        return st;
    tokenizer_decode(engine_tokenizer(((local *)m)->engine), ids, n, special, out);
    return str_status(out, err, "the text");
}

void local_counts(llm *m, llm_counts *out) {
    local *l = (local *)m;
    sched_counts n = sched_get_counts(l->shared->sched);
    engine_kv_counts kv = engine_get_kv_counts(l->engine);
    *out = (llm_counts){.n_running = n.n_running,
                        .n_waiting = n.n_waiting,
                        .n_steps = n.n_steps,
                        .n_done = n.n_done,
                        .n_failed = n.n_failed,
                        .n_cancelled = n.n_cancelled,
                        .n_preempted = n.n_preempted,
                        .n_prompt = n.n_prompt,
                        .n_adopted = n.n_adopted,
                        .n_prompt_rows = n.n_prefill_rows,
                        .n_answer_rows = n.n_decode_rows,
                        .kv_bytes = kv.in_use_bytes + kv.idle_bytes + kv.free_bytes,
                        .kv_idle_bytes = kv.idle_bytes,
                        .kv_max_bytes = kv.max_bytes,
                        .kv_page_bytes = kv.page_bytes,
                        .kv_taken = kv.n_adopted,
                        .kv_evicted = kv.n_evicted,
                        .weight_bytes = model_weight_bytes(engine_model(l->engine))};
    memcpy(out->step_rows, n.step_rows, sizeof out->step_rows);
}

/* ---- the file ---- */

/* Names in files may be any bytes. */
static json_t *text_of(span s) {
    str text = STR_INIT;
    utf8_append_replaced(&text, s.p, s.n);
    json_t *v = text.failed ? NULL : json_stringn(str_get(&text), text.len);
    str_release(&text);
    return v;
}

static json_t *number_of(double v) {
    if (!isfinite(v))
        return json_null();
    return v == floor(v) && fabs(v) < 9e15 ? json_integer((json_int_t)v) : json_real(v);
}

/* A short array's elements; null for others. */
static json_t *array_of(const gguf_file *f, const char *key) {
    muga_error ignored;
    gguf_array a;
    int type = GGUF_U8;
    while (type <= GGUF_F64 && (type == GGUF_ARRAY || gguf_get_array(f, key, (gguf_type)type, &a, &ignored)))
        type++;
    if (type > GGUF_F64 || a.n > SHORT_ARRAY)
        return json_null();
    json_t *list = json_array();
    uint64_t at = 0;
    span s;
    for (uint64_t i = 0; list && i < a.n; i++) {
        if (type == GGUF_STRING && !gguf_array_next_string(&a, &at, &s))
            break;
        bool whole = type != GGUF_F32 && type != GGUF_F64;
        json_t *v = type == GGUF_STRING ? text_of(s)
                    : type == GGUF_BOOL ? json_boolean(gguf_array_int(&a, i) != 0)
                    : whole             ? json_integer(gguf_array_int(&a, i))
                                        : number_of(gguf_array_number(&a, i));
        if (!v || json_array_append_new(list, v)) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static json_t *value_of(const gguf_file *f, uint64_t i, const char *key, gguf_type type) {
    muga_error ignored;
    span s;
    uint64_t u;
    str text = STR_INIT;
    if (type == GGUF_ARRAY)
        return array_of(f, key);
    if (type == GGUF_STRING)
        return gguf_get_string(f, key, &s, &ignored) ? json_null() : text_of(s);
    if (type != GGUF_F32 && type != GGUF_F64 && type != GGUF_BOOL && !gguf_get_u64(f, key, &u, &ignored) &&
        u <= INT64_MAX)
        return json_integer((json_int_t)u);
    gguf_key_write(f, i, &text); /* "true", "-3", "1e-05" */
    json_t *v = text.failed                            ? NULL
                : strcmp(str_get(&text), "true") == 0  ? json_true()
                : strcmp(str_get(&text), "false") == 0 ? json_false()
                                                       : number_of(strtod(str_get(&text), NULL));
    str_release(&text);
    return v;
}

static json_t *metadata_of(const gguf_file *f) {
    json_t *o = json_object();
    for (uint64_t i = 0; o && i < gguf_key_count(f); i++) {
        gguf_type type;
        const char *key = gguf_key_name(f, i, &type);
        bool is_template = strcmp(key, "tokenizer.chat_template") == 0; /* told apart */
        if (!is_template && utf8_valid(key, strlen(key)) && json_object_set_new(o, key, value_of(f, i, key, type))) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

static json_t *shape_of(const gguf_tensor *t) {
    json_t *shape = json_array();
    for (uint32_t d = 0; shape && d < t->n_dims; d++)
        if (json_array_append_new(shape, json_integer((json_int_t)t->dims[d]))) {
            json_decref(shape);
            return NULL;
        }
    return shape;
}

/* The tensors; how many values they have, and the type that most of their bytes have. */
static json_t *tensors_of(const gguf_file *f, uint64_t *n_values, const char **commonest) {
    uint64_t bytes[TENSOR_NVFP4 + 1] = {0}, most = 0;
    json_t *list = json_array();
    for (uint64_t i = 0; list && i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        const char *type = tensor_type_traits(t->type)->name;
        *n_values += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
        if ((bytes[t->type] += t->bytes) > most) {
            most = bytes[t->type];
            *commonest = type;
        }
        json_t *shape = shape_of(t), *name = text_of(span_of_string(t->name));
        json_t *v = shape && name ? json_pack("{s:O, s:s, s:O}", "name", name, "type", type, "shape", shape) : NULL;
        json_decref(shape);
        json_decref(name);
        if (!v || json_array_append_new(list, v)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static const char *quantization_of(const gguf_file *f, const char *commonest) {
    uint32_t file_type;
    muga_error ignored;
    if (!gguf_get_u32(f, "general.file_type", &file_type, &ignored))
        for (size_t i = 0; mixture_at(i); i++)
            if (mixture_at(i)->file_type == file_type)
                return mixture_at(i)->name;
    return commonest;
}

/* A template that doesn't work takes tools and reasoning from a model, not what else is known of it. */
static json_t *capabilities_of(llm *m, const model_params *p) {
    const toolcall_model *form = NULL;
    muga_error ignored;
    json_t *list = json_array();
    bool chats = !p->encoder && !local_form(m, &form, &ignored);
    const struct {
        const char *name;
        bool has;
    } all[] = {{"completion", !p->encoder},
               {"tools", chats},
               {"thinking", chats && form->thinking},
               {"embedding", p->encoder || p->pooling != MODEL_POOL_NONE}};
    for (size_t i = 0; list && i < ARRAY_LEN(all); i++)
        if (all[i].has && json_array_append_new(list, json_string(all[i].name))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

muga_status local_describe(llm *m, json_t **out, muga_error *err) {
    local *l = (local *)m;
    const engine *e = l->engine;
    const gguf_file *f = engine_file(e);
    const model_params *p = engine_params(e);
    const char *fallback, *commonest = "unknown";
    uint64_t n_values = 0;
    muga_status st = gguf_check_unchanged(f, l->path, err);
    if (st)
        return st;
    json_t *tensors = tensors_of(f, &n_values, &commonest), *metadata = metadata_of(f);
    json_t *source = text_of(engine_template_source(e, &fallback)), *capabilities = capabilities_of(m, p);
    if (tensors && metadata && source && capabilities)
        *out = json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:s?, s:O, s:O, s:O}", "architecture",
                         model_arch_name(engine_model(e)), "parameters", (json_int_t)n_values, "quantization",
                         quantization_of(f, commonest), "bytes", (json_int_t)gguf_file_bytes(f), "n_ctx",
                         (json_int_t)m->n_ctx, "n_ctx_train", (json_int_t)p->n_ctx_train, "n_vocab",
                         (json_int_t)p->n_vocab, "n_embd", (json_int_t)p->n_embd, "n_layer", (json_int_t)p->n_layer,
                         "template", source, "template_fallback", fallback, "capabilities", capabilities, "tensors",
                         tensors, "metadata", metadata);
    else
        *out = NULL;
    json_decref(tensors);
    json_decref(metadata);
    json_decref(source);
    json_decref(capabilities);
    return *out ? MUGA_OK : error_nomem(err, "a model's description");
}
