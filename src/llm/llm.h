/* One interface to a language model: the local engine, one behind an HTTP endpoint (llm/remote.h), or a scripted one
 * for tests.
 * Above this face nobody sees a token, a tensor or a template. Messages are the JSON that chat clients use:
 * [{"role": "system|user|assistant|tool", "content": "..."}].
 *
 * Evidence is an opaque JSON object that proves what was computed; agent/ stores it unread, llm_replay recomputes it.
 *
 * Threads: any number may call one local model at the same time; what they get doesn't depend on it. Their answers are
 * computed in common steps, which one of the callers does for all of them. So the callbacks of a request (on_text,
 * on_event, on_prompt) may come from the thread of another caller. They come one after another, never two at the same
 * time of whatever requests of one model, those of one request in the order of its text. While one runs, no answer of
 * the model goes on; it may not call the model. The JSON of a request is used by one call at a time: jansson reads its
 * counts of references without a lock. A scripted or remote model is one thread's. */
#ifndef MUGA_LLM_H
#define MUGA_LLM_H

#include "base/json.h"
#include "constrain/constrain.h"

#include <stdatomic.h>

typedef struct llm_sampling {
    float temperature;                                         /* 0 = greedy */
    uint32_t top_k;                                            /* 0 = off */
    float top_p, min_p;                                        /* 1 and 0 = off */
    float repeat_penalty, presence_penalty, frequency_penalty; /* 1, 0, 0 = off */
    uint32_t penalty_last_n; /* window of the penalties, in tokens; 0 = off; LLM_PENALTY_ALL = the whole context */
    uint64_t seed;
    uint32_t choice, attempt;
    float typical_p; /* 1 and 0 = off */
} llm_sampling;
#define LLM_PENALTY_ALL UINT32_MAX
#define LLM_SAMPLING_GREEDY ((llm_sampling){0.0f, 0, 1.0f, 0.0f, 1.0f, 0.0f, 0.0f, 64, 0, 0, 0, 0.0f})

/* Added to a token's logit before anything is chosen, -100..100. -100: never; but where a constraint leaves only such
 * tokens, they stand, as if no bias were -100 there. */
typedef struct llm_bias {
    int32_t id;
    float bias;
} llm_bias;
#define LLM_MAX_BIAS 1024

#define LLM_MAX_PRIORITY 100 /* and its negative */

/* TOOL_CALLS: it ended by itself, and there are calls in it. */
typedef enum { LLM_FINISH_STOP, LLM_FINISH_LENGTH, LLM_FINISH_CANCELLED, LLM_FINISH_TOOL_CALLS } llm_finish;

/* What becomes of an answer that is split into reasoning, content and calls (docs/tools.md), as it comes. Texts are
 * whole UTF-8 characters. A call is CALL_BEGIN, ARGUMENTS..., CALL_END, and calls come one after another; one whose end
 * never came, because the answer was cancelled, is not in the reply. */
typedef enum {
    LLM_EVENT_CONTENT,
    LLM_EVENT_REASONING,
    LLM_EVENT_CALL_BEGIN,
    LLM_EVENT_ARGUMENTS, /* a piece of the JSON text of the arguments, as the model writes them */
    LLM_EVENT_CALL_END
} llm_event_kind;
typedef struct llm_event {
    llm_event_kind kind;
    const char *p; /* [n] of CONTENT, REASONING, ARGUMENTS */
    size_t n;
    uint32_t call;         /* of the three others: which one, from 0 */
    const char *id, *name; /* of that call */
} llm_event;
typedef struct llm_call {
    char *id, *name;
    char *arguments; /* canonical JSON (base/json.h) */
    json_t *value;   /* the same, read: an object */
} llm_call;

/* What an answer may do with the tools. SHOWN: nothing; the template has them, the answer is text as ever. Under all
 * others the answer is split (llm_event), and a call in it is of one of the tools, its arguments valid by that tool's
 * schema: nothing else can be written. */
