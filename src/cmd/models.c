/* muga list, show, rm: the models of the store. */
#include "cmd/cmd.h"
#include "gguf/gguf.h"
#include "model/template_fallback.h"

#include <time.h>

static void format_age(int64_t ms, int64_t now_ms, char out[24]) {
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400 * 365, "year"}, {86400 * 30, "month"}, {86400, "day"},
                 {3600, "hour"},        {60, "minute"},        {1, "second"}};
    int64_t age = MAX((now_ms - ms) / 1000, 0);
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (age >= units[i].seconds) {
            int64_t n = age / units[i].seconds;
            snprintf(out, 24, "%lld %s%s ago", (long long)n, units[i].name, n == 1 ? "" : "s");
            return;
        }
    snprintf(out, 24, "now");
}

static void print_models(const json_t *list) {
    size_t n = json_array_size(list), i;
    const char **cells = mem_alloc_array((n + 1) * 4, sizeof *cells);
    char(*text)[4][160] = mem_alloc_array(n + 1, sizeof *text);
    const json_t *m;
    const os_clock *clock = &os_system()->clock;
    static const char *const head[] = {"NAME", "DIGEST", "SIZE", "MODIFIED"};
    if (cells && text) {
        for (size_t c = 0; c < 4; c++)
            cells[c] = head[c];
        json_array_foreach(list, i, m) {
            char(*row)[160] = text[i];
            snprintf(row[0], 160, "%.70s:%.70s", json_get_string(m, "name"), json_get_string(m, "tag"));
            const char *blob = json_get_string(m, "blob");
            snprintf(row[1], 160, "%.12s", blob ? blob + 7 : "damaged");
            if (blob)
                cmd_format_bytes((uint64_t)json_get_int(m, "bytes", 0), row[2]);
            else
                snprintf(row[2], 160, "-");
            format_age(json_get_int(m, "modified_ms", 0), clock->now_ms(clock->self), row[3]);
            for (size_t c = 0; c < 4; c++)
                cells[(i + 1) * 4 + c] = row[c];
        }
        cmd_print_table(cells, n + 1, 4);
    }
    free(cells);
    free(text);
}

int cmd_list(int argc, char **argv) {
    bool as_json = false;
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &as_json, NULL, "an array of manifests"}};
    cmd_positional p = {.max = 0};
    hub h;
    json_t *list = NULL;
    muga_error err = {0};
    int code = cmd_parse("list", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_hub(&h, &err);
    if (!st) {
        st = hub_list(&h, &list, &err);
        hub_close(&h);
    }
    if (st)
        return cmd_fail(&err);
    if (as_json)
        cmd_print_json(list);
    else
        print_models(list);
    json_decref(list);
    return cmd_finish_output(0);
}

int cmd_rm(int argc, char **argv) {
    cmd_positional p = {.min = 1, .max = 1};
    hub h;
    muga_error err = {0};
    int code = cmd_parse("rm", NULL, 0, argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_hub(&h, &err);
    if (!st) {
        st = hub_remove(&h, p.v[0], &err);
        hub_close(&h);
    }
    if (st)
        return cmd_fail(&err);
    printf("removed %s\n", p.v[0]);
    return cmd_finish_output(0);
}

/* ---- show ---- */

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
    json_object_foreach((json_t *)(uintptr_t)d, key, v) {
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

int cmd_show(int argc, char **argv) {
    bool as_json = false, keys = false, template_only = false;
    cmd_values overrides = {.n = 0};
    const cmd_option options[] = {{"--json", 0, CMD_FLAG, &as_json, NULL, "an object"},
                                  {"--keys", 0, CMD_FLAG, &keys, NULL, "every metadata key of the file"},
                                  {"--template", 0, CMD_FLAG, &template_only, NULL, "the chat template's source"},
                                  OVERRIDE_OPTION(&overrides)};
    cmd_positional p = {.min = 1, .max = 1};
    muga_error err = {0};
    char *path = NULL;
    gguf_file *f = NULL;
    span text = {0};
    int code = cmd_parse("show", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_resolve(p.v[0], &path, &err);
    if (!st)
        st = gguf_open_overridden(path, overrides.v, overrides.n, &f, &err);
    if (!st && template_only) {
        st = cmd_template_source(f, &text, &err);
    }
    if (st) {
        code = cmd_fail(&err);
    } else {
        if (template_only) {
            fwrite(text.p, 1, text.n, stdout);
            putchar('\n');
        } else if (keys) {
            print_keys(f);
        } else {
            json_t *d = describe(f, path);
            if (as_json)
                cmd_print_json(d);
            else
                print_summary(d);
            json_decref(d);
        }
        code = cmd_finish_output(0);
    }
    gguf_close(f);
    free(path);
    return code;
}
