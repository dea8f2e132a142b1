/* Generating text: constraint mask, sampler, drafts, stop strings, whole characters.
 *
 * A choice is made from the row while the step still holds it, so that no row is copied; everything else (the token
 * joins the text, the constraint advances, callers hear of it) waits until the step is over. A choice once made stands
 * even where its step fails because of another answer: the same row would come again.
 *
 * Forced stretches. Where the constraint leaves one possible byte after another, those bytes are given to the tokenizer
 * and its tokens stand without being computed one by one: they are fed together and no logits are asked of them. The
 * last of them is left to the mask unless the value ends there, since the text that follows could have belonged to the
 * same token. A stretch that the token budget can't hold in the tokenizer's own segmentation is left to the mask as
 * well.
 *
 * Drafts. Guesses (draft.h) are computed behind the last token taken, each with a row of its own. The first choice says
 * whether the first guess was right; then the second row is the row that a step of its own would have given, and so on
 * up to the first guess that was wrong, which is cut off the session again with all behind it. Masks, penalties, random
 * numbers, callers: everything sees one choice after another as without drafts. A step with drafts that fails is done
 * again without: a row that nobody would have asked for must not end an answer.
 *
 * Masks are made when they are needed. The largest logit of all is the largest of those that a mask leaves, if the mask
 * leaves that one; so a greedy choice asks about this one token first, and has a mask made only where it may not stand.
 *
 * Text goes out only when it can't be part of a stop string or of an unfinished character any more; so what was
 * streamed is always a beginning of the final text. */
#include "base/utf8.h"
#include "engine/draft.h"
#include "engine/forced.h"
#include "engine/generation.h"
#include "engine/internal.h"
#include "engine/logprob.h"

#define MAX_STOPS 64
#define MAX_STOP_BYTES 1024
#define MAX_FORCED_BYTES 1024
#define MAX_MARKED_BYTES 258u /* of a control token's name with a mark at each end */
#define MAX_TEXT_BYTES ((size_t)64 << 20)
#define DRAFT_TOKENS 8   /* of one draft, where the caller has no wish */
#define ROW_COST 0.2     /* of one more row in a step, in steps of one row: docs/SPEED.md */
#define DRAFT_BEHIND 64u /* tokens to feed from which a step has enough to do without drafts */
#define TRY_AGAIN 32u    /* tokens after which a draft model that guessed badly may try again */

struct generation {
    engine_generate_args a;
    engine *e;
    sampler *sampler;
    const constrain_trie *trie;
    uint64_t *mask; /* NULL without a constraint */
    int32_t *seq;   /* [end] prompt, then the tokens taken */
    uint32_t n_prompt, n, end;
    uint32_t n_forced;
    bool lazy;              /* no mask before it is needed */
    bool prepared;          /* forced tokens are taken, and the mask of the next choice is made, or comes later */
    bool has_mask;          /* it is made */
    bool has_choice;        /* the token at n is chosen and not taken yet */
    int32_t choice;         /* that token */
    muga_status row_status; /* of choosing */
    muga_error row_error;

    ngram *ngram; /* at most one of these two */
    draft_model *model;
    uint32_t most_drafts, n_drafts, n_since; /* allowed, in this plan, tokens since the model last guessed */
    int32_t drafts[DRAFT_MAX];
    draft_odds *made_by[DRAFT_MAX]; /* whom the outcome teaches; NULL = nobody */
    draft_odds grammar_odds, model_odds;
    int32_t left_open; /* the token that ends a forced stretch and is left to the mask; -1 = none */
    float *rows;       /* [most_drafts][n_vocab] after each guess */
    uint32_t n_rows;   /* of them there */
    uint32_t n_drafted, n_accepted;

    str raw;           /* bytes of the tokens so far */
    str text;          /* what went out */
    size_t n_searched; /* raw[0, n_searched) begins no stop string that is complete */
    size_t n_given;    /* raw[0, n_given) went out */
    logprobs *log;     /* or NULL */
    engine_finish finish;
    bool done;
};

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
static size_t find_stop(const generation *g) {
    size_t best = g->raw.len;
    for (size_t i = 0; i < g->a.n_stop; i++) {
        size_t n = strlen(g->a.stop[i]), from = g->n_searched > n - 1 ? g->n_searched - (n - 1) : 0;
        for (size_t at = from; at + n <= g->raw.len && at < best; at++)
            if (memcmp(g->raw.data + at, g->a.stop[i], n) == 0)
                best = at;
    }
    return best;
}

