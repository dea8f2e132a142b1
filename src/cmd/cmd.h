/* What the verbs share: the verb table, option parsing, the store's place, output, exit codes.
 * Only this folder prints, reads the environment, or ends the process. */
#ifndef MUGA_CMD_H
#define MUGA_CMD_H

#include "base/json.h"
#include "base/mem.h"
#include "hub/hub.h"
#include "kernel/kernel.h"
#include "llm/llm.h"
#include "os/os.h"
#include "store/store.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

/* ---- verbs (main.c) ---- */
typedef struct cmd_verb {
    const char *name;    /* "run"; "test" for a verb under another */
    const char *usage;   /* what follows the name: "MODEL [PROMPT]" */
    const char *summary; /* one line */
    const char *details; /* more lines for `muga help VERB`, or NULL; options are listed by cmd_parse itself */
    int (*run)(int argc, char **argv); /* argv[0] is the verb's last word; returns the exit code */
} cmd_verb;

/* One function a verb. */
int cmd_run(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_create(int argc, char **argv);
int cmd_cp(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_push(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_config_show(int argc, char **argv);
int cmd_agent_run(int argc, char **argv);
int cmd_agent_test(int argc, char **argv);
int cmd_agent_new(int argc, char **argv);
int cmd_agent_lint(int argc, char **argv);
int cmd_agent_fit(int argc, char **argv);
int cmd_agent_list(int argc, char **argv);
int cmd_agent_state(int argc, char **argv);
int cmd_agent_learn(int argc, char **argv);
int cmd_agent_versions(int argc, char **argv);
int cmd_agent_promote(int argc, char **argv);
int cmd_agent_rollback(int argc, char **argv);
int cmd_approve_list(int argc, char **argv);
int cmd_approve_yes(int argc, char **argv);
int cmd_approve_no(int argc, char **argv);
int cmd_audit_log(int argc, char **argv);
int cmd_audit_verify(int argc, char **argv);
int cmd_audit_replay(int argc, char **argv);
int cmd_data_consent(int argc, char **argv);
int cmd_data_list(int argc, char **argv);
int cmd_data_export(int argc, char **argv);
int cmd_data_rate(int argc, char **argv);
int cmd_data_correct(int argc, char **argv);
int cmd_data_redact(int argc, char **argv);
int cmd_data_drop(int argc, char **argv);
int cmd_session_list(int argc, char **argv);
int cmd_session_show(int argc, char **argv);
int cmd_session_resume(int argc, char **argv);
int cmd_session_export(int argc, char **argv);
int cmd_session_delete(int argc, char **argv);
int cmd_key_create(int argc, char **argv);
int cmd_key_list(int argc, char **argv);
int cmd_key_usage(int argc, char **argv);
int cmd_key_revoke(int argc, char **argv);
int cmd_key_rotate(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_perplexity(int argc, char **argv);
int cmd_quantize(int argc, char **argv);
int cmd_data_synth(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_convert(int argc, char **argv);
int cmd_embed(int argc, char **argv);
int cmd_classify(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_debug_tokens(int argc, char **argv);
int cmd_debug_logits(int argc, char **argv);
int cmd_debug_greedy(int argc, char **argv);
int cmd_debug_template(int argc, char **argv);
int cmd_debug_accepts(int argc, char **argv);
int cmd_debug_validate(int argc, char **argv);
int cmd_debug_guards(int argc, char **argv);

/* "usage: muga VERB ...", summary and details, on stdout. verb: "run", "agent test". */
void cmd_print_verb(const char *verb);
const char *cmd_usage_of(const char *verb); /* what follows it: "MODEL [PROMPT]"; "" where there is no such verb */

/* ---- options (options.c) ---- */
typedef enum { CMD_FLAG, CMD_STRING, CMD_U32, CMD_U64, CMD_F32, CMD_REPEAT, CMD_SWITCH } cmd_kind;
typedef struct cmd_option {
    const char *name; /* "--temp" */
    char letter;      /* 'n' for -n, or 0 */
    cmd_kind kind;
    /* bool, const char *, uint32_t, uint64_t, float; CMD_REPEAT: cmd_values; CMD_SWITCH: const char *, which becomes
     * "on" or "off" (a value is optional: on, off, true, false; any other word behind it is none of its own) */
    void *target;
    const char *arg; /* name of the value in help; NULL for a flag */
    const char *help;
} cmd_option;
typedef struct cmd_values {
    const char *v[64];
    size_t n;
} cmd_values;

#define OVERRIDE_OPTION(values)                                                                                        \
    { "--override", 0, CMD_REPEAT, values, "KEY=VALUE", "a metadata key's value, in place of the file's" }
#define KV_OPTION(text)                                                                                                \
    { "--kv", 0, CMD_STRING, text, "TYPE", "how keys and values are kept: f16 (default), f32, or q8: half of f16" }

#define ADAPTER_OPTION(text)                                                                                           \
    { "--adapter", 0, CMD_STRING, text, "FILE[:SCALE]", "a LoRA adapter for the model, and how strong (default 1)" }

typedef struct cmd_positional {
    const char *v[64];
    size_t n, min, max;
} cmd_positional;

/* Parse argv[1..]. --name value, --name=value, -n value, -nVALUE; "--" ends options; -h and --help print help.
 * Returns -1 to go on, or the exit code to return at once (0 after help, 2 after a usage error, said on stderr). */
int cmd_parse(const char *verb, const cmd_option *options, size_t n_options, int argc, char **argv, cmd_positional *p);
/* What KV_OPTION was given; NULL leaves *out. -1 to go on, or the exit code. */
int cmd_parse_kv(const char *text, kernel_kv_type *out);
#define ANY_BASE_OPTION(flag)                                                                                          \
    { "--any-base", 0, CMD_FLAG, flag, NULL, "also an adapter that was trained on another file" }
/* What ADAPTER_OPTION was given: path, malloc'ed, and scale; NULL leaves both. -1 to go on, or the exit code. */
int cmd_parse_adapter(const char *text, char **path, float *scale);

/* ---- the manual page (manual.c) ---- */
/* Between begin and end cmd_print_verb and the options of cmd_parse come as roff. */
bool manual_is_on(void);
void manual_begin(const char *version);
void manual_verb(const char *group, const cmd_verb *v);
void manual_options(const cmd_option *o, size_t n);
void manual_end(void);

/* ---- results (output.c) ---- */
int cmd_exit_code(muga_status status);
/* "muga: text" on stderr, after what stdout holds: one line, whatever the text quotes. */
void cmd_say(const char *text);
/* cmd_say of the message; returns the exit code. */
int cmd_fail(const muga_error *err);
__attribute__((format(printf, 2, 3))) int cmd_error(muga_status status, const char *format, ...);
bool cmd_is_terminal(int fd);
bool cmd_use_colour(int fd);          /* a terminal, no NO_COLOR, TERM not dumb */
void cmd_print_json(const json_t *v); /* compact, one line, flushed */
/* Call at the end of a verb that printed to stdout: a full disk or a closed pipe must not pass for success.
 * Returns `code`, or 6 when output was lost (EPIPE: silently). */
int cmd_finish_output(int code);
/* A table on stdout: cells [n_rows][n_cols], first row is the head; columns are padded, the last is not. */
void cmd_print_table(const char *const *cells, size_t n_rows, size_t n_cols);
/* Text from outside, fit for a terminal: what would move the cursor or reorder letters is shown as \u00XX (terminal.c).
 * A person who approves must see what is there. Appends. */
void cmd_write_visible(const char *p, size_t n, str *out);
/* The same, but line ends and tabs stay. */
void cmd_write_text(const char *p, size_t n, str *out);
void cmd_format_bytes(uint64_t bytes, char out[16]); /* "98.4 MB" */

/* Progress on stderr: a bar on a terminal, plain lines elsewhere ("loading 50 %"). done 0..1; finish erases the bar. */
typedef struct cmd_progress {
    const char *what;
    int last;
    bool active;
} cmd_progress;
void cmd_progress_show(void *progress, double done);
void cmd_progress_finish(cmd_progress *p);

/* SIGINT ends the process with 130; or, from cmd_catch_interrupt on, sets a flag that loops look at, and a later one
 * ends it. */
void cmd_end_on_interrupt(void);
void cmd_catch_interrupt(void);
bool cmd_interrupted(void);
const atomic_bool *cmd_interrupt_flag(void); /* the same, for a request of a model */
void cmd_clear_interrupt(void);
/* Until standard input has something to say (its end included); false: interrupted. After cmd_catch_interrupt. */
bool cmd_wait_input(void);

/* From now on a mapped file that is cut short ends the program with a line that names it (fault.c). */
void cmd_catch_lost_files(void);

/* ---- places (places.c) ---- */
/* $MUGA_HOME, else $XDG_DATA_HOME/muga, else $HOME/.local/share/muga. malloc'ed. */
MUGA_MUST_USE muga_status cmd_home(char **out, muga_error *err);
/* Where this program lies, without links; NULL where that can't be told. Until the process ends. */
const char *cmd_program(void);
const struct agent_embedder *cmd_embedder(void); /* vectors for search tools (embedder.c) */
struct agent_env cmd_agent_env(void); /* the system's seams, with this program as the launcher of sandboxes */
MUGA_MUST_USE muga_status cmd_hub(hub *out, muga_error *err);
/* muga.db in that home (store.c). must_exist false: the home is made where it is missing. */
MUGA_MUST_USE muga_status cmd_open_store(bool must_exist, store **out, muga_error *err);
/* MODEL (path or store name) -> file path, malloc'ed. */
MUGA_MUST_USE muga_status cmd_resolve(const char *model, char **path, muga_error *err);
/* Where the packed file of the model at `path` is or is to be, and the model's absolute path, both NULL where there is
 * no place for one. Release both with free. */
typedef struct cmd_packed {
    char *path, *source;
} cmd_packed;
cmd_packed cmd_packed_of(const char *path);
void cmd_packed_release(cmd_packed *p);
#define NO_CACHE_OPTION(target)                                                                                        \
    { "--no-cache", 0, CMD_FLAG, target, NULL, "neither use nor write the packed copy of the weights" }
/* MODEL opened for chat or agents, under the name that evidence gives it. cache: with its packed file. A draft_path may
 * be a name in the store as well. A stored model comes with its template and adapter, where o names no others. */
MUGA_MUST_USE muga_status cmd_open_llm(const char *model, const char *name, bool cache, const llm_local_options *o,
                                       llm **out, muga_error *err);
/* Says on stderr which chat form stands in for the template that a model's file doesn't have. NULL: nothing to say. */
void cmd_say_fallback(const char *form);
/* The source of the file's chat template; of the form that stands in for it where it has none, which is said. Borrowed.
 */
struct gguf_file;
MUGA_MUST_USE muga_status cmd_template_source(const struct gguf_file *f, span *out, muga_error *err);
/* A file that comes with the program, or the user's own in its place, in the home. *path: malloc'ed; NULL: none. */
MUGA_MUST_USE muga_status cmd_data_file(const char *name, char **path, muga_error *err);
/* NAME of an agent -> folder, malloc'ed: a path if it holds '/', else $MUGA_HOME/agents/NAME, else ./agents/NAME,
 * else beside the program (build tree, or share/ of the same prefix) or under the installed data folder. */
MUGA_MUST_USE muga_status cmd_agent_dir(const char *name, char **dir, muga_error *err);
/* Every folder above that exists, in that order, for `agent list`. visit gets each agent's name and folder once. */
MUGA_MUST_USE muga_status cmd_agent_visit(muga_status (*visit)(void *ctx, const char *name, const char *dir), void *ctx,
                                          muga_error *err);

/* Whoever started the program, by the system's word. */
void cmd_user_name(char out[64]);

/* OUT must be a file or nothing, in a folder that is there, and not `in` (NULL = no file is read): renaming over it
 * would put the result in the place of its own source. */
MUGA_MUST_USE muga_status cmd_check_out(const char *path, const char *in, muga_error *err);

/* A folder of its own in $TMPDIR (or /tmp), named muga-WHAT-XXXXXX, removed when it is closed; those of processes that
 * were killed before they could are removed by the next that opens one (scratch.c). */
typedef struct cmd_scratch {
    char path[256];
    int lock; /* held while it is in use */
} cmd_scratch;
MUGA_MUST_USE muga_status cmd_scratch_open(cmd_scratch *out, const char *what, muga_error *err);
void cmd_scratch_close(cmd_scratch *s);
void cmd_remove_all(const char *path); /* a folder and what lies in it; through no link */

/* ---- input (input.c) ---- */
/* All that is left of f, at most max bytes, appended; what names it in errors. */
MUGA_MUST_USE muga_status cmd_read_stream(FILE *f, const char *what, size_t max, str *out, muga_error *err);
/* All of a file or a pipe, at most max bytes; "-" is standard input. *out is initialised here; release it. */
MUGA_MUST_USE muga_status cmd_read_input(const char *path, size_t max, str *out, muga_error *err);

/* NAME=VALUE of a repeated option as an object: VALUE as JSON where it is, as text where it isn't. New reference. */
MUGA_MUST_USE muga_status cmd_read_values(const cmd_values *list, const char *option, json_t **out, muga_error *err);

/* ---- JSON lines (jsonl.c) ---- */
/* For each line of stdin (at most 64 MiB): parse it, call `handle`, which sets *out (new reference); print *out, or
 * {"error": message} when either fails; flush; go on. Returns the exit code of the whole run. */
int cmd_jsonl(muga_status (*handle)(void *ctx, const json_t *in, json_t **out, muga_error *err), void *ctx);

#endif
