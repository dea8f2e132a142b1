/* Deciding what a message asks for (intent.h). Owns: the scores, the cut into clauses, the record of a decision.
 * Refuses nothing: what it is not sure of, the decision says.
 *
 *   score(l) = votes(l) + model_weight * (log p(l) - mean log p - bias(l)) / 10
 *
 * bias(l) is how much the model favours the word l whatever it reads (a small model has strong favourites), measured as
 * the mean over messages and written into the manifest.
 *
 * Two requests in one message: the text is cut at sentence ends, commas and the words of `split`; a clause that by
 * itself clearly asks for another tool, beside one that asks for the first, is a second request. Nothing here knows a
 * domain. */
#include "agent/intent_internal.h"

#include "agent/clauses.h"
#include "agent/internal.h"

#define NEIGHBOURS_MAX 16
#define MODEL_SCALE 10.0 /* nats that weigh as much as one vote */
#define SUPPORT 0.12     /* what the whole message must give a second request */

/* ---- scores ---- */

typedef struct scores {
    double total[RETRIEVE_MAX_LABELS], votes[RETRIEVE_MAX_LABELS], model[RETRIEVE_MAX_LABELS];
    retrieve_hit hits[NEIGHBOURS_MAX];
    size_t n_hits;
} scores;

static muga_status vote(const intent *x, const retrieve *index, const char *text, size_t n, size_t n_hits, scores *s,
                        muga_error *err) {
    str masked = STR_INIT;
    muga_status st = normaliser_mask(x->normaliser, text, n, INTENT_MASK, &masked, err);
    s->n_hits = n_hits;
    if (st == MUGA_OK) {
        st = retrieve_score(index, str_get(&masked), masked.len, s->votes, s->hits, &s->n_hits, err);
    }
    str_release(&masked);
    memcpy(s->total, s->votes, sizeof s->total);
    return st;
}

static size_t best_label(const double *s, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = s[i] > s[best] ? i : best;
    }
    return best;
}

static size_t first_bit(uint64_t bits) {
    return (size_t)__builtin_ctzll(bits);
}

static const char *first_label(const intent *x, size_t i_example) {
    return x->labels[first_bit(x->example_labels[i_example])].name;
}

/* The instruction with the labels as system message; the neighbours, the least like first, as turns of a conversation
 * in which every message got its label; then the message. */
static json_t *make_prompt(const intent *x, const scores *s, const char *text, size_t n) {
    str system = STR_INIT;
    str_append_s(&system, x->instruction ? x->instruction : "Answer with one of these words:");
    for (size_t i = 0; i < x->n_labels; i++) {
        str_printf(&system, "\n%s: %s", x->labels[i].name, x->labels[i].about);
    }
    json_t *list = json_array();
    bool ok = list && !system.failed &&
              json_array_append_new(list, json_pack("{s:s, s:s}", "role", "system", "content", str_get(&system))) == 0;
    for (size_t k = s->n_hits; ok && k-- > 0;) {
        size_t i = s->hits[k].i;
        ok = json_array_append_new(list, json_pack("{s:s, s:s}", "role", "user", "content", x->texts[i])) == 0 &&
             json_array_append_new(list, json_pack("{s:s, s:s}", "role", "assistant", "content", first_label(x, i))) ==
                 0;
    }
    ok = ok && json_array_append_new(list, json_pack("{s:s, s:s%}", "role", "user", "content", text, n)) == 0;
    str_release(&system);
    if (!ok) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static muga_status ask_model(const intent *x, llm *model, const char *text, size_t n, scores *s, intent_decision *out,
                             muga_error *err) {
    const char *names[RETRIEVE_MAX_LABELS];
    for (size_t i = 0; i < x->n_labels; i++) {
        names[i] = x->labels[i].name;
    }
    json_t *messages = make_prompt(x, s, text, n);
    if (!messages) {
        return error_nomem(err, "a prompt");
    }
    const llm_score_request q = {.messages = messages,
                                 .labels = names,
                                 .n_labels = x->n_labels,
                                 .with_end = true,
                                 .want_evidence = true,
                                 .tenant = x->tenant};
    llm_score_reply reply = {0};
    muga_status st = llm_score(model, &q, &reply, err);
    double mean = 0;
    for (size_t i = 0; st == MUGA_OK && i < x->n_labels; i++) {
        mean += reply.logprob[i] / (double)x->n_labels;
    }
    for (size_t i = 0; st == MUGA_OK && i < x->n_labels; i++) {
        s->model[i] = reply.logprob[i];
        s->total[i] = s->votes[i] + x->model_weight * (reply.logprob[i] - mean - x->labels[i].bias) / MODEL_SCALE;
    }
    if (st == MUGA_OK) {
        out->evidence = reply.evidence;
        out->n_tokens = reply.n_prompt;
        reply.evidence = NULL;
    }
    llm_score_reply_release(&reply);
    json_decref(messages);
    return st;
}

/* ---- clauses ---- */

typedef struct voiced {
    clause at;
    double votes[RETRIEVE_MAX_LABELS];
} voiced;

/* The clauses and what votes for them; none where the message is one. */
static muga_status split(const intent *x, const char *text, size_t n, voiced *list, size_t *n_parts, muga_error *err) {
    clause clauses[CLAUSES_MAX];
    size_t n_clauses = clauses_split(x->split, text, n, clauses);
    muga_status st = MUGA_OK;
    *n_parts = n_clauses > 1 ? n_clauses : 0;
    for (size_t i = 0; st == MUGA_OK && i < *n_parts; i++) {
        scores s = {0};
        st = vote(x, x->index, text + clauses[i].from, clauses[i].n, 0, &s, err);
        list[i].at = clauses[i];
        memcpy(list[i].votes, s.votes, sizeof s.votes);
    }
    return st;
}

/* The clause that speaks most for label l; n when none has it as its best. */
static size_t clause_for(const intent *x, const voiced *list, size_t n, size_t l) {
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
        if (best_label(list[i].votes, x->n_labels) == l && (best == n || list[i].votes[l] > list[best].votes[l])) {
            best = i;
        }
    }
    return best;
}

