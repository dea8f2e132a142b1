/* Private to llm/: how families of models write tool calls, and the parser that takes their answers apart.
 *
 * A family is a table of literals (toolcall_families.c). The same table makes the grammar that an answer is written
 * under (answer.c) and steers the parser that reads it (toolcall_parse.c), so the two can't disagree about where a
 * call begins. Where a literal names a control token, the token's name stands between two bytes 0xFF, which no UTF-8
 * text holds: text that merely spells the name is never taken for the token.
 *
 *   answer ::= [reasoning] content [ trigger start call (separator call)* end ]
 *   call   ::= before {"name": "N", "arguments": A} after       OBJECT
 *            | before N middle A after                          NAMED
 */
#ifndef MUGA_LLM_TOOLCALL_H
#define MUGA_LLM_TOOLCALL_H

#include "base/mem.h"
#include "llm/llm.h"

#define TOOLCALL_CONTROL '\xFF'
#define TOOLCALL_BLANK '\x01' /* in a trigger: any white space or none */
#define TOOLCALL_MAX_NAME 128 /* bytes of a tool's name */
#define TOOLCALL_ID_BYTES 9   /* of a call's id: letters and digits, as Mistral's templates insist */
#define TOOLCALL_FORMS 2

typedef enum { TOOLCALL_OBJECT, TOOLCALL_NAMED } toolcall_shape;

typedef struct toolcall_form {
    toolcall_shape shape;
    bool at_start;       /* a call only where the answer begins with it; the trigger is the object's own beginning */
    const char *trigger; /* content ends where this is complete; NULL: there is no such form */
    const char *start;   /* once behind the trigger */
    const char *before, *middle, *after; /* around each call; middle of NAMED */
    const char *separator; /* before each further call; NULL: a model of this family makes one at a time */
    const char *end;       /* once behind the last call */
    const char *key;       /* of OBJECT: the arguments' member */
    const char *id_mark;   /* of NAMED: an id may stand behind it, before middle; or NULL */
} toolcall_form;

typedef struct toolcall_family {
    const char *name;
    const char *has[3]; /* all of these stand in its template */
    const char *no[2];  /* none of these does */
    toolcall_form form[TOOLCALL_FORMS];
} toolcall_family;

/* By name; NULL when there is none. */
const toolcall_family *toolcall_family_named(const char *name);
/* The one that the template's text shows; "generic" where it shows none. */
const toolcall_family *toolcall_family_of(span template_source);
const toolcall_family *toolcall_families(size_t *n); /* all, for tables and tests */

/* What opens and closes reasoning. */
typedef struct toolcall_thinking {
    const char *name, *open, *close;
} toolcall_thinking;
/* The one that the template's text shows; NULL: none. */
const toolcall_thinking *toolcall_thinking_of(span template_source);

/* Which names in literals are control tokens of a vocabulary; the others are plain text there. NULL: none is. */
typedef bool (*toolcall_is_control)(const void *ctx, const char *name, size_t n);
/* `form` with literals for one vocabulary. Strings live in the arena. false: out of memory. */
MUGA_MUST_USE bool toolcall_bind(const toolcall_form *form, toolcall_is_control is_control, const void *ctx, arena *a,
                                 toolcall_form *out);
char *toolcall_bind_literal(const char *literal, toolcall_is_control is_control, const void *ctx, arena *a);

/* An OBJECT call up to its name, and between name and arguments. Appended. */
void toolcall_object_head(str *out);
void toolcall_object_middle(const toolcall_form *f, str *out);

/* A tool's name: letters, digits, and "_-./:". */
bool toolcall_name_byte(char c);

/* ---- what a model's template does with tools ---- */
typedef struct toolcall_model {
    const toolcall_family *family;
    const toolcall_thinking *thinking; /* or NULL */
    bool shows_tools;                  /* the template writes the tools out */
    bool shows_calls;                  /* and the calls of assistant messages, */
    bool text_arguments;               /* whose arguments it wants as text, not as an object; */
    bool shows_results;                /* and messages of the role tool, */
    bool takes_system;                 /* and those of the role system */
    toolcall_is_control is_control;    /* of the vocabulary; NULL: no control tokens */
    const void *is_control_ctx;
} toolcall_model;
/* Finds all but is_control, by what comes out of small conversations. `render` appends a prompt, or fails. */
typedef muga_status (*toolcall_render)(void *ctx, const json_t *messages, const json_t *tools, str *out,
                                       muga_error *err);
MUGA_MUST_USE muga_status toolcall_model_probe(span template_source, toolcall_render render, void *ctx,
                                               toolcall_model *out, muga_error *err);