typedef enum {
    LLM_TOOLS_SHOWN,
    LLM_TOOLS_AUTO,     /* text, then calls if the model wants some */
    LLM_TOOLS_REQUIRED, /* at least one call, no text before it */
    LLM_TOOLS_NAMED,    /* of this one tool: tool_name */
    LLM_TOOLS_NONE      /* none */
} llm_tool_choice;

/* What a template that knows of reasoning is told. OFF: none can be written either, where the answer is split. */
typedef enum { LLM_THINKING_DEFAULT, LLM_THINKING_ON, LLM_THINKING_OFF } llm_thinking;

/* A token of the content and how likely the model held it to be: log-probabilities in nats of the model's own
 * distribution, before constraint, biases, penalties and temperature. A token that a constraint forced was never
 * computed and has 0, itself alone among the likeliest. */
#define LLM_MAX_TOP 20
typedef struct llm_top {
    int32_t id;
    double logprob;
    const char *p; /* [n] its bytes; of a control token its name. Borrowed from the model */
    size_t n;
} llm_top;
typedef struct llm_token {
    int32_t id;
    double logprob;
    const char *p; /* [n] those of its bytes that the content has. Borrowed from the model */
    size_t n;
    const llm_top *top; /* [n_top] likeliest first, equal ones by id; borrowed for the call */
    size_t n_top;
    size_t from, to; /* for what stands between (llm/tokens.h): bytes of the text that complete gives */
} llm_token;

typedef struct llm_request llm_request;
struct llm_request {
    const json_t *messages; /* array; borrowed. NULL: a raw prompt */
    /* A raw prompt: no template. The text is tokenized with the beginning that the model's file asks for; names of
     * control tokens in it become these tokens where prompt_special says so, and else are plain text. UTF-8; p NULL:
     * none. Neither messages nor tools nor a prefix nor a split answer go with it. */
    span prompt_text;
    bool prompt_special;
    /* Ids before the text or before what the messages render to, whose own beginning-of-text token is then left out; or
     * all of a raw prompt. MUGA_E_INPUT: one that isn't in the vocabulary. */
    const int32_t *prompt_ids;
    size_t n_prompt_ids;
    const json_t *tools; /* array or NULL: {"type": "function", "function": F} or F itself, which is {"name",
                             * "description", "parameters"} */
    llm_tool_choice tool_choice;
    const char *tool_name;   /* of NAMED */
    bool one_call;           /* not several in one answer */
    const char *tool_format; /* the family whose form calls have (docs/tools.md); NULL: the one of the template */
    /* Split the answer into reasoning, content and calls, as every tool_choice but SHOWN does anyway. */
    bool split;
    llm_thinking thinking;
    uint32_t reasoning_tokens; /* most tokens of reasoning, its end included; 0: no limit. Only where it is split */
    const char *prefix;   /* text the assistant's answer begins with, or NULL (counted in neither text nor tokens) */
    const json_t *schema; /* constrains the answer; NULL = free text */
    const char *regex, *gbnf;         /* or one of these */
    const constrain_grammar *grammar; /* that constraint, compiled: set by llm_complete for what implements it */
    const constrain_source *sources;  /* for grounded values in schema */
    size_t n_sources;
    llm_sampling sampling;
    const llm_bias *logit_bias; /* at most LLM_MAX_BIAS */
    size_t n_logit_bias;
    uint32_t max_tokens;     /* 0 = what the context leaves */
    const char *const *stop; /* stop strings, not part of the text */
    size_t n_stop;
    /* Where the answer is split: what becomes of it; and content alone goes to on_text where this is NULL. Return false
     * to cancel. Where arguments are re-validated (docs/constraint.md), all of it comes at once at the end. */
    bool (*on_event)(void *ctx, const llm_event *e);
    void *on_event_ctx;
    /* Streamed text: whole UTF-8 characters. Return false to cancel. May be NULL. Where the schema is re-validated
     * (docs/constraint.md), the whole text comes at once, and before it calls with n 0. */
    bool (*on_text)(void *ctx, const char *p, size_t n);
    void *on_text_ctx;
    /* Each token of the content (not of reasoning, of calls, of what is behind a stop string), before the piece of text
     * or the event that its last byte goes out with; one that is cut at the content's end, perhaps behind that. Their
     * bytes are the content's. May be NULL. */
    void (*on_token)(void *ctx, const llm_token *t);
    void *on_token_ctx;
    uint32_t top_logprobs; /* likeliest tokens told with each; at most LLM_MAX_TOP */
    /* Between stretches of a long prompt, and before the first. Return false to cancel: MUGA_E_CANCELLED. May be NULL.
     */
    bool (*on_prompt)(void *ctx, uint32_t n_done, uint32_t n_prompt);
    void *on_prompt_ctx;
    /* Another thread may set it at any time: the request ends before the next step, as LLM_FINISH_CANCELLED, or as
     * MUGA_E_CANCELLED where nothing of the answer is there yet, also while it waits behind others. Borrowed; may be
     * NULL. */
    const atomic_bool *cancelled;
    int priority;  /* higher goes first (engine/sched.h); -LLM_MAX_PRIORITY..LLM_MAX_PRIORITY. It changes no answer */
    bool want_ids; /* of prompt and answer, in the reply */
    bool want_evidence;
    int64_t now_ms; /* what a template that asks for the date is told (UTC); part of the evidence */
    /* Whose prompt it is: what was computed of it is of use to this tenant's prompts alone. At most 255 bytes; NULL =
     * "". It changes no answer and is not in the evidence. */
    const char *tenant;

