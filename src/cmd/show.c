/* muga show: what a model, or an adapter, is. */
#include "cmd/cmd.h"
#include "gguf/gguf.h"
#include "hub/modelfile.h"
#include "model/template_fallback.h"

static void add_key(json_t *out, const char *name, const gguf_file *f, const char *key) {
    for (uint64_t i = 0; i < gguf_key_count(f); i++) {
        gguf_type type;
        const char *k = gguf_key_name(f, i, &type);
        str text = STR_INIT;
        if (strcmp(k, key))
            continue;
        gguf_key_write(f, i, &text);
        if (type == GGUF_STRING || type == GGUF_ARRAY) {
            json_object_set_new(out, name, json_string(str_get(&text)));
        } else {
            json_t *number = json_loads(str_get(&text), JSON_DECODE_ANY, NULL);
            json_object_set_new(out, name, number ? number : json_string(str_get(&text)));
        }
        str_release(&text);
        return;
    }
}

static void add_arch_key(json_t *out, const char *name, const gguf_file *f, const char *arch, const char *key) {
    char full[160];
    snprintf(full, sizeof full, "%.60s.%s", arch, key);
    add_key(out, name, f, full);
}

/* Parameters, bytes of weights, and how many tensors of each type. */
static void add_tensors(json_t *out, const gguf_file *f) {
    uint64_t parameters = 0, bytes = 0;
    json_t *types = json_object();
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        const tensor_traits *traits = tensor_type_traits((uint32_t)t->type);
        parameters += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
        bytes += t->bytes;
        json_object_set_new(types, traits->name, json_integer(json_get_int(types, traits->name, 0) + 1));
    }
    json_object_set_new(out, "parameters", json_integer((json_int_t)parameters));
    json_object_set_new(out, "weight_bytes", json_integer((json_int_t)bytes));
    json_object_set_new(out, "tensors", json_integer((json_int_t)gguf_tensor_count(f)));
    json_object_set_new(out, "tensor_types", types);
}

static bool is_adapter(const gguf_file *f) {
    span type;
    muga_error ignored;
    return !gguf_get_string(f, "general.type", &type, &ignored) && span_equal_string(type, "adapter");
}

/* What an adapter's file says of itself, and the ranks of its pairs. */
static void add_adapter(json_t *out, const gguf_file *f) {
    uint64_t least = UINT64_MAX, most = 0;
    add_key(out, "type", f, "general.type");
    add_key(out, "adapter", f, "adapter.type");
    add_key(out, "alpha", f, "adapter.lora.alpha");
    add_key(out, "task", f, "adapter.lora.task_name");
    add_key(out, "prompt_prefix", f, "adapter.lora.prompt_prefix");
    add_key(out, "invocation_tokens", f, "adapter.alora.invocation_tokens");
    for (uint64_t i = 0; i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        size_t n = strlen(t->name);
        if (n < 7 || strcmp(t->name + n - 7, ".lora_b") != 0)
            continue;
        least = MIN(least, t->dims[0]);
        most = MAX(most, t->dims[0]);
    }
    if (most > 0)
        json_object_set_new(out, "rank", json_integer((json_int_t)least));
    if (most > least && least != UINT64_MAX)
        json_object_set_new(out, "largest_rank", json_integer((json_int_t)most));
}

static void add_packed(json_t *out, const char *path) {
    const os_files *files = &os_system()->files;
    cmd_packed p = cmd_packed_of(path);
    os_stat info;
    if (p.path && !files->stat(files->self, p.path, &info, NULL) && info.type == OS_TYPE_FILE)
        json_object_set_new(out, "packed_bytes", json_integer((json_int_t)info.size));
    cmd_packed_release(&p);
}

