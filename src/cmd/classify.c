/* muga classify: which of several labels fits a text, how sure that is, and when to say nothing. */
#include "llm/classify.h"
#include "cmd/cmd.h"

#include <math.h>

#define MAX_INPUT_BYTES ((size_t)256 << 20)

typedef struct classify {
    const char *labels_text, *labels_file, *examples_file, *calibration_file, *instruction, *adapter_text;
    float abstain; /* NAN: not asked for */
    bool json, raw, listed, no_cache;
    uint32_t threads;
    classify_labels labels;
    str examples_text; /* the texts of examples point into values */
    json_t **values;   /* [n_examples] */
    classify_example *examples;
    size_t n_examples, cap_examples;
    llm *model;
    classifier *c;
} classify;

/* Calls `visit` with each line of a text and its number, without "\n" and a "\r" before it. */
static muga_status each_line(const str *text, muga_status (*visit)(classify *, span, size_t, muga_error *), classify *c,
                             muga_error *err) {
    const char *p = str_get(text), *end = p + text->len;
    muga_status st = MUGA_OK;
    for (size_t line = 1; !st && p < end; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p)), *next = stop ? stop + 1 : end;
        stop = stop ? stop : end;
        stop -= stop > p && stop[-1] == '\r';
        st = visit(c, span_of(p, (size_t)(stop - p)), line, err);
        p = next;
    }
    return st;
}

/* ---- labels ---- */

/* "name" or "name<TAB>words" */
static muga_status add_label(classify *c, span line, size_t number, muga_error *err) {
    const char *tab = memchr(line.p, '\t', line.n);
    size_t n = tab ? (size_t)(tab - line.p) : line.n;
    span words = tab ? span_of(tab + 1, line.n - n - 1) : span_of("", 0);
    muga_status st = tab && words.n == 0 ? error_set(err, MUGA_E_INPUT, "no words follow the tab; write some or none")
                                         : classify_labels_add(&c->labels, span_of(line.p, n), words, err);
    return st ? error_prefix(err, st, "%s:%zu", c->labels_file, number) : st;
}

static muga_status split_labels(classify *c, muga_error *err) {
    muga_status st = MUGA_OK;
    for (const char *p = c->labels_text; p && !st;) {
        size_t n = strcspn(p, ",");
        st = classify_labels_add(&c->labels, span_of(p, n), span_of("", 0), err);
        if (st)
            return error_prefix(err, st, "--labels, number %zu", c->labels.n + 1);
        p = p[n] ? p + n + 1 : NULL;
    }
    return st;
}

static muga_status read_labels(classify *c, muga_error *err) {
    muga_status st = MUGA_OK;
    if (c->labels_file) {
        str text;
        st = cmd_read_input(c->labels_file, MAX_INPUT_BYTES, &text, err);
        if (!st)
            st = each_line(&text, add_label, c, err);
        str_release(&text);
    } else {
        st = split_labels(c, err);
    }
    if (st)
        return st;
    st = classify_labels_check(&c->labels, err);
    return st ? error_prefix(err, st, "%s", c->labels_file ? c->labels_file : "--labels") : st;
}

/* ---- examples ---- */

/* {"text": "...", "label": "..." | null} */
static muga_status read_example(classify *c, const json_t *v, classify_example *out, muga_error *err) {
    const json_t *text = json_object_get(v, "text"), *label = json_object_get(v, "label");
    if (!json_is_string(text) || !(json_is_string(label) || json_is_null(label)))
        return error_set(err, MUGA_E_INPUT, "an example is {\"text\": \"...\", \"label\": \"...\" or null}");
    out->text = span_of(json_string_value(text), json_string_length(text));
    out->label = CLASSIFY_NONE;
    if (json_is_null(label))
        return MUGA_OK;
    out->label = classify_labels_find(&c->labels, span_of(json_string_value(label), json_string_length(label)));
    if (out->label == CLASSIFY_NONE)
        return error_set(err, MUGA_E_INPUT, "label \"%.80s\" is none of the %zu labels; null says that none fits",
                         json_string_value(label), c->labels.n);
    return MUGA_OK;
}

static muga_status add_example(classify *c, span line, size_t number, muga_error *err) {
    if (c->n_examples == CLASSIFY_MAX_EXAMPLES)
        return error_set(err, MUGA_E_LIMIT, "%s:%zu: more than %zu examples; leave some out", c->examples_file, number,
                         CLASSIFY_MAX_EXAMPLES);
    if (c->n_examples == c->cap_examples) {
        size_t cap = 2 * c->cap_examples + 16;
        json_t **values = mem_resize_array(c->values, cap, sizeof(json_t *));
        c->values = values ? values : c->values;
        classify_example *examples = mem_resize_array(c->examples, cap, sizeof *examples);
        c->examples = examples ? examples : c->examples;
        if (!values || !examples)
            return error_nomem(err, "the examples");
        c->cap_examples = cap;
    }
    classify_example *e = &c->examples[c->n_examples];
    json_t *v = NULL;
    muga_status st = json_parse(line.p, line.n, "example", &v, err);
    e->line = number;
    if (!st)
        st = read_example(c, v, e, err);
    if (st) {
        json_decref(v);
        return error_prefix(err, st, "%s:%zu", c->examples_file, number);
    }
    c->values[c->n_examples++] = v;
    return MUGA_OK;
}

