/* muga convert: a Hugging Face folder as one GGUF file. */
#include "convert/convert.h"
#include "cmd/measuring.h"

#include <math.h>

typedef struct convert {
    const char *dir, *out;
    uint32_t threads;
    convert_options o;
    convert_report report;
} convert;

static muga_status run(convert *c, muga_error *err) {
    cmd_progress converting = {.what = "converting"};
    muga_status st = cmd_check_out(c->out, NULL, err);
    if (!st)
        st = os_pool_new(c->threads ? (int)c->threads : os_cpu_count(), &c->o.pool, err);
    if (!st) {
        c->o.files = &os_system()->files;
        c->o.on_progress = cmd_progress_go_on;
        c->o.on_progress_ctx = &converting;
        st = convert_folder(c->dir, c->out, &c->o, &c->report, err);
    }
    cmd_progress_finish(&converting);
    os_pool_free(c->o.pool);
    return st;
}

static double bits_a_weight(const convert_report *r) {
    return r->n_params ? 8.0 * (double)r->bytes_out / (double)r->n_params : 0;
}

static double relative_error(const convert_report *r) {
    return r->square_sum > 0 ? sqrt(r->square_error / r->square_sum) : 0;
}

static int print_text(const convert *c) {
    const convert_report *r = &c->report;
    char size[16];
    cmd_format_bytes(r->bytes_out, size);
    printf("%s: %s, %s, %s, %.2f bits a weight\n", c->out, r->arch, r->type, size, bits_a_weight(r));
    for (size_t i = 0, n = 0; i < ARRAY_LEN(r->n_of_type); i++)
        if (r->n_of_type[i])
            printf("%s%u %s", n++ ? ", " : "matrices: ", r->n_of_type[i], tensor_type_traits((uint32_t)i)->name);
    printf("\n");
    if (r->square_error > 0)
        printf("error: %.3f %% of the size of what changed its type (rms)\n", 100 * relative_error(r));
    if (r->n_fell_back)
        printf("%u matrices have rows that aren't whole blocks of their type and got one with smaller blocks\n",
               r->n_fell_back);
    if (r->n_left_out)
        printf("%u tensors were left out: the model's text part doesn't need them\n", r->n_left_out);
    return cmd_finish_output(0);
}

static int print_json(const convert *c) {
    const convert_report *r = &c->report;
    json_t *types = json_object();
    for (size_t i = 0; types && i < ARRAY_LEN(r->n_of_type); i++)
        if (r->n_of_type[i])
            (void)json_object_set_new(types, tensor_type_traits((uint32_t)i)->name, json_integer(r->n_of_type[i]));
    json_t *v = json_pack("{s:s, s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:f, s:f, s:o?}", "file", c->out, "architecture",
                          r->arch, "type", r->type, "bytes", (json_int_t)r->bytes_out, "params",
                          (json_int_t)r->n_params, "tensors", (int)r->n_tensors, "left_out", (int)r->n_left_out,
                          "fell_back", (int)r->n_fell_back, "bits_per_weight", bits_a_weight(r), "relative_error",
                          relative_error(r), "matrices", types);
    if (!v)
        return cmd_error(MUGA_E_NOMEM, "out of memory for the result");
    cmd_print_json(v);
    json_decref(v);
    return cmd_finish_output(0);
}

int cmd_convert(int argc, char **argv) {
    convert c = {0};
    bool json = false;
    const cmd_option options[] = {
        {"--type", 0, CMD_STRING, &c.o.type, "T", "F32, or a type of `muga quantize` (default: the embedding's)"},
        {"--name", 0, CMD_STRING, &c.o.name, "NAME", "the model's name in the file (default: the folder's)"},
        {"--threads", 't', CMD_U32, &c.threads, "N", "threads (default: the cores there are)"},
        {"--json", 0, CMD_FLAG, &json, NULL, "one JSON object"}};
    cmd_positional p = {.min = 2, .max = 2};
    int code = cmd_parse("convert", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    c.dir = p.v[0];
    c.out = p.v[1];
    size_t n = strlen(c.out);
    if (n < 6 || strcmp(c.out + n - 5, ".gguf") != 0)
        return cmd_error(MUGA_E_USAGE, "OUT is the path of a file that ends in .gguf; '%.60s' doesn't", c.out);
    if (c.threads > 1024)
        return cmd_error(MUGA_E_USAGE, "--threads is at most 1024");
    muga_error err = {0};
    cmd_catch_interrupt();
    return run(&c, &err) ? cmd_fail(&err) : json ? print_json(&c) : print_text(&c);
}
