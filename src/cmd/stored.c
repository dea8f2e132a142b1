/* Ollama's parameters in the words of the model's face. */
#include "cmd/stored.h"

#include <float.h>

static muga_status take_stops(cmd_stored *s, muga_error *err) {
    const json_t *list = json_object_get(s->m.parameters, "stop");
    size_t i, n = json_array_size(list);
    json_t *v;
    if (n == 0)
        return MUGA_OK;
    s->stop = mem_alloc_array(n, sizeof *s->stop);
    if (!s->stop)
        return error_nomem(err, "stop texts");
    json_array_foreach(list, i, v) s->stop[s->n_stop++] = json_string_value(v);
    return MUGA_OK;
}

muga_status cmd_stored_open(const char *model, cmd_stored *out, muga_error *err) {
    hub h;
    *out = (cmd_stored){.n_stop = 0};
    if (hub_is_path(model))
        return MUGA_OK;
    muga_status st = cmd_hub(&h, err);
    if (st)
        return st;
    st = hub_load(&h, model, &out->m, err);
    hub_close(&h);
    return st ? st : take_stops(out, err);
}

void cmd_stored_release(cmd_stored *s) {
    hub_model_release(&s->m);
    free(s->stop);
    s->stop = NULL;
    s->n_stop = 0;
}

static void take_float(const json_t *p, const char *name, float *to) {
    const json_t *v = json_object_get(p, name);
    if (v)
        *to = (float)json_number_value(v);
}

static bool take_whole(const json_t *p, const char *name, int64_t *to) {
    const json_t *v = json_object_get(p, name);
    if (v)
        *to = json_is_integer(v) ? json_integer_value(v) : (int64_t)json_number_value(v);
    return v != NULL;
}

muga_status cmd_stored_apply(const cmd_stored *s, llm_sampling *to, uint32_t *n_ctx, uint32_t *max_tokens,
                             muga_error *err) {
    const json_t *p = s->m.parameters;
    int64_t n;
    if (n_ctx && take_whole(p, "num_ctx", &n))
        *n_ctx = (uint32_t)n;
    if (max_tokens && take_whole(p, "num_predict", &n))
        *max_tokens = n > 0 ? (uint32_t)n : 0;
    if (!to)
        return MUGA_OK;
    take_float(p, "temperature", &to->temperature);
    take_float(p, "top_p", &to->top_p);
    to->top_p = MAX(to->top_p, FLT_MIN); /* 0 asks for the likeliest alone, as the least there is does */
    take_float(p, "min_p", &to->min_p);
    take_float(p, "typical_p", &to->typical_p);
    take_float(p, "repeat_penalty", &to->repeat_penalty);
    take_float(p, "presence_penalty", &to->presence_penalty);
    take_float(p, "frequency_penalty", &to->frequency_penalty);
    if (take_whole(p, "top_k", &n))
        to->top_k = (uint32_t)n;
    if (take_whole(p, "repeat_last_n", &n))
        to->penalty_last_n = n < 0 ? LLM_PENALTY_ALL : (uint32_t)n;
    if (!take_whole(p, "seed", &n))
        return MUGA_OK;
    to->seed = (uint64_t)n;
    return n < 0 ? os_random(&to->seed, sizeof to->seed, err) : MUGA_OK;
}
