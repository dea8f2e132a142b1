/* muga in forty lines: load a model, stream an answer, run an agent whose write waits for a yes.
 * cc embed.c $(pkg-config --cflags --libs muga) && ./a.out MODEL.gguf AGENT_FOLDER HOME */
#include <muga.h>
#include <stdio.h>
#include <stdlib.h>

static void check(muga_status status, const muga_error *err) {
    if (status == MUGA_OK) return;
    fprintf(stderr, "embed: %s\n", err->message);
    exit(1);
}

static int print_text(void *ctx, const char *text, size_t n) {
    return fwrite(text, 1, n, ctx) == n; /* 0 would stop the answer */
}

static void print_event(void *ctx, const char *json) { fprintf(ctx, "\n  %s", json); }

int main(int argc, char **argv) {
    muga_error err;
    muga_model *model;
    muga_chat *chat;
    muga_agent *agent;
    const char *answer;
    if (argc < 4) return fprintf(stderr, "usage: embed MODEL.gguf AGENT_FOLDER HOME\n"), 2;
    char packed[1024]; /* the first start leaves the weights there as they are computed with, later ones map them */
    snprintf(packed, sizeof packed, "%s.packed", argv[3]);
    check(muga_model_open(argv[1], &(muga_model_options){.packed = packed}, &model, &err), &err);
    check(muga_chat_new(model, &(muga_chat_options){.max_tokens = 24}, &chat, &err), &err);
    check(muga_chat_ask(chat, "What is the sea?", print_text, stdout, NULL, &err), &err);

    muga_agent_options options = {.home = argv[3], .session = "{\"customer\": 7}"};
    check(muga_agent_open(argv[2], model, &options, &agent, &err), &err);
    muga_status status = muga_agent_say(agent, "i forgot my password", print_event, stdout, &answer, &err);
    if (status == MUGA_E_POLICY) { /* held: ask whoever may say yes; here, that is us */
        check(muga_agent_approve(agent, 1, "embed example", &err), &err);
        status = muga_agent_resume(agent, print_event, stdout, &answer, &err);
    }
    check(status, &err);
    printf("\n%s\n", answer);
    return muga_agent_free(agent), muga_chat_free(chat), muga_model_free(model), 0;
}
