/* Private to engine/. */
#ifndef MUGA_ENGINE_INTERNAL_H
#define MUGA_ENGINE_INTERNAL_H

#include "base/mem.h"
#include "engine/engine.h"
#include "engine/prefix.h"
#include "engine/turns.h"

#include <pthread.h>

struct engine {
    gguf_file *file;
    packed_file *packed; /* mapped; NULL: model and tokenizer own what they have */
    char packed_note[320];
    model *model;
    tokenizer *tok;   /* NULL: works on ids only */
    engine_options o; /* as chosen */
    const kernel_table *kernels;
    os_pool *pool;
    kernel_kv_type kv;
    char *template_text;           /* the file's, copied: it is compiled later; NULL where there is none */
    span template_source;          /* that, or the fallback */
    const char *template_fallback; /* its name, or NULL */

    pthread_mutex_t lazy_lock; /* guards the next two */
    template *template;
    constrain_trie *trie;

    page_pool pages; /* has a lock of its own, which guards the cache as well */
    prefix_cache *prefix;

    /* Guards the run, the pool of threads and the arrays below: one step at a time, in the order of asking. */
    turns step_turns;
    model_run *run;
    int32_t *ids;          /* [n_batch] of the batch being built */
    uint32_t *pos, *i_seq; /* [n_batch] */
    bool *wanted;          /* [n_batch] */
    /* Of each kind [n_batch] page lists. */
    void *const **lists[MODEL_MAX_KINDS];
    uint32_t *n_ctx;             /* [n_batch] */
    uint32_t *i_item;            /* [n_batch] item that each sequence of the batch belongs to */
    model_adapter_use *adapters; /* [n_batch] of each sequence of the batch */
};

/* A session's adapter: a counted reference and a scale (adapter.c). All zero = none. */
typedef struct adapter_choice {
    engine_adapter *adapter;
    float scale;
} adapter_choice;
adapter_choice adapter_choice_copy(adapter_choice c); /* one more reference */
void adapter_choice_release(adapter_choice *c);
/* What was chosen before goes; on an error it stays. a NULL = none. */
MUGA_MUST_USE muga_status adapter_choice_set(adapter_choice *c, const engine *e, engine_adapter *a, float scale,
                                             muga_error *err);
model_adapter_use adapter_choice_use(adapter_choice c);

/* Where the session's next page follows in the prefix cache; NULL: it doesn't share, or stands inside a page. */
const prefix_entry *session_cursor(const engine_session *s);
/* How many of its first pages of a kind it has let go behind a window, and an empty session that begins without so many
 * of each kind: false where position n sees one of them. */
uint32_t session_dropped(const engine_session *s, uint32_t kind);
MUGA_MUST_USE bool session_leave_out(engine_session *s, uint32_t n, const uint32_t *n_dropped);
/* Page i of a kind, which exists. */
void *session_page(const engine_session *s, uint32_t kind, uint32_t i);
/* engine_session_reserve for n positions, and of layers with a window for n_windowed. */
MUGA_MUST_USE muga_status session_reserve(engine_session *s, uint32_t n, uint32_t n_windowed, muga_error *err);
/* Bytes of the pages that hold its first n tokens; and the most that one holds which is fed to n tokens, n_rows at a
 * time. */
uint64_t session_bytes(const engine_session *s, uint32_t n);
uint64_t session_bytes_for(const engine *e, uint32_t n, uint32_t n_rows);
/* An empty session whose pages were filled from elsewhere holds ids[0, n) from now on; n 0: they are given up. */
void session_put_tokens(engine_session *s, const int32_t *ids, uint32_t n);
/* What a step does with a session: whether it takes n more tokens; the list of pages of a kind, those that the next n
 * are written to being marked; the tokens, once they are computed without logits; and where they weren't. */
MUGA_MUST_USE muga_status session_check_rows(const engine_session *s, const int32_t *ids, uint32_t n, muga_error *err);
void *const *session_write_pages(engine_session *s, uint32_t kind, uint32_t n);
void session_append(engine_session *s, const int32_t *ids, uint32_t n);
void session_spoil(engine_session *s);
/* Its adapter, as a batch takes it. */
model_adapter_use session_adapter_use(const engine_session *s);
/* Its invariants, as far as they can be seen (session.c); for tests. */
bool session_check(const engine_session *s);
/* engine_session_new for any model, encoders too. */
MUGA_MUST_USE muga_status engine_session_make(engine *e, uint32_t n_ctx, engine_session **out, muga_error *err);
/* engine_session_truncate for the last few tokens: pages stay, their slots are cleared. */
void session_take_back(engine_session *s, uint32_t n);
/* Rows of a step for which others wait: about as long as a step of a few running answers. */
#define ENGINE_ROWS_BESIDE 16u
/* engine_step for what isn't the scheduler's: it lets others in after every few rows, as long as there are any. */
MUGA_MUST_USE muga_status engine_step_beside(engine *e, engine_item *items, uint32_t n_items, muga_error *err);
/* engine_step without logits: hidden [n_embd], the row after the last norm, of each wanted token. The items' own
 * callbacks are not called. */
typedef void (*engine_on_row)(void *ctx, uint32_t i_item, uint32_t pos, const float *hidden);
MUGA_MUST_USE muga_status engine_step_rows(engine *e, engine_item *items, uint32_t n_items, engine_on_row each,
                                           void *ctx, muga_error *err);

#endif
