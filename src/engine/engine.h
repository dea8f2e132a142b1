/* The engine: a loaded model with its tokenizer, its chat template, kernels, threads and vocabulary trie; and sessions
 * over it. Knows tokens and bytes, not messages (llm/) and not HTTP.
 *
 *   engine          immutable to its users; may be shared by threads (steps take turns)
 *   engine_session  one growing list of tokens over reference-counted KV pages; one thread at a time
 *   engine_adapter  a LoRA adapter for the model; immutable, reference-counted, shared by threads
 *
 * A logit depends on the model's bytes, the session's adapter and its scale, the ids before it, and the engine's act
 * and kv settings alone. */
#ifndef MUGA_ENGINE_H
#define MUGA_ENGINE_H

#include "constrain/constrain.h"
#include "engine/sampler.h"
#include "model/model.h"
#include "model/template.h"
#include "model/tokenizer.h"

typedef struct engine engine;
typedef struct engine_session engine_session;
typedef struct engine_adapter engine_adapter;

typedef struct engine_options {
    int n_threads;     /* 0 = os_cpu_count(): the cores, not their threads */
    int isa;           /* kernel_isa, or -1 = the best here */
    bool exact;        /* f32 activations instead of int8 */
    kernel_kv_type kv; /* how keys and values are kept; f16 unless set */
    uint32_t n_batch;  /* tokens of a step; 0 = 128 */
    /* Most bytes of keys and values of all sessions and the prefix cache together, at least one page of 64 positions;
     * 0 = half of os_memory_bytes. Past it the cache gives up what no session uses; then MUGA_E_LIMIT. */
    uint64_t kv_bytes;
    uint64_t cache_bytes;  /* of it, what the prefix cache may keep that no session uses; 0 = a quarter */
    uint64_t cache_tokens; /* and at most the pages of so many positions; 0 = no such limit */
    bool ids_only;         /* a kind of tokenizer this version doesn't know is no error: the engine works on ids */
    const char *const *overrides; /* of metadata, as gguf_override takes them; borrowed while the engine lives */
    size_t n_overrides;
    /* Where this model's packed file is, or is to be (model/packed.h): what is not there is made and, without
     * overrides, kept. NULL = nothing is kept. And where the model is, as an absolute path, for who cleans up. Both
     * borrowed for engine_open. */
    const char *packed, *packed_source;
    const char
        *template_source;  /* a chat template in place of the file's, compiled at once; borrowed for engine_open */
    const os_files *files; /* to write it; NULL = the system's */
    void (*on_progress)(void *ctx, double done); /* 0..1 while loading; may be NULL */
    void *on_progress_ctx;
    /* Sees the input of every matrix product (model.h), while the step's lock is held; may be NULL. */
    void (*on_input)(void *ctx, const char *tensor, const float *x, size_t x_stride, uint32_t n_tok, uint32_t cols);
    void *on_input_ctx;
} engine_options;
#define ENGINE_OPTIONS_DEFAULT ((engine_options){.isa = -1})

/* MUGA_E_ENV: the instruction set isn't there. MUGA_E_INPUT: the file, naming key or tensor. */
MUGA_MUST_USE muga_status engine_open(const char *path, const engine_options *o, engine **out, muga_error *err);
void engine_free(engine *e); /* after all its sessions */

const model *engine_model(const engine *e);
const model_params *engine_params(const engine *e);
const kernel_table *engine_kernels(const engine *e);
const tokenizer *engine_tokenizer(const engine *e); /* NULL when ids_only and not usable */
const gguf_file *engine_file(const engine *e);
const engine_options *engine_get_options(const engine *e); /* n_threads, isa and n_batch as chosen */
/* What became of the packed file, in words: "mapped from ...", "packed in memory: ..."; "" where none was asked for. */
const char *engine_packed(const engine *e);
/* The template's source: tokenizer.chat_template (*fallback NULL), or where the file has none the form that its kind of
 * model was trained on (*fallback its name, "gemma"). */
span engine_template_source(const engine *e, const char **fallback);
/* Compiled at first use and kept. A template that doesn't compile is an error here, not at load. */
MUGA_MUST_USE muga_status engine_template(engine *e, const template **out, muga_error *err);
/* The vocabulary as a trie for constraints; built at first use and kept. */
MUGA_MUST_USE muga_status engine_trie(engine *e, const constrain_trie **out, muga_error *err);

