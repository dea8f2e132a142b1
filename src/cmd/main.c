/* muga: the program. One table names every verb; the verbs are one file each. */
#include "cmd/cmd.h"

#include <fcntl.h>
#include <unistd.h>

#ifndef MUGA_VERSION
#define MUGA_VERSION "0.1.0"
#endif

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);
static int cmd_debug(int argc, char **argv);

static const char run_details[] =
    "With a PROMPT, or text on standard input, the answer is streamed and the program ends. Without one, on a\n"
    "terminal, it is a chat: /clear forgets it, /bye or Ctrl-D ends it, Ctrl-C stops an answer.\n"
    "Nothing is cut silently: a chat that outgrows its context is told so.";
static const char agent_details[] =
    "run NAME   take messages (--message TEXT, standard input, or a terminal) as the customer of a session\n"
    "test NAME  run evaluation tasks with checked end states and print the rates as they are\n"
    "list       agents in the store, in ./agents and in the box";
static const char approve_details[] =
    "A held call waits here for a person. `yes` is bound to the call's exact arguments, tool and policy, "
    "and is good once.";
static const char audit_details[] = "log     the records\n"
                                    "verify  walk the hash chain; exit 1 names the first broken record\n"
                                    "replay  recompute each model decision to the bit";
static const char debug_details[] =
    "tokens MODEL      {\"text\" | \"text_hex\", \"add_special\", \"parse_special\"} a line -> ids\n"
    "logits MODEL      --ids 1,2,3 -o out.f32: the last position's logits (or --all)\n"
    "greedy MODEL      --ids 1,2,3 -n 16: the next ids\n"
    "template MODEL-or-FILE.jinja   one context a line -> {\"output\"} or {\"error\"}\n"
    "accepts [MODEL]   {\"schema\" | \"gbnf\" | \"regex\", \"text\"} a line -> true or false\n"
    "validate          {\"schema\", \"data\"} a line -> true or false";

static const cmd_verb verbs[] = {
    {"run", "MODEL [PROMPT]", "chat with a model, or answer one prompt", run_details, cmd_run},
    {"list", "", "models in the store", NULL, cmd_list},
    {"show", "MODEL", "what a model is", NULL, cmd_show},
    {"rm", "MODEL", "remove a model from the store", NULL, cmd_rm},
    {"agent", "run|test|list [NAME]", "run an agent, or measure it", agent_details, cmd_agent},
    {"approve", "list|yes|no [ID]", "decide held calls", approve_details, cmd_approve},
    {"audit", "log|verify|replay", "read, check and recompute the record", audit_details, cmd_audit},
    {"bench", "MODEL", "measure a model's speed here", NULL, cmd_bench},
    {"doctor", "", "check this machine, the store and its models", NULL, cmd_doctor},
    {"debug", "tokens|logits|greedy|template|accepts|validate", "for comparing engines", debug_details, cmd_debug},
    {"help", "[VERB]", "what a verb does", NULL, cmd_help},
    {"version", "", "the version", NULL, cmd_version}};

static const cmd_verb debug_verbs[] = {
    {"tokens", "tokens MODEL", "JSON lines of texts -> ids", NULL, cmd_debug_tokens},
    {"logits", "logits MODEL --ids LIST -o FILE", "logits as raw f32", NULL, cmd_debug_logits},
    {"greedy", "greedy MODEL --ids LIST -n N", "greedy ids", NULL, cmd_debug_greedy},
    {"template", "template MODEL-or-FILE.jinja", "JSON lines of contexts -> texts", NULL, cmd_debug_template},
    {"accepts", "accepts [MODEL] [--remotes FILE]", "JSON lines of schemas and texts -> verdicts", NULL,
     cmd_debug_accepts},
    {"validate", "validate [--remotes FILE]", "JSON lines of schemas and data -> verdicts", NULL, cmd_debug_validate}};

static void print_overview(FILE *out) {
    fprintf(out, "muga runs agents on small language models, on this machine.\n\nusage: muga VERB ...\n\n");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        fprintf(out, "  %-9s %s\n", verbs[i].name, verbs[i].summary);
    fprintf(out,
            "\n`muga help VERB` says more. A MODEL is a name in the store, or a path (with '/' or ending in .gguf).\n");
}

void cmd_print_verb(const char *verb) {
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (!strcmp(verbs[i].name, verb)) {
            printf("usage: muga %s %s\n%s\n", verbs[i].name, verbs[i].usage, verbs[i].summary);
            if (verbs[i].details)
                printf("\n%s\n", verbs[i].details);
        }
    for (size_t i = 0; i < ARRAY_LEN(debug_verbs); i++)
        if (!strncmp(verb, "debug ", 6) && !strcmp(debug_verbs[i].name, verb + 6))
            printf("usage: muga debug %s\n%s\n", debug_verbs[i].usage, debug_verbs[i].summary);
}

static const cmd_verb *find_verb(const char *name) {
    if (!strcmp(name, "ls"))
        name = "list";
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

static int cmd_help(int argc, char **argv) {
    if (argc < 2) {
        print_overview(stdout);
        return cmd_finish_output(0);
    }
    const cmd_verb *v = find_verb(argv[1]);
    if (!v || v->run == cmd_help) {
        return cmd_error(MUGA_E_USAGE, "help: unknown verb '%s'; `muga help` lists them", argv[1]);
    }
    bool grouped = v->run == cmd_agent || v->run == cmd_approve || v->run == cmd_audit || v->run == cmd_debug;
    if (grouped && argc < 3) {
        cmd_print_verb(v->name);
        return cmd_finish_output(0);
    }
    char help[] = "--help";
    char *with[] = {argv[1], argc > 2 ? argv[2] : help, help, NULL}; /* the verb knows its own options */
    return v->run(argc > 2 ? 3 : 2, with);
}

static int cmd_version(int argc, char **argv) {
    (void)argc;
    (void)argv;
    printf("muga " MUGA_VERSION "\n");
    return cmd_finish_output(0);
}

static int cmd_debug(int argc, char **argv) {
    return cmd_dispatch(debug_verbs, ARRAY_LEN(debug_verbs), "debug", argc, argv);
}

/* Started with 0, 1 or 2 closed, the next file opened would take that number, and what is printed would go into it.
 * Each gets the wrong direction of /dev/null, so that using it fails as it does for what is closed. */
static bool hold_standard_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write, which ends the run in order */
    signal(SIGXFSZ, SIG_IGN); /* and so is a limit on the size of files */
    cmd_catch_lost_files();
    if (!hold_standard_streams())
        return 6;
    if (argc < 2) {
        print_overview(stderr);
        return 2;
    }
    if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help")) {
        print_overview(stdout);
        return cmd_finish_output(0);
    }
    if (!strcmp(argv[1], "--version"))
        return cmd_version(0, NULL);
    const cmd_verb *v = find_verb(argv[1]);
    if (v)
        return v->run(argc - 1, argv + 1);
    return cmd_error(MUGA_E_USAGE, "unknown verb '%s'; see `muga help`", argv[1]);
}
