/* Which matrices get a pair, and where the numbers of each lie. */
#include "train/pass.h"

#include "base/mem.h"

#include <stdio.h>

/* The middle of "blk.0.attn_q.weight": "attn_q". */
static span middle_of(const char *name) {
    const char *from = strchr(name, '.'), *to = strrchr(name, '.');
    from = from ? strchr(from + 1, '.') : NULL;
    return from && from < to ? span_of(from + 1, (size_t)(to - from - 1)) : span_of_string(name);
}

/* The next of a list with commas; false at its end. *rest goes on behind it. */
static bool next_target(const char **rest, span *out) {
    if (!*rest)
        return false;
    const char *comma = strchr(*rest, ',');
    *out = comma ? span_of(*rest, (size_t)(comma - *rest)) : span_of_string(*rest);
    *rest = comma ? comma + 1 : NULL;
    return true;
}

static bool is_wanted(const char *targets, span middle) {
    span t;
    if (!targets)
        return true;
    while (next_target(&targets, &t))
        if (span_equal(t, middle))
            return true;
    return false;
}

/* Matrix i of all the layers', or NULL. */
static const gguf_tensor *matrix_at(const model *m, uint32_t i) {
    const model_layer *y = &m->layers[i / MODEL_MAX_PARTS / MODEL_LINEARS];
    const model_linear *linears[MODEL_LINEARS] = {&y->qkv, &y->o, &y->gate_up, &y->down};
    const model_linear *l = linears[i / MODEL_MAX_PARTS % MODEL_LINEARS];
    return i % MODEL_MAX_PARTS < l->n_parts ? l->parts[i % MODEL_MAX_PARTS] : NULL;
}

/* A target that no matrix of the model's layers has is a mistake, and nothing would say so later. */
static muga_status check_targets(const model *m, const char *targets, muga_error *err) {
    char known[160] = "";
    span t;
    for (uint32_t i = 0; i < MODEL_LINEARS * MODEL_MAX_PARTS; i++) {
        const gguf_tensor *w = matrix_at(m, i);
        size_t at = strlen(known);
        if (w)
            snprintf(known + at, sizeof known - at, "%s%.*s", at ? ", " : "", (int)middle_of(w->name).n,
                     middle_of(w->name).p);
    }
    while (next_target(&targets, &t)) {
        bool found = false;
        for (uint32_t i = 0; i < m->p.n_layer * MODEL_LINEARS * MODEL_MAX_PARTS && !found; i++) {
            const gguf_tensor *w = matrix_at(m, i);
            found = w && span_equal(middle_of(w->name), t);
        }
        if (!found)
            return error_set(err, MUGA_E_USAGE, "target \"%.*s\": this model has no such matrix; it has %s",
                             (int)MIN(t.n, (size_t)40), t.p, known);
    }
    return MUGA_OK;
}

/* Places for the numbers of one pair; false when there are more than memory could hold. */
static bool place(train_layout *l, const gguf_tensor *w, train_place *p) {
    size_t a, b;
    p->w = w;
    p->a = l->n_params;
    if (!size_mul((size_t)w->dims[0], l->rank, &a) || !size_mul((size_t)w->dims[1], l->rank, &b) ||
        !size_add(p->a, a, &p->b) || !size_add(p->b, b, &l->n_params))
        return false;
    l->n_pairs++;
    return l->n_params < SIZE_MAX / 64;
}

muga_status train_layout_init(const model *m, uint32_t rank, float alpha, const char *targets, train_layout *out,
                              muga_error *err) {
    muga_status st = check_targets(m, targets, err);
    *out = (train_layout){.m = m, .rank = rank, .scale = alpha / (float)rank};
    out->n_places = m->p.n_layer * MODEL_LINEARS * MODEL_MAX_PARTS;
    if (st)
        return st;
    out->places = mem_alloc_array(out->n_places, sizeof *out->places);
    bool ok = out->places != NULL;
    for (uint32_t i = 0; ok && i < out->n_places; i++) {
        const gguf_tensor *w = matrix_at(m, i);
        out->places[i] = (train_place){NULL, TRAIN_NO_PAIR, TRAIN_NO_PAIR};
        if (w && is_wanted(targets, middle_of(w->name)))
            ok = place(out, w, &out->places[i]);
    }
    if (!ok) {
        train_layout_release(out);
        return error_nomem(err, "the adapter");
    }
    return MUGA_OK;
}

void train_layout_release(train_layout *l) {
    free(l->places);
    *l = (train_layout){0};
}
