/* Labels and examples (intent.h), from the manifest and the file it names. Owns: reading `intent:`, the index of the
 * examples. Refuses: labels that lead nowhere, examples of labels that are not declared, templates that don't compile.
 * What is decided with them: intent_decide.c. */
#include "agent/intent_internal.h"

#include "agent/internal.h"

#include <stdio.h>

#define EXAMPLES_MAX_BYTES ((size_t)8 << 20)
#define EXAMPLE_MAX_CHARS 2000
#define OUTSIDE "out_of_scope" /* the label of what scope: leaves out */

static const char schema_text[] =
    "{\"type\": \"object\", \"properties\": {\"intent\": {\"type\": \"object\", \"additionalProperties\": false,"
    " \"required\": [\"examples\", \"labels\", \"unsure\", \"failed\"], \"properties\": {"
    "  \"examples\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 255},"
    "  \"neighbours\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 16},"
    "  \"floor\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 1},"
    "  \"margin\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 1},"
    "  \"second\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 1},"
    "  \"model_weight\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 10},"
    "  \"split\": {\"type\": \"array\", \"items\": {\"type\": \"string\", \"minLength\": 1}, \"maxItems\": 32},"
    "  \"words\": {\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\"}},"
    "  \"instruction\": {\"type\": \"string\", \"maxLength\": 2000},"
    "  \"expert\": {\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"instruction\"],"
    "    \"properties\": {\"instruction\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 2000},"
    "      \"mask\": {\"type\": \"string\", \"maxLength\": 32},"
    "      \"doubt\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 2000},"
    "      \"together\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 3},"
    "      \"logprob\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 100},"
    "      \"votes\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 100},"
    "      \"sure\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 1}}},"
    "  \"unsure\": {\"type\": \"string\", \"minLength\": 1}, \"failed\": {\"type\": \"string\", \"minLength\": 1},"
    "  \"labels\": {\"type\": \"object\", \"minProperties\": 1, \"maxProperties\": 64, \"additionalProperties\": {"
    "    \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"about\"], \"properties\": {"
    "      \"excludes\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}},"
    "      \"bias\": {\"type\": \"number\"}, \"about\": {\"type\": \"string\", \"minLength\": 1},"
    "      \"tool\": {\"type\": \"string\"},"
    "      \"answer\": {\"type\": \"string\"}, \"ask\": {\"type\": \"string\"}, \"escalate\": {\"type\": \"string\"},"
    "      \"refuse\": {\"type\": \"string\"}, \"held\": {\"type\": \"string\"},"
    "      \"denied\": {\"type\": \"string\"}}}}}}}}";

/* ---- reading the manifest ---- */

static muga_status check_config(const manifest *m, muga_error *err) {
    json_t *schema = NULL, *whole = json_pack("{s:O?}", "intent", m->intent);
    muga_status st = whole ? json_parse(schema_text, sizeof schema_text - 1, "intent", &schema, err)
                           : error_nomem(err, "intent");
    if (st == MUGA_OK) {
        const check_place at = {"agent.yaml", m->places};
        st = check_schema(&at, schema, whole, err);
    }
    json_decref(schema);
    json_decref(whole);
    return st;
}

/* "agent.yaml:LINE: key intent.labels.NAME.KEY: text"; key NULL: the label itself. */
static muga_status label_fail(const intent *x, const char *name, const char *key, const char *text, muga_error *err) {
    const check_place at = {"agent.yaml", x->m->places};
    str pointer = STR_INIT;
    str_append_s(&pointer, "/intent/labels");
    check_push_token(&pointer, name);
    if (key) {
        str_printf(&pointer, "/%s", key);
    }
    muga_status st = check_fail(&at, MUGA_E_INPUT, str_get(&pointer), err, "%s", text);
    str_release(&pointer);
    return st;
}

