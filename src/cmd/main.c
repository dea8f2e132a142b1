/* muga: the program. One table names every verb; the verbs are one file each. */
#include "cmd/cmd.h"
#include "os/sandbox.h"

#include <fcntl.h>
#include <unistd.h>

#ifndef MUGA_VERSION
#define MUGA_VERSION "0.1.0"
#endif

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);
static int run_group(int argc, char **argv);

static const char run_details[] =
    "With a PROMPT, or text on standard input, the answer is streamed and the program ends. Without one, on a\n"
    "terminal, it is a chat: /clear forgets it, /bye or Ctrl-D ends it, Ctrl-C stops an answer.\n"
    "Nothing is cut silently: a chat that outgrows its context is told so. With a PROMPT, standard input is not read.\n"
    "The first run of a model leaves a packed copy of its weights under $MUGA_HOME/packed, so that later ones start\n"
    "at once; --no-cache goes without. `muga doctor` checks such copies, and removes those whose model is gone.";
static const char agent_run_details[] =
    "Messages are what the customer of a session writes: --message TEXT, lines on standard input, or a terminal.\n"
    "A call that must be approved is asked about on a terminal; without one the run ends with exit code 5, and the\n"
    "call waits in `muga approve list`.";
static const char agent_test_details[] =
    "Each task is played on a fresh copy of the agent's data and its end state is checked; the rates are printed as\n"
    "they are. Exit code 1: something was done that no task lists, or without the approval it needs.";
static const char agent_new_details[] =
    "The folder gets a manifest, data, examples and an evaluation, which lint finds no fault with, and which can be\n"
    "played at once. What is there already is never overwritten.";
static const char agent_lint_details[] =
    "Each finding has a place, a rule and what to do. A rule is silenced, with a reason, by a comment on the line or\n"
    "right above it, or above the first key for the whole file: # lint: allow RULE: why. docs/lint.md lists them.\n"
    "Exit code 1: there are errors.";
static const char agent_fit_details[] =
    "DATA has messages that neither the adapter nor the agent's examples have, as JSON lines\n"
    "{\"text\": \"...\", \"labels\": [\"...\"]}. Printed are the weights of adapter and examples that fit them best,\n"
    "how many are decided rightly, the surest first, and the confidence above which no more than --risk are wrong.";
static const char agent_learn_details[] =
    "Turns that went well or were corrected become training data, with the operator's consent (`muga data`) and\n"
    "personal data masked; what the gate's tasks say is kept out. The adapter becomes a candidate version, which is\n"
    "used only after `muga agent promote`. Ctrl-C or a kill leave a checkpoint, from which --resume goes on while the\n"
    "turns are the same (docs/learning.md).";
static const char agent_promote_details[] =
    "CANDIDATE is a version's number, or the file of an adapter; without it the newest candidate. The tasks that the\n"
    "manifest names under learning.gate are played with the adapter in use and with the candidate. That one is used\n"
    "from the next session on if the held-out tasks rise beyond chance and no other set falls (docs/learning.md).\n"
    "Exit code 1: refused. The verdict is on the audit chain either way.";
static const char approve_yes_details[] =
    "The yes is bound to the call's exact arguments, tool and policy, and is good once. The call runs at once.";
static const char audit_verify_details[] = "Exit code 1 names the first broken record.";

static const char agent_state_details[] =
    "These are the members of state: with scope: agent. --reset is on the audit chain with who did it; a session that\n"
    "is open has the defaults from its next turn on (docs/rules.md).";

static const cmd_verb agent_verbs[] = {
    {"run", "NAME [--session NAME=VALUE] [--message TEXT]", "serve a customer, live", agent_run_details, cmd_agent_run},
    {"test", "NAME [--tasks FILE] [--runs N] [--against OTHER]", "measure it on tasks with checked end states",
     agent_test_details, cmd_agent_test},
    {"new", "NAME [--kind KIND] [--tools A,B] [--dir DIR]", "make a working agent to begin with", agent_new_details,
     cmd_agent_new},
    {"lint", "NAME... [--json]", "what is wrong with an agent, or likely to be", agent_lint_details, cmd_agent_lint},
    {"fit", "NAME DATA [--risk R] [--json]", "weigh its adapter against its examples", agent_fit_details,
     cmd_agent_fit},
    {"list", "[--json]", "agents in the store, in ./agents and in the box", NULL, cmd_agent_list},
    {"state", "NAME [--reset] [--json]", "what all its sessions share", agent_state_details, cmd_agent_state},
    {"learn", "NAME", "train an adapter on what its turns have shown", agent_learn_details, cmd_agent_learn},
    {"versions", "NAME [--json]", "the adapters it has learned", NULL, cmd_agent_versions},
    {"promote", "NAME [CANDIDATE] [--json]", "use a candidate adapter, if the gate lets it through",
     agent_promote_details, cmd_agent_promote},
    {"rollback", "NAME [VERSION]", "use the version before again, or another", NULL, cmd_agent_rollback}};

