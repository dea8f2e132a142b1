/* Generating text: constraint mask, sampler, stop strings, whole characters; and scoring of continuations.
 *
 * Forced stretches. Where the constraint leaves one possible byte after another, those bytes are given to the tokenizer
 * and its tokens stand without being computed one by one: they are fed together and no logits are asked of them. The
 * last of them is left to the mask unless the value ends there, since the text that follows could have belonged to the
 * same token. A stretch that the token budget can't hold in the tokenizer's own segmentation is left to the mask as
 * well.
 *
 * Text goes out only when it can't be part of a stop string or of an unfinished character any more; so what was
 * streamed is always a beginning of the final text. */
#include "base/utf8.h"
#include "engine/internal.h"

#define MAX_STOPS 64
#define MAX_STOP_BYTES 1024
#define MAX_FORCED_BYTES 1024
#define MAX_TEXT_BYTES ((size_t)64 << 20)

typedef struct generator {
    const engine_generate_args *a;
    engine *e;
    engine_generated *out;
    sampler *sampler;
    const constrain_trie *trie;
    uint64_t *mask;    /* NULL without a constraint */
    str raw;           /* bytes of the tokens so far */
    size_t n_searched; /* raw[0, n_searched) begins no stop string that is complete */
    size_t n_given;    /* raw[0, n_given) went out */
    uint32_t limit;    /* tokens in all */
    uint32_t n_fed;    /* of out->ids, the first n_fed are in the session */
    bool done;
} generator;

void engine_generated_release(engine_generated *g) {
    str_release(&g->text);
    token_list_release(&g->ids);
}

static muga_status check_stops(const engine_generate_args *a, muga_error *err) {
    if (a->n_stop > MAX_STOPS)
        return error_set(err, MUGA_E_USAGE, "%zu stop strings; at most %d are taken", a->n_stop, MAX_STOPS);
    if (a->n_stop > 0 && a->constraint)
        return error_set(err, MUGA_E_USAGE, "stop strings could cut a constrained value short; use one or the other");
    for (size_t i = 0; i < a->n_stop; i++) {
        size_t n = strlen(a->stop[i]);
        if (n == 0 || n > MAX_STOP_BYTES)
            return error_set(err, MUGA_E_USAGE, "stop string %zu has %zu bytes; 1 to %d are taken", i, n,
                             MAX_STOP_BYTES);
    }
    return MUGA_OK;
}

/* ---- text ---- */

/* First occurrence of any stop string in raw, or raw.len. */
static size_t find_stop(const generator *g) {
    size_t best = g->raw.len;
    for (size_t i = 0; i < g->a->n_stop; i++) {
        size_t n = strlen(g->a->stop[i]), from = g->n_searched > n - 1 ? g->n_searched - (n - 1) : 0;
        for (size_t at = from; at + n <= g->raw.len && at < best; at++)
            if (memcmp(g->raw.data + at, g->a->stop[i], n) == 0)
                best = at;
    }
    return best;
}

/* How many bytes at the end of raw may be the beginning of a stop string. */
static size_t stop_tail(const generator *g) {
    size_t longest = 0;
    for (size_t i = 0; i < g->a->n_stop; i++) {
        size_t n = MIN(strlen(g->a->stop[i]) - 1, g->raw.len);
        for (; n > longest; n--)
            if (memcmp(g->raw.data + g->raw.len - n, g->a->stop[i], n) == 0)
                longest = n;
    }
    return longest;
}

/* raw[n_given, end) goes out. */
static void give_text(generator *g, size_t end) {
    if (end <= g->n_given)
        return;
    size_t before = g->out->text.len;
    utf8_append_replaced(&g->out->text, g->raw.data + g->n_given, end - g->n_given);
    g->n_given = end;
    if (g->a->on_text && !g->out->text.failed &&
        !g->a->on_text(g->a->on_text_ctx, g->out->text.data + before, g->out->text.len - before)) {
        g->out->finish = ENGINE_CANCELLED;
        g->done = true;
    }
}

