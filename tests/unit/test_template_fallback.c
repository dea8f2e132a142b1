/* Would break: a model whose file carries no chat template would be spoken to in a form it was not trained on. */
#include "base/json.h"
#include "base/mem.h"
#include "gguf/gguf.h"
#include "model/template.h"
#include "model/template_fallback.h"
#include "os/os.h"
#include "support/support.h"

static const char messages[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"U\"}, {\"role\": "
    "\"assistant\", \"content\": \"A\"}, {\"role\": \"user\", \"content\": \"V\"}], \"bos_token\": \"<s>\", "
    "\"eos_token\": \"</s>\", \"add_generation_prompt\": true}";

typedef struct kind {
    const char *arch, *tokenizer, *mark; /* mark: the vocabulary's only token, or NULL */
    const char *form, *text;
} kind;

static const kind kinds[] = {
    {"gemma3", "llama", NULL, "gemma",
     "<s><start_of_turn>user\nS<end_of_turn>\n<start_of_turn>user\nU<end_of_turn>\n<start_of_turn>model\n"
     "A<end_of_turn>\n<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n"},
    {"phi3", "llama", NULL, "phi3",
     "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nV<|end|>\n<|assistant|>\n"},
    {"phi3", "gpt2", "<|im_start|>", "phi4",
     "<|system|>S<|end|><|user|>U<|end|><|assistant|>A<|end|><|user|>V<|end|><|assistant|>"},
    {"nemotron", "llama", NULL, "nemotron",
     "<extra_id_0>System\nS\n\n<extra_id_1>User\nU\n<extra_id_1>Assistant\nA\n<extra_id_1>User\nV\n"
     "<extra_id_1>Assistant\n"},
    {"granite", "gpt2", NULL, "granite",
     "<|start_of_role|>system<|end_of_role|>S<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>U<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>A<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>V<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>"},
    {"qwen3", "gpt2", NULL, "chatml",
     "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
     "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n"},
    {"llama", "gpt2", "<|start_header_id|>", "llama3",
     "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "U<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>user<|end_header_id|>"
     "\n\nV<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"qwen2", "gpt2", "<｜User｜>", "deepseek",
     "<s>S<｜User｜>U<｜Assistant｜>A<｜end▁of▁sentence｜><｜User｜>V<｜Assistant｜>"},
    {"llama", "gpt2", "[INST]", "mistral", "<s>[INST]S\n\nU[/INST]A</s>[INST]V[/INST]"},
    {"llama", "llama", "<0x0A>", "llama2", "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]"},
    {"llama", "gpt2", "<|im_start|>", "chatml",
     "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
     "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n"},
    {"nobody-knows", "gpt2", NULL, "chatml",
     "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
     "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n"}};

static const template_fallback *find(const kind *k) {
    muga_error err;
    gguf_file *file;
    str bytes = STR_INIT;
    gguf_writer *w = gguf_writer_new();
    assert_non_null(w);
    gguf_writer_add_string(w, "general.architecture", k->arch);
    gguf_writer_add_string(w, "tokenizer.ggml.model", k->tokenizer);
    if (k->mark) {
        const span tokens[] = {span_of_string(k->mark)};
        gguf_writer_add_strings(w, "tokenizer.ggml.tokens", tokens, 1);
    }
    assert_ok(gguf_writer_finish(w, &bytes, &err), &err);
    gguf_writer_free(w);
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &file, &err), &err);
    const template_fallback *form = template_fallback_find(file);
    gguf_close(file);
    str_release(&bytes);
    return form;
}

static muga_status render(const template_fallback *form, const json_t *context, str *out, muga_error *err) {
    template *t;
    assert_ok(template_compile(form->source, strlen(form->source), &t, err), err);
    muga_status st = template_render(t, context, 0, NULL, out, err);
    template_free(t);
    return st;
}

static void every_kind_gets_its_form(void **state) {
    (void)state;
    json_t *context;
    muga_error err;
    assert_ok(json_parse(messages, strlen(messages), "messages", &context, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        str out = STR_INIT;
        const template_fallback *form = find(&kinds[i]);
        assert_string_equal(form->name, kinds[i].form);
        assert_ok(render(form, context, &out, &err), &err);
        assert_string_equal(str_get(&out), kinds[i].text);
        str_release(&out);
    }
    json_decref(context);
}

/* A call without text has no place in any of the forms: dropping it would be a silent loss. */
static void what_is_no_text_is_refused(void **state) {
    (void)state;
    static const char text[] = "{\"messages\": [{\"role\": \"user\", \"content\": null}]}";
    json_t *context;
    muga_error err;
    assert_ok(json_parse(text, strlen(text), "messages", &context, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        str out = STR_INIT;
        assert_status(render(find(&kinds[i]), context, &out, &err), MUGA_E_INPUT, &err, "not plain text");
        str_release(&out);
    }
    json_decref(context);
}

/* The reference's rendering of chats for the real Gemma 3, whose file has no template. */
static void gemma_as_the_reference_writes_it(void **state) {
    (void)state;
    muga_error err;
    str text = STR_INIT;
    json_t *golden, *chat;
    size_t i;
    const char *path = shared_path("golden/real/gemma3-270m-q4_k_m.json");
    assert_ok(os_read_file(&os_system()->files, path, 1 << 20, &text, &err), &err);
    assert_ok(json_parse(str_get(&text), text.len, path, &golden, &err), &err);
    assert_true(json_array_size(json_object_get(golden, "chat")) >= 5);
    json_array_foreach(json_object_get(golden, "chat"), i, chat) {
        str out = STR_INIT;
        json_t *context = json_pack("{s:O, s:s, s:b}", "messages", json_object_get(chat, "messages"), "bos_token",
                                    "<bos>", "add_generation_prompt", 1);
        assert_ok(render(find(&kinds[0]), context, &out, &err), &err);
        assert_string_equal(str_get(&out), json_get_string(chat, "rendered"));
        json_decref(context);
        str_release(&out);
    }
    json_decref(golden);
    str_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_kind_gets_its_form),
                                       cmocka_unit_test(what_is_no_text_is_refused),
                                       cmocka_unit_test(gemma_as_the_reference_writes_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