    /* Set by llm_complete, for what implements it: */
    const llm_request *asked; /* what the evidence has, where it isn't this request; or NULL */
    bool plain_prompt;        /* of render: without marks between the parts of a control token's name */
    bool show_control;        /* control tokens stand in the text, as in engine_generate_args */
    uint32_t n_texts;         /* cancelled after so many pieces of text, as the recorded answer was; 0: no */
    uint32_t n_tokens;        /* likewise, after so many tokens */
};

typedef struct llm_reply {
    str text;      /* where the answer is split, its content */
    str reasoning; /* where it is split */
    llm_call *calls;
    size_t n_calls;
    llm_finish finish;
    const char *stopped_by; /* where it is split: the stop string that ended it, borrowed from the request; or NULL */
    uint32_t n_prompt, n_prompt_cached, n_generated; /* tokens */
    uint32_t n_forced;                               /* of those generated: the constraint left no choice */
    uint32_t n_drafted, n_accepted;                  /* guesses computed, and those that stood */
    uint32_t n_attempts; /* 1; more where the schema was re-validated: numbers and times of the answer are of all */
    uint64_t prompt_us, generate_us;
    int32_t *prompt_ids, *ids; /* [n_prompt], [n_ids] where they were wanted, else NULL; ids of the last attempt */
    size_t n_ids;
    json_t *evidence; /* new reference or NULL */
} llm_reply;
void llm_reply_release(llm_reply *r);

/* Score each label as the assistant's whole answer after `prefix`: sum of log-probabilities of its tokens (nats),
 * plus the end of turn. One prefill shared by all labels. */
typedef struct llm_score_request {
    const json_t *messages;
    const json_t *tools;
    const char *prefix;
    const char *const *labels;
    size_t n_labels;
    bool with_end; /* include the end-of-turn token */
    bool want_evidence;
    int64_t now_ms;     /* as in llm_request */
    const char *tenant; /* likewise */
} llm_score_request;
typedef struct llm_score_reply {
    double *logprob;    /* [n_labels] nats */
    uint32_t *n_tokens; /* [n_labels] */
    uint32_t n_prompt, n_prompt_cached;
    uint64_t total_us;
    json_t *evidence;
} llm_score_reply;
void llm_score_reply_release(llm_score_reply *r);

/* Texts to vectors, by embedding models and by any other: the mean of the last layer's rows, where the file doesn't say
 * otherwise (docs/engine.md). A vector depends on the model and its text alone. */