/* How many bytes at the end of raw may be the beginning of a stop string. */
static size_t stop_tail(const generation *g) {
    size_t longest = 0;
    for (size_t i = 0; i < g->a.n_stop; i++) {
        size_t n = MIN(strlen(g->a.stop[i]) - 1, g->raw.len);
        for (; n > longest; n--)
            if (memcmp(g->raw.data + g->raw.len - n, g->a.stop[i], n) == 0)
                longest = n;
    }
    return longest;
}

/* raw[n_given, end) goes out. */
static void give_text(generation *g, size_t end) {
    if (end <= g->n_given)
        return;
    size_t before = g->text.len;
    utf8_append_replaced(&g->text, g->raw.data + g->n_given, end - g->n_given);
    if (g->log)
        logprobs_give(g->log, g->raw.data, g->n_given, end, before);
    g->n_given = end;
    if (g->a.on_text && !g->text.failed &&
        !g->a.on_text(g->a.on_text_ctx, g->text.data + before, g->text.len - before)) {
        g->finish = ENGINE_CANCELLED;
        g->done = true;
    }
}

/* What a token is to a constraint: its bytes; a control token: its name between two marks, made in `marked`. Nothing:
 * no constraint admits it. */
static span constraint_piece(const generation *g, int32_t id, char marked[MAX_MARKED_BYTES]) {
    span piece = tokenizer_piece(g->e->tok, id);
    bool has_mark = piece.n > 0 && memchr(piece.p, CONSTRAIN_CONTROL, piece.n);
    if (has_mark || (!tokenizer_is_text(g->e->tok, id) && !tokenizer_is_control(g->e->tok, id)))
        return span_of("", 0);
    if (tokenizer_is_text(g->e->tok, id))
        return piece;
    if (piece.n == 0 || piece.n + 2 > MAX_MARKED_BYTES)
        return span_of("", 0);
    marked[0] = marked[piece.n + 1] = CONSTRAIN_CONTROL;
    memcpy(marked + 1, piece.p, piece.n);
    return span_of(marked, piece.n + 2);
}

/* A control token that the caller wants to see. What was held back of a character before it never becomes one. */
static void give_control(generation *g, int32_t id) {
    char marked[MAX_MARKED_BYTES];
    span piece = constraint_piece(g, id, marked);
    give_text(g, g->raw.len);
    str_append(&g->text, piece.p, piece.n);
    if (piece.n > 0 && !g->done && g->a.on_text && !g->text.failed &&
        !g->a.on_text(g->a.on_text_ctx, piece.p, piece.n)) {
        g->finish = ENGINE_CANCELLED;
        g->done = true;
    }
}

static void take_text(generation *g, int32_t id) {
    if (g->a.show_control && tokenizer_is_control(g->e->tok, id))
        give_control(g, id);
    if (!tokenizer_is_text(g->e->tok, id))
        return;
    span piece = tokenizer_piece(g->e->tok, id);
    str_append(&g->raw, piece.p, piece.n);
    if (!g->raw.failed && g->log && !logprobs_take(g->log, g->n - 1, id, g->raw.len - piece.n, g->raw.len))
        g->raw.failed = true;
    if (g->raw.failed)
        return;
    size_t stop = find_stop(g);
    if (stop < g->raw.len) {
        str_truncate(&g->raw, stop);
        g->finish = ENGINE_STOP;
        g->done = true;
        return;
    }
    g->n_searched = g->raw.len;
    size_t safe = g->raw.len - stop_tail(g);
    give_text(g, safe - utf8_incomplete_tail(g->raw.data, safe));
}

/* ---- tokens ---- */

static void tell(const generation *g, const char *what, bool begins) {
    if (g->a.on_constraint)
        g->a.on_constraint(g->a.on_constraint_ctx, what, begins);
}

