/* Tokens that wait for it to be known whether they are content: an answer that is split shows its content later than
 * its text, and only that. Owns copies. A token that content has in part is told of with that part of its bytes. */
#include "llm/tokens.h"

#include "base/mem.h"

void token_queue_release(token_queue *q) {
    free(q->v);
    *q = (token_queue){0};
}

void token_queue_clear(token_queue *q) {
    q->n = q->content_to = 0;
}

void token_queue_push(void *queue, const llm_token *t) {
    token_queue *q = queue;
    if (q->n == q->cap) {
        size_t cap = q->cap ? 2 * q->cap : 16;
        kept_token *v = mem_resize_array(q->v, cap, sizeof *v);
        if (!v) {
            q->failed = true;
            return;
        }
        q->v = v;
        q->cap = cap;
    }
    kept_token *k = &q->v[q->n++];
    *k = (kept_token){.t = *t};
    k->t.n_top = MIN(t->n_top, (size_t)LLM_MAX_TOP);
    if (k->t.n_top > 0)
        memcpy(k->top, t->top, k->t.n_top * sizeof *t->top);
}

/* The token with what of it lies before `to`. */
static void tell(kept_token *k, size_t to, const llm_request *r) {
    llm_token *t = &k->t;
    t->top = k->top;
    if (t->n == t->to - t->from) { /* else it has bytes that the text shows as U+FFFD: whole */
        size_t end = MIN(t->to, to) - t->from, begin = k->begins - t->from;
        t->p += begin;
        t->n = end - begin;
    }
    if (t->n > 0)
        r->on_token(r->on_token_ctx, t);
}

static void drop(token_queue *q, size_t n) {
    if (n > 0)
        memmove(q->v, q->v + n, (q->n - n) * sizeof *q->v);
    q->n -= n;
}

void token_queue_give(token_queue *q, size_t from, size_t to, const llm_request *r) {
    size_t n = 0;
    for (; n < q->n && q->v[n].t.from < to; n++) {
        kept_token *k = &q->v[n];
        if (k->t.to <= from) { /* behind the content before, or its end */
            if (k->is_reached)
                tell(k, q->content_to, r);
            continue;
        }
        if (!k->is_reached)
            k->begins = MAX(k->t.from, from);
        k->is_reached = true;
        if (k->t.to > to)
            break;
        tell(k, to, r);
    }
    drop(q, n);
    q->content_to = to;
}

muga_status token_queue_finish(token_queue *q, const llm_request *r, muga_error *err) {
    if (q->n > 0 && q->v[0].is_reached)
        tell(&q->v[0], q->content_to, r);
    q->n = 0;
    return q->failed ? error_nomem(err, "the tokens") : MUGA_OK;
}