static void take_text(generator *g, int32_t id) {
    if (!tokenizer_is_text(g->e->tok, id))
        return;
    span piece = tokenizer_piece(g->e->tok, id);
    str_append(&g->raw, piece.p, piece.n);
    if (g->raw.failed)
        return;
    size_t stop = find_stop(g);
    if (stop < g->raw.len) {
        str_truncate(&g->raw, stop);
        g->out->finish = ENGINE_STOP;
        g->done = true;
        return;
    }
    g->n_searched = g->raw.len;
    size_t safe = g->raw.len - stop_tail(g);
    give_text(g, safe - utf8_incomplete_tail(g->raw.data, safe));
}

/* ---- tokens ---- */

static muga_status take_token(generator *g, int32_t id, muga_error *err) {
    if (!token_list_push(&g->out->ids, id))
        return error_nomem(err, "the generated tokens");
    sampler_accept(g->sampler, id);
    if (!g->a->ignore_end && g->e->tok && tokenizer_is_end(g->e->tok, id)) {
        g->out->finish = ENGINE_STOP;
        g->done = true;
        return MUGA_OK;
    }
    if (g->a->constraint) {
        span piece = tokenizer_piece(g->e->tok, id);
        bool accepted = false;
        muga_status st = constrain_advance(g->a->constraint, piece.p, piece.n, &accepted, err);
        if (st)
            return st;
        if (!accepted)
            return error_set(err, MUGA_E_INTERNAL, "the constraint refused token %d, which its mask admitted", id);
    }
    if (g->e->tok)
        take_text(g, id);
    if (g->raw.failed || g->out->text.failed)
        return str_status(g->raw.failed ? &g->raw : &g->out->text, err, "the generated text");
    return MUGA_OK;
}

/* The tokens taken since the last feed enter the session; logits follow. */
static muga_status feed_taken(generator *g, muga_error *err) {
    uint32_t n = (uint32_t)g->out->ids.n - g->n_fed;
    if (n == 0)
        return MUGA_OK;
    muga_status st = engine_session_feed(g->a->session, g->out->ids.ids + g->n_fed, n, err);
    if (!st)
        g->n_fed += n;
    return st;
}

/* Whether the first n of ids can stand, and the value still be closed within `left` tokens; *ends: it is closed. */
static muga_status try_forced(generator *g, const token_list *ids, size_t n, uint32_t left, bool *stand, bool *ends,
                              muga_error *err) {
    constrain_state *copy;
    muga_status st = constrain_state_copy(g->a->constraint, &copy, err);
    if (st)
        return st;
    bool accepted = true;
    for (size_t i = 0; i < n && accepted && !st; i++) {
        span piece = tokenizer_piece(g->e->tok, ids->ids[i]);
        accepted = piece.n > 0 && tokenizer_is_text(g->e->tok, ids->ids[i]);
        if (accepted)
            st = constrain_advance(copy, piece.p, piece.n, &accepted, err);
    }
    *ends = accepted && constrain_is_complete(copy) && !constrain_can_continue(copy);
    *stand = accepted && n <= left && constrain_tokens_to_close(copy, g->trie) <= left - n;
    constrain_state_free(copy);
    return st;
}

static muga_status take_forced(generator *g, uint32_t left, muga_error *err) {
    str bytes = STR_INIT;
    token_list ids = TOKEN_LIST_INIT;
    muga_status st = MUGA_OK;
    constrain_forced(g->a->constraint, MAX_FORCED_BYTES, &bytes);
    if (bytes.failed)
        st = error_nomem(err, "a forced stretch");
    if (st || bytes.len == 0)
        goto out;
    if ((st = tokenizer_encode(g->e->tok, bytes.data, bytes.len, (tokenizer_flags){0}, &ids, err)))
        goto out;
    bool stand = false, ends = false;
    size_t n = ids.n;
    st = try_forced(g, &ids, n, left, &stand, &ends, err);
    if (!st && !ends && n > 0)
        st = --n > 0 ? try_forced(g, &ids, n, left, &stand, &ends, err) : MUGA_OK;
    for (size_t i = 0; i < n && stand && !st && !g->done; i++) {
        st = take_token(g, ids.ids[i], err);
        g->out->n_forced++;
    }
out:
    token_list_release(&ids);
    str_release(&bytes);
    return st;
}