static json_t *describe(const gguf_file *f, const char *path) {
    json_t *out = json_object();
    span arch_text = {0};
    char arch[64] = "";
    muga_error ignored;
    if (!gguf_get_string(f, "general.architecture", &arch_text, &ignored))
        snprintf(arch, sizeof arch, "%.*s", (int)MIN(arch_text.n, sizeof arch - 1), arch_text.p);
    json_object_set_new(out, "path", json_string(path));
    json_object_set_new(out, "bytes", json_integer((json_int_t)gguf_file_bytes(f)));
    add_packed(out, path);
    json_object_set_new(out, "gguf_version", json_integer(gguf_version(f)));
    add_key(out, "name", f, "general.name");
    add_key(out, "architecture", f, "general.architecture");
    add_key(out, "license", f, "general.license");
    if (is_adapter(f))
        add_adapter(out, f);
    add_tensors(out, f);
    add_arch_key(out, "context_length", f, arch, "context_length");
    add_arch_key(out, "layers", f, arch, "block_count");
    add_arch_key(out, "embedding_length", f, arch, "embedding_length");
    add_arch_key(out, "feed_forward_length", f, arch, "feed_forward_length");
    add_arch_key(out, "heads", f, arch, "attention.head_count");
    add_arch_key(out, "kv_heads", f, arch, "attention.head_count_kv");
    add_arch_key(out, "key_length", f, arch, "attention.key_length");
    add_arch_key(out, "sliding_window", f, arch, "attention.sliding_window");
    add_arch_key(out, "rope_base", f, arch, "rope.freq_base");
    add_arch_key(out, "rope_scaling", f, arch, "rope.scaling.type");
    add_arch_key(out, "rope_factor", f, arch, "rope.scaling.factor");
    add_arch_key(out, "rope_original_context", f, arch, "rope.scaling.original_context_length");
    add_arch_key(out, "pooling", f, arch, "pooling_type");
    add_key(out, "tokenizer", f, "tokenizer.ggml.model");
    add_key(out, "pre_tokenizer", f, "tokenizer.ggml.pre");
    add_key(out, "bos_token_id", f, "tokenizer.ggml.bos_token_id");
    add_key(out, "eos_token_id", f, "tokenizer.ggml.eos_token_id");
    add_key(out, "eot_token_id", f, "tokenizer.ggml.eot_token_id");
    add_key(out, "eom_token_id", f, "tokenizer.ggml.eom_token_id");
    add_key(out, "add_bos_token", f, "tokenizer.ggml.add_bos_token");
    add_key(out, "add_eos_token", f, "tokenizer.ggml.add_eos_token");
    if (is_adapter(f)) /* no text of its own */
        return out;
    span template;
    bool has_template = !gguf_get_string(f, "tokenizer.chat_template", &template, &ignored);
    json_object_set_new(out, "chat_template", json_boolean(has_template));
    if (!has_template && strcmp(arch, "bert") != 0)
        json_object_set_new(out, "fallback_template", json_string(template_fallback_find(f)->name));
    return out;
}

static void print_summary(const json_t *d) {
    const char *key;
    json_t *v;
    json_object_foreach(json_borrow(d), key, v) {
        char size[16];
        str text = STR_INIT;
        if (json_is_string(v))
            str_append_s(&text, json_string_value(v));
        else
            json_write(v, &text);
        if (strstr(key, "bytes")) {
            cmd_format_bytes((uint64_t)json_integer_value(v), size);
            printf("%-20s %s (%s)\n", key, size, str_get(&text));
        } else {
            printf("%-20s %s\n", key, str_get(&text));
        }
        str_release(&text);
    }
}

static void print_keys(const gguf_file *f) {
    for (uint64_t i = 0; i < gguf_key_count(f); i++) {
        gguf_type type;
        str text = STR_INIT;
        const char *name = gguf_key_name(f, i, &type);
        gguf_key_write(f, i, &text);
        printf("%s = %s\n", name, str_get(&text));
        str_release(&text);
    }
}

void cmd_say_fallback(const char *form) {
    if (form)
        fprintf(stderr, "muga: the model's file has no chat template; the %s form is used instead, by its kind\n",
                form);
}

muga_status cmd_template_source(const gguf_file *f, span *out, muga_error *err) {
    muga_status st = gguf_get_string(f, "tokenizer.chat_template", out, err);
    if (st != MUGA_E_NOT_FOUND)
        return st;
    const template_fallback *form = template_fallback_find(f);
    *out = span_of_string(form->source);
    cmd_say_fallback(form->name);
    return MUGA_OK;
}

/* ---- what the store says of it ---- */

static json_t *describe_stored(const hub_model *m) {
    json_t *adapters = json_array();
    for (size_t i = 0; i < m->n_adapters; i++)
        json_array_append_new(
            adapters, json_pack("{s:s, s:f}", "sha256", m->adapters[i].sha256, "scale", (double)m->adapters[i].scale));
    return json_pack("{s:s, s:s, s:s, s:I, s:s?, s:s?, s:O, s:s?, s:s?, s:o, s:O, s:O}", "name", m->name, "target",
                     m->target, "digest", m->digest, "bytes", (json_int_t)m->bytes, "parent", m->parent, "requires",
                     m->requires, "parameters", m->parameters, "system", m->system, "template", m->template, "adapters",
                     adapters, "license", m->license, "messages", m->messages);
}

/* The beginning of a text, on one line. */
static void print_beginning(const char *name, const char *text) {
    str shown = STR_INIT;
    size_t n = strcspn(text, "\n"), most = MIN(n, (size_t)80);
    while (most < n && most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80)
        most--;
    cmd_write_visible(text, most, &shown);
    printf("%-20s %s%s\n", name, str_get(&shown), text[most] ? " ..." : "");
    str_release(&shown);
}

static void print_stored(const hub_model *m) {
    char size[16];
    const char *name;
    json_t *v;
    size_t i;
    cmd_format_bytes(m->bytes, size);
    printf("%-20s %s, %.12s, %s\n", "stored_as", m->name, m->digest, size);
    if (strcmp(m->name, m->target))
        printf("%-20s %s\n", "leads_to", m->target);
    if (m->parent)
        printf("%-20s %s\n", "made_from", m->parent);
    for (i = 0; i < m->n_adapters; i++)
        printf("%-20s %.12s, scale %g\n", "adapter", m->adapters[i].sha256, (double)m->adapters[i].scale);
    json_object_foreach(m->parameters, name, v) {
        str text = STR_INIT;
        json_write(v, &text);
        printf("%-20s %s %s\n", "parameter", name, str_get(&text));
        str_release(&text);
    }
    if (m->system)
        print_beginning("system", m->system);
    if (m->template)
        print_beginning("template", m->template);
    if (json_array_size(m->messages))
        printf("%-20s %zu\n", "messages", json_array_size(m->messages));
    json_array_foreach(m->license, i, v) print_beginning("license", json_string_value(v));
}

