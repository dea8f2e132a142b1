/* muga embed: texts to vectors. */
#include "cmd/measuring.h"

#define MAX_INPUT_BYTES ((size_t)256 << 20)
#define MAX_BATCH 512u

typedef struct embed {
    engine *e;
    float *vector; /* [n_dims] */
    uint32_t n_dims;
    bool json, no_cache;
} embed;

static void print_vector(const embed *c, const char *text, size_t n) {
    str line = STR_INIT;
    if (c->json) {
        str_append_s(&line, "{\"text\":");
        json_write_string(&line, text, n);
        str_append_s(&line, ",\"embedding\":[");
    }
    for (uint32_t i = 0; i < c->n_dims; i++)
        str_printf(&line, "%s%.9g", i ? (c->json ? "," : " ") : "", (double)c->vector[i]);
    if (c->json)
        str_append_s(&line, "]}");
    puts(str_get(&line));
    str_release(&line);
}

static muga_status embed_text(embed *c, const char *text, size_t n, muga_error *err) {
    span one = span_of(text, n);
    muga_status st = engine_embed(c->e, &one, 1, c->vector, err);
    if (!st)
        print_vector(c, text, n);
    return st;
}

/* Each line a text; errors name it. */
static muga_status embed_lines(embed *c, muga_error *err) {
    str input;
    size_t line = 1;
    muga_status st = cmd_read_input("-", MAX_INPUT_BYTES, &input, err);
    const char *p = str_get(&input), *end = p + input.len;
    for (; !st && p < end; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        stop = stop ? stop : end;
        st = embed_text(c, p, (size_t)(stop - p), err);
        if (st)
            st = error_prefix(err, st, "line %zu", line);
        p = stop + 1;
    }
    str_release(&input);
    return st;
}

static muga_status run(embed *c, const cmd_positional *p, engine_options o, muga_error *err) {
    o.n_batch = MAX_BATCH; /* a text goes through whole */
    muga_status st = cmd_open_engine(p->v[0], !c->no_cache, o, &c->e, err);
    if (st)
        return st;
    c->n_dims = engine_embed_dims(c->e);
    c->vector = mem_alloc_array(MAX(c->n_dims, 1u), sizeof *c->vector);
    if (!c->vector)
        st = error_nomem(err, "a vector");
    for (size_t i = 1; i < p->n && !st; i++)
        st = embed_text(c, p->v[i], strlen(p->v[i]), err);
    if (!st && p->n == 1)
        st = embed_lines(c, err);
    return st;
}

int cmd_embed(int argc, char **argv) {
    embed c = {0};
    engine_options o = ENGINE_OPTIONS_DEFAULT;
    uint32_t threads = 0;
    cmd_values overrides = {.n = 0};
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &c.json, NULL, "an object a text"},
                                  {"--exact", 0, CMD_FLAG, &o.exact, NULL, "float activations instead of int8"},
                                  OVERRIDE_OPTION(&overrides),
                                  NO_CACHE_OPTION(&c.no_cache),
                                  {"--threads", 't', CMD_U32, &threads, "N", "threads (default: the cores there are)"}};
    cmd_positional p = {.min = 1, .max = 64};
    int code = cmd_parse("embed", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    if (threads > 1024)
        return cmd_error(MUGA_E_USAGE, "--threads is at most 1024");
    o.n_threads = (int)threads;
    o.overrides = overrides.v;
    o.n_overrides = overrides.n;
    muga_error err = {0};
    muga_status st = run(&c, &p, o, &err);
    code = st ? cmd_fail(&err) : 0;
    engine_free(c.e);
    free(c.vector);
    return cmd_finish_output(code);
}
