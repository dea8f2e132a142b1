/* The agent in the box, opened over data of its own. */
#ifndef TESTS_CUSTOMER_SERVICE_H
#define TESTS_CUSTOMER_SERVICE_H

#include "agent/dataset.h"
#include "agent/loop.h"
#include "support/support.h"

#include <stdio.h>

typedef struct box {
    agent_env env;
    char dir[1024], data_dir[1024], scratch[1024];
    manifest *m;
    intent *intent;
    llm *model;
} box;

/* model NULL: none is loaded, nor the manifest's adapter. */
static inline void box_open(box *b, const char *name, const char *model) {
    muga_error err;
    *b = (box){.env = agent_env_system()};
    snprintf(b->dir, sizeof b->dir, "%s", source_path("agents/customer-service"));
    snprintf(b->scratch, sizeof b->scratch, "%s", scratch_path(name));
    snprintf(b->data_dir, sizeof b->data_dir, "%.1000s/begin", b->scratch);
    assert_ok(dataset_prepare(&b->env, b->dir, b->data_dir, &err), &err);
    assert_ok(manifest_load(&b->env, b->dir, b->data_dir, &b->m, &err), &err);
    assert_ok(intent_new(&b->env, b->m, &b->intent, &err), &err);
    if (model) {
        const llm_local_options options = {
            .isa = -1, .adapter = b->m->adapter, .adapter_scale = (float)b->m->adapter_scale};
        assert_ok(llm_local_open(model, "smollm2-135m-instruct", &options, &b->model, &err), &err);
    }
}

static inline void box_close(box *b) {
    llm_free(b->model);
    intent_free(b->intent);
    manifest_free(b->m);
}
#endif