/* The constraint's mask for the next token, end tokens included where the value may end. */
static muga_status next_mask(generator *g, uint32_t left, muga_error *err) {
    bool may_end = false;
    muga_status st = constrain_mask(g->a->constraint, g->trie, left, g->mask, &may_end, err);
    if (st || !may_end)
        return st;
    const tokenizer *t = g->e->tok;
    bool any = false;
    int32_t ends[] = {tokenizer_eot(t), tokenizer_eos(t)};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (ends[i] >= 0 && tokenizer_is_end(t, ends[i])) {
            g->mask[ends[i] / 64] |= (uint64_t)1 << (ends[i] % 64);
            any = true;
        }
    for (size_t i = 0; !any && i < (engine_params(g->e)->n_vocab + 63) / 64; i++)
        any = g->mask[i] != 0;
    g->done = !any; /* complete, nothing may follow, and no token says so */
    return MUGA_OK;
}

static muga_status next_token(generator *g, muga_error *err) {
    uint32_t left = g->limit - (uint32_t)g->out->ids.n;
    muga_status st;
    if (g->a->constraint) {
        if ((st = take_forced(g, left, err)) || g->done)
            return st;
        left = g->limit - (uint32_t)g->out->ids.n;
        if (constrain_is_complete(g->a->constraint) && (!constrain_can_continue(g->a->constraint) || left == 0)) {
            g->out->finish = ENGINE_STOP;
            g->done = true;
            return MUGA_OK;
        }
        if ((st = next_mask(g, left, err)) || g->done)
            return st;
    }
    if ((st = feed_taken(g, err)))
        return st;
    const float *logits = engine_session_logits(g->a->session);
    uint32_t position = engine_session_count(g->a->session);
    if (g->a->on_choice)
        g->a->on_choice(g->a->on_choice_ctx, position - 1, logits);
    int32_t id;
    st = sampler_pick(g->sampler, logits, g->mask, position, &id, err);
    return st ? st : take_token(g, id, err);
}

static muga_status begin(generator *g, muga_error *err) {
    const engine_generate_args *a = g->a;
    uint32_t n = engine_session_count(a->session), n_ctx = engine_session_ctx(a->session);
    uint32_t n_vocab = engine_params(g->e)->n_vocab;
    muga_status st = check_stops(a, err);
    if (st)
        return st;
    if (!engine_session_logits(a->session))
        return error_set(err, MUGA_E_USAGE, "nothing was fed to this session, so there is nothing to go on from");
    if (n == n_ctx)
        return error_set(err, MUGA_E_LIMIT, "the prompt's %u tokens fill the context of %u; nothing can follow", n,
                         n_ctx);
    g->limit = a->max_tokens ? MIN(a->max_tokens, n_ctx - n) : n_ctx - n;
    if ((st = sampler_new(a->sampling, g->e->kernels, n_vocab, &g->sampler, err)))
        return st;
    const int32_t *ids = engine_session_ids(a->session);
    for (uint32_t i = n > a->sampling->penalty_last_n ? n - a->sampling->penalty_last_n : 0; i < n; i++)
        sampler_accept(g->sampler, ids[i]);
    if (a->constraint) {
        if ((st = engine_trie(g->e, &g->trie, err)))
            return st;
        g->mask = mem_alloc_array((n_vocab + 63) / 64, sizeof *g->mask);
        if (!g->mask)
            return error_nomem(err, "a token mask");
    }
    return engine_session_reserve(a->session, MIN(n_ctx, n + MIN(g->limit, 1024u)), err);
}

muga_status engine_generate(const engine_generate_args *a, engine_generated *out, muga_error *err) {
    *out = (engine_generated){.finish = ENGINE_LENGTH};
    generator g = {.a = a, .e = engine_session_engine(a->session), .out = out};
    str_init(&g.raw, MAX_TEXT_BYTES);
    muga_status st = begin(&g, err);
    while (!st && !g.done && out->ids.n < g.limit)
        st = next_token(&g, err);
    if (!st && out->finish == ENGINE_LENGTH && a->constraint && constrain_is_complete(a->constraint))
        out->finish = ENGINE_STOP;
    if (!st && out->finish != ENGINE_CANCELLED) {
        give_text(&g, g.raw.len);
        st = out->text.failed ? str_status(&out->text, err, "the generated text") : MUGA_OK;
    }
    str_release(&g.raw);
    sampler_free(g.sampler);
    free(g.mask);
    if (st)
        engine_generated_release(out);
    return st;
}
