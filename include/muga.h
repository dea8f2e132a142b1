/* muga: agents on small language models, on the machine where the data is.
 *
 * The one public header: a stable C ABI for embedders. Three kinds of object:
 *
 *   muga_model    a loaded GGUF model; may be shared by threads, which take turns on it
 *   muga_chat     one conversation over a model; one thread at a time
 *   muga_agent    an agent folder and its session: tools, policy, journal, audit; one thread at a time
 *
 * The library never exits, prints, reads the environment or installs a signal handler. Every call that can
 * fail returns a muga_status and, where `err` is not NULL, fills in what, where and what to do about it.
 * Strings are UTF-8 and terminated. Objects are freed by the function named after them; NULL is accepted there.
 * Options structs: zero them and set what you need; 0 is each member's default. examples/embed.c shows all of it.
 */
#ifndef MUGA_H
#define MUGA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_MUGA_BUILD)
#define MUGA_API __attribute__((visibility("default")))
#else
#define MUGA_API
#endif
#define MUGA_MUST_USE __attribute__((warn_unused_result))

/* Values are part of the ABI: append only. */
typedef enum muga_status {
    MUGA_OK = 0,
    MUGA_E_NEGATIVE = 1,   /* a check ran and its verdict is no (verify, test) */
    MUGA_E_USAGE = 2,      /* the caller's arguments are wrong */
    MUGA_E_NOT_FOUND = 3,  /* the named thing does not exist */
    MUGA_E_INPUT = 4,      /* data from outside is malformed or out of range */
    MUGA_E_POLICY = 5,     /* held for approval, or refused by policy */
    MUGA_E_ENV = 6,        /* disk, right, feature or network of this machine is missing */
    MUGA_E_NOMEM = 7,      /* an allocation failed */
    MUGA_E_LIMIT = 8,      /* a stated limit (context, steps, tokens, output) was reached */
    MUGA_E_CANCELLED = 9,  /* the caller's callback asked to stop */
    MUGA_E_NONFINITE = 10, /* the model computed NaN or infinity */
    MUGA_E_INTERNAL = 11   /* a defect in muga; please report it */
} muga_status;

/* Caller-owned error detail. `message` is always terminated; it says what, where, and what to do. */
typedef struct muga_error {
    muga_status status;
    char message[256];
} muga_error;

/* "0.1.0" */
MUGA_API const char *muga_version(void);

/* ---- model ---- */
typedef struct muga_model muga_model;

typedef struct muga_model_options {
    uint32_t n_ctx;     /* tokens of context; 0 = the model's own, at most 8192 */
    uint32_t n_threads; /* 0 = the cores this process may use */
    uint32_t exact;     /* 1: f32 activations instead of int8: slower, and closer to the unquantised model */
    void (*on_progress)(void *ctx, double done); /* 0..1 while loading; may be NULL */
    void *on_progress_ctx;
    const char *packed; /* file that holds the weights as they are computed with: made when it isn't there or is another
                           model's, else mapped, so that a start takes milliseconds. Its folder must exist. NULL: they
                           are packed in memory at each start */
    const char *kv;     /* how keys and values are kept: "f16" (NULL), "f32", "q8" */
    const char *adapter; /* a LoRA adapter (GGUF) for all that is computed; NULL = none */
    float adapter_scale; /* 0 = 1 */
    uint32_t any_base;   /* 1: also adapters that name another file as the one they were trained on */
} muga_model_options;

/* Load a GGUF file. `options` may be NULL. MUGA_E_INPUT names what is wrong with the file. It stays mapped while the
 * model is open: put a new one in its place by renaming. Written to, it gives MUGA_E_ENV; cut short, a SIGBUS. */
MUGA_API MUGA_MUST_USE muga_status muga_model_open(const char *path, const muga_model_options *options,
                                                   muga_model **out, muga_error *err);
/* Another model over the same weights, which lie in memory once: its answers are computed with this adapter, `scale`
 * strong (0 = 1); adapter NULL: with none. Each of them may be used by a thread of its own at the same time, their
 * tokens are computed in common steps, and nobody's bits change for it. Freed in any order. */
MUGA_API MUGA_MUST_USE muga_status muga_model_adapt(muga_model *m, const char *adapter, float scale, muga_model **out,
                                                    muga_error *err);
MUGA_API void muga_model_free(muga_model *m);          /* after all its chats and agents */
MUGA_API uint32_t muga_model_ctx(const muga_model *m); /* tokens of context */

/* ---- chat ---- */
typedef struct muga_chat muga_chat;