static const cmd_verb approve_verbs[] = {
    {"list", "[--json]", "calls that wait for a person", NULL, cmd_approve_list},
    {"yes", "ID", "allow one call, once, and run it", approve_yes_details, cmd_approve_yes},
    {"no", "ID", "deny it", NULL, cmd_approve_no}};

static const cmd_verb audit_verbs[] = {
    {"log", "[--session ID] [--json]", "the records", NULL, cmd_audit_log},
    {"verify", "[--json]", "walk the hash chain", audit_verify_details, cmd_audit_verify},
    {"replay", "[--session ID] [--json]", "recompute each model decision to the bit", NULL, cmd_audit_replay}};

static const char data_synth_details[] =
    "Without --remote, MODEL is one of the store's, or a path; the manifest's own is asked where none is named. The\n"
    "model writes texts; labels and arguments are decided here, so they are right by construction. A text that is\n"
    "said already, or is like a task of the agent's evaluation, is left out. Each line says who wrote it.\n"
    "docs/synth.md has the format of grammars.";

static const char data_consent_details[] =
    "Nothing is kept of an agent's turns until the operator says `on`, and nothing from `off` on. Consent is to the\n"
    "terms in the manifest's learning: as they stand; where they change, nothing is kept until it is given anew. What\n"
    "was kept stays until it is dropped or too old. Without on or off: what was said for which agent.";
static const char data_export_details[] =
    "chat: as `muga train` reads it; labels: as intent: examples are. By default the turns that went well and those\n"
    "that a person corrected, without those rated down. What tells of a person is masked; --raw doesn't, where the\n"
    "operator's consent goes so far. Without -o the lines go to standard output. What was exported is on the audit\n"
    "chain.";
static const char data_correct_details[] =
    "What the turn should have been: labels, calls, an answer, or several of these. Labels and calls are checked\n"
    "against the agent's manifest.";
static const char data_redact_details[] =
    "Masks the rows as they lie, and takes out each --value wherever it stands. It can't be undone.";
static const char data_drop_details[] =
    "Removes rows, bytes and all; it can't be undone. The record that they were kept, and dropped, stays; what\n"
    "sessions did stays in the journal (`muga audit`).";

#define ROWS "[AGENT] [--subject NAME=VALUE] [--session ID] [--outcome A,B]"
static const cmd_verb data_verbs[] = {
    {"consent", "[on|off AGENT] [--raw] [--json]", "whether an agent's turns are kept to learn from",
     data_consent_details, cmd_data_consent},
    {"list", ROWS " [--json]", "what was kept", NULL, cmd_data_list},
    {"export", "AGENT [-o FILE] [--form chat|labels]", "turns as training data", data_export_details, cmd_data_export},
    {"rate", "SESSION up|down|none [--turn N]", "say that a turn, or a whole session, went well or badly", NULL,
     cmd_data_rate},
    {"correct", "SESSION --turn N [--label L] [--call JSON]", "say what a turn should have been", data_correct_details,
     cmd_data_correct},
    {"redact", ROWS " [--value TEXT]", "mask what was kept", data_redact_details, cmd_data_redact},
    {"drop", ROWS " [--older-than DAYS]", "remove what was kept", data_drop_details, cmd_data_drop},
    {"synth", "AGENT -o FILE", "training messages from a larger model, or a grammar", data_synth_details,
     cmd_data_synth}};
#undef ROWS

static const char session_list_details[] =
    "Newest first. open: can be gone on with; broken_off: its last message has no answer, resuming gives it; held,\n"
    "approved, in_doubt: a call waits for a person, or for the session to go on; interrupted: a call was running when\n"
    "its process died; running: a process drives it now.";
static const char session_resume_details[] =
    "Goes on with it, held and decided, or broken off by a crash: calls that it has made are not made again. Options\n"
    "are those of `muga agent run`: --message TEXT for what is said next, --model, --approve.";
