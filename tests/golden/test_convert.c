/* If this fails, a model converted by us isn't the model that was in the folder: a tensor under another name or with
 * its rows in another order, a key wrong or missing, a vocabulary that cuts text otherwise.
 *
 * The reference models are written as Hugging Face folders (support/hf_folder.c) and converted back; logits are those
 * of the reference file bit for bit (its norms rounded as a folder holds them), and within a thousandth of what was
 * computed elsewhere in double precision; token ids are those of the reference implementations. */
#include "golden.h"

#include "support/hf_folder.h"

#include "convert/convert.h"

#include <math.h>

static const char *const models[] = {"llama-smol", "llama-l3", "qwen2",  "qwen3",   "phi3",
                                     "nemotron",   "gemma2",   "gemma3", "granite", "smollm3"};

static const char *golden_path(const char *model_name, char *out, size_t size) {
    char relative[96];
    snprintf(relative, sizeof relative, "golden/models/%s-f16.gguf", model_name);
    snprintf(out, size, "%s", shared_path(relative));
    return out;
}

/* The reference file with norms as a folder can hold them, where they multiply by 1 + weight there: scratch. */
static const char *rounded_path(const char *model_name, char *out, size_t size) {
    str bytes = STR_INIT;
    gguf_file *f = NULL;
    muga_error err = {0};
    bool plus_1 = !strncmp(model_name, "gemma", 5) || !strcmp(model_name, "nemotron");
    assert_ok(os_read_file(&os_system()->files, golden_path(model_name, out, size), (size_t)1 << 28, &bytes, &err),
              &err);
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &f, &err), &err);
    for (uint64_t i = 0; plus_1 && i < gguf_tensor_count(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        float *v = (float *)(void *)(bytes.data + ((const char *)t->data - bytes.data));
        for (uint64_t k = 0; strstr(t->name, "norm.weight") && k < t->dims[0]; k++) {
            float less = v[k] - 1;
            v[k] = less + 1;
        }
    }
    gguf_close(f);
    snprintf(out, size, "%s", scratch_path("rounded.gguf"));
    assert_ok(os_write_file_atomic(&os_system()->files, out, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    return out;
}

/* The converted file's path, scratch. */
static const char *convert(const char *model_name, const hf_folder_options *how) {
    static char dir[512], out[512];
    char path[512];
    muga_error err = {0};
    convert_report report;
    convert_options o = {.files = &os_system()->files};
    snprintf(dir, sizeof dir, "%s", scratch_path(model_name));
    snprintf(out, sizeof out, "%s", scratch_path("converted.gguf"));
    hf_folder_write(golden_path(model_name, path, sizeof path), dir, how);
    assert_ok(convert_folder(dir, out, &o, &report, &err), &err);
    return out;
}

static engine *open_path(const char *path) {
    engine_options o = {.isa = -1, .exact = true, .kv = KERNEL_KV_F32, .n_threads = 1, .ids_only = true};
    engine *e = NULL;
    muga_error err = {0};
    assert_ok(engine_open(path, &o, &e, &err), &err);
    return e;
}

static void compare_with_exact(const golden_rows *rows, const char *model_name, const char *n_ctx, const char *prompt) {
    char file[160];
    bool plain = strcmp(n_ctx, "256") == 0;
    snprintf(file, sizeof file, "golden/golden/%s-f16%s%s/%s.exact.f32", model_name, plain ? "" : ".ctx",
             plain ? "" : n_ctx, prompt);
    float *exact = golden_floats(file, rows->n * rows->n_vocab);
    for (size_t i = 0; i < rows->n * rows->n_vocab; i++)
        if (!(fabsf(rows->v[i] - exact[i]) <= 1e-3f))
            fail_msg("%s: logit %zu is %g, not %g", file, i, (double)rows->v[i], (double)exact[i]);
    free(exact);
}

static void compare_logits(const char *model_name, engine *ours, engine *theirs) {
    golden_table t = golden_table_read("golden/prompts.tsv");
    char full[64];
    size_t n_compared = 0;
    snprintf(full, sizeof full, "%s-f16", model_name);
    for (size_t i = 0; i < t.n_rows; i++) {
        const golden_row *r = &t.rows[i];
        if (!golden_matches(&t, r, "model", full))
            continue;
        const char *n_ctx = golden_cell(&t, r, "n_ctx");
        bool all = strtoul(golden_cell(&t, r, "n_logit_rows"), NULL, 10) > 1;
        token_list ids = golden_ids(golden_cell(&t, r, "ids"));
        golden_rows a = golden_logits(ours, (uint32_t)strtoul(n_ctx, NULL, 10), &ids, all);
        golden_rows b = golden_logits(theirs, (uint32_t)strtoul(n_ctx, NULL, 10), &ids, all);
        assert_int_equal(a.n, b.n);
        if (memcmp(a.v, b.v, a.n * a.n_vocab * sizeof *a.v) != 0)
            fail_msg("%s at %s: other bits than the reference file gives", model_name, n_ctx);
        compare_with_exact(&a, model_name, n_ctx, golden_cell(&t, r, "prompt"));
        free(a.v);
        free(b.v);
        token_list_release(&ids);
        n_compared++;
    }
    assert_true(n_compared >= 2);
    golden_table_free(&t);
}

static size_t from_hex(const char *hex, char *out) {
    size_t n = 0;
    for (; hex[0] && hex[1] && hex[0] != '-'; hex += 2) {
        unsigned byte;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        out[n++] = (char)byte;
    }
    return n;
}

static void compare_tokens(const char *model_name, const engine *e) {
    golden_table t = golden_table_read("golden/tokenizer.tsv");
    char full[64];
    size_t n_compared = 0;
    snprintf(full, sizeof full, "%s-f16", model_name);
    assert_non_null(engine_tokenizer(e));
    for (size_t i = 0; i < t.n_rows; i++) {
        const golden_row *r = &t.rows[i];
        if (!golden_matches(&t, r, "model", full))
            continue;
        const char *hex = golden_cell(&t, r, "text_hex");
        char *text = malloc(strlen(hex) / 2 + 1);
        size_t n = from_hex(hex, text);
        token_list expected = golden_matches(&t, r, "ids", "-") ? (token_list)TOKEN_LIST_INIT
                                                                : golden_ids(golden_cell(&t, r, "ids"));
        token_list ids = TOKEN_LIST_INIT;
        tokenizer_flags flags = {.add_special = golden_matches(&t, r, "add_special", "1"),
                                 .parse_special = golden_matches(&t, r, "parse_special", "1"),
                                 .lossy = true};
        muga_error err = {0};
        assert_ok(tokenizer_encode(engine_tokenizer(e), text, n, flags, &ids, &err), &err);
        if (ids.n != expected.n || (ids.n && memcmp(ids.ids, expected.ids, ids.n * sizeof *ids.ids) != 0))
            fail_msg("%s: other tokens than the reference's for %s", model_name, hex);
        token_list_release(&ids);
        token_list_release(&expected);
        free(text);
        n_compared++;
    }
    assert_true(n_compared > 10);
    golden_table_free(&t);
}

static void check(const hf_folder_options *how) {
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        char path[512];
        engine *ours = open_path(convert(models[i], how)),
               *theirs = open_path(rounded_path(models[i], path, sizeof path));
        assert_int_equal(tokenizer_bos(engine_tokenizer(ours)), tokenizer_bos(engine_tokenizer(theirs)));
        assert_int_equal(tokenizer_eos(engine_tokenizer(ours)), tokenizer_eos(engine_tokenizer(theirs)));
        assert_int_equal(tokenizer_eot(engine_tokenizer(ours)), tokenizer_eot(engine_tokenizer(theirs)));
        const char *a, *b;
        assert_true(span_equal(engine_template_source(ours, &a), engine_template_source(theirs, &b)));
        compare_logits(models[i], ours, theirs);
        compare_tokens(models[i], ours);
        engine_free(ours);
        engine_free(theirs);
    }
}

static void a_folder_gives_the_model_that_is_in_it(void **state) {
    (void)state;
    check(&(hf_folder_options){0});
}

static void so_does_one_in_several_files_and_newer_words(void **state) {
    (void)state;
    check(&(hf_folder_options){.n_shards = 3, .merges_as_lists = true, .merges_of_score = true, .newer = true});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_gives_the_model_that_is_in_it),
        cmocka_unit_test(so_does_one_in_several_files_and_newer_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
