/* Sessions kept in files, so that a conversation goes on where it was without computing it again.
 *
 * The file, little-endian (version 2):
 *
 *   "MUGASESS"  u32 version  u32 n_tok  u32 n_ctx  u32 kv type  u32 act  u32 positions of a page
 *   u32 kinds of pages, 1 or 2 (model_kinds); of both, 0 where there is one: u32[2] pages left out, the first ones
 *   (behind a window)  u64[2] bytes of a page
 *   u64 bytes of the note  u8[32] arithmetic's name, padded with 0  u8[64] model's SHA-256, hex  u8[64] adapter's, or 0
 *   f32 the adapter's scale  u8[32] SHA-256 over the overrides
 *   u8[n] note  i32[n_tok] ids  the other pages, whole, kind by kind  u8[32] SHA-256 of all before
 *
 * What a page's bits depend on is in the head, and a file that differs in any of it is refused by name. A file is read
 * as from a stranger: sizes are bounded before anything is allocated by them, ids are in the vocabulary, and nothing of
 * it is used before the digest at its end was right. That digest tells damage, not lies: keys and values that somebody
 * made up give wrong answers, but no more than that, and they never reach the prefix cache. */
#ifndef MUGA_ENGINE_SAVED_H
#define MUGA_ENGINE_SAVED_H

#include "engine/engine.h"

#define SAVED_MAX_NOTE ((uint64_t)64 << 20)

/* Whole or not there: written beside `path`, synced, named. model_sha256: 64 hex digits, of the model's file as the
 * caller knows it. note: what the caller wants to find again (a chat's messages), n_note bytes. */
MUGA_MUST_USE muga_status saved_write(const engine_session *s, const os_files *files, const char *path,
                                      const char *model_sha256, const void *note, size_t n_note, muga_error *err);
/* Into an empty session that doesn't share (MUGA_E_USAGE), of the same adapter. Appends the note. MUGA_E_NOT_FOUND;
 * E_INPUT naming what doesn't fit and both values; E_LIMIT where its tokens exceed the session's context. On an error
 * the session is empty. */
MUGA_MUST_USE muga_status saved_read(engine_session *s, const os_files *files, const char *path,
                                     const char *model_sha256, str *note, muga_error *err);

#endif