static const char session_export_details[] =
    "One JSON object with all that the store holds of it: session, history, calls and approvals, what `muga data`\n"
    "kept (masked), and its records on the audit chain. The export is a record, too.";
static const char session_delete_details[] =
    "Forgets what it says about a person, bytes and all: messages, state, arguments, results, what `muga data` kept,\n"
    "payloads of the audit chain. It can't be undone. The chain stays whole: `muga audit verify` passes and counts\n"
    "what was erased. What a tool wrote into its own database is the agent's data, and stays.";

static const cmd_verb session_verbs[] = {
    {"list", "[AGENT] [--subject NAME=VALUE] [--state STATE] [--json]", "the conversations in the store",
     session_list_details, cmd_session_list},
    {"show", "ID [--json]", "what was said and done in one", NULL, cmd_session_show},
    {"resume", "ID [--message TEXT]", "go on with one", session_resume_details, cmd_session_resume},
    {"export", "ID [-o FILE]", "one, complete, as JSON", session_export_details, cmd_session_export},
    {"delete", "ID | --subject NAME=VALUE [--agent NAME]", "forget what is said in one, or by a person",
     session_delete_details, cmd_session_delete}};

static const char key_create_details[] =
    "SCOPES, with commas between (docs/keys.md): models:GLOB, agents:GLOB, tools:GLOB, approve:ROLE, audit, metrics,\n"
    "admin. LIMITS: tokens/day=100000,concurrency=4. The key is printed once; the store keeps a hash of it. From the\n"
    "first key on, the server asks everybody for one.";
static const char key_revoke_details[] =
    "A running server refuses it within a second; what was begun with it ends. A revoked key stays in the list, and\n"
    "keys are still asked for when it was the last, unless it is forgotten.";
static const char key_rotate_details[] =
    "A new secret for the same key: name, rights, limits and what was used today stay. The old one is refused at\n"
    "once, or after --grace.";

static const cmd_verb key_verbs[] = {
    {"create", "--name NAME [--scope SCOPES] [--limit LIMITS] [--expires WHEN]", "make one; it is shown once",
     key_create_details, cmd_key_create},
    {"list", "[--json]", "keys, their rights, limits and what they used today", NULL, cmd_key_list},
    {"usage", "[NAME|ID] [--days N] [--json]", "what keys used, by the day", NULL, cmd_key_usage},
    {"revoke", "NAME|ID [--forget]", "refuse it from now on", key_revoke_details, cmd_key_revoke},
    {"rotate", "NAME|ID [--grace TIME]", "replace its secret", key_rotate_details, cmd_key_rotate}};

static const cmd_verb debug_verbs[] = {
    {"tokens", "MODEL", "{\"text\" | \"text_hex\", \"add_special\", \"parse_special\"} a line -> ids", NULL,
     cmd_debug_tokens},
    {"logits", "MODEL --ids LIST -o FILE", "the last position's logits, or --all, as raw f32", NULL, cmd_debug_logits},
    {"greedy", "MODEL --ids LIST -n N", "the next N ids, on one line", NULL, cmd_debug_greedy},
    {"template", "MODEL-or-FILE.jinja", "one context a line -> {\"output\"} or {\"error\"}", NULL, cmd_debug_template},
    {"accepts", "[MODEL] [--remotes FILE]", "{\"schema\" | \"gbnf\" | \"regex\", \"text\"} a line -> true or false",
     NULL, cmd_debug_accepts},
    {"validate", "[--remotes FILE]", "{\"schema\", \"data\"} a line -> true or false", NULL, cmd_debug_validate},
    {"guards", "FILE.yaml", "{\"text\" [, \"side\", \"given\"]} a line -> what its guards: find", NULL,
     cmd_debug_guards}};

/* Verbs with verbs below them. */
static const struct {
    const char *name;
    const cmd_verb *verbs;
    size_t n;
} groups[] = {{"agent", agent_verbs, ARRAY_LEN(agent_verbs)},      {"approve", approve_verbs, ARRAY_LEN(approve_verbs)},
              {"audit", audit_verbs, ARRAY_LEN(audit_verbs)},      {"data", data_verbs, ARRAY_LEN(data_verbs)},
              {"debug", debug_verbs, ARRAY_LEN(debug_verbs)},      {"key", key_verbs, ARRAY_LEN(key_verbs)},
              {"session", session_verbs, ARRAY_LEN(session_verbs)}};

