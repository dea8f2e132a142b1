/* Opening a model file as an engine: kernels, threads, weights, tokenizer, template.
 *
 * Refuses an instruction set that isn't there, a file that model/ or the tokenizer refuses. The chat template and the
 * vocabulary trie are made at first use: a model with a broken template still loads, and says so when it is asked to
 * chat. */
#include "engine/internal.h"

#include "model/template_fallback.h"

#include <stdio.h>

#define MAX_BATCH 4096u /* rows */

static muga_status choose_kernels(engine *e, const engine_options *o, muga_error *err) {
    kernel_isa isa = o->isa < 0 ? kernel_isa_best() : (kernel_isa)o->isa;
    e->kernels = kernel_table_get(isa);
    if (!e->kernels)
        return error_set(err, MUGA_E_ENV,
                         "instruction set \"%s\" is not there on this processor or in this build; best here: %s",
                         kernel_isa_name(isa), kernel_isa_name(kernel_isa_best()));
    e->o.isa = (int)isa;
    e->o.n_threads = o->n_threads > 0 ? o->n_threads : os_cpu_count();
    e->o.n_batch = o->n_batch > 0 ? MIN(o->n_batch, MAX_BATCH) : 128;
    e->kv = o->kv;
    return os_pool_new(e->o.n_threads, &e->pool, err);
}

/* An override changes what the tokenizer's tables are made of; panels and vectors depend on tensors alone. */
static bool tokenizer_is_overridden(const engine *e) {
    for (size_t i = 0; i < e->o.n_overrides; i++)
        if (strncmp(e->o.overrides[i], "tokenizer.", 10) == 0)
            return true;
    return false;
}

static muga_status open_text(engine *e, muga_error *err) {
    if (e->o.ids_only && !tokenizer_is_supported(e->file, NULL))
        return MUGA_OK;
    muga_status st = tokenizer_open_packed(e->file, tokenizer_is_overridden(e) ? NULL : e->packed, &e->tok, err);
    if (st)
        return st;
    uint32_t n_vocab = model_get_params(e->model)->n_vocab;
    if ((uint32_t)tokenizer_count(e->tok) != n_vocab)
        return error_set(err, MUGA_E_INPUT,
                         "%.120s: the tokenizer has %d tokens, but the embedding %u rows; use another file",
                         gguf_path(e->file), tokenizer_count(e->tok), n_vocab);
    return MUGA_OK;
}

static muga_status open_template(engine *e, muga_error *err) {
    const template *compiled;
    span source = span_of("", 0);
    const char *given = e->o.template_source;
    e->o.template_source = NULL;
    if (!e->tok)
        return MUGA_OK;
    if (given)
        source = span_of_string(given);
    muga_status st = given ? MUGA_OK : gguf_get_string(e->file, "tokenizer.chat_template", &source, err);
    if (st == MUGA_E_NOT_FOUND) {
        const template_fallback *form = template_fallback_find(e->file);
        e->template_source = span_of_string(form->source);
        e->template_fallback = form->name;
        return MUGA_OK;
    }
    if (st)
        return st;
    e->template_text = mem_copy_bytes(source.p, source.n);
    e->template_source = span_of(e->template_text, source.n);
    if (!e->template_text)
        return error_nomem(err, "the chat template");
    return given ? engine_template(e, &compiled, err) : MUGA_OK;
}

static muga_status new_batch(engine *e, muga_error *err) {
    const model_params *p = engine_params(e);
    if (p->encoder) /* a text goes in whole */
        e->o.n_batch = MAX(e->o.n_batch, MIN(p->n_ctx_train, MAX_BATCH));
    uint32_t n = e->o.n_batch;
    model_run_options o = {.kernels = e->kernels,
                           .pool = e->pool,
                           .act = e->o.exact ? KERNEL_ACT_F32 : KERNEL_ACT_INT8,
                           .kv = e->kv,
                           .max_tok = n,
                           .max_seq = n,
                           .on_input = e->o.on_input,
                           .on_input_ctx = e->o.on_input_ctx};
    muga_status st = model_run_new(e->model, &o, &e->run, err);
    if (st)
        return st;
    e->ids = mem_alloc_array(n, sizeof *e->ids);
    e->pos = mem_alloc_array(n, sizeof *e->pos);
    e->i_seq = mem_alloc_array(n, sizeof *e->i_seq);
    e->wanted = mem_alloc_array(n, sizeof *e->wanted);
    for (uint32_t k = 0; k < model_kinds(e->model); k++)
        if (!(e->lists[k] = mem_alloc_array(n, sizeof *e->lists[k])))
            return error_nomem(err, "the engine's batch");
    e->n_ctx = mem_alloc_array(n, sizeof *e->n_ctx);
    e->i_item = mem_alloc_array(n, sizeof *e->i_item);
    e->adapters = mem_alloc_array(n, sizeof *e->adapters);
    bool ok = e->ids && e->pos && e->i_seq && e->wanted && e->n_ctx && e->i_item && e->adapters;
    return ok ? MUGA_OK : error_nomem(err, "the engine's batch");
}

