/* Converting folders. If this fails, a folder that is damaged, incomplete or of a kind that isn't followed is taken for
 * a good one, leaves half a file behind, or is refused without a word about what and where; or --type gives other
 * bytes than converting and then quantising.
 *
 * The folder is made of the tiny model of the tree, then one thing about it is changed. */
#include "support/support.h"

#include "support/hf_folder.h"

#include "base/json.h"
#include "base/mem.h"
#include "convert/convert.h"
#include "convert/quantise_file.h"
#include "engine/engine.h"

#include <stdio.h>
#include <unistd.h>

static char dir[400], out[400], source[400];

static const os_files *files(void) {
    return &os_system()->files;
}

static char *in_dir(const char *name) {
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static str read_path(const char *path) {
    str s = STR_INIT;
    muga_error err = {0};
    assert_ok(os_read_file(files(), path, (size_t)1 << 28, &s, &err), &err);
    return s;
}

static void write_path(const char *path, const void *p, size_t n) {
    muga_error err = {0};
    assert_ok(os_write_file_atomic(files(), path, p, n, &err), &err);
}

static muga_status forget(void *ctx, const char *name) {
    (void)ctx;
    (void)remove(in_dir(name));
    return MUGA_OK;
}

/* An empty folder, then the model in it. */
static void fresh(const hf_folder_options *how) {
    muga_error err = {0};
    assert_ok(files()->mkdirs(files()->self, dir, &err), &err);
    assert_ok(files()->list(files()->self, dir, forget, NULL, &err), &err);
    hf_folder_write(source, dir, how);
    (void)remove(out);
}

static muga_status run(const char *type, convert_report *report, muga_error *err) {
    convert_options o = {.type = type, .name = "tiny", .files = files()};
    return convert_folder(dir, out, &o, report, err);
}

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "%s", scratch_path("folder"));
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    snprintf(source, sizeof source, "%s", scratch_path("source.gguf"));
    hf_folder_source(source);
    return 0;
}

/* ---- what is right ---- */

static engine *open_engine(const char *path) {
    engine_options o = {.isa = -1, .exact = true, .n_threads = 1};
    engine *e = NULL;
    muga_error err = {0};
    assert_ok(engine_open(path, &o, &e, &err), &err);
    return e;
}

static void same_model(const char *a, const char *b) {
    engine *x = open_engine(a), *y = open_engine(b);
    engine_session *s = NULL, *t = NULL;
    token_list ids = TOKEN_LIST_INIT, more = TOKEN_LIST_INIT;
    muga_error err = {0};
    static const char text[] = "Hello there, 12345 orders!\n<|im_end|>";
    tokenizer_flags flags = {.add_special = true, .parse_special = true, .lossy = true};
    assert_ok(tokenizer_encode(engine_tokenizer(x), text, strlen(text), flags, &ids, &err), &err);
    assert_ok(tokenizer_encode(engine_tokenizer(y), text, strlen(text), flags, &more, &err), &err);
    assert_int_equal(ids.n, more.n);
    assert_memory_equal(ids.ids, more.ids, ids.n * sizeof *ids.ids);
    assert_ok(engine_session_new(x, 0, &s, &err), &err);
    assert_ok(engine_session_new(y, 0, &t, &err), &err);
    assert_ok(engine_session_feed(s, ids.ids, (uint32_t)ids.n, &err), &err);
    assert_ok(engine_session_feed(t, ids.ids, (uint32_t)ids.n, &err), &err);
    assert_memory_equal(engine_session_logits(s), engine_session_logits(t), engine_params(x)->n_vocab * sizeof(float));
    engine_session_free(s);
    engine_session_free(t);
    token_list_release(&ids);
    token_list_release(&more);
    engine_free(x);
    engine_free(y);
}

static void the_folder_s_model_comes_back(void **state) {
    (void)state;
    muga_error err = {0};
    convert_report report;
    for (unsigned n_shards = 1; n_shards <= 4; n_shards += 3) {
        fresh(&(hf_folder_options){.n_shards = n_shards});
        assert_ok(run(NULL, &report, &err), &err);
        assert_string_equal(report.type, "F16");
        assert_string_equal(report.arch, "llama");
        same_model(out, source);
    }
}

