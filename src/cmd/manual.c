/* `muga help --man`: the manual page as roff, from the same tables as the help: main.c's verbs, each verb's options. */
#include "cmd/cmd.h"

static bool wanted;

bool manual_is_on(void) {
    return wanted;
}

/* Text that roff shows as it stands: no escapes, no hyphens for minus signs, no requests at the beginning of a line. */
static void put(const char *text) {
    bool begins = true;
    for (const char *p = text; *p; p++) {
        if (begins && (*p == '.' || *p == '\''))
            fputs("\\&", stdout);
        begins = *p == '\n';
        if (*p == '\\')
            fputs("\\e", stdout);
        else if (*p == '-')
            fputs("\\-", stdout);
        else
            putchar(*p);
    }
}

/* A macro's argument: put, with quotes doubled. */
static void put_quoted(const char *text) {
    putchar('"');
    for (const char *p = text; *p; p++) {
        char one[2] = {*p, '\0'};
        put(*p == '"' ? "\"\"" : one);
    }
    putchar('"');
}

static void paragraph(const char *text) {
    printf(".PP\n");
    put(text);
    putchar('\n');
}

void manual_begin(const char *version) {
    wanted = true;
    printf(".\\\" made by `muga help --man`\n.TH MUGA 1 \"\" \"muga %s\" \"muga\"\n.SH NAME\n", version);
    printf("muga \\- agents on small language models, on this machine\n");
    printf(".SH SYNOPSIS\n.B muga\nVERB ...\n.br\n.B muga help\n[VERB]\n.SH DESCRIPTION\n");
    put("muga loads GGUF models with its own engine, lets agents use tools under a policy, holds what they write for\n"
        "a person's yes, serves the clients of OpenAI's, Anthropic's and Ollama's APIs, and keeps a record of every\n"
        "decision that can be verified and recomputed.\n");
    paragraph("A MODEL is a name in the store, or a path (with '/' or ending in .gguf).");
    printf(".SH VERBS\n");
}

void manual_verb(const char *group, const cmd_verb *v) {
    char head[256];
    snprintf(head, sizeof head, "muga %s%s%s%s%s", group, *group ? " " : "", v->name, *v->usage ? " " : "", v->usage);
    printf(".SS ");
    put_quoted(head);
    putchar('\n');
    put(v->summary);
    printf(".\n");
    if (v->details)
        paragraph(v->details);
}

void manual_options(const cmd_option *o, size_t n) {
    for (size_t i = 0; i < n; i++) {
        printf(".TP\n.B ");
        if (o[i].letter)
            printf("\\-%c, ", o[i].letter);
        put(o[i].name);
        if (o[i].arg) {
            printf(" \\fI");
            put(o[i].arg);
            printf("\\fR");
        }
        putchar('\n');
        put(o[i].help);
        putchar('\n');
    }
}

static void item(const char *name, const char *text) {
    printf(".TP\n.B ");
    put(name);
    putchar('\n');
    put(text);
    putchar('\n');
}

void manual_end(void) {
    printf(".SH EXIT STATUS\n");
    item("0", "done");
    item("1", "a negative verdict: a check that ran and says no");
    item("2", "usage");
    item("3", "not found");
    item("4", "bad input");
    item("5", "held for approval, or refused by policy");
    item("6", "a disk, a right, a feature or a network of this machine is missing");
    item("130", "interrupted");
    printf(".SH ENVIRONMENT\n");
    item("MUGA_HOME", "where everything is kept; without it $XDG_DATA_HOME/muga, or ~/.local/share/muga");
    item("MUGA_HOST", "where muga serve listens, and where muga ps and muga stop look for it");
    item("NO_COLOR", "no colours on a terminal");
    item("TMPDIR", "where evaluations and linting keep what is gone afterwards");
    paragraph("The server's other variables: `muga config`.");
    printf(".SH FILES\n");
    item("$MUGA_HOME/muga.db", "sessions, journal, approvals, audit chain, keys");
    item("$MUGA_HOME/muga.yaml", "settings of the server");
    item("$MUGA_HOME/manifests, $MUGA_HOME/blobs", "the store of models");
    item("$MUGA_HOME/agents", "agents of your own");
    item("$MUGA_HOME/packed", "weights as they are computed with, made anew where they are missing");
    wanted = false;
}