typedef struct llm_ids {
    const int32_t *ids; /* [n] */
    size_t n;
} llm_ids;
typedef struct llm_embed_request {
    const span *texts;  /* [n] tokenized with the model's own beginning and end; or */
    const llm_ids *ids; /* [n] */
    size_t n;
    bool truncate;                /* of a text that is too long the first tokens; else MUGA_E_LIMIT with both numbers */
    const atomic_bool *cancelled; /* as in llm_request: MUGA_E_CANCELLED before the next step */
} llm_embed_request;
typedef struct llm_embed_reply {
    uint32_t n_dims;
    float *vectors;       /* [n][n_dims], each of length 1 */
    uint32_t *n_tokens;   /* [n] that were computed */
    uint32_t n_truncated; /* texts that were cut */
    uint64_t total_us;
} llm_embed_reply;
void llm_embed_reply_release(llm_embed_reply *r);

/* What the steps of a local model have done, and the memory it takes; all zero for others. Of all handles together. */
typedef struct llm_counts {
    uint32_t n_running, n_waiting; /* requests; running ones hold memory */
    uint64_t n_steps, n_done, n_failed, n_cancelled;
    uint64_t step_rows[13]; /* steps by the rows computed in them: 1, 2, up to 4, up to 8 .. 2048, more */
    uint64_t n_preempted;   /* times one lost its memory to another */
    uint64_t n_prompt;      /* tokens of prompts that were begun; of them */
    uint64_t n_adopted;     /* were there already, from earlier ones; what is computed: */
    uint64_t n_prompt_rows, n_answer_rows; /* rows, those computed again after a loss and guesses included */
    uint64_t kv_bytes, kv_idle_bytes; /* keys and values there are; of them those that nobody uses but later prompts */
    uint64_t kv_max_bytes;            /* llm_local_options.kv_bytes */
    uint64_t kv_page_bytes;           /* of 64 tokens */
    uint64_t kv_taken;                /* tokens that were there already, of prompts to answer and to score */
    uint64_t kv_evicted;              /* times that idle ones were given up for room */
    uint64_t weight_bytes;            /* resident */
} llm_counts;

typedef struct llm llm;
struct toolcall_model; /* llm/toolcall.h */
struct grammars;       /* llm/grammars.h */
typedef struct llm_table {
    muga_status (*complete)(llm *m, const llm_request *q, llm_reply *out, muga_error *err);
    muga_status (*score)(llm *m, const llm_score_request *q, llm_score_reply *out, muga_error *err);
    /* Tokens of the messages rendered, for limits and compaction. */
    muga_status (*count)(llm *m, const json_t *messages, const json_t *tools, uint32_t *n_tok, muga_error *err);
    /* Recompute evidence made by complete or score: E_NEGATIVE with what differs when a bit is different. */
    muga_status (*replay)(llm *m, const json_t *evidence, muga_error *err);
    /* What answers depend on beside the request: the model's digest and settings; a new object. */
    muga_status (*identify)(llm *m, json_t **out, muga_error *err);
    void (*free)(llm *m);
    /* How its answers are split: borrowed while the model lives. NULL: nothing is known, so the generic form. */
    muga_status (*form)(llm *m, const struct toolcall_model **out, muga_error *err);
    /* The prompt as text, appended. NULL: it has none. */
    muga_status (*render)(llm *m, const llm_request *q, str *out, muga_error *err);
    /* complete of a request whose answer is split, for who gets content, reasoning and calls apart anyway. NULL: the
     * text that complete gives is taken apart (llm/answer.c). */
    muga_status (*complete_split)(llm *m, const llm_request *q, llm_reply *out, muga_error *err);
    /* What only a model with a vocabulary of its own here can do; NULL: MUGA_E_USAGE. */
    muga_status (*embed)(llm *m, const llm_embed_request *q, llm_embed_reply *out, muga_error *err);
    muga_status (*tokenize)(llm *m, span text, bool beginning, bool special, int32_t **ids, size_t *n, muga_error *err);
    muga_status (*detokenize)(llm *m, const int32_t *ids, size_t n, bool special, str *out, muga_error *err);
    muga_status (*describe)(llm *m, json_t **out, muga_error *err);
    void (*get_counts)(llm *m, llm_counts *out); /* NULL: there are none */
    muga_status (*adapt)(llm *m, const char *adapter, float scale, llm **out, muga_error *err); /* llm_local_adapt */
} llm_table;
/* Every implementation begins with this. */
struct llm {
    const llm_table *table;
    const char *name;              /* model name as the user gave it */
    uint32_t n_ctx;                /* tokens of context */
    bool has_adapter;              /* one changes all that it computes */
    const char *template_fallback; /* the chat form that stands in where the model's file has no template; or NULL */
    struct grammars *grammars;     /* compiled constraints, kept for later requests; NULL: none are */
    const char *packed;            /* what became of the packed file (engine_packed); NULL or "": nothing to say */
};