static muga_status take_token(generation *g, int32_t id, muga_error *err) {
    g->seq[g->n++] = id;
    g->n_since++;
    if (g->ngram)
        ngram_push(g->ngram, true);
    sampler_accept(g->sampler, id);
    if (!g->a.ignore_end && g->e->tok && tokenizer_is_end(g->e->tok, id)) {
        g->finish = ENGINE_STOP;
        g->done = true;
        return MUGA_OK;
    }
    if (g->a.constraint) {
        char marked[MAX_MARKED_BYTES];
        span piece = constraint_piece(g, id, marked);
        bool accepted = false;
        tell(g, "following", true);
        muga_status st = constrain_advance(g->a.constraint, piece.p, piece.n, &accepted, err);
        tell(g, "following", false);
        if (st)
            return st;
        if (!accepted)
            return error_set(err, MUGA_E_INTERNAL, "the constraint refused token %d, which its mask admitted", id);
    }
    if (g->e->tok)
        take_text(g, id);
    if (g->raw.failed || g->text.failed)
        return str_status(g->raw.failed ? &g->raw : &g->text, err, "the generated text");
    if (!g->done && g->n - g->n_prompt == g->a.cancel_at) {
        g->finish = ENGINE_CANCELLED;
        g->done = true;
    }
    return MUGA_OK;
}

/* Whether the first n of ids can stand, and the value still be closed within `left` tokens; *ends: it is closed. */
static muga_status try_forced(generation *g, const token_list *ids, size_t n, uint32_t left, bool *stand, bool *ends,
                              muga_error *err) {
    constrain_state *copy;
    muga_status st = constrain_state_copy(g->a.constraint, &copy, err);
    if (st)
        return st;
    bool accepted = true;
    for (size_t i = 0; i < n && accepted && !st; i++) {
        char marked[MAX_MARKED_BYTES];
        span piece = constraint_piece(g, ids->ids[i], marked);
        accepted = piece.n > 0;
        if (accepted)
            st = constrain_advance(copy, piece.p, piece.n, &accepted, err);
    }
    *ends = accepted && constrain_is_complete(copy) && !constrain_can_continue(copy);
    *stand = accepted && n <= left && constrain_tokens_to_close(copy, g->trie) <= left - n;
    constrain_state_free(copy);
    return st;
}

/* The tokenizer's ids of forced bytes; control tokens among them by their names. Of a name that isn't whole, or that no
 * token has, nothing, nor of what follows it. */
static muga_status encode_forced(const generation *g, span bytes, token_list *ids, muga_error *err) {
    const tokenizer *t = g->e->tok;
    for (size_t at = 0; at < bytes.n;) {
        const char *p = bytes.p + at, *mark = memchr(p, CONSTRAIN_CONTROL, bytes.n - at);
        size_t n = mark ? (size_t)(mark - p) : bytes.n - at;
        muga_status st = n ? forced_encode(t, g->seq, at ? 0 : g->n, span_of(p, n), ids, err) : MUGA_OK;
        const char *end = mark ? memchr(mark + 1, CONSTRAIN_CONTROL, bytes.n - at - n - 1) : NULL;
        int32_t id = end ? tokenizer_find_special(t, mark + 1, (size_t)(end - mark) - 1) : -1;
        if (st || id < 0 || !tokenizer_is_control(t, id))
            return st;
        if (!token_list_push(ids, id))
            return error_nomem(err, "a forced stretch");
        at += (size_t)(end - p) + 1;
    }
    return MUGA_OK;
}

static muga_status take_forced(generation *g, uint32_t left, muga_error *err) {
    str bytes = STR_INIT;
    token_list ids = TOKEN_LIST_INIT;
    muga_status st = MUGA_OK;
    g->left_open = -1;
    constrain_forced(g->a.constraint, MAX_FORCED_BYTES, &bytes);
    if (bytes.failed)
        st = error_nomem(err, "a forced stretch");
    if (st || bytes.len == 0)
        goto out;
    if ((st = encode_forced(g, span_of(bytes.data, bytes.len), &ids, err)))
        goto out;
    bool stand = false, ends = false;
    size_t n = ids.n;
    st = try_forced(g, &ids, n, left, &stand, &ends, err);
    if (!st && !ends && n > 0)
        st = --n > 0 ? try_forced(g, &ids, n, left, &stand, &ends, err) : MUGA_OK;
    for (size_t i = 0; i < n && stand && !st && !g->done; i++) {
        st = take_token(g, ids.ids[i], err);
        g->n_forced++;
    }
    if (n < ids.n && (n == 0 || stand))
        g->left_open = ids.ids[n];
out:
    token_list_release(&ids);
    str_release(&bytes);
    return st;
}