static const char create_details[] =
    "A Modelfile says what the model is made of and what is set for it (docs/modelfile.md): FROM (a stored model, a\n"
    "GGUF file, a Hugging Face folder), PARAMETER, SYSTEM, TEMPLATE (Jinja), ADAPTER, LICENSE, MESSAGE. Blobs are\n"
    "shared; a name that is taken is replaced when all the rest is done.";
static const char config_details[] =
    "A flag goes before a variable, that before the file, that before the default. `check FILE` looks at a file\n"
    "alone; `schema` prints the JSON Schema for editors. The options are those of `muga serve` (docs/serve-config.md).";
static const char quantize_details[] =
    "TYPE: F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K\n"
    "IQ4_NL IQ4_XS F32.\n"
    "IN is a name in the store or a path, OUT a path; OUT is whole or not there. Keys are kept as they are.";
static const char train_details[] =
    "DATA is JSON lines: {\"messages\": [...], \"tools\": [...]} or {\"prompt\": ..., \"completion\": ...}. Learned\n"
    "are the assistant's answers. BASE stays as it is; ADAPTER is a file for --adapter and `muga merge`, in the\n"
    "format of llama.cpp. The loss curve goes to ADAPTER.csv. Ctrl-C, a full disk or a kill leave\n"
    "ADAPTER.checkpoint, from which --resume goes on to the same bits. When the held-out loss falls no further it\n"
    "stops, and the adapter is the best that there was.";
static const char merge_details[] =
    "Each matrix W of BASE that ADAPTER has a pair A, B for becomes W + S alpha / rank B A, summed in double; all\n"
    "else stays as it is, metadata and tokenizer too. BASE is a name in the store or a path, ADAPTER and OUT are\n"
    "paths. --type is one of those of `muga quantize`, in its mixtures. An adapter may say which file its base is:\n"
    "another is refused, unless with --any-base.";
static const char convert_details[] =
    "DIR holds config.json, model.safetensors (or shards and their index) and the tokenizer's files; OUT ends in\n"
    ".gguf and is whole or not there. Architectures: llama (Mistral too), qwen2, qwen3, phi3, nemotron, gemma2,\n"
    "gemma3, granite, smollm3, bert. --type quantises on the way, in the mixtures of `muga quantize`.";
static const char embed_details[] =
    "Prints one line a text: the vector's numbers, or with --json an object. Without TEXT each line of standard input\n"
    "is a text. The model must be one for embeddings; texts longer than it takes are refused.";
static const char classify_details[] =
    "Prints how sure it is and the label, a line a text; `-` for a label where --abstain says to give none. Without\n"
    "TEXT each line of standard input is a text. With --examples, the probabilities are fitted to them, and\n"
    "--calibrate keeps what was fitted in a file, good for this model, these labels and this instruction alone; with\n"
    "both and no TEXT, standard input is not read.";
static const char perplexity_details[] =
    "The text is read in windows, each with an empty context; scored is every token but a window's first.\n"
    "With --kl the predictions are compared with another model's, position by position: what quantising cost.";

static const char bench_details[] =
    "Prefill is measured for each prompt at each depth, decode for each batch at each depth, both with each number of\n"
    "threads; default lengths that the model has no room for are left out. Beside each speed stands the share of the\n"
    "machine's limit that it reaches, measured with the same threads: reading what is read for one token (packed\n"
    "weights, keys and values), or multiplying 8-bit integers (the matrix products; attention isn't counted).\n"
    "Sequences of a batch share the tokens of the depth. Other work on the machine shows as spread. Ctrl-C shows what\n"
    "is there.";

static const char serve_details[] =
    "Programs that speak to OpenAI's API, Anthropic's or Ollama's are served with the models of the store, and agents\n"
    "besides (docs/server.md). It listens on this machine alone unless --listen says otherwise. SIGTERM and Ctrl-C\n"
    "end it when the answers that are being written have ended.";

