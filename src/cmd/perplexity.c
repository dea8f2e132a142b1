/* muga perplexity: how well a model predicts a text, and how far it is from another. */
#include "cmd/debug_engine.h"
#include "cmd/measuring.h"
#include "engine/measure.h"

typedef struct perplexity {
    const char *model, *file, *base_name;
    engine *e, *base;
    token_list ids;
    measure_result r;
} perplexity;

/* The base must cut the text as the model does, or positions would mean different things. */
static muga_status check_same_ids(const perplexity *p, muga_error *err) {
    token_list other = TOKEN_LIST_INIT;
    muga_status st = cmd_read_text(p->base, p->file, &other, err);
    if (!st && (other.n != p->ids.n || memcmp(other.ids, p->ids.ids, other.n * sizeof *other.ids) != 0))
        st = error_set(err, MUGA_E_INPUT,
                       "%.80s and %.80s cut the text into different tokens; compare models of one family", p->model,
                       p->base_name);
    token_list_release(&other);
    return st;
}

static muga_status measure(perplexity *p, const engine_options *settings, const char *adapter, measure_options *o,
                           muga_error *err) {
    cmd_progress reading = {.what = "reading"};
    muga_status st = cmd_open_engine(p->model, false, *settings, &p->e, err);
    if (!st && adapter)
        st = engine_adapter_load(p->e, adapter, &o->adapter, err);
    if (!st && p->base_name)
        st = cmd_open_engine(p->base_name, false, *settings, &p->base, err);
    if (!st)
        st = cmd_read_text(p->e, p->file, &p->ids, err);
    if (!st && p->base)
        st = check_same_ids(p, err);
    if (st)
        return st;
    o->on_progress = cmd_progress_go_on;
    o->on_progress_ctx = &reading;
    st = measure_text(p->e, p->base, &p->ids, o, &p->r, err);
    cmd_progress_finish(&reading);
    return st;
}

static json_t *windows_json(const measure_result *r) {
    json_t *a = json_array();
    for (uint32_t i = 0; a && i < r->n_windows; i++)
        (void)json_array_append_new(a, json_real(r->window_nll[i]));
    return a;
}

static int print_json(const perplexity *p) {
    const measure_result *r = &p->r;
    const engine_options *o = engine_get_options(p->e);
    json_t *v = json_pack("{s:s, s:f, s:f, s:f, s:I, s:i, s:i, s:b, s:s, s:s, s:o?}", "model", p->model, "perplexity",
                          r->perplexity, "error", r->error, "nll", r->nll, "tokens_scored", (json_int_t)r->n_scored,
                          "windows", (int)r->n_windows, "window_tokens", (int)r->window, "bos", r->bos, "act",
                          o->exact ? "f32" : "int8", "kv", kernel_kv_name(o->kv), "window_nll", windows_json(r));
    json_t *kl = !r->compared ? NULL
                              : json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "base", p->base_name,
                                          "base_perplexity", r->base_perplexity, "mean", r->kl_mean, "error",
                                          r->kl_error, "median", r->kl_median, "p99", r->kl_p99, "max", r->kl_max,
                                          "same_top", r->same_top, "rms_change", r->rms_change);
    bool ok = v && (!r->compared || (kl && !json_object_set_new(v, "kl", kl)));
    if (ok)
        cmd_print_json(v);
    json_decref(v);
    return ok ? cmd_finish_output(0) : cmd_error(MUGA_E_NOMEM, "out of memory for the result");
}

static int print_text(const perplexity *p) {
    const measure_result *r = &p->r;
    printf("perplexity    %.4f +- %.4f\n", r->perplexity, r->error);
    printf("scored        %llu tokens in %u windows of %u%s\n", (unsigned long long)r->n_scored, r->n_windows,
           r->window, r->bos ? ", each after a beginning-of-text token" : "");
    if (r->compared) {
        printf("base          %.4f (%s)\n", r->base_perplexity, p->base_name);
        printf("KL            %.6f +- %.6f nats, median %.6f, 99 %% below %.6f, at most %.6f\n", r->kl_mean,
               r->kl_error, r->kl_median, r->kl_p99, r->kl_max);
        printf("same top      %.2f %% of positions\n", 100 * r->same_top);
        printf("change of p   %.3f %% (rms, of the text's own token)\n", 100 * r->rms_change);
    }
    return cmd_finish_output(0);
}

int cmd_perplexity(int argc, char **argv) {
    perplexity p = {0};
    debug_engine d = {0};
    measure_options o = {0};
    bool json = false;
    const cmd_option options[] = {
        {"--kl", 0, CMD_STRING, &p.base_name, "BASE", "compare with this model's predictions"},
        {"--ctx", 0, CMD_U32, &d.ctx, "N", "tokens of a window (default 512, or the context where that is less)"},
        {"--chunks", 0, CMD_U32, &o.max_windows, "N", "windows that are read (default: all)"},
        {"--exact", 0, CMD_FLAG, &d.exact, NULL, "float activations instead of int8"},
        OVERRIDE_OPTION(&d.overrides),
        ADAPTER_OPTION(&d.adapter_text),
        KV_OPTION(&d.kv),
        {"--threads", 't', CMD_U32, &d.threads, "N", "threads (default: the cores there are)"},
        {"--isa", 0, CMD_STRING, &d.isa, "NAME", "ref, avx2, avx-vnni, avx512 or neon"},
        {"--json", 0, CMD_FLAG, &json, NULL, "one JSON object"}};
    cmd_positional args = {.min = 2, .max = 2};
    engine_options settings = ENGINE_OPTIONS_DEFAULT;
    int code = cmd_parse("perplexity", options, ARRAY_LEN(options), argc, argv, &args);
    if (code < 0)
        code = debug_engine_settings(&d, &settings);
    char *adapter = NULL;
    if (code < 0)
        code = cmd_parse_adapter(d.adapter_text, &adapter, &o.adapter_scale);
    if (code >= 0)
        return code;
    settings.ids_only = false;
    p.model = args.v[0];
    p.file = args.v[1];
    o.window = d.ctx;
    muga_error err = {0};
    cmd_catch_interrupt();
    code = measure(&p, &settings, adapter, &o, &err) ? cmd_fail(&err) : json ? print_json(&p) : print_text(&p);
    measure_result_release(&p.r);
    token_list_release(&p.ids);
    free(adapter);
    engine_adapter_drop(o.adapter);
    engine_free(p.e);
    engine_free(p.base);
    return code;
}
