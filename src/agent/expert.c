/* The adapter's answers and their probabilities (expert.h). Owns: which answers there are, the prompt. Refuses: more
 * answers than EXPERT_MAX_ANSWERS. */
#include "agent/expert.h"

#include "agent/internal.h"
#include "llm/logit.h"

#define MAX_TOGETHER 3u

typedef struct answer {
    uint64_t labels;
    char *words;
    size_t deed;
} answer;

struct expert {
    const intent *x;
    const char *instruction, *mask, *doubt;
    size_t together;
    double weight[EXPERT_FEATURES], sure;
    answer answers[EXPERT_MAX_ANSWERS];
    size_t n;
};

/* ---- the answers ---- */

static bool same_deed(const intent *x, uint64_t a, uint64_t b) {
    if (a == b) {
        return true;
    }
    if ((a & (a - 1)) != 0 || (b & (b - 1)) != 0) {
        return false;
    }
    const intent_label *p = intent_get_label(x, (size_t)__builtin_ctzll(a));
    const intent_label *q = intent_get_label(x, (size_t)__builtin_ctzll(b));
    return p->act == q->act && p->tool == q->tool;
}

static muga_status add_answer(expert *e, uint64_t labels, muga_error *err) {
    str words = STR_INIT;
    if (e->n == EXPERT_MAX_ANSWERS) {
        return error_set(err, MUGA_E_LIMIT,
                         "agent.yaml: intent.expert: more than %u answers with so many tools together; lower together",
                         EXPERT_MAX_ANSWERS);
    }
    for (uint64_t left = labels; left != 0; left &= left - 1) {
        str_append_s(&words, words.len ? " " : "");
        str_append_s(&words, intent_get_label(e->x, (size_t)__builtin_ctzll(left))->name);
    }
    answer *a = &e->answers[e->n];
    *a = (answer){.labels = labels, .words = str_take(&words), .deed = e->n};
    for (size_t i = 0; i < e->n && a->deed == e->n; i++) {
        a->deed = same_deed(e->x, e->answers[i].labels, labels) ? i : e->n;
    }
    e->n++;
    return a->words ? MUGA_OK : error_nomem(err, "the expert's answers");
}

/* May label l be wanted beside all of `labels`? */
static bool may_join(const intent *x, uint64_t labels, size_t l) {
    const intent_label *more = intent_get_label(x, l);
    bool ok = more->act == ACT_TOOL;
    for (uint64_t left = labels; ok && left != 0; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        const intent_label *one = intent_get_label(x, i);
        ok = one->act == ACT_TOOL && one->tool != more->tool && !intent_same_wish(x, i, l);
    }
    return ok;
}

/* Each label alone, then by twos, then by threes, in the manifest's order. */
static muga_status add_answers(expert *e, muga_error *err) {
    size_t n_labels = intent_n_labels(e->x), from = 0;
    muga_status st = MUGA_OK;
    for (size_t l = 0; st == MUGA_OK && l < n_labels; l++) {
        st = add_answer(e, UINT64_C(1) << l, err);
    }
    for (size_t size = 2; st == MUGA_OK && size <= e->together; size++) {
        size_t to = e->n;
        for (; st == MUGA_OK && from < to; from++) {
            uint64_t labels = e->answers[from].labels;
            for (size_t l = 64 - (size_t)__builtin_clzll(labels); st == MUGA_OK && l < n_labels; l++) {
                st = may_join(e->x, labels, l) ? add_answer(e, labels | UINT64_C(1) << l, err) : MUGA_OK;
            }
        }
    }
    return st;
}

muga_status expert_new(const intent *x, const json_t *config, expert **out, muga_error *err) {
    expert *e = calloc(1, sizeof *e);
    if (!e) {
        return error_nomem(err, "the expert");
    }
    e->x = x;
    e->instruction = json_get_string(config, "instruction");
    e->mask = json_get_string(config, "mask");
    e->doubt = json_get_string(config, "doubt");
    e->together = MIN((size_t)json_get_int(config, "together", 1), (size_t)MAX_TOGETHER);
    e->weight[0] = json_get_number(config, "logprob", 1);
    e->weight[1] = json_get_number(config, "votes", 0);
    e->sure = json_get_number(config, "sure", 0.5);
    muga_status st = add_answers(e, err);
    if (st == MUGA_OK) {
        *out = e;
    } else {
        expert_free(e);
    }
    return st;
}