/* ---- keys and values ---- */
/* Of the engine's pages, each 64 positions of all layers; where some layers have a window and others see all, those of
 * one sort (model_kinds), and pages differ in bytes. */
typedef struct engine_kv_counts {
    uint64_t in_use, in_use_bytes; /* pages that sessions hold */
    uint64_t shared;               /* of them: held by more than one session */
    uint64_t cached;               /* pages the prefix cache holds, in use or idle */
    uint64_t idle, idle_bytes;     /* held by the cache alone: given up when room is needed */
    uint64_t free, free_bytes;     /* held by nobody, kept for the next taker */
    uint64_t high_water_bytes;     /* most bytes of pages there were at once */
    uint64_t max_bytes;            /* kv_bytes */
    uint64_t page_bytes;           /* of 64 positions, all layers: a page, or one of each kind */
    uint64_t n_copied;             /* since the start: shared pages copied in order to be written */
    uint64_t n_evicted;            /* times that room was made of idle pages */
    uint64_t n_refused;            /* times there was no room */
    uint64_t n_adopted;            /* positions taken from the prefix cache instead of computed */
} engine_kv_counts;
engine_kv_counts engine_get_kv_counts(engine *e); /* from any thread */

/* ---- sessions ---- */
/* n_ctx: positions it can hold, at least 1; 0 = min(n_ctx_train, 8192). Beyond n_ctx_train: MUGA_E_LIMIT with both
 * numbers. */
MUGA_MUST_USE muga_status engine_session_new(engine *e, uint32_t n_ctx, engine_session **out, muga_error *err);
/* The same tokens over the same pages; a page is copied when one of the two writes to it. */
MUGA_MUST_USE muga_status engine_session_fork(engine_session *s, engine_session **out, muga_error *err);
void engine_session_free(engine_session *s);

engine *engine_session_engine(const engine_session *s);
uint32_t engine_session_ctx(const engine_session *s);
uint32_t engine_session_count(const engine_session *s);     /* tokens it holds */
const int32_t *engine_session_ids(const engine_session *s); /* [count] */
/* Keep the first n; n <= count. Where layers of the model have a window, what they don't see any more is let go as the
 * session grows; one that is cut back by more than 128 tokens, or to within what it adopted, may then be empty. */
void engine_session_truncate(engine_session *s, uint32_t n);
/* How many of its tokens are also the first of ids[0, n), and can be kept: 0 where truncating to there would empty it.
 */
uint32_t engine_session_common(const engine_session *s, const int32_t *ids, uint32_t n);
/* Pages for n positions in all exist afterwards, so that feeding up to there allocates nothing; of layers with a window
 * those for a batch, later ones are taken as others are let go. MUGA_E_LIMIT with the numbers where kv_bytes leaves no
 * room, as in all that makes pages. */
MUGA_MUST_USE muga_status engine_session_reserve(engine_session *s, uint32_t n, muga_error *err);

/* Sharing. From now on the session gives its pages to the engine's prefix cache as they become full, and
 * engine_session_adopt takes from it what sessions of the same tenant (and adapter) have computed. What is taken
 * changes no logit. Only while the session is empty (MUGA_E_USAGE); tenant: up to 255 bytes, "" is one as any other.
 * Nothing is shared across tenants. Forks share as well. */
MUGA_MUST_USE muga_status engine_session_share(engine_session *s, const char *tenant, muga_error *err);
/* Take what the cache holds of ids[0, n), the tokens that are to follow: never the last, whose logits are to be
 * computed. How many were taken; 0 for a session that doesn't share or that stands inside a page. */
uint32_t engine_session_adopt(engine_session *s, const int32_t *ids, uint32_t n);

/* Append ids and compute them, in steps of n_batch tokens, or of fewer, between those of others (a scheduler's, other
 * threads') where there are any; afterwards logits of the last position are there.
 * MUGA_E_LIMIT past n_ctx (both numbers), E_INPUT for an id out of range: the session is unchanged. MUGA_E_NONFINITE
 * names the position, MUGA_E_LIMIT says that kv_bytes left no room for a page: the session then stands before the step
 * that failed. */
MUGA_MUST_USE muga_status engine_session_feed(engine_session *s, const int32_t *ids, uint32_t n, muga_error *err);
/* [n_vocab] after the last fed token; NULL when it has none (new, truncated, fed without logits). Valid until the next
 * feed. */
const float *engine_session_logits(const engine_session *s);

