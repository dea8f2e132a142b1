/* The model store under $MUGA_HOME: blobs by digest, manifests by name (docs/modelfile.md).
 *   blobs/sha256-<64 hex>            content-addressed, never changed: models, adapters, and the texts of a model
 *   packed/sha256-<64 hex>-<layout>  what was made of a blob (model/packed.h); packed/path-<64 hex>-<layout> of a file
 *                                    elsewhere, by the SHA-256 of its path
 *   manifests/<name>/<tag>           JSON {"version": 1, "name", "tag", "blob": "sha256:<hex>", "bytes", "source"}, or
 *                                    version 2, which also has "parts", "parent", "requires", "details", or is
 *                                    {"version": 2, "name", "tag", "alias": "name:tag"}
 * A MODEL that holds '/' or ends in ".gguf" is a path; else a name [a-z0-9._-]+(:tag)?, tag "latest" by default.
 *
 * Threads: any number may use one hub. Every call looks at the disk, so what another process made or removed shows at
 * once. */
#ifndef MUGA_HUB_H
#define MUGA_HUB_H

#include "base/hash.h"
#include "base/json.h"
#include "os/os.h"

#include <pthread.h>

typedef struct hub {
    const os_files *files;
    char *home;
    pthread_mutex_t *changing; /* held while a name is written or blobs are removed; NULL = nobody else uses this hub */
} hub;
MUGA_MUST_USE muga_status hub_open(const os_files *files, const char *home, hub *out, muga_error *err);
void hub_close(hub *h);

/* ---- names ---- */
#define HUB_NAME_BYTES 256 /* "name:tag" and its end */
/* Is MODEL the path of a file rather than a name in the store? hub_resolve of a path needs no home. */
bool hub_is_path(const char *model);
/* "tiny" -> "tiny:latest". MUGA_E_USAGE: no name of a model. */
MUGA_MUST_USE muga_status hub_full_name(const char *model, char out[HUB_NAME_BYTES], muga_error *err);
/* "sha256:" + 64 small hex digits, and nothing else. */
bool hub_is_digest(const char *text);

/* ---- looking things up ---- */
/* The file of a model: *path is malloc'ed. MUGA_E_NOT_FOUND says what is there. */
MUGA_MUST_USE muga_status hub_resolve(const hub *h, const char *model, char **path, muga_error *err);
/* The 64 hex digits in the name of one of the store's own blobs, which points into path; NULL for any other file. That
 * a blob's content is what its name says is checked when it is added, and by `muga doctor`. */
const char *hub_vouched_sha256(const hub *h, const char *path);
/* Array of manifests (objects plus "modified_ms"), sorted by name; new reference. One that can't be read, or an alias
 * of what isn't there, has "name", "tag", "modified_ms" and "damaged", what is wrong with it; the others all have
 * "blob", an alias that of its target. */
MUGA_MUST_USE muga_status hub_list(const hub *h, json_t **out, muga_error *err);

/* What can be said of a model's file without running it. */
typedef struct hub_details {
    char family[64];             /* general.architecture */
    char parameter_size[16];     /* "134.52M", "7.6B" */
    char quantization_level[16]; /* "Q4_K_M"; "unknown" */
    uint64_t n_params;
    uint32_t n_ctx_train; /* tokens of context it was trained for; 0 = the file doesn't say */
} hub_details;
#define HUB_FORMAT "gguf" /* of every model */

typedef struct hub_adapter {
    char *path;
    char sha256[SHA256_HEX];
    float scale;
    bool any_base; /* its file names another base, and whoever made the model knew */
} hub_adapter;

/* A stored model, whole: what its manifest says, with the texts. All of it is owned, and as it was when it was read. */
typedef struct hub_model {
    char *name;              /* as asked for, with its tag */
    char *target;            /* the name that an alias leads to; else the same as name */
    char *path;              /* of the model's blob */
    char sha256[SHA256_HEX]; /* of that blob */
    hub_adapter *adapters;   /* [n_adapters], at most one today */
    size_t n_adapters;
    json_t *parameters; /* object under Ollama's names, each valid (hub_parameter_check); "stop" is an array */
    char *system;       /* NULL = none */
    char *template;     /* Jinja; NULL = the file's own */
    json_t *license;    /* array of strings */
    json_t *messages;   /* array of {"role", "content"} that every conversation begins with */
    char *parent;       /* the name it was made from, or NULL */
    char *requires;     /* what REQUIRES said, or NULL */
    /* Of everything above that changes answers, and the licences: two names of one digest are the same model. */
    char digest[SHA256_HEX];
    uint64_t bytes; /* all its blobs */
    int64_t modified_ms;
    hub_details details;
} hub_model;
/* A name alone: a path is MUGA_E_USAGE, whether there is a file or not. Release *out after a failure, too. */
MUGA_MUST_USE muga_status hub_load(const hub *h, const char *name, hub_model *out, muga_error *err);
void hub_model_release(hub_model *m);
/* Of the manifest that hub_load would read, past aliases: while it is the same, so is the model. */
MUGA_MUST_USE muga_status hub_stamp(const hub *h, const char *name, os_stat *out, muga_error *err);
/* Every model that hub_load can load, by name; *out has *n, each to be released, then free. */
MUGA_MUST_USE muga_status hub_load_all(const hub *h, hub_model **out, size_t *n, muga_error *err);