/* Model and tokenizer, from the packed file where one is mapped. */
static muga_status load(engine *e, const char *path, muga_error *err) {
    model_load_options o = {
        .pool = e->pool, .packed = e->packed, .on_progress = e->o.on_progress, .on_progress_ctx = e->o.on_progress_ctx};
    muga_status st = model_load(e->file, &o, &e->model, err);
    return st ? error_prefix(err, st, "%s", path) : open_text(e, err); /* the tokenizer names the file itself */
}

static void unload(engine *e) {
    tokenizer_free(e->tok);
    e->tok = NULL;
    model_free(e->model);
    e->model = NULL;
    packed_free(e->packed);
    e->packed = NULL;
}

__attribute__((format(printf, 2, 3))) static void note(engine *e, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(e->packed_note, sizeof e->packed_note, format, args);
    va_end(args);
}

/* What is made is kept for the next start; where it can't be, nobody is worse off. */
static void keep_packed(engine *e, const char *why) {
    muga_error err = {0};
    const os_files *files = e->o.files ? e->o.files : &os_system()->files;
    if (e->o.n_overrides > 0)
        note(e, "packed in memory: metadata is overridden");
    else if (packed_write(e->packed, files, e->o.packed, e->o.packed_source, &err))
        note(e, "packed in memory: %s", err.message);
    else
        note(e, "packed now and kept (%s)", why);
}

/* Mapped, or made and kept. A file that turns out not to be what it should is given up as a whole. */
static muga_status load_packed(engine *e, const char *path, muga_error *err) {
    muga_error why = {0};
    muga_status st = packed_new(e->file, &e->packed, err);
    if (!st && !packed_map(e->packed, e->o.packed, &why)) {
        st = load(e, path, err);
        if (!packed_in_doubt(e->packed)) {
            note(e, "mapped from %.250s", e->o.packed);
            return st;
        }
        why = *err;
        unload(e);
        st = packed_new(e->file, &e->packed, err);
    }
    if (!st)
        st = load(e, path, err);
    if (!st)
        st = gguf_check_unchanged(e->file, path, err); /* nothing is kept of a file that changed */
    if (!st)
        keep_packed(e, why.message);
    packed_free(e->packed);
    e->packed = NULL;
    return st;
}

/* Pages, their limit, and the cache of prefixes over them. */
static muga_status open_pages(engine *e, muga_error *err) {
    if (e->o.kv_bytes == 0)
        e->o.kv_bytes = os_memory_bytes() / 2;
    if (e->o.cache_bytes == 0)
        e->o.cache_bytes = e->o.kv_bytes / 4;
    size_t data_bytes[MODEL_MAX_KINDS];
    bool windowed[MODEL_MAX_KINDS];
    for (uint32_t k = 0; k < model_kinds(e->model); k++) {
        data_bytes[k] = model_page_bytes(e->model, e->kv, k);
        windowed[k] = model_window(e->model, k) > 0;
    }
    pages_set_size(&e->pages, model_kinds(e->model), data_bytes, e->o.kv_bytes);
    if (e->o.cache_tokens)
        e->o.cache_bytes = MIN(e->o.cache_bytes, e->o.cache_tokens / KERNEL_KV_BLOCK * e->pages.n.page_bytes);
    muga_status st = prefix_new(&e->pages, windowed, e->o.cache_bytes, &e->prefix, err);
    if (st)
        return st;
    e->pages.evict = prefix_evict;
    e->pages.on_idle = prefix_on_idle;
    e->pages.cache = e->prefix;
    return MUGA_OK;
}