/* One consequence, and beside it only what belongs to it: another key would be passed over without a word. */
static muga_status check_label(const intent *x, const char *name, const json_t *spec, muga_error *err) {
    static const char *const of_tool[] = {"answer", "ask", "held", "denied"}, *const alone[] = {"answer", "ask",
                                                                                                "escalate", "refuse"};
    bool tool = json_object_get(spec, "tool") != NULL;
    const char *found = tool ? "tool" : NULL;
    for (size_t i = 0; i < ARRAY_LEN(alone); i++) {
        bool belongs = tool && (strcmp(alone[i], of_tool[0]) == 0 || strcmp(alone[i], of_tool[1]) == 0);
        if (!json_object_get(spec, alone[i]) || belongs) {
            continue;
        }
        if (found) {
            return label_fail(x, name, alone[i], "a label has one consequence, and this one has two; remove one", err);
        }
        found = alone[i];
    }
    for (size_t i = 2; i < ARRAY_LEN(of_tool); i++) {
        if (!tool && json_object_get(spec, of_tool[i])) {
            return label_fail(x, name, of_tool[i], "belongs to a label with a tool; remove it", err);
        }
    }
    return MUGA_OK;
}

static muga_status read_label(intent *x, const char *name, const json_t *spec, intent_label *l, muga_error *err) {
    static const struct {
        const char *key;
        intent_act act;
    } acts[] = {{"tool", ACT_TOOL},
                {"escalate", ACT_ESCALATE},
                {"refuse", ACT_REFUSE},
                {"ask", ACT_ASK},
                {"answer", ACT_ANSWER}};
    *l =
        (intent_label){.name = name, .about = json_get_string(spec, "about"), .bias = json_get_number(spec, "bias", 0)};
    const char *words = NULL, *key = NULL;
    muga_status st = check_label(x, name, spec, err);
    if (st != MUGA_OK) {
        return st;
    }
    for (size_t i = 0; !words && i < ARRAY_LEN(acts); i++) {
        key = acts[i].key;
        words = json_get_string(spec, key);
        l->act = acts[i].act;
    }
    if (words && l->act == ACT_TOOL) {
        l->tool = manifest_tool_find(x->m, words);
        l->ask = json_get_string(spec, "ask");
        l->held = json_get_string(spec, "held");
        l->denied = json_get_string(spec, "denied");
        key = "answer";
        if (!l->tool) {
            return label_fail(x, name, "tool", "no such tool; name one of tools", err);
        }
        words = json_get_string(spec, key);
        if (!l->ask && json_array_size(json_object_get(l->tool->parameters, "required")) > 0) {
            return label_fail(x, name, NULL, "ask is missing; what to ask when the tool's values were not given", err);
        }
    }
    if (!words) {
        return label_fail(x, name, NULL, l->tool ? "needs answer" : "needs one of tool, answer, ask, escalate, refuse",
                          err);
    }
    l->words = words;
    l->outside = x->m->scope_domain && strcmp(name, OUTSIDE) == 0 && l->act != ACT_TOOL;
    if (l->outside && json_get_string(json_object_get(x->m->json, "scope"), "otherwise")) {
        static const intent_act acts_of[] = {
            [OTHERWISE_ASK] = ACT_ASK, [OTHERWISE_ESCALATE] = ACT_ESCALATE, [OTHERWISE_REFUSE] = ACT_REFUSE};
        l->act = acts_of[x->m->scope_otherwise];
    }
    muga_error why;
    st = template_compile(words, strlen(words), &l->answer, &why);
    if (st == MUGA_E_NOMEM) {
        return error_nomem(err, "an answer");
    }
    return st == MUGA_OK ? st : label_fail(x, name, key, why.message, err);
}

static size_t find_label(const intent *x, const char *name) {
    size_t i = 0;
    while (i < x->n_labels && strcmp(x->labels[i].name, name) != 0) {
        i++;
    }
    return i;
}

