/* muga.h: agents, over agent/. One handle is one session; what it holds is released in the reverse order. */
#include "agent/agent.h"

#include "agent/dataset.h"
#include "agent/intent.h"
#include "agent/learning.h"
#include "agent/loop.h"
#include "api/internal.h"
#include "base/mem.h"
#include "muga.h"

#ifndef MUGA_LAUNCHER
#define MUGA_LAUNCHER "/usr/local/bin/muga" /* the program whose launcher sandboxes need */
#endif

struct muga_agent {
    agent_env env;
    muga_model *model; /* NULL: it acts by rules */
    llm *expert;       /* the model with the manifest's adapter; or NULL */
    store *store;
    manifest *manifest;
    intent *intent;
    learned *learned; /* past successes that have a voice; NULL: none */
    agent_session *session;
    agent_loop *loop;
    char *home;                   /* env.approvers */
    atomic_bool sandbox_tried;    /* env.sandbox_tried */
    char approval[AGENT_ID_SIZE]; /* of the held call, or "" */
    str answer;
    muga_agent_event on_event;
    void *on_event_ctx;
};

static void pass_event(void *ctx, const char *kind, const json_t *data) {
    const muga_agent *a = ctx;
    str text = STR_INIT;
    if (!a->on_event)
        return;
    json_t *event = json_pack("{s:s, s:O}", "event", kind, "data", data);
    if (event)
        json_write(event, &text);
    if (event && !text.failed)
        a->on_event(a->on_event_ctx, str_get(&text));
    json_decref(event);
    str_release(&text);
}

static muga_status open_store(muga_agent *a, const char *home, muga_error *err) {
    str path = STR_INIT;
    muga_status st = a->env.files->mkdirs(a->env.files->self, home, err);
    if (!st) {
        str_printf(&path, "%s/muga.db", home);
        st = str_status(&path, err, "store path");
    }
    if (!st)
        st = store_open(str_get(&path), NULL, &a->store, err);
    str_release(&path);
    return st;
}

/* The tools' databases: where the caller says, else HOME/data/FOLDER-NAME; made from the agent's scripts the first
 * time. */
static muga_status open_manifest(muga_agent *a, const char *folder, const muga_agent_options *o, muga_error *err) {
    str path = STR_INIT;
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && folder[from - 1] != '/')
        from--;
    if (o->data_dir)
        str_append_s(&path, o->data_dir);
    else
        str_printf(&path, "%s/data/%.*s", o->home, (int)(n - from), folder + from);
    muga_status st = str_status(&path, err, "data folder");
    if (!st)
        st = dataset_prepare(&a->env, folder, str_get(&path), err);
    if (!st)
        st = manifest_load(&a->env, folder, str_get(&path), &a->manifest, err);
    str_release(&path);
    return st;
}

static muga_status open_session(muga_agent *a, const char *values_text, const char *requester, muga_error *err) {
    json_t *values = NULL, *info = requester ? json_pack("{s:s}", "requester", requester) : NULL;
    muga_status st = requester && !info ? error_set(err, MUGA_E_INPUT, "requester: no UTF-8 text, or out of memory")
                                        : json_parse(values_text, strlen(values_text), "session", &values, err);
    if (!st)
        st = session_new(&a->env, a->store, a->manifest, values, info, &a->session, err);
    json_decref(info);
    json_decref(values);
    return st;
}