static int by_place(const void *a, const void *b) {
    const intent_request *p = a, *q = b;
    return p->from != q->from ? (p->from < q->from ? -1 : 1) : (p->label > q->label) - (p->label < q->label);
}

/* `a` excludes `b`: one wish in two wordings, so that a message with a has no b beside it. */
static bool excludes(const intent *x, size_t a, size_t b) {
    const json_t *list =
        json_object_get(json_object_get(json_object_get(x->m->intent, "labels"), x->labels[a].name), "excludes");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), x->labels[b].name) == 0) {
            return true;
        }
    }
    return false;
}

bool intent_same_wish(const intent *x, size_t a, size_t b) {
    return excludes(x, a, b) || excludes(x, b, a);
}

static bool may_join(const intent *x, size_t first, size_t l) {
    return l != first && x->labels[l].act == ACT_TOOL && x->labels[first].act == ACT_TOOL &&
           x->labels[l].tool != x->labels[first].tool && !intent_same_wish(x, first, l);
}

/* Add the second requests. The first keeps the whole message unless others share it. */
static muga_status find_more(const intent *x, const char *text, size_t n, const double *total, intent_decision *d,
                             muga_error *err) {
    voiced *list = mem_alloc_array(CLAUSES_MAX, sizeof *list);
    if (!list) {
        return error_nomem(err, "a message");
    }
    size_t n_parts, first = d->requests[0].label;
    muga_status st = split(x, text, n, list, &n_parts, err);
    size_t own = clause_for(x, list, n_parts, first);
    for (size_t l = 0; st == MUGA_OK && own < n_parts && l < x->n_labels && d->n < INTENT_MAX_REQUESTS; l++) {
        size_t other = clause_for(x, list, n_parts, l);
        if (may_join(x, first, l) && other < n_parts && list[other].votes[l] >= x->second && total[l] >= SUPPORT) {
            d->requests[d->n++] = (intent_request){l, list[other].at.from, list[other].at.n};
        }
    }
    if (d->n > 1) {
        d->requests[0].from = list[own].at.from;
        d->requests[0].n = list[own].at.n;
        qsort(d->requests, d->n, sizeof d->requests[0], by_place);
    }
    free(list);
    return st;
}