/* ---- parameters (parameters.c) ---- */
/* Is `name` one of Ollama's, and `value` (JSON: number, boolean; "stop": a string or an array of them) in its range?
 * MUGA_E_INPUT names the parameter, its range, and for an unknown one the nearest that there is. Those that muga's
 * engine has no use for, since they change no answer (num_gpu, use_mmap, ...), are valid and without effect; values
 * that ask for what it doesn't have (mirostat 1) are refused. */
MUGA_MUST_USE muga_status hub_parameter_check(const char *name, const json_t *value, muga_error *err);
/* The value that a Modelfile's text means for this parameter; new reference. Of "stop" it is one string. */
MUGA_MUST_USE muga_status hub_parameter_parse(const char *name, const char *text, json_t **out, muga_error *err);

/* "temperature                    0.2" a line, texts in quotes; appends. */
void hub_parameters_write(const json_t *parameters, str *out);

/* ---- adding, copying, removing ---- */
/* Copy a GGUF file into the store under a name; checks that it is one. */
MUGA_MUST_USE muga_status hub_add(const hub *h, const char *model, const char *path, const char *source,
                                  muga_error *err);
/* `to` becomes what `from` is; blobs are shared. What was called `to` before is forgotten. */
MUGA_MUST_USE muga_status hub_copy(const hub *h, const char *from, const char *to, muga_error *err);
/* `name` leads to `target`, whatever that will be; `target` must be there, and must not lead back. A model's name is
 * never made an alias: MUGA_E_INPUT. */
MUGA_MUST_USE muga_status hub_alias(const hub *h, const char *name, const char *target, muga_error *err);
/* Remove the name; and each of its blobs when no other name uses it, with what was packed of it. */
MUGA_MUST_USE muga_status hub_remove(const hub *h, const char *model, muga_error *err);

/* ---- making a model (create.c) ---- */
struct modelfile; /* hub/modelfile.h */
typedef struct hub_create_options {
    const char *quantize; /* a kind of convert/mixture.h, for weights in F32, F16, BF16; NULL = as they are */
    bool no_paths;        /* FROM and ADAPTER are names and digests of the store alone; the reply to a path is the same
                           * whether there is a file or not */
    bool any_base;        /* also an adapter that names another file as its base */
    const char *dir;      /* what relative paths begin at; NULL = the current folder */
    os_pool *pool;        /* for converting and quantising; NULL = inline */
    /* "converting", "quantising", "writing manifest"...; done 0..1, or -1 where there is no telling. false cancels:
     * MUGA_E_CANCELLED. May be NULL. */
    bool (*on_progress)(void *ctx, const char *what, double done);
    void *on_progress_ctx;
} hub_create_options;
/* Make `name` of what the recipe says; what was called so before is replaced at once, when all the rest is done.
 * MUGA_E_INPUT, E_NOT_FOUND name the instruction. A full disk or a kill leaves no name, and no part of a blob. */
MUGA_MUST_USE muga_status hub_create(const hub *h, const char *name, const struct modelfile *recipe,
                                     const hub_create_options *o, muga_error *err);

/* ---- blobs (blobs.c) ---- */
/* MUGA_E_INPUT: no digest. *bytes may be NULL. */
MUGA_MUST_USE muga_status hub_blob_has(const hub *h, const char *digest, bool *has, uint64_t *bytes, muga_error *err);
/* A blob that comes in pieces. It has no name until all of it is there and its digest is right; any number may put the
 * same one at the same time. */
typedef struct hub_put {
    const hub *h;
    os_output out;
    sha256 sum;
    uint64_t n_bytes, max_bytes;
    char digest[72]; /* "sha256:..."; after the commit always */
} hub_put;
/* digest NULL: it will be what the bytes say. max_bytes 0: no limit. Close after a failure, too. */
MUGA_MUST_USE muga_status hub_put_open(const hub *h, const char *digest, uint64_t max_bytes, hub_put *out,
                                       muga_error *err);
/* MUGA_E_LIMIT past max_bytes; E_ENV a full disk. */
MUGA_MUST_USE muga_status hub_put_write(hub_put *p, const void *bytes, size_t n, muga_error *err);
/* MUGA_E_INPUT: the bytes have another digest. */
MUGA_MUST_USE muga_status hub_put_commit(hub_put *p, muga_error *err);
void hub_put_close(hub_put *p); /* drops what wasn't committed; harmless on a zeroed one and twice */
/* Remove blobs that no manifest names and that are older than this: left by uploads that nothing was made of, and by
 * runs that were killed between blob and manifest. */
MUGA_MUST_USE muga_status hub_sweep(const hub *h, int64_t older_than_ms, uint32_t *n_removed, uint64_t *bytes,
                                    muga_error *err);

/* ---- packed files (packed.c) ---- */
/* Where the packed file of a model is or is to be: path is absolute; *out malloc'ed. */
MUGA_MUST_USE muga_status hub_packed_path(const hub *h, const char *path, char **out, muga_error *err);
/* Those of a blob, all versions; digest its 64 hex digits. */
MUGA_MUST_USE muga_status hub_packed_remove(const hub *h, const char *digest, muga_error *err);
/* Every packed file is read through. One that is damaged, or whose model is gone or changed, is removed; report says
 * why, and what was there. */
typedef enum { HUB_PACKED_WHOLE, HUB_PACKED_STALE, HUB_PACKED_DAMAGED } hub_packed_state;
MUGA_MUST_USE muga_status hub_packed_check(const hub *h,
                                           void (*report)(void *ctx, const char *name, hub_packed_state state,
                                                          uint64_t bytes, const char *why),
                                           void *ctx, muga_error *err);
#endif
