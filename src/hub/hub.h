/* The model store under $MUGA_HOME: blobs by digest, manifests by name.
 *   blobs/sha256-<64 hex>            content-addressed, never changed
 *   packed/sha256-<64 hex>-<layout>  what was made of a blob (model/packed.h); packed/path-<64 hex>-<layout> of a file
 *                                    elsewhere, by the SHA-256 of its path
 *   manifests/<name>/<tag>           JSON {"version":1,"name","tag","blob":"sha256:<hex>","bytes","source"}
 * A MODEL that holds '/' or ends in ".gguf" is a path; else a name [a-z0-9._-]+(:tag)?, tag "latest" by default. */
#ifndef MUGA_HUB_H
#define MUGA_HUB_H

#include "base/json.h"
#include "os/os.h"

typedef struct hub {
    const os_files *files;
    char *home;
} hub;
MUGA_MUST_USE muga_status hub_open(const os_files *files, const char *home, hub *out, muga_error *err);
void hub_close(hub *h);

/* Is MODEL the path of a file rather than a name in the store? hub_resolve of a path needs no home. */
bool hub_is_path(const char *model);
/* The file of a model: *path is malloc'ed. MUGA_E_NOT_FOUND says what is there. */
MUGA_MUST_USE muga_status hub_resolve(const hub *h, const char *model, char **path, muga_error *err);
/* The 64 hex digits in the name of one of the store's own blobs, which points into path; NULL for any other file. That
 * a blob's content is what its name says is checked when it is added, and by `muga doctor`. */
const char *hub_vouched_sha256(const hub *h, const char *path);
/* Array of manifests (objects plus "modified_ms"), sorted by name; new reference. One that can't be read has "name",
 * "tag", "modified_ms" and "damaged", what is wrong with it; the others all have "blob". */
MUGA_MUST_USE muga_status hub_list(const hub *h, json_t **out, muga_error *err);
/* Copy a GGUF file into the store under a name; checks that it is one. */
MUGA_MUST_USE muga_status hub_add(const hub *h, const char *model, const char *path, const char *source,
                                  muga_error *err);
/* Remove the name; and the blob when no other name uses it, with what was packed of it. */
MUGA_MUST_USE muga_status hub_remove(const hub *h, const char *model, muga_error *err);

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
