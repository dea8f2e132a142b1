/* A recipe for a model: what a Modelfile says, or a request to make a model (docs/modelfile.md has the grammar).
 *
 * Grammar as Ollama documents it. An instruction a line, in either case; `#` begins a comment line. A value is the rest
 * of the line; one that begins with a quote or three goes on to the line that ends with the same, and what stands
 * between is taken as it is, without escapes. Relative to nothing here: FROM and ADAPTER are kept as written.
 *
 * Limits: 4 MiB of text, 64 licences, 64 stop strings, 1,024 messages; one FROM, one ADAPTER, one SYSTEM, one TEMPLATE,
 * a parameter once (stop aside). Everything is UTF-8 without NUL. A template that is Go's is refused with what to write
 * instead; whether it is Jinja, hub_create says. */
#ifndef MUGA_HUB_MODELFILE_H
#define MUGA_HUB_MODELFILE_H

#include "base/json.h"

#define MODELFILE_MAX_BYTES ((size_t)4 << 20)
#define MODELFILE_MAX_LICENSES 64
#define MODELFILE_MAX_MESSAGES 1024
#define MODELFILE_MAX_STOPS 64
#define MODELFILE_MAX_FILES 1024
#define MODELFILE_VERSION "0.40" /* the Ollama whose Modelfiles are read: REQUIRES may not name a later one */

typedef struct modelfile_adapter {
    char *from; /* path, or digest of a blob */
    float scale;
} modelfile_adapter;

typedef struct modelfile {
    char *from;    /* name in the store, "sha256:<hex>" of a blob, or a path; NULL = none */
    json_t *files; /* instead of from: digests of blobs by their names in a Hugging Face folder; NULL = none */
    modelfile_adapter *adapters; /* [n_adapters] */
    size_t n_adapters;
    json_t *parameters; /* object; each valid (hub_parameter_check); NULL = none */
    char *system, *template;
    json_t *license;  /* array of strings; NULL = none */
    json_t *messages; /* array of {"role", "content"}; NULL = none */
    char *requires;
    /* Line of the instruction in the text; 0 = it isn't from one */
    uint32_t from_line, adapter_line, system_line, template_line;
} modelfile;

/* MUGA_E_INPUT: "what:LINE: what is wrong"; `what` names the text. *out is to be released after a failure, too. */
MUGA_MUST_USE muga_status modelfile_parse(const char *text, size_t n, const char *what, modelfile *out,
                                          muga_error *err);
/* Of a body of POST /api/create: "from" or "files" ({"x.gguf": digest}, or config.json, *.safetensors and so on, each
 * with its digest), "adapters" {"name": digest}, "template", "system", "license" (a string or an array), "parameters",
 * "messages". Other members are not looked at. E_INPUT names the member. */
MUGA_MUST_USE muga_status modelfile_of_json(const json_t *body, modelfile *out, muga_error *err);
void modelfile_release(modelfile *m);

struct hub_model;
/* The Modelfile of a stored model, from which hub_create makes the same one (of the same digest) in the same store:
 * FROM and ADAPTER are digests of its blobs. A text that the grammar can't say (a line of it ends in three quotes)
 * becomes a comment that tells so, and *whole false. Appends. */
void modelfile_write(const struct hub_model *m, str *out, bool *whole);

#endif