MUGA_MUST_USE muga_status llm_complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err);
bool llm_is_cancelled(const llm_request *q); /* its flag is set */
MUGA_MUST_USE muga_status llm_score(llm *m, const llm_score_request *q, llm_score_reply *out, muga_error *err);
MUGA_MUST_USE muga_status llm_count(llm *m, const json_t *messages, const json_t *tools, uint32_t *n_tok,
                                    muga_error *err);
/* m may be NULL where the evidence needs no model. */
/* The prompt of q as text, appended: messages through the template, with the tools as the model is told of them. */
MUGA_MUST_USE muga_status llm_render(llm *m, const llm_request *q, str *out, muga_error *err);
/* MUGA_E_INPUT: an id that isn't in the vocabulary. E_USAGE: the model isn't a local one, or has an adapter. */
MUGA_MUST_USE muga_status llm_embed(llm *m, const llm_embed_request *q, llm_embed_reply *out, muga_error *err);
/* *ids is the caller's to free. beginning: with the tokens that the model's file asks for before a text; special: names
 * of control tokens become these tokens, else they are plain text. */
MUGA_MUST_USE muga_status llm_tokenize(llm *m, span text, bool beginning, bool special, int32_t **ids, size_t *n,
                                       muga_error *err);
/* The bytes of the ids, appended: not always UTF-8. special: control tokens by their names, else they are left out. */
MUGA_MUST_USE muga_status llm_detokenize(llm *m, const int32_t *ids, size_t n, bool special, str *out, muga_error *err);
/* What a local model is; new: {"architecture", "parameters", "quantization", "bytes" (of its file), "n_ctx",
 * "n_ctx_train", "n_vocab", "n_embd", "n_layer", "template", "template_fallback", "capabilities": [of "completion",
 * "tools", "thinking", "embedding"], "tensors": [{"name", "type", "shape"}], "metadata": {the file's keys; long arrays
 * are null}}. */
MUGA_MUST_USE muga_status llm_describe(llm *m, json_t **out, muga_error *err);
llm_counts llm_get_counts(llm *m); /* from any thread */
uint64_t llm_memory_bytes(llm *m); /* weights, keys and values, as they are now */
MUGA_MUST_USE muga_status llm_replay(llm *m, const json_t *evidence, muga_error *err);
bool llm_needs_model(const json_t *evidence);
MUGA_MUST_USE muga_status llm_identify(llm *m, json_t **out, muga_error *err);
void llm_free(llm *m);

/* ---- where nothing is left to decide (llm/only.c) ---- */
/* The value that a model under this schema would write, whichever model it is, because the schema and the grounded
 * values leave no other; with evidence that replays without a model. New references; both NULL: there are several
 * values, or one that can be written in several ways, so a model is to be asked. MUGA_E_NEGATIVE, E_INPUT: as of
 * llm_complete, no value is possible or the schema can't be enforced. */
MUGA_MUST_USE muga_status llm_only_value(const json_t *schema, const constrain_source *sources, size_t n_sources,
                                         json_t **value, json_t **evidence, muga_error *err);

