/* Private to engine/: a piece of a prompt, computed a layer at a time, so that others' steps come in between.
 *
 * A piece of 64 rows reads the weights and what stands before it once, as a row alone would; so where answers wait, a
 * piece that takes many of their steps is better than a few rows of all layers in each of them: the time between two
 * layers is as short, and hardly a row costs more than in a prompt that is read alone. What is computed is the same to
 * the bit. */
#ifndef MUGA_ENGINE_PIECE_H
#define MUGA_ENGINE_PIECE_H

#include "engine/engine.h"

#define PIECE_ROWS KERNEL_KV_BLOCK /* at most */

typedef struct piece piece;

/* Working memory of its own, beside that of the engine's steps. One thread at a time. */
MUGA_MUST_USE muga_status piece_new(engine *e, piece **out, muga_error *err);
void piece_free(piece *p); /* after its session is done with or dropped. NULL is fine */

/* The next n tokens of a session, 1..PIECE_ROWS, copied. Pages for them are reserved. Until the piece is whole or
 * dropped nobody computes in that session, forks it, cuts it back or frees it. On an error there's no piece. */
MUGA_MUST_USE muga_status piece_begin(piece *p, engine_session *s, const int32_t *ids, uint32_t n, muga_error *err);
uint32_t piece_rows(const piece *p); /* of the piece that was begun last */
/* Layers, one at least; after each `more` says whether to go on. True: it was the last, and the session has the tokens,
 * no logits. */
bool piece_go_on(piece *p, bool (*more)(void *ctx), void *ctx);
/* The session stays what it was before the piece. */
void piece_drop(piece *p);

#endif
