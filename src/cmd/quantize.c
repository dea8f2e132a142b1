/* muga quantize: a model in a smaller type. */
#include "cmd/measuring.h"
#include "convert/quantise_file.h"
#include "engine/measure.h"

#include <math.h>

typedef struct quantize {
    const char *in_name, *out, *text;
    char *in; /* path */
    uint32_t threads, window, max_windows;
    quantise_options o;
    importance *importance;
    quantise_report report;
} quantize;

static int unknown_type(const char *name) {
    char list[200] = "";
    size_t n = 0;
    for (size_t i = 0; mixture_at(i); i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? " " : "", mixture_at(i)->name);
    return cmd_error(MUGA_E_USAGE, "'%.20s' is no type to quantise to; there are %s", name, list);
}

static void on_input(void *ctx, const char *tensor, const float *x, size_t x_stride, uint32_t n_tok, uint32_t cols) {
    importance_add(ctx, tensor, x, x_stride, n_tok, cols);
}

/* Read the text with the model and gather what flows into each matrix. */
static muga_status calibrate(quantize *q, muga_error *err) {
    cmd_progress reading = {.what = "calibrating"};
    measure_options o = {.window = q->window,
                         .max_windows = q->max_windows,
                         .on_progress = cmd_progress_go_on,
                         .on_progress_ctx = &reading};
    engine_options settings = ENGINE_OPTIONS_DEFAULT;
    token_list ids = TOKEN_LIST_INIT;
    measure_result r = {0};
    engine *e = NULL;
    q->importance = importance_new();
    if (!q->importance)
        return error_nomem(err, "calibration");
    settings.n_threads = (int)q->threads;
    settings.on_input = on_input;
    settings.on_input_ctx = q->importance;
    muga_status st = cmd_open_engine(q->in_name, false, settings, &e, err);
    if (!st)
        st = cmd_read_text(e, q->text, &ids, err);
    if (!st)
        st = measure_text(e, NULL, &ids, &o, &r, err);
    cmd_progress_finish(&reading);
    if (!st)
        st = importance_status(q->importance, err);
    measure_result_release(&r);
    token_list_release(&ids);
    engine_free(e);
    q->o.importance = q->importance;
    return st;
}

static void warn_about_source(const quantise_report *r) {
    char text[160];
    if (tensor_type_traits(r->coarsest)->block_elems == 1)
        return;
    snprintf(text, sizeof text,
             "quantising from %s: what that has lost stays lost; a model in F16 or BF16 gives a better result",
             tensor_type_traits(r->coarsest)->name);
    cmd_say(text);
}

static muga_status run(quantize *q, muga_error *err) {
    gguf_file *in = NULL;
    cmd_progress quantising = {.what = "quantising"};
    muga_status st = cmd_resolve(q->in_name, &q->in, err);
    if (!st)
        st = cmd_check_out(q->out, q->in, err);
    if (!st)
        st = gguf_open(q->in, &in, err);
    if (!st)
        st = quantise_plan(in, &q->o, &q->report, err);
    if (!st)
        warn_about_source(&q->report);
    if (!st && q->text)
        st = calibrate(q, err);
    if (!st)
        st = os_pool_new(q->threads ? (int)q->threads : os_cpu_count(), &q->o.pool, err);
    if (!st) {
        q->o.files = &os_system()->files;
        q->o.on_progress = cmd_progress_go_on;
        q->o.on_progress_ctx = &quantising;
        st = quantise_file(in, q->out, &q->o, &q->report, err);
        if (st == MUGA_E_INPUT || st == MUGA_E_NONFINITE)
            st = error_prefix(err, st, "%.80s", q->in_name);
    }
    cmd_progress_finish(&quantising);
    os_pool_free(q->o.pool);
    gguf_close(in);
    return st;
}

static double bits_a_weight(const quantise_report *r) {
    return r->n_params ? 8.0 * (double)r->bytes_out / (double)r->n_params : 0;
}

