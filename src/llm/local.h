/* Private to llm/: the parts of the local engine's implementation (local.c, prompt.c, evidence.c). */
#ifndef MUGA_LLM_LOCAL_H
#define MUGA_LLM_LOCAL_H

#include "base/hash.h"
#include "engine/sched.h"
#include "llm/toolcall.h"

#include <pthread.h>

typedef struct local_caller local_caller; /* steps.c */

/* What the handles of one model have in common: the weights, the scheduler, and who of their callers computes. */
typedef struct local_shared {
    engine *engine;
    engine_drafts drafts; /* their session is of draft_engine */
    engine *draft_engine; /* or NULL */
    sched *sched;
    struct grammars *grammars;

    pthread_mutex_t lock; /* guards what follows */
    uint32_t n_handles;   /* the last one that is freed takes all this with it */
    local_caller *callers;
    bool is_driven;    /* one of them does a step */
    bool drafts_taken; /* their session is used by an answer */
} local_shared;

typedef struct local {
    llm base;
    local_shared *shared;
    engine *engine;          /* of shared */
    engine_adapter *adapter; /* of every session; NULL = none */
    float adapter_scale;
    bool any_base; /* llm_local_options */
    void (*on_constraint)(void *ctx, const char *what, bool begins);
    void *on_constraint_ctx;
    char *name, *path;
    pthread_mutex_t identity_lock; /* guards the two digests until they are made; they never change then */
    char model_sha256[SHA256_HEX]; /* from the store, or "" until evidence is first wanted */
    char template_sha256[SHA256_HEX];
    pthread_mutex_t form_lock; /* guards the form until it is made; it never changes then */
    toolcall_model *form;

    pthread_mutex_t lock; /* guards what follows up to the names */
    /* A conversation read from a file: no prompt of others begins with it in the cache, since nothing proves its
     * pages (engine/saved.h). NULL = none; or a caller is going on from it and brings it back. */
    engine_session *restored;
    token_list last; /* ids of the conversation that was computed last, */
    char *last_tenant;

    span *controls; /* [n_control] names of the control tokens */
    uint32_t n_control;
    size_t longest_control;  /* bytes of the longest name */
    bool control_first[256]; /* some name begins with this byte */
} local;

/* ---- local.c ---- */
/* An empty session with the model's adapter. tenant NULL: it doesn't share. */
MUGA_MUST_USE muga_status local_session_new(const local *l, const char *tenant, engine_session **out, muga_error *err);

/* ---- steps.c ---- */
typedef struct local_answer {
    engine_generated made; /* the caller's, also after an error */
    uint32_t n_adopted;
} local_answer;
/* The request (its on_done is set here) is over when this returns. From any number of threads at the same time; all
 * callbacks of all of them come one after another, from the thread of one of them. cancelled: as in llm_request. */
MUGA_MUST_USE muga_status local_run(local *l, const sched_request *r, const atomic_bool *cancelled, local_answer *out,
                                    muga_error *err);

/* ---- resume.c ---- */
/* The session that was restored from a file, where these ids go on from at least half of it; then it is the caller's,
 * until local_give_back. NULL: there is none, or this is another conversation, which ends that one. */
engine_session *local_take_restored(local *l, const char *tenant, const token_list *ids);
void local_give_back(local *l, engine_session *restored); /* NULL is fine */
/* What was just computed, for who saves the conversation: prompt, then the answer's. Takes the prompt. */
void local_remember(local *l, const char *tenant, token_list *prompt, const token_list *answer);

/* ---- prompt.c ---- */
typedef struct local_prompt {
    const json_t *messages, *tools; /* messages NULL: a raw prompt */
    const char *prefix;
    int64_t now_ms;
    llm_thinking thinking;
    size_t n_messages; /* only the first so many are rendered; 0 = all */
    bool closed;       /* nobody is to answer: no generation prompt */
    span text;         /* this and the rest as in llm_request */
    bool special;
    const int32_t *ids;
    size_t n_ids;
} local_prompt;
local_prompt local_prompt_of(const llm_request *q);
/* MUGA_E_INPUT names the first id that isn't in the vocabulary. what: "the prompt". */
MUGA_MUST_USE muga_status local_check_ids(const local *l, const int32_t *ids, size_t n, const char *what,
                                          muga_error *err);