/* ---- adapters ---- */
/* Read a LoRA adapter (docs/adapters.md), at any time, while others step. MUGA_E_INPUT names the key or tensor that is
 * wrong; encoders take none. */
MUGA_MUST_USE muga_status engine_adapter_load(engine *e, const char *path, engine_adapter **out, muga_error *err);
/* Give the loader's reference back, at any time: sessions that have the adapter keep it until they end or take another.
 * Before engine_free. NULL is fine. */
void engine_adapter_drop(engine_adapter *a);
const char *engine_adapter_sha256(const engine_adapter *a); /* 64 hex digits, of the file */
/* 64 hex digits, of the model's file that it says it was trained on; "" = it doesn't say. Not compared here. */
const char *engine_adapter_base(const engine_adapter *a);
size_t engine_adapter_bytes(const engine_adapter *a); /* resident */
/* The session's tokens from now on are computed with this adapter; NULL: with none, as at first. Only while it holds no
 * tokens and doesn't share yet, or MUGA_E_USAGE: those tokens would be another model's. The effect is multiplied by
 * scale, usually 1. Forks have the same. */
MUGA_MUST_USE muga_status engine_session_set_adapter(engine_session *s, engine_adapter *a, float scale,
                                                     muga_error *err);
/* NULL = none. Borrowed while the session has it. */
const engine_adapter *engine_session_adapter(const engine_session *s, float *scale);

/* Several sessions in common steps. Every session at most once; all of one engine. */
typedef enum { ENGINE_LOGITS_LAST, ENGINE_LOGITS_ALL, ENGINE_LOGITS_NONE, ENGINE_LOGITS_TAIL } engine_logits;
typedef struct engine_item {
    engine_session *session;
    const int32_t *ids;
    uint32_t n; /* at least 1 */
    engine_logits want;
    uint32_t n_tail; /* of TAIL: how many of the last rows. They go to on_logits alone, the session keeps none */
    /* Each wanted row, ascending positions; logits [n_vocab] borrowed for the call. Called inside the step: it may not
     * use the engine. NULL: only the last row is kept, in the session. */
    void (*on_logits)(void *ctx, uint32_t pos, const float *logits);
    void *on_logits_ctx;
} engine_item;
MUGA_MUST_USE muga_status engine_step(engine *e, engine_item *items, uint32_t n_items, muga_error *err);

/* ---- generating ---- */
typedef enum { ENGINE_STOP, ENGINE_LENGTH, ENGINE_CANCELLED } engine_finish;
/* Drafts: guesses at the next tokens, computed in one step with the last one, standing where the model chooses the
 * same. Ids, text, rows of choices are the same with and without. Tokens that a constraint makes likely are guessed
 * with either kind. */
typedef enum { ENGINE_DRAFTS_OFF, ENGINE_DRAFTS_NGRAM, ENGINE_DRAFTS_MODEL } engine_draft_kind;
typedef struct engine_drafts {
    engine_draft_kind kind;
    uint32_t max; /* guesses in one step, at most 16; 0 = 8 */
    bool eager;   /* as many as there are, whether they pay or not: to test and to measure with */
    /* Of MODEL: a session of an engine that passed engine_draft_check, fed and cut back as needed. Guesses end where
     * its context does, or where it fails. Used by one answer at a time. */
    engine_session *session;
} engine_drafts;
/* MUGA_E_INPUT where the two vocabularies differ, naming the first token that does. */
MUGA_MUST_USE muga_status engine_draft_check(const engine *target, const engine *draft, muga_error *err);

/* A token of the text and how likely the model held it to be: the logarithm of softmax(logits), before mask, bias,
 * penalties and temperature, in nats; 0 for a forced one, which has no row. */
#define ENGINE_MAX_TOP 20
typedef struct engine_top {
    int32_t id;
    double logprob;
} engine_top;
typedef struct engine_token {
    int32_t id;
    bool is_forced;
    double logprob;
    const engine_top *top; /* [n_top] likeliest first, equal ones by id; of a forced token itself alone */
    uint32_t n_top;
    span bytes;      /* those of its bytes that the answer has: a stop string may cut it */
    size_t from, to; /* where they are in the whole text; ill-formed ones are U+FFFD there */
} engine_token;