static const cmd_verb verbs[] = {
    {"run", "MODEL [PROMPT]", "chat with a model, or answer one prompt", run_details, cmd_run},
    {"create", "NAME [-f FILE] [--quantize TYPE]", "a model of the store from a Modelfile", create_details, cmd_create},
    {"serve", "[--listen ADDRESS]", "models and agents over HTTP, for OpenAI's, Anthropic's and Ollama's clients",
     serve_details, cmd_serve},
    {"list", "", "models in the store", NULL, cmd_list},
    {"show", "MODEL", "what a model or an adapter is", NULL, cmd_show},
    {"cp", "FROM TO", "another name for a model of the store", NULL, cmd_cp},
    {"pull", "MODEL", "not yet: says where models come from", NULL, cmd_pull},
    {"push", "MODEL", "not yet", NULL, cmd_push},
    {"ps", "", "models that a running server has in memory", NULL, cmd_ps},
    {"stop", "MODEL", "have a running server unload a model", NULL, cmd_stop},
    {"rm", "MODEL...", "remove models from the store", NULL, cmd_rm},
    {"config", "[check FILE | schema] [--json]", "what the server is told, and where each value comes from",
     config_details, cmd_config_show},
    {"agent", "new|run|test|lint|fit|list|state|learn|versions|promote|rollback",
     "run an agent, measure, check and teach it", NULL, run_group},
    {"approve", "list|yes|no", "decide held calls", NULL, run_group},
    {"audit", "log|verify|replay", "read, check and recompute the record", NULL, run_group},
    {"data", "consent|list|export|rate|correct|redact|drop|synth", "turns kept to learn from, or made up", NULL,
     run_group},
    {"session", "list|show|resume|export|delete", "conversations: what was said, going on, forgetting", NULL,
     run_group},
    {"key", "create|list|usage|revoke|rotate", "who may ask the server, and how much", NULL, run_group},
    {"quantize", "IN OUT TYPE", "a model in a smaller type", quantize_details, cmd_quantize},
    {"train", "BASE DATA -o ADAPTER", "a LoRA adapter from examples", train_details, cmd_train},
    {"merge", "BASE ADAPTER -o OUT", "a LoRA adapter folded into its model", merge_details, cmd_merge},
    {"convert", "DIR OUT", "a Hugging Face folder as a GGUF file", convert_details, cmd_convert},
    {"embed", "MODEL [TEXT...]", "texts to vectors", embed_details, cmd_embed},
    {"classify", "MODEL --labels A,B,C [TEXT...]", "which label fits a text, and how sure", classify_details,
     cmd_classify},
    {"perplexity", "MODEL FILE", "how well a model predicts a text", perplexity_details, cmd_perplexity},
    {"bench", "MODEL", "measure a model's speed here", bench_details, cmd_bench},
    {"doctor", "", "check this machine, the store and its models", NULL, cmd_doctor},
    {"debug", "tokens|logits|greedy|template|accepts|validate|guards", "for comparing engines", NULL, run_group},
    {"help", "[VERB | --man]", "what a verb does; all of it as a manual page", NULL, cmd_help},
    {"version", "", "the version", NULL, cmd_version}};

static void print_overview(FILE *out) {
    fprintf(out, "muga runs agents on small language models, on this machine.\n\nusage: muga VERB ...\n\n");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        fprintf(out, "  %-11s %s\n", verbs[i].name, verbs[i].summary);
    fprintf(
        out,
        "\n`muga help VERB` says more. A MODEL is a name in the store, or a path (with '/' or ending in .gguf).\n"
        "Exit codes: 0 done, 1 a negative verdict, 2 usage, 3 not found, 4 bad input, 5 held or refused by policy,\n"
        "6 disk, right or network missing, 130 interrupted.\n");
}

static void print_usage(const char *group, const cmd_verb *v) {
    printf("usage: muga %s%s%s%s%s\n%s\n", group, *group ? " " : "", v->name, *v->usage ? " " : "", v->usage,
           v->summary);
    if (v->details)
        printf("\n%s\n", v->details);
}

/* "run", "agent test"; *group: "", "agent". NULL: there is none. */
static const cmd_verb *find_whole(const char *verb, const char **group) {
    *group = "";
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (!strcmp(verbs[i].name, verb))
            return &verbs[i];
    for (size_t g = 0; g < ARRAY_LEN(groups); g++) {
        size_t n = strlen(groups[g].name);
        *group = groups[g].name;
        for (size_t i = 0; !strncmp(verb, groups[g].name, n) && verb[n] == ' ' && i < groups[g].n; i++)
            if (!strcmp(groups[g].verbs[i].name, verb + n + 1))
                return &groups[g].verbs[i];
    }
    return NULL;
}

