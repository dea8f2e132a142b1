/* muga merge: a LoRA adapter folded into its model. */
#include "cmd/measuring.h"
#include "convert/quantise_file.h"

#include <math.h>

typedef struct merging {
    const char *base_name, *adapter, *out, *type;
    char *base; /* path */
    uint32_t threads;
    float scale;
    bool any_base;
    uint32_t n_matrices;
    bool untied;
    quantise_options o;
    quantise_report report;
} merging;

/* The type that loses least of the sum and isn't larger than what there was: F32 of a model in F32, BF16 of one in
 * BF16, else F16. */
static const mixture_kind *kind_like(const gguf_file *base) {
    const gguf_tensor *t = gguf_tensor_find(base, "token_embd.weight");
    return mixture_find(t && t->type == TENSOR_F32 ? "F32" : t && t->type == TENSOR_BF16 ? "BF16" : "F16");
}

static muga_status read_pairs(merging *g, const gguf_file *base, const gguf_file *adapter, muga_error *err) {
    char digest[SHA256_HEX];
    merge_options o = {.scale = g->scale};
    if (!g->any_base) {
        gguf_digest(base, digest);
        o.sha256 = digest;
    }
    muga_status st = merge_new(base, adapter, &o, &g->o.merge, err);
    return st ? error_prefix(err, st, "%.80s", g->adapter) : MUGA_OK;
}

static muga_status write_model(merging *g, const gguf_file *base, muga_error *err) {
    cmd_progress progress = {.what = "merging"};
    muga_status st = os_pool_new(g->threads ? (int)g->threads : os_cpu_count(), &g->o.pool, err);
    if (st)
        return st;
    g->o.files = &os_system()->files;
    g->o.on_progress = cmd_progress_go_on;
    g->o.on_progress_ctx = &progress;
    st = quantise_file(base, g->out, &g->o, &g->report, err);
    if (st == MUGA_E_INPUT || st == MUGA_E_NONFINITE)
        st = error_prefix(err, st, "%.80s", g->base_name);
    cmd_progress_finish(&progress);
    os_pool_free(g->o.pool);
    return st;
}

static muga_status run(merging *g, muga_error *err) {
    gguf_file *base = NULL, *adapter = NULL;
    muga_status st = cmd_resolve(g->base_name, &g->base, err);
    if (!st)
        st = cmd_check_out(g->out, g->base, err);
    if (!st)
        st = cmd_check_out(g->out, g->adapter, err);
    if (!st)
        st = gguf_open(g->base, &base, err);
    if (!st)
        st = gguf_open(g->adapter, &adapter, err);
    if (!st && !g->o.kind)
        g->o.kind = kind_like(base);
    if (!st)
        st = read_pairs(g, base, adapter, err);
    if (!st)
        st = write_model(g, base, err);
    if (g->o.merge) {
        g->n_matrices = merge_count(g->o.merge);
        g->untied = merge_output(g->o.merge) != NULL;
    }
    merge_free(g->o.merge);
    gguf_close(adapter);
    gguf_close(base);
    return st;
}

static int print_text(const merging *g) {
    const quantise_report *r = &g->report;
    char in[16], out[16];
    cmd_format_bytes(r->bytes_in, in);
    cmd_format_bytes(r->bytes_out, out);
    printf("%s: %s, %s of %s, %u matrices changed\n", g->out, g->o.kind->name, out, in, g->n_matrices);
    if (g->untied)
        printf("output.weight was added: the adapter changes the embedding's look-up alone, and it serves as output\n");
    if (r->square_sum > 0)
        printf("error of the new type: %.3f %% of the size of what was quantised (rms)\n",
               100 * sqrt(r->square_error / r->square_sum));
    return cmd_finish_output(0);
}

static int print_json(const merging *g) {
    const quantise_report *r = &g->report;
    double error = r->square_sum > 0 ? sqrt(r->square_error / r->square_sum) : 0;
    json_t *v = json_pack("{s:s, s:s, s:I, s:I, s:i, s:f, s:b, s:f}", "file", g->out, "type", g->o.kind->name,
                          "bytes_in", (json_int_t)r->bytes_in, "bytes", (json_int_t)r->bytes_out, "matrices",
                          (int)g->n_matrices, "scale", (double)g->scale, "output_added", g->untied, "relative_error",
                          error);
    if (!v)
        return cmd_error(MUGA_E_NOMEM, "out of memory for the result");
    cmd_print_json(v);
    json_decref(v);
    return cmd_finish_output(0);
}

int cmd_merge(int argc, char **argv) {
    merging g = {.scale = 1};
    bool json = false;
    const cmd_option options[] = {
        {"--out", 'o', CMD_STRING, &g.out, "FILE", "the merged model; whole or not there"},
        {"--type", 0, CMD_STRING, &g.type, "TYPE", "its type (default: F32 or BF16 as the base, else F16)"},
        {"--scale", 0, CMD_F32, &g.scale, "S", "how strong the adapter is (default 1)"},
        {"--any-base", 0, CMD_FLAG, &g.any_base, NULL, "also where the adapter names another file as its base"},
        {"--threads", 't', CMD_U32, &g.threads, "N", "threads (default: the cores there are)"},
        {"--json", 0, CMD_FLAG, &json, NULL, "one JSON object"}};
    cmd_positional p = {.min = 2, .max = 2};
    int code = cmd_parse("merge", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    g.base_name = p.v[0];
    g.adapter = p.v[1];
    g.o.kind = g.type ? mixture_find(g.type) : NULL;
    if (g.type && !g.o.kind)
        return cmd_error(MUGA_E_USAGE, "'%.20s' is no type to write; `muga help quantize` lists them", g.type);
    if (!g.out || !hub_is_path(g.out))
        return cmd_error(MUGA_E_USAGE, "-o needs the path of a file, with '/' or ending in .gguf");
    if (g.threads > 1024)
        return cmd_error(MUGA_E_USAGE, "--threads is at most 1024");
    muga_error err = {0};
    cmd_catch_interrupt();
    code = run(&g, &err) ? cmd_fail(&err) : json ? print_json(&g) : print_text(&g);
    free(g.base);
    return code;
}