/* The labels of the expert's answer, each with the clause that says so, or else the whole message. */
static muga_status find_places(const intent *x, const char *text, size_t n, uint64_t labels, intent_decision *d,
                               muga_error *err) {
    voiced *list = mem_alloc_array(CLAUSES_MAX, sizeof *list);
    if (!list) {
        return error_nomem(err, "a message");
    }
    bool several = (labels & (labels - 1)) != 0;
    size_t n_parts = 0;
    muga_status st = several ? split(x, text, n, list, &n_parts, err) : MUGA_OK;
    for (uint64_t left = labels; left != 0 && d->n < INTENT_MAX_REQUESTS; left &= left - 1) {
        size_t l = first_bit(left), i = clause_for(x, list, n_parts, l);
        d->requests[d->n++] = i < n_parts ? (intent_request){l, list[i].at.from, list[i].at.n}
                                          : (intent_request){l, 0, n};
    }
    qsort(d->requests, d->n, sizeof d->requests[0], by_place);
    free(list);
    return st;
}

/* ---- the decision ---- */

static bool same_action(const intent_label *a, const intent_label *b) {
    return a->act == b->act && a->tool == b->tool;
}

static json_t *write_requests(const intent *x, const intent_decision *d) {
    json_t *requests = json_array();
    bool ok = requests != NULL;
    for (size_t k = 0; ok && k < d->n; k++) {
        ok = json_array_append_new(requests, json_string(x->labels[d->requests[k].label].name)) == 0;
    }
    if (!ok) {
        json_decref(requests);
        return NULL;
    }
    return requests;
}

static json_t *write_record(const intent *x, const scores *s, const intent_decision *d, bool asked_model) {
    json_t *labels = json_object(), *near = json_array(), *requests = write_requests(x, d);
    bool ok = labels && near && requests;
    for (size_t i = 0; ok && i < x->n_labels; i++) {
        json_t *v = asked_model ? json_pack("{s:f, s:f, s:f}", "score", s->total[i], "votes", s->votes[i], "logprob",
                                            s->model[i])
                                : json_pack("{s:f}", "votes", s->votes[i]);
        ok = json_object_set_new(labels, x->labels[i].name, v) == 0;
    }
    for (size_t k = 0; ok && k < s->n_hits; k++) {
        ok = json_array_append_new(near,
                                   json_pack("{s:I, s:f, s:s}", "example", (json_int_t)s->hits[k].i + 1, "likeness",
                                             s->hits[k].likeness, "label", first_label(x, s->hits[k].i))) == 0;
    }
    json_t *record = ok ? json_pack("{s:O, s:f, s:f, s:b, s:O, s:O}", "decided", requests, "score", d->score, "margin",
                                    d->margin, "sure", d->sure, "labels", labels, "neighbours", near)
                        : NULL;
    json_decref(labels);
    json_decref(near);
    json_decref(requests);
    return record;
}

/* Of an expert's decision: probability and log-probability of each answer, votes of each label. */
static json_t *write_expert_record(const intent *x, const double *votes, const expert_view *v, const double *p,
                                   const intent_decision *d) {
    json_t *labels = json_object(), *answers = json_object(), *requests = write_requests(x, d);
    bool ok = labels && answers && requests;
    for (size_t i = 0; ok && i < x->n_labels; i++) {
        ok = json_object_set_new(labels, x->labels[i].name, json_pack("{s:f}", "votes", votes[i])) == 0;
    }
    for (size_t i = 0; ok && i < expert_n_answers(x->expert); i++) {
        json_t *answer = json_pack("{s:f, s:f}", "p", p[i], "logprob", v->logprob[i]);
        ok = json_object_set_new(answers, expert_words(x->expert, i), answer) == 0;
    }
    json_t *record = ok ? json_pack("{s:O, s:f, s:f, s:b, s:O, s:O}", "decided", requests, "score", d->score, "margin",
                                    d->margin, "sure", d->sure, "labels", labels, "answers", answers)
                        : NULL;
    json_decref(labels);
    json_decref(answers);
    json_decref(requests);
    return record;
}

static muga_status check_part(const intent *x, size_t part, size_t n_parts, size_t *n, size_t *right, muga_error *err) {
    retrieve *others = NULL;
    muga_status st = intent_build_index(x, part, n_parts, &others, err);
    for (size_t i = part; st == MUGA_OK && i < x->n_examples; i += n_parts) {
        scores s = {0};
        uint64_t bits = x->example_labels[i];
        st = vote(x, others, x->texts[i], strlen(x->texts[i]), 0, &s, err);
        if (st == MUGA_OK && (bits & (bits - 1)) == 0) {
            *right += same_action(&x->labels[best_label(s.votes, x->n_labels)], &x->labels[first_bit(bits)]);
            ++*n;
        }
    }
    retrieve_free(others);
    return st;
}