typedef struct toolcall_tools toolcall_tools;
/* The messages as this template needs them: calls with arguments of its kind, or written into the content in the form
 * `f`; results as what the user says; and the tools `told` (NULL: none) told of in the system message. A new array. */
MUGA_MUST_USE muga_status toolcall_messages(const toolcall_model *m, const toolcall_form *f, const toolcall_tools *told,
                                            bool one_call, const json_t *messages, json_t **out, muga_error *err);

/* Calls in the plain form `f`: [{"function": {"name", "arguments"}}] or [{"name", "arguments"}]. Appended. */
void toolcall_write_calls(str *out, const toolcall_form *f, const json_t *calls);

/* ---- tools and the grammar ---- */
struct toolcall_tools {
    const char **names; /* [n] borrowed from `shown` */
    json_t **schemas;   /* [n] of arguments, always objects */
    size_t n;
    json_t *shown; /* in the form that templates know: [{"type": "function", "function": {...}}] */
};
#define TOOLCALL_MAX_TOOLS 1024u
/* MUGA_E_INPUT names the tool by its place: no name, one that isn't a name or that another has, parameters that are no
 * schema of objects. An object whose schema lists its members and says nothing about others gets no others: a model
 * would make them up. */
MUGA_MUST_USE muga_status toolcall_tools_read(const json_t *tools, toolcall_tools *out, muga_error *err);
void toolcall_tools_release(toolcall_tools *t);

typedef struct toolcall_grammar {
    const toolcall_form *forms; /* bound */
    size_t n_forms;
    const toolcall_tools *tools;
    llm_tool_choice choice;
    const char *tool_name; /* of NAMED */
    bool one_call;
    const json_t *value;
    const char *think_open, *think_close; /* and the rest as in constrain_answer */
    bool thinking, no_thinking;
    uint32_t think_tokens;
    const constrain_options *options;
} toolcall_grammar;
MUGA_MUST_USE muga_status toolcall_compile(const toolcall_grammar *g, constrain_grammar **out, muga_error *err);

/* ---- the parser ---- */
typedef struct toolcall_parser_options {
    const toolcall_form *forms; /* [n_forms], bound; borrowed */
    size_t n_forms;             /* 0: no calls */
    bool is_value;              /* content is a JSON value: a trigger counts only where the answer begins with it */
    const char *think_open, *think_close; /* bound; NULL: no reasoning */
    bool thinking;                        /* the prompt has opened it */
    const char *const *names;             /* [n_names] tools there are */
    size_t n_names;
    const char *const *stop; /* [n_stop] content ends before one of them, and the answer with it */
    size_t n_stop;
    uint64_t seed;                                   /* of the ids */
    const json_t *messages;                          /* no id is one that stands here already; or NULL */
    bool (*on_event)(void *ctx, const llm_event *e); /* false: cancel. May be NULL */
    void *on_event_ctx;
} toolcall_parser_options;

typedef struct toolcall_parser toolcall_parser;
/* The struct is copied; what it points to is borrowed while the parser lives. */
MUGA_MUST_USE muga_status toolcall_parser_new(const toolcall_parser_options *o, toolcall_parser **out, muga_error *err);
void toolcall_parser_free(toolcall_parser *p);
/* The answer goes on with these bytes. MUGA_E_INPUT: a call that is none, or of a tool that there isn't; nothing more
 * is read then. *more false: the answer is over for its reader, by a stop string or because on_event said so. */
MUGA_MUST_USE muga_status toolcall_parser_feed(toolcall_parser *p, const char *text, size_t n, bool *more,
                                               muga_error *err);
/* The answer ends here, by itself. MUGA_E_INPUT where a call is not finished. */
MUGA_MUST_USE muga_status toolcall_parser_end(toolcall_parser *p, muga_error *err);
const char *toolcall_parser_stop(const toolcall_parser *p); /* the stop string that ended it; NULL: none */
bool toolcall_parser_cancelled(const toolcall_parser *p);   /* by on_event */
/* Within on_event, of content: where in all that was fed it stands. */
void toolcall_parser_where(const toolcall_parser *p, size_t *from, size_t *to);
bool toolcall_parser_in_call(const toolcall_parser *p);
/* What was read moves out: content, reasoning, the calls that are whole. */
MUGA_MUST_USE muga_status toolcall_parser_take(toolcall_parser *p, str *content, str *reasoning, llm_call **calls,
                                               size_t *n_calls, muga_error *err);
void toolcall_calls_free(llm_call *calls, size_t n);
#endif