static muga_status read_examples(classify *c, muga_error *err) {
    muga_status st = cmd_read_input(c->examples_file, MAX_INPUT_BYTES, &c->examples_text, err);
    if (!st)
        st = each_line(&c->examples_text, add_example, c, err);
    str_release(&c->examples_text);
    return st;
}

/* ---- calibration ---- */

static muga_status fit(classify *c, muga_error *err) {
    cmd_progress scoring = {.what = "scoring examples"};
    classify_fit f;
    char text[160];
    muga_status st = classifier_fit(c->c, c->examples, c->n_examples, cmd_progress_show, &scoring, &f, err);
    cmd_progress_finish(&scoring);
    if (st)
        return error_prefix(err, st, "%s", c->examples_file);
    snprintf(text, sizeof text, "fitted to %zu examples: %.1f %% right on what was left out, nll %.3f (%.3f before)",
             f.n, 100 * f.right, f.nll, f.nll_before);
    cmd_say(text);
    return MUGA_OK;
}

static muga_status write_calibration(const classify *c, muga_error *err) {
    json_t *v = NULL;
    str text = STR_INIT;
    muga_status st = classifier_write(c->c, &v, err);
    if (!st) {
        json_write(v, &text);
        str_append_c(&text, '\n');
        st = str_status(&text, err, "the calibration");
    }
    if (!st)
        st = os_write_file_atomic(&os_system()->files, c->calibration_file, text.data, text.len, err);
    str_release(&text);
    json_decref(v);
    return st;
}

static muga_status read_calibration(const classify *c, muga_error *err) {
    str text;
    json_t *v = NULL;
    muga_status st = cmd_read_input(c->calibration_file, JSON_MAX_BYTES, &text, err);
    if (!st)
        st = json_parse(str_get(&text), text.len, c->calibration_file, &v, err);
    str_release(&text);
    if (st)
        return st;
    st = classifier_read(c->c, v, err);
    json_decref(v);
    return st ? error_prefix(err, st, "%s", c->calibration_file) : st;
}

static muga_status set_risk(const classify *c, muga_error *err) {
    risk_choice r;
    char text[160];
    muga_status st = classifier_set_risk(c->c, (double)c->abstain, &r, err);
    if (st)
        return error_prefix(err, st, "--abstain");
    snprintf(text, sizeof text, "answers from %.3f on: %zu of the %zu examples, %zu of them wrong", r.threshold,
             r.n_kept, r.n, r.n_wrong);
    cmd_say(text);
    return MUGA_OK;
}

/* ---- answers ---- */

static muga_status print_json(const classify *c, span text, const classify_answer *a, muga_error *err) {
    str line = STR_INIT;
    str_append_s(&line, "{\"text\":");
    json_write_string(&line, text.p, text.n);
    str_append_s(&line, ",\"label\":");
    if (a->abstained)
        str_append_s(&line, "null");
    else
        json_write_string(&line, c->labels.names[a->best], strlen(c->labels.names[a->best]));
    str_append_s(&line, ",\"p\":");
    json_write_double(&line, a->p[a->best]);
    str_printf(&line, ",\"prompt_tokens\":%u,\"labels\":{", a->n_prompt);
    for (size_t i = 0; i < c->labels.n; i++) {
        str_append_s(&line, i ? "," : "");
        json_write_string(&line, c->labels.names[i], strlen(c->labels.names[i]));
        str_append_s(&line, ":{\"p\":");
        json_write_double(&line, a->p[i]);
        str_append_s(&line, ",\"logprob\":");
        json_write_double(&line, a->logprob[i]);
        str_append_c(&line, '}');
    }
    str_append_s(&line, "}}");
    muga_status st = str_status(&line, err, "the answer");
    if (!st)
        puts(str_get(&line));
    str_release(&line);
    return st;
}

static muga_status answer(classify *c, span text, muga_error *err) {
    classify_answer a;
    muga_status st = classifier_answer(c->c, text, &a, err);
    if (st)
        return st;
    if (c->json)
        st = print_json(c, text, &a, err);
    else
        printf("%.3f\t%s\n", a.p[a.best], a.abstained ? "-" : c->labels.names[a.best]);
    fflush(stdout);
    return st;
}

static muga_status answer_line(classify *c, span line, size_t number, muga_error *err) {
    muga_status st = answer(c, line, err);
    return st ? error_prefix(err, st, "line %zu", number) : st;
}

