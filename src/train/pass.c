/* Samples side by side, with their positions. */
#include "train/pass.h"

#include "base/mem.h"

/* Arrays of a pass that holds at most n_tok tokens; false when memory is out. */
static bool make_room(train_pass *p, const model *m, uint32_t n_tok, uint32_t n_segment) {
    size_t half = MAX(m->p.n_rot / 2, 1u);
    bool ok = true;
    p->ids = mem_alloc_array(n_tok, sizeof *p->ids);
    p->row = mem_alloc_array(n_tok, sizeof *p->row);
    p->label = mem_alloc_array(n_tok, sizeof *p->label);
    p->i_sample = mem_alloc_array(n_tok, sizeof *p->i_sample);
    p->segment = mem_alloc_array(n_segment, sizeof *p->segment);
    for (uint32_t k = 0; k < m->n_ropes; k++) {
        p->cos[k] = mem_alloc_array(n_tok, half * sizeof(float));
        p->sin[k] = mem_alloc_array(n_tok, half * sizeof(float));
        ok = ok && p->cos[k] && p->sin[k];
    }
    return ok && p->ids && p->row && p->label && p->i_sample && p->segment;
}

/* Long factors serve a sample that is longer than the original context, as they serve a sequence that may be. */
static void turn_row(train_pass *p, const model *m, uint32_t row, uint32_t pos, uint32_t n) {
    size_t half = m->p.n_rot / 2;
    for (uint32_t k = 0; k < m->n_ropes; k++) {
        const model_rope *r = &m->ropes[k];
        bool is_long = r->freq_long && n > r->n_ctx_short;
        kernel_rope_angles(pos, is_long ? r->freq_long : r->freq, m->p.n_rot / 2, r->mscale, p->cos[k] + row * half,
                           p->sin[k] + row * half);
    }
}

static void add_sample(train_pass *p, const model *m, const train_sample *s, uint32_t i_sample) {
    train_segment *g = &p->segment[p->segments.n];
    *g = (train_segment){.from = p->n_tok, .to = p->n_tok + s->n, .i_group = p->segments.n};
    p->segments.n_group = ++p->segments.n;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t row = g->from + i;
        p->ids[row] = s->ids[i];
        turn_row(p, m, row, i, s->n);
        if (i == 0 || !s->target[i])
            continue;
        p->row[p->n_target] = row - 1;
        p->label[p->n_target] = s->ids[i];
        p->i_sample[p->n_target++] = i_sample;
    }
    p->n_tok += s->n;
}

muga_status train_pass_init(const model *m, const train_sample *samples, uint32_t n, uint32_t max_tok, train_pass *out,
                            uint32_t *n_taken, muga_error *err) {
    uint32_t n_tok = samples[0].n, taken = 1;
    while (taken < n && samples[taken].n <= max_tok && n_tok <= max_tok - samples[taken].n)
        n_tok += samples[taken++].n;
    *out = (train_pass){0};
    *n_taken = taken;
    if (!make_room(out, m, n_tok, taken))
        return error_nomem(err, "the samples of a step");
    for (uint32_t i = 0; i < taken; i++)
        add_sample(out, m, &samples[i], i);
    out->segments.at = out->segment;
    return MUGA_OK;
}

void train_pass_release(train_pass *p) {
    void *owned[] = {p->ids, p->row, p->label, p->i_sample, p->segment};
    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        free(owned[i]);
    for (uint32_t k = 0; k < MODEL_MAX_ROPES; k++) {
        free(p->cos[k]);
        free(p->sin[k]);
    }
    *p = (train_pass){0};
}
