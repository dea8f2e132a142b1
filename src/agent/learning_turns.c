/* From kept turns to what is learned of them (learning.h). Owns: which turns may be learned from. Refuses: to read any
 * without the operator's consent. */
#include "agent/learning.h"

#include "agent/interactions.h"
#include "agent/internal.h"

#include <stdio.h>

bool learning_has_examples(const manifest *m) {
    return json_object_get(m->learning, "examples") != NULL;
}

learned_options learning_examples(const manifest *m) {
    const json_t *v = json_object_get(m->learning, "examples");
    const learned_options d = LEARNED_OPTIONS_DEFAULT;
    return (learned_options){.most = (size_t)json_get_int(v, "most", (int64_t)d.most),
                             .weight = json_get_number(v, "weight", d.weight),
                             .likeness = json_get_number(v, "likeness", d.likeness)};
}

static muga_status has_consent(store *s, const char *agent, bool *has, muga_error *err) {
    json_t *list = NULL;
    muga_status st = consent_list(s, &list, err);
    *has = false;
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        *has = *has ||
               (strcmp(json_get_string(v, "agent"), agent) == 0 && strcmp(json_get_string(v, "consent"), "on") == 0);
    }
    json_decref(list);
    return st;
}

/* ---- rows ---- */

/* The labels that were right; NULL: the turn tells of none. */
static const json_t *labels_of(const interaction *row) {
    const json_t *said = json_object_get(row->correction, "labels"), *taken = json_object_get(row->content, "labels");
    bool whole = !row->correction && json_get_bool(row->content, "sure", false) &&
                 !json_object_get(row->content, "given"); /* a number alone, given when asked, says no more than that */
    const json_t *labels = said ? said : whole ? taken : NULL;
    return json_array_size(labels) > 0 ? labels : NULL;
}

static muga_status take_row(void *ctx, const interaction *row, muga_error *err) {
    json_t *list = ctx;
    const char *text = json_get_string(row->content, "message");
    const json_t *labels = labels_of(row);
    char id[64];
    if (!text || !labels) {
        return MUGA_OK;
    }
    snprintf(id, sizeof id, "%.40s/%lld", row->session, (long long)row->turn);
    json_t *v = json_pack("{s:s, s:O, s:s, s:s, s:b}", "text", text, "labels", json_borrow(labels), "id", id, "source",
                          row->subject ? row->subject : row->session, "corrected", row->correction != NULL);
    return json_array_append_new(list, v) == 0 ? MUGA_OK : error_nomem(err, "turns");
}

muga_status learning_read_turns(const agent_env *env, store *s, const manifest *m, size_t most, const char *use,
                                const json_t *detail, json_t **out, muga_error *err) {
    const interaction_filter f = {.agent = m->name,
                                  .outcomes = OUTCOME_COMPLETED | OUTCOME_CORRECTED,
                                  .not_rated_down = true,
                                  .max = (int64_t)most};
    json_t *list = json_array();
    bool consent = false;
    int64_t n = 0;
    muga_status st = list ? has_consent(s, m->name, &consent, err) : error_nomem(err, "turns");
    if (st == MUGA_OK && !consent) {
        st = error_set(err, MUGA_E_POLICY,
                       "%.64s: no turns are kept without its operator's consent; see `muga help data`", m->name);
    }
    st = st == MUGA_OK ? interactions_read(env, s, &f, use, detail, take_row, list, &n, err) : st;
    if (st == MUGA_OK) {
        *out = list;
    } else {
        json_decref(list);
    }
    return st;
}

/* ---- examples ---- */

static muga_status make(const intent *x, const learned_options *o, const json_t *turns, learned **out,
                        muga_error *err) {
    learned_example *list = mem_alloc_array(json_array_size(turns), sizeof *list);
    size_t n = 0;
    if (!list) {
        return error_nomem(err, "turns");
    }
    for (size_t i = json_array_size(turns); i-- > 0;) { /* the newest first */
        const json_t *v = json_array_get(turns, i), *labels = json_object_get(v, "labels");
        const char *label = json_string_value(json_array_get(labels, 0));
        if (json_array_size(labels) == 1 && label) { /* one wish: two would blur what each of them sounds like */
            list[n++] = (learned_example){.text = json_get_string(v, "text"),
                                          .label = label,
                                          .id = json_get_string(v, "id"),
                                          .source = json_get_string(v, "source"),
                                          .corrected = json_get_bool(v, "corrected", false)};
        }
    }
    muga_status st = learned_new(x, o, list, n, out, err);
    free(list);
    return st;
}

muga_status learning_load_examples(const agent_env *env, store *s, const intent *x, const manifest *m, learned **out,
                                   muga_error *err) {
    bool consent = false;
    json_t *turns = NULL;
    *out = NULL;
    muga_status st = learning_has_examples(m) ? has_consent(s, m->name, &consent, err) : MUGA_OK;
    if (st != MUGA_OK || !consent) {
        return st;
    }
    const learned_options o = learning_examples(m);
    st = learning_read_turns(env, s, m, o.most, "retrieved", NULL, &turns, err);
    st = st == MUGA_OK ? make(x, &o, turns, out, err) : st;
    json_decref(turns);
    return st;
}
