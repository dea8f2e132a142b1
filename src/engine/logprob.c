/* Log-probabilities of an answer's tokens: of the model's own distribution, before mask, bias, penalties and
 * temperature. Owns the tokens whose text is held back.
 *
 * A row is looked at while the step still holds it; the token is told of later, with the piece of text that its last
 * byte is in. */
#include "engine/logprob.h"

#include "base/utf8.h"
#include "engine/internal.h"

typedef struct held_token {
    engine_token t;
    engine_top top[ENGINE_MAX_TOP];
    size_t from, to; /* of the answer's bytes */
} held_token;

struct logprobs {
    const engine *e;
    const engine_generate_args *a;
    float *work;  /* [n_vocab] */
    str replaced; /* to see how long a stretch becomes */
    held_token row;
    uint32_t row_pos; /* the token that the row is of */
    bool has_row;
    held_token *v; /* [n] in the order of the text */
    size_t n, cap;
};

muga_status logprobs_new(const engine *e, const engine_generate_args *a, logprobs **out, muga_error *err) {
    if (a->n_top > ENGINE_MAX_TOP)
        return error_set(err, MUGA_E_USAGE, "the %u likeliest tokens; at most %d are told", a->n_top, ENGINE_MAX_TOP);
    logprobs *l = mem_alloc_array(1, sizeof *l);
    if (!l)
        return error_nomem(err, "log-probabilities");
    l->e = e;
    l->a = a;
    l->work = mem_alloc_aligned(engine_params(e)->n_vocab * sizeof *l->work, 64);
    if (!l->work) {
        free(l);
        return error_nomem(err, "log-probabilities");
    }
    *out = l;
    return MUGA_OK;
}

void logprobs_free(logprobs *l) {
    if (!l)
        return;
    free(l->work);
    free(l->v);
    str_release(&l->replaced);
    free(l);
}

/* The n likeliest of a row, likeliest first, equal ones by id; their logits. */
static uint32_t find_top(const float *logits, uint32_t n_vocab, uint32_t n, engine_top *top) {
    uint32_t k = 0;
    for (uint32_t id = 0; id < n_vocab && n > 0; id++) {
        double v = (double)logits[id];
        if (k == n && v <= top[k - 1].logprob)
            continue;
        uint32_t at = k < n ? k++ : k - 1;
        for (; at > 0 && top[at - 1].logprob < v; at--)
            top[at] = top[at - 1];
        top[at] = (engine_top){(int32_t)id, v};
    }
    return k;
}

void logprobs_choose(logprobs *l, uint32_t pos, int32_t id, const float *logits) {
    uint32_t n_vocab = engine_params(l->e)->n_vocab;
    double z = sampler_log_partition(l->e->kernels, logits, n_vocab, l->work);
    l->row.t = (engine_token){.id = id, .logprob = (double)logits[id] - z};
    l->row.t.n_top = find_top(logits, n_vocab, l->a->n_top, l->row.top);
    for (uint32_t i = 0; i < l->row.t.n_top; i++)
        l->row.top[i].logprob -= z;
    l->row_pos = pos;
    l->has_row = true;
}

bool logprobs_take(logprobs *l, uint32_t pos, int32_t id, size_t from, size_t to) {
    held_token t = {.t = {.id = id, .is_forced = true, .n_top = MIN(l->a->n_top, 1u)}, .top = {{id, 0.0}}};
    if (l->has_row && l->row_pos == pos && l->row.t.id == id)
        t = l->row;
    l->has_row = false;
    if (from == to)
        return true;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 16;
        held_token *v = mem_resize_array(l->v, cap, sizeof *v);
        if (!v)
            return false;
        l->v = v;
        l->cap = cap;
    }
    t.from = from;
    t.to = to;
    l->v[l->n++] = t;
    return true;
}

static void tell(const logprobs *l, held_token *h, size_t from, size_t to) {
    span piece = tokenizer_piece(l->e->tok, h->t.id);
    h->t.bytes = span_of(piece.p, MIN(piece.n, h->to - h->from));
    h->t.top = h->top;
    h->t.from = from;
    h->t.to = to;
    l->a->on_token(l->a->on_token_ctx, &h->t);
}

static void drop(logprobs *l, size_t n) {
    memmove(l->v, l->v + n, (l->n - n) * sizeof *l->v);
    l->n -= n;
}

/* Bytes that raw[from, to) becomes, as a part of raw[from, end): the beginning of a character counts as it is. */
static size_t text_bytes(logprobs *l, const char *raw, size_t from, size_t to, size_t end) {
    uint32_t cp;
    if (from >= to)
        return 0;
    size_t tail = utf8_incomplete_tail(raw + from, to - from);
    if (utf8_decode(raw + to - tail, end - (to - tail), &cp) <= tail)
        tail = 0;
    str_clear(&l->replaced);
    utf8_append_replaced(&l->replaced, raw + from, to - from - tail);
    return l->replaced.failed ? to - from : l->replaced.len + tail;
}

void logprobs_give(logprobs *l, const char *raw, size_t given, size_t end, size_t at) {
    size_t n = 0;
    for (; n < l->n && l->v[n].to <= end; n++) {
        held_token *h = &l->v[n];
        size_t before = given > h->from ? given - h->from : 0; /* went out already */
        tell(l, h, at + text_bytes(l, raw, given, h->from, end) - before, at + text_bytes(l, raw, given, h->to, end));
    }
    if (n > 0)
        drop(l, n);
}

void logprobs_cut(logprobs *l, size_t end) {
    while (l->n > 0 && l->v[l->n - 1].from >= end)
        l->n--;
    if (l->n > 0)
        l->v[l->n - 1].to = MIN(l->v[l->n - 1].to, end);
}