muga_status intent_read_example(const intent *x, const json_t *v, char **text, uint64_t *bits, muga_error *err) {
    const json_t *names = json_object_get(v, "labels");
    const char *words = json_get_string(v, "text");
    *bits = 0;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        size_t l = name ? find_label(x, name) : x->n_labels;
        if (l == x->n_labels) {
            return error_set(err, MUGA_E_INPUT, "label %s is not one of intent.labels", name ? name : "?");
        }
        *bits |= UINT64_C(1) << l;
    }
    if (!words || *bits == 0 || json_object_size(v) != 2 || strlen(words) > EXAMPLE_MAX_CHARS) {
        return error_set(err, MUGA_E_INPUT,
                         "an example is {\"text\": \"...\", \"labels\": [\"...\"]}, at most %d bytes",
                         EXAMPLE_MAX_CHARS);
    }
    *text = mem_copy_string(words);
    return *text ? MUGA_OK : error_nomem(err, "the examples");
}

static muga_status append_text(intent *x, char *text, uint64_t bits, muga_error *err) {
    char **texts = mem_resize_array(x->texts, x->n_examples + 1, sizeof *texts);
    x->texts = texts ? texts : x->texts;
    uint64_t *labels = mem_resize_array(x->example_labels, x->n_examples + 1, sizeof *labels);
    x->example_labels = labels ? labels : x->example_labels;
    if (!text || !texts || !labels) {
        free(text);
        return error_nomem(err, "the examples");
    }
    texts[x->n_examples] = text;
    labels[x->n_examples++] = bits;
    return MUGA_OK;
}

static muga_status append_example(intent *x, const char *line, size_t n, muga_error *err) {
    json_t *v = NULL;
    char *text = NULL;
    uint64_t bits;
    muga_status st = json_parse(line, n, "example", &v, err);
    if (st == MUGA_OK) {
        st = intent_read_example(x, v, &text, &bits, err);
    }
    if (st == MUGA_OK) {
        st = append_text(x, text, bits, err);
    }
    json_decref(v);
    return st;
}

/* What a label says of itself is an example of it: behind the file's. */
static muga_status append_abouts(intent *x, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t l = 0; st == MUGA_OK && l < x->n_labels; l++) {
        st = append_text(x, mem_copy_string(x->labels[l].about), UINT64_C(1) << l, err);
    }
    return st;
}

static muga_status read_examples(intent *x, const agent_env *env, muga_error *err) {
    str path = STR_INIT, file = STR_INIT;
    const char *name = json_get_string(x->m->intent, "examples");
    str_printf(&path, "%s/%s", x->m->dir, name);
    muga_status st = str_status(&path, err, "a path");
    if (st == MUGA_OK) {
        st = os_read_file(env->files, str_get(&path), EXAMPLES_MAX_BYTES, &file, err);
        if (st != MUGA_OK && st != MUGA_E_NOMEM) {
            const check_place at = {"agent.yaml", x->m->places};
            char place[160];
            check_write_place(&at, "/intent/examples", place, sizeof place);
            st = error_prefix(err, st, "%s: key intent.examples", place);
        }
    }
    size_t i_line = 1;
    for (size_t at = 0; st == MUGA_OK && at < file.len; i_line++) {
        const char *line = file.data + at, *end = memchr(line, '\n', file.len - at);
        size_t n = end ? (size_t)(end - line) : file.len - at;
        if (n > 0) {
            st = append_example(x, line, n, err);
            if (st != MUGA_OK) {
                st = error_prefix(err, st, "%s:%zu", name, i_line);
            }
        }
        at += n + 1;
    }
    str_release(&path);
    str_release(&file);
    return st;
}

muga_status intent_build_index(const intent *x, size_t without, size_t n_parts, retrieve **out, muga_error *err) {
    retrieve_example *list = mem_alloc_array(x->n_examples, sizeof *list);
    str *masked = mem_alloc_array(x->n_examples, sizeof *masked);
    muga_status st = list && masked ? MUGA_OK : error_nomem(err, "the examples");
    size_t n = 0;
    for (size_t i = 0; st == MUGA_OK && i < x->n_examples; i++) {
        if (n_parts == 0 || i % n_parts != without) {
            st = normaliser_mask(x->normaliser, x->texts[i], strlen(x->texts[i]), INTENT_MASK, &masked[n], err);
            list[n] = (retrieve_example){str_get(&masked[n]), x->example_labels[i]};
            n++;
        }
    }
    if (st == MUGA_OK) {
        st = retrieve_new(list, n, x->n_labels, json_object_get(x->m->intent, "words"), out, err);
    }
    for (size_t i = 0; i < n; i++) {
        str_release(&masked[i]);
    }
    free(masked);
    free(list);
    return st;
}