typedef struct muga_chat_options {
    const char *system; /* system message; NULL = the template's own default */
    float temperature;  /* 0 = greedy: the same question gives the same answer */
    float top_p, min_p; /* 0 = off */
    uint32_t top_k;     /* 0 = off */
    uint64_t seed;
    uint32_t max_tokens; /* of one answer; 0 = what the context leaves */
    const char *schema;  /* JSON Schema as text: every answer is valid under it; NULL = free text */
} muga_chat_options;

/* MUGA_E_INPUT: the schema can't be enforced (named), or text is not UTF-8. */
MUGA_API MUGA_MUST_USE muga_status muga_chat_new(muga_model *m, const muga_chat_options *options, muga_chat **out,
                                                 muga_error *err);
MUGA_API void muga_chat_free(muga_chat *c);

/* Ask, and stream the answer: on_text gets whole UTF-8 characters, n bytes, and returns 0 to stop (MUGA_E_CANCELLED).
 * It may be NULL. *answer (may be NULL) borrows the whole answer until the next call. A failed or cancelled turn leaves
 * the history as it was. MUGA_E_LIMIT: the conversation has outgrown the context; nothing is cut. */
MUGA_API MUGA_MUST_USE muga_status muga_chat_ask(muga_chat *c, const char *question,
                                                 int (*on_text)(void *ctx, const char *text, size_t n), void *ctx,
                                                 const char **answer, muga_error *err);
/* 1: the last answer that muga_chat_ask gave ends where max_tokens or the context ended, not where the model would. */
MUGA_API int muga_chat_was_cut(const muga_chat *c);

/* ---- agent ---- */
typedef struct muga_agent muga_agent;

typedef struct muga_agent_options {
    const char *home;      /* folder of muga.db: journal, approvals, audit; required */
    const char *session;   /* JSON object for the manifest's session: values; NULL = {} */
    const char *data_dir;  /* where the tools' databases lie; NULL = home/data/NAME, made from the agent's scripts */
    const char *requester; /* who begins the session, for manifests that say `not: requester`; NULL = not known */
    const char *resume;    /* the id of a session to go on with, after a restart or a crash, with the values that it was
                              begun with; NULL = a new one. MUGA_E_NOT_FOUND: there is none */
} muga_agent_options;

/* What happens while the agent works on a message. `json` is an object, terminated, valid during the call:
 * {"event": "message" | "percept" | "decision" | "rule" | "plan" | "call" | "result" | "held" | "guard" |
 * "escalation" | "answer", "data": {...}}. The data of "held", to show whoever decides: {"call", "approval", "tool",
 * "arguments", "reason", "expires_ms"}; of others: docs/embedding.md. */
typedef void (*muga_agent_event)(void *ctx, const char *json);

/* Open the agent in `folder` (its agent.yaml) with a session, a new one unless options->resume names one. The adapter
 * that its manifest names is used, unless `m` has one already. Any number of agents over one model, each with its own
 * expert, hold its weights once. `m` may be NULL for an agent that acts by rules (kind: reflex, kind: model). */
MUGA_API MUGA_MUST_USE muga_status muga_agent_open(const char *folder, muga_model *m, const muga_agent_options *options,
                                                   muga_agent **out, muga_error *err);
MUGA_API void muga_agent_free(muga_agent *a); /* the session stays in the store */
/* Its session's id, to resume it by; borrowed as long as the agent is open. */
MUGA_API const char *muga_agent_session(const muga_agent *a);
/* One message of the person the session is with, or one percept (a JSON object) of an agent that acts by rules.
 * MUGA_OK: *answer (borrowed until the next call) is what to tell them; of a percept it may be "".
 * MUGA_E_POLICY: a call is held; muga_agent_approve decides it, muga_agent_resume goes on. */
MUGA_API MUGA_MUST_USE muga_status muga_agent_say(muga_agent *a, const char *message, muga_agent_event on_event,
                                                  void *ctx, const char **answer, muga_error *err);
/* Decide the held call. `approver` is who, for the record and for manifests that name roles: home/approvers.yaml says
 * who holds them, and the caller must be sure of the name. MUGA_E_POLICY: they may not say yes; the call goes on
 * waiting. The yes is good for these arguments, once. */
MUGA_API MUGA_MUST_USE muga_status muga_agent_approve(muga_agent *a, int yes, const char *approver, muga_error *err);
/* Go on with what a held call that was decided, or a crash, left to do. MUGA_E_POLICY: the call still waits; so it is
 * with a session that was resumed, and now it can be approved. MUGA_E_NOT_FOUND: nothing is left to do. */
MUGA_API MUGA_MUST_USE muga_status muga_agent_resume(muga_agent *a, muga_agent_event on_event, void *ctx,
                                                     const char **answer, muga_error *err);

#ifdef __cplusplus
}
#endif
#endif