void cmd_print_verb(const char *verb) {
    const char *group;
    const cmd_verb *v = find_whole(verb, &group);
    if (v && manual_is_on())
        manual_verb(group, v);
    else if (v)
        print_usage(group, v);
}

const char *cmd_usage_of(const char *verb) {
    const char *group;
    const cmd_verb *v = find_whole(verb, &group);
    return v ? v->usage : "";
}

static const cmd_verb *find_verb(const char *name) {
    if (!strcmp(name, "ls"))
        name = "list";
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

/* Each verb says its part when it is asked for help, since the options are its own. */
static void ask_for_help(const cmd_verb *v) {
    char name[32], help[] = "--help";
    char *with[] = {name, help, NULL};
    snprintf(name, sizeof name, "%s", v->name);
    v->run(2, with);
}

static int print_manual(void) {
    manual_begin(MUGA_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (verbs[i].run != run_group && verbs[i].run != cmd_help)
            ask_for_help(&verbs[i]);
        for (size_t g = 0; g < ARRAY_LEN(groups); g++)
            for (size_t j = 0; !strcmp(groups[g].name, verbs[i].name) && j < groups[g].n; j++)
                ask_for_help(&groups[g].verbs[j]);
    }
    manual_end();
    return cmd_finish_output(0);
}

static int cmd_help(int argc, char **argv) {
    if (argc < 2) {
        print_overview(stdout);
        return cmd_finish_output(0);
    }
    if (argc == 2 && !strcmp(argv[1], "--man"))
        return print_manual();
    const cmd_verb *v = find_verb(argv[1]);
    if (!v)
        return cmd_error(MUGA_E_USAGE, "help: unknown verb '%s'; `muga help` lists them", argv[1]);
    if (v->run == cmd_help) {
        print_usage("", v);
        return cmd_finish_output(0);
    }
    char help[] = "--help";
    char *with[] = {argv[1], argc > 2 ? argv[2] : help, help, NULL}; /* the verb knows its own options */
    return v->run(argc > 2 ? 3 : 2, with);
}

static int cmd_version(int argc, char **argv) {
    cmd_positional p = {.max = 0};
    int code = cmd_parse("version", NULL, 0, argc, argv, &p);
    if (code >= 0)
        return code;
    printf("muga " MUGA_VERSION "\n");
    return cmd_finish_output(0);
}

/* The verb below: run with its own argv, or named. */
static int run_group(int argc, char **argv) {
    size_t g = 0;
    while (g + 1 < ARRAY_LEN(groups) && strcmp(groups[g].name, argv[0]))
        g++;
    const char *name = groups[g].name, *word = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < groups[g].n; i++)
        if (!strcmp(groups[g].verbs[i].name, word))
            return groups[g].verbs[i].run(argc - 1, argv + 1);
    bool help = !strcmp(word, "-h") || !strcmp(word, "--help");
    if (argc > 1 && !help)
        return cmd_error(MUGA_E_USAGE, "%s: unknown subcommand '%s'; see `muga help %s`", name, word, name);
    FILE *out = help ? stdout : stderr;
    fprintf(out, "usage: muga %s VERB ...\n\n", name);
    for (size_t i = 0; i < groups[g].n; i++) {
        const cmd_verb *v = &groups[g].verbs[i];
        fprintf(out, "  %s%s%s\n      %s\n", v->name, *v->usage ? " " : "", v->usage, v->summary);
    }
    fprintf(out, "\n`muga help %s VERB` says more.\n", name);
    return help ? cmd_finish_output(0) : 2;
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
    if (argc > 1 && !strcmp(argv[1], OS_SANDBOX_VERB)) /* inside a sandbox, before anything is set up */
        return os_sandbox_launch(argc, argv);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write, which ends the run in order */
    signal(SIGXFSZ, SIG_IGN); /* and so is a limit on the size of files */
    cmd_catch_lost_files();
    if (!hold_standard_streams())
        return 6;
    cmd_end_on_interrupt();
    if (argc < 2) {
        print_overview(stderr);
        return 2;
    }
    if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help")) {
        print_overview(stdout);
        return cmd_finish_output(0);
    }
    if (!strcmp(argv[1], "--version"))
        return cmd_version(argc - 1, argv + 1);
    const cmd_verb *v = find_verb(argv[1]);
    if (v)
        return v->run(argc - 1, argv + 1);
    return cmd_error(MUGA_E_USAGE, "unknown verb '%s'; see `muga help`", argv[1]);
}