static muga_status answer_texts(classify *c, const cmd_positional *p, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 1; i < p->n && !st; i++)
        st = answer(c, span_of_string(p->v[i]), err);
    if (st || p->n > 1 || (c->examples_file && c->calibration_file))
        return st;
    str input;
    st = cmd_read_input("-", MAX_INPUT_BYTES, &input, err);
    if (!st)
        st = each_line(&input, answer_line, c, err);
    str_release(&input);
    return st;
}

/* ---- the verb ---- */

static muga_status run(classify *c, const cmd_positional *p, llm_local_options *o, muga_error *err) {
    const classify_form form = {c->instruction, c->listed};
    muga_status st = read_labels(c, err);
    if (!st && c->examples_file)
        st = read_examples(c, err);
    if (!st && c->examples_file && c->calibration_file)
        st = cmd_check_out(c->calibration_file, c->examples_file, err);
    if (!st)
        st = cmd_open_llm(p->v[0], p->v[0], !c->no_cache, o, &c->model, err);
    if (st)
        return st;
    cmd_say_fallback(c->model->template_fallback);
    st = classifier_new(c->model, &c->labels, &form, &c->c, err);
    if (st)
        return st;
    classifier_set_raw(c->c, c->raw);
    if (c->examples_file)
        st = fit(c, err);
    else if (c->calibration_file)
        st = read_calibration(c, err);
    if (!st && c->examples_file && c->calibration_file)
        st = write_calibration(c, err);
    if (!st && !isnan(c->abstain))
        st = set_risk(c, err);
    return st ? st : answer_texts(c, p, err);
}

static void release(classify *c) {
    classifier_free(c->c);
    llm_free(c->model);
    for (size_t i = 0; i < c->n_examples; i++)
        json_decref(c->values[i]);
    free(c->values);
    free(c->examples);
    classify_labels_release(&c->labels);
}

static int check_options(const classify *c) {
    if (!c->labels_text == !c->labels_file)
        return cmd_error(MUGA_E_USAGE, "classify: give the labels once, with --labels or --labels-file");
    if (c->raw && (c->calibration_file || c->examples_file || !isnan(c->abstain)))
        return cmd_error(MUGA_E_USAGE, "classify: --raw leaves scores as they are; leave out --calibrate, --examples "
                                       "and --abstain");
    if (!isnan(c->abstain) && !(c->abstain > 0 && c->abstain < 1))
        return cmd_error(MUGA_E_USAGE, "classify: --abstain is a share of wrong answers between 0 and 1, such as 0.05");
    if (!isnan(c->abstain) && !c->calibration_file && !c->examples_file)
        return cmd_error(MUGA_E_USAGE, "classify: --abstain needs --examples, or --calibrate with what was fitted");
    if (c->threads > 1024)
        return cmd_error(MUGA_E_USAGE, "--threads is at most 1024");
    return -1;
}

int cmd_classify(int argc, char **argv) {
    classify c = {.abstain = NAN};
    llm_local_options o = {.isa = -1, .drafts = LLM_DRAFTS_OFF};
    char *adapter = NULL;
    const cmd_option options[] = {
        {"--labels", 0, CMD_STRING, &c.labels_text, "A,B,C", "the labels"},
        {"--labels-file", 0, CMD_STRING, &c.labels_file, "FILE", "one a line; after a tab, the model's words for it"},
        {"--examples", 0, CMD_STRING, &c.examples_file, "FILE", "lines of {\"text\", \"label\" or null} to fit to"},
        {"--calibrate", 0, CMD_STRING, &c.calibration_file, "FILE", "what was fitted: read, or written by --examples"},
        {"--abstain", 0, CMD_F32, &c.abstain, "R", "no label where more than this share of answers would be wrong"},
        {"--instruction", 0, CMD_STRING, &c.instruction, "TEXT", "what the model is told before the text"},
        {"--list", 0, CMD_FLAG, &c.listed, NULL, "the labels stand in the prompt, too"},
        {"--raw", 0, CMD_FLAG, &c.raw, NULL, "the model's own probabilities, its favourites included"},
        {"--json", 0, CMD_FLAG, &c.json, NULL, "an object a text, with every label's probability"},
        {"--ctx", 0, CMD_U32, &o.n_ctx, "N", "context in tokens (default: the model's, at most 8192)"},
        ADAPTER_OPTION(&c.adapter_text),
        ANY_BASE_OPTION(&o.any_base),
        NO_CACHE_OPTION(&c.no_cache),
        {"--threads", 't', CMD_U32, &c.threads, "N", "threads (default: the cores there are)"}};
    cmd_positional p = {.min = 1, .max = 64};
    int code = cmd_parse("classify", options, ARRAY_LEN(options), argc, argv, &p);
    if (code < 0)
        code = check_options(&c);
    if (code < 0)
        code = cmd_parse_adapter(c.adapter_text, &adapter, &o.adapter_scale);
    if (code >= 0)
        return code;
    o.n_threads = (int)c.threads;
    o.adapter = adapter;
    muga_error err = {0};
    code = run(&c, &p, &o, &err) ? cmd_fail(&err) : 0;
    release(&c);
    free(adapter);
    return cmd_finish_output(code);
}