/* ---- the verb ---- */

typedef struct show {
    bool as_json, keys, template_only, modelfile, parameters, system, license;
    cmd_values overrides;
    const char *model;
    char *path;
    hub_model stored; /* nothing in it: MODEL is a path */
} show;

static muga_status show_open(show *s, muga_error *err) {
    hub h = {0};
    if (hub_is_path(s->model))
        return cmd_resolve(s->model, &s->path, err);
    muga_status st = cmd_hub(&h, err);
    if (!st)
        st = hub_load(&h, s->model, &s->stored, err);
    if (!st && !(s->path = mem_copy_string(s->stored.path)))
        st = error_nomem(err, "path");
    hub_close(&h);
    return st;
}

static void print_text(const char *p, size_t n) {
    fwrite(p, 1, n, stdout);
    if (n == 0 || p[n - 1] != '\n')
        putchar('\n');
}

static void print_modelfile(const show *s) {
    str text = STR_INIT;
    bool whole = true;
    if (s->stored.name)
        modelfile_write(&s->stored, &text, &whole);
    else
        str_printf(&text, "FROM %s\n", s->path);
    print_text(str_get(&text), text.len);
    if (!whole)
        cmd_say("a text of this model can't be said in a Modelfile; `muga show --json` has it");
    str_release(&text);
}

static void print_parameters(const show *s) {
    str text = STR_INIT;
    hub_parameters_write(s->stored.parameters, &text);
    fwrite(str_get(&text), 1, text.len, stdout);
    str_release(&text);
}

static void print_licenses(const show *s) {
    size_t i;
    json_t *v;
    json_array_foreach(s->stored.license, i, v) print_text(json_string_value(v), json_string_length(v));
}

static muga_status print_template(const show *s, const gguf_file *f, muga_error *err) {
    span text = span_of_string(s->stored.template ? s->stored.template : "");
    muga_status st = s->stored.template ? MUGA_OK : cmd_template_source(f, &text, err);
    if (!st) {
        fwrite(text.p, 1, text.n, stdout);
        putchar('\n');
    }
    return st;
}

static void print_all(const show *s, const gguf_file *f) {
    json_t *d = describe(f, s->path);
    if (s->stored.name && s->as_json)
        json_object_set_new(d, "stored", describe_stored(&s->stored));
    if (s->as_json) {
        cmd_print_json(d);
    } else {
        print_summary(d);
        if (s->stored.name)
            print_stored(&s->stored);
    }
    json_decref(d);
}

static muga_status run(show *s, muga_error *err) {
    gguf_file *f = NULL;
    muga_status st = show_open(s, err);
    if (st)
        return st;
    if (s->modelfile) {
        print_modelfile(s);
    } else if (s->parameters) {
        print_parameters(s);
    } else if (s->system) {
        if (s->stored.system)
            print_text(s->stored.system, strlen(s->stored.system));
    } else if (s->license) {
        print_licenses(s);
    } else {
        st = gguf_open_overridden(s->path, s->overrides.v, s->overrides.n, &f, err);
        if (!st && s->template_only)
            st = print_template(s, f, err);
        else if (!st && !s->keys)
            print_all(s, f);
        if (!st && s->keys)
            print_keys(f);
    }
    gguf_close(f);
    return st;
}

int cmd_show(int argc, char **argv) {
    show s = {0};
    bool verbose = false;
    const cmd_option options[] = {
        {"--json", 0, CMD_FLAG, &s.as_json, NULL, "an object"},
        {"--keys", 0, CMD_FLAG, &s.keys, NULL, "every metadata key of the file"},
        {"--verbose", 'v', CMD_FLAG, &verbose, NULL, "the same"},
        {"--modelfile", 0, CMD_FLAG, &s.modelfile, NULL, "a Modelfile that makes this model"},
        {"--parameters", 0, CMD_FLAG, &s.parameters, NULL, "the parameters that are set for it"},
        {"--system", 0, CMD_FLAG, &s.system, NULL, "its system message"},
        {"--template", 0, CMD_FLAG, &s.template_only, NULL, "the chat template's source"},
        {"--license", 0, CMD_FLAG, &s.license, NULL, "its licences"},
        OVERRIDE_OPTION(&s.overrides)};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    int code = cmd_parse("show", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    s.keys = s.keys || verbose;
    if (s.modelfile + s.parameters + s.system + s.template_only + s.license + s.keys > 1)
        return cmd_error(MUGA_E_USAGE,
                         "show: one of --modelfile, --parameters, --system, --template, --license, --keys");
    s.model = p.v[0];
    code = run(&s, &err) ? cmd_fail(&err) : cmd_finish_output(0);
    hub_model_release(&s.stored);
    free(s.path);
    return code;
}
