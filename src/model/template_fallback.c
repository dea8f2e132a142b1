/* Chat templates for models whose file carries none. Owns the forms and the choice among them.
 *
 * A form is told by the architecture where all its models share one; "llama" is the architecture of many families,
 * which their own marks in the vocabulary tell apart. Rows are asked in order, the first that fits is taken. */
#include "model/template_fallback.h"

#include "base/mem.h"

/* A message is a text, or the form can't hold it. */
#define NEED_TEXT                                                                                                      \
    "{% if m.content is not string %}{{ raise_exception('a message is not plain text, and the model\\'s file has no "  \
    "chat template that could say how to write it') }}{% endif %}"
#define FOR_EACH "{% for m in messages %}" NEED_TEXT
#define IF_ASKED "{% if add_generation_prompt %}"

static const char chatml[] = FOR_EACH
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}" IF_ASKED
    "{{ '<|im_start|>assistant\n' }}{% endif %}";

static const char gemma[] =
    "{{ bos_token }}" FOR_EACH
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\n' + m.content + "
    "'<end_of_turn>\n' }}{% endfor %}" IF_ASKED "{{ '<start_of_turn>model\n' }}{% endif %}";

static const char phi3[] = FOR_EACH "{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}" IF_ASKED
                                    "{{ '<|assistant|>\n' }}{% endif %}";

static const char phi4[] = FOR_EACH "{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}" IF_ASKED
                                    "{{ '<|assistant|>' }}{% endif %}";

static const char nemotron[] =
    "{{ '<extra_id_0>System\n' }}" FOR_EACH "{% if m.role == 'system' %}{{ m.content + '\n' }}{% endif %}{% endfor %}"
    "{{ '\n' }}{% for m in messages if m.role != 'system' %}{{ '<extra_id_1>' + ('Assistant' if m.role == 'assistant' "
    "else 'Tool' if m.role == 'tool' else 'User') + '\n' + m.content + '\n' }}{% endfor %}" IF_ASKED
    "{{ '<extra_id_1>Assistant\n' }}{% endif %}";

static const char granite[] = FOR_EACH
    "{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\n' "
    "}}{% endfor %}" IF_ASKED "{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}";

static const char llama3[] =
    "{{ bos_token }}" FOR_EACH
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content|trim + '<|eot_id|>' "
    "}}{% endfor %}" IF_ASKED "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

static const char deepseek[] =
    "{{ bos_token }}" FOR_EACH
    "{% if m.role == 'assistant' %}{{ '<｜Assistant｜>' + m.content + '<｜end▁of▁sentence｜>' }}"
    "{% elif m.role == 'system' %}{{ m.content }}{% else %}{{ '<｜User｜>' + m.content }}{% endif %}{% endfor %}" IF_ASKED
    "{{ '<｜Assistant｜>' }}{% endif %}";

/* The system message goes into the user's next; alone, it is asked by itself. */
static const char mistral[] =
    "{{ bos_token }}{% set ns = namespace(system='') %}" FOR_EACH
    "{% if m.role == 'system' %}{% set ns.system = m.content + '\n\n' %}{% elif m.role == 'assistant' %}"
    "{{ m.content + eos_token }}{% else %}{{ '[INST]' + ns.system + m.content + '[/INST]' }}{% set ns.system = '' %}"
    "{% endif %}{% endfor %}{% if ns.system %}{{ '[INST]' + ns.system + '[/INST]' }}{% endif %}";

static const char llama2[] =
    "{% set ns = namespace(system='') %}" FOR_EACH
    "{% if m.role == 'system' %}{% set ns.system = '<<SYS>>\n' + m.content + '\n<</SYS>>\n\n' %}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content|trim + ' ' + eos_token }}{% else %}"
    "{{ bos_token + '[INST] ' + ns.system + m.content|trim + ' [/INST]' }}{% set ns.system = '' %}{% endif %}"
    "{% endfor %}{% if ns.system %}{{ bos_token + '[INST] ' + ns.system + ' [/INST]' }}{% endif %}";

/* NULL fits all. */
typedef struct fallback_row {
    const char *arch, *tokenizer, *mark; /* mark: a token of the vocabulary */
    template_fallback form;
} fallback_row;

static const fallback_row rows[] = {
    {NULL, NULL, "<｜User｜>", {"deepseek", deepseek}},
    {"gemma", NULL, NULL, {"gemma", gemma}},
    {"gemma2", NULL, NULL, {"gemma", gemma}},
    {"gemma3", NULL, NULL, {"gemma", gemma}},
    {"phi3", "llama", NULL, {"phi3", phi3}},
    {"phi3", NULL, NULL, {"phi4", phi4}},
    {"nemotron", NULL, NULL, {"nemotron", nemotron}},
    {"granite", NULL, NULL, {"granite", granite}},
    {"qwen2", NULL, NULL, {"chatml", chatml}},
    {"qwen3", NULL, NULL, {"chatml", chatml}},
    {"smollm3", NULL, NULL, {"chatml", chatml}},
    {NULL, NULL, "<|im_start|>", {"chatml", chatml}},
    {NULL, NULL, "<|start_header_id|>", {"llama3", llama3}},
    {NULL, NULL, "<start_of_turn>", {"gemma", gemma}},
    {NULL, NULL, "[INST]", {"mistral", mistral}},
    {"llama", "llama", NULL, {"llama2", llama2}},
    {NULL, NULL, NULL, {"chatml", chatml}},
};

static bool is_text(const gguf_file *file, const char *key, const char *wanted) {
    span text;
    return !wanted || (!gguf_get_string(file, key, &text, NULL) && span_equal_string(text, wanted));
}

/* Which rows' marks the vocabulary has, as bits. */
static uint32_t find_marks(const gguf_file *file) {
    gguf_array tokens;
    uint32_t found = 0;
    uint64_t at = 0;
    span text;
    if (gguf_get_array(file, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, NULL))
        return 0;
    while (gguf_array_next_string(&tokens, &at, &text)) {
        if (text.n < 6 || (text.p[0] != '<' && text.p[0] != '['))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
            if (rows[i].mark && span_equal_string(text, rows[i].mark))
                found |= 1u << i;
    }
    return found;
}

const template_fallback *template_fallback_find(const gguf_file *file) {
    uint32_t marks = find_marks(file);
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(rows) &&
           !(is_text(file, "general.architecture", rows[i].arch) &&
             is_text(file, "tokenizer.ggml.model", rows[i].tokenizer) && (!rows[i].mark || (marks >> i & 1))))
        i++;
    return &rows[i].form;
}