void expert_free(expert *e) {
    for (size_t i = 0; e && i < e->n; i++) {
        free(e->answers[i].words);
    }
    free(e);
}

size_t expert_n_answers(const expert *e) {
    return e->n;
}
uint64_t expert_labels(const expert *e, size_t i) {
    return e->answers[i].labels;
}
const char *expert_words(const expert *e, size_t i) {
    return e->answers[i].words;
}
size_t expert_deed(const expert *e, size_t i) {
    return e->answers[i].deed;
}
double expert_sure(const expert *e) {
    return e->sure;
}

const char *expert_doubt(const expert *e) {
    return e->doubt;
}

size_t expert_find(const expert *e, uint64_t labels) {
    size_t i = 0;
    while (i < e->n && e->answers[i].labels != labels) {
        i++;
    }
    return i;
}

/* ---- asking ---- */

void expert_view_release(expert_view *v) {
    json_decref(v->evidence);
    v->evidence = NULL;
}

muga_status expert_prompt(const expert *e, const char *text, size_t n, json_t **out, muga_error *err) {
    str masked = STR_INIT;
    muga_status st = e->mask ? normaliser_mask(intent_normaliser(e->x), text, n, e->mask, &masked, err) : MUGA_OK;
    if (st == MUGA_OK) {
        const char *shown = e->mask ? str_get(&masked) : text;
        *out = json_pack("[{s:s, s:s}, {s:s, s:s%}]", "role", "system", "content", e->instruction, "role", "user",
                         "content", shown, e->mask ? masked.len : n);
        st = *out ? MUGA_OK : error_nomem(err, "a prompt");
    }
    str_release(&masked);
    return st;
}

muga_status expert_ask(const expert *e, llm *model, const char *text, size_t n, expert_view *out, muga_error *err) {
    const char *words[EXPERT_MAX_ANSWERS];
    json_t *messages = NULL;
    *out = (expert_view){.evidence = NULL};
    for (size_t i = 0; i < e->n; i++) {
        words[i] = e->answers[i].words;
    }
    llm_score_reply reply = {0};
    muga_status st = expert_prompt(e, text, n, &messages, err);
    if (st == MUGA_OK) {
        const llm_score_request q = {.messages = messages,
                                     .labels = words,
                                     .n_labels = e->n,
                                     .with_end = true,
                                     .want_evidence = true,
                                     .tenant = intent_tenant(e->x)};
        st = llm_score(model, &q, &reply, err);
    }
    if (st == MUGA_OK) {
        memcpy(out->logprob, reply.logprob, e->n * sizeof *out->logprob);
        out->evidence = json_incref(reply.evidence);
        out->n_tokens = reply.n_prompt;
    }
    llm_score_reply_release(&reply);
    json_decref(messages);
    return st;
}

/* ---- choosing ---- */

void expert_features(const expert *e, const double *logprob, const double *votes, double *features) {
    for (size_t i = 0; i < e->n; i++) {
        double sum = 0;
        for (uint64_t left = e->answers[i].labels; left != 0; left &= left - 1) {
            sum += votes[__builtin_ctzll(left)] - 0.5;
        }
        features[i * EXPERT_FEATURES] = logprob[i];
        features[i * EXPERT_FEATURES + 1] = sum;
    }
}

void expert_weigh(const expert *e, const double *features, double *p) {
    logit m = {.n_choices = e->n, .n_features = EXPERT_FEATURES};
    memcpy(m.weight, e->weight, sizeof e->weight);
    logit_predict(&m, features, p);
}

expert_choice expert_choose(const expert *e, const double *p) {
    double deeds[EXPERT_MAX_ANSWERS] = {0};
    size_t best = 0;
    for (size_t i = 0; i < e->n; i++) {
        deeds[e->answers[i].deed] += p[i];
    }
    for (size_t i = 1; i < e->n; i++) {
        best = deeds[i] > deeds[best] ? i : best;
    }
    expert_choice c = {.answer = best, .p = deeds[best], .margin = deeds[best]};
    for (size_t i = 0; i < e->n; i++) {
        c.answer = e->answers[i].deed == best && p[i] > p[c.answer] ? i : c.answer;
        c.margin = i != best ? MIN(c.margin, deeds[best] - deeds[i]) : c.margin;
    }
    return c;
}