static void types_are_those_of_quantising_afterwards(void **state) {
    (void)state;
    static const char *const types[] = {"F32", "BF16", "q8_0", "Q4_K_M", "Q4_0", "IQ4_XS"};
    char plain[400], later[400];
    snprintf(plain, sizeof plain, "%s", scratch_path("plain.gguf"));
    snprintf(later, sizeof later, "%s", scratch_path("later.gguf"));
    fresh(&(hf_folder_options){0});
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        gguf_file *f = NULL;
        muga_error err = {0};
        convert_report report;
        quantise_report quantised;
        quantise_options o = {.kind = mixture_find(types[i]), .files = files()};
        assert_ok(run(types[i], &report, &err), &err);
        str ours = read_path(out);
        assert_int_equal(ours.len, report.bytes_out);
        if (o.kind) { /* F32 is no type to quantise to */
            assert_ok(run(NULL, &report, &err), &err);
            assert_int_equal(rename(out, plain), 0);
            assert_ok(gguf_open(plain, &f, &err), &err);
            assert_ok(quantise_file(f, later, &o, &quantised, &err), &err);
            gguf_close(f);
            str theirs = read_path(later);
            assert_int_equal(ours.len, theirs.len);
            assert_memory_equal(ours.data, theirs.data, ours.len);
            str_release(&theirs);
        }
        str_release(&ours);
    }
}

static void threads_change_nothing(void **state) {
    (void)state;
    muga_error err = {0};
    convert_report report;
    fresh(&(hf_folder_options){.n_shards = 2});
    assert_ok(run("Q4_K_M", &report, &err), &err);
    str one = read_path(out);
    convert_options o = {.type = "Q4_K_M", .name = "tiny", .files = files()};
    assert_ok(os_pool_new(3, &o.pool, &err), &err);
    assert_ok(convert_folder(dir, out, &o, &report, &err), &err);
    os_pool_free(o.pool);
    str three = read_path(out);
    assert_int_equal(one.len, three.len);
    assert_memory_equal(one.data, three.data, one.len);
    str_release(&one);
    str_release(&three);
}

static bool stop(void *ctx, double done) {
    (void)ctx;
    return done < 0.5;
}

static void interrupted_it_leaves_nothing(void **state) {
    (void)state;
    muga_error err = {0};
    convert_report report;
    convert_options o = {.files = files(), .on_progress = stop};
    fresh(&(hf_folder_options){0});
    assert_status(convert_folder(dir, out, &o, &report, &err), MUGA_E_CANCELLED, &err, "interrupted");
    assert_int_not_equal(access(out, F_OK), 0);
    assert_status(run("Q9_Z", &report, &err), MUGA_E_USAGE, &err, "Q9_Z");
}

/* ---- what is wrong ---- */

/* One change to the folder, and what is said about it. */
typedef struct change {
    const char *file;      /* of it ... */
    const char *from, *to; /* ... this text becomes that one, or with from NULL all of it; to NULL: the file goes */
    muga_status status;
    const char *part; /* of the message */
} change;

static void apply(const change *c) {
    char *path = in_dir(c->file);
    if (!c->to) {
        assert_int_equal(remove(path), 0);
        return;
    }
    if (!c->from) {
        write_path(path, c->to, strlen(c->to));
        return;
    }
    str s = read_path(path), changed = STR_INIT;
    char *at = memmem(s.data, s.len, c->from, strlen(c->from));
    if (!at)
        fail_msg("%s has no %s", c->file, c->from);
    str_append(&changed, s.data, (size_t)(at - s.data));
    str_append_s(&changed, c->to);
    str_append(&changed, at + strlen(c->from), s.len - (size_t)(at - s.data) - strlen(c->from));
    write_path(path, str_get(&changed), changed.len);
    str_release(&s);
    str_release(&changed);
}

static void refuse(const change *list, size_t n, const hf_folder_options *how) {
    for (size_t i = 0; i < n; i++) {
        muga_error err = {0};
        convert_report report;
        fresh(how);
        apply(&list[i]);
        muga_status st = run(NULL, &report, &err);
        if (st != list[i].status || !strstr(err.message, list[i].part))
            fail_msg("%s, \"%s\" to \"%s\": status %d, \"%s\"; expected \"%s\"", list[i].file,
                     list[i].from ? list[i].from : "all", list[i].to ? list[i].to : "nothing", st, err.message,
                     list[i].part);
        assert_int_not_equal(access(out, F_OK), 0);
    }
}

static void what_is_missing_is_named(void **state) {
    (void)state;
    static const change list[] = {
        {"config.json", NULL, NULL, MUGA_E_NOT_FOUND, "config.json"},
        {"model.safetensors", NULL, NULL, MUGA_E_NOT_FOUND, "neither model.safetensors nor"},
        {"tokenizer.json", NULL, NULL, MUGA_E_NOT_FOUND, "no tokenizer.json, no tokenizer.model"},
        {"config.json", NULL, "[]", MUGA_E_INPUT, "config.json: it is no JSON object"},
        {"config.json", NULL, "{", MUGA_E_INPUT, "config.json: line 1"},
        {"model.safetensors", NULL, "", MUGA_E_INPUT, "model.safetensors"},
    };
    muga_error err = {0};
    convert_report report;
    convert_options o = {.files = files()};
    refuse(list, ARRAY_LEN(list), &(hf_folder_options){0});
    assert_status(convert_folder(scratch_path("none"), out, &o, &report, &err), MUGA_E_NOT_FOUND, &err, "none");
    assert_status(convert_folder(source, out, &o, &report, &err), MUGA_E_NOT_FOUND, &err, "no such folder");
}

