/* Chat templates: lexer, parser and evaluator for the Jinja that models ship. No I/O, no reflection: a template sees
 * the context it is given and nothing else. trim_blocks, lstrip_blocks and loop controls are on, as in transformers.
 * Also the expression language of agent manifests (template_expression_*).
 * Threads: a compiled template is immutable. */
#ifndef MUGA_TEMPLATE_H
#define MUGA_TEMPLATE_H

#include "base/json.h"

typedef struct template_limits {
    uint64_t steps; /* evaluated nodes */
    size_t output_bytes;
    uint32_t depth;      /* nesting of the source, and of calls */
    size_t memory_bytes; /* values alive during one render */
} template_limits;
#define TEMPLATE_LIMITS_DEFAULT ((template_limits){2000000, (size_t)4 << 20, 256, (size_t)64 << 20})
/* The default, with steps that grow with the number of values in the context: some models' templates look at all
 * messages for each message. */
template_limits template_limits_for(const json_t *context);

typedef struct template template;
/* Errors: line of the source, what was expected. */
MUGA_MUST_USE muga_status template_compile(const char *source, size_t n, template **out, muga_error *err);
void template_free(template *t);

/* Render with `context` (an object: every member is a variable). `now_ms`: what strftime_now formats (UTC; never the
 * real clock). Appends to out. A raise_exception() gives MUGA_E_INPUT with its message after "template: raised: ". */
MUGA_MUST_USE muga_status template_render(const template *t, const json_t *context, int64_t now_ms,
                                          const template_limits *limits, str *out, muga_error *err);

/* The same; where the template itself refuses by raise_exception(), its whole message is appended to `raised` (an
 * error's text is cut at some length). NULL: not wanted. */
MUGA_MUST_USE muga_status template_render_raising(const template *t, const json_t *context, int64_t now_ms,
                                                  const template_limits *limits, str *out, str *raised,
                                                  muga_error *err);

/* An expression of a manifest: same grammar, without calls. */
typedef struct template_expression template_expression;
MUGA_MUST_USE muga_status template_expression_compile(const char *source, template_expression **out, muga_error *err);
void template_expression_free(template_expression *e);
MUGA_MUST_USE muga_status template_expression_test(const template_expression *e, const json_t *context, bool *out,
                                                   muga_error *err);
/* Calls visit(root, member) for each name that the expression reads: x.y and x['y'] as ("x", "y"), x alone as ("x",
 * NULL). False as soon as visit says false. */
typedef bool (*template_name_visit)(void *ctx, const char *root, const char *member);
bool template_expression_names(const template_expression *e, template_name_visit visit, void *ctx);
/* Its value as JSON; new reference. MUGA_E_INPUT: one that JSON doesn't have, an undefined one among them. */
MUGA_MUST_USE muga_status template_expression_value(const template_expression *e, const json_t *context, json_t **out,
                                                    muga_error *err);
#endif