static double relative_error(const quantise_report *r) {
    return r->square_sum > 0 ? sqrt(r->square_error / r->square_sum) : 0;
}

static int print_text(const quantize *q) {
    const quantise_report *r = &q->report;
    char in[16], out[16];
    cmd_format_bytes(r->bytes_in, in);
    cmd_format_bytes(r->bytes_out, out);
    printf("%s: %s, %s of %s, %.2f bits a weight\n", q->out, q->o.kind->name, out, in, bits_a_weight(r));
    for (size_t i = 0, n = 0; i < ARRAY_LEN(r->n_of_type); i++)
        if (r->n_of_type[i])
            printf("%s%u %s", n++ ? ", " : "matrices: ", r->n_of_type[i], tensor_type_traits((uint32_t)i)->name);
    printf("\n");
    if (r->square_sum > 0)
        printf("error: %.3f %% of the size of what was quantised (rms)\n", 100 * relative_error(r));
    if (r->n_fell_back)
        printf("%u matrices have rows that aren't whole blocks of their type and got one with smaller blocks\n",
               r->n_fell_back);
    if (r->n_unweighted)
        printf("%u matrices were quantised without weights: the text didn't use them\n", r->n_unweighted);
    return cmd_finish_output(0);
}

static int print_json(const quantize *q) {
    const quantise_report *r = &q->report;
    json_t *types = json_object();
    for (size_t i = 0; types && i < ARRAY_LEN(r->n_of_type); i++)
        if (r->n_of_type[i])
            (void)json_object_set_new(types, tensor_type_traits((uint32_t)i)->name, json_integer(r->n_of_type[i]));
    json_t *v = json_pack("{s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:i, s:i, s:b, s:s, s:o?}", "file", q->out, "type",
                          q->o.kind->name, "bytes_in", (json_int_t)r->bytes_in, "bytes", (json_int_t)r->bytes_out,
                          "params", (json_int_t)r->n_params, "bits_per_weight", bits_a_weight(r), "relative_error",
                          relative_error(r), "fell_back", (int)r->n_fell_back, "unweighted", (int)r->n_unweighted,
                          "calibrated", q->text != NULL, "from", tensor_type_traits(r->coarsest)->name, "matrices",
                          types);
    if (!v)
        return cmd_error(MUGA_E_NOMEM, "out of memory for the result");
    cmd_print_json(v);
    json_decref(v);
    return cmd_finish_output(0);
}

int cmd_quantize(int argc, char **argv) {
    quantize q = {0};
    bool json = false;
    const cmd_option options[] = {
        {"--calibrate", 0, CMD_STRING, &q.text, "TEXT", "weight errors by what flows through the model on this text"},
        {"--pure", 0, CMD_FLAG, &q.o.pure, NULL, "every matrix in TYPE itself, no mixture"},
        {"--ctx", 0, CMD_U32, &q.window, "N", "tokens of a calibration window (default 512, or the context)"},
        {"--chunks", 0, CMD_U32, &q.max_windows, "N", "windows that calibration reads (default: all)"},
        {"--threads", 't', CMD_U32, &q.threads, "N", "threads (default: the cores there are)"},
        {"--json", 0, CMD_FLAG, &json, NULL, "one JSON object"}};
    cmd_positional p = {.min = 3, .max = 3};
    int code = cmd_parse("quantize", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    q.in_name = p.v[0];
    q.out = p.v[1];
    q.o.kind = mixture_find(p.v[2]);
    if (!q.o.kind)
        return unknown_type(p.v[2]);
    if (!hub_is_path(q.out))
        return cmd_error(MUGA_E_USAGE, "OUT is the path of a file, with '/' or ending in .gguf; '%.60s' is neither",
                         q.out);
    if (q.threads > 1024)
        return cmd_error(MUGA_E_USAGE, "--threads is at most 1024");
    muga_error err = {0};
    cmd_catch_interrupt();
    code = run(&q, &err) ? cmd_fail(&err) : json ? print_json(&q) : print_text(&q);
    importance_free(q.importance);
    free(q.in);
    return code;
}