static void a_configuration_that_is_wrong_is_refused(void **state) {
    (void)state;
    static const change list[] = {
        {"config.json", "LlamaForCausalLM", "GPT2LMHeadModel", MUGA_E_INPUT, "architecture \"GPT2LMHeadModel\""},
        {"config.json", "\"architectures\"", "\"architecture\"", MUGA_E_INPUT, "\"architectures\" is missing"},
        {"config.json", "\"hidden_size\"", "\"hidden\"", MUGA_E_INPUT, "\"hidden_size\" is missing"},
        {"config.json", "\"hidden_size\":", "\"hidden_size\":1", MUGA_E_INPUT, "would be rotated"},
        {"config.json", "\"num_hidden_layers\":", "\"num_hidden_layers\":-", MUGA_E_INPUT, "\"num_hidden_layers\""},
        {"config.json", "\"num_hidden_layers\":", "\"num_hidden_layers\":1.5,\"x\":", MUGA_E_INPUT, "whole number"},
        {"config.json", "\"num_hidden_layers\":", "\"num_hidden_layers\":7,\"x\":", MUGA_E_INPUT, "is missing"},
        {"config.json", "\"num_hidden_layers\":", "\"num_hidden_layers\":1,\"x\":", MUGA_E_INPUT, "is not part of"},
        {"config.json", "\"intermediate_size\":", "\"intermediate_size\":4294967296,\"x\":", MUGA_E_INPUT,
         "\"intermediate_size\""},
        {"config.json", "\"intermediate_size\":", "\"intermediate_size\":31,\"x\":", MUGA_E_INPUT, "as config.json"},
        {"config.json", "\"vocab_size\":", "\"vocab_size\":3,\"x\":", MUGA_E_INPUT, "embed_tokens"},
        {"config.json", "\"num_key_value_heads\":", "\"num_key_value_heads\":0,\"x\":", MUGA_E_INPUT,
         "\"num_key_value_heads\""},
        {"config.json", "\"silu\"", "\"tanh\"", MUGA_E_INPUT, "activation is \"tanh\""},
        {"config.json", "\"rms_norm_eps\":", "\"rms_norm_eps\":0,\"x\":", MUGA_E_INPUT, "\"rms_norm_eps\""},
        {"config.json", "\"rope_scaling\":null", "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", MUGA_E_INPUT,
         "rope type \"dynamic\""},
        {"config.json", "\"rope_scaling\":null", "\"rope_scaling\":{\"type\":\"linear\"}", MUGA_E_INPUT,
         "\"factor\" is missing"},
        {"config.json", "\"rope_scaling\":null",
         "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[1]}", MUGA_E_INPUT,
         "\"long_factor\""},
        {"config.json", "{", "{\"quantization_config\":{},", MUGA_E_INPUT, "quantised already"},
        {"config.json", "\"partial_rotary_factor\":", "\"partial_rotary_factor\":0.5,\"x\":", MUGA_E_INPUT,
         "\"partial_rotary_factor\""},
    };
    refuse(list, ARRAY_LEN(list), &(hf_folder_options){0});
}

static void weights_that_are_wrong_are_refused(void **state) {
    (void)state;
    static const change list[] = {
        {"model.safetensors", "model.norm.weight", "model.nurm.weight", MUGA_E_INPUT, "model.norm.weight"},
        {"model.safetensors", "\"dtype\":\"F16\"", "\"dtype\":\"I16\"", MUGA_E_INPUT, "dtype I16"},
        {"model.safetensors", "\"dtype\":\"F16\"", "\"dtype\":\"F1x\"", MUGA_E_INPUT, "dtype \"F1x\""},
        {"model.safetensors", "\"shape\":[", "\"shape\":]", MUGA_E_INPUT, "model.safetensors"},
    };
    static const change sharded[] = {
        {"model-00002-of-00003.safetensors", NULL, NULL, MUGA_E_NOT_FOUND, "model-00002-of-00003.safetensors"},
        {"model-00003-of-00003.safetensors", NULL, "", MUGA_E_INPUT, "model-00003-of-00003.safetensors"},
        {"model.safetensors.index.json", "\"weight_map\"", "\"weights\"", MUGA_E_INPUT, "\"weight_map\""},
        {"model.safetensors.index.json", "model-00002-of", "../00002-of", MUGA_E_INPUT, "in no file of this folder"},
        {"model.safetensors.index.json", "model-00002-of", "model-00001-of", MUGA_E_INPUT, "don't belong together"},
        {"model.safetensors.index.json", "model.norm.weight", "model.nurm.weight", MUGA_E_INPUT,
         "don't belong together"},
        {"model.safetensors.index.json", "{", "{\"weight_map\":7,", MUGA_E_INPUT, "index.json"},
        {"model-00002-of-00003.safetensors", "model.layers.0", "model.layers.9", MUGA_E_INPUT, "don't belong together"},
    };
    refuse(list, ARRAY_LEN(list), &(hf_folder_options){0});
    refuse(sharded, ARRAY_LEN(sharded), &(hf_folder_options){.n_shards = 3});
}

