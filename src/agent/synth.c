/* Lines from texts (synth.h). Owns the wording of the texts so far and of the evaluation, and counts what became of
 * each text. */
#include "agent/synth_internal.h"

#define NEAR_TASK 0.75 /* as agents/customer-service/train/overlap has it */
#define LONG_TASK 5u   /* words from which nearness says something of a task, */
#define LONG_TEXT 4u   /* and of another text */

struct synth {
    const manifest *m;
    const intent *x;
    synth_options o;
    synth_form form;
    synth_tasks tasks;
    synth_slots slots[RETRIEVE_MAX_LABELS];
    wording_set *texts;
    size_t n_lines, n_of[RETRIEVE_MAX_LABELS], n_verdicts[SYNTH_N_VERDICTS];
};

const char *synth_verdict_name(synth_verdict v) {
    static const char *const names[] = {"new", "same", "near", "of_task", "unfit"};
    return names[v];
}

muga_status synth_new(const agent_env *env, const manifest *m, const intent *x, const synth_options *o, synth **out,
                      muga_error *err) {
    *out = NULL;
    synth *s = mem_alloc_array(1, sizeof *s);
    if (!s)
        return error_nomem(err, "what writes training data");
    s->m = m;
    s->x = x;
    s->o = *o;
    muga_status st = wording_set_new(&s->texts, err);
    if (!st)
        st = synth_form_init(env, m, x, o->target, &s->form, err);
    if (!st)
        st = synth_tasks_read(env, x, m->dir, &s->tasks, err);
    for (size_t i = 0; i < intent_n_labels(x) && !st; i++)
        st = synth_slots_init(intent_get_label(x, i), &s->slots[i], err);
    if (st)
        synth_free(s);
    else
        *out = s;
    return st;
}

void synth_free(synth *s) {
    if (!s)
        return;
    for (size_t i = 0; i < RETRIEVE_MAX_LABELS; i++)
        synth_slots_release(&s->slots[i]);
    synth_tasks_release(&s->tasks);
    synth_form_release(&s->form);
    wording_set_free(s->texts);
    free(s);
}

static synth_verdict judge(synth *s, const wording *w) {
    if (w->repeats)
        return SYNTH_UNFIT;
    wording_match other = wording_set_find(s->texts, w), task = wording_set_find(s->tasks.set, w);
    if (!w->is_empty && (task.is_same || (w->n_words >= LONG_TASK && task.likeness >= NEAR_TASK)))
        return SYNTH_OF_TASK;
    if (other.is_same)
        return SYNTH_SAME;
    return w->n_words >= LONG_TEXT && other.likeness >= s->o.near ? SYNTH_NEAR : SYNTH_NEW;
}

static void count_line(synth *s, const size_t *labels, size_t n) {
    s->n_lines++;
    for (size_t i = 0; i < n; i++)
        s->n_of[labels[i]]++;
}

muga_status synth_add(synth *s, const synth_message *m, json_t **line, synth_verdict *verdict, muga_error *err) {
    rng r = {hash64(m->text, m->n, s->o.seed)};
    synth_filled filled;
    wording w = {.n_words = 0};
    bool fits = false;
    *line = NULL;
    *verdict = SYNTH_UNFIT;
    muga_status st = synth_fill(s->x, s->slots, m, &r, &filled, &fits, err);
    if (!st && fits)
        st = synth_wording(s->x, str_get(&filled.text), filled.text.len, &w, err);
    if (!st && fits)
        *verdict = judge(s, &w);
    if (!st && *verdict == SYNTH_NEW)
        st = synth_line(&s->form, s->m, s->x, m, &filled, s->o.by, line, err);
    if (!st && *verdict == SYNTH_NEW) {
        st = wording_set_add(s->texts, &w, err);
        if (st) {
            json_decref(*line);
            *line = NULL;
        } else {
            count_line(s, m->labels, m->n_labels);
        }
    }
    if (!st)
        s->n_verdicts[*verdict]++;
    wording_release(&w);
    synth_filled_release(&filled);
    return st;
}

static bool find_label(const intent *x, const char *name, size_t *out) {
    for (size_t i = 0; name && i < intent_n_labels(x); i++)
        if (strcmp(intent_get_label(x, i)->name, name) == 0) {
            *out = i;
            return true;
        }
    return false;
}

muga_status synth_recall(synth *s, const json_t *line, int64_t *request, muga_error *err) {
    const json_t *names = json_object_get(line, "labels");
    size_t n = 0, n_text, labels[SYNTH_MAX_LABELS];
    const char *text = synth_line_text(line, &n_text);
    *request = json_get_int(line, "request", -1);
    for (; n < json_array_size(names) && n < SYNTH_MAX_LABELS; n++)
        if (!find_label(s->x, json_string_value(json_array_get(names, n)), &labels[n]))
            return error_set(err, MUGA_E_INPUT, "a label that this agent doesn't have");
    if (n == 0 || !text || *request < 0)
        return error_set(err, MUGA_E_INPUT, "not a line of `muga data synth`: text, labels or request is missing");
    wording w = {.n_words = 0};
    muga_status st = synth_wording(s->x, text, n_text, &w, err);
    if (!st)
        st = wording_set_add(s->texts, &w, err);
    if (!st)
        count_line(s, labels, n);
    wording_release(&w);
    return st;
}

size_t synth_n_lines(const synth *s) {
    return s->n_lines;
}

size_t synth_n_of(const synth *s, size_t label) {
    return s->n_of[label];
}

size_t synth_n_verdicts(const synth *s, synth_verdict v) {
    return s->n_verdicts[v];
}

size_t synth_n_parameters(const synth *s, size_t label) {
    return s->slots[label].n;
}

synth_parameter synth_get_parameter(const synth *s, size_t label, size_t i) {
    return s->slots[label].list[i].p;
}

size_t synth_n_tasks(const synth *s) {
    return s->tasks.n;
}

muga_status synth_overlap(synth *s, json_t **out, muga_error *err) {
    size_t n_same = 0, n_near = 0, n_grams = 0, n_shared = 0;
    double sum = 0;
    for (size_t i = 0; i < s->tasks.n; i++) {
        const wording *w = &s->tasks.list[i];
        wording_match m = wording_set_find(s->texts, w);
        n_same += m.is_same;
        n_near += w->n_words >= LONG_TASK && m.likeness >= NEAR_TASK;
        n_grams += w->n_grams;
        n_shared += wording_set_count_grams(s->texts, w);
        sum += m.likeness;
    }
    *out = json_pack("{s:I, s:I, s:I, s:I, s:f, s:I, s:f}", "tasks", (json_int_t)s->tasks.n, "same", (json_int_t)n_same,
                     "grams", (json_int_t)n_shared, "grams_of", (json_int_t)n_grams, "gram_share",
                     n_grams ? (double)n_shared / (double)n_grams : 0.0, "near", (json_int_t)n_near, "nearest_mean",
                     s->tasks.n ? sum / (double)s->tasks.n : 0.0);
    return *out ? MUGA_OK : error_nomem(err, "the overlap");
}