muga_status intent_cross_check(const intent *x, size_t n_parts, double *right, muga_error *err) {
    muga_status st = MUGA_OK;
    size_t n = 0, n_right = 0;
    for (size_t part = 0; st == MUGA_OK && part < n_parts; part++) {
        st = check_part(x, part, n_parts, &n, &n_right, err);
    }
    *right = n ? (double)n_right / (double)n : 0;
    return st;
}

void intent_decision_release(intent_decision *d) {
    json_decref(d->record);
    json_decref(d->learned);
    json_decref(d->evidence);
    *d = (intent_decision){0};
}

/* Two requests at once can look like neither: where nothing stands out, the best tool is tried as the first of several.
 */
static size_t best_tool(const intent *x, const double *total, size_t best) {
    size_t found = best;
    for (size_t i = 0; i < x->n_labels; i++) {
        bool tool = x->labels[i].act == ACT_TOOL;
        if (tool && (x->labels[found].act != ACT_TOOL || total[i] > total[found])) {
            found = i;
        }
    }
    return found;
}

/* ---- two ways to decide ---- */

static muga_status choose(const intent *x, const char *text, size_t n, const double *total, intent_decision *out,
                          muga_error *err) {
    size_t best = best_label(total, x->n_labels);
    out->score = total[best];
    out->margin = total[best];
    for (size_t i = 0; i < x->n_labels; i++) {
        if (!same_action(&x->labels[i], &x->labels[best])) {
            out->margin = MIN(out->margin, total[best] - total[i]);
        }
    }
    out->sure = out->score >= x->floor && out->margin >= x->margin;
    out->requests[out->n++] = (intent_request){out->sure ? best : best_tool(x, total, best), 0, n};
    muga_status st = find_more(x, text, n, total, out, err);
    if (out->n == 1) {
        out->requests[0].label = best;
    }
    out->sure = out->sure || out->n > 1;
    return st;
}

static muga_status decide_by_scores(const intent *x, llm *model, const char *text, size_t n, scores *s,
                                    intent_decision *out, muga_error *err) {
    bool asked_model = model && x->model_weight > 0;
    muga_status st = vote(x, x->index, text, n, x->neighbours, s, err);
    if (st == MUGA_OK && asked_model) {
        st = ask_model(x, model, text, n, s, out, err);
    }
    learned_heard h = {.nearest = NULL};
    st = st == MUGA_OK ? choose(x, text, n, s->total, out, err) : st;
    st = st == MUGA_OK && x->learned ? learned_hear(x->learned, text, n, &h, err) : st;
    if (st == MUGA_OK && h.nearest) {
        intent_decision with = {0};
        double total[RETRIEVE_MAX_LABELS];
        for (size_t i = 0; i < x->n_labels; i++) {
            total[i] = s->total[i] + h.voice[i];
        }
        st = choose(x, text, n, total, &with, err);
        st = st == MUGA_OK ? learned_follow(x, &h, &with, out, err) : st;
    }
    json_decref(h.nearest);
    if (st == MUGA_OK) {
        out->record = write_record(x, s, out, asked_model);
        st = out->record ? MUGA_OK : error_nomem(err, "a decision");
    }
    return st;
}

/* May the expert's answer be followed in doubt? What hands over or asks may: it is what doubt leads to anyway. What
 * reads or only talks may where the manifest has words that ask back. Nothing that writes may. */
static bool may_in_doubt(const intent *x, size_t answer) {
    bool asks_back = expert_doubt(x->expert) != NULL, ok = true;
    for (uint64_t left = expert_labels(x->expert, answer); left != 0; left &= left - 1) {
        const intent_label *l = &x->labels[first_bit(left)];
        bool reads = l->act == ACT_TOOL && l->tool->effect == EFFECT_READ;
        ok = ok && (l->act == ACT_ESCALATE || l->act == ACT_ASK || (asks_back && (reads || l->act == ACT_ANSWER)));
    }
    return ok;
}