const char *intent_tenant(const intent *x) {
    return x->tenant;
}

muga_status intent_new(const agent_env *env, const manifest *m, intent **out, muga_error *err) {
    *out = NULL;
    if (m->plan || (m->rules && !m->intent)) {
        return MUGA_OK;
    }
    if (!m->intent) {
        return error_set(err, MUGA_E_INPUT,
                         "agent.yaml:1:1: key 'intent' is missing; it says how messages become decisions");
    }
    muga_status st = check_config(m, err);
    if (st != MUGA_OK) {
        return st;
    }
    intent *x = calloc(1, sizeof *x);
    if (!x) {
        return error_nomem(err, "intent");
    }
    x->m = m;
    x->tenant = env->tenant;
    x->split = json_object_get(m->intent, "split");
    x->instruction = json_get_string(m->intent, "instruction");
    x->neighbours = (size_t)json_get_int(m->intent, "neighbours", 6);
    x->floor = json_get_number(m->intent, "floor", 0.3);
    x->margin = json_get_number(m->intent, "margin", 0.1);
    x->second = json_get_number(m->intent, "second", 0.5);
    x->model_weight = json_get_number(m->intent, "model_weight", 1);
    const char *name;
    json_t *spec;
    json_object_foreach(json_object_get(m->intent, "labels"), name, spec) {
        if (st == MUGA_OK) {
            st = read_label(x, name, spec, &x->labels[x->n_labels++], err);
        }
    }
    st = st == MUGA_OK ? normaliser_new(m, &x->normaliser, err) : st;
    st = st == MUGA_OK ? read_examples(x, env, err) : st;
    st = st == MUGA_OK ? append_abouts(x, err) : st;
    st = st == MUGA_OK ? intent_build_index(x, 0, 0, &x->index, err) : st;
    const json_t *config = json_object_get(m->intent, "expert");
    st = st == MUGA_OK && config ? expert_new(x, config, &x->expert, err) : st;
    if (st == MUGA_OK) {
        *out = x;
    } else {
        intent_free(x);
    }
    return st;
}

void intent_free(intent *x) {
    if (!x) {
        return;
    }
    for (size_t i = 0; i < x->n_labels; i++) {
        template_free(x->labels[i].answer);
    }
    for (size_t i = 0; i < x->n_examples; i++) {
        free(x->texts[i]);
    }
    free(x->texts);
    free(x->example_labels);
    retrieve_free(x->index);
    normaliser_free(x->normaliser);
    expert_free(x->expert);
    free(x);
}

size_t intent_n_labels(const intent *x) {
    return x ? x->n_labels : 0;
}
const intent_label *intent_get_label(const intent *x, size_t i) {
    return &x->labels[i];
}
size_t intent_n_examples(const intent *x) {
    return x ? x->n_examples : 0;
}
const char *intent_get_example(const intent *x, size_t i) {
    return x->texts[i];
}
const json_t *intent_words(const intent *x) {
    return json_object_get(x->m->intent, "words");
}
void intent_listen(intent *x, const learned *m) {
    if (x) {
        x->learned = m;
    }
}
const normaliser *intent_normaliser(const intent *x) {
    return x->normaliser;
}
const expert *intent_expert(const intent *x) {
    return x ? x->expert : NULL;
}
const char *intent_unsure(const intent *x) {
    return json_get_string(x->m->intent, "unsure");
}
const char *intent_failed(const intent *x) {
    return json_get_string(x->m->intent, "failed");
}

uint64_t intent_find_labels(const intent *x, const json_t *names) {
    uint64_t bits = 0;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        size_t l = name ? find_label(x, name) : x->n_labels;
        if (l == x->n_labels) {
            return 0;
        }
        bits |= UINT64_C(1) << l;
    }
    return bits;
}