muga_status muga_agent_open(const char *folder, muga_model *m, const muga_agent_options *options, muga_agent **out,
                            muga_error *err) {
    *out = NULL;
    if (!options || !options->home)
        return error_set(err, MUGA_E_USAGE, "muga_agent_options.home is required: the folder of journal and audit");
    muga_agent *a = calloc(1, sizeof *a);
    if (!a)
        return error_nomem(err, "agent");
    a->env = agent_env_system();
    a->env.launcher = MUGA_LAUNCHER;
    a->env.sandbox_tried = &a->sandbox_tried;
    a->home = mem_copy_string(options->home);
    a->env.approvers = a->home;
    a->model = m;
    muga_status st = a->home ? MUGA_OK : error_nomem(err, "agent");
    if (!st)
        st = open_manifest(a, folder, options, err);
    if (!st)
        st = intent_new(&a->env, a->manifest, &a->intent, err);
    if (!st)
        st = open_store(a, options->home, err);
    if (!st && !m && !a->manifest->rules)
        st = error_set(err, MUGA_E_USAGE, "agent %.64s needs a model; open one and give it", a->manifest->name);
    if (!st && m && a->manifest->adapter && !m->llm->has_adapter)
        st = llm_local_adapt(m->llm, a->manifest->adapter, (float)a->manifest->adapter_scale, &a->expert, err);
    if (!st)
        st = learning_load_examples(&a->env, a->store, a->intent, a->manifest, &a->learned, err);
    if (!st)
        intent_listen(a->intent, a->learned);
    if (!st)
        st = options->resume ? session_open(&a->env, a->store, a->manifest, options->resume, &a->session, err)
                             : open_session(a, options->session ? options->session : "{}", options->requester, err);
    if (!st) {
        loop_parts parts = {.env = &a->env,
                            .manifest = a->manifest,
                            .intent = a->intent,
                            .model = a->expert ? a->expert
                                     : m       ? m->llm
                                               : NULL,
                            .session = a->session,
                            .watch = {pass_event, a}};
        st = loop_new(&parts, &a->loop, err);
    }
    if (st)
        muga_agent_free(a);
    else
        *out = a;
    return st;
}

const char *muga_agent_session(const muga_agent *a) {
    return session_id(a->session);
}

void muga_agent_free(muga_agent *a) {
    if (!a)
        return;
    loop_free(a->loop);
    session_close(a->session);
    store_close(a->store);
    learned_free(a->learned);
    intent_free(a->intent);
    llm_free(a->expert);
    manifest_free(a->manifest);
    str_release(&a->answer);
    free(a->home);
    free(a);
}

/* Keep the turn's words for the caller; a hold is a status of its own. */
static muga_status take_result(muga_agent *a, turn_result *r, const char **answer, muga_error *err) {
    str_clear(&a->answer);
    str_append(&a->answer, str_get(&r->text), r->text.len);
    memcpy(a->approval, r->approval, sizeof a->approval);
    muga_status st = str_status(&a->answer, err, "answer");
    if (!st && answer)
        *answer = str_get(&a->answer);
    if (!st && r->outcome == TURN_HELD)
        st = error_set(err, MUGA_E_POLICY, "call %s is held; decide approval %s", r->call, r->approval);
    return st;
}

static muga_status take_turn(muga_agent *a, const char *message, muga_agent_event on_event, void *ctx,
                             const char **answer, muga_error *err) {
    turn_result r = {0};
    a->on_event = on_event;
    a->on_event_ctx = ctx;
    if (answer)
        *answer = NULL;
    if (a->model)
        pthread_mutex_lock(&a->model->lock);
    muga_status st = message ? loop_turn(a->loop, message, strlen(message), &r, err) : loop_resume(a->loop, &r, err);
    if (a->model)
        pthread_mutex_unlock(&a->model->lock);
    if (!st)
        st = take_result(a, &r, answer, err);
    turn_result_release(&r);
    a->on_event = NULL;
    return st;
}

muga_status muga_agent_say(muga_agent *a, const char *message, muga_agent_event on_event, void *ctx,
                           const char **answer, muga_error *err) {
    return take_turn(a, message, on_event, ctx, answer, err);
}

muga_status muga_agent_approve(muga_agent *a, int yes, const char *approver, muga_error *err) {
    if (!a->approval[0])
        return error_set(err, MUGA_E_NOT_FOUND, "no call of this agent is held");
    return approval_decide_within(&a->env, a->store, a->manifest, a->approval, yes != 0, approver, err);
}

muga_status muga_agent_resume(muga_agent *a, muga_agent_event on_event, void *ctx, const char **answer,
                              muga_error *err) {
    return take_turn(a, NULL, on_event, ctx, answer, err);
}