static void a_tensor_that_nobody_asked_for_is_refused(void **state) {
    (void)state;
    muga_error err = {0};
    convert_report report;
    static const char *const names[] = {"model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.extra.weight"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        fresh(&(hf_folder_options){0});
        str s = read_path(in_dir("model.safetensors")), made = STR_INIT;
        uint64_t n;
        char entry[200];
        memcpy(&n, s.data, sizeof n);
        uint64_t n_data = s.len - 8 - n;
        snprintf(entry, sizeof entry, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%llu,%llu]}}",
                 names[i], (unsigned long long)n_data, (unsigned long long)n_data + 4);
        uint64_t n_header = n - 1 + strlen(entry);
        str_append(&made, &n_header, sizeof n_header);
        str_append(&made, s.data + 8, (size_t)n - 1);
        str_append_s(&made, entry);
        str_append(&made, s.data + 8 + n, (size_t)n_data);
        str_append(&made, "\0\0\0", 4);
        write_path(in_dir("model.safetensors"), str_get(&made), made.len);
        if (i == 0) {
            assert_ok(run(NULL, &report, &err), &err);
            assert_int_equal(report.n_left_out, 1);
        } else {
            assert_status(run(NULL, &report, &err), MUGA_E_INPUT, &err, "extra.weight\" is not part of");
        }
        str_release(&s);
        str_release(&made);
    }
}

static void a_tokenizer_that_is_not_known_is_refused(void **state) {
    (void)state;
    static const change list[] = {
        {"tokenizer.json", "\"type\":\"BPE\"", "\"type\":\"WordLevel\"", MUGA_E_INPUT, "model type \"WordLevel\""},
        {"tokenizer.json", "\"individual_digits\":true", "\"individual_digits\":false", MUGA_E_INPUT,
         "pre-tokenizer is not known"},
        {"tokenizer.json", "\"Digits\"", "\"Whitespace\"", MUGA_E_INPUT, "step \"Whitespace\""},
        {"tokenizer.json", "\"add_prefix_space\":false", "\"add_prefix_space\":true", MUGA_E_INPUT,
         "\"add_prefix_space\""},
        {"tokenizer.json", "\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}", MUGA_E_INPUT,
         "step \"Lowercase\""},
        {"tokenizer.json", "\"merges\":[", "\"merges\":[\"a\",", MUGA_E_INPUT, "merge 0"},
        {"tokenizer.json", "\"merges\":[", "\"merges\":[\"a b c\",", MUGA_E_INPUT, "merge 0"},
        {"tokenizer.json", "\"merges\":[", "\"merges\":[[\"a\"],", MUGA_E_INPUT, "merge 0"},
        {"tokenizer.json", "\"ignore_merges\":false", "\"ignore_merges\":true", MUGA_E_INPUT, "ignore_merges"},
        {"tokenizer.json", "\"vocab\":{", "\"vocab\":{\"zz\":99999999,", MUGA_E_INPUT, "token 99999999"},
        {"tokenizer.json", "\"vocab\":{", "\"vocab\":{\"zz\":-1,", MUGA_E_INPUT, "token -1"},
        {"tokenizer.json", "\"vocab\":{", "\"vocab\":{\"zz\":\"1\",", MUGA_E_INPUT, "no whole number"},
        {"tokenizer.json", "\"vocab\":{", "\"vocab\":{\"zz\":40,", MUGA_E_INPUT, "two tokens with the id 40"},
        {"tokenizer.json", "{", "{\"post_processor\":{\"type\":\"Other\"},", MUGA_E_INPUT, "\"Other\""},
    };
    refuse(list, ARRAY_LEN(list), &(hf_folder_options){0});
    fresh(&(hf_folder_options){0});
    muga_error err = {0};
    convert_report report;
    write_path(in_dir("chat_template.jinja"), "a\0b", 3);
    assert_status(run(NULL, &report, &err), MUGA_E_INPUT, &err, "NUL");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_folder_s_model_comes_back),
        cmocka_unit_test(types_are_those_of_quantising_afterwards),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(interrupted_it_leaves_nothing),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(a_configuration_that_is_wrong_is_refused),
        cmocka_unit_test(weights_that_are_wrong_are_refused),
        cmocka_unit_test(a_tensor_that_nobody_asked_for_is_refused),
        cmocka_unit_test(a_tokenizer_that_is_not_known_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