/* What prompt.c needs to know of the vocabulary. */
MUGA_MUST_USE muga_status local_prompt_prepare(local *l, muga_error *err);
/* The request's prompt as ids. Messages are rendered and tokenized; control tokens come from the template's own text
 * alone: text in messages, tools or prefix that spells one is plain text. Appends to ids. */
MUGA_MUST_USE muga_status local_prompt_encode(local *l, const local_prompt *p, token_list *ids, muga_error *err);

/* Text without a template. beginning: with the token that the model's file asks for at a text's beginning; special:
 * names of control tokens become these. Appends to ids. */
MUGA_MUST_USE muga_status local_raw_encode(const tokenizer *t, span text, bool beginning, bool special, token_list *ids,
                                           muga_error *err);

/* The same as text; between control tokens' names that text only spells stand noncharacters. Appends. */
MUGA_MUST_USE muga_status local_prompt_render(local *l, const local_prompt *p, str *out, muga_error *err);

/* The same for people to read: without those. Ids before it as what they stand for. */
MUGA_MUST_USE muga_status local_prompt_text(local *l, const local_prompt *p, str *out, muga_error *err);

/* A rendered prompt with its barriers. Those of the same messages and tools have the same one, whatever n_messages and
 * closed are, so that one text can be seen to be the beginning of another. */
typedef struct local_text {
    str text; /* release it, on failure too */
    char mark[4];
    bool marked; /* there are barriers in it */
} local_text;
MUGA_MUST_USE muga_status local_text_render(local *l, const local_prompt *p, local_text *out, muga_error *err);
MUGA_MUST_USE muga_status local_text_encode(local *l, const local_text *t, token_list *ids, muga_error *err);

/* ---- vectors.c, vocabulary.c ---- */
muga_status local_embed(llm *m, const llm_embed_request *q, llm_embed_reply *out, muga_error *err);
muga_status local_tokenize(llm *m, span text, bool beginning, bool special, int32_t **ids, size_t *n, muga_error *err);
muga_status local_detokenize(llm *m, const int32_t *ids, size_t n, bool special, str *out, muga_error *err);
muga_status local_describe(llm *m, json_t **out, muga_error *err);
void local_counts(llm *m, llm_counts *out);

/* ---- form.c ---- */
muga_status local_form(llm *m, const toolcall_model **out, muga_error *err);
muga_status local_render(llm *m, const llm_request *q, str *out, muga_error *err);

/* ---- evidence.c ---- */
/* Digests of the model and its template, made when they are first asked for. From any thread. */
MUGA_MUST_USE muga_status local_identify(local *l, muga_error *err);
/* Digest of the logits rows that choices were made from. */
typedef struct local_digest {
    sha256 hash;
    uint32_t n_vocab, n_rows;
} local_digest;
void local_digest_row(void *digest, uint32_t pos, const float *logits); /* on_choice of the engine */

typedef struct local_evidence {
    const llm_request *complete; /* one of the two */
    const llm_score_request *score;
    const token_list *prompt;
    const token_list *output; /* [1] of complete, [n_labels] of score */
    const double *logprob;    /* [n_labels] of score */
    local_digest *digest;
    llm_finish finish;
    uint32_t n_texts; /* pieces of text given out; where a cancelled answer ended */
    bool by_flag;     /* or it ended between two, by llm_request.cancelled */
} local_evidence;
MUGA_MUST_USE muga_status local_evidence_new(local *l, const local_evidence *e, json_t **out, muga_error *err);
muga_status local_identity(llm *m, json_t **out, muga_error *err);
muga_status local_replay(llm *m, const json_t *evidence, muga_error *err);

#endif