/* ---- local engine (llm/local.c) ---- */
/* Where guesses at the next tokens come from (docs/engine.md). They change no answer and are not in the evidence. */
typedef enum { LLM_DRAFTS_NGRAM, LLM_DRAFTS_OFF, LLM_DRAFTS_MODEL } llm_drafts;
typedef struct llm_local_options {
    uint32_t n_ctx;               /* 0 = the model's own, at most 8192 */
    int n_threads;                /* 0 = cores this process may use */
    int isa;                      /* kernel_isa, or -1 = best */
    bool exact;                   /* f32 activations instead of int8 */
    int kv;                       /* kernel_kv_type: how keys and values are kept; 0 = f16 */
    const char *const *overrides; /* of metadata (gguf.h); borrowed while the model lives; part of the evidence */
    size_t n_overrides;
    const char
        *template_source; /* a chat template (Jinja) in place of the file's; MUGA_E_INPUT where it doesn't compile.
                                  * Borrowed for the call; part of the evidence */
    uint64_t kv_bytes;    /* most bytes of keys and values; 0 = half of the memory there is */
    const char *adapter;  /* path of a LoRA adapter (docs/adapters.md), for all that the model computes; NULL = none */
    float adapter_scale;  /* its strength, usually 1; adapter and scale are part of the evidence */
    bool any_base;      /* also an adapter (this one, later ones of llm_local_adapt) that names another file as the one
                          * it was trained on: E_INPUT without this, since it would answer as nobody measured */
    const char *sha256; /* 64 hex digits of the file that the model store vouches for (hub_vouched_sha256); NULL: the
                         * file is read through when evidence is first wanted */
    const char *packed, *packed_source; /* as the engine's options have it; borrowed for the call */
    llm_drafts drafts;
    const char *draft_path;                         /* of DRAFTS_MODEL: a smaller model of the same vocabulary */
    const char *draft_packed, *draft_packed_source; /* its packed file */
    void (*on_progress)(void *ctx, double done);    /* 0..1 while loading; may be NULL */
    void *on_progress_ctx;
    void (*on_constraint)(void *ctx, const char *what, bool begins); /* as engine_generate_args has it; may be NULL */
    void *on_constraint_ctx;
} llm_local_options;
MUGA_MUST_USE muga_status llm_local_open(const char *path, const char *name, const llm_local_options *o, llm **out,
                                         muga_error *err);

/* Another handle of the same model, whose answers are computed with this adapter (a path; NULL: with none) at this
 * strength. Weights, prefix cache and scheduler are one: requests by any handle run in common steps, and each gets the
 * bits that it gets alone. Handles are freed in any order. E_USAGE: the model isn't a local one. Of a
 * metered one (llm/meter.h) the handle's questions are counted by that meter. */
MUGA_MUST_USE muga_status llm_local_adapt(llm *m, const char *adapter, float scale, llm **out, muga_error *err);

/* Keep the conversation that the local engine computed last in a file, with its messages; and take it up again, so that
 * what it says is not computed anew. MUGA_E_NOT_FOUND: there is no such file. E_INPUT: it is damaged, or of another
 * model or settings, which the message names (engine/saved.h). *messages is a new array of {"role", "content"}. */
MUGA_MUST_USE muga_status llm_local_save(llm *m, const char *path, const json_t *messages, muga_error *err);
MUGA_MUST_USE muga_status llm_local_restore(llm *m, const char *path, json_t **messages, muga_error *err);

/* ---- scripted (llm/scripted.c): answers are taken in turn from a JSON array; for tests ----
 * Each entry: {"text": "..."} | {"calls": [{"name", "arguments"}] [, "text"] [, "reasoning"]} |
 * {"error": "status name", "message"} | {"scores": [..]} | {"cancel": true}.
 * Constrained requests still pass the constraint: a scripted text that violates the schema is MUGA_E_INPUT ("fully
 * hijacked model" tests need the executor to be the last word, so "raw": true skips even that). */
MUGA_MUST_USE muga_status llm_scripted_new(const json_t *script, llm **out, muga_error *err);
/* What the scripted model was asked so far: array of {"messages", "schema", "prefix", "labels", "tenant"}; borrowed. */
const json_t *llm_scripted_requests(const llm *m);
#endif