/* p[n_answers]: their probabilities. */
static muga_status choose_by_expert(const intent *x, const char *text, size_t n, const expert_view *view,
                                    const double *votes, double *p, intent_decision *out, muga_error *err) {
    double features[EXPERT_MAX_ANSWERS * EXPERT_FEATURES];
    expert_features(x->expert, view->logprob, votes, features);
    expert_weigh(x->expert, features, p);
    expert_choice best = expert_choose(x->expert, p);
    out->score = best.p;
    out->margin = best.margin;
    out->doubtful = best.p < expert_sure(x->expert);
    out->sure = !out->doubtful || (best.p >= 0.5 && may_in_doubt(x, best.answer));
    return find_places(x, text, n, expert_labels(x->expert, best.answer), out, err);
}

static muga_status decide_by_expert(const intent *x, llm *model, const char *text, size_t n, scores *s,
                                    intent_decision *out, muga_error *err) {
    double p[EXPERT_MAX_ANSWERS];
    learned_heard h = {.nearest = NULL};
    expert_view view = {.evidence = NULL};
    muga_status st = vote(x, x->index, text, n, 0, s, err);
    st = st == MUGA_OK ? expert_ask(x->expert, model, text, n, &view, err) : st;
    if (st == MUGA_OK) {
        out->n_tokens = view.n_tokens;
        st = choose_by_expert(x, text, n, &view, s->votes, p, out, err);
    }
    st = st == MUGA_OK && x->learned ? learned_hear(x->learned, text, n, &h, err) : st;
    if (st == MUGA_OK && h.nearest) {
        intent_decision with = {0};
        double votes[RETRIEVE_MAX_LABELS], q[EXPERT_MAX_ANSWERS];
        for (size_t i = 0; i < x->n_labels; i++) {
            votes[i] = s->votes[i] + h.voice[i];
        }
        st = choose_by_expert(x, text, n, &view, votes, q, &with, err);
        st = st == MUGA_OK ? learned_follow(x, &h, &with, out, err) : st;
    }
    json_decref(h.nearest);
    if (st == MUGA_OK) {
        out->record = write_expert_record(x, s->votes, &view, p, out);
        st = out->record ? MUGA_OK : error_nomem(err, "a decision");
    }
    out->evidence = json_incref(view.evidence);
    expert_view_release(&view);
    return st;
}

muga_status intent_decide(const intent *x, llm *model, const char *text, size_t n, intent_decision *out,
                          muga_error *err) {
    *out = (intent_decision){0};
    scores *s = calloc(1, sizeof *s);
    if (!s) {
        return error_nomem(err, "a decision");
    }
    muga_status st = x->expert && model && model->has_adapter ? decide_by_expert(x, model, text, n, s, out, err)
                                                              : decide_by_scores(x, model, text, n, s, out, err);
    if (st == MUGA_OK && out->learned && json_object_set(out->record, "learned", out->learned) != 0) {
        st = error_nomem(err, "a decision");
    }
    if (st != MUGA_OK) {
        intent_decision_release(out);
    }
    free(s);
    return st;
}

muga_status intent_vote(const intent *x, const char *text, size_t n, double *votes, muga_error *err) {
    scores *s = calloc(1, sizeof *s);
    muga_status st = s ? vote(x, x->index, text, n, 0, s, err) : error_nomem(err, "votes");
    if (st == MUGA_OK) {
        memcpy(votes, s->votes, x->n_labels * sizeof *votes);
    }
    free(s);
    return st;
}

muga_status intent_sample(const intent *x, const char *text, uint64_t labels, json_t **out, muga_error *err) {
    size_t answer = x->expert ? expert_find(x->expert, labels) : 0;
    const scores none = {.n_hits = 0};
    const char *words = NULL;
    json_t *messages = NULL;
    muga_status st = MUGA_OK;
    *out = NULL;
    if (x->expert && answer < expert_n_answers(x->expert)) {
        words = expert_words(x->expert, answer);
        st = expert_prompt(x->expert, text, strlen(text), &messages, err);
    } else if (!x->expert && labels != 0 && (labels & (labels - 1)) == 0) {
        words = x->labels[first_bit(labels)].name;
        messages = make_prompt(x, &none, text, strlen(text));
        st = messages ? MUGA_OK : error_nomem(err, "a prompt");
    }
    if (st == MUGA_OK && words) {
        bool ok = json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "assistant", "content", words)) == 0;
        *out = ok ? json_pack("{s:O}", "messages", messages) : NULL;
        st = *out ? MUGA_OK : error_nomem(err, "training data");
    }
    json_decref(messages);
    return st;
}