/* The constraint's mask for the next token, end tokens included where the value may end. */
static muga_status next_mask(generation *g, uint32_t left, muga_error *err) {
    bool may_end = false;
    muga_status st = constrain_mask(g->a.constraint, g->trie, left, g->mask, &may_end, err);
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

static muga_status make_mask(generation *g, muga_error *err) {
    tell(g, "mask", true);
    muga_status st = next_mask(g, g->end - g->n, err);
    tell(g, "mask", false);
    g->has_mask = st == MUGA_OK && !g->done;
    return st;
}

/* Whether the mask of the next choice has this token. false as well where only the mask itself can tell. */
static bool is_admitted(generation *g, int32_t id) {
    char marked[MAX_MARKED_BYTES];
    muga_error ignored;
    bool admits = false;
    if (!g->a.constraint)
        return true;
    if (g->has_mask)
        return g->mask[id / 64] >> (id % 64) & 1;
    if (tokenizer_is_end(g->e->tok, id))
        return false;
    tell(g, "mask", true);
    span piece = constraint_piece(g, id, marked);
    muga_status st = constrain_admits(g->a.constraint, g->trie, g->end - g->n, piece, &admits, &ignored);
    tell(g, "mask", false);
    return st == MUGA_OK && admits;
}

/* Up to the next choice: forced tokens, the end of a value, the mask. The first one is always made: it says whether the
 * budget holds a value at all. */
static muga_status prepare(generation *g, muga_error *err) {
    muga_status st;
    if (g->done || g->prepared)
        return MUGA_OK;
    if (g->n == g->end) {
        g->done = true;
        return MUGA_OK;
    }
    if (g->a.constraint) {
        tell(g, "forced text", true);
        st = take_forced(g, g->end - g->n, err);
        tell(g, "forced text", false);
        if (st || g->done)
            return st;
        uint32_t left = g->end - g->n;
        if (constrain_is_complete(g->a.constraint) && (!constrain_can_continue(g->a.constraint) || left == 0)) {
            g->finish = constrain_in_text(g->a.constraint) ? g->finish : ENGINE_STOP;
            g->done = true;
            return MUGA_OK;
        }
        g->has_mask = false;
        if ((!g->lazy || g->n == g->n_prompt) && ((st = make_mask(g, err)) || g->done))
            return st;
    }
    g->prepared = true;
    return MUGA_OK;
}

/* The largest of all stands where the mask would leave it; else the mask is made. */
static bool choose_largest(generation *g, const float *logits) {
    muga_error ignored;
    muga_status st = sampler_pick(g->sampler, logits, NULL, g->n, &g->choice, &ignored);
    g->has_choice = st == MUGA_OK && is_admitted(g, g->choice);
    if (!g->has_choice)
        g->row_status = make_mask(g, &g->row_error);
    return g->has_choice;
}

/* None where the value turns out to end here, as no token can follow: then it is done. */
static void choose(generation *g, const float *logits) {
    bool is_open = g->a.constraint && !g->has_mask;
    g->row_status = MUGA_OK;
    if (is_open && !choose_largest(g, logits) && (g->row_status || g->done))
        return;
    if (g->a.on_choice)
        g->a.on_choice(g->a.on_choice_ctx, g->n - 1, logits);
    if (!g->has_choice) {
        g->row_status = sampler_pick(g->sampler, logits, g->mask, g->n, &g->choice, &g->row_error);
        g->has_choice = g->row_status == MUGA_OK;
    }
    if (g->has_choice && g->log)
        logprobs_choose(g->log, g->n, g->choice, logits);
}

static void on_row(void *ctx, uint32_t pos, const float *logits) {
    generation *g = ctx;
    size_t n_vocab = engine_params(g->e)->n_vocab;
    if (pos + 1 == g->n && !g->has_choice)
        choose(g, logits);
    else if (pos >= g->n && g->has_choice && g->choice == g->drafts[0]) { /* it counts; but its mask comes later */
        memcpy(g->rows + (pos - g->n) * n_vocab, logits, n_vocab * sizeof *logits);
        g->n_rows = pos - g->n + 1;
    }
}

static muga_status take_choice(generation *g, muga_error *err) {
    muga_status st = g->row_status;
    if (st && err)
        *err = g->row_error;
    if (st || !g->has_choice)
        return st;
    g->has_choice = g->prepared = false;
    return take_token(g, g->choice, err);
}

/* ---- drafts ---- */

/* Whether the constraint can take the guess after the ones before it. *after: a copy of the state that has taken the
 * first *n_taken guesses; made when needed. */
static bool fits(generation *g, int32_t id, constrain_state **after, uint32_t *n_taken) {
    muga_error ignored;
    bool accepted = true;
    if (!g->a.constraint || g->n_drafts == 0)
        return is_admitted(g, id);
    if (!*after && constrain_state_copy(g->a.constraint, after, &ignored))
        return false;
    g->drafts[g->n_drafts] = id;
    while (*n_taken <= g->n_drafts && accepted) {
        char marked[MAX_MARKED_BYTES];
        span piece = constraint_piece(g, g->drafts[*n_taken], marked);
        accepted = piece.n > 0;
        if (accepted && constrain_advance(*after, piece.p, piece.n, &accepted, &ignored))
            return false;
        ++*n_taken;
    }
    return accepted;
}

/* The next guess, if it is worth a row. *p: how likely all guesses up to this one are right. */
static bool next_guess(generation *g, double *p, int32_t *id, draft_odds **made_by) {
    uint32_t n = g->n + g->n_drafts;
    double one;
    bool eager = g->a.drafts.eager;
    *made_by = NULL;
    if (g->n_drafts == 0 && g->left_open >= 0) {
        *id = g->left_open;
        *made_by = &g->grammar_odds;
        *p *= draft_odds_get(&g->grammar_odds);
        return eager || *p >= ROW_COST;
    }
    if (g->ngram) {
        if (!ngram_guess(g->ngram, n, id, &one))
            return false;
        *p *= one;
        return eager || *p >= ROW_COST;
    }
    *made_by = &g->model_odds;
    *p *= draft_odds_get(&g->model_odds);
    bool pays = *p >= ROW_COST + draft_model_cost(g->model);
    if (!eager && !pays && (g->n_drafts > 0 || g->n_since < TRY_AGAIN))
        return false;
    g->n_since = 0;
    return draft_model_guess(g->model, g->seq, n, g->n_drafts == 0 ? g->mask : NULL, id);
}

static void propose(generation *g) {
    uint32_t most = MIN(g->most_drafts, g->end - 1 - g->n), n_taken = 0;
    constrain_state *after = NULL;
    double p = 1.0;
    int32_t id;
    draft_odds *made_by;
    while (g->n_drafts < most && next_guess(g, &p, &id, &made_by) && fits(g, id, &after, &n_taken) &&
           (g->a.ignore_end || !g->e->tok || !tokenizer_is_end(g->e->tok, id))) {
        g->made_by[g->n_drafts] = made_by;
        g->drafts[g->n_drafts] = id;
        g->seq[g->n + g->n_drafts] = id;
        g->n_drafts++;
    }
    constrain_state_free(after);
}

/* Of the guesses made when there were `base` tokens, how many the sequence has now. */
static uint32_t count_right(const generation *g, uint32_t base) {
    uint32_t n = 0;
    while (n < g->n_drafts && base + n < g->n && g->seq[base + n] == g->drafts[n])
        n++;
    return n;
}

/* The step is over: what was guessed wrong leaves the session. */
static void settle_drafts(generation *g, uint32_t base, uint32_t n_right) {
    for (uint32_t i = 0; i < g->n_drafts && base + i < g->n && i <= n_right; i++)
        if (g->made_by[i])
            draft_odds_add(g->made_by[i], i < n_right);
    g->n_drafted += g->n_drafts;
    g->n_accepted += n_right;
    g->n_drafts = g->n_rows = 0;
    session_take_back(g->a.session, base + n_right);
}

static muga_status begin_drafts(generation *g, muga_error *err) {
    const engine_drafts *o = &g->a.drafts;
    muga_status st = MUGA_OK;
    g->left_open = -1;
    g->grammar_odds = (draft_odds){14, 16};
    g->model_odds = (draft_odds){12, 16};
    if (o->kind == ENGINE_DRAFTS_OFF)
        return MUGA_OK;
    if (o->max > DRAFT_MAX)
        return error_set(err, MUGA_E_USAGE, "drafts of %u tokens; at most %d are made", o->max, DRAFT_MAX);
    if (o->kind == ENGINE_DRAFTS_MODEL && (!o->session || o->session == g->a.session))
        return error_set(err, MUGA_E_USAGE, "drafts by a draft model need a session of its own");
    g->most_drafts = o->max ? o->max : DRAFT_TOKENS;
    g->rows = mem_alloc_array((size_t)g->most_drafts * engine_params(g->e)->n_vocab, sizeof *g->rows);
    if (!g->rows)
        return error_nomem(err, "the rows of drafts");
    if (o->kind == ENGINE_DRAFTS_MODEL)
        return draft_model_new(&g->a, &g->model, err);
    st = ngram_new(g->seq, g->end, &g->ngram, err);
    for (uint32_t i = 0; !st && i < g->n_prompt; i++)
        ngram_push(g->ngram, false);
    return st;
}

/* ---- the answer ---- */

static muga_status check_prompt(const engine_generate_args *a, uint32_t n_prompt, muga_error *err) {
    uint32_t n_ctx = engine_session_ctx(a->session), n = engine_session_count(a->session);
    if (n_prompt == 0 || (!a->prompt && !engine_session_logits(a->session)))
        return error_set(err, MUGA_E_USAGE, "nothing was fed to this session, so there is nothing to go on from");
    if (a->prompt && engine_session_common(a->session, a->prompt, n_prompt) < n)
        return error_set(err, MUGA_E_USAGE, "the session holds tokens that aren't the beginning of the prompt");
    if (n_prompt >= n_ctx)
        return error_set(err, MUGA_E_LIMIT, "the prompt's %u tokens fill the context of %u; nothing can follow",
                         n_prompt, n_ctx);
    return MUGA_OK;
}

static muga_status begin(generation *g, muga_error *err) {
    const engine_generate_args *a = &g->a;
    uint32_t n_ctx = engine_session_ctx(a->session), n_vocab = engine_params(g->e)->n_vocab;
    uint32_t n = a->prompt ? a->n_prompt : engine_session_count(a->session);
    muga_status st = check_stops(a, err);
    if (st || (st = check_prompt(a, n, err)))
        return st;
    g->n = g->n_prompt = n;
    g->end = n + (a->max_tokens ? MIN(a->max_tokens, n_ctx - n) : n_ctx - n);
    if ((st = sampler_new(a->sampling, g->e->kernels, n_vocab, &g->sampler, err)) ||
        (a->on_token && (st = logprobs_new(g->e, &g->a, &g->log, err))))
        return st;
    g->seq = mem_alloc_array(g->end, sizeof *g->seq);
    if (!g->seq)
        return error_nomem(err, "the generated tokens");
    memcpy(g->seq, a->prompt ? a->prompt : engine_session_ids(a->session), n * sizeof *g->seq);
    for (uint32_t i = n > a->sampling->penalty_last_n ? n - a->sampling->penalty_last_n : 0; i < n; i++)
        if (g->seq[i] >= 0 && (uint32_t)g->seq[i] < n_vocab) /* else the step refuses the prompt */
            sampler_accept(g->sampler, g->seq[i]);
    if ((st = begin_drafts(g, err)) || !a->constraint)
        return st;
    if ((st = engine_trie(g->e, &g->trie, err)))
        return st;
    g->lazy = a->sampling->temperature == 0.0f && !g->model && constrain_tells_tokens(a->constraint);
    g->mask = mem_alloc_array((n_vocab + 63) / 64, sizeof *g->mask);
    return g->mask ? MUGA_OK : error_nomem(err, "a token mask");
}

muga_status generation_new(const engine_generate_args *a, generation **out, muga_error *err) {
    generation *g = mem_alloc_array(1, sizeof *g);
    if (!g)
        return error_nomem(err, "an answer");
    g->a = *a;
    g->e = engine_session_engine(a->session);
    g->finish = ENGINE_LENGTH;
    str_init(&g->raw, MAX_TEXT_BYTES);
    muga_status st = begin(g, err);
    if (st)
        generation_free(g);
    else
        *out = g;
    return st;
}

void generation_free(generation *g) {
    if (!g)
        return;
    str_release(&g->raw);
    str_release(&g->text);
    sampler_free(g->sampler);
    ngram_free(g->ngram);
    draft_model_free(g->model);
    logprobs_free(g->log);
    free(g->rows);
    free(g->mask);
    free(g->seq);
    free(g);
}

muga_status generation_plan(generation *g, engine_item *item, muga_error *err) {
    engine_session *s = g->a.session;
    *item = (engine_item){.session = s};
    g->n_drafts = g->n_rows = 0;
    session_take_back(s, g->n); /* drafts of a step that failed half-way */
    for (;;) {
        muga_status st = prepare(g, err);
        if (st || g->done)
            return st;
        uint32_t held = engine_session_count(s);
        const float *logits = engine_session_logits(s);
        if (held == g->n && !logits) { /* cut back to just here: the last token's row is wanted again */
            session_take_back(s, held - 1);
            held = engine_session_count(s); /* 0 where that saw a page that was let go */
        }
        if (held < g->n) {
            if (g->most_drafts > 0 && !g->has_choice && g->n - held <= DRAFT_BEHIND)
                propose(g);
            *item = (engine_item){.session = s,
                                  .ids = g->seq + held,
                                  .n = g->n - held + g->n_drafts,
                                  .want = ENGINE_LOGITS_TAIL,
                                  .n_tail = 1 + g->n_drafts,
                                  .on_logits = on_row,
                                  .on_logits_ctx = g};
            return MUGA_OK;
        }
        choose(g, logits); /* the prompt was fed by others, who left its logits */
        if ((st = take_choice(g, err)))
            return st;
    }
}

muga_status generation_take(generation *g, muga_error *err) {
    uint32_t base = g->n, n_right = 0, n_vocab = engine_params(g->e)->n_vocab;
    muga_status st = take_choice(g, err);
    while (!st && g->n > base) {
        if ((st = prepare(g, err)) || g->done)
            break;
        n_right = count_right(g, base);
        if (n_right != g->n - base || n_right > g->n_rows)
            break;
        choose(g, g->rows + (size_t)(n_right - 1) * n_vocab);
        st = take_choice(g, err);
    }
    if (g->n > base || g->done)
        settle_drafts(g, base, count_right(g, base));
    return st ? st : prepare(g, err);
}

bool generation_retry(generation *g) {
    bool drafted = g->n_drafts > 0;
    g->most_drafts = drafted ? 0 : g->most_drafts;
    return drafted;
}

void generation_limit_drafts(generation *g, uint32_t most) {
    if (g->rows)
        g->most_drafts = MIN(most, g->a.drafts.max ? g->a.drafts.max : DRAFT_TOKENS);
}

bool generation_done(const generation *g) {
    return g->done;
}

const int32_t *generation_ids(const generation *g, uint32_t *n) {
    *n = g->n;
    return g->seq;
}

void generation_cancel(generation *g) {
    muga_error ignored;
    if (!g->done && g->has_choice) /* its row was seen, so it stands */
        (void)take_choice(g, &ignored);
    g->finish = ENGINE_CANCELLED;
    g->done = true;
}

muga_status generation_finish(generation *g, engine_generated *out, muga_error *err) {
    if (g->finish == ENGINE_LENGTH && g->a.constraint && constrain_is_complete(g->a.constraint) &&
        !constrain_in_text(g->a.constraint))
        g->finish = ENGINE_STOP;
    if (g->log)
        logprobs_cut(g->log, g->finish == ENGINE_CANCELLED ? g->n_given : g->raw.len);
    if (g->finish != ENGINE_CANCELLED)
        give_text(g, g->raw.len);
    if (g->log)
        logprobs_give(g->log, str_get(&g->raw), g->n_given, g->n_given, g->text.len);
    if (g->text.failed)
        return str_status(&g->text, err, "the generated text");
    *out = (engine_generated){
        .n_forced = g->n_forced, .n_drafted = g->n_drafted, .n_accepted = g->n_accepted, .finish = g->finish};
    for (uint32_t i = g->n_prompt; i < g->n; i++)
        if (!token_list_push(&out->ids, g->seq[i])) {
            engine_generated_release(out);
            return error_nomem(err, "the generated tokens");
        }
    out->text = g->text;
    g->text = (str){0};
    return MUGA_OK;
}

muga_status engine_generate(const engine_generate_args *a, engine_generated *out, muga_error *err) {
    generation *g = NULL;
    *out = (engine_generated){0};
    muga_status st = generation_new(a, &g, err);
    if (!st)
        st = engine_session_reserve(a->session, MIN(g->end, g->n_prompt + 1024u), err);
    while (!st && !g->done) {
        engine_item item;
        st = generation_plan(g, &item, err);
        if (st || item.n == 0)
            break;
        st = engine_step(g->e, &item, 1, err);
        if (!st)
            st = generation_take(g, err);
        else if (generation_retry(g))
            st = MUGA_OK;
    }
    if (!st)
        st = generation_finish(g, out, err);
    generation_free(g);
    return st;
}