muga_status engine_open(const char *path, const engine_options *o, engine **out, muga_error *err) {
    engine *e = mem_alloc_array(1, sizeof *e);
    if (!e)
        return error_nomem(err, "the engine");
    pthread_mutex_init(&e->lazy_lock, NULL);
    turns_init(&e->step_turns);
    pages_init(&e->pages);
    e->o = *o;
    muga_status st = choose_kernels(e, o, err);
    if (!st)
        st = gguf_open_overridden(path, o->overrides, o->n_overrides, &e->file, err);
    if (!st)
        st = o->packed ? load_packed(e, path, err) : load(e, path, err);
    e->o.packed = e->o.packed_source = NULL;
    if (!st)
        st = open_template(e, err);
    if (!st)
        st = open_pages(e, err);
    if (!st)
        st = new_batch(e, err);
    if (!st)
        st = gguf_check_unchanged(e->file, path, err); /* what was packed is what was checked */
    if (st) {
        engine_free(e);
        return st;
    }
    *out = e;
    return MUGA_OK;
}

void engine_free(engine *e) {
    if (!e)
        return;
    prefix_free(e->prefix);
    pages_release(&e->pages);
    model_run_free(e->run);
    free(e->ids);
    free(e->pos);
    free(e->i_seq);
    free(e->wanted);
    for (uint32_t k = 0; k < MODEL_MAX_KINDS; k++)
        free(e->lists[k]);
    free(e->n_ctx);
    free(e->i_item);
    free(e->adapters);
    template_free(e->template);
    free(e->template_text);
    constrain_trie_free(e->trie);
    tokenizer_free(e->tok);
    model_free(e->model);
    packed_free(e->packed);
    gguf_close(e->file);
    os_pool_free(e->pool);
    pthread_mutex_destroy(&e->lazy_lock);
    turns_destroy(&e->step_turns);
    free(e);
}

const model *engine_model(const engine *e) {
    return e->model;
}
const model_params *engine_params(const engine *e) {
    return model_get_params(e->model);
}
const kernel_table *engine_kernels(const engine *e) {
    return e->kernels;
}
const tokenizer *engine_tokenizer(const engine *e) {
    return e->tok;
}
const gguf_file *engine_file(const engine *e) {
    return e->file;
}
const engine_options *engine_get_options(const engine *e) {
    return &e->o;
}

engine_kv_counts engine_get_kv_counts(engine *e) {
    pthread_mutex_lock(&e->pages.lock);
    engine_kv_counts n = e->pages.n;
    pthread_mutex_unlock(&e->pages.lock);
    return n;
}

const char *engine_packed(const engine *e) {
    return e->packed_note;
}

span engine_template_source(const engine *e, const char **fallback) {
    *fallback = e->template_fallback;
    return e->template_source;
}

muga_status engine_template(engine *e, const template **out, muga_error *err) {
    if (!e->tok)
        return error_set(err, MUGA_E_INPUT, "this model's tokenizer is not supported, so it can't chat");
    muga_status st = MUGA_OK;
    pthread_mutex_lock(&e->lazy_lock);
    if (!e->template) {
        st = template_compile(e->template_source.p, e->template_source.n, &e->template, err);
        if (st)
            st = error_prefix(err, st, "the model's chat template");
    }
    *out = e->template;
    pthread_mutex_unlock(&e->lazy_lock);
    return st;
}

muga_status engine_trie(engine *e, const constrain_trie **out, muga_error *err) {
    if (!e->tok)
        return error_set(err, MUGA_E_INPUT,
                         "this model's tokenizer is not supported, so its output can't be constrained");
    muga_status st = MUGA_OK;
    pthread_mutex_lock(&e->lazy_lock);
    if (!e->trie) {
        uint32_t n = (uint32_t)tokenizer_count(e->tok);
        span *controls = mem_alloc_array(n, sizeof *controls);
        for (uint32_t i = 0; controls && i < n; i++)
            if (tokenizer_is_control(e->tok, (int32_t)i) && !tokenizer_is_end(e->tok, (int32_t)i))
                controls[i] = tokenizer_piece(e->tok, (int32_t)i);
        constrain_vocab v = {.n = n, .pieces = tokenizer_text_pieces(e->tok), .controls = controls};
        st = controls ? constrain_trie_new(&v, &e->trie, err) : error_nomem(err, "a vocabulary");
        free(controls);
    }
    *out = e->trie;
    pthread_mutex_unlock(&e->lazy_lock);
    return st;
}