typedef struct engine_generate_args {
    engine_session *session; /* with logits: the prompt was fed; or holding a beginning of `prompt` */
    const int32_t *prompt;   /* NULL: what the session holds */
    uint32_t n_prompt;
    const sampler_settings *sampling;
    uint32_t max_tokens;         /* 0 = what the context leaves */
    uint32_t cancel_at;          /* cancelled when it has so many tokens, as one was that is done again; 0 = no */
    const char *const *stop;     /* stop strings; not part of the text */
    size_t n_stop;               /* at most 64, each 1..1024 bytes */
    constrain_state *constraint; /* borrowed and advanced; NULL = free text */
    bool ignore_end;             /* end tokens don't stop it (debug greedy) */
    bool show_control;           /* control tokens stand in the text, names between two CONSTRAIN_CONTROL */
    engine_drafts drafts;
    /* Whole UTF-8 characters, ill-formed bytes as U+FFFD, never a part of a stop string. false cancels. May be NULL. */
    bool (*on_text)(void *ctx, const char *p, size_t n);
    void *on_text_ctx;
    /* Each token of the text that has bytes, in order, before the piece of text that its last byte is in; of one that
     * was cut, perhaps after the last piece. Control tokens are left out. May be NULL. */
    void (*on_token)(void *ctx, const engine_token *t);
    void *on_token_ctx;
    uint32_t n_top; /* likeliest tokens told with each; at most ENGINE_MAX_TOP */
    /* Each row a choice was made from, ascending positions; may not use the engine; may be NULL. */
    void (*on_choice)(void *ctx, uint32_t pos, const float *logits);
    void *on_choice_ctx;
    /* Work on the constraint begins, or ends: "mask", "forced text", or within or between those "following" a token. To
     * measure with. May be NULL. */
    void (*on_constraint)(void *ctx, const char *what, bool begins);
    void *on_constraint_ctx;
} engine_generate_args;
typedef struct engine_generated {
    str text;                       /* all of it, valid UTF-8 but for the marks of show_control */
    token_list ids;                 /* chosen and forced tokens, the end token included */
    uint32_t n_forced;              /* of them: bytes the constraint left no choice about, never projected */
    uint32_t n_drafted, n_accepted; /* guesses computed, and those that stood */
    engine_finish finish;
} engine_generated;
void engine_generated_release(engine_generated *g);
/* The session afterwards holds the prompt and all ids but possibly the last ones. */
MUGA_MUST_USE muga_status engine_generate(const engine_generate_args *a, engine_generated *out, muga_error *err);

/* log P(continuation | session) for several continuations, computed over forks in common steps. The session is
 * unchanged. logprob [n] nats. on_choice as above: rows of the prompt's last position first, then by continuation and
 * position. */
typedef struct engine_score_args {
    engine_session *session; /* with logits */
    const token_list *continuations;
    uint32_t n;
    void (*on_choice)(void *ctx, uint32_t pos, const float *logits);
    void *on_choice_ctx;
} engine_score_args;
MUGA_MUST_USE muga_status engine_score(const engine_score_args *a, double *logprob, muga_error *err);

/* ---- embedding ---- */
/* Numbers of a vector; 0 where the model makes none: it says how rows become one vector (<arch>.pooling_type), encoders
 * do so anyway. */
uint32_t engine_embed_dims(const engine *e);
/* Most tokens of a text. An encoder takes a text in one batch, other models in several. */
uint32_t engine_embed_limit(const engine *e);
/* One vector of length 1 a text: its rows' mean, its first or its last row, as the model has it. out [n][dims]. Texts
 * are tokenized with the model's own start and end. A text longer than the model can take is MUGA_E_LIMIT with both
 * numbers, never cut. A vector depends on the model and its text alone, not on the others. */
MUGA_MUST_USE muga_status engine_embed(engine *e, const span *texts, uint32_t n, float *out, muga_error *err);
MUGA_MUST_USE muga_status engine_embed_ids(engine *e, const token_list *texts, uint32_t n, float *out, muga_error *err);
/* The same beside others that use the engine: in steps of at most a batch, of a block while somebody else computes. */
typedef struct engine_embed_args {
    const token_list *texts; /* [n] */
    uint32_t n;
    bool any_model;             /* one that doesn't say how rows become a vector gives their mean, of n_embd numbers */
    bool (*on_step)(void *ctx); /* before each step; false: MUGA_E_CANCELLED. May be NULL */
    void *on_step_ctx;
} engine_embed_args;
MUGA_MUST_USE muga_status engine_embed_each(engine *e, const engine_embed_args *a, float *out, muga_error *err);

#endif
