/* How the local model's answers are split, found when it is first asked for. Owns the form. */
#include "llm/local.h"

static bool is_control(const void *ctx, const char *name, size_t n) {
    const tokenizer *t = engine_tokenizer(((const local *)ctx)->engine);
    int32_t id = tokenizer_find_special(t, name, n);
    return id >= 0 && tokenizer_is_control(t, id);
}

static muga_status render(void *ctx, const json_t *messages, const json_t *tools, str *out, muga_error *err) {
    local_prompt p = {.messages = messages, .tools = tools};
    return local_prompt_render(ctx, &p, out, err);
}

muga_status local_render(llm *m, const llm_request *q, str *out, muga_error *err) {
    local_prompt p = local_prompt_of(q);
    return q->plain_prompt ? local_prompt_text((local *)m, &p, out, err)
                           : local_prompt_render((local *)m, &p, out, err);
}

muga_status local_form(llm *m, const toolcall_model **out, muga_error *err) {
    local *l = (local *)m;
    const char *fallback;
    muga_status st = MUGA_OK;
    pthread_mutex_lock(&l->form_lock);
    toolcall_model *form = l->form ? NULL : mem_alloc_array(1, sizeof *form);
    if (!l->form && !form)
        st = error_nomem(err, "the form of tool calls");
    if (!l->form && !st)
        st = toolcall_model_probe(engine_template_source(l->engine, &fallback), render, l, form, err);
    if (!l->form && !st) {
        form->is_control = is_control;
        form->is_control_ctx = l;
        l->form = form;
        form = NULL;
    }
    *out = l->form;
    pthread_mutex_unlock(&l->form_lock);
    free(form);
    return st;
}
